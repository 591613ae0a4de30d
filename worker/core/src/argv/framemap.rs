//! The frame map as filters: from the source frames of a chunk, in source ticks, to its output frames on the
//! encoder's timeline.
//!
//! Frames that are not shown are left out by `select`. A frame that is shown again is repeated by `loop`, one filter
//! per such frame, because `select` cannot repeat; `interleave` of two branches was tried on paper and would hold every
//! frame between two repetitions in memory. `loop` moves the times of what follows it, by other amounts in ffmpeg 5.1
//! and 9.0, but by the same amount until the next repetition: so the times after it are said by number at and after
//! each repetition, and by distance to the frame before everywhere else.

use super::ArgvError;
use super::timeline::{OFFSET_SECONDS, encoder_timebase};
use reelmill_common::spec::VideoChunk;

/// Most repeated frames in a chunk: each is a filter of its own.
const MAX_REPEATED: usize = 1_000;

/// Filters from `trim`med frames to the frames and times of `times` (see [`super::timeline::encoder_times`]).
pub(super) fn filters(chunk: &VideoChunk, times: &[i64]) -> Result<Vec<String>, ArgvError> {
    let tb = encoder_timebase(chunk.timebase);
    let first = chunk.frames.source.first().unwrap_or_default();
    let shift = OFFSET_SECONDS * i64::from(tb.den()) - first * i64::from(chunk.timebase.num());
    let mut filters = Vec::new();
    let copies = chunk.frames.copies.as_deref().unwrap_or_default();
    if let Some(keep) = selection(copies) {
        filters.push(format!("select=expr='{keep}'"));
    }
    filters.push(format!("settb=expr={tb}"));
    filters.push(format!("setpts=expr=PTS{shift:+}"));
    let repeated = repetitions(copies);
    if repeated.len() > MAX_REPEATED {
        let what =
            format!("{} frames are held for longer than a grid line; cut smaller chunks", repeated.len());
        return Err(ArgvError::FrameMap(what));
    }
    for (at, more) in &repeated {
        // `start` counts frames that have come in, this one included
        filters.push(format!("loop=loop={more}:size=1:start={}", at + 1));
    }
    if !repeated.is_empty() {
        filters.push(format!("setpts=expr='{}'", tree(&leaves(&repeated, times))));
    }
    Ok(filters)
}

/// The frames that are shown at all, as an expression over `n`; `None` when all are.
fn selection(copies: &[u8]) -> Option<String> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (i, _) in copies.iter().enumerate().filter(|(_, c)| **c == 0) {
        match runs.last_mut() {
            Some((_, end)) if *end + 1 == i => *end = i,
            _ => runs.push((i, i)),
        }
    }
    let (first, _) = *runs.first()?;
    // every k-th frame kept: one term whatever the length
    let kept: Vec<usize> = (0..copies.len()).filter(|i| copies[*i] > 0).collect();
    if let [a, b, ..] = kept[..] {
        let step = b - a;
        let last = kept.last().copied().unwrap_or(a);
        let whole = a < step && copies.len() - last <= step;
        if step > 1 && whole && kept.windows(2).all(|w| w[1] - w[0] == step) {
            return Some(format!("eq(mod(n,{step}),{})", a % step));
        }
    }
    let mut terms: Vec<Leaf> = Vec::new();
    if first > 0 {
        terms.push(Leaf { from: 0, says: "1".to_owned() });
    }
    for (a, b) in &runs {
        terms.push(Leaf { from: *a, says: "0".to_owned() });
        terms.push(Leaf { from: b + 1, says: "1".to_owned() });
    }
    Some(tree_over(&terms, "n"))
}

/// Output number of each repeated frame's first showing, and how often more it is shown.
fn repetitions(copies: &[u8]) -> Vec<(usize, u8)> {
    let mut shown = 0;
    let mut out = Vec::new();
    for copies in copies {
        if *copies > 1 {
            out.push((shown, copies - 1));
        }
        shown += usize::from(*copies);
    }
    out
}

/// From frame number `from` on, until the next leaf, the expression says this.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Leaf {
    from: usize,
    says: String,
}

/// Times by number at each repetition and at the frame after it, by distance elsewhere.
fn leaves(repeated: &[(usize, u8)], times: &[i64]) -> Vec<Leaf> {
    let fixed = |i: usize| times.get(i).map(|t| Leaf { from: i, says: t.to_string() });
    let onward = |from: usize| Leaf { from, says: "PREV_OUTPTS+PTS-PREV_INPTS".to_owned() };
    let mut out: Vec<Leaf> = fixed(0).into_iter().chain([onward(1)]).collect();
    for (at, more) in repeated {
        let after = at + usize::from(*more) + 1;
        // the showings after the first, and the next frame; a frame may follow that is repeated itself
        for i in at + 1..=after {
            out.retain(|l| l.from < i);
            out.extend(fixed(i));
        }
        out.push(onward(after + 1));
    }
    out
}

fn tree(leaves: &[Leaf]) -> String {
    tree_over(leaves, "N")
}

/// Nested `if`s over a frame number, balanced: ffmpeg's parser gives up at a depth of a hundred.
fn tree_over(leaves: &[Leaf], variable: &str) -> String {
    match leaves {
        [] => "0".to_owned(),
        [leaf] => leaf.says.clone(),
        _ => {
            let (low, high) = leaves.split_at(leaves.len() / 2);
            format!(
                "if(lt({variable},{}),{},{})",
                high[0].from,
                tree_over(low, variable),
                tree_over(high, variable)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_is_short_where_it_is_regular() {
        assert_eq!(selection(&[1, 1, 2]), None);
        assert_eq!(selection(&[1, 0, 1, 0, 1]).as_deref(), Some("eq(mod(n,2),0)"));
        assert_eq!(selection(&[0, 1, 0, 1]).as_deref(), Some("eq(mod(n,2),1)"));
        assert_eq!(selection(&[1, 0, 0, 1, 1]).as_deref(), Some("if(lt(n,1),1,if(lt(n,3),0,1))"));
        assert_eq!(selection(&[0, 1, 1]).as_deref(), Some("if(lt(n,1),0,1)"));
    }

    #[test]
    fn neighbouring_repetitions_leave_no_hole() {
        let times: Vec<i64> = (0..8).map(|i| i * 100).collect();
        let says = |repeated: &[(usize, u8)]| {
            leaves(repeated, &times).into_iter().map(|l| format!("{}:{}", l.from, l.says)).collect::<Vec<_>>()
        };
        let onward = "PREV_OUTPTS+PTS-PREV_INPTS";
        assert_eq!(
            says(&[(0, 1), (2, 2)]),
            ["0:0", "1:100", "2:200", "3:300", "4:400", "5:500", &format!("6:{onward}")]
        );
        assert_eq!(
            says(&[(2, 1)]),
            ["0:0", &format!("1:{onward}"), "3:300", "4:400", &format!("5:{onward}")]
        );
    }
}
