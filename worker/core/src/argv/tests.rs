//! Golden arguments, one option a line, for a person to review. Change them with `UPDATE_EXPECT=1`, and raise
//! `reelmill_common::spec::RECIPE` when the same spec would give other bytes.

use super::*;
use crate::argv::timeline::{encoder_times, seconds_floor};
use expect_test::{Expect, expect};
use reelmill_common::index::{Colour, FieldOrder, Rotation, SampleGrid};
use reelmill_common::ladder::{
    AudioMix, AudioSettings, EncoderFamily, OutputColour, VideoSettings, X264Preset,
};
use reelmill_common::spec::*;
use reelmill_common::{SegmentNumber, TickRange, TickSeq, Ticks, Timebase};
use reelmill_media::scan::Depth;

/// Options with their values, one a line.
fn lines(argv: &[String]) -> String {
    let mut out = String::new();
    for (i, a) in argv.iter().enumerate() {
        let option =
            |a: &str| a.starts_with('-') && a.len() > 1 && !a[1..].starts_with(|c: char| c.is_ascii_digit());
        out.push_str(if i == 0 {
            ""
        } else if option(a) {
            "\n"
        } else {
            " "
        });
        out.push_str(&a.replace(';', ";\n  ").replace(",", ", "));
    }
    out.push('\n');
    out
}

fn check(argv: Result<Vec<String>, ArgvError>, expected: Expect) {
    expected.assert_eq(&lines(&argv.unwrap()));
}

fn settings(width: u32, height: u32, every: u8) -> VideoSettings {
    VideoSettings {
        family: EncoderFamily::X264,
        width,
        height,
        every,
        max_rate_kbps: 3_200,
        buffer_kbit: 4_800,
        crf_tenths: 225,
        preset: X264Preset::Medium,
        level: 31,
        refs: 3,
        bframes: 3,
        lookahead: 48,
        gop_frames: 48 / u16::from(every),
        threads: 1,
        cpu_independent: false,
        colour: OutputColour::Bt709,
    }
}

fn rung(width: u32, height: u32, every: u8) -> VideoRung {
    let folder = format!("{height}p-0123456789");
    VideoRung { folder, settings: settings(width, height, every), avcc: vec![1], reorder_delay: 2_002 }
}

/// Frames 97 to 144 of a 23.976 fps film in 1/24000, one segment, decoding from an earlier keyframe.
fn video_chunk() -> VideoChunk {
    let times = TickSeq::Regular { first: 97_097, step: 1_001, count: 48 };
    let bt709 = Colour { primaries: Some(1), transfer: Some(1), matrix: Some(1), full_range: Some(false) };
    VideoChunk {
        number: 1,
        stream: 0,
        timebase: Timebase::new(1, 24_000).unwrap(),
        seek: Some(Ticks(49_049)),
        trim: TickRange::new(97_097, 145_145),
        frames: FrameTable { source: times.clone(), copies: None, output: times },
        first_output: 97,
        out_timebase: Timebase::new(1, 24_000).unwrap(),
        picture: PictureRecipe {
            rotation: Rotation::default(),
            deinterlace: None,
            colour: bt709,
            tone_map: None,
        },
        segments: vec![SegmentSpan { number: SegmentNumber(2), range: TickRange::new(97_097, 145_145) }],
        idr: vec![Ticks(97_097), Ticks(121_121)],
        rungs: vec![rung(1280, 720, 1), rung(640, 360, 2)],
    }
}

fn local() -> Input {
    Input { demuxer: Demuxer::Mov, location: Location::File("/films/a.mp4".to_owned()), threads: 2 }
}

fn loopback() -> Input {
    let url = "http://127.0.0.1:4242/0123456789abcdef".to_owned();
    Input { demuxer: Demuxer::MpegTs, location: Location::Loopback(url), threads: 1 }
}

fn paths(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("/scratch/{i}.mp4")).collect()
}

