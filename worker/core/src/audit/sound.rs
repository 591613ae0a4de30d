//! Does a segment of sound sound like the part of the source that it should carry?
//!
//! Both sides are integer samples at the same places, so they are held against each other sample by sample. A lossy
//! encoder keeps the wave of what lies below [`LOW_HZ`] halves and only the strength of what lies above (noise is replaced
//! by other noise there), so each channel is looked at twice, in parts of half a second: **below**, where the wave has to
//! be like the source's and as strong; and **as a whole**, where only its strength is looked at, with more to spare. Over the
//! whole segment two more things are asked: is it more like the sound some milliseconds before or after (**shifted**), and
//! do its first two channels stand the right way round (**sides**). Sound that is softer than [`Bars::soft`] has no wave to
//! speak of: nothing is asked of it but that nothing loud takes its place. Nothing at all is asked of parts in which the source
//! leaves the scale: what its encoder was given is cut off here.
//!
//! The bars come from measurement (`bench/audit.md`): over the films of the corpus that have sound, at half of the rates
//! that are published, none of which may be called wrong.

use super::Wrong;
use super::sums::{Sums, below, parts};
use reelmill_common::audit::AuditReport;

/// Rate that sound is brought to, about, where its wave is looked at.
pub const LOW_HZ: u32 = 8_000;
/// Nearest and farthest shift that is looked for, milliseconds, and the step between two of them, in quarters of one.
const SHIFTS_MS: (u32, u32) = (10, 60);

/// The channel of 5.1 that holds low effects. An encoder keeps nothing else of it, so it is only asked not to be loud.
const LFE: usize = 3;

/// Interleaved samples of 16 bits, little end first.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    bytes: &'a [u8],
    channels: usize,
}

impl<'a> Samples<'a> {
    /// Those of a run; `None` if the last is not whole.
    pub fn new(bytes: &'a [u8], channels: u16) -> Option<Self> {
        let channels = usize::from(channels);
        let whole = channels > 0 && bytes.len().is_multiple_of(2 * channels);
        whole.then_some(Self { bytes, channels })
    }

    /// How many, of each channel.
    pub fn len(self) -> usize {
        self.bytes.len() / (2 * self.channels)
    }

    /// None at all?
    pub fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// `count` of them from `first` on; `None` if there are fewer.
    pub fn part(self, first: usize, count: usize) -> Option<Self> {
        let frame = 2 * self.channels;
        let end = first.checked_add(count)?.checked_mul(frame)?;
        let bytes = self.bytes.get(first.checked_mul(frame)?..end)?;
        Some(Self { bytes, ..self })
    }

    fn channel(self, channel: usize) -> impl Iterator<Item = i64> + 'a {
        let frame = 2 * self.channels;
        let sample = move |frame: &[u8]| match frame.get(2 * channel..2 * channel + 2) {
            Some([low, high]) => i64::from(i16::from_le_bytes([*low, *high])),
            _ => 0,
        };
        self.bytes.chunks_exact(frame).map(sample)
    }
}

/// Where something was measured: channel, and part of half a second, both from 0.
pub type Place = (usize, usize);

/// What a segment's sound differs by. Strengths are mean squares of samples around their mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    /// How much of the wave below is not the source's, at the worst part that is not soft: 10,000 of `1 - r²`, and 20,000
    /// less that where the wave stands on its head.
    pub unlike: (u32, Place),
    /// Strength below in thousandths of the source's: the least of all parts that are not soft.
    pub weak: (u32, Place),
    /// The most of all parts.
    pub strong: (u32, Place),
    /// As [`Self::weak`], of all that is heard.
    pub weak_whole: (u32, Place),
    /// As [`Self::strong`], of all that is heard.
    pub strong_whole: (u32, Place),
    /// Below and over the whole segment: the shift that brings it nearest to the source, in quarters of a millisecond,
    /// later is more; what then differs, and what differs in place, in thousandths of the source's strength. Looked for only
    /// where an eighth or more differs in place.
    pub shifted: (i32, u32, u32),
    /// Likeness of what the first two channels differ by: 10,000 of `r²`, less than 0 where it stands on its head.
    pub sides: i32,
}

