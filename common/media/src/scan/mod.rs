//! Index from ffprobe's output, for every container but MP4 and for MP4s the native reader leaves alone.
//!
//! ffprobe demuxes the whole source and prints one line a packet ([`Depth::Packets`]); where packets do not tell
//! which frames are shown when, it decodes and prints one line a frame ([`Depth::Frames`]). The caller runs it with
//! [`arguments`], feeds each line of its standard output and finishes. Nothing is kept of a line but its numbers.

mod line;
mod stream;
mod tracks;

use crate::error::IndexError;
use crate::limits::{Limits, check};
use line::Line;
use reelmill_common::hash::{Canonical, Sha256};
use reelmill_common::index::{Demuxer, IgnoredTrack, IndexMethod, SourceId, SourceIndex};
use sha2::Digest as _;
use std::collections::BTreeMap;
use stream::Stream;
use tracks::Unit;

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
stream_side_data=side_data_type,displaymatrix,rotation,max_luminance,max_content:format=format_name,start_time,duration,size";

/// ffprobe's arguments, to be followed by the demuxer (`-f` or `-format_whitelist`), the protocol whitelist and
/// `-i <url>`.
pub fn arguments(depth: Depth) -> Vec<String> {
    let (section, entries) = match depth {
        Depth::Packets => (
            "-show_packets",
            "packet=stream_index,pts,dts,duration,size,pos,flags:packet_side_data=discard_padding",
        ),
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

/// Longest line taken: ffprobe's own are far shorter, whatever a film's tags hold.
const MAX_LINE: usize = 64 * 1024;

/// Reads ffprobe's output line by line.
#[derive(Debug)]
pub struct Scan {
    depth: Depth,
    /// What a scan of packets left open.
    why: Option<String>,
    /// Frames of a damaged film: those that come at a time that is past are left out.
    growing: bool,
    limits: Limits,
    hash: sha2::Sha256,
    /// Packets or frames by stream index.
    units: Vec<Vec<Unit>>,
    /// By index: those of a program are printed there and once more on their own.
    streams: BTreeMap<u32, Stream>,
    format: Option<String>,
}

impl Scan {
    /// Begins to read the output of a run with [`arguments`] of the same depth.
    pub fn new(depth: Depth, limits: Limits) -> Self {
        Self {
            depth,
            why: None,
            growing: false,
            limits,
            hash: sha2::Sha256::new(),
            units: Vec::new(),
            streams: BTreeMap::new(),
            format: None,
        }
    }

    /// Begins to read the frames of a film that is known to be damaged ([`Depth::Frames`]). A decoder that has lost its way
    /// may show a picture at a time that is past: nobody can see it there, and no encoder takes it.
    pub fn damaged(limits: Limits) -> Self {
        Self { growing: true, ..Self::new(Depth::Frames, limits) }
    }

    /// Says in the index what packets left open ([`IndexError::NeedsFrameScan`]), so that frames had to be read.
    pub fn because(self, why: String) -> Self {
        Self { why: Some(why), ..self }
    }

    /// How deep ffprobe is to look.
    pub fn depth(&self) -> Depth {
        self.depth
    }

    /// Takes one line of standard output, with or without its line feed.
    ///
    /// # Errors
    /// As soon as a limit is exceeded or a line cannot be what [`arguments`] asks for: stop ffprobe then.
    pub fn line(&mut self, line: &str) -> Result<(), IndexError> {
        if line.len() > MAX_LINE {
            return Err(IndexError::protocol(format!("ffprobe printed a line of {} bytes", line.len())));
        }
        let line = line.trim_end_matches(['\r', '\n']);
        self.hash.update(line);
        self.hash.update(b"\n");
        let line = Line::parse(line);
        match line.section {
            "packet" | "frame" => self.unit(&line),
            "stream" => {
                let stream = Stream::parse(&line)
                    .ok_or_else(|| IndexError::protocol("ffprobe printed a stream without index"))?;
                self.streams.insert(stream.index, stream);
                check("tracks", self.streams.len() as u64, self.limits.tracks)
            }
            "format" => {
                self.format = line.get("format_name").map(str::to_owned);
                Ok(())
            }
            // side data and subtitles, which some versions print on lines of their own
            _ => Ok(()),
        }
    }

    fn unit(&mut self, line: &Line<'_>) -> Result<(), IndexError> {
        let Some(stream) = line.int::<usize>("stream_index") else {
            return Err(IndexError::protocol("ffprobe printed a packet of no stream"));
        };
        check("tracks", stream as u64 + 1, self.limits.tracks)?;
        if self.units.len() <= stream {
            self.units.resize_with(stream + 1, Vec::new);
        }
        let units = &mut self.units[stream];
        check("packets or frames of one track", units.len() as u64 + 1, self.limits.samples)?;
        units.push(if line.section == "packet" { packet(line) } else { frame(line) });
        Ok(())
    }

    /// Makes the index of a source of `size` bytes. `version` is whatever identifies the source's bytes where it
    /// lies (ETag, modification time); it goes into the `SourceId` with the size and a hash of the scan.
    ///
    /// # Errors
    /// [`IndexError::NeedsFrameScan`] from a packet scan that leaves frames open, [`IndexError::NoMedia`] when there
    /// is nothing to transcode.
    pub fn finish(mut self, size: u64, version: &str) -> Result<SourceIndex, IndexError> {
        let demuxer = match self.format.as_deref().map(Demuxer::from_format_name) {
            None => return Err(IndexError::no_media("ffprobe finds no film in it")),
            Some(None) => return Err(IndexError::no_media("its format is not one that Reelmill reads")),
            Some(Some(demuxer)) => demuxer,
        };
        let scan = Sha256(std::mem::take(&mut self.hash).finalize().into());
        let mut index = SourceIndex {
            source: SourceId(Canonical::new("source-scan/1").num(size).text(version).blob(&scan.0).digest()),
            bytes: size,
            demuxer,
            method: IndexMethod::PacketScan,
            video: None,
            audio: Vec::new(),
            ignored: Vec::new(),
            notes: Vec::new(),
        };
        if self.depth == Depth::Frames {
            let why = self.why.as_deref().unwrap_or("packets did not tell");
            index.notes.push(format!("every frame was decoded to learn its time: {why}"));
        }
        for stream in self.streams.values() {
            let units = self.units.get(stream.index as usize).map_or(&[][..], Vec::as_slice);
            self.track(stream, units, &mut index)?;
        }
        if index.video.is_none() && index.audio.is_empty() {
            return Err(IndexError::no_media(nothing(&index.ignored)));
        }
        Ok(index)
    }

    fn track(&self, stream: &Stream, units: &[Unit], index: &mut SourceIndex) -> Result<(), IndexError> {
        let why = match stream.kind.as_str() {
            "video" if stream.is_picture => "it is a still picture, not the film",
            "video" | "audio" if stream.codec.is_none() => "its codec is not known",
            "video" | "audio" if units.is_empty() => "it is empty, or nothing of it can be decoded",
            "video" if index.video.is_some() => "only the first picture track is carried",
            "video" if stream.width == 0 || stream.height == 0 => "its picture size is never told",
            "video" => {
                if stream.rotation.is_none() {
                    index
                        .notes
                        .push("the picture is turned by no quarter turn: it is shown as coded".to_owned());
                }
                let grown = self.growing.then(|| tracks::growing(units));
                let units = grown.as_deref().unwrap_or(units);
                index.video = Some(tracks::video(stream, self.depth, units, &self.limits)?);
                return Ok(());
            }
            "audio" if stream.sample_rate == 0 || stream.channels == 0 => "its sample rate is never told",
            "audio" => match tracks::audio(stream, units, &self.limits)? {
                Some(track) => {
                    index.audio.push(track);
                    return Ok(());
                }
                None => "it holds no sound",
            },
            "subtitle" => "subtitles are not carried",
            _ => "it is neither picture nor sound",
        };
        let codec = stream.codec.as_deref().unwrap_or("unknown");
        let what = format!("{} {codec}", stream.kind);
        index.ignored.push(IgnoredTrack { stream: stream.index, what, why: why.to_owned() });
        Ok(())
    }
}

/// Why a file with these tracks only is no film.
fn nothing(ignored: &[IgnoredTrack]) -> String {
    match ignored {
        [] => "it has no tracks".to_owned(),
        tracks => tracks.iter().map(|t| format!("{}: {}", t.what, t.why)).collect::<Vec<_>>().join("; "),
    }
}

fn packet(line: &Line<'_>) -> Unit {
    let flags = line.get("flags").unwrap_or_default();
    Unit {
        pts: line.int("pts"),
        dts: line.int("dts"),
        duration: line.int("duration"),
        pos: line.int("pos"),
        key: flags.contains('K'),
        discard: flags.contains('D'),
        doubtful: flags.contains('C') || line.int::<u64>("size").unwrap_or_default() == 0,
        padding: line.int("discard_padding").unwrap_or(0),
        fields: None,
    }
}

fn frame(line: &Line<'_>) -> Unit {
    Unit {
        pts: line.int("best_effort_timestamp").or_else(|| line.int("pts")),
        dts: line.int("pkt_dts"),
        duration: line.int("pkt_duration").or_else(|| line.int("duration")),
        pos: line.int("pkt_pos"),
        key: line.is_set("key_frame"),
        discard: false,
        doubtful: false,
        padding: 0,
        fields: line.is_set("interlaced_frame").then(|| line.is_set("top_field_first")),
    }
}
