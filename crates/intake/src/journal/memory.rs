//! How far each journal came, over restarts: `journals.json`, and the events that were recorded after it was written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::limits::JOURNALS_MAX;
use model::{Body, Event, Position, Refusal, RefusalKind, Tenant, Value};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use tracing::warn;

use super::event::{ID, NUMBER};
use super::{Means, Sender};

/// Records that are read at once at the start.
const READ_RECORDS: usize = 256;

/// A journal in a stream of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Journal {
    tenant: Tenant,
    stream: String,
    id: String,
}

impl Journal {
    pub(super) fn new(sender: &Sender, id: &str) -> Self {
        Self { tenant: sender.tenant.clone(), stream: sender.stream.clone(), id: id.to_owned() }
    }

    /// Returns where an event says that it stands.
    fn of(tenant: &Tenant, event: &Event) -> Option<(Self, u64)> {
        let Some(Value::Text(id)) = event.attributes.get(ID) else { return None };
        let number = match event.attributes.get(NUMBER)? {
            Value::U64(number) => *number,
            Value::I64(number) => u64::try_from(*number).ok()?,
            _ => return None,
        };
        Some((Self { tenant: tenant.clone(), stream: event.stream.clone(), id: id.clone() }, number))
    }
}

/// How far journals came.
#[derive(Debug, Default)]
pub(super) struct Memory {
    state: Mutex<State>,
    /// Set once what was kept is read.
    loaded: OnceCell<()>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the entry that comes next, and when one came last.
    journals: BTreeMap<Journal, (u64, u64)>,
    /// The cursors from which places are read on.
    cursors: BTreeMap<String, String>,
    /// Tenants of which is said up to where their records are accounted for, and those of which it is written down.
    marked: BTreeSet<Tenant>,
    written: BTreeSet<Tenant>,
    /// Where logs ended when groups that are on their way were given to them.
    flights: BTreeMap<u64, (Tenant, Position)>,
    /// Counts groups.
    count: u64,
    is_new: bool,
}

/// What is written down.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// Up to which record of each tenant's log the rest says all.
    marks: BTreeMap<Tenant, Position>,
    journals: Vec<(Journal, u64)>,
    #[serde(default)]
    cursors: BTreeMap<String, String>,
}

