//! The command line, and nothing but its grammar.

use crate::etcd::EtcdArgs;
use crate::secured::{ClientSecurity, ServerSecurity};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Cuts a film at keyframes, encodes the chunks in parallel, publishes seamless HLS and DASH.
#[derive(Debug, Parser)]
#[command(
    name = "reelmill",
    version,
    after_help = "Exit codes: 0 done, 2 usage, 3 the input is at fault, 4 an encoder or worker failed for good,\n\
                  5 storage or cluster unreachable, 6 cancelled, 130 interrupted."
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Log filter, e.g. `info` or `reelmill_worker=debug`. Logs go to stderr. Default: `info` for the long-running
    /// roles, `error` for the rest.
    #[arg(long, global = true, env = "REELMILL_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// Write logs as JSON, one object a line.
    #[arg(long, global = true)]
    pub(crate) log_json: bool,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "one value a process")]
pub(crate) enum Command {
    /// Transcode one film here and now, with a coordinator and workers of its own.
    Transcode(Transcode),
    /// Coordinator, workers and web page in one process with an embedded store; keeps running.
    Serve(Serve),
    /// A cluster's coordinator.
    Coordinator(Coordinator),
    /// A cluster's worker.
    Worker(Worker),
    /// Hand a film to a running coordinator.
    Submit(Submit),
    /// Look at jobs and steer them.
    Jobs(Jobs),
    /// Look at the cluster's workers and end their membership.
    Workers(Workers),
    /// Make tokens for the access file.
    Token(TokenArgs),
    /// Prove that this machine can do the work: ffmpeg, encoders, scratch space, coordinator.
    Doctor(Doctor),
}

impl Command {
    /// What is logged when nobody says what: a role tells its operator what it does, a command speaks for itself.
    pub(crate) fn default_log(&self) -> &'static str {
        match self {
            Self::Serve(_) | Self::Coordinator(_) | Self::Worker(_) => "info",
            _ => "error",
        }
    }
}

/// How a film is to be encoded.
#[derive(Debug, Args)]
pub(crate) struct Encoding {
    /// Rungs: names of the default ladder (`1080p,720p`) or a TOML file. Default: fitted to the source.
    #[arg(long, value_name = "NAMES|FILE.toml")]
    pub(crate) ladder: Option<String>,
    /// `speed`, `balanced`, `quality`, or an x264 preset.
    #[arg(long, default_value = "balanced", value_name = "PRESET")]
    pub(crate) preset: String,
    /// Segment duration.
    #[arg(long, default_value = "4s", value_name = "DURATION")]
    pub(crate) segment: humantime::Duration,
    /// Chunk duration. Default: by predicted cost.
    #[arg(long, value_name = "DURATION")]
    pub(crate) chunk: Option<humantime::Duration>,
    /// What segments align to.
    #[arg(long, default_value = "grid", value_parser = ["grid", "source"])]
    pub(crate) segments: String,
    /// The same bytes on every CPU class (5 to 6 % slower).
    #[arg(long)]
    pub(crate) cpu_independent: bool,
    /// Sound that would hold up the job is cut into ranges of at least this duration.
    #[arg(long, default_value = "120s", value_name = "DURATION")]
    pub(crate) sound_range: humantime::Duration,
}

/// The box around ffmpeg.
#[derive(Debug, Args)]
pub(crate) struct Boxed {
    /// `auto`: the strongest sandbox around ffmpeg that holds here. `require`: the full one, or no start. `off`: limits
    /// only.
    #[arg(long, env = "REELMILL_SANDBOX", default_value = "auto", value_parser = ["auto", "require", "off"])]
    pub(crate) sandbox: String,
    /// A file or folder that ffmpeg may read and execute in its sandbox beside its own; may be repeated.
    #[arg(long, env = "REELMILL_SANDBOX_PATH", value_delimiter = ':', value_name = "PATH")]
    pub(crate) sandbox_path: Vec<PathBuf>,
}

/// `reelmill transcode`
#[derive(Debug, Args)]
pub(crate) struct Transcode {
    /// The film: a path or an object URL.
    pub(crate) input: String,
    /// Where the package goes: a directory or an object URL.
    #[arg(long, value_name = "DIR|URL")]
    pub(crate) out: String,
    #[command(flatten)]
    pub(crate) encoding: Encoding,
    /// Concurrent encodes. Default: one per core.
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<u32>,
    #[command(flatten)]
    pub(crate) boxed: Boxed,
    /// Print one JSON object a line instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `reelmill serve`
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Directory for state, work files and packages.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) listen: Listen,
    /// Concurrent encodes. Default: one per core; 0 runs no worker here.
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<u32>,
    #[command(flatten)]
    pub(crate) boxed: Boxed,
}

