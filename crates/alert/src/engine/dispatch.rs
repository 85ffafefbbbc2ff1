//! From the outbox to channels: a worker per channel, so that one that is dead delays no other.
//!
//! A notification leaves the outbox when the record of its outcome is folded, not before. Until then its id is *busy*
//! here, in memory only: whoever starts again after a crash knows of no busy ones and may tell twice, never not at all.

use std::collections::{BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use model::{Delivery, IntentId, Outcome, RefusalKind, Rng, Signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::drive::{admit_or_split, until};
use super::{Post, Shared, lock, self_test};
use crate::channel::{Channel, SendError};
use crate::error::Error;
use crate::events;
use crate::fault::Point;
use crate::incidents::later;
use crate::state::Pending;

/// Notifications taken from the outbox at once.
const TAKE_MAX: usize = 512;
/// Notifications of one channel that are under way or not yet recorded.
const BUSY_MAX: usize = 4_096;
/// First wait after a failure; it doubles.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest wait after a failure of one notification.
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// From how many failures in a row on a channel rests, and is then tried with one notification.
const REST_FROM: u32 = 4;
/// Longest rest of a channel that fails.
const REST_MAX: Duration = Duration::from_secs(60);
/// Longest rest that a channel may ask for; its notifications wait as long as it asked.
const ASKED_REST_MAX: Duration = Duration::from_secs(3_600);
/// Longest attempt, whatever the channel's own time-out.
const ATTEMPT_MAX: Duration = Duration::from_secs(120);
/// Attempts after which recipients are given up that put off what others have: some 75 minutes, longer than servers
/// that put off strangers (grey-listing) let them wait.
const PARTIAL_ATTEMPTS_MAX: u32 = 24;
/// How often what is given up on a channel is said as an alert.
const GIVEN_UP_EVERY: Duration = Duration::from_secs(600);
/// How long to wait when the ledger or the control state asks to come back.
const COME_BACK: Duration = Duration::from_millis(200);
/// Longest time without a look at the outbox.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Starts workers as channels are named, and ends when they have.
pub(super) async fn run(shared: Arc<Shared>, mut posts: mpsc::Receiver<String>, outcomes: mpsc::Sender<Delivery>) {
    let mut stop = shared.stop.subscribe();
    let mut workers = JoinSet::new();
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            channel = posts.recv() => {
                let Some(channel) = channel else { break };
                let post = shared.post(&channel);
                let worker = Worker::new(Arc::clone(&shared), channel, post, outcomes.clone());
                workers.spawn(worker.run());
            }
        }
    }
    while workers.join_next().await.is_some() {}
    // Dropping `outcomes` lets the recorder end, and that lets the drive end once it has folded what was recorded.
}

/// Admits outcomes in batches.
pub(super) async fn record(shared: Arc<Shared>, mut outcomes: mpsc::Receiver<Delivery>) {
    let mut batch = Vec::new();
    while outcomes.recv_many(&mut batch, super::OUTCOMES_MAX).await > 0 {
        shared.pass(Point::Collected).await;
        let signals: Vec<Signal> =
            batch.drain(..).map(|delivery| Signal::ours(shared.tenant.clone(), delivery)).collect();
        loop {
            match admit_or_split(&shared, signals.clone()).await {
                Ok(_) => break,
                Err(source) if source.kind == RefusalKind::Retry => {
                    events::come_back(&shared.tenant, &Error::Refused { doing: "record outcomes", source });
                    tokio::time::sleep(COME_BACK).await;
                }
                Err(source) => return shared.fail(Error::Refused { doing: "record outcomes", source }),
            }
        }
        shared.pass(Point::Recorded).await;
    }
    shared.ended.send_replace(true);
}

struct Worker {
    shared: Arc<Shared>,
    name: String,
    post: Arc<Post>,
    outcomes: mpsc::Sender<Delivery>,
    stop: watch::Receiver<bool>,
    busy: BTreeSet<IntentId>,
    ready: VecDeque<Pending>,
    under_way: JoinSet<(Pending, Result<(), SendError>)>,
    failures: u32,
    rests_until: Option<Timestamp>,
    /// When an alert was last made of what was given up.
    said_given_up: Option<Timestamp>,
    /// Whether the outbox may hold what was not taken yet.
    look: bool,
    /// When the next attempt is due of what was not to be taken yet.
    next: Option<Timestamp>,
}

