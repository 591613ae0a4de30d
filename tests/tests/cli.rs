//! The command line as its users and their scripts meet it: exit codes, one JSON object a line, and the commands
//! against a running server.

use reelmill_tests::film::{Film, PLAIN};
use reelmill_tests::judge::judge;
use reelmill_tests::package::Package;
use reelmill_tests::reelmill::{self, Server};
use reelmill_tests::tool::{self, Done};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SHORT: Film = Film { name: "short", frames: 96, ..PLAIN };

fn run(arguments: &[&str]) -> Done {
    tool::run(&mut reelmill::command(arguments).expect("command"), Duration::from_secs(60)).expect("runs")
}

/// Standard output as JSON objects, one a line, and nothing else.
fn objects(done: &Done) -> Vec<Value> {
    done.text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in: {line}")))
        .inspect(|value: &Value| assert!(value.is_object(), "{value}"))
        .collect()
}

#[test]
fn help_names_every_command_and_exit_code() {
    let help = run(&["--help"]);
    assert_eq!(help.code(), 0);
    let commands =
        ["transcode", "serve", "coordinator", "worker", "submit", "jobs", "workers", "token", "doctor"];
    for word in commands.into_iter().chain(["Exit codes", "130", "seamless HLS and DASH"]) {
        assert!(help.text().contains(word), "{word}");
    }
    assert!(run(&["--version"]).text().starts_with("reelmill "));
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [
        &["no-such-command"][..],
        &["transcode"],
        &["transcode", "film.mp4"],
        &["transcode", "film.mp4", "--out", "o", "--segment", "four"],
        &["transcode", "film.mp4", "--out", "o", "--segments", "loose"],
        &["jobs", "show"],
        &["serve"],
    ] {
        let done = run(arguments);
        assert_eq!(done.code(), 2, "{arguments:?}: {}", done.stderr);
        assert!(!done.stderr.trim().is_empty(), "{arguments:?}");
    }
}

/// Refused before anything is started: the film is not there, and nobody listens.
#[test]
fn what_is_out_of_range_exits_with_2_and_says_why() {
    let dir = tempfile::tempdir().expect("scratch");
    let out = dir.path().join("out");
    let wrong = [
        (["--segment", "25s"], "1000 to 20000"),
        (["--segment", "500ms"], "1000 to 20000"),
        (["--chunk", "0s"], "1 or more"),
        (["--chunk", "100days"], "longer than any film"),
        (["--preset", "warp"], "balanced"),
        (["--ladder", "999p"], "1080p"),
        (["--ladder", "720p,720p"], "twice"),
    ];
    for (option, says) in wrong {
        let out = out.to_str().expect("utf-8");
        for command in [&["transcode", "no.mp4", "--out", out][..], &["submit", "no.mp4"]] {
            let done = run(&[command, &option].concat());
            assert_eq!(done.code(), 2, "{command:?} {option:?}: {}", done.stderr);
            assert!(done.stderr.contains(says), "{says:?} for {option:?} in {}", done.stderr);
        }
    }
    let labelled = run(&["submit", "no.mp4", "--label", "Team=a"]);
    assert_eq!(labelled.code(), 2, "{}", labelled.stderr);
    assert!(!out.exists(), "nothing is left behind");
}

#[test]
fn an_unreachable_coordinator_exits_with_5() {
    let nobody = reelmill::own_address().expect("address");
    let refused = |arguments: &[&str]| {
        let done = run(&[arguments, &["--coordinator", &format!("http://{nobody}")]].concat());
        assert_eq!(done.code(), 5, "{arguments:?}: {}", done.stderr);
        assert!(done.stderr.contains(&nobody), "{}", done.stderr);
    };
    // at once: each waits before it asks again
    std::thread::scope(|scope| {
        for arguments in [&["jobs", "list"][..], &["submit", "film.mp4"], &["jobs", "cancel", "abc"]] {
            scope.spawn(move || refused(arguments));
        }
    });
}

#[test]
fn an_open_address_without_protection_is_refused() {
    let dir = tempfile::tempdir().expect("scratch");
    let data = dir.path().join("data");
    let port = reelmill::free_port().expect("port");
    let mut command =
        reelmill::command(&["serve", "--grpc", &format!("0.0.0.0:{port}"), "--data"]).expect("command");
    let done = tool::run(command.arg(&data), Duration::from_secs(30)).expect("ends by itself");
    assert_eq!(done.code(), 2, "{}", done.stderr);
    assert!(done.stderr.contains("--insecure"), "{}", done.stderr);
}

