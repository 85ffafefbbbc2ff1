//! `dihya restore`: a backup becomes a data directory again, after it was verified.

use std::sync::Arc;

use anyhow::Context as _;
use disk::{Disk, OsClock, OsDisk, OsRng};
use ledger::Ledger;
use model::{AdminAct, Clock, Level, Rng, Signal, Tenant};
use privacy::{Clearer, Redactor};

use super::block_on;
use crate::cli::RestoreArgs;
use crate::failure::DONE;
use crate::{copy, origins, store, terminal};

/// Restores the backup and records that it was.
pub(super) fn run(args: &RestoreArgs) -> anyhow::Result<u8> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let data_dir = args.place.data_dir();
    let manifest = copy::verify(&*disk, &args.from)?;
    copy::restore(&*disk, &args.from, &data_dir, &manifest)?;
    let clock: Arc<dyn Clock> = Arc::new(OsClock::default());
    let act = AdminAct {
        actor: "local".to_owned(),
        act: "backup.restored".to_owned(),
        target: manifest.made_at.to_string(),
        detail: format!("{} files made by version {}", manifest.files.len(), manifest.version),
        at: clock.now(),
    };
    block_on(record(&disk, &clock, &data_dir, act)).context("the backup is restored, and its ledger does not open")?;
    terminal::out(&format!("restored {} files into {}\n", manifest.files.len(), data_dir.display()));
    Ok(DONE)
}

/// Opens the restored ledger, which is the proof that it can be opened, and records the act.
async fn record(
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
    data_dir: &std::path::Path,
    act: AdminAct,
) -> anyhow::Result<()> {
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
