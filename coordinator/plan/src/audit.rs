//! The draw: which files of a job's picture are looked at again before it is published.
//!
//! One of [`ONE_IN`], by a hash of the file and of everything that was committed, and beside that one segment of each
//! worker that none was drawn of, for up to [`MAKERS_MAX`]. So every leader draws the same, and no worker knows while it
//! makes a file whether that will be among them: it would have to know what all others will have committed.

use crate::cost;
use reelmill_common::hash::Canonical;
use reelmill_common::index::VideoTrack;
use reelmill_common::ladder::VideoSettings;
use reelmill_common::plan::Plan;
use reelmill_common::record::CommitRecord;
use reelmill_common::spec::{ChunkMedia, VideoChunk};
use reelmill_common::{JobId, SegmentNumber, Sha256, WorkerId};
use std::collections::{BTreeMap, BTreeSet};

/// One file of so many is drawn.
pub const ONE_IN: u64 = 200;
/// Workers of which at least one segment is drawn.
pub const MAKERS_MAX: usize = 16;
/// Where a worker was caught, one of so many.
pub const ONE_IN_AFTER: u64 = 10;

/// Memory admitted for an audit of one of a rung's files, MiB: from the sizes of the pictures, as for a chunk.
pub fn memory_mib(source: &VideoTrack, rung: &VideoSettings, bytes: u64) -> u64 {
    cost::audit_memory_mib(source, rung, bytes)
}

/// A file that was drawn.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Drawn {
    /// Its chunk, by its place in the plan.
    pub chunk: usize,
    /// Its rung within the chunk.
    pub rung: u32,
    /// Init segment (`None`) or a media segment.
    pub segment: Option<SegmentNumber>,
}

/// Draws from what is published of a plan, whose chunks have these commits, in its order. Sound is not drawn from: how far
/// an encode of sound may be from its source is no matter of bytes.
pub fn draw(plan: &Plan, job: &JobId, commits: &[CommitRecord], one_in: u64) -> Vec<Drawn> {
    let seed = seed(job, commits);
    let mut drawn = Vec::new();
    let mut seen: BTreeSet<&WorkerId> = BTreeSet::new();
    let mut least: BTreeMap<&WorkerId, (u64, Drawn)> = BTreeMap::new();
    for (n, (chunk, commit)) in plan.chunks.iter().zip(commits).enumerate() {
        let ChunkMedia::Video(video) = &chunk.spec.media else { continue };
        for file in files(plan, n, video) {
            let mut c = Canonical::new("audit-draw/1");
            c.blob(&seed.0).blob(&commit.spec.0.0).num(file.rung.into());
            c.num(file.segment.map_or(0, |s| s.0.into()));
            let lot = number(c.digest());
            let is_drawn = lot.is_multiple_of(one_in.max(1));
            if is_drawn {
                drawn.push(file);
            }
            if file.segment.is_none() {
                continue;
            }
            if is_drawn {
                seen.insert(&commit.worker);
            }
            let first = least.entry(&commit.worker).or_insert((lot, file));
            *first = (*first).min((lot, file));
        }
    }
    least.retain(|maker, _| !seen.contains(maker));
    let mut more: Vec<(u64, Drawn)> = least.into_values().collect();
    more.sort_unstable();
    drawn.extend(more.into_iter().take(MAKERS_MAX).map(|(_, file)| file));
    drawn
}

fn files(plan: &Plan, chunk: usize, video: &VideoChunk) -> Vec<Drawn> {
    let begins = video.segments.first().is_some_and(|s| s.number.0 == 1);
    let mut files = Vec::new();
    for (rung, made) in (0u32..).zip(&video.rungs) {
        // a committed chunk may hold some of an earlier revision's rungs, too
        if !plan.video.iter().any(|v| v.folder == made.folder) {
            continue;
        }
        let media = video.segments.iter().map(|s| Some(s.number));
        let all = begins.then_some(None).into_iter().chain(media);
        files.extend(all.map(|segment| Drawn { chunk, rung, segment }));
    }
    files
}

fn seed(job: &JobId, commits: &[CommitRecord]) -> Sha256 {
    let mut c = Canonical::new("audit-seed/1");
    c.text(job.as_str());
    for commit in commits {
        c.blob(&commit.spec.0.0).num(commit.attempt.term.0).num(commit.attempt.sequence);
        c.text(commit.worker.as_str()).blob(&commit.report.sha256.0);
    }
    c.digest()
}

fn number(hash: Sha256) -> u64 {
    hash.0.iter().take(8).fold(0, |n, byte| n << 8 | u64::from(*byte))
}
