//! Control state in SQLite: WAL, `synchronous=FULL`, one writer.
//!
//! Rows of a batch go in as one JSON array per table, unfolded by `json_each`: one statement and one binding per table
//! and batch, whatever their number.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use model::{BoxFuture, Delivery, IncidentId, Intent, IntentId, LabelSet as _, Outcome, SilenceChange, Tenant};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection as _, Row as _};

use super::{
    Depth, Heartbeat, IncidentFilter, IncidentLife, IncidentState, NotificationFilter, NotificationState, Notified,
    Page, Pending, State, StateError, Tally,
};
use crate::incidents::{Changes, Incident, Message, REOPEN_WITHIN, Snapshot, Tracked, later};
use crate::route::GroupId;

/// The migrations, in order; `PRAGMA user_version` counts those that were made.
const MIGRATIONS: [&str; 4] = [
    include_str!("../../migrations/0001_init.sql"),
    include_str!("../../migrations/0002_over.sql"),
    include_str!("../../migrations/0003_had.sql"),
    include_str!("../../migrations/0004_heartbeats.sql"),
];
/// Connections that read.
const READERS: u32 = 4;
/// Rows of each table that one step of [`State::forget`] deletes.
const FORGET_ROWS_MAX: i64 = 500;
/// Heartbeats that one transaction writes.
const HEARTBEATS_MAX: usize = 4_096;
/// How long a statement waits for another process's lock before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Control state in an SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteState {
    writer: SqlitePool,
    reader: SqlitePool,
}

impl SqliteState {
    /// Opens the file, makes it where there is none, and brings it to the present form.
    ///
    /// # Errors
    /// When it cannot be opened, or was made by a newer version.
    pub async fn open(path: &Path) -> Result<Self, StateError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            // What is erased must not be readable in the file's free pages.
            .pragma("secure_delete", "ON");
        let failed = |source| failure("open", source);
        let writer = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await.map_err(failed)?;
        migrate(&mut *writer.acquire().await.map_err(failed)?).await?;
        let readers = options.read_only(true).create_if_missing(false);
        let reader = SqlitePoolOptions::new().max_connections(READERS).connect_with(readers).await.map_err(failed)?;
        Ok(Self { writer, reader })
    }

    /// Opens control state that nobody keeps, for an engine that lives as long as one command.
    ///
    /// # Errors
    /// When SQLite cannot be opened.
    pub async fn in_memory() -> Result<Self, StateError> {
        let failed = |source| failure("open", source);
        let options = SqliteConnectOptions::new().in_memory(true).foreign_keys(true);
        // One connection is one database, which goes with it.
        let pool = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
        let writer = pool.connect_with(options).await.map_err(failed)?;
        migrate(&mut *writer.acquire().await.map_err(failed)?).await?;
        Ok(Self { reader: writer.clone(), writer })
    }

    async fn rows<T: DeserializeOwned>(
        &self,
        doing: &'static str,
        sql: &'static str,
        bindings: &[Value],
    ) -> Result<Vec<T>, StateError> {
        let mut query = sqlx::query(sql);
        for binding in bindings {
            query = match binding {
                Value::Null => query.bind(None::<String>),
                Value::String(text) => query.bind(text.clone()),
                other => query.bind(other.as_i64().unwrap_or(i64::MAX)),
            };
        }
        let rows = query.fetch_all(&self.reader).await.map_err(|source| failure(doing, source))?;
        rows.iter()
            .map(|row| {
                let body: &str = row.try_get(0).map_err(|source| failure(doing, source))?;
                serde_json::from_str(body).map_err(|source| garbled(doing, source))
            })
            .collect()
    }
}

#[cfg(test)]
impl SqliteState {
    /// Returns the first column of all rows.
    pub(crate) async fn texts(&self, sql: &'static str) -> Vec<String> {
        sqlx::query_scalar(sql).fetch_all(&self.reader).await.expect("reads")
    }

    /// Lets the file grow no more, as on a full disk, for as long as the writer's connection lives.
    pub(crate) async fn fill_up(&self) {
        sqlx::raw_sql("PRAGMA max_page_count = 1").execute(&self.writer).await.expect("is set");
    }
}

async fn migrate(connection: &mut SqliteConnection) -> Result<(), StateError> {
    let failed = |source| failure("migrate", source);
    let made: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await.map_err(failed)?;
    let made = usize::try_from(made).unwrap_or(usize::MAX);
    if made > MIGRATIONS.len() {
        let source = "the file was written by a newer version".into();
        return Err(StateError { doing: "open", stop: true, full: false, source });
    }
    for (done, migration) in MIGRATIONS.into_iter().enumerate().skip(made) {
        let mut transaction = connection.begin().await.map_err(failed)?;
        sqlx::raw_sql(migration).execute(&mut *transaction).await.map_err(failed)?;
        // PRAGMA takes no bindings.
        let version = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {}", done + 1));
        sqlx::raw_sql(version).execute(&mut *transaction).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
    }
    Ok(())
}

fn failure(doing: &'static str, source: sqlx::Error) -> StateError {
    /// `SQLITE_BUSY`, `SQLITE_LOCKED`, `SQLITE_FULL`: may work later. The rest (`SQLITE_IOERR`, `SQLITE_CORRUPT` ...)
    /// means that the file or the program is broken.
    const LATER: [i64; 3] = [5, 6, FULL];
    const FULL: i64 = 13;
    let code = source.as_database_error().and_then(|error| Some(error.code()?.parse::<i64>().ok()? & 0xFF));
    let later = match code {
        Some(code) => LATER.contains(&code),
        None => matches!(source, sqlx::Error::PoolTimedOut),
    };
    StateError { doing, stop: !later, full: code == Some(FULL), source: Box::new(source) }
}

