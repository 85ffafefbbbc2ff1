//! What is logged and counted at once, so that a line and its counter never disagree.

use std::sync::atomic::{AtomicU64, Ordering};

use model::{Kind, Position, Tenant};
use tracing::{error, info, warn};

/// Signals that were lost since the start, for `dihya status` and tests.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Signals that nobody will send again were not recorded.
pub(crate) fn lost(cause: &'static str, kind: Kind, count: u64) {
    LOST.fetch_add(count, Ordering::Relaxed);
    warn!(cause, kind = kind.as_str(), count, "lost signals");
}

/// A record of the ledger does not say what its kind should.
pub(crate) fn unreadable_record(tenant: &Tenant, position: Position, error: &model::schema::SchemaError) {
    warn!(%tenant, position, error = %error, "skipped a record that cannot be read as a body");
}

/// The configuration was read again.
pub(crate) fn config_in_force(sha256: &str, summary: &str) {
    info!(sha256, summary, "configuration in force");
}

/// The configuration in force says something that it should not: a secret of a native receiver, in the open.
pub(crate) fn config_doubtful(file: &str, warning: &model::config::Problem) {
    let (line, column, field) = (warning.span.line, warning.span.column, &warning.path);
    warn!(file, line, column, field, problem = warning.message, "doubtful configuration");
}

/// The configuration was read again, and the old one stays. A message may repeat what stands in the file, and a log goes
/// further than the terminal of its author: it is cleared.
pub(crate) fn config_refused(file: &str, sha256: &str, problem: &model::config::Problem) {
    let redactor = privacy::Redactor::new();
    warn!(
        file,
        sha256,
        line = problem.span.line,
        column = problem.span.column,
        field = problem.path,
        problem = &*redactor.redact(&problem.message),
        suggestion = problem.suggestion.as_deref().map(|text| redactor.redact(text)).as_deref(),
        "refused the configuration, the old one stays in force"
    );
}

/// The file of the configuration is gone.
pub(crate) fn config_gone(file: &std::path::Path) {
    warn!(file = %file.display(), "the configuration is gone, what it said stays in force");
}

/// The ledger has stopped.
pub(crate) fn ledger_stopped(reason: &str) {
    error!(reason, "the ledger has stopped, so this process ends");
}
