//! Where a verifier reads a log from: a directory now, a URL or an archive later.

use std::path::{Path, PathBuf};

use disk::{Disk, Open};

use crate::tile::{ReadTile, TilePath};

/// Why a file of a log could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct ReadFault {
    why: String,
}

impl ReadFault {
    /// Says why.
    #[must_use]
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into() }
    }
}

/// Gives the files of one log by relative path: `checkpoint`, `vkey`, `mldsa.pub`, `tile/...`.
pub trait Source: Sync {
    /// Returns the bytes of a file, or `None` when there is none.
    ///
    /// # Errors
    /// When it is longer than `max` or cannot be read.
    fn read(&self, path: &str, max: usize) -> Result<Option<Vec<u8>>, ReadFault>;
}

/// A log in a directory.
pub struct DiskSource<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
}

impl std::fmt::Debug for DiskSource<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DiskSource({})", self.dir.display())
    }
}

impl<'a> DiskSource<'a> {
    /// Reads the log in `dir`.
    #[must_use]
    pub fn new(disk: &'a dyn Disk, dir: &Path) -> Self {
        Self { disk, dir: dir.to_owned() }
    }
}

impl Source for DiskSource<'_> {
    fn read(&self, path: &str, max: usize) -> Result<Option<Vec<u8>>, ReadFault> {
        let file = match self.disk.open(&self.dir.join(path), Open::Read) {
            Ok(file) => file,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(ReadFault::new(format!("cannot be opened: {}", error.source))),
        };
        let fault = |error: disk::Error| ReadFault::new(format!("cannot be read: {}", error.source));
        let len = usize::try_from(file.len().map_err(fault)?).unwrap_or(usize::MAX);
        if len > max {
            return Err(ReadFault::new(format!("is longer than {max} bytes")));
        }
        let mut bytes = vec![0; len];
        let got = file.read_at(&mut bytes, 0).map_err(fault)?;
        bytes.truncate(got);
        Ok(Some(bytes))
    }
}

/// A log in memory: path and bytes.
impl Source for std::collections::BTreeMap<String, Vec<u8>> {
    fn read(&self, path: &str, max: usize) -> Result<Option<Vec<u8>>, ReadFault> {
        match self.get(path) {
            Some(bytes) if bytes.len() > max => Err(ReadFault::new(format!("is longer than {max} bytes"))),
            found => Ok(found.cloned()),
        }
    }
}

/// Longest bundle: 256 of the longest entries, each with its length.
const BUNDLE_BYTES_MAX: usize = 256 * (2 + model::limits::ENTRY_BYTES_MAX);
const TILE_BYTES_MAX: usize = 256 * 32;

/// The tiles and bundles of a source.
pub(super) struct Tiles<'a>(pub(super) &'a dyn Source);

impl Tiles<'_> {
    /// Returns the file at `path` and how wide it is: a partial one that is gone may have become a full one.
    pub(super) fn file(&self, path: TilePath) -> Result<(Vec<u8>, u16), ReadFault> {
        let max = if path.level.is_some() { TILE_BYTES_MAX } else { BUNDLE_BYTES_MAX };
        if let Some(bytes) = self.0.read(&path.to_string(), max)? {
            return Ok((bytes, path.width));
        }
        if path.is_partial()
            && let Some(bytes) = self.0.read(&path.full().to_string(), max)?
        {
            return Ok((bytes, path.full().width));
        }
        Err(ReadFault::new("is missing"))
    }

    /// Returns the hashes of the tile at `path`: exactly as many as its width.
    pub(super) fn hashes(&self, path: TilePath) -> Result<Vec<u8>, ReadFault> {
        let (mut bytes, width) = self.file(path)?;
        if bytes.len() != usize::from(width) * 32 {
            return Err(ReadFault::new("is not as long as its width says"));
        }
        bytes.truncate(usize::from(path.width) * 32);
        Ok(bytes)
    }
}

impl ReadTile for Tiles<'_> {
    type Error = ReadFault;

    fn read_tile(&mut self, path: TilePath) -> Result<Vec<u8>, ReadFault> {
        self.hashes(path)
    }
}
