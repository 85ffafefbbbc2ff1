//! Journals of systemd: followed through `journalctl` ([`follow`]), or uploaded by `systemd-journal-upload` ([`Upload`]).
//!
//! Each entry is recorded once. It bears of which journal it is (`journald.id`: one boot of one machine) and which one of it
//! (`journald.seqnum`); how far each journal came is kept in `journals.json`, a second old at most, and a start reads the
//! events that were recorded since. So neither a sender that is told nothing because this process was killed, and sends all
//! again, nor `journalctl` begun again from a cursor, brings an entry twice. Where a policy takes these attributes out of a
//! stream, its last second comes twice after a kill.

mod event;
mod export;
pub mod follow;
mod memory;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::limits::{JOURNAL_GROUP_BYTES_MAX, JOURNAL_GROUP_ENTRIES_MAX, JOURNALS_MAX};
use model::{Clock, Kind, Lose, SourceId, Tenant};
use tokio::sync::watch;
use tracing::warn;

use crate::files::{Ailments, Durable, Records};
use crate::receiver::{Receiver, Taken};
use event::Place;
use export::{Entry, Reader};
use memory::{Journal, Memory};

/// The stream of journals for which none is named.
pub const STREAM_DEFAULT: &str = "journal";

/// How often it is written down how far journals came while entries come, and when none do.
const KEEP_EVERY: Duration = Duration::from_secs(1);
const KEEP_IDLE_EVERY: Duration = Duration::from_secs(60);
/// How long an upload waits for a ledger that takes nothing before its sender is told to come back, and how often it asks.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(10);
const UPLOAD_AGAIN: Duration = Duration::from_millis(250);

/// What remembering takes of the rest of the program.
pub struct Means {
    /// Keeps how far journals came.
    pub disk: Arc<dyn disk::Disk>,
    /// In which file.
    pub kept: PathBuf,
    /// The key of the names of journals.
    pub key: [u8; 32],
    /// Reads the records of a tenant.
    pub records: Box<Records>,
    /// Tells the position behind a tenant's last durable record.
    pub durable: Box<Durable>,
    /// Takes note of what can never be recorded.
    pub losses: Arc<dyn Lose>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// What ails.
    pub ailments: Arc<Ailments>,
}

/// Takes the entries of journals, each once.
pub struct Journals {
    receiver: Arc<Receiver>,
    /// None where nothing is remembered.
    means: Option<Means>,
    memory: Memory,
}

/// Whose entries these are, and in which stream.
#[derive(Clone, Debug)]
pub struct Sender {
    /// Whose.
    pub tenant: Tenant,
    /// What brought them.
    pub source: SourceId,
    /// Their stream.
    pub stream: String,
}

/// How far journals had come when a sender began: what it sends in another order than theirs is no repetition.
#[derive(Debug, Default)]
struct Begun(HashMap<String, u64>);

impl Begun {
    /// Tells whether an entry came before the sender began, which `next` says for a journal that is new here. A sender that
    /// brings more journals than are remembered has those beyond recorded: rather twice than not at all.
    fn has(&mut self, journal: &str, number: u64, next: impl FnOnce() -> u64) -> bool {
        if let Some(next) = self.0.get(journal) {
            return number < *next;
        }
        if self.0.len() >= JOURNALS_MAX {
            return false;
        }
        let next = next();
        self.0.insert(journal.to_owned(), next);
        number < next
    }
}

impl Journals {
    /// Makes one that remembers what it took.
    #[must_use]
    pub fn new(receiver: Arc<Receiver>, means: Means) -> Self {
        Self { receiver, means: Some(means), memory: Memory::default() }
    }

    /// Makes one that does not: what is sent twice is recorded twice.
    #[must_use]
    pub fn forgetful(receiver: Arc<Receiver>) -> Self {
        Self { receiver, means: None, memory: Memory::default() }
    }

    /// Begins an upload.
    #[must_use]
    pub fn upload(self: &Arc<Self>, sender: Sender) -> Upload {
        let journals = Arc::clone(self);
        Upload {
            journals,
            sender,
            reader: Reader::default(),
            entries: Vec::new(),
            begun: Begun::default(),
            sum: Sum::default(),
        }
    }

    /// Writes down how far journals came, until `halted` says that nothing comes any more, and then once more.
    pub async fn keep(&self, mut halted: watch::Receiver<bool>) {
        let Some(means) = &self.means else { return };
        // What was recorded since the last run is read now, while it is little. Whoever comes first tries again.
        let _ = self.memory.load(means).await;
        let mut kept_at = means.clock.monotonic();
        loop {
            let is_over = *halted.borrow();
            let now = means.clock.monotonic();
            let every = if self.memory.is_new() { KEEP_EVERY } else { KEEP_IDLE_EVERY };
            if self.memory.is_known() && (is_over || now.saturating_sub(kept_at) >= every) {
                self.memory.write(means).await;
                kept_at = now;
            }
            if is_over {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(KEEP_EVERY) => {}
                _ = halted.changed() => {}
            }
        }
    }

