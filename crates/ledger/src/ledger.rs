//! The ledger as the rest of the product uses it: a handle that is cheap to clone, and the threads behind it.
//!
//! Two threads write in turn (what queues while one syncs is written by the other meanwhile, and goes into the next sync),
//! one publishes, one makes the next segment ready. They are std threads: a sync blocks, and no runtime may be blocked by a
//! disk.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use disk::Disk;
use model::limits::{APPEND_QUEUE_MAX, COMMIT_LAG_MAX};
use model::{Clock, Level, Position, Receipt, Rng, Tenant};
use privacy::Cleared;
use tokio::sync::oneshot;

use crate::cursor::Cursor;
use crate::engine::{Engine, prepare_records, receipts};
use crate::error::Error;
use crate::flight::{Air, Flight};
use crate::group::{Group, Prepared};
use crate::keys::{FileKeys, Keyring};
use crate::prove::prove;
use crate::publish::Publisher;
use crate::recover::Recovery;
use crate::shared::{Config, Figures, Shared, Signed, lock};
use crate::writer::{Writer, settled};

/// Bytes that may wait in the queue.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// One waits for the disk while the other writes.
const WRITERS: usize = 2;
/// Bytes that go into one sync.
const COMMIT_BYTES_MAX: usize = 8 << 20;

/// How long a sync is put off at most for appends that are being encoded.
const PATIENCE_MAX: Duration = Duration::from_millis(4);
/// How often the publisher reads back what became durable, while records come.
const READ_BACK_EVERY: Duration = Duration::from_millis(10);
/// How often a full disk is asked whether it has room again.
const FULL_RETRY: Duration = Duration::from_secs(2);

/// An append on its way to the writer.
struct Request {
    prepared: Prepared,
    /// Hears of its place, before it is durable.
    staged: oneshot::Sender<Arc<Group>>,
    reply: oneshot::Sender<Result<Arc<Group>, Error>>,
}

/// An append that is being encoded. When it is in the queue, or came to nothing, this ends and wakes the writer.
struct Coming<'a>(&'a Wires);

impl<'a> Coming<'a> {
    fn new(wires: &'a Wires) -> Self {
        wires.coming.fetch_add(1, Ordering::Relaxed);
        Self(wires)
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.0.coming.fetch_sub(1, Ordering::Relaxed);
        // Also where it came to nothing: somebody may wait for it.
        self.0.queued.notify_one();
    }
}

/// What an append waits for.
struct Waiting {
    /// Its place in the log; nothing if it was refused.
    placed: oneshot::Receiver<Arc<Group>>,
    landed: oneshot::Receiver<Result<Arc<Group>, Error>>,
}

/// Something else for the writer to do between two commits.
type Command = Box<dyn FnOnce(&mut Writer) + Send>;

#[derive(Default)]
struct Queue {
    requests: VecDeque<Request>,
    commands: Vec<Command>,
    records: usize,
    bytes: usize,
    ended: bool,
}

/// What the publisher's thread waits for.
#[derive(Default)]
struct Wishes {
    /// Something became durable.
    dirty: bool,
    /// Somebody waits for a checkpoint.
    urgent: bool,
    ending: Option<Ending>,
    /// The publisher's thread is at its end: nobody will answer.
    ended: bool,
}

enum Ending {
    /// Publish, mark the end, say how it went.
    Orderly(oneshot::Sender<Result<(), Error>>),
    /// The last handle is gone.
    Dropped,
}

/// What handles and threads share beside the state of the log.
struct Wires {
    shared: Arc<Shared>,
    queue: Mutex<Queue>,
    queued: Condvar,
    /// How many appends are being encoded and will be in the queue at once.
    coming: AtomicUsize,
    wishes: Mutex<Wishes>,
    wished: Condvar,
    /// Whether the next segment is to be made ready; `None` at the end.
    spare: Mutex<Option<bool>>,
    spare_wished: Condvar,
}

