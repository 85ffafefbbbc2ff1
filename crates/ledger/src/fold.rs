//! The fold: what the WAL says, frame by frame, read back from the disk. Recovery and the publisher run it; it computes
//! every hash and number again and refuses what the writer would not have written.

use std::collections::HashMap;
use std::sync::Arc;

use model::{Position, SourceId};

use crate::entry::Entry;
use crate::malformed::{Malformed, Reader};
use crate::merkle::{Compact, Hash, leaf_hashes, root_of};
use crate::names::Names;
use crate::own::{self, LogId};
use crate::payload::Payload;
use crate::tile::TileWriter;
use crate::wal::{Frame, FrameKind, Header, Row, Rows};

const SNAPSHOT_MAGIC: &[u8; 8] = b"DhSnap1\n";

/// The state of one origin after the frames folded so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct OriginFold {
    pub(crate) origin: String,
    pub(crate) log_id: LogId,
    /// The position of the next record.
    pub(crate) next: Position,
    pub(crate) t_admit_ms: u64,
    pub(crate) seqs: HashMap<(SourceId, bool), u64>,
    pub(crate) names: Names,
    pub(crate) tree: Compact,
    pub(crate) open: Open,
    /// The tiles from the last checkpoint on.
    pub(crate) tiles: TileWriter,
    /// The signed checkpoint that the tree must pass through.
    pub(crate) expected: Option<(u64, Hash)>,
}

/// The inner records whose batch is not closed yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Open {
    pub(crate) hashes: Vec<Hash>,
    pub(crate) t_min_ms: u64,
    pub(crate) t_max_ms: u64,
    first: Position,
}

impl OriginFold {
    pub(crate) fn new(origin: String) -> Self {
        Self { origin, ..Self::default() }
    }

    /// Returns the position below which every record is under a leaf.
    pub(crate) const fn covered(&self) -> Position {
        if self.open.hashes.is_empty() { self.next } else { self.open.first }
    }

    /// Checks the tree against the signed checkpoint when it has the checkpoint's size.
    pub(crate) fn check_expected(&mut self) -> Result<(), &'static str> {
        match self.expected {
            Some((size, root)) if size == self.tree.size() => {
                self.expected = None;
                if root == self.tree.root() {
                    Ok(())
                } else {
                    Err("its records are not those under its signed checkpoint")
                }
            }
            _ => Ok(()),
        }
    }

    fn apply_row(&mut self, row: &Row<'_>, hash: Hash) -> Result<(), &'static str> {
        let entry = Entry::decode(row.entry).map_err(|malformed| malformed.why)?;
        let head = entry.head();
        if head.t_admit_ms < self.t_admit_ms {
            return Err("its times go back");
        }
        self.t_admit_ms = head.t_admit_ms;
        let seq = self.seqs.entry((head.source, head.inner)).or_default();
        if head.seq != *seq {
            return Err("a source's numbers are not contiguous");
        }
        *seq += 1;
        let position = self.next;
        self.next += 1;
        if head.inner {
            self.push_inner(hash, head.t_admit_ms, position);
            if let Ok(name) = own::Name::read(&entry) {
                self.apply_name(name, row.payload)?;
            }
            return Ok(());
        }
        if let Ok(batch) = own::Batch::read(&entry) {
            self.apply_batch(&batch)?;
        } else if let Ok(genesis) = own::Genesis::read(&entry) {
            if position != 0 || genesis.origin != self.origin {
                return Err("its first record is not its own");
            }
            self.log_id = genesis.log_id;
        }
        self.tree.push(hash);
        if self.tiles.size() + 1 == self.tree.size() {
            self.tiles.push(row.entry).map_err(|malformed| malformed.why)?;
        }
        self.check_expected()
    }

    fn push_inner(&mut self, hash: Hash, t_admit_ms: u64, position: Position) {
        if self.open.hashes.is_empty() {
            self.open.t_min_ms = t_admit_ms;
            self.open.first = position;
        }
        self.open.t_max_ms = t_admit_ms;
        self.open.hashes.push(hash);
    }

    fn apply_name(&mut self, name: own::Name, payload: &[u8]) -> Result<(), &'static str> {
        let payload = Payload::decode(payload).map_err(|malformed| malformed.why)?;
        let value = payload.values().find(|value| value.field == own::Name::TEXT);
        let text = value.and_then(|value| std::str::from_utf8(value.bytes).ok()).ok_or("a name has no text")?;
        if self.names.intern(Arc::from(text)) == Some(name.number) {
            Ok(())
        } else {
            Err("a name has another's number")
        }
    }

    fn apply_batch(&mut self, batch: &own::Batch) -> Result<(), &'static str> {
        let open = std::mem::take(&mut self.open);
        let same = batch.log_id == self.log_id
            && batch.count == open.hashes.len() as u64
            && (batch.t_min_ms, batch.t_max_ms) == (open.t_min_ms, open.t_max_ms)
            && batch.root == root_of(&open.hashes);
        if same { Ok(()) } else { Err("a batch's leaf is not over the records before it") }
    }
}

