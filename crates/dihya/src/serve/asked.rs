//! Events in the lake: the questions about them that the server asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lake::{Cursor, Error, Hit, Lake, Limits, RowsOut, Sql};
use model::limits::{FOLLOWERS_MAX, PAGE_ROWS_MAX, SEARCH_ROWS_MAX};
use model::{BoxFuture, Position, Question, Refusal, RefusalKind, Tenant, Timestamp};
use serde_json::{Map, Value};
use server::Declined;
use server::ask::{Bucket, Counted, Followed, Found, Language, Query, Rows, Stream, Values};
use tokio::sync::Semaphore;

use super::named::{Recordable, recorded, recorded_sql, translate, translate_sql};
use super::opening::Opening;
use super::vocabulary::{Seen, Vocabulary};
use crate::pipeline::Pipeline;

/// How often followers look for what is new.
const FOLLOW_EVERY: Duration = Duration::from_millis(250);
/// Time that a question may take: less than the server gives a request.
const TIME: Duration = Duration::from_secs(25);
/// Time that an answer in SQL may take, the reader's slowness included.
const SQL_TIME: Duration = Duration::from_secs(300);
/// Names of the lake's levels.
const LEVELS: [&str; lake::LEVELS] = ["none", "trace", "debug", "info", "warning", "error", "fatal"];

/// The lake, as the server asks it.
pub(crate) struct Asked {
    opening: Arc<Opening>,
    pipeline: Arc<Pipeline>,
    followers: Arc<Semaphore>,
    seen: Arc<Seen>,
}

impl Asked {
    pub(crate) fn new(opening: Arc<Opening>, pipeline: Arc<Pipeline>) -> Self {
        Self { opening, pipeline, followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)), seen: Arc::default() }
    }

    fn lake(&self) -> Result<&Lake, Declined> {
        self.opening.lake().ok_or_else(|| {
            // Why not may name files and other tenants.
            let reason = match self.opening.wrong() {
                None => "the lake is being opened; events are taken meanwhile",
                Some(_) => {
                    "the lake could not be opened, and it is tried again; events are taken meanwhile. Administrators read \
                     why at /api/dihya/v1/status and in the log"
                }
            };
            Declined::Later { reason: reason.to_owned() }
        })
    }
}

impl Asked {
    /// Shows events, and remembers the names in them that are nobody's.
    fn show(&self, tenant: &Tenant, hits: Vec<Hit>) -> Vec<server::ask::Hit> {
        let hits: Vec<server::ask::Hit> = hits.into_iter().map(shown).collect();
        self.seen.extend(tenant, hits.iter().flat_map(|hit| [hit.service.as_str(), hit.stream.as_str()]));
        hits
    }