fn garbled(doing: &'static str, source: serde_json::Error) -> StateError {
    StateError { doing, stop: true, full: false, source: Box::new(source) }
}

fn body(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("invariant: rows have string keys only")
}

fn hex(fingerprint: u64) -> String {
    format!("{fingerprint:016x}")
}

/// The statements that write, in order. Each takes the tenant and a JSON array of rows.
mod sql {
    pub(super) const CURSOR: &str = "INSERT INTO cursor (tenant, position, folded_at)
        SELECT ?1, value->>'position', value->>'folded_at' FROM json_each(?2) WHERE true
        ON CONFLICT DO UPDATE SET position = excluded.position, folded_at = excluded.folded_at";
    pub(super) const ALERTS: &str = "INSERT OR REPLACE INTO alerts (tenant, fingerprint, body)
        SELECT ?1, value->>'id', value->>'body' FROM json_each(?2)";
    pub(super) const ALERTS_GONE: &str =
        "DELETE FROM alerts WHERE tenant = ?1 AND fingerprint IN (SELECT value FROM json_each(?2))";
    pub(super) const INCIDENTS: &str = "INSERT OR REPLACE INTO incidents (tenant, id, state, resolved_ms, body)
        SELECT ?1, value->>'id', value->>'state', value->>'until_ms', value->>'body' FROM json_each(?2)";
    pub(super) const GROUPS: &str = "INSERT OR REPLACE INTO groups (tenant, id, body)
        SELECT ?1, value->>'id', value->>'body' FROM json_each(?2)";
    pub(super) const GROUPS_GONE: &str =
        "DELETE FROM groups WHERE tenant = ?1 AND id IN (SELECT value FROM json_each(?2))";
    pub(super) const SILENCES: &str = "INSERT OR REPLACE INTO silences (tenant, id, starts_ms, ends_ms, body)
        SELECT ?1, value->>'id', value->>'from_ms', value->>'until_ms', value->>'body' FROM json_each(?2)";
    pub(super) const TRANSITIONS: &str = "INSERT OR IGNORE INTO transitions (tenant, position, incident, body)
        SELECT ?1, value->>'position', value->>'id', value->>'body' FROM json_each(?2)";
    pub(super) const NOTIFICATIONS: &str = "INSERT OR IGNORE INTO notifications
            (tenant, id, position, incident, receiver, channel, state, body)
        SELECT ?1, value->>'id', value->>'position', value->>'incident', value->>'receiver', value->>'channel',
            'pending', value->>'body' FROM json_each(?2)";
    pub(super) const OUTBOX: &str = "INSERT OR IGNORE INTO outbox
            (tenant, id, channel, lane, position, at_ms, next_ms, give_up_ms, attempts, reason)
        SELECT ?1, value->>'id', value->>'channel', value->>'lane', value->>'position', value->>'from_ms',
            value->>'from_ms', value->>'until_ms', 0, '' FROM json_each(?2)";
    pub(super) const ATTEMPTS: &str = "INSERT OR IGNORE INTO attempts (tenant, intent, attempt, position, body)
        SELECT ?1, value->>'id', value->>'attempt', value->>'position', value->>'body' FROM json_each(?2)";
    // Rows by id first, so that each is found by its key: an UPDATE ... FROM json_each would hold every row against
    // every element.
    pub(super) const DELIVERED: &str = "UPDATE notifications SET state = 'delivered'
        WHERE tenant = ?1 AND id IN (SELECT value FROM json_each(?2))";
    pub(super) const FAILED: &str = "UPDATE notifications SET state = 'failed'
        WHERE tenant = ?1 AND id IN (SELECT value FROM json_each(?2)) AND state != 'delivered'";
    pub(super) const OUTBOX_GONE: &str =
        "DELETE FROM outbox WHERE tenant = ?1 AND id IN (SELECT value FROM json_each(?2))";
    /// One retry at a time: they are rare, and each has values of its own. What some recipients have leaves its lane, so
    /// that those who put it off hold up nothing.
    pub(super) const RETRY: &str = "UPDATE outbox SET
            attempts = max(attempts, ?3),
            next_ms = CASE WHEN attempts < ?3 THEN ?4 ELSE next_ms END,
            reason = CASE WHEN attempts < ?3 THEN ?5 ELSE reason END,
            lane = CASE WHEN ?6 THEN id ELSE lane END
        WHERE tenant = ?1 AND id = ?2";
    pub(super) const HAD: &str = "UPDATE outbox SET had = ?3 WHERE tenant = ?1 AND id = ?2";
}

/// A row as it goes in: columns that a table does not have are left out, and read as NULL.
#[derive(serde::Serialize)]
struct Row<'a, B> {
    id: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<model::Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incident: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receiver: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lane: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a B>,
}

impl<'a, B> Row<'a, B> {
    fn new(id: impl Into<Cow<'a, str>>, body: Option<&'a B>) -> Self {
        Self {
            id: id.into(),
            position: None,
            incident: None,
            receiver: None,
            channel: None,
            lane: None,
            state: None,
            attempt: None,
            from_ms: None,
            until_ms: None,
            body,
        }
    }
}