impl Wires {
    /// Lets the writer do something between two commits and waits for what it returns; `None` once it has ended.
    fn command<T: Send + 'static>(&self, act: impl FnOnce(&mut Writer) -> T + Send + 'static) -> Option<T> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let command: Command = Box::new(move |writer| {
            // Nobody may wait any more, which is all right.
            let _ = sender.send(act(writer));
        });
        {
            let mut queue = lock(&self.queue);
            if queue.ended {
                return None;
            }
            queue.commands.push(command);
        }
        self.queued.notify_one();
        receiver.recv().ok()
    }

    fn wish_spare(&self, wish: Option<bool>) {
        let mut spare = lock(&self.spare);
        if spare.is_some() {
            *spare = wish;
        }
        drop(spare);
        self.spare_wished.notify_one();
    }

    fn wish(&self, wish: impl FnOnce(&mut Wishes)) {
        wish(&mut lock(&self.wishes));
        self.wished.notify_one();
    }
}

/// Stops the ledger when its thread panics: nobody may wait for an answer that will never come.
struct StopOnPanic<'a>(&'a Wires, &'static str);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let Self(wires, thread) = self;
        wires.shared.stop(&Error::Stopped { reason: format!("its {thread} panicked").into() });
        {
            let mut queue = lock(&wires.queue);
            queue.ended = true;
            // Their senders go with them, and whoever waits is told.
            (queue.requests, queue.commands) = Default::default();
        }
        wires.queued.notify_all();
        wires.wish_spare(None);
        wires.wish(|wishes| wishes.dirty = true);
        if *thread == PUBLISHER {
            let mut wishes = lock(&wires.wishes);
            (wishes.ended, wishes.ending) = (true, None);
        }
    }
}

/// The names of the threads that must not panic, for people.
const WRITER: &str = "writer";
const PUBLISHER: &str = "publisher";
const SEGMENTS: &str = "maker of segments";

/// The thread that makes the next segment ready while the present one is written, so that going on to it does not wait
/// for the disk. What it cannot make, the writer will try again and refuse or stop.
fn segment_loop(wires: &Wires) {
    let _guard = StopOnPanic(wires, SEGMENTS);
    loop {
        {
            let spare = lock(&wires.spare);
            let idle = |spare: &mut Option<bool>| *spare == Some(false);
            let mut spare = wires.spare_wished.wait_while(spare, idle).unwrap_or_else(PoisonError::into_inner);
            match &mut *spare {
                Some(wished) => *wished = false,
                None => return,
            }
        }
        if wires.shared.prepare_spare().is_err() {
            return;
        }
    }
}

struct Handle {
    wires: Arc<Wires>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.wires.wish(|wishes| {
            if wishes.ending.is_none() {
                wishes.ending = Some(Ending::Dropped);
            }
        });
    }
}

/// An open ledger. Clones are handles to the same one; it ends with [`Ledger::close`] or with the last handle.
#[derive(Clone)]
pub struct Ledger {
    handle: Arc<Handle>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("dir", &self.shared().config.dir).finish_non_exhaustive()
    }
}

/// One log in a [`Status`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStatus {
    /// Whose.
    pub origin: model::Origin,
    /// The position after the last durable record.
    pub durable: Position,
    /// The position after the last record under a signed checkpoint.
    pub committed: Position,
    /// Leaves under the signed checkpoint.
    pub size: u64,
}

/// How the ledger is.
#[derive(Clone, Debug)]
pub struct Status {
    /// What it did and how long that took.
    pub figures: Figures,
    /// Each log, in the order of their numbers in the WAL.
    pub logs: Vec<LogStatus>,
    /// The WAL segment that is written.
    pub segment: u64,
    /// Bytes of the WAL's files.
    pub wal_bytes: u64,
    /// Records that wait for the writer.
    pub queued: usize,
    /// The disk is full: only alerts and what people answer are recorded.
    pub disk_full: bool,
    /// Why the ledger has stopped, if it has.
    pub stopped: Option<Arc<str>>,
}

