//! What every state store and its leadership must do, as one suite: run over memory, embedded and a real etcd.
//!
//! It is ordinary code that says in words what an implementation got wrong. Each check gets a state of its own from the
//! [`Factory`], so that none depends on what another left.

use super::{Batch, Leadership, MAX_BATCH_OPERATIONS, StateError, StateErrorKind, StateStore, WriteResult};
use futures::future::BoxFuture;
use reelmill_common::FencingTerm;
use std::future::Future;
use std::time::Duration;

/// One contender: both ports of the same state.
pub trait Contender: StateStore + Leadership {}
impl<T: StateStore + Leadership> Contender for T {}

/// Makes what the suite runs over.
pub trait Factory: Sync {
    /// An empty state.
    fn state(&self) -> BoxFuture<'_, Result<Box<dyn TestState>, StateError>>;
}

/// One state that contenders share.
pub trait TestState: Send + Sync {
    /// Another contender.
    fn contender(&self) -> BoxFuture<'_, Result<Box<dyn Contender>, StateError>>;
    /// Takes the leadership from whoever has it, without its doing.
    fn depose(&self) -> BoxFuture<'_, Result<(), StateError>>;
    /// Ends every contender's process, as it were, and comes back with what is durable; the contenders made before are
    /// dropped by then. `None`: this state does not outlive its process.
    fn restart(self: Box<Self>) -> BoxFuture<'static, Result<Option<Box<dyn TestState>>, StateError>>;
}

/// Why an implementation does not conform.
#[derive(Debug, thiserror::Error)]
pub enum NonConformance {
    /// A call failed that must not.
    #[error(transparent)]
    Failed(#[from] StateError),
    /// It did something else.
    #[error("{0}")]
    Wrong(String),
}

type Checked = Result<(), NonConformance>;

/// The longest any single step may take; far beyond what one needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs every check.
pub async fn run(factory: &dyn Factory) -> Checked {
    scans_in_order(factory.state().await?.as_ref()).await?;
    writes_all_or_nothing(factory.state().await?.as_ref()).await?;
    takes_a_batch_again(factory.state().await?.as_ref()).await?;
    refuses_what_breaks_a_limit(factory.state().await?.as_ref()).await?;
    lets_only_the_leader_write(factory.state().await?.as_ref()).await?;
    fences_the_deposed(factory.state().await?.as_ref()).await?;
    elects_one_of_many(factory.state().await?.as_ref()).await?;
    serves_many_writes_in_order(factory.state().await?.as_ref()).await?;
    tells_its_room(factory.state().await?.as_ref()).await?;
    outlives_a_restart(factory.state().await?).await
}

fn must(holds: bool, what: &str) -> Checked {
    if holds { Ok(()) } else { Err(NonConformance::Wrong(what.to_owned())) }
}

fn must_be(result: &WriteResult, wanted: &str, what: &str) -> Checked {
    let got = match result {
        WriteResult::Done => "done",
        WriteResult::GuardFailed => "guard failed",
        WriteResult::Refused(_) => "refused",
        WriteResult::Unknown(_) => "unknown",
    };
    must(got == wanted, &format!("{what}: {result:?}, not {wanted}"))
}

async fn soon<T>(what: &str, step: impl Future<Output = T>) -> Result<T, NonConformance> {
    let late = |_| NonConformance::Wrong(format!("{what}: not within {} s", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, step).await.map_err(late)
}

async fn lead(contender: &dyn Contender, address: &str) -> Result<FencingTerm, NonConformance> {
    Ok(soon("a campaign", contender.campaign(address)).await??)
}

async fn scan_all(store: &dyn Contender, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, NonConformance> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = store.scan(prefix, after, 7).await?;
        must(page.entries.len() <= 7, "a page is larger than asked for")?;
        all.extend(page.entries);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(all),
        }
    }
}

