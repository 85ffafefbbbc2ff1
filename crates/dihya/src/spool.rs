//! `spool/`: alerts that could not reach the ledger because a server held it and did not answer.
//!
//! Each is a file, durable before anything else is done with it, and is removed only after the ledger has it. A crash
//! between the two admits an alert twice, which the same labels make one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use alert::incidents::told_already;
use anyhow::Context as _;
use disk::Disk;
use jiff::Timestamp;
use model::{Admit as _, Alert, Level, RefusalKind, Rng, Signal, SourceId, Tenant};
use serde::{Deserialize, Serialize};

use crate::pipeline::Pipeline;

/// Most files that one start admits; the rest waits for the next.
pub(crate) const FILES_MAX: usize = 10_000;
/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// An alert that waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spooled {
    /// Whose it is.
    pub(crate) tenant: Tenant,
    /// What it says.
    pub(crate) alert: Alert,
    /// The channels that have it already.
    #[serde(default)]
    pub(crate) told: BTreeSet<String>,
    /// When it was written.
    pub(crate) at: Timestamp,
}

/// What lies in the spool.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Waiting {
    /// What can be read, oldest first, with its file.
    pub(crate) good: Vec<(PathBuf, Spooled)>,
    /// What cannot.
    pub(crate) broken: Vec<PathBuf>,
}

/// Returns the directory.
pub(crate) fn dir(data_dir: &Path) -> PathBuf {
    data_dir.join("spool")
}

/// Writes an alert durably and returns its file. Names sort by time.
///
/// # Errors
/// When the disk does not take it.
pub(crate) fn put(disk: &dyn Disk, data_dir: &Path, rng: &dyn Rng, spooled: &Spooled) -> anyhow::Result<PathBuf> {
    let dir = dir(data_dir);
    disk.create_dir_all(&dir)?;
    let mut random = [0; 8];
    rng.fill(&mut random);
    let name = format!("{:015}-{}.json", spooled.at.as_millisecond().max(0), crate::config::hex(&random));
    let path = dir.join(name);
    overwrite(disk, &path, spooled)?;
    Ok(path)
}

/// Writes an alert over the file that holds it.
///
/// # Errors
/// When the disk does not take it.
pub(crate) fn overwrite(disk: &dyn Disk, path: &Path, spooled: &Spooled) -> anyhow::Result<()> {
    let json = serde_json::to_vec(spooled).context("could not write the alert as JSON")?;
    disk::write_atomic(disk, path, &json)?;
    Ok(())
}

/// Reads what waits, oldest first. A file that cannot be read stays, and is named.
///
/// # Errors
/// When the directory cannot be listed.
pub(crate) fn list(disk: &dyn Disk, data_dir: &Path) -> anyhow::Result<Waiting> {
    let dir = dir(data_dir);
    if !disk.exists(&dir) {
        return Ok(Waiting::default());
    }
    let mut waiting = Waiting::default();
    for entry in disk.list(&dir)? {
        let path = dir.join(&entry.name);
        if entry.is_dir || !entry.name.ends_with(".json") {
            continue;
        }
        if waiting.good.len() >= FILES_MAX {
            break;
        }
        let read = (entry.len <= FILE_BYTES_MAX).then(|| disk::read(disk, &path).ok()).flatten();
        match read.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            Some(spooled) => waiting.good.push((path, spooled)),
            None => waiting.broken.push(path),
        }
    }
    Ok(waiting)
}

/// Admits what waits, each alert on its own so that one that is refused keeps no other back, and removes what the ledger
/// has.
///
/// # Errors
/// When the directory cannot be read or changed, or the ledger takes nothing.
pub(crate) async fn admit(
    disk: &dyn Disk,
    data_dir: &Path,
    pipeline: &Pipeline,
    config: &alert::Config,
    now: Timestamp,
    rng: &dyn Rng,
) -> anyhow::Result<usize> {
    let waiting = list(disk, data_dir)?;
    for path in waiting.broken {
        tracing::warn!(path = %path.display(), "left a file in the spool that cannot be read");
    }
    let mut admitted = Vec::new();
    for (path, spooled) in waiting.good {
        let mut alert = spooled.alert;
        // It may have waited for longer than it was to fire, and nobody on the routes has heard it yet.
        let until = now.checked_add(server::ALERT_FIRES_FOR).unwrap_or(now);
        alert.ends_at = alert.ends_at.map(|end| end.max(until));
        // Who has heard it does not hear it again; the routes still decide about everybody else.
        let told = told_already(config, &spooled.tenant, &alert, &spooled.told, spooled.at, rng);
        let sent = Signal { tenant: spooled.tenant.clone(), source: SourceId::COMMAND, body: alert.into() };
        let told = told.into_iter().map(|body| Signal::ours(spooled.tenant.clone(), body));
        match pipeline.admit(std::iter::once(sent).chain(told).collect(), Level::Durable).await {
            Ok(_) => admitted.push(path),
            Err(refusal) if refusal.kind == RefusalKind::Stop => return Err(refusal.into()),
            Err(refusal) => tracing::warn!(path = %path.display(), error = %refusal, "left an alert in the spool"),
        }
    }
    remove(disk, data_dir, &admitted)?;
    if !admitted.is_empty() {
        tracing::info!(alerts = admitted.len(), "admitted the spool");
    }
    Ok(admitted.len())
}

