//! Signs of life that others send us: what a dead man's switch watches.
//!
//! The caller keeps the last ones ([`Heartbeats::kept`]) and brings them back after a restart ([`Heartbeats::remember`]).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use model::{Clock, Timestamp};

/// What a job says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ping {
    /// It began.
    Start,
    /// It ended well.
    Success,
    /// It failed.
    Fail,
    /// It ended with this exit code; 0 is success.
    Exit(u8),
}

/// A moment by both clocks; the monotonic one is absent for what was before this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Civil time.
    pub at: Timestamp,
    /// Monotonic time.
    pub monotonic: Option<Duration>,
}

impl Moment {
    /// Returns the present moment.
    #[must_use]
    pub fn now(clock: &dyn Clock) -> Self {
        Self { at: clock.now(), monotonic: Some(clock.monotonic()) }
    }

    /// Returns how long ago it was: by the clock that does not jump where that is known.
    #[must_use]
    pub fn elapsed(&self, clock: &dyn Clock) -> Duration {
        match self.monotonic {
            Some(then) => clock.monotonic().saturating_sub(then),
            None => Duration::try_from(clock.now().duration_since(self.at)).unwrap_or(Duration::ZERO),
        }
    }
}

/// What is known of one heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beats {
    /// Since when it is expected.
    pub declared: Moment,
    /// Since when this process would have heard a sign. What fell due before may have been said to nobody.
    pub heard_from: Moment,
    /// When a run began that has not ended.
    pub started: Option<Moment>,
    /// When the last run ended.
    pub ended: Option<Moment>,
    /// How it ended: 0 is success.
    pub exit: u8,
    /// How long it took, where its start was said.
    pub took: Option<Duration>,
    /// Whether its check was down before this process began: only a sign of life shows that it is not any more.
    pub was_down: bool,
}

impl Beats {
    const fn new(declared: Moment) -> Self {
        Self { declared, heard_from: declared, started: None, ended: None, exit: 0, took: None, was_down: false }
    }
}

/// What is kept of a heartbeat across a restart, by civil time: no other clock outlives us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Since when it is expected.
    pub declared: Timestamp,
    /// When a run began that has not ended.
    pub started: Option<Timestamp>,
    /// When the last run ended.
    pub ended: Option<Timestamp>,
    /// How it ended: 0 is success.
    pub exit: u8,
    /// How long it took, where its start was said.
    pub took: Option<Duration>,
}

impl Kept {
    const fn of(beats: &Beats) -> Self {
        const fn at(moment: Option<Moment>) -> Option<Timestamp> {
            match moment {
                Some(moment) => Some(moment.at),
                None => None,
            }
        }
        let (started, ended) = (at(beats.started), at(beats.ended));
        Self { declared: beats.declared.at, started, ended, exit: beats.exit, took: beats.took }
    }

    /// Makes beats of it. What a clock that has been set back since then puts in the future is taken as of now.
    fn beats(&self, now: Moment) -> Beats {
        let before = |at: Timestamp| Moment { at: at.min(now.at), monotonic: None };
        Beats {
            declared: before(self.declared),
            heard_from: now,
            started: self.started.map(before),
            ended: self.ended.map(before),
            exit: self.exit,
            took: self.took,
            was_down: false,
        }
    }
}

/// The last signs of life of each declared heartbeat, by the name that jobs use.
#[derive(Debug, Default)]
pub struct Heartbeats {
    declared: RwLock<HashMap<String, (String, Beats)>>,
    /// What was kept from before this process, by check, until it is declared.
    kept: Mutex<HashMap<String, Kept>>,
}

impl Heartbeats {
    /// Declares which heartbeats there are, as (name that jobs use, check id). Those that were there keep their signs,
    /// under another name too; those no longer named are forgotten.
    pub fn declare<'a>(&self, names: impl IntoIterator<Item = (&'a str, &'a str)>, clock: &dyn Clock) {
        let now = Moment::now(clock);
        let mut declared = self.declared.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *declared);
        let mut renamed = Vec::new();
        for (name, check) in names {
            match before.remove(name) {
                Some((_, beats)) => {
                    declared.insert(name.to_owned(), (check.to_owned(), beats));
                }
                None => renamed.push((name, check)),
            }
        }
        // A secret name that is changed takes the signs along: the check is still as late as it was.
        let of_check: HashMap<String, Beats> = before.into_values().collect();
        for (name, check) in renamed {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(check);
            let beats = of_check.get(check).copied().or_else(|| kept.map(|kept| kept.beats(now)));
            let beats = beats.unwrap_or(Beats::new(now));
            declared.insert(name.to_owned(), (check.to_owned(), beats));
        }
    }

    /// Says that the check behind a name was down before this process began. What signs made it so is not known.
    pub fn restore_down(&self, name: &str) {
        let mut declared = self.declared.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, beats)) = declared.get_mut(name) {
            beats.was_down = true;
        }
    }

    /// Takes a sign of life and returns the id of its check, or `None` when nothing of that name is declared.
    pub fn ping(&self, name: &str, ping: Ping, clock: &dyn Clock) -> Option<String> {
        self.take(name, ping, Moment::now(clock))
    }

    /// Brings back what was kept of a check's heartbeat, to be called before it is declared.
    pub fn remember(&self, check: &str, kept: Kept) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(check.to_owned(), kept);
    }

    /// Returns what to keep of each heartbeat across a restart, by check id.
    #[must_use]
    pub fn kept(&self) -> Vec<(String, Kept)> {
        let declared = self.declared.read().unwrap_or_else(PoisonError::into_inner);
        declared.values().map(|(check, beats)| (check.clone(), Kept::of(beats))).collect()
    }

    /// Returns what to keep of one.
    #[must_use]
    pub fn kept_of(&self, name: &str) -> Option<Kept> {
        self.beats(name).map(|beats| Kept::of(&beats))
    }

    /// Returns the id of the check behind a name.
    #[must_use]
    pub fn check_of(&self, name: &str) -> Option<String> {
        let declared = self.declared.read().unwrap_or_else(PoisonError::into_inner);
        declared.get(name).map(|(check, _)| check.clone())
    }

    /// Returns what is known of a heartbeat.
    #[must_use]
    pub fn beats(&self, name: &str) -> Option<Beats> {
        self.declared.read().unwrap_or_else(PoisonError::into_inner).get(name).map(|(_, beats)| *beats)
    }

    fn take(&self, name: &str, ping: Ping, now: Moment) -> Option<String> {
        let mut declared = self.declared.write().unwrap_or_else(PoisonError::into_inner);
        let (check, beats) = declared.get_mut(name)?;
        let exit = match ping {
            Ping::Start => {
                beats.started = Some(now);
                return Some(check.clone());
            }
            Ping::Success => 0,
            Ping::Fail => 1,
            Ping::Exit(code) => code,
        };
        beats.took = beats.started.take().and_then(|started| match (started.monotonic, now.monotonic) {
            (Some(start), Some(end)) => Some(end.saturating_sub(start)),
            _ => Duration::try_from(now.at.duration_since(started.at)).ok(),
        });
        beats.ended = Some(now);
        beats.exit = exit;
        beats.was_down = false;
        Some(check.clone())
    }
}
