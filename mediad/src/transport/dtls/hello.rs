//! Wire: a look into a ClientHello before the engine sees it.
//!
//! A server that follows the client's order of SRTP profiles gets the dear one from Chromium, which lists it first. So
//! we read `use_srtp` (RFC 5764 section 4.1) and then configure the one profile that we want. Since browsers offer
//! post-quantum key exchange the ClientHello comes in two datagrams, hence the reassembly.

use super::records;
use crate::transport::srtp::Profile;

/// Longest ClientHello that is reassembled; those with post-quantum key shares have 1500 bytes.
const HELLO_BYTES_MAX: usize = 8192;

/// Datagrams that are looked at before the handshake goes on without knowledge.
const DATAGRAMS_MAX: usize = 8;

const MESSAGE_CLIENT_HELLO: u8 = 1;
const MESSAGE_HEADER_BYTES: usize = 12;
const EXTENSION_USE_SRTP: u16 = 14;

/// What is known of the client's first flight.
#[derive(Debug, Default)]
pub(super) struct Hello {
    /// Datagrams so far, for the engine.
    datagrams: Vec<Vec<u8>>,
    message: Vec<u8>,
    /// Which bytes of the message have come, as ranges in order.
    present: Vec<(usize, usize)>,
}

/// What the first flight says.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Offered {
    /// SRTP profiles that we know, in the client's order; none if the flight could not be read.
    pub(super) profiles: Option<Vec<Profile>>,
    /// The datagrams that were held back.
    pub(super) datagrams: Vec<Vec<u8>>,
}

impl Hello {
    /// Takes in a datagram; gives the result when the ClientHello is complete, or when it never will be.
    pub(super) fn add(&mut self, datagram: &[u8]) -> Option<Offered> {
        self.datagrams.push(datagram.to_vec());
        for record in records(datagram) {
            if record.message == Some(MESSAGE_CLIENT_HELLO) {
                self.add_fragment(record.content());
            }
        }
        let complete = !self.message.is_empty() && self.present == [(0, self.message.len())];
        let profiles = if complete { offered(&self.message) } else { None };
        let over = complete || self.datagrams.len() >= DATAGRAMS_MAX;
        over.then(|| Offered { profiles, datagrams: std::mem::take(&mut self.datagrams) })
    }

    fn add_fragment(&mut self, content: &[u8]) -> Option<()> {
        let three = |at: usize| {
            let bytes = content.get(at..at + 3)?;
            Some(usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2]))
        };
        let (length, offset, part) = (three(1)?, three(6)?, three(9)?);
        let bytes = content.get(MESSAGE_HEADER_BYTES..MESSAGE_HEADER_BYTES + part)?;
        if length == 0 || length > HELLO_BYTES_MAX || offset + part > length {
            return None;
        }
        if self.message.len() != length {
            // A new ClientHello (after a cookie), or the first one.
            self.message = vec![0; length];
            self.present.clear();
        }
        self.message[offset..offset + part].copy_from_slice(bytes);
        self.present.push((offset, offset + part));
        self.present.sort_unstable();
        let mut merged: Vec<(usize, usize)> = Vec::new();
        for (from, to) in self.present.drain(..) {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                Some(_) | None => merged.push((from, to)),
            }
        }
        self.present = merged;
        Some(())
    }
}

/// Reads the profiles of a complete ClientHello.
fn offered(message: &[u8]) -> Option<Vec<Profile>> {
    // Version and random, then three vectors: session id, cookie, cipher suites; then compression methods.
    let mut rest = message.get(34..)?;
    for length_bytes in [1, 1, 2, 1] {
        rest = split_vector(rest, length_bytes)?.1;
    }
    let (mut extensions, _) = split_vector(rest, 2)?;
    while !extensions.is_empty() {
        let (kind, after) = extensions.split_first_chunk()?;
        let (content, next) = split_vector(after, 2)?;
        if u16::from_be_bytes(*kind) == EXTENSION_USE_SRTP {
            let (profiles, _) = split_vector(content, 2)?;
            return Some(profiles.chunks_exact(2).filter_map(profile).collect());
        }
        extensions = next;
    }
    Some(Vec::new())
}

fn profile(number: &[u8]) -> Option<Profile> {
    match number {
        [0, 1] => Some(Profile::Aes128CmHmacSha1_80),
        [0, 7] => Some(Profile::AeadAes128Gcm),
        _ => None,
    }
}

/// Content of a vector whose length takes `length_bytes`, and what is behind it.
fn split_vector(bytes: &[u8], length_bytes: usize) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(length_bytes)?;
    let length = length.iter().fold(0, |all, byte| all << 8 | usize::from(*byte));
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A ClientHello with the given profiles, in fragments of at most `part` bytes, one record and datagram each.
    fn datagrams(profiles: &[u16], part: usize) -> Vec<Vec<u8>> {
        let mut message = vec![254, 253];
        message.extend([7; 32]);
        message.extend([0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
        let mut srtp = vec![0, 14];
        let list = 2 * profiles.len() as u8;
        srtp.extend([0, list + 3, 0, list]);
        profiles.iter().for_each(|profile| srtp.extend(profile.to_be_bytes()));
        srtp.push(0);
        let padding = [0, 21, 0, 3, 0, 0, 0];
        message.extend(((srtp.len() + padding.len()) as u16).to_be_bytes());
        message.extend(padding);
        message.extend(srtp);
        let total = message.len() as u8;
        let fragments = message.chunks(part).enumerate().map(|(at, chunk)| {
            let (offset, length) = ((at * part) as u8, chunk.len() as u8);
            let mut record = vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, at as u8, 0, length + 12];
            record.extend([1, 0, 0, total, 0, 0, 0, 0, offset, 0, 0, length]);
            record.extend(chunk);
            record
        });
        fragments.collect()
    }

    #[test]
    fn profiles_are_read_from_fragments_in_any_order_and_all_datagrams_come_back() {
        for part in [200, 40, 17] {
            let mut all = datagrams(&[8, 1, 7, 2], part);
            all.reverse();
            let mut hello = Hello::default();
            let (last, first) = all.split_last().unwrap();
            for datagram in first {
                assert_eq!(hello.add(datagram), None);
            }
            let offered = hello.add(last).unwrap();
            let known = vec![Profile::Aes128CmHmacSha1_80, Profile::AeadAes128Gcm];
            assert_eq!(offered, Offered { profiles: Some(known), datagrams: all });
        }
    }

    #[test]
    fn what_never_becomes_a_hello_is_handed_on_after_a_few_datagrams() {
        let mut hello = Hello::default();
        for _ in 1..DATAGRAMS_MAX {
            assert_eq!(hello.add(&[22, 1, 2]), None);
        }
        let offered = hello.add(&[]).unwrap();
        assert_eq!((offered.profiles, offered.datagrams.len()), (None, DATAGRAMS_MAX));
    }

    proptest! {
        #[test]
        fn mutations_never_panic(changes in proptest::collection::vec((0usize..90, any::<u8>()), 0..8), part in 20usize..90) {
            let mut hello = Hello::default();
            for mut datagram in datagrams(&[1, 7], part) {
                for (at, byte) in &changes {
                    let at = at % datagram.len();
                    datagram[at] = *byte;
                }
                if hello.add(&datagram).is_some() {
                    break;
                }
            }
        }
    }
}
