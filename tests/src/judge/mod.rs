//! The judge of a package: reads it as a player would and names everything that is wrong with it.
//!
//! It knows the film only through [`Expected`], and the package only through its files. A package is good when
//! [`judge`] finds nothing. That the judge itself can see is proved by `tests/tests/sabotage.rs`.

mod manifests;
mod picture;
mod sound;
mod structure;

pub use sound::{decode, packets};

use crate::film::Expected;
use crate::marks::Reading;
use crate::package::Package;
use anyhow::Result;
use reelmill_common::Sha256;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// What may be wrong with a package. Each fault has its own name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Check {
    /// A file that a playlist names does not exist or is no CMAF segment.
    SegmentExists,
    /// Every playlist is VOD, ended, and free of discontinuities.
    PlaylistForm,
    /// EXTINF, rounded, is at most the one target duration.
    TargetDuration,
    /// EXTINF is the difference of decode times.
    Extinf,
    /// Each segment begins where the one before ends.
    DecodeTimeline,
    /// Each video segment starts with an IDR picture that is shown first.
    SegmentStart,
    /// Segments begin at the same times in every video rendition.
    SameBoundaries,
    /// Video and audio end together.
    EndsTogether,
    /// BANDWIDTH and AVERAGE-BANDWIDTH are what the files measure.
    Bandwidth,
    /// The master playlist says what players need and what is true.
    MasterAttributes,
    /// I-frame playlists point at IDR pictures.
    IFrames,
    /// The MPD has the form that its standard asks for.
    MpdForm,
    /// The MPD names the same segments with the same times.
    MpdTimeline,
    /// The decoder has nothing to complain about.
    DecodesCleanly,
    /// As many frames as the film has.
    FrameCount,
    /// Each frame once, in its place.
    FrameOrder,
    /// Each frame at its time.
    FrameTime,
    /// The colours are the film's.
    Colours,
    /// As many audio packets as the sound needs.
    AudioPackets,
    /// Every mark in the sound at its sample.
    AudioLag,
    /// No click, no hole, no noise.
    AudioContinuity,
}

/// One fault of one rendition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What is wrong.
    pub check: Check,
    /// Where.
    pub place: String,
    /// With which numbers.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in {}: {}", self.check, self.place, self.detail)
    }
}

/// Collects findings.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn expect(&mut self, holds: bool, check: Check, place: &str, detail: impl FnOnce() -> String) {
        if !holds {
            self.0.push(Finding { check, place: place.to_owned(), detail: detail() });
        }
    }
}

/// Judges packages one after the other. What it has decoded it knows by its bytes: a rendition that is in several
/// packages is decoded once, and judged each time.
#[derive(Default)]
pub struct Judge {
    /// What was seen, or why it cannot be decoded, by the file it was decoded from.
    seen: BTreeMap<Sha256, Result<Reading, String>>,
    /// Samples of all channels, by the stream they were decoded from.
    heard: BTreeMap<Sha256, Vec<u8>>,
}

impl Judge {
    /// Everything that is wrong with a package of the film that `expected` describes.
    pub fn judge(&mut self, dir: &Path, expected: &Expected) -> Result<Vec<Finding>> {
        let package = Package::load(dir)?;
        let mut found = structure_of(&package)?;
        // Pictures and sound of a package with missing or mixed-up files would only say the same again, but they are
        // judged all the same: a reader of the report wants to know what a viewer sees.
        for rendition in package.video() {
            picture::check(rendition, expected, &mut self.seen, &mut found)?;
        }
        let Some(sound) = &expected.sound else { return Ok(found.0) };
        for rendition in package.audio() {
            sound::check(rendition, sound, &mut self.heard, &mut found)?;
        }
        let named = package.audio().count();
        found.expect(named == 1, Check::MasterAttributes, "master.m3u8", || {
            format!("the film has one track of sound, the package names {named}")
        });
        Ok(found.0)
    }
}

/// Everything that is wrong with one package.
pub fn judge(dir: &Path, expected: &Expected) -> Result<Vec<Finding>> {
    Judge::default().judge(dir, expected)
}

/// Everything that is wrong with a package in itself, whatever the film.
pub fn structure(package: &Package) -> Result<Vec<Finding>> {
    Ok(structure_of(package)?.0)
}

fn structure_of(package: &Package) -> Result<Findings> {
    let mut found = Findings::default();
    for rendition in &package.renditions {
        structure::check_rendition(rendition, &mut found);
    }
    structure::check_together(package, &mut found);
    manifests::check_master(package, &mut found);
    manifests::check_iframes(package, &mut found)?;
    manifests::check_mpd(package, &mut found)?;
    Ok(found)
}
