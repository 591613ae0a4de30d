//! A real ffmpeg writes, we read and write again, a real ffprobe reads back: times, keys and bytes stay the same.

use reelmill_media::aac::{WindowSequence, window};
use reelmill_media::cmaf::{
    AudioInit, Kind, SegmentInput, SegmentSample, VideoInit, init_audio, init_video, segment,
};
use reelmill_media::fragments::{self, Config, Track};
use std::path::Path;
use std::process::Command;

fn run(program: &str, args: &[&str], dir: &Path) -> String {
    let out =
        Command::new(program).args(args).current_dir(dir).output().expect("ffmpeg and ffprobe are on PATH");
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

/// What the worker has ffmpeg write: fragments by keyframe, absolute times moved up by ten seconds.
fn encode(dir: &Path, args: &[&str]) -> Track {
    let mut all = vec!["-nostdin", "-v", "error", "-y"];
    all.extend(args);
    all.extend([
        "-movflags",
        "+frag_keyframe+empty_moov+default_base_moof+frag_discont",
        "-use_editlist",
        "0",
    ]);
    all.extend(["-avoid_negative_ts", "disabled", "-f", "mp4", "raw.mp4"]);
    run("ffmpeg", &all, dir);
    let file = std::fs::read(dir.join("raw.mp4")).expect("file");
    let mut tracks = fragments::read(&file).expect("fragments");
    assert_eq!(tracks.len(), 1);
    tracks.remove(0)
}

#[test]
fn b_frames_go_through_with_their_times() {
    let dir = tempfile::tempdir().expect("dir");
    let source = "testsrc2=size=64x48:rate=24000/1001,settb=1/24000,setpts=N*1001+240000";
    let force = "expr:eq(mod(n,12),0)";
    let args = ["-f", "lavfi", "-i", source, "-frames:v", "48", "-copyts", "-fps_mode", "passthrough"];
    let codec = ["-enc_time_base", "1:24000", "-c:v", "libx264", "-bf", "3", "-pix_fmt", "yuv420p"];
    let x264 = ["-force_key_frames", force, "-x264-params", "stitchable=1:scenecut=0:keyint=250"];
    let track = encode(dir.path(), &[&args[..], &codec, &x264].concat());
    let raw = std::fs::read(dir.path().join("raw.mp4")).expect("file");

    let Config::Avc(avcc) = &track.config else { panic!("not H.264") };
    let up = 10 * i64::from(track.timescale);
    let mut times: Vec<i64> = track.samples.iter().map(|s| s.pts - up).collect();
    times.sort_unstable();
    assert_eq!(times, (0..48).map(|n| n * 1001).collect::<Vec<_>>());

    let init =
        VideoInit { width: 64, height: 48, timescale: 24_000, avcc, colour: [1, 1, 1], reorder_delay: 2002 };
    let mut package = init_video(&init).expect("init");
    for (k, gops) in track.samples.chunk_by(|_, b| !b.key).collect::<Vec<_>>().chunks(2).enumerate() {
        let samples: Vec<_> = gops
            .concat()
            .iter()
            .map(|s| SegmentSample { pts: s.pts - up, key: s.key, bytes: &raw[s.range.clone()] })
            .collect();
        let start = k as i64 * 24 * 1001;
        let input = SegmentInput {
            number: k as u32 + 1,
            kind: Kind::Video,
            start,
            end: start + 24 * 1001,
            reorder_delay: 2002,
            samples,
        };
        package.extend(segment(&input).expect("segment").bytes);
    }
    std::fs::write(dir.path().join("ours.mp4"), &package).expect("write");
    let probe = [
        "-v",
        "error",
        "-select_streams",
        "v:0",
        "-show_frames",
        "-show_entries",
        "frame=pts,key_frame",
        "-of",
        "csv=p=0:nk=1",
    ];
    let shown = run("ffprobe", &[&probe[..], &["ours.mp4"]].concat(), dir.path());
    let shown: Vec<String> = shown
        .lines()
        .map(|l| l.split(',').take(2).collect::<Vec<_>>().join(","))
        .filter(|l| !l.is_empty())
        .collect();
    let wanted: Vec<String> = (0..48).map(|n| format!("{},{}", u8::from(n % 12 == 0), n * 1001)).collect();
    assert_eq!(shown, wanted);
    let hash = |file: &str| {
        run(
            "ffmpeg",
            &["-v", "error", "-i", file, "-map", "0:v", "-f", "hash", "-hash", "sha256", "-"],
            dir.path(),
        )
    };
    assert_eq!(hash("raw.mp4"), hash("ours.mp4"), "pictures changed");
}

#[test]
fn aac_goes_through_sample_exact() {
    let dir = tempfile::tempdir().expect("dir");
    let samples = 48_000u64 + 123;
    let source = "sine=frequency=997:sample_rate=48000:duration=3".to_owned();
    let trim = format!("atrim=end_sample={samples}");
    let args = ["-f", "lavfi", "-i", &source, "-af", &trim, "-c:a", "aac", "-b:a", "96k", "-ac", "2"];
    let track = encode(dir.path(), &args);
    let raw = std::fs::read(dir.path().join("raw.mp4")).expect("file");
    let Config::Aac(asc) = &track.config else { panic!("not AAC") };
    assert_eq!(track.samples.len() as u64, (samples + 1024).div_ceil(1024));

    let init = AudioInit { timescale: 48_000, channels: 2, asc, bit_rate: 96_000, encoder_delay: 1024 };
    let mut package = init_audio(&init).expect("init");
    let packets: Vec<&[u8]> = track.samples.iter().map(|s| &raw[s.range.clone()]).collect();
    let total = (samples + 1024) as i64;
    for (k, run) in packets.chunks(20).enumerate() {
        let start = k as i64 * 20 * 1024;
        let samples = (0..)
            .zip(run)
            .map(|(i, bytes)| SegmentSample { pts: start + 1024 * i, key: true, bytes })
            .collect();
        let end = total.min(start + 20 * 1024);
        let input =
            SegmentInput { number: k as u32 + 1, kind: Kind::Audio, start, end, reorder_delay: 0, samples };
        package.extend(segment(&input).expect("segment").bytes);
    }
    std::fs::write(dir.path().join("ours.mp4"), &package).expect("write");
    let entries = "stream=codec_name,sample_rate,channels,profile";
    let probe = ["-v", "error", "-show_entries", entries, "-of", "csv=p=0", "ours.mp4"];
    assert_eq!(run("ffprobe", &probe, dir.path()).trim(), "aac,LC,48000,2");
    let pcm = ["-v", "error", "-y", "-i", "ours.mp4", "-f", "s16le", "-c:a", "pcm_s16le", "out.pcm"];
    run("ffmpeg", &pcm, dir.path());
    let decoded = std::fs::metadata(dir.path().join("out.pcm")).expect("pcm").len() / 4;
    // libavformat leaves the edit of a fragmented file to presentation times: 5.1 decodes all packets, 9.0 drops
    // what lies before 0; for both, the first presented sample is 1,024 samples in
    let dropped = 1024 * packets.len() as u64 - decoded;
    assert!(dropped == 0 || dropped == 1024, "{decoded} samples of {} packets", packets.len());
    let first = ["-v", "error", "-show_entries", "packet=pts", "-of", "csv=p=0", "ours.mp4"];
    assert_eq!(run("ffprobe", &first, dir.path()).lines().next(), Some("-1024"));
}

#[test]
fn every_window_of_a_real_encode_is_read_and_follows_legally() {
    let dir = tempfile::tempdir().expect("dir");
    // a click in a quiet tone makes the encoder go short and back
    let source = "aevalsrc='0.01*sin(2*PI*440*t)+if(lt(mod(t\\,0.37)\\,0.0005)\\,0.9\\,0)':s=48000:d=4";
    let track = encode(dir.path(), &["-f", "lavfi", "-i", source, "-c:a", "aac", "-b:a", "96k", "-ac", "2"]);
    let raw = std::fs::read(dir.path().join("raw.mp4")).expect("file");
    let windows: Vec<_> =
        track.samples.iter().map(|s| window(&raw[s.range.clone()]).expect("window").sequence).collect();
    let illegal: Vec<_> = windows.windows(2).filter(|w| !w[0].may_precede(w[1])).collect();
    assert!(illegal.is_empty(), "{illegal:?}");
    for wanted in [WindowSequence::OnlyLong, WindowSequence::EightShort] {
        assert!(windows.contains(&wanted), "no {wanted:?} in {} packets", windows.len());
    }
}