#[test]
fn a_video_chunk_at_two_rungs() {
    check(
        video::encode(&video_chunk(), &local(), &paths(2)),
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
        -ss 2.043708
        -i file:/films/a.mp4
        -filter_complex_threads 2
        -filter_complex [0:0]trim=start_pts=97097:end_pts=145145, settb=expr=1/24000, setpts=expr=PTS+142903, split=outputs=2[full0][full1];
          [full0]setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709, scale=w=1280:h=720:flags=bicubic:in_color_matrix=bt709:in_range=tv:out_color_matrix=bt709:out_range=tv, format=pix_fmts=yuv420p, setsar=sar=1, setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709[rung0];
          [full1]select=expr='not(mod(n+1, 2))', setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709, scale=w=640:h=360:flags=bicubic:in_color_matrix=bt709:in_range=tv:out_color_matrix=bt709:out_range=tv, format=pix_fmts=yuv420p, setsar=sar=1, setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709[rung1]
        -map [rung0]
        -c:v libx264
        -preset medium
        -profile:v high
        -pix_fmt yuv420p
        -level:v 3.1
        -crf 22.5
        -maxrate 3200k
        -bufsize 4800k
        -g 48
        -refs 3
        -bf 3
        -threads 1
        -thread_type frame
        -a53cc 0
        -forced-idr 1
        -flags:v +bitexact+cgop
        -color_primaries bt709
        -color_trc bt709
        -colorspace bt709
        -color_range tv
        -chroma_sample_location left
        -x264-params stitchable=1:cabac=1:8x8dct=1:open-gop=0:scenecut=0:b-pyramid=normal:weightp=1:aq-mode=1:sliced-threads=0:nal-hrd=none:fps=48/2:rc-lookahead=48
        -force_key_frames 10.000000, 11.001000
        -fps_mode passthrough
        -enc_time_base 1/24000
        -video_track_timescale 24000
        -map_metadata -1
        -map_chapters -1
        -fflags +bitexact
        -avoid_negative_ts disabled
        -use_editlist 0
        -movflags +frag_keyframe+empty_moov+default_base_moof+frag_discont
        -f mp4 file:/scratch/0.mp4
        -map [rung1]
        -c:v libx264
        -preset medium
        -profile:v high
        -pix_fmt yuv420p
        -level:v 3.1
        -crf 22.5
        -maxrate 3200k
        -bufsize 4800k
        -g 24
        -refs 3
        -bf 3
        -threads 1
        -thread_type frame
        -a53cc 0
        -forced-idr 1
        -flags:v +bitexact+cgop
        -color_primaries bt709
        -color_trc bt709
        -colorspace bt709
        -color_range tv
        -chroma_sample_location left
        -x264-params stitchable=1:cabac=1:8x8dct=1:open-gop=0:scenecut=0:b-pyramid=normal:weightp=1:aq-mode=1:sliced-threads=0:nal-hrd=none:fps=24/2:rc-lookahead=48
        -force_key_frames 10.041708, 11.042708
        -fps_mode passthrough
        -enc_time_base 1/24000
        -video_track_timescale 24000
        -map_metadata -1
        -map_chapters -1
        -fflags +bitexact
        -avoid_negative_ts disabled
        -use_editlist 0
        -movflags +frag_keyframe+empty_moov+default_base_moof+frag_discont
        -f mp4 file:/scratch/1.mp4
    "#]],
    );
}

