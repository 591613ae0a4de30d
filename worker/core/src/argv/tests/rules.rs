//! What holds for every builder.

use super::pictures::video_chunk;
use super::sounds::audio_chunk;
use super::*;

#[test]
fn no_builder_opens_more_than_its_input() {
    let c = video_chunk();
    let all = [
        video::encode(&c, &loopback(), &paths(2)).unwrap(),
        audio::encode(&audio_chunk((0, 470), AudioMix::Keep), &loopback(), "/s/a.mp4").unwrap(),
        analyse::peak(&loopback(), 1, &audio_chunk((0, 1), AudioMix::Keep).settings).unwrap(),
        scan::scan(&loopback().location, None, Depth::Packets, None),
    ];
    for argv in all {
        let after = |option: &str| argv.iter().skip_while(|a| *a != option).nth(1).map(String::as_str);
        assert_eq!(after("-protocol_whitelist"), Some("http,tcp"));
        let place = |option: &str| argv.iter().position(|a| a == option).unwrap_or(usize::MAX);
        let named = place("-f").min(place("-format_whitelist"));
        assert!(place("-protocol_whitelist") < place("-i") && named < place("-i"), "{argv:?}");
        for never in ["hls", "dash", "concat", "image2", "sdp", "imf"] {
            assert!(!argv.iter().any(|a| a.split(',').any(|w| w == never)), "{never}");
        }
    }
}

#[test]
fn specs_that_contradict_themselves_are_refused() {
    let c = video_chunk();
    assert!(matches!(
        video::encode(&c, &local(), &paths(1)),
        Err(ArgvError::Outputs { rungs: 2, outputs: 1 })
    ));
    let mut few = c.clone();
    few.frames.output = TickSeq::Regular { first: 0, step: 1_001, count: 47 };
    assert!(matches!(encoder_times(&few), Err(ArgvError::FrameMap(_))));
    let mut none = c.clone();
    none.frames.copies = Some(vec![0; 48]);
    none.frames.output = TickSeq::Listed(Vec::new());
    assert!(matches!(encoder_times(&none), Err(ArgvError::FrameMap(_))));
    let mut hardware = c.clone();
    hardware.rungs[1].settings.family = EncoderFamily::Nvenc;
    assert!(matches!(video::encode(&hardware, &local(), &paths(2)), Err(ArgvError::Family("nvenc"))));
    let mut long = c;
    let times = TickSeq::Regular { first: 0, step: 1_001, count: 20_000 };
    long.frames = FrameTable { source: times.clone(), copies: None, output: times.clone() };
    long.idr = times.iter().map(Ticks).collect();
    assert!(matches!(video::encode(&long, &local(), &paths(2)), Err(ArgvError::TooLong { .. })));
}
