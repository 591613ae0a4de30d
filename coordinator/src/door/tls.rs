//! From PEM files to what a handshake needs. One certificate serves both protocols; they differ in what is negotiated
//! (ALPN), so that neither can be talked into speaking the other.

use crate::config::TlsFiles;
use crate::watched::{Watched, Watching};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::sync::Arc;

/// The server's side of handshakes.
#[derive(Debug)]
pub(crate) struct ServerTls {
    pub(super) grpc: Arc<ServerConfig>,
    pub(super) http: Arc<ServerConfig>,
}

/// Reads the files, and follows them from then on.
pub(crate) async fn watched(files: &TlsFiles) -> Result<Watched<ServerTls>, String> {
    let mut paths = vec![files.cert.clone(), files.key.clone()];
    paths.extend(files.client_ca.clone());
    let names = files.clone();
    Watched::open(Watching::Tls, paths, move |contents| ServerTls::new(&names, contents)).await
}

impl ServerTls {
    /// `contents`: certificate chain, key and, if there is one, client CA.
    fn new(files: &TlsFiles, contents: &[Vec<u8>]) -> Result<Self, String> {
        let [cert, key, rest @ ..] = contents else {
            return Err("certificate and key are needed".to_owned());
        };
        let wrong =
            |file: &std::path::Path, why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
        let chain = certificates(cert).map_err(|why| wrong(&files.cert, &why))?;
        // what the parser says of a key may quote it
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| wrong(&files.key, &"is no private key in PEM (PKCS#8, PKCS#1 or SEC1)"))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        let builder = match (&files.client_ca, rest.first()) {
            (Some(file), Some(pem)) => {
                let mut roots = RootCertStore::empty();
                for root in certificates(pem).map_err(|why| wrong(file, &why))? {
                    roots.add(root).map_err(|why| wrong(file, &why))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().map_err(|why| wrong(file, &why))?)
            }
            _ => builder.with_no_client_auth(),
        };
        let config = builder.with_single_cert(chain, key).map_err(|why| {
            wrong(&files.cert, &format!("does not go with the key {}: {why}", files.key.display()))
        })?;
        let speaking = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        };
        Ok(Self { grpc: speaking(b"h2"), http: speaking(b"http/1.1") })
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err("holds no certificate in PEM".to_owned()),
        Err(error) => Err(format!("is not PEM: {error}")),
    }
}
