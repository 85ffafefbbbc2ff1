//! The handle and its threads: levels, refusals, proofs, closing, damage.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use disk::{Disk, OsClock, OsDisk, OsRng, SimDisk};
use ledger::entry::Entry;
use ledger::merkle::leaf_hash;
use ledger::note::Verifiers;
use ledger::proof::Proof;
use ledger::verify::{self, DiskSource, Options};
use ledger::{Config, Engine, Error, FileKeys, Forensic, Ledger, Recovery, Stored};
use model::{
    Access, Alert, Body, Kind, Level, RefusalKind, Sector, SeededRng, Severity, Signal, StepClock, Tenant, Timestamp,
};
use privacy::{Cleared, Clearer, Redactor};

fn clear(body: impl Into<Body>) -> Cleared {
    let clearer = Clearer::new(Arc::new(Redactor::new()), [7; 32]);
    clearer.clear(Signal::ours(Tenant::default(), body)).expect("clears")
}

fn alert(name: &str) -> Alert {
    Alert {
        labels: [("alertname".to_owned(), name.to_owned())].into(),
        annotations: [].into(),
        starts_at: Timestamp::from_second(1_700_000_000).expect("in range"),
        ends_at: None,
        generator_url: None,
        severity: Severity::Critical,
        sector: Sector::None,
        channel: Some(name.to_owned()),
    }
}

fn access(rows: u64) -> Access {
    let at = Timestamp::from_second(1_700_000_000).expect("in range");
    Access { actor: "ana".into(), what: "/api/dihya/v1/search".into(), rows, at, query: None, question: None }
}

fn config(dir: &Path) -> Config {
    let mut config = Config::new(dir.to_owned(), "localhost", vec![Tenant::default()]);
    config.segment_bytes = 1 << 20;
    config.reserve_bytes = 1 << 16;
    config.commit_lag = Duration::from_millis(40);
    config
}

