//! What the writer, the publisher and the callers of one open ledger share.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use disk::{Disk, DiskFile, Reserve};
use model::limits::{COMMIT_LAG_MAX, RESERVE_BYTES, SEGMENT_BYTES_MAX};
use model::{Clock, Origin, Position, Rng, Tenant};
use tokio::sync::watch;

use crate::error::Error;
use crate::group::Group;
use crate::merkle::Hash;
use crate::names::Names;
use crate::retain::Consumed;
use crate::wal;

/// Bytes of recent groups that all origins together keep in memory, so that cursors at the end do not read the disk.
const RECENT_BYTES_MAX: usize = 8 << 20;
/// Bytes of recent groups that each origin may keep in any case.
const RECENT_BYTES_MIN: usize = 64 << 10;

/// How a ledger is opened.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory: `wal/`, `ledger/`, `keystore/` and `LOCK` are in it.
    pub dir: PathBuf,
    /// The first part of each origin: `<instance>/<tenant>`, and `<instance>/meta`.
    pub instance: String,
    /// Whose logs there are. A log whose tenant is not named here any more stays as it is and cannot be appended to.
    pub tenants: Vec<Tenant>,
    /// Size of a WAL segment.
    pub segment_bytes: u64,
    /// Longest time between a durable record and the checkpoint that covers it: signing starts after half of it.
    pub commit_lag: Duration,
    /// How often each tenant's checkpoint becomes a leaf of the meta-log.
    pub meta_every: Duration,
    /// Payloads older than this are deleted once every view has consumed them.
    pub retain_age: Duration,
    /// Payloads are deleted, oldest first, once the segments that have theirs are larger than this together and every view
    /// has consumed them.
    pub retain_bytes: u64,
    /// Space kept for alerts when the disk is full.
    pub reserve_bytes: u64,
}

impl Config {
    /// Returns the configuration that a data directory has unless something else is said.
    #[must_use]
    pub fn new(dir: PathBuf, instance: &str, tenants: Vec<Tenant>) -> Self {
        Self {
            dir,
            instance: instance.to_owned(),
            tenants,
            segment_bytes: SEGMENT_BYTES_MAX,
            commit_lag: COMMIT_LAG_MAX,
            meta_every: Duration::from_secs(60),
            retain_age: Duration::from_secs(7 * 24 * 3_600),
            retain_bytes: 5 << 30,
            reserve_bytes: RESERVE_BYTES,
        }
    }

    pub(crate) fn wal(&self) -> PathBuf {
        self.dir.join("wal")
    }

    pub(crate) fn log(&self, origin: &str) -> PathBuf {
        self.dir.join("ledger").join(origin)
    }

    pub(crate) fn keys(&self, origin: &str) -> PathBuf {
        self.dir.join("keystore").join(origin)
    }

    pub(crate) fn meta_origin(&self) -> String {
        format!("{}/meta", self.instance)
    }
}

/// A signed checkpoint as it stands in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// How many leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// The signed note.
    pub note: String,
}

/// One log of the instance.
pub(crate) struct OriginShared {
    pub(crate) origin: Origin,
    /// Its number in the WAL.
    pub(crate) number: u16,
    /// The names whose records are durable.
    pub(crate) names: RwLock<Arc<Names>>,
    /// The position after the last durable record.
    pub(crate) durable: watch::Sender<Position>,
    /// The position after the last record that a signed checkpoint covers.
    pub(crate) committed: watch::Sender<Position>,
    pub(crate) signed: RwLock<Option<Arc<Signed>>>,
    recent: Mutex<Recent>,
}

#[derive(Default)]
struct Recent {
    groups: VecDeque<Arc<Group>>,
    bytes: usize,
    bytes_max: usize,
}

impl OriginShared {
    /// Makes one of `of` logs.
    pub(crate) fn new(origin: Origin, number: u16, of: usize, names: Names, next: Position) -> Self {
        let bytes_max = (RECENT_BYTES_MAX / of.max(1)).max(RECENT_BYTES_MIN);
        Self {
            origin,
            number,
            names: RwLock::new(Arc::new(names)),
            durable: watch::Sender::new(next),
            committed: watch::Sender::new(0),
            signed: RwLock::new(None),
            recent: Mutex::new(Recent { bytes_max, ..Recent::default() }),
        }
    }

