//! Pure: no clock, no I/O, no async.
//!
//! What a forwarding unit must know of a payload: is it part of a key frame, does a frame begin, which layers, which
//! counters must look continuous to the receiver. Payloads are never decoded, and all of them may be hostile.

pub mod av1;
pub mod descriptor;
pub mod h264;
pub mod h265;
pub mod opus;
pub mod vp8;
pub mod vp9;

use crate::transport::spec::Codec;

/// What one payload says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PayloadInfo {
    /// Part of a key frame, as far as this packet shows it.
    pub keyframe: bool,
    /// A frame (of any spatial layer: a picture) begins here.
    pub frame_start: bool,
    /// Width and height of a key frame, where the first packet shows them.
    pub size: Option<(u16, u16)>,
    /// Spatial layer inside the encoding.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// Fields of the payload descriptor that are rewritten ([`descriptor`]).
    pub descriptor: u8,
    /// Picture id of 7 or 15 bits as sent.
    pub picture_id: u16,
    /// TL0PICIDX.
    pub tl0: u8,
    /// KEYIDX.
    pub key_index: u8,
}

/// Reads one payload. Unreadable ones give the default: they are forwarded, but nothing begins with them.
pub fn inspect(codec: Codec, payload: &[u8]) -> PayloadInfo {
    match codec {
        Codec::Av1 => av1::inspect(payload),
        Codec::H264 => h264::inspect(payload),
        Codec::H265 => h265::inspect(payload),
        Codec::Opus | Codec::Red => opus::inspect(payload),
        Codec::Vp8 => vp8::inspect(payload),
        Codec::Vp9 => vp9::inspect(payload),
    }
}

/// Upper-case name, as events and the API show it.
pub const fn name(codec: Codec) -> &'static str {
    match codec {
        Codec::Av1 => "AV1",
        Codec::H264 => "H264",
        Codec::H265 => "H265",
        Codec::Opus => "OPUS",
        Codec::Red => "RED",
        Codec::Vp8 => "VP8",
        Codec::Vp9 => "VP9",
    }
}

/// Whether what a publisher sends under `published` can be sent to a subscriber as `offered`.
pub fn compatible(published: (Codec, &str), offered: (Codec, &str)) -> bool {
    published.0 == offered.0
        && match published.0 {
            Codec::H264 => h264::compatible(published.1, offered.1),
            Codec::Vp9 => {
                parameter(published.1, "profile-id").unwrap_or("0")
                    == parameter(offered.1, "profile-id").unwrap_or("0")
            }
            Codec::Av1 => {
                parameter(published.1, "profile").unwrap_or("0")
                    == parameter(offered.1, "profile").unwrap_or("0")
            }
            Codec::H265 | Codec::Opus | Codec::Red | Codec::Vp8 => true,
        }
}

/// The value of one `name=value` pair of an `a=fmtp` line.
pub fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn profiles_must_fit_where_the_codec_has_them() {
        assert!(compatible((Codec::Vp8, ""), (Codec::Vp8, "max-fr=30")));
        assert!(!compatible((Codec::Vp8, ""), (Codec::Vp9, "")));
        assert!(compatible((Codec::Vp9, ""), (Codec::Vp9, "profile-id=0")));
        assert!(!compatible((Codec::Vp9, "profile-id=2"), (Codec::Vp9, "profile-id=0")));
        assert!(compatible((Codec::Av1, "level-idx=5;profile=0;tier=0"), (Codec::Av1, "")));
    }

    proptest! {
        #[test]
        fn rubbish_never_panics_and_a_rewritten_descriptor_reads_the_same(
            payload in proptest::collection::vec(any::<u8>(), 0..80),
            pick in 0usize..7,
        ) {
            let codec = [Codec::Av1, Codec::H264, Codec::H265, Codec::Opus, Codec::Red, Codec::Vp8, Codec::Vp9][pick];
            let info = inspect(codec, &payload);
            let mut out = [0; 200];
            let offsets = descriptor::Offsets { picture_id: 1, tl0: 1, key_index: 1 };
            if let Some(cut) = descriptor::rewrite(&info.into(), &payload, &offsets, &mut out) {
                prop_assert!(cut.read <= payload.len() && cut.written <= cut.read + 1);
                let rest = &payload[cut.read..];
                out[cut.written..cut.written + rest.len()].copy_from_slice(rest);
                let read = inspect(codec, &out[..cut.written + rest.len()]);
                let facts = |info: &PayloadInfo| (info.keyframe, info.frame_start, info.temporal, info.spatial);
                prop_assert_eq!(facts(&read), facts(&info));
                if info.descriptor & descriptor::PICTURE_ID != 0 {
                    prop_assert_eq!(read.picture_id, (info.picture_id + 1) & descriptor::PICTURE_ID_MASK);
                }
            }
        }
    }
}
