//! Shell: owns the system calls of the media threads.
//!
//! The standard library sends and receives one datagram a call; the kernel's send path is most of what a forwarded
//! packet costs, so the workers need `recvmmsg` with `UDP_GRO` and `sendmmsg` with `UDP_SEGMENT`. This is the
//! only file of the daemon with `unsafe`: each block is one call, its wrapper is safe whatever it is given, and the
//! tests at the bottom run each call against the kernel on loopback.
#![expect(unsafe_code, reason = "batched datagram calls have no safe form in the standard library")]
#![expect(
    clippy::cast_sign_loss,
    reason = "the kernel's structures mix signed and unsigned lengths; all are far below their limits here"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::segment::Run;

/// Messages of one receive call. With coalescing each may hold dozens of datagrams.
pub const RECEIVE_MESSAGES: usize = 32;

/// Largest UDP payload; what a coalesced message may hold.
const MESSAGE_BYTES: usize = 65_536;

/// Bytes that one receive call can bring.
pub const RECEIVE_BYTES: usize = RECEIVE_MESSAGES * MESSAGE_BYTES;

/// Messages of one send call (the kernel's own bound is 1024).
pub const SEND_MESSAGES: usize = 128;

/// Room for the control data of one message: segment size, drop counter.
const CONTROL_BYTES: usize = 64;

/// Control data must be aligned like its header.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// Buffers of one receive call, allocated once.
pub struct ReceiveBatch {
    slab: Box<[u8]>,
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    drops: u32,
}

impl std::fmt::Debug for ReceiveBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveBatch").field("drops", &self.drops).finish_non_exhaustive()
    }
}

impl Default for ReceiveBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl ReceiveBatch {
    /// Allocates the buffers; pages that no traffic needs are never touched.
    #[must_use]
    pub fn new() -> Self {
        Self {
            slab: vec![0; RECEIVE_MESSAGES * MESSAGE_BYTES].into_boxed_slice(),
            names: (0..RECEIVE_MESSAGES).map(|_| empty_name()).collect(),
            controls: vec![Control([0; CONTROL_BYTES]); RECEIVE_MESSAGES].into_boxed_slice(),
            vectors: (0..RECEIVE_MESSAGES).map(|_| empty_vector()).collect(),
            headers: (0..RECEIVE_MESSAGES).map(|_| empty_header()).collect(),
            drops: 0,
        }
    }

    /// Takes what waits at the socket, up to [`RECEIVE_MESSAGES`] messages, without waiting. Returns how many; 0 is
    /// none.
    ///
    /// # Errors
    /// What the kernel says, except that nothing waits or that a signal came.
    pub fn receive(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        for index in 0..RECEIVE_MESSAGES {
            self.vectors[index] = libc::iovec {
                iov_base: self.slab[index * MESSAGE_BYTES..].as_mut_ptr().cast(),
                iov_len: MESSAGE_BYTES,
            };
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = (&raw mut self.names[index]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as u32;
            header.msg_iov = &raw mut self.vectors[index];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[index].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_BYTES;
            header.msg_flags = 0;
        }
        // SAFETY: `headers` holds RECEIVE_MESSAGES headers; each points into slab, names, controls and vectors of
        // this struct, which are alive, writable, not aliased (`&mut self`) and at least as long as stated above.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                self.headers.as_mut_ptr(),
                RECEIVE_MESSAGES as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if count >= 0 {
            return Ok(count as usize);
        }
        let error = io::Error::last_os_error();
        let nothing = matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock);
        if nothing { Ok(0) } else { Err(error) }
    }

    /// Gives each datagram of the first `messages` messages with its source to `take`, in order of arrival. Messages
    /// that were cut short or whose source is of another family are left out.
    pub fn for_each(&mut self, messages: usize, mut take: impl FnMut(SocketAddr, &mut [u8])) {
        for index in 0..messages.min(RECEIVE_MESSAGES) {
            let header = &self.headers[index];
            let length = (header.msg_len as usize).min(MESSAGE_BYTES);
            let control_length = header.msg_hdr.msg_controllen.min(CONTROL_BYTES);
            let cut_short = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            let notes = read_control(&self.controls[index].0[..control_length]);
            if let Some(drops) = notes.drops {
                self.drops = drops;
            }
            let Some(source) = from_name(&self.names[index]) else { continue };
            if cut_short || length == 0 {
                continue;
            }
            let start = index * MESSAGE_BYTES;
            let segment = notes.segment.filter(|size| *size > 0).unwrap_or(length);
            for datagram in self.slab[start..start + length].chunks_mut(segment) {
                take(source, datagram);
            }
        }
    }

