//! TLS at the front door, over real sockets: who is believed, who is let in, what those are told who speak the wrong
//! words, and certificates that are replaced under open sessions.

use crate::cluster::{Cluster, PATIENCE, World};
use crate::fake_worker::{Session, hello};
use crate::http::{ask, get};
use crate::pki::{Authority, Identified};
use reelmill_common::session::{FromWorker, ToWorker};
use reelmill_coordinator::TlsFiles;
use reelmill_proto::jobs::v1 as wire;
use reelmill_proto::jobs::v1::jobs_client::JobsClient;
use std::error::Error;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::Code;
use tonic::transport::{Channel, ClientTlsConfig};

/// A coordinator with these files that leads.
async fn secured(world: &World, files: TlsFiles) -> Cluster {
    let mut config = world.config();
    config.tls = Some(files);
    let cluster = world.start_any(config).await;
    cluster.leads().await;
    cluster
}

async fn channel(cluster: &Cluster, tls: ClientTlsConfig) -> Result<Channel, Box<dyn Error + Send + Sync>> {
    let endpoint = Channel::from_shared(format!("https://{}", cluster.grpc()))?;
    Ok(endpoint.tls_config(tls)?.connect().await?)
}

/// A call; or all that is known of why it failed.
async fn list(cluster: &Cluster, tls: ClientTlsConfig) -> Result<(), String> {
    let channel = channel(cluster, tls).await.map_err(|e| chain(e.as_ref()))?;
    let list = JobsClient::new(channel).list(wire::ListRequest::default()).await;
    list.map(drop).map_err(|e| chain(&e))
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(now) = cause {
        text = format!("{text}: {now}");
        cause = now.source();
    }
    text
}

