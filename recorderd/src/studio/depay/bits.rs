//! Pure: no clock, no I/O, no async.
//!
//! Bits of a header, most significant first.

/// Reads bits; everything is `None` behind the end.
#[derive(Clone, Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        let byte = *self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// At most 32 bits.
    pub(super) fn read(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }
        Some(value)
    }

    pub(super) fn skip(&mut self, count: u32) -> Option<()> {
        for _ in 0..count {
            self.flag()?;
        }
        Some(())
    }

    /// Exp-Golomb, unsigned (H.264 section 9.1).
    pub(super) fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1_u32 << zeros) - 1 + self.read(zeros)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_and_golomb_codes_are_read_to_the_end_and_no_further() {
        let mut bits = Bits::new(&[0b1010_0110, 0]);
        assert_eq!((bits.golomb(), bits.golomb(), bits.golomb()), (Some(0), Some(1), Some(2)));
        assert_eq!((bits.golomb(), bits.flag(), bits.read(2)), (None, None, None));
        assert_eq!(Bits::new(&[0xab, 0xcd]).read(12), Some(0xabc));
    }
}
