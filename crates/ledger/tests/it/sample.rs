//! A log with its vault, made with the public codecs alone: what the verifiers are tried on.

use std::collections::BTreeMap;

use ledger::checkpoint::Checkpoint;
use ledger::commitment::{Salts, Seed};
use ledger::entry::{self, Head, Scalar, Uuid};
use ledger::merkle::{leaf_hash, root_of};
use ledger::note::{SecretSeeds, Signer};
use ledger::own::{Batch, Genesis, KeyRotation, LogId};
use ledger::payload;
use ledger::tile::TileWriter;
use ledger::verify::{Vault, VaultFault, VaultRecord};
use model::{Kind, Origin, Rng, SeededRng, SourceId, Value};

/// A record as the vault holds it.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) entry: Vec<u8>,
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) seed: [u8; 32],
}

/// The vault of a sample; it may be told to fail at its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kepts {
    pub(crate) records: Vec<Kept>,
    pub(crate) fails: bool,
}

impl Vault for Kepts {
    fn visit(&self, visit: &mut dyn FnMut(VaultRecord<'_>) -> bool) -> Result<(), VaultFault> {
        for (position, kept) in (0..).zip(&self.records) {
            let (payload, seed) = (kept.payload.as_deref(), Some(&kept.seed));
            if !visit(VaultRecord { position, entry: &kept.entry, payload, seed, boxes: &[] }) {
                return Ok(());
            }
        }
        if self.fails { Err(VaultFault::new("the disk is gone")) } else { Ok(()) }
    }
}

/// A log that grows in memory.
pub(crate) struct Sample {
    pub(crate) origin: Origin,
    pub(crate) signer: Signer,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) vault: Kepts,
    pub(crate) log_id: LogId,
    pub(crate) writer: TileWriter,
    pub(crate) t_ms: u64,
    rng: SeededRng,
    seqs: BTreeMap<(SourceId, bool), u64>,
    waiting: Vec<([u8; 32], u64)>,
}

impl Sample {
    /// Starts a log with its genesis.
    pub(crate) fn new(origin: &str, seed: u64) -> Self {
        let rng = SeededRng::new(seed);
        let origin = Origin::new(origin).expect("is valid");
        let signer = Signer::new(&origin, &SecretSeeds::generate(&rng));
        let files = [("vkey".to_owned(), signer.vkey().into_bytes()), ("mldsa.pub".to_owned(), signer.ml_dsa_public())];
        let mut log_id = [0; 16];
        rng.fill(&mut log_id);
        let mut sample = Self {
            origin: origin.clone(),
            signer,
            files: files.into(),
            vault: Kepts::default(),
            log_id,
            writer: TileWriter::new(),
            t_ms: 1_700_000_000_000,
            rng,
            seqs: BTreeMap::new(),
            waiting: Vec::new(),
        };
        let genesis = Genesis { log_id, origin: origin.as_str(), continues: None };
        sample.record(false, Kind::Genesis.number(), &genesis.fields(), &[]);
        sample
    }

    /// Returns what the next entry says before its fields, and counts its number.
    pub(crate) fn head(&mut self, inner: bool, kind: u16) -> Head {
        let mut batch = [0; 12];
        self.rng.fill(&mut batch);
        let source = SourceId::default();
        let seq = self.seqs.entry((source, inner)).or_default();
        *seq += 1;
        let head = Head {
            inner,
            kind,
            schema: entry::SCHEMA,
            t_admit_ms: self.t_ms,
            source,
            seq: *seq - 1,
            uuid: Uuid::new(batch, 0),
        };
        self.t_ms += 3;
        head
    }

