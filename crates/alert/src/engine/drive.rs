//! Reads, folds, decides, admits: one loop, in this order, so that a decision never rests on half of the records.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use model::limits::{APPEND_RECORDS_MAX, OVER_KEPT};
use model::{Feed, Level, Position, Recorded, RefusalKind, Signal};

use super::{OUTBOX_FULL, Shared, lock};
use crate::error::Error;
use crate::events;
use crate::fault::Point;
use crate::incidents::{Changes, later};
use crate::state::StateError;

/// Records folded in one transaction.
const FOLD_MAX: usize = 4_096;
/// Longest time without a look at the clock.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// How long to wait when the ledger or the control state asks to come back.
const COME_BACK: Duration = Duration::from_millis(200);
/// How long to rest when the feed says that there is more and there is not.
const BREATH: Duration = Duration::from_millis(20);
/// How long before its end a silence is spoken of in the log.
const SILENCE_WARNING: Duration = Duration::from_secs(15 * 60);
/// Longest time without a decision while records keep coming faster than they are folded.
const DECIDE_EVERY: Duration = Duration::from_millis(50);
/// How far and how long the position that is kept may lag behind the one that is folded, where nothing else changed.
const CURSOR_LAG_MAX: u64 = 65_536;
const CURSOR_KEPT_EVERY: Duration = Duration::from_secs(5);

/// How often a step is made to forget what has been over for long, and how often while there is more.
const FORGET_EVERY: Duration = Duration::from_secs(60);
const FORGET_MORE_EVERY: Duration = Duration::from_millis(500);

/// Where the loop stands.
struct Drive {
    shared: Arc<Shared>,
    feed: Box<dyn Feed>,
    /// The position of the last decision admitted: nothing is decided before it is folded.
    awaited: Option<Position>,
    /// Whether all records of earlier lives are folded: the end of the feed was seen, or a record of this life. Before
    /// that, what was decided lies ahead, and would be decided twice.
    caught_up: bool,
    started: Timestamp,
    decided_at: Duration,
    /// A position that is folded and not kept, because nothing but it changed.
    unkept: Changes,
    unkept_records: u64,
    kept_at: Duration,
    /// When, by the monotonic clock, to forget more of what has been over for long.
    forget_at: Duration,
}

