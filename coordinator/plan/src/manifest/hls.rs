//! HLS playlists (RFC 8216 with its second edition's attributes, and Apple's authoring specification).
//!
//! Times are cumulative: an EXTINF is the difference of two rounded absolute times, so that no sum ever drifts.

use super::bandwidth::{average, iframe_bits, peak, segment_bits};
use super::tracks::{Kind, Package, Track};
use reelmill_common::keys::INIT_NAME;
use reelmill_common::plan::{AudioRendition, VideoRendition};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// EXT-X-MAP in any playlist needs 6; the attributes used here are those of 7.
const VERSION: u32 = 7;

/// A player that does not choose begins with the variant nearest to this average (Apple 9.1).
const FIRST_VARIANT: u64 = 2_000_000;

/// One target duration for every playlist of the package, in seconds: no EXTINF, rounded half up, exceeds it.
pub(super) fn target_duration(package: &Package<'_>) -> i64 {
    let tracks = package.video.iter().chain(&package.audio);
    let longest = tracks.flat_map(|t| t.segments.iter().map(|s| t.micros(s.end) - t.micros(s.start))).max();
    ((longest.unwrap_or(0) + 500_000) / 1_000_000).max(1)
}

/// The playlist of one rendition.
pub(super) fn media_playlist(track: &Track<'_>, target: i64) -> String {
    let mut out = head(target);
    out.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    line(&mut out, format_args!("#EXT-X-MAP:URI=\"{INIT_NAME}\""));
    for segment in &track.segments {
        line(&mut out, format_args!("#EXTINF:{},", extinf(track, segment.start, segment.end)));
        line(&mut out, format_args!("{}", segment.name()));
    }
    out.push_str("#EXT-X-ENDLIST\n");
    out
}

/// The I-frame playlist of a video rendition: the first IDR of each segment, with the `moof` before it, as a byte
/// range of the segment. Later IDRs of a segment are left out: their ranges would hold no `moof` to find them by.
pub(super) fn iframe_playlist(track: &Track<'_>, target: i64) -> String {
    let mut out = head(target);
    out.push_str("#EXT-X-I-FRAMES-ONLY\n");
    line(&mut out, format_args!("#EXT-X-MAP:URI=\"{INIT_NAME}\""));
    for segment in &track.segments {
        let Some(iframe) = segment.iframe else { continue };
        line(&mut out, format_args!("#EXTINF:{},", extinf(track, segment.start, segment.end)));
        line(&mut out, format_args!("#EXT-X-BYTERANGE:{}@{}", iframe.length, iframe.offset));
        line(&mut out, format_args!("{}", segment.name()));
    }
    out.push_str("#EXT-X-ENDLIST\n");
    out
}

/// Media sequence numbers are the segments' own.
fn head(target: i64) -> String {
    format!(
        "#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-MEDIA-SEQUENCE:1\n\
         #EXT-X-PLAYLIST-TYPE:VOD\n"
    )
}

fn extinf(track: &Track<'_>, start: i64, end: i64) -> String {
    let micros = track.micros(end) - track.micros(start);
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // writing to a String cannot fail
    let _ = out.write_fmt(text);
    out.push('\n');
}

/// An audio group: one member per source track, the same tracks in every group (RFC 8216, 4.3.4.1.1).
struct Group<'a, 'p> {
    id: &'a str,
    members: Vec<Member<'a, 'p>>,
    peak: u64,
    average: u64,
}

struct Member<'a, 'p> {
    track: &'p Track<'a>,
    audio: &'a AudioRendition,
    /// The default group's rendition of the same source track: its name, language and flags hold in every group.
    named: &'a AudioRendition,
    autoselect: bool,
}

/// The HLS root.
pub(super) fn master(package: &Package<'_>, target: i64) -> String {
    let groups = groups(package, target);
    let mut out = format!("#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    for group in &groups {
        out.push('\n');
        for member in &group.members {
            line(&mut out, format_args!("{}", media_tag(group, member, package.video.is_empty())));
        }
    }
    out.push('\n');
    for variant in variants(package, &groups, target) {
        out.push_str(&variant.text);
    }
    if !package.video.is_empty() {
        out.push('\n');
    }
    for track in &package.video {
        if let Kind::Video(v) = track.kind {
            line(&mut out, format_args!("{}", iframe_tag(track, v, target)));
        }
    }
    out
}

