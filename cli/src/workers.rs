//! `reelmill workers …`: who works for the cluster, and who is to do so no more.

use crate::args::{Workers, WorkersCommand};
use crate::client::Client;
use crate::exit::{CommandResult, Exit};
use crate::show;
use comfy_table::Table;
use reelmill_proto::worker::v1::WorkerInfo;
use serde_json::json;
use std::time::{Duration, UNIX_EPOCH};

/// Runs one of them.
pub(crate) async fn run(args: Workers) -> CommandResult {
    match args.command {
        WorkersCommand::List(list) => {
            let workers = Client::of(&list.target)?.workers().await?;
            if list.json {
                workers.iter().for_each(|w| println!("{}", of_worker(w)));
            } else if workers.is_empty() {
                println!("no workers yet: reelmill worker --coordinator URL");
            } else {
                println!("{}", table(&workers));
            }
        }
        WorkersCommand::Revoke(one) => {
            Client::of(&one.target)?.revoke(&one.worker).await?;
            println!("{} is let in no more", one.worker);
        }
    }
    Ok(Exit::Done)
}

fn of_worker(w: &WorkerInfo) -> serde_json::Value {
    json!({
        "worker": w.worker,
        "connected": w.connected,
        "slots": w.slots,
        "running": w.running,
        "enrolled_unix_ms": w.enrolled_unix_ms,
        "expires_unix_ms": w.expires_unix_ms,
    })
}

fn table(workers: &[WorkerInfo]) -> Table {
    let mut table = show::table(&["worker", "state", "running", "credential"]);
    for w in workers {
        let state = if w.connected { "connected" } else { "away" };
        let running = if w.connected { format!("{} of {}", w.running, w.slots) } else { String::new() };
        let credential =
            w.expires_unix_ms.map_or("shared token".to_owned(), |ms| format!("until {}", day(ms)));
        table.add_row([w.worker.clone(), state.to_owned(), running, credential]);
    }
    table
}

fn day(unix_ms: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms)).unwrap_or(UNIX_EPOCH);
    humantime::format_rfc3339_seconds(time).to_string().chars().take(10).collect()
}
