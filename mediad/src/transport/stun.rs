//! Wire: STUN Binding messages (RFC 8489) as ICE uses them (RFC 8445), with libwebrtc's nomination attribute.
//!
//! Reading borrows from the datagram and allocates nothing; writing gives one small `Vec`. Attributes that we do not
//! know are skipped, after MESSAGE-INTEGRITY nothing but FINGERPRINT counts (RFC 8489 section 14.5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ring::hmac;

/// Fixed value in each header.
const MAGIC: u32 = 0x2112_a442;

/// Bytes of a header.
const HEADER_BYTES: usize = 20;

/// XOR-ed onto the CRC-32 in FINGERPRINT.
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// Bytes of an attribute header and an HMAC-SHA1.
const INTEGRITY_BYTES: usize = 4 + 20;

/// Attributes of one message that are looked at; ICE needs fewer than ten.
const ATTRIBUTES_MAX: usize = 32;

mod attribute {
    pub(super) const MAPPED_ADDRESS_XOR: u16 = 0x0020;
    pub(super) const USERNAME: u16 = 0x0006;
    pub(super) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(super) const ERROR_CODE: u16 = 0x0009;
    pub(super) const PRIORITY: u16 = 0x0024;
    pub(super) const USE_CANDIDATE: u16 = 0x0025;
    pub(super) const FINGERPRINT: u16 = 0x8028;
    pub(super) const ICE_CONTROLLED: u16 = 0x8029;
    pub(super) const ICE_CONTROLLING: u16 = 0x802a;
    pub(super) const NOMINATION: u16 = 0xc001;
}

/// Why a datagram is not a STUN message for us.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StunError {
    /// FINGERPRINT does not fit.
    #[error("fingerprint does not fit")]
    Fingerprint,
    /// Not a well-formed message.
    #[error("malformed message")]
    Malformed,
    /// Neither a Binding request, a success nor an error response.
    #[error("not a binding message")]
    Method,
}

/// Pairs a response with its request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TransactionId(pub [u8; 12]);

/// What a message is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// Asks for a response.
    Request,
    /// Asks for nothing; keeps a NAT binding.
    Indication,
    /// Answer to a request that was accepted.
    Success,
    /// Answer to a request that was not.
    Error,
}

/// Who decides about pairs, as the sender sees it, with its tie-breaker (RFC 8445 section 7.1.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RoleClaim {
    /// ICE-CONTROLLED.
    Controlled(u64),
    /// ICE-CONTROLLING.
    Controlling(u64),
}

/// A password, prepared for MESSAGE-INTEGRITY with short-term credentials.
#[derive(Clone, Debug)]
pub struct IntegrityKey(hmac::Key);

impl IntegrityKey {
    /// Prepares an ICE password.
    pub fn new(password: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes()))
    }
}

/// A message that was read. Nothing in it is authentic before [`Self::verify`].
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// What it is.
    pub class: Class,
    /// Its transaction.
    pub transaction: TransactionId,
    /// USERNAME.
    pub username: Option<&'a [u8]>,
    /// PRIORITY.
    pub priority: Option<u32>,
    /// USE-CANDIDATE is there.
    pub use_candidate: bool,
    /// libwebrtc's NOMINATION (0xC001): the highest one wins.
    pub nomination: Option<u32>,
    /// ICE-CONTROLLED or ICE-CONTROLLING.
    pub role: Option<RoleClaim>,
    /// XOR-MAPPED-ADDRESS.
    pub mapped: Option<SocketAddr>,
    /// ERROR-CODE.
    pub error: Option<u16>,
    bytes: &'a [u8],
    /// Where MESSAGE-INTEGRITY begins.
    integrity_at: Option<usize>,
}

