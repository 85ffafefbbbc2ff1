//! What the server shows of the ledger and of the program itself.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use disk::Disk;
use ledger::Ledger;
use model::limits::COMMIT_LAG_MAX;
use model::{BoxFuture, Clock, Origin, Position, Tenant};
use server::Declined;
use server::path::LedgerFile;
use server::seam::{LedgerGauge, Ledgers, LogOwner, OutboxGauge, OutputGauge, SchedulerGauge, Vitals};
use tokio::sync::Semaphore;

use super::opening::Opening;
use crate::config::CANARY;

/// The logs of this instance.
pub(super) struct Logs {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) data_dir: PathBuf,
    pub(super) ledger: Ledger,
    pub(super) instance: String,
    /// The tenants, and whether anybody may read their logs.
    pub(super) tenants: RwLock<BTreeMap<Tenant, bool>>,
    /// Proofs that may be made at once: each reads a segment of the WAL, and what else the machine does goes first.
    pub(super) proofs: Arc<Semaphore>,
}

/// Most proofs made at the same time; further ones wait.
pub(super) const PROOFS_AT_ONCE_MAX: usize = 2;

impl Ledgers for Logs {
    fn tenants(&self) -> Vec<Tenant> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    fn owner(&self, origin: &Origin) -> Option<LogOwner> {
        let name = origin.as_str().strip_prefix(self.instance.as_str())?.strip_prefix('/')?;
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        if name == "meta" {
            // It names no tenant, and every tenant's proof leads to it.
            return Some(LogOwner { tenant: None, public: tenants.values().any(|public| *public) });
        }
        let (tenant, public) = tenants.get_key_value(&Tenant::new(name).ok()?)?;
        Some(LogOwner { tenant: Some(tenant.clone()), public: *public })
    }

    fn read<'a>(&'a self, origin: &'a Origin, file: LedgerFile) -> BoxFuture<'a, Result<Bytes, Declined>> {
        let path = self.data_dir.join("ledger").join(origin.as_str()).join(file.relative());
        let disk = Arc::clone(&self.disk);
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || disk::read(&*disk, &path)).await;
            match read {
                Ok(Ok(bytes)) => Ok(bytes.into()),
                Ok(Err(error)) if error.is_missing() => Err(Declined::Missing { what: "file of that log" }),
                Ok(Err(error)) => Err(Declined::broken(error.to_string())),
                Err(_) => Err(Declined::broken("the read ended early")),
            }
        })
    }

    fn prove<'a>(&'a self, tenant: &'a Tenant, position: Position) -> BoxFuture<'a, Result<String, Declined>> {
        let (ledger, tenant) = (self.ledger.clone(), tenant.clone());
        Box::pin(async move {
            // The turn ends with the reading, also where nobody waits for it any more.
            let turn = Arc::clone(&self.proofs).acquire_owned().await;
            let turn = turn.map_err(|_| Declined::broken("the server stops"))?;
            let proved = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                ledger.prove(&tenant, position)
            });
            match proved.await {
                Ok(proved) => proved.map_err(|error| refused(&error)),
                Err(_) => Err(Declined::broken("the read ended early")),
            }
        })
    }
}

fn refused(error: &ledger::Error) -> Declined {
    match error {
        ledger::Error::UnknownPosition { .. } => Declined::Missing { what: "position in the log" },
        ledger::Error::UnknownTenant => Declined::Missing { what: "log" },
        other => Declined::Refused(other.clone().into()),
    }
}

/// How long checkpoints may lag before readiness says so: twice what is promised, so that one slow sync is no alarm.
const LAG_MAX: Duration = COMMIT_LAG_MAX.saturating_mul(2);

/// How the program itself stands.
pub(super) struct Pulse {
    pub(super) lake: Arc<Opening>,
    pub(super) outputs: Arc<export::Outputs>,
    pub(super) ledger: Ledger,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) outboxes: RwLock<Vec<OutboxGauge>>,
    /// Set once checks run: whether the canary still gives results.
    pub(super) scheduler: OnceLock<Arc<probe::Scheduler>>,
    /// Files that cannot be read.
    pub(super) files: Arc<intake::files::Ailments>,
    /// Journals that cannot be followed.
    pub(super) journals: Arc<intake::files::Ailments>,
    /// Since when each log has had records without a checkpoint, and up to which position that was.
    pub(super) behind: Mutex<BTreeMap<Origin, (Position, Duration)>>,
}

impl Pulse {
    fn lag(&self, log: &ledger::LogStatus) -> Duration {
        let now = self.clock.monotonic();
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        match behind.get(&log.origin) {
            _ if log.durable <= log.committed => {
                behind.remove(&log.origin);
                Duration::ZERO
            }
            // The record that waited when we looked last is still not covered.
            Some((position, since)) if log.committed < *position => now.saturating_sub(*since),
            _ => {
                behind.insert(log.origin.clone(), (log.durable, now));
                Duration::ZERO
            }
        }
    }
}

impl Vitals for Pulse {
    fn ailments(&self) -> Vec<String> {
        let mut found = Vec::new();
        match self.ledger.status() {
            Err(error) => found.push(format!("ledger: {error}")),
            Ok(status) => {
                if let Some(reason) = &status.stopped {
                    found.push(format!("ledger: {reason}"));
                }
                if status.disk_full {
                    found.push("ledger: the disk is full, only alerts are recorded".to_owned());
                }
                let slow = status.logs.iter().filter(|log| self.lag(log) > LAG_MAX);
                found.extend(slow.map(|log| format!("ledger: checkpoints of {} are late", log.origin)));
            }
        }
        found.extend(self.files.list());
        found.extend(self.journals.list());
        // The canary tells of results that are wrong; this, of results that do not come.
        if self.scheduler.get().is_some_and(|scheduler| scheduler.is_silent(CANARY)) {
            found.push("checks: the canary gives no results".to_owned());
        }
        found.extend(self.lake.wrong().map(|wrong| format!("lake: {wrong}")));
        found
    }

    fn ledgers(&self) -> Vec<LedgerGauge> {
        let Ok(status) = self.ledger.status() else { return Vec::new() };
        let gauges = status.logs.iter().filter_map(|log| {
            let tenant = Tenant::new(log.origin.as_str().rsplit('/').next()?).ok()?;
            Some(LedgerGauge { tenant, records: log.durable, committed: log.size, commit_lag: self.lag(log) })
        });
        gauges.filter(|gauge| gauge.tenant.as_str() != "meta").collect()
    }

    fn lake_is_open(&self) -> bool {
        self.lake.lake().is_some()
    }

    fn outboxes(&self) -> Vec<OutboxGauge> {
        self.outboxes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn outputs(&self) -> Vec<OutputGauge> {
        let gauge = |standing: export::Standing| {
            let export::Standing { sent, known, refused, expired, .. } = standing;
            let events = [("sent", sent), ("known", known), ("refused", refused), ("expired", expired)];
            let export::Standing { tenant, output, bytes, failures, lag, .. } = standing;
            OutputGauge { tenant, output, events, bytes, failures, lag }
        };
        self.outputs.standings().into_iter().map(gauge).collect()
    }

    fn scheduler(&self) -> Option<SchedulerGauge> {
        let probe::schedule::Stats { running, runs, skipped, lag, lag_sum, .. } = self.scheduler.get()?.stats();
        Some(SchedulerGauge { running, runs, skipped, lag, lag_sum })
    }
}
