//! Serves finished packages under `/packages/<tenant>/<job>/…`: names from the published list only, with ranges,
//! content types, cache headers and CORS, and no redirects (Apple's authoring rule 8.18).

use super::{Edge, HttpError, api};
use crate::access::Principal;
use crate::catalog::LoadedPlan;
use crate::content;
use crate::driver::Role;
use crate::status;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reelmill_blob::Blobs;
use reelmill_common::keys::{INIT_NAME, media_name};
use reelmill_common::record::JobRecord;
use reelmill_common::{SegmentNumber, Sha256, TenantId};
use reelmill_coordinator_core::TaskError;
use std::ops::RangeInclusive;

/// Any page may play a package; players read these headers.
const CORS: [(header::HeaderName, HeaderValue); 2] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Content-Length, Content-Range, ETag")),
];

/// `OPTIONS`: players in other pages ask before they send `Range`.
pub(super) async fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Range, If-None-Match, Authorization"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    (StatusCode::NO_CONTENT, CORS, headers).into_response()
}

/// `GET` and `HEAD` of one file.
pub(super) async fn file(
    State(edge): State<Edge>,
    Extension(principal): Extension<Principal>,
    Path((tenant, job, name)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let nothing = || HttpError::not_found("there is no such file in a published package");
    let tenant = TenantId::parse(&tenant).map_err(|_| nothing())?;
    // another's job is as one that is not there
    if tenant != principal.tenant && !principal.sees_all() {
        return Err(nothing());
    }
    let job = api::job_id(&job)?;
    // segments are asked for often: the driver is left alone
    match edge.driver.role() {
        Role::Leading => {}
        other => return Err(status::of_role(&other).into()),
    }
    let record = edge.catalog.published(&tenant, &job).await.map_err(failed)?;
    let record = record.ok_or_else(nothing)?;
    let plan = edge.catalog.plan(&record).await.map_err(failed)?;
    let Some(published) = Published::find(&record, &plan, &name) else { return Err(nothing()) };
    let blobs = edge.catalog.place(&record).map_err(failed)?.package;
    let answer = answer(&blobs, &name, published, &headers).await?;
    Ok((CORS, answer).into_response())
}

/// A name of the published list.
struct Published {
    /// Known of manifests: they are replaced, so clients ask again.
    sha256: Option<Sha256>,
}

impl Published {
    fn find(record: &JobRecord, plan: &LoadedPlan, name: &str) -> Option<Self> {
        if let Some(manifest) = record.manifests.iter().find(|m| m.name == name) {
            return Some(Self { sha256: Some(manifest.sha256) });
        }
        let (folder, file) = name.split_once('/')?;
        let plan = &plan.plan;
        let video = plan.video.iter().find(|r| r.folder == folder).map(|_| plan.grid.len().saturating_sub(1));
        let segments =
            video.or_else(|| plan.audio.iter().find(|r| r.folder == folder).map(|r| r.segments.len()))?;
        if file == INIT_NAME {
            return Some(Self { sha256: None });
        }
        let number: u32 = file.strip_suffix(".m4s")?.parse().ok()?;
        let is_one = (1..=segments).contains(&(number as usize));
        // the canonical spelling only: `1.m4s` is not `000001.m4s`
        let is_it = is_one && media_name(folder, Some(SegmentNumber(number))) == name;
        is_it.then_some(Self { sha256: None })
    }
}

async fn answer(
    blobs: &Blobs,
    name: &str,
    published: Published,
    headers: &HeaderMap,
) -> Result<Response, HttpError> {
    let told = content::options(name);
    let mut response = HeaderMap::new();
    let mut put = |name, value: &str| match HeaderValue::from_str(value) {
        Ok(value) => drop(response.insert(name, value)),
        Err(error) => tracing::error!(%error, "a header value cannot be sent"),
    };
    put(header::CONTENT_TYPE, told.content_type.unwrap_or("application/octet-stream"));
    put(header::CACHE_CONTROL, told.cache_control.unwrap_or("no-cache"));
    put(header::ACCEPT_RANGES, "bytes");
    if let Some(sha256) = published.sha256 {
        let tag = format!("\"{}\"", sha256.short(32));
        put(header::ETAG, &tag);
        if headers.get(header::IF_NONE_MATCH).is_some_and(|asked| asked.as_bytes() == tag.as_bytes()) {
            return Ok((StatusCode::NOT_MODIFIED, response).into_response());
        }
    }
    let read = |error: reelmill_blob::BlobError| HttpError::from(status::of_blob(&error));
    let size = blobs.head(name).await.map_err(read)?.bytes;
    match range(headers, size) {
        Wanted::All => {
            let (bytes, _) = blobs.get(name).await.map_err(read)?;
            Ok((StatusCode::OK, response, Body::from(bytes)).into_response())
        }
        Wanted::Part(part) => {
            let (first, last) = (*part.start(), *part.end());
            let bytes = blobs.get_range(name, first..last + 1).await.map_err(read)?;
            put_range(&mut response, &format!("bytes {first}-{last}/{size}"));
            Ok((StatusCode::PARTIAL_CONTENT, response, Body::from(bytes)).into_response())
        }
        Wanted::Nothing => {
            put_range(&mut response, &format!("bytes */{size}"));
            Ok((StatusCode::RANGE_NOT_SATISFIABLE, response).into_response())
        }
    }
}

fn put_range(headers: &mut HeaderMap, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(header::CONTENT_RANGE, value);
    }
}

/// What a request wants of a file.
#[derive(PartialEq, Eq, Debug)]
enum Wanted {
    All,
    Part(RangeInclusive<u64>),
    Nothing,
}

/// RFC 9110 section 14: one range is served; several, and what cannot be read, mean the whole file. A conditional range
/// (`If-Range`) does, too, because media has no entity tag.
fn range(headers: &HeaderMap, size: u64) -> Wanted {
    let Some(asked) = headers.get(header::RANGE).and_then(|v| v.to_str().ok()) else { return Wanted::All };
    if headers.contains_key(header::IF_RANGE) {
        return Wanted::All;
    }
    let Ok(parsed) = http_range_header::parse_range_header(asked) else { return Wanted::All };
    match parsed.validate(size) {
        Ok(ranges) => match ranges.as_slice() {
            [one] => Wanted::Part(one.clone()),
            _ => Wanted::All,
        },
        Err(_) => Wanted::Nothing,
    }
}

fn failed(error: TaskError) -> HttpError {
    status::of_task(&error).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(range_header: &str, size: u64) -> Wanted {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_str(range_header).unwrap());
        range(&headers, size)
    }

    #[test]
    fn ranges_are_served_as_the_rfc_says() {
        assert_eq!(asked("bytes=0-99", 1000), Wanted::Part(0..=99));
        assert_eq!(asked("bytes=900-", 1000), Wanted::Part(900..=999));
        assert_eq!(asked("bytes=-100", 1000), Wanted::Part(900..=999));
        assert_eq!(asked("bytes=990-2000", 1000), Wanted::Part(990..=999));
        assert_eq!(asked("bytes=1000-1001", 1000), Wanted::Nothing);
        assert_eq!(asked("bytes=0-1,5-6", 1000), Wanted::All);
        assert_eq!(asked("lines=1-2", 1000), Wanted::All);
        assert_eq!(range(&HeaderMap::new(), 10), Wanted::All);
    }

    #[test]
    fn a_conditional_range_gets_the_whole_file() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_static("bytes=0-1"));
        headers.insert(header::IF_RANGE, HeaderValue::from_static("\"old\""));
        assert_eq!(range(&headers, 10), Wanted::All);
    }
}