impl<'a> Message<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// [`StunError`]. FINGERPRINT must be there: ICE always sends it (RFC 8445 section 7.1).
    pub fn parse(bytes: &'a [u8]) -> Result<Self, StunError> {
        let (kind, length) = parse_header(bytes).ok_or(StunError::Malformed)?;
        let class = match kind {
            0x0001 => Class::Request,
            0x0011 => Class::Indication,
            0x0101 => Class::Success,
            0x0111 => Class::Error,
            _ => return Err(StunError::Method),
        };
        if length + HEADER_BYTES != bytes.len() {
            return Err(StunError::Malformed);
        }
        let mut id = [0; 12];
        id.copy_from_slice(&bytes[8..HEADER_BYTES]);
        let mut message = Self {
            class,
            transaction: TransactionId(id),
            username: None,
            priority: None,
            use_candidate: false,
            nomination: None,
            role: None,
            mapped: None,
            error: None,
            bytes,
            integrity_at: None,
        };
        message.read_attributes()?;
        Ok(message)
    }

    fn read_attributes(&mut self) -> Result<(), StunError> {
        let mut at = HEADER_BYTES;
        for _ in 0..ATTRIBUTES_MAX {
            if at == self.bytes.len() {
                return Err(StunError::Fingerprint);
            }
            let (kind, value, next) = attribute_at(self.bytes, at).ok_or(StunError::Malformed)?;
            if kind == attribute::FINGERPRINT {
                let expected = fingerprint(&self.bytes[..at], at + 8 - HEADER_BYTES);
                let last = next == self.bytes.len();
                return if last && word(value) == Some(expected) {
                    Ok(())
                } else {
                    Err(StunError::Fingerprint)
                };
            }
            if self.integrity_at.is_none() {
                self.read_attribute(kind, value, at).ok_or(StunError::Malformed)?;
            }
            at = next;
        }
        Err(StunError::Malformed)
    }

    /// Takes in one attribute; none if its content is malformed.
    fn read_attribute(&mut self, kind: u16, value: &'a [u8], at: usize) -> Option<()> {
        match kind {
            attribute::USERNAME => self.username = Some(value),
            attribute::PRIORITY => self.priority = Some(word(value)?),
            attribute::USE_CANDIDATE => self.use_candidate = true,
            attribute::NOMINATION => self.nomination = Some(word(value)?),
            attribute::ICE_CONTROLLED => self.role = Some(RoleClaim::Controlled(long(value)?)),
            attribute::ICE_CONTROLLING => self.role = Some(RoleClaim::Controlling(long(value)?)),
            attribute::MAPPED_ADDRESS_XOR => self.mapped = Some(self.unmask(value)?),
            attribute::ERROR_CODE => {
                let code = value.get(2..4)?;
                self.error = Some(u16::from(code[0] & 7) * 100 + u16::from(code[1]));
            }
            attribute::MESSAGE_INTEGRITY => {
                (value.len() == 20).then_some(())?;
                self.integrity_at = Some(at);
            }
            _ => {}
        }
        Some(())
    }

    fn unmask(&self, value: &[u8]) -> Option<SocketAddr> {
        let port = u16::from_be_bytes(value.get(2..4)?.try_into().ok()?) ^ 0x2112;
        let ip = match value.get(1)? {
            1 => {
                let bytes: [u8; 4] = value.get(4..)?.try_into().ok()?;
                IpAddr::V4(Ipv4Addr::from(u32::from_be_bytes(bytes) ^ MAGIC))
            }
            2 => {
                let bytes: [u8; 16] = value.get(4..)?.try_into().ok()?;
                IpAddr::V6(Ipv6Addr::from(u128::from_be_bytes(bytes) ^ address_mask(self.transaction)))
            }
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }

    /// The local and the remote fragment of USERNAME, from the receiver's side (RFC 8445 section 7.2.2).
    pub fn fragments(&self) -> Option<(&'a str, &'a str)> {
        std::str::from_utf8(self.username?).ok()?.split_once(':')
    }

    /// True if MESSAGE-INTEGRITY was made with this key.
    pub fn verify(&self, key: &IntegrityKey) -> bool {
        let Some(at) = self.integrity_at else { return false };
        let Some(length) = u16::try_from(at + INTEGRITY_BYTES - HEADER_BYTES).ok() else { return false };
        // What is behind MESSAGE-INTEGRITY does not count, in the header's length neither.
        let mut head = [0; HEADER_BYTES];
        head.copy_from_slice(&self.bytes[..HEADER_BYTES]);
        head[2..4].copy_from_slice(&length.to_be_bytes());
        let mut context = hmac::Context::with_key(&key.0);
        context.update(&head);
        context.update(&self.bytes[HEADER_BYTES..at]);
        let tag = context.sign();
        constant_time_eq(tag.as_ref(), &self.bytes[at + 4..at + INTEGRITY_BYTES])
    }
}

