//! The jobs service: wire to domain, the driver's answer, domain to wire.

use super::{Shared, limits, principal, watch};
use crate::access::{Kind, Place, Principal};
use crate::admission::Bounds;
use crate::archive;
use crate::clock::unix_ms;
use crate::driver::Role;
use crate::status;
use reelmill_common::{JobId, TenantId};
use reelmill_coordinator_core::{Answer, Call, LIST_MAX, Refusal, Submission};
use reelmill_plan::wish;
use reelmill_proto::jobs::v1 as wire;
use reelmill_proto::jobs::v1::jobs_server::Jobs;
use reelmill_proto::{job_request, stored};
use std::sync::Arc;
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

/// Calls being answered at a time, watches aside.
const CALLS_MAX: usize = 1_024;
/// Watches at a time.
const WATCHES_MAX: usize = 1_024;
/// Jobs of a page when the client does not say.
const PAGE: usize = 50;

pub(super) struct JobsService {
    shared: Shared,
    calls: Semaphore,
    watches: Arc<Semaphore>,
}

/// A caller whose call is being answered.
struct Entered<'a> {
    principal: Principal,
    _places: (Place, SemaphorePermit<'a>),
}

impl JobsService {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared, calls: Semaphore::new(CALLS_MAX), watches: Arc::new(Semaphore::new(WATCHES_MAX)) }
    }

    /// A caller, and its place among the calls being answered; a process that does not lead says so before anything else.
    fn enter<T>(&self, request: &Request<T>) -> Result<Entered<'_>, Status> {
        match self.shared.driver.role() {
            Role::Leading => {}
            other => return Err(status::of_role(&other)),
        }
        let principal = principal(request)?;
        let among_its_own = self.shared.guard.place(Kind::Calls, &principal)?;
        let among_all = self.calls.try_acquire().map_err(|_| status::busy("calls"))?;
        Ok(Entered { principal, _places: (among_its_own, among_all) })
    }

    fn refused(&self, refusal: &Refusal) -> Status {
        status::of_refusal(refusal, &self.shared.driver.role())
    }

    async fn view(&self, tenant: TenantId, job: JobId) -> Result<Option<wire::Job>, Status> {
        let view = archive::view(&self.shared.driver, &self.shared.catalog, &tenant, &job).await?;
        Ok(Some((&view).into()))
    }

    /// A change of one job, answered with the job after it.
    async fn change(
        &self,
        tenant: TenantId,
        id: &str,
        call: impl FnOnce(TenantId, JobId) -> Call,
    ) -> Result<Option<wire::Job>, Status> {
        let call = call(tenant.clone(), job_id(id)?);
        let answer = match self.shared.driver.call(call.clone()).await {
            Err(Refusal::NotFound(job)) => self.change_archived(&tenant, job, call).await?,
            answer => answer,
        };
        let answer: Answer = answer.map_err(|r| self.refused(&r))?;
        self.view(tenant, answer.job).await
    }

    /// The same of a job that has no live record.
    async fn change_archived(
        &self,
        tenant: &TenantId,
        job: JobId,
        call: Call,
    ) -> Result<Result<Answer, Refusal>, Status> {
        let found = self.shared.catalog.archived(tenant, &job).await.map_err(|e| status::of_task(&e))?;
        Ok(match (found, call) {
            (None, _) => Err(Refusal::NotFound(job)),
            (Some(archive), Call::Delete { .. }) => {
                let record = Box::new(archive.job.clone());
                self.shared.driver.call(Call::DeleteArchived { record }).await
            }
            (Some(_), _) => Err(Refusal::WrongState {
                job,
                state: "archived",
                advice: "it was published long ago and can be shown, played and deleted",
            }),
        })
    }

    async fn submission(
        &self,
        principal: &Principal,
        request: wire::SubmitRequest,
    ) -> Result<Submission, Status> {
        let job = request.job.ok_or_else(|| Status::invalid_argument("field `job`: is missing"))?;
        limits::check(&job)?;
        let request = job_request(principal.tenant.clone(), job).map_err(|e| status::of_wire(&e))?;
        // of what the client said, not of what it led to: the same words are the same request
        let request_hash = stored::request_hash(&request);
        wish::check(&request.ladder, &request.options)
            .map_err(|e| Status::invalid_argument(e.to_string()))?;
        let admission = self.shared.admission.clone();
        let bounds = Bounds {
            is_confined: principal.is_confined(),
            stores: self.shared.guard.stores_of(&principal.tenant),
        };
        let admitted = reelmill_blob::blocking(move || admission.admit(request, &bounds)).await;
        let request = match admitted {
            Ok(admitted) => admitted.map_err(|e| status::of_blob(&e))?,
            Err(error) => {
                return Err(Status::internal(format!("the source could not be looked at: {error}")));
            }
        };
        let placement = self.shared.admission.placement(&request).await.map_err(|e| status::of_blob(&e))?;
        Ok(Submission {
            id: new_job_id()?,
            request,
            request_hash,
            slots_hint: self.shared.slots_hint,
            placement,
            unix_ms: unix_ms(),
        })
    }
}

fn job_id(text: &str) -> Result<JobId, Status> {
    JobId::parse(text).map_err(|e| Status::invalid_argument(format!("field `id`: {e}")))
}

/// A new id; ids sort by time of submission.
fn new_job_id() -> Result<JobId, Status> {
    JobId::parse(&Uuid::now_v7().to_string()).map_err(|e| Status::internal(e.to_string()))
}

