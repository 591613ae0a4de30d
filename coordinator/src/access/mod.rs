//! Who calls, and may he? One place for both servers: a layer puts a [`Principal`] into every request or answers it
//! itself, and handlers take it from there.
//!
//! ```text
//! token ─► hash ─► this process's own | an enrolled worker's | of the access file ─► role ─► what the method needs
//! ```
//!
//! Without an access file everybody is the one principal of local mode, and the front door listens on loopback.

mod enrolled;
mod failures;
mod grpc;
mod http;
mod places;
pub(crate) mod role;
mod table;
pub mod token;

pub(crate) use enrolled::Enrolled;
pub(crate) use failures::Failure;
pub(crate) use grpc::AccessLayer;
pub(crate) use http::{Gated, LOGIN, Redirection, cookie, same_origin};
pub(crate) use places::{Kind, Place};
pub use role::Role;
pub(crate) use table::Table;

use crate::clock::unix_ms;
use crate::door::Peer;
use crate::driver::{DriverHandle, Role as Leads};
use crate::watched::{Watched, Watching};
use crate::{status, telemetry};
use failures::Failures;
use places::Places;
use reelmill_common::{Secret, Sha256, TenantId, WorkerId, credential};
use reelmill_proto::status as wire_status;
use role::Need;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Code, Status};

/// A caller that is let in late is told to come back after this.
const COME_BACK: Duration = Duration::from_secs(6);

/// A caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Principal {
    /// Who it is, in logs and bounds.
    pub(crate) name: Arc<str>,
    /// Whose jobs it sees and makes.
    pub(crate) tenant: TenantId,
    /// What it may do; `None`: everything, in local mode.
    pub(crate) role: Option<Role>,
    /// A worker's own credential is for that worker only.
    pub(crate) worker: Option<WorkerId>,
    /// What it showed.
    credential: Credential,
}

/// What a caller showed.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Credential {
    /// Nothing: local mode.
    Local,
    /// This process's own.
    Own,
    /// A token of the access file.
    Token(Sha256),
    /// An enrolled worker's.
    Worker(WorkerId, Sha256),
}

impl Principal {
    /// The one principal of local mode.
    pub(crate) fn local() -> Self {
        Self {
            name: "local".into(),
            tenant: TenantId::local(),
            role: None,
            worker: None,
            credential: Credential::Local,
        }
    }

    fn may(&self, need: Need) -> bool {
        self.role.is_none_or(|role| need.allows(role))
    }

    /// Is it confined to what its tenant may name?
    pub(crate) fn is_confined(&self) -> bool {
        self.role == Some(Role::Submit)
    }

    /// Does it see the jobs of all tenants?
    pub(crate) fn sees_all(&self) -> bool {
        self.role == Some(Role::Operate)
    }

    /// May it work under this name? A credential is for its worker, and a token that workers share for none that has one.
    pub(crate) fn works_as(&self, worker: &WorkerId, enrolled: &Enrolled) -> bool {
        match &self.credential {
            Credential::Worker(own, _) => own == worker,
            Credential::Token(_) => !enrolled.holds(worker),
            Credential::Own | Credential::Local => true,
        }
    }

    /// The hash that an enrolled worker showed.
    pub(crate) fn enrolled(&self) -> Option<Sha256> {
        match &self.credential {
            Credential::Worker(_, sha256) => Some(*sha256),
            _ => None,
        }
    }
}

/// What a request shows of its caller.
#[derive(Debug, Default)]
pub(crate) struct Presented {
    pub(crate) token: Option<Secret>,
    /// The tenant that an operator speaks for.
    pub(crate) tenant: Option<String>,
}

/// Lets callers in, or not.
#[derive(Clone)]
pub(crate) struct Guard(Arc<Inside>);

struct Inside {
    table: Option<watch::Receiver<Arc<Table>>>,
    own: Sha256,
    enrolled: Enrolled,
    driver: DriverHandle,
    failures: Failures,
    places: Places,
}

