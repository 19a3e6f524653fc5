//! Wire: the part of `plenum-node/1` that is about recordings, between masterd, recorders and media nodes.
//!
//! A recording is a job of one recorder. masterd grants it access to the session's media node with a [`TapGrant`], then
//! starts it with a [`RecordingStart`]; the recorder dials the node (`plenum-media/1`, [`media`](super::media)) and reports
//! each turn of the job as a [`RecordingFact`]. A job's files lie in one folder of the recorder, named as the recording;
//! masterd reads them for its HTTP clients on streams that it opens itself ([`FileOpen`]).

use serde::{Deserialize, Serialize};

use super::Extensions;
use crate::id::{ConnectionKey, Generation, NodeKey, RecordingKey, SessionKey, StreamKey};

/// Lets a recorder read a session's media at its media node. Answered with `Ok`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct TapGrant {
    /// The session; open there.
    pub session: SessionKey,
    /// The job.
    pub recording: RecordingKey,
    /// The only recorder that may use the grant, as its certificate names it.
    pub recorder: NodeKey,
    /// Version of this grant.
    pub generation: Generation,
}

/// Ends a grant, and the tap that uses it. Idempotent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct TapRevoke {
    /// The session.
    pub session: SessionKey,
    /// The job.
    pub recording: RecordingKey,
}

/// Start a job. Answered with `Ok` when the job has its folder and its process; media may still be missing:
/// [`RecordingFact::Started`] follows. Idempotent for equal or higher generations.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct RecordingStart {
    /// The job.
    pub recording: RecordingKey,
    /// The session that is recorded.
    pub session: SessionKey,
    /// Version of the job's intended state.
    pub generation: Generation,
    /// Public name of the recording, which is the name of its folder: `[A-Za-z0-9_-]+(~[0-9]+)?`; the recorder checks it.
    pub id: String,
    /// What to record, and how.
    pub spec: Box<RecordingSpec>,
    /// Where the media is.
    pub source: TapSource,
    /// Who is there at the start.
    pub roster: Vec<RosterEntry>,
    /// Later additions.
    pub ext: Extensions,
}

/// What to record, and how. Checked by masterd; a recorder refuses what it cannot do.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct RecordingSpec {
    /// Name of the file without its extension: `[A-Za-z0-9_~-]+`; the recorder checks it.
    pub name: String,
    /// One film, or one file for each stream.
    pub mode: RecordingMode,
    /// Record sound.
    pub audio: bool,
    /// Record pictures.
    pub video: bool,
    /// How tiles are laid out. Composed with video only.
    pub layout: String,
    /// Layout's own parameter, as asked for.
    pub custom_layout: String,
    /// Size of the film in pixels. Composed with video only.
    pub width: u16,
    /// Size of the film in pixels.
    pub height: u16,
    /// Frames a second of the film.
    pub frame_rate: u16,
    /// A stream without media does not fail the job. Individual only.
    pub ignore_failed_streams: bool,
    /// Name of the session: goes into the metadata.
    pub session: String,
    /// When the session began, milliseconds since 1970: goes into the metadata.
    pub session_started_ms: u64,
    /// When the recording began, milliseconds since 1970: `createdAt` and zero of all offsets.
    pub created_at_ms: u64,
    /// JSON text of the recording's public object at the start, kept in the folder as `.recording.<id>`. The recorder
    /// rewrites `status`, `size`, `duration` and `url` in it.
    pub metadata: String,
    /// What `url` becomes when the recording is ready.
    pub url: String,
}

/// One film, or one file for each stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum RecordingMode {
    /// Everybody in one film.
    Composed,
    /// Every stream as it is, in one archive.
    Individual,
}

/// Where a session's media is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct TapSource {
    /// The media node, as its certificate names it.
    pub node: NodeKey,
    /// Its `host:port`s for `plenum-media/1`, tried in turn.
    pub addresses: Vec<String>,
}

/// The participants and streams of a recorded session now; replaces the former roster. Sent at each change.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct RecordingRoster {
    /// The job.
    pub recording: RecordingKey,
    /// Version of the job's intended state, higher than that of the last message.
    pub generation: Generation,
    /// All streams, in the order of publishing.
    pub roster: Vec<RosterEntry>,
    /// Where the media is now.
    pub source: TapSource,
}

