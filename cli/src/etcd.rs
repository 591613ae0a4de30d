//! `--etcd …`: where a cluster's state lies, read from the command line, the environment and files.
//!
//! A password is never an argument: whoever can list processes could read it.

use crate::exit::{Exit, Failure};
use clap::Args;
use reelmill_common::Secret;
use reelmill_coordinator::state::etcd::{EtcdConfig, EtcdState, EtcdTls, EtcdUser, MemberStatus};
use reelmill_coordinator::state::{Leadership as _, Room, StateError, StateStore as _};
use reelmill_worker::doctor::{DoctorLine, Verdict};
use std::path::{Path, PathBuf};

/// What the lines about etcd begin with.
pub(crate) const STATE: &str = "state";

/// The environment variable of the password, where there is no file.
const PASSWORD: &str = "REELMILL_ETCD_PASSWORD";

/// Which etcd.
#[derive(Debug, Args)]
#[command(next_help_heading = "State in etcd (several coordinators, of which one leads)")]
pub(crate) struct EtcdArgs {
    /// Addresses of etcd's members, separated by commas. Default: state lies in the data directory.
    #[arg(long = "etcd", env = "REELMILL_ETCD", value_delimiter = ',', value_name = "URL")]
    pub(crate) endpoints: Vec<String>,
    /// What all keys begin with; several clusters can share an etcd.
    #[arg(long = "etcd-prefix", default_value = "reelmill/", value_name = "PREFIX")]
    prefix: String,
    /// The certificate authority of `https` addresses, in PEM.
    #[arg(long = "etcd-ca", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A certificate to show to etcd, in PEM.
    #[arg(long = "etcd-cert", value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// Its private key, in PEM.
    #[arg(long = "etcd-key", value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Log in as this user; the password is in REELMILL_ETCD_PASSWORD or in a file.
    #[arg(long = "etcd-user", env = "REELMILL_ETCD_USER", value_name = "NAME")]
    user: Option<String>,
    /// A file that holds the password.
    #[arg(long = "etcd-password-file", value_name = "FILE", requires = "user")]
    password: Option<PathBuf>,
    /// How long a leader that crashed is missed.
    #[arg(id = "etcd_lease_ttl", long = "etcd-lease-ttl", default_value = "10s", value_parser = lease_ttl, value_name = "DURATION")]
    lease_ttl: humantime::Duration,
    /// etcd's `--quota-backend-bytes`, which etcd itself tells since 3.6. New jobs are refused when 70 % are used.
    #[arg(long = "etcd-quota", default_value = "2GiB", value_parser = bytes, value_name = "BYTES")]
    quota: u64,
    /// How much history a compaction leaves; the leader compacts once a minute. `0s`: it never does.
    #[arg(long = "etcd-history", default_value = "5m", value_name = "DURATION")]
    history: humantime::Duration,
}

impl EtcdArgs {
    /// The settings; `None` where no etcd was named.
    pub(crate) fn config(&self) -> Result<Option<EtcdConfig>, Failure> {
        if self.endpoints.is_empty() {
            return Ok(None);
        }
        let usual = EtcdConfig::default();
        let history_ms = u64::try_from(self.history.as_millis()).unwrap_or(u64::MAX);
        Ok(Some(EtcdConfig {
            endpoints: self.endpoints.iter().map(|url| url.trim().trim_end_matches('/').to_owned()).collect(),
            tls: self.tls()?,
            user: self.user()?,
            prefix: self.prefix.clone(),
            lease_ttl_s: self.lease_ttl.as_secs(),
            quota_bytes: self.quota,
            compact_every_ms: if history_ms == 0 { 0 } else { usual.compact_every_ms },
            keep_revisions_ms: history_ms,
            ..usual
        }))
    }

