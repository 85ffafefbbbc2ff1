//! A group: the records of one append, from their encoding on the caller's side to their place in the log.
//!
//! Everything that does not depend on the position is done by the caller before the queue: payloads, commitments,
//! entries. The writer then patches in the time, the numbers and the new names. The leaf hashes are computed by whoever
//! needs them first, which is the caller while the next sync runs.

use std::sync::{Arc, OnceLock};

use model::limits::{APPEND_RECORDS_MAX, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX};
use model::{Kind, Rng, SourceId, Tier, Value};
use privacy::{Cleared, Part, Place, Public, Sealed};

use crate::commitment::{Salts, Seed};
use crate::entry::{self, Head, Scalar, Uuid};
use crate::error::Error;
use crate::malformed::Malformed;
use crate::merkle::{Hash, leaf_hashes};
use crate::names::Names;
use crate::payload;
use crate::wal::{ROW_BYTES, Rows, SEED_BYTES, write_row};

/// Where the head of an entry holds what the writer patches in (`docs/format/ledger.md`, "Entry").
const INNER_AT: usize = 4;
const T_ADMIT_AT: usize = 11;
const SOURCE_AT: usize = 19;
const SEQ_AT: usize = 35;
/// Where the public fields start, after their count.
const FIELDS_AT: usize = 61;

