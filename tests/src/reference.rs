//! A good package made without Reelmill: plain ffmpeg encodes each rendition in one go, and the few lines here cut
//! what it wrote into CMAF segments and write the manifests. It exists so that the judge can be tried on a package
//! that owes nothing to the code under test, and be damaged in known ways ([`crate::sabotage`]).

use crate::cmaf::{self, Init, Sample};
use crate::film::{Expected, Made};
use crate::tool;
use anyhow::{Context, Result};
use std::path::Path;
use std::time::Duration;

/// Seconds of a segment; two IDR pictures each.
const SEGMENT_S: i64 = 4;

/// A rendition: its folder, what it holds, and its segments as (decode time, samples).
struct Cut {
    folder: String,
    init: Init,
    segments: Vec<(i64, Vec<Sample>)>,
    bytes: Vec<u64>,
}

/// Makes a package of `film` in `dir`, in 640x360 and 426x240, with stereo sound. `picture` goes into the filter
/// chain: `null` for a true picture.
pub fn package(film: &Made, dir: &Path, picture: &str) -> Result<()> {
    let mut cuts = Vec::new();
    for (width, height, rate) in [(640, 360, 800), (426, 240, 350)] {
        let filter = format!("{picture},scale={width}:{height},setsar=1");
        let (rate, folder) = (format!("{rate}k"), format!("v{height}"));
        let video = [
            "-map",
            "0:v",
            "-vf",
            &filter,
            "-c:v",
            "libx264",
            "-preset",
            "veryfast",
            "-b:v",
            &rate,
            "-threads",
            "2",
            "-x264-params",
            "scenecut=0:keyint=600",
            "-force_key_frames",
            "expr:gte(t,n_forced*2)",
            "-fps_mode",
            "passthrough",
        ];
        cuts.push(cut(film, dir, &folder, &video)?);
    }
    cuts.push(cut(film, dir, "audio", &["-map", "0:a", "-c:a", "aac", "-b:a", "128k"])?);
    write_manifests(dir, &cuts)
}

fn cut(film: &Made, dir: &Path, folder: &str, encode: &[&str]) -> Result<Cut> {
    std::fs::create_dir_all(dir.join(folder))?;
    let whole = dir.join(folder).join("whole.mp4");
    let mut command = tool::ffmpeg();
    command.args(["-v", "error", "-i"]).arg(&film.path).args(encode);
    command.args(["-movflags", "+frag_keyframe+delay_moov+default_base_moof", "-frag_duration", "500000"]);
    tool::run(command.arg(&whole), Duration::from_secs(120))?.success()?;
    let bytes = std::fs::read(&whole)?;
    std::fs::remove_file(&whole)?;
    let head: Vec<u8> = cmaf::boxes(&bytes)?
        .into_iter()
        .filter(|b| [*b"ftyp", *b"moov"].contains(&b.kind))
        .flat_map(|b| bytes[b.offset..b.offset + 8 + b.body.len()].iter().copied())
        .collect();
    let init = cmaf::read_init(&head)?;
    std::fs::write(dir.join(folder).join("init.mp4"), &head)?;
    let (_, mut samples) = cmaf::read_segment(&bytes, &init)?;
    let video = init.handler == "vide";
    if !video {
        // The encoder fills its last packet up; what is presented ends with the picture.
        let expected = film.film.expected();
        let shown = expected.frames.len() as i64 * i64::from(init.timescale) / film_rate(&expected);
        let end = shown + init.edit_media_time;
        samples.retain(|s| s.dts < end);
        if let Some(last) = samples.last_mut() {
            last.duration = u32::try_from(end - last.dts)?;
        }
    }
    let step = SEGMENT_S * i64::from(init.timescale);
    let mut segments: Vec<(i64, Vec<Sample>)> = Vec::new();
    for sample in samples {
        let due = segments.len() as i64 * step;
        let begins = if video { sample.sync && sample.dts >= due } else { sample.dts + 512 > due };
        if begins {
            segments.push((sample.dts, Vec::new()));
        }
        segments.last_mut().context("the first sample begins a segment")?.1.push(sample);
    }
    let mut sizes = Vec::new();
    for (i, (begin, samples)) in segments.iter().enumerate() {
        let file = cmaf::write_segment(i as u32 + 1, *begin, samples);
        sizes.push(file.len() as u64);
        std::fs::write(dir.join(folder).join(format!("{:06}.m4s", i + 1)), file)?;
    }
    Ok(Cut { folder: folder.to_owned(), init, segments, bytes: sizes })
}

/// Frames a second of a film of whole-numbered rate.
fn film_rate(expected: &Expected) -> i64 {
    expected.scale / expected.frames.get(1).map_or(1, |f| f.1).max(1)
}

