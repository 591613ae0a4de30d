//! Analyse: the decoder configuration of each rung's settings, the peak of each downmix, and where ranges of sound can
//! meet.

use super::Work;
use super::ffmpeg::Encoding;
use crate::fault;
use crate::source::Source;
use reelmill_common::outcome::{AnalyseReport, Fault};
use reelmill_common::spec::{AnalyseSpec, AudioChunk};
use reelmill_worker_core::{argv, build, verify};
use std::path::Path;

pub(super) async fn analyse(
    work: &Work,
    spec: &AnalyseSpec,
    source: &Source,
) -> Result<AnalyseReport, Fault> {
    let avcc = configs(work, spec, source).await?;
    let total = (spec.downmixes.len() + spec.joins.len()) as u64 + 1;
    (work.progress)(1, total);
    let mut peaks = Vec::with_capacity(spec.downmixes.len());
    for (stream, settings) in &spec.downmixes {
        let served = source.for_ffmpeg(spec.demuxer, work.lease.decoder_threads).await?;
        let args = argv::analyse::peak(&served.input, *stream, settings).map_err(|e| fault::of_argv(&e))?;
        let mut watch = Encoding::new(work, source, |_| {});
        let what = format!("measuring the peak of audio stream {stream}");
        let ran = work.ffmpeg(&what, args, Some(&served), &mut watch).await;
        source.still_good().await?;
        // a stream that gives no sample has no peak
        peaks.push(argv::analyse::parse_peak(&ran?.stderr).unwrap_or_default());
        (work.progress)(peaks.len() as u64 + 1, total);
    }
    let mut joins = Vec::with_capacity(spec.joins.len());
    for probe in &spec.joins {
        joins.push(join(work, spec, probe, source).await?.unwrap_or_default());
        (work.progress)((peaks.len() + joins.len()) as u64 + 1, total);
    }
    Ok(AnalyseReport { avcc, peaks, joins })
}

/// Encodes a short range around a wanted join and looks at its windows.
async fn join(
    work: &Work,
    spec: &AnalyseSpec,
    probe: &AudioChunk,
    source: &Source,
) -> Result<Option<u64>, Fault> {
    const NAME: &str = "join.mp4";
    let served = source.for_ffmpeg(spec.demuxer, work.lease.decoder_threads).await?;
    let args = argv::audio::encode(probe, &served.input, NAME).map_err(|e| fault::of_argv(&e))?;
    let mut watch = Encoding::new(work, source, |_| {});
    let what = format!("looking for a place where ranges of audio stream {} can meet", probe.stream);
    let ran = work.ffmpeg(&what, args, Some(&served), &mut watch).await;
    source.still_good().await?;
    ran?;
    let file = work.dir.read(Path::new(NAME))?;
    work.dir.remove(Path::new(NAME))?;
    // sound that cannot be cut here to the sample is not an error: it is encoded in one piece
    Ok(verify::join(probe, &file).unwrap_or_default())
}

async fn configs(work: &Work, spec: &AnalyseSpec, source: &Source) -> Result<Vec<Vec<u8>>, Fault> {
    if spec.rungs.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = (0..spec.rungs.len()).map(|i| format!("config-{i}.mp4")).collect();
    let args =
        argv::analyse::configs(spec.encode_timebase, &spec.rungs, &names).map_err(|e| fault::of_argv(&e))?;
    let mut watch = Encoding::new(work, source, |_| {});
    work.ffmpeg("encoding a frame at each rung", args, None, &mut watch).await?;
    let found = names.iter().map(|name| {
        let file = work.dir.read(Path::new(name))?;
        build::avcc(&file).map_err(|e| e.into_fault())
    });
    found.collect()
}
