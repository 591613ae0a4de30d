//! The credential of an enrolled worker: its name and 256 random bits of its own making. The coordinator keeps a hash.
//!
//! The text carries the name, so that nobody has to search for whose it is.

use crate::hash::Sha256;
use crate::ids::WorkerId;
use crate::secret::Secret;

const PREFIX: &str = "reelmill-worker";

/// The credential of `worker` made of these random bits.
pub fn make(worker: &WorkerId, bits: [u8; 32]) -> Secret {
    Secret::new(format!("{PREFIX}.{worker}.{}", Sha256(bits)))
}

/// Whose it says it is; `None`: it is not the credential of a worker.
pub fn worker(credential: &Secret) -> Option<WorkerId> {
    let (name, bits) = credential.reveal().strip_prefix(PREFIX)?.strip_prefix('.')?.split_once('.')?;
    Sha256::from_hex(bits)?;
    WorkerId::parse(name).ok()
}

/// What is kept of it, or of any other token.
pub fn hash(token: &Secret) -> Sha256 {
    Sha256::of(token.reveal().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_names_its_worker() {
        let name = WorkerId::parse("gpu-1").expect("a name");
        let credential = make(&name, [7; 32]);
        assert_eq!(worker(&credential), Some(name));
        assert_ne!(hash(&credential), hash(&make(&WorkerId::parse("gpu-1").expect("a name"), [8; 32])));
        for other in
            ["", "reelmill_00", "reelmill-worker.gpu-1", "reelmill-worker.gpu-1.00", "reelmill-worker..7"]
        {
            assert_eq!(worker(&Secret::new(other.to_owned())), None, "{other}");
        }
    }
}
