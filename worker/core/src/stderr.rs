//! What ffmpeg says on stderr and how it ended, made into a [`Fault`] that tells a person whose fault it is.
//!
//! Secrets stay out: the token of a loopback URL and the query of any URL never reach a line that is kept.

use reelmill_common::outcome::{Fault, FaultKind};
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

/// Replaces what may be secret in a line: user names and passwords, queries (signatures), and whatever follows the
/// port of a loopback URL, which is an attempt's token.
pub fn redact(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + 3);
        out.push_str(before);
        let end = url.find(|c: char| c.is_whitespace() || "'\"`<>|,;)]".contains(c)).unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        out.push_str(&without_secrets(url));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// A URL, after its scheme, without its secrets.
fn without_secrets(url: &str) -> String {
    let host_end = url.find(['/', '?', '#']).unwrap_or(url.len());
    let (authority, path) = url.split_at(host_end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.starts_with("127.") || host.starts_with("localhost") || host.starts_with("[::1]") {
        return if path.is_empty() { host.to_owned() } else { format!("{host}/...") };
    }
    match path.find(['?', '#']) {
        None => format!("{host}{path}"),
        Some(at) => format!("{host}{}?...", &path[..at]),
    }
}

/// Words of ffmpeg and of the C library by where the fault lies, most telling first: a full disk is said beside many
/// other complaints that only follow from it. Each is matched in lower case.
const SIGNS: &[(FaultKind, &str, &[&str])] = &[
    (
        FaultKind::Storage,
        "there is no room for the output: free some space where scratch files and results are written",
        &["no space left on device", "disk quota exceeded", "file too large"],
    ),
    (
        FaultKind::Storage,
        "the source could not be read to its end",
        &[
            "connection refused",
            "connection reset",
            "connection timed out",
            "server returned 5",
            "server returned 4",
            "stream ends prematurely",
            "input/output error",
            "too many open files",
        ],
    ),
    (
        FaultKind::Encoder,
        "this ffmpeg cannot do what the recipe asks for: use 5.1 or newer, built with libx264",
        &[
            "unknown encoder",
            "no such filter",
            "unrecognized option",
            "option not found",
            "error setting option",
            "unable to parse option",
            "error initializing complex filters",
            "cannot allocate memory",
            "unknown input format",
        ],
    ),
    (
        FaultKind::Source,
        "the source cannot be read",
        &[
            "invalid data found when processing input",
            "moov atom not found",
            "could not find codec parameters",
            "matches no streams",
            "does not contain any stream",
            "decoder not found",
            "no decoder for",
            "exceeds limit",
            "picture size",
            "decode error rate",
            "no such file or directory",
            "permission denied",
        ],
    ),
];

/// Makes a fault of how a run ended. `what` names the run for a person: `encoding chunk 7`.
pub fn classify(what: &str, ending: &Ending, tail: &Tail) -> Fault {
    let (kind, message) = match ending {
        Ending::NotStarted(why) => (
            FaultKind::Encoder,
            format!(
                "{what}: the program could not be started: {}; is ffmpeg installed and on PATH?",
                redact(why)
            ),
        ),
        Ending::Stalled(ms) => {
            (FaultKind::Encoder, format!("{what}: no progress for {} s, so it was stopped", ms / 1_000))
        }
        Ending::Killed(signal) => {
            let hint = match signal {
                9 => " (the system may have run out of memory)",
                25 => " (its output reached the size limit)",
                _ => "",
            };
            (FaultKind::Encoder, format!("{what}: killed by signal {signal}{hint}"))
        }
        Ending::Exited(code) => exited(what, *code, tail),
    };
    Fault { kind, message, detail: tail.text() }
}

/// The fault of a run that ended well and yet said that it could not write: ffmpeg 5.1 counts a failed trailer as
/// success.
pub fn out_of_room(what: &str, tail: &Tail) -> Option<Fault> {
    let (kind, meaning, signs) = &SIGNS[0];
    let line = tail.lines.iter().rev().find(|l| signs.iter().any(|s| l.to_lowercase().contains(s)))?;
    Some(Fault { kind: *kind, message: format!("{what}: {meaning} ({})", plain(line)), detail: tail.text() })
}

fn exited(what: &str, code: i32, tail: &Tail) -> (FaultKind, String) {
    let lower: Vec<String> = tail.lines.iter().map(|l| l.to_lowercase()).collect();
    let said = |signs: &[&str]| lower.iter().rposition(|l| signs.iter().any(|s| l.contains(s)));
    for (kind, meaning, signs) in SIGNS {
        if let Some(i) = said(signs) {
            return (*kind, format!("{what}: {meaning} ({})", plain(&tail.lines[i])));
        }
    }
    let last = tail
        .lines
        .iter()
        .rev()
        .find(|l| l.contains("[error]") || l.contains("[fatal]"))
        .or(tail.lines.back());
    let why = last.map_or("it said nothing".to_owned(), |l| plain(l));
    (FaultKind::Encoder, format!("{what}: exit code {code}: {why}"))
}

/// A line without the brackets that ffmpeg puts before it: part, address, level.
fn plain(line: &str) -> String {
    let mut rest = line.trim();
    while let Some((_, after)) = rest.strip_prefix('[').and_then(|r| r.split_once("] ")) {
        rest = after.trim_start();
    }
    rest.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(lines: &[&str]) -> Tail {
        let mut tail = Tail::default();
        lines.iter().for_each(|l| tail.line(l));
        tail
    }

    #[test]
    fn secrets_stay_out() {
        for (line, clean) in [
            (
                "[http @ 0x5] http://127.0.0.1:4242/0123abcd: refused",
                "[http @ 0x5] http://127.0.0.1:4242/... refused",
            ),
            (
                "Error opening input 'http://127.0.0.1:4242/0123abcd'.",
                "Error opening input 'http://127.0.0.1:4242/...'.",
            ),
            ("s3: https://user:pass@b.example/k?X-Amz-Signature=9 x", "s3: https://b.example/k?... x"),
            ("two http://a/b?c#d http://e/f", "two http://a/b?... http://e/f"),
            ("none :// here", "none :// here"),
        ] {
            assert_eq!(redact(line), clean);
        }
    }

    #[test]
    fn a_full_disk_is_seen_whatever_the_exit_code() {
        let full = tail(&["[mp4 @ 0x1] [error] Error writing trailer: No space left on device"]);
        let fault = out_of_room("encoding chunk 3", &full).expect("a fault");
        assert_eq!(fault.kind, FaultKind::Storage);
        assert!(fault.message.starts_with("encoding chunk 3: there is no room"), "{fault}");
        assert_eq!(out_of_room("encoding chunk 3", &tail(&["[error] something else"])), None);
    }

    #[test]
    fn the_tail_is_bounded() {
        let mut t = Tail::default();
        (0..100).for_each(|i| t.line(&format!("{i} {}", "ä".repeat(1_000))));
        assert_eq!(t.text().lines().count(), TAIL_LINES);
        assert!(t.text().starts_with("60 "));
        assert!(t.text().lines().all(|l| l.chars().count() <= TAIL_WIDTH));
    }

    #[test]
    fn complaints_are_told_once() {
        let t = tail(&["[h264 @ 0x1] [error] bad", "[h264 @ 0x1] [error] bad", "[x] [warning] fine"]);
        assert_eq!(t.complaints(), ["[h264 @ 0x1] [error] bad"]);
    }

    #[test]
    fn where_the_fault_lies() {
        let exited = Ending::Exited(1);
        for (ending, lines, kind, says) in [
            (
                &exited,
                &["[mov @ 0x2] [error] Invalid data found when processing input"][..],
                FaultKind::Source,
                "encoding chunk 7: the source cannot be read (Invalid data found when processing input)",
            ),
            (
                &exited,
                &[
                    "[out#0/mp4 @ 0x3] [error] Error writing: No space left on device",
                    "[error] Invalid data found when processing input",
                ],
                FaultKind::Storage,
                "no room for the output",
            ),
            (&exited, &["[fatal] Unknown encoder 'libx264'"], FaultKind::Encoder, "built with libx264"),
            (
                &exited,
                &["[warning] odd", "[libx264 @ 0x4] [error] broken"],
                FaultKind::Encoder,
                "exit code 1: broken",
            ),
            (&exited, &[], FaultKind::Encoder, "it said nothing"),
            (&Ending::Killed(9), &[], FaultKind::Encoder, "out of memory"),
            (&Ending::Stalled(30_000), &[], FaultKind::Encoder, "no progress for 30 s"),
            (&Ending::NotStarted("No such file".to_owned()), &[], FaultKind::Encoder, "installed"),
        ] {
            let fault = classify("encoding chunk 7", ending, &tail(lines));
            assert_eq!(fault.kind, kind, "{}", fault.message);
            assert!(fault.message.contains(says), "{}", fault.message);
        }
    }
}
