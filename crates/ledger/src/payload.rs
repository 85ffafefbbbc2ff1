//! The payload: the cleared values of one record, kept beside its entry and erasable without it.
//!
//! A WAL frame is `entry | payload | boxes`. Drawn in `docs/format/ledger.md`.

use model::Value;
use model::limits::PAYLOAD_BYTES_MAX;
use privacy::{Boxed, Part};

use crate::cbor;
use crate::commitment::{Salt, Salts, commit, commit_all};
use crate::entry::{Ascent, Entry, Uuid, f64_bits, read_f64, ty};
use crate::malformed::{Malformed, Reader};

const WHAT: &str = "payload";
/// Salts are derived from the seed of the record's batch.
const SALTS_DERIVED: u8 = 0;
/// Each value carries its salt: what is left of a batch after one of its rows was deleted.
const SALTS_EXPLICIT: u8 = 1;

/// Encodes `values` at the end of `payload` and commits to each of them, with salts derived from the batch's seed.
///
/// `commitments` is cleared first, and then holds what the entry of the same `uuid` must carry. On refusal `payload` is
/// as it was.
///
/// # Errors
/// When fields do not ascend, a value is null or nested too deeply, or the payload is longer than
/// `limits::PAYLOAD_BYTES_MAX`.
pub fn encode(
    payload: &mut Vec<u8>,
    uuid: &Uuid,
    values: &[(u16, Value)],
    salts: &Salts,
    commitments: &mut Vec<(u16, [u8; 32])>,
) -> Result<(), Malformed> {
    encode_all(payload, uuid, values.iter().map(|(field, value)| (*field, Given::Value(value))), salts, commitments)
}

/// Does what [`encode`] does with the parts that privacy gave.
///
/// # Errors
/// As [`encode`].
pub(crate) fn encode_parts(
    payload: &mut Vec<u8>,
    uuid: &Uuid,
    parts: &[(u16, Part)],
    salts: &Salts,
    commitments: &mut Vec<(u16, [u8; 32])>,
) -> Result<(), Malformed> {
    let parts = parts.iter().map(|(field, part)| match part {
        Part::Value(value) => (*field, Given::Value(value)),
        Part::Map(bytes) => (*field, Given::Map(bytes)),
    });
    encode_all(payload, uuid, parts, salts, commitments)
}

