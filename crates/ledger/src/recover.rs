//! Opening: from what the disk has after whatever happened to a ledger that may be appended to, or a refusal.
//!
//! Nothing at or below the last signed checkpoint is ever cut. A torn tail after it is cut and recorded; a hole before
//! what was durable, or a checkpoint that the WAL cannot lead to, is refused (invariants J-2, J-4). What only the page
//! cache may hold after a failed sync is copied into a new segment before anything is built on it.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use disk::{Disk, Open, Reserve};
use model::{Clock, Kind, Origin, Position, Rng};
use tokio::sync::watch;

use crate::batch::OpenBatch;
use crate::error::Error;
use crate::fold::{Fold, OriginFold, Unfolded, Watch};
use crate::group::Draft;
use crate::keys::{Keyring, Keys, Place};
use crate::merkle::Hash;
use crate::own;
use crate::publish::{DirTiles, Publisher};
use crate::shared::{Config, Durable, OriginShared, Shared, Signed, Spare};
use crate::tile::TileWriter;
use crate::wal::{self, FrameHead, FrameKind, Header, NoFrame, Segment, SegmentId, Tail};
use crate::writer::{Active, Head, Writer, header};

/// Damage that the WAL mends: it has every entry, and what is made from it must still lead to the signed root.
const STALE: &str = "its checkpoint is older than the WAL's snapshot";
const TILES_LOST: &str = "its tiles do not make the tree of its checkpoint";

/// What opening found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// There was no ledger: a new one was made.
    pub created: bool,
    /// The ledger had been closed in order.
    pub clean: bool,
    /// Bytes of a torn write that were cut; nothing in them was acknowledged.
    pub torn_bytes: u64,
    /// In which segment and from where on they were cut.
    pub torn_at: (u64, u64),
    /// Bytes whose sync was not proven and that were written anew.
    pub copied_bytes: u64,
    /// Frames read from the WAL.
    pub frames: u64,
    /// Tiles or a checkpoint were damaged, lost or old, so all tiles were made anew from the whole WAL.
    pub tiles_rebuilt: bool,
}

pub(crate) struct Parts<'a> {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) config: Config,
    pub(crate) keyring: &'a dyn Keyring,
}

pub(crate) struct Opened {
    pub(crate) shared: Arc<Shared>,
    pub(crate) writer: Writer,
    pub(crate) publisher: Publisher,
    pub(crate) recovery: Recovery,
    pub(crate) lock: Box<dyn Send + Sync>,
}

/// What is gathered while the WAL is read.
struct Opening<'a> {
    parts: &'a Parts<'a>,
    keys: Vec<Keys>,
    signed: Vec<Option<Signed>>,
    frames: u64,
    /// Makes every tile anew from the WAL instead of trusting those that are there.
    rebuild: bool,
}

impl Watch for Opening<'_> {
    fn origin(&mut self, origin: String) -> Result<OriginFold, Error> {
        self.take_up(OriginFold::new(origin))
    }

    fn agrees(&mut self, _: u16, _: Position, _: &[Hash]) -> bool {
        true // nothing was hashed before the crash that is still in memory
    }
}

