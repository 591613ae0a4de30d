//! Chunks of pictures.

use super::*;

/// Frames 97 to 144 of a 23.976 fps film in 1/24000, one segment, decoding from an earlier keyframe.
pub(super) fn video_chunk() -> VideoChunk {
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
        rungs: vec![rung(1280, 720, 1), rung(640, 360, 2)].into(),
    }
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
        -filter_complex [0:0]select=expr='isnan(prev_selected_pts)+gt(pts, prev_selected_pts)', trim=start_pts=97097:end_pts=145145, settb=expr=1/24000, setpts=expr=PTS+142903, split=outputs=2[full0][full1];
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
    c.rungs = c.rungs[..1].to_vec().into();
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
        -filter_complex [0:0]select=expr='isnan(prev_selected_pts)+gt(pts, prev_selected_pts)', bwdif=mode=send_frame:parity=tff:deint=all, settb=expr=1/24000, trim=start_pts=97097:end_pts=145145, settb=expr=1/24000, setpts=expr=PTS+142903, transpose=dir=clock, hflip[full0];
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
    c.rungs = c.rungs[..1].to_vec().into();
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
        -filter_complex [0:0]select=expr='isnan(prev_selected_pts)+gt(pts, prev_selected_pts)', trim=start_pts=97097:end_pts=145145, select=expr='if(lt(n, 5), 1, if(lt(n, 6), 0, 1))', settb=expr=1/24000, setpts=expr=PTS+142903, loop=loop=2:size=1:start=9, setpts=expr='if(lt(N, 10), if(lt(N, 1), 240000, if(lt(N, 9), PREV_OUTPTS+PTS-PREV_INPTS, 249309)), if(lt(N, 11), 249609, if(lt(N, 12), 250010, PREV_OUTPTS+PTS-PREV_INPTS)))'[full0];
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
fn times_are_rounded_down_to_the_microsecond() {
    let at = |t: i64, n: u32, d: u32| seconds_floor(Ticks(t), Timebase::new(n, d).unwrap());
    assert_eq!(at(1, 1, 24), "0.041666");
    assert_eq!(at(-1, 1, 3), "-0.333334");
    assert_eq!(at(8_589_870_000, 1, 90_000), "95443.000000");
    assert_eq!(at(-90_000, 1, 90_000), "-1.000000");
}
