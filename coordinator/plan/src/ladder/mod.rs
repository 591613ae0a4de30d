//! The ladder: which renditions a source gets, how large, how fast and how good each may be.
//!
//! A rung is a box, long side x short side, turned for portrait films. A source is fitted into the boxes it reaches
//! and is never enlarged. Input: the index, the submitter's choice and preset. Output: complete encoder settings,
//! which a worker then encodes a clip with to find the decoder configuration the rung is bound to.

mod boxes;
mod level;
mod size;

use crate::PlanError;
use crate::framemap::holds_long;
use crate::grid::segment_frames;
use crate::limits::{self, LIMITS};
use crate::picture;
use crate::rate::Rate;
use crate::timeline::Timeline;
use boxes::{HALF_RATE_SHORT, Row, TABLE};
use reelmill_common::index::SourceIndex;
use reelmill_common::job::JobOptions;
use reelmill_common::ladder::{
    CustomRung, EncoderFamily, JobPreset, LadderChoice, OutputColour, VideoSettings, X264Preset,
};
pub(crate) use size::Size;
use std::collections::BTreeSet;

/// A ladder fitted to a source: the rungs, largest first, and why they are these.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FittedLadder {
    /// Rungs, largest first; none when the source has no picture.
    pub rungs: Vec<FittedRung>,
    /// Decisions in plain words.
    pub notes: Vec<String>,
}

/// One rung with complete settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FittedRung {
    /// `1080p`, `720p`, …: unique within the ladder, obeys the grammar of names.
    pub name: String,
    /// Encoder settings.
    pub settings: VideoSettings,
}

/// Frames above this rate are fast: the second rate of the table holds, and small rungs halve it.
const FAST: u64 = 32;

/// Reference frames and consecutive B-frames of every rung: pinned, so that the decoder configuration is.
const REFS: u8 = 3;
const BFRAMES: u8 = 3;

/// Frames a decoder keeps for three references and a B-pyramid.
const FRAMES_KEPT: u64 = 4;

/// A box that is wanted, with what is to be different from the table.
struct Wanted {
    name: String,
    long: u32,
    short: u32,
    row: Row,
    own_rate: Option<u32>,
    own_crf: Option<u32>,
    own_preset: Option<X264Preset>,
    half_rate: bool,
}

/// Fits the wanted ladder to the source.
///
/// A box is kept if the source reaches nine tenths of it on either side. The default ladder gets a rung of the
/// source's own size when the source exceeds its best box by more than a tenth; a ladder that names its rungs gets
/// those and no others. A source that reaches no box gets one rung of its own size with the smallest box's settings.
///
/// # Errors
/// Unknown, doubled or missing rungs, unusable values in a ladder file, and sources beyond the [`limits`].
pub fn fit(
    index: &SourceIndex,
    choice: &LadderChoice,
    options: &JobOptions,
) -> Result<FittedLadder, PlanError> {
    limits::check(index, &LIMITS)?;
    let wanted = wanted(choice)?;
    let Some(video) = &index.video else {
        return Ok(FittedLadder { rungs: Vec::new(), notes: vec!["no picture: no video rungs".to_owned()] });
    };
    let timeline = Timeline::of(video);
    let may_halve = timeline.rate.cmp_whole(FAST).is_gt() && !holds_long(&video.frames, &timeline);
    let source = Size::shown(video);
    let mut notes = vec![source_note(video.width, video.height, source, &timeline)];
    let mut kept: Vec<Wanted> = Vec::new();
    let mut skipped = Vec::new();
    let smallest = wanted.len() - 1;
    for (n, w) in wanted.into_iter().enumerate() {
        if source.reaches(w.long, w.short) {
            kept.push(w);
        } else if n == smallest && kept.is_empty() {
            notes.push(format!(
                "smaller than every rung: one rung of its own size with the settings of {}",
                w.name
            ));
            kept.push(own_size(source, &w));
        } else {
            skipped.push(w.name);
        }
    }
    if !skipped.is_empty() {
        notes.push(format!("not made, the source is smaller: {}", skipped.join(", ")));
    }
    if *choice == LadderChoice::Default
        && let Some(best) = kept.first()
        && source.exceeds(best.long, best.short)
    {
        let mut own = own_top(source);
        if kept.iter().any(|w| w.name == own.name) {
            // very wide pictures have the short side of a much smaller box
            own.name = format!("{}x{}", source.width, source.height);
        }
        notes.push(format!(
            "more than a tenth larger than {}: a rung of its own size, {}",
            best.name, own.name
        ));
        kept.insert(0, own);
    }
    let colour = picture::output_colour(video, &timeline);
    let maker = Maker { source, timeline: &timeline, may_halve, colour, options };
    let rungs: Vec<_> = kept.iter().map(|w| maker.rung(w)).collect::<Result<_, _>>()?;
    notes.extend(rungs.iter().map(rung_note));
    Ok(FittedLadder { rungs, notes })
}

