//! Journals of systemd: those that are uploaded, and those that this program itself follows.

use std::sync::Arc;

use intake::Receiver;
use intake::journal::follow::{JournalConfig, follow};
use intake::journal::{Journals, Means};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::files::World;
use crate::store::JOURNALS_FILE;

/// Makes what takes them.
pub(super) fn open(receiver: Arc<Receiver>, world: World<'_>) -> Arc<Journals> {
    let (records, durable) = world.readers();
    let means = Means {
        disk: Arc::clone(world.disk),
        kept: world.data_dir.join(JOURNALS_FILE),
        key: world.key,
        records,
        durable,
        losses: Arc::clone(world.pipeline) as _,
        clock: Arc::clone(world.clock),
        ailments: world.ailments,
    };
    Arc::new(Journals::new(receiver, means))
}

/// Keeps how far they came, and follows those of a configuration, until `halted` says so.
pub(super) fn start(
    config: Vec<JournalConfig>,
    journals: &Arc<Journals>,
    halted: &watch::Receiver<bool>,
    tasks: &mut JoinSet<&'static str>,
) {
    let (keeping, until) = (Arc::clone(journals), halted.clone());
    tasks.spawn(async move {
        keeping.keep(until).await;
        "journals"
    });
    if config.is_empty() {
        return;
    }
    let (journals, halted) = (Arc::clone(journals), halted.clone());
    tasks.spawn(async move {
        follow(config, journals, halted).await;
        "journal"
    });
}
