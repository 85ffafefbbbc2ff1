//! A disk made of memory that behaves as badly as real ones may, determined by a seed.
//!
//! What is written is *pending* until the file is synced; an entry of a directory is pending until the directory is
//! synced. A loss of power keeps what was synced and, of what was pending, any part: writes are torn at the block size,
//! entries come or go one by one. A failing sync loses what was pending but leaves it readable until the power goes, as
//! Linux does (Rebello et al., ATC 2020). After [`SimDisk::crash`] or [`SimDisk::kill`] the old handle is dead, so that
//! a forgotten writer cannot reach into the next life.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::SeededRng;

use crate::{DirEntry, Disk, DiskFile, Error, Open};

/// A simulated disk. Clones share the state.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    files: BTreeMap<u64, SimInode>,
    directories: BTreeMap<PathBuf, Directory>,
    locks: BTreeSet<PathBuf>,
    next_inode: u64,
    rng: SeededRng,
    faults: Faults,
    operations: u64,
    syncs: u64,
    bytes_read: u64,
    dead: bool,
}

#[derive(Clone, Debug)]
struct Faults {
    block_bytes: usize,
    capacity: Option<u64>,
    power_lost_at: Option<u64>,
    sync_fails_at: Option<u64>,
    write_flips_at: Option<u64>,
    read_flips_at: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct SimInode {
    /// What a reader sees: the page cache.
    current: Vec<u8>,
    /// What survives for certain.
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Extend(usize),
    Cut(usize),
}

#[derive(Clone, Debug, Default)]
struct Directory {
    current: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    pending: Vec<(String, Option<u64>, Option<String>)>,
}

fn apply(data: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { offset, bytes } => {
            let end = offset + bytes.len();
            if data.len() < end {
                data.resize(end, 0);
            }
            data[*offset..end].copy_from_slice(bytes);
        }
        Change::Extend(len) => {
            if data.len() < *len {
                data.resize(*len, 0);
            }
        }
        Change::Cut(len) => data.resize(*len, 0),
    }
}

impl SimInode {
    fn change(&mut self, change: Change) {
        apply(&mut self.current, &change);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            apply(&mut self.durable, &change);
        }
    }

    /// Keeps any part of what is pending, torn at the block size.
    fn tear(&mut self, rng: &SeededRng, block_bytes: usize) {
        // Mostly all, sometimes nothing, else a mixture: the corner cases are as likely as the middle.
        let keep = [0, 50, 95, 100][usize::try_from(rng.below(4)).unwrap_or(0)];
        for change in std::mem::take(&mut self.pending) {
            let Change::Write { offset, bytes } = &change else {
                if rng.below(100) < keep {
                    apply(&mut self.durable, &change);
                }
                continue;
            };
            let mut start = 0;
            while start < bytes.len() {
                let to_boundary = block_bytes - (offset + start) % block_bytes;
                let end = (start + to_boundary).min(bytes.len());
                if rng.below(100) < keep {
                    let part = Change::Write { offset: offset + start, bytes: bytes[start..end].to_vec() };
                    apply(&mut self.durable, &part);
                }
                start = end;
            }
        }
    }
}

impl Directory {
    fn change(&mut self, name: &str, inode: Option<u64>, gone: Option<&str>) {
        let change = (name.to_owned(), inode, gone.map(str::to_owned));
        Self::apply(&mut self.current, &change);
        self.pending.push(change);
    }

    fn apply(entries: &mut BTreeMap<String, u64>, (name, inode, gone): &(String, Option<u64>, Option<String>)) {
        match inode {
            Some(inode) => entries.insert(name.clone(), *inode),
            None => entries.remove(name),
        };
        if let Some(gone) = gone {
            entries.remove(gone);
        }
    }

    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            Self::apply(&mut self.durable, &change);
        }
    }

    fn tear(&mut self, rng: &SeededRng) {
        let keep = [0, 50, 95, 100][usize::try_from(rng.below(4)).unwrap_or(0)];
        for change in std::mem::take(&mut self.pending) {
            if rng.below(100) < keep {
                Self::apply(&mut self.durable, &change);
            }
        }
    }
}

