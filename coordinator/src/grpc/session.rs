//! Worker sessions: one bidirectional stream each. Two tasks carry it: this one reads and checks, the driver writes to
//! a bounded queue and never waits for it.

use super::{Shared, fleet, principal};
use crate::access::{Kind, Place, Principal};
use crate::driver::{Input, Outbound, Role};
use crate::inspect;
use crate::status;
use reelmill_common::session::{FromWorker, Hello};
use reelmill_coordinator_core::{Event, SessionId};
use reelmill_proto::worker::v1 as wire;
use reelmill_proto::worker::v1::workers_server::Workers;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

/// Messages waiting for a worker. It holds a few leases per slot; one that reads nothing is dropped.
const OUTBOUND: usize = 1_024;
/// A connection that does not say who it is in this time is closed.
const HELLO: Duration = Duration::from_secs(10);

pub(super) struct WorkersService {
    shared: Shared,
    sessions: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl WorkersService {
    pub(super) fn new(shared: Shared, shutdown: CancellationToken) -> Self {
        let sessions = Arc::new(Semaphore::new(shared.sessions_max));
        Self { shared, sessions, shutdown }
    }
}

#[tonic::async_trait]
impl Workers for WorkersService {
    type SessionStream = ReceiverStream<Result<wire::ToWorker, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<wire::FromWorker>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        match self.shared.driver.role() {
            Role::Leading => {}
            other => return Err(status::of_role(&other)),
        }
        let principal = principal(&request)?;
        let among_its_own = match principal.worker {
            Some(_) => Some(self.shared.guard.place(Kind::Sessions, &principal)?),
            None => None,
        };
        // layers count a stream only until its headers: the session holds its own permit
        let permit =
            Arc::clone(&self.sessions).try_acquire_owned().map_err(|_| status::busy("worker sessions"))?;
        let (sender, receiver) = mpsc::channel(OUTBOUND);
        let session = Session {
            id: self.shared.driver.new_session(),
            shared: self.shared.clone(),
            inbound: request.into_inner(),
            sender,
            closed: self.shutdown.child_token(),
            principal,
            _places: (permit, among_its_own),
        };
        let span = tracing::info_span!("session", session = session.id.0);
        tokio::spawn(session.run().instrument(span));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn enrol(
        &self,
        request: Request<wire::EnrolRequest>,
    ) -> Result<Response<wire::EnrolResponse>, Status> {
        let principal = principal(&request)?;
        fleet::enrol(&self.shared, &principal, request.into_inner()).await.map(Response::new)
    }
}

struct Session {
    id: SessionId,
    shared: Shared,
    inbound: Streaming<wire::FromWorker>,
    sender: mpsc::Sender<Result<wire::ToWorker, Status>>,
    /// Cancelled by the driver, or when the process goes.
    closed: CancellationToken,
    principal: Principal,
    _places: (OwnedSemaphorePermit, Option<Place>),
}

impl Session {
    async fn run(mut self) {
        let hello = match tokio::time::timeout(HELLO, self.hello()).await {
            Ok(Ok(hello)) => hello,
            Ok(Err(status)) => return self.say(status).await,
            Err(_) => return self.say(Status::deadline_exceeded("no Hello came")).await,
        };
        tracing::info!(worker = %hello.worker, slots = hello.capability.slots, "worker connected");
        let outbound = Outbound::new(self.sender.clone(), self.closed.clone());
        let connected = Input::Connected { session: self.id, hello: Box::new(hello), outbound };
        if !self.shared.driver.tell(connected).await {
            return;
        }
        if let Err(status) = self.listen().await {
            tracing::warn!(%status, "worker session ended");
            self.say(status).await;
        } else {
            tracing::info!("worker session ended");
        }
        let gone = Event::WorkerDisconnected { session: self.id };
        self.shared.driver.tell(Input::Event(Box::new(gone))).await;
    }

    async fn hello(&mut self) -> Result<Hello, Status> {
        let Some(first) = self.inbound.message().await? else {
            return Err(Status::invalid_argument("the stream ended before Hello"));
        };
        let FromWorker::Hello(mut hello) = FromWorker::try_from(first).map_err(|e| status::of_wire(&e))?
        else {
            return Err(Status::invalid_argument("the first message must be Hello"));
        };
        if !self.principal.works_as(&hello.worker, &self.shared.enrolled) {
            let text = format!("this is not the credential of worker {}: take another --name", hello.worker);
            return Err(reelmill_proto::status::not_allowed(text));
        }
        for (_, job, spec, outcome) in &mut hello.unsettled {
            inspect::outcome(&self.shared.catalog, job, *spec, outcome).await?;
        }
        Ok(hello)
    }

    /// Carries messages until either side ends the stream.
    async fn listen(&mut self) -> Result<(), Status> {
        let (guard, principal) = (self.shared.guard.clone(), self.principal.clone());
        let mut withdrawn = std::pin::pin!(guard.ended(&principal));
        loop {
            let message = tokio::select! {
                message = self.inbound.message() => message?,
                () = self.closed.cancelled() => return Ok(()),
                withdrawn = &mut withdrawn => return Err(withdrawn),
            };
            let Some(message) = message else { return Ok(()) };
            let message = FromWorker::try_from(message).map_err(|e| status::of_wire(&e))?;
            let event = self.event(message).await?;
            if !self.shared.driver.tell(Input::Event(Box::new(event))).await {
                return Ok(());
            }
        }
    }

    async fn event(&self, message: FromWorker) -> Result<Event, Status> {
        let session = self.id;
        Ok(match message {
            FromWorker::Outcome { attempt, job, spec, mut outcome } => {
                inspect::outcome(&self.shared.catalog, &job, spec, &mut outcome).await?;
                Event::OutcomeChecked { session, attempt, job, spec, outcome }
            }
            FromWorker::Hello(_) => return Err(Status::invalid_argument("Hello is said once, first")),
            message => Event::WorkerSaid { session, message },
        })
    }

    async fn say(&self, status: Status) {
        // the worker may have gone
        let _ = self.sender.send(Err(status)).await;
    }
}
