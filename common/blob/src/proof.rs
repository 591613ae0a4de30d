//! What a store really does, found out by doing it: for `reelmill doctor --store URL` and for the start of a
//! coordinator.
//!
//! Stores that speak S3 differ where it hurts: one ignores `If-None-Match` and overwrites, another drops cache headers,
//! wants multipart parts of equal size or refuses signed requests. Each check here does the thing on objects of its own
//! names, compares bytes, and cleans up behind itself.

use crate::blobs::{Blobs, PutOptions, PutOutcome};
use crate::error::{BlobError, BlobErrorKind};
use crate::sign::SignedContent;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutPayload};
use reelmill_common::Sha256;
use reelmill_common::record::Placement;
use std::fmt;
use std::time::{Duration, Instant};

/// How a check ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It does what is needed.
    Good,
    /// Something is missing that can be done without; the text says what that costs.
    Lacking,
    /// Reelmill cannot use this store as it is; the text says what to do.
    Bad,
}

/// One check and its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proof {
    /// What was tried: `round trip`, `range`, …
    pub what: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// For a person.
    pub text: String,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.text)
    }
}

/// What a check found: it holds, it is lacking, or it is wrong.
enum Found {
    Good(String),
    Lacking(String),
    Bad(String),
}

/// How many writers race for one name.
const RACERS: u8 = 8;
/// Parts of a multipart upload but the last: of equal size, as Cloudflare R2 demands, and of the least size that S3
/// takes, in bytes.
const PART: usize = 5 << 20;
/// The last part, in bytes.
const LAST_PART: usize = 1 << 10;
/// Objects written and read to measure speed, and the size of each in bytes: about one segment of a 1080p rung.
const SPEED_OBJECTS: usize = 4;
const SPEED_BYTES: usize = 2 << 20;
/// How long a signed request may take and is valid.
const SIGNED_FOR: Duration = Duration::from_secs(60);

/// Does everything Reelmill needs of a store once, below `root`, and says how each went. Objects whose names begin with
/// `name` are written and deleted; nothing else is touched. A first write that fails ends it: the rest would only
/// repeat the reason.
pub async fn prove(root: &Blobs, name: &str) -> Vec<Proof> {
    let bench = Bench { root, name };
    let mut proofs = vec![proof("round trip", bench.round_trip().await)];
    if proofs[0].verdict == Verdict::Bad {
        return proofs;
    }
    proofs.push(proof("range", bench.range().await));
    let create_only = bench.create_only().await;
    let creates_once = matches!(create_only, Ok(Found::Good(_)));
    proofs.push(proof("create-only", create_only));
    proofs.push(proof("headers", bench.headers().await));
    proofs.push(proof("multipart", bench.multipart().await));
    proofs.push(proof("signed", bench.signed(creates_once, SIGNED_FOR).await));
    proofs.push(proof("list", bench.list().await));
    proofs.push(proof("speed", bench.speed().await));
    if let Err(error) = bench.clean().await {
        proofs.push(Proof { what: "delete", verdict: Verdict::Bad, text: error.to_string() });
    }
    proofs
}

/// How media can be published to this store: at its final name at once, where a create-only put keeps from overwriting;
/// else by way of copies. What media rests on, and so asked at each start.
pub async fn placement(root: &Blobs, name: &str) -> Result<Placement, BlobError> {
    let bench = Bench { root, name };
    let found = bench.create_only().await;
    let cleaned = bench.clean().await;
    let placement = match found? {
        Found::Good(_) => Placement::Direct,
        Found::Lacking(_) => Placement::Promoted,
        Found::Bad(text) => {
            let message = format!("cannot publish to {}: {text}", root.root());
            return Err(BlobError::new(BlobErrorKind::Invalid, message));
        }
    };
    cleaned.map(|()| placement)
}

/// Can workers be given signed requests, valid for so long, instead of a credential of this store? What a cluster that signs
/// asks at its start, with the writes that its jobs will need. A clock that is wrong by more shows here, too.
pub async fn signs(
    root: &Blobs,
    name: &str,
    placement: Placement,
    valid_for: Duration,
) -> Result<(), BlobError> {
    let bench = Bench { root, name };
    let found = bench.signed(placement == Placement::Direct, valid_for).await;
    let cleaned = bench.clean().await;
    match found? {
        Found::Good(_) => cleaned,
        Found::Lacking(text) | Found::Bad(text) => Err(BlobError::new(
            BlobErrorKind::Invalid,
            format!("grants for {} cannot be signed: {text}; use --grants ambient", root.root()),
        )),
    }
}

fn proof(what: &'static str, found: Result<Found, BlobError>) -> Proof {
    let (verdict, text) = match found {
        Ok(Found::Good(text)) => (Verdict::Good, text),
        Ok(Found::Lacking(text)) => (Verdict::Lacking, text),
        Ok(Found::Bad(text)) => (Verdict::Bad, text),
        Err(error) => (Verdict::Bad, error.to_string()),
    };
    Proof { what, verdict, text }
}

/// Where the checks write.
struct Bench<'a> {
    root: &'a Blobs,
    name: &'a str,
}

