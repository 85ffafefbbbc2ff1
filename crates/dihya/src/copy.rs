//! Copies of a data directory: consistent while a server writes to it, durable, and verifiable by their manifest.
//!
//! The order makes it consistent: the control state and the lake are copied before the WAL that they are projections of, and signed
//! checkpoints before the WAL that they cover. A WAL that is longer than what was copied before it is caught up with by
//! every reader; one that is shorter would not be. The WAL itself is copied from its end to its start, segment by segment
//! and chunk by chunk, and each chunk as it was at one moment. Its bytes are written once, in order, so whatever the
//! copy has of a later place was preceded by everything before it: the copy is a prefix of what was ever written, as
//! after a loss of power. (From start to end, a frame that came meanwhile would vouch for one that the copy has not.)
//! The WAL's snapshot is not copied: it would be of another moment than the segments, and follows from them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use disk::{Disk, DiskFile, Open};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::hex;
use crate::exposures;
use crate::origins;
use crate::store::{JOURNALS_FILE, SOURCES_FILE, STATE_FILE};

/// The file that lists what a backup holds.
pub(crate) const MANIFEST: &str = "backup.json";
/// Bytes copied at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes of a segment that may be written to that are copied at once: few, so that the writer is soon past them.
const LIVE_CHUNK_BYTES: usize = 64 << 10;
/// How often the same chunk may be found changed.
const READS_MAX: usize = 1_000;
/// How often segments may be rewritten or cut while the WAL is copied.
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
    lake(disk, from, to, &mut files)?;
    for part in ["keystore", "spool"] {
        copy_tree(disk, from, to, part, &mut files)?;
    }
    // How far files were read is behind the WAL that is copied after it, as after a kill.
    for file in ["admin-token", exposures::FILE, SOURCES_FILE, JOURNALS_FILE] {
        if disk.exists(&from.join(file)) {
            files.push(copy_file(disk, from, to, file)?);
        }
    }
    logs_and_wal(disk, from, to, &mut files)?;
    same_keys(disk, from, to)?;
    let manifest = Manifest { version: env!("CARGO_PKG_VERSION").to_owned(), made_at: now, files };
    disk::write_atomic(disk, &to.join(MANIFEST), &serde_json::to_vec_pretty(&manifest)?)?;
    Ok(manifest)
}

/// Copies the lake, of each table the log first: a file that a log names stays for six minutes after it was taken out of it.
/// It is copied before the WAL that it is a projection of, so what the copy has not, it reads there.
fn lake(disk: &dyn Disk, from: &Path, to: &Path, files: &mut Vec<File>) -> anyhow::Result<()> {
    let tables = "lake/events";
    if !disk.exists(&from.join(tables)) {
        return Ok(());
    }
    for table in disk.list(&from.join(tables))?.into_iter().filter(|entry| entry.is_dir) {
        let table = format!("{tables}/{}", table.name);
        copy_tree(disk, from, to, &format!("{table}/_delta_log"), files)?;
        copy_tree(disk, from, to, &table, files)?;
    }
    Ok(())
}

/// Tells whether a data directory has keys of persons, which [`backup`] leaves out.
///
/// # Errors
/// When a directory cannot be listed.
pub(crate) fn has_keys_of_persons(disk: &dyn Disk, from: &Path) -> anyhow::Result<bool> {
    let dir = from.join("keystore");
    if !disk.exists(&dir) {
        return Ok(false);
    }
    let tenants = disk.list(&dir)?;
    Ok(tenants.iter().any(|entry| entry.is_dir && privacy::Keystore::exists(disk, &dir.join(&entry.name))))
}

/// Refuses a copy whose logs may be signed by keys that it has not: these were rotated while it was made.
fn same_keys(disk: &dyn Disk, from: &Path, to: &Path) -> anyhow::Result<()> {
    for origin in origins::list(disk, to)? {
        let dir = Path::new("keystore").join(origin.as_str());
        let names = |root: &Path| -> anyhow::Result<Vec<String>> {
            let listed = if disk.exists(&root.join(&dir)) { disk.list(&root.join(&dir))? } else { Vec::new() };
            let files = listed.into_iter().filter(|entry| !entry.is_dir && !entry.name.ends_with(".tmp"));
            let mut names: Vec<String> = files.map(|entry| entry.name).collect();
            names.sort();
            Ok(names)
        };
        let read = |root: &Path, name: &str| disk::read(disk, &root.join(&dir).join(name));
        let there = names(from)?;
        let same = there == names(to)? && there.iter().all(|name| read(from, name).ok() == read(to, name).ok());
        if !same {
            bail!("cannot use the copy: the keys of {origin} were rotated while it was made; make it again");
        }
    }
    Ok(())
}

