//! The player page: one file with its style and script, and hls.js when it was there at build.

use super::{Edge, HttpError, api};
use crate::access::Principal;
use crate::archive;
use axum::extract::{Extension, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Where the page finds hls.js.
pub(super) const HLS_JS_PATH: &str = "/assets/hls.min.js";
const PAGE: &str = include_str!("player.html");
/// hls.js as `build.rs` found it; empty when it was not installed.
const HLS_JS: &str = include_str!(concat!(env!("OUT_DIR"), "/hls.min.js"));
/// The page runs its own script and hls.js, whose workers are blobs; nothing else.
const POLICY: &str = "default-src 'self'; script-src 'self' 'unsafe-inline' blob:; worker-src blob:; \
                      style-src 'unsafe-inline'; media-src 'self' blob:; connect-src 'self'; img-src 'self' data:; \
                      frame-ancestors 'self'";

/// `GET /play/<job>`.
pub(super) async fn page(
    State(edge): State<Edge>,
    Extension(principal): Extension<Principal>,
    Path(job): Path<String>,
) -> Result<Response, HttpError> {
    let view = archive::view(&edge.driver, &edge.catalog, &principal.tenant, &api::job_id(&job)?).await?;
    let source = view.source.rsplit('/').next().unwrap_or_default();
    let base = format!("/packages/{}/{}", view.tenant, view.id);
    let page = PAGE
        .replace("{{title}}", &escape(source))
        .replace("{{job}}", view.id.as_str())
        .replace("{{state}}", view.state.name())
        .replace("{{hls}}", &format!("{base}/master.m3u8"))
        .replace("{{dash}}", &format!("{base}/manifest.mpd"))
        .replace("{{script}}", if HLS_JS.is_empty() { "" } else { HLS_JS_PATH });
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    Ok((headers, page).into_response())
}

/// `GET /assets/hls.min.js`.
pub(super) async fn hls_js() -> Response {
    if HLS_JS.is_empty() {
        return (StatusCode::NOT_FOUND, "hls.js was not there at build: run `make web` and build again\n")
            .into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=3600"),
    ];
    (headers, HLS_JS).into_response()
}

/// Text inside HTML, attributes included.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // the page's own placeholders must not come back through a file name
            '{' => out.push_str("&#123;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_cannot_become_markup_or_a_placeholder() {
        assert_eq!(escape("<b>\"{{script}}\"&'"), "&lt;b&gt;&quot;&#123;&#123;script}}&quot;&amp;&#39;");
    }

    #[test]
    fn every_placeholder_is_in_the_page() {
        for name in ["title", "job", "state", "hls", "dash", "script"] {
            assert!(PAGE.contains(&format!("{{{{{name}}}}}")), "{name}");
        }
    }
}
