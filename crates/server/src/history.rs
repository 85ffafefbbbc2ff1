//! What the status page remembers: how long each check was in each state on each day, and recent incidents.
//!
//! A projection of the ledger: it folds each tenant's records in order and keeps its cursor in the same transaction as
//! its state, so a crash neither loses nor doubles a minute. It knows time only from `admitted_at`, which never goes
//! back, so a rebuilt history is equal to the first, row for row. Of an incident it keeps what strangers may see: when,
//! how bad, which checks, and notes written for the public. Titles, reasons and other notes never enter its tables.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use model::limits::{STATUS_DAYS, STATUS_INCIDENTS_MAX};
use model::{Clock, Feed, IncidentAction, IncidentId, Position, RefusalKind, Severity, State, Tenant};
use sqlx::{Row, Sqlite, SqlitePool, Transaction};
use tokio::sync::watch;

use crate::error::Error;
use crate::schema::{self, Part};

mod fold;

use fold::{DAY_MS, Fold, Standing};

const TABLES: Part = Part {
    name: "status",
    steps: &[&[
        "CREATE TABLE status_cursor (tenant TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT",
        "CREATE TABLE status_check (
            tenant TEXT NOT NULL, check_id TEXT NOT NULL, state TEXT NOT NULL, maintenance INTEGER NOT NULL,
            at_ms INTEGER NOT NULL, gap_ms INTEGER NOT NULL, PRIMARY KEY (tenant, check_id)
        ) STRICT, WITHOUT ROWID",
        "CREATE TABLE status_day (
            tenant TEXT NOT NULL, check_id TEXT NOT NULL, day INTEGER NOT NULL, up_ms INTEGER NOT NULL,
            degraded_ms INTEGER NOT NULL, down_ms INTEGER NOT NULL, unknown_ms INTEGER NOT NULL,
            maintenance_ms INTEGER NOT NULL, PRIMARY KEY (tenant, check_id, day)
        ) STRICT, WITHOUT ROWID",
        "CREATE TABLE status_incident (
            tenant TEXT NOT NULL, id TEXT NOT NULL, severity TEXT NOT NULL, opened_at_ms INTEGER NOT NULL,
            resolved_at_ms INTEGER, PRIMARY KEY (tenant, id)
        ) STRICT, WITHOUT ROWID",
        "CREATE TABLE status_incident_check (
            tenant TEXT NOT NULL, id TEXT NOT NULL, check_id TEXT NOT NULL, PRIMARY KEY (tenant, id, check_id)
        ) STRICT, WITHOUT ROWID",
        "CREATE TABLE status_incident_step (
            tenant TEXT NOT NULL, id TEXT NOT NULL, position INTEGER NOT NULL, at_ms INTEGER NOT NULL,
            action TEXT NOT NULL, note TEXT NOT NULL, PRIMARY KEY (tenant, id, position)
        ) STRICT, WITHOUT ROWID",
    ]],
};

/// Records folded before they are written, however many more there are.
const FOLD_ROWS_MAX: usize = 4_096;
/// Longest time that folded results wait to be written; state changes and incidents do not wait.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// How long a check was in each state on one day, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Day {
    /// Up.
    pub up_ms: i64,
    /// Degraded.
    pub degraded_ms: i64,
    /// Down.
    pub down_ms: i64,
    /// Unknown: we could not tell, or did not run.
    pub unknown_ms: i64,
    /// In a maintenance window, whatever its state.
    pub maintenance_ms: i64,
}

impl Day {
    /// Returns the share of the known time in which the check worked, 0 to 1; `None` when nothing is known.
    /// Unknown time and maintenance count for neither side.
    #[must_use]
    pub fn uptime(&self) -> Option<f64> {
        let worked = self.up_ms + self.degraded_ms;
        let known = worked + self.down_ms;
        #[expect(clippy::cast_precision_loss, reason = "90 days are 8e9 milliseconds, far below 2^53")]
        let share = worked as f64 / known as f64;
        (known > 0).then_some(share)
    }

