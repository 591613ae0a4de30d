//! Supervision of child processes, with shell scripts standing in for ffmpeg.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use reelmill_common::Millis;
use reelmill_worker::process::{
    ChildError, Collect, Cost, Failure, Finished, Launch, Network, ResourceLimits, STDERR_TAIL, Watch, run,
};
use reelmill_worker::sandbox::{Level, Sandbox, SandboxConfig};
use reelmill_worker::tools::{ToolError, Tools};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// No test waits for longer than this.
const DEADLINE: Duration = Duration::from_secs(60);

/// The weakest box: what is tried here is the same in all of them (`sandbox.rs` has the others).
fn sandbox() -> Sandbox {
    Sandbox::basic(&SandboxConfig::new(env!("CARGO_BIN_EXE_reelmill-launcher").into()))
}

fn sh(script: &str) -> Launch {
    Launch {
        program: PathBuf::from("/bin/sh"),
        args: vec!["-c".into(), script.into()],
        dir: std::env::temp_dir(),
        limits: ResourceLimits::for_run(1_024, 1 << 20),
        network: Network::Nothing,
        source: None,
        quota: None,
        sandbox: sandbox(),
    }
}

async fn collect(launch: &Launch, patience_ms: u64) -> (Result<Finished, ChildError>, Vec<String>) {
    let mut watch = Collect::new(1 << 20, patience_ms);
    let result = tokio::time::timeout(DEADLINE, run(launch, &mut watch, &CancellationToken::new()))
        .await
        .expect("supervision must end");
    (result, watch.into_lines())
}

/// Is that process gone, or at least dead and waiting for its parent?
fn is_gone(pid: &str) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Err(_) => true,
        Ok(stat) => stat[stat.rfind(')').unwrap() + 1..].trim_start().starts_with('Z'),
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn output_and_cost_of_a_child_that_ends_well() {
    // about 0.2 s of pure computing
    let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; echo last words >&2; \
                exec head -c 3000000 /dev/zero >/dev/null";
    let (result, lines) = collect(&sh(busy), 15_000).await;
    let finished = result.unwrap();
    assert_eq!(lines, ["done"]);
    assert_eq!(finished.stderr, "last words");
    assert!(finished.cost.cpu_ms >= 20, "{finished:?}");
    assert!(finished.cost.cpu_ms <= finished.wall_ms + 100, "{finished:?}");
    assert!((3_000_000..3_200_000).contains(&finished.cost.read_bytes), "{finished:?}");
}

#[tokio::test]
async fn a_child_inherits_no_environment_no_stdin_no_descriptor_and_no_core() {
    let script = "env -0 | tr '\\0' '\\n' | sed 's/^/env /'; cat; \
                  ulimit -c; ulimit -n; grep NoNewPrivs /proc/$$/status; ps -o pgid= -p $$ | tr -d ' '; echo $$";
    let (result, lines) = collect(&sh(script), 15_000).await;
    result.unwrap();
    // sh itself adds PWD (and dash OLDPWD); nothing of ours may be there but what every child gets
    let env: Vec<_> = lines.iter().filter_map(|l| l.strip_prefix("env ")).collect();
    let allowed = ["PWD=", "OLDPWD=", "_=", "LC_ALL=C", "AV_LOG_FORCE_NOCOLOR=1"];
    assert!(env.iter().all(|v| allowed.iter().any(|a| v.starts_with(a))), "{env:?}");
    assert!(env.contains(&"LC_ALL=C"), "{env:?}");
    let rest: Vec<_> = lines.iter().filter(|l| !l.starts_with("env ")).collect();
    assert_eq!(rest[0], "0");
    assert_eq!(rest[1], "256");
    assert_eq!(rest[2], "NoNewPrivs:\t1");
    assert_eq!(rest[3], rest[4], "leader of its own group");

    // a descriptor without close-on-exec, as a careless parent hands down
    let held = std::fs::File::open("/dev/zero").unwrap();
    let inherited = nix::fcntl::fcntl(&held, nix::fcntl::FcntlArg::F_DUPFD(90)).unwrap();
    let ls = Launch { program: PathBuf::from("/bin/ls"), args: vec!["/proc/self/fd".into()], ..sh("") };
    let (result, lines) = collect(&ls, 15_000).await;
    result.unwrap();
    assert!(inherited >= 90);
    assert_eq!(lines, ["0", "1", "2", "3"], "stdin, stdout, stderr, and the directory that ls reads");
}

