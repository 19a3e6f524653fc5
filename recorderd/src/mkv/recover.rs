//! Pure: no clock, no I/O of its own, no async.
//!
//! Makes a file ordinary that its writer could not end: finds the last whole frame, and tells what to write.

use std::io::{self, Read, Seek, SeekFrom};

use super::{
    CLUSTER, CLUSTER_MS, CUES_MAX, Cue, Ending, HEADER_BYTES, MASTER_HEADER_BYTES, Write, cues, front,
    size_patch,
};

/// Frames above this do not exist; a size above it is a torn one.
const BLOCK_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What is to be done with a file.
#[derive(Debug)]
pub struct Recovery {
    /// First: cut the file here.
    pub keep_bytes: u64,
    /// Then: write these.
    pub writes: Vec<Write>,
    /// Its length of time.
    pub end_ms: i64,
    /// All its codecs may be in a file whose name ends in `.webm`.
    pub webm: bool,
    /// Has frames of sound.
    pub has_audio: bool,
    /// Has frames of a picture.
    pub has_video: bool,
}

#[derive(Debug, Default)]
struct Found {
    cluster: Option<(u64, i64)>,
    cues: Vec<Cue>,
    whole_bytes: u64,
    end_ms: i64,
    sizes: Vec<Write>,
    tracks_seen: u64,
}

/// Looks through a file of ours. `None`: it is none, or has no frame.
///
/// # Errors
/// What reading gives.
pub fn recover<F: Read + Seek>(file: &mut F) -> io::Result<Option<Recovery>> {
    let mut header = vec![0; usize::try_from(HEADER_BYTES).unwrap_or_default()];
    if file.read_exact(&mut header).is_err() || !header.starts_with(&[0x1a, 0x45, 0xdf, 0xa3]) {
        return Ok(None);
    }
    let mut found = Found { whole_bytes: HEADER_BYTES, ..Found::default() };
    let file_bytes = file.seek(SeekFrom::End(0))?;
    let mut reader = Buffered { file, at: HEADER_BYTES, window: Vec::new(), window_at: 0 };
    reader.at = HEADER_BYTES;
    while found.element(&mut reader, file_bytes)? {}
    if found.end_ms == 0 {
        return Ok(None);
    }
    let kinds = track_kinds(&header);
    let has = |kind: u8| {
        (1_u64..)
            .zip(&kinds)
            .any(|(number, found_kind)| *found_kind == kind && found.tracks_seen >> number & 1 == 1)
    };
    let (has_audio, has_video) = (has(2), has(1));
    let webm = header.windows(8).any(|window| window == b"webm\0\0\0\0");
    let mut writes = found.sizes;
    if let Some((at, _)) = found.cluster {
        writes.push(size_patch(at, found.whole_bytes));
    }
    let index = cues(&found.cues);
    let ending = Ending {
        cues_at: found.whole_bytes,
        file_bytes: found.whole_bytes + index.len() as u64,
        end_ms: found.end_ms,
    };
    writes.push(Write::Append(index));
    writes.push(Write::At(0, front(webm, Some(ending))));
    Ok(Some(Recovery {
        keep_bytes: found.whole_bytes,
        writes,
        end_ms: found.end_ms,
        webm,
        has_audio,
        has_video,
    }))
}

/// Gives each whole frame of the only track of a file: its time, whether it is a key frame, and its bytes. Frames above
/// [`SMALL_FRAME_BYTES_MAX`] end it: sound has none.
///
/// # Errors
/// What reading gives.
pub fn small_frames<F: Read + Seek>(file: &mut F, mut each: impl FnMut(i64, bool, &[u8])) -> io::Result<()> {
    let file_bytes = file.seek(SeekFrom::End(0))?;
    let mut found = Found::default();
    let mut reader = Buffered { file, at: HEADER_BYTES, window: Vec::new(), window_at: 0 };
    loop {
        let begin = reader.at;
        if !found.element(&mut reader, file_bytes)? {
            return Ok(());
        }
        let end = reader.at;
        if found.whole_bytes != end {
            continue;
        }
        // A frame ends here; its bytes are behind id, size, track, time and flags.
        reader.at = begin;
        if end - begin > SMALL_FRAME_BYTES_MAX {
            return Ok(());
        }
        let Some(element) = reader.peek(end - begin)? else { return Ok(()) };
        reader.at = end;
        let Some((size_bytes, _)) = read_size(element.get(1..).unwrap_or_default()) else { return Ok(()) };
        let start = usize::try_from(1 + size_bytes).unwrap_or_default();
        let (Some(head), Some((_, cluster_ms))) = (element.get(start..start + 4), found.cluster) else {
            continue;
        };
        let ms = cluster_ms.saturating_add(i64::from(i16::from_be_bytes([head[1], head[2]])));
        each(ms, head[3] & 0x80 != 0, element.get(start + 4..).unwrap_or_default());
    }
}

