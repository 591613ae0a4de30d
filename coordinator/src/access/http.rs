//! The gate before every HTTP route, the cookie that people carry, and where requests come from.

use super::role::Need;
use super::{Guard, Presented, grpc};
use crate::door::Peer;
use crate::http::HttpError;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::MethodRouter;
use reelmill_common::Secret;
use std::convert::Infallible;
use tonic::{Code, Status};
use url::form_urlencoded;

/// Where people say who they are.
pub(crate) const LOGIN: &str = "/login";
/// How long a browser keeps a token, seconds.
const KEPT_S: u32 = 12 * 3600;

/// Routes, each with what it needs: there is no way to add one without saying it.
pub(crate) struct Gated<S> {
    router: Router<S>,
    guard: Guard,
    rules: Vec<(&'static str, Need)>,
}

impl<S: Clone + Send + Sync + 'static> Gated<S> {
    pub(crate) fn new(guard: Guard) -> Self {
        Self { router: Router::new(), guard, rules: Vec::new() }
    }

    /// One more route.
    pub(crate) fn route(
        mut self,
        path: &'static str,
        need: Need,
        methods: MethodRouter<S, Infallible>,
    ) -> Self {
        let gate = from_fn_with_state((self.guard.clone(), need), gate);
        self.router = self.router.route(path, methods.layer(gate));
        self.rules.push((path, need));
        self
    }

    /// The routes, and what each needs.
    pub(crate) fn done(self) -> (Router<S>, Vec<(&'static str, Need)>) {
        (self.router, self.rules)
    }
}

async fn gate(State((guard, need)): State<(Guard, Need)>, mut request: Request, next: Next) -> Response {
    // browsers ask without credentials whether they may ask; the answer tells nothing
    if need == Need::Nothing || request.method() == Method::OPTIONS {
        if let Some(peer) = request.extensions().get::<Peer>() {
            peer.welcome();
        }
        return next.run(request).await;
    }
    let Some(peer) = request.extensions().get::<Peer>().cloned() else {
        return HttpError::from(Status::internal("nobody said where the caller is")).into_response();
    };
    let shown = presented(request.headers(), request.uri().query(), &peer);
    match guard.admit(need, &shown, &peer) {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(status) => refused(&request, status),
    }
}

/// People are sent to the login page, programs are told.
fn refused(request: &Request, status: Status) -> Response {
    let accepts = request.headers().get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let is_person = request.method() == Method::GET && accepts.contains("text/html");
    match status.code() {
        Code::Unauthenticated if is_person => {
            let asked = request.uri().path_and_query().map_or("/", |p| p.as_str());
            let next: String = form_urlencoded::byte_serialize(asked.as_bytes()).collect();
            Redirect::to(&format!("{LOGIN}?next={next}")).into_response()
        }
        Code::Unauthenticated => {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"reelmill\"")];
            (challenge, HttpError::from(status)).into_response()
        }
        _ => HttpError::from(status).into_response(),
    }
}

/// What a request shows: the token in its head, or in a cookie; a tenant in its head, or in its query.
fn presented(headers: &HeaderMap, query: Option<&str>, peer: &Peer) -> Presented {
    let shown = grpc::shown(headers);
    let asked = |query: &str| {
        form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "tenant")
            .map(|(_, t)| t.into_owned())
    };
    Presented {
        token: shown.token.or_else(|| from_cookie(headers, peer)),
        tenant: shown.tenant.or_else(|| query.and_then(asked)),
    }
}

/// The cookie's name. Under TLS one that browsers send to this host alone, and never without TLS.
fn cookie_name(peer: &Peer) -> &'static str {
    if peer.is_encrypted { "__Host-reelmill" } else { "reelmill" }
}

fn from_cookie(headers: &HeaderMap, peer: &Peer) -> Option<Secret> {
    let name = cookie_name(peer);
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|v| v.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| Secret::new(value.to_owned()))
}

/// The head that makes a browser keep a token; `None`: that makes it forget.
pub(crate) fn cookie(token: Option<&Secret>, peer: &Peer) -> Result<HeaderValue, Status> {
    let (value, age) = token.map_or(("", 0), |t| (t.reveal(), KEPT_S));
    if !value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')) {
        return Err(not_a_token());
    }
    let secure = if peer.is_encrypted { "; Secure" } else { "" };
    let name = cookie_name(peer);
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}");
    let mut value = HeaderValue::from_str(&text).map_err(|_| not_a_token())?;
    value.set_sensitive(true);
    Ok(value)
}

fn not_a_token() -> Status {
    Status::invalid_argument("the token holds characters that no token has")
}

