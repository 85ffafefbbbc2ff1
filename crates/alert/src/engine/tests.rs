//! The whole path over a ledger in memory and a real SQLite file: told, told again, killed, rebuilt.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use model::{
    Admit, Alert, Body, BoxFuture, Clock, Feed, IncidentAction, Labels, Level, MatchOp, Matcher, Origin, Outcome,
    Position, Receipt, Recorded, Refusal, RefusalKind, Sector, Severity, Signal, SourceId, StepClock, Tenant,
};
use tokio::sync::{Notify, watch};

use super::*;
use crate::channel::SendError;
use crate::config::tests::read;
use crate::incidents::later;
use crate::notification::{Notification, Reason};
use crate::send::SendAlert;
use crate::state::{IncidentFilter, IncidentState, NotificationFilter, NotificationState, Page, SqliteState};

/// How long something may take that does not happen at all if it has not by then: a machine that builds beside its tests
/// needs half a minute for what takes one second alone.
const HANGS_AFTER: Duration = Duration::from_secs(180);

/// A ledger in memory: durable as long as the test holds it.
#[derive(Clone)]
struct Ledger(Arc<Inner>);

struct Inner {
    records: Mutex<Vec<Recorded>>,
    grown: watch::Sender<usize>,
    clock: Arc<dyn Clock>,
    /// How the next admissions end, instead of well.
    refusals: Mutex<Vec<RefusalKind>>,
    /// Kinds of record that are rejected.
    rejected: Mutex<Option<model::Kind>>,
}

impl Ledger {
    fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            records: Mutex::default(),
            grown: watch::Sender::new(0),
            clock,
            refusals: Mutex::default(),
            rejected: Mutex::default(),
        }))
    }

    fn append(&self, signals: Vec<Signal>) -> Vec<Receipt> {
        let mut records = lock(&self.0.records);
        let mut receipts = Vec::new();
        for signal in signals {
            let position = records.len() as Position;
            // As the real one does: body to fields and back.
            let fields = signal.body.to_fields().expect("writes");
            let body = Body::from_fields(signal.body.kind(), &fields).expect("reads");
            records.push(Recorded { position, admitted_at: self.0.clock.now(), signal: Signal { body, ..signal } });
            let origin = Origin::of("localhost", &Tenant::default()).expect("valid");
            receipts.push(Receipt { origin, position, leaf_hash: [0; 32] });
        }
        self.0.grown.send_replace(records.len());
        receipts
    }

    fn feed(&self, after: Option<Position>) -> Box<dyn Feed> {
        let next = after.map_or(0, |position| position + 1);
        Box::new(Reader { ledger: self.clone(), next, tenant: Tenant::default(), grown: self.0.grown.subscribe() })
    }

    fn refuse(&self, kinds: &[RefusalKind]) {
        lock(&self.0.refusals).extend(kinds);
    }

    fn fire(&self, labels: &str) {
        let alert = alert(labels, self.0.clock.now());
        let signal = Signal { tenant: Tenant::default(), source: SourceId([1; 16]), body: alert.into() };
        self.append(vec![signal]);
    }

    fn count(&self, is: impl Fn(&Body) -> bool) -> usize {
        lock(&self.0.records).iter().filter(|recorded| is(&recorded.signal.body)).count()
    }
}

fn alert(labels: &str, at: Timestamp) -> Alert {
    let labels: Labels = labels
        .split_whitespace()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Alert {
        severity: labels.get("severity").and_then(|s| s.parse().ok()).unwrap_or(Severity::Warning),
        labels,
        annotations: Labels::new(),
        starts_at: at,
        ends_at: None,
        generator_url: None,
        sector: Sector::None,
        channel: None,
    }
}

impl Admit for Ledger {
    fn admit(&self, signals: Vec<Signal>, _level: Level) -> BoxFuture<'_, Result<Vec<Receipt>, Refusal>> {
        Box::pin(async move {
            let refuse = |kind| Err(Refusal { kind, reason: "as the test asked".to_owned() });
            if let Some(kind) = lock(&self.0.refusals).pop() {
                return refuse(kind);
            }
            let rejected = *lock(&self.0.rejected);
            if signals.iter().any(|signal| Some(signal.body.kind()) == rejected) {
                return refuse(RefusalKind::Reject);
            }
            assert!(signals.len() <= model::limits::APPEND_RECORDS_MAX);
            Ok(self.append(signals))
        })
    }
}

struct Reader {
    ledger: Ledger,
    next: Position,
    tenant: Tenant,
    grown: watch::Receiver<usize>,
}

impl Feed for Reader {
    fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    fn read(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Recorded>, Refusal>> {
        Box::pin(async move {
            let records = lock(&self.ledger.0.records);
            let from = usize::try_from(self.next).expect("small");
            let read: Vec<Recorded> = records.iter().skip(from).take(max).cloned().collect();
            self.next += read.len() as u64;
            Ok(read)
        })
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let next = usize::try_from(self.next).expect("small");
            self.grown.wait_for(|len| *len > next).await.expect("the ledger lives");
        })
    }
}

/// A channel that remembers what it was given and fails as told.
#[derive(Default)]
struct Ear {
    heard: Mutex<Vec<Notification>>,
    fails: Mutex<Vec<SendError>>,
    dead: AtomicBool,
    panics: AtomicBool,
    pages: AtomicBool,
    probe: Mutex<Option<Result<(), SendError>>>,
    grown: Notify,
}

impl Ear {
    fn heard(&self) -> Vec<Notification> {
        lock(&self.heard).clone()
    }

    async fn hears(&self, count: usize) -> Vec<Notification> {
        let enough = async {
            loop {
                let grown = self.grown.notified();
                let heard = self.heard();
                if heard.len() >= count {
                    return heard;
                }
                grown.await;
            }
        };
        let heard = tokio::time::timeout(HANGS_AFTER, enough).await;
        heard.unwrap_or_else(|_| panic!("heard {} of {count}", self.heard().len()))
    }
}

