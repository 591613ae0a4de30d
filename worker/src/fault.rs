//! One table: what each kind of failure below means for the attempt, as a [`Fault`] a person can act on.

use crate::process::{ChildError, Failure};
use futures::FutureExt as _;
use reelmill_blob::{BlobError, BlobErrorKind};
use reelmill_common::outcome::{Fault, FaultKind};
use reelmill_media::IndexError;
use reelmill_worker_core::argv::ArgvError;
use reelmill_worker_core::stderr::{self, Ending, Tail};
use std::panic::AssertUnwindSafe;

/// Sent for a file larger than RLIMIT_FSIZE allows (signal(7), x86 and ARM).
const SIGXFSZ: i32 = 25;

/// A fault without a child's last words.
pub(crate) fn fault(kind: FaultKind, message: impl Into<String>) -> Fault {
    Fault { kind, message: message.into(), detail: String::new() }
}

/// What work comes to, if it panics, too: an attempt whose task is gone would count as running for ever.
pub(crate) async fn caught<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let ended = AssertUnwindSafe(work).catch_unwind().await;
    let panicked = |_| Err(fault(FaultKind::Worker, "the worker's own code panicked; its log says where"));
    ended.unwrap_or_else(panicked)
}

/// A child failed in the run `what`, as `encoding chunk 7`.
pub(crate) fn of_child(what: &str, e: &ChildError) -> Fault {
    let tail = tail(&e.stderr);
    let ending = match &e.how {
        Failure::Signalled(SIGXFSZ) => {
            let message = format!(
                "{what}: {} was stopped when a file reached what the scratch quota left for it: raise the quota or run \
                 fewer slots",
                e.program
            );
            return Fault { kind: FaultKind::Storage, message, detail: tail.text() };
        }
        Failure::Stopped => return fault(FaultKind::Abandoned, format!("{what} was stopped")),
        Failure::BadOutput(said) => {
            let message = format!("{what}: {} printed something unexpected: {said}", e.program);
            return Fault { kind: FaultKind::Encoder, message, detail: tail.text() };
        }
        Failure::NoBox(why) => {
            let message =
                format!("{what}: the sandbox for {} could not be made on this worker: {why}", e.program);
            return Fault { kind: FaultKind::Worker, message, detail: tail.text() };
        }
        Failure::Overfull { bytes, quota } => {
            let message = format!(
                "{what}: {} was stopped when its files came to {bytes} bytes where the scratch quota left {quota}: \
                 raise the quota or run fewer slots",
                e.program
            );
            return Fault { kind: FaultKind::Storage, message, detail: tail.text() };
        }
        Failure::DidNotStart(why) => Ending::NotStarted(why.clone()),
        Failure::Exited(code) => Ending::Exited(*code),
        Failure::Signalled(signal) => Ending::Killed(*signal),
        Failure::Stalled(ms) => Ending::Stalled(*ms),
    };
    stderr::classify(what, &ending, &tail)
}

/// The last lines of a stderr, without secrets.
pub(crate) fn tail(stderr: &str) -> Tail {
    let mut tail = Tail::default();
    stderr.lines().for_each(|line| tail.line(line));
    tail
}

/// Reading the source failed for good.
pub(crate) fn of_source(e: &BlobError) -> Fault {
    let kind = match e.kind() {
        BlobErrorKind::NotFound
        | BlobErrorKind::Permission
        | BlobErrorKind::Invalid
        | BlobErrorKind::Conflict
        | BlobErrorKind::Changed => FaultKind::Source,
        BlobErrorKind::Full | BlobErrorKind::Unavailable => FaultKind::Storage,
    };
    fault(kind, format!("source: {e}"))
}

/// Writing a result failed for good.
pub(crate) fn of_output(e: &BlobError) -> Fault {
    fault(FaultKind::Storage, format!("output: {e}"))
}

/// There is no index of the source.
pub(crate) fn of_index(e: &IndexError) -> Fault {
    let kind = match e {
        IndexError::NoMedia { .. } | IndexError::Limit { .. } => FaultKind::Source,
        // these two are answered by a deeper scan; after the deepest they say that it cannot be read
        IndexError::NotNative { .. } | IndexError::NeedsFrameScan { .. } => FaultKind::Source,
        IndexError::Protocol { .. } => FaultKind::Encoder,
    };
    fault(kind, e.to_string())
}

