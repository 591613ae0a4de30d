//! Before a package: which files are looked at again, and, after one was found wrong, room for what is made anew.

use super::collect::{foreign_roots, media_names};
use super::package::{folder_of, in_plan_order, read_report};
use super::{Context, Order};
use crate::catalog::{AuditedFile, LoadedPlan, fatal, internal, storage};
use crate::places::JobPlace;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use reelmill_common::audit::AuditSpec;
use reelmill_common::capability::Needs;
use reelmill_common::index::SourceIndex;
use reelmill_common::outcome::FaultKind;
use reelmill_common::plan::{CostClass, PlannedChunk, RungSet};
use reelmill_common::record::{CommitRecord, Placement};
use reelmill_common::spec::{AudioRange, ChunkMedia};
use reelmill_coordinator_core::{AuditRef, SpecRef, TaskError, TaskOutput};
use reelmill_plan::audit::{Drawn, Listening, ONE_IN, ONE_IN_AFTER, draw, memory_mib, sound_memory_mib};
use std::collections::{BTreeMap, BTreeSet};

/// An audit decodes once and encodes nothing: so much less than its chunk it is taken to cost.
const CHEAPER: u64 = 8;
/// Predicted cost of the smallest, slot-milliseconds.
const LEAST_COST_MS: u64 = 500;
/// Objects deleted, or reports read, at a time.
const AT_ONCE: usize = 16;

/// Draws, and says what was committed of each file drawn.
pub(super) async fn prepare(context: &Context, order: &Order) -> Result<TaskOutput, TaskError> {
    let record = &order.record;
    let plan = context.catalog.plan(record).await?;
    let place = context.catalog.place(record)?;
    let commits = in_plan_order(&plan, &order.commits)?;
    let one_in = if record.audits.caught.is_empty() { ONE_IN } else { ONE_IN_AFTER };
    let source = context.catalog.indexed(record).await?.index;
    let drawn = draw(&plan.plan, &source, &record.id, &commits, one_in);
    let chunks: BTreeSet<usize> = drawn.iter().map(|d| d.chunk).collect();
    let mut reads = Vec::with_capacity(chunks.len());
    for n in chunks {
        let (Some(chunk), Some(commit)) = (plan.plan.chunks.get(n), commits.get(n)) else { continue };
        let read = read_report(&place, chunk, commit);
        reads.push(async move { Ok::<_, TaskError>((n, read.await?)) });
    }
    let reports: BTreeMap<usize, _> = stream::iter(reads).buffer_unordered(AT_ONCE).try_collect().await?;
    let mut files = BTreeMap::new();
    let mut refs = Vec::with_capacity(drawn.len());
    for d in drawn {
        let (Some(chunk), Some(commit)) = (plan.plan.chunks.get(d.chunk), commits.get(d.chunk)) else {
            continue;
        };
        let report = reports
            .get(&d.chunk)
            .and_then(|r| r.files.iter().find(|f| (f.rung, f.segment) == (d.rung, d.segment)));
        let report = report.ok_or_else(|| internal("a report lacks a file that was drawn".to_owned()))?;
        let file = AuditedFile {
            chunk: d.chunk,
            attempt: commit.attempt,
            rung: d.rung,
            segment: d.segment,
            bytes: report.bytes,
            sha256: report.sha256,
            nearby: nearby(&source, chunk, &d),
        };
        let spec =
            file.spec(&plan.plan).ok_or_else(|| internal("a drawn chunk is not planned".to_owned()))?;
        let memory_mib = memory(&source, &spec)?;
        refs.push(reference(spec.spec_id(), chunk, commit, &d, memory_mib));
        files.insert(spec.spec_id(), file);
    }
    context.catalog.keep_audits(record.id.clone(), files);
    Ok(TaskOutput::AuditsReady(refs))
}

/// How an auditor of sound finds its samples, where it need not begin at the beginning.
fn nearby(source: &SourceIndex, chunk: &PlannedChunk, d: &Drawn) -> Option<AudioRange> {
    let ChunkMedia::Audio(audio) = &chunk.spec.media else { return None };
    let segment = audio.segments.iter().find(|s| Some(s.number) == d.segment)?;
    Listening::to(source, audio, segment)?.nearby()
}

