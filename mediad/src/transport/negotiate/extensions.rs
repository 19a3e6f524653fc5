//! Pure: no clock, no I/O, no async.
//!
//! RTP header extensions (RFC 8285): which URIs we know, who sends them, under which id.

use super::sdp::{Direction, MediaSection, line};
use crate::transport::spec::ExtensionIds;

/// Ids that one-byte headers can carry; we do not negotiate two-byte ones.
const IDS: std::ops::RangeInclusive<u8> = 1..=14;

/// Who sends the section's media.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sender {
    Client,
    Us,
}

/// Known extensions: URI, and whether it is of use when the media comes from us.
const KNOWN: [(&str, bool); 9] = [
    ("http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time", true),
    ("urn:ietf:params:rtp-hdrext:ssrc-audio-level", true),
    ("https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension", true),
    ("urn:ietf:params:rtp-hdrext:sdes:mid", true),
    ("http://www.webrtc.org/experiments/rtp-hdrext/playout-delay", true),
    ("urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id", false),
    ("urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id", false),
    ("http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01", true),
    ("urn:3gpp:video-orientation", true),
];

/// The ids in the order of [`KNOWN`].
fn slots(ids: &mut ExtensionIds) -> [&mut Option<u8>; KNOWN.len()] {
    [
        &mut ids.abs_send_time,
        &mut ids.audio_level,
        &mut ids.dependency_descriptor,
        &mut ids.mid,
        &mut ids.playout_delay,
        &mut ids.rid,
        &mut ids.repaired_rid,
        &mut ids.transport_cc,
        &mut ids.video_orientation,
    ]
}

/// Reads what the client offers and we know.
pub(super) fn shared(section: &MediaSection<'_>, sender: Sender) -> ExtensionIds {
    let mut ids = ExtensionIds::default();
    let mut taken = 0u16;
    for value in section.values("extmap") {
        let mut words = value.split_ascii_whitespace();
        let (Some(id), Some(uri)) = (words.next(), words.next()) else { continue };
        let (id, direction) = id.split_once('/').unwrap_or((id, "sendrecv"));
        let Some(id) = id.parse().ok().filter(|id| IDS.contains(id)) else { continue };
        let Some(direction) = Direction::parse(direction) else { continue };
        let flows = match sender {
            Sender::Client => direction.sends(),
            Sender::Us => direction.receives(),
        };
        let Some(which) = KNOWN.iter().position(|(known, _)| *known == uri) else { continue };
        let useful = sender == Sender::Client || KNOWN[which].1;
        let slots = slots(&mut ids);
        if flows && useful && slots[which].is_none() && taken & 1 << id == 0 {
            taken |= 1 << id;
            *slots.into_iter().nth(which).expect("as many slots as known extensions") = Some(id);
        }
    }
    ids
}

/// `a=extmap` lines.
pub(super) fn write(out: &mut String, ids: &ExtensionIds) {
    let mut ids = *ids;
    for (id, (uri, _)) in slots(&mut ids).into_iter().zip(KNOWN) {
        if let Some(id) = id {
            line(out, format_args!("a=extmap:{id} {uri}"));
        }
    }
}

/// What we offer.
pub(super) fn ours(kind: common::wire::node::MediaKind, sender: Sender) -> ExtensionIds {
    let video = kind == common::wire::node::MediaKind::Video;
    let layers = video && sender == Sender::Client;
    ExtensionIds {
        abs_send_time: Some(2),
        audio_level: (!video).then_some(1),
        dependency_descriptor: video.then_some(12),
        mid: Some(4),
        playout_delay: video.then_some(5),
        rid: layers.then_some(10),
        repaired_rid: layers.then_some(11),
        transport_cc: Some(3),
        video_orientation: video.then_some(13),
    }
}