/// Compares without telling by its duration where the difference is.
fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// Our fragment in the USERNAME of a request, for demultiplexing before anything is checked. USERNAME comes first in
/// what browsers send, so this is a look at fixed places.
pub fn peek_local_ufrag(bytes: &[u8]) -> Option<&[u8]> {
    let (kind, _) = parse_header(bytes)?;
    if kind != 0x0001 {
        return None;
    }
    let mut at = HEADER_BYTES;
    for _ in 0..ATTRIBUTES_MAX {
        let (kind, value, next) = attribute_at(bytes, at)?;
        if kind == attribute::USERNAME {
            return value.iter().position(|byte| *byte == b':').map(|colon| &value[..colon]);
        }
        at = next;
    }
    None
}

/// Type and length of a header whose magic fits.
fn parse_header(bytes: &[u8]) -> Option<(u16, usize)> {
    let head = bytes.get(..HEADER_BYTES)?;
    let magic = word(&head[4..8])?;
    let length = u16::from_be_bytes([head[2], head[3]]);
    (head[0] < 4 && magic == MAGIC && length % 4 == 0)
        .then(|| (u16::from_be_bytes([head[0], head[1]]), usize::from(length)))
}

/// Type and value of the attribute at `at`, and where the next one begins.
fn attribute_at(bytes: &[u8], at: usize) -> Option<(u16, &[u8], usize)> {
    let head = bytes.get(at..at + 4)?;
    let kind = u16::from_be_bytes([head[0], head[1]]);
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let value = bytes.get(at + 4..at + 4 + length)?;
    let next = at + 4 + length.next_multiple_of(4);
    (next <= bytes.len()).then_some((kind, value, next))
}

fn word(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

fn long(value: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(value.try_into().ok()?))
}

/// What an IPv6 address is XOR-ed with: magic and transaction.
fn address_mask(transaction: TransactionId) -> u128 {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC.to_be_bytes());
    mask[4..].copy_from_slice(&transaction.0);
    u128::from_be_bytes(mask)
}

/// FINGERPRINT of the message `bytes` whose header is to say `length`.
fn fingerprint(bytes: &[u8], length: usize) -> u32 {
    let mut head = [0; HEADER_BYTES];
    head.copy_from_slice(&bytes[..HEADER_BYTES]);
    head[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    let crc = crc32(crc32(u32::MAX, &head), &bytes[HEADER_BYTES..]);
    !crc ^ FINGERPRINT_XOR
}

/// CRC-32 of ISO 3309, without the final inversion.
fn crc32(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |crc, byte| CRC_TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8))
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut crc = at as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};

/// What a connectivity check says.
#[derive(Clone, Copy, Debug)]
pub struct Check<'a> {
    /// Its transaction.
    pub transaction: TransactionId,
    /// The receiver's fragment.
    pub remote_ufrag: &'a str,
    /// The sender's fragment.
    pub local_ufrag: &'a str,
    /// PRIORITY of the candidate that the receiver would learn from it.
    pub priority: u32,
    /// The sender's role.
    pub role: RoleClaim,
    /// USE-CANDIDATE, with libwebrtc's number.
    pub nomination: Option<u32>,
}

