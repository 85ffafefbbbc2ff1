//! The entry: the bytes that are hashed into the tree and may be published. Drawn in `docs/format/ledger.md`.
//!
//! Encoding writes into a buffer that the caller reuses and allocates nothing per field; decoding borrows. Entries are
//! stored as they were encoded and never re-serialised.

use model::limits::ENTRY_BYTES_MAX;
use model::{Kind, SourceId};

use crate::malformed::{Malformed, Reader};

/// The first bytes of each entry.
pub const MAGIC: [u8; 4] = *b"dhy1";
/// The version of every kind's field table that this program writes.
pub const SCHEMA: u32 = 1;
/// The one NaN that is written.
pub(crate) const NAN_BITS: u64 = 0x7ff8_0000_0000_0000;
/// Bytes before the public fields.
const HEAD_BYTES: usize = 4 + 1 + 2 + 4 + 8 + 16 + 8 + 16;
const WHAT: &str = "entry";

/// The number of a value's type on disk: in public fields, commitments and payloads alike.
pub mod ty {
    /// One byte, 0 or 1.
    pub const BOOL: u8 = 1;
    /// Eight bytes.
    pub const U64: u8 = 2;
    /// Eight bytes, two's complement.
    pub const I64: u8 = 3;
    /// Eight bytes, IEEE 754 binary64, one NaN.
    pub const F64: u8 = 4;
    /// UTF-8, unchanged.
    pub const TEXT: u8 = 5;
    /// Four bytes: the number of an interned name. Public fields only.
    pub const NAME: u8 = 6;
    /// Bytes as they are.
    pub const BYTES: u8 = 7;
    /// A list as deterministic CBOR. Committed fields only.
    pub const LIST: u8 = 8;
    /// A map as deterministic CBOR. Committed fields only.
    pub const MAP: u8 = 9;
}

/// Names one record for ever: 12 random bytes of its batch, then its ordinal in it. Ours, never the sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// Names the record `ordinal` of the batch `batch`.
    #[must_use]
    pub fn new(batch: [u8; 12], ordinal: u32) -> Self {
        let mut bytes = [0; 16];
        let (head, tail) = bytes.split_at_mut(12);
        head.copy_from_slice(&batch);
        tail.copy_from_slice(&ordinal.to_be_bytes());
        Self(bytes)
    }

    /// Returns the batch that the record's salts come from.
    #[must_use]
    pub fn batch(&self) -> [u8; 12] {
        let mut batch = [0; 12];
        batch.copy_from_slice(&self.0[..12]);
        batch
    }

    /// Returns the record's ordinal in its batch.
    #[must_use]
    pub fn ordinal(&self) -> u32 {
        let [.., a, b, c, d] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }
}

/// What every entry says before its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whether it lies under a batch leaf, unpublished, instead of being a leaf of the log itself.
    pub inner: bool,
    /// Which kind of record: `model::Kind`, or one of a later version.
    pub kind: u16,
    /// The version of the kind's field table.
    pub schema: u32,
    /// When it was admitted, in milliseconds since 1970; never less than the entry before.
    pub t_admit_ms: u64,
    /// What produced it.
    pub source: SourceId,
    /// Its number among the entries of the same `source` and `inner`, from 0, without gaps (I4). Leaves and inner
    /// entries count apart, so that the published log alone can be checked.
    pub seq: u64,
    /// Its name.
    pub uuid: Uuid,
}

impl Head {
    /// Returns the kind, if this version knows it.
    #[must_use]
    pub fn known_kind(&self) -> Option<Kind> {
        Kind::from_number(self.kind)
    }
}

