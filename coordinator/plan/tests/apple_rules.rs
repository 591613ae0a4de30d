//! The rules that players and validators hold a package to, one case each, named after the rule: RFC 8216, Apple's
//! HLS authoring specification (section numbers as of 2025) and the DASH-IF interoperability points.
//!
//! Every playlist is read by the tests' own reader of lines, so that a rule is checked on what was written and not on
//! what a lenient parser made of it; one case has the crate m3u8-rs read all of it, too.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod films;
mod planned;

use reelmill_common::job::JobOptions;
use reelmill_common::plan::Plan;
use reelmill_common::time::Ticks;
use reelmill_plan::manifest::{self, ManifestFile, PackageFacts};
use std::collections::BTreeMap;

/// A package of a film, as text.
struct Package {
    name: &'static str,
    plan: Plan,
    facts: PackageFacts,
    files: BTreeMap<String, String>,
    order: Vec<String>,
}

fn packages() -> Vec<Package> {
    films::all().into_iter().map(|(name, index)| package(name, &index)).collect()
}

fn package(name: &'static str, index: &reelmill_common::index::SourceIndex) -> Package {
    let plan = planned::plan(index, &JobOptions::default(), 2).unwrap();
    let facts = planned::facts(&plan);
    let written = manifest::write(&plan, &facts).unwrap();
    let order = written.iter().map(|f| f.name.clone()).collect();
    let text = |f: ManifestFile| (f.name, String::from_utf8(f.bytes).unwrap());
    Package { name, plan, facts, files: written.into_iter().map(text).collect(), order }
}

impl Package {
    fn master(&self) -> &str {
        &self.files["master.m3u8"]
    }

    fn mpd(&self) -> &str {
        &self.files["manifest.mpd"]
    }

    fn playlists(&self) -> impl Iterator<Item = (&String, &String)> {
        self.files.iter().filter(|(name, _)| name.ends_with("playlist.m3u8"))
    }

    fn iframe_playlists(&self) -> impl Iterator<Item = (&String, &String)> {
        self.files.iter().filter(|(name, _)| name.ends_with("iframes.m3u8"))
    }

    /// Variants of the root: attributes and URI.
    fn variants(&self) -> Vec<(BTreeMap<String, String>, String)> {
        let lines: Vec<_> = self.master().lines().collect();
        lines
            .windows(2)
            .filter_map(|w| Some((attributes(w[0].strip_prefix("#EXT-X-STREAM-INF:")?), w[1].to_owned())))
            .collect()
    }

    fn media(&self) -> Vec<BTreeMap<String, String>> {
        tagged(self.master(), "#EXT-X-MEDIA:")
    }
}

fn tagged(text: &str, tag: &str) -> Vec<BTreeMap<String, String>> {
    text.lines().filter_map(|l| l.strip_prefix(tag)).map(attributes).collect()
}

/// An attribute list (RFC 8216, 4.2); quotes are kept, so that a rule can ask for them.
fn attributes(mut list: &str) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    while !list.is_empty() {
        let (name, rest) = list.split_once('=').unwrap();
        let end = match rest.strip_prefix('"') {
            Some(quoted) => quoted.find('"').unwrap() + 2,
            None => rest.find(',').unwrap_or(rest.len()),
        };
        assert!(out.insert(name.to_owned(), rest[..end].to_owned()).is_none(), "{name} twice");
        list = rest[end..].strip_prefix(',').unwrap_or(&rest[end..]);
    }
    out
}

fn extinfs(playlist: &str) -> Vec<i64> {
    playlist.lines().filter_map(|l| l.strip_prefix("#EXTINF:")).map(planned::micros).collect()
}

fn value(playlist: &str, tag: &str) -> Option<i64> {
    playlist.lines().find_map(|l| l.strip_prefix(tag)).map(|v| v.parse().unwrap())
}

fn bandwidth(of: &BTreeMap<String, String>, name: &str) -> u64 {
    of[name].parse().unwrap()
}

#[test]
fn roots_come_last() {
    for p in packages() {
        let last: Vec<_> = p.order[p.order.len() - 2..].iter().map(String::as_str).collect();
        assert_eq!(last, ["master.m3u8", "manifest.mpd"], "{}", p.name);
        assert!(
            p.order[..p.order.len() - 2]
                .iter()
                .all(|n| n.ends_with("/playlist.m3u8") || n.ends_with("/iframes.m3u8"))
        );
    }
}

