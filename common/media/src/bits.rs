//! A bounded reader of bits, most significant first: for parameter sets and AAC packets.

/// Reads from a byte slice; every read past the end is `None`.
#[derive(Debug)]
pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// One bit.
    pub(crate) fn flag(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// An unsigned number of up to 32 bits.
    pub(crate) fn take(&mut self, bits: u32) -> Option<u32> {
        debug_assert!(bits <= 32);
        (0..bits).try_fold(0u32, |v, _| Some(v << 1 | u32::from(self.flag()?)))
    }

    /// Passes over bits.
    pub(crate) fn skip(&mut self, bits: usize) -> Option<()> {
        let at = self.at.checked_add(bits)?;
        (at <= self.bytes.len() * 8).then(|| self.at = at)
    }

    /// Passes over the rest of a byte that was begun.
    pub(crate) fn align(&mut self) {
        self.at = self.at.next_multiple_of(8);
    }

    /// `ue(v)`: unsigned Exp-Golomb (ITU-T H.264, 9.1).
    pub(crate) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1u32 << zeros) - 1 + self.take(zeros)?)
    }

    /// `se(v)`: signed Exp-Golomb.
    pub(crate) fn se(&mut self) -> Option<i32> {
        let code = i64::from(self.ue()?);
        Some(if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) } as i32)
    }

    /// Passes over `n` Exp-Golomb numbers.
    pub(crate) fn skip_ue(&mut self, n: u32) -> Option<()> {
        (0..n).try_for_each(|_| self.ue().map(|_| ()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_numbers_and_the_end() {
        // 1 010 011 00100 00101 + padding
        let mut b = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        assert_eq!([b.ue(), b.ue(), b.ue(), b.ue()], [Some(0), Some(1), Some(2), Some(3)]);
        assert_eq!(b.se(), Some(-2));
        assert_eq!(b.skip(100), None);
        assert_eq!(Bits::new(&[0; 9]).ue(), None);
        assert_eq!(Bits::new(&[0, 0, 0, 1, 0, 0, 0, 0]).ue(), Some(u32::MAX / 2));
    }
}