/// Removes files whose alerts the ledger has.
///
/// # Errors
/// When the disk refuses.
pub(crate) fn remove(disk: &dyn Disk, data_dir: &Path, files: &[PathBuf]) -> anyhow::Result<()> {
    for file in files {
        disk.remove(file)?;
    }
    if !files.is_empty() {
        disk.sync_dir(&dir(data_dir))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use disk::OsDisk;
    use model::{Feed as _, Labels, Sector, SeededRng, Severity};

    use super::*;

    /// Whoever was told while the server did not answer was told again once it was started.
    #[tokio::test]
    async fn what_is_admitted_says_who_was_told() {
        let place = tempfile::tempdir().expect("a directory");
        let clock: Arc<dyn model::Clock> = Arc::new(disk::OsClock::default());
        let config = ledger::Config::new(place.path().to_owned(), "localhost", vec![Tenant::default()]);
        let (disk, rng) = (Arc::new(OsDisk), Arc::new(disk::OsRng));
        let (ledger, _) = ledger::Ledger::open(disk, Arc::clone(&clock), rng, config).expect("opens");
        let clearer = privacy::Clearer::new(Arc::new(privacy::Redactor::new()), [7; 32]);
        let metrics = Arc::new(server::Metrics::new());
        let pipeline = Pipeline::new(Arc::new(clearer), ledger, Arc::clone(&clock), metrics);
        let mut routing = alert::Config::default();
        let way = |channel: &str| alert::config::Integration {
            channel: channel.to_owned(),
            send_resolved: true,
            language: None,
        };
        let receiver = routing.route.receiver.clone();
        let integrations = vec![way("log"), way("mail")];
        routing.receivers.insert(receiver, alert::config::Receiver { integrations });
        let alert = |name: &str| Alert {
            labels: Labels::from([(Alert::NAME.to_owned(), name.to_owned())]),
            annotations: Labels::new(),
            starts_at: clock.now(),
            ends_at: None,
            generator_url: None,
            severity: Severity::Critical,
            sector: Sector::None,
            channel: None,
        };
        for (name, told) in [("told", vec!["log".to_owned()]), ("untold", Vec::new())] {
            let told = told.into_iter().collect();
            let spooled = Spooled { tenant: Tenant::default(), alert: alert(name), told, at: clock.now() };
            put(&OsDisk, place.path(), &SeededRng::new(1), &spooled).expect("written");
        }
        let admitted = admit(&OsDisk, place.path(), &pipeline, &routing, clock.now(), &SeededRng::new(2)).await;
        assert_eq!(admitted.expect("admits"), 2);
        let mut feed = pipeline.feed(&Tenant::default(), 0, None).expect("a log");
        let said = |recorded: model::Recorded| match recorded.signal.body {
            model::Body::Alert(alert) => format!("alert {}", alert.name()),
            model::Body::Intent(intent) => format!("told {}/{}", intent.receiver, intent.channel),
            model::Body::Delivery(delivery) => format!("delivered {}", delivery.channel),
            other => other.kind().as_str().to_owned(),
        };
        let mut said: Vec<String> = feed.read(100).await.expect("reads").into_iter().map(said).collect();
        said.sort();
        assert_eq!(said, ["alert told", "alert untold", "delivered log", "told log/log"]);
        assert!(list(&OsDisk, place.path()).expect("lists").good.is_empty());
    }

    #[test]
    fn what_is_spooled_is_read_once_in_order() {
        let place = tempfile::tempdir().expect("a directory");
        let disk = OsDisk;
        let spooled = |second: i64| Spooled {
            tenant: Tenant::default(),
            alert: Alert {
                labels: Labels::from([(Alert::NAME.to_owned(), format!("a{second}"))]),
                annotations: Labels::new(),
                starts_at: Timestamp::UNIX_EPOCH,
                ends_at: None,
                generator_url: None,
                severity: Severity::Critical,
                sector: Sector::None,
                channel: Some("log".into()),
            },
            told: BTreeSet::new(),
            at: Timestamp::from_second(second).expect("in range"),
        };
        assert_eq!(list(&disk, place.path()).expect("lists"), Waiting::default());
        let rng = SeededRng::new(1);
        for second in [200, 3] {
            put(&disk, place.path(), &rng, &spooled(second)).expect("written");
        }
        let bad = dir(place.path()).join("000-broken.json");
        disk::write_atomic(&disk, &bad, b"{").expect("written");
        let Waiting { good, broken } = list(&disk, place.path()).expect("lists");
        assert_eq!(good.iter().map(|(_, s)| s.at.as_second()).collect::<Vec<_>>(), [3, 200]);
        assert_eq!(broken, [bad]);
        let files: Vec<PathBuf> = good.into_iter().map(|(path, _)| path).collect();
        remove(&disk, place.path(), &files).expect("removed");
        assert!(list(&disk, place.path()).expect("lists").good.is_empty());
        assert!(remove(&disk, place.path(), &files).is_err());
    }
}
