//! Upkeep of the tables: small files become large ones, old rows go, and nothing of them stays in Delta's log.
//!
//! One owner per table: everything here runs one after the other, so no rewriting meets another. Flushes go on
//! meanwhile; the two meet at the table's lock, for the length of a commit.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion::functions_aggregate::expr_fn::{count, sum};
use datafusion::logical_expr::{ident, lit};
use datafusion::prelude::DataFrame;
use model::Tenant;
use model::limits::{
    LAKE_COMMITS_MAX, LAKE_FILE_BYTES_MAX, LAKE_REMOVED_KEPT, LAKE_SMALL_FILES_MAX, LAKE_TOKENS_MADE_MAX,
    QUERY_TIME_MAX,
};
use tracing::{info, warn};

use crate::ask::{Limits, Rows};
use crate::columns::file_schema;
use crate::error::Error;
use crate::fault::Point;
use crate::file::{DataFile, FileWriter, day_of};
use crate::lake::{Lake, Shard};
use crate::provider::Events;
use crate::search::over;
use crate::syntax::Pattern;
use crate::table::Change;

/// How often upkeep looks whether there is something to do, by the lake's clock; the first time this long after a start.
const EVERY: Duration = Duration::from_secs(60);
/// How often it looks at the clock.
const LOOK: Duration = Duration::from_secs(2);
/// Size up to which a file joins others however small those are.
const TINY: u64 = 8 << 20;
/// Bytes of files that are joined in one go, compressed: some of the largest files, well within the time of a query.
const JOINED_BYTES_MAX: u64 = 4 * LAKE_FILE_BYTES_MAX as u64;
/// Most time for one rewriting: a day's files, sorted with what memory a query has.
const REWRITE: Limits = Limits { rows: usize::MAX, time: QUERY_TIME_MAX };

/// How long rows are kept, in days after they were admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    days: u32,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// Whose; all tenants' without it.
    tenant: Option<Tenant>,
    streams: Pattern,
    days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self::new(365)
    }
}

impl Retention {
    /// Keeps everything for `days`.
    #[must_use]
    pub fn new(days: u32) -> Self {
        Self { days, rules: Vec::new() }
    }

    /// Keeps the streams that `pattern` means (`*` stands for any characters), of one tenant or of all, for `days`; the first
    /// rule that fits decides.
    #[must_use]
    pub fn rule(mut self, tenant: Option<Tenant>, pattern: &str, days: u32) -> Self {
        self.rules.push(Rule { tenant, streams: Pattern::wild(pattern), days });
        self
    }

    fn of<'a>(&'a self, tenant: &'a Tenant) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().filter(move |rule| rule.tenant.as_ref().is_none_or(|of| of == tenant))
    }

    /// Returns how many days a stream is kept.
    #[must_use]
    pub fn days(&self, tenant: &Tenant, stream: &str) -> u32 {
        self.of(tenant).find(|rule| rule.streams.matches(stream)).map_or(self.days, |rule| rule.days)
    }

    fn shortest(&self, tenant: &Tenant) -> u32 {
        self.of(tenant).map(|rule| rule.days).chain([self.days]).min().unwrap_or(self.days)
    }
}

/// What one round of upkeep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// Rows that were too old and are gone.
    pub expired_rows: u64,
    /// Files that became part of larger ones.
    pub joined_files: u64,
    /// Files that were deleted from the disk.
    pub deleted_files: u64,
    /// Files whose token filters were missing or damaged and were made again.
    pub filtered_files: u64,
}

/// What a table holds, by its own log and by its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Live files.
    pub files: u64,
    /// Rows by the log.
    pub logged_rows: u64,
    /// Rows by the files.
    pub stored_rows: u64,
    /// Rows whose position another row has too, or that stand at a position the table does not claim to have.
    pub misplaced_rows: u64,
    /// The first position that the table has not.
    pub next: u64,
}

impl Verified {
    /// Tells whether everything agrees.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.logged_rows == self.stored_rows && self.misplaced_rows == 0
    }
}