/// They look at the same machine and do not find each other there; nor is anything left of them.
#[test]
fn two_doctors_at_once_find_the_same() {
    let place = tempfile::tempdir().expect("a place for temporary files");
    let doctor = || {
        let mut command = reelmill::command(&["doctor", "--json"]).expect("command");
        tool::run(command.env("TMPDIR", place.path()), Duration::from_secs(60)).expect("runs")
    };
    let (one, other) = std::thread::scope(|scope| {
        let one = scope.spawn(doctor);
        (doctor(), one.join().expect("it ends"))
    });
    for done in [one, other] {
        assert_eq!(done.code(), 0, "{}", done.text());
    }
    assert_eq!(all_below(place.path()), [PathBuf::new()].into(), "an empty folder is left");
}

#[test]
fn doctor_knows_the_encoders() {
    let done = run(&["doctor", "--json"]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let all = objects(&done);
    assert!(all.iter().any(|o| o.to_string().contains("ffmpeg")), "{all:?}");
    let sandbox: Vec<_> = all.iter().filter(|o| o["what"] == "sandbox").collect();
    assert_eq!(sandbox.len(), 1, "{all:?}");
    let level = sandbox[0]["text"].as_str().and_then(|text| text.split(';').next());
    let is_full = sandbox[0]["verdict"] == "ok";
    assert!(level.is_some_and(|l| ["full", "landlock", "namespace", "basic"].contains(&l)), "{sandbox:?}");
    assert_eq!(level == Some("full"), is_full, "{sandbox:?}");
}

#[test]
fn a_film_through_transcode_reports_as_json() {
    let dir = tempfile::tempdir().expect("scratch");
    let film = SHORT.make(dir.path()).expect("film").path;
    let out = dir.path().join("out");
    let done = reelmill::transcode(&film, &out, &["--preset", "speed", "--json"]).expect("runs");
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let all = objects(&done);
    assert!(all.iter().any(|o| o["state"] == "published" && o["exit_code"] == 0), "{all:?}");
    let summary = &all.last().expect("a line")["summary"];
    assert_eq!(summary["package"], out.to_str().expect("utf-8"), "{summary}");
    assert!(summary["video"].as_array().is_some_and(|rungs| !rungs.is_empty()), "{summary}");
    let report: Value =
        serde_json::from_slice(&std::fs::read(out.join("report.json")).expect("report.json")).expect("JSON");
    assert!(report.is_object());
    assert!(!out.join(".reelmill").exists(), "the state of a finished run is removed");
    let names: Vec<_> = std::fs::read_dir(&out).expect("out").flatten().map(|e| e.file_name()).collect();
    for root in ["master.m3u8", "manifest.mpd", "report.json"] {
        assert!(names.iter().any(|n| n == root), "{root} is not in {names:?}");
    }
}

/// Every media file of a package by its path within, with its content.
fn media(out: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for folder in std::fs::read_dir(out).expect("package").map(|e| e.expect("entry").path()) {
        let Ok(files) = std::fs::read_dir(&folder) else { continue };
        for file in files.map(|e| e.expect("entry").path()) {
            if file.extension().is_some_and(|e| e == "m4s" || e == "mp4") {
                found.insert(
                    file.strip_prefix(out).expect("within").to_owned(),
                    std::fs::read(&file).expect("reads"),
                );
            }
        }
    }
    found
}

#[test]
fn a_second_run_cut_otherwise_takes_over_the_first_ones_segments() {
    let dir = tempfile::tempdir().expect("scratch");
    let film = Film { name: "again", ..PLAIN };
    let made = film.make(dir.path()).expect("film");
    let out = dir.path().join("out");
    let transcode = |chunk: &str| {
        let wish = ["--preset", "speed", "--ladder", "240p", "--chunk", chunk, "--json"];
        reelmill::transcode(&made.path, &out, &wish).expect("runs")
    };
    let roots = || ["master.m3u8", "manifest.mpd"].map(|root| std::fs::read(out.join(root)).expect(root));
    let done = transcode("4s");
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let (first, old) = (media(&out), roots());

    // Whoever reads meanwhile gets the old package or the new one, and every file that either of them names.
    let (done, seen) = std::thread::scope(|scope| {
        let second = scope.spawn(|| transcode("8s"));
        let mut seen = BTreeSet::new();
        while !second.is_finished() {
            seen.extend(roots());
            Package::load(&out).expect("a whole package at any time");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        (second.join().expect("joins"), seen)
    });
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let new = roots();
    assert!(seen.iter().all(|text| old.contains(text) || new.contains(text)), "a root of neither package");
    assert!(seen.contains(&old[0]), "the old package is there until the new one is");

    let second = media(&out);
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>(), "the same files");
    assert!(first == second, "a file that is there is never overwritten");
    let found = judge(&out, &film.expected()).expect("judged");
    assert!(found.is_empty(), "{}", found.iter().map(|f| format!("{f}\n")).collect::<String>());
    // In a chunk of two segments the second one comes out otherwise than in a chunk of its own.
    let report = std::fs::read_to_string(out.join("report.json")).expect("report.json");
    assert!(report.contains("they were adopted"), "{report}");
}

/// Every file below a directory, hidden ones too, and every folder without any.
fn all_below(directory: &Path) -> BTreeSet<PathBuf> {
    let (mut found, mut open) = (BTreeSet::new(), vec![directory.to_path_buf()]);
    while let Some(folder) = open.pop() {
        let entries: Vec<PathBuf> =
            std::fs::read_dir(&folder).expect("folder").map(|e| e.expect("entry").path()).collect();
        let is_empty = entries.is_empty();
        let (folders, files): (Vec<_>, Vec<_>) = entries.into_iter().partition(|p| p.is_dir());
        open.extend(folders);
        found.extend(files.into_iter().chain(is_empty.then_some(folder)));
    }
    found.into_iter().map(|p| p.strip_prefix(directory).expect("below").to_owned()).collect()
}

/// Two runs given up for others leave no file behind once a package is there, not even half of one; what the package
/// shares with them stays. An older package stays, too, for those who still play it.
#[test]
fn runs_given_up_for_another_leave_nothing_beside_the_package() {
    let dir = tempfile::tempdir().expect("scratch");
    let film = Film { name: "given_up", frames: 120, ..PLAIN };
    let made = film.make(dir.path()).expect("film");
    let out = dir.path().join("out");
    let run = |wish: &[&str], dies_at: Option<&str>| {
        let mut command = reelmill::command(&["transcode", "--segment", "1s"]).expect("command");
        command.arg(&made.path).arg("--out").arg(&out).args(wish);
        if let Some(effect) = dies_at {
            command.env("REELMILL_ABORT_AT_EFFECT", effect);
        }
        tool::run(&mut command, Duration::from_secs(120)).expect("runs")
    };
    // effects of the worker, of some eighty: some chunks are done then, and not all
    let on_the_way = Some("worker:60");
    let done = run(&["--preset", "speed"], None);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let older = all_below(&out);

    assert_eq!(run(&["--preset", "superfast", "--chunk", "1s"], on_the_way).code(), -1);
    assert_eq!(run(&["--preset", "ultrafast", "--chunk", "1s"], on_the_way).code(), -1);
    let given_up = all_below(&out);
    // what a killed upload leaves
    let folder_of = |files: &BTreeSet<PathBuf>, but: &BTreeSet<PathBuf>| -> BTreeSet<PathBuf> {
        let folders = files.difference(but).filter(|p| p.extension().is_some_and(|e| e == "m4s"));
        let folders = folders.filter(|p| !p.starts_with(".reelmill"));
        folders.filter_map(|p| p.parent().map(Path::to_owned)).collect()
    };
    let orphans = folder_of(&given_up, &older);
    assert!(orphans.len() >= 2, "both runs have written pictures: {orphans:?}");
    for folder in &orphans {
        // a name that no upload can have taken yet: one that died just after its hard link left "#1" as a second name of
        // the whole segment, and what is written to the one is written to the other
        let half = out.join(folder).join("000001.m4s#9");
        std::fs::File::create_new(half).and_then(|mut f| f.write_all(b"half")).expect("a half-written file");
    }

    let done = run(&["--preset", "ultrafast", "--chunk", "2s"], None);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let all = all_below(&out);
    let newer = folder_of(&all, &older);
    let root = std::fs::read_to_string(out.join("master.m3u8")).expect("the root");
    let is_named = |folder: &&PathBuf| root.contains(folder.to_str().expect("UTF-8"));
    assert!(newer.iter().all(|f| is_named(&f)), "only what the root names was added: {all:?}");
    assert!(orphans.iter().any(|f| is_named(&f)), "it took over what the second run had made: {orphans:?}");
    assert!(orphans.iter().any(|f| !is_named(&f)), "what the first one had made went: {orphans:?}");
    let new_files: Vec<_> =
        all.difference(&older).filter(|p| !p.parent().is_some_and(|f| newer.contains(f))).collect();
    assert!(new_files.is_empty(), "{new_files:?}");
    assert!(all.iter().all(|p| !p.to_string_lossy().contains('#')), "{all:?}");
    assert!(older.is_subset(&all), "whoever plays the older package goes on");
    let found = judge(&out, &film.expected()).expect("judged");
    assert!(found.is_empty(), "{}", found.iter().map(|f| format!("{f}\n")).collect::<String>());
}

/// Milliseconds of a log line's time within its day.
fn time_of_day_ms(line: &Value) -> u64 {
    let time = line["timestamp"].as_str().and_then(|t| t.split_once('T')).expect("a time").1;
    let mut parts = time.trim_end_matches('Z').split([':', '.']).map(|p| p.get(..3).unwrap_or(p));
    let mut next = || parts.next().and_then(|p| p.parse::<u64>().ok()).expect("a number");
    (next() * 3_600 + next() * 60 + next()) * 1_000 + next()
}

/// Nobody but the worker that died with the first command can have held its chunks: the second one waits for nobody.
#[test]
fn a_killed_transcode_goes_on_without_waiting_for_claims() {
    let dir = tempfile::tempdir().expect("scratch");
    let film = SHORT.make(dir.path()).expect("film").path;
    let out = dir.path().join("out");
    let command = || {
        let mut command = reelmill::command(&["transcode", "--preset", "ultrafast"]).expect("command");
        command.args(["--segment", "1s", "--chunk", "1s", "--log-json"]);
        command.args(["--log", "reelmill_coordinator=info,reelmill_effects=debug"]);
        command.arg(&film).arg("--out").arg(&out);
        command
    };
    let mut killed = command();
    // index, analysis and two chunks are settled: wherever the workers are by then, the plan is made and chunks are left
    killed.env("REELMILL_ABORT_AT_EFFECT", "coordinator:send_settled:4+");
    assert_eq!(tool::run(&mut killed, Duration::from_secs(120)).expect("dies").code(), -1);
    let done = tool::run(&mut command(), Duration::from_secs(120)).expect("runs");
    assert_eq!(done.code(), 0, "{}", done.stderr);

    let lines: Vec<Value> = done.stderr.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    let find = |name: &str, is: &str| {
        let at = lines.iter().position(|l| l["fields"][name] == is);
        at.unwrap_or_else(|| panic!("no {name} {is:?} in {}", done.stderr))
    };
    let loaded = &lines[find("message", "loaded")]["fields"];
    assert!(loaded["plans"] == 1, "it went on from a plan: {loaded}");
    let begun = find("message", "the term has begun");
    assert_eq!(lines[begun]["fields"]["waits_ms"], 0);
    let (connected, leased) = (find("message", "worker connected"), find("kind", "lease"));
    assert!(begun < connected && connected < leased);
    // from when the worker has come: how long its tools take to be tried on a busy machine is another matter
    let took_ms =
        (time_of_day_ms(&lines[leased]) + 86_400_000 - time_of_day_ms(&lines[connected])) % 86_400_000;
    assert!(
        took_ms < 3_000,
        "a wait for claims would be a third of 15 s; its first lease came after {took_ms} ms"
    );
}

/// What `serve` says of its wait for claims when it is started again.
#[test]
fn a_server_waits_for_workers_of_other_processes_and_not_for_its_own() {
    let dir = tempfile::tempdir().expect("scratch");
    let data = dir.path().join("data");
    let says = |text: &str| {
        tool::wait_until(text, Duration::from_secs(60), || {
            let log = std::fs::read_to_string(data.with_extension("log")).unwrap_or_default();
            log.contains(text).then_some(())
        })
        .expect("said");
    };
    let first = Server::start(&data).expect("serves");
    says("worker connected");
    drop(first);
    let second = Server::start(&data).expect("serves again");
    says("waits_ms=0");
    let mut other = reelmill::command(&["worker", "--name", "other", "--slots", "1"]).expect("command");
    other.args(["--coordinator", &format!("http://{}", second.grpc)]).arg("--scratch").arg(dir.path());
    let mut other = other.stderr(std::process::Stdio::null()).spawn().expect("a worker of its own");
    let client = |arguments: &[&str]| {
        tool::run(&mut second.client(arguments).expect("command"), Duration::from_secs(60)).expect("runs")
    };
    tool::wait_until("the other worker is here", Duration::from_secs(60), || {
        client(&["workers", "list", "--json"]).text().contains("\"other\"").then_some(())
    })
    .expect("it comes");
    // that it is here is written before anything that is acknowledged now
    let any = dir.path().join("any.mp4");
    std::fs::write(&any, b"not a film").expect("a file");
    let accepted = client(&["submit", any.to_str().expect("UTF-8")]);
    assert_eq!(accepted.code(), 0, "{}", accepted.stderr);
    drop(second);
    let third = Server::start(&data).expect("serves once more");
    says("waits_ms=5000");
    drop(third);
    other.kill().and_then(|()| other.wait()).expect("the worker is ended");
}

#[test]
fn a_film_through_a_server() {
    let dir = tempfile::tempdir().expect("scratch");
    let film = SHORT.make(dir.path()).expect("film").path;
    let server = Server::start(&dir.path().join("data")).expect("serves");
    let client = |arguments: &[&str]| {
        tool::run(&mut server.client(arguments).expect("command"), Duration::from_secs(120)).expect("runs")
    };
    let film = film.to_str().expect("utf-8");
    let done =
        client(&["submit", film, "--preset", "speed", "--idempotency-key", "one", "--json", "--watch"]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let all = objects(&done);
    let job = all[0]["job_id"].as_str().expect("job_id").to_owned();
    assert_eq!(all.last().expect("a line")["state"], "published", "{all:?}");

    // The same key and request are the same job; another request under it is refused.
    let again = client(&["submit", film, "--preset", "speed", "--idempotency-key", "one", "--json"]);
    assert_eq!(objects(&again)[0]["job_id"], job.as_str());
    let other = client(&["submit", film, "--preset", "quality", "--idempotency-key", "one", "--json"]);
    assert_ne!(other.code(), 0);
    assert!(other.stderr.contains(&job), "{}", other.stderr);

    let shown = objects(&client(&["jobs", "show", &job, "--json"]));
    assert_eq!(
        (&shown[0]["state"], &shown[0]["job_id"]),
        (&Value::from("published"), &Value::from(job.as_str()))
    );
    assert!(objects(&client(&["jobs", "list", "--json"])).iter().any(|o| o["job_id"] == job.as_str()));
    let missing = client(&["jobs", "show", "no-such-job", "--json"]);
    assert_ne!(missing.code(), 0);

    let (status, body) = reelmill::get(&server.http, "/metrics").expect("metrics");
    assert_eq!(status, 200);
    assert!(body.contains("reelmill_output_seconds_total"), "{body}");
    let held = body.lines().filter(|l| l.starts_with("reelmill_worker_sandbox{level=") && l.ends_with(" 1"));
    assert_eq!(held.count(), 1, "one level of the sandbox holds: {body}");
    let (status, page) = reelmill::get(&server.http, &format!("/play/{job}")).expect("player page");
    assert_eq!(status, 200, "{page}");
    assert_eq!(reelmill::get(&server.http, "/healthz").expect("health").0, 200);

    // What cannot be a film is the input's fault, here as in transcode.
    let folder = client(&["submit", dir.path().to_str().expect("UTF-8")]);
    assert_eq!(folder.code(), 3, "{}", folder.stderr);
    assert!(folder.stderr.contains("is a directory"), "{}", folder.stderr);

    let deleted = client(&["jobs", "delete", &job]);
    assert_eq!(deleted.code(), 0);
    assert!(deleted.text().contains("100% ("), "all its chunks were done: {}", deleted.text());
}
