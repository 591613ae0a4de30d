//! Who calls: one layer puts a [`Principal`] into every request, gRPC and HTTP alike, and handlers take it from there.
//!
//! Local mode knows one principal. Nothing else in this crate decides who somebody is.

use http::Request;
use reelmill_common::TenantId;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// A caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Principal {
    /// Whose jobs it sees and makes.
    pub(crate) tenant: TenantId,
    /// What it may do.
    pub(crate) role: PrincipalRole,
}

/// What a caller may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PrincipalRole {
    /// Everything of its tenant, and work for all of them: the one role of local mode.
    Operator,
}

impl PrincipalRole {
    /// May it open a worker session?
    pub(crate) fn may_work(self) -> bool {
        match self {
            Self::Operator => true,
        }
    }
}

impl Principal {
    /// The one principal of local mode.
    pub(crate) fn local() -> Self {
        Self { tenant: TenantId::local(), role: PrincipalRole::Operator }
    }
}

/// Puts the principal into requests.
#[derive(Clone, Debug)]
pub(crate) struct PrincipalLayer {
    principal: Principal,
}

impl PrincipalLayer {
    /// Everybody is the local principal.
    pub(crate) fn local() -> Self {
        Self { principal: Principal::local() }
    }
}

impl<S> Layer<S> for PrincipalLayer {
    type Service = WithPrincipal<S>;
    fn layer(&self, inner: S) -> Self::Service {
        WithPrincipal { inner, principal: self.principal.clone() }
    }
}

/// A service whose requests carry a principal.
#[derive(Clone, Debug)]
pub(crate) struct WithPrincipal<S> {
    inner: S,
    principal: Principal,
}

impl<S, B> Service<Request<B>> for WithPrincipal<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        request.extensions_mut().insert(self.principal.clone());
        self.inner.call(request)
    }
}
