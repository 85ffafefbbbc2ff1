//! Time and randomness as arguments, so that a crash, a replay or an hour's clock jump can be tested from a seed.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// Tells the time. `disk::OsClock` is the one real implementation.
pub trait Clock: Send + Sync {
    /// Returns the civil time, which may jump in either direction.
    fn now(&self) -> Timestamp;

    /// Returns the time since an arbitrary start, which never goes back: for durations and deadlines.
    fn monotonic(&self) -> Duration;
}

/// Fills buffers with randomness. `disk::OsRng` is the one real implementation.
pub trait Rng: Send + Sync {
    /// Fills `bytes` with random bytes fit for keys and salts.
    fn fill(&self, bytes: &mut [u8]);
}

/// A clock that moves only when told to, for tests and replays.
#[derive(Debug)]
pub struct StepClock {
    civil_ms: AtomicI64,
    monotonic_ms: AtomicI64,
}

impl StepClock {
    /// Creates a clock that stands at `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self { civil_ms: AtomicI64::new(start.as_millisecond()), monotonic_ms: AtomicI64::new(0) }
    }

    /// Moves civil and monotonic time forward together.
    pub fn advance(&self, by: Duration) {
        let ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        // In this order: who reads the civil time first and sees it moved sees the other moved too.
        self.monotonic_ms.fetch_add(ms, Ordering::SeqCst);
        self.civil_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Moves civil time alone, in either direction, as an administrator or a bad NTP server would.
    pub fn jump(&self, by_ms: i64) {
        self.civil_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for StepClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.civil_ms.load(Ordering::SeqCst)).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.monotonic_ms.load(Ordering::SeqCst)).unwrap_or(0))
    }
}

/// A clock whose civil time never goes back and never stands still: set back, it goes on at half its pace until the
/// civil time has caught up with it.
///
/// Records are admitted, alerts folded and messages ended by one such clock, so that what is admitted while the clock
/// stands behind is not over before anybody has looked at it.
pub struct SteadyClock {
    civil: Arc<dyn Clock>,
    /// The last time that was told, and when in monotonic time.
    last: Mutex<(Timestamp, Duration)>,
}

impl SteadyClock {
    /// Goes on from what `civil` says.
    #[must_use]
    pub fn new(civil: Arc<dyn Clock>) -> Self {
        let last = Mutex::new((civil.now(), civil.monotonic()));
        Self { civil, last }
    }

    /// Tells from now on no time before `at`: what was told before a restart.
    pub fn at_least(&self, at: Timestamp) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.0 = last.0.max(at);
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // The civil time first: what passes between the two is counted now, and not once more the next time.
        let (civil, monotonic) = (self.civil.now(), self.civil.monotonic());
        let passed = jiff::SignedDuration::try_from(monotonic.saturating_sub(last.1) / 2).unwrap_or_default();
        let at_least = last.0.checked_add(passed).unwrap_or(Timestamp::MAX);
        *last = (civil.max(at_least), monotonic);
        last.0
    }

    fn monotonic(&self) -> Duration {
        self.civil.monotonic()
    }
}

/// A reproducible stream of bytes (SplitMix64, Steele et al. 2014) for tests and simulations. Never for keys.
#[derive(Debug)]
pub struct SeededRng(Mutex<u64>);

impl SeededRng {
    /// Creates the stream that `seed` determines.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// Returns the next 64 bits.
    ///
    /// # Panics
    /// Never: the lock is not held across code that can panic.
    pub fn next_u64(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number in `0..bound`; 0 when `bound` is 0.
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next_u64() % bound }
    }
}

impl Rng for SeededRng {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_clock_jumps_in_civil_time_only() {
        let clock = StepClock::new(Timestamp::UNIX_EPOCH);
        clock.advance(Duration::from_secs(2));
        clock.jump(-3_600_000);
        assert_eq!(clock.monotonic(), Duration::from_secs(2));
        assert_eq!(clock.now().as_second(), 2 - 3_600);
    }

    #[test]
    fn a_steady_clock_goes_on_while_the_civil_one_is_set_back_and_meets_it_again() {
        let civil = Arc::new(StepClock::new("2026-11-22T10:00:00Z".parse().expect("a time")));
        let steady = SteadyClock::new(Arc::clone(&civil) as _);
        let start = steady.now();
        let since = || steady.now().duration_since(start).as_secs();
        civil.advance(Duration::from_secs(10));
        assert_eq!((since(), steady.now()), (10, civil.now()));
        civil.jump(-3_600_000);
        assert_eq!(since(), 10);
        civil.advance(Duration::from_secs(6));
        assert_eq!(since(), 13);
        // Twice the hour later the two are one again.
        civil.advance(Duration::from_secs(7_194));
        assert_eq!(steady.now(), civil.now());
        civil.jump(7_200_000);
        assert_eq!(steady.now(), civil.now());
        let ahead = civil.now() + Duration::from_secs(60);
        steady.at_least(ahead);
        assert_eq!((steady.now(), steady.monotonic()), (ahead, civil.monotonic()));
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let (mut a, mut b) = ([0; 13], [0; 13]);
        SeededRng::new(7).fill(&mut a);
        SeededRng::new(7).fill(&mut b);
        assert_eq!(a, b);
        assert_ne!(a, [0; 13]);
        assert_eq!(SeededRng::new(1).below(0), 0);
        assert!((0..100).all(|_| SeededRng::new(3).below(5) < 5));
    }
}
