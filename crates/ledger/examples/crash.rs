//! Runs many crash histories, for CI: `cargo run --release -p ledger --example crash -- --runs 100000 [--start SEED]
//! [--threads N] [--first]`.
//! Prints the seed of each history that failed, and exits 1 if one did.

#[path = "../tests/it/history.rs"]
mod history;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

/// After how many histories to say how far it is.
const PROGRESS: u64 = 10_000;

#[expect(clippy::print_stdout, reason = "a command line tool")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let (runs, start) = (number("--runs", 2_000), number("--start", 0));
    let threads = number("--threads", std::thread::available_parallelism().map_or(2, |n| n.get() as u64)).max(1);
    let first = arguments.iter().any(|argument| argument == "--first");
    let (next, failed) = (AtomicU64::new(start), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let pool = history::Pool::new();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= start + runs || (first && failed.load(Ordering::Relaxed) > 0) {
                        return;
                    }
                    if seed > start && (seed - start).is_multiple_of(PROGRESS) {
                        println!("seeds {} to {}: {} failed so far", start, seed - 1, failed.load(Ordering::Relaxed));
                    }
                    if let Err(why) = history::run(seed, &pool) {
                        failed.fetch_add(1, Ordering::Relaxed);
                        println!("seed {seed} failed: {why}");
                    }
                }
            });
        }
    });
    let failed = failed.load(Ordering::Relaxed);
    println!("{runs} histories from seed {start}, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
