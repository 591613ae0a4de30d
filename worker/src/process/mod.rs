//! Child processes: ffmpeg and ffprobe, started, watched, and ended in every case.
//!
//! A child gets two variables and no inherited environment, no stdin, no shell, a process group of its own and a box
//! ([`crate::sandbox`]). It is killed when it makes no progress (the caller's [`Watch`] says when), when it speaks
//! nonsense, when it writes more than its share, or when the attempt is stopped; never for taking long. Nothing here
//! knows what the child computes.
//!
//! Data comes from the child's stdout (lines, to the [`Watch`]) and stderr (its tail, into the result); every way a
//! child can fail is a variant of [`ChildError`].

mod child;
mod group;
mod pipe;

pub use child::Cost;
pub use reelmill_worker_core::sandbox::ResourceLimits;

use crate::sandbox::Sandbox;
use crate::scratch;
use child::{Child, Started};
use pipe::{Lines, Tail};
use reelmill_common::Millis;
use reelmill_worker_core::progress::StallWatch;
use std::ffi::OsString;
use std::fmt;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Bytes of stderr that are kept: its end, where ffmpeg says why it gave up.
pub const STDERR_TAIL: usize = 64 * 1024;
/// Time between SIGTERM and SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(2);
/// How often a silent child is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What to start.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its working directory, and in a box the only one it may write in.
    pub dir: PathBuf,
    /// Its limits.
    pub limits: ResourceLimits,
    /// What it may reach.
    pub network: Network,
    /// The file it may read, if its source is one.
    pub source: Option<PathBuf>,
    /// Bytes that may lie in its directory, if that is counted.
    pub quota: Option<u64>,
    /// The box it starts in.
    pub sandbox: Sandbox,
}

/// Serves a child by a listener in its network, until the handle is dropped.
pub type Serve = Arc<dyn Fn(TcpListener) -> AbortOnDropHandle<()> + Send + Sync>;

/// What a child may reach.
#[derive(Clone)]
pub enum Network {
    /// Nothing.
    Nothing,
    /// One listener, in a network of the child's own: the box must have one.
    Own(Serve),
    /// One port of this machine's loopback.
    Port(u16),
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Own(_) => f.write_str("Own"),
            Self::Port(port) => write!(f, "Port({port})"),
        }
    }
}

/// Listens to a child: one per kind of output.
pub trait Watch: Send {
    /// A line of stdout without its line end. An error says what is wrong with it: the child is killed for it.
    fn line(&mut self, line: &[u8], now: Millis) -> Result<(), String>;

    /// Asked every half second: has the child, which used up `so_far`, stood still for too long? `Some` says for how
    /// many milliseconds.
    fn stalled(&mut self, now: Millis, so_far: Cost) -> Option<u64>;
}

/// A child that ended well.
#[derive(Debug)]
pub struct Finished {
    /// What it used up.
    pub cost: Cost,
    /// Milliseconds from start to exit.
    pub wall_ms: u64,
    /// The end of its stderr.
    pub stderr: String,
}

/// How a child failed.
#[derive(Debug, thiserror::Error)]
#[error("{program} {how}")]
pub struct ChildError {
    /// The program's file name.
    pub program: String,
    /// What happened.
    pub how: Failure,
    /// The end of its stderr.
    pub stderr: String,
    /// What it used up all the same.
    pub cost: Cost,
}

/// Every way a child can fail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It never ran.
    #[error("did not start: {0}")]
    DidNotStart(String),
    /// The box around it could not be made, so it never ran.
    #[error("was not started, because its sandbox could not be made: {0}")]
    NoBox(String),
    /// It gave up by itself.
    #[error("exited with code {0}")]
    Exited(i32),
    /// A signal that was not ours ended it: a crash, or the kernel short of memory.
    #[error("was ended by signal {0}")]
    Signalled(i32),
    /// It made no progress and was killed for it.
    #[error("made no progress for {0} ms and was killed")]
    Stalled(u64),
    /// It printed what it should not have and was killed for it.
    #[error("printed something unexpected: {0}")]
    BadOutput(String),
    /// It wrote more than its share of the scratch space and was killed for it.
    #[error("wrote {bytes} bytes where {quota} were left and was killed")]
    Overfull {
        /// What lay in its directory.
        bytes: u64,
        /// What may lie there.
        quota: u64,
    },
    /// Its attempt was stopped, so it was killed.
    #[error("was stopped")]
    Stopped,
}

