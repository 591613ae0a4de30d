//! Real players in a real browser, driven by `tests/players/play.mjs`.

use crate::tool;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The players.
pub const PLAYERS: [&str; 3] = ["hlsjs", "dashjs", "shaka"];

/// What a player reported.
#[derive(Clone, PartialEq, Debug)]
pub struct Seen {
    /// Did it reach the end?
    pub ended: bool,
    /// Errors of the player, the media element, the page and the server.
    pub errors: Vec<String>,
    /// Media time of the very first picture, in seconds.
    pub first: f64,
    /// Ranges of time in the buffer at the end, in seconds.
    pub buffered: Vec<(f64, f64)>,
    /// Those of the picture alone.
    pub video: Vec<(f64, f64)>,
    /// Those of the sound alone.
    pub audio: Vec<(f64, f64)>,
    /// Length of the film in seconds, as the player has it.
    pub duration: f64,
    /// Heights of the rungs it offers.
    pub rungs: Vec<u64>,
    /// Heights it was switched to and showed.
    pub heights: Vec<u64>,
    /// How many seeks ended in moving pictures.
    pub seeks: usize,
    /// Frames shown or dropped while playing.
    pub frames: u64,
    /// Frames that did not decode.
    pub corrupted: u64,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("players")
}

/// Ranges of seconds; what is no number becomes -1, which no range can hold.
fn ranges(json: &serde_json::Value) -> Vec<(f64, f64)> {
    let number = |v: &serde_json::Value| v.as_f64().unwrap_or(-1.0);
    json.as_array().into_iter().flatten().map(|r| (number(&r[0]), number(&r[1]))).collect()
}

/// Plays the package in `dir`.
pub fn play(player: &str, dir: &Path, scenario: &str) -> Result<Seen> {
    let folder = folder();
    ensure!(
        folder.join("node_modules/playwright-core").exists(),
        "the players are not installed: run `make setup`"
    );
    let mut command = Command::new("node");
    command.arg(folder.join("play.mjs")).arg(player).arg(dir).arg(scenario);
    let done = tool::run(&mut command, Duration::from_secs(150))?.success()?;
    let json: serde_json::Value = serde_json::from_slice(&done.stdout).context("the harness's report")?;
    let number = |key: &str| json[key].as_u64().unwrap_or(0);
    let numbers = |key: &str| -> Vec<u64> {
        json[key]
            .as_array()
            .map(|a| a.iter().filter_map(serde_json::Value::as_u64).collect())
            .unwrap_or_default()
    };
    let list = |key: &str| json[key].as_array().cloned().unwrap_or_default();
    Ok(Seen {
        ended: json["ended"].as_bool().unwrap_or(false),
        errors: list("errors").iter().map(|e| e.as_str().unwrap_or_default().to_owned()).collect(),
        first: json["first"].as_f64().unwrap_or(-1.0),
        buffered: ranges(&json["buffered"]),
        video: ranges(&json["tracks"]["video"]),
        audio: ranges(&json["tracks"]["audio"]),
        duration: json["duration"].as_f64().unwrap_or(-1.0),
        rungs: numbers("rungs"),
        heights: numbers("heights"),
        seeks: list("seeks").len(),
        frames: number("frames"),
        corrupted: number("corrupted"),
    })
}

/// What a strict third-party parser (hls-parser) made of the HLS playlists of a package.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Playlists {
    /// Segments of each media playlist, by its path.
    pub media: BTreeMap<String, u64>,
    /// Entries of each I-frame playlist, by its path.
    pub iframes: BTreeMap<String, u64>,
    /// What it refused.
    pub errors: Vec<String>,
}

/// Reads `master.m3u8` of a package and every playlist that it leads to.
pub fn playlists(dir: &Path) -> Result<Playlists> {
    let folder = folder();
    ensure!(folder.join("node_modules/hls-parser").exists(), "hls-parser is not installed: run `make setup`");
    let mut command = Command::new("node");
    command.arg(folder.join("playlists.mjs")).arg(dir);
    let done = tool::run(&mut command, Duration::from_secs(60))?.success()?;
    let json: serde_json::Value =
        serde_json::from_slice(&done.stdout).context("what the parser made of it")?;
    let counts = |key: &str| -> BTreeMap<String, u64> {
        let all = json[key].as_object().into_iter().flatten();
        all.map(|(name, count)| (name.clone(), count.as_u64().unwrap_or(0))).collect()
    };
    let errors = json["errors"].as_array().cloned().unwrap_or_default();
    let errors = errors.iter().map(|e| e.as_str().unwrap_or_default().to_owned()).collect();
    Ok(Playlists { media: counts("media"), iframes: counts("iframes"), errors })
}
