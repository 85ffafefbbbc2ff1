//! Searches: what people type, compiled to the plan that SQL would have, and answered in plain structs.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampMicrosecondType};
use datafusion::functions::core::expr_fn::{coalesce, get_field};
use datafusion::functions_aggregate::expr_fn::{approx_distinct, count};
use datafusion::logical_expr::{Cast, Expr, ident, lit, try_cast};
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::scalar::ScalarValue;
use futures_util::Stream;
use futures_util::stream::{self, BoxStream, StreamExt};
use model::event::severity_of;
use model::limits::{FIELD_VALUES_MAX, HISTOGRAM_BUCKETS_MAX, SEARCH_ROWS_MAX};
use model::{Position, Tenant, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ask::{Limits, Rows, WAYS};
use crate::columns::{self, DEDICATED, Holds};
use crate::error::Error;
use crate::file::day_of;
use crate::lake::Lake;
use crate::syntax::{self, Order, Part, Pattern, Search, Test, parse};
use crate::word::has_word;

/// What is searched, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// What people type: see [`crate::syntax`]. Empty means all.
    pub search: String,
    /// From when on, by the events' own time.
    pub from: Option<Timestamp>,
    /// Until before when.
    pub to: Option<Timestamp>,
    /// Only what comes after this in the answer's order, newest first: the next page.
    pub after: Option<Cursor>,
    /// Most events; at most `limits::SEARCH_ROWS_MAX`.
    pub limit: usize,
}

/// A place among the events of a tenant: no two have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor {
    /// The event's time, in microseconds since 1970.
    pub ts_us: i64,
    /// Its position in the tenant's ledger.
    pub position: Position,
}

/// An event that was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hit {
    /// Its position in the tenant's ledger: what a proof is asked for by.
    pub position: Position,
    /// When it happened by its sender's clock, or reached us if the sender did not say.
    pub ts: Timestamp,
    /// When it reached us.
    pub observed: Timestamp,
    /// Its stream.
    pub stream: String,
    /// How grave, in OpenTelemetry's numbers; 0 unsaid.
    pub severity: u8,
    /// What sent it: `service.name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// On which host: `host.name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The sector.
    pub sector: String,
    /// Its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Its body as JSON, if it is a structure; then there is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_json: Option<String>,
    /// The trace, 32 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The span, 16 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
    /// Attributes by OpenTelemetry's names, those with columns of their own among them.
    pub attributes: BTreeMap<String, String>,
    /// What the sender says of itself, likewise.
    pub resource: BTreeMap<String, String>,
    /// What privacy did to it, as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleared: Option<String>,
}

impl Hit {
    /// Returns its place: as [`Query::after`] it gives what comes next.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { ts_us: self.ts.as_microsecond(), position: self.position }
    }
}

/// The events of a search as they come, newest first. Dropping it ends the query.
pub struct Hits(BoxStream<'static, Result<Hit, Error>>);

impl Stream for Hits {
    type Item = Result<Hit, Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}

impl std::fmt::Debug for Hits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hits")
    }
}

/// How many events, over a stretch of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// Where the stretch begins.
    pub start: Timestamp,
    /// Counts by level: unsaid, trace, debug, info, warning, error, critical.
    pub levels: [u64; LEVELS],
}

/// Levels that are counted apart: OpenTelemetry's six, and unsaid before them.
pub const LEVELS: usize = 7;

/// What values a field has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldStatistics {
    /// Events that the search finds.
    pub events: u64,
    /// Those of them that have the field.
    pub present: u64,
    /// Different values, about: within two in a hundred.
    pub distinct: u64,
    /// The commonest values and how many have them, most first; at most as many as asked for.
    pub top: Vec<(String, u64)>,
}

/// What came before and after an event in the same place.
#[derive(Clone, Debug, PartialEq)]
pub struct Surroundings {
    /// The event itself, if it is there.
    pub event: Option<Hit>,
    /// Those before it, oldest first.
    pub before: Vec<Hit>,
    /// Those after it, oldest first.
    pub after: Vec<Hit>,
}

impl Query {
    /// Reads the search and finds what is wrong with it, before anybody asks.
    ///
    /// # Errors
    /// [`Error::Search`] with the column and what was expected there.
    pub fn check(&self) -> Result<(), Error> {
        filter(self).map(drop)
    }
}

