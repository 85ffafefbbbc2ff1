//! Who calls, and whether they may: the one place where a request meets the table of routes.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tracing::error;

use crate::api::{Peer, fhir, intake, otlp};
use crate::app::App;
use crate::limiter::client_key;
use crate::problem::Problem;
use crate::routes::{NOWHERE, Need, READERS, Route, SENDERS, Shape};
use crate::token::{PREFIX, Role};
use crate::tokens::Account;

/// Who a request was let in as.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) account: Arc<Account>,
}

/// The route that a request took, for its handler and for the figures.
#[derive(Clone, Copy)]
pub(crate) struct Taken(pub(crate) &'static Route);

/// Lets a request through to its handler if the route allows its caller.
pub(crate) async fn guard(
    State((app, route)): State<(Arc<App>, &'static Route)>,
    mut request: Request,
    next: Next,
) -> Response {
    let entered = match ours(&app, &request) {
        Ok(()) => let_in(&app, route, request.headers(), Peer::of(request.extensions())),
        Err(problem) => Err(problem),
    };
    let mut response = match entered {
        Err(problem) => shaped(route.shape, request.headers(), problem),
        Ok(caller) => {
            request.extensions_mut().insert(Taken(route));
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            handle(&app, route.path, route.timeout, next.run(request)).await
        }
    };
    response.extensions_mut().insert(Taken(route));
    response
}

/// Writes a problem as whoever asks expects it.
fn shaped(shape: Shape, headers: &HeaderMap, problem: Problem) -> Response {
    match shape {
        Shape::Ours => problem.into_response(),
        Shape::Fhir => fhir::refused(&problem),
        Shape::Elastic => intake::in_their_shape(headers, &problem),
        Shape::Otlp | Shape::Grpc | Shape::Loki | Shape::Journal => otlp::refused(shape, headers, &problem),
    }
}

async fn handle(app: &App, route: &'static str, within: Duration, handler: impl Future<Output = Response>) -> Response {
    let caught = AssertUnwindSafe(handler).catch_unwind();
    match tokio::time::timeout(within, caught).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            // The panic's text may hold a payload: the hook prints where it happened, and the answer says nothing.
            app.parts.metrics.panic();
            error!(route, "a handler panicked");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "this is a bug of ours").into_response()
        }
        Err(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the request took too long").after(5).into_response(),
    }
}

/// Refuses what a foreign page makes a browser send. A browser that was asked for a password once sends it along with
/// every request from then on, whoever's page makes it (CSRF), so a method that changes something needs the browser's
/// word that the request is from a page of ours. Programs send neither header, and pass.
fn ours(app: &App, request: &Request) -> Result<(), Problem> {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let headers = request.headers();
    let foreign = match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        // The browser compared the origins itself, and before any proxy changed a name.
        Some(b"same-origin" | b"none") => false,
        Some(_) => true,
        None => headers.get(header::ORIGIN).is_some_and(|origin| !is_own_origin(app, request, origin.as_bytes())),
    };
    if !foreign {
        return Ok(());
    }
    app.parts.metrics.auth_failure("cross_site");
    Err(Problem::new(StatusCode::FORBIDDEN, "the request comes from a page of another site"))
}

/// Tells whether an `Origin` is the host that the request was sent to, or where people reach this server.
fn is_own_origin(app: &App, request: &Request, origin: &[u8]) -> bool {
    let Some((_, authority)) = std::str::from_utf8(origin).ok().and_then(|origin| origin.split_once("://")) else {
        return false; // `null` among others
    };
    let host = request.headers().get(header::HOST).map(HeaderValue::as_bytes);
    let host = host.or_else(|| request.uri().authority().map(|authority| authority.as_str().as_bytes()));
    let outside = app.url();
    let outside = outside.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or_default());
    host.is_some_and(|host| host.eq_ignore_ascii_case(authority.as_bytes()))
        || outside.is_some_and(|outside| outside.eq_ignore_ascii_case(authority))
}

fn let_in(app: &App, route: &Route, headers: &HeaderMap, peer: Peer) -> Result<Option<Caller>, Problem> {
    let (roles, optional) = match route.need {
        Need::Open => return Ok(None),
        Need::Sign => return sender(app, route, headers),
        Need::Page if app.config().status_page.public => return Ok(None),
        Need::Page => (READERS, false),
        Need::Log => (READERS, true),
        Need::Roles(roles) => (roles, false),
    };
    let metrics = &app.parts.metrics;
    let Some(presented) = presented(headers) else {
        if optional {
            return Ok(None);
        }
        metrics.auth_failure("missing");
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "the route needs a token"));
    };
    let Some(account) = presented.as_deref().and_then(|token| app.parts.tokens.verify(token)) else {
        return Err(refuse_stranger(app, peer));
    };
    count(app, &account)?;
    let fits = account.scopes.is_empty() || account.scopes.contains(&route.area);
    let allowed = roles.iter().any(|role| account.roles.contains(role));
    if optional && !(fits && allowed) {
        // A public log is not less public to somebody with a lesser token.
        return Ok(None);
    }
    if !allowed {
        metrics.auth_failure("role");
        return Err(forbidden(roles));
    }
    if !fits {
        metrics.auth_failure("scope");
        let detail = format!("the token is confined to other parts of the API than {}", route.area.as_str());
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    if route.need == Need::Page && account.tenant != app.config().status_page.tenant {
        metrics.auth_failure("tenant");
        return Err(Problem::new(StatusCode::FORBIDDEN, "the status page is another tenant's"));
    }
    Ok(Some(Caller { account }))
}

