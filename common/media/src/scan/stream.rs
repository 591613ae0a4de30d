//! What ffprobe's `stream` lines say, in the vocabulary of the index.

use super::line::{Line, unescape};
use crate::orient;
use reelmill_common::index::{Colour, FieldOrder, Light, Rotation};
use reelmill_common::time::Timebase;

/// A stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stream {
    pub(super) index: u32,
    pub(super) kind: String,
    pub(super) codec: Option<String>,
    pub(super) timebase: Option<Timebase>,
    pub(super) start: Option<i64>,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) sar: (u32, u32),
    /// `None`: the display matrix is not made of quarter turns.
    pub(super) rotation: Option<Rotation>,
    pub(super) bit_depth: Option<u8>,
    pub(super) colour: Colour,
    pub(super) light: Light,
    pub(super) field_order: FieldOrder,
    pub(super) reorders: bool,
    pub(super) sample_rate: u32,
    pub(super) channels: u16,
    pub(super) layout: Option<String>,
    pub(super) language: Option<String>,
    pub(super) title: Option<String>,
    pub(super) is_default: bool,
    /// Cover art, thumbnails, stills.
    pub(super) is_picture: bool,
}

impl Stream {
    pub(super) fn parse(line: &Line<'_>) -> Option<Self> {
        let pix_fmt = line.get("pix_fmt").unwrap_or_default();
        let pictures = ["attached_pic", "timed_thumbnails", "still_image"];
        Some(Self {
            index: line.int("index")?,
            kind: line.get("codec_type").unwrap_or("unknown").to_owned(),
            codec: line.text("codec_name").filter(|c| c != "none"),
            timebase: line.get("time_base").and_then(ratio).and_then(|(n, d)| Timebase::new(n, d)),
            start: line.int("start_pts"),
            width: line.int("width").unwrap_or_default(),
            height: line.int("height").unwrap_or_default(),
            sar: line.get("sample_aspect_ratio").and_then(ratio).unwrap_or((1, 1)),
            rotation: line.get("displaymatrix").map_or(Some(Rotation::default()), matrix),
            bit_depth: line.int("bits_per_raw_sample").filter(|d| *d > 0).or_else(|| depth(pix_fmt)),
            colour: colour(line, pix_fmt),
            light: light(line),
            field_order: field_order(line.get("field_order")),
            reorders: line.int::<u32>("has_b_frames").is_some_and(|n| n > 0),
            sample_rate: line.int("sample_rate").unwrap_or_default(),
            channels: line.int("channels").unwrap_or_default(),
            layout: line.text("channel_layout"),
            language: line.text("tag:language").filter(|l| l != "und"),
            title: line.text("tag:title"),
            is_default: line.is_set("disposition:default"),
            is_picture: pictures.iter().any(|p| line.is_set(&format!("disposition:{p}"))),
        })
    }
}

/// `a/b` or `a:b`, both at least 1.
fn ratio(text: &str) -> Option<(u32, u32)> {
    let (a, b) = text.split_once(['/', ':'])?;
    Some((a.parse().ok()?, b.parse().ok()?)).filter(|(a, b)| *a > 0 && *b > 0)
}

/// ffprobe prints three rows of three numbers, each row after its address.
fn matrix(escaped: &str) -> Option<Rotation> {
    let text = unescape(escaped);
    let mut rows = text.lines().filter(|l| !l.trim().is_empty()).map(|row| {
        let numbers = row.split_once(':')?.1;
        let mut numbers = numbers.split_whitespace().map(|n| n.parse::<i32>().ok());
        Some((numbers.next()??, numbers.next()??))
    });
    let ((a, b), (c, d)) = (rows.next()??, rows.next()??);
    orient::turn(a, b, c, d)
}

/// The depth in a pixel format's name: `yuv420p10le`, `p010le`, `gray12be`; 8 when it names none.
fn depth(pix_fmt: &str) -> Option<u8> {
    if pix_fmt.is_empty() {
        return None;
    }
    let plain = pix_fmt.trim_end_matches("le").trim_end_matches("be");
    let deep = [(9, "9"), (10, "10"), (12, "12"), (14, "14"), (16, "16")];
    let ends = |digits: &str| {
        plain.strip_suffix(digits).is_some_and(|head| head.ends_with(['p', 'y', '0']) && plain != pix_fmt)
    };
    Some(deep.into_iter().find(|(_, digits)| ends(digits)).map_or(8, |(depth, _)| depth))
}

