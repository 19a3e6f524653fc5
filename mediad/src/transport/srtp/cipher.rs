//! Pure: no clock, no I/O, no async.
//!
//! The two ciphers over one session key set. RTP and SRTCP differ only in what surrounds the call: both number their
//! packets, and both form the initialisation vector of salt, SSRC and index in the same places.

use aes::Aes128;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipher};
use hmac::{Hmac, Mac};
use ring::aead;
use sha1::Sha1;

use super::SrtpError;
use super::keys::{Label, MasterKey, Profile};

/// Bytes of the longer of the two tags.
pub(super) const TAG_BYTES_MAX: usize = 16;

/// Bytes of a CM80 tag.
const HMAC_TAG_BYTES: usize = 10;

/// Labels of one protocol's session keys.
#[derive(Clone, Copy, Debug)]
pub(super) enum Protocol {
    Rtp,
    Rtcp,
}

impl Protocol {
    const fn labels(self) -> (Label, Label, Label) {
        match self {
            Self::Rtp => (Label::RtpEncryption, Label::RtpAuthentication, Label::RtpSalt),
            Self::Rtcp => (Label::RtcpEncryption, Label::RtcpAuthentication, Label::RtcpSalt),
        }
    }
}

/// Session keys of one protocol in one direction.
pub(super) enum Cipher {
    Gcm(Box<Gcm>),
    Cm(Box<Cm>),
}

impl Cipher {
    pub(super) fn new(profile: Profile, master: &MasterKey, protocol: Protocol) -> Self {
        match profile {
            Profile::AeadAes128Gcm => Self::Gcm(Box::new(Gcm::new(master, protocol))),
            Profile::Aes128CmHmacSha1_80 => Self::Cm(Box::new(Cm::new(master, protocol))),
        }
    }
}

/// AES-128-GCM (RFC 7714).
pub(super) struct Gcm {
    key: aead::LessSafeKey,
    salt: [u8; 12],
}

impl Gcm {
    fn new(master: &MasterKey, protocol: Protocol) -> Self {
        let (encryption, _, salting) = protocol.labels();
        let mut key = [0; 16];
        master.derive(encryption, &mut key);
        let mut salt = [0; 12];
        master.derive(salting, &mut salt);
        Self::from_session(&key, salt)
    }

    pub(super) fn from_session(key: &[u8; 16], salt: [u8; 12]) -> Self {
        let key = aead::UnboundKey::new(&aead::AES_128_GCM, key).expect("an AES-128 key has 16 bytes");
        Self { key: aead::LessSafeKey::new(key), salt }
    }

    /// RFC 7714 sections 8.1 and 9.1: two zero bytes, SSRC, 48-bit index; XOR salt.
    fn nonce(&self, ssrc: u32, index: u64) -> aead::Nonce {
        let mut iv = [0; 12];
        iv[2..6].copy_from_slice(&ssrc.to_be_bytes());
        iv[6..].copy_from_slice(&index.to_be_bytes()[2..]);
        for (byte, salt) in iv.iter_mut().zip(self.salt) {
            *byte ^= salt;
        }
        aead::Nonce::assume_unique_for_key(iv)
    }

    /// Encrypts `text` in place and gives its tag.
    pub(super) fn seal(&self, ssrc: u32, index: u64, aad: &[u8], text: &mut [u8]) -> [u8; TAG_BYTES_MAX] {
        let nonce = self.nonce(ssrc, index);
        let sealed = self.key.seal_in_place_separate_tag(nonce, aead::Aad::from(aad), text);
        let tag = sealed.expect("a packet is far below GCM's length limit");
        let mut bytes = [0; TAG_BYTES_MAX];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    /// Decrypts `text` (ciphertext and tag) in place and gives the length of the plaintext.
    pub(super) fn open(
        &self,
        ssrc: u32,
        index: u64,
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<usize, SrtpError> {
        let nonce = self.nonce(ssrc, index);
        match self.key.open_in_place(nonce, aead::Aad::from(aad), text) {
            Ok(plain) => Ok(plain.len()),
            Err(ring::error::Unspecified) => Err(SrtpError::Forged),
        }
    }
}

/// AES-128 in counter mode with HMAC-SHA1 cut to 80 bits (RFC 3711).
pub(super) struct Cm {
    cipher: Aes128,
    salt: [u8; 14],
    hmac: Hmac<Sha1>,
}

impl Cm {
    fn new(master: &MasterKey, protocol: Protocol) -> Self {
        let (encryption, authentication, salting) = protocol.labels();
        let mut key = [0; 16];
        master.derive(encryption, &mut key);
        let mut salt = [0; 14];
        master.derive(salting, &mut salt);
        let mut auth = [0; 20];
        master.derive(authentication, &mut auth);
        Self::from_session(&key, salt, &auth)
    }

    pub(super) fn from_session(key: &[u8; 16], salt: [u8; 14], auth: &[u8; 20]) -> Self {
        let hmac = <Hmac<Sha1> as Mac>::new_from_slice(auth).expect("HMAC takes keys of any length");
        Self { cipher: Aes128::new(key.into()), salt, hmac }
    }

    /// Applies the key stream: encrypts and decrypts (RFC 3711 section 4.1.1).
    pub(super) fn apply(&self, ssrc: u32, index: u64, text: &mut [u8]) {
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&self.salt);
        for (byte, ssrc) in iv[4..8].iter_mut().zip(ssrc.to_be_bytes()) {
            *byte ^= ssrc;
        }
        for (byte, index) in iv[8..14].iter_mut().zip(&index.to_be_bytes()[2..]) {
            *byte ^= index;
        }
        let core = ctr::CtrCore::<&Aes128, ctr::flavors::Ctr128BE>::inner_iv_init(&self.cipher, &iv.into());
        aes::cipher::StreamCipherCoreWrapper::from_core(core).apply_keystream(text);
    }

    /// Tag over `text` and `suffix` (roll-over counter, or nothing).
    pub(super) fn tag(&self, text: &[u8], suffix: &[u8]) -> [u8; HMAC_TAG_BYTES] {
        let mut hmac = self.hmac.clone();
        hmac.update(text);
        hmac.update(suffix);
        let full = hmac.finalize().into_bytes();
        let mut tag = [0; HMAC_TAG_BYTES];
        tag.copy_from_slice(&full[..HMAC_TAG_BYTES]);
        tag
    }

    /// Checks a tag in constant time.
    pub(super) fn verify(&self, text: &[u8], suffix: &[u8], tag: &[u8]) -> Result<(), SrtpError> {
        let mut hmac = self.hmac.clone();
        hmac.update(text);
        hmac.update(suffix);
        hmac.verify_truncated_left(tag).map_err(|hmac::digest::MacError| SrtpError::Forged)
    }
}
