//! The reader of fragmented MP4, the format sniffer and the AAC window reader over any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reelmill_media::{aac, fragments, probe_format};

fuzz_target!(|file: &[u8]| {
    if let Ok(tracks) = fragments::read(file) {
        for sample in tracks.iter().flat_map(|t| &t.samples) {
            assert!(sample.range.end <= file.len());
            let _ = aac::window(&file[sample.range.clone()]);
        }
    }
    drop(probe_format(file));
});
