//! The ledger's own kinds of record: the tables of their public fields, drawn in `docs/format/ledger.md`.

use model::Kind;

use crate::entry::{Entry, Scalar};
use crate::malformed::Malformed;
use crate::merkle::Hash;

/// Names a log for ever, and says nothing else: 16 random bytes, drawn when the log starts.
pub type LogId = [u8; 16];

/// The first leaf of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis<'a> {
    /// Field 1: the log's id.
    pub log_id: LogId,
    /// Field 2: the log's origin.
    pub origin: &'a str,
    /// Field 3: the signed checkpoint of another origin that this log goes on from, if any.
    pub continues: Option<&'a str>,
}

/// The leaf of a batch: what is under it stays unpublished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Field 1: the id of the log it belongs to.
    pub log_id: LogId,
    /// Field 2: the RFC 6962 root over the inner entries.
    pub root: Hash,
    /// Field 3: how many there are, 1 to `limits::BATCH_RECORDS_MAX`.
    pub count: u64,
    /// Field 4: `t_admit_ms` of the first.
    pub t_min_ms: u64,
    /// Field 5: `t_admit_ms` of the last.
    pub t_max_ms: u64,
    /// Field 6: which stream of the log; 0 while there is one.
    pub stream: u64,
}

/// The leaf of one tenant's checkpoint in the meta-log. Which tenant it is, only who knows `log_id` can tell.
///
/// The entry commits to field 2, the signed checkpoint as text: `SHA-256(tag | r | checkpoint)` is the ordinary
/// commitment, so I2 covers the meta-log too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Field 1: the id under which the meta-log speaks of the tenant's log; random, not the log's own.
    pub log_id: LogId,
}

impl Meta {
    /// The committed field that holds the signed checkpoint.
    pub const CHECKPOINT: u16 = 2;
}

/// A policy deleted payloads: what lies before needs not open any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention<'a> {
    /// Field 1: the leaves below this index, and all under them, may lack their payload.
    pub until_index: u64,
    /// Field 2: the positions below this one were affected.
    pub until_position: u64,
    /// Field 3: which policy, as in the configuration: `age` or `size`.
    pub policy: &'a str,
}

/// A new pair of signing keys takes over; the next checkpoint carries the lines of the old and of the new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRotation<'a> {
    /// Field 1: the new `vkey`.
    pub vkey: &'a str,
    /// Field 2: the new `mldsa.pub`, 1,312 bytes.
    pub ml_dsa_public: &'a [u8],
    /// Field 3: which rotation of the log it is, from 1.
    pub number: u64,
    /// Field 4: [`crate::note::Verifiers::digest`] of the keys that it retires.
    pub retired: Hash,
}

/// A torn tail was cut at recovery: bytes that were never acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Field 1: the number of the WAL segment.
    pub segment: u64,
    /// Field 2: where in it the cut was made.
    pub offset: u64,
    /// Field 3: how many bytes were cut.
    pub bytes: u64,
}

/// A name was given a number. The name itself is committed to as field 2, text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// Field 1: the number that entries carry in its place.
    pub number: u32,
}

impl Name {
    /// The committed field that holds the name.
    pub const TEXT: u16 = 2;
}

/// Reads the public fields of one of the ledger's own kinds.
struct Fields<'a>(Entry<'a>);

const MISSING: Malformed = Malformed::new("record", "lacks a field of its kind, or has it in another type");

impl<'a> Fields<'a> {
    fn of(entry: &Entry<'a>, kind: Kind) -> Result<Self, Malformed> {
        if entry.head().kind == kind.number() {
            Ok(Self(*entry))
        } else {
            Err(Malformed::new("record", "is of another kind"))
        }
    }

    fn u64(&self, id: u16) -> Result<u64, Malformed> {
        if let Some(Scalar::U64(value)) = self.0.field(id) { Ok(value) } else { Err(MISSING) }
    }

    fn text(&self, id: u16) -> Result<&'a str, Malformed> {
        if let Some(Scalar::Text(value)) = self.0.field(id) { Ok(value) } else { Err(MISSING) }
    }

    fn bytes(&self, id: u16) -> Result<&'a [u8], Malformed> {
        if let Some(Scalar::Bytes(value)) = self.0.field(id) { Ok(value) } else { Err(MISSING) }
    }

    fn array<const N: usize>(&self, id: u16) -> Result<[u8; N], Malformed> {
        self.bytes(id)?.try_into().map_err(|_| MISSING)
    }
}

impl<'a> Genesis<'a> {
    /// Returns its public fields.
    #[must_use]
    pub fn fields(&self) -> Vec<(u16, Scalar<'_>)> {
        let mut fields = vec![(1, Scalar::Bytes(&self.log_id)), (2, Scalar::Text(self.origin))];
        fields.extend(self.continues.map(|checkpoint| (3, Scalar::Text(checkpoint))));
        fields
    }