/// The value of a public field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// True or false.
    Bool(bool),
    /// A whole number from 0.
    U64(u64),
    /// A whole number.
    I64(i64),
    /// A number; all NaN are one.
    F64(f64),
    /// An enumeration or an id of ours.
    Text(&'a str),
    /// The number of an interned name.
    Name(u32),
    /// An id or a hash of ours: only in the ledger's own kinds.
    Bytes(&'a [u8]),
}

impl Scalar<'_> {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        match *self {
            Self::Bool(value) => write_scalar(out, ty::BOOL, &[u8::from(value)]),
            Self::U64(value) => write_scalar(out, ty::U64, &value.to_be_bytes()),
            Self::I64(value) => write_scalar(out, ty::I64, &value.to_be_bytes()),
            Self::F64(value) => write_scalar(out, ty::F64, &f64_bits(value).to_be_bytes()),
            Self::Text(value) => write_scalar(out, ty::TEXT, value.as_bytes()),
            Self::Name(value) => write_scalar(out, ty::NAME, &value.to_be_bytes()),
            Self::Bytes(value) => write_scalar(out, ty::BYTES, value),
        }
    }
}

fn write_scalar(out: &mut Vec<u8>, ty: u8, bytes: &[u8]) -> Result<(), Malformed> {
    let len = u16::try_from(bytes.len()).map_err(|_| Malformed::new(WHAT, "is longer than 65535 bytes"))?;
    out.push(ty);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// Returns the bits that stand for `value` on disk: those of the value, or of the one NaN.
pub(crate) fn f64_bits(value: f64) -> u64 {
    if value.is_nan() { NAN_BITS } else { value.to_bits() }
}

/// Reads the binary64 in `bytes`, refusing every NaN but one.
pub(crate) fn read_f64(bytes: [u8; 8]) -> Option<f64> {
    let value = f64::from_be_bytes(bytes);
    (!value.is_nan() || value.to_bits() == NAN_BITS).then_some(value)
}

/// Appends one entry to `out` and returns how many bytes it took. On refusal `out` is as it was.
///
/// Both lists must ascend by field, and no field may stand in both. Costs O(bytes) and allocates only to grow `out`.
///
/// # Errors
/// When fields do not ascend, there are more than 65,535 of them, or the entry is longer than 65,535 bytes.
pub fn encode<'v>(
    out: &mut Vec<u8>,
    head: &Head,
    public: impl IntoIterator<Item = (u16, Scalar<'v>)>,
    commitments: &[(u16, [u8; 32])],
) -> Result<usize, Malformed> {
    let start = out.len();
    let result = encode_at_end(out, head, public, commitments, start);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

fn encode_at_end<'v>(
    out: &mut Vec<u8>,
    head: &Head,
    public: impl IntoIterator<Item = (u16, Scalar<'v>)>,
    commitments: &[(u16, [u8; 32])],
    start: usize,
) -> Result<usize, Malformed> {
    out.extend_from_slice(&MAGIC);
    out.push(u8::from(head.inner));
    out.extend_from_slice(&head.kind.to_be_bytes());
    out.extend_from_slice(&head.schema.to_be_bytes());
    out.extend_from_slice(&head.t_admit_ms.to_be_bytes());
    out.extend_from_slice(&head.source.0);
    out.extend_from_slice(&head.seq.to_be_bytes());
    out.extend_from_slice(&head.uuid.0);

    let count_at = out.len();
    out.extend_from_slice(&[0, 0]);
    let mut count: u16 = 0;
    let mut order = Ascent::default();
    let mut committed = commitments.iter().map(|(field, _)| *field).peekable();
    for (field, value) in public {
        order.step(field, WHAT)?;
        while committed.next_if(|id| *id < field).is_some() {}
        if committed.peek() == Some(&field) {
            return Err(Malformed::new(WHAT, "has a field that is both public and committed"));
        }
        out.extend_from_slice(&field.to_be_bytes());
        value.write(out)?;
        if out.len() - start > ENTRY_BYTES_MAX {
            return Err(Malformed::new(WHAT, "is longer than 65535 bytes"));
        }
        count += 1; // cannot overflow: 65,535 fields of at least 5 bytes exceed the length first
    }
    if let Some(place) = out.get_mut(count_at..count_at + 2) {
        place.copy_from_slice(&count.to_be_bytes());
    }

    let count = u16::try_from(commitments.len()).map_err(|_| Malformed::new(WHAT, "has too many commitments"))?;
    out.extend_from_slice(&count.to_be_bytes());
    let mut order = Ascent::default();
    for (field, commitment) in commitments {
        order.step(*field, WHAT)?;
        out.extend_from_slice(&field.to_be_bytes());
        out.extend_from_slice(commitment);
    }
    let len = out.len() - start;
    if len > ENTRY_BYTES_MAX { Err(Malformed::new(WHAT, "is longer than 65535 bytes")) } else { Ok(len) }
}

/// Checks that field numbers ascend and are unique.
#[derive(Default)]
pub(crate) struct Ascent(Option<u16>);

impl Ascent {
    pub(crate) fn step(&mut self, field: u16, what: &'static str) -> Result<(), Malformed> {
        if self.0.is_some_and(|last| last >= field) {
            return Err(Malformed::new(what, "has fields that do not ascend"));
        }
        self.0 = Some(field);
        Ok(())
    }
}

/// A decoded entry, borrowed from its bytes. Whatever it yields was checked by [`Entry::decode`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry<'a> {
    head: Head,
    public: &'a [u8],
    commitments: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Decodes exactly one entry.
    ///
    /// # Errors
    /// When any rule of the format is broken: other magic, unknown type, a value of the wrong length, a second NaN,
    /// text that is not UTF-8, fields that do not ascend or stand in both lists, trailing bytes, more than 65,535 bytes.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(WHAT, bytes);
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(reader.fail("is longer than 65535 bytes"));
        }
        if *reader.array()? != MAGIC {
            return Err(reader.fail("does not start with dhy1"));
        }
        let head = Head {
            inner: match reader.u8()? {
                0 => false,
                1 => true,
                _ => return Err(reader.fail("has an inner flag other than 0 and 1")),
            },
            kind: reader.u16()?,
            schema: reader.u32()?,
            t_admit_ms: reader.u64()?,
            source: SourceId(*reader.array()?),
            seq: reader.u64()?,
            uuid: Uuid(*reader.array()?),
        };
        let count = reader.u16()?;
        let public_from = reader.rest();
        let mut order = Ascent::default();
        for _ in 0..count {
            let (field, _) = read_public(&mut reader)?;
            order.step(field, WHAT)?;
        }
        let public = public_from.get(..public_from.len() - reader.rest().len()).unwrap_or_default();
        let count = usize::from(reader.u16()?);
        let commitments = reader.take(count * 34)?;
        reader.finish()?;
        let entry = Self { head, public, commitments };
        entry.check_commitments()?;
        Ok(entry)
    }

    fn check_commitments(&self) -> Result<(), Malformed> {
        let mut order = Ascent::default();
        let mut public = self.public().map(|(field, _)| field).peekable();
        for (field, _) in self.commitments() {
            order.step(field, WHAT)?;
            while public.next_if(|id| *id < field).is_some() {}
            if public.peek() == Some(&field) {
                return Err(Malformed::new(WHAT, "has a field that is both public and committed"));
            }
        }
        Ok(())
    }

    /// Returns what it says before its fields.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Yields the public fields, ascending.
    pub fn public(&self) -> impl Iterator<Item = (u16, Scalar<'a>)> + use<'a> {
        let mut reader = Reader::new(WHAT, self.public);
        std::iter::from_fn(move || if reader.rest().is_empty() { None } else { read_public(&mut reader).ok() })
    }

    /// Returns the value of a public field.
    #[must_use]
    pub fn field(&self, id: u16) -> Option<Scalar<'a>> {
        self.public().find(|(field, _)| *field == id).map(|(_, value)| value)
    }

    /// Yields the commitments, ascending by field.
    ///
    /// # Panics
    /// Never: each takes 34 bytes.
    pub fn commitments(&self) -> impl ExactSizeIterator<Item = (u16, &'a [u8; 32])> + use<'a> {
        self.commitments.as_chunks::<34>().0.iter().map(|chunk| {
            let (field, commitment) = chunk.split_first_chunk::<2>().expect("invariant: 34 bytes hold 2");
            let commitment = commitment.first_chunk().expect("invariant: 32 of the 34 bytes are left");
            (u16::from_be_bytes(*field), commitment)
        })
    }
}