impl Cut {
    /// Presentation begin and end of each segment, in ticks.
    fn spans(&self) -> Vec<(i64, i64)> {
        let hidden = if self.init.handler == "vide" { 0 } else { self.init.edit_media_time };
        self.segments
            .iter()
            .map(|(begin, samples)| {
                let lasts: i64 = samples.iter().map(|s| i64::from(s.duration)).sum();
                ((begin - hidden).max(0), begin + lasts - hidden)
            })
            .collect()
    }

    fn micros(&self, ticks: i64) -> i64 {
        let scale = i64::from(self.init.timescale);
        (ticks * 1_000_000 + scale / 2) / scale
    }

    /// (largest, mean) bits a second of its segments.
    fn rates(&self) -> (u64, u64) {
        let spans = self.spans();
        let seconds = |(a, b): (i64, i64)| self.micros(b) - self.micros(a);
        let full = spans.len().saturating_sub(1).max(1);
        let peak =
            spans.iter().zip(&self.bytes).take(full).map(|(s, b)| b * 8_000_000 / seconds(*s) as u64).max();
        let all = seconds((0, spans.last().map_or(1, |s| s.1)));
        (peak.unwrap_or(0), self.bytes.iter().sum::<u64>() * 8_000_000 / all as u64)
    }
}

fn write_manifests(dir: &Path, cuts: &[Cut]) -> Result<()> {
    let mut master = String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    let audio = cuts.last().context("sound")?;
    master.push_str(
        "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"Sound\",LANGUAGE=\"und\",DEFAULT=YES,AUTOSELECT=YES,\
         CHANNELS=\"2\",URI=\"audio/playlist.m3u8\"\n",
    );
    let mut sets = String::new();
    for cut in cuts {
        let mut list = format!(
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{SEGMENT_S}\n#EXT-X-PLAYLIST-TYPE:VOD\n\
             #EXT-X-MAP:URI=\"init.mp4\"\n"
        );
        let mut timeline = String::new();
        for (i, (begin, end)) in cut.spans().into_iter().enumerate() {
            let us = cut.micros(end) - cut.micros(begin);
            list.push_str(&format!("#EXTINF:{}.{:06},\n{:06}.m4s\n", us / 1_000_000, us % 1_000_000, i + 1));
            timeline.push_str(&format!("<S t=\"{begin}\" d=\"{}\"/>", end - begin));
        }
        list.push_str("#EXT-X-ENDLIST\n");
        std::fs::write(dir.join(&cut.folder).join("playlist.m3u8"), list)?;
        let (peak, mean) = cut.rates();
        let (width, height) = cut.init.size;
        let mut most = String::new();
        let mut size = format!(" audioSamplingRate=\"{}\"", cut.init.timescale);
        if width > 0 {
            let sound = audio.rates();
            master.push_str(&format!(
                "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"avc1.64001e,mp4a.40.2\",\
                 RESOLUTION={width}x{height},FRAME-RATE=24.000,AUDIO=\"a\"\n{}/playlist.m3u8\n",
                peak + sound.0,
                mean + sound.1,
                cut.folder
            ));
            most = format!(" maxWidth=\"{width}\" maxHeight=\"{height}\"");
            size = format!(" width=\"{width}\" height=\"{height}\" frameRate=\"24\"");
        }
        let (kind, codecs) = if width > 0 { ("video", "avc1.64001e") } else { ("audio", "mp4a.40.2") };
        sets.push_str(&format!(
            "<AdaptationSet contentType=\"{kind}\" mimeType=\"{kind}/mp4\" segmentAlignment=\"true\" \
             startWithSAP=\"1\"{most}>\
             <SegmentTemplate timescale=\"{}\" startNumber=\"1\" presentationTimeOffset=\"0\" \
             initialization=\"$RepresentationID$/init.mp4\" media=\"$RepresentationID$/$Number%06d$.m4s\">\
             <SegmentTimeline>{timeline}</SegmentTimeline></SegmentTemplate>\
             <Representation id=\"{}\" codecs=\"{codecs}\" bandwidth=\"{peak}\"{size}/></AdaptationSet>",
            cut.init.timescale, cut.folder
        ));
    }
    std::fs::write(dir.join("master.m3u8"), master)?;
    let us = cuts[0].micros(cuts[0].spans().last().map_or(0, |s| s.1));
    let mpd = format!(
        "<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" \
         profiles=\"urn:mpeg:dash:profile:isoff-live:2011\" minBufferTime=\"PT4S\" \
         mediaPresentationDuration=\"PT{}.{:06}S\"><Period id=\"1\">{sets}</Period></MPD>",
        us / 1_000_000,
        us % 1_000_000
    );
    Ok(std::fs::write(dir.join("manifest.mpd"), mpd)?)
}