    /// Admits entries of one sender, in order, but for those that came already.
    async fn admit(&self, sender: &Sender, begun: &mut Begun, entries: &[Entry]) -> Taken {
        let (mut fresh, mut places) = (Vec::with_capacity(entries.len()), Vec::with_capacity(entries.len()));
        if let Some(means) = &self.means {
            if let Err(refusal) = self.memory.load(means).await {
                warn!(error = %refusal, "could not read which entries of journals are recorded: none is taken");
                let later = Some("what is recorded of the journal cannot be read now".to_owned());
                return Taken { later, ..Taken::default() };
            }
            self.memory.begin(means, &sender.tenant).await;
            places.extend(entries.iter().map(|entry| Place::of(entry, &means.key)));
        }
        let journal = |place: &Place| Journal::new(sender, &place.journal);
        for number in 0..entries.len() {
            let came = places
                .get(number)
                .and_then(Option::as_ref)
                .is_some_and(|place| begun.has(&place.journal, place.number, || self.memory.next(&journal(place))));
            if !came {
                fresh.push(number);
            }
        }
        let observed_ns = i64::try_from(self.receiver.now().as_nanosecond()).unwrap_or(i64::MAX);
        let read = |number: usize| {
            let at = fresh.get(number).copied().unwrap_or(usize::MAX);
            let entry = entries.get(at).ok_or("there is no such entry")?;
            let place = places.get(at).and_then(Option::as_ref);
            Ok((event::event(entry, place, &sender.stream, observed_ns)?, entry.bytes))
        };
        let bytes = fresh.iter().filter_map(|at| entries.get(*at)).map(|entry| entry.bytes).sum();
        let flight = self.means.as_ref().map(|means| self.memory.fly(means, &sender.tenant));
        let mut taken = if fresh.is_empty() {
            Taken::default()
        } else {
            self.receiver.take((&sender.tenant, sender.source), (fresh.len(), bytes), &read).await
        };
        let settled = fresh.iter().take(taken.settled).filter_map(|at| places.get(*at)?.as_ref());
        self.memory.settle(settled.map(|place| (journal(place), place.number)));
        drop(flight);
        // What came already before the first that did not is done with too.
        taken.settled = fresh.get(taken.settled).copied().unwrap_or(entries.len());
        if taken.refused > 0
            && let Some(means) = &self.means
        {
            means.losses.lose(&sender.tenant, "journal_refused", Kind::Event, taken.refused);
        }
        taken
    }
}

impl std::fmt::Debug for Journals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journals").field("remembers", &self.means.is_some()).finish_non_exhaustive()
    }
}

/// What became of an upload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Entries that became durable.
    pub durable: u64,
    /// Entries that came before.
    pub known: u64,
    /// Entries that can never be recorded.
    pub refused: u64,
    /// Why the first of them cannot.
    pub reason: Option<&'static str>,
}

/// Why an upload ends before its end. What came before is durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// It is no journal: answer 400.
    #[error("{0}")]
    Broken(String),
    /// Nothing can be taken now: answer 429.
    #[error("{0}")]
    Later(String),
}

/// One upload: bytes as they come, in the memory of one group of entries.
#[derive(Debug)]
pub struct Upload {
    journals: Arc<Journals>,
    sender: Sender,
    reader: Reader,
    entries: Vec<Entry>,
    begun: Begun,
    sum: Sum,
}

impl Upload {
    /// Takes what came next. When it returns, no more than a group is not durable yet.
    ///
    /// # Errors
    /// When the upload cannot go on. All entries before are durable.
    pub async fn take(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        // Frames may be large, and what is in them many small entries.
        for piece in bytes.chunks(JOURNAL_GROUP_BYTES_MAX / 8) {
            let read = self.reader.take(piece, &mut self.entries);
            let bytes: usize = self.entries.iter().map(|entry| entry.bytes).sum();
            let is_full = self.entries.len() >= JOURNAL_GROUP_ENTRIES_MAX || bytes >= JOURNAL_GROUP_BYTES_MAX;
            if is_full || read.is_err() {
                self.deliver().await?;
            }
            read.map_err(|broken| Ended::Broken(broken.to_string()))?;
        }
        Ok(())
    }

    /// Takes the end, and says what became of all.
    ///
    /// # Errors
    /// When the last entry is not whole or not durable.
    pub async fn end(mut self) -> Result<Sum, Ended> {
        let read = std::mem::take(&mut self.reader).end(&mut self.entries);
        self.deliver().await?;
        read.map_err(|broken| Ended::Broken(broken.to_string()))?;
        Ok(self.sum)
    }

    async fn deliver(&mut self) -> Result<(), Ended> {
        let mut waited = Duration::ZERO;
        while !self.entries.is_empty() {
            let taken = self.journals.admit(&self.sender, &mut self.begun, &self.entries).await;
            let settled = self.entries.drain(..taken.settled.min(self.entries.len()));
            if settled.len() > 0 {
                waited = Duration::ZERO;
            }
            self.sum.known += (settled.len() as u64).saturating_sub(taken.durable + taken.refused);
            if taken.refused > 0 && self.sum.reason.is_none() {
                let mut reasons = settled.filter_map(|entry| event::event(&entry, None, STREAM_DEFAULT, 0).err());
                self.sum.reason = reasons.next();
            }
            self.sum.durable += taken.durable;
            self.sum.refused += taken.refused;
            let Some(why) = taken.later else { continue };
            if waited >= UPLOAD_PATIENCE {
                return Err(Ended::Later(why));
            }
            tokio::time::sleep(UPLOAD_AGAIN).await;
            waited += UPLOAD_AGAIN;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
