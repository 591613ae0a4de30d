//! The connection to a coordinator: which address next, after how long, and the two directions of the session.
//!
//! One task per connection: it dials, feeds what the coordinator says into the driver's events and ends with the
//! connection. The other direction is a bounded queue that the driver never waits for. What the messages mean is the
//! agent's business.

use super::Event;
use crate::config::WorkerError;
use crate::security::{self, Security};
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
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// Messages waiting to be sent. A connection that does not take that many is a dead one.
const OUTBOUND: usize = 256;
/// First pause after a failure; doubled with each further one.
const FIRST_PAUSE_MS: u64 = 200;
/// Longest pause.
const LONGEST_PAUSE_MS: u64 = 5_000;

/// How a connection to an address is made.
#[derive(Clone)]
pub struct Dial {
    dial: Arc<dyn Fn(Endpoint) -> Dialed + Send + Sync>,
    /// What is at the other end can be asked once more, by TCP.
    is_tcp: bool,
}

/// A connection that is being made.
type Dialed = BoxFuture<'static, Result<Channel, tonic::transport::Error>>;

impl Dial {
    /// As `dial` does it.
    pub fn by(dial: impl Fn(Endpoint) -> Dialed + Send + Sync + 'static) -> Self {
        Self { dial: Arc::new(dial), is_tcp: false }
    }
}

impl Default for Dial {
    /// By TCP.
    fn default() -> Self {
        let dial = Self::by(|endpoint| async move { endpoint.connect().await }.boxed());
        Self { is_tcp: true, ..dial }
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
    addresses: Vec<String>,
    dial: Dial,
    security: Security,
    next: usize,
    failures: u32,
    /// Where the leader is said to be; tried once, at once.
    leader: Option<String>,
    /// The connection of now was such a try.
    redirected: bool,
    /// How the last one ended that was told.
    told: String,
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
        // what is wrong with an address or a file is told at start
        for address in addresses {
            security.endpoint(address)?;
        }
        if addresses.is_empty() {
            return Err(WorkerError::NoCoordinator);
        }
        let (addresses, told) = (addresses.to_vec(), String::new());
        Ok(Self { addresses, dial, security, next: 0, failures: 0, leader: None, redirected: false, told })
    }

    /// Begins to dial. The connection's events carry `generation`.
    pub(super) fn dial(&mut self, generation: u64, events: mpsc::Sender<Event>) -> Connection {
        self.redirected = self.leader.is_some();
        let (address, pause) = match self.leader.take() {
            Some(leader) => (leader, Duration::ZERO),
            None => {
                let address = self.addresses[self.next % self.addresses.len()].clone();
                self.next += 1;
                (address, pause(self.failures))
            }
        };
        let (security, dial) = (self.security.clone(), self.dial.clone());
        let task = tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let end = talk(&address, &dial, &security, generation, &events).await;
            let end = if dial.is_tcp { explained(&address, end).await } else { end };
            tracing::debug!(%address, %end, "connection ended");
            // the driver is gone only when the worker leaves
            let _ = events.send(Event::Ended { generation, end }).await;
        });
        Connection { outbound: None, _task: AbortOnDropHandle::new(task) }
    }

    /// A leader welcomed us.
    pub(super) fn welcomed(&mut self) {
        self.failures = 0;
        self.told.clear();
    }

    /// A connection ended, or was never made.
    pub(super) fn ended(&mut self, end: &Status) {
        self.failures = self.failures.saturating_add(1);
        let (code, why) = (end.code(), end.message());
        // told once, not at every try
        if code != Code::Ok && read_not_leader(end).is_none() && self.told != why {
            tracing::warn!(?code, why, "no session with a coordinator; trying on");
            self.told = why.to_owned();
        }
        // a redirect costs no pause, but only one in a row: two standbys that name each other must not make us spin
        let leader = read_not_leader(end).flatten().filter(|_| !self.redirected);
        self.leader = leader.filter(|address| self.security.endpoint(address).is_ok());
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

/// Says what a lack of TLS, or too much of it, looks like from here.
async fn explained(address: &str, end: Status) -> Status {
    match security::diagnose(address, &end).await {
        Some(why) => Status::unavailable(format!("{address}: {why}")),
        None => end,
    }
}

/// One connection from dial to end; says how it ended.
async fn talk(
    address: &str,
    dial: &Dial,
    security: &Security,
    generation: u64,
    events: &mpsc::Sender<Event>,
) -> Status {
    let endpoint = match security.endpoint(address) {
        Ok(endpoint) => endpoint,
        Err(error) => return Status::unauthenticated(error.to_string()),
    };
    let channel = match (dial.dial)(endpoint).await {
        Ok(channel) => channel,
        Err(e) => return Status::unavailable(format!("{address}: {}", security::explain(&e))),
    };
    let (outbound, queue) = mpsc::channel(OUTBOUND);
    // the Hello must be on its way before the coordinator answers, so this comes before the call
    if events.send(Event::Connected { generation, outbound }).await.is_err() {
        return Status::cancelled("the worker left");
    }
    let mut request = Request::new(ReceiverStream::new(queue));
    if let Err(error) = security.sign(&mut request) {
        return Status::unauthenticated(error.to_string());
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
        assert_eq!(d.leader.as_deref(), Some("http://c:3"));
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
        assert!(matches!(bad, Err(WorkerError::Security(_))));
    }
}
