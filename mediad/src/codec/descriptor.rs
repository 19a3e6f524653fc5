//! Pure: no clock, no I/O, no async.
//!
//! Rewriting of VP8 and VP9 payload descriptors, so that a subscriber sees one encoder however often its source
//! changes: picture ids (always written with 15 bits), TL0PICIDX and KEYIDX get an offset.

use super::PayloadInfo;
use crate::ring::PacketMeta;

/// There is a picture id.
pub const PICTURE_ID: u8 = 1;
/// It has 15 bits.
pub const PICTURE_ID_LONG: u8 = 1 << 1;
/// There is a TL0PICIDX.
pub const TL0: u8 = 1 << 2;
/// There is a KEYIDX (VP8).
pub const KEY_INDEX: u8 = 1 << 3;
/// VP9: a byte of layer indices lies between picture id and TL0PICIDX.
pub const LAYER_INDICES: u8 = 1 << 4;
/// The descriptor is VP9's.
pub const VP9: u8 = 1 << 7;

/// Picture ids have 15 bits.
pub const PICTURE_ID_MASK: u16 = 0x7fff;

/// Most bytes that a rewritten descriptor has.
pub const DESCRIPTOR_BYTES_MAX: usize = 6;

/// The counters of one packet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Which fields there are.
    pub fields: u8,
    /// Picture id, extended to 15 bits.
    pub picture_id: u16,
    /// TL0PICIDX.
    pub tl0: u8,
    /// KEYIDX, 5 bits.
    pub key_index: u8,
}

impl From<PayloadInfo> for Counters {
    fn from(info: PayloadInfo) -> Self {
        Self {
            fields: info.descriptor,
            picture_id: info.picture_id,
            tl0: info.tl0,
            key_index: info.key_index,
        }
    }
}

impl From<&PacketMeta> for Counters {
    fn from(meta: &PacketMeta) -> Self {
        Self {
            fields: meta.descriptor,
            picture_id: meta.picture_id,
            tl0: meta.tl0,
            key_index: meta.key_index,
        }
    }
}

/// What is added to the counters, modulo their widths.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Offsets {
    /// To picture ids.
    pub picture_id: u16,
    /// To TL0PICIDX.
    pub tl0: u8,
    /// To KEYIDX.
    pub key_index: u8,
}

impl Offsets {
    /// The offsets that make `first` follow `last` (counters as sent).
    pub const fn after(last: &Counters, first: &Counters) -> Self {
        Self {
            picture_id: last.picture_id.wrapping_add(1).wrapping_sub(first.picture_id) & PICTURE_ID_MASK,
            tl0: last.tl0.wrapping_add(1).wrapping_sub(first.tl0),
            key_index: last.key_index.wrapping_add(1).wrapping_sub(first.key_index) & 0x1f,
        }
    }

    /// Counters as they are sent.
    pub const fn apply(&self, counters: &Counters) -> Counters {
        Counters {
            fields: counters.fields,
            picture_id: counters.picture_id.wrapping_add(self.picture_id) & PICTURE_ID_MASK,
            tl0: counters.tl0.wrapping_add(self.tl0),
            key_index: counters.key_index.wrapping_add(self.key_index) & 0x1f,
        }
    }
}

/// How much of a payload [`rewrite`] replaced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cut {
    /// Bytes of the original that are replaced.
    pub read: usize,
    /// Bytes that stand in their place.
    pub written: usize,
}

/// Bytes that rewriting adds to a payload: a 7-bit picture id grows by one.
pub const fn growth(fields: u8) -> usize {
    (fields & (PICTURE_ID | PICTURE_ID_LONG) == PICTURE_ID) as usize
}

