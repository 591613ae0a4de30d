//! The connection to a coordinator: which address next, after how long, and the two directions of the session.
//!
//! One task per connection: it dials, feeds what the coordinator says into the driver's events and ends with the
//! connection. The other direction is a bounded queue that the driver never waits for. What the messages mean is the
//! agent's business.

use super::Event;
use crate::config::{Security, WorkerError};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use rand::Rng as _;
use reelmill_common::session::{FromWorker, Termed, ToWorker};
use reelmill_proto::MAX_MESSAGE_BYTES;
use reelmill_proto::status::read_not_leader;
use reelmill_proto::worker::v1 as pb;
use reelmill_proto::worker::v1::workers_client::WorkersClient;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

/// Messages waiting to be sent. A connection that does not take that many is a dead one.
const OUTBOUND: usize = 256;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// First pause after a failure; doubled with each further one.
const FIRST_PAUSE_MS: u64 = 200;
/// Longest pause.
const LONGEST_PAUSE_MS: u64 = 5_000;

/// How a connection to an address is made.
#[derive(Clone)]
pub struct Dial(Arc<dyn Fn(Endpoint) -> Dialed + Send + Sync>);

/// A connection that is being made.
type Dialed = BoxFuture<'static, Result<Channel, tonic::transport::Error>>;

impl Dial {
    /// As `dial` does it.
    pub fn by(dial: impl Fn(Endpoint) -> Dialed + Send + Sync + 'static) -> Self {
        Self(Arc::new(dial))
    }
}

impl Default for Dial {
    /// By TCP.
    fn default() -> Self {
        Self::by(|endpoint| async move { endpoint.connect().await }.boxed())
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dial")
    }
}

/// Knows the coordinators and whom to try next.
#[derive(Debug)]
pub(super) struct Dialer {
    endpoints: Vec<Endpoint>,
    dial: Dial,
    security: Security,
    next: usize,
    failures: u32,
    /// Where the leader is said to be; tried once, at once.
    leader: Option<Endpoint>,
    /// The connection of now was such a try.
    redirected: bool,
}

/// A connection as the driver holds it; dropping it closes it.
#[derive(Debug)]
pub(super) struct Connection {
    /// Set once it is open.
    pub(super) outbound: Option<mpsc::Sender<pb::FromWorker>>,
    _task: AbortOnDropHandle<()>,
}

impl Dialer {
    pub(super) fn new(addresses: &[String], security: Security, dial: Dial) -> Result<Self, WorkerError> {
        let endpoints: Result<Vec<_>, _> = addresses.iter().map(|a| endpoint(a, &security)).collect();
        let endpoints = endpoints?;
        if endpoints.is_empty() {
            return Err(WorkerError::NoCoordinator);
        }
        Ok(Self { endpoints, dial, security, next: 0, failures: 0, leader: None, redirected: false })
    }

    /// Begins to dial. The connection's events carry `generation`.
    pub(super) fn dial(&mut self, generation: u64, events: mpsc::Sender<Event>) -> Connection {
        self.redirected = self.leader.is_some();
        let (endpoint, pause) = match self.leader.take() {
            Some(leader) => (leader, Duration::ZERO),
            None => {
                let endpoint = self.endpoints[self.next % self.endpoints.len()].clone();
                self.next += 1;
                (endpoint, pause(self.failures))
            }
        };
        let (token, dial) = (self.security.token.clone(), self.dial.clone());
        let task = tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let end = talk(&endpoint, &dial, token.as_ref().map(|t| t.reveal()), generation, &events).await;
            tracing::debug!(address = %endpoint.uri(), end = %end, "connection ended");
            // the driver is gone only when the worker leaves
            let _ = events.send(Event::Ended { generation, end }).await;
        });
        Connection { outbound: None, _task: AbortOnDropHandle::new(task) }
    }

    /// A leader welcomed us.
    pub(super) fn welcomed(&mut self) {
        self.failures = 0;
    }

    /// A connection ended, or was never made.
    pub(super) fn ended(&mut self, end: &Status) {
        self.failures = self.failures.saturating_add(1);
        // a redirect costs no pause, but only one in a row: two standbys that name each other must not make us spin
        let leader = read_not_leader(end).flatten().filter(|_| !self.redirected);
        self.leader = leader.and_then(|address| endpoint(&address, &self.security).ok());
    }
}

/// Half of the doubled pause and a random part of the other half: workers that lost one coordinator together do not
/// come back together.
fn pause(failures: u32) -> Duration {
    let whole = match failures {
        0 => 0,
        n => (FIRST_PAUSE_MS << (n - 1).min(16)).min(LONGEST_PAUSE_MS),
    };
    Duration::from_millis(whole / 2 + rand::rng().random_range(0..=whole / 2))
}

