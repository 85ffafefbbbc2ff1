//! Group commit: whatever queues while a sync runs is placed and written meanwhile, goes to the disk with the next sync,
//! and is only then visible and acknowledged (invariant J-1). Two threads take turns in production, a seed drives it in
//! the crash suite.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use disk::DiskFile;
use model::limits::{BATCH_RECORDS_MAX, NAMES_MAX};
use model::{Kind, Position, SourceId, Value};

use crate::batch::OpenBatch;
use crate::error::Error;
use crate::flight::{Air, Flight};
use crate::group::{Draft, Group, Prepared, Stamp, prepare};
use crate::names::Names;
use crate::own::{self, LogId};
use crate::shared::{Shared, lock};
use crate::wal::{self, FrameHead, FrameKind, HEAD_BYTES, Header, SegmentId};

/// Names that one frame of name records carries at most.
const NAMES_PER_FRAME: usize = 1_024;
/// Room that a batch leaf and its frame take at most.
const CLOSE_BYTES: usize = 512;

/// Where one origin stands, on the writer's side.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) origin: String,
    pub(crate) log_id: LogId,
    pub(crate) next: Position,
    pub(crate) leaves: u64,
    pub(crate) t_admit_ms: u64,
    pub(crate) seqs: HashMap<(SourceId, bool), u64>,
    pub(crate) names: Names,
    /// How many of them are on their way to the disk, or there.
    pub(crate) names_flown: usize,
    pub(crate) batch: OpenBatch,
}

/// The segment that is written.
pub(crate) struct Active {
    pub(crate) id: SegmentId,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Where what was written ends.
    pub(crate) end: u64,
    pub(crate) capacity: u64,
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    heads: Vec<Head>,
    active: Active,
    /// Frames that are placed but not written.
    buffer: Vec<u8>,
    /// Groups that are placed and in no flight yet.
    staged: Vec<Arc<Group>>,
    /// Up to where in the segment flights went.
    launched: u64,
    air: Arc<Air>,
    /// A flight that whoever drives this without threads has not let land yet.
    waiting: Option<Flight>,
}

impl Writer {
    /// Goes on after `active.end`, up to where everything is durable.
    pub(crate) fn new(shared: Arc<Shared>, heads: Vec<Head>, active: Active) -> Self {
        let (launched, air) = (active.end, Arc::new(Air::new(active.end)));
        Self { shared, heads, active, buffer: Vec::new(), staged: Vec::new(), launched, air, waiting: None }
    }

    /// Returns what tells whether a flight is under way.
    pub(crate) fn air(&self) -> &Arc<Air> {
        &self.air
    }

    /// Makes groups durable, each or not at all, in order. What is refused has no position.
    pub(crate) fn commit(&mut self, requests: Vec<Prepared>) -> Vec<Result<Arc<Group>, Error>> {
        let results = self.stage_all(requests);
        settled(results, self.flush())
    }

    /// As [`Writer::commit`] twice, the second one placed while the first is in the air, as threads do it. Written before
    /// the first has landed, or after.
    pub(crate) fn commit_overlapping(
        &mut self,
        first: Vec<Prepared>,
        second: Vec<Prepared>,
        written: bool,
    ) -> Vec<Result<Arc<Group>, Error>> {
        let first = self.stage_all(first);
        let launched = self.launch().map(|flight| self.waiting = flight);
        let second = self.stage_all(second);
        let written = if written { self.write_out() } else { Ok(()) };
        // Where the second found no room, going on to the next segment has let the first one land already.
        let landed = self.land_waiting().and_then(|()| self.shared.check_running());
        let mut results = settled(first, launched.and(landed));
        let flown = written.and_then(|()| self.flush());
        results.extend(settled(second, flown));
        results
    }

    /// Gives each group its place, or refuses it.
    pub(crate) fn stage_all(&mut self, requests: Vec<Prepared>) -> Vec<Result<Arc<Group>, Error>> {
        let staged = requests.into_iter().map(|prepared| {
            let priority = prepared.priority;
            self.stage(prepared).map_err(|error| {
                // What pages people finds no room even in the reserve: this is the end, and the last notice says so.
                if priority && error.is_full() { self.shared.stop(&error) } else { error }
            })
        });
        staged.collect()
    }

