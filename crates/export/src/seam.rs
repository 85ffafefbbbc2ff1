//! What an output needs of the rest of the program.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use disk::Disk;
use model::{BoxFuture, Clock, Feed, Position, Refusal, Tenant};

/// The ledger as an output sees it. `dihya` implements it over its pipeline.
pub trait Source: Send + Sync {
    /// Reads a tenant's records from `from` on, events among them.
    ///
    /// # Errors
    /// When the tenant has no log.
    fn events(&self, tenant: &Tenant, from: Position) -> Result<Box<dyn Feed>, Refusal>;

    /// Returns the position after a tenant's last durable record.
    ///
    /// # Errors
    /// When the tenant has no log.
    fn next_position(&self, tenant: &Tenant) -> Result<Position, Refusal>;

    /// Says that an output needs no payload below `position` any more.
    fn consumed(&self, output: &str, tenant: &Tenant, position: Position);

    /// Says that events of a tenant did not reach an output and never will, in the ledger and in the metrics.
    fn lose(&self, tenant: &Tenant, cause: &'static str, count: u64);

    /// Returns how many bytes the ledger has written since the start: what an output that is stuck holds back at most.
    fn written_bytes(&self) -> u64;

    /// Tells whether the ledger's disk is full.
    fn is_full(&self) -> bool;

    /// Tells whether the ledger takes nothing more: whatever fails then has no other cause.
    fn has_ended(&self) -> bool;
}

/// Where outputs keep how far they are. `dihya` implements it in the control state.
pub trait Places: Send + Sync {
    /// Returns the position that an output goes on from; `None` where it never had one.
    fn load<'a>(&'a self, output: &'a str, tenant: &'a Tenant) -> BoxFuture<'a, Result<Option<Position>, String>>;

    /// Makes a position durable.
    fn store<'a>(&'a self, output: &'a str, tenant: &'a Tenant, next: Position) -> BoxFuture<'a, Result<(), String>>;
}

/// What outputs are made with.
#[derive(Clone)]
pub struct World {
    /// Where files are.
    pub disk: Arc<dyn Disk>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The ledger.
    pub source: Arc<dyn Source>,
    /// How far each output is.
    pub places: Arc<dyn Places>,
    /// The name of this Dihya: part of what makes an event's id.
    pub instance: String,
    /// The directory that relative paths start from.
    pub directory: PathBuf,
    /// Bytes that the ledger may write while an output is behind before its payloads are kept for it no longer.
    pub hold_bytes: u64,
    /// How long an output gathers events before it hands them over, once it has caught up.
    pub linger: Duration,
    /// How long to wait before a batch is handed over again; twice as long each time.
    pub again: Duration,
}
