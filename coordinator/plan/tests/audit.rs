//! The draw of audits: one of so many, at least one of picture and one of sound, the same for everybody, and for nobody to
//! know beforehand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod films;
mod planned;

use reelmill_common::index::{AudioGap, AudioTrack, SourceIndex};
use reelmill_common::job::JobOptions;
use reelmill_common::plan::{Plan, PlannedChunk};
use reelmill_common::record::{CommitRecord, ObjectRef};
use reelmill_common::spec::{AudioChunk, ChunkMedia};
use reelmill_common::{AttemptId, FencingTerm, JobId, ObjectKey, SegmentNumber, Sha256, Ticks, WorkerId};
use reelmill_plan::audit::{Drawn, Listening, MAKERS_MAX, ONE_IN, draw};
use std::collections::BTreeSet;

fn plan() -> Plan {
    planned::plan(&films::cinema_24(), &JobOptions::default(), 4).unwrap()
}

/// Commits of all chunks, the last with a report of this content.
fn commits(plan: &Plan, last: &[u8]) -> Vec<CommitRecord> {
    let count = plan.chunks.len();
    let commit = |(n, chunk): (usize, &PlannedChunk)| CommitRecord {
        job: JobId::parse("j").unwrap(),
        spec: chunk.spec.spec_id(),
        attempt: AttemptId { term: FencingTerm(1), sequence: n as u64 },
        worker: WorkerId::parse("w").unwrap(),
        report: ObjectRef {
            key: ObjectKey::parse("r").unwrap(),
            bytes: 1,
            sha256: if n + 1 == count { Sha256::of(last) } else { Sha256::of(b"report") },
        },
    };
    plan.chunks.iter().enumerate().map(commit).collect()
}

/// Draws of as many jobs, each with other reports.
fn draws(plan: &Plan, jobs: u32, one_in: u64) -> Vec<Vec<Drawn>> {
    let (source, job) = (films::cinema_24(), JobId::parse("j").unwrap());
    (0..jobs).map(|n| draw(plan, &source, &job, &commits(plan, &n.to_be_bytes()), one_in)).collect()
}

fn is_sound(plan: &Plan, drawn: &Drawn) -> bool {
    matches!(plan.chunks[drawn.chunk].spec.media, ChunkMedia::Audio(_))
}

#[test]
fn one_of_so_many_is_drawn_and_at_least_one_segment_of_picture_and_of_sound() {
    let plan = plan();
    let of = |c: &PlannedChunk| match &c.spec.media {
        ChunkMedia::Video(v) => {
            let inits = usize::from(v.segments[0].number.0 == 1);
            v.rungs.len() * (v.segments.len() + inits)
        }
        ChunkMedia::Audio(a) => a.segments.len() + usize::from(a.segments[0].number.0 == 1),
    };
    let files: usize = plan.chunks.iter().map(of).sum();
    let jobs = 400;
    let drawn = draws(&plan, jobs, 10);
    let count: usize = drawn.iter().map(Vec::len).sum();
    let expected = files * jobs as usize / 10;
    assert!(count.abs_diff(expected) < expected / 5, "{count} of {files} files in {jobs} draws");
    for drawn in draws(&plan, 50, ONE_IN).iter().chain(&drawn) {
        for of in [true, false] {
            let of = |d: &&Drawn| d.segment.is_some() && is_sound(&plan, d) == of;
            assert!(drawn.iter().any(|d| of(&d)), "{drawn:?}");
        }
        let once: BTreeSet<&Drawn> = drawn.iter().collect();
        assert_eq!(once.len(), drawn.len());
        for d in drawn {
            let numbers: Vec<SegmentNumber> = match &plan.chunks[d.chunk].spec.media {
                ChunkMedia::Video(v) => {
                    let folder = &v.rungs[d.rung as usize].folder;
                    assert!(plan.video.iter().any(|r| r.folder == *folder));
                    v.segments.iter().map(|s| s.number).collect()
                }
                ChunkMedia::Audio(a) => {
                    assert!(d.rung == 0 && plan.audio.iter().any(|r| r.folder == a.folder));
                    a.segments.iter().map(|s| s.number).collect()
                }
            };
            assert!(d.segment.is_none_or(|n| numbers.contains(&n)));
        }
    }
}