    /// Closes every open batch, durably. Returns whether there was one.
    pub(crate) fn close_batches(&mut self) -> Result<bool, Error> {
        let mut any = false;
        for number in 0..self.heads.len() {
            any |= self.stage_close(number)?;
        }
        self.flush()?;
        Ok(any)
    }

    /// Marks an orderly end: everything before the mark was synced.
    pub(crate) fn close(&mut self) -> Result<(), Error> {
        self.flush()?;
        let bytes = wal::frame_bytes(0);
        if self.active.end + bytes as u64 <= self.active.capacity {
            self.write(&FrameHead::plain(FrameKind::Close), &[]);
            self.flush()?;
        }
        Ok(())
    }

    /// Gives a group its place in the buffer.
    fn stage(&mut self, mut prepared: Prepared) -> Result<Arc<Group>, Error> {
        self.shared.check_running()?;
        let origin = usize::from(prepared.origin);
        if self.shared.disk_full.load(Ordering::Relaxed) && !prepared.priority {
            lock(&self.shared.figures).refused_full += 1;
            return Err(Error::DiskFull);
        }
        if self.heads[origin].names.len() + prepared.missing.len() > NAMES_MAX {
            return Err(Error::BadAppend { why: "it carries a name beyond the most that a log may have" });
        }
        let names: usize = prepared.missing.iter().map(|(_, name)| name.len() + 512).sum();
        let need = wal::frame_bytes(prepared.body.len()) + names + 2 * CLOSE_BYTES;
        self.make_room(need, prepared.priority)?;
        let missing = std::mem::take(&mut prepared.missing);
        if !missing.is_empty() {
            self.stage_names(origin, &missing)?;
            for (at, name) in missing {
                let number = self.heads[origin].names.number(&name);
                prepared.name(at, number.expect("invariant: `stage_names` gave each a number"));
            }
        }
        self.place(prepared)
    }

    /// Gives numbers to new names and writes them down, before their first use.
    fn stage_names(&mut self, origin: usize, missing: &[(usize, Arc<str>)]) -> Result<(), Error> {
        let head = &mut self.heads[origin];
        let mut new = Vec::new();
        for (_, name) in missing {
            if head.names.number(name).is_none() {
                let number = head.names.intern(Arc::clone(name)).expect("invariant: `stage` counted the names");
                new.push((number, [(own::Name::TEXT, Value::Text(name.to_string()))]));
            }
        }
        for chunk in new.chunks(NAMES_PER_FRAME) {
            let drafts: Vec<_> = chunk
                .iter()
                .map(|(number, text)| Draft {
                    payload: text,
                    ..Draft::own(Kind::Name, own::Name { number: *number }.fields())
                })
                .collect();
            let origin = u16::try_from(origin).expect("invariant: bounded by TENANTS_MAX");
            let names = prepare(origin, &drafts, &Names::default(), &*self.shared.rng)?;
            self.place(names)?;
        }
        Ok(())
    }

    /// Appends one of the ledger's own records. On a full disk only those that opening cannot do without are: the reserve
    /// is for what pages people.
    pub(crate) fn stage_own(&mut self, origin: usize, draft: Draft<'_>, priority: bool) -> Result<Arc<Group>, Error> {
        let number = u16::try_from(origin).expect("invariant: bounded by TENANTS_MAX");
        let mut prepared = prepare(number, &[draft], &Names::default(), &*self.shared.rng)?;
        prepared.priority = priority;
        self.stage(prepared)
    }

