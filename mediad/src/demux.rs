//! Pure: no clock, no I/O, no async.
//!
//! What a datagram is, from its first bytes (RFC 7983).

/// Protocol of a datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// DTLS.
    Dtls,
    /// SRTP or SRTCP.
    Media,
    /// STUN.
    Stun,
    /// None of ours.
    Unknown,
}

/// Tells the protocol by the first byte.
#[must_use]
pub fn kind(bytes: &[u8]) -> Kind {
    match bytes.first() {
        Some(0..=3) => Kind::Stun,
        Some(20..=63) => Kind::Dtls,
        Some(128..=191) => Kind::Media,
        _ => Kind::Unknown,
    }
}

/// True for a STUN success or error response (RFC 8489 section 5: class bits 0x0110, the upper one set).
#[must_use]
pub fn is_stun_answer(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first & 1 == 1)
}

/// The first word of a STUN transaction id, by which an answer finds who asked.
#[must_use]
pub fn stun_transaction_seed(bytes: &[u8]) -> Option<u32> {
    let word = bytes.get(8..12)?;
    Some(u32::from_be_bytes([word[0], word[1], word[2], word[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_tells_the_protocol() {
        let expect = |byte: u8| match byte {
            0..=3 => Kind::Stun,
            20..=63 => Kind::Dtls,
            128..=191 => Kind::Media,
            _ => Kind::Unknown,
        };
        for byte in 0..=u8::MAX {
            assert_eq!(kind(&[byte]), expect(byte));
        }
        assert_eq!(kind(&[]), Kind::Unknown);
    }

    #[test]
    fn stun_answers_are_told_from_requests() {
        assert!(!is_stun_answer(&[0x00, 0x01]), "binding request");
        assert!(!is_stun_answer(&[0x00, 0x11]), "indication");
        assert!(is_stun_answer(&[0x01, 0x01]), "success");
        assert!(is_stun_answer(&[0x01, 0x11]), "error");
        let mut message = [0; 20];
        message[8..12].copy_from_slice(&[1, 2, 3, 4]);
        assert_eq!(stun_transaction_seed(&message), Some(0x0102_0304));
        assert_eq!(stun_transaction_seed(&message[..11]), None);
    }
}
