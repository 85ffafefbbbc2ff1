//! The exposure ledgers of the tenants: kinds of personal data that passed, where, by day. Counts only.
//!
//! Kept once a minute in `exposure.json` of the data directory, whole and synced; a crash loses what was counted since,
//! and each record still has its receipt.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use disk::Disk;
use model::{Tenant, Timestamp};
use privacy::{Exposure, Receipt};
use serde::{Deserialize, Serialize};

/// The file in the data directory.
pub(crate) const FILE: &str = "exposure.json";
/// How often it is written, where something was counted.
const KEEP_EVERY: Duration = Duration::from_secs(60);

/// What passed, by tenant.
#[derive(Default)]
pub(crate) struct Exposures(Mutex<State>);

#[derive(Default)]
struct State {
    by_tenant: BTreeMap<Tenant, Exposure>,
    changed: bool,
    kept_at: Option<Duration>,
}

/// One count, as it is kept and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) tenant: Tenant,
    /// The day in UTC, as in `2026-11-27`.
    pub(crate) day: String,
    pub(crate) stream: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) count: u64,
}

fn days(at: Timestamp) -> u32 {
    u32::try_from(at.as_second() / 86_400).unwrap_or(0)
}

fn written(day: u32) -> String {
    let at = Timestamp::from_second(i64::from(day) * 86_400).unwrap_or(Timestamp::UNIX_EPOCH);
    at.to_string().chars().take(10).collect()
}

impl Exposures {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what was done to events that are durable.
    pub(crate) fn record(&self, tenant: &Tenant, at: Timestamp, passed: &[(Arc<str>, Arc<Receipt>)]) {
        if passed.iter().all(|(_, receipt)| receipt.counts.is_empty()) {
            return;
        }
        let mut state = self.state();
        state.changed = true;
        let exposure = state.by_tenant.entry(tenant.clone()).or_default();
        passed.iter().for_each(|(stream, receipt)| exposure.record(days(at), stream, receipt));
    }

    /// Returns the counts by tenant, day, stream and type.
    fn rows(&self) -> Vec<Row> {
        let state = self.state();
        let rows = state.by_tenant.iter().flat_map(|(tenant, exposure)| {
            exposure.rows().map(|row| Row {
                tenant: tenant.clone(),
                day: written(row.day),
                stream: row.stream.to_owned(),
                kind: row.kind.to_owned(),
                count: row.count,
            })
        });
        rows.collect()
    }

    /// Takes up what was kept.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub(crate) fn load(&self, disk: &dyn Disk, data_dir: &Path) -> anyhow::Result<()> {
        let rows = read(disk, data_dir)?;
        let mut state = self.state();
        for row in rows {
            let at: Timestamp =
                format!("{}T00:00:00Z", row.day).parse().context("cannot read a day of exposure.json")?;
            let exposure = state.by_tenant.entry(row.tenant).or_default();
            exposure.restore(days(at), &row.stream, &row.kind, row.count);
        }
        Ok(())
    }

    /// Keeps the counts, at most once a minute unless it is the `last` time. Blocks.
    ///
    /// # Errors
    /// When the disk does not take them; they are kept the next time.
    pub(crate) fn keep(&self, disk: &dyn Disk, data_dir: &Path, now: Duration, last: bool) -> anyhow::Result<()> {
        {
            let mut state = self.state();
            let due = last || state.kept_at.is_none_or(|at| now.saturating_sub(at) >= KEEP_EVERY);
            if !state.changed || !due {
                return Ok(());
            }
            (state.changed, state.kept_at) = (false, Some(now));
        }
        let kept = serde_json::to_vec(&self.rows()).map_err(anyhow::Error::new);
        let kept = kept.and_then(|bytes| Ok(disk::write_atomic(disk, &data_dir.join(FILE), &bytes)?));
        if kept.is_err() {
            self.state().changed = true;
        }
        kept.context("could not keep the exposure ledger")
    }
}

/// Reads what was kept; nothing where there is no file.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn read(disk: &dyn Disk, data_dir: &Path) -> anyhow::Result<Vec<Row>> {
    let path = data_dir.join(FILE);
    if !disk.exists(&path) {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&disk::read(disk, &path)?).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use disk::SimDisk;

    use super::*;

    #[test]
    fn counts_survive_a_restart_and_are_written_once_a_minute() {
        let (disk, dir) = (SimDisk::new(1), Path::new("/d"));
        disk.create_dir_all(dir).expect("creates");
        let exposures = Exposures::default();
        exposures.load(&disk, dir).expect("there is nothing");
        let at: Timestamp = "2026-11-27T10:00:00Z".parse().expect("a time");
        let passed = [("shop".into(), Arc::new(Receipt { counts: [("EMAIL", 2)].into(), ..Receipt::default() }))];
        let keep = |exposures: &Exposures, seconds, last| {
            let syncs = disk.syncs();
            exposures.keep(&disk, dir, Duration::from_secs(seconds), last).expect("keeps");
            disk.syncs() > syncs
        };
        exposures.record(&Tenant::default(), at, &[]);
        assert!(!keep(&exposures, 0, true), "nothing was counted");
        exposures.record(&Tenant::default(), at, &passed);
        assert!(keep(&exposures, 0, false));
        exposures.record(&Tenant::default(), at, &passed);
        assert!(!keep(&exposures, 59, false) && keep(&exposures, 60, false));
        exposures.record(&Tenant::default(), at, &passed);
        assert!(keep(&exposures, 61, true) && !keep(&exposures, 200, true));
        let again = Exposures::default();
        again.load(&disk, dir).expect("reads");
        let row = Row {
            tenant: Tenant::default(),
            day: "2026-11-27".to_owned(),
            stream: "shop".to_owned(),
            kind: "EMAIL".to_owned(),
            count: 6,
        };
        assert_eq!((again.rows(), read(&disk, dir).expect("reads")), (vec![row.clone()], vec![row]));
        disk.fail_sync_after(0);
        again.record(&Tenant::default(), at, &passed);
        assert!(again.keep(&disk, dir, Duration::from_secs(300), true).is_err());
        assert!(keep(&again, 400, false), "what could not be kept is kept later");
        disk::write_atomic(&disk, &dir.join(FILE), b"[1]").expect("writes");
        assert!(again.load(&disk, dir).is_err());
    }
}
