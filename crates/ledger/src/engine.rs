//! The engine: writer and publisher of one open ledger without threads, driven step by step.
//!
//! Production drives the two halves from two threads ([`crate::Ledger`]); the crash suite drives them from a seed.

use std::sync::Arc;

use disk::Disk;
use model::{Clock, Position, Receipt, Rng, Tenant};
use privacy::Cleared;

use crate::cursor::Cursor;
use crate::error::Error;
use crate::group::{Draft, Group, Prepared, is_priority, prepare};
use crate::keys::Keyring;
use crate::prove::prove;
use crate::publish::Publisher;
use crate::recover::{self, Parts, Recovery};
use crate::shared::{Config, OriginShared, Shared, Signed};
use crate::writer::Writer;

/// An open ledger that does nothing by itself.
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
    pub(crate) writer: Writer,
    pub(crate) publisher: Publisher,
    pub(crate) lock: Box<dyn Send + Sync>,
}

impl Engine {
    /// Opens the ledger of a data directory, or makes one.
    ///
    /// # Errors
    /// [`Error::Locked`] while another process has it; [`Error::Corrupt`] or [`Error::Contradiction`] when what is there
    /// is not what was durable or signed; else when the disk fails.
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        config: Config,
        keyring: &dyn Keyring,
    ) -> Result<(Self, Recovery), Error> {
        let opened = recover::open(&Parts { disk, clock, rng, config, keyring })?;
        let mut engine =
            Self { shared: opened.shared, writer: opened.writer, publisher: opened.publisher, lock: opened.lock };
        engine.end_rotations(keyring)?;
        Ok((engine, opened.recovery))
    }

    /// Makes several appends durable with one sync, each or not at all.
    ///
    /// # Errors
    /// Per append: see [`crate::Ledger::append`].
    pub fn append(&mut self, appends: &[Vec<Cleared>]) -> Vec<Result<Vec<Receipt>, Error>> {
        self.append_by(appends, Writer::commit)
    }

    /// As [`Engine::append`], with a sync for the first of them and one for the rest, whose records get their place while
    /// the first sync runs. `written`: and are written before it has ended.
    ///
    /// # Errors
    /// Per append: see [`crate::Ledger::append`].
    pub fn append_overlapping(&mut self, appends: &[Vec<Cleared>], written: bool) -> Vec<Result<Vec<Receipt>, Error>> {
        self.append_by(appends, |writer, mut first| {
            let second = first.split_off(first.len().min(1));
            writer.commit_overlapping(first, second, written)
        })
    }

    fn append_by(
        &mut self,
        appends: &[Vec<Cleared>],
        commit: impl FnOnce(&mut Writer, Vec<Prepared>) -> Vec<Result<Arc<Group>, Error>>,
    ) -> Vec<Result<Vec<Receipt>, Error>> {
        let prepared: Vec<_> = appends.iter().map(|records| prepare_records(&self.shared, records)).collect();
        let ready: Vec<Prepared> = Vec::new();
        let mut refused = Vec::new();
        let ready = prepared.into_iter().fold(ready, |mut ready, prepared| {
            match prepared {
                Ok((_, prepared)) => {
                    refused.push(None);
                    ready.push(prepared);
                }
                Err(error) => refused.push(Some(error)),
            }
            ready
        });
        let mut done = commit(&mut self.writer, ready).into_iter();
        refused
            .into_iter()
            .map(|refusal| match refusal {
                Some(error) => Err(error),
                None => match done.next() {
                    Some(result) => {
                        result.map(|group| receipts(&self.shared.origins[usize::from(group.origin)], &group))
                    }
                    None => Err(Error::Stopped { reason: "closed".into() }),
                },
            })
            .collect()
    }

    /// Closes the open batches and publishes a checkpoint of every log that grew.
    ///
    /// # Errors
    /// When the disk is full (kind Retry), or the ledger has stopped.
    pub fn publish(&mut self) -> Result<usize, Error> {
        self.writer.close_batches()?;
        let published = self.publisher.publish()?;
        self.shared.prepare_spare()?;
        Ok(published)
    }

    /// Writes the present checkpoint of every tenant's log into the meta-log.
    ///
    /// # Errors
    /// When the disk is full (kind Retry), or the ledger has stopped.
    pub fn append_meta(&mut self) -> Result<(), Error> {
        self.writer.append_meta(self.publisher.meta_records())
    }

    /// Deletes the payloads of the next segment that is due under the retention policy. Returns whether there was one.
    ///
    /// # Errors
    /// When the disk is full (kind Retry), or the ledger has stopped.
    pub fn retain(&mut self) -> Result<bool, Error> {
        let Some(due) = self.publisher.retention_due()? else { return Ok(false) };
        self.writer.append_retention(due.records())?;
        self.publish()?;
        self.publisher.strip(&due)?;
        Ok(true)
    }

    /// Proves that the record at `position` is in a tenant's log: see [`crate::Ledger::prove`].
    ///
    /// # Errors
    /// See [`crate::Ledger::prove`].
    pub fn prove(&self, tenant: &Tenant, position: Position) -> Result<String, Error> {
        prove(&self.shared, self.shared.tenant(tenant)?, position)
    }

    /// Closes the ledger in order.
    ///
    /// # Errors
    /// When the last sync or checkpoint fails.
    pub fn close(mut self) -> Result<(), Error> {
        self.publish()?;
        self.publisher.store_snapshot(true)?;
        self.writer.close()?;
        drop(self.lock);
        Ok(())
    }

    /// Reads a tenant's durable records from a position on.
    ///
    /// # Errors
    /// [`Error::UnknownTenant`].
    pub fn cursor(&self, tenant: &Tenant, from: Position) -> Result<Cursor, Error> {
        Ok(Cursor::new(Arc::clone(&self.shared), Arc::clone(self.shared.tenant(tenant)?), from))
    }

    /// Returns the checkpoint last signed for a tenant.
    ///
    /// # Errors
    /// [`Error::UnknownTenant`].
    pub fn signed(&self, tenant: &Tenant) -> Result<Option<Arc<Signed>>, Error> {
        Ok(self.shared.tenant(tenant)?.signed())
    }
}