fn groups<'a, 'p>(package: &'p Package<'a>, target: i64) -> Vec<Group<'a, 'p>> {
    let all: Vec<(&'p Track<'a>, &'a AudioRendition)> = package
        .audio
        .iter()
        .filter_map(|t| match t.kind {
            Kind::Audio(a) => Some((t, a)),
            Kind::Video(_) => None,
        })
        .collect();
    let mut ids: Vec<&str> = Vec::new();
    for (_, a) in &all {
        if !ids.contains(&a.group.as_str()) {
            ids.push(&a.group);
        }
    }
    let of = |id: &str| all.iter().filter(|(_, a)| a.group == id).copied().collect::<Vec<_>>();
    let named = ids.first().map(|id| of(id)).unwrap_or_default();
    let chosen = autoselected(&named.iter().map(|n| n.1).collect::<Vec<_>>());
    ids.iter()
        .map(|id| {
            let own = of(id);
            let members: Vec<_> = named
                .iter()
                .zip(&chosen)
                .map(|(base, autoselect)| {
                    // a track that has no rendition of this group is heard in its default one
                    let (track, audio) = own.iter().find(|o| o.1.title == base.1.title).unwrap_or(base);
                    Member { track, audio, named: base.1, autoselect: *autoselect }
                })
                .collect();
            let most = |f: &dyn Fn(&Track<'_>) -> u64| members.iter().map(|m| f(m.track)).max().unwrap_or(0);
            let peak = most(&|t| peak(t, target, segment_bits));
            let average = most(&|t| average(t, segment_bits));
            Group { id, members, peak, average }
        })
        .collect()
}

/// Which renditions a player may choose by itself: the default one, and of each other language the first (RFC 8216,
/// 4.3.4.1: those of one group differ in language).
fn autoselected(members: &[&AudioRendition]) -> Vec<bool> {
    let mut languages: BTreeSet<&str> =
        members.iter().filter(|m| m.is_default).map(|m| m.language.as_str()).collect();
    members.iter().map(|m| m.is_default || languages.insert(&m.language)).collect()
}

/// Where there is no picture the default rendition is the variant's own playlist and carries no URI.
fn media_tag(group: &Group<'_, '_>, member: &Member<'_, '_>, sound_only: bool) -> String {
    let yes = |b| if b { "YES" } else { "NO" };
    let named = member.named;
    let mut tag = format!(
        "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{}\",NAME=\"{}\",LANGUAGE=\"{}\",DEFAULT={},AUTOSELECT={},CHANNELS=\"{}\"",
        group.id,
        quotable(&named.title),
        quotable(&named.language),
        yes(named.is_default),
        yes(member.autoselect),
        member.audio.settings.channels
    );
    if !(sound_only && named.is_default) {
        tag.push_str(&format!(",URI=\"{}/playlist.m3u8\"", member.track.folder));
    }
    tag
}

/// A quoted string cannot hold quotes or line ends (RFC 8216, 4.2).
fn quotable(text: &str) -> String {
    text.chars().map(|c| if c == '"' || c.is_control() { ' ' } else { c }).collect()
}

/// A variant of the root, with what it is sorted by.
struct Variant {
    peak: u64,
    average: u64,
    in_first_group: bool,
    text: String,
}

/// First the variant nearest to 2 Mb/s on average, with the sound everybody can play, then all others ascending.
fn variants(package: &Package<'_>, groups: &[Group<'_, '_>], target: i64) -> Vec<Variant> {
    let mut all = Vec::new();
    for (n, group) in groups.iter().enumerate().filter(|_| package.video.is_empty()) {
        all.extend(sound_variant(group, n == 0));
    }
    for track in &package.video {
        let Kind::Video(v) = track.kind else { continue };
        let own = (peak(track, target, segment_bits), average(track, segment_bits));
        if groups.is_empty() {
            all.push(picture_variant(track, v, own, None, true));
        }
        for (n, group) in groups.iter().enumerate() {
            all.push(picture_variant(track, v, own, Some(group), n == 0));
        }
    }
    all.sort_by_key(|v| (v.peak, v.average));
    let distance = |v: &Variant| (!v.in_first_group, v.average.abs_diff(FIRST_VARIANT));
    if let Some(first) = (0..all.len()).min_by_key(|n| distance(&all[*n])) {
        all[..=first].rotate_right(1);
    }
    all
}

fn picture_variant(
    track: &Track<'_>,
    v: &VideoRendition,
    own: (u64, u64),
    group: Option<&Group<'_, '_>>,
    in_first_group: bool,
) -> Variant {
    let peak = own.0 + group.map_or(0, |g| g.peak);
    let average = own.1 + group.map_or(0, |g| g.average);
    let sound_codec =
        group.and_then(|g| g.members.first()).map_or(String::new(), |m| format!(",{}", m.track.codec));
    let audio = group.map_or(String::new(), |g| format!(",AUDIO=\"{}\"", g.id));
    let text = format!(
        "#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},CODECS=\"{}{sound_codec}\",\
         RESOLUTION={}x{},FRAME-RATE={},VIDEO-RANGE=SDR{audio},CLOSED-CAPTIONS=NONE\n{}/playlist.m3u8\n",
        track.codec,
        v.settings.width,
        v.settings.height,
        frame_rate(v.frame_rate),
        track.folder
    );
    Variant { peak, average, in_first_group, text }
}

fn sound_variant(group: &Group<'_, '_>, in_first_group: bool) -> Option<Variant> {
    let member = group.members.iter().find(|m| m.named.is_default).or(group.members.first())?;
    let (peak, average) = (group.peak, group.average);
    let text = format!(
        "#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},CODECS=\"{}\",AUDIO=\"{}\",\
         CLOSED-CAPTIONS=NONE\n{}/playlist.m3u8\n",
        member.track.codec, group.id, member.track.folder
    );
    Some(Variant { peak, average, in_first_group, text })
}

fn iframe_tag(track: &Track<'_>, v: &VideoRendition, target: i64) -> String {
    format!(
        "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{}\",RESOLUTION={}x{},VIDEO-RANGE=SDR,\
         URI=\"{}/iframes.m3u8\"",
        peak(track, target, iframe_bits),
        average(track, iframe_bits),
        track.codec,
        v.settings.width,
        v.settings.height,
        track.folder
    )
}

/// Frames a second with three decimals, rounded to nearest.
fn frame_rate((frames, seconds): (u64, u64)) -> String {
    let seconds = u128::from(seconds.max(1));
    let milli = (u128::from(frames) * 1000 + seconds / 2) / seconds;
    format!("{}.{:03}", milli / 1000, milli % 1000)
}
