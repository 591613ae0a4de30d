//! Why an index could not be made, by what the caller should do next.

/// Why a source gives no index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// The native MP4 reader is not sure to agree with ffmpeg about this file: run the packet scan.
    #[error("not indexed natively: {why}")]
    NotNative {
        /// What it is not sure of.
        why: String,
    },
    /// A packet scan cannot tell which frames are shown and when: run the frame scan, which decodes.
    #[error("packets do not tell the frames: {why}")]
    NeedsFrameScan {
        /// What the packets leave open.
        why: String,
    },
    /// Nothing to transcode: refuse the source with this sentence.
    #[error("this file has no video or audio Reelmill can read: {why}")]
    NoMedia {
        /// Why not, for a person.
        why: String,
    },
    /// The source is larger than the configured limits allow: refuse it.
    #[error("the source has {found} {what}, more than the limit of {limit}")]
    Limit {
        /// What was counted, with its unit.
        what: &'static str,
        /// How many there are, as far as it was counted.
        found: u64,
        /// How many are allowed.
        limit: u64,
    },
    /// Bytes or lines were given that do not answer what was asked: a fault of the caller or of the tool it ran.
    #[error("unexpected input while indexing: {what}")]
    Protocol {
        /// What was wrong with it.
        what: String,
    },
}

impl IndexError {
    pub(crate) fn not_native(why: impl Into<String>) -> Self {
        Self::NotNative { why: why.into() }
    }

    pub(crate) fn frame_scan(why: impl Into<String>) -> Self {
        Self::NeedsFrameScan { why: why.into() }
    }

    pub(crate) fn no_media(why: impl Into<String>) -> Self {
        Self::NoMedia { why: why.into() }
    }

    pub(crate) fn protocol(what: impl Into<String>) -> Self {
        Self::Protocol { what: what.into() }
    }
}
