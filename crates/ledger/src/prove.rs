//! Proofs for records of ours: from a position to the text that a stranger's tool verifies.

use crate::cursor::FrameReader;
use crate::entry::Entry;
use crate::error::Error;
use crate::merkle::{Hash, leaf_hash, prove_inclusion, root_from_inclusion};
use crate::own;
use crate::proof::{InnerProof, Proof};
use crate::publish::DirTiles;
use crate::shared::{OriginShared, Shared};
use crate::tile::TileNodes;
use crate::wal::{FrameKind, Rows};
use model::Position;

/// The leaf over a record.
struct Leaf {
    index: u64,
    hash: Hash,
    inner: Option<InnerProof>,
}

/// Proves that the record at `position` is in the log, under the checkpoint last signed. Reads up to a segment of the
/// WAL and the tiles on the path.
pub(crate) fn prove(shared: &Shared, origin: &OriginShared, position: Position) -> Result<String, Error> {
    let unknown = Error::UnknownPosition { position };
    // In this order: a checkpoint is shown before what it covers is called committed.
    let committed = *origin.committed.borrow();
    let signed = origin.signed().filter(|_| position < committed).ok_or(unknown.clone())?;
    let mut segment = FrameReader::seek(shared, origin.number, position)?.segment;
    let leaf = loop {
        // A batch may have been opened in a segment before the one that holds the record.
        match find(shared, origin.number, position, segment)? {
            Some(leaf) => break leaf,
            None if segment > 1 => segment -= 1,
            None => return Err(unknown),
        }
    };
    let tiles = DirTiles { disk: &*shared.disk, dir: shared.config.log(origin.origin.as_str()) };
    let path = prove_inclusion(&mut TileNodes::new(tiles, signed.size), leaf.index, signed.size)?;
    if root_from_inclusion(&leaf.hash, leaf.index, signed.size, &path) != Ok(signed.root) {
        return Err(Error::Contradiction {
            origin: origin.origin.to_string(),
            why: "its tiles do not lead from the record to its checkpoint",
        });
    }
    let extra = leaf.inner.map(|inner| inner.to_bytes());
    Ok(Proof { index: leaf.index, path, checkpoint: signed.note.clone(), extra }.to_text())
}

/// Looks for the leaf from the start of a segment; `None` when the record's batch was opened before it.
fn find(shared: &Shared, origin: u16, position: Position, segment: u64) -> Result<Option<Leaf>, Error> {
    let mut reader = FrameReader::open(shared, segment)?;
    let header = reader.header()?;
    let mut index = header.origins.get(usize::from(origin)).map_or(0, |(_, _, leaves)| *leaves);
    let (mut inner, mut ours): (Vec<Hash>, Option<usize>) = (Vec::new(), None);
    while let Some(frame) = reader.next(shared)? {
        if frame.kind != FrameKind::Group || frame.origin != origin {
            continue;
        }
        for (row, at) in Rows::decode(frame.body, frame.count).iter().flat_map(Rows::iter).zip(frame.position..) {
            let entry = Entry::decode(row.entry)?;
            let hash = leaf_hash(row.entry);
            if entry.head().inner {
                if at == position {
                    ours = Some(inner.len());
                }
                inner.push(hash);
                continue;
            }
            if at == position {
                return Ok(Some(Leaf { index, hash, inner: None }));
            }
            if let Ok(batch) = own::Batch::read(&entry) {
                if let Some(place) = ours {
                    return inner_leaf(&inner, place, &batch, (index, hash, row.entry));
                }
                inner.clear();
            }
            index += 1;
        }
    }
    Ok(None)
}

fn inner_leaf(
    inner: &[Hash],
    place: usize,
    batch: &own::Batch,
    (index, hash, entry): (u64, Hash, &[u8]),
) -> Result<Option<Leaf>, Error> {
    if (inner.len() as u64) < batch.count {
        return Ok(None);
    }
    let path = prove_inclusion(&mut &*inner, place as u64, batch.count)?;
    let place = u16::try_from(place).expect("invariant: a batch has at most 4,096 records");
    let inner = InnerProof { index: place, path, batch: entry.to_vec() };
    Ok(Some(Leaf { index, hash, inner: Some(inner) }))
}
