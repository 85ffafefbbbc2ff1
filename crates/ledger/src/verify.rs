//! Offline verification of a log, by somebody who trusts its keys and nothing else (`dihya ledger verify`).
//!
//! Everything is recomputed from the entries: the hashes, every tile, the root, and what the records claim about each
//! other. A hostile directory gives findings, never a panic, in memory that does not depend on its size.

mod bundle;
mod sequence;
mod source;
mod vault;

use std::thread;

use model::LogFault;

pub use source::{DiskSource, ReadFault, Source};
pub use vault::{Vault, VaultFault, VaultRecord, verify_meta};

use crate::chain::{Announced, Chain, rotation_path};
use crate::checkpoint::Checkpoint;
use crate::malformed::Malformed;
use crate::merkle::{self, Compact, Hash};
use crate::note::{NOTE_BYTES_MAX, Verifiers};
use crate::tile::{LEVELS_MAX, TileNodes, TilePath, WIDTH};
use bundle::Checked;
use sequence::Sequence;
use source::Tiles;

/// Most findings that are kept in words; all are counted.
pub const FINDINGS_MAX: usize = 1_000;
/// Bundles that one thread takes at a time.
const SHARE_BUNDLES: u64 = 16;

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weight {
    /// Worth knowing; the log is as it should be.
    Note,
    /// The log cannot be relied on.
    Error,
}

/// Which promise of the log a finding is about (`docs/format/ledger.md`, "Verification").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// Entries, tiles, checkpoint and signatures agree, and every entry is well formed.
    I1,
    /// Every commitment opens, or a retention record covers it.
    I2,
    /// Numbers are contiguous per source, or a gap record says why.
    I4,
    /// Times are monotone.
    I5,
    /// Each checkpoint goes on from the one before.
    I6,
}

/// One thing that verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it weighs.
    pub weight: Weight,
    /// What it is about.
    pub invariant: Invariant,
    /// The leaf it is about, if one.
    pub index: Option<u64>,
    /// The record under that leaf, if one.
    pub inner: Option<u64>,
    /// What was found, without any payload.
    pub text: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.invariant)?;
        if let Some(index) = self.index {
            write!(f, " leaf {index}")?;
        }
        if let Some(inner) = self.inner {
            write!(f, " record {inner}")?;
        }
        write!(f, ": {}", self.text)
    }
}

/// Findings as they come: the first [`FINDINGS_MAX`] in words, all of them counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    list: Vec<Finding>,
    errors: u64,
}

impl Findings {
    fn add(&mut self, finding: Finding) {
        self.errors += u64::from(finding.weight == Weight::Error);
        if self.list.len() < FINDINGS_MAX {
            self.list.push(finding);
        }
    }

    fn error(&mut self, invariant: Invariant, index: Option<u64>, text: impl Into<String>) {
        self.add(Finding { weight: Weight::Error, invariant, index, inner: None, text: text.into() });
    }

    fn inner(&mut self, invariant: Invariant, index: u64, inner: u64, text: impl Into<String>) {
        let (index, inner) = (Some(index), Some(inner));
        self.add(Finding { weight: Weight::Error, invariant, index, inner, text: text.into() });
    }

    fn note(&mut self, invariant: Invariant, text: impl Into<String>) {
        self.add(Finding { weight: Weight::Note, invariant, index: None, inner: None, text: text.into() });
    }

    fn absorb(&mut self, other: Self) {
        let unlisted = other.errors - other.list.iter().filter(|f| f.weight == Weight::Error).count() as u64;
        other.list.into_iter().for_each(|finding| self.add(finding));
        self.errors += unlisted;
    }
}

