//! The draw: which files of a job are looked at again before it is published.
//!
//! One of [`ONE_IN`], by a hash of the file and of everything that was committed, and beside that one segment of picture and
//! one of sound of each worker that none was drawn of, for up to [`MAKERS_MAX`] each. So every leader draws the same, and no
//! worker knows while it makes a file whether that will be among them: it would have to know what all others will have
//! committed.
//!
//! Sound is held against what the auditor's own ffmpeg makes of the source. So it is drawn only where every ffmpeg makes the
//! same of it: of tracks in a codec whose decoders were measured to agree, in a track that has no hole. And where the samples
//! of a segment can only be found by decoding all sound before it ([`Listening::FromTheStart`]), no more than one of its
//! maker's is drawn.

use crate::audio::ranges::nearby;
use crate::cost;
use reelmill_common::hash::Canonical;
use reelmill_common::index::{AudioTrack, SourceIndex, VideoTrack};
use reelmill_common::ladder::{AudioSettings, VideoSettings};
use reelmill_common::plan::Plan;
use reelmill_common::record::CommitRecord;
use reelmill_common::spec::{AAC_FRAME, AudioChunk, AudioRange, AudioSegment, ChunkMedia, VideoChunk};
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

/// Codecs that every ffmpeg decodes to the same sound, beside plain samples (`pcm_…`): 5.1 and 9.0 were heard alike over films of
/// the corpus (`bench/audit.md`), and `flac`, of which there is none, is lossless. AMR is none: of packets with several frames
/// the one decodes the first, the other all.
const ALIKE: [&str; 7] = ["aac", "mp3", "mp2", "ac3", "opus", "vorbis", "flac"];

/// How an auditor finds the samples of a segment of sound in its source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listening {
    /// It begins a little before them.
    Nearby(AudioRange),
    /// As the encoder of the chunk did: from the beginning of its range, or of the film.
    FromTheStart,
}

impl Listening {
    /// For a segment of a chunk, if every ffmpeg hears the same there.
    pub fn to(source: &SourceIndex, chunk: &AudioChunk, segment: &AudioSegment) -> Option<Self> {
        let track = source.audio.iter().find(|t| t.stream == chunk.stream).filter(|t| is_heard_alike(t))?;
        Some(nearby(chunk, track, segment).map_or(Self::FromTheStart, Self::Nearby))
    }

    /// What an auditor is told.
    pub fn nearby(self) -> Option<AudioRange> {
        match self {
            Self::Nearby(range) => Some(range),
            Self::FromTheStart => None,
        }
    }
}

/// Does every ffmpeg hear the same in this track?
fn is_heard_alike(track: &AudioTrack) -> bool {
    track.gaps.is_empty() && (ALIKE.contains(&track.codec.as_str()) || track.codec.starts_with("pcm_"))
}

/// Memory admitted for an audit of a segment of sound, MiB: a decoder, and in the worker the file and both sides' samples.
pub fn sound_memory_mib(settings: &AudioSettings, packets: u64, bytes: u64) -> u64 {
    cost::sound_audit_memory_mib(packets.saturating_mul(AAC_FRAME), settings.channels, bytes)
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

/// Draws from what is published of a plan of this source, whose chunks have these commits, in its order.
pub fn draw(
    plan: &Plan,
    source: &SourceIndex,
    job: &JobId,
    commits: &[CommitRecord],
    one_in: u64,
) -> Vec<Drawn> {
    let seed = seed(job, commits);
    let mut drawn = Vec::new();
    // of picture, and of sound
    let mut kinds = [Makers::default(), Makers::default()];
    for (n, (chunk, commit)) in plan.chunks.iter().zip(commits).enumerate() {
        let (files, makers, is_dear) = match &chunk.spec.media {
            ChunkMedia::Video(video) => (pictures(plan, n, video), &mut kinds[0], false),
            ChunkMedia::Audio(audio) => {
                let first = audio.segments.first().and_then(|s| Listening::to(source, audio, s));
                let Some(listening) = first else { continue };
                let is_dear = listening == Listening::FromTheStart;
                (sound(plan, n, audio), &mut kinds[1], is_dear)
            }
        };
        for file in files {
            let mut c = Canonical::new("audit-draw/1");
            c.blob(&seed.0).blob(&commit.spec.0.0).num(file.rung.into());
            c.num(file.segment.map_or(0, |s| s.0.into()));
            let lot = number(c.digest());
            let is_drawn = !is_dear && lot.is_multiple_of(one_in.max(1));
            if is_drawn {
                drawn.push(file);
            }
            makers.add(&commit.worker, file, lot, is_drawn);
        }
    }
    drawn.extend(kinds.into_iter().flat_map(Makers::unseen));
    drawn
}

/// Who made segments of a kind.
#[derive(Default)]
struct Makers<'a> {
    seen: BTreeSet<&'a WorkerId>,
    least: BTreeMap<&'a WorkerId, (u64, Drawn)>,
}

impl<'a> Makers<'a> {
    fn add(&mut self, maker: &'a WorkerId, file: Drawn, lot: u64, is_drawn: bool) {
        if file.segment.is_none() {
            return;
        }
        if is_drawn {
            self.seen.insert(maker);
        }
        let first = self.least.entry(maker).or_insert((lot, file));
        *first = (*first).min((lot, file));
    }

    /// A segment of each of whom none was drawn.
    fn unseen(mut self) -> impl Iterator<Item = Drawn> {
        self.least.retain(|maker, _| !self.seen.contains(maker));
        let mut more: Vec<(u64, Drawn)> = self.least.into_values().collect();
        more.sort_unstable();
        more.into_iter().take(MAKERS_MAX).map(|(_, file)| file)
    }
}

fn pictures(plan: &Plan, chunk: usize, video: &VideoChunk) -> Vec<Drawn> {
    let begins = video.segments.first().is_some_and(|s| s.number.0 == 1);
    let mut files = Vec::new();
    for (rung, made) in (0u32..).zip(&video.rungs) {
        // a committed chunk may hold some of an earlier revision's rungs, too
        if plan.video.iter().any(|v| v.folder == made.folder) {
            files.extend(of_rung(chunk, rung, begins, video.segments.iter().map(|s| s.number)));
        }
    }
    files
}

fn sound(plan: &Plan, chunk: usize, audio: &AudioChunk) -> Vec<Drawn> {
    if !plan.audio.iter().any(|a| a.folder == audio.folder) {
        return Vec::new();
    }
    let begins = audio.segments.first().is_some_and(|s| s.number.0 == 1);
    of_rung(chunk, 0, begins, audio.segments.iter().map(|s| s.number)).collect()
}

/// The files of one rendition in a chunk: whoever makes its first segment makes its init segment.
fn of_rung(
    chunk: usize,
    rung: u32,
    begins: bool,
    media: impl Iterator<Item = SegmentNumber>,
) -> impl Iterator<Item = Drawn> {
    let all = begins.then_some(None).into_iter().chain(media.map(Some));
    all.map(move |segment| Drawn { chunk, rung, segment })
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