fn split(path: &Path) -> (PathBuf, String) {
    let parent = path.parent().unwrap_or_else(|| Path::new("")).to_owned();
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    (parent, name)
}

fn fail<T>(doing: &'static str, path: &Path, kind: io::ErrorKind) -> Result<T, Error> {
    Err(Error { doing, path: path.to_owned(), source: kind.into() })
}

impl State {
    /// Counts an operation; after the power is lost every one fails.
    fn tick(&mut self, doing: &'static str, path: &Path) -> Result<(), Error> {
        self.operations += 1;
        if self.dead || self.faults.power_lost_at.is_some_and(|at| self.operations > at) {
            return fail(doing, path, io::ErrorKind::BrokenPipe);
        }
        Ok(())
    }

    /// Counts a sync and tells whether it fails.
    fn sync_fails(&mut self) -> bool {
        self.syncs += 1;
        self.faults.sync_fails_at == Some(self.syncs)
    }

    fn used_bytes(&self) -> u64 {
        let live: BTreeSet<u64> = self.directories.values().flat_map(|d| d.current.values().copied()).collect();
        live.iter().filter_map(|inode| self.files.get(inode)).map(|file| file.current.len() as u64).sum()
    }

    fn has_room(&self, more: u64) -> bool {
        self.faults.capacity.is_none_or(|capacity| self.used_bytes() + more <= capacity)
    }

    fn find(&self, path: &Path) -> Option<u64> {
        let (parent, name) = split(path);
        self.directories.get(&parent)?.current.get(&name).copied()
    }

    /// Forgets files that no entry names any more, so that long histories stay small.
    fn forget_unnamed(&mut self) {
        let named: BTreeSet<u64> =
            self.directories.values().flat_map(|d| d.current.values().chain(d.durable.values()).copied()).collect();
        self.files.retain(|inode, _| named.contains(inode));
    }

    fn next_life(&mut self, directories: BTreeMap<PathBuf, Directory>, files: BTreeMap<u64, SimInode>) -> SimDisk {
        self.dead = true;
        let faults = Faults {
            power_lost_at: None,
            sync_fails_at: None,
            write_flips_at: None,
            read_flips_at: None,
            ..self.faults.clone()
        };
        let mut state = Self {
            files,
            directories,
            locks: BTreeSet::new(),
            next_inode: self.next_inode,
            rng: SeededRng::new(self.rng.next_u64()),
            faults,
            operations: 0,
            syncs: 0,
            bytes_read: 0,
            dead: false,
        };
        state.forget_unnamed();
        SimDisk(Arc::new(Mutex::new(state)))
    }
}

impl SimDisk {
    /// Creates an empty disk whose misfortunes `seed` determines. Writes are torn at 512 bytes.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            files: BTreeMap::new(),
            directories: BTreeMap::from([(PathBuf::from("/"), Directory::default())]),
            locks: BTreeSet::new(),
            next_inode: 0,
            rng: SeededRng::new(seed),
            faults: Faults {
                block_bytes: 512,
                capacity: None,
                power_lost_at: None,
                sync_fails_at: None,
                write_flips_at: None,
                read_flips_at: None,
            },
            operations: 0,
            syncs: 0,
            bytes_read: 0,
            dead: false,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets at which multiple of bytes a write tears; at least 1.
    pub fn set_block_bytes(&self, bytes: usize) {
        self.state().faults.block_bytes = bytes.max(1);
    }

