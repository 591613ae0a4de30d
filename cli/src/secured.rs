//! TLS and tokens on the command line, of both sides. A secret is never an argument: whoever can list processes could
//! read it.

use crate::exit::{Exit, Failure};
use clap::Args;
use reelmill_common::Secret;
use reelmill_coordinator::TlsFiles;
use reelmill_worker::security::{Security, TokenSource};
use std::path::PathBuf;

/// The environment variable of the token, where there is no file.
const TOKEN: &str = "REELMILL_TOKEN";

/// How a client or worker secures its connections.
#[derive(Debug, Args)]
pub(crate) struct ClientSecurity {
    /// The authority that vouches for https:// coordinators, in PEM. Default: those that the system trusts.
    #[arg(long, env = "REELMILL_TLS_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// A certificate to show to coordinators that ask for one, in PEM.
    #[arg(long, env = "REELMILL_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key, in PEM.
    #[arg(long, env = "REELMILL_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// A file whose first line is the token. Default: the variable REELMILL_TOKEN, if it is set.
    #[arg(long, env = "REELMILL_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Send the token to other machines without TLS, too.
    #[arg(long)]
    insecure: bool,
}

impl ClientSecurity {
    /// The settings.
    pub(crate) fn settings(&self) -> Result<Security, Failure> {
        Ok(Security {
            ca: self.tls_ca.clone(),
            identity: self.tls_cert.clone().zip(self.tls_key.clone()),
            token: self.token()?,
            insecure: self.insecure,
        })
    }

    fn token(&self) -> Result<Option<TokenSource>, Failure> {
        if let Some(file) = &self.token_file {
            return Ok(Some(TokenSource::File(file.clone())));
        }
        match std::env::var(TOKEN) {
            Ok(token) if token.trim().is_empty() => Ok(None),
            Ok(token) => Ok(Some(TokenSource::Given(Secret::new(token.trim().to_owned())))),
            Err(std::env::VarError::NotPresent) => Ok(None),
            // the error would show it
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(Failure::new(Exit::Usage, format!("{TOKEN} is not text")))
            }
        }
    }
}

/// How a coordinator secures what it serves.
#[derive(Debug, Args)]
pub(crate) struct ServerSecurity {
    /// The certificate of gRPC and HTTP, with those that vouch for it, in PEM. It is read again when it changes.
    #[arg(long, env = "REELMILL_SERVER_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key, in PEM.
    #[arg(long, env = "REELMILL_SERVER_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Whoever connects has to show a certificate of one of these authorities, in PEM.
    #[arg(long, env = "REELMILL_SERVER_TLS_CLIENT_CA", value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// Tokens with their roles, and tenants, in TOML; `reelmill token new` prints entries. It is read again when it
    /// changes. Default: who reaches the coordinator is its operator.
    #[arg(long, env = "REELMILL_ACCESS", value_name = "FILE")]
    pub(crate) access: Option<PathBuf>,
}

impl ServerSecurity {
    /// The files of TLS; `None`: it is served without.
    pub(crate) fn tls(&self) -> Option<TlsFiles> {
        let (cert, key) = self.tls_cert.clone().zip(self.tls_key.clone())?;
        Some(TlsFiles { cert, key, client_ca: self.tls_client_ca.clone() })
    }
}