pub(super) async fn run(shared: Arc<Shared>, feed: Box<dyn Feed>) {
    // After a stop the loop goes on until the outcomes of all attempts are recorded, so that they are folded too.
    let mut ended = shared.ended.subscribe();
    let mut changed = shared.changed.subscribe();
    let mut warned = std::collections::BTreeSet::new();
    let mut waited = false;
    let mut drive = Drive::new(Arc::clone(&shared), feed);
    loop {
        // Asked before the turn reads: an outcome recorded while it finds nothing more needs another turn.
        let recorded = *ended.borrow();
        match drive.turn().await {
            Ok(true) => waited = false,
            Ok(false) if recorded => {
                if let Err(error) = drive.keep_cursor().await {
                    events::come_back(&shared.tenant, &error);
                }
                return;
            }
            Ok(false) => {
                if std::mem::take(&mut waited) {
                    // There was more to read, and there is not: a feed that has stopped must not make us spin.
                    tokio::time::sleep(BREATH).await;
                }
                let wait = idle(&shared, &mut warned);
                tokio::select! {
                    _ = ended.wait_for(|ended| *ended) => {}
                    () = drive.feed.wait() => waited = true,
                    _ = changed.changed() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
            Err(error) if error.kind() == RefusalKind::Retry => {
                events::come_back(&shared.tenant, &error);
                tokio::time::sleep(COME_BACK).await;
            }
            Err(error) => return shared.fail(error),
        }
    }
}

/// Tells how long nothing will be to do unless a record comes.
fn idle(shared: &Shared, warned: &mut std::collections::BTreeSet<String>) -> Duration {
    shared.with_incidents(|incidents, now, _| {
        incidents.warn_of_ending_silences(now, later(now, SILENCE_WARNING), warned);
        incidents.next_wake().map_or(IDLE_MAX, |wake| until(now, wake)).min(IDLE_MAX)
    })
}

pub(super) fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}

impl Drive {
    fn new(shared: Arc<Shared>, feed: Box<dyn Feed>) -> Self {
        let (now, started) = (shared.time.monotonic(), shared.time.now());
        Self {
            shared,
            feed,
            awaited: None,
            caught_up: false,
            started,
            decided_at: now,
            unkept: Changes::default(),
            unkept_records: 0,
            kept_at: now,
            forget_at: now,
        }
    }

    /// Does one step, and tells whether there may be another at once. Records that keep coming put no decision off: one
    /// is due once a read has found fewer than it may return, and every [`DECIDE_EVERY`].
    async fn turn(&mut self) -> Result<bool, Error> {
        let refused = |doing| move |source| Error::Refused { doing, source };
        let records = self.feed.read(FOLD_MAX).await.map_err(refused("read the feed"))?;
        let read = records.len();
        self.caught_up |= records.last().is_none_or(|last| last.admitted_at > self.started);
        if !records.is_empty() {
            self.fold(&records).await?;
        }
        let now = self.shared.time.monotonic();
        if self.unkept_records > 0 && now.saturating_sub(self.kept_at) >= CURSOR_KEPT_EVERY {
            self.keep_cursor().await?;
        }
        self.forget().await?;
        let more = read == FOLD_MAX && now.saturating_sub(self.decided_at) < DECIDE_EVERY;
        let half = self.awaited.is_some_and(|position| *self.shared.folded.borrow() < Some(position));
        if !self.caught_up || more || half || *self.shared.stop.borrow() {
            return Ok(read > 0);
        }
        self.decided_at = now;
        Ok(self.decide().await? || read > 0)
    }

    async fn fold(&mut self, records: &[Recorded]) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        shared.pass(Point::Read).await;
        let mut changes = {
            let mut incidents = lock(&shared.incidents);
            records.iter().for_each(|recorded| incidents.fold(recorded));
            incidents.take_changes()
        };
        for (_, delivery) in &changes.deliveries {
            let had = lock(&shared.had).remove(&delivery.intent);
            changes.had.extend(had.map(|had| (delivery.intent.clone(), had)));
        }
        shared.counters.folded.fetch_add(records.len() as u64, Ordering::Relaxed);
        shared.pass(Point::Folded).await;
        if changes.is_cursor_only() {
            // Most records are results of checks, which change nothing here: folded again after a crash they change
            // nothing again, so the position alone is not worth a sync each time.
            self.unkept.cursor = changes.cursor;
            self.unkept_records += records.len() as u64;
            if self.unkept_records >= CURSOR_LAG_MAX {
                self.keep_cursor().await?;
            }
        } else {
            keep(&shared, &changes).await?;
            self.kept();
        }
        shared.pass(Point::Applied).await;
        announce(&shared, &changes);
        Ok(())
    }

    /// Keeps the position that is folded, if it is not kept.
    async fn keep_cursor(&mut self) -> Result<(), Error> {
        if self.unkept_records > 0 {
            keep(&self.shared, &self.unkept).await?;
            self.kept();
        }
        Ok(())
    }

    /// Makes one step to forget what has been over for long by the time of the last record folded, if it is time for one:
    /// a step is short, so that no record and no attempt waits for it.
    async fn forget(&mut self) -> Result<(), Error> {
        let now = self.shared.time.monotonic();
        let cursor = lock(&self.shared.incidents).cursor();
        let Some((_, at)) = cursor.filter(|_| now >= self.forget_at) else { return Ok(()) };
        let before = at.checked_sub(OVER_KEPT).unwrap_or(Timestamp::MIN);
        let more = match self.shared.state.forget(&self.shared.tenant, before).await {
            Ok(more) => more,
            Err(error) if error.stop => return Err(error.into()),
            Err(error) => {
                events::come_back(&self.shared.tenant, &error.into());
                false
            }
        };
        self.forget_at = now + if more { FORGET_MORE_EVERY } else { FORGET_EVERY };
        Ok(())
    }

    fn kept(&mut self) {
        self.unkept_records = 0;
        self.kept_at = self.shared.time.monotonic();
    }

    /// Admits what follows from what is folded, and tells whether that was anything.
    async fn decide(&mut self) -> Result<bool, Error> {
        let shared = Arc::clone(&self.shared);
        let mut decided = shared.with_incidents(|incidents, now, view| incidents.decide(now, view));
        if decided.is_empty() {
            return Ok(false);
        }
        shared.pass(Point::Decided).await;
        while !decided.is_empty() {
            let rest = decided.split_off(decided.len().min(APPEND_RECORDS_MAX));
            admit(&shared, decided, &mut self.awaited).await?;
            decided = rest;
        }
        shared.pass(Point::Admitted).await;
        Ok(true)
    }
}

