//! Downmix to stereo, stated in full: one row of gains per output channel, so that no encoder's own rule, which
//! varies with its version, decides what a film sounds like.
//!
//! Coefficients are the usual ones of ITU-R BS.775: centre and surround at -3 dB, LFE left out. One gain for the
//! whole film, from the measured peak, keeps it from clipping.

/// 1 in units of 1/10,000.
pub(super) const UNITY: i32 = 10_000;

/// -3 dB (the square root of one half).
const MINUS_3_DB: i32 = 7071;

/// Where a channel stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    /// Only in the left output.
    Left,
    /// Only in the right output.
    Right,
    /// In the left output, 3 dB down: surround and wide.
    LeftBehind,
    /// In the right output, 3 dB down.
    RightBehind,
    /// In both, 3 dB down each.
    Centre,
    /// A single back channel: in both, 6 dB down each, as loud as a pair of surrounds.
    Back,
    /// In none.
    Lfe,
}

use Side::{Back, Centre, Left, LeftBehind, Lfe, Right, RightBehind};

/// ffmpeg's layouts of more than two channels, in ffmpeg's channel order.
const LAYOUTS: [(&str, &[Side]); 24] = [
    ("2.1", &[Left, Right, Lfe]),
    ("3.0", &[Left, Right, Centre]),
    ("3.0(back)", &[Left, Right, Back]),
    ("4.0", &[Left, Right, Centre, Back]),
    ("quad", &[Left, Right, LeftBehind, RightBehind]),
    ("quad(side)", &[Left, Right, LeftBehind, RightBehind]),
    ("3.1", &[Left, Right, Centre, Lfe]),
    ("5.0", &[Left, Right, Centre, LeftBehind, RightBehind]),
    ("5.0(side)", &[Left, Right, Centre, LeftBehind, RightBehind]),
    ("4.1", &[Left, Right, Centre, Lfe, Back]),
    ("5.1", &[Left, Right, Centre, Lfe, LeftBehind, RightBehind]),
    ("5.1(side)", &[Left, Right, Centre, Lfe, LeftBehind, RightBehind]),
    ("6.0", &[Left, Right, Centre, Back, LeftBehind, RightBehind]),
    ("6.0(front)", &[Left, Right, LeftBehind, RightBehind, LeftBehind, RightBehind]),
    ("hexagonal", &[Left, Right, Centre, LeftBehind, RightBehind, Back]),
    ("6.1", &[Left, Right, Centre, Lfe, Back, LeftBehind, RightBehind]),
    ("6.1(back)", &[Left, Right, Centre, Lfe, LeftBehind, RightBehind, Back]),
    ("6.1(front)", &[Left, Right, Lfe, LeftBehind, RightBehind, LeftBehind, RightBehind]),
    ("7.0", &[Left, Right, Centre, LeftBehind, RightBehind, LeftBehind, RightBehind]),
    ("7.0(front)", &[Left, Right, Centre, LeftBehind, RightBehind, LeftBehind, RightBehind]),
    ("7.1", &[Left, Right, Centre, Lfe, LeftBehind, RightBehind, LeftBehind, RightBehind]),
    ("7.1(wide)", &[Left, Right, Centre, Lfe, LeftBehind, RightBehind, LeftBehind, RightBehind]),
    ("7.1(wide-side)", &[Left, Right, Centre, Lfe, LeftBehind, RightBehind, LeftBehind, RightBehind]),
    ("octagonal", &[Left, Right, Centre, LeftBehind, RightBehind, Back, LeftBehind, RightBehind]),
];

/// What ffmpeg takes a count of channels for when a file names no layout.
fn by_count(channels: u16) -> Option<&'static [Side]> {
    let name = match channels {
        3 => "2.1",
        4 => "4.0",
        5 => "5.0",
        6 => "5.1",
        7 => "6.1",
        8 => "7.1",
        _ => return None,
    };
    LAYOUTS.iter().find(|l| l.0 == name).map(|l| l.1)
}

/// The stereo matrix of a track, before gain, and whether it rests on a known layout. Channels of an unknown
/// arrangement are not guessed at: the first two are taken.
pub(super) fn to_stereo(layout: Option<&str>, channels: u16) -> (Vec<Vec<i32>>, bool) {
    let named =
        LAYOUTS.iter().find(|l| Some(l.0) == layout && l.1.len() == usize::from(channels)).map(|l| l.1);
    let sides = named.or_else(|| layout.is_none().then(|| by_count(channels)).flatten());
    match sides {
        Some(sides) => (vec![row(sides, true), row(sides, false)], true),
        None => {
            let only = |n: u16| (0..channels).map(|c| if c == n { UNITY } else { 0 }).collect();
            (vec![only(0), only(1)], false)
        }
    }
}

fn row(sides: &[Side], left: bool) -> Vec<i32> {
    let gain = |s: &Side| match s {
        Left if left => UNITY,
        Right if !left => UNITY,
        LeftBehind if left => MINUS_3_DB,
        RightBehind if !left => MINUS_3_DB,
        Centre => MINUS_3_DB,
        Back => UNITY / 2,
        _ => 0,
    };
    sides.iter().map(gain).collect()
}

/// A mono track on both outputs.
pub(super) fn mono_to_stereo() -> Vec<Vec<i32>> {
    vec![vec![UNITY], vec![UNITY]]
}

/// The matrix with the gain that brings `peak` (1/10,000 of full scale, measured through the matrix as it is) to at
/// most full scale. Rounded towards zero, never up.
pub(super) fn with_gain(matrix: Vec<Vec<i32>>, peak: u32) -> Vec<Vec<i32>> {
    let peak = i64::from(peak).max(i64::from(UNITY));
    let scale = |g: i32| (i64::from(g) * i64::from(UNITY) / peak) as i32;
    matrix.into_iter().map(|row| row.into_iter().map(scale).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_surround_track_is_folded_by_the_stated_matrix() {
        let (m, known) = to_stereo(Some("5.1(side)"), 6);
        assert!(known);
        assert_eq!(m[0], [10_000, 0, 7071, 0, 7071, 0]);
        assert_eq!(m[1], [0, 10_000, 7071, 0, 0, 7071]);
        assert_eq!(to_stereo(None, 6).0, m);
    }

    #[test]
    fn an_unknown_arrangement_is_not_guessed_at() {
        let (m, known) = to_stereo(Some("hexadecagonal"), 16);
        assert!(!known);
        assert_eq!((m[0][0], m[1][1], m[0].iter().sum::<i32>()), (UNITY, UNITY, UNITY));
        assert!(!to_stereo(Some("5.1"), 7).1, "a layout that contradicts the channel count");
    }

    #[test]
    fn the_gain_only_ever_lowers() {
        let m = to_stereo(Some("5.1"), 6).0;
        assert_eq!(with_gain(m.clone(), 9_000), m);
        assert_eq!(with_gain(m.clone(), 0), m);
        assert_eq!(with_gain(m, 20_000)[0], [5_000, 0, 3535, 0, 3535, 0]);
    }

    #[test]
    fn every_layout_is_symmetric() {
        for (name, sides) in LAYOUTS {
            let sum = |left| row(sides, left).iter().sum::<i32>();
            assert_eq!(sum(true), sum(false), "{name}");
        }
    }
}
