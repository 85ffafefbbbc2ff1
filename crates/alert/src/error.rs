//! Why the alert path did not do what it was asked.

use model::{Refusal, RefusalKind};

use crate::state::StateError;

/// Why the alert path did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Control state could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The ledger, or privacy before it, did not take or give a record.
    #[error("could not {doing}")]
    Refused {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        #[source]
        source: Refusal,
    },
    /// There is no such thing.
    #[error("there is no such {what}")]
    Missing {
        /// What was looked for.
        what: &'static str,
    },
    /// It cannot be done as things stand.
    #[error("{reason}")]
    Conflict {
        /// Why, for a person.
        reason: String,
    },
    /// A field of the request cannot be accepted.
    #[error("{field}: {expected}")]
    Invalid {
        /// Which one, as a dotted path.
        field: String,
        /// What was expected, without the value that was given.
        expected: String,
    },
    /// The engine has stopped.
    #[error("the alert path has stopped")]
    Stopped,
}

impl Error {
    /// Says what the caller can do.
    #[must_use]
    pub const fn kind(&self) -> RefusalKind {
        match self {
            Self::State(StateError { stop: true, .. }) | Self::Stopped => RefusalKind::Stop,
            Self::State(_) => RefusalKind::Retry,
            Self::Refused { source, .. } => source.kind,
            Self::Missing { .. } | Self::Conflict { .. } | Self::Invalid { .. } => RefusalKind::Reject,
        }
    }
}

impl From<crate::send::NotAnAlert> for Error {
    fn from(wrong: crate::send::NotAnAlert) -> Self {
        Self::Invalid { field: wrong.field, expected: wrong.expected }
    }
}
