//! What a raw AAC-LC packet says about its window: needed to join ranges of packets legally.

/// Window sequence of an AAC frame (ISO/IEC 14496-3, table 4.109).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WindowSequence {
    /// One long window.
    OnlyLong,
    /// Long, about to go short.
    LongStart,
    /// Eight short windows.
    EightShort,
    /// Long, coming from short.
    LongStop,
}

/// The window of the first channel (pair) of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Window {
    /// Sequence.
    pub sequence: WindowSequence,
    /// Kaiser-Bessel derived (`true`) or sine (`false`).
    pub kaiser: bool,
}
