//! The lake: each tenant's rows in memory and in its table, and the road from the ledger into both.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arrow::array::{ArrayRef, Date32Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use disk::Disk;
use futures_util::future::BoxFuture;
use model::limits::{
    LAKE_FLUSH_BYTES, LAKE_HOT_BYTES_MAX, LAKE_READ_RECORDS_MAX, LAKE_READ_TURNS_MAX, LAKE_SILENT_RECORDS_MAX,
    LAKE_WRITE_TURNS_MAX,
};
use model::{Body, Clock, Feed, Position, Recorded, RefusalKind, Rng, Tenant};
use tokio::sync::{Notify, Semaphore};
use tracing::{debug, warn};

use crate::ask::Engine;
use crate::columns::{file_schema, table_schema};
use crate::error::Error;
use crate::fault::{Fault, Point};
use crate::file::{DataFile, FileWriter, Sorted, day_of};
use crate::maintain::{Retention, lock};
use crate::provider::Events;
use crate::rows::{Row, batch};
use crate::store::Store;
use crate::table::{Change, Table};
use crate::tokens::Tokens;

/// Rows up to which batches that follow each other are joined: fewer, larger ones are scanned faster.
const JOINED_ROWS_MAX: usize = 8_192;
/// How long a flush or a read that failed for now waits before it is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often whoever waits for memory looks again.
const ROOM: Duration = Duration::from_millis(100);

/// How a lake is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where tables are: `<data-dir>/lake`.
    pub dir: PathBuf,
    /// Where queries spill: `<data-dir>/spill`. Wiped at every opening.
    pub spill: PathBuf,
    /// Whose events there are.
    pub tenants: Vec<Tenant>,
    /// How long a row waits in memory for its commit, at most. 10 to 60 s: each commit is a file or two.
    pub flush_every: Duration,
    /// Bytes of rows in memory, of all tenants, at which the ledger is not read on; at most `limits::LAKE_HOT_BYTES_MAX`,
    /// which is the default to take.
    pub hot_bytes: usize,
    /// How long rows are kept.
    pub retention: Retention,
}

/// What the lake takes of the world.
#[derive(Clone)]
pub struct World {
    /// The file system. Reads go past it to the operating system's: a simulated one does not do.
    pub disk: Arc<dyn Disk>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What file names are made of.
    pub rng: Arc<dyn Rng>,
    /// Where to die, in tests; `NoFault` otherwise.
    pub fault: Arc<dyn Fault>,
}

/// All tenants' events, queryable from the moment they are folded. Cheap to clone.
#[derive(Clone)]
pub struct Lake(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) world: World,
    hot_bytes_max: usize,
    keeping: Mutex<Keeping>,
    pub(crate) shards: BTreeMap<Tenant, Shard>,
    pub(crate) engine: Engine,
    hot_bytes: AtomicUsize,
    /// Wakes everybody who has rows in memory: they are to be written.
    pressure: Notify,
    read_turns: Semaphore,
    pub(crate) write_turns: Semaphore,
}

/// What may change while the lake is open.
struct Keeping {
    flush_every: Duration,
    retention: Arc<Retention>,
}

/// One tenant's part.
pub(crate) struct Shard {
    pub(crate) tenant: Tenant,
    pub(crate) table: tokio::sync::Mutex<Table>,
    pub(crate) view: Mutex<View>,
    /// The first position that is not safe in the lake.
    durable: AtomicU64,
    /// Commits since small files were last made into large ones.
    pub(crate) commits: AtomicU64,
    /// Files that the table does not name any more, and since when by the monotonic clock.
    pub(crate) removed: Mutex<Vec<(Duration, String)>>,
    /// Live files that were looked into for what is too old, and the first day on which something in them will be.
    pub(crate) looked: Mutex<BTreeMap<String, i32>>,
    pub(crate) tokens: Tokens,
}

/// What queries see at this moment: each row once.
#[derive(Default)]
pub(crate) struct View {
    pub(crate) files: Arc<Vec<DataFile>>,
    hot: Vec<Hot>,
    /// How many of `hot`, from the first, are being written: nothing is joined to those.
    writing: usize,
    /// The first position that was not folded.
    next: Position,
}

/// Rows in memory.
#[derive(Clone)]
struct Hot {
    day: i32,
    /// In the columns of the table.
    rows: RecordBatch,
    /// The position after the last of them.
    next: Position,
    /// When the first of them was folded.
    since: Duration,
    bytes: usize,
}