/// What is too much, or too little.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bars {
    /// Sound of a lower strength than this is soft.
    pub soft: u64,
    /// [`Heard::unlike`].
    pub unlike: u32,
    /// [`Heard::weak`].
    pub weak: u32,
    /// [`Heard::strong`].
    pub strong: u32,
    /// [`Heard::weak_whole`].
    pub weak_whole: u32,
    /// [`Heard::strong_whole`].
    pub strong_whole: u32,
    /// It is shifted where it differs in place by so many hundredths of what it differs by when shifted back.
    pub shift_percent: u32,
    /// [`Heard::sides`].
    pub sides: i32,
}

/// From measurement over real films; see the module's head.
pub(crate) const BARS: Bars = Bars {
    soft: 10_000,
    unlike: 7_000,
    weak: 300,
    strong: 3_000,
    weak_whole: 150,
    strong_whole: 4_000,
    shift_percent: 300,
    sides: -3_000,
};

/// Compares as many samples of each as there are. Less than half a second says too little.
///
/// # Errors
/// [`Wrong`]: what was heard instead.
pub fn compare(
    segment: Samples<'_>,
    source: Samples<'_>,
    rate: u32,
    frames: u64,
) -> Result<AuditReport, Wrong> {
    if source.len() < rate as usize / 2 {
        return Ok(AuditReport { frames, worst_x100: 0 });
    }
    let heard = measure(segment, source, rate);
    judge(&heard, &BARS)?;
    Ok(AuditReport { frames, worst_x100: heard.unlike.0 })
}

/// Measures. Both sides have the same number of channels and samples: the caller has counted them.
pub fn measure(segment: Samples<'_>, source: Samples<'_>, rate: u32) -> Heard {
    let soft = BARS.soft;
    let step = (rate / LOW_HZ).max(1) as usize;
    let part = (rate as usize / 2 / step).max(1);
    let mut heard = Heard {
        unlike: (0, (0, 0)),
        weak: (u32::MAX, (0, 0)),
        strong: (0, (0, 0)),
        weak_whole: (u32::MAX, (0, 0)),
        strong_whole: (0, (0, 0)),
        shifted: (0, 0, 0),
        sides: 0,
    };
    let channels = segment.channels.min(source.channels);
    let mut low = Vec::with_capacity(channels);
    for channel in 0..channels {
        let pairs: Vec<(i64, i64)> =
            below(segment.channel(channel), step).zip(below(source.channel(channel), step)).collect();
        let waves = parts(pairs.iter().copied(), part);
        let whole = parts(segment.channel(channel).zip(source.channel(channel)), part * step);
        let is_over = |n: usize| whole.get(n).is_some_and(Sums::is_over);
        let (mut weak, mut weak_whole) = (heard.weak, heard.weak_whole);
        strengths((&waves, &is_over), soft, channel, &mut weak, &mut heard.strong);
        strengths((&whole, &is_over), soft, channel, &mut weak_whole, &mut heard.strong_whole);
        if channels == 6 && channel == LFE {
            continue;
        }
        (heard.weak, heard.weak_whole) = (weak, weak_whole);
        let of_note = |(n, sums): &(usize, &Sums)| sums.source() >= soft && !is_over(*n);
        for (n, sums) in waves.iter().enumerate().filter(of_note) {
            heard.unlike = heard.unlike.max(((10_000 - sums.likeness()).unsigned_abs(), (channel, n)));
        }
        low.push(pairs);
    }
    heard.shifted = shifted(&low, rate / step as u32, soft);
    if let [left, right, ..] = &low[..] {
        let between = left.iter().zip(right).map(|(l, r)| (l.0 - r.0, l.1 - r.1));
        let sums = Sums::of(between);
        if sums.source() >= soft {
            heard.sides = sums.likeness();
        }
    }
    heard
}

/// The least and the most strength of a channel's parts, in thousandths of the source's. An encoder begins to sound a little
/// before what is sudden, so a sixteenth of what lies beside a part may be heard in it.
fn strengths(
    (parts, is_over): (&[Sums], &dyn Fn(usize) -> bool),
    soft: u64,
    channel: usize,
    weak: &mut (u32, Place),
    strong: &mut (u32, Place),
) {
    let at = |n: Option<usize>| n.and_then(|n| parts.get(n)).map_or(0, Sums::source);
    for (n, sums) in parts.iter().enumerate().filter(|(n, _)| !is_over(*n)) {
        let beside = at(n.checked_sub(1)).max(at(n.checked_add(1))) / 16;
        let (is, should) = (sums.segment(), sums.source());
        if should >= soft {
            *weak = (*weak).min((share(is, should), (channel, n)));
        }
        *strong = (*strong).max((share(is, should.max(beside).max(soft)), (channel, n)));
    }
}

