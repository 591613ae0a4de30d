//! A scripted coordinator: real gRPC, no decisions. It hands out the leases a test gives it, answers what the
//! protocol wants answered, and shows the test what the worker said.

use reelmill_blob::Stores;
use reelmill_common::outcome::Outcome;
use reelmill_common::session::{FromWorker, Hello, Lease, ReadGrant, Termed, ToWorker, WriteGrant};
use reelmill_common::spec::WorkItem;
use reelmill_common::{AttemptId, FencingTerm, JobId, WorkerId};
use reelmill_proto::worker::v1 as pb;
use reelmill_proto::worker::v1::workers_server::{Workers, WorkersServer};
use reelmill_worker::{Stop, Worker, WorkerConfig};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming};

/// No test waits for longer than this for one thing.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
pub(crate) const TERM: FencingTerm = FencingTerm(1);

/// What the worker said, in order.
#[derive(Debug)]
pub(crate) enum Said {
    Hello(Box<Hello>),
    Grant(AttemptId),
    Outcome(AttemptId, Box<Outcome>),
    Draining,
    /// A heartbeat, with what runs.
    Beat(Vec<AttemptId>),
}

/// The script's state, shared by all its connections.
struct Script {
    leases: Mutex<VecDeque<Lease>>,
    added: Notify,
    allow: AtomicBool,
    said: mpsc::UnboundedSender<Said>,
    redirect: Mutex<Option<String>>,
    hang_up: Mutex<CancellationToken>,
}

/// A running scripted coordinator.
pub(crate) struct Coordinator {
    pub(crate) address: SocketAddr,
    script: Arc<Script>,
    said: tokio::sync::Mutex<mpsc::UnboundedReceiver<Said>>,
    sequence: AtomicU64,
    _server: AbortOnDropHandle<()>,
}

struct Service(Arc<Script>);

