//! One tenant's Delta table: opening it, what it holds, and the one place that commits to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use deltalake::DeltaTableError;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Transaction};
use deltalake::logstore::{LogStoreRef, StorageConfig, default_logstore};
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::table::state::DeltaTableState;
use futures_util::TryStreamExt;
use model::{Clock, Position, Tenant};
use object_store::ObjectStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use url::Url;

use crate::columns::{STATISTICS, delta_columns};
use crate::error::Error;
use crate::file::{DataFile, object};
use crate::provider::STORE;
use crate::store::Store;
use crate::tokens;

/// Where Delta keeps its log, below the table.
const LOG: &str = "_delta_log";

/// What a commit changes.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) add: Vec<DataFile>,
    pub(crate) remove: Vec<DataFile>,
    /// The first position that the lake has not, after this commit; absent when no rows come or go by the ledger.
    pub(crate) next: Option<Position>,
    /// Whether rows come or go, rather than move.
    pub(crate) data_change: bool,
}

/// One tenant's table. Only one task uses it at a time: it is behind a lock in `lake`.
pub(crate) struct Table {
    tenant: Tenant,
    store: Store,
    log: LogStoreRef,
    state: DeltaTableState,
    clock: Arc<dyn Clock>,
    /// Live files, by path.
    files: Arc<Vec<DataFile>>,
    next: Position,
    /// The newest version that a checkpoint covers, or that was there when we opened.
    checkpoint: u64,
    /// The files of a commit that began and of which the end was not seen.
    unsure: Option<Vec<String>>,
    /// Live files that had no token filters beside them when we opened.
    lacking: Vec<String>,
}

impl Table {
    /// Opens the tenant's table, making it if need be. What an earlier process wrote and did not commit is removed.
    pub(crate) async fn open(store: Store, tenant: Tenant, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        // A scheme of our own: under `file` Delta looks for the path beside the store.
        let url = Url::parse(&format!("{STORE}/{tenant}/")).map_err(|_| Error::UnknownTenant)?;
        let root: Arc<dyn ObjectStore> = Arc::new(store.clone());
        let below: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(store.clone(), tenant.as_str()));
        let log = default_logstore(below, root, &url, &StorageConfig::default());
        let state = match DeltaTableState::try_new(log.as_ref(), None).await {
            Ok(state) => state,
            Err(_) if !has_log(&store, &tenant).await? => create(&log).await?,
            Err(error) => return Err(Error::delta("read the log of the table")(error)),
        };
        let version = state.version();
        let mut table = Self {
            tenant,
            store,
            log,
            state,
            clock,
            files: Arc::default(),
            next: 0,
            checkpoint: version,
            unsure: None,
            lacking: Vec::new(),
        };
        table.look().await?;
        table.sweep().await?;
        Ok(table)
    }

    /// Reads the snapshot: files and position.
    async fn look(&mut self) -> Result<(), Error> {
        let mut files = Vec::new();
        for file in self.state.log_data() {
            files.push(DataFile::read(&file.path(), file.size(), file.stats().as_deref())?);
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        self.files = Arc::new(files);
        let version = self.state.transaction_version(self.log.as_ref(), self.app_id()).await;
        let version = version.map_err(Error::delta("read the position of the table"))?;
        let next = u64::try_from(version.unwrap_or(0));
        self.next = next.map_err(|_| Error::Foreign { why: "its position is below zero" })?;
        Ok(())
    }

    /// Names the ledger to Delta: the `txn` of this id counts its positions.
    fn app_id(&self) -> String {
        format!("dihya/events/{}", self.tenant)
    }

    /// Returns the live files.
    pub(crate) fn files(&self) -> Arc<Vec<DataFile>> {
        Arc::clone(&self.files)
    }

    /// Takes the names of live files that had no token filters beside them when we opened.
    pub(crate) fn take_lacking(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lacking)
    }

    /// Returns the first position that the table has not.
    pub(crate) fn next(&self) -> Position {
        self.next
    }

    /// Returns the version of the newest commit.
    pub(crate) fn version(&self) -> u64 {
        self.state.version()
    }

    /// Returns how many commits the log has had since it was last cut, by this process.
    pub(crate) fn since_checkpoint(&self) -> u64 {
        self.version().saturating_sub(self.checkpoint)
    }

    /// Commits a change: durable on return, with the position in the same log entry (invariant E-2).
    ///
    /// # Errors
    /// When the log does not take it. Then it is not known whether the entry is there; [`Self::refresh`] tells.
    pub(crate) async fn commit(&mut self, change: &Change) -> Result<(), Error> {
        let now = self.clock.now().as_millisecond();
        let tenant = self.tenant.as_str();
        let removes = change.remove.iter().map(|file| Action::Remove(file.remove(tenant, now, change.data_change)));
        let adds = change.add.iter().map(|file| Action::Add(file.add(tenant, now, change.data_change)));
        let actions = removes.chain(adds).collect();
        let mut properties = CommitProperties::default()
            .with_max_retries(0)
            .with_create_checkpoint(false)
            .with_cleanup_expired_logs(Some(false));
        if let Some(next) = change.next {
            let next = i64::try_from(next).map_err(|_| Error::Foreign { why: "a position is beyond 2^63" })?;
            properties = properties.with_application_transaction(Transaction::new(self.app_id(), next));
        }
        self.unsure = Some(change.add.iter().map(|file| file.path.clone()).collect());
        // An operation without a predicate: what it says stays in the log.
        let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
        let committed = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(&self.state), Arc::clone(&self.log), operation)
            .await
            .map_err(Error::delta("commit to the table"))?;
        self.state = committed.snapshot();
        self.unsure = None;
        let gone: BTreeSet<&str> = change.remove.iter().map(|file| file.path.as_str()).collect();
        let kept = self.files.iter().filter(|file| !gone.contains(file.path.as_str()));
        let mut files: Vec<DataFile> = kept.chain(&change.add).cloned().collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        self.files = Arc::new(files);
        self.next = change.next.unwrap_or(self.next);
        Ok(())
    }

    /// Tells whether a commit began and its end was not seen: it failed, or its future was dropped.
    pub(crate) fn is_unsure(&self) -> bool {
        self.unsure.is_some()
    }

    /// Reads the log again, after a commit of which nothing is known, and removes its files if it did not come to be.
    pub(crate) async fn refresh(&mut self) -> Result<(), Error> {
        let state = DeltaTableState::try_new(self.log.as_ref(), None).await;
        self.state = state.map_err(Error::delta("read the log of the table"))?;
        self.look().await?;
        let live: BTreeSet<&str> = self.files.iter().map(|file| file.path.as_str()).collect();
        for path in self.unsure.iter().flatten().filter(|path| !live.contains(path.as_str())) {
            // Otherwise each new attempt would leave its files behind.
            self.forget(path)?;
        }
        self.unsure = None;
        Ok(())
    }

    /// Writes a checkpoint of the newest version and removes all of the log before it, so that nothing of what was
    /// removed from the table stands in its log any more.
    pub(crate) async fn checkpoint(&mut self) -> Result<(), Error> {
        let version = self.version();
        let mut table = deltalake::DeltaTable::new(Arc::clone(&self.log));
        table.state = Some(self.state.clone());
        let written = deltalake::checkpoints::create_checkpoint(&table, None).await;
        written.map_err(Error::delta("write a checkpoint"))?;
        self.checkpoint = version;
        let place = Path::from(format!("{}/{LOG}", self.tenant));
        let entries: Vec<_> = self.store.list(Some(&place)).try_collect().await.map_err(object("list the log"))?;
        for entry in entries {
            let old = entry.location.filename().and_then(version_of).is_some_and(|of| of < version);
            if old {
                self.store.remove(&entry.location).map_err(object("remove what is old of the log"))?;
            }
        }
        let state = DeltaTableState::try_new(self.log.as_ref(), None).await;
        self.state = state.map_err(Error::delta("read the log of the table"))?;
        Ok(())
    }

    /// Removes a file that the table does not name any more, its token filters first: they are of its words.
    pub(crate) fn forget(&self, path: &str) -> Result<(), Error> {
        self.remove(&tokens::place(path))?;
        self.remove(path)
    }

    fn remove(&self, path: &str) -> Result<(), Error> {
        let location = Path::from(format!("{}/{path}", self.tenant));
        self.store.remove(&location).map_err(object("remove a data file"))
    }

    /// Removes every file beside the log that is neither named by it nor the token filters of one that is: what was begun and
    /// not committed, or removed and not yet deleted when the process ended. To be called before anybody asks.
    async fn sweep(&mut self) -> Result<(), Error> {
        let place = Path::from(format!("{0}/tenant={0}", self.tenant));
        let found: Vec<_> = self.store.list(Some(&place)).try_collect().await.map_err(object("list the data files"))?;
        let named: BTreeSet<&str> = self.files.iter().map(|file| file.path.as_str()).collect();
        let mut lacking: BTreeMap<String, &str> = named.iter().map(|path| (tokens::place(path), *path)).collect();
        let prefix = format!("{}/", self.tenant);
        for file in found {
            let path = file.location.as_ref().strip_prefix(&prefix).unwrap_or_default();
            if lacking.remove(path).is_none() && !named.contains(path) {
                self.remove(path)?;
            }
        }
        self.lacking = lacking.into_values().map(str::to_owned).collect();
        Ok(())
    }
}

