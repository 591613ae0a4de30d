//! What a term begins with: every record, read after the term was won, and the chunks of every plan that is needed.

use crate::catalog::Catalog;
use crate::clock::unix_ms;
use crate::error::CoordinatorError;
use crate::state::{MAX_PAGE_ENTRIES, Page, StateStore};
use crate::tasks::specs;
use reelmill_common::job::{FailReason, JobState};
use reelmill_common::record::{JobRecord, StateKey};
use reelmill_common::{FencingTerm, JobId};
use reelmill_coordinator_core::{Record, SpecRef, TaskError, TermBegun};
use reelmill_proto::{WireError, stored};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The key families that the machine keeps.
const FAMILIES: [&str; 6] = ["jobs/", "commits/", "faults/", "idem/", "outside", "workers/"];
/// Pause before a store that is away is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// Loads a term. Waits for stores that are away; fails on what waiting cannot cure.
pub(super) async fn term(
    store: Arc<dyn StateStore>,
    catalog: Arc<Catalog>,
    term: FencingTerm,
) -> Result<TermBegun, CoordinatorError> {
    let mut records = Vec::new();
    for family in FAMILIES {
        load_family(store.as_ref(), family, &mut records).await?;
    }
    let jobs: Vec<&JobRecord> = records.iter().filter_map(as_job).collect();
    for record in &jobs {
        catalog.put((*record).clone());
    }
    let mut plans = BTreeMap::new();
    for record in jobs.iter().filter(|r| needs_plan(r)) {
        plans.insert(record.id.clone(), load_plan(&catalog, record).await);
    }
    tracing::info!(records = records.len(), jobs = jobs.len(), plans = plans.len(), "loaded");
    Ok(TermBegun { term, records, plans, unix_ms: unix_ms() })
}

fn as_job(record: &Record) -> Option<&JobRecord> {
    match record {
        Record::Job(r) => Some(r),
        Record::Commit(_)
        | Record::Fault(_)
        | Record::Idempotency(_)
        | Record::Outside(_)
        | Record::Worker(_) => None,
    }
}

fn needs_plan(record: &JobRecord) -> bool {
    let runs = matches!(record.state, JobState::Planned | JobState::Running | JobState::Publishing);
    runs && record.plan.is_some()
}

async fn load_family(
    store: &dyn StateStore,
    family: &str,
    records: &mut Vec<Record>,
) -> Result<(), CoordinatorError> {
    let mut after = None;
    loop {
        let page = scan(store, family, after).await?;
        for (key, bytes) in page.entries {
            match decode(&key, &bytes) {
                Ok(Some(record)) => records.push(record),
                Ok(None) => tracing::warn!(%key, "a key that this version does not know is left alone"),
                Err(why) => return Err(CoordinatorError::Record { key, why }),
            }
        }
        let Some(next) = page.next else { return Ok(()) };
        after = Some(next);
    }
}

async fn scan(store: &dyn StateStore, family: &str, after: Option<String>) -> Result<Page, CoordinatorError> {
    loop {
        match store.scan(family, after.clone(), MAX_PAGE_ENTRIES).await {
            Err(error) if error.retryable() => {
                tracing::warn!(%error, "the state store is away, asking again");
                tokio::time::sleep(PAUSE).await;
            }
            other => return Ok(other?),
        }
    }
}

fn decode(key: &str, bytes: &[u8]) -> Result<Option<Record>, WireError> {
    let Some(key) = StateKey::parse(key) else { return Ok(None) };
    Ok(match stored::decode_record(&key, bytes)? {
        stored::Record::Job(r) => Some(Record::Job(r)),
        stored::Record::Commit(r) => Some(Record::Commit(Box::new(r))),
        stored::Record::Fault(r) => Some(Record::Fault(Box::new(r))),
        stored::Record::Idempotency(r) => Some(Record::Idempotency(Box::new(r))),
        stored::Record::Outside(r) => Some(Record::Outside(r)),
        stored::Record::Worker(r) => Some(Record::Worker(Box::new(r))),
        stored::Record::Leader(_) => None,
    })
}

async fn load_plan(catalog: &Catalog, record: &JobRecord) -> Result<Vec<SpecRef>, FailReason> {
    let id: &JobId = &record.id;
    loop {
        match catalog.plan(record).await {
            Ok(loaded) => return Ok(specs(&loaded)),
            Err(TaskError::Fatal(reason)) => return Err(reason),
            Err(TaskError::Transient { message }) => {
                tracing::warn!(job = %id, %message, "a plan cannot be read just now, asking again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
