//! Newtypes for every id. Text ids obey one grammar, `[a-z0-9][a-z0-9_-]{0,62}`, so that they are safe in object
//! keys, URLs, file names and labels everywhere. A clone of one shares its text: they are in every event, key and effect.

use crate::hash::Sha256;
use std::fmt;
use std::sync::Arc;

/// Why a text is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} {text:?} is not valid: use 1 to 63 of a-z, 0-9, '-' and '_', starting with a letter or digit"
)]
pub struct InvalidName {
    /// Which kind of name it should have been.
    pub what: &'static str,
    /// The refused text, cut to 80 characters.
    pub text: String,
}

fn valid(text: &str) -> bool {
    let b = text.as_bytes();
    !b.is_empty()
        && b.len() <= 63
        && (b[0].is_ascii_lowercase() || b[0].is_ascii_digit())
        && b.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'-' || *c == b'_')
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the grammar of names.
            pub fn parse(text: &str) -> Result<Self, InvalidName> {
                if valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidName { what: $what, text: text.chars().take(80).collect() })
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidName;
            fn from_str(s: &str) -> Result<Self, InvalidName> {
                Self::parse(s)
            }
        }
    };
}

name_type!(
    /// A job: one source, one package. Sorts by time of submission (UUID v7 text).
    JobId, "job id"
);
name_type!(
    /// Whose job it is; in every record and key.
    TenantId, "tenant"
);
name_type!(
    /// A worker process's stable name.
    WorkerId, "worker id"
);
name_type!(
    /// One start of a worker: two boots of one worker are never confused.
    BootId, "boot id"
);
name_type!(
    /// A client's idempotency key, scoped to its tenant.
    IdempotencyKey, "idempotency key"
);
name_type!(
    /// Key or value of a job's label.
    Label, "label"
);

impl TenantId {
    /// The one tenant of local mode.
    pub fn local() -> Self {
        Self("local".into())
    }
}

/// One leadership. Terms only grow; messages of an older one are ignored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct FencingTerm(pub u64);

/// How often a job was started: 1 at first, one more with each Retry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RunNo(pub u32);

/// One try by one worker: unique without a write, because terms are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AttemptId {
    /// The term that granted it.
    pub term: FencingTerm,
    /// Its number within the term.
    pub sequence: u64,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.term.0, self.sequence)
    }
}

impl std::str::FromStr for AttemptId {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Self, InvalidName> {
        let bad = || InvalidName { what: "attempt id", text: s.chars().take(80).collect() };
        let (term, sequence) = s.split_once('-').ok_or_else(bad)?;
        Ok(Self {
            term: FencingTerm(term.parse().map_err(|_| bad())?),
            sequence: sequence.parse().map_err(|_| bad())?,
        })
    }
}

/// Hash of a spec's canonical form with its source and binding: the name under which work is committed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpecId(pub Sha256);

impl fmt::Debug for SpecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.short(12))
    }
}

impl fmt::Display for SpecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Hash of what a worker makes of a fixed one-second clip through the whole recipe: equal fingerprints give equal
/// bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Fingerprint(pub Sha256);

/// A segment's number within its rendition, from 1 (DASH `$Number%06d$`, startNumber 1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentNumber(pub u32);

impl fmt::Display for SegmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_the_grammar() {
        assert!(TenantId::parse("a-1_b").is_ok());
        for bad in ["", "-a", "A", "a/b", "..", "a.b", &"x".repeat(64), "ä"] {
            assert!(TenantId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn attempt_ids_round_trip() {
        let a = AttemptId { term: FencingTerm(3), sequence: 41 };
        assert_eq!(a.to_string().parse::<AttemptId>(), Ok(a));
        assert!("3".parse::<AttemptId>().is_err());
    }
}
