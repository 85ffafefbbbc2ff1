//! The write-ahead log: frames in segments, one log for all tenants. Drawn in `docs/format/ledger.md`, "WAL".
//!
//! A segment is a preallocated file of zeros. Its first frame is its header; then frames follow without gaps, each on a
//! multiple of eight bytes. A frame carries its segment's number, so bytes of another file are never taken for one; the
//! segment's tag, a random number that who chooses a payload cannot know, so a payload is never taken for one either; and
//! the offset up to which an earlier sync had succeeded when it was written (`synced`). That offset tells apart what may
//! be torn (nothing later vouches for it) from what was durable and must be there (invariant J-2).

use std::path::{Path, PathBuf};

use disk::{Disk, DiskFile, Open};
use model::Rng;

use crate::error::Error;

/// Enough for the header of a segment with a hundred origins; a longer one is read whole.
pub(crate) const HEADER_READ_BYTES: usize = 16 << 10;
/// Bytes of a segment that are read at once at a start.
const READ_BYTES: usize = 256 << 10;

/// The first bytes of each frame.
const MAGIC: [u8; 4] = *b"DhF1";
/// Bytes before a frame's body.
pub(crate) const HEAD_BYTES: usize = 48;
/// Bytes of a group's body before its table: the seed.
pub(crate) const SEED_BYTES: usize = 32;
/// Bytes per record in a group's table: `entry u16 | payload u32 | boxes u32`.
pub(crate) const ROW_BYTES: usize = 10;

/// What all frames of one segment have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentId {
    /// The number of its file.
    pub(crate) number: u64,
    /// Random; whoever chooses what is recorded cannot guess it.
    pub(crate) tag: u64,
}

impl SegmentId {
    /// Returns the identity of a segment that is about to be made.
    pub(crate) fn new(number: u64, rng: &dyn Rng) -> Self {
        let mut tag = [0; 8];
        rng.fill(&mut tag);
        Self { number, tag: u64::from_le_bytes(tag) }
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// The first of a segment.
    Header,
    /// Gives an origin its number in the WAL.
    Origin,
    /// Records of one origin.
    Group,
    /// The ledger was closed: all before it was synced.
    Close,
}

impl FrameKind {
    const fn number(self) -> u8 {
        match self {
            Self::Header => 1,
            Self::Origin => 2,
            Self::Group => 3,
            Self::Close => 4,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Header),
            2 => Some(Self::Origin),
            3 => Some(Self::Group),
            4 => Some(Self::Close),
            _ => None,
        }
    }
}

/// A frame as it stands in its segment, borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: FrameKind,
    /// The payloads were deleted under the retention policy.
    pub(crate) stripped: bool,
    pub(crate) origin: u16,
    /// The tag of its segment, if it is a frame and no bytes that look like one.
    pub(crate) tag: u64,
    pub(crate) synced: u64,
    /// The position of the first record.
    pub(crate) position: u64,
    pub(crate) count: u32,
    pub(crate) body: &'a [u8],
}

/// What a writer says about a frame; the body follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameHead {
    pub(crate) kind: FrameKind,
    pub(crate) stripped: bool,
    pub(crate) origin: u16,
    pub(crate) position: u64,
    pub(crate) count: u32,
}

impl FrameHead {
    pub(crate) const fn plain(kind: FrameKind) -> Self {
        Self { kind, stripped: false, origin: 0, position: 0, count: 0 }
    }
}

/// Why there is no frame at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoFrame {
    /// Zeros: nothing was written there.
    Unwritten,
    /// Something was, but not a whole frame.
    Broken(&'static str),
}

/// Returns how many bytes a frame with a body of `body` bytes takes.
pub(crate) const fn frame_bytes(body: usize) -> usize {
    (HEAD_BYTES + body).next_multiple_of(8)
}