/// How a log is verified.
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    /// The keys that must have signed, or that rotations lead from to those that must. `None` takes them from the log itself, which shows only that it agrees with
    /// itself, and the report says so.
    pub keys: Option<&'a Verifiers>,
    /// Accepts a log that has no ML-DSA-44 key: a foreign one. Ours are always signed twice.
    pub ed25519_alone: bool,
    /// Takes entries for opaque bytes: a foreign log. I2, I4 and I5 are then not checked.
    pub opaque_entries: bool,
    /// Signed checkpoints of the log that somebody kept: the log must go on from each of them (I6).
    pub earlier: &'a [Vec<u8>],
    /// The payloads, where they are at hand: checks I2 and the records under batch leaves.
    pub vault: Option<&'a dyn Vault>,
    /// The keys of persons, where they are at hand: opens every box of the vault whose keys live.
    pub ring: Option<&'a privacy::Ring<'a>>,
    /// How many threads may work; 0 for as many as there are cores.
    pub threads: usize,
    /// Is told the entries done and to do, some times a second.
    pub progress: Option<&'a dyn Fn(u64, u64)>,
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("keys", &self.keys)
            .field("ed25519_alone", &self.ed25519_alone)
            .field("opaque_entries", &self.opaque_entries)
            .field("earlier", &self.earlier.len())
            .field("vault", &self.vault.is_some())
            .field("ring", &self.ring)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// What verification found.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Report {
    /// The log's signed checkpoint; `None` when none could be accepted, and nothing else was checked then.
    pub checkpoint: Option<Checkpoint>,
    /// Entries read.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Tiles and bundles read.
    pub tiles: u64,
    /// Batch leaves.
    pub batches: u64,
    /// Records that the batch leaves say are under them.
    pub batch_records: u64,
    /// Entries of kinds that this version does not know.
    pub unknown_kinds: u64,
    /// The highest index below which payloads may be gone under a retention record.
    pub retained_from: u64,
    /// Records of the vault compared with the log.
    pub vault_records: u64,
    /// Commitments that opened.
    pub opened: u64,
    /// Boxes of the vault.
    pub boxes: u64,
    /// Boxes that opened and held what the entry commits to; none where no keys were at hand.
    pub boxes_opened: u64,
    /// Boxes of which a key is not in the keystore: erased, as far as the keystore alone can say.
    pub boxes_erased: u64,
    /// Commitments that did not need to open, because a retention record covers them.
    pub covered: u64,
    /// Earlier checkpoints that the log goes on from.
    pub earlier: u64,
    /// Checkpoints by which keys handed over to others, that the log goes on from.
    pub rotations: u64,
    /// The keys that the log had one after the other; `None` where no checkpoint could be accepted.
    pub keys: Option<Chain>,
    /// What was found, the first [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// How many findings are errors, listed or not.
    pub errors: u64,
}

impl Report {
    /// Reports on a log for which the auditor has no keys, so that nothing about it can be believed.
    #[must_use]
    pub fn untrusted() -> Self {
        let mut findings = Findings::default();
        findings.error(Invariant::I1, None, "no key that is trusted is of this log");
        Self { errors: findings.errors, findings: findings.list, ..Self::default() }
    }

    /// Tells whether the log can be relied on.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.errors == 0 && self.checkpoint.is_some()
    }
}

/// Verifies the log that `source` gives.
#[must_use]
pub fn verify(source: &dyn Source, options: &Options<'_>) -> Report {
    let mut findings = Findings::default();
    let mut report = Report::default();
    if let Some((checkpoint, chain)) = open_checkpoint(source, options, &mut findings) {
        let mut walk = Walk::new(source, options, &checkpoint);
        if walk.entries(&mut findings) {
            walk.finish(&mut findings);
            if !options.opaque_entries {
                let announced = std::mem::take(&mut walk.sequence.rotations);
                check_rotations(source, &checkpoint, &chain, &announced, &mut walk.report, &mut findings);
            }
            check_earlier(source, options, &checkpoint, &chain, &mut walk.report, &mut findings);
            if let Some(vault) = options.vault {
                vault::check((vault, options.ring), source, &checkpoint, &mut walk.report, &mut findings);
            }
        }
        report = walk.report;
        report.checkpoint = Some(checkpoint);
        report.keys = Some(chain);
    }
    report.errors = findings.errors;
    report.findings = findings.list;
    report
}

fn read_or_find(
    source: &dyn Source,
    path: &str,
    max: usize,
    findings: &mut Findings,
    optional: bool,
) -> Option<Vec<u8>> {
    match source.read(path, max) {
        Ok(Some(bytes)) => return Some(bytes),
        Ok(None) if optional => {}
        Ok(None) => findings.error(Invariant::I1, None, format!("{path} is missing")),
        Err(fault) => findings.error(Invariant::I1, None, format!("{path}: {fault}")),
    }
    None
}

fn open_checkpoint(source: &dyn Source, options: &Options<'_>, findings: &mut Findings) -> Option<(Checkpoint, Chain)> {
    let keys = match options.keys {
        Some(keys) => keys.clone(),
        None => {
            let vkey = read_or_find(source, "vkey", 4_096, findings, false)?;
            let mldsa = read_or_find(source, "mldsa.pub", 4_096, findings, options.ed25519_alone);
            match Verifiers::parse(&vkey, mldsa.as_deref()) {
                Ok(keys) => {
                    findings.note(Invariant::I1, "the keys are the log's own: compare them with those you were given");
                    keys
                }
                Err(error) => {
                    findings.error(Invariant::I1, None, error.to_string());
                    return None;
                }
            }
        }
    };
    if keys.ml_dsa_44.is_none() && !options.ed25519_alone {
        findings.error(Invariant::I1, None, "there is no ML-DSA-44 key, and both signatures are required");
    }
    let chain = follow_rotations(source, options, keys, findings);
    let note = read_or_find(source, "checkpoint", NOTE_BYTES_MAX, findings, false)?;
    match chain.in_force().open(&note) {
        Ok(checkpoint) => Some((checkpoint, chain)),
        Err(error) => {
            findings.error(Invariant::I1, None, error.to_string());
            None
        }
    }
}