impl Lake {
    /// Searches a tenant's events, newest first.
    ///
    /// # Errors
    /// [`Error::Search`] with the column and what was expected there; otherwise as [`Lake::sql`].
    pub async fn search(&self, tenant: &Tenant, query: &Query, limits: Limits) -> Result<Hits, Error> {
        let filter = filter(query)?;
        let limit = query.limit.clamp(1, SEARCH_ROWS_MAX);
        let rows = self.ask(tenant, limits, limit, move |events| {
            let order = vec![ident("ts").sort(false, false), ident("position").sort(false, false)];
            events.filter(filter)?.sort(order)?.limit(0, Some(limit))
        });
        let rows = rows.await?;
        let hits = stream::unfold(Some(rows), |rows| async move {
            let mut rows = rows?;
            let (hits, rows) = match rows.next().await? {
                Ok(batch) => (hits(&batch).into_iter().map(Ok).collect(), Some(rows)),
                Err(error) => (vec![Err(error)], None),
            };
            Some((stream::iter(hits), rows))
        });
        Ok(Hits(hits.flatten().boxed()))
    }

    /// Counts the events that reached us from `from` until before `until` and fit a search; no other day's files are looked
    /// into.
    ///
    /// # Errors
    /// As [`Lake::search`].
    pub async fn count(
        &self,
        tenant: &Tenant,
        search: &str,
        (from, until): (Timestamp, Timestamp),
        limits: Limits,
    ) -> Result<u64, Error> {
        let fits = filter(&Query { search: search.to_owned(), ..Query::default() })?;
        let (from, until) = (from.as_microsecond(), until.as_microsecond());
        let within = ident("observed").gt_eq(time(from)).and(ident("observed").lt(time(until)));
        // An event is admitted when it was observed, or soon after, by a clock that is set back at most a little.
        let day = lit(ScalarValue::Date32(Some(day_of(from).saturating_sub(1))));
        let fits = fits.and(within).and(ident("day").gt_eq(day));
        let rows = self.ask(tenant, limits, 1, move |events| {
            events.filter(fits)?.aggregate(vec![], vec![count(lit(1_i64)).alias("n")])
        });
        let batches = rows.await?.all().await?;
        let n = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().iter()).flatten();
        Ok(n.map(i64::unsigned_abs).sum())
    }

    /// Counts what a search finds over time: buckets of `width_us` microseconds from `query.from` to `query.to`, both
    /// of which must be given; buckets without events are left out.
    ///
    /// # Errors
    /// As [`Lake::search`]; [`Error::Query`] when there would be more than `limits::HISTOGRAM_BUCKETS_MAX` buckets.
    pub async fn histogram(
        &self,
        tenant: &Tenant,
        query: &Query,
        width_us: i64,
        limits: Limits,
    ) -> Result<Vec<Bucket>, Error> {
        let refused = |why: &str| Error::Query { why: why.to_owned() };
        let (from, to) = query.from.zip(query.to).ok_or_else(|| refused("a histogram has a beginning and an end"))?;
        let span = to.as_microsecond().saturating_sub(from.as_microsecond());
        let most = i64::try_from(HISTOGRAM_BUCKETS_MAX).unwrap_or(i64::MAX);
        if width_us < 1 || span < 1 || (span - 1) / width_us >= most {
            return Err(refused("a histogram has from one to two thousand buckets"));
        }
        let filter = filter(query)?;
        let start = from.as_microsecond();
        let at = (cast(ident("ts"), DataType::Int64) - lit(start)) / lit(width_us);
        let level = (ident("severity") + lit(3_i32)) / lit(4_i32);
        let rows = self.ask(tenant, limits, HISTOGRAM_BUCKETS_MAX * LEVELS, move |events| {
            let groups = vec![at.alias("at"), level.alias("level")];
            events.filter(filter)?.aggregate(groups, vec![count(lit(1_i64)).alias("n")])
        });
        let mut buckets: BTreeMap<i64, [u64; LEVELS]> = BTreeMap::new();
        for batch in rows.await?.all().await? {
            let at = batch.column(0).as_primitive::<Int64Type>();
            let level = batch.column(1).as_primitive::<Int32Type>();
            let n = batch.column(2).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let level = usize::try_from(level.value(row)).unwrap_or(0).min(LEVELS - 1);
                buckets.entry(at.value(row)).or_default()[level] += n.value(row).unsigned_abs();
            }
        }
        let bucket = |(at, levels): (i64, _)| Bucket {
            start: Timestamp::from_microsecond(start + at * width_us).unwrap_or(Timestamp::MAX),
            levels,
        };
        Ok(buckets.into_iter().map(bucket).collect())
    }

    /// Returns the commonest values of a field among what a search finds, `most` of them at most.
    ///
    /// # Errors
    /// As [`Lake::search`].
    pub async fn field(
        &self,
        tenant: &Tenant,
        query: &Query,
        field: &str,
        most: usize,
        limits: Limits,
    ) -> Result<FieldStatistics, Error> {
        let filter = filter(query)?;
        let most = most.clamp(1, FIELD_VALUES_MAX);
        let value = cast(target(field).0, DataType::Utf8);
        let (among, all, each) = (filter.clone(), value.clone(), value);
        let totals = self.ask(tenant, limits, 1, move |events| {
            let events = events.filter(among)?.select(vec![all.alias("value")])?;
            let value = || ident("value");
            events.aggregate(vec![], vec![count(lit(1_i64)), count(value()), approx_distinct(value())])
        });
        let totals = totals.await?.all().await?;
        let counted = |column: usize| {
            let batch = totals.iter().find(|batch| batch.num_rows() > 0)?;
            let column = arrow::compute::cast(batch.column(column), &DataType::Int64).ok()?;
            Some(column.as_primitive::<Int64Type>().value(0).unsigned_abs())
        };
        let top = self.ask(tenant, limits, most, move |events| {
            let events =
                events.filter(filter)?.select(vec![each.alias("value")])?.filter(ident("value").is_not_null())?;
            let counts = events.aggregate(vec![ident("value")], vec![count(lit(1_i64)).alias("n")])?;
            counts.sort(vec![ident("n").sort(false, false), ident("value").sort(true, false)])?.limit(0, Some(most))
        });
        let mut values = Vec::new();
        for batch in top.await?.all().await? {
            let (value, n) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>());
            values.extend((0..batch.num_rows()).map(|row| (value.value(row).to_owned(), n.value(row).unsigned_abs())));
        }
        let (events, present, distinct) = (counted(0), counted(1), counted(2));
        Ok(FieldStatistics {
            events: events.unwrap_or(0),
            present: present.unwrap_or(0),
            distinct: distinct.unwrap_or(0),
            top: values,
        })
    }

    /// Returns the events around the one at `at` in the same stream, service and host: `lines` before and after, by
    /// time and position.
    ///
    /// # Errors
    /// As [`Lake::search`].
    pub async fn surroundings(
        &self,
        tenant: &Tenant,
        at: Cursor,
        lines: usize,
        limits: Limits,
    ) -> Result<Surroundings, Error> {
        let here = ident("ts").eq(time(at.ts_us)).and(ident("position").eq(lit(position(at.position))));
        let found = self.ask(tenant, limits, 1, move |events| events.filter(here)?.limit(0, Some(1)));
        let event = found.await?.all().await?.iter().flat_map(hits).next();
        let Some(event) = event else {
            return Ok(Surroundings { event: None, before: Vec::new(), after: Vec::new() });
        };
        let same = |name: &str, value: &Option<String>| match value {
            Some(value) => ident(name).eq(lit(value.clone())),
            None => ident(name).is_null(),
        };
        let place = ident("stream").eq(lit(event.stream.clone()));
        let place = place.and(same("service", &event.service)).and(same("host", &event.host));
        let lines = lines.min(SEARCH_ROWS_MAX);
        let mut sides = [Vec::new(), Vec::new()];
        for (side, newest_first) in sides.iter_mut().zip([true, false]) {
            let filter = place.clone().and(beyond(at, newest_first));
            let rows = self.ask(tenant, limits, lines.max(1), move |events| {
                let order = ["ts", "position"].map(|name| ident(name).sort(!newest_first, false));
                events.filter(filter)?.sort(order.to_vec())?.limit(0, Some(lines))
            });
            *side = rows.await?.all().await?.iter().flat_map(hits).collect();
        }
        let [mut before, after] = sides;
        before.reverse();
        Ok(Surroundings { event: Some(event), before, after })
    }

    /// Runs what `make` makes of the tenant's events.
    pub(crate) async fn ask(
        &self,
        tenant: &Tenant,
        limits: Limits,
        rows: usize,
        make: impl FnOnce(DataFrame) -> datafusion::error::Result<DataFrame> + Send + 'static,
    ) -> Result<Rows, Error> {
        let events = self.events(tenant)?;
        let turn = self.0.engine.turn()?;
        let limits = Limits { rows, ..limits };
        self.0.engine.start(events, WAYS, limits, turn, |session| Box::pin(over(session, make))).await
    }
}

