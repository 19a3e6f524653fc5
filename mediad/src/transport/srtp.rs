//! Pure: no clock, no I/O, no async.
//!
//! SRTP and SRTCP in place, without an allocation for a packet: AEAD_AES_128_GCM (RFC 7714) and
//! AES_CM_128_HMAC_SHA1_80 (RFC 3711). A [`Sealer`] protects what one endpoint is sent, an [`Opener`] unprotects what
//! it sends. Sealing takes a [`Nonce`], see `lease` for why.

mod cipher;
mod keys;
#[cfg(debug_assertions)]
mod ledger;
mod opener;
#[cfg(test)]
mod tests;
mod window;

pub use keys::{MasterKey, Profile, SrtpKeys};
#[cfg(debug_assertions)]
pub use ledger::Ledger;
pub use opener::{Opened, OpenedRtcp, Opener, RxStream, SOURCES_MAX};

use self::cipher::{Cipher, Protocol};
use super::lease::{Nonce, RtcpNonce};
use crate::worker::syscall::prefetch;

/// Bytes that must be free behind a packet that is to be sealed, whatever the profile.
pub const OVERHEAD_BYTES_MAX: usize = cipher::TAG_BYTES_MAX + RTCP_TRAILER_BYTES;

/// Bytes of the fixed RTP header.
pub(crate) const RTP_HEADER_BYTES: usize = 12;

/// Bytes of an RTCP header with the sender's SSRC: never encrypted.
pub(crate) const RTCP_HEADER_BYTES: usize = 8;

/// E flag and 31-bit index.
const RTCP_TRAILER_BYTES: usize = 4;

/// The E flag: the packet is encrypted.
const RTCP_ENCRYPTED: u32 = 1 << 31;

/// Why a packet was not opened. All of them are the sender's doing; count and drop.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SrtpError {
    /// The sender used up the key's packet indexes.
    #[error("packet index beyond the life of the key")]
    Exhausted,
    /// The authentication tag does not fit.
    #[error("authentication failed")]
    Forged,
    /// Too short, or not version 2.
    #[error("malformed packet")]
    Malformed,
    /// SRTCP without encryption, which was not agreed upon.
    #[error("packet is not encrypted")]
    Plaintext,
    /// Seen before, or too old to know.
    #[error("replayed or late packet")]
    Replayed,
    /// More sources than [`SOURCES_MAX`].
    #[error("too many sources")]
    TooManySources,
}

