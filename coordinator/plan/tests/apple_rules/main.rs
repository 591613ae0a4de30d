//! The rules that players and validators hold a package to, one case each, named after the rule: RFC 8216, Apple's
//! HLS authoring specification (section numbers as of 2025) and the DASH-IF interoperability points.
//!
//! Every playlist is read by the tests' own reader of lines, so that a rule is checked on what was written and not on
//! what a lenient parser made of it; one case has the crate m3u8-rs read all of it, too.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod dash;
#[path = "../films/mod.rs"]
mod films;
#[path = "../planned/mod.rs"]
mod planned;
mod playlists;
mod root;

use reelmill_common::job::JobOptions;
use reelmill_common::plan::Plan;
use reelmill_plan::manifest::{self, ManifestFile, PackageFacts};
use std::collections::BTreeMap;

/// A package of a film, as text.
struct Package {
    name: &'static str,
    plan: Plan,
    facts: PackageFacts,
    files: BTreeMap<String, String>,
    order: Vec<String>,
}

fn packages() -> Vec<Package> {
    films::all().into_iter().map(|(name, index)| package(name, &index)).collect()
}

fn package(name: &'static str, index: &reelmill_common::index::SourceIndex) -> Package {
    let plan = planned::plan(index, &JobOptions::default(), 2).unwrap();
    let facts = planned::facts(&plan);
    let written = manifest::write(&plan, &facts).unwrap();
    let order = written.iter().map(|f| f.name.clone()).collect();
    let text = |f: ManifestFile| (f.name, String::from_utf8(f.bytes).unwrap());
    Package { name, plan, facts, files: written.into_iter().map(text).collect(), order }
}

impl Package {
    fn master(&self) -> &str {
        &self.files["master.m3u8"]
    }

    fn mpd(&self) -> &str {
        &self.files["manifest.mpd"]
    }

    fn playlists(&self) -> impl Iterator<Item = (&String, &String)> {
        self.files.iter().filter(|(name, _)| name.ends_with("playlist.m3u8"))
    }

    fn iframe_playlists(&self) -> impl Iterator<Item = (&String, &String)> {
        self.files.iter().filter(|(name, _)| name.ends_with("iframes.m3u8"))
    }

    /// Variants of the root: attributes and URI.
    fn variants(&self) -> Vec<(BTreeMap<String, String>, String)> {
        let lines: Vec<_> = self.master().lines().collect();
        lines
            .windows(2)
            .filter_map(|w| Some((attributes(w[0].strip_prefix("#EXT-X-STREAM-INF:")?), w[1].to_owned())))
            .collect()
    }

    fn media(&self) -> Vec<BTreeMap<String, String>> {
        tagged(self.master(), "#EXT-X-MEDIA:")
    }
}

fn tagged(text: &str, tag: &str) -> Vec<BTreeMap<String, String>> {
    text.lines().filter_map(|l| l.strip_prefix(tag)).map(attributes).collect()
}

/// An attribute list (RFC 8216, 4.2); quotes are kept, so that a rule can ask for them.
fn attributes(mut list: &str) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    while !list.is_empty() {
        let (name, rest) = list.split_once('=').unwrap();
        let end = match rest.strip_prefix('"') {
            Some(quoted) => quoted.find('"').unwrap() + 2,
            None => rest.find(',').unwrap_or(rest.len()),
        };
        assert!(out.insert(name.to_owned(), rest[..end].to_owned()).is_none(), "{name} twice");
        list = rest[end..].strip_prefix(',').unwrap_or(&rest[end..]);
    }
    out
}

fn extinfs(playlist: &str) -> Vec<i64> {
    playlist.lines().filter_map(|l| l.strip_prefix("#EXTINF:")).map(planned::micros).collect()
}

fn value(playlist: &str, tag: &str) -> Option<i64> {
    playlist.lines().find_map(|l| l.strip_prefix(tag)).map(|v| v.parse().unwrap())
}

fn bandwidth(of: &BTreeMap<String, String>, name: &str) -> u64 {
    of[name].parse().unwrap()
}
