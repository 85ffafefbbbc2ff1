//! Signs of life across a restart: noted as they come, written to the control state beside the answer to the job.
//!
//! The sign itself is durable with the result that it causes. What is written here is at most [`REST`] behind that, and
//! saves the next start from reading the ledger: a restart neither forgets that a sign is overdue nor takes one for
//! overdue that came.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alert::state::{Heartbeat, State, StateError};
use model::Tenant;
use probe::{Kept, Scheduler};
use tokio::sync::Notify;

/// Shortest time between two writes: however often jobs give signs, each heartbeat is written once in it.
const REST: Duration = Duration::from_secs(1);

/// Keeps the last signs of all heartbeats. What waits is one row per declared heartbeat at most.
pub(super) struct Beats {
    state: Arc<dyn State>,
    noted: Mutex<BTreeMap<Tenant, BTreeMap<String, Kept>>>,
    wake: Notify,
}

impl Beats {
    pub(super) fn new(state: Arc<dyn State>) -> Self {
        Self { state, noted: Mutex::default(), wake: Notify::new() }
    }

    /// Brings back what was kept of a tenant's heartbeats. A start without it expects them anew, and still watches.
    pub(super) async fn restore(&self, tenant: &Tenant, heartbeats: &probe::Heartbeats) {
        match self.state.heartbeats(tenant).await {
            Ok(kept) => kept.iter().for_each(|row| heartbeats.remember(&row.check, kept_of(row))),
            Err(error) => tracing::warn!(%tenant, error = %error, "could not read the last signs of heartbeats"),
        }
    }

    /// Keeps how all declared heartbeats stand, and forgets those that are not declared any more.
    pub(super) async fn keep_all(&self, scheduler: &Scheduler, tenants: impl Iterator<Item = &Tenant>) {
        let config = scheduler.config();
        let kept: BTreeMap<String, Kept> = scheduler.means().heartbeats.kept().into_iter().collect();
        for tenant in tenants {
            let mine = config.checks.iter().filter(|check| check.tenant == *tenant);
            let rows = mine.filter_map(|check| Some(row(&check.id, kept.get(&*check.id)?)));
            let rows: Vec<Heartbeat> = rows.collect();
            if let Err(error) = self.state.keep_heartbeats(tenant, &rows, true).await {
                unkept(tenant, &error);
            }
        }
    }

    /// Notes a sign, to be written soon.
    pub(super) fn note(&self, tenant: &Tenant, check: &str, kept: Kept) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.entry(tenant.clone()).or_default().insert(check.to_owned(), kept);
        drop(noted);
        self.wake.notify_one();
    }

    /// Writes what is noted, again and again.
    pub(super) async fn run(&self) {
        loop {
            self.wake.notified().await;
            self.write().await;
            tokio::time::sleep(REST).await;
        }
    }

    /// Writes what is noted. What could not be written is noted still, unless a later sign is.
    pub(super) async fn write(&self) {
        let noted = std::mem::take(&mut *self.noted.lock().unwrap_or_else(PoisonError::into_inner));
        for (tenant, beats) in noted {
            let rows: Vec<Heartbeat> = beats.iter().map(|(check, kept)| row(check, kept)).collect();
            let Err(error) = self.state.keep_heartbeats(&tenant, &rows, false).await else { continue };
            unkept(&tenant, &error);
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            let still = noted.entry(tenant).or_default();
            for (check, kept) in beats {
                still.entry(check).or_insert(kept);
            }
            self.wake.notify_one();
        }
    }
}

fn unkept(tenant: &Tenant, error: &StateError) {
    tracing::warn!(%tenant, error = %error, "could not keep the last signs of heartbeats");
}

fn row(check: &str, kept: &Kept) -> Heartbeat {
    Heartbeat {
        check: check.to_owned(),
        declared_at: kept.declared,
        started_at: kept.started,
        ended_at: kept.ended,
        exit: kept.exit,
        took: kept.took,
    }
}

