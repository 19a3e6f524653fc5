//! Pure: no clock, no I/O, no async.
//!
//! Matroska and WebM (RFC 9559) that can be played at any time while it grows. The file begins with a header of fixed
//! length in which everything that becomes known later has its place: codecs' parameters when the first key frame is
//! there, length and index at the end. Frames are appended one by one, so whatever kills the writer loses nothing that
//! it had written; [`recover`] makes such a file ordinary too.

mod element;
pub mod recover;

use element::{float, id_and_size, master, number, text, unknown_size, void};

/// Bytes before the first cluster.
pub const HEADER_BYTES: u64 = 4096;

/// Parameters of a codec above this are left out; real ones have a few hundred bytes.
const PRIVATE_BYTES_MAX: usize = 1_500;

/// A cluster is so long at least, and ends at the next key frame then.
const CLUSTER_MS: i64 = 1_000;

/// A cluster is so long at most: times in it have 16 bits.
const CLUSTER_MS_MAX: i64 = 5_000;

/// Places in the index; one a second lasts nine hours, later clusters are found by those before.
const CUES_MAX: usize = 32_768;

/// What a track holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MkvCodec {
    /// AV1.
    Av1,
    /// H264, which WebM does not have.
    H264,
    /// H265, which WebM does not have.
    H265,
    /// Opus, 48 kHz.
    Opus,
    /// VP8.
    Vp8,
    /// VP9.
    Vp9,
}

impl MkvCodec {
    const fn id(self) -> &'static str {
        match self {
            Self::Av1 => "V_AV1",
            Self::H264 => "V_MPEG4/ISO/AVC",
            Self::H265 => "V_MPEGH/ISO/HEVC",
            Self::Opus => "A_OPUS",
            Self::Vp8 => "V_VP8",
            Self::Vp9 => "V_VP9",
        }
    }

    const fn is_webm(self) -> bool {
        !matches!(self, Self::H264 | Self::H265)
    }
}

/// One track.
#[derive(Clone, Debug)]
pub struct MkvTrack {
    /// What it holds.
    pub codec: MkvCodec,
    /// Pixels; zero until known.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// The codec's own parameters; Opus has its own here.
    pub private: Vec<u8>,
}

impl MkvTrack {
    fn entry(&self, index: u64) -> Vec<u8> {
        let audio = self.codec == MkvCodec::Opus;
        let mut parts = vec![
            number(0xd7, index),
            number(0x73c5, index),
            number(0x83, if audio { 2 } else { 1 }),
            number(0x9c, 0),
            text(0x86, self.codec.id()),
        ];
        if audio {
            parts.push(number(0x56aa, u64::from(OPUS_SKIP) * 1_000_000_000 / 48_000));
            parts.push(number(0x56bb, 80_000_000));
            parts.push(master(0xe1, &[float(0xb5, 48_000.0), number(0x9f, 2)]));
            parts.push(element::bytes(0x63a2, &opus_head()));
        } else {
            let size =
                [number(0xb0, u64::from(self.width.max(1))), number(0xba, u64::from(self.height.max(1)))];
            parts.push(master(0xe0, &size));
            if !self.private.is_empty() && self.private.len() <= PRIVATE_BYTES_MAX {
                parts.push(element::bytes(0x63a2, &self.private));
            }
        }
        master(0xae, &parts)
    }
}

/// Samples that every Opus encoder adds in front.
const OPUS_SKIP: u16 = 312;

fn opus_head() -> Vec<u8> {
    let mut head = b"OpusHead\x01\x02".to_vec();
    head.extend(OPUS_SKIP.to_le_bytes());
    head.extend(48_000_u32.to_le_bytes());
    head.extend([0, 0, 0]);
    head
}

/// A change of the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Write {
    /// Bytes at the end.
    Append(Vec<u8>),
    /// Bytes over those at this place.
    At(u64, Vec<u8>),
}

#[derive(Clone, Copy, Debug)]
struct Cluster {
    at: u64,
    start_ms: i64,
}

/// A place to seek to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Cue {
    ms: i64,
    track: u64,
    cluster_at: u64,
}

/// A file while it grows.
#[derive(Debug)]
pub struct Mkv {
    tracks: Vec<MkvTrack>,
    length: u64,
    cluster: Option<Cluster>,
    cues: Vec<Cue>,
    end_ms: i64,
}

impl Mkv {
    /// Starts a file with these tracks, numbered from 0.
    #[must_use]
    pub fn new(tracks: Vec<MkvTrack>) -> (Self, Write) {
        let mkv = Self { tracks, length: HEADER_BYTES, cluster: None, cues: Vec::new(), end_ms: 0 };
        let header = Write::Append(header(&mkv.tracks, None));
        (mkv, header)
    }

