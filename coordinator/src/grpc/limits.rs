//! How large what a client submits may be: field by field, before anything looks at it. What a job stores is read by wider
//! bounds (`reelmill-proto`), so that these may change.

use reelmill_proto::jobs::v1 as wire;
use tonic::Status;
use wire::ladder::Choice;

/// Longest source and output, bytes: object stores take names of 1,024.
const LOCATION_MAX: usize = 2_048;
/// Longest name of anything, bytes.
const NAME_MAX: usize = 63;
/// Most labels of a job.
const LABELS_MAX: usize = 64;
/// Most rungs of a ladder.
const RUNGS_MAX: usize = 32;

/// Refuses what is too large, by its field.
pub(super) fn check(job: &wire::JobRequest) -> Result<(), Status> {
    at_most(job.source.len(), LOCATION_MAX, "source", "bytes")?;
    at_most(job.idempotency_key.len(), NAME_MAX, "idempotency_key", "bytes")?;
    at_most(job.labels.len(), LABELS_MAX, "labels", "elements")?;
    for (key, value) in &job.labels {
        at_most(key.len().max(value.len()), NAME_MAX, "labels", "bytes")?;
    }
    if let Some(options) = &job.options {
        at_most(options.preset.len(), NAME_MAX, "options.preset", "bytes")?;
        at_most(options.output.as_ref().map_or(0, String::len), LOCATION_MAX, "options.output", "bytes")?;
    }
    match job.ladder.as_ref().and_then(|ladder| ladder.choice.as_ref()) {
        Some(Choice::Named(named)) => {
            at_most(named.names.len(), RUNGS_MAX, "ladder.named", "elements")?;
            let longest = named.names.iter().map(String::len).max().unwrap_or(0);
            at_most(longest, NAME_MAX, "ladder.named", "bytes")
        }
        Some(Choice::Custom(custom)) => {
            at_most(custom.rungs.len(), RUNGS_MAX, "ladder.custom", "elements")?;
            let longest = custom.rungs.iter().map(|rung| rung.name.len()).max().unwrap_or(0);
            at_most(longest, NAME_MAX, "ladder.custom.name", "bytes")
        }
        Some(Choice::Default(_)) | None => Ok(()),
    }
}

fn at_most(found: usize, most: usize, field: &str, what: &str) -> Result<(), Status> {
    if found <= most {
        return Ok(());
    }
    Err(Status::invalid_argument(format!("field `{field}`: has {found} {what}, {most} are allowed")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ladder::{Custom, Named};

    fn job(change: impl FnOnce(&mut wire::JobRequest)) -> wire::JobRequest {
        let mut job = wire::JobRequest::default();
        change(&mut job);
        job
    }

    fn ladder(choice: Choice) -> wire::JobRequest {
        job(|job| job.ladder = Some(wire::Ladder { choice: Some(choice) }))
    }

    fn named(count: usize, length: usize) -> wire::JobRequest {
        ladder(Choice::Named(Named { names: vec!["x".repeat(length); count] }))
    }

    fn custom(count: usize, length: usize) -> wire::JobRequest {
        let rung = wire::CustomRung { name: "x".repeat(length), ..Default::default() };
        ladder(Choice::Custom(Custom { rungs: vec![rung; count] }))
    }

    fn options(change: impl FnOnce(&mut wire::JobOptions)) -> wire::JobRequest {
        let mut options = wire::JobOptions::default();
        change(&mut options);
        job(|job| job.options = Some(options))
    }

    fn labels(count: usize, length: usize) -> wire::JobRequest {
        let value = "x".repeat(length);
        job(|job| job.labels = (0..count).map(|n| (format!("l{n}"), value.clone())).collect())
    }

    #[test]
    fn each_field_is_taken_up_to_its_bound_and_no_further() {
        let source = |n: usize| job(|job| job.source = "x".repeat(n));
        let key = |n: usize| job(|job| job.idempotency_key = "x".repeat(n));
        let output = |n: usize| options(|o| o.output = Some("x".repeat(n)));
        let preset = |n: usize| options(|o| o.preset = "x".repeat(n));
        for (fits, exceeds, field) in [
            (source(2_048), source(2_049), "`source`: has 2049 bytes, 2048 are allowed"),
            (key(63), key(64), "`idempotency_key`"),
            (output(2_048), output(2_049), "`options.output`"),
            (preset(63), preset(64), "`options.preset`"),
            (labels(64, 63), labels(65, 1), "`labels`: has 65 elements"),
            (labels(1, 63), labels(1, 64), "`labels`: has 64 bytes"),
            (named(32, 63), named(33, 1), "`ladder.named`: has 33"),
            (named(1, 63), named(1, 64), "`ladder.named`: has 64"),
            (custom(32, 63), custom(33, 1), "`ladder.custom`"),
            (custom(1, 63), custom(1, 64), "`ladder.custom.name`"),
        ] {
            check(&fits).unwrap();
            let refused = check(&exceeds).unwrap_err();
            assert!(refused.message().contains(field), "{field} in {refused}");
        }
    }
}