/// What whoever has a damaged film can do.
const SAVED: &str =
    "what plays of it can be saved by `ffmpeg -i FILM -c:v libx264 -crf 12 -c:a copy MENDED.mkv`";

/// A damaged film of which what its decoder shows makes no film, either.
pub(crate) fn of_ruin(why: &str) -> Fault {
    fault(FaultKind::Source, format!("the film is damaged: {why} ({SAVED})"))
}

/// Other frames came out than were promised, and this is what the decoder complained of in the source: with damaged
/// pictures left out, all after them have other numbers and times. Where it complained of nothing, it is not the film.
pub(crate) fn of_damage(mut wrong: Fault, complaints: &[String]) -> Fault {
    match (wrong.kind, complaints.first()) {
        (FaultKind::Damage, Some(first)) => wrong
            .message
            .push_str(&format!("; the film is damaged there, says its decoder: {first} ({SAVED})")),
        (FaultKind::Damage, None) => wrong.kind = FaultKind::Output,
        _ => {}
    }
    wrong
}

/// A spec that cannot be put into arguments.
pub(crate) fn of_argv(e: &ArgvError) -> Fault {
    fault(FaultKind::Encoder, format!("the spec cannot be carried out: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_child_is_nobodys_fault() {
        let e = ChildError {
            program: "ffmpeg".into(),
            how: Failure::Stopped,
            stderr: "Exiting normally, received signal 15.".into(),
            cost: crate::process::Cost::default(),
        };
        assert_eq!(of_child("encoding chunk 7", &e).kind, FaultKind::Abandoned);
    }

    #[test]
    fn a_box_that_cannot_be_made_is_the_workers_fault_and_not_the_encoders() {
        let e = ChildError {
            program: "ffmpeg".into(),
            how: Failure::NoBox("no network namespace of its own: ENOSPC".into()),
            stderr: String::new(),
            cost: crate::process::Cost::default(),
        };
        let fault = of_child("encoding chunk 7", &e);
        assert_eq!(fault.kind, FaultKind::Worker);
        assert!(fault.message.contains("ENOSPC") && fault.message.contains("this worker"), "{fault}");
    }

    #[test]
    fn an_unreachable_store_is_not_the_sources_fault() {
        let away = BlobError::new(BlobErrorKind::Unavailable, "s3://films: connection refused");
        assert_eq!(of_source(&away).kind, FaultKind::Storage);
        let missing = BlobError::new(BlobErrorKind::NotFound, "cannot read /a.mp4: it does not exist");
        assert_eq!(of_source(&missing).kind, FaultKind::Source);
    }

    #[test]
    fn a_damaged_film_is_named_where_frames_are_missing() {
        let wrong = fault(FaultKind::Damage, "frame 26: expected 30 frames".to_owned());
        assert_eq!(of_damage(wrong.clone(), &[]), Fault { kind: FaultKind::Output, ..wrong.clone() });
        let said = of_damage(wrong, &["[h264 @ 0x1] [error] Invalid NAL unit size".to_owned()]);
        assert_eq!(said.kind, FaultKind::Damage);
        assert!(said.message.contains("frame 26") && said.message.contains("Invalid NAL"), "{said}");
        let full = fault(FaultKind::Storage, "no room".to_owned());
        assert_eq!(of_damage(full.clone(), &["x".to_owned()]), full);
    }

    #[tokio::test]
    async fn work_that_panics_has_failed() {
        assert_eq!(caught(async { Ok(7) }).await, Ok(7));
        let failed = caught(async { Err::<(), _>(fault(FaultKind::Media, "x")) }).await.unwrap_err();
        assert_eq!(failed.kind, FaultKind::Media);
        let samples = |of: u64| async move { Ok(of.checked_mul(48_000).expect("a time that a film has")) };
        let failed = caught(samples(u64::MAX)).await.unwrap_err();
        assert_eq!(failed.kind, FaultKind::Worker);
    }
}
