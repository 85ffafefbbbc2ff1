//! How fast the ledger makes records durable, beside the disk's own speed in the same process and on the same sizes.
//!
//! `cargo run --release -p ledger --example ledger-bench -- [--dir DIR] [--runs 5] [--seconds 4]` prints one JSON line:
//! 16 writers append 256 records of 256 bytes each, and wait for the disk each time. First each as often as it can: then
//! the time of an append says how many records are under way (16 x 256) and how many a second pass, by Little's law, and
//! little of the disk. Then at 400,000 records a second together, which is what a time can be promised for. Beside
//! each stand the ledger's own `fdatasync` calls of that run, and `fdatasync` alone on an idle machine.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use disk::{DirEntry, Disk, DiskFile, Open, OsClock, OsDisk, OsRng};
use ledger::{Config, Ledger};
use model::{Access, Clock, Level, Signal, SourceId, Tenant, Timestamp};
use privacy::{Cleared, Clearer, Redactor};

/// The allocator of the product, so that what is measured is what runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WRITERS: usize = 16;
const RECORDS: usize = 256;

/// Records a second, all writers together, at which the time of an append is measured.
const PACE: usize = 400_000;

struct Run {
    records_per_s: f64,
    append_p50_ms: f64,
    append_p99_ms: f64,
    /// `fdatasync` of the ledger's own while it ran.
    own_sync_p99_ms: f64,
    /// `fdatasync` alone, of as many bytes.
    sync_p50_ms: f64,
    sync_p99_ms: f64,
    bytes_per_sync: f64,
}

/// Times of `fdatasync` calls.
type Times = Arc<Mutex<Vec<Duration>>>;

/// The real disk, with each `fdatasync` of the WAL timed.
struct TimedDisk(OsClock, Times);

struct TimedFile(Box<dyn DiskFile>, OsClock, Times);

impl DiskFile for TimedFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<usize, disk::Error> {
        self.0.read_at(bytes, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), disk::Error> {
        self.0.write_at(bytes, offset)
    }
    fn len(&self) -> Result<u64, disk::Error> {
        self.0.len()
    }
    fn set_len(&self, len: u64) -> Result<(), disk::Error> {
        self.0.set_len(len)
    }
    fn allocate(&self, len: u64) -> Result<(), disk::Error> {
        self.0.allocate(len)
    }
    fn next_data(&self, offset: u64) -> Result<Option<u64>, disk::Error> {
        self.0.next_data(offset)
    }
    fn forget_copies(&self, start: u64, end: u64) {
        self.0.forget_copies(start, end);
    }
    fn sync_data(&self) -> Result<(), disk::Error> {
        let start = self.1.monotonic();
        self.0.sync_data()?;
        self.2.lock().unwrap_or_else(PoisonError::into_inner).push(self.1.monotonic() - start);
        Ok(())
    }
}

