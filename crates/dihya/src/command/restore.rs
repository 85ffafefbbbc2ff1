//! `dihya restore`: a backup becomes a data directory again, after it was verified.
//!
//! A log that goes on from an old copy signs a second history beside the one that others have seen. `--newest` guards
//! against that: it puts the newest checkpoint known in the place of the copy's own, and a ledger never builds upon a
//! write-ahead log that is behind its checkpoint (J-4).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use disk::{Disk, OsClock, OsDisk, OsRng};
use ledger::Ledger;
use ledger::checkpoint::Checkpoint;
use ledger::note::{Note, Verifiers};
use ledger::verify::{DiskSource, read_rotations};
use model::{AdminAct, Clock, Level, Rng, Signal, Tenant};
use privacy::{Clearer, Redactor};

use super::block_on;
use crate::cli::RestoreArgs;
use crate::failure::DONE;
use crate::{copy, origins, store, terminal};

/// Longest checkpoint that is read.
const CHECKPOINT_BYTES_MAX: usize = 1 << 20;

/// Restores the backup and records that it was.
pub(super) fn run(args: &RestoreArgs) -> anyhow::Result<u8> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let data_dir = args.place.data_dir();
    let manifest = copy::verify(&*disk, &args.from)?;
    let newest: Vec<Newest> =
        args.newest.iter().map(|file| Newest::read(&*disk, &args.from, file)).collect::<anyhow::Result<_>>()?;
    copy::restore(&*disk, &args.from, &data_dir, &manifest)?;
    let clock: Arc<dyn Clock> = Arc::new(OsClock::default());
    let compared: Vec<String> = newest.iter().map(|newest| format!(", {newest}")).collect();
    let act = AdminAct {
        actor: "local".to_owned(),
        act: "backup.restored".to_owned(),
        target: manifest.made_at.to_string(),
        detail: format!(
            "{} files made by version {}{}",
            manifest.files.len(),
            manifest.version,
            if compared.is_empty() { ", not compared with a newer checkpoint".to_owned() } else { compared.concat() },
        ),
        at: clock.now(),
    };
    for newest in &newest {
        newest.put(&*disk, &data_dir)?;
    }
    block_on(record(&disk, &clock, &data_dir, act)).context(
        "the backup is restored for reading and verifying alone, as its ledger cannot go on: keep the directory, and \
         start a server under another `ledger.instance` in a new one",
    )?;
    terminal::out(&format!("restored {} files into {}\n", manifest.files.len(), data_dir.display()));
    if newest.is_empty() {
        terminal::err(
            "not compared with a newer checkpoint (`--newest`): if others have seen one, this log contradicts it\n",
        );
    }
    Ok(DONE)
}

/// The newest checkpoint that somebody has seen of one of the logs.
struct Newest {
    bytes: Vec<u8>,
    checkpoint: Checkpoint,
    /// Its place in a data directory.
    path: PathBuf,
    /// Whether it is newer than the copy's own.
    is_newer: bool,
}

impl std::fmt::Display for Newest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "compared with {} at size {}", self.checkpoint.origin, self.checkpoint.size)
    }
}

impl Newest {
    /// Reads a checkpoint that a log in `backup` must have signed.
    fn read(disk: &dyn Disk, backup: &Path, file: &Path) -> anyhow::Result<Self> {
        let of = || format!("cannot take {} for the newest checkpoint", file.display());
        let bytes = read(disk, file).with_context(of)?;
        let note = Note::parse(&bytes).with_context(of)?;
        // The origin becomes a path only after it was found among the logs that the backup has.
        let named = Checkpoint::parse(note.text).with_context(of)?.origin;
        let Some(origin) = origins::list(disk, backup)?.into_iter().find(|origin| origin.as_str() == named) else {
            bail!("{}: the backup has no log {named}", of());
        };
        let log = Path::new("ledger").join(origin.as_str());
        let (vkey, mldsa) =
            (read(disk, &backup.join(&log).join("vkey"))?, read(disk, &backup.join(&log).join("mldsa.pub"))?);
        let keys = Verifiers::parse(&vkey, Some(&mldsa)).context("cannot read the keys in the backup")?;
        // Whichever of the keys that the log had in its time signed it.
        let rotations =
            read_rotations(&DiskSource::new(disk, &backup.join(&log))).context("cannot read the keys in the backup")?;
        let keys = rotations.unwrap_or_else(|| keys.into());
        let checkpoint = keys.open(&bytes).map_err(anyhow::Error::msg).with_context(of)?;
        let path = log.join("checkpoint");
        let own = backup.join(&path);
        let own = if disk.exists(&own) {
            Some(keys.open(&read(disk, &own)?).map_err(anyhow::Error::msg).context("cannot use the backup")?)
        } else {
            None
        };
        let is_newer = own.is_none_or(|own| own.size < checkpoint.size);
        Ok(Self { bytes, checkpoint, path, is_newer })
    }

    /// Puts it in the place of the restored one, so that no ledger goes on behind it.
    fn put(&self, disk: &dyn Disk, data_dir: &Path) -> anyhow::Result<()> {
        if self.is_newer {
            disk::write_atomic(disk, &data_dir.join(&self.path), &self.bytes)?;
        }
        Ok(())
    }
}

fn read(disk: &dyn Disk, path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = disk::read(disk, path)?;
    if bytes.len() > CHECKPOINT_BYTES_MAX {
        bail!("it is longer than {CHECKPOINT_BYTES_MAX} bytes");
    }
    Ok(bytes)
}

/// Opens the restored ledger, which is the proof that it can be opened, and records the act.
async fn record(disk: &Arc<dyn Disk>, clock: &Arc<dyn Clock>, data_dir: &Path, act: AdminAct) -> anyhow::Result<()> {
    let logs = origins::list(&**disk, data_dir)?;
    let (instance, tenants) = origins::instance(&logs).context("cannot find a meta-log")?;
    let tenant = tenants.iter().find(|tenant| **tenant == Tenant::default()).or(tenants.first()).cloned();
    let tenant = tenant.context("cannot find a tenant's log")?;
    let rng: Arc<dyn Rng> = Arc::new(OsRng);
    let config = ledger::Config::new(data_dir.to_owned(), &instance, tenants);
    let (ledger, _) = Ledger::open(Arc::clone(disk), Arc::clone(clock), Arc::clone(&rng), config)?;
    let key = store::token_key(&**disk, data_dir, &*rng)?;
    let clearer = Clearer::new(Arc::new(Redactor::new()), key);
    let cleared = clearer.clear(Signal::ours(tenant, act))?;
    ledger.append(vec![cleared], Level::Committed).await?;
    ledger.close().await?;
    Ok(())
}