    /// Makes retention records durable.
    pub(crate) fn append_retention(&mut self, records: Vec<(usize, own::Retention<'static>)>) -> Result<(), Error> {
        for (origin, record) in records {
            self.stage_own(origin, Draft::own(Kind::Retention, record.fields()), false)?;
        }
        self.flush()
    }

    /// Makes the records of the meta-log durable.
    pub(crate) fn append_meta(&mut self, records: Vec<(own::Meta, String)>) -> Result<(), Error> {
        let meta = self.shared.config.meta_origin();
        let Some(number) = self.heads.iter().position(|head| head.origin == meta) else { return Ok(()) };
        for (record, note) in records {
            let payload = [(own::Meta::CHECKPOINT, Value::Text(note))];
            self.stage_own(number, Draft { payload: &payload, ..Draft::own(Kind::Meta, record.fields()) }, false)?;
        }
        self.flush()
    }

    /// Writes the leaf of an origin's open batch, if it has one.
    fn stage_close(&mut self, origin: usize) -> Result<bool, Error> {
        if self.heads[origin].batch.count() == 0 {
            return Ok(false);
        }
        self.make_room(CLOSE_BYTES, true)?;
        self.place_close(origin)?;
        Ok(true)
    }

    fn place_close(&mut self, origin: usize) -> Result<(), Error> {
        let head = &mut self.heads[origin];
        let batch = head.batch.close(head.log_id);
        let number = u16::try_from(origin).expect("invariant: bounded by TENANTS_MAX");
        let leaf = prepare(number, &[Draft::own(Kind::Batch, batch.fields())], &Names::default(), &*self.shared.rng)?;
        self.place(leaf)?;
        Ok(())
    }

    /// Places a group that fits, after the leaf of the open batch if that would grow too large.
    fn place(&mut self, prepared: Prepared) -> Result<Arc<Group>, Error> {
        let origin = usize::from(prepared.origin);
        if self.heads[origin].batch.count() + prepared.inner > BATCH_RECORDS_MAX {
            self.place_close(origin)?;
        }
        let (now, now_ms) = (self.shared.clock.monotonic(), self.shared.now_ms());
        let head = &mut self.heads[origin];
        head.t_admit_ms = head.t_admit_ms.max(now_ms);
        let seqs = &mut head.seqs;
        let mut next_seq = |source, inner| {
            let seq = seqs.entry((source, inner)).or_default();
            *seq += 1;
            *seq - 1
        };
        let stamp = &mut Stamp { t_admit_ms: head.t_admit_ms, next_seq: &mut next_seq };
        let group = Arc::new(prepared.stamp(head.next, stamp));
        head.next += u64::from(group.count);
        head.leaves += u64::from(group.count) - group.inner as u64;
        head.batch.push(&group, now);
        let frame = FrameHead {
            kind: FrameKind::Group,
            stripped: false,
            origin: group.origin,
            position: group.position,
            count: group.count,
        };
        self.write(&frame, &group.body);
        self.staged.push(Arc::clone(&group));
        Ok(group)
    }

    fn write(&mut self, frame: &FrameHead, body: &[u8]) {
        wal::write_frame(&mut self.buffer, frame, self.active.id, self.air.synced(), body);
    }

    /// Writes what is placed. Any error stops the ledger: what of it reached the disk is unknown.
    pub(crate) fn write_out(&mut self) -> Result<(), Error> {
        self.shared.check_running()?;
        if self.buffer.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.active.file.write_at(&self.buffer, self.active.end) {
            return Err(self.shared.stop(&error.into()));
        }
        self.active.end += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is placed and sends all that is not on its way to the disk yet, after the flight before has landed.
    /// Nothing of it is durable, visible or acknowledged before it has landed as well.
    pub(crate) fn launch(&mut self) -> Result<Option<Flight>, Error> {
        self.land_waiting()?;
        self.write_out()?;
        if self.active.end == self.launched {
            return Ok(None);
        }
        let bytes = self.active.end - self.launched;
        self.launched = self.active.end;
        Ok(Some(Flight {
            turn: self.air.take(),
            shared: Arc::clone(&self.shared),
            file: Arc::clone(&self.active.file),
            segment: self.active.id.number,
            end: self.active.end,
            capacity: self.active.capacity,
            bytes,
            names: self.new_names(),
            groups: std::mem::take(&mut self.staged),
        }))
    }

    /// Returns the names that the placed groups bring, by the number of their log.
    fn new_names(&mut self) -> Vec<(usize, Vec<Arc<str>>)> {
        let grown = self.heads.iter_mut().enumerate().filter(|(_, head)| head.names.len() > head.names_flown);
        let grown = grown.map(|(number, head)| {
            let new = head.names.iter().skip(head.names_flown).cloned().collect();
            head.names_flown = head.names.len();
            (number, new)
        });
        grown.collect()
    }

    fn land_waiting(&mut self) -> Result<(), Error> {
        self.waiting.take().map_or(Ok(()), Flight::land)
    }

    /// Writes and syncs what is placed, and makes it visible: nothing is under way afterwards. Any error stops the ledger.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        match self.launch()? {
            Some(flight) => flight.land(),
            None => {
                drop(self.air.take());
                self.shared.check_running()
            }
        }
    }

