//! Reading back: one tenant's durable records in order, from memory while they are recent, from the WAL otherwise.

use std::sync::Arc;

use disk::{DiskFile, Open};
use model::{Kind, Position, SourceId, Timestamp, Value};
use tokio::sync::watch;

use crate::entry::{Entry, Scalar};
use crate::error::Error;
use crate::names::Names;
use crate::payload::Payload;
use crate::shared::{OriginShared, Shared, lock};
use crate::wal::{self, Frame, FrameHead, FrameKind, Header, Row, Rows};

/// Bytes read from the WAL at once.
const READ_BYTES: u64 = 256 << 10;

/// A durable record as it was read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Where it stands.
    pub position: Position,
    /// Which kind of record it is.
    pub kind: Kind,
    /// When it was admitted: never before the record at the position before.
    pub t_admit: Timestamp,
    /// What produced it.
    pub source: SourceId,
    /// Its number among the records of its source and tier.
    pub seq: u64,
    /// The entry: the bytes under its leaf.
    pub entry: Vec<u8>,
    /// What may be published, names as text, ascending by field.
    pub public: Vec<(u16, Value)>,
    /// The cleared values, ascending by field; empty once the retention policy deleted them.
    pub payload: Vec<(u16, Value)>,
    /// The boxes, for who has their keys (`privacy::Boxed::read_all`); empty once the retention policy deleted them.
    pub boxes: Vec<u8>,
}

impl Stored {
    /// Returns public and cleared fields together, ascending: what `model::Body::from_fields` takes.
    #[must_use]
    pub fn fields(&self) -> Vec<(u16, Value)> {
        let mut fields: Vec<_> = self.public.iter().chain(&self.payload).cloned().collect();
        fields.sort_by_key(|(id, _)| *id);
        fields
    }

    fn read(
        position: Position,
        row: &Row<'_>,
        names: &Names,
        passed_over: Option<Kind>,
    ) -> Result<Option<Self>, &'static str> {
        let entry = Entry::decode(row.entry).map_err(|malformed| malformed.why)?;
        let head = entry.head();
        // A record of a later version: this one cannot say what it means.
        let Some(kind) = head.known_kind().filter(|kind| Some(*kind) != passed_over) else { return Ok(None) };
        let mut public = Vec::new();
        for (id, scalar) in entry.public() {
            let value = match scalar {
                Scalar::Bool(value) => Value::Bool(value),
                Scalar::U64(value) => Value::U64(value),
                Scalar::I64(value) => Value::I64(value),
                Scalar::F64(value) => Value::F64(value),
                Scalar::Text(value) => Value::Text(value.to_owned()),
                Scalar::Bytes(value) => Value::Bytes(value.to_vec()),
                Scalar::Name(number) => match names.name(number) {
                    Some(name) => Value::Text(name.to_string()),
                    None => return Err("a name's number was never given"),
                },
            };
            public.push((id, value));
        }
        let payload = if row.payload.is_empty() {
            Vec::new()
        } else {
            Payload::decode(row.payload).and_then(|payload| payload.to_values()).map_err(|malformed| malformed.why)?
        };
        let t_admit = i64::try_from(head.t_admit_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        Ok(Some(Self {
            position,
            kind,
            t_admit: t_admit.ok_or("its time is out of range")?,
            source: head.source,
            seq: head.seq,
            entry: row.entry.to_vec(),
            public,
            payload,
            boxes: row.boxes.to_vec(),
        }))
    }
}

/// Reads one tenant's records in order.
pub struct Cursor {
    shared: Arc<Shared>,
    origin: Arc<OriginShared>,
    next: Position,
    passed_over: Option<Kind>,
    reader: Option<FrameReader>,
    durable: watch::Receiver<Position>,
    stopped: watch::Receiver<Option<Arc<str>>>,
}

impl Cursor {
    pub(crate) fn new(shared: Arc<Shared>, origin: Arc<OriginShared>, from: Position) -> Self {
        let (durable, stopped) = (origin.durable.subscribe(), shared.stopped.subscribe());
        Self { shared, origin, next: from, passed_over: None, reader: None, durable, stopped }
    }

