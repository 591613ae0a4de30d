//! Nothing is lost: real processes, real encodes, killed at every effect and at random moments.
//!
//! Two coordinators on one etcd lose the one that leads ([`takeover`]). In all other tests
//! a coordinator and a worker of their own take a film of twelve chunks to its package; one of them is killed on the
//! way and started again. What must hold, and is looked at from outside:
//! - media and manifests are byte for byte those of an undisturbed run;
//! - no chunk that was committed before the kill is encoded again. What was committed is read from a copy of the state
//!   directory taken at the kill; what is encoded, from a wrapper `ffmpeg` on PATH that notes its arguments.
//!
//! By default one effect of each kind is tried on either side, and a few random moments; `REELMILL_SOAK=1` (`make soak`)
//! tries every effect, before and after it, and twenty random moments a side. This module must not sleep: it waits for
//! processes, files and answers with deadlines.

mod again;
mod bench;
mod case;
mod cluster;
mod encodes;
#[path = "../../../coordinator/src/state/etcd/server.rs"]
#[allow(dead_code, reason = "only a part of it is needed here")]
mod etcd_server;
mod state;
mod takeover;

use bench::Bench;
use case::{Kill, Moment, Side, Tally};
use reelmill_tests::reelmill;
use reelmill_tests::tool;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Of a twelve-chunk job, this many are pictures; the sound is one more, the analysis another encode.
const CHUNKS: usize = 12;

fn soak() -> bool {
    std::env::var_os("REELMILL_SOAK").is_some_and(|v| v == "1")
}

/// Numbers that are the same in every run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below
    }

    /// How many encodes a process starts before the next of `count` kills: three, so that one of them has ended (it has two
    /// slots), or more, and with few kills no more than leave something to kill, however fast the machine is meanwhile.
    fn encodes_of(&mut self, count: usize) -> usize {
        match CHUNKS / count {
            0..=2 => 1 + self.roll(3) as usize,
            most => 3 + self.roll(most as u64 - 2) as usize,
        }
    }
}

/// Every effect before and after; or one of each kind: of every other kind the first one before, of the rest the middle
/// one after.
fn moments(effects: &[String]) -> Vec<Moment> {
    if soak() {
        let all = 1..=effects.len() as u64;
        return all.flat_map(|k| [false, true].map(|after| Moment::Effect(k, after))).collect();
    }
    let mut by_kind: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (i, kind) in effects.iter().enumerate() {
        by_kind.entry(kind).or_default().push(i as u64 + 1);
    }
    let one = |(i, at): (usize, &Vec<u64>)| match i % 2 {
        0 => Moment::Effect(at[0], false),
        _ => Moment::Effect(at[at.len() / 2], true),
    };
    by_kind.values().enumerate().map(one).collect()
}

fn at_every_effect(side: Side) {
    let bench = Bench::new();
    let reference = case::undisturbed(&bench);
    let effects = &reference.effects[&side];
    let kinds: BTreeSet<&String> = effects.iter().collect();
    let kills: Vec<Kill> = moments(effects).into_iter().map(|at| Kill { side, at }).collect();
    let tally = case::run_all(&bench, &reference, &kills);
    println!("{side:?}: {} effects of {} kinds {kinds:?}; {tally}", effects.len(), kinds.len());
    assert!(tally.killed * 3 >= kills.len() * 2, "the switch hardly ever took effect: {tally}");
}

fn at_random_moments(side: Side, seed: u64) {
    let bench = Bench::new();
    let reference = case::undisturbed(&bench);
    let mut dice = Dice(seed);
    let wall_ms = reference.wall.as_millis() as u64;
    let count = if soak() { 20 } else { 2 };
    let kills: Vec<Kill> = (0..count)
        .map(|_| Kill { side, at: Moment::Elapsed(Duration::from_millis(dice.roll(wall_ms))) })
        .collect();
    let tally = case::run_all(&bench, &reference, &kills);
    println!("{side:?} at {count} random moments: {tally}");
}

#[test]
fn coordinator_killed_at_its_effects() {
    at_every_effect(Side::Coordinator);
}

#[test]
fn worker_killed_at_its_effects() {
    at_every_effect(Side::Worker);
}

#[test]
fn coordinator_killed_at_random_moments() {
    at_random_moments(Side::Coordinator, 0x5EED);
}

#[test]
fn worker_killed_at_random_moments() {
    at_random_moments(Side::Worker, 0xFEED);
}

/// One process with both sides, killed again and again on the way of two jobs.
#[test]
fn serve_killed_again_and_again() {
    let bench = Bench::new();
    let reference = case::undisturbed(&bench);
    let tally = again::serve_with_kills(&bench, &reference, if soak() { 20 } else { 4 });
    println!("serve: {tally}");
    assert!(tally.killed >= 3 && tally.committed > 0, "{tally}");
}

