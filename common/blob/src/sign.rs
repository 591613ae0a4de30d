//! Signed URLs: the right to read or to write one object for a while, for somebody who has no credential of the store.
//!
//! A signed PUT names everything that matters in headers under the signature: that the object must not be there yet, its
//! type and how it is cached, and on S3 its SHA-256 (and so its size). Who holds the URL can do this one thing and nothing else.
//! Here requests are made; [`crate::signed`] performs them.

use crate::blobs::{Blobs, PutOptions};
use crate::error::{BlobError, BlobErrorKind};
use crate::location::{Root, Stores};
use crate::signed;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use object_store::signer::{HeaderName, HeaderValue, Method, SignedUrlOptions};
use reelmill_common::session::SignedGrant;
use reelmill_common::{Secret, Sha256};
use std::fmt;
use std::time::Duration;
use url::Url;

/// A request that its holder may make once or often until it expires. It does not print its signature.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedRequest {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

/// What a signed write has to be.
#[derive(Clone, Copy, Debug)]
pub struct SignedContent {
    /// SHA-256, which no content of another size has.
    pub sha256: Sha256,
    /// Refused where something is there already. Without, it overwrites: for names that nobody else writes to.
    pub is_new: bool,
    /// How it is served.
    pub options: PutOptions,
}

impl fmt::Debug for SignedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}?(signed)", self.method, self.url.host_str().unwrap_or_default(), self.url.path())
    }
}

impl Blobs {
    /// The right to read `name` for `valid_for`; `None` where requests to this store cannot be signed (a directory,
    /// memory).
    pub async fn sign_get(
        &self,
        name: &str,
        valid_for: Duration,
    ) -> Result<Option<SignedRequest>, BlobError> {
        self.sign(Method::GET, name, valid_for, Vec::new()).await
    }

    /// The right to write `name` with exactly this content within `valid_for`; `None` where requests to this store
    /// cannot be signed.
    pub async fn sign_put(
        &self,
        name: &str,
        content: &SignedContent,
        valid_for: Duration,
    ) -> Result<Option<SignedRequest>, BlobError> {
        let mut headers = Vec::new();
        let mut fix = |name: &'static str, value: &str| {
            let value = HeaderValue::from_str(value).map_err(|error| {
                BlobError::new(BlobErrorKind::Invalid, format!("the header {name} cannot be sent: {error}"))
            })?;
            headers.push((HeaderName::from_static(name), value));
            Ok::<_, BlobError>(())
        };
        if content.is_new {
            fix("if-none-match", "*")?;
        }
        if self.root().starts_with("s3://") {
            fix("x-amz-checksum-sha256", &BASE64_STANDARD.encode(content.sha256.0))?;
        }
        if let Some(content_type) = content.options.content_type {
            fix("content-type", content_type)?;
        }
        if let Some(cache_control) = content.options.cache_control {
            fix("cache-control", cache_control)?;
        }
        self.sign(Method::PUT, name, valid_for, headers).await
    }

    async fn sign(
        &self,
        method: Method,
        name: &str,
        valid_for: Duration,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Option<SignedRequest>, BlobError> {
        let Some(signer) = self.signer() else {
            return Ok(None);
        };
        let path = self.path(name)?;
        let signed_with = headers.iter().fold(SignedUrlOptions::default(), |options, (name, value)| {
            options.with_signed_header(name.clone(), value.clone())
        });
        // signatures count whole seconds
        let valid_for =
            Duration::from_secs(valid_for.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX));
        let url = signer
            .signed_url_opts(method.clone(), &path, valid_for, &signed_with)
            .await
            .map_err(|error| BlobError::from_store(error, "sign a request to", &self.shown(name)))?;
        Ok(Some(SignedRequest { method, url, headers }))
    }
}

/// The right to read the object that `url` names for `valid_for`; `None` where requests to its store cannot be signed.
pub async fn sign_source(
    stores: &Stores,
    url: &str,
    valid_for: Duration,
) -> Result<Option<SignedRequest>, BlobError> {
    match Root::parse(url)? {
        Root::Local(_) => Ok(None),
        Root::Bucket { bucket, prefix, .. } => {
            stores.open(&bucket)?.sign_get(prefix.as_ref(), valid_for).await
        }
    }
}

impl SignedRequest {
    /// As it is told to whoever is to make it.
    pub fn to_grant(&self, valid_for: Duration) -> SignedGrant {
        // what was signed was told as text
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        SignedGrant {
            url: Secret::new(self.url.to_string()),
            headers: self.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            valid_ms: valid_for.as_millis().try_into().unwrap_or(u64::MAX),
        }
    }

    /// The request that was told.
    pub(crate) fn from_grant(method: Method, grant: &SignedGrant) -> Result<Self, BlobError> {
        let invalid = |what: &str| {
            BlobError::new(BlobErrorKind::Invalid, format!("a signed request cannot be made: {what}"))
        };
        let url =
            Url::parse(grant.url.reveal()).map_err(|error| invalid(&format!("its URL is none ({error})")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("its URL is not of http or https"));
        }
        let headers = grant.headers.iter().map(|(name, value)| {
            let name =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("a header's name is none"))?;
            let value = HeaderValue::from_str(value).map_err(|_| invalid("a header's value is none"))?;
            Ok((name, value))
        });
        Ok(Self { method, url, headers: headers.collect::<Result<_, BlobError>>()? })
    }

    /// Makes the request once, with `content` if it is a write, within `limit`. The body of the answer comes back.
    pub async fn send(&self, content: Bytes, limit: Duration) -> Result<Bytes, BlobError> {
        let what = format!("{self:?}");
        let failed = |error| BlobError::from_store(error, "perform", &what);
        let request = signed::client(limit).map_err(failed)?;
        let request = signed::request(&request, self).timeout(limit).body(content);
        let answer = signed::perform(request, &self.method, self.url.path()).await.map_err(failed)?;
        answer.bytes().await.map_err(|error| failed(signed::broken(error)))
    }

    /// The same request for another object: what a holder might try, and a store must refuse.
    pub(crate) fn misused(&self) -> Self {
        let mut url = self.url.clone();
        url.set_path(&format!("{}-other", self.url.path()));
        Self { url, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_does_not_print() {
        let url = Url::parse("https://films.example/a/b.m4s?X-Amz-Signature=0123456789abcdef").unwrap();
        let request = SignedRequest { method: Method::PUT, url, headers: Vec::new() };
        assert_eq!(format!("{request:?}"), "PUT films.example/a/b.m4s?(signed)");
        let grant = request.to_grant(Duration::from_secs(15));
        assert!(!format!("{grant:?}").contains("0123456789abcdef"), "{grant:?}");
        assert_eq!(SignedRequest::from_grant(Method::PUT, &grant).unwrap(), request);
    }

    #[test]
    fn what_cannot_be_sent_is_refused_without_being_shown() {
        let grant = |url: &str, name: &str, value: &str| SignedGrant {
            url: Secret::new(url.to_owned()),
            headers: vec![(name.to_owned(), value.to_owned())],
            valid_ms: 1,
        };
        for bad in [
            grant("not a url?secret", "a", "b"),
            grant("file:///etc/passwd?secret", "a", "b"),
            grant("https://h/a?secret", "a b", "b"),
            grant("https://h/a?secret", "a", "b\nsecret"),
        ] {
            let error = SignedRequest::from_grant(Method::GET, &bad).unwrap_err();
            assert_eq!(error.kind(), BlobErrorKind::Invalid);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
