//! A day of simulated operation on a real disk, walked by a program of others: golang.org/x/mod.
//!
//! A minute of the day is one step of the clock: results of six checks, a self-test, and what their changes cause. Each
//! fifth one is waited for until it is committed. Nothing here waits for a device: the crash suite is about what a device loses.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use disk::{DirEntry, Disk, DiskFile, Error, Open, OsDisk};
use ledger::verify::{self, DiskSource, Options};
use ledger::{Config, Forensic, Ledger};
use model::{
    Access, AdminAct, Alert, Body, CheckChange, CheckResult, Delivery, IncidentAction, IncidentId, IncidentTransition,
    Intent, IntentId, Level, Outcome, Sector, SeededRng, SelfTest, Severity, Signal, SourceId, State, StepClock,
    Tenant, Timestamp, Timings,
};
use privacy::{Clearer, Redactor};

use crate::foreign::{build, text};

const MINUTES: u64 = 24 * 60;
const CHECKS: [(&str, &str); 6] =
    [("web", "http"), ("shop", "http"), ("mail", "smtp"), ("names", "dns"), ("base", "postgres"), ("door", "tcp")];

/// The machine's disk without its waiting: files are where they belong, and no sync is asked for.
struct Unsynced;

struct UnsyncedFile(Box<dyn DiskFile>);

impl DiskFile for UnsyncedFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<usize, Error> {
        self.0.read_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        self.0.write_at(bytes, offset)
    }

    fn len(&self) -> Result<u64, Error> {
        self.0.len()
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> Result<(), Error> {
        self.0.set_len(self.0.len()?.max(len))
    }

    fn sync_data(&self) -> Result<(), Error> {
        Ok(())
    }
}