#[test]
fn every_uri_is_relative_and_names_a_file_of_the_package() {
    for p in packages() {
        for uri in p.variants().iter().map(|v| &v.1) {
            assert!(p.files.contains_key(uri), "{}: {uri}", p.name);
        }
        let quoted = tagged(p.master(), "#EXT-X-I-FRAME-STREAM-INF:");
        for uri in p.media().iter().chain(&quoted).filter_map(|m| m.get("URI")) {
            assert!(p.files.contains_key(uri.trim_matches('"')), "{}: {uri}", p.name);
        }
        for (name, text) in &p.files {
            assert!(!text.replace("http", "").contains("://"), "{name} holds an absolute URL");
        }
    }
}

#[test]
fn rfc8216_4_3_1_2_version_7_everywhere() {
    for p in packages() {
        for (name, text) in p.files.iter().filter(|(n, _)| n.ends_with(".m3u8")) {
            assert!(text.starts_with("#EXTM3U\n#EXT-X-VERSION:7\n"), "{name}");
        }
    }
}

#[test]
fn apple_independent_segments_in_the_root() {
    for p in packages() {
        assert!(p.master().contains("\n#EXT-X-INDEPENDENT-SEGMENTS\n"), "{}", p.name);
    }
}

#[test]
fn rfc8216_4_3_3_playlists_are_vod_and_end() {
    for p in packages() {
        for (name, text) in p.playlists().chain(p.iframe_playlists()) {
            assert!(text.contains("\n#EXT-X-PLAYLIST-TYPE:VOD\n"), "{name}");
            assert!(text.ends_with("\n#EXT-X-ENDLIST\n"), "{name}");
            assert!(text.contains("\n#EXT-X-MAP:URI=\"init.mp4\"\n"), "{name}");
            assert!(!text.contains("DISCONTINUITY"), "{name}");
        }
    }
}

#[test]
fn one_target_duration_that_no_rounded_extinf_exceeds() {
    for p in packages() {
        let all: Vec<_> = p.playlists().chain(p.iframe_playlists()).map(|(_, t)| t).collect();
        let target = value(all[0], "#EXT-X-TARGETDURATION:").unwrap();
        for text in all {
            assert_eq!(value(text, "#EXT-X-TARGETDURATION:"), Some(target), "{}", p.name);
            let longest = extinfs(text).into_iter().max().unwrap();
            assert!((longest + 500_000) / 1_000_000 <= target, "{}: {longest}", p.name);
        }
    }
}

#[test]
fn extinf_is_the_difference_of_rounded_absolute_times() {
    let p = package("ntsc_film", &films::ntsc_film());
    let text = p.playlists().find(|(n, _)| n.starts_with("720p")).unwrap().1;
    let mut cumulative = 0;
    for (extinf, end) in extinfs(text).iter().zip(&p.plan.grid[1..]) {
        cumulative += extinf;
        assert_eq!(cumulative, p.plan.timebase.micros(Ticks(*end)), "drifts");
    }
    assert!(text.contains("#EXTINF:4.004000,"), "a nominal 4.000 would drift");
}

#[test]
fn apple_8_3_sound_and_picture_end_together() {
    for p in packages() {
        let total = |t: &str| extinfs(t).iter().sum::<i64>();
        let ends: Vec<_> = p.playlists().map(|(_, t)| total(t)).collect();
        // half a sample and the rounding to a microsecond
        let (first, last) = (ends.iter().min().unwrap(), ends.iter().max().unwrap());
        assert!(last - first <= 12, "{}: {ends:?}", p.name);
    }
}

#[test]
fn every_variant_has_same_boundaries() {
    for p in packages() {
        let of_picture = |n: &&String| p.plan.video.iter().any(|v| n.starts_with(&v.folder));
        let lists: Vec<_> = p.playlists().filter(|(n, _)| of_picture(n)).map(|(_, t)| extinfs(t)).collect();
        assert!(lists.windows(2).all(|w| w[0] == w[1]), "{}", p.name);
    }
}