    /// Adds another day's times.
    pub(crate) fn add(&mut self, other: &Self) {
        self.up_ms += other.up_ms;
        self.degraded_ms += other.degraded_ms;
        self.down_ms += other.down_ms;
        self.unknown_ms += other.unknown_ms;
        self.maintenance_ms += other.maintenance_ms;
    }
}

/// Days since 1970-01-01, UTC, and what happened on each.
pub type Days = BTreeMap<i64, Day>;

/// An incident, as strangers may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicIncident {
    /// Its id.
    pub id: IncidentId,
    /// The worst level among its alerts.
    pub severity: Severity,
    /// The checks that it concerns.
    pub checks: Vec<String>,
    /// When it opened.
    pub opened_at: Timestamp,
    /// When it ended, if it did.
    pub resolved_at: Option<Timestamp>,
    /// What happened, oldest first.
    pub steps: Vec<PublicStep>,
}

impl PublicIncident {
    /// Returns when something last happened to it.
    #[must_use]
    pub fn updated_at(&self) -> Timestamp {
        self.steps.last().map_or(self.opened_at, |step| step.at)
    }
}

/// Something that happened to an incident, as strangers may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicStep {
    /// When.
    pub at: Timestamp,
    /// What.
    pub action: PublicAction,
    /// What was written for the public; empty for other steps.
    pub note: String,
}

/// The steps that strangers see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicAction {
    /// It began.
    Opened,
    /// Somebody works on it.
    Acknowledged,
    /// Somebody wrote to the public.
    Published,
    /// It is over.
    Resolved,
    /// It began again.
    Reopened,
}

impl PublicAction {
    const ALL: [Self; 5] = [Self::Opened, Self::Acknowledged, Self::Published, Self::Resolved, Self::Reopened];

    pub(crate) const fn of(action: IncidentAction) -> Option<Self> {
        match action {
            IncidentAction::Opened => Some(Self::Opened),
            IncidentAction::Acknowledged => Some(Self::Acknowledged),
            IncidentAction::Published => Some(Self::Published),
            IncidentAction::Resolved => Some(Self::Resolved),
            IncidentAction::Reopened => Some(Self::Reopened),
            _ => None,
        }
    }

    /// Returns the word that is stored, and that texts are found by.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Acknowledged => "acknowledged",
            Self::Published => "published",
            Self::Resolved => "resolved",
            Self::Reopened => "reopened",
        }
    }
}

/// The projection behind the status page.
pub struct History {
    pool: SqlitePool,
    clock: Arc<dyn Clock>,
    revision: watch::Sender<u64>,
}

impl History {
    /// Opens the history kept in `pool`, making its tables if need be.
    ///
    /// # Errors
    /// When the control state cannot be read or written.
    pub async fn open(pool: SqlitePool, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        schema::migrate(&pool, &TABLES).await?;
        Ok(Self { pool, clock, revision: watch::Sender::new(0) })
    }