/// Writes what was folded, again and again while the database asks to come back: memory is ahead of it until then.
async fn keep(shared: &Shared, changes: &Changes) -> Result<(), Error> {
    loop {
        match shared.state.apply(&shared.tenant, changes).await {
            Ok(()) => return Ok(()),
            Err(error @ StateError { stop: false, full, .. }) => {
                if full {
                    shared.full.send_modify(|times| *times += 1);
                }
                events::come_back(&shared.tenant, &Error::from(error));
                tokio::time::sleep(COME_BACK).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Counts what waits for each channel.
fn count_waiting(shared: &Shared, changes: &Changes) {
    let ends = changes.deliveries.iter().filter(|(_, delivery)| delivery.outcome.is_end());
    let ends = ends.map(|(_, delivery)| (&delivery.channel, -1));
    let mut full = Vec::new();
    {
        let mut waiting = lock(&shared.counters.waiting);
        for (channel, more) in changes.intents.iter().map(|(_, intent)| (&intent.channel, 1)).chain(ends) {
            let count = waiting.entry(channel.clone()).or_default();
            *count += more;
            if *count == OUTBOX_FULL && more > 0 {
                full.push(channel.clone());
            }
        }
        waiting.retain(|_, count| *count > 0);
    }
    full.iter().for_each(|channel| events::outbox_full(&shared.tenant, channel, OUTBOX_FULL));
}

/// Tells workers and those who wait for a position.
fn announce(shared: &Shared, changes: &Changes) {
    count_waiting(shared, changes);
    let mut posts = std::collections::BTreeMap::new();
    for (_, delivery) in &changes.deliveries {
        let post = posts.entry(&delivery.channel).or_insert_with(|| shared.post(&delivery.channel));
        lock(&post.recorded).push(delivery.intent.clone());
    }
    for (_, intent) in &changes.intents {
        posts.entry(&intent.channel).or_insert_with(|| shared.post(&intent.channel));
    }
    posts.values().for_each(|post| post.wake.notify_one());
    shared.folded.send_replace(changes.cursor.map(|(position, _)| position));
}

async fn admit(shared: &Shared, signals: Vec<Signal>, awaited: &mut Option<Position>) -> Result<(), Error> {
    let count = signals.len() as u64;
    match admit_or_split(shared, signals).await {
        Ok(position) => {
            *awaited = position.or(*awaited);
            shared.counters.decided.fetch_add(count, Ordering::Relaxed);
            Ok(())
        }
        Err(source) => {
            lock(&shared.incidents).not_admitted();
            Err(Error::Refused { doing: "admit decisions", source })
        }
    }
}

/// Admits signals and returns the last position. A batch that is rejected is admitted one by one, so that one signal
/// that can never be admitted does not keep the others out; that one is lost, and said.
pub(super) async fn admit_or_split(shared: &Shared, signals: Vec<Signal>) -> Result<Option<Position>, model::Refusal> {
    let one_by_one = signals.len() > 1;
    match shared.admit.admit(signals.clone(), Level::Durable).await {
        Ok(receipts) => return Ok(receipts.last().map(|receipt| receipt.position)),
        Err(refusal) if refusal.kind != RefusalKind::Reject => return Err(refusal),
        Err(refusal) if !one_by_one => {
            events::rejected(&shared.tenant, &refusal);
            // Decided again at once, it would be rejected again at once.
            tokio::time::sleep(COME_BACK).await;
            return Ok(None);
        }
        Err(_) => {}
    }
    let mut last = None;
    for signal in signals {
        match shared.admit.admit(vec![signal], Level::Durable).await {
            Ok(receipts) => last = receipts.last().map(|receipt| receipt.position).or(last),
            Err(refusal) if refusal.kind == RefusalKind::Reject => events::rejected(&shared.tenant, &refusal),
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(last)
}
