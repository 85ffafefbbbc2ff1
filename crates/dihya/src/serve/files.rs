//! Files of logs that this program itself follows.

use std::path::Path;
use std::sync::Arc;

use disk::Disk;
use intake::files::{Ailments, Durable, FilesConfig, Means, Records, follow};
use model::{Clock, Feed, Rng, Tenant};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::pipeline::Pipeline;
use crate::store::SOURCES_FILE;

/// What following them is built on.
pub(super) struct World<'a> {
    pub(super) pipeline: &'a Arc<Pipeline>,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) rng: &'a Arc<dyn Rng>,
    pub(super) disk: &'a Arc<dyn Disk>,
    pub(super) data_dir: &'a Path,
    pub(super) key: [u8; 32],
    pub(super) ailments: Arc<Ailments>,
}

impl World<'_> {
    /// Returns what reads a tenant's records from a position on, and what tells where they end.
    pub(super) fn readers(&self) -> (Box<Records>, Box<Durable>) {
        let (records, ledger) = (Arc::clone(self.pipeline), self.pipeline.ledger().clone());
        let durable = move |tenant: &Tenant| {
            let status = ledger.status().ok()?;
            let of = |log: &&ledger::LogStatus| log.origin.as_str().rsplit('/').next() == Some(tenant.as_str());
            Some(status.logs.iter().find(of)?.durable)
        };
        let records = move |tenant: &Tenant, from| Ok(Box::new(records.events(tenant, from)?) as Box<dyn Feed>);
        (Box::new(records), Box::new(durable))
    }
}

/// Follows the files of a configuration, if it names any, until `halted` says so.
pub(super) fn start(
    config: Vec<FilesConfig>,
    receiver: Arc<intake::Receiver>,
    world: World<'_>,
    halted: watch::Receiver<bool>,
    tasks: &mut JoinSet<&'static str>,
) {
    if config.is_empty() {
        return;
    }
    let (records, durable) = world.readers();
    let means = Means {
        receiver,
        losses: Arc::clone(world.pipeline) as _,
        clock: Arc::clone(world.clock),
        rng: Arc::clone(world.rng),
        disk: Arc::clone(world.disk),
        kept: world.data_dir.join(SOURCES_FILE),
        key: world.key,
        records,
        durable,
        ailments: world.ailments,
    };
    tasks.spawn(async move {
        follow(config, means, halted).await;
        "files"
    });
}
