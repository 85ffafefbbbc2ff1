//! Queries: one SQL statement over one tenant's events, within limits of rows, time and memory.

use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{CrossJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{DataFrame, SQLOptions, SessionConfig, SessionContext};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::Statement as Ansi;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use model::Tenant;
use model::limits::{
    LAKE_FOOTERS_BYTES_MAX, PAYLOAD_BYTES_MAX, QUERIES_MAX, QUERY_MEMORY_MAX, QUERY_SPILL_BYTES_MAX, QUERY_TIME_MAX,
    SQL_BYTES_MAX, SQL_STEPS_MAX,
};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use url::Url;

use crate::error::Error;
use crate::lake::{Lake, World};
use crate::out::{Encoder, RowsOut};
use crate::provider::{Events, STORE};
use crate::sql::Sql;
use crate::store::Store;
use crate::word;

/// The one table that a query can name.
pub(crate) const TABLE: &str = "events";
/// Partitions that one query works on at a time: more would take the machine from the others.
pub(crate) const WAYS: usize = 2;
/// Stack of a thread that plans and runs queries: measured, the deepest that `limits::SQL_STEPS_MAX` allows takes less
/// than half of it, unoptimised.
const STACK_BYTES: usize = 32 << 20;
/// Rows that are worked on at a time: texts of a batch stand one after the other, with offsets of 32 bits.
const BATCH_ROWS: usize = 1_024;
const _: () = assert!(BATCH_ROWS * PAYLOAD_BYTES_MAX < i32::MAX as usize, "a batch of the largest events can be made");
/// Rows of the smaller side of a join without an equality.
const SIDE_ROWS_MAX: usize = 1_024;
/// Time that a query has beyond its own to say that it is over.
const LATE: Duration = Duration::from_secs(1);
/// Batches that wait for a slow reader.
const WAITING_MAX: usize = 2;
/// Functions that make much of a number: memory is counted where rows are kept, not where a text is made. What makes
/// much of long texts and many rows stays; the batch is bounded at 2 GiB by Arrow.
const GREEDY: [&str; 10] = [
    "repeat",
    "lpad",
    "rpad",
    "array_repeat",
    "list_repeat",
    "array_resize",
    "list_resize",
    "range",
    "generate_series",
    "gen_series",
];

/// How much a query may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rows after which the answer ends; [`Answer::is_truncated`] says so.
    pub rows: usize,
    /// Time for the whole answer, the reader's slowness included; at most `limits::QUERY_TIME_MAX`.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rows: 100_000, time: Duration::from_secs(30) }
    }
}

/// What all queries share: memory, spill directory, turns.
pub(crate) struct Engine {
    runtime: Arc<RuntimeEnv>,
    turns: Arc<Semaphore>,
    own: Arc<Semaphore>,
    /// Threads of their own: what computes on rows keeps no connection waiting, and a plan that is as deep as may be needs
    /// a deep stack. As many as can be at work: a join may compute for seconds without a pause, and the others then have
    /// the scheduler of the machine on their side. Present until dropped.
    threads: Option<Runtime>,
}

