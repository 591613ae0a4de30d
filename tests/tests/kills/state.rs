//! What a coordinator had committed: read from a copy of its state directory, through the same store, as the next
//! leader would.

use crate::encodes;
use anyhow::{Context, Result, bail};
use reelmill_common::SpecId;
use reelmill_common::job::JobState;
use reelmill_common::plan::PlannedChunk;
use reelmill_common::record::{JobRecord, StateKey};
use reelmill_common::spec::ChunkMedia;
use reelmill_coordinator::state::StateStore;
use reelmill_coordinator::state::embedded::EmbeddedState;
use reelmill_proto::stored::{self, Record};
use std::collections::BTreeSet;
use std::path::Path;

/// The encodes that need not, and so must not, be started again. Nothing may write to the state meanwhile: its process
/// is dead or stopped.
pub(crate) fn committed(data: &Path) -> Result<BTreeSet<String>> {
    let state = data.join("state");
    if !state.is_dir() {
        return Ok(BTreeSet::new());
    }
    let copy = tempfile::tempdir()?;
    for entry in std::fs::read_dir(&state)? {
        let entry = entry?;
        std::fs::copy(entry.path(), copy.path().join(entry.file_name()))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(committed_in(&EmbeddedState::open(copy.path())?, data))
}

/// The same of a store that is open; objects lie below `data`.
pub(crate) async fn committed_in(store: &dyn StateStore, data: &Path) -> Result<BTreeSet<String>> {
    let scan = async |prefix: &'static str| {
        let page = store.scan(prefix, None, 1_000).await?;
        anyhow::Ok(page.entries.into_iter().filter_map(|(k, v)| Some((StateKey::parse(&k)?, v))))
    };
    let mut done = BTreeSet::new();
    for (key, value) in scan("jobs/").await? {
        let Record::Job(job) = stored::decode_record(&key, &value)? else { bail!("{key:?} holds no job") };
        let commits: BTreeSet<SpecId> = scan("commits/")
            .await?
            .filter_map(|(key, _)| match key {
                StateKey::Commit(of, spec) if of == job.id => Some(spec),
                _ => None,
            })
            .collect();
        add(data, &job, &commits, &mut done)?;
    }
    Ok(done)
}

fn add(data: &Path, job: &JobRecord, commits: &BTreeSet<SpecId>, done: &mut BTreeSet<String>) -> Result<()> {
    if job.analysis.is_some() {
        done.insert(encodes::ANALYSIS.to_owned());
    }
    let Some(plan) = &job.plan else { return Ok(()) };
    let path = data.join("work/local").join(job.id.as_str()).join(plan.object.key.as_str());
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    // at Published the commits are folded into an object and their keys go
    let all = matches!(job.state, JobState::Publishing | JobState::Published);
    for PlannedChunk { spec, .. } in stored::decode_plan(&bytes)?.chunks {
        if all || commits.contains(&spec.spec_id()) {
            done.insert(match &spec.media {
                ChunkMedia::Video(v) => encodes::video(v.trim.start.0, v.trim.end.0),
                ChunkMedia::Audio(_) => encodes::SOUND.to_owned(),
            });
        }
    }
    Ok(())
}
