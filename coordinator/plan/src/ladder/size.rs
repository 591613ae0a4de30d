//! Picture sizes: what a source looks like upright with square pixels, and how it fits a box.

use reelmill_common::index::VideoTrack;

/// A size in square pixels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Size {
    pub width: u32,
    pub height: u32,
}

impl Size {
    /// The upright picture of a checked track. Pixels that are not square change the width, as players show it.
    pub(crate) fn shown(video: &VideoTrack) -> Self {
        let (num, den) = (u64::from(video.sar.0.max(1)), u64::from(video.sar.1.max(1)));
        let wide = (u64::from(video.width) * num + den / 2) / den;
        // a pixel shape that would blow the width up beyond reason is a lie of the file
        let width = if wide == 0 || wide > u64::from(video.width) * 8 { video.width } else { wide as u32 };
        let (width, height) =
            if video.rotation.swaps_sides() { (video.height, width) } else { (width, video.height) };
        Self { width: width.max(1), height: height.max(1) }
    }

    pub(crate) fn long(self) -> u32 {
        self.width.max(self.height)
    }

    pub(crate) fn short(self) -> u32 {
        self.width.min(self.height)
    }

    /// Long and short side of the smallest 16:9 box that holds the picture: what the table's rows are compared by.
    pub(crate) fn frame(self) -> (u32, u32) {
        let long = u64::from(self.long()).max(u64::from(self.short()) * 16 / 9);
        let short = u64::from(self.short()).max(u64::from(self.long()) * 9 / 16);
        (u32::try_from(long).unwrap_or(u32::MAX), u32::try_from(short).unwrap_or(u32::MAX))
    }

    /// Fits into a box of `long` x `short`, turned for portrait, never larger than it is; even sides of 2 or more.
    pub(crate) fn fit(self, long: u32, short: u32) -> Self {
        let (num, den) = self.scale(long, short);
        Self { width: even(self.width, num, den), height: even(self.height, num, den) }
    }

    /// Does the box shrink the picture by more than a tenth?
    pub(crate) fn exceeds(self, long: u32, short: u32) -> bool {
        let (num, den) = self.scale(long, short);
        u64::from(num) * 11 < u64::from(den) * 10
    }

    /// Does the picture reach nine tenths of the box on either side?
    pub(crate) fn reaches(self, long: u32, short: u32) -> bool {
        u64::from(self.long()) * 10 >= u64::from(long) * 9
            || u64::from(self.short()) * 10 >= u64::from(short) * 9
    }

    /// min(long / own long, short / own short, 1) as a fraction.
    fn scale(self, long: u32, short: u32) -> (u32, u32) {
        let by_long = (long, self.long());
        let by_short = (short, self.short());
        let less =
            |a: (u32, u32), b: (u32, u32)| u64::from(a.0) * u64::from(b.1) < u64::from(b.0) * u64::from(a.1);
        let scale = if less(by_short, by_long) { by_short } else { by_long };
        if less(scale, (1, 1)) { scale } else { (1, 1) }
    }
}

/// `side * num / den` as the nearest even number, at least 2, never more than the side holds.
fn even(side: u32, num: u32, den: u32) -> u32 {
    let doubled = 2 * u64::from(den);
    let pairs = (u64::from(side) * u64::from(num) + doubled / 2) / doubled;
    (pairs.min(u64::from(side / 2)).max(1) * 2) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(width: u32, height: u32) -> Size {
        Size { width, height }
    }

    #[test]
    fn pictures_fit_boxes_evenly_and_are_never_enlarged() {
        assert_eq!(size(1920, 1080).fit(1280, 720), size(1280, 720));
        assert_eq!(size(1920, 800).fit(1280, 720), size(1280, 534));
        assert_eq!(size(1080, 1920).fit(1280, 720), size(720, 1280));
        assert_eq!(size(640, 428).fit(640, 360), size(538, 360));
        assert_eq!(size(321, 241).fit(640, 360), size(320, 240));
        assert_eq!(size(16, 4000).fit(640, 360), size(2, 640));
        assert_eq!(size(1, 1).fit(640, 360), size(2, 2));
        assert_eq!(size(854, 480).fit(640, 360), size(640, 360));
    }

    #[test]
    fn a_tenth_of_grace_on_either_side() {
        assert!(size(1920, 800).reaches(1920, 1080));
        assert!(size(1728, 400).reaches(1920, 1080));
        assert!(!size(1727, 971).reaches(1920, 1080));
        assert!(size(640, 428).exceeds(640, 360));
        assert!(!size(2048, 858).exceeds(1920, 1080));
    }
}
