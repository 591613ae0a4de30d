//! Audit: one file that another attempt committed, read back, decoded and held against the source.
//!
//! What is wrong with the file is a fault of kind *media*, which is a verdict on its maker. Everything that keeps this
//! worker from seeing it is a fault of its own. So nothing is called wrong that was read once: the file is read until its
//! hash is the committed one or the same other thing lies there several times in a row, and the source is read and decoded
//! a second time, without what is kept of it, before a file is said not to show it.

use super::ffmpeg::Encoding;
use super::{Work, listen};
use crate::fault;
use crate::process::{ChildError, Failure};
use crate::source::{SignedSource, Source};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use reelmill_common::audit::{AuditReport, AuditSpec};
use reelmill_common::outcome::{Fault, FaultKind};
use reelmill_common::spec::{ChunkMedia, VideoChunk, VideoRung};
use reelmill_common::{Sha256, Timebase};
use reelmill_worker_core::argv::audit::{Outputs, segment, source};
use reelmill_worker_core::argv::timeline::encoder_timebase;
use reelmill_worker_core::audit::{Pictures, Shown, Wrong, check, compare, complaint, lacking, times};
use std::path::Path;

/// The init segment and the segment after it, in the attempt's directory, where children stand.
pub(super) const FILE: &str = "audited.mp4";

/// Looks at the file of the lease.
pub(super) async fn audit(work: &Work, spec: &AuditSpec, source: &Source) -> Result<AuditReport, Fault> {
    let found = match fetch(work, spec).await? {
        Ok(found) => found,
        Err(wrong) => return Err(verdict(&wrong)),
    };
    match &spec.chunk.media {
        ChunkMedia::Video(_) => pictures(work, spec, found, source).await,
        ChunkMedia::Audio(_) => listen::sound(work, spec, found, source).await,
    }
}

async fn pictures(
    work: &Work,
    spec: &AuditSpec,
    found: Bytes,
    source: &Source,
) -> Result<AuditReport, Fault> {
    let of = spec.clone();
    let checked = tokio::task::spawn_blocking(move || check(&of, &found).map(|c| c.segment)).await;
    let checked = checked.map_err(|e| broke_off(&e))?;
    let Some(shown) = checked.map_err(|wrong| verdict(&wrong))? else {
        return Ok(AuditReport::default());
    };
    let (chunk, rung) = parts(spec)?;
    let seen = decode(work, chunk, rung, &shown, source).await?.map_err(|wrong| verdict(&wrong))?;
    let seen = Bytes::from(seen);
    twice(source, || hold_against(work, spec, &shown, &seen, source).boxed()).await
}

/// Holds a file against the source; once more before it is called wrong: a source that was read damaged makes any file look
/// wrong, so it is read anew.
pub(super) async fn twice<'a>(
    source: &Source,
    hold: impl Fn() -> BoxFuture<'a, Result<Held, Fault>>,
) -> Result<AuditReport, Fault> {
    let first = hold().await?;
    if let Ok(report) = first.said {
        return Ok(report);
    }
    source.forget_kept();
    let second = hold().await?;
    match second.said {
        Ok(report) => Ok(report),
        Err(wrong) if second.source == first.source => Err(verdict(&wrong)),
        Err(_) => Err(fault::fault(
            FaultKind::Storage,
            "the source decodes to something else each time it is read: look at its store".to_owned(),
        )),
    }
}

/// What came of holding a segment against the source.
pub(super) struct Held {
    /// The hash of what the source decoded to.
    pub(super) source: Sha256,
    pub(super) said: Result<AuditReport, Wrong>,
}

/// Decodes the source's part, and compares.
async fn hold_against(
    work: &Work,
    spec: &AuditSpec,
    shown: &Shown,
    seen: &Bytes,
    source: &Source,
) -> Result<Held, Fault> {
    let wanted = decode_source(work, spec, shown, source).await?;
    let (seen, shown) = (seen.clone(), shown.clone());
    let compared = tokio::task::spawn_blocking(move || {
        let hash = Sha256::of(&wanted);
        let (Some(seen), Some(wanted)) = (Pictures::new(&seen), Pictures::new(&wanted)) else { return None };
        let whole = seen.len() == shown.times.len() && wanted.len() == shown.source_times.len();
        whole.then(|| Held { source: hash, said: compare(seen, wanted, &shown.shows) })
    });
    compared.await.ok().flatten().ok_or_else(|| {
        fault::fault(FaultKind::Worker, "ffmpeg wrote other pictures than it told the times of".to_owned())
    })
}

pub(super) fn verdict(wrong: &Wrong) -> Fault {
    fault::fault(FaultKind::Media, wrong.to_string())
}

pub(super) fn broke_off(e: &tokio::task::JoinError) -> Fault {
    fault::fault(FaultKind::Worker, format!("the audit broke off: {e}"))
}

fn parts(spec: &AuditSpec) -> Result<(&VideoChunk, &VideoRung), Fault> {
    let rung = |chunk: &VideoChunk| (spec.rung as usize) < chunk.rungs.len();
    match &spec.chunk.media {
        ChunkMedia::Video(chunk) if rung(chunk) => Ok((chunk, &chunk.rungs[spec.rung as usize])),
        _ => Err(fault::fault(FaultKind::Worker, "the audit is of no rung of its chunk".to_owned())),
    }
}