/// A statement and its rows as a JSON array; `None` when there are none.
type Batch = Option<(&'static str, String)>;

fn batch<R: serde::Serialize>(sql: &'static str, rows: Vec<R>) -> Batch {
    if rows.is_empty() { None } else { Some((sql, body(&rows))) }
}

/// Returns the rows of each statement, in the order in which they must run.
fn batches(changes: &Changes) -> impl Iterator<Item = (&'static str, String)> {
    let cursor = changes.cursor.iter().map(|(position, at)| json!({"position": position, "folded_at": at.to_string()}));
    let alerts = changes.alerts.iter();
    let known = alerts.clone().filter_map(|(id, tracked)| Some(Row::new(hex(*id), Some(tracked.as_ref()?))));
    let gone = alerts.filter(|(_, tracked)| tracked.is_none()).map(|(id, _)| hex(*id));
    let groups = changes.groups.iter();
    let grouped = groups.clone().filter_map(|(id, group)| Some(Row::new(id.to_string(), Some(group.as_ref()?))));
    let dissolved = groups.filter(|(_, group)| group.is_none()).map(|(id, _)| id.to_string());
    let incidents = changes.incidents.iter().map(|(id, incident)| Row {
        state: Some(IncidentState::of(incident).as_str()),
        until_ms: incident.resolved_at.map(Timestamp::as_millisecond),
        ..Row::new(id.as_str(), Some(incident))
    });
    let silences = changes.silences.iter().map(|(id, change)| Row {
        from_ms: Some(change.starts_at.as_millisecond()),
        until_ms: Some(change.ends_at.as_millisecond()),
        ..Row::new(id, Some(change))
    });
    let transitions = changes
        .transitions
        .iter()
        .map(|(position, step)| Row { position: Some(*position), ..Row::new(step.incident.as_str(), Some(step)) });
    let mut batches = vec![
        batch(sql::ALERTS, known.collect()),
        batch(sql::ALERTS_GONE, gone.collect()),
        batch(sql::INCIDENTS, incidents.collect()),
        batch(sql::TRANSITIONS, transitions.collect()),
        batch(sql::GROUPS, grouped.collect()),
        batch(sql::GROUPS_GONE, dissolved.collect()),
        batch(sql::SILENCES, silences.collect()),
    ];
    batches.extend(outbox_batches(&changes.intents, &changes.deliveries));
    batches.push(batch(sql::CURSOR, cursor.collect()));
    batches.into_iter().flatten()
}

fn outbox_batches(intents: &[(model::Position, Intent)], deliveries: &[(model::Position, Delivery)]) -> [Batch; 7] {
    let notifications = intents.iter().map(|(position, intent)| Row {
        position: Some(*position),
        incident: intent.incident.as_ref().map(IncidentId::as_str),
        receiver: Some(&intent.receiver),
        channel: Some(&intent.channel),
        ..Row::new(&intent.id.0, Some(intent))
    });
    let outbox = intents.iter().filter_map(|(position, intent)| {
        let told = Message::told(&intent.message);
        if told.as_ref().is_some_and(|told| told.already) {
            return None;
        }
        Some(Row::<()> {
            position: Some(*position),
            channel: Some(&intent.channel),
            // Tests and what names no group stand alone.
            lane: Some(told.map_or_else(|| intent.id.0.clone(), |told| told.group.to_string())),
            from_ms: Some(intent.at.as_millisecond()),
            until_ms: Some(intent.give_up_at.as_millisecond()),
            ..Row::new(&intent.id.0, None)
        })
    });
    let tallies = tallies(deliveries);
    let ended = |outcome| {
        let ids = tallies.iter().filter(move |(_, tally)| tally.end == Some(outcome));
        ids.map(|(intent, _)| intent.0.as_str()).collect::<Vec<_>>()
    };
    let (delivered, failed) = (ended(Outcome::Delivered), ended(Outcome::Failed));
    let attempts = deliveries.iter().map(|(position, delivery)| Row {
        position: Some(*position),
        attempt: Some(delivery.attempt),
        ..Row::new(&delivery.intent.0, Some(delivery))
    });
    [
        batch(sql::NOTIFICATIONS, notifications.collect()),
        batch(sql::OUTBOX, outbox.collect()),
        batch(sql::ATTEMPTS, attempts.collect()),
        batch(sql::DELIVERED, delivered.clone()),
        batch(sql::OUTBOX_GONE, delivered),
        batch(sql::FAILED, failed.clone()),
        batch(sql::OUTBOX_GONE, failed),
    ]
}

/// Returns the latest attempt at each notification that is to be tried again.
fn retries(deliveries: &[(model::Position, Delivery)]) -> impl Iterator<Item = Tally> {
    tallies(deliveries).into_values().filter(|tally| tally.end.is_none())
}

fn tallies(deliveries: &[(model::Position, Delivery)]) -> BTreeMap<&IntentId, Tally> {
    let mut tallies: BTreeMap<&IntentId, Tally> = BTreeMap::new();
    for (_, delivery) in deliveries {
        let tally = tallies.remove(&delivery.intent);
        tallies.insert(&delivery.intent, Tally::add(tally, delivery));
    }
    tallies
}

fn busy_json(busy: &BTreeSet<IntentId>) -> String {
    body(&busy.iter().map(|id| id.0.as_str()).collect::<Vec<_>>())
}

/// What has been over since before a time, oldest first, a bounded number of rows of each table. Attempts go before the
/// notification that they were made at, and the steps of an incident's life before it, so that a step may end anywhere.
/// Each takes the tenant, the time in milliseconds and the number of rows, and finds its rows by an index.
mod forget {
    pub(super) const OLD_NOTIFICATIONS: &str = "SELECT id FROM (SELECT id, body->>'at' AS at FROM notifications
            WHERE tenant = ?1 AND state != 'pending' ORDER BY position LIMIT ?3)
        WHERE CAST(unixepoch(at, 'subsec') * 1000 AS INTEGER) < ?2";
    pub(super) const OLD_INCIDENTS: &str =
        "SELECT id FROM incidents WHERE tenant = ?1 AND resolved_ms < ?2 ORDER BY resolved_ms LIMIT ?3";
    pub(super) const SILENCES: &str = "DELETE FROM silences WHERE tenant = ?1 AND id IN
        (SELECT id FROM silences WHERE tenant = ?1 AND ends_ms < ?2 ORDER BY ends_ms LIMIT ?3)";
    // These take the tenant, the ids as a JSON array and the number of rows.
    pub(super) const ATTEMPTS: &str = "DELETE FROM attempts WHERE (tenant, intent, attempt) IN
        (SELECT tenant, intent, attempt FROM attempts
            WHERE tenant = ?1 AND intent IN (SELECT value FROM json_each(?2)) LIMIT ?3)";
    pub(super) const NOTIFICATIONS: &str = "DELETE FROM notifications AS n
        WHERE tenant = ?1 AND id IN (SELECT value FROM json_each(?2) LIMIT ?3)
            AND NOT EXISTS (SELECT 1 FROM attempts AS a WHERE a.tenant = n.tenant AND a.intent = n.id)";
    pub(super) const TRANSITIONS: &str = "DELETE FROM transitions WHERE (tenant, position) IN
        (SELECT tenant, position FROM transitions
            WHERE tenant = ?1 AND incident IN (SELECT value FROM json_each(?2)) LIMIT ?3)";
    pub(super) const INCIDENTS: &str = "DELETE FROM incidents AS i
        WHERE tenant = ?1 AND id IN (SELECT value FROM json_each(?2) LIMIT ?3)
            AND NOT EXISTS (SELECT 1 FROM transitions AS t WHERE t.tenant = i.tenant AND t.incident = i.id)";
}

