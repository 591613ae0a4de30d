//! The layer before every gRPC service.

use super::role::{Need, of_method};
use super::{Guard, Presented};
use crate::door::Peer;
use http::{HeaderMap, Request, Response, header};
use reelmill_common::Secret;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use tonic::Status;
use tonic::codegen::BoxFuture;
use tower::{Layer, Service};

/// The metadata by which an operator names a tenant.
pub(super) const TENANT: &str = "reelmill-tenant";

/// Puts the caller into requests, or answers them.
#[derive(Clone)]
pub(crate) struct AccessLayer {
    guard: Guard,
}

impl AccessLayer {
    pub(crate) fn new(guard: Guard) -> Self {
        Self { guard }
    }
}

impl<S> Layer<S> for AccessLayer {
    type Service = WithAccess<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WithAccess { inner, guard: self.guard.clone() }
    }
}

/// A service whose requests carry who calls.
#[derive(Clone)]
pub(crate) struct WithAccess<S> {
    inner: S,
    guard: Guard,
}

impl<S> WithAccess<S> {
    fn admit<B>(&self, request: &mut Request<B>) -> Result<(), Status> {
        let need = of_method(request.uri().path())
            .ok_or_else(|| Status::unimplemented("there is no such method"))?;
        let peer = request.extensions().get::<Peer>().cloned().unwrap_or_else(Peer::elsewhere);
        let principal = self.guard.admit(need, &shown(request.headers()), &peer)?;
        if need != Need::Nothing {
            request.extensions_mut().insert(principal);
        }
        Ok(())
    }
}

/// What the head of a request shows.
pub(super) fn shown(headers: &HeaderMap) -> Presented {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let token = text(header::AUTHORIZATION.as_str()).and_then(bearer);
    Presented { token, tenant: text(TENANT).map(str::to_owned) }
}

/// The token of `Bearer <token>` (RFC 6750).
fn bearer(value: &str) -> Option<Secret> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Secret::new(token.trim().to_owned()))
}

impl<S, B, R> Service<Request<B>> for WithAccess<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<Response<R>, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.admit(&mut request) {
            Ok(()) => Box::pin(self.inner.call(request)),
            Err(status) => {
                let answer: Ready<Result<_, S::Error>> = ready(Ok(status.into_http()));
                Box::pin(answer)
            }
        }
    }
}