#[tokio::test]
async fn each_way_to_fail_has_its_name_and_its_stderr() {
    let (result, _) = collect(&sh("echo it broke >&2; exit 3"), 15_000).await;
    let e = result.unwrap_err();
    assert_eq!((e.how, e.stderr.as_str()), (Failure::Exited(3), "it broke"));

    let (result, _) = collect(&sh("echo bang >&2; kill -SEGV $$"), 15_000).await;
    let e = result.unwrap_err();
    assert_eq!((e.how, e.stderr.as_str()), (Failure::Signalled(11), "bang"));

    let missing = Launch { program: PathBuf::from("/nowhere/ffmpeg"), ..sh("") };
    let (result, _) = collect(&missing, 15_000).await;
    let e = result.unwrap_err();
    assert!(matches!(&e.how, Failure::DidNotStart(why) if why.contains("/nowhere/ffmpeg")), "{e}");

    let not_a_program = Launch { program: PathBuf::from("/etc/passwd"), ..sh("") };
    let (result, _) = collect(&not_a_program, 15_000).await;
    assert!(matches!(result.unwrap_err().how, Failure::DidNotStart(_)));

    let (result, _) = collect(&sh("while :; do echo spam spam spam spam; done"), 15_000).await;
    let e = result.unwrap_err();
    assert!(matches!(&e.how, Failure::BadOutput(what) if what.contains("more output")), "{e}");
}

#[tokio::test]
async fn a_script_that_cannot_be_interpreted_did_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ffmpeg");
    std::fs::write(&path, "#!/nowhere/sh\n").unwrap();
    make_executable(&path);
    let (result, _) = collect(&Launch { program: path, ..sh("") }, 15_000).await;
    let e = result.unwrap_err();
    assert!(matches!(e.how, Failure::DidNotStart(_)), "{e}");
}

#[tokio::test]
async fn a_missing_launcher_is_said_by_name() {
    let config = SandboxConfig::new("/nowhere/reelmill".into());
    let launch = Launch { sandbox: Sandbox::basic(&config), ..sh("") };
    let (result, _) = collect(&launch, 15_000).await;
    assert!(matches!(result.unwrap_err().how, Failure::NoBox(why) if why.contains("launcher")));
}

#[tokio::test]
async fn an_old_a_broken_and_a_missing_ffmpeg_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    // each its own file: who has heard enough of ffmpeg leaves ffprobe while it may still be starting, and what is
    // being started cannot be written ("text file busy")
    let script = |name: &str, body: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        make_executable(&path);
        path
    };
    let old_probe = script("old-probe", "echo ffprobe version 4.3; echo 'libavutil 56. 51.100 / 56. 51.100'");
    let old = script("old", "echo ffmpeg version 4.3.9; echo 'libavutil 56. 51.100 / 56. 51.100'");
    let e = Tools::find(Some(&old), Some(&old_probe), sandbox()).await.unwrap_err();
    assert!(matches!(&e, ToolError::TooOld { .. }) && e.to_string().contains("4.3"), "{e}");

    // found beside its ffmpeg
    script("ffprobe", "echo ffprobe version 9; echo 'libavutil 60. 8.100 / 60. 8.100'");
    let broken = script("broken", "echo libx264.so: cannot open >&2; exit 127");
    let e = Tools::find(Some(&broken), None, sandbox()).await.unwrap_err();
    assert!(e.to_string().ends_with("libx264.so: cannot open"), "{e}");

    let e = Tools::find(Some(&dir.path().join("none")), None, sandbox()).await.unwrap_err();
    assert!(matches!(&e, ToolError::Missing { name: "ffmpeg", .. }), "{e}");
}

fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn a_silent_child_is_killed_for_lack_of_progress() {
    let (result, lines) = collect(&sh("echo $$; echo stuck >&2; exec tail -f /dev/null"), 700).await;
    let e = result.unwrap_err();
    assert!(matches!(e.how, Failure::Stalled(ms) if ms > 700), "{e}");
    assert_eq!(e.stderr, "stuck");
    assert!(is_gone(&lines[0]));
}

#[tokio::test]
async fn a_child_that_ignores_sigterm_is_killed_after_two_seconds() {
    let began = Instant::now();
    let (result, lines) =
        collect(&sh("trap '' TERM; echo $$; while :; do read x < /dev/zero; done"), 600).await;
    assert!(matches!(result.unwrap_err().how, Failure::Stalled(_)));
    assert!(began.elapsed() >= Duration::from_secs(2), "SIGTERM comes first");
    assert!(is_gone(&lines[0]));
}

#[tokio::test]
async fn grandchildren_go_with_the_child_however_it_ends() {
    // the grandchild holds stdout open: its death is also what ends the reading
    let (result, lines) = collect(&sh("tail -f /dev/null & echo $!; exit 0"), 15_000).await;
    result.unwrap();
    until("grandchild gone after a good end", || is_gone(&lines[0])).await;

    let (result, lines) = collect(&sh("tail -f /dev/null & echo $!; wait"), 600).await;
    assert!(matches!(result.unwrap_err().how, Failure::Stalled(_)));
    until("grandchild gone after a stall", || is_gone(&lines[0])).await;
}