impl Opening<'_> {
    /// Makes a log ready to be folded: its keys, its signed checkpoint, and the tiles under that.
    fn take_up(&mut self, mut fold: OriginFold) -> Result<OriginFold, Error> {
        let (disk, config) = (&*self.parts.disk, &self.parts.config);
        let name = fold.origin.clone();
        let contradiction = |why| Error::Contradiction { origin: name.clone(), why };
        let origin = Origin::new(&fold.origin).map_err(|_| contradiction("its name is not an origin"))?;
        let (public, secret) = (config.log(&fold.origin), config.keys(&fold.origin));
        for dir in [&public, &secret] {
            disk.create_dir_all(dir)?;
            for made in dir.ancestors().take_while(|above| *above != config.dir) {
                disk::sync_parent(disk, made)?;
            }
        }
        let place = Place { disk, rng: &*self.parts.rng, secret: &secret, public: &public };
        let keys = self.parts.keyring.keys(&place, &origin)?;
        let path = public.join("checkpoint");
        let signed = if disk.exists(&path) {
            let note = disk::read(disk, &path)?;
            let checkpoint =
                keys.signer.open(&note).ok_or(contradiction("its checkpoint is not one that we signed"))?;
            if checkpoint.origin != fold.origin {
                return Err(contradiction("its checkpoint is of another log"));
            }
            let note = String::from_utf8(note).map_err(|_| contradiction("its checkpoint is not text"))?;
            Some(Signed { size: checkpoint.size, root: checkpoint.root, note })
        } else {
            None
        };
        let size = signed.as_ref().map_or(0, |signed| signed.size);
        if size < fold.tree.size() {
            return Err(contradiction(STALE));
        }
        if let Some(signed) = &signed {
            if !self.rebuild {
                fold.tiles = TileWriter::resume(&mut DirTiles { disk, dir: public }, size)
                    .ok()
                    .filter(|tiles| tiles.root() == signed.root)
                    .ok_or(contradiction(TILES_LOST))?;
            }
            fold.expected = Some((signed.size, signed.root));
            fold.check_expected().map_err(contradiction)?;
        }
        self.keys.push(keys);
        self.signed.push(signed);
        Ok(fold)
    }

    /// Folds the frames of `bytes` from the fold's offset up to `end`.
    fn fold_to(&mut self, fold: &mut Fold, bytes: &[u8], end: u64) -> Result<(), Error> {
        let segment = fold.segment;
        while fold.offset < end {
            let offset = fold.offset;
            let corrupt = |why| Error::Corrupt { segment, offset, why };
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            let (frame, next) = wal::read_frame(bytes, at, segment).map_err(|none| {
                corrupt(match none {
                    NoFrame::Unwritten => "nothing stands where a durable frame stood",
                    NoFrame::Broken(why) => why,
                })
            })?;
            fold.apply(&frame, self).map_err(|unfolded| match unfolded {
                Unfolded::Wrong(why) => corrupt(why),
                Unfolded::Failed(error) => error,
            })?;
            self.frames += 1;
            fold.offset = next as u64;
            if self.rebuild
                && let Some(origin) = fold.origins.get_mut(usize::from(frame.origin))
            {
                // However long the log is: the publisher makes them again one by one, once the tree proved right.
                drop(origin.tiles.take_full());
            }
        }
        if fold.offset == end {
            Ok(())
        } else {
            Err(Error::Corrupt { segment, offset: end, why: "a frame crosses its end" })
        }
    }
}

/// Opens the ledger of a data directory.
pub(crate) fn open(parts: &Parts<'_>) -> Result<Opened, Error> {
    let (disk, config) = (&*parts.disk, &parts.config);
    for dir in [config.dir.clone(), config.wal(), config.dir.join("ledger"), config.dir.join("keystore")] {
        disk.create_dir_all(&dir)?;
    }
    // A life before may have been cut off between making one of them and making it last.
    disk.sync_dir(&config.dir)?;
    let lock = disk.try_lock(&config.dir.join("LOCK"))?.ok_or(Error::Locked)?;
    let reserve = Reserve::hold(disk, &config.dir.join("reserve"), config.reserve_bytes)?;
    remove_unfinished(disk, &config.wal())?;
    let segments = sound_segments(disk, &config.wal())?;
    let mut opening = Opening { parts, keys: Vec::new(), signed: Vec::new(), frames: 0, rebuild: false };
    let mut recovery = Recovery { created: segments.is_empty(), ..Recovery::default() };
    let (fold, active, ends) = if segments.is_empty() {
        (Fold::default(), create(parts, &reserve)?, Vec::new())
    } else {
        match read_wal(&mut opening, &segments, &reserve, &mut recovery) {
            Err(Error::Contradiction { origin, why: why @ (TILES_LOST | STALE) }) => {
                tracing::warn!(origin, why, "reading the whole WAL and making all tiles anew");
                // It would stand beyond where the segment is found to end without it.
                let snapshot = config.wal().join("snapshot");
                if disk.exists(&snapshot) {
                    disk.remove(&snapshot)?;
                    disk::sync_parent(disk, &snapshot)?;
                }
                opening = Opening { parts, keys: Vec::new(), signed: Vec::new(), frames: 0, rebuild: true };
                recovery.tiles_rebuilt = true;
                read_wal(&mut opening, &segments, &reserve, &mut recovery)?
            }
            read => read?,
        }
    };
    check_reached(&fold)?;
    recovery.frames = opening.frames;
    let mut opened = assemble(opening, fold, active, reserve, lock, recovery)?;
    lock_ends(&opened.shared, ends);
    begin(&mut opened)?;
    Ok(opened)
}