/// Runs one child to its end. `watch` hears its stdout; `stop` ends it early.
///
/// The child is gone and the rest of its group has been sent SIGKILL when this returns, and also when the returned
/// future is dropped.
pub async fn run(
    launch: &Launch,
    watch: &mut dyn Watch,
    stop: &CancellationToken,
) -> Result<Finished, ChildError> {
    let program = launch.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let failed = |how, stderr, cost| ChildError { program: program.clone(), how, stderr, cost };
    let Started { mut child, stdout, stderr, listener } =
        Child::start(launch).await.map_err(|how| failed(how, String::new(), Cost::default()))?;
    let _serving = match (&launch.network, listener) {
        (Network::Own(serve), Some(listener)) => Some(serve(listener)),
        _ => None,
    };
    let tail = AbortOnDropHandle::new(tokio::spawn(Tail::read(stderr)));
    let began = Instant::now();

    let unwanted = listen(&mut child, launch, Lines::new(stdout), watch, stop, began).await;
    let exit = match unwanted {
        None => child.exited().await,
        Some(_) => child.end(TERM_GRACE).await,
    };
    let stderr = tail.await.unwrap_or_else(|e| format!("stderr could not be read: {e}"));
    match (unwanted, exit) {
        (Some(how), exit) => Err(failed(how, stderr, exit.map_or(Cost::default(), |e| e.cost))),
        (None, Err(e)) => {
            Err(failed(Failure::DidNotStart(format!("its end was not seen: {e}")), stderr, Cost::default()))
        }
        (None, Ok(exit)) => match exit.failure() {
            Some(how) => Err(failed(how, stderr, exit.cost)),
            None => Ok(Finished { cost: exit.cost, wall_ms: began.elapsed().as_millis() as u64, stderr }),
        },
    }
}

/// Hands lines to the watch until the child has exited and said all (`None`), or until it must be killed.
async fn listen(
    child: &mut Child,
    launch: &Launch,
    mut lines: Lines,
    watch: &mut dyn Watch,
    stop: &CancellationToken,
    began: Instant,
) -> Option<Failure> {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Some(Failure::Stopped),
            _ = look.tick() => {
                if let Some(ms) = watch.stalled(since(began), child.so_far()) {
                    return Some(Failure::Stalled(ms));
                }
                if let Some(overfull) = overfull(launch) {
                    return Some(overfull);
                }
            }
            line = lines.next(), if open => match line {
                Ok(Some(line)) => {
                    if let Err(what) = watch.line(line, since(began)) {
                        return Some(Failure::BadOutput(what));
                    }
                }
                Ok(None) => open = false,
                Err(e) => return Some(Failure::BadOutput(e.to_string())),
            },
            () = child.ended(), if !open => return None,
        }
    }
}

/// A limit on one file says nothing of many. A directory that cannot be read now is looked at again.
fn overfull(launch: &Launch) -> Option<Failure> {
    let quota = launch.quota?;
    let bytes = scratch::used_bytes(&launch.dir).ok()?;
    (bytes > quota).then_some(Failure::Overfull { bytes, quota })
}

/// Time on the child's own clock, which starts with it.
fn since(began: Instant) -> Millis {
    Millis(began.elapsed().as_millis() as u64)
}

/// Limits of a run that reads a film and writes no more than a few files: for `-version` and other short errands.
pub(crate) fn small_limits() -> ResourceLimits {
    ResourceLimits::for_run(4_096, 1 << 30)
}

/// Collects stdout whole, up to a bound; for children whose output is small and whose time is short.
pub struct Collect {
    lines: Vec<String>,
    bytes_left: usize,
    heard: Millis,
    stall: StallWatch,
}

impl Collect {
    /// At most `max_bytes` of output, and never silent for longer than `patience_ms`; on a busy machine a short errand,
    /// too, waits for its turn, so it is hung as [`StallWatch`] has it.
    pub fn new(max_bytes: usize, patience_ms: u64) -> Self {
        let stall = StallWatch::new(Millis(0), patience_ms);
        Self { lines: Vec::new(), bytes_left: max_bytes, heard: Millis(0), stall }
    }

    /// What was printed, by lines.
    pub fn into_lines(self) -> Vec<String> {
        self.lines
    }
}

impl Watch for Collect {
    fn line(&mut self, line: &[u8], now: Millis) -> Result<(), String> {
        self.heard = now;
        self.bytes_left =
            self.bytes_left.checked_sub(line.len() + 1).ok_or("more output than was agreed".to_owned())?;
        self.lines.push(String::from_utf8_lossy(line).into_owned());
        Ok(())
    }

    fn stalled(&mut self, now: Millis, so_far: Cost) -> Option<u64> {
        self.stall.seen(now, (self.lines.len() as u64, 0, 0), so_far.cpu_ms);
        self.stall.stalled(now).then_some(now.since(self.heard))
    }
}