/// A segment of the WAL as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    number: u64,
    path: String,
    bytes: u64,
}

/// Returns the segments, the last one first.
fn segments(disk: &dyn Disk, from: &Path) -> anyhow::Result<Vec<Listed>> {
    let dir = from.join("wal");
    if !disk.exists(&dir) {
        return Ok(Vec::new());
    }
    let mut listed = Vec::new();
    for entry in disk.list(&dir)?.into_iter().filter(|entry| !entry.is_dir) {
        if let Some(number) = entry.name.strip_suffix(".wal").and_then(|stem| stem.parse().ok()) {
            listed.push(Listed { number, path: format!("wal/{}", entry.name), bytes: entry.len });
        }
    }
    listed.sort_by_key(|segment| std::cmp::Reverse(segment.number));
    Ok(listed)
}

/// Copies the logs, then the WAL. A segment that changed its length since it was listed lost its payloads under a
/// retention record that the copied logs may not have, or was cut when the server started again: then both are copied
/// anew, but for the segments that nothing more is written to.
fn logs_and_wal(disk: &dyn Disk, from: &Path, to: &Path, files: &mut Vec<File>) -> anyhow::Result<()> {
    let mut copied = BTreeMap::new();
    for _ in 0..ROUNDS_MAX {
        let before = segments(disk, from)?;
        let mut logs = Vec::new();
        // Twice: a partial tile may have given way to the full one after the directory of full ones was listed.
        for _ in 0..2 {
            copy_tree(disk, from, to, "ledger", &mut logs)?;
        }
        // Payloads go from the oldest segment on: while none of `before` changed, no later one did.
        let listed = segments(disk, from)?;
        let same = before.iter().all(|segment| listed.contains(segment));
        if same && copy_segments(disk, from, to, &listed, &mut copied)? {
            files.extend(logs);
            files.extend(copied.into_values());
            return Ok(());
        }
        for file in logs {
            disk.remove(&to.join(file.path))?;
        }
    }
    bail!("could not copy the WAL: its segments change faster than they are copied")
}

/// Copies the segments that are not `copied` yet, the last one first. Returns whether all of them stayed as they were
/// listed; if not, those that may be written to are not `copied` afterwards.
fn copy_segments(
    disk: &dyn Disk,
    from: &Path,
    to: &Path,
    listed: &[Listed],
    copied: &mut BTreeMap<u64, File>,
) -> anyhow::Result<bool> {
    let last = listed.first().map_or(0, |segment| segment.number);
    // The last segment may be one made in advance; the one before it is then written to.
    let sealed = |number: u64| number + 2 <= last;
    for segment in listed {
        if copied.contains_key(&segment.number) {
            continue;
        }
        let chunk = if sealed(segment.number) { CHUNK_BYTES } else { LIVE_CHUNK_BYTES };
        let same = match copy_segment(disk, from, to, segment, chunk) {
            Err(_) if !disk.exists(&from.join(&segment.path)) => false,
            same => same?,
        };
        if !same {
            copied.retain(|number, _| sealed(*number));
            return Ok(false);
        }
        copied.insert(segment.number, measure(disk, to, &segment.path)?);
    }
    Ok(true)
}

/// Copies a segment from its end to its start. Returns whether it kept its length meanwhile.
fn copy_segment(disk: &dyn Disk, from: &Path, to: &Path, segment: &Listed, chunk: usize) -> anyhow::Result<bool> {
    let source = disk.open(&from.join(&segment.path), Open::Read)?;
    let target = to.join(&segment.path);
    if let Some(dir) = target.parent() {
        disk.create_dir_all(dir)?;
    }
    if disk.exists(&target) {
        disk.remove(&target)?;
    }
    let copy = disk.open(&target, Open::CreateNew)?;
    copy.set_len(segment.bytes)?;
    let mut end = segment.bytes;
    while end > 0 {
        let start = end.saturating_sub(1).next_multiple_of(chunk as u64).saturating_sub(chunk as u64);
        let bytes = read_at_once(&*source, start, usize::try_from(end - start)?)?;
        if bytes.iter().any(|byte| *byte != 0) {
            copy.write_at(&bytes, start)?;
        }
        end = start;
    }
    copy.sync_data()?;
    if let Some(dir) = target.parent() {
        disk.sync_dir(dir)?;
    }
    Ok(source.len()? == segment.bytes)
}

