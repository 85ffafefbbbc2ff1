//! One bundle of 256 entries against its tile: the part of verification that needs no order and runs on every core.

use model::Kind;

use super::source::Tiles;
use super::{Findings, Invariant};
use crate::entry::{Entry, Head, Scalar};
use crate::merkle::{self, Hash, leaf_hash};
use crate::note::Verifiers;
use crate::own::{Batch, Genesis, KeyRotation, LogId, Meta, Recovery, Retention};
use crate::tile::{TilePath, WIDTH, read_bundle};

/// What one bundle was found to be.
pub(super) struct Checked {
    pub(super) index: u64,
    /// The leaf hashes; `None` when neither entries nor tile could be read.
    pub(super) hashes: Option<Vec<u8>>,
    /// The root over them, if the bundle is full.
    pub(super) root: Option<Hash>,
    pub(super) records: Vec<Record>,
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) tiles: u64,
    pub(super) findings: Findings,
}

/// What the order of records is checked by.
pub(super) struct Record {
    pub(super) index: u64,
    pub(super) head: Head,
    pub(super) special: Special,
}

/// What a record says about others.
pub(super) enum Special {
    None,
    Genesis { log_id: LogId, origin: String },
    Batch(Batch),
    Retention { until_index: u64 },
    Gap { count: u64 },
    Rotation { number: u64, retired: Hash, new: Hash },
    Unknown,
}

/// Reads bundle `index` of a log of `size` entries and compares it with its tile.
pub(super) fn check(tiles: &Tiles<'_>, index: u64, size: u64, opaque: bool) -> Checked {
    let first = index * u64::from(WIDTH);
    let width = u16::try_from(size - first).map_or(WIDTH, |left| left.min(WIDTH));
    let mut checked = Checked {
        index,
        hashes: None,
        root: None,
        records: Vec::new(),
        entries: 0,
        bytes: 0,
        tiles: 2,
        findings: Findings::default(),
    };
    let ours = hash_entries(tiles, TilePath::entries(index, width), first, opaque, &mut checked);
    let path = TilePath::hashes(0, index, width);
    let theirs = match tiles.hashes(path) {
        Ok(hashes) => Some(hashes),
        Err(fault) => {
            checked.findings.error(Invariant::I1, None, format!("{path}: {fault}"));
            None
        }
    };
    if let (Some(ours), Some(theirs)) = (&ours, &theirs)
        && ours != theirs
    {
        let differing = ours.as_chunks::<32>().0.iter().zip(theirs.as_chunks::<32>().0).position(|(a, b)| a != b);
        let at = differing.map(|at| first + at as u64);
        checked.findings.error(Invariant::I1, at, format!("the entry does not hash to {path}"));
    }
    // The tile is the second best: with it the walk goes on, and the other leaves are still checked.
    checked.hashes = ours.or(theirs);
    checked.root = checked.hashes.as_ref().filter(|_| width == WIDTH).map(|h| merkle::root_of(h.as_chunks::<32>().0));
    checked
}

fn hash_entries(tiles: &Tiles<'_>, path: TilePath, first: u64, opaque: bool, checked: &mut Checked) -> Option<Vec<u8>> {
    let findings = &mut checked.findings;
    let (bundle, file_width) = match tiles.file(path) {
        Ok(file) => file,
        Err(fault) => {
            findings.error(Invariant::I1, None, format!("{path}: {fault}"));
            return None;
        }
    };
    let mut hashes = Vec::with_capacity(usize::from(WIDTH) * 32);
    if !opaque {
        checked.records.reserve(usize::from(path.width));
    }
    let mut found: u16 = 0;
    for entry in read_bundle(&bundle) {
        let Ok(entry) = entry else {
            findings.error(Invariant::I1, None, format!("{path} is not a sequence of entries"));
            return None;
        };
        found = found.saturating_add(1);
        if found > path.width {
            continue; // a fuller bundle than this checkpoint needs
        }
        let index = first + u64::from(found) - 1;
        hashes.extend_from_slice(&leaf_hash(entry));
        checked.entries += 1;
        checked.bytes += entry.len() as u64;
        if opaque {
            continue;
        }
        match read_record(entry, index) {
            Ok(record) => checked.records.push(record),
            Err(why) => findings.error(Invariant::I1, Some(index), why),
        }
    }
    if found != file_width {
        findings.error(Invariant::I1, None, format!("{path} holds {found} entries instead of {file_width}"));
        return None;
    }
    Some(hashes)
}

fn read_record(bytes: &[u8], index: u64) -> Result<Record, String> {
    let entry = Entry::decode(bytes).map_err(|error| error.to_string())?;
    let head = *entry.head();
    if head.inner {
        return Err("the entry belongs under a batch leaf, and is one itself".to_owned());
    }
    let special = read_special(&entry).map_err(|error| error.to_string())?;
    Ok(Record { index, head, special })
}

fn read_special(entry: &Entry<'_>) -> Result<Special, crate::Malformed> {
    Ok(match entry.head().known_kind() {
        None => Special::Unknown,
        Some(Kind::Genesis) => {
            let genesis = Genesis::read(entry)?;
            Special::Genesis { log_id: genesis.log_id, origin: genesis.origin.to_owned() }
        }
        Some(Kind::Batch) => Special::Batch(Batch::read(entry)?),
        Some(Kind::Retention) => Special::Retention { until_index: Retention::read(entry)?.until_index },
        Some(Kind::Meta) => {
            Meta::read(entry)?;
            Special::None
        }
        Some(Kind::Recovery) => {
            Recovery::read(entry)?;
            Special::None
        }
        Some(Kind::KeyRotation) => {
            let rotation = KeyRotation::read(entry)?;
            let new = Verifiers::parse(rotation.vkey.as_bytes(), Some(rotation.ml_dsa_public))?;
            Special::Rotation { number: rotation.number, retired: rotation.retired, new: new.digest() }
        }
        Some(Kind::Gap) => match entry.field(3) {
            Some(Scalar::U64(count)) => Special::Gap { count },
            _ => return Err(crate::Malformed::new("gap record", "does not say how many were lost")),
        },
        Some(_) => Special::None,
    })
}