    /// Datagrams that the kernel dropped at this socket because its buffer was full, since it was opened (wraps).
    #[must_use]
    pub const fn drops(&self) -> u32 {
        self.drops
    }
}

/// What the kernel noted about a received message.
#[derive(Debug, Default, Eq, PartialEq)]
struct Notes {
    /// Size of the datagrams in a coalesced message.
    segment: Option<usize>,
    /// Drops at the socket so far.
    drops: Option<u32>,
}

/// Reads control messages without trusting their lengths.
fn read_control(mut bytes: &[u8]) -> Notes {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    let mut notes = Notes::default();
    while bytes.len() >= HEADER {
        let length = read_usize(bytes, 0);
        if length < HEADER || length > bytes.len() {
            break;
        }
        let level = read_i32(bytes, 8);
        let kind = read_i32(bytes, 12);
        let content = &bytes[HEADER..length];
        if level == libc::SOL_UDP && kind == libc::UDP_GRO && content.len() >= 4 {
            notes.segment = usize::try_from(read_i32(content, 0)).ok();
        }
        if level == libc::SOL_SOCKET && kind == libc::SO_RXQ_OVFL && content.len() >= 4 {
            notes.drops = Some(read_i32(content, 0).cast_unsigned());
        }
        let next = length.next_multiple_of(align_of::<libc::cmsghdr>());
        bytes = bytes.get(next..).unwrap_or_default();
    }
    notes
}

fn read_usize(bytes: &[u8], at: usize) -> usize {
    let mut word = [0; size_of::<usize>()];
    word.copy_from_slice(&bytes[at..at + size_of::<usize>()]);
    usize::from_ne_bytes(word)
}

fn read_i32(bytes: &[u8], at: usize) -> i32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    i32::from_ne_bytes(word)
}

// The offsets that `read_control` and `write_segment` use.
const _: () = assert!(size_of::<libc::cmsghdr>() == 16 && size_of::<usize>() == 8, "64-bit Linux");

/// How a send call went.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SendReport {
    /// System calls made.
    pub calls: u64,
    /// Messages that the kernel took; each is one pass through its send path.
    pub messages: u64,
    /// Datagrams that the kernel took.
    pub datagrams: u64,
    /// Bytes that the kernel took.
    pub bytes: u64,
    /// Datagrams that the kernel refused (buffer full, no route).
    pub refused: u64,
}

/// Headers of one send call, allocated once.
pub struct SendBatch {
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    segmentation: bool,
    family_v6: bool,
}

impl std::fmt::Debug for SendBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendBatch").field("segmentation", &self.segmentation).finish_non_exhaustive()
    }
}

impl SendBatch {
    /// Allocates the headers. `family_v6`: the socket is an IPv6 one, IPv4 destinations are written as mapped.
    #[must_use]
    pub fn new(family_v6: bool) -> Self {
        Self {
            names: (0..SEND_MESSAGES).map(|_| empty_name()).collect(),
            controls: vec![Control([0; CONTROL_BYTES]); SEND_MESSAGES].into_boxed_slice(),
            vectors: (0..SEND_MESSAGES).map(|_| empty_vector()).collect(),
            headers: (0..SEND_MESSAGES).map(|_| empty_header()).collect(),
            segmentation: true,
            family_v6,
        }
    }

    /// False after the kernel refused segmentation once; then each datagram travels alone.
    #[must_use]
    pub const fn segmentation(&self) -> bool {
        self.segmentation
    }

