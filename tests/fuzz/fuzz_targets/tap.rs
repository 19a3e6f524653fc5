//! The link between media node and recorder: kind (2 bytes, little endian), then the body of a message in either direction
//! or of a record of a track. What can be read is the same after writing it again; what a recorder wants stays bounded.
#![no_main]

use std::fmt::Debug;

use common::limits::MEDIA_TRACKS_MAX;
use common::wire::Message;
use common::wire::media::{FromMedia, ToMedia, TrackRecord};
use libfuzzer_sys::fuzz_target;
use mediad::tap::roster::Roster;

fn check<M: Message + Debug + PartialEq>(kind: u16, body: &[u8]) -> Option<M> {
    let message = M::decode(kind, body).ok()?;
    assert_eq!(message.kind(), kind);
    assert_eq!(M::decode(kind, &message.encode_body()).expect("our own message"), message);
    Some(message)
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, body)) = data.split_first_chunk::<2>() else { return };
    let kind = u16::from_le_bytes(*kind);
    check::<FromMedia>(kind, body);
    check::<TrackRecord>(kind, body);
    if let Some(ToMedia::Want(want)) = check::<ToMedia>(kind, body) {
        let mut roster = Roster::default();
        for stream in 0..4 * u64::from(MEDIA_TRACKS_MAX) {
            let mut more = want;
            more.stream.0 = more.stream.0.wrapping_add(stream);
            roster.want(&more);
        }
        assert!(roster.wants().count() <= 2 * MEDIA_TRACKS_MAX as usize);
    }
});
