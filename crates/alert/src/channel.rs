//! What a way of telling people must be able to do, and how it says that it could not.
//!
//! A channel is one endpoint: a mailbox, a webhook, a file. It knows nothing of routes, incidents or retries: it is
//! given a [`Notification`] with all that is to be said, makes one attempt, and answers. Durability, order, back-off and
//! giving up belong to the dispatcher.

pub mod build;
pub mod config;
#[cfg(test)]
mod contract;
mod email;
mod http;
mod log;
pub mod native;
#[cfg(test)]
mod servers;
mod slack;
mod teams;
pub mod tls;
mod webhook;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::BoxFuture;

use crate::notification::Notification;

pub use build::{BuildError, Parts, build, build_all};

/// One endpoint that people or machines are told through.
pub trait Channel: Send + Sync {
    /// Makes one attempt to tell. The same notification may come again, with a higher `attempt`, after a crash between
    /// sending and recording: `notification.id` is then the same, and goes out with the message where the medium has
    /// a place for it. The attempt must end on its own within the channel's time-out.
    ///
    /// # Errors
    /// When the endpoint did not take it, or did not say that it did.
    fn send<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Result<(), SendError>>;

    /// Returns what kind of endpoint it is, as in `channels:` (`log`, `webhook`, `email` ...).
    fn kind(&self) -> &'static str;

    /// Finds out whether a message would be taken, as far as that is possible without one; `None` where it is not. A
    /// scheduled self-test does this rather than send a test.
    fn probe(&self) -> Option<BoxFuture<'_, Result<(), SendError>>> {
        None
    }

    /// Tells whether a message through it disturbs a person. Scheduled self-tests send through such channels only where
    /// they are asked to by name.
    fn pages_people(&self) -> bool {
        true
    }

    /// Returns how many attempts may be under way at once.
    fn concurrency(&self) -> usize {
        8
    }
}

/// Why one attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct SendError {
    /// Whether the same message would fail for ever: it is then not tried again.
    pub permanent: bool,
    /// Whether some of the recipients have it: the channel works, and only the others are tried again.
    pub partial: bool,
    /// Marks of those recipients, those of earlier attempts included, for the next attempt: they say nothing to others,
    /// and a channel knows its own again after a restart, or under another order of its recipients.
    pub had: BTreeSet<String>,
    /// How long the endpoint asked us to wait (429, 503 with `Retry-After`).
    pub retry_after: Option<Duration>,
    /// Why, in words for a person, without payload, secrets or addresses of persons.
    pub reason: String,
}

impl SendError {
    /// Makes the error of an attempt that may succeed later.
    #[must_use]
    pub fn later(reason: impl Into<String>) -> Self {
        Self { permanent: false, partial: false, had: BTreeSet::new(), retry_after: None, reason: reason.into() }
    }

    /// Makes the error of an attempt that reached some recipients, and may reach the others later.
    #[must_use]
    pub fn partly(had: BTreeSet<String>, reason: impl Into<String>) -> Self {
        Self { partial: true, had, ..Self::later(reason) }
    }

    /// Makes the error of an attempt that the endpoint asked to put off.
    #[must_use]
    pub fn after(wait: Duration, reason: impl Into<String>) -> Self {
        Self { retry_after: Some(wait), ..Self::later(reason) }
    }

    /// Makes the error of an attempt that will never succeed as it is.
    #[must_use]
    pub fn never(reason: impl Into<String>) -> Self {
        Self { permanent: true, ..Self::later(reason) }
    }
}

/// The channels in force, by name: declared ones and the implicit ones of native receiver configurations.
pub type Channels = BTreeMap<String, Arc<dyn Channel>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_whether_to_come_back() {
        assert!(!SendError::later("refused").permanent);
        assert!(SendError::never("unknown recipient").permanent);
        let busy = SendError::after(Duration::from_secs(30), "too many requests");
        assert_eq!(
            (busy.retry_after, busy.to_string()),
            (Some(Duration::from_secs(30)), "too many requests".to_owned())
        );
    }
}
