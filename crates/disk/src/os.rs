//! The real disk, clock and source of randomness: the privileges of the whole product in one file.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use model::{Clock, Rng, Timestamp};
use rustix::fs::FallocateFlags;

use crate::{DirEntry, Disk, DiskFile, Error, Open};

/// How far a thread that gives way steps back: at 5 it has a third of the time of each thread beside it, and is never stopped.
const GIVING_WAY: i32 = 5;

/// The file system of the machine. Files are made with mode 0600 and directories with 0700: a ledger holds what others
/// on the machine may not read.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

fn fail<T>(doing: &'static str, path: &Path, result: io::Result<T>) -> Result<T, Error> {
    result.map_err(|source| Error { doing, path: path.to_owned(), source })
}

struct OsFile {
    file: File,
    path: PathBuf,
    appends: bool,
}

impl DiskFile for OsFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<usize, Error> {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(got) => done += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return fail("read", &self.path, Err(error)),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        // Linux appends with `pwrite` to such a file as well, others do not.
        let written = if self.appends { (&self.file).write_all(bytes) } else { self.file.write_all_at(bytes, offset) };
        fail("write", &self.path, written)
    }

    fn len(&self) -> Result<u64, Error> {
        fail("measure", &self.path, self.file.metadata().map(|metadata| metadata.len()))
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        fail("resize", &self.path, self.file.set_len(len))
    }

    fn allocate(&self, len: u64) -> Result<(), Error> {
        if len == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len) {
            // Some file systems (tmpfs of old kernels, NFS) cannot reserve; a longer file is the next best.
            Err(rustix::io::Errno::OPNOTSUPP) if self.len()? < len => self.set_len(len),
            result => fail("reserve space in", &self.path, result.map_err(io::Error::from)),
        }
    }

    fn next_data(&self, offset: u64) -> Result<Option<u64>, Error> {
        use rustix::io::Errno;
        match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(offset)) {
            Ok(found) => Ok(Some(found)),
            // Nothing but a hole follows, or the end.
            Err(Errno::NXIO) => Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok((offset < self.len()?).then_some(offset)),
            Err(error) => fail("read", &self.path, Err(error.into())),
        }
    }

    fn forget_copies(&self, start: u64, end: u64) {
        if let Some(len) = std::num::NonZeroU64::new(end.saturating_sub(start)) {
            let _ = rustix::fs::fadvise(&self.file, start, Some(len), rustix::fs::Advice::DontNeed);
        }
    }

    fn sync_data(&self) -> Result<(), Error> {
        fail("sync", &self.path, self.file.sync_data())
    }
}

