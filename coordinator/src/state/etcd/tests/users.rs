//! etcd behind TLS and with users.

use super::super::server::certificates;
use super::*;
use etcd_client::{ConnectOptions, Permission};

const PASSWORD: &str = "correct horse";

fn user(password: &str) -> Option<EtcdUser> {
    Some(EtcdUser { name: "reelmill".to_owned(), password: Secret::new(password.to_owned()) })
}

/// Makes a user that may read and write below `prefix` and nothing else, and turns authentication on.
async fn enable_users(server: &EtcdServer, prefix: &str) {
    let mut etcd = raw(&server.url()).await;
    etcd.user_add("root", "root", None).await.unwrap();
    etcd.user_grant_role("root", "root").await.unwrap();
    etcd.role_add("reelmill").await.unwrap();
    let below = Permission::read_write(prefix).with_prefix();
    etcd.role_grant_permission("reelmill", below).await.unwrap();
    etcd.user_add("reelmill", PASSWORD, None).await.unwrap();
    etcd.user_grant_role("reelmill", "reelmill").await.unwrap();
    etcd.auth_enable().await.unwrap();
}

/// A campaign's error, which must come at once.
async fn refused(config: EtcdConfig) -> StateError {
    let state = EtcdState::connect(config).await.unwrap();
    let campaign = tokio::time::timeout(Duration::from_secs(10), state.campaign("a:1")).await;
    campaign.expect("waiting cures no wrong password").unwrap_err()
}

#[tokio::test]
async fn a_user_leads_below_its_prefix_and_outlives_logins_that_etcd_forgets() {
    // a login lasts a second; every member forgets all of them when it starts again
    let mut server = EtcdServer::start_with(1, &["--auth-token-ttl=1", "--bcrypt-cost=4"]);
    enable_users(&server, "cell/").await;
    let settings = EtcdConfig {
        user: user(PASSWORD),
        lease_ttl_s: 60,
        compact_every_ms: 50,
        keep_revisions_ms: 0,
        ..config(&server, "cell/")
    };
    assert!(!format!("{settings:?}").contains(PASSWORD), "a password is printed");
    let state = EtcdState::connect(settings.clone()).await.unwrap();
    let term = state.campaign("a:1").await.unwrap();
    let batch = |n: &str| Batch::leading(term).put("n", n);
    assert!(state.write(&batch("1")).await.is_done());
    assert!(state.room().await.unwrap().is_some());

    // forgotten by time: a write is what finds out
    let idle = tokio::time::timeout(Duration::from_millis(1_600), state.lost(term)).await;
    assert!(idle.is_err(), "it leads on");
    assert!(state.write(&batch("2")).await.is_done());
    // somebody's rights change
    let root = ConnectOptions::new().with_user("root", "root");
    let mut root = etcd_client::Client::connect([server.url()], Some(root)).await.unwrap();
    root.role_add("other").await.unwrap();
    assert!(state.write(&batch("3")).await.is_done());
    // etcd starts again
    server.kill(0);
    server.restart(0);
    assert!(write_until_known(&state, &batch("4")).await.is_done());
    assert_eq!(state.scan("", None, 5).await.unwrap().entries, [("n".to_owned(), b"4".to_vec())]);
    assert!(state.shared.leads(term));
    // a user of this rank may compact
    let history = GetOptions::new().with_revision(term.0.cast_signed());
    assert!(root.get("cell/n", Some(history)).await.is_err(), "nothing was compacted");
    state.resign().await.unwrap();
}

#[tokio::test]
async fn a_login_that_etcd_refuses_says_what_to_do() {
    let server = EtcdServer::start_with(1, &["--bcrypt-cost=4"]);
    let settings = |user, prefix| EtcdConfig { user, ..config(&server, prefix) };
    let error = refused(settings(user(PASSWORD), "cell/")).await;
    assert!(error.to_string().contains("knows no users"), "{error}");

    enable_users(&server, "cell/").await;
    for (settings, says) in [
        (settings(user("wrong"), "cell/"), "check the user's name and password"),
        (settings(None, "cell/"), "asks for a user and a password"),
        (settings(user(PASSWORD), "elsewhere/"), "everything below the prefix"),
    ] {
        let error = refused(settings).await;
        assert_eq!(error.kind(), StateErrorKind::Permission, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert!(!error.to_string().contains("wrong"), "a password is told: {error}");
    }
}

#[tokio::test]
async fn tls_is_checked_in_both_directions() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certificates(ours.path());
    certificates(theirs.path());
    let file = |directory: &tempfile::TempDir, name: &str| directory.path().join(name);
    let flag = |name: &str, file: &str| format!("--{name}={}", ours.path().join(file).display());
    let server = EtcdServer::start_with(
        1,
        &[
            &flag("cert-file", "etcd.pem"),
            &flag("key-file", "etcd.key"),
            &flag("trusted-ca-file", "ca.pem"),
            "--client-cert-auth",
        ],
    );
    let read = |directory: &tempfile::TempDir, name: &str| std::fs::read(file(directory, name)).unwrap();
    let identity = |directory: &tempfile::TempDir| {
        let key = String::from_utf8(read(directory, "etcd.key")).unwrap();
        Some((read(directory, "etcd.pem"), Secret::new(key)))
    };
    let settings = |tls| EtcdConfig { tls: Some(tls), request_timeout_ms: 1_000, ..config(&server, "tls/") };
    let good = EtcdTls { ca_pem: read(&ours, "ca.pem"), identity: identity(&ours) };
    let state = EtcdState::connect(settings(good.clone())).await.unwrap();
    let term = state.campaign("a:1").await.unwrap();
    assert!(state.write(&Batch::leading(term).put("a", "1")).await.is_done());

    for (tls, says) in [
        (EtcdTls { ca_pem: read(&theirs, "ca.pem"), ..good.clone() }, "invalid peer certificate"),
        (EtcdTls { identity: None, ..good.clone() }, "client certificate"),
        (EtcdTls { identity: identity(&theirs), ..good.clone() }, "client certificate"),
    ] {
        let state = EtcdState::connect(settings(tls)).await.unwrap();
        let error = state.leader().await.unwrap_err();
        assert!(error.to_string().contains(says), "not {says}: {error}");
    }
    let nonsense = EtcdTls { ca_pem: b"no certificate".to_vec(), identity: None };
    let error = EtcdState::connect(settings(nonsense)).await.err().unwrap();
    assert_eq!(error.kind(), StateErrorKind::Invalid, "{error}");
    assert!(!format!("{good:?}").contains("PRIVATE KEY"));
}