    /// Leaves out the records of one kind, which then cost little to read over.
    #[must_use]
    pub const fn passing_over(mut self, kind: Kind) -> Self {
        self.passed_over = Some(kind);
        self
    }

    /// Returns the position that the next read starts from.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.next
    }

    /// Reads durable records from where the last read ended: about `max` of them, fewer at the end, none once caught up.
    /// Records of kinds that this version does not know are passed over. Blocks on the disk when the records are old.
    ///
    /// # Errors
    /// When the WAL cannot be read or is not what was written.
    pub fn read(&mut self, max: usize) -> Result<Vec<Stored>, Error> {
        let durable = *self.durable.borrow_and_update();
        let mut records = Vec::new();
        while self.next < durable && records.len() < max {
            let groups = self.origin.recent_from(self.next, max - records.len());
            if groups.is_empty() {
                self.read_wal(max, durable, &mut records)?;
                continue;
            }
            self.reader = None;
            let names = self.origin.names();
            for group in groups {
                let wrong = |why| Error::Contradiction { origin: self.origin.origin.to_string(), why };
                take_rows(
                    &group.rows(),
                    group.position,
                    &mut self.next,
                    (max, durable),
                    (&names, self.passed_over),
                    &mut records,
                )
                .map_err(wrong)?;
            }
        }
        Ok(records)
    }

    /// Reads some frames from the disk.
    fn read_wal(&mut self, max: usize, durable: Position, records: &mut Vec<Stored>) -> Result<(), Error> {
        let number = self.origin.number;
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => FrameReader::seek(&self.shared, number, self.next)?,
        };
        while self.next < durable && records.len() < max {
            let place = (reader.segment, reader.offset);
            let corrupt = |why| Error::Corrupt { segment: place.0, offset: place.1, why };
            let before = reader.place();
            let Some(frame) = reader.next(&self.shared)? else {
                return Err(corrupt("a durable record is not there"));
            };
            let ours = frame.kind == FrameKind::Group && frame.origin == number;
            if !ours || frame.position + u64::from(frame.count) <= self.next {
                continue;
            }
            let rows = Rows::decode(frame.body, frame.count).ok_or(corrupt("a frame's lengths do not add up"))?;
            let names = self.origin.names();
            let end = frame.position + u64::from(frame.count);
            take_rows(&rows, frame.position, &mut self.next, (max, durable), (&names, self.passed_over), records)
                .map_err(corrupt)?;
            if self.next < end {
                reader.back_to(before);
            }
        }
        self.reader = Some(reader);
        Ok(())
    }

    /// Waits until there is more to read, or the ledger has stopped.
    pub async fn wait(&mut self) {
        if *self.durable.borrow() > self.next || self.stopped.borrow().is_some() {
            return;
        }
        tokio::select! {
            _ = self.durable.changed() => {}
            _ = self.stopped.changed() => {}
        }
    }
}

/// Takes the records of a group from `next` on, up to a number of them and a position.
fn take_rows(
    rows: &Rows<'_>,
    first: Position,
    next: &mut Position,
    (max, durable): (usize, Position),
    (names, passed_over): (&Names, Option<Kind>),
    records: &mut Vec<Stored>,
) -> Result<(), &'static str> {
    for (row, position) in rows.iter().zip(first..) {
        if position < *next {
            continue;
        }
        if position >= durable || records.len() >= max {
            break;
        }
        records.extend(Stored::read(position, &row, names, passed_over)?);
        *next = position + 1;
    }
    Ok(())
}

