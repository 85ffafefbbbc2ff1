//! Where log lines go: standard error, for people on a terminal and as JSON for machines.

use tracing_subscriber::EnvFilter;

use crate::config::reference::env;
use crate::terminal;

/// What is logged unless `DIHYA_LOG` says otherwise: libraries only when something is wrong.
const FILTER: &str = "warn,dihya=info,server=info,alert=info,probe=info,ledger=info,lake=info,privacy=info,disk=info";
/// What stays quiet whatever is asked for: below warnings these libraries may name stored values, and the kernel calls it an
/// error that there is no table yet. What matters of theirs, the lake says.
const QUIET: &str =
    "datafusion=warn,deltalake=warn,delta_kernel=off,buoyant_kernel=off,parquet=warn,object_store=warn,sqlparser=warn";

/// Sends events of this process to standard error. `DIHYA_LOG` takes a filter such as `debug` or `ledger=debug`.
///
/// # Errors
/// When `DIHYA_LOG` is no filter.
pub(crate) fn start() -> anyhow::Result<()> {
    let text = env("DIHYA_LOG").unwrap_or_else(|| FILTER.to_owned());
    let text = format!("{text},{QUIET}");
    let filter = EnvFilter::try_new(&text).map_err(|error| crate::failure::misuse(format!("DIHYA_LOG: {error}")))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second subscriber in one process happens in tests only, and the first one serves.
    let _ = if terminal::is_watched() {
        builder.with_ansi(terminal::colours_err()).with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    };
    Ok(())
}
