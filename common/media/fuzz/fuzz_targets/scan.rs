//! The scan over any text, at both depths.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reelmill_media::Limits;
use reelmill_media::scan::{Depth, Scan};

fuzz_target!(|text: &str| {
    for depth in [Depth::Packets, Depth::Frames] {
        let mut scan = Scan::new(depth, Limits::default());
        if text.split('\n').all(|line| scan.line(line).is_ok()) {
            drop(scan.finish(1, "fuzz"));
        }
    }
});
