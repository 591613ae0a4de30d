//! State in etcd: for a coordinator with standbys.
//!
//! **Leading** is owning the key `leader`, created in a transaction that requires its absence, under the only etcd lease
//! the system uses. Its create revision is the term: etcd's revisions only grow. The keep-alive loop ([`tenure`]) counts
//! from the *sending* of the last acknowledged keep-alive and ends the term before the server may.
//!
//! **A batch** is one transaction. Two comparisons guard it: the leader key's create revision is the term, and its
//! *version* is the batch's number; the transaction puts the leader key once more, unchanged, which moves the version
//! on. The first fences deposed leaders. The second is for a request that was given up as unknown and then arrives late:
//! a transaction may linger in a slow member and would otherwise apply after newer batches and bring old values back.
//! So a batch is applied at most once and in order, and sending it again tells whether it was.
//!
//! The leader also compacts etcd's history ([`compaction`]), and asks its members how full they are ([`room`]).
//!
//! Nothing here is retried but reads, once on each endpoint. This module must not put a second key under a lease or write
//! one outside a guarded transaction.

mod compaction;
mod endpoints;
mod room;
mod tenure;

pub use room::MemberStatus;

use super::{
    Batch, Leadership, MAX_PAGE_ENTRIES, Page, Room, StateError, StateErrorKind, StateStore, WriteResult,
};
use endpoints::{CallError, Endpoints};
use etcd_client::{
    Compare, CompareOp, GetOptions, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse,
};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use reelmill_common::{FencingTerm, Secret, record::LeaderRecord};
use std::sync::{Arc, Mutex, PoisonError};
use tenure::{Candidate, Standing};
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Channel, Endpoint};

const LEADER: &str = "leader";

/// How to reach etcd and how patient to be with it.
#[derive(Clone, Debug)]
pub struct EtcdConfig {
    /// `http://host:2379`, `https://…`; each gets a connection of its own, and a call goes to one of them.
    pub endpoints: Vec<String>,
    /// For `https` endpoints.
    pub tls: Option<EtcdTls>,
    /// Whom to log in as, where etcd has authentication enabled.
    pub user: Option<EtcdUser>,
    /// What all keys begin with, so that cells can share an etcd; ends with `/`.
    pub prefix: String,
    /// Time to live of the leader's lease, in seconds: how long a crashed leader is missed. At least 2.
    pub lease_ttl_s: u64,
    /// A call without an answer for this long has an unknown outcome, in milliseconds.
    pub request_timeout_ms: u64,
    /// A standby looks for a vacancy this often, in milliseconds.
    pub poll_ms: u64,
    /// The bytes a member's database may come to: what its `--quota-backend-bytes` says. etcd tells it itself since 3.6;
    /// before, this is believed.
    pub quota_bytes: u64,
    /// The leader compacts this often, in milliseconds; 0: never, somebody else does.
    pub compact_every_ms: u64,
    /// A compaction leaves the revisions of at least this long, in milliseconds.
    pub keep_revisions_ms: u64,
}

/// How `https` endpoints are checked.
#[derive(Clone, Debug)]
pub struct EtcdTls {
    /// The certificate authority of etcd's certificates, in PEM.
    pub ca_pem: Vec<u8>,
    /// A certificate and its key, in PEM, where etcd asks its clients for one.
    pub identity: Option<(Vec<u8>, Secret)>,
}

/// A user of etcd.
#[derive(Clone, Debug)]
pub struct EtcdUser {
    /// The name.
    pub name: String,
    /// The password.
    pub password: Secret,
}

impl Default for EtcdConfig {
    fn default() -> Self {
        Self {
            endpoints: vec!["http://127.0.0.1:2379".to_owned()],
            tls: None,
            user: None,
            prefix: "reelmill/".to_owned(),
            lease_ttl_s: 10,
            request_timeout_ms: 3_000,
            poll_ms: 500,
            quota_bytes: 2 << 30,
            compact_every_ms: 60_000,
            keep_revisions_ms: 300_000,
        }
    }
}