/// Reads the access file, and follows it from then on.
pub(crate) async fn watched(file: &Path) -> Result<Watched<Table>, String> {
    let shown = file.display().to_string();
    let parse = move |contents: &[Vec<u8>]| {
        let content = contents.first().map(Vec::as_slice).unwrap_or_default();
        Table::parse(content).map_err(|why| format!("{shown}: {why}"))
    };
    Watched::open(Watching::Access, vec![file.to_owned()], parse).await
}

impl Guard {
    /// `own`: what this process's own worker shows.
    pub(crate) fn new(
        table: Option<watch::Receiver<Arc<Table>>>,
        own: &Secret,
        enrolled: Enrolled,
        driver: DriverHandle,
    ) -> Self {
        let (own, failures, places) = (token::hash(own), Failures::default(), Places::default());
        Self(Arc::new(Inside { table, own, enrolled, driver, failures, places }))
    }

    /// Without an access file.
    #[cfg(test)]
    pub(crate) fn of_test() -> Self {
        Self::new(None, &token::generate(), Enrolled::new(), DriverHandle::of_test())
    }

    /// Is there an access file?
    pub(crate) fn is_set(&self) -> bool {
        self.0.table.is_some()
    }

    /// Lets a caller in who may do what is needed, and lets its connection stay.
    pub(crate) fn admit(&self, need: Need, shown: &Presented, peer: &Peer) -> Result<Principal, Status> {
        if need == Need::Nothing {
            peer.welcome();
            return Ok(Principal::local());
        }
        let principal = self.identify(shown, peer)?;
        if !principal.may(need) {
            return Err(self.fails(Failure::Role, peer, || {
                let role = principal.role.map_or("none", Role::name);
                let text = format!("this token has the role {role}: {} is needed", need.roles());
                wire_status::not_allowed(text)
            }));
        }
        peer.welcome();
        Ok(principal)
    }

    fn identify(&self, shown: &Presented, peer: &Peer) -> Result<Principal, Status> {
        let sha256 = shown.token.as_ref().map(token::hash);
        if sha256.is_some_and(|sha256| token::same(&sha256, &self.0.own)) {
            let (name, worker) = ("own".into(), None);
            let (tenant, credential) = (TenantId::local(), Credential::Own);
            return Ok(Principal { name, tenant, role: Some(Role::Worker), worker, credential });
        }
        let table = match &self.0.table {
            _ if peer.is_own => return Err(self.fails(Failure::Missing, peer, missing)),
            None => return in_local_mode(shown),
            Some(table) => Arc::clone(&table.borrow()),
        };
        let (Some(token), Some(sha256)) = (&shown.token, sha256) else {
            return Err(self.fails(Failure::Missing, peer, missing));
        };
        if let Some(worker) = credential::worker(token) {
            return self.worker(worker, sha256, peer);
        }
        let unknown = || Status::unauthenticated("this token is not known here: it may have been withdrawn");
        let entry = table.find(&sha256).ok_or_else(|| self.fails(Failure::Unknown, peer, unknown))?;
        if entry.expires_unix_ms.is_some_and(|at| at <= unix_ms()) {
            return Err(self.fails(Failure::Expired, peer, || {
                Status::unauthenticated(format!("the token {} has expired: ask for a new one", entry.name))
            }));
        }
        let tenant = spoken_for(entry.role, entry.tenant.as_ref(), shown.tenant.as_deref())?;
        Ok(Principal {
            name: entry.name.as_str().into(),
            tenant,
            role: Some(entry.role),
            worker: None,
            credential: Credential::Token(sha256),
        })
    }

    /// A worker with a credential of its own. Only the leader knows them.
    fn worker(&self, worker: WorkerId, sha256: Sha256, peer: &Peer) -> Result<Principal, Status> {
        match self.0.driver.role() {
            Leads::Leading => {}
            other => return Err(status::of_role(&other)),
        }
        if let Err(why) = self.0.enrolled.check(&worker, &sha256, unix_ms()) {
            return Err(self.fails(why, peer, || {
                Status::unauthenticated(format!(
                    "worker {worker} is not enrolled with this credential, or not any more: enrol it again"
                ))
            }));
        }
        Ok(Principal {
            name: format!("worker/{worker}").into(),
            tenant: TenantId::local(),
            role: Some(Role::Worker),
            worker: Some(worker.clone()),
            credential: Credential::Worker(worker, sha256),
        })
    }

