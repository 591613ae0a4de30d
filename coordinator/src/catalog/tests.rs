//! What the catalog's tests are made of: plans of nothing.

use reelmill_common::capability::Needs;
use reelmill_common::index::{Demuxer, SourceId};
use reelmill_common::keys::plan_key;
use reelmill_common::ladder::{AudioMix, AudioSettings};
use reelmill_common::plan::{Plan, PlanReport, PlannedChunk};
use reelmill_common::record::ObjectRef;
use reelmill_common::spec::{AudioChunk, ChunkMedia, ChunkSpec, ExactTime};
use reelmill_common::{Sha256, Ticks, Timebase};

/// Where a revision would be stored.
pub(crate) fn object(revision: u32) -> ObjectRef {
    let sha256 = Sha256::of(&revision.to_le_bytes());
    ObjectRef { key: plan_key(revision, sha256), bytes: 1, sha256 }
}

/// A plan of so many chunks.
pub(crate) fn plan(revision: u32, chunks: u32) -> Plan {
    let timebase = Timebase::new(1, 48_000).unwrap();
    let zero = ExactTime { ticks: Ticks(0), timebase };
    let source = SourceId(Sha256::of(b"film"));
    let chunk = |number| {
        let chunk = AudioChunk {
            number,
            stream: number,
            timebase,
            zero,
            folder: "sound".to_owned(),
            settings: AudioSettings {
                sample_rate: 48_000,
                channels: 2,
                bit_rate_kbps: 128,
                mix: AudioMix::Keep,
            },
            total_samples: 1_024,
            packets: (0, 1),
            segments: Vec::new(),
            asc: vec![1],
            measure_loudness: false,
            range: None,
        };
        let spec = ChunkSpec { source, demuxer: Demuxer::Mov, media: ChunkMedia::Audio(chunk) };
        PlannedChunk { spec, cost_ms: 1, needs: Needs { family: None, memory_mib: 1 } }
    };
    Plan {
        revision,
        parent: None,
        source,
        zero,
        timebase,
        duration: 1_024,
        grid: Vec::new(),
        video: Vec::new(),
        audio: Vec::new(),
        chunks: (0..chunks).map(chunk).collect(),
        report: PlanReport::default(),
    }
}
