//! Signed URLs: the right to read or to write one object for a while, for somebody who has no credential of the store.
//!
//! A signed PUT names everything that matters in headers under the signature: that the object must not be there yet,
//! its type and how it is cached, and on S3 its SHA-256. Who holds the URL can do this one thing and nothing else.

use crate::blobs::{Blobs, PutOptions};
use crate::error::{BlobError, BlobErrorKind};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use object_store::signer::{HeaderName, HeaderValue, Method, SignedUrlOptions};
use reelmill_common::Sha256;
use std::fmt;
use std::time::Duration;

/// A request that its holder may make once or often until it expires. It does not print its signature.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedRequest {
    method: Method,
    url: url::Url,
    headers: Vec<(HeaderName, HeaderValue)>,
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

    /// The right to create `name` with exactly these bytes within `valid_for`; `None` where requests to this store
    /// cannot be signed.
    pub async fn sign_create(
        &self,
        name: &str,
        sha256: Sha256,
        options: PutOptions,
        valid_for: Duration,
    ) -> Result<Option<SignedRequest>, BlobError> {
        let fixed = |name: &'static str, value: &str| {
            let value = HeaderValue::from_str(value).map_err(|error| {
                BlobError::new(BlobErrorKind::Invalid, format!("the header {name} cannot be sent: {error}"))
            })?;
            Ok::<_, BlobError>((HeaderName::from_static(name), value))
        };
        let mut headers = vec![fixed("if-none-match", "*")?];
        if self.root().starts_with("s3://") {
            headers.push(fixed("x-amz-checksum-sha256", &BASE64_STANDARD.encode(sha256.0))?);
        }
        if let Some(content_type) = options.content_type {
            headers.push(fixed("content-type", content_type)?);
        }
        if let Some(cache_control) = options.cache_control {
            headers.push(fixed("cache-control", cache_control)?);
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
        let url = signer
            .signed_url_opts(method.clone(), &path, valid_for, &signed_with)
            .await
            .map_err(|error| BlobError::from_store(error, "sign a request to", &self.shown(name)))?;
        Ok(Some(SignedRequest { method, url, headers }))
    }
}

impl SignedRequest {
    /// Makes the request once, with `content` if it is a write, within `limit`. The body of the answer comes back.
    pub async fn send(&self, content: Bytes, limit: Duration) -> Result<Bytes, BlobError> {
        let what = format!("{self:?}");
        let failed = |error: reqwest::Error| {
            // the URL is a secret: it stays out of the message
            let error = error.without_url();
            BlobError::new(BlobErrorKind::Unavailable, format!("cannot perform {what}: {error}"))
        };
        let client = reqwest::Client::builder().timeout(limit).build().map_err(failed)?;
        let mut request = client.request(self.method.clone(), self.url.clone());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if self.method == Method::PUT {
            request = request.body(content);
        }
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(failed)?;
        if status.is_success() {
            return Ok(body);
        }
        let kind = match status.as_u16() {
            401 | 403 => BlobErrorKind::Permission,
            404 => BlobErrorKind::NotFound,
            409 | 412 => BlobErrorKind::Conflict,
            400 | 405 | 411 | 501 => BlobErrorKind::Invalid,
            507 => BlobErrorKind::Full,
            _ => BlobErrorKind::Unavailable,
        };
        Err(BlobError::new(kind, format!("{what} was answered with {status}")))
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
        let url = url::Url::parse("https://films.example/a/b.m4s?X-Amz-Signature=0123456789abcdef").unwrap();
        let request = SignedRequest { method: Method::PUT, url, headers: Vec::new() };
        assert_eq!(format!("{request:?}"), "PUT films.example/a/b.m4s?(signed)");
    }
}
