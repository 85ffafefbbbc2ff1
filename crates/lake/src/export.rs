//! Export: a tenant's events as one plain Parquet file, for any tool.

use datafusion::logical_expr::{Expr, ident};
use model::Tenant;

use crate::ask::{Answer, Limits};
use crate::columns::table_schema;
use crate::error::Error;
use crate::lake::Lake;
use crate::out::Encoder;
use crate::search::{Query, filter};

impl Lake {
    /// Answers a search with a Parquet file that holds all columns of what fits, in no particular order; the query's limit and
    /// `limits.rows` do not count. The file is whole only where the stream ends without an error.
    ///
    /// # Errors
    /// As [`Lake::search`].
    pub async fn export_parquet(&self, tenant: &Tenant, query: &Query, limits: Limits) -> Result<Answer, Error> {
        let fits = filter(query)?;
        let rows = self.ask(tenant, limits, usize::MAX, move |events| {
            let columns: Vec<Expr> = table_schema().fields().iter().map(|field| ident(field.name())).collect();
            events.filter(fits)?.select(columns)
        });
        let rows = rows.await?;
        let encoder = Encoder::parquet(&rows.schema)?;
        Ok(Answer::new(rows, encoder))
    }
}