/// Reads the keys that a log had one after the other: see [`Chain::read`].
///
/// # Errors
/// As [`Chain::read`].
pub fn read_rotations(source: &dyn Source) -> Result<Option<Chain>, LogFault> {
    Chain::read(&|path, max| source.read(path, max).map_err(|fault| LogFault::Unread(format!("{path}: {fault}"))))
}

/// Goes from the keys that are trusted to those in force. A foreign log, or one that never changed its keys, has these
/// alone.
fn follow_rotations(source: &dyn Source, options: &Options<'_>, keys: Verifiers, findings: &mut Findings) -> Chain {
    if options.opaque_entries || keys.ml_dsa_44.is_none() {
        return keys.into();
    }
    let chain = match read_rotations(source) {
        Ok(Some(chain)) => chain,
        Ok(None) => return keys.into(),
        Err(fault) => {
            findings.error(Invariant::I1, None, format!("the log's keys were rotated: {fault}"));
            return keys.into();
        }
    };
    match chain.rotations_since(&keys) {
        // The log's own may be of the old and the new pair, while they are exchanged; the old ones are in force then.
        _ if options.keys.is_none() => {}
        Some(0) => {}
        Some(count) => {
            let text =
                format!("the keys that were given are retired: {count} rotations lead from them to those in force");
            findings.note(Invariant::I1, text);
        }
        None => {
            let text = "the log's keys were rotated: those that were given are none of the keys it ever had";
            findings.error(Invariant::I1, None, text);
            return keys.into();
        }
    }
    chain
}

/// Compares the rotations that the log announces with the keys beside it, and the log with the checkpoints by which keys
/// handed over.
fn check_rotations(
    source: &dyn Source,
    checkpoint: &Checkpoint,
    chain: &Chain,
    announced: &[Announced],
    report: &mut Report,
    findings: &mut Findings,
) {
    let (faults, notes) = chain.compare(announced);
    faults.into_iter().for_each(|(index, text)| findings.error(Invariant::I1, index, text));
    notes.into_iter().for_each(|text| findings.note(Invariant::I1, text));
    for (link, number) in chain.links().iter().zip(1..) {
        match goes_on_from(source, checkpoint, link) {
            Ok(()) => report.rotations += 1,
            Err(text) => findings.error(Invariant::I6, None, format!("{}: {text}", rotation_path(number))),
        }
    }
}

/// The walk over all entries, in order.
struct Walk<'a> {
    tiles: Tiles<'a>,
    options: &'a Options<'a>,
    checkpoint: &'a Checkpoint,
    /// The hashes of each level that do not fill a tile yet.
    levels: Vec<Vec<u8>>,
    sequence: Sequence,
    report: Report,
}

impl<'a> Walk<'a> {
    fn new(source: &'a dyn Source, options: &'a Options<'a>, checkpoint: &'a Checkpoint) -> Self {
        let levels = vec![Vec::new(); usize::from(LEVELS_MAX)];
        let sequence = Sequence::new(&checkpoint.origin);
        Self { tiles: Tiles(source), options, checkpoint, levels, sequence, report: Report::default() }
    }

    /// Reads all entries; `false` when it could not go on.
    fn entries(&mut self, findings: &mut Findings) -> bool {
        let size = self.checkpoint.size;
        let bundles = size.div_ceil(u64::from(WIDTH));
        let threads = match self.options.threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let mut next = 0;
        while next < bundles {
            let shares: Vec<_> = (0..threads as u64)
                .map(|share| next + share * SHARE_BUNDLES)
                .map(|start| start..bundles.min(start + SHARE_BUNDLES))
                .take_while(|share| share.start < share.end)
                .collect();
            next = shares.last().map_or(bundles, |share| share.end);
            let (tiles, opaque) = (&self.tiles, self.options.opaque_entries);
            let check = |share: std::ops::Range<u64>| -> Vec<Checked> {
                share.map(|index| bundle::check(tiles, index, size, opaque)).collect()
            };
            let results: Vec<Vec<Checked>> = match shares.as_slice() {
                [share] => vec![check(share.clone())],
                shares => thread::scope(|scope| {
                    let handles: Vec<_> = shares.iter().map(|share| scope.spawn(|| check(share.clone()))).collect();
                    handles.into_iter().map(|handle| handle.join().expect("invariant: checking never panics")).collect()
                }),
            };
            for checked in results.into_iter().flatten() {
                if !self.absorb(checked, findings) {
                    return false;
                }
            }
            if let Some(progress) = self.options.progress {
                progress(self.report.entries.min(size), size);
            }
        }
        true
    }