impl Disk for OsDisk {
    fn open(&self, path: &Path, how: Open) -> Result<Box<dyn DiskFile>, Error> {
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600);
        match how {
            Open::Read => {}
            Open::Write => {
                options.write(true);
            }
            Open::CreateNew => {
                options.write(true).create_new(true);
            }
            Open::Append => {
                options.append(true).create(true);
            }
        }
        let file = fail("open", path, options.open(path))?;
        Ok(Box::new(OsFile { file, path: path.to_owned(), appends: how == Open::Append }))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the crate that renames")]
    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        fail("rename", from, std::fs::rename(from, to))
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        fail("remove", path, std::fs::remove_file(path))
    }

    fn create_dir_all(&self, path: &Path) -> Result<(), Error> {
        if path.as_os_str().is_empty() || path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.create_dir_all(parent)?;
        }
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            result => fail("create", path, result)?,
        }
        crate::sync_parent(self, path)
    }

    fn sync_dir(&self, path: &Path) -> Result<(), Error> {
        fail("sync", path, File::open(path).and_then(|directory| directory.sync_all()))
    }

    fn sync_all(&self, root: &Path) -> Result<(), Error> {
        let directory = fail("open", root, File::open(root))?;
        fail("sync", root, rustix::fs::syncfs(&directory).map_err(io::Error::from))
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>, Error> {
        let mut entries = Vec::new();
        for entry in fail("list", path, std::fs::read_dir(path))? {
            let entry = fail("list", path, entry)?;
            let metadata = match entry.metadata() {
                // It went while the directory was read, as segments and files on their way to their name do.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => fail("measure", path, metadata)?,
            };
            let len = if metadata.is_dir() { 0 } else { metadata.len() };
            // A name that is not UTF-8 is none of ours: nothing here makes one.
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(DirEntry { name, is_dir: metadata.is_dir(), len });
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn free_bytes(&self, path: &Path) -> Result<u64, Error> {
        let stat = fail("measure", path, rustix::fs::statvfs(path).map_err(io::Error::from))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn Send + Sync>>, Error> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = fail("open", path, options.open(path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => fail("lock", path, Err(error)),
        }
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct OsClock {
    start: Instant,
}

impl Default for OsClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one real clock")]
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for OsClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one real clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// The operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRng;

impl Rng for OsRng {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("invariant: the operating system gives randomness or nothing may go on");
    }
}

/// Lets threads that somebody waits for run before this one where the machine has not enough processors for all. Only a
/// matter of speed: what the system does not allow is left.
pub fn give_way() {
    // On Linux a thread's own, whatever the name says.
    if rustix::process::getpriority_process(None).is_ok_and(|nice| nice < GIVING_WAY) {
        let _ = rustix::process::setpriority_process(None, GIVING_WAY);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::{read, write_atomic};

    /// A segment that is deleted while the directory is listed is none of the directory's failings.
    #[test]
    fn what_goes_while_a_directory_is_listed_is_not_in_it() {
        let dir = tempfile::tempdir().expect("temp dir");
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    for n in 0..50 {
                        OsDisk.open(&dir.path().join(format!("{n}.tmp")), Open::CreateNew).expect("makes");
                    }
                    (0..50).for_each(|n| OsDisk.remove(&dir.path().join(format!("{n}.tmp"))).expect("removes"));
                }
            });
            let failed = (0..2_000).find_map(|_| OsDisk.list(dir.path()).err());
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(failed.is_none(), "{failed:?}");
        });
    }

    #[test]
    fn files_are_written_atomically_and_for_the_owner_alone() {
        let dir = tempfile::tempdir().expect("temp dir");
        let inner = dir.path().join("a/b");
        OsDisk.create_dir_all(&inner).expect("creates");
        OsDisk.create_dir_all(&inner).expect("again");
        let path = inner.join("checkpoint");
        write_atomic(&OsDisk, &inner.join("checkpoint.tmp"), b"left over").expect("writes");
        for text in [&b"one"[..], b"two and more"] {
            write_atomic(&OsDisk, &path, text).expect("writes");
            assert_eq!(read(&OsDisk, &path).expect("reads"), text);
        }
        let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&inner), mode(&path)), (0o700, 0o600));
        OsDisk.sync_all(dir.path()).expect("syncs");
        let names: Vec<_> =
            OsDisk.list(&inner).expect("lists").into_iter().map(|e| (e.name, e.is_dir, e.len)).collect();
        assert_eq!(names, [("checkpoint".to_owned(), false, 12)]);
        assert!(OsDisk.list(dir.path()).expect("lists")[0].is_dir);
        OsDisk.remove(&path).expect("removes");
        assert!(!OsDisk.exists(&path));
        assert!(OsDisk.free_bytes(dir.path()).expect("measures") > 0);
    }

    #[test]
    fn a_file_is_reserved_extended_and_cut() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("f");
        let file = OsDisk.open(&path, Open::CreateNew).expect("creates");
        file.allocate(0).expect("nothing to do");
        file.allocate(10_000).expect("reserves");
        file.write_at(b"abc", 5_000).expect("writes");
        file.sync_data().expect("syncs");
        let found = file.next_data(5_003).expect("seeks");
        assert!(found.is_none_or(|at| at >= 5_003), "{found:?}");
        assert!(file.next_data(0).expect("seeks").is_some_and(|at| at <= 5_000), "what was written is found");
        assert_eq!(file.next_data(10_000).expect("seeks"), None);
        let mut bytes = [1; 6];
        assert_eq!(file.read_at(&mut bytes, 4_998).expect("reads"), 6);
        assert_eq!(&bytes, b"\0\0abc\0");
        assert_eq!(file.len().expect("measures"), 10_000);
        file.set_len(5_001).expect("cuts");
        assert_eq!(file.read_at(&mut bytes, 4_999).expect("reads"), 2);
        let file = OsDisk.open(&path, Open::Write).expect("opens");
        assert_eq!(file.len().expect("measures"), 5_001);
    }

    #[test]
    fn errors_name_the_act_and_the_path() {
        let missing = Path::new("/nonexistent/x");
        let errors = [
            OsDisk.open(missing, Open::Read).err(),
            OsDisk.rename(missing, missing).err(),
            OsDisk.remove(missing).err(),
            OsDisk.sync_dir(missing).err(),
            OsDisk.sync_all(missing).err(),
            OsDisk.list(missing).err(),
            OsDisk.free_bytes(missing).err(),
            OsDisk.try_lock(missing).err(),
        ];
        for error in errors {
            let error = error.expect("missing");
            assert!(error.is_missing() && !error.is_full(), "{error}");
            assert!(error.to_string().starts_with("could not "), "{error}");
        }
        let dir = tempfile::tempdir().expect("temp dir");
        write_atomic(&OsDisk, &dir.path().join("f"), b"x").expect("writes");
        assert!(OsDisk.create_dir_all(&dir.path().join("f/g")).is_err(), "a file is no directory");
        let read_only = OsDisk.open(&dir.path().join("f"), Open::Read).expect("opens");
        assert_eq!(read_only.write_at(b"y", 0).expect_err("read only").doing, "write");
        assert_eq!(read_only.set_len(0).expect_err("read only").doing, "resize");
        assert_eq!(read_only.allocate(1).expect_err("read only").doing, "reserve space in");
    }

    #[test]
    fn one_process_holds_the_lock() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("LOCK");
        let held = OsDisk.try_lock(&path).expect("locks");
        assert!(held.is_some());
        assert!(OsDisk.try_lock(&path).expect("asks").is_none());
        drop(held);
        assert!(OsDisk.try_lock(&path).expect("locks").is_some());
    }

    #[test]
    fn clock_and_randomness_are_real() {
        let clock = OsClock::default();
        assert!(clock.now() > Timestamp::from_second(1_700_000_000).expect("in range"));
        assert!(clock.monotonic() <= clock.monotonic());
        let (mut a, mut b) = ([0; 32], [0; 32]);
        OsRng.fill(&mut a);
        OsRng.fill(&mut b);
        assert_ne!(a, b);
    }

    #[test]
    fn giving_way_is_a_matter_of_the_thread_alone() {
        let nice = || rustix::process::getpriority_process(None).expect("is there");
        let before = nice();
        let theirs = std::thread::spawn(move || {
            give_way();
            nice()
        });
        assert_eq!(theirs.join().expect("ends"), before.max(GIVING_WAY));
        assert_eq!(nice(), before);
    }
}
