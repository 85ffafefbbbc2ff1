//! Lines in a file that others read while it grows: synced, put aside when it is full, shared between processes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Disk, DiskFile, Error, Open};

/// A file that is put aside when it is full.
///
/// It is opened for each write: a command may append beside the server, and whoever moves the file away (logrotate, an
/// operator) finds the next line in a new one. Beside the sync that costs nothing.
pub struct Rotating {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    size_max: u64,
    count: u32,
    /// One write at a time, so that each sees how the one before ended.
    turn: Mutex<()>,
}

impl Rotating {
    /// Names a file that is put aside once it would exceed `size_max` bytes; `count` of those are kept. Opens nothing yet.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf, size_max: u64, count: u32) -> Self {
        Self { disk, path, size_max, count, turn: Mutex::new(()) }
    }

    /// Appends whole lines and syncs them. After an error the file is opened anew: what an unconfirmed sync left behind
    /// is unknown (invariant D-2).
    ///
    /// # Errors
    /// When a step fails; some of the lines may be in the file then.
    pub fn append(&self, lines: &[u8]) -> Result<(), Error> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = self.open()?;
        let added = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        let is_full = |len: u64| len > 0 && len.saturating_add(added) > self.size_max;
        if is_full(file.len()?)
            && let Some(_lock) = self.disk.try_lock(&self.lock_path())?
        {
            // Another process may have put it aside in the meantime; one that does so now is left to it.
            if is_full(self.open()?.len()?) {
                self.put_aside()?;
            }
            file = self.open()?;
        }
        let len = file.len()?;
        let mut last = [0];
        if len > 0 && file.read_at(&mut last, len - 1)? == 1 && last != *b"\n" {
            // A line torn by a crash must not swallow the next one. In one write, so that nobody comes between.
            file.write_at(&[b"\n", lines].concat(), len)?;
        } else {
            file.write_at(lines, len)?;
        }
        file.sync_data()
    }

    fn directory(&self) -> &Path {
        self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    fn lock_path(&self) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        self.directory().join(format!(".{name}.lock"))
    }

    fn open(&self) -> Result<Box<dyn DiskFile>, Error> {
        if self.disk.exists(&self.path) {
            return self.disk.open(&self.path, Open::Append);
        }
        self.disk.create_dir_all(self.directory())?;
        let file = self.disk.open(&self.path, Open::Append)?;
        self.disk.sync_dir(self.directory())?;
        Ok(file)
    }

    /// Renames `x` to `x.1`, `x.1` to `x.2` and so on; the oldest goes.
    fn put_aside(&self) -> Result<(), Error> {
        let numbered = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        if self.disk.exists(&numbered(self.count)) {
            self.disk.remove(&numbered(self.count))?;
        }
        for number in (1..self.count).rev() {
            if self.disk.exists(&numbered(number)) {
                self.disk.rename(&numbered(number), &numbered(number + 1))?;
            }
        }
        self.disk.rename(&self.path, &numbered(1))?;
        self.disk.sync_dir(self.directory())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OsDisk, SimDisk};

    fn rotating(dir: &Path, size_max: u64) -> Rotating {
        Rotating::new(Arc::new(OsDisk), dir.join("logs/alerts.log"), size_max, 2)
    }

    fn text(path: &Path) -> String {
        String::from_utf8(crate::read(&OsDisk, path).expect("is there")).expect("is text")
    }

    #[test]
    fn a_full_file_is_put_aside_and_a_torn_line_is_ended() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = rotating(dir.path(), 10);
        for line in ["one\n", "two\n", "three\n", "four\n", "five\n", "six seven\n", "eight\n"] {
            log.append(line.as_bytes()).expect("appends");
        }
        let path = dir.path().join("logs/alerts.log");
        let numbered = |n: &str| dir.path().join(format!("logs/alerts.log.{n}"));
        assert_eq!(
            (text(&path), text(&numbered("1")), text(&numbered("2"))),
            ("eight\n".into(), "six seven\n".into(), "four\nfive\n".into())
        );
        assert!(!numbered("3").exists());

        let torn = OsDisk.open(&path, Open::Write).expect("opens");
        torn.write_at(b"torn", 6).expect("writes");
        let again = rotating(dir.path(), 1_000);
        again.append(b"whole\n").expect("appends");
        assert_eq!(text(&path), "eight\ntorn\nwhole\n");
    }

    /// An operator's command told people while the server stood still; the server's next line was written over it.
    #[test]
    fn processes_that_share_a_file_overwrite_nothing_of_each_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let (server, command) = (rotating(dir.path(), 1_000), rotating(dir.path(), 1_000));
        for (log, line) in [(&server, "one\n"), (&command, "two\n"), (&server, "three\n"), (&command, "four\n")] {
            log.append(line.as_bytes()).expect("appends");
        }
        let path = dir.path().join("logs/alerts.log");
        assert_eq!(text(&path), "one\ntwo\nthree\nfour\n");
        // logrotate moves it away: the next line is in a new file.
        let moved = dir.path().join("logs/moved");
        OsDisk.rename(&path, &moved).expect("moves");
        server.append(b"five\n").expect("appends");
        assert_eq!((text(&path), text(&moved)), ("five\n".into(), "one\ntwo\nthree\nfour\n".into()));
        // While another process puts the file aside, nobody else does.
        let full = rotating(dir.path(), 5);
        let lock = OsDisk.try_lock(&full.lock_path()).expect("locks").expect("is free");
        full.append(b"six\n").expect("appends");
        assert_eq!(text(&path), "five\nsix\n");
        drop(lock);
        full.append(b"seven\n").expect("appends");
        assert_eq!(text(&path), "seven\n");
    }

    #[test]
    fn a_crash_loses_no_line_that_was_told() {
        for seed in 0..200 {
            let mut sim = SimDisk::new(seed);
            let mut told: Vec<String> = Vec::new();
            for round in 0..4 {
                let log = Rotating::new(Arc::new(sim.clone()), "/logs/alerts.log".into(), 1_000_000, 2);
                sim.lose_power_after(10 + seed % 7 + round);
                for n in 0..10 {
                    let line = format!("{round}-{n} {}", "x".repeat(600));
                    if log.append(format!("{line}\n").as_bytes()).is_ok() {
                        told.push(line);
                    }
                }
                sim = sim.crash();
            }
            let log = crate::read(&sim, Path::new("/logs/alerts.log")).unwrap_or_default();
            let lines: Vec<&[u8]> = log.split(|byte| *byte == b'\n').collect();
            assert!(told.iter().all(|line| lines.contains(&line.as_bytes())), "seed {seed}");
        }
    }

    #[test]
    fn a_bare_name_stands_in_the_working_directory() {
        assert_eq!(Rotating::new(Arc::new(OsDisk), "x.log".into(), 1, 1).directory(), Path::new("."));
    }
}
