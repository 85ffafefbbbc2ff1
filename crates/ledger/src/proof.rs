//! Proofs that travel: c2sp.org/tlog-proof@v1 text with a checkpoint inside, verifiable offline by anybody.
//!
//! A record with a leaf of its own is shown by the proof as it is. A record of a batch is shown by two RFC 6962 proofs:
//! the text proves the batch leaf, which any foreign tool can check, and its `extra` line carries that leaf's entry and
//! the path from the record to the root in it. Drawn in `docs/format/ledger.md`, "Proof".

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{Checkpoint, parse_decimal, parse_hash};
use crate::entry::Entry;
use crate::malformed::{Malformed, Reader};
use crate::merkle::{Hash, leaf_hash, root_from_inclusion, verify_inclusion};
use crate::note::{NOTE_BYTES_MAX, Unsigned, Verifiers};
use crate::own::Batch;

const WHAT: &str = "proof";
const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// The first bytes of an `extra` line of ours.
const INNER_MAGIC: [u8; 4] = *b"dhp1";
/// Longest proof of inclusion in a tree of less than 2^64 leaves.
const PATH_MAX: usize = 64;
/// Longest text that is read: a note, and an `extra` line with one entry.
const TEXT_BYTES_MAX: usize = NOTE_BYTES_MAX + (128 << 10);

/// A proof of inclusion under a signed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The index of the leaf in the log.
    pub index: u64,
    /// The siblings from the leaf to the root.
    pub path: Vec<Hash>,
    /// The signed checkpoint, verbatim.
    pub checkpoint: String,
    /// Opaque to the format, and trusted only as far as it hashes to the leaf. Ours hold an [`InnerProof`].
    pub extra: Option<Vec<u8>>,
}

/// The way from a record of a batch to its batch leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InnerProof {
    /// The record's index under the batch leaf.
    pub index: u16,
    /// The siblings from the record to the batch's root.
    pub path: Vec<Hash>,
    /// The entry of the batch leaf.
    pub batch: Vec<u8>,
}

impl InnerProof {
    /// Returns `"dhp1" | index u16 | n u8 | n x hash 32 | batch entry`.
    ///
    /// # Panics
    /// Never for a path of a batch: at most 12 hashes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let len = u8::try_from(self.path.len()).expect("invariant: a batch has at most 4,096 records");
        let mut bytes = INNER_MAGIC.to_vec();
        bytes.extend_from_slice(&self.index.to_be_bytes());
        bytes.push(len);
        bytes.extend(self.path.iter().flatten());
        bytes.extend_from_slice(&self.batch);
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// When it is not that, or its last part is not the entry of a batch leaf.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("inner proof", bytes);
        if *reader.array()? != INNER_MAGIC {
            return Err(reader.fail("does not start with dhp1"));
        }
        let index = reader.u16()?;
        let path = (0..reader.u8()?).map(|_| reader.array().copied()).collect::<Result<_, _>>()?;
        let batch = reader.rest();
        Batch::read(&Entry::decode(batch)?)?;
        Ok(Self { index, path, batch: batch.to_vec() })
    }
}

/// Why a proof does not show that the entry is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unproven {
    /// The proof cannot be read, or does not lead to the root.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Its checkpoint is not signed by the log's keys.
    #[error(transparent)]
    Unsigned(#[from] Unsigned),
}

impl Proof {
    /// Returns the text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADER}\n");
        if let Some(extra) = &self.extra {
            text.push_str(&format!("extra {}\n", STANDARD.encode(extra)));
        }
        text.push_str(&format!("index {}\n", self.index));
        for hash in &self.path {
            text.push_str(&STANDARD.encode(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Reads a proof. The checkpoint in it is not verified yet.
    ///
    /// # Errors
    /// When it breaks the format or is longer than any proof.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let bad = |why| Malformed::new(WHAT, why);
        if bytes.len() > TEXT_BYTES_MAX {
            return Err(bad("is longer than its bound"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| bad("is not UTF-8"))?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(bad("has no empty line before its checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(bad("does not start with c2sp.org/tlog-proof@v1"));
        }
        let extra = lines.next_if(|line| line.starts_with("extra ")).and_then(|line| line.strip_prefix("extra "));
        let extra = extra.map(|text| STANDARD.decode(text).map_err(|_| bad("has an extra line that is not base64")));
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(parse_decimal);
        let index = index.ok_or(bad("has no index"))?;
        let mut path = Vec::new();
        for line in lines {
            if path.len() == PATH_MAX {
                return Err(bad("has too many hashes"));
            }
            path.push(parse_hash(line).ok_or(bad("has a hash that is not 32 bytes in base64"))?);
        }
        Ok(Self { index, path, checkpoint: checkpoint.to_owned(), extra: extra.transpose()? })
    }

    /// Verifies that `entry` is in the log whose keys are `keys`, and returns the checkpoint that covers it.
    ///
    /// # Errors
    /// When a signature is missing or wrong, or the path does not lead from the entry to the signed root.
    pub fn verify(&self, entry: &[u8], keys: &Verifiers) -> Result<Checkpoint, Unproven> {
        let checkpoint = keys.open(self.checkpoint.as_bytes())?;
        let leaf = self.leaf_of(entry)?;
        verify_inclusion(&leaf, self.index, checkpoint.size, &self.path, &checkpoint.root)?;
        Ok(checkpoint)
    }

    /// Returns the hash of the leaf that stands for `entry`: its own, or that of its batch.
    fn leaf_of(&self, entry: &[u8]) -> Result<Hash, Malformed> {
        let inner = Entry::decode(entry).is_ok_and(|entry| entry.head().inner);
        if !inner {
            return Ok(leaf_hash(entry));
        }
        let extra = self.extra.as_deref().ok_or(Malformed::new(WHAT, "lacks the way from the record to its batch"))?;
        let proof = InnerProof::from_bytes(extra)?;
        let batch = Batch::read(&Entry::decode(&proof.batch)?)?;
        let root = root_from_inclusion(&leaf_hash(entry), u64::from(proof.index), batch.count, &proof.path)?;
        if root == batch.root {
            Ok(leaf_hash(&proof.batch))
        } else {
            Err(Malformed::new(WHAT, "does not lead from the record to its batch"))
        }
    }
}