/// Where a coordinator listens and what it may read.
#[derive(Debug, Args)]
pub(crate) struct Listen {
    /// gRPC address.
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDR")]
    pub(crate) grpc: SocketAddr,
    /// HTTP address.
    #[arg(long, default_value = "127.0.0.1:7080", value_name = "ADDR")]
    pub(crate) http: SocketAddr,
    /// A worker that is not heard of for this long has lost its work. A coordinator that was started again waits a third
    /// of it for workers of other processes that it had before.
    #[arg(long, default_value = "15s", value_parser = lease_ttl, value_name = "DURATION")]
    pub(crate) lease_ttl: humantime::Duration,
    /// When no worker gives any more what a rung of a running job is bound to (all have another ffmpeg), the rung is bound
    /// anew and encoded again after this long.
    #[arg(long, default_value = "10m", value_name = "DURATION")]
    pub(crate) rebind_after: humantime::Duration,
    /// Path sources must lie below this directory. Default on loopback: anywhere.
    #[arg(long, value_name = "DIR")]
    pub(crate) source_root: Option<PathBuf>,
    /// Object sources and outputs must lie below one of these; may be repeated. Default on loopback: any store, on
    /// another address: none.
    #[arg(long = "store", value_name = "URL")]
    pub(crate) stores: Vec<String>,
    #[command(flatten)]
    pub(crate) security: ServerSecurity,
    /// Listen on a non-loopback address without TLS and tokens.
    #[arg(long)]
    pub(crate) insecure: bool,
}

/// `reelmill coordinator`
#[derive(Debug, Args)]
pub(crate) struct Coordinator {
    /// Directory for state, work files and packages, as far as nothing else is named for them.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) listen: Listen,
    /// Where work files go: a directory or an object URL that all coordinators and workers reach. Default: in the data
    /// directory.
    #[arg(long, value_name = "DIR|URL")]
    pub(crate) work: Option<String>,
    /// Where packages go, likewise.
    #[arg(long, value_name = "DIR|URL")]
    pub(crate) publish: Option<String>,
    /// Where clients and workers reach this coordinator, as standbys tell them. Default: its gRPC address.
    #[arg(long, value_name = "URL")]
    pub(crate) advertise: Option<String>,
    /// What workers read sources and write results with: credentials of their own (`ambient`), or requests that this
    /// coordinator signs for each attempt (`signed`), so that they need none.
    #[arg(long, default_value = "ambient", value_enum)]
    pub(crate) grants: Grants,
    #[command(flatten)]
    pub(crate) etcd: EtcdArgs,
}

/// What workers read sources and write results with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Grants {
    /// Credentials of their own.
    Ambient,
    /// Requests signed for each attempt.
    Signed,
}

/// `reelmill worker`
#[derive(Debug, Args)]
pub(crate) struct Worker {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Scratch directory. Default: the system's temporary directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
    /// Concurrent encodes. Default: one per core.
    #[arg(long, value_name = "N")]
    pub(crate) slots: Option<u32>,
    /// Stable name of this worker. Default: host name and process; with --enrol the host name.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) boxed: Boxed,
    /// The token is one to join with (role enrol): make a credential of our own, keep it in the state directory, use and
    /// renew it from then on. Once it has joined, it needs no token.
    #[arg(long)]
    pub(crate) enrol: bool,
    /// Where the credential is kept. Default: `reelmill` in the user's state directory.
    #[arg(long, env = "REELMILL_STATE", value_name = "DIR", requires = "enrol")]
    pub(crate) state: Option<PathBuf>,
}

/// Which coordinator.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Coordinator addresses, separated by commas.
    #[arg(
        long,
        env = "REELMILL_COORDINATOR",
        default_value = "http://127.0.0.1:7070",
        value_delimiter = ',',
        value_name = "URL"
    )]
    pub(crate) coordinator: Vec<String>,
    #[command(flatten)]
    pub(crate) security: ClientSecurity,
}