/// Deletes some of what has been over since before a time, in one transaction, and tells whether there may be more.
async fn forget(
    connection: &mut SqliteConnection,
    tenant: &Tenant,
    before: Timestamp,
    rows: i64,
) -> Result<bool, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut most = 0;
    for (old, parts, whole) in [
        (forget::OLD_NOTIFICATIONS, forget::ATTEMPTS, forget::NOTIFICATIONS),
        (forget::OLD_INCIDENTS, forget::TRANSITIONS, forget::INCIDENTS),
    ] {
        let ids = sqlx::query_scalar(old).bind(tenant.as_str()).bind(before.as_millisecond()).bind(rows);
        let ids: Vec<String> = ids.fetch_all(&mut *transaction).await?;
        if ids.is_empty() {
            continue;
        }
        for statement in [parts, whole] {
            let gone = sqlx::query(statement).bind(tenant.as_str()).bind(body(&ids)).bind(rows);
            most = most.max(gone.execute(&mut *transaction).await?.rows_affected());
        }
    }
    let silences = sqlx::query(forget::SILENCES).bind(tenant.as_str()).bind(before.as_millisecond()).bind(rows);
    most = most.max(silences.execute(&mut *transaction).await?.rows_affected());
    transaction.commit().await?;
    Ok(most >= u64::try_from(rows).unwrap_or_default())
}

