//! Boxes: values that only who holds a person's key can read again, sealed where the record gets its name.
//!
//! A [`Sealed`] carries values and keys from the policy to the ledger, which calls [`Sealed::seal`] while it encodes and
//! sees neither. `docs/format/ledger.md` draws the bytes. Each value has a commitment of its own in the record's entry:
//! whoever is shown one value and its `r` can check it, and learns nothing of its siblings.

use hmac::Hmac;
use model::malformed::Reader;
use model::{Malformed, Private, Rng, Value, cbor, limits};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::keystore::{Keystore, NONCE_BYTES, Owner, Secret, TAG_BYTES, hkdf, hmac, mac, open_sealed, seal};
use crate::pseudonym::handle;

const WHAT: &str = "box";
/// The type of what is committed to: a list of path and value (`ledger::entry::ty::LIST`).
const LIST: u8 = 8;

/// A value that goes into a box, with where it stood.
#[derive(Clone, PartialEq)]
struct Kept {
    field: u16,
    path: String,
    value: Value,
}

/// The values of one record that are one owner's, on their way into a box. Says nothing of them.
#[derive(Clone, PartialEq)]
pub struct Sealed {
    /// In order of their kids; several only where the values cannot be told apart by person.
    owners: Vec<Owner>,
    values: Vec<Kept>,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({} owners, {} values)", self.owners.len(), self.values.len())
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        for kept in &mut self.values {
            kept.path.zeroize();
            wipe(&mut kept.value);
        }
    }
}

/// Wipes a value's texts and bytes.
fn wipe(value: &mut Value) {
    match value {
        Value::Text(text) => text.zeroize(),
        Value::Bytes(bytes) => bytes.zeroize(),
        Value::List(items) => items.iter_mut().for_each(wipe),
        Value::Map(map) => map.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::U64(_) | Value::I64(_) | Value::F64(_) => {}
    }
}

/// The log and the form of entries that boxes are bound to. Made once for many.
#[derive(Clone, Debug)]
pub struct Place {
    origin: String,
    schema: u32,
    /// HMAC keyed with SHA-256(origin): the salt of every box's key.
    extract: Hmac<Sha256>,
}

impl Place {
    /// Names the log and the version of the kind's field table.
    #[must_use]
    pub fn new(origin: &str, schema: u32) -> Self {
        Self { origin: origin.to_owned(), schema, extract: hmac(&Sha256::digest(origin.as_bytes())) }
    }

    /// Returns the key of a box: HKDF-SHA256(SHA-256(origin), keys in order of kid, "dihya/box/1" | uuid | box | kids).
    fn key(&self, uuid: &[u8; 16], number: u8, owners: &[Owner]) -> Secret {
        let keys: Vec<&[u8]> = owners.iter().map(|owner| &owner.key()[..]).collect();
        let kids = kids(owners);
        hkdf(self.extract.clone(), &keys, &[b"dihya/box/1", uuid, &[number], &kids])
    }

    /// Returns what a box is bound to: each part behind its length in 32 bits.
    fn ad(&self, uuid: &[u8; 16], owners: &[Owner], fields: &[u8]) -> Vec<u8> {
        let mut ad = Vec::with_capacity(96 + self.origin.len() + owners.len() * 16 + fields.len());
        let kids = kids(owners);
        for part in [self.origin.as_bytes(), uuid, &kids, fields, &self.schema.to_be_bytes()] {
            ad.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            ad.extend_from_slice(part);
        }
        ad
    }
}

fn kids(owners: &[Owner]) -> Vec<u8> {
    owners.iter().flat_map(|owner| owner.kid().0).collect()
}

/// Returns `r_f = HMAC-SHA256(r_box, "dihya/r/1" | field)`: disclose this, never `r_box`.
fn salt(r_box: &[u8; 32], field: u16) -> [u8; 32] {
    mac(r_box, &[b"dihya/r/1", &field.to_be_bytes()])
}