fn endpoint(address: &str, security: &Security) -> Result<Endpoint, WorkerError> {
    let bad = |e: tonic::transport::Error| WorkerError::BadAddress {
        address: address.to_owned(),
        why: e.to_string(),
    };
    let endpoint = Endpoint::from_shared(address.to_owned())
        .map_err(bad)?
        .connect_timeout(CONNECT_TIMEOUT)
        // a peer that vanished without a word is noticed by its silence, also while there is nothing to say
        .http2_keep_alive_interval(Duration::from_secs(15))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .http2_adaptive_window(true)
        .tcp_nodelay(true);
    if endpoint.uri().scheme_str() != Some("https") {
        return Ok(endpoint);
    }
    let tls = match &security.ca_pem {
        Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
        None => ClientTlsConfig::new(),
    };
    endpoint.tls_config(tls).map_err(bad)
}

/// One connection from dial to end; says how it ended.
async fn talk(
    endpoint: &Endpoint,
    dial: &Dial,
    token: Option<&str>,
    generation: u64,
    events: &mpsc::Sender<Event>,
) -> Status {
    let channel = match (dial.0)(endpoint.clone()).await {
        Ok(channel) => channel,
        Err(e) => return Status::unavailable(format!("not reachable: {}", innermost(&e))),
    };
    let (outbound, queue) = mpsc::channel(OUTBOUND);
    // the Hello must be on its way before the coordinator answers, so this comes before the call
    if events.send(Event::Connected { generation, outbound }).await.is_err() {
        return Status::cancelled("the worker left");
    }
    let mut request = Request::new(ReceiverStream::new(queue));
    if let Some(token) = token {
        match format!("Bearer {token}").parse() {
            Ok(value) => request.metadata_mut().insert("authorization", value),
            Err(_) => return Status::invalid_argument("the token holds characters that no header may"),
        };
    }
    let mut client = WorkersClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let mut inbound = match client.session(request).await {
        Ok(response) => response.into_inner(),
        Err(status) => return status,
    };
    loop {
        let message = match inbound.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return Status::ok("the coordinator closed the session"),
            Err(status) => return status,
        };
        let message: Termed<ToWorker> = match message.try_into() {
            Ok(message) => message,
            Err(e) => return Status::invalid_argument(format!("the coordinator sent nonsense: {e}")),
        };
        if events.send(Event::Received { generation, message }).await.is_err() {
            return Status::cancelled("the worker left");
        }
    }
}

fn innermost(e: &dyn std::error::Error) -> String {
    let mut cause = e;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

impl Connection {
    /// Puts a message on its way. False when the connection takes no more and is as good as lost. On one that has
    /// ended already the message is lost, too, and the event that says so is on its way.
    pub(super) fn send(&self, message: &FromWorker) -> bool {
        let Some(out) = &self.outbound else { return true };
        !matches!(out.try_send(message.into()), Err(mpsc::error::TrySendError::Full(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_proto::status::not_leader;

    fn dialer() -> Dialer {
        let addresses = ["http://a:1".to_owned(), "http://b:2".to_owned()];
        Dialer::new(&addresses, Security::default(), Dial::default()).unwrap()
    }

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        assert_eq!(pause(0), Duration::ZERO);
        for failures in 1..40 {
            let whole = (FIRST_PAUSE_MS << (failures - 1).min(16)).min(LONGEST_PAUSE_MS);
            let ms = pause(failures).as_millis() as u64;
            assert!((whole / 2..=whole).contains(&ms), "{failures}: {ms}");
        }
        let several: std::collections::BTreeSet<_> = (0..50).map(|_| pause(10)).collect();
        assert!(several.len() > 1);
    }

    #[tokio::test]
    async fn a_redirect_is_followed_at_once_but_never_twice_in_a_row() {
        let mut d = dialer();
        let (events, _inbox) = mpsc::channel(1);
        d.ended(&Status::unavailable("connection refused"));
        assert!(d.leader.is_none());
        d.ended(&not_leader(Some("http://c:3")));
        assert_eq!(d.leader.as_ref().unwrap().uri().host(), Some("c"));
        let _to_c = d.dial(1, events.clone());
        d.ended(&not_leader(Some("http://d:4")));
        assert!(d.leader.is_none(), "c was wrong, so it is not believed either");
        let _to_next = d.dial(2, events);
        d.ended(&not_leader(Some("http://d:4")));
        assert!(d.leader.is_some());
    }

    #[test]
    fn addresses_are_checked_at_start() {
        let new = |addresses: &[String]| Dialer::new(addresses, Security::default(), Dial::default());
        assert!(matches!(new(&[]), Err(WorkerError::NoCoordinator)));
        let bad = new(&["not a url".to_owned()]);
        assert!(matches!(bad, Err(WorkerError::BadAddress { .. })));
    }
}
