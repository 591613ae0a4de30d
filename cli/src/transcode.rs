//! `reelmill transcode`: one film, here and now, through the very same coordinator, workers and gRPC as the cluster.
//!
//! State lies in `OUT/.reelmill`, locked by the coordinator's store while it runs and removed at success. The same
//! command started again goes on where it was: the job's idempotency key is made of the request and of the source's
//! size and time of change, so another film or other options are another job.

use crate::args::{Encoding, Transcode};
use crate::client::Client;
use crate::exit::{CommandResult, Exit, Failure};
use crate::place::Place;
use crate::roles::Bench;
use crate::show::Live;
use crate::signals::Signals;
use crate::{jobs, request, roles, summary};
use reelmill_blob::BlobErrorKind;
use reelmill_common::Sha256;
use reelmill_common::ids::{IdempotencyKey, JobId};
use reelmill_common::job::{JobRequest, JobState, JobView};
use reelmill_coordinator::CoordinatorConfig;
use reelmill_worker::security::Security;
use std::time::{Duration, Instant, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;

/// How long what earlier commands left may take to be removed; a store that is away is not waited for longer.
const REMOVAL: Duration = Duration::from_secs(150);
/// How often it is looked whether it is.
const LOOK: Duration = Duration::from_millis(50);

/// Transcodes one film.
pub(crate) async fn run(args: Transcode) -> CommandResult {
    let started = Instant::now();
    let mut job = request::build(&args.input, &args.encoding)?;
    let identity = identify(&job.source)?;
    let place = Place::prepare(&args.out).await?;
    job.options.output = Some(place.out.clone());
    job.idempotency_key = Some(key(&job, &args.encoding, &identity)?);

    let signals = roles::listen()?;
    let slots = args.workers.unwrap_or_else(roles::cores).max(1);
    let bench = Bench { scratch: place.state.join("scratch"), slots, sandbox: roles::sandbox(&args.boxed) };
    let result = with_cluster(&place, bench, &job, args.json, &signals).await;
    let Followed { end, leftovers } = match result {
        Ok(followed) => followed,
        Err(failure) => {
            place.leave(failure.exit, !place.is_new).await;
            return Err(failure);
        }
    };
    let exit = end.state.exit_code().map_or(Exit::Encoder, Exit::of_job);
    place.leave(exit, leftovers).await;
    if end.state == JobState::Published {
        summary::print(&end, &place.out, started.elapsed(), args.json).await?;
    }
    if exit == Exit::Encoder || exit == Exit::Unreachable {
        eprintln!(
            "finished chunks are kept in {}: the same command goes on from there",
            place.state.display()
        );
    }
    jobs::ended(&end)
}

/// How the job ended.
struct Followed {
    end: JobView,
    /// Jobs of earlier commands are still in the state directory, with what they wrote.
    leftovers: bool,
}

/// Runs coordinator and worker, the job through them, and takes both down again.
async fn with_cluster(
    place: &Place,
    bench: Bench,
    job: &JobRequest,
    json: bool,
    signals: &Signals,
) -> Result<Followed, Failure> {
    let mut cluster = roles::Local::start(config(place, bench.slots), Some(bench)).await?;
    let (address, opening) = (cluster.address(), cluster.opening());
    let outcome = tokio::select! {
        outcome = follow(&address, job, json, opening) => outcome,
        () = signals.drain.cancelled() => Err(interrupted(place)),
        failure = cluster.failed() => return Err(failure),
    };
    cluster.leave().await;
    outcome
}

/// A coordinator for the worker of this process alone. An earlier command's worker has died with it, so no file of its
/// comes late into a directory; a store may still perform what it was sent.
fn config(place: &Place, slots: u32) -> CoordinatorConfig {
    let local = CoordinatorConfig::local(&place.state);
    let mut config =
        CoordinatorConfig { http_addr: None, slots_hint: Some(slots), work: place.work_url(), ..local };
    // a worker is suspended so that others get its work: here is no other, and the user waits for the reason
    config.machine.suspend_after = u32::MAX;
    // the one worker there is will not become another
    config.machine.rebind_after_ms = 0;
    config.outlasts_full_state = false;
    if place.is_directory {
        config.machine.store_timeout_ms = 0;
    }
    config
}

fn interrupted(place: &Place) -> Failure {
    let text = format!("interrupted; the same command goes on from {}", place.state.display());
    Failure::new(Exit::Interrupted, text)
}

/// Submits (or finds) the job, stops what earlier commands with other options left, watches the job to its end, and
/// removes what those had written.
async fn follow(
    address: &str,
    job: &JobRequest,
    json: bool,
    opening: CancellationToken,
) -> Result<Followed, Failure> {
    let mut client = Client::new(&[address.to_owned()], Security::default())?;
    let (view, created) = client.submit(job).await?;
    let others = stop_others(&mut client, &view.id).await?;
    if !created && matches!(view.state, JobState::Failed(_) | JobState::Cancelled) {
        client.retry(&view.id).await?;
    }
    // from here on nobody works for another job
    opening.cancel();
    let mut live = Live::new(json);
    let end = client.watch(&view.id, |view| live.update(view)).await;
    live.finish();
    let end = end?;
    if matches!(end.state.exit_code(), Some(3)) {
        // A source at fault is never resumed: nothing of it stays.
        client.delete(&end.id).await?;
        client.watch(&end.id, |_| {}).await?;
    }
    let mut leftovers = !others.is_empty();
    if end.state == JobState::Published {
        leftovers = !remove_others(&mut client, &others).await?;
    }
    Ok(Followed { end, leftovers })
}

/// Stops the jobs of earlier commands into the same directory. Those that never published are given back: their files
/// are nobody's once a package is there. One that is being published is a package, and is waited for.
async fn stop_others(client: &mut Client, keep: &JobId) -> Result<Vec<JobId>, Failure> {
    let mut unpublished = Vec::new();
    for other in client.list().await?.into_iter().filter(|j| j.id != *keep) {
        match other.state {
            JobState::Publishing => drop(client.watch(&other.id, |_| {}).await?),
            JobState::Published | JobState::Collected => {}
            _ => {
                if !other.state.is_terminal() {
                    client.cancel(&other.id).await?;
                }
                unpublished.push(other.id);
            }
        }
    }
    Ok(unpublished)
}

/// Removes what jobs that never published have written, but for what the package names. Says whether all of it is gone.
async fn remove_others(client: &mut Client, others: &[JobId]) -> Result<bool, Failure> {
    for other in others {
        client.delete(other).await?;
    }
    let gone = async {
        for other in others {
            while client.get(other).await?.state != JobState::Collected {
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    };
    match tokio::time::timeout(REMOVAL, gone).await {
        Ok(gone) => gone.map(|()| true),
        Err(_) => {
            eprintln!(
                "what an earlier command left could not be removed yet: the same command tries it again"
            );
            Ok(false)
        }
    }
}

/// What makes a source itself: its size and time of change. Fails here, before anything starts, when it cannot be
/// read at all.
fn identify(source: &str) -> Result<String, Failure> {
    let fault = |e: reelmill_blob::BlobError| {
        let exit = match e.kind() {
            BlobErrorKind::Unavailable => Exit::Unreachable,
            _ => Exit::Input,
        };
        Failure::new(exit, e.to_string())
    };
    let location = reelmill_blob::resolve_source(source, None).map_err(fault)?;
    let Some(path) = location.path else { return Ok(location.url) };
    let meta = std::fs::metadata(&path)
        .map_err(|e| Failure::new(Exit::Input, format!("cannot read {}: {e}", path.display())))?;
    let changed = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    Ok(format!("{} {} {:?}", location.url, meta.len(), changed.map(|d| d.as_nanos())))
}

/// The key under which the same command finds its job again.
fn key(job: &JobRequest, encoding: &Encoding, identity: &str) -> Result<IdempotencyKey, Failure> {
    let text = format!("{}\n{:?}\n{:?}\n{encoding:?}\n{identity}", job.source, job.ladder, job.options);
    request::idempotency_key(&format!("transcode-{}", Sha256::of(text.as_bytes()).short(32)))
}