impl Engine {
    pub(crate) fn open(world: &World, spill: &Path, store: &Store) -> Result<Self, Error> {
        wipe(world, spill)?;
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![spill.to_owned()]))
            .with_max_temp_directory_size(QUERY_SPILL_BYTES_MAX);
        let runtime = RuntimeEnvBuilder::new()
            .with_disk_manager_builder(disk)
            .with_metadata_cache_limit(LAKE_FOOTERS_BYTES_MAX)
            .build()
            .map_err(Error::plan)?;
        let url = Url::parse(STORE).map_err(|_| Error::Foreign { why: "its store has no name" })?;
        runtime.register_object_store(&url, Arc::new(store.clone()));
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WAYS * QUERIES_MAX)
            .thread_stack_size(STACK_BYTES)
            .thread_name("lake-query")
            .enable_time()
            .build()
            .map_err(|source| disk::Error { doing: "start threads for", path: spill.to_owned(), source })?;
        Ok(Self {
            runtime: Arc::new(runtime),
            turns: Arc::new(Semaphore::new(QUERIES_MAX)),
            own: Arc::new(Semaphore::new(1)),
            threads: Some(threads),
        })
    }

    /// Takes one of the turns of queries.
    pub(crate) fn turn(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.turns).try_acquire_owned().map_err(|_| Error::Busy)
    }

    /// Waits for the turn of upkeep, which takes none from those who ask.
    pub(crate) async fn own_turn(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.own).acquire_owned().await.map_err(|_| Error::Busy)
    }

    /// Makes a session in which `events` is the only table and nothing can be named that is not ours (invariant E-3).
    fn session(&self, events: Events, ways: usize) -> Result<SessionContext, Error> {
        let config = SessionConfig::new()
            .with_default_catalog_and_schema("dihya", "lake")
            .with_information_schema(false)
            .with_target_partitions(ways)
            .with_batch_size(BATCH_ROWS);
        let pool = Arc::new(FairSpillPool::new(QUERY_MEMORY_MAX / QUERIES_MAX));
        let runtime = RuntimeEnvBuilder::from_runtime_env(&self.runtime).with_memory_pool(pool).build();
        let mut builder = SessionStateBuilder::new_with_default_features()
            .with_config(config)
            .with_runtime_env(Arc::new(runtime.map_err(Error::plan)?))
            .with_file_formats(Vec::new())
            .with_table_factories(HashMap::new())
            .with_table_functions(HashMap::new());
        if let Some(functions) = builder.scalar_functions() {
            let greedy = |name: &str| GREEDY.contains(&name);
            functions.retain(|f| !greedy(f.name()) && !f.aliases().iter().any(|name| greedy(name)));
        }
        let session = SessionContext::new_with_state(builder.build());
        session.register_udf(word::function().as_ref().clone());
        session.register_table(TABLE, Arc::new(events)).map_err(Error::plan)?;
        Ok(session)
    }

    /// Makes a query and runs it, at most `ways` files at a time, on a task that ends with what is returned.
    ///
    /// # Errors
    /// Those of making and planning it; those of running come with the rows.
    pub(crate) async fn start(
        &self,
        events: Events,
        ways: usize,
        limits: Limits,
        turn: OwnedSemaphorePermit,
        make: impl FnOnce(SessionContext) -> BoxFuture<'static, Result<DataFrame, Error>> + Send + 'static,
    ) -> Result<Rows, Error> {
        let time = limits.time.min(QUERY_TIME_MAX);
        let session = self.session(events, ways)?;
        let (send, receive) = mpsc::channel(WAITING_MAX);
        let (planned, schema) = oneshot::channel();
        let truncated = Arc::new(AtomicBool::new(false));
        let cut = Arc::clone(&truncated);
        let mut task = JoinSet::new();
        let query = async move {
            let _turn = turn;
            let mut planned = Some(planned);
            let work = async {
                let query = limited(make(session).await?, limits.rows)?;
                let context = Arc::new(query.task_ctx());
                let plan = interruptible(query.create_physical_plan().await.map_err(Error::plan)?)?;
                let _told = planned.take().map(|planned| planned.send(Ok(plan.schema())));
                hand_on(plan, context, limits.rows, &send, &cut).await
            };
            let error = match tokio::time::timeout(time, work).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(_) => slow(time),
            };
            match planned {
                Some(planned) => drop(planned.send(Err(error))),
                None => drop(send.send(Err(error)).await),
            }
        };
        task.spawn_on(query, self.threads()?.handle());
        // A step that computes without a pause is not interrupted: then the reader is told, and the thread is free after it.
        let until = Instant::now() + time + LATE;
        let schema = tokio::time::timeout_at(until, schema).await;
        // A task that panicked said nothing.
        let schema = schema.map_err(|_| slow(time))?.map_err(|_| Error::Failed { why: "planning" })??;
        Ok(Rows { task, receive, schema, truncated, until, time })
    }

    /// Forgets the footers of files: those that were deleted held values of rows that are gone.
    pub(crate) fn forget_footers(&self) {
        self.runtime.cache_manager.get_file_metadata_cache().clear();
    }

    fn threads(&self) -> Result<&Runtime, Error> {
        self.threads.as_ref().ok_or(Error::Busy)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Queries end with their readers; waiting for the threads here would block whoever drops us.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// Lets one row more through than may be handed out: it tells that there are more.
fn limited(query: DataFrame, rows: usize) -> Result<DataFrame, Error> {
    // A plan that is explained stands alone, and a limit that limits nothing would have a sort keep all in memory.
    let whole = matches!(query.logical_plan(), LogicalPlan::Explain(_) | LogicalPlan::Analyze(_));
    if whole || rows == usize::MAX {
        return Ok(query);
    }
    query.limit(0, Some(rows.saturating_add(1))).map_err(Error::plan)
}

/// Makes joins pause now and then, so that a query can be ended, and refuses those that compute for minutes between two
/// pauses: each row of one large side with each of another. Measured without it: a dropped query kept its thread for good.
fn interruptible(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>, Error> {
    let pausing = plan.transform_up(|node| {
        let each_with_each = node.is::<CrossJoinExec>() || node.is::<NestedLoopJoinExec>();
        if each_with_each && !node.children().into_iter().any(is_small) {
            let why = "a join of two large sides needs an equality between them";
            return Err(DataFusionError::Plan(why.to_owned()));
        }
        Ok(if each_with_each || node.name().contains("Join") || node.name().contains("Unnest") {
            Transformed::yes(Arc::new(CooperativeExec::new(node)))
        } else {
            Transformed::no(node)
        })
    });
    Ok(pausing.map_err(Error::plan)?.data)
}

/// Tells whether a plan is known to have few rows.
fn is_small(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let known = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new());
    let rows = known.map(|statistics| statistics.num_rows);
    matches!(rows, Ok(Precision::Exact(rows)) if rows <= SIDE_ROWS_MAX)
}

async fn hand_on(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    rows: usize,
    send: &mpsc::Sender<Result<RecordBatch, Error>>,
    cut: &AtomicBool,
) -> Result<(), Error> {
    let mut left = rows;
    let mut stream = execute_stream(plan, context).map_err(|error| Error::run(&error))?;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|error| Error::run(&error))?;
        let fits = batch.num_rows().min(left);
        left -= fits;
        let more = fits < batch.num_rows();
        cut.fetch_or(more, Ordering::Relaxed);
        if send.send(Ok(batch.slice(0, fits))).await.is_err() || more {
            break;
        }
    }
    Ok(())
}

