//! Shell: a standing tap: reads its streams, writes what is to be told.

use std::sync::Arc;

use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::dial::Dialled;
use super::{Event, Mailbox};
use crate::net::close::{CloseCode, describe};
use crate::net::frames::{self, FrameReader};
use crate::telemetry::chain;
use crate::wire::media::{Ack, Clock, FromMedia, Keyframe, ToMedia, TrackId, TrackRecord, Want};
use crate::wire::{DecodeError, Envelope, Message};

type Events = mpsc::Sender<Event>;

/// Why a task of the tap ended.
enum Failure {
    /// The connection is lost; it knows why.
    Connection,
    /// The node does not keep to the protocol.
    Protocol(String),
    /// Nobody takes the events any more.
    Unheard,
}

impl Failure {
    fn of(connection: &Connection, error: &(dyn std::error::Error + 'static)) -> Self {
        match connection.close_reason() {
            Some(_) => Self::Connection,
            None => Self::Protocol(chain(error).to_string()),
        }
    }
}

/// Serves the tap until its end, and tells of it.
pub(super) async fn run(dialled: Dialled, mailbox: Arc<Mailbox>, events: Events) {
    let Dialled { connection, send, reader, .. } = dialled;
    let mut tasks = JoinSet::new();
    tasks.spawn(read_control(connection.clone(), reader, events.clone()));
    tasks.spawn(write_control(connection.clone(), send, mailbox));
    let failure = loop {
        // All arms are cancel safe. The tasks end with the set.
        tokio::select! {
            _ = connection.closed() => break Failure::Connection,
            accepted = connection.accept_uni() => match accepted {
                // Their number is bounded by the transport's limit.
                Ok(stream) => drop(tasks.spawn(read_track(connection.clone(), stream, events.clone()))),
                Err(_) => break Failure::Connection,
            },
            Some(ended) = tasks.join_next() => match ended {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => break failure,
                Err(error) => break Failure::Protocol(format!("internal error: {error}")),
            },
        }
    };
    // What has arrived already is of use.
    if matches!(failure, Failure::Connection) {
        while let Some(ended) = tasks.join_next().await {
            drop(ended);
        }
    }
    let lost = match failure {
        Failure::Connection => {
            let reason = connection.closed().await;
            Event::Lost { code: CloseCode::of(&reason), why: describe(&reason) }
        }
        Failure::Protocol(why) => {
            CloseCode::Protocol.close(&connection, &why);
            Event::Lost { code: None, why: format!("the media node does not keep to the protocol: {why}") }
        }
        Failure::Unheard => {
            CloseCode::Finished.close(&connection, "the recorder has finished");
            return;
        }
    };
    drop(events.send(lost).await);
}

async fn tell(events: &Events, event: Event) -> Result<(), Failure> {
    events.send(event).await.map_err(|_gone| Failure::Unheard)
}

/// A message; none for one of a kind that this build does not know.
fn decode<M: Message>(envelope: &Envelope) -> Result<Option<M>, Failure> {
    match M::decode(envelope.kind, &envelope.body) {
        Ok(message) => Ok(Some(message)),
        Err(DecodeError::UnknownKind { .. }) => Ok(None),
        Err(error) => Err(Failure::Protocol(chain(&error).to_string())),
    }
}

async fn read_control(
    connection: Connection,
    mut reader: FrameReader,
    events: Events,
) -> Result<(), Failure> {
    loop {
        let envelope = match reader.next().await {
            Ok(Some(envelope)) => envelope,
            Ok(None) => return Err(Failure::Protocol("it ended the control stream".to_owned())),
            Err(error) => return Err(Failure::of(&connection, &error)),
        };
        let event = match decode(&envelope)? {
            Some(FromMedia::TrackAdded(added)) => Event::TrackAdded(added),
            Some(FromMedia::TrackRemoved(removed)) => Event::TrackRemoved(removed),
            Some(FromMedia::Clock(clock)) => Event::Clock(clock),
            Some(FromMedia::Tapped(_)) | None => continue,
        };
        tell(&events, event).await?;
    }
}

async fn write_control(
    connection: Connection,
    mut send: SendStream,
    mailbox: Arc<Mailbox>,
) -> Result<(), Failure> {
    loop {
        let outbox = std::mem::take(&mut *mailbox.outbox());
        let wants = outbox.wants.into_iter();
        let messages = wants
            .map(|((stream, kind), spatial_max)| ToMedia::from(Want { stream, kind, spatial_max }))
            .chain(outbox.keyframes.into_iter().map(|track| Keyframe { track }.into()))
            .chain(outbox.acks.into_iter().map(|(track, ring_seq)| Ack { track, ring_seq }.into()))
            .chain(outbox.clock_us.map(|asked_us| Clock { asked_us, node_us: 0, unix_us: 0 }.into()));
        for message in messages {
            frames::send(&mut send, &message).await.map_err(|error| Failure::of(&connection, &error))?;
        }
        // Both arms are cancel safe.
        tokio::select! {
            () = mailbox.changed.notified() => {}
            _ = connection.closed() => return Err(Failure::Connection),
        }
    }
}

async fn read_track(connection: Connection, stream: RecvStream, events: Events) -> Result<(), Failure> {
    let mut reader = FrameReader::new(stream);
    let mut track: Option<TrackId> = None;
    loop {
        let envelope = match reader.next().await {
            Ok(Some(envelope)) => envelope,
            Ok(None) => return Ok(()),
            Err(error) => return Err(Failure::of(&connection, &error)),
        };
        let Some(record) = decode::<TrackRecord>(&envelope)? else { continue };
        let event = match (record, track) {
            (TrackRecord::TrackHeader(header), None) => {
                track = Some(header.track);
                Event::Began(header)
            }
            (TrackRecord::TrackHeader(_), Some(_)) => {
                return Err(Failure::Protocol("a second header".to_owned()));
            }
            (_, None) => return Err(Failure::Protocol("a track without a header".to_owned())),
            (TrackRecord::Packets(packets), Some(track)) => {
                Event::Packets { track, packets: packets.packets }
            }
            (TrackRecord::Report(report), Some(track)) => Event::Report { track, report },
            (TrackRecord::Switched(switched), Some(track)) => Event::Switched { track, switched },
            (TrackRecord::Gap(gap), Some(track)) => Event::Gap { track, gap },
            (TrackRecord::Paused(paused), Some(track)) => Event::Paused { track, paused },
            (TrackRecord::End(end), Some(track)) => Event::Ended { track, why: end.why },
        };
        tell(&events, event).await?;
    }
}
