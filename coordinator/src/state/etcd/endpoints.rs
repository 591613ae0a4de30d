//! One connection per etcd member, and the rule which of them a call goes to.
//!
//! A channel balanced over all members goes on giving a hanging one its share of the calls and does not tell which one
//! failed. So each member has a plain channel of its own, which reconnects by itself; a call goes to the one that
//! answered last, and a failure moves on to the next. Reads (and what else may be done twice) are tried once on each
//! member; a write goes to one and, failing, may have been applied.

use super::super::{StateError, StateErrorKind};
use super::{EtcdConfig, EtcdTls, EtcdUser};
use etcd_client::{Certificate, Channel, Client, Error, Identity, TlsOptions};
use futures::future::join_all;
use http::Uri;
use std::future::Future;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::OnceCell;
use tonic::Code;
use tonic::transport::{Channel as Wire, Endpoint};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// The members of an etcd cluster.
pub(super) struct Endpoints {
    members: Vec<Member>,
    user: Option<EtcdUser>,
    /// Counts up with each move to another member; its remainder is the member.
    current: AtomicUsize,
    timeout: Duration,
}

struct Member {
    url: String,
    client: Client,
    /// Set once the user has logged in here. The login belongs to the client, so it outlives lost connections.
    login: OnceCell<()>,
}

/// A call that failed, with the member that was asked.
#[derive(Debug)]
pub(super) struct CallError {
    endpoint: String,
    error: Option<Error>,
}

impl Endpoints {
    /// One channel for each endpoint, which `dial` makes; nothing waits for a connection.
    pub(super) async fn connect(
        config: &EtcdConfig,
        dial: impl Fn(Endpoint) -> Wire,
    ) -> Result<Self, StateError> {
        if config.endpoints.is_empty() {
            return Err(StateError::new(StateErrorKind::Invalid, "no etcd endpoint was given"));
        }
        if let Some(url) = in_the_clear(config) {
            tracing::warn!(
                %url,
                "the password for etcd travels unencrypted: use https:// endpoints and --etcd-ca wherever others can \
                 read the network"
            );
        }
        let mut members = Vec::with_capacity(config.endpoints.len());
        for url in &config.endpoints {
            let channel = Channel::Tonic(dial(endpoint(url, config.tls.as_ref())?));
            let failed = |error| {
                CallError { endpoint: url.clone(), error: Some(error) }.into_state_error("connect to")
            };
            let client = Client::from_channel(channel, None).await.map_err(failed)?;
            members.push(Member { url: url.clone(), client, login: OnceCell::new() });
        }
        let timeout = Duration::from_millis(config.request_timeout_ms);
        Ok(Self { members, user: config.user.clone(), current: AtomicUsize::new(0), timeout })
    }

    /// Makes a call on one member.
    pub(super) async fn once<T, F, Fut>(&self, call: F) -> Result<T, CallError>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        let turn = self.current.load(Ordering::Relaxed);
        let result = self.on(&self.members[turn % self.members.len()], &call).await;
        if result.as_ref().is_err_and(CallError::another_may_do_better) {
            // only if nobody else has moved on already
            let _ = self.current.compare_exchange(
                turn,
                turn.wrapping_add(1),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        result
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

    /// Makes a call on every member at the same time.
    pub(super) async fn each<T, F, Fut>(&self, call: F) -> Vec<(String, Result<T, CallError>)>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        join_all(self.members.iter().map(|member| async {
            let result = self.on(member, &call).await;
            (member.url.clone(), result)
        }))
        .await
    }

    async fn on<T, F, Fut>(&self, member: &Member, call: &F) -> Result<T, CallError>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        let answer = tokio::time::timeout(self.timeout, self.logged_in(member, call)).await;
        let error = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        Err(CallError { endpoint: member.url.clone(), error })
    }

    /// Makes the call, logging in first if that has not been done here, and anew if etcd does not know the login any
    /// more: it forgets them after some minutes, when it starts again, and when anybody's rights change. It says so
    /// before it does anything, so that the call may be made once more, a write as well.
    async fn logged_in<T, F, Fut>(&self, member: &Member, call: &F) -> Result<T, Error>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        let Some(user) = &self.user else { return call(member.client.clone()).await };
        let log_in = || async {
            let password = user.password.reveal().to_owned();
            member.client.clone().update_user(Some((user.name.clone(), password))).await
        };
        member.login.get_or_try_init(log_in).await?;
        match call(member.client.clone()).await {
            Err(error) if is_login_gone(&error) => {
                log_in().await?;
                call(member.client.clone()).await
            }
            answer => answer,
        }
    }
}

fn is_login_gone(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status)
        if status.code() == Code::Unauthenticated || status.message().contains("revision of auth store is old"))
}

/// The first endpoint to which a password would travel unencrypted over a network, if there is one.
fn in_the_clear(config: &EtcdConfig) -> Option<&str> {
    let is_here = |host: &str| {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    };
    let is_bare = |url: &&String| {
        let uri = url.parse::<Uri>().ok();
        uri.is_some_and(|uri| uri.scheme_str() == Some("http") && !uri.host().is_some_and(is_here))
    };
    config.user.as_ref().and_then(|_| config.endpoints.iter().find(is_bare)).map(String::as_str)
}

