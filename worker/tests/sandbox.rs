//! The box around ffmpeg, with shell scripts standing in for an ffmpeg that a film has taken over. They are given more
//! than ffmpeg is: a shell and the programs of `/usr/bin`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use reelmill_common::WorkerId;
use reelmill_worker::process::{
    ChildError, Collect, Failure, Finished, Launch, Network, ResourceLimits, Serve, run,
};
use reelmill_worker::sandbox::{Level, Mode, Sandbox, SandboxConfig, prove};
use reelmill_worker::scratch::Scratch;
use reelmill_worker::tools::Tools;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// No test waits for longer than this.
const DEADLINE: Duration = Duration::from_secs(60);
const LAUNCHER: &str = env!("CARGO_BIN_EXE_reelmill-launcher");

fn config() -> SandboxConfig {
    let mut config = SandboxConfig::new(LAUNCHER.into());
    config.paths = ["/usr/bin", "/bin", "/proc"].map(PathBuf::from).to_vec();
    config
}

/// The levels that this machine can make, the strongest first; what it cannot is said by `prove` and is tested with it.
async fn levels() -> Vec<Level> {
    let mut made = Vec::new();
    for level in Level::ALL {
        let dir = tempfile::tempdir().unwrap();
        let (result, _) = evil(level, dir.path(), "true").await;
        match result {
            Ok(_) => made.push(level),
            Err(e) => assert!(matches!(e.how, Failure::NoBox(_)), "{level:?}: {e} {}", e.stderr),
        }
    }
    made
}

fn launch(level: Level, dir: &Path, script: &str) -> Launch {
    Launch {
        program: "/bin/bash".into(),
        args: vec!["-c".into(), script.into()],
        dir: dir.to_owned(),
        limits: ResourceLimits { address_space: 512 << 20, ..ResourceLimits::for_run(1, 1 << 20) },
        network: Network::Nothing,
        source: None,
        quota: Some(4 << 20),
        sandbox: Sandbox::basic(&config()).at(level),
    }
}

async fn go(launch: &Launch, patience_ms: u64) -> (Result<Finished, ChildError>, Vec<String>) {
    let mut said = Collect::new(1 << 20, patience_ms);
    let ran = tokio::time::timeout(DEADLINE, run(launch, &mut said, &CancellationToken::new())).await;
    (ran.expect("a child ends"), said.into_lines())
}

async fn evil(level: Level, dir: &Path, script: &str) -> (Result<Finished, ChildError>, Vec<String>) {
    go(&launch(level, dir, script), 20_000).await
}

fn how(result: &Result<Finished, ChildError>) -> String {
    match result {
        Ok(_) => "ended well".to_owned(),
        Err(e) => e.how.to_string(),
    }
}

/// Somebody else's process, of the same user.
struct Victim(Child);