/// Returns `SHA-256("dihya/commit/1" | uuid | field | r | type | len | value)`, as the ledger does for other values.
fn commit(uuid: &[u8; 16], field: u16, r: &[u8; 32], value: &[u8]) -> [u8; 32] {
    let len = u32::try_from(value.len()).expect("invariant: boxes are bounded by PAYLOAD_BYTES_MAX");
    let head = Sha256::new().chain_update(b"dihya/commit/1").chain_update(uuid).chain_update(field.to_be_bytes());
    head.chain_update(r).chain_update([LIST]).chain_update(len.to_be_bytes()).chain_update(value).finalize().into()
}

impl Sealed {
    /// Starts a box for one owner, or for several of one inseparable thing.
    #[must_use]
    pub fn new(mut owners: Vec<Owner>) -> Self {
        owners.sort_by_key(Owner::kid);
        owners.dedup();
        Self { owners, values: Vec::new() }
    }

    /// Adds a value: `field` is its number in the record, from [`FIELD_MIN`] on and ascending.
    pub fn push(&mut self, field: u16, path: &str, value: Value) {
        self.values.push(Kept { field, path: path.to_owned(), value });
    }

    pub(crate) fn has_owners_of(&self, other: &Self) -> bool {
        self.owners == other.owners
    }

    pub(crate) const fn owners_len(&self) -> usize {
        self.owners.len()
    }

    /// Yields the numbers of its fields, ascending.
    pub fn fields(&self) -> impl Iterator<Item = u16> + '_ {
        self.values.iter().map(|kept| kept.field)
    }

    /// Seals the values under their owners' keys at the end of `out`, as the box `number` of the record `uuid`, and adds
    /// a commitment to each of them. On refusal both are as they were.
    ///
    /// # Errors
    /// When a value is nested too deeply, or the box would exceed `limits::PAYLOAD_BYTES_MAX`.
    ///
    /// # Panics
    /// Never: lengths are checked before they are written.
    pub fn seal(
        &self,
        place: &Place,
        uuid: &[u8; 16],
        number: u8,
        rng: &dyn Rng,
        out: &mut Vec<u8>,
        commitments: &mut Vec<(u16, [u8; 32])>,
    ) -> Result<(), Malformed> {
        let owners =
            u8::try_from(self.owners.len()).ok().filter(|owners| usize::from(*owners) <= limits::BOX_OWNERS_MAX);
        let owners = owners.ok_or(Malformed::new(WHAT, "has too many owners"))?;
        let mut random = Zeroizing::new([0; NONCE_BYTES + 32]);
        rng.fill(&mut *random);
        let (nonce, r_box) = random.split_first_chunk().expect("invariant: 24 of 56 bytes");
        let r_box = r_box.first_chunk().expect("invariant: 32 are left");
        let mut text = Zeroizing::new(Vec::with_capacity(self.text_bytes()));
        text.extend_from_slice(&HEAD);
        text.extend_from_slice(r_box);
        text.extend_from_slice(&VALUES);
        write_len(&mut text, self.values.len());
        let mut made = Vec::with_capacity(self.values.len());
        let mut fields = Vec::with_capacity(self.values.len() * 2);
        for kept in &self.values {
            let from = text.len();
            kept.write(&mut text)?;
            let value = text.get(from..).unwrap_or_default();
            made.push((kept.field, commit(uuid, kept.field, &salt(r_box, kept.field), value)));
            fields.extend_from_slice(&kept.field.to_be_bytes());
        }
        if text.len() + fields.len() + self.owners.len() * 16 + 64 > limits::PAYLOAD_BYTES_MAX {
            return Err(Malformed::new(WHAT, "is longer than its bound"));
        }
        let key = place.key(uuid, number, &self.owners);
        out.push(number);
        out.push(owners);
        self.owners.iter().for_each(|owner| out.extend_from_slice(&handle(owner)));
        let count = u16::try_from(self.values.len()).map_err(|_| Malformed::new(WHAT, "has too many values"))?;
        out.extend_from_slice(&count.to_be_bytes());
        out.extend_from_slice(&fields);
        out.extend_from_slice(nonce);
        // Room for all of it: growing would leave what is not sealed yet behind.
        out.reserve(text.len() + TAG_BYTES + 4);
        let from = out.len() + 4;
        let len = u32::try_from(text.len() + TAG_BYTES).expect("invariant: bounded by PAYLOAD_BYTES_MAX");
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&text);
        seal(&key, nonce, &place.ad(uuid, &self.owners, &fields), out, from);
        commitments.append(&mut made);
        Ok(())
    }

    /// About how long the text will be.
    fn text_bytes(&self) -> usize {
        self.values.iter().map(|kept| kept.path.len() + bytes_of(&kept.value) + 24).sum::<usize>() + 64
    }
}