/// Appends a frame to `out`.
pub(crate) fn write_frame(out: &mut Vec<u8>, head: &FrameHead, segment: SegmentId, synced: u64, body: &[u8]) {
    let start = out.len();
    let len = u32::try_from(body.len()).expect("invariant: a frame is smaller than a segment");
    let number = u32::try_from(segment.number).expect("invariant: bounded by the numbers of files");
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&len.to_le_bytes());
    out.push(head.kind.number());
    out.push(u8::from(head.stripped));
    out.extend_from_slice(&head.origin.to_le_bytes());
    out.extend_from_slice(&segment.tag.to_le_bytes());
    out.extend_from_slice(&synced.to_le_bytes());
    out.extend_from_slice(&head.position.to_le_bytes());
    out.extend_from_slice(&head.count.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(body);
    let crc = crc32c::crc32c(out.get(start + 8..).unwrap_or_default());
    if let Some(place) = out.get_mut(start + 4..start + 8) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
    out.resize(start + frame_bytes(body.len()), 0);
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

/// Returns where the frame at `offset` ends by what its head says, if it is there whole; nothing is checked.
pub(crate) fn frame_end(bytes: &[u8], offset: usize) -> Option<usize> {
    let head = bytes.get(offset..)?.get(..HEAD_BYTES)?;
    let end = offset.checked_add(frame_bytes(usize::try_from(u32_at(head, 8)).ok()?))?;
    (head.starts_with(&MAGIC) && end <= bytes.len()).then_some(end)
}

/// Returns how many bytes the first frame takes by what its head says; nothing is checked.
pub(crate) fn frame_len(bytes: &[u8]) -> Option<u64> {
    let head = bytes.get(..HEAD_BYTES).filter(|head| head.starts_with(&MAGIC))?;
    Some(frame_bytes(usize::try_from(u32_at(head, 8)).ok()?) as u64)
}

/// Reads the frame at `offset` of a segment's bytes, and where the next one starts.
pub(crate) fn read_frame(bytes: &[u8], offset: usize, segment: u64) -> Result<(Frame<'_>, usize), NoFrame> {
    let rest = bytes.get(offset..).unwrap_or_default();
    let Some((head, after)) = rest.split_at_checked(HEAD_BYTES) else {
        return Err(if rest.iter().all(|b| *b == 0) {
            NoFrame::Unwritten
        } else {
            NoFrame::Broken("a frame is cut off")
        });
    };
    if head.iter().all(|b| *b == 0) {
        return Err(NoFrame::Unwritten);
    }
    if head.first_chunk() != Some(&MAGIC) || u64::from(u32_at(head, 44)) != segment {
        return Err(NoFrame::Broken("no frame of this segment starts here"));
    }
    let len = usize::try_from(u32_at(head, 8)).unwrap_or(usize::MAX);
    let Some(body) = after.get(..len) else { return Err(NoFrame::Broken("a frame is cut off")) };
    #[cfg(not(dihya_mutant = "crc"))]
    if crc32c::crc32c(rest.get(8..HEAD_BYTES + len).unwrap_or_default()) != u32_at(head, 4) {
        return Err(NoFrame::Broken("a frame's checksum is wrong"));
    }
    let kind = head.get(12).copied().and_then(FrameKind::from_number);
    let kind = kind.ok_or(NoFrame::Broken("a frame is of an unknown kind"))?;
    let frame = Frame {
        kind,
        stripped: head.get(13) == Some(&1),
        origin: u16_at(head, 14),
        tag: u64_at(head, 16),
        synced: u64_at(head, 24),
        position: u64_at(head, 32),
        count: u32_at(head, 40),
        body,
    };
    Ok((frame, offset + frame_bytes(len)))
}

/// Reads a frame's head and extent without its checksum: only for the mutant of CI that does not read back.
#[cfg(dihya_mutant = "reread")]
pub(crate) fn read_head_unchecked(bytes: &[u8], at: usize) -> Option<(FrameHead, usize)> {
    let head = bytes.get(at..at + HEAD_BYTES)?;
    let kind = FrameKind::from_number(head[12])?;
    let next = at + frame_bytes(usize::try_from(u32_at(head, 8)).ok()?);
    bytes.get(at..next)?;
    let (origin, position, count) = (u16_at(head, 14), u64_at(head, 32), u32_at(head, 40));
    Some((FrameHead { kind, stripped: head[13] == 1, origin, position, count }, next))
}

/// One record inside a group, borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) entry: &'a [u8],
    pub(crate) payload: &'a [u8],
    pub(crate) boxes: &'a [u8],
}