/// Makes a query of the table.
pub(crate) async fn over(
    session: SessionContext,
    make: impl FnOnce(DataFrame) -> datafusion::error::Result<DataFrame>,
) -> Result<DataFrame, Error> {
    make(session.table("events").await.map_err(Error::plan)?).map_err(Error::plan)
}

fn cast(expr: Expr, to: DataType) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), to))
}

fn time(us: i64) -> Expr {
    lit(ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into())))
}

fn position(position: Position) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

/// What is older than a place, or newer. The bound on time alone stands apart, for it is what skips files.
fn beyond(at: Cursor, older: bool) -> Expr {
    let (ts, here) = (ident("ts"), || lit(position(at.position)));
    let (bound, strictly, tie) = if older {
        (ident("ts").lt_eq(time(at.ts_us)), ts.lt(time(at.ts_us)), ident("position").lt(here()))
    } else {
        (ident("ts").gt_eq(time(at.ts_us)), ts.gt(time(at.ts_us)), ident("position").gt(here()))
    };
    bound.and(strictly.or(tie))
}

/// Makes the filter of a query.
pub(crate) fn filter(query: &Query) -> Result<Expr, Error> {
    let search = parse(&query.search).map_err(Error::Search)?;
    let mut filter = compile(&search).map_err(Error::Search)?;
    if let Some(from) = query.from {
        filter = filter.and(ident("ts").gt_eq(time(from.as_microsecond())));
    }
    if let Some(to) = query.to {
        filter = filter.and(ident("ts").lt(time(to.as_microsecond())));
    }
    if let Some(after) = query.after {
        filter = filter.and(beyond(after, true));
    }
    Ok(filter)
}

