//! What looks at a film or at an encoder: analysis, self test, scan.

use super::*;

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
fn a_scan() {
    let forced = scan::scan(&loopback().location, Some(Demuxer::MpegTs), Depth::Packets, None);
    assert!(forced.windows(2).any(|w| w == ["-f", "mpegts"]));
    let free = scan::scan(&local().location, None, Depth::Frames, None);
    let list = free.iter().skip_while(|a| *a != "-format_whitelist").nth(1).unwrap();
    expect!["mov,matroska,mpegts,mpeg,flv,avi,ogg,asf,mxf,wav,flac,mp3,aac"].assert_eq(list);
    assert_eq!(free.last().map(String::as_str), Some("file:/films/a.mp4"));
}