    /// Returns the position from which a tenant's feed is to be read: the first that was not folded yet.
    ///
    /// # Errors
    /// When the control state cannot be read.
    pub async fn position(&self, tenant: &Tenant) -> Result<Position, Error> {
        let failed = || Error::state("read the cursor of the history");
        let row = sqlx::query("SELECT next FROM status_cursor WHERE tenant = ?")
            .bind(tenant.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(failed())?;
        let next: i64 = row.map_or(Ok(0), |row| row.try_get(0)).map_err(failed())?;
        Ok(u64::try_from(next).unwrap_or(0))
    }

    /// Folds a tenant's records for as long as they come. `feed` must begin at [`History::position`]. To be run on a
    /// task of the caller's; dropping the future at any time loses nothing that was written.
    ///
    /// # Errors
    /// When the control state cannot be written or the ledger cannot be read any more.
    pub async fn follow(&self, mut feed: Box<dyn Feed>) -> Result<Infallible, Error> {
        let tenant = feed.tenant().clone();
        let mut fold = self.load(&tenant).await?;
        let mut written_at = self.clock.monotonic();
        loop {
            let records = match feed.read(FOLD_ROWS_MAX).await {
                Ok(records) => records,
                Err(refusal) if refusal.kind == RefusalKind::Retry => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
                Err(refusal) => return Err(Error::Feed(refusal)),
            };
            let caught_up = records.is_empty();
            for record in &records {
                fold.apply(record);
            }
            let due = self.clock.monotonic().saturating_sub(written_at) >= WRITE_EVERY;
            if fold.dirty() && (fold.urgent || due || fold.folded >= FOLD_ROWS_MAX) {
                self.write(&tenant, &mut fold).await?;
                written_at = self.clock.monotonic();
            }
            if caught_up {
                // Whatever waits to be written is due even when nothing more comes.
                tokio::select! {
                    () = feed.wait() => {}
                    () = tokio::time::sleep(Duration::from_secs(1)), if fold.dirty() => {}
                }
            }
        }
    }

    /// Returns the times of `checks` on the last `count` days, today included.
    ///
    /// # Errors
    /// When the control state cannot be read.
    pub async fn days(&self, tenant: &Tenant, checks: &[&str], count: i64) -> Result<HashMap<String, Days>, Error> {
        let failed = || Error::state("read the days of the history");
        let today = self.clock.now().as_millisecond().div_euclid(DAY_MS);
        // The wanted ids drive the join, so that ten thousand other checks cost nothing.
        let sql = "SELECT d.* FROM json_each(?1) AS wanted
                   CROSS JOIN status_day AS d ON d.tenant = ?2 AND d.check_id = wanted.value AND d.day > ?3";
        let rows = sqlx::query(sql)
            .bind(serde_json::Value::from(checks.to_vec()).to_string())
            .bind(tenant.as_str())
            .bind(today - count)
            .fetch_all(&self.pool)
            .await
            .map_err(failed())?;
        let mut times: HashMap<String, Days> = HashMap::new();
        for row in &rows {
            let ms = |column: &str| row.try_get::<i64, _>(column).map_err(failed());
            let day = Day {
                up_ms: ms("up_ms")?,
                degraded_ms: ms("degraded_ms")?,
                down_ms: ms("down_ms")?,
                unknown_ms: ms("unknown_ms")?,
                maintenance_ms: ms("maintenance_ms")?,
            };
            let id: String = row.try_get("check_id").map_err(failed())?;
            times.entry(id).or_default().insert(ms("day")?, day);
        }
        Ok(times)
    }

    /// Returns the incidents that are remembered, newest first.
    ///
    /// # Errors
    /// When the control state cannot be read.
    pub async fn incidents(&self, tenant: &Tenant) -> Result<Vec<PublicIncident>, Error> {
        let failed = || Error::state("read the incidents of the history");
        let unreadable = || Error::Unreadable { what: "an incident of the history" };
        let all = |sql: &'static str| sqlx::query(sql).bind(tenant.as_str()).fetch_all(&self.pool);
        let time = |ms: i64| Timestamp::from_millisecond(ms).map_err(|_| unreadable());
        let mut incidents: BTreeMap<String, PublicIncident> = BTreeMap::new();
        for row in all("SELECT * FROM status_incident WHERE tenant = ?").await.map_err(failed())? {
            let id: String = row.try_get("id").map_err(failed())?;
            let severity: String = row.try_get("severity").map_err(failed())?;
            let resolved: Option<i64> = row.try_get("resolved_at_ms").map_err(failed())?;
            let incident = PublicIncident {
                id: IncidentId(id.clone()),
                severity: severity.parse().map_err(|_| unreadable())?,
                checks: Vec::new(),
                opened_at: time(row.try_get("opened_at_ms").map_err(failed())?)?,
                resolved_at: resolved.map(time).transpose()?,
                steps: Vec::new(),
            };
            incidents.insert(id, incident);
        }
        for row in all("SELECT * FROM status_incident_check WHERE tenant = ?").await.map_err(failed())? {
            if let Some(incident) = incidents.get_mut(row.try_get::<&str, _>("id").map_err(failed())?) {
                incident.checks.push(row.try_get("check_id").map_err(failed())?);
            }
        }
        for row in
            all("SELECT * FROM status_incident_step WHERE tenant = ? ORDER BY position").await.map_err(failed())?
        {
            if let Some(incident) = incidents.get_mut(row.try_get::<&str, _>("id").map_err(failed())?) {
                let word: &str = row.try_get("action").map_err(failed())?;
                let action = PublicAction::ALL.into_iter().find(|action| action.as_str() == word);
                incident.steps.push(PublicStep {
                    at: time(row.try_get("at_ms").map_err(failed())?)?,
                    action: action.ok_or_else(unreadable)?,
                    note: row.try_get("note").map_err(failed())?,
                });
            }
        }
        // Ids sort by time of opening.
        Ok(incidents.into_values().rev().collect())
    }

    /// Returns a number that changes whenever something that people wait for was written.
    pub(crate) fn revision(&self) -> u64 {
        *self.revision.borrow()
    }

    /// Returns a view of the revision that can be waited on.
    #[must_use]
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    async fn load(&self, tenant: &Tenant) -> Result<Fold, Error> {
        let failed = || Error::state("read the checks of the history");
        let rows = sqlx::query("SELECT * FROM status_check WHERE tenant = ?")
            .bind(tenant.as_str())
            .fetch_all(&self.pool)
            .await
            .map_err(failed())?;
        let mut fold = Fold { next: self.position(tenant).await?, ..Fold::default() };
        for row in &rows {
            let state: &str = row.try_get("state").map_err(failed())?;
            let standing = Standing {
                state: read_state(state).ok_or(Error::Unreadable { what: "a state of the history" })?,
                maintenance: row.try_get::<i64, _>("maintenance").map_err(failed())? != 0,
                at_ms: row.try_get("at_ms").map_err(failed())?,
                gap_ms: row.try_get("gap_ms").map_err(failed())?,
            };
            fold.checks.insert(row.try_get("check_id").map_err(failed())?, standing);
        }
        Ok(fold)
    }

    async fn write(&self, tenant: &Tenant, fold: &mut Fold) -> Result<(), Error> {
        let failed = || Error::state("write the history");
        let mut transaction = self.pool.begin().await.map_err(failed())?;
        write_checks(&mut transaction, tenant, fold).await.map_err(failed())?;
        write_incidents(&mut transaction, tenant, fold).await.map_err(failed())?;
        let today = self.clock.now().as_millisecond().div_euclid(DAY_MS);
        forget(&mut transaction, tenant, today).await.map_err(failed())?;
        sqlx::query(
            "INSERT INTO status_cursor (tenant, next) VALUES (?, ?)
             ON CONFLICT (tenant) DO UPDATE SET next = excluded.next",
        )
        .bind(tenant.as_str())
        .bind(i64::try_from(fold.next).unwrap_or(i64::MAX))
        .execute(&mut *transaction)
        .await
        .map_err(failed())?;
        transaction.commit().await.map_err(failed())?;
        fold.written();
        self.revision.send_modify(|revision| *revision += 1);
        Ok(())
    }
}

fn read_state(word: &str) -> Option<State> {
    [State::Up, State::Degraded, State::Down, State::Unknown].into_iter().find(|state| state.as_str() == word)
}

type Tx<'a> = Transaction<'a, Sqlite>;

async fn write_checks(transaction: &mut Tx<'_>, tenant: &Tenant, fold: &Fold) -> Result<(), sqlx::Error> {
    for id in &fold.touched {
        let Some(standing) = fold.checks.get(id) else { continue };
        sqlx::query(
            "INSERT INTO status_check (tenant, check_id, state, maintenance, at_ms, gap_ms) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (tenant, check_id) DO UPDATE SET state = excluded.state,
             maintenance = excluded.maintenance, at_ms = excluded.at_ms, gap_ms = excluded.gap_ms",
        )
        .bind(tenant.as_str())
        .bind(id)
        .bind(standing.state.as_str())
        .bind(i64::from(standing.maintenance))
        .bind(standing.at_ms)
        .bind(standing.gap_ms)
        .execute(&mut **transaction)
        .await?;
    }
    for ((id, day), times) in &fold.days {
        sqlx::query(
            "INSERT INTO status_day (tenant, check_id, day, up_ms, degraded_ms, down_ms, unknown_ms, maintenance_ms)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (tenant, check_id, day) DO UPDATE SET up_ms = up_ms + excluded.up_ms,
             degraded_ms = degraded_ms + excluded.degraded_ms, down_ms = down_ms + excluded.down_ms,
             unknown_ms = unknown_ms + excluded.unknown_ms, maintenance_ms = maintenance_ms + excluded.maintenance_ms",
        )
        .bind(tenant.as_str())
        .bind(id)
        .bind(day)
        .bind(times.up_ms)
        .bind(times.degraded_ms)
        .bind(times.down_ms)
        .bind(times.unknown_ms)
        .bind(times.maintenance_ms)
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}

async fn write_incidents(transaction: &mut Tx<'_>, tenant: &Tenant, fold: &Fold) -> Result<(), sqlx::Error> {
    for step in &fold.steps {
        let at_ms = step.at.as_millisecond();
        let resolved = step.action == Some(PublicAction::Resolved);
        let living = matches!(step.action, Some(PublicAction::Opened | PublicAction::Reopened));
        sqlx::query(
            "INSERT INTO status_incident (tenant, id, severity, opened_at_ms, resolved_at_ms) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (tenant, id) DO UPDATE SET severity = excluded.severity,
             resolved_at_ms = CASE WHEN ? THEN NULL ELSE coalesce(excluded.resolved_at_ms, resolved_at_ms) END",
        )
        .bind(tenant.as_str())
        .bind(step.id.as_str())
        .bind(step.severity.as_str())
        .bind(at_ms)
        .bind(resolved.then_some(at_ms))
        .bind(living)
        .execute(&mut **transaction)
        .await?;
        if let Some(check) = &step.check {
            sqlx::query("INSERT OR IGNORE INTO status_incident_check (tenant, id, check_id) VALUES (?, ?, ?)")
                .bind(tenant.as_str())
                .bind(step.id.as_str())
                .bind(check)
                .execute(&mut **transaction)
                .await?;
        }
        if let Some(action) = step.action {
            sqlx::query(
                "INSERT OR IGNORE INTO status_incident_step (tenant, id, position, at_ms, action, note)
                 VALUES (?, ?, ?, ?, ?, ?)",
            )
            .bind(tenant.as_str())
            .bind(step.id.as_str())
            .bind(i64::try_from(step.position).unwrap_or(i64::MAX))
            .bind(at_ms)
            .bind(action.as_str())
            .bind(&step.note)
            .execute(&mut **transaction)
            .await?;
        }
    }
    Ok(())
}

/// Drops days beyond the strip and the oldest incidents beyond the bound.
async fn forget(transaction: &mut Tx<'_>, tenant: &Tenant, today: i64) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM status_day WHERE tenant = ? AND day <= ?")
        .bind(tenant.as_str())
        .bind(today - STATUS_DAYS)
        .execute(&mut **transaction)
        .await?;
    let sql = "DELETE FROM status_incident WHERE tenant = ?1 AND id <= (
                   SELECT id FROM status_incident WHERE tenant = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
    let gone = sqlx::query(sql)
        .bind(tenant.as_str())
        .bind(i64::try_from(STATUS_INCIDENTS_MAX).unwrap_or(i64::MAX))
        .execute(&mut **transaction)
        .await?;
    if gone.rows_affected() > 0 {
        for sql in [
            "DELETE FROM status_incident_check WHERE tenant = ?1
             AND id NOT IN (SELECT id FROM status_incident WHERE tenant = ?1)",
            "DELETE FROM status_incident_step WHERE tenant = ?1
             AND id NOT IN (SELECT id FROM status_incident WHERE tenant = ?1)",
        ] {
            sqlx::query(sql).bind(tenant.as_str()).execute(&mut **transaction).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