impl Ledger {
    /// Opens the ledger of a data directory, or makes one, and starts its threads.
    ///
    /// # Errors
    /// [`Error::Locked`] while another process has it; [`Error::Corrupt`] or [`Error::Contradiction`] when what is there
    /// is not what was durable or signed (never repaired by itself: `ledger verify` tells more); else when the disk fails.
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        config: Config,
    ) -> Result<(Self, Recovery), Error> {
        Self::open_with(disk, clock, rng, config, &FileKeys)
    }

    /// Opens the ledger with other keys than those in the data directory.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn open_with(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        config: Config,
        keyring: &dyn Keyring,
    ) -> Result<(Self, Recovery), Error> {
        let (engine, recovery) = Engine::open(disk, clock, rng, config, keyring)?;
        let Engine { shared, writer, publisher, lock } = engine;
        let wires = Arc::new(Wires {
            shared,
            queue: Mutex::default(),
            queued: Condvar::new(),
            coming: AtomicUsize::new(0),
            wishes: Mutex::default(),
            wished: Condvar::new(),
            spare: Mutex::new(Some(false)),
            spare_wished: Condvar::new(),
        });
        let failed = |source| {
            Error::from(disk::Error { doing: "start a thread for", path: wires.shared.config.dir.clone(), source })
        };
        let writer = Arc::new(Mutex::new(writer));
        let mut others = Vec::new();
        for _ in 0..WRITERS {
            let (theirs, writer) = (Arc::clone(&wires), Arc::clone(&writer));
            let thread = std::thread::Builder::new().name("ledger-writer".into());
            others.push(thread.spawn(move || write_loop(&theirs, &writer)).map_err(failed)?);
        }
        let theirs = Arc::clone(&wires);
        let thread = std::thread::Builder::new().name("ledger-segments".into());
        others.push(thread.spawn(move || segment_loop(&theirs)).map_err(failed)?);
        let theirs = Arc::clone(&wires);
        let thread = std::thread::Builder::new().name("ledger-publisher".into());
        thread.spawn(move || publish_loop(&theirs, publisher, others, lock)).map_err(failed)?;
        Ok((Self { handle: Arc::new(Handle { wires }) }, recovery))
    }

    fn wires(&self) -> &Wires {
        &self.handle.wires
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.wires.shared
    }

    /// Makes all of `records`, which must be of one tenant, durable at `level`, in order, or none of them. Receipts are
    /// in the order of the records. Encoding is done here, before the queue; if the future is dropped the records may be
    /// durable all the same.
    ///
    /// # Errors
    /// Kind Reject: no records, too many, of several tenants, of an unknown tenant, or too large. Kind Retry: the queue
    /// or the disk is full, nothing is durable. Kind Stop: the ledger has stopped, and whether they are durable is
    /// unknown.
    pub async fn append(&self, records: Vec<Cleared>, level: Level) -> Result<Vec<Receipt>, Error> {
        if level == Level::Witnessed {
            return Err(Error::BadAppend { why: "no witnesses are configured" });
        }
        self.shared().check_running()?;
        let coming = Coming::new(self.wires());
        let (origin, prepared) = prepare_records(self.shared(), &records)?;
        let Waiting { placed, landed } = self.enqueue(prepared)?;
        drop(coming);
        // What is left to do for them is done while the disk is at it, not when everybody who waited for it is back.
        drop(records);
        if let Ok(group) = placed.await {
            group.hashes();
        }
        let group = landed.await.map_err(|_| self.gone())??;
        let receipts = receipts(&origin, &group);
        if level == Level::Committed {
            let end = group.position + u64::from(group.count);
            drop(group);
            self.wires().wish(|wishes| (wishes.dirty, wishes.urgent) = (true, true));
            let mut committed = origin.committed.subscribe();
            let mut stopped = self.shared().stopped.subscribe();
            tokio::select! {
                _ = committed.wait_for(|committed| *committed >= end) => {}
                _ = stopped.wait_for(Option::is_some) => return Err(self.gone()),
            }
        }
        Ok(receipts)
    }

    fn enqueue(&self, prepared: Prepared) -> Result<Waiting, Error> {
        let ((staged, placed), (reply, landed)) = (oneshot::channel(), oneshot::channel());
        let (records, bytes) = (prepared.count as usize, prepared.body.len());
        {
            let mut queue = lock(&self.wires().queue);
            if queue.ended {
                return Err(self.gone());
            }
            let full = queue.records + records > APPEND_QUEUE_MAX || queue.bytes + bytes > QUEUE_BYTES_MAX;
            if full && !queue.requests.is_empty() {
                return Err(Error::QueueFull);
            }
            queue.records += records;
            queue.bytes += bytes;
            queue.requests.push_back(Request { prepared, staged, reply });
        }
        Ok(Waiting { placed, landed })
    }

    fn gone(&self) -> Error {
        self.shared().check_running().err().unwrap_or(Error::Stopped { reason: "it was closed".into() })
    }

    /// Reads a tenant's durable records from a position on.
    ///
    /// # Errors
    /// [`Error::UnknownTenant`].
    pub fn cursor(&self, tenant: &Tenant, from: Position) -> Result<Cursor, Error> {
        Ok(Cursor::new(Arc::clone(self.shared()), Arc::clone(self.shared().tenant(tenant)?), from))
    }

    /// Returns the checkpoint last signed for a tenant; `None` before the first one.
    ///
    /// # Errors
    /// [`Error::UnknownTenant`].
    pub fn checkpoint(&self, tenant: &Tenant) -> Result<Option<Arc<Signed>>, Error> {
        Ok(self.shared().tenant(tenant)?.signed())
    }

    /// Proves that the record at `position` is in a tenant's log, as a c2sp.org/tlog-proof@v1 text under the checkpoint
    /// last signed. Reads up to a segment of the WAL and the tiles on the path: blocks on the disk.
    ///
    /// # Errors
    /// [`Error::UnknownPosition`] while no checkpoint covers it; else when the disk fails.
    pub fn prove(&self, tenant: &Tenant, position: Position) -> Result<String, Error> {
        prove(self.shared(), self.shared().tenant(tenant)?, position)
    }

    /// Says that a view needs no payload of a tenant below `position` any more. Payloads are kept until every view that
    /// ever said something has said so; register a view by saying 0 before the first record.
    ///
    /// # Errors
    /// [`Error::UnknownTenant`].
    pub fn consumed(&self, view: &str, tenant: &Tenant, position: Position) -> Result<(), Error> {
        let number = self.shared().tenant(tenant)?.number;
        lock(&self.shared().consumed).entry(view.to_owned()).or_default().insert(number, position);
        Ok(())
    }

    /// Returns the position after a tenant's last durable record.
    ///
    /// # Errors
    /// [`Error::UnknownTenant`].
    pub fn next_position(&self, tenant: &Tenant) -> Result<Position, Error> {
        Ok(*self.shared().tenant(tenant)?.durable.borrow())
    }

    /// Returns how the ledger is. Lists the WAL's directory.
    ///
    /// # Errors
    /// When the WAL's directory cannot be listed.
    pub fn status(&self) -> Result<Status, Error> {
        let shared = self.shared();
        let logs = shared.origins.iter().map(|origin| LogStatus {
            origin: origin.origin.clone(),
            durable: *origin.durable.borrow(),
            committed: *origin.committed.borrow(),
            size: origin.signed().map_or(0, |signed| signed.size),
        });
        let (logs, figures) = (logs.collect(), lock(&shared.figures).clone());
        Ok(Status {
            figures,
            logs,
            segment: lock(&shared.durable).segment,
            wal_bytes: shared.disk.list(&shared.config.wal())?.iter().map(|entry| entry.len).sum(),
            queued: lock(&self.wires().queue).records,
            disk_full: shared.disk_full.load(Ordering::Relaxed),
            stopped: shared.stopped.borrow().clone(),
        })
    }

    /// Takes somebody's word that the disk is full, and gives back what was reserved: the alert path keeps its state in
    /// other files than ours, and must write it to page. What pages nobody is refused until there is room again.
    ///
    /// # Errors
    /// When the reserve cannot be removed: then the ledger has stopped.
    pub fn release_reserve(&self, why: &str) -> Result<(), Error> {
        let shared = self.shared();
        shared.enter_full(why);
        let released = shared.reserve.release(&*shared.disk).map_err(|error| shared.stop(&error.into()))?;
        if released {
            // The publisher looks from now on whether there is room.
            self.wires().wish(|wishes| wishes.dirty = true);
        }
        Ok(())
    }

    /// Waits until the ledger stops by itself, and tells why: then notify, exit and start again.
    pub async fn stopped(&self) -> Arc<str> {
        let mut stopped = self.shared().stopped.subscribe();
        match stopped.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_else(|| "unknown".into()),
            Err(_) => "it was closed".into(),
        }
    }

    /// Closes the ledger in order: what is queued becomes durable, a last checkpoint is signed, the end is marked. Other
    /// handles are refused afterwards.
    ///
    /// # Errors
    /// When the last sync or checkpoint fails, or the ledger has stopped or is closed already.
    pub async fn close(&self) -> Result<(), Error> {
        let (sender, receiver) = oneshot::channel();
        self.wires().wish(|wishes| {
            if wishes.ending.is_none() && !wishes.ended {
                wishes.ending = Some(Ending::Orderly(sender));
            }
        });
        receiver.await.map_err(|_| self.gone())?
    }
}

