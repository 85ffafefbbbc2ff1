//! Why the lake refused, and what the caller can do about it.

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use deltalake::DeltaTableError;
use model::{Refusal, RefusalKind, Tenant};

use crate::syntax;

/// Why something was not written or not answered. Only [`Error::Query`] repeats what the asker wrote, and nothing
/// repeats what is stored: the causes of libraries name values, so their texts are kept out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation failed.
    #[error("could not use the lake's files")]
    Disk(#[from] disk::Error),
    /// The Delta log could not be read or written. After a failed commit the rows are still in memory and in the ledger.
    #[error("could not {doing}: {why}")]
    Table {
        /// What was tried.
        doing: &'static str,
        /// Why not, without payload.
        why: &'static str,
    },
    /// Rows could not be encoded or decoded.
    #[error("could not {doing}")]
    Rows {
        /// What was tried.
        doing: &'static str,
    },
    /// The table says something that this version did not write.
    #[error("cannot trust the lake's table: {why}")]
    Foreign {
        /// What is wrong.
        why: &'static str,
    },
    /// A tenant's table cannot be opened.
    #[error("could not open the table of {tenant}")]
    Open {
        /// Whose.
        tenant: Tenant,
        /// Why not.
        #[source]
        source: Box<Error>,
    },
    /// The ledger cannot be read.
    #[error("could not read the ledger")]
    Feed(#[source] Refusal),
    /// The tenant was not declared when the lake was opened.
    #[error("cannot find a lake of that tenant")]
    UnknownTenant,
    /// The search is not one.
    #[error("cannot read the search at column {}: expected {}", .0.column, .0.expected)]
    Search(#[source] syntax::Error),
    /// The SQL is not one that may be asked, or names what is not there. The text is for the asker alone.
    #[error("cannot answer the query: {why}")]
    Query {
        /// What is wrong with it.
        why: String,
    },
    /// The query took longer than its limit.
    #[error("cannot answer the query within {seconds} s: ask for a shorter time range or fewer fields")]
    TooSlow {
        /// The limit.
        seconds: u64,
    },
    /// The query needed more memory, or more of the disk, than its limit.
    #[error("cannot answer the query within its memory: ask for a shorter time range or fewer groups")]
    TooLarge,
    /// As many queries run as may.
    #[error("could not begin the query: too many run")]
    Busy,
    /// The query failed on what is stored.
    #[error("could not answer the query: {why}")]
    Failed {
        /// At which step, without payload.
        why: &'static str,
    },
    /// A test stopped us here.
    #[error("stopped at a fault point")]
    Stopped,
}

impl Error {
    /// Returns what the caller can do.
    #[must_use]
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::Disk(_) | Self::Table { .. } | Self::Busy => RefusalKind::Retry,
            Self::UnknownTenant
            | Self::Search(_)
            | Self::Query { .. }
            | Self::TooSlow { .. }
            | Self::TooLarge
            | Self::Failed { .. } => RefusalKind::Reject,
            Self::Feed(refusal) => refusal.kind,
            Self::Open { source, .. } => source.kind(),
            Self::Rows { .. } | Self::Foreign { .. } | Self::Stopped => RefusalKind::Stop,
        }
    }

    pub(crate) fn arrow(doing: &'static str) -> impl FnOnce(ArrowError) -> Self {
        move |_| Self::Rows { doing }
    }

    pub(crate) fn parquet(doing: &'static str) -> impl FnOnce(parquet::errors::ParquetError) -> Self {
        move |_| Self::Rows { doing }
    }

    /// Keeps of Delta's error what names no value.
    pub(crate) fn delta(doing: &'static str) -> impl FnOnce(DeltaTableError) -> Self {
        move |error| {
            let why = match error {
                DeltaTableError::ObjectStore { .. } => "the file system refused",
                DeltaTableError::NotATable(_) => "there is no table",
                DeltaTableError::Transaction { .. } | DeltaTableError::VersionAlreadyExists(_) => {
                    "the commit was not taken"
                }
                _ => "the log refused",
            };
            Self::Table { doing, why }
        }
    }

    /// Sorts an error of planning: the asker reads it, and it speaks of the asker's own words.
    pub(crate) fn plan(error: DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => Self::TooLarge,
            DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => Self::Failed { why: "reading a file" },
            other => Self::Query { why: first_line(&other.strip_backtrace()) },
        }
    }

    /// Sorts an error of running: what it says may name stored values, so only its kind is kept.
    pub(crate) fn run(error: &DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => Self::TooLarge,
            DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => Self::Failed { why: "reading a file" },
            DataFusionError::ParquetError(_) => Self::Failed { why: "decoding a file" },
            DataFusionError::ArrowError(error, _) => match error.as_ref() {
                ArrowError::CastError(_) | ArrowError::ParseError(_) => Self::Failed {
                    why: "a value has another type than the query takes it for; try_cast gives null then",
                },
                ArrowError::DivideByZero => Self::Failed { why: "division by zero" },
                ArrowError::ArithmeticOverflow(_) => Self::Failed { why: "a number is too large" },
                _ => Self::Failed { why: "computing on rows" },
            },
            _ => Self::Failed { why: "running the plan" },
        }
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(512).collect()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    fn arrow(error: ArrowError) -> DataFusionError {
        DataFusionError::ArrowError(Box::new(error), None)
    }

    #[test]
    fn what_libraries_say_of_values_is_kept_out() {
        let planted = || "planted".to_owned();
        let errors = [
            arrow(ArrowError::CastError(planted())),
            arrow(ArrowError::ParseError(planted())),
            arrow(ArrowError::DivideByZero),
            arrow(ArrowError::ArithmeticOverflow(planted())),
            arrow(ArrowError::ComputeError(planted())),
            DataFusionError::ParquetError(Box::new(parquet::errors::ParquetError::General(planted()))),
            DataFusionError::IoError(io::Error::other("planted")),
            DataFusionError::Execution(planted()),
            DataFusionError::Context(planted(), Box::new(DataFusionError::ResourcesExhausted(planted()))),
        ];
        let mut said: Vec<String> = Vec::new();
        for error in &errors {
            let sorted = Error::run(error);
            let text = format!("{sorted} {sorted:?}");
            assert!(!text.contains("planted"), "{text}");
            assert_eq!(sorted.kind(), RefusalKind::Reject);
            said.push(sorted.to_string());
        }
        said.dedup();
        assert_eq!(said.len(), 8, "a cast and a parse are one: {said:?}");
    }

    #[test]
    fn whoever_asks_reads_what_is_wrong_with_the_question() {
        let wrong = Error::plan(DataFusionError::Plan("no such column\nand more".to_owned()));
        assert!(wrong.to_string().contains("no such column") && !wrong.to_string().contains("more"), "{wrong}");
        let shared = DataFusionError::Shared(Arc::new(DataFusionError::ResourcesExhausted("x".to_owned())));
        assert!(matches!(Error::plan(shared), Error::TooLarge));
        let unread = Error::plan(DataFusionError::IoError(io::Error::other("x")));
        assert!(matches!(unread, Error::Failed { .. }));
    }

    #[test]
    fn callers_know_what_they_can_do() {
        let refusal = Refusal { kind: RefusalKind::Stop, reason: "broken".to_owned() };
        for (error, kind) in [
            (Error::Busy, RefusalKind::Retry),
            (Error::delta("commit")(DeltaTableError::VersionAlreadyExists(1)), RefusalKind::Retry),
            (Error::delta("open")(DeltaTableError::NotATable("planted".to_owned())), RefusalKind::Retry),
            (Error::delta("open")(DeltaTableError::Generic("planted".to_owned())), RefusalKind::Retry),
            (Error::UnknownTenant, RefusalKind::Reject),
            (Error::Feed(refusal), RefusalKind::Stop),
            (Error::arrow("join")(ArrowError::DivideByZero), RefusalKind::Stop),
            (Error::parquet("write")(parquet::errors::ParquetError::EOF("planted".to_owned())), RefusalKind::Stop),
        ] {
            assert_eq!(error.kind(), kind, "{error}");
            assert!(!format!("{error:?}").contains("planted"), "{error:?}");
        }
    }
}
