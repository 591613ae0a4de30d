//! The picture's way from decoder to encoder as filters: deinterlacing and turning at full size, once; then, per
//! rung, scaling and, where the rung's colour is another one than the source's, conversion to it; always limited range.
//!
//! Colour by code points of ISO/IEC 23091-2. The input is re-tagged with what the plan decided, so that no version of
//! ffmpeg decides for itself, and the output is tagged again, so that every encoder sees the same.

use reelmill_common::Timebase;
use reelmill_common::index::{Colour, FieldOrder, Rotation};
use reelmill_common::ladder::{OutputColour, VideoSettings};
use reelmill_common::spec::{PictureRecipe, ToneMap};

/// Filters that must see frames before the chunk begins: they have memory, so they come before `trim`.
///
/// A decoder that has lost its way in a damaged film may show a picture at a time that is past. No index has it, and no
/// encoder would take it.
pub(super) fn before_trim(picture: &PictureRecipe, source: Timebase) -> Vec<String> {
    let mut filters = vec!["select=expr='isnan(prev_selected_pts)+gt(pts,prev_selected_pts)'".to_owned()];
    let Some(order) = picture.deinterlace else { return filters };
    let parity = match order {
        FieldOrder::TopFirst => "tff",
        FieldOrder::BottomFirst => "bff",
        FieldOrder::Progressive | FieldOrder::Unknown => "auto",
    };
    // bwdif halves the timebase even when it gives one frame per frame
    filters.push(format!("bwdif=mode=send_frame:parity={parity}:deint=all"));
    filters.push(format!("settb=expr={source}"));
    filters
}

/// Turns the picture upright.
pub(super) fn upright(rotation: Rotation) -> Vec<String> {
    let mut filters: Vec<String> = match rotation.quarter_turns % 4 {
        1 => vec!["transpose=dir=clock".to_owned()],
        2 => vec!["hflip".to_owned(), "vflip".to_owned()],
        3 => vec!["transpose=dir=cclock".to_owned()],
        _ => Vec::new(),
    };
    if rotation.mirrored {
        filters.push("hflip".to_owned());
    }
    filters
}

/// From the decoded picture to what a rung's encoder takes.
pub(super) fn to_rung(picture: &PictureRecipe, s: &VideoSettings) -> Vec<String> {
    let colour = picture.colour;
    let exact = if s.cpu_independent { "+accurate_rnd+bitexact" } else { "" };
    let size = format!("scale=w={}:h={}:flags=bicubic{exact}", s.width, s.height);
    let mut filters = vec![tag(colour)];
    match conversion(picture, s.colour) {
        Conversion::Matrix => filters.push(format!(
            "{size}:in_color_matrix={}:in_range={}:out_color_matrix={}:out_range=tv",
            matrix_name(colour.matrix),
            range_name(colour.full_range),
            matrix_name(Some(s.colour.code_points()[2])),
        )),
        Conversion::Primaries => {
            // the colorspace filter takes even sizes only, so it comes after scaling, which keeps the matrix
            filters.push(format!(
                "{size}:in_color_matrix={m}:in_range={r}:out_color_matrix={m}:out_range=tv",
                m = matrix_name(colour.matrix),
                r = range_name(colour.full_range),
            ));
            filters.push("format=pix_fmts=yuv420p".to_owned());
            filters.push(format!(
                "colorspace=ispace={}:iprimaries={}:itrc={}:irange=tv:all=bt709:range=tv:format=yuv420p",
                tag_name(SPACES, colour.matrix, "bt709"),
                tag_name(PRIMARIES, colour.primaries, "bt709"),
                if colour.primaries == Some(5) { "gamma28" } else { "smpte170m" },
            ));
        }
        Conversion::ToneMap(curve) => filters.extend(tone_map(colour, curve, &size)),
    }
    filters.push("format=pix_fmts=yuv420p".to_owned());
    filters.push("setsar=sar=1".to_owned());
    filters.push(tagged(s.colour));
    filters
}

enum Conversion {
    /// Matrix and range only; nothing at all where the rung keeps the source's matrix and the source is limited.
    Matrix,
    /// SD primaries as well, to BT.709.
    Primaries,
    /// HDR to SDR, to BT.709.
    ToneMap(ToneMap),
}

fn conversion(picture: &PictureRecipe, to: OutputColour) -> Conversion {
    match (picture.tone_map, picture.colour.primaries, picture.colour.matrix) {
        // the plan wants BT.601 only of pictures that are taken for it: no primaries to convert
        _ if to != OutputColour::Bt709 => Conversion::Matrix,
        (Some(curve), _, _) => Conversion::ToneMap(curve),
        // BT.470 B/G, SMPTE 170M and 240M with a 601 matrix
        (_, Some(5..=7), Some(5 | 6)) => Conversion::Primaries,
        _ => Conversion::Matrix,
    }
}

