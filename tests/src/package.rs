//! A package as a player finds it: the two roots, the media playlists, and every file they name. Parsed here from
//! the texts alone (RFC 8216, ISO/IEC 23009-1); nothing is taken from the code that wrote them.

use crate::cmaf::{self, Init, Sample};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Attributes of a playlist tag, unquoted.
pub type Attributes = BTreeMap<String, String>;

/// `master.m3u8`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Master {
    /// `EXT-X-STREAM-INF`, with the URI under `URI`.
    pub variants: Vec<Attributes>,
    /// `EXT-X-MEDIA`.
    pub media: Vec<Attributes>,
    /// `EXT-X-I-FRAME-STREAM-INF`.
    pub iframes: Vec<Attributes>,
    /// Is `EXT-X-INDEPENDENT-SEGMENTS` there?
    pub independent: bool,
}

/// A segment as a playlist names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// EXTINF in microseconds.
    pub extinf_us: i64,
    /// Its URI.
    pub uri: String,
    /// BYTERANGE as (length, offset).
    pub range: Option<(u64, u64)>,
}

/// A media playlist.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Playlist {
    /// `EXT-X-TARGETDURATION` in seconds.
    pub target: u64,
    /// URI of `EXT-X-MAP`.
    pub map: String,
    /// Its segments.
    pub segments: Vec<Entry>,
    /// `EXT-X-PLAYLIST-TYPE`.
    pub kind: String,
    /// Is `EXT-X-ENDLIST` there?
    pub ended: bool,
    /// Is there an `EXT-X-DISCONTINUITY`?
    pub discontinuity: bool,
}

/// A media segment's file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Its name in the playlist.
    pub uri: String,
    /// Where it lies.
    pub path: PathBuf,
    /// EXTINF in microseconds.
    pub extinf_us: i64,
    /// Size in bytes.
    pub bytes: u64,
    /// First decode time.
    pub tfdt: i64,
    /// Its samples.
    pub samples: Vec<Sample>,
}

/// A rendition with everything it holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rendition {
    /// URI of its playlist in the master playlist.
    pub uri: String,
    /// The playlist.
    pub playlist: Playlist,
    /// Path of its init segment.
    pub init_path: PathBuf,
    /// Its init segment.
    pub init: Init,
    /// Its media segments that exist and parse.
    pub segments: Vec<Segment>,
    /// Segments that do not exist or do not parse, and why.
    pub broken: Vec<(String, String)>,
}

impl Rendition {
    /// Is it video?
    pub fn is_video(&self) -> bool {
        self.init.handler == "vide"
    }

    /// Presentation times of all samples, in the order of presentation.
    pub fn presentation_times(&self) -> Vec<i64> {
        let mut times: Vec<i64> = self
            .segments
            .iter()
            .flat_map(|s| &s.samples)
            .map(|s| s.dts + s.offset - self.init.edit_media_time)
            .collect();
        times.sort_unstable();
        times
    }

    /// The decode time after the last sample.
    pub fn end(&self) -> i64 {
        let last = self.segments.iter().flat_map(|s| &s.samples).next_back();
        last.map_or(0, |s| s.dts + i64::from(s.duration))
    }

    /// Init and media segments in one file, as a player would append them.
    pub fn join(&self, to: &Path) -> Result<()> {
        let mut bytes = std::fs::read(&self.init_path)?;
        for segment in &self.segments {
            bytes.extend(std::fs::read(&segment.path)?);
        }
        Ok(std::fs::write(to, bytes)?)
    }
}

/// A package.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Package {
    /// Its folder.
    pub dir: PathBuf,
    /// Its HLS root.
    pub master: Master,
    /// The renditions the HLS root names, video first, in its order.
    pub renditions: Vec<Rendition>,
}

impl Package {
    /// Reads the HLS root of a package and everything it names.
    pub fn load(dir: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(dir.join("master.m3u8")).context("master.m3u8")?;
        let master = parse_master(&text)?;
        let mut uris: Vec<&String> = Vec::new();
        for tags in [&master.variants, &master.media] {
            for uri in tags.iter().filter_map(|t| t.get("URI")) {
                if !uris.contains(&uri) {
                    uris.push(uri);
                }
            }
        }
        let renditions = uris.into_iter().map(|u| load_rendition(dir, u)).collect::<Result<_>>()?;
        Ok(Self { dir: dir.to_owned(), master, renditions })
    }

    /// The video renditions.
    pub fn video(&self) -> impl Iterator<Item = &Rendition> {
        self.renditions.iter().filter(|r| r.is_video())
    }

    /// The audio renditions.
    pub fn audio(&self) -> impl Iterator<Item = &Rendition> {
        self.renditions.iter().filter(|r| !r.is_video())
    }
}

