//! The reserve: space taken in good times, so that a monitor whose disk is full still records that it paged.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::{Disk, Error, Open};

/// A preallocated file whose only purpose is to be removed.
#[derive(Debug)]
pub struct Reserve {
    path: PathBuf,
    bytes: u64,
    held: Mutex<bool>,
}

impl Reserve {
    /// Takes the reserve at `path`. A disk that is too full for it is no error: [`Reserve::is_held`] tells.
    ///
    /// # Errors
    /// When the file cannot be made for another reason.
    pub fn hold(disk: &dyn Disk, path: &Path, bytes: u64) -> Result<Self, Error> {
        let reserve = Self { path: path.to_owned(), bytes, held: Mutex::new(false) };
        reserve.refill(disk)?;
        Ok(reserve)
    }

    /// Tells whether the space is there to be released.
    #[must_use]
    pub fn is_held(&self) -> bool {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the space back to the file system; `false` if it was not held.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn release(&self, disk: &dyn Disk) -> Result<bool, Error> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !*held {
            return Ok(false);
        }
        disk.remove(&self.path)?;
        *held = false;
        Ok(true)
    }

    /// Takes the space again once the disk allows; `false` while it does not.
    ///
    /// # Errors
    /// When the file cannot be made for another reason than a full disk.
    pub fn refill(&self, disk: &dyn Disk) -> Result<bool, Error> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if *held {
            return Ok(true);
        }
        let how = if disk.exists(&self.path) { Open::Write } else { Open::CreateNew };
        match disk.open(&self.path, how).and_then(|file| file.allocate(self.bytes)) {
            Ok(()) => *held = true,
            Err(error) if error.is_full() => {
                if disk.exists(&self.path) {
                    disk.remove(&self.path)?;
                }
            }
            Err(error) => return Err(error),
        }
        Ok(*held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimDisk;

    #[test]
    fn space_is_held_released_and_taken_again() {
        let disk = SimDisk::new(1);
        disk.set_capacity(Some(1_000));
        let root = Path::new("/d");
        disk.create_dir_all(root).expect("creates");
        let path = root.join("reserve");
        let reserve = Reserve::hold(&disk, &path, 600).expect("holds");
        assert!(reserve.is_held());
        let file = disk.open(&root.join("f"), Open::CreateNew).expect("creates");
        assert!(file.allocate(600).expect_err("full").is_full());
        assert!(reserve.release(&disk).expect("releases"));
        assert!(!reserve.release(&disk).expect("was not held"));
        file.allocate(600).expect("fits");
        assert!(!reserve.refill(&disk).expect("full") && !disk.exists(&path));
        disk.set_capacity(Some(2_000));
        assert!(reserve.refill(&disk).expect("fits") && reserve.refill(&disk).expect("still"));
        // After a restart the file is there already.
        assert!(Reserve::hold(&disk, &path, 600).expect("holds").is_held());
        assert!(Reserve::hold(&disk, Path::new("/none/reserve"), 600).is_err());
    }
}
