//! Analyse: the decoder configuration of each rung's settings, and the peak of each downmix.

use super::Work;
use super::ffmpeg::Encoding;
use crate::fault;
use crate::source::Source;
use reelmill_common::outcome::{AnalyseReport, Fault};
use reelmill_common::spec::AnalyseSpec;
use reelmill_worker_core::{argv, build};
use std::path::Path;

pub(super) async fn analyse(
    work: &Work,
    spec: &AnalyseSpec,
    source: &Source,
) -> Result<AnalyseReport, Fault> {
    let avcc = configs(work, spec, source).await?;
    let total = spec.downmixes.len() as u64 + 1;
    (work.progress)(1, total);
    let mut peaks = Vec::with_capacity(spec.downmixes.len());
    for (stream, settings) in &spec.downmixes {
        let served = source.for_ffmpeg(spec.demuxer, work.lease.decoder_threads).await?;
        let args = argv::analyse::peak(&served.input, *stream, settings).map_err(|e| fault::of_argv(&e))?;
        let mut watch = Encoding::new(work, source, |_| {});
        let what = format!("measuring the peak of audio stream {stream}");
        let ran = work.ffmpeg(&what, args, &mut watch).await;
        source.still_good().await?;
        // a stream that gives no sample has no peak
        peaks.push(argv::analyse::parse_peak(&ran?.stderr).unwrap_or_default());
        (work.progress)(peaks.len() as u64 + 1, total);
    }
    Ok(AnalyseReport { avcc, peaks })
}

async fn configs(work: &Work, spec: &AnalyseSpec, source: &Source) -> Result<Vec<Vec<u8>>, Fault> {
    if spec.rungs.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = (0..spec.rungs.len()).map(|i| format!("config-{i}.mp4")).collect();
    let outputs: Vec<String> = names.iter().map(|n| work.scratch_path(n)).collect();
    let args = argv::analyse::configs(spec.encode_timebase, &spec.rungs, &outputs)
        .map_err(|e| fault::of_argv(&e))?;
    let mut watch = Encoding::new(work, source, |_| {});
    work.ffmpeg("encoding a few frames at each rung", args, &mut watch).await?;
    let found = names.iter().map(|name| {
        let file = work.dir.read(Path::new(name))?;
        build::avcc(&file).map_err(|e| e.into_fault())
    });
    found.collect()
}