fn load_rendition(dir: &Path, uri: &str) -> Result<Rendition> {
    let path = dir.join(uri);
    let text = std::fs::read_to_string(&path).with_context(|| format!("playlist {uri}"))?;
    let playlist = parse_playlist(&text).with_context(|| format!("playlist {uri}"))?;
    let folder = path.parent().context("playlist without a folder")?;
    let init_path = folder.join(&playlist.map);
    let bytes = std::fs::read(&init_path).with_context(|| format!("init segment of {uri}"))?;
    let init = cmaf::read_init(&bytes).with_context(|| format!("init segment of {uri}"))?;
    let (mut segments, mut broken) = (Vec::new(), Vec::new());
    for Entry { extinf_us, uri: name, .. } in &playlist.segments {
        let path = folder.join(name);
        let read = std::fs::read(&path).context("is missing").and_then(|bytes| {
            let (tfdt, samples) = cmaf::read_segment(&bytes, &init)?;
            Ok((bytes.len() as u64, tfdt, samples))
        });
        match read {
            Ok((bytes, tfdt, samples)) => {
                segments.push(Segment {
                    uri: name.clone(),
                    path,
                    extinf_us: *extinf_us,
                    bytes,
                    tfdt,
                    samples,
                });
            }
            Err(why) => broken.push((name.clone(), format!("{why:#}"))),
        }
    }
    Ok(Rendition { uri: uri.to_owned(), playlist, init_path, init, segments, broken })
}

/// `A=1,B="x,y"` as a map.
fn attributes(text: &str) -> Attributes {
    let mut map = Attributes::new();
    let (mut key, mut value, mut quoted, mut in_value) = (String::new(), String::new(), false, false);
    for c in text.chars().chain([',']) {
        match c {
            '"' => quoted = !quoted,
            '=' if !in_value => in_value = true,
            ',' if !quoted => {
                map.insert(std::mem::take(&mut key), std::mem::take(&mut value));
                in_value = false;
            }
            c if in_value => value.push(c),
            c => key.push(c),
        }
    }
    map
}

/// Parses a master playlist.
pub fn parse_master(text: &str) -> Result<Master> {
    ensure!(text.starts_with("#EXTM3U\n"), "master playlist does not begin with #EXTM3U");
    let mut master = Master::default();
    let mut pending: Option<Attributes> = None;
    for line in text.lines().filter(|l| !l.is_empty()) {
        if let Some(rest) = line.strip_prefix("#EXT-X-STREAM-INF:") {
            pending = Some(attributes(rest));
        } else if let Some(rest) = line.strip_prefix("#EXT-X-MEDIA:") {
            master.media.push(attributes(rest));
        } else if let Some(rest) = line.strip_prefix("#EXT-X-I-FRAME-STREAM-INF:") {
            master.iframes.push(attributes(rest));
        } else if line == "#EXT-X-INDEPENDENT-SEGMENTS" {
            master.independent = true;
        } else if !line.starts_with('#') {
            let mut variant = pending.take().with_context(|| format!("{line} without EXT-X-STREAM-INF"))?;
            variant.insert("URI".to_owned(), line.to_owned());
            master.variants.push(variant);
        }
    }
    ensure!(pending.is_none(), "EXT-X-STREAM-INF without a URI");
    Ok(master)
}

/// A decimal number of seconds as microseconds, exactly.
pub fn micros(text: &str) -> Result<i64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    ensure!(part.len() <= 6, "more than six decimals: {text}");
    let digits = format!("{part:0<6}");
    Ok(whole.parse::<i64>()? * 1_000_000 + digits.parse::<i64>()?)
}

/// Parses a media playlist.
pub fn parse_playlist(text: &str) -> Result<Playlist> {
    ensure!(text.starts_with("#EXTM3U\n"), "does not begin with #EXTM3U");
    let mut list = Playlist::default();
    let (mut extinf, mut range) = (None, None);
    for line in text.lines().filter(|l| !l.is_empty()) {
        if let Some(rest) = line.strip_prefix("#EXT-X-TARGETDURATION:") {
            list.target = rest.parse()?;
        } else if let Some(rest) = line.strip_prefix("#EXT-X-MAP:") {
            list.map = attributes(rest).remove("URI").context("EXT-X-MAP without URI")?;
        } else if let Some(rest) = line.strip_prefix("#EXTINF:") {
            extinf = Some(micros(rest.split(',').next().unwrap_or(rest))?);
        } else if let Some(rest) = line.strip_prefix("#EXT-X-BYTERANGE:") {
            let (length, offset) = rest.split_once('@').context("BYTERANGE without an offset")?;
            range = Some((length.parse()?, offset.parse()?));
        } else if let Some(rest) = line.strip_prefix("#EXT-X-PLAYLIST-TYPE:") {
            list.kind = rest.to_owned();
        } else if line == "#EXT-X-ENDLIST" {
            list.ended = true;
        } else if line == "#EXT-X-DISCONTINUITY" {
            list.discontinuity = true;
        } else if !line.starts_with('#') {
            let lasts = extinf.take().with_context(|| format!("{line} without EXTINF"))?;
            list.segments.push(Entry { extinf_us: lasts, uri: line.to_owned(), range: range.take() });
        }
    }
    Ok(list)
}

