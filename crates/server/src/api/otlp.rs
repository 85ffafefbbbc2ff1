//! Events as OpenTelemetry's and Loki's agents send them, and errors as they expect them. What bodies hold is read in
//! `intake`.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use intake::otlp::{Export, Format};

use super::intake::{receive, receive_packed};
use super::{Answer, Shared};
use crate::guard::Caller;
use crate::problem::Problem;
use crate::routes::Shape;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";
const GRPC: &str = "application/grpc";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// A byte that says whether the message is packed, and its length.
const GRPC_PREFIX: usize = 5;

/// Takes log records over HTTP.
pub(crate) async fn logs(State(app): Shared, caller: Caller, request: Request) -> Response {
    let headers = request.headers().clone();
    let export = async {
        let format = format(&headers).ok_or_else(unknown_media_type)?;
        let (call, _room) = receive(&app, &caller, request).await?;
        Ok((format, app.parts.receiver.otlp(call, format).await))
    };
    match export.await {
        Ok((format, export)) => over_http(format, &export),
        Err(problem) => refused(Shape::Otlp, &headers, &problem),
    }
}

/// Takes log records over gRPC.
pub(crate) async fn export(State(app): Shared, caller: Caller, request: Request) -> Response {
    let headers = request.headers().clone();
    let export = async {
        if !media_type(&headers).starts_with(GRPC) {
            return Err(unknown_media_type());
        }
        let (mut call, _room) = receive_packed(&app, &caller, request, GRPC_ENCODING).await?;
        let (packed, message) = message(&call.body)?;
        call.body = message;
        if !packed {
            call.encoding = intake::Encoding::Identity;
        }
        Ok(app.parts.receiver.otlp(call, Format::Protobuf).await)
    };
    match export.await {
        Ok(export) if export.status == 200 => over_grpc(&export),
        Ok(export) => grpc_error(export.grpc_code(), &export.message),
        Err(problem) => refused(Shape::Grpc, &headers, &problem),
    }
}

/// Takes lines as Loki does.
pub(crate) async fn push(State(app): Shared, caller: Caller, request: Request) -> Response {
    let headers = request.headers().clone();
    let export = async {
        // Loki takes what says nothing for protobuf.
        let format = if media_type(&headers).is_empty() { Some(Format::Protobuf) } else { format(&headers) };
        let format = format.ok_or_else(unknown_media_type)?;
        let how = match format {
            // Snappy is part of the format there, whatever the header says.
            Format::Protobuf => HeaderName::from_static("x-no-encoding"),
            Format::Json => header::CONTENT_ENCODING,
        };
        let (call, _room) = receive_packed(&app, &caller, request, how).await?;
        Ok(app.parts.receiver.loki(call, format).await)
    };
    match export.await {
        Ok(export) if export.status == 200 => StatusCode::NO_CONTENT.into_response(),
        Ok(export) => in_words(export.status, &export.message, export.retry_after),
        Err(problem) => refused(Shape::Loki, &headers, &problem),
    }
}

/// Answers a problem in one of the shapes of this file.
pub(crate) fn refused(shape: Shape, headers: &HeaderMap, problem: &Problem) -> Response {
    let (status, retry_after) = (problem.status, problem.retry_after);
    let export = Export { status, rejected: 0, message: problem.detail.clone(), retry_after };
    match shape {
        Shape::Grpc => grpc_error(export.grpc_code(), &export.message),
        Shape::Loki | Shape::Journal => in_words(status, &export.message, retry_after),
        _ => over_http(format(headers).unwrap_or(Format::Json), &export),
    }
}

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

fn format(headers: &HeaderMap) -> Option<Format> {
    match media_type(headers).to_ascii_lowercase().as_str() {
        PROTOBUF | "application/protobuf" => Some(Format::Protobuf),
        JSON => Some(Format::Json),
        _ => None,
    }
}

fn unknown_media_type() -> Problem {
    let detail = "expected Content-Type application/x-protobuf or application/json, or application/grpc over gRPC";
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
}

/// Takes the one message out of a gRPC body, and whether it is packed.
fn message(body: &Bytes) -> Answer<(bool, Bytes)> {
    let prefix = body.first_chunk::<GRPC_PREFIX>();
    let message = prefix.and_then(|[packed, length @ ..]| {
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        (length == body.len() - GRPC_PREFIX && *packed <= 1).then_some((*packed == 1, body.slice(GRPC_PREFIX..)))
    });
    message.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "expected one gRPC message"))
}

fn over_http(format: Format, export: &Export) -> Response {
    let media_type = match format {
        Format::Protobuf => PROTOBUF,
        Format::Json => JSON,
    };
    with(export.status, media_type, export.written(format), export.retry_after)
}

pub(super) fn in_words(status: u16, message: &str, retry_after: Option<u32>) -> Response {
    with(status, "text/plain; charset=utf-8", format!("{message}\n").into_bytes(), retry_after)
}

fn with(status: u16, media_type: &'static str, body: Vec<u8>, retry_after: Option<u32>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn over_grpc(export: &Export) -> Response {
    let message = export.response(Format::Protobuf);
    let mut body = BytesMut::with_capacity(GRPC_PREFIX + message.len());
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    body.put_slice(&message);
    let mut trailers = HeaderMap::new();
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    let body = Full::new(body.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(GRPC));
    response
}

/// An error stands in the headers: there is no message, and so no trailers.
fn grpc_error(code: i32, message: &str) -> Response {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(GRPC));
    headers.insert(GRPC_STATUS, code.into());
    // Percent-encoded, as gRPC asks: what is no visible ASCII, and the percent sign.
    let encoded: String = message
        .bytes()
        .map(|byte| {
            if matches!(byte, b' '..=b'~') && byte != b'%' {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect();
    if let Ok(value) = HeaderValue::from_str(&encoded) {
        headers.insert(GRPC_MESSAGE, value);
    }
    response
}