/// About how many bytes a value takes: at least as many as it does, so that buffers with secrets in them never grow.
fn bytes_of(value: &Value) -> usize {
    9 + match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.iter().map(bytes_of).sum(),
        Value::Map(map) => map.iter().map(|(key, value)| 9 + key.len() + bytes_of(value)).sum(),
        _ => 0,
    }
}

/// The smallest number of a sealed value's field; those below are the fields that a kind declares.
pub const FIELD_MIN: u16 = 0x8000;

/// The contents are the CBOR map `{"r": r_box, "v": [[path, value], ...]}`: up to `r_box`, and from there to the values.
const HEAD: [u8; 5] = [0xa2, 0x61, b'r', 0x58, 32];
const VALUES: [u8; 2] = [0x61, b'v'];

/// Writes the head of a list, in the shortest form.
fn write_len(out: &mut Vec<u8>, len: usize) {
    match len {
        0..24 => out.push(0x80 | len.to_le_bytes()[0]),
        24..256 => out.extend_from_slice(&[0x98, len.to_le_bytes()[0]]),
        _ => {
            out.push(0x99);
            out.extend_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
}

impl Kept {
    /// Writes `[path, value]`: what is committed to.
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        out.push(0x82);
        write_text(out, &self.path);
        cbor::encode(out, &self.value)
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        len @ 0..24 => out.push(0x60 | len.to_le_bytes()[0]),
        len @ 24..256 => out.extend_from_slice(&[0x78, len.to_le_bytes()[0]]),
        len => match u16::try_from(len) {
            Ok(len) => {
                out.push(0x79);
                out.extend_from_slice(&len.to_be_bytes());
            }
            // The path of a field in an event, whose names are shorter than the event.
            Err(_) => {
                out.push(0x7a);
                out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
            }
        },
    }
    out.extend_from_slice(text.as_bytes());
}

/// A box as it lies in the vault, borrowed: everything but what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boxed<'a> {
    /// Its number in the record.
    pub number: u8,
    handles: &'a [[u8; 16]],
    fields: &'a [u8],
    nonce: &'a [u8; NONCE_BYTES],
    sealed: &'a [u8],
}

impl<'a> Boxed<'a> {
    /// Reads all boxes of a record: one behind the other.
    ///
    /// # Errors
    /// When the form is broken: numbers that do not count up from 0, owners or values missing, fields that are no sealed
    /// ones or do not ascend, bytes missing or left over.
    pub fn read_all(bytes: &'a [u8]) -> Result<Vec<Self>, Malformed> {
        let mut reader = Reader::new(WHAT, bytes);
        let mut boxes: Vec<Self> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        while !reader.rest().is_empty() {
            let found = Self::read(&mut reader)?;
            if usize::from(found.number) != boxes.len() || !found.fields().all(|field| seen.insert(field)) {
                return Err(reader.fail("has another number than its place, or a field of another box"));
            }
            boxes.push(found);
        }
        Ok(boxes)
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let number = reader.u8()?;
        let owners = usize::from(reader.u8()?);
        let handles = reader.take(owners * 16)?.as_chunks().0;
        let count = usize::from(reader.u16()?);
        let fields = reader.take(count * 2)?;
        let nonce = reader.array()?;
        let len = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
        let found = Self { number, handles, fields, nonce, sealed: reader.take(len)? };
        let ascend = found.fields().zip(found.fields().skip(1)).all(|(a, b)| a < b);
        if !(1..=limits::BOX_OWNERS_MAX).contains(&owners)
            || count == 0
            || !ascend
            || found.fields().any(|field| field < FIELD_MIN)
        {
            return Err(
                reader.fail("lacks owners or values, has too many, or fields that are not sealed ones in order")
            );
        }
        Ok(found)
    }

