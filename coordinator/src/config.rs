//! Settings of a coordinator: data only, checked once before anything is opened.
//!
//! Where they come from (flags, environment) is the CLI's business.

use crate::error::CoordinatorError;
use crate::state::etcd::EtcdConfig;
use reelmill_coordinator_core::CoordinatorConfig as MachineConfig;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything a coordinator is told at start.
#[derive(Clone, Debug)]
pub struct CoordinatorConfig {
    /// Where state, work and packages lie unless told otherwise.
    pub data_dir: PathBuf,
    /// Where durable state lies.
    pub state: StateLocation,
    /// Root URL or path of the private area (index, plan, reports); `None`: `<data_dir>/work`.
    pub work: Option<String>,
    /// Root URL or path of packages; `None`: `<data_dir>/publish`.
    pub publish: Option<String>,
    /// Where gRPC is served; port 0 picks one.
    pub grpc_addr: SocketAddr,
    /// Where HTTP is served, if at all; port 0 picks one.
    pub http_addr: Option<SocketAddr>,
    /// URL under which clients and workers reach this process's gRPC; `None`: made of the bound address.
    pub advertise: Option<String>,
    /// Certificate and key of gRPC and HTTP; `None`: no TLS.
    pub tls: Option<TlsFiles>,
    /// The access file: tokens, their roles, and tenants. `None`: everybody is the local operator.
    pub access: Option<PathBuf>,
    /// Serve other than loopback addresses without TLS and access file.
    pub insecure: bool,
    /// Path sources must lie below this directory, links followed; `None`: anywhere on loopback binds, nowhere else.
    pub source_root: Option<PathBuf>,
    /// URL prefixes (`s3://films/`) that object sources and outputs must begin with; empty: any on loopback binds, none
    /// elsewhere.
    pub stores: Vec<String>,
    /// What workers read sources and write results with.
    pub grants: Grants,
    /// Slots to plan for; `None`: those of the workers connected at Submit.
    pub slots_hint: Option<u32>,
    /// Threads a worker's decoder may use.
    pub decoder_threads: u8,
    /// Worker sessions at a time.
    pub sessions_max: usize,
    /// When the state store is full: wait until there is room, instead of ending. For whoever serves others.
    pub outlasts_full_state: bool,
    /// Settings of the control machine.
    pub machine: MachineConfig,
}

/// What workers read sources and write results with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Grants {
    /// Credentials of their own: each cloud's variables, or the file system.
    #[default]
    Ambient,
    /// Signed requests, each for one object and no longer than a lease. Sources and packages then lie in stores that
    /// can be signed for.
    Signed,
}

/// Files in PEM that secure connections. They are read again when they change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The server's certificate, with those that vouch for it.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Whoever connects has to show a certificate of one of these authorities.
    pub client_ca: Option<PathBuf>,
}

/// Where durable state lies.
#[derive(Clone, Debug, Default)]
#[allow(clippy::large_enum_variant, reason = "one value a process")]
pub enum StateLocation {
    /// In `<data_dir>/state`, under an exclusive lock.
    #[default]
    Embedded,
    /// In this process's memory: tests and throw-away runs.
    Memory,
    /// In etcd, with standbys.
    Etcd(EtcdConfig),
}

