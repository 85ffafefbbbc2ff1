//! Durable file IO: the one place that creates, renames and syncs files.
//!
//! The wall is trust: durability is promised here and nowhere else. Everything above takes a [`Disk`], so a test can
//! hand it one that crashes, tears writes, fails a sync or fills up.

mod os;
mod reserve;
mod rotating;
pub mod sim;

use std::io;
use std::path::{Path, PathBuf};

pub use os::{OsClock, OsDisk, OsRng, give_way};
pub use reserve::Reserve;
pub use rotating::Rotating;
pub use sim::SimDisk;

/// Why a file operation did not happen.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing} {path}", path = path.display())]
pub struct Error {
    /// What was tried, as a verb: `open`, `write`, `sync`, `rename` ...
    pub doing: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl Error {
    /// Tells whether the disk, or the quota, is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Tells whether the file or directory is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// For reading; it must be there.
    Read,
    /// For reading and writing; it must be there.
    Write,
    /// For reading and writing; it must not be there. The entry is durable only after `sync_dir` of its directory.
    CreateNew,
    /// For reading and writing at the end, wherever that is by then: other processes may append as well, and none
    /// overwrites another. Made if it is not there; the entry is durable only after `sync_dir` of its directory.
    Append,
}

/// What a directory lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The last part of the path.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Its length in bytes; 0 for a directory.
    pub len: u64,
}

/// A file that is open. Positions are explicit, so that readers and a writer share no cursor.
#[expect(clippy::len_without_is_empty, reason = "nothing asks whether a file is empty, and asking can fail")]
pub trait DiskFile: Send + Sync {
    /// Reads into `bytes` from `offset` and returns how many bytes were there: fewer only at the end of the file.
    ///
    /// # Errors
    /// When the device does not give them.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<usize, Error>;

    /// Writes all of `bytes` at `offset`, or at the end if the file was opened with [`Open::Append`]. Durable only
    /// after a sync.
    ///
    /// # Errors
    /// When the device does not take them; some of them may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Error>;

    /// Returns the length in bytes.
    ///
    /// # Errors
    /// When the file's metadata cannot be read.
    fn len(&self) -> Result<u64, Error>;

    /// Cuts or extends the file with zeros.
    ///
    /// # Errors
    /// When the device refuses.
    fn set_len(&self, len: u64) -> Result<(), Error>;

    /// Reserves space up to `len` and extends the file to it with zeros, so that later writes meet neither a full disk
    /// nor a growing file. A shorter `len` than the file's changes nothing.
    ///
    /// # Errors
    /// When there is no space.
    fn allocate(&self, len: u64) -> Result<(), Error>;

    /// Returns the first offset from `offset` on where something other than zeros may stand; `None` when only zeros
    /// follow. What was reserved and never written need not be read then.
    ///
    /// # Errors
    /// When the device does not say.
    fn next_data(&self, offset: u64) -> Result<Option<u64>, Error> {
        Ok((offset < self.len()?).then_some(offset))
    }

    /// Says that durable bytes will not be read soon: the copies that the system keeps in memory may go. Changes nothing
    /// else, so a refusal is none.
    fn forget_copies(&self, _start: u64, _end: u64) {}

    /// Makes written data durable (`fdatasync`). After an error nothing about the unsynced data is known: the file
    /// must not be used again (invariant D-2).
    ///
    /// # Errors
    /// When the device did not confirm.
    fn sync_data(&self) -> Result<(), Error>;
}

/// A file system. Paths are used as they are given.
pub trait Disk: Send + Sync {
    /// Opens a file.
    ///
    /// # Errors
    /// When it is missing, there already, or not permitted.
    fn open(&self, path: &Path, how: Open) -> Result<Box<dyn DiskFile>, Error>;

    /// Renames a file, replacing what is there. Durable only after `sync_dir`.
    ///
    /// # Errors
    /// When the file is missing or not permitted.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error>;

    /// Removes a file. Durable only after `sync_dir`.
    ///
    /// # Errors
    /// When it is missing or not permitted.
    fn remove(&self, path: &Path) -> Result<(), Error>;

    /// Creates a directory and those above it, each entry durable on return. Mode 0700 where that means something.
    ///
    /// # Errors
    /// When it is not permitted.
    fn create_dir_all(&self, path: &Path) -> Result<(), Error>;

    /// Makes the entries of a directory durable.
    ///
    /// # Errors
    /// When the device did not confirm.
    fn sync_dir(&self, path: &Path) -> Result<(), Error>;

    /// Makes everything under `root` durable, data and entries, in one barrier (`syncfs`): for many small files at
    /// once. After an error nothing about what was not durable before is known.
    ///
    /// # Errors
    /// When the device did not confirm.
    fn sync_all(&self, root: &Path) -> Result<(), Error>;

    /// Lists a directory in ascending order of name.
    ///
    /// # Errors
    /// When it is missing or not permitted.
    fn list(&self, path: &Path) -> Result<Vec<DirEntry>, Error>;

    /// Tells whether something is there.
    fn exists(&self, path: &Path) -> bool;

    /// Returns how many bytes can still be written under `path`.
    ///
    /// # Errors
    /// When the file system does not say.
    fn free_bytes(&self, path: &Path) -> Result<u64, Error>;

    /// Takes the lock file at `path` for this process, or returns `None` if another process holds it. The lock goes
    /// with the value.
    ///
    /// # Errors
    /// When the file cannot be made.
    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn Send + Sync>>, Error>;
}

/// Reads a whole file.
///
/// # Errors
/// When it is missing or the device does not give it.
pub fn read(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, Error> {
    let file = disk.open(path, Open::Read)?;
    let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len];
    let got = file.read_at(&mut bytes, 0)?;
    bytes.truncate(got);
    Ok(bytes)
}

/// Writes a file so that after a crash either all of `bytes` or what was there before is found: a temporary file beside
/// it, synced, renamed over it, the directory synced. Durable on return (invariant D-1).
///
/// # Errors
/// When a step fails; then the old content is still there, or the new one without a promise.
pub fn write_atomic(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = path.with_extension("tmp");
    if disk.exists(&temporary) {
        disk.remove(&temporary)?;
    }
    let file = disk.open(&temporary, Open::CreateNew)?;
    file.write_at(bytes, 0)?;
    #[cfg(not(dihya_mutant = "fdatasync"))]
    file.sync_data()?;
    drop(file);
    disk.rename(&temporary, path)?;
    sync_parent(disk, path)
}

/// Makes the entry of `path` in its directory durable.
///
/// # Errors
/// When the device did not confirm.
pub fn sync_parent(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    if cfg!(dihya_mutant = "sync_dir") {
        return Ok(());
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => disk.sync_dir(parent),
        _ => disk.sync_dir(Path::new(".")),
    }
}
