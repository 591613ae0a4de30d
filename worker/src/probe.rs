//! The self-test at start: a fixed clip through the whole recipe, for each encoder family. What comes out is the
//! worker's fingerprint, how long it takes is its speed. Listed is not usable: only an encode proves an encoder.
//!
//! Proofs are kept on disk under the ffmpeg binary (path, size, modification time), the processor class and the
//! recipe's version, because they cannot change while those do not.

use crate::process::{self, Collect, Launch, Network, small_limits};
use crate::scratch::{AttemptDir, Scratch, ScratchError};
use crate::tools::Tools;
use crate::{fault, machine};
use reelmill_common::capability::EncoderProof;
use reelmill_common::hash::Canonical;
use reelmill_common::ladder::EncoderFamily;
use reelmill_common::outcome::Fault;
use reelmill_common::spec::RECIPE;
use reelmill_common::{Fingerprint, Sha256};
use reelmill_worker_core::argv::{ArgvError, probe};
use std::io;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// A silent probe of this length is a hung one.
const PATIENCE_MS: u64 = 60_000;
const FAMILIES: [EncoderFamily; 2] = [EncoderFamily::X264, EncoderFamily::Nvenc];

/// What the self-test found.
#[derive(Debug)]
pub(crate) struct Proofs {
    /// Encoders that work here.
    pub(crate) encoders: Vec<EncoderProof>,
    /// Encoders that do not, and why.
    pub(crate) failed: Vec<(EncoderFamily, Fault)>,
}

/// Proves every encoder family, or takes the proofs of an earlier start from `cache`.
pub(crate) async fn prove(tools: &Tools, scratch: &Scratch, cache: &Path) -> Result<Proofs, ScratchError> {
    let kept = cache_file(tools, cache);
    if let Some(encoders) = kept.as_deref().and_then(load) {
        return Ok(Proofs { encoders, failed: Vec::new() });
    }
    let mut proofs = Proofs { encoders: Vec::new(), failed: Vec::new() };
    for family in FAMILIES {
        let dir = scratch.dir(&format!("probe-{}", family.name()))?;
        match encode(tools, family, &dir).await {
            Ok(Some(proof)) => proofs.encoders.push(proof),
            // no recipe for it in this version: nothing to prove
            Ok(None) => {}
            Err(fault) => proofs.failed.push((family, fault)),
        }
    }
    if let (Some(path), true, true) = (kept, proofs.failed.is_empty(), !proofs.encoders.is_empty()) {
        // without it the next start proves again, which is only slower
        if let Err(e) = store(&path, &proofs.encoders) {
            tracing::warn!(path = %path.display(), error = %e, "could not keep the encoder proofs");
        }
    }
    Ok(proofs)
}

async fn encode(
    tools: &Tools,
    family: EncoderFamily,
    dir: &AttemptDir,
) -> Result<Option<EncoderProof>, Fault> {
    const MADE: [&str; 2] = ["video.mp4", "audio.mp4"];
    let args = match probe::clip(family, MADE[0], MADE[1]) {
        Ok(args) => args,
        Err(ArgvError::Family(_)) => return Ok(None),
        Err(e) => return Err(fault::of_argv(&e)),
    };
    let launch = Launch {
        program: tools.ffmpeg.clone(),
        args: args.into_iter().map(Into::into).collect(),
        dir: dir.path().to_owned(),
        limits: small_limits(),
        network: Network::Nothing,
        source: None,
        quota: Some(dir.bytes_left()),
        sandbox: tools.sandbox.clone(),
    };
    let what = format!("proving encoder {}", family.name());
    let ran = process::run(&launch, &mut Collect::new(1 << 20, PATIENCE_MS), &CancellationToken::new())
        .await
        .map_err(|e| fault::of_child(&what, &e))?;
    let mut made = Canonical::new("fingerprint/1");
    for name in MADE {
        made.blob(&dir.read(Path::new(name))?);
    }
    Ok(Some(EncoderProof {
        family,
        fingerprint: Fingerprint(made.digest()),
        // pixels a millisecond are kilopixels a second
        kilopixels_per_second: probe::PIXELS / ran.wall_ms.max(1),
    }))
}

/// Where proofs of this binary on this processor are kept; `None` if the binary cannot be looked at.
fn cache_file(tools: &Tools, cache: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = tools.ffmpeg.metadata().ok()?;
    let mut key = Canonical::new("probe-cache/1");
    key.num(RECIPE.into())
        .text(&tools.ffmpeg.to_string_lossy())
        .num(meta.len())
        .int(meta.mtime())
        .int(meta.mtime_nsec())
        .text(&tools.build)
        .blob(&machine::processor().0);
    Some(cache.join(format!("probe-{}", key.digest().short(20))))
}

/// One line a proof: family, fingerprint, speed. Anything else means that there is none.
fn load(path: &Path) -> Option<Vec<EncoderProof>> {
    let text = std::fs::read_to_string(path).ok()?;
    let proofs: Option<Vec<_>> = text.lines().map(proof).collect();
    proofs.filter(|p| !p.is_empty())
}

fn proof(line: &str) -> Option<EncoderProof> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let proof = EncoderProof {
        family: FAMILIES.into_iter().find(|f| f.name() == name)?,
        fingerprint: Fingerprint(Sha256::from_hex(words.next()?)?),
        kilopixels_per_second: words.next()?.parse().ok()?,
    };
    words.next().is_none().then_some(proof)
}

fn store(path: &Path, proofs: &[EncoderProof]) -> io::Result<()> {
    let line =
        |p: &EncoderProof| format!("{} {} {}\n", p.family.name(), p.fingerprint.0, p.kilopixels_per_second);
    let text: String = proofs.iter().map(line).collect();
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    // by a name of its own and a rename: workers that start together do not read each other's halves
    let new = tempfile::NamedTempFile::new_in(dir)?;
    std::fs::write(new.path(), text)?;
    new.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_are_kept_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache/probe-x");
        let proofs = vec![EncoderProof {
            family: EncoderFamily::X264,
            fingerprint: Fingerprint(Sha256::of(b"clip")),
            kilopixels_per_second: 12_345,
        }];
        store(&path, &proofs).unwrap();
        assert_eq!(load(&path), Some(proofs));
        for damaged in ["", "x264\n", "x264 00 5\n", "h261 00 5\n"] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(load(&path), None, "{damaged:?}");
        }
    }
}
