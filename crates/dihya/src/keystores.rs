//! Opens the keystores of the tenants: where a policy asks for keys, or there are some already.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use privacy::keystore::Means;
use privacy::{Keystore, Keystores, Policy};

use crate::config::Loaded;

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
    let wanted = Policy::new(&loaded.privacy, Arc::new(loaded.redactor()?))?.is_keyed();
    let mut keystores = BTreeMap::clone(known);
    for tenant in loaded.tenants.keys() {
        let dir = data_dir.join("keystore").join(tenant.as_str());
        if keystores.contains_key(tenant) || !(wanted || Keystore::exists(&*means.disk, &dir)) {
            continue;
        }
        let passphrase = loaded.privacy.keystore.passphrase.clone();
        let passphrase = passphrase.map(|text| model::Private::new(text.expose().clone().into_bytes()));
        let (means, of) = (means.clone(), tenant.clone());
        let opened = tokio::task::spawn_blocking(move || Keystore::open(means, &dir, &of, passphrase)).await?;
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