    /// Sends `runs`, whose bytes lie in `area`. Each run is one message; where segmentation is not to be had, callers
    /// pass runs of one datagram. What the kernel refuses is skipped and counted, except a full buffer:
    /// there one wait of at most `patience` is made first.
    pub fn send(&mut self, socket: &impl AsFd, area: &[u8], runs: &[Run], patience: Duration) -> SendReport {
        let mut report = SendReport::default();
        let mut patience = Some(patience);
        let mut next = 0;
        while next < runs.len() {
            let chunk = &runs[next..runs.len().min(next + SEND_MESSAGES)];
            let filled = self.fill(area, chunk);
            report.calls += 1;
            match self.call(socket, filled) {
                Ok(taken) => {
                    for run in &chunk[..taken] {
                        report.messages += 1;
                        report.datagrams += u64::from(run.datagrams);
                        report.bytes += run.length as u64;
                    }
                    next += taken;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match patience.take() {
                    Some(patience) => wait_writable(socket, patience),
                    None => {
                        report.refused +=
                            runs[next..].iter().map(|run| u64::from(run.datagrams)).sum::<u64>();
                        return report;
                    }
                },
                Err(error) => {
                    // EIO: the device cannot segment. EINVAL: a segment exceeds this path's MTU.
                    let run = runs[next];
                    let code = error.raw_os_error();
                    self.segmentation &= code != Some(libc::EIO);
                    if run.datagrams > 1 && matches!(code, Some(libc::EIO | libc::EINVAL)) {
                        self.send_singly(socket, area, &run, &mut report);
                    } else {
                        report.refused += u64::from(run.datagrams);
                    }
                    next += 1;
                }
            }
        }
        report
    }

    /// Sends the datagrams of a run whose segmentation was refused one by one.
    fn send_singly(&mut self, socket: &impl AsFd, area: &[u8], run: &Run, report: &mut SendReport) {
        let end = run.offset + run.length;
        for offset in (run.offset..end).step_by(usize::from(run.segment)) {
            let length = usize::from(run.segment).min(end - offset);
            let single = Run { offset, length, datagrams: 1, ..*run };
            let filled = self.fill(area, &[single]);
            report.calls += 1;
            match self.call(socket, filled) {
                Ok(_) => {
                    report.messages += 1;
                    report.datagrams += 1;
                    report.bytes += length as u64;
                }
                Err(_refused) => report.refused += 1,
            }
        }
    }

    /// Writes the headers of `runs`; returns how many.
    fn fill(&mut self, area: &[u8], runs: &[Run]) -> usize {
        for (index, run) in runs.iter().enumerate() {
            let bytes = &area[run.offset..run.offset + run.length];
            let name_length = to_name(run.destination, self.family_v6, &mut self.names[index]);
            // The kernel only reads from the vectors of a send call; its interface has no const form.
            self.vectors[index] =
                libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = (&raw mut self.names[index]).cast();
            header.msg_namelen = name_length;
            header.msg_iov = &raw mut self.vectors[index];
            header.msg_iovlen = 1;
            header.msg_flags = 0;
            if run.datagrams > 1 {
                header.msg_controllen = write_segment(&mut self.controls[index].0, run.segment);
                header.msg_control = self.controls[index].0.as_mut_ptr().cast();
            } else {
                header.msg_controllen = 0;
                header.msg_control = std::ptr::null_mut();
            }
        }
        runs.len()
    }

    fn call(&mut self, socket: &impl AsFd, filled: usize) -> io::Result<usize> {
        // SAFETY: the first `filled` headers were just written by `fill` from live slices: names, controls and
        // vectors of this struct and the caller's area, which all outlive the call; the kernel only reads them.
        let taken = unsafe {
            libc::sendmmsg(
                socket.as_fd().as_raw_fd(),
                self.headers.as_mut_ptr(),
                filled as u32,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        if taken < 0 { Err(io::Error::last_os_error()) } else { Ok(taken as usize) }
    }
}

/// Writes the `UDP_SEGMENT` control message; returns its length with padding.
fn write_segment(control: &mut [u8; CONTROL_BYTES], segment: u16) -> usize {
    const LENGTH: usize = size_of::<libc::cmsghdr>() + size_of::<u16>();
    control[..8].copy_from_slice(&LENGTH.to_ne_bytes());
    control[8..12].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
    control[12..16].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
    control[16..18].copy_from_slice(&segment.to_ne_bytes());
    LENGTH.next_multiple_of(align_of::<libc::cmsghdr>())
}

const fn empty_name() -> libc::sockaddr_storage {
    // SAFETY: a plain structure of integers; all zeroes is a valid value (family unspecified).
    unsafe { zeroed() }
}

const fn empty_vector() -> libc::iovec {
    libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }
}

const fn empty_header() -> libc::mmsghdr {
    // SAFETY: integers and raw pointers only; all zeroes is a valid value (null pointers, zero lengths).
    unsafe { zeroed() }
}

/// Reads an address; mapped IPv4 becomes IPv4.
fn from_name(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: `sockaddr_storage` is larger than and at least as aligned as `sockaddr_in`, which is all integers.
            let v4 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::from((ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for `sockaddr_in6`.
            let v6 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(match ip.to_ipv4_mapped() {
                Some(ip) => SocketAddr::from((ip, port)),
                None => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id)),
            })
        }
        _ => None,
    }
}

