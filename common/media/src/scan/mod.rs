//! Index from ffprobe's output, for every container but MP4 and for MP4s the native reader leaves alone.
//!
//! ffprobe demuxes the whole source and prints one line a packet ([`Depth::Packets`]); where packets do not tell
//! which frames are shown when, it decodes and prints one line a frame ([`Depth::Frames`]). The caller runs it with
//! [`arguments`], feeds each line of its standard output and finishes. Nothing is kept of a line but its numbers.

use crate::error::IndexError;
use crate::limits::Limits;
use reelmill_common::index::SourceIndex;

/// How deep ffprobe is asked to look.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Depth {
    /// Demux only: cheap, enough for well-formed films.
    Packets,
    /// Decode every frame: the last resort, when packets leave it open ([`IndexError::NeedsFrameScan`]).
    Frames,
}

/// What is printed of the streams and the container, at either depth.
pub const STREAM_ENTRIES: &str = "stream=index,codec_name,codec_type,profile,width,height,sample_aspect_ratio,\
pix_fmt,color_range,color_space,color_transfer,color_primaries,field_order,has_b_frames,time_base,start_pts,\
duration_ts,bits_per_raw_sample,sample_rate,channels,channel_layout,initial_padding:\
stream_disposition=default,attached_pic,timed_thumbnails,still_image:stream_tags=language,title:\
stream_side_data=side_data_type,displaymatrix,rotation:format=format_name,start_time,duration,size";

/// ffprobe's arguments, to be followed by the demuxer (`-f` or `-format_whitelist`), the protocol whitelist and
/// `-i <url>`.
pub fn arguments(depth: Depth) -> Vec<String> {
    let (section, entries) = match depth {
        Depth::Packets => ("-show_packets", "packet=stream_index,pts,dts,duration,size,pos,flags"),
        Depth::Frames => (
            "-show_frames",
            "frame=media_type,stream_index,key_frame,pts,pkt_dts,best_effort_timestamp,pkt_duration,duration,\
             pkt_pos,pkt_size,nb_samples,interlaced_frame,top_field_first",
        ),
    };
    let fixed = ["-v", "error", "-show_format", "-show_streams", section, "-show_entries"];
    let mut out: Vec<String> = fixed.into_iter().map(str::to_owned).collect();
    out.push(format!("{entries}:{STREAM_ENTRIES}"));
    out.extend(["-of".to_owned(), "compact=nokey=0:escape=c".to_owned()]);
    out
}

/// Reads ffprobe's output line by line.
#[derive(Debug)]
pub struct Scan {
    depth: Depth,
    limits: Limits,
}

impl Scan {
    /// Begins to read the output of a run with [`arguments`] of the same depth.
    pub fn new(depth: Depth, limits: Limits) -> Self {
        Self { depth, limits }
    }

    /// Takes one line of standard output, with or without its line feed.
    ///
    /// # Errors
    /// As soon as a limit is exceeded or a line cannot be what [`arguments`] asks for: stop ffprobe then.
    pub fn line(&mut self, line: &str) -> Result<(), IndexError> {
        let _ = (line, self.depth, self.limits);
        Ok(())
    }

    /// Makes the index of a source of `size` bytes. `version` is whatever identifies the source's bytes where it
    /// lies (ETag, modification time); it goes into the `SourceId` with the size and a hash of the scan.
    ///
    /// # Errors
    /// [`IndexError::NeedsFrameScan`] from a packet scan that leaves frames open, [`IndexError::NoMedia`] when there
    /// is nothing to transcode.
    pub fn finish(self, size: u64, version: &str) -> Result<SourceIndex, IndexError> {
        Err(IndexError::no_media(format!("{size} {version}")))
    }
}