fn lock_ends(shared: &Shared, ends: Vec<(u64, u64)>) {
    crate::shared::lock(&shared.durable).ends.extend(ends);
}

/// Removes what a life before made beside its place and did not finish.
fn remove_unfinished(disk: &dyn Disk, wal: &Path) -> Result<(), Error> {
    for entry in disk.list(wal)? {
        if !entry.is_dir && entry.name.ends_with(".tmp") {
            disk.remove(&wal.join(entry.name))?;
        }
    }
    Ok(())
}

/// Returns the numbers of the segments that count, ascending and without gaps. A last file without a header was made in
/// advance, or its making was interrupted, and is removed; unless frames in it say that the header was lost.
fn sound_segments(disk: &dyn Disk, wal: &Path) -> Result<Vec<u64>, Error> {
    let mut numbers = wal::segments(disk, wal)?;
    while let Some(last) = numbers.last().copied() {
        let path = wal::segment_path(wal, last);
        let start = wal::read_range(&*disk.open(&path, Open::Read)?, 0, wal::HEADER_READ_BYTES as u64)?;
        if own_header(&start, last).is_ok() {
            break;
        }
        let Segment { bytes, written } = wal::read_segment(disk, wal, last, 0)?;
        if own_header(&bytes, last).is_ok() {
            break;
        }
        let has_frames =
            (0..written).step_by(8).any(|at| wal::read_frame(&bytes, at, last).is_ok_and(|(f, _)| f.synced > 0));
        if has_frames {
            return Err(Error::Corrupt { segment: last, offset: 0, why: "its header is gone" });
        }
        disk.remove(&path)?;
        disk::sync_parent(disk, &path)?;
        numbers.pop();
    }
    let missing = numbers.iter().zip(1..).find(|(number, expected)| *number != expected);
    match missing {
        Some((_, expected)) => Err(Error::Corrupt { segment: expected, offset: 0, why: "the segment is missing" }),
        None => Ok(numbers),
    }
}

/// Makes the first segment of a new ledger.
fn create(parts: &Parts<'_>, reserve: &Reserve) -> Result<Active, Error> {
    let opened_ms = u64::try_from(parts.clock.now().as_millisecond()).unwrap_or(0);
    start_segment(parts, reserve, 1, &Header { opened_ms, ..Header::default() }, &[])
}