/// The value of a public field before names have numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DraftValue<'a> {
    Scalar(Scalar<'a>),
    Name(&'a str),
}

/// A record before it is encoded: what [`Cleared`] holds, or one of the ledger's own.
pub(crate) struct Draft<'a> {
    pub(crate) source: SourceId,
    pub(crate) kind: Kind,
    pub(crate) public: Vec<(u16, DraftValue<'a>)>,
    pub(crate) payload: &'a [(u16, Value)],
    /// The payload of a record of privacy's, in the place of [`Self::payload`].
    pub(crate) parts: &'a [(u16, Part)],
    /// What privacy sealed, and the log that it is bound to.
    pub(crate) boxes: Option<(&'a [Sealed], &'a Place)>,
}

impl<'a> Draft<'a> {
    /// One of the ledger's own records.
    pub(crate) fn own(kind: Kind, fields: impl IntoIterator<Item = (u16, Scalar<'a>)>) -> Self {
        let public = fields.into_iter().map(|(id, scalar)| (id, DraftValue::Scalar(scalar))).collect();
        Self { source: SourceId::default(), kind, public, payload: &[], parts: &[], boxes: None }
    }

    /// Returns about how long the record is, so that a group need not grow while it is written.
    fn bytes_about(&self) -> usize {
        /// The head of an entry and a few public fields.
        const ENTRY: usize = 160;
        /// A commitment, and the head of the value.
        const VALUE: usize = 34 + 7;
        let of_part = |(_, part): &(u16, Part)| match part {
            Part::Map(bytes) => bytes.len(),
            Part::Value(Value::Text(text)) => text.len(),
            Part::Value(Value::Bytes(bytes)) => bytes.len(),
            Part::Value(_) => 8,
        };
        let parts: usize = self.parts.iter().map(|part| VALUE + of_part(part)).sum();
        ENTRY + parts + self.payload.len() * 64
    }

    /// A record of privacy's, in the log that `place` names.
    pub(crate) fn of(cleared: &'a Cleared, place: &'a Place) -> Self {
        let public = cleared.public().iter().map(|(id, value)| {
            let value = match value {
                Public::Bool(value) => DraftValue::Scalar(Scalar::Bool(*value)),
                Public::U64(value) => DraftValue::Scalar(Scalar::U64(*value)),
                Public::I64(value) => DraftValue::Scalar(Scalar::I64(*value)),
                Public::F64(value) => DraftValue::Scalar(Scalar::F64(*value)),
                Public::Text(value) => DraftValue::Scalar(Scalar::Text(value)),
                Public::Name(value) => DraftValue::Name(value),
            };
            (*id, value)
        });
        Self {
            source: cleared.source(),
            kind: cleared.kind(),
            public: public.collect(),
            payload: &[],
            parts: cleared.payload(),
            boxes: (!cleared.boxes().is_empty()).then_some((cleared.boxes(), place)),
        }
    }
}

/// Tells whether records of this kind are written while the disk is full: what pages people, and what they answer.
pub(crate) const fn is_priority(kind: Kind) -> bool {
    matches!(kind, Kind::Alert | Kind::Incident | Kind::Intent | Kind::Delivery | Kind::Admin)
}

/// Encoded records of one origin without their place in the log.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The number of the origin.
    pub(crate) origin: u16,
    pub(crate) count: u32,
    /// How many of them share a batch leaf.
    pub(crate) inner: usize,
    pub(crate) priority: bool,
    /// The body of the frame: `seed | rows | records`.
    pub(crate) body: Vec<u8>,
    /// The names without a number, with the place in `body` where the number goes.
    pub(crate) missing: Vec<(usize, Arc<str>)>,
}

/// Encodes records with what is known of `names`.
///
/// # Errors
/// When there are none or too many, or one does not fit the format.
pub(crate) fn prepare(origin: u16, drafts: &[Draft<'_>], names: &Names, rng: &dyn Rng) -> Result<Prepared, Error> {
    if drafts.is_empty() || drafts.len() > APPEND_RECORDS_MAX {
        return Err(Error::BadAppend { why: "it carries no records, or more than one append may" });
    }
    let seed = Seed::generate(rng);
    let salts = Salts::new(&seed);
    let mut batch = [0; 12];
    rng.fill(&mut batch);
    let table_bytes = drafts.len() * ROW_BYTES;
    let mut body = Vec::with_capacity(SEED_BYTES + table_bytes + drafts.iter().map(Draft::bytes_about).sum::<usize>());
    body.extend_from_slice(seed.expose());
    body.resize(SEED_BYTES + table_bytes, 0);
    let mut table = Vec::with_capacity(table_bytes);
    let (mut values, mut boxes, mut commitments, mut scalars) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut missing, mut inner) = (Vec::new(), 0);
    for (draft, ordinal) in drafts.iter().zip(0..) {
        let too_long =
            |(_, value): &(u16, DraftValue<'_>)| matches!(value, DraftValue::Name(name) if name.len() > NAME_BYTES_MAX);
        if draft.public.iter().any(too_long) {
            return Err(Error::BadAppend { why: "it carries a name that is too long" });
        }
        let uuid = Uuid::new(batch, ordinal);
        values.clear();
        commitments.clear();
        if !draft.parts.is_empty() {
            payload::encode_parts(&mut values, &uuid, draft.parts, &salts, &mut commitments)?;
        } else if !draft.payload.is_empty() {
            payload::encode(&mut values, &uuid, draft.payload, &salts, &mut commitments)?;
        }
        boxes.clear();
        if let Some((sealed, place)) = draft.boxes {
            // Here the record has its name, which each box is bound to; the values are not seen.
            privacy::seal_all(sealed, place, &uuid.0, rng, &mut boxes, &mut commitments)?;
        }
        let mut unknown = Vec::new();
        scalars.clear();
        scalars.extend(draft.public.iter().map(|(id, value)| match value {
            DraftValue::Scalar(scalar) => (*id, *scalar),
            DraftValue::Name(name) => {
                let number = names.number(name);
                if number.is_none() {
                    unknown.push((*id, *name));
                }
                (*id, Scalar::Name(number.unwrap_or(0)))
            }
        }));
        let is_inner = draft.kind.tier() == Tier::Batch;
        inner += usize::from(is_inner);
        let head = Head {
            inner: is_inner,
            kind: draft.kind.number(),
            schema: entry::SCHEMA,
            t_admit_ms: 0,
            source: draft.source,
            seq: 0,
            uuid,
        };
        let entry_at = body.len();
        let entry_bytes = entry::encode(&mut body, &head, scalars.iter().copied(), &commitments)?;
        for (id, name) in unknown {
            missing.push((entry_at + name_offset(&body[entry_at..], id)?, Arc::from(name)));
        }
        body.extend_from_slice(&values);
        body.extend_from_slice(&boxes);
        write_row(&mut table, entry_bytes, values.len(), boxes.len());
    }
    body[SEED_BYTES..SEED_BYTES + table_bytes].copy_from_slice(&table);
    let count = u32::try_from(drafts.len()).expect("invariant: bounded by APPEND_RECORDS_MAX");
    let priority = drafts.iter().all(|draft| is_priority(draft.kind));
    Ok(Prepared { origin, count, inner, priority, body, missing })
}

/// Returns where in an entry the number of the name in field `id` stands.
fn name_offset(entry: &[u8], id: u16) -> Result<usize, Malformed> {
    let mut at = FIELDS_AT;
    loop {
        let head = entry.get(at..).and_then(|rest| rest.first_chunk::<5>());
        let [id_high, id_low, _, len_high, len_low] =
            *head.ok_or(Malformed::new("entry", "lacks a field it was given"))?;
        at += 5;
        if u16::from_be_bytes([id_high, id_low]) == id {
            return Ok(at);
        }
        at += usize::from(u16::from_be_bytes([len_high, len_low]));
    }
}

/// What the writer patches into each entry.
pub(crate) struct Stamp<'a> {
    pub(crate) t_admit_ms: u64,
    /// Returns the next number of a source.
    pub(crate) next_seq: &'a mut dyn FnMut(SourceId, bool) -> u64,
}

impl Prepared {
    /// Gives the records their place. The names must have their numbers by then.
    pub(crate) fn stamp(mut self, position: u64, stamp: &mut Stamp<'_>) -> Group {
        let lens: Vec<usize> = match Rows::decode(&self.body, self.count) {
            Some(rows) => rows.iter().flat_map(|row| [row.entry.len(), row.payload.len() + row.boxes.len()]).collect(),
            None => Vec::new(),
        };
        let mut at = SEED_BYTES + lens.len() / 2 * ROW_BYTES;
        for pair in lens.chunks_exact(2) {
            if let Some(entry) = self.body.get_mut(at..at + pair[0]) {
                let inner = entry[INNER_AT] == 1;
                let mut source = SourceId::default();
                source.0.copy_from_slice(&entry[SOURCE_AT..SOURCE_AT + 16]);
                entry[T_ADMIT_AT..T_ADMIT_AT + 8].copy_from_slice(&stamp.t_admit_ms.to_be_bytes());
                entry[SEQ_AT..SEQ_AT + 8].copy_from_slice(&(stamp.next_seq)(source, inner).to_be_bytes());
            }
            at += pair[0] + pair[1];
        }
        Group {
            origin: self.origin,
            position,
            count: self.count,
            inner: self.inner,
            t_admit_ms: stamp.t_admit_ms,
            body: self.body,
            hashes: OnceLock::new(),
        }
    }

    /// Writes the number of a name into its place.
    pub(crate) fn name(&mut self, at: usize, number: u32) {
        self.body[at..at + 4].copy_from_slice(&number.to_be_bytes());
    }
}

/// Records of one origin that have their place in the log.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) origin: u16,
    pub(crate) position: u64,
    pub(crate) count: u32,
    pub(crate) inner: usize,
    pub(crate) t_admit_ms: u64,
    pub(crate) body: Vec<u8>,
    hashes: OnceLock<Box<[Hash]>>,
}

