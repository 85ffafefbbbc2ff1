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
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::{DataFrame, SQLOptions, SessionConfig, SessionContext};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::Statement as Ansi;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use model::Tenant;
use model::limits::{QUERIES_MAX, QUERY_MEMORY_MAX, QUERY_SPILL_BYTES_MAX, QUERY_TIME_MAX, SQL_BYTES_MAX};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use url::Url;

use crate::error::Error;
use crate::lake::{Lake, World};
use crate::out::{Encoder, RowsOut};
use crate::provider::{Events, STORE};
use crate::store::Store;

/// Partitions that one query works on at a time: more would take the machine from the others.
const WAYS: usize = 2;
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
}

impl Engine {
    pub(crate) fn open(world: &World, spill: &Path, store: &Store) -> Result<Self, Error> {
        wipe(world, spill)?;
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![spill.to_owned()]))
            .with_max_temp_directory_size(QUERY_SPILL_BYTES_MAX);
        let runtime = RuntimeEnvBuilder::new().with_disk_manager_builder(disk).build().map_err(Error::plan)?;
        let url = Url::parse(STORE).map_err(|_| Error::Foreign { why: "its store has no name" })?;
        runtime.register_object_store(&url, Arc::new(store.clone()));
        Ok(Self {
            runtime: Arc::new(runtime),
            turns: Arc::new(Semaphore::new(QUERIES_MAX)),
            own: Arc::new(Semaphore::new(1)),
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

    /// Makes a session in which `events` is the only table and nothing can be named that is not ours (invariant K-3).
    pub(crate) fn session(&self, events: Events) -> Result<SessionContext, Error> {
        let config = SessionConfig::new()
            .with_default_catalog_and_schema("dihya", "lake")
            .with_information_schema(false)
            .with_target_partitions(WAYS);
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
        session.register_table("events", Arc::new(events)).map_err(Error::plan)?;
        Ok(session)
    }

    /// Runs a query on a task that ends with what is returned.
    pub(crate) async fn start(query: DataFrame, limits: Limits, turn: OwnedSemaphorePermit) -> Result<Rows, Error> {
        let time = limits.time.min(QUERY_TIME_MAX);
        let query = query.limit(0, Some(limits.rows.saturating_add(1))).map_err(Error::plan)?;
        let context = Arc::new(query.task_ctx());
        let plan = tokio::time::timeout(time, query.create_physical_plan()).await;
        let plan = plan.map_err(|_| Error::TooSlow { seconds: time.as_secs() })?.map_err(Error::plan)?;
        let schema = plan.schema();
        let (send, receive) = mpsc::channel(WAITING_MAX);
        let truncated = Arc::new(AtomicBool::new(false));
        let mut task = JoinSet::new();
        let cut = Arc::clone(&truncated);
        task.spawn(async move {
            let _turn = turn;
            let work = async {
                let mut left = limits.rows;
                let mut stream = execute_stream(plan, context).map_err(|error| Error::run(&error))?;
                while let Some(batch) = stream.next().await {
                    let batch = batch.map_err(|error| Error::run(&error))?;
                    let fits = batch.num_rows().min(left);
                    left -= fits;
                    if fits < batch.num_rows() {
                        cut.store(true, Ordering::Relaxed);
                    }
                    if send.send(Ok(batch.slice(0, fits))).await.is_err() || cut.load(Ordering::Relaxed) {
                        break;
                    }
                }
                Ok(())
            };
            let error = match tokio::time::timeout(time, work).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(_) => Error::TooSlow { seconds: time.as_secs() },
            };
            let _gone = send.send(Err(error)).await;
        });
        Ok(Rows { task, receive, schema, truncated })
    }
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
}

impl Rows {
    pub(crate) async fn next(&mut self) -> Option<Result<RecordBatch, Error>> {
        if let Some(batch) = self.receive.recv().await {
            return Some(batch);
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
    pub(crate) fn new(rows: Rows, out: RowsOut) -> Result<Self, Error> {
        let columns = columns(&rows.schema);
        let truncated = Arc::clone(&rows.truncated);
        let count = Arc::new(AtomicU64::new(0));
        let encoder = Encoder::new(out, &rows.schema)?;
        let counted = Arc::clone(&count);
        let bytes = futures_util::stream::unfold((rows, Some(encoder)), move |(mut rows, encoder)| {
            let counted = Arc::clone(&counted);
            async move {
                let mut encoder = encoder?;
                let encoded = match rows.next().await {
                    Some(Ok(batch)) => {
                        counted.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                        encoder.encode(&batch).map(|bytes| (bytes, Some(encoder)))
                    }
                    Some(Err(error)) => Err(error),
                    None => encoder.finish().map(|bytes| (bytes, None)),
                };
                Some(match encoded {
                    Ok((bytes, encoder)) => (Ok(bytes), (rows, encoder)),
                    Err(error) => (Err(error), (rows, None)),
                })
            }
        });
        // Nothing is handed on for a batch without rows.
        let bytes = bytes.filter(|piece| std::future::ready(!matches!(piece, Ok(bytes) if bytes.is_empty())));
        Ok(Self { columns, bytes: bytes.boxed(), rows: count, truncated })
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
        let events = self.events(tenant)?;
        let statement = statement(sql)?;
        let turn = self.0.engine.turn()?;
        let session = self.0.engine.session(events)?;
        let plan = plan(&session, statement).await?;
        let query = session.execute_logical_plan(plan).await.map_err(Error::plan)?;
        Answer::new(Engine::start(query, limits, turn).await?, out)
    }
}

/// Reads the one statement that may be asked.
fn statement(sql: &str) -> Result<Statement, Error> {
    let refused = |why: &str| Error::Query { why: why.to_owned() };
    if sql.len() > SQL_BYTES_MAX {
        return Err(refused("it is too long"));
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

async fn plan(session: &SessionContext, statement: Statement) -> Result<LogicalPlan, Error> {
    let plan = session.state().statement_to_plan(statement).await.map_err(Error::plan)?;
    let reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    reads.verify_plan(&plan).map_err(Error::plan)?;
    Ok(plan)
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
            "SELECT FROM WHERE",
        ] {
            assert!(matches!(statement(sql), Err(Error::Query { .. })), "{sql}");
        }
        assert!(statement(&format!("SELECT '{}'", "a".repeat(SQL_BYTES_MAX))).is_err());
    }
}
