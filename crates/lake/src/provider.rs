//! The table `events` of one tenant, as queries see it: its data files and its rows in memory, and no other tenant's.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{FieldRef, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, DFSchema, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::parquet::{CachedParquetFileReaderFactory, ParquetRowSelection};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use datafusion::scalar::ScalarValue;
use model::Tenant;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};

use crate::columns::{file_schema, place, table_schema};
use crate::file::DataFile;
use crate::tokens::{Tokens, Wanted};
use crate::wanted::wanted;

/// Where the store of data files is registered. Nobody else's files are there, and no SQL can name it.
pub(crate) const STORE: &str = "dihya-lake://events";

/// One tenant's events at one moment. The tenant is not a filter: only its files and rows are here (invariant E-3).
#[derive(Clone, Debug)]
pub(crate) struct Events {
    pub(crate) tenant: Tenant,
    pub(crate) files: Arc<Vec<DataFile>>,
    pub(crate) hot: Vec<RecordBatch>,
    pub(crate) tokens: Tokens,
}

/// A file that is to be read.
struct Read<'a> {
    file: &'a DataFile,
    /// Where in it; everywhere without.
    rows: Option<RowSelection>,
}

impl Events {
    /// Returns the files in which rows may be that `predicate` lets through.
    fn candidates(&self, predicate: Option<&Arc<dyn PhysicalExpr>>) -> Result<Vec<&DataFile>> {
        let Some(predicate) = predicate.filter(|_| !self.files.is_empty()) else {
            return Ok(self.files.iter().collect());
        };
        let pruning = PruningPredicateBuilder::new().with_file_schema(table_schema()).build(Arc::clone(predicate));
        // What says nothing of times, levels, services or days skips no file.
        let Some(pruning) = pruning else { return Ok(self.files.iter().collect()) };
        let kept = pruning.prune(self)?;
        Ok(self.files.iter().zip(kept).filter(|(_, kept)| *kept).map(|(file, _)| file).collect())
    }

    /// Leaves out files, and rows of them, that have none of the words that are wanted. Reads a page of a filter for each word and
    /// some ten thousand rows, and gives way after each file.
    async fn narrowed<'a>(&self, files: Vec<&'a DataFile>, wanted: &Wanted) -> Vec<Read<'a>> {
        let mut read = Vec::with_capacity(files.len());
        let (mut all, mut kept) = (0_u64, 0_u64);
        for file in files {
            let narrowed = match wanted {
                Wanted::Anything => None,
                wanted => self.tokens.narrow(self.tenant.as_str(), file, wanted),
            };
            let may: usize = narrowed.iter().flatten().filter(|(_, may)| *may).map(|(rows, _)| rows).sum();
            let may = narrowed.as_ref().map_or(file.rows, |_| may as u64);
            (all, kept) = (all + file.rows, kept + may);
            if may == 0 {
                continue;
            }
            // Where much is read anyway, what ends early does so by the times of row groups, which a selection switches off.
            let narrowed = narrowed.filter(|_| may <= file.rows / 2);
            let rows = narrowed.map(|parts| {
                let part = |(rows, may)| if may { RowSelector::select(rows) } else { RowSelector::skip(rows) };
                parts.into_iter().map(part).collect()
            });
            read.push(Read { file, rows });
            tokio::task::yield_now().await;
        }
        if *wanted != Wanted::Anything {
            tracing::debug!(rows = all, kept, "narrowed a question by token filters");
        }
        read
    }

    /// Returns the scan of the files, newest first: what wants the newest rows alone then skips the others, by the least
    /// time that it still wants and the greatest that a file has.
    fn files_plan(
        &self,
        state: &dyn Session,
        mut files: Vec<Read<'_>>,
        predicate: Option<Arc<dyn PhysicalExpr>>,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = table_schema();
        let partition: Vec<FieldRef> = table.fields().iter().skip(file_schema().fields().len()).cloned().collect();
        let url = ObjectStoreUrl::parse(STORE)?;
        let runtime = state.runtime_env();
        let footers = runtime.cache_manager.get_file_metadata_cache();
        let reader = CachedParquetFileReaderFactory::new(runtime.object_store(&url)?, footers);
        let schema = TableSchema::builder(file_schema()).with_table_partition_cols(partition).build();
        let mut source = ParquetSource::new(schema)
            .with_parquet_file_reader_factory(Arc::new(reader))
            .with_pushdown_filters(true)
            .with_reorder_filters(true)
            .with_bloom_filter_on_read(true)
            .with_enable_page_index(true);
        if let Some(predicate) = predicate {
            source = source.with_predicate(predicate);
        }
        files.sort_by_key(|read| std::cmp::Reverse(read.file.ts.1));
        let files: Vec<PartitionedFile> = files.into_iter().map(|read| self.described(read)).collect();
        // Dealt out like cards, so that each of those who read begins with the newest of theirs.
        let ways = state.config().target_partitions().clamp(1, files.len().max(1));
        let mut groups = vec![Vec::new(); ways];
        for (at, file) in files.into_iter().enumerate() {
            groups[at % ways].push(file);
        }
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups.into_iter().map(FileGroup::new).collect())
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    /// Returns a file with what the log knows of it.
    fn described(&self, Read { file, rows }: Read<'_>) -> PartitionedFile {
        let time = |us| Precision::Exact(ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into())));
        let level = |level| Precision::Exact(ScalarValue::Int32(Some(level)));
        let schema = file_schema();
        let mut statistics = Statistics::new_unknown(&schema);
        statistics.num_rows = Precision::Exact(usize::try_from(file.rows).unwrap_or(usize::MAX));
        for (name, least, greatest) in
            [("ts", time(file.ts.0), time(file.ts.1)), ("severity", level(file.severity.0), level(file.severity.1))]
        {
            let column = &mut statistics.column_statistics[place(name)];
            (column.min_value, column.max_value, column.null_count) = (least, greatest, Precision::Exact(0));
        }
        let values = vec![ScalarValue::from(self.tenant.as_str()), ScalarValue::Date32(Some(file.day))];
        let described = PartitionedFile::new(format!("{}/{}", self.tenant, file.path), file.bytes)
            .with_partition_values(values)
            .with_statistics(Arc::new(statistics));
        match rows {
            Some(rows) => described.with_extension(ParquetRowSelection::new(rows)),
            None => described,
        }
    }
}