#[test]
fn an_interlaced_turned_sd_film_over_the_loopback_reader() {
    let mut c = video_chunk();
    c.seek = None;
    c.rungs.truncate(1);
    c.picture = PictureRecipe {
        rotation: Rotation { quarter_turns: 1, mirrored: true },
        deinterlace: Some(FieldOrder::TopFirst),
        colour: Colour { primaries: Some(6), transfer: Some(6), matrix: Some(6), full_range: Some(false) },
        tone_map: None,
    };
    check(
        video::encode(&c, &loopback(), &paths(1)),
        expect![[r#"
        -nostdin
        -hide_banner
        -nostats
        -y
        -loglevel repeat+level+warning
        -progress pipe:1
        -stats_period 0.5
        -copyts
        -protocol_whitelist http, tcp
        -f mpegts
        -max_pixels 35651584
        -threads 1
        -noautorotate
        -i http://127.0.0.1:4242/0123456789abcdef
        -filter_complex_threads 1
        -filter_complex [0:0]bwdif=mode=send_frame:parity=tff:deint=all, settb=expr=1/24000, trim=start_pts=97097:end_pts=145145, settb=expr=1/24000, setpts=expr=PTS+142903, transpose=dir=clock, hflip[full0];
          [full0]setparams=range=tv:color_primaries=smpte170m:color_trc=smpte170m:colorspace=smpte170m, scale=w=1280:h=720:flags=bicubic:in_color_matrix=bt601:in_range=tv:out_color_matrix=bt601:out_range=tv, format=pix_fmts=yuv420p, colorspace=ispace=smpte170m:iprimaries=smpte170m:itrc=smpte170m:irange=tv:all=bt709:range=tv:format=yuv420p, format=pix_fmts=yuv420p, setsar=sar=1, setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709[rung0]
        -map [rung0]
        -c:v libx264
        -preset medium
        -profile:v high
        -pix_fmt yuv420p
        -level:v 3.1
        -crf 22.5
        -maxrate 3200k
        -bufsize 4800k
        -g 48
        -refs 3
        -bf 3
        -threads 1
        -thread_type frame
        -a53cc 0
        -forced-idr 1
        -flags:v +bitexact+cgop
        -color_primaries bt709
        -color_trc bt709
        -colorspace bt709
        -color_range tv
        -chroma_sample_location left
        -x264-params stitchable=1:cabac=1:8x8dct=1:open-gop=0:scenecut=0:b-pyramid=normal:weightp=1:aq-mode=1:sliced-threads=0:nal-hrd=none:fps=48/2:rc-lookahead=48
        -force_key_frames 10.000000, 11.001000
        -fps_mode passthrough
        -enc_time_base 1/24000
        -video_track_timescale 24000
        -map_metadata -1
        -map_chapters -1
        -fflags +bitexact
        -avoid_negative_ts disabled
        -use_editlist 0
        -movflags +frag_keyframe+empty_moov+default_base_moof+frag_discont
        -f mp4 file:/scratch/0.mp4
    "#]],
    );
}

#[test]
fn an_hdr_film_with_held_and_dropped_frames() {
    let mut c = video_chunk();
    c.rungs.truncate(1);
    c.picture.colour =
        Colour { primaries: Some(9), transfer: Some(16), matrix: Some(9), full_range: Some(false) };
    c.picture.tone_map = Some(ToneMap { white: 203, peak: 4_000 });
    let mut copies = vec![1; 48];
    (copies[5], copies[9]) = (0, 3);
    let shown = |i: usize| 97_097 + 1_001 * i as i64;
    c.frames.output = TickSeq::from_sorted(
        (0..48).flat_map(|i| (0..i64::from(copies[i])).map(move |n| shown(i) + n * 300)).collect(),
    );
    c.frames.copies = Some(copies);
    check(
        video::encode(&c, &local(), &paths(1)),
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
        -ss 2.043708
        -i file:/films/a.mp4
        -filter_complex_threads 2
        -filter_complex [0:0]trim=start_pts=97097:end_pts=145145, select=expr='if(lt(n, 5), 1, if(lt(n, 6), 0, 1))', settb=expr=1/24000, setpts=expr=PTS+142903, loop=loop=2:size=1:start=9, setpts=expr='if(lt(N, 10), if(lt(N, 1), 240000, if(lt(N, 9), PREV_OUTPTS+PTS-PREV_INPTS, 249309)), if(lt(N, 11), 249609, if(lt(N, 12), 250010, PREV_OUTPTS+PTS-PREV_INPTS)))'[full0];
          [full0]setparams=range=tv:color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc, scale=w=1280:h=720:flags=bicubic:in_color_matrix=bt2020:in_range=tv:out_color_matrix=bt2020:out_range=tv, format=pix_fmts=yuv420p10le, zscale=tin=smpte2084:min=2020_ncl:pin=2020:rangein=limited:t=linear:m=gbr:r=full:npl=203:agamma=0, format=pix_fmts=gbrpf32le, zscale=pin=2020:p=709:tin=linear:t=linear, tonemap=tonemap=hable:desat=0:peak=19.7044, zscale=tin=linear:t=709:m=709:p=709:r=limited, format=pix_fmts=yuv420p, setsar=sar=1, setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709[rung0]
        -map [rung0]
        -c:v libx264
        -preset medium
        -profile:v high
        -pix_fmt yuv420p
        -level:v 3.1
        -crf 22.5
        -maxrate 3200k
        -bufsize 4800k
        -g 48
        -refs 3
        -bf 3
        -threads 1
        -thread_type frame
        -a53cc 0
        -forced-idr 1
        -flags:v +bitexact+cgop
        -color_primaries bt709
        -color_trc bt709
        -colorspace bt709
        -color_range tv
        -chroma_sample_location left
        -x264-params stitchable=1:cabac=1:8x8dct=1:open-gop=0:scenecut=0:b-pyramid=normal:weightp=1:aq-mode=1:sliced-threads=0:nal-hrd=none:fps=48/2:rc-lookahead=48
        -force_key_frames 10.000000, 11.001000
        -fps_mode passthrough
        -enc_time_base 1/24000
        -video_track_timescale 24000
        -map_metadata -1
        -map_chapters -1
        -fflags +bitexact
        -avoid_negative_ts disabled
        -use_editlist 0
        -movflags +frag_keyframe+empty_moov+default_base_moof+frag_discont
        -f mp4 file:/scratch/0.mp4
    "#]],
    );
}

fn audio_chunk(packets: (u64, u64), mix: AudioMix) -> AudioChunk {
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
              [meter]ebur128=peak=true:framelog=verbose, anullsink
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
            -filter_complex [0:1]asettb=expr=1/48000, asetpts=expr=round((PTS-(-1008))/1024)*1024+(-1008), atrim=start_pts=47058:end_pts=415698, aformat=sample_fmts=fltp, pan=stereo|c0=1.0000*c0+0.7071*c2+0.7071*c4|c1=1.0000*c1+0.7071*c2+0.7071*c5, aresample=48000:osf=fltp:ochl=stereo:async=1:min_comp=0.000001:min_hard_comp=0.01, asetpts=expr=PTS-(47058)+480000[sound]
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
fn the_analysis() {
    let tb = Timebase::new(1_001, 24_000).unwrap();
    let rungs = [settings(1280, 720, 1), settings(640, 360, 2)];
    check(
        analyse::configs(tb, &rungs, &paths(2)),
        expect![[r#"
        -nostdin
        -hide_banner
        -nostats
        -y
        -loglevel repeat+level+warning
        -progress pipe:1
        -stats_period 0.5
        -filter_complex color=color=gray:size=1280x720:rate=25, trim=end_frame=1, format=pix_fmts=yuv420p, setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709, setsar=sar=1, settb=expr=1/24000, setpts=expr=N*960[rung0];
          color=color=gray:size=640x360:rate=25, trim=end_frame=1, format=pix_fmts=yuv420p, setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709, setsar=sar=1, settb=expr=1/24000, setpts=expr=N*960[rung1]
        -map [rung0]
        -c:v libx264
        -preset medium
        -profile:v high
        -pix_fmt yuv420p
        -level:v 3.1
        -crf 22.5
        -maxrate 3200k
        -bufsize 4800k
        -g 48
        -refs 3
        -bf 3
        -threads 1
        -thread_type frame
        -a53cc 0
        -forced-idr 1
        -flags:v +bitexact+cgop
        -color_primaries bt709
        -color_trc bt709
        -colorspace bt709
        -color_range tv
        -chroma_sample_location left
        -x264-params stitchable=1:cabac=1:8x8dct=1:open-gop=0:scenecut=0:b-pyramid=normal:weightp=1:aq-mode=1:sliced-threads=0:nal-hrd=none:fps=48/2:rc-lookahead=48
        -force_key_frames 0
        -fps_mode passthrough
        -enc_time_base 1/24000
        -video_track_timescale 24000
        -map_metadata -1
        -map_chapters -1
        -fflags +bitexact
        -avoid_negative_ts disabled
        -use_editlist 0
        -movflags +frag_keyframe+empty_moov+default_base_moof+frag_discont
        -f mp4 file:/scratch/0.mp4
        -map [rung1]
        -c:v libx264
        -preset medium
        -profile:v high
        -pix_fmt yuv420p
        -level:v 3.1
        -crf 22.5
        -maxrate 3200k
        -bufsize 4800k
        -g 24
        -refs 3
        -bf 3
        -threads 1
        -thread_type frame
        -a53cc 0
        -forced-idr 1
        -flags:v +bitexact+cgop
        -color_primaries bt709
        -color_trc bt709
        -colorspace bt709
        -color_range tv
        -chroma_sample_location left
        -x264-params stitchable=1:cabac=1:8x8dct=1:open-gop=0:scenecut=0:b-pyramid=normal:weightp=1:aq-mode=1:sliced-threads=0:nal-hrd=none:fps=24/2:rc-lookahead=48
        -force_key_frames 0
        -fps_mode passthrough
        -enc_time_base 1/24000
        -video_track_timescale 24000
        -map_metadata -1
        -map_chapters -1
        -fflags +bitexact
        -avoid_negative_ts disabled
        -use_editlist 0
        -movflags +frag_keyframe+empty_moov+default_base_moof+frag_discont
        -f mp4 file:/scratch/1.mp4
    "#]],
    );
    let mix = AudioMix::Matrix(vec![vec![10_000, 7_071]]);
    let mono = AudioSettings { sample_rate: 48_000, channels: 1, bit_rate_kbps: 64, mix };
    check(
        analyse::peak(&local(), 1, &mono),
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
        -filter_complex [0:1]aformat=sample_fmts=fltp, pan=mono|c0=1.0000*c0+0.7071*c1, astats=measure_perchannel=none:measure_overall=Min_level+Max_level[peak]
        -map [peak]
        -f null -
    "#]],
    );
}

#[test]
fn the_self_test() {
    check(
        probe::clip(EncoderFamily::X264, "/scratch/v.mp4", "/scratch/a.mp4"),
        expect![[r#"
            -nostdin
            -hide_banner
            -nostats
            -y
            -loglevel repeat+level+warning
            -progress pipe:1
            -stats_period 0.5
            -filter_complex testsrc2=size=720x576:rate=24:duration=1, format=pix_fmts=yuv420p, settb=expr=1/24000, setparams=range=tv:color_primaries=smpte170m:color_trc=smpte170m:colorspace=smpte170m, scale=w=640:h=360:flags=bicubic:in_color_matrix=bt601:in_range=tv:out_color_matrix=bt601:out_range=tv, format=pix_fmts=yuv420p, colorspace=ispace=smpte170m:iprimaries=smpte170m:itrc=smpte170m:irange=tv:all=bt709:range=tv:format=yuv420p, format=pix_fmts=yuv420p, setsar=sar=1, setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709[picture];
              sine=frequency=997:sample_rate=44100:duration=1:beep_factor=4, aformat=sample_fmts=fltp, pan=stereo|c0=0.7071*c0|c1=0.7071*c0, aresample=48000:osf=fltp:ochl=stereo:async=1:min_hard_comp=0.1:first_pts=0, asetnsamples=n=1024:pad=0[sound]
            -map [picture]
            -c:v libx264
            -preset medium
            -profile:v high
            -pix_fmt yuv420p
            -level:v 3.0
            -crf 21.0
            -maxrate 800k
            -bufsize 1200k
            -g 48
            -refs 3
            -bf 3
            -threads 1
            -thread_type frame
            -a53cc 0
            -forced-idr 1
            -flags:v +bitexact+cgop
            -color_primaries bt709
            -color_trc bt709
            -colorspace bt709
            -color_range tv
            -chroma_sample_location left
            -x264-params stitchable=1:cabac=1:8x8dct=1:open-gop=0:scenecut=0:b-pyramid=normal:weightp=1:aq-mode=1:sliced-threads=0:nal-hrd=none:fps=48/2:rc-lookahead=24
            -force_key_frames 0, 0.5
            -fps_mode passthrough
            -enc_time_base 1/24000
            -video_track_timescale 24000
            -map_metadata -1
            -map_chapters -1
            -fflags +bitexact
            -avoid_negative_ts disabled
            -use_editlist 0
            -movflags +frag_keyframe+empty_moov+default_base_moof+frag_discont
            -f mp4 file:/scratch/v.mp4
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
fn the_tone_curve_is_the_plans_for_every_rung() {
    let mut c = video_chunk();
    c.picture.colour =
        Colour { primaries: Some(9), transfer: Some(18), matrix: Some(9), full_range: Some(false) };
    c.picture.tone_map = Some(ToneMap { white: 203, peak: 1_000 });
    let argv = video::encode(&c, &local(), &paths(2)).unwrap();
    let graph = argv.iter().skip_while(|a| *a != "-filter_complex").nth(1).unwrap();
    let filters = |name: &str| -> Vec<String> {
        graph.split([',', ';']).filter(|f| f.starts_with(name)).map(str::to_owned).collect()
    };
    expect!["tonemap=tonemap=hable:desat=0:peak=4.9261"].assert_eq(&filters("tonemap")[0]);
    expect![
        "zscale=tin=arib-std-b67:min=2020_ncl:pin=2020:rangein=limited:t=linear:m=gbr:r=full:npl=203:agamma=0"
    ]
    .assert_eq(&filters("zscale=tin=arib")[0]);
    for name in ["tonemap", "zscale=tin=arib"] {
        let all = filters(name);
        assert!(all.len() == 2 && all[0] == all[1], "{all:?}");
    }
}

#[test]
fn a_scan() {
    let forced = scan::scan(&loopback().location, Some(Demuxer::MpegTs), Depth::Packets);
    assert!(forced.windows(2).any(|w| w == ["-f", "mpegts"]));
    let free = scan::scan(&local().location, None, Depth::Frames);
    let list = free.iter().skip_while(|a| *a != "-format_whitelist").nth(1).unwrap();
    expect!["mov,matroska,mpegts,mpeg,flv,avi,ogg,asf,mxf,wav,flac,mp3,aac"].assert_eq(list);
    assert_eq!(free.last().map(String::as_str), Some("file:/films/a.mp4"));
}

#[test]
fn no_builder_opens_more_than_its_input() {
    let c = video_chunk();
    let all = [
        video::encode(&c, &loopback(), &paths(2)).unwrap(),
        audio::encode(&audio_chunk((0, 470), AudioMix::Keep), &loopback(), "/s/a.mp4").unwrap(),
        analyse::peak(&loopback(), 1, &audio_chunk((0, 1), AudioMix::Keep).settings).unwrap(),
        scan::scan(&loopback().location, None, Depth::Packets),
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

#[test]
fn times_are_rounded_down_to_the_microsecond() {
    let at = |t: i64, n: u32, d: u32| seconds_floor(Ticks(t), Timebase::new(n, d).unwrap());
    assert_eq!(at(1, 1, 24), "0.041666");
    assert_eq!(at(-1, 1, 3), "-0.333334");
    assert_eq!(at(8_589_870_000, 1, 90_000), "95443.000000");
    assert_eq!(at(-90_000, 1, 90_000), "-1.000000");
}
