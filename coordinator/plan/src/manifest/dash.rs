//! The DASH MPD (ISO/IEC 23009-1, isoff-live and CMAF profiles): static, SegmentTemplate with a SegmentTimeline per
//! AdaptationSet.
//!
//! A timeline counts presentation time, which for ISO files is the time after the edit list. Both delays, two frames
//! of B-pyramid in video and 1,024 samples of encoder delay in audio, are taken away by an edit list in the init
//! segment, so every timeline begins at 0 and presentationTimeOffset is 0. The first audio segment's `d` is therefore
//! one packet shorter than its decode duration: that packet is never heard.

use super::bandwidth::never_underflows;
use super::tracks::{Kind, Package, Segment, Track};
use super::xml::Xml;
use reelmill_common::plan::{AudioRendition, VideoRendition};

const PROFILES: &str = "urn:mpeg:dash:profile:isoff-live:2011,urn:mpeg:dash:profile:cmaf:2019";
const ROLE: &str = "urn:mpeg:dash:role:2011";
const CHANNELS: &str = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011";

/// The DASH root.
pub(super) fn mpd(package: &Package<'_>) -> String {
    let tracks = || package.video.iter().chain(&package.audio);
    // rounded up: no segment is longer than what is declared
    let longest = tracks()
        .flat_map(|t| t.segments.iter().map(|s| micros_up(s.ticks(), t.timescale)))
        .max()
        .unwrap_or(0);
    let (duration, longest_text) = (iso_duration(package.micros), iso_duration(longest));
    let mut x = Xml::new();
    x.open(
        "MPD",
        &[
            ("xmlns", "urn:mpeg:dash:schema:mpd:2011"),
            ("profiles", PROFILES),
            ("type", "static"),
            ("mediaPresentationDuration", &duration),
            ("minBufferTime", &longest_text),
            ("maxSegmentDuration", &longest_text),
        ],
    );
    x.open("Period", &[("id", "1"), ("start", "PT0S"), ("duration", &duration)]);
    let mut id = 1;
    if !package.video.is_empty() {
        video_set(&mut x, package, id, longest);
        id += 1;
    }
    let has_choice =
        package.audio.iter().any(|t| matches!(t.kind, Kind::Audio(a) if a.settings.channels > 2));
    for track in &package.audio {
        if let Kind::Audio(a) = track.kind {
            audio_set(&mut x, track, a, id, longest, has_choice);
            id += 1;
        }
    }
    x.finish()
}

