//! Compaction and quota.

use super::*;
use etcd_client::{AlarmAction, AlarmOptions, AlarmType};

/// Reads `key` as it was at `revision`: etcd's words if it cannot.
async fn at(url: &str, key: &str, revision: i64) -> Result<Vec<u8>, String> {
    let options = GetOptions::new().with_revision(revision);
    let mut got = raw(url).await.get(key, Some(options)).await.map_err(|error| error.to_string())?;
    Ok(got.take_kvs().pop().map(|entry| entry.value().to_vec()).unwrap_or_default())
}

async fn revision(url: &str) -> i64 {
    raw(url).await.get("x", None).await.unwrap().header().unwrap().revision()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    let wait = async {
        while !holds().await {
            pause.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"));
}

#[tokio::test]
async fn the_leader_compacts_what_is_old_and_a_standby_nothing() {
    let server = EtcdServer::start();
    let url = server.url();
    let settings = |keep_revisions_ms| EtcdConfig {
        compact_every_ms: 50,
        keep_revisions_ms,
        ..config(&server, "history/")
    };
    let leader = EtcdState::connect(settings(400)).await.unwrap();
    let standby = EtcdState::connect(settings(0)).await.unwrap();
    let term = leader.campaign("a:1").await.unwrap();
    let mut campaign = standby.campaign("b:2");
    assert!(leader.write(&Batch::leading(term).put("a", "old")).await.is_done());
    let old = revision(&url).await;
    assert!(leader.write(&Batch::leading(term).put("a", "new")).await.is_done());
    let new = revision(&url).await;
    let written_at = tokio::time::Instant::now();
    // a standby that compacted would keep nothing: its campaign runs meanwhile
    tokio::select! {
        _ = &mut campaign => panic!("two leaders"),
        () = until("the old revision is gone", async || at(&url, "history/a", old).await.is_err()) => {}
    }
    assert!(written_at.elapsed() >= Duration::from_millis(350), "gone after {:?}", written_at.elapsed());
    let gone = at(&url, "history/a", old).await.unwrap_err();
    assert!(gone.contains("compacted"), "{gone}");
    // the newest revision is there whatever was compacted, and that is what a scan reads
    assert_eq!(at(&url, "history/a", new).await.unwrap(), b"new");
    assert_eq!(leader.scan("", None, 5).await.unwrap().entries, [("a".to_owned(), b"new".to_vec())]);

    // with the leader gone nobody compacts
    drop(leader);
    let before = revision(&url).await;
    raw(&url).await.put("other", "1", None).await.unwrap();
    tokio::time::timeout(Duration::from_millis(400), &mut campaign).await.expect_err("the lease is held");
    assert!(at(&url, "history/a", before).await.is_ok(), "a standby compacted");
}

/// The percentage that is used, once all of `written` bytes is counted: etcd counts what it has flushed, which it does ten
/// times a second, or less often where the disk has other work.
async fn counted(state: &EtcdState, written: u64) -> u64 {
    let mut now = state.room().await.unwrap().unwrap();
    until("etcd counts what was written", async || {
        now = state.room().await.unwrap().unwrap();
        now.used >= written.min(now.most)
    })
    .await;
    now.percent()
}

/// What an operator does when etcd is full: compact, defragment, disarm.
#[tokio::test]
async fn a_full_etcd_says_so_and_takes_writes_again_after_its_operator_made_room() {
    const QUOTA: u64 = 12 << 20;
    let server = EtcdServer::start_with(1, &[&format!("--quota-backend-bytes={QUOTA}")]);
    let settings = EtcdConfig { quota_bytes: QUOTA, compact_every_ms: 0, ..config(&server, "full/") };
    let state = EtcdState::connect(settings).await.unwrap();
    let term = state.campaign("a:1").await.unwrap();
    let room = state.room().await.unwrap().unwrap();
    assert!(room.percent() < 5 && room.most == QUOTA, "{room:?}");

    // the same key again and again: all but one value is history
    const LARGE: u64 = 1_000_000;
    let large = Batch::leading(term).put("large", vec![7; LARGE as usize]);
    let mut percents = Vec::new();
    let refused = loop {
        // a disk with other work may take longer for a megabyte than a call waits
        match write_until_known(&state, &large).await {
            WriteResult::Done => percents.push(counted(&state, (percents.len() as u64 + 1) * LARGE).await),
            WriteResult::Refused(error) => break error,
            other => panic!("{other:?}"),
        }
        assert!(percents.len() < 30, "it is never full: {percents:?}");
    };
    assert!(percents.is_sorted() && percents.iter().any(|p| (70..100).contains(p)), "{percents:?}");
    assert_eq!(refused.kind(), StateErrorKind::Full);
    for word in ["space exceeded", "compact", "defragment", "disarm", "quota"] {
        assert!(refused.to_string().contains(word), "{refused}");
    }
    let room = state.room().await.unwrap().unwrap();
    assert!(room.used >= room.most, "{room:?}");
    let (_, member) = state.members().await.pop().unwrap();
    assert!(member.as_ref().is_ok_and(|m| m.is_full && m.version.starts_with("3.")), "{member:?}");

    let mut operator = raw(&server.url()).await;
    let now = revision(&server.url()).await;
    let all = etcd_client::CompactionOptions::new().with_physical();
    operator.compact(now, Some(all)).await.unwrap();
    let compacted = state.room().await.unwrap().unwrap();
    assert!(compacted.used >= compacted.most, "the file is as large as before: {compacted:?}");
    operator.defragment().await.unwrap();
    let alarms = operator.alarm(AlarmAction::Get, AlarmType::Nospace, None).await.unwrap();
    for alarm in alarms.alarms() {
        let mut of = AlarmOptions::new();
        of.with_member(alarm.member_id());
        operator.alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(of)).await.unwrap();
    }
    let room = state.room().await.unwrap().unwrap();
    assert!(room.percent() < 20, "{room:?}");
    let written = write_until_known(&state, &Batch::leading(term).put("b", "2")).await;
    assert!(written.is_done(), "{written:?}");
}

#[tokio::test]
async fn the_room_is_that_of_the_members_that_answer() {
    let mut server = EtcdServer::start_with(3, &[]);
    let config = EtcdConfig { request_timeout_ms: 500, ..config(&server, "room/") };
    let state = EtcdState::connect(config).await.unwrap();
    assert!(state.members().await.iter().all(|(_, member)| member.is_ok()));
    server.kill(2);
    let members = state.members().await;
    let dead: Vec<bool> = members.iter().map(|(_, member)| member.is_err()).collect();
    assert_eq!(dead, [false, false, true]);
    assert!(state.room().await.unwrap().is_some());
    server.kill(1);
    server.kill(0);
    assert_eq!(state.room().await.unwrap_err().kind(), StateErrorKind::Unavailable);
}

#[tokio::test]
async fn what_a_compaction_freed_is_counted_although_nobody_writes_any_more() {
    let server = EtcdServer::start();
    let settings = EtcdConfig { compact_every_ms: 50, keep_revisions_ms: 0, ..config(&server, "idle/") };
    let state = EtcdState::connect(settings).await.unwrap();
    let mut foreign = raw(&server.url()).await;
    for n in 0..4 {
        foreign.put(format!("foreign/{n}"), vec![7; 1 << 20], None).await.unwrap();
    }
    let used = async || state.room().await.unwrap().unwrap().used;
    until("etcd counts what was written", async || used().await > 4 << 20).await;
    foreign.delete("foreign/", Some(etcd_client::DeleteOptions::new().with_prefix())).await.unwrap();
    // the election is the last write there is
    state.campaign("a:1").await.unwrap();
    until("etcd counts what was freed", async || used().await < 1 << 20).await;
}