/// The file's content, or what lies in its place each time it is read. A store that is away, or tells something else each
/// time, says nothing of the file.
async fn fetch(work: &Work, spec: &AuditSpec) -> Result<Result<Bytes, Wrong>, Fault> {
    let grant = work.lease.audited.as_ref().ok_or_else(|| {
        fault::fault(FaultKind::Worker, "the audit's lease does not say where its file is".to_owned())
    })?;
    // a request that is of no use says nothing of the job's source
    let signed = SignedSource::of(grant).map_err(|f| Fault { kind: FaultKind::Storage, ..f })?;
    let seen = work.shop.sources.witness(grant, signed.as_ref(), spec.bytes, spec.sha256).await;
    let seen = seen.map_err(|e| fault::fault(FaultKind::Storage, format!("the audited file: {e}")))?;
    Ok(seen.map_err(|finding| {
        let (bytes, sha256) = (spec.bytes, spec.sha256);
        Wrong(format!(
            "{bytes} bytes with SHA-256 {sha256} were committed, and {finding}, however often it is read"
        ))
    }))
}

/// The segment's pictures, as a decoder gives them that complains of nothing.
async fn decode(
    work: &Work,
    chunk: &VideoChunk,
    rung: &VideoRung,
    shown: &Shown,
    source: &Source,
) -> Result<Result<Vec<u8>, Wrong>, Fault> {
    let out = Outputs { pictures: "audited.yuv", times: "audited.txt" };
    work.dir.write(FILE, &shown.file)?;
    let args = segment(FILE, rung, chunk.out_timebase, out).map_err(|e| fault::of_argv(&e))?;
    let total = shown.times.len() as u64;
    let mut watch = Encoding::new(work, source, |u| (work.progress)(u.frames.min(total), 2 * total));
    let what = "decoding the audited segment";
    if let Err(wrong) = decoded(work, what, args, &mut watch).await? {
        return Ok(Err(wrong));
    }
    let found = told(work, out, chunk.out_timebase)?;
    if found.len() != shown.times.len() {
        let (wanted, found) = (shown.times.len(), found.len());
        return Ok(Err(Wrong(format!("{wanted} frames should be in it, and a decoder gives {found}"))));
    }
    if found != shown.times {
        return Ok(Err(Wrong("a decoder gives its frames at other times than it should".to_owned())));
    }
    let pictures = work.dir.read(Path::new(out.pictures))?;
    work.dir.remove(Path::new(out.pictures))?;
    Ok(Ok(pictures))
}

/// Runs a decoder over a file that was committed: it has to take all of it without a complaint.
pub(super) async fn decoded(
    work: &Work,
    what: &str,
    args: Vec<String>,
    watch: &mut Encoding<'_>,
) -> Result<Result<(), Wrong>, Fault> {
    let ran = work.child(&work.shop.tools.ffmpeg, what, args, None, watch).await;
    let stderr = match &ran {
        Ok(finished) => &finished.stderr,
        Err(ChildError { how: Failure::Exited(_), stderr, .. }) => stderr,
        Err(e) => return Err(fault::of_child(what, e)),
    };
    if let Some(line) = lacking(stderr) {
        return Err(fault::fault(
            FaultKind::Worker,
            format!("{what}: this worker lacks memory or threads: {line}"),
        ));
    }
    if let Some(line) = complaint(stderr) {
        return Ok(Err(Wrong(format!("a decoder complains: {line}"))));
    }
    match &ran {
        Ok(_) => Ok(Ok(())),
        Err(e) => match fault::of_child(what, e) {
            // what it cannot read is the file: its init segment is ours
            fault if fault.kind == FaultKind::Source => Ok(Err(Wrong(fault.message))),
            fault => Err(fault),
        },
    }
}

/// The same part of the source, as the chunk decodes it.
async fn decode_source(
    work: &Work,
    spec: &AuditSpec,
    shown: &Shown,
    from: &Source,
) -> Result<Vec<u8>, Fault> {
    let (chunk, rung) = parts(spec)?;
    let out = Outputs { pictures: "source.yuv", times: "source.txt" };
    let served = from.for_ffmpeg(spec.chunk.demuxer, work.lease.decoder_threads).await?;
    let args = source(chunk, rung, shown.source, &served.input, out).map_err(|e| fault::of_argv(&e))?;
    let total = shown.times.len() as u64;
    let mut watch = Encoding::new(work, from, |u| (work.progress)(total + u.frames.min(total), 2 * total));
    let what = format!("decoding the source of video chunk {} for an audit", chunk.number);
    let ran = work.ffmpeg(&what, args, Some(&served), &mut watch).await;
    if !work.stop.is_cancelled() {
        from.still_good().await?;
    }
    ran?;
    if told(work, out, encoder_timebase(chunk.timebase))? != shown.source_times {
        let message = format!("{what}: it gives other frames than the plan says");
        return Err(fault::fault(FaultKind::Encoder, message));
    }
    Ok(work.dir.read(Path::new(out.pictures))?)
}

/// The times of a run's pictures.
fn told(work: &Work, out: Outputs<'_>, tb: Timebase) -> Result<Vec<i64>, Fault> {
    let text = work.dir.read(Path::new(out.times))?;
    times(&String::from_utf8_lossy(&text), tb)
        .ok_or_else(|| fault::fault(FaultKind::Encoder, "ffmpeg told no times of its pictures".to_owned()))
}
