//! `reelmill doctor`: prove by doing that this machine can work, and say what to do where it cannot.

use crate::args::Doctor;
use crate::etcd::STATE;
use crate::exit::{CommandResult, Exit, Failure};
use crate::roles;
use reelmill_blob::Stores;
use reelmill_blob::proof::{self, Proof, prove};
use reelmill_common::ids::WorkerId;
use reelmill_worker::WorkerConfig;
use reelmill_worker::doctor::{DoctorLine, Verdict, check};
use serde_json::json;

/// What the lines about an object store begin with.
const STORE: &str = "store";

/// Checks ffmpeg, encoders, scratch space and, if asked, an object store and etcd.
pub(crate) async fn run(args: Doctor) -> CommandResult {
    let name = WorkerId::parse("doctor").map_err(|e| Failure::new(Exit::Usage, e.to_string()))?;
    // a place of its own: another doctor may be looking at this machine, too. Where none can be made, the check of the
    // place that is there for such things says why.
    let own = tempfile::Builder::new().prefix("reelmill-doctor-").tempdir();
    let scratch = own.as_ref().map_or_else(|_| std::env::temp_dir(), |own| own.path().to_owned());
    let config = WorkerConfig::new(name, Vec::new(), scratch, roles::LAUNCHER.into());
    let config = WorkerConfig { sandbox: roles::sandbox(&args.boxed), ..config };
    let mut lines = check(&config).await;
    if let Some(url) = &args.store {
        lines.extend(store(url).await);
    }
    lines.extend(args.etcd.doctor().await?);
    for line in &lines {
        if args.json {
            let verdict = match line.verdict {
                Verdict::Good => "ok",
                Verdict::Warning => "warning",
                Verdict::Bad => "bad",
            };
            println!("{}", json!({ "what": line.what, "verdict": verdict, "text": line.text }));
        } else {
            println!("{line}");
        }
    }
    let is_elsewhere = |what: &str| [STORE, STATE].contains(&what);
    let bad = |elsewhere: bool| {
        lines.iter().any(|l| l.verdict == Verdict::Bad && is_elsewhere(l.what) == elsewhere)
    };
    Ok(if bad(false) {
        Exit::Encoder
    } else if bad(true) {
        Exit::Unreachable
    } else {
        Exit::Done
    })
}

/// What the store at `url` does, a line a check, on objects of names of our own, which are deleted again.
async fn store(url: &str) -> Vec<DoctorLine> {
    let proofs = match Stores::default().open(url) {
        Ok(root) => prove(&root, &format!("reelmill-doctor-{}", uuid::Uuid::now_v7())).await,
        Err(error) => {
            let text = format!("{url}: {error}");
            return vec![DoctorLine { what: STORE, verdict: Verdict::Bad, text }];
        }
    };
    let line = |proof: Proof| {
        let verdict = match proof.verdict {
            proof::Verdict::Good => Verdict::Good,
            proof::Verdict::Lacking => Verdict::Warning,
            proof::Verdict::Bad => Verdict::Bad,
        };
        DoctorLine { what: STORE, verdict, text: proof.to_string() }
    };
    proofs.into_iter().map(line).collect()
}
