//! Sound in ranges: when one continuous encode would hold up the job, and where it is cut then.
//!
//! A rendition is one encode unless its predicted time exceeds half of the job's, as for a long film on many workers.
//! Then it is cut at segment borders into ranges that differ in nothing a player sees: segments, packets and names are
//! those of the one encode, and only who makes them changes. Two ranges meet where their encoders agree without having
//! seen each other (the rule and its check are in the worker's `verify::audio`); that is known only from the sound, so
//! [`wanted`] names a few borders for each join, the analysis says at which of them it can be, and [`split`] cuts there.
//! A join with no such border is left out, and its two ranges are one.

use super::Wish;
use crate::PlanError;
use crate::cost;
use crate::timeline::place;
use reelmill_common::index::{AudioTrack, SampleGrid};
use reelmill_common::job::JobOptions;
use reelmill_common::plan::{AudioRendition, Plan, PlannedChunk, Sizing};
use reelmill_common::spec::{AAC_FRAME, AudioChunk, AudioRange, AudioSegment, ChunkMedia, ExactTime};
use reelmill_common::time::{Ticks, Timebase};
use std::num::NonZeroU32;

/// Packets encoded before a range and thrown away: 44 s at 48 kHz.
///
/// The window decision is settled after a few packets; the rate control divides its bits between low and high bands by
/// what it remembers of 20 to 40 s, and until then spends them low: the mean over bands in decibels even improves, but
/// the power of the noise against the mask does not. `worker/core/tests/ffmpeg/noise.rs` measures both, and
/// `bench/sound-ranges.md` holds the numbers. Blocks of loudness, of 3 s at most, are long known by then.
const PRE_ROLL: u64 = 2048;

/// The same for a probe, of which only windows are wanted.
const PROBE_PRE_ROLL: u64 = 16;
/// Borders tried for a join.
const CANDIDATES: usize = 3;
/// A join lies this far inside of the track's sound, so that there is sound to decode on both sides.
const INSIDE_SECONDS: i64 = 15;
/// Decoding begins this long before a range's first packet, pre-roll included: far more than any audio decoder needs,
/// and than demuxers miss by.
const SEEK_SECONDS: i64 = 5;

/// What decides into how many ranges sound is cut.
#[derive(Clone, Copy)]
pub(crate) struct Rule {
    least_ms: u32,
    slots: u32,
    /// What a chunk may cost.
    most_ms: Option<u64>,
}

impl Rule {
    pub(crate) fn new(options: &JobOptions, sizing: Sizing) -> Self {
        let (slots, most_ms) = (sizing.slots_hint.max(1), sizing.chunk_cost_max_ms);
        Self { least_ms: options.sound_range_ms, slots, most_ms }
    }

    /// Into how many ranges a rendition is to be cut so that none costs more than a chunk may.
    fn by_cost(self, audio: &AudioRendition) -> u64 {
        let ms = |samples| cost::audio_ms(samples, audio.settings.sample_rate);
        let whole_ms = ms(audio.total_samples);
        match self.most_ms {
            // every range has a pre-roll, and a join may lie as far off as its candidates
            Some(most_ms) if whole_ms > most_ms => {
                let besides = ms(PRE_ROLL * AAC_FRAME + CANDIDATES as u64 * longest_samples(audio));
                whole_ms.div_ceil(most_ms.saturating_sub(besides).max(1))
            }
            _ => 1,
        }
    }

    fn least_samples(self, audio: &AudioRendition) -> u64 {
        u64::from(self.least_ms) * u64::from(audio.settings.sample_rate) / 1000
    }

    fn most_ranges(self, audio: &AudioRendition) -> u64 {
        // candidates move a join by that much
        let moved = CANDIDATES as u64 * longest_samples(audio);
        audio.total_samples / (self.least_samples(audio) + moved).max(1)
    }
}

fn longest_samples(audio: &AudioRendition) -> u64 {
    audio.segments.iter().map(|s| s.end_packet - s.first_packet).max().unwrap_or(0) * AAC_FRAME
}

/// Joins that are wanted, in the order of the analysis.
#[derive(Default)]
pub(crate) struct Wanted {
    pub joins: Vec<Join>,
    /// Why sound is cut, or why it is not although it should be.
    pub notes: Vec<String>,
}

/// Where the samples of a track lie.
#[derive(Clone, Copy)]
struct Sounding {
    /// On the track's own count.
    grid: SampleGrid,
    /// First sample, on the rendition's count; sound before zero has negative ones.
    first: i64,
    /// Sample after the last, on the rendition's count.
    end: i64,
}

/// One join that is wanted.
pub(crate) struct Join {
    sounding: Sounding,
    /// Which rendition, in the plan's order.
    pub rendition: usize,
    /// Where it might be: the range around it, with a segment for each candidate.
    pub probe: AudioChunk,
}