impl Worker {
    fn new(shared: Arc<Shared>, name: String, post: Arc<Post>, outcomes: mpsc::Sender<Delivery>) -> Self {
        let stop = shared.stop.subscribe();
        Self {
            said_given_up: None,
            shared,
            name,
            post,
            outcomes,
            stop,
            busy: BTreeSet::new(),
            ready: VecDeque::new(),
            under_way: JoinSet::new(),
            failures: 0,
            rests_until: None,
            look: true,
            next: None,
        }
    }

    async fn run(mut self) {
        while !*self.stop.borrow() {
            if let Err(error) = self.turn().await {
                if error.kind() != RefusalKind::Retry {
                    return self.shared.fail(error);
                }
                events::come_back(&self.shared.tenant, &error);
                tokio::time::sleep(COME_BACK).await;
            }
        }
        // Attempts under way end on their own; what was only taken stays in the outbox.
        while let Some(ended) = self.under_way.join_next().await {
            self.ended(ended.ok()).await;
        }
    }

    /// Starts what may start, then waits for something to happen.
    async fn turn(&mut self) -> Result<(), Error> {
        for recorded in std::mem::take(&mut *lock(&self.post.recorded)) {
            self.busy.remove(&recorded);
        }
        let now = self.shared.time.now();
        let rest = self.rests_until.filter(|until| *until > now);
        let mut full = false;
        if rest.is_none() {
            if self.look && self.ready.is_empty() && self.busy.len() < BUSY_MAX {
                self.take(now).await?;
            }
            full = self.start(now).await;
        }
        let wait = match rest {
            Some(until_then) => until(now, until_then),
            None if full || !self.ready.is_empty() => IDLE_MAX,
            None => self.next.map_or(IDLE_MAX, |next| until(now, next).max(Duration::from_millis(1))),
        };
        let post = Arc::clone(&self.post);
        let ended = tokio::select! {
            _ = self.stop.wait_for(|stop| *stop) => return Ok(()),
            () = post.wake.notified() => {
                self.look = true;
                return Ok(());
            }
            Some(ended) = self.under_way.join_next() => ended,
            () = tokio::time::sleep(wait.min(IDLE_MAX)) => {
                self.look = true;
                return Ok(());
            }
        };
        self.ended(ended.ok()).await;
        while let Some(ended) = self.under_way.try_join_next() {
            self.ended(ended.ok()).await;
        }
        Ok(())
    }

    /// Takes from the outbox what is due, and learns when more will be.
    async fn take(&mut self, now: Timestamp) -> Result<(), Error> {
        let (state, tenant) = (&self.shared.state, &self.shared.tenant);
        let taken = state.due(tenant, &self.name, now, &self.busy, TAKE_MAX).await?;
        self.look = taken.len() == TAKE_MAX;
        self.busy.extend(taken.iter().map(|pending| pending.id.clone()));
        self.ready.extend(taken);
        if !self.look {
            self.next = self.shared.state.next_due(&self.shared.tenant, &self.name, &self.busy).await?;
        }
        Ok(())
    }

    /// Starts attempts as far as the channel allows, and tells whether it is at its limit.
    async fn start(&mut self, now: Timestamp) -> bool {
        let channel = self.shared.channel(&self.name);
        let allowed = match &channel {
            // A channel that failed lately is tried with one.
            Some(_) if self.failures >= REST_FROM => 1,
            Some(channel) => channel.concurrency().max(1),
            None => 1,
        };
        while self.under_way.len() < allowed {
            let Some(mut pending) = self.ready.pop_front() else { return false };
            self.shared.pass(Point::Taken).await;
            if pending.attempts > 0 && pending.give_up_at <= now {
                self.give_up(pending, now).await;
                continue;
            }
            let (shared, channel) = (Arc::clone(&self.shared), channel.clone());
            self.under_way.spawn(async move {
                let result = attempt(channel, &shared, &mut pending).await;
                shared.pass(Point::Sent).await;
                (pending, result)
            });
        }
        true
    }

    async fn give_up(&mut self, pending: Pending, now: Timestamp) {
        let reason = format!("given up after {} attempts: {}", pending.attempts, pending.reason);
        self.outcome(&pending, Outcome::Failed, now, reason, None).await;
    }