/// Writes changes in one transaction.
async fn write(connection: &mut SqliteConnection, tenant: &Tenant, changes: &Changes) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for (sql, rows) in batches(changes) {
        sqlx::query(sql).bind(tenant.as_str()).bind(rows).execute(&mut *transaction).await?;
    }
    for Tally { last: retry, partial, .. } in retries(&changes.deliveries) {
        let update = sqlx::query(sql::RETRY).bind(tenant.as_str()).bind(retry.intent.0);
        let update = update.bind(i64::from(retry.attempt));
        let update = update.bind(retry.next_at.unwrap_or(retry.at).as_millisecond()).bind(retry.reason).bind(partial);
        update.execute(&mut *transaction).await?;
    }
    for (id, had) in &changes.had {
        let update = sqlx::query(sql::HAD).bind(tenant.as_str()).bind(&id.0).bind(body(had));
        update.execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

impl State for SqliteState {
    fn load<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<Snapshot, StateError>> {
        Box::pin(load(self, tenant))
    }

    fn apply<'a>(&'a self, tenant: &'a Tenant, changes: &'a Changes) -> BoxFuture<'a, Result<(), StateError>> {
        Box::pin(async move {
            let failed = |source| failure("write", source);
            if changes.is_empty() {
                return Ok(());
            }
            let mut connection = self.writer.acquire().await.map_err(failed)?;
            let written = write(&mut connection, tenant, changes).await;
            if written.is_err() {
                // On a full disk SQLite itself rolls back; sqlx does not know, and would think for ever that a
                // transaction is open.
                connection.close_on_drop();
            }
            written.map_err(failed)
        })
    }

    fn forget<'a>(&'a self, tenant: &'a Tenant, before: Timestamp) -> BoxFuture<'a, Result<bool, StateError>> {
        Box::pin(async move {
            let failed = |source| failure("prune", source);
            let mut connection = self.writer.acquire().await.map_err(failed)?;
            let gone = forget(&mut connection, tenant, before, FORGET_ROWS_MAX).await;
            if gone.is_err() {
                // As in `apply`.
                connection.close_on_drop();
            }
            gone.map_err(failed)
        })
    }

    fn due<'a>(
        &'a self,
        tenant: &'a Tenant,
        channel: &'a str,
        now: Timestamp,
        busy: &'a BTreeSet<IntentId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Pending>, StateError>> {
        const DUE: &str = "SELECT n.body, o.attempts, o.reason, coalesce(o.had, '[]')
            FROM outbox AS o JOIN notifications AS n ON n.tenant = o.tenant AND n.id = o.id
            WHERE o.tenant = ?1 AND o.channel = ?2 AND o.next_ms <= ?3
                AND o.id NOT IN (SELECT value FROM json_each(?4))
                AND NOT EXISTS (SELECT 1 FROM outbox AS e WHERE e.tenant = o.tenant AND e.channel = o.channel
                    AND e.lane = o.lane AND e.position < o.position)
            ORDER BY o.next_ms, o.position LIMIT ?5";
        Box::pin(async move {
            let failed = |source| failure("read", source);
            let rows = sqlx::query(DUE)
                .bind(tenant.as_str())
                .bind(channel)
                .bind(now.as_millisecond())
                .bind(busy_json(busy))
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .fetch_all(&self.reader)
                .await
                .map_err(failed)?;
            rows.iter()
                .map(|row| {
                    let text: &str = row.try_get(0).map_err(failed)?;
                    let attempts: i64 = row.try_get(1).map_err(failed)?;
                    let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
                    let had: &str = row.try_get(3).map_err(failed)?;
                    let had = serde_json::from_str(had).map_err(|source| garbled("read", source))?;
                    Ok(Pending { had, ..pending(text, attempts, row.try_get(2).map_err(failed)?)? })
                })
                .collect()
        })
    }

    fn next_due<'a>(
        &'a self,
        tenant: &'a Tenant,
        channel: &'a str,
        busy: &'a BTreeSet<IntentId>,
    ) -> BoxFuture<'a, Result<Option<Timestamp>, StateError>> {
        const NEXT: &str = "SELECT o.next_ms FROM outbox AS o
            WHERE o.tenant = ?1 AND o.channel = ?2 AND o.id NOT IN (SELECT value FROM json_each(?3))
                AND NOT EXISTS (SELECT 1 FROM outbox AS e WHERE e.tenant = o.tenant AND e.channel = o.channel
                    AND e.lane = o.lane AND e.position < o.position)
            ORDER BY o.next_ms LIMIT 1";
        Box::pin(async move {
            let next: Option<i64> = sqlx::query_scalar(NEXT)
                .bind(tenant.as_str())
                .bind(channel)
                .bind(busy_json(busy))
                .fetch_optional(&self.reader)
                .await
                .map_err(|source| failure("read", source))?;
            Ok(next.and_then(|ms| Timestamp::from_millisecond(ms).ok()))
        })
    }

    fn depths<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<Vec<(String, Depth)>, StateError>> {
        const DEPTHS: &str = "SELECT channel, count(*), min(at_ms) FROM outbox
            WHERE tenant = ?1 GROUP BY channel ORDER BY channel";
        Box::pin(async move {
            let failed = |source| failure("read", source);
            let rows = sqlx::query(DEPTHS).bind(tenant.as_str()).fetch_all(&self.reader).await.map_err(failed)?;
            rows.iter()
                .map(|row| {
                    let waiting: i64 = row.try_get(1).map_err(failed)?;
                    let oldest: i64 = row.try_get(2).map_err(failed)?;
                    let oldest = Timestamp::from_millisecond(oldest).ok();
                    let depth = Depth { waiting: u64::try_from(waiting).unwrap_or_default(), oldest };
                    Ok((row.try_get(0).map_err(failed)?, depth))
                })
                .collect()
        })
    }

    fn incidents<'a>(
        &'a self,
        tenant: &'a Tenant,
        filter: &'a IncidentFilter,
        page: &'a Page,
    ) -> BoxFuture<'a, Result<Vec<Incident>, StateError>> {
        const LIST: &str = "SELECT body FROM incidents
            WHERE tenant = ?1 AND (?2 IS NULL OR state = ?2) AND (?4 IS NULL OR id < ?4)
                AND (?3 IS NULL OR body->>'key' = 'check=' || ?3 OR body->'labels'->>'check' = ?3)
            ORDER BY id DESC LIMIT ?5";
        let bindings = [
            tenant.as_str().into(),
            filter.state.map(IncidentState::as_str).into(),
            filter.check.clone().into(),
            page.after.clone().into(),
            page.limit.into(),
        ];
        Box::pin(async move { self.rows("list incidents in", LIST, &bindings).await })
    }

    fn incident<'a>(
        &'a self,
        tenant: &'a Tenant,
        id: &'a IncidentId,
    ) -> BoxFuture<'a, Result<Option<IncidentLife>, StateError>> {
        const ONE: &str = "SELECT body FROM incidents WHERE tenant = ?1 AND id = ?2";
        const STEPS: &str = "SELECT body FROM transitions WHERE tenant = ?1 AND incident = ?2 ORDER BY position";
        Box::pin(async move {
            let bindings = [tenant.as_str().into(), id.as_str().into()];
            let Some(incident) = self.rows("read", ONE, &bindings).await?.pop() else { return Ok(None) };
            Ok(Some((incident, self.rows("read", STEPS, &bindings).await?)))
        })
    }

    fn silences<'a>(
        &'a self,
        tenant: &'a Tenant,
        page: &'a Page,
    ) -> BoxFuture<'a, Result<Vec<SilenceChange>, StateError>> {
        const LIST: &str = "SELECT body FROM silences WHERE tenant = ?1
            AND (?2 IS NULL OR (-ends_ms, id) > (SELECT -ends_ms, id FROM silences WHERE tenant = ?1 AND id = ?2))
            ORDER BY ends_ms DESC, id LIMIT ?3";
        let bindings = [tenant.as_str().into(), page.after.clone().into(), page.limit.into()];
        Box::pin(async move { self.rows("list silences in", LIST, &bindings).await })
    }

    fn silence<'a>(
        &'a self,
        tenant: &'a Tenant,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<SilenceChange>, StateError>> {
        const ONE: &str = "SELECT body FROM silences WHERE tenant = ?1 AND id = ?2";
        Box::pin(async move { Ok(self.rows("read", ONE, &[tenant.as_str().into(), id.into()]).await?.pop()) })
    }

    fn notifications<'a>(
        &'a self,
        tenant: &'a Tenant,
        filter: &'a NotificationFilter,
        page: &'a Page,
    ) -> BoxFuture<'a, Result<Vec<Notified>, StateError>> {
        Box::pin(notifications(self, tenant, filter, page))
    }

    fn heartbeats<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<Vec<Heartbeat>, StateError>> {
        const LIST: &str = "SELECT body FROM heartbeats WHERE tenant = ?1 ORDER BY check_id";
        Box::pin(async move { self.rows("read heartbeats in", LIST, &[tenant.as_str().into()]).await })
    }

    fn keep_heartbeats<'a>(
        &'a self,
        tenant: &'a Tenant,
        heartbeats: &'a [Heartbeat],
        all: bool,
    ) -> BoxFuture<'a, Result<(), StateError>> {
        const KEEP: &str = "INSERT OR REPLACE INTO heartbeats (tenant, check_id, body)
            SELECT ?1, value->>'check', value FROM json_each(?2)";
        const OTHERS: &str = "DELETE FROM heartbeats WHERE tenant = ?1
            AND check_id NOT IN (SELECT value FROM json_each(?2))";
        Box::pin(async move {
            let others: Vec<&str> = heartbeats.iter().map(|heartbeat| heartbeat.check.as_str()).collect();
            let others = all.then(|| (OTHERS, body(&others)));
            // One statement is one transaction.
            let chunks = heartbeats.chunks(HEARTBEATS_MAX).map(|chunk| (KEEP, body(&chunk)));
            for (sql, rows) in chunks.chain(others) {
                let mut connection = self.writer.acquire().await.map_err(|source| failure("write", source))?;
                let written = sqlx::query(sql).bind(tenant.as_str()).bind(rows).execute(&mut *connection).await;
                if written.is_err() {
                    // As in `apply`.
                    connection.close_on_drop();
                }
                written.map_err(|source| failure("write", source))?;
            }
            Ok(())
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.reader.close().await;
            self.writer.close().await;
        })
    }
}

