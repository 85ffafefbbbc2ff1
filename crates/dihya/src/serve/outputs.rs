//! Outputs over the pipeline and the control state: what `export` asks of the rest of the program.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use disk::Disk;
use export::config::Configs;
use export::output::view;
use export::{Outputs, Places, Source, World};
use model::{BoxFuture, Clock, Feed, Kind, Position, Refusal, Tenant};
use sqlx::{Row as _, SqlitePool};

use crate::config::Loaded;
use crate::pipeline::Pipeline;

/// How long an output gathers events once it has caught up: rows come one by one then, and each batch is a sync.
const LINGER: Duration = Duration::from_millis(250);
/// How long to wait before a batch is handed over again, first.
const AGAIN: Duration = Duration::from_millis(500);

/// Has the ledger keep the payloads of events for each output until it says how far it is: to be called before the first
/// record, because places are read later.
///
/// # Errors
/// When a tenant has no log.
pub(super) fn register<'a>(
    ledger: &ledger::Ledger,
    outputs: &Configs,
    tenants: impl Iterator<Item = &'a Tenant> + Clone,
) -> Result<(), ledger::Error> {
    for (name, output) in outputs {
        for tenant in tenants.clone().filter(|tenant| output.is_for(tenant)) {
            ledger.consumed(&view(name), tenant, 0)?;
        }
    }
    Ok(())
}

/// Makes the outputs of a program; none of them runs yet.
///
/// # Errors
/// When the control state does not take the table of places.
pub(super) async fn open(
    loaded: &Loaded,
    pipeline: &Arc<Pipeline>,
    pool: &SqlitePool,
    clock: &Arc<dyn Clock>,
    disk: &Arc<dyn Disk>,
) -> anyhow::Result<Arc<Outputs>> {
    let places = SqlPlaces::open(pool.clone()).await?;
    let directory = loaded.path.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).to_owned();
    Ok(Arc::new(Outputs::new(World {
        disk: Arc::clone(disk),
        clock: Arc::clone(clock),
        source: Arc::new(Recorder(Arc::clone(pipeline))),
        places: Arc::new(places),
        instance: loaded.ledger.instance.clone(),
        directory,
        hold_bytes: loaded.ledger.retain_bytes,
        linger: LINGER,
        again: AGAIN,
    })))
}

/// The ledger behind the pipeline.
struct Recorder(Arc<Pipeline>);

impl Source for Recorder {
    fn events(&self, tenant: &Tenant, from: Position) -> Result<Box<dyn Feed>, Refusal> {
        Ok(Box::new(self.0.events(tenant, from)?))
    }

    fn next_position(&self, tenant: &Tenant) -> Result<Position, Refusal> {
        Ok(self.0.ledger().next_position(tenant)?)
    }

    fn consumed(&self, output: &str, tenant: &Tenant, position: Position) {
        // An unknown tenant has no payloads that could be kept.
        let _ = self.0.ledger().consumed(output, tenant, position);
    }

    fn lose(&self, tenant: &Tenant, cause: &'static str, count: u64) {
        self.0.lose(tenant, cause, Kind::Event, count);
    }

    fn written_bytes(&self) -> u64 {
        self.0.ledger().status().map_or(0, |status| status.figures.bytes)
    }

    fn is_full(&self) -> bool {
        self.0.ledger().status().is_ok_and(|status| status.disk_full)
    }

    fn has_ended(&self) -> bool {
        self.0.ledger().status().is_ok_and(|status| status.stopped.is_some())
    }
}

/// Places in the control state.
struct SqlPlaces(SqlitePool);

impl SqlPlaces {
    async fn open(pool: SqlitePool) -> Result<Self, sqlx::Error> {
        let table = "CREATE TABLE IF NOT EXISTS output_place (
            output TEXT NOT NULL, tenant TEXT NOT NULL, next INTEGER NOT NULL, PRIMARY KEY (output, tenant)
        ) STRICT, WITHOUT ROWID";
        sqlx::query(table).execute(&pool).await?;
        Ok(Self(pool))
    }
}

impl Places for SqlPlaces {
    fn load<'a>(&'a self, output: &'a str, tenant: &'a Tenant) -> BoxFuture<'a, Result<Option<Position>, String>> {
        Box::pin(async move {
            let row = sqlx::query("SELECT next FROM output_place WHERE output = ? AND tenant = ?")
                .bind(output)
                .bind(tenant.as_str())
                .fetch_optional(&self.0)
                .await;
            let next: Option<i64> =
                row.and_then(|row| row.map(|row| row.try_get(0)).transpose()).map_err(|_| unreadable("read"))?;
            Ok(next.and_then(|next| Position::try_from(next).ok()))
        })
    }

    fn store<'a>(&'a self, output: &'a str, tenant: &'a Tenant, next: Position) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let stored = sqlx::query(
                "INSERT INTO output_place (output, tenant, next) VALUES (?, ?, ?) ON CONFLICT (output, tenant) DO UPDATE \
                 SET next = excluded.next",
            )
            .bind(output)
            .bind(tenant.as_str())
            .bind(i64::try_from(next).unwrap_or(i64::MAX))
            .execute(&self.0)
            .await;
            stored.map(|_| ()).map_err(|_| unreadable("write"))
        })
    }
}

fn unreadable(doing: &str) -> String {
    format!("could not {doing} the place in the control state")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_outlive_the_program() {
        let dir = tempfile::tempdir().expect("a directory");
        let options = || {
            let file = dir.path().join("state.sqlite");
            sqlx::sqlite::SqliteConnectOptions::new().filename(file).create_if_missing(true)
        };
        let tenant = Tenant::default();
        for (before, after) in [(None, 7), (Some(7), 9), (Some(9), 9)] {
            let pool = SqlitePool::connect_with(options()).await.expect("opens");
            let places = SqlPlaces::open(pool.clone()).await.expect("a table");
            assert_eq!(places.load("es", &tenant).await, Ok(before));
            places.store("es", &tenant, after).await.expect("stores");
            assert_eq!(places.load("other", &tenant).await, Ok(None));
            pool.close().await;
            assert_eq!(places.store("es", &tenant, 1).await, Err(unreadable("write")));
            assert_eq!(places.load("es", &tenant).await, Err(unreadable("read")));
        }
    }
}
