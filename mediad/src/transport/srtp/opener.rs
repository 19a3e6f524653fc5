//! Pure: no clock, no I/O, no async.
//!
//! The receiving direction: authenticity first, then the replay window, which only authentic packets move.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::cipher::{Cipher, Protocol};
use super::keys::{Profile, SrtpKeys};
use super::window::Window;
use super::{
    RTCP_ENCRYPTED, RTCP_HEADER_BYTES, RTCP_TRAILER_BYTES, RTP_HEADER_BYTES, SrtpError, rtcp_aad, u32_at,
};
use crate::transport::lease::RTCP_INDEX_END;

/// Sources of one endpoint for each of RTP and RTCP. A browser uses two for each encoding and track; only authentic
/// packets add one. Enforced by [`Opener`].
pub const SOURCES_MAX: usize = 64;

/// Sources of a usual peer: sound, or three encodings and their repairs.
const SOURCES_EXPECTED: usize = 8;

/// An RTP packet that was opened in place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opened {
    /// Its source.
    pub ssrc: u32,
    /// 48-bit index: roll-over counter above the sequence number.
    pub index: u64,
    /// Bytes of the header with CSRCs and extensions.
    pub header_len: usize,
    /// Where the plaintext is, RTP padding included.
    pub payload: Range<usize>,
}

/// A compound RTCP packet that was opened in place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OpenedRtcp {
    /// Its source.
    pub ssrc: u32,
    /// 31-bit SRTCP index.
    pub index: u32,
    /// Bytes of the plaintext packet, from the first byte.
    pub len: usize,
}

/// How far a source was received; what a successor needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct RxStream {
    /// The source.
    pub ssrc: u32,
    /// Newest index that was opened.
    pub highest: u64,
}

/// Unprotects what one endpoint sends.
pub struct Opener {
    profile: Profile,
    rtp: Cipher,
    rtcp: Cipher,
    rtp_sources: Sources,
    rtcp_sources: Sources,
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener")
            .field("profile", &self.profile)
            .field("rtp_sources", &self.rtp_sources.0.len())
            .finish_non_exhaustive()
    }
}

impl Opener {
    /// Derives the session keys of the receiving direction.
    pub fn new(keys: &SrtpKeys) -> Self {
        Self {
            profile: keys.profile,
            rtp: Cipher::new(keys.profile, &keys.rx, Protocol::Rtp),
            rtcp: Cipher::new(keys.profile, &keys.rx, Protocol::Rtcp),
            rtp_sources: Sources::default(),
            rtcp_sources: Sources::default(),
        }
    }

    /// Goes on where another node stopped: what it had received up to then is refused.
    pub fn resume(keys: &SrtpKeys, rtp: &[RxStream], rtcp: &[RxStream]) -> Self {
        let mut opener = Self::new(keys);
        opener.rtp_sources = Sources::resumed(rtp);
        opener.rtcp_sources = Sources::resumed(rtcp);
        opener
    }

