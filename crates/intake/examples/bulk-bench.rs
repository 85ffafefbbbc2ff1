//! Where the processor's time goes between a `_bulk` body and its acknowledgement, in one process and without a sender.
//!
//! `cargo run --release -p intake --example bulk-bench -- [--dir DIR] [--bodies 96] [--runs 3] [--only web|dense]
//! [--stage append]` prints one JSON line. The corpora are those of `bench/intake`: requests of a web server and lines
//! dense with personal data, in bodies of 1 MiB. Each goes three ways: to a door that throws events away (`read`: taken
//! apart and answered), to one that clears them and throws that away (`clear`), and into a ledger on the disk
//! (`append`: what is acknowledged). What a stage costs is the difference. Processor time of the whole process counts.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use disk::{Disk as _, OsClock, OsDisk, OsRng};
use intake::{Call, Encoding, Receiver};
use ledger::{Config, Ledger};
use model::{Admit, BoxFuture, Level, Origin, Receipt, Refusal, SeededRng, Signal, SourceId, Tenant};
use privacy::{Clearer, Redactor};

/// The allocator of the product, so that what is measured is what runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[path = "../tests/it/corpora.rs"]
mod corpora;

use corpora::{ACTION, dense, web};

const BODY_BYTES: usize = 1 << 20;
const SENDERS: usize = 4;

/// What is done with events that were read.
#[derive(Clone)]
enum Door {
    Read(Arc<AtomicU64>),
    Clear(Arc<Clearer>, Arc<AtomicU64>),
    Append(Arc<Clearer>, Ledger),
}

impl Door {
    fn cleared(clearer: &Clearer, signals: impl IntoIterator<Item = Signal>) -> Result<Vec<privacy::Cleared>, Refusal> {
        clearer.clear_all(signals).map_err(|error| Refusal { kind: error.kind(), reason: error.to_string() })
    }
}

fn receipts(next: &AtomicU64, count: usize) -> Vec<Receipt> {
    let first = next.fetch_add(count as u64, Ordering::Relaxed);
    let origin = Origin::new("localhost/default").expect("is one");
    (first..first + count as u64)
        .map(|position| Receipt { origin: origin.clone(), position, leaf_hash: [0; 32] })
        .collect()
}

impl Admit for Door {
    fn admit(&self, signals: Vec<Signal>, level: Level) -> BoxFuture<'_, Result<Vec<Receipt>, Refusal>> {
        Box::pin(async move {
            let count = signals.len();
            match self {
                Self::Read(next) => Ok(receipts(next, count)),
                Self::Clear(clearer, next) => {
                    let cleared = Self::cleared(clearer, signals)?;
                    Ok(receipts(next, cleared.len()))
                }
                Self::Append(clearer, ledger) => {
                    ledger.append(Self::cleared(clearer, signals)?, level).await.map_err(Refusal::from)
                }
            }
        })
    }

    fn admit_each<'a>(
        &'a self,
        signals: &'a mut (dyn Iterator<Item = Signal> + Send),
        level: Level,
    ) -> BoxFuture<'a, Result<Vec<Receipt>, Refusal>> {
        Box::pin(async move {
            // As the product does it: each is cleared before the next is read, and holds up nobody else.
            match self {
                Self::Read(next) => Ok(receipts(next, tokio::task::block_in_place(|| signals.count()))),
                Self::Clear(clearer, next) => {
                    let cleared = tokio::task::block_in_place(|| Self::cleared(clearer, signals))?;
                    Ok(receipts(next, cleared.len()))
                }
                Self::Append(clearer, ledger) => {
                    let cleared = tokio::task::block_in_place(|| Self::cleared(clearer, signals))?;
                    ledger.append(cleared, level).await.map_err(Refusal::from)
                }
            }
        })
    }
}

fn corpus(line: fn(&SeededRng, u64) -> String, bodies: usize) -> Vec<Bytes> {
    let (rng, mut n) = (SeededRng::new(7), 0);
    let body = |_| {
        let mut body = String::with_capacity(BODY_BYTES + 1024);
        while body.len() < BODY_BYTES {
            body.push_str(ACTION);
            body.push_str(&line(&rng, n));
            body.push('\n');
            n += 1;
        }
        Bytes::from(body)
    };
    (0..bodies).map(body).collect()
}

/// Sends all bodies and returns megabytes for each second of the processor.
async fn send(door: Door, bodies: &[Bytes]) -> f64 {
    let receiver = Arc::new(Receiver::new(Arc::new(door), Arc::new(OsClock::default())));
    let start = cpu_seconds();
    let mut senders = tokio::task::JoinSet::new();
    for number in 0..SENDERS {
        let receiver = Arc::clone(&receiver);
        let mine: Vec<Bytes> = bodies.iter().skip(number).step_by(SENDERS).cloned().collect();
        senders.spawn(async move {
            for body in mine {
                let (tenant, source) = (Tenant::default(), SourceId([1; 16]));
                let answer = receiver.bulk(Call { tenant, source, encoding: Encoding::Identity, body }, None).await;
                assert!(answer.status == 200 && answer.body.contains("\"errors\":false"), "{}", answer.detail);
            }
        });
    }
    senders.join_all().await;
    bodies.iter().map(Bytes::len).sum::<usize>() as f64 / 1e6 / (cpu_seconds() - start)
}

/// Returns the processor time that this process has used: what else the machine does is not measured.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

async fn stage(stage: &str, bodies: &[Bytes], dir: &std::path::Path) -> f64 {
    let clearer = Arc::new(Clearer::new(Arc::new(Redactor::new()), [7; 32]));
    match stage {
        "read" => send(Door::Read(Arc::default()), bodies).await,
        "clear" => send(Door::Clear(clearer, Arc::default()), bodies).await,
        _ => {
            let config = Config::new(dir.join("data"), "localhost", vec![Tenant::default()]);
            let clock = Arc::new(OsClock::default());
            let (ledger, _) = Ledger::open(Arc::new(OsDisk), clock, Arc::new(OsRng), config).expect("opens");
            let rate = send(Door::Append(clearer, ledger.clone()), bodies).await;
            ledger.close().await.expect("closes");
            std::fs::remove_dir_all(dir.join("data")).expect("removes");
            rate
        }
    }
}

#[expect(clippy::print_stdout, reason = "a command line tool")]
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let argument = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let number = |name: &str, default: usize| argument(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let dir = PathBuf::from(argument("--dir").unwrap_or_else(|| "target/bulk-bench".to_owned()));
    let dir = dir.join(std::process::id().to_string());
    OsDisk.create_dir_all(&dir).expect("creates");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("starts");
    let (count, only, one_stage) = (number("--runs", 3), argument("--only"), argument("--stage"));
    let mut figures = Vec::new();
    for (name, line) in [("web", web as fn(&SeededRng, u64) -> String), ("dense", dense)] {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let bodies = corpus(line, number("--bodies", 96));
        for what in ["read", "clear", "append"] {
            if one_stage.as_ref().is_some_and(|stage| stage != what) {
                continue;
            }
            let rates = (0..count).map(|_| runtime.block_on(stage(what, &bodies, &dir)));
            let rates: Vec<String> = rates.map(|rate| format!("{rate:.1}")).collect();
            figures.push(format!("\"{name}, {what}\":[{}]", rates.join(",")));
        }
    }
    std::fs::remove_dir_all(&dir).expect("removes");
    println!("{{{}}}", figures.join(","));
}