#[tonic::async_trait]
impl Jobs for JobsService {
    async fn submit(
        &self,
        request: Request<wire::SubmitRequest>,
    ) -> Result<Response<wire::SubmitResponse>, Status> {
        let entered = self.enter(&request)?;
        let tenant = entered.principal.tenant.clone();
        let submission = self.submission(&entered.principal, request.into_inner()).await?;
        let answer = self.shared.driver.call(Call::Submit(Box::new(submission))).await;
        let answer = answer.map_err(|r| self.refused(&r))?;
        let Answer { job: id, existed } = answer;
        tracing::info!(job = %id, existed, "submitted");
        let job = match self.view(tenant, id.clone()).await {
            // its key outlives it
            Err(gone) if existed && gone.code() == Code::NotFound => {
                return Err(self.refused(&Refusal::Deleted { job: id }));
            }
            job => job?,
        };
        Ok(Response::new(wire::SubmitResponse { job, created: !existed }))
    }

    async fn get(&self, request: Request<wire::GetRequest>) -> Result<Response<wire::GetResponse>, Status> {
        let entered = self.enter(&request)?;
        let tenant = entered.principal.tenant.clone();
        let job = self.view(tenant, job_id(&request.get_ref().id)?).await?;
        Ok(Response::new(wire::GetResponse { job }))
    }

    async fn list(
        &self,
        request: Request<wire::ListRequest>,
    ) -> Result<Response<wire::ListResponse>, Status> {
        let entered = self.enter(&request)?;
        let tenant = entered.principal.tenant.clone();
        let wire::ListRequest { page_size, page_token } = request.into_inner();
        let limit = if page_size == 0 { PAGE } else { (page_size as usize).min(LIST_MAX) };
        let after = (!page_token.is_empty())
            .then(|| JobId::parse(&page_token))
            .transpose()
            .map_err(|_| Status::invalid_argument("field `page_token`: was not given out by this service"))?;
        let jobs = self.shared.driver.list(tenant, after, limit).await.map_err(|r| self.refused(&r))?;
        let next_page_token =
            jobs.last().filter(|_| jobs.len() == limit).map(|j| j.id.to_string()).unwrap_or_default();
        Ok(Response::new(wire::ListResponse { jobs: jobs.iter().map(Into::into).collect(), next_page_token }))
    }

    type WatchStream = watch::Updates;

    async fn watch(
        &self,
        request: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let Entered { principal, .. } = self.enter(&request)?;
        let among_its_own = self.shared.guard.place(Kind::Watches, &principal)?;
        let permit = Arc::clone(&self.watches).try_acquire_owned().map_err(|_| status::busy("watches"))?;
        let job = job_id(&request.get_ref().id)?;
        // a job that is not there is told at once, not as the end of a stream
        self.view(principal.tenant.clone(), job.clone()).await?;
        let watcher = watch::Watcher { principal, guard: self.shared.guard.clone() };
        let after = request.get_ref().after_version;
        let jobs = (self.shared.driver.clone(), Arc::clone(&self.shared.catalog));
        Ok(Response::new(watch::updates(jobs, watcher, job, after, (permit, among_its_own))))
    }

    async fn cancel(
        &self,
        request: Request<wire::CancelRequest>,
    ) -> Result<Response<wire::CancelResponse>, Status> {
        let entered = self.enter(&request)?;
        let tenant = entered.principal.tenant.clone();
        let job =
            self.change(tenant, &request.get_ref().id, |tenant, job| Call::Cancel { tenant, job }).await?;
        Ok(Response::new(wire::CancelResponse { job }))
    }

    async fn retry(
        &self,
        request: Request<wire::RetryRequest>,
    ) -> Result<Response<wire::RetryResponse>, Status> {
        let entered = self.enter(&request)?;
        let tenant = entered.principal.tenant.clone();
        let job =
            self.change(tenant, &request.get_ref().id, |tenant, job| Call::Retry { tenant, job }).await?;
        Ok(Response::new(wire::RetryResponse { job }))
    }

    async fn explain(
        &self,
        request: Request<wire::ExplainRequest>,
    ) -> Result<Response<wire::ExplainResponse>, Status> {
        let entered = self.enter(&request)?;
        let tenant = entered.principal.tenant.clone();
        let id = job_id(&request.get_ref().id)?;
        let (job, reasons) = match self.shared.driver.explain(tenant.clone(), id.clone()).await {
            Err(Refusal::NotFound(_)) => {
                let view = archive::view(&self.shared.driver, &self.shared.catalog, &tenant, &id).await?;
                let reasons = view.notes.clone();
                (view, reasons)
            }
            answer => answer.map_err(|r| self.refused(&r))?,
        };
        let decisions = self.decisions(&tenant, &job.id).await;
        Ok(Response::new(wire::ExplainResponse { job: Some((&job).into()), reasons, decisions }))
    }

    async fn delete(
        &self,
        request: Request<wire::DeleteRequest>,
    ) -> Result<Response<wire::DeleteResponse>, Status> {
        let entered = self.enter(&request)?;
        let tenant = entered.principal.tenant.clone();
        let job =
            self.change(tenant, &request.get_ref().id, |tenant, job| Call::Delete { tenant, job }).await?;
        Ok(Response::new(wire::DeleteResponse { job }))
    }
}

impl JobsService {
    /// What the plan decided; none before the plan, or while it cannot be read.
    async fn decisions(&self, tenant: &TenantId, job: &JobId) -> Vec<String> {
        let catalog = &self.shared.catalog;
        let read = async {
            let record = match catalog.record(job) {
                Some(live) => Some(live),
                None => catalog.published(tenant, job).await?,
            };
            match record.filter(|r| r.plan.is_some()) {
                Some(record) => catalog.plan(&record).await.map(|p| p.plan.report.decisions.clone()),
                None => Ok(Vec::new()),
            }
        };
        match read.await {
            Ok(decisions) => decisions,
            Err(error) => {
                tracing::warn!(%job, ?error, "the plan cannot be shown");
                Vec::new()
            }
        }
    }
}
