//! Measures what a record costs to encode and a log to verify, per core: `bench/verify`.

#![expect(clippy::print_stdout, reason = "a command line tool")]

use std::path::Path;
use std::time::Duration;

use disk::{Disk, Open, OsClock, OsDisk};
use ledger::checkpoint::Checkpoint;
use ledger::commitment::{Salts, Seed};
use ledger::entry::{self, Head, Scalar, Uuid};
use ledger::note::{SecretSeeds, Signer};
use ledger::own::Genesis;
use ledger::payload;
use ledger::tile::TileWriter;
use ledger::verify::{DiskSource, Options, verify};
use model::{Clock, Kind, Origin, Rng, SeededRng, SourceId, Value};

const ENTRIES: u64 = 400_000;
const RUNS: usize = 5;

fn head(kind: Kind, seq: u64) -> Head {
    let source = SourceId::default();
    let (t_admit_ms, uuid) = (1_700_000_000_000 + seq, Uuid::new([1; 12], u32::try_from(seq).unwrap_or(0)));
    Head { inner: false, kind: kind.number(), schema: entry::SCHEMA, t_admit_ms, source, seq, uuid }
}

/// Encodes one record as `append` does: payload, commitments, entry.
fn encode(
    out: &mut Vec<u8>,
    payload: &mut Vec<u8>,
    c: &mut Vec<(u16, [u8; 32])>,
    seq: u64,
    values: &[(u16, Value)],
    salts: &Salts,
) {
    let head = head(Kind::CheckChange, seq);
    payload::encode(payload, &head.uuid, values, salts, c).expect("fits");
    let public = [(1, Scalar::Name(7)), (2, Scalar::Text("http")), (3, Scalar::Text("up")), (4, Scalar::Text("down"))];
    entry::encode(out, &head, public, c).expect("fits");
}

fn write_log(disk: &OsDisk, dir: &Path, values: &[(u16, Value)], salts: &Salts) -> Signer {
    let origin = Origin::new("localhost/default").expect("is valid");
    let signer = Signer::new(&origin, &SecretSeeds::generate(&SeededRng::new(1)));
    let mut writer = TileWriter::new();
    let genesis = Genesis { log_id: [1; 16], origin: origin.as_str(), continues: None };
    let (mut out, mut payload, mut commitments) = (Vec::new(), Vec::new(), Vec::new());
    entry::encode(&mut out, &head(Kind::Genesis, 0), genesis.fields(), &[]).expect("fits");
    for seq in 1..=ENTRIES {
        writer.push(&out).expect("fits");
        out.clear();
        payload.clear();
        encode(&mut out, &mut payload, &mut commitments, seq, values, salts);
    }
    let checkpoint = Checkpoint { origin: origin.to_string(), size: writer.size(), root: writer.root() };
    let note = signer.sign(&checkpoint, 0).into_bytes();
    let files = writer.take_full().into_iter().chain(writer.partials()).map(|(path, bytes)| (path.to_string(), bytes));
    for (path, bytes) in files.chain([("checkpoint".to_owned(), note)]) {
        let path = dir.join(path);
        disk.create_dir_all(path.parent().unwrap_or(dir)).expect("makes");
        disk.open(&path, Open::CreateNew).and_then(|file| file.write_at(&bytes, 0)).expect("writes");
    }
    signer
}

/// Returns how long this thread was on a core. A shared machine lends us less than a core, and a figure per core must
/// not show that; where the system does not say, the clock on the wall has to do.
fn on_core(clock: &OsClock) -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
    nanos.map_or_else(|| clock.monotonic(), Duration::from_nanos)
}

/// Runs `work` some times and returns how many of `count` it did per second: median, least, most.
fn rate(now: impl Fn() -> Duration, count: u64, mut work: impl FnMut()) -> [u64; 3] {
    let mut rates: Vec<u64> = (0..RUNS)
        .map(|_| {
            let start = now();
            work();
            let took = (now() - start).max(Duration::from_nanos(1));
            u64::try_from(u128::from(count) * 1_000_000_000 / took.as_nanos()).unwrap_or(u64::MAX)
        })
        .collect();
    rates.sort_unstable();
    [rates[RUNS / 2], rates[0], rates[RUNS - 1]]
}

fn figure(what: &str, [median, min, max]: [u64; 3], target: u64) -> String {
    let met = if target == 0 { "null".to_owned() } else { (median >= target).to_string() };
    let target = if target == 0 { "null".to_owned() } else { format!("\">= {target}\"") };
    format!(
        "{{\"what\": \"{what}\", \"unit\": \"/s\", \"median\": {median}, \"min\": {min}, \"max\": {max}, \"runs\": {RUNS}, \"target\": {target}, \"met\": {met}}}"
    )
}

fn main() {
    let (clock, disk, rng) = (OsClock::default(), OsDisk, SeededRng::new(3));
    let mut text = [0; 128];
    rng.fill(&mut text);
    let text: String = text.iter().map(|b| char::from(b'a' + b % 26)).collect();
    let values = [(5, Value::Text(text)), (6, Value::from("2026-11-22T10:00:00Z"))];
    let salts = Salts::new(&Seed::generate(&rng));

    let (mut out, mut payload, mut commitments) = (Vec::new(), Vec::new(), Vec::new());
    let encoded = rate(
        || on_core(&clock),
        ENTRIES,
        || {
            for seq in 0..ENTRIES {
                out.clear();
                payload.clear();
                encode(&mut out, &mut payload, &mut commitments, seq, &values, &salts);
                std::hint::black_box(ledger::merkle::leaf_hash(&out));
            }
        },
    );
    let bytes = (out.len(), payload.len());

    let dir = tempfile::tempdir().expect("makes");
    let signer = write_log(&disk, dir.path(), &values, &salts);
    let source = DiskSource::new(&disk, dir.path());
    let options = Options { keys: Some(signer.verifiers()), ..Options::default() };
    let walk = |threads| {
        let report = verify(&source, &Options { threads, ..options });
        assert!(report.is_sound() && report.entries == ENTRIES, "{:?}", report.findings.first());
    };
    let one = rate(|| on_core(&clock), ENTRIES, || walk(1));
    let two = rate(|| clock.monotonic(), ENTRIES, || walk(2));
    println!("entry of {} bytes, payload of {} bytes", bytes.0, bytes.1);
    let figures = [
        figure("records encoded and committed to, per core", encoded, 0),
        figure("entries verified, per core", one, 500_000),
        figure("entries verified, two threads, by the wall", two, 0),
    ];
    println!("{{\"figures\": [{}], \"peer\": null}}", figures.join(", "));
}
