//! A plan and its facts, joined: one list of segments with times and sizes per rendition. Both manifests read this
//! and nothing else, so that they cannot disagree.

use super::facts::{PackageFacts, RenditionFacts};
use crate::PlanError;
use reelmill_common::keys::segment_name;
use reelmill_common::outcome::IFrame;
use reelmill_common::plan::{AudioRendition, Plan, VideoRendition};
use reelmill_common::spec::AAC_FRAME;
use reelmill_common::{SegmentNumber, Ticks, Timebase};

/// The package as manifests see it.
pub(super) struct Package<'a> {
    pub video: Vec<Track<'a>>,
    pub audio: Vec<Track<'a>>,
    /// Length of the presentation in microseconds.
    pub micros: i64,
}

/// One rendition.
pub(super) struct Track<'a> {
    pub folder: &'a str,
    pub codec: String,
    pub timescale: u32,
    pub kind: Kind<'a>,
    pub segments: Vec<Segment>,
}

/// What a rendition is.
#[derive(Clone, Copy)]
pub(super) enum Kind<'a> {
    Video(&'a VideoRendition),
    Audio(&'a AudioRendition),
}

/// One segment: presentation times in ticks of the track's timescale, from 0 to the presentation's end without a gap.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    pub number: SegmentNumber,
    pub start: i64,
    pub end: i64,
    pub bytes: u64,
    pub iframe: Option<IFrame>,
}

impl Segment {
    pub(super) fn ticks(&self) -> i64 {
        self.end - self.start
    }

    pub(super) fn name(&self) -> String {
        segment_name(self.number)
    }
}

impl Track<'_> {
    /// A presentation time in microseconds, rounded to nearest.
    pub(super) fn micros(&self, ticks: i64) -> i64 {
        // a timescale is never zero: it comes from a timebase or a sample rate
        Timebase::new(1, self.timescale.max(1)).map_or(0, |t| t.micros(Ticks(ticks)))
    }
}

impl<'a> Package<'a> {
    pub(super) fn of(plan: &'a Plan, facts: &'a PackageFacts) -> Result<Self, PlanError> {
        if plan.video.len() != facts.video.len() || plan.audio.len() != facts.audio.len() {
            return Err(PlanError::BadReport { what: "the facts are of another package".to_owned() });
        }
        let timescale = plan.timebase.den();
        let video = plan.video.iter().zip(&facts.video).map(|(v, f)| video(v, f, &plan.grid, timescale));
        let audio = plan.audio.iter().zip(&facts.audio).map(|(a, f)| audio(a, f));
        Ok(Self {
            video: video.collect::<Result<_, _>>()?,
            audio: audio.collect::<Result<_, _>>()?,
            micros: plan.timebase.micros(Ticks(plan.duration)),
        })
    }
}

fn video<'a>(
    v: &'a VideoRendition,
    facts: &RenditionFacts,
    grid: &[i64],
    timescale: u32,
) -> Result<Track<'a>, PlanError> {
    same_count(&v.folder, grid.len().saturating_sub(1), facts)?;
    let spans = grid.windows(2).map(|w| (w[0], w[1]));
    let segments = joined(spans, facts);
    if let Some(s) = segments.iter().find(|s| s.iframe.is_none()) {
        return Err(PlanError::BadReport {
            what: format!("segment {} of {} has no I-frame", s.number, v.folder),
        });
    }
    let codec = match v.avcc.get(1..4) {
        Some([profile, constraints, level]) => format!("avc1.{profile:02x}{constraints:02x}{level:02x}"),
        _ => {
            return Err(PlanError::BadReport {
                what: format!("the decoder configuration of {} is no avcC", v.name),
            });
        }
    };
    Ok(Track { folder: &v.folder, codec, timescale, kind: Kind::Video(v), segments })
}

/// Audio segments are whole packets, and packet p sounds from sample 1024 p - 1024 on: the first packet is the
/// encoder's delay, which the init segment's edit list takes away. The presentation therefore begins at 0 with the
/// second packet, and ends with the last sample, not with its packet.
fn audio<'a>(a: &'a AudioRendition, facts: &RenditionFacts) -> Result<Track<'a>, PlanError> {
    same_count(&a.folder, a.segments.len(), facts)?;
    let shown = |packet: u64| (packet * AAC_FRAME).saturating_sub(AAC_FRAME).min(a.total_samples) as i64;
    let last = a.segments.len().saturating_sub(1);
    let spans = a.segments.iter().enumerate().map(|(n, s)| {
        (shown(s.first_packet), if n == last { a.total_samples as i64 } else { shown(s.end_packet) })
    });
    let segments = joined(spans, facts);
    let codec = "mp4a.40.2".to_owned();
    Ok(Track { folder: &a.folder, codec, timescale: a.settings.sample_rate, kind: Kind::Audio(a), segments })
}

fn same_count(folder: &str, planned: usize, facts: &RenditionFacts) -> Result<(), PlanError> {
    let found = facts.segments.len();
    if planned == found && planned > 0 {
        return Ok(());
    }
    Err(PlanError::BadReport {
        what: format!("{folder} has {planned} segments in the plan and {found} in the facts"),
    })
}

fn joined(spans: impl Iterator<Item = (i64, i64)>, facts: &RenditionFacts) -> Vec<Segment> {
    spans
        .zip(&facts.segments)
        .enumerate()
        .map(|(n, ((start, end), f))| Segment {
            number: SegmentNumber(n as u32 + 1),
            start,
            end,
            bytes: f.bytes,
            iframe: f.iframe,
        })
        .collect()
}