/// One contender's handle on the state in etcd.
pub struct EtcdState {
    shared: Arc<Shared>,
    /// The loops of the term held, keep-alive and compaction; they end with this handle.
    keeper: Mutex<Option<(i64, AbortOnDropHandle<()>)>>,
    /// Serialises writes and knows their numbers.
    sequence: AsyncMutex<Sequence>,
}

/// What the keep-alive loop shares with the handle.
struct Shared {
    config: EtcdConfig,
    endpoints: Endpoints,
    standing: watch::Sender<Standing>,
}

/// Which batch comes next.
#[derive(Default)]
struct Sequence {
    term: FencingTerm,
    /// The leader key's version that the next batch must find.
    version: i64,
    /// The batch that was sent and whose fate is not known.
    unresolved: Option<Batch>,
}

impl Sequence {
    /// Is the leader's key as the next batch leaves it?
    fn is_next(&self, leader: &KeyValue) -> bool {
        leader.create_revision() == revision(self.term) && leader.version() == self.version + 1
    }

    fn done(&mut self) -> WriteResult {
        self.version += 1;
        self.unresolved = None;
        WriteResult::Done
    }
}

impl EtcdState {
    /// A contender. Endpoints are connected to when they are first needed.
    pub async fn connect(config: EtcdConfig) -> Result<Self, StateError> {
        Self::connect_by(config, |endpoint| endpoint.connect_lazy()).await
    }

    /// The same over channels that `dial` makes.
    pub async fn connect_by(
        config: EtcdConfig,
        dial: impl Fn(Endpoint) -> Channel,
    ) -> Result<Self, StateError> {
        let invalid = |message: String| Err(StateError::new(StateErrorKind::Invalid, message));
        if !config.prefix.ends_with('/') {
            return invalid(format!("the etcd prefix {:?} must end with '/'", config.prefix));
        }
        if config.lease_ttl_s < 2 {
            return invalid(format!(
                "a leader's lease of {} s is too short: use at least 2",
                config.lease_ttl_s
            ));
        }
        let endpoints = Endpoints::connect(&config, dial).await?;
        let standing = watch::Sender::new(Standing::default());
        let shared = Arc::new(Shared { config, endpoints, standing });
        Ok(Self { shared, keeper: Mutex::default(), sequence: AsyncMutex::default() })
    }

    /// The transaction of a batch with its two guards.
    fn transaction(&self, batch: &Batch, version: i64) -> Txn {
        let leader = self.shared.key(LEADER);
        let term = revision(batch.guard.term());
        let guards = [
            Compare::create_revision(leader.clone(), CompareOp::Equal, term),
            Compare::version(leader.clone(), CompareOp::Equal, version),
        ];
        let puts =
            batch.puts.iter().map(|(key, value)| TxnOp::put(self.shared.key(key), value.clone(), None));
        let deletes = batch.deletes.iter().map(|key| TxnOp::delete(self.shared.key(key), None));
        let unchanged = PutOptions::new().with_ignore_value().with_ignore_lease();
        let step = TxnOp::put(leader.clone(), Vec::new(), Some(unchanged));
        let operations: Vec<TxnOp> = puts.chain(deletes).chain(std::iter::once(step)).collect();
        Txn::new().when(guards).and_then(operations).or_else([TxnOp::get(leader, None)])
    }

