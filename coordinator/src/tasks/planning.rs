//! From a committed index to a stored plan.

use super::{Context, Order};
use crate::catalog::{LoadedPlan, blocking, internal, refused, storage};
use bytes::Bytes;
use reelmill_blob::PutOptions;
use reelmill_common::capability::Needs;
use reelmill_common::keys::plan_key;
use reelmill_common::plan::{CostClass, Plan, RungSet};
use reelmill_common::record::{FoundBinding, JobRecord, ObjectRef, PlanRef, Rebind};
use reelmill_common::spec::AnalyseSpec;
use reelmill_common::{Sha256, SpecId, Ticks, Timebase};
use reelmill_coordinator_core::{SpecRef, TaskError, TaskOutput};
use reelmill_plan::PlanInput;
use reelmill_plan::revise::{self, RevisionInput};
use reelmill_proto::stored::encode_plan;
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Predicted cost of an analysis, slot-milliseconds: a tiny clip per rung, and sound at many times its speed.
const ANALYSE_COST_MS: u64 = 3_000;
/// Memory admitted for an analysis, MiB.
const ANALYSE_MEMORY_MIB: u64 = 512;
const MILLIS: Timebase = Timebase::hz(NonZeroU32::new(1_000).expect("a thousand is not zero"));

/// Which Analyse item is wanted, if any.
pub(super) async fn prepare_analyse(context: &Context, order: &Order) -> Result<TaskOutput, TaskError> {
    let spec = context.catalog.analyse_now(&order.record).await?;
    let is_needed = !spec.rungs.is_empty() || !spec.downmixes.is_empty();
    Ok(TaskOutput::AnalyseReady(is_needed.then(|| analyse_ref(&spec))))
}

fn analyse_ref(spec: &AnalyseSpec) -> SpecRef {
    let family = spec.rungs.first().map(|r| r.family);
    SpecRef {
        id: spec.spec_id(),
        cost_ms: ANALYSE_COST_MS,
        needs: Needs { family, memory_mib: ANALYSE_MEMORY_MIB },
        // it finds what rungs can be bound to: any build may
        rungs: RungSet::NONE,
        class: CostClass::NONE,
    }
}

/// Plans, or makes the revision that the job's record names.
pub(super) async fn make_plan(context: &Context, order: &Order) -> Result<TaskOutput, TaskError> {
    let Ok(_place) = context.planning.acquire().await else {
        return Err(internal("planning has ended".to_owned()));
    };
    let record = &order.record;
    if let Some(Rebind { rungs, found, .. }) = &record.rebind {
        if rungs.is_empty() {
            return replan(context, order).await;
        }
        let found = found.as_ref();
        let found = found.ok_or_else(|| internal("a revision is made before its analysis".to_owned()))?;
        return make_revision(context, order, *rungs, found).await;
    }
    let indexed = context.catalog.indexed(record).await?;
    let analyses = context.catalog.analysis(record).await?;
    let (options, sizing) = (record.request.options.clone(), record.sizing());
    let plan = blocking(move || {
        let (index, ladder) = (&indexed.index, &indexed.ladder);
        let input = PlanInput { index, analyses: &analyses, ladder, options: &options, sizing };
        reelmill_plan::plan(&input).map_err(|e| refused(&e))
    })
    .await?;
    let (plan, loaded) = store(context, record, plan).await?;
    Ok(TaskOutput::Planned { plan, specs: specs(&loaded) })
}

/// The next revision of the plan: from the one there is, what is committed, and what a worker found.
async fn make_revision(
    context: &Context,
    order: &Order,
    rungs: RungSet,
    found: &FoundBinding,
) -> Result<TaskOutput, TaskError> {
    let record = &order.record;
    let (current, indexed) = (context.catalog.plan(record).await?, context.catalog.indexed(record).await?);
    let report = context.catalog.found(record, &found.analysis).await?;
    let committed: BTreeSet<SpecId> = order.commits.iter().map(|c| c.spec).collect();
    let (before, by) = (Arc::clone(&current), found.ffmpeg_build.clone());
    let revised = blocking(move || {
        let video = indexed.index.video.as_ref();
        let video =
            video.ok_or_else(|| internal("a film without a picture has no rung to bind".to_owned()))?;
        let input = RevisionInput {
            plan: &before.plan,
            video,
            committed: &committed,
            rungs,
            found: &report,
            by: &by,
        };
        revise::revise(&input).map_err(|e| refused(&e))
    })
    .await?;
    if revised.rebound.is_empty() {
        let plan =
            record.plan.clone().ok_or_else(|| internal("a job without a plan is revised".to_owned()))?;
        return Ok(TaskOutput::Revised { plan, specs: specs(&current), rebound: RungSet::NONE });
    }
    let (plan, loaded) = store(context, record, revised.plan).await?;
    Ok(TaskOutput::Revised { plan, specs: specs(&loaded), rebound: revised.rebound })
}

