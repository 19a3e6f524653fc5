//! RTP headers, payload descriptors and RTCP as a client with valid keys may send them. What is read stays inside the
//! bytes, and a rewritten descriptor can be read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mediad::codec::{self, descriptor};
use mediad::rtcp::{Compound, Packet, twcc};
use mediad::rtp::{Found, Header};
use mediad::transport::spec::{Codec, ExtensionIds};

const CODECS: [Codec; 7] =
    [Codec::Av1, Codec::H264, Codec::H265, Codec::Opus, Codec::Red, Codec::Vp8, Codec::Vp9];

fuzz_target!(|data: &[u8]| {
    rtp(data);
    rtcp(data);
    for codec in CODECS {
        payload(codec, data);
    }
});

fn rtp(data: &[u8]) {
    let Some(header) = Header::parse(data) else { return };
    assert!(header.len <= data.len());
    for (_, range) in header.extensions(data) {
        assert!(range.end <= header.len);
    }
    let ids = ExtensionIds { mid: Some(1), rid: Some(2), transport_cc: Some(3), ..ExtensionIds::default() };
    let found = Found::read(data, &header, &ids);
    assert!(found.mid.end <= header.len && found.rid.end <= header.len);
    if let Some(range) = header.payload(data) {
        assert!(header.len <= range.start && range.start <= range.end && range.end <= data.len());
    }
}

fn rtcp(data: &[u8]) {
    for packet in Compound::new(data) {
        match packet {
            Packet::Bye(list) => assert!(list.count() <= 31),
            Packet::Fir(list) => assert!(list.count() * 8 <= data.len()),
            Packet::Nack { lost, .. } => assert!(lost.count() <= 17 * data.len() / 4),
            Packet::ReceiverReport { blocks, .. } | Packet::SenderReport { blocks, .. } => {
                assert!(blocks.count() <= 31);
            }
            Packet::TransportCc(bytes) => {
                if let Some(feedback) = twcc::Feedback::parse(bytes) {
                    assert!(feedback.count() <= usize::from(u16::MAX));
                }
            }
            Packet::Other(_) | Packet::Pli { .. } | Packet::Remb { .. } => {}
        }
    }
}

fn payload(codec: Codec, data: &[u8]) {
    let info = codec::inspect(codec, data);
    let offsets = descriptor::Offsets { picture_id: 1, tl0: 1, key_index: 1 };
    let mut out = vec![0; data.len() + descriptor::DESCRIPTOR_BYTES_MAX + 2];
    let Some(cut) = descriptor::rewrite(&info.into(), data, &offsets, &mut out) else { return };
    assert!(cut.read <= data.len() && cut.written <= cut.read + 1);
    // The receiver reads the same fields, one further.
    out.truncate(cut.written);
    out.extend(&data[cut.read..]);
    let read = codec::inspect(codec, &out);
    assert_eq!((read.keyframe, read.frame_start, read.temporal), (info.keyframe, info.frame_start, info.temporal));
    if info.descriptor & descriptor::PICTURE_ID != 0 {
        assert_eq!(read.picture_id, (info.picture_id + 1) & descriptor::PICTURE_ID_MASK);
    }
}