/// A thread of the writer. There are two: while one waits for the disk, the other places and writes what comes, and goes
/// to the disk with it as soon as the first is back, and what is being encoded by then is on board.
fn write_loop(wires: &Wires, writer: &Mutex<Writer>) {
    let _guard = StopOnPanic(wires, WRITER);
    loop {
        let mut writer = lock(writer);
        let air = Arc::clone(writer.air());
        let (mut replies, mut results, mut bytes) = (Vec::new(), Vec::new(), 0);
        // Since when nothing has been in the way of those on board.
        let mut free_since = None;
        let (commands, ended) = loop {
            let aboard = (!results.is_empty()).then_some((&*air, patience(wires, &air, free_since)));
            let taken = take(wires, aboard, COMMIT_BYTES_MAX.saturating_sub(bytes));
            bytes += taken.bytes;
            let (prepared, theirs): (Vec<_>, Vec<_>) =
                taken.requests.into_iter().map(|request| (request.prepared, (request.staged, request.reply))).unzip();
            let none = prepared.is_empty();
            for ((staged, reply), result) in theirs.into_iter().zip(writer.stage_all(prepared)) {
                if let Ok(group) = &result {
                    // The caller may have gone away.
                    let _ = staged.send(Arc::clone(group));
                }
                replies.push(reply);
                results.push(result);
            }
            // A failure has stopped the ledger, and the launch says so.
            if writer.write_out().is_err() || !taken.commands.is_empty() || taken.ended {
                break (taken.commands, taken.ended);
            }
            if !air.is_taken() {
                free_since = free_since.or(Some(wires.shared.clock.monotonic()));
                if none || bytes >= COMMIT_BYTES_MAX || patience(wires, &air, free_since).is_zero() {
                    break (taken.commands, taken.ended);
                }
            }
        };
        let launched = writer.launch();
        let writer = if commands.is_empty() {
            drop(writer);
            None
        } else {
            Some(writer)
        };
        let landed = launched.and_then(|flight| flight.map_or(Ok(()), Flight::land));
        // Whoever places meanwhile may go now.
        drop(lock(&wires.queue));
        wires.queued.notify_one();
        if !results.is_empty() {
            for (reply, result) in replies.into_iter().zip(settled(results, landed)) {
                // The caller may have gone away; its records are durable all the same.
                let _ = reply.send(result);
            }
            wires.wish(|wishes| wishes.dirty = true);
            if wires.shared.wants_spare() {
                wires.wish_spare(Some(true));
            }
        }
        if let Some(mut writer) = writer {
            for command in commands {
                command(&mut writer);
            }
        }
        if ended {
            return;
        }
    }
}