/// Makes a segment with its header and `frames` (kind, head and body each), durable.
fn start_segment(
    parts: &Parts<'_>,
    reserve: &Reserve,
    number: u64,
    header: &Header,
    frames: &[(FrameHead, &[u8])],
) -> Result<Active, Error> {
    let mut bytes = Vec::new();
    let id = SegmentId::new(number, &*parts.rng);
    wal::write_frame(&mut bytes, &FrameHead::plain(FrameKind::Header), id, 0, &header.encode());
    for (head, body) in frames {
        wal::write_frame(&mut bytes, head, id, 0, body);
    }
    let (disk, config) = (&*parts.disk, &parts.config);
    let wal_dir = config.wal();
    let path = wal::segment_path(&wal_dir, number);
    // Made beside its place and taken there once it is durable as a whole: a header that survives alone would vouch for
    // the end of the segment before it, while the frames copied from beyond that end are lost (J-1).
    let making = path.with_extension("tmp");
    let make = |capacity| wal::prepare_file(disk, &making, capacity).map(|file| (file, capacity));
    let (file, capacity) = match make(config.segment_bytes.max(bytes.len() as u64)) {
        // A disk that filled up while we were down: alerts go on in what the reserve frees.
        Err(error) if error.is_full() && reserve.release(disk)? => {
            make((config.reserve_bytes / 2).max(bytes.len() as u64))?
        }
        made => made?,
    };
    file.write_at(&bytes, 0)?;
    wal::sync(&*file)?;
    drop(file);
    disk.rename(&making, &path)?;
    disk::sync_parent(disk, &path)?;
    let file = disk.open(&path, Open::Write)?;
    Ok(Active { id, file: file.into(), end: bytes.len() as u64, capacity })
}

/// What reading the WAL yields: the state, the segment to go on in, and where the segments before it end.
type Read = (Fold, Active, Vec<(u64, u64)>);

fn read_wal(
    opening: &mut Opening<'_>,
    segments: &[u64],
    reserve: &Reserve,
    recovery: &mut Recovery,
) -> Result<Read, Error> {
    let parts = opening.parts;
    let (disk, wal_dir) = (&*parts.disk, parts.config.wal());
    let last = segments.last().copied().unwrap_or(1);
    let mut fold = read_snapshot(opening, last)?;
    let mut ends = Vec::new();
    let mut read = wal::read_segment(disk, &wal_dir, fold.segment, fold.offset)?;
    while fold.segment < last {
        let next = wal::read_segment(disk, &wal_dir, fold.segment + 1, 0)?;
        let end = segment_end(&read.bytes, fold.segment, &next.bytes)?;
        opening.fold_to(&mut fold, &read.bytes, end)?;
        ends.push((fold.segment, end));
        read = next;
        fold.segment += 1;
        fold.offset = 0;
    }
    let bytes = &read.bytes;
    let (_, tag) = tagged_header(bytes, last)?;
    let len = bytes.len() as u64;
    if len < fold.offset {
        return Err(Error::Corrupt { segment: last, offset: len, why: "frames under the WAL's snapshot are gone" });
    }
    // The snapshot was stored after what it covers had been synced and read back.
    let tail = wal::find_tail(&read, fold.offset, last)?;
    (recovery.clean, recovery.torn_bytes) = (tail.closed, tail.torn_bytes);
    if tail.torn_bytes > 0 {
        recovery.torn_at = (last, tail.end);
    }
    if tail.closed {
        // The mark itself is overwritten: whether it was synced, nothing proves, and it says nothing that is needed.
        opening.fold_to(&mut fold, bytes, tail.synced)?;
        let file = disk.open(&wal::segment_path(&wal_dir, last), Open::Write)?;
        let active = Active {
            id: SegmentId { number: last, tag },
            file: file.into(),
            end: tail.synced,
            capacity: bytes.len() as u64,
        };
        return Ok((fold, active, ends));
    }
    recovery.copied_bytes = tail.end - tail.synced;
    let active = go_on(opening, &mut fold, bytes, tail, reserve)?;
    if active.id.number > last {
        ends.push((last, tail.synced));
    }
    Ok((fold, active, ends))
}

/// Returns where a segment ends: the header after it says so, or its own after its payloads were deleted.
fn segment_end(bytes: &[u8], segment: u64, next: &[u8]) -> Result<u64, Error> {
    let own = own_header(bytes, segment)?;
    let next = own_header(next, segment + 1)?;
    Ok(if own.own_end > 0 { own.own_end } else { next.previous_end })
}

fn own_header(bytes: &[u8], segment: u64) -> Result<Header, Error> {
    tagged_header(bytes, segment).map(|(header, _)| header)
}

