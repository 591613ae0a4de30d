//! Tokens: 256 random bits, of which only the hash is kept on this side.
//!
//! A hash without salt or stretching is enough: nobody guesses 256 random bits, so there is nothing to slow down.

pub use reelmill_common::credential::hash;

use rand::Rng as _;
use reelmill_common::{Secret, Sha256};
use subtle::ConstantTimeEq as _;

/// What every token begins with, so that scanners of leaked files know one when they see it.
const PREFIX: &str = "reelmill_";

/// A new token.
pub fn generate() -> Secret {
    let bits: [u8; 32] = rand::rng().random();
    Secret::new(format!("{PREFIX}{}", Sha256(bits)))
}

/// Are these two the same? Takes equally long wherever they differ.
pub(crate) fn same(a: &Sha256, b: &Sha256) -> bool {
    a.0.ct_eq(&b.0).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_their_hash_tells_them_apart() {
        let (a, b) = (generate(), generate());
        assert_eq!(a.reveal().len(), PREFIX.len() + 64);
        assert!(a.reveal().starts_with(PREFIX));
        assert!(same(&hash(&a), &hash(&a.clone())) && !same(&hash(&a), &hash(&b)));
    }
}