async fn scans_in_order(state: &dyn TestState) -> Checked {
    let leader = state.contender().await?;
    let term = lead(leader.as_ref(), "a:1").await?;
    let mut keys: Vec<String> = (0..40).map(|i| format!("jobs/{:02}", (i * 17) % 40)).collect();
    keys.extend(["jobs", "jobs0", "jobs/", "idem/x", "commits/z", "jobs/05/x", "jobs/é"].map(str::to_owned));
    let batch = keys.iter().fold(Batch::leading(term), |batch, key| batch.put(key, key.as_bytes()));
    must_be(&leader.write(&batch).await, "done", "a first batch")?;
    keys.retain(|key| key.starts_with("jobs/"));
    keys.sort();
    let found = scan_all(leader.as_ref(), "jobs/").await?;
    let names: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
    must(names == keys, &format!("a scan by pages gave {names:?}"))?;
    must(found.iter().all(|(key, value)| key.as_bytes() == value), "a scan mixed up the values")?;
    let page = leader.scan("jobs/", Some("jobs/38".to_owned()), 100).await?;
    must(
        page.entries.len() == 2 && page.next.is_none(),
        "a scan after a key gave something else than the rest",
    )?;
    let before = leader.scan("jobs/", Some("a".to_owned()), 1).await?;
    must(before.entries.len() == 1 && before.next.as_deref() == Some("jobs/"), "a page of one is wrong")?;
    must(leader.scan("nothing/", None, 5).await?.entries.is_empty(), "a scan found what is not there")?;
    let everything = scan_all(leader.as_ref(), "").await?;
    must(everything.len() == 47, "a scan of everything shows more or less than was written")
}

async fn writes_all_or_nothing(state: &dyn TestState) -> Checked {
    let leader = state.contender().await?;
    let term = lead(leader.as_ref(), "a:1").await?;
    must_be(&leader.write(&Batch::leading(term).put("a", "1").put("b", "1")).await, "done", "two puts")?;
    let swap = Batch::leading(term).put("a", "2").put("c", "2").delete("b").delete("never-there");
    must_be(&leader.write(&swap).await, "done", "puts and deletes")?;
    let expected = vec![("a".to_owned(), b"2".to_vec()), ("c".to_owned(), b"2".to_vec())];
    must(scan_all(leader.as_ref(), "").await? == expected, "a batch was not applied as a whole")?;
    let stale = Batch::leading(FencingTerm(term.0 - 1)).put("a", "3").put("d", "3").delete("c");
    must_be(&leader.write(&stale).await, "guard failed", "a batch of an older term")?;
    let ahead = Batch::leading(FencingTerm(term.0 + 1)).put("a", "3");
    must_be(&leader.write(&ahead).await, "guard failed", "a batch of a term that is not yet")?;
    must(scan_all(leader.as_ref(), "").await? == expected, "a batch whose guard failed left something")?;
    must_be(&leader.write(&Batch::leading(term).put("empty", "")).await, "done", "an empty value")?;
    must(leader.scan("empty", None, 1).await?.entries.len() == 1, "an empty value was not kept")
}

async fn takes_a_batch_again(state: &dyn TestState) -> Checked {
    let leader = state.contender().await?;
    let term = lead(leader.as_ref(), "a:1").await?;
    let batch = Batch::leading(term).put("a", "1").delete("b");
    for what in ["a batch", "the same batch again"] {
        must_be(&leader.write(&batch).await, "done", what)?;
        let found = scan_all(leader.as_ref(), "").await?;
        must(found == [("a".to_owned(), b"1".to_vec())], &format!("{what} left {found:?}"))?;
    }
    Ok(())
}

