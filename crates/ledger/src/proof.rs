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

#[cfg(test)]
mod tests {
    use model::{Kind, Origin, SeededRng, SourceId};
    use proptest::prelude::*;

    use super::*;
    use crate::entry::{self, Head, Uuid};
    use crate::merkle::{prove_inclusion, root_of};
    use crate::note::{SecretSeeds, Signer};

    fn record(inner: bool, seq: u64) -> Vec<u8> {
        let head = Head {
            inner,
            kind: Kind::CheckResult.number(),
            schema: 1,
            t_admit_ms: 5,
            source: SourceId::default(),
            seq,
            uuid: Uuid::new([1; 12], u32::try_from(seq).expect("is small")),
        };
        let mut out = Vec::new();
        entry::encode(&mut out, &head, [], &[]).expect("encodes");
        out
    }

    fn batch_entry(batch: &Batch) -> Vec<u8> {
        let bytes = record(false, 9);
        let head = Head { kind: Kind::Batch.number(), ..*Entry::decode(&bytes).expect("decodes").head() };
        let mut out = Vec::new();
        entry::encode(&mut out, &head, batch.fields(), &[]).expect("encodes");
        out
    }

    /// A log of seven leaves, of which the fifth is the leaf of a batch of six.
    fn log() -> (Signer, String, Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let inner: Vec<_> = (0..6).map(|n| record(true, n)).collect();
        let hashes: Vec<_> = inner.iter().map(|entry| leaf_hash(entry)).collect();
        let batch = Batch { log_id: [1; 16], root: root_of(&hashes), count: 6, t_min_ms: 5, t_max_ms: 5, stream: 0 };
        let mut leaves: Vec<_> = (0..7).map(|n| record(false, n)).collect();
        leaves[4] = batch_entry(&batch);
        let signer = Signer::new(&Origin::new("a/b").expect("is valid"), &SecretSeeds::generate(&SeededRng::new(1)));
        let hashes: Vec<_> = leaves.iter().map(|entry| leaf_hash(entry)).collect();
        let checkpoint = Checkpoint { origin: "a/b".into(), size: 7, root: root_of(&hashes) };
        let note = signer.sign(&checkpoint, 1);
        (signer, note, leaves, inner)
    }

    fn prove(entries: &[Vec<u8>], index: u64) -> Vec<Hash> {
        let hashes: Vec<_> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        prove_inclusion(&mut hashes.as_slice(), index, entries.len() as u64).expect("proves")
    }

    #[test]
    fn a_leaf_and_a_record_of_a_batch_are_proven_by_text_alone() {
        let (signer, note, leaves, inner) = log();
        let keys = signer.verifiers();
        for index in [0, 3, 6] {
            let proof = Proof { index, path: prove(&leaves, index), checkpoint: note.clone(), extra: None };
            let proof = Proof::parse(proof.to_text().as_bytes()).expect("parses");
            let entry = &leaves[usize::try_from(index).expect("is small")];
            assert_eq!(proof.verify(entry, keys).map(|checkpoint| checkpoint.size), Ok(7));
            assert!(proof.verify(&leaves[1], keys).is_err());
        }
        for index in 0..6_u16 {
            let way = InnerProof { index, path: prove(&inner, index.into()), batch: leaves[4].clone() };
            let extra = Some(way.to_bytes());
            let proof = Proof { index: 4, path: prove(&leaves, 4), checkpoint: note.clone(), extra };
            let text = proof.to_text();
            assert!(text.starts_with("c2sp.org/tlog-proof@v1\nextra "), "{text}");
            let read = Proof::parse(text.as_bytes()).expect("parses");
            assert_eq!(read, proof);
            assert!(read.verify(&inner[usize::from(index)], keys).is_ok());
            assert!(read.verify(&inner[usize::from(index + 1) % 6], keys).is_err());
            // A published leaf is never taken for a record of the batch, nor the other way round.
            assert!(read.verify(&leaves[0], keys).is_err());
            assert!(Proof { extra: None, ..read.clone() }.verify(&inner[usize::from(index)], keys).is_err());
            let stripped = Proof { checkpoint: note.lines().take(5).map(|l| format!("{l}\n")).collect(), ..read };
            assert!(matches!(stripped.verify(&inner[usize::from(index)], keys), Err(Unproven::Unsigned(_))));
        }
    }

    #[test]
    fn proofs_that_break_a_rule_are_refused() {
        let hash = STANDARD.encode([1; 32]);
        let with = |head: &str| format!("c2sp.org/tlog-proof@v1\n{head}\ncheckpoint");
        assert!(Proof::parse(with("index 0\n").as_bytes()).is_ok());
        for (text, why) in [
            (" ".repeat(TEXT_BYTES_MAX + 1).into_bytes(), "is longer than its bound"),
            (b"\xff".to_vec(), "is not UTF-8"),
            (b"c2sp.org/tlog-proof@v1\nindex 0\n".to_vec(), "has no empty line before its checkpoint"),
            (b"c2sp.org/tlog-proof@v2\nindex 0\n\nx".to_vec(), "does not start with c2sp.org/tlog-proof@v1"),
            (with("index 00\n").into_bytes(), "has no index"),
            (with("extra AAAA\n").into_bytes(), "has no index"),
            (with("extra AAA\nindex 0\n").into_bytes(), "has an extra line that is not base64"),
            (with("index 0\nAAAA\n").into_bytes(), "has a hash that is not 32 bytes in base64"),
            (with(&format!("index 0\n{}", format!("{hash}\n").repeat(65))).into_bytes(), "has too many hashes"),
        ] {
            assert_eq!(Proof::parse(&text), Err(Malformed::new(WHAT, why)));
        }
    }

    #[test]
    fn inner_proofs_that_break_a_rule_are_refused() {
        let (_, _, leaves, _) = log();
        let way = InnerProof { index: 1, path: vec![[3; 32]; 3], batch: leaves[4].clone() };
        assert_eq!(InnerProof::from_bytes(&way.to_bytes()), Ok(way.clone()));
        let mut other = way.to_bytes();
        other[0] = b'x';
        for bytes in [other, way.to_bytes()[..60].to_vec(), InnerProof { batch: leaves[0].clone(), ..way }.to_bytes()] {
            assert!(InnerProof::from_bytes(&bytes).is_err());
        }
    }

    proptest! {
        #[test]
        fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = InnerProof::from_bytes(&[&INNER_MAGIC[..], &noise].concat());
            let head = b"c2sp.org/tlog-proof@v1\nindex 0\n";
            let _ = Proof::parse(&[&head[..], &noise].concat());
        }
    }
}