/// A value to be written.
#[derive(Clone, Copy)]
enum Given<'a> {
    Value(&'a Value),
    /// A map that is written already.
    Map(&'a [u8]),
}

fn encode_all<'a>(
    payload: &mut Vec<u8>,
    uuid: &Uuid,
    values: impl ExactSizeIterator<Item = (u16, Given<'a>)>,
    salts: &Salts,
    commitments: &mut Vec<(u16, [u8; 32])>,
) -> Result<(), Malformed> {
    let start = payload.len();
    commitments.clear();
    let result = encode_at_end(payload, uuid, values, salts, commitments, start);
    if result.is_err() {
        payload.truncate(start);
        commitments.clear();
    }
    result
}

fn encode_at_end<'a>(
    payload: &mut Vec<u8>,
    uuid: &Uuid,
    values: impl ExactSizeIterator<Item = (u16, Given<'a>)>,
    salts: &Salts,
    commitments: &mut Vec<(u16, [u8; 32])>,
    start: usize,
) -> Result<(), Malformed> {
    let count = u16::try_from(values.len()).map_err(|_| Malformed::new(WHAT, "has too many values"))?;
    payload.push(SALTS_DERIVED);
    payload.extend_from_slice(&count.to_be_bytes());
    let values_at = payload.len();
    let mut order = Ascent::default();
    for (field, value) in values {
        order.step(field, WHAT)?;
        payload.extend_from_slice(&field.to_be_bytes());
        let ty = match value {
            Given::Value(value) => type_of(value)?,
            Given::Map(_) => ty::MAP,
        };
        payload.push(ty);
        let len_at = payload.len();
        payload.extend_from_slice(&[0; 4]);
        let value_at = payload.len();
        match value {
            Given::Value(value) => write_value(payload, value)?,
            Given::Map(bytes) => payload.extend_from_slice(bytes),
        }
        if payload.len() - start > PAYLOAD_BYTES_MAX {
            return Err(Malformed::new(WHAT, "is longer than its bound"));
        }
        let len = u32::try_from(payload.len() - value_at).expect("invariant: bounded by PAYLOAD_BYTES_MAX");
        payload[len_at..value_at].copy_from_slice(&len.to_be_bytes());
    }
    let mut written = Reader::new(WHAT, payload.get(values_at..).unwrap_or_default());
    let written = (0..count).map_while(|_| read_cleared(&mut written, false).ok());
    commit_all(uuid, salts, written.map(|value| (value.field, value.ty, value.bytes)), commitments);
    Ok(())
}

/// Rewrites a payload so that it carries the salts itself and no longer needs the seed of its batch.
///
/// # Errors
/// When `payload` is not one payload.
pub fn with_explicit_salts(payload: &[u8], uuid: &Uuid, salts: &Salts) -> Result<Vec<u8>, Malformed> {
    let payload = Payload::decode(payload)?;
    let mut out = Vec::new();
    out.push(SALTS_EXPLICIT);
    out.extend_from_slice(&payload.count.to_be_bytes());
    for cleared in payload.values() {
        out.extend_from_slice(&cleared.field.to_be_bytes());
        out.push(cleared.ty);
        out.extend_from_slice(&u32::try_from(cleared.bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(cleared.bytes);
        out.extend_from_slice(&cleared.salt(uuid, Some(salts)).unwrap_or_default());
    }
    Ok(out)
}

/// Returns the number of the value's type on disk.
fn type_of(value: &Value) -> Result<u8, Malformed> {
    Ok(match value {
        Value::Null => return Err(Malformed::new(WHAT, "has a null where a value belongs")),
        Value::Bool(_) => ty::BOOL,
        Value::U64(_) => ty::U64,
        Value::I64(_) => ty::I64,
        Value::F64(_) => ty::F64,
        Value::Text(_) => ty::TEXT,
        Value::Bytes(_) => ty::BYTES,
        Value::List(_) => ty::LIST,
        Value::Map(_) => ty::MAP,
    })
}

fn write_value(out: &mut Vec<u8>, value: &Value) -> Result<(), Malformed> {
    match value {
        Value::Bool(value) => out.push(u8::from(*value)),
        Value::U64(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::I64(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::F64(value) => out.extend_from_slice(&f64_bits(*value).to_be_bytes()),
        Value::Text(value) => out.extend_from_slice(value.as_bytes()),
        Value::Bytes(value) => out.extend_from_slice(value),
        // Null was refused with its type already.
        Value::List(_) | Value::Map(_) | Value::Null => cbor::encode(out, value)?,
    }
    Ok(())
}

fn read_value(ty: u8, bytes: &[u8]) -> Result<Value, Malformed> {
    let wrong = || Malformed::new(WHAT, "has a number of the wrong length");
    Ok(match ty {
        ty::BOOL => match bytes {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            _ => return Err(Malformed::new(WHAT, "has a bool other than 0 and 1")),
        },
        ty::U64 => Value::U64(u64::from_be_bytes(bytes.try_into().map_err(|_| wrong())?)),
        ty::I64 => Value::I64(i64::from_be_bytes(bytes.try_into().map_err(|_| wrong())?)),
        ty::F64 => {
            let value = read_f64(bytes.try_into().map_err(|_| wrong())?);
            Value::F64(value.ok_or(Malformed::new(WHAT, "has a NaN that is not the one"))?)
        }
        ty::TEXT => {
            let text = std::str::from_utf8(bytes).map_err(|_| Malformed::new(WHAT, "has text that is not UTF-8"))?;
            Value::Text(text.to_owned())
        }
        ty::BYTES => Value::Bytes(bytes.to_vec()),
        ty::LIST | ty::MAP => match (ty, cbor::decode(bytes)?) {
            (ty::LIST, value @ Value::List(_)) | (ty::MAP, value @ Value::Map(_)) => value,
            _ => return Err(Malformed::new(WHAT, "has a list or map that is not one")),
        },
        _ => return Err(Malformed::new(WHAT, "has a value of an unknown type")),
    })
}

/// One cleared value, borrowed from its payload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClearedValue<'a> {
    /// Of which field.
    pub field: u16,
    /// The number of its type: [`crate::entry::ty`].
    pub ty: u8,
    /// The bytes that are committed to.
    pub bytes: &'a [u8],
    explicit: Option<&'a Salt>,
}

impl ClearedValue<'_> {
    /// Decodes the value.
    ///
    /// # Errors
    /// When its bytes are not of its type, or not in their one form.
    pub fn value(&self) -> Result<Value, Malformed> {
        read_value(self.ty, self.bytes)
    }

    /// Returns its salt: its own, or the one derived from `salts`; `None` when it has none and `salts` is absent.
    #[must_use]
    pub fn salt(&self, uuid: &Uuid, salts: Option<&Salts>) -> Option<Salt> {
        self.explicit.copied().or_else(|| salts.map(|salts| salts.salt(uuid.ordinal(), self.field)))
    }
}

impl std::fmt::Debug for ClearedValue<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClearedValue(field {}, type {}, {} bytes)", self.field, self.ty, self.bytes.len())
    }
}

/// A decoded payload, borrowed from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    explicit: bool,
    count: u16,
    values: &'a [u8],
}