/// Empties the spill directory: what is in it belongs to queries of a process that is gone.
fn wipe(world: &World, spill: &Path) -> Result<(), Error> {
    if world.disk.exists(spill) {
        let removed = std::fs::remove_dir_all(spill);
        removed.map_err(|source| disk::Error { doing: "remove", path: spill.to_owned(), source })?;
    }
    Ok(world.disk.create_dir_all(spill)?)
}

/// The rows of a query as they come. The query ends when this is dropped.
pub(crate) struct Rows {
    task: JoinSet<()>,
    receive: mpsc::Receiver<Result<RecordBatch, Error>>,
    pub(crate) schema: SchemaRef,
    truncated: Arc<AtomicBool>,
    until: Instant,
    time: Duration,
}

fn slow(time: Duration) -> Error {
    Error::TooSlow { seconds: time.as_secs() }
}

impl Rows {
    pub(crate) async fn next(&mut self) -> Option<Result<RecordBatch, Error>> {
        match tokio::time::timeout_at(self.until, self.receive.recv()).await {
            Ok(Some(batch)) => return Some(batch),
            Ok(None) => {}
            Err(_) => {
                self.task.abort_all();
                self.receive.close();
                return Some(Err(slow(self.time)));
            }
        }
        // A task that panicked sent no end.
        match self.task.join_next().await {
            Some(Err(_)) => Some(Err(Error::Failed { why: "running the plan" })),
            _ => None,
        }
    }

