//! Wire: a negotiated endpoint in few bytes.
//!
//! Sections of one endpoint mostly repeat each other, and browsers write the same `a=fmtp` values: so codec lists and
//! extension sets are kept once, and known values by number. What only setting up needs (candidates, fingerprints) is
//! left out.

use common::wire::node::MediaKind;
use serde::{Deserialize, Serialize};

use crate::transport::spec::{
    Codec, CodecSpec, DtlsRole, EndpointSpec, ExtensionIds, Flow, IceCredentials, Section,
};

/// `a=fmtp` values that browsers write. Append-only: the numbers are part of the format.
const FMTP: [&str; 21] = [
    "",
    "minptime=10;useinbandfec=1",
    "111/111",
    "maxplaybackrate=48000;stereo=1;useinbandfec=1",
    "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f",
    "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f",
    "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f",
    "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f",
    "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=4d001f",
    "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f",
    "profile-id=0",
    "profile-id=1",
    "profile-id=2",
    "level-idx=5;profile=0;tier=0",
    "max-fs=12288;max-fr=60",
    "profile-level-id=42e01f;level-asymmetry-allowed=1",
    "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=f4001f",
    "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=f4001f",
    "level-idx=5;profile=1;tier=0",
    "profile-id=3",
];

/// An [`EndpointSpec`] in the form in which it travels.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct CompactSpec {
    remote_lite: bool,
    dtls_client: bool,
    codec_lists: Vec<Vec<CompactCodec>>,
    extension_sets: Vec<ExtensionIds>,
    sections: Vec<CompactSection>,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
struct CompactCodec {
    codec: Codec,
    payload_type: u8,
    rtx_payload_type: Option<u8>,
    fmtp: Fmtp,
    /// Bits from the lowest: nack, pli, fir, transport-cc.
    feedback: u8,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
enum Fmtp {
    Known(u8),
    Other(String),
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
struct CompactSection {
    mid: String,
    kind: MediaKind,
    flow: CompactFlow,
    codecs: u8,
    extensions: u8,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
enum CompactFlow {
    None,
    Receive { rids: Vec<String>, ssrcs: Vec<(u32, Option<u32>)> },
    Send { slot: u16, ssrc: u32, rtx_ssrc: u32 },
}

impl CompactSpec {
    pub(super) fn new(spec: &EndpointSpec) -> Self {
        let mut compact = Self {
            remote_lite: spec.remote_lite,
            dtls_client: spec.dtls == DtlsRole::Client,
            codec_lists: Vec::new(),
            extension_sets: Vec::new(),
            sections: Vec::new(),
        };
        for section in &spec.sections {
            let codecs = section.codecs.iter().map(CompactCodec::new).collect();
            let section = CompactSection {
                mid: section.mid.clone(),
                kind: section.kind,
                flow: CompactFlow::new(&section.flow),
                codecs: intern(&mut compact.codec_lists, codecs),
                extensions: intern(&mut compact.extension_sets, section.extensions),
            };
            compact.sections.push(section);
        }
        compact
    }

    /// The specification, if all numbers in it exist.
    pub(super) fn restore(
        self,
        local_ice: IceCredentials,
        remote_ice: IceCredentials,
    ) -> Option<EndpointSpec> {
        let codec_lists: Option<Vec<Vec<CodecSpec>>> = self
            .codec_lists
            .into_iter()
            .map(|list| list.into_iter().map(CompactCodec::restore).collect())
            .collect();
        let codec_lists = codec_lists?;
        let section = |section: CompactSection| {
            Some(Section {
                mid: section.mid,
                kind: section.kind,
                flow: section.flow.restore(),
                codecs: codec_lists.get(usize::from(section.codecs))?.clone(),
                extensions: *self.extension_sets.get(usize::from(section.extensions))?,
            })
        };
        Some(EndpointSpec {
            local_ice,
            remote_ice,
            remote_lite: self.remote_lite,
            remote_candidates: Vec::new(),
            fingerprints: Vec::new(),
            dtls: if self.dtls_client { DtlsRole::Client } else { DtlsRole::Server },
            sections: self.sections.into_iter().map(section).collect::<Option<_>>()?,
        })
    }
}

/// Position of a value, which is added if it is new. There are fewer than 256 sections.
fn intern<T: PartialEq>(known: &mut Vec<T>, value: T) -> u8 {
    let at = known.iter().position(|known| *known == value).unwrap_or_else(|| {
        known.push(value);
        known.len() - 1
    });
    u8::try_from(at).unwrap_or(u8::MAX)
}

impl CompactCodec {
    fn new(spec: &CodecSpec) -> Self {
        let flags = [spec.nack, spec.pli, spec.fir, spec.transport_cc];
        let known = FMTP.iter().position(|known| *known == spec.fmtp).and_then(|at| u8::try_from(at).ok());
        Self {
            codec: spec.codec,
            payload_type: spec.payload_type,
            rtx_payload_type: spec.rtx_payload_type,
            fmtp: known.map_or_else(|| Fmtp::Other(spec.fmtp.clone()), Fmtp::Known),
            feedback: flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag)),
        }
    }

    fn restore(self) -> Option<CodecSpec> {
        let flag = |bit: u8| self.feedback & 1 << bit != 0;
        Some(CodecSpec {
            codec: self.codec,
            payload_type: self.payload_type,
            rtx_payload_type: self.rtx_payload_type,
            clock_hz: self.codec.clock_hz(),
            nack: flag(0),
            pli: flag(1),
            fir: flag(2),
            transport_cc: flag(3),
            fmtp: match self.fmtp {
                Fmtp::Known(at) => (*FMTP.get(usize::from(at))?).to_owned(),
                Fmtp::Other(text) => text,
            },
        })
    }
}

impl CompactFlow {
    fn new(flow: &Flow) -> Self {
        match flow {
            Flow::None => Self::None,
            Flow::Receive { rids, ssrcs } => Self::Receive { rids: rids.clone(), ssrcs: ssrcs.clone() },
            Flow::Send { slot, ssrc, rtx_ssrc } => {
                Self::Send { slot: *slot, ssrc: *ssrc, rtx_ssrc: *rtx_ssrc }
            }
        }
    }

    fn restore(self) -> Flow {
        match self {
            Self::None => Flow::None,
            Self::Receive { rids, ssrcs } => Flow::Receive { rids, ssrcs },
            Self::Send { slot, ssrc, rtx_ssrc } => Flow::Send { slot, ssrc, rtx_ssrc },
        }
    }
}