    /// Remembers a durable group for the cursors and the publisher.
    pub(crate) fn remember(&self, group: Arc<Group>) {
        let mut recent = lock(&self.recent);
        recent.bytes += group.body.len();
        recent.groups.push_back(group);
        while recent.bytes > recent.bytes_max
            && let Some(oldest) = recent.groups.pop_front()
        {
            recent.bytes -= oldest.body.len();
        }
    }

    /// Forgets the groups below a position: their payloads were deleted on the disk, so they go from memory too.
    pub(crate) fn forget_below(&self, position: Position) {
        let mut recent = lock(&self.recent);
        while recent.groups.front().is_some_and(|group| group.position < position)
            && let Some(oldest) = recent.groups.pop_front()
        {
            recent.bytes -= oldest.body.len();
        }
    }

    /// Returns the remembered groups from the one that holds `position`; empty when that one is forgotten.
    pub(crate) fn recent_from(&self, position: Position, records: usize) -> Vec<Arc<Group>> {
        let recent = lock(&self.recent);
        let start = recent.groups.partition_point(|group| group.position + u64::from(group.count) <= position);
        let mut found = Vec::new();
        let mut have = 0;
        for group in recent.groups.iter().skip(start) {
            if found.is_empty() && group.position > position {
                break;
            }
            found.push(Arc::clone(group));
            have += group.count as usize;
            if have >= records.saturating_add(group.count as usize) {
                break;
            }
        }
        found
    }

    /// Returns the names as they are now.
    pub(crate) fn names(&self) -> Arc<Names> {
        Arc::clone(&self.names.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the checkpoint last signed.
    pub(crate) fn signed(&self) -> Option<Arc<Signed>> {
        self.signed.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How far the WAL is durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Durable {
    /// The segment that is written.
    pub(crate) segment: u64,
    /// Where its durable frames end.
    pub(crate) end: u64,
    /// How many bytes it has room for.
    pub(crate) capacity: u64,
    /// Where the segments before it end, as far as is known.
    pub(crate) ends: BTreeMap<u64, u64>,
}

/// Figures of the running ledger.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Records made durable since the start.
    pub records: u64,
    /// Bytes written to the WAL since the start.
    pub bytes: u64,
    /// Syncs of the WAL since the start.
    pub syncs: u64,
    /// How long the last sync took.
    pub sync_last: Duration,
    /// How long the longest sync took.
    pub sync_max: Duration,
    /// How long the last publication of checkpoints took.
    pub publish_last: Duration,
    /// Publications of checkpoints that failed for want of space.
    pub publish_failures: u64,
    /// Appends refused because the disk is full.
    pub refused_full: u64,
}

/// The segment that comes next, made in advance so that going on to it does not wait for the disk.
#[derive(Default)]
pub(crate) struct Spare {
    /// The number of the next segment. It changes under the same lock as the file is taken, so that nobody makes a
    /// segment in the place of one in use.
    pub(crate) next: u64,
    pub(crate) file: Option<Box<dyn DiskFile>>,
}

pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) config: Config,
    pub(crate) origins: Vec<Arc<OriginShared>>,
    pub(crate) durable: Mutex<Durable>,
    pub(crate) figures: Mutex<Figures>,
    pub(crate) disk_full: AtomicBool,
    pub(crate) reserve: Reserve,
    pub(crate) spare: Mutex<Spare>,
    pub(crate) consumed: Mutex<Consumed>,
    pub(crate) stopped: watch::Sender<Option<Arc<str>>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while holding one of these locks leaves plain counters and lists, which stay usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Returns the log with that origin.
    pub(crate) fn origin(&self, origin: &str) -> Option<&Arc<OriginShared>> {
        self.origins.iter().find(|shared| shared.origin.as_str() == origin)
    }

    /// Returns the log of a tenant that the configuration names.
    pub(crate) fn tenant(&self, tenant: &Tenant) -> Result<&Arc<OriginShared>, Error> {
        if !self.config.tenants.contains(tenant) {
            return Err(Error::UnknownTenant);
        }
        let origin = format!("{}/{tenant}", self.config.instance);
        self.origin(&origin).ok_or(Error::UnknownTenant)
    }

    /// Returns why the ledger stopped, as an error, if it did.
    pub(crate) fn check_running(&self) -> Result<(), Error> {
        match &*self.stopped.borrow() {
            Some(reason) => Err(Error::Stopped { reason: Arc::clone(reason) }),
            None => Ok(()),
        }
    }

    /// Stops the ledger for good; the first reason counts.
    pub(crate) fn stop(&self, error: &Error) -> Error {
        self.stopped.send_if_modified(|stopped| {
            let first = stopped.is_none();
            if first {
                let reason =
                    if let Error::Stopped { reason } = error { Arc::clone(reason) } else { error.chain().into() };
                tracing::error!(reason = &*reason, "stopped the ledger");
                *stopped = Some(reason);
            }
            first
        });
        self.check_running().err().unwrap_or(Error::Stopped { reason: "closed".into() })
    }

    /// Returns where a segment ends, if it is known.
    pub(crate) fn end_of(&self, segment: u64) -> Option<u64> {
        let durable = lock(&self.durable);
        if durable.segment == segment { Some(durable.end) } else { durable.ends.get(&segment).copied() }
    }

    /// Returns the civil time in milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.now().as_millisecond()).unwrap_or(0)
    }

