//! Shell: owns the UDP sockets of the media threads.
//!
//! Each worker has its own port (base + index), so that the candidate told to a client names its worker; or all share
//! one port, where a firewall lets no more through.
//!
//! A worker's own port has two sockets: RTCP comes in at the second one. A hundred subscribers report a thousand times a
//! second; nothing of it is as urgent as media, so it need not end the worker's wait each time.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::syscall::{self, SocketOption};

/// Bytes of each kernel buffer. At 6 Gbit/s the receive side holds 5 ms, longer than any turn of the loop.
const BUFFER_BYTES: i32 = 4 << 20;

/// One worker's socket.
#[derive(Debug)]
pub struct MediaSocket {
    socket: UdpSocket,
    /// Receives RTCP.
    feedback: Option<UdpSocket>,
    local: SocketAddr,
    v6: bool,
}

/// Why a media socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another program has the port.
    #[error("media port {address} (udp) is in use; set [media] port_base to a free range")]
    InUse {
        /// As configured.
        address: SocketAddr,
    },
    /// The address is not one of this host's.
    #[error("media address {address} is not an address of this host; set [media] listen")]
    NotOurs {
        /// As configured.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("cannot open media port {address} (udp)")]
    Open {
        /// As configured.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Whether other workers use the same port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sharing {
    /// The port is this worker's own.
    Own,
    /// All workers have a socket on the port; the kernel spreads clients over them.
    Shared,
}

impl MediaSocket {
    /// Opens and binds. `listen` may be unspecified; `[::]` serves both families.
    ///
    /// # Errors
    /// [`SocketError`], which names the address.
    pub fn open(address: SocketAddr, sharing: Sharing) -> Result<Self, SocketError> {
        let v6 = address.is_ipv6();
        let other = |source| SocketError::Open { address, source };
        let descriptor = open_socket(v6).map_err(other)?;
        if sharing == Sharing::Shared {
            syscall::set_option(&descriptor, SocketOption::ReusePort, 1).map_err(other)?;
        }
        syscall::bind(&descriptor, address, v6).map_err(|source| match source.raw_os_error() {
            Some(libc::EADDRINUSE) => SocketError::InUse { address },
            Some(libc::EADDRNOTAVAIL) => SocketError::NotOurs { address },
            _ => SocketError::Open { address, source },
        })?;
        let socket = UdpSocket::from(descriptor);
        let local = socket.local_addr().map_err(other)?;
        let feedback = match sharing {
            Sharing::Own => open_feedback(&socket, local, v6)
                .inspect_err(|error| tracing::warn!(%error, "RTCP has no socket of its own: it costs more"))
                .ok(),
            Sharing::Shared => None,
        };
        Ok(Self { socket, feedback, local, v6 })
    }

    /// The socket where RTCP comes in, if not at this one.
    #[must_use]
    pub const fn feedback(&self) -> Option<&UdpSocket> {
        self.feedback.as_ref()
    }

    /// Where it is bound, with the port that the kernel chose for port 0.
    #[must_use]
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// It is an IPv6 socket.
    #[must_use]
    pub const fn is_v6(&self) -> bool {
        self.v6
    }

    /// It can send to IPv4 addresses.
    #[must_use]
    pub const fn reaches_v4(&self) -> bool {
        !self.v6 || self.local.ip().is_unspecified()
    }
}

impl AsFd for MediaSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn open_socket(v6: bool) -> io::Result<OwnedFd> {
    let descriptor = syscall::open_udp(v6)?;
    grow(&descriptor, SocketOption::ReceiveBufferForce, SocketOption::ReceiveBuffer);
    grow(&descriptor, SocketOption::SendBufferForce, SocketOption::SendBuffer);
    // Without these two the socket works, only dearer and with the drops unknown.
    for option in [SocketOption::Coalesce, SocketOption::CountDrops] {
        if let Err(error) = syscall::set_option(&descriptor, option, 1) {
            tracing::warn!(?option, %error, "the kernel lacks a socket option");
        }
    }
    Ok(descriptor)
}

/// The second socket of a port. The first one was bound alone, so nobody else has the port, and who tries to bind it without
/// the option for sharing still learns that it is in use.
fn open_feedback(first: &UdpSocket, local: SocketAddr, v6: bool) -> io::Result<UdpSocket> {
    let second = open_socket(v6)?;
    syscall::set_option(first, SocketOption::ReusePort, 1)?;
    syscall::set_option(&second, SocketOption::ReusePort, 1)?;
    syscall::bind(&second, local, v6)?;
    syscall::divert_rtcp(&second)?;
    Ok(UdpSocket::from(second))
}

/// Takes the size that the kernel grants: forced with the right to it, else up to the system's limit.
fn grow(descriptor: &impl AsFd, forced: SocketOption, plain: SocketOption) {
    let result = syscall::set_option(descriptor, forced, BUFFER_BYTES)
        .or_else(|_no_right| syscall::set_option(descriptor, plain, BUFFER_BYTES));
    if let Err(error) = result {
        tracing::warn!(option = ?plain, %error, "cannot grow a socket buffer");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_port_in_use_is_named() {
        let first = MediaSocket::open("127.0.0.1:0".parse().unwrap(), Sharing::Own).unwrap();
        let error = MediaSocket::open(first.local(), Sharing::Own).unwrap_err();
        assert!(matches!(error, SocketError::InUse { address } if address == first.local()), "{error}");
        assert!(error.to_string().contains(&first.local().port().to_string()));
    }

    #[test]
    fn rtcp_comes_in_at_a_socket_of_its_own() {
        let socket = MediaSocket::open("127.0.0.1:0".parse().unwrap(), Sharing::Own).unwrap();
        let feedback = socket.feedback().expect("a second socket");
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let expect: [(&[u8], bool); 8] = [
            (&[0x80, 200, 0], true),
            (&[0xbf, 223, 0], true),
            (&[0x80, 96, 0], false),
            (&[0x80, 224, 0], false),
            (&[0x40, 200, 0], false),
            (&[0x00, 200, 0], false),
            (&[0x80], false),
            (&[22, 254, 253], false),
        ];
        for (bytes, is_feedback) in expect {
            client.send_to(bytes, socket.local()).unwrap();
            let second = Duration::from_secs(5);
            let ready = syscall::wait_readable([socket.as_fd(), feedback.as_fd()], second);
            assert_eq!(ready, [!is_feedback, is_feedback], "{bytes:?}");
            let from = if is_feedback { feedback } else { &socket.socket };
            assert_eq!(from.recv(&mut [0; 100]).unwrap(), bytes.len());
        }
    }

    #[test]
    fn workers_may_share_a_port() {
        let first = MediaSocket::open("127.0.0.1:0".parse().unwrap(), Sharing::Shared).unwrap();
        let second = MediaSocket::open(first.local(), Sharing::Shared).unwrap();
        assert_eq!(first.local(), second.local());
    }

    #[test]
    fn an_address_of_another_host_is_named() {
        let error = MediaSocket::open("192.0.2.1:0".parse().unwrap(), Sharing::Own).unwrap_err();
        assert!(matches!(error, SocketError::NotOurs { .. }), "{error}");
    }
}