/// `GET` over TLS as a browser would.
async fn get_secured(
    cluster: &Cluster,
    path: &str,
    ca: &Authority,
    shown: Option<&Identified>,
) -> Result<String, String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).expect("PEM")).expect("a root");
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = match shown {
        None => config.with_no_client_auth(),
        Some(shown) => {
            let cert = CertificateDer::from_pem_slice(shown.cert.as_bytes()).expect("PEM");
            let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).expect("PEM");
            config.with_client_auth_cert(vec![cert], key).expect("they go together")
        }
    };
    let stream = TcpStream::connect(cluster.http()).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    let answer = async {
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok::<_, std::io::Error>(text)
    };
    answer.await.map_err(|e| e.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_protocols_are_served_under_one_certificate_to_who_trusts_it() {
    let (world, files) = (World::new(), tempfile::tempdir().unwrap());
    let (ca, other) = (Authority::new(), Authority::new());
    let cluster = secured(&world, ca.server().write(files.path())).await;
    list(&cluster, ca.trusted()).await.unwrap();
    let error = list(&cluster, other.trusted()).await.unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
    let error = list(&cluster, ca.trusted().domain_name("elsewhere.example")).await.unwrap_err();
    assert!(error.contains("NotValidForName") || error.contains("not valid for"), "{error}");
    let page = get_secured(&cluster, "/healthz", &ca, None).await.unwrap();
    assert!(page.starts_with("HTTP/1.1 200") && page.ends_with("ok\n"), "{page}");
    let error = get_secured(&cluster, "/healthz", &other, None).await.unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_without_tls_is_told_so_in_his_own_protocol() {
    let (world, files, ca) = (World::new(), tempfile::tempdir().unwrap(), Authority::new());
    let cluster = secured(&world, ca.server().write(files.path())).await;
    let answer = get(cluster.http(), "/healthz").await;
    assert_eq!((answer.status, answer.text().as_str()), (400, "this port speaks TLS: use https://\n"));
    assert_eq!(ask(cluster.grpc(), "POST", "/", "").await.status, 400, "HTTP/1.1 to the port of gRPC");
    // what a client of HTTP/2 is told: SETTINGS, and GOAWAY with the sentence
    let mut stream = TcpStream::connect(cluster.grpc()).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
    assert_eq!((heard[3], heard[12]), (4, 7), "{heard:?}");
    assert!(String::from_utf8_lossy(&heard).ends_with("this port speaks TLS: use https://"), "{heard:?}");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_asked_for_where_an_authority_was_named() {
    let (world, files) = (World::new(), tempfile::tempdir().unwrap());
    let (ca, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let client_ca = files.path().join("clients.pem");
    std::fs::write(&client_ca, clients.pem()).unwrap();
    let served = TlsFiles { client_ca: Some(client_ca), ..ca.server().write(files.path()) };
    let cluster = secured(&world, served).await;
    let shows = |who: &Identified| ca.trusted().identity(who.shown());
    list(&cluster, shows(&clients.client())).await.unwrap();
    for (who, says) in [
        (None, "CertificateRequired"),
        (Some(strangers.client()), "UnknownCA"),
        (Some(clients.expired_client()), "CertificateExpired"),
        (Some(clients.server()), "alert"),
    ] {
        let tls = who.as_ref().map_or(ca.trusted(), shows);
        // the client may learn that the connection has ended before it reads why
        assert!(list(&cluster, tls).await.is_err());
        let error = get_secured(&cluster, "/healthz", &ca, who.as_ref()).await.unwrap_err();
        assert!(error.contains(says), "{says} in {error}");
    }
    assert!(get_secured(&cluster, "/healthz", &ca, Some(&clients.client())).await.is_ok());
    // this process's own worker has another door
    let own = cluster.running.own_addr;
    let stranger =
        Session::open(own, hello("own", "b1")).await.err().expect("it takes the token that it was given");
    assert_eq!(stranger.code(), Code::Unauthenticated);
    let token = cluster.running.own_token.clone();
    drop(Session::signed(own, Some(&token), hello("own", "b1")).await.unwrap());
    cluster.stop().await.unwrap();
}

/// Waits until new connections are made with what was laid down.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_under_an_open_session() {
    let (world, files) = (World::new(), tempfile::tempdir().unwrap());
    let (old, new) = (Authority::new(), Authority::new());
    let cluster = secured(&world, old.server().write(files.path())).await;
    let open = channel(&cluster, old.trusted()).await.unwrap();
    let mut session = Session::over(open, None, hello("w1", "b1")).await.unwrap();
    assert!(matches!(session.next().await.unwrap().unwrap().message, ToWorker::Welcome { .. }));

    new.server().write(files.path());
    until("the new certificate is shown", async || list(&cluster, new.trusted()).await.is_ok()).await;
    let error = list(&cluster, old.trusted()).await.unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
    acknowledged(&mut session, 1).await;

    let failed = "reelmill_file_reloads_total{files=\"tls\",outcome=\"failed\"}";
    let before = counted(&cluster, &new, failed).await;
    // a certificate without its key, and then nothing at all
    std::fs::write(files.path().join("cert.pem"), old.server().cert).unwrap();
    until("the first bad file is counted", async || counted(&cluster, &new, failed).await > before).await;
    std::fs::write(files.path().join("cert.pem"), "nothing").unwrap();
    until("the second, too", async || counted(&cluster, &new, failed).await > before + 1).await;
    list(&cluster, new.trusted()).await.expect("the old one stays");
    acknowledged(&mut session, 2).await;

    new.server().write(files.path());
    until("a good one is taken again", async || list(&cluster, new.trusted()).await.is_ok()).await;
    cluster.stop().await.unwrap();
}

async fn acknowledged(session: &mut Session, sequence: u64) {
    session.say(FromWorker::Heartbeat { sequence, running: Vec::new() }).await;
    let acked = async {
        while session.next().await.expect("the session goes on").expect("a message").message
            != (ToWorker::HeartbeatAck { sequence })
        {}
    };
    tokio::time::timeout(PATIENCE, acked).await.expect("the session is alive");
}

/// The value of a series.
async fn counted(cluster: &Cluster, ca: &Authority, series: &str) -> u64 {
    let text = get_secured(cluster, "/metrics", ca, None).await.expect("metrics");
    let line = text.lines().find_map(|l| l.strip_prefix(series)).expect("the series is there");
    line.trim().parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_wrong_at_start_are_told_by_name() {
    let (world, files, ca) = (World::new(), tempfile::tempdir().unwrap(), Authority::new());
    let cases = [
        ("nowhere.pem", None, "nowhere.pem"),
        ("key.pem", Some("-----BEGIN SECRET-----".to_owned()), "key.pem"),
        ("key.pem", Some(ca.server().key), "does not go with"),
    ];
    for (key, content, says) in cases {
        let mut tls = ca.server().write(files.path());
        tls.key = files.path().join(key);
        if let Some(content) = content {
            std::fs::write(&tls.key, content).unwrap();
        }
        let mut config = world.config();
        config.tls = Some(tls);
        let error = world.refused(config).await.to_string();
        assert!(error.contains(says) && !error.contains("SECRET"), "{says} in {error}");
    }
}
