//! The vault against the log: every record lies where the tree says, and every commitment opens or is excused (I2).

use model::SourceId;
use model::limits::BATCH_RECORDS_MAX;
use privacy::{Boxed, Place, Ring, Tried};

use super::source::Tiles;
use super::{Findings, Invariant, Report, Source, goes_on_from};
use crate::chain::Chain;
use crate::checkpoint::Checkpoint;
use crate::commitment::{Salts, Seed};
use crate::entry::Entry;
use crate::merkle::{Hash, leaf_hash, root_of};
use crate::own::{Batch, LogId, Meta};
use crate::payload::Payload;
use crate::tile::{TilePath, WIDTH};

/// A record as the vault has it.
#[derive(Clone, Copy, Debug)]
pub struct VaultRecord<'a> {
    /// Its position in the write-ahead log.
    pub position: u64,
    /// Its entry.
    pub entry: &'a [u8],
    /// Its payload; `None` when it was deleted.
    pub payload: Option<&'a [u8]>,
    /// The seed of its salts, unless the payload carries them.
    pub seed: Option<&'a [u8; 32]>,
    /// Its boxes; empty when it has none, or they were deleted.
    pub boxes: &'a [u8],
}

/// Why the vault could not be read to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct VaultFault {
    why: String,
    torn: bool,
}

impl VaultFault {
    /// Says why.
    #[must_use]
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), torn: false }
    }

    /// Says why the vault ends where one that is written to, or was when its power went, may end.
    #[must_use]
    pub fn torn(why: impl Into<String>) -> Self {
        Self { why: why.into(), torn: true }
    }
}