#[tonic::async_trait]
impl Workers for Service {
    type SessionStream = ReceiverStream<Result<pb::ToWorker, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<pb::FromWorker>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        if let Some(leader) = self.0.redirect.lock().unwrap().as_deref() {
            return Err(reelmill_proto::status::not_leader(Some(leader)));
        }
        let (out, stream) = mpsc::channel(64);
        let (script, inbound) = (Arc::clone(&self.0), request.into_inner());
        let hang_up = script.hang_up.lock().unwrap().clone();
        tokio::spawn(async move {
            hang_up.run_until_cancelled(converse(&script, inbound, &out)).await;
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn enrol(&self, _: Request<pb::EnrolRequest>) -> Result<Response<pb::EnrolResponse>, Status> {
        Err(Status::unimplemented("nobody joins here"))
    }
}

async fn converse(
    script: &Script,
    mut inbound: Streaming<pb::FromWorker>,
    out: &mpsc::Sender<Result<pb::ToWorker, Status>>,
) {
    let mut free = 0;
    loop {
        let added = script.added.notified();
        while free > 0 {
            let Some(lease) = script.leases.lock().unwrap().pop_front() else { break };
            free -= 1;
            send(out, ToWorker::Lease(Box::new(lease))).await;
        }
        let message = tokio::select! {
            message = inbound.message() => message,
            () = added => continue,
        };
        let Ok(Some(message)) = message else { return };
        match FromWorker::try_from(message).unwrap() {
            FromWorker::Hello(hello) => {
                script.said.send(Said::Hello(Box::new(hello))).unwrap();
                send(out, ToWorker::Welcome { lease_ttl_ms: 6_000, heartbeat_ms: 500 }).await;
            }
            FromWorker::Lease { slots } => free = slots,
            FromWorker::Heartbeat { sequence, running } => {
                script.said.send(Said::Beat(running.iter().map(|r| r.attempt).collect())).unwrap();
                send(out, ToWorker::HeartbeatAck { sequence }).await;
            }
            FromWorker::Grant { attempt, .. } => {
                script.said.send(Said::Grant(attempt)).unwrap();
                send(
                    out,
                    ToWorker::Granted {
                        attempt,
                        allowed: script.allow.load(Ordering::SeqCst),
                        uploads: vec![],
                    },
                )
                .await;
            }
            FromWorker::Outcome { attempt, outcome, .. } => {
                script.said.send(Said::Outcome(attempt, outcome)).unwrap();
                let verdict = reelmill_common::outcome::Verdict::Won;
                send(out, ToWorker::Settled { attempt, verdict }).await;
            }
            FromWorker::Draining => script.said.send(Said::Draining).unwrap(),
        }
    }
}

async fn send(out: &mpsc::Sender<Result<pb::ToWorker, Status>>, message: ToWorker) {
    // the worker may be gone: the loop notices at its next message
    let _ = out.send(Ok((&Termed { term: TERM, message }).into())).await;
}

impl Coordinator {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (said, heard) = mpsc::unbounded_channel();
        let script = Arc::new(Script {
            leases: Mutex::default(),
            added: Notify::new(),
            allow: AtomicBool::new(true),
            said,
            redirect: Mutex::default(),
            hang_up: Mutex::default(),
        });
        let service = WorkersServer::new(Service(Arc::clone(&script)));
        let server = tonic::transport::Server::builder().add_service(service);
        let serving = tokio::spawn(async move {
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self {
            address,
            script,
            said: heard.into(),
            sequence: AtomicU64::new(0),
            _server: AbortOnDropHandle::new(serving),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers every new session with the leader's address.
    pub(crate) fn redirect_to(&self, leader: &str) {
        *self.script.redirect.lock().unwrap() = Some(leader.to_owned());
    }

    /// Refuses uploads from now on.
    pub(crate) fn refuse_grants(&self) {
        self.script.allow.store(false, Ordering::SeqCst);
    }

    /// Ends every connection; new ones are taken.
    pub(crate) fn hang_up(&self) {
        std::mem::take(&mut *self.script.hang_up.lock().unwrap()).cancel();
    }

    /// Queues work on a local film and returns its attempt.
    pub(crate) fn lease(&self, item: WorkItem, film: &Path, out: &Path) -> AttemptId {
        self.lease_url(item, &format!("file://{}", film.display()), out)
    }

    /// Queues work and returns its attempt.
    pub(crate) fn lease_url(&self, item: WorkItem, source: &str, out: &Path) -> AttemptId {
        let attempt = AttemptId { term: TERM, sequence: self.sequence.fetch_add(1, Ordering::SeqCst) + 1 };
        let url = |path: &Path| format!("file://{}", path.display());
        let lease = Lease {
            attempt,
            spec: item.spec_id(),
            job: JobId::parse("job-1").unwrap(),
            item,
            source: ReadGrant { url: source.to_owned(), signed: None, bytes: None, version: None },
            output: WriteGrant {
                package: url(&out.join("package")),
                work: url(&out.join("work")),
                own: false,
                signed: false,
            },
            audited: None,
            decoder_threads: 1,
            alone: false,
        };
        self.script.leases.lock().unwrap().push_back(lease);
        self.script.added.notify_one();
        attempt
    }

    /// The next thing said that `wanted` takes; what it does not take is dropped.
    pub(crate) async fn hear<T>(&self, what: &str, mut wanted: impl FnMut(Said) -> Option<T>) -> T {
        let mut said = self.said.lock().await;
        let search = async {
            loop {
                let next = said.recv().await.expect("the script lives as long as the coordinator");
                if let Some(found) = wanted(next) {
                    return found;
                }
            }
        };
        tokio::time::timeout(DEADLINE, search)
            .await
            .unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"))
    }

    pub(crate) async fn outcome(&self, of: AttemptId) -> Outcome {
        self.hear(&format!("outcome of {of}"), |said| match said {
            Said::Outcome(attempt, outcome) if attempt == of => Some(*outcome),
            _ => None,
        })
        .await
    }

    pub(crate) async fn hello(&self) -> Hello {
        self.hear("hello", |said| match said {
            Said::Hello(hello) => Some(*hello),
            _ => None,
        })
        .await
    }
}

/// A worker in this process.
pub(crate) struct Running {
    pub(crate) stop: Stop,
    pub(crate) task: AbortOnDropHandle<()>,
}

pub(crate) fn config(coordinators: Vec<String>, scratch: &Path) -> WorkerConfig {
    let launcher = env!("CARGO_BIN_EXE_reelmill-launcher").into();
    let worker = WorkerId::parse("w1").unwrap();
    let mut config = WorkerConfig::new(worker, coordinators, scratch.to_owned(), launcher);
    config.slots = Some(2);
    // proofs are known by all that decides them and written by a rename: one test proves for all
    config.cache = Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("encoder-proofs"));
    config
}

pub(crate) async fn start(config: WorkerConfig) -> Running {
    start_with(config, Stores::default()).await
}

pub(crate) async fn start_with(config: WorkerConfig, stores: Stores) -> Running {
    let app = Worker::build_with(config, stores).await.unwrap();
    let stop = Stop::default();
    let task = tokio::spawn(app.run(stop.clone()));
    Running { stop, task: AbortOnDropHandle::new(task) }
}

impl Running {
    /// Asks it to leave and waits until it has.
    pub(crate) async fn leave(self) {
        self.stop.drain.cancel();
        tokio::time::timeout(DEADLINE, self.task).await.expect("the worker leaves when asked").unwrap();
    }
}
