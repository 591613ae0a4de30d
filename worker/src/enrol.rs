//! A worker that joins: it makes a credential of its own, has the coordinator keep the hash, and renews it in time.
//!
//! ```text
//! token to join ─► <name>.new written ─► Enrol ─► renamed to <name>.credential ─► used from then on, renewed from day 20
//! ```
//!
//! The new credential is on disk before anybody hears of it, and enrolling the same one again changes nothing: whenever
//! this is interrupted, the next start goes on.

use crate::security::{Security, SecurityError, TokenSource, diagnose, explain};
use reelmill_common::{Secret, WorkerId, credential};
use reelmill_proto::status::read_not_leader;
use reelmill_proto::worker::v1::EnrolRequest;
use reelmill_proto::worker::v1::workers_client::WorkersClient;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status};

/// A credential is renewed when it is good for less than this.
const RENEW_BEFORE: Duration = Duration::from_secs(10 * 86_400);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(3_600);
/// Pause before coordinators that did not answer are asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a worker could not join.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The credential cannot be kept.
    #[error("cannot keep the credential in {path}: {why}")]
    File {
        /// Where.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// There is neither a credential nor a token to join with.
    #[error(
        "worker {0} is not enrolled: give it a token to join by REELMILL_TOKEN or --token-file (`reelmill token new \
         --role enrol --expires 1h` makes one)"
    )]
    NoToken(WorkerId),
    /// The coordinator does not want it.
    #[error("the coordinator does not enrol worker {worker}: {why}")]
    Refused {
        /// Who.
        worker: WorkerId,
        /// What it said.
        why: String,
    },
    /// The connection cannot be secured.
    #[error(transparent)]
    Security(#[from] SecurityError),
}

/// A worker's membership of a cluster.
#[derive(Clone, Debug)]
pub struct Membership {
    worker: WorkerId,
    coordinators: Vec<String>,
    /// As it is without a token.
    security: Security,
    /// With what it may join.
    join: Option<TokenSource>,
    file: PathBuf,
}

impl Membership {
    /// `security` as it is before joining: its token is the one to join with. The credential lies in `directory`.
    pub fn new(worker: WorkerId, coordinators: Vec<String>, security: Security, directory: &Path) -> Self {
        let file = directory.join(format!("{worker}.credential"));
        let (join, security) = (security.token.clone(), Security { token: None, ..security });
        Self { worker, coordinators, security, join, file }
    }

    /// Joins, if it has not joined yet; how to secure sessions from then on.
    pub async fn join(&self) -> Result<Security, EnrolError> {
        if let Some(directory) = self.file.parent() {
            std::fs::create_dir_all(directory).map_err(|why| self.failed(why))?;
        }
        let held = self.held()?;
        let is_good = held.as_ref().is_some_and(|(_, until)| *until > unix_ms());
        if !is_good || self.pending().exists() {
            let old = held.map(|(credential, _)| credential);
            let shown = match (&self.join, old) {
                (_, Some(old)) if is_good => old,
                (Some(join), _) => join.read()?,
                // it may have joined and not have noted it
                (None, _) if self.pending().exists() => self.fresh()?,
                (None, _) => return Err(EnrolError::NoToken(self.worker.clone())),
            };
            self.enrol(shown).await?;
        }
        Ok(Security { token: Some(TokenSource::File(self.file.clone())), ..self.security.clone() })
    }

