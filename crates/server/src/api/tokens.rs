//! The tokens: listed, made, revoked. Each act is in the ledger before it takes effect.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use jiff::Timestamp;
use model::Tenant;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::ToSchema;

use super::read::{Body, Params};
use super::{Answer, Shared, actor, recorded};
use crate::app::App;
use crate::guard::{Caller, Taken};
use crate::problem::Problem;
use crate::routes::Area;
use crate::seam::Listing;
use crate::token::Role;
use crate::tokens::{Account, TokenDraft};

/// A token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    /// What people call it; unique in the tenant.
    name: String,
    /// Whose it is; the caller's tenant when left out. Another tenant's is made by administrators of the default tenant.
    #[serde(default)]
    #[schema(example = "default")]
    tenant: Option<String>,
    /// What it may be used for; at least one.
    #[schema(value_type = Vec<Role>)]
    roles: BTreeSet<Role>,
    /// The parts of the API that it is confined to; all when left out.
    #[serde(default)]
    #[schema(value_type = Vec<Area>)]
    scopes: BTreeSet<Area>,
    /// When it stops working; never when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// A token that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct Made {
    /// The token: shown this once, kept nowhere.
    token: String,
    #[serde(flatten)]
    account: Account,
}

/// Returns the tenant that a request is about. The instance's administrators are those of the default tenant: they may
/// name any tenant that is declared, everybody else their own.
fn tenant_of(app: &App, caller: &Caller, named: Option<&str>) -> Result<Tenant, Problem> {
    let own = &caller.account.tenant;
    let Some(named) = named.filter(|named| *named != own.as_str()) else { return Ok(own.clone()) };
    if own.as_str() != Tenant::DEFAULT {
        let detail = "another tenant's tokens are for administrators of the default tenant";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    let declared = app.parts.ledgers.tenants().into_iter().find(|tenant| tenant.as_str() == named);
    declared.ok_or_else(|| Problem::field("tenant", "expected a tenant that the configuration declares"))
}

/// Refuses a token that would open more, or for longer, than the caller's own: whoever holds a lesser token could make
/// a greater one. An administrator has every role.
fn within(caller: &Account, draft: &TokenDraft) -> Result<(), Problem> {
    let refuse = |field: &str, detail: String| {
        let field = Some(field.to_owned());
        Err(Problem { field, ..Problem::new(StatusCode::FORBIDDEN, detail) })
    };
    let holds = |role: &&Role| caller.roles.contains(role) || caller.roles.contains(&Role::Admin);
    if let Some(role) = draft.roles.iter().find(|role| !holds(role)) {
        return refuse("roles", format!("the caller's token does not have the role {role}"));
    }
    if !caller.scopes.is_empty() {
        let own: Vec<&str> = caller.scopes.iter().map(|area| area.as_str()).collect();
        if draft.scopes.is_empty() {
            return refuse("scopes", format!("the caller's token is confined: name scopes among {}", own.join(", ")));
        }
        if let Some(area) = draft.scopes.difference(&caller.scopes).next() {
            let detail = format!("the caller's token lacks the scope {}; it has {}", area.as_str(), own.join(", "));
            return refuse("scopes", detail);
        }
    }
    match (caller.expires_at, draft.expires_at) {
        (Some(own), None) => {
            refuse("expires_at", format!("the caller's token expires: name a time no later than {own}"))
        }
        (Some(own), Some(wanted)) if wanted > own => {
            refuse("expires_at", format!("the caller's token expires earlier: name a time no later than {own}"))
        }
        _ => Ok(()),
    }
}

/// Makes an act on a token durable: in the log of the tenant whose token it is, and, where that is another one, in that
/// of the caller, who acts with the powers of the instance.
async fn administer(
    app: &App,
    caller: &Caller,
    tenant: &Tenant,
    act: &str,
    target: &str,
    detail: &str,
) -> Result<(), Problem> {
    if *tenant == caller.account.tenant {
        return app.administer(caller, act, target, detail.to_owned()).await;
    }
    app.administer_in(tenant, caller, act, target, detail.to_owned()).await?;
    app.administer(caller, act, target, format!("tenant: {tenant}; {detail}").trim_end_matches("; ").to_owned()).await
}

/// Lists the tokens of a tenant, without the tokens themselves.
#[utoipa::path(
    get, path = "/api/dihya/v1/tokens", tag = "tokens",
    params(
        ("tenant" = Option<String>, Query, description = "Whose; the caller's when left out. Others are for administrators of the default tenant"),
        ("limit" = Option<u16>, Query, description = "Most rows, 1 to 1000; 100 when left out"),
        ("cursor" = Option<String>, Query, description = "The `next` of the answer to read on from"),
    ),
    responses((status = 200, body = Listing<Account>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn list(State(app): Shared, caller: Caller, taken: Taken, mut params: Params) -> Answer {
    let page = params.page()?;
    let named = params.take("tenant");
    params.done()?;
    let accounts = app.parts.tokens.list(&tenant_of(&app, &caller, named.as_deref())?);
    // By name, which is unique in a tenant: where the cursor's row is gone, what comes after it is still known.
    recorded(&app, &caller, taken, Listing::cut(accounts, &page, |account| account.name.clone())).await
}

/// Makes a token.
#[utoipa::path(
    post, path = "/api/dihya/v1/tokens", tag = "tokens", request_body = TokenRequest,
    responses((status = 201, body = Made), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn add(State(app): Shared, caller: Caller, Body(request): Body<TokenRequest>) -> Answer<Response> {
    let tenant = tenant_of(&app, &caller, request.tenant.as_deref())?;
    let draft = TokenDraft {
        tenant,
        name: request.name,
        roles: request.roles,
        scopes: request.scopes,
        expires_at: request.expires_at,
    };
    within(&caller.account, &draft)?;
    app.parts.tokens.check(&draft)?;
    administer(&app, &caller, &draft.tenant, "token.add", &draft.name, &draft.describe()).await?;
    let (secret, account) = app.parts.tokens.add(draft, actor(&caller)).await?;
    let made = Made { token: secret.expose().clone(), account };
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

/// Revokes a token.
#[utoipa::path(
    delete, path = "/api/dihya/v1/tokens/{id}", tag = "tokens",
    params(("id" = String, Path, description = "The token's id")),
    responses((status = 204, description = "Revoked"), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn revoke(State(app): Shared, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    let account = app.parts.tokens.find(&id).filter(|account| {
        // Whether another tenant has such a token is its own business, and that of the instance's administrators.
        let own = &caller.account.tenant;
        account.tenant == *own || own.as_str() == Tenant::DEFAULT
    });
    let account = account.ok_or_else(|| Problem::missing("token"))?;
    administer(&app, &caller, &account.tenant, "token.revoke", &account.name, "").await?;
    app.parts.tokens.revoke(&account.tenant, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