    async fn write_now(&self, batch: &Batch) -> WriteResult {
        if let Err(error) = batch.check() {
            return WriteResult::Refused(error);
        }
        let term = batch.guard.term();
        let mut sequence = self.sequence.lock().await;
        if !self.shared.leads(term) || sequence.term != term {
            return WriteResult::GuardFailed;
        }
        let again = match &sequence.unresolved {
            Some(unresolved) if unresolved != batch => {
                let message = "a batch of unknown fate has to be sent again before any other";
                return WriteResult::Refused(StateError::new(StateErrorKind::Invalid, message));
            }
            unresolved => unresolved.is_some(),
        };
        // noted before it is sent: if this future is dropped meanwhile, the batch's fate is unknown, too
        sequence.unresolved = Some(batch.clone());
        let transaction = self.transaction(batch, sequence.version);
        let sent = self.shared.endpoints.once(|client| {
            let transaction = transaction.clone();
            async move { client.kv_client().txn(transaction).await }
        });
        let response = match sent.await {
            Ok(response) => response,
            Err(error) if error.is_full() => return self.full(&mut sequence, again, error).await,
            Err(error) if error.not_applied() => {
                // an earlier try of the same batch may still have been
                if !again {
                    sequence.unresolved = None;
                }
                return WriteResult::Refused(error.into_state_error("write to"));
            }
            Err(error) => return WriteResult::Unknown(error.into_state_error("write to").to_string()),
        };
        if response.succeeded() || again && found(&response).is_some_and(|l| sequence.is_next(&l)) {
            return sequence.done();
        }
        self.shared.end(term, "another coordinator leads, or the leader's key was removed");
        WriteResult::GuardFailed
    }

    /// etcd looks at its quota before it proposes a transaction, and once more when it has applied it: it may say that it is
    /// full of what is durable (`quotaApplierV3` in its source). The leader's key tells.
    async fn full(&self, sequence: &mut Sequence, again: bool, error: CallError) -> WriteResult {
        match self.shared.leader_key().await {
            Ok(Some(leader)) if sequence.is_next(&leader) => sequence.done(),
            Ok(_) => {
                if !again {
                    sequence.unresolved = None;
                }
                WriteResult::Refused(error.into_state_error("write to"))
            }
            Err(_) => WriteResult::Unknown(error.into_state_error("write to").to_string()),
        }
    }

    async fn begin(&self, candidate: Candidate, term: FencingTerm, version: i64) {
        *self.sequence.lock().await = Sequence { term, version, unresolved: None };
        self.shared.standing.send_replace(Standing::leading(term));
        let shared = Arc::clone(&self.shared);
        let loops = tokio::spawn(async move {
            tokio::select! {
                () = tenure::keep(&shared, candidate, term) => {}
                () = compaction::run(&shared) => {}
            }
        });
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((candidate.lease, AbortOnDropHandle::new(loops)));
    }
}

impl Shared {
    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.config.prefix)
    }

    fn leads(&self, term: FencingTerm) -> bool {
        self.standing.borrow().leads(term)
    }

    fn end(&self, term: FencingTerm, why: &str) {
        self.standing.send_if_modified(|standing| standing.end(term, why));
    }

    /// The leader's key as etcd has it now.
    async fn leader_key(&self) -> Result<Option<KeyValue>, CallError> {
        let key = self.key(LEADER);
        let get = |client: etcd_client::Client| {
            let key = key.clone();
            async move { client.kv_client().get(key, None).await }
        };
        Ok(self.endpoints.read(get).await?.take_kvs().pop())
    }

    /// The revision etcd is at.
    async fn revision(&self) -> Result<Option<i64>, CallError> {
        let key = self.key(LEADER);
        let options = GetOptions::new().with_count_only();
        let get = |client: etcd_client::Client| {
            let (key, options) = (key.clone(), options.clone());
            async move { client.kv_client().get(key, Some(options)).await }
        };
        Ok(self.endpoints.read(get).await?.header().map(|header| header.revision()))
    }

    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, StateError> {
        let first = match after {
            // the smallest key greater than `after`
            Some(after) if after >= prefix => format!("{}\0", self.key(after)),
            _ => self.key(prefix),
        };
        let options = GetOptions::new().with_range(end_of_prefix(&self.key(prefix))).with_limit(limit as i64);
        let get = |client: etcd_client::Client| {
            let (first, options) = (first.clone(), options.clone());
            async move {
                client.kv_client().max_decoding_message_size(MAX_RESPONSE).get(first, Some(options)).await
            }
        };
        let failed = |error: CallError| error.into_state_error("read from");
        let mut response = self.endpoints.read(get).await.map_err(failed)?;
        let more = response.more();
        let mut page = Page::default();
        for entry in response.take_kvs() {
            let (key, value) = entry.into_key_value();
            let key = String::from_utf8(key).map_err(|error| {
                StateError::new(
                    StateErrorKind::Corrupt,
                    format!("a foreign key lies below our prefix: {error}"),
                )
            })?;
            let key = key.strip_prefix(&self.config.prefix).unwrap_or(&key).to_owned();
            page.entries.push((key, value));
        }
        page.next = page.entries.last().filter(|_| more).map(|(key, _)| key.clone());
        // the port's own key is not part of the state
        page.entries.retain(|(key, _)| key != LEADER);
        Ok(page)
    }
}