impl Channel for Ear {
    fn send<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move {
            assert!(!self.panics.load(Ordering::SeqCst), "as the test asked");
            if self.dead.load(Ordering::SeqCst) {
                return Err(SendError::later("nobody there"));
            }
            if let Some(error) = lock(&self.fails).pop() {
                return Err(error);
            }
            lock(&self.heard).push(notification.clone());
            self.grown.notify_waiters();
            Ok(())
        })
    }

    fn kind(&self) -> &'static str {
        "ear"
    }

    fn probe(&self) -> Option<BoxFuture<'_, Result<(), SendError>>> {
        let probe = lock(&self.probe).clone()?;
        Some(Box::pin(async move { probe }))
    }

    fn pages_people(&self) -> bool {
        self.pages.load(Ordering::SeqCst)
    }
}

/// Everything but the engine: what outlives a crash.
struct House {
    dir: tempfile::TempDir,
    clock: Arc<dyn Clock>,
    ledger: Ledger,
    mail: Arc<Ear>,
    pager: Arc<Ear>,
    yaml: String,
}

const YAML: &str = "
route: {receiver: ops, group_by: ['...'], group_wait: 0s}
receivers: [{name: ops, dihya_configs: [{channel: mail}]}]
dihya: {self_test: {interval: 0}}
";

impl House {
    fn new(yaml: &str) -> Self {
        Self::with_clock(yaml, Arc::new(disk::OsClock::default()))
    }

    fn with_clock(yaml: &str, clock: Arc<dyn Clock>) -> Self {
        Self {
            dir: tempfile::tempdir().expect("a directory"),
            ledger: Ledger::new(Arc::clone(&clock)),
            clock,
            mail: Arc::default(),
            pager: Arc::default(),
            yaml: yaml.to_owned(),
        }
    }

    fn setup(&self) -> Setup {
        let config = read(&self.yaml).unwrap_or_else(|problems| panic!("{problems}")).config;
        let channels: Channels =
            [("mail", &self.mail), ("pager", &self.pager)].map(|(n, c)| (n.to_owned(), Arc::clone(c) as _)).into();
        Setup::new(config, channels)
    }

    async fn state(&self, name: &str) -> SqliteState {
        SqliteState::open(&self.dir.path().join(name)).await.expect("opens")
    }

    async fn start_with(&self, name: &str, fault: Arc<dyn Fault>) -> (Engine, SqliteState) {
        let state = self.state(name).await;
        let snapshot = state.load(&Tenant::default()).await.expect("loads");
        let parts = Parts {
            fault,
            ..Parts::new(
                Arc::new(state.clone()),
                self.ledger.feed(snapshot.cursor.map(|(position, _)| position)),
                Arc::new(self.ledger.clone()),
                self.setup(),
                Arc::clone(&self.clock),
                Arc::new(disk::OsRng),
            )
        };
        (Engine::start(parts).await.expect("starts"), state)
    }

    async fn start(&self) -> (Engine, SqliteState) {
        self.start_with("state.sqlite", Arc::new(NoFault)).await
    }
}

