//! Runs every check in its own slot, on time whatever the others do.
//!
//! One driver holds the next moment of each check in a heap and starts runs; it never waits for one. There is no pool
//! of workers that time-outs could fill: a run in flight costs its memory and descriptors and nothing else. Moments
//! are absolute, so nothing drifts; a run that is still going at the next moment makes that one skipped and counted.
//! Results are handed over without waiting; a change that was not taken is found again at the next run.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use model::{CheckChange, CheckResult, State};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::{Check, Config};
use crate::heartbeat::Ping;
use crate::kind::Means;
use crate::track::Tracker;

mod once;
mod run;
pub mod stats;

pub use once::run_once;
use run::{ClockWatch, Done};
use stats::Counters;
pub use stats::{Descriptors, Stats, descriptors_needed, raise_descriptors};

/// Commands that may wait for the driver.
const COMMANDS_MAX: usize = 1_024;
/// The first round is spread over this time, or over the interval where that is shorter.
const FIRST_ROUND: Duration = Duration::from_secs(10);
/// A check that a failing one depends on is looked at again unless that was done within this time.
const PARENT_FRESH: Duration = Duration::from_secs(1);
/// Intervals without a result from which on a check is silent.
const SILENT_AFTER: u32 = 3;
/// Callers who may wait for the same run.
const WAITERS_MAX: usize = 64;

/// The queue behind [`Results`] is full: nothing of the call was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue of results is full")]
pub struct Full;

/// Takes results. Called from the runs themselves: must not block.
pub trait Results: Send + Sync {
    /// Takes a result together with the change of state that it brings, or neither.
    ///
    /// # Errors
    /// When the queue is full: the change, if there was one, comes again with the next result.
    fn take(&self, check: &Check, result: &CheckResult, change: Option<&CheckChange>) -> Result<(), Full>;
}

/// What a new configuration changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Ids of checks that are new.
    pub added: Vec<String>,
    /// Ids of checks that are declared otherwise; they keep their state.
    pub changed: Vec<String>,
    /// Ids of checks that are gone.
    pub removed: Vec<String>,
}

/// Runs checks until it is stopped.
pub struct Scheduler {
    inner: Arc<Inner>,
    commands: mpsc::Sender<Command>,
    driver: tokio::sync::Mutex<JoinSet<()>>,
}

struct Inner {
    means: Arc<Means>,
    sink: Arc<dyn Results>,
    plan: RwLock<Plan>,
    counters: Counters,
    watch: ClockWatch,
}

#[derive(Default)]
struct Plan {
    config: Arc<Config>,
    slots: HashMap<Arc<str>, Arc<Slot>>,
    /// Ids of the groups by the ids of their members.
    groups: HashMap<String, Vec<Arc<str>>>,
}

/// A check's place in time.
struct Slot {
    check: Arc<Check>,
    gone: AtomicBool,
    state: Mutex<SlotState>,
}

struct SlotState {
    tracker: Tracker,
    running: bool,
    started: Option<Instant>,
    /// When a result was last handed over; before the first, since when one is awaited.
    told: Instant,
    /// The next regular moment.
    next: Option<Instant>,
    waiters: Vec<oneshot::Sender<CheckResult>>,
}

enum Command {
    Plan(Vec<Arc<Slot>>),
    Run(Arc<Slot>, Option<oneshot::Sender<CheckResult>>),
    Stop(Duration),
}

impl Scheduler {
    /// Starts to run the checks of `config`. `standing` says how checks stood before a restart.
    #[must_use]
    pub fn start(config: Config, means: Arc<Means>, sink: Arc<dyn Results>, standing: &[CheckResult]) -> Self {
        let watch = ClockWatch::new(&*means.clock);
        let inner = Arc::new(Inner { means, sink, plan: RwLock::default(), counters: Counters::default(), watch });
        let (_, slots) = inner.adopt(config, standing);
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let mut driver = JoinSet::new();
        driver.spawn(Driver::new(Arc::clone(&inner), slots).drive(inbox));
        Self { inner, commands, driver: tokio::sync::Mutex::new(driver) }
    }