impl<'a> Payload<'a> {
    /// Decodes the framing of exactly one payload; the values themselves are decoded by [`ClearedValue::value`].
    ///
    /// # Errors
    /// When it is longer than `limits::PAYLOAD_BYTES_MAX`, fields do not ascend, or bytes are missing or left over.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(WHAT, bytes);
        // Explicit salts may carry a payload past its bound; twice the bound is still bounded.
        if bytes.len() > 2 * PAYLOAD_BYTES_MAX {
            return Err(reader.fail("is longer than its bound"));
        }
        let explicit = match reader.u8()? {
            SALTS_DERIVED => false,
            SALTS_EXPLICIT => true,
            _ => return Err(reader.fail("has an unknown form of salts")),
        };
        let count = reader.u16()?;
        let values = reader.rest();
        let mut order = Ascent::default();
        for _ in 0..count {
            order.step(read_cleared(&mut reader, explicit)?.field, WHAT)?;
        }
        reader.finish()?;
        Ok(Self { explicit, count, values })
    }

    /// Yields the values, ascending by field.
    pub fn values(&self) -> impl Iterator<Item = ClearedValue<'a>> + use<'a> {
        let (mut reader, explicit) = (Reader::new(WHAT, self.values), self.explicit);
        (0..self.count).map_while(move |_| read_cleared(&mut reader, explicit).ok())
    }

    /// Decodes all values, for a projection.
    ///
    /// # Errors
    /// When the bytes of a value are not of its type, or not in their one form.
    pub fn to_values(&self) -> Result<Vec<(u16, Value)>, Malformed> {
        self.values().map(|cleared| Ok((cleared.field, cleared.value()?))).collect()
    }

    /// Like [`Self::unopened`] for a record with boxes: what one of them holds counts as opened, and what one holds and
    /// the entry does not commit to is unopened.
    #[must_use]
    pub fn unopened_beside(&self, entry: &Entry<'_>, salts: Option<&Salts>, boxes: &[Boxed<'_>]) -> Vec<u16> {
        let mut unopened = self.unopened(entry, salts);
        for field in boxes.iter().flat_map(Boxed::fields) {
            let is_committed = entry.commitments().any(|(committed, _)| committed == field);
            // A field that stands in a box and in the payload too is not excused by the box.
            let is_shown = self.values().any(|value| value.field == field);
            if is_committed && !is_shown {
                unopened.retain(|other| *other != field);
            } else if !unopened.contains(&field) {
                unopened.push(field);
            }
        }
        unopened.sort_unstable();
        unopened
    }

    /// Checks the values against the commitments of `entry` (I2): each commitment must open to the value of its field,
    /// and each value must be committed to. Returns the fields for which that is not so, ascending.
    ///
    /// `salts` may be absent where the payload carries its own.
    #[must_use]
    pub fn unopened(&self, entry: &Entry<'_>, salts: Option<&Salts>) -> Vec<u16> {
        let uuid = &entry.head().uuid;
        let mut unopened = Vec::new();
        let mut values = self.values().peekable();
        for (field, commitment) in entry.commitments() {
            while let Some(stray) = values.next_if(|value| value.field < field) {
                unopened.push(stray.field);
            }
            let opens = values.next_if(|value| value.field == field).is_some_and(|value| {
                value.salt(uuid, salts).is_some_and(|salt| {
                    commit(uuid, field, &salt, value.ty, value.bytes) == *commitment && value.value().is_ok()
                })
            });
            if !opens {
                unopened.push(field);
            }
        }
        unopened.extend(values.map(|value| value.field));
        unopened
    }
}