/// ffmpeg's names for the code points of ISO/IEC 23091-2.
const PRIMARIES: [(&str, u8); 13] = [
    ("bt709", 1),
    ("bt470m", 4),
    ("bt470bg", 5),
    ("smpte170m", 6),
    ("smpte240m", 7),
    ("film", 8),
    ("bt2020", 9),
    ("smpte428", 10),
    ("smpte431", 11),
    ("smpte432", 12),
    ("jedec-p22", 22),
    ("ebu3213", 22),
    ("smpte428_1", 10),
];
const TRANSFERS: [(&str, u8); 18] = [
    ("bt709", 1),
    ("gamma22", 4),
    ("bt470m", 4),
    ("gamma28", 5),
    ("bt470bg", 5),
    ("smpte170m", 6),
    ("smpte240m", 7),
    ("linear", 8),
    ("log100", 9),
    ("log316", 10),
    ("iec61966-2-4", 11),
    ("bt1361e", 12),
    ("iec61966-2-1", 13),
    ("bt2020-10", 14),
    ("bt2020-12", 15),
    ("smpte2084", 16),
    ("smpte428", 17),
    ("arib-std-b67", 18),
];
const MATRICES: [(&str, u8); 14] = [
    ("gbr", 0),
    ("bt709", 1),
    ("fcc", 4),
    ("bt470bg", 5),
    ("smpte170m", 6),
    ("smpte240m", 7),
    ("ycgco", 8),
    ("bt2020nc", 9),
    ("bt2020c", 10),
    ("smpte2085", 11),
    ("chroma-derived-nc", 12),
    ("chroma-derived-c", 13),
    ("ictcp", 14),
    ("rgb", 0),
];

fn colour(line: &Line<'_>, pix_fmt: &str) -> Colour {
    let code = |key: &str, names: &[(&str, u8)]| {
        line.get(key).and_then(|v| names.iter().find(|(name, _)| *name == v)).map(|(_, code)| *code)
    };
    let range = match line.get("color_range") {
        Some("pc") => Some(true),
        Some("tv") => Some(false),
        _ if pix_fmt.starts_with("yuvj") => Some(true),
        _ => None,
    };
    Colour {
        primaries: code("color_primaries", &PRIMARIES),
        transfer: code("color_transfer", &TRANSFERS),
        matrix: code("color_space", &MATRICES),
        full_range: range,
    }
}

/// Side data of the stream: cd/m² as a fraction, and as a whole number.
fn light(line: &Line<'_>) -> Light {
    let fraction = line.get("max_luminance").and_then(|v| v.split_once('/'));
    let peak = fraction.and_then(|(n, d)| n.parse::<u32>().ok()?.checked_div(d.parse().ok()?));
    Light { max_content: line.int("max_content").filter(|l| *l > 0), mastering_peak: peak.filter(|l| *l > 0) }
}

/// ffprobe's names: the first letter is the field coded first, the second the one shown first.
fn field_order(name: Option<&str>) -> FieldOrder {
    match name {
        Some("progressive") => FieldOrder::Progressive,
        Some("tt" | "bt") => FieldOrder::TopFirst,
        Some("bb" | "tb") => FieldOrder::BottomFirst,
        _ => FieldOrder::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_line_is_understood() {
        let line = Line::parse(
            "stream|index=0|codec_name=hevc|codec_type=video|width=1920|height=1080|has_b_frames=2|\
             sample_aspect_ratio=4:3|pix_fmt=yuv420p10le|color_range=tv|color_space=bt2020nc|\
             color_transfer=arib-std-b67|color_primaries=bt2020|field_order=tb|time_base=1/90000|start_pts=0|\
             bits_per_raw_sample=N/A|disposition:default=1|tag:language=und|side_data|\
             side_data_type=Display Matrix|displaymatrix=\\n00000000:            0       65536           0\\n\
             00000001:       -65536           0           0\\n00000002:            0           0  1073741824\\n",
        );
        let s = Stream::parse(&line).expect("stream");
        assert_eq!(s.rotation, Some(Rotation { quarter_turns: 1, mirrored: false }));
        assert_eq!((s.sar, s.bit_depth, s.language.as_deref()), ((4, 3), Some(10), None));
        assert_eq!(s.field_order, FieldOrder::BottomFirst);
        let want =
            Colour { primaries: Some(9), transfer: Some(18), matrix: Some(9), full_range: Some(false) };
        assert_eq!(s.colour, want);
    }

    #[test]
    fn how_bright_it_is_is_read_from_side_data() {
        let of = |side_data: &str| {
            let text = format!("stream|index=0|codec_type=video|{side_data}");
            Stream::parse(&Line::parse(&text)).expect("stream").light
        };
        let both = "side_data|side_data_type=Content light level metadata|max_content=1100|side_data|\
                    side_data_type=Mastering display metadata|max_luminance=10000000/10000";
        assert_eq!(of(both), Light { max_content: Some(1_100), mastering_peak: Some(1_000) });
        assert_eq!(of("max_content=0|max_luminance=0/1"), Light::default());
        assert_eq!(of("max_luminance=1000/0"), Light::default());
        assert_eq!(of("pix_fmt=yuv420p"), Light::default());
    }

    #[test]
    fn depths_are_read_from_pixel_formats() {
        let cases = [
            ("yuv420p", 8),
            ("yuv422p10le", 10),
            ("p010le", 10),
            ("yuvj420p", 8),
            ("gray12be", 12),
            ("rgb24", 8),
        ];
        for (name, want) in cases {
            assert_eq!(depth(name), Some(want), "{name}");
        }
        assert_eq!(depth(""), None);
    }
}
