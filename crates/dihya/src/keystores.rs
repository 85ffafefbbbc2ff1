//! Opens the keystores of the tenants, which every policy and every question needs; and puts them under another
//! passphrase where the configuration names the one before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use model::{Private, Tenant};
use privacy::config::KeystoreConfig;
use privacy::keystore::{Error, Means, Opened};
use privacy::{Keystore, Keystores};

use crate::config::Loaded;
use crate::failure::Hint;

/// Returns where the keystore of a tenant lies.
pub(crate) fn place(data_dir: &Path, tenant: &Tenant) -> PathBuf {
    data_dir.join("keystore").join(tenant.as_str())
}

/// A passphrase as a keystore takes it.
pub(crate) fn bytes(passphrase: Option<&Private<String>>) -> Option<Private<Vec<u8>>> {
    passphrase.map(|text| Private::new(text.expose().clone().into_bytes()))
}

/// Opens what is not open in `known`. Files block.
///
/// # Errors
/// When a keystore cannot be opened or made.
pub(crate) async fn open(
    loaded: &Loaded,
    data_dir: &Path,
    means: &Means,
    known: &Keystores,
) -> anyhow::Result<Keystores> {
    let mut keystores = BTreeMap::clone(known);
    for tenant in loaded.tenants.keys() {
        let dir = place(data_dir, tenant);
        if keystores.contains_key(tenant) {
            continue;
        }
        let (means, of, ways) = (means.clone(), tenant.clone(), loaded.privacy.keystore.clone());
        let opened = tokio::task::spawn_blocking(move || open_one(&means, &dir, &of, &ways)).await?;
        let (keystore, opened) = opened.with_context(|| format!("could not open the keystore of {tenant}"))?;
        if opened.made {
            tracing::info!(%tenant, "made a keystore");
        } else if opened.torn > 0 {
            tracing::info!(%tenant, torn_bytes = opened.torn, "cut the torn tail of a keystore");
        }
        keystores.insert(tenant.clone(), Arc::new(keystore));
    }
    Ok(Arc::new(keystores))
}

/// Opens one under the passphrase, or, while that is changed, under the one before, and then changes it.
fn open_one(means: &Means, dir: &Path, tenant: &Tenant, ways: &KeystoreConfig) -> Result<(Keystore, Opened), Error> {
    let (now, before) = (ways.passphrase.as_ref(), ways.previous.as_ref());
    let refused = match Keystore::open(means.clone(), dir, tenant, bytes(now)) {
        Err(error @ Error::Kek { .. }) if now.is_some() || before.is_some() => error,
        opened => return opened,
    };
    if !Keystore::opens_under(&*means.disk, dir, tenant, bytes(before))? {
        return Err(refused);
    }
    let (keystore, opened) = Keystore::open(means.clone(), dir, tenant, bytes(before))?;
    keystore.change_passphrase(bytes(now))?;
    tracing::info!(%tenant, "put a keystore under another passphrase");
    Ok((keystore, opened))
}

/// Puts keystores that are open under the passphrase that the configuration names now. Files block.
///
/// # Errors
/// When one opens neither under it nor under the one before, or it could not be written; those before it are changed then,
/// and the same configuration goes on with the others.
pub(crate) async fn change(loaded: &Loaded, data_dir: &Path, means: &Means, open: &Keystores) -> anyhow::Result<()> {
    for (tenant, keystore) in open.iter() {
        let (disk, dir, of) = (Arc::clone(&means.disk), place(data_dir, tenant), tenant.clone());
        let (ways, keystore) = (loaded.privacy.keystore.clone(), Arc::clone(keystore));
        let changed = tokio::task::spawn_blocking(move || {
            let opens = |way: Option<&Private<String>>| Keystore::opens_under(&*disk, &dir, &of, bytes(way));
            if opens(ways.passphrase.as_ref())? {
                return Ok(false);
            }
            if !opens(ways.previous.as_ref())? {
                return Err(anyhow::anyhow!("neither passphrase nor privacy.keystore.previous opens it"));
            }
            keystore.change_passphrase(bytes(ways.passphrase.as_ref()))?;
            Ok::<bool, anyhow::Error>(true)
        });
        let changed = changed.await?;
        if changed.with_context(|| format!("could not change the passphrase of the keystore of {tenant}"))? {
            tracing::info!(%tenant, "put a keystore under another passphrase");
        }
    }
    Ok(())
}

/// Says to all keystores how long the keys of each class live.
pub(crate) fn set_lives(keystores: &Keystores, loaded: &Loaded) {
    let lives = loaded.privacy.lives();
    keystores.values().for_each(|keystore| keystore.set_lives(lives.clone()));
}

/// Reads the keystore of a tenant beside whoever has it open; `None` where there is none.
///
/// # Errors
/// When it does not open under the passphrase of the configuration, or under the one before.
pub(crate) fn read(
    loaded: &Loaded,
    data_dir: &Path,
    means: &Means,
    tenant: &Tenant,
) -> anyhow::Result<Option<Keystore>> {
    let dir = place(data_dir, tenant);
    if !Keystore::exists(&*means.disk, &dir) {
        return Ok(None);
    }
    let ways = &loaded.privacy.keystore;
    let read = |way: Option<&Private<String>>| Keystore::read(means.clone(), &dir, tenant, bytes(way));
    let keystore = match read(ways.passphrase.as_ref()) {
        Err(error @ Error::Kek { .. }) => read(ways.previous.as_ref()).map_err(|_| error),
        read => read,
    };
    let hint = "name the configuration with the passphrase: --config FILE";
    keystore.map(Some).map_err(|error| {
        let what = format!("could not read the keystore of {tenant}");
        match error {
            Error::Kek { .. } => anyhow::Error::new(error).context(what).context(Hint(hint.to_owned())),
            error => anyhow::Error::new(error).context(what),
        }
    })
}
