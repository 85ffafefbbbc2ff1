//! The publisher: reads back what the writer made durable, on a code path of its own, and signs only what it found there.
//!
//! Order of a publication (invariant J-3): tiles and bundles, one barrier, then per log compare the checkpoint in force
//! with the one last signed, sign, write it atomically, and only then show it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use disk::{Disk, DiskFile, Open, write_atomic};
use model::Position;

use crate::checkpoint::Checkpoint;
use crate::cursor::FrameReader;
use crate::entry::Entry;
use crate::error::Error;
use crate::fold::{Fold, OriginFold, Unfolded, Watch};
use crate::keys::Keys;
use crate::merkle::Hash;
use crate::own;
use crate::retain::{self, Due};
use crate::shared::{Shared, Signed, lock};
use crate::tile::{ReadTile, TilePath, TileWriter};
use crate::wal::{self, FrameKind, Rows};

/// Up to this many files are synced one by one; more go through one barrier of the file system.
const SYNCED_ONE_BY_ONE_MAX: usize = 8;
/// In what pieces the system keeps copies of files in memory.
const PAGE_BYTES: u64 = 4 << 10;
/// Bytes read from the WAL at once.
const READ_BYTES: u64 = 256 << 10;

pub(crate) struct Publisher {
    shared: Arc<Shared>,
    fold: Fold,
    keys: Vec<Keys>,
    file: Option<(u64, Box<dyn DiskFile>)>,
    /// Tiles that were made but not stored yet: a full disk leaves them here.
    unstored: Vec<(PathBuf, Vec<u8>)>,
    snapshot_at: (u64, u64),
    /// Logs that were announced when the ledger was opened and are not read back yet.
    announced: Vec<OriginFold>,
    /// Tiles on the disk were found lost or damaged, and are not mended yet.
    rebuilt: bool,
    /// The first segment that may still have payloads.
    retained: u64,
}

/// Compares what is read back with what the callers hashed before it was written.
struct Compare<'a>(&'a Shared, &'a mut Vec<OriginFold>);

impl Watch for Compare<'_> {
    fn origin(&mut self, origin: String) -> Result<OriginFold, Error> {
        match self.1.iter().position(|new| new.origin == origin) {
            Some(at) => Ok(self.1.remove(at)),
            None => Err(Error::Contradiction { origin, why: "it appeared while the ledger was open" }),
        }
    }

    fn agrees(&mut self, origin: u16, position: Position, hashes: &[Hash]) -> bool {
        let Some(shared) = self.0.origins.get(usize::from(origin)) else { return false };
        let recent = shared.recent_from(position, 1);
        // Forgotten groups were checked by their checksum alone.
        recent.first().is_none_or(|group| group.position != position || group.hashes() == hashes)
    }
}

impl Publisher {
    pub(crate) fn new(
        shared: Arc<Shared>,
        fold: Fold,
        keys: Vec<Keys>,
        announced: Vec<OriginFold>,
        rebuilt: bool,
    ) -> Self {
        let snapshot_at = (fold.segment, fold.offset);
        Self { shared, fold, keys, file: None, unstored: Vec::new(), snapshot_at, announced, rebuilt, retained: 1 }
    }

    /// Publishes a checkpoint of every log that grew. Returns how many. A full disk is an error of kind Retry and leaves
    /// everything to be published later; any other error stops the ledger.
    pub(crate) fn publish(&mut self) -> Result<usize, Error> {
        self.shared.check_running()?;
        let published = self.try_publish();
        if let Err(error) = &published {
            if error.is_full() {
                lock(&self.shared.figures).publish_failures += 1;
            } else {
                return Err(self.shared.stop(error));
            }
        }
        published
    }

    /// Reads back and folds what became durable, without publishing it yet. Any error stops the ledger.
    pub(crate) fn read_back(&mut self) -> Result<(), Error> {
        self.shared.check_running()?;
        self.catch_up().map_err(|error| self.shared.stop(&error))
    }