impl Lake {
    /// Keeps all tables up, for ever. To be run on one task of the caller's; dropping the future at any time is safe.
    pub async fn run_upkeep(&self) -> Infallible {
        let mut next = self.0.world.clock.monotonic() + EVERY;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.0.world.clock.monotonic();
            if now < next {
                continue;
            }
            next = now + EVERY;
            for tenant in self.0.shards.keys() {
                match self.upkeep(tenant).await {
                    Ok(done) if done == Upkeep::default() => {}
                    Ok(done) => info!(
                        expired_rows = done.expired_rows,
                        joined_files = done.joined_files,
                        deleted_files = done.deleted_files,
                        filtered_files = done.filtered_files,
                        "kept the lake up"
                    ),
                    Err(error) => warn!(error = %error, "could not keep the lake up"),
                }
            }
        }
    }

    /// Does one round for one tenant: expiry, joining of small files, cleaning of the log, deletion. Two rounds of one
    /// tenant must not run at the same time.
    ///
    /// # Errors
    /// When the tenant is unknown, or files cannot be used; what was done stays done.
    pub async fn upkeep(&self, tenant: &Tenant) -> Result<Upkeep, Error> {
        let shard = self.shard(tenant)?;
        let expired_rows = self.expire(shard).await?;
        let joined_files = self.join_small(shard).await?;
        self.cut_log(shard, expired_rows > 0 || joined_files > 0).await?;
        let deleted_files = self.delete_removed(shard).await?;
        let filtered_files = self.make_filters(shard).await?;
        Ok(Upkeep { expired_rows, joined_files, deleted_files, filtered_files })
    }

    /// Removes rows that are too old, file by file.
    async fn expire(&self, shard: &Shard) -> Result<u64, Error> {
        let today = day_of(self.0.world.clock.now().as_microsecond());
        let retention = self.retention();
        let tenant = &shard.tenant;
        // The first day on which rows of that day that are kept so long are too old.
        let over = |day: i32, days: u32| day.saturating_add(i32::try_from(days).unwrap_or(i32::MAX)).saturating_add(1);
        let files = self.files(shard);
        let mut expired = 0;
        for file in files.iter().filter(|file| over(file.day, retention.shortest(tenant)) <= today) {
            if lock(&shard.looked).get(&file.path).is_some_and(|due| *due > today) {
                continue;
            }
            let streams = self.streams(shard, file).await?;
            let due = |stream: &str| over(file.day, retention.days(tenant, stream));
            let gone: Vec<&str> = streams.keys().map(String::as_str).filter(|stream| due(stream) <= today).collect();
            if gone.is_empty() {
                // Until then nobody need look into it again.
                let next = streams.keys().map(|stream| due(stream)).min().unwrap_or(i32::MAX);
                let mut looked = lock(&shard.looked);
                // Unless the rules are others by now: those who changed them forget what was found by these.
                if Arc::ptr_eq(&retention, &self.retention()) {
                    looked.insert(file.path.clone(), next);
                }
                continue;
            }
            let rows: u64 = gone.iter().filter_map(|stream| streams.get(*stream)).sum();
            let old = std::slice::from_ref(file);
            let all = gone.len() == streams.len();
            let add = if all { Vec::new() } else { self.rewrite(shard, file.day, old, &gone).await? };
            self.replace(shard, old.to_vec(), add, rows).await?;
            expired += rows;
        }
        let live = self.files(shard);
        let live: BTreeSet<&str> = live.iter().map(|file| file.path.as_str()).collect();
        lock(&shard.looked).retain(|path, _| live.contains(path.as_str()));
        Ok(expired)
    }

    /// Makes large files of small ones, day by day.
    async fn join_small(&self, shard: &Shard) -> Result<u64, Error> {
        let today = day_of(self.0.world.clock.now().as_microsecond());
        let often = shard.commits.load(Ordering::Relaxed) >= LAKE_COMMITS_MAX;
        let mut days: BTreeMap<i32, Vec<DataFile>> = BTreeMap::new();
        for file in self.files(shard).iter().filter(|file| file.bytes < LAKE_FILE_BYTES_MAX as u64 / 2) {
            days.entry(file.day).or_default().push(file.clone());
        }
        let mut joined = 0;
        for (day, files) in days {
            let closed = day < today;
            if files.len() < 2 || !(closed || often || files.len() >= LAKE_SMALL_FILES_MAX) {
                continue;
            }
            let files = together(files, if closed { u64::MAX } else { TINY });
            if files.len() < 2 {
                continue;
            }
            joined += files.len() as u64;
            let add = self.rewrite(shard, day, &files, &[]).await?;
            self.replace(shard, files, add, 0).await?;
        }
        if often {
            shard.commits.store(0, Ordering::Relaxed);
        }
        Ok(joined)
    }

    fn files(&self, shard: &Shard) -> Arc<Vec<DataFile>> {
        Arc::clone(&shard.view().files)
    }

    /// Runs a query over some of the table's files.
    async fn over(
        &self,
        shard: &Shard,
        files: &[DataFile],
        make: impl FnOnce(DataFrame) -> datafusion::error::Result<DataFrame> + Send + 'static,
    ) -> Result<Rows, Error> {
        let (files, tokens) = (Arc::new(files.to_vec()), shard.tokens.clone());
        let events = Events { tenant: shard.tenant.clone(), files, hot: Vec::new(), tokens };
        let turn = self.0.engine.own_turn().await?;
        // One file after the other: what is read of each at once is a row group, and sorting has all of the query's memory.
        self.0.engine.start(events, 1, REWRITE, turn, |session| Box::pin(over(session, make))).await
    }

    /// Returns how many rows each stream has in a file.
    async fn streams(&self, shard: &Shard, file: &DataFile) -> Result<BTreeMap<String, u64>, Error> {
        let file = std::slice::from_ref(file);
        let rows =
            self.over(shard, file, |rows| rows.aggregate(vec![ident("stream")], vec![count(lit(1_i64))])).await?;
        let mut streams = BTreeMap::new();
        for batch in rows.all().await? {
            let (stream, n) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>());
            streams
                .extend((0..batch.num_rows()).map(|row| (stream.value(row).to_owned(), n.value(row).unsigned_abs())));
        }
        Ok(streams)
    }

    /// Writes the rows of a day's `files` anew, sorted, without those of the streams `gone`. Nothing names the new files
    /// yet.
    async fn rewrite(
        &self,
        shard: &Shard,
        day: i32,
        files: &[DataFile],
        gone: &[&str],
    ) -> Result<Vec<DataFile>, Error> {
        let columns: Vec<_> = file_schema().fields().iter().map(|field| ident(field.name())).collect();
        let order = ["stream", "ts", "position"].map(|name| ident(name).sort(true, true)).to_vec();
        let left_out = ident("stream").in_list(gone.iter().map(|stream| lit(*stream)).collect(), true);
        let all = gone.is_empty();
        let rows = self.over(shard, files, move |rows| {
            let rows = if all { rows } else { rows.filter(left_out)? };
            rows.select(columns)?.sort(order)
        });
        let mut rows = rows.await?;
        let expected = usize::try_from(files.iter().map(|file| file.rows).sum::<u64>()).unwrap_or(usize::MAX);
        let (mut written, mut open) = (Vec::new(), None);
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let writer = match open.take() {
                Some(writer) => writer,
                None => FileWriter::begin(&self.0.store, shard.tenant.as_str(), day, &self.name(), expected)?,
            };
            let writer = write(writer, batch).await?;
            if writer.is_full() { written.push(finish(writer).await?) } else { open = Some(writer) }
        }
        if let Some(writer) = open {
            written.push(finish(writer).await?);
        }
        Ok(written)
    }

    /// Commits that `add` stands for `remove`, of whose rows `expired` are left out.
    async fn replace(
        &self,
        shard: &Shard,
        remove: Vec<DataFile>,
        add: Vec<DataFile>,
        expired: u64,
    ) -> Result<(), Error> {
        let rows = |files: &[DataFile]| files.iter().map(|file| file.rows).sum::<u64>();
        if rows(&add) + expired != rows(&remove) {
            return Err(Error::Foreign { why: "its files hold other rows than its log says" });
        }
        self.die(Point::Rewritten)?;
        let now = self.0.world.clock.monotonic();
        let paths: Vec<String> = remove.iter().map(|file| file.path.clone()).collect();
        let change = Change { add, remove, next: None, data_change: expired > 0 };
        let mut table = shard.table.lock().await;
        self.recover(shard, &mut table).await?;
        table.commit(&change).await?;
        self.settled(shard, &table);
        lock(&shard.removed).extend(paths.into_iter().map(|path| (now, path)));
        self.die(Point::Removed)
    }

    /// Cuts the log at a checkpoint, so that it forgets what is not in the table any more; if nothing was removed, when it
    /// has become long.
    async fn cut_log(&self, shard: &Shard, removed: bool) -> Result<(), Error> {
        let mut table = shard.table.lock().await;
        self.recover(shard, &mut table).await?;
        if removed || table.since_checkpoint() >= LAKE_COMMITS_MAX { table.checkpoint().await } else { Ok(()) }
    }

    /// Deletes files that no query can need any more.
    async fn delete_removed(&self, shard: &Shard) -> Result<u64, Error> {
        let now = self.0.world.clock.monotonic();
        let old = |since: Duration| now.saturating_sub(since) >= LAKE_REMOVED_KEPT;
        let due: Vec<String> = {
            let removed = lock(&shard.removed);
            removed.iter().filter(|(since, _)| old(*since)).map(|(_, path)| path.clone()).collect()
        };
        if !due.is_empty() {
            self.0.engine.forget_footers();
        }
        for path in &due {
            shard.table.lock().await.forget(path)?;
        }
        lock(&shard.removed).retain(|(since, _)| !old(*since));
        Ok(due.len() as u64)
    }

    /// Makes token filters of files that have none that can be used, some at a time. Nobody but upkeep takes files away, so none
    /// gets filters after it is gone. A file that cannot be read is left to who asks next.
    async fn make_filters(&self, shard: &Shard) -> Result<u64, Error> {
        let lacking = shard.tokens.take_lacking(&self.files(shard), LAKE_TOKENS_MADE_MAX);
        let mut count = 0;
        for file in lacking {
            let (tokens, tenant) = (shard.tokens.clone(), shard.tenant.clone());
            let made = tokio::task::spawn_blocking(move || tokens.make(tenant.as_str(), &file));
            match made.await.map_err(|_| Error::Rows { doing: "make filters" })? {
                Ok(()) => count += 1,
                Err(error) => warn!(error = %error, "could not make the token filters of a file"),
            }
        }
        Ok(count)
    }

    /// Counts a tenant's rows in the log and in the files, and looks whether each position stands once.
    ///
    /// # Errors
    /// When the tenant is unknown, or files are missing or cannot be read.
    pub async fn verify(&self, tenant: &Tenant) -> Result<Verified, Error> {
        let shard = self.shard(tenant)?;
        let (files, next) = {
            let table = shard.table.lock().await;
            (table.files(), table.next())
        };
        let mut verified = Verified {
            files: files.len() as u64,
            logged_rows: files.iter().map(|file| file.rows).sum(),
            next,
            ..Verified::default()
        };
        let claimed = i64::try_from(next).unwrap_or(i64::MAX);
        let odd = ident("n").not_eq(lit(1_i64)).or(ident("position").gt_eq(lit(claimed)));
        for (rows, which) in [(&mut verified.stored_rows, lit(true)), (&mut verified.misplaced_rows, odd)] {
            let total = self.over(shard, &files, |rows| {
                let each = rows.aggregate(vec![ident("position")], vec![count(lit(1_i64)).alias("n")])?;
                each.filter(which)?.aggregate(vec![], vec![sum(ident("n"))])
            });
            for batch in total.await?.all().await? {
                *rows +=
                    batch.column(0).as_primitive::<Int64Type>().iter().flatten().map(i64::unsigned_abs).sum::<u64>();
            }
        }
        Ok(verified)
    }
}

