//! Events as they come in: our own route, and those of an Elasticsearch 8 that agents know. What they hold is read in
//! `intake`; here they get their memory, their sender and the shape of their answers.

use axum::body::{Body, to_bytes};
use axum::extract::{OptionalFromRequestParts, Path, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use intake::cloudevents::Mode;
use intake::{Call, Encoding, Room, elastic};
use model::SourceId;
use model::limits::INTAKE_BODY_BYTES_MAX;
use serde_json::Value;

use super::read::Params;
use super::{Answer, Shared};
use crate::app::App;
use crate::guard::Caller;
use crate::problem::Problem;

/// The media type that clients of Elasticsearch 8 ask for, and expect back.
const COMPATIBLE: &str = "application/vnd.elasticsearch+json;compatible-with=8";
/// Seconds after which a sender may come back when there is no memory for its body.
const RETRY_AFTER: u32 = 2;

/// The index in the path of `/{index}/_bulk`.
pub(crate) struct Index(Option<String>);

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Index {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let path = <Path<String> as OptionalFromRequestParts<S>>::from_request_parts(parts, state).await;
        Ok(Self(path.ok().flatten().map(|Path(index)| index)))
    }
}

/// Takes events, and answers once they are durable.
#[utoipa::path(
    post, path = "/api/dihya/v1/events", tag = "events",
    params(("stream" = Option<String>, Query, description = "Their stream; `default` without it")),
    request_body(content = Object, content_type = "application/x-ndjson", description = "One JSON object a line, one object, or an array of them; CloudEvents 1.0 as application/cloudevents+json, application/cloudevents-batch+json, or with `ce-*` headers; gzip and deflate by Content-Encoding"),
    responses((status = 202, body = Object, description = "All that are events are durable: `{accepted, refused, reasons?, receipt}`"),
        (status = 429, body = Object, description = "`accepted` are durable; send the rest again from event number `resume_at`"),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn events(State(app): Shared, caller: Caller, mut params: Params, request: Request) -> Answer {
    let stream = params.take("stream").unwrap_or_else(|| "default".to_owned());
    params.done()?;
    let mode = Mode::of(request.headers())
        .map_err(|unknown| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, unknown.to_string()))?;
    let (call, _room) = receive(&app, &caller, request).await?;
    let answer = match mode {
        Some(mode) => app.parts.receiver.cloud_events(call, &mode, &stream).await,
        None => app.parts.receiver.events(call, &stream).await,
    };
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status == StatusCode::ACCEPTED || status == StatusCode::TOO_MANY_REQUESTS {
        let media_type = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let mut response = (status, media_type, answer.body).into_response();
        if let Some(seconds) = answer.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        return Ok(response);
    }
    Err(Problem::new(status, answer.detail))
}

/// Takes a `_bulk`.
pub(crate) async fn bulk(State(app): Shared, caller: Caller, index: Index, request: Request) -> Response {
    let headers = request.headers().clone();
    match receive(&app, &caller, request).await {
        Ok((call, _room)) => {
            let answer = app.parts.receiver.bulk(call, index.0.as_deref()).await;
            shaped(&headers, answer.status, answer.body)
        }
        Err(problem) => in_their_shape(&headers, &problem),
    }
}

/// Says what licence there is.
pub(crate) async fn licence(headers: HeaderMap) -> Response {
    shaped(&headers, 200, elastic::licence().to_string())
}

/// Says what is built in.
pub(crate) async fn features(headers: HeaderMap) -> Response {
    shaped(&headers, 200, elastic::features().to_string())
}

/// Answers for a lifecycle policy.
pub(crate) async fn policy(method: Method, Path(name): Path<String>, headers: HeaderMap) -> Response {
    named(&method, &headers, elastic::policy(&name))
}

/// Answers for an index template or a data stream.
pub(crate) async fn template(method: Method, Path(name): Path<String>, headers: HeaderMap) -> Response {
    named(&method, &headers, elastic::template(&name))
}

fn named(method: &Method, headers: &HeaderMap, found: Value) -> Response {
    let body = if *method == Method::PUT { elastic::acknowledged() } else { found };
    shaped(headers, 200, body.to_string())
}

/// Reads a body into memory that was set aside for it.
pub(super) async fn receive(app: &App, caller: &Caller, request: Request) -> Answer<(Call, Room)> {
    receive_packed(app, caller, request, header::CONTENT_ENCODING).await
}

/// The same, where another header says how the body is packed.
pub(super) async fn receive_packed(
    app: &App,
    caller: &Caller,
    request: Request,
    how: HeaderName,
) -> Answer<(Call, Room)> {
    let (head, body) = request.into_parts();
    let encoding = Encoding::of(head.headers.get(&how).map(HeaderValue::as_bytes));
    let encoding = encoding.ok_or_else(|| {
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("expected {how} gzip, deflate or none"))
    })?;
    let length = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > INTAKE_BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let room = app
        .parts
        .receiver
        .room(&caller.account.tenant, length, encoding)
        .await
        .map_err(|full| Problem::new(StatusCode::TOO_MANY_REQUESTS, full.to_string()).after(RETRY_AFTER))?;
    let body = read(body).await?;
    let (tenant, source) = (caller.account.tenant.clone(), SourceId::of_token(&caller.account.id));
    Ok((Call { tenant, source, encoding, body }, room))
}

async fn read(body: Body) -> Answer<Bytes> {
    to_bytes(body, INTAKE_BODY_BYTES_MAX).await.map_err(|error| {
        let source = std::error::Error::source(&error);
        let bounded = source.is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
        if bounded { too_large() } else { Problem::new(StatusCode::BAD_REQUEST, "the body ended early") }
    })
}

fn too_large() -> Problem {
    let detail = format!("expected a body of at most {INTAKE_BODY_BYTES_MAX} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

/// Answers a problem as Elasticsearch does.
pub(crate) fn in_their_shape(headers: &HeaderMap, problem: &Problem) -> Response {
    let kind = elastic::error_type(problem.status);
    let mut response =
        shaped(headers, problem.status, elastic::error(problem.status, kind, &problem.detail).to_string());
    if let Some(seconds) = problem.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    if problem.status == StatusCode::UNAUTHORIZED.as_u16() {
        let challenge = HeaderValue::from_static("Basic realm=\"dihya\", charset=\"UTF-8\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Answers with the headers that official clients insist on.
pub(crate) fn shaped(headers: &HeaderMap, status: u16, body: String) -> Response {
    let asked =
        headers.get(header::ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"application/vnd.elastic"));
    let media_type = if asked { COMPATIBLE } else { "application/json" };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(elastic::PRODUCT.0, HeaderValue::from_static(elastic::PRODUCT.1));
    response
}