    fn try_publish(&mut self) -> Result<usize, Error> {
        let start = self.shared.clock.monotonic();
        self.catch_up()?;
        let due: Vec<usize> = (0..self.fold.origins.len()).filter(|number| self.is_due(*number)).collect();
        if self.rebuilt {
            self.mend_tiles()?;
            let all: Vec<usize> = (0..self.fold.origins.len()).collect();
            self.store_tiles(&all)?;
            self.rebuilt = false;
        }
        self.store_tiles(&due)?;
        for number in &due {
            self.sign(*number)?;
        }
        if self.shared.disk_full.load(Ordering::Relaxed) {
            due.iter().for_each(|number| self.forget_superseded(*number));
        }
        for (fold, shared) in self.fold.origins.iter().zip(&self.shared.origins) {
            let covered = fold.covered();
            shared.committed.send_if_modified(|committed| std::mem::replace(committed, covered) != covered);
        }
        self.store_snapshot(false)?;
        lock(&self.shared.figures).publish_last = self.shared.clock.monotonic().saturating_sub(start);
        Ok(due.len())
    }

    fn is_due(&self, number: usize) -> bool {
        let signed = self.shared.origins[number].signed();
        self.fold.origins[number].tree.size() != signed.map_or(0, |signed| signed.size)
    }

    /// Folds what became durable since the last time.
    pub(crate) fn catch_up(&mut self) -> Result<(), Error> {
        let target = {
            let durable = lock(&self.shared.durable);
            (durable.segment, durable.end)
        };
        let mut buffer = Vec::new();
        loop {
            let segment = self.fold.segment;
            let end = if segment == target.0 {
                target.1
            } else {
                self.shared.end_of(segment).ok_or(Error::Corrupt { segment, offset: 0, why: "its end is not known" })?
            };
            let start = self.fold.offset;
            while self.fold.offset < end {
                self.fold_some(segment, end, &mut buffer)?;
                // Nobody waits for this as they wait for a sync: between two pieces others may have the processor.
                std::thread::yield_now();
            }
            // Nobody reads it again soon, except who is far behind: at full speed the log would push everything else of the
            // machine out of memory.
            if let Some((number, file)) = &self.file
                && *number == segment
                && start < end
            {
                file.forget_copies(start & !(PAGE_BYTES - 1), end & !(PAGE_BYTES - 1));
            }
            if segment == target.0 {
                return Ok(());
            }
            self.fold.segment += 1;
            self.fold.offset = 0;
        }
    }

    /// Reads some frames of a segment back and folds them.
    fn fold_some(&mut self, segment: u64, end: u64, buffer: &mut Vec<u8>) -> Result<(), Error> {
        if self.file.as_ref().is_none_or(|(number, _)| *number != segment) {
            let path = wal::segment_path(&self.shared.config.wal(), segment);
            self.file = Some((segment, self.shared.disk.open(&path, Open::Read)?));
        }
        let start = self.fold.offset;
        let mut wanted = READ_BYTES;
        loop {
            let stop = end.min(start + wanted);
            self.read(segment, start, stop, buffer)?;
            let bytes = &*buffer;
            let mut at = 0;
            while let Ok((frame, next)) = wal::read_frame(bytes, at, segment) {
                self.fold.apply(&frame, &mut Compare(&self.shared, &mut self.announced)).map_err(|unfolded| {
                    match unfolded {
                        Unfolded::Wrong(why) => Error::Corrupt { segment, offset: start + at as u64, why },
                        Unfolded::Failed(error) => error,
                    }
                })?;
                at = next;
            }
            if at > 0 {
                self.fold.offset = start + at as u64;
                return Ok(());
            }
            if stop == end {
                return Err(Error::Corrupt { segment, offset: start, why: "what was appended is not on the disk" });
            }
            // The next frame is larger than what was read: as large as it says, if it says so.
            let said = wal::frame_len(bytes).filter(|len| *len > wanted);
            wanted = said.unwrap_or(wanted * 8);
        }
    }

