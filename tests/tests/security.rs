//! A secured cluster of real processes, from an access file to a played package: TLS, tokens, a worker that joins, and
//! no secret where others could read it.

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use reelmill_tests::film::{Film, PLAIN};
use reelmill_tests::process::Process;
use reelmill_tests::reelmill::{self, own_address};
use reelmill_tests::tool::{self, Done};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);
const BRIEF: Film = Film { name: "secured", frames: 48, ..PLAIN };

/// A folder with everything a secured cluster is made of.
struct Site {
    dir: tempfile::TempDir,
    grpc: String,
    http: String,
    secrets: Vec<String>,
}

impl Site {
    fn new() -> Result<Self> {
        let site = Self {
            dir: tempfile::tempdir()?,
            grpc: own_address()?,
            http: own_address()?,
            secrets: Vec::new(),
        };
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // its usual name is that of all certificates made here: they would look as if they vouched for themselves
        ca.distinguished_name.push(DnType::CommonName, "authority of a test");
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
        let host = site.grpc.split(':').next().context("a host")?.to_owned();
        let key = KeyPair::generate()?;
        let cert = CertificateParams::new(vec![host])?.signed_by(&key, &ca)?;
        std::fs::write(site.path("ca.pem"), ca.pem())?;
        std::fs::write(site.path("cert.pem"), cert.pem())?;
        std::fs::write(site.path("key.pem"), key.serialize_pem())?;
        Ok(site)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A new token, as an operator makes it: its entry goes into the access file.
    fn token(&mut self, arguments: &[&str]) -> Result<String> {
        let done = run(&mut reelmill::command(&[&["token", "new"], arguments].concat())?)?.success()?;
        let text = done.text();
        let (token, entry) = text.split_once('\n').context("a token and an entry")?;
        let file = std::fs::File::options().create(true).append(true).open(self.path("access.toml"));
        writeln!(file?, "{entry}")?;
        self.secrets.push(token.to_owned());
        Ok(token.to_owned())
    }

    fn coordinator(&self) -> Result<Process> {
        let mut command = reelmill::command(&["coordinator", "--grpc", &self.grpc, "--http", &self.http])?;
        for (option, name) in [
            ("--data", "data"),
            ("--tls-cert", "cert.pem"),
            ("--tls-key", "key.pem"),
            ("--access", "access.toml"),
            ("--source-root", "films"),
        ] {
            command.arg(option).arg(self.path(name));
        }
        Process::start(command, &self.path("coordinator.log"))
    }

    /// A client's command with a token.
    fn client(&self, token: &str, arguments: &[&str]) -> Result<Command> {
        let mut command = reelmill::command(arguments)?;
        let coordinator = format!("https://{}", self.grpc);
        command.args(["--coordinator", &coordinator, "--tls-ca", &self.text("ca.pem")]);
        command.env("REELMILL_TOKEN", token);
        Ok(command)
    }

    /// curl, as a browser that trusts our authority and keeps cookies.
    fn curl(&self, arguments: &[&str], path: &str) -> Result<Done> {
        let (jar, ca) = (self.text("cookies"), self.text("ca.pem"));
        let mut command = Command::new("curl");
        command.args(["-sS", "--fail", "--cacert", &ca, "-b", &jar, "-c", &jar]).args(arguments);
        run(command.arg(format!("https://{}{path}", self.http)))
    }

    /// Is a secret in what anybody may read: arguments of any process, or what ours have said?
    fn leaks(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut look = |place: String, text: &str| {
            if self.secrets.iter().any(|secret| text.contains(secret.as_str())) {
                found.push(place);
            }
        };
        for process in std::fs::read_dir("/proc")?.flatten() {
            let arguments = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            look(process.path().display().to_string(), &String::from_utf8_lossy(&arguments));
        }
        for log in ["coordinator.log", "worker.log", "submit.log"] {
            look(log.to_owned(), &std::fs::read_to_string(self.path(log)).unwrap_or_default());
        }
        Ok(found)
    }
}

fn run(command: &mut Command) -> Result<Done> {
    tool::run(command, PATIENCE)
}

#[test]
fn a_secured_cluster_from_token_to_playback() -> Result<()> {
    let mut site = Site::new()?;
    let films = site.path("films/studio");
    std::fs::create_dir_all(&films)?;
    let film = BRIEF.make(&films)?.path.display().to_string();
    let join = site.token(&["--name", "join", "--role", "enrol", "--expires", "1h"])?;
    let studio = site.token(&["--name", "studio-1", "--role", "submit", "--tenant", "studio"])?;
    let ops = site.token(&["--name", "ops", "--role", "operate"])?;
    let coordinator = site.coordinator()?;
    tool::wait_until("it leads", PATIENCE, || site.curl(&[], "/readyz").ok()?.success().ok())
        .with_context(|| coordinator.said())?;

    let state = site.text("state");
    let scratch = site.text("scratch");
    std::fs::create_dir(&scratch)?;
    let joining =
        ["worker", "--enrol", "--name", "gpu-1", "--slots", "1", "--state", &state, "--scratch", &scratch];
    let mut worker = site.client(&join, &joining)?;
    worker.env("REELMILL_LOG", "debug");
    let _worker = Process::start(worker, &site.path("worker.log"))?;
    let mut submit = site
        .client(&studio, &["submit", &film, "--watch", "--ladder", "360p", "--preset", "speed", "--json"])?;
    submit.env("REELMILL_LOG", "debug");
    let mut submit = Process::start(submit, &site.path("submit.log"))?;
    let ended = tool::wait_until("the job ends", PATIENCE, || {
        assert_eq!(site.leaks().expect("/proc is read"), Vec::<String>::new());
        submit.ended().transpose()
    })??;
    assert!(ended.success(), "{}", submit.said());
    let credential = std::fs::read_to_string(site.path("state/gpu-1.credential"))?;
    site.secrets.push(credential.lines().next().context("a credential")?.to_owned());

    plays(&site, &studio)?;
    refusals(&site, &studio, &film)?;

    let list = run(&mut site.client(&ops, &["workers", "list"])?)?.success()?.text();
    assert!(list.contains("gpu-1") && list.contains("connected"), "{list}");
    run(&mut site.client(&ops, &["workers", "revoke", "gpu-1"])?)?.success()?;
    tool::wait_until("the worker is told", PATIENCE, || {
        let log = std::fs::read_to_string(site.path("worker.log")).ok()?;
        log.contains("not enrolled with this credential").then_some(())
    })?;
    assert_eq!(site.leaks()?, Vec::<String>::new());
    Ok(())
}

/// A person logs in and plays what the job made.
fn plays(site: &Site, token: &str) -> Result<()> {
    assert_eq!(site.curl(&[], "/")?.code(), 22, "nobody is let in without a token");
    let form = site.path("form");
    std::fs::write(&form, format!("token={token}&next=/"))?;
    let (origin, data) = (format!("Origin: https://{}", site.http), format!("@{}", form.display()));
    site.curl(&["-H", &origin, "--data-binary", &data], "/login")?.success()?;
    let home = site.curl(&[], "/")?.success()?.text();
    let play = home.split('"').find(|part| part.starts_with("/play/")).context("a job to play")?.to_owned();
    let page = site.curl(&[], &play)?.success()?.text();
    let master = page.split('"').find(|part| part.ends_with("/master.m3u8")).context("a package")?.to_owned();
    let text = site.curl(&[], &master)?.success()?.text();
    let playlist = text.lines().find(|l| !l.starts_with('#') && l.ends_with(".m3u8")).context("a variant")?;
    let folder = Path::new(&master).parent().context("a folder")?.join(playlist);
    let segment = folder.with_file_name("000001.m4s").display().to_string();
    let bytes = site.curl(&[], &segment)?.success()?.stdout;
    assert_eq!(&bytes[4..8], b"styp", "a segment");
    Ok(())
}

/// What those are told who come the wrong way, and by which exit code.
fn refusals(site: &Site, token: &str, film: &str) -> Result<()> {
    let ca = site.text("ca.pem");
    let list = |coordinator: &str, token: Option<&str>| {
        let mut command =
            reelmill::command(&["jobs", "list", "--coordinator", coordinator, "--tls-ca", &ca])?;
        command.env_remove("REELMILL_TOKEN");
        token.map(|token| command.env("REELMILL_TOKEN", token));
        run(&mut command)
    };
    let (plain, secured) = (format!("http://{}", site.grpc), format!("https://{}", site.grpc));
    let deaf = speaks_no_tls()?;
    let wrong = format!("reelmill_{}", "0".repeat(64));
    for (coordinator, token, code, says) in [
        (plain.as_str(), None, 5, "this port speaks TLS: begin the address with https://"),
        (&format!("https://{deaf}"), None, 5, "this port does not speak TLS: begin the address with http://"),
        (&secured, None, 2, "REELMILL_TOKEN"),
        (&secured, Some(wrong.as_str()), 2, "not known"),
        ("http://films.example:7070", Some(token), 2, "is not sent to"),
    ] {
        let done = list(coordinator, token)?;
        assert_eq!(done.code(), code, "{coordinator}: {}", done.stderr);
        assert!(done.stderr.contains(says), "{says:?} in {:?}", done.stderr);
        assert!(!done.stderr.contains(token.unwrap_or("reelmill_0")), "{}", done.stderr);
    }
    let fleet = run(&mut site.client(token, &["workers", "list"])?)?;
    assert!(fleet.code() == 2 && fleet.stderr.contains("operate is needed"), "{}", fleet.stderr);
    let elsewhere = film.replace("/films/studio/", "/films/");
    let refused = run(&mut site.client(token, &["submit", &elsewhere])?)?;
    assert_eq!(refused.code(), 3, "{}", refused.stderr);
    let other_ca = site.path("cert.pem").display().to_string();
    let mut untrusting =
        reelmill::command(&["jobs", "list", "--coordinator", &secured, "--tls-ca", &other_ca])?;
    let done = run(&mut untrusting)?;
    assert_eq!(done.code(), 5, "{}", done.stderr);
    Ok(())
}

/// A port that answers in HTTP whatever is said.
fn speaks_no_tls() -> Result<String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut some = [0; 512];
            // a client that goes is no matter
            let _ =
                stream.read(&mut some).and_then(|_| stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
        }
    });
    Ok(address)
}

#[test]
fn other_machines_are_served_with_tls_and_tokens_only() -> Result<()> {
    let site = Site::new()?;
    let (data, cert, key) = (site.text("data"), site.text("cert.pem"), site.text("key.pem"));
    let open = ["coordinator", "--grpc", "0.0.0.0:0", "--http", "127.0.0.1:0", "--data", &data];
    for (more, says) in [
        (&[][..], "--tls-cert, --tls-key and --access are missing"),
        (&["--tls-cert", &cert, "--tls-key", &key][..], "--access is missing"),
    ] {
        let done = run(&mut reelmill::command(&[&open, more].concat())?)?;
        assert_eq!(done.code(), 2, "{}", done.stderr);
        assert!(done.stderr.contains(says) && done.stderr.contains("--insecure"), "{}", done.stderr);
    }
    Ok(())
}
