//! Is an object what was written there? For whoever would call its writer wrong if it is not.
//!
//! A body can come damaged by what lies between the store and its reader, and a store in trouble can say that nothing is
//! there. So what is not as it was written is looked at again and again, each time from the store and with longer pauses,
//! and it is a finding only when the store tells the very same thing every time. What differs between two looks, and what
//! cannot be looked at, is an error that says nothing of the writer.

use crate::blobs::Head;
use crate::error::{BlobError, BlobErrorKind};
use crate::source::place;
use crate::transfer;
use crate::{Blobs, SignedRequests, Stores};
use bytes::Bytes;
use object_store::GetOptions;
use reelmill_common::Sha256;

/// Looks in a row that must agree before something is a finding.
pub const LOOKS: u32 = 4;
/// Looks in all.
const LOOKS_MAX: u32 = 8;
/// The first pause is as long as that of an operation after so many attempts: trouble that is not over at once may be
/// over in seconds.
const PAUSES_BEGIN: u32 = 3;

/// What a store has under a name, every time it is asked, in place of what was written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Finding {
    /// Nothing.
    #[error("nothing lies there")]
    Absent,
    /// An object of another size.
    #[error("{} bytes lie there", .0.bytes)]
    OfAnotherSize(Head),
    /// An object of that size with other bytes.
    #[error("bytes with SHA-256 {1} lie there")]
    Other(Head, Sha256),
}

/// Reads the object that `url` names, with `requests` if there is no credential of its store, and says whether it has
/// `bytes` bytes and this hash.
///
/// # Errors
/// It cannot be looked at, or is told differently each time. A directory that is not there is no finding either: a disk
/// may not be mounted here.
pub async fn witness(
    stores: &Stores,
    url: &str,
    requests: Option<SignedRequests>,
    bytes: u64,
    sha256: Sha256,
) -> Result<Result<Bytes, Finding>, BlobError> {
    let (blobs, name) = place(stores, url, requests)?;
    blobs.witness(&name, bytes, sha256).await
}

impl Blobs {
    /// The whole of `name` if it is what was written, or what is there instead.
    async fn witness(
        &self,
        name: &str,
        bytes: u64,
        sha256: Sha256,
    ) -> Result<Result<Bytes, Finding>, BlobError> {
        let mut last: Option<Finding> = None;
        let mut agree = 0;
        let mut trouble = None;
        for look in 1..=LOOKS_MAX {
            match self.look(name, bytes, sha256).await {
                Ok(Ok(content)) => return Ok(Ok(content)),
                Ok(Err(finding)) => {
                    agree = if last.as_ref() == Some(&finding) { agree + 1 } else { 1 };
                    tracing::debug!(look, %finding, "not what was written, looking again");
                    if agree == LOOKS {
                        return Ok(Err(finding));
                    }
                    last = Some(finding);
                }
                Err(error) if error.retryable() => trouble = Some(error),
                Err(error) => return Err(error),
            }
            if look < LOOKS_MAX {
                self.policy().pause(PAUSES_BEGIN + look).await;
            }
        }
        Err(trouble.unwrap_or_else(|| {
            let message = format!("{} is told differently each time it is read", self.shown(name));
            BlobError::new(BlobErrorKind::Unavailable, message)
        }))
    }