/// Reads bytes as they were at one moment. A read may meet a write in its midst; but each byte changes once, from zero,
/// so two reads that agree show what was there between them.
fn read_at_once(source: &dyn DiskFile, start: u64, len: usize) -> anyhow::Result<Vec<u8>> {
    let read = || -> Result<Vec<u8>, disk::Error> {
        let mut bytes = vec![0; len];
        source.read_at(&mut bytes, start)?;
        Ok(bytes)
    };
    let mut seen = read()?;
    for _ in 0..READS_MAX {
        let again = read()?;
        if again == seen {
            return Ok(seen);
        }
        seen = again;
    }
    bail!("could not copy the WAL: it is written faster than it is read")
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

/// Copies what is below `part` and was not copied yet.
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
            } else if part == "keystore" && privacy::keystore::is_keystore_file(&entry.name) {
                // Keys of persons are backed up apart, each copy to be destroyed in its time: beside what is sealed under
                // them, an erasure would not reach it.
            } else if !entry.name.ends_with(".tmp") && !disk.exists(&to.join(&below)) {
                match copy_file(disk, from, to, &below) {
                    Ok(file) => files.push(file),
                    // A partial tile gives way to a full one at any time.
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::{Arc, Mutex};

    use disk::{DirEntry, SimDisk};
    use ledger::verify as check;
    use ledger::{Config, Engine, FileKeys};
    use model::{AdminAct, SeededRng, Signal, SourceId, StepClock, Tenant};
    use privacy::{Cleared, Clearer, Redactor};

    use super::*;

    /// A ledger that goes on while its directory is read: before, in the midst of and after each read of the WAL.
    #[derive(Clone)]
    struct Busy {
        disk: SimDisk,
        writer: Arc<Mutex<Writer>>,
    }

    struct Writer {
        engine: Option<Engine>,
        records: Vec<Cleared>,
        config: Config,
        clock: Arc<StepClock>,
        appended: u64,
        retained: u64,
        /// After how many appends the server is started again; 0 for never.
        restart_every: u64,
    }

    impl std::fmt::Debug for Busy {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Busy")
        }
    }

    fn open(disk: &SimDisk, clock: &Arc<StepClock>, config: &Config) -> Engine {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let rng = Arc::new(SeededRng::new(7));
        Engine::open(disk, Arc::clone(clock) as _, rng, config.clone(), &FileKeys).expect("opens").0
    }

    impl Busy {
        fn new(retain_bytes: u64, restart_every: u64) -> Self {
            let disk = SimDisk::new(1);
            let clock = Arc::new(StepClock::new(Timestamp::from_second(1_700_000_000).expect("in range")));
            let mut config = Config::new(PathBuf::from("/data"), "localhost", vec![Tenant::default()]);
            (config.segment_bytes, config.reserve_bytes, config.retain_bytes) = (300_000, 10_000, retain_bytes);
            let clearer = Clearer::new(Arc::new(Redactor::new()), [7; 32]);
            let body = AdminAct {
                actor: "ana".into(),
                act: "token.add".into(),
                target: "t".into(),
                detail: "word ".repeat(800),
                at: Timestamp::from_second(1_700_000_000).expect("in range"),
            };
            let signal = Signal { tenant: Tenant::default(), source: SourceId([1; 16]), body: body.into() };
            let records = vec![clearer.clear(signal).expect("clears"); 4];
            let engine = Some(open(&disk, &clock, &config));
            let writer = Writer { engine, records, config, clock, appended: 0, retained: 0, restart_every };
            Self { disk, writer: Arc::new(Mutex::new(writer)) }
        }

        fn go_on(&self) {
            let mut writer = self.writer.lock().expect("not poisoned");
            let records = vec![writer.records.clone()];
            let restart = writer.restart_every > 0 && (writer.appended / 4 + 1).is_multiple_of(writer.restart_every);
            let engine = writer.engine.as_mut().expect("an engine");
            engine.append(&records).pop().expect("one result").expect("appends");
            let turn = writer.appended / 4;
            let engine = writer.engine.as_mut().expect("an engine");
            if turn.is_multiple_of(5) {
                engine.publish().expect("publishes");
            }
            // Not without end, or a copy would never be made.
            let stripped = turn.is_multiple_of(40) && turn < 160 && engine.retain().expect("retains");
            if restart {
                drop(writer.engine.take());
                writer.engine = Some(open(&self.disk, &writer.clock, &writer.config));
            }
            writer.retained += u64::from(stripped);
            writer.appended += 4;
        }
    }

    struct BusyFile(Box<dyn DiskFile>, Busy);

    impl DiskFile for BusyFile {
        fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<usize, disk::Error> {
            let (first, second) = bytes.split_at_mut(bytes.len() / 2);
            self.1.go_on();
            let got = self.0.read_at(first, offset)?;
            self.1.go_on();
            if got < first.len() { Ok(got) } else { Ok(got + self.0.read_at(second, offset + got as u64)?) }
        }

        fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), disk::Error> {
            self.0.write_at(bytes, offset)
        }

        fn len(&self) -> Result<u64, disk::Error> {
            self.0.len()
        }

        fn set_len(&self, len: u64) -> Result<(), disk::Error> {
            self.0.set_len(len)
        }

        fn allocate(&self, len: u64) -> Result<(), disk::Error> {
            self.0.allocate(len)
        }

        fn next_data(&self, offset: u64) -> Result<Option<u64>, disk::Error> {
            self.0.next_data(offset)
        }

        fn sync_data(&self) -> Result<(), disk::Error> {
            self.0.sync_data()
        }
    }

    impl Disk for Busy {
        fn open(&self, path: &Path, how: Open) -> Result<Box<dyn DiskFile>, disk::Error> {
            let file = self.disk.open(path, how)?;
            // What only ever is appended to is read while it is; the copy is read in peace.
            let live = how == Open::Read && path.starts_with("/data/wal");
            Ok(if live { Box::new(BusyFile(file, self.clone())) } else { file })
        }

        fn rename(&self, from: &Path, to: &Path) -> Result<(), disk::Error> {
            self.disk.rename(from, to)
        }

        fn remove(&self, path: &Path) -> Result<(), disk::Error> {
            self.disk.remove(path)
        }

        fn create_dir_all(&self, path: &Path) -> Result<(), disk::Error> {
            self.disk.create_dir_all(path)
        }

        fn sync_dir(&self, path: &Path) -> Result<(), disk::Error> {
            self.disk.sync_dir(path)
        }

        fn sync_all(&self, root: &Path) -> Result<(), disk::Error> {
            self.disk.sync_all(root)
        }

        fn list(&self, path: &Path) -> Result<Vec<DirEntry>, disk::Error> {
            let listed = self.disk.list(path);
            if path.starts_with("/data") {
                self.go_on();
            }
            listed
        }

        fn exists(&self, path: &Path) -> bool {
            self.disk.exists(path)
        }

        fn free_bytes(&self, path: &Path) -> Result<u64, disk::Error> {
            self.disk.free_bytes(path)
        }

        fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn Send + Sync>>, disk::Error> {
            self.disk.try_lock(path)
        }
    }

    /// A backup that was made from start to end held frames that vouched for others that it did not hold, and segments
    /// after one that was not copied to its end: the restored ledger refused to start.
    #[tokio::test]
    async fn a_backup_of_a_ledger_that_goes_on_is_a_prefix_of_it() {
        for (retain_bytes, restart_every) in [(u64::MAX, 0), (600_000, 41)] {
            let busy = Busy::new(retain_bytes, restart_every);
            (0..60).for_each(|_| busy.go_on());
            let before = busy.writer.lock().expect("not poisoned").appended;
            let to = PathBuf::from("/backup");
            let manifest = backup(&busy, Path::new("/data"), &to, Timestamp::UNIX_EPOCH).await.expect("is made");
            assert!(busy.writer.lock().expect("not poisoned").appended > before, "it went on meanwhile");
            verify(&busy.disk, &to).expect("is what was copied");
            let restored = PathBuf::from("/restored");
            restore(&busy.disk, &to, &restored, &manifest).expect("restores");
            let wal = ledger::Forensic::open(Arc::new(busy.disk.clone()), &restored).expect("opens");
            let vault = wal.log("localhost/default");
            let dir = restored.join("ledger/localhost/default");
            let source = check::DiskSource::new(&busy.disk, &dir);
            let options = check::Options { vault: Some(&vault), ..check::Options::default() };
            let report = check::verify(&source, &options);
            let first = report.findings.iter().find(|finding| finding.weight == check::Weight::Error);
            assert!(report.is_sound(), "{retain_bytes} {restart_every}: {first:?}");
            let writer = busy.writer.lock().expect("not poisoned");
            let config = Config { dir: restored, ..writer.config.clone() };
            let engine = open(&busy.disk, &writer.clock, &config);
            let mut cursor = engine.cursor(&Tenant::default(), 0).expect("a cursor");
            let acts = cursor.read(usize::MAX).expect("reads");
            let acts = acts.iter().filter(|record| record.kind == model::Kind::Admin).count() as u64;
            assert!(acts >= before, "{acts} of {before}");
            assert!(retain_bytes == u64::MAX || writer.retained > 0, "payloads went meanwhile");
        }
    }
}
