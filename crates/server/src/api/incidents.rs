//! The incidents: listed, shown, taken, annotated, closed.

use axum::Json;
use axum::extract::{Path, State};
use model::IncidentId;
use model::limits::{NAME_BYTES_MAX, NOTE_BYTES_MAX};
use serde::Deserialize;
use utoipa::ToSchema;

use super::read::{Body, Params};
use super::{Answer, Shared, actor, recorded};
use crate::app::App;
use crate::guard::{Caller, Taken};
use crate::problem::Problem;
use crate::seam::{Incident, IncidentAct, IncidentFilter, Listing};

/// Why somebody takes or closes an incident.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Remark {
    /// A note for colleagues.
    note: String,
}

/// A note on an incident.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoteDraft {
    /// The note.
    note: String,
    /// Whether the status page shows it to the public.
    #[serde(default)]
    public: bool,
}

/// Lists incidents, newest first, without their timelines.
#[utoipa::path(
    get, path = "/api/dihya/v1/incidents", tag = "incidents",
    params(
        ("state" = Option<crate::seam::IncidentState>, Query, description = "Only those in this state"),
        ("check" = Option<String>, Query, description = "Only those that concern this check"),
        ("limit" = Option<u16>, Query, description = "Most rows, 1 to 1000; 100 when left out"),
        ("cursor" = Option<String>, Query, description = "The `next` of the answer to read on from"),
    ),
    responses((status = 200, body = Listing<Incident>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn list(State(app): Shared, caller: Caller, taken: Taken, mut params: Params) -> Answer {
    let state = params.word("state", "expected open, acknowledged or resolved")?;
    let filter = IncidentFilter { state, check: params.take("check") };
    let page = params.page()?;
    params.done()?;
    let listing = app.parts.incidents.list(&caller.account.tenant, filter, page).await?;
    recorded(&app, &caller, taken, listing).await
}

/// Shows one incident with its timeline.
#[utoipa::path(
    get, path = "/api/dihya/v1/incidents/{id}", tag = "incidents",
    params(("id" = String, Path, description = "The incident's id")),
    responses((status = 200, body = Incident), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn one(
    State(app): Shared,
    caller: Caller,
    taken: Taken,
    Path(id): Path<String>,
) -> Answer<Json<Incident>> {
    let incident = app.parts.incidents.find(&caller.account.tenant, &read_id(id)?).await?;
    app.access(&caller, taken.0, 1).await?;
    Ok(Json(incident))
}

/// Takes an incident.
#[utoipa::path(
    post, path = "/api/dihya/v1/incidents/{id}/ack", tag = "incidents", request_body = Remark,
    params(("id" = String, Path, description = "The incident's id")),
    responses((status = 200, body = Incident), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn ack(
    State(app): Shared,
    caller: Caller,
    Path(id): Path<String>,
    Body(remark): Body<Remark>,
) -> Answer<Json<Incident>> {
    let note = read_note(remark.note)?;
    act(&app, &caller, id, IncidentAct::Acknowledge { note }).await
}

/// Closes an incident. Refused with 409 while one of its alerts fires.
#[utoipa::path(
    post, path = "/api/dihya/v1/incidents/{id}/resolve", tag = "incidents", request_body = Remark,
    params(("id" = String, Path, description = "The incident's id")),
    responses((status = 200, body = Incident), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn resolve(
    State(app): Shared,
    caller: Caller,
    Path(id): Path<String>,
    Body(remark): Body<Remark>,
) -> Answer<Json<Incident>> {
    let note = read_note(remark.note)?;
    act(&app, &caller, id, IncidentAct::Resolve { note }).await
}

/// Writes a note on an incident.
#[utoipa::path(
    post, path = "/api/dihya/v1/incidents/{id}/notes", tag = "incidents", request_body = NoteDraft,
    params(("id" = String, Path, description = "The incident's id")),
    responses((status = 200, body = Incident), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn note(
    State(app): Shared,
    caller: Caller,
    Path(id): Path<String>,
    Body(draft): Body<NoteDraft>,
) -> Answer<Json<Incident>> {
    let text = read_note(draft.note)?;
    if text.trim().is_empty() {
        return Err(Problem::field("note", "expected a text"));
    }
    // XML, and so the feed, has no place for them.
    if draft.public && text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(Problem::field("note", "expected a text without control characters"));
    }
    act(&app, &caller, id, IncidentAct::Note { text, public: draft.public }).await
}

async fn act(app: &App, caller: &Caller, id: String, act: IncidentAct) -> Answer<Json<Incident>> {
    let id = read_id(id)?;
    let incident = app.parts.incidents.act(&caller.account.tenant, &id, act, actor(caller)).await?;
    Ok(Json(incident))
}

/// What is no id of ours names no incident, and goes no further.
fn read_id(id: String) -> Result<IncidentId, Problem> {
    let ours = id.len() <= NAME_BYTES_MAX && id.bytes().all(|b| b.is_ascii_alphanumeric());
    if ours { Ok(IncidentId(id)) } else { Err(Problem::missing("incident")) }
}

fn read_note(note: String) -> Result<String, Problem> {
    if note.len() > NOTE_BYTES_MAX {
        return Err(Problem::field("note", format!("expected at most {NOTE_BYTES_MAX} bytes")));
    }
    Ok(note)
}
