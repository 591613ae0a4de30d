//! One run of ffmpeg or ffprobe for an attempt: arguments in, what it said and cost out.

use super::Work;
use super::spent::Metered;
use crate::fault;
use crate::process::{self, Cost, Finished, Launch, Network, Watch};
use crate::source::{Served, Source};
use reelmill_common::Millis;
use reelmill_common::outcome::Fault;
use reelmill_worker_core::meter::Meter;
use reelmill_worker_core::progress::{ProgressParser, StallWatch, Update};
use std::path::Path;

/// Follows `-progress` on stdout: tells how far the run is, and notices when it hangs.
pub(super) struct Encoding<'a> {
    parser: ProgressParser,
    stall: StallWatch,
    limit_ms: u64,
    latest: Update,
    source: &'a Source,
    tell: Box<dyn Fn(Update) + Send + Sync + 'a>,
    /// Reads the loudness that is told beside the progress.
    pub(super) meter: Option<Meter>,
}

impl<'a> Encoding<'a> {
    pub(super) fn new(work: &Work, source: &'a Source, tell: impl Fn(Update) + Send + Sync + 'a) -> Self {
        let limit_ms = work.shop.stall_ms;
        Self {
            parser: ProgressParser::default(),
            stall: StallWatch::new(Millis(0), limit_ms),
            limit_ms,
            latest: Update::default(),
            source,
            tell: Box::new(tell),
            meter: None,
        }
    }
}

impl Watch for Encoding<'_> {
    fn line(&mut self, line: &[u8], _: Millis) -> Result<(), String> {
        let line = String::from_utf8_lossy(line);
        if let Some(meter) = &mut self.meter {
            meter.line(&line);
        }
        if let Some(update) = self.parser.line(&line) {
            self.latest = update;
            (self.tell)(update);
        }
        Ok(())
    }

    fn stalled(&mut self, now: Millis, so_far: Cost) -> Option<u64> {
        // a run without a picture still has a time, and a run that decodes its way to the first frame still reads
        let done = self.latest.frames.max(self.latest.out_time_us.unwrap_or_default().max(0) as u64);
        let marks = (done, self.latest.bytes, so_far.read_bytes + self.source.bytes_moved());
        self.stall.seen(now, marks, so_far.cpu_ms);
        self.stall.stalled(now).then_some(self.limit_ms)
    }
}

impl Work {
    /// Runs ffmpeg with `args`; `what` names the run for a person, `served` is what it reads.
    pub(super) async fn ffmpeg(
        &self,
        what: &str,
        args: Vec<String>,
        served: Option<&Served>,
        watch: &mut dyn Watch,
    ) -> Result<Finished, Fault> {
        let ffmpeg = &self.shop.tools.ffmpeg;
        self.child(ffmpeg, what, args, served, watch).await.map_err(|e| fault::of_child(what, &e))
    }

    /// Runs one of the programs, and adds up what it cost, whatever came of it.
    pub(super) async fn child(
        &self,
        program: &Path,
        what: &str,
        args: Vec<String>,
        served: Option<&Served>,
        watch: &mut dyn Watch,
    ) -> Result<Finished, process::ChildError> {
        tracing::debug!(program = %program.display(), what, "starting");
        let launch = Launch {
            program: program.to_owned(),
            args: args.into_iter().map(Into::into).collect(),
            dir: self.dir.path().to_owned(),
            limits: self.limits(),
            network: served.map_or(Network::Nothing, |served| served.network.clone()),
            source: served.and_then(|served| served.file.clone()),
            quota: Some(self.dir.bytes_left()),
            sandbox: self.shop.tools.sandbox.clone(),
        };
        let opened = served.filter(|served| served.file.is_some()).map(|served| &served.source);
        let mut metered = Metered { watch, spent: &self.spent, opens_source: opened.is_some() };
        let began = self.shop.clock.now();
        let ran = process::run(&launch, &mut metered, &self.stop).await;
        let cost = ran.as_ref().map_or_else(|e| e.cost, |finished| finished.cost);
        self.spent.ended(cost, self.shop.clock.now().since(began), opened);
        ran
    }
}
