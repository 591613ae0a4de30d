//! What every store must do, as one suite: run over local directories, memory and, where there is one, S3.
//!
//! It is ordinary code that says in words what a store got wrong, so that a start-up check can run it, too. It writes
//! and deletes only under the names it makes up below the root it is given.

use crate::blobs::{Blobs, Entry, PutOptions, PutOutcome};
use crate::error::{BlobError, BlobErrorKind};
use bytes::Bytes;
use reelmill_common::Sha256;

/// Why a store does not conform.
#[derive(Debug, thiserror::Error)]
pub enum NonConformance {
    /// An operation failed that must not.
    #[error(transparent)]
    Failed(#[from] BlobError),
    /// It did something else.
    #[error("{0}")]
    Wrong(String),
}

fn must(holds: bool, what: &str) -> Result<(), NonConformance> {
    if holds { Ok(()) } else { Err(NonConformance::Wrong(what.to_owned())) }
}

fn must_fail<T>(result: Result<T, BlobError>, kind: BlobErrorKind, what: &str) -> Result<(), NonConformance> {
    match result {
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => {
            Err(NonConformance::Wrong(format!("{what}: {:?} instead of {kind:?} ({error})", error.kind())))
        }
        Ok(_) => Err(NonConformance::Wrong(format!("{what}: succeeded instead of {kind:?}"))),
    }
}

/// Runs every check below `root`, which must be empty, and leaves it empty.
pub async fn conformance(root: &Blobs) -> Result<(), NonConformance> {
    must(root.list("").await?.is_empty(), "the suite needs an empty root")?;
    creates_once(root).await?;
    one_of_many_creators_wins(root).await?;
    replaces(root).await?;
    reads_ranges(root).await?;
    verifies(root).await?;
    lists(root).await?;
    refuses_names(root).await?;
    must(root.list("").await?.is_empty(), "what was deleted is still listed")
}

async fn creates_once(root: &Blobs) -> Result<(), NonConformance> {
    let options =
        PutOptions { content_type: Some("video/iso.segment"), cache_control: Some("max-age=31536000") };
    let (ours, others) = (Bytes::from_static(b"first"), Bytes::from_static(b"second"));
    let created = root.put_create("a/b/000001.m4s", ours.clone(), options).await?;
    must(created == PutOutcome::Created, "a create of a new name was not reported as created")?;
    for (content, same) in [(others, false), (ours.clone(), true)] {
        match root.put_create("a/b/000001.m4s", content, options).await? {
            PutOutcome::AlreadyThere(found) => {
                must(
                    found.content == ours && found.sha256 == Sha256::of(&ours),
                    "a create overwrote an object",
                )?;
                must(found.same == same, "a second create misjudged whether the bytes are the same")?;
            }
            PutOutcome::Created => must(false, "a second create was reported as created")?,
        }
    }
    root.delete("a/b/000001.m4s").await?;
    Ok(root.delete("a/b/000001.m4s").await?)
}

async fn one_of_many_creators_wins(root: &Blobs) -> Result<(), NonConformance> {
    let contents: Vec<Bytes> = (0..16_u8).map(|writer| Bytes::from(vec![writer; 50_000])).collect();
    let puts = contents.iter().map(|content| root.put_create("race", content.clone(), PutOptions::default()));
    let outcomes = futures::future::try_join_all(puts).await?;
    let winners: Vec<usize> = (0..outcomes.len()).filter(|&i| outcomes[i] == PutOutcome::Created).collect();
    must(winners.len() == 1, &format!("{} of 16 creators of one name won", winners.len()))?;
    let (content, _) = root.get("race").await?;
    must(content == contents[winners[0]], "the object does not hold the winner's bytes")?;
    Ok(root.delete("race").await?)
}

async fn replaces(root: &Blobs) -> Result<(), NonConformance> {
    let versions = [Bytes::from_static(b"one"), Bytes::from_static(b"two, longer")];
    let mut seen = Vec::new();
    for version in &versions {
        root.put_replace("master.m3u8", version.clone(), PutOptions::default()).await?;
        let (content, head) = root.get("master.m3u8").await?;
        must(content == version, "a replaced object did not show its new content")?;
        must(head == root.head("master.m3u8").await?, "get and head tell different things")?;
        must(head.bytes == version.len() as u64, "head tells a wrong size")?;
        seen.push(head.version);
    }
    must(seen[0].is_some() && seen[0] != seen[1], "the version does not change with the object")?;
    Ok(root.delete("master.m3u8").await?)
}

async fn reads_ranges(root: &Blobs) -> Result<(), NonConformance> {
    let content: Bytes = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
    root.put_replace("film", content.clone(), PutOptions::default()).await?;
    let ranges = [90_000..100_000, 0..1, 5..5, 1..70_000, 10..20];
    for (range, got) in ranges.iter().zip(root.get_ranges("film", &ranges).await?) {
        must(got == content[range.start as usize..range.end as usize], "a range has wrong bytes")?;
    }
    must(root.get_range("film", 99_999..100_000).await? == content[99_999..], "the last byte is wrong")?;
    must_fail(
        root.get_range("film", 99_999..100_001).await,
        BlobErrorKind::Invalid,
        "a range beyond the end",
    )?;
    Ok(root.delete("film").await?)
}

async fn verifies(root: &Blobs) -> Result<(), NonConformance> {
    let content = Bytes::from_static(b"report");
    root.put_replace("report.pb", content.clone(), PutOptions::default()).await?;
    let sha256 = Sha256::of(&content);
    must(root.get_verified("report.pb", 6, sha256).await? == content, "verified bytes differ")?;
    let wrong = root.get_verified("report.pb", 6, Sha256::of(b"other")).await;
    must_fail(wrong, BlobErrorKind::Changed, "bytes of another hash")?;
    must_fail(
        root.get_verified("report.pb", 5, sha256).await,
        BlobErrorKind::Changed,
        "bytes of another size",
    )?;
    root.delete("report.pb").await?;
    must_fail(root.get("report.pb").await, BlobErrorKind::NotFound, "reading what is not there")?;
    must_fail(root.head("report.pb").await, BlobErrorKind::NotFound, "looking at what is not there")
}

async fn lists(root: &Blobs) -> Result<(), NonConformance> {
    let names = ["v/000002.m4s", "v/000001.m4s", "v/init.mp4", "va/000001.m4s"];
    for name in names {
        root.put_replace(name, Bytes::from(name), PutOptions::default()).await?;
    }
    let listed = root.list("v").await?;
    let expected: Vec<Entry> = ["v/000001.m4s", "v/000002.m4s", "v/init.mp4"]
        .map(|name| Entry { name: name.to_owned(), bytes: name.len() as u64 })
        .into();
    must(listed == expected, &format!("the listing of v/ is {listed:?}"))?;
    must(root.list("").await?.len() == names.len(), "the listing of all is not whole")?;
    must(root.list("nothing").await?.is_empty(), "an empty prefix lists something")?;
    must(root.below("v")?.list("").await?.len() == 3, "a root below the root lists something else")?;
    for name in names {
        root.delete(name).await?;
    }
    Ok(())
}

async fn refuses_names(root: &Blobs) -> Result<(), NonConformance> {
    for name in ["", "/a", "a/", "a//b", "../a", "a/../b", ".", "a\n", "a#1"] {
        must_fail(root.head(name).await, BlobErrorKind::Invalid, &format!("the name {name:?}"))?;
    }
    Ok(())
}
