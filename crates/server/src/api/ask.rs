//! Questions about events. All are POST, so that what is asked stands in no URL, log or history; who asked what is durable
//! before the first byte of the answer.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;
use model::Position;
use model::limits::{PAGE_ROWS_MAX, QUERY_BYTES_MAX, SQL_ROWS_MAX};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::read::Body;
use super::{Answer, Shared};
use crate::ask::{Bucket, Found, Hit, Language, Query, Rows, Values};
use crate::guard::{Caller, Taken};
use crate::problem::Problem;

/// Rows in an answer unless the caller says otherwise.
const ROWS_DEFAULT: usize = 100;
/// Steps of a histogram unless the caller says otherwise, and at most.
const STEPS_DEFAULT: usize = 60;
const STEPS_MAX: usize = 1_000;
/// Most events shown before and after one.
const CONTEXT_MAX: usize = 500;
/// Longest name of a field.
const FIELD_BYTES_MAX: usize = 256;
/// Longest `next` of ours.
const CURSOR_BYTES_MAX: usize = 256;
/// How often a follower to whom nothing is to be told is sent a sign, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Which events.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Which {
    /// In the language of the search: `service:auth severity>=error "time out" -debug`; all without it.
    #[schema(example = "service:auth severity>=error \"time out\" -debug")]
    query: String,
    /// From when on.
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Until when, itself excluded.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Most rows, 1 to 1000; 100 when left out.
    limit: Option<usize>,
    /// The `next` of the answer to read on from.
    cursor: Option<String>,
}

/// How events are spread over time.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Spread {
    /// In the language of the search.
    query: String,
    /// From when on; an hour before `until` when left out.
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Until when; now when left out.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// In how many steps, 1 to 1000; 60 when left out.
    steps: Option<usize>,
}

/// A field whose values are counted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Counting {
    /// The field, as in the search.
    #[schema(example = "service")]
    field: String,
    /// In the language of the search.
    #[serde(default)]
    query: String,
    /// From when on.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Until when, itself excluded.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Most values, 1 to 1000; 100 when left out.
    #[serde(default)]
    limit: Option<usize>,
}

/// An event whose neighbours are shown.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Around {
    /// Its position.
    position: Position,
    /// How many before it, at most 500; 10 when left out.
    before: Option<usize>,
    /// How many after it, at most 500; 10 when left out.
    after: Option<usize>,
}

/// A question in SQL.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sql {
    /// One `SELECT` over the table `events`.
    #[schema(
        example = "SELECT service, count(*) AS n FROM events WHERE severity >= 17 GROUP BY service ORDER BY n DESC"
    )]
    query: String,
    /// Most rows, 1 to 1000000; 10000 when left out.
    limit: Option<usize>,
}

/// Which events leave.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Exported {
    /// In the language of the search; all without it.
    #[schema(example = "stream:web*")]
    query: String,
    /// From when on.
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Until when, itself excluded.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

/// Rows without a next part.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Items<T> {
    /// The rows.
    items: Vec<T>,
}