/// MiB that an audit is admitted with.
fn memory(source: &SourceIndex, spec: &AuditSpec) -> Result<u64, TaskError> {
    match (&spec.chunk.media, &source.video) {
        (ChunkMedia::Audio(audio), _) => Ok(sound_memory_mib(&audio.settings, spec.frames() + 1, spec.bytes)),
        (ChunkMedia::Video(video), Some(track)) => {
            let rung = video.rungs.get(spec.rung as usize);
            let rung = rung.ok_or_else(|| internal("a file was drawn of no rung of its chunk".to_owned()))?;
            Ok(memory_mib(track, &rung.settings, spec.bytes))
        }
        (ChunkMedia::Video(_), None) => {
            Err(internal("a file was drawn of a film without a picture".to_owned()))
        }
    }
}

fn reference(
    id: reelmill_common::SpecId,
    chunk: &PlannedChunk,
    commit: &CommitRecord,
    d: &Drawn,
    memory_mib: u64,
) -> AuditRef {
    let (number, sound) = match &chunk.spec.media {
        ChunkMedia::Video(v) => (v.number, false),
        ChunkMedia::Audio(a) => (a.number, true),
    };
    let rung = folder_of(chunk, d.rung).map_or("", |f| f.rsplit_once('-').map_or(f, |(name, _)| name));
    let what = d.segment.map_or("the init segment".to_owned(), |n| format!("segment {}", n.0));
    AuditRef {
        spec: SpecRef {
            id,
            cost_ms: (chunk.cost_ms / CHEAPER).max(LEAST_COST_MS),
            needs: Needs { family: None, memory_mib },
            rungs: RungSet::NONE,
            class: CostClass::NONE,
        },
        chunk: commit.spec,
        name: format!("{rung}, {what} (chunk {number})"),
        sound,
    }
}

/// Removes what lies under final names of the plan and is not committed: what a worker made that was caught, and
/// whatever others did not come to commit. The machine waits with this until no upload of theirs can be on its way.
pub(super) async fn sweep(context: &Context, order: &Order) -> Result<TaskOutput, TaskError> {
    let record = &order.record;
    // what attempts write below names of their own is in nobody's way
    if record.placement == Placement::Promoted || record.plan.is_none() {
        return Ok(TaskOutput::Swept);
    }
    let plan = context.catalog.plan(record).await?;
    let place = context.catalog.place(record)?;
    let names = loose(&place, &plan, &order.commits).await?;
    if place.is_shared && !names.is_empty() {
        is_ours(context, order, &place, &names).await?;
    }
    let one = |name: String| async {
        let name = name;
        let deleted = place.package.delete(&name);
        context.switch.around("delete_object", deleted).await.map_err(storage)
    };
    stream::iter(names.into_iter().map(one)).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    Ok(TaskOutput::Swept)
}

/// Media of the plan that is there and that no commit accounts for.
async fn loose(
    place: &JobPlace,
    plan: &LoadedPlan,
    commits: &[CommitRecord],
) -> Result<Vec<String>, TaskError> {
    let committed: BTreeSet<_> = commits.iter().map(|c| c.spec).collect();
    let stand = plan.named().filter(|(id, _)| committed.contains(id)).map(|(_, chunk)| chunk);
    let stand: BTreeSet<String> = stand.flat_map(|c| reelmill_common::check::chunk_files(&c.spec)).collect();
    let planned: BTreeSet<String> = media_names(&plan.plan).into_iter().collect();
    let folders: BTreeSet<&str> = planned.iter().filter_map(|n| Some(n.split_once('/')?.0)).collect();
    let mut loose = Vec::new();
    for folder in folders {
        let there = place.package.list(folder).await.map_err(storage)?.into_iter().map(|entry| entry.name);
        loose.extend(there.filter(|name| planned.contains(name) && !stand.contains(name)));
    }
    Ok(loose)
}

/// In a directory that a submitter named, files of another package are not ours to remove, and ours cannot be told from
/// them.
async fn is_ours(
    context: &Context,
    order: &Order,
    place: &JobPlace,
    names: &[String],
) -> Result<(), TaskError> {
    let foreign = foreign_roots(&place.package, &order.record.manifests).await?;
    let named = |name: &String| {
        let folder = name.split_once('/').map_or(name.as_str(), |(folder, _)| folder);
        foreign.iter().any(|(_, text)| text.contains(folder))
    };
    let other = context.catalog.is_output_of_another(&order.record).then(|| names.first()).flatten();
    match other.or_else(|| names.iter().find(|n| named(n))) {
        None => Ok(()),
        Some(name) => Err(fatal(
            FaultKind::Storage,
            format!(
                "{}/{name} may be what a worker made that was caught, and another package may use it: it is not \
                 removed. Let the package go elsewhere",
                place.package.root()
            ),
        )),
    }
}
