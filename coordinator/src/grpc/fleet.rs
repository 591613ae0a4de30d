//! Who may work: workers that join or renew, and what operators see of them and take from them.

use super::{Shared, principal};
use crate::access::Principal;
use crate::clock::unix_ms;
use crate::driver::Role;
use crate::status;
use reelmill_common::{Sha256, WorkerId};
use reelmill_coordinator_core::{Enrolment, Refusal, WorkerCall};
use reelmill_proto::worker::v1 as wire;
use reelmill_proto::worker::v1::fleet_server::Fleet;
use std::collections::BTreeMap;
use std::ops::Bound;
use tonic::{Request, Response, Status};

/// How long a credential is good without being renewed.
const CREDENTIAL_MS: u64 = 30 * 86_400_000;
/// Workers of a page.
const PAGE: usize = 500;

pub(super) struct FleetService {
    shared: Shared,
}

impl FleetService {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared }
    }
}

fn leads(shared: &Shared) -> Result<(), Status> {
    match shared.driver.role() {
        Role::Leading => Ok(()),
        other => Err(status::of_role(&other)),
    }
}

fn refused(shared: &Shared, refusal: &Refusal) -> Status {
    status::of_refusal(refusal, &shared.driver.role())
}

fn worker_id(text: &str) -> Result<WorkerId, Status> {
    WorkerId::parse(text).map_err(|e| Status::invalid_argument(format!("field `worker`: {e}")))
}

/// A worker joins, or renews what it joined with.
pub(super) async fn enrol(
    shared: &Shared,
    principal: &Principal,
    request: wire::EnrolRequest,
) -> Result<wire::EnrolResponse, Status> {
    leads(shared)?;
    let renews = match (principal.role, principal.enrolled()) {
        (Some(crate::access::Role::Worker), None) | (None, _) => {
            let text = "only a token of the role enrol lets a worker join";
            return Err(reelmill_proto::status::not_allowed(text));
        }
        (_, renews) => renews,
    };
    let worker = worker_id(&request.worker)?;
    let secret = <[u8; 32]>::try_from(request.secret.as_slice())
        .map_err(|_| Status::invalid_argument("field `secret`: is no SHA-256"))?;
    if principal.worker.as_ref().is_some_and(|own| *own != worker) {
        return Err(reelmill_proto::status::not_allowed("a credential renews itself only"));
    }
    let unix_ms = unix_ms();
    let expires_unix_ms = unix_ms + CREDENTIAL_MS;
    let enrolment =
        Enrolment { worker: worker.clone(), secret: Sha256(secret), renews, unix_ms, expires_unix_ms };
    let done = shared.driver.worker_call(WorkerCall::Enrol(Box::new(enrolment))).await;
    done.map_err(|r| refused(shared, &r))?;
    tracing::info!(%worker, by = %principal.name, "a worker is enrolled");
    Ok(wire::EnrolResponse { expires_unix_ms })
}

#[tonic::async_trait]
impl Fleet for FleetService {
    async fn list(
        &self,
        request: Request<wire::ListRequest>,
    ) -> Result<Response<wire::ListResponse>, Status> {
        leads(&self.shared)?;
        principal(&request)?;
        let wire::ListRequest { page_size, page_token } = request.into_inner();
        let limit = if page_size == 0 { PAGE } else { (page_size as usize).min(PAGE) };
        let after = (!page_token.is_empty()).then(|| WorkerId::parse(&page_token)).transpose();
        let after = after
            .map_err(|_| Status::invalid_argument("field `page_token`: was not given out by this service"))?;
        let mut workers: BTreeMap<WorkerId, wire::WorkerInfo> = BTreeMap::new();
        for record in self.shared.enrolled.all() {
            let info = wire::WorkerInfo {
                worker: record.worker.to_string(),
                enrolled_unix_ms: Some(record.enrolled_unix_ms),
                expires_unix_ms: Some(record.expires_unix_ms),
                ..Default::default()
            };
            workers.insert(record.worker, info);
        }
        for view in self.shared.driver.workers().await.map_err(|r| refused(&self.shared, &r))? {
            let info = workers.entry(view.id.clone()).or_default();
            info.worker = view.id.to_string();
            (info.connected, info.slots, info.running) =
                (view.connected, view.capability.slots, view.running);
        }
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page: Vec<_> =
            workers.range((from, Bound::Unbounded)).take(limit).map(|(_, w)| w.clone()).collect();
        let next_page_token =
            page.last().filter(|_| page.len() == limit).map(|w| w.worker.clone()).unwrap_or_default();
        Ok(Response::new(wire::ListResponse { workers: page, next_page_token }))
    }

    async fn revoke(
        &self,
        request: Request<wire::RevokeRequest>,
    ) -> Result<Response<wire::RevokeResponse>, Status> {
        leads(&self.shared)?;
        let principal = principal(&request)?;
        let worker = worker_id(&request.get_ref().worker)?;
        let revoked = self.shared.driver.worker_call(WorkerCall::Revoke { worker: worker.clone() }).await;
        revoked.map_err(|r| refused(&self.shared, &r))?;
        tracing::info!(%worker, by = %principal.name, "a worker's credential is revoked");
        Ok(Response::new(wire::RevokeResponse {}))
    }
}