    /// Appends a record, as a leaf or under the next batch leaf.
    pub(crate) fn record(&mut self, inner: bool, kind: u16, public: &[(u16, Scalar<'_>)], values: &[(u16, Value)]) {
        let head = self.head(inner, kind);
        self.record_with(&head, public, values);
    }

    /// Appends a record under a head of the caller's making.
    pub(crate) fn record_with(&mut self, head: &Head, public: &[(u16, Scalar<'_>)], values: &[(u16, Value)]) {
        let seed = Seed::generate(&self.rng);
        let (mut payload, mut commitments, mut entry) = (Vec::new(), Vec::new(), Vec::new());
        payload::encode(&mut payload, &head.uuid, values, &Salts::new(&seed), &mut commitments).expect("encodes");
        entry::encode(&mut entry, head, public.iter().copied(), &commitments).expect("encodes");
        if head.inner {
            self.waiting.push((leaf_hash(&entry), head.t_admit_ms));
        } else {
            self.writer.push(&entry).expect("fits");
        }
        self.vault.records.push(Kept { entry, payload: Some(payload), seed: *seed.expose() });
    }

    /// Closes the batch of the inner records appended so far.
    pub(crate) fn close_batch(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let hashes: Vec<_> = waiting.iter().map(|(hash, _)| *hash).collect();
        let batch = Batch {
            log_id: self.log_id,
            root: root_of(&hashes),
            count: hashes.len() as u64,
            t_min_ms: waiting.first().expect("is not empty").1,
            t_max_ms: waiting.last().expect("is not empty").1,
            stream: 0,
        };
        self.record(false, Kind::Batch.number(), &batch.fields(), &[]);
    }

    /// Appends `leaves` alerts with `inner` check results under a batch leaf after each tenth.
    pub(crate) fn fill(&mut self, leaves: u64, inner: u64) {
        for n in 0..leaves {
            let values =
                [(3, Value::from("labels of an alert")), (4, Value::Map([("n".into(), Value::U64(n))].into()))];
            self.record(
                false,
                Kind::Alert.number(),
                &[(1, Scalar::Text("critical")), (2, Scalar::Text("none"))],
                &values,
            );
            if n % 10 == 9 && inner > 0 {
                for _ in 0..inner {
                    let values = [(6, Value::from("connection refused")), (10, Value::F64(1.5))];
                    self.record(
                        true,
                        Kind::CheckResult.number(),
                        &[(1, Scalar::Name(4)), (3, Scalar::Text("down"))],
                        &values,
                    );
                }
                self.close_batch();
            }
        }
    }

    /// Returns the signed checkpoint of the present size.
    pub(crate) fn note(&self) -> String {
        let (size, root) = (self.writer.size(), self.writer.root());
        self.signer.sign(&Checkpoint { origin: self.origin.to_string(), size, root }, self.t_ms / 1_000)
    }

    /// Changes the keys as the ledger does: the leaf, a checkpoint by old and new, the files of both.
    pub(crate) fn rotate(&mut self, number: u64) {
        let new = Signer::new(&self.origin, &SecretSeeds::generate(&self.rng));
        let (vkey, ml_dsa_public) = (new.vkey(), new.ml_dsa_public());
        let retired = self.signer.verifiers().digest();
        let leaf = KeyRotation { vkey: &vkey, ml_dsa_public: &ml_dsa_public, number, retired };
        self.record(false, Kind::KeyRotation.number(), &leaf.fields(), &[]);
        self.commit();
        let (size, root) = (self.writer.size(), self.writer.root());
        let checkpoint = Checkpoint { origin: self.origin.to_string(), size, root };
        let both = new.cosign(self.note(), &checkpoint, self.t_ms / 1_000).into_bytes();
        self.files.insert("checkpoint".into(), both.clone());
        self.files.insert(format!("rotation/{number}"), both);
        self.files.insert(format!("vkey.{number}"), self.signer.vkey().into_bytes());
        self.files.insert(format!("mldsa.pub.{number}"), self.signer.ml_dsa_public());
        self.files.insert("vkey".into(), vkey.into_bytes());
        self.files.insert("mldsa.pub".into(), ml_dsa_public);
        self.signer = new;
    }

    /// Writes tiles and checkpoint, as a commit does.
    pub(crate) fn commit(&mut self) {
        for (path, bytes) in self.writer.take_full().into_iter().chain(self.writer.partials()) {
            self.files.insert(path.to_string(), bytes);
        }
        self.files.insert("checkpoint".into(), self.note().into_bytes());
    }
}