    /// Makes a question of the lake; what is wrong with it is said of what was typed.
    fn query(
        &self,
        tenant: &Tenant,
        asked: Query,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<lake::Query, Declined> {
        let Query { text, from, until } = asked;
        let typed = lake::Query { search: text, from, to: until, after, limit };
        typed.check().map_err(declined)?;
        let clearer = self.pipeline.clearer();
        let search = translate(&typed.search, |field, value| clearer.named(tenant, field, value));
        Ok(lake::Query { search, ..typed })
    }
}

fn limits(rows: usize) -> Limits {
    Limits { rows, time: TIME }
}

fn declined(error: Error) -> Declined {
    let query = |reason: String| Declined::Invalid { field: "query".to_owned(), reason };
    match &error {
        Error::Search(wrong) => query(format!("column {}: expected {}", wrong.column, wrong.expected)),
        Error::Query { why } => query(why.clone()),
        Error::TooSlow { .. } | Error::TooLarge | Error::Failed { .. } => query(error.to_string()),
        Error::UnknownTenant => Declined::Missing { what: "tenant in the lake" },
        _ => Declined::Refused(Refusal { kind: error.kind(), reason: error.to_string() }),
    }
}

fn cursor(text: &str) -> Option<Cursor> {
    let (ts_us, position) = text.split_once('.')?;
    Some(Cursor { ts_us: ts_us.parse().ok()?, position: position.parse().ok()? })
}

fn shown(hit: Hit) -> server::ask::Hit {
    let texts = |map: BTreeMap<String, String>| -> Map<String, Value> {
        map.into_iter().map(|(name, value)| (name, Value::String(value))).collect()
    };
    let structure = hit.body_json.map(|json| serde_json::from_str(&json).unwrap_or(Value::String(json)));
    server::ask::Hit {
        position: hit.position,
        time: hit.ts,
        observed: hit.observed,
        stream: hit.stream,
        severity: hit.severity,
        service: hit.service.unwrap_or_default(),
        body: hit.body.map(Value::String).or(structure).unwrap_or(Value::Null),
        attributes: texts(hit.attributes),
        resource: texts(hit.resource),
        trace_id: hit.trace_id,
        span_id: hit.span_id,
    }
}

impl server::ask::Events for Asked {
    fn search<'a>(
        &'a self,
        tenant: &'a Tenant,
        asked: Query,
        limit: usize,
        after: Option<String>,
    ) -> BoxFuture<'a, Result<Found, Declined>> {
        Box::pin(async move {
            let after = match after {
                None => None,
                Some(text) => Some(cursor(&text).ok_or_else(|| Declined::Invalid {
                    field: "cursor".to_owned(),
                    reason: "expected the `next` of an earlier answer".to_owned(),
                })?),
            };
            let asked = self.query(tenant, asked, limit, after)?;
            let hits = self.lake()?.search(tenant, &asked, limits(limit)).await.map_err(declined)?;
            let hits: Vec<Hit> = hits.try_collect().await.map_err(declined)?;
            let last = hits.last().filter(|_| hits.len() >= limit).map(Hit::cursor);
            let next = last.map(|cursor| format!("{}.{}", cursor.ts_us, cursor.position));
            Ok(Found { items: self.show(tenant, hits), next })
        })
    }

    fn histogram<'a>(
        &'a self,
        tenant: &'a Tenant,
        asked: Query,
        steps: usize,
    ) -> BoxFuture<'a, Result<Vec<Bucket>, Declined>> {
        Box::pin(async move {
            let (from, until) = asked
                .from
                .zip(asked.until)
                .ok_or_else(|| Declined::Invalid { field: "from".to_owned(), reason: "expected a time".to_owned() })?;
            let (start, end) = (from.as_microsecond(), until.as_microsecond());
            let count = i64::try_from(steps.max(1)).unwrap_or(i64::MAX);
            let width = end.saturating_sub(start).saturating_add(count - 1) / count;
            let width = width.max(1);
            let asked = self.query(tenant, asked, 1, None)?;
            let found = self.lake()?.histogram(tenant, &asked, width, limits(1)).await.map_err(declined)?;
            let counts: BTreeMap<i64, [u64; lake::LEVELS]> =
                found.into_iter().map(|bucket| (bucket.start.as_microsecond(), bucket.levels)).collect();
            let all = (0..count).map(|step| start.saturating_add(step.saturating_mul(width)));
            let bucket = |at: i64| {
                let levels = counts.get(&at).copied().unwrap_or_default();
                let named = LEVELS.into_iter().zip(levels).filter(|(_, count)| *count > 0);
                let at = Timestamp::from_microsecond(at).unwrap_or(Timestamp::MAX);
                Bucket { at, count: levels.iter().sum(), levels: named.collect() }
            };
            Ok(all.take_while(|at| *at < end).map(bucket).collect())
        })
    }

    fn values<'a>(
        &'a self,
        tenant: &'a Tenant,
        asked: Query,
        field: String,
        limit: usize,
    ) -> BoxFuture<'a, Result<Values, Declined>> {
        Box::pin(async move {
            let asked = self.query(tenant, asked, 1, None)?;
            let found = self.lake()?.field(tenant, &asked, &field, limit, limits(limit)).await.map_err(declined)?;
            if matches!(field.as_str(), "service" | "service.name" | "stream") {
                self.seen.extend(tenant, found.top.iter().map(|(value, _)| value.as_str()));
            }
            let values = found.top.into_iter().map(|(value, count)| Counted { value, count }).collect();
            Ok(Values { values, events: found.events, present: found.present, distinct: found.distinct })
        })
    }

    fn context<'a>(
        &'a self,
        tenant: &'a Tenant,
        position: Position,
        before: usize,
        after: usize,
    ) -> BoxFuture<'a, Result<Vec<server::ask::Hit>, Declined>> {
        Box::pin(async move {
            let one = lake::Query { search: format!("position:{position}"), limit: 1, ..lake::Query::default() };
            let found = self.lake()?.search(tenant, &one, limits(1)).await.map_err(declined)?;
            let found: Vec<Hit> = found.try_collect().await.map_err(declined)?;
            let at = found.first().ok_or(Declined::Missing { what: "event" })?.cursor();
            let lines = before.max(after);
            let around = self.lake()?.surroundings(tenant, at, lines, limits(lines)).await.map_err(declined)?;
            let earlier = around.before.len().saturating_sub(before);
            let hits = around.before.into_iter().skip(earlier).chain(around.event);
            Ok(hits.chain(around.after.into_iter().take(after)).map(shown).collect())
        })
    }

    fn follow<'a>(&'a self, tenant: &'a Tenant, asked: Query) -> BoxFuture<'a, Result<Followed, Declined>> {
        Box::pin(async move {
            let text = self.query(tenant, asked, 1, None)?.search;
            let full = || Refusal { kind: RefusalKind::Retry, reason: "too many follow events already".to_owned() };
            let place = Arc::clone(&self.followers).try_acquire_owned().map_err(|_| full())?;
            let lake = self.lake()?;
            let next = lake.position(tenant).map_err(declined)?;
            let follower = Follower { lake: lake.clone(), tenant: tenant.clone(), text, next };
            let told = stream::unfold(Some((follower, place)), |state| async move {
                let (mut follower, place) = state?;
                match follower.wait().await {
                    Ok(hits) => Some((Ok(hits), Some((follower, place)))),
                    Err(error) => Some((Err(declined(error)), None)),
                }
            });
            Ok(told.boxed())
        })
    }

    fn sql<'a>(
        &'a self,
        tenant: &'a Tenant,
        sql: String,
        limit: usize,
        rows: Rows,
    ) -> BoxFuture<'a, Result<Stream, Declined>> {
        Box::pin(async move {
            let out = match rows {
                Rows::Ndjson => RowsOut::Ndjson,
                Rows::Arrow => RowsOut::ArrowIpc,
            };
            let limits = Limits { rows: limit, time: SQL_TIME };
            let clearer = self.pipeline.clearer();
            let sql = Sql::read(&sql).map_err(declined)?;
            let sql = translate_sql(sql, |field, value| clearer.named(tenant, field, value));
            let answer = self.lake()?.answer(tenant, sql, limits, out).await.map_err(declined)?;
            Ok(answer.map_err(declined).boxed())
        })
    }

    fn recorded(&self, tenant: &Tenant, text: &str, language: Language) -> (String, Option<Question>) {
        let clearer = self.pipeline.clearer();
        let words = Vocabulary::new(clearer.redactor(), &self.seen, tenant);
        let named = |field: &str, value: &str| clearer.named(tenant, field, value);
        let Recordable { shape, question } = match language {
            Language::Search => recorded(text, named, &words),
            Language::Sql => recorded_sql(text, named, &words),
            Language::Place => return (text.to_owned(), None),
        };
        (shape, question)
    }

    fn export<'a>(&'a self, tenant: &'a Tenant, asked: Query) -> BoxFuture<'a, Result<Stream, Declined>> {
        Box::pin(async move {
            let limits = Limits { rows: usize::MAX, time: SQL_TIME };
            let asked = self.query(tenant, asked, 1, None)?;
            let answer = self.lake()?.export_parquet(tenant, &asked, limits).await.map_err(declined)?;
            Ok(answer.map_err(declined).boxed())
        })
    }
}