/// Could sound of this source be cut for so many slots at all? Cheap, and known without a plan.
pub(crate) fn possible(wishes: &[Wish<'_>], rule: Rule) -> bool {
    let milliseconds = Timebase::hz(NonZeroU32::MIN.saturating_add(999));
    let long = |t: &AudioTrack| {
        let span = Ticks(t.end.0.saturating_sub(t.first.0));
        t.timebase.rescale_floor(span, milliseconds).0 >= 2 * i64::from(rule.least_ms)
    };
    (rule.slots > 1 || rule.most_ms.is_some()) && wishes.iter().any(|w| long(w.track))
}

/// Which joins the sound of a plan should have, from predicted costs and the slots there are.
pub(crate) fn wanted(plan: &Plan, wishes: &[Wish<'_>], rule: Rule) -> Wanted {
    let mut out = Wanted::default();
    let slots = u64::from(rule.slots);
    let pictures = plan.chunks.iter().filter(|c| matches!(c.spec.media, ChunkMedia::Video(_)));
    let largest = pictures.map(|c| c.cost_ms).max().unwrap_or(0);
    let total: u64 = plan.chunks.iter().map(|c| c.cost_ms).sum();
    let makespan = (total / slots).max(largest).max(1);
    for (rendition, (audio, wish)) in plan.audio.iter().zip(wishes).enumerate() {
        let Some(chunk) = continuous(plan, rendition) else { continue };
        let ms = cost::audio_ms(audio.total_samples, audio.settings.sample_rate);
        let in_time = if 2 * ms <= makespan { 1 } else { (2 * ms).div_ceil(makespan).min(slots) };
        let ranges = in_time.max(rule.by_cost(audio)).min(rule.most_ranges(audio));
        if ranges < 2 {
            continue;
        }
        let why = match rule.most_ms {
            Some(most_ms) if ranges > in_time => format!(
                "one encode of {} would cost {ms} slot-ms, and tenants share the slots: a chunk may cost {most_ms}",
                audio.name
            ),
            _ => format!("one encode of {} would take {ms} ms of {makespan}", audio.name),
        };
        let sounding = match sounding(chunk, wish.track, audio) {
            Ok(sounding) => sounding,
            Err(not) => {
                out.notes.push(format!("sound: {why}; it is not cut into ranges: {not}"));
                continue;
            }
        };
        out.notes.push(format!("sound: {why}; {ranges} ranges are wanted"));
        let probes = (1..ranges).filter_map(|n| probe(audio, chunk, sounding, (n, ranges)));
        out.joins.extend(probes.map(|probe| Join { sounding, rendition, probe }));
    }
    out
}

/// Where to cut, or why it cannot be.
fn sounding(
    chunk: &AudioChunk,
    track: &AudioTrack,
    audio: &AudioRendition,
) -> Result<Sounding, &'static str> {
    if audio.settings.channels > 2 {
        return Err("the windows of more than two channels are not compared");
    }
    countable(chunk, track)
}

/// Where the samples of a rendition lie in its track, if that can be told without decoding it from the beginning.
fn countable(chunk: &AudioChunk, track: &AudioTrack) -> Result<Sounding, &'static str> {
    if track.sample_rate != chunk.settings.sample_rate {
        return Err("its sample rate is converted, which is done once, before any cut");
    }
    let grid = track.grid.ok_or("the times of its packets do not tell where samples lie")?;
    let rate = NonZeroU32::new(chunk.settings.sample_rate).ok_or("it has no sample rate")?;
    let at = |ticks| place(chunk.zero, ExactTime { ticks, timebase: track.timebase }, Timebase::hz(rate));
    Ok(Sounding { grid, first: at(track.first), end: at(track.end) })
}

/// How the samples of one continuous encode are found where times are rounded (1 ms in Matroska, 1/90,000 s in a transport
/// stream): on the track's own count, as those of ranges are. By its first time alone all sound could lie half a
/// millisecond off.
pub(crate) fn whole(chunk: &AudioChunk, track: &AudioTrack) -> Option<AudioRange> {
    let grid = countable(chunk, track).ok()?.grid;
    (grid.step > 1).then_some(AudioRange { seek: None, grid, pre_roll: 0 })
}

/// How the samples of one segment are found without decoding all sound before it; `None`: they are not.
pub(crate) fn nearby(chunk: &AudioChunk, track: &AudioTrack, segment: &AudioSegment) -> Option<AudioRange> {
    let packets = (segment.first_packet, segment.end_packet);
    range(chunk, countable(chunk, track).ok()?, PROBE_PRE_ROLL, packets)?.range
}

fn continuous(plan: &Plan, rendition: usize) -> Option<&AudioChunk> {
    match &plan.chunks.get(rendition)?.spec.media {
        ChunkMedia::Audio(a) => Some(a),
        ChunkMedia::Video(_) => None,
    }
}