/// Writes a connectivity check; `key` is the receiver's password.
pub fn write_check(check: &Check<'_>, key: &IntegrityKey) -> Vec<u8> {
    let mut writer = Writer::new(0x0001, check.transaction);
    let username = [check.remote_ufrag.as_bytes(), b":", check.local_ufrag.as_bytes()].concat();
    writer.attribute(attribute::USERNAME, &username);
    match check.role {
        RoleClaim::Controlled(tie) => writer.attribute(attribute::ICE_CONTROLLED, &tie.to_be_bytes()),
        RoleClaim::Controlling(tie) => writer.attribute(attribute::ICE_CONTROLLING, &tie.to_be_bytes()),
    }
    writer.attribute(attribute::PRIORITY, &check.priority.to_be_bytes());
    if let Some(nomination) = check.nomination {
        writer.attribute(attribute::USE_CANDIDATE, &[]);
        writer.attribute(attribute::NOMINATION, &nomination.to_be_bytes());
    }
    writer.finish(key)
}

/// Writes the answer to an accepted check; `key` is our password. Never longer than the check.
pub fn write_success(transaction: TransactionId, mapped: SocketAddr, key: &IntegrityKey) -> Vec<u8> {
    let mut writer = Writer::new(0x0101, transaction);
    let port = mapped.port() ^ 0x2112;
    let mut value = [0; 20];
    value[2..4].copy_from_slice(&port.to_be_bytes());
    let length = match mapped.ip() {
        IpAddr::V4(ip) => {
            value[1] = 1;
            value[4..8].copy_from_slice(&(u32::from(ip) ^ MAGIC).to_be_bytes());
            8
        }
        IpAddr::V6(ip) => {
            value[1] = 2;
            value[4..].copy_from_slice(&(u128::from(ip) ^ address_mask(transaction)).to_be_bytes());
            20
        }
    };
    writer.attribute(attribute::MAPPED_ADDRESS_XOR, &value[..length]);
    writer.finish(key)
}

/// Writes a refusal, for example 487 (role conflict).
pub fn write_error(transaction: TransactionId, code: u16, key: &IntegrityKey) -> Vec<u8> {
    let mut writer = Writer::new(0x0111, transaction);
    let value = [0, 0, (code / 100) as u8, (code % 100) as u8];
    writer.attribute(attribute::ERROR_CODE, &value);
    writer.finish(key)
}

struct Writer(Vec<u8>);

