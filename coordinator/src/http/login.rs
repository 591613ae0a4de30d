//! For people: the page where they say who they are, and the one where they find their jobs. The browser keeps the token
//! in a cookie that no script reads and no other site makes it send.

use super::player::escape;
use super::{Edge, HttpError, api};
use crate::access::role::Need;
use crate::access::{LOGIN, Presented, Principal, Redirection, cookie, same_origin};
use crate::door::Peer;
use axum::body::Bytes;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use reelmill_common::Secret;
use reelmill_common::job::{JobState, JobView};
use reelmill_coordinator_core::LIST_MAX;
use serde::Deserialize;
use url::form_urlencoded;

const PAGE: &str = include_str!("login.html");
const HOME: &str = include_str!("home.html");
/// Pages of ours run no script and send forms to themselves only.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; \
                      base-uri 'none'";
/// Jobs on the first page, the latest.
const SHOWN: usize = 100;

/// `?next=<path>`: where somebody wanted to go.
#[derive(Deserialize)]
pub(super) struct Next {
    next: Option<String>,
}

/// `GET /login`.
pub(super) async fn page(State(edge): State<Edge>, Query(Next { next }): Query<Next>) -> Response {
    if !edge.guard.is_set() {
        return Redirection::within("/").into_response();
    }
    shown(StatusCode::OK, "", next.as_deref().unwrap_or("/"))
}

fn shown(code: StatusCode, message: &str, next: &str) -> Response {
    let page = PAGE.replace("{{message}}", &escape(message)).replace("{{next}}", &escape(next));
    (code, heads(), Html(page)).into_response()
}

fn heads() -> [(header::HeaderName, &'static str); 3] {
    [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "same-origin"),
    ]
}

/// `POST /login`: `token=…&next=…`.
pub(super) async fn enter(
    State(edge): State<Edge>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, HttpError> {
    same_origin(&headers)?;
    let field = |name: &str| {
        let mut fields = form_urlencoded::parse(&body);
        fields.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let (token, next) = (field("token").unwrap_or_default(), field("next").unwrap_or_default());
    let token = Secret::new(token.trim().to_owned());
    let told = Presented { token: Some(token.clone()), tenant: None };
    match edge.guard.admit(Need::Jobs, &told, &peer) {
        Ok(_) => {
            let kept = cookie(Some(&token), &peer)?;
            Ok(([(header::SET_COOKIE, kept)], Redirection::within(&next)).into_response())
        }
        Err(status) => Ok(shown(crate::status::http(status.code()), status.message(), &next)),
    }
}

/// `POST /logout`.
pub(super) async fn leave(
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    same_origin(&headers)?;
    Ok(([(header::SET_COOKIE, cookie(None, &peer)?)], Redirection::within(LOGIN)).into_response())
}

/// `GET /`: the latest jobs of the caller's tenant.
pub(super) async fn home(
    State(edge): State<Edge>,
    Extension(principal): Extension<Principal>,
) -> Result<Response, HttpError> {
    let mut latest: Vec<JobView> = Vec::new();
    let mut after = None;
    loop {
        let tenant = principal.tenant.clone();
        let page = edge.driver.list(tenant, after, LIST_MAX).await.map_err(|r| api::refused(&edge, &r))?;
        after = page.last().map(|job| job.id.clone());
        let is_last = page.len() < LIST_MAX;
        latest.extend(page);
        latest.drain(..latest.len().saturating_sub(SHOWN));
        if is_last {
            break;
        }
    }
    let rows: String = latest.iter().rev().map(|job| row(job, &principal)).collect();
    let rows =
        if rows.is_empty() { "<tr><td>no jobs yet: reelmill submit FILM</td></tr>".to_owned() } else { rows };
    let leave = if edge.guard.is_set() { "" } else { "hidden" };
    let page = HOME
        .replace("{{tenant}}", principal.tenant.as_str())
        .replace("{{leave}}", leave)
        .replace("{{rows}}", &rows);
    Ok((heads(), Html(page)).into_response())
}

fn row(job: &JobView, principal: &Principal) -> String {
    let film = escape(job.source.rsplit('/').next().unwrap_or_default());
    let (id, state) = (&job.id, job.state.name());
    // an operator may be looking at another tenant's
    let whose = if principal.sees_all() { format!("?tenant={}", job.tenant) } else { String::new() };
    let film = match job.state {
        JobState::Published => format!("<a href=\"/play/{id}{whose}\">{film}</a>"),
        _ => film,
    };
    format!("<tr><td>{film}</td><td>{state}</td><td><code>{id}</code></td></tr>")
}
