//! Runs the alert path of one tenant: folds its records, decides, tells, and answers questions.
//!
//! Three tasks, owned here. *Drive* reads the feed, folds each batch into [`Incidents`] and the control state in one
//! transaction, and once it has caught up admits what [`Incidents::decide`] says. *Dispatch* runs a worker per channel
//! that takes due notifications from the outbox and makes attempts. *Record* admits the outcomes in batches; they come
//! back through the feed and only then leave the outbox.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use model::{Admit, Clock, Delivery, Feed, IntentId, Labels, Position, Rng, SteadyClock, Tenant};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use crate::channel::{Channel, Channels};
use crate::config::Config;
use crate::error::Error;
use crate::fault::{Fault, NoFault, Point};
use crate::incidents::{Checks, Incidents, View};
use crate::state::State;

mod command;
mod dispatch;
mod drive;
mod self_test;

#[cfg(test)]
mod tests;

pub use command::{Counters, SilenceDraft, Telling, Why};
pub(crate) use self_test::{CHANNEL_FAILS, GIVEN_UP};

/// Tells whether alerts with these labels are in a maintenance window at a time.
pub type InMaintenance = Arc<dyn Fn(&Labels, Timestamp) -> bool + Send + Sync>;

/// Outcomes that wait to be recorded before workers wait too.
const OUTCOMES_MAX: usize = 4_096;
/// How long a graceful stop waits for attempts under way.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// How long the last notice may take per channel.
const LAST_NOTICE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a configuration says to the engine; replaced as a whole on reload.
#[derive(Clone)]
pub struct Setup {
    /// Routes, receivers, intervals.
    pub config: Arc<Config>,
    /// The channels, by name, implicit ones included.
    pub channels: Channels,
    /// The checks and what they depend on.
    pub checks: Checks,
    /// Whether something is in maintenance.
    pub in_maintenance: InMaintenance,
}

impl Setup {
    /// Makes a setup without checks and maintenance.
    #[must_use]
    pub fn new(config: Config, channels: Channels) -> Self {
        Self { config: Arc::new(config), channels, checks: Checks::default(), in_maintenance: Arc::new(|_, _| false) }
    }
}

/// What the engine stands on.
pub struct Parts {
    /// Control state.
    pub state: Arc<dyn State>,
    /// The tenant's records, from just after the position that [`State::load`] gives as cursor.
    pub feed: Box<dyn Feed>,
    /// How records are admitted.
    pub admit: Arc<dyn Admit>,
    /// What the configuration says.
    pub setup: Setup,
    /// The time: the steady one by which the records of the feed are admitted.
    pub clock: Arc<dyn Clock>,
    /// Randomness for ids and jitter.
    pub rng: Arc<dyn Rng>,
    /// Where to die; [`NoFault`] outside tests.
    pub fault: Arc<dyn Fault>,
}

impl Parts {
    /// Makes the parts of an engine that dies nowhere.
    #[must_use]
    pub fn new(
        state: Arc<dyn State>,
        feed: Box<dyn Feed>,
        admit: Arc<dyn Admit>,
        setup: Setup,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self { state, feed, admit, setup, clock, rng, fault: Arc::new(NoFault) }
    }
}

/// The alert path of one tenant. Dropped, it stops at once, as in a crash.
pub struct Engine {
    shared: Arc<Shared>,
    tasks: Mutex<JoinSet<()>>,
}

/// What the tasks share.
struct Shared {
    tenant: Tenant,
    state: Arc<dyn State>,
    admit: Arc<dyn Admit>,
    rng: Arc<dyn Rng>,
    fault: Arc<dyn Fault>,
    time: Arc<dyn Clock>,
    incidents: Mutex<Incidents>,
    setup: Mutex<Setup>,
    /// Marks of the recipients that have what others put off, until the record of the attempt is folded.
    had: Mutex<BTreeMap<IntentId, BTreeSet<String>>>,
    posts: Mutex<BTreeMap<String, Arc<Post>>>,
    new_posts: mpsc::Sender<String>,
    counters: Tallies,
    /// How often the setup was replaced.
    changed: watch::Sender<u64>,
    folded: watch::Sender<Option<Position>>,
    stop: watch::Sender<bool>,
    /// Whether all outcomes of attempts are recorded, after a stop.
    ended: watch::Sender<bool>,
    failed: watch::Sender<Option<Arc<Error>>>,
    /// How often a full disk kept the control state from being written.
    full: watch::Sender<u64>,
}

