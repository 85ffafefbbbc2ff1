//! The latest result of each check, for whoever asks.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use model::{CheckResult, State};

/// How a check stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Its latest result.
    pub result: CheckResult,
    /// Whether it changes so often that its changes are damped.
    pub flapping: bool,
}

/// The latest result of each check, by id. The lock is held for a look-up or an insertion, never longer.
#[derive(Debug, Default)]
pub struct Board {
    standings: RwLock<BTreeMap<String, Arc<Standing>>>,
}

impl Board {
    /// Returns how a check stands; `None` before its first result.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Arc<Standing>> {
        self.standings.read().unwrap_or_else(PoisonError::into_inner).get(id).map(Arc::clone)
    }

    /// Returns the state of a check; unknown before its first result.
    #[must_use]
    pub fn state(&self, id: &str) -> State {
        self.get(id).map_or(State::Unknown, |standing| standing.result.state)
    }

    /// Tells whether a check was not looked at yet, or not often enough to say how it stands.
    #[must_use]
    pub fn is_early(&self, id: &str) -> bool {
        self.get(id).is_none_or(|standing| {
            standing.result.state == State::Unknown && standing.result.observed != State::Unknown
        })
    }

    /// Returns how all checks stand that have a result, ascending by id.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Standing>> {
        self.standings.read().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }

    pub(crate) fn set(&self, standing: Arc<Standing>) {
        let id = standing.result.id.clone();
        self.standings.write().unwrap_or_else(PoisonError::into_inner).insert(id, standing);
    }

    pub(crate) fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.standings.write().unwrap_or_else(PoisonError::into_inner).retain(|id, _| keep(id));
    }
}
