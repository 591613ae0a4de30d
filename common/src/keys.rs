//! Object keys: built and parsed here only, from typed parts.
//!
//! Private: `<tenant>/<job>/…` below the work root. Public: `<tenant>/<job>/…` below the publish root, holding the
//! package and nothing else.

use crate::hash::Sha256;
use crate::ids::{AttemptId, JobId, SegmentNumber, SpecId, TenantId};
use std::fmt;

/// A key relative to a root: non-empty segments joined by `/`, each free of `.`-only names and control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

/// Why a text is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("object key {0:?} is not valid")]
pub struct InvalidKey(pub String);

impl ObjectKey {
    /// Checks a key read from a record.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let ok = !text.is_empty()
            && text.len() <= 512
            && text.split('/').all(|part| {
                !part.is_empty()
                    && part != "."
                    && part != ".."
                    && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            });
        if ok { Ok(Self(text.to_owned())) } else { Err(InvalidKey(text.chars().take(80).collect())) }
    }

    /// As text, without a leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The prefix of everything of a job, below either root.
pub fn job_prefix(tenant: &TenantId, job: &JobId) -> ObjectKey {
    ObjectKey(format!("{tenant}/{job}"))
}

/// How package media is cached: a folder's name changes with settings, binding and source, so its files may be kept for
/// ever.
pub const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// Name of a rendition's init segment within its folder.
pub const INIT_NAME: &str = "init.mp4";

/// Name of a media segment within its folder: six digits, as DASH's `$Number%06d$`.
pub fn segment_name(number: SegmentNumber) -> String {
    format!("{number}.m4s")
}

/// The file name in a package of an init segment (`None`) or a media segment.
pub fn media_name(folder: &str, segment: Option<SegmentNumber>) -> String {
    match segment {
        None => format!("{folder}/{INIT_NAME}"),
        Some(n) => format!("{folder}/{}", segment_name(n)),
    }
}

/// Key, within a job's private area, of an attempt's report. Named by attempt: never overwritten.
pub fn report_key(spec: SpecId, attempt: AttemptId) -> ObjectKey {
    ObjectKey(format!("reports/{spec}-{attempt}.pb"))
}

/// Key, within a job's private area, of a plan revision. It names its content, too: whoever writes there, even a leader
/// that was deposed and runs another version of the program, writes the same bytes.
pub fn plan_key(revision: u32, content: Sha256) -> ObjectKey {
    ObjectKey(format!("plan-{revision:04}-{}.pb", content.short(16)))
}

/// Is this such a key?
pub fn is_plan(key: &str) -> bool {
    key.starts_with("plan-") && !key.contains('/')
}

/// Folder, within a job's private area, of everything that attempts write below names of their own.
pub const ATTEMPTS: &str = "attempts";

/// Folder, within a job's private area, below which one attempt writes and nobody else ever does: an attempt's id is
/// unique, and it uploads once.
pub fn attempt_folder(attempt: AttemptId) -> ObjectKey {
    ObjectKey(format!("{ATTEMPTS}/{attempt}"))
}

/// Key, within a job's private area, of a package file as its attempt wrote it.
pub fn attempt_file(attempt: AttemptId, name: &str) -> String {
    format!("{}/{name}", attempt_folder(attempt))
}

/// The attempt and the package file that such a key names.
pub fn parse_attempt_file(key: &str) -> Option<(AttemptId, &str)> {
    let (attempt, name) = key.strip_prefix(ATTEMPTS)?.strip_prefix('/')?.split_once('/')?;
    Some((attempt.parse().ok()?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_from_records_are_checked() {
        for bad in ["", "/a", "a/", "a//b", "a/../b", ".", "a b", "a\n", "a?b", "a\\b"] {
            assert!(ObjectKey::parse(bad).is_err(), "{bad:?}");
        }
        assert!(ObjectKey::parse("reports/abc-1-2.pb").is_ok());
    }

    #[test]
    fn files_of_attempts_are_known_by_their_keys() {
        let attempt = AttemptId { term: crate::FencingTerm(3), sequence: 41 };
        let key = attempt_file(attempt, "720p-0123456789/000007.m4s");
        assert_eq!(key, "attempts/3-41/720p-0123456789/000007.m4s");
        assert!(ObjectKey::parse(&key).is_ok() && key.starts_with(attempt_folder(attempt).as_str()));
        assert_eq!(parse_attempt_file(&key), Some((attempt, "720p-0123456789/000007.m4s")));
        for other in ["attempts/3-41", "attempts/x/a/b", "attemptsx/3-41/a", "reports/3-41/a", ""] {
            assert_eq!(parse_attempt_file(other), None, "{other}");
        }
    }

    #[test]
    fn plans_of_other_content_have_other_keys() {
        let key = |content: &[u8]| plan_key(1, Sha256::of(content)).to_string();
        assert_eq!(key(b"a"), key(b"a"));
        assert_ne!(key(b"a"), key(b"b"));
        assert!(key(b"a").starts_with("plan-0001-") && key(b"a").ends_with(".pb"));
    }

    #[test]
    fn segment_names_have_six_digits() {
        assert_eq!(media_name("720p-0123456789", Some(SegmentNumber(7))), "720p-0123456789/000007.m4s");
        assert_eq!(media_name("720p-0123456789", None), "720p-0123456789/init.mp4");
    }
}
