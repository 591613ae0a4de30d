//! How the files of a package are served: content type and caching, by name. One table for object stores and for the
//! built-in HTTP server.

use reelmill_blob::PutOptions;
use reelmill_common::keys::IMMUTABLE;
use reelmill_common::spec::WorkItem;

/// Manifests are replaced by a re-run: ask before using a copy.
const ASK_FIRST: &str = "no-cache";

/// What workers put media with (and what is signed for them).
pub(crate) fn of_media(item: &WorkItem) -> PutOptions {
    PutOptions { content_type: Some(item.media_type()), cache_control: Some(IMMUTABLE) }
}

/// Content type and cache header of a file.
pub(crate) fn options(name: &str) -> PutOptions {
    let (content_type, cache_control) = match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("m3u8") => ("application/vnd.apple.mpegurl", ASK_FIRST),
        Some("mpd") => ("application/dash+xml", ASK_FIRST),
        Some("json") => ("application/json", ASK_FIRST),
        Some("mp4") => ("video/mp4", IMMUTABLE),
        Some("m4s") => ("video/iso.segment", IMMUTABLE),
        _ => ("application/octet-stream", ASK_FIRST),
    };
    PutOptions { content_type: Some(content_type), cache_control: Some(cache_control) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_is_immutable_and_manifests_are_not() {
        assert_eq!(options("720p-0123456789/000001.m4s").cache_control, Some(IMMUTABLE));
        assert_eq!(options("720p-0123456789/init.mp4").content_type, Some("video/mp4"));
        assert_eq!(options("master.m3u8").cache_control, Some(ASK_FIRST));
        assert_eq!(options("manifest.mpd").content_type, Some("application/dash+xml"));
    }
}