    fn absorb(&mut self, checked: Checked, findings: &mut Findings) -> bool {
        let index = checked.index;
        findings.absorb(checked.findings);
        let Some(hashes) = checked.hashes else {
            findings.error(Invariant::I1, None, "the log cannot be walked to its end");
            return false;
        };
        self.report.entries += checked.entries;
        self.report.bytes += checked.bytes;
        self.report.tiles += checked.tiles;
        for record in checked.records {
            self.sequence.step(&record, &mut self.report, findings);
        }
        if let Some(root) = checked.root {
            self.push_node(1, index, root, findings);
        } else {
            self.levels[0] = hashes;
        }
        true
    }

    /// Appends a node to `level` and compares the tile it completes, if it does.
    fn push_node(&mut self, level: u8, mut index: u64, mut hash: Hash, findings: &mut Findings) {
        for level in level..LEVELS_MAX {
            let hashes = &mut self.levels[usize::from(level)];
            hashes.extend_from_slice(&hash);
            if hashes.len() < usize::from(WIDTH) * 32 {
                return;
            }
            let hashes = std::mem::take(hashes);
            index /= u64::from(WIDTH);
            self.compare(TilePath::hashes(level, index, WIDTH), &hashes, findings);
            hash = merkle::root_of(hashes.as_chunks::<32>().0);
        }
    }

    fn compare(&mut self, path: TilePath, hashes: &[u8], findings: &mut Findings) {
        self.report.tiles += 1;
        match self.tiles.hashes(path) {
            Ok(bytes) if bytes == hashes => {}
            Ok(_) => findings.error(Invariant::I1, None, format!("{path} does not follow from the entries")),
            Err(fault) => findings.error(Invariant::I1, None, format!("{path}: {fault}")),
        }
    }

    /// Compares the partial tiles above level 0, and the root.
    fn finish(&mut self, findings: &mut Findings) {
        let levels = std::mem::take(&mut self.levels);
        for (level, hashes) in (1..LEVELS_MAX).zip(levels.iter().skip(1)).filter(|(_, hashes)| !hashes.is_empty()) {
            let partial = TilePath::of_level(self.checkpoint.size, Some(level)).find(TilePath::is_partial);
            if let Some(path) = partial {
                self.compare(path, hashes, findings);
            }
        }
        match Compact::from_tiles(self.checkpoint.size, &levels) {
            Ok(tree) if tree.root() == self.checkpoint.root => {}
            _ => findings.error(Invariant::I1, None, "the root over the entries is not the one that was signed"),
        }
        if !self.options.opaque_entries {
            self.sequence.finish(&mut self.report, findings);
        }
    }
}

/// Checks that the log goes on from each checkpoint that somebody kept: what was signed then must follow from the tiles
/// that were checked against what is signed now.
fn check_earlier(
    source: &dyn Source,
    options: &Options<'_>,
    checkpoint: &Checkpoint,
    chain: &Chain,
    report: &mut Report,
    findings: &mut Findings,
) {
    for note in options.earlier {
        match chain.open(note) {
            Ok(earlier) => match goes_on_from(source, checkpoint, &earlier) {
                Ok(()) => report.earlier += 1,
                Err(text) => findings.error(Invariant::I6, None, text),
            },
            Err(error) => findings.error(Invariant::I6, None, error),
        }
    }
}

/// Tells why the log under `checkpoint` does not go on from `earlier`.
fn goes_on_from(source: &dyn Source, checkpoint: &Checkpoint, earlier: &Checkpoint) -> Result<(), String> {
    if earlier.size > checkpoint.size {
        return Err(format!("the log has shrunk from {} leaves to {}", earlier.size, checkpoint.size));
    }
    let mut nodes = TileNodes::new(Tiles(source), checkpoint.size);
    let root = merkle::root(&mut nodes, earlier.size).map_err(|fault: ReadFault| fault.to_string())?;
    if root == earlier.root {
        Ok(())
    } else {
        Err(format!("the checkpoint of {} leaves is of another log than that of {}", earlier.size, checkpoint.size))
    }
}

impl From<Malformed> for ReadFault {
    fn from(malformed: Malformed) -> Self {
        Self::new(malformed.to_string())
    }
}
