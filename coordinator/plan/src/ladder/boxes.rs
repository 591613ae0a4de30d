//! The default table: the boxes renditions are fitted into and the settings each stands for.
//!
//! Rates between two boxes, for a rung of a source's own size, are read off the line between them.

use reelmill_common::ladder::X264Preset;

/// A row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Row {
    pub name: &'static str,
    pub long: u32,
    pub short: u32,
    /// Cap in kbit/s up to 32 frames a second, and above.
    pub max_rate_kbps: (u32, u32),
    /// H.264 level times ten, likewise.
    pub level: (u8, u8),
    pub crf_tenths: u32,
    pub preset: X264Preset,
    /// Part of the ladder when nobody names its rungs?
    pub by_default: bool,
}

const fn row(
    (name, long, short): (&'static str, u32, u32),
    max_rate_kbps: (u32, u32),
    level: (u8, u8),
    crf_tenths: u32,
    preset: X264Preset,
) -> Row {
    Row { name, long, short, max_rate_kbps, level, crf_tenths, preset, by_default: short != 480 }
}

/// Largest first. The two smallest are made at half rate above 32 frames a second, so their two rates are one.
pub(super) const TABLE: [Row; 8] = [
    row(("2160p", 3840, 2160), (15_000, 22_000), (51, 52), 240, X264Preset::Fast),
    row(("1440p", 2560, 1440), (9_000, 13_500), (50, 51), 235, X264Preset::Fast),
    row(("1080p", 1920, 1080), (6_000, 9_000), (40, 42), 230, X264Preset::Medium),
    row(("720p", 1280, 720), (3_200, 4_800), (31, 32), 225, X264Preset::Medium),
    row(("540p", 960, 540), (1_900, 2_800), (31, 32), 220, X264Preset::Medium),
    row(("480p", 854, 480), (1_400, 2_100), (31, 31), 215, X264Preset::Medium),
    row(("360p", 640, 360), (800, 800), (30, 30), 210, X264Preset::Medium),
    row(("240p", 426, 240), (350, 350), (21, 21), 210, X264Preset::Medium),
];

/// Rungs of this short side and less take every second frame of fast sources.
pub(super) const HALF_RATE_SHORT: u32 = 360;

/// Every name of the table, for messages.
pub(super) fn names() -> String {
    TABLE.iter().map(|r| r.name).collect::<Vec<_>>().join(", ")
}

/// The row whose picture is nearest in pixels.
pub(super) fn nearest(pixels: u64) -> Row {
    let distance = |r: &Row| (u64::from(r.long) * u64::from(r.short)).abs_diff(pixels);
    TABLE.into_iter().min_by_key(distance).unwrap_or(TABLE[TABLE.len() - 1])
}

/// The cap for a picture of its own size: on the line between the rows around it, on the line's end above the
/// largest, and that of the smallest row below it. Rounded to 10 kbit/s.
pub(super) fn rate_between(pixels: u64, fast: bool) -> u32 {
    let point = |r: &Row| {
        let rate = if fast { r.max_rate_kbps.1 } else { r.max_rate_kbps.0 };
        (u64::from(r.long) * u64::from(r.short), u64::from(rate))
    };
    let smallest = point(&TABLE[TABLE.len() - 1]);
    if pixels <= smallest.0 {
        return smallest.1 as u32;
    }
    let upper = TABLE.windows(2).find(|w| pixels >= point(&w[1]).0).unwrap_or(&TABLE[..2]);
    let ((x1, y1), (x0, y0)) = (point(&upper[0]), point(&upper[1]));
    let rate = y0 + (pixels - x0) * (y1 - y0) / (x1 - x0);
    u32::try_from((rate + 5) / 10 * 10).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_on_the_line_meet_the_rows() {
        for r in TABLE {
            let pixels = u64::from(r.long) * u64::from(r.short);
            assert_eq!(rate_between(pixels, false), r.max_rate_kbps.0, "{}", r.name);
            assert_eq!(rate_between(pixels, true), r.max_rate_kbps.1, "{}", r.name);
            assert_eq!(nearest(pixels), r);
        }
        assert_eq!(rate_between(640 * 428, false), 950);
        assert_eq!(rate_between(16, false), 350);
        assert!(rate_between(7680 * 4320, false) > 40_000);
    }
}