fn read_cleared<'a>(reader: &mut Reader<'a>, explicit: bool) -> Result<ClearedValue<'a>, Malformed> {
    let field = reader.u16()?;
    let ty = reader.u8()?;
    let len = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
    let bytes = reader.take(len)?;
    let explicit = if explicit { Some(reader.array()?) } else { None };
    Ok(ClearedValue { field, ty, bytes, explicit })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commitment::Seed;
    use crate::entry::{self, Head, NAN_BITS};

    fn uuid() -> Uuid {
        Uuid::new([9; 12], 4)
    }

    fn salts() -> Salts {
        Salts::new(&Seed::from_bytes([2; 32]))
    }

    fn values() -> Vec<(u16, Value)> {
        vec![
            (1, Value::Bool(true)),
            (2, Value::U64(u64::MAX)),
            (3, Value::I64(-5)),
            (4, Value::F64(0.5)),
            (5, Value::from("caf\u{e9}")),
            (6, Value::Bytes(vec![0, 255])),
            (7, Value::List(vec![Value::Null, Value::from("x")])),
            (8, Value::Map([("k".to_owned(), Value::U64(1))].into())),
        ]
    }

    fn entry_of(commitments: &[(u16, [u8; 32])]) -> Vec<u8> {
        let head = Head {
            inner: false,
            kind: 18,
            schema: 1,
            t_admit_ms: 0,
            source: model::SourceId::default(),
            seq: 0,
            uuid: uuid(),
        };
        let mut out = Vec::new();
        entry::encode(&mut out, &head, [], commitments).expect("encodes");
        out
    }

    fn encoded() -> (Vec<u8>, Vec<u8>) {
        let (mut payload, mut commitments) = (Vec::new(), vec![(99, [0; 32])]);
        encode(&mut payload, &uuid(), &values(), &salts(), &mut commitments).expect("encodes");
        let entry = entry_of(&commitments);
        (payload, entry)
    }

    #[test]
    fn a_payload_opens_its_commitments_with_derived_and_with_explicit_salts() {
        let (payload, entry) = encoded();
        let entry = Entry::decode(&entry).expect("decodes");
        let read = Payload::decode(&payload).expect("decodes");
        assert_eq!(read.to_values().expect("are values"), values());
        assert!(read.unopened(&entry, Some(&salts())).is_empty());
        assert_eq!(read.unopened(&entry, None).len(), 8);
        assert_eq!(read.unopened(&entry, Some(&Salts::new(&Seed::from_bytes([1; 32])))).len(), 8);

        let explicit = with_explicit_salts(&payload, &uuid(), &salts()).expect("is a payload");
        let read = Payload::decode(&explicit).expect("decodes");
        assert!(read.unopened(&entry, None).is_empty());
        assert_eq!(read.to_values().expect("are values"), values());
        assert_eq!(format!("{:?}", read.values().next()), "Some(ClearedValue(field 1, type 1, 1 bytes))");
    }

    #[test]
    fn what_does_not_open_is_named_by_its_field() {
        let (payload, entry) = encoded();
        let entry = Entry::decode(&entry).expect("decodes");
        let mut forged = payload.clone();
        *forged.last_mut().expect("is not empty") ^= 1;
        assert_eq!(Payload::decode(&forged).expect("decodes").unopened(&entry, Some(&salts())), [8]);

        let (mut other, mut commitments) = (Vec::new(), Vec::new());
        let stray = [(2, Value::U64(u64::MAX)), (5, Value::from("caf\u{e9}")), (9, Value::U64(0)), (10, Value::U64(0))];
        encode(&mut other, &uuid(), &stray, &salts(), &mut commitments).expect("encodes");
        let read = Payload::decode(&other).expect("decodes");
        assert_eq!(read.unopened(&entry, Some(&salts())), [1, 3, 4, 6, 7, 8, 9, 10]);
        let few = entry_of(&commitments[1..2]);
        assert_eq!(read.unopened(&Entry::decode(&few).expect("decodes"), Some(&salts())), [2, 9, 10]);
    }

    #[test]
    fn what_cannot_be_written_leaves_the_buffer_as_it_was() {
        let deep = (0..40).fold(Value::Null, |inner, _| Value::List(vec![inner]));
        let big = Value::Bytes(vec![0; PAYLOAD_BYTES_MAX]);
        let many = vec![(1, Value::U64(0)); 65_536];
        let cases: [(Vec<(u16, Value)>, &str); 5] = [
            (vec![(1, Value::Null)], "has a null where a value belongs"),
            (vec![(1, Value::U64(0)), (1, Value::U64(0))], "has fields that do not ascend"),
            (vec![(1, deep)], "is nested too deeply"),
            (vec![(1, big)], "is longer than its bound"),
            (many, "has too many values"),
        ];
        for (values, why) in cases {
            let (mut out, mut commitments) = (vec![1], vec![(1, [0; 32])]);
            let error = encode(&mut out, &uuid(), &values, &salts(), &mut commitments).expect_err(why);
            assert_eq!((error.why, out, commitments), (why, vec![1], vec![]));
        }
    }

    fn one(ty: u8, bytes: &[u8]) -> Vec<u8> {
        let len = u32::try_from(bytes.len()).expect("is short").to_be_bytes();
        [&[0, 0, 1, 0, 1, ty][..], &len, bytes].concat()
    }

    #[test]
    fn each_rule_is_enforced_on_reading() {
        let (payload, _) = encoded();
        for cut in 0..payload.len() {
            assert!(Payload::decode(&payload[..cut]).is_err(), "{cut}");
        }
        for (bytes, why) in [
            (vec![0; 2 * PAYLOAD_BYTES_MAX + 1], "is longer than its bound"),
            (vec![2, 0, 0], "has an unknown form of salts"),
            ([&payload[..], &[0]].concat(), "has trailing bytes"),
            (vec![0, 0, 2, 0, 1, 5, 0, 0, 0, 0, 0, 1, 5, 0, 0, 0, 0], "has fields that do not ascend"),
        ] {
            assert_eq!(Payload::decode(&bytes), Err(Malformed::new(WHAT, why)));
        }
        let mut nan = NAN_BITS.to_be_bytes();
        nan[7] = 1;
        for (bytes, why) in [
            (one(ty::BOOL, &[2]), "has a bool other than 0 and 1"),
            (one(ty::BOOL, &[]), "has a bool other than 0 and 1"),
            (one(ty::U64, &[0]), "has a number of the wrong length"),
            (one(ty::I64, &[0]), "has a number of the wrong length"),
            (one(ty::F64, &[0]), "has a number of the wrong length"),
            (one(ty::F64, &nan), "has a NaN that is not the one"),
            (one(ty::TEXT, &[0xff]), "has text that is not UTF-8"),
            (one(ty::LIST, &[0xa0]), "has a list or map that is not one"),
            (one(ty::MAP, &[0x80]), "has a list or map that is not one"),
            (one(ty::MAP, &[0]), "has a list or map that is not one"),
            (one(ty::MAP, &[]), "ends too early"),
            (one(ty::NAME, &[0; 4]), "has a value of an unknown type"),
        ] {
            let error = Payload::decode(&bytes).expect("is framed").to_values().expect_err(why);
            assert_eq!(error.why, why);
        }
        assert!(with_explicit_salts(&[9], &uuid(), &salts()).is_err());
    }
}