/// Returns who sends a sign of life, if a token says so. A job needs none where it knows the heartbeat's secret name, and
/// a stale one in its environment does no harm: what no token and no name opens, the handler counts as a guess.
fn sender(app: &App, route: &Route, headers: &HeaderMap) -> Result<Option<Caller>, Problem> {
    let account = presented(headers).flatten().and_then(|token| app.parts.tokens.verify(&token));
    let sends = |account: &Arc<Account>| {
        let fits = account.scopes.is_empty() || account.scopes.contains(&route.area);
        fits && SENDERS.iter().any(|role| account.roles.contains(role))
    };
    let Some(account) = account.filter(sends) else { return Ok(None) };
    count(app, &account)?;
    Ok(Some(Caller { account }))
}

/// Counts a request of a token against its share of a minute.
fn count(app: &App, account: &Account) -> Result<(), Problem> {
    app.requests.count(account.id.clone(), app.parts.clock.monotonic()).map_err(|wait| {
        app.parts.metrics.auth_failure("rate");
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "the token made too many requests this minute").after(seconds(wait))
    })
}

fn forbidden(roles: &[Role]) -> Problem {
    let names: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    Problem::new(StatusCode::FORBIDDEN, format!("the route needs one of the roles {}", names.join(", ")))
}

/// Counts a token, or a heartbeat's id, that nobody was given.
pub(crate) fn refuse_stranger(app: &App, peer: Peer) -> Problem {
    match app.failures.count(client_key(peer.0), app.parts.clock.monotonic()) {
        Ok(()) => {
            app.parts.metrics.auth_failure("unknown");
            Problem::new(StatusCode::UNAUTHORIZED, "the token is unknown, revoked or expired")
        }
        Err(wait) => {
            app.parts.metrics.auth_failure("limited");
            let detail = "too many failed authentications from this address";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).after(seconds(wait))
        }
    }
}

fn seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_secs() + 1).unwrap_or(u32::MAX)
}

/// Returns the token that a request presents: `None` without one, `Some(None)` when it cannot be read.
fn presented(headers: &HeaderMap) -> Option<Option<String>> {
    let value = headers.get(header::AUTHORIZATION)?;
    Some(value.to_str().ok().and_then(credentials))
}

fn credentials(value: &str) -> Option<String> {
    let (scheme, rest) = value.split_once(' ')?;
    let rest = rest.trim();
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => Some(rest.to_owned()),
        "basic" => password(rest),
        // Elasticsearch clients send base64 of `id:key`; people paste the token itself.
        "apikey" if rest.starts_with(PREFIX) => Some(rest.to_owned()),
        "apikey" => password(rest),
        _ => None,
    }
}

fn password(encoded: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

/// Gives every answer its id and its security headers, and counts it.
pub(crate) async fn stamp(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let began = app.parts.clock.monotonic();
    let method = method_word(request.method());
    let id = app.request_id();
    let mut response = name_request(next.run(request).await, &id);
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers.entry(name.clone()).or_insert_with(|| HeaderValue::from_static(value));
    }
    if app.config().tls.is_some() {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(HeaderName::from_static("x-request-id"), value);
    }
    let route = response.extensions().get::<Taken>().map_or(NOWHERE, |taken| taken.0.path);
    let took = app.parts.clock.monotonic().saturating_sub(began);
    app.parts.metrics.request(method, route, response.status().as_u16(), took);
    response
}

/// Writes the request's id into a problem, so that one line of a report is enough to find it.
fn name_request(mut response: Response, id: &str) -> Response {
    let Some(mut problem) = response.extensions_mut().remove::<Problem>() else { return response };
    problem.request_id = Some(id.to_owned());
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    response.headers_mut().remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(body);
    response
}

/// Methods are a label of a metric: a stranger may not choose its values.
fn method_word(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "DELETE" => "DELETE",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// What every answer says to browsers: nothing is loaded from elsewhere, nothing runs, nothing embeds us.
const SECURITY_HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "interest-cohort=()"),
    (header::CACHE_CONTROL, "no-store"),
];

#[cfg(test)]
mod tests;