/// Finds events, newest first.
#[utoipa::path(
    post, path = "/api/dihya/v1/search", tag = "events", request_body = Which,
    responses((status = 200, body = Found), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn search(State(app): Shared, caller: Caller, taken: Taken, Body(which): Body<Which>) -> Answer {
    let limit = bounded("limit", which.limit, ROWS_DEFAULT, PAGE_ROWS_MAX)?;
    if which.cursor.as_ref().is_some_and(|cursor| cursor.len() > CURSOR_BYTES_MAX) {
        return Err(Problem::field("cursor", "expected the `next` of an earlier answer"));
    }
    let asked = read(which.query, which.from, which.until)?;
    let text = asked.text.clone();
    let found = app.parts.events.search(&caller.account.tenant, asked, limit, which.cursor).await?;
    app.asked(&caller, taken.0, found.items.len(), &text, Language::Search).await?;
    Ok(Json(found).into_response())
}

/// Counts events over time.
#[utoipa::path(
    post, path = "/api/dihya/v1/search/histogram", tag = "events", request_body = Spread,
    responses((status = 200, body = Items<Bucket>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn histogram(State(app): Shared, caller: Caller, taken: Taken, Body(spread): Body<Spread>) -> Answer {
    let steps = bounded("steps", spread.steps, STEPS_DEFAULT, STEPS_MAX)?;
    let until = spread.until.unwrap_or_else(|| app.parts.clock.now());
    let hour = jiff::SignedDuration::from_hours(1);
    let from = spread.from.unwrap_or_else(|| until.checked_sub(hour).unwrap_or(Timestamp::MIN));
    let asked = read(spread.query, Some(from), Some(until))?;
    let text = asked.text.clone();
    let items = app.parts.events.histogram(&caller.account.tenant, asked, steps).await?;
    app.asked(&caller, taken.0, items.len(), &text, Language::Search).await?;
    Ok(Json(Items { items }).into_response())
}

/// Counts the values of a field.
#[utoipa::path(
    post, path = "/api/dihya/v1/search/values", tag = "events", request_body = Counting,
    responses((status = 200, body = Values), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn values(State(app): Shared, caller: Caller, taken: Taken, Body(which): Body<Counting>) -> Answer {
    let limit = bounded("limit", which.limit, ROWS_DEFAULT, PAGE_ROWS_MAX)?;
    if which.field.is_empty() || which.field.len() > FIELD_BYTES_MAX {
        return Err(Problem::field("field", "expected the name of a field, such as service or attributes.http.method"));
    }
    let asked = read(which.query, which.from, which.until)?;
    let text = asked.text.clone();
    let values = app.parts.events.values(&caller.account.tenant, asked, which.field, limit).await?;
    app.asked(&caller, taken.0, values.values.len(), &text, Language::Search).await?;
    Ok(Json(values).into_response())
}

/// Shows the events around one, in its stream.
#[utoipa::path(
    post, path = "/api/dihya/v1/search/context", tag = "events", request_body = Around,
    responses((status = 200, body = Items<Hit>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn context(State(app): Shared, caller: Caller, taken: Taken, Body(around): Body<Around>) -> Answer {
    let side = |name, said: Option<usize>| match said.unwrap_or(10) {
        count if count <= CONTEXT_MAX => Ok(count),
        _ => Err(Problem::field(name, format!("expected a number from 0 to {CONTEXT_MAX}"))),
    };
    let (before, after) = (side("before", around.before)?, side("after", around.after)?);
    let items = app.parts.events.context(&caller.account.tenant, around.position, before, after).await?;
    app.asked(&caller, taken.0, items.len(), &format!("position:{}", around.position), Language::Place).await?;
    Ok(Json(Items { items }).into_response())
}

/// Follows events as they come, as server-sent events: each is a hit in `data:`, its position in `id:`.
#[utoipa::path(
    post, path = "/api/dihya/v1/search/follow", tag = "events", request_body = Which,
    responses((status = 200, content_type = "text/event-stream", body = String), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn follow(State(app): Shared, caller: Caller, taken: Taken, Body(which): Body<Which>) -> Answer {
    if which.limit.is_some() || which.cursor.is_some() || which.from.is_some() || which.until.is_some() {
        return Err(Problem::field("query", "expected only a query: what comes from now on is followed"));
    }
    let asked = read(which.query, None, None)?;
    let text = asked.text.clone();
    let followed = app.parts.events.follow(&caller.account.tenant, asked).await?;
    app.asked(&caller, taken.0, 0, &text, Language::Search).await?;
    let told = followed.map(|hits| match hits {
        Ok(hits) => hits.iter().map(event).collect::<String>(),
        Err(declined) => format!("event: error\ndata: {}\n\n", serde_json::Value::from(declined.to_string())),
    });
    let quiet = stream::unfold((), |()| async {
        tokio::time::sleep(KEEP_ALIVE).await;
        Some((": nothing new\n\n".to_owned(), ()))
    });
    // It ends with what is followed, not with the signs between; and with the token, which opens nothing once it is revoked.
    let told = told.map(Some).chain(stream::once(async { None }));
    let opens = move || {
        let account = app.parts.tokens.find(&caller.account.id);
        account.is_some_and(|account| account.expires_at.is_none_or(|end| end > app.parts.clock.now()))
    };
    let all = stream::select(told, quiet.map(Some));
    let all = all.take_while(move |text| std::future::ready(text.is_some() && opens()));
    let body = HttpBody::from_stream(all.map(|text| Ok::<_, Infallible>(Bytes::from(text.unwrap_or_default()))));
    Ok(typed(body, "text/event-stream"))
}

/// Asks in SQL: rows as they come, as JSON lines or, where `Accept` says so, as an Arrow stream.
#[utoipa::path(
    post, path = "/api/dihya/v1/sql", tag = "events", request_body = Sql,
    responses((status = 200, content_type = "application/x-ndjson", body = String), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn sql(
    State(app): Shared,
    caller: Caller,
    taken: Taken,
    headers: HeaderMap,
    Body(sql): Body<Sql>,
) -> Answer {
    const ARROW: &str = "application/vnd.apache.arrow.stream";
    let limit = bounded("limit", sql.limit, SQL_ROWS_DEFAULT, SQL_ROWS_MAX)?;
    let asked = read(sql.query, None, None)?.text;
    if asked.trim().is_empty() {
        return Err(Problem::field("query", "expected a SELECT over the table events"));
    }
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (rows, media_type) =
        if accept.contains(ARROW) { (Rows::Arrow, ARROW) } else { (Rows::Ndjson, "application/x-ndjson") };
    let answer = app.parts.events.sql(&caller.account.tenant, asked.clone(), limit, rows).await?;
    // How many rows there will be nobody knows yet; that they were asked for is durable before the first of them.
    app.asked(&caller, taken.0, 0, &asked, Language::Sql).await?;
    Ok(typed(HttpBody::from_stream(answer), media_type))
}

/// Exports events as one Parquet file, with the columns of the table `events` and in no particular order. A connection that ends
/// before the answer does leaves a file that is not whole.
#[utoipa::path(
    post, path = "/api/dihya/v1/exports", tag = "events", request_body = Exported,
    responses((status = 200, content_type = "application/vnd.apache.parquet", body = Vec<u8>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn export(State(app): Shared, caller: Caller, taken: Taken, Body(which): Body<Exported>) -> Answer {
    let asked = read(which.query, which.from, which.until)?;
    let text = asked.text.clone();
    let answer = app.parts.events.export(&caller.account.tenant, asked).await?;
    app.asked(&caller, taken.0, 0, &text, Language::Search).await?;
    Ok(typed(HttpBody::from_stream(answer), "application/vnd.apache.parquet"))
}

/// Rows of SQL unless the caller says otherwise.
const SQL_ROWS_DEFAULT: usize = 10_000;

fn typed(body: HttpBody, media_type: &'static str) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

fn event(hit: &Hit) -> String {
    let data = serde_json::to_string(hit).unwrap_or_default();
    format!("id: {}\ndata: {data}\n\n", hit.position)
}

fn bounded(name: &str, said: Option<usize>, default: usize, most: usize) -> Answer<usize> {
    let value = said.unwrap_or(default);
    if (1..=most).contains(&value) {
        Ok(value)
    } else {
        Err(Problem::field(name, format!("expected a number from 1 to {most}")))
    }
}

fn read(text: String, from: Option<Timestamp>, until: Option<Timestamp>) -> Answer<Query> {
    if text.len() > QUERY_BYTES_MAX {
        return Err(Problem::field("query", format!("expected at most {QUERY_BYTES_MAX} bytes")));
    }
    if let (Some(from), Some(until)) = (from, until)
        && from >= until
    {
        return Err(Problem::field("until", "expected a time after `from`"));
    }
    Ok(Query { text, from, until })
}
