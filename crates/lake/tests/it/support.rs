//! A ledger in memory, and the lake over it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use disk::{Disk, OsDisk};
use futures_util::StreamExt;
use lake::fault::{Fault, NoFault, Point};
use lake::{Hit, Lake, Limits, Options, Query, Retention, RowsOut, World};
use model::{
    BoxFuture, Event, Feed, Position, Recorded, Refusal, RefusalKind, Rng, SeededRng, Signal, SourceId, StepClock,
    Tenant, Timestamp, Value,
};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Noon of a day in the past.
pub(crate) const NOON: &str = "2026-11-22T12:00:00Z";
/// In microseconds.
pub(crate) const NOON_US: i64 = 1_795_348_800_000_000;

pub(crate) fn tenant(name: &str) -> Tenant {
    Tenant::new(name).expect("a tenant")
}

/// Dies at a point once it is told to.
#[derive(Default)]
pub(crate) struct Death(Mutex<Option<Point>>);

impl Death {
    pub(crate) fn at(&self, point: Point) {
        *self.0.lock().expect("one thread") = Some(point);
    }
}

impl Fault for Death {
    fn dies_at(&self, point: Point) -> bool {
        self.0.lock().expect("one thread").is_some_and(|at| at == point)
    }
}

/// Names of files that differ from start to start, as those of the real source do.
static STARTS: AtomicUsize = AtomicUsize::new(1);

/// A data directory with a lake in it and the ledger that feeds it.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) clock: Arc<StepClock>,
    pub(crate) ledger: Ledger,
    pub(crate) retention: Retention,
    pub(crate) flush_every: Duration,
    pub(crate) hot_bytes: usize,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a directory"),
            clock: Arc::new(StepClock::new(NOON.parse().expect("a time"))),
            ledger: Ledger::default(),
            retention: Retention::default(),
            flush_every: Duration::from_secs(30),
            hot_bytes: usize::MAX,
        }
    }

    pub(crate) async fn open(&self) -> Lake {
        self.open_dying(Arc::new(NoFault)).await
    }

    pub(crate) async fn open_dying(&self, fault: Arc<dyn Fault>) -> Lake {
        self.open_in(Arc::new(OsDisk), fault).await
    }

    pub(crate) async fn open_on(&self, disk: Arc<dyn Disk>) -> Lake {
        self.open_in(disk, Arc::new(NoFault)).await
    }

    async fn open_in(&self, disk: Arc<dyn Disk>, fault: Arc<dyn Fault>) -> Lake {
        let seed = STARTS.fetch_add(1, Ordering::Relaxed) as u64;
        let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(seed));
        let world = World { disk, clock: Arc::clone(&self.clock) as _, rng, fault };
        let options = Options {
            dir: self.dir.path().join("lake"),
            spill: self.dir.path().join("spill"),
            tenants: ["default", "other"].map(tenant).to_vec(),
            flush_every: self.flush_every,
            hot_bytes: self.hot_bytes,
            retention: self.retention.clone(),
        };
        Lake::open(world, options).await.expect("opens")
    }

    /// Feeds what the tenant's ledger holds into the lake for as long as the handle lives.
    pub(crate) fn feed(&self, lake: &Lake, name: &str) -> Feeding {
        self.feed_from(lake, name, lake.position(&tenant(name)).expect("a tenant"))
    }

    pub(crate) fn feed_from(&self, lake: &Lake, name: &str, next: Position) -> Feeding {
        let tenant = tenant(name);
        let feed = Reader { ledger: self.ledger.clone(), next, tenant, grown: self.ledger.0.grown.subscribe() };
        let lake = lake.clone();
        let mut task = JoinSet::new();
        task.spawn(async move { lake.run(Box::new(feed)).await.map(|_| ()) });
        Feeding(task)
    }

    pub(crate) fn table(&self, name: &str) -> PathBuf {
        self.dir.path().join("lake/events").join(name)
    }
}

/// A feed that runs; it ends with this.
pub(crate) struct Feeding(JoinSet<Result<(), lake::Error>>);

impl Feeding {
    /// Returns why it ended.
    pub(crate) async fn ended(mut self) -> lake::Error {
        let ended = self.0.join_next().await.expect("a task").expect("no panic");
        ended.expect_err("a feed ends by an error alone")
    }
}

/// Records in memory, as the ledger gives them.
#[derive(Clone)]
pub(crate) struct Ledger(Arc<Log>);

struct Log {
    records: Mutex<BTreeMap<String, Vec<Recorded>>>,
    grown: watch::Sender<usize>,
    refuses: AtomicBool,
    broken: AtomicBool,
}

impl Default for Ledger {
    fn default() -> Self {
        let log = Log {
            records: Mutex::default(),
            grown: watch::Sender::new(0),
            refuses: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        };
        Self(Arc::new(log))
    }
}

