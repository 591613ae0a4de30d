//! ffprobe's arguments for the scan of a source that is not read natively.

use super::{Location, MAX_PIXELS};
use reelmill_common::index::Demuxer;
use reelmill_media::scan::{Depth, arguments};

/// Arguments of a scan. `demuxer` is forced when it is known; else ffprobe may choose among the demuxers that open
/// nothing but their own input. `stream` is the only one that is read, if there is one.
pub fn scan(location: &Location, demuxer: Option<Demuxer>, depth: Depth, stream: Option<u32>) -> Vec<String> {
    let mut argv = vec!["-hide_banner".to_owned()];
    argv.extend(arguments(depth));
    let mut pair = |option: &str, value: String| argv.extend([option.to_owned(), value]);
    let (protocols, url) = match location {
        Location::Loopback(url) => ("http,tcp", url.clone()),
        Location::File(path) => ("file", format!("file:{path}")),
    };
    pair("-protocol_whitelist", protocols.to_owned());
    match demuxer {
        Some(d) => pair("-f", d.ffmpeg_name().to_owned()),
        None => {
            let names: Vec<&str> = Demuxer::ALL.iter().map(|d| d.ffmpeg_name()).collect();
            pair("-format_whitelist", names.join(","));
        }
    }
    if let Some(stream) = stream {
        pair("-select_streams", stream.to_string());
    }
    pair("-max_pixels", MAX_PIXELS.to_string());
    pair("-i", url);
    argv
}