impl Writer {
    fn new(kind: u16, transaction: TransactionId) -> Self {
        let mut bytes = Vec::with_capacity(160);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(MAGIC.to_be_bytes());
        bytes.extend(transaction.0);
        Self(bytes)
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.0.extend(kind.to_be_bytes());
        self.0.extend((value.len() as u16).to_be_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn set_length(&mut self, length: usize) {
        self.0[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    }

    fn finish(mut self, key: &IntegrityKey) -> Vec<u8> {
        self.set_length(self.0.len() + INTEGRITY_BYTES - HEADER_BYTES);
        let tag = hmac::sign(&key.0, &self.0);
        self.attribute(attribute::MESSAGE_INTEGRITY, tag.as_ref());
        let length = self.0.len() + 8 - HEADER_BYTES;
        let crc = fingerprint(&self.0, length);
        self.attribute(attribute::FINGERPRINT, &crc.to_be_bytes());
        self.set_length(length);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 5769 section 2.1: a request of another implementation, password VOkJxbRl1RmTxUk/WvJxBt.
    const REQUEST: &str = concat!(
        "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74",
        "002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70c",
        "bfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf"
    );
    /// RFC 5769 section 2.2: its response with an IPv4 address.
    const RESPONSE: &str = concat!(
        "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147",
        "e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96"
    );
    /// RFC 5769 section 2.3: with an IPv6 address.
    const RESPONSE_6: &str = concat!(
        "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a147",
        "0113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c"
    );

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn key() -> IntegrityKey {
        IntegrityKey::new("VOkJxbRl1RmTxUk/WvJxBt")
    }

    #[test]
    fn the_vectors_of_rfc_5769_are_read_and_verified() {
        let bytes = hex(REQUEST);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.class, Class::Request);
        assert_eq!(message.fragments(), Some(("evtj", "h6vY")));
        assert_eq!(message.priority, Some(0x6e00_01ff));
        assert_eq!(message.role, Some(RoleClaim::Controlled(0x932f_f9b1_5126_3b36)));
        assert!(message.verify(&key()));
        assert!(!message.verify(&IntegrityKey::new("another")));
        assert_eq!(peek_local_ufrag(&bytes), Some(&b"evtj"[..]));

        for (text, address) in
            [(RESPONSE, "192.0.2.1:32853"), (RESPONSE_6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
        {
            let bytes = hex(text);
            let message = Message::parse(&bytes).unwrap();
            assert_eq!(message.class, Class::Success);
            assert_eq!(message.mapped, Some(address.parse().unwrap()));
            assert!(message.verify(&key()));
        }
    }

    #[test]
    fn what_is_written_reads_back_and_an_answer_is_shorter_than_its_check() {
        let check = Check {
            transaction: TransactionId([7; 12]),
            remote_ufrag: "remote",
            local_ufrag: "own",
            priority: 0x1001_0000,
            role: RoleClaim::Controlling(u64::MAX),
            nomination: Some(3),
        };
        let bytes = write_check(&check, &key());
        let message = Message::parse(&bytes).unwrap();
        assert!(message.verify(&key()) && message.use_candidate);
        assert_eq!(message.fragments(), Some(("remote", "own")));
        assert_eq!((message.priority, message.nomination), (Some(0x1001_0000), Some(3)));
        assert_eq!(message.role, Some(check.role));
        let plain = write_check(&Check { nomination: None, ..check }, &key());
        assert!(!Message::parse(&plain).unwrap().use_candidate);
        for address in ["192.0.2.7:9", "[2001:db8::7]:65535"] {
            let mapped = address.parse().unwrap();
            let answer = write_success(check.transaction, mapped, &key());
            assert!(answer.len() <= plain.len());
            let message = Message::parse(&answer).unwrap();
            assert!(message.verify(&key()));
            assert_eq!((message.mapped, message.transaction), (Some(mapped), check.transaction));
        }
        let refusal = write_error(check.transaction, 487, &key());
        let message = Message::parse(&refusal).unwrap();
        assert!(message.verify(&key()));
        assert_eq!((message.class, message.error), (Class::Error, Some(487)));
    }

    #[test]
    fn a_changed_bit_is_noticed_and_what_follows_the_integrity_does_not_count() {
        let bytes = hex(REQUEST);
        for at in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[at / 8] ^= 1 << (at % 8);
            let good = Message::parse(&changed).is_ok_and(|message| message.verify(&key()));
            assert!(!good, "bit {at}");
        }
        // A forged USE-CANDIDATE behind MESSAGE-INTEGRITY.
        let mut longer = bytes[..bytes.len() - 8].to_vec();
        longer.extend([0x00, 0x25, 0, 0]);
        let length = longer.len() + 8 - HEADER_BYTES;
        let crc = fingerprint(&longer, length);
        longer.extend([0x80, 0x28, 0, 4]);
        longer.extend(crc.to_be_bytes());
        longer[2..4].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        let message = Message::parse(&longer).unwrap();
        assert!(message.verify(&key()) && !message.use_candidate);
    }

    proptest! {
        #[test]
        fn rubbish_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(message) = Message::parse(&bytes) {
                prop_assert!(!message.verify(&key()));
            }
            let _ = peek_local_ufrag(&bytes);
        }

        #[test]
        fn mutated_messages_never_panic_and_never_verify(
            which in 0usize..3,
            changes in proptest::collection::vec((0usize..108, 1u8..), 1..6),
            cut in 0usize..20,
        ) {
            let mut bytes = hex([REQUEST, RESPONSE, RESPONSE_6][which]);
            for (at, change) in changes {
                let at = at % bytes.len();
                bytes[at] ^= change;
            }
            bytes.truncate(bytes.len() - cut);
            if bytes != hex([REQUEST, RESPONSE, RESPONSE_6][which]) {
                let good = Message::parse(&bytes).is_ok_and(|message| message.verify(&key()));
                prop_assert!(!good);
            }
            let _ = peek_local_ufrag(&bytes);
        }
    }
}
