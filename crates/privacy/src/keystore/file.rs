//! The file `keys` of a keystore, byte by byte (`docs/format/keystore.md`): a header, then sealed frames.
//!
//! The first frames are what was there when the file was written whole; the header says where they end. Mints append.
//! Each frame says up to where a sync had succeeded before it: that tells a torn tail, which was never used, from damage.

use disk::DiskFile;
use model::{Rng, Tenant, limits};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::crypt::{self, NONCE_BYTES, Secret, TAG_BYTES};
use super::error::Error;
use super::index::Index;
use super::locked::Kept;
use super::{Class, Kid, Tag};

const MAGIC: &[u8; 8] = b"DhKeys1\n";
/// Starts each frame.
const FRAME: &[u8; 4] = b"DhK1";
pub(crate) const HEADER_BYTES: usize = 8 + 8 + 16 + 8 + 8;
/// `magic | len u32 | ordinal u64 | nonce`.
const HEAD_BYTES: usize = 4 + 4 + 8 + NONCE_BYTES;
/// Longest sealed part: a frame of the longest records, with room.
const SEALED_BYTES_MAX: usize = limits::KEYSTORE_FRAME_RECORDS_MAX * RECORD_BYTES_MAX + 8 + TAG_BYTES;
const RECORD_BYTES_MAX: usize = 54;
/// Bytes that are looked through at once for what vouches for a broken frame.
const SEARCH_BYTES: usize = 1 << 20;

/// One thing that a frame says.
pub(crate) enum Record<'a> {
    /// A key was minted.
    Key { kid: Kid, class: Class, minted: u32, key: &'a [u8; 32] },
    /// A tag leads to a key.
    Tag { tag: Tag, kid: Kid },
    /// Two keys are one person's.
    Link(Kid, Kid),
    /// The key of all tags.
    Lookup(&'a [u8; 32]),
    /// A key was used on a day, and may be for some days after it without another word.
    Used { kid: Kid, day: u32 },
}

impl<'a> Record<'a> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Key { kid, class, minted, key } => {
                out.push(1);
                out.extend_from_slice(&kid.0);
                out.push(class.0);
                out.extend_from_slice(&minted.to_le_bytes());
                out.extend_from_slice(*key);
            }
            Self::Tag { tag, kid } => {
                out.push(2);
                out.extend_from_slice(&tag.0);
                out.extend_from_slice(&kid.0);
            }
            Self::Link(a, b) => {
                out.push(3);
                out.extend_from_slice(&a.0);
                out.extend_from_slice(&b.0);
            }
            Self::Lookup(key) => {
                out.push(4);
                out.extend_from_slice(*key);
            }
            Self::Used { kid, day } => {
                out.push(5);
                out.extend_from_slice(&kid.0);
                out.extend_from_slice(&day.to_le_bytes());
            }
        }
    }

    fn read(bytes: &mut &'a [u8]) -> Option<Self> {
        fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
            let (head, rest) = bytes.split_first_chunk()?;
            *bytes = rest;
            Some(head)
        }
        Some(match take::<1>(bytes)? {
            [1] => Self::Key {
                kid: Kid(*take(bytes)?),
                class: Class(take::<1>(bytes)?[0]),
                minted: u32::from_le_bytes(*take(bytes)?),
                key: take(bytes)?,
            },
            [2] => Self::Tag { tag: Tag(*take(bytes)?), kid: Kid(*take(bytes)?) },
            [3] => Self::Link(Kid(*take(bytes)?), Kid(*take(bytes)?)),
            [4] => Self::Lookup(take(bytes)?),
            [5] => Self::Used { kid: Kid(*take(bytes)?), day: u32::from_le_bytes(*take(bytes)?) },
            _ => return None,
        })
    }
}

/// What all frames of one file share.
pub(crate) struct Sealing {
    pub(crate) emk: Kept,
    /// `"dihya/keys/1" | len u8 | tenant | epoch u64 | file 16`: a frame's ordinal follows.
    context: Vec<u8>,
    epoch: u64,
    file: [u8; 16],
}

