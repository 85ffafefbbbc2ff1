//! Retention: payloads that are old, and that every view has consumed, are deleted; entries stay for ever.
//!
//! A retention record is signed first and says below which leaf and position payloads may be gone. Then the segment is
//! rewritten beside itself and renamed over itself, so a crash leaves the one or the other. Names stay readable, and so
//! do the openings of the meta-log.

use std::collections::BTreeMap;

use disk::Open;
use model::{Kind, Position};

use crate::cursor::FrameReader;
use crate::entry::Entry;
use crate::error::Error;
use crate::own;
use crate::shared::{Shared, lock};
use crate::wal::{self, Frame, FrameHead, FrameKind, Header, Rows, SEED_BYTES, SegmentId, write_row};

/// Bytes gathered before they are written to the new file.
const WRITE_BYTES: usize = 1 << 20;

/// Which positions of the origins the views have consumed, by the name of the view.
pub(crate) type Consumed = BTreeMap<String, BTreeMap<u16, Position>>;

/// The number of an origin, and the leaf and the position below which its payloads go.
type Until = (u16, u64, Position);

/// A segment whose payloads are due, and what its retention records say.
pub(crate) struct Due {
    pub(crate) segment: u64,
    policy: &'static str,
    /// By origin: until which leaf, and until which position.
    until: Vec<Until>,
}

impl Due {
    /// Returns the records that must be signed before the segment is rewritten.
    pub(crate) fn records(&self) -> Vec<(usize, own::Retention<'static>)> {
        let record = |(origin, until_index, until_position): &Until| {
            let (until_index, until_position) = (*until_index, *until_position);
            (usize::from(*origin), own::Retention { until_index, until_position, policy: self.policy })
        };
        self.until.iter().map(record).collect()
    }
}

/// Returns the next segment whose payloads are to be deleted, if one is due. `before` is the first segment that is still
/// needed as it is.
pub(crate) fn next_due(shared: &Shared, before: u64, hint: &mut u64) -> Result<Option<Due>, Error> {
    while *hint < before && FrameReader::open(shared, *hint)?.header()?.own_end > 0 {
        *hint += 1;
    }
    let segment = *hint;
    if segment >= before {
        return Ok(None);
    }
    let next = FrameReader::open(shared, segment + 1)?.header()?;
    let age_ms = u64::try_from(shared.config.retain_age.as_millis()).unwrap_or(u64::MAX);
    let entries = shared.disk.list(&shared.config.wal())?;
    // Entries stay for ever: what was stripped already frees nothing more, and must not hurry the rest along.
    let kept = entries.iter().filter(|entry| wal::number_of(&entry.name).is_some_and(|number| number >= segment));
    let bytes: u64 = kept.map(|entry| entry.len).sum();
    let policy = if shared.now_ms().saturating_sub(next.opened_ms) > age_ms {
        "age"
    } else if bytes > shared.config.retain_bytes {
        "size"
    } else {
        return Ok(None);
    };
    let consumed = lock(&shared.consumed);
    for positions in consumed.values() {
        for (origin, position) in positions {
            if next.origins.get(usize::from(*origin)).is_some_and(|(_, end, _)| end > position) {
                return Ok(None);
            }
        }
    }
    drop(consumed);
    Ok(until(shared, segment, &next)?.map(|until| Due { segment, policy, until }))
}

/// Returns, for each origin with payloads in the segment, the leaf and the position below which they go; `None` while a
/// batch with records of the segment is open: a retention record covers only leaves before itself.
fn until(shared: &Shared, segment: u64, next: &Header) -> Result<Option<Vec<Until>>, Error> {
    // Whether the origin's batch is open where the segment ends.
    let mut found: BTreeMap<u16, bool> = BTreeMap::new();
    let mut reader = FrameReader::open(shared, segment)?;
    let mut first = true;
    while let Some(frame) = reader.next(shared)? {
        if frame.kind == FrameKind::Header && !std::mem::take(&mut first) {
            break;
        }
        let Some(rows) = strippable(shared, &frame) else { continue };
        let open = found.entry(frame.origin).or_default();
        for row in rows.iter() {
            if let Ok(entry) = Entry::decode(row.entry) {
                *open = entry.head().inner || (*open && entry.head().kind != Kind::Batch.number());
            }
        }
    }
    let mut until = Vec::new();
    for (origin, open) in found {
        let Some((_, position, leaves)) = next.origins.get(usize::from(origin)) else { continue };
        let index = if open {
            match batch_after(shared, segment + 1, origin, *leaves)? {
                Some(leaf) => leaf + 1,
                None => return Ok(None),
            }
        } else {
            *leaves
        };
        until.push((origin, index, *position));
    }
    Ok(Some(until))
}