/// Reads what an attempt needs of an intent. A message that cannot be read is left out: the attempt says so.
fn pending(text: &str, attempts: u32, reason: String) -> Result<Pending, StateError> {
    #[derive(serde::Deserialize)]
    struct Wire<M> {
        id: IntentId,
        incident: Option<IncidentId>,
        receiver: String,
        channel: String,
        give_up_at: Timestamp,
        message: M,
    }
    #[derive(serde::Deserialize)]
    struct Spoken {
        notification: crate::Notification,
    }
    let take = |wire: Wire<Option<Spoken>>| Pending {
        id: wire.id,
        incident: wire.incident,
        receiver: wire.receiver,
        channel: wire.channel,
        give_up_at: wire.give_up_at,
        notification: wire.message.map(|message| message.notification),
        attempts,
        reason: reason.clone(),
        had: BTreeSet::new(),
    };
    if let Ok(wire) = serde_json::from_str(text) {
        return Ok(take(wire));
    }
    let wire: Wire<serde::de::IgnoredAny> = serde_json::from_str(text).map_err(|source| garbled("read", source))?;
    let Wire { id, incident, receiver, channel, give_up_at, message: _ } = wire;
    Ok(take(Wire { id, incident, receiver, channel, give_up_at, message: None }))
}

async fn load(state: &SqliteState, tenant: &Tenant) -> Result<Snapshot, StateError> {
    const CURSOR: &str =
        "SELECT json_object('position', position, 'folded_at', folded_at) FROM cursor WHERE tenant = ?1";
    const ALERTS: &str = "SELECT body FROM alerts WHERE tenant = ?1 ORDER BY fingerprint";
    const INCIDENTS: &str = "SELECT body FROM incidents
        WHERE tenant = ?1 AND (state != 'resolved' OR resolved_ms >= ?2) ORDER BY id";
    const GROUPS: &str = "SELECT json_object('id', id, 'body', json(body)) FROM groups WHERE tenant = ?1";
    const SILENCES: &str = "SELECT body FROM silences WHERE tenant = ?1 AND ends_ms >= ?2 ORDER BY id";
    let of = [tenant.as_str().into()];
    let cursor: Vec<Value> = state.rows("load", CURSOR, &of).await?;
    let cursor = cursor.first().and_then(|row| {
        let position = row.get("position")?.as_u64()?;
        let at: Timestamp = row.get("folded_at")?.as_str()?.parse().ok()?;
        Some((position, at))
    });
    let Some((_, at)) = cursor else { return Ok(Snapshot::default()) };
    let since = |kept: Duration| {
        let earliest = at.checked_sub(kept).unwrap_or(Timestamp::MIN);
        [tenant.as_str().into(), earliest.as_millisecond().into()]
    };
    let alerts: Vec<Tracked> = state.rows("load", ALERTS, &of).await?;
    let mut incidents: Vec<Incident> = state.rows("load", INCIDENTS, &since(REOPEN_WITHIN)).await?;
    incidents.retain(|incident| incident.resolved_at.is_none_or(|resolved| later(resolved, REOPEN_WITHIN) >= at));
    let groups: Vec<Value> = state.rows("load", GROUPS, &of).await?;
    let groups = groups
        .into_iter()
        .map(|mut row| {
            let id = row.get("id").and_then(Value::as_str).and_then(|id| id.parse::<GroupId>().ok());
            let group = serde_json::from_value(row["body"].take()).map_err(|source| garbled("load", source))?;
            Ok((id.unwrap_or(GroupId(0)), group))
        })
        .collect::<Result<_, StateError>>()?;
    let mut silences: Vec<SilenceChange> = state.rows("load", SILENCES, &since(crate::incidents::SILENCE_KEPT)).await?;
    silences.retain(|change| later(change.ends_at, crate::incidents::SILENCE_KEPT) >= at);
    let mut snapshot = Snapshot { cursor, alerts, incidents, groups, silences };
    snapshot.alerts.sort_by_key(|tracked| tracked.alert.labels.fingerprint());
    Ok(snapshot)
}