/// PQ (SMPTE ST 2084) or HLG (ARIB STD-B67) to BT.709 with the plan's parameters. ffmpeg would take the peak from each
/// frame's side data, where there is any, and differently by version; a stated one holds for every frame. In linear
/// light 1 is the plan's white, so the peak is a multiple of it.
fn tone_map(c: Colour, curve: ToneMap, size: &str) -> Vec<String> {
    let white = curve.white.max(1);
    let peak = u64::from(curve.peak) * 10_000 / u64::from(white);
    let transfer = if c.transfer == Some(18) { "arib-std-b67" } else { "smpte2084" };
    let range = if c.full_range == Some(true) { "full" } else { "limited" };
    vec![
        format!(
            "{size}:in_color_matrix=bt2020:in_range={r}:out_color_matrix=bt2020:out_range={r}",
            r = range_name(c.full_range)
        ),
        "format=pix_fmts=yuv420p10le".to_owned(),
        format!(
            "zscale=tin={transfer}:min=2020_ncl:pin=2020:rangein={range}:t=linear:m=gbr:r=full:npl={white}:agamma=0"
        ),
        "format=pix_fmts=gbrpf32le".to_owned(),
        "zscale=pin=2020:p=709:tin=linear:t=linear".to_owned(),
        format!("tonemap=tonemap=hable:desat=0:peak={}.{:04}", peak / 10_000, peak % 10_000),
        "zscale=tin=linear:t=709:m=709:p=709:r=limited".to_owned(),
    ]
}

/// ISO/IEC 23091-2 code points as ffmpeg names them.
const SPACES: &[(u8, &str)] = &[
    (1, "bt709"),
    (4, "fcc"),
    (5, "bt470bg"),
    (6, "smpte170m"),
    (7, "smpte240m"),
    (9, "bt2020nc"),
    (10, "bt2020c"),
];
const PRIMARIES: &[(u8, &str)] = &[
    (1, "bt709"),
    (4, "bt470m"),
    (5, "bt470bg"),
    (6, "smpte170m"),
    (7, "smpte240m"),
    (8, "film"),
    (9, "bt2020"),
    (11, "smpte431"),
    (12, "smpte432"),
];
const TRANSFERS: &[(u8, &str)] = &[
    (1, "bt709"),
    (4, "bt470m"),
    (5, "bt470bg"),
    (6, "smpte170m"),
    (7, "smpte240m"),
    (8, "linear"),
    (13, "iec61966-2-1"),
    (14, "bt2020-10"),
    (15, "bt2020-12"),
    (16, "smpte2084"),
    (18, "arib-std-b67"),
];

fn tag_name(table: &[(u8, &'static str)], code: Option<u8>, or: &'static str) -> &'static str {
    table.iter().find(|(c, _)| Some(*c) == code).map_or(or, |(_, name)| name)
}

/// What a rung's pictures are, as the plan says it of a source's.
fn told(colour: OutputColour) -> Colour {
    let [primaries, transfer, matrix] = colour.code_points().map(Some);
    Colour { primaries, transfer, matrix, full_range: Some(false) }
}

/// The tags of a rung's pictures as a filter.
pub(super) fn tagged(colour: OutputColour) -> String {
    tag(told(colour))
}

/// The same as options of an encoder.
pub(super) fn encoder_tags(colour: OutputColour) -> [(&'static str, &'static str); 4] {
    let c = told(colour);
    [
        ("-color_primaries", tag_name(PRIMARIES, c.primaries, "bt709")),
        ("-color_trc", tag_name(TRANSFERS, c.transfer, "bt709")),
        ("-colorspace", tag_name(SPACES, c.matrix, "bt709")),
        ("-color_range", range_name(c.full_range)),
    ]
}

/// Tags frames with the plan's decision. RGB (matrix 0) keeps its own tag: it cannot be anything else.
fn tag(c: Colour) -> String {
    let mut filter = format!("setparams=range={}", range_name(c.full_range));
    filter.push_str(&format!(":color_primaries={}", tag_name(PRIMARIES, c.primaries, "bt709")));
    filter.push_str(&format!(":color_trc={}", tag_name(TRANSFERS, c.transfer, "bt709")));
    if c.matrix != Some(0) {
        filter.push_str(&format!(":colorspace={}", tag_name(SPACES, c.matrix, "bt709")));
    }
    filter
}

/// The scaler's names of matrices.
fn matrix_name(matrix: Option<u8>) -> &'static str {
    match matrix {
        Some(4) => "fcc",
        Some(5 | 6) => "bt601",
        Some(7) => "smpte240m",
        Some(9 | 10) => "bt2020",
        _ => "bt709",
    }
}

fn range_name(full: Option<bool>) -> &'static str {
    if full == Some(true) { "pc" } else { "tv" }
}