/// Writes the beginning of the payload with changed counters into `out`. None when there is nothing to change.
pub fn rewrite(counters: &Counters, payload: &[u8], offsets: &Offsets, out: &mut [u8]) -> Option<Cut> {
    let fields = counters.fields;
    if fields & (PICTURE_ID | TL0 | KEY_INDEX) == 0 {
        return None;
    }
    let sent = offsets.apply(counters);
    // VP8 has two bytes before the picture id, VP9 one.
    let lead = if fields & VP9 == 0 { 2 } else { 1 };
    let id_bytes = match fields & (PICTURE_ID | PICTURE_ID_LONG) {
        0 | PICTURE_ID_LONG => 0,
        PICTURE_ID => 1,
        _ => 2,
    };
    let indices = usize::from(fields & LAYER_INDICES != 0);
    let tl0 = usize::from(fields & TL0 != 0);
    let key = usize::from(fields & VP9 == 0 && fields & KEY_INDEX != 0);
    let read = lead + id_bytes + indices + tl0 + key;
    let head = payload.get(..read)?;
    out.get(..read + 1)?;
    out[..lead].copy_from_slice(&head[..lead]);
    let (mut from, mut to) = (lead + id_bytes, lead);
    if id_bytes > 0 {
        out[to..to + 2].copy_from_slice(&(sent.picture_id | 0x8000).to_be_bytes());
        to += 2;
    }
    if indices > 0 {
        out[to] = head[from];
        (from, to) = (from + 1, to + 1);
    }
    if tl0 > 0 {
        out[to] = sent.tl0;
        (from, to) = (from + 1, to + 1);
    }
    if key > 0 {
        out[to] = head[from] & 0xe0 | sent.key_index;
        to += 1;
    }
    Some(Cut { read, written: to })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{vp8, vp9};

    #[test]
    fn vp8_counters_get_their_offsets_and_the_rest_stays() {
        // X, S; I L T K; 15-bit id 0x7fff; tl0 255; tid 1, y, keyidx 31; payload.
        let payload = [0x90, 0xf0, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3];
        let info = vp8::inspect(&payload);
        assert_eq!((info.picture_id, info.tl0, info.key_index, info.temporal), (0x7fff, 255, 31, 1));
        let mut out = [0; 16];
        let cut = rewrite(&info.into(), &payload, &Offsets { picture_id: 2, tl0: 2, key_index: 2 }, &mut out)
            .unwrap();
        assert_eq!(cut, Cut { read: 6, written: 6 });
        assert_eq!(out[..6], [0x90, 0xf0, 0x80, 0x01, 0x01, 0x61]);
    }

    #[test]
    fn short_picture_ids_become_long_ones() {
        let payload = [0x90, 0x80, 0x7f, 1, 2];
        let info = vp8::inspect(&payload);
        let mut out = [0; 16];
        let cut = rewrite(&info.into(), &payload, &Offsets { picture_id: 1, ..Offsets::default() }, &mut out)
            .unwrap();
        assert_eq!((cut, growth(info.descriptor)), (Cut { read: 3, written: 4 }, 1));
        assert_eq!(out[..4], [0x90, 0x80, 0x80, 0x80]);
    }

    #[test]
    fn vp9_picture_id_and_tl0_are_found_around_the_layer_indices() {
        // I, L, B, not flexible; id 5 (15 bits); layer indices; tl0 9; payload.
        let payload = [0xa8, 0x80, 0x05, 0x20, 9, 1];
        let info = vp9::inspect(&payload);
        assert_eq!((info.picture_id, info.tl0, info.temporal), (5, 9, 1));
        let mut out = [0; 16];
        let cut =
            rewrite(&info.into(), &payload, &Offsets { picture_id: 10, tl0: 1, key_index: 0 }, &mut out)
                .unwrap();
        assert_eq!(out[..cut.written], [0xa8, 0x80, 0x0f, 0x20, 10]);
    }

    #[test]
    fn offsets_make_a_new_source_follow_the_old_one() {
        let last = Counters { fields: 0, picture_id: 0x7fff, tl0: 255, key_index: 31 };
        let first = Counters { fields: 0, picture_id: 100, tl0: 7, key_index: 3 };
        let sent = Offsets::after(&last, &first).apply(&first);
        assert_eq!((sent.picture_id, sent.tl0, sent.key_index), (0, 0, 0));
    }
}
