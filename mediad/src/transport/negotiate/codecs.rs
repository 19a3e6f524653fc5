//! Pure: no clock, no I/O, no async.
//!
//! Payload formats of a section: what the client offers, read into [`CodecSpec`], and what we write of it.

use common::wire::node::MediaKind;

use super::sdp::{MediaSection, line};
use crate::transport::spec::{Codec, CodecSpec};

/// Payload formats of one section that are looked at; Chromium lists 35.
const FORMATS_MAX: usize = 128;

/// Longest `a=fmtp` value that is kept; those of codecs have less than 100 bytes (H.265 with parameter sets more).
const FMTP_BYTES_MAX: usize = 1024;

impl Codec {
    /// Name in `a=rtpmap`, as browsers write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Av1 => "AV1",
            Self::H264 => "H264",
            Self::H265 => "H265",
            Self::Opus => "opus",
            Self::Red => "red",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
        }
    }

    /// Name in our own protocol: upper case.
    pub fn upper_name(self) -> String {
        self.name().to_ascii_uppercase()
    }

    /// The codec of a name in any case.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Av1, Self::H264, Self::H265, Self::Opus, Self::Red, Self::Vp8, Self::Vp9]
            .into_iter()
            .find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// Its RTP clock.
    pub const fn clock_hz(self) -> u32 {
        match self.kind() {
            MediaKind::Audio => 48_000,
            MediaKind::Video => 90_000,
        }
    }

    /// What it carries.
    pub const fn kind(self) -> MediaKind {
        match self {
            Self::Opus | Self::Red => MediaKind::Audio,
            Self::Av1 | Self::H264 | Self::H265 | Self::Vp8 | Self::Vp9 => MediaKind::Video,
        }
    }
}

/// One payload format.
struct Format<'a> {
    payload_type: u8,
    name: &'a str,
    clock_hz: u32,
    fmtp: &'a str,
}

/// Reads the codecs that we pass through, in the order of the client's media line, each with its RTX format.
/// `video` restricts video to one codec.
pub(super) fn shared(section: &MediaSection<'_>, kind: MediaKind, video: Option<Codec>) -> Vec<CodecSpec> {
    let formats = formats(section);
    let wanted = |codec: Codec| {
        codec.kind() == kind && (kind == MediaKind::Audio || video.is_none_or(|only| only == codec))
    };
    let mut codecs: Vec<CodecSpec> = formats
        .iter()
        .filter_map(|format| {
            let codec = Codec::parse(format.name).filter(|codec| wanted(*codec))?;
            // Every one of them has a single clock; another one is another format.
            (format.clock_hz == codec.clock_hz()).then_some(())?;
            Some(CodecSpec {
                codec,
                payload_type: format.payload_type,
                rtx_payload_type: rtx_of(&formats, format.payload_type),
                clock_hz: format.clock_hz,
                fmtp: format.fmtp.to_owned(),
                nack: has_feedback(section, format.payload_type, "nack"),
                pli: has_feedback(section, format.payload_type, "nack pli"),
                fir: has_feedback(section, format.payload_type, "ccm fir"),
                transport_cc: has_feedback(section, format.payload_type, "transport-cc"),
            })
        })
        .collect();
    // Redundancy around a codec that is not agreed upon is of no use.
    let opus: Vec<u8> =
        codecs.iter().filter(|spec| spec.codec == Codec::Opus).map(|spec| spec.payload_type).collect();
    codecs.retain(|spec| {
        let carries = |fmtp: &str| {
            fmtp.split('/').all(|inner| inner.trim().parse().is_ok_and(|inner| opus.contains(&inner)))
        };
        spec.codec != Codec::Red || carries(&spec.fmtp)
    });
    codecs
}

fn formats<'a>(section: &MediaSection<'a>) -> Vec<Format<'a>> {
    let mut formats: Vec<Format<'a>> = Vec::new();
    for word in section.formats.iter().take(FORMATS_MAX) {
        let Some(payload_type) = word.parse().ok().filter(|payload_type| *payload_type < 128u8) else {
            continue;
        };
        if formats.iter().any(|known| known.payload_type == payload_type) {
            continue;
        }
        let Some(map) = value_for(section, "rtpmap", word) else { continue };
        let mut parts = map.split('/');
        let (Some(name), Some(clock)) = (parts.next(), parts.next()) else { continue };
        let Some(clock_hz) = clock.trim().parse().ok().filter(|clock_hz| *clock_hz > 0) else { continue };
        let fmtp = value_for(section, "fmtp", word).filter(|fmtp| fmtp.len() <= FMTP_BYTES_MAX).unwrap_or("");
        formats.push(Format { payload_type, name: name.trim(), clock_hz, fmtp });
    }
    formats
}