    /// Renews the credential whenever that is due, until cancelled.
    pub async fn keep(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => return,
            }
            let renewed = tokio::select! {
                renewed = self.renew(unix_ms()) => renewed,
                () = stop.cancelled() => return,
            };
            match renewed {
                Ok(true) => tracing::info!("the credential is renewed"),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the credential could not be renewed; trying again"),
            }
        }
    }

    /// Renews the credential if at this time that is due; tells whether it was.
    pub async fn renew(&self, unix_ms: u64) -> Result<bool, EnrolError> {
        let Some((old, until)) = self.held()? else { return Ok(false) };
        if until > unix_ms.saturating_add(RENEW_BEFORE.as_millis() as u64) {
            return Ok(false);
        }
        self.enrol(old).await.map(|()| true)
    }

    /// Has a new credential enrolled by whoever shows `shown`, and keeps it.
    async fn enrol(&self, shown: Secret) -> Result<(), EnrolError> {
        let fresh = self.fresh()?;
        let until = match self.ask(&shown, &fresh).await {
            // it may have been done before, and the answer lost: then it renews itself with itself
            Err(refused @ EnrolError::Refused { .. }) => {
                self.ask(&fresh, &fresh).await.map_err(|_| refused)?
            }
            answer => answer?,
        };
        let text = format!("{}\n{until}\n", fresh.reveal());
        self.write(&self.pending(), &text)?;
        std::fs::rename(self.pending(), &self.file).map_err(|why| self.failed(why))
    }

    /// Asks until a leader has answered; when the credential ends.
    async fn ask(&self, shown: &Secret, fresh: &Secret) -> Result<u64, EnrolError> {
        let security = Security { token: Some(TokenSource::Given(shown.clone())), ..self.security.clone() };
        let (mut leader, mut told) = (None::<String>, false);
        loop {
            for address in &self.coordinators {
                let address = leader.take().unwrap_or_else(|| address.clone());
                let status = match self.ask_one(&security, &address, fresh).await {
                    Ok(until) => return Ok(until),
                    Err(status) => status,
                };
                leader = read_not_leader(&status).flatten();
                let is_final = matches!(
                    status.code(),
                    Code::Unauthenticated
                        | Code::PermissionDenied
                        | Code::AlreadyExists
                        | Code::NotFound
                        | Code::InvalidArgument
                        | Code::Unimplemented
                );
                let why = diagnose(&address, &status).await;
                if is_final && why.is_none() {
                    let why = status.message().to_owned();
                    return Err(EnrolError::Refused { worker: self.worker.clone(), why });
                }
                if !std::mem::replace(&mut told, true) {
                    let why = why.unwrap_or_else(|| status.message().to_owned());
                    tracing::warn!(%address, %why, "no coordinator enrols yet; trying on");
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn ask_one(&self, security: &Security, address: &str, fresh: &Secret) -> Result<u64, Status> {
        let insecure = |e: SecurityError| Status::unauthenticated(e.to_string());
        let endpoint = security.endpoint(address).map_err(insecure)?;
        let channel = endpoint.connect().await.map_err(|e| Status::unavailable(explain(&e)))?;
        let secret = credential::hash(fresh).0.to_vec();
        let mut request = Request::new(EnrolRequest { worker: self.worker.to_string(), secret });
        security.sign(&mut request).map_err(insecure)?;
        Ok(WorkersClient::new(channel).enrol(request).await?.into_inner().expires_unix_ms)
    }

    /// What it joined with, and until when that is good.
    fn held(&self) -> Result<Option<(Secret, u64)>, EnrolError> {
        let text = match std::fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(self.failed(why)),
        };
        let mut lines = text.lines();
        let held = Secret::new(lines.next().unwrap_or_default().to_owned());
        let until = lines.next().and_then(|line| line.parse().ok()).unwrap_or_default();
        // another worker's file, or none at all
        Ok((credential::worker(&held).as_ref() == Some(&self.worker)).then_some((held, until)))
    }

    fn pending(&self) -> PathBuf {
        self.file.with_extension("new")
    }

    /// The credential to be: the one that was begun with, or a new one.
    fn fresh(&self) -> Result<Secret, EnrolError> {
        let path = self.pending();
        if let Ok(text) = std::fs::read_to_string(&path) {
            let begun = Secret::new(text.lines().next().unwrap_or_default().to_owned());
            if credential::worker(&begun).as_ref() == Some(&self.worker) {
                return Ok(begun);
            }
        }
        let fresh = credential::make(&self.worker, rand::random());
        self.write(&path, &format!("{}\n", fresh.reveal()))?;
        Ok(fresh)
    }

    /// Writes for this user's eyes only, and to the disk.
    fn write(&self, path: &Path, text: &str) -> Result<(), EnrolError> {
        let written = || {
            // a file of other rights that lies there would keep them
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        written().map_err(|why| self.failed(why))
    }

    fn failed(&self, why: io::Error) -> EnrolError {
        EnrolError::File { path: self.file.clone(), why }
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
