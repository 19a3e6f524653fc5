//! Wire: between the recorder and one job's child process, the studio, on a socket pair.
//!
//! Each frame is 4 bytes little-endian length, then one postcard message. Both ends are of one build, so nothing here
//! has versions. The recorder (parent) starts `recorderd studio` with one end of a Unix socket pair as its standard
//! input; the child reads and writes that one descriptor and logs to standard error. Order of a job:
//!
//! 1. The child says [`FromStudio::Ready`] when GStreamer is loaded (it can wait so as a warm spare).
//! 2. The parent says [`ToStudio::Begin`] (or [`ToStudio::Finish`] for files that a former child left behind), then
//!    tracks, packets and rosters as they come.
//! 3. The child says [`FromStudio::Running`], then [`FromStudio::Progress`] twice a second.
//! 4. After [`ToStudio::Stop`], or the end of the socket, the child makes its files ordinary, says
//!    [`FromStudio::Done`] or [`FromStudio::Failed`], and exits.
//!
//! All times are microseconds of *recording time*: zero is the moment named in [`Begin::zero_unix_us`], on the
//! recorder's clock. The parent maps the media node's clock to it; what lies before the beginning is negative.
//!
//! When a child dies, its successor records the next piece of the film into a file of its own, with a time zero of its own:
//! the moment up to which the former piece is on the disk, 0 to 5 s ago. The parent replays the packets since then, and
//! those before it back to each picture's last key frame (negative times), as fast as the socket takes them; the child
//! catches up. [`ToStudio::Finish`] joins the pieces in the end.

use common::wire::recording::RecordingMode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Bytes before each message.
pub const HEADER_BYTES: usize = 4;

/// Bytes of one message. A roster of 200 streams with long names has 200 kB.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Tracks of one job; more are refused with a warning.
pub const TRACKS_MAX: usize = 256;

/// From the recorder to the child.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToStudio {
    /// Record. First message of a job.
    Begin(Box<Begin>),
    /// Make the files of an interrupted job ordinary, then end. Instead of [`ToStudio::Begin`].
    Finish(Box<Finish>),
    /// A track starts. One that exists under this number is replaced.
    TrackAdd(Box<TrackAdd>),
    /// One RTP packet of a track, in the order in which the media node took it.
    Rtp {
        /// The parent's number for the track.
        track: u32,
        /// When the media node received it, in recording time.
        arrival_us: i64,
        /// The whole packet, header included.
        #[serde(with = "packet")]
        bytes: Vec<u8>,
    },
    /// A sender report of the track's publisher (RFC 3550 section 6.4.1).
    Report {
        /// The track.
        track: u32,
        /// NTP time stamp, 32.32 bits.
        ntp: u64,
        /// The same moment on the track's RTP clock.
        rtp_ts: u32,
        /// When the media node received it, in recording time.
        arrival_us: i64,
    },
    /// Packets of the track were skipped; what follows does not continue what came before.
    Gap {
        /// The track.
        track: u32,
    },
    /// The track's pictures are to be turned from the next one on.
    Orientation {
        /// The track.
        track: u32,
        /// As 3GPP TS 26.114 has it (`0b0000_CFRR`); quarters of a turn clockwise in the lowest two bits.
        orientation: u8,
    },
    /// The track is over.
    TrackRemove {
        /// The track.
        track: u32,
    },
    /// The streams that are there now, in the order of publishing; replaces the former roster.
    Roster(Vec<RosterStream>),
    /// Record no more.
    Stop,
}

/// What to record, and where to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Begin {
    /// One film, or one file for each stream.
    pub mode: RecordingMode,
    /// Record sound.
    pub audio: bool,
    /// Record pictures.
    pub video: bool,
    /// Size of the film in pixels.
    pub width: u16,
    /// Size of the film in pixels.
    pub height: u16,
    /// Frames a second of the film.
    pub frame_rate: u16,
    /// Name of the layout. All that are not custom look like `BEST_FIT`.
    pub layout: String,
    /// The job's folder, which exists; everything is written there.
    pub folder: String,
    /// Composed: the film is `<name>.mp4`, the sound alone `<name>.webm`, from its first byte on.
    pub name: String,
    /// Composed: a later piece of the film. It is left as it grew, without a picture: [`ToStudio::Finish`] joins it.
    pub is_piece: bool,
    /// Composed with video: the picture of the middle of the film, as the name of a file in the folder.
    pub thumbnail: String,
    /// Draw each stream's name on its tile.
    pub labels: bool,
    /// Streams without a picture get a tile.
    pub audio_tiles: bool,
    /// Recording time zero: microseconds since 1970.
    pub zero_unix_us: u64,
    /// The child may use so much memory; it dies above it. 0 is no limit.
    pub memory_max_bytes: u64,
}

