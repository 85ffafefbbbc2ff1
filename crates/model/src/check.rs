//! What a probe says: states, timings and results.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How a check stands. Our own fault is `Unknown`: never `Down`, never `Up` (invariant W-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// All conditions hold.
    Up,
    /// It works, and something about it needs attention.
    Degraded,
    /// It does not do what it is for.
    Down,
    /// We cannot tell.
    #[default]
    Unknown,
}

impl State {
    /// Returns the canonical spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }

    /// Returns how much the state weighs in an overall verdict: down, then unknown, then degraded, then up.
    #[must_use]
    pub const fn gravity(self) -> u8 {
        match self {
            Self::Up => 0,
            Self::Degraded => 1,
            Self::Unknown => 2,
            Self::Down => 3,
        }
    }

    /// Returns the worst of `states`; `Unknown` when there is none.
    #[must_use]
    pub fn worst(states: impl IntoIterator<Item = Self>) -> Self {
        states.into_iter().max_by_key(|state| state.gravity()).unwrap_or(Self::Unknown)
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// How long each phase of a probe took, in milliseconds; phases that did not happen are absent.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Timings {
    /// Name resolution.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resolve: Option<f64>,
    /// TCP (or QUIC, or Unix) connection.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub connect: Option<f64>,
    /// TLS handshake.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tls: Option<f64>,
    /// From the request sent to the first byte of the answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_byte: Option<f64>,
    /// From the first byte to the last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub transfer: Option<f64>,
    /// The whole probe.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub total: Option<f64>,
}

impl Timings {
    /// Yields the phases that happened, by name, in milliseconds, in the order in which they happen.
    pub fn phases(&self) -> impl Iterator<Item = (&'static str, f64)> {
        [
            ("resolve", self.resolve),
            ("connect", self.connect),
            ("tls", self.tls),
            ("first_byte", self.first_byte),
            ("transfer", self.transfer),
            ("total", self.total),
        ]
        .into_iter()
        .filter_map(|(name, ms)| ms.map(|ms| (name, ms)))
    }
}

/// One term of a check's condition and what it saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionOutcome {
    /// The CEL text of the term.
    pub expr: String,
    /// Whether it held.
    pub ok: bool,
    /// The actual values, as text, after privacy.
    pub actual: String,
}

/// What one run of one check found, after thresholds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckResult {
    /// Identifies the check in its tenant: the key it is declared under.
    pub id: String,
    /// The name that people read.
    pub name: String,
    /// What kind of probe ran: `http`, `tcp`, `dns` ...
    pub kind: String,
    /// The state after thresholds: what people are told.
    pub state: State,
    /// The state that this run alone would give.
    pub observed: State,
    /// Why, in one sentence; empty when up.
    pub reason: String,
    /// Since when the state holds.
    pub since: Timestamp,
    /// When the run ended.
    pub checked_at: Timestamp,
    /// Each term of the condition.
    pub conditions: Vec<ConditionOutcome>,
    /// How long each phase took.
    pub timings_ms: Timings,
    /// Figures that the probe measured (days of validity left, bytes free, perfdata), by name with the unit last.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, f64>,
    /// Whether it ran inside a maintenance window: then it counts against nobody.
    #[serde(default)]
    pub maintenance: bool,
}

/// A check went from one state to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckChange {
    /// Identifies the check in its tenant.
    pub id: String,
    /// What kind of probe it is.
    pub kind: String,
    /// The state it left.
    pub from: State,
    /// The state it is in.
    pub to: State,
    /// Why, in one sentence.
    pub reason: String,
    /// When it changed.
    pub at: Timestamp,
    /// Whether the check changes so often that its changes are damped.
    #[serde(default)]
    pub flapping: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_state_wins_and_no_state_is_unknown() {
        assert_eq!(State::worst([State::Up, State::Degraded]), State::Degraded);
        assert_eq!(State::worst([State::Unknown, State::Down]), State::Down);
        assert_eq!(State::worst([State::Unknown, State::Degraded]), State::Unknown);
        assert_eq!(State::worst([]), State::Unknown);
    }

    #[test]
    fn absent_phases_are_absent() {
        let timings = Timings { connect: Some(1.5), total: Some(2.0), ..Timings::default() };
        assert_eq!(serde_json::to_string(&timings).expect("serialises"), r#"{"connect":1.5,"total":2.0}"#);
        assert_eq!(timings.phases().collect::<Vec<_>>(), [("connect", 1.5), ("total", 2.0)]);
    }
}
