//! Journals of systemd as `systemd-journal-upload` sends them, for as long as it sends. What they hold is read in `intake`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use intake::journal::{Ended, STREAM_DEFAULT, Sender, Sum};
use intake::{Encoding, elastic};
use model::SourceId;
use model::limits::REQUEST_TIMEOUT;

use super::otlp::{in_words, refused};
use super::read::Params;
use super::{Answer, Shared};
use crate::guard::Caller;
use crate::problem::Problem;
use crate::routes::Shape;

/// The media type of the Journal Export Format.
const MEDIA_TYPE: &[u8] = b"application/vnd.fdo.journal";
/// Seconds after which a sender may come back.
const RETRY_AFTER: u32 = 2;
/// How long a sender may be silent within an upload.
const SILENCE_MAX: Duration = REQUEST_TIMEOUT;

/// Takes a journal, entry by entry as it comes, and answers once the last one is durable.
#[utoipa::path(
    post, path = "/upload", tag = "events",
    params(("stream" = Option<String>, Query, description = "Their stream; `journal` without it")),
    request_body(content = String, content_type = "application/vnd.fdo.journal", description = "The Journal Export Format, as `systemd-journal-upload` sends it"),
    responses((status = 202, body = String, content_type = "text/plain", description = "All entries are durable, each once"),
        (status = "4XX", body = String, content_type = "text/plain"), (status = "5XX", body = String, content_type = "text/plain"))
)]
pub(crate) async fn upload(State(app): Shared, caller: Caller, params: Params, request: Request) -> Response {
    let headers = request.headers().clone();
    let sum = async {
        let sender = sender(&caller, params, &request)?;
        let mut upload = app.parts.journals.upload(sender);
        let mut body = request.into_body();
        while let Some(bytes) = next(&mut body).await? {
            upload.take(&bytes).await.map_err(ended)?;
        }
        upload.end().await.map_err(ended)
    };
    match sum.await {
        // What can never be taken would be refused for ever, if its sender were told to come again.
        Ok(sum) => in_words(StatusCode::ACCEPTED.as_u16(), &said(&sum), None),
        Err(problem) => refused(Shape::Journal, &headers, &problem),
    }
}

fn sender(caller: &Caller, mut params: Params, request: &Request) -> Answer<Sender> {
    let stream = params.take("stream").unwrap_or_else(|| STREAM_DEFAULT.to_owned());
    params.done()?;
    let stream = elastic::stream_of(&stream)
        .ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "the name of the stream is not valid"))?;
    let value = |name| request.headers().get(name).map(HeaderValue::as_bytes);
    let media_type = value(header::CONTENT_TYPE).unwrap_or_default();
    let essence = media_type.split(|byte| *byte == b';').next().unwrap_or_default();
    if !essence.trim_ascii().eq_ignore_ascii_case(MEDIA_TYPE) {
        let detail = "expected Content-Type application/vnd.fdo.journal";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    if Encoding::of(value(header::CONTENT_ENCODING)) != Some(Encoding::Identity) {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected no Content-Encoding"));
    }
    let (tenant, source) = (caller.account.tenant.clone(), SourceId::of_token(&caller.account.id));
    Ok(Sender { tenant, source, stream })
}

/// Returns what came next, however long the whole takes.
async fn next(body: &mut Body) -> Answer<Option<bytes::Bytes>> {
    loop {
        let frame = tokio::time::timeout(SILENCE_MAX, body.frame()).await;
        let frame = frame.map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "nothing came for too long"))?;
        let Some(frame) = frame else { return Ok(None) };
        let frame = frame.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body ended early"))?;
        if let Ok(bytes) = frame.into_data() {
            return Ok(Some(bytes));
        }
    }
}

fn ended(why: Ended) -> Problem {
    match why {
        Ended::Broken(why) => Problem::new(StatusCode::BAD_REQUEST, why),
        Ended::Later(why) => Problem::new(StatusCode::TOO_MANY_REQUESTS, why).after(RETRY_AFTER),
    }
}

fn said(sum: &Sum) -> String {
    let Sum { durable, known, refused, reason } = sum;
    let mut said = format!("{durable} entries recorded, {known} were already");
    if *refused > 0 {
        let reason = reason.unwrap_or("it cannot be recorded");
        said.push_str(&format!(", {refused} refused; the first: {reason}"));
    }
    said
}