/// Reads the frames of the WAL in order, across segments, up to what is durable.
pub(crate) struct FrameReader {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    file: Box<dyn DiskFile>,
    /// Where the segment ends, once that is known for good.
    end: Option<u64>,
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl FrameReader {
    /// Starts at the beginning of a segment.
    pub(crate) fn open(shared: &Shared, segment: u64) -> Result<Self, Error> {
        let file = shared.disk.open(&wal::segment_path(&shared.config.wal(), segment), Open::Read)?;
        let mut reader = Self { segment, offset: 0, file, end: None, buffer: Vec::new(), buffer_at: 0 };
        let own = reader.header()?;
        reader.end = (own.own_end > 0).then_some(own.own_end);
        Ok(reader)
    }

    /// Starts at the segment that holds a position of an origin.
    pub(crate) fn seek(shared: &Shared, origin: u16, position: Position) -> Result<Self, Error> {
        let mut low = 1;
        let mut high = lock(&shared.durable).segment;
        // The last segment that starts at or before the position.
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            let header = Self::open(shared, middle)?.header()?;
            let starts = header.origins.get(usize::from(origin)).is_some_and(|(_, next, _)| *next <= position);
            if starts { low = middle } else { high = middle - 1 }
        }
        Self::open(shared, low)
    }

    /// Returns the segment's header.
    pub(crate) fn header(&self) -> Result<Header, Error> {
        let corrupt = Error::Corrupt { segment: self.segment, offset: 0, why: "its header is broken" };
        let mut wanted = 4_096;
        loop {
            let bytes = wal::read_range(&*self.file, 0, wanted)?;
            match wal::read_frame(&bytes, 0, self.segment) {
                Ok((frame, _)) => {
                    return Header::decode(frame.body).filter(|_| frame.kind == FrameKind::Header).ok_or(corrupt);
                }
                Err(_) if (bytes.len() as u64) < wanted || wanted > READ_BYTES => return Err(corrupt),
                Err(_) => wanted *= 16,
            }
        }
    }

    pub(crate) const fn place(&self) -> u64 {
        self.offset
    }

    /// Goes back inside the segment.
    pub(crate) const fn back_to(&mut self, place: u64) {
        self.offset = place;
    }

    /// Returns the next frame; `None` at the end of what is durable.
    pub(crate) fn next(&mut self, shared: &Shared) -> Result<Option<Frame<'_>>, Error> {
        loop {
            let active = {
                let durable = lock(&shared.durable);
                (durable.segment == self.segment).then_some(durable.end)
            };
            let end = match (self.end, active) {
                (Some(end), _) | (None, Some(end)) => end,
                (None, None) => {
                    let end = Self::open(shared, self.segment + 1)?.header()?.previous_end;
                    self.end = Some(end);
                    end
                }
            };
            if self.offset < end {
                return self.frame_before(end).map(Some);
            }
            if active.is_some() {
                return Ok(None);
            }
            *self = Self::open(shared, self.segment + 1)?;
        }
    }

    /// Reads the frame at the present offset, which ends at or before `end`.
    fn frame_before(&mut self, end: u64) -> Result<Frame<'_>, Error> {
        let (segment, start) = (self.segment, self.offset);
        let (mut wanted, mut all) = (READ_BYTES, false);
        let at = loop {
            let at = usize::try_from(start.wrapping_sub(self.buffer_at)).unwrap_or(usize::MAX);
            if wal::frame_end(&self.buffer, at).is_some() {
                break at;
            }
            if all {
                return Err(Error::Corrupt { segment, offset: start, why: "a durable frame is not there" });
            }
            self.buffer = wal::read_range(&*self.file, start, end.min(start + wanted))?;
            self.buffer_at = start;
            all = start + wanted >= end;
            wanted *= 8;
        };
        match wal::read_frame(&self.buffer, at, segment) {
            Ok((frame, next)) if self.buffer_at + next as u64 <= end => {
                self.offset = self.buffer_at + next as u64;
                Ok(frame)
            }
            _ => Err(Error::Corrupt { segment, offset: start, why: "a durable frame is not there" }),
        }
    }
}

impl Frame<'_> {
    /// Returns what a writer says about the frame.
    pub(crate) const fn head(&self) -> FrameHead {
        FrameHead {
            kind: self.kind,
            stripped: self.stripped,
            origin: self.origin,
            position: self.position,
            count: self.count,
        }
    }
}
