//! What a coordinator checks of a chunk's report before it commits: pure, and known to both sides.
//!
//! Nothing is read from storage here. The worker verified every sample; this holds the report against the spec, so
//! that a worker which reports wrongly by accident is not believed.

use crate::keys::media_name;
use crate::outcome::{ChunkReport, Fault, FaultKind, FileReport};
use crate::spec::{ChunkMedia, ChunkSpec};
use crate::{SegmentNumber, TickRange};

/// What a rung must have reported.
struct Wanted<'a> {
    folder: &'a str,
    units: u64,
    config: &'a [u8],
    segments: Vec<(SegmentNumber, Option<TickRange>)>,
}

/// Does the report tell of everything the spec asks for, and of nothing else?
///
/// # Errors
/// A [`Fault`] of kind `Output` that names the rendition and says what was expected and found.
pub fn check_report(spec: &ChunkSpec, report: &ChunkReport) -> Result<(), Fault> {
    let wanted = wanted(spec);
    if report.units.len() != wanted.len() || report.configs.len() != wanted.len() {
        return Err(fault(format!(
            "the chunk has {} renditions; the report counts {} and configures {}",
            wanted.len(),
            report.units.len(),
            report.configs.len()
        )));
    }
    let mut files = report.files.iter();
    for (rung, want) in wanted.iter().enumerate() {
        let folder = want.folder;
        if report.units[rung] != want.units {
            return Err(fault(format!(
                "{folder}: expected {} frames or packets, the report has {}",
                want.units, report.units[rung]
            )));
        }
        if report.configs[rung] != want.config {
            return Err(fault(format!(
                "{folder}: the decoder configuration is not the one the rendition is bound to"
            )));
        }
        if want.segments.first().is_some_and(|(n, _)| n.0 == 1) {
            check_file(folder, rung, None, None, files.next())?;
        }
        for (number, range) in &want.segments {
            check_file(folder, rung, Some(*number), *range, files.next())?;
        }
    }
    match files.next() {
        None => Ok(()),
        Some(extra) => Err(fault(format!("the report has a file that the spec has not: {extra:?}"))),
    }
}

fn wanted(spec: &ChunkSpec) -> Vec<Wanted<'_>> {
    match &spec.media {
        ChunkMedia::Video(v) => v
            .rungs
            .iter()
            .map(|r| Wanted {
                folder: &r.folder,
                units: v.rung_frames(r.settings.every).count() as u64,
                config: &r.avcc,
                segments: v.segments.iter().map(|s| (s.number, Some(s.range))).collect(),
            })
            .collect(),
        ChunkMedia::Audio(a) => vec![Wanted {
            folder: &a.folder,
            units: a.packets.1.saturating_sub(a.packets.0),
            config: &a.asc,
            segments: a.segments.iter().map(|s| (s.number, None)).collect(),
        }],
    }
}

/// The names of the files that a chunk is to make, in the order of its report.
pub fn chunk_files(spec: &ChunkSpec) -> Vec<String> {
    let mut names = Vec::new();
    for Wanted { folder, segments, .. } in wanted(spec) {
        if segments.first().is_some_and(|(n, _)| n.0 == 1) {
            names.push(media_name(folder, None));
        }
        names.extend(segments.iter().map(|(number, _)| media_name(folder, Some(*number))));
    }
    names
}

/// One file of the report; `pictures` is the time range of a video segment.
fn check_file(
    folder: &str,
    rung: usize,
    segment: Option<SegmentNumber>,
    pictures: Option<TickRange>,
    found: Option<&FileReport>,
) -> Result<(), Fault> {
    let name = media_name(folder, segment);
    let Some(file) = found else { return Err(fault(format!("{name}: the report does not have it"))) };
    if file.rung as usize != rung || file.segment != segment {
        return Err(fault(format!(
            "{name}: the report has rung {} segment {:?} in its place",
            file.rung, file.segment
        )));
    }
    if file.bytes == 0 {
        return Err(fault(format!("{name}: it is empty")));
    }
    let Some(range) = pictures else { return Ok(()) };
    if file.iframes.is_empty() {
        return Err(fault(format!("{name}: no IDR picture is reported")));
    }
    for i in &file.iframes {
        let inside = range.contains(crate::Ticks(i.time));
        let end = i.offset.checked_add(i.length);
        if !inside || i.length == 0 || end.is_none_or(|e| e > file.bytes) {
            return Err(fault(format!("{name}: the IDR picture at {} lies outside of the segment", i.time)));
        }
    }
    Ok(())
}

fn fault(message: String) -> Fault {
    Fault { kind: FaultKind::Output, message, detail: String::new() }
}

#[cfg(test)]
mod tests;
