//! How the scheduler itself is doing, and whether the process may open as many files as its checks can need.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Check;

/// Upper bounds of the lag histogram, in milliseconds; the last bucket has none.
const LAG_MS: [u64; 19] = [1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 1_000, 2_000, 5_000];
/// Descriptors for everything that is not a probe: ledger, state, listener and its connections, DNS.
const DESCRIPTORS_BESIDE: u64 = 1_024;

/// How the scheduler is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    /// Checks in force.
    pub checks: usize,
    /// Runs in flight.
    pub running: u64,
    /// Runs started.
    pub runs: u64,
    /// Moments skipped because the run before was still going, or because we were late by more than an interval.
    pub skipped: u64,
    /// Results that the queue behind did not take.
    pub refused: u64,
    /// Runs by how late they started: (upper bound in seconds, runs in this bucket), the last bound infinite.
    pub lag: Vec<(f64, u64)>,
    /// Sum of all lags in seconds.
    pub lag_sum: f64,
}

impl Stats {
    /// Returns the upper bound in seconds of the bucket that holds the quantile `q` of the lag; 0 without runs.
    #[must_use]
    pub fn lag_quantile(&self, q: f64) -> f64 {
        let total: u64 = self.lag.iter().map(|(_, count)| count).sum();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts"
        )]
        let rank = (total as f64 * q).ceil() as u64;
        let mut seen = 0;
        for (bound, count) in &self.lag {
            seen += count;
            if seen >= rank && total > 0 {
                return *bound;
            }
        }
        0.0
    }
}

#[derive(Default)]
pub(super) struct Counters {
    running: AtomicU64,
    runs: AtomicU64,
    skipped: AtomicU64,
    refused: AtomicU64,
    lag: [AtomicU64; LAG_MS.len() + 1],
    lag_us: AtomicU64,
}

impl Counters {
    pub(super) fn start(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.runs.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn skip(&self, moments: u64) {
        self.skipped.fetch_add(moments, Ordering::Relaxed);
    }

    pub(super) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn lag(&self, lag: Duration) {
        let bucket = LAG_MS.partition_point(|bound| Duration::from_millis(*bound) < lag);
        if let Some(count) = self.lag.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.lag_us.fetch_add(u64::try_from(lag.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn stats(&self, checks: usize) -> Stats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let bounds = LAG_MS.iter().map(|ms| Duration::from_millis(*ms).as_secs_f64()).chain([f64::INFINITY]);
        Stats {
            checks,
            running: load(&self.running),
            runs: load(&self.runs),
            skipped: load(&self.skipped),
            refused: load(&self.refused),
            lag: bounds.zip(self.lag.iter().map(load)).collect(),
            lag_sum: Duration::from_micros(load(&self.lag_us)).as_secs_f64(),
        }
    }
}

/// How many file descriptors the checks can need, and how many we may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// What all runs in flight at once, and the rest of the program, can need.
    pub needed: u64,
    /// What the system allows us.
    pub allowed: u64,
}

impl Descriptors {
    /// Tells whether the worst case fits.
    #[must_use]
    pub const fn suffice(&self) -> bool {
        self.needed <= self.allowed
    }
}

/// Returns how many descriptors the worst case takes: every check in flight at once.
#[must_use]
pub fn descriptors_needed(checks: &[Arc<Check>]) -> u64 {
    checks.iter().map(|check| check.probe.descriptors()).sum::<u64>() + DESCRIPTORS_BESIDE
}

/// Raises our limit of descriptors as far as the system lets us, and says whether that is enough for `needed`.
#[must_use]
pub fn raise_descriptors(needed: u64) -> Descriptors {
    let limit = getrlimit(Resource::Nofile);
    let allowed = |limit: &Rlimit| limit.current.unwrap_or(u64::MAX);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => Descriptors { needed, allowed: allowed(&getrlimit(Resource::Nofile)) },
        Err(_) => Descriptors { needed, allowed: allowed(&limit) },
    }
}