#[test]
fn sound_is_cut_within_half_a_packet_of_the_picture() {
    for p in packages().iter().filter(|p| !p.plan.video.is_empty()) {
        let cuts = |folder: &str| {
            let text = &p.files[&format!("{folder}/playlist.m3u8")];
            let mut ends: Vec<i64> = extinfs(text);
            for n in 1..ends.len() {
                ends[n] += ends[n - 1];
            }
            ends.pop();
            ends
        };
        let picture = cuts(&p.plan.video[0].folder);
        for a in &p.plan.audio {
            let half_a_packet = 512_000_000 / i64::from(a.settings.sample_rate) + 24;
            let sound = cuts(&a.folder);
            assert_eq!(sound.len(), picture.len());
            assert!(
                sound.iter().zip(&picture).all(|(s, v)| (s - v).abs() <= half_a_packet),
                "{}: {sound:?}",
                p.name
            );
        }
    }
}

#[test]
fn apple_9_1_first_variant_is_nearest_to_2_mbit_and_the_rest_ascend() {
    for p in packages() {
        let variants = p.variants();
        let average = |v: &(BTreeMap<String, String>, String)| bandwidth(&v.0, "AVERAGE-BANDWIDTH");
        let first = average(&variants[0]).abs_diff(2_000_000);
        let group = variants[0].0.get("AUDIO");
        assert!(
            group.is_none_or(|g| g == "\"audio\""),
            "{}: begins with a sound not everybody can play",
            p.name
        );
        for v in variants.iter().filter(|v| v.0.get("AUDIO") == group) {
            assert!(first <= average(v).abs_diff(2_000_000), "{}", p.name);
        }
        let rest: Vec<_> = variants[1..].iter().map(|v| bandwidth(&v.0, "BANDWIDTH")).collect();
        assert!(rest.is_sorted(), "{}: {rest:?}", p.name);
    }
}

#[test]
fn apple_9_closed_captions_none_on_every_variant() {
    for p in packages() {
        assert!(p.variants().iter().all(|v| v.0["CLOSED-CAPTIONS"] == "NONE"), "{}", p.name);
    }
}

#[test]
fn apple_9_10_codecs_come_from_the_decoder_configuration() {
    let p = package("surround", &films::surround());
    let codecs: Vec<_> = p.variants().into_iter().map(|v| v.0["CODECS"].clone()).collect();
    assert!(codecs.contains(&"\"avc1.64001f,mp4a.40.2\"".to_owned()), "{codecs:?}");
    let silent = package("open_gop", &films::open_gop());
    assert!(silent.variants().iter().all(|v| !v.0["CODECS"].contains("mp4a") && !v.0.contains_key("AUDIO")));
    let sound = package("sound_only", &films::sound_only());
    assert!(sound.variants().iter().all(|v| v.0["CODECS"] == "\"mp4a.40.2\""));
}

#[test]
fn apple_9_15_resolution_frame_rate_and_range_on_every_picture() {
    for p in packages().iter().filter(|p| !p.plan.video.is_empty()) {
        for (v, uri) in p.variants() {
            let rung = p.plan.video.iter().find(|r| uri.starts_with(&r.folder)).unwrap();
            assert_eq!(v["RESOLUTION"], format!("{}x{}", rung.settings.width, rung.settings.height));
            let decimals = v["FRAME-RATE"].split_once('.').unwrap().1;
            assert_eq!(decimals.len(), 3, "{}", v["FRAME-RATE"]);
            assert_eq!(v["VIDEO-RANGE"], "SDR");
        }
    }
    let rates: Vec<_> = package("b", &films::broadcast_59_94())
        .variants()
        .iter()
        .map(|v| v.0["FRAME-RATE"].clone())
        .collect();
    assert!(rates.contains(&"59.940".to_owned()) && rates.contains(&"29.970".to_owned()), "{rates:?}");
}

/// The largest rate of a contiguous set of half to one and a half target durations, by the definition, in microbits.
fn measured_peak(durations: &[i64], bytes: &[u64], target: i64) -> u64 {
    let mut peak = 0;
    for first in 0..durations.len() {
        for last in first..durations.len() {
            let time: i64 = durations[first..=last].iter().sum();
            let bits: u64 = bytes[first..=last].iter().sum::<u64>() * 8;
            if 2 * time >= target * 1_000_000 && 2 * time <= 3 * target * 1_000_000 {
                peak = peak.max(bits * 1_000_000 / time as u64);
            }
        }
    }
    peak
}

