//! Reads what the wrapper `ffmpeg` noted: which encodes were started, and how often.

use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Names of the notes taken so far.
pub(crate) fn noted(log: &Path) -> Result<BTreeSet<String>> {
    let entries = std::fs::read_dir(log)?;
    entries.map(|e| Ok(e?.file_name().to_string_lossy().into_owned())).collect()
}

/// How often each encode was started, but for the notes in `before`. Call it when nothing runs any more: a note that is
/// being taken would be read in half.
pub(crate) fn started(log: &Path, before: &BTreeSet<String>) -> Result<BTreeMap<String, u32>> {
    let mut times = BTreeMap::new();
    for name in noted(log)?.difference(before) {
        if let Some(encode) = encode(&std::fs::read_to_string(log.join(name))?) {
            *times.entry(encode).or_default() += 1;
        }
    }
    Ok(times)
}

/// What an ffmpeg command encodes: a range of source ticks of the picture, the sound, or the clip of the analysis.
fn encode(arguments: &str) -> Option<String> {
    let after = |marker: &str| arguments.split_once(marker).map(|(_, rest)| rest);
    // an audit decodes the same ranges, and encodes nothing
    if let Some(range) = after("trim=start_pts=").filter(|_| arguments.contains("libx264")) {
        let (start, rest) = range.split_once(":end_pts=")?;
        let end: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '-').collect();
        return Some(video(start, &end));
    }
    if after("-c:a aac").is_some() && arguments.contains("film.mp4") {
        return Some(SOUND.to_owned());
    }
    arguments.contains("color=color=gray").then(|| ANALYSIS.to_owned())
}

/// The name of a picture's encode.
pub(crate) fn video(start: impl std::fmt::Display, end: impl std::fmt::Display) -> String {
    format!("video {start}..{end}")
}

/// The name of the sound's encode: there is one chunk of it.
pub(crate) const SOUND: &str = "sound";
/// The name of the analysis's encode.
pub(crate) const ANALYSIS: &str = "analysis";
