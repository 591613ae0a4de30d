//! `reelmill doctor`: prove by doing that this machine can work, and say what to do where it cannot.

use crate::args::Doctor;
use crate::exit::{CommandResult, Exit, Failure};
use bytes::Bytes;
use reelmill_blob::{BlobError, BlobErrorKind, Blobs, PutOptions, PutOutcome, Stores};
use reelmill_common::ids::WorkerId;
use reelmill_worker::WorkerConfig;
use reelmill_worker::doctor::{DoctorLine, Verdict, check};
use serde_json::json;

/// Checks ffmpeg, encoders, scratch space and, if asked, an object store.
pub(crate) async fn run(args: Doctor) -> CommandResult {
    let name = WorkerId::parse("doctor").map_err(|e| Failure::new(Exit::Usage, e.to_string()))?;
    let mut lines = check(&WorkerConfig::new(name, Vec::new(), std::env::temp_dir())).await;
    if let Some(url) = &args.store {
        lines.push(match store(url).await {
            Ok(text) => DoctorLine { what: "store", verdict: Verdict::Good, text },
            Err(e) => DoctorLine { what: "store", verdict: Verdict::Bad, text: format!("{url}: {e}") },
        });
    }
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
    let bad = |what: fn(&str) -> bool| lines.iter().any(|l| l.verdict == Verdict::Bad && what(l.what));
    Ok(if bad(|w| w != "store") {
        Exit::Encoder
    } else if bad(|w| w == "store") {
        Exit::Unreachable
    } else {
        Exit::Done
    })
}

/// Round trip, range and create-only on a name of our own, which is deleted again.
async fn store(url: &str) -> Result<String, BlobError> {
    let blobs = Stores::default().open(url)?;
    let name = format!("reelmill-doctor-{}", uuid::Uuid::now_v7());
    let outcome = probe(&blobs, &name).await;
    blobs.delete(&name).await?;
    outcome
}

async fn probe(blobs: &Blobs, name: &str) -> Result<String, BlobError> {
    const CONTENT: &[u8] = b"reelmill doctor: round trip, range, create-only";
    let wrong = |what: &str| BlobError::new(BlobErrorKind::Invalid, what.to_owned());
    let put =
        |content: &'static [u8]| blobs.put_create(name, Bytes::from_static(content), PutOptions::default());
    if !matches!(put(CONTENT).await?, PutOutcome::Created) {
        return Err(wrong("a new name was there already: the listing or another client interferes"));
    }
    if blobs.get(name).await?.0 != CONTENT {
        return Err(wrong("what was read is not what was written"));
    }
    if blobs.get_range(name, 9..15).await?[..] != CONTENT[9..15] {
        return Err(wrong("a ranged read gave other bytes than the whole object"));
    }
    if !matches!(put(b"a second writer").await?, PutOutcome::AlreadyThere(_)) {
        return Err(wrong("a second create-only put succeeded: this store does not keep If-None-Match"));
    }
    if !blobs.list("").await?.iter().any(|e| e.name == name) {
        return Err(wrong("the object is not in the listing"));
    }
    Ok(format!("{}: round trip, range, create-only and list work", blobs.root()))
}