    /// Yields the numbers of its fields, ascending.
    pub fn fields(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.fields.as_chunks().0.iter().map(|field| u16::from_be_bytes(*field))
    }

    /// Returns the pseudonyms of its owners.
    #[must_use]
    pub const fn handles(&self) -> &'a [[u8; 16]] {
        self.handles
    }

    /// Opens it with its owners' keys, in any order; `None` when they are others, or anything was altered.
    #[must_use]
    pub fn open(&self, place: &Place, uuid: &[u8; 16], owners: &[Owner]) -> Option<Vec<Opened>> {
        let mut owners = owners.to_vec();
        owners.sort_by_key(Owner::kid);
        let key = place.key(uuid, self.number, &owners);
        let text = open_sealed(&key, self.nonce, &place.ad(uuid, &owners, self.fields), self.sealed)?;
        let Ok(Value::Map(mut map)) = cbor::decode(&text) else { return None };
        let (Some(Value::Bytes(mut r)), Some(Value::List(values))) = (map.remove("r"), map.remove("v")) else {
            return None;
        };
        let r_box = Zeroizing::new(<[u8; 32]>::try_from(r.as_slice()).ok()?);
        r.zeroize();
        if values.len() * 2 != self.fields.len() {
            return None;
        }
        let opened = self.fields().zip(values).filter_map(|(field, item)| {
            let mut bytes = Vec::new();
            cbor::encode(&mut bytes, &item).ok()?;
            let Value::List(pair) = item else { return None };
            let [Value::Text(path), value] = <[Value; 2]>::try_from(pair).ok()? else { return None };
            Some(Opened { field, path, value, r: salt(&r_box, field), committed: Private::new(bytes) })
        });
        let opened: Vec<_> = opened.collect();
        (opened.len() * 2 == self.fields.len()).then_some(opened)
    }

    /// Opens it with the keys of a keystore; `None` when they are not there any more.
    #[must_use]
    pub fn open_with(&self, place: &Place, uuid: &[u8; 16], keystore: &Keystore) -> Option<Vec<Opened>> {
        let owners: Option<Vec<Owner>> = self.handles.iter().map(|handle| keystore.owner_of(handle)).collect();
        self.open(place, uuid, &owners?)
    }
}

/// A value out of a box, with what shows that it is the one that was committed to.
#[derive(Clone)]
pub struct Opened {
    /// The number of its field.
    pub field: u16,
    /// Where it stood.
    pub path: String,
    /// What it is: personal data.
    pub value: Value,
    /// Its salt: with it, anybody can check this value and no other.
    pub r: [u8; 32],
    /// The bytes that are committed to, of type list.
    pub committed: Private<Vec<u8>>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opened(field {}, {:?})", self.field, self.committed)
    }
}

impl Opened {
    /// Returns the commitment that an entry must hold for it.
    #[must_use]
    pub fn commitment(&self, uuid: &[u8; 16]) -> [u8; 32] {
        commit(uuid, self.field, &self.r, self.committed.expose())
    }
}

/// Seals all boxes of a record, one behind the other, at the end of `out`. On refusal `out` and `commitments` hold a part.
///
/// # Errors
/// As [`Sealed::seal`]; and when all of them together exceed `limits::PAYLOAD_BYTES_MAX`.
pub fn seal_all(
    boxes: &[Sealed],
    place: &Place,
    uuid: &[u8; 16],
    rng: &dyn Rng,
    out: &mut Vec<u8>,
    commitments: &mut Vec<(u16, [u8; 32])>,
) -> Result<(), Malformed> {
    let start = (out.len(), commitments.len());
    if boxes.len() > limits::BOXES_MAX {
        return Err(Malformed::new(WHAT, "is one of too many"));
    }
    for (sealed, number) in boxes.iter().zip(0..) {
        sealed.seal(place, uuid, number, rng, out, commitments)?;
        if out.len() - start.0 > limits::PAYLOAD_BYTES_MAX {
            return Err(Malformed::new(WHAT, "is longer than its bound"));
        }
    }
    // Fields are numbered as they come, whoever owns them.
    commitments.get_mut(start.1..).unwrap_or_default().sort_unstable_by_key(|(field, _)| *field);
    Ok(())
}

