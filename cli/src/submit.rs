//! `reelmill submit`: hand a film to a running coordinator and, with `--watch`, follow it.

use crate::args::Submit;
use crate::client::Client;
use crate::exit::{CommandResult, Exit};
use crate::jobs;
use crate::request;
use serde_json::json;

/// Submits; prints the job id (`{"job_id":…}` with `--json`).
pub(crate) async fn run(args: Submit) -> CommandResult {
    let mut job = request::build(&args.source, &args.encoding)?;
    job.labels = request::labels(&args.labels)?;
    job.priority = args.priority;
    // Without a key of the user's, one of our own makes a repeated call (after a lost answer) safe.
    let key = args.idempotency_key.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    job.idempotency_key = Some(request::idempotency_key(&key)?);
    let mut client = Client::of(&args.target)?;
    let (view, created) = client.submit(&job).await?;
    if args.json {
        println!("{}", json!({ "job_id": view.id.as_str(), "created": created, "state": view.state.name() }));
    } else {
        println!("{}", view.id);
    }
    if args.watch { jobs::watch(&mut client, &view.id, args.json).await } else { Ok(Exit::Done) }
}