impl Disk for Unsynced {
    fn open(&self, path: &Path, how: Open) -> Result<Box<dyn DiskFile>, Error> {
        Ok(Box::new(UnsyncedFile(OsDisk.open(path, how)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        OsDisk.remove(path)
    }

    fn create_dir_all(&self, path: &Path) -> Result<(), Error> {
        OsDisk.create_dir_all(path)
    }

    fn sync_dir(&self, _: &Path) -> Result<(), Error> {
        Ok(())
    }

    fn sync_all(&self, _: &Path) -> Result<(), Error> {
        Ok(())
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>, Error> {
        OsDisk.list(path)
    }

    fn exists(&self, path: &Path) -> bool {
        OsDisk.exists(path)
    }

    fn free_bytes(&self, path: &Path) -> Result<u64, Error> {
        OsDisk.free_bytes(path)
    }

    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn Send + Sync>>, Error> {
        OsDisk.try_lock(path)
    }
}

/// Returns how long after its start a minute's incident of that check is open, if it is.
fn outage(minute: u64, check: usize) -> Option<u64> {
    // Each check breaks some times a day, at minutes of its own, for seven minutes.
    let phase = (minute + 53 * check as u64) % (211 + 37 * check as u64);
    (phase < 7).then_some(phase)
}

fn result(check: usize, at: Timestamp, state: State) -> CheckResult {
    let (id, kind) = CHECKS[check];
    CheckResult {
        id: id.into(),
        name: format!("{id} of the shop"),
        kind: kind.into(),
        state,
        observed: state,
        reason: if state == State::Up { String::new() } else { "connection refused by 192.0.2.7".into() },
        since: at,
        checked_at: at,
        conditions: Vec::new(),
        timings_ms: Timings { total: Some(12.5), ..Timings::default() },
        figures: [("days_left".to_owned(), 61.0)].into(),
        maintenance: false,
    }
}

/// What the start or the end of an outage causes.
fn change(check: usize, at: Timestamp, down: bool) -> Vec<Body> {
    let (id, kind) = CHECKS[check];
    let (from, to) = if down { (State::Up, State::Down) } else { (State::Down, State::Up) };
    let labels: model::Labels = [("alertname".to_owned(), id.to_owned())].into();
    let incident = IncidentId::new(at, [u8::try_from(check).expect("few"); 10]);
    let intent = IntentId(format!("{id}-{}", at.as_second()));
    let reason = "connection refused, told to ana@example.org".to_owned();
    let alert = Alert {
        labels: labels.clone(),
        annotations: [("summary".to_owned(), reason.clone())].into(),
        starts_at: at,
        ends_at: (!down).then_some(at),
        generator_url: None,
        severity: Severity::Critical,
        sector: Sector::None,
        channel: Some("log".to_owned()),
    };
    let step = serde_json::json!({
        "incident": incident, "at": at, "by": "dihya", "key": format!("check={id}"), "title": id, "labels": labels,
        "action": if down { IncidentAction::Opened } else { IncidentAction::Resolved },
    });
    let step: IncidentTransition = serde_json::from_value(step).expect("a transition");
    let decided = Intent {
        id: intent.clone(),
        incident: Some(incident),
        receiver: "ops".into(),
        channel: "log".into(),
        firing: down,
        at,
        give_up_at: at,
        message: serde_json::json!({"title": id}),
    };
    let told = Delivery {
        intent,
        attempt: 1,
        outcome: Outcome::Delivered,
        at,
        channel: "log".into(),
        reason: String::new(),
        next_at: None,
    };
    let changed = CheckChange { id: id.into(), kind: kind.into(), from, to, reason, at, flapping: false };
    vec![changed.into(), alert.into(), step.into(), decided.into(), told.into()]
}

/// What a minute brings, beside the results.
fn minute_of(minute: u64, at: Timestamp) -> (Vec<Body>, Vec<Body>) {
    let (mut results, mut events) = (Vec::new(), Vec::new());
    for check in 0..CHECKS.len() {
        let (before, now) = (minute.checked_sub(1).and_then(|minute| outage(minute, check)), outage(minute, check));
        results.push(result(check, at, if now.is_some() { State::Down } else { State::Up }).into());
        if before.is_some() != now.is_some() {
            events.extend(change(check, at, now.is_some()));
        }
    }
    if minute % 30 == 7 {
        results.push(
            Access {
                actor: "ana".into(),
                what: "/api/dihya/v1/incidents".into(),
                rows: minute,
                at,
                query: None,
                question: None,
            }
            .into(),
        );
    }
    if minute % 240 == 11 {
        let (act, target) = ("token.add".into(), "viewer".into());
        events.push(AdminAct { actor: "ana".into(), act, target, detail: String::new(), at }.into());
    }
    let (what, target) = ("canary".into(), "canary".into());
    events.push(SelfTest { what, target, passed: true, reason: String::new(), at }.into());
    (results, events)
}

/// Lives a day and returns the checkpoints that somebody kept, one an hour.
async fn live(dir: &Path) -> Vec<(PathBuf, PathBuf)> {
    let clock = Arc::new(StepClock::new(Timestamp::from_second(1_700_000_000).expect("in range")));
    let tenant = Tenant::default();
    let mut config = Config::new(dir.join("data"), "localhost", vec![tenant.clone()]);
    config.segment_bytes = 2 << 20;
    config.retain_age = Duration::from_secs(6 * 3_600);
    config.commit_lag = Duration::from_millis(2);
    config.meta_every = Duration::from_secs(300);
    let rng = Arc::new(SeededRng::new(1));
    let clearer = Clearer::new(Arc::new(Redactor::new()), [7; 32]);
    let clock_of_ledger = Arc::clone(&clock) as Arc<dyn model::Clock>;
    let (ledger, _) = Ledger::open(Arc::new(Unsynced), clock_of_ledger, rng, config.clone()).expect("opens");
    let clear = |bodies: Vec<Body>, source: u8| -> Vec<_> {
        let (tenant, source) = (Tenant::default(), SourceId([source; 16]));
        let signal = |body| Signal { tenant: tenant.clone(), source, body };
        bodies.into_iter().map(|body| clearer.clear(signal(body)).expect("clears")).collect()
    };
    let mut kept = Vec::new();
    for minute in 0..MINUTES {
        clock.advance(Duration::from_secs(60));
        let (results, events) = minute_of(minute, model::Clock::now(&*clock));
        ledger.append(clear(results, 1), Level::Durable).await.expect("is durable");
        let level = if minute % 5 == 4 { Level::Committed } else { Level::Durable };
        ledger.append(clear(events, 2), level).await.expect("is durable");
        if minute % 60 == 59 {
            let copy = |log: &str| {
                let to = dir.join(format!("{log}-{minute:04}"));
                std::fs::copy(config.dir.join("ledger/localhost").join(log).join("checkpoint"), &to).expect("copies");
                to
            };
            kept.push((copy("default"), copy("meta")));
        }
    }
    ledger.close().await.expect("closes");
    kept
}

/// Flips a bit of a file, asks, and flips it back.
fn tampered<T>(file: &Path, at: usize, ask: impl FnOnce() -> T) -> T {
    let whole = std::fs::read(file).expect("reads");
    let mut bytes = whole.clone();
    bytes[at] ^= 1;
    disk::write_atomic(&OsDisk, file, &bytes).expect("writes");
    let answer = ask();
    disk::write_atomic(&OsDisk, file, &whole).expect("writes");
    answer
}

/// The widest partial form below a directory.
fn partial(dir: &Path) -> PathBuf {
    let names = OsDisk.list(dir).expect("lists").into_iter().filter(|entry| entry.name.ends_with(".p"));
    let last = dir.join(names.max().expect("has a partial tile").name);
    let widths = OsDisk.list(&last).expect("lists").into_iter();
    last.join(widths.max_by_key(|entry| entry.name.parse::<u32>().ok()).expect("has one").name)
}

#[tokio::test(flavor = "multi_thread")]
async fn go_walks_a_day_of_operation_and_refuses_it_after_one_tampered_byte() {
    let dir = tempfile::tempdir().expect("makes");
    let Some((walk, version)) = build(include_str!("../go/walk/main.go"), dir.path()) else { return };
    println!("real part: go-x-mod {version}");
    let kept = live(dir.path()).await;
    let logs = dir.path().join("data/ledger/localhost");
    let go = |log: &str, kept: Vec<&PathBuf>| {
        let vkey = std::fs::read_to_string(logs.join(log).join("vkey")).expect("reads");
        let output = Command::new(&walk).arg(logs.join(log)).arg(vkey.trim()).args(kept).output().expect("runs");
        (output.status.code(), text(&output))
    };
    let both = |kept: &[(PathBuf, PathBuf)]| {
        let (ours, meta) = kept.iter().map(|(ours, meta)| (ours, meta)).unzip::<_, _, Vec<_>, Vec<_>>();
        [go("default", ours), go("meta", meta)]
    };
    for (code, answer) in both(&kept) {
        assert!(code == Some(0) && answer.contains("24 kept checkpoints"), "{answer}");
        println!("{}", answer.trim());
    }

    let wal = Forensic::open(Arc::new(OsDisk), &dir.path().join("data")).expect("lists");
    for log in ["meta", "default"] {
        let (source, vault) = (DiskSource::new(&OsDisk, &logs.join(log)), wal.log(&format!("localhost/{log}")));
        let report = verify::verify(&source, &Options { vault: Some(&vault), ..Options::default() });
        assert!(report.is_sound(), "{:?}", report.findings);
        let (retained, records) = (report.covered > 0, report.batch_records > MINUTES * 6);
        assert!(log == "meta" || (retained && records), "payloads were deleted in the course of the day: {report:?}");
    }

    let log = logs.join("default");
    let note = std::fs::read_to_string(log.join("checkpoint")).expect("reads");
    // The first line after the text is Ed25519's, the one that x/mod knows.
    let signature = note.find("\u{2014} ").expect("is signed") + "\u{2014} localhost/default ".len() + 20;
    // A letter that stays one of base64 when it is tampered with: the note is well formed, and its signature is not.
    let stays = |at: &usize| note.as_bytes().get(*at).is_some_and(|byte| (byte ^ 1).is_ascii_alphanumeric());
    let signature = (signature..signature + 40).find(stays).expect("most letters do");
    let cases = [
        (log.join("tile/entries/003"), 100, "tile/0/003 does not follow from the entries"),
        (partial(&log.join("tile/entries")), 50, "does not follow from the entries"),
        (log.join("tile/0/005"), 4_000, "tile/0/005 does not follow from the entries"),
        (partial(&log.join("tile/0")), 3, "does not follow from the entries"),
        (partial(&log.join("tile/1")), 70, "does not follow from the entries"),
        (log.join("checkpoint"), 20, "invalid signature"),
        (log.join("checkpoint"), signature, "invalid signature"),
        (kept[7].0.clone(), 22, "invalid signature"),
    ];
    for (file, at, why) in cases {
        let (code, answer) = tampered(&file, at, || both(&kept).into_iter().next().expect("two"));
        assert!(
            code == Some(1) && answer.starts_with("refused: ") && answer.contains(why),
            "{}: {answer}",
            file.display()
        );
    }
    // A fork that its own keys signed: an earlier checkpoint of the meta-log is none of this log's.
    let (code, answer) = go("default", vec![&kept[3].1]);
    assert!(code == Some(1) && answer.contains("refused: "), "{answer}");
    assert_eq!(go("default", vec![&kept[3].0, &kept[2].0]).0, Some(1), "a log that shrank");
}
