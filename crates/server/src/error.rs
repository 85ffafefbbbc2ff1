//! Why the server could not start, or could not do its own bookkeeping.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why something of the server's own failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address could not be listened on.
    #[error("could not listen on {listen}")]
    Bind {
        /// The address as configured.
        listen: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The listener moves only with a restart.
    #[error("cannot move the listener from {bound} to {wanted} without a restart")]
    Moved {
        /// Where it listens.
        bound: SocketAddr,
        /// Where the new configuration wants it.
        wanted: String,
    },
    /// A certificate or key file could not be read.
    #[error("could not read {path}", path = path.display())]
    CertificateFile {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A certificate or key file does not hold what it should.
    #[error("cannot use {path}: {reason}", path = path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Plain HTTP becomes HTTPS, and back, only with a restart.
    #[error("cannot switch between HTTP and HTTPS without a restart")]
    Switched,
    /// Listeners come, go and change only with a restart.
    #[error("cannot change server.listeners without a restart")]
    Listeners,
    /// The control state could not be read or written.
    #[error("could not {doing} in the control state")]
    State {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        #[source]
        source: sqlx::Error,
    },
    /// The control state holds what this version cannot read.
    #[error("cannot read {what} in the control state")]
    Unreadable {
        /// What.
        what: &'static str,
    },
    /// The control state was written by a newer version.
    #[error("cannot use the control state: its {part} is of version {found}, newer than {known}")]
    Newer {
        /// Which part.
        part: &'static str,
        /// The version found.
        found: i64,
        /// The newest one known here.
        known: i64,
    },
    /// The administrator's token could not be written to its file.
    #[error("could not keep the administrator's token")]
    AdminToken(#[source] disk::Error),
    /// A field of a token to be made cannot be accepted.
    #[error("{field}: {reason}")]
    Token {
        /// Which field.
        field: &'static str,
        /// What was expected.
        reason: String,
    },
    /// The ledger could not be read by a projection.
    #[error("could not fold the ledger")]
    Feed(#[source] model::Refusal),
}

impl Error {
    pub(crate) fn state(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::State { doing, source }
    }
}