/// The body of a group: `seed 32 | count x row | count x (entry | payload | boxes)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    pub(crate) seed: &'a [u8; SEED_BYTES],
    table: &'a [u8],
    data: &'a [u8],
}

impl<'a> Rows<'a> {
    /// Reads the body of a group of `count` records; `None` when the lengths do not add up.
    pub(crate) fn decode(body: &'a [u8], count: u32) -> Option<Self> {
        let (seed, rest) = body.split_first_chunk::<SEED_BYTES>()?;
        let (table, data) = rest.split_at_checked(usize::try_from(count).ok()?.checked_mul(ROW_BYTES)?)?;
        let sum: usize =
            table.as_chunks::<ROW_BYTES>().0.iter().map(|row| row_lens(row).into_iter().sum::<usize>()).sum();
        (sum == data.len()).then_some(Self { seed, table, data })
    }

    /// Yields the records in order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = Row<'a>> + use<'a> {
        let mut data = self.data;
        let mut take = move |len: usize| {
            let (head, rest) = data.split_at_checked(len).unwrap_or_default();
            data = rest;
            head
        };
        self.table.as_chunks::<ROW_BYTES>().0.iter().map(move |row| {
            let [entry, payload, boxes] = row_lens(row);
            Row { entry: take(entry), payload: take(payload), boxes: take(boxes) }
        })
    }
}

fn row_lens(row: &[u8; ROW_BYTES]) -> [usize; 3] {
    let wide = |at| usize::try_from(u32_at(row, at)).unwrap_or(usize::MAX >> 2);
    [usize::from(u16_at(row, 0)), wide(2), wide(6)]
}

/// Writes one row of a group's table.
pub(crate) fn write_row(out: &mut Vec<u8>, entry: usize, payload: usize, boxes: usize) {
    let wide = |len: usize| u32::try_from(len).expect("invariant: bounded by PAYLOAD_BYTES_MAX").to_le_bytes();
    out.extend_from_slice(&u16::try_from(entry).expect("invariant: bounded by ENTRY_BYTES_MAX").to_le_bytes());
    out.extend_from_slice(&wide(payload));
    out.extend_from_slice(&wide(boxes));
}

/// What a segment's first frame says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// Where the segment before this one ends; what stands there beyond was never acknowledged, or was copied here.
    pub(crate) previous_end: u64,
    /// Where this segment ends, if it was rewritten without payloads; 0 if not.
    pub(crate) own_end: u64,
    /// When it was opened, in milliseconds since 1970: what the retention by age goes by.
    pub(crate) opened_ms: u64,
    /// The origins known at its start, by their number, with the position and the leaf that each goes on from.
    pub(crate) origins: Vec<(String, u64, u64)>,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for number in [self.previous_end, self.own_end, self.opened_ms] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for (origin, position, leaves) in &self.origins {
            out.extend_from_slice(&position.to_le_bytes());
            out.extend_from_slice(&leaves.to_le_bytes());
            out.extend_from_slice(&u16::try_from(origin.len()).unwrap_or(u16::MAX).to_le_bytes());
            out.extend_from_slice(origin.as_bytes());
        }
        out
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let (numbers, mut rest) = body.split_at_checked(24)?;
        let mut origins = Vec::new();
        while !rest.is_empty() {
            let (head, after) = rest.split_at_checked(18)?;
            let (origin, after) = after.split_at_checked(usize::from(u16_at(head, 16)))?;
            origins.push((std::str::from_utf8(origin).ok()?.to_owned(), u64_at(head, 0), u64_at(head, 8)));
            rest = after;
        }
        Some(Self {
            previous_end: u64_at(numbers, 0),
            own_end: u64_at(numbers, 8),
            opened_ms: u64_at(numbers, 16),
            origins,
        })
    }
}

/// Returns the path of a segment.
pub(crate) fn segment_path(wal: &Path, number: u64) -> PathBuf {
    wal.join(format!("{number:08}.wal"))
}

