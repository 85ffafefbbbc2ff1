//! The keys that a log had one after the other, and the checkpoints by which each handed over to the next.
//!
//! A rotation leaves three things beside the log: the keys that it retired (`vkey.<n>`, `mldsa.pub.<n>`), and
//! `rotation/<n>`, a checkpoint over the rotation's leaf that both the old and the new keys signed (invariant K-1). Who
//! trusts any of the keys is led to those in force; who trusts the newest alone sees that no link is missing.

use model::LogFault;
use model::limits::KEY_ROTATIONS_MAX;

use crate::checkpoint::Checkpoint;
use crate::merkle::Hash;
use crate::note::{NOTE_BYTES_MAX, Unsigned, Verifiers};

/// Longest file of a key.
const KEY_BYTES_MAX: usize = 4_096;

/// Gives a file of a log by its relative path, if it is there and no longer than the bound.
pub type ReadFile<'a> = dyn Fn(&str, usize) -> Result<Option<Vec<u8>>, LogFault> + 'a;

/// The keys of a log in their order; at least one pair.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    eras: Vec<Verifiers>,
    /// By which checkpoint each of `eras` but the last handed over.
    links: Vec<Checkpoint>,
}

impl From<Verifiers> for Chain {
    /// The keys of a log that never changed them.
    fn from(keys: Verifiers) -> Self {
        Self { eras: vec![keys], links: Vec::new() }
    }
}

/// What a rotation's leaf says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    /// Which leaf.
    pub(crate) index: u64,
    pub(crate) number: u64,
    pub(crate) retired: Hash,
    pub(crate) new: Hash,
}

impl Chain {
    /// Reads the keys that lie beside a log and verifies every link; `None` when none was ever retired.
    ///
    /// A rotation that was interrupted before both files of the new keys were in their place is not part of it yet: the
    /// old keys are still in force, and sign.
    ///
    /// # Errors
    /// When a file does not arrive, is missing or malformed, or a link lacks a signature of the old or of the new keys.
    pub fn read(read: &ReadFile<'_>) -> Result<Option<Self>, LogFault> {
        let mut eras = Vec::new();
        for number in 1.. {
            let Some(vkey) = read(&format!("vkey.{number}"), KEY_BYTES_MAX)? else { break };
            if number > KEY_ROTATIONS_MAX {
                return unsound("the log has retired more keys than are followed");
            }
            eras.push(pair(read, &vkey, &format!("mldsa.pub.{number}"))?);
        }
        if eras.is_empty() {
            return Ok(None);
        }
        let in_force = pair(read, &needed(read, "vkey", KEY_BYTES_MAX)?, "mldsa.pub")?;
        if eras.last().is_none_or(|last| last.ed25519 != in_force.ed25519) {
            eras.push(in_force);
        }
        let mut links: Vec<Checkpoint> = Vec::new();
        for (keys, number) in eras.array_windows().zip(1..) {
            let path = rotation_path(number);
            let note = needed(read, &path, NOTE_BYTES_MAX)?;
            let link = link(&note, keys).or_else(|why| unsound(format!("{path}: {why}")))?;
            if links.last().is_some_and(|before| before.size >= link.size) {
                return unsound(format!("{path}: it is no larger than the one before"));
            }
            links.push(link);
        }
        Ok(Some(Self { eras, links }))
    }

    /// Returns the keys in force.
    ///
    /// # Panics
    /// Never: there is at least one pair.
    #[must_use]
    pub fn in_force(&self) -> &Verifiers {
        self.eras.last().expect("invariant: a chain has at least one pair of keys")
    }

    /// Returns how many rotations lead from `keys` to those in force; `None` when `keys` are none of the log's.
    #[must_use]
    pub fn rotations_since(&self, keys: &Verifiers) -> Option<usize> {
        let same = |era: &Verifiers| {
            era.ed25519 == keys.ed25519 && (keys.ml_dsa_44.is_none() || era.ml_dsa_44 == keys.ml_dsa_44)
        };
        self.eras.iter().rev().position(same)
    }

    /// Returns the checkpoints by which keys handed over, in order.
    #[must_use]
    pub fn links(&self) -> &[Checkpoint] {
        &self.links
    }