impl CoordinatorConfig {
    /// A coordinator on loopback with everything in `data_dir`, gRPC and HTTP on ports the system picks.
    pub fn local(data_dir: impl Into<PathBuf>) -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            data_dir: data_dir.into(),
            state: StateLocation::Embedded,
            work: None,
            publish: None,
            grpc_addr: loopback,
            http_addr: Some(loopback),
            advertise: None,
            tls: None,
            access: None,
            insecure: false,
            source_root: None,
            stores: Vec::new(),
            grants: Grants::Ambient,
            slots_hint: None,
            decoder_threads: 1,
            sessions_max: 5_000,
            outlasts_full_state: true,
            machine: MachineConfig::default(),
        }
    }

    /// Refuses what must not be served: an address that is not loopback, unless `insecure` says so.
    pub(crate) fn check(&self) -> Result<(), CoordinatorError> {
        let open = |a: &SocketAddr| !a.ip().is_loopback();
        let exposed = [Some(self.grpc_addr), self.http_addr].into_iter().flatten().find(open);
        match exposed {
            Some(address) if !self.insecure && !self.is_secured() => Err(CoordinatorError::Config(format!(
                "{address} is not a loopback address and {} missing: listen on 127.0.0.1, or add --insecure if everybody \
                 who can reach {address} may read and do what that leaves open",
                self.lacks()
            ))),
            _ => self.check_advertised(),
        }
    }

    fn is_secured(&self) -> bool {
        self.tls.is_some() && self.access.is_some()
    }

    fn lacks(&self) -> &'static str {
        match (&self.tls, &self.access) {
            (None, None) => "--tls-cert, --tls-key and --access are",
            (None, Some(_)) => "--tls-cert and --tls-key are",
            _ => "--access is",
        }
    }

    /// A standby sends clients and workers to the leader's address: it has to be one.
    fn check_advertised(&self) -> Result<(), CoordinatorError> {
        match (&self.state, &self.advertise) {
            (StateLocation::Etcd(_), None) if self.grpc_addr.ip().is_unspecified() => {
                Err(CoordinatorError::Config(format!(
                    "{} is no address that others could be sent to: name one with --advertise http://host:{}",
                    self.grpc_addr,
                    self.grpc_addr.port()
                )))
            }
            _ => Ok(()),
        }
    }

    /// How long a signed request is valid, if workers are given such: as long as a lease.
    pub(crate) fn signed_for(&self) -> Option<Duration> {
        let lease = Duration::from_millis(self.machine.lease_ttl_ms);
        (self.grants == Grants::Signed).then_some(lease)
    }

    /// Is it reachable from this machine only?
    pub(crate) fn is_loopback(&self) -> bool {
        self.grpc_addr.ip().is_loopback()
    }

    /// Root of the private area.
    pub(crate) fn work_root(&self) -> String {
        self.root(self.work.as_ref(), "work")
    }

    /// Root of the packages.
    pub(crate) fn publish_root(&self) -> String {
        self.root(self.publish.as_ref(), "publish")
    }

    fn root(&self, told: Option<&String>, name: &str) -> String {
        told.cloned().unwrap_or_else(|| self.data_dir.join(name).display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_than_loopback_is_refused_unless_insecure() {
        let mut config = CoordinatorConfig::local("/data");
        assert!(config.check().is_ok());
        config.http_addr = Some(SocketAddr::from(([0, 0, 0, 0], 8080)));
        let error = config.check().expect_err("refused");
        assert!(error.to_string().contains("--insecure"), "{error}");
        config.insecure = true;
        assert!(config.check().is_ok());
        config.insecure = false;
        let tls = TlsFiles { cert: "c".into(), key: "k".into(), client_ca: None };
        config.tls = Some(tls);
        let error = config.check().expect_err("tokens are missing").to_string();
        assert!(error.contains("--access is missing"), "{error}");
        config.access = Some("access.toml".into());
        assert!(config.check().is_ok());
        config.tls = None;
        let error = config.check().expect_err("tokens would be read on the way").to_string();
        assert!(error.contains("--tls-cert and --tls-key are missing"), "{error}");
    }

    #[test]
    fn a_coordinator_with_standbys_has_an_address_that_others_can_be_sent_to() {
        let mut config = CoordinatorConfig::local("/data");
        config.state = StateLocation::Etcd(EtcdConfig::default());
        assert!(config.check().is_ok(), "loopback is one, on this machine");
        (config.grpc_addr, config.insecure) = (SocketAddr::from(([0, 0, 0, 0], 7070)), true);
        let error = config.check().expect_err("refused");
        assert!(error.to_string().contains("--advertise http://host:7070"), "{error}");
        config.advertise = Some("http://media-1:7070".to_owned());
        assert!(config.check().is_ok());
    }

    #[test]
    fn roots_lie_in_the_data_directory_unless_told_otherwise() {
        let mut config = CoordinatorConfig::local("/data");
        assert_eq!(config.work_root(), "/data/work");
        config.publish = Some("s3://films/vod".to_owned());
        assert_eq!(config.publish_root(), "s3://films/vod");
    }
}
