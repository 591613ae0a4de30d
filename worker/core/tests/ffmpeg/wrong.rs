//! Outputs that are not as planned: each is found and named.

use crate::run::{Film, bind, outputs, run, rung};
use crate::{BARS, X264, dir};
use reelmill_common::index::Demuxer;
use reelmill_common::spec::VideoChunk;
use reelmill_common::{TickRange, TickSeq, Ticks};
use reelmill_worker_core::argv::video;
use reelmill_worker_core::build;

#[test]
fn each_wrong_output_is_named() {
    let dir = dir();
    let film = Film::make(dir.path(), "a.mp4", BARS, &format!("{X264} keyint=20"), Demuxer::Mov);
    let mut rungs = [rung("big", 64, 36, 1)];
    bind("ffmpeg", dir.path(), film.timebase, &mut rungs);
    let good = film.chunk(50, 100, 25, &rungs);
    let paths = outputs(dir.path(), "wrong", 1);
    run("ffmpeg", &video::encode(&good, &film.input(), &paths).unwrap());
    let file = std::fs::read(&paths[0]).unwrap();
    let verdict = |chunk: &VideoChunk, file: &[u8]| {
        build::video(chunk, 0, file).and_then(Iterator::collect::<Result<Vec<_>, _>>).map(|f| f.len())
    };
    assert_eq!(verdict(&good, &file), Ok(2), "segments 3 and 4, without the init segment of segment 1");

    let step = film.times[1] - film.times[0];
    let regular = |first: i64, count: u32| TickSeq::Regular { first, step, count };
    let frames = |c: &mut VideoChunk, first: i64, count: u32| {
        c.frames.source = regular(first, count);
        c.frames.output = regular(first, count);
    };
    let first = good.frames.source.first().unwrap();
    type Spoil<'a> = &'a dyn Fn(&mut VideoChunk);
    let cases: [(&str, Spoil<'_>); 8] = [
        ("expected 51 frames, found 50", &|c| {
            frames(c, first, 51);
            c.segments[1].range.end.0 += step;
        }),
        ("expected 49 frames, found 50", &|c| frames(c, first, 49)),
        ("frame 60: expected 50 frames; number 10", &|c| {
            let late = |i: i64| first + i * step + i64::from(i == 10);
            c.frames.source = TickSeq::from_sorted((0..50).map(late).collect());
        }),
        ("avcC is 01", &|c| c.rungs[0].avcc[3] = 42),
        ("expected an IDR for the one planned at", &|c| c.idr.push(Ticks(first + 30 * step))),
        ("segment 000004: expected an IDR at", &|c| {
            let middle = first + 24 * step;
            c.segments[0].range = TickRange::new(first, middle);
            c.segments[1].range.start = Ticks(middle);
        }),
        ("lies in no segment", &|c| {
            c.segments.pop();
            c.idr.pop();
        }),
        ("rung 0: the chunk has 0 rungs", &|c| c.rungs = Vec::new().into()),
    ];
    for (says, spoil) in cases {
        let mut chunk = good.clone();
        spoil(&mut chunk);
        let e = verdict(&chunk, &file).expect_err(says).to_string();
        assert!(e.contains(says), "{says:?} not in {e:?}");
    }
    for cut in [0, 100, file.len() / 2, file.len() - 1] {
        verdict(&good, &file[..cut]).expect_err("a truncated file");
    }
}
