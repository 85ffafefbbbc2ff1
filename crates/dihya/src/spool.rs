//! `spool/`: alerts that could not reach the ledger because a server held it and did not answer.
//!
//! Each is a file, durable before anything else is done with it, and is removed only after the ledger has it. A crash
//! between the two admits an alert twice, which the same labels make one. A start takes up what lies there, and so does
//! the server that runs, every few seconds; what its sender still tells people of is left to the sender until it ends.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use alert::incidents::told_already;
use anyhow::Context as _;
use disk::Disk;
use jiff::Timestamp;
use model::{Admit as _, Alert, Level, RefusalKind, Rng, Signal, SourceId, Tenant};
use serde::{Deserialize, Serialize};

use crate::pipeline::Pipeline;

/// Most files that one start admits; the rest is taken up while it runs.
pub(crate) const FILES_MAX: usize = 10_000;
/// Most files that a running server admits at a time.
const FILES_AT_ONCE_MAX: usize = 100;
/// The extension of what the sender of a file holds locked for as long as it tells people.
const SENDER: &str = "sender";
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

/// A file of the spool that its sender has not done with.
pub(crate) struct Held {
    /// The file.
    pub(crate) file: PathBuf,
    /// Nobody else takes the file up until this is dropped, or its process ends.
    _lock: Option<Box<dyn Send + Sync>>,
}