impl Victim {
    fn new() -> Self {
        Self(Command::new("tail").args(["-f", "/dev/null"]).env("SECRET", "film").spawn().unwrap())
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A listener of each kind at each of two loopback addresses.
struct Listeners {
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
}

impl Listeners {
    fn new() -> Self {
        let at = ["127.0.0.1:0", "127.0.0.2:0"];
        let (tcp, udp) = (at.map(|a| TcpListener::bind(a).unwrap()), at.map(|a| UdpSocket::bind(a).unwrap()));
        tcp.iter().for_each(|l| l.set_nonblocking(true).unwrap());
        udp.iter().for_each(|s| s.set_nonblocking(true).unwrap());
        Self { tcp: tcp.into(), udp: udp.into() }
    }

    /// A script that tries all of them, a line for each that it believes to have reached.
    fn script(&self) -> String {
        let tcp = self.tcp.iter().map(|l| (l.local_addr().unwrap(), "tcp"));
        let udp = self.udp.iter().map(|s| (s.local_addr().unwrap(), "udp"));
        let one = |(at, kind): (std::net::SocketAddr, &str)| {
            format!("(echo out >/dev/{kind}/{}/{}) && echo reached {kind} {at};", at.ip(), at.port())
        };
        tcp.chain(udp).map(one).collect::<String>() + " true"
    }

    /// How many of them heard of anybody.
    fn reached(&self) -> usize {
        let tcp = self.tcp.iter().filter(|l| l.accept().is_ok()).count();
        tcp + self.udp.iter().filter(|s| s.recv(&mut [0; 9]).is_ok()).count()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_listener_but_its_own_is_reached_from_any_box() {
    let listeners = Listeners::new();
    let levels = levels().await;
    assert_eq!(levels.last(), Some(&Level::Basic), "the weakest box is always there");
    for level in levels.iter().filter(|l| **l > Level::Basic) {
        let dir = tempfile::tempdir().unwrap();
        // with and without a source that is served
        let mut served = launch(*level, dir.path(), &listeners.script());
        let (_, lines) = go(&served, 20_000).await;
        assert_eq!((lines, listeners.reached()), (vec![], 0), "{level:?}, a local source");
        served.network = if level.has_network() { Network::Own(never()) } else { Network::Port(1) };
        let (_, lines) = go(&served, 20_000).await;
        assert_eq!((lines, listeners.reached()), (vec![], 0), "{level:?}, a served source");
    }
    // The listeners listen: the test could have failed.
    let dir = tempfile::tempdir().unwrap();
    let (_, lines) = evil(Level::Basic, dir.path(), &listeners.script()).await;
    assert_eq!((lines.len(), listeners.reached()), (4, 4), "{lines:?}");
}

fn never() -> Serve {
    Arc::new(|listener| AbortOnDropHandle::new(tokio::spawn(async move { drop(listener) })))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_with_its_own_network_is_served_by_the_worker() {
    let serve: Serve = Arc::new(|listener| {
        AbortOnDropHandle::new(tokio::task::spawn_blocking(move || {
            let (mut child, _) = listener.accept().unwrap();
            child.write_all(b"one film\n").unwrap();
        }))
    });
    for level in levels().await.into_iter().filter(|l| l.has_network()) {
        let dir = tempfile::tempdir().unwrap();
        let mut launch = launch(level, dir.path(), "read -r film </dev/tcp/127.0.0.1/4000; echo $film");
        launch.network = Network::Own(Arc::clone(&serve));
        let (result, lines) = go(&launch, 20_000).await;
        assert_eq!(lines, ["one film"], "{level:?}: {}", how(&result));
    }
}

/// What an attack is, and what must have come of it in the full box.
struct Attack {
    name: &'static str,
    script: String,
    /// What is said when it is over.
    ends: &'static str,
    /// The only lines it may have printed.
    prints: &'static [&'static str],
}

fn attacks(outside: &Path, victim: u32) -> Vec<Attack> {
    let (outside, attack) =
        (outside.display(), |name, script: String, ends, prints| Attack { name, script, ends, prints });
    let well = "ended well";
    vec![
        attack("read a secret", format!("cat {outside}/secret; true"), well, &[]),
        attack("read the users", "cat /etc/passwd /etc/shadow; true".into(), well, &[]),
        attack("list the disk", "ls / /root /home /tmp; true".into(), well, &[]),
        attack("write outside", format!("echo x >{outside}/made; true"), well, &[]),
        attack("overwrite a secret", format!("echo x >{outside}/secret; true"), well, &[]),
        attack("remove a secret", format!("rm -f {outside}/secret; true"), well, &[]),
        attack(
            "link out",
            format!("ln {outside}/secret in; ln -s {outside}/secret in; cat in; true"),
            well,
            &[],
        ),
        attack("run what it wrote", "cp /bin/echo e && chmod +x e && ./e ran; true".into(), well, &[]),
        attack("signal others", format!("kill -KILL {victim} && echo killed; true"), well, &[]),
        attack("read others' memory", format!("tr '\\0' x </proc/{victim}/environ; true"), well, &[]),
        attack(
            "be somebody",
            "grep -E '^Cap(Inh|Prm|Eff|Amb)' /proc/$$/status | tr -d '\\t0'".into(),
            well,
            &["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"],
        ),
        attack("gain privileges", "grep NoNewPrivs /proc/$$/status".into(), well, &["NoNewPrivs:\t1"]),
        attack("make namespaces", "unshare --user true && echo made; true".into(), well, &[]),
        attack("leave the group", "setsid true && echo left; true".into(), well, &[]),
        attack("one large file", "head -c 9M /dev/zero >large".into(), "ended with", &[]),
        attack(
            "many files",
            "i=0; while :; do i=$((i+1)); head -c 99K /dev/zero >f$i; done".into(),
            "bytes where 4194304 were left and was killed",
            &[],
        ),
        attack("memory without end", "tail /dev/zero".into(), "exited with code 1", &[]),
        attack("a flood of output", "yes".into(), "more output than was agreed", &[]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_evil_ffmpeg_gets_nothing_done_in_the_full_box() {
    if levels().await[0] < Level::Full {
        eprintln!("this system cannot make the full box: it is not tried");
        return;
    }
    let (outside, mut victim) = (tempfile::tempdir().unwrap(), Victim::new());
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "film").unwrap();
    let mut table = String::new();
    let attacks = attacks(outside.path(), victim.0.id());
    for Attack { name, script, ends, prints } in &attacks {
        let dir = tempfile::tempdir().unwrap();
        let (result, lines) = evil(Level::Full, dir.path(), script).await;
        let ended = how(&result);
        // a shell tells the signal that stopped its last command by its own exit code (128 + 25)
        let is_stopped = match *ends {
            "ended with" => ["signal 25", "code 153"].iter().any(|e| ended.ends_with(e)),
            "more output than was agreed" => ended.contains(ends),
            ends => ended.ends_with(ends),
        };
        assert!(is_stopped, "{name}: {ended}");
        if *name != "a flood of output" {
            assert_eq!(lines, *prints, "{name}");
        }
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "film", "{name}");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1, "{name}");
        assert!(victim.lives(), "{name}");
        table += &format!("{name:<20} {ended}\n");
    }
    println!("{table}{} attacks, none got anything done", attacks.len());
    // The attacks work: in the weakest box they do what they are meant to.
    let dir = tempfile::tempdir().unwrap();
    for name in
        ["read a secret", "run what it wrote", "read others' memory", "make namespaces", "leave the group"]
    {
        let attack = attacks.iter().find(|a| a.name == name).unwrap();
        let (_, lines) = evil(Level::Basic, dir.path(), &attack.script).await;
        assert_ne!(lines, Vec::<String>::new(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_processes_is_bounded_and_goes_with_its_child() {
    for level in levels().await {
        let dir = tempfile::tempdir().unwrap();
        // each tries to leave the group in which it will be killed
        let crowd = "for i in $(seq 40); do setsid -f tail -f /dev/null || tail -f /dev/null & done; \
                     echo ready; ulimit -u; exec tail -f /dev/null";
        let mut launch = launch(level, dir.path(), crowd);
        // the box that cannot keep them in the group is the weakest
        if level == Level::Basic {
            launch.args[1] = crowd.replace("setsid -f tail -f /dev/null ||", "").into();
        }
        let (result, lines) = go(&launch, 1_500).await;
        assert!(how(&result).contains("made no progress"), "{level:?}: {}", how(&result));
        assert_eq!(lines[0], "ready");
        if level.has_network() {
            assert_eq!(lines[1], "2048", "{level:?}: processes and threads");
        }
        let deadline = Instant::now() + DEADLINE;
        while processes_in(dir.path()) > 0 {
            assert!(Instant::now() < deadline, "{level:?}: {} are left", processes_in(dir.path()));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Processes that stand in a directory.
fn processes_in(dir: &Path) -> usize {
    let dir = dir.canonicalize().unwrap();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter(|p| std::fs::read_link(p.path().join("cwd")).is_ok_and(|cwd| cwd == dir)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_one_source_is_read_and_the_directory_written() {
    let outside = tempfile::tempdir().unwrap();
    let (film, other) = (outside.path().join("a film.mp4"), outside.path().join("other.mp4"));
    std::fs::write(&film, "film").unwrap();
    std::fs::write(&other, "other").unwrap();
    for level in levels().await {
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            "cat '{}'; echo; mkdir -p package; cp '{0}' package/made; cat package/made; cat '{}' 2>&1 >/dev/null | \
             grep -c denied",
            film.display(),
            other.display()
        );
        let mut launch = launch(level, dir.path(), &script);
        launch.source = Some(film.clone());
        let (_, lines) = go(&launch, 20_000).await;
        let denied = if level.has_files() { "1" } else { "0" };
        assert_eq!(lines, ["film", &format!("film{denied}")], "{level:?}");
    }
}

#[tokio::test]
async fn a_box_that_cannot_be_made_is_not_the_programs_failure() {
    let dir = tempfile::tempdir().unwrap();
    let mut launch = launch(Level::Full, dir.path(), "true");
    launch.source = Some("/nowhere/film.mp4".into());
    let (result, _) = go(&launch, 20_000).await;
    let e = result.unwrap_err();
    assert!(matches!(&e.how, Failure::NoBox(why) if why.contains("/nowhere/film.mp4")), "{e}");
    // a person who calls the launcher is told so
    let said = Command::new(LAUNCHER).args(["__box", "x=1"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(said.status.code(), Some(126));
    assert!(String::from_utf8_lossy(&said.stderr).contains("not for people"));
}

async fn proved(mode: Mode) -> (Level, String) {
    let base = tempfile::tempdir().unwrap();
    let mut config = config();
    config.launcher = std::env::var_os("PLAY_LAUNCHER").map_or(config.launcher, Into::into);
    config.paths.clear();
    let tools = Tools::find(None, None, Sandbox::basic(&config)).await.unwrap();
    let scratch = Scratch::open(base.path(), &WorkerId::parse("w").unwrap(), 1 << 30).unwrap();
    let proved = prove(&tools.sandbox, mode, &tools, &scratch).await;
    (proved.sandbox.level(), proved.text())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_proved_is_what_the_machine_makes() {
    let (level, text) = proved(Mode::Auto).await;
    println!("{text}");
    let unshare = Command::new("unshare").args(["--user", "--net", "true"]).stderr(Stdio::null()).status();
    assert_eq!(level.has_network(), unshare.unwrap().success(), "{text}");
    assert_eq!(level, levels().await[0], "{text}");
    assert!(level == Level::Full || text.contains("not full:"), "{text}");
    assert_eq!(proved(Mode::Off).await.0, Level::Basic, "nothing is tried when it is off");
}

/// This program started again with one test selected, by somebody else, somewhere else.
fn play(how: &[&str], dir: &Path) -> Option<String> {
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777)).unwrap();
    let copy = |from: &Path, name: &str| {
        std::fs::copy(from, dir.join(name)).unwrap();
        dir.join(name)
    };
    let me = copy(&std::env::current_exe().unwrap(), "me");
    let launcher = copy(Path::new(LAUNCHER), "launcher");
    let mut command = Command::new(how[0]);
    command.args(&how[1..]).arg(me).args(["--exact", "played_elsewhere", "--nocapture"]);
    command.env("PLAY_LAUNCHER", launcher).env("TMPDIR", dir).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let ended = child.wait().unwrap();
    let told = said.lines().find_map(|l| l.strip_prefix("PROVED ")).map(str::to_owned);
    assert!(ended.success(), "{said}");
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn played_elsewhere() {
    if std::env::var_os("PLAY_LAUNCHER").is_some() {
        let (level, text) = proved(Mode::Auto).await;
        println!("PROVED {text}");
        if level == Level::Full && !nix::unistd::geteuid().is_root() {
            crowd_is_bounded().await;
            reads_are_counted().await;
        }
    }
}

/// A child that wants to be forty processes and may be eight. Root is exempt from this limit.
async fn crowd_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    // the shell's own count: it ends when it cannot start another one
    let crowd = "for i in $(seq 40); do tail -f /dev/null & echo $i; done";
    let mut launch = launch(Level::Full, dir.path(), crowd);
    // a shell that does not try again for a while
    (launch.program, launch.limits.processes) = ("/bin/dash".into(), 8);
    launch.sandbox = played_sandbox();
    let (result, lines) = go(&launch, 20_000).await;
    assert!(result.unwrap_err().stderr.contains("Cannot fork"));
    assert!(lines.len() < 8, "{lines:?}");
}

async fn reads_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut launch = launch(Level::Full, dir.path(), "exec head -c 3000000 /dev/zero >/dev/null");
    launch.sandbox = played_sandbox();
    let (result, _) = go(&launch, 20_000).await;
    let read = result.unwrap().cost.read_bytes;
    assert!((3_000_000..3_200_000).contains(&read), "{read}");
}

fn played_sandbox() -> Sandbox {
    let launcher = std::env::var_os("PLAY_LAUNCHER").unwrap().into();
    Sandbox::basic(&SandboxConfig { launcher, ..config() }).at(Level::Full)
}

#[test]
fn without_user_namespaces_the_box_is_weaker_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    // a namespace in which no further one can be made, and nobody in it who could do without
    let script = "echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all -- \"$@\"";
    let how = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"];
    let is_possible = Command::new(how[0]).args(&how[1..]).arg("true").status().unwrap().success();
    if !is_possible {
        eprintln!("this system makes no user namespaces at all: the test of what is proved has seen it");
        return;
    }
    let told = play(&how, dir.path()).expect("it proves what there is");
    assert!(told.starts_with("landlock; "), "{told}");
    assert!(told.contains("not full: ") && told.contains("no network namespace of its own"), "{told}");
    assert!(told.contains("sysctl user.max_user_namespaces"), "{told}");
}

#[test]
fn an_ordinary_user_gets_the_same_box_as_root() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("this is an ordinary user: every other test here has seen it");
        return;
    }
    let (mine, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = play(&["env"], mine.path());
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    assert_eq!(play(&nobody, theirs.path()), root);
    assert!(root.is_some());
}