impl Sealing {
    pub(crate) fn new(emk: &Secret, tenant: &Tenant, epoch: u64, file: [u8; 16]) -> Self {
        let mut context = b"dihya/keys/1".to_vec();
        context.push(u8::try_from(tenant.as_str().len()).expect("invariant: names have at most 128 bytes"));
        context.extend_from_slice(tenant.as_str().as_bytes());
        context.extend_from_slice(&epoch.to_le_bytes());
        context.extend_from_slice(&file);
        Self { emk: Kept::new(emk), context, epoch, file }
    }

    /// Appends one frame to `out`.
    pub(crate) fn frame(&self, out: &mut Vec<u8>, ordinal: u64, synced: u64, records: &[Record<'_>], rng: &dyn Rng) {
        let mut nonce = [0; NONCE_BYTES];
        rng.fill(&mut nonce);
        self.frame_with(out, ordinal, synced, records, nonce);
    }

    fn frame_with(&self, out: &mut Vec<u8>, ordinal: u64, synced: u64, records: &[Record<'_>], nonce: [u8; 24]) {
        // Room for all of it first: growing would leave keys behind that are not sealed yet.
        out.reserve(HEAD_BYTES + 8 + records.len() * RECORD_BYTES_MAX + TAG_BYTES);
        let start = out.len();
        out.extend_from_slice(FRAME);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&ordinal.to_le_bytes());
        out.extend_from_slice(&nonce);
        let from = out.len();
        out.extend_from_slice(&synced.to_le_bytes());
        records.iter().for_each(|record| record.write(out));
        crypt::seal(&self.emk, &nonce, &self.ad(ordinal), out, from);
        let len = u32::try_from(out.len() - from).expect("invariant: a frame has few records");
        out[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
    }

    fn ad(&self, ordinal: u64) -> Vec<u8> {
        let mut ad = self.context.clone();
        ad.extend_from_slice(&ordinal.to_le_bytes());
        ad
    }

    /// Returns the header of a file that is whole up to `whole`.
    pub(crate) fn header(&self, whole: u64) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        let mut at = 0;
        for part in [&MAGIC[..], &self.epoch.to_le_bytes(), &self.file, &whole.to_le_bytes()] {
            header[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        let check = Sha256::digest(&header[..at]);
        header[at..].copy_from_slice(&check[..HEADER_BYTES - at]);
        header
    }
}

/// A header as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) epoch: u64,
    pub(crate) file: [u8; 16],
    /// Up to here the file was whole when it took its name.
    pub(crate) whole: u64,
}

impl Header {
    pub(crate) fn read(file: &dyn DiskFile) -> Result<Self, Error> {
        let broken = Error::Damaged { why: "its header is broken" };
        let mut bytes = [0; HEADER_BYTES];
        if file.read_at(&mut bytes, 0)? < HEADER_BYTES || !bytes.starts_with(MAGIC) {
            return Err(broken);
        }
        let check = Sha256::digest(&bytes[..40]);
        if bytes[40..] != check[..8] {
            return Err(broken);
        }
        let number = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(eight)
        };
        let mut file = [0; 16];
        file.copy_from_slice(&bytes[16..32]);
        Ok(Self { epoch: number(8), file, whole: number(32) })
    }
}

/// What reading a file found.
pub(crate) struct Found {
    pub(crate) index: Index,
    pub(crate) lookup: Secret,
    /// Where what it says ends.
    pub(crate) end: u64,
    /// The frames up to there.
    pub(crate) frames: u64,
    /// Whether it was closed in order: all of it, and its name, are certainly on the disk.
    pub(crate) clean: bool,
    /// Bytes of a torn tail, which was never used.
    pub(crate) torn: u64,
}

/// Reads a whole file.
pub(crate) fn read(file: &dyn DiskFile, header: &Header, sealing: &Sealing) -> Result<Found, Error> {
    let len = file.len()?;
    let (mut index, mut lookup) = (Index::new(), None);
    let (mut at, mut ordinal, mut proven) = (HEADER_BYTES as u64, 0, header.whole);
    let (mut buffer, mut clean, mut end, mut frames) = (Vec::new(), false, at, 0);
    while let Some(frame) = read_frame(file, at, len, ordinal, sealing, &mut buffer)? {
        let mut bytes = frame.as_slice();
        let synced = take_synced(&mut bytes).ok_or(Error::Damaged { why: "a frame is cut off" })?;
        // One that says nothing was written at the end of an orderly life.
        clean = bytes.is_empty() && synced == at;
        while !bytes.is_empty() {
            let record = Record::read(&mut bytes).ok_or(Error::Damaged { why: "a frame holds what is no record" })?;
            apply(&mut index, &mut lookup, &record)?;
        }
        at += (HEAD_BYTES + frame.len() + TAG_BYTES) as u64;
        ordinal += 1;
        proven = proven.max(synced);
        if !clean {
            (end, frames) = (at, ordinal);
        }
    }
    if at < proven || is_vouched_for(file, at, len, ordinal, sealing)? {
        return Err(Error::Damaged { why: "a frame that was durable is broken" });
    }
    let lookup = lookup.ok_or(Error::Damaged { why: "it lacks the key of its tags" })?;
    Ok(Found { index, lookup, end, frames, clean: clean && at == len, torn: len.saturating_sub(at) })
}

/// Opens the frame at `at`; `None` where there is none, or a broken one.
fn read_frame(
    file: &dyn DiskFile,
    at: u64,
    len: u64,
    ordinal: u64,
    sealing: &Sealing,
    buffer: &mut Vec<u8>,
) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    let mut head = [0; HEAD_BYTES];
    if file.read_at(&mut head, at)? < HEAD_BYTES {
        return Ok(None);
    }
    let [m0, m1, m2, m3, l0, l1, l2, l3, rest @ ..] = head;
    let size = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
    let Some((number, nonce)) = rest.split_first_chunk::<8>() else { return Ok(None) };
    let fits = size <= SEALED_BYTES_MAX && at.saturating_add((HEAD_BYTES + size) as u64) <= len;
    if [m0, m1, m2, m3] != *FRAME || u64::from_le_bytes(*number) != ordinal || !fits {
        return Ok(None);
    }
    buffer.resize(size, 0);
    if file.read_at(buffer, at + HEAD_BYTES as u64)? < size {
        return Ok(None);
    }
    let nonce: &[u8; NONCE_BYTES] = nonce.first_chunk().expect("invariant: 24 bytes of the head are left");
    Ok(crypt::open(&sealing.emk, nonce, &sealing.ad(ordinal), buffer))
}