impl Shard {
    pub(crate) fn view(&self) -> MutexGuard<'_, View> {
        lock(&self.view)
    }

    /// Brings what queries see up to the table's newest commit, and returns the bytes that left memory.
    pub(crate) fn settle(&self, table: &Table) -> usize {
        let mut view = self.view();
        view.files = table.files();
        let done = view.hot.iter().take_while(|hot| hot.next <= table.next()).count();
        view.writing = 0;
        self.durable.fetch_max(table.next(), Ordering::Relaxed);
        view.hot.drain(..done).map(|hot| hot.bytes).sum()
    }
}

impl View {
    /// Returns how many batches, from the first, have no more than so many bytes together; one, however large it is.
    fn oldest(&self, bytes_max: usize) -> usize {
        let mut bytes = 0;
        let fits = |hot: &&Hot| {
            bytes += hot.bytes;
            bytes <= bytes_max
        };
        self.hot.iter().take_while(fits).count().max(self.hot.len().min(1))
    }

    fn push(&mut self, mut new: Hot) -> Result<usize, Error> {
        let mut freed = 0;
        // Like a counter in binary: each row is copied a dozen times at most, however slowly rows come.
        while self.hot.len() > self.writing
            && let Some(last) = self.hot.pop_if(|last| {
                let rows = last.rows.num_rows();
                last.day == new.day && rows <= new.rows.num_rows() && rows + new.rows.num_rows() <= JOINED_ROWS_MAX
            })
        {
            freed += last.bytes + new.bytes;
            let rows = concat_batches(&table_schema(), [&last.rows, &new.rows]).map_err(Error::arrow("join rows"))?;
            let bytes = rows.get_array_memory_size();
            new = Hot { rows, bytes, since: last.since, ..new };
            freed = freed.saturating_sub(bytes);
        }
        self.hot.push(new);
        Ok(freed)
    }
}

/// What a flush found out.
enum Due {
    /// In this time, at the earliest.
    In(Duration),
    Now,
    /// There is nothing to write.
    Never,
}

impl Lake {
    /// Opens the lake, making tables of tenants that have none. What an earlier process wrote and did not commit is
    /// removed, and the spill directory is emptied. The caller holds the lock of the data directory.
    ///
    /// # Errors
    /// When files cannot be used, or a table is not one of ours.
    pub async fn open(world: World, options: Options) -> Result<Self, Error> {
        let store = Store::open(Arc::clone(&world.disk), options.dir.join("events"))?;
        let engine = Engine::open(&world, &options.spill, &store)?;
        let mut shards = BTreeMap::new();
        for tenant in &options.tenants {
            let table = Table::open(store.clone(), tenant.clone(), Arc::clone(&world.clock)).await;
            let mut table = table.map_err(|error| Error::Open { tenant: tenant.clone(), source: Box::new(error) })?;
            let view = View { files: table.files(), next: table.next(), ..View::default() };
            let shard = Shard {
                tenant: tenant.clone(),
                durable: AtomicU64::new(table.next()),
                tokens: Tokens::new(store.clone(), table.take_lacking()),
                view: Mutex::new(view),
                table: tokio::sync::Mutex::new(table),
                commits: AtomicU64::new(0),
                removed: Mutex::default(),
                looked: Mutex::default(),
            };
            shards.insert(tenant.clone(), shard);
        }
        Ok(Self(Arc::new(Inner {
            store,
            world,
            hot_bytes_max: options.hot_bytes.min(LAKE_HOT_BYTES_MAX),
            keeping: Mutex::new(Keeping { flush_every: options.flush_every, retention: Arc::new(options.retention) }),
            shards,
            engine,
            hot_bytes: AtomicUsize::new(0),
            pressure: Notify::new(),
            read_turns: Semaphore::new(LAKE_READ_TURNS_MAX),
            write_turns: Semaphore::new(LAKE_WRITE_TURNS_MAX),
        })))
    }

    pub(crate) fn shard(&self, tenant: &Tenant) -> Result<&Shard, Error> {
        self.0.shards.get(tenant).ok_or(Error::UnknownTenant)
    }