fn read_public<'a>(reader: &mut Reader<'a>) -> Result<(u16, Scalar<'a>), Malformed> {
    let field = reader.u16()?;
    let ty = reader.u8()?;
    let len = usize::from(reader.u16()?);
    let bytes = reader.take(len)?;
    let wrong = || Malformed::new(WHAT, "has a number of the wrong length");
    let value = match ty {
        ty::BOOL => match bytes {
            [0] => Scalar::Bool(false),
            [1] => Scalar::Bool(true),
            _ => return Err(reader.fail("has a bool other than 0 and 1")),
        },
        ty::U64 => Scalar::U64(u64::from_be_bytes(bytes.try_into().map_err(|_| wrong())?)),
        ty::I64 => Scalar::I64(i64::from_be_bytes(bytes.try_into().map_err(|_| wrong())?)),
        ty::F64 => {
            let bytes = bytes.try_into().map_err(|_| wrong())?;
            Scalar::F64(read_f64(bytes).ok_or_else(|| reader.fail("has a NaN that is not the one"))?)
        }
        ty::TEXT => Scalar::Text(std::str::from_utf8(bytes).map_err(|_| reader.fail("has text that is not UTF-8"))?),
        ty::NAME => Scalar::Name(u32::from_be_bytes(bytes.try_into().map_err(|_| wrong())?)),
        ty::BYTES => Scalar::Bytes(bytes),
        _ => return Err(reader.fail("has a value of an unknown type")),
    };
    Ok((field, value))
}

