//! The MP4 index over any bytes: an answer within a few reads, no panic. Seeds: `tests/data/tiny.mp4`.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use reelmill_media::Limits;
use reelmill_media::mp4::{Mp4Index, Step};

fuzz_target!(|file: &[u8]| {
    let mut machine = Mp4Index::new(file.len() as u64, Limits::default());
    for _ in 0..64 {
        let Step::Need(ranges) = machine.step() else { return };
        for range in ranges {
            let bytes = &file[range.start as usize..range.end as usize];
            machine.feed(range.start, Bytes::copy_from_slice(bytes));
        }
    }
    panic!("asked for more than 64 times");
});