#[cfg(test)]
mod tests {
    use model::SeededRng;

    use super::*;
    use crate::keystore::Kid;

    const UUID: [u8; 16] = [7; 16];

    fn owner(key: u8) -> Owner {
        Owner::new(Kid([key; 16]), &Private::new([key + 100; 32]))
    }

    fn two_values(owners: Vec<Owner>) -> Sealed {
        let mut sealed = Sealed::new(owners);
        sealed.push(FIELD_MIN, "body.mail", Value::from("ana@example.org"));
        sealed.push(FIELD_MIN + 1, "body.ward", Value::U64(7));
        sealed
    }

    fn sealed(boxes: &[Sealed]) -> (Vec<u8>, Vec<(u16, [u8; 32])>) {
        let (mut out, mut commitments) = (Vec::new(), Vec::new());
        let place = Place::new("localhost/default", 1);
        seal_all(boxes, &place, &UUID, &SeededRng::new(1), &mut out, &mut commitments).expect("seals");
        (out, commitments)
    }

    #[test]
    fn a_box_opens_with_all_its_keys_where_it_belongs_and_nowhere_else() {
        let place = Place::new("localhost/default", 1);
        for owners in [vec![owner(1)], vec![owner(2), owner(1)]] {
            let (bytes, commitments) = sealed(&[two_values(owners.clone())]);
            assert!(!bytes.windows(3).any(|part| part == b"ana"));
            let found = Boxed::read_all(&bytes).expect("reads");
            let opened = found[0].open(&place, &UUID, &owners).expect("opens");
            let shown: Vec<_> = opened.iter().map(|value| (value.path.as_str(), value.value.clone())).collect();
            assert_eq!(shown, [("body.mail", Value::from("ana@example.org")), ("body.ward", Value::U64(7))]);
            let recomputed: Vec<_> = opened.iter().map(|value| (value.field, value.commitment(&UUID))).collect();
            assert_eq!(recomputed, commitments);
            assert_eq!(format!("{:?}", opened[1]), "Opened(field 32769, Private(12 bytes))");
            assert_eq!(found[0].handles().len(), owners.len());

            assert!(found[0].open(&place, &UUID, &[owner(3)]).is_none());
            assert!(found[0].open(&place, &UUID, &[]).is_none());
            assert!(found[0].open(&place, &[8; 16], &owners).is_none());
            assert!(found[0].open(&Place::new("localhost/other", 1), &UUID, &owners).is_none());
            assert!(found[0].open(&Place::new("localhost/default", 2), &UUID, &owners).is_none());
            for at in 0..bytes.len() {
                let mut altered = bytes.clone();
                altered[at] ^= 1;
                let handle = (2..2 + owners.len() * 16).contains(&at);
                let opens = Boxed::read_all(&altered)
                    .is_ok_and(|found| found.first().is_some_and(|one| one.open(&place, &UUID, &owners).is_some()));
                assert_eq!(opens, handle, "byte {at}: handles only help to find the keys");
            }
        }
    }

    /// Whoever is shown one value must not be able to try what its sibling is.
    #[test]
    fn a_disclosed_value_says_nothing_of_its_sibling() {
        let (bytes, commitments) = sealed(&[two_values(vec![owner(1)])]);
        let place = Place::new("localhost/default", 1);
        let opened = Boxed::read_all(&bytes).expect("reads")[0].open(&place, &UUID, &[owner(1)]).expect("opens");
        let (mail, ward) = (&opened[0], &opened[1]);
        assert_eq!(commitments[0].1, commit(&UUID, mail.field, &mail.r, mail.committed.expose()));
        // The sibling is a number below a thousand: all of them are tried, with everything that was disclosed.
        let found = (0..1_000_u64).any(|guess| {
            let kept = Kept { field: ward.field, path: ward.path.clone(), value: Value::U64(guess) };
            let mut value = Vec::new();
            kept.write(&mut value).expect("writes");
            let salts = [mail.r, salt(&mail.r, ward.field), mac(&mail.r, &[&value]), [0; 32]];
            salts.iter().any(|r| commit(&UUID, ward.field, r, &value) == commitments[1].1)
        });
        assert!(!found);
        let kept = Kept { field: ward.field, path: ward.path.clone(), value: Value::U64(7) };
        let mut value = Vec::new();
        kept.write(&mut value).expect("writes");
        assert_eq!(commit(&UUID, ward.field, &ward.r, &value), commitments[1].1, "its own salt would do");
    }