/// The state of all origins after the frames folded so far, and where the next frame stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fold {
    pub(crate) origins: Vec<OriginFold>,
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// What the fold asks for and tells while it runs.
pub(crate) trait Watch {
    /// A log appears for the first time.
    fn origin(&mut self, origin: String) -> Result<OriginFold, crate::error::Error>;

    /// Compares the hash of a record, computed from what was read, with one computed before it was written.
    fn agrees(&mut self, origin: u16, position: Position, hashes: &[Hash]) -> bool;
}

/// Why a frame was not folded.
#[derive(Debug)]
pub(crate) enum Unfolded {
    /// It says what cannot be.
    Wrong(&'static str),
    /// Something else failed.
    Failed(crate::error::Error),
}

impl From<&'static str> for Unfolded {
    fn from(why: &'static str) -> Self {
        Self::Wrong(why)
    }
}

impl Fold {
    /// Folds one frame; the caller moves `offset`.
    pub(crate) fn apply(&mut self, frame: &Frame<'_>, watch: &mut dyn Watch) -> Result<(), Unfolded> {
        match frame.kind {
            FrameKind::Header => self.apply_header(frame, watch),
            FrameKind::Origin => {
                let origin = std::str::from_utf8(frame.body).map_err(|_| "an origin is not UTF-8")?;
                match self.origins.get(usize::from(frame.origin)) {
                    // Announced again after a crash in between, or already named by a segment's header.
                    Some(known) if known.origin == origin => return Ok(()),
                    None if usize::from(frame.origin) == self.origins.len() => {}
                    _ => return Err("an origin's number is not the next".into()),
                }
                self.origins.push(watch.origin(origin.to_owned()).map_err(Unfolded::Failed)?);
                Ok(())
            }
            FrameKind::Group => self.apply_group(frame, watch),
            FrameKind::Close => Ok(()),
        }
    }

    fn apply_header(&mut self, frame: &Frame<'_>, watch: &mut dyn Watch) -> Result<(), Unfolded> {
        let header = Header::decode(frame.body).ok_or("its header does not add up")?;
        for (number, (origin, next, leaves)) in header.origins.into_iter().enumerate() {
            if self.origins.len() == number {
                self.origins.push(watch.origin(origin.clone()).map_err(Unfolded::Failed)?);
            }
            let fold = &self.origins[number];
            if (&fold.origin, fold.next, fold.tree.size()) != (&origin, next, leaves) {
                return Err("it does not go on where the segment before it ends".into());
            }
        }
        Ok(())
    }

    fn apply_group(&mut self, frame: &Frame<'_>, watch: &mut dyn Watch) -> Result<(), Unfolded> {
        let fold = self.origins.get_mut(usize::from(frame.origin)).ok_or("a frame is of an unknown origin")?;
        if frame.position != fold.next {
            return Err("positions are not contiguous".into());
        }
        let rows = Rows::decode(frame.body, frame.count).ok_or("a frame's lengths do not add up")?;
        let hashes = leaf_hashes(rows.iter().map(|row| row.entry));
        if !watch.agrees(frame.origin, frame.position, &hashes) {
            return Err("a record is not on the disk as it was appended".into());
        }
        for (row, hash) in rows.iter().zip(hashes) {
            fold.apply_row(&row, hash)?;
        }
        Ok(())
    }