async fn refuses_what_breaks_a_limit(state: &dyn TestState) -> Checked {
    let leader = state.contender().await?;
    let term = lead(leader.as_ref(), "a:1").await?;
    let filled =
        |n: usize| (0..n).fold(Batch::leading(term), |batch, i| batch.put(format!("k{i}"), vec![7; 5_000]));
    must_be(&leader.write(&filled(MAX_BATCH_OPERATIONS)).await, "done", "the largest batch")?;
    must_be(&leader.write(&filled(MAX_BATCH_OPERATIONS + 1)).await, "refused", "a larger batch")?;
    let usurping = Batch::leading(term).put("leader", "mine");
    match leader.write(&usurping).await {
        WriteResult::Refused(error) => {
            must(error.kind() == StateErrorKind::Invalid, "a wrong kind of refusal")?
        }
        other => must(false, &format!("the leader's own key could be written: {other:?}"))?,
    }
    must_be(
        &leader.write(&Batch::leading(term).put("after", "")).await,
        "done",
        "a batch after a refused one",
    )
}

async fn lets_only_the_leader_write(state: &dyn TestState) -> Checked {
    let (first, second) = (state.contender().await?, state.contender().await?);
    must(first.leader().await?.is_none(), "somebody leads before anybody campaigned")?;
    let term = lead(first.as_ref(), "a:1").await?;
    for contender in [&first, &second] {
        let leader = contender.leader().await?;
        must(
            leader.is_some_and(|l| l.term == term && l.address == "a:1"),
            "a contender does not know the leader",
        )?;
    }
    let mut waiting = second.campaign("b:2");
    let early = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
    must(early.is_err(), "a second contender won while the first leads")?;
    must_be(&first.write(&Batch::leading(term).put("a", "1")).await, "done", "the leader's batch")?;
    first.resign().await?;
    soon("the end of a resigned term", first.lost(term)).await?;
    let next = soon("the second contender's term", waiting).await??;
    must(next > term, &format!("term {} followed term {}", next.0, term.0))?;
    must_be(
        &first.write(&Batch::leading(term).put("a", "2")).await,
        "guard failed",
        "a resigned leader's batch",
    )?;
    must_be(&second.write(&Batch::leading(next).put("b", "2")).await, "done", "the new leader's batch")?;
    let found = scan_all(second.as_ref(), "").await?;
    must(found.len() == 2 && found[0].1 == b"1", "the state after a change of leaders is wrong")?;
    let leader = first.leader().await?;
    must(
        leader.is_some_and(|l| l.term == next && l.address == "b:2"),
        "the old leader does not know the new one",
    )
}

async fn fences_the_deposed(state: &dyn TestState) -> Checked {
    let (first, second) = (state.contender().await?, state.contender().await?);
    let term = lead(first.as_ref(), "a:1").await?;
    must_be(&first.write(&Batch::leading(term).put("a", "1")).await, "done", "the leader's batch")?;
    state.depose().await?;
    let next = lead(second.as_ref(), "b:2").await?;
    must(next > term, "a new term is not greater than the deposed one")?;
    // the first one may not have heard of it
    must_be(
        &first.write(&Batch::leading(term).put("a", "2")).await,
        "guard failed",
        "a deposed leader's batch",
    )?;
    must_be(&second.write(&Batch::leading(next).put("c", "3")).await, "done", "the new leader's batch")?;
    soon("a deposed leader's noticing", first.lost(term)).await?;
    let found = scan_all(second.as_ref(), "").await?;
    must(found.len() == 2 && found[0].1 == b"1", "a deposed leader changed the state")?;
    // resigning a term that is over must not harm the one that is
    first.resign().await?;
    must_be(
        &second.write(&Batch::leading(next).put("d", "4")).await,
        "done",
        "a batch after another's resignation",
    )
}

