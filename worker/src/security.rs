//! How a connection to a coordinator is secured, a worker's and (for the command line) a client's: whom to believe, what
//! to show, and what is wrong when it does not work.
//!
//! Files are read at each dial, so that certificates and tokens may be replaced while the process runs. A token never
//! leaves this machine in the clear.

use reelmill_common::Secret;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// No certificate, key or token is longer.
const FILE_MAX: u64 = 1 << 20;

/// How connections to coordinators are secured.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// Certificate authorities in PEM for `https` addresses. `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// A certificate and its key in PEM, to be shown to coordinators that ask.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Who we are.
    pub token: Option<TokenSource>,
    /// The token may travel without TLS, to any machine.
    pub insecure: bool,
}

/// Where a token is taken from.
#[derive(Clone, Debug)]
pub enum TokenSource {
    /// It was given, for as long as the process lives.
    Given(Secret),
    /// The first line of a file, read at each dial.
    File(PathBuf),
}

/// A connection that cannot be secured as it should be.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// An address is none.
    #[error(
        "coordinator address {address:?} is not usable ({why}): use http://host:port or https://host:port"
    )]
    Address {
        /// As given.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// The token would travel in the clear.
    #[error(
        "the token is not sent to {0} without TLS: use an https:// address, or --insecure if everybody on the way may \
         read it"
    )]
    Clear(String),
    /// A file that cannot be read.
    #[error("cannot read {path}: {why}")]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// Certificates that cannot be used.
    #[error(
        "the certificates for {address} cannot be used ({why}): they have to be PEM files that go together"
    )]
    Certificates {
        /// For whom.
        address: String,
        /// What is wrong with them.
        why: String,
    },
    /// A token that no header can carry. It is not shown.
    #[error("the token holds characters that no token has: is it the right file?")]
    Token,
}

impl Security {
    /// What dials `address`.
    pub fn endpoint(&self, address: &str) -> Result<Endpoint, SecurityError> {
        let bad = |why: String| SecurityError::Address { address: address.to_owned(), why };
        let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|e| bad(e.to_string()))?;
        let uri = endpoint.uri();
        let Some(host) = uri.host() else { return Err(bad("it names no host".to_owned())) };
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("it begins with neither http:// nor https://".to_owned())),
        };
        if !is_tls && self.token.is_some() && !self.insecure && !is_loopback(host) {
            return Err(SecurityError::Clear(address.to_owned()));
        }
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            // a peer that vanished without a word is noticed by its silence, also while there is nothing to say
            .http2_keep_alive_interval(Duration::from_secs(15))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true)
            .http2_adaptive_window(true)
            .tcp_nodelay(true);
        if !is_tls {
            return Ok(endpoint);
        }
        let failed = |why: &dyn Error| SecurityError::Certificates {
            address: address.to_owned(),
            why: innermost(why).to_string(),
        };
        endpoint.tls_config(self.tls()?).map_err(|e| failed(&e))
    }

    fn tls(&self) -> Result<ClientTlsConfig, SecurityError> {
        let tls = match &self.ca {
            Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        Ok(match &self.identity {
            Some((certificate, key)) => tls.identity(Identity::from_pem(read(certificate)?, read(key)?)),
            None => tls,
        })
    }

    /// Says who we are, in a request.
    pub fn sign<T>(&self, request: &mut Request<T>) -> Result<(), SecurityError> {
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", bearer(&token.read()?)?);
        }
        Ok(())
    }
}

impl TokenSource {
    pub(crate) fn read(&self) -> Result<Secret, SecurityError> {
        match self {
            Self::Given(secret) => Ok(secret.clone()),
            Self::File(path) => {
                let text = String::from_utf8(read(path)?).map_err(|_| SecurityError::Token)?;
                Ok(Secret::new(text.lines().next().unwrap_or_default().trim().to_owned()))
            }
        }
    }
}