/// Writes an address in the socket's family; returns its length.
fn to_name(address: SocketAddr, family_v6: bool, name: &mut libc::sockaddr_storage) -> u32 {
    let (ip, scope) = match address {
        SocketAddr::V4(v4) if !family_v6 => {
            // SAFETY: `sockaddr_storage` is larger than and at least as aligned as `sockaddr_in`, which is all integers.
            let out = unsafe { &mut *(&raw mut *name).cast::<libc::sockaddr_in>() };
            out.sin_family = libc::AF_INET as u16;
            out.sin_port = v4.port().to_be();
            out.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
            return size_of::<libc::sockaddr_in>() as u32;
        }
        SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
        SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
    };
    // SAFETY: as above, for `sockaddr_in6`.
    let out = unsafe { &mut *(&raw mut *name).cast::<libc::sockaddr_in6>() };
    out.sin6_family = libc::AF_INET6 as u16;
    out.sin6_port = address.port().to_be();
    out.sin6_flowinfo = 0;
    out.sin6_addr.s6_addr = ip.octets();
    out.sin6_scope_id = scope;
    size_of::<libc::sockaddr_in6>() as u32
}

/// Waits until a descriptor is readable or the time is over. Tells which are.
pub fn wait_readable<const N: usize>(descriptors: [BorrowedFd<'_>; N], timeout: Duration) -> [bool; N] {
    let watch = |fd: BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut polls = descriptors.map(watch);
    poll(&mut polls, timeout);
    polls.map(|found| found.revents & libc::POLLIN != 0)
}

fn wait_writable(socket: &impl AsFd, timeout: Duration) {
    let mut polls = [libc::pollfd { fd: socket.as_fd().as_raw_fd(), events: libc::POLLOUT, revents: 0 }];
    poll(&mut polls, timeout);
}

/// Returns on readiness, time-out, signal or error alike: callers try their calls again in each case.
fn poll(polls: &mut [libc::pollfd], timeout: Duration) {
    let time = libc::timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    };
    // SAFETY: `polls` and `time` are live for the call; the length is that of the slice; no signal mask is given.
    unsafe {
        libc::ppoll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, &raw const time, std::ptr::null())
    };
}

/// A counter in the kernel that wakes a thread which waits in [`wait_readable`].
#[derive(Debug)]
pub struct Alarm(OwnedFd);

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Alarm {
    /// Makes one.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// Makes the descriptor readable.
    pub fn ring(&self) {
        let one = 1_u64;
        // SAFETY: reads eight bytes from `one`. It fails only when the counter is full, and then it is readable anyway.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
    }

    /// Makes the descriptor unreadable until the next [`ring`](Self::ring).
    pub fn silence(&self) {
        let mut count = 0_u64;
        // SAFETY: writes at most eight bytes into `count`. It fails only when nobody rang.
        unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
    }
}

/// A numeric socket option that media sockets use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SocketOption {
    /// Coalesce received datagrams of one source.
    Coalesce,
    /// Note the number of dropped datagrams with each message.
    CountDrops,
    /// Receive buffer, in bytes.
    ReceiveBuffer,
    /// Receive buffer beyond the system's limit; for root only.
    ReceiveBufferForce,
    /// Several sockets on one port.
    ReusePort,
    /// Send buffer, in bytes.
    SendBuffer,
    /// Send buffer beyond the system's limit; for root only.
    SendBufferForce,
}

impl SocketOption {
    const fn level_and_name(self) -> (i32, i32) {
        match self {
            Self::Coalesce => (libc::SOL_UDP, libc::UDP_GRO),
            Self::CountDrops => (libc::SOL_SOCKET, libc::SO_RXQ_OVFL),
            Self::ReceiveBuffer => (libc::SOL_SOCKET, libc::SO_RCVBUF),
            Self::ReceiveBufferForce => (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE),
            Self::ReusePort => (libc::SOL_SOCKET, libc::SO_REUSEPORT),
            Self::SendBuffer => (libc::SOL_SOCKET, libc::SO_SNDBUF),
            Self::SendBufferForce => (libc::SOL_SOCKET, libc::SO_SNDBUFFORCE),
        }
    }
}