const _: () = assert!(HEAD_BYTES == 59, "docs/format/ledger.md draws 59 bytes before the public fields");

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    enum Owned {
        Bool(bool),
        U64(u64),
        I64(i64),
        F64(f64),
        Text(String),
        Name(u32),
        Bytes(Vec<u8>),
    }

    impl Owned {
        fn scalar(&self) -> Scalar<'_> {
            match self {
                Self::Bool(v) => Scalar::Bool(*v),
                Self::U64(v) => Scalar::U64(*v),
                Self::I64(v) => Scalar::I64(*v),
                Self::F64(v) => Scalar::F64(*v),
                Self::Text(v) => Scalar::Text(v),
                Self::Name(v) => Scalar::Name(*v),
                Self::Bytes(v) => Scalar::Bytes(v),
            }
        }
    }

    fn owned() -> impl Strategy<Value = Owned> {
        prop_oneof![
            any::<bool>().prop_map(Owned::Bool),
            any::<u64>().prop_map(Owned::U64),
            any::<i64>().prop_map(Owned::I64),
            any::<f64>().prop_filter("NaN is not equal to itself", |v| !v.is_nan()).prop_map(Owned::F64),
            ".{0,40}".prop_map(Owned::Text),
            any::<u32>().prop_map(Owned::Name),
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(Owned::Bytes),
        ]
    }

    fn head() -> Head {
        Head {
            inner: true,
            kind: 16,
            schema: SCHEMA,
            t_admit_ms: 1_700_000_000_123,
            source: SourceId([7; 16]),
            seq: 9,
            uuid: Uuid::new([1; 12], 3),
        }
    }

    fn bytes(public: &[(u16, Scalar<'_>)], commitments: &[(u16, [u8; 32])]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut out, &head(), public.iter().copied(), commitments).expect("encodes");
        out
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            fields in proptest::collection::btree_map(any::<u16>(), owned(), 0..12),
            committed in proptest::collection::btree_map(any::<u16>(), any::<[u8; 32]>(), 0..12),
            (kind, schema, t_admit_ms, seq, uuid) in any::<(u16, u32, u64, u64, [u8; 16])>(),
        ) {
            let committed: Vec<_> = committed.into_iter().filter(|(id, _)| !fields.contains_key(id)).collect();
            let head = Head { inner: seq % 2 == 1, kind, schema, t_admit_ms, source: SourceId(uuid), seq, uuid: Uuid(uuid) };
            let mut out = vec![0xee];
            let len = encode(&mut out, &head, fields.iter().map(|(id, v)| (*id, v.scalar())), &committed).expect("fits");
            prop_assert_eq!(out.len(), 1 + len);
            let entry = Entry::decode(&out[1..]).expect("decodes");
            prop_assert_eq!(*entry.head(), head);
            let read: BTreeMap<_, _> = entry.public().collect();
            prop_assert_eq!(read, fields.iter().map(|(id, v)| (*id, v.scalar())).collect());
            let read: Vec<_> = entry.commitments().map(|(id, c)| (id, *c)).collect();
            prop_assert_eq!(read, committed);
        }

        #[test]
        fn any_bytes_are_an_entry_in_one_way_or_refused(noise in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..140, flip in 1_u8..) {
            prop_assert!(Entry::decode(&noise).is_err());
            let mut bytes = bytes(&[(1, Scalar::Text("up")), (2, Scalar::F64(1.5))], &[(3, [1; 32])]);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= flip;
            }
            if let Ok(entry) = Entry::decode(&bytes) {
                let commitments: Vec<_> = entry.commitments().map(|(id, c)| (id, *c)).collect();
                let mut again = Vec::new();
                encode(&mut again, entry.head(), entry.public(), &commitments).expect("encodes");
                prop_assert_eq!(again, bytes);
            }
        }
    }

    #[test]
    fn the_layout_is_the_one_of_the_page() {
        let bytes = bytes(&[(1, Scalar::Bool(true)), (0x102, Scalar::Name(5))], &[(2, [0xcc; 32])]);
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let wanted = [
            "64687931",
            "01",
            "0010",
            "00000001",
            "0000018bcfe5687b",
            &"07".repeat(16),
            "0000000000000009",
            &"01".repeat(12),
            "00000003",
            "0002",
            "0001",
            "01",
            "0001",
            "01",
            "0102",
            "06",
            "0004",
            "00000005",
            "0001",
            "0002",
            &"cc".repeat(32),
        ];
        assert_eq!(hex, wanted.concat());
        let entry = Entry::decode(&bytes).expect("decodes");
        assert_eq!(entry.head().known_kind(), Some(Kind::CheckResult));
        assert_eq!((entry.field(0x102), entry.field(2)), (Some(Scalar::Name(5)), None));
        assert_eq!((entry.head().uuid.batch(), entry.head().uuid.ordinal()), ([1; 12], 3));
    }

    /// Returns an entry whose public part is `raw`, with `np` fields.
    fn raw(np: u16, raw: &[u8]) -> Vec<u8> {
        let mut out = bytes(&[], &[]);
        out.truncate(HEAD_BYTES);
        out.extend_from_slice(&np.to_be_bytes());
        out.extend_from_slice(raw);
        out.extend_from_slice(&[0, 0]);
        out
    }

    #[test]
    fn each_rule_is_enforced_on_reading() {
        let whole = bytes(&[(1, Scalar::U64(1))], &[(2, [0; 32]), (3, [0; 32])]);
        let patched = |at: usize, with: u8| {
            let mut bytes = whole.clone();
            bytes[at] = with;
            bytes
        };
        let mut nan = vec![0, 1, ty::F64, 0, 8];
        nan.extend_from_slice(&(NAN_BITS | 1).to_be_bytes());
        let end = whole.len();
        let cases: [(&str, Vec<u8>); 16] = [
            ("is longer than 65535 bytes", vec![0; ENTRY_BYTES_MAX + 1]),
            ("does not start with dhy1", patched(3, b'2')),
            ("has an inner flag other than 0 and 1", patched(4, 2)),
            ("ends too early", whole[..end - 1].to_vec()),
            ("ends too early", whole[..40].to_vec()),
            ("has trailing bytes", [&whole[..], &[0]].concat()),
            ("has fields that do not ascend", patched(end - 33, 2)),
            ("has a field that is both public and committed", patched(end - 67, 1)),
            ("has a bool other than 0 and 1", raw(1, &[0, 1, ty::BOOL, 0, 1, 2])),
            ("has a bool other than 0 and 1", raw(1, &[0, 1, ty::BOOL, 0, 0])),
            ("has a number of the wrong length", raw(1, &[0, 1, ty::U64, 0, 1, 2])),
            ("has a number of the wrong length", raw(1, &[0, 1, ty::NAME, 0, 1, 2])),
            ("has a NaN that is not the one", raw(1, &nan)),
            ("has text that is not UTF-8", raw(1, &[0, 1, ty::TEXT, 0, 1, 0xff])),
            ("has a value of an unknown type", raw(1, &[0, 1, ty::MAP, 0, 0])),
            ("has fields that do not ascend", raw(2, &[0, 1, ty::TEXT, 0, 0, 0, 1, ty::TEXT, 0, 0])),
        ];
        for (why, bytes) in cases {
            assert_eq!(Entry::decode(&bytes), Err(Malformed::new(WHAT, why)));
        }
        for cut in 0..end {
            assert!(Entry::decode(&whole[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn what_cannot_be_written_leaves_the_buffer_as_it_was() {
        let long = "x".repeat(65_536);
        let half = "x".repeat(40_000);
        let many: Vec<_> = (0..2_000).map(|id| (id, [0; 32])).collect();
        let too_many: Vec<_> = (0..=65_535).map(|id| (id, [0; 32])).chain([(0, [0; 32])]).collect();
        type Case<'a> = (&'static str, &'a [(u16, Scalar<'a>)], &'a [(u16, [u8; 32])]);
        let cases: [Case<'_>; 7] = [
            ("is longer than 65535 bytes", &[(1, Scalar::Text(&long))], &[]),
            ("is longer than 65535 bytes", &[(1, Scalar::Text(&half)), (2, Scalar::Text(&half))], &[]),
            ("is longer than 65535 bytes", &[], &many),
            ("has too many commitments", &[], &too_many),
            ("has fields that do not ascend", &[(2, Scalar::Name(1)), (2, Scalar::Name(1))], &[]),
            ("has fields that do not ascend", &[], &[(2, [0; 32]), (1, [0; 32])]),
            ("has a field that is both public and committed", &[(2, Scalar::Name(1))], &[(1, [0; 32]), (2, [0; 32])]),
        ];
        for (why, public, commitments) in cases {
            let mut out = vec![1, 2, 3];
            let result = encode(&mut out, &head(), public.iter().copied(), commitments);
            assert_eq!(result, Err(Malformed::new(WHAT, why)));
            assert_eq!(out, [1, 2, 3]);
        }
    }

    #[test]
    fn all_nan_are_one() {
        let other = f64::from_bits(0xfff8_0000_0000_0001);
        let bytes = bytes(&[(1, Scalar::F64(other)), (2, Scalar::F64(-0.0))], &[]);
        let entry = Entry::decode(&bytes).expect("decodes");
        assert!(matches!(entry.field(1), Some(Scalar::F64(v)) if v.to_bits() == NAN_BITS));
        assert!(matches!(entry.field(2), Some(Scalar::F64(v)) if v.is_sign_negative()));
    }
}
