//! What every conversion is made of: the error that names the field, bounds, and the small steps from generated
//! types to domain values.
//!
//! Must not know any message. Bounds are generous (above every limit that the index and the plan hold themselves
//! to): they keep a damaged or hostile message from costing memory or time, they decide nothing.

use reelmill_common::hash::Sha256;
use reelmill_common::time::TickSeq;
use std::fmt::Display;

/// Largest encoded index, plan, report or session message: 64 MiB.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// Most frames of a source: 24 hours at 120 a second.
pub(crate) const MAX_FRAMES: usize = 24 * 3600 * 120;
/// Most chunks of a plan, segments of a chunk, files of a report.
pub(crate) const MAX_PARTS: usize = 1_000_000;
/// Most renditions, tracks, workers, encoders, labels, notes.
pub(crate) const MAX_FEW: usize = 4_096;
/// Longest text in bytes.
pub(crate) const MAX_TEXT: usize = 64 << 10;
/// Longest opaque configuration (avcC, AudioSpecificConfig) in bytes.
pub(crate) const MAX_CONFIG: usize = 64 << 10;

/// A message that cannot be taken, and which field is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}`: {problem}")]
pub struct WireError {
    /// Path of the field from the message's root, e.g. `chunks.spec.video.frames`.
    pub field: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A message or a oneof that must be there is not.
    #[error("is missing")]
    Missing,
    /// A number of an enumeration that this version does not know.
    #[error("has the unknown value {0}: it was written by a newer version, or is damaged")]
    Unknown(i32),
    /// More elements or bytes than allowed.
    #[error("has {got} elements, {max} are allowed")]
    TooMany {
        /// How many there are.
        got: usize,
        /// How many may be.
        max: usize,
    },
    /// A number outside of what the domain type can hold or means.
    #[error("is out of range: {0}")]
    OutOfRange(String),
    /// A text that is no valid name, key or hash.
    #[error("is not valid: {0}")]
    Invalid(String),
    /// A stored version that this program does not know.
    #[error("is {got}, this program reads {known}: use the version of reelmill that wrote it")]
    Version {
        /// As stored.
        got: u32,
        /// As known.
        known: u32,
    },
    /// Not a message of this kind at all.
    #[error("cannot be decoded: {0}")]
    Malformed(String),
}

impl WireError {
    pub(crate) fn new(field: &str, problem: Problem) -> Self {
        Self { field: field.to_owned(), problem }
    }

    pub(crate) fn range(field: &str, value: impl Display) -> Self {
        Self::new(field, Problem::OutOfRange(value.to_string()))
    }

    pub(crate) fn invalid(field: &str, why: impl Display) -> Self {
        Self::new(field, Problem::Invalid(why.to_string()))
    }

    fn inside(mut self, parent: &str) -> Self {
        self.field = format!("{parent}.{}", self.field);
        self
    }
}

/// A domain enumeration with its wire numbers.
pub(crate) trait WireEnum: Sized {
    fn from_wire(value: i32, field: &str) -> Result<Self, WireError>;
}

/// Pairs the variants of a generated enumeration with those of a domain one; the wire's `Unspecified` is refused.
macro_rules! wire_enum {
    ($wire:ty, $domain:ty, { $($name:ident),+ $(,)? }) => {
        impl From<$domain> for $wire {
            fn from(v: $domain) -> Self {
                match v { $(<$domain>::$name => Self::$name),+ }
            }
        }
        impl $crate::wire::WireEnum for $domain {
            fn from_wire(value: i32, field: &str) -> Result<Self, $crate::wire::WireError> {
                match <$wire>::try_from(value) {
                    $(Ok(<$wire>::$name) => Ok(Self::$name),)+
                    _ => Err($crate::wire::WireError::new(field, $crate::wire::Problem::Unknown(value))),
                }
            }
        }
    };
}
pub(crate) use wire_enum;

/// A present message, converted.
pub(crate) fn need<W, D>(value: Option<W>, field: &str) -> Result<D, WireError>
where
    D: TryFrom<W, Error = WireError>,
{
    one(present(value, field)?, field)
}

/// An optional message, converted if present.
pub(crate) fn maybe<W, D>(value: Option<W>, field: &str) -> Result<Option<D>, WireError>
where
    D: TryFrom<W, Error = WireError>,
{
    value.map(|v| one(v, field)).transpose()
}

/// One message, converted; its errors are told below `field`.
pub(crate) fn one<W, D>(value: W, field: &str) -> Result<D, WireError>
where
    D: TryFrom<W, Error = WireError>,
{
    D::try_from(value).map_err(|e| e.inside(field))
}