fn take_synced(bytes: &mut &[u8]) -> Option<u64> {
    let (synced, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*synced))
}

fn apply(index: &mut Index, lookup: &mut Option<Secret>, record: &Record<'_>) -> Result<(), Error> {
    let unknown = Error::Damaged { why: "a record speaks of a key that is not there" };
    match record {
        Record::Key { kid, class, minted, key } => {
            let added = index.add_key(*kid, *class, *minted, key);
            added.map(|_| ()).ok_or(Error::Damaged { why: "a kid stands there twice" })
        }
        Record::Tag { tag, kid } => match index.place_of(*kid) {
            Some(place) => {
                index.add_tag(*tag, place);
                Ok(())
            }
            None => Err(unknown),
        },
        Record::Link(a, b) => match (index.place_of(*a), index.place_of(*b)) {
            (Some(a), Some(b)) => {
                index.link(a, b);
                Ok(())
            }
            _ => Err(unknown),
        },
        Record::Used { kid, day } => match index.place_of(*kid) {
            Some(place) => {
                index.use_key(place, *day);
                Ok(())
            }
            None => Err(unknown),
        },
        Record::Lookup(key) => {
            *lookup = Some(Zeroizing::new(**key));
            Ok(())
        }
    }
}

/// Tells whether a whole frame behind a broken one at `at` says that the broken one was synced. A frame there that does
/// not say so was part of the same torn write.
fn is_vouched_for(file: &dyn DiskFile, at: u64, len: u64, ordinal: u64, sealing: &Sealing) -> Result<bool, Error> {
    let mut buffer = Vec::new();
    let mut from = at;
    let mut window = vec![0; SEARCH_BYTES];
    while from < len {
        let got = file.read_at(&mut window, from)?;
        let seen = window.get(..got).unwrap_or_default();
        for found in memchr::memmem::find_iter(seen, FRAME) {
            let place = from + found as u64;
            let mut number = [0; 8];
            if file.read_at(&mut number, place + 8)? < 8 {
                break;
            }
            let number = u64::from_le_bytes(number);
            // Ordinals only rise; what asks for another than could be here is no frame of this file.
            if number < ordinal || number - ordinal > len {
                continue;
            }
            if let Some(frame) = read_frame(file, place, len, number, sealing, &mut buffer)?
                && take_synced(&mut frame.as_slice()).is_some_and(|synced| synced > at)
            {
                return Ok(true);
            }
        }
        if got < window.len() {
            break;
        }
        // A magic may lie across the edge.
        from += (got - (FRAME.len() - 1)) as u64;
    }
    Ok(false)
}