    /// Puts another configuration in force. Checks that are declared as before keep state and moment, those declared
    /// otherwise keep their state; CA files and resolvers are read anew.
    pub async fn reload(&self, config: Config) -> Reloaded {
        self.inner.means.connector.forget();
        let (reloaded, slots) = self.inner.adopt(config, &[]);
        let _ = self.commands.send(Command::Plan(slots)).await;
        reloaded
    }

    /// Runs a check now, beside its moments, and returns the result; that of the run in flight where there is one.
    /// `None` when there is no such check.
    pub async fn run_now(&self, id: &str) -> Option<CheckResult> {
        let slot = self.inner.slot(id)?;
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Run(slot, Some(reply))).await.ok()?;
        answer.await.ok()
    }

    /// Takes a heartbeat's sign of life, which the caller has made durable, and looks at its check at once. Returns
    /// the check's id, or `None` when nothing of that name is declared.
    pub fn ping(&self, name: &str, ping: Ping) -> Option<String> {
        let id = self.inner.means.heartbeats.ping(name, ping, &*self.inner.means.clock)?;
        if let Some(slot) = self.inner.slot(&id) {
            // When the driver has no room, the check's own moment comes soon enough.
            let _ = self.commands.try_send(Command::Run(slot, None));
        }
        Some(id)
    }

    /// Returns the configuration in force.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.inner.plan().config)
    }

    /// Returns what probes work with: the board, the heartbeats.
    #[must_use]
    pub fn means(&self) -> &Arc<Means> {
        &self.inner.means
    }

    /// Returns how the scheduler itself is doing.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.counters.stats(self.inner.plan().slots.len())
    }

    /// Tells whether a check gave no result for three of its intervals, so that something must be wrong with us; false
    /// for one that is not configured.
    #[must_use]
    pub fn is_silent(&self, id: &str) -> bool {
        let Some(slot) = self.inner.slot(id) else { return false };
        let told = slot.state().told;
        told.elapsed() > slot.check.cadence() * SILENT_AFTER + slot.check.timeout.max(FIRST_ROUND)
    }

    /// Starts no more runs, gives those in flight `grace` to end, and cancels the rest.
    pub async fn stop(&self, grace: Duration) {
        let _ = self.commands.send(Command::Stop(grace)).await;
        let mut driver = self.driver.lock().await;
        while driver.join_next().await.is_some() {}
    }
}

impl Inner {
    fn plan(&self) -> std::sync::RwLockReadGuard<'_, Plan> {
        self.plan.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, id: &str) -> Option<Arc<Slot>> {
        self.plan().slots.get(id).map(Arc::clone)
    }

    /// Makes `config` the plan and returns what changed and the slots that have no moment yet.
    fn adopt(&self, config: Config, standing: &[CheckResult]) -> (Reloaded, Vec<Arc<Slot>>) {
        let now = self.means.clock.now();
        let mut reloaded = Reloaded::default();
        let mut fresh = Vec::new();
        let mut slots = HashMap::with_capacity(config.checks.len());
        let mut groups: HashMap<String, Vec<Arc<str>>> = HashMap::new();
        let stood: HashMap<&str, &CheckResult> = standing.iter().map(|result| (result.id.as_str(), result)).collect();
        let mut plan = self.plan.write().unwrap_or_else(PoisonError::into_inner);
        for check in &config.checks {
            for member in check.probe.members() {
                groups.entry(member.clone()).or_default().push(Arc::clone(&check.id));
            }
            let before = plan.slots.remove(&check.id);
            let tracker = match &before {
                Some(slot) if slot.check.declared == check.declared => {
                    slots.insert(Arc::clone(&check.id), Arc::clone(slot));
                    continue;
                }
                Some(slot) => {
                    reloaded.changed.push(check.id.to_string());
                    slot.gone.store(true, Ordering::Release);
                    slot.state().tracker
                }
                None => {
                    reloaded.added.push(check.id.to_string());
                    stood
                        .get(&*check.id)
                        .map_or_else(|| Tracker::new(now), |result| Tracker::restored(result.state, result.since))
                }
            };
            let slot = Arc::new(Slot::new(Arc::clone(check), tracker));
            slots.insert(Arc::clone(&check.id), Arc::clone(&slot));
            fresh.push(slot);
        }
        for (id, slot) in plan.slots.drain() {
            slot.gone.store(true, Ordering::Release);
            reloaded.removed.push(id.to_string());
        }
        reloaded.removed.sort();
        let names = config.checks.iter().filter_map(|check| Some((check.heartbeat()?, &*check.id)));
        self.means.heartbeats.declare(names.clone(), &*self.means.clock);
        let was_down = |id: &str| stood.get(id).is_some_and(|result| result.state == State::Down);
        for (name, _) in names.filter(|(_, id)| was_down(id)) {
            self.means.heartbeats.restore_down(name);
        }
        self.means.board.retain(|id| slots.contains_key(id));
        *plan = Plan { config: Arc::new(config), slots, groups };
        (reloaded, fresh)
    }
}