/// Which coordinator, and for whom.
#[derive(Debug, Args)]
pub(crate) struct ClientTarget {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Speak for this tenant, with a token of the role operate. Default: the token's own.
    #[arg(long, env = "REELMILL_TENANT", value_name = "TENANT")]
    pub(crate) tenant: Option<String>,
}

/// `reelmill submit`
#[derive(Debug, Args)]
pub(crate) struct Submit {
    /// The film: a path or an object URL, as the coordinator sees it.
    pub(crate) source: String,
    #[command(flatten)]
    pub(crate) encoding: Encoding,
    #[command(flatten)]
    pub(crate) target: ClientTarget,
    /// The same key gives the same job for 30 days.
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Higher goes first.
    #[arg(long, default_value_t = 0, value_name = "N", allow_negative_numbers = true)]
    pub(crate) priority: i32,
    /// `key=value`, may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<String>,
    /// Stay until the job ends and exit with its code.
    #[arg(long)]
    pub(crate) watch: bool,
    /// Print one JSON object a line instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `reelmill workers`
#[derive(Debug, Args)]
pub(crate) struct Workers {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: WorkersCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkersCommand {
    /// All workers that are enrolled or connected.
    List(ListWorkers),
    /// End a worker's credential, and its session with it.
    Revoke(OneWorker),
}

/// `reelmill workers list`
#[derive(Debug, Args)]
pub(crate) struct ListWorkers {
    #[command(flatten)]
    pub(crate) target: ClientTarget,
    /// Print one JSON object a line instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A command on one worker.
#[derive(Debug, Args)]
pub(crate) struct OneWorker {
    /// The worker's name.
    pub(crate) worker: String,
    #[command(flatten)]
    pub(crate) target: ClientTarget,
}

/// `reelmill token`
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: TokenCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Print a new token, once, and the entry for the access file, which holds only its hash.
    New(NewToken),
}

/// `reelmill token new`
#[derive(Debug, Args)]
pub(crate) struct NewToken {
    /// Who it is for, as logs name it.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// submit: the jobs of a tenant. operate: all jobs, workers, metrics. worker: to work. enrol: to let workers join.
    /// metrics: to read metrics.
    #[arg(long, value_parser = ["submit", "operate", "worker", "enrol", "metrics"], value_name = "ROLE")]
    pub(crate) role: String,
    /// Whose jobs it sees and makes; with submit.
    #[arg(long, value_name = "TENANT", required_if_eq("role", "submit"))]
    pub(crate) tenant: Option<String>,
    /// How long it is good. Default: until it is taken out of the file.
    #[arg(long, value_name = "DURATION")]
    pub(crate) expires: Option<humantime::Duration>,
}

/// `reelmill jobs`
#[derive(Debug, Args)]
pub(crate) struct Jobs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: JobsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// All jobs, newest first.
    List(ListJobs),
    /// One job.
    Show(OneJob),
    /// Follow one job until it ends; exits with its code.
    Watch(OneJob),
    /// Why a job is where it is.
    Explain(OneJob),
    /// Stop a job.
    Cancel(OneJob),
    /// Start a failed or cancelled job again; finished chunks are kept.
    Retry(OneJob),
    /// Delete a job with everything it made.
    Delete(OneJob),
}

/// `reelmill jobs list`
#[derive(Debug, Args)]
pub(crate) struct ListJobs {
    #[command(flatten)]
    pub(crate) target: ClientTarget,
    /// Print one JSON object a line instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A command on one job.
#[derive(Debug, Args)]
pub(crate) struct OneJob {
    /// The job's id.
    pub(crate) job: String,
    #[command(flatten)]
    pub(crate) target: ClientTarget,
    /// Print one JSON object a line instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `reelmill doctor`
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Also prove an object store by doing: round trip, range, create-only, list.
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// Print one JSON object a line instead of text.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) boxed: Boxed,
    #[command(flatten)]
    pub(crate) etcd: EtcdArgs,
}

/// Heartbeats come three times as often as leases end: what is shorter only makes workers lose their work.
fn lease_ttl(text: &str) -> Result<humantime::Duration, String> {
    let ttl: humantime::Duration = text.parse().map_err(|e| format!("{e}"))?;
    let range = std::time::Duration::from_secs(1)..=std::time::Duration::from_secs(3600);
    if range.contains(&*ttl) { Ok(ttl) } else { Err("it must be between 1s and 1h".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_grammar_has_no_contradictions() {
        Cli::command().debug_assert();
    }
}
