//! Events counted for checks of the kind `search`: in full, or not at all.
//!
//! A run reads no event: it learns a number, which stands in the result that the ledger records, by a query that stands in the
//! configuration whose digest the ledger records. So it leaves no record of access beside those two.

use std::sync::Arc;
use std::time::Duration;

use lake::{Error, Lake, Limits};
use ledger::Ledger;
use model::{BoxFuture, Clock, CountEvents, Tenant, Timestamp, Uncounted};
use tokio::sync::Semaphore;

use super::opening::Opening;

/// Searches of checks that run at the same time: the other turns are those of people.
const AT_ONCE_MAX: usize = 2;
/// How often it is looked whether the lake has what the ledger has, or a turn.
const AGAIN: Duration = Duration::from_millis(50);
/// Time for one count; the check's own time-out is shorter.
const TIME: Duration = Duration::from_secs(300);

/// Counts events in the lake.
pub(super) struct Counter {
    opening: Arc<Opening>,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    turns: Semaphore,
}

impl Counter {
    pub(super) fn new(opening: Arc<Opening>, ledger: Ledger, clock: Arc<dyn Clock>) -> Self {
        Self { opening, ledger, clock, turns: Semaphore::new(AT_ONCE_MAX) }
    }

    async fn within(&self, lake: &Lake, tenant: &Tenant, search: &str, window: Duration) -> Result<u64, Error> {
        let _turn = self.turns.acquire().await;
        let until = self.clock.now();
        let from = until.checked_sub(window).unwrap_or(Timestamp::MIN);
        self.caught_up(tenant).await?;
        loop {
            match lake.count(tenant, search, (from, until), Limits { rows: 1, time: TIME }).await {
                // As many people ask as may.
                Err(Error::Busy) => tokio::time::sleep(AGAIN).await,
                counted => return counted,
            }
        }
    }

    /// Waits until the lake has what was acknowledged before.
    async fn caught_up(&self, tenant: &Tenant) -> Result<(), Error> {
        let next = self.ledger.next_position(tenant).map_err(|error| Error::Feed(error.into()))?;
        while self.opening.folded(tenant) < next {
            tokio::time::sleep(AGAIN).await;
        }
        Ok(())
    }
}

impl CountEvents for Counter {
    fn count<'a>(
        &'a self,
        tenant: &'a Tenant,
        search: &'a str,
        window: Duration,
    ) -> BoxFuture<'a, Result<u64, Uncounted>> {
        Box::pin(async move {
            let Some(lake) = self.opening.lake() else {
                return Err(match self.opening.wrong() {
                    None => Uncounted::Early,
                    Some(_) => Uncounted::Failed("the lake could not be opened".to_owned()),
                });
            };
            self.within(lake, tenant, search, window).await.map_err(|error| Uncounted::Failed(error.to_string()))
        })
    }
}
