//! From single results to the state that people are told: thresholds, then flap damping.
//!
//! Pure: the scheduler adopts the next tracker only once the result was handed over, so a change that nobody took is
//! found again at the next run.

use model::{State, Timestamp};

/// Results over which changes are counted.
const WINDOW: u32 = 21;
/// Changes within the window from which on a check is said to flap.
const FLAPPING_FROM: u32 = 5;
/// Changes within the window down to which it goes on flapping.
const FLAPPING_UNTIL: u32 = 2;

/// How many consecutive results it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// To leave a better state.
    pub failure: u32,
    /// To leave a worse state.
    pub success: u32,
}

/// Where a check stands, and what it takes to move it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracker {
    /// The state that people are told.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// Whether changes are damped.
    pub flapping: bool,
    /// Whether the last result pointed to another state that too few results confirm yet.
    pub pending: bool,
    steady: State,
    toward: Toward,
    streak: u32,
    changes: u32,
    seen: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Toward {
    Better,
    Worse,
    Unknown,
}

impl Tracker {
    /// Starts without knowing anything.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self {
            state: State::Unknown,
            since: now,
            flapping: false,
            pending: false,
            steady: State::Unknown,
            toward: Toward::Unknown,
            streak: 0,
            changes: 0,
            seen: false,
        }
    }

    /// Starts where a check stood before a restart.
    #[must_use]
    pub const fn restored(state: State, since: Timestamp) -> Self {
        let mut tracker = Self::new(since);
        tracker.state = state;
        tracker.steady = state;
        tracker.seen = true;
        tracker
    }

    /// Returns how many changes the window holds.
    #[must_use]
    pub const fn changes(&self) -> u32 {
        self.changes.count_ones()
    }

    /// Returns how many consecutive results point to another state.
    #[must_use]
    pub const fn streak(&self) -> u32 {
        self.streak
    }

    /// Takes one result into account.
    #[must_use]
    pub fn observe(mut self, observed: State, at: Timestamp, thresholds: Thresholds) -> Self {
        let before = self.steady;
        self.step(observed, thresholds);
        let changed = self.steady != before && self.seen;
        self.seen |= self.steady != State::Unknown;
        self.changes = ((self.changes << 1) | u32::from(changed)) & ((1 << WINDOW) - 1);
        let limit = if self.flapping { FLAPPING_UNTIL + 1 } else { FLAPPING_FROM };
        self.flapping = self.changes() >= limit;
        let told = if self.flapping && self.state.gravity() > self.steady.gravity() { self.state } else { self.steady };
        if told != self.state {
            self.state = told;
            self.since = at;
        }
        self
    }

    fn step(&mut self, observed: State, thresholds: Thresholds) {
        if observed == self.steady {
            self.streak = 0;
            self.pending = false;
            return;
        }
        let toward = match (self.steady, observed) {
            (_, State::Unknown) => Toward::Unknown,
            (State::Unknown, State::Down) => Toward::Worse,
            (State::Unknown, _) => Toward::Better,
            (steady, observed) if observed.gravity() > steady.gravity() => Toward::Worse,
            _ => Toward::Better,
        };
        self.streak = if self.streak > 0 && self.toward == toward { self.streak + 1 } else { 1 };
        self.toward = toward;
        let needed = if toward == Toward::Better { thresholds.success } else { thresholds.failure };
        self.pending = self.streak < needed;
        if !self.pending {
            self.steady = observed;
            self.streak = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: Thresholds = Thresholds { failure: 2, success: 1 };

    fn states(history: &str, thresholds: Thresholds) -> String {
        let mut tracker = Tracker::new(Timestamp::UNIX_EPOCH);
        let mut told = String::new();
        for (second, letter) in (0..).zip(history.chars()) {
            let observed = match letter {
                'U' => State::Up,
                'g' => State::Degraded,
                'D' => State::Down,
                _ => State::Unknown,
            };
            let at = Timestamp::from_second(second).expect("in range");
            tracker = tracker.observe(observed, at, thresholds);
            told.push(match tracker.state {
                State::Up => 'U',
                State::Degraded => 'g',
                State::Down => 'D',
                State::Unknown => '?',
            });
        }
        told
    }

    #[test]
    fn thresholds_count_consecutive_results() {
        for (history, told) in [
            ("UDUDDU", "UUUUDU"),
            ("DD", "?D"),
            ("Ugg", "UUg"),
            ("UgD", "UUD"),
            ("UDgU", "UUgU"),
            ("UDDgU", "UUDgU"),
            ("UD?DD", "UUUUD"),
            // Our own fault neither heals nor breaks at once.
            ("UDD?D", "UUDDD"),
            ("UDD??U", "UUDD?U"),
            ("U??D", "UU??"),
        ] {
            assert_eq!(states(history, TWO), told, "{history}");
        }
        assert_eq!(states("UDU", Thresholds { failure: 1, success: 1 }), "UDU");
        assert_eq!(states("UUUDUUU", Thresholds { failure: 1, success: 3 }), "??UDDDU");
    }

    #[test]
    fn flapping_is_damped_until_it_calms_down() {
        let one = Thresholds { failure: 1, success: 1 };
        // From the fifth change on it is held at the graver state, until only two are left in the window.
        let told = states(&format!("UDUDUDUDU{}", "U".repeat(20)), one);
        assert_eq!(told, format!("UDUDU{}UU", "D".repeat(22)));
    }

    #[test]
    fn a_restored_check_goes_on_where_it_stood() {
        let at = Timestamp::from_second(7).expect("in range");
        let tracker = Tracker::restored(State::Down, at);
        let next = tracker.observe(State::Down, Timestamp::from_second(9).expect("in range"), TWO);
        assert_eq!((next.state, next.since, next.pending, next.streak()), (State::Down, at, false, 0));
        let pending = Tracker::restored(State::Up, at).observe(State::Down, at, TWO);
        assert!(pending.pending);
        assert_eq!((pending.state, pending.streak(), pending.changes()), (State::Up, 1, 0));
    }
}
