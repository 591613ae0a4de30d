//! What an etcd knows, as far as our adapter asks: keys with their revisions, leases, and one transaction after the
//! other. Pure: the time is told to it.
//!
//! It keeps the history of all keys, by which a run is judged, and says when something is changed that only a leader may
//! change and no comparison guards.

use crate::sabotage::Bug;
use etcd_client::proto::{
    PbCompare, PbCompareTarget, PbDeleteRequest, PbDeleteResponse, PbKeyValue, PbPutRequest, PbPutResponse,
    PbRangeRequest, PbRangeResponse, PbResponseHeader, PbResponseOp, PbTargetUnion, PbTxnOpRequest,
    PbTxnOpResponse, PbTxnRequest, PbTxnResponse,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tonic::Status;

/// etcd's default `--max-txn-ops`.
const MAX_OPERATIONS: usize = 128;
/// `CompareResult.EQUAL` of rpc.proto.
const EQUAL: i32 = 0;
/// Bytes of a database without keys.
const EMPTY: usize = 20 << 10;
/// What a leader is elected by; everything beside it is guarded by it.
const LEADER: &str = "leader";

/// One change of one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Change {
    pub(crate) revision: i64,
    pub(crate) key: String,
    /// `None`: deleted.
    pub(crate) value: Option<Vec<u8>>,
}

/// The store.
#[derive(Debug, Default)]
pub(crate) struct Store {
    revision: i64,
    keys: BTreeMap<Vec<u8>, PbKeyValue>,
    leases: BTreeMap<i64, Lease>,
    last_lease: i64,
    compacted: i64,
    file: i64,
    pub(crate) history: Vec<Change>,
    bug: Bug,
    /// What was changed without a guard.
    pub(crate) unguarded: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    ttl: Duration,
    until: Duration,
}

type Answer<T> = Result<T, Status>;

impl Store {
    pub(crate) fn new(bug: Bug) -> Self {
        Self { bug, ..Self::default() }
    }

    /// Ends leases that nobody kept alive, with their keys.
    pub(crate) fn at(&mut self, now: Duration) -> &mut Self {
        let over: Vec<i64> = self.leases.iter().filter(|(_, l)| l.until < now).map(|(id, _)| *id).collect();
        for id in over {
            self.end_lease(id);
        }
        self
    }

    pub(crate) fn header(&self) -> Option<PbResponseHeader> {
        Some(PbResponseHeader { cluster_id: 1, member_id: 1, revision: self.revision.max(1), raft_term: 1 })
    }

