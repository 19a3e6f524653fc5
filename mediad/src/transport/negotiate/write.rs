//! Pure: no clock, no I/O, no async.
//!
//! Our descriptions as text.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use common::wire::node::MediaKind;

use super::sdp::{Description, MediaSection, line, write_candidates};
use super::{LocalSettings, codecs, extensions};
use crate::transport::spec::{Flow, Section};

/// CNAME of all that we send: one clock, one origin (RFC 8834 section 4.9).
const CNAME: &str = "plenum";

/// What is the same for the whole description.
pub(super) struct Header<'a> {
    pub(super) local: &'a LocalSettings,
    /// Value of `a=setup`.
    pub(super) setup: &'static str,
}

/// An answer, section for section.
pub(super) fn answer(
    header: &Header<'_>,
    offer: &Description<'_>,
    sections: &[Section],
    bundle: bool,
    random: &mut dyn FnMut() -> u32,
) -> String {
    let mut out = head(header, sections, bundle, random);
    let mut first = true;
    for (section, theirs) in sections.iter().zip(&offer.sections) {
        if section.flow == Flow::None {
            reject(&mut out, section, theirs);
        } else {
            let reduced_size = theirs.has("rtcp-rsize");
            body(&mut out, header, section, theirs.protocol, reduced_size, std::mem::take(&mut first));
        }
    }
    out
}

/// An offer.
pub(super) fn offer(header: &Header<'_>, sections: &[Section], random: &mut dyn FnMut() -> u32) -> String {
    let mut out = head(header, sections, true, random);
    for (at, section) in sections.iter().enumerate() {
        body(&mut out, header, section, "UDP/TLS/RTP/SAVPF", true, at == 0);
    }
    out
}

fn head(header: &Header<'_>, sections: &[Section], bundle: bool, random: &mut dyn FnMut() -> u32) -> String {
    let mut out = String::with_capacity(4096);
    // RFC 8829 section 5.2.1: 63 random bits.
    let session = u64::from(random()) << 31 ^ u64::from(random());
    line(&mut out, format_args!("v=0"));
    line(&mut out, format_args!("o=- {session} 1 IN IP4 0.0.0.0"));
    line(&mut out, format_args!("s=-"));
    line(&mut out, format_args!("t=0 0"));
    if bundle {
        let live = sections.iter().filter(|section| section.flow != Flow::None);
        let mids = live.map(|section| section.mid.as_str()).collect::<Vec<_>>().join(" ");
        line(&mut out, format_args!("a=group:BUNDLE {mids}"));
    }
    line(&mut out, format_args!("a=msid-semantic: WMS *"));
    if header.local.lite {
        line(&mut out, format_args!("a=ice-lite"));
    }
    line(&mut out, format_args!("a=ice-options:trickle"));
    out
}

/// A section in which something flows.
fn body(
    out: &mut String,
    header: &Header<'_>,
    section: &Section,
    protocol: &str,
    reduced_size: bool,
    first: bool,
) {
    let local = header.local;
    let unspecified = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9);
    let default = local.candidates.first().copied().unwrap_or(unspecified);
    let family = if default.is_ipv4() { "IP4" } else { "IP6" };
    let (port, formats) = (default.port(), codecs::write_formats(&section.codecs));
    line(out, format_args!("m={} {port} {protocol} {formats}", media(section.kind)));
    line(out, format_args!("c=IN {family} {}", default.ip()));
    if !section.mid.is_empty() {
        line(out, format_args!("a=mid:{}", section.mid));
    }
    line(out, format_args!("a=ice-ufrag:{}", local.ice.ufrag));
    line(out, format_args!("a=ice-pwd:{}", local.ice.password));
    let digits: Vec<String> = local.fingerprint.bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    line(out, format_args!("a=fingerprint:{} {}", local.fingerprint.hash, digits.join(":")));
    line(out, format_args!("a=setup:{}", header.setup));
    line(out, format_args!("a=rtcp-mux"));
    if reduced_size {
        line(out, format_args!("a=rtcp-rsize"));
    }
    extensions::write(out, &section.extensions);
    codecs::write(out, &section.codecs);
    flow(out, section);
    if first {
        write_candidates(out, &local.candidates, local.candidate_priority);
    }
}

fn flow(out: &mut String, section: &Section) {
    match &section.flow {
        Flow::None => line(out, format_args!("a=inactive")),
        Flow::Receive { rids, .. } => {
            line(out, format_args!("a=recvonly"));
            for rid in rids {
                line(out, format_args!("a=rid:{rid} recv"));
            }
            if !rids.is_empty() {
                line(out, format_args!("a=simulcast:recv {}", rids.join(";")));
            }
        }
        Flow::Send { slot, ssrc, rtx_ssrc } => {
            line(out, format_args!("a=sendonly"));
            line(out, format_args!("a=msid:slot{slot} {}{slot}", media(section.kind)));
            let repaired = section.codecs.iter().any(|spec| spec.rtx_payload_type.is_some());
            if repaired {
                line(out, format_args!("a=ssrc-group:FID {ssrc} {rtx_ssrc}"));
            }
            line(out, format_args!("a=ssrc:{ssrc} cname:{CNAME}"));
            if repaired {
                line(out, format_args!("a=ssrc:{rtx_ssrc} cname:{CNAME}"));
            }
        }
    }
}

fn reject(out: &mut String, section: &Section, theirs: &MediaSection<'_>) {
    let format = theirs.formats.first().copied().unwrap_or("0");
    line(out, format_args!("m={} 0 {} {format}", theirs.media, theirs.protocol));
    line(out, format_args!("c=IN IP4 0.0.0.0"));
    if !section.mid.is_empty() {
        line(out, format_args!("a=mid:{}", section.mid));
    }
    line(out, format_args!("a=inactive"));
}

const fn media(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}