/// Returns the header of a segment, and its tag.
fn tagged_header(bytes: &[u8], segment: u64) -> Result<(Header, u64), Error> {
    match wal::read_frame(bytes, 0, segment) {
        Ok((frame, _)) if frame.kind == FrameKind::Header => {
            Header::decode(frame.body).map(|header| (header, frame.tag))
        }
        _ => None,
    }
    .ok_or(Error::Corrupt { segment, offset: 0, why: "its header is broken" })
}

/// Takes up the snapshot, or starts from the first segment.
fn read_snapshot(opening: &mut Opening<'_>, last: u64) -> Result<Fold, Error> {
    let path = opening.parts.config.wal().join("snapshot");
    let start = Fold { segment: 1, ..Fold::default() };
    if opening.rebuild || !opening.parts.disk.exists(&path) {
        return Ok(start);
    }
    let mut fold = match Fold::from_bytes(&disk::read(&*opening.parts.disk, &path)?) {
        Ok(fold) => fold,
        Err(malformed) => {
            tracing::warn!(error = %malformed, "the WAL's snapshot cannot be read: reading the whole WAL");
            return Ok(start);
        }
    };
    if fold.segment > last {
        return Err(Error::Corrupt {
            segment: fold.segment,
            offset: 0,
            why: "the segment of the WAL's snapshot is missing",
        });
    }
    for origin in std::mem::take(&mut fold.origins) {
        let origin = opening.take_up(origin)?;
        fold.origins.push(origin);
    }
    Ok(fold)
}

/// Goes on in a new segment: what is proven durable stays where it is, what is not is copied, the torn rest is cut.
fn go_on(
    opening: &mut Opening<'_>,
    fold: &mut Fold,
    bytes: &[u8],
    tail: Tail,
    reserve: &Reserve,
) -> Result<Active, Error> {
    let parts = opening.parts;
    opening.fold_to(fold, bytes, tail.synced)?;
    let heads: Vec<Head> = fold.origins.iter().map(|origin| head(origin, &*parts.clock)).collect();
    let opened_ms = u64::try_from(parts.clock.now().as_millisecond()).unwrap_or(0);
    let header = header(&heads, tail.synced, opened_ms);
    let mut copied = Vec::new();
    let mut offset = usize::try_from(tail.synced).unwrap_or(usize::MAX);
    while (offset as u64) < tail.end
        && let Ok((frame, next)) = wal::read_frame(bytes, offset, fold.segment)
    {
        // A close mark would claim that nothing follows.
        if frame.kind != FrameKind::Close {
            copied.push((frame.head(), frame.body));
        }
        offset = next;
    }
    opening.fold_to(fold, bytes, tail.end)?;
    let old = fold.segment;
    if tail.synced == 0 {
        let active = start_segment(parts, reserve, old, &own_header(bytes, old)?, copied.get(1..).unwrap_or_default())?;
        (fold.segment, fold.offset) = (active.id.number, active.end);
        return Ok(active);
    }
    let active = start_segment(parts, reserve, old + 1, &header, &copied)?;
    (fold.segment, fold.offset) = (active.id.number, active.end);
    // What is cut gives its space back. Nothing depends on it: the new header says where the old segment ends.
    let path = wal::segment_path(&parts.config.wal(), old);
    if let Err(error) = parts.disk.open(&path, Open::Write).and_then(|file| file.set_len(tail.synced)) {
        tracing::warn!(error = &error as &dyn std::error::Error, "could not cut the old segment");
    }
    Ok(active)
}

/// Refuses a WAL that does not lead to what was signed.
fn check_reached(fold: &Fold) -> Result<(), Error> {
    let ahead = "its checkpoint is ahead of the WAL: an old copy of the WAL was restored, or its end is lost";
    for origin in &fold.origins {
        if origin.expected.is_some() {
            return Err(Error::Contradiction { origin: origin.origin.clone(), why: ahead });
        }
    }
    Ok(())
}