    /// Takes another [`Options::flush_every`] and [`Options::retention`]: in force for the next flush and the next round of
    /// upkeep.
    pub fn keep(&self, flush_every: Duration, retention: Retention) {
        let retention = Arc::new(retention);
        let before =
            std::mem::replace(&mut *self.keeping(), Keeping { flush_every, retention: Arc::clone(&retention) });
        if before.retention != retention {
            // When something in a file will be too old was found by the rules before.
            self.0.shards.values().for_each(|shard| lock(&shard.looked).clear());
        }
    }

    fn keeping(&self) -> MutexGuard<'_, Keeping> {
        lock(&self.0.keeping)
    }

    pub(crate) fn retention(&self) -> Arc<Retention> {
        Arc::clone(&self.keeping().retention)
    }

    /// Returns the position from which a tenant's feed is to be read after an opening: the first that the table has
    /// not. If it lies beyond the end of the tenant's ledger, the ledger is not the one that the lake was made from, and
    /// the start must stop.
    ///
    /// # Errors
    /// When the tenant is unknown.
    pub fn position(&self, tenant: &Tenant) -> Result<Position, Error> {
        Ok(self.shard(tenant)?.view().next)
    }

    /// Returns the first position that is not safe in the lake: the ledger may delete payloads of events below it, and
    /// none at or above it. It grows while [`Lake::run`] runs; after a restart it may be lower, never by an event.
    ///
    /// # Errors
    /// When the tenant is unknown.
    pub fn durable_position(&self, tenant: &Tenant) -> Result<Position, Error> {
        Ok(self.shard(tenant)?.durable.load(Ordering::Relaxed))
    }

    /// Returns the bytes of rows in memory, of all tenants. At most [`Options::hot_bytes`], and one read more for
    /// each of `limits::LAKE_READ_TURNS_MAX`.
    #[must_use]
    pub fn hot_bytes(&self) -> usize {
        self.0.hot_bytes.load(Ordering::Relaxed)
    }

    /// Folds a tenant's records for as long as they come: queryable at once, committed within
    /// [`Options::flush_every`]. `feed` must begin at [`Lake::position`]. To be run on a task of the caller's, one per
    /// tenant; dropping the future at any time loses no row and doubles none: the next opening says where to go on.
    ///
    /// # Errors
    /// When the ledger cannot be read any more or the table is not ours. A full disk is waited out.
    pub async fn run(&self, mut feed: Box<dyn Feed>) -> Result<Infallible, Error> {
        let shard = self.shard(&feed.tenant().clone())?;
        let mut flush: Option<BoxFuture<'_, Result<(), Error>>> = None;
        loop {
            if flush.is_none() && matches!(self.due(shard), Due::Now) {
                flush = Some(Box::pin(self.flush_shard(shard)));
            }
            if self.hot_bytes() >= self.bound() {
                self.0.pressure.notify_waiters();
                tokio::select! {
                    done = ended(&mut flush) => self.flushed(done).await?,
                    () = tokio::time::sleep(ROOM) => {}
                }
                continue;
            }
            let (records, done) = self.read(&mut feed, &mut flush).await;
            if let Some(done) = done {
                self.flushed(done).await?;
            }
            let records = match records {
                Err(refusal) if refusal.kind == RefusalKind::Retry => {
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                records => records.map_err(Error::Feed)?,
            };
            if !records.is_empty() {
                self.fold(shard, &records)?;
                continue;
            }
            let due = match self.due(shard) {
                Due::In(wait) => Some(wait),
                Due::Now => flush.is_none().then_some(Duration::ZERO),
                Due::Never => None,
            };
            tokio::select! {
                () = feed.wait() => {}
                () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => {}
                done = ended(&mut flush), if flush.is_some() => self.flushed(done).await?,
                () = self.0.pressure.notified() => {
                    if flush.is_none() && self.has_rows(shard) {
                        flush = Some(Box::pin(self.flush_shard(shard)));
                    }
                }
            }
        }
    }

    /// Reads once, to the end: a read that is given up half-way ends the feed. A flush goes on meanwhile.
    async fn read(
        &self,
        feed: &mut Box<dyn Feed>,
        flush: &mut Option<BoxFuture<'_, Result<(), Error>>>,
    ) -> (Result<Vec<Recorded>, model::Refusal>, Option<Result<(), Error>>) {
        let mut done = None;
        let read = async {
            let _turn = self.0.read_turns.acquire().await;
            feed.read(LAKE_READ_RECORDS_MAX).await
        };
        tokio::pin!(read);
        loop {
            tokio::select! {
                records = &mut read => return (records, done),
                ended = ended(flush), if flush.is_some() => done = Some(ended),
            }
        }
    }

    /// Takes note of how a flush ended: what may work later is waited for, the rest ends the run.
    async fn flushed(&self, done: Result<(), Error>) -> Result<(), Error> {
        match done {
            Err(error) if error.kind() == RefusalKind::Retry => {
                warn!(error = %error, "could not commit to the lake, trying again");
                tokio::time::sleep(AGAIN).await;
                Ok(())
            }
            done => done,
        }
    }

    /// Folds records into memory: from here on queries see them.
    ///
    /// # Errors
    /// When rows cannot be made of them: a bug in us.
    fn fold(&self, shard: &Shard, records: &[Recorded]) -> Result<(), Error> {
        let now = self.0.world.clock.monotonic();
        // A feed that begins too early doubles nothing.
        let known = shard.view().next;
        let event = |record: &Recorded| match &record.signal.body {
            Body::Event(event) if record.position >= known => {
                Some(Row::new(record.position, record.admitted_at, event))
            }
            _ => None,
        };
        let rows: Vec<Row> = records.iter().filter_map(event).collect();
        let mut new = Vec::new();
        for rows in rows.chunk_by(|a, b| day_of(a.admitted_us) == day_of(b.admitted_us)) {
            let Some((first, last)) = rows.first().zip(rows.last()) else { continue };
            let day = day_of(first.admitted_us);
            let next = u64::try_from(last.position).unwrap_or(u64::MAX).saturating_add(1);
            let rows = whole(&batch(rows)?, &shard.tenant, day)?;
            let bytes = rows.get_array_memory_size();
            new.push(Hot { day, rows, next, since: now, bytes });
        }
        let mut view = shard.view();
        for hot in new {
            self.0.hot_bytes.fetch_add(hot.bytes, Ordering::Relaxed);
            let freed = view.push(hot)?;
            self.0.hot_bytes.fetch_sub(freed.min(self.hot_bytes()), Ordering::Relaxed);
        }
        view.next = records.last().map_or(known, |last| known.max(last.position + 1));
        if view.hot.is_empty() {
            // Nothing of what was read is an event that waits.
            shard.durable.fetch_max(view.next, Ordering::Relaxed);
        }
        Ok(())
    }

    fn bound(&self) -> usize {
        self.0.hot_bytes_max
    }

    fn has_rows(&self, shard: &Shard) -> bool {
        !shard.view().hot.is_empty()
    }

    fn due(&self, shard: &Shard) -> Due {
        let view = shard.view();
        let Some(first) = view.hot.first() else {
            let silent = view.next.saturating_sub(self.committed(shard));
            return if silent >= LAKE_SILENT_RECORDS_MAX { Due::Now } else { Due::Never };
        };
        let age = self.0.world.clock.monotonic().saturating_sub(first.since);
        let bytes: usize = view.hot.iter().map(|hot| hot.bytes).sum();
        let full = bytes >= LAKE_FLUSH_BYTES || self.hot_bytes() >= self.bound();
        match self.keeping().flush_every.checked_sub(age) {
            Some(wait) if !wait.is_zero() && !full => Due::In(wait),
            _ => Due::Now,
        }
    }

    /// Returns the position in the table's log, or the newest known while somebody commits.
    fn committed(&self, shard: &Shard) -> Position {
        shard.table.try_lock().map_or(u64::MAX, |table| table.next())
    }

    /// Commits what a tenant has in memory now, as before a stop.
    ///
    /// # Errors
    /// When the tenant is unknown or the commit fails; the rows are still in memory and in the ledger then.
    pub async fn flush(&self, tenant: &Tenant) -> Result<(), Error> {
        let shard = self.shard(tenant)?;
        let until = shard.view().hot.last().map_or(0, |hot| hot.next);
        while self.commit_some(shard).await? < until {}
        Ok(())
    }

    async fn flush_shard(&self, shard: &Shard) -> Result<(), Error> {
        self.commit_some(shard).await.map(drop)
    }

    /// Commits the oldest rows of a tenant, as many as one commit sorts in memory, and returns the first position that the
    /// table has not.
    async fn commit_some(&self, shard: &Shard) -> Result<Position, Error> {
        let _turn = self.0.write_turns.acquire().await;
        let mut table = shard.table.lock().await;
        self.recover(shard, &mut table).await?;
        let (hot, next) = {
            let mut view = shard.view();
            view.writing = view.oldest((self.bound() / 2).min(LAKE_FLUSH_BYTES));
            let (taken, left) = view.hot.split_at(view.writing);
            let next = if left.is_empty() { view.next } else { taken.last().map_or(0, |hot| hot.next) };
            (taken.to_vec(), next)
        };
        if hot.is_empty() && next.saturating_sub(table.next()) < LAKE_SILENT_RECORDS_MAX {
            return Ok(table.next());
        }
        let add = self.write(shard, hot).await?;
        self.die(Point::Written)?;
        let change = Change { add, remove: Vec::new(), next: Some(next), data_change: true };
        table.commit(&change).await?;
        self.die(Point::Committed)?;
        self.settled(shard, &table);
        shard.commits.fetch_add(1, Ordering::Relaxed);
        debug!(version = table.version(), "committed to the lake");
        Ok(table.next())
    }

    /// After a commit of which nothing is known, finds out: what is in the log leaves memory, the rest stays.
    pub(crate) async fn recover(&self, shard: &Shard, table: &mut Table) -> Result<(), Error> {
        if table.is_unsure() {
            table.refresh().await?;
            self.settled(shard, table);
        }
        Ok(())
    }

    pub(crate) fn settled(&self, shard: &Shard, table: &Table) {
        let freed = shard.settle(table);
        self.0.hot_bytes.fetch_sub(freed.min(self.hot_bytes()), Ordering::Relaxed);
    }

    pub(crate) fn die(&self, point: Point) -> Result<(), Error> {
        if self.0.world.fault.dies_at(point) { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Writes rows into data files, one per day.
    async fn write(&self, shard: &Shard, hot: Vec<Hot>) -> Result<Vec<DataFile>, Error> {
        let mut files = Vec::new();
        for day in hot.chunk_by(|a, b| a.day == b.day) {
            let Some(first) = day.first() else { continue };
            let (day_number, columns) = (first.day, file_schema().fields().len());
            let stored = day.iter().map(|hot| hot.rows.project(&(0..columns).collect::<Vec<_>>()));
            let stored: Vec<RecordBatch> = stored.collect::<Result<_, _>>().map_err(Error::arrow("take columns"))?;
            let (store, tenant, name) = (self.0.store.clone(), shard.tenant.clone(), self.name());
            let written = tokio::task::spawn_blocking(move || {
                let rows = Sorted::of(stored)?;
                let mut file = FileWriter::begin(&store, tenant.as_str(), day_number, &name, rows.len())?;
                rows.pieces().try_for_each(|piece| file.write(&piece?))?;
                file.finish()
            });
            files.push(written.await.map_err(|_| Error::Rows { doing: "write a data file" })??);
        }
        Ok(files)
    }

    /// Makes the name of a new file: random, so that none is ever given twice.
    pub(crate) fn name(&self) -> String {
        let mut bytes = [0; 16];
        self.0.world.rng.fill(&mut bytes);
        format!("{:032x}", u128::from_le_bytes(bytes))
    }

    /// Returns what a tenant's queries see now.
    pub(crate) fn events(&self, tenant: &Tenant) -> Result<Events, Error> {
        let shard = self.shard(tenant)?;
        let view = shard.view();
        let hot = view.hot.iter().map(|hot| hot.rows.clone()).collect();
        let (tenant, files, tokens) = (shard.tenant.clone(), Arc::clone(&view.files), shard.tokens.clone());
        Ok(Events { tenant, files, hot, tokens })
    }
}

/// Waits for a flush to end; for ever when there is none.
async fn ended(flush: &mut Option<BoxFuture<'_, Result<(), Error>>>) -> Result<(), Error> {
    match flush {
        Some(running) => {
            let done = running.await;
            *flush = None;
            done
        }
        None => std::future::pending().await,
    }
}

/// Adds the columns that the directory of a file would say.
fn whole(rows: &RecordBatch, tenant: &Tenant, day: i32) -> Result<RecordBatch, Error> {
    let count = rows.num_rows();
    let tenants: ArrayRef = Arc::new(StringArray::from(vec![tenant.as_str(); count]));
    let days: ArrayRef = Arc::new(Date32Array::from(vec![day; count]));
    let columns = rows.columns().iter().cloned().chain([tenants, days]).collect();
    RecordBatch::try_new(table_schema(), columns).map_err(Error::arrow("make a batch of rows"))
}