/// The next revision after what a worker made of this one, who was caught, was removed.
async fn replan(context: &Context, order: &Order) -> Result<TaskOutput, TaskError> {
    let record = &order.record;
    let (current, indexed) = (context.catalog.plan(record).await?, context.catalog.indexed(record).await?);
    let committed: BTreeSet<SpecId> = order.commits.iter().map(|c| c.spec).collect();
    let why = record.audits.caught.last().map_or(String::new(), |c| {
        format!("{} was caught, and nothing that it made of the job counts", c.worker)
    });
    let before = Arc::clone(&current);
    let next = blocking(move || {
        let video = indexed.index.video.as_ref();
        let video =
            video.ok_or_else(|| internal("a film without a picture has no rung to bind".to_owned()))?;
        Ok(revise::replan(&before.plan, video, &committed, &why))
    })
    .await?;
    let rebound = RungSet::NONE;
    if next.revision == current.plan.revision {
        let plan =
            record.plan.clone().ok_or_else(|| internal("a job without a plan is revised".to_owned()))?;
        return Ok(TaskOutput::Revised { plan, specs: specs(&current), rebound });
    }
    let (plan, loaded) = store(context, record, next).await?;
    Ok(TaskOutput::Revised { plan, specs: specs(&loaded), rebound })
}

/// Stores a plan. Its key names its content: another leader, deposed or to come, of this version of the program or
/// another, writes the same bytes there or writes elsewhere (a revision depends on what is committed). What counts is the
/// one that the record names.
async fn store(
    context: &Context,
    record: &JobRecord,
    plan: Plan,
) -> Result<(PlanRef, Arc<LoadedPlan>), TaskError> {
    let (loaded, bytes, sha256) = blocking(move || {
        let bytes = Bytes::from(encode_plan(&plan));
        let sha256 = Sha256::of(&bytes);
        Ok((Arc::new(LoadedPlan::new(plan)), bytes, sha256))
    })
    .await?;
    let plan = &loaded.plan;
    let object = ObjectRef { key: plan_key(plan.revision, sha256), bytes: bytes.len() as u64, sha256 };
    let work = context.catalog.place(record)?.work;
    let put = work.put_replace(object.key.as_str(), bytes, PutOptions::default());
    context.switch.around("put_plan", put).await.map_err(storage)?;
    let reference = PlanRef {
        revision: plan.revision,
        chunks: u32::try_from(plan.chunks.len()).unwrap_or(u32::MAX),
        media_ms: media_ms(plan),
        object: object.clone(),
        rungs: plan.video.iter().map(|v| v.name.clone()).collect(),
        why: why(record, plan),
    };
    context.catalog.keep(record.id.clone(), object, Arc::clone(&loaded));
    Ok((reference, loaded))
}

/// Why a plan is not what the film's packets promise: the last decision of a revision is the one that made it, and the
/// first of a damaged film tells what is missing.
fn why(record: &JobRecord, plan: &Plan) -> Option<String> {
    let decisions = &plan.report.decisions;
    match (plan.parent, &record.damage) {
        (Some(_), _) => decisions.last().cloned(),
        (None, Some(_)) => decisions.first().cloned(),
        (None, None) => None,
    }
}

fn media_ms(plan: &Plan) -> u64 {
    u64::try_from(plan.timebase.rescale(Ticks(plan.duration), MILLIS).0).unwrap_or(0)
}

/// A plan's chunks as the machine sees them, in plan order.
pub(crate) fn specs(loaded: &LoadedPlan) -> Vec<SpecRef> {
    let spec = |(id, c): (SpecId, &reelmill_common::plan::PlannedChunk)| SpecRef {
        id,
        cost_ms: c.cost_ms.max(1),
        needs: c.needs,
        rungs: revise::rungs_of(&loaded.plan, &c.spec),
        class: reelmill_plan::cost_class(&loaded.plan, &c.spec),
    };
    loaded.named().map(spec).collect()
}

/// Reads the stored plan's specs.
pub(super) async fn load_plan(context: &Context, order: &Order) -> Result<TaskOutput, TaskError> {
    let loaded = context.catalog.plan(&order.record).await?;
    Ok(TaskOutput::PlanLoaded(specs(&loaded)))
}
