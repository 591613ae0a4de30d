//! Audit of sound: one segment that another attempt committed, decoded and held against what its encoder was given of the
//! source. What is called wrong, and how often something is looked at before, is [`super::audit`]'s to say.
//!
//! Of a damaged source each version of ffmpeg makes other sound, and puts it elsewhere: there it is only asked whether the
//! file is what was committed, and can be decoded.

use super::Work;
use super::audit::{FILE, Held, broke_off, decoded, twice, verdict};
use super::ffmpeg::Encoding;
use crate::fault;
use crate::source::Source;
use bytes::Bytes;
use futures::FutureExt as _;
use reelmill_common::Sha256;
use reelmill_common::audit::{AuditReport, AuditSpec};
use reelmill_common::outcome::{Fault, FaultKind};
use reelmill_common::spec::{AudioChunk, ChunkMedia};
use reelmill_worker_core::argv::audit::{sound_segment, sound_source};
use reelmill_worker_core::audit::sound::{Samples, compare};
use reelmill_worker_core::audit::{Carried, Wrong, check_sound, is_damaged};
use std::path::Path;

/// Samples of one side, in the attempt's directory.
const PCM: &str = "audited.pcm";

/// Looks at a file of sound, whose bytes these are.
pub(super) async fn sound(
    work: &Work,
    spec: &AuditSpec,
    found: Bytes,
    source: &Source,
) -> Result<AuditReport, Fault> {
    let ChunkMedia::Audio(chunk) = &spec.chunk.media else {
        return Err(fault::fault(FaultKind::Worker, "the audit is of no chunk of sound".to_owned()));
    };
    let of = spec.clone();
    let checked = tokio::task::spawn_blocking(move || check_sound(&of, &found).map(|c| c.1)).await;
    let checked = checked.map_err(|e| broke_off(&e))?;
    let Some(carried) = checked.map_err(|wrong| verdict(&wrong))? else {
        return Ok(AuditReport::default());
    };
    let heard = decode(work, chunk, &carried, source).await?.map_err(|wrong| verdict(&wrong))?;
    let heard = Bytes::from(heard);
    if carried.samples.0 == carried.samples.1 {
        // the last packet of a film may hold no sound that is heard
        return Ok(AuditReport { frames: spec.frames(), worst_x100: 0 });
    }
    twice(source, || hold_against(work, spec, chunk, &carried, &heard, source).boxed()).await
}

/// Decodes the source's part, and compares.
async fn hold_against(
    work: &Work,
    spec: &AuditSpec,
    chunk: &AudioChunk,
    carried: &Carried,
    heard: &Bytes,
    source: &Source,
) -> Result<Held, Fault> {
    let (wanted, damaged) = decode_source(work, spec, chunk, carried, source).await?;
    let (heard, frames, settings) = (heard.clone(), spec.frames(), chunk.settings.clone());
    if damaged {
        let said = Ok(AuditReport { frames, worst_x100: 0 });
        return Ok(Held { source: Sha256::of(&wanted), said });
    }
    let (skip, count) = (carried.skip as usize, (carried.samples.1 - carried.samples.0) as usize);
    let compared = tokio::task::spawn_blocking(move || {
        let heard = Samples::new(&heard, settings.channels)?.part(skip, count)?;
        let whole = Samples::new(&wanted, settings.channels).filter(|w| w.len() == count)?;
        let said = compare(heard, whole, settings.sample_rate, frames);
        Some(Held { source: Sha256::of(&wanted), said })
    });
    compared.await.map_err(|e| broke_off(&e))?.ok_or_else(|| {
        let message = format!("the source has not the {count} samples that the plan says");
        fault::fault(FaultKind::Encoder, message)
    })
}

/// The segment's samples, as a decoder gives them that complains of nothing.
async fn decode(
    work: &Work,
    chunk: &AudioChunk,
    carried: &Carried,
    source: &Source,
) -> Result<Result<Vec<u8>, Wrong>, Fault> {
    work.dir.write(FILE, &carried.file)?;
    let args = sound_segment(FILE, PCM).map_err(|e| fault::of_argv(&e))?;
    let mut watch = Encoding::new(work, source, |_| (work.progress)(0, 2));
    if let Err(wrong) = decoded(work, "decoding the audited segment of sound", args, &mut watch).await? {
        return Ok(Err(wrong));
    }
    (work.progress)(1, 2);
    let pcm = take(work)?;
    let found = Samples::new(&pcm, chunk.settings.channels).map(|s| s.len() as u64);
    if found != Some(carried.decoded) {
        let (wanted, found) = (carried.decoded, found.unwrap_or_default());
        return Ok(Err(Wrong(format!("{wanted} samples should be in it, and a decoder gives {found}"))));
    }
    Ok(Ok(pcm))
}

/// The same part of the source, as the chunk's encoder was given it; and was it damaged?
async fn decode_source(
    work: &Work,
    spec: &AuditSpec,
    chunk: &AudioChunk,
    carried: &Carried,
    from: &Source,
) -> Result<(Vec<u8>, bool), Fault> {
    let served = from.for_ffmpeg(spec.chunk.demuxer, work.lease.decoder_threads).await?;
    let listened = spec
        .listened()
        .ok_or_else(|| fault::fault(FaultKind::Worker, "the audit is of no segment of sound".to_owned()))?;
    let args =
        sound_source(&listened, carried.samples, &served.input, PCM).map_err(|e| fault::of_argv(&e))?;
    let mut watch = Encoding::new(work, from, |_| (work.progress)(1, 2));
    let what = format!("decoding the source of audio chunk {} for an audit", chunk.number);
    let ran = work.ffmpeg(&what, args, Some(&served), &mut watch).await;
    if !work.stop.is_cancelled() {
        from.still_good().await?;
    }
    let damaged = is_damaged(&ran?.stderr);
    Ok((take(work)?, damaged))
}

/// What a run wrote, once.
fn take(work: &Work) -> Result<Vec<u8>, Fault> {
    let pcm = work.dir.read(Path::new(PCM))?;
    work.dir.remove(Path::new(PCM))?;
    Ok(pcm)
}
