//! The dashboard asks only for what exists: a real Prometheus scrapes a real server through the committed scrape
//! configuration, and answers every expression of the committed dashboard.

use anyhow::Context;
use reelmill_tests::film::{Film, PLAIN};
use reelmill_tests::reelmill::{self, Server};
use reelmill_tests::tool;
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const SHORT: Film = Film { name: "short", frames: 96, ..PLAIN };

/// A file of `deploy/`.
fn deployed(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// (panel, expression) of every target of the dashboard.
fn expressions() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&deployed("grafana/throughput.json")).expect("JSON");
    let text = |v: &Value| v.as_str().expect("text").to_owned();
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = |p: &Value| p["targets"].as_array().expect("targets").clone();
    panels
        .iter()
        .flat_map(|p| targets(p).into_iter().map(|t| (text(&p["title"]), text(&t["expr"]))))
        .collect()
}

/// A child that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Nothing to do when it has ended already.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

fn ask(prometheus: &str, path: &str) -> anyhow::Result<Value> {
    let (status, body) = reelmill::get(prometheus, path)?;
    anyhow::ensure!(status == 200, "{status}: {body}");
    // HTTP/1.0 was asked for; a server that still chunks its answer is cut to the object.
    let object = body.find('{').zip(body.rfind('}')).context("no JSON object")?;
    Ok(serde_json::from_str(&body[object.0..=object.1])?)
}

#[test]
fn prometheus_answers_every_expression_of_the_dashboard() {
    let dir = tempfile::tempdir().expect("scratch");
    let server = Server::start(&dir.path().join("data")).expect("serves");
    let address = reelmill::own_address().expect("address");
    let config = deployed("prometheus.yml")
        .replace("reelmill:7080", &server.http)
        .replace("scrape_interval: 5s", "scrape_interval: 1s");
    assert!(config.contains(&server.http) && config.contains("interval: 1s"), "{config}");
    let path = dir.path().join("prometheus.yml");
    std::fs::write(&path, config).expect("written");
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", path.display()))
        .arg(format!("--storage.tsdb.path={}", dir.path().join("tsdb").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("prometheus starts");
    let _prometheus = Ended(child);
    let value = |expression: &str| -> Option<f64> {
        let answer = ask(&address, &format!("/api/v1/query?query={}", encoded(expression))).ok()?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    };
    // The zeros are scraped before the work, so that rates have something to grow from.
    tool::wait_until("the first scrapes", Duration::from_secs(60), || {
        value("count_over_time(reelmill_slots{state=\"free\"}[1m])").filter(|n| *n >= 2.0)
    })
    .expect("scraped");

    // Twice: a histogram exists from its first value on, and a rate needs it to grow.
    let film = SHORT.make(dir.path()).expect("film").path;
    for (round, preset) in ["speed", "ultrafast"].into_iter().enumerate() {
        let submit = ["submit", film.to_str().expect("utf-8"), "--preset", preset, "--watch"];
        let mut command = server.client(&submit).expect("command");
        let done = tool::run(&mut command, Duration::from_secs(120)).expect("runs");
        assert_eq!(done.code(), 0, "{}", done.stderr);
        let seen =
            ["reelmill_encode_speed_ratio_count", "rate(reelmill_encode_speed_ratio_count[1m])"][round];
        tool::wait_until("the work in a scrape", Duration::from_secs(30), || {
            value(&format!("min({seen})")).filter(|v| *v > 0.0)
        })
        .expect("scraped");
    }

    let all = expressions();
    assert!(all.len() >= 10, "{all:?}");
    for (panel, expression) in all {
        let path = format!("/api/v1/query?query={}", encoded(&expression));
        let answer = ask(&address, &path).unwrap_or_else(|e| panic!("{panel}: {expression}: {e}"));
        assert_eq!(answer["status"], "success", "{panel}: {expression}");
        let series = answer["data"]["result"].as_array().expect("a result");
        assert!(!series.is_empty(), "{panel}: nothing answers {expression}");
        for one in series {
            let number = one["value"][1].as_str().and_then(|v| v.parse::<f64>().ok());
            assert!(number.is_some_and(f64::is_finite), "{panel}: {expression} is {number:?}");
        }
    }
}