    /// Reads bytes of the WAL as the disk has them now.
    fn read(&self, segment: u64, start: u64, stop: u64, buffer: &mut Vec<u8>) -> Result<(), Error> {
        #[cfg(dihya_mutant = "reread")]
        if let Some(bytes) = self.from_memory(segment, start, stop) {
            *buffer = bytes;
            return Ok(());
        }
        let Some((number, file)) = &self.file else {
            buffer.clear();
            return Ok(());
        };
        debug_assert_eq!(*number, segment, "the open file is the segment asked for");
        // What stands there is written over: only what is new is filled with zeros.
        buffer.resize(usize::try_from(stop - start).unwrap_or(usize::MAX), 0);
        let got = file.read_at(buffer, start)?;
        buffer.truncate(got);
        Ok(())
    }

    /// The mutant of CI that trusts its memory: signs what it meant to write.
    #[cfg(dihya_mutant = "reread")]
    fn from_memory(&self, segment: u64, start: u64, stop: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let written = wal::read_range(&*self.file.as_ref()?.1, start, stop).ok()?;
        let mut at = 0;
        while let Some((head, next)) = wal::read_head_unchecked(&written, at) {
            let origin = self.shared.origins.get(usize::from(head.origin));
            let recent = origin.map(|origin| origin.recent_from(head.position, 1)).unwrap_or_default();
            match recent.first().filter(|group| head.kind == wal::FrameKind::Group && group.position == head.position) {
                Some(group) => {
                    wal::write_frame(&mut bytes, &head, wal::SegmentId { number: segment, tag: 0 }, 0, &group.body);
                }
                None => bytes.extend_from_slice(written.get(at..next)?),
            }
            at = next;
        }
        Some(bytes)
    }

    /// Stores the tiles that the due checkpoints need, behind one barrier.
    fn store_tiles(&mut self, due: &[usize]) -> Result<(), Error> {
        for number in due {
            let fold = &mut self.fold.origins[*number];
            let dir = self.shared.config.log(&fold.origin);
            let full = fold.tiles.take_full();
            self.unstored.extend(full.into_iter().map(|(path, bytes)| (dir.join(path.to_string()), bytes)));
        }
        let mut stored = Vec::new();
        for (path, bytes) in &self.unstored {
            stored.push((path.clone(), put(&*self.shared.disk, path, bytes)?));
        }
        for number in due {
            let fold = &self.fold.origins[*number];
            let dir = self.shared.config.log(&fold.origin);
            for (path, bytes) in fold.tiles.partials() {
                let path = dir.join(path.to_string());
                stored.push((path.clone(), put(&*self.shared.disk, &path, &bytes)?));
            }
        }
        self.barrier(&stored)?;
        for (path, _) in std::mem::take(&mut self.unstored) {
            self.forget_partials(&path);
        }
        Ok(())
    }

    /// Makes every full tile again from the WAL and replaces those that are not so on the disk. Holds a frame and a tile
    /// of each level in memory, however long the logs are. Runs after the tree was found to be the signed one.
    fn mend_tiles(&self) -> Result<(), Error> {
        let (shared, fold) = (&*self.shared, &self.fold);
        let mut writers: Vec<TileWriter> = fold.origins.iter().map(|_| TileWriter::new()).collect();
        let mut reader = FrameReader::open(shared, 1)?;
        while (reader.segment, reader.place()) < (fold.segment, fold.offset)
            && let Some(frame) = reader.next(shared)?
        {
            let number = usize::from(frame.origin);
            let (Some(writer), Some(origin)) = (writers.get_mut(number), fold.origins.get(number)) else { continue };
            if frame.kind != FrameKind::Group {
                continue;
            }
            for row in Rows::decode(frame.body, frame.count).iter().flat_map(Rows::iter) {
                if !Entry::decode(row.entry)?.head().inner {
                    writer.push(row.entry)?;
                }
            }
            let dir = shared.config.log(&origin.origin);
            for (path, bytes) in writer.take_full() {
                mend(&*shared.disk, &dir.join(path.to_string()), &bytes)?;
            }
        }
        Ok(shared.disk.sync_all(&shared.config.dir.join("ledger"))?)
    }