    /// Collects what is known to be few.
    pub(crate) async fn all(mut self) -> Result<Vec<RecordBatch>, Error> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }
}

/// A column of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerColumn {
    /// Its name, as the query has it; names may repeat.
    pub name: String,
    /// Its type, as Arrow writes it: `Utf8`, `Int64`, `Timestamp(µs, "UTC")` …
    pub data_type: String,
}

/// An answer: a stream of bytes in the form asked for, made as it is read. Dropping it ends the query.
///
/// An error ends the stream; what came before it is part of the answer and no more than that.
pub struct Answer {
    columns: Vec<AnswerColumn>,
    bytes: BoxStream<'static, Result<Bytes, Error>>,
    rows: Arc<AtomicU64>,
    truncated: Arc<AtomicBool>,
}

impl Answer {
    pub(crate) fn new(rows: Rows, encoder: Encoder) -> Self {
        let columns = columns(&rows.schema);
        let truncated = Arc::clone(&rows.truncated);
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        let bytes = futures_util::stream::unfold((rows, Some(encoder)), move |(mut rows, encoder)| {
            let counted = Arc::clone(&counted);
            async move {
                let encoder = encoder?;
                let encoded = match rows.next().await {
                    Some(Ok(batch)) => {
                        counted.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                        encoder.encode(batch).await.map(|(encoder, bytes)| (bytes, Some(encoder)))
                    }
                    Some(Err(error)) => Err(error),
                    None => encoder.finish().await.map(|bytes| (bytes, None)),
                };
                Some(match encoded {
                    Ok((bytes, encoder)) => (Ok(bytes), (rows, encoder)),
                    Err(error) => (Err(error), (rows, None)),
                })
            }
        });
        // Nothing is handed on for a batch without rows.
        let bytes = bytes.filter(|piece| std::future::ready(!matches!(piece, Ok(bytes) if bytes.is_empty())));
        Self { columns, bytes: bytes.boxed(), rows: count, truncated }
    }

    /// Returns the columns, in order.
    #[must_use]
    pub fn columns(&self) -> &[AnswerColumn] {
        &self.columns
    }

    /// Returns how many rows were handed out so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Tells whether rows were left out for the limit: known once the stream has ended.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.truncated.load(Ordering::Relaxed)
    }
}

impl Stream for Answer {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.bytes.poll_next_unpin(context)
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("columns", &self.columns.len()).finish_non_exhaustive()
    }
}

fn columns(schema: &Schema) -> Vec<AnswerColumn> {
    let column = |field: &arrow::datatypes::FieldRef| AnswerColumn {
        name: field.name().clone(),
        data_type: field.data_type().to_string(),
    };
    schema.fields().iter().map(column).collect()
}

impl Lake {
    /// Answers one SQL statement (`SELECT`, `WITH`, `EXPLAIN`) over the tenant's events, in memory and in the table
    /// alike, as the one table `events`. Columns: `docs/lake.md`. Nothing else can be named: no file, no other table, no
    /// setting.
    ///
    /// # Errors
    /// [`Error::Query`] when it is no such statement, with a text for the asker alone; [`Error::Busy`] when
    /// `limits::QUERIES_MAX` run; within the stream [`Error::TooSlow`], [`Error::TooLarge`], [`Error::Failed`].
    pub async fn sql(&self, tenant: &Tenant, sql: &str, limits: Limits, out: RowsOut) -> Result<Answer, Error> {
        self.answer(tenant, Sql::read(sql)?, limits, out).await
    }

