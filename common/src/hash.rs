//! SHA-256 digests as values, and the canonical byte writer that hashed things are written with.

use sha2::Digest as _;
use std::fmt;

/// A SHA-256 digest (FIPS 180-4), shown as 64 lowercase hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Lowercase hex, 64 digits.
    pub fn to_hex(self) -> String {
        use fmt::Write as _;
        self.0.iter().fold(String::with_capacity(64), |mut s, b| {
            // writing to a String cannot fail
            let _ = write!(s, "{b:02x}");
            s
        })
    }

    /// Parses 64 hex digits of either case.
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut out = [0u8; 32];
        for (i, byte) in out.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
        }
        Some(Self(out))
    }

    /// The first `digits` hex digits: for names that a person reads. At most 64.
    pub fn short(self, digits: usize) -> String {
        let mut hex = self.to_hex();
        hex.truncate(digits);
        hex
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short(12))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// Writes the canonical form of a value: tagged, length-prefixed, big-endian. Two different values never give the
/// same bytes, and the form never depends on a serialisation library.
#[derive(Default)]
pub struct Canonical {
    bytes: Vec<u8>,
}

impl Canonical {
    /// Starts a canonical form under a domain name that carries its version, e.g. `"chunk-spec/1"`.
    pub fn new(domain: &str) -> Self {
        let mut c = Self::default();
        c.text(domain);
        c
    }

    /// An unsigned number.
    pub fn num(&mut self, v: u64) -> &mut Self {
        self.bytes.extend_from_slice(&v.to_be_bytes());
        self
    }

    /// A signed number.
    pub fn int(&mut self, v: i64) -> &mut Self {
        self.bytes.extend_from_slice(&v.to_be_bytes());
        self
    }

    /// Bytes with their length.
    pub fn blob(&mut self, v: &[u8]) -> &mut Self {
        self.num(v.len() as u64);
        self.bytes.extend_from_slice(v);
        self
    }

    /// Text with its length.
    pub fn text(&mut self, v: &str) -> &mut Self {
        self.blob(v.as_bytes())
    }

    /// The digest of everything written.
    pub fn digest(&self) -> Sha256 {
        Sha256::of(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_refuses_the_rest() {
        let d = Sha256::of(b"abc");
        assert_eq!(d.to_hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(Sha256::from_hex(&d.to_hex()), Some(d));
        assert_eq!(Sha256::from_hex("xyz"), None);
        assert_eq!(Sha256::from_hex(&"é".repeat(32)), None);
    }

    #[test]
    fn neighbours_cannot_be_confused() {
        let a = Canonical::new("t/1").text("ab").text("c").digest();
        let b = Canonical::new("t/1").text("a").text("bc").digest();
        assert_ne!(a, b);
    }
}