/// Writes a whole new file: lookup key, then everything in `index`. Returns its end and the number of its frames. Not
/// synced yet.
pub(crate) fn write_whole(
    file: &dyn DiskFile,
    sealing: &Sealing,
    index: &Index,
    lookup: &[u8; 32],
    rng: &dyn Rng,
) -> Result<(u64, u64), Error> {
    let (mut at, mut ordinal) = (HEADER_BYTES as u64, 0);
    let mut write = |records: &mut Vec<Record<'_>>| -> Result<(), Error> {
        let mut frame = Vec::new();
        sealing.frame(&mut frame, ordinal, 0, records, rng);
        file.write_at(&frame, at)?;
        at += frame.len() as u64;
        ordinal += 1;
        records.clear();
        Ok(())
    };
    let kid = |place| index.key(place).map(|row| row.kid);
    let mut records = vec![Record::Lookup(lookup)];
    let keys = index.keys().map(|row| Record::Key { kid: row.kid, class: row.class, minted: row.minted, key: row.key });
    let tags = index.tags().filter_map(|row| Some(Record::Tag { tag: row.tag, kid: kid(row.owner)? }));
    let links = index.links().filter_map(|(a, b)| Some(Record::Link(kid(a)?, kid(b)?)));
    let used = index.keys().filter(|row| row.used > row.minted).map(|row| Record::Used { kid: row.kid, day: row.used });
    for record in keys.chain(tags).chain(links).chain(used) {
        if records.len() == limits::KEYSTORE_FRAME_RECORDS_MAX {
            write(&mut records)?;
        }
        records.push(record);
    }
    write(&mut records)?;
    file.write_at(&sealing.header(at), 0)?;
    Ok((at, ordinal))
}

/// Describes each frame, for the vectors.
#[cfg(test)]
pub(super) fn show(file: &dyn DiskFile, sealing: &Sealing) -> Vec<serde_json::Value> {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let len = file.len().expect("measures");
    let (mut frames, mut at, mut buffer) = (Vec::new(), HEADER_BYTES as u64, Vec::new());
    while let Some(frame) = read_frame(file, at, len, frames.len() as u64, sealing, &mut buffer).expect("reads") {
        let mut bytes = frame.as_slice();
        let synced = take_synced(&mut bytes).expect("is there");
        let mut records = Vec::new();
        while !bytes.is_empty() {
            records.push(match Record::read(&mut bytes).expect("is one") {
                Record::Key { kid, class, minted, key } => {
                    serde_json::json!({"kid": hex(&kid.0), "class": class.0, "minted": minted, "key": hex(key)})
                }
                Record::Tag { tag, kid } => serde_json::json!({"tag": hex(&tag.0), "kid": hex(&kid.0)}),
                Record::Link(a, b) => serde_json::json!({"link": [hex(&a.0), hex(&b.0)]}),
                Record::Lookup(key) => serde_json::json!({"lookup": hex(key)}),
                Record::Used { kid, day } => serde_json::json!({"kid": hex(&kid.0), "used": day}),
            });
        }
        frames.push(serde_json::json!({"synced": synced.to_string(), "records": records}));
        at += (HEAD_BYTES + frame.len() + TAG_BYTES) as u64;
    }
    frames
}
