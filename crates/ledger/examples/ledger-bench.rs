//! How fast the ledger makes records durable, beside the disk's own speed in the same process and on the same sizes.
//!
//! `cargo run --release -p ledger --example ledger-bench -- [--dir DIR] [--runs 5] [--seconds 4]` prints one JSON line:
//! 16 writers append 256 records of 256 bytes each, and wait for the disk each time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use disk::{Disk, Open, OsClock, OsDisk, OsRng};
use ledger::{Config, Ledger};
use model::{Access, Clock, Level, Signal, SourceId, Tenant, Timestamp};
use privacy::{Cleared, Clearer, Redactor};

const WRITERS: usize = 16;
const RECORDS: usize = 256;

struct Run {
    records_per_s: f64,
    append_p50_ms: f64,
    append_p99_ms: f64,
    sync_p50_ms: f64,
    sync_p99_ms: f64,
    bytes_per_sync: f64,
}

/// A record whose values take 256 bytes.
fn record(writer: usize) -> Cleared {
    let what = "/api/dihya/v1/search".to_owned();
    let at = Timestamp::from_second(1_700_000_000).expect("in range");
    let actor = "a".repeat(256 - what.len() - 8 - 20);
    let source = SourceId([u8::try_from(writer).expect("small"); 16]);
    let clearer = Clearer::new(Arc::new(Redactor::new()), [7; 32]);
    let body = Access { actor, what, rows: 3, at }.into();
    clearer.clear(Signal { tenant: Tenant::default(), source, body }).expect("clears")
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |took| took.as_secs_f64() * 1e3)
}

/// Times a write and a sync of `bytes` in a preallocated file, as often as fits `time`.
fn raw_sync(dir: &Path, bytes: usize, time: Duration, clock: &OsClock) -> Vec<Duration> {
    let path = dir.join("raw");
    let size = 64 << 20;
    let file = OsDisk.open(&path, Open::CreateNew).expect("creates");
    file.allocate(size).expect("has room");
    file.sync_data().expect("syncs");
    let (block, end) = (vec![7; bytes], clock.monotonic() + time);
    let (mut offset, mut took) = (0, Vec::new());
    while clock.monotonic() < end {
        if offset + bytes as u64 > size {
            offset = 0;
        }
        let start = clock.monotonic();
        file.write_at(&block, offset).expect("writes");
        file.sync_data().expect("syncs");
        took.push(clock.monotonic() - start);
        offset += bytes as u64;
    }
    drop(file);
    OsDisk.remove(&path).expect("removes");
    took.sort_unstable();
    took
}

async fn run(dir: PathBuf, time: Duration) -> Run {
    let clock = OsClock::default();
    let config = Config::new(dir.join("data"), "localhost", vec![Tenant::default()]);
    let (ledger, _) = Ledger::open(Arc::new(OsDisk), Arc::new(clock), Arc::new(OsRng), config).expect("opens");
    let start = clock.monotonic();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let ledger = ledger.clone();
        writers.spawn(async move {
            let records = vec![record(writer); RECORDS];
            let mut took = Vec::new();
            while clock.monotonic() - start < time {
                let records = records.clone();
                let start = clock.monotonic();
                ledger.append(records, Level::Durable).await.expect("is durable");
                took.push(clock.monotonic() - start);
            }
            took
        });
    }
    let mut took: Vec<Duration> = writers.join_all().await.into_iter().flatten().collect();
    let seconds = (clock.monotonic() - start).as_secs_f64();
    let figures = ledger.status().expect("lists").figures;
    ledger.close().await.expect("closes");
    took.sort_unstable();
    let bytes_per_sync = figures.bytes as f64 / figures.syncs as f64;
    let raw = raw_sync(&dir, bytes_per_sync as usize, time / 2, &clock);
    Run {
        records_per_s: (took.len() * RECORDS) as f64 / seconds,
        append_p50_ms: percentile(&took, 50),
        append_p99_ms: percentile(&took, 99),
        sync_p50_ms: percentile(&raw, 50),
        sync_p99_ms: percentile(&raw, 99),
        bytes_per_sync,
    }
}

/// Returns median, least and most as a JSON array.
fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
    format!("[{:.3},{:.3},{:.3}]", at(values.len() / 2), at(0), at(values.len().saturating_sub(1)))
}

#[expect(clippy::print_stdout, reason = "a command line tool")]
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let argument = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let number = |name: &str, default: u64| argument(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let dir = PathBuf::from(argument("--dir").unwrap_or_else(|| "target/ledger-bench".to_owned()));
    let time = Duration::from_secs(number("--seconds", 4));
    let runtime = tokio::runtime::Runtime::new().expect("starts");
    let mut runs = Vec::new();
    for number in 0..number("--runs", 5) {
        let dir = dir.join(format!("{}-{number}", std::process::id()));
        OsDisk.create_dir_all(&dir).expect("creates");
        runs.push(runtime.block_on(run(dir.clone(), time)));
        std::fs::remove_dir_all(&dir).expect("removes");
    }
    let of = |figure: fn(&Run) -> f64| spread(runs.iter().map(figure).collect());
    println!(
        "{{\"bench\":\"ledger\",\"runs\":{},\"writers\":{WRITERS},\"records_per_append\":{RECORDS},\"record_bytes\":256,\
         \"records_per_s\":{},\"append_p50_ms\":{},\"append_p99_ms\":{},\"fdatasync_p50_ms\":{},\
         \"fdatasync_p99_ms\":{},\"p99_ratio\":{},\"bytes_per_sync\":{}}}",
        runs.len(),
        of(|run| run.records_per_s),
        of(|run| run.append_p50_ms),
        of(|run| run.append_p99_ms),
        of(|run| run.sync_p50_ms),
        of(|run| run.sync_p99_ms),
        of(|run| run.append_p99_ms / run.sync_p99_ms),
        of(|run| run.bytes_per_sync),
    );
}