/// All rungs in one set: they share boundaries, so a player may switch at every one.
fn video_set(x: &mut Xml, package: &Package<'_>, id: u32, buffer: i64) {
    let rungs: Vec<(&Track<'_>, &VideoRendition)> = package
        .video
        .iter()
        .filter_map(|t| match t.kind {
            Kind::Video(v) => Some((t, v)),
            Kind::Audio(_) => None,
        })
        .collect();
    let most = |f: fn(&VideoRendition) -> u32| rungs.iter().map(|(_, v)| f(v)).max().unwrap_or(0).to_string();
    let fastest = rungs.iter().map(|(_, v)| v.frame_rate).reduce(faster).unwrap_or((1, 1));
    x.open(
        "AdaptationSet",
        &[
            ("id", &id.to_string()),
            ("contentType", "video"),
            ("mimeType", "video/mp4"),
            ("segmentAlignment", "true"),
            ("startWithSAP", "1"),
            ("maxWidth", &most(|v| v.settings.width)),
            ("maxHeight", &most(|v| v.settings.height)),
            ("maxFrameRate", &frame_rate(fastest)),
        ],
    );
    x.empty("Role", &[("schemeIdUri", ROLE), ("value", "main")]);
    if let Some((track, _)) = rungs.first() {
        template(x, track);
    }
    for (track, v) in &rungs {
        x.empty(
            "Representation",
            &[
                ("id", track.folder),
                ("bandwidth", &never_underflows(track, buffer).to_string()),
                ("codecs", &track.codec),
                ("width", &v.settings.width.to_string()),
                ("height", &v.settings.height.to_string()),
                ("frameRate", &frame_rate(v.frame_rate)),
                ("sar", "1:1"),
            ],
        );
    }
    x.close();
}

/// Each audio rendition is a set of its own: another language, or other channels, which is no seamless switch.
fn audio_set(x: &mut Xml, track: &Track<'_>, a: &AudioRendition, id: u32, buffer: i64, has_choice: bool) {
    let id = id.to_string();
    // where a film has both, stereo is what a player starts with unless it is asked for more
    let priority = if a.settings.channels <= 2 { "2" } else { "1" };
    let mut attributes = vec![
        ("id", id.as_str()),
        ("contentType", "audio"),
        ("lang", a.language.as_str()),
        ("mimeType", "audio/mp4"),
        ("segmentAlignment", "true"),
        ("startWithSAP", "1"),
    ];
    if has_choice {
        attributes.push(("selectionPriority", priority));
    }
    x.open("AdaptationSet", &attributes);
    // the schema wants this order
    x.empty(
        "AudioChannelConfiguration",
        &[("schemeIdUri", CHANNELS), ("value", &a.settings.channels.to_string())],
    );
    x.text("Label", &a.title);
    let role = if a.is_default { "main" } else { "alternate" };
    x.empty("Role", &[("schemeIdUri", ROLE), ("value", role)]);
    template(x, track);
    x.empty(
        "Representation",
        &[
            ("id", track.folder),
            ("bandwidth", &never_underflows(track, buffer).to_string()),
            ("codecs", &track.codec),
            ("audioSamplingRate", &a.settings.sample_rate.to_string()),
        ],
    );
    x.close();
}

/// File names as [`reelmill_common::keys`] makes them: a representation's id is its folder.
fn template(x: &mut Xml, track: &Track<'_>) {
    x.open(
        "SegmentTemplate",
        &[
            ("timescale", &track.timescale.to_string()),
            ("presentationTimeOffset", "0"),
            ("initialization", "$RepresentationID$/init.mp4"),
            ("media", "$RepresentationID$/$Number%06d$.m4s"),
            ("startNumber", "1"),
        ],
    );
    x.open("SegmentTimeline", &[]);
    let mut first = true;
    for run in track.segments.chunk_by(|a, b| a.ticks() == b.ticks()) {
        timeline_run(x, run, std::mem::take(&mut first));
    }
    x.close();
    x.close();
}

/// Neighbours of one length; only the first run says when it begins, the others follow without a gap.
fn timeline_run(x: &mut Xml, run: &[Segment], first: bool) {
    let Some(segment) = run.first() else { return };
    let (t, d, r) = (segment.start.to_string(), segment.ticks().to_string(), (run.len() - 1).to_string());
    let mut attributes = Vec::with_capacity(3);
    if first {
        attributes.push(("t", t.as_str()));
    }
    attributes.push(("d", d.as_str()));
    if run.len() > 1 {
        attributes.push(("r", r.as_str()));
    }
    x.empty("S", &attributes);
}

fn micros_up(ticks: i64, timescale: u32) -> i64 {
    let micros = (i128::from(ticks) * 1_000_000 + i128::from(timescale) - 1) / i128::from(timescale.max(1));
    i64::try_from(micros).unwrap_or(i64::MAX)
}

/// An xs:duration in seconds, without idle zeros.
fn iso_duration(micros: i64) -> String {
    let micros = micros.max(0);
    let (whole, rest) = (micros / 1_000_000, micros % 1_000_000);
    if rest == 0 {
        return format!("PT{whole}S");
    }
    let digits = format!("{rest:06}");
    format!("PT{whole}.{}S", digits.trim_end_matches('0'))
}

fn frame_rate((frames, seconds): (u64, u64)) -> String {
    if seconds == 1 { frames.to_string() } else { format!("{frames}/{seconds}") }
}

fn faster(a: (u64, u64), b: (u64, u64)) -> (u64, u64) {
    let is_slower = u128::from(a.0) * u128::from(b.1) < u128::from(b.0) * u128::from(a.1);
    if is_slower { b } else { a }
}