    /// Says how an attempt ended, and draws what follows for the next ones.
    async fn ended(&mut self, ended: Option<(Pending, Result<(), SendError>)>) {
        // A task of ours neither panics nor is aborted while the worker lives.
        let Some((pending, result)) = ended else { return };
        let now = self.shared.time.now();
        let attempt = pending.attempts.saturating_add(1);
        match result {
            Ok(()) => {
                self.failures = 0;
                self.rests_until = None;
                self.outcome(&pending, Outcome::Delivered, now, String::new(), None).await;
            }
            Err(error) if error.partial => {
                // The endpoint works, and somebody was told.
                self.failures = 0;
                self.rests_until = None;
                if now >= pending.give_up_at || attempt >= PARTIAL_ATTEMPTS_MAX {
                    let reason = format!("given up, some recipients have it: {}", error.reason);
                    self.outcome(&pending, Outcome::Failed, now, reason, None).await;
                } else {
                    // Kept with the record of this attempt, and before it can be made again.
                    lock(&self.shared.had).insert(pending.id.clone(), error.had);
                    let next = later(now, backoff(attempt, BACKOFF_MAX, &*self.shared.rng)).min(pending.give_up_at);
                    self.outcome(&pending, Outcome::Partial, now, error.reason, Some(next)).await;
                }
            }
            Err(error) if error.permanent => {
                // The endpoint answered: it is alive.
                self.failures = 0;
                self.outcome(&pending, Outcome::Failed, now, error.reason, None).await;
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let rng = &*self.shared.rng;
                let asked = error.retry_after.unwrap_or_default();
                if self.failures >= REST_FROM || !asked.is_zero() {
                    let rest = backoff(self.failures.saturating_sub(REST_FROM) + 1, REST_MAX, rng);
                    let rest = if self.failures >= REST_FROM { rest } else { Duration::ZERO };
                    self.rests_until = Some(later(now, rest.max(asked.min(ASKED_REST_MAX))));
                }
                let next = later(now, backoff(attempt, BACKOFF_MAX, rng).max(asked));
                if now >= pending.give_up_at {
                    let reason = format!("given up: {}", error.reason);
                    self.outcome(&pending, Outcome::Failed, now, reason, None).await;
                } else {
                    let next = next.min(pending.give_up_at);
                    self.outcome(&pending, Outcome::Retry, now, error.reason, Some(next)).await;
                }
            }
        }
    }

    async fn outcome(
        &mut self,
        pending: &Pending,
        outcome: Outcome,
        at: Timestamp,
        reason: String,
        next_at: Option<Timestamp>,
    ) {
        let counters = &self.shared.counters;
        let counter = match outcome {
            Outcome::Delivered => &counters.delivered,
            Outcome::Retry | Outcome::Partial => &counters.retried,
            Outcome::Failed => &counters.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if outcome == Outcome::Failed {
            events::given_up(&self.shared.tenant, &self.name, &pending.id, &reason);
            if self.said_given_up.is_none_or(|said| later(said, GIVEN_UP_EVERY) <= at) {
                self.said_given_up = Some(at);
                self_test::tell_given_up(&self.shared, &self.name, &reason).await;
            }
        }
        let delivery = Delivery {
            intent: pending.id.clone(),
            attempt: pending.attempts.saturating_add(1),
            outcome,
            at,
            channel: self.name.clone(),
            reason: reason.chars().take(model::limits::REASON_BYTES_MAX / 4).collect(),
            next_at,
        };
        // The recorder ends only when all workers have, or when nothing can be recorded any more.
        let _ended = self.outcomes.send(delivery).await;
    }
}

async fn attempt(channel: Option<Arc<dyn Channel>>, shared: &Shared, pending: &mut Pending) -> Result<(), SendError> {
    let Some(channel) = channel else { return Err(SendError::later("there is no such channel at present")) };
    let Some(mut notification) = pending.notification.take() else {
        return Err(SendError::never("the message cannot be read"));
    };
    // What stands in the entry itself is exact, whatever became of the payload's texts.
    notification.id = pending.id.clone();
    notification.tenant = shared.tenant.clone();
    notification.receiver.clone_from(&pending.receiver);
    notification.channel.clone_from(&pending.channel);
    notification.attempt = pending.attempts.saturating_add(1);
    notification.had = std::mem::take(&mut pending.had);
    if let (Some(summary), Some(incident)) = (&mut notification.incident, &pending.incident) {
        summary.id.clone_from(incident);
    }
    let sending = AssertUnwindSafe(channel.send(&notification)).catch_unwind();
    match tokio::time::timeout(ATTEMPT_MAX, sending).await {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => Err(SendError::later("the channel failed inside Dihya")),
        Err(_elapsed) => Err(SendError::later("the attempt took too long")),
    }
}

/// Returns how long to wait after the `n`th failure: doubling, with between half of it and all of it at random, so
/// that what failed together does not come back together.
fn backoff(n: u32, most: Duration, rng: &dyn Rng) -> Duration {
    let full = BACKOFF_MIN.saturating_mul(1 << n.saturating_sub(1).min(16)).min(most);
    let mut random = [0; 4];
    rng.fill(&mut random);
    let share = f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX);
    full.mul_f64(0.5 + share / 2.0)
}