/// Waits until nothing is pending and all outcomes are recorded.
async fn quiet(engine: &Engine, house: &House) {
    let done = async {
        loop {
            let intents = house.ledger.count(|body| matches!(body, Body::Intent(_)));
            let ends = house.ledger.count(|b| matches!(b, Body::Delivery(d) if d.outcome != Outcome::Retry));
            let depth = engine.depths().await.expect("reads").len();
            let last = lock(&house.ledger.0.records).len() as u64;
            if intents > 0 && ends >= intents && depth == 0 && *engine.shared.folded.borrow() >= last.checked_sub(1) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(HANGS_AFTER, done).await.expect("becomes quiet");
}

fn all() -> Page {
    Page { limit: 1_000, after: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_is_told_recorded_and_shown() {
    let house = House::new(YAML);
    let (engine, state) = house.start().await;
    house.ledger.fire("alertname=A n=1 severity=critical");
    let heard = house.mail.hears(1).await;
    assert_eq!((heard[0].reason, heard[0].attempt, heard[0].receiver.as_str()), (Reason::New, 1, "ops"));
    quiet(&engine, &house).await;
    let incidents = engine.incidents(&IncidentFilter::default(), &all()).await.expect("lists");
    assert_eq!(incidents.len(), 1);
    let (incident, steps) = engine.incident(&incidents[0].id).await.expect("is there");
    assert_eq!(heard[0].incident.as_ref().map(|summary| &summary.id), Some(&incident.id));
    assert_eq!(steps.iter().map(|step| step.action).collect::<Vec<_>>(), [IncidentAction::Opened]);
    let filter = NotificationFilter { incident: Some(incident.id.clone()), ..NotificationFilter::default() };
    let told = engine.notifications(&filter, &all()).await.expect("lists");
    assert_eq!((told.len(), told[0].state, told[0].attempts.len()), (1, NotificationState::Delivered, 1));
    assert_eq!(told[0].intent.id, heard[0].id);
    let counters = engine.counters();
    assert_eq!((counters.attempts_delivered, counters.signals_decided), (1, 2));
    assert_eq!(engine.alerts().len(), 1);
    let why = engine.why(engine.alerts()[0].alert.fingerprint()).expect("is known");
    assert!(why.firing && why.tellings[0].told);
    assert_eq!(engine.why(0), None);
    assert_eq!(engine.tenant(), &Tenant::default());
    assert_eq!(engine.channels(), ["mail", "pager"]);
    engine.stop().await;
    state.close().await;
}

/// On a full disk SQLite rolled back by itself, sqlx did not notice and refused every later transaction, and so the
/// program ended where it should have paged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_said_and_waited_for() {
    let house = House::new(YAML);
    let (engine, state) = house.start().await;
    state.fill_up().await;
    let full = tokio::time::timeout(HANGS_AFTER, async {
        tokio::join!(engine.disk_full(), async {
            for n in 0..50 {
                house.ledger.fire(&format!("alertname=A n={n}"));
            }
        })
    });
    full.await.expect("it is said");
    assert_eq!(house.mail.hears(50).await.len(), 50);
    quiet(&engine, &house).await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_tried_again_and_what_can_never_work_is_given_up() {
    let house = House::new(YAML);
    lock(&house.mail.fails).extend([
        SendError::never("no such mailbox"),
        SendError::after(Duration::from_millis(1_200), "too many requests"),
        SendError::later("refused"),
    ]);
    let (engine, _state) = house.start().await;
    house.ledger.fire("alertname=A n=1");
    quiet(&engine, &house).await;
    let mut told = engine.notifications(&NotificationFilter::default(), &all()).await.expect("lists");
    // What was given up is itself told, later.
    told.reverse();
    assert_eq!(told[0].state, NotificationState::Failed);
    let attempts: Vec<(u32, Outcome, &str)> =
        told[0].attempts.iter().map(|a| (a.attempt, a.outcome, a.reason.as_str())).collect();
    assert_eq!(
        attempts,
        [
            (1, Outcome::Retry, "refused"),
            (2, Outcome::Retry, "too many requests"),
            (3, Outcome::Failed, "no such mailbox"),
        ]
    );
    let waited = told[0].attempts[2].at.duration_since(told[0].attempts[1].at);
    assert!(waited.as_millis() >= 1_200, "{waited}");
    assert_eq!((engine.counters().attempts_retried, engine.counters().attempts_failed), (2, 1));
    let failed = NotificationFilter { state: Some(NotificationState::Failed), ..NotificationFilter::default() };
    assert_eq!(engine.notifications(&failed, &all()).await.expect("lists").len(), 1);
    assert!(
        engine
            .notifications(&failed, &Page { limit: 9, after: Some(told[0].intent.id.0.clone()) })
            .await
            .expect("lists")
            .is_empty()
    );
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_channel_delays_no_other_and_rests() {
    let house = House::new(&YAML.replace("{channel: mail}", "{channel: mail}, {channel: pager}"));
    house.pager.dead.store(true, Ordering::SeqCst);
    let (engine, _state) = house.start().await;
    for n in 0..50 {
        house.ledger.fire(&format!("alertname=A n={n}"));
    }
    assert_eq!(house.mail.hears(50).await.len(), 50);
    let depths = engine.depths().await.expect("reads");
    let (name, depth) = depths.iter().find(|(name, _)| name == "pager").expect("waits");
    assert!(name == "pager" && depth.waiting == 50 && depth.oldest.is_some());
    // A handful of attempts, then it rests: not one for each notification.
    assert!(engine.counters().attempts_retried <= 16, "{:?}", engine.counters());
    house.pager.dead.store(false, Ordering::SeqCst);
    assert_eq!(house.pager.hears(50).await.len(), 50);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_panics_or_is_gone_is_tried_again() {
    let house = House::new(YAML);
    house.mail.panics.store(true, Ordering::SeqCst);
    let (engine, _state) = house.start().await;
    house.ledger.fire("alertname=A n=1");
    let mut direct = alert("alertname=B n=2", house.clock.now());
    direct.channel = Some("nowhere".to_owned());
    house.ledger.append(vec![Signal { tenant: Tenant::default(), source: SourceId([1; 16]), body: direct.into() }]);
    let tried = async {
        while engine.counters().attempts_retried < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(HANGS_AFTER, tried).await.expect("is tried");
    house.mail.panics.store(false, Ordering::SeqCst);
    house.mail.hears(2).await;
    let told = engine.notifications(&NotificationFilter::default(), &all()).await.expect("lists");
    let reasons: Vec<&str> = told.iter().flat_map(|n| &n.attempts).map(|a| a.reason.as_str()).collect();
    assert!(reasons.contains(&"the channel failed inside Dihya"), "{reasons:?}");
    assert!(reasons.contains(&"there is no such channel at present"), "{reasons:?}");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_takes_is_given_up_with_a_reason() {
    let clock = Arc::new(StepClock::new("2026-11-22T10:00:00Z".parse().expect("a time")));
    let house = House::with_clock(YAML, Arc::clone(&clock) as _);
    house.mail.dead.store(true, Ordering::SeqCst);
    let (engine, _state) = house.start().await;
    house.ledger.fire("alertname=A n=1");
    let attempted = |n| {
        let engine = &engine;
        async move {
            while engine.counters().attempts_retried + engine.counters().attempts_failed < n {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    tokio::time::timeout(HANGS_AFTER, attempted(1)).await.expect("is tried");
    clock.advance(Duration::from_secs(4 * 86_400));
    // A reload looks at everything anew.
    engine.reload(house.setup());
    tokio::time::timeout(HANGS_AFTER, attempted(2)).await.expect("is given up");
    let given_up = async {
        let failed = NotificationFilter { state: Some(NotificationState::Failed), ..NotificationFilter::default() };
        loop {
            if let Some(told) = engine.notifications(&failed, &all()).await.expect("lists").pop() {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let told = tokio::time::timeout(HANGS_AFTER, given_up).await.expect("is given up");
    let last = told.attempts.last().expect("one").clone();
    assert_eq!((last.outcome, last.reason.as_str()), (Outcome::Failed, "given up after 1 attempts: nobody there"));
    engine.stop().await;
}

/// Dies the first time that a point is passed.
struct DieAt {
    point: Point,
    skip: AtomicUsize,
    died: Notify,
}

impl Fault for DieAt {
    fn dies_at(&self, point: Point) -> bool {
        if point != self.point || self.skip.fetch_sub(1, Ordering::SeqCst) != 0 {
            return false;
        }
        self.died.notify_one();
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_anywhere_nothing_is_lost() {
    for point in Point::ALL {
        for skip in 0..2 {
            let house = House::new(YAML);
            let fault = Arc::new(DieAt { point, skip: AtomicUsize::new(skip), died: Notify::new() });
            let (engine, state) = house.start_with("state.sqlite", Arc::clone(&fault) as _).await;
            for n in 0..20 {
                house.ledger.fire(&format!("alertname=A n={n}"));
            }
            tokio::time::timeout(HANGS_AFTER, fault.died.notified())
                .await
                .unwrap_or_else(|_| panic!("{point:?} is not passed"));
            drop(engine);
            state.close().await;
            let (engine, state) = house.start().await;
            quiet(&engine, &house).await;
            let heard: BTreeSet<String> = house.mail.heard().iter().map(|n| n.alerts[0].labels["n"].clone()).collect();
            assert_eq!(heard.len(), 20, "{point:?} {skip}");
            let keys: BTreeSet<_> = house.mail.heard().iter().map(|n| n.id.clone()).collect();
            assert_eq!(keys.len(), 20, "{point:?} {skip}: told twice under one key, or once");
            let told = engine.notifications(&NotificationFilter::default(), &all()).await.expect("lists");
            assert!(told.iter().all(|n| n.state == NotificationState::Delivered) && told.len() == 20);
            engine.stop().await;
            state.close().await;
        }
    }
}

/// Every row of every table.
async fn dump(state: &SqliteState) -> BTreeMap<&'static str, Vec<String>> {
    let mut dump = BTreeMap::new();
    for (table, sql) in [
        ("cursor", "SELECT tenant || position || folded_at FROM cursor"),
        ("alerts", "SELECT tenant || fingerprint || body FROM alerts ORDER BY 1"),
        ("incidents", "SELECT tenant || id || state || coalesce(resolved_ms, '') || body FROM incidents ORDER BY 1"),
        ("transitions", "SELECT tenant || position || incident || body FROM transitions ORDER BY 1"),
        ("groups", "SELECT tenant || id || body FROM groups ORDER BY 1"),
        ("silences", "SELECT tenant || id || starts_ms || ends_ms || body FROM silences ORDER BY 1"),
        (
            "notifications",
            "SELECT tenant || id || position || receiver || channel || state || body FROM notifications ORDER BY 1",
        ),
        (
            "outbox",
            "SELECT tenant || id || channel || lane || position || next_ms || give_up_ms || attempts || reason FROM outbox ORDER BY 1",
        ),
        ("attempts", "SELECT tenant || intent || attempt || position || body FROM attempts ORDER BY 1"),
    ] {
        dump.insert(table, state.texts(sql).await);
    }
    dump
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_control_state_is_made_again_row_for_row() {
    let house = House::new(&YAML.replace("{channel: mail}", "{channel: mail}, {channel: pager}"));
    lock(&house.mail.fails).push(SendError::later("refused"));
    house.pager.dead.store(true, Ordering::SeqCst);
    let (engine, state) = house.start().await;
    for n in 0..10 {
        house.ledger.fire(&format!("alertname=A n={n}"));
    }
    house.mail.hears(10).await;
    let incident = engine.incidents(&IncidentFilter::default(), &all()).await.expect("lists").remove(0);
    engine.acknowledge(&incident.id, "ana", "mine").await.expect("takes");
    engine.set_silence(draft(&house, "n", "3"), "ana").await.expect("sets");
    let mut ended = alert("alertname=A n=4", house.clock.now());
    ended.ends_at = Some(house.clock.now());
    house.ledger.append(vec![Signal { tenant: Tenant::default(), source: SourceId([1; 16]), body: ended.into() }]);
    engine.stop().await;
    // What was admitted while stopping is folded by whoever comes next.
    house.pager.dead.store(true, Ordering::SeqCst);
    let (engine, again) = house.start().await;
    let caught_up = async {
        while *engine.shared.folded.borrow() < (lock(&house.ledger.0.records).len() as u64).checked_sub(1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(HANGS_AFTER, caught_up).await.expect("catches up");
    engine.stop().await;
    state.close().await;
    let records = lock(&house.ledger.0.records).clone();
    let rebuilt = house.state("rebuilt.sqlite").await;
    let config = Arc::clone(&house.setup().config);
    let mut incidents =
        Incidents::restore(Tenant::default(), config, Checks::default(), crate::incidents::Snapshot::default());
    // In other batches than the first time.
    for batch in records.chunks(7) {
        batch.iter().for_each(|recorded| incidents.fold(recorded));
        rebuilt.apply(&Tenant::default(), &incidents.take_changes()).await.expect("writes");
    }
    rebuilt.apply(&Tenant::default(), &incidents.take_changes()).await.expect("nothing to write");
    let (expected, found) = (dump(&again).await, dump(&rebuilt).await);
    for (table, rows) in &expected {
        assert_eq!(&found[table], rows, "{table}");
        assert!(!rows.is_empty(), "{table} is empty: nothing is proved");
    }
    assert_eq!(
        again.load(&Tenant::default()).await.expect("loads"),
        rebuilt.load(&Tenant::default()).await.expect("loads")
    );
}

fn draft(house: &House, name: &str, value: &str) -> SilenceDraft {
    SilenceDraft {
        id: None,
        matchers: vec![Matcher { name: name.into(), op: MatchOp::Equal, value: value.into() }],
        starts_at: house.clock.now(),
        ends_at: later(house.clock.now(), Duration::from_secs(3_600)),
        comment: "works".into(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_take_note_close_and_are_refused_with_a_reason() {
    let house = House::new(YAML);
    let (engine, _state) = house.start().await;
    house.ledger.fire("alertname=A n=1");
    house.mail.hears(1).await;
    let id = engine.incidents(&IncidentFilter::default(), &all()).await.expect("lists")[0].id.clone();
    let incident = engine.acknowledge(&id, "ana", "").await.expect("takes");
    assert_eq!(incident.acknowledged.map(|(by, _)| by).as_deref(), Some("ana"));
    engine.note(&id, "ana", "looking", false).await.expect("notes");
    engine.note(&id, "ana", "we are on it", true).await.expect("publishes");
    let error = engine.resolve(&id, "ana", "").await.expect_err("still fires");
    assert_eq!((error.to_string(), error.kind()), ("1 of its alerts still fire".to_owned(), RefusalKind::Reject));
    let invalid = engine.note(&id, "ana", " ", false).await.expect_err("is empty");
    assert_eq!(invalid.to_string(), "text: expected a note");
    let long = engine.note(&id, "ana", &"x".repeat(9_000), false).await.expect_err("is too long");
    assert!(matches!(long, Error::Invalid { .. }));
    let missing = engine.acknowledge(&incident_id("none"), "ana", "").await.expect_err("is not there");
    assert_eq!(missing.to_string(), "there is no such incident");
    // An incident that hangs without alerts can be closed by hand, once.
    let orphan = model::IncidentTransition {
        incident: incident_id("01ORPHAN"),
        action: IncidentAction::Opened,
        at: house.clock.now(),
        by: "dihya".into(),
        key: "k".into(),
        title: "t".into(),
        severity: Severity::Info,
        sector: Sector::None,
        labels: Labels::from([("check".into(), "web".into())]),
        note: String::new(),
    };
    let left = model::IncidentTransition { action: IncidentAction::Left, ..orphan.clone() };
    let ours = |body: model::IncidentTransition| Signal::ours(Tenant::default(), body);
    house.ledger.append(vec![ours(orphan), ours(left)]);
    let web = IncidentFilter { check: Some("web".into()), state: Some(IncidentState::Open) };
    let listed = async {
        while engine.incidents(&web, &all()).await.expect("lists").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(HANGS_AFTER, listed).await.expect("is listed");
    assert!(engine.resolve(&incident_id("01ORPHAN"), "ana", "gone").await.expect("closes").resolved_at.is_some());
    let over = engine.acknowledge(&incident_id("01ORPHAN"), "ana", "").await.expect_err("is over");
    assert_eq!(over.to_string(), "the incident is over already");
    let acknowledged = IncidentFilter { state: Some(IncidentState::Acknowledged), check: None };
    assert_eq!(engine.incidents(&acknowledged, &all()).await.expect("lists").len(), 1);
    let resolved = IncidentFilter { state: Some(IncidentState::Resolved), check: None };
    assert_eq!(engine.incidents(&resolved, &all()).await.expect("lists").len(), 1);
    let (_, steps) = engine.incident(&id).await.expect("is there");
    let actions: Vec<IncidentAction> = steps.iter().map(|step| step.action).collect();
    assert_eq!(
        actions,
        [IncidentAction::Opened, IncidentAction::Acknowledged, IncidentAction::Noted, IncidentAction::Published]
    );
    engine.stop().await;
}

fn incident_id(id: &str) -> model::IncidentId {
    model::IncidentId(id.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silences_are_set_replaced_and_ended() {
    let house = House::new(YAML);
    let (engine, _state) = house.start().await;
    let set = engine.set_silence(draft(&house, "n", "1"), "ana").await.expect("sets");
    assert_eq!((set.id.len(), set.created_by.as_str()), (36, "ana"));
    house.ledger.fire("alertname=A n=1");
    house.ledger.fire("alertname=A n=2");
    house.mail.hears(1).await;
    assert_eq!(house.mail.heard()[0].alerts[0].labels["n"], "2");
    let muted = engine.alerts().into_iter().find(|t| t.alert.labels["n"] == "1").expect("fires");
    let why = engine.why(muted.alert.fingerprint()).expect("is known");
    assert_eq!(why.mute, Some(crate::incidents::Mute::Silence(set.id.clone())));
    let replaced = SilenceDraft { id: Some(set.id.clone()), ..draft(&house, "n", "5") };
    assert_eq!(engine.set_silence(replaced, "bob").await.expect("replaces").id, set.id);
    house.mail.hears(2).await;
    let ended = engine.expire_silence(&set.id, "ana").await.expect("ends");
    assert!(ended.ends_at <= house.clock.now());
    let error = engine.expire_silence(&set.id, "ana").await.expect_err("is over");
    assert_eq!(error.to_string(), "the silence is over already");
    assert!(matches!(engine.expire_silence("none", "ana").await, Err(Error::Missing { what: "silence" })));
    let anew = SilenceDraft { id: Some(set.id.clone()), ..draft(&house, "n", "6") };
    assert_ne!(engine.set_silence(anew, "ana").await.expect("sets anew").id, set.id);
    let listed = engine.silences(&all()).await.expect("lists");
    assert_eq!(listed.len(), 2);
    let rest = engine.silences(&Page { limit: 5, after: Some(listed[0].id.clone()) }).await.expect("lists");
    assert_eq!(rest, [listed[1].clone()]);
    for (draft, field) in [
        (draft(&house, "n", ""), "matchers"),
        (draft(&house, "", "x"), "matchers"),
        (SilenceDraft { matchers: vec![], ..draft(&house, "n", "1") }, "matchers"),
        (SilenceDraft { ends_at: Timestamp::UNIX_EPOCH, ..draft(&house, "n", "1") }, "ends_at"),
        (SilenceDraft { comment: "x".repeat(10_000), ..draft(&house, "n", "1") }, "comment"),
        (
            SilenceDraft {
                matchers: vec![Matcher { name: "n".into(), op: MatchOp::Matches, value: "(".into() }],
                ..draft(&house, "n", "1")
            },
            "matchers",
        ),
    ] {
        let Err(Error::Invalid { field: found, .. }) = engine.set_silence(draft, "ana").await else {
            panic!("{field}")
        };
        assert_eq!(found, field);
    }
    let unknown = SilenceDraft { id: Some("none".into()), ..draft(&house, "n", "1") };
    assert!(matches!(engine.set_silence(unknown, "ana").await, Err(Error::Missing { .. })));
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_are_tested_and_alerts_are_sent_in_words() {
    let house = House::new(&YAML.replace("{channel: mail}", "{channel: mail, language: fr}"));
    let (engine, _state) = house.start().await;
    let ids = engine.test_receiver("ops", "ana").await.expect("tests");
    let heard = house.mail.hears(1).await;
    assert_eq!((heard[0].reason, heard[0].id == ids[0], heard[0].language), (Reason::Test, true, crate::Language::Fr));
    assert!(matches!(engine.test_receiver("nobody", "ana").await, Err(Error::Missing { what: "receiver" })));
    let sent = SendAlert {
        message: "the backup failed".into(),
        level: Some("CRITICAL".into()),
        channel: Some("pager".into()),
        ..SendAlert::default()
    };
    let receipt = engine.send_alert(sent.clone()).await.expect("sends");
    assert!(receipt.position > 0);
    let heard = house.pager.hears(1).await;
    assert_eq!((heard[0].reason, heard[0].severity), (Reason::Direct, Severity::Critical));
    assert_eq!(heard[0].alerts[0].annotations["summary"], "the backup failed");
    house.mail.hears(2).await;
    let unknown = SendAlert { channel: Some("fax".into()), ..sent.clone() };
    assert!(matches!(engine.send_alert(unknown).await, Err(Error::Invalid { field, .. }) if field == "channel"));
    let loud = SendAlert { level: Some("loud".into()), ..sent };
    assert!(matches!(engine.send_alert(loud).await, Err(Error::Invalid { field, .. }) if field == "level"));
    quiet(&engine, &house).await;
    house.ledger.refuse(&[RefusalKind::Retry]);
    let full = SendAlert { message: "x".into(), ..SendAlert::default() };
    assert_eq!(engine.send_alert(full).await.expect_err("is full").kind(), RefusalKind::Retry);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_ledger_is_waited_for_and_a_broken_one_ends_everything() {
    let house = House::new(YAML);
    let (engine, _state) = house.start().await;
    house.ledger.refuse(&[RefusalKind::Retry, RefusalKind::Retry]);
    house.ledger.fire("alertname=A n=1");
    house.mail.hears(1).await;
    quiet(&engine, &house).await;
    house.ledger.refuse(&[RefusalKind::Stop]);
    house.ledger.fire("alertname=A n=2");
    let failed = tokio::time::timeout(HANGS_AFTER, engine.failed()).await.expect("fails");
    assert_eq!(failed.kind(), RefusalKind::Stop);
    assert_eq!(failed.to_string(), "could not admit decisions");
    house.pager.dead.store(true, Ordering::SeqCst);
    let took = engine.last_notice("the disk has failed").await;
    assert_eq!(took, ["mail".to_owned()].into());
    let last = house.mail.heard().pop().expect("one");
    assert_eq!((last.reason, last.text.as_str()), (Reason::Notice, "the disk has failed"));
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_record_that_is_rejected_keeps_no_other_out() {
    let house = House::new(YAML);
    let (engine, _state) = house.start().await;
    // Outcomes cannot be recorded: people are told all the same.
    *lock(&house.ledger.0.rejected) = Some(model::Kind::Delivery);
    for n in 0..5 {
        house.ledger.fire(&format!("alertname=A n={n}"));
    }
    house.mail.hears(5).await;
    // Decisions cannot be recorded: nobody is told, and it does not spin.
    *lock(&house.ledger.0.rejected) = Some(model::Kind::Incident);
    house.ledger.fire("alertname=A n=9");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(house.mail.heard().len(), 5);
    *lock(&house.ledger.0.rejected) = None;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_alerts_at_once_are_told() {
    let house = House::new(&YAML.replace("['...']", "[lane]"));
    let now = house.clock.now();
    for batch in 0..10 {
        let signals = (0..1_000).map(|n| {
            let body = alert(&format!("alertname=A n={n} batch={batch} lane={}", n % 500), now).into();
            Signal { tenant: Tenant::default(), source: SourceId([1; 16]), body }
        });
        house.ledger.append(signals.collect());
    }
    // All are in the ledger before the engine looks: each lane is told once, of all that fires in it.
    let (engine, _state) = house.start().await;
    let heard = house.mail.hears(500).await;
    let alerts: BTreeSet<&Labels> = heard.iter().flat_map(|n| &n.alerts).map(|alert| &alert.labels).collect();
    assert_eq!(alerts.len(), 10_000);
    engine.stop().await;
}

/// A feed that has one more record whenever it is read, once its end was seen.
struct Stream {
    reader: Box<dyn Feed>,
    ledger: Ledger,
    flows: Arc<AtomicBool>,
    started: bool,
}

impl Feed for Stream {
    fn tenant(&self) -> &Tenant {
        self.reader.tenant()
    }

    fn read(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Recorded>, Refusal>> {
        Box::pin(async move {
            if self.started && self.flows.load(Ordering::SeqCst) {
                let at = self.ledger.0.clock.now();
                let access =
                    model::Access { actor: "ana".into(), what: "/x".into(), rows: 1, at, query: None, question: None };
                self.ledger.append(vec![Signal::ours(Tenant::default(), access)]);
            }
            self.started = true;
            self.reader.read(max).await
        })
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        self.reader.wait()
    }
}

/// Records that came within every read put every decision off for as long as they came: with a thousand results of
/// checks a second nobody was told of anything. And each read cost a sync of the control state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_other_records_keeps_no_alert_back() {
    let house = House::new(YAML);
    let flows = Arc::new(AtomicBool::new(true));
    let state = house.state("state.sqlite").await;
    let (reader, ledger) = (house.ledger.feed(None), house.ledger.clone());
    let feed = Stream { reader, ledger: ledger.clone(), flows: Arc::clone(&flows), started: false };
    let (clock, rng) = (Arc::clone(&house.clock), Arc::new(disk::OsRng));
    let parts = Parts::new(Arc::new(state.clone()), Box::new(feed), Arc::new(ledger), house.setup(), clock, rng);
    let engine = Engine::start(parts).await.expect("starts");
    house.ledger.fire("alertname=A n=1");
    let heard = tokio::time::timeout(HANGS_AFTER, house.mail.hears(1)).await;
    flows.store(false, Ordering::SeqCst);
    assert_eq!(heard.expect("is told while records stream").len(), 1);
    engine.stop().await;
    let position = state.load(&Tenant::default()).await.expect("loads").cursor.expect("is kept").0;
    assert_eq!(position + 1, lock(&house.ledger.0.records).len() as u64, "a stop in order keeps where it is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_are_tested_on_their_schedule_and_a_failure_is_heard_through_another() {
    let clock = Arc::new(StepClock::new("2026-11-22T10:00:00Z".parse().expect("a time")));
    let yaml = YAML.replace("interval: 0", "interval: 1h, channels: [pager]");
    let house = House::with_clock(&yaml, Arc::clone(&clock) as _);
    house.pager.pages.store(true, Ordering::SeqCst);
    house.pager.dead.store(true, Ordering::SeqCst);
    let (engine, _state) = house.start().await;
    clock.advance(Duration::from_secs(601));
    engine.reload(house.setup());
    let heard = house.mail.hears(2).await;
    assert!(heard.iter().any(|n| n.reason == Reason::Test));
    let failure = heard.iter().find(|n| n.reason == Reason::Direct).expect("is told");
    assert_eq!(failure.alerts[0].labels["channel"], "pager");
    assert_eq!(failure.alerts[0].annotations["description"], "nobody there");
    let tests = |passed| house.ledger.count(|body| matches!(body, Body::SelfTest(test) if test.passed == passed));
    assert_eq!((tests(true), tests(false)), (1, 1));
    // Back again, the alert ends.
    house.pager.dead.store(false, Ordering::SeqCst);
    clock.advance(Duration::from_secs(3_601));
    engine.reload(house.setup());
    house.pager.hears(1).await;
    let ended = async {
        while house
            .ledger
            .count(|body| matches!(body, Body::Alert(alert) if alert.ends_at.is_some_and(|end| end <= clock.now())))
            == 0
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(HANGS_AFTER, ended).await.expect("ends");
    engine.stop().await;
}

/// Only the first channel by name heard of a failure, and of what was given up nobody but the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_is_heard_through_every_other_channel() {
    let house = House::new(YAML);
    lock(&house.mail.fails).push(SendError::never("the endpoint answered 400"));
    let (engine, _state) = house.start().await;
    let setup = house.setup();
    let third: Arc<Ear> = Arc::default();
    let mut channels = setup.channels.clone();
    channels.insert("sms".to_owned(), Arc::clone(&third) as _);
    engine.reload(Setup { channels, ..setup });
    house.ledger.fire("alertname=A n=1");
    for ear in [&house.pager, &third] {
        let heard = ear.hears(1).await;
        let alert = &heard[0].alerts[0];
        assert_eq!((heard[0].reason, alert.labels["alertname"].as_str()), (Reason::Direct, "NotificationGivenUp"));
        assert_eq!(alert.labels["channel"], "mail");
        assert_eq!(alert.annotations["description"], "the endpoint answered 400");
    }
    // It goes along its route as well, and that is the channel that works again.
    assert_eq!(house.mail.hears(1).await[0].alerts[0].labels["alertname"], "NotificationGivenUp");
    engine.stop().await;
}

/// A channel that can be tried without a message is, though messages through it disturb people.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_pages_is_probed() {
    let clock = Arc::new(StepClock::new("2026-11-22T10:00:00Z".parse().expect("a time")));
    let house = House::with_clock(&YAML.replace("interval: 0", "interval: 1h"), Arc::clone(&clock) as _);
    for ear in [&house.mail, &house.pager] {
        ear.pages.store(true, Ordering::SeqCst);
    }
    *lock(&house.pager.probe) = Some(Err(SendError::later("no route to host")));
    let (engine, _state) = house.start().await;
    clock.advance(Duration::from_secs(601));
    engine.reload(house.setup());
    let heard = house.mail.hears(1).await;
    assert_eq!(heard[0].alerts[0].labels["channel"], "pager");
    assert_eq!(heard[0].alerts[0].annotations["description"], "no route to host");
    assert!(house.pager.heard().is_empty() && heard.iter().all(|n| n.reason != Reason::Test));
    engine.stop().await;
}

/// Set back by an hour, the clock must not make alerts be over before anybody looked at them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_while_the_clock_stands_behind_is_told() {
    let civil = Arc::new(StepClock::new("2026-11-22T10:00:00Z".parse().expect("a time")));
    let steady = Arc::new(SteadyClock::new(Arc::clone(&civil) as _));
    let house = House::with_clock(YAML, Arc::clone(&steady) as _);
    let (engine, _state) = house.start().await;
    house.ledger.fire("alertname=A n=1");
    house.mail.hears(1).await;
    civil.jump(-3_600_000);
    // Long after every time-out, and with the hour not made up for.
    civil.advance(Duration::from_secs(1_800));
    engine.reload(house.setup());
    house.ledger.fire("alertname=A n=2 severity=critical");
    // The first may have timed out by then, and its end be told before.
    let mut heard = house.mail.hears(2).await;
    while !heard.iter().flat_map(|n| &n.alerts).any(|alert| alert.labels["n"] == "2") {
        heard = house.mail.hears(heard.len() + 1).await;
    }
    engine.stop().await;
    // Nor after a restart, which knows only what was folded.
    let restarted = Arc::new(SteadyClock::new(Arc::clone(&civil) as _));
    let (_, at) = house.state("state.sqlite").await.load(&Tenant::default()).await.expect("loads").cursor.expect("one");
    restarted.at_least(at);
    assert!(restarted.now() >= at && civil.now() < at);
}

/// Who has a mail was known in memory only: after a restart everybody got it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_it_is_known_after_a_restart() {
    let house = House::new(YAML);
    let had: BTreeSet<String> = ["a".to_owned(), "b".to_owned()].into();
    lock(&house.mail.fails).push(SendError::partly(had.clone(), "the mail server answered 450 to a recipient"));
    let (engine, state) = house.start().await;
    house.ledger.fire("alertname=A n=1");
    let kept = async {
        while state.texts("SELECT had FROM outbox WHERE had IS NOT NULL AND attempts = 1").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(HANGS_AFTER, kept).await.expect("is kept");
    // As in a crash.
    drop(engine);
    state.close().await;
    let (engine, _state) = house.start().await;
    let heard = house.mail.hears(1).await;
    assert_eq!((heard[0].attempt, &heard[0].had), (2, &had));
    quiet(&engine, &house).await;
    engine.stop().await;
}

/// Between the record that it was told and the record that it was delivered, it waited in the outbox.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_past_the_outbox_never_waits_in_it() {
    let house = House::new(&YAML.replace("{channel: mail}", "{channel: mail}, {channel: pager}"));
    let (engine, _state) = house.start().await;
    let sent = alert("alertname=A n=1", house.clock.now());
    let (config, told) = (house.setup().config, ["mail".to_owned()].into());
    let bodies = crate::incidents::told_already(
        &config,
        &Tenant::default(),
        &sent,
        &told,
        house.clock.now(),
        &model::SeededRng::new(3),
    );
    let mut signals: Vec<Signal> = bodies.into_iter().map(|body| Signal::ours(Tenant::default(), body)).collect();
    let delivery = signals.pop().expect("a delivery");
    signals.insert(0, Signal { tenant: Tenant::default(), source: SourceId::COMMAND, body: sent.into() });
    house.ledger.append(signals);
    house.pager.hears(1).await;
    house.ledger.append(vec![delivery]);
    house.ledger.fire("alertname=B n=2");
    // What waited before is told before.
    let heard = house.mail.hears(1).await;
    assert_eq!(heard[0].alerts[0].labels["alertname"], "B");
    quiet(&engine, &house).await;
    let rows = engine.notifications(&NotificationFilter::default(), &all()).await.expect("reads");
    assert!(rows.iter().all(|row| row.state == NotificationState::Delivered));
    engine.stop().await;
}

/// What was over stayed in the control state for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_been_over_for_ninety_days_is_forgotten() {
    let clock = Arc::new(StepClock::new("2026-11-22T10:00:00Z".parse().expect("a time")));
    let house = House::with_clock(YAML, Arc::clone(&clock) as _);
    let (engine, state) = house.start().await;
    house.ledger.fire("alertname=A n=1");
    house.mail.hears(1).await;
    quiet(&engine, &house).await;
    house.ledger.append(vec![Signal {
        tenant: Tenant::default(),
        source: SourceId([1; 16]),
        body: Alert { ends_at: Some(clock.now()), ..alert("alertname=A n=1", clock.now()) }.into(),
    }]);
    clock.advance(Duration::from_secs(600));
    house.mail.hears(2).await;
    let of_a = async || {
        let incidents = engine.incidents(&IncidentFilter::default(), &all()).await.expect("reads");
        let told = engine.notifications(&NotificationFilter::default(), &all()).await.expect("reads");
        let about = |row: &&crate::state::Notified| row.intent.message.to_string().contains("\"alertname\":\"A\"");
        let parts = "SELECT body FROM attempts UNION ALL SELECT body FROM transitions";
        let incidents = incidents.iter().filter(|incident| incident.labels["alertname"] == "A").count();
        (incidents, told.iter().filter(about).count(), state.texts(parts).await.len())
    };
    quiet(&engine, &house).await;
    assert_eq!(of_a().await, (1, 2, 4));
    clock.advance(Duration::from_secs(89 * 86_400));
    house.ledger.fire("alertname=B n=1");
    house.mail.hears(3).await;
    quiet(&engine, &house).await;
    assert_eq!(of_a().await, (1, 2, 6));
    clock.advance(Duration::from_secs(2 * 86_400));
    // B has timed out since: its end is told, and is the record by whose time A is forgotten.
    house.mail.hears(4).await;
    let forgotten = async {
        while of_a().await != (0, 0, 4) {
            clock.advance(Duration::from_secs(61));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(HANGS_AFTER, forgotten).await.expect("is forgotten");
    engine.stop().await;
}

/// Alerts beyond what can be kept were named in the program's own log only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_that_find_no_room_are_counted_and_recorded() {
    let house = House::new(YAML);
    let (engine, _state) = house.start().await;
    lock(&engine.shared.incidents).keep_at_most(1);
    house.ledger.fire("alertname=A n=1");
    house.mail.hears(1).await;
    // Refused at first, the record of the loss is not lost with it.
    house.ledger.refuse(&[RefusalKind::Retry]);
    (2..5).for_each(|n| house.ledger.fire(&format!("alertname=A n={n}")));
    let said = async {
        let of = |body: &Body| if let Body::Gap(gap) = body { gap.count } else { 0 };
        loop {
            let records = lock(&house.ledger.0.records).iter().map(|r| of(&r.signal.body)).sum::<u64>();
            if records == 3 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(HANGS_AFTER, said).await.expect("is said");
    assert_eq!(engine.counters().alerts_dropped, 3);
    engine.stop().await;
}

/// One recipient who put mails off kept the whole channel resting and every later notification of the group waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_some_recipients_have_holds_up_nothing() {
    let house = House::new(&YAML.replace("group_wait: 0s", "group_wait: 0s, group_interval: 1ms"));
    lock(&house.mail.fails)
        .push(SendError::partly(["a".to_owned()].into(), "the mail server answered 450 to a recipient"));
    let (engine, _state) = house.start().await;
    house.ledger.fire("alertname=A n=1");
    let tried = async {
        while engine.counters().attempts_retried < 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(HANGS_AFTER, tried).await.expect("is tried");
    // What follows in the same lane is told meanwhile, or at once after.
    let mut over = alert("alertname=A n=1", house.clock.now());
    over.ends_at = Some(over.starts_at);
    house.ledger.append(vec![Signal { tenant: Tenant::default(), source: SourceId([1; 16]), body: over.into() }]);
    let heard = house.mail.hears(1).await;
    assert_eq!(heard[0].reason, Reason::Resolved);
    let heard = house.mail.hears(2).await;
    assert_eq!((heard[1].reason, heard[1].attempt), (Reason::New, 2));
    quiet(&engine, &house).await;
    let told = engine.notifications(&NotificationFilter::default(), &all()).await.expect("lists");
    let outcomes: Vec<Outcome> = told[1].attempts.iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [Outcome::Partial, Outcome::Delivered]);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recipients_who_put_off_for_ever_are_given_up() {
    let clock = Arc::new(StepClock::new("2026-11-22T10:00:00Z".parse().expect("a time")));
    let house = House::with_clock(YAML, Arc::clone(&clock) as _);
    lock(&house.mail.fails).extend((0..24).map(|_| SendError::partly(["a".to_owned()].into(), "450")));
    let (engine, _state) = house.start().await;
    house.ledger.fire("alertname=A n=1");
    let given_up = async {
        while engine.counters().attempts_failed == 0 {
            clock.advance(Duration::from_secs(301));
            house.ledger.fire("alertname=A n=1");
            engine.reload(house.setup());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(HANGS_AFTER, given_up).await.expect("is given up");
    assert_eq!(engine.counters().attempts_retried, 23);
    engine.stop().await;
}
