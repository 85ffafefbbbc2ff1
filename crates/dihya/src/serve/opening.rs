//! The lake's opening: in the background, and again until it succeeds, so that what watches never waits for what is asked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use lake::Lake;
use model::limits::LAKE_HOT_BYTES_MAX;
use model::{BoxFuture, Feed, Position, Recorded, Refusal, Tenant};
use tokio::task::JoinSet;

use crate::config::lake::LakeConfig;
use crate::pipeline::{Pipeline, Records};

/// The name of the lake among the ledger's views.
pub(crate) const LAKE: &str = "lake";
/// How long to wait before the lake is fed again after it failed.
const FEED_AGAIN: Duration = Duration::from_secs(5);
/// How long to wait before the lake is opened again: first, and at most. It is twice as long each time.
const OPEN_AGAIN: Duration = Duration::from_secs(1);
const OPEN_AGAIN_MAX: Duration = Duration::from_secs(60);

/// What a lake is made of and fed from.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) world: lake::World,
    pub(crate) data_dir: PathBuf,
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) tenants: Vec<Tenant>,
}

/// The lake once it is open, and why it is not until then.
#[derive(Default)]
pub(crate) struct Opening {
    lake: OnceLock<Lake>,
    /// What is in force of `lake:`.
    config: Mutex<LakeConfig>,
    /// How the last attempt failed.
    wrong: Mutex<Option<String>>,
    /// Up to which position each tenant's records are in the lake, those that are no events included.
    folded: Arc<Mutex<BTreeMap<Tenant, Position>>>,
}

impl Opening {
    /// Makes one that nobody has begun.
    pub(crate) fn new(config: LakeConfig) -> Self {
        Self { config: Mutex::new(config), ..Self::default() }
    }

    /// Puts another configuration in force, now or at the opening.
    pub(crate) fn reload(&self, config: LakeConfig) {
        *lock(&self.config) = config;
        self.keep();
    }

    fn keep(&self) {
        if let Some(lake) = self.lake.get() {
            let config = lock(&self.config).clone();
            lake.keep(config.flush_every, config.retention());
        }
    }

    /// Returns the lake once it is open.
    pub(crate) fn lake(&self) -> Option<&Lake> {
        self.lake.get()
    }

    /// Returns the position up to which a tenant's records can be asked for; [`Lake::position`] knows of events alone.
    pub(crate) fn folded(&self, tenant: &Tenant) -> Position {
        lock(&self.folded).get(tenant).copied().unwrap_or(0)
    }

    /// Says why it could not be opened so far; `None` where it is open, or nobody knows yet.
    pub(crate) fn wrong(&self) -> Option<String> {
        lock(&self.wrong).clone()
    }