fn endpoint(url: &str, tls: Option<&EtcdTls>) -> Result<Endpoint, StateError> {
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
        (Some("https"), Some(tls)) if !holds_certificate(&tls.ca_pem) => {
            Err(invalid("the file of its certificate authority holds no certificate in PEM"))
        }
        (Some("https"), Some(tls)) => endpoint
            .tls_config(options(tls))
            .map_err(|error| invalid(&format!("its TLS settings are wrong ({})", innermost(&error)))),
        (Some("https"), None) => Err(invalid("name the certificate authority it is checked against")),
        _ => Err(invalid("it must begin with http:// or https://")),
    }
}

/// Otherwise an empty list of authorities would be taken, and every connection fail with another reason.
fn holds_certificate(pem: &[u8]) -> bool {
    String::from_utf8_lossy(pem).contains("-----BEGIN CERTIFICATE-----")
}

fn options(tls: &EtcdTls) -> TlsOptions {
    let options = TlsOptions::new().ca_certificate(Certificate::from_pem(&tls.ca_pem));
    match &tls.identity {
        Some((certificate, key)) => options.identity(Identity::from_pem(certificate, key.reveal())),
        None => options,
    }
}

/// A TLS server refuses a client after that believes that all is well: with an alert, if it is read in time, or by hanging
/// up.
fn is_hung_up(why: &str) -> bool {
    ["alert", "closed", "broken pipe", "reset"].iter().any(|word| why.contains(word))
}

/// What lies at the bottom of an error: transports wrap the reason that helps in several that do not.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
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

    pub(super) fn is_full(&self) -> bool {
        self.kind() == StateErrorKind::Full
    }

    fn another_may_do_better(&self) -> bool {
        self.kind() == StateErrorKind::Unavailable && !self.lease_is_gone()
    }

    /// Only what etcd refuses before it proposes anything is certain; all else is *unavailable*, that is, unknown.
    fn kind(&self) -> StateErrorKind {
        let Some(status) = self.status() else {
            return match &self.error {
                Some(Error::InvalidArgs(_) | Error::InvalidUri(_)) => StateErrorKind::Invalid,
                _ => StateErrorKind::Unavailable,
            };
        };
        if self.login_advice().is_some() {
            return StateErrorKind::Permission;
        }
        match status.code() {
            Code::InvalidArgument | Code::Unimplemented => StateErrorKind::Invalid,
            Code::PermissionDenied | Code::Unauthenticated => StateErrorKind::Permission,
            // etcd has one code for a full database and for too many requests; the latter pass
            Code::ResourceExhausted if status.message().contains("space exceeded") => StateErrorKind::Full,
            _ => StateErrorKind::Unavailable,
        }
    }

    /// What to do about a login that etcd refuses. It has no code of its own for these.
    fn login_advice(&self) -> Option<&'static str> {
        let says = |text: &str| self.status().is_some_and(|status| status.message().contains(text));
        let advice = [
            ("user name is empty", "this etcd asks for a user and a password: name them"),
            ("authentication failed", "check the user's name and password"),
            (
                "authentication is not enabled",
                "this etcd knows no users: name none, or enable authentication",
            ),
        ];
        advice.into_iter().find(|(text, _)| says(text)).map(|(_, advice)| advice)
    }

    /// In the state's own terms: what was being done, where, what happened.
    pub(super) fn into_state_error(self, doing: &str) -> StateError {
        let why = match &self.error {
            None => "no answer in time".to_owned(),
            Some(Error::GRpcStatus(status)) => match std::error::Error::source(status) {
                // no answer of etcd, but of the way to it
                Some(source) => innermost(source),
                None => format!("{:?}: {}", status.code(), status.message()),
            },
            Some(error) => error.to_string(),
        };
        let advice = match (self.kind(), self.login_advice()) {
            (_, Some(advice)) => format!("; {advice}"),
            (StateErrorKind::Full, _) => {
                "; compact it, defragment every member and disarm the alarm, or raise its quota".to_owned()
            }
            _ if self.endpoint.starts_with("https") && is_hung_up(&why) => {
                "; it may want a client certificate of an authority that it trusts".to_owned()
            }
            (StateErrorKind::Permission, _) => {
                "; give the user's role reading and writing of everything below the prefix".to_owned()
            }
            _ => String::new(),
        };
        StateError::new(self.kind(), format!("cannot {doing} etcd at {}: {why}{advice}", self.endpoint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_common::Secret;

    #[test]
    fn a_password_in_the_clear_is_noticed_where_it_leaves_the_machine() {
        let user = Some(EtcdUser { name: "reelmill".to_owned(), password: Secret::new("x".to_owned()) });
        let config = |urls: &[&str], user: &Option<EtcdUser>| EtcdConfig {
            endpoints: urls.iter().map(|url| (*url).to_owned()).collect(),
            user: user.clone(),
            ..EtcdConfig::default()
        };
        let here =
            ["http://127.0.0.1:2379", "http://localhost:2379", "http://[::1]:2379", "https://etcd-1:2379"];
        assert_eq!(in_the_clear(&config(&here, &user)), None);
        for url in ["http://etcd-1:2379", "http://10.0.0.7:2379", "HTTP://etcd-1", "http://127.0.0.1.evil:1"]
        {
            assert_eq!(in_the_clear(&config(&[here[0], url], &user)), Some(url));
            assert_eq!(in_the_clear(&config(&[url], &None)), None, "nobody logs in");
        }
    }
}