/// Bytes of a frame of sound, with what is around it.
pub const SMALL_FRAME_BYTES_MAX: u64 = 32 * 1024;

/// Types of the tracks in the header, in order: what follows each `TrackType` id.
fn track_kinds(header: &[u8]) -> Vec<u8> {
    // Each entry begins TrackNumber, TrackUID, TrackType, as written by us.
    let entries = header.windows(12).filter(|window| {
        window[0] == 0xd7
            && window[1] == 0x81
            && window[3..6] == [0x73, 0xc5, 0x81]
            && window[7..9] == [0x83, 0x81]
    });
    entries.map(|window| window[9]).collect()
}

impl Found {
    /// Reads one element below the segment; false at the end of what is whole.
    fn element<F: Read + Seek>(&mut self, reader: &mut Buffered<'_, F>, file_bytes: u64) -> io::Result<bool> {
        let at = reader.at;
        let Some(head) = reader.peek(16)? else { return Ok(false) };
        if head.starts_with(&CLUSTER.to_be_bytes()) {
            // Id, size, time: a cluster is only there with its time.
            let Some(time) = reader.skip_and_peek(MASTER_HEADER_BYTES, 2)? else { return Ok(false) };
            let length = u64::from(time[1] & 0x0f);
            if time[0] != 0xe7 || length == 0 || length > 8 {
                return Ok(false);
            }
            let Some(bytes) = reader.skip_and_peek(2, length)? else { return Ok(false) };
            let ms = bytes.iter().fold(0_i64, |value, byte| value << 8 | i64::from(*byte));
            reader.at += length;
            if let Some((before, _)) = self.cluster.replace((at, ms)) {
                self.sizes.push(size_patch(before, at));
            }
            return Ok(true);
        }
        if head[0] != 0xa3 {
            return Ok(false);
        }
        let Some((size_bytes, size)) = read_size(&head[1..]) else { return Ok(false) };
        let end = at + 1 + size_bytes + size;
        if !(4..=BLOCK_BYTES_MAX).contains(&size) || end > file_bytes {
            return Ok(false);
        }
        let Some(block) = reader.skip_and_peek(1 + size_bytes, 4)? else { return Ok(false) };
        self.block(&block);
        reader.at = end;
        self.whole_bytes = end;
        Ok(true)
    }

    fn block(&mut self, block: &[u8]) {
        let Some((cluster_at, start_ms)) = self.cluster else { return };
        let ms = start_ms.saturating_add(i64::from(i16::from_be_bytes([block[1], block[2]])));
        let (track, key) = (u64::from(block[0] & 0x3f), block[3] & 0x80 != 0);
        let far = self.cues.last().is_none_or(|cue| ms >= cue.ms + CLUSTER_MS);
        if key && far && self.cues.len() < CUES_MAX {
            self.cues.push(Cue { ms, track, cluster_at });
        }
        self.tracks_seen |= 1 << track;
        self.end_ms = self.end_ms.max(ms + 20);
    }
}

/// A size in one to eight bytes.
fn read_size(bytes: &[u8]) -> Option<(u64, u64)> {
    let first = *bytes.first()?;
    let length = first.leading_zeros() as usize + 1;
    let all = bytes.get(..length).filter(|_| length <= 8)?;
    let value = all.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    Some((length as u64, value & !(1 << (7 * length))))
}

