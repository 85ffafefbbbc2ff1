//! `dihya keystore`: looks after the keys of persons, where no server holds the directory.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use disk::{Disk, OsClock, OsDisk, OsRng};
use ledger::Ledger;
use model::{AdminAct, Clock, Level, Private, Rng, Signal, Tenant};
use privacy::keystore::Means;
use privacy::{Clearer, Keystore, Keystores};

use super::block_on;
use crate::cli::{KeystoreCommand, Place};
use crate::config::{self, Loaded};
use crate::failure::{DONE, Hint, misuse};
use crate::terminal::{self, Progress};
use crate::{keystores, store};

/// Longest file of a passphrase.
const PASSPHRASE_BYTES_MAX: usize = 4_096;

/// Runs the command.
pub(super) fn run(command: KeystoreCommand) -> anyhow::Result<u8> {
    match command {
        KeystoreCommand::Passphrase { new, random, place } => {
            let new = new.map(|file| read_passphrase(&file)).transpose()?;
            block_on(passphrase(new, random, &place))
        }
    }
}

fn read_passphrase(file: &Path) -> anyhow::Result<Private<String>> {
    let bytes = Private::new(disk::read(&OsDisk, file).context("could not read the new passphrase")?);
    let unusable = |why: &str| misuse(format!("cannot use {} for a passphrase: it {why}", file.display()));
    if bytes.expose().len() > PASSPHRASE_BYTES_MAX {
        return Err(unusable("is longer than 4 KiB"));
    }
    let text = std::str::from_utf8(bytes.expose()).map_err(|_| unusable("is not UTF-8"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(unusable("is empty")),
        text => Ok(Private::new(text.to_owned())),
    }
}

/// What all steps need.
struct World {
    loaded: Loaded,
    means: Means,
    /// Open, so that nobody else holds the directory.
    ledger: Ledger,
    clearer: Clearer,
}

async fn passphrase(new: Option<Private<String>>, random: bool, place: &Place) -> anyhow::Result<u8> {
    let data_dir = place.data_dir();
    let loaded = config::load(place.config.as_deref(), &data_dir)?;
    let of_config = loaded.privacy.keystore.passphrase.clone();
    let is_new = new.is_some() || random;
    if !is_new && of_config.is_none() {
        return Err(misuse("there is no new passphrase: name its file with --new, or say --random"));
    }
    let target = if is_new { new } else { of_config };
    let tenants = tenants(&OsDisk, &data_dir)?;
    if tenants.is_empty() {
        return Err(misuse(format!("there is no keystore in {}", data_dir.join("keystore").display())));
    }
    let world = open(loaded, &data_dir).await?;
    let mut progress = Progress::new("changing the passphrase");
    let mut lines = String::new();
    for (tenant, done) in tenants.iter().zip(0..) {
        progress.update(done, tenants.len() as u64);
        let changed = world.change(&data_dir, tenant, target.as_ref()).await;
        let changed = changed.inspect_err(|_| progress.finish()).with_context(|| {
            format!("could not change the passphrase of the keystore of {tenant}; those before it are changed")
        })?;
        let way = if target.is_some() { "the new passphrase" } else { "a random key in a file" };
        lines.push_str(&format!("{tenant}: {} {way}\n", if changed { "put under" } else { "is already under" }));
    }
    progress.finish();
    world.ledger.close().await?;
    terminal::out(&lines);
    if is_new {
        let what = if random { "take privacy.keystore.passphrase out of" } else { "put the new passphrase into" };
        terminal::err(&format!("before the next start, {what} the configuration; destroy old copies of keystore/\n"));
    }
    Ok(DONE)
}

/// Returns the tenants that have a keystore, whether the configuration knows them or not.
fn tenants(disk: &dyn Disk, data_dir: &Path) -> anyhow::Result<Vec<Tenant>> {
    let dir = data_dir.join("keystore");
    if !disk.exists(&dir) {
        return Ok(Vec::new());
    }
    let names = disk.list(&dir).context("could not list the keystores")?.into_iter().filter(|entry| entry.is_dir);
    let tenants = names.filter_map(|entry| Tenant::new(&entry.name).ok());
    Ok(tenants.filter(|tenant| Keystore::exists(disk, &keystores::place(data_dir, tenant))).collect())
}

async fn open(loaded: Loaded, data_dir: &Path) -> anyhow::Result<World> {
    let (disk, clock, rng): (Arc<dyn Disk>, Arc<dyn Clock>, Arc<dyn Rng>) =
        (Arc::new(OsDisk), Arc::new(OsClock::default()), Arc::new(OsRng));
    let ledger = match store::open_ledger(&loaded, data_dir, &disk, &clock, &rng).await {
        Err(error) if matches!(error.downcast_ref(), Some(ledger::Error::Locked)) => {
            let hint = format!(
                "a dihya runs in {}: stop it first; or set privacy.keystore.passphrase and privacy.keystore.previous and \
                 send it SIGHUP",
                data_dir.display()
            );
            return Err(anyhow::Error::new(ledger::Error::Locked).context(Hint(hint)));
        }
        opened => opened?,
    };
    let key = store::token_key(&*disk, data_dir, &*rng)?;
    let clearer = loaded.clearer(key, Keystores::default())?;
    Ok(World { loaded, means: Means { disk, rng, clock }, ledger, clearer })
}

impl World {
    /// Puts the keystore of a tenant under `target`; `false` where it was.
    async fn change(&self, data_dir: &Path, tenant: &Tenant, target: Option<&Private<String>>) -> anyhow::Result<bool> {
        let (dir, disk) = (keystores::place(data_dir, tenant), &*self.means.disk);
        let opens = |way: Option<&Private<String>>| Keystore::opens_under(disk, &dir, tenant, keystores::bytes(way));
        if opens(target)? {
            return Ok(false);
        }
        let ways = &self.loaded.privacy.keystore;
        for way in [ways.passphrase.as_ref(), ways.previous.as_ref(), None] {
            if opens(way)? {
                let (keystore, _) = Keystore::open(self.means.clone(), &dir, tenant, keystores::bytes(way))?;
                keystore.change_passphrase(keystores::bytes(target))?;
                keystore.close();
                self.record(tenant).await?;
                return Ok(true);
            }
        }
        let hint = "name the present passphrase in privacy.keystore.passphrase of --config FILE";
        Err(anyhow::anyhow!("neither passphrase nor previous of the configuration opens it")
            .context(Hint(hint.to_owned())))
    }

    /// Records the act, in the log of the tenant if it has one here.
    async fn record(&self, tenant: &Tenant) -> anyhow::Result<()> {
        if !self.loaded.tenants.contains_key(tenant) {
            return Ok(());
        }
        let act = AdminAct {
            actor: "local".to_owned(),
            act: "keystore.passphrase".to_owned(),
            target: "keystore".to_owned(),
            detail: String::new(),
            at: self.means.clock.now(),
        };
        let cleared = self.clearer.clear(Signal::ours(tenant.clone(), act))?;
        self.ledger.append(vec![cleared], Level::Committed).await?;
        Ok(())
    }
}
