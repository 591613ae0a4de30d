//! From a made-up source to a plan and to facts of files, without an encoder: decoder configurations and sizes are
//! made up from the settings, always the same.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test takes what it needs; a test that cannot go on panics"
)]

use reelmill_common::index::SourceIndex;
use reelmill_common::job::JobOptions;
use reelmill_common::ladder::{LadderChoice, VideoSettings};
use reelmill_common::outcome::{AnalyseReport, IFrame};
use reelmill_common::plan::{Plan, Sizing};
use reelmill_plan::manifest::{PackageFacts, RenditionFacts, SegmentFacts};
use reelmill_plan::{PlanError, PlanInput, analyse_spec, ladder};

/// A plan of the default ladder.
pub(crate) fn plan(index: &SourceIndex, options: &JobOptions, slots_hint: u32) -> Result<Plan, PlanError> {
    plan_with(index, &LadderChoice::Default, options, Sizing::alone(slots_hint))
}

/// The same where other tenants share the slots, and chunks may cost so much.
pub(crate) fn plan_shared(
    index: &SourceIndex,
    options: &JobOptions,
    slots_hint: u32,
    most_ms: u64,
) -> Result<Plan, PlanError> {
    let sizing = Sizing { slots_hint, chunk_cost_max_ms: Some(most_ms) };
    plan_with(index, &LadderChoice::Default, options, sizing)
}

/// A plan of any ladder.
pub(crate) fn plan_with(
    index: &SourceIndex,
    choice: &LadderChoice,
    options: &JobOptions,
    sizing: Sizing,
) -> Result<Plan, PlanError> {
    let ladder = ladder::fit(index, choice, options)?;
    let spec = analyse_spec(index, &ladder, options, sizing)?;
    let analyses = AnalyseReport {
        avcc: spec.rungs.iter().map(avcc).collect(),
        peaks: vec![14_142; spec.downmixes.len()],
        joins: spec.joins.iter().map(|j| j.segments[0].first_packet).collect(),
    };
    reelmill_plan::plan(&PlanInput { index, analyses: &analyses, ladder: &ladder, options, sizing })
}

/// High profile at the settings' level, with parameter sets of no meaning.
fn avcc(settings: &VideoSettings) -> Vec<u8> {
    vec![1, 100, 0, settings.level, 0xFF, 0xE1, 0, 1, 0x67, 1, 0, 1, 0x68]
}

/// Sizes that follow the settings' rate with a steady wobble, so that windows differ.
pub(crate) fn facts(plan: &Plan) -> PackageFacts {
    let wobble = |n: usize| 70 + (n as u64 * 37) % 31;
    let scale = u64::from(plan.timebase.den());
    let video = |v: &reelmill_common::plan::VideoRendition| {
        let spans = plan.grid.windows(2).enumerate();
        let segments = spans.map(|(n, w)| {
            let bits = (w[1] - w[0]) as u64 * u64::from(v.settings.max_rate_kbps) * 1000 / scale;
            let bytes = (bits / 800 * wobble(n)).max(64);
            let iframe = Some(IFrame { time: w[0], offset: 24, length: bytes / 9 + 8 });
            SegmentFacts { bytes, iframe }
        });
        RenditionFacts { segments: segments.collect() }
    };
    let audio = |a: &reelmill_common::plan::AudioRendition| {
        let per_packet = u64::from(a.settings.bit_rate_kbps) * 128 * 1024 / u64::from(a.settings.sample_rate);
        let segments = a.segments.iter().enumerate().map(|(n, s)| SegmentFacts {
            bytes: (s.end_packet - s.first_packet) * per_packet * wobble(n) / 100,
            iframe: None,
        });
        RenditionFacts { segments: segments.collect() }
    };
    PackageFacts {
        video: plan.video.iter().map(video).collect(),
        audio: plan.audio.iter().map(audio).collect(),
    }
}

/// The microseconds of an EXTINF's value (`4.004000,`), read digit by digit: no float.
pub(crate) fn micros(extinf: &str) -> i64 {
    let (whole, rest) = extinf.trim_end_matches(',').split_once('.').unwrap();
    assert_eq!(rest.len(), 6, "{extinf}");
    whole.parse::<i64>().unwrap() * 1_000_000 + rest.parse::<i64>().unwrap()
}

/// A rendition's sample clock.
pub(crate) fn rate(audio: &reelmill_common::plan::AudioRendition) -> reelmill_common::Timebase {
    reelmill_common::Timebase::new(1, audio.settings.sample_rate).unwrap()
}

/// The value of an attribute in a line of an MPD.
pub(crate) fn attribute<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let start = line.find(&format!(" {name}=\""))? + name.len() + 3;
    line[start..].split('"').next()
}

/// For each SegmentTimeline of an MPD, the sum of its durations.
pub(crate) fn timeline_sums(mpd: &str) -> Vec<i64> {
    let mut sums = Vec::new();
    for line in mpd.lines() {
        if line.contains("<SegmentTimeline>") {
            sums.push(0);
        }
        if line.contains("<S ") {
            let number = |name| attribute(line, name).map(|v| v.parse::<i64>().unwrap());
            let run = number("d").unwrap() * (number("r").unwrap_or(0) + 1);
            *sums.last_mut().unwrap() += run;
        }
    }
    sums
}