/// One representation of `manifest.mpd`, its template resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Representation {
    /// `@id`.
    pub id: String,
    /// `@bandwidth`.
    pub bandwidth: u64,
    /// `@width`, `@height`, for video.
    pub size: Option<(u32, u32)>,
    /// Path of the init segment.
    pub init: String,
    /// (begin, duration, path) of each media segment, in ticks of `timescale`.
    pub segments: Vec<(i64, i64, String)>,
    /// Ticks a second.
    pub timescale: i64,
    /// `@presentationTimeOffset`.
    pub offset: i64,
}

/// `manifest.mpd`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mpd {
    /// `@mediaPresentationDuration` in microseconds.
    pub duration_us: i64,
    /// All representations.
    pub representations: Vec<Representation>,
}

/// `PT1H2M3.4S` in microseconds.
fn iso_duration(text: &str) -> Result<i64> {
    let mut rest = text.strip_prefix("PT").context("a duration begins with PT")?;
    let mut sum = 0;
    for (unit, seconds) in [('H', 3600), ('M', 60), ('S', 1)] {
        if let Some((number, after)) = rest.split_once(unit) {
            sum += micros(number)? * seconds;
            rest = after;
        }
    }
    ensure!(rest.is_empty(), "duration {text}");
    Ok(sum)
}

/// Fills `$RepresentationID$` and `$Number%06d$` in.
fn fill(template: &str, id: &str, number: i64, time: i64) -> String {
    let mut out = String::new();
    for (i, part) in template.split('$').enumerate() {
        let (name, width) = part
            .split_once("%0")
            .map_or((part, 0), |(n, w)| (n, w.trim_end_matches('d').parse::<usize>().unwrap_or(0)));
        match (i % 2, name) {
            (1, "RepresentationID") => out.push_str(id),
            (1, "Number") => out.push_str(&format!("{number:0width$}")),
            (1, "Time") => out.push_str(&format!("{time:0width$}")),
            _ => out.push_str(part),
        }
    }
    out
}

/// Reads `manifest.mpd`.
pub fn parse_mpd(text: &str) -> Result<Mpd> {
    let document = roxmltree::Document::parse(text)?;
    let root = document.root_element();
    let duration_us = iso_duration(root.attribute("mediaPresentationDuration").context("no duration")?)?;
    let mut representations = Vec::new();
    for node in
        root.descendants().filter(|n| n.has_tag_name(("urn:mpeg:dash:schema:mpd:2011", "Representation")))
    {
        let set = node.parent().context("a representation without an adaptation set")?;
        let template = [node, set]
            .into_iter()
            .find_map(|n| n.children().find(|c| c.tag_name().name() == "SegmentTemplate"))
            .context("no SegmentTemplate")?;
        let number = |name: &str, otherwise: i64| -> Result<i64> {
            template.attribute(name).map_or(Ok(otherwise), |v| Ok(v.parse()?))
        };
        let id = node.attribute("id").context("no id")?;
        let media = template.attribute("media").context("no media")?;
        let (mut time, mut next) = (0, number("startNumber", 1)?);
        let mut segments = Vec::new();
        for s in template.descendants().filter(|n| n.tag_name().name() == "S") {
            if let Some(t) = s.attribute("t") {
                time = t.parse()?;
            }
            let lasts: i64 = s.attribute("d").context("S without d")?.parse()?;
            for _ in 0..=s.attribute("r").map_or(Ok(0), str::parse::<i64>)? {
                segments.push((time, lasts, fill(media, id, next, time)));
                time += lasts;
                next += 1;
            }
        }
        let size = match (node.attribute("width"), node.attribute("height")) {
            (Some(w), Some(h)) => Some((w.parse()?, h.parse()?)),
            _ => None,
        };
        representations.push(Representation {
            id: id.to_owned(),
            bandwidth: node.attribute("bandwidth").context("no bandwidth")?.parse()?,
            size,
            init: fill(template.attribute("initialization").context("no initialization")?, id, 0, 0),
            segments,
            timescale: number("timescale", 1)?,
            offset: number("presentationTimeOffset", 0)?,
        });
    }
    Ok(Mpd { duration_us, representations })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_keep_commas_inside_quotes() {
        let a = attributes("BANDWIDTH=1,CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=2x4");
        assert_eq!(a["CODECS"], "avc1.64001f,mp4a.40.2");
        assert_eq!(a["RESOLUTION"], "2x4");
    }

    #[test]
    fn seconds_are_read_exactly() {
        assert_eq!(micros("4.004").expect("number"), 4_004_000);
        assert_eq!(micros("3").expect("number"), 3_000_000);
        assert!(micros("3.0000001").is_err());
        assert_eq!(iso_duration("PT1H2M3.5S").expect("duration"), 3_723_500_000);
    }

    #[test]
    fn templates_are_filled_in() {
        assert_eq!(fill("$RepresentationID$/$Number%06d$.m4s", "v", 7, 0), "v/000007.m4s");
    }
}
