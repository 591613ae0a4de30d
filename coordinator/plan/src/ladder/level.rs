//! H.264 levels: the limits of Rec. ITU-T H.264, table A-1 and clause A.3, for High profile.

/// What a stream asks of a decoder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    pub width: u32,
    pub height: u32,
    /// Frames a second as a fraction.
    pub rate: (u64, u64),
    pub max_rate_kbps: u32,
    pub buffer_kbit: u32,
    /// Frames the decoder has to keep.
    pub frames_kept: u64,
}

/// (level times ten, MaxMBPS, MaxFS, MaxDpbMbs, MaxBR, MaxCPB)
const TABLE: [(u8, u64, u64, u64, u64, u64); 19] = [
    (10, 1_485, 99, 396, 64, 175),
    (11, 3_000, 396, 900, 192, 500),
    (12, 6_000, 396, 2_376, 384, 1_000),
    (13, 11_880, 396, 2_376, 768, 2_000),
    (20, 11_880, 396, 2_376, 2_000, 2_000),
    (21, 19_800, 792, 4_752, 4_000, 4_000),
    (22, 20_250, 1_620, 8_100, 4_000, 4_000),
    (30, 40_500, 1_620, 8_100, 10_000, 10_000),
    (31, 108_000, 3_600, 18_000, 14_000, 14_000),
    (32, 216_000, 5_120, 20_480, 20_000, 20_000),
    (40, 245_760, 8_192, 32_768, 20_000, 25_000),
    (41, 245_760, 8_192, 32_768, 50_000, 62_500),
    (42, 522_240, 8_704, 34_816, 50_000, 62_500),
    (50, 589_824, 22_080, 110_400, 135_000, 135_000),
    (51, 983_040, 36_864, 184_320, 240_000, 240_000),
    (52, 2_073_600, 36_864, 184_320, 240_000, 240_000),
    (60, 4_177_920, 139_264, 696_320, 240_000, 240_000),
    (61, 8_355_840, 139_264, 696_320, 480_000, 480_000),
    (62, 16_711_680, 139_264, 696_320, 800_000, 800_000),
];

/// The lowest level, not below `at_least`, that the demand keeps to; `None` when no level does.
pub(super) fn lowest(demand: Demand, at_least: u8) -> Option<u8> {
    let wide = u64::from(demand.width.div_ceil(16));
    let high = u64::from(demand.height.div_ceil(16));
    let picture = wide * high;
    let per_second = (u128::from(picture) * u128::from(demand.rate.0)).div_ceil(demand.rate.1.max(1).into());
    // High profile: cpbBrNalFactor is 1500 and cpbBrVclFactor 1250 bits per unit; the smaller one holds
    let fits = |units: u64, kbit: u32| u64::from(kbit) * 1000 <= units * 1250;
    TABLE
        .iter()
        .find(|(level, mbps, fs, dpb, br, cpb)| {
            *level >= at_least
                && per_second <= u128::from(*mbps)
                && picture <= *fs
                && wide * wide <= 8 * fs
                && high * high <= 8 * fs
                && picture * demand.frames_kept <= *dpb
                && fits(*br, demand.max_rate_kbps)
                && fits(*cpb, demand.buffer_kbit)
        })
        .map(|row| row.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(width: u32, height: u32, fps: u64) -> Demand {
        Demand { width, height, rate: (fps, 1), max_rate_kbps: 1000, buffer_kbit: 1500, frames_kept: 4 }
    }

    #[test]
    fn the_table_of_the_default_ladder_keeps_to_its_levels() {
        for (w, h, fps, level) in [
            (3840, 2160, 30, 51),
            (3840, 2160, 60, 52),
            (2560, 1440, 30, 50),
            (2560, 1440, 60, 51),
            (1920, 1080, 30, 40),
            (1920, 1080, 60, 42),
            (1280, 720, 30, 31),
            (1280, 720, 60, 32),
            (960, 540, 30, 31),
            (960, 540, 60, 32),
            (854, 480, 30, 31),
            (640, 360, 30, 30),
            (426, 240, 30, 21),
        ] {
            assert!(lowest(demand(w, h, fps), 10).is_some_and(|l| l <= level), "{w}x{h} at {fps}");
        }
    }

    #[test]
    fn long_narrow_pictures_and_high_rates_raise_it() {
        assert_eq!(lowest(demand(4000, 16, 30), 10), Some(40));
        assert_eq!(lowest(demand(1920, 1080, 60), 40), Some(42));
        assert_eq!(lowest(Demand { max_rate_kbps: 30_000, ..demand(1280, 720, 30) }, 31), Some(41));
        assert_eq!(lowest(demand(7680, 4320, 60), 10), Some(61));
        assert_eq!(lowest(demand(16_000, 16_000, 60), 10), None);
    }
}