fn open(config: &Config) -> Result<(Ledger, Recovery), Error> {
    Ledger::open(Arc::new(OsDisk), Arc::new(OsClock::default()), Arc::new(OsRng), config.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_appended_is_durable_provable_and_read_back() {
    let dir = tempfile::tempdir().expect("temp dir");
    let config = config(dir.path());
    let tenant = Tenant::default();
    let (ledger, recovery) = open(&config).expect("opens");
    assert!(recovery.created && !recovery.clean);
    assert!(matches!(open(&config), Err(Error::Locked)));

    let mut cursor = ledger.cursor(&tenant, 0).expect("reads");
    let first = cursor.read(10).expect("reads");
    assert_eq!(first.iter().map(|record| record.kind).collect::<Vec<_>>(), [Kind::Genesis]);
    let bodies = [Body::from(alert("web")), access(1).into(), access(2).into(), alert("db").into()];
    let records: Vec<_> = bodies.iter().cloned().map(clear).collect();
    let (receipts, ()) = tokio::join!(ledger.append(records.clone(), Level::Durable), cursor.wait());
    let receipts = receipts.expect("is durable");
    let committed = ledger.append(records[1..2].to_vec(), Level::Committed).await.expect("is committed");

    let stored: Vec<Stored> = cursor.read(100).expect("reads").into_iter().filter(|r| r.kind.number() >= 16).collect();
    assert_eq!(stored.len(), 5);
    for (stored, (body, receipt)) in stored.iter().zip(bodies.iter().zip(&receipts)) {
        assert_eq!(&Body::from_fields(stored.kind, &stored.fields()).expect("is a body"), body);
        assert_eq!((stored.position, leaf_hash(&stored.entry)), (receipt.position, receipt.leaf_hash));
    }

    let keys = ledger_keys(dir.path());
    for (stored, receipt) in stored.iter().zip(receipts.iter().chain(&committed)) {
        let text = ledger.prove(&tenant, receipt.position).expect("is committed");
        let proof = Proof::parse(text.as_bytes()).expect("is a proof");
        assert!(proof.verify(&stored.entry, &keys).is_ok(), "position {}", receipt.position);
        assert_eq!(proof.extra.is_some(), Entry::decode(&stored.entry).expect("is an entry").head().inner);
    }
    let unknown = ledger.prove(&tenant, 1_000).expect_err("was never given");
    assert_eq!(unknown.kind(), RefusalKind::Reject);
    let size = ledger.checkpoint(&tenant).expect("known").expect("signed").size;
    assert!(size >= 4, "{size}");

    ledger.close().await.expect("closes");
    assert!(ledger.close().await.is_err() && ledger.append(records, Level::Durable).await.is_err());
    assert_eq!(&*ledger.stopped().await, "it was closed");
    drop(ledger);
    let (ledger, recovery) = open(&config).expect("opens again");
    assert!(recovery.clean && !recovery.created && recovery.copied_bytes == 0, "{recovery:?}");
    assert_eq!(ledger.cursor(&tenant, 0).expect("reads").read(100).expect("reads").len() as u64, count(&ledger));
    verify_all(dir.path());
    ledger.close().await.expect("closes");
}

fn count(ledger: &Ledger) -> u64 {
    let status = ledger.status().expect("lists");
    status.logs.iter().find(|log| log.origin.as_str() == "localhost/default").map_or(0, |log| log.durable)
}

fn ledger_keys(dir: &Path) -> Verifiers {
    let log = dir.join("ledger/localhost/default");
    let read = |name| disk::read(&OsDisk, &log.join(name)).expect("is published");
    Verifiers::parse(&read("vkey"), Some(&read("mldsa.pub"))).expect("are keys")
}

/// The offline verifier accepts the directory, with the WAL as its vault.
fn verify_all(dir: &Path) {
    let wal = Forensic::open(Arc::new(OsDisk), dir).expect("lists");
    assert_eq!(wal.origins().expect("reads"), ["localhost/meta", "localhost/default"]);
    for origin in wal.origins().expect("reads") {
        let source = DiskSource::new(&OsDisk, &dir.join("ledger").join(&origin));
        let vault = wal.log(&origin);
        let report = verify::verify(&source, &Options { vault: Some(&vault), ..Options::default() });
        assert!(report.is_sound(), "{origin}: {:?}", report.findings);
        assert!(report.vault_records > 0);
    }
}

struct Simulated {
    disk: SimDisk,
    clock: Arc<StepClock>,
    config: Config,
}

impl Simulated {
    fn new() -> Self {
        let clock = StepClock::new(Timestamp::from_second(1_700_000_000).expect("in range"));
        let mut config = config(Path::new("/data"));
        config.segment_bytes = 16_000;
        config.reserve_bytes = 24_000;
        Self { disk: SimDisk::new(1), clock: Arc::new(clock), config }
    }

    fn open(&self) -> Result<(Ledger, Recovery), Error> {
        let clock = Arc::clone(&self.clock);
        Ledger::open(Arc::new(self.disk.clone()), clock, Arc::new(SeededRng::new(1)), self.config.clone())
    }
}

#[tokio::test]
async fn what_cannot_be_appended_is_refused_with_its_kind() {
    let world = Simulated::new();
    let (ledger, _) = world.open().expect("opens");
    let other = {
        let clearer = Clearer::new(Arc::new(Redactor::new()), [7; 32]);
        let tenant = Tenant::new("other").expect("valid");
        clearer.clear(Signal::ours(tenant, access(1))).expect("clears")
    };
    let mut big = alert("x");
    big.annotations.insert("summary".into(), "word ".repeat(3_000));
    let cases = [
        (Vec::new(), Level::Durable),
        (vec![other.clone()], Level::Durable),
        (vec![clear(access(1)), other], Level::Durable),
        (vec![clear(access(1))], Level::Witnessed),
        (vec![clear(big.clone()), clear(big)], Level::Durable),
    ];
    for (number, (records, level)) in cases.into_iter().enumerate() {
        let error = ledger.append(records, level).await.expect_err("is refused");
        assert_eq!(error.kind(), RefusalKind::Reject, "case {number}: {error}");
    }
    assert_eq!(count(&ledger), 1, "nothing but the first record");
    assert!(ledger.consumed("view", &Tenant::new("other").expect("valid"), 0).is_err());
    assert!(format!("{ledger:?}").contains("/data"));
}

#[tokio::test]
async fn a_failed_sync_stops_the_ledger_and_nothing_acknowledged_is_lost() {
    let mut world = Simulated::new();
    let (ledger, _) = world.open().expect("opens");
    let kept = ledger.append(vec![clear(alert("kept"))], Level::Committed).await.expect("is committed");
    world.disk.fail_sync_after(0);
    let error = ledger.append(vec![clear(alert("lost"))], Level::Durable).await.expect_err("the sync fails");
    assert_eq!(error.kind(), RefusalKind::Stop, "{error}");
    let reason = ledger.stopped().await;
    assert!(reason.contains("could not sync /data/wal/00000001.wal"), "{reason}");
    let again = ledger.append(vec![clear(alert("after"))], Level::Durable).await.expect_err("has stopped");
    assert_eq!(again.kind(), RefusalKind::Stop);
    assert!(ledger.status().expect("lists").stopped.is_some());
    assert!(ledger.close().await.is_err());
    drop(ledger);
    world.disk = world.disk.kill();
    let (ledger, recovery) = world.open().expect("opens");
    assert!(!recovery.clean && recovery.copied_bytes > 0, "{recovery:?}");
    let records = ledger.cursor(&Tenant::default(), 0).expect("reads").read(100).expect("reads");
    assert!(records.iter().any(|record| record.position == kept[0].position && record.kind == Kind::Alert));
}

#[tokio::test]
async fn a_full_disk_refuses_intake_and_still_records_alerts() {
    let world = Simulated::new();
    let (ledger, _) = world.open().expect("opens");
    world.disk.set_capacity(Some(60_000));
    let mut error = None;
    for round in 0..200 {
        match ledger.append(vec![clear(access(round)); 8], Level::Durable).await {
            Ok(_) => {}
            Err(refused) => {
                error = Some(refused);
                break;
            }
        }
    }
    let error = error.expect("the disk is full in the end");
    assert_eq!((error.kind(), error.to_string().contains("full")), (RefusalKind::Retry, true), "{error}");
    assert!(ledger.status().expect("lists").disk_full);
    for _ in 0..5 {
        ledger.append(vec![clear(alert("pages"))], Level::Durable).await.expect("alerts are recorded");
    }
    assert!(ledger.append(vec![clear(access(0))], Level::Durable).await.is_err());
    world.disk.set_capacity(None);
    ledger.append(vec![clear(alert("pages"))], Level::Committed).await.expect("is committed");
    while ledger.status().expect("lists").disk_full {
        tokio::task::yield_now().await;
    }
    ledger.append(vec![clear(access(0))], Level::Committed).await.expect("intake is back");
    assert!(ledger.status().expect("lists").figures.refused_full >= 2);
    ledger.close().await.expect("closes");
}

/// The alert path's own state needs room as well, before the write-ahead log does.
#[tokio::test]
async fn who_finds_the_disk_full_is_given_the_reserve() {
    let mut world = Simulated::new();
    world.config.segment_bytes = 64_000;
    let (ledger, _) = world.open().expect("opens");
    world.disk.set_capacity(Some(0));
    assert!(world.disk.exists(Path::new("/data/reserve")));
    ledger.release_reserve("the control state cannot be written").expect("is released");
    ledger.release_reserve("again").expect("there is nothing more to release");
    assert!(!world.disk.exists(Path::new("/data/reserve")) && ledger.status().expect("lists").disk_full);
    assert!(ledger.append(vec![clear(access(0))], Level::Durable).await.is_err());
    ledger.append(vec![clear(alert("pages"))], Level::Durable).await.expect("alerts are recorded");
    world.disk.set_capacity(None);
    while ledger.status().expect("lists").disk_full {
        tokio::task::yield_now().await;
    }
    assert!(world.disk.exists(Path::new("/data/reserve")));
    ledger.append(vec![clear(access(0))], Level::Committed).await.expect("intake is back");
    ledger.close().await.expect("closes");
}

impl Simulated {
    fn engine(&self) -> Engine {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let clock = Arc::clone(&self.clock) as Arc<dyn model::Clock>;
        Engine::open(disk, clock, Arc::new(SeededRng::new(1)), self.config.clone(), &FileKeys).expect("opens").0
    }

    /// Sets the capacity to what is used and `more`.
    fn leave(&self, more: u64) {
        self.disk.set_capacity(Some(1 << 40));
        let free = self.disk.free_bytes(Path::new("/data")).expect("is told");
        self.disk.set_capacity(Some((1 << 40) - free + more));
    }
}

/// The meta-log's leaf of each minute and retention records once had priority, and ate the reserve: then the alert that
/// found no room was refused, and nobody was told anything.
#[test]
fn a_full_disk_is_kept_for_alerts_and_stops_the_ledger_when_it_has_no_room_for_one() {
    let world = Simulated::new();
    let mut engine = world.engine();
    world.leave(0);
    let append = |engine: &mut Engine, body: Body| engine.append(&[vec![clear(body)]]).pop().expect("one result");
    while append(&mut engine, access(1).into()).is_ok() {}
    let bytes = || world.disk.list(Path::new("/data/wal")).expect("lists").iter().map(|e| e.len).sum::<u64>();
    append(&mut engine, alert("pages").into()).expect("is recorded in the reserve");
    engine.publish().expect("fits the reserve");
    let before = bytes();
    for _ in 0..200 {
        assert!(engine.append_meta().is_err_and(|error| error.kind() == RefusalKind::Retry), "is not for the reserve");
    }
    assert_eq!(bytes(), before);
    let error = loop {
        if let Err(error) = append(&mut engine, alert("pages").into()) {
            break error;
        }
        // The partial tiles of one checkpoint, not those of each.
        let listed = world.disk.list(Path::new("/data/ledger/localhost/default/tile/entries/000.p"));
        if engine.publish().is_ok() {
            assert!(listed.is_ok_and(|listed| listed.len() <= 2));
        }
    };
    assert_eq!(error.kind(), RefusalKind::Stop, "{error}: what stops gives the last notice");
    assert!(error.to_string().contains("full"), "{error}");
}

#[test]
fn the_reserve_is_taken_back_only_when_there_is_room_for_others_too() {
    let world = Simulated::new();
    let mut engine = world.engine();
    world.leave(0);
    let held = || world.disk.exists(Path::new("/data/reserve"));
    while held() {
        let result = engine.append(&[vec![clear(alert("pages"))]]).pop().expect("one result");
        result.expect("is recorded");
    }
    world.leave(world.config.reserve_bytes + 1_000);
    engine.publish().expect("publishes");
    assert!(!held(), "what was given back is for others as well");
    world.leave(world.config.segment_bytes + 2 * world.config.reserve_bytes + 100_000);
    engine.publish().expect("publishes");
    assert!(held());
}

/// Entries stay for ever. Counted, they would leave no room for any payload in the end.
#[test]
fn retention_by_size_counts_what_still_has_payloads() {
    let mut world = Simulated::new();
    world.config.retain_bytes = 5 * world.config.segment_bytes;
    let mut engine = world.engine();
    for _ in 0..120 {
        engine.append(&[vec![clear(alert("x")); 6]]).pop().expect("one result").expect("appends");
        engine.publish().expect("publishes");
        while engine.retain().expect("retains") {}
    }
    let listed = world.disk.list(Path::new("/data/wal")).expect("lists");
    let segments: Vec<u64> = listed.iter().filter(|e| e.name.ends_with(".wal")).map(|e| e.len).collect();
    let whole = segments.iter().filter(|len| **len == world.config.segment_bytes).count();
    let stripped: u64 = segments.iter().filter(|len| **len < world.config.segment_bytes).sum();
    assert!(stripped > world.config.retain_bytes, "{stripped}");
    assert!((4..=6).contains(&whole), "{whole} of {}", segments.len());
}

/// A start once read the whole last segment, and checked every frame of it, to find that nothing was left to do.
#[tokio::test]
async fn a_start_reads_what_is_new_and_not_what_exists() {
    let mut world = Simulated::new();
    world.config.segment_bytes = 8 << 20;
    let (ledger, _) = world.open().expect("opens");
    for _ in 0..4 {
        ledger.append((0..4_000).map(|n| clear(access(n))).collect(), Level::Committed).await.expect("is committed");
    }
    ledger.close().await.expect("closes");
    drop(ledger);
    let (mut read, mut frames) = (Vec::new(), Vec::new());
    for appended in [0, 4] {
        world.disk = world.disk.kill();
        let (ledger, recovery) = world.open().expect("opens");
        read.push(world.disk.bytes_read());
        frames.push(recovery.frames);
        for n in 0..appended {
            ledger.append(vec![clear(access(n))], Level::Durable).await.expect("is durable");
        }
        ledger.close().await.expect("closes");
    }
    let wal: u64 = world.disk.list(Path::new("/data/wal")).expect("lists").iter().map(|entry| entry.len).sum();
    assert!(wal >= 8 << 20 && read.iter().all(|read| *read < 400_000), "{read:?} of {wal} bytes");
    assert_eq!(frames, [0, 0]);
}

#[tokio::test]
async fn damage_and_old_copies_are_refused_or_mended() {
    let build = || async {
        let world = Simulated::new();
        let (ledger, _) = world.open().expect("opens");
        for round in 0..24 {
            let level = if round % 6 == 5 { Level::Committed } else { Level::Durable };
            ledger.append(vec![clear(alert("web")), clear(access(round))], level).await.expect("is durable");
        }
        ledger.close().await.expect("closes");
        drop(ledger);
        Simulated { disk: world.disk.kill(), ..world }
    };
    let refused = |world: &Simulated, text: &str| {
        let error = world.open().map(|_| ()).expect_err(text);
        assert_eq!(error.kind(), RefusalKind::Stop, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    };

    let world = build().await;
    world.disk.remove(Path::new("/data/wal/snapshot")).expect("is there");
    world.disk.flip(Path::new("/data/wal/00000001.wal"), 5_000);
    refused(&world, "cannot trust WAL segment 1 at byte");

    let world = build().await;
    world.disk.remove(Path::new("/data/wal/snapshot")).expect("is there");
    world.disk.remove(Path::new("/data/wal/00000001.wal")).expect("is there");
    refused(&world, "the segment is missing");

    let world = build().await;
    for entry in world.disk.list(Path::new("/data/wal")).expect("lists") {
        world.disk.remove(&Path::new("/data/wal").join(entry.name)).expect("is there");
    }
    refused(&world, "the WAL does not know it");

    let world = build().await;
    world.disk.flip(Path::new("/data/ledger/localhost/default/checkpoint"), 40);
    refused(&world, "not one that we signed");

    let world = build().await;
    world.disk.remove(Path::new("/data/ledger/localhost/default/checkpoint")).expect("is there");
    let (ledger, recovery) = world.open().expect("the WAL has everything");
    assert!(recovery.tiles_rebuilt && ledger.checkpoint(&Tenant::default()).expect("known").is_some(), "{recovery:?}");
    drop(ledger);

    let world = build().await;
    world.disk.remove(Path::new("/data/keystore/localhost/default/signing.keys")).expect("is there");
    refused(&world, "restore the keystore");

    let world = build().await;
    world.disk.flip(Path::new("/data/wal/snapshot"), 30);
    let (ledger, recovery) = world.open().expect("the WAL has everything");
    assert!(recovery.frames > 30, "{recovery:?}");
    drop(ledger);

    let world = build().await;
    let tiles = "/data/ledger/localhost/default/tile/0/000.p";
    for entry in world.disk.list(Path::new(tiles)).expect("lists") {
        world.disk.flip(&Path::new(tiles).join(entry.name), 3);
    }
    let (ledger, recovery) = world.open().expect("the WAL has everything");
    assert!(recovery.tiles_rebuilt, "{recovery:?}");
    ledger.append(vec![clear(alert("web"))], Level::Committed).await.expect("is committed");
    ledger.close().await.expect("closes");
    let source = DiskSource::new(&world.disk, Path::new("/data/ledger/localhost/default"));
    assert!(verify::verify(&source, &Options::default()).is_sound());
}

#[tokio::test]
async fn full_tiles_are_mended_from_the_wal() {
    let world = Simulated::new();
    let (ledger, _) = world.open().expect("opens");
    for _ in 0..40 {
        let some = (0..15).map(|_| clear(alert("web"))).collect();
        ledger.append(some, Level::Committed).await.expect("is committed");
    }
    ledger.close().await.expect("closes");
    let log = Path::new("/data/ledger/localhost/default");
    // A start notices the first; the others were never looked at, and are mended with it.
    world.disk.remove(&log.join("checkpoint")).expect("is there");
    world.disk.flip(&log.join("tile/0/000"), 9);
    world.disk.flip(&log.join("tile/entries/001"), 700);
    world.disk.remove(&log.join("tile/0/001")).expect("is there");
    let (ledger, recovery) = world.open().expect("the WAL has everything");
    assert!(recovery.tiles_rebuilt, "{recovery:?}");
    ledger.close().await.expect("closes");
    let report = verify::verify(&DiskSource::new(&world.disk, log), &Options::default());
    assert!(report.is_sound() && report.entries > 600, "{:?}", report.findings);
}

#[test]
fn payloads_go_under_a_signed_record_and_the_meta_log_stays_open() {
    let world = Simulated { config: Config { retain_bytes: 40_000, ..Simulated::new().config }, ..Simulated::new() };
    let disk: Arc<dyn Disk> = Arc::new(world.disk.clone());
    let clock = Arc::clone(&world.clock) as Arc<dyn model::Clock>;
    let rng = Arc::new(SeededRng::new(1));
    let (mut engine, _) = ledger::Engine::open(disk, clock, rng, world.config.clone(), &FileKeys).expect("opens");
    let tenant = Tenant::default();
    for round in 0..60 {
        world.clock.advance(Duration::from_secs(1));
        let appended = engine.append(&[vec![clear(alert("web")), clear(access(round))], vec![clear(access(round))]]);
        assert!(appended.iter().all(Result::is_ok));
        if round % 7 == 0 {
            engine.publish().expect("publishes");
            engine.append_meta().expect("appends");
        }
    }
    engine.publish().expect("publishes");
    let mut rewritten = 0;
    while engine.retain().expect("retains") {
        rewritten += 1;
    }
    assert!(rewritten > 0);
    let mut cursor = engine.cursor(&tenant, 0).expect("reads");
    let records = cursor.read(usize::MAX).expect("reads");
    let gone = |record: &&Stored| record.kind == Kind::Alert && record.payload.is_empty();
    let first_kept = records.iter().find(|r| r.kind == Kind::Alert && !r.payload.is_empty()).expect("new ones stay");
    assert!(records.iter().filter(gone).count() > 0);
    assert!(records.iter().filter(gone).all(|record| record.position < first_kept.position));
    // Names are read although the records around them lost their payload.
    assert!(
        records.iter().filter(gone).all(|record| record.public.iter().any(|(_, v)| *v == model::Value::from("web")))
    );
    engine.close().expect("closes");

    let wal = Forensic::open(Arc::new(world.disk.clone()), Path::new("/data")).expect("lists");
    let mut covered = 0;
    for origin in ["localhost/default", "localhost/meta"] {
        let source = DiskSource::new(&world.disk, &Path::new("/data/ledger").join(origin));
        let vault = wal.log(origin);
        let report = verify::verify(&source, &Options { vault: Some(&vault), ..Options::default() });
        assert!(report.is_sound(), "{origin}: {:?}", report.findings);
        covered += report.covered;
    }
    assert!(covered > 0);
    let mut opened = 0;
    wal.visit("localhost/meta", &mut |found| {
        opened += usize::from(found.fields().expect("reads").len() == 2);
        true
    })
    .expect("reads");
    assert!(opened >= 8, "{opened}");
}

#[test]
fn long_logs_are_read_proven_and_told_wherever_they_stand() {
    let mut world = Simulated::new();
    world.config.segment_bytes = 2_200_000;
    world.config.reserve_bytes = 100_000;
    let open = |world: &Simulated, seed| {
        let disk: Arc<dyn Disk> = Arc::new(world.disk.clone());
        let clock = Arc::clone(&world.clock) as Arc<dyn model::Clock>;
        ledger::Engine::open(disk, clock, Arc::new(SeededRng::new(seed)), world.config.clone(), &FileKeys)
            .expect("opens")
            .0
    };
    let tenant = Tenant::default();
    let mut engine = open(&world, 1);
    // More new names than one frame of names carries, more records than one batch leaf covers, several segments.
    let named: Vec<Cleared> = (0..1_500).map(|n| clear(alert(&format!("channel-{n}")))).collect();
    let bulk = vec![clear(access(7)); 1_500];
    let mut positions = Vec::new();
    for records in [named, bulk.clone(), bulk.clone(), bulk.clone(), bulk] {
        let receipts = engine.append(&[records]).remove(0).expect("is durable");
        positions.extend([receipts[0].position, receipts[1_499].position]);
    }
    assert!(engine.prove(&tenant, positions[0]).is_err(), "no checkpoint covers it yet");
    engine.publish().expect("publishes");
    let keys = {
        let read =
            |name| disk::read(&world.disk, &Path::new("/data/ledger/localhost/default").join(name)).expect("is there");
        Verifiers::parse(&read("vkey"), Some(&read("mldsa.pub"))).expect("are keys")
    };
    for death in 0..2 {
        let mut cursor = engine.cursor(&tenant, 0).expect("reads");
        let records = cursor.read(usize::MAX).expect("reads");
        assert!(records.iter().map(|record| record.position).eq(0..cursor.position()), "contiguous");
        for position in &positions {
            let record = &records[usize::try_from(*position).expect("small")];
            let mut from_there = engine.cursor(&tenant, *position).expect("reads");
            assert_eq!(&from_there.read(1).expect("reads")[0], record);
            let proof = Proof::parse(engine.prove(&tenant, *position).expect("proves").as_bytes()).expect("is a proof");
            proof.verify(&record.entry, &keys).expect("verifies");
        }
        if death == 0 {
            drop(engine);
            world.disk = world.disk.kill();
            engine = open(&world, 2);
        }
    }
    engine.close().expect("closes");

    let wal = Forensic::open(Arc::new(world.disk.clone()), Path::new("/data")).expect("lists");
    let mut told = Vec::new();
    let end = wal.visit("localhost/default", &mut |found| {
        told.extend(ledger::describe_own(found.entry));
        true
    });
    assert_eq!(end.expect("reads").why, None);
    assert_eq!(told[0], "start of localhost/default");
    assert!(told.len() > 2 && told[1..].iter().all(|text| text.contains(" records, ")), "{told:?}");

    world.disk.flip(Path::new("/data/wal/00000001.wal"), 300_000);
    let wal = Forensic::open(Arc::new(world.disk.clone()), Path::new("/data")).expect("lists");
    let end = wal.visit("localhost/default", &mut |_| true).expect("reads");
    assert_eq!((end.segment, end.why), (1, Some("a frame's checksum is wrong")));
    let source = DiskSource::new(&world.disk, Path::new("/data/ledger/localhost/default"));
    let vault = wal.log("localhost/default");
    assert!(!verify::verify(&source, &Options { vault: Some(&vault), ..Options::default() }).is_sound());
    let mut first = 0;
    wal.visit("localhost/default", &mut |_| {
        first += 1;
        false
    })
    .expect("reads");
    assert_eq!(first, 1, "the visit ends when it is told to");
}

#[tokio::test]
async fn a_cursor_waits_for_more_and_for_the_end() {
    let world = Simulated::new();
    let (ledger, _) = world.open().expect("opens");
    let mut cursor = ledger.cursor(&Tenant::default(), 0).expect("reads");
    cursor.wait().await;
    assert_eq!(cursor.read(100).expect("reads").len(), 1);
    world.disk.fail_sync_after(0);
    let (appended, ()) = tokio::join!(ledger.append(vec![clear(access(1))], Level::Committed), cursor.wait());
    assert!(appended.is_err());
    cursor.wait().await;
    assert!(cursor.read(100).expect("reads").is_empty());
}

#[test]
fn a_record_is_proven_when_its_batch_began_in_an_earlier_segment() {
    let world = Simulated::new();
    let disk: Arc<dyn Disk> = Arc::new(world.disk.clone());
    let clock = Arc::clone(&world.clock) as Arc<dyn model::Clock>;
    let rng = Arc::new(SeededRng::new(1));
    let (mut engine, _) = ledger::Engine::open(disk, clock, rng, world.config.clone(), &FileKeys).expect("opens");
    let mut positions = Vec::new();
    for round in 0..40 {
        let receipts =
            engine.append(&[vec![clear(access(round)), clear(access(round)), clear(alert("web"))]]).remove(0);
        positions.extend(receipts.expect("is durable").into_iter().map(|receipt| receipt.position));
    }
    assert!(!engine.retain().expect("nothing is due while the batch is open"));
    engine.publish().expect("publishes");
    let read =
        |name| disk::read(&world.disk, &Path::new("/data/ledger/localhost/default").join(name)).expect("is there");
    let keys = Verifiers::parse(&read("vkey"), Some(&read("mldsa.pub"))).expect("are keys");
    let tenant = Tenant::default();
    let records = engine.cursor(&tenant, 0).expect("reads").read(usize::MAX).expect("reads");
    for position in positions {
        let record = &records[usize::try_from(position).expect("small")];
        let proof = engine.prove(&tenant, position).expect("proves");
        let proof = Proof::parse(proof.as_bytes()).expect("is a proof");
        proof.verify(&record.entry, &keys).expect("verifies");
    }
    assert!(world.disk.exists(Path::new("/data/wal/00000003.wal")), "there are several segments");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_threads_write_the_meta_log_and_delete_old_payloads() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut config = config(dir.path());
    (config.segment_bytes, config.retain_bytes, config.meta_every) = (48_000, 64_000, Duration::from_millis(5));
    let (ledger, _) = open(&config).expect("opens");
    let tenant = Tenant::default();
    ledger.consumed("view", &tenant, 0).expect("is known");
    let first = ledger.append(vec![clear(alert("web"))], Level::Durable).await.expect("is durable")[0].position;
    let payload = || {
        let mut cursor = ledger.cursor(&tenant, first).expect("reads");
        cursor.read(1).expect("reads")[0].payload.len()
    };
    let fill = || ledger.append(vec![clear(access(1)); 64], Level::Committed);
    for _ in 0..20 {
        fill().await.expect("is committed");
    }
    assert!(payload() > 0, "the view has not consumed it");
    ledger.consumed("view", &tenant, u64::MAX).expect("is known");
    let mut rounds = 0;
    while payload() > 0 || ledger.status().expect("lists").logs[0].size < 4 {
        fill().await.expect("is committed");
        rounds += 1;
        assert!(rounds < 1_000, "payloads are never deleted");
    }
    ledger.close().await.expect("closes");
    drop(ledger);
    verify_all(dir.path());
}
