//! What a raw AAC-LC packet says about its window: needed to join ranges of packets legally.
//!
//! Two neighbouring packets overlap by half a window, so the shape one fades out with must be the one the next
//! fades in with. Only the head of the first channel element is read (ISO/IEC 14496-3, 4.4.2.1); nothing is decoded.

use crate::bits::Bits;

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

impl WindowSequence {
    /// May a packet of this sequence be followed by one of `next`?
    pub fn may_precede(self, next: Self) -> bool {
        let ends_short = matches!(self, Self::LongStart | Self::EightShort);
        let begins_short = matches!(next, Self::EightShort | Self::LongStop);
        ends_short == begins_short
    }
}

/// The window of the first channel (pair) of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Window {
    /// Sequence.
    pub sequence: WindowSequence,
    /// Kaiser-Bessel derived (`true`) or sine (`false`), for the half that the next packet overlaps.
    pub kaiser: bool,
}

/// Reads the window of a raw packet (no ADTS header): of its first channel. `None`: cut short, or no channel element
/// where one must be.
pub fn window(packet: &[u8]) -> Option<Window> {
    let mut elements = Elements { bits: Bits::new(packet) };
    if let Element::Pair { common: false } = elements.first_channel()? {
        elements.bits.skip(8)?; // global gain comes before a window of the channel's own
    }
    window_info(&mut elements.bits)
}

/// A channel element, up to where its window is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Element {
    Single,
    Pair { common: bool },
}

struct Elements<'a> {
    bits: Bits<'a>,
}

impl Elements<'_> {
    /// Passes over everything before the first channel element.
    fn first_channel(&mut self) -> Option<Element> {
        const SINGLE_CHANNEL: u32 = 0;
        const CHANNEL_PAIR: u32 = 1;
        const DATA: u32 = 4;
        const FILL: u32 = 6;
        let b = &mut self.bits;
        // every element passed over takes at least seven bits, so this ends with the packet
        loop {
            match b.take(3)? {
                SINGLE_CHANNEL => {
                    b.skip(4 + 8)?; // instance tag, global gain
                    return Some(Element::Single);
                }
                CHANNEL_PAIR => {
                    b.skip(4)?;
                    return Some(Element::Pair { common: b.flag()? });
                }
                DATA => {
                    b.skip(4)?;
                    let aligned = b.flag()?;
                    let mut bytes = b.take(8)?;
                    bytes += if bytes == 255 { b.take(8)? } else { 0 };
                    if aligned {
                        b.align();
                    }
                    b.skip(8 * bytes as usize)?;
                }
                FILL => {
                    let mut bytes = b.take(4)?;
                    bytes = if bytes == 15 { 14 + b.take(8)? } else { bytes };
                    b.skip(8 * bytes as usize)?;
                }
                _ => return None,
            }
        }
    }
}

/// As [`window`], when it holds for every channel of the packet's first element: a single one, or a pair that shares
/// it. `None` also where the second channel of a pair has a window of its own, which lies behind coded values.
pub fn shared_window(packet: &[u8]) -> Option<Window> {
    let mut elements = Elements { bits: Bits::new(packet) };
    match elements.first_channel()? {
        Element::Single | Element::Pair { common: true } => window_info(&mut elements.bits),
        Element::Pair { common: false } => None,
    }
}

fn window_info(b: &mut Bits<'_>) -> Option<Window> {
    b.skip(1)?; // reserved
    let sequence = match b.take(2)? {
        0 => WindowSequence::OnlyLong,
        1 => WindowSequence::LongStart,
        2 => WindowSequence::EightShort,
        _ => WindowSequence::LongStop,
    };
    Some(Window { sequence, kaiser: b.flag()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use WindowSequence::{EightShort, LongStart, LongStop, OnlyLong};

    /// Packs (value, bits) pairs.
    fn packet(fields: &[(u32, u32)]) -> Vec<u8> {
        let bits: Vec<bool> =
            fields.iter().flat_map(|(v, n)| (0..*n).rev().map(move |i| v >> i & 1 == 1)).collect();
        bits.chunks(8)
            .map(|c| c.iter().enumerate().fold(0, |b, (i, on)| b | u8::from(*on) << (7 - i)))
            .collect()
    }

    #[test]
    fn the_first_channel_element_tells() {
        let single = packet(&[(0, 3), (0, 4), (100, 8), (0, 1), (1, 2), (1, 1)]);
        assert_eq!(window(&single), Some(Window { sequence: LongStart, kaiser: true }));
        let pair = packet(&[(1, 3), (0, 4), (1, 1), (0, 1), (2, 2), (0, 1)]);
        assert_eq!(window(&pair), Some(Window { sequence: EightShort, kaiser: false }));
        let apart = packet(&[(1, 3), (0, 4), (0, 1), (9, 8), (0, 1), (3, 2), (0, 1)]);
        assert_eq!(window(&apart), Some(Window { sequence: LongStop, kaiser: false }));
    }

    #[test]
    fn a_window_is_shared_by_a_single_channel_and_by_a_pair_that_says_so() {
        let single = packet(&[(0, 3), (0, 4), (100, 8), (0, 1), (1, 2), (1, 1)]);
        assert_eq!(shared_window(&single), Some(Window { sequence: LongStart, kaiser: true }));
        let pair = packet(&[(1, 3), (0, 4), (1, 1), (0, 1), (2, 2), (0, 1)]);
        assert_eq!(shared_window(&pair), Some(Window { sequence: EightShort, kaiser: false }));
        let apart = packet(&[(1, 3), (0, 4), (0, 1), (9, 8), (0, 1), (3, 2), (0, 1)]);
        assert_eq!(shared_window(&apart), None);
    }

    #[test]
    fn fill_and_data_elements_are_passed_over() {
        let fill =
            packet(&[(6, 3), (15, 4), (2, 8), (0, 32), (0, 32), (0, 32), (0, 32), (0, 3), (0, 12), (0, 4)]);
        assert_eq!(window(&fill), Some(Window { sequence: OnlyLong, kaiser: false }));
        let data = packet(&[(4, 3), (0, 4), (1, 1), (1, 8), (0xAB, 8), (0, 3), (0, 12), (0, 3), (1, 1)]);
        assert_eq!(window(&data), Some(Window { sequence: OnlyLong, kaiser: true }));
    }

    #[test]
    fn cut_packets_and_other_elements_tell_nothing() {
        assert_eq!(window(&[]), None);
        assert_eq!(window(&[0xE0]), None);
        assert_eq!(window(&[6 << 5 | 0x1E, 0xFF]), None);
    }

    #[test]
    fn legal_joins() {
        let all = [OnlyLong, LongStart, EightShort, LongStop];
        let legal: Vec<_> = all
            .iter()
            .flat_map(|a| all.iter().filter(|b| a.may_precede(**b)).map(move |b| (*a, *b)))
            .collect();
        let want = [
            (OnlyLong, OnlyLong),
            (OnlyLong, LongStart),
            (LongStart, EightShort),
            (LongStart, LongStop),
            (EightShort, EightShort),
            (EightShort, LongStop),
            (LongStop, OnlyLong),
            (LongStop, LongStart),
        ];
        assert_eq!(legal, want);
    }
}
