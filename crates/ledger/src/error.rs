//! Why the ledger refused, and what the caller can do about it.

use std::sync::Arc;

use model::{Position, Refusal, RefusalKind};

use crate::malformed::Malformed;

/// Why something was not appended, read or opened. No text carries a payload.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// More records are waiting for the disk than the queue may hold. Nothing of the call is durable.
    #[error("could not queue the records: the ledger's queue is full")]
    QueueFull,
    /// The disk is full and what space is left is kept for alerts. Nothing of the call is durable.
    #[error("could not append: the disk is full")]
    DiskFull,
    /// One append carried nothing, too many records, or records of several tenants.
    #[error("cannot append: {why}")]
    BadAppend {
        /// Which rule it broke.
        why: &'static str,
    },
    /// A record does not fit the format.
    #[error("cannot append")]
    Malformed(#[source] Malformed),
    /// The tenant has no log here.
    #[error("cannot find a log of that tenant")]
    UnknownTenant,
    /// The position was never given, or its record is not covered by a checkpoint yet.
    #[error("cannot find position {position} in the log")]
    UnknownPosition {
        /// Which one.
        position: Position,
    },
    /// Another process has the data directory.
    #[error("could not open the ledger: another process holds its lock")]
    Locked,
    /// A file operation failed.
    #[error("could not use the ledger's files")]
    Disk(#[source] Arc<disk::Error>),
    /// Bytes that were durable once are not there any more, or not as they were.
    #[error("cannot trust WAL segment {segment} at byte {offset}: {why}")]
    Corrupt {
        /// In which segment.
        segment: u64,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// The log and its signed checkpoint contradict each other: an old copy was restored, or somebody wrote into it.
    #[error("cannot trust the log {origin}: {why}")]
    Contradiction {
        /// Which log.
        origin: String,
        /// How.
        why: &'static str,
    },
    /// A file of the ledger does not say what it should.
    #[error("cannot read {path}: {why}")]
    File {
        /// Which file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The ledger has stopped: nothing more is acknowledged, and the process must exit and start again.
    #[error("the ledger has stopped: {reason}")]
    Stopped {
        /// What stopped it.
        reason: Arc<str>,
    },
}

impl Error {
    /// Returns what the caller can do.
    #[must_use]
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::QueueFull | Self::DiskFull | Self::Locked => RefusalKind::Retry,
            Self::BadAppend { .. } | Self::Malformed(_) | Self::UnknownTenant | Self::UnknownPosition { .. } => {
                RefusalKind::Reject
            }
            Self::Disk(error) if error.is_full() => RefusalKind::Retry,
            Self::Disk(_)
            | Self::Corrupt { .. }
            | Self::Contradiction { .. }
            | Self::File { .. }
            | Self::Stopped { .. } => RefusalKind::Stop,
        }
    }

    /// Tells whether it is the disk that is full.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::DiskFull) || matches!(self, Self::Disk(error) if error.is_full())
    }

    /// Returns the error with its causes as one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        text
    }
}

impl From<disk::Error> for Error {
    fn from(error: disk::Error) -> Self {
        Self::Disk(Arc::new(error))
    }
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { kind: error.kind(), reason: error.chain() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_says_what_the_caller_can_do() {
        let disk = |kind: std::io::ErrorKind| {
            Error::from(disk::Error { doing: "write", path: "/x".into(), source: kind.into() })
        };
        let cases = [
            (Error::QueueFull, RefusalKind::Retry),
            (Error::DiskFull, RefusalKind::Retry),
            (disk(std::io::ErrorKind::StorageFull), RefusalKind::Retry),
            (disk(std::io::ErrorKind::Other), RefusalKind::Stop),
            (Error::UnknownTenant, RefusalKind::Reject),
            (Malformed::new("entry", "is too long").into(), RefusalKind::Reject),
            (Error::Stopped { reason: "x".into() }, RefusalKind::Stop),
        ];
        for (error, kind) in cases {
            assert_eq!(error.kind(), kind, "{error}");
        }
        let refusal = Refusal::from(disk(std::io::ErrorKind::StorageFull));
        assert!(refusal.reason.starts_with("could not use the ledger's files: could not write /x: "), "{refusal}");
        assert!(Error::DiskFull.is_full() && !Error::QueueFull.is_full());
    }
}