    #[test]
    fn boxes_of_several_owners_share_a_record() {
        let mut other = Sealed::new(vec![owner(2)]);
        other.push(FIELD_MIN + 2, "body.actor", Value::Map([("id".to_owned(), Value::Bytes(vec![1]))].into()));
        let mut first = two_values(vec![owner(1)]);
        first.push(
            FIELD_MIN + 3,
            &"long.".repeat(60),
            Value::List(vec![Value::Null, Value::F64(0.5), Value::Bool(true)]),
        );
        assert!(first.has_owners_of(&Sealed::new(vec![owner(1)])) && !first.has_owners_of(&other));
        let (bytes, commitments) = sealed(&[first, other]);
        assert!(commitments.is_sorted() && commitments.len() == 4);
        let found = Boxed::read_all(&bytes).expect("reads");
        let place = Place::new("localhost/default", 1);
        let opened: Vec<_> =
            [1, 2].iter().zip(&found).map(|(key, one)| one.open(&place, &UUID, &[owner(*key)])).collect();
        assert_eq!(opened.iter().flatten().flatten().count(), 4);
        assert_eq!(found[1].fields().collect::<Vec<_>>(), [FIELD_MIN + 2]);
        for len in 1..bytes.len() {
            // Between the two, one box is a whole record's boxes.
            let whole = Boxed::read_all(&bytes[..len]).is_ok_and(|found| found.len() == 1);
            assert!(whole || Boxed::read_all(&bytes[..len]).is_err());
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let place = Place::new("o", 1);
        let refused = |boxes: &[Sealed]| {
            let result = seal_all(boxes, &place, &UUID, &SeededRng::new(1), &mut Vec::new(), &mut Vec::new());
            result.map_err(|error| error.why)
        };
        let mut large = Sealed::new(vec![owner(1)]);
        large.push(FIELD_MIN, "p", Value::Bytes(vec![0; limits::PAYLOAD_BYTES_MAX]));
        assert_eq!(refused(&[large]), Err("is longer than its bound"));
        let half = |field| {
            let mut half = Sealed::new(vec![owner(1)]);
            half.push(field, "p", Value::Bytes(vec![0; limits::PAYLOAD_BYTES_MAX / 2]));
            half
        };
        assert_eq!(refused(&[half(FIELD_MIN), half(FIELD_MIN + 1)]), Err("is longer than its bound"));
        let many: Vec<_> = (0..=limits::BOXES_MAX).map(|_| two_values(vec![owner(1)])).collect();
        assert_eq!(refused(&many), Err("is one of too many"));
        let deep = (0..limits::VALUE_DEPTH_MAX + 1).fold(Value::Null, |inner, _| Value::List(vec![inner]));
        let mut nested = Sealed::new(vec![owner(1)]);
        nested.push(FIELD_MIN, "p", deep);
        assert_eq!(refused(&[nested]), Err("is nested too deeply"));
        let crowd = (0..=u8::try_from(limits::BOX_OWNERS_MAX).expect("is small")).map(owner).collect();
        assert_eq!(refused(&[two_values(crowd)]), Err("has too many owners"));
        let (bytes, _) = sealed(&[two_values(vec![owner(1)])]);
        let twice: Vec<u8> = [&bytes[..], &bytes[..]].concat();
        assert!(Boxed::read_all(&twice).is_err(), "the same number twice");
        assert!(Boxed::read_all(&[0, 0, 0, 0]).is_err());
        assert!(format!("{:?}", two_values(vec![owner(1)])).starts_with("Sealed(1 owners, 2 values)"));
    }
}