/// A group that is on its way to the ledger.
pub(super) struct Flight<'a>(&'a Memory, u64);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.state().flights.remove(&self.1);
    }
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of the entry of a journal that comes next.
    pub(super) fn next(&self, journal: &Journal) -> u64 {
        self.state().journals.get(journal).map_or(0, |(next, _)| *next)
    }

    /// Returns the cursor from which a place is read on.
    pub(super) fn cursor(&self, place: &str) -> Option<String> {
        self.state().cursors.get(place).cloned()
    }

    /// Moves the cursor of a place.
    pub(super) fn move_to(&self, place: &str, cursor: String) {
        let mut state = self.state();
        state.cursors.insert(place.to_owned(), cursor);
        state.is_new = true;
    }

    /// Tells whether something is not written down yet.
    pub(super) fn is_new(&self) -> bool {
        self.state().is_new
    }

    /// Tells whether there is anything to write down, and all of it.
    pub(super) fn is_known(&self) -> bool {
        let state = self.state();
        self.loaded.initialized() && !(state.journals.is_empty() && state.cursors.is_empty())
    }

    /// Notes that a group is on its way.
    pub(super) fn fly(&self, means: &Means, tenant: &Tenant) -> Flight<'_> {
        let mut state = self.state();
        let at = (means.durable)(tenant).unwrap_or(0);
        state.count += 1;
        let number = state.count;
        state.flights.insert(number, (tenant.clone(), at));
        Flight(self, number)
    }

    /// Notes what is done with.
    pub(super) fn settle(&self, settled: impl Iterator<Item = (Journal, u64)>) {
        let mut state = self.state();
        for (journal, number) in settled {
            state.come_to(journal, number);
        }
    }

    /// Reads what was kept and what was recorded after it, once.
    pub(super) async fn load(&self, means: &Means) -> Result<(), Refusal> {
        self.loaded.get_or_try_init(|| self.read(means)).await?;
        Ok(())
    }

    async fn read(&self, means: &Means) -> Result<(), Refusal> {
        if !means.disk.exists(&means.kept) {
            return Ok(());
        }
        let kept: Kept = match disk::read(&*means.disk, &means.kept).map(|bytes| serde_json::from_slice(&bytes)) {
            Ok(Ok(kept)) => kept,
            // What is sent again is recorded again, which loses nothing.
            Ok(Err(_)) | Err(_) => {
                warn!("cannot read how far journals came: what is sent again is recorded again");
                return Ok(());
            }
        };
        {
            let mut state = self.state();
            state.cursors = kept.cursors;
            for (journal, next) in kept.journals {
                state.journals.insert(journal, (next, 0));
            }
        }
        for (tenant, from) in &kept.marks {
            match self.catch_up(means, tenant, *from).await {
                Err(refusal) if refusal.kind == RefusalKind::Retry => return Err(refusal),
                Err(refusal) => {
                    warn!(%tenant, error = %refusal, "cannot read which entries of journals are recorded: some may come twice");
                }
                Ok(()) => {}
            }
        }
        let mut state = self.state();
        state.written.extend(kept.marks.keys().cloned());
        state.marked.extend(kept.marks.into_keys());
        Ok(())
    }

    async fn catch_up(&self, means: &Means, tenant: &Tenant, from: Position) -> Result<(), Refusal> {
        let mut feed = (means.records)(tenant, from)?;
        loop {
            let records = feed.read(READ_RECORDS).await?;
            if records.is_empty() {
                return Ok(());
            }
            let events = records.into_iter().filter_map(|record| match record.signal.body {
                Body::Event(event) => Some(event),
                _ => None,
            });
            self.settle(events.filter_map(|event| Journal::of(tenant, &event)));
        }
    }

    /// Sees to it that what a tenant's log holds from now on is found again: before its first entry is recorded.
    pub(super) async fn begin(&self, means: &Means, tenant: &Tenant) {
        if self.state().written.contains(tenant) {
            return;
        }
        self.state().marked.insert(tenant.clone());
        if self.write(means).await {
            self.state().written.insert(tenant.clone());
        }
    }

    /// Writes down how far journals came, and tells whether that is durable.
    pub(super) async fn write(&self, means: &Means) -> bool {
        let json = {
            let mut state = self.state();
            state.is_new = false;
            serde_json::to_vec(&state.kept(means))
        };
        let Ok(json) = json else { return false };
        let (disk, path) = (std::sync::Arc::clone(&means.disk), means.kept.clone());
        let written = tokio::task::spawn_blocking(move || disk::write_atomic(&*disk, &path, &json)).await;
        if let Ok(Err(error)) = &written {
            // The next time, or the events themselves, say it.
            warn!(%error, "could not write down how far journals came");
        }
        matches!(written, Ok(Ok(())))
    }
}

impl State {
    fn come_to(&mut self, journal: Journal, number: u64) {
        self.count += 1;
        self.is_new = true;
        let count = self.count;
        let place = self.journals.entry(journal).or_insert((0, count));
        *place = (place.0.max(number.saturating_add(1)), count);
        if self.journals.len() > JOURNALS_MAX {
            let oldest = self.journals.iter().min_by_key(|(_, (_, came))| *came).map(|(journal, _)| journal.clone());
            oldest.and_then(|oldest| self.journals.remove(&oldest));
        }
    }

    /// What can be said now. The marks are where the logs end, or ended when what is on its way was given to them: all
    /// before is accounted for.
    fn kept(&self, means: &Means) -> Kept {
        let mark = |tenant: &Tenant| {
            let flights = self.flights.values().filter(|(of, _)| of == tenant).map(|(_, at)| *at);
            flights.chain([(means.durable)(tenant).unwrap_or(0)]).min().unwrap_or(0)
        };
        Kept {
            marks: self.marked.iter().map(|tenant| (tenant.clone(), mark(tenant))).collect(),
            journals: self.journals.iter().map(|(journal, (next, _))| (journal.clone(), *next)).collect(),
            cursors: self.cursors.clone(),
        }
    }
}