async fn elects_one_of_many(state: &dyn TestState) -> Checked {
    let mut contenders = Vec::new();
    for _ in 0..5 {
        contenders.push(state.contender().await?);
    }
    let mut terms = Vec::new();
    let mut waiting: Vec<_> = contenders
        .iter()
        .enumerate()
        .map(|(i, contender)| {
            Box::pin(async move { (i, contender.campaign(&format!("c:{i}")).await) })
                as BoxFuture<'_, (usize, Result<FencingTerm, StateError>)>
        })
        .collect();
    while !waiting.is_empty() {
        let ((winner, term), _, rest) = soon("an election", futures::future::select_all(waiting)).await?;
        let term = term?;
        must(terms.last().is_none_or(|last| *last < term), "terms do not grow")?;
        for (i, contender) in contenders.iter().enumerate() {
            let wanted = if i == winner { "done" } else { "guard failed" };
            let batch = Batch::leading(term).put(format!("{term:?}"), "");
            must_be(
                &contender.write(&batch).await,
                wanted,
                "a batch under a term that may not be the contender's",
            )?;
        }
        terms.push(term);
        waiting = rest;
        contenders[winner].resign().await?;
    }
    must(terms.len() == 5, "not every contender came to lead")
}

async fn serves_many_writes_in_order(state: &dyn TestState) -> Checked {
    let leader = state.contender().await?;
    let term = lead(leader.as_ref(), "a:1").await?;
    for n in 0..50_u32 {
        let batch = Batch::leading(term).put("latest", n.to_be_bytes()).put(format!("log/{n:04}"), "");
        must_be(&leader.write(&batch).await, "done", "one of many batches")?;
        let latest = leader.scan("latest", None, 1).await?;
        must(
            latest.entries.first().is_some_and(|(_, v)| *v == n.to_be_bytes()),
            "a scan missed an acknowledged write",
        )?;
    }
    // sent together they may be taken in any order, but each as a whole
    let batches: Vec<Batch> = (0..30_u8)
        .map(|n| Batch::leading(term).put("one", [n]).put("two", [n]).delete(format!("log/{n:04}")))
        .collect();
    let results = futures::future::join_all(batches.iter().map(|batch| leader.write(batch))).await;
    for result in &results {
        must_be(result, "done", "one of many batches sent together")?;
    }
    let (one, two) = (leader.scan("one", None, 1).await?, leader.scan("two", None, 1).await?);
    must(one.entries[0].1 == two.entries[0].1, "two batches were mixed")?;
    must(scan_all(leader.as_ref(), "log/").await?.len() == 20, "some deletes were lost")
}

/// Where a store is bounded it says so at any time, to a standby as well, and more lies in it after more was written.
async fn tells_its_room(state: &dyn TestState) -> Checked {
    let (leader, standby) = (state.contender().await?, state.contender().await?);
    let before = standby.room().await?;
    let term = lead(leader.as_ref(), "a:1").await?;
    for n in 0..8 {
        let batch = Batch::leading(term).put(format!("large/{n}"), vec![n; 500_000]);
        must_be(&leader.write(&batch).await, "done", "a large batch")?;
    }
    let Some(before) = before else {
        return must(leader.room().await?.is_none(), "a store is bounded at one time and not at another");
    };
    must(before.used <= before.most, "an empty store is over its bound")?;
    // not with the write itself: etcd and file systems count what was flushed
    soon("the room that 4 MB took up", async {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while leader.room().await?.is_some_and(|after| after.used < before.used + 3_000_000) {
            look.tick().await;
        }
        Ok::<(), StateError>(())
    })
    .await??;
    must(standby.room().await?.is_some(), "a standby is not told the room")
}

async fn outlives_a_restart(state: Box<dyn TestState>) -> Checked {
    let leader = state.contender().await?;
    let term = lead(leader.as_ref(), "a:1").await?;
    must_be(&leader.write(&Batch::leading(term).put("a", "1")).await, "done", "a batch before a restart")?;
    drop(leader);
    let Some(state) = state.restart().await? else {
        return Ok(());
    };
    let leader = state.contender().await?;
    let next = lead(leader.as_ref(), "a:1").await?;
    must(next > term, "the term did not grow across a restart")?;
    must(
        scan_all(leader.as_ref(), "").await? == [("a".to_owned(), b"1".to_vec())],
        "the state changed in a restart",
    )?;
    must_be(
        &leader.write(&Batch::leading(term).put("a", "2")).await,
        "guard failed",
        "a batch of before the restart",
    )
}
