//! What the root says of its variants and renditions: order, codecs, rates, groups.

use crate::{bandwidth, extinfs, films, package, packages, tagged, value};
use reelmill_plan::manifest;
use std::collections::BTreeMap;

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