#[tokio::test]
async fn stopping_and_dropping_both_kill_the_group() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let script = format!("tail -f /dev/null & echo $! $$ > {0}.new; mv {0}.new {0}; wait", pids.display());
    let gone = |pids: &Path| std::fs::read_to_string(pids).unwrap().split_whitespace().all(is_gone);

    let stop = CancellationToken::new();
    let (task_stop, launch) = (stop.clone(), sh(&script));
    let task = tokio::spawn(async move { run(&launch, &mut Collect::new(10, 60_000), &task_stop).await });
    until("started", || pids.exists()).await;
    stop.cancel();
    let result = tokio::time::timeout(DEADLINE, task).await.unwrap().unwrap();
    assert_eq!(result.unwrap_err().how, Failure::Stopped);
    until("group gone after a stop", || gone(&pids)).await;

    std::fs::remove_file(&pids).unwrap();
    let launch = sh(&script);
    let task =
        tokio::spawn(
            async move { run(&launch, &mut Collect::new(10, 60_000), &CancellationToken::new()).await },
        );
    until("started again", || pids.exists()).await;
    task.abort();
    until("group gone after a drop", || gone(&pids)).await;
}

#[tokio::test]
async fn of_a_flood_on_stderr_the_end_is_kept() {
    let script =
        "i=0; while [ $i -lt 20000 ]; do echo line $i of something long >&2; i=$((i+1)); done; echo ok";
    let (result, lines) = collect(&sh(script), 15_000).await;
    let finished = result.unwrap();
    assert_eq!(lines, ["ok"]);
    assert!(finished.stderr.len() <= STDERR_TAIL);
    assert!(finished.stderr.starts_with("line "), "cut at a line");
    assert!(finished.stderr.ends_with("line 19999 of something long"));
}

#[tokio::test]
async fn lines_arrive_whole_and_endless_ones_are_refused() {
    let (result, lines) = collect(&sh("printf 'a\\r\\nb'; printf 'c\\n\\nlast'"), 15_000).await;
    result.unwrap();
    assert_eq!(lines, ["a", "bc", "", "last"]);

    let (result, _) = collect(&sh("tr '\\0' x < /dev/zero"), 15_000).await;
    assert!(matches!(result.unwrap_err().how, Failure::BadOutput(what) if what.contains("a line of more")));
}

/// Long but alive: the only clock that counts is the one since the last progress.
struct Beats(Millis);

impl Watch for Beats {
    fn line(&mut self, _: &[u8], now: Millis) -> Result<(), String> {
        self.0 = now;
        Ok(())
    }

    fn stalled(&mut self, now: Millis, _: Cost) -> Option<u64> {
        Some(now.since(self.0)).filter(|ms| *ms > 1_500)
    }
}

#[tokio::test]
async fn a_slow_child_that_makes_progress_is_left_alone() {
    let script = "for i in 1 2 3 4 5; do echo $i; timeout 0.6 tail -f /dev/null; done; exit 0";
    let result =
        tokio::time::timeout(DEADLINE, run(&sh(script), &mut Beats(Millis(0)), &CancellationToken::new()))
            .await;
    let finished = result.unwrap().unwrap();
    assert!(finished.wall_ms > 2_000, "longer than any patience it was given: {finished:?}");
}

#[tokio::test]
async fn children_die_with_a_worker_that_is_killed_in_whatever_box_they_are() {
    for level in Level::ALL {
        let (tried, _) = collect(&boxed("true", level), 15_000).await;
        match tried.map_err(|e| e.how) {
            Ok(_) => dies_with_its_worker(level).await,
            Err(Failure::NoBox(why)) => eprintln!("{}: not tried: {why}", level.name()),
            Err(how) => panic!("{}: {how}", level.name()),
        }
    }
}

/// A shell and its programs in a box.
fn boxed(script: &str, level: Level) -> Launch {
    let mut config = SandboxConfig::new(env!("CARGO_BIN_EXE_reelmill-launcher").into());
    config.paths = ["/bin", "/usr/bin"].map(PathBuf::from).to_vec();
    Launch { sandbox: Sandbox::basic(&config).at(level), ..sh(script) }
}

async fn dies_with_its_worker(level: Level) {
    // the worker's part is played by this very test program, started again with one test selected
    let me = std::env::current_exe().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    let mut worker = std::process::Command::new(me)
        .args(["--exact", "played_worker", "--nocapture"])
        .env("PLAY_WORKER", &pid_file)
        .env("PLAY_LEVEL", level.name())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("child started", || pid_file.exists()).await;
    let child = std::fs::read_to_string(&pid_file).unwrap();
    assert!(!is_gone(child.trim()));
    worker.kill().unwrap();
    worker.wait().unwrap();
    until("child gone with its worker", || is_gone(child.trim())).await;
}

#[tokio::test]
async fn played_worker() {
    let Ok(pid_file) = std::env::var("PLAY_WORKER") else { return };
    let script = format!("echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec tail -f /dev/null");
    let level = std::env::var("PLAY_LEVEL").unwrap();
    let launch = boxed(&script, Level::ALL.into_iter().find(|l| l.name() == level).unwrap());
    let ended = run(&launch, &mut Collect::new(10, 60_000), &CancellationToken::new()).await;
    panic!("the worker should have been killed first: {ended:?}");
}
