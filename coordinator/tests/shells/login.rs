//! People at the HTTP edge: the page that asks who they are, and the cookie by which a browser says so.

use crate::access::{AccessFile, guarded};
use crate::cluster::{Cluster, World};
use crate::http::{Answer, ask, ask_with};
use reelmill_common::Secret;
use reelmill_coordinator::access::{Role, token};

/// Fills the form in, as a page of `origin`.
async fn fill_in(cluster: &Cluster, origin: &str, token: &Secret, next: &str) -> Answer {
    let body = format!("token={}&next={next}", token.reveal());
    let head = format!(
        "Origin: {origin}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
        body.len()
    );
    ask_with(cluster.http(), "POST", "/login", &head, &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_sent_to_the_page_and_comes_back_with_a_cookie() {
    let (world, mut file) = (World::new(), AccessFile::new());
    let token = file.submitter("studio");
    let cluster = guarded(&world, &file).await;
    let asked = ask(cluster.http(), "GET", "/play/j1?x=1", "Accept: text/html\r\n").await;
    assert_eq!((asked.status, asked.header("location")), (303, "/login?next=%2Fplay%2Fj1%3Fx%3D1"));
    let page = ask(cluster.http(), "GET", "/login?next=%2Fplay%2Fj1%22%3E%3Cscript%3E", "").await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    assert!(page.text().contains("value=\"/play/j1&quot;&gt;&lt;script&gt;\""), "{}", page.text());

    let entered = fill_in(&cluster, "http://test", &token, "/play/j1").await;
    assert_eq!((entered.status, entered.header("location")), (303, "/play/j1"));
    let cookie = entered.header("set-cookie").to_owned();
    assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    let home = ask(cluster.http(), "GET", "/", &format!("Cookie: {pair}\r\n")).await;
    assert!(home.status == 200 && home.text().contains("studio"), "{}", home.text());
    assert_eq!(ask(cluster.http(), "GET", "/api/jobs", &format!("Cookie: {pair}\r\n")).await.status, 200);

    let away = fill_in(&cluster, "http://test", &token, "//evil.example").await;
    assert_eq!(away.header("location"), "/");
    let left =
        ask_with(cluster.http(), "POST", "/logout", "Origin: http://test\r\nContent-Length: 0\r\n", "").await;
    assert!(left.header("set-cookie").contains("Max-Age=0"), "{}", left.header("set-cookie"));
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_pages_of_ours_and_tokens_for_people_get_a_cookie() {
    let (world, mut file) = (World::new(), AccessFile::new());
    let (token, worker) = (file.submitter("studio"), file.add("pool", Role::Worker, ""));
    let cluster = guarded(&world, &file).await;
    let forged = fill_in(&cluster, "http://evil.example", &token, "/").await;
    assert_eq!((forged.status, forged.header("set-cookie")), (403, ""));
    for (wrong, status) in [(&token::generate(), 401), (&worker, 403)] {
        let answer = fill_in(&cluster, "http://test", wrong, "/").await;
        assert_eq!((answer.status, answer.header("set-cookie")), (status, ""));
        assert!(!answer.text().contains(wrong.reveal()));
    }
    let long = Secret::new("x".repeat(5_000));
    assert_eq!(fill_in(&cluster, "http://test", &long, "/").await.status, 413);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_access_file_there_is_nothing_to_log_in_to() {
    let world = World::new();
    let cluster = world.start().await;
    let page = ask(cluster.http(), "GET", "/login", "").await;
    assert_eq!((page.status, page.header("location")), (303, "/"));
    assert_eq!(ask(cluster.http(), "GET", "/", "").await.status, 200);
    let other = ask(cluster.http(), "GET", "/api/jobs?tenant=other", "").await;
    assert_eq!(other.status, 409, "{}", other.text());
    cluster.stop().await.unwrap();
}
