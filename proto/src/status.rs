//! Error details that a client acts on, in the standard `google.rpc.Status` form: who leads, and when to try again.
//!
//! Must not decide what an error means: that is the coordinator's one table. Both ends use this file, so that what is
//! written is what is read.

use crate::common::v1::NotLeader;
use prost::Message;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Type URL of [`NotLeader`] inside `google.protobuf.Any`.
const NOT_LEADER_URL: &str = "type.googleapis.com/reelmill.common.v1.NotLeader";

/// The answer of a process that does not lead; `address` is where the leader was last seen.
pub fn not_leader(address: Option<&str>) -> Status {
    let message = match address {
        Some(a) => format!("this coordinator does not lead; ask {a}"),
        None => "this coordinator does not lead, and nobody is known to; try again".to_owned(),
    };
    let detail = NotLeader { address: address.unwrap_or_default().to_owned() };
    let any = prost_types::Any { type_url: NOT_LEADER_URL.to_owned(), value: detail.encode_to_vec() };
    let rpc = tonic_types::Status { code: Code::Unavailable.into(), message, details: vec![any] };
    Status::with_details(Code::Unavailable, rpc.message.clone(), rpc.encode_to_vec().into())
}

/// Was `status` made by [`not_leader`]? Then the address of the leader, or `None` inside when nobody is known to lead.
pub fn read_not_leader(status: &Status) -> Option<Option<String>> {
    let rpc = tonic_types::Status::decode(status.details()).ok()?;
    let any = rpc.details.into_iter().find(|d| d.type_url == NOT_LEADER_URL)?;
    let detail = NotLeader::decode(any.value.as_slice()).ok()?;
    Some((!detail.address.is_empty()).then_some(detail.address))
}

/// An answer that asks the client to come back after `delay`.
pub fn retry_later(code: Code, message: impl Into<String>, delay: Duration) -> Status {
    let mut details = ErrorDetails::new();
    details.set_retry_info(Some(delay));
    Status::with_error_details(code, message, details)
}

/// What [`not_allowed`] says in the field for programs.
const NOT_ALLOWED: &str = "NOT_ALLOWED";

/// The answer to a caller who is known and may not do this.
pub fn not_allowed(message: impl Into<String>) -> Status {
    let details =
        ErrorDetails::with_error_info(NOT_ALLOWED, "reelmill", std::collections::HashMap::default());
    Status::with_error_details(Code::PermissionDenied, message, details)
}

/// Was `status` made by [`not_allowed`]? It is the caller's rights that are at fault then, and not what he asked for.
pub fn is_not_allowed(status: &Status) -> bool {
    status.get_details_error_info().is_some_and(|info| info.reason == NOT_ALLOWED)
}

/// How long [`retry_later`] asked to wait.
pub fn read_retry_delay(status: &Status) -> Option<Duration> {
    status.get_error_details().retry_info().and_then(|r| r.retry_delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_address_survives_the_wire() {
        let status = not_leader(Some("http://10.0.0.7:7070"));
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(read_not_leader(&status), Some(Some("http://10.0.0.7:7070".to_owned())));
        assert_eq!(read_not_leader(&not_leader(None)), Some(None));
        assert_eq!(read_not_leader(&Status::unavailable("connection refused")), None);
    }

    #[test]
    fn a_lack_of_rights_is_told_from_a_file_that_may_not_be_read() {
        assert!(is_not_allowed(&not_allowed("no")));
        assert!(!is_not_allowed(&Status::permission_denied("no")));
    }

    #[test]
    fn the_retry_delay_survives_the_wire() {
        let status = retry_later(Code::ResourceExhausted, "busy", Duration::from_millis(1500));
        assert_eq!(read_retry_delay(&status), Some(Duration::from_millis(1500)));
        assert_eq!(read_retry_delay(&Status::internal("x")), None);
    }
}