    /// The track's parameters are known now.
    pub fn set_format(&mut self, track: usize, width: u16, height: u16, private: Vec<u8>) -> Option<Write> {
        let entry = self.tracks.get_mut(track)?;
        (entry.width, entry.height, entry.private) = (width, height, private);
        Some(Write::At(0, header(&self.tracks, None)))
    }

    /// A track joins; returns its number.
    pub fn add_track(&mut self, track: MkvTrack) -> (usize, Write) {
        self.tracks.push(track);
        (self.tracks.len() - 1, Write::At(0, header(&self.tracks, None)))
    }

    /// True when the name of the file may end in `.webm`.
    #[must_use]
    pub fn is_webm(&self) -> bool {
        self.tracks.iter().all(|track| track.codec.is_webm())
    }

    /// Bytes of the file.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Time after the last frame.
    #[must_use]
    pub const fn end_ms(&self) -> i64 {
        self.end_ms
    }

    /// Appends a frame. Times run from the file's beginning and may go back a little between tracks.
    pub fn frame(&mut self, track: usize, at_ms: i64, key: bool, data: &[u8], writes: &mut Vec<Write>) {
        let Some(entry) = self.tracks.get(track) else { return };
        let audio = entry.codec == MkvCodec::Opus;
        let has_video = self.tracks.iter().any(|track| track.codec != MkvCodec::Opus);
        let at_ms = at_ms.max(0);
        let number = track as u64 + 1;
        let mut out = Vec::with_capacity(data.len() + 40);
        let seekable = key && (!audio || !has_video);
        let fits = |cluster: &Cluster| {
            let relative = at_ms - cluster.start_ms;
            (-CLUSTER_MS_MAX..=CLUSTER_MS_MAX).contains(&relative) && !(seekable && relative >= CLUSTER_MS)
        };
        let (cluster, is_new) = match self.cluster.filter(fits) {
            Some(cluster) => (cluster, false),
            None => (self.begin_cluster(at_ms, &mut out, writes), true),
        };
        if seekable && (is_new || !audio) && self.cues.len() < CUES_MAX {
            self.cues.push(Cue { ms: at_ms, track: number, cluster_at: cluster.at });
        }
        let relative = i16::try_from(at_ms - cluster.start_ms).unwrap_or_default().to_be_bytes();
        // Track numbers are below 127: one byte with its length bit.
        let head =
            [0x80 | u8::try_from(number & 0x7f).unwrap_or(1), relative[0], relative[1], u8::from(key) << 7];
        out.extend(id_and_size(0xa3, (data.len() + head.len()) as u64));
        out.extend_from_slice(&head);
        out.extend_from_slice(data);
        self.length += out.len() as u64;
        self.end_ms = self.end_ms.max(at_ms + if audio { 20 } else { 33 });
        writes.push(Write::Append(out));
    }

    fn begin_cluster(&mut self, at_ms: i64, out: &mut Vec<u8>, writes: &mut Vec<Write>) -> Cluster {
        writes.extend(self.end_cluster());
        let cluster = Cluster { at: self.length, start_ms: at_ms };
        self.cluster = Some(cluster);
        out.extend(unknown_size(CLUSTER));
        out.extend(number(0xe7, at_ms.cast_unsigned()));
        cluster
    }

    /// A cluster's length is written when it is over.
    fn end_cluster(&mut self) -> Option<Write> {
        let cluster = self.cluster.take()?;
        Some(size_patch(cluster.at, self.length))
    }

    /// The last writes: index, length of the film and of the file.
    pub fn finish(mut self, writes: &mut Vec<Write>) {
        writes.extend(self.end_cluster());
        let cues = cues(&self.cues);
        let end =
            Ending { cues_at: self.length, file_bytes: self.length + cues.len() as u64, end_ms: self.end_ms };
        writes.push(Write::Append(cues));
        writes.push(Write::At(0, header(&self.tracks, Some(end))));
    }
}

const CLUSTER: u32 = 0x1f43_b675;
const SEGMENT: u32 = 0x1853_8067;

/// Bytes of a cluster's or the segment's id and size, as written here.
const MASTER_HEADER_BYTES: u64 = 12;

/// What is known at the end.
#[derive(Clone, Copy, Debug)]
struct Ending {
    cues_at: u64,
    file_bytes: u64,
    end_ms: i64,
}

/// Writes the size of the cluster that begins at `at` and ends at `end`.
fn size_patch(at: u64, end: u64) -> Write {
    Write::At(at + 4, element::long_size(end - at - MASTER_HEADER_BYTES))
}

