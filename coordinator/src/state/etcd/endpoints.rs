//! One connection per etcd member, and the rule which of them a call goes to.
//!
//! A channel balanced over all members goes on giving a hanging one its share of the calls and does not tell which one
//! failed. So each member has a plain channel of its own, which reconnects by itself; a call goes to the one that
//! answered last, and a failure moves on to the next. Reads (and what else may be done twice) are tried once on each
//! member; a write goes to one and, failing, may have been applied.

use super::super::{StateError, StateErrorKind};
use etcd_client::{Channel, Client, Error, TlsOptions};
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tonic::Code;
use tonic::transport::Endpoint;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// The members of an etcd cluster.
pub(super) struct Endpoints {
    members: Vec<(String, Client)>,
    /// Counts up with each move to another member; its remainder is the member.
    current: AtomicUsize,
    timeout: Duration,
}

/// A call that failed, with the member that was asked.
#[derive(Debug)]
pub(super) struct CallError {
    endpoint: String,
    error: Option<Error>,
}

impl Endpoints {
    /// One lazily connected channel for each of `urls`.
    pub(super) async fn connect(
        urls: &[String],
        tls: Option<&TlsOptions>,
        timeout: Duration,
    ) -> Result<Self, StateError> {
        if urls.is_empty() {
            return Err(StateError::new(StateErrorKind::Invalid, "no etcd endpoint was given"));
        }
        let mut members = Vec::with_capacity(urls.len());
        for url in urls {
            let channel = Channel::Tonic(endpoint(url, tls)?.connect_lazy());
            let failed = |error| {
                CallError { endpoint: url.clone(), error: Some(error) }.into_state_error("connect to")
            };
            members.push((url.clone(), Client::from_channel(channel, None).await.map_err(failed)?));
        }
        Ok(Self { members, current: AtomicUsize::new(0), timeout })
    }

    /// Makes a call on one member.
    pub(super) async fn once<T, F, Fut>(&self, call: F) -> Result<T, CallError>
    where
        F: FnOnce(Client) -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        let turn = self.current.load(Ordering::Relaxed);
        let (endpoint, client) = &self.members[turn % self.members.len()];
        let error = match tokio::time::timeout(self.timeout, call(client.clone())).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        let failed = CallError { endpoint: endpoint.clone(), error };
        if failed.another_may_do_better() {
            // only if nobody else has moved on already
            let _ = self.current.compare_exchange(
                turn,
                turn.wrapping_add(1),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        Err(failed)
    }

    /// Makes a call that may be made twice, on each member until one answers.
    pub(super) async fn read<T, F, Fut>(&self, call: F) -> Result<T, CallError>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        let mut tried = 1;
        loop {
            match self.once(&call).await {
                Err(error) if error.another_may_do_better() && tried < self.members.len() => tried += 1,
                ended => return ended,
            }
        }
    }
}

fn endpoint(url: &str, tls: Option<&TlsOptions>) -> Result<Endpoint, StateError> {
    let invalid = |why: &str| {
        StateError::new(StateErrorKind::Invalid, format!("cannot use the etcd endpoint {url}: {why}"))
    };
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|error| invalid(&error.to_string()))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    match (endpoint.uri().scheme_str(), tls) {
        (Some("http"), _) => Ok(endpoint),
        (Some("https"), Some(tls)) => endpoint
            .tls_config(tls.clone())
            .map_err(|error| invalid(&format!("its TLS settings are wrong ({error})"))),
        (Some("https"), None) => Err(invalid("name the certificate authority it is checked against")),
        _ => Err(invalid("it must begin with http:// or https://")),
    }
}

impl CallError {
    /// The answer of etcd itself, if it gave one.
    fn status(&self) -> Option<&tonic::Status> {
        match &self.error {
            Some(Error::GRpcStatus(status)) => Some(status),
            _ => None,
        }
    }

    /// Did etcd say that the lease of a keep-alive is gone?
    pub(super) fn lease_is_gone(&self) -> bool {
        matches!(&self.error, Some(Error::LeaseKeepAliveError(_)))
            || self.status().is_some_and(|status| status.code() == Code::NotFound)
    }

    /// Is it certain that this call changed nothing, and that the same one never can?
    pub(super) fn not_applied(&self) -> bool {
        self.kind() != StateErrorKind::Unavailable
    }

    fn another_may_do_better(&self) -> bool {
        self.kind() == StateErrorKind::Unavailable && !self.lease_is_gone()
    }

    /// Only what etcd refuses before it proposes anything is certain; all else is *unavailable*, that is, unknown.
    fn kind(&self) -> StateErrorKind {
        match &self.error {
            Some(Error::InvalidArgs(_) | Error::InvalidUri(_)) => StateErrorKind::Invalid,
            Some(Error::GRpcStatus(status)) => match status.code() {
                Code::InvalidArgument | Code::Unimplemented => StateErrorKind::Invalid,
                Code::PermissionDenied | Code::Unauthenticated => StateErrorKind::Permission,
                // etcd has one code for a full database and for too many requests; the latter pass
                Code::ResourceExhausted if status.message().contains("space exceeded") => {
                    StateErrorKind::Full
                }
                _ => StateErrorKind::Unavailable,
            },
            _ => StateErrorKind::Unavailable,
        }
    }

    /// In the state's own terms: what was being done, where, what happened.
    pub(super) fn into_state_error(self, doing: &str) -> StateError {
        let why = match &self.error {
            None => "no answer in time".to_owned(),
            Some(Error::GRpcStatus(status)) => format!("{:?}: {}", status.code(), status.message()),
            Some(error) => error.to_string(),
        };
        let advice = match self.kind() {
            StateErrorKind::Full => "; compact and defragment it, or raise its quota",
            StateErrorKind::Permission => "; check the credentials",
            _ => "",
        };
        StateError::new(self.kind(), format!("cannot {doing} etcd at {}: {why}{advice}", self.endpoint))
    }
}
