//! How all checks stand, in the one result schema that `dihya check --format json` and the SDKs share.

use axum::extract::{Request, State};
use axum::response::Response;
use jiff::Timestamp;
use model::{CheckResult, ConditionOutcome, State as CheckState, Timings};
use serde::Serialize;
use utoipa::ToSchema;

use super::tagged::Tagged;
use super::{Answer, Shared, validator};
use crate::guard::Caller;
use crate::problem::Problem;
use crate::seam::Check;
use crate::token::Role;

/// How a set of checks stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct Overview {
    /// The worst state among them; `unknown` when there is none.
    #[schema(value_type = crate::openapi::StateWord)]
    pub overall: CheckState,
    /// When the newest result came.
    #[schema(value_type = String, format = DateTime)]
    pub checked_at: Timestamp,
    /// The checks, ascending by id.
    pub services: Vec<Service>,
    /// What to pass as `cursor` to read on; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Why the instance itself should not be relied on now, as `DihyaUnwell` says; absent when it can be, and told to
    /// administrators alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unwell: Vec<String>,
}

/// A check as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct Service {
    /// Identifies the check in its tenant.
    #[schema(example = "web")]
    pub id: String,
    /// The name that people read.
    pub name: String,
    /// What kind of probe runs.
    #[schema(example = "http")]
    pub kind: String,
    /// The state after thresholds.
    #[schema(value_type = crate::openapi::StateWord)]
    pub state: CheckState,
    /// Why, in one sentence; empty when up.
    pub reason: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When the last run ended.
    #[schema(value_type = String, format = DateTime)]
    pub checked_at: Timestamp,
    /// Each term of the condition.
    #[schema(value_type = Vec<crate::openapi::ConditionShape>)]
    pub conditions: Vec<ConditionOutcome>,
    /// How long each phase took, in milliseconds; phases that did not happen are absent.
    #[schema(value_type = crate::openapi::TimingsShape)]
    pub timings_ms: Timings,
}

impl From<CheckResult> for Service {
    fn from(result: CheckResult) -> Self {
        Self {
            id: result.id,
            name: result.name,
            kind: result.kind,
            state: result.state,
            reason: result.reason,
            since: result.since,
            checked_at: result.checked_at,
            conditions: result.conditions,
            timings_ms: result.timings_ms,
        }
    }
}

impl Overview {
    /// Makes the overview of some checks. `now` stands in for the time of the newest result when there is none.
    #[must_use]
    pub fn of(results: impl IntoIterator<Item = CheckResult>, now: Timestamp) -> Self {
        let services: Vec<Service> = results.into_iter().map(Service::from).collect();
        Self {
            overall: CheckState::worst(services.iter().map(|service| service.state)),
            checked_at: services.iter().map(|service| service.checked_at).max().unwrap_or(now),
            services,
            next: None,
            unwell: Vec::new(),
        }
    }

    pub(crate) fn answer(&self, if_none_match: Option<&str>) -> Response {
        let json = serde_json::to_vec(self).expect("invariant: the schema holds nothing that JSON cannot");
        Tagged::new(json, "application/json", "private, no-cache").answer(if_none_match)
    }
}

/// Says how all checks of the tenant stand.
#[utoipa::path(
    get, path = "/api/dihya/v1/status", tag = "status",
    responses((status = 200, body = Overview), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn status(State(app): Shared, caller: Caller, request: Request) -> Answer {
    let board = app.parts.checks.board(&caller.account.tenant);
    let results = board.into_iter().map(|check: Check| check.result);
    let mut overview = Overview::of(results, app.parts.clock.now());
    // It may name another tenant's log.
    if caller.account.roles.contains(&Role::Admin) {
        overview.unwell = app.parts.vitals.ailments();
    }
    Ok(overview.answer(validator(&request).as_deref()))
}