    /// Sets how many bytes all files may hold; `None` for no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().faults.capacity = bytes;
    }

    /// Lets every operation after the next `operations` fail, until the crash.
    pub fn lose_power_after(&self, operations: u64) {
        let mut state = self.state();
        state.faults.power_lost_at = Some(state.operations + operations);
    }

    /// Lets the sync after the next `syncs` fail and lose what it should have kept.
    pub fn fail_sync_after(&self, syncs: u64) {
        let mut state = self.state();
        state.faults.sync_fails_at = Some(state.syncs + syncs + 1);
    }

    /// Flips a bit of the write after the next `operations`.
    pub fn flip_write_after(&self, operations: u64) {
        let mut state = self.state();
        state.faults.write_flips_at = Some(state.operations + operations + 1);
    }

    /// Flips a bit of the read after the next `operations`; what is stored stays as it is.
    pub fn flip_read_after(&self, operations: u64) {
        let mut state = self.state();
        state.faults.read_flips_at = Some(state.operations + operations + 1);
    }

    /// Takes back every fault that was set for later.
    pub fn spare_faults(&self) {
        let faults = &mut self.state().faults;
        (faults.power_lost_at, faults.sync_fails_at) = (None, None);
        (faults.write_flips_at, faults.read_flips_at) = (None, None);
    }

    /// Flips a bit at rest. Nothing happens past the end of the file.
    pub fn flip(&self, path: &Path, offset: usize) {
        let mut state = self.state();
        let Some(inode) = state.find(path) else { return };
        let Some(file) = state.files.get_mut(&inode) else { return };
        for data in [&mut file.current, &mut file.durable] {
            if let Some(byte) = data.get_mut(offset) {
                *byte ^= 0x10;
            }
        }
    }

    /// Returns how many operations there were since the disk was made or crashed.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Returns how many syncs there were since the disk was made or crashed.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Returns how many bytes were read since the disk was made or crashed.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.state().bytes_read
    }

    /// Loses power: returns the disk that is found afterwards. This one is dead.
    #[must_use]
    pub fn crash(&self) -> Self {
        let mut state = self.state();
        let (mut directories, mut files) = (state.directories.clone(), std::mem::take(&mut state.files));
        let block_bytes = state.faults.block_bytes;
        for directory in directories.values_mut() {
            directory.tear(&state.rng);
            directory.current = directory.durable.clone();
        }
        for file in files.values_mut() {
            file.tear(&state.rng, block_bytes);
            file.current = file.durable.clone();
        }
        state.next_life(directories, files)
    }

    /// Kills the process: the page cache survives, also what a failed sync lost. This handle is dead.
    #[must_use]
    pub fn kill(&self) -> Self {
        let mut state = self.state();
        let (directories, files) = (state.directories.clone(), std::mem::take(&mut state.files));
        state.next_life(directories, files)
    }
}

struct SimFile {
    disk: SimDisk,
    inode: u64,
    path: PathBuf,
    how: Open,
}

impl SimFile {
    fn change(
        &self,
        doing: &'static str,
        change: impl FnOnce(&mut State, usize) -> Option<Change>,
    ) -> Result<(), Error> {
        let mut state = self.disk.state();
        state.tick(doing, &self.path)?;
        if self.how == Open::Read {
            return fail(doing, &self.path, io::ErrorKind::PermissionDenied);
        }
        let Some(len) = state.files.get(&self.inode).map(|file| file.current.len()) else { return Ok(()) };
        let Some(change) = change(&mut state, len) else { return Ok(()) };
        let end = match &change {
            Change::Write { offset, bytes } => offset + bytes.len(),
            Change::Extend(end) | Change::Cut(end) => *end,
        };
        if end > len && !state.has_room((end - len) as u64) {
            return fail(doing, &self.path, io::ErrorKind::StorageFull);
        }
        if let Some(file) = state.files.get_mut(&self.inode) {
            file.change(change);
        }
        Ok(())
    }
}

