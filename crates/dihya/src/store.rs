//! What lies in the data directory and is opened by more than the server: the ledger, the key of keyed tokens.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use disk::Disk;
use ledger::Ledger;
use model::{Clock, Rng};

use crate::config::Loaded;
use crate::failure::Hint;

/// The file of the control state.
pub(crate) const STATE_FILE: &str = "state.sqlite";
/// How far files of logs were read.
pub(crate) const SOURCES_FILE: &str = "sources.json";
/// How far journals of systemd came.
pub(crate) const JOURNALS_FILE: &str = "journals.json";

/// Opens the ledger; its files block.
pub(crate) async fn open_ledger(
    loaded: &Loaded,
    data_dir: &Path,
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
    rng: &Arc<dyn Rng>,
) -> anyhow::Result<Ledger> {
    let tenants = loaded.tenants.keys().cloned().collect();
    let mut config = ledger::Config::new(data_dir.to_owned(), &loaded.ledger.instance, tenants);
    config.retain_age = loaded.ledger.retain;
    config.retain_bytes = loaded.ledger.retain_bytes;
    let (disk, clock, rng) = (Arc::clone(disk), Arc::clone(clock), Arc::clone(rng));
    let opened = tokio::task::spawn_blocking(move || Ledger::open(disk, clock, rng, config)).await?;
    match opened {
        Ok((ledger, recovery)) => {
            if !recovery.created && !recovery.clean {
                tracing::info!(torn_bytes = recovery.torn_bytes, frames = recovery.frames, "recovered the ledger");
            }
            Ok(ledger)
        }
        Err(ledger::Error::Locked) => {
            let hint = format!("another dihya runs in {}; name another --data-dir", data_dir.display());
            Err(anyhow::Error::new(ledger::Error::Locked).context(Hint(hint)))
        }
        Err(error) => Err(anyhow::Error::new(error).context("could not open the ledger")),
    }
}

/// Reads the key of keyed tokens, making it on the first start: `keystore/token-key`, 32 bytes.
///
/// # Errors
/// When it cannot be read or written, or is not 32 bytes.
pub(crate) fn token_key(disk: &dyn Disk, data_dir: &Path, rng: &dyn Rng) -> anyhow::Result<[u8; 32]> {
    let dir = data_dir.join("keystore");
    let path = dir.join("token-key");
    if disk.exists(&path) {
        let bytes = disk::read(disk, &path)?;
        return bytes.try_into().map_err(|_| anyhow::anyhow!("cannot use {}: expected 32 bytes", path.display()));
    }
    disk.create_dir_all(&dir)?;
    let mut key = [0; 32];
    rng.fill(&mut key);
    disk::write_atomic(disk, &path, &key).context("could not keep the key of tokens")?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use disk::OsDisk;
    use model::SeededRng;

    use super::*;

    #[test]
    fn the_key_is_made_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = OsDisk;
        let key = token_key(&disk, dir.path(), &SeededRng::new(1)).expect("made");
        assert_eq!(token_key(&disk, dir.path(), &SeededRng::new(2)).expect("read"), key);
        disk::write_atomic(&disk, &dir.path().join("keystore/token-key"), b"short").expect("written");
        assert!(token_key(&disk, dir.path(), &SeededRng::new(3)).is_err());
    }
}