/// What the writer goes on with.
struct Taken {
    requests: Vec<Request>,
    bytes: usize,
    commands: Vec<Command>,
    ended: bool,
}

/// Returns how long a flight that could start still waits for the appends that are being encoded: as long as a slow sync
/// takes, from when it could. A sync for each of many that come together would cost each of them several.
fn patience(wires: &Wires, air: &Air, free_since: Option<Duration>) -> Duration {
    if wires.coming.load(Ordering::Relaxed) == 0 {
        return Duration::ZERO;
    }
    let waited = free_since.map_or(Duration::ZERO, |since| wires.shared.clock.monotonic().saturating_sub(since));
    air.slow_sync().min(PATIENCE_MAX).saturating_sub(waited)
}

/// Waits for work and takes as much of it as has room. Who has groups on board already says on which flight they wait, and
/// how long for others once that is over.
fn take(wires: &Wires, aboard: Option<(&Air, Duration)>, room: usize) -> Taken {
    let nothing = |queue: &mut Queue| {
        let full = room == 0 || queue.requests.is_empty();
        full && queue.commands.is_empty() && !queue.ended
    };
    let queue = lock(&wires.queue);
    let mut queue = match aboard {
        None => wires.queued.wait_while(queue, nothing).unwrap_or_else(PoisonError::into_inner),
        Some((air, patience)) => {
            let idle = |queue: &mut Queue| nothing(queue) && air.is_taken();
            let queue = wires.queued.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner);
            let idle = |queue: &mut Queue| nothing(queue) && room > 0 && wires.coming.load(Ordering::Relaxed) > 0;
            wires.queued.wait_timeout_while(queue, patience, idle).unwrap_or_else(PoisonError::into_inner).0
        }
    };
    let (mut requests, mut bytes) = (Vec::new(), 0);
    while bytes < room
        && let Some(request) = queue.requests.pop_front()
    {
        bytes += request.prepared.body.len();
        queue.records -= request.prepared.count as usize;
        requests.push(request);
    }
    queue.bytes -= bytes;
    let ended = queue.ended && queue.requests.is_empty();
    Taken { requests, bytes, commands: std::mem::take(&mut queue.commands), ended }
}

