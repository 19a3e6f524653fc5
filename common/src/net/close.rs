//! Wire: application codes with which a daemon closes a QUIC connection. Append-only.

use quinn::{ConnectionError, VarInt};

/// Why a connection is closed on purpose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CloseCode {
    /// The daemon ends.
    Shutdown,
    /// The peer does not speak the protocol.
    Protocol,
    /// The peer's certificate does not entitle it to this protocol, or to what it said of itself.
    Unauthorized,
    /// The same peer has opened another connection.
    Superseded,
    /// Too much to do.
    Busy,
    /// No common version.
    Version,
    /// All is said.
    Finished,
    /// masterd has not granted this, or has revoked it. A grant may be on its way.
    NotGranted,
    /// The session is not open here, or was closed.
    UnknownSession,
    /// The peer took too long to read.
    TooSlow,
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> VarInt {
        VarInt::from_u32(match self {
            Self::Shutdown => 1,
            Self::Protocol => 2,
            Self::Unauthorized => 3,
            Self::Superseded => 4,
            Self::Busy => 5,
            Self::Version => 6,
            Self::Finished => 7,
            Self::NotGranted => 8,
            Self::UnknownSession => 9,
            Self::TooSlow => 10,
        })
    }

    /// The code with which the peer closed, if it did and we know it.
    #[must_use]
    pub fn of(error: &ConnectionError) -> Option<Self> {
        let ConnectionError::ApplicationClosed(close) = error else { return None };
        let all = [
            Self::Shutdown,
            Self::Protocol,
            Self::Unauthorized,
            Self::Superseded,
            Self::Busy,
            Self::Version,
            Self::Finished,
            Self::NotGranted,
            Self::UnknownSession,
            Self::TooSlow,
        ];
        all.into_iter().find(|code| code.code() == close.error_code)
    }

    /// Closes a connection with a reason for humans.
    pub fn close(self, connection: &quinn::Connection, why: &str) {
        connection.close(self.code(), why.as_bytes());
    }
}

/// Number of the TLS alert (RFC 8446 section 6) with which the peer ended the handshake or the connection.
#[must_use]
pub fn tls_alert_of_peer(error: &ConnectionError) -> Option<u8> {
    let ConnectionError::ConnectionClosed(close) = error else { return None };
    tls_alert(close.error_code)
}

/// Number of the TLS alert with which we ended it.
#[must_use]
pub fn own_tls_alert(error: &ConnectionError) -> Option<u8> {
    let ConnectionError::TransportError(error) = error else { return None };
    tls_alert(error.code)
}

fn tls_alert(code: quinn::TransportErrorCode) -> Option<u8> {
    // QUIC carries TLS alerts as 0x100 + alert (RFC 9001 section 4.8).
    let code = u64::from(code);
    (0x100..0x200).contains(&code).then(|| code.to_le_bytes()[0])
}

/// What to tell humans about the end of a connection.
#[must_use]
pub fn describe(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            format!("closed by the peer: {}", String::from_utf8_lossy(&close.reason))
        }
        ConnectionError::TimedOut => "no answer".to_owned(),
        ConnectionError::Reset => "the peer has restarted".to_owned(),
        ConnectionError::ConnectionClosed(_)
        | ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => error.to_string(),
    }
}