    /// Makes the spare segment when the present one is half full or the disk was full, and takes the reserve again when
    /// there is room. A full disk is no error here.
    pub(crate) fn prepare_spare(&self) -> Result<(), Error> {
        let full = self.disk_full.load(Ordering::Relaxed);
        if full && !self.has_room_again() {
            return Ok(());
        }
        let half_full = self.half_full();
        let mut spare = lock(&self.spare);
        if spare.file.is_none() && (half_full || full) {
            match wal::prepare_segment(&*self.disk, &self.config.wal(), spare.next, self.config.segment_bytes) {
                Ok(file) => spare.file = Some(file),
                Err(error) if error.is_full() => return Ok(()),
                Err(error) => return Err(self.stop(&error)),
            }
        }
        drop(spare);
        if full && self.reserve.refill(&*self.disk).map_err(|error| self.stop(&error.into()))? {
            tracing::info!("the disk has room again");
            self.disk_full.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Tells whether the file system has room for a segment and the reserve, and for what others keep beside us: what was
    /// given back for the alert path's own files is not taken from it as soon as it is there.
    fn has_room_again(&self) -> bool {
        let config = &self.config;
        let reserve = if self.reserve.is_held() { 0 } else { config.reserve_bytes };
        let wanted = config.segment_bytes.saturating_add(reserve).saturating_add(config.reserve_bytes / 2);
        // What cannot be measured is tried.
        self.disk.free_bytes(&config.dir).map_or(true, |free| free >= wanted)
    }

    fn half_full(&self) -> bool {
        let durable = lock(&self.durable);
        durable.end * 2 > durable.capacity
    }

    /// Tells whether the next segment should be made ready and is not.
    pub(crate) fn wants_spare(&self) -> bool {
        // While the lock is held, somebody is at it.
        self.half_full()
            && !self.disk_full.load(Ordering::Relaxed)
            && self.spare.try_lock().is_ok_and(|spare| spare.file.is_none())
    }

    /// Refuses from now on what pages nobody, until there is room again.
    pub(crate) fn enter_full(&self, why: &str) {
        if !self.disk_full.swap(true, Ordering::Relaxed) {
            tracing::error!(error = why, "the disk is full: only alerts are recorded");
        }
    }

    /// Makes the next segment now. On a full disk only what pages people goes on, in a small one.
    pub(crate) fn next_segment(
        &self,
        number: u64,
        need: u64,
        priority: bool,
    ) -> Result<(Box<dyn DiskFile>, u64), Error> {
        let (disk, config) = (&*self.disk, &self.config);
        let make = |bytes| wal::prepare_segment(disk, &config.wal(), number, bytes).map(|file| (file, bytes));
        let full = match make(config.segment_bytes) {
            Err(error) if error.is_full() => error,
            Err(error) => return Err(self.stop(&error)),
            made => return made,
        };
        self.enter_full(&full.chain());
        if !priority {
            lock(&self.figures).refused_full += 1;
            return Err(Error::DiskFull);
        }
        // Half of the reserve for the segment; the rest for the tiles and checkpoints that will cover it.
        let small = need.max(config.reserve_bytes / 2).min(config.segment_bytes);
        let made = make(small)
            .or_else(|error| if error.is_full() && self.reserve.release(disk)? { make(small) } else { Err(error) });
        match made {
            Err(error) if error.is_full() => Err(Error::DiskFull),
            Err(error) => Err(self.stop(&error)),
            made => made,
        }
    }
}
