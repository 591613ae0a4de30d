//! What can go wrong with an object, by what a caller can do about it, and in words for a person.

use std::io;

/// What a caller can do about a [`BlobError`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum BlobErrorKind {
    /// There is no such object, file, bucket or directory.
    NotFound,
    /// Credentials or file permissions do not allow it.
    Permission,
    /// No space left, or a quota reached.
    Full,
    /// Something else is there already.
    Conflict,
    /// Not reachable, too slow or failing just now.
    Unavailable,
    /// The call, name or URL is wrong or not supported.
    Invalid,
    /// The bytes are not those expected: damaged on the way, or the object was replaced.
    Changed,
}

impl BlobErrorKind {
    /// Stable lowercase name for logs and metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Permission => "permission",
            Self::Full => "full",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::Invalid => "invalid",
            Self::Changed => "changed",
        }
    }
}

/// An operation on an object store that failed after every attempt it was entitled to.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct BlobError {
    kind: BlobErrorKind,
    retryable: bool,
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl BlobError {
    /// An error that the store did not report itself; `message` says what happened and what to do.
    pub fn new(kind: BlobErrorKind, message: impl Into<String>) -> Self {
        Self { kind, retryable: kind == BlobErrorKind::Unavailable, message: message.into(), source: None }
    }

    /// Bytes that differ from those expected, where reading again may give the right ones.
    pub(crate) fn damaged(message: impl Into<String>) -> Self {
        Self { retryable: true, ..Self::new(BlobErrorKind::Changed, message) }
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> BlobErrorKind {
        self.kind
    }

    /// May the same call succeed later without anybody acting? The attempts made here are used up by then.
    pub fn retryable(&self) -> bool {
        self.retryable
    }

    /// Names what was done to which object.
    pub(crate) fn from_store(error: object_store::Error, doing: &str, what: &str) -> Self {
        let kind = kind_of(&error);
        let message = match kind {
            BlobErrorKind::NotFound => format!("cannot {doing} {what}: it does not exist"),
            BlobErrorKind::Permission => {
                format!(
                    "cannot {doing} {what}: permission denied; check its permissions or the store's credentials"
                )
            }
            BlobErrorKind::Full => {
                format!("cannot {doing} {what}: no space left there; free some and try again")
            }
            BlobErrorKind::Conflict => format!("cannot {doing} {what}: something else is there already"),
            BlobErrorKind::Changed => format!("cannot {doing} {what}: it was replaced meanwhile"),
            BlobErrorKind::Invalid | BlobErrorKind::Unavailable => {
                format!("cannot {doing} {what}: {}", innermost(&error))
            }
        };
        Self { source: Some(Box::new(error)), ..Self::new(kind, message) }
    }

    /// The same for a call to the file system.
    pub(crate) fn from_io(error: io::Error, doing: &str, what: &str) -> Self {
        Self::from_store(
            object_store::Error::Generic { store: "file system", source: Box::new(error) },
            doing,
            what,
        )
    }
}

fn kind_of(error: &object_store::Error) -> BlobErrorKind {
    use object_store::Error as E;
    match error {
        E::NotFound { .. } => BlobErrorKind::NotFound,
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => BlobErrorKind::Permission,
        E::AlreadyExists { .. } => BlobErrorKind::Conflict,
        E::Precondition { .. } | E::NotModified { .. } => BlobErrorKind::Changed,
        E::InvalidPath { .. }
        | E::NotSupported { .. }
        | E::NotImplemented { .. }
        | E::UnknownConfigurationKey { .. } => BlobErrorKind::Invalid,
        _ => chain(error).find_map(kind_of_cause).unwrap_or(BlobErrorKind::Unavailable),
    }
}

/// The stores hide most of the file system's answers behind a generic error; they are found by type along its chain of
/// causes, never by their text. An HTTP status that object_store does not name stays *unavailable*: its type is private.
fn kind_of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<BlobErrorKind> {
    cause.downcast_ref::<io::Error>().and_then(|io| kind_of_io(io.kind()))
}

fn kind_of_io(kind: io::ErrorKind) -> Option<BlobErrorKind> {
    Some(match kind {
        io::ErrorKind::NotFound => BlobErrorKind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => BlobErrorKind::Permission,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            BlobErrorKind::Full
        }
        io::ErrorKind::AlreadyExists => BlobErrorKind::Conflict,
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory | io::ErrorKind::InvalidFilename => {
            BlobErrorKind::Invalid
        }
        _ => return None,
    })
}

fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |e| e.source())
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    chain(error).last().map(|cause| without_body(&cause.to_string())).unwrap_or_default()
}

/// A store's answer without the XML it came in, but for its code: `… 404 Not Found (NoSuchBucket)`.
fn without_body(text: &str) -> String {
    let Some((status, body)) = text.split_once(": <") else {
        return text.to_owned();
    };
    let code = body.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    code.map_or_else(|| status.to_owned(), |(code, _)| format!("{status} ({code})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(kind: io::ErrorKind) -> BlobError {
        BlobError::from_io(io::Error::from(kind), "write", "/out/a")
    }

    #[test]
    fn the_file_systems_answers_keep_their_meaning() {
        let cases = [
            (io::ErrorKind::StorageFull, BlobErrorKind::Full, false),
            (io::ErrorKind::QuotaExceeded, BlobErrorKind::Full, false),
            (io::ErrorKind::PermissionDenied, BlobErrorKind::Permission, false),
            (io::ErrorKind::ReadOnlyFilesystem, BlobErrorKind::Permission, false),
            (io::ErrorKind::NotADirectory, BlobErrorKind::Invalid, false),
            (io::ErrorKind::ConnectionReset, BlobErrorKind::Unavailable, true),
        ];
        for (io, kind, retryable) in cases {
            let error = generic(io);
            assert_eq!((error.kind(), error.retryable()), (kind, retryable), "{io:?}");
            assert!(error.to_string().starts_with("cannot write /out/a: "), "{error}");
        }
    }

    #[test]
    fn an_answer_in_xml_is_told_in_one_line() {
        let answer = "Server returned non-2xx status code: 404 Not Found: <?xml version=\"1.0\"?>\n<Error><Code>\
                      NoSuchBucket</Code><Message>The specified bucket does not exist</Message></Error>";
        assert_eq!(without_body(answer), "Server returned non-2xx status code: 404 Not Found (NoSuchBucket)");
        assert_eq!(without_body("503: <html>busy</html>"), "503");
        assert_eq!(without_body("Connection refused (os error 111)"), "Connection refused (os error 111)");
    }

    #[test]
    fn damage_is_worth_another_read_but_a_replaced_object_is_not() {
        assert!(BlobError::damaged("x").retryable());
        assert!(!BlobError::new(BlobErrorKind::Changed, "x").retryable());
    }
}