/// The same command goes on where it was killed.
#[test]
fn transcode_killed_and_started_again() {
    let bench = Bench::new();
    let reference = case::undisturbed(&bench);
    let tally = again::transcode_with_kills(&bench, &reference, if soak() { 20 } else { 3 });
    println!("transcode: {tally}");
    assert!(tally.killed >= 2 && tally.committed > 0, "{tally}");
}

/// A run over an older package, killed on the way, leaves the older one whole until its own roots are there.
#[test]
fn an_older_package_plays_until_the_new_roots_replace_it() {
    let bench = Bench::new();
    let (out, log) = bench.room("over").expect("a room");
    let run = |preset: &str| {
        let mut command = bench.command(&["transcode"]).expect("command");
        command.arg(&bench.film).arg("--out").arg(&out).args(bench.encoding(preset)).args(["--workers", "2"]);
        command
    };
    tool::run(&mut run("superfast"), case::PATIENCE).expect("runs").success().expect("the older package");
    let older = case::files(&out).expect("the older package");
    let kept = out.with_file_name("kept");
    copy(&out, &kept);
    let roots = ["master.m3u8", "manifest.mpd"];
    let kinds = ["put_media", "put_playlist", "put_root"];
    let effects = case::effects_of(&mut run("ultrafast")).expect("the newer package");
    let newer = case::files(&out).expect("the newer package");
    assert!(roots.iter().all(|r| older[*r] != newer[*r]), "the two packages differ");

    for kind in kinds {
        let side = if kind == "put_media" { "worker" } else { "coordinator" };
        let at: Vec<usize> = (1..=effects[side].len()).filter(|k| effects[side][k - 1] == kind).collect();
        assert!(!at.is_empty(), "{kind} is among {effects:?}");
        std::fs::remove_dir_all(&out).expect("emptied");
        copy(&kept, &out);
        let mut killed = run("ultrafast");
        // the coordinator's effects differ by a few between two runs: it is told the kind
        let at = if side == "coordinator" { kind.to_owned() } else { at[0].to_string() };
        killed.env("REELMILL_ABORT_AT_EFFECT", format!("{side}:{at}"));
        let done = tool::run(&mut killed, case::PATIENCE).expect("ends");
        assert_eq!(done.code(), -1, "aborted before the first {kind}: {}", done.stderr);
        let now = case::files(&out).expect("files");
        for (name, hash) in &older {
            let is_playlist_of_newer = newer.get(name).is_some_and(|n| n == &now[name]);
            assert!(
                now.get(name) == Some(hash) || is_playlist_of_newer,
                "{kind}: {name} of the older package"
            );
        }
        for root in roots {
            assert_eq!(now[root], older[root], "{kind}: {root} is the older one's");
        }
        named_files_are_there(&out);
        tool::run(&mut run("ultrafast"), case::PATIENCE).expect("runs").success().expect("goes on");
        let now = case::files(&out).expect("files");
        assert!(
            newer.iter().all(|(name, hash)| now.get(name) == Some(hash)),
            "{kind}: the newer package is whole"
        );
        named_files_are_there(&out);
    }
    drop(log);
}

fn copy(from: &Path, to: &Path) {
    tool::run(Command::new("cp").arg("-a").arg(from).arg(to), case::PATIENCE)
        .expect("runs")
        .success()
        .expect("copied");
}

/// Every playlist that the root names is there, and so is every file that those name.
fn named_files_are_there(package: &Path) {
    let read =
        |path: &Path| std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let uris = |text: &str| -> Vec<String> {
        let attribute = text.split("URI=\"").skip(1).filter_map(|t| t.split('"').next());
        let lines = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
        attribute.chain(lines).map(str::to_owned).collect()
    };
    let playlists = uris(&read(&package.join("master.m3u8")));
    assert!(playlists.len() >= 2, "{playlists:?}");
    for playlist in playlists {
        let path = package.join(&playlist);
        let folder = path.parent().expect("in a folder");
        let media = uris(&read(&path));
        assert!(media.len() > CHUNKS, "{playlist}: {media:?}");
        for uri in media {
            assert!(folder.join(&uri).is_file(), "{playlist} names {uri}");
        }
    }
}

/// The wrapper and the reader of its notes do what the other tests trust them to do.
#[test]
fn the_undisturbed_run_encodes_every_chunk_once() {
    let bench = Bench::new();
    let reference = case::undisturbed(&bench);
    let pictures = reference.encodes.keys().filter(|k| k.starts_with("video ")).count();
    assert_eq!(pictures, CHUNKS, "{:?}", reference.encodes);
    assert_eq!(reference.encodes.len(), CHUNKS + 2, "{:?}", reference.encodes);
    assert!(reference.encodes.values().all(|times| *times == 1), "{:?}", reference.encodes);
    for side in [Side::Coordinator, Side::Worker] {
        assert!(reference.effects[&side].len() > 3 * CHUNKS, "{:?}", reference.effects);
    }
    assert!(Tally::default().to_string().contains("0 killed"));
    assert!(reelmill::binary().is_ok());
}