/// The records of one log in the order of their positions, from the first one on, whether they have leaves of their own
/// or lie under a batch leaf. A batch leaf comes after the records under it.
pub trait Vault {
    /// Calls `visit` with each record until it answers `false` or there is none left.
    ///
    /// # Errors
    /// When the storage behind it does not give a record.
    fn visit(&self, visit: &mut dyn FnMut(VaultRecord<'_>) -> bool) -> Result<(), VaultFault>;
}

/// A record under the batch leaf that is still to come: its hash, and what has to be said if it is not excused.
struct Inner {
    hash: Hash,
    t_ms: u64,
    commitments: u64,
    unopened: Vec<u16>,
    /// What is wrong with its boxes.
    boxes: Vec<(u8, &'static str)>,
    payload: bool,
}

/// Compares the vault's records with the leaves of a log that was walked, and opens their commitments.
pub(super) fn check(
    (vault, ring): (&dyn Vault, Option<&Ring<'_>>),
    source: &dyn Source,
    checkpoint: &Checkpoint,
    report: &mut Report,
    findings: &mut Findings,
) {
    let mut check = Check {
        tiles: Tiles(source),
        size: checkpoint.size,
        next: 0,
        tile: (u64::MAX, Vec::new()),
        batch: Vec::new(),
        inner_next: std::collections::HashMap::new(),
        salts: None,
        ring: ring.map(|ring| (ring, std::collections::BTreeMap::new())),
        origin: &checkpoint.origin,
        report,
        findings,
    };
    let result = vault.visit(&mut |record| check.next < check.size && check.record(&record));
    if let Err(fault) = result {
        if check.next < check.size {
            check.findings.error(Invariant::I2, None, format!("the vault cannot be read: {fault}"));
        } else {
            // As after a kill in the midst of a write, or beside a server that writes: no checkpoint speaks of it.
            check.findings.note(Invariant::I2, format!("the vault ends torn, beyond the last signed leaf: {fault}"));
        }
    } else if check.next < check.size && check.findings.errors == 0 {
        let text = format!("the vault ends before leaf {}", check.next);
        check.findings.error(Invariant::I2, Some(check.next), text);
    }
}

struct Check<'a> {
    tiles: Tiles<'a>,
    size: u64,
    /// The next leaf.
    next: u64,
    tile: (u64, Vec<u8>),
    batch: Vec<Inner>,
    inner_next: std::collections::HashMap<SourceId, u64>,
    salts: Option<([u8; 32], Salts)>,
    /// The keys of persons, and what boxes are bound to, by version of the kinds' fields.
    ring: Option<(&'a Ring<'a>, std::collections::BTreeMap<u32, Place>)>,
    origin: &'a str,
    report: &'a mut Report,
    findings: &'a mut Findings,
}

impl Check<'_> {
    /// Takes one record; `false` ends the visit.
    fn record(&mut self, record: &VaultRecord<'_>) -> bool {
        let at = self.next;
        let entry = match Entry::decode(record.entry) {
            Ok(entry) => entry,
            Err(error) => {
                let text = format!("position {} of the vault: {error}", record.position);
                self.findings.error(Invariant::I1, Some(at), text);
                return false;
            }
        };
        self.report.vault_records += 1;
        let inner = Inner {
            hash: leaf_hash(record.entry),
            t_ms: entry.head().t_admit_ms,
            commitments: entry.commitments().len() as u64,
            unopened: self.open(&entry, record),
            boxes: self.open_boxes(&entry, record.boxes),
            payload: record.payload.is_some(),
        };
        if entry.head().inner {
            return self.inner(&entry, inner);
        }
        if self.leaf_in_tile(at) != Some(inner.hash) {
            let text = format!("position {} of the vault is another record than the leaf", record.position);
            self.findings.error(Invariant::I1, Some(at), text);
            return false;
        }
        self.next += 1;
        self.account(at, None, &inner);
        if entry.head().kind == model::Kind::Batch.number() {
            self.close_batch(at, &entry);
        }
        true
    }

    fn inner(&mut self, entry: &Entry<'_>, inner: Inner) -> bool {
        let (at, position) = (self.next, self.batch.len() as u64);
        if self.batch.len() == BATCH_RECORDS_MAX {
            self.findings.error(Invariant::I1, Some(at), "more records wait for their batch leaf than one may hold");
            return false;
        }
        let next = self.inner_next.entry(entry.head().source).or_default();
        if entry.head().seq != *next {
            self.findings.inner(Invariant::I4, at, position, "the record's number does not follow that before it");
        }
        *next = (*next).max(entry.head().seq.saturating_add(1));
        self.batch.push(inner);
        true
    }

    fn close_batch(&mut self, at: u64, entry: &Entry<'_>) {
        let records = std::mem::take(&mut self.batch);
        // A leaf that is no batch was found by the walk over the entries already.
        let Ok(batch) = Batch::read(entry) else { return };
        let hashes: Vec<Hash> = records.iter().map(|record| record.hash).collect();
        if batch.count != records.len() as u64 || batch.root != root_of(&hashes) {
            self.findings.error(Invariant::I1, Some(at), "the records of the batch do not lead to its root");
        }
        let times = (records.first().map(|record| record.t_ms), records.last().map(|record| record.t_ms));
        if times != (Some(batch.t_min_ms), Some(batch.t_max_ms)) || !records.is_sorted_by_key(|record| record.t_ms) {
            self.findings.error(Invariant::I5, Some(at), "the times of the batch are not those of its records");
        }
        for (position, record) in (0..).zip(&records) {
            self.account(at, Some(position), record);
        }
    }

    /// Returns the committed fields that do not open. What a box holds cannot be opened without its key: that the box is
    /// there counts.
    fn open(&mut self, entry: &Entry<'_>, record: &VaultRecord<'_>) -> Vec<u16> {
        let all = || entry.commitments().map(|(field, _)| field).collect();
        let Some(payload) = record.payload else { return all() };
        if let Some(seed) = record.seed
            && self.salts.as_ref().is_none_or(|(kept, _)| kept != seed)
        {
            self.salts = Some((*seed, Salts::new(&Seed::from_bytes(*seed))));
        }
        let salts = self.salts.as_ref().filter(|_| record.seed.is_some()).map(|(_, salts)| salts);
        let Ok(boxes) = Boxed::read_all(record.boxes) else { return all() };
        Payload::decode(payload).map_or_else(|_| all(), |payload| payload.unopened_beside(entry, salts, &boxes))
    }

    /// Opens the boxes whose keys live, counts those whose keys do not, and returns what is wrong with the others.
    fn open_boxes(&mut self, entry: &Entry<'_>, bytes: &[u8]) -> Vec<(u8, &'static str)> {
        // A form that is broken leaves fields that do not open.
        let boxes = Boxed::read_all(bytes).unwrap_or_default();
        self.report.boxes += boxes.len() as u64;
        let Some((ring, places)) = &mut self.ring else { return Vec::new() };
        let (head, origin) = (entry.head(), self.origin);
        let place = places.entry(head.schema).or_insert_with(|| Place::new(origin, head.schema));
        let mut wrong = Vec::new();
        for found in boxes {
            match ring.open(&found, place, &head.uuid.0) {
                Tried::Erased => self.report.boxes_erased += 1,
                Tried::Closed => wrong.push((found.number, "does not open, though its keys are there")),
                Tried::Opened(values) => {
                    let is_committed = |value: &privacy::Opened| {
                        let ours = value.commitment(&head.uuid.0);
                        entry.commitments().any(|(field, c)| (field, *c) == (value.field, ours))
                    };
                    if values.iter().all(is_committed) {
                        self.report.boxes_opened += 1;
                    } else {
                        wrong.push((found.number, "holds other values than the entry commits to"));
                    }
                }
            }
        }
        wrong
    }

    fn account(&mut self, index: u64, inner: Option<u64>, record: &Inner) {
        for (number, why) in &record.boxes {
            let text = format!("box {number} {why}");
            match inner {
                Some(inner) => self.findings.inner(Invariant::I2, index, inner, text),
                None => self.findings.error(Invariant::I2, Some(index), text),
            }
        }
        let unopened = record.unopened.len() as u64;
        let excused = !record.payload && index < self.report.retained_from;
        if unopened == 0 || excused {
            self.report.opened += record.commitments.saturating_sub(unopened);
            self.report.covered += unopened;
            return;
        }
        let fields: Vec<String> = record.unopened.iter().take(8).map(u16::to_string).collect();
        let why = if record.payload { "do not open" } else { "were deleted and no retention record covers them" };
        let text = format!("values of the fields {} {why}", fields.join(", "));
        match inner {
            Some(inner) => self.findings.inner(Invariant::I2, index, inner, text),
            None => self.findings.error(Invariant::I2, Some(index), text),
        }
    }

    fn leaf_in_tile(&mut self, index: u64) -> Option<Hash> {
        let (tile, offset) = (index / u64::from(WIDTH), index % u64::from(WIDTH));
        if self.tile.0 != tile {
            let left = self.size - tile * u64::from(WIDTH);
            let width = u16::try_from(left).map_or(WIDTH, |left| left.min(WIDTH));
            self.tile = (tile, self.tiles.hashes(TilePath::hashes(0, tile, width)).ok()?);
        }
        self.tile.1.as_chunks::<32>().0.get(usize::try_from(offset).ok()?).copied()
    }
}

/// Checks one tenant's log against the meta-log (I6): every checkpoint of the log that the meta-log holds under
/// `log_id` must be signed by the keys that the log had then, and the log must go on from each of them in turn.
///
/// `meta` gives the records of the meta-log, which was verified with its own vault before. `log` was verified before,
/// under `checkpoint`. Returns how many checkpoints were found, and what is wrong with them.
#[must_use]
pub fn verify_meta(
    meta: &dyn Vault,
    log_id: &LogId,
    log: &dyn Source,
    checkpoint: &Checkpoint,
    keys: &Chain,
) -> (u64, Vec<super::Finding>) {
    let (mut findings, mut count, mut index, mut size) = (Findings::default(), 0, 0, 0);
    let result = meta.visit(&mut |record| {
        let Ok(entry) = Entry::decode(record.entry) else { return true };
        if entry.head().inner {
            return true;
        }
        let at = index;
        index += 1;
        if !Meta::read(&entry).is_ok_and(|meta| meta.log_id == *log_id) {
            return true;
        }
        count += 1;
        match opened_checkpoint(&entry, &record, keys) {
            Ok(Some(earlier)) if earlier.size < size => {
                findings.error(Invariant::I6, Some(at), "the log has fewer leaves than at the checkpoint before");
            }
            Ok(Some(earlier)) => {
                size = earlier.size;
                if let Err(text) = goes_on_from(log, checkpoint, &earlier) {
                    findings.error(Invariant::I6, Some(at), text);
                }
            }
            Ok(None) => {} // deleted: whether a retention record covers it, I2 of the meta-log says
            Err(text) => findings.error(Invariant::I6, Some(at), text),
        }
        true
    });
    match result {
        // Whether a signed leaf is missing there, the verification of the meta-log itself says.
        Err(fault) if fault.torn => findings.note(Invariant::I6, format!("the meta-log's vault ends torn: {fault}")),
        Err(fault) => findings.error(Invariant::I6, None, format!("the meta-log's vault cannot be read: {fault}")),
        Ok(()) => {}
    }
    (count, findings.list)
}

fn opened_checkpoint(entry: &Entry<'_>, record: &VaultRecord<'_>, keys: &Chain) -> Result<Option<Checkpoint>, String> {
    let Some(payload) = record.payload else { return Ok(None) };
    let payload = Payload::decode(payload).map_err(|error| error.to_string())?;
    let salts = record.seed.map(|seed| Salts::new(&Seed::from_bytes(*seed)));
    let value = payload.values().find(|value| value.field == Meta::CHECKPOINT);
    let Some(value) = value.filter(|_| payload.unopened(entry, salts.as_ref()).is_empty()) else {
        return Err("the checkpoint in the meta-log does not open".to_owned());
    };
    keys.open(value.bytes).map(Some)
}