#[test]
fn apple_9_13_bandwidth_is_the_measured_peak_with_its_audio_group() {
    for p in packages().iter().filter(|p| !p.plan.video.is_empty()) {
        let peak_of = |folder: &str, facts: &manifest::RenditionFacts| {
            let text = &p.files[&format!("{folder}/playlist.m3u8")];
            let bytes: Vec<_> = facts.segments.iter().map(|s| s.bytes).collect();
            measured_peak(&extinfs(text), &bytes, value(text, "#EXT-X-TARGETDURATION:").unwrap())
        };
        let sound = |group: &str| {
            let own =
                p.plan.audio.iter().zip(&p.facts.audio).filter(|(a, _)| format!("\"{}\"", a.group) == group);
            own.map(|(a, f)| peak_of(&a.folder, f)).max().unwrap_or(0)
        };
        for (v, uri) in p.variants() {
            let (rung, facts) =
                p.plan.video.iter().zip(&p.facts.video).find(|(r, _)| uri.starts_with(&r.folder)).unwrap();
            let want = peak_of(&rung.folder, facts) + v.get("AUDIO").map_or(0, |g| sound(g));
            let found = bandwidth(&v, "BANDWIDTH");
            assert!(found.abs_diff(want) <= want / 10_000 + 4, "{}: {found} for {want}", p.name);
            assert!(bandwidth(&v, "AVERAGE-BANDWIDTH") <= found, "{}", p.name);
        }
    }
}

#[test]
fn apple_9_14_average_bandwidth_is_all_bits_over_the_duration() {
    let p = package("open_gop", &films::open_gop());
    for (v, uri) in p.variants() {
        let (_, facts) =
            p.plan.video.iter().zip(&p.facts.video).find(|(r, _)| uri.starts_with(&r.folder)).unwrap();
        let bits: u64 = facts.segments.iter().map(|s| s.bytes * 8).sum();
        let want = (bits * u64::from(p.plan.timebase.den())).div_ceil(p.plan.duration as u64);
        assert_eq!(bandwidth(&v, "AVERAGE-BANDWIDTH"), want);
    }
}

#[test]
fn apple_6_1_an_iframe_playlist_for_every_picture() {
    for p in packages().iter().filter(|p| !p.plan.video.is_empty()) {
        let streams = tagged(p.master(), "#EXT-X-I-FRAME-STREAM-INF:");
        assert_eq!(streams.len(), p.plan.video.len(), "{}", p.name);
        for s in &streams {
            for key in ["BANDWIDTH", "AVERAGE-BANDWIDTH", "CODECS", "RESOLUTION", "VIDEO-RANGE", "URI"] {
                assert!(s.contains_key(key), "{}: no {key}", p.name);
            }
            assert!(!s.contains_key("FRAME-RATE") && !s.contains_key("AUDIO"), "RFC 8216, 4.3.4.3");
            assert!(!s["CODECS"].contains("mp4a"), "no sound in an I-frame playlist");
        }
    }
}

#[test]
fn rfc8216_4_3_3_6_iframes_are_byte_ranges_of_the_same_segments() {
    for p in packages() {
        for (name, text) in p.iframe_playlists() {
            assert!(text.contains("\n#EXT-X-I-FRAMES-ONLY\n"), "{name}");
            let n = p.plan.video.iter().position(|v| name.starts_with(&v.folder)).unwrap();
            let ranges: Vec<_> = text.lines().filter_map(|l| l.strip_prefix("#EXT-X-BYTERANGE:")).collect();
            assert_eq!(ranges.len(), p.facts.video[n].segments.len());
            for (range, segment) in ranges.iter().zip(&p.facts.video[n].segments) {
                let (length, offset) = range.split_once('@').unwrap();
                let iframe = segment.iframe.unwrap();
                assert_eq!((length.parse(), offset.parse()), (Ok(iframe.length), Ok(iframe.offset)));
                assert!(iframe.offset + iframe.length <= segment.bytes);
            }
        }
    }
}

#[test]
fn rfc8216_4_3_4_1_every_rendition_is_named_and_tagged() {
    for p in packages() {
        for m in p.media() {
            for key in ["TYPE", "GROUP-ID", "NAME", "LANGUAGE", "DEFAULT", "AUTOSELECT", "CHANNELS"] {
                assert!(m.contains_key(key), "{}: no {key}", p.name);
            }
            assert!(m["DEFAULT"] == "NO" || m["AUTOSELECT"] == "YES", "a default that is never selected");
            assert!(m["LANGUAGE"].trim_matches('"').len() >= 2);
        }
    }
}