/// Returns the version that a file of the log is of.
fn version_of(name: &str) -> Option<u64> {
    let (digits, rest) = name.split_once('.')?;
    let ours = rest == "json" || rest == "crc" || rest.starts_with("checkpoint.");
    (digits.len() == 20 && ours).then(|| digits.parse().ok())?
}

async fn has_log(store: &Store, tenant: &Tenant) -> Result<bool, Error> {
    let place = Path::from(format!("{tenant}/{LOG}"));
    let entries: Vec<_> = store.list(Some(&place)).try_collect().await.map_err(object("list the log"))?;
    Ok(entries.iter().any(|entry| entry.location.filename().and_then(version_of).is_some()))
}

async fn create(log: &LogStoreRef) -> Result<DeltaTableState, Error> {
    let settings = [
        ("delta.dataSkippingStatsColumns", STATISTICS.join(",")),
        // What is removed is gone with the next checkpoint, not a month later.
        ("delta.logRetentionDuration", "interval 0 seconds".to_owned()),
        ("delta.deletedFileRetentionDuration", "interval 0 seconds".to_owned()),
        ("delta.enableExpiredLogCleanup", "false".to_owned()),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), Some(value)));
    let created: Result<_, DeltaTableError> = CreateBuilder::new()
        .with_log_store(Arc::clone(log))
        .with_table_name("events")
        .with_columns(delta_columns())
        .with_partition_columns(["tenant", "day"])
        .with_configuration(settings)
        .with_save_mode(SaveMode::ErrorIfExists)
        .await;
    created.map_err(Error::delta("create the table"))?;
    DeltaTableState::try_new(log.as_ref(), None).await.map_err(Error::delta("read the log of the table"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_log_are_known_by_their_version() {
        for (name, version) in [
            ("00000000000000000007.json", Some(7)),
            ("00000000000000000012.checkpoint.parquet", Some(12)),
            ("00000000000000000012.tmp", None),
            ("7.json", None),
            ("_last_checkpoint", None),
        ] {
            assert_eq!(version_of(name), version, "{name}");
        }
    }
}
