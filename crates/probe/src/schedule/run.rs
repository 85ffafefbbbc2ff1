//! One run of one check: look, judge, track, hand over.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use model::limits::REASON_BYTES_MAX;
use model::{CheckChange, CheckResult, Clock, State, Timestamp, Timings};
use tokio::time::{Instant, timeout_at};

use super::{Inner, Slot};
use crate::board::Standing;
use crate::condition::{Judged, cut};
use crate::config::Check;
use crate::fact::Fact;
use crate::kind::{Ctx, Fault, Means, Observation};
use crate::track::Tracker;

/// How long after its deadline a probe is given to say so itself, with the phases it completed.
const GRACE: Duration = Duration::from_millis(250);
/// A difference between civil and monotonic time that grows by more than this is a jump.
const JUMP_MIN_MS: i64 = 5_000;
/// How long after a jump results are not believed.
const JUMP_SHADOW: Duration = Duration::from_secs(30);

/// What the driver needs to know after a run.
pub(super) struct Done {
    pub(super) slot: Arc<Slot>,
    /// Too few results confirm another state yet: look again soon.
    pub(super) pending: bool,
    /// The state that people are told changed.
    pub(super) changed: bool,
    /// How long the run took.
    pub(super) took: Duration,
}

/// Runs a check in its slot.
pub(super) async fn run(inner: Arc<Inner>, slot: Arc<Slot>, due: Instant) -> Done {
    let now = Instant::now();
    inner.counters.lag(now.duration_since(due));
    let started = inner.means.clock.monotonic();
    let mut running = Running { slot: &slot, has_ended: false };
    let mut seen = look(&slot.check, &inner.means, now).await;
    if let Some(by_ms) = inner.watch.jumped(&*inner.means.clock, started) {
        let reason = format!(
            "our clock jumped by {:+.1} s",
            Duration::from_millis(by_ms.unsigned_abs()).as_secs_f64() * by_ms.signum() as f64
        );
        seen = Observation::unknown(Fault::Clock, reason).timed(*seen.timings);
    }
    let (pending, changed) = finish(&inner, &slot, seen);
    running.has_ended = true;
    drop(running);
    Done { slot, pending, changed, took: now.elapsed() }
}

/// Frees the slot of a run that ends before its end, by a panic: one that stuck would never be looked at again.
struct Running<'a> {
    slot: &'a Slot,
    has_ended: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            let mut state = self.slot.state();
            state.running = false;
            state.waiters.clear();
        }
    }
}

/// Looks once, within the check's time-out, and measures the whole.
pub(super) async fn look(check: &Check, means: &Arc<Means>, now: Instant) -> Observation {
    let (_permits, now) = match check.probe.begin(means) {
        Some(waiting) => match timeout_at(now + check.timeout, waiting).await {
            Ok(permits) => (permits, Instant::now()),
            Err(_) => return Observation::unknown(Fault::Resources, "too many checks of its kind are running"),
        },
        None => (Vec::new(), now),
    };
    let ctx = Ctx {
        means: Arc::clone(means),
        id: Arc::clone(&check.id),
        tenant: check.tenant.clone(),
        deadline: now + check.timeout,
        reads: Arc::clone(check.conditions.reads()),
    };
    let started = means.clock.monotonic();
    let looking = AssertUnwindSafe(check.probe.run(&ctx)).catch_unwind();
    let mut seen = match timeout_at(ctx.deadline + GRACE, looking).await {
        Ok(Ok(seen)) => seen,
        Ok(Err(_)) => {
            tracing::error!(check = %check.id, kind = check.kind.name, "probe panicked");
            Observation::unknown(Fault::Internal, "the probe failed by a fault of ours")
        }
        Err(_) => Observation::down("timed out"),
    };
    let total = means.clock.monotonic().saturating_sub(started);
    seen.timings.total = Some(total.as_secs_f64() * 1e3);
    if ctx.reads("timing") {
        let phases = seen.timings.phases().map(|(name, ms)| (name, Fact::Duration(Duration::from_secs_f64(ms / 1e3))));
        let phases = Fact::map(phases);
        seen.facts.set("timing", phases);
    }
    seen
}

/// Puts a result together. `told` is the state after thresholds.
pub(super) fn result(
    check: &Check,
    judged: Judged,
    seen: Observation,
    told: (State, Timestamp),
    at: Timestamp,
) -> CheckResult {
    CheckResult {
        id: check.id.to_string(),
        name: check.name.clone(),
        kind: check.kind.name.to_owned(),
        state: told.0,
        observed: judged.state,
        reason: cut(&judged.reason, REASON_BYTES_MAX),
        since: told.1,
        checked_at: at,
        conditions: judged.outcomes,
        timings_ms: rounded(*seen.timings),
        figures: seen.figures,
        maintenance: false,
    }
}

