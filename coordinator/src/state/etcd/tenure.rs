//! How a term in etcd is won and kept.
//!
//! A standby polls with a read and holds no lease. When the leader's key is absent, it takes a lease and tries to create
//! the key under it. From then on the term lasts for as long as keep-alives are acknowledged, counted from their
//! sending: that moment is before the server's, so that we end the term before the server does, whatever the network
//! does in between.

use super::endpoints::CallError;
use super::{LEADER, Shared, StateError};
use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp};
use reelmill_common::FencingTerm;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// A lease, and when it was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) lease: i64,
    sent: Instant,
}

/// Whether this contender leads, and why it does not any more.
#[derive(Default, Debug)]
pub(super) struct Standing {
    leading: Option<FencingTerm>,
    ended: Option<(FencingTerm, String)>,
}

impl Standing {
    pub(super) fn leading(term: FencingTerm) -> Self {
        Self { leading: Some(term), ended: None }
    }

    pub(super) fn leads(&self, term: FencingTerm) -> bool {
        self.leading == Some(term)
    }

    /// Ends `term`, if it is the one that leads; true if it was.
    pub(super) fn end(&mut self, term: FencingTerm, why: &str) -> bool {
        let ends = self.leads(term);
        if ends {
            *self = Self { leading: None, ended: Some((term, why.to_owned())) };
        }
        ends
    }

    pub(super) fn resign(&mut self) -> bool {
        self.leading.is_some_and(|term| self.end(term, "resigned"))
    }

    pub(super) fn why(&self, term: FencingTerm) -> String {
        match &self.ended {
            Some((ended, why)) if *ended == term => format!("term {}: {why}", term.0),
            _ => format!("term {} has ended", term.0),
        }
    }
}

/// The part of a lease's time after which we no longer count on it: a quarter is left for clocks that run apart and for
/// a server that counts in whole seconds.
fn trusted(ttl: Duration) -> Duration {
    ttl * 3 / 4
}

/// Waits for a vacancy and takes it: the lease, the term and the leader key's version.
pub(super) async fn win(shared: &Shared, address: &str) -> Result<(Candidate, FencingTerm, i64), StateError> {
    let poll = Duration::from_millis(shared.config.poll_ms);
    let mut candidate: Option<Candidate> = None;
    loop {
        match attempt(shared, address, &mut candidate).await {
            Ok(Some((candidate, term, version))) => return Ok((candidate, term, version)),
            Ok(None) => {}
            Err(error) => {
                let error = error.into_state_error("campaign at");
                if !error.retryable() {
                    return Err(error);
                }
                tracing::warn!(error = %error, "cannot campaign now, trying again");
            }
        }
        tokio::time::sleep(poll).await;
    }
}

/// One look, and one try if nobody leads. A try whose answer was lost is recognised at the next look by its lease.
async fn attempt(
    shared: &Shared,
    address: &str,
    held: &mut Option<Candidate>,
) -> Result<Option<(Candidate, FencingTerm, i64)>, CallError> {
    if let Some(leader) = shared.leader_key().await? {
        if let Some(ours) = held.filter(|candidate| candidate.lease == leader.lease()) {
            return Ok(Some((ours, FencingTerm(leader.create_revision().unsigned_abs()), leader.version())));
        }
        abandon(shared, held.take()).await;
        return Ok(None);
    }
    let ttl = Duration::from_secs(shared.config.lease_ttl_s);
    if held.is_some_and(|candidate| candidate.sent.elapsed() > ttl / 3) {
        abandon(shared, held.take()).await;
    }
    let ours = match *held {
        Some(candidate) => candidate,
        None => *held.insert(grant(shared).await?),
    };
    let key = shared.key(LEADER);
    let absent = Compare::create_revision(key.clone(), CompareOp::Equal, 0);
    let put = TxnOp::put(key, address, Some(PutOptions::new().with_lease(ours.lease)));
    let transaction = Txn::new().when([absent]).and_then([put]);
    let response = shared.endpoints.once(|client| {
        let transaction = transaction.clone();
        async move { client.kv_client().txn(transaction).await }
    });
    let response = response.await?;
    let revision = response.header().map(|header| header.revision().unsigned_abs());
    match revision.filter(|_| response.succeeded()) {
        Some(revision) => Ok(Some((ours, FencingTerm(revision), 1))),
        None => {
            abandon(shared, held.take()).await;
            Ok(None)
        }
    }
}

async fn grant(shared: &Shared) -> Result<Candidate, CallError> {
    let sent = Instant::now();
    let ttl_s = i64::try_from(shared.config.lease_ttl_s).unwrap_or(i64::MAX);
    let granted =
        shared.endpoints.once(|mut client| async move { client.lease_grant(ttl_s, None).await }).await?;
    Ok(Candidate { lease: granted.id(), sent })
}

/// Gives back a lease that won nothing. It would end by itself; this only keeps etcd tidy.
async fn abandon(shared: &Shared, candidate: Option<Candidate>) {
    if let Some(Candidate { lease, .. }) = candidate {
        let revoke = |mut client: etcd_client::Client| async move { client.lease_revoke(lease).await };
        if let Err(error) = shared.endpoints.read(revoke).await {
            tracing::debug!(error = ?error, "a lease that won nothing was left to expire");
        }
    }
}

/// Keeps `term` alive until it ends, and says so when it does.
pub(super) async fn keep(shared: &Shared, candidate: Candidate, term: FencingTerm) {
    let ttl = Duration::from_secs(shared.config.lease_ttl_s);
    let mut acknowledged = candidate.sent;
    let mut next = acknowledged + ttl / 3;
    while shared.leads(term) {
        let fence = acknowledged + trusted(ttl);
        sleep_until(next.min(fence)).await;
        let sent = Instant::now();
        if sent >= fence {
            let why = format!(
                "no keep-alive was acknowledged for {} ms",
                sent.duration_since(acknowledged).as_millis()
            );
            return shared.end(term, &why);
        }
        let beat = tokio::time::timeout_at(fence, beat(shared, candidate.lease, term)).await;
        next = Instant::now() + ttl / 20;
        match beat {
            Ok(Ok(true)) => {
                acknowledged = sent;
                next = sent + ttl / 3;
            }
            Ok(Ok(false)) => {
                return shared.end(term, "another coordinator leads, or the leader's key was removed");
            }
            Ok(Err(error)) if error.lease_is_gone() => {
                return shared.end(term, "the leader's lease has expired");
            }
            Ok(Err(error)) => tracing::warn!(error = ?error, "keep-alive failed, trying again"),
            Err(_) => {}
        }
    }
}

/// One keep-alive on a stream of its own (a stream that hangs can so never outlive a beat), then a look whether the key
/// still is ours: a lease may be alive whose key somebody removed.
async fn beat(shared: &Shared, lease: i64, term: FencingTerm) -> Result<bool, CallError> {
    shared
        .endpoints
        .once(|client| async move { client.lease_client().keep_alive(lease).await.map(drop) })
        .await?;
    let leader = shared.leader_key().await?;
    Ok(leader.is_some_and(|leader| super::revision(term) == leader.create_revision()))
}
