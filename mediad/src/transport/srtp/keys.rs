//! Pure: no clock, no I/O, no async.
//!
//! Master keys and the session keys that come from them (RFC 3711 section 4.3, RFC 7714 section 11; key derivation
//! rate 0, no MKI).

use std::fmt;

use aes::Aes128;
use aes::cipher::{BlockEncrypt, KeyInit};
use serde::{Deserialize, Serialize};

/// SRTP protection profiles that we speak, best first.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub enum Profile {
    /// `SRTP_AEAD_AES_128_GCM` (RFC 7714).
    AeadAes128Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80` (RFC 3711, RFC 5764): about three times as dear.
    Aes128CmHmacSha1_80,
}

impl Profile {
    /// Bytes of the master key.
    pub const KEY_BYTES: usize = 16;

    /// Bytes of the master salt.
    pub const fn salt_bytes(self) -> usize {
        match self {
            Self::AeadAes128Gcm => 12,
            Self::Aes128CmHmacSha1_80 => 14,
        }
    }

    /// Bytes that sealing adds to an RTP packet.
    pub const fn rtp_overhead_bytes(self) -> usize {
        match self {
            Self::AeadAes128Gcm => 16,
            Self::Aes128CmHmacSha1_80 => 10,
        }
    }

    /// Bytes that sealing adds to a compound RTCP packet.
    pub const fn rtcp_overhead_bytes(self) -> usize {
        self.rtp_overhead_bytes() + 4
    }

    /// Bytes of DTLS exporter output for both directions (RFC 5764 section 4.2).
    pub const fn keying_material_bytes(self) -> usize {
        2 * (Self::KEY_BYTES + self.salt_bytes())
    }
}

/// Master key and salt of one direction.
#[derive(Clone, Copy, Eq, PartialEq, Serialize, Deserialize)]
pub struct MasterKey {
    /// The key.
    pub key: [u8; Profile::KEY_BYTES],
    /// The salt; the last two bytes are zero under GCM.
    pub salt: [u8; 14],
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

impl MasterKey {
    /// Takes key and salt from slices.
    ///
    /// Returns none when a length is not the profile's.
    pub fn from_slices(profile: Profile, key: &[u8], salt: &[u8]) -> Option<Self> {
        if salt.len() != profile.salt_bytes() {
            return None;
        }
        let mut master = Self { key: key.try_into().ok()?, salt: [0; 14] };
        master.salt[..salt.len()].copy_from_slice(salt);
        Some(master)
    }

    /// Fills `out` with the session key that `label` names: AES-CM under the master key, from the salt.
    pub(super) fn derive(&self, label: Label, out: &mut [u8]) {
        let cipher = Aes128::new(&self.key.into());
        let mut input = [0; 16];
        input[..14].copy_from_slice(&self.salt);
        input[7] ^= label as u8;
        for (counter, chunk) in out.chunks_mut(16).enumerate() {
            input[15] = u8::try_from(counter).unwrap_or(u8::MAX);
            let mut block = input.into();
            cipher.encrypt_block(&mut block);
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
    }
}

/// Which session key (RFC 3711 section 4.3.1).
#[derive(Clone, Copy, Debug)]
pub(super) enum Label {
    RtpEncryption = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpEncryption = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

/// What a DTLS handshake yields, or what another node handed over: everything that sealing and opening need.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct SrtpKeys {
    /// Agreed profile.
    pub profile: Profile,
    /// For what we send.
    pub tx: MasterKey,
    /// For what we receive.
    pub rx: MasterKey,
}

impl SrtpKeys {
    /// Splits the DTLS exporter's output: client key, server key, client salt, server salt (RFC 5764 section 4.2).
    ///
    /// Returns none when the length is not [`Profile::keying_material_bytes`].
    pub fn from_keying_material(profile: Profile, material: &[u8], we_are_client: bool) -> Option<Self> {
        if material.len() != profile.keying_material_bytes() {
            return None;
        }
        let (keys, salts) = material.split_at(2 * Profile::KEY_BYTES);
        let (client_key, server_key) = keys.split_at(Profile::KEY_BYTES);
        let (client_salt, server_salt) = salts.split_at(profile.salt_bytes());
        let client = MasterKey::from_slices(profile, client_key, client_salt)?;
        let server = MasterKey::from_slices(profile, server_key, server_salt)?;
        let (tx, rx) = if we_are_client { (client, server) } else { (server, client) };
        Some(Self { profile, tx, rx })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn session_keys_are_those_of_rfc_3711_appendix_b_3() {
        let master = MasterKey::from_slices(
            Profile::Aes128CmHmacSha1_80,
            &hex("E1F97A0D3E018BE0D64FA32C06DE4139"),
            &hex("0EC675AD498AFEEBB6960B3AABE6"),
        )
        .unwrap();
        let mut key = [0; 16];
        master.derive(Label::RtpEncryption, &mut key);
        assert_eq!(key[..], hex("C61E7A93744F39EE10734AFE3FF7A087"));
        let mut salt = [0; 14];
        master.derive(Label::RtpSalt, &mut salt);
        assert_eq!(salt[..], hex("30CBBC08863D8C85D49DB34A9AE1"));
        let mut auth = [0; 94];
        master.derive(Label::RtpAuthentication, &mut auth);
        assert_eq!(
            auth[..],
            hex(concat!(
                "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCEE049646C43D9327AD175578EF7227098",
                "6371C10C9A369AC2F94A8C5FBCDDDC256D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2"
            ))
        );
    }

    #[test]
    fn keying_material_is_split_by_role() {
        let material: Vec<u8> = (0..56).collect();
        let client = SrtpKeys::from_keying_material(Profile::AeadAes128Gcm, &material, true).unwrap();
        let server = SrtpKeys::from_keying_material(Profile::AeadAes128Gcm, &material, false).unwrap();
        assert_eq!((client.tx, client.rx), (server.rx, server.tx));
        assert_eq!(client.tx.key[0], 0);
        assert_eq!(client.rx.key[0], 16);
        assert_eq!(client.tx.salt[..12], material[32..44]);
        assert!(SrtpKeys::from_keying_material(Profile::Aes128CmHmacSha1_80, &material, true).is_none());
        assert_eq!(format!("{client:?}").matches("MasterKey(..)").count(), 2);
    }
}