    /// Makes sure that `need` bytes fit the segment, or goes on to the next one.
    fn make_room(&mut self, need: usize, priority: bool) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let config = &shared.config;
        let header = HEAD_BYTES + 64 + self.heads.iter().map(|head| head.origin.len() + 18).sum::<usize>();
        if (need + header) as u64 > config.segment_bytes {
            return Err(Error::BadAppend { why: "it is larger than a WAL segment" });
        }
        if self.active.end + (self.buffer.len() + need) as u64 <= self.active.capacity {
            return Ok(());
        }
        self.flush()?;
        let bytes = (need + header) as u64;
        let mut spare = lock(&shared.spare);
        let (file, capacity) = match spare.file.take() {
            Some(file) => (file, config.segment_bytes),
            None => shared.next_segment(self.active.id.number + 1, bytes, priority)?,
        };
        spare.next = self.active.id.number + 2;
        drop(spare);
        self.roll(file, capacity)
    }

    /// Goes on in a new segment, whose header says where the present one ends.
    fn roll(&mut self, file: Box<dyn DiskFile>, capacity: u64) -> Result<(), Error> {
        let (number, previous_end) = (self.active.id.number + 1, self.active.end);
        let header = header(&self.heads, previous_end, self.shared.now_ms());
        lock(&self.shared.durable).ends.insert(self.active.id.number, previous_end);
        self.active = Active { id: SegmentId::new(number, &*self.shared.rng), file: file.into(), end: 0, capacity };
        self.launched = 0;
        self.air.begin_segment();
        self.write(&FrameHead::plain(FrameKind::Header), &header.encode());
        self.flush()
    }

    /// Announces the logs without a first record: their origin, then that record with their new id. Durable on return.
    pub(crate) fn announce(&mut self) -> Result<(), Error> {
        for number in 0..self.heads.len() {
            if self.heads[number].next > 0 {
                continue;
            }
            let origin = self.heads[number].origin.clone();
            self.make_room(2 * CLOSE_BYTES + 2 * origin.len(), true)?;
            let frame = FrameHead {
                origin: u16::try_from(number).expect("invariant: bounded by TENANTS_MAX"),
                ..FrameHead::plain(FrameKind::Origin)
            };
            self.write(&frame, origin.as_bytes());
            let mut log_id = LogId::default();
            self.shared.rng.fill(&mut log_id);
            self.heads[number].log_id = log_id;
            let genesis = own::Genesis { log_id, origin: &origin, continues: None };
            self.stage_own(number, Draft::own(Kind::Genesis, genesis.fields()), true)?;
        }
        self.flush()
    }
}

/// Returns what became of groups whose flight ended like that.
pub(crate) fn settled(
    results: Vec<Result<Arc<Group>, Error>>,
    landed: Result<(), Error>,
) -> Vec<Result<Arc<Group>, Error>> {
    match landed {
        Ok(()) => results,
        Err(error) => results.into_iter().map(|result| result.and(Err(error.clone()))).collect(),
    }
}

/// Returns the header of the segment that goes on from `heads`.
pub(crate) fn header(heads: &[Head], previous_end: u64, opened_ms: u64) -> Header {
    let origins = heads.iter().map(|head| (head.origin.clone(), head.next, head.leaves)).collect();
    Header { previous_end, own_end: 0, opened_ms, origins }
}