/// How a channel's worker is told that there is work, or that work is recorded.
#[derive(Default)]
struct Post {
    wake: Notify,
    recorded: Mutex<Vec<IntentId>>,
}

#[derive(Default)]
struct Tallies {
    delivered: AtomicU64,
    retried: AtomicU64,
    failed: AtomicU64,
    decided: AtomicU64,
    folded: AtomicU64,
    /// Notifications in the outbox, by channel.
    waiting: Mutex<BTreeMap<String, i64>>,
}

/// Locks; a panic elsewhere cannot have left anything half done, because folds do not panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Stops here for ever when a test asks for it.
    async fn pass(&self, point: Point) {
        if self.fault.dies_at(point) {
            std::future::pending::<()>().await;
        }
    }

    fn fail(&self, error: Error) {
        crate::events::failed(&self.tenant, &error);
        self.failed.send_if_modified(|failed| {
            let first = failed.is_none();
            failed.get_or_insert_with(|| Arc::new(error));
            first
        });
        self.stop.send_replace(true);
        self.ended.send_replace(true);
    }

    fn setup(&self) -> Setup {
        lock(&self.setup).clone()
    }

    fn channel(&self, name: &str) -> Option<Arc<dyn Channel>> {
        lock(&self.setup).channels.get(name).cloned()
    }

    /// Returns the post of a channel, and has a worker started for a new one.
    fn post(&self, channel: &str) -> Arc<Post> {
        let mut posts = lock(&self.posts);
        if let Some(post) = posts.get(channel) {
            return Arc::clone(post);
        }
        let post = Arc::new(Post::default());
        // With the queue full the post stays unknown, and is offered again with the next record for it. Names that are
        // not declared, from before a reload, get no worker beyond the bound; their notifications wait in the outbox.
        let room = posts.len() < CHANNELS_MAX || self.channel(channel).is_some();
        if room && self.new_posts.try_send(channel.to_owned()).is_ok() {
            posts.insert(channel.to_owned(), Arc::clone(&post));
        }
        post
    }

    /// Runs `f` on incidents with what decisions depend on.
    fn with_incidents<T>(&self, f: impl FnOnce(&mut Incidents, Timestamp, &View<'_>) -> T) -> T {
        let now = self.time.now();
        let in_maintenance = Arc::clone(&lock(&self.setup).in_maintenance);
        let full = lock(&self.counters.waiting).clone();
        let is_full = move |channel: &str| full.get(channel).is_some_and(|waiting| *waiting >= OUTBOX_FULL);
        let view = View { in_maintenance: &*in_maintenance, rng: &*self.rng, is_full: &is_full };
        f(&mut lock(&self.incidents), now, &view)
    }
}

/// Notifications that may wait for a channel before no more are decided for it.
const OUTBOX_FULL: i64 = model::limits::OUTBOX_ROWS_MAX as i64;
/// Most channels that workers run for.
const CHANNELS_MAX: usize = 1_024;

