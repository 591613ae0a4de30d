//! Containers, sans-I/O: boxes below, time, sample and byte index above.
//!
//! What goes in are bytes and lines that somebody else read; what comes out are a [`SourceIndex`], the samples of
//! ffmpeg's fragmented output, and finished CMAF segments. Nothing here opens a file, a socket or a process, reads a
//! clock or decodes a pixel. Every loop and allocation is bounded by the bytes given or by [`Limits`], and hostile
//! bytes give an error, never a panic.
//!
//! | module | from | to |
//! |---|---|---|
//! | [`sniff`] | first bytes of a file | the demuxer to force, or why not to try |
//! | [`mp4`] | ranges of an MP4/MOV, asked for one step at a time | `SourceIndex` |
//! | [`scan`] | lines of ffprobe's output | `SourceIndex` |
//! | [`shown`] | an index of packets, and the frames that a decoder shows | `SourceIndex` of a damaged film |
//! | [`fragments`] | ffmpeg's fragmented MP4 output, whole | samples with times |
//! | [`cmaf`] | samples with times | init and media segments of the package |
//! | [`aac`] | one raw AAC-LC packet | its window sequence and shape |
//!
//! [`SourceIndex`]: reelmill_common::index::SourceIndex

pub mod aac;
mod bits;
mod boxes;
pub mod cmaf;
mod error;
pub mod fragments;
mod limits;
pub mod mp4;
mod nal;
mod orient;
pub mod scan;
pub mod shown;
pub mod sniff;

pub use error::IndexError;
pub use limits::Limits;
pub use sniff::probe_format;