fn source_note(width: u32, height: u32, shown: Size, timeline: &Timeline) -> String {
    let pace = if timeline.is_constant() { "" } else { " on average" };
    let size = if (shown.width, shown.height) == (width, height) {
        format!("{width}x{height}")
    } else {
        format!("{width}x{height}, shown as {}x{}", shown.width, shown.height)
    };
    format!("source picture: {size}, {} frames a second{pace}", timeline.rate)
}

fn rung_note(rung: &FittedRung) -> String {
    let s = &rung.settings;
    let half = if s.every > 1 { ", every second frame" } else { "" };
    format!(
        "rung {}: {}x{}{half}, CRF {}.{}, at most {} kbit/s, {} {}, level {}.{}",
        rung.name,
        s.width,
        s.height,
        s.crf_tenths / 10,
        s.crf_tenths % 10,
        s.max_rate_kbps,
        s.family.name(),
        s.preset.name(),
        s.level / 10,
        s.level % 10
    )
}

/// Is the choice one that [`fit`] can use, whatever the source? For refusing a job before it is accepted.
///
/// # Errors
/// Unknown, doubled or missing rungs, unusable values in a ladder file.
pub fn check(choice: &LadderChoice) -> Result<(), PlanError> {
    wanted(choice).map(drop)
}

/// The wanted boxes, largest first; never empty.
fn wanted(choice: &LadderChoice) -> Result<Vec<Wanted>, PlanError> {
    let mut wanted = match choice {
        LadderChoice::Default => TABLE.iter().filter(|r| r.by_default).map(from_row).collect(),
        LadderChoice::Named(names) => names.iter().map(|n| named(n)).collect::<Result<Vec<_>, _>>()?,
        LadderChoice::Custom(rungs) => rungs.iter().map(custom).collect::<Result<Vec<_>, _>>()?,
    };
    if wanted.is_empty() {
        return Err(PlanError::EmptyLadder);
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = wanted.iter().find(|w| !seen.insert(&w.name)) {
        return Err(PlanError::DuplicateRung { name: twice.name.clone() });
    }
    wanted.sort_by_key(|w| std::cmp::Reverse((u64::from(w.long) * u64::from(w.short), w.own_rate)));
    Ok(wanted)
}

fn from_row(row: &Row) -> Wanted {
    Wanted {
        name: row.name.to_owned(),
        long: row.long,
        short: row.short,
        row: *row,
        own_rate: None,
        own_crf: None,
        own_preset: None,
        half_rate: row.short <= HALF_RATE_SHORT,
    }
}

fn named(name: &str) -> Result<Wanted, PlanError> {
    let unknown = || PlanError::UnknownRung { name: name.chars().take(80).collect(), known: boxes::names() };
    TABLE.iter().find(|r| r.name == name).map(from_row).ok_or_else(unknown)
}

fn custom(rung: &CustomRung) -> Result<Wanted, PlanError> {
    let bad =
        |why: &str| PlanError::BadRung { name: rung.name.chars().take(80).collect(), why: why.to_owned() };
    // the name becomes part of a folder: `<name>-<10 hex digits>` is a name, too
    let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if rung.name.is_empty()
        || rung.name.len() > 40
        || !rung.name.chars().all(ok)
        || rung.name.starts_with(['-', '_'])
        || rung.name.starts_with("audio")
    {
        return Err(bad(
            "its name must be 1 to 40 of a-z, 0-9, '-' and '_', begin with a letter or digit and not \
                        with \"audio\"",
        ));
    }
    if rung.short < 2 || rung.long < rung.short || rung.long > 16_384 {
        return Err(bad("its box needs 2 <= short <= long <= 16384"));
    }
    if rung.max_rate_kbps.is_some_and(|r| !(16..=200_000).contains(&r)) {
        return Err(bad("its maximum rate must lie between 16 and 200000 kbit/s"));
    }
    if rung.crf_tenths.is_some_and(|c| !(10..=510).contains(&c)) {
        return Err(bad("its CRF must lie between 1 and 51"));
    }
    Ok(Wanted {
        name: rung.name.clone(),
        long: rung.long,
        short: rung.short,
        row: boxes::nearest(u64::from(rung.long) * u64::from(rung.short)),
        own_rate: rung.max_rate_kbps,
        own_crf: rung.crf_tenths,
        own_preset: rung.preset,
        half_rate: rung.half_rate.unwrap_or(rung.short <= HALF_RATE_SHORT),
    })
}

/// The rung of a source that is smaller than every wanted box: named by its own short side unless it has a name of
/// its own from a ladder file.
fn own_size(source: Size, smallest: &Wanted) -> Wanted {
    let size = source.fit(source.long(), source.short());
    let (long, short) = source.frame();
    let is_table_row = TABLE.iter().any(|r| r.name == smallest.name);
    Wanted {
        name: if is_table_row { format!("{}p", size.short()) } else { smallest.name.clone() },
        long,
        short,
        row: smallest.row,
        own_rate: smallest.own_rate,
        own_crf: smallest.own_crf,
        own_preset: smallest.own_preset,
        half_rate: smallest.half_rate,
    }
}

/// The rung of a source that exceeds its best box: fitted into the 16:9 box around it, so that its rate lies on the
/// table's line whatever its shape.
fn own_top(source: Size) -> Wanted {
    let size = source.fit(source.long(), source.short());
    let (long, short) = source.frame();
    let row = boxes::nearest(u64::from(long) * u64::from(short));
    let half_rate = short <= HALF_RATE_SHORT;
    Wanted { name: format!("{}p", size.short()), long, short, half_rate, ..from_row(&row) }
}

/// Turns wanted boxes into settings for one source.
struct Maker<'a> {
    source: Size,
    timeline: &'a Timeline,
    may_halve: bool,
    colour: OutputColour,
    options: &'a JobOptions,
}

