//! Wire: one endpoint as a value, so that another node can go on with it.
//!
//! Everything that a peer's transport needs after its handshake: ICE credentials and role, SRTP keys, how far each
//! incoming source was received, where each lease of outgoing packet numbers ends, and what was negotiated. DTLS is
//! not part of it. A few hundred bytes: a checkpoint of every endpoint each second must cost nothing.
//!
//! Who restores an endpoint begins at the end of its leases, see [`lease`](super::lease).

mod compact;
#[cfg(test)]
mod tests;

use common::id::{ConnectionKey, EndpointKey, Generation, SessionKey};
use common::wire::node::{EndpointKind, Permit, SlotBind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::compact::CompactSpec;
use super::ice::SavedIce;
use super::spec::EndpointSpec;
use super::srtp::SrtpKeys;

/// Version of the format. Nodes of one cluster may be one version apart; an older one is then not adopted but
/// re-subscribed.
const VERSION: u16 = 1;

/// Longest state that is taken in: 64 slots with all their codecs stay far below.
pub const STATE_BYTES_MAX: usize = 64 * 1024;

/// Why bytes are not an endpoint's state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Cut off, changed or not a state at all.
    #[error("malformed endpoint state")]
    Malformed(#[source] postcard::Error),
    /// A number in it refers to nothing, or bytes are left over.
    #[error("inconsistent endpoint state")]
    Inconsistent,
    /// Longer than [`STATE_BYTES_MAX`].
    #[error("endpoint state of {0} bytes is too long")]
    TooLong(usize),
    /// Another version wrote it.
    #[error("endpoint state of unknown version {0}")]
    Version(u16),
}

/// One endpoint. `M` is what the router saves of it.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointState<M> {
    /// Its session.
    pub session: SessionKey,
    /// Its participant.
    pub connection: ConnectionKey,
    /// Its key.
    pub endpoint: EndpointKey,
    /// Version of its intended state at the node that saved it.
    pub generation: Generation,
    /// What it is for.
    pub kind: EndpointKind,
    /// What its connection may do.
    pub permit: Permit,
    /// What its slots were filled with.
    pub binds: Vec<SlotBind>,
    /// Its ICE agent.
    pub ice: SavedIce,
    /// Its SRTP keys.
    pub keys: SrtpKeys,
    /// What was negotiated. A restored one holds no candidates and no fingerprints: ICE has moved on, DTLS is over.
    pub spec: EndpointSpec,
    /// Leases, sources and mappings.
    pub media: M,
}

/// The form in which it travels: keys once, flags packed.
#[derive(Serialize, Deserialize)]
struct Stored<M> {
    session: u64,
    connection: u64,
    endpoint: u64,
    generation: u64,
    kind: EndpointKind,
    permit: (u64, u8),
    binds: Vec<SlotBind>,
    ice: SavedIce,
    keys: SrtpKeys,
    spec: CompactSpec,
    media: M,
}

impl<M: Clone + Serialize + DeserializeOwned> EndpointState<M> {
    /// Bytes of the state.
    ///
    /// # Errors
    /// [`StateError::Malformed`] if the router's part cannot be serialised, which is a bug.
    pub fn encode(&self) -> Result<Vec<u8>, StateError> {
        let flags = [self.permit.publish_audio, self.permit.publish_video, self.permit.subscribe];
        let stored = Stored {
            session: self.session.0,
            connection: self.connection.0,
            endpoint: self.endpoint.0,
            generation: self.generation.0,
            kind: self.kind,
            permit: (
                self.permit.generation.0,
                flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag)),
            ),
            binds: self.binds.clone(),
            ice: self.ice.clone(),
            keys: self.keys,
            spec: CompactSpec::new(&self.spec),
            media: self.media.clone(),
        };
        let bytes = VERSION.to_le_bytes().to_vec();
        postcard::to_extend(&stored, bytes).map_err(StateError::Malformed)
    }

    /// Reads a state back.
    ///
    /// # Errors
    /// [`StateError`]; never panics, and allocates no more than the bytes justify.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        if bytes.len() > STATE_BYTES_MAX {
            return Err(StateError::TooLong(bytes.len()));
        }
        let (version, content) = bytes.split_first_chunk().ok_or(StateError::Inconsistent)?;
        let version = u16::from_le_bytes(*version);
        if version != VERSION {
            return Err(StateError::Version(version));
        }
        let (stored, rest): (Stored<M>, _) =
            postcard::take_from_bytes(content).map_err(StateError::Malformed)?;
        if !rest.is_empty() {
            return Err(StateError::Inconsistent);
        }
        let (ice, connection) = (stored.ice, ConnectionKey(stored.connection));
        let session = SessionKey(stored.session);
        let spec = stored.spec.restore(ice.local.clone(), ice.remote.clone());
        let flag = |bit: u8| stored.permit.1 & 1 << bit != 0;
        Ok(Self {
            session,
            connection,
            endpoint: EndpointKey(stored.endpoint),
            generation: Generation(stored.generation),
            kind: stored.kind,
            permit: Permit {
                session,
                connection,
                generation: Generation(stored.permit.0),
                publish_audio: flag(0),
                publish_video: flag(1),
                subscribe: flag(2),
            },
            binds: stored.binds,
            ice,
            keys: stored.keys,
            spec: spec.ok_or(StateError::Inconsistent)?,
            media: stored.media,
        })
    }
}
