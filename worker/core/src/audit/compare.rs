//! Does each small picture of a segment look like the source frame that it should show, and unlike its neighbours?
//!
//! Four measures, all sums of differences of bytes, and a bar for each. **Luma and colour** of a frame, on average over
//! the picture: another film, or a picture turned, shifted in colour or grey, differs by much; a rung of few bits is soft,
//! and softness is what a small picture does not show. **A tile** of an eighth by an eighth of the picture: damage in one
//! place. **A shift**: over the segment, the sum of differences from the frames that should be shown, against that from
//! the frames one or two before or after; where something moves, a segment that is late by a frame is far more like those.
//! **A stray**: the same for each frame alone, with more to spare, because a rung of few bits moves late.
//!
//! The bars come from measurement (`bench/audit.md`): over real films at a few kilobits a second, none of which may be
//! called wrong.

use super::Wrong;
use crate::argv::audit::{HEIGHT, WIDTH};
use reelmill_common::audit::AuditReport;

const LUMA: usize = (WIDTH * HEIGHT) as usize;
const COLOUR: usize = LUMA / 2;
/// Bytes of one small picture.
const PICTURE: usize = LUMA + COLOUR;
/// Tiles across and down.
const TILES: (usize, usize) = (8, 6);
/// Frames to either side that a frame is held against.
const SHIFTS: [isize; 4] = [-2, -1, 1, 2];

/// Small pictures one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Pictures<'a>(&'a [u8]);

impl<'a> Pictures<'a> {
    /// Those of a run; `None` if the last is not whole.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        bytes.len().is_multiple_of(PICTURE).then_some(Self(bytes))
    }

    /// How many.
    pub fn len(self) -> usize {
        self.0.len() / PICTURE
    }

    /// None at all?
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    fn get(self, i: usize) -> Option<&'a [u8]> {
        self.0.get(i * PICTURE..(i + 1) * PICTURE)
    }
}

/// What a segment's pictures differ by. Differences are in hundredths of a step of a byte, on average.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Measured {
    /// Of the worst frame, its luma; and which it is.
    pub luma: (u32, usize),
    /// Of the worst frame, its colour.
    pub colour: (u32, usize),
    /// Of the worst tile of all frames, its luma.
    pub tile: (u32, usize),
    /// Of all frames that have a neighbour on that side, luma.
    pub in_place: u32,
    /// The least of the same frames against one shift of the source: which, its difference, and that in place over the
    /// same frames.
    pub shifted: (isize, u32, u32),
    /// The frame that is most like a neighbour of the one it should show: its difference, and that of the neighbour.
    pub stray: (u32, u32, usize),
}

/// What is too much.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bars {
    /// Luma of a frame.
    pub luma: u32,
    /// Colour of a frame.
    pub colour: u32,
    /// Luma of a tile.
    pub tile: u32,
    /// A shift counts only where the difference in place is at least this,
    pub moves: u32,
    /// and so many hundredths of the shifted one.
    pub shift_percent: u32,
    /// A single frame is another one where it differs by so much more than a neighbour of the right one,
    pub stray: u32,
    /// and by so many hundredths of what that does.
    pub stray_percent: u32,
}

/// From measurement over real films; see the module's head.
pub(crate) const BARS: Bars = Bars {
    luma: 2_000,
    colour: 1_000,
    tile: 5_000,
    moves: 60,
    shift_percent: 150,
    stray: 600,
    stray_percent: 300,
};

/// Compares: frame `i` of `segment` should show picture `shows[i]` of `source`.
///
/// # Errors
/// [`Wrong`]: what was seen instead.
pub fn compare(segment: Pictures<'_>, source: Pictures<'_>, shows: &[usize]) -> Result<AuditReport, Wrong> {
    let measured = measure(segment, source, shows);
    judge(&measured, &BARS)?;
    Ok(AuditReport { frames: shows.len() as u64, worst_x100: measured.luma.0 })
}

