//! Errors of ours, as RFC 9457 problems: what is wrong, with which field, and whether to come back.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use model::{Refusal, RefusalKind};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::Error;
use crate::seam::Declined;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";
/// After how long to ask again for what is not there yet.
const LATER_SECONDS: u32 = 5;

/// An error as the API answers it (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The status in words.
    pub title: &'static str,
    /// The HTTP status.
    #[schema(example = 400)]
    pub status: u16,
    /// What is wrong with this request, without the values that it held.
    pub detail: String,
    /// The field that is wrong, as a dotted path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Seconds after which the same request may succeed; also in `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
    /// The request's id, as in the header `X-Request-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Problem {
    /// Makes a problem with a status and what is wrong.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Unknown"),
            status: status.as_u16(),
            detail: detail.into(),
            field: None,
            retry_after: None,
            request_id: None,
        }
    }

    /// Makes the problem of a field that cannot be accepted.
    #[must_use]
    pub fn field(field: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(StatusCode::BAD_REQUEST, expected) }
    }

    /// Makes the problem of a field that names what there is not.
    #[must_use]
    pub fn unknown(field: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, expected) }
    }

    /// Makes the problem of something that is not there.
    #[must_use]
    pub fn missing(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no such {what}"))
    }

    /// Says after how many seconds to come back.
    #[must_use]
    pub fn after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds.max(1)), ..self }
    }

    /// Makes the problem of a read that could not be recorded: it fails closed.
    pub(crate) fn unrecorded(refusal: &Refusal) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, format!("the access could not be recorded: {}", refusal.reason))
            .after(5)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal.kind {
            RefusalKind::Retry => Self::new(StatusCode::TOO_MANY_REQUESTS, refusal.reason).after(1),
            RefusalKind::Reject => Self::new(StatusCode::UNPROCESSABLE_ENTITY, refusal.reason),
            RefusalKind::Stop => Self::new(StatusCode::SERVICE_UNAVAILABLE, refusal.reason).after(30),
        }
    }
}

impl From<Declined> for Problem {
    fn from(declined: Declined) -> Self {
        match declined {
            Declined::Missing { what } => Self::missing(what),
            Declined::Conflict { reason } => Self::new(StatusCode::CONFLICT, reason),
            Declined::Invalid { field, reason } => Self::field(field, reason),
            Declined::Later { reason } => Self::new(StatusCode::SERVICE_UNAVAILABLE, reason).after(LATER_SECONDS),
            Declined::Refused(refusal) => refusal.into(),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Token { field, reason } => Self::field(field, reason),
            other => {
                tracing::error!(error = %chain(&other), "could not answer a request");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, other.to_string()).after(5)
            }
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            // Two ways that clients know; a browser asks for the password, which is the token, with any user.
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"dihya\""));
            headers
                .append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"dihya\", charset=\"UTF-8\""));
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_status() {
        for (problem, status) in [
            (Problem::from(Declined::Missing { what: "check" }), 404),
            (Declined::Conflict { reason: "it fires".into() }.into(), 409),
            (Declined::Invalid { field: "x".into(), reason: "expected y".into() }.into(), 400),
            (Declined::broken("the outbox stopped").into(), 503),
            (Error::Token { field: "name", reason: "taken".into() }.into(), 400),
            (Declined::Later { reason: "the lake is being opened".into() }.into(), 503),
            (Error::Feed(Refusal { kind: RefusalKind::Stop, reason: "inner".into() }).into(), 503),
        ] {
            assert_eq!(problem.status, status, "{problem:?}");
            assert_eq!(problem.into_response().status().as_u16(), status);
        }
    }

    #[test]
    fn a_chain_says_every_cause_once() {
        let error = Error::Feed(Refusal { kind: RefusalKind::Stop, reason: "the disk failed".into() });
        assert_eq!(chain(&error), "could not fold the ledger: the disk failed");
        let refused = Declined::Refused(Refusal { kind: RefusalKind::Retry, reason: "full".into() });
        assert_eq!(refused.to_string(), "full");
        assert_eq!(Declined::Missing { what: "check" }.to_string(), "there is no such check");
        let invalid = Declined::Invalid { field: "a.b".into(), reason: "expected c".into() };
        assert_eq!(invalid.to_string(), "a.b: expected c");
    }
}
