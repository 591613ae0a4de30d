//! The one table from what went wrong to what clients are told, for gRPC and HTTP.

use crate::driver::Role;
use http::StatusCode;
use reelmill_blob::{BlobError, BlobErrorKind};
use reelmill_coordinator_core::{Refusal, TaskError};
use reelmill_proto::{WireError, status};
use std::time::Duration;
use tonic::{Code, Status};

/// How long a client should wait before it tries again at a bound.
const COME_BACK: Duration = Duration::from_secs(5);

/// A refusal of the machine.
pub(crate) fn of_refusal(refusal: &Refusal, role: &Role) -> Status {
    let says = refusal.to_string();
    match refusal {
        Refusal::NotFound(_) | Refusal::NoSuchWorker(_) => Status::not_found(says),
        Refusal::AlreadyExists { .. } | Refusal::WorkerExists(_) => Status::already_exists(says),
        // a source that is not there is NOT_FOUND at submit
        Refusal::Deleted { .. } | Refusal::WrongState { .. } => Status::failed_precondition(says),
        Refusal::Exhausted { .. } | Refusal::Quota { .. } | Refusal::StateFull { .. } => {
            status::retry_later(Code::ResourceExhausted, says, COME_BACK)
        }
        Refusal::NotLeader => of_role(role),
    }
}

/// The answer of a process in a role other than leading.
pub(crate) fn of_role(role: &Role) -> Status {
    match role {
        Role::Standby { leader } => status::not_leader(leader.as_deref()),
        // leading just now, or about to: ask again
        Role::Starting | Role::Full { .. } | Role::Stopping | Role::Leading => status::not_leader(None),
    }
}

/// A message that cannot be taken.
pub(crate) fn of_wire(error: &WireError) -> Status {
    Status::invalid_argument(error.to_string())
}

/// An object store, asked on behalf of a client.
pub(crate) fn of_blob(error: &BlobError) -> Status {
    Status::new(blob_code(error.kind()), error.to_string())
}

fn blob_code(kind: BlobErrorKind) -> Code {
    match kind {
        BlobErrorKind::NotFound => Code::NotFound,
        BlobErrorKind::Permission => Code::PermissionDenied,
        BlobErrorKind::Full => Code::ResourceExhausted,
        BlobErrorKind::Conflict => Code::Aborted,
        BlobErrorKind::Unavailable => Code::Unavailable,
        BlobErrorKind::Invalid => Code::InvalidArgument,
        BlobErrorKind::Changed => Code::FailedPrecondition,
    }
}

/// Something the coordinator itself had to read for a client.
pub(crate) fn of_task(error: &TaskError) -> Status {
    match error {
        TaskError::Transient { message } => Status::unavailable(message.clone()),
        TaskError::Fatal(reason) => Status::internal(reason.message.clone()),
    }
}

/// Too many at once.
pub(crate) fn busy(what: &str) -> Status {
    status::retry_later(Code::ResourceExhausted, format!("too many {what} at once; try again"), COME_BACK)
}

/// The same over HTTP.
pub(crate) fn http(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_common::JobId;

    #[test]
    fn every_refusal_has_its_status() {
        let job = JobId::parse("j1").unwrap();
        let standby = Role::Standby { leader: Some("http://10.0.0.7:7070".to_owned()) };
        let cases = [
            (Refusal::NotFound(job.clone()), Code::NotFound, "list your jobs"),
            (Refusal::AlreadyExists { job: job.clone() }, Code::AlreadyExists, "job j1"),
            (Refusal::Deleted { job: job.clone() }, Code::FailedPrecondition, "job j1, which was deleted"),
            (
                Refusal::WrongState { job, state: "published", advice: "delete it" },
                Code::FailedPrecondition,
                "delete it",
            ),
            (Refusal::Exhausted { what: "open jobs", limit: 3 }, Code::ResourceExhausted, "3 is the limit"),
            (Refusal::NotLeader, Code::Unavailable, "10.0.0.7"),
        ];
        for (refusal, code, says) in cases {
            let status = of_refusal(&refusal, &standby);
            assert_eq!(status.code(), code, "{refusal:?}");
            assert!(status.message().contains(says), "{status:?}");
        }
    }

    #[test]
    fn the_leader_and_the_delay_can_be_read_by_clients() {
        let standby = Role::Standby { leader: Some("http://a".to_owned()) };
        let not_leader = of_refusal(&Refusal::NotLeader, &standby);
        assert_eq!(status::read_not_leader(&not_leader), Some(Some("http://a".to_owned())));
        assert_eq!(status::read_not_leader(&of_role(&Role::Starting)), Some(None));
        assert_eq!(status::read_retry_delay(&busy("calls")), Some(COME_BACK));
    }

    #[test]
    fn stores_are_told_apart_over_grpc_and_http() {
        let told = |kind| {
            let status = of_blob(&BlobError::new(kind, "x"));
            (status.code(), http(status.code()))
        };
        assert_eq!(told(BlobErrorKind::NotFound), (Code::NotFound, StatusCode::NOT_FOUND));
        assert_eq!(told(BlobErrorKind::Permission), (Code::PermissionDenied, StatusCode::FORBIDDEN));
        assert_eq!(told(BlobErrorKind::Unavailable), (Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(told(BlobErrorKind::Invalid), (Code::InvalidArgument, StatusCode::BAD_REQUEST));
    }
}