impl Maker<'_> {
    fn rung(&self, wanted: &Wanted) -> Result<FittedRung, PlanError> {
        let size = self.source.fit(wanted.long, wanted.short);
        let every = if self.may_halve && wanted.half_rate { 2 } else { 1 };
        let rate = self.timeline.rate.over(every.into());
        let fast = rate.cmp_whole(FAST).is_gt();
        let box_pixels = u64::from(wanted.long) * u64::from(wanted.short);
        let max_rate_kbps = wanted.own_rate.unwrap_or_else(|| boxes::rate_between(box_pixels, fast));
        let buffer_kbit = max_rate_kbps.saturating_mul(3) / 2;
        let table_level = if fast { wanted.row.level.1 } else { wanted.row.level.0 };
        let demand = level::Demand {
            width: size.width,
            height: size.height,
            rate: rate.parts(),
            max_rate_kbps,
            buffer_kbit,
            frames_kept: FRAMES_KEPT,
        };
        let level = level::lowest(demand, table_level).ok_or_else(|| PlanError::BadRung {
            name: wanted.name.clone(),
            why: format!("no H.264 level allows {}x{} at {rate} frames a second and {max_rate_kbps} kbit/s: make it smaller", size.width, size.height),
        })?;
        let (preset, crf_tenths) = self.quality(wanted);
        let settings = VideoSettings {
            family: EncoderFamily::X264,
            width: size.width,
            height: size.height,
            every,
            max_rate_kbps,
            buffer_kbit,
            crf_tenths,
            preset,
            level,
            refs: REFS,
            bframes: BFRAMES,
            lookahead: lookahead(preset, rate),
            gop_frames: gop_frames(self.timeline, self.options.segment_ms, every),
            threads: 1,
            cpu_independent: self.options.cpu_independent,
            colour: self.colour,
        };
        Ok(FittedRung { name: wanted.name.clone(), settings })
    }

    /// What a ladder file says of a rung wins over the job's preset, which wins over the table.
    fn quality(&self, wanted: &Wanted) -> (X264Preset, u32) {
        let table = (wanted.row.preset, wanted.row.crf_tenths);
        let (preset, crf) = match self.options.preset {
            JobPreset::Speed => (X264Preset::Veryfast, table.1),
            JobPreset::Balanced => table,
            JobPreset::Quality => (X264Preset::Slow, table.1 - 10),
            JobPreset::X264(preset) => (preset, table.1),
        };
        (wanted.own_preset.unwrap_or(preset), wanted.own_crf.unwrap_or(crf))
    }
}

/// The preset's own lookahead, at most two seconds.
fn lookahead(preset: X264Preset, rate: Rate) -> u16 {
    let own: u64 = match preset {
        X264Preset::Ultrafast | X264Preset::Superfast => 0,
        X264Preset::Veryfast => 10,
        X264Preset::Faster => 20,
        X264Preset::Fast => 30,
        X264Preset::Medium => 40,
        X264Preset::Slow => 50,
        X264Preset::Slower | X264Preset::Veryslow => 60,
    };
    u16::try_from(own.min(rate.frames_in_ms(2000))).unwrap_or(u16::MAX)
}

/// The longest distance of IDRs that a rung's encoder is told. At a constant rate it is the planned GOP; at a
/// variable one a bound that the planned IDRs, two seconds apart, stay well below.
fn gop_frames(timeline: &Timeline, segment_ms: u32, every: u8) -> u16 {
    let frames = gop_frames_full_rate(timeline, segment_ms) / u64::from(every.max(1));
    u16::try_from(frames.max(2)).unwrap_or(u16::MAX)
}

/// The same in output frames: always even, so that half of it is whole.
pub(crate) fn gop_frames_full_rate(timeline: &Timeline, segment_ms: u32) -> u64 {
    const MOST: u64 = 65_534;
    if timeline.is_constant() {
        let segment = segment_frames(timeline, segment_ms);
        let gops = ((u64::from(segment_ms) + 1000) / 2000).max(1);
        let gop = segment.div_ceil(gops);
        (gop + gop % 2).clamp(2, MOST)
    } else {
        let frames = timeline.rate.frames_in_ms(8000).max(250);
        (frames + frames % 2).min(MOST)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