    fn barrier(&self, stored: &[(PathBuf, Box<dyn DiskFile>)]) -> Result<(), Error> {
        if stored.len() > SYNCED_ONE_BY_ONE_MAX {
            if !cfg!(any(dihya_mutant = "fdatasync", dihya_mutant = "sync_dir")) {
                self.shared.disk.sync_all(&self.shared.config.dir.join("ledger"))?;
            }
            return Ok(());
        }
        let mut parents: Vec<&Path> = Vec::new();
        for (path, file) in stored {
            wal::sync(&**file)?;
            if !parents.contains(&path.parent().unwrap_or(path)) {
                parents.push(path.parent().unwrap_or(path));
                disk::sync_parent(&*self.shared.disk, path)?;
            }
        }
        Ok(())
    }

    /// Removes the partial tiles of the checkpoints before the one just signed: on a full disk each alert would leave some.
    fn forget_superseded(&self, number: usize) {
        let fold = &self.fold.origins[number];
        let dir = self.shared.config.log(&fold.origin);
        for (path, _) in fold.tiles.partials() {
            let path = dir.join(path.to_string());
            let (Some(parent), Some(in_force)) = (path.parent(), path.file_name()) else { continue };
            let listed = self.shared.disk.list(parent).unwrap_or_default();
            for entry in listed.into_iter().filter(|entry| entry.name.as_str() != in_force) {
                // As in `forget_partials`: what stays is harmless.
                if let Err(error) = self.shared.disk.remove(&parent.join(entry.name)) {
                    tracing::debug!(error = &error as &dyn std::error::Error, "could not remove a partial tile");
                }
            }
        }
    }

    /// Removes the partial forms of a full tile: every checkpoint to come needs the full one alone.
    fn forget_partials(&self, full: &Path) {
        let mut name = full.as_os_str().to_owned();
        name.push(".p");
        let dir = PathBuf::from(name);
        // Left-over partial tiles are harmless, so a failure here is none.
        for entry in self.shared.disk.list(&dir).unwrap_or_default() {
            if let Err(error) = self.shared.disk.remove(&dir.join(entry.name)) {
                tracing::debug!(error = &error as &dyn std::error::Error, "could not remove a partial tile");
            }
        }
    }

    /// Returns what a log signs with.
    pub(crate) fn keys(&self, number: usize) -> &Keys {
        &self.keys[number]
    }

    /// Lets a log sign with other keys from now on.
    pub(crate) fn set_keys(&mut self, number: usize, keys: Keys) {
        self.keys[number] = keys;
    }

