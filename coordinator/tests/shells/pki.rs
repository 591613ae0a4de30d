//! Authorities and certificates of tests, made anew each time.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use reelmill_coordinator::TlsFiles;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
pub(crate) struct Identified {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // two authorities of one name would be taken for each other
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("authority {}", NUMBER.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server of this machine.
    pub(crate) fn server(&self) -> Identified {
        self.issue(ExtendedKeyUsagePurpose::ServerAuth, 4096)
    }

    pub(crate) fn client(&self) -> Identified {
        self.issue(ExtendedKeyUsagePurpose::ClientAuth, 4096)
    }

    /// A client whose certificate ended long ago.
    pub(crate) fn expired_client(&self) -> Identified {
        self.issue(ExtendedKeyUsagePurpose::ClientAuth, 2001)
    }

    fn issue(&self, usage: ExtendedKeyUsagePurpose, until_year: i32) -> Identified {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(names).expect("parameters");
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(until_year.min(4095), 1, 1);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.0).expect("a certificate");
        Identified { cert: cert.pem(), key: key.serialize_pem() }
    }

    /// What a client has to know in order to believe servers of this authority.
    pub(crate) fn trusted(&self) -> ClientTlsConfig {
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(self.pem()))
    }
}

impl Identified {
    pub(crate) fn shown(&self) -> Identity {
        Identity::from_pem(&self.cert, &self.key)
    }

    /// Lays both down as a server's, over what lies there.
    pub(crate) fn write(&self, directory: &Path) -> TlsFiles {
        let file = |name: &str, content: &str| -> PathBuf {
            let path = directory.join(name);
            std::fs::write(&path, content).expect("a file");
            path
        };
        let (cert, key) = (file("cert.pem", &self.cert), file("key.pem", &self.key));
        TlsFiles { cert, key, client_ca: None }
    }
}