#[test]
fn rfc8216_4_3_4_1_1_groups_have_one_default_unique_names_and_the_same_members() {
    for p in packages() {
        let mut groups: BTreeMap<String, Vec<BTreeMap<String, String>>> = BTreeMap::new();
        for m in p.media() {
            groups.entry(m["GROUP-ID"].clone()).or_default().push(m);
        }
        let same = |m: &BTreeMap<String, String>| {
            let kept = m.iter().filter(|(k, _)| !["URI", "CHANNELS", "GROUP-ID"].contains(&k.as_str()));
            kept.map(|(k, v)| (k.clone(), v.clone())).collect::<Vec<_>>()
        };
        let mut members: Vec<Vec<_>> = groups.values().map(|g| g.iter().map(same).collect()).collect();
        for group in groups.values() {
            assert_eq!(group.iter().filter(|m| m["DEFAULT"] == "YES").count(), 1, "{}", p.name);
            let mut names: Vec<_> = group.iter().map(|m| &m["NAME"]).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), group.len(), "{}: a name twice", p.name);
            let mut chosen: Vec<_> =
                group.iter().filter(|m| m["AUTOSELECT"] == "YES").map(|m| &m["LANGUAGE"]).collect();
            let count = chosen.len();
            chosen.sort();
            chosen.dedup();
            assert_eq!(chosen.len(), count, "{}: two automatic choices of one language", p.name);
        }
        members.dedup();
        assert!(members.len() <= 1, "{}: groups differ in their members", p.name);
    }
}

#[test]
fn every_audio_group_gives_its_own_set_of_variants() {
    let p = package("surround", &films::surround());
    let of = |group: &str| {
        let mut uris: Vec<_> =
            p.variants().into_iter().filter(|v| v.0["AUDIO"] == group).map(|v| v.1).collect();
        uris.sort();
        uris
    };
    assert_eq!(of("\"audio\"").len(), p.plan.video.len());
    assert_eq!(of("\"audio\""), of("\"audio-51\""));
    let channels: Vec<_> = p.media().iter().map(|m| m["CHANNELS"].clone()).collect();
    assert_eq!(channels, ["\"2\"", "\"2\"", "\"6\"", "\"2\""]);
}

#[test]
fn sound_alone_is_a_variant_of_its_own() {
    let p = package("sound_only", &films::sound_only());
    let variants = p.variants();
    assert_eq!(variants.len(), 1);
    assert_eq!(variants[0].1, format!("{}/playlist.m3u8", p.plan.audio[0].folder));
    assert!(!variants[0].0.contains_key("RESOLUTION") && !variants[0].0.contains_key("FRAME-RATE"));
    let uris: Vec<_> = p.media().iter().map(|m| m.contains_key("URI")).collect();
    assert_eq!(uris, [false, true], "the default one is the variant itself");
    assert!(!p.master().contains("I-FRAME"));
}

#[test]
fn m3u8_rs_reads_every_playlist() {
    for p in packages() {
        for (name, text) in p.files.iter().filter(|(n, _)| n.ends_with(".m3u8")) {
            let read = m3u8_rs::parse_playlist_res(text.as_bytes());
            match read.unwrap_or_else(|e| panic!("{name}: {e}")) {
                m3u8_rs::Playlist::MasterPlaylist(m) => {
                    let iframes = m.variants.iter().filter(|v| v.is_i_frame).count();
                    assert_eq!(
                        (m.variants.len() - iframes, iframes),
                        (p.variants().len(), p.plan.video.len())
                    );
                }
                m3u8_rs::Playlist::MediaPlaylist(m) => {
                    assert_eq!(m.segments.len(), extinfs(text).len(), "{name}")
                }
            }
        }
    }
}

#[test]
fn dash_profiles_type_and_durations() {
    for p in packages() {
        let mpd = p.mpd().lines().nth(1).unwrap();
        let attribute = |name| planned::attribute(mpd, name).unwrap();
        assert_eq!(attribute("type"), "static");
        let profiles = "urn:mpeg:dash:profile:isoff-live:2011,urn:mpeg:dash:profile:cmaf:2019";
        assert_eq!(attribute("profiles"), profiles);
        assert_eq!(
            duration(attribute("mediaPresentationDuration")),
            p.plan.timebase.micros(Ticks(p.plan.duration))
        );
        assert!(duration(attribute("minBufferTime")) > 0);
    }
}