    /// Reads it from an entry.
    ///
    /// # Errors
    /// When the entry is of another kind or lacks a field.
    pub fn read(entry: &Entry<'a>) -> Result<Self, Malformed> {
        let fields = Fields::of(entry, Kind::Genesis)?;
        let continues = fields.0.field(3).is_some().then(|| fields.text(3)).transpose()?;
        Ok(Self { log_id: fields.array(1)?, origin: fields.text(2)?, continues })
    }
}

impl Batch {
    /// Returns its public fields.
    #[must_use]
    pub const fn fields(&self) -> [(u16, Scalar<'_>); 6] {
        [
            (1, Scalar::Bytes(&self.log_id)),
            (2, Scalar::Bytes(&self.root)),
            (3, Scalar::U64(self.count)),
            (4, Scalar::U64(self.t_min_ms)),
            (5, Scalar::U64(self.t_max_ms)),
            (6, Scalar::U64(self.stream)),
        ]
    }

    /// Reads it from an entry.
    ///
    /// # Errors
    /// When the entry is of another kind, lacks a field, holds no or too many records, or ends before it starts.
    pub fn read(entry: &Entry<'_>) -> Result<Self, Malformed> {
        let fields = Fields::of(entry, Kind::Batch)?;
        let batch = Self {
            log_id: fields.array(1)?,
            root: fields.array(2)?,
            count: fields.u64(3)?,
            t_min_ms: fields.u64(4)?,
            t_max_ms: fields.u64(5)?,
            stream: fields.u64(6)?,
        };
        if !(1..=model::limits::BATCH_RECORDS_MAX as u64).contains(&batch.count) {
            return Err(Malformed::new("batch", "holds no records or too many"));
        }
        if batch.t_min_ms > batch.t_max_ms || batch.t_max_ms > entry.head().t_admit_ms {
            return Err(Malformed::new("batch", "has times that do not ascend"));
        }
        Ok(batch)
    }
}

impl Meta {
    /// Returns its public fields.
    #[must_use]
    pub const fn fields(&self) -> [(u16, Scalar<'_>); 1] {
        [(1, Scalar::Bytes(&self.log_id))]
    }

    /// Reads it from an entry.
    ///
    /// # Errors
    /// When the entry is of another kind, lacks its field, or does not commit to one checkpoint.
    pub fn read(entry: &Entry<'_>) -> Result<Self, Malformed> {
        let fields = Fields::of(entry, Kind::Meta)?;
        let mut committed = entry.commitments().map(|(field, _)| field);
        if (committed.next(), committed.next()) != (Some(Self::CHECKPOINT), None) {
            return Err(Malformed::new("meta record", "does not commit to one checkpoint"));
        }
        Ok(Self { log_id: fields.array(1)? })
    }
}

impl<'a> Retention<'a> {
    /// Returns its public fields.
    #[must_use]
    pub const fn fields(&self) -> [(u16, Scalar<'_>); 3] {
        [(1, Scalar::U64(self.until_index)), (2, Scalar::U64(self.until_position)), (3, Scalar::Text(self.policy))]
    }

    /// Reads it from an entry.
    ///
    /// # Errors
    /// When the entry is of another kind or lacks a field.
    pub fn read(entry: &Entry<'a>) -> Result<Self, Malformed> {
        let fields = Fields::of(entry, Kind::Retention)?;
        Ok(Self { until_index: fields.u64(1)?, until_position: fields.u64(2)?, policy: fields.text(3)? })
    }
}

impl<'a> KeyRotation<'a> {
    /// Returns its public fields.
    #[must_use]
    pub const fn fields(&self) -> [(u16, Scalar<'_>); 4] {
        [
            (1, Scalar::Text(self.vkey)),
            (2, Scalar::Bytes(self.ml_dsa_public)),
            (3, Scalar::U64(self.number)),
            (4, Scalar::Bytes(&self.retired)),
        ]
    }

    /// Reads it from an entry.
    ///
    /// # Errors
    /// When the entry is of another kind or lacks a field.
    pub fn read(entry: &Entry<'a>) -> Result<Self, Malformed> {
        let fields = Fields::of(entry, Kind::KeyRotation)?;
        let (vkey, ml_dsa_public) = (fields.text(1)?, fields.bytes(2)?);
        Ok(Self { vkey, ml_dsa_public, number: fields.u64(3)?, retired: fields.array(4)? })
    }
}

impl Recovery {
    /// Returns its public fields.
    #[must_use]
    pub const fn fields(&self) -> [(u16, Scalar<'_>); 3] {
        [(1, Scalar::U64(self.segment)), (2, Scalar::U64(self.offset)), (3, Scalar::U64(self.bytes))]
    }

    /// Reads it from an entry.
    ///
    /// # Errors
    /// When the entry is of another kind or lacks a field.
    pub fn read(entry: &Entry<'_>) -> Result<Self, Malformed> {
        let fields = Fields::of(entry, Kind::Recovery)?;
        Ok(Self { segment: fields.u64(1)?, offset: fields.u64(2)?, bytes: fields.u64(3)? })
    }
}

impl Name {
    /// Returns its public fields.
    #[must_use]
    pub const fn fields(&self) -> [(u16, Scalar<'static>); 1] {
        [(1, Scalar::Name(self.number))]
    }

    /// Reads it from an entry.
    ///
    /// # Errors
    /// When the entry is of another kind, lacks its field, or does not commit to one name.
    pub fn read(entry: &Entry<'_>) -> Result<Self, Malformed> {
        let fields = Fields::of(entry, Kind::Name)?;
        let Some(Scalar::Name(number)) = fields.0.field(1) else { return Err(MISSING) };
        let mut committed = entry.commitments().map(|(field, _)| field);
        if (committed.next(), committed.next()) != (Some(Self::TEXT), None) {
            return Err(Malformed::new("name record", "does not commit to one name"));
        }
        Ok(Self { number })
    }
}

#[cfg(test)]
mod tests {
    use model::SourceId;