/// In thousandths.
fn share(of: u64, whole: u64) -> u32 {
    let thousandths = u128::from(of) * 1_000 / u128::from(whole.max(1));
    u32::try_from(thousandths).unwrap_or(u32::MAX)
}

/// See [`Heard::shifted`]. `rate` is that of `channels`.
fn shifted(channels: &[Vec<(i64, i64)>], rate: u32, soft: u64) -> (i32, u32, u32) {
    let samples = |quarters: u32| (quarters * rate / 4_000) as usize;
    let margin = samples(4 * SHIFTS_MS.1);
    let Some(end) =
        channels.first().and_then(|c| c.len().checked_sub(margin)).filter(|end| *end > 2 * margin)
    else {
        return (0, 0, 0);
    };
    // sample `n` of the segment against sample `n - by` of the source
    let differs = |by: isize| -> u64 {
        let of = |c: &Vec<(i64, i64)>| -> u64 {
            let source = c.get(margin.wrapping_add_signed(-by)..).unwrap_or_default();
            c[margin..end].iter().zip(source).map(|(s, o)| (s.0 - o.1).unsigned_abs().pow(2)).sum()
        };
        channels.iter().map(of).sum()
    };
    let strength: u64 =
        channels.iter().flat_map(|c| &c[margin..end]).map(|(_, source)| source.unsigned_abs().pow(2)).sum();
    let in_place = differs(0);
    if in_place < strength / 8 || strength < soft * (end - margin) as u64 {
        return (0, 0, 0);
    }
    let steps =
        (4 * SHIFTS_MS.0..=4 * SHIFTS_MS.1).flat_map(|quarters| [quarters as i32, -(quarters as i32)]);
    let nearest = steps.map(|quarters| {
        let by = samples(quarters.unsigned_abs()) as isize * isize::from(quarters.signum() as i8);
        (differs(by), quarters)
    });
    let (left, quarters) = nearest.min().unwrap_or((in_place, 0));
    (quarters, share(left, strength), share(in_place, strength))
}

/// Holds what was measured against bars.
///
/// # Errors
/// [`Wrong`]: which is exceeded, where and by how much.
pub fn judge(heard: &Heard, bars: &Bars) -> Result<(), Wrong> {
    let (quarters, left, in_place) = heard.shifted;
    if u64::from(in_place) * 100 > u64::from(left.max(1)) * u64::from(bars.shift_percent) {
        let (ms, where_to) = (quarters.unsigned_abs() / 4, if quarters < 0 { "earlier" } else { "later" });
        return Err(Wrong(format!(
            "the sound is {ms} ms {where_to} than it should be: {in_place} thousandths of it differ from the source \
             where it is, and {left} from there"
        )));
    }
    if heard.sides < bars.sides {
        return Err(Wrong(
            "what its first two channels differ by stands on its head: they are swapped, or all of it is turned over"
                .to_owned(),
        ));
    }
    let strengths = [
        ("below 4 kHz", heard.weak, heard.strong, bars.weak, bars.strong),
        ("as a whole", heard.weak_whole, heard.strong_whole, bars.weak_whole, bars.strong_whole),
    ];
    for (what, weak, strong, least, most) in strengths {
        if let Some((found, place, bar, word)) = match (weak.0 < least, strong.0 > most) {
            (true, _) => Some((weak.0, weak.1, least, "least")),
            (_, true) => Some((strong.0, strong.1, most, "most")),
            _ => None,
        } {
            return Err(Wrong(format!(
                "{} does not sound like the film: {what} its strength is {found} thousandths of the source's, and {bar} \
                 is the {word} that an honest encode comes to",
                name(place)
            )));
        }
    }
    let (found, place) = heard.unlike;
    if found > bars.unlike {
        return Err(Wrong(format!(
            "{} does not sound like the film: {} hundredths of its wave are not the source's, and {} is the most that an \
             honest encode comes to",
            name(place),
            found / 100,
            bars.unlike / 100
        )));
    }
    Ok(())
}

fn name((channel, part): Place) -> String {
    format!("channel {} from {} ms on", channel + 1, part * 500)
}

#[cfg(test)]
#[path = "sound_tests.rs"]
mod tests;