    fn tls(&self) -> Result<Option<EtcdTls>, Failure> {
        let identity = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                Some((read(certificate)?.into_bytes(), Secret::new(read(key)?)))
            }
            _ => None,
        };
        match &self.ca {
            Some(ca) => Ok(Some(EtcdTls { ca_pem: read(ca)?.into_bytes(), identity })),
            None if identity.is_some() => Err(Failure::new(
                Exit::Usage,
                "--etcd-cert needs --etcd-ca: etcd's own certificate is checked, too",
            )),
            None => Ok(None),
        }
    }

    fn user(&self) -> Result<Option<EtcdUser>, Failure> {
        let Some(name) = self.user.clone() else { return Ok(None) };
        let password = match &self.password {
            Some(file) => read(file)?,
            None => std::env::var(PASSWORD).map_err(|_| {
                Failure::new(
                    Exit::Usage,
                    format!(
                        "the etcd user {name} has no password: set {PASSWORD}, or name --etcd-password-file"
                    ),
                )
            })?,
        };
        // files end with a newline
        let password = password.trim_end_matches(['\r', '\n']).to_owned();
        Ok(Some(EtcdUser { name, password: Secret::new(password) }))
    }

    /// Looks at an etcd without changing anything in it: each member, the room, the rights to read, who leads.
    pub(crate) async fn doctor(&self) -> Result<Vec<DoctorLine>, Failure> {
        let Some(config) = self.config()? else { return Ok(Vec::new()) };
        let prefix = config.prefix.clone();
        let etcd = match EtcdState::connect(config).await {
            Ok(etcd) => etcd,
            Err(error) => return Ok(vec![line(Verdict::Bad, error.to_string())]),
        };
        let members = etcd.members().await;
        // a majority serves
        let lacking = if members.iter().filter(|(_, m)| m.is_ok()).count() * 2 > members.len() {
            Verdict::Warning
        } else {
            Verdict::Bad
        };
        let mut lines: Vec<DoctorLine> =
            members.into_iter().map(|(url, member)| of_member(&url, member, lacking)).collect();
        let read = async { Ok::<_, StateError>((etcd.scan("jobs/", None, 1).await?, etcd.leader().await?)) };
        lines.push(match (read.await, etcd.room().await) {
            (Ok((_, leader)), Ok(room)) => {
                let leads = leader
                    .map_or("nobody leads".to_owned(), |l| format!("{} leads, term {}", l.address, l.term.0));
                let room = room.map_or(String::new(), |room| format!("; {} % full", room.percent()));
                line(Verdict::Good, format!("{prefix} can be read; {leads}{room}"))
            }
            (Err(error), _) | (_, Err(error)) => line(Verdict::Bad, error.to_string()),
        });
        Ok(lines)
    }
}

fn of_member(url: &str, member: Result<MemberStatus, StateError>, lacking: Verdict) -> DoctorLine {
    let member = match member {
        Ok(member) => member,
        Err(error) => return line(lacking, error.to_string()),
    };
    let Room { used, most } = member.room();
    let text = format!(
        "{url}: etcd {}, {} of {most} bytes in use, a file of {}",
        member.version, member.used_bytes, member.file_bytes
    );
    if used >= most {
        let advice = "it takes no writes: compact it, defragment it, disarm the alarm (etcdctl compact, defrag, alarm disarm)";
        return line(Verdict::Bad, format!("{text}; {advice}"));
    }
    line(Verdict::Good, text)
}

fn line(verdict: Verdict, text: String) -> DoctorLine {
    DoctorLine { what: STATE, verdict, text }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::new(Exit::Usage, format!("cannot read {}: {error}", path.display())))
}

/// Whole seconds, which is what etcd counts in; less than 2 it does not keep apart from its own elections.
fn lease_ttl(text: &str) -> Result<humantime::Duration, String> {
    let ttl: humantime::Duration = text.parse().map_err(|e| format!("{e}"))?;
    let is_whole = ttl.subsec_nanos() == 0;
    if is_whole && (2..=600).contains(&ttl.as_secs()) {
        Ok(ttl)
    } else {
        Err("it must be whole seconds between 2s and 10m".to_owned())
    }
}

/// A number of bytes: `2147483648`, `2GiB`, `512MiB`, `8GB`.
fn bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit: u64 = match unit.trim() {
        "" | "B" => 1,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        other => return Err(format!("`{other}` is no unit of bytes: use MiB or GiB")),
    };
    let number: u64 = digits.parse().map_err(|e| format!("{e}"))?;
    match number.checked_mul(unit) {
        Some(bytes) if bytes >= 16 << 20 => Ok(bytes),
        _ => Err("it must be at least 16MiB, and fit in 64 bits".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        assert_eq!(bytes("2GiB"), Ok(2 << 30));
        assert_eq!(bytes("8GB"), Ok(8_000_000_000));
        assert_eq!(bytes("33554432"), Ok(32 << 20));
        for wrong in ["", "GiB", "2TB", "1MiB", "-1", "99999999999GiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_lease_is_whole_seconds() {
        assert_eq!(lease_ttl("2s").map(|ttl| ttl.as_secs()), Ok(2));
        for wrong in ["1s", "2500ms", "11m", "soon"] {
            assert!(lease_ttl(wrong).is_err(), "{wrong}");
        }
    }
}
