//! Where looks that block do so: on threads of their own, so that a dead file system keeps nothing waiting but its check.
//!
//! A thread that hangs in the kernel cannot be stopped. So each check has one at most, all together have a bound, and
//! none is one of those on which the rest of the program reads its files.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use model::limits::PROBE_THREADS_MAX;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::kind::{Fault, Observation};

/// Stack of a thread: the verification of a ledger is what needs most.
const STACK_BYTES: usize = 2 << 20;

/// Why a look that blocks told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// The deadline passed while it looked. It may still do.
    Late,
    /// The check's look before still hangs, so this one did not begin.
    Stuck,
    /// No thread was free before the deadline.
    Busy,
    /// It panicked.
    Died,
}

impl Unseen {
    /// Returns what a check makes of it where nothing speaks against the watched thing.
    #[must_use]
    pub fn ours(self) -> Observation {
        match self {
            Self::Late => Observation::unknown(Fault::Resources, "looking takes longer than the check's timeout"),
            Self::Stuck => Observation::unknown(Fault::Resources, "the look before this one still hangs"),
            Self::Busy => Observation::unknown(Fault::Resources, "too many looks hang"),
            Self::Died => Observation::unknown(Fault::Internal, "the probe failed by a fault of ours"),
        }
    }
}

/// The threads for looks that block.
#[derive(Debug)]
pub struct Threads {
    free: Arc<Semaphore>,
    looking: Arc<Mutex<HashSet<Arc<str>>>>,
}

impl Default for Threads {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(PROBE_THREADS_MAX)), looking: Arc::default() }
    }
}

/// A check's look in flight, from before its thread begins until that ends, whoever still waits for it.
struct Looking {
    check: Arc<str>,
    all: Arc<Mutex<HashSet<Arc<str>>>>,
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.check);
    }
}

impl Threads {
    /// Does `work` for a check on a thread of its own and returns what it returns before `deadline`. Dropping the
    /// future does not stop the work.
    ///
    /// # Errors
    /// When there is nothing to return: the error says why.
    pub async fn look<T: Send + 'static>(
        &self,
        check: &Arc<str>,
        deadline: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unseen> {
        let looking = self.enter(check).ok_or(Unseen::Stuck)?;
        let permit = timeout_at(deadline, Arc::clone(&self.free).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else { return Err(Unseen::Busy) };
        let told = start(looking, permit, work).map_err(|_| Unseen::Busy)?;
        match timeout_at(deadline, told).await {
            Ok(told) => told.map_err(|_| Unseen::Died),
            Err(_) => Err(Unseen::Late),
        }
    }

    fn enter(&self, check: &Arc<str>) -> Option<Looking> {
        let mut all = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = all.insert(Arc::clone(check));
        is_first.then(|| Looking { check: Arc::clone(check), all: Arc::clone(&self.looking) })
    }
}

fn start<T: Send + 'static>(
    looking: Looking,
    permit: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<oneshot::Receiver<T>> {
    let (tell, told) = oneshot::channel();
    let thread = std::thread::Builder::new().name("dihya-look".to_owned()).stack_size(STACK_BYTES);
    thread.spawn(move || {
        let seen = work();
        // Whoever hears of it may look again at once.
        drop((looking, permit));
        let _ = tell.send(seen);
    })?;
    Ok(told)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{SyncSender, sync_channel};
    use std::time::Duration;

    use super::*;

    /// Work that hangs, as a system call on a dead mount does, until the sender goes.
    fn hanging() -> (SyncSender<()>, impl FnOnce() + Send + 'static) {
        let (release, hang) = sync_channel::<()>(1);
        (release, move || {
            let _ = hang.recv();
        })
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    /// A dead mount took one more of the sixteen threads that everything shared with each look, until alerts stopped.
    #[tokio::test]
    async fn a_look_that_hangs_takes_one_thread_and_no_more() {
        let (threads, check) = (Threads::default(), Arc::from("dead-mount"));
        let (release, work) = hanging();
        assert_eq!(threads.look(&check, soon(), work).await, Err(Unseen::Late));
        for _ in 0..3 {
            assert_eq!(threads.look(&check, soon(), || ()).await, Err(Unseen::Stuck));
        }
        assert_eq!(threads.free.available_permits(), PROBE_THREADS_MAX - 1);
        let later = Instant::now() + Duration::from_secs(60);
        assert_eq!(threads.look(&Arc::from("other"), later, || 7).await, Ok(7));
        drop(release);
        let _all = threads.free.acquire_many(u32::try_from(PROBE_THREADS_MAX).expect("small")).await.expect("open");
        let ended = threads.looking.lock().expect("no panic").is_empty();
        assert!(ended, "the thread ended, and its check may look again");
    }

    #[tokio::test]
    async fn when_all_threads_hang_that_is_our_fault() {
        let threads = Threads::default();
        let held: Vec<_> = (0..PROBE_THREADS_MAX).map(|_| hanging()).collect();
        let mut releases = Vec::new();
        for (n, (release, work)) in held.into_iter().enumerate() {
            releases.push(release);
            let _ = threads.look(&Arc::from(n.to_string()), Instant::now(), work).await;
        }
        let busy = threads.look(&Arc::from("one-more"), soon(), || ()).await;
        assert_eq!(busy, Err(Unseen::Busy));
        assert_eq!(threads.looking.lock().expect("no panic").len(), PROBE_THREADS_MAX, "it is not said to look");
        drop(releases);
        for unseen in [Unseen::Late, Unseen::Stuck, Unseen::Busy, Unseen::Died] {
            assert_eq!(unseen.ours().state, model::State::Unknown);
        }
    }

    #[tokio::test]
    async fn a_panic_is_told_and_frees_the_thread() {
        let (threads, check) = (Threads::default(), Arc::from("c"));
        let later = Instant::now() + Duration::from_secs(60);
        let died = threads.look(&check, later, || panic!("a test wants it")).await;
        assert_eq!(died, Err::<(), _>(Unseen::Died));
        let _all = threads.free.acquire_many(u32::try_from(PROBE_THREADS_MAX).expect("small")).await.expect("open");
        assert!(threads.looking.lock().expect("no panic").is_empty());
    }
}
