//! The silences: listed, set, ended.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use jiff::Timestamp;
use model::label::is_label_name;
use model::limits::{LABEL_VALUE_BYTES_MAX, LABELS_MAX, NAME_BYTES_MAX, NOTE_BYTES_MAX};
use model::{MatchOp, Matcher};
use serde::Deserialize;
use utoipa::ToSchema;

use super::read::{Body, Params};
use super::{Answer, Shared, actor};
use crate::guard::Caller;
use crate::problem::Problem;
use crate::seam::{Listing, Silence, SilenceDraft};

/// A silence to be set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SilenceRequest {
    /// The silence that this one replaces.
    #[serde(default)]
    id: Option<String>,
    /// All must hold for an alert to be silenced.
    #[schema(value_type = Vec<crate::openapi::MatcherShape>)]
    matchers: Vec<Matcher>,
    /// From when; now when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    starts_at: Option<Timestamp>,
    /// Until when; or say `duration`.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<Timestamp>,
    /// For how long, such as `2h`; or say `ends_at`.
    #[serde(default)]
    duration: Option<String>,
    /// Why.
    comment: String,
}

/// Lists silences, those that end last first.
#[utoipa::path(
    get, path = "/api/dihya/v1/silences", tag = "silences",
    params(
        ("state" = Option<crate::seam::SilenceState>, Query, description = "Only those in this state"),
        ("limit" = Option<u16>, Query, description = "Most rows, 1 to 1000; 100 when left out"),
        ("cursor" = Option<String>, Query, description = "The `next` of the answer to read on from"),
    ),
    responses((status = 200, body = Listing<Silence>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn list(State(app): Shared, caller: Caller, mut params: Params) -> Answer<Json<Listing<Silence>>> {
    let state = params.word("state", "expected pending, active or expired")?;
    let page = params.page()?;
    params.done()?;
    Ok(Json(app.parts.silences.list(&caller.account.tenant, state, page).await?))
}

/// Sets a silence.
#[utoipa::path(
    post, path = "/api/dihya/v1/silences", tag = "silences", request_body = SilenceRequest,
    responses((status = 201, body = Silence), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn set(State(app): Shared, caller: Caller, Body(request): Body<SilenceRequest>) -> Answer<Response> {
    let draft = read(request, app.parts.clock.now())?;
    let until = format!("until {}", draft.ends_at);
    app.administer(&caller, "silence.set", draft.id.as_deref().unwrap_or_default(), until).await?;
    let silence = app.parts.silences.set(&caller.account.tenant, draft, actor(&caller)).await?;
    Ok((StatusCode::CREATED, Json(silence)).into_response())
}

/// Ends a silence now.
#[utoipa::path(
    delete, path = "/api/dihya/v1/silences/{id}", tag = "silences",
    params(("id" = String, Path, description = "The silence's id")),
    responses((status = 200, body = Silence), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn expire(State(app): Shared, caller: Caller, Path(id): Path<String>) -> Answer<Json<Silence>> {
    if !is_id(&id) {
        return Err(Problem::missing("silence"));
    }
    app.administer(&caller, "silence.expire", &id, String::new()).await?;
    Ok(Json(app.parts.silences.expire(&caller.account.tenant, &id, actor(&caller)).await?))
}

fn is_id(id: &str) -> bool {
    id.len() <= NAME_BYTES_MAX && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn read(request: SilenceRequest, now: Timestamp) -> Result<SilenceDraft, Problem> {
    if request.id.as_ref().is_some_and(|id| !is_id(id)) {
        return Err(Problem::field("id", "expected the id of a silence"));
    }
    if request.matchers.is_empty() || request.matchers.len() > LABELS_MAX {
        return Err(Problem::field("matchers", format!("expected 1 to {LABELS_MAX} matchers")));
    }
    for (at, matcher) in request.matchers.iter().enumerate() {
        if !is_label_name(&matcher.name) {
            return Err(Problem::field(format!("matchers[{at}].name"), "expected a label name"));
        }
        if matcher.value.len() > LABEL_VALUE_BYTES_MAX {
            let expected = format!("expected at most {LABEL_VALUE_BYTES_MAX} bytes");
            return Err(Problem::field(format!("matchers[{at}].value"), expected));
        }
    }
    // As in Alertmanager: a matcher that fits an absent label narrows nothing, and one of them alone silences all.
    let narrows = |matcher: &Matcher| match matcher.op {
        MatchOp::Equal => !matcher.value.is_empty(),
        MatchOp::NotEqual => matcher.value.is_empty(),
        MatchOp::Matches => !matcher.value.is_empty() && matcher.value != ".*",
        MatchOp::NotMatches => false,
    };
    if !request.matchers.iter().any(narrows) {
        return Err(Problem::field("matchers", "expected at least one matcher that does not match an absent label"));
    }
    if request.comment.trim().is_empty() || request.comment.len() > NOTE_BYTES_MAX {
        return Err(Problem::field("comment", "expected a text that says why"));
    }
    let starts_at = request.starts_at.unwrap_or(now);
    let ends_at = match (request.ends_at, request.duration) {
        (Some(ends_at), None) => ends_at,
        (None, Some(duration)) => {
            let expected = || Problem::field("duration", "expected a duration such as 2h");
            let duration = model::config::parse_duration(&duration).map_err(|_| expected())?;
            starts_at.checked_add(duration).map_err(|_| expected())?
        }
        _ => return Err(Problem::field("ends_at", "expected either ends_at or duration")),
    };
    if ends_at <= starts_at || ends_at <= now {
        return Err(Problem::field("ends_at", "expected a time to come, after starts_at"));
    }
    Ok(SilenceDraft { id: request.id, matchers: request.matchers, starts_at, ends_at, comment: request.comment })
}