/// The candidates for join `n` of `of` ranges; `None` where the track has no sound there.
fn probe(
    audio: &AudioRendition,
    chunk: &AudioChunk,
    sounding: Sounding,
    (n, of): (u64, u64),
) -> Option<AudioChunk> {
    let wanted = u128::from(audio.total_samples) * u128::from(n) / u128::from(of) / u128::from(AAC_FRAME);
    let at = audio.segments.partition_point(|s| u128::from(s.first_packet) < wanted);
    let margin = INSIDE_SECONDS * i64::from(audio.settings.sample_rate);
    let (first, end) = (sounding.first.max(0).saturating_add(margin), sounding.end.saturating_sub(margin));
    let fits = |s: &&AudioSegment| {
        let sample = (s.first_packet * AAC_FRAME) as i64;
        first <= sample && sample <= end
    };
    let places: Vec<AudioSegment> =
        audio.segments.get(at..)?.iter().take(CANDIDATES).filter(fits).copied().collect();
    let (from, to) = (places.first()?.first_packet, places.last()?.first_packet + 1);
    let segments = places.iter().map(|s| AudioSegment { end_packet: s.end_packet.min(to), ..*s });
    let probe = AudioChunk { segments: segments.collect(), measure_loudness: false, ..chunk.clone() };
    range(&probe, sounding, PROBE_PRE_ROLL, (from, to))
}

/// The part of a rendition from packet `from` to `to`.
fn range(
    chunk: &AudioChunk,
    sounding: Sounding,
    pre_roll: u64,
    (from, to): (u64, u64),
) -> Option<AudioChunk> {
    let rate = Timebase::hz(NonZeroU32::new(chunk.settings.sample_rate)?);
    let start = (from.saturating_sub(pre_roll) * AAC_FRAME) as i64;
    let seek = start - SEEK_SECONDS * i64::from(chunk.settings.sample_rate);
    // before its first sample a track has nothing to land on: decoding begins at the start, and silence is put in
    let zero = chunk.zero.timebase.rescale(chunk.zero.ticks, rate).0;
    let begun = start > 0 && seek >= sounding.first;
    let seek = begun.then(|| rate.rescale_floor(Ticks(zero + seek), chunk.timebase));
    Some(AudioChunk {
        packets: (from, to),
        range: Some(AudioRange { seek, grid: sounding.grid, pre_roll }),
        ..chunk.clone()
    })
}

/// Cuts the sound of a plan where the analysis found that ranges can meet.
///
/// # Errors
/// [`PlanError::BadReport`] when the analysis answers what was not asked.
pub(crate) fn split(plan: &mut Plan, wanted: &Wanted, rule: Rule, found: &[u64]) -> Result<(), PlanError> {
    let bad = |what: String| Err(PlanError::BadReport { what });
    if wanted.joins.len() != found.len() {
        return bad(format!("the analysis holds {} joins of sound for {}", found.len(), wanted.joins.len()));
    }
    plan.report.decisions.extend(wanted.notes.iter().cloned());
    let mut chunks = Vec::new();
    for rendition in 0..plan.audio.len() {
        let audio = &plan.audio[rendition];
        let least = rule.least_samples(audio) / AAC_FRAME;
        let all = audio.segments.last().map_or(0, |s| s.end_packet);
        let mut borders = vec![0];
        let mut sounding = None;
        let joins = wanted.joins.iter().zip(found).filter(|(j, at)| j.rendition == rendition && **at != 0);
        for (join, at) in joins {
            if !join.probe.segments.iter().any(|s| s.first_packet == *at) {
                return bad(format!(
                    "the analysis puts a join of {} at packet {at}, which was not asked",
                    audio.name
                ));
            }
            if borders.last().is_some_and(|last| at - last >= least) && all - at >= least {
                borders.push(*at);
                sounding = Some(join.sounding);
            }
        }
        borders.push(all);
        let whole = plan.chunks[rendition].clone();
        match sounding {
            Some(sounding) => {
                let starts: Vec<String> = borders[1..borders.len() - 1].iter().map(u64::to_string).collect();
                plan.report.decisions.push(format!(
                    "sound: {} in {} ranges that meet at packets {}",
                    audio.name,
                    borders.len() - 1,
                    starts.join(", ")
                ));
                chunks.extend(borders.windows(2).filter_map(|w| part(&whole, sounding, (w[0], w[1]))));
            }
            None => chunks.push(whole),
        }
    }
    for (number, chunk) in chunks.iter_mut().enumerate() {
        if let ChunkMedia::Audio(a) = &mut chunk.spec.media {
            a.number = number as u32;
        }
    }
    chunks.extend(plan.chunks.drain(..).skip(plan.audio.len()));
    plan.chunks = chunks;
    Ok(())
}

fn part(whole: &PlannedChunk, sounding: Sounding, (from, to): (u64, u64)) -> Option<PlannedChunk> {
    let ChunkMedia::Audio(chunk) = &whole.spec.media else { return None };
    let own = chunk.segments.iter().filter(|s| from <= s.first_packet && s.end_packet <= to).copied();
    let chunk = AudioChunk { segments: own.collect(), ..chunk.clone() };
    let chunk = range(&chunk, sounding, PRE_ROLL, (from, to))?;
    let encoded = to - from.saturating_sub(PRE_ROLL);
    let cost_ms = cost::audio_ms(encoded * AAC_FRAME, chunk.settings.sample_rate);
    let mut part = whole.clone();
    part.spec.media = ChunkMedia::Audio(chunk);
    Some(PlannedChunk { cost_ms, ..part })
}