#[async_trait]
impl TableProvider for Events {
    fn schema(&self) -> SchemaRef {
        table_schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let predicate = conjunction(filters.iter().cloned())
            .map(|expr| state.create_physical_expr(expr, &DFSchema::try_from(table_schema())?))
            .transpose()?;
        let files = self.narrowed(self.candidates(predicate.as_ref())?, &wanted(filters)).await;
        let hot =
            MemorySourceConfig::try_new_exec(std::slice::from_ref(&self.hot), table_schema(), projection.cloned())?;
        if files.is_empty() {
            return Ok(hot);
        }
        let files = self.files_plan(state, files, predicate, projection, limit)?;
        if self.hot.is_empty() { Ok(files) } else { UnionExec::try_new(vec![files, hot]) }
    }
}

impl PruningStatistics for Events {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |pair| pair.0, |pair| pair.0, |pair| &pair.0)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |pair| pair.1, |pair| pair.1, |pair| &pair.1)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let nulls = match column.name() {
            "ts" | "severity" | "tenant" | "day" => self.files.iter().map(|_| 0).collect::<UInt64Array>(),
            "service" => self.files.iter().map(|file| file.service_nulls).collect(),
            _ => return None,
        };
        Some(Arc::new(nulls))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.files.iter().map(|file| file.rows).collect::<UInt64Array>()))
    }
}

impl Events {
    fn bounds(
        &self,
        column: &Column,
        time: impl Fn((i64, i64)) -> i64,
        level: impl Fn((i32, i32)) -> i32,
        text: impl Fn(&(String, String)) -> &String,
    ) -> Option<ArrayRef> {
        let files = self.files.iter();
        Some(match column.name() {
            "ts" => {
                let times: TimestampMicrosecondArray = files.map(|file| Some(time(file.ts))).collect();
                Arc::new(times.with_timezone("UTC"))
            }
            "severity" => Arc::new(files.map(|file| level(file.severity)).collect::<Int32Array>()),
            "service" => Arc::new(files.map(|file| file.service.as_ref().map(&text)).collect::<StringArray>()),
            "day" => Arc::new(Date32Array::from_iter_values(files.map(|file| file.day))),
            "tenant" => Arc::new(files.map(|_| Some(self.tenant.as_str())).collect::<StringArray>()),
            _ => return None,
        })
    }
}
