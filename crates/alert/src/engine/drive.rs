//! Reads, folds, decides, admits: one loop, in this order, so that a decision never rests on half of the records.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use model::limits::APPEND_RECORDS_MAX;
use model::{Feed, Level, Outcome, Position, RefusalKind, Signal};

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

pub(super) async fn run(shared: Arc<Shared>, mut feed: Box<dyn Feed>) {
    // After a stop the loop goes on until the outcomes of all attempts are recorded, so that they are folded too.
    let mut ended = shared.ended.subscribe();
    let mut changed = shared.changed.subscribe();
    let mut warned = std::collections::BTreeSet::new();
    let mut awaited: Option<Position> = None;
    let mut waited = false;
    loop {
        match turn(&shared, feed.as_mut(), &mut awaited).await {
            Ok(true) => waited = false,
            Ok(false) if *ended.borrow() => return,
            Ok(false) => {
                if std::mem::take(&mut waited) {
                    // There was more to read, and there is not: a feed that has stopped must not make us spin.
                    tokio::time::sleep(BREATH).await;
                }
                let wait = idle(&shared, &mut warned);
                tokio::select! {
                    _ = ended.wait_for(|ended| *ended) => {}
                    () = feed.wait() => waited = true,
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

/// Does one step, and tells whether there may be another at once.
async fn turn(shared: &Shared, feed: &mut dyn Feed, awaited: &mut Option<Position>) -> Result<bool, Error> {
    let refused = |doing| move |source| Error::Refused { doing, source };
    let records = feed.read(FOLD_MAX).await.map_err(refused("read the feed"))?;
    if !records.is_empty() {
        shared.pass(Point::Read).await;
        let changes = {
            let mut incidents = lock(&shared.incidents);
            records.iter().for_each(|recorded| incidents.fold(recorded));
            incidents.take_changes()
        };
        shared.counters.folded.fetch_add(records.len() as u64, Ordering::Relaxed);
        shared.pass(Point::Folded).await;
        keep(shared, &changes).await?;
        shared.pass(Point::Applied).await;
        announce(shared, &changes);
        return Ok(true);
    }
    if awaited.is_some_and(|position| *shared.folded.borrow() < Some(position)) || *shared.stop.borrow() {
        return Ok(false);
    }
    let mut decided = shared.with_incidents(|incidents, now, view| incidents.decide(now, view));
    if decided.is_empty() {
        return Ok(false);
    }
    shared.pass(Point::Decided).await;
    while !decided.is_empty() {
        let rest = decided.split_off(decided.len().min(APPEND_RECORDS_MAX));
        admit(shared, decided, awaited).await?;
        decided = rest;
    }
    shared.pass(Point::Admitted).await;
    Ok(true)
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

/// Tells workers and those who wait for a position.
fn announce(shared: &Shared, changes: &Changes) {
    let ends = changes.deliveries.iter().filter(|(_, delivery)| delivery.outcome != Outcome::Retry).count();
    let more = i64::try_from(changes.intents.len()).unwrap_or(i64::MAX) - i64::try_from(ends).unwrap_or(i64::MAX);
    let waiting = shared.counters.waiting.fetch_add(more, Ordering::Relaxed) + more;
    if waiting >= OUTBOX_FULL {
        events::outbox_full(&shared.tenant, waiting);
    }
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
