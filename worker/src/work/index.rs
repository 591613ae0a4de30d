//! Index a source: natively where that is certain to agree with ffmpeg, else by an ffprobe scan of packets, else of
//! decoded frames. Which of them is for `reelmill-media` to say; the bytes and lines are brought here. Of a film whose
//! packets were found to promise what its decoder does not show, the picture is decoded as well.

use super::Work;
use crate::fault;
use crate::process::{ChildError, Cost, Failure, Watch};
use crate::source::Source;
use reelmill_common::Millis;
use reelmill_common::index::{Demuxer, SourceIndex};
use reelmill_common::outcome::{Fault, FaultKind};
use reelmill_common::spec::IndexSpec;
use reelmill_media::mp4::{Mp4Index, Step};
use reelmill_media::scan::{Depth, Scan};
use reelmill_media::shown::by_decoder;
use reelmill_media::sniff::HEAD_BYTES;
use reelmill_media::{IndexError, Limits, probe_format};
use reelmill_worker_core::argv;
use reelmill_worker_core::progress::StallWatch;

pub(super) async fn index(work: &Work, spec: &IndexSpec, source: &Source) -> Result<SourceIndex, Fault> {
    let (index, depth) = promised(work, source).await?;
    let index = match index.video.as_ref().filter(|_| spec.decode && depth == Depth::Packets) {
        Some(video) => {
            tracing::info!("packets promise other frames than there are, decoding");
            let frames = Scan::damaged(Limits::default());
            let shown = scan(work, source, Some(index.demuxer), frames, Some(video.stream)).await?;
            match shown.map(|shown| shown.video) {
                Ok(Some(shown)) => by_decoder(index, &shown),
                Ok(None) => return Err(fault::of_ruin("none of its pictures can be decoded")),
                Err(e) => return Err(fault::of_ruin(&e.to_string())),
            }
        }
        None if spec.decode && depth == Depth::Frames => {
            return Err(fault::of_ruin("each look at it shows other pictures"));
        }
        None => index,
    };
    source.still_good().await?;
    Ok(index)
}

/// The film as its container and its packets tell of it, and how deep one had to look for that.
async fn promised(work: &Work, source: &Source) -> Result<(SourceIndex, Depth), Fault> {
    let reader = source.reader();
    let head = match reader.bytes().min(HEAD_BYTES as u64) {
        0 => bytes::Bytes::new(),
        n => reader.read(0..n).await.map_err(|e| fault::of_source(&e))?,
    };
    source.count(head.len() as u64);
    let demuxer = probe_format(&head).map_err(|e| fault::of_index(&e))?;
    if demuxer == Some(Demuxer::Mov) {
        match native(source).await? {
            Ok(index) => return Ok((index, Depth::Packets)),
            Err(IndexError::NotNative { why }) => tracing::info!(why, "not indexed natively, scanning"),
            Err(e) => return Err(fault::of_index(&e)),
        }
    }
    let of = |depth| Scan::new(depth, Limits::default());
    let (index, depth) = match scan(work, source, demuxer, of(Depth::Packets), None).await? {
        Err(IndexError::NeedsFrameScan { why }) => {
            tracing::info!(why, "packets do not tell the frames, decoding");
            (scan(work, source, demuxer, of(Depth::Frames).because(why), None).await?, Depth::Frames)
        }
        other => (other, Depth::Packets),
    };
    Ok((index.map_err(|e| fault::of_index(&e))?, depth))
}

/// Runs the native reader; `Ok(Err(_))` is what it says of the file.
async fn native(source: &Source) -> Result<Result<SourceIndex, IndexError>, Fault> {
    let reader = source.reader();
    let mut machine = Mp4Index::new(reader.bytes(), Limits::default());
    loop {
        match machine.step() {
            Step::Done(index) => return Ok(Ok(*index)),
            Step::Err(e) => return Ok(Err(e)),
            Step::Need(ranges) => {
                let parts = reader.read_ranges(&ranges).await.map_err(|e| fault::of_source(&e))?;
                for (range, bytes) in ranges.iter().zip(parts) {
                    source.count(bytes.len() as u64);
                    machine.feed(range.start, bytes);
                }
            }
        }
    }
}

/// Runs ffprobe over the whole source, or one stream of it; `Ok(Err(_))` is what its output says of the file.
async fn scan(
    work: &Work,
    source: &Source,
    demuxer: Option<Demuxer>,
    scan: Scan,
    stream: Option<u32>,
) -> Result<Result<SourceIndex, IndexError>, Fault> {
    // the demuxer named here only says whether a moov is worth keeping; what ffprobe may open is in its arguments
    let served = source.for_ffmpeg(demuxer.unwrap_or(Demuxer::MpegTs), 1).await?;
    let args = argv::scan::scan(&served.input.location, demuxer, scan.depth(), stream);
    let mut watch = Lines {
        scan,
        refused: None,
        count: 0,
        stall: StallWatch::new(Millis(0), work.shop.stall_ms),
        limit_ms: work.shop.stall_ms,
        source,
    };
    let what = "scanning the source";
    let ran = work.child(&work.shop.tools.ffprobe, what, args, Some(&served), &mut watch).await;
    if let Some(e) = watch.refused {
        return Ok(Err(e));
    }
    if let Err(e) = ran {
        source.still_good().await?;
        return Err(unreadable(what, &e));
    }
    (work.progress)(watch.count, watch.count);
    let (size, version) = (source.reader().bytes(), source.reader().version().unwrap_or_default());
    Ok(watch.scan.finish(size, version))
}

/// ffprobe gave up. When it says so itself, it is because of the file; else something happened to ffprobe.
fn unreadable(what: &str, e: &ChildError) -> Fault {
    match e.how {
        Failure::Exited(_) => {
            let tail = fault::tail(&e.stderr);
            let said = tail.text().lines().last().unwrap_or("it does not say why").to_owned();
            let message = format!("this file has no video or audio Reelmill can read: ffprobe says {said:?}");
            Fault { kind: FaultKind::Source, message, detail: tail.text() }
        }
        _ => fault::of_child(what, e),
    }
}

/// Feeds lines to the scan.
struct Lines<'a> {
    scan: Scan,
    refused: Option<IndexError>,
    count: u64,
    stall: StallWatch,
    limit_ms: u64,
    source: &'a Source,
}

impl Watch for Lines<'_> {
    fn line(&mut self, line: &[u8], _: Millis) -> Result<(), String> {
        self.count += 1;
        self.scan.line(&String::from_utf8_lossy(line)).map_err(|e| {
            let said = e.to_string();
            self.refused = Some(e);
            said
        })
    }

    fn stalled(&mut self, now: Millis, so_far: Cost) -> Option<u64> {
        let marks = (self.count, 0, so_far.read_bytes + self.source.bytes_moved());
        self.stall.seen(now, marks, so_far.cpu_ms);
        self.stall.stalled(now).then_some(self.limit_ms)
    }
}