fn bearer(token: &Secret) -> Result<MetadataValue<Ascii>, SecurityError> {
    let text = token.reveal();
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(SecurityError::Token);
    }
    let mut value: MetadataValue<Ascii> =
        format!("Bearer {text}").parse().map_err(|_| SecurityError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Does it name this machine, whoever resolves it?
fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn read(path: &Path) -> Result<Vec<u8>, SecurityError> {
    let failed = |why| SecurityError::File { path: path.to_owned(), why };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > FILE_MAX {
        return Err(failed(std::io::Error::other(format!("it has more than {FILE_MAX} bytes"))));
    }
    std::fs::read(path).map_err(failed)
}

/// Why a connection was not made, for a person.
pub fn explain(error: &(dyn Error + 'static)) -> String {
    let mut cause = Some(error);
    while let Some(now) = cause {
        if let Some(says) = told(&now.to_string()) {
            return says.to_owned();
        }
        cause = now.source();
    }
    innermost(error).to_string()
}

/// Why a call to `address` failed before the coordinator looked at it, if it was for want, or for too much, of TLS.
pub async fn diagnose(address: &str, status: &Status) -> Option<String> {
    if let Some(says) = told(status.message()) {
        return Some(says.to_owned());
    }
    let is_cut = {
        let first: &(dyn Error + 'static) = status.source()?;
        let (mut cause, mut is_cut) = (Some(first), false);
        while let Some(now) = cause {
            let text = now.to_string();
            if let Some(says) = told(&text) {
                return Some(says.to_owned());
            }
            is_cut |= CUT.into_iter().any(|words| text.contains(words));
            cause = now.source();
        }
        is_cut
    };
    // it may have said why, and hung up before that was read
    match address.split_once("://") {
        Some(("http", authority)) if is_cut => last_words(authority).await,
        Some(("https", _)) if is_cut => Some(CLOSED.to_owned()),
        _ => None,
    }
}

const CLOSED: &str = "the connection was closed before an answer came; where the coordinator asks for a client \
                      certificate, it needs --tls-cert and --tls-key of an authority that it trusts";

/// What a port says to somebody who begins HTTP/2 without TLS, if we know those words.
async fn last_words(authority: &str) -> Option<String> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let asked = async {
        let mut stream = TcpStream::connect(authority.trim_end_matches('/')).await?;
        stream.write_all(PREFACE).await?;
        let mut heard = Vec::new();
        stream.take(4_096).read_to_end(&mut heard).await?;
        Ok::<_, std::io::Error>(heard)
    };
    let heard = tokio::time::timeout(CONNECT_TIMEOUT, asked).await.ok()?.ok()?;
    told(&String::from_utf8_lossy(&heard)).map(str::to_owned)
}

/// How a connection that the other side has closed looks from here.
const CUT: [&str; 4] = ["connection closed", "broken pipe", "connection reset", "Connection reset"];

/// What the words of the libraries below mean for whoever runs this.
fn told(text: &str) -> Option<&'static str> {
    let known = [
        ("this port speaks TLS", "this port speaks TLS: begin the address with https://"),
        (
            "InvalidContentType",
            "this port does not speak TLS: begin the address with http://, or name the port that does",
        ),
        (
            "UnknownIssuer",
            "the coordinator's certificate is of an authority that is not trusted here: name it with --tls-ca",
        ),
        (
            "BadSignature",
            "the coordinator's certificate is not of the authority of --tls-ca, though of one of the same name",
        ),
        (
            "CaUsedAsEndEntity",
            "the coordinator's certificate is one of an authority (CA:TRUE): it needs one of its own",
        ),
        ("NotValidForName", "the coordinator's certificate is for another name than the address has"),
        ("certificate expired", "the coordinator's certificate has expired"),
        ("certificate not valid yet", "the coordinator's certificate is not valid yet: is the clock right?"),
        (
            "CertificateRequired",
            "the coordinator asks for a client certificate: name one with --tls-cert and --tls-key",
        ),
        (
            "UnknownCA",
            "the coordinator does not trust the authority of our certificate: name another with --tls-cert",
        ),
        ("CertificateExpired", "our certificate has expired: name another with --tls-cert and --tls-key"),
    ];
    known.into_iter().find(|(words, _)| text.contains(words)).map(|(_, says)| says)
}

fn innermost<'a>(error: &'a (dyn Error + 'a)) -> &'a (dyn Error + 'a) {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_token(token: &str) -> Security {
        Security { token: Some(TokenSource::Given(Secret::new(token.to_owned()))), ..Security::default() }
    }

    #[test]
    fn a_token_stays_on_this_machine_unless_tls_or_somebody_says_otherwise() {
        let security = with_token("t");
        for here in ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "https://far.example:1"] {
            assert!(security.endpoint(here).is_ok(), "{here}");
        }
        for far in ["http://far.example:1", "http://10.0.0.1:1", "http://localhost.far.example:1"] {
            let error = security.endpoint(far).unwrap_err().to_string();
            assert!(error.contains("--insecure") && error.contains(far), "{error}");
            assert!(Security::default().endpoint(far).is_ok(), "there is nothing to be read");
            assert!(Security { insecure: true, ..security.clone() }.endpoint(far).is_ok());
        }
    }

    #[test]
    fn addresses_are_urls_with_a_host() {
        for bad in ["not a url", "ftp://a:1", "a:1", ""] {
            assert!(matches!(Security::default().endpoint(bad), Err(SecurityError::Address { .. })), "{bad}");
        }
    }

    #[test]
    fn a_token_is_the_first_line_of_its_file_and_is_never_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\r\nanother line\n").unwrap();
        let security =
            Security { token: Some(TokenSource::File(file.path().to_owned())), ..Security::default() };
        let mut request = Request::new(());
        security.sign(&mut request).unwrap();
        let sent = request.metadata().get("authorization").unwrap();
        assert_eq!(sent.to_str().unwrap(), "Bearer s3cret");
        assert!(!format!("{request:?} {security:?}").contains("s3cret"));
        std::fs::write(file.path(), "s3c ret\u{7}").unwrap();
        let error = security.sign(&mut request).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3c"), "{error}");
    }

    #[test]
    fn files_that_are_not_there_are_named() {
        let security = Security { ca: Some(PathBuf::from("/nowhere/ca.pem")), ..Security::default() };
        let error = security.endpoint("https://a:1").unwrap_err().to_string();
        assert!(error.contains("/nowhere/ca.pem"), "{error}");
    }
}
