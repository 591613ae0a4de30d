//! What the MPD says.

use crate::{films, package, packages, planned};
use reelmill_common::time::Ticks;
use reelmill_plan::manifest::{self, PackageFacts};

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
