//! What every playlist is: its form, its times, and how those of one package fit together.

use crate::{extinfs, films, package, packages, tagged, value};
use reelmill_common::time::Ticks;

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