    /// Signs the tree as it was read back, if the checkpoint in force is still the one last signed.
    pub(crate) fn sign(&self, number: usize) -> Result<(), Error> {
        let (fold, shared) = (&self.fold.origins[number], &self.shared.origins[number]);
        let contradiction = |why| Error::Contradiction { origin: fold.origin.clone(), why };
        if fold.tiles.size() != fold.tree.size() || fold.tiles.root() != fold.tree.root() {
            return Err(contradiction("its tiles and its tree differ"));
        }
        let path = self.shared.config.log(&fold.origin).join("checkpoint");
        let last = shared.signed();
        let found = match disk::read(&*self.shared.disk, &path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.is_missing() => None,
            Err(error) => return Err(error.into()),
        };
        if found.as_deref() != last.as_ref().map(|signed| signed.note.as_bytes()) {
            return Err(contradiction("its checkpoint was changed by somebody else"));
        }
        let checkpoint = Checkpoint { origin: fold.origin.clone(), size: fold.tree.size(), root: fold.tree.root() };
        let note = self.keys[number].signer.sign(&checkpoint, self.shared.now_ms() / 1_000);
        write_atomic(&*self.shared.disk, &path, note.as_bytes())?;
        if disk::read(&*self.shared.disk, &path)? != note.as_bytes() {
            return Err(contradiction("its checkpoint is not on the disk as it was signed"));
        }
        let signed = Signed { size: checkpoint.size, root: checkpoint.root, note };
        *shared.signed.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Arc::new(signed));
        Ok(())
    }

    /// Stores the state, so that a start need not read the WAL up to here. Every log is signed up to here by then.
    pub(crate) fn store_snapshot(&mut self, now: bool) -> Result<(), Error> {
        let every = (self.shared.config.segment_bytes / 4).max(1);
        let (segment, offset) = self.snapshot_at;
        let due = segment != self.fold.segment || self.fold.offset - offset >= every;
        let moved = (segment, offset) != (self.fold.segment, self.fold.offset);
        if due || (now && moved) {
            self.store_snapshot_now()?;
        }
        Ok(())
    }

    /// Stores the state unless some log is not signed up to here: a start trusts no tree that no checkpoint covers.
    /// Returns whether it did.
    fn store_snapshot_now(&mut self) -> Result<bool, Error> {
        if (0..self.fold.origins.len()).any(|number| self.is_due(number)) {
            return Ok(false);
        }
        let path = self.shared.config.wal().join("snapshot");
        write_atomic(&*self.shared.disk, &path, &self.fold.to_bytes())?;
        self.snapshot_at = (self.fold.segment, self.fold.offset);
        Ok(true)
    }

    /// Returns the records that the meta-log is to have now: one per tenant's log, changed or not.
    pub(crate) fn meta_records(&self) -> Vec<(own::Meta, String)> {
        let meta = self.shared.config.meta_origin();
        let logs = self.shared.origins.iter().zip(&self.keys).filter(|(origin, _)| origin.origin.as_str() != meta);
        logs.filter_map(|(origin, keys)| Some((own::Meta { log_id: keys.meta_id }, origin.signed()?.note.clone())))
            .collect()
    }

    /// Returns the next segment whose payloads are to be deleted, if one is due.
    pub(crate) fn retention_due(&mut self) -> Result<Option<Due>, Error> {
        let due = retain::next_due(&self.shared, self.fold.segment, &mut self.retained);
        let due = due.and_then(|due| match due {
            // The snapshot on the disk may be of a life before and stand in that segment, whose offsets will change.
            Some(due) => Ok(self.store_snapshot_now()?.then_some(due)),
            None => Ok(None),
        });
        due.map_err(|error| if error.is_full() { error } else { self.shared.stop(&error) })
    }

    /// Deletes the payloads of a segment, whose retention records are signed by now.
    pub(crate) fn strip(&self, due: &Due) -> Result<(), Error> {
        let stripped = retain::rewrite(&self.shared, due.segment);
        for (origin, record) in due.records() {
            self.shared.origins[origin].forget_below(record.until_position);
        }
        stripped.map_err(|error| if error.is_full() { error } else { self.shared.stop(&error) })
    }
}

/// Writes a tile: new, or in the place of one that no checkpoint covers yet, whose content is the same or torn. Whoever
/// reads beside us sees it whole or not at all; whether it is durable is the barrier's business.
fn put(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<Box<dyn DiskFile>, Error> {
    if let Some(parent) = path.parent()
        && !disk.exists(parent)
    {
        disk.create_dir_all(parent)?;
    }
    let mut making = path.as_os_str().to_owned();
    making.push(".tmp");
    let making = PathBuf::from(making);
    if disk.exists(&making) {
        disk.remove(&making)?;
    }
    let file = disk.open(&making, Open::CreateNew)?;
    file.write_at(bytes, 0)?;
    disk.rename(&making, path)?;
    Ok(file)
}

/// Replaces a tile that a checkpoint covers, if it is not what it must be: durable before it takes the place.
fn mend(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if disk.exists(path) && disk::read(disk, path)? == bytes {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        disk.create_dir_all(parent)?;
    }
    Ok(write_atomic(disk, path, bytes)?)
}

/// The tiles of one log in its directory.
pub(crate) struct DirTiles<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) dir: PathBuf,
}

impl ReadTile for DirTiles<'_> {
    type Error = Error;

    fn read_tile(&mut self, path: TilePath) -> Result<Vec<u8>, Error> {
        let full = self.dir.join(path.full().to_string());
        let partial = self.dir.join(path.to_string());
        let found = if self.disk.exists(&full) { full } else { partial };
        Ok(disk::read(self.disk, &found)?)
    }
}