/// The publisher's thread. Holds the lock of the data directory to its end.
fn publish_loop(
    wires: &Wires,
    mut publisher: Publisher,
    others: Vec<std::thread::JoinHandle<()>>,
    lock_file: Box<dyn Send + Sync>,
) {
    let _guard = StopOnPanic(wires, PUBLISHER);
    // Somebody waits for each sync; for a checkpoint there is a second.
    disk::give_way();
    let mut meta_at = wires.shared.clock.monotonic() + wires.shared.config.meta_every;
    let ending = loop {
        let now = wires.shared.clock.monotonic();
        if now >= meta_at {
            meta_at = now + wires.shared.config.meta_every;
            tend(wires, &mut publisher);
        }
        let full = wires.shared.disk_full.load(Ordering::Relaxed);
        let idle = meta_at.saturating_sub(now);
        if let Some(ending) = wait_for_work(wires, &mut publisher, if full { idle.min(FULL_RETRY) } else { idle }) {
            break ending;
        }
        // A failure has stopped the ledger, and whoever appends is told.
        let _ = if full { wires.shared.prepare_spare() } else { Ok(()) };
        let dirty = std::mem::take(&mut lock(&wires.wishes).dirty);
        if dirty && publish(wires, &mut publisher).is_err() && wires.shared.check_running().is_ok() {
            // A full disk: the records are durable, and the next round tries again.
            wires.wish(|wishes| wishes.dirty = true);
        }
    };
    lock(&wires.wishes).ended = true;
    let result = match &ending {
        Ending::Orderly(_) => finish(wires, &mut publisher),
        Ending::Dropped => Ok(()),
    };
    lock(&wires.queue).ended = true;
    wires.queued.notify_all();
    wires.wish_spare(None);
    wires.shared.stopped.send_if_modified(|stopped| {
        let first = stopped.is_none();
        if first {
            *stopped = Some("it was closed".into());
        }
        first
    });
    // Nothing of ours touches the files once another process may.
    for other in others {
        let _ = other.join();
    }
    drop(lock_file);
    if let Ending::Orderly(reply) = ending {
        let _ = reply.send(result);
    }
}