fn compile(search: &Search) -> Result<Expr, syntax::Error> {
    let each = |parts: &[Search]| parts.iter().map(compile).collect::<Result<Vec<_>, _>>();
    Ok(match search {
        Search::And(parts) => each(parts)?.into_iter().reduce(Expr::and).unwrap_or_else(|| lit(true)),
        Search::Or(parts) => each(parts)?.into_iter().reduce(Expr::or).unwrap_or_else(|| lit(false)),
        // What has no such field is not so either.
        Search::Not(inner) => compile(inner)?.is_not_true(),
        Search::Word(pattern) => has_word(ident("body"), pattern).or(has_word(ident("body_json"), pattern)),
        Search::Text(text) => {
            let like = lit(like(&Pattern::exact(text), true));
            ident("body").ilike(like.clone()).or(ident("body_json").ilike(like))
        }
        Search::Field { name, test, column } => field(name, test, *column)?,
    })
}

/// Makes a pattern of SQL's LIKE of ours; `within` when it may stand anywhere in the text.
fn like(pattern: &Pattern, within: bool) -> String {
    let mut like = String::new();
    let any = |like: &mut String| {
        if !like.ends_with('%') || like.ends_with("\\%") {
            like.push('%');
        }
    };
    if within {
        any(&mut like);
    }
    for part in &pattern.0 {
        match part {
            Part::Any => any(&mut like),
            Part::Text(text) => like.extend(text.chars().flat_map(|c| {
                let escape = matches!(c, '%' | '_' | '\\').then_some('\\');
                escape.into_iter().chain([c])
            })),
        }
    }
    if within {
        any(&mut like);
    }
    like
}