fn head(fold: &OriginFold, clock: &dyn Clock) -> Head {
    Head {
        origin: fold.origin.clone(),
        log_id: fold.log_id,
        next: fold.next,
        leaves: fold.tree.size(),
        t_admit_ms: fold.t_admit_ms,
        seqs: fold.seqs.clone(),
        names: fold.names.clone(),
        names_flown: fold.names.len(),
        batch: OpenBatch::resume(fold.open.hashes.clone(), fold.open.t_min_ms, fold.open.t_max_ms, clock.monotonic()),
    }
}

/// Puts the parts of an open ledger together, with logs for the tenants that have none yet.
fn assemble(
    mut opening: Opening<'_>,
    mut fold: Fold,
    active: Active,
    reserve: Reserve,
    lock: Box<dyn Send + Sync>,
    recovery: Recovery,
) -> Result<Opened, Error> {
    let parts = opening.parts;
    let config = &parts.config;
    let known = fold.origins.len();
    let wanted =
        std::iter::once(config.meta_origin()).chain(config.tenants.iter().map(|t| format!("{}/{t}", config.instance)));
    for origin in wanted {
        if fold.origins.iter().all(|fold| fold.origin != origin) {
            let new = opening.origin(origin.clone())?;
            if new.expected.is_some() {
                return Err(Error::Contradiction { origin, why: "it has a checkpoint but the WAL does not know it" });
            }
            fold.origins.push(new);
        }
    }
    let (mut origins, mut heads, fold_count) = (Vec::new(), Vec::new(), fold.origins.len());
    for ((fold, signed), number) in fold.origins.iter().zip(&mut opening.signed).zip(0..) {
        let origin = Origin::new(&fold.origin)
            .map_err(|_| Error::Contradiction { origin: fold.origin.clone(), why: "its name is not an origin" })?;
        let shared = OriginShared::new(origin, number, fold_count, fold.names.clone(), fold.next);
        *shared.signed.write().unwrap_or_else(std::sync::PoisonError::into_inner) = signed.take().map(Arc::new);
        origins.push(Arc::new(shared));
        heads.push(head(fold, &*parts.clock));
    }
    let durable =
        Durable { segment: active.id.number, end: active.end, capacity: active.capacity, ..Durable::default() };
    let shared = Arc::new(Shared {
        disk: Arc::clone(&parts.disk),
        clock: Arc::clone(&parts.clock),
        rng: Arc::clone(&parts.rng),
        config: config.clone(),
        origins,
        durable: Mutex::new(durable),
        figures: Mutex::default(),
        disk_full: AtomicBool::new(!reserve.is_held()),
        reserve,
        spare: Mutex::new(Spare { next: active.id.number + 1, file: None }),
        consumed: Mutex::default(),
        stopped: watch::Sender::new(None),
    });
    (fold.segment, fold.offset) = (active.id.number, active.end);
    let mut writer = Writer::new(Arc::clone(&shared), heads, active);
    writer.announce()?;
    // The fold reads the announcements back itself.
    fold.origins.truncate(known);
    let new_folds =
        shared.origins.iter().skip(known).map(|origin| OriginFold::new(origin.origin.to_string())).collect();
    let publisher = Publisher::new(Arc::clone(&shared), fold, opening.keys, new_folds, opening.rebuild);
    Ok(Opened { shared, writer, publisher, recovery, lock })
}

/// Appends what opening itself has to say, and publishes up to here.
fn begin(opened: &mut Opened) -> Result<(), Error> {
    if opened.recovery.torn_bytes > 0 {
        let (segment, offset) = opened.recovery.torn_at;
        let cut = own::Recovery { segment, offset, bytes: opened.recovery.torn_bytes };
        let meta = opened.shared.config.meta_origin();
        let number = opened.shared.origin(&meta).map_or(0, |origin| usize::from(origin.number));
        opened.writer.stage_own(number, Draft::own(Kind::Recovery, cut.fields()), true)?;
        opened.writer.flush()?;
        tracing::warn!(segment, offset, bytes = cut.bytes, "cut a torn write that was never acknowledged");
    }
    match opened.publisher.publish() {
        Err(error) if !error.is_full() => Err(error),
        _ => Ok(()),
    }
}