    /// One look: nothing is read of an object that has another size.
    async fn look(
        &self,
        name: &str,
        bytes: u64,
        sha256: Sha256,
    ) -> Result<Result<Bytes, Finding>, BlobError> {
        let (path, what) = (self.path(name)?, self.shown(name));
        let opened = transfer::open(self.store(), &path, &what, GetOptions::default(), self.policy()).await;
        let opened = match opened {
            Err(error) if error.kind() == BlobErrorKind::NotFound => return Ok(Err(Finding::Absent)),
            opened => opened?,
        };
        let head = Head::of(&opened.meta);
        if head.bytes != bytes {
            return Ok(Err(Finding::OfAnotherSize(head)));
        }
        let content = transfer::content(opened, &what, self.policy()).await?;
        let found = Sha256::of(&content);
        Ok(if found == sha256 { Ok(content) } else { Err(Finding::Other(head, found)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PutOptions;
    use crate::chaos::{ChaosRates, ChaosStore};
    use crate::policy::Policy;
    use crate::quirky::{Quirk, Quirky};
    use object_store::ObjectStore;
    use object_store::memory::InMemory;
    use std::sync::Arc;

    const URL: &str = "memory://vod/package/720p/000001.m4s";

    fn written() -> Bytes {
        Bytes::from((0..40_000_u32).map(|i| (i % 251) as u8).collect::<Vec<_>>())
    }

    /// A store with a quirk, and what was written there.
    async fn quirky(content: Bytes) -> (Quirky, Stores) {
        let quirky = Quirky::new(Arc::new(InMemory::new()), Quirk::None);
        let decorating = quirky.clone();
        let stores = Stores::decorated(Policy::default(), move |_| Arc::new(decorating.clone()));
        let root = stores.open("memory://vod/package").unwrap();
        root.put_replace("720p/000001.m4s", content, PutOptions::default()).await.unwrap();
        (quirky, stores)
    }

    async fn look(stores: &Stores) -> Result<Result<Bytes, Finding>, BlobError> {
        let content = written();
        witness(stores, URL, None, content.len() as u64, Sha256::of(&content)).await
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_that_come_damaged_for_a_while_are_no_finding() {
        for damaged in 0..LOOKS {
            let (quirky, stores) = quirky(written()).await;
            quirky.damage_bodies(damaged);
            assert_eq!(look(&stores).await.unwrap(), Ok(written()), "{damaged} damaged ones");
            assert_eq!(quirky.bodies_damaged(), damaged);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn damage_that_is_another_each_time_is_trouble_and_no_finding() {
        let (quirky, stores) = quirky(written()).await;
        quirky.damage_bodies(1_000);
        let error = look(&stores).await.unwrap_err();
        assert!(error.to_string().contains("told differently each time"), "{error}");
        assert_eq!(quirky.bodies_damaged(), LOOKS_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_alike_every_time_is_a_finding() {
        let mut other = written().to_vec();
        other[7] ^= 1;
        for (content, said) in [(other, "bytes with SHA-256 "), (vec![1; 7], "7 bytes lie there")] {
            let (_, stores) = quirky(content.into()).await;
            let finding = look(&stores).await.unwrap().unwrap_err();
            assert!(finding.to_string().starts_with(said), "{finding}");
        }
        assert_eq!(look(&Stores::default()).await.unwrap(), Err(Finding::Absent));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_in_trouble_makes_no_finding() {
        let content = written();
        for seed in 0..200 {
            let below: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let chaos = ChaosStore::new(Arc::clone(&below), seed, ChaosRates::default());
            let decorating = chaos.clone();
            let stores = Stores::decorated(Policy::default(), move |_| Arc::new(decorating.clone()));
            let root = stores.open("memory://vod/package").unwrap();
            root.put_replace("720p/000001.m4s", content.clone(), PutOptions::default()).await.unwrap();
            chaos.set_rates(ChaosRates::each(120));
            match look(&stores).await {
                Ok(seen) => assert_eq!(seen, Ok(content.clone()), "seed {seed}"),
                Err(error) => assert!(error.retryable(), "seed {seed}: {error}"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_is_not_mounted_says_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path().join("720p");
        let url = url::Url::from_file_path(here.join("000001.m4s")).unwrap();
        let stores = Stores::default();
        let look = async || witness(&stores, url.as_str(), None, 3, Sha256::of(b"abc")).await;
        assert_eq!(look().await.unwrap_err().kind(), BlobErrorKind::NotFound);
        std::fs::create_dir(&here).unwrap();
        assert_eq!(look().await.unwrap(), Err(Finding::Absent));
        std::fs::write(here.join("000001.m4s"), "abc").unwrap();
        assert_eq!(look().await.unwrap(), Ok(Bytes::from("abc")));
    }
}
