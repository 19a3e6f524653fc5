//! Pure: no clock, no I/O, no async.
//!
//! Rubbish for open ports: datagrams that look more or less like STUN, DTLS, RTP and RTCP, from a seed.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Endless rubbish.
#[derive(Debug)]
pub struct Junk {
    random: SmallRng,
}

impl Junk {
    /// The same seed gives the same rubbish.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { random: SmallRng::seed_from_u64(seed) }
    }

    /// The next datagram, of 0 to 1,400 bytes.
    pub fn datagram(&mut self) -> Vec<u8> {
        let size = self.random.random_range(0..1_400);
        let mut bytes = vec![0; size];
        self.random.fill(bytes.as_mut_slice());
        match self.random.random_range(0..6) {
            0 => self.stun(&mut bytes),
            1 => self.client_hello(&mut bytes),
            2 => begin(&mut bytes, &[0x80, 96]),
            3 => begin(&mut bytes, &[0x80, 201]),
            4 => begin(&mut bytes, &[0xbf, 0x7f]),
            _ => {}
        }
        bytes
    }

    /// A binding request with a right header and user name attribute of any length.
    fn stun(&mut self, bytes: &mut [u8]) {
        let length = (bytes.len().saturating_sub(20) / 4 * 4) as u16;
        let [high, low] = length.to_be_bytes();
        begin(bytes, &[0, 1, high, low, 0x21, 0x12, 0xa4, 0x42]);
        if let Some(attribute) = bytes.get_mut(20..24) {
            let [high, low] = self.random.random_range(0..600_u16).to_be_bytes();
            attribute.copy_from_slice(&[0, 6, high, low]);
        }
    }

    /// A DTLS record that says it is a handshake with a ClientHello in fragments.
    fn client_hello(&mut self, bytes: &mut [u8]) {
        let [high, low] = (bytes.len().saturating_sub(13) as u16).to_be_bytes();
        begin(bytes, &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, high, low, 1]);
        if let Some(length) = bytes.get_mut(14..17) {
            self.random.fill(length);
        }
    }
}

fn begin(bytes: &mut [u8], with: &[u8]) {
    let length = with.len().min(bytes.len());
    bytes[..length].copy_from_slice(&with[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_rubbish_of_all_kinds() {
        let (mut one, mut two) = (Junk::new(7), Junk::new(7));
        let all: Vec<Vec<u8>> = (0..500).map(|_| one.datagram()).collect();
        assert!(all.iter().all(|datagram| *datagram == two.datagram()));
        for first in [0, 22, 0x80, 0xbf] {
            assert!(all.iter().any(|datagram| datagram.first() == Some(&first)), "{first}");
        }
    }
}