/// Returns the files that are worth joining now: each at most as large as those before it together or as `tiny`, so that
/// a row is rewritten a handful of times in a day; and not more than one rewriting can do in its time.
fn together(mut files: Vec<DataFile>, tiny: u64) -> Vec<DataFile> {
    files.sort_by_key(|file| file.bytes);
    let mut sum = 0;
    files.retain(|file| {
        let joins = file.bytes <= tiny.max(sum) && sum + file.bytes <= JOINED_BYTES_MAX;
        sum += if joins { file.bytes } else { 0 };
        joins
    });
    files
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn write(mut writer: FileWriter, rows: RecordBatch) -> Result<FileWriter, Error> {
    let written = tokio::task::spawn_blocking(move || writer.write(&rows).map(|()| writer));
    written.await.map_err(|_| Error::Rows { doing: "write a data file" })?
}

async fn finish(writer: FileWriter) -> Result<DataFile, Error> {
    let finished = tokio::task::spawn_blocking(move || writer.finish());
    finished.await.map_err(|_| Error::Rows { doing: "write a data file" })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pattern_that_fits_decides_how_long() {
        let [clinic, shop] = ["clinic", "shop"].map(|name| Tenant::new(name).expect("a tenant"));
        let retention = Retention::default().rule(Some(clinic.clone()), "audit", 3_650).rule(None, "web-*", 30).rule(
            Some(clinic.clone()),
            "*",
            90,
        );
        let days = |tenant| ["audit", "web-1", "db"].map(|stream| retention.days(tenant, stream));
        assert_eq!((days(&clinic), days(&shop)), ([3_650, 30, 90], [365, 30, 365]));
        let month = Retention::new(60).rule(Some(clinic.clone()), "*", 7);
        assert_eq!((month.shortest(&clinic), month.shortest(&shop)), (7, 60));
    }

    #[test]
    fn a_large_file_waits_until_the_small_ones_are_as_large() {
        let file = |bytes: u64| DataFile {
            path: bytes.to_string(),
            bytes,
            day: 0,
            rows: 1,
            ts: (0, 0),
            severity: (0, 0),
            service: None,
            service_nulls: 1,
        };
        let sizes = |files: Vec<DataFile>| files.iter().map(|file| file.bytes).collect::<Vec<_>>();
        assert_eq!(sizes(together(vec![file(100 << 20), file(1), file(TINY)], TINY)), [1, TINY]);
        assert_eq!(sizes(together(vec![file(2 * TINY), file(TINY), file(TINY)], TINY)), [TINY, TINY, 2 * TINY]);
        let most = JOINED_BYTES_MAX / 2;
        assert_eq!(sizes(together(vec![file(most), file(most), file(most)], u64::MAX)), [most, most]);
    }
}