/// An xs:duration of seconds, in microseconds.
fn duration(text: &str) -> i64 {
    let seconds = text.strip_prefix("PT").and_then(|t| t.strip_suffix('S')).unwrap();
    let (whole, rest) = seconds.split_once('.').unwrap_or((seconds, ""));
    whole.parse::<i64>().unwrap() * 1_000_000 + format!("{rest:0<6}").parse::<i64>().unwrap()
}

#[test]
fn dash_if_max_segment_duration_covers_every_segment() {
    for p in packages() {
        let longest =
            duration(planned::attribute(p.mpd().lines().nth(1).unwrap(), "maxSegmentDuration").unwrap());
        let mut timescale = 0;
        for line in p.mpd().lines() {
            if line.contains("<SegmentTemplate") {
                timescale = planned::attribute(line, "timescale").unwrap().parse::<i64>().unwrap();
            }
            if line.contains("<S ") {
                let d: i64 = planned::attribute(line, "d").unwrap().parse().unwrap();
                assert!(d * 1_000_000 <= longest * timescale, "{}: {d}/{timescale}", p.name);
            }
        }
    }
}

#[test]
fn dash_segment_timelines_are_exact_and_begin_at_zero() {
    for p in packages() {
        let mut want: Vec<i64> = p.plan.video.first().map(|_| p.plan.duration).into_iter().collect();
        want.extend(p.plan.audio.iter().map(|a| a.total_samples as i64));
        assert_eq!(planned::timeline_sums(p.mpd()), want, "{}", p.name);
        let starts: Vec<_> = p.mpd().lines().filter_map(|l| planned::attribute(l, "t")).collect();
        assert!(starts.iter().all(|t| *t == "0") && starts.len() == want.len());
        assert!(p.mpd().matches("presentationTimeOffset=\"0\"").count() == want.len());
    }
}

#[test]
fn dash_if_segments_are_named_by_number_from_one() {
    for p in packages() {
        let templates: Vec<_> = p.mpd().lines().filter(|l| l.contains("<SegmentTemplate")).collect();
        for t in &templates {
            assert_eq!(planned::attribute(t, "media"), Some("$RepresentationID$/$Number%06d$.m4s"));
            assert_eq!(planned::attribute(t, "initialization"), Some("$RepresentationID$/init.mp4"));
            assert_eq!(planned::attribute(t, "startNumber"), Some("1"));
        }
        let folders: Vec<_> = p
            .mpd()
            .lines()
            .filter(|l| l.contains("<Representation"))
            .filter_map(|l| planned::attribute(l, "id"))
            .collect();
        let plan = p.plan.video.iter().map(|v| &v.folder).chain(p.plan.audio.iter().map(|a| &a.folder));
        assert_eq!(folders, plan.collect::<Vec<_>>());
    }
}

#[test]
fn dash_adaptation_sets_say_what_they_hold() {
    for p in packages() {
        let sets: Vec<_> = p.mpd().lines().filter(|l| l.contains("<AdaptationSet")).collect();
        assert_eq!(sets.len(), usize::from(!p.plan.video.is_empty()) + p.plan.audio.len());
        for set in &sets {
            assert_eq!(planned::attribute(set, "segmentAlignment"), Some("true"));
            assert_eq!(planned::attribute(set, "startWithSAP"), Some("1"));
            match planned::attribute(set, "contentType").unwrap() {
                "video" => assert!(
                    ["maxWidth", "maxHeight", "maxFrameRate"]
                        .iter()
                        .all(|a| planned::attribute(set, a).is_some())
                ),
                _ => assert!(planned::attribute(set, "lang").is_some()),
            }
        }
        assert_eq!(p.mpd().matches("<Role ").count(), sets.len());
        for tag in ["<AudioChannelConfiguration ", "<Label>"] {
            assert_eq!(p.mpd().matches(tag).count(), p.plan.audio.len(), "{tag}");
        }
    }
}

#[test]
fn manifests_of_other_facts_are_refused() {
    let p = package("ntsc_film", &films::ntsc_film());
    let mut short = p.facts.clone();
    short.video[0].segments.pop();
    assert!(manifest::write(&p.plan, &short).is_err());
    let mut blind = p.facts.clone();
    blind.video[1].segments[2].iframe = None;
    assert!(manifest::write(&p.plan, &blind).is_err());
    assert!(manifest::write(&p.plan, &PackageFacts::default()).is_err());
}
