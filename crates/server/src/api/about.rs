//! The instance itself: alive, ready, measured, described.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderValue, StatusCode, header};

use super::intake::shaped;
use super::tagged::Tagged;
use super::{Answer, Shared, validator};
use crate::guard::Caller;
use crate::metrics::{OPENMETRICS, PROMETHEUS, Stand};
use crate::openapi;

/// Sends browsers to the status page, and tells agents that here is what they send to.
pub(crate) async fn root(request: Request) -> Response {
    if accepts(&request, "text/html") {
        return Redirect::temporary("/status").into_response();
    }
    shaped(request.headers(), 200, intake::elastic::banner("dihya").to_string())
}

/// Says that the process answers.
#[utoipa::path(
    get, path = "/livez", tag = "status", security(()),
    responses((status = 200, content_type = "text/plain", body = String))
)]
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// Says whether the instance can be relied on; why not is for those who may read `/metrics` and the log.
#[utoipa::path(
    get, path = "/readyz", tag = "status", security(()),
    responses(
        (status = 200, content_type = "text/plain", body = String),
        (status = 503, content_type = "text/plain", body = String)
    )
)]
pub(crate) async fn readyz(State(app): Shared) -> (StatusCode, &'static str) {
    if app.parts.vitals.ailments().is_empty() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

/// Gives the figures of the instance and of the token's tenant.
#[utoipa::path(
    get, path = "/metrics", tag = "status",
    responses((status = 200, content((String = "application/openmetrics-text"), (String = "text/plain"))))
)]
pub(crate) async fn metrics(State(app): Shared, caller: Caller, request: Request) -> Response {
    let tenant = &caller.account.tenant;
    let (vitals, checks) = (&app.parts.vitals, &app.parts.checks);
    let stand = Stand {
        checks: checks.board(tenant),
        ledgers: vitals.ledgers().into_iter().filter(|log| log.tenant == *tenant).collect(),
        outboxes: vitals.outboxes().into_iter().filter(|outbox| outbox.tenant == *tenant).collect(),
        outputs: vitals.outputs().into_iter().filter(|output| output.tenant == *tenant).collect(),
        ready: vitals.ailments().is_empty(),
        lake_is_open: vitals.lake_is_open(),
    };
    let openmetrics = accepts(&request, "application/openmetrics-text");
    let text = app.parts.metrics.expose(tenant, stand, app.parts.vitals.scheduler(), openmetrics);
    let media_type = HeaderValue::from_static(if openmetrics { OPENMETRICS } else { PROMETHEUS });
    ([(header::CONTENT_TYPE, media_type)], text).into_response()
}

/// Gives the description of this API.
#[utoipa::path(
    get, path = "/openapi.json", tag = "status", security(()),
    responses((status = 200, content_type = "application/json", body = Object))
)]
pub(crate) async fn openapi(request: Request) -> Answer {
    let tagged = Tagged::new(openapi::document(), "application/json", "public, max-age=300");
    Ok(tagged.answer(validator(&request).as_deref()))
}

/// Tells whether `Accept` names a media type with a weight above 0. Wildcards do not count: they are what programs that
/// do not care send.
fn accepts(request: &Request, media_type: &str) -> bool {
    let values = request.headers().get_all(header::ACCEPT);
    values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(media_type));
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse::<f32>().unwrap_or(0.0));
        named && weight > 0.0
    })
}
