//! `dihya backup`: a consistent copy of the data directory, while the server runs or not.

use disk::{OsClock, OsDisk};
use model::Clock as _;

use super::block_on;
use crate::cli::BackupArgs;
use crate::copy;
use crate::failure::{DONE, misuse};
use crate::terminal;

/// Makes the backup.
pub(super) fn run(args: &BackupArgs) -> anyhow::Result<u8> {
    let from = args.place.data_dir();
    if !from.join("wal").is_dir() {
        return Err(misuse(format!("there is no ledger in {}", from.display())));
    }
    let manifest = block_on(copy::backup(&OsDisk, &from, &args.to, OsClock::default().now()))?;
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    terminal::out(&format!("copied {} files, {} MiB, into {}\n", manifest.files.len(), bytes >> 20, args.to.display()));
    if copy::has_keys_of_persons(&OsDisk, &from)? {
        terminal::out(
            "The keys of persons in keystore/<tenant>/ are not in it: copy them apart, and destroy each copy in its time.\n",
        );
    }
    Ok(DONE)
}
