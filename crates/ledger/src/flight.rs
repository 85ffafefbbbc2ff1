//! What is on its way to the disk: one sync at a time, while the next groups are placed and written behind it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use disk::DiskFile;

use crate::error::Error;
use crate::group::Group;
use crate::shared::{Shared, lock};
use crate::wal;

/// The room for one flight at a time, and how far the last one that landed came.
#[derive(Debug)]
pub(crate) struct Air {
    taken: Mutex<bool>,
    freed: Condvar,
    synced: AtomicU64,
    /// See [`Air::slow_sync`], in nanoseconds.
    slow: AtomicU64,
}

impl Air {
    /// Nothing is under way, and the segment is durable up to `synced`.
    pub(crate) fn new(synced: u64) -> Self {
        Self {
            taken: Mutex::new(false),
            freed: Condvar::new(),
            synced: AtomicU64::new(synced),
            slow: AtomicU64::new(0),
        }
    }

    /// Returns up to where the segment in use is known to be durable.
    pub(crate) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Returns how long a slow sync takes of late: the longest, which counts a 256th less with each that follows.
    pub(crate) fn slow_sync(&self) -> Duration {
        Duration::from_nanos(self.slow.load(Ordering::Relaxed))
    }

    /// Takes note of how long a sync took. Called by whoever has the turn, so by one thread at a time.
    fn took(&self, sync: Duration) {
        let before = self.slow.load(Ordering::Relaxed);
        let now = u64::try_from(sync.as_nanos()).unwrap_or(u64::MAX);
        self.slow.store(now.max(before - before / 256), Ordering::Relaxed);
    }

    /// Goes on in a segment of which nothing is durable. Nothing may be under way.
    pub(crate) fn begin_segment(&self) {
        self.synced.store(0, Ordering::Release);
    }

    /// Tells whether a flight is under way.
    pub(crate) fn is_taken(&self) -> bool {
        *lock(&self.taken)
    }

    /// Waits until nothing is under way, and keeps it so until the turn is dropped.
    pub(crate) fn take(self: &Arc<Self>) -> Turn {
        let taken = lock(&self.taken);
        let mut taken = self.freed.wait_while(taken, |taken| *taken).unwrap_or_else(PoisonError::into_inner);
        *taken = true;
        Turn(Arc::clone(self))
    }
}

/// The right to be the one that is under way.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Air>);

impl Drop for Turn {
    fn drop(&mut self) {
        *lock(&self.0.taken) = false;
        self.0.freed.notify_one();
    }
}

/// Frames that are written and wait for one sync.
pub(crate) struct Flight {
    pub(crate) turn: Turn,
    pub(crate) shared: Arc<Shared>,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) segment: u64,
    /// Where they end.
    pub(crate) end: u64,
    pub(crate) capacity: u64,
    pub(crate) bytes: u64,
    pub(crate) groups: Vec<Arc<Group>>,
    /// Names that they bring, by the number of their log.
    pub(crate) names: Vec<(usize, Vec<Arc<str>>)>,
}

impl Flight {
    /// Syncs and makes visible. Any error stops the ledger: what reached the disk is unknown, and the same file is never
    /// synced again (invariant D-2).
    pub(crate) fn land(self) -> Result<(), Error> {
        // The flight before may have failed meanwhile.
        self.shared.check_running()?;
        let start = self.shared.clock.monotonic();
        if let Err(error) = wal::sync(&*self.file) {
            return Err(self.shared.stop(&error));
        }
        let took = self.shared.clock.monotonic().saturating_sub(start);
        {
            let mut figures = lock(&self.shared.figures);
            figures.records += self.groups.iter().map(|group| u64::from(group.count)).sum::<u64>();
            figures.bytes += self.bytes;
            figures.syncs += 1;
            figures.sync_last = took;
            figures.sync_max = figures.sync_max.max(took);
        }
        self.turn.0.took(took);
        self.turn.0.synced.store(self.end, Ordering::Release);
        self.show();
        Ok(())
    }

    /// Makes what is durable visible to cursors and to the publisher.
    fn show(self) {
        {
            let mut durable = lock(&self.shared.durable);
            durable.segment = self.segment;
            durable.end = self.end;
            durable.capacity = self.capacity;
        }
        for (number, new) in self.names {
            let mut names = self.shared.origins[number].names.write().unwrap_or_else(PoisonError::into_inner);
            let names = Arc::make_mut(&mut names);
            for name in new {
                names.intern(name);
            }
        }
        for group in self.groups {
            let origin = &self.shared.origins[usize::from(group.origin)];
            let next = group.position + u64::from(group.count);
            origin.remember(group);
            origin.durable.send_replace(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_sync_is_forgotten_with_those_that_follow() {
        let air = Air::new(0);
        assert_eq!(air.slow_sync(), Duration::ZERO);
        air.took(Duration::from_millis(256));
        air.took(Duration::from_millis(1));
        assert_eq!(air.slow_sync(), Duration::from_millis(255));
        (0..2_000).for_each(|_| air.took(Duration::from_millis(1)));
        assert_eq!(air.slow_sync(), Duration::from_millis(1));
    }
}
