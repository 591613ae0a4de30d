//! From a committed index to a stored plan.

use super::{Context, Order};
use crate::catalog::{LoadedPlan, blocking, refused, storage};
use bytes::Bytes;
use reelmill_blob::PutOptions;
use reelmill_common::capability::Needs;
use reelmill_common::keys::plan_key;
use reelmill_common::plan::Plan;
use reelmill_common::record::{ObjectRef, PlanRef};
use reelmill_common::spec::AnalyseSpec;
use reelmill_common::{Sha256, Ticks, Timebase};
use reelmill_coordinator_core::{SpecRef, TaskError, TaskOutput};
use reelmill_plan::PlanInput;
use reelmill_proto::stored::encode_plan;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Predicted cost of an analysis, slot-milliseconds: a tiny clip per rung, and sound at many times its speed.
const ANALYSE_COST_MS: u64 = 3_000;
/// Memory admitted for an analysis, MiB.
const ANALYSE_MEMORY_MIB: u64 = 512;
const MILLIS: Timebase = Timebase::hz(NonZeroU32::new(1_000).expect("a thousand is not zero"));

/// Which Analyse item is wanted, if any.
pub(super) async fn prepare_analyse(context: &Context, order: &Order) -> Result<TaskOutput, TaskError> {
    let spec = context.catalog.analyse(&order.record).await?;
    let is_needed = !spec.rungs.is_empty() || !spec.downmixes.is_empty();
    Ok(TaskOutput::AnalyseReady(is_needed.then(|| analyse_ref(&spec))))
}

fn analyse_ref(spec: &AnalyseSpec) -> SpecRef {
    let family = spec.rungs.first().map(|r| r.family);
    SpecRef {
        id: spec.spec_id(),
        cost_ms: ANALYSE_COST_MS,
        needs: Needs { family, memory_mib: ANALYSE_MEMORY_MIB },
    }
}

/// Plans, and stores the plan. Its key names its content: another leader, deposed or to come, of this version of the
/// program or another, writes the same bytes there or writes elsewhere. What counts is the one that the record names.
pub(super) async fn make_plan(context: &Context, order: &Order) -> Result<TaskOutput, TaskError> {
    let record = &order.record;
    let indexed = context.catalog.indexed(record).await?;
    let analyses = context.catalog.analysis(record).await?;
    let (options, slots_hint) = (record.request.options.clone(), record.slots_hint);
    let (plan, bytes) = blocking(move || {
        let (index, ladder) = (&indexed.index, &indexed.ladder);
        let input = PlanInput { index, analyses: &analyses, ladder, options: &options, slots_hint };
        let plan = reelmill_plan::plan(&input).map_err(|e| refused(&e))?;
        let bytes = encode_plan(&plan);
        Ok((plan, Bytes::from(bytes)))
    })
    .await?;
    let sha256 = Sha256::of(&bytes);
    let object = ObjectRef { key: plan_key(plan.revision, sha256), bytes: bytes.len() as u64, sha256 };
    let work = context.catalog.place(record)?.work;
    let put = work.put_replace(object.key.as_str(), bytes, PutOptions::default());
    context.switch.around("put_plan", put).await.map_err(storage)?;
    let loaded = Arc::new(LoadedPlan::new(plan));
    let plan = PlanRef {
        revision: loaded.plan.revision,
        chunks: u32::try_from(loaded.plan.chunks.len()).unwrap_or(u32::MAX),
        media_ms: media_ms(&loaded.plan),
        object: object.clone(),
    };
    let specs = specs(&loaded.plan);
    context.catalog.keep(record.id.clone(), object, loaded);
    Ok(TaskOutput::Planned { plan, specs })
}

fn media_ms(plan: &Plan) -> u64 {
    u64::try_from(plan.timebase.rescale(Ticks(plan.duration), MILLIS).0).unwrap_or(0)
}

/// A plan's chunks as the machine sees them, in plan order.
pub(crate) fn specs(plan: &Plan) -> Vec<SpecRef> {
    let spec = |c: &reelmill_common::plan::PlannedChunk| SpecRef {
        id: c.spec.spec_id(),
        cost_ms: c.cost_ms.max(1),
        needs: c.needs,
    };
    plan.chunks.iter().map(spec).collect()
}

/// Reads the stored plan's specs.
pub(super) async fn load_plan(context: &Context, order: &Order) -> Result<TaskOutput, TaskError> {
    let loaded = context.catalog.plan(&order.record).await?;
    Ok(TaskOutput::PlanLoaded(specs(&loaded.plan)))
}