/// What follows `format` in an attribute whose value begins with it.
fn value_for<'a>(section: &MediaSection<'a>, name: &str, format: &str) -> Option<&'a str> {
    section.attributes.iter().filter(|attribute| attribute.name == name).find_map(|attribute| {
        let (first, rest) = attribute.value.split_once(' ')?;
        (first == format).then(|| rest.trim())
    })
}

fn rtx_of(formats: &[Format<'_>], payload_type: u8) -> Option<u8> {
    let repairs = |format: &&Format<'_>| {
        let apt = format.fmtp.split(';').find_map(|parameter| parameter.trim().strip_prefix("apt="));
        format.name.eq_ignore_ascii_case("rtx")
            && apt.and_then(|apt| apt.trim().parse().ok()) == Some(payload_type)
    };
    formats.iter().find(repairs).map(|format| format.payload_type)
}

fn has_feedback(section: &MediaSection<'_>, payload_type: u8, wanted: &str) -> bool {
    section.values("rtcp-fb").any(|value| {
        let Some((format, feedback)) = value.split_once(' ') else { return false };
        (format == "*" || format.parse() == Ok(payload_type)) && feedback.trim() == wanted
    })
}

/// Payload types of a media line: each codec, followed by its RTX format.
pub(super) fn write_formats(codecs: &[CodecSpec]) -> String {
    let types =
        codecs.iter().flat_map(|spec| std::iter::once(spec.payload_type).chain(spec.rtx_payload_type));
    types.map(|payload_type| payload_type.to_string()).collect::<Vec<_>>().join(" ")
}

/// `a=rtpmap`, `a=rtcp-fb` and `a=fmtp` lines.
pub(super) fn write(out: &mut String, codecs: &[CodecSpec]) {
    for spec in codecs {
        let payload_type = spec.payload_type;
        let (name, clock_hz) = (spec.codec.name(), spec.clock_hz);
        let channels = if spec.codec.kind() == MediaKind::Audio { "/2" } else { "" };
        line(out, format_args!("a=rtpmap:{payload_type} {name}/{clock_hz}{channels}"));
        for (agreed, feedback) in [
            (spec.transport_cc, "transport-cc"),
            (spec.fir, "ccm fir"),
            (spec.nack, "nack"),
            (spec.pli, "nack pli"),
        ] {
            if agreed {
                line(out, format_args!("a=rtcp-fb:{payload_type} {feedback}"));
            }
        }
        if !spec.fmtp.is_empty() {
            line(out, format_args!("a=fmtp:{payload_type} {}", spec.fmtp));
        }
        if let Some(rtx) = spec.rtx_payload_type {
            line(out, format_args!("a=rtpmap:{rtx} rtx/{clock_hz}"));
            line(out, format_args!("a=fmtp:{rtx} apt={payload_type}"));
        }
    }
}

/// What we offer: every codec in every form that browsers send.
pub(super) fn ours(kind: MediaKind, video: Option<Codec>) -> Vec<CodecSpec> {
    const OFFERED: [(Codec, u8, Option<u8>, &str); 10] = [
        (Codec::Opus, 111, None, "minptime=10;useinbandfec=1"),
        (Codec::Red, 63, None, "111/111"),
        (Codec::Vp8, 96, Some(97), ""),
        (
            Codec::H264,
            102,
            Some(103),
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        ),
        (
            Codec::H264,
            104,
            Some(105),
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f",
        ),
        (
            Codec::H264,
            106,
            Some(107),
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f",
        ),
        (
            Codec::H264,
            108,
            Some(109),
            "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f",
        ),
        (Codec::Vp9, 98, Some(99), "profile-id=0"),
        (Codec::Av1, 45, Some(46), "level-idx=5;profile=0;tier=0"),
        (Codec::H265, 49, Some(50), "level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST"),
    ];
    let wanted = |codec: Codec| {
        codec.kind() == kind && (kind == MediaKind::Audio || video.is_none_or(|only| only == codec))
    };
    let picture = kind == MediaKind::Video;
    OFFERED
        .into_iter()
        .filter(|(codec, ..)| wanted(*codec))
        .map(|(codec, payload_type, rtx_payload_type, fmtp)| CodecSpec {
            codec,
            payload_type,
            rtx_payload_type,
            clock_hz: codec.clock_hz(),
            fmtp: fmtp.to_owned(),
            nack: picture,
            pli: picture,
            fir: picture,
            transport_cc: codec != Codec::Red,
        })
        .collect()
}