    /// Counts a failure; answers with its sentence, or with a request to slow down.
    fn fails(&self, why: Failure, peer: &Peer, status: impl FnOnce() -> Status) -> Status {
        telemetry::not_let_in(why);
        if !why.is_a_guess() {
            tracing::debug!(peer = %peer.address.ip(), why = why.name(), "a caller was not let in");
            return status();
        }
        if self.0.failures.one_more(peer.address.ip(), Instant::now()) {
            tracing::info!(peer = %peer.address.ip(), why = why.name(), "a caller was not let in");
            return status();
        }
        let text = "too many wrong tokens from this address; try again later";
        wire_status::retry_later(Code::ResourceExhausted, text, COME_BACK)
    }

    /// A place for something that a caller does.
    pub(crate) fn place(&self, kind: Kind, principal: &Principal) -> Result<Place, Status> {
        self.0.places.take(kind, &principal.name).ok_or_else(|| status::busy(kind.name()))
    }

    /// The object stores that a tenant may name.
    pub(crate) fn stores_of(&self, tenant: &TenantId) -> Vec<String> {
        self.0.table.as_ref().map_or_else(Vec::new, |table| table.borrow().stores_of(tenant).to_vec())
    }

    /// Waits until a caller may not go on with what it was let in for, and says why.
    pub(crate) async fn ended(&self, principal: &Principal) -> Status {
        match &principal.credential {
            Credential::Local | Credential::Own => std::future::pending().await,
            Credential::Worker(worker, sha256) => self.0.enrolled.ended(worker, sha256).await,
            Credential::Token(sha256) => self.withdrawn(principal, sha256).await,
        }
        Status::unauthenticated("the token has been withdrawn or has expired")
    }

    /// Until a token of the file is not what it was, or expires.
    async fn withdrawn(&self, principal: &Principal, sha256: &Sha256) {
        let Some(mut table) = self.0.table.clone() else { return };
        loop {
            let entry = table.borrow_and_update().find(sha256).cloned();
            let Some(entry) = entry.filter(|e| Some(e.role) == principal.role) else { return };
            if entry.tenant.is_some_and(|tenant| tenant != principal.tenant && !principal.sees_all()) {
                return;
            }
            let left = entry.expires_unix_ms.map(|at| Duration::from_millis(at.saturating_sub(unix_ms())));
            if left == Some(Duration::ZERO) {
                return;
            }
            // a clock that was set meanwhile is looked at again
            let look = left.unwrap_or(LONG).min(LONG);
            tokio::select! {
                changed = table.changed() => if changed.is_err() { std::future::pending::<()>().await },
                () = tokio::time::sleep(look) => {}
            }
        }
    }
}

/// A wall clock is looked at again after this.
const LONG: Duration = Duration::from_secs(60);

fn missing() -> Status {
    Status::unauthenticated(
        "a token is needed: set REELMILL_TOKEN or name --token-file (`reelmill token new` makes one)",
    )
}

/// Without an access file.
fn in_local_mode(shown: &Presented) -> Result<Principal, Status> {
    match shown.tenant.as_deref() {
        None | Some("local") => Ok(Principal::local()),
        Some(_) => Err(Status::failed_precondition(
            "this coordinator has no access file, so there is one tenant, local: leave --tenant out",
        )),
    }
}

/// Whose jobs a caller with this role sees.
fn spoken_for(role: Role, own: Option<&TenantId>, asked: Option<&str>) -> Result<TenantId, Status> {
    let own = own.cloned().unwrap_or_else(TenantId::local);
    let Some(asked) = asked else { return Ok(own) };
    let asked = TenantId::parse(asked).map_err(|e| Status::invalid_argument(e.to_string()))?;
    if asked == own || role == Role::Operate {
        return Ok(asked);
    }
    Err(wire_status::not_allowed("only the role operate may name another tenant".to_owned()))
}