impl Bench<'_> {
    fn name(&self, what: &str) -> String {
        format!("{}/{what}", self.name)
    }

    async fn put(&self, what: &str, content: impl Into<Bytes>) -> Result<PutOutcome, BlobError> {
        self.root.put_create(&self.name(what), content.into(), PutOptions::default()).await
    }

    async fn round_trip(&self) -> Result<Found, BlobError> {
        let content = Bytes::from(pattern(64 << 10));
        self.root.put_replace(&self.name("plain"), content.clone(), PutOptions::default()).await?;
        let (read, head) = self.root.get(&self.name("plain")).await?;
        if read != content || head.bytes != content.len() as u64 {
            return Ok(Found::Bad("what was read is not what was written".to_owned()));
        }
        if self.root.head(&self.name("plain")).await? != head {
            return Ok(Found::Bad("size or ETag differ between a read and a look".to_owned()));
        }
        Ok(match head.version {
            Some(_) => Found::Good("written, read back and known by its ETag".to_owned()),
            None => {
                Found::Lacking("written and read back; no ETag: a replaced source goes unnoticed".to_owned())
            }
        })
    }

    async fn range(&self) -> Result<Found, BlobError> {
        let whole = pattern(64 << 10);
        for range in [0..1_usize, 1_000..50_000, (64 << 10) - 1..64 << 10] {
            let part = self.root.get_range(&self.name("plain"), range.start as u64..range.end as u64).await?;
            if part != whole[range.clone()] {
                return Ok(Found::Bad(format!("bytes {range:?} are not those of the whole object")));
            }
        }
        Ok(Found::Good("ranges hold the bytes of the whole".to_owned()))
    }

    async fn create_only(&self) -> Result<Found, BlobError> {
        const ADVICE: &str = "media could be overwritten. If the server can keep If-None-Match on PUT, switch it on \
                              (S3: AWS_CONDITIONAL_PUT=etag); if not, use another store";
        let overwrites = match self.creates_once().await? {
            Ok(text) => return Ok(Found::Good(text)),
            Err(overwrites) => overwrites,
        };
        Ok(match self.copies().await? {
            None => Found::Lacking(format!(
                "{overwrites}. It works, by promotion at publish: attempts write under names of their own, and what was \
                 committed is copied within the store; keep work files (--work) in this store, too"
            )),
            Some(no_copies) => Found::Bad(format!("{overwrites}, and {no_copies}: {ADVICE}")),
        })
    }

    /// What keeps a name from being written twice, or what was seen of the contrary.
    async fn creates_once(&self) -> Result<Result<String, String>, BlobError> {
        let first = match self.put("once", &b"first"[..]).await {
            Err(error) if error.kind() == BlobErrorKind::Invalid => {
                return Ok(Err(format!("create-only puts are refused ({error})")));
            }
            put => put?,
        };
        let second = self.put("once", &b"second"[..]).await?;
        if first != PutOutcome::Created || !matches!(second, PutOutcome::AlreadyThere(_)) {
            return Ok(Err("a second create-only put of a name succeeded".to_owned()));
        }
        let racers = (0..RACERS).map(|racer| self.put("race", vec![racer; 10_000]));
        let outcomes = futures::future::try_join_all(racers).await?;
        let winners = outcomes.iter().filter(|outcome| **outcome == PutOutcome::Created).count();
        Ok(match winners {
            1 => Ok(format!("a name is created once, also when {RACERS} writers race for it")),
            _ => Err(format!("{winners} of {RACERS} writers created one name at the same time")),
        })
    }

    /// What is wrong with copies within the store, if anything: over nothing and over what is there.
    async fn copies(&self) -> Result<Option<String>, BlobError> {
        let options = PutOptions { content_type: Some("video/mp4"), cache_control: Some("no-cache") };
        let (from, to) = (self.name("copied"), self.name("copy"));
        for content in [Bytes::from(pattern(10_000)), Bytes::from(pattern(20_000))] {
            self.root.put_replace(&from, content.clone(), options).await?;
            if let Err(error) = self.root.copy_from(&to, self.root, &from, content.len() as u64).await {
                return Ok(Some(format!("an object could not be copied ({error})")));
            }
            if self.root.get(&to).await?.0 != content {
                return Ok(Some("a copy holds other bytes".to_owned()));
            }
        }
        let (wanted, found) = (self.root.served_as(&from).await?, self.root.served_as(&to).await?);
        Ok((wanted != found).then(|| format!("a copy is served as {found:?} instead of {wanted:?}")))
    }

    async fn headers(&self) -> Result<Found, BlobError> {
        if self.root.directory().is_some() {
            return Ok(Found::Good("a directory keeps none: its server goes by the file's name".to_owned()));
        }
        let (kind, cache) = ("application/dash+xml", "public, max-age=31536000, immutable");
        let name = self.name("headers");
        let options = PutOptions { content_type: Some(kind), cache_control: Some(cache) };
        self.root.put_replace(&name, Bytes::from_static(b"x"), options).await?;
        let found = self.root.served_as(&name).await?;
        let (typed, cached) =
            (found.content_type.as_deref() == Some(kind), found.cache_control.as_deref() == Some(cache));
        Ok(match (typed, cached) {
            (true, true) => Found::Good("Content-Type and Cache-Control are kept".to_owned()),
            _ => Found::Lacking(format!(
                "{} is dropped: let the CDN set it by the file's name",
                if typed { "Cache-Control" } else { "Content-Type" }
            )),
        })
    }

    async fn multipart(&self) -> Result<Found, BlobError> {
        let content = pattern(2 * PART + LAST_PART);
        let name = self.name("multipart");
        let path = self.root.path(&name)?;
        if let Err(error) = self.upload_parts(&path, &content).await {
            return Ok(Found::Lacking(format!(
                "uploads of large films are not possible ({error}); jobs that read and write objects are"
            )));
        }
        let sha256 = Sha256::of(&content);
        self.root.get_verified(&name, content.len() as u64, sha256).await?;
        Ok(Found::Good("three parts became one object".to_owned()))
    }

    async fn upload_parts(&self, path: &Path, content: &[u8]) -> Result<(), object_store::Error> {
        let mut upload = self.root.store().put_multipart(path).await?;
        for part in content.chunks(PART) {
            if let Err(error) = upload.put_part(PutPayload::from(part.to_vec())).await {
                upload.abort().await?;
                return Err(error);
            }
        }
        upload.complete().await.map(drop)
    }

    async fn signed(&self, is_new: bool, valid_for: Duration) -> Result<Found, BlobError> {
        let lacking = |why: String| {
            Ok(Found::Lacking(format!("{why}: workers need a credential of the store, or see its files")))
        };
        let (name, content) = (self.name("signed"), Bytes::from(pattern(10_000)));
        let options = PutOptions { content_type: Some("video/mp4"), cache_control: Some("no-cache") };
        let wanted = SignedContent { sha256: Sha256::of(&content), is_new, options };
        let create = match self.root.sign_put(&name, &wanted, valid_for).await {
            Ok(Some(create)) => create,
            Ok(None) => return lacking("requests to it cannot be signed".to_owned()),
            Err(error) => return lacking(error.to_string()),
        };
        let other = Bytes::from(vec![0; content.len()]);
        if create.send(other, SIGNED_FOR).await.is_ok() {
            return lacking("a signed write took other bytes than those it was signed for".to_owned());
        }
        if let Err(error) = create.send(content.clone(), SIGNED_FOR).await {
            return lacking(format!("a signed write failed ({error})"));
        }
        if is_new && create.send(content.clone(), SIGNED_FOR).await.is_ok() {
            return lacking("a signed create overwrote".to_owned());
        }
        if create.misused().send(content.clone(), SIGNED_FOR).await.is_ok() {
            return Ok(Found::Bad("a request signed for one object was taken for another".to_owned()));
        }
        let Some(get) = self.root.sign_get(&name, valid_for).await? else {
            return lacking("reads from it cannot be signed".to_owned());
        };
        match get.send(Bytes::new(), SIGNED_FOR).await {
            Ok(read) if read == content => Ok(Found::Good(
                "signed reads and writes work, for the object and the bytes that they name only".to_owned(),
            )),
            Ok(_) => Ok(Found::Bad("a signed read gave other bytes".to_owned())),
            Err(error) => lacking(format!("a signed read failed ({error})")),
        }
    }

    async fn list(&self) -> Result<Found, BlobError> {
        let listed = self.root.list(self.name).await?;
        Ok(if listed.iter().any(|entry| entry.name == self.name("plain")) {
            Found::Good(format!("{} objects, among them what was just written", listed.len()))
        } else {
            Found::Bad(
                "what was just written is not listed: publishing could not prove a package whole".to_owned(),
            )
        })
    }

    async fn speed(&self) -> Result<Found, BlobError> {
        let content = Bytes::from(pattern(SPEED_BYTES));
        let began = Instant::now();
        for object in 0..SPEED_OBJECTS {
            let name = self.name(&format!("speed-{object}"));
            self.root.put_replace(&name, content.clone(), PutOptions::default()).await?;
        }
        let (wrote, began) = (began.elapsed(), Instant::now());
        for object in 0..SPEED_OBJECTS {
            self.root.get(&self.name(&format!("speed-{object}"))).await?;
        }
        let read = began.elapsed();
        Ok(Found::Good(format!(
            "{} MB/s written, {} MB/s read, one object of {} MiB at a time",
            megabytes_per_second(wrote),
            megabytes_per_second(read),
            SPEED_BYTES >> 20
        )))
    }

    async fn clean(&self) -> Result<(), BlobError> {
        for entry in self.root.list(self.name).await? {
            self.root.delete(&entry.name).await?;
        }
        Ok(())
    }
}

/// Of all objects of the speed check.
fn megabytes_per_second(took: Duration) -> u128 {
    (SPEED_OBJECTS * SPEED_BYTES) as u128 / took.as_micros().max(1)
}

/// Bytes in which no two places look alike.
fn pattern(bytes: usize) -> Vec<u8> {
    let words = (1..=bytes.div_ceil(8) as u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    let mut pattern: Vec<u8> = words.flatten().collect();
    pattern.truncate(bytes);
    pattern
}