    /// Verifies a checkpoint that the log signed at any time: by the keys that were in force at its size.
    ///
    /// # Errors
    /// As [`Verifiers::open`]; and when keys signed what came after they were retired, or before they took over.
    pub fn open(&self, note: &[u8]) -> Result<Checkpoint, String> {
        let mut fault = None;
        for (at, keys) in self.eras.iter().enumerate().rev() {
            let after = at.checked_sub(1).and_then(|before| self.links.get(before));
            let until = self.links.get(at);
            match keys.open(note) {
                Ok(checkpoint) if until.is_some_and(|until| checkpoint.size > until.size) => {
                    fault = Some(format!(
                        "the checkpoint of {} leaves is signed by keys that were retired at {} leaves",
                        checkpoint.size,
                        until.map_or(0, |until| until.size)
                    ));
                }
                Ok(checkpoint) if after.is_some_and(|after| checkpoint.size < after.size) => {
                    let text = format!("the checkpoint of {} leaves is signed by keys of later", checkpoint.size);
                    fault.get_or_insert(text);
                }
                Ok(checkpoint) => return Ok(checkpoint),
                Err(why @ Unsigned::Missing(_)) => {
                    fault.get_or_insert_with(|| why.to_string());
                }
                Err(why) => return Err(why.to_string()),
            }
        }
        Err(fault.unwrap_or_default())
    }

    /// Compares the rotations that the log's leaves announce with the links. Tells each fault with its leaf; the second
    /// list is of what is worth knowing and no fault.
    pub(crate) fn compare(&self, leaves: &[Announced]) -> (Vec<(Option<u64>, String)>, Vec<String>) {
        let (mut faults, mut notes) = (Vec::new(), Vec::new());
        for (leaf, at) in leaves.iter().zip(0_usize..) {
            let (number, path) = (at as u64 + 1, rotation_path(at as u64 + 1));
            let mut fault = |why: String| faults.push((Some(leaf.index), why));
            if leaf.number != number {
                fault(format!("the rotation has the number {} instead of {number}", leaf.number));
            }
            let announced = |at: usize, digest| self.eras.get(at).is_some_and(|keys| keys.digest() == digest);
            let Some(link) = self.links.get(at) else {
                if announced(at, leaf.retired) && leaves.len() == number as usize {
                    notes.push(format!(
                        "leaf {} announces keys that have not taken over: start the server, or run `dihya ledger \
                         rotate`, to finish the rotation",
                        leaf.index
                    ));
                } else {
                    fault(format!("the log's keys were rotated, and {path} or a key that it retired is missing"));
                }
                continue;
            };
            if !announced(at, leaf.retired) || !announced(at + 1, leaf.new) {
                fault(format!("the rotation announces other keys than those of {path}"));
            }
            let before = at.checked_sub(1).and_then(|before| self.links.get(before)).map_or(0, |before| before.size);
            if !(before..link.size).contains(&leaf.index) {
                fault(format!("{path} is not over the rotation's leaf"));
            }
        }
        for at in leaves.len()..self.links.len() {
            faults.push((
                None,
                format!("{} has no leaf: the log does not announce its keys", rotation_path(at as u64 + 1)),
            ));
        }
        (faults, notes)
    }
}

/// Returns where the checkpoint of a rotation lies.
pub(crate) fn rotation_path(number: u64) -> String {
    format!("rotation/{number}")
}

/// Verifies a checkpoint by which the first of `keys` handed over to the second.
fn link(note: &[u8], [old, new]: &[Verifiers; 2]) -> Result<Checkpoint, String> {
    old.open(note).map_err(|why| format!("{why} of the keys that it retires"))?;
    new.open(note).map_err(|why| format!("{why} of the new keys"))
}

fn pair(read: &ReadFile<'_>, vkey: &[u8], ml_dsa: &str) -> Result<Verifiers, LogFault> {
    let ml_dsa = needed(read, ml_dsa, KEY_BYTES_MAX)?;
    Verifiers::parse(vkey, Some(&ml_dsa)).or_else(|why| unsound(why.to_string()))
}

fn needed(read: &ReadFile<'_>, path: &str, max: usize) -> Result<Vec<u8>, LogFault> {
    read(path, max)?.map_or_else(|| unsound(format!("{path} is missing")), Ok)
}

fn unsound<T>(why: impl Into<String>) -> Result<T, LogFault> {
    Err(LogFault::Unsound(why.into()))
}
