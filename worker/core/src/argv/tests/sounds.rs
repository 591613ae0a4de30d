//! Chunks of sound.

use super::*;

pub(super) fn audio_chunk(packets: (u64, u64), mix: AudioMix) -> AudioChunk {
    AudioChunk {
        number: 0,
        stream: 1,
        timebase: Timebase::new(1, 44_100).unwrap(),
        zero: ExactTime { ticks: Ticks(1_001), timebase: Timebase::new(1, 24_000).unwrap() },
        folder: "audio-0123456789".to_owned(),
        settings: AudioSettings { sample_rate: 48_000, channels: 2, bit_rate_kbps: 128, mix },
        total_samples: 480_000,
        packets,
        segments: vec![AudioSegment {
            number: SegmentNumber(1),
            first_packet: packets.0,
            end_packet: packets.1,
        }],
        asc: vec![0x11, 0x90, 0x56, 0xe5, 0x00],
        measure_loudness: false,
        range: None,
    }
}

#[test]
fn a_whole_audio_track_with_loudness() {
    let mut c = audio_chunk((0, 470), AudioMix::Keep);
    c.measure_loudness = true;
    check(
        audio::encode(&c, &local(), "/scratch/a.mp4"),
        expect![[r#"
            -nostdin
            -hide_banner
            -nostats
            -y
            -loglevel repeat+level+info
            -progress pipe:1
            -stats_period 0.5
            -copyts
            -protocol_whitelist file
            -f mov
            -max_pixels 35651584
            -threads 2
            -noautorotate
            -i file:/films/a.mp4
            -filter_complex_threads 2
            -filter_complex [0:1]aformat=sample_fmts=fltp, pan=stereo|c0=c0|c1=c1, aresample=48000:osf=fltp:ochl=stereo, aresample=48000:osf=fltp:ochl=stereo:async=1:min_comp=0.000001:min_hard_comp=0.1:first_pts=2002, apad=whole_len=480000, atrim=start_sample=0:end_sample=480000, asetpts=expr=N+480000, asplit[sound][meter];
              [meter]ebur128=peak=true:framelog=verbose:metadata=1, ametadata=mode=print:key=lavfi.r128.M:file=-:direct=1, ametadata=mode=print:key=lavfi.r128.S:file=-:direct=1, anullsink
            -map [sound]
            -c:a aac
            -profile:a aac_low
            -aac_coder twoloop
            -b:a 128k
            -flags:a +bitexact
            -frag_duration 10000000
            -map_metadata -1
            -map_chapters -1
            -fflags +bitexact
            -avoid_negative_ts disabled
            -use_editlist 0
            -movflags +frag_keyframe+empty_moov+default_base_moof+frag_discont
            -f mp4 file:/scratch/a.mp4
        "#]],
    );
}

#[test]
fn a_range_of_a_downmix() {
    let mix =
        AudioMix::Matrix(vec![vec![10_000, 0, 7_071, 0, 7_071, 0], vec![0, 10_000, 7_071, 0, 0, 7_071]]);
    let mut c = audio_chunk((300, 400), mix);
    c.timebase = Timebase::new(1, 1_000).unwrap();
    let grid = SampleGrid { origin: -1_008, step: 1_024 };
    c.range = Some(AudioRange { seek: Some(Ticks(-3_020)), grid, pre_roll: 256 });
    check(
        audio::encode(&c, &local(), "/scratch/a.mp4"),
        expect![[r#"
            -nostdin
            -hide_banner
            -nostats
            -y
            -loglevel repeat+level+warning
            -progress pipe:1
            -stats_period 0.5
            -copyts
            -protocol_whitelist file
            -f mov
            -max_pixels 35651584
            -threads 2
            -noautorotate
            -seek_timestamp 1
            -noaccurate_seek
            -ss -3.020000
            -i file:/films/a.mp4
            -filter_complex_threads 2
            -filter_complex [0:1]asettb=expr=1/48000, asetpts=expr='if(N, round((PTS-(-1008))/1024)*1024, round((PTS+NB_SAMPLES-(-1008))/1024)*1024-NB_SAMPLES)+(-1008)', atrim=start_pts=47058:end_pts=415698, aformat=sample_fmts=fltp, pan=stereo|c0=1.0000*c0+0.7071*c2+0.7071*c4|c1=1.0000*c1+0.7071*c2+0.7071*c5, aresample=48000:osf=fltp:ochl=stereo:async=1:min_comp=0.000001:min_hard_comp=0.01, asetpts=expr=PTS-(47058)+480000[sound]
            -map [sound]
            -c:a aac
            -profile:a aac_low
            -aac_coder twoloop
            -b:a 128k
            -flags:a +bitexact
            -frag_duration 10000000
            -map_metadata -1
            -map_chapters -1
            -fflags +bitexact
            -avoid_negative_ts disabled
            -use_editlist 0
            -movflags +frag_keyframe+empty_moov+default_base_moof+frag_discont
            -f mp4 file:/scratch/a.mp4
        "#]],
    );
}

#[test]
fn the_meter_of_a_range_begins_with_a_tenth_of_the_tracks_seconds() {
    let mut c = audio_chunk((300, 400), AudioMix::Keep);
    c.timebase = Timebase::new(1, 48_000).unwrap();
    c.measure_loudness = true;
    let range = |pre_roll| Some(AudioRange { seek: None, grid: SampleGrid { origin: 0, step: 1 }, pre_roll });
    c.range = range(250);
    let argv = audio::encode(&c, &local(), "/scratch/a.mp4").unwrap();
    let graph = argv.iter().find(|a| a.contains("[meter]")).unwrap();
    // packet 50 begins with sample 51,200; the next tenth, the eleventh, with sample 52,800
    let from = 480_000 + 1_600;
    let begins =
        format!("[meter]atrim=start_pts={from},afade=type=in:start_sample={from}:nb_samples=48000,ebur128=");
    assert!(graph.contains(&begins), "{graph}");
    // the encoder hears what it would without a meter
    let (sound, _) = graph.split_once(",asplit[sound][meter];").unwrap();
    c.measure_loudness = false;
    let bare = audio::encode(&c, &local(), "/scratch/a.mp4").unwrap();
    assert!(bare.contains(&format!("{sound}[sound]")), "{bare:?}");

    c.measure_loudness = true;
    c.range = range(200);
    let refused = audio::encode(&c, &local(), "/scratch/a.mp4").unwrap_err();
    assert!(refused.to_string().contains("5 s of sound before"), "{refused}");
}