/// Files of an interrupted job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finish {
    /// What the job was.
    pub mode: RecordingMode,
    /// The job's folder.
    pub folder: String,
    /// Individual: the growing files, as [`FromStudio::FileBegan`] told them. Composed: the pieces of the film, in
    /// order, each torn or already ordinary; what a piece holds past the begin of the next one is dropped, and a hole
    /// between two stays a hole in time. A piece that cannot be read is left out, with a warning.
    pub files: Vec<Unfinished>,
    /// Composed: the film that the pieces are joined into, as the name of a file in the folder; it may be that of a
    /// piece. The pieces are removed.
    pub into: String,
    /// Composed with video: name of the picture to make; empty for none.
    pub thumbnail: String,
}

/// A file that an interrupted child left behind.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Unfinished {
    /// Its name in the folder.
    pub file: String,
    /// Composed: where its time zero lies on the film's timeline.
    pub start_us: u64,
}

/// A track.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrackAdd {
    /// The parent's number for it, used once.
    pub track: u32,
    /// How its payload is coded.
    pub codec: Codec,
    /// Ticks a second of its RTP time stamps.
    pub clock_hz: u32,
    /// Parameters of the codec as SDP has them, without `a=fmtp:<n> `; may be empty.
    pub fmtp: String,
    /// Its stream. Tracks of one stream share a clock and a tile, or a file.
    pub stream: u64,
    /// Individual: name of the stream's file without extension, checked by the parent. Tracks of one stream with the
    /// same name go into one file, at most one of each kind; a new name begins a new file.
    pub file: String,
}

/// How a track's payload is coded.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Codec {
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// RFC 6184.
    H264,
    /// RFC 7798.
    H265,
    /// The AV1 RTP payload specification.
    Av1,
    /// RFC 7587.
    Opus,
    /// Opus with redundancy, RFC 2198.
    OpusRed,
}

impl Codec {
    /// Sound or picture?
    #[must_use]
    pub const fn is_audio(self) -> bool {
        matches!(self, Self::Opus | Self::OpusRed)
    }

    /// As people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::H264 => "H264",
            Self::H265 => "H265",
            Self::Av1 => "AV1",
            Self::Opus | Self::OpusRed => "Opus",
        }
    }
}

/// One stream of the roster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RosterStream {
    /// The stream.
    pub stream: u64,
    /// Its label. Text of a stranger; shortened to fit.
    pub name: String,
    /// A shared screen gets a big tile.
    pub screen: bool,
    /// Has a sound track.
    pub has_audio: bool,
    /// Has a picture track.
    pub has_video: bool,
    /// Its sound is on.
    pub audio_active: bool,
    /// Its picture is on.
    pub video_active: bool,
}

/// From the child to the recorder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromStudio {
    /// GStreamer is loaded.
    Ready,
    /// Composed: the first frame is in the file. Individual: the job has begun (files begin with
    /// [`FromStudio::FileBegan`]).
    Running,
    /// How far it is.
    Progress {
        /// Recording time up to which everything is on the disk, whatever kills the process.
        media_us: u64,
        /// Bytes of all files.
        bytes: u64,
        /// For an operator: what is not as it should be (`AV1 cannot be decoded here`); empty for nothing.
        warning: String,
    },
    /// Individual: a stream's first packet is in its file.
    FileBegan {
        /// The stream.
        stream: u64,
        /// Name of the file in the folder while it grows.
        file: String,
        /// First media, in recording time.
        start_us: u64,
        /// Its tracks are sound, ...
        has_audio: bool,
        /// ... and picture. Sent again when one joins.
        has_video: bool,
    },
    /// Individual: all tracks of a file are over, and it is ordinary now.
    FileEnded(FileResult),
    /// A picture of about this size suffices for this track: its tile is so big. 0 by 0: no picture is needed.
    WantLayer {
        /// The track.
        track: u32,
        /// Pixels of the tile.
        width: u16,
        /// Pixels of the tile.
        height: u16,
    },
    /// The track's next picture must be a key frame.
    WantKeyframe {
        /// The track.
        track: u32,
    },
    /// Everything is in ordinary files. The last message.
    Done {
        /// Length of the film; individual: from the first start to the last end.
        duration_us: u64,
        /// Bytes of the film; individual: of all files.
        bytes: u64,
        /// Individual: every file. Composed: the film (and no picture).
        files: Vec<FileResult>,
        /// What went wrong on the way; empty for nothing.
        warning: String,
    },
    /// It cannot go on; files are left as they are. The last message.
    Failed {
        /// For humans.
        why: String,
    },
}