/// The largest answer to a scan: a page of the largest batches is far below it.
const MAX_RESPONSE: usize = 256 << 20;

/// The first key after all keys with `prefix`. A prefix ends in ASCII here, so that its last byte can be raised.
fn end_of_prefix(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

/// Terms are create revisions, which etcd counts as signed numbers.
fn revision(term: FencingTerm) -> i64 {
    i64::try_from(term.0).unwrap_or(i64::MAX)
}

/// The leader's key, as the failed transaction's other branch read it.
fn found(response: &TxnResponse) -> Option<KeyValue> {
    response.op_responses().into_iter().find_map(|answer| match answer {
        TxnOpResponse::Get(mut get) => get.take_kvs().pop(),
        _ => None,
    })
}

impl StateStore for EtcdState {
    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<String>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, StateError>> {
        async move { self.shared.scan(prefix, after.as_deref(), limit.clamp(1, MAX_PAGE_ENTRIES)).await }
            .boxed()
    }

    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, WriteResult> {
        self.write_now(batch).boxed()
    }

    fn room(&self) -> BoxFuture<'_, Result<Option<Room>, StateError>> {
        async move { room::room(&self.shared).await.map_err(|error| error.into_state_error("ask")) }.boxed()
    }
}

impl Leadership for EtcdState {
    fn campaign<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<FencingTerm, StateError>> {
        async move {
            let (candidate, term, version) = tenure::win(&self.shared, address).await?;
            self.begin(candidate, term, version).await;
            Ok(term)
        }
        .boxed()
    }

    fn lost(&self, term: FencingTerm) -> BoxFuture<'_, String> {
        async move {
            let mut standing = self.shared.standing.subscribe();
            // the sender lives in `self`, so waiting cannot fail while we are borrowed
            let ended = standing.wait_for(|standing| !standing.leads(term)).await;
            ended.map(|standing| standing.why(term)).unwrap_or_default()
        }
        .boxed()
    }

    fn resign(&self) -> BoxFuture<'_, Result<(), StateError>> {
        async move {
            let Some((lease, keeper)) = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take()
            else {
                return Ok(());
            };
            drop(keeper);
            self.shared.standing.send_if_modified(Standing::resign);
            // the key goes with its lease; if etcd cannot be reached, both go by themselves
            let revoke = |mut client: etcd_client::Client| async move { client.lease_revoke(lease).await };
            let revoked = self.shared.endpoints.read(revoke).await;
            revoked.map(drop).map_err(|error| error.into_state_error("resign at"))
        }
        .boxed()
    }

    fn leader(&self) -> BoxFuture<'_, Result<Option<LeaderRecord>, StateError>> {
        async move {
            let leader =
                self.shared.leader_key().await.map_err(|error| error.into_state_error("read from"))?;
            Ok(leader.map(|leader| LeaderRecord {
                term: FencingTerm(leader.create_revision().unsigned_abs()),
                address: String::from_utf8_lossy(leader.value()).into_owned(),
            }))
        }
        .boxed()
    }
}

#[cfg(test)]
#[allow(dead_code, reason = "tests of other crates start it, too, and each needs another part")]
mod server;
#[cfg(test)]
mod tests;
