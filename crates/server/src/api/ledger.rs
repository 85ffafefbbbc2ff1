//! The ledger as strangers read it: C2SP tiles, and the proof of one record.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

use super::read::Params;
use super::{Answer, Shared};
use crate::guard::Caller;
use crate::path::LedgerFile;
use crate::problem::Problem;
use crate::token::Role;

/// Tiles never change: a cache may keep them for a year, shared caches only those of public logs.
const IMMUTABLE_PUBLIC: &str = "public, max-age=31536000, immutable";
const IMMUTABLE_PRIVATE: &str = "private, max-age=31536000, immutable";
/// Checkpoints change every second; keys change when they are rotated.
const FRESH: &str = "no-cache";

/// Gives one file of a log.
#[utoipa::path(
    get, path = "/ledger/{path}", tag = "ledger", security((), ("token" = [])),
    params(("path" = String, Path, description = "`<origin>/checkpoint`, `<origin>/tile/<L>/<N>[.p/<W>]`, `<origin>/tile/entries/<N>[.p/<W>]`, `<origin>/vkey`, `<origin>/mldsa.pub`, and per rotation of keys `<origin>/vkey.<n>`, `<origin>/mldsa.pub.<n>` and `<origin>/rotation/<n>`")),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn file(State(app): Shared, caller: Option<Caller>, Path(path): Path<String>) -> Answer {
    let missing = || Problem::missing("file of a log");
    let (origin, file) = LedgerFile::parse(&path).ok_or_else(missing)?;
    let owner = app.parts.ledgers.owner(&origin);
    // Without a token a log that is not public and one that does not exist look the same: names of tenants are theirs.
    let stranger = || Problem::new(StatusCode::UNAUTHORIZED, "there is no public log of that origin");
    let owner = match owner {
        None if caller.is_none() => return Err(stranger()),
        owner => owner.ok_or_else(missing)?,
    };
    if !owner.public {
        let caller = caller.ok_or_else(stranger)?;
        // The meta-log belongs to the instance: its administrators and auditors are those of the default tenant.
        let ours = match &owner.tenant {
            Some(tenant) => *tenant == caller.account.tenant,
            None => {
                let roles = &caller.account.roles;
                caller.account.tenant.as_str() == model::Tenant::DEFAULT
                    && (roles.contains(&Role::Admin) || roles.contains(&Role::Auditor))
            }
        };
        // Whether another tenant has a log is its own business.
        if !ours {
            return Err(missing());
        }
    }
    let bytes = app.parts.ledgers.read(&origin, file).await?;
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    let cache = match (file.is_immutable(), owner.public) {
        (true, true) => IMMUTABLE_PUBLIC,
        (true, false) => IMMUTABLE_PRIVATE,
        (false, _) => FRESH,
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.media_type()));
    if owner.public {
        // Verifiers run in browsers too, and there is nothing here that a cookie would open.
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    Ok(response)
}

/// Gives the tlog-proof of one record.
#[utoipa::path(
    get, path = "/api/dihya/v1/ledger/proof", tag = "ledger",
    params(("position" = u64, Query, description = "The position in a receipt")),
    responses((status = 200, content_type = "text/plain", body = String), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn proof(State(app): Shared, caller: Caller, mut params: Params) -> Answer {
    let expected = "expected a position from 0";
    let position = params.parse("position", expected)?.ok_or_else(|| Problem::field("position", expected))?;
    params.done()?;
    let text = app.parts.ledgers.prove(&caller.account.tenant, position).await?;
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(response)
}