/// Measures. Both sides have the frames that `shows` asks for: the caller has counted them.
pub fn measure(segment: Pictures<'_>, source: Pictures<'_>, shows: &[usize]) -> Measured {
    let mut m = Measured { shifted: (0, u32::MAX, 0), ..Measured::default() };
    let mut sums = [(0u64, 0u64, 0u64); SHIFTS.len()];
    let mut all = (0u64, 0u64);
    for (i, shown) in shows.iter().enumerate() {
        let (Some(seen), Some(wanted)) = (segment.get(i), source.get(*shown)) else { continue };
        let place = luma(seen, wanted);
        all = (all.0 + u64::from(place), all.1 + 1);
        m.luma = m.luma.max((place, i));
        m.colour = m.colour.max((mean(&seen[LUMA..], &wanted[LUMA..]), i));
        m.tile = m.tile.max((worst_tile(seen, wanted), i));
        let mut nearest = u32::MAX;
        for (shift, sum) in SHIFTS.iter().zip(&mut sums) {
            let other = shown.checked_add_signed(*shift).and_then(|n| source.get(n));
            let Some(other) = other.map(|other| luma(seen, other)) else { continue };
            nearest = nearest.min(other);
            *sum = (sum.0 + u64::from(place), sum.1 + u64::from(other), sum.2 + 1);
        }
        if place.saturating_sub(nearest) > m.stray.0.saturating_sub(m.stray.1) {
            m.stray = (place, nearest, i);
        }
    }
    m.in_place = mean_of(all.0, all.1);
    for (shift, (place, other, n)) in SHIFTS.iter().zip(sums) {
        // a shift that few frames have a neighbour for says nothing
        if n * 2 >= all.1 && n > 0 && mean_of(other, n) < m.shifted.1 {
            m.shifted = (*shift, mean_of(other, n), mean_of(place, n));
        }
    }
    m
}

/// Holds what was measured against bars.
///
/// # Errors
/// [`Wrong`]: which is exceeded, where and by how much.
pub fn judge(m: &Measured, bars: &Bars) -> Result<(), Wrong> {
    let too_much = [
        ("luma", m.luma, bars.luma),
        ("colour", m.colour, bars.colour),
        ("a part of the picture", m.tile, bars.tile),
    ];
    for (what, (found, frame), bar) in too_much {
        if found > bar {
            return Err(Wrong(format!(
                "frame {frame} does not show the film: {what} differs from the source by {} on average, and {} is the \
                 most that an honest encode does",
                steps(found),
                steps(bar)
            )));
        }
    }
    let (shift, other, place) = m.shifted;
    if place >= bars.moves && is_more(place, other, bars.shift_percent) {
        return Err(Wrong(format!(
            "the frames are those {} {} than they should be: they differ by {} from where they are, and by {} from there",
            shift.unsigned_abs(),
            if shift < 0 { "earlier" } else { "later" },
            steps(place),
            steps(other)
        )));
    }
    let (place, nearest, frame) = m.stray;
    if place.saturating_sub(nearest) > bars.stray && is_more(place, nearest, bars.stray_percent) {
        return Err(Wrong(format!(
            "frame {frame} shows another moment of the film: it differs by {} from the frame that it should show, and by \
             {} from one next to that",
            steps(place),
            steps(nearest)
        )));
    }
    Ok(())
}

fn is_more(a: u32, than: u32, percent: u32) -> bool {
    u64::from(a) * 100 > u64::from(than) * u64::from(percent)
}

/// Hundredths as a number for people.
fn steps(x100: u32) -> String {
    format!("{}.{:02}", x100 / 100, x100 % 100)
}

fn luma(a: &[u8], b: &[u8]) -> u32 {
    mean(&a[..LUMA], &b[..LUMA])
}

fn mean(a: &[u8], b: &[u8]) -> u32 {
    mean_of(difference(a, b) * 100, a.len() as u64)
}

fn mean_of(sum: u64, n: u64) -> u32 {
    u32::try_from(sum / n.max(1)).unwrap_or(u32::MAX)
}

fn difference(a: &[u8], b: &[u8]) -> u64 {
    a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum()
}

fn worst_tile(a: &[u8], b: &[u8]) -> u32 {
    let (width, across, down) = (WIDTH as usize, WIDTH as usize / TILES.0, HEIGHT as usize / TILES.1);
    let tile = |(x, y): (usize, usize)| -> u32 {
        let rows = (0..down).map(|r| (y * down + r) * width + x * across);
        let sum: u64 = rows.map(|at| difference(&a[at..at + across], &b[at..at + across])).sum();
        mean_of(sum * 100, (across * down) as u64)
    };
    (0..TILES.1).flat_map(|y| (0..TILES.0).map(move |x| (x, y))).map(tile).max().unwrap_or(0)
}