/// Writes an alert durably, to be told by the caller. Names sort by time.
///
/// # Errors
/// When the disk does not take it.
pub(crate) fn put(disk: &dyn Disk, data_dir: &Path, rng: &dyn Rng, spooled: &Spooled) -> anyhow::Result<Held> {
    let dir = dir(data_dir);
    disk.create_dir_all(&dir)?;
    let mut random = [0; 8];
    rng.fill(&mut random);
    let name = format!("{:015}-{}.json", spooled.at.as_millisecond().max(0), crate::config::hex(&random));
    let path = dir.join(name);
    // Without the lock it may be told twice, which is better than not at all.
    let lock = disk.try_lock(&path.with_extension(SENDER)).ok().flatten();
    overwrite(disk, &path, spooled)?;
    Ok(Held { file: path, _lock: lock })
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

/// Reads what waits, oldest first, `max` files at most. A file that cannot be read stays, and is named.
///
/// # Errors
/// When the directory cannot be listed.
pub(crate) fn list(disk: &dyn Disk, data_dir: &Path, max: usize) -> anyhow::Result<Waiting> {
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
        if waiting.good.len() >= max {
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

/// What a running server found in the spool and could not take up: said once.
#[derive(Debug, Default)]
pub(crate) struct Left(BTreeSet<PathBuf>);

/// What a running server must know to take up what is put into the spool.
#[derive(Debug)]
pub(crate) struct Watched {
    /// The routes in force.
    pub(crate) routing: alert::Config,
    /// What cannot be taken up.
    pub(crate) left: Left,
}

impl Watched {
    pub(crate) fn new(routing: alert::Config) -> Self {
        Self { routing, left: Left::default() }
    }
}

impl Left {
    fn is_news(&mut self, path: &Path) -> bool {
        self.0.len() < FILES_MAX && self.0.insert(path.to_owned())
    }
}

/// Where alerts of the spool go, and by whose rules.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a> {
    /// The disk.
    pub(crate) disk: &'a dyn Disk,
    /// The data directory.
    pub(crate) data_dir: &'a Path,
    /// The way into the ledger.
    pub(crate) pipeline: &'a Pipeline,
    /// Routes and receivers.
    pub(crate) config: &'a alert::Config,
    /// For the ids of what was told.
    pub(crate) rng: &'a dyn Rng,
}

impl Way<'_> {
    /// Admits what waits, each alert on its own so that one that is refused keeps no other back, and removes what the
    /// ledger has.
    ///
    /// # Errors
    /// When the directory cannot be read or changed, or the ledger takes nothing.
    pub(crate) async fn admit(&self, now: Timestamp) -> anyhow::Result<usize> {
        self.admit_some(now, FILES_MAX, &mut Left::default()).await
    }

    /// The same while a server runs: a few at a time.
    ///
    /// # Errors
    /// When the directory cannot be read or changed, or the ledger takes nothing.
    pub(crate) async fn admit_few(&self, now: Timestamp, left: &mut Left) -> anyhow::Result<usize> {
        self.admit_some(now, FILES_AT_ONCE_MAX + left.0.len(), left).await
    }

    async fn admit_some(&self, now: Timestamp, max: usize, left: &mut Left) -> anyhow::Result<usize> {
        let waiting = list(self.disk, self.data_dir, max)?;
        for path in waiting.broken.iter().filter(|path| left.is_news(path)) {
            tracing::warn!(path = %path.display(), "left a file in the spool that cannot be read");
        }
        let mut admitted = Vec::new();
        for (path, spooled) in waiting.good {
            // Its sender still tells people, and writes down whom.
            let Some(lock) = self.disk.try_lock(&path.with_extension(SENDER))? else { continue };
            // Between listing and locking the sender may have noted whom it told.
            let spooled = disk::read(self.disk, &path)
                .ok()
                .and_then(|bytes| serde_json::from_slice(&bytes).ok())
                .unwrap_or(spooled);
            match self.pipeline.admit(self.signals(spooled, now), Level::Durable).await {
                Ok(_) => admitted.push((path, lock)),
                Err(refusal) if refusal.kind == RefusalKind::Stop => return Err(refusal.into()),
                Err(refusal) if left.is_news(&path) => {
                    tracing::warn!(path = %path.display(), error = %refusal, "left an alert in the spool");
                }
                Err(_) => {}
            }
        }
        let files: Vec<PathBuf> = admitted.iter().map(|(path, _)| path.clone()).collect();
        remove(self.disk, self.data_dir, &files)?;
        if !files.is_empty() {
            tracing::info!(alerts = files.len(), "admitted the spool");
        }
        Ok(files.len())
    }

    /// Makes the alert, and who has heard of it: they do not hear it again, and the routes decide about everybody else.
    fn signals(&self, spooled: Spooled, now: Timestamp) -> Vec<Signal> {
        let Spooled { tenant, mut alert, told, at } = spooled;
        // It may have waited for longer than it was to fire, and nobody on the routes has heard it yet.
        let until = now.checked_add(server::ALERT_FIRES_FOR).unwrap_or(now);
        alert.ends_at = alert.ends_at.map(|end| end.max(until));
        let told = told_already(self.config, &tenant, &alert, &told, at, self.rng);
        let sent = Signal { tenant: tenant.clone(), source: SourceId::COMMAND, body: alert.into() };
        std::iter::once(sent).chain(told.into_iter().map(|body| Signal::ours(tenant.clone(), body))).collect()
    }
}

/// Removes files whose alerts the ledger has.
///
/// # Errors
/// When the disk refuses.
pub(crate) fn remove(disk: &dyn Disk, data_dir: &Path, files: &[PathBuf]) -> anyhow::Result<()> {
    for file in files {
        disk.remove(file)?;
        let sender = file.with_extension(SENDER);
        if disk.exists(&sender) {
            disk.remove(&sender)?;
        }
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
        let mut held = None;
        for (name, told) in [("told", vec!["log".to_owned()]), ("untold", Vec::new())] {
            let told = told.into_iter().collect();
            let spooled = Spooled { tenant: Tenant::default(), alert: alert(name), told, at: clock.now() };
            let seed = if name == "told" { 1 } else { 2 };
            held = Some(put(&OsDisk, place.path(), &SeededRng::new(seed), &spooled).expect("written"));
        }
        let way = Way {
            disk: &OsDisk,
            data_dir: place.path(),
            pipeline: &pipeline,
            config: &routing,
            rng: &SeededRng::new(2),
        };
        let bad = dir(place.path()).join("000-broken.json");
        disk::write_atomic(&OsDisk, &bad, b"{").expect("written");
        let mut left = Left::default();
        // The sender of the last one has not done yet.
        assert_eq!(way.admit_few(clock.now(), &mut left).await.expect("admits"), 1);
        drop(held);
        assert_eq!(way.admit_few(clock.now(), &mut left).await.expect("admits"), 1);
        assert_eq!(way.admit(clock.now()).await.expect("admits"), 0);
        assert!(!left.is_news(&bad), "what cannot be read is said once");
        disk::OsDisk.remove(&bad).expect("removed");
        assert_eq!(OsDisk.list(&dir(place.path())).expect("lists"), [], "nothing is left behind");
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
        assert!(list(&OsDisk, place.path(), 10).expect("lists").good.is_empty());
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
        assert_eq!(list(&disk, place.path(), 10).expect("lists"), Waiting::default());
        let rng = SeededRng::new(1);
        for second in [200, 3] {
            put(&disk, place.path(), &rng, &spooled(second)).expect("written");
        }
        let bad = dir(place.path()).join("000-broken.json");
        disk::write_atomic(&disk, &bad, b"{").expect("written");
        let Waiting { good, broken } = list(&disk, place.path(), 10).expect("lists");
        assert_eq!(good.iter().map(|(_, s)| s.at.as_second()).collect::<Vec<_>>(), [3, 200]);
        assert_eq!(broken, [bad]);
        let files: Vec<PathBuf> = good.into_iter().map(|(path, _)| path).collect();
        remove(&disk, place.path(), &files).expect("removed");
        assert!(list(&disk, place.path(), 10).expect("lists").good.is_empty());
        assert!(remove(&disk, place.path(), &files).is_err());
    }
}