/// Whoever follows a tenant's events.
struct Follower {
    lake: Lake,
    tenant: Tenant,
    text: String,
    /// The first position not looked at.
    next: Position,
}

impl Follower {
    /// Waits for events that fit, and returns them in the order of the log: the newest of those that came together, where they
    /// are more than one answer holds.
    async fn wait(&mut self) -> Result<Vec<server::ask::Hit>, Error> {
        loop {
            tokio::time::sleep(FOLLOW_EVERY).await;
            let next = self.lake.position(&self.tenant)?;
            if next == self.next {
                continue;
            }
            let text = match self.text.trim() {
                "" => String::new(),
                text => format!("({text}) "),
            };
            let search = format!("{text}position>={} position<{next}", self.next);
            let asked =
                lake::Query { search, limit: SEARCH_ROWS_MAX.min(PAGE_ROWS_MAX * 10), ..lake::Query::default() };
            let hits = match self.lake.search(&self.tenant, &asked, limits(asked.limit)).await {
                // As many ask as may: what is new waits.
                Err(Error::Busy) => continue,
                found => found?,
            };
            let mut hits: Vec<Hit> = hits.try_collect().await?;
            self.next = next;
            hits.sort_by_key(|hit| hit.position);
            if !hits.is_empty() {
                return Ok(hits.into_iter().map(shown).collect());
            }
        }
    }
}
