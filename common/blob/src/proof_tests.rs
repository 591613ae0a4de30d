//! The proof finds what stores get wrong: each quirk alone, over memory that does everything right.

use crate::proof::{Proof, Verdict, keeps_create_only, prove};
use crate::{BlobErrorKind, Blobs, Policy, Stores};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, stream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::sync::Arc;

/// A way in which real stores differ from what they claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Quirk {
    None,
    /// `If-None-Match` is not read: every create wins.
    CreateOverwrites,
    /// `If-None-Match` is refused.
    CreateRefused,
    /// `Content-Type` and `Cache-Control` are forgotten.
    HeadersDropped,
    /// A range begins a byte early.
    RangeShifted,
    /// What was just written is not listed yet.
    ListStale,
    /// No multipart upload.
    NoMultipart,
}

#[derive(Debug)]
struct Quirky {
    inner: InMemory,
    quirk: Quirk,
}

impl std::fmt::Display for Quirky {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Quirky({:?})", self.quirk)
    }
}

fn refused(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: "Quirky".to_owned() }
}

#[async_trait]
impl ObjectStore for Quirky {
    async fn put_opts(&self, to: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        match self.quirk {
            Quirk::CreateOverwrites => options.mode = PutMode::Overwrite,
            Quirk::CreateRefused if options.mode == PutMode::Create => return Err(refused("create")),
            Quirk::HeadersDropped => options.attributes = Default::default(),
            _ => {}
        }
        self.inner.put_opts(to, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        if self.quirk == Quirk::NoMultipart {
            return Err(refused("multipart"));
        }
        self.inner.put_multipart_opts(to, options).await
    }

    async fn get_opts(&self, from: &Path, mut options: GetOptions) -> Result<GetResult> {
        if let (Quirk::RangeShifted, Some(GetRange::Bounded(range))) = (self.quirk, &mut options.range)
            && range.start > 0
        {
            *range = range.start - 1..range.end - 1;
        }
        self.inner.get_opts(from, options).await
    }

    fn delete_stream(&self, names: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(names)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.quirk == Quirk::ListStale { stream::empty().boxed() } else { self.inner.list(prefix) }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn root(quirk: Quirk) -> Blobs {
    let policy = Policy { attempts: 2, first_pause_ms: 1, longest_pause_ms: 1, ..Policy::default() };
    let decorate = move |_| Arc::new(Quirky { inner: InMemory::new(), quirk }) as Arc<dyn ObjectStore>;
    Stores::decorated(policy, decorate).open("memory://proof/below").unwrap()
}

/// The checks that did not end well, by name.
fn not_good(proofs: &[Proof]) -> Vec<(&'static str, Verdict)> {
    proofs.iter().filter(|p| p.verdict != Verdict::Good).map(|p| (p.what, p.verdict)).collect()
}

#[tokio::test]
async fn each_quirk_is_found_by_its_check() {
    let unsigned = ("signed", Verdict::Lacking);
    let cases: [(Quirk, &[(&str, Verdict)]); 7] = [
        (Quirk::None, &[unsigned]),
        (Quirk::CreateOverwrites, &[("create-only", Verdict::Bad), unsigned]),
        (Quirk::CreateRefused, &[("create-only", Verdict::Bad), unsigned]),
        (Quirk::HeadersDropped, &[("headers", Verdict::Lacking), unsigned]),
        (Quirk::RangeShifted, &[("range", Verdict::Bad), unsigned]),
        (Quirk::ListStale, &[unsigned, ("list", Verdict::Bad)]),
        (Quirk::NoMultipart, &[("multipart", Verdict::Lacking), unsigned]),
    ];
    for (quirk, expected) in cases {
        let root = root(quirk);
        let proofs = prove(&root, "doctor").await;
        assert_eq!(not_good(&proofs), expected, "{quirk:?}: {proofs:?}");
        if quirk != Quirk::ListStale {
            assert_eq!(root.list("").await.unwrap(), [], "{quirk:?}: something was left behind");
        }
    }
}

#[tokio::test]
async fn a_store_that_overwrites_is_refused_at_the_start() {
    for quirk in [Quirk::CreateOverwrites, Quirk::CreateRefused] {
        let error = keeps_create_only(&root(quirk), "start").await.unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::Invalid);
        let text = error.to_string();
        assert!(text.contains("memory://proof/below") && text.contains("AWS_CONDITIONAL_PUT"), "{text}");
    }
    keeps_create_only(&root(Quirk::HeadersDropped), "start").await.unwrap();
}

#[tokio::test]
async fn a_directory_is_proven_too_and_left_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let root = Stores::default().open(directory.path().to_str().unwrap()).unwrap();
    root.put_replace("kept", Bytes::from_static(b"x"), crate::PutOptions::default()).await.unwrap();
    let proofs = prove(&root, "doctor").await;
    assert_eq!(not_good(&proofs), [("signed", Verdict::Lacking)], "{proofs:?}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}
