//! `doctor`: is this machine fit to be a worker? One line per thing checked, each with what to do.

use crate::config::WorkerConfig;
use crate::sandbox::{self, Level, Mode, Sandbox};
use crate::scratch::Scratch;
use crate::tools::Tools;
use crate::{machine, probe};
use std::fmt;

/// One thing that was checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DoctorLine {
    /// What.
    pub what: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found, or what to do.
    pub text: String,
}

/// How a thing is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, with a drawback.
    Warning,
    /// A worker will not start like this.
    Bad,
}

impl fmt::Display for DoctorLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.verdict {
            Verdict::Good => "ok  ",
            Verdict::Warning => "warn",
            Verdict::Bad => "BAD ",
        };
        write!(f, "{sign}  {:<9} {}", self.what, self.text)
    }
}

/// Checks everything a worker with these settings needs. Encoders are proved anew, whatever earlier starts found.
pub async fn check(config: &WorkerConfig) -> Vec<DoctorLine> {
    let mut lines = Vec::new();
    let mut say = |what, verdict, text: String| lines.push(DoctorLine { what, verdict, text });
    let basic = Sandbox::basic(&config.sandbox);
    let mut tools = match Tools::find(config.ffmpeg.as_deref(), config.ffprobe.as_deref(), basic).await {
        Ok(tools) => {
            say("ffmpeg", Verdict::Good, format!("{} ({})", tools.ffmpeg.display(), tools.build));
            say("ffprobe", Verdict::Good, tools.ffprobe.display().to_string());
            Some(tools)
        }
        Err(e) => {
            say("ffmpeg", Verdict::Bad, e.to_string());
            None
        }
    };
    let scratch = match writable(config) {
        Ok(scratch) => {
            say("scratch", Verdict::Good, format!("{} is writable", scratch.path().display()));
            Some(scratch)
        }
        Err(e) => {
            say("scratch", Verdict::Bad, e.to_string());
            None
        }
    };
    if let (Some(tools), Some(scratch)) = (&mut tools, &scratch) {
        let mode = config.sandbox.mode;
        let proved = sandbox::prove(&tools.sandbox, mode, tools, scratch).await;
        let verdict = match (proved.sandbox.level(), mode) {
            (Level::Full, _) => Verdict::Good,
            (_, Mode::Require) => Verdict::Bad,
            _ => Verdict::Warning,
        };
        say("sandbox", verdict, proved.text());
        tools.sandbox = proved.sandbox;
        for (verdict, text) in encoders(tools, scratch).await {
            say("encoder", verdict, text);
        }
    }
    let (cores, memory) = (machine::cores(), machine::memory_mib());
    let enough = if memory >= 1_024 { Verdict::Good } else { Verdict::Warning };
    say("machine", enough, format!("{cores} cores, {memory} MiB of memory"));
    lines
}

fn writable(config: &WorkerConfig) -> Result<Scratch, crate::scratch::ScratchError> {
    let scratch = Scratch::open(&config.scratch, &config.worker, config.scratch_quota)?;
    scratch.dir("doctor")?.write("file", b"reelmill")?;
    Ok(scratch)
}

async fn encoders(tools: &Tools, scratch: &Scratch) -> Vec<(Verdict, String)> {
    // an empty directory: nothing is known yet there
    let proofs = match scratch.dir("doctor-cache") {
        Ok(nothing_kept) => probe::prove(tools, scratch, nothing_kept.path()).await,
        Err(e) => Err(e),
    };
    let proofs = match proofs {
        Ok(proofs) => proofs,
        Err(e) => return vec![(Verdict::Bad, e.to_string())],
    };
    let good = proofs.encoders.iter().map(|p| {
        let (name, print) = (p.family.name(), p.fingerprint.0.short(12));
        (
            Verdict::Good,
            format!("{name} encodes: {} kilopixels/s, fingerprint {print}", p.kilopixels_per_second),
        )
    });
    let worst = if proofs.encoders.is_empty() { Verdict::Bad } else { Verdict::Warning };
    let bad = proofs.failed.iter().map(|(family, fault)| (worst, format!("{}: {fault}", family.name())));
    good.chain(bad).collect()
}