/// Was this sent by a page of ours? Browsers say where a form was; what says nothing is not believed.
pub(crate) fn same_origin(headers: &HeaderMap) -> Result<(), Status> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
    let ours = match (text(header::ORIGIN), text(header::HOST)) {
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, from)| from == host),
        (None, _) => text(header::HeaderName::from_static("sec-fetch-site")) == Some("same-origin"),
        (Some(_), None) => false,
    };
    if ours { Ok(()) } else { Err(Status::permission_denied("this form was sent by another site")) }
}

impl axum::response::IntoResponse for Redirection {
    fn into_response(self) -> Response {
        (StatusCode::SEE_OTHER, [(header::LOCATION, self.0)]).into_response()
    }
}

/// To a place of ours, and nowhere else.
pub(crate) struct Redirection(HeaderValue);

impl Redirection {
    /// `asked` as far as it is a path here; else the first page.
    pub(crate) fn within(asked: &str) -> Self {
        let bytes = asked.as_bytes();
        // `//host` and `/\host` are other sites to a browser
        let is_ours = bytes.first() == Some(&b'/') && !matches!(bytes.get(1), Some(b'/' | b'\\'));
        let first = HeaderValue::from_static("/");
        Self(if is_ours { HeaderValue::from_str(asked).unwrap_or(first) } else { first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (header::HeaderName::from_static(k), v.parse().unwrap())).collect()
    }

    fn peer(is_encrypted: bool) -> Peer {
        Peer::of_test(([127, 0, 0, 1], 1).into(), is_encrypted)
    }

    #[test]
    fn forms_are_taken_from_pages_of_ours_only() {
        for ours in [
            &[("origin", "https://a.example"), ("host", "a.example")][..],
            &[("sec-fetch-site", "same-origin"), ("host", "a.example")],
        ] {
            assert!(same_origin(&head(ours)).is_ok(), "{ours:?}");
        }
        for theirs in [
            &[("origin", "https://evil.example"), ("host", "a.example")][..],
            &[("origin", "null"), ("host", "a.example"), ("sec-fetch-site", "same-origin")],
            &[("origin", "https://a.example:8443"), ("host", "a.example")],
            &[("sec-fetch-site", "cross-site"), ("host", "a.example")],
            &[("host", "a.example")],
        ] {
            assert!(same_origin(&head(theirs)).is_err(), "{theirs:?}");
        }
    }

    #[test]
    fn a_cookie_is_read_back_under_the_name_of_its_connection() {
        for is_encrypted in [false, true] {
            let set = cookie(Some(&Secret::new("t0ken".to_owned())), &peer(is_encrypted)).unwrap();
            let text = set.to_str().unwrap();
            assert!(text.contains("HttpOnly; SameSite=Strict") && text.contains("Path=/"), "{text}");
            assert_eq!((text.contains("Secure"), text.starts_with("__Host-")), (is_encrypted, is_encrypted));
            assert!(!format!("{set:?}").contains("t0ken"));
            let pair = text.split(';').next().unwrap();
            let sent = head(&[("cookie", &format!("other=1; {pair}"))]);
            assert_eq!(presented(&sent, None, &peer(is_encrypted)).token.unwrap().reveal(), "t0ken");
            assert!(presented(&sent, None, &peer(!is_encrypted)).token.is_none());
        }
        assert!(cookie(Some(&Secret::new("a\r\nSet-Cookie: b".to_owned())), &peer(true)).is_err());
        assert!(cookie(Some(&Secret::new("a; Domain=evil".to_owned())), &peer(true)).is_err());
    }

    #[test]
    fn the_head_goes_before_the_cookie_and_the_query() {
        let sent =
            head(&[("authorization", "bearer one"), ("cookie", "reelmill=two"), ("reelmill-tenant", "a")]);
        let shown = presented(&sent, Some("x=1&tenant=b"), &peer(false));
        assert_eq!((shown.token.unwrap().reveal(), shown.tenant.as_deref()), ("one", Some("a")));
        assert_eq!(
            presented(&HeaderMap::new(), Some("x=1&tenant=b"), &peer(false)).tenant.as_deref(),
            Some("b")
        );
    }

    #[test]
    fn redirects_stay_here() {
        let to = |asked| Redirection::within(asked).0.to_str().unwrap().to_owned();
        assert_eq!(to("/play/j1?tenant=a"), "/play/j1?tenant=a");
        for away in ["//evil.example", "/\\evil.example", "https://evil.example", "", "evil", "/a\nb"] {
            assert_eq!(to(away), "/", "{away}");
        }
    }
}