fn to_usize(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl DiskFile for SimFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<usize, Error> {
        let mut state = self.disk.state();
        state.tick("read", &self.path)?;
        let flip = state.faults.read_flips_at == Some(state.operations);
        let Some(file) = state.files.get(&self.inode) else { return Ok(0) };
        let rest = file.current.get(to_usize(offset)..).unwrap_or_default();
        let got = rest.len().min(bytes.len());
        bytes[..got].copy_from_slice(&rest[..got]);
        state.bytes_read += got as u64;
        if flip && got > 0 {
            let at = to_usize(state.rng.below(got as u64));
            bytes[at] ^= 1;
        }
        Ok(got)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        self.change("write", |state, end| {
            let offset = if self.how == Open::Append { end } else { to_usize(offset) };
            let mut bytes = bytes.to_vec();
            if state.faults.write_flips_at == Some(state.operations) && !bytes.is_empty() {
                let at = to_usize(state.rng.below(bytes.len() as u64));
                bytes[at] ^= 1;
            }
            Some(Change::Write { offset, bytes })
        })
    }

    fn len(&self) -> Result<u64, Error> {
        let mut state = self.disk.state();
        state.tick("measure", &self.path)?;
        Ok(state.files.get(&self.inode).map_or(0, |file| file.current.len() as u64))
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        self.change("resize", |_, _| Some(Change::Cut(to_usize(len))))
    }

    fn allocate(&self, len: u64) -> Result<(), Error> {
        self.change("reserve space in", |_, now| (to_usize(len) > now).then(|| Change::Extend(to_usize(len))))
    }

    fn next_data(&self, offset: u64) -> Result<Option<u64>, Error> {
        let mut state = self.disk.state();
        state.tick("read", &self.path)?;
        let block_bytes = state.faults.block_bytes;
        let Some(file) = state.files.get(&self.inode) else { return Ok(None) };
        // As coarse as a real one: only whole blocks of zeros are passed over.
        let rest = file.current.get(to_usize(offset)..).unwrap_or_default();
        let zeros = rest.chunks(block_bytes).take_while(|block| block.iter().all(|b| *b == 0)).map(<[u8]>::len);
        let at = zeros.sum::<usize>();
        Ok((at < rest.len()).then(|| offset + at as u64))
    }

    fn sync_data(&self) -> Result<(), Error> {
        let mut state = self.disk.state();
        state.tick("sync", &self.path)?;
        let (fails, block_bytes) = (state.sync_fails(), state.faults.block_bytes);
        let State { files, rng, .. } = &mut *state;
        let Some(file) = files.get_mut(&self.inode) else { return Ok(()) };
        if fails {
            file.tear(rng, block_bytes);
            return fail("sync", &self.path, io::ErrorKind::Other);
        }
        file.sync();
        Ok(())
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, how: Open) -> Result<Box<dyn DiskFile>, Error> {
        let mut state = self.state();
        state.tick("open", path)?;
        let (parent, name) = split(path);
        let inode = match (state.find(path), how) {
            (Some(_), Open::CreateNew) => return fail("open", path, io::ErrorKind::AlreadyExists),
            (Some(inode), _) => inode,
            (None, Open::CreateNew | Open::Append) if state.directories.contains_key(&parent) => {
                state.next_inode += 1;
                let inode = state.next_inode;
                state.files.insert(inode, SimInode::default());
                if let Some(directory) = state.directories.get_mut(&parent) {
                    directory.change(&name, Some(inode), None);
                }
                inode
            }
            _ => return fail("open", path, io::ErrorKind::NotFound),
        };
        Ok(Box::new(SimFile { disk: self.clone(), inode, path: path.to_owned(), how }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        let mut state = self.state();
        state.tick("rename", from)?;
        let ((parent, name), (to_parent, to_name)) = (split(from), split(to));
        let Some(inode) = state.find(from) else { return fail("rename", from, io::ErrorKind::NotFound) };
        if parent == to_parent {
            if let Some(directory) = state.directories.get_mut(&parent) {
                directory.change(&to_name, Some(inode), Some(&name));
            }
            return Ok(());
        }
        let Some(target) = state.directories.get_mut(&to_parent) else {
            return fail("rename", to, io::ErrorKind::NotFound);
        };
        target.change(&to_name, Some(inode), None);
        if let Some(directory) = state.directories.get_mut(&parent) {
            directory.change(&name, None, None);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        let mut state = self.state();
        state.tick("remove", path)?;
        let (parent, name) = split(path);
        if state.find(path).is_none() {
            return fail("remove", path, io::ErrorKind::NotFound);
        }
        if let Some(directory) = state.directories.get_mut(&parent) {
            directory.change(&name, None, None);
        }
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> Result<(), Error> {
        let mut state = self.state();
        state.tick("create", path)?;
        if state.find(path).is_some() {
            return fail("create", path, io::ErrorKind::AlreadyExists);
        }
        for ancestor in path.ancestors() {
            state.directories.entry(ancestor.to_owned()).or_default();
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> Result<(), Error> {
        let mut state = self.state();
        state.tick("sync", path)?;
        let fails = state.sync_fails();
        let State { directories, rng, .. } = &mut *state;
        let Some(directory) = directories.get_mut(path) else { return fail("sync", path, io::ErrorKind::NotFound) };
        if fails {
            directory.tear(rng);
            return fail("sync", path, io::ErrorKind::Other);
        }
        directory.sync();
        Ok(())
    }

    fn sync_all(&self, root: &Path) -> Result<(), Error> {
        let mut state = self.state();
        state.tick("sync", root)?;
        let (fails, block_bytes) = (state.sync_fails(), state.faults.block_bytes);
        let State { directories, files, rng, .. } = &mut *state;
        for (_, directory) in directories.iter_mut().filter(|(path, _)| path.starts_with(root)) {
            for inode in directory.current.values() {
                let Some(file) = files.get_mut(inode) else { continue };
                if fails { file.tear(rng, block_bytes) } else { file.sync() }
            }
            if fails { directory.tear(rng) } else { directory.sync() }
        }
        if fails { fail("sync", root, io::ErrorKind::Other) } else { Ok(()) }
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>, Error> {
        let mut state = self.state();
        state.tick("list", path)?;
        let Some(directory) = state.directories.get(path) else { return fail("list", path, io::ErrorKind::NotFound) };
        let len = |inode: &u64| state.files.get(inode).map_or(0, |file| file.current.len() as u64);
        let files = directory.current.iter();
        let mut entries: Vec<_> =
            files.map(|(name, inode)| DirEntry { name: name.clone(), is_dir: false, len: len(inode) }).collect();
        let below = state.directories.keys().filter(|other| other.parent() == Some(path));
        entries.extend(below.map(|other| DirEntry { name: split(other).1, is_dir: true, len: 0 }));
        entries.sort();
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> bool {
        let state = self.state();
        !state.dead && (state.directories.contains_key(path) || state.find(path).is_some())
    }

    fn free_bytes(&self, path: &Path) -> Result<u64, Error> {
        let mut state = self.state();
        state.tick("measure", path)?;
        Ok(state.faults.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used_bytes())))
    }

    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn Send + Sync>>, Error> {
        struct Held(SimDisk, PathBuf);
        impl Drop for Held {
            fn drop(&mut self) {
                self.0.state().locks.remove(&self.1);
            }
        }
        let mut state = self.state();
        state.tick("lock", path)?;
        let free = state.locks.insert(path.to_owned());
        Ok(free.then(|| Box::new(Held(self.clone(), path.to_owned())) as Box<dyn Send + Sync>))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OsDisk, read, write_atomic};

    const ROOT: &str = "/d";

    fn disk(seed: u64) -> SimDisk {
        let disk = SimDisk::new(seed);
        disk.create_dir_all(Path::new(ROOT)).expect("creates");
        disk
    }

    fn path(name: &str) -> PathBuf {
        Path::new(ROOT).join(name)
    }

    fn file(disk: &SimDisk, name: &str, bytes: &[u8]) -> Box<dyn DiskFile> {
        let file = disk.open(&path(name), Open::CreateNew).expect("creates");
        file.write_at(bytes, 0).expect("writes");
        file
    }

    #[test]
    fn what_was_synced_survives_and_what_was_not_may_go() {
        let (mut entries_lost, mut bytes_torn, mut whole) = (0, 0, 0);
        for seed in 0..200 {
            let disk = disk(seed);
            let a = file(&disk, "a", &[1; 2_000]);
            a.sync_data().expect("syncs");
            disk.sync_dir(Path::new(ROOT)).expect("syncs");
            a.write_at(&[2; 2_000], 0).expect("writes");
            file(&disk, "b", b"b").sync_data().expect("syncs");
            let after = disk.crash();
            assert!(disk.open(&path("a"), Open::Read).is_err(), "the old handle is dead");
            let got = read(&after, &path("a")).expect("its entry and bytes were synced");
            assert_eq!(got.len(), 2_000);
            assert!(got.chunks(512).all(|block| block.iter().all(|b| *b == block[0])), "torn inside a block");
            whole += usize::from(got == [2; 2_000]);
            bytes_torn += usize::from(got.contains(&1) && got.contains(&2));
            entries_lost += usize::from(!after.exists(&path("b")));
        }
        assert!(entries_lost > 20 && bytes_torn > 20 && whole > 20, "{entries_lost} {bytes_torn} {whole}");
    }

    #[test]
    fn an_atomic_write_is_old_or_new_at_every_point() {
        for operations in 0..12 {
            for seed in 0..40 {
                let disk = disk(seed);
                write_atomic(&disk, &path("f"), b"old").expect("writes");
                disk.lose_power_after(operations);
                let done = write_atomic(&disk, &path("f"), b"newer").is_ok();
                let got = read(&disk.crash(), &path("f")).expect("there");
                assert!(got == b"newer" || (got == b"old" && !done), "{operations} {seed} {got:?}");
            }
        }
    }

    #[test]
    fn a_failed_sync_loses_silently_afterwards() {
        let mut lost = 0;
        for seed in 0..50 {
            let disk = disk(seed);
            let a = file(&disk, "a", b"kept");
            disk.sync_all(Path::new(ROOT)).expect("syncs");
            a.write_at(b"lost", 0).expect("writes");
            disk.fail_sync_after(0);
            assert_eq!(a.sync_data().expect_err("fails").doing, "sync");
            a.sync_data().expect("a second one claims success");
            let killed = disk.kill();
            assert_eq!(read(&killed, &path("a")).expect("reads"), b"lost", "the page cache still shows it");
            lost += usize::from(read(&killed.crash(), &path("a")).expect("reads") == b"kept");
        }
        assert!(lost > 10, "{lost}");
        for (fails_dir, root) in [(true, Path::new(ROOT)), (false, Path::new("/"))] {
            let disk = disk(1);
            file(&disk, "a", b"x");
            disk.fail_sync_after(0);
            assert!(if fails_dir { disk.sync_dir(root) } else { disk.sync_all(root) }.is_err());
            assert_eq!(disk.syncs(), 1);
        }
    }

    #[test]
    fn a_full_disk_refuses_to_grow() {
        let disk = disk(1);
        disk.set_capacity(Some(100));
        let a = file(&disk, "a", &[0; 60]);
        assert!(a.write_at(&[0; 50], 60).expect_err("full").is_full());
        assert!(a.allocate(101).expect_err("full").is_full());
        a.write_at(&[1; 60], 0).expect("in place");
        a.allocate(10).expect("already longer");
        assert_eq!(disk.free_bytes(Path::new(ROOT)).expect("measures"), 40);
        disk.remove(&path("a")).expect("removes");
        assert_eq!(disk.free_bytes(Path::new(ROOT)).expect("measures"), 100);
        disk.set_capacity(None);
        assert_eq!(disk.free_bytes(Path::new(ROOT)).expect("measures"), u64::MAX);
    }

    #[test]
    fn bits_flip_on_write_on_read_and_at_rest() {
        let disk = disk(1);
        disk.flip_write_after(1);
        file(&disk, "a", &[0; 64]);
        let ones = |bytes: &[u8]| bytes.iter().map(|b| b.count_ones()).sum::<u32>();
        assert_eq!(ones(&read(&disk, &path("a")).expect("reads")), 1);
        disk.flip(&path("a"), 3);
        disk.flip(&path("a"), 64);
        disk.flip(&path("none"), 0);
        assert_eq!(ones(&read(&disk, &path("a")).expect("reads")), 2);
        disk.flip_read_after(2);
        assert_ne!(ones(&read(&disk, &path("a")).expect("reads")), 2);
        assert_eq!(ones(&read(&disk, &path("a")).expect("reads")), 2);
        assert!(disk.operations() > 0);
        disk.set_block_bytes(0);
    }

    #[test]
    fn power_is_lost_and_locks_are_free_after_it() {
        let disk = disk(1);
        let held = disk.try_lock(&path("LOCK")).expect("locks").expect("free");
        assert!(disk.try_lock(&path("LOCK")).expect("asks").is_none());
        drop(held);
        let _held = disk.try_lock(&path("LOCK")).expect("locks").expect("free again");
        disk.lose_power_after(0);
        assert!(disk.sync_dir(Path::new(ROOT)).is_err());
        assert!(disk.crash().try_lock(&path("LOCK")).expect("locks").is_some());
    }

    #[test]
    fn what_is_not_there_is_missing() {
        let disk = disk(1);
        assert!(disk.open(&path("x"), Open::Read).err().is_some_and(|e| e.is_missing()));
        assert!(disk.remove(&path("x")).expect_err("missing").is_missing());
        assert!(disk.rename(&path("x"), &path("y")).expect_err("missing").is_missing());
        assert!(disk.list(&path("x")).expect_err("missing").is_missing());
        assert!(disk.sync_dir(&path("x")).expect_err("missing").is_missing());
        let a = file(&disk, "a", b"a");
        assert!(disk.rename(&path("a"), Path::new("/none/a")).expect_err("missing").is_missing());
        assert!(disk.create_dir_all(&path("a")).is_err());
        assert!(disk.open(&path("a"), Open::CreateNew).is_err());
        assert!(disk.open(&path("a"), Open::Read).expect("opens").write_at(b"x", 0).is_err());
        disk.remove(&path("a")).expect("removes");
        a.set_len(0).expect("an open file outlives its name");
    }

    #[test]
    fn it_behaves_like_the_real_one_while_nothing_fails() {
        let temporary = tempfile::tempdir().expect("temp dir");
        for seed in 0..30 {
            let rng = SeededRng::new(seed);
            let real_root = temporary.path().join(format!("{seed}"));
            let sim = SimDisk::new(seed);
            let disks: [(&dyn Disk, &Path); 2] = [(&OsDisk, &real_root), (&sim, Path::new(ROOT))];
            for (disk, root) in disks {
                disk.create_dir_all(&root.join("sub")).expect("creates");
            }
            for _ in 0..60 {
                let (act, a, b) = (rng.below(8), rng.below(3), rng.below(3));
                let (offset, len) = (rng.below(3_000), rng.below(2_000));
                let [real, simulated] = disks.map(|(disk, root)| {
                    let from = root.join(format!("f{a}"));
                    let to = if b == 2 { root.join("sub/g") } else { root.join(format!("f{b}")) };
                    let opened = |how| disk.open(&from, how);
                    let done = match act {
                        0 => opened(Open::CreateNew).map(drop),
                        1 => opened(Open::Write).and_then(|f| f.write_at(&vec![7; to_usize(len)], offset)),
                        2 => opened(Open::Write).and_then(|f| f.set_len(len)),
                        3 => opened(Open::Write).and_then(|f| f.allocate(len + 1)),
                        4 if from != to => disk.rename(&from, &to),
                        5 => disk.remove(&from),
                        6 => opened(Open::Append).and_then(|f| f.write_at(&vec![8; to_usize(len)], offset)),
                        _ => opened(Open::Read).and_then(|f| f.sync_data()),
                    };
                    let listed = disk.list(root).expect("lists");
                    let contents: Vec<_> = listed.iter().filter_map(|e| read(disk, &root.join(&e.name)).ok()).collect();
                    (done.map_err(|error| error.source.kind()), listed, contents)
                });
                assert_eq!(real, simulated, "seed {seed} act {act}");
            }
        }
    }
}