impl Disk for TimedDisk {
    fn open(&self, path: &Path, how: Open) -> Result<Box<dyn DiskFile>, disk::Error> {
        let file = OsDisk.open(path, how)?;
        let of_wal = path.parent().is_some_and(|parent| parent.ends_with("wal"));
        Ok(if of_wal { Box::new(TimedFile(file, self.0, Arc::clone(&self.1))) } else { file })
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), disk::Error> {
        OsDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> Result<(), disk::Error> {
        OsDisk.remove(path)
    }
    fn create_dir_all(&self, path: &Path) -> Result<(), disk::Error> {
        OsDisk.create_dir_all(path)
    }
    fn sync_dir(&self, path: &Path) -> Result<(), disk::Error> {
        OsDisk.sync_dir(path)
    }
    fn sync_all(&self, root: &Path) -> Result<(), disk::Error> {
        OsDisk.sync_all(root)
    }
    fn list(&self, path: &Path) -> Result<Vec<DirEntry>, disk::Error> {
        OsDisk.list(path)
    }
    fn exists(&self, path: &Path) -> bool {
        OsDisk.exists(path)
    }
    fn free_bytes(&self, path: &Path) -> Result<u64, disk::Error> {
        OsDisk.free_bytes(path)
    }
    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn Send + Sync>>, disk::Error> {
        OsDisk.try_lock(path)
    }
}

/// A record whose values take 256 bytes.
fn record(writer: usize) -> Cleared {
    let what = "/api/dihya/v1/search".to_owned();
    let at = Timestamp::from_second(1_700_000_000).expect("in range");
    let actor = "a".repeat(256 - what.len() - 8 - 20);
    let source = SourceId([u8::try_from(writer).expect("small"); 16]);
    let clearer = Clearer::new(Arc::new(Redactor::new()), [7; 32]);
    let body = Access { actor, what, rows: 3, at, query: None, question: None }.into();
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

/// One run; each writer as often as it can, or at its share of `pace` records a second. When an append is late, so is its
/// start counted: the time of an append begins when it was to begin.
async fn run(dir: PathBuf, time: Duration, pace: Option<usize>) -> Run {
    let clock = OsClock::default();
    let times = Times::default();
    let disk = Arc::new(TimedDisk(clock, Arc::clone(&times)));
    let config = Config::new(dir.join("data"), "localhost", vec![Tenant::default()]);
    let (ledger, _) = Ledger::open(disk, Arc::new(clock), Arc::new(OsRng), config).expect("opens");
    times.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let every = pace.map(|pace| Duration::from_secs_f64((WRITERS * RECORDS) as f64 / pace as f64));
    let start = clock.monotonic();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let ledger = ledger.clone();
        writers.spawn(async move {
            let records = vec![record(writer); RECORDS];
            let mut took = Vec::new();
            let mut due = start + every.unwrap_or_default().mul_f64(writer as f64 / WRITERS as f64);
            while clock.monotonic() - start < time {
                let records = records.clone();
                match every {
                    Some(every) => {
                        tokio::time::sleep(due.saturating_sub(clock.monotonic())).await;
                        ledger.append(records, Level::Durable).await.expect("is durable");
                        took.push(clock.monotonic().saturating_sub(due));
                        due += every;
                    }
                    None => {
                        let start = clock.monotonic();
                        ledger.append(records, Level::Durable).await.expect("is durable");
                        took.push(clock.monotonic() - start);
                    }
                }
            }
            took
        });
    }
    let mut took: Vec<Duration> = writers.join_all().await.into_iter().flatten().collect();
    let seconds = (clock.monotonic() - start).as_secs_f64();
    let figures = ledger.status().expect("lists").figures;
    let mut own = times.lock().unwrap_or_else(PoisonError::into_inner).clone();
    ledger.close().await.expect("closes");
    took.sort_unstable();
    own.sort_unstable();
    let bytes_per_sync = figures.bytes as f64 / figures.syncs as f64;
    let raw = raw_sync(&dir, bytes_per_sync as usize, time / 2, &clock);
    Run {
        records_per_s: (took.len() * RECORDS) as f64 / seconds,
        append_p50_ms: percentile(&took, 50),
        append_p99_ms: percentile(&took, 99),
        own_sync_p99_ms: percentile(&own, 99),
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
    let count = number("--runs", 5);
    let several = |name: &str, pace| {
        let one = |number| {
            let dir = dir.join(format!("{}-{name}-{number}", std::process::id()));
            OsDisk.create_dir_all(&dir).expect("creates");
            let run = runtime.block_on(run(dir.clone(), time, pace));
            std::fs::remove_dir_all(&dir).expect("removes");
            run
        };
        summary(&(0..count).map(one).collect::<Vec<_>>())
    };
    println!(
        "{{\"bench\":\"ledger\",\"runs\":{count},\"writers\":{WRITERS},\"records_per_append\":{RECORDS},\"record_bytes\":256,\
         \"saturated\":{},\"pace\":{PACE},\"paced\":{}}}",
        several("saturated", None),
        several("paced", Some(PACE)),
    );
}

/// Returns the figures of some runs as a JSON object.
fn summary(runs: &[Run]) -> String {
    let of = |figure: fn(&Run) -> f64| spread(runs.iter().map(figure).collect());
    format!(
        "{{\"records_per_s\":{},\"append_p50_ms\":{},\"append_p99_ms\":{},\"own_fdatasync_p99_ms\":{},\
         \"fdatasync_p50_ms\":{},\"fdatasync_p99_ms\":{},\"p99_to_own_fdatasync\":{},\"p99_to_fdatasync\":{},\
         \"bytes_per_sync\":{}}}",
        of(|run| run.records_per_s),
        of(|run| run.append_p50_ms),
        of(|run| run.append_p99_ms),
        of(|run| run.own_sync_p99_ms),
        of(|run| run.sync_p50_ms),
        of(|run| run.sync_p99_ms),
        of(|run| run.append_p99_ms / run.own_sync_p99_ms),
        of(|run| run.append_p99_ms / run.sync_p99_ms),
        of(|run| run.bytes_per_sync),
    )
}
