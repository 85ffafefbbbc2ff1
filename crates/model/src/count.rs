//! Counting events from outside: what a probe needs of a lake that it may not depend on.

use std::time::Duration;

use crate::{BoxFuture, Tenant};

/// Why events were not counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uncounted {
    /// It is too early: what is asked is not there yet.
    Early,
    /// It could not be done: why, without payload.
    Failed(String),
}

/// Counts events. `dihya` has the one real implementation, over `lake`.
pub trait CountEvents: Send + Sync {
    /// Returns how many of a tenant's events that reached us in the last `window` fit a search. All that was acknowledged
    /// before the call counts.
    ///
    /// # Errors
    /// When they could not be counted in full.
    fn count<'a>(
        &'a self,
        tenant: &'a Tenant,
        search: &'a str,
        window: Duration,
    ) -> BoxFuture<'a, Result<u64, Uncounted>>;
}
