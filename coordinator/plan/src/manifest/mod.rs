//! HLS and DASH manifests over one set of CMAF segments: pure functions of the plan and the sizes of the files made
//! for it. No clock, host or random id goes in, so that a second leader writes identical bytes.
//!
//! The rules kept here are those of RFC 8216, Apple's HLS authoring specification, ISO/IEC 23009-1 and the DASH-IF
//! interoperability points; `tests/apple_rules` names them one by one. Playlists are built line by line into one
//! text each, whose size grows with the segments and nothing else.

mod bandwidth;
mod dash;
mod facts;
mod hls;
mod tracks;
mod xml;

use crate::PlanError;
pub use facts::{PackageFacts, RenditionFacts, SegmentFacts};
use reelmill_common::plan::Plan;

/// Name of the HLS root.
pub const HLS_ROOT: &str = "master.m3u8";
/// Name of the DASH root.
pub const DASH_ROOT: &str = "manifest.mpd";

/// One manifest file of the package.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestFile {
    /// Path within the package: `<folder>/playlist.m3u8`, `<folder>/iframes.m3u8`, `master.m3u8`, `manifest.mpd`.
    pub name: String,
    /// The content, UTF-8.
    pub bytes: Vec<u8>,
}

/// Writes every manifest of the package: media playlists first, then the two roots, so that who publishes them in
/// this order never shows a root whose playlists are not there.
///
/// # Errors
/// [`PlanError::BadReport`] when the facts are not those of this plan's files.
pub fn write(plan: &Plan, facts: &PackageFacts) -> Result<Vec<ManifestFile>, PlanError> {
    let package = tracks::Package::of(plan, facts)?;
    let mut files = Vec::new();
    let target = hls::target_duration(&package);
    for track in package.video.iter().chain(&package.audio) {
        files.push(file(format!("{}/playlist.m3u8", track.folder), hls::media_playlist(track, target)));
    }
    for track in &package.video {
        files.push(file(format!("{}/iframes.m3u8", track.folder), hls::iframe_playlist(track, target)));
    }
    files.push(file(HLS_ROOT.to_owned(), hls::master(&package, target)));
    files.push(file(DASH_ROOT.to_owned(), dash::mpd(&package)));
    Ok(files)
}

fn file(name: String, text: String) -> ManifestFile {
    ManifestFile { name, bytes: text.into_bytes() }
}