impl Ledger {
    /// Records a signal at its tenant's next position.
    pub(crate) fn append(&self, name: &str, admitted_at: Timestamp, body: impl Into<model::Body>) -> Position {
        let mut records = self.0.records.lock().expect("one thread");
        let records = records.entry(name.to_owned()).or_default();
        let position = records.len() as u64;
        let signal = Signal { tenant: tenant(name), source: SourceId::default(), body: body.into() };
        records.push(Recorded { position, admitted_at, signal });
        self.0.grown.send_modify(|grown| *grown += 1);
        position
    }

    /// Makes the next reads fail for now, or no more.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.0.refuses.store(refuses, Ordering::Relaxed);
    }

    /// Makes all further reads fail for good.
    pub(crate) fn break_down(&self) {
        self.0.broken.store(true, Ordering::Relaxed);
    }

    pub(crate) fn len(&self, name: &str) -> u64 {
        self.0.records.lock().expect("one thread").get(name).map_or(0, |records| records.len() as u64)
    }
}

struct Reader {
    ledger: Ledger,
    next: Position,
    tenant: Tenant,
    grown: watch::Receiver<usize>,
}

impl Feed for Reader {
    fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    fn read(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Recorded>, Refusal>> {
        Box::pin(async move {
            if self.ledger.0.broken.load(Ordering::Relaxed) {
                return Err(Refusal { kind: RefusalKind::Stop, reason: "as the test asked".to_owned() });
            }
            if self.ledger.0.refuses.load(Ordering::Relaxed) {
                return Err(Refusal { kind: RefusalKind::Retry, reason: "as the test asked".to_owned() });
            }
            self.grown.mark_unchanged();
            let records = self.ledger.0.records.lock().expect("one thread");
            let from = usize::try_from(self.next).expect("small");
            let all = records.get(self.tenant.as_str()).map(Vec::as_slice).unwrap_or_default();
            let read: Vec<Recorded> = all.iter().skip(from).take(max).cloned().collect();
            self.next += read.len() as u64;
            Ok(read)
        })
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let _grown = self.grown.changed().await;
        })
    }
}

/// An event of the stream `web`, `second` seconds after noon.
pub(crate) fn event(second: i64, body: &str) -> Event {
    Event {
        stream: "web".into(),
        severity: 9,
        time_ns: Some((NOON_US + second * 1_000_000) * 1_000),
        observed_ns: (NOON_US + second * 1_000_000) * 1_000 + 5_000,
        body: Some(Value::from(body)),
        resource: [("service.name".to_owned(), Value::from("auth"))].into(),
        ..Event::default()
    }
}

/// Looks until `done` says so; a minute at most.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    for _ in 0..6_000 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not within a minute");
}

/// Asks in SQL and returns the lines of JSON.
pub(crate) async fn sql(lake: &Lake, name: &str, sql: &str) -> Result<Vec<serde_json::Value>, lake::Error> {
    let mut answer = lake.sql(&tenant(name), sql, Limits::default(), RowsOut::Ndjson).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = answer.next().await {
        bytes.extend_from_slice(&piece?);
    }
    let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(|line| serde_json::from_slice(line).expect("JSON")).collect())
}

/// Returns a number that SQL asks for.
pub(crate) async fn number(lake: &Lake, name: &str, text: &str) -> u64 {
    let rows = sql(lake, name, text).await.expect("answers");
    rows[0].as_object().and_then(|row| row.values().next()?.as_u64()).unwrap_or_default()
}

pub(crate) async fn count(lake: &Lake, name: &str) -> u64 {
    number(lake, name, "SELECT count(*) FROM events").await
}

/// Searches, newest first.
pub(crate) async fn search(lake: &Lake, query: &Query) -> Result<Vec<Hit>, lake::Error> {
    let mut hits = lake.search(&tenant("default"), query, Limits::default()).await?;
    let mut found = Vec::new();
    while let Some(hit) = hits.next().await {
        found.push(hit?);
    }
    Ok(found)
}

pub(crate) fn query(search: &str) -> Query {
    Query { search: search.to_owned(), limit: 1_000, ..Query::default() }
}

/// Waits until queries see as many rows.
pub(crate) async fn seen(lake: &Lake, name: &str, rows: u64) {
    eventually("rows are seen", || async { count(lake, name).await == rows }).await;
}

/// Returns all files below a directory.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { left.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Returns those of them whose names end so.
pub(crate) fn files_of(dir: &Path, end: &str) -> Vec<PathBuf> {
    files(dir).into_iter().filter(|file| file.extension().is_some_and(|of| of == end)).collect()
}

/// Runs a test on two threads, as Delta's checkpoints ask for more than one.
pub(crate) fn run<F: Future<Output = ()>>(test: F) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(test);
}