async fn notifications(
    state: &SqliteState,
    tenant: &Tenant,
    filter: &NotificationFilter,
    page: &Page,
) -> Result<Vec<Notified>, StateError> {
    const LIST: &str = "SELECT json_object('intent', json(n.body), 'state', n.state, 'attempts',
            (SELECT json_group_array(json(a.body)) FROM
                (SELECT body FROM attempts WHERE tenant = n.tenant AND intent = n.id ORDER BY attempt) AS a))
        FROM notifications AS n
        WHERE n.tenant = ?1 AND (?2 IS NULL OR n.incident = ?2) AND (?3 IS NULL OR n.receiver = ?3)
            AND (?4 IS NULL OR n.state = ?4)
            AND (?5 IS NULL OR n.position < (SELECT position FROM notifications WHERE tenant = ?1 AND id = ?5))
        ORDER BY n.position DESC LIMIT ?6";
    #[derive(serde::Deserialize)]
    struct Row {
        intent: Intent,
        state: String,
        attempts: Vec<Delivery>,
    }
    let bindings = [
        tenant.as_str().into(),
        filter.incident.as_ref().map(IncidentId::as_str).into(),
        filter.receiver.clone().into(),
        filter.state.map(NotificationState::as_str).into(),
        page.after.clone().into(),
        page.limit.into(),
    ];
    let rows: Vec<Row> = state.rows("list notifications in", LIST, &bindings).await?;
    let notified = |row: Row| Notified {
        intent: row.intent,
        state: NotificationState::from_word(&row.state),
        attempts: row.attempts,
    };
    Ok(rows.into_iter().map(notified).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_is_none_or_of_a_newer_version_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("garbage.sqlite");
        #[expect(clippy::disallowed_methods, reason = "a test breaks a file")]
        std::fs::write(&path, vec![7; 8192]).expect("writes");
        let error = SqliteState::open(&path).await.expect_err("is garbage");
        assert!(error.stop && error.to_string() == "could not open the control state", "{error:?}");
        let path = dir.path().join("newer.sqlite");
        let state = SqliteState::open(&path).await.expect("opens");
        sqlx::raw_sql("PRAGMA user_version = 99").execute(&state.writer).await.expect("writes");
        state.close().await;
        let error = SqliteState::open(&path).await.expect_err("is newer");
        assert!(error.stop && std::error::Error::source(&error).expect("a cause").to_string().contains("newer"));
    }

    #[tokio::test]
    async fn a_broken_file_stops_and_a_locked_one_is_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("state.sqlite");
        let state = SqliteState::open(&path).await.expect("opens");
        let tenant = Tenant::default();
        assert_eq!(state.load(&tenant).await.expect("loads"), Snapshot::default());
        sqlx::raw_sql("INSERT INTO silences VALUES ('default', 's', 0, 0, 'no json')")
            .execute(&state.writer)
            .await
            .expect("writes");
        let error = state.silence(&tenant, "s").await.expect_err("is garbled");
        assert!(error.stop);
        sqlx::raw_sql("DROP TABLE cursor").execute(&state.writer).await.expect("drops");
        let changes = Changes { cursor: Some((1, Timestamp::UNIX_EPOCH)), ..Changes::default() };
        assert!(state.apply(&tenant, &changes).await.expect_err("has no table").stop);
        assert!(failure("read", sqlx::Error::PoolClosed).stop);
        assert!(!failure("read", sqlx::Error::PoolTimedOut).stop);
        let mut other =
            SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&path)).await.expect("opens");
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.expect("locks");
        let options = SqliteConnectOptions::new().filename(&path).busy_timeout(Duration::from_millis(1));
        let mut third = SqliteConnection::connect_with(&options).await.expect("opens");
        let busy = sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut third).await.expect_err("is locked");
        assert!(!failure("write", busy).stop);
    }

    /// The file grew for ever.
    #[tokio::test]
    async fn what_has_been_over_for_long_is_deleted_in_steps_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = SqliteState::open(&dir.path().join("state.sqlite")).await.expect("opens");
        let sql = "
            INSERT INTO notifications VALUES
                ('default', 'old', 1, NULL, 'r', 'c', 'delivered', '{\"at\": \"2025-12-01T00:00:00Z\"}'),
                ('default', 'waits', 2, NULL, 'r', 'c', 'pending', '{\"at\": \"2025-12-01T00:00:00Z\"}'),
                ('default', 'older', 3, NULL, 'r', 'c', 'failed', '{\"at\": \"2025-12-31T23:59:59.5Z\"}'),
                ('default', 'new', 4, NULL, 'r', 'c', 'failed', '{\"at\": \"2026-01-01T00:00:00.5Z\"}'),
                ('other', 'theirs', 1, NULL, 'r', 'c', 'delivered', '{\"at\": \"2025-12-01T00:00:00Z\"}');
            INSERT INTO attempts VALUES ('default', 'old', 1, 2, '{}'), ('default', 'old', 2, 3, '{}'),
                ('default', 'old', 3, 4, '{}'), ('default', 'older', 1, 5, '{}'), ('default', 'new', 1, 6, '{}');
            INSERT INTO incidents VALUES ('default', 'A', 'resolved', 0, '{}'), ('default', 'B', 'open', NULL, '{}'),
                ('default', 'C', 'resolved', 1767225600000, '{}');
            INSERT INTO transitions VALUES ('default', 1, 'A', '{}'), ('default', 2, 'B', '{}'), ('default', 3, 'C', '{}'),
                ('default', 4, 'A', '{}'), ('default', 5, 'A', '{}');
            INSERT INTO silences VALUES ('default', 's', 0, 0, '{}'), ('default', 't', 0, 1767225600000, '{}')";
        sqlx::raw_sql(sql).execute(&state.writer).await.expect("writes");
        let count = async || {
            let all = "SELECT (SELECT count(*) FROM attempts) || ' ' || (SELECT count(*) FROM notifications) || ' ' ||
                (SELECT count(*) FROM transitions) || ' ' || (SELECT count(*) FROM incidents)";
            state.texts(all).await.remove(0)
        };
        let before: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let tenant = Tenant::default();
        let mut steps = vec![count().await];
        loop {
            let mut connection = state.writer.acquire().await.expect("connects");
            let more = forget(&mut connection, &tenant, before, 2).await.expect("deletes");
            drop(connection);
            steps.push(count().await);
            if !more {
                break;
            }
        }
        assert_eq!(steps, ["5 5 5 3", "3 5 3 3", "1 3 2 2", "1 3 2 2"]);
        let left = async |sql| state.texts(sql).await;
        assert_eq!(left("SELECT id FROM notifications ORDER BY id").await, ["new", "theirs", "waits"]);
        assert_eq!(left("SELECT intent FROM attempts").await, ["new"]);
        assert_eq!(left("SELECT id FROM incidents ORDER BY id").await, ["B", "C"]);
        assert_eq!(left("SELECT incident FROM transitions ORDER BY position").await, ["B", "C"]);
        assert_eq!(left("SELECT id FROM silences").await, ["t"]);
        assert!(!state.forget(&tenant, before).await.expect("deletes"));
        // The oldest are found by an index, however many rows there are.
        for (sql, index) in [
            (forget::OLD_NOTIFICATIONS, "notifications_by_position"),
            (forget::OLD_INCIDENTS, "incidents_by_end"),
            (forget::SILENCES, "silences_by_end"),
        ] {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
            let plan =
                sqlx::query(explain).bind("default").bind(0).bind(9).fetch_all(&state.writer).await.expect("plans");
            let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
            assert!(plan.iter().any(|line| line.contains(index)), "{plan:?}");
            assert!(!plan.iter().any(|line| line.contains("TEMP B-TREE")), "{plan:?}");
        }
    }

    /// A file of the first version is brought to the present form with what is in it.
    #[tokio::test]
    async fn a_file_of_the_first_version_is_migrated() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("state.sqlite");
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let mut first = SqliteConnection::connect_with(&options).await.expect("opens");
        sqlx::raw_sql(MIGRATIONS[0]).execute(&mut first).await.expect("makes");
        sqlx::raw_sql("PRAGMA user_version = 1; INSERT INTO silences VALUES ('default', 's', 0, 0, '{}')")
            .execute(&mut first)
            .await
            .expect("writes");
        first.close().await.expect("closes");
        for _ in 0..2 {
            let state = SqliteState::open(&path).await.expect("opens");
            assert_eq!(state.texts("SELECT id FROM silences").await, ["s"]);
            let version = sqlx::query_scalar::<_, i64>("PRAGMA user_version").fetch_one(&state.writer).await;
            assert_eq!(version.expect("reads"), i64::try_from(MIGRATIONS.len()).expect("few"));
            state.close().await;
        }
    }

    #[tokio::test]
    async fn heartbeats_are_kept_by_check_and_tenant() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = SqliteState::open(&dir.path().join("state.sqlite")).await.expect("opens");
        let beat = |check: &str, second| Heartbeat {
            check: check.to_owned(),
            declared_at: Timestamp::UNIX_EPOCH,
            started_at: None,
            ended_at: Timestamp::from_second(second).ok(),
            exit: 3,
            took: Some(Duration::from_millis(1_500)),
        };
        let (ours, theirs) = (Tenant::default(), Tenant::new("other").expect("a tenant"));
        state.keep_heartbeats(&theirs, &[beat("a", 1)], true).await.expect("keeps");
        state.keep_heartbeats(&ours, &[beat("a", 1), beat("b", 1)], true).await.expect("keeps");
        state.keep_heartbeats(&ours, &[beat("b", 2)], false).await.expect("keeps");
        assert_eq!(state.heartbeats(&ours).await.expect("reads"), [beat("a", 1), beat("b", 2)]);
        state.keep_heartbeats(&ours, &[beat("c", 3)], true).await.expect("keeps");
        assert_eq!(state.heartbeats(&ours).await.expect("reads"), [beat("c", 3)]);
        assert_eq!(state.heartbeats(&theirs).await.expect("reads"), [beat("a", 1)]);
        let many: Vec<Heartbeat> = (0..HEARTBEATS_MAX + 1).map(|n| beat(&format!("{n:05}"), 4)).collect();
        state.keep_heartbeats(&ours, &many, true).await.expect("keeps");
        assert_eq!(state.heartbeats(&ours).await.expect("reads"), many);
    }

    #[test]
    fn delivered_wins_whatever_the_order() {
        let delivery = |attempt, outcome| Delivery {
            intent: IntentId("i".into()),
            attempt,
            outcome,
            at: Timestamp::UNIX_EPOCH,
            channel: "mail".into(),
            reason: String::new(),
            next_at: None,
        };
        let mut tally = None;
        for (attempt, outcome) in
            [(2, Outcome::Failed), (1, Outcome::Retry), (3, Outcome::Delivered), (4, Outcome::Failed)]
        {
            tally = Some(Tally::add(tally, &delivery(attempt, outcome)));
        }
        let tally = tally.expect("some");
        assert_eq!((tally.end, tally.last.attempt), (Some(Outcome::Delivered), 4));
    }

    #[test]
    fn a_message_that_cannot_be_read_leaves_the_rest_readable() {
        let text = r#"{"id": "i", "incident": null, "receiver": "ops", "channel": "mail", "firing": true,
            "at": "2026-11-22T10:00:00Z", "give_up_at": "2026-11-23T10:00:00Z", "message": {"notification": 5}}"#;
        let read = pending(text, 2, "refused".into()).expect("reads");
        assert_eq!((read.id.0.as_str(), read.attempts, read.reason.as_str()), ("i", 2, "refused"));
        assert!(read.notification.is_none());
        assert!(pending("{}", 0, String::new()).expect_err("is nothing").stop);
    }
}
