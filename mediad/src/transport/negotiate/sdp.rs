//! Wire: SDP (RFC 8866) as far as WebRTC needs it.
//!
//! A tolerant reader that borrows from the text: lines and attributes it does not know stay there unread, what it
//! needs and cannot read is an error of the negotiator. Memory is bounded by the bounds below.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use common::limits::{SDP_BYTES_MAX, SLOTS_PER_ENDPOINT_MAX};
use common::wire::node::MediaKind;

use crate::transport::spec::{Candidate, Fingerprint, IceCredentials};

/// Sections of one SDP: all slots and a few others.
const SECTIONS_MAX: usize = 2 * SLOTS_PER_ENDPOINT_MAX + 16;

/// Lines of one SDP. A video section of a browser has 200.
const LINES_MAX: usize = SECTIONS_MAX * 400;

/// Certificate hashes of one SDP; one is usual.
const FINGERPRINTS_MAX: usize = 8;

/// Why a text is not usable SDP.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(in crate::transport) enum SdpError {
    #[error("a media line is malformed")]
    MediaLine,
    #[error("it does not begin with `v=0`")]
    NotSdp,
    #[error("it is too long")]
    TooLong,
}

/// `a=name:value`.
#[derive(Clone, Copy, Debug)]
pub(in crate::transport) struct Attribute<'a> {
    pub(in crate::transport) name: &'a str,
    pub(in crate::transport) value: &'a str,
}

impl<'a> Attribute<'a> {
    pub(in crate::transport) fn parse(text: &'a str) -> Self {
        let (name, value) = text.split_once(':').unwrap_or((text, ""));
        Self { name: name.trim(), value: value.trim() }
    }
}

/// One `m=` line with what belongs to it.
#[derive(Clone, Debug)]
pub(in crate::transport) struct MediaSection<'a> {
    pub(in crate::transport) media: &'a str,
    pub(in crate::transport) port: u16,
    pub(in crate::transport) protocol: &'a str,
    pub(in crate::transport) formats: Vec<&'a str>,
    pub(in crate::transport) attributes: Vec<Attribute<'a>>,
}

/// A session description.
#[derive(Clone, Debug)]
pub(in crate::transport) struct Description<'a> {
    pub(in crate::transport) attributes: Vec<Attribute<'a>>,
    pub(in crate::transport) sections: Vec<MediaSection<'a>>,
}

/// `a=sendrecv` and its kin, from the writer's side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::transport) enum Direction {
    Inactive,
    RecvOnly,
    SendOnly,
    SendRecv,
}

impl Direction {
    pub(in crate::transport) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "inactive" => Self::Inactive,
            "recvonly" => Self::RecvOnly,
            "sendonly" => Self::SendOnly,
            "sendrecv" => Self::SendRecv,
            _ => return None,
        })
    }

    pub(in crate::transport) const fn sends(self) -> bool {
        matches!(self, Self::SendOnly | Self::SendRecv)
    }

    pub(in crate::transport) const fn receives(self) -> bool {
        matches!(self, Self::RecvOnly | Self::SendRecv)
    }
}

impl<'a> Description<'a> {
    pub(in crate::transport) fn parse(text: &'a str) -> Result<Self, SdpError> {
        let text = text.trim_start();
        if text.len() > SDP_BYTES_MAX {
            return Err(SdpError::TooLong);
        }
        if !text.starts_with("v=0") {
            return Err(SdpError::NotSdp);
        }
        Self::parse_lines(text)
    }

    /// Reads lines without the session's head too, as a fragment has them (RFC 8840).
    pub(in crate::transport) fn parse_lines(text: &'a str) -> Result<Self, SdpError> {
        let mut description = Self { attributes: Vec::new(), sections: Vec::new() };
        for (count, line) in text.lines().enumerate() {
            if count >= LINES_MAX {
                return Err(SdpError::TooLong);
            }
            match line.trim_end().split_once('=') {
                Some(("a", attribute)) => {
                    let attribute = Attribute::parse(attribute);
                    match description.sections.last_mut() {
                        Some(section) => section.attributes.push(attribute),
                        None => description.attributes.push(attribute),
                    }
                }
                Some(("m", _)) if description.sections.len() >= SECTIONS_MAX => {
                    return Err(SdpError::TooLong);
                }
                Some(("m", media)) => description.sections.push(MediaSection::parse(media)?),
                Some(_) | None => {}
            }
        }
        Ok(description)
    }

