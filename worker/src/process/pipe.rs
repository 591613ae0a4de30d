//! The two pipes of a child: stdout by bounded lines, stderr by its tail. Both are always read, or the child would
//! block on a full pipe.

use super::STDERR_TAIL;
use std::io;
use tokio::io::AsyncReadExt as _;
use tokio::process::{ChildStderr, ChildStdout};

/// Longest line a child may print to stdout.
const LONGEST_LINE: usize = 64 * 1024;

/// Lines of stdout.
pub(super) struct Lines {
    pipe: ChildStdout,
    buffer: Vec<u8>,
    /// Bytes of `buffer` before this were handed out.
    taken: usize,
    /// Bytes of `buffer` before this hold no line end.
    searched: usize,
    ended: bool,
}

impl Lines {
    pub(super) fn new(pipe: ChildStdout) -> Self {
        Self { pipe, buffer: Vec::with_capacity(LONGEST_LINE), taken: 0, searched: 0, ended: false }
    }

    /// The next line without its line end; `None` at the end. Safe to drop and call again: nothing read is lost.
    pub(super) async fn next(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            if let Some(at) = self.buffer[self.searched..].iter().position(|b| *b == b'\n') {
                let (start, end) = (self.taken, self.searched + at);
                self.taken = end + 1;
                self.searched = self.taken;
                return Ok(Some(trimmed(&self.buffer[start..end])));
            }
            self.searched = self.buffer.len();
            if self.ended {
                let start = std::mem::replace(&mut self.taken, self.searched);
                let rest = trimmed(&self.buffer[start..]);
                return Ok((!rest.is_empty()).then_some(rest));
            }
            if self.searched - self.taken > LONGEST_LINE {
                return Err(io::Error::other(format!("a line of more than {LONGEST_LINE} bytes")));
            }
            self.buffer.drain(..self.taken);
            self.searched -= self.taken;
            self.taken = 0;
            self.ended = self.pipe.read_buf(&mut self.buffer).await? == 0;
        }
    }
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The end of stderr.
pub(super) struct Tail;

impl Tail {
    /// Reads to the end and keeps the last [`STDERR_TAIL`] bytes, from a whole line on.
    pub(super) async fn read(mut pipe: ChildStderr) -> String {
        let mut kept = Vec::new();
        let mut cut = false;
        loop {
            match pipe.read_buf(&mut kept).await {
                Ok(0) => break,
                Ok(_) if kept.len() > 2 * STDERR_TAIL => {
                    kept.drain(..kept.len() - STDERR_TAIL);
                    cut = true;
                }
                Ok(_) => {}
                Err(e) => {
                    kept.extend_from_slice(format!("\n(stderr could not be read further: {e})").as_bytes());
                    break;
                }
            }
        }
        if kept.len() > STDERR_TAIL {
            kept.drain(..kept.len() - STDERR_TAIL);
            cut = true;
        }
        let whole_from = match kept.iter().position(|b| *b == b'\n') {
            Some(at) if cut => at + 1,
            _ => 0,
        };
        String::from_utf8_lossy(&kept[whole_from..]).trim_end().to_owned()
    }
}