/// Returns the index of an origin's first batch leaf from a segment on, whose first leaf is `leaves`.
fn batch_after(shared: &Shared, segment: u64, origin: u16, mut leaves: u64) -> Result<Option<u64>, Error> {
    let mut reader = FrameReader::open(shared, segment)?;
    while let Some(frame) = reader.next(shared)? {
        if frame.kind != FrameKind::Group || frame.origin != origin {
            continue;
        }
        for row in Rows::decode(frame.body, frame.count).iter().flat_map(Rows::iter) {
            match Entry::decode(row.entry) {
                Ok(entry) if entry.head().kind == Kind::Batch.number() => return Ok(Some(leaves)),
                Ok(entry) if !entry.head().inner => leaves += 1,
                _ => {}
            }
        }
    }
    Ok(None)
}

/// Returns the rows of a frame whose payloads may go: records, but neither names nor the openings of the meta-log.
fn strippable<'a>(shared: &Shared, frame: &Frame<'a>) -> Option<Rows<'a>> {
    let origin = shared.origins.get(usize::from(frame.origin))?;
    if frame.kind != FrameKind::Group || origin.origin.as_str() == shared.config.meta_origin() {
        return None;
    }
    let rows = Rows::decode(frame.body, frame.count)?;
    // The writer gives names a frame of their own.
    let names = |kind: u16| kind == Kind::Name.number();
    let first = rows.iter().next()?;
    (!Entry::decode(first.entry).is_ok_and(|entry| names(entry.head().kind))).then_some(rows)
}

/// Returns the frame without payloads, or `None` when it stays as it is.
fn stripped(shared: &Shared, frame: &Frame<'_>) -> Option<(FrameHead, Vec<u8>)> {
    let rows = strippable(shared, frame)?;
    let mut body = vec![0; SEED_BYTES];
    rows.iter().for_each(|row| write_row(&mut body, row.entry.len(), 0, 0));
    rows.iter().for_each(|row| body.extend_from_slice(row.entry));
    Some((FrameHead { stripped: true, ..frame.head() }, body))
}

/// Rewrites a segment without payloads. Its retention records must be under a signed checkpoint by then.
pub(crate) fn rewrite(shared: &Shared, segment: u64) -> Result<(), Error> {
    let mut header = FrameReader::open(shared, segment)?.header()?;
    // The header's length does not depend on what it says about the end.
    let mut end = wal::frame_bytes(header.encode().len()) as u64;
    each_frame(shared, segment, |_, body| {
        end += wal::frame_bytes(body.len()) as u64;
        Ok(())
    })?;
    header.own_end = end;
    let path = wal::segment_path(&shared.config.wal(), segment);
    let temporary = path.with_extension("tmp");
    if shared.disk.exists(&temporary) {
        shared.disk.remove(&temporary)?;
    }
    let file = shared.disk.open(&temporary, Open::CreateNew)?;
    let (mut buffer, mut at) = (Vec::new(), 0);
    let id = SegmentId::new(segment, &*shared.rng);
    wal::write_frame(&mut buffer, &FrameHead::plain(FrameKind::Header), id, 0, &header.encode());
    let written = each_frame(shared, segment, |head, body| {
        wal::write_frame(&mut buffer, head, id, 0, body);
        if buffer.len() >= WRITE_BYTES {
            file.write_at(&buffer, at)?;
            at += buffer.len() as u64;
            buffer.clear();
        }
        Ok(())
    });
    let stored = written.and_then(|()| Ok(file.write_at(&buffer, at)?)).and_then(|()| wal::sync(&*file));
    drop(file);
    if let Err(error) = stored {
        if error.is_full() {
            shared.disk.remove(&temporary)?;
        }
        return Err(error);
    }
    shared.disk.rename(&temporary, &path)?;
    disk::sync_parent(&*shared.disk, &path)?;
    lock(&shared.durable).ends.insert(segment, end);
    Ok(())
}

/// Calls `each` with every frame of a segment after its header, as it is to be kept.
fn each_frame<F: FnMut(&FrameHead, &[u8]) -> Result<(), Error>>(
    shared: &Shared,
    segment: u64,
    mut each: F,
) -> Result<(), Error> {
    let mut reader = FrameReader::open(shared, segment)?;
    let mut first = true;
    while let Some(frame) = reader.next(shared)? {
        if frame.kind == FrameKind::Header {
            if !std::mem::take(&mut first) {
                return Ok(());
            }
            continue;
        }
        match stripped(shared, &frame) {
            Some((head, body)) => each(&head, &body)?,
            None => each(&frame.head(), frame.body)?,
        }
    }
    Ok(())
}
