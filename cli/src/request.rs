//! From the command line's options to a `JobRequest`: every wrong value is a usage error that says what is right.

use crate::args::Encoding;
use crate::exit::{Exit, Failure};
use reelmill_common::ids::{IdempotencyKey, InvalidName, JobId, Label, TenantId};
use reelmill_common::job::{JobOptions, JobRequest, SegmentAlignment};
use reelmill_common::ladder::{JobPreset, LadderChoice};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Builds the request for `source`.
pub(crate) fn build(source: &str, encoding: &Encoding) -> Result<JobRequest, Failure> {
    let ladder = ladder(encoding.ladder.as_deref())?;
    let options = options(encoding)?;
    reelmill_coordinator::check_wish(&ladder, &options).map_err(|e| usage(e.to_string()))?;
    Ok(JobRequest {
        tenant: TenantId::local(),
        source: absolute(source)?,
        ladder,
        options,
        labels: BTreeMap::new(),
        priority: 0,
        idempotency_key: None,
    })
}

fn options(encoding: &Encoding) -> Result<JobOptions, Failure> {
    Ok(JobOptions {
        preset: JobPreset::parse(&encoding.preset).ok_or_else(|| {
            usage(format!(
                "unknown preset {:?}: use speed, balanced, quality or an x264 preset (ultrafast to veryslow)",
                encoding.preset
            ))
        })?,
        segment_ms: millis("--segment", encoding.segment.into())?,
        chunk_ms: encoding.chunk.map(|c| millis("--chunk", c.into())).transpose()?,
        segments: match encoding.segments.as_str() {
            "source" => SegmentAlignment::Source,
            _ => SegmentAlignment::Grid,
        },
        output: None,
        cpu_independent: encoding.cpu_independent,
        sound_range_ms: millis("--sound-range", encoding.sound_range.into())?,
    })
}

/// `key=value` pairs.
pub(crate) fn labels(pairs: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    pairs
        .iter()
        .map(|pair| {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| usage(format!("label {pair:?} is not key=value")))?;
            for part in [key, value] {
                Label::parse(part).map_err(|_| {
                    usage(format!("label {pair:?}: keys and values are 1 to 63 of a-z, 0-9, '-' and '_'"))
                })?;
            }
            Ok((key.to_owned(), value.to_owned()))
        })
        .collect()
}

/// A job id from the command line.
pub(crate) fn job_id(text: &str) -> Result<JobId, Failure> {
    JobId::parse(text).map_err(invalid)
}

/// An idempotency key from the command line.
pub(crate) fn idempotency_key(text: &str) -> Result<IdempotencyKey, Failure> {
    IdempotencyKey::parse(text).map_err(invalid)
}

fn invalid(e: InvalidName) -> Failure {
    usage(e.to_string())
}

/// A usage error.
pub(crate) fn usage(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, message)
}

/// Paths are made absolute here, where the user's working directory is known; URLs stay. A missing file is the
/// input's fault and is said by whoever opens it.
pub(crate) fn absolute(source: &str) -> Result<String, Failure> {
    if source.contains("://") {
        return Ok(source.to_owned());
    }
    let path = std::path::absolute(source)
        .map_err(|e| Failure::new(Exit::Input, format!("cannot use {source:?} as a path: {e}")))?;
    match path.into_os_string().into_string() {
        Ok(text) => Ok(text),
        Err(_) => {
            Err(Failure::new(Exit::Input, format!("the path {source:?} is not valid UTF-8: rename it")))
        }
    }
}

/// Names of default rungs, or a TOML file.
fn ladder(text: Option<&str>) -> Result<LadderChoice, Failure> {
    let Some(text) = text else { return Ok(LadderChoice::Default) };
    if !Path::new(text).extension().is_some_and(|e| e.eq_ignore_ascii_case("toml")) {
        return Ok(LadderChoice::Named(text.split(',').map(|n| n.trim().to_owned()).collect()));
    }
    let file = std::fs::read_to_string(text)
        .map_err(|e| usage(format!("cannot read the ladder file {text}: {e}")))?;
    reelmill_coordinator::ladder_file::parse_toml(&file)
        .map_err(|e| usage(format!("the ladder file {text} is wrong: {e}")))
}

/// What fits the wire; its range is the plan's to say.
fn millis(flag: &str, value: Duration) -> Result<u32, Failure> {
    let text = || format!("{flag} {} is longer than any film", humantime::format_duration(value));
    u32::try_from(value.as_millis()).map_err(|_| usage(text()))
}
