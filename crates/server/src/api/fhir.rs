//! Audit events as FHIR's servers take them, and errors as its clients expect them. What they hold is read in `intake`.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use intake::fhir::{self, MEDIA_TYPE, STREAM_DEFAULT};
use serde_json::Value;

use super::intake::receive;
use super::read::Params;
use super::{Answer, Shared};
use crate::guard::Caller;
use crate::problem::Problem;

/// Where the API begins.
const BASE: &str = "/api/dihya/v1/fhir/";

/// Takes an audit event of FHIR R4, and answers once it is durable.
#[utoipa::path(
    post, path = "/api/dihya/v1/fhir/AuditEvent", tag = "events",
    params(("stream" = Option<String>, Query, description = "Their stream; `fhir-audit` without it")),
    request_body(content = Object, content_type = "application/fhir+json", description = "An `AuditEvent`, or a `Bundle` of them; gzip and deflate by Content-Encoding"),
    responses((status = 201, body = Object, content_type = "application/fhir+json", description = "One is durable; `Location` has its position in the ledger"),
        (status = 200, body = Object, content_type = "application/fhir+json", description = "What became of each entry of a bundle"),
        (status = "4XX", body = Object, content_type = "application/fhir+json", description = "An `OperationOutcome` with where and why"),
        (status = "5XX", body = Object, content_type = "application/fhir+json", description = "An `OperationOutcome`"))
)]
pub(crate) async fn audit_events(State(app): Shared, caller: Caller, params: Params, request: Request) -> Response {
    let answer = async {
        let stream = stream(params)?;
        if !is_json(request.headers()) {
            let detail = "expected Content-Type application/fhir+json or application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        let (call, _room) = receive(&app, &caller, request).await?;
        Ok(app.parts.receiver.audit_events(call, &stream).await)
    };
    match answer.await {
        Ok(fhir::Answer { status, body, location, retry_after }) => {
            let mut response = with(status, &body, retry_after);
            if let Some(location) = location.and_then(|path| HeaderValue::from_str(&format!("{BASE}{path}")).ok()) {
                response.headers_mut().insert(header::LOCATION, location);
            }
            response
        }
        Err(problem) => refused(&problem),
    }
}

/// Takes a `Bundle` of FHIR R4 with audit events, and answers once they are durable.
#[utoipa::path(
    post, path = "/api/dihya/v1/fhir", tag = "events",
    params(("stream" = Option<String>, Query, description = "Their stream; `fhir-audit` without it")),
    request_body(content = Object, content_type = "application/fhir+json", description = "A `Bundle`: a `batch` by entry, a `transaction` as a whole; or one `AuditEvent`"),
    responses((status = 200, body = Object, content_type = "application/fhir+json", description = "What became of each entry"),
        (status = "4XX", body = Object, content_type = "application/fhir+json", description = "An `OperationOutcome` with where and why"),
        (status = "5XX", body = Object, content_type = "application/fhir+json", description = "An `OperationOutcome`"))
)]
pub(crate) async fn bundle(app: Shared, caller: Caller, params: Params, request: Request) -> Response {
    audit_events(app, caller, params, request).await
}

/// Says what FHIR's clients can do here: its CapabilityStatement.
#[utoipa::path(
    get, path = "/api/dihya/v1/fhir/metadata", tag = "events", security(()),
    responses((status = 200, body = Object, content_type = "application/fhir+json"))
)]
pub(crate) async fn metadata() -> Response {
    with(StatusCode::OK.as_u16(), &fhir::capability_statement(), None)
}

fn stream(mut params: Params) -> Answer<String> {
    let stream = params.take("stream").unwrap_or_else(|| STREAM_DEFAULT.to_owned());
    // Clients of FHIR name the format here where they cannot in a header.
    params.take("_format");
    params.done().map(|()| stream)
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(essence.as_str(), MEDIA_TYPE | "application/json" | "application/json+fhir")
}

/// Answers a problem as a FHIR server does.
pub(crate) fn refused(problem: &Problem) -> Response {
    let mut response = with(problem.status, &fhir::outcome(problem.status, &problem.detail), problem.retry_after);
    if problem.status == StatusCode::UNAUTHORIZED.as_u16() {
        let challenge = HeaderValue::from_static("Bearer realm=\"dihya\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

fn with(status: u16, body: &Value, retry_after: Option<u32>) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