const fn kept_of(row: &Heartbeat) -> Kept {
    Kept { declared: row.declared_at, started: row.started_at, ended: row.ended_at, exit: row.exit, took: row.took }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use alert::SqliteState;
    use disk::{OsDisk, OsRng};
    use model::{CheckChange, CheckResult, Clock, StepClock, Timestamp};
    use probe::{Means, Ping, Results};
    use serde_json::json;

    use super::*;

    struct Nowhere;

    impl Results for Nowhere {
        fn take(&self, _: &probe::Check, _: &CheckResult, _: Option<&CheckChange>) -> Result<(), probe::Full> {
            Ok(())
        }
    }

    /// What lives as long as the process.
    struct Life {
        state: Arc<SqliteState>,
        beats: Beats,
        scheduler: Scheduler,
    }

    async fn start(dir: &Path, clock: &Arc<StepClock>, jobs: &[&str]) -> Life {
        let checks: serde_json::Map<_, _> = jobs
            .iter()
            .map(|job| {
                (
                    (*job).to_owned(),
                    json!({"kind": "heartbeat", "interval": "1d", "ping_id": format!("{job}-0123456789abcdef")}),
                )
            })
            .collect();
        let config = probe::Config::read(&checks.into(), &serde_json::Value::Null).expect("sound");
        let state = Arc::new(SqliteState::open(&dir.join("state.sqlite")).await.expect("opens"));
        let beats = Beats::new(Arc::clone(&state) as _);
        let means = Means::new(Arc::clone(clock) as Arc<dyn Clock>, Arc::new(OsRng), Arc::new(OsDisk));
        beats.restore(&Tenant::default(), &means.heartbeats).await;
        let scheduler = Scheduler::start(config, means, Arc::new(Nowhere), &[]);
        beats.keep_all(&scheduler, [Tenant::default()].iter()).await;
        Life { state, beats, scheduler }
    }

    impl Life {
        fn kept(&self, job: &str) -> Kept {
            let kept = self.scheduler.means().heartbeats.kept_of(&format!("{job}-0123456789abcdef"));
            kept.expect("is declared")
        }

        fn beat(&self, job: &str) {
            let check = self.scheduler.ping(&format!("{job}-0123456789abcdef"), Ping::Success).expect("is declared");
            self.beats.note(&Tenant::default(), &check, self.kept(job));
        }

        async fn end(self) {
            self.scheduler.stop(Duration::ZERO).await;
            self.state.close().await;
        }
    }

    /// A restart forgot when a job had last given a sign, and since when one was expected.
    #[tokio::test]
    async fn the_last_signs_outlive_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(StepClock::new("2026-11-22T10:00:00Z".parse().expect("a time")));
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let life = start(dir.path(), &clock, &["a", "b", "c"]).await;
        clock.advance(Duration::from_secs(3_600));
        life.beat("a");
        life.beats.write().await;
        life.end().await;
        clock.advance(Duration::from_secs(3_600));
        let life = start(dir.path(), &clock, &["a", "b"]).await;
        assert_eq!((life.kept("a").ended, life.kept("a").exit), (Some(at("2026-11-22T11:00:00Z")), 0));
        assert_eq!((life.kept("b").ended, life.kept("b").declared), (None, at("2026-11-22T10:00:00Z")));
        let left = life.state.heartbeats(&Tenant::default()).await.expect("reads");
        assert_eq!(left.iter().map(|row| row.check.as_str()).collect::<Vec<_>>(), ["a", "b"], "c is not declared");
        life.end().await;
    }

    /// Written without being asked for, and once however many signs came; what cannot be written is not forgotten.
    #[tokio::test]
    async fn signs_are_written_soon_and_kept_while_they_cannot_be() {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(StepClock::new("2026-11-22T10:00:00Z".parse().expect("a time")));
        let life = start(dir.path(), &clock, &["a"]).await;
        for _ in 0..1_000 {
            life.beat("a");
        }
        let rows = |life: &Life| life.beats.noted.lock().expect("whole").values().map(BTreeMap::len).sum::<usize>();
        assert_eq!(rows(&life), 1);
        let written = async {
            while life.state.heartbeats(&Tenant::default()).await.expect("reads")[0].ended_at.is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = life.beats.run() => {}
            written = tokio::time::timeout(Duration::from_secs(120), written) => written.expect("is written"),
        }
        assert_eq!(rows(&life), 0);
        life.beat("a");
        life.state.close().await;
        life.beats.write().await;
        assert_eq!(rows(&life), 1);
        life.beats.restore(&Tenant::default(), &life.scheduler.means().heartbeats).await;
        life.beats.keep_all(&life.scheduler, [Tenant::default()].iter()).await;
        life.scheduler.stop(Duration::ZERO).await;
    }
}
