//! Heartbeats: a job says that it began, ended or failed, by a URL that nobody can guess; or, where the configuration
//! gives the heartbeat no secret name, with a token.

use axum::extract::{Path, State};
use http::StatusCode;
use model::limits::NAME_BYTES_MAX;

use super::{Answer, Peer, Shared};
use crate::app::App;
use crate::guard::{Caller, refuse_stranger};
use crate::problem::Problem;
use crate::seam::{Beat, Declined};

/// Takes the news that a job ended well.
#[utoipa::path(
    post, path = "/api/dihya/v1/heartbeats/{id}", tag = "heartbeats", security((), ("token" = [])),
    params(("id" = String, Path, description = "The heartbeat's `ping_id`, or, with a token, the check's id")),
    responses((status = 204, description = "Taken, and durable"), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn success(
    State(app): Shared,
    caller: Option<Caller>,
    Path(id): Path<String>,
    peer: Peer,
) -> Answer<StatusCode> {
    beat(&app, &id, Beat::Success, caller, peer).await
}

/// Takes the news that a job began, failed, or ended with an exit code.
#[utoipa::path(
    post, path = "/api/dihya/v1/heartbeats/{id}/{event}", tag = "heartbeats", security((), ("token" = [])),
    params(
        ("id" = String, Path, description = "The heartbeat's `ping_id`, or, with a token, the check's id"),
        ("event" = String, Path, description = "`start`, `fail`, or an exit code from 0 to 255"),
    ),
    responses((status = 204, description = "Taken, and durable"), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn event(
    State(app): Shared,
    caller: Option<Caller>,
    Path((id, event)): Path<(String, String)>,
    peer: Peer,
) -> Answer<StatusCode> {
    let what = match event.as_str() {
        "start" => Beat::Start,
        "fail" => Beat::Fail,
        code => match code.parse() {
            Ok(code) => Beat::Exit(code),
            Err(_) => return Err(Problem::field("event", "expected start, fail or an exit code from 0 to 255")),
        },
    };
    beat(&app, &id, what, caller, peer).await
}

async fn beat(app: &App, id: &str, beat: Beat, caller: Option<Caller>, peer: Peer) -> Answer<StatusCode> {
    // What the configuration allows in a `ping_id`.
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._~-".contains(&b);
    let plausible = id.len() <= NAME_BYTES_MAX && id.bytes().all(allowed);
    let sender = caller.as_ref().map(|caller| &caller.account.tenant);
    let taken = if plausible {
        app.parts.heartbeats.beat(id, beat, sender).await
    } else {
        Err(Declined::Missing { what: "heartbeat" })
    };
    match taken {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(Declined::Missing { .. }) => Err(unknown(app, peer)),
        Err(other) => Err(other.into()),
    }
}

/// The id is a secret: guessing it counts as guessing a token.
fn unknown(app: &App, peer: Peer) -> Problem {
    let refusal = refuse_stranger(app, peer);
    if refusal.status == StatusCode::TOO_MANY_REQUESTS { refusal } else { Problem::missing("heartbeat") }
}