/// Protects what one endpoint is sent.
pub struct Sealer {
    profile: Profile,
    rtp: Cipher,
    rtcp: Cipher,
    #[cfg(debug_assertions)]
    ledger: Ledger,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl Sealer {
    /// Derives the session keys of the sending direction.
    pub fn new(keys: &SrtpKeys) -> Self {
        Self {
            profile: keys.profile,
            rtp: Cipher::new(keys.profile, &keys.tx, Protocol::Rtp),
            rtcp: Cipher::new(keys.profile, &keys.tx, Protocol::Rtcp),
            #[cfg(debug_assertions)]
            ledger: Ledger::default(),
        }
    }

    /// Checks nonces against a ledger that other sealers of the same key check too (tests of take-overs).
    #[cfg(debug_assertions)]
    #[must_use]
    pub fn with_ledger(mut self, ledger: &Ledger) -> Self {
        ledger.clone_into(&mut self.ledger);
        self
    }

    /// Has the keys for RTP in the core's cache soon.
    pub fn prefetch(&self) {
        match &self.rtp {
            Cipher::Gcm(gcm) => prefetch(&**gcm),
            Cipher::Cm(cm) => prefetch(&**cm),
        }
    }

    /// Agreed profile.
    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// Protects the RTP packet `buf[..header_len + payload_len]` in place and gives its new length.
    ///
    /// `header_len` counts CSRCs and extensions too. Writes SSRC and sequence number of `nonce` into the header. The
    /// buffer must have [`Profile::rtp_overhead_bytes`] to spare; if it has not, or if `header_len` is below 12,
    /// that is a bug of the caller: debug builds panic, release builds answer 0 (nothing to send).
    pub fn seal_rtp(&self, buf: &mut [u8], header_len: usize, payload_len: usize, nonce: Nonce) -> usize {
        let end = header_len + payload_len;
        let total = end + self.profile.rtp_overhead_bytes();
        let fits = header_len >= RTP_HEADER_BYTES && total <= buf.len();
        debug_assert!(fits, "{header_len} + {payload_len} bytes do not fit into {}", buf.len());
        if !fits {
            return 0;
        }
        let rollover = nonce.rollover().to_be_bytes();
        let (ssrc, index) = nonce.spend();
        #[cfg(debug_assertions)]
        self.ledger.record_rtp(ssrc, index);
        buf[2..4].copy_from_slice(&index.to_be_bytes()[6..]);
        buf[8..12].copy_from_slice(&ssrc.to_be_bytes());
        match &self.rtp {
            Cipher::Gcm(gcm) => {
                let (header, rest) = buf.split_at_mut(header_len);
                let tag = gcm.seal(ssrc, index, header, &mut rest[..payload_len]);
                buf[end..total].copy_from_slice(&tag);
            }
            Cipher::Cm(cm) => {
                cm.apply(ssrc, index, &mut buf[header_len..end]);
                let tag = cm.tag(&buf[..end], &rollover);
                buf[end..total].copy_from_slice(&tag);
            }
        }
        total
    }

    /// Protects the compound RTCP packet `buf[..len]` in place and gives its new length.
    ///
    /// The buffer must have [`Profile::rtcp_overhead_bytes`] to spare and `len` be at least 8; otherwise as
    /// [`Self::seal_rtp`].
    pub fn seal_rtcp(&self, buf: &mut [u8], len: usize, nonce: RtcpNonce) -> usize {
        let total = len + self.profile.rtcp_overhead_bytes();
        let fits = len >= RTCP_HEADER_BYTES && total <= buf.len();
        debug_assert!(fits, "{len} bytes do not fit into {}", buf.len());
        if !fits {
            return 0;
        }
        let ssrc = u32_at(buf, 4);
        let index = nonce.spend();
        #[cfg(debug_assertions)]
        self.ledger.record_rtcp(ssrc, index);
        let trailer = (index | RTCP_ENCRYPTED).to_be_bytes();
        match &self.rtcp {
            Cipher::Gcm(gcm) => {
                let aad = rtcp_aad(buf, trailer);
                let tag = gcm.seal(ssrc, u64::from(index), &aad, &mut buf[RTCP_HEADER_BYTES..len]);
                buf[len..len + tag.len()].copy_from_slice(&tag);
                buf[total - RTCP_TRAILER_BYTES..total].copy_from_slice(&trailer);
            }
            Cipher::Cm(cm) => {
                cm.apply(ssrc, u64::from(index), &mut buf[RTCP_HEADER_BYTES..len]);
                let tagged = len + RTCP_TRAILER_BYTES;
                buf[len..tagged].copy_from_slice(&trailer);
                let tag = cm.tag(&buf[..tagged], &[]);
                buf[tagged..total].copy_from_slice(&tag);
            }
        }
        total
    }
}

/// Associated data of SRTCP under GCM: first header and trailer (RFC 7714 section 9.2).
fn rtcp_aad(
    packet: &[u8],
    trailer: [u8; RTCP_TRAILER_BYTES],
) -> [u8; RTCP_HEADER_BYTES + RTCP_TRAILER_BYTES] {
    let mut aad = [0; RTCP_HEADER_BYTES + RTCP_TRAILER_BYTES];
    aad[..RTCP_HEADER_BYTES].copy_from_slice(&packet[..RTCP_HEADER_BYTES]);
    aad[RTCP_HEADER_BYTES..].copy_from_slice(&trailer);
    aad
}

/// Big-endian word at `at`, which the caller has checked.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