    pub(crate) fn range(&self, asked: &PbRangeRequest) -> Answer<PbRangeResponse> {
        if asked.revision > 0 && asked.revision < self.compacted {
            return Err(Status::out_of_range("etcdserver: mvcc: required revision has been compacted"));
        }
        let within = |key: &&Vec<u8>| covers(&asked.key, &asked.range_end, key);
        let found: Vec<&PbKeyValue> =
            self.keys.iter().filter(|(key, _)| within(key)).map(|(_, kv)| kv).collect();
        let limit = usize::try_from(asked.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let kvs: Vec<PbKeyValue> = match asked.count_only {
            true => Vec::new(),
            false => found.iter().take(limit).map(|kv| (*kv).clone()).collect(),
        };
        let more = !asked.count_only && found.len() > limit;
        Ok(PbRangeResponse { header: self.header(), kvs, more, count: found.len() as i64 })
    }

    pub(crate) fn txn(&mut self, asked: &PbTxnRequest) -> Answer<PbTxnResponse> {
        check(asked)?;
        let succeeded = asked.compare.iter().all(|compare| self.holds(compare));
        let branch = if succeeded { &asked.success } else { &asked.failure };
        let next = self.revision.max(1) + 1;
        let changes = self.history.len();
        let mut responses = Vec::with_capacity(branch.len());
        for operation in branch {
            let response = match &operation.request {
                Some(PbTxnOpRequest::RequestPut(put)) => PbTxnOpResponse::ResponsePut(self.put(put, next)?),
                Some(PbTxnOpRequest::RequestDeleteRange(delete)) => {
                    PbTxnOpResponse::ResponseDeleteRange(self.delete(delete, next))
                }
                Some(PbTxnOpRequest::RequestRange(range)) => {
                    PbTxnOpResponse::ResponseRange(self.range(range)?)
                }
                Some(PbTxnOpRequest::RequestTxn(_)) | None => {
                    return Err(Status::unimplemented("a transaction in a transaction"));
                }
            };
            responses.push(PbResponseOp { response: Some(response) });
        }
        if self.history.len() > changes {
            self.revision = next;
        }
        if !is_guarded(asked) {
            let changed = self.history[changes..].iter().filter(|change| !is_leader(&change.key));
            self.unguarded.extend(changed.map(|change| change.key.clone()));
        }
        Ok(PbTxnResponse { header: self.header(), succeeded, responses })
    }

    pub(crate) fn compact(&mut self, revision: i64) -> Answer<()> {
        if revision <= self.compacted {
            return Err(Status::out_of_range("etcdserver: mvcc: required revision has been compacted"));
        }
        if revision > self.revision.max(1) {
            return Err(Status::out_of_range("etcdserver: mvcc: required revision is a future revision"));
        }
        self.compacted = revision;
        Ok(())
    }

    /// A new lease; its id.
    pub(crate) fn grant(&mut self, ttl_s: i64, now: Duration) -> i64 {
        self.last_lease += 1;
        let ttl = Duration::from_secs(ttl_s.unsigned_abs());
        self.leases.insert(self.last_lease, Lease { ttl, until: now + ttl });
        self.last_lease
    }

    pub(crate) fn revoke(&mut self, id: i64) -> Answer<()> {
        if !self.leases.contains_key(&id) {
            return Err(Status::not_found("etcdserver: requested lease not found"));
        }
        self.end_lease(id);
        Ok(())
    }

    /// What is left of a lease in seconds after it was kept alive; 0: there is none.
    pub(crate) fn keep_alive(&mut self, id: i64, now: Duration) -> i64 {
        let Some(lease) = self.leases.get_mut(&id) else { return 0 };
        lease.until = now + lease.ttl;
        lease.ttl.as_secs() as i64
    }

    /// Bytes in use, and of the file around them, which never shrinks.
    pub(crate) fn room(&mut self) -> (i64, i64) {
        let bytes = |key: &str, value: &Option<Vec<u8>>| key.len() + value.as_ref().map_or(0, Vec::len);
        let kept = self.history.iter().filter(|change| change.revision > self.compacted);
        let kept: usize = kept.map(|change| bytes(&change.key, &change.value)).sum();
        let old = self.keys.values().filter(|kv| kv.mod_revision <= self.compacted);
        let old: usize = old.map(|kv| kv.key.len() + kv.value.len()).sum();
        let used = (kept + old + EMPTY) as i64;
        self.file = self.file.max(used);
        (used, self.file)
    }

    /// What an operator does who removes the leader's key, or its lease. False: nobody led.
    pub(crate) fn depose(&mut self, prefix: &str, by_lease: bool) -> bool {
        let leader = self.keys.get_key_value(format!("{prefix}{LEADER}").as_bytes());
        let Some((key, lease)) = leader.map(|(key, kv)| (key.clone(), kv.lease)) else { return false };
        if by_lease {
            self.end_lease(lease);
        } else {
            self.remove(vec![key], self.revision + 1);
            self.revision += 1;
        }
        true
    }

    fn end_lease(&mut self, id: i64) {
        self.leases.remove(&id);
        let of_it = |kv: &&PbKeyValue| kv.lease == id;
        let keys: Vec<Vec<u8>> = self.keys.values().filter(of_it).map(|kv| kv.key.clone()).collect();
        if !keys.is_empty() {
            self.remove(keys, self.revision + 1);
            self.revision += 1;
        }
    }

    fn put(&mut self, asked: &PbPutRequest, revision: i64) -> Answer<PbPutResponse> {
        let before = self.keys.get(&asked.key);
        if before.is_none() && (asked.ignore_value || asked.ignore_lease) {
            return Err(Status::invalid_argument("etcdserver: key not found"));
        }
        if !asked.ignore_lease && asked.lease != 0 && !self.leases.contains_key(&asked.lease) {
            return Err(Status::not_found("etcdserver: requested lease not found"));
        }
        let kept = |ignore: bool| before.filter(|_| ignore);
        let now = PbKeyValue {
            key: asked.key.clone(),
            create_revision: before.map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: before.map_or(0, |kv| kv.version) + 1,
            value: kept(asked.ignore_value).map_or_else(|| asked.value.clone(), |kv| kv.value.clone()),
            lease: kept(asked.ignore_lease).map_or(asked.lease, |kv| kv.lease),
        };
        let (key, value) = (text(&now.key), Some(now.value.clone()));
        self.history.push(Change { revision, key, value });
        self.keys.insert(asked.key.clone(), now);
        Ok(PbPutResponse { header: self.header(), prev_kv: None })
    }

    fn delete(&mut self, asked: &PbDeleteRequest, revision: i64) -> PbDeleteResponse {
        let within = |key: &&Vec<u8>| covers(&asked.key, &asked.range_end, key);
        let keys: Vec<Vec<u8>> = self.keys.keys().filter(within).cloned().collect();
        let deleted = keys.len() as i64;
        self.remove(keys, revision);
        PbDeleteResponse { header: self.header(), deleted, prev_kvs: Vec::new() }
    }

    fn remove(&mut self, keys: Vec<Vec<u8>>, revision: i64) {
        for key in keys {
            self.keys.remove(&key);
            self.history.push(Change { revision, key: text(&key), value: None });
        }
    }

    fn holds(&self, compare: &PbCompare) -> bool {
        let found = self.keys.get(&compare.key);
        let number = |of: fn(&PbKeyValue) -> i64| found.map_or(0, of);
        let ordering = match &compare.target_union {
            // as if they were not sent; an election's comparison is another
            Some(PbTargetUnion::Version(_)) if self.bug == Bug::BatchNotNumbered => return true,
            Some(PbTargetUnion::Version(_)) if self.bug == Bug::TermNotCompared => return true,
            Some(PbTargetUnion::CreateRevision(1..)) if self.bug == Bug::TermNotCompared => return true,
            Some(PbTargetUnion::Version(wanted)) => number(|kv| kv.version).cmp(wanted),
            Some(PbTargetUnion::CreateRevision(wanted)) => number(|kv| kv.create_revision).cmp(wanted),
            Some(PbTargetUnion::ModRevision(wanted)) => number(|kv| kv.mod_revision).cmp(wanted),
            Some(PbTargetUnion::Lease(wanted)) => number(|kv| kv.lease).cmp(wanted),
            Some(PbTargetUnion::Value(wanted)) => match found {
                Some(kv) => kv.value.cmp(wanted),
                None => return false,
            },
            None => return false,
        };
        // `CompareResult` of rpc.proto
        match compare.result {
            EQUAL => ordering.is_eq(),
            1 => ordering.is_gt(),
            2 => ordering.is_lt(),
            _ => ordering.is_ne(),
        }
    }
}

/// What etcd refuses before it looks at a key.
fn check(asked: &PbTxnRequest) -> Answer<()> {
    let longest = asked.compare.len().max(asked.success.len()).max(asked.failure.len());
    if longest > MAX_OPERATIONS {
        return Err(Status::invalid_argument("etcdserver: too many operations in txn request"));
    }
    let mut put = BTreeSet::new();
    for operation in &asked.success {
        if let Some(PbTxnOpRequest::RequestPut(one)) = &operation.request
            && !put.insert(&one.key)
        {
            return Err(Status::invalid_argument("etcdserver: duplicate key given in txn request"));
        }
    }
    Ok(())
}

/// Does it happen only under a certain leader?
fn is_guarded(asked: &PbTxnRequest) -> bool {
    asked.compare.iter().any(|compare| {
        is_leader(&text(&compare.key))
            && compare.target() == PbCompareTarget::Create
            && compare.result == EQUAL
            && compare.target_union != Some(PbTargetUnion::CreateRevision(0))
    })
}

fn is_leader(key: &str) -> bool {
    key.rsplit('/').next() == Some(LEADER)
}

/// etcd's ranges: one key; from a key to before another; `"\0"` for no end.
fn covers(from: &[u8], end: &[u8], key: &[u8]) -> bool {
    match end {
        [] => key == from,
        [0] => key >= from,
        end => key >= from && key < end,
    }
}

fn text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}