    /// Agreed profile.
    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// RTP sources and how far each was received.
    pub fn rtp_streams(&self) -> impl Iterator<Item = RxStream> + '_ {
        self.rtp_sources.streams()
    }

    /// RTCP sources and how far each was received.
    pub fn rtcp_streams(&self) -> impl Iterator<Item = RxStream> + '_ {
        self.rtcp_sources.streams()
    }

    /// Authenticates and decrypts an SRTP packet in place.
    ///
    /// # Errors
    /// [`SrtpError`]; the packet's bytes are then undefined.
    pub fn open_rtp(&mut self, packet: &mut [u8]) -> Result<Opened, SrtpError> {
        let header_len = rtp_header_len(packet).ok_or(SrtpError::Malformed)?;
        let end = packet
            .len()
            .checked_sub(self.profile.rtp_overhead_bytes())
            .filter(|end| *end >= header_len)
            .ok_or(SrtpError::Malformed)?;
        let ssrc = u32_at(packet, 8);
        let sequence = u16::from_be_bytes([packet[2], packet[3]]);
        let index = self.rtp_sources.admit(ssrc, |window| match window {
            Some(window) => window.guess(sequence),
            None => Some(u64::from(sequence)),
        })?;
        match &self.rtp {
            Cipher::Gcm(gcm) => {
                let (header, rest) = packet.split_at_mut(header_len);
                gcm.open(ssrc, index, header, rest)?;
            }
            Cipher::Cm(cm) => {
                let rollover = ((index >> 16) as u32).to_be_bytes();
                let (text, tag) = packet.split_at_mut(end);
                cm.verify(text, &rollover, tag)?;
                cm.apply(ssrc, index, &mut text[header_len..]);
            }
        }
        self.rtp_sources.record(ssrc, index);
        Ok(Opened { ssrc, index, header_len, payload: header_len..end })
    }

    /// Authenticates and decrypts an SRTCP packet in place.
    ///
    /// # Errors
    /// [`SrtpError`]; the packet's bytes are then undefined.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<OpenedRtcp, SrtpError> {
        let len = packet
            .len()
            .checked_sub(self.profile.rtcp_overhead_bytes())
            .filter(|len| *len >= RTCP_HEADER_BYTES && packet[0] >> 6 == 2)
            .ok_or(SrtpError::Malformed)?;
        let at = match self.profile {
            Profile::AeadAes128Gcm => packet.len() - RTCP_TRAILER_BYTES,
            Profile::Aes128CmHmacSha1_80 => len,
        };
        let trailer = u32_at(packet, at);
        if trailer & RTCP_ENCRYPTED == 0 {
            return Err(SrtpError::Plaintext);
        }
        let index = trailer & (RTCP_INDEX_END - 1);
        let ssrc = u32_at(packet, 4);
        self.rtcp_sources.admit(ssrc, |_| Some(u64::from(index)))?;
        match &self.rtcp {
            Cipher::Gcm(gcm) => {
                let aad = rtcp_aad(packet, trailer.to_be_bytes());
                gcm.open(ssrc, u64::from(index), &aad, &mut packet[RTCP_HEADER_BYTES..at])?;
            }
            Cipher::Cm(cm) => {
                let (text, tag) = packet.split_at_mut(at + RTCP_TRAILER_BYTES);
                cm.verify(text, &[], tag)?;
                cm.apply(ssrc, u64::from(index), &mut text[RTCP_HEADER_BYTES..len]);
            }
        }
        self.rtcp_sources.record(ssrc, u64::from(index));
        Ok(OpenedRtcp { ssrc, index, len })
    }
}

/// Bytes of the RTP header with CSRCs and extension, if the packet is at least that long (RFC 3550 section 5.1).
pub(crate) fn rtp_header_len(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    if first >> 6 != 2 || packet.len() < RTP_HEADER_BYTES {
        return None;
    }
    let mut len = RTP_HEADER_BYTES + 4 * usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        let words = packet.get(len + 2..len + 4)?;
        len += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    (len <= packet.len()).then_some(len)
}

/// A few windows by SSRC; a linear search beats a hash table at this size.
#[derive(Debug)]
struct Sources(Vec<(u32, Window)>);

impl Default for Sources {
    /// With room for a usual peer's, so that the first packet of one does not allocate.
    fn default() -> Self {
        Self(Vec::with_capacity(SOURCES_EXPECTED))
    }
}

impl Sources {
    fn resumed(streams: &[RxStream]) -> Self {
        let kept = streams.iter().take(SOURCES_MAX);
        Self(kept.map(|stream| (stream.ssrc, Window::resumed(stream.highest))).collect())
    }

    fn streams(&self) -> impl Iterator<Item = RxStream> + '_ {
        self.0.iter().map(|(ssrc, window)| RxStream { ssrc: *ssrc, highest: window.highest() })
    }

    /// The index that `guess` gives, if a packet of it may come.
    fn admit(&self, ssrc: u32, guess: impl FnOnce(Option<&Window>) -> Option<u64>) -> Result<u64, SrtpError> {
        let window = self.0.iter().find(|(known, _)| *known == ssrc).map(|(_, window)| window);
        let index = guess(window).ok_or(SrtpError::Exhausted)?;
        match window {
            Some(window) if !window.is_new(index) => Err(SrtpError::Replayed),
            None if self.0.len() >= SOURCES_MAX => Err(SrtpError::TooManySources),
            Some(_) | None => Ok(index),
        }
    }

    fn record(&mut self, ssrc: u32, index: u64) {
        match self.0.iter_mut().find(|(known, _)| *known == ssrc) {
            Some((_, window)) => window.record(index),
            None => self.0.push((ssrc, Window::first(index))),
        }
    }
}