impl Slot {
    fn new(check: Arc<Check>, tracker: Tracker) -> Self {
        let told = Instant::now();
        let state = SlotState { tracker, running: false, started: None, told, next: None, waiters: Vec::new() };
        Self { check, gone: AtomicBool::new(false), state: Mutex::new(state) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

/// A moment at which a slot is due.
struct Moment {
    due: Instant,
    seq: u64,
    slot: Arc<Slot>,
    /// Whether the slot's next regular moment follows from this one.
    regular: bool,
}

impl PartialEq for Moment {
    fn eq(&self, other: &Self) -> bool {
        self.seq == other.seq
    }
}

impl Eq for Moment {}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Moment {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.seq).cmp(&(other.due, other.seq))
    }
}

struct Driver {
    inner: Arc<Inner>,
    heap: BinaryHeap<Reverse<Moment>>,
    seq: u64,
    running: JoinSet<Done>,
}

impl Driver {
    fn new(inner: Arc<Inner>, slots: Vec<Arc<Slot>>) -> Self {
        let mut driver = Self { inner, heap: BinaryHeap::new(), seq: 0, running: JoinSet::new() };
        driver.enter(slots);
        driver
    }

    async fn drive(mut self, mut inbox: mpsc::Receiver<Command>) {
        let grace = loop {
            let next = self.heap.peek().map(|Reverse(moment)| moment.due);
            let sleep = async {
                match next {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => self.start_due(),
                Some(done) = self.running.join_next(), if !self.running.is_empty() => self.ended(done),
                command = inbox.recv() => match command {
                    Some(Command::Plan(slots)) => self.enter(slots),
                    Some(Command::Run(slot, reply)) => self.start_now(slot, reply),
                    Some(Command::Stop(grace)) => break grace,
                    None => break Duration::ZERO,
                },
            }
        };
        self.heap.clear();
        let end = async { while self.running.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(grace, end).await;
        self.running.shutdown().await;
    }

    /// Gives slots their first moments: the first round soon and spread, then each at its own phase of its interval.
    fn enter(&mut self, slots: Vec<Arc<Slot>>) {
        let now = Instant::now();
        for slot in slots {
            let (id, cadence) = (Arc::clone(&slot.check.id), slot.check.cadence());
            if cadence <= FIRST_ROUND {
                self.push(now + spread(&id, cadence), slot, true);
            } else {
                self.push(now + spread(&id, FIRST_ROUND), Arc::clone(&slot), false);
                self.push(now + FIRST_ROUND + spread(&id, cadence), slot, true);
            }
        }
    }

    fn push(&mut self, due: Instant, slot: Arc<Slot>, regular: bool) {
        self.seq += 1;
        if regular {
            slot.state().next = Some(due);
        }
        self.heap.push(Reverse(Moment { due, seq: self.seq, slot, regular }));
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        while let Some(Reverse(moment)) = self.heap.peek() {
            if moment.due > now {
                break;
            }
            let Some(Reverse(Moment { due, slot, regular, .. })) = self.heap.pop() else { break };
            if slot.is_gone() {
                continue;
            }
            if regular {
                let (next, missed) = next_moment(due, slot.check.cadence(), now);
                self.inner.counters.skip(missed);
                self.push(next, Arc::clone(&slot), true);
            }
            if !self.start(slot, due, None) && regular {
                self.inner.counters.skip(1);
            }
        }
    }

    fn start_now(&mut self, slot: Arc<Slot>, reply: Option<oneshot::Sender<CheckResult>>) {
        let due = Instant::now();
        self.start(slot, due, reply);
    }

    /// Starts a run unless one is in flight, and tells which.
    fn start(&mut self, slot: Arc<Slot>, due: Instant, reply: Option<oneshot::Sender<CheckResult>>) -> bool {
        {
            let mut state = slot.state();
            if let Some(reply) = reply
                && state.waiters.len() < WAITERS_MAX
            {
                state.waiters.push(reply);
            }
            if state.running {
                return false;
            }
            state.running = true;
            state.started = Some(due);
        }
        let inner = Arc::clone(&self.inner);
        inner.counters.start();
        self.running.spawn(run::run(inner, slot, due));
        true
    }

    fn ended(&mut self, done: Result<Done, tokio::task::JoinError>) {
        self.inner.counters.end();
        // A run catches the panics of probes; what is left is cancellation.
        let Ok(done) = done else { return };
        let now = Instant::now();
        let slot = done.slot;
        if slot.is_gone() {
            return;
        }
        let (parents, groups) = {
            let plan = self.inner.plan();
            let find = |id: &str| plan.slots.get(id).map(Arc::clone);
            // A check that leaves its state at once is never pending, and its parents must be looked at all the same.
            let parents: Vec<_> = match done.pending || done.changed {
                true => slot.check.depends_on.iter().filter_map(|id| find(id)).collect(),
                false => Vec::new(),
            };
            let groups = if done.changed { plan.groups.get(&*slot.check.id) } else { None };
            let groups: Vec<_> = groups.into_iter().flatten().filter_map(|id| find(id)).collect();
            (parents, groups)
        };
        for parent in parents {
            let fresh = parent.state().started.is_some_and(|started| now.duration_since(started) < PARENT_FRESH);
            if !fresh {
                self.push(now, parent, false);
            }
        }
        for group in groups {
            self.push(now, group, false);
        }
        let retry = now + slot.check.retry_interval;
        // A retry that would likely still run at the regular moment gains nothing and would make that one skipped.
        let fits = slot.state().next.is_none_or(|next| retry + done.took < next);
        if done.pending && fits {
            self.push(retry, slot, false);
        }
    }
}

/// Returns a time in `0..within` that depends on the id alone, so that checks spread the same way each time.
fn spread(id: &str, within: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    let nanos = u64::try_from(within.as_nanos()).unwrap_or(u64::MAX).max(1);
    Duration::from_nanos(hasher.finish() % nanos)
}

/// Returns the next moment after `due` that is not over at `now`, and how many were missed.
fn next_moment(due: Instant, cadence: Duration, now: Instant) -> (Instant, u64) {
    let next = due + cadence;
    if next > now {
        return (next, 0);
    }
    let late = now.duration_since(next).as_nanos() / cadence.as_nanos().max(1) + 1;
    let late = u32::try_from(late).unwrap_or(u32::MAX);
    (next + cadence.saturating_mul(late), late.into())
}

#[cfg(test)]
mod tests;
