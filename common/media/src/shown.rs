//! The film as its decoder shows it: for sources whose packets promise frames that nobody will ever see.
//!
//! A film that is damaged inside of its samples has a container without a fault. Its index says what it promises; a scan
//! of frames says what comes of that. Here the one is held against the other: what is shown, when it is shown, is the
//! film from then on, and what is missing is said.

use reelmill_common::hash::Canonical;
use reelmill_common::index::{KeyFrame, SourceId, SourceIndex, VideoTrack};
use reelmill_common::time::{TickSeq, Ticks, Timebase};

/// Places of missing frames that are named.
const NAMED: usize = 5;
const MILLIS: Timebase = Timebase::hz(std::num::NonZeroU32::new(1_000).expect("a thousand is not zero"));

/// Puts what a decoder shows (`decoded`: the same track, scanned by frames) in the place of what packets promise. Sound
/// and everything else stay as they are. The source's identity becomes another one, so that nothing which was made of the
/// promise is taken for a part of this film.
pub fn by_decoder(mut index: SourceIndex, decoded: &VideoTrack) -> SourceIndex {
    let Some(video) = &mut index.video else { return index };
    let note = difference(video, decoded);
    video.keys = keys(video, decoded);
    video.frames = decoded.frames.clone();
    let mut c = Canonical::new("source-shown/1");
    c.blob(&index.source.0.0).num(video.frames.len() as u64);
    video.frames.iter().for_each(|t| {
        c.int(t);
    });
    index.source = SourceId(c.digest());
    index.notes.insert(0, note);
    index
}

/// Where decoding may still begin: at keyframes that the decoder showed as such, when their packets said.
fn keys(promised: &VideoTrack, decoded: &VideoTrack) -> Vec<KeyFrame> {
    let first = promised.frames.first();
    let is_shown = |k: &&KeyFrame| {
        // one before the first frame is decoded for those after it, and never shown
        Some(k.pts.0) < first || decoded.keys.binary_search_by_key(&k.pts, |d| d.pts).is_ok()
    };
    let number = |pts: Ticks| count_before(&decoded.frames, pts.0);
    let key = |k: &KeyFrame| KeyFrame { frame: number(k.pts) as u32, ..*k };
    promised
        .keys
        .iter()
        .filter(is_shown)
        .map(key)
        .filter(|k| (k.frame as usize) < decoded.frames.len())
        .collect()
}

fn count_before(times: &TickSeq, pts: i64) -> usize {
    let (mut low, mut high) = (0, times.len());
    while low < high {
        let middle = low + (high - low) / 2;
        if times.get(middle).is_some_and(|t| t < pts) { low = middle + 1 } else { high = middle }
    }
    low
}

/// What is missing, and where, for people.
fn difference(promised: &VideoTrack, decoded: &VideoTrack) -> String {
    let (all, shown) = (promised.frames.len(), decoded.frames.len());
    let head = format!("the film is damaged: its decoder shows {shown} of the {all} pictures that are in it");
    let holes = holes(&promised.frames, &decoded.frames);
    let missing: usize = holes.iter().map(|(_, count)| count).sum();
    // decoders that have lost their way show pictures at other times than their packets': a place would be made up
    if missing != all.saturating_sub(shown) {
        return format!("{head}, some of them at other times than it says");
    }
    let zero = promised.frames.first().unwrap_or(0);
    let place = |(at, count): &(i64, usize)| {
        let ms = promised.timebase.rescale(Ticks(at - zero), MILLIS).0;
        format!("{count} from {}:{:02}.{:03} on", ms / 60_000, ms / 1_000 % 60, ms % 1_000)
    };
    let mut places: Vec<String> = holes.iter().take(NAMED).map(place).collect();
    match holes.len() {
        0 => return head,
        n if n > NAMED => places.push(format!("and {} more places", n - NAMED)),
        _ => {}
    }
    let begins = if holes[0].0 == zero { ": it begins with the first that is shown" } else { "" };
    format!("{head}; missing are {}{begins}", places.join(", "))
}

/// Runs of promised frames that are not shown: the first one's time, and how many.
fn holes(promised: &TickSeq, shown: &TickSeq) -> Vec<(i64, usize)> {
    let mut holes: Vec<(i64, usize)> = Vec::new();
    let mut shown = shown.iter().peekable();
    let mut open = false;
    for t in promised.iter() {
        while shown.next_if(|s| *s < t).is_some() {}
        if shown.next_if(|s| *s == t).is_some() {
            open = false;
        } else if let (true, Some((_, count))) = (open, holes.last_mut()) {
            *count += 1;
        } else {
            holes.push((t, 1));
            open = true;
        }
    }
    holes
}

#[cfg(test)]
mod tests;