/// A list of at most `max` messages, converted.
pub(crate) fn many<W, D>(values: Vec<W>, max: usize, field: &str) -> Result<Vec<D>, WireError>
where
    D: TryFrom<W, Error = WireError>,
{
    bounded(values.len(), max, field)?;
    exactly(values, |v| one(v, field))
}

/// A list with room for nothing more: collected, it would keep the room of the list that it was made from.
pub(crate) fn exactly<W, D>(
    values: Vec<W>,
    mut convert: impl FnMut(W) -> Result<D, WireError>,
) -> Result<Vec<D>, WireError> {
    let mut all = Vec::with_capacity(values.len());
    for value in values {
        all.push(convert(value)?);
    }
    Ok(all)
}

/// The value of a field that must be there.
pub(crate) fn present<T>(value: Option<T>, field: &str) -> Result<T, WireError> {
    value.ok_or_else(|| WireError::new(field, Problem::Missing))
}

/// Refuses more than `max` elements.
pub(crate) fn bounded(got: usize, max: usize, field: &str) -> Result<(), WireError> {
    if got <= max { Ok(()) } else { Err(WireError::new(field, Problem::TooMany { got, max })) }
}

/// A number in a narrower type.
pub(crate) fn narrow<D>(value: impl TryInto<D> + Copy + Display, field: &str) -> Result<D, WireError> {
    value.try_into().map_err(|_| WireError::range(field, value))
}

/// A text of bounded length.
pub(crate) fn text(value: String, field: &str) -> Result<String, WireError> {
    bounded(value.len(), MAX_TEXT, field)?;
    Ok(value)
}

/// A bounded list of texts.
pub(crate) fn texts(values: Vec<String>, field: &str) -> Result<Vec<String>, WireError> {
    bounded(values.len(), MAX_FEW, field)?;
    values.into_iter().map(|v| text(v, field)).collect()
}

/// A decoder configuration of bounded length.
pub(crate) fn config(value: Vec<u8>, field: &str) -> Result<Vec<u8>, WireError> {
    bounded(value.len(), MAX_CONFIG, field)?;
    Ok(value)
}

/// A name, key or other text with a grammar.
pub(crate) fn parsed<D>(value: &str, field: &str) -> Result<D, WireError>
where
    D: std::str::FromStr,
    D::Err: Display,
{
    value.parse().map_err(|e| WireError::invalid(field, e))
}

/// A SHA-256 digest of 32 bytes.
pub(crate) fn digest(value: &[u8], field: &str) -> Result<Sha256, WireError> {
    let bytes =
        value.try_into().map_err(|_| WireError::range(field, format_args!("{} bytes", value.len())))?;
    Ok(Sha256(bytes))
}

/// The stored version, which must be the known one.
pub(crate) fn version(got: u32, known: u32, field: &str) -> Result<(), WireError> {
    if got == known { Ok(()) } else { Err(WireError::new(field, Problem::Version { got, known })) }
}

/// The first value, then the distance of each to the one before it.
pub(crate) fn to_deltas(values: impl IntoIterator<Item = i64>) -> Vec<i64> {
    let mut before = 0i64;
    values.into_iter().map(|v| v.wrapping_sub(std::mem::replace(&mut before, v))).collect()
}

/// The values that [`to_deltas`] was given; exact for every list, because both wrap.
pub(crate) fn from_deltas(deltas: &[i64], max: usize, field: &str) -> Result<Vec<i64>, WireError> {
    bounded(deltas.len(), max, field)?;
    let mut at = 0i64;
    Ok(deltas
        .iter()
        .map(|d| {
            at = at.wrapping_add(*d);
            at
        })
        .collect())
}

/// Checks the promise of [`TickSeq`]: bounded, strictly increasing, no overflow at its end.
pub(crate) fn checked(seq: TickSeq, field: &str) -> Result<TickSeq, WireError> {
    bounded(seq.len(), MAX_FRAMES, field)?;
    let ok = match &seq {
        TickSeq::Regular { first, step, count } => {
            *step > 0
                && step
                    .checked_mul(i64::from(count.saturating_sub(1)))
                    .and_then(|span| first.checked_add(span))
                    .is_some()
        }
        TickSeq::Listed(v) => v.windows(2).all(|w| w[0] < w[1]),
    };
    if ok { Ok(seq) } else { Err(WireError::invalid(field, "times are not strictly increasing")) }
}