/// Reads pieces here and there without a system call for each.
struct Buffered<'a, F> {
    file: &'a mut F,
    at: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<F: Read + Seek> Buffered<'_, F> {
    /// The next bytes, which stay where they are; at least half of them, the rest zero at the end of the file.
    fn peek(&mut self, length: u64) -> io::Result<Option<Vec<u8>>> {
        let wanted = self.at..self.at + length;
        let held = self.window_at..self.window_at + self.window.len() as u64;
        if wanted.start < held.start || wanted.end > held.end {
            self.file.seek(SeekFrom::Start(self.at))?;
            self.window.clear();
            self.window_at = self.at;
            self.file.take(64 * 1024).read_to_end(&mut self.window)?;
        }
        let start = usize::try_from(self.at - self.window_at).unwrap_or(usize::MAX);
        let there = self.window.get(start..).unwrap_or_default();
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if there.len() < length.div_ceil(2) {
            return Ok(None);
        }
        let mut bytes = there.get(..length).unwrap_or(there).to_vec();
        bytes.resize(length, 0);
        Ok(Some(bytes))
    }

    fn skip_and_peek(&mut self, skip: u64, length: u64) -> io::Result<Option<Vec<u8>>> {
        self.at += skip;
        self.peek(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::super::tests::{apply, track};
    use super::super::{Mkv, MkvCodec};
    use super::*;

    /// A file of 3 s that was not ended.
    fn torn() -> (Vec<u8>, Vec<u8>) {
        let (mut mkv, start) = Mkv::new(vec![track(MkvCodec::Opus), track(MkvCodec::Vp8)]);
        let (mut file, mut writes) = (Vec::new(), vec![start]);
        for n in 0..75_i64 {
            mkv.frame(0, n * 40, true, &[2; 50], &mut writes);
            mkv.frame(1, n * 40, n % 25 == 0, &[1; 200], &mut writes);
        }
        apply(&mut file, &writes);
        let mut rest = Vec::new();
        mkv.finish(&mut rest);
        let mut whole = file.clone();
        apply(&mut whole, &rest);
        (file, whole)
    }

    #[test]
    fn a_file_that_was_not_ended_is_ended_as_its_writer_would_have() {
        let (file, whole) = torn();
        let recovery = recover(&mut Cursor::new(&file)).unwrap().unwrap();
        assert!(recovery.webm && recovery.has_audio && recovery.has_video);
        assert_eq!((recovery.keep_bytes, recovery.end_ms), (file.len() as u64, 74 * 40 + 20));
        let mut mended = file;
        apply(&mut mended, &recovery.writes);
        // All but the index (which may choose other places) is the same, up to the length of time.
        assert_eq!(
            mended[HEADER_BYTES as usize..recovery.keep_bytes as usize],
            whole[HEADER_BYTES as usize..recovery.keep_bytes as usize]
        );
    }

    #[test]
    fn frames_come_out_as_they_went_in() {
        let (mut mkv, start) = Mkv::new(vec![track(MkvCodec::Opus)]);
        let (mut file, mut writes) = (Vec::new(), vec![start]);
        for n in 0..200_u8 {
            mkv.frame(0, i64::from(n) * 20, true, &[n; 30], &mut writes);
        }
        mkv.finish(&mut writes);
        apply(&mut file, &writes);
        let mut n = 0;
        small_frames(&mut Cursor::new(&file), |ms, key, data| {
            assert_eq!((ms, key, data), (i64::from(n) * 20, true, &[n; 30][..]));
            n += 1;
        })
        .unwrap();
        assert_eq!(n, 200);
    }

    #[test]
    fn a_torn_frame_is_cut_off_wherever_it_is_torn() {
        let (file, _) = torn();
        let mut last = 0;
        for length in file.len() - 600..=file.len() {
            let recovery = recover(&mut Cursor::new(&file[..length])).unwrap().unwrap();
            assert!(recovery.keep_bytes <= length as u64 && length as u64 - recovery.keep_bytes < 210 + 60);
            assert!(recovery.keep_bytes >= last);
            last = recovery.keep_bytes;
        }
        for length in [0, 10, 4095, 4096, 4110] {
            assert!(recover(&mut Cursor::new(&file[..length])).unwrap().is_none(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_damage_panics(at in 0_usize..30_000, value: u8) {
            let (mut file, _) = torn();
            let at = at % file.len();
            file[at] = value;
            let _recovery = recover(&mut Cursor::new(&file)).unwrap();
        }
    }
}
