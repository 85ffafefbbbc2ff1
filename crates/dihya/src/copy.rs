//! Copies of a data directory: consistent while a server writes to it, durable, and verifiable by their manifest.
//!
//! The order makes it consistent: the control state is copied before the WAL that it is a projection of, and signed
//! checkpoints before the WAL that they cover. A WAL that is longer than what was copied before it is caught up with by
//! every reader; one that is shorter would not be.

use std::path::Path;

use anyhow::{Context as _, bail};
use disk::{Disk, Open};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::hex;
use crate::store::STATE_FILE;

/// The file that lists what a backup holds.
pub(crate) const MANIFEST: &str = "backup.json";
/// Bytes copied at once.
const CHUNK_BYTES: usize = 1 << 20;
/// How often the WAL may gain segments while it is copied.
const ROUNDS_MAX: usize = 16;

/// What a backup holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The version that made it.
    pub(crate) version: String,
    /// When.
    pub(crate) made_at: Timestamp,
    /// The files.
    pub(crate) files: Vec<File>,
}

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct File {
    /// Path below the directory, with `/`.
    pub(crate) path: String,
    /// Length.
    pub(crate) bytes: u64,
    /// Hexadecimal.
    pub(crate) sha256: String,
}

/// Copies the data directory `from` into `to`, which must not be there.
///
/// # Errors
/// When something cannot be read or written; `to` may then be incomplete, and has no manifest.
pub(crate) async fn backup(disk: &dyn Disk, from: &Path, to: &Path, now: Timestamp) -> anyhow::Result<Manifest> {
    if disk.exists(to) && !disk.list(to)?.is_empty() {
        bail!("cannot write into {}: it is not empty", to.display());
    }
    disk.create_dir_all(to)?;
    let mut files = Vec::new();
    if disk.exists(&from.join(STATE_FILE)) {
        state(&from.join(STATE_FILE), &to.join(STATE_FILE)).await?;
        sync_file(disk, &to.join(STATE_FILE))?;
        files.push(measure(disk, to, STATE_FILE)?);
    }
    for part in ["keystore", "ledger", "spool"] {
        copy_tree(disk, from, to, part, &mut files)?;
    }
    for file in ["admin-token", "wal/snapshot"] {
        if disk.exists(&from.join(file)) {
            files.push(copy_file(disk, from, to, file)?);
        }
    }
    wal(disk, from, to, &mut files)?;
    let manifest = Manifest { version: env!("CARGO_PKG_VERSION").to_owned(), made_at: now, files };
    disk::write_atomic(disk, &to.join(MANIFEST), &serde_json::to_vec_pretty(&manifest)?)?;
    Ok(manifest)
}

/// Copies segments in order, and again from the last one on when others came meanwhile.
fn wal(disk: &dyn Disk, from: &Path, to: &Path, files: &mut Vec<File>) -> anyhow::Result<()> {
    let segments = || -> anyhow::Result<Vec<String>> {
        let dir = from.join("wal");
        if !disk.exists(&dir) {
            return Ok(Vec::new());
        }
        let entries = disk.list(&dir)?.into_iter();
        Ok(entries.filter(|e| !e.is_dir && e.name.ends_with(".wal")).map(|e| format!("wal/{}", e.name)).collect())
    };
    let mut listed = segments()?;
    let mut todo = listed.clone();
    for _ in 0..ROUNDS_MAX {
        for path in &todo {
            files.retain(|file| file.path != *path);
            if disk.exists(&to.join(path)) {
                disk.remove(&to.join(path))?;
            }
            files.push(copy_file(disk, from, to, path)?);
        }
        let again = segments()?;
        if again == listed {
            return Ok(());
        }
        // What was the last one may have been sealed since.
        todo = again.iter().filter(|path| !listed.contains(path) || Some(*path) == listed.last()).cloned().collect();
        listed = again;
    }
    bail!("the WAL grew faster than it could be copied")
}

/// Copies the control state as one transaction sees it.
async fn state(from: &Path, to: &Path) -> anyhow::Result<()> {
    use sqlx::Connection as _;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(from).read_only(true);
    let mut connection =
        sqlx::SqliteConnection::connect_with(&options).await.context("could not open the control state")?;
    let to = to.to_str().context("cannot write to a path that is not UTF-8")?;
    sqlx::query("VACUUM INTO ?").bind(to).execute(&mut connection).await.context("could not copy the control state")?;
    connection.close().await.context("could not close the control state")
}