    /// First value of an attribute of a section, else of the session.
    pub(in crate::transport) fn value(&self, section: &MediaSection<'a>, name: &str) -> Option<&'a str> {
        section.value(name).or_else(|| self.session_value(name))
    }

    /// First value of an attribute of the session.
    pub(in crate::transport) fn session_value(&self, name: &str) -> Option<&'a str> {
        self.attributes.iter().find(|attribute| attribute.name == name).map(|attribute| attribute.value)
    }

    /// Direction of a section.
    pub(in crate::transport) fn direction(&self, section: &MediaSection<'a>) -> Direction {
        let find = |attributes: &[Attribute<'a>]| {
            attributes.iter().find_map(|attribute| Direction::parse(attribute.name))
        };
        find(&section.attributes).or_else(|| find(&self.attributes)).unwrap_or(Direction::SendRecv)
    }

    /// Mids of the first BUNDLE group (RFC 9143).
    pub(in crate::transport) fn bundled(&self) -> Option<Vec<&'a str>> {
        self.attributes.iter().filter(|attribute| attribute.name == "group").find_map(|attribute| {
            let mut words = attribute.value.split_ascii_whitespace();
            (words.next() == Some("BUNDLE")).then(|| words.collect())
        })
    }

    /// ICE credentials of a section, else of the session.
    pub(in crate::transport) fn ice(&self, section: &MediaSection<'a>) -> Option<IceCredentials> {
        credentials(self.value(section, "ice-ufrag")?, self.value(section, "ice-pwd")?)
    }

    /// ICE credentials of the session.
    pub(in crate::transport) fn session_ice(&self) -> Option<IceCredentials> {
        credentials(self.session_value("ice-ufrag")?, self.session_value("ice-pwd")?)
    }

    /// Certificate hashes of a section, else of the session.
    pub(in crate::transport) fn fingerprints(&self, section: &MediaSection<'a>) -> Vec<Fingerprint> {
        let read = |attributes: &[Attribute<'a>]| -> Vec<Fingerprint> {
            let lines = attributes.iter().filter(|attribute| attribute.name == "fingerprint");
            lines.filter_map(|attribute| parse_fingerprint(attribute.value)).take(FINGERPRINTS_MAX).collect()
        };
        let own = read(&section.attributes);
        if own.is_empty() { read(&self.attributes) } else { own }
    }
}

impl<'a> MediaSection<'a> {
    fn parse(line: &'a str) -> Result<Self, SdpError> {
        let mut words = line.split_ascii_whitespace();
        let (Some(media), Some(port), Some(protocol)) = (words.next(), words.next(), words.next()) else {
            return Err(SdpError::MediaLine);
        };
        let port = port.split('/').next().and_then(|port| port.parse().ok()).ok_or(SdpError::MediaLine)?;
        Ok(Self { media, port, protocol, formats: words.collect(), attributes: Vec::new() })
    }

    /// Audio or video, if it is one of them over DTLS-SRTP.
    pub(in crate::transport) fn kind(&self) -> Option<MediaKind> {
        match self.media {
            _ if !self.protocol.ends_with("RTP/SAVPF") => None,
            "audio" => Some(MediaKind::Audio),
            "video" => Some(MediaKind::Video),
            _ => None,
        }
    }

    /// First value of an attribute.
    pub(in crate::transport) fn value(&self, name: &str) -> Option<&'a str> {
        self.values(name).next()
    }

    /// All values of an attribute.
    pub(in crate::transport) fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a str> + 's {
        self.attributes
            .iter()
            .filter(move |attribute| attribute.name == name)
            .map(|attribute| attribute.value)
    }

    pub(in crate::transport) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }
}

/// Checks lengths and alphabet (RFC 8839 section 5.4).
fn credentials(ufrag: &str, password: &str) -> Option<IceCredentials> {
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    let good = (4..=256).contains(&ufrag.len())
        && (22..=256).contains(&password.len())
        && plain(ufrag)
        && plain(password);
    good.then(|| IceCredentials { ufrag: ufrag.to_owned(), password: password.to_owned() })
}