/// Returns the expression that a field's name stands for, and what it holds.
fn target(name: &str) -> (Expr, Holds) {
    let column = match name {
        "service.name" => "service",
        "host.name" => "host",
        "level" => "severity",
        "time" | "@timestamp" => "ts",
        "message" => "body",
        name => DEDICATED.iter().find(|field| field.attribute == name).map_or(name, |field| field.column),
    };
    match columns::holds(column) {
        Some(holds) if holds != Holds::Map => return (ident(column), holds),
        _ => {}
    }
    let of = |map: &str, key: &str| get_field(ident(map), key.to_owned());
    let found = if let Some(key) = name.strip_prefix("resource.") {
        of("resource", key)
    } else if let Some(key) = name.strip_prefix("attributes.") {
        of("attributes", key)
    } else {
        coalesce(vec![of("attributes", name), of("resource", name)])
    };
    (found, Holds::Text)
}

fn field(name: &str, test: &Test, column: usize) -> Result<Expr, syntax::Error> {
    let expected = |expected| syntax::Error { column, expected };
    let (target, holds) = target(name);
    let whole = |text: &str| text.parse::<i64>().map_err(|_| expected("a whole number"));
    Ok(match (test, holds) {
        (Test::Exists, _) => target.is_not_null(),
        (test, Holds::Int) => {
            return level(test)
                .ok_or_else(|| expected("a level (trace, debug, info, warning, error, critical) or its number"));
        }
        (Test::Compare(order, value), Holds::Time) => {
            let at = time_of(value).ok_or_else(|| expected("a time such as 2026-11-27T10:00:00Z or 2026-11-27"))?;
            compare(target, *order, time(at))
        }
        (Test::Compare(order, value), Holds::Long) => compare(target, *order, lit(whole(value)?)),
        (Test::Compare(order, value), Holds::Text) => {
            let number: f64 = value.parse().map_err(|_| expected("a number"))?;
            compare(try_cast(target, DataType::Float64), *order, lit(number))
        }
        (Test::Is(_), Holds::Time) => return Err(expected("an order before a time: <, <=, > or >=")),
        (_, Holds::Day | Holds::Map) => return Err(expected("another field: ts has the time")),
        (Test::Is(pattern), Holds::Long) => match pattern.as_exact() {
            Some(value) => target.eq(lit(whole(value)?)),
            None => cast(target, DataType::Utf8).like(lit(like(pattern, false))),
        },
        (Test::Is(pattern), _) => match pattern.as_exact() {
            Some(value) => target.eq(lit(value)),
            None => target.like(lit(like(pattern, false))),
        },
    })
}

fn compare(target: Expr, order: Order, value: Expr) -> Expr {
    match order {
        Order::Less => target.lt(value),
        Order::AtMost => target.lt_eq(value),
        Order::More => target.gt(value),
        Order::AtLeast => target.gt_eq(value),
    }
}

/// A level's word means all of OpenTelemetry's four numbers of it.
fn level(test: &Test) -> Option<Expr> {
    let range = |value: &str| {
        if let Ok(number) = value.parse::<i32>() {
            return (0..=24).contains(&number).then_some((number, number));
        }
        let first = i32::from(severity_of(value)?.saturating_sub(1) / 4 * 4 + 1);
        Some((first, first + 3))
    };
    let severity = || ident("severity");
    Some(match test {
        Test::Exists => severity().is_not_null(),
        Test::Is(pattern) => {
            let (low, high) = range(pattern.as_exact()?)?;
            severity().between(lit(low), lit(high))
        }
        Test::Compare(order, value) => {
            let (low, high) = range(value)?;
            let bound = if matches!(order, Order::Less | Order::AtLeast) { low } else { high };
            compare(severity(), *order, lit(bound))
        }
    })
}

fn time_of(text: &str) -> Option<i64> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_microsecond());
    }
    let date: jiff::civil::Date = text.parse().ok()?;
    Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_microsecond())
}

/// Reads hits out of a batch that has all columns of the table, by name.
fn hits(batch: &RecordBatch) -> Vec<Hit> {
    (0..batch.num_rows()).filter_map(|row| hit(batch, row)).collect()
}