    /// Answers a question that was read, as [`Self::sql`] does.
    ///
    /// # Errors
    /// As [`Self::sql`].
    pub async fn answer(&self, tenant: &Tenant, sql: Sql, limits: Limits, out: RowsOut) -> Result<Answer, Error> {
        let events = self.events(tenant)?;
        let turn = self.0.engine.turn()?;
        let rows = self.0.engine.start(events, WAYS, limits, turn, |session| Box::pin(query(session, sql))).await?;
        let encoder = Encoder::new(out, &rows.schema)?;
        Ok(Answer::new(rows, encoder))
    }
}

async fn query(session: SessionContext, sql: Sql) -> Result<DataFrame, Error> {
    let plan = session.state().statement_to_plan(sql.0).await.map_err(Error::plan)?;
    let reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    reads.verify_plan(&plan).map_err(Error::plan)?;
    session.execute_logical_plan(plan).await.map_err(Error::plan)
}

/// Reads the one statement that may be asked.
pub(crate) fn statement(sql: &str) -> Result<Statement, Error> {
    let refused = |why: &str| Error::Query { why: why.to_owned() };
    if sql.len() > SQL_BYTES_MAX {
        return Err(refused("it is too long"));
    }
    if steps(sql)? > SQL_STEPS_MAX {
        return Err(refused("it has too many operators and keywords"));
    }
    let parsed = DFParserBuilder::new(sql).build().and_then(|mut parser| parser.parse_statements());
    let mut statements = parsed.map_err(Error::plan)?;
    let one = statements.pop_front().filter(|_| statements.is_empty());
    let one = one.ok_or_else(|| refused("expected one statement"))?;
    let mut asked = &one;
    while let Statement::Explain(explain) = asked {
        asked = &explain.statement;
    }
    match asked {
        Statement::Statement(ansi) if matches!(ansi.as_ref(), Ansi::Query(_)) => Ok(one),
        _ => Err(refused("expected SELECT, WITH or EXPLAIN of them")),
    }
}

/// Counts what can make a plan deeper: keywords and operators, and names, of which each table needs one. Lists of values
/// are as long as they like. Whoever walks a plan does so by recursion, and a stack that overflows ends the process.
fn steps(sql: &str) -> Result<usize, Error> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize();
    let tokens = tokens.map_err(|error| Error::Query { why: error.to_string() })?;
    let flat = |token: &Token| {
        matches!(
            token,
            Token::EOF
                | Token::Whitespace(_)
                | Token::Comma
                | Token::SemiColon
                | Token::Number(..)
                | Token::SingleQuotedString(_)
                | Token::LParen
                | Token::RParen
        )
    };
    Ok(tokens.iter().filter(|token| !flat(token)).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_query_is_one_statement_that_reads() {
        for sql in ["SELECT 1", "WITH a AS (SELECT 1) SELECT * FROM a;", "EXPLAIN ANALYZE SELECT 1", "VALUES (1)"] {
            assert!(statement(sql).is_ok(), "{sql}");
        }
        for sql in [
            "",
            ";",
            "SELECT 1; SELECT 2",
            "SET datafusion.execution.batch_size = 1",
            "RESET datafusion.execution.batch_size",
            "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
            "CREATE VIEW v AS SELECT 1",
            "COPY events TO '/tmp/x.parquet'",
            "EXPLAIN COPY events TO '/tmp/x.parquet'",
            "INSERT INTO events VALUES (1)",
            "DELETE FROM events",
            "DROP TABLE events",
            "SHOW TABLES",
            "PREPARE p AS SELECT 1",
            "SELECT (1",
        ] {
            assert!(matches!(statement(sql), Err(Error::Query { .. })), "{sql}");
        }
        assert!(statement(&format!("SELECT '{}'", "a".repeat(SQL_BYTES_MAX))).is_err());
    }
}
