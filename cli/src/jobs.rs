//! `reelmill jobs …`: look at jobs and steer them.

use crate::args::{Jobs, JobsCommand, OneJob};
use crate::client::Client;
use crate::exit::{CommandResult, Exit, Failure};
use crate::request::job_id;
use crate::show::{self, Live};
use crate::summary;
use reelmill_common::ids::JobId;
use reelmill_common::job::{JobState, JobView};
use serde_json::json;

/// Runs one of them.
pub(crate) async fn run(args: Jobs) -> CommandResult {
    match args.command {
        JobsCommand::List(list) => {
            let jobs = Client::of(&list.target)?.list().await?;
            if list.json {
                jobs.iter().for_each(|j| println!("{}", show::job_json(j)));
            } else if jobs.is_empty() {
                println!("no jobs yet: reelmill submit FILM");
            } else {
                println!("{}", show::jobs_table(&jobs));
            }
            Ok(Exit::Done)
        }
        JobsCommand::Show(one) => {
            let (mut client, id) = open(&one)?;
            print(&client.get(&id).await?, one.json);
            Ok(Exit::Done)
        }
        JobsCommand::Watch(one) => {
            let (mut client, id) = open(&one)?;
            watch(&mut client, &id, one.json).await
        }
        JobsCommand::Explain(one) => explain(&one).await,
        JobsCommand::Cancel(one) => {
            let (mut client, id) = open(&one)?;
            print(&client.cancel(&id).await?, one.json);
            Ok(Exit::Done)
        }
        JobsCommand::Retry(one) => {
            let (mut client, id) = open(&one)?;
            print(&client.retry(&id).await?, one.json);
            Ok(Exit::Done)
        }
        JobsCommand::Delete(one) => {
            let (mut client, id) = open(&one)?;
            print(&client.delete(&id).await?, one.json);
            Ok(Exit::Done)
        }
    }
}

/// Follows a job to its end and takes its exit code.
pub(crate) async fn watch(client: &mut Client, id: &JobId, json: bool) -> CommandResult {
    let mut live = Live::new(json);
    let end = client.watch(id, |view| live.update(view)).await?;
    live.finish();
    if !json {
        println!("{}", show::job_text(&end));
        if end.state == JobState::Published {
            summary::table_if_readable(&end).await;
        }
    }
    ended(&end)
}

/// The exit code of a job that has ended; its reason goes to stderr.
pub(crate) fn ended(view: &JobView) -> CommandResult {
    let exit = view.state.exit_code().map_or(Exit::Encoder, Exit::of_job);
    match &view.state {
        JobState::Failed(reason) => Err(Failure::new(exit, reason.message.clone())),
        _ => Ok(exit),
    }
}

fn open(one: &OneJob) -> Result<(Client, JobId), Failure> {
    Ok((Client::of(&one.target)?, job_id(&one.job)?))
}

fn print(view: &JobView, json: bool) {
    if json {
        println!("{}", show::job_json(view));
    } else {
        println!("{}", show::job_text(view));
    }
}

async fn explain(one: &OneJob) -> CommandResult {
    let (mut client, id) = open(one)?;
    let (view, reasons, decisions) = client.explain(&id).await?;
    if one.json {
        println!(
            "{}",
            json!({ "job_id": id.as_str(), "state": view.state.name(), "reasons": reasons, "decisions": decisions })
        );
        return Ok(Exit::Done);
    }
    println!("{}", show::job_text(&view));
    for (title, lines) in [("why", &reasons), ("plan", &decisions)] {
        for line in lines {
            println!("{title:<10} {line}");
        }
    }
    Ok(Exit::Done)
}
