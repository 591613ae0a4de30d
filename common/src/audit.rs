//! Audits: a second look at files that were committed, by a worker that did not make them.
//!
//! A worker verifies what it makes and a coordinator checks what it reports, but neither decodes a picture, or
//! a sound, for the other. A worker that is broken, or hostile, could so commit media that is well formed and wrong. Which files are
//! looked at is drawn in `reelmill-plan`; what follows from a verdict is decided in `reelmill-coordinator-core`; what a
//! file is held against is in `reelmill-worker-core`.

use crate::hash::Canonical;
use crate::ids::{AttemptId, SegmentNumber, SpecId, WorkerId};
use crate::spec::{AudioChunk, AudioRange, ChunkMedia, ChunkSpec};
use crate::time::Ticks;
use std::borrow::Cow;

/// One file of a committed chunk, to be looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditSpec {
    /// The chunk as it was asked for.
    pub chunk: ChunkSpec,
    /// The attempt that was committed.
    pub attempt: AttemptId,
    /// Index of the rung in the chunk.
    pub rung: u32,
    /// Init segment (`None`) or a media segment.
    pub segment: Option<SegmentNumber>,
    /// Size in bytes, as committed.
    pub bytes: u64,
    /// SHA-256 of the content, as committed.
    pub sha256: crate::Sha256,
    /// Of a segment of sound: how the source's samples are found without decoding all sound before it. `None`: as the chunk's
    /// encoder found them.
    pub nearby: Option<AudioRange>,
}

impl AuditSpec {
    /// Hash of the canonical form. It names the attempt: what another one makes of the chunk is another thing to audit.
    pub fn spec_id(&self) -> SpecId {
        let mut c = Canonical::new("audit-spec/1");
        c.blob(&self.chunk.spec_id().0.0).num(self.attempt.term.0).num(self.attempt.sequence);
        c.num(self.rung.into()).num(self.segment.map_or(0, |n| n.0.into()));
        c.num(self.bytes).blob(&self.sha256.0);
        if let Some(range) = &self.nearby {
            range.canonical(&mut c);
        }
        SpecId(c.digest())
    }

    /// Of a segment of sound: the chunk as whose encoder an auditor takes samples from the source. It is the committed one,
    /// or the part of it that the segment is.
    pub fn listened(&self) -> Option<Cow<'_, AudioChunk>> {
        let ChunkMedia::Audio(chunk) = &self.chunk.media else { return None };
        let segment = chunk.segments.iter().find(|s| Some(s.number) == self.segment)?;
        Some(match self.nearby {
            None => Cow::Borrowed(chunk),
            nearby => Cow::Owned(AudioChunk {
                packets: (segment.first_packet, segment.end_packet),
                segments: vec![*segment],
                range: nearby,
                measure_loudness: false,
                ..chunk.clone()
            }),
        })
    }

    /// Frames that are held against the source: none of an init segment; of sound the packets, less the first, which
    /// cannot be decoded without the one before it.
    pub fn frames(&self) -> u64 {
        let chunk = match &self.chunk.media {
            ChunkMedia::Video(chunk) => chunk,
            ChunkMedia::Audio(chunk) => {
                let segment = chunk.segments.iter().find(|s| Some(s.number) == self.segment);
                return segment.map_or(0, |s| s.end_packet.saturating_sub(s.first_packet + 1));
            }
        };
        let every = chunk.rungs.get(self.rung as usize).map_or(1, |r| r.settings.every);
        let span = chunk.segments.iter().find(|s| Some(s.number) == self.segment).map(|s| s.range);
        let shown = chunk.rung_frames(every).filter_map(|i| chunk.frames.output.get(i));
        shown.filter(|t| span.is_some_and(|s| s.contains(Ticks(*t)))).count() as u64
    }
}

/// What was seen of a file that is as it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AuditReport {
    /// Frames that were decoded and held against the source; 0 for an init segment.
    pub frames: u64,
    /// The largest difference from the source: of a frame's luma, in hundredths of a step (0 to 25,500); of half a second's
    /// wave of sound, in hundredths of a percent.
    pub worst_x100: u32,
}

/// What a job's audits have come to, as its record tells.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Audits {
    /// Files that were looked at before the job was published, and were as they should be.
    pub files: u32,
    /// Of those, files of sound.
    pub sound: u32,
    /// Of those, by another worker than the one that made them.
    pub by_another: u32,
    /// Workers that committed something wrong. Nothing that they made of this job counts, or will.
    pub caught: Vec<Caught>,
    /// What they made may still lie where it is to be made again.
    pub unswept: bool,
    /// For how long nobody has been there who could say whether an accuser is right, milliseconds; counted in whole parts
    /// of the time after which accusers are believed, so that a new leader need not begin at nothing. 0 where nobody is
    /// accused.
    pub unheard_ms: u64,
}

impl Audits {
    /// Did this worker commit something wrong to the job?
    pub fn is_caught(&self, worker: &WorkerId) -> bool {
        self.caught.iter().any(|c| c.worker == *worker)
    }
}

/// A worker that committed something wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caught {
    /// Who.
    pub worker: WorkerId,
    /// What was wrong, for a person.
    pub what: String,
}