fn hit(batch: &RecordBatch, row: usize) -> Option<Hit> {
    let text = |name: &str| {
        let column = batch.column_by_name(name)?.as_string_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let long = |name: &str| {
        let column = batch.column_by_name(name)?.as_primitive_opt::<Int64Type>()?;
        column.is_valid(row).then(|| column.value(row))
    };
    let time = |name: &str| {
        let column = batch.column_by_name(name)?.as_primitive_opt::<TimestampMicrosecondType>()?;
        Timestamp::from_microsecond(column.value(row)).ok()
    };
    let map = |name: &str| {
        let mut map = BTreeMap::new();
        if let Some(column) =
            batch.column_by_name(name).and_then(|column| column.as_map_opt()).filter(|map| map.is_valid(row))
        {
            let entries = column.value(row);
            let (keys, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_string::<i32>());
            map.extend(keys.iter().flatten().zip(values.iter().flatten()).map(|(k, v)| (k.to_owned(), v.to_owned())));
        }
        map
    };
    let (mut attributes, mut resource) = (map("attributes"), map("resource"));
    for field in &DEDICATED {
        let value =
            if field.holds == Holds::Long { long(field.column).map(|n| n.to_string()) } else { text(field.column) };
        let of = if field.resource { &mut resource } else { &mut attributes };
        of.extend(value.map(|value| (field.attribute.to_owned(), value)));
    }
    let severity = batch.column_by_name("severity")?.as_primitive_opt::<Int32Type>()?.value(row);
    Some(Hit {
        position: u64::try_from(long("position")?).ok()?,
        ts: time("ts")?,
        observed: time("observed")?,
        stream: text("stream")?,
        severity: u8::try_from(severity).unwrap_or(0),
        service: text("service"),
        host: text("host"),
        sector: text("sector")?,
        body: text("body"),
        body_json: text("body_json"),
        trace_id: text("trace_id"),
        span_id: text("span_id"),
        attributes,
        resource,
        cleared: text("cleared"),
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(search: &str, expected: &Expect) {
        let compiled = parse(search).and_then(|search| compile(&search));
        expected.assert_eq(&compiled.map_or_else(|error| error.to_string(), |expr| expr.to_string()));
    }

    #[test]
    fn searches_become_the_filters_of_sql() {
        check("", &expect!["Boolean(true)"]);
        check("service:auth severity>=error", &expect![[r#"service = Utf8("auth") AND severity >= Int32(17)"#]]);
        check(
            "-a*b OR x:web*",
            &expect![[
                r#"has_word(body, Utf8("a*b")) OR has_word(body_json, Utf8("a*b")) IS NOT TRUE OR coalesce(get_field(attributes, Utf8("x")), get_field(resource, Utf8("x"))) LIKE Utf8("web%")"#
            ]],
        );
        check(
            "user.id:P7x field:>10",
            &expect![[
                r#"user_id = Utf8("P7x") AND TRY_CAST(coalesce(get_field(attributes, Utf8("field")), get_field(resource, Utf8("field"))) AS Float64) > Float64(10)"#
            ]],
        );
        check("http.response.status_code:5*", &expect![[r#"CAST(http_response_status_code AS Utf8) LIKE Utf8("5%")"#]]);
        check("ts<2026-11-22", &expect![[r#"ts < TimestampMicrosecond(1795305600000000, Some("UTC"))"#]]);
        check("\"50%\"", &expect![[r#"body ILIKE Utf8("%50\%%") OR body_json ILIKE Utf8("%50\%%")"#]]);
        check("severity:*", &expect!["severity IS NOT NULL"]);
        check(
            "severity:25",
            &expect!["column 10: expected a level (trace, debug, info, warning, error, critical) or its number"],
        );
        check("ts<x", &expect!["column 4: expected a time such as 2026-11-27T10:00:00Z or 2026-11-27"]);
    }

    #[test]
    fn patterns_of_like_mean_themselves() {
        let pattern = |parts: &[&str]| {
            Pattern(
                parts
                    .iter()
                    .map(|part| if *part == "*" { Part::Any } else { Part::Text((*part).to_owned()) })
                    .collect(),
            )
        };
        for (parts, within, expected) in [
            (&["50%_a\\"][..], false, r"50\%\_a\\"),
            (&["a"][..], true, "%a%"),
            (&["*", "a", "*"][..], true, "%a%"),
            (&["a%"][..], true, r"%a\%%"),
            (&["web", "*"][..], false, "web%"),
            (&[][..], true, "%"),
        ] {
            assert_eq!(like(&pattern(parts), within), expected, "{parts:?}");
        }
    }
}
