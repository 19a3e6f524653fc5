//! Wire: trickle ICE fragments (RFC 8840, `application/trickle-ice-sdpfrag`), as WHIP and WHEP send them by PATCH.

use common::limits::REMOTE_CANDIDATES_MAX;

use super::negotiate::sdp::{CandidateLine, Description, line, parse_candidate, write_candidates};
use super::negotiate::{LocalSettings, NegotiateError};
use super::spec::{Candidate, IceCredentials};

/// What a client's fragment says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fragment {
    /// Credentials that the candidates belong to, if named.
    pub ice: Option<IceCredentials>,
    /// Usable candidates, at most [`REMOTE_CANDIDATES_MAX`].
    pub candidates: Vec<Candidate>,
    /// Candidates that we cannot use: TCP, mDNS names, other components, malformed, too many.
    pub ignored: usize,
    /// No more will come.
    pub end: bool,
}

impl Fragment {
    /// Reads a fragment.
    ///
    /// # Errors
    /// [`NegotiateError::InvalidSdp`] if it is not one at all, or names unusable credentials.
    pub fn parse(text: &str) -> Result<Self, NegotiateError> {
        if text.len() > common::limits::SDP_BYTES_MAX {
            return Err(NegotiateError::invalid("the fragment is too long"));
        }
        let description = Description::parse_lines(text).map_err(NegotiateError::invalid)?;
        let sections = &description.sections;
        let all = || {
            let own = sections.iter().flat_map(|section| &section.attributes);
            description.attributes.iter().chain(own)
        };
        let named = all().any(|attribute| matches!(attribute.name, "ice-ufrag" | "ice-pwd"));
        let ice = sections
            .iter()
            .find_map(|section| description.ice(section))
            .or_else(|| description.session_ice());
        if named && ice.is_none() {
            return Err(NegotiateError::invalid("no valid ICE credentials"));
        }
        let mut fragment = Self { ice, ..Self::default() };
        for attribute in all() {
            match attribute.name {
                "candidate" => fragment.add(attribute.value),
                "end-of-candidates" => fragment.end = true,
                _ => {}
            }
        }
        Ok(fragment)
    }

    fn add(&mut self, value: &str) {
        match parse_candidate(value) {
            Some(CandidateLine::Usable(candidate)) if self.candidates.len() < REMOTE_CANDIDATES_MAX => {
                if !self.candidates.iter().any(|known| known.address == candidate.address) {
                    self.candidates.push(candidate);
                }
            }
            Some(CandidateLine::Usable(_) | CandidateLine::Ignored) | None => self.ignored += 1,
        }
    }

    /// The new credentials, if the fragment restarts ICE.
    pub fn restart(&self, current: &IceCredentials) -> Option<&IceCredentials> {
        self.ice.as_ref().filter(|named| *named != current)
    }
}

/// Our fragment in answer to an ICE restart: the credentials and candidates of `local` for the section `mid`.
pub fn write(local: &LocalSettings, mid: &str) -> String {
    let mut out = String::new();
    if local.lite {
        line(&mut out, format_args!("a=ice-lite"));
    }
    line(&mut out, format_args!("a=ice-options:trickle"));
    line(&mut out, format_args!("a=group:BUNDLE {mid}"));
    line(&mut out, format_args!("m=audio 9 UDP/TLS/RTP/SAVPF 0"));
    line(&mut out, format_args!("a=mid:{mid}"));
    line(&mut out, format_args!("a=ice-ufrag:{}", local.ice.ufrag));
    line(&mut out, format_args!("a=ice-pwd:{}", local.ice.password));
    write_candidates(&mut out, &local.candidates, local.candidate_priority);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 9725 section 4.3.2, shortened.
    const TRICKLE: &str = "a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:EsAw\r\n\
        a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
        a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\n\
        a=candidate:3471623853 1 udp 2122194687 198.51.100.2 61765 typ host generation 0 ufrag EsAw network-id 2\r\n\
        a=candidate:473322822 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active generation 0 ufrag EsAw\r\n\
        a=candidate:2 1 udp 2113937151 4d4e6c70-1d3c-4a51-a4ab-f1a3d0d1ac7e.local 51520 typ host\r\n\
        a=end-of-candidates\r\n";

    #[test]
    fn candidates_of_a_fragment_are_kept_or_counted() {
        let fragment = Fragment::parse(TRICKLE).unwrap();
        let addresses: Vec<String> =
            fragment.candidates.iter().map(|known| known.address.to_string()).collect();
        assert_eq!(addresses, ["192.0.2.1:61764", "198.51.100.2:61765"]);
        assert_eq!((fragment.ignored, fragment.end), (2, true));
        let same = IceCredentials { ufrag: "EsAw".into(), password: "P2uYro0UCOQ4zxjKXaWCBui1".into() };
        assert_eq!(fragment.restart(&same), None);
        let other = IceCredentials { ufrag: "abcd".into(), password: "another password of 24 b".into() };
        assert_eq!(fragment.restart(&other), Some(&same));
    }

    #[test]
    fn a_fragment_of_ours_reads_back() {
        let local = LocalSettings {
            ice: IceCredentials { ufrag: "w0t1abcd".into(), password: "0123456789abcdefghijklmn".into() },
            fingerprint: crate::transport::spec::Fingerprint { hash: "sha-256".into(), bytes: vec![0; 32] },
            candidates: vec!["192.0.2.9:40000".parse().unwrap(), "[2001:db8::9]:40000".parse().unwrap()],
            candidate_priority: 0x1000_0000,
            lite: false,
            video_codec: None,
        };
        let fragment = Fragment::parse(&write(&local, "0")).unwrap();
        assert_eq!(fragment.ice, Some(local.ice));
        assert_eq!(
            fragment.candidates.iter().map(|known| known.address).collect::<Vec<_>>(),
            local.candidates
        );
        assert_eq!(fragment.candidates[1].priority, 0x0fff_ffff);
        assert!(fragment.end);
    }

    #[test]
    fn half_of_the_credentials_is_an_error_and_candidates_are_bounded() {
        assert!(Fragment::parse("a=ice-ufrag:abcd\r\n").is_err());
        assert!(Fragment::parse("a=ice-ufrag:a\r\na=ice-pwd:b\r\n").is_err());
        let many: String =
            (0..1000).map(|n| format!("a=candidate:1 1 udp {n} 192.0.2.1 {} typ host\n", n + 1)).collect();
        let fragment = Fragment::parse(&many).unwrap();
        assert_eq!(
            (fragment.candidates.len(), fragment.ignored),
            (REMOTE_CANDIDATES_MAX, 1000 - REMOTE_CANDIDATES_MAX)
        );
    }

    proptest! {
        #[test]
        fn rubbish_never_panics(text in "(a=|m=|candidate:|[ -~]|\r\n|é){0,60}", at in 0usize..400, insert in ".{0,6}") {
            drop(Fragment::parse(&text));
            let mut mutated = TRICKLE.to_owned();
            mutated.insert_str(at, &insert);
            drop(Fragment::parse(&mutated));
        }
    }
}