/// One stream of a recorded session.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct RosterEntry {
    /// The stream.
    pub stream: StreamKey,
    /// Its publisher.
    pub connection: ConnectionKey,
    /// Public name of the stream.
    pub stream_id: String,
    /// Public name of its publisher's connection.
    pub connection_id: String,
    /// What the publisher says of itself. Text of a stranger.
    pub client_data: String,
    /// What the application says of the publisher.
    pub server_data: String,
    /// `CAMERA`, `SCREEN` or `CUSTOM`.
    pub type_of_video: String,
    /// Has a sound track.
    pub has_audio: bool,
    /// Has a picture track.
    pub has_video: bool,
    /// Sound is on.
    pub audio_active: bool,
    /// Picture is on.
    pub video_active: bool,
    /// May be recorded (`record` of its connection).
    pub record: bool,
    /// Later additions.
    pub ext: Extensions,
}

/// End a job and make its file ordinary. Answered with `Ok` at once; [`RecordingFact::Ready`] or
/// [`RecordingFact::Failed`] follows. Idempotent: of a job that is over already, by itself or in an earlier process of
/// the recorder, that fact is reported once more, because its first report may have been lost. Answered with an error
/// by a recorder that has no such job.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct RecordingStop {
    /// The job.
    pub recording: RecordingKey,
}

/// Remove a recording's folder. What is being made of it is called off. Idempotent.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct RecordingDelete {
    /// The job.
    pub recording: RecordingKey,
    /// Public name of the recording: its folder.
    pub id: String,
}

/// A turn of a job.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct RecordingReport {
    /// The job.
    pub recording: RecordingKey,
    /// What happened.
    pub fact: RecordingFact,
}

/// What happened to a job.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum RecordingFact {
    /// It records: a first composed frame is in the file, or every stream's file has begun.
    Started,
    /// How far it is. About every 5 s.
    Progress {
        /// Recorded time.
        duration_ms: u64,
        /// Bytes on the disk.
        size_bytes: u64,
        /// Something that an operator should know (`encoder is slow`, `disk is nearly full`); empty for none.
        warning: String,
    },
    /// It stopped by itself (disk full, no more input), and why; the file is being made ordinary.
    Stopped {
        /// For humans.
        why: String,
    },
    /// Complete. Also sent for a job that a former process of the recorder left behind and this one has finished.
    Ready {
        /// Length of the film; of the archive, from the first start to the last end.
        duration_ms: u64,
        /// Bytes of the film; of the archive, the sum of its media files.
        size_bytes: u64,
        /// What happened on the way (`the recorder was restarted: 1.2 s are missing`); empty for nothing.
        warning: String,
    },
    /// Over without a usable result. Files that exist are kept.
    Failed {
        /// For humans.
        why: String,
        /// Bytes of what is left.
        size_bytes: u64,
        /// Length of what is left.
        duration_ms: u64,
    },
}

/// Jobs that run or lie finished at a recorder, part of its inventory after each connect: what masterd believes to run
/// there and is not listed has been lost.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct RecordingAt {
    /// The job.
    pub recording: RecordingKey,
    /// Its folder.
    pub id: String,
    /// Version of the intended state that it carries out.
    pub generation: Generation,
    /// True while it records or is being made ordinary.
    pub running: bool,
}

/// First message on a bidirectional stream that masterd opens to a recorder: a file of a recording is wanted. Answered
/// on the stream with one [`FileHead`] and, if that holds a size, the bytes from `offset` on, at most `length`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct FileOpen {
    /// Public name of the recording: its folder.
    pub id: String,
    /// Name of the file in it. Names that begin with a dot are refused.
    pub name: String,
    /// First byte.
    pub offset: u64,
    /// Bytes wanted at most; `u64::MAX` is all.
    pub length: u64,
}

/// A recorder's answer to [`FileOpen`].
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum FileHead {
    /// The bytes follow.
    Found {
        /// Size of the whole file.
        size_bytes: u64,
        /// When it last changed, milliseconds since 1970.
        modified_ms: u64,
    },
    /// There is no such file.
    Missing,
    /// It cannot be read.
    Failed {
        /// For humans.
        why: String,
    },
}