/// Everything before the tracks; its length is the same whatever it says.
fn front(webm: bool, ending: Option<Ending>) -> Vec<u8> {
    let mut out = master(
        0x1a45_dfa3,
        &[
            number(0x4286, 1),
            number(0x42f7, 1),
            number(0x42f2, 4),
            number(0x42f3, 8),
            // Padded with zeros to one length (RFC 8794 section 7.4).
            text(0x4282, if webm { "webm\0\0\0\0" } else { "matroska" }),
            number(0x4287, 4),
            number(0x4285, 2),
        ],
    );
    match ending {
        Some(ending) => {
            out.extend(SEGMENT.to_be_bytes());
            out.extend(element::long_size(ending.file_bytes - SEGMENT_CONTENT_AT));
        }
        None => out.extend(unknown_size(SEGMENT)),
    }
    let seek = ending.map(|ending| {
        let at = element::long(0x53ac, ending.cues_at - SEGMENT_CONTENT_AT);
        let entry = [element::bytes(0x53ab, &[0x1c, 0x53, 0xbb, 0x6b]), at];
        master(0x114d_9b74, &[master(0x4dbb, &entry)])
    });
    out.extend(seek.unwrap_or_else(|| void(SEEK_BYTES)));
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a film are far below 2^52")]
    let duration = ending.map_or_else(|| void(11), |ending| float(0x4489, ending.end_ms as f64));
    let app = text(0x4d80, "Plenum");
    out.extend(master(
        0x1549_a966,
        &[number(0x2a_d7b1, 1_000_000), duration, app, text(0x5741, "recorderd")],
    ));
    out
}

/// Places in the segment count from here: behind the file's first element, and the segment's id and size.
const SEGMENT_CONTENT_AT: u64 = 5 + 35 + MASTER_HEADER_BYTES;

/// Length of the list of places, which has one entry.
const SEEK_BYTES: usize = 26;

fn header(tracks: &[MkvTrack], ending: Option<Ending>) -> Vec<u8> {
    let mut out = front(tracks.iter().all(|track| track.codec.is_webm()), ending);
    let entries: Vec<Vec<u8>> = (1..).zip(tracks).map(|(index, track)| track.entry(index)).collect();
    out.extend(master(0x1654_ae6b, &entries));
    let rest = usize::try_from(HEADER_BYTES).unwrap_or_default().saturating_sub(out.len());
    out.extend(void(rest));
    out
}

fn cues(cues: &[Cue]) -> Vec<u8> {
    let segment_at = SEGMENT_CONTENT_AT;
    let points: Vec<Vec<u8>> = cues
        .iter()
        .map(|cue| {
            let place = [number(0xf7, cue.track), number(0xf1, cue.cluster_at - segment_at)];
            master(0xbb, &[number(0xb3, cue.ms.cast_unsigned()), master(0xb7, &place)])
        })
        .collect();
    master(0x1c53_bb6b, &points)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn apply(file: &mut Vec<u8>, writes: &[Write]) {
        for write in writes {
            match write {
                Write::Append(bytes) => file.extend_from_slice(bytes),
                Write::At(at, bytes) => {
                    let at = usize::try_from(*at).unwrap();
                    file[at..at + bytes.len()].copy_from_slice(bytes);
                }
            }
        }
    }

    pub(super) fn track(codec: MkvCodec) -> MkvTrack {
        MkvTrack { codec, width: 0, height: 0, private: Vec::new() }
    }

    #[test]
    fn the_header_has_one_length_and_the_segment_begins_where_places_count_from() {
        let ending = Ending { cues_at: 9_000, file_bytes: 9_100, end_ms: 1_500 };
        for codec in [MkvCodec::Vp8, MkvCodec::H264] {
            let tracks = [track(codec), track(MkvCodec::Opus)];
            for end in [None, Some(ending)] {
                let bytes = header(&tracks, end);
                assert_eq!(bytes.len() as u64, HEADER_BYTES);
                let at = usize::try_from(SEGMENT_CONTENT_AT).unwrap();
                assert_eq!(bytes[at - 12..at - 8], SEGMENT.to_be_bytes());
            }
            assert_eq!(front(true, None).len(), front(false, Some(ending)).len());
        }
    }

    #[test]
    fn a_long_film_has_clusters_at_key_frames_and_an_index() {
        let (mut mkv, start) = Mkv::new(vec![track(MkvCodec::Vp8)]);
        let (mut file, mut writes) = (Vec::new(), vec![start]);
        for n in 0..100 {
            mkv.frame(0, n * 40, n % 50 == 0, &[1; 100], &mut writes);
        }
        assert!(mkv.is_webm());
        assert_eq!(mkv.cues.len(), 2);
        assert_eq!(mkv.end_ms(), 99 * 40 + 33);
        let length = mkv.length();
        mkv.finish(&mut writes);
        apply(&mut file, &writes);
        assert!(file.len() as u64 > length);
    }
}
