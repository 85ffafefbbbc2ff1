//! `dihya serve`: watch, alert, record and answer, until told to stop.

use crate::cli::ServeArgs;
use crate::{logging, serve};

/// Stack of a worker thread: futures live on the heap, so little is needed.
const STACK_BYTES: usize = 1 << 20;
/// Threads for work that blocks: file reads, name lookups by the system.
const BLOCKING_THREADS_MAX: usize = 16;

/// Runs until stopped and returns the exit code.
pub(super) fn run(args: &ServeArgs) -> anyhow::Result<u8> {
    logging::start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_stack_size(STACK_BYTES)
        .thread_name("dihya")
        .enable_all()
        .build()?;
    let code = runtime.block_on(serve::run(args));
    // Threads that block in a read must not hold the process back.
    runtime.shutdown_background();
    code
}
