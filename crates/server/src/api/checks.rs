//! The checks: listed, shown, run now.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use model::State as CheckState;

use super::read::{Body, Nothing, Params};
use super::status::{Overview, Service};
use super::{Answer, Shared, validator};
use crate::guard::Caller;
use crate::problem::Problem;
use crate::seam::{Check, Listing};

/// Lists the checks of the tenant.
#[utoipa::path(
    get, path = "/api/dihya/v1/checks", tag = "checks",
    params(
        ("state" = Option<crate::openapi::StateWord>, Query, description = "Only those in this state"),
        ("kind" = Option<String>, Query, description = "Only those of this kind"),
        ("group" = Option<String>, Query, description = "Only those of this group"),
        ("limit" = Option<u16>, Query, description = "Most rows, 1 to 1000; 100 when left out"),
        ("cursor" = Option<String>, Query, description = "The `next` of the answer to read on from"),
    ),
    responses((status = 200, body = Overview), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn list(State(app): Shared, caller: Caller, mut params: Params, request: Request) -> Answer {
    let state: Option<CheckState> = params.word("state", "expected up, degraded, down or unknown")?;
    let (kind, group, page) = (params.take("kind"), params.take("group"), params.page()?);
    params.done()?;
    let keep = |check: &Check| {
        state.is_none_or(|state| check.result.state == state)
            && kind.as_ref().is_none_or(|kind| check.result.kind == *kind)
            && group.as_ref().is_none_or(|group| check.group == *group)
    };
    let board = app.parts.checks.board(&caller.account.tenant);
    let results: Vec<_> = board.into_iter().filter(keep).map(|check| check.result).collect();
    // The verdict is about all that the filter keeps, whatever part of it this page shows.
    let mut overview = Overview::of(results, app.parts.clock.now());
    let listing = Listing::cut(std::mem::take(&mut overview.services), &page, |service: &Service| service.id.clone());
    (overview.services, overview.next) = (listing.items, listing.next);
    Ok(overview.answer(validator(&request).as_deref()))
}

/// Shows one check.
#[utoipa::path(
    get, path = "/api/dihya/v1/checks/{id}", tag = "checks",
    params(("id" = String, Path, description = "The check's id")),
    responses((status = 200, body = Service), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn one(State(app): Shared, caller: Caller, Path(id): Path<String>) -> Answer<Json<Service>> {
    match app.parts.checks.find(&caller.account.tenant, &id) {
        Some(check) => Ok(Json(check.result.into())),
        None => Err(Problem::missing("check")),
    }
}

/// Runs a check now and answers with how it stands after that.
#[utoipa::path(
    post, path = "/api/dihya/v1/checks/{id}/run", tag = "checks",
    params(("id" = String, Path, description = "The check's id")),
    responses((status = 200, body = Service), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn run(
    State(app): Shared,
    caller: Caller,
    Path(id): Path<String>,
    Body(Nothing {}): Body<Nothing>,
) -> Answer {
    let tenant = &caller.account.tenant;
    app.parts.checks.find(tenant, &id).ok_or_else(|| Problem::missing("check"))?;
    app.administer(&caller, "check.run", &id, String::new()).await?;
    let check = app.parts.checks.run(&caller.account.tenant, &id).await?;
    let answer: Response = Json(Service::from(check.result)).into_response();
    Ok(answer)
}