#[test]
fn of_each_worker_at_least_one_segment_is_drawn() {
    let plan = plan();
    for makers in [2, 5, 40] {
        let mut commits = commits(&plan, b"a");
        for (n, commit) in commits.iter_mut().enumerate() {
            commit.worker = WorkerId::parse(&format!("w{}", n % makers)).unwrap();
        }
        let all_drawn = draw(&plan, &films::cinema_24(), &JobId::parse("j").unwrap(), &commits, u64::MAX);
        for sound in [false, true] {
            let drawn: Vec<&Drawn> = all_drawn.iter().filter(|d| is_sound(&plan, d) == sound).collect();
            let of: BTreeSet<&WorkerId> = drawn.iter().map(|d| &commits[d.chunk].worker).collect();
            let chunks = plan.chunks.iter().zip(&commits);
            let chunks = chunks.filter(|(c, _)| matches!(c.spec.media, ChunkMedia::Audio(_)) == sound);
            let all: BTreeSet<&WorkerId> = chunks.map(|(_, commit)| &commit.worker).collect();
            assert_eq!((of.len(), drawn.len()), (all.len().min(MAKERS_MAX), all.len().min(MAKERS_MAX)));
        }
    }
}

#[test]
fn every_leader_draws_the_same_and_any_report_may_change_it() {
    let plan = plan();
    let job = JobId::parse("j").unwrap();
    let of = |last: &[u8]| draw(&plan, &films::cinema_24(), &job, &commits(&plan, last), 10);
    assert_eq!(of(b"a"), of(b"a"));
    assert_ne!(of(b"a"), of(b"b"), "nobody knows it before all is committed");
}

#[test]
fn a_film_without_a_picture_is_listened_to() {
    let mut sound = plan();
    sound.chunks.retain(|c| matches!(c.spec.media, ChunkMedia::Audio(_)));
    let drawn = draws(&sound, 3, u64::MAX);
    assert!(drawn.iter().all(|d| d.len() == 1 && d[0].segment.is_some()), "{drawn:?}");
}

/// The film with this track of sound.
fn with(track: &AudioTrack) -> SourceIndex {
    SourceIndex { audio: vec![track.clone()], ..films::cinema_24() }
}

fn first_sound(plan: &Plan) -> &AudioChunk {
    let sound = |c: &PlannedChunk| matches!(c.spec.media, ChunkMedia::Audio(_));
    match &plan.chunks.iter().find(|c| sound(c)).unwrap().spec.media {
        ChunkMedia::Audio(audio) => audio,
        ChunkMedia::Video(_) => unreachable!("sound"),
    }
}

#[test]
fn sound_that_not_every_ffmpeg_hears_alike_is_not_drawn() {
    let (plan, track) = (plan(), films::cinema_24().audio[0].clone());
    let audio = first_sound(&plan);
    let listening = |track: &AudioTrack| Listening::to(&with(track), audio, &audio.segments[0]);
    let of = |codec: &str| AudioTrack { codec: codec.to_owned(), ..track.clone() };
    for codec in ["aac", "mp3", "opus", "pcm_s16le"] {
        assert!(listening(&of(codec)).is_some(), "{codec}");
    }
    let gaps = vec![AudioGap { at: Ticks(5), until: Ticks(9) }];
    let unlike = ["amr_nb", "amr_wb", "dts", "none"].map(of).into_iter();
    for track in unlike.chain([AudioTrack { gaps, ..of("aac") }]) {
        assert_eq!(listening(&track), None, "{}", track.codec);
        let drawn = draw(&plan, &with(&track), &JobId::parse("j").unwrap(), &commits(&plan, b"a"), 1);
        assert!(!drawn.is_empty() && drawn.iter().all(|d| !is_sound(&plan, d)));
    }
}

/// An auditor begins 16 packets and five seconds before a segment, not at the beginning of the film. Where the samples cannot
/// be found so, each segment costs a decode of all before it, and no more than one of a maker's is drawn.
#[test]
fn sound_is_listened_to_nearby_or_only_once() {
    let (plan, track) = (plan(), films::cinema_24().audio[0].clone());
    let audio = first_sound(&plan);
    let (first, last) = (&audio.segments[0], audio.segments.last().unwrap());
    let nearby = |segment| Listening::to(&with(&track), audio, segment).unwrap().nearby().unwrap();
    assert_eq!((nearby(first).seek, nearby(first).pre_roll), (None, 16));
    let begins = (last.first_packet as i64 - 16) * 1_024 - 5 * 48_000;
    assert_eq!(nearby(last).seek, Some(Ticks(begins)));

    let drawn_of = |track: &AudioTrack| {
        let drawn = draw(&plan, &with(track), &JobId::parse("j").unwrap(), &commits(&plan, b"a"), 1);
        drawn.iter().filter(|d| is_sound(&plan, d)).count()
    };
    let untold = AudioTrack { grid: None, ..track.clone() };
    let converted = AudioTrack { sample_rate: 44_100, ..track.clone() };
    for dear in [untold, converted] {
        assert_eq!(Listening::to(&with(&dear), audio, last), Some(Listening::FromTheStart));
        assert_eq!(drawn_of(&dear), 1);
    }
    assert!(drawn_of(&track) > audio.segments.len(), "all of them, and the init segment");
}