/// Returns the number of the segment that a file of the WAL's directory is, if it is one.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    name.strip_suffix(".wal")?.parse().ok()
}

/// Returns the numbers of the segments in `wal`, ascending.
pub(crate) fn segments(disk: &dyn Disk, wal: &Path) -> Result<Vec<u64>, Error> {
    let entries = disk.list(wal)?;
    let mut numbers: Vec<u64> = entries.iter().filter_map(|entry| number_of(&entry.name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes what was written to a segment durable. One place, so that the mutant of CI has one place to remove.
pub(crate) fn sync(file: &dyn DiskFile) -> Result<(), Error> {
    if cfg!(dihya_mutant = "fdatasync") {
        return Ok(());
    }
    Ok(file.sync_data()?)
}

/// Makes an empty segment of `bytes` zeros, durable as a file and as an entry of its directory.
pub(crate) fn prepare_segment(
    disk: &dyn Disk,
    wal: &Path,
    number: u64,
    bytes: u64,
) -> Result<Box<dyn DiskFile>, Error> {
    prepare_file(disk, &segment_path(wal, number), bytes)
}

/// Makes a file of `bytes` zeros, durable as a file and as an entry of its directory, where none is.
pub(crate) fn prepare_file(disk: &dyn Disk, path: &Path, bytes: u64) -> Result<Box<dyn DiskFile>, Error> {
    let file = disk.open(path, Open::CreateNew)?;
    let reserved = file.allocate(bytes).and_then(|()| file.sync_data());
    if let Err(error) = reserved {
        // A file without its space would only be in the way of what frees some.
        if error.is_full() {
            disk.remove(path)?;
        }
        return Err(error.into());
    }
    disk::sync_parent(disk, path)?;
    Ok(file)
}

/// Reads `start..end` of a file; shorter when the file is.
pub(crate) fn read_range(file: &dyn DiskFile, start: u64, end: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX)];
    let got = file.read_at(&mut bytes, start)?;
    bytes.truncate(got);
    Ok(bytes)
}

/// A segment in memory.
pub(crate) struct Segment {
    /// As many as its file has.
    pub(crate) bytes: Vec<u8>,
    /// How many there are up to the last one that is not zero.
    pub(crate) written: usize,
}

/// Reads a segment. Below `from`, all but its header is left zeros. What was reserved and never written is not read, and
/// takes no memory as long as nobody looks at it.
pub(crate) fn read_segment(disk: &dyn Disk, wal: &Path, segment: u64, from: u64) -> Result<Segment, Error> {
    let file = disk.open(&segment_path(wal, segment), Open::Read)?;
    let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len];
    let mut at = usize::try_from(from).unwrap_or(usize::MAX).min(len);
    let mut header = HEADER_READ_BYTES.min(at);
    file.read_at(&mut bytes[..header], 0)?;
    if header < at && matches!(read_frame(&bytes[..header], 0, segment), Err(NoFrame::Broken(_))) {
        // A header of many origins.
        header = at;
        file.read_at(&mut bytes[..header], 0)?;
    }
    let mut written = written_bytes(&bytes[..header]);
    // Most of the last segment is zeros, reserved or written ahead: they go through a block that stays in the cache, and
    // touch no memory of the segment's own.
    let mut block = vec![0; READ_BYTES.min(len)];
    while let Some(next) = file.next_data(at as u64)? {
        at = usize::try_from(next).unwrap_or(usize::MAX);
        let room = block.len().min(len.saturating_sub(at));
        let got = file.read_at(&mut block[..room], at as u64)?;
        if got == 0 {
            break;
        }
        let used = written_bytes(&block[..got]);
        if used > 0 {
            bytes[at..at + used].copy_from_slice(&block[..used]);
            written = at + used;
        }
        at += got;
    }
    Ok(Segment { bytes, written })
}

