//! What people and programs read: tables and progress on a terminal, one JSON object a line with `--json`.

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reelmill_common::job::{JobState, JobView};
use serde_json::{Value, json};
use std::time::Duration;

/// A job as one JSON object. The shape is part of the CLI's contract: fields are only ever added.
pub(crate) fn job_json(view: &JobView) -> Value {
    let reason = match &view.state {
        JobState::Failed(r) => json!({ "kind": r.kind.name(), "message": r.message, "detail": r.detail }),
        _ => Value::Null,
    };
    let p = &view.progress;
    json!({
        "job_id": view.id.as_str(),
        "tenant": view.tenant.as_str(),
        "source": view.source,
        "state": view.state.name(),
        "exit_code": view.state.exit_code(),
        "reason": reason,
        "run": view.run.0,
        "labels": view.labels,
        "priority": view.priority,
        "submitted_unix_ms": view.submitted_unix_ms,
        "package": view.package,
        "version": view.version,
        "progress": {
            "chunks_done": p.chunks_done,
            "chunks_running": p.chunks_running,
            "chunks_total": p.chunks_total,
            "percent": percent(view),
            "eta_ms": p.eta_ms,
            "elapsed_ms": p.elapsed_ms,
            "media_ms": p.media_ms,
            "retries": p.retries,
        },
        "notes": view.notes,
    })
}

/// Whole percent of the predicted work that is done.
pub(crate) fn percent(view: &JobView) -> u64 {
    let p = &view.progress;
    match p.work_total_ms {
        _ if view.state == JobState::Published => 100,
        // nothing is predicted any more for a job that has ended: its chunks tell
        0 => (u64::from(p.chunks_done) * 100).checked_div(p.chunks_total.into()).unwrap_or(0),
        total => p.work_done_ms.min(total) * 100 / total,
    }
}

/// Milliseconds as `1m 05s`, for people.
pub(crate) fn short_duration(ms: u64) -> String {
    let s = ms / 1000;
    match (s / 3600, s / 60 % 60, s % 60) {
        (0, 0, _) => format!("{}.{}s", s, ms % 1000 / 100),
        (0, m, s) => format!("{m}m {s:02}s"),
        (h, m, _) => format!("{h}h {m:02}m"),
    }
}

/// Speed against realtime, `12.3x`; `-` while nothing is known.
pub(crate) fn realtime(media_ms: u64, wall_ms: u64) -> String {
    match (media_ms * 10).checked_div(wall_ms) {
        None | Some(0) => "-".to_owned(),
        Some(tenths) => format!("{}.{}x", tenths / 10, tenths % 10),
    }
}

/// A plain table without borders, as `ls -l` would print it.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|h| (*h).to_owned()));
    table
}

/// The list of jobs.
pub(crate) fn jobs_table(jobs: &[JobView]) -> Table {
    let mut table = table(&["JOB", "STATE", "DONE", "CHUNKS", "ETA", "SOURCE"]);
    for view in jobs {
        let p = &view.progress;
        table.add_row([
            view.id.to_string(),
            view.state.name().to_owned(),
            format!("{}%", percent(view)),
            format!("{}/{}", p.chunks_done, p.chunks_total),
            p.eta_ms.map_or("-".to_owned(), short_duration),
            view.source.clone(),
        ]);
    }
    table
}

/// One job in full.
pub(crate) fn job_text(view: &JobView) -> String {
    let p = &view.progress;
    let mut lines = vec![
        format!("job        {}", view.id),
        format!("source     {}", view.source),
        format!("state      {} (run {})", view.state.name(), view.run.0),
        format!(
            "done       {}% ({} of {} chunks, {} running)",
            percent(view),
            p.chunks_done,
            p.chunks_total,
            p.chunks_running
        ),
    ];
    if let JobState::Failed(reason) = &view.state {
        lines.push(format!("reason     {}", reason.message));
        lines.extend(reason.detail.lines().map(|l| format!("           {l}")));
    }
    if let Some(eta) = p.eta_ms {
        lines.push(format!("eta        {}", short_duration(eta)));
    }
    if let Some(package) = &view.package {
        lines.push(format!("package    {package}"));
    }
    lines.extend(view.notes.iter().map(|n| format!("note       {n}")));
    lines.join("\n")
}

/// Live progress of one job: a bar on a terminal, JSON lines with `--json`, plain lines otherwise.
pub(crate) enum Live {
    /// A bar.
    Bar(ProgressBar),
    /// A JSON object per change.
    Json,
    /// A line per change of state.
    Lines {
        /// The last state printed.
        last: Option<&'static str>,
    },
}

impl Live {
    /// Chooses by what stderr is.
    pub(crate) fn new(json: bool) -> Self {
        use std::io::IsTerminal as _;
        if json {
            return Self::Json;
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines { last: None };
        }
        let bar = ProgressBar::with_draw_target(Some(100), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{prefix:11} {wide_bar} {percent:>3}%  {msg}") {
            bar.set_style(style);
        }
        Self::Bar(bar)
    }

    /// Shows a change.
    pub(crate) fn update(&mut self, view: &JobView) {
        match self {
            Self::Json => println!("{}", job_json(view)),
            Self::Bar(bar) => {
                let p = &view.progress;
                bar.set_prefix(view.state.name());
                bar.set_position(percent(view));
                let eta = p.eta_ms.map_or(String::new(), |ms| format!(", {} left", short_duration(ms)));
                bar.set_message(format!("{}/{} chunks{eta}", p.chunks_done, p.chunks_total));
                bar.enable_steady_tick(Duration::from_millis(500));
            }
            Self::Lines { last } => {
                let name = view.state.name();
                if *last != Some(name) {
                    eprintln!("{name}");
                    *last = Some(name);
                }
            }
        }
    }

    /// Clears the bar.
    pub(crate) fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_speeds_read_well() {
        assert_eq!(short_duration(950), "0.9s");
        assert_eq!(short_duration(65_000), "1m 05s");
        assert_eq!(short_duration(7_500_000), "2h 05m");
        assert_eq!(realtime(88_000, 44_000), "2.0x");
        assert_eq!(realtime(88_000, 0), "-");
    }
}
