//! The tokens: listed, made, revoked. Each act is in the ledger before it takes effect.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::ToSchema;

use super::read::{Body, Params};
use super::{Answer, Shared, actor, recorded};
use crate::guard::{Caller, Taken};
use crate::problem::Problem;
use crate::routes::Area;
use crate::seam::Listing;
use crate::token::Role;
use crate::tokens::{Account, TokenDraft};

/// A token to be made, for the caller's tenant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    /// What people call it; unique in the tenant.
    name: String,
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

/// Lists the tokens of the tenant, without the tokens themselves.
#[utoipa::path(
    get, path = "/api/dihya/v1/tokens", tag = "tokens",
    params(
        ("limit" = Option<u16>, Query, description = "Most rows, 1 to 1000; 100 when left out"),
        ("cursor" = Option<String>, Query, description = "The `next` of the answer to read on from"),
    ),
    responses((status = 200, body = Listing<Account>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn list(State(app): Shared, caller: Caller, taken: Taken, mut params: Params) -> Answer {
    let page = params.page()?;
    params.done()?;
    let accounts = app.parts.tokens.list(&caller.account.tenant);
    recorded(&app, &caller, taken, Listing::cut(accounts, &page, |account| account.id.clone())).await
}

/// Makes a token.
#[utoipa::path(
    post, path = "/api/dihya/v1/tokens", tag = "tokens", request_body = TokenRequest,
    responses((status = 201, body = Made), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn add(State(app): Shared, caller: Caller, Body(request): Body<TokenRequest>) -> Answer<Response> {
    let draft = TokenDraft {
        tenant: caller.account.tenant.clone(),
        name: request.name,
        roles: request.roles,
        scopes: request.scopes,
        expires_at: request.expires_at,
    };
    app.parts.tokens.check(&draft)?;
    let roles: Vec<&str> = draft.roles.iter().map(|role| role.as_str()).collect();
    app.administer(&caller, "token.add", &draft.name, roles.join(" ")).await?;
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
    let tenant = &caller.account.tenant;
    let account = app.parts.tokens.find(tenant, &id).ok_or_else(|| Problem::missing("token"))?;
    app.administer(&caller, "token.revoke", &account.name, String::new()).await?;
    app.parts.tokens.revoke(tenant, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