impl Group {
    /// Returns the records.
    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows::decode(&self.body, self.count).expect("invariant: `prepare` wrote the table for this body")
    }

    /// Returns the leaf hash of each record; computed once, by who asks first.
    pub(crate) fn hashes(&self) -> &[Hash] {
        self.hashes.get_or_init(|| leaf_hashes(self.rows().iter().map(|row| row.entry)).into())
    }

    /// Returns the leaf hashes of the records that share a batch leaf.
    pub(crate) fn inner_hashes(&self) -> impl Iterator<Item = Hash> {
        self.rows().iter().zip(self.hashes()).filter(|(row, _)| row.entry[INNER_AT] == 1).map(|(_, hash)| *hash)
    }
}

const _: () =
    assert!(SEED_BYTES + ROW_BYTES < PAYLOAD_BYTES_MAX, "a frame's overhead is small beside its largest record");

#[cfg(test)]
mod tests {
    use model::SeededRng;

    use super::*;
    use crate::entry::Entry;
    use crate::payload::Payload;

    #[test]
    fn records_are_encoded_before_and_placed_after_the_queue() {
        let payload = [(3, Value::from("text"))];
        let mut drafts = Vec::new();
        for kind in [Kind::Alert, Kind::CheckResult] {
            let public = vec![
                (1, DraftValue::Name("known")),
                (2, DraftValue::Scalar(Scalar::Text("http"))),
                (5, DraftValue::Name("new")),
            ];
            drafts.push(Draft {
                source: SourceId([kind as u8; 16]),
                kind,
                public,
                payload: &payload,
                parts: &[],
                boxes: None,
            });
        }
        let mut names = Names::default();
        names.intern("zero".into());
        names.intern("known".into());
        let mut prepared = prepare(4, &drafts, &names, &SeededRng::new(1)).expect("prepares");
        assert_eq!((prepared.count, prepared.inner, prepared.priority, prepared.missing.len()), (2, 1, false, 2));
        for (at, name) in std::mem::take(&mut prepared.missing) {
            assert_eq!(&*name, "new");
            prepared.name(at, 77);
        }
        let mut seq = 40;
        let mut next_seq = |source: SourceId, inner| {
            assert_eq!(source.0[0] == Kind::CheckResult as u8, inner);
            seq += 1;
            seq
        };
        let group = prepared.stamp(9, &mut Stamp { t_admit_ms: 1_234, next_seq: &mut next_seq });
        let seed = Seed::from_bytes(*group.rows().seed);
        for (row, seq) in group.rows().iter().zip(41..) {
            let entry = Entry::decode(row.entry).expect("is an entry");
            assert_eq!((entry.head().t_admit_ms, entry.head().seq), (1_234, seq));
            assert_eq!((entry.field(1), entry.field(5)), (Some(Scalar::Name(1)), Some(Scalar::Name(77))));
            let payload = Payload::decode(row.payload).expect("is a payload");
            assert_eq!(payload.unopened(&entry, Some(&Salts::new(&seed))), [0_u16; 0]);
        }
        assert_eq!(group.hashes().len(), 2);
        assert_eq!(group.inner_hashes().collect::<Vec<_>>(), [group.hashes()[1]]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let rng = SeededRng::new(1);
        let names = Names::default();
        assert!(matches!(prepare(0, &[], &names, &rng), Err(Error::BadAppend { .. })));
        let huge = [(1, Value::Bytes(vec![0; PAYLOAD_BYTES_MAX]))];
        let draft = Draft { payload: &huge, ..Draft::own(Kind::Alert, []) };
        assert!(matches!(prepare(0, &[draft], &names, &rng), Err(Error::Malformed(_))));
        let many: Vec<_> = (0..=APPEND_RECORDS_MAX).map(|_| Draft::own(Kind::Alert, [])).collect();
        assert!(matches!(prepare(0, &many, &names, &rng), Err(Error::BadAppend { .. })));
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        let draft = Draft { public: vec![(1, DraftValue::Name(&long))], ..Draft::own(Kind::Alert, []) };
        assert!(matches!(prepare(0, &[draft], &names, &rng), Err(Error::BadAppend { .. })));
        assert!(name_offset(&[0; 61], 1).is_err());
    }
}