/// Encodes the records of one append.
pub(crate) fn prepare_records(shared: &Shared, records: &[Cleared]) -> Result<(Arc<OriginShared>, Prepared), Error> {
    let tenant = records.first().map(Cleared::tenant).ok_or(Error::BadAppend { why: "it carries no records" })?;
    if records.iter().any(|record| record.tenant() != tenant) {
        return Err(Error::BadAppend { why: "it carries records of several tenants" });
    }
    let origin = Arc::clone(shared.tenant(tenant)?);
    if shared.disk_full.load(std::sync::atomic::Ordering::Relaxed)
        && !records.iter().all(|record| is_priority(record.kind()))
    {
        // Told before any work is done for it.
        crate::shared::lock(&shared.figures).refused_full += 1;
        return Err(Error::DiskFull);
    }
    let place = privacy::Place::new(origin.origin.as_str(), crate::entry::SCHEMA);
    let drafts: Vec<Draft<'_>> = records.iter().map(|record| Draft::of(record, &place)).collect();
    let names = origin.names();
    let prepared = prepare(origin.number, &drafts, &names, &*shared.rng)?;
    Ok((origin, prepared))
}

/// Returns what the sender of a durable group holds afterwards.
pub(crate) fn receipts(origin: &OriginShared, group: &Group) -> Vec<Receipt> {
    let receipt =
        |(hash, position): (&[u8; 32], Position)| Receipt { origin: origin.origin.clone(), position, leaf_hash: *hash };
    group.hashes().iter().zip(group.position..).map(receipt).collect()
}