    /// Opens the lake, feeds it and keeps it up. Ends when it cannot go on, which only the ledger's end does.
    pub(crate) async fn run(&self, source: Source) -> &'static str {
        let mut wait = OPEN_AGAIN;
        let lake = loop {
            let config = lock(&self.config).clone();
            match attempt(&source, config).await {
                Ok(lake) => break lake,
                Err(error) => {
                    if has_ended(&source.pipeline) {
                        return LAKE;
                    }
                    let error = format!("{error:#}");
                    tracing::warn!(error, "could not open the lake, trying again");
                    *lock(&self.wrong) = Some(error);
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(OPEN_AGAIN_MAX);
        };
        let mut parts = JoinSet::new();
        feed(&mut parts, &lake, &source, &self.folded);
        *lock(&self.wrong) = None;
        let _ = self.lake.set(lake); // nobody else sets it
        // The file may have been read again while it was opened.
        self.keep();
        tracing::info!("opened the lake");
        parts.join_next().await;
        LAKE
    }
}

/// Registers the lake with the ledger, which keeps the payloads of events from now on until the lake says that it has
/// them: to be called before the first record, and whether or not the lake can be opened.
///
/// # Errors
/// When a tenant has no log.
pub(crate) fn register(
    ledger: &ledger::Ledger,
    tenants: impl IntoIterator<Item = Tenant>,
) -> Result<(), ledger::Error> {
    tenants.into_iter().try_for_each(|tenant| ledger.consumed(LAKE, &tenant, 0))
}

/// Opens the lake in a task of its own: what panics over a damaged file there ends the attempt and nothing else.
async fn attempt(source: &Source, config: LakeConfig) -> anyhow::Result<Lake> {
    let mut task = JoinSet::new();
    let source = source.clone();
    task.spawn(async move { open(source, config).await });
    match task.join_next().await {
        Some(Ok(opened)) => opened,
        _ => anyhow::bail!("could not open the lake: opening it panicked"),
    }
}

async fn open(source: Source, config: LakeConfig) -> anyhow::Result<Lake> {
    let Source { world, data_dir, pipeline, tenants } = source;
    let options = lake::Options {
        dir: data_dir.join("lake"),
        spill: data_dir.join("spill"),
        tenants: tenants.clone(),
        flush_every: config.flush_every,
        hot_bytes: LAKE_HOT_BYTES_MAX,
        retention: config.retention(),
    };
    let lake = Lake::open(world, options).await.context("could not open the lake")?;
    for tenant in &tenants {
        let (from, next) = (lake.position(tenant)?, pipeline.ledger().next_position(tenant)?);
        anyhow::ensure!(
            from <= next,
            "the lake of {tenant} is ahead of its ledger ({from} after {next}): it was made from another one; move \
             {}/lake away, and it is made again from what the ledger has",
            data_dir.display()
        );
    }
    for tenant in &tenants {
        pipeline.ledger().consumed(LAKE, tenant, lake.durable_position(tenant)?)?;
    }
    Ok(lake)
}

/// Feeds the lake and keeps it up. What keeps it from being written must not end the program that still pages: it is said,
/// and tried again from where the lake is.
fn feed(parts: &mut JoinSet<()>, lake: &Lake, source: &Source, folded: &Arc<Mutex<BTreeMap<Tenant, Position>>>) {
    for tenant in &source.tenants {
        let (lake, pipeline, tenant) = (lake.clone(), Arc::clone(&source.pipeline), tenant.clone());
        let folded = Arc::clone(folded);
        parts.spawn(async move {
            loop {
                let feed = lake.position(&tenant).map_err(anyhow::Error::new);
                let feed = feed.and_then(|from| Ok(pipeline.events(&tenant, from)?));
                let error = match feed {
                    Ok(feed) => match lake.run(Box::new(Fed { feed, folded: Arc::clone(&folded) })).await {
                        Err(error) => anyhow::Error::new(error),
                        Ok(never) => match never {},
                    },
                    Err(error) => error,
                };
                if has_ended(&pipeline) {
                    return;
                }
                tracing::warn!(%tenant, error = format!("{error:#}"), "could not feed the lake");
                tokio::time::sleep(FEED_AGAIN).await;
            }
        });
    }
    let lake = lake.clone();
    parts.spawn(async move { match lake.run_upkeep().await {} });
}

/// A feed that tells how far what it gave was folded: all of it, once more is asked for or there is nothing more.
struct Fed {
    feed: Records,
    folded: Arc<Mutex<BTreeMap<Tenant, Position>>>,
}

impl Fed {
    fn tell(&self) {
        if let Some(position) = self.feed.position() {
            lock(&self.folded).insert(self.feed.tenant().clone(), position);
        }
    }
}

impl Feed for Fed {
    fn tenant(&self) -> &Tenant {
        self.feed.tenant()
    }