/// Sets a socket option.
///
/// # Errors
/// What the kernel says; `EPERM` for the forced buffers without the right to it.
pub fn set_option(socket: &impl AsFd, option: SocketOption, value: i32) -> io::Result<()> {
    let (level, name) = option.level_and_name();
    // SAFETY: the kernel reads four bytes from `value`, which is an i32.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `SO_ATTACH_REUSEPORT_CBPF` of every architecture but two that nobody runs this on; the crate lacks it.
const ATTACH_REUSEPORT_FILTER: i32 = 51;

/// The sockets of a port are two, in order of binding: from now on the second one gets RTCP (RFC 7983 and RFC 5761: first
/// byte 128 to 191, second 192 to 223), the first one all else.
///
/// # Errors
/// What the kernel says.
pub fn divert_rtcp(socket: &impl AsFd) -> io::Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
    const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, k, jf| libc::sock_filter { code, jt: 0, jf, k };
    // A load beyond the datagram's end returns 0: the first socket.
    let mut program = [
        step(LOAD, 0, 0),
        step(AND, 0xc0, 0),
        step(JUMP_EQUAL, 0x80, 4),
        step(LOAD, 1, 0),
        step(AND, 0xe0, 0),
        step(JUMP_EQUAL, 0xc0, 1),
        step(RETURN, 1, 0),
        step(RETURN, 0, 0),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the kernel reads one `sock_fprog` and the `len` instructions that it points to; both are live.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            ATTACH_REUSEPORT_FILTER,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Opens a UDP socket without binding it, so that options can be set first.
///
/// # Errors
/// No descriptors left, or the family is not supported.
pub fn open_udp(v6: bool) -> io::Result<OwnedFd> {
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    // SAFETY: takes no pointers.
    let descriptor =
        unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Binds a socket of [`open_udp`].
///
/// # Errors
/// The address is in use or not ours.
pub fn bind(socket: &impl AsFd, address: SocketAddr, v6: bool) -> io::Result<()> {
    let mut name = empty_name();
    let length = to_name(address, v6, &mut name);
    // SAFETY: the kernel reads `length` bytes of `name`, which `to_name` has just written.
    let result = unsafe { libc::bind(socket.as_fd().as_raw_fd(), (&raw const name).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Addresses of this host's interfaces that are up.
///
/// # Errors
/// What the kernel says.
pub fn interface_addresses() -> io::Result<Vec<IpAddr>> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: writes a pointer to a list into `first`.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut addresses = Vec::new();
    let mut next = first;
    while !next.is_null() {
        // SAFETY: not null, and part of the list, which lives until `freeifaddrs` below.
        let entry = unsafe { &*next };
        let up = entry.ifa_flags & libc::IFF_UP as u32 != 0;
        if up && !entry.ifa_addr.is_null() {
            addresses.extend(interface_address(entry.ifa_addr));
        }
        next = entry.ifa_next;
    }
    // SAFETY: `first` came from `getifaddrs` and is freed once; no reference into the list is left.
    unsafe { libc::freeifaddrs(first) };
    Ok(addresses)
}

/// Copies one address of the list that `getifaddrs` makes.
fn interface_address(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: callers pass an address of a live list entry; each begins with its family.
    let family = i32::from(unsafe { (*address).sa_family });
    let mut name = empty_name();
    let length = match family {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
        _ => return None,
    };
    // SAFETY: an address of this family is `length` bytes long, and `sockaddr_storage` holds any address.
    unsafe { std::ptr::copy_nonoverlapping(address.cast::<u8>(), (&raw mut name).cast::<u8>(), length) };
    from_name(&name).map(|address| address.ip())
}

/// Binds the calling thread to one core.
///
/// # Errors
/// The core does not exist or is not ours to use.
pub fn pin_thread(core: usize) -> io::Result<()> {
    // SAFETY: a bit set; all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: `core` is below the size of the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: reads the set, whose size is given; 0 is the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Cores that this process may run on, in order.
#[must_use]
pub fn allowed_cores() -> Vec<usize> {
    // SAFETY: a bit set; all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: writes at most the given size into `set`; 0 is the calling thread.
    let result = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    if result != 0 {
        return Vec::new();
    }
    // SAFETY: each core is below the size of the set.
    (0..libc::CPU_SETSIZE as usize).filter(|core| unsafe { libc::CPU_ISSET(*core, &set) }).collect()
}

/// Makes the calling thread's waits end within `slack` of their time; the system's default is 50 microseconds.
pub fn set_timer_slack(slack: Duration) {
    let ns = libc::c_ulong::try_from(slack.as_nanos()).unwrap_or(50_000).max(1);
    // SAFETY: takes numbers only; an error leaves the default, which is harmless.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, ns, 0, 0, 0) };
}

/// CPU time that the calling thread has used, user and system.
#[must_use]
pub fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Asks the core to have `value` in its nearest cache soon. A hint: it changes nothing but how long the next access takes.
#[inline]
pub fn prefetch<T: ?Sized>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        const LINE_BYTES: usize = 64;
        let start = (&raw const *value).cast::<i8>();
        for offset in (0..size_of_val(value)).step_by(LINE_BYTES) {
            // SAFETY: the address is inside `value`; the instruction neither faults nor reads what the program can see.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(offset)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// The system's allocator, counting the allocations of each thread, so that a media thread can show that it makes
/// none for a packet. Costs one addition to a thread-local word.
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingAllocator;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count_allocation() {
    ALLOCATIONS.with(|count| count.set(count.get().wrapping_add(1)));
}

/// Allocations of the calling thread so far; stays 0 where [`CountingAllocator`] is not the global allocator.
#[must_use]
pub fn thread_allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

// SAFETY: every call is passed on unchanged to the system's allocator; the counter is a constant-initialised thread
// local without a destructor, so touching it neither allocates nor fails.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_allocation();
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` with this layout, as every pointer that we give out.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count_allocation();
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_allocation();
        // SAFETY: `pointer` came from `System` with this layout; the caller's promise about `size` is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::worker::segment::{Outgoing, runs};

    fn pair() -> (UdpSocket, UdpSocket) {
        let left = UdpSocket::bind("127.0.0.1:0").unwrap();
        let right = UdpSocket::bind("127.0.0.1:0").unwrap();
        (left, right)
    }

    fn receive_all(socket: &UdpSocket, datagrams: usize) -> Vec<(SocketAddr, Vec<u8>)> {
        let alarm = Alarm::new().unwrap();
        let mut batch = ReceiveBatch::new();
        let mut got = Vec::new();
        for _ in 0..50 {
            wait_readable([socket.as_fd(), alarm.as_fd()], Duration::from_millis(100));
            let messages = batch.receive(socket).unwrap();
            batch.for_each(messages, |source, bytes| got.push((source, bytes.to_vec())));
            if got.len() >= datagrams {
                break;
            }
        }
        got
    }

    /// Lays datagrams out one behind the other.
    fn lay_out(destination: SocketAddr, lengths: &[usize]) -> (Vec<u8>, Vec<Outgoing>) {
        let mut area = Vec::new();
        let mut outgoing = Vec::new();
        for (index, length) in lengths.iter().enumerate() {
            outgoing.push(Outgoing { destination, offset: area.len(), length: *length });
            area.resize(area.len() + length, index as u8 + 1);
        }
        (area, outgoing)
    }

    #[test]
    fn a_segmented_send_arrives_as_single_datagrams() {
        let (left, right) = pair();
        let (area, outgoing) = lay_out(right.local_addr().unwrap(), &[1200, 1200, 1200, 700, 50]);
        let list: Vec<_> = runs(outgoing.iter().copied(), true).collect();
        assert_eq!(list.len(), 2, "four datagrams in one message, the last alone");
        let mut send = SendBatch::new(false);
        let report = send.send(&left, &area, &list, Duration::ZERO);
        assert_eq!((report.datagrams, report.messages, report.calls, report.refused), (5, 2, 1, 0));
        let got = receive_all(&right, 5);
        let lengths: Vec<_> = got.iter().map(|(_, bytes)| bytes.len()).collect();
        assert_eq!(lengths, [1200, 1200, 1200, 700, 50]);
        assert!(got.iter().all(|(source, _)| *source == left.local_addr().unwrap()));
        assert!(
            got.iter()
                .enumerate()
                .all(|(index, (_, bytes))| bytes.iter().all(|byte| *byte == index as u8 + 1))
        );
    }

    #[test]
    fn coalesced_datagrams_are_told_apart_again() {
        let (left, right) = pair();
        set_option(&right, SocketOption::Coalesce, 1).unwrap();
        let (area, outgoing) = lay_out(right.local_addr().unwrap(), &[900; 20]);
        let list: Vec<_> = runs(outgoing.iter().copied(), true).collect();
        SendBatch::new(false).send(&left, &area, &list, Duration::ZERO);
        let got = receive_all(&right, 20);
        assert_eq!(got.len(), 20);
        assert!(got.iter().enumerate().all(|(index, (_, bytes))| *bytes == vec![index as u8 + 1; 900]));
    }

    #[test]
    fn drops_of_a_full_buffer_are_counted() {
        let (left, right) = pair();
        set_option(&right, SocketOption::CountDrops, 1).unwrap();
        set_option(&right, SocketOption::ReceiveBuffer, 4096).unwrap();
        let target = right.local_addr().unwrap();
        for _ in 0..100 {
            left.send_to(&[0; 1000], target).unwrap();
        }
        let mut batch = ReceiveBatch::new();
        let messages = batch.receive(&right).unwrap();
        batch.for_each(messages, |_, _| {});
        // The counter travels with datagrams that were queued after the drops.
        left.send_to(&[0; 10], target).unwrap();
        let messages = batch.receive(&right).unwrap();
        batch.for_each(messages, |_, _| {});
        assert!(batch.drops() > 50, "{}", batch.drops());
    }

    #[test]
    fn an_unreachable_destination_is_skipped_and_counted() {
        let (left, right) = pair();
        let mut area = vec![7; 100];
        area.extend([8; 100]);
        // Port 0 cannot be sent to.
        let list: Vec<_> = runs(
            [
                Outgoing { destination: "127.0.0.1:0".parse().unwrap(), offset: 0, length: 100 },
                Outgoing { destination: right.local_addr().unwrap(), offset: 100, length: 100 },
            ]
            .into_iter(),
            true,
        )
        .collect();
        let report = SendBatch::new(false).send(&left, &area, &list, Duration::ZERO);
        assert_eq!((report.datagrams, report.refused), (1, 1));
        assert_eq!(receive_all(&right, 1).len(), 1);
    }

    #[test]
    fn an_alarm_wakes_and_can_be_silenced() {
        let (left, _right) = pair();
        let alarm = std::sync::Arc::new(Alarm::new().unwrap());
        let ringer = std::sync::Arc::clone(&alarm);
        let thread = std::thread::spawn(move || ringer.ring());
        let begin = std::time::Instant::now();
        let ready = wait_readable([left.as_fd(), alarm.as_fd()], Duration::from_secs(20));
        assert_eq!(ready, [false, true]);
        thread.join().unwrap();
        assert!(begin.elapsed() < Duration::from_secs(19));
        alarm.silence();
        let begin = std::time::Instant::now();
        wait_readable([left.as_fd(), alarm.as_fd()], Duration::from_millis(20));
        assert!(begin.elapsed() >= Duration::from_millis(19), "silent again");
    }

    #[test]
    fn addresses_survive_both_families() {
        for (text, v6) in [("10.1.2.3:4567", false), ("10.1.2.3:4567", true), ("[2001:db8::7]:9", true)] {
            let address: SocketAddr = text.parse().unwrap();
            let mut name = empty_name();
            to_name(address, v6, &mut name);
            assert_eq!(from_name(&name), Some(address), "{text} {v6}");
        }
        assert_eq!(from_name(&empty_name()), None);
    }

    #[test]
    fn a_prefetched_value_is_what_it_was() {
        let value = vec![7_u8; 1000];
        prefetch(&value[..]);
        prefetch(&());
        assert_eq!(value, [7; 1000]);
    }

    #[test]
    fn rubbish_in_control_data_is_harmless() {
        assert_eq!(read_control(&[0xff; 64]), Notes::default());
        assert_eq!(read_control(&[0; 64]), Notes::default());
        assert_eq!(read_control(&[1; 3]), Notes::default());
    }

    #[test]
    fn the_host_has_addresses_cores_and_a_clock() {
        assert!(interface_addresses().unwrap().iter().any(IpAddr::is_loopback));
        let cores = allowed_cores();
        assert!(!cores.is_empty());
        let before = thread_cpu();
        let mut sum = 0_u64;
        while thread_cpu() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        std::thread::spawn(move || pin_thread(cores[0]).unwrap()).join().unwrap();
    }
}
