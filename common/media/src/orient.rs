//! Display matrices: the quarter turns and mirrors a transformation matrix of MP4, or ffprobe's print of one, does.

use reelmill_common::index::Rotation;

/// One in 16.16 fixed point.
const ONE: i32 = 0x1_0000;

/// The rotation of the matrix `a b / c d` in 16.16 fixed point; `None` when it does anything else.
pub(crate) fn turn(a: i32, b: i32, c: i32, d: i32) -> Option<Rotation> {
    const MINUS: i32 = -ONE;
    let (quarter_turns, mirrored) = match (a, b, c, d) {
        (ONE, 0, 0, ONE) => (0, false),
        (0, ONE, MINUS, 0) => (1, false),
        (MINUS, 0, 0, MINUS) => (2, false),
        (0, MINUS, ONE, 0) => (3, false),
        (MINUS, 0, 0, ONE) => (0, true),
        (0, ONE, ONE, 0) => (1, true),
        (ONE, 0, 0, MINUS) => (2, true),
        (0, MINUS, MINUS, 0) => (3, true),
        _ => return None,
    };
    Some(Rotation { quarter_turns, mirrored })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the pixel right of the origin (1, 0) and the one below it (0, 1) go, by turning and mirroring in words.
    fn by_hand(r: Rotation) -> (i32, i32, i32, i32) {
        let (mut x, mut y) = ((1, 0), (0, 1));
        for _ in 0..r.quarter_turns {
            // clockwise with y downwards: right becomes down, down becomes left
            (x, y) = ((-x.1, x.0), (-y.1, y.0));
        }
        let flip = if r.mirrored { -1 } else { 1 };
        (flip * x.0 * ONE, x.1 * ONE, flip * y.0 * ONE, y.1 * ONE)
    }

    #[test]
    fn all_eight_orientations_and_nothing_else() {
        for quarter_turns in 0..4 {
            for mirrored in [false, true] {
                let r = Rotation { quarter_turns, mirrored };
                let (a, b, c, d) = by_hand(r);
                assert_eq!(turn(a, b, c, d), Some(r), "{r:?}");
            }
        }
        assert_eq!(turn(ONE / 2, 0, 0, ONE / 2), None);
        assert_eq!(turn(46341, 46341, -46341, 46341), None);
    }
}