/// Microseconds are what the clock is good for.
fn rounded(mut timings: Timings) -> Timings {
    for phase in [
        &mut timings.resolve,
        &mut timings.connect,
        &mut timings.tls,
        &mut timings.first_byte,
        &mut timings.transfer,
        &mut timings.total,
    ] {
        *phase = phase.map(|ms| (ms * 1e3).round() / 1e3);
    }
    timings
}

/// Judges what was seen. A condition that makes us panic is our fault, and stops nothing but itself.
pub(super) fn judge(check: &Check, seen: &Observation) -> Judged {
    std::panic::catch_unwind(AssertUnwindSafe(|| check.conditions.judge(seen))).unwrap_or_else(|_| {
        tracing::error!(check = %check.id, kind = check.kind.name, "judging panicked");
        let reason = "a condition failed by a fault of ours".to_owned();
        Judged { state: State::Unknown, reason, outcomes: Vec::new() }
    })
}

fn finish(inner: &Inner, slot: &Slot, seen: Observation) -> (bool, bool) {
    let check = &slot.check;
    let at = inner.means.clock.now();
    let judged = judge(check, &seen);
    if seen.is_early {
        return too_early(slot, judged, seen, at);
    }
    let maintenance = inner.plan().config.windows.covering(&check.id, at).is_some();
    let mut state = slot.state();
    let before = state.tracker;
    let after = before.observe(judged.state, at, check.thresholds);
    let mut result = result(check, judged, seen, (after.state, after.since), at);
    result.maintenance = maintenance;
    result.reason = cut(&explain(check, &after, &result), REASON_BYTES_MAX);
    let change = (after.state != before.state).then(|| CheckChange {
        id: result.id.clone(),
        kind: result.kind.clone(),
        from: before.state,
        to: after.state,
        reason: result.reason.clone(),
        at,
        flapping: after.flapping,
    });
    let gone = slot.is_gone();
    let taken = gone || inner.sink.take(check, &result, change.as_ref()).is_ok();
    if taken {
        state.told = Instant::now();
        state.tracker = after;
    } else {
        // Nobody knows of the change: go on from before, and find it again next time.
        inner.counters.refuse();
        (result.state, result.since) = (before.state, before.since);
    }
    state.running = false;
    let waiters = std::mem::take(&mut state.waiters);
    drop(state);
    for waiter in waiters {
        let _ = waiter.send(result.clone());
    }
    if !gone {
        inner.means.board.set(Arc::new(Standing { result, flapping: after.flapping }));
    }
    let changed = taken && change.is_some();
    (after.pending, changed)
}

/// Ends a run that came too early to tell: nobody hears of it but those who wait for it.
fn too_early(slot: &Slot, judged: Judged, seen: Observation, at: Timestamp) -> (bool, bool) {
    let mut state = slot.state();
    let result = result(&slot.check, judged, seen, (state.tracker.state, state.tracker.since), at);
    state.running = false;
    let waiters = std::mem::take(&mut state.waiters);
    drop(state);
    for waiter in waiters {
        let _ = waiter.send(result.clone());
    }
    (false, false)
}

/// Adds to the reason of a result what thresholds and damping make of it.
fn explain(check: &Check, after: &Tracker, result: &CheckResult) -> String {
    let mut reason = result.reason.clone();
    if after.pending {
        let needed = match result.observed.gravity() > result.state.gravity() || result.observed == State::Unknown {
            true => check.thresholds.failure,
            false => check.thresholds.success,
        };
        let told = format!("{} of {needed} results say {}", after.streak(), result.observed);
        reason = if reason.is_empty() { told } else { format!("{told}: {reason}") };
    }
    if after.flapping {
        let told = format!("flapping, {} changes of late", after.changes());
        reason = if reason.is_empty() { told } else { format!("{told}: {reason}") };
    }
    reason
}

/// Notices when civil time jumps against monotonic time.
pub(super) struct ClockWatch(Mutex<Watched>);

struct Watched {
    offset_ms: i64,
    jump: Option<(Duration, i64)>,
}

impl ClockWatch {
    pub(super) fn new(clock: &dyn Clock) -> Self {
        Self(Mutex::new(Watched { offset_ms: offset_ms(clock), jump: None }))
    }

    /// Returns by how many milliseconds the clock jumped, if it did since shortly before `since` (monotonic).
    pub(super) fn jumped(&self, clock: &dyn Clock, since: Duration) -> Option<i64> {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let offset_ms = offset_ms(clock);
        let by = offset_ms.saturating_sub(watched.offset_ms);
        if by.abs() >= JUMP_MIN_MS {
            tracing::warn!(by_ms = by, "clock jumped");
            watched.jump = Some((clock.monotonic(), by));
        }
        // A slow drift is followed: only what happens at once is a jump.
        watched.offset_ms = offset_ms;
        watched.jump.filter(|(at, _)| since <= *at + JUMP_SHADOW).map(|(_, by)| by)
    }
}

fn offset_ms(clock: &dyn Clock) -> i64 {
    let monotonic = i64::try_from(clock.monotonic().as_millis()).unwrap_or(i64::MAX);
    clock.now().as_millisecond().saturating_sub(monotonic)
}
