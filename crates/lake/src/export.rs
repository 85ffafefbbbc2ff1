//! Export: a tenant's events of a stretch of time as plain Parquet files, for any tool.

use std::path::{Path, PathBuf};

use datafusion::logical_expr::{Expr, ident};
use model::limits::QUERY_TIME_MAX;
use model::{Tenant, Timestamp};
use parquet::arrow::ArrowWriter;

use crate::ask::Limits;
use crate::columns::table_schema;
use crate::error::Error;
use crate::file::{object, properties};
use crate::lake::Lake;
use crate::search::{Query, filter};
use crate::store::{Store, Upload};

/// Rows after which a file of an export is ended.
const FILE_ROWS: usize = 4 << 20;

/// What an export wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// The files, in order; all are durable.
    pub files: Vec<PathBuf>,
    /// Rows in them.
    pub rows: u64,
}

impl Lake {
    /// Writes a tenant's events from `from` until before `to` into `dir`, which is made if need be, as
    /// `events-00000.parquet` and so on, in order of time and position, with all columns of the table. Files of those
    /// names that are there are replaced. Takes `limits::QUERY_TIME_MAX` at most.
    ///
    /// # Errors
    /// As [`Lake::sql`], and when the directory cannot be written; files that were ended stay.
    pub async fn export_parquet(
        &self,
        tenant: &Tenant,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        dir: &Path,
    ) -> Result<Exported, Error> {
        let store = Store::open(std::sync::Arc::clone(&self.0.world.disk), dir.to_owned())?;
        let within = filter(&Query { from, to, ..Query::default() })?;
        let limits = Limits { rows: 0, time: QUERY_TIME_MAX };
        let mut rows = self
            .ask(tenant, limits, usize::MAX, move |events| {
                let columns: Vec<Expr> = table_schema().fields().iter().map(|field| ident(field.name())).collect();
                let order = ["ts", "position"].map(|name| ident(name).sort(true, true)).to_vec();
                events.filter(within)?.select(columns)?.sort(order)
            })
            .await?;
        let mut exported = Exported::default();
        let mut open: Option<(ArrowWriter<Upload>, usize)> = None;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let (mut writer, before) = match open.take() {
                Some(open) => open,
                None => (begin(&store, exported.files.len())?, 0),
            };
            let count = before + batch.num_rows();
            exported.rows += batch.num_rows() as u64;
            let written = tokio::task::spawn_blocking(move || writer.write(&batch).map(|()| writer));
            let written = written.await.map_err(|_| Error::Rows { doing: "write a file" })?;
            let writer = written.map_err(Error::parquet("write a file"))?;
            if count >= FILE_ROWS {
                finish(writer).await?;
                exported.files.push(dir.join(name(exported.files.len())));
            } else {
                open = Some((writer, count));
            }
        }
        if let Some((writer, _)) = open {
            finish(writer).await?;
            exported.files.push(dir.join(name(exported.files.len())));
        }
        Ok(exported)
    }
}

fn name(number: usize) -> String {
    format!("events-{number:05}.parquet")
}

fn begin(store: &Store, number: usize) -> Result<ArrowWriter<Upload>, Error> {
    let upload = store.begin(&object_store::path::Path::from(name(number))).map_err(object("begin a file"))?;
    ArrowWriter::try_new(upload, table_schema(), Some(properties(FILE_ROWS))).map_err(Error::parquet("begin a file"))
}

async fn finish(writer: ArrowWriter<Upload>) -> Result<(), Error> {
    let finished = tokio::task::spawn_blocking(move || {
        let mut upload = writer.into_inner().map_err(Error::parquet("end a file"))?;
        upload.finish().map_err(object("end a file"))?;
        Ok(())
    });
    finished.await.map_err(|_| Error::Rows { doing: "end a file" })?
}
