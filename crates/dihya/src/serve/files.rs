//! Files of logs that this program itself follows.

use std::path::Path;
use std::sync::Arc;

use disk::Disk;
use intake::files::{Ailments, Config, Means, follow};
use model::{Clock, Feed, Rng};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::pipeline::Pipeline;
use crate::store::SOURCES_FILE;

/// What following them is built on.
pub(super) struct World<'a> {
    pub(super) pipeline: &'a Arc<Pipeline>,
    pub(super) receiver: Arc<intake::Receiver>,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) rng: &'a Arc<dyn Rng>,
    pub(super) disk: &'a Arc<dyn Disk>,
    pub(super) data_dir: &'a Path,
    pub(super) key: [u8; 32],
    pub(super) ailments: Arc<Ailments>,
}

/// Follows the files of a configuration, if it names any, until `halted` says so.
pub(super) fn start(
    config: Config,
    world: World<'_>,
    halted: watch::Receiver<bool>,
    tasks: &mut JoinSet<&'static str>,
) {
    if config.files.is_empty() {
        return;
    }
    let (records, ledger) = (Arc::clone(world.pipeline), world.pipeline.ledger().clone());
    let means = Means {
        receiver: world.receiver,
        losses: Arc::clone(world.pipeline) as _,
        clock: Arc::clone(world.clock),
        rng: Arc::clone(world.rng),
        disk: Arc::clone(world.disk),
        kept: world.data_dir.join(SOURCES_FILE),
        key: world.key,
        records: Box::new(move |tenant, from| Ok(Box::new(records.events(tenant, from)?) as Box<dyn Feed>)),
        durable: Box::new(move |tenant| {
            let status = ledger.status().ok()?;
            let of = |log: &&ledger::LogStatus| log.origin.as_str().rsplit('/').next() == Some(tenant.as_str());
            Some(status.logs.iter().find(of)?.durable)
        }),
        ailments: world.ailments,
    };
    tasks.spawn(async move {
        follow(config, means, halted).await;
        "files"
    });
}