/// A finished file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileResult {
    /// Its stream; 0 for a film, and unknown (0) after [`ToStudio::Finish`].
    pub stream: u64,
    /// Name of the file while it grew.
    pub grown: String,
    /// Its name now.
    pub file: String,
    /// Size.
    pub bytes: u64,
    /// First media, in recording time; 0 after [`ToStudio::Finish`].
    pub start_us: u64,
    /// Length.
    pub duration_us: u64,
    /// Has sound.
    pub has_audio: bool,
    /// Has a picture.
    pub has_video: bool,
}

/// Why bytes are not a message. The connection is unusable afterwards.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The content is not a message.
    #[error("malformed message")]
    Malformed(#[source] postcard::Error),
    /// The peer announced, or the message has, more than the limit.
    #[error("message of {length} bytes is over the limit of {MESSAGE_BYTES_MAX}")]
    TooLong {
        /// Announced length.
        length: usize,
    },
}

/// One frame, header included.
///
/// # Errors
/// [`ProtocolError::TooLong`] above [`MESSAGE_BYTES_MAX`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, ProtocolError> {
    let mut frame = postcard::to_extend(message, vec![0; HEADER_BYTES]).map_err(ProtocolError::Malformed)?;
    let length = frame.len() - HEADER_BYTES;
    if length > MESSAGE_BYTES_MAX {
        return Err(ProtocolError::TooLong { length });
    }
    let header = u32::try_from(length).map_err(|_over| ProtocolError::TooLong { length })?.to_le_bytes();
    frame[..HEADER_BYTES].copy_from_slice(&header);
    Ok(frame)
}

/// Turns bytes, as they come, into messages. Holds at most one frame and what was pushed behind it.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    read: usize,
}

impl Decoder {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.read > 0 {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, if there is one.
    ///
    /// # Errors
    /// [`ProtocolError`]; the connection is to be closed.
    #[expect(clippy::should_implement_trait, reason = "what comes next depends on what the caller asks for")]
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ProtocolError> {
        let waiting = self.bytes.get(self.read..).unwrap_or_default();
        let Some((header, rest)) = waiting.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*header) as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(ProtocolError::TooLong { length });
        }
        let Some(content) = rest.get(..length) else { return Ok(None) };
        let message = postcard::from_bytes(content).map_err(ProtocolError::Malformed)?;
        self.read += HEADER_BYTES + length;
        Ok(Some(message))
    }
}

/// Packets as one run of bytes, not number by number.
mod packet {
    use std::fmt;

    use serde::de::Visitor;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_of_bytes_cut_anywhere() {
        let messages = [
            ToStudio::Rtp { track: 7, arrival_us: -12, bytes: vec![0x80, 1, 2, 3] },
            ToStudio::Report { track: 7, ntp: u64::MAX, rtp_ts: 9, arrival_us: 5 },
            ToStudio::Stop,
        ];
        let all: Vec<u8> = messages.iter().flat_map(|message| encode(message).unwrap()).collect();
        for step in [1, 3, 7, all.len()] {
            let (mut decoder, mut read) = (Decoder::default(), Vec::new());
            for part in all.chunks(step) {
                decoder.push(part);
                while let Some(message) = decoder.next::<ToStudio>().unwrap() {
                    read.push(message);
                }
            }
            assert_eq!(read, messages);
        }
    }

    #[test]
    fn what_is_too_long_or_no_message_is_an_error() {
        let mut decoder = Decoder::default();
        decoder.push(&[0, 0, 0x20, 0]);
        assert!(matches!(decoder.next::<ToStudio>(), Err(ProtocolError::TooLong { length: 0x20_0000 })));
        let mut decoder = Decoder::default();
        decoder.push(&[1, 0, 0, 0, 99]);
        assert!(matches!(decoder.next::<ToStudio>(), Err(ProtocolError::Malformed(_))));
        let long = ToStudio::Rtp { track: 1, arrival_us: 0, bytes: vec![0; MESSAGE_BYTES_MAX] };
        assert!(matches!(encode(&long), Err(ProtocolError::TooLong { .. })));
    }
}