/// Returns how many bytes there are up to the last one that is not zero. Compares in blocks: most of a segment is zeros.
fn written_bytes(bytes: &[u8]) -> usize {
    const ZEROS: [u8; 4_096] = [0; 4_096];
    let mut end = bytes.len();
    for block in bytes.rchunks(ZEROS.len()) {
        if Some(block) != ZEROS.get(..block.len()) {
            return end - block.len() + block.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        }
        end -= block.len();
    }
    0
}

/// What a scan of the last segment found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Where the valid frames end.
    pub(crate) end: u64,
    /// Up to where an acknowledged sync is proven by a later frame: what follows, up to `end`, may be in the page cache
    /// alone after a failed sync, so it is copied to a new segment.
    pub(crate) synced: u64,
    /// How many bytes that are not zero follow `end`: a torn write.
    pub(crate) torn_bytes: u64,
    /// The ledger was closed in order.
    pub(crate) closed: bool,
}

/// Finds the end of the last segment, whose frames below `from` are known to be durable. A frame that is broken where a
/// later frame vouches for it is a loss, not a torn tail, and refused (invariant J-2).
///
/// # Errors
/// [`Error::Corrupt`] for a hole before what was durable.
pub(crate) fn find_tail(Segment { bytes, written }: &Segment, from: u64, segment: u64) -> Result<Tail, Error> {
    let (mut offset, mut synced, mut closed) = (usize::try_from(from).unwrap_or(usize::MAX), from, false);
    // The header is durable before anything follows it, so a payload cannot stand in its place.
    let tag = read_frame(bytes, 0, segment).map_or(0, |(header, _)| header.tag);
    let broken = loop {
        match read_frame(bytes, offset, segment) {
            Ok((frame, _)) if frame.tag != tag => break "a frame has the tag of another segment",
            Ok((frame, next)) => {
                synced = synced.max(frame.synced);
                closed = frame.kind == FrameKind::Close;
                offset = next;
            }
            Err(NoFrame::Unwritten) => break "nothing stands where a durable frame stood",
            Err(NoFrame::Broken(why)) => break why,
        }
    };
    let mut vouched = synced;
    for at in (offset..*written).step_by(8) {
        if bytes.get(at..).is_some_and(|rest| rest.starts_with(&MAGIC))
            && let Ok((frame, _)) = read_frame(bytes, at, segment)
            && frame.tag == tag
        {
            vouched = vouched.max(frame.synced);
        }
    }
    let (end, torn_bytes) = (offset as u64, written.saturating_sub(offset));
    if vouched > end {
        return Err(Error::Corrupt { segment, offset: end, why: broken });
    }
    Ok(Tail { end, synced: synced.min(end), torn_bytes: torn_bytes as u64, closed: closed && torn_bytes == 0 })
}

#[cfg(test)]
mod tests {
    use disk::SimDisk;

    use super::*;

    const fn id(number: u64) -> SegmentId {
        SegmentId { number, tag: 0x7a67 }
    }

    fn group(position: u64) -> FrameHead {
        FrameHead { kind: FrameKind::Group, stripped: false, origin: 3, position, count: 1 }
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let mut out = vec![0; 8];
        write_frame(&mut out, &group(9), id(7), 96, b"body");
        assert_eq!(out.len(), 8 + frame_bytes(4));
        let (frame, next) = read_frame(&out, 8, 7).expect("reads");
        assert_eq!((frame.kind, frame.origin, frame.position, frame.count), (FrameKind::Group, 3, 9, 1));
        assert_eq!((frame.synced, frame.body, next), (96, &b"body"[..], out.len()));
        assert_eq!(
            read_frame(&out, 8, 8).expect_err("other segment"),
            NoFrame::Broken("no frame of this segment starts here")
        );
        assert_eq!(read_frame(&out, out.len(), 7).expect_err("end"), NoFrame::Unwritten);
        assert_eq!(read_frame(&[0; 100], 0, 7).expect_err("zeros"), NoFrame::Unwritten);
        for cut in 1..out.len() - 12 {
            assert!(read_frame(&out[..out.len() - 4 - cut], 8, 7).is_err(), "{cut}");
        }
        for at in 8..8 + HEAD_BYTES + 4 {
            let mut flipped = out.clone();
            flipped[at] ^= 1;
            assert!(matches!(read_frame(&flipped, 8, 7), Err(NoFrame::Broken(_))), "byte {at}");
        }
        let mut unknown = Vec::new();
        write_frame(&mut unknown, &group(0), id(7), 0, b"");
        unknown[12] = 9;
        let crc = crc32c::crc32c(&unknown[8..]);
        unknown[4..8].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(read_frame(&unknown, 0, 7).expect_err("unknown"), NoFrame::Broken("a frame is of an unknown kind"));
    }

