//! What a job may not ask for is refused when it is submitted, with the reason, and never becomes a job.

use crate::cluster::World;
use reelmill_proto::jobs::v1 as wire;
use tonic::Code;
use wire::ladder::{Choice, Custom, Named};

fn options(options: wire::JobOptions) -> wire::JobRequest {
    wire::JobRequest { options: Some(options), ..Default::default() }
}

fn named(names: &[&str]) -> wire::JobRequest {
    let names = names.iter().map(|n| (*n).to_owned()).collect();
    ladder(Choice::Named(Named { names }))
}

fn custom(change: impl FnOnce(&mut wire::CustomRung)) -> wire::JobRequest {
    let name = "mine".to_owned();
    let mut rung = wire::CustomRung { name, long_side: 1_280, short_side: 720, ..Default::default() };
    change(&mut rung);
    ladder(Choice::Custom(Custom { rungs: vec![rung] }))
}

fn ladder(choice: Choice) -> wire::JobRequest {
    wire::JobRequest { ladder: Some(wire::Ladder { choice: Some(choice) }), ..Default::default() }
}

fn label(key: &str, value: &str) -> wire::JobRequest {
    wire::JobRequest { labels: [(key.to_owned(), value.to_owned())].into(), ..Default::default() }
}

/// Requests that are wrong, each with words of its reason.
fn wrong() -> Vec<(wire::JobRequest, &'static str)> {
    let unset = wire::JobOptions::default;
    vec![
        (options(wire::JobOptions { segment_ms: 999, ..unset() }), "1000 to 20000"),
        (options(wire::JobOptions { segment_ms: 25_000, ..unset() }), "1000 to 20000"),
        (options(wire::JobOptions { chunk_ms: Some(0), ..unset() }), "chunk duration"),
        (options(wire::JobOptions { segments: 9, ..unset() }), "options.segments"),
        (options(wire::JobOptions { preset: "warp".to_owned(), ..unset() }), "x264 preset"),
        (options(wire::JobOptions { output: Some("out/film".to_owned()), ..unset() }), "absolute path"),
        (options(wire::JobOptions { output: Some("warp://films/out".to_owned()), ..unset() }), "warp"),
        (named(&[]), "empty"),
        (named(&["999p"]), "1080p"),
        (named(&["720p", "720p"]), "twice"),
        (custom(|r| r.name = "No Name".to_owned()), "a-z"),
        (custom(|r| r.name = "audio-1".to_owned()), "audio"),
        (custom(|r| r.long_side = 20_000), "16384"),
        (custom(|r| r.short_side = 0), "short"),
        (custom(|r| r.max_rate_kbps = Some(1)), "200000"),
        (custom(|r| r.crf_tenths = Some(520)), "CRF"),
        (custom(|r| r.preset = 99), "preset"),
        (label("Team", "a"), "labels"),
        (label("team", "two words"), "labels"),
        (wire::JobRequest { idempotency_key: "a b".to_owned(), ..Default::default() }, "idempotency_key"),
        (wire::JobRequest { source: "warp://films/a.mp4".to_owned(), ..Default::default() }, "warp"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_out_of_range_is_refused_at_submit_with_its_reason() {
    let world = World::new();
    let cluster = world.start().await;
    for (mut request, says) in wrong() {
        if request.source.is_empty() {
            request.source = world.film().display().to_string();
        }
        let shown = format!("{request:?}");
        let error = cluster.submit(request).await.expect_err(&shown);
        assert_eq!(error.code(), Code::InvalidArgument, "{shown}: {error}");
        assert!(error.message().contains(says), "{says:?} in {:?} for {shown}", error.message());
    }
    let jobs = cluster.jobs().await.list(wire::ListRequest::default()).await.unwrap().into_inner().jobs;
    assert_eq!(jobs, [], "none of them became a job");
    cluster.stop().await.unwrap();
}