fn copy_tree(disk: &dyn Disk, from: &Path, to: &Path, part: &str, files: &mut Vec<File>) -> anyhow::Result<()> {
    let mut queue = vec![part.to_owned()];
    while let Some(path) = queue.pop() {
        if !disk.exists(&from.join(&path)) {
            continue;
        }
        disk.create_dir_all(&to.join(&path))?;
        for entry in disk.list(&from.join(&path))? {
            let below = format!("{path}/{}", entry.name);
            if entry.is_dir {
                queue.push(below);
            } else if !entry.name.ends_with(".tmp") {
                match copy_file(disk, from, to, &below) {
                    Ok(file) => files.push(file),
                    // A partial tile gives way to a wider one at any time.
                    Err(_) if !disk.exists(&from.join(&below)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(())
}

/// Copies one file durably. Zeros are not written, so that preallocated space stays a hole.
fn copy_file(disk: &dyn Disk, from: &Path, to: &Path, path: &str) -> anyhow::Result<File> {
    let source = disk.open(&from.join(path), Open::Read)?;
    let target = to.join(path);
    if let Some(dir) = target.parent() {
        disk.create_dir_all(dir)?;
    }
    let copy = disk.open(&target, Open::CreateNew)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut offset = 0_u64;
    loop {
        let read = source.read_at(&mut buffer, offset)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        digest.update(bytes);
        if bytes.iter().any(|byte| *byte != 0) {
            copy.write_at(bytes, offset)?;
        }
        offset += read as u64;
    }
    copy.set_len(offset)?;
    copy.sync_data()?;
    if let Some(dir) = target.parent() {
        disk.sync_dir(dir)?;
    }
    Ok(File { path: path.to_owned(), bytes: offset, sha256: hex(&digest.finalize()) })
}

fn sync_file(disk: &dyn Disk, path: &Path) -> anyhow::Result<()> {
    disk.open(path, Open::Write)?.sync_data()?;
    Ok(())
}

fn measure(disk: &dyn Disk, dir: &Path, path: &str) -> anyhow::Result<File> {
    let file = disk.open(&dir.join(path), Open::Read)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut offset = 0_u64;
    loop {
        let read = file.read_at(&mut buffer, offset)?;
        if read == 0 {
            return Ok(File { path: path.to_owned(), bytes: offset, sha256: hex(&digest.finalize()) });
        }
        digest.update(buffer.get(..read).unwrap_or_default());
        offset += read as u64;
    }
}

/// Reads a backup's manifest and compares every file with it.
///
/// # Errors
/// When there is none, or a file is missing or is not what was copied.
pub(crate) fn verify(disk: &dyn Disk, dir: &Path) -> anyhow::Result<Manifest> {
    let bytes = disk::read(disk, &dir.join(MANIFEST)).context("cannot find a complete backup there")?;
    let manifest: Manifest = serde_json::from_slice(&bytes).context("cannot read the backup's manifest")?;
    for file in &manifest.files {
        let safe = Path::new(&file.path).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !safe {
            bail!("cannot use the backup: its manifest names a path outside of it");
        }
        if measure(disk, dir, &file.path)? != *file {
            bail!("cannot use the backup: {} is not what was copied", file.path);
        }
    }
    Ok(manifest)
}

/// Copies a verified backup into `to`, which must be empty or missing.
///
/// # Errors
/// When something cannot be read or written, or `to` holds anything.
pub(crate) fn restore(disk: &dyn Disk, from: &Path, to: &Path, manifest: &Manifest) -> anyhow::Result<()> {
    if disk.exists(to) && !disk.list(to)?.is_empty() {
        bail!("cannot restore into {}: it is not empty", to.display());
    }
    disk.create_dir_all(to)?;
    for file in &manifest.files {
        let copied = copy_file(disk, from, to, &file.path)?;
        if copied != *file {
            bail!("could not restore {}: it changed meanwhile", file.path);
        }
    }
    disk.sync_dir(to)?;
    Ok(())
}