    fn read(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Recorded>, Refusal>> {
        Box::pin(async move {
            self.tell();
            let read = self.feed.read(max).await;
            if read.as_ref().is_ok_and(Vec::is_empty) {
                self.tell();
            }
            read
        })
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        self.feed.wait()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn has_ended(pipeline: &Pipeline) -> bool {
    pipeline.ledger().status().is_ok_and(|status| status.stopped.is_some())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use disk::{Disk, OsClock, OsDisk, OsRng};
    use ledger::Ledger;
    use model::{Admit as _, Clock, Event, Level, Signal, SourceId, StepClock};
    use privacy::{Clearer, Redactor};
    use server::Metrics;

    use super::*;

    /// A program of which nothing runs but the ledger: its segments are small, and no payload is kept for its age.
    async fn source(ledger_dir: &Path, data_dir: &Path, of_lake: &Arc<StepClock>) -> Source {
        let clock: Arc<dyn Clock> = Arc::new(OsClock::default());
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let mut config = ledger::Config::new(ledger_dir.to_owned(), "localhost", vec![Tenant::default()]);
        (config.segment_bytes, config.retain_bytes, config.meta_every) = (48_000, 64_000, Duration::from_millis(5));
        let (ledger, _) = Ledger::open(Arc::clone(&disk), Arc::clone(&clock), Arc::new(OsRng), config).expect("opens");
        register(&ledger, [Tenant::default()]).expect("is known");
        let clearer = Arc::new(Clearer::new(Arc::new(Redactor::new()), [7; 32]));
        let pipeline = Pipeline::new(clearer, ledger, Arc::clone(&clock), Arc::new(Metrics::new()));
        Source {
            world: lake::World {
                disk,
                clock: Arc::clone(of_lake) as _,
                rng: Arc::new(OsRng),
                fault: Arc::new(lake::fault::NoFault),
            },
            data_dir: data_dir.to_owned(),
            pipeline: Arc::new(pipeline),
            tenants: vec![Tenant::default()],
        }
    }

    fn start(source: &Source) -> (Arc<Opening>, JoinSet<&'static str>) {
        let (opening, mut task) = (Arc::new(Opening::default()), JoinSet::new());
        let (running, source) = (Arc::clone(&opening), source.clone());
        task.spawn(async move { running.run(source).await });
        (opening, task)
    }

    async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        for _ in 0..12_000 {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what} did not come");
    }

    /// Admits events and returns where the first of them stands.
    async fn admit(source: &Source, events: usize) -> Position {
        let body = "x".repeat(500);
        let event = || Event { stream: "app".into(), body: Some(body.as_str().into()), ..Event::default() };
        let signal = || Signal { tenant: Tenant::default(), source: SourceId([1; 16]), body: event().into() };
        let signals = (0..events).map(|_| signal()).collect();
        source.pipeline.admit(signals, Level::Committed).await.expect("is admitted")[0].position
    }

    fn has_payload(source: &Source, at: Position) -> bool {
        let mut cursor = source.pipeline.ledger().cursor(&Tenant::default(), at).expect("reads");
        !cursor.read(1).expect("reads")[0].payload.is_empty()
    }

    /// What retention deletes before the lake has it is gone: nothing else holds it.
    #[tokio::test(flavor = "multi_thread")]
    async fn payloads_stay_until_a_lake_that_could_not_be_opened_has_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(StepClock::new(OsClock::default().now()));
        let source = source(dir.path(), dir.path(), &clock).await;
        let default = Tenant::default();
        let log = dir.path().join("lake/events/default/_delta_log");
        let entry = log.join("00000000000000000000.json");
        OsDisk.create_dir_all(&log).expect("is made");
        disk::write_atomic(&OsDisk, &entry, b"{\"no\": ").expect("is damaged");
        let (opening, mut task) = start(&source);
        let wrong = eventually("why not", || opening.wrong()).await;
        assert_eq!(
            wrong,
            "could not open the lake: could not open the table of default: could not read the log of the table: the log \
             refused"
        );
        assert!(opening.lake().is_none());
        let first = admit(&source, 32).await;
        for _ in 1..60 {
            admit(&source, 32).await;
        }
        assert!(has_payload(&source, first), "the lake has nothing yet");

        OsDisk.remove(&entry).expect("is mended");
        let lake = eventually("the lake", || opening.lake().cloned()).await;
        assert_eq!(opening.wrong(), None);
        let next = source.pipeline.ledger().next_position(&default).expect("a log");
        eventually("the rows", || (opening.folded(&default) >= next).then_some(())).await;
        lake.flush(&default).await.expect("commits");
        source
            .pipeline
            .ledger()
            .consumed(LAKE, &default, lake.durable_position(&default).expect("a tenant"))
            .expect("a log");
        while has_payload(&source, first) {
            admit(&source, 32).await;
        }
        let rows = lake.verify(&default).await.expect("reads");
        assert!(rows.is_sound() && rows.stored_rows >= 60 * 32, "{rows:?}");
        // A configuration that was read again is in force at the next round of upkeep.
        clock.advance(Duration::from_secs(9 * 86_400));
        opening.reload(serde_json::from_value(serde_json::json!({"retention": "7d"})).expect("reads"));
        lake.flush(&default).await.expect("commits");
        for round in 0.. {
            if lake.verify(&default).await.expect("reads").stored_rows == 0 {
                break;
            }
            assert!(round < 600, "what is too old does not go");
            clock.advance(Duration::from_secs(61));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        task.shutdown().await;
        source.pipeline.ledger().close().await.expect("closes");

        // A lake that was made from another ledger is none of this one's.
        let other = tempfile::tempdir().expect("a directory");
        let source = self::source(other.path(), dir.path(), &clock).await;
        let (opening, _task) = start(&source);
        let wrong = eventually("why not", || opening.wrong()).await;
        assert!(
            wrong.contains("the lake of default is ahead of its ledger") && wrong.contains("/lake away"),
            "{wrong}"
        );
    }
}
