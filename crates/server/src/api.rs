//! The handlers of our own API. Each file is one noun; each handler reads its request, asks a seam, and answers.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, OptionalFromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use serde::Serialize;

use crate::app::App;
use crate::guard::{Caller, Taken};
use crate::listener::Client;
use crate::problem::Problem;
use crate::seam::Listing;

pub(crate) mod about;
pub(crate) mod alerts;
pub(crate) mod ask;
pub(crate) mod checks;
pub(crate) mod fhir;
pub(crate) mod heartbeats;
pub(crate) mod incidents;
pub(crate) mod intake;
pub(crate) mod journal;
pub(crate) mod ledger;
pub(crate) mod notifications;
pub(crate) mod otlp;
pub(crate) mod read;
pub(crate) mod silences;
pub(crate) mod status;
pub(crate) mod tagged;
pub(crate) mod tokens;

pub(crate) type Shared = State<Arc<App>>;

/// What a handler answers.
pub(crate) type Answer<T = Response> = Result<T, Problem>;

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Only a route that is open in the table and asks for a caller all the same gets here without one: our bug,
        // and it fails closed.
        let missing = || Problem::new(StatusCode::UNAUTHORIZED, "the route needs a token");
        parts.extensions.get::<Self>().cloned().ok_or_else(missing)
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

/// The address of the client. Requests that come through no listener are our own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

impl Peer {
    pub(crate) fn of(extensions: &http::Extensions) -> Self {
        Self(extensions.get::<Client>().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |client| client.0.ip()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Taken {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let missing = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "this is a bug of ours");
        parts.extensions.get::<Self>().copied().ok_or_else(missing)
    }
}

/// Answers a listing whose reading is recorded first.
pub(crate) async fn recorded<T: Serialize>(app: &App, caller: &Caller, taken: Taken, listing: Listing<T>) -> Answer {
    app.access(caller, taken.0, listing.items.len()).await?;
    Ok(Json(listing).into_response())
}

/// The name behind a request's acts.
pub(crate) fn actor(caller: &Caller) -> &str {
    &caller.account.name
}

/// Returns the `If-None-Match` of a request for [`tagged::answer`].
pub(crate) fn validator(request: &Request) -> Option<String> {
    let value = request.headers().get(http::header::IF_NONE_MATCH)?;
    value.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests;