impl Engine {
    /// Starts the tasks on what the control state kept. The feed must begin just after the cursor of
    /// [`State::load`]; what it has to catch up with is folded by the tasks, not here.
    ///
    /// # Errors
    /// When the control state cannot be read.
    pub async fn start(parts: Parts) -> Result<Self, Error> {
        let tenant = parts.feed.tenant().clone();
        let snapshot = parts.state.load(&tenant).await?;
        let waiting = parts.state.depths(&tenant).await?;
        let cursor = snapshot.cursor;
        let incidents =
            Incidents::restore(tenant.clone(), Arc::clone(&parts.setup.config), parts.setup.checks.clone(), snapshot);
        let (new_posts, posts) = mpsc::channel(CHANNELS_MAX);
        let (outcomes, recorded) = mpsc::channel::<Delivery>(OUTCOMES_MAX);
        let time = SteadyClock::new(parts.clock);
        cursor.into_iter().for_each(|(_, at)| time.at_least(at));
        let shared = Arc::new(Shared {
            tenant,
            state: parts.state,
            admit: parts.admit,
            rng: parts.rng,
            fault: parts.fault,
            time: Arc::new(time),
            incidents: Mutex::new(incidents),
            setup: Mutex::new(parts.setup),
            had: Mutex::default(),
            posts: Mutex::default(),
            new_posts,
            counters: Tallies::default(),
            changed: watch::Sender::new(0),
            folded: watch::Sender::new(cursor.map(|(position, _)| position)),
            stop: watch::Sender::new(false),
            ended: watch::Sender::new(false),
            failed: watch::Sender::new(None),
            full: watch::Sender::new(0),
        });
        for (channel, depth) in waiting {
            lock(&shared.counters.waiting).insert(channel.clone(), i64::try_from(depth.waiting).unwrap_or(i64::MAX));
            shared.post(&channel).wake.notify_one();
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(drive::run(Arc::clone(&shared), parts.feed));
        tasks.spawn(dispatch::run(Arc::clone(&shared), posts, outcomes));
        tasks.spawn(dispatch::record(Arc::clone(&shared), recorded));
        let started = shared.time.now();
        tasks.spawn(self_test::run(Arc::clone(&shared), started));
        Ok(Self { shared, tasks: Mutex::new(tasks) })
    }

    /// Returns whose alert path it is.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        &self.shared.tenant
    }

    /// Returns the names of the channels in force, ascending.
    #[must_use]
    pub fn channels(&self) -> Vec<String> {
        lock(&self.shared.setup).channels.keys().cloned().collect()
    }

    /// Puts another configuration in force, at once and as a whole.
    pub fn reload(&self, setup: Setup) {
        {
            let mut incidents = lock(&self.shared.incidents);
            incidents.set_config(Arc::clone(&setup.config));
            incidents.set_checks(setup.checks.clone());
        }
        *lock(&self.shared.setup) = setup;
        self.shared.changed.send_modify(|times| *times += 1);
        for post in lock(&self.shared.posts).values() {
            post.wake.notify_one();
        }
    }

    /// Stops gracefully: attempts under way end and are recorded, as far as that takes no longer than ten seconds.
    /// What is still to be told stays in the outbox.
    pub async fn stop(&self) {
        self.shared.stop.send_replace(true);
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        let ended = tokio::time::timeout(STOP_GRACE, async { while tasks.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            crate::events::stop_cut_short(&self.shared.tenant);
        }
    }

    /// Waits until the engine cannot go on, and says why. A graceful stop never ends this.
    pub async fn failed(&self) -> Arc<Error> {
        let mut failed = self.shared.failed.subscribe();
        loop {
            if let Some(error) = failed.borrow_and_update().clone() {
                return error;
            }
            if failed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until a full disk keeps what is to be told from being written. It is tried again and again: whoever can
    /// make room should.
    pub async fn disk_full(&self) {
        let mut full = self.shared.full.subscribe();
        if full.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Tells every channel something once, without a record: the last words when the ledger or the disk has failed.
    /// Returns the channels that took it. Takes five seconds at most.
    pub async fn last_notice(&self, text: &str) -> BTreeSet<String> {
        let channels = self.shared.setup().channels;
        let now = self.shared.time.now();
        let mut attempts = JoinSet::new();
        for (name, channel) in channels {
            let notice = command::plain(&self.shared, &name, "", crate::Reason::Notice, text, now);
            attempts.spawn(async move {
                let sent = tokio::time::timeout(LAST_NOTICE_TIMEOUT, channel.send(&notice)).await;
                matches!(sent, Ok(Ok(()))).then_some(name)
            });
        }
        let mut took = BTreeSet::new();
        while let Some(attempt) = attempts.join_next().await {
            took.extend(attempt.ok().flatten());
        }
        took
    }

    /// Returns how much was done since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.shared.counters;
        Counters {
            records_folded: of(&counters.folded),
            signals_decided: of(&counters.decided),
            attempts_delivered: of(&counters.delivered),
            attempts_retried: of(&counters.retried),
            attempts_failed: of(&counters.failed),
            alerts_dropped: lock(&self.shared.incidents).dropped_in_all(),
        }
    }
}