fn parse_fingerprint(value: &str) -> Option<Fingerprint> {
    let (hash, digits) = value.split_once(' ')?;
    let bytes: Option<Vec<u8>> = digits
        .trim()
        .split(':')
        .take(65)
        .map(|byte| (byte.len() == 2).then(|| u8::from_str_radix(byte, 16).ok())?)
        .collect();
    Some(Fingerprint { hash: hash.to_ascii_lowercase(), bytes: bytes? })
}

/// What a candidate line holds for us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::transport) enum CandidateLine {
    /// UDP, component 1, with an address.
    Usable(Candidate),
    /// TCP, another component, or a name (`.local`, mDNS) instead of an address.
    Ignored,
}

/// Reads the value of `a=candidate` (RFC 8839 section 5.1): foundation, component, transport, priority, address,
/// port, `typ`, ...
pub(in crate::transport) fn parse_candidate(value: &str) -> Option<CandidateLine> {
    let value = value.strip_prefix("candidate:").unwrap_or(value);
    let mut words = value.split_ascii_whitespace();
    let _foundation = words.next()?;
    let component: u16 = words.next()?.parse().ok()?;
    let transport = words.next()?;
    let priority: u32 = words.next()?.parse().ok()?;
    let address = words.next()?;
    let port: u16 = words.next()?.parse().ok()?;
    if words.next()? != "typ" {
        return None;
    }
    if component != 1 || !transport.eq_ignore_ascii_case("udp") {
        return Some(CandidateLine::Ignored);
    }
    Some(match address.parse::<IpAddr>() {
        Ok(ip) => CandidateLine::Usable(Candidate { address: SocketAddr::new(ip, port), priority }),
        Err(_name) => CandidateLine::Ignored,
    })
}

/// Appends one line.
pub(in crate::transport) fn line(out: &mut String, content: std::fmt::Arguments<'_>) {
    out.write_fmt(content).and_then(|()| out.write_str("\r\n")).expect("a string takes everything");
}

/// Appends `a=candidate` lines of our own addresses, in falling priority.
pub(in crate::transport) fn write_candidates(out: &mut String, addresses: &[SocketAddr], priority: u32) {
    for (foundation, address) in (1u32..).zip(addresses) {
        let (ip, port) = (address.ip(), address.port());
        let priority = priority.saturating_sub(foundation - 1);
        line(out, format_args!("a=candidate:{foundation} 1 udp {priority} {ip} {port} typ host"));
    }
    line(out, format_args!("a=end-of-candidates"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_of_browsers_are_read_or_known_to_be_useless() {
        let udp = "842490041 1 udp 2122194687 192.0.2.2 47134 typ host generation 0 network-id 1";
        let address = "192.0.2.2:47134".parse().unwrap();
        let usable = CandidateLine::Usable(Candidate { address, priority: 2_122_194_687 });
        assert_eq!(parse_candidate(udp), Some(usable));
        assert_eq!(parse_candidate(&format!("candidate:{udp}")), Some(usable));
        for ignored in [
            "3432887341 1 tcp 1518214911 192.0.2.2 9 typ host tcptype active",
            "0 2 UDP 2122187006 192.0.2.2 47155 typ host",
            "1 1 udp 2113937151 4d4e6c70-1d3c-4a51-a4ab-f1a3d0d1ac7e.local 51520 typ host",
        ] {
            assert_eq!(parse_candidate(ignored), Some(CandidateLine::Ignored));
        }
        for malformed in
            ["", "1 1 udp x 192.0.2.2 1 typ host", "1 1 udp 7 192.0.2.2 99999 typ host", "1 1 udp 7 ::1 1 x"]
        {
            assert_eq!(parse_candidate(malformed), None);
        }
    }

    #[test]
    fn a_text_that_is_no_sdp_or_too_long_is_refused() {
        assert_eq!(Description::parse("hello").unwrap_err(), SdpError::NotSdp);
        assert_eq!(Description::parse("v=0\r\nm=audio\r\n").unwrap_err(), SdpError::MediaLine);
        let long = format!("v=0\r\n{}", "m=audio 9 RTP/AVP 0\r\n".repeat(SECTIONS_MAX + 1));
        assert_eq!(Description::parse(&long).unwrap_err(), SdpError::TooLong);
        let long = format!("v=0\r\n{}", "a=x\r\n".repeat(SDP_BYTES_MAX / 5));
        assert_eq!(Description::parse(&long).unwrap_err(), SdpError::TooLong);
    }
}