    #[test]
    fn the_rows_of_a_group_are_separable() {
        let mut body = vec![5; SEED_BYTES];
        write_row(&mut body, 1, 2, 0);
        write_row(&mut body, 2, 0, 1);
        body.extend_from_slice(b"eppEEb");
        let rows = Rows::decode(&body, 2).expect("adds up");
        let rows: Vec<_> = rows.iter().map(|row| (row.entry, row.payload, row.boxes)).collect();
        assert_eq!(rows, [(&b"e"[..], &b"pp"[..], &b""[..]), (b"EE", b"", b"b")]);
        assert!(Rows::decode(&body, 1).is_none() && Rows::decode(&body[..57], 2).is_none());
        assert!(Rows::decode(&body[..20], 0).is_none() && Rows::decode(&body, u32::MAX).is_none());
    }

    #[test]
    fn a_header_survives_and_a_cut_one_is_refused() {
        let header = Header {
            previous_end: 5,
            own_end: 0,
            opened_ms: 7,
            origins: vec![("a/b".into(), 9, 4), ("c".into(), 0, 0)],
        };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Some(header));
        for cut in [0, 23, 30, bytes.len() - 1] {
            assert_eq!(Header::decode(&bytes[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn the_written_part_ends_with_the_last_byte_that_is_not_zero() {
        for len in [0, 1, 4_095, 4_096, 4_097, 9_000] {
            let mut bytes = vec![0; len];
            assert_eq!(written_bytes(&bytes), 0, "{len}");
            for at in [0, len / 2, len.saturating_sub(1)].into_iter().filter(|at| *at < len) {
                bytes[at] = 1;
                assert_eq!(written_bytes(&bytes), at + 1, "{len}");
            }
        }
    }

    /// Three frames; the last one vouches for the first two.
    fn three() -> (Vec<u8>, usize, usize) {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &FrameHead::plain(FrameKind::Header), id(1), 0, b"h");
        let first = bytes.len();
        write_frame(&mut bytes, &group(0), id(1), 0, &[7; 100]);
        let second = bytes.len();
        write_frame(&mut bytes, &group(1), id(1), second as u64, b"two");
        bytes.resize(1_024, 0);
        (bytes, first, second)
    }

    fn tail_of(bytes: &[u8]) -> Result<Tail, Error> {
        find_tail(&Segment { bytes: bytes.to_vec(), written: written_bytes(bytes) }, 0, 1)
    }

    #[test]
    fn a_segment_is_read_from_where_it_is_wanted() {
        let (bytes, first, second) = three();
        let (disk, wal) = (SimDisk::new(1), Path::new("/wal"));
        disk.create_dir_all(wal).expect("creates");
        let file = prepare_segment(&disk, wal, 1, 5_000).expect("makes");
        file.write_at(&bytes[..second + frame_bytes(3)], 0).expect("writes");
        for from in [0, first, second] {
            let read = read_segment(&disk, wal, 1, from as u64).expect("reads");
            assert_eq!((read.bytes.len(), read.bytes[from..1_024] == bytes[from..]), (5_000, true), "{from}");
            assert!(read_frame(&read.bytes, 0, 1).is_ok_and(|(frame, _)| frame.kind == FrameKind::Header));
            assert_eq!(find_tail(&read, from as u64, 1).expect("whole").end, (second + frame_bytes(3)) as u64);
        }
        let read = read_segment(&disk, wal, 1, 9_000).expect("reads");
        assert_eq!((read.bytes.len(), read.written), (5_000, written_bytes(&bytes)));

        // A header longer than what is read at first.
        let origins = (0..2_000).map(|n| (format!("localhost/{n}"), 1, 1)).collect();
        let header = Header { origins, ..Header::default() }.encode();
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &FrameHead::plain(FrameKind::Header), id(2), 0, &header);
        assert!(bytes.len() > HEADER_READ_BYTES);
        let from = bytes.len() as u64;
        let file = prepare_segment(&disk, wal, 2, 100_000).expect("makes");
        file.write_at(&bytes, 0).expect("writes");
        let read = read_segment(&disk, wal, 2, from).expect("reads");
        assert!(read_frame(&read.bytes, 0, 2).is_ok_and(|(frame, _)| frame.body == header));
    }

    #[test]
    fn a_torn_tail_is_cut_and_a_hole_is_refused() {
        let (bytes, first, second) = three();
        let end = (second + frame_bytes(3)) as u64;
        let whole = Tail { end, synced: second as u64, torn_bytes: 0, closed: false };
        assert_eq!(tail_of(&bytes).expect("whole"), whole);

        let mut torn = bytes.clone();
        torn[second + 50] ^= 1;
        let tail = tail_of(&torn).expect("nothing vouches for the last frame");
        assert_eq!((tail.end, tail.synced), (second as u64, 0));
        assert!(tail.torn_bytes > 0 && !tail.closed);

        for broken in 0..2 {
            let mut hole = bytes.clone();
            if broken == 0 {
                hole[first + 60] ^= 1
            } else {
                hole[first..second].fill(0)
            }
            let error = tail_of(&hole).expect_err("the third frame vouches for the second");
            assert!(matches!(error, Error::Corrupt { segment: 1, offset, .. } if offset == first as u64), "{error}");
        }

        let mut closed = bytes;
        let mut close = Vec::new();
        write_frame(&mut close, &FrameHead::plain(FrameKind::Close), id(1), end, b"");
        let at = usize::try_from(end).expect("small");
        closed[at..at + close.len()].copy_from_slice(&close);
        let tail = tail_of(&closed).expect("closed");
        assert!(tail.closed && tail.synced == end && tail.end == end + close.len() as u64);
    }

    #[test]
    fn no_payload_passes_for_a_frame_in_a_torn_tail() {
        let (mut bytes, _, second) = three();
        // Everything a client may know, or guess: the segment, the offsets and the checksum, but not the tag.
        let mut payload = Vec::new();
        let forged = SegmentId { tag: 0, ..id(1) };
        write_frame(&mut payload, &group(9), forged, 1 << 40, b"forged");
        let mut torn = Vec::new();
        write_frame(&mut torn, &group(1), id(1), second as u64, &payload);
        torn[0] ^= 1;
        bytes[second..second + torn.len()].copy_from_slice(&torn);
        let tail = tail_of(&bytes).expect("is torn, and nothing that counts vouches for it");
        assert_eq!((tail.end, tail.torn_bytes > 0), (second as u64, true));

        // Nor where the walk itself looks for the next frame.
        bytes[second..second + torn.len()].fill(0);
        bytes[second..second + payload.len()].copy_from_slice(&payload);
        assert_eq!(tail_of(&bytes).expect("is cut").end, second as u64);
    }

    #[test]
    fn a_segment_is_made_whole_or_not_at_all() {
        let disk = SimDisk::new(1);
        let wal = Path::new("/wal");
        disk.create_dir_all(wal).expect("creates");
        let file = prepare_segment(&disk, wal, 3, 1_000).expect("makes");
        assert_eq!(read_range(&*file, 10, 2_000).expect("reads"), vec![0; 990]);
        sync(&*file).expect("syncs");
        assert!(prepare_segment(&disk, wal, 3, 1_000).is_err(), "never in the place of another");
        assert_eq!(segments(&disk, wal).expect("lists"), [3]);
        disk.set_capacity(Some(1_500));
        assert!(prepare_segment(&disk, wal, 4, 1_000).err().is_some_and(|error| error.is_full()));
        assert_eq!(segments(&disk, wal).expect("lists"), [3]);
        disk.fail_sync_after(0);
        assert!(prepare_segment(&disk, wal, 5, 10).is_err());
    }
}