    use super::*;
    use crate::entry::{self, Head, Uuid};

    fn encoded(kind: Kind, fields: &[(u16, Scalar<'_>)], committed: &[(u16, Hash)]) -> Vec<u8> {
        let head = Head {
            inner: false,
            kind: kind.number(),
            schema: entry::SCHEMA,
            t_admit_ms: 100,
            source: SourceId::default(),
            seq: 0,
            uuid: Uuid::default(),
        };
        let mut out = Vec::new();
        entry::encode(&mut out, &head, fields.iter().copied(), committed).expect("encodes");
        out
    }

    /// Writes a record, reads it back, and sees it refused without its last field and as another kind.
    macro_rules! check {
        ($kind:ident, $type:ident, $record:expr, $committed:expr) => {
            let (record, committed): (_, &[(u16, Hash)]) = ($record, $committed);
            let fields = record.fields();
            let bytes = encoded(Kind::$kind, &fields, committed);
            assert_eq!($type::read(&Entry::decode(&bytes).expect("decodes")), Ok(record.clone()));
            let less = encoded(Kind::$kind, &fields[..fields.len() - 1], committed);
            assert_eq!($type::read(&Entry::decode(&less).expect("decodes")), Err(MISSING));
            let other = encoded(Kind::Alert, &fields, committed);
            assert!($type::read(&Entry::decode(&other).expect("decodes")).is_err());
        };
    }

    fn batch() -> Batch {
        Batch { log_id: [1; 16], root: [2; 32], count: 3, t_min_ms: 4, t_max_ms: 5, stream: 0 }
    }

    #[test]
    fn each_kind_is_read_as_it_was_written() {
        check!(Genesis, Genesis, Genesis { log_id: [1; 16], origin: "a/b", continues: None }, &[]);
        check!(Batch, Batch, batch(), &[]);
        check!(Meta, Meta, Meta { log_id: [1; 16] }, &[(Meta::CHECKPOINT, [0; 32])]);
        check!(Retention, Retention, Retention { until_index: 1, until_position: 2, policy: "age" }, &[]);
        let rotation = KeyRotation { vkey: "k", ml_dsa_public: &[7; 9], number: 1, retired: [8; 32] };
        check!(KeyRotation, KeyRotation, rotation, &[]);
        check!(Recovery, Recovery, Recovery { segment: 1, offset: 2, bytes: 3 }, &[]);
        check!(Name, Name, Name { number: 8 }, &[(Name::TEXT, [0; 32])]);
        let continued = Genesis { log_id: [1; 16], origin: "a/b", continues: Some("note") };
        let bytes = encoded(Kind::Genesis, &continued.fields(), &[]);
        assert_eq!(Genesis::read(&Entry::decode(&bytes).expect("decodes")), Ok(continued));
    }

    #[test]
    fn what_no_log_of_ours_holds_is_refused() {
        for batch in [
            Batch { count: 0, ..batch() },
            Batch { count: 4_097, ..batch() },
            Batch { t_min_ms: 6, ..batch() },
            Batch { t_max_ms: 101, ..batch() },
        ] {
            let bytes = encoded(Kind::Batch, &batch.fields(), &[]);
            assert!(Batch::read(&Entry::decode(&bytes).expect("decodes")).is_err(), "{batch:?}");
        }
        let (meta, name) = (Meta { log_id: [1; 16] }, Name { number: 8 });
        for committed in [&[][..], &[(3, [0; 32])], &[(2, [0; 32]), (3, [0; 32])]] {
            let bytes = encoded(Kind::Meta, &meta.fields(), committed);
            assert!(Meta::read(&Entry::decode(&bytes).expect("decodes")).is_err());
            let bytes = encoded(Kind::Name, &name.fields(), committed);
            assert!(Name::read(&Entry::decode(&bytes).expect("decodes")).is_err());
        }
        let short = encoded(Kind::Meta, &[(1, Scalar::Bytes(&[1; 15]))], &[(2, [0; 32])]);
        assert_eq!(Meta::read(&Entry::decode(&short).expect("decodes")), Err(MISSING));
    }
}
