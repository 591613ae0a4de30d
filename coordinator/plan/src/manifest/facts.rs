//! What the manifests need to know of the files made: sizes and I-frame places, gathered from the chunks' reports.

use crate::PlanError;
use reelmill_common::outcome::{ChunkReport, FileReport, IFrame};
use reelmill_common::plan::{Plan, PlannedChunk};
use reelmill_common::spec::{ChunkMedia, VideoRung};
use std::collections::BTreeMap;

/// Facts of a whole package.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PackageFacts {
    /// One per video rendition, in the plan's order.
    pub video: Vec<RenditionFacts>,
    /// One per audio rendition, in the plan's order.
    pub audio: Vec<RenditionFacts>,
}

/// Facts of one rendition.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RenditionFacts {
    /// One per segment, in order of their numbers.
    pub segments: Vec<SegmentFacts>,
}

/// Facts of one media segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentFacts {
    /// Size in bytes.
    pub bytes: u64,
    /// Its first I-frame (`None` for audio).
    pub iframe: Option<IFrame>,
}

/// By folder, by segment number.
type Found<'a> = BTreeMap<&'a str, BTreeMap<u32, SegmentFacts>>;

impl PackageFacts {
    /// Gathers the facts from the committed reports, one per chunk in the order of `plan.chunks`. What they hold of
    /// folders that are no rendition's (they were in an earlier revision) is left out.
    ///
    /// # Errors
    /// [`PlanError::BadReport`] when a chunk has no report, a segment is missing or reported twice, or a chunk of a rung
    /// has another decoder configuration than the rung.
    pub fn from_reports(plan: &Plan, reports: &[ChunkReport]) -> Result<Self, PlanError> {
        if plan.chunks.len() != reports.len() {
            let what = format!("there are {} reports of {} chunks", reports.len(), plan.chunks.len());
            return Err(PlanError::BadReport { what });
        }
        let mut found = Found::new();
        for (chunk, report) in plan.chunks.iter().zip(reports) {
            same_binding(plan, chunk)?;
            for file in &report.files {
                add(&mut found, chunk, file)?;
            }
        }
        let count = plan.grid.len().saturating_sub(1);
        let video =
            plan.video.iter().map(|v| take(&mut found, &v.folder, count)).collect::<Result<_, _>>()?;
        let audio = plan
            .audio
            .iter()
            .map(|a| take(&mut found, &a.folder, a.segments.len()))
            .collect::<Result<_, _>>()?;
        Ok(Self { video, audio })
    }
}

/// One decoder configuration over each rung.
fn same_binding(plan: &Plan, chunk: &PlannedChunk) -> Result<(), PlanError> {
    let ChunkMedia::Video(video) = &chunk.spec.media else { return Ok(()) };
    let odd = |r: &&VideoRung| plan.video.iter().any(|v| v.folder == r.folder && v.avcc != r.avcc);
    match video.rungs.iter().find(odd) {
        None => Ok(()),
        Some(rung) => {
            let what = format!(
                "chunk {} of {} has another decoder configuration than the rung",
                video.number, rung.folder
            );
            Err(PlanError::BadReport { what })
        }
    }
}

fn add<'a>(found: &mut Found<'a>, chunk: &'a PlannedChunk, file: &FileReport) -> Result<(), PlanError> {
    let Some(number) = file.segment else { return Ok(()) };
    let folder = match &chunk.spec.media {
        ChunkMedia::Video(v) => v.rungs.get(file.rung as usize).map(|r| r.folder.as_str()),
        ChunkMedia::Audio(a) => (file.rung == 0).then_some(a.folder.as_str()),
    };
    let Some(folder) = folder else {
        return Err(PlanError::BadReport {
            what: format!("a report names rung {}, which its chunk has not", file.rung),
        });
    };
    let facts = SegmentFacts { bytes: file.bytes, iframe: file.iframes.first().copied() };
    if found.entry(folder).or_default().insert(number.0, facts).is_some() {
        return Err(PlanError::BadReport { what: format!("segment {number} of {folder} is reported twice") });
    }
    Ok(())
}

fn take(found: &mut Found<'_>, folder: &str, count: usize) -> Result<RenditionFacts, PlanError> {
    let segments = found.remove(folder).unwrap_or_default();
    let whole = segments.len() == count && segments.keys().copied().eq(1..=count as u32);
    if !whole {
        let what = format!("{} of the {count} segments of {folder} are reported", segments.len());
        return Err(PlanError::BadReport { what });
    }
    Ok(RenditionFacts { segments: segments.into_values().collect() })
}