    /// Returns the state as bytes: what a start needs instead of the segments before it. The tiles are not in it; they
    /// are taken up from the log's directory.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, &[self.segment, self.offset, self.origins.len() as u64]);
        for fold in &self.origins {
            let open = &fold.open;
            let counts = [fold.seqs.len(), fold.names.len(), open.hashes.len()].map(|len| len as u64);
            put_bytes(&mut out, fold.origin.as_bytes());
            out.extend_from_slice(&fold.log_id);
            put(&mut out, &[fold.next, fold.t_admit_ms, open.t_min_ms, open.t_max_ms, open.first]);
            put_bytes(&mut out, &fold.tree.to_bytes());
            put(&mut out, &counts);
            let mut seqs: Vec<_> = fold.seqs.iter().collect();
            seqs.sort_unstable();
            for ((source, inner), seq) in seqs {
                out.extend_from_slice(&source.0);
                put(&mut out, &[u64::from(*inner), *seq]);
            }
            fold.names.iter().for_each(|name| put_bytes(&mut out, name.as_bytes()));
            out.extend(open.hashes.iter().flatten());
        }
        let mut file = SNAPSHOT_MAGIC.to_vec();
        file.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
        file.extend_from_slice(&out);
        file
    }

    /// Reads what [`Fold::to_bytes`] wrote.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("snapshot", bytes);
        if reader.array::<8>()? != SNAPSHOT_MAGIC || reader.u32()? != crc32c::crc32c(reader.rest()) {
            return Err(reader.fail("has another checksum than it says"));
        }
        let (segment, offset, count) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let mut origins = Vec::new();
        for _ in 0..count {
            origins.push(read_origin(&mut reader)?);
        }
        reader.finish()?;
        Ok(Self { origins, segment, offset })
    }
}

fn read_origin(reader: &mut Reader<'_>) -> Result<OriginFold, Malformed> {
    let mut fold = OriginFold::new(take_text(reader)?);
    fold.log_id = *reader.array()?;
    (fold.next, fold.t_admit_ms) = (reader.u64()?, reader.u64()?);
    (fold.open.t_min_ms, fold.open.t_max_ms, fold.open.first) = (reader.u64()?, reader.u64()?, reader.u64()?);
    fold.tree = Compact::from_bytes(take_bytes(reader)?)?;
    let (seqs, names, hashes) = (reader.u64()?, reader.u64()?, reader.u64()?);
    for _ in 0..seqs {
        let source = SourceId(*reader.array()?);
        fold.seqs.insert((source, reader.u64()? == 1), reader.u64()?);
    }
    for _ in 0..names {
        fold.names.intern(take_text(reader)?.into());
    }
    for _ in 0..hashes {
        fold.open.hashes.push(*reader.array()?);
    }
    Ok(fold)
}

fn put(out: &mut Vec<u8>, numbers: &[u64]) {
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, &[bytes.len() as u64]);
    out.extend_from_slice(bytes);
}

fn take_bytes<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let len = reader.u64()?;
    reader.take(usize::try_from(len).unwrap_or(usize::MAX))
}

fn take_text(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    let bytes = take_bytes(reader)?;
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| reader.fail("has text that is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_survives_and_a_damaged_one_is_refused() {
        let mut fold = OriginFold::new("localhost/default".into());
        fold.log_id = [3; 16];
        (fold.next, fold.t_admit_ms) = (9, 1_000);
        fold.seqs.insert((SourceId([1; 16]), true), 4);
        fold.names.intern("web".into());
        (0..5).for_each(|n| fold.tree.push([n; 32]));
        fold.push_inner([8; 32], 999, 8);
        let fold = Fold { origins: vec![fold, OriginFold::new("localhost/meta".into())], segment: 2, offset: 640 };
        let bytes = fold.to_bytes();
        let back = Fold::from_bytes(&bytes).expect("reads");
        assert_eq!(back.to_bytes(), bytes);
        assert_eq!((back.segment, back.offset, back.origins[0].covered()), (2, 640, 8));
        assert_eq!(back.origins[0].names.number("web"), Some(0));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Fold::from_bytes(&damaged).is_err(), "byte {at}");
            assert!(Fold::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
