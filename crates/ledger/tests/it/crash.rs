//! The crash suite: seeded histories on a simulated disk. CI runs 100,000 of them through `examples/crash.rs`.

use crate::history;

/// Histories per `cargo test`: fewer in an unoptimised build, where each takes fifty times as long.
const RUNS: u64 = if cfg!(debug_assertions) { 120 } else { 2_000 };

#[test]
fn no_acknowledged_record_is_lost_and_no_checkpoint_is_broken() {
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).min(16) as u64;
    let failed: Vec<String> = std::thread::scope(|scope| {
        let run = |thread| {
            let pool = history::Pool::new();
            (thread..RUNS)
                .step_by(usize::try_from(threads).expect("small"))
                .filter_map(|seed| history::run(seed, &pool).err().map(|why| format!("seed {seed}: {why}")))
                .collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a history does not panic")).collect()
    });
    assert!(
        failed.is_empty(),
        "{} of {RUNS} histories failed:\n{}",
        failed.len(),
        failed[..failed.len().min(20)].join("\n")
    );
}