/// Waits until checkpoints are due (at once if somebody waits for one, else after half of the allowed lag), for `idle` at
/// most. Reads back meanwhile what becomes durable, so that the time of an append is not that of a burst of hashing.
fn wait_for_work(wires: &Wires, publisher: &mut Publisher, idle: Duration) -> Option<Ending> {
    let wishes = lock(&wires.wishes);
    let nothing = |wishes: &mut Wishes| !wishes.dirty && wishes.ending.is_none();
    let (mut wishes, waited) =
        wires.wished.wait_timeout_while(wishes, idle, nothing).unwrap_or_else(PoisonError::into_inner);
    let calm = |wishes: &mut Wishes| !wishes.urgent && wishes.ending.is_none();
    if waited.timed_out() {
        wishes.urgent = false;
        return wishes.ending.take();
    }
    let (start, delay) = (wires.shared.clock.monotonic(), wires.shared.config.commit_lag / 2);
    // Counted too, for a clock that stands still in a test.
    for _ in 0..delay.as_millis() / READ_BACK_EVERY.as_millis() {
        let left = delay.saturating_sub(wires.shared.clock.monotonic().saturating_sub(start));
        let waited = wires.wished.wait_timeout_while(wishes, left.min(READ_BACK_EVERY), calm);
        let (woken, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        wishes = woken;
        if !waited.timed_out() || left <= READ_BACK_EVERY {
            break;
        }
        drop(wishes);
        // A failure has stopped the ledger, and the publication that follows says so.
        let read = publisher.read_back();
        wishes = lock(&wires.wishes);
        if read.is_err() {
            break;
        }
    }
    wishes.urgent = false;
    wishes.ending.take()
}

/// What is done once a minute: the meta-log, and payloads whose time is over. A full disk is no reason to stop, but one
/// to leave it: what room is left is for alerts. Whatever else fails has stopped the ledger already.
fn tend(wires: &Wires, publisher: &mut Publisher) {
    if wires.shared.disk_full.load(Ordering::Relaxed) {
        return;
    }
    let records = publisher.meta_records();
    let tended = command(wires, |writer| writer.append_meta(records)).and_then(|()| {
        while let Some(due) = publisher.retention_due()? {
            let records = due.records();
            command(wires, |writer| writer.append_retention(records))?;
            publish(wires, publisher)?;
            publisher.strip(&due)?;
        }
        Ok(())
    });
    if let Err(error) = tended {
        tracing::warn!(error = &error as &dyn std::error::Error, "could not write the meta-log or delete old payloads");
    }
    wires.wish(|wishes| wishes.dirty = true);
}

fn command(wires: &Wires, act: impl FnOnce(&mut Writer) -> Result<(), Error> + Send + 'static) -> Result<(), Error> {
    wires.command(act).unwrap_or_else(|| Err(Error::Stopped { reason: "it was closed".into() }))
}

fn publish(wires: &Wires, publisher: &mut Publisher) -> Result<(), Error> {
    command(wires, |writer| writer.close_batches().map(drop))?;
    publisher.publish()?;
    wires.shared.prepare_spare()
}

/// The orderly end.
fn finish(wires: &Wires, publisher: &mut Publisher) -> Result<(), Error> {
    publish(wires, publisher)?;
    publisher.store_snapshot(true)?;
    command(wires, Writer::close)
}

const _: () = assert!(
    COMMIT_LAG_MAX.as_millis() >= 2 * Duration::from_millis(100).as_millis(),
    "half of the lag leaves time to sign"
);

#[cfg(test)]
mod tests {
    use disk::SimDisk;
    use model::{AdminAct, RefusalKind, SeededRng, Signal, StepClock, Timestamp};
    use privacy::{Clearer, Redactor};

    use super::*;

    fn act() -> Cleared {
        let at = Timestamp::UNIX_EPOCH;
        let act = AdminAct { actor: "a".into(), act: "b".into(), target: "c".into(), detail: "d".into(), at };
        let clearer = Clearer::new(Arc::new(Redactor::new()), [7; 32]);
        clearer.clear(Signal::ours(Tenant::default(), act)).expect("clears")
    }

    fn open() -> Ledger {
        let mut config = Config::new("/data".into(), "localhost", vec![Tenant::default()]);
        (config.segment_bytes, config.reserve_bytes) = (100_000, 10_000);
        let clock = Arc::new(StepClock::new(Timestamp::UNIX_EPOCH));
        let (disk, rng) = (Arc::new(SimDisk::new(1)), Arc::new(SeededRng::new(1)));
        Ledger::open(disk, clock, rng, config).expect("opens").0
    }

    /// An append that nobody will ever answer would wait for ever, and with it whatever waits for that.
    #[tokio::test]
    async fn a_panic_of_a_thread_stops_the_ledger() {
        let ledger = open();
        ledger.append(vec![act()], Level::Committed).await.expect("is committed");
        let wires = Arc::clone(&ledger.handle.wires);
        let answered = std::thread::spawn(move || wires.command(|_| -> () { panic!("a bug") })).join();
        assert_eq!(answered.expect("is answered"), None);
        assert!(ledger.stopped().await.contains("its writer panicked"));
        for level in [Level::Durable, Level::Committed] {
            let error = ledger.append(vec![act()], level).await.expect_err("has stopped");
            assert_eq!(error.kind(), RefusalKind::Stop, "{error}");
        }
        assert!(ledger.close().await.is_err());
    }

    #[tokio::test]
    async fn nobody_waits_for_ever_for_an_append_that_does_not_come() {
        let ledger = open();
        let wires = Arc::clone(&ledger.handle.wires);
        ledger.append(vec![act()], Level::Durable).await.expect("is durable");
        let coming = Coming::new(&wires);
        for _ in 0..3 {
            ledger.append(vec![act()], Level::Durable).await.expect("is durable");
        }
        assert_eq!(wires.coming.load(Ordering::Relaxed), 1);
        drop(coming);
        ledger.append(vec![], Level::Durable).await.expect_err("has no records");
        assert_eq!(wires.coming.load(Ordering::Relaxed), 0);
        ledger.close().await.expect("closes");
    }
}
