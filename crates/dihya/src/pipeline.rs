//! The order of the stages, and the only file that knows it: follow one signal from here down.
//!
//! ```text
//! probe ─ results::Sink ─┐                                  ┌─ Feed ─> alert (incident, outbox) ─> channels
//! server ─ Admit ────────┼─> Clearer::clear ─> Ledger::append
//! alert ─ Admit ─────────┤      privacy            ledger   ├─ Feed ─> server (history of the status page)
//! intake ─ Admit ────────┘                                  └─ Feed ─> lake (events: search, SQL)
//! ```
//! [`Pipeline`] is `model::Admit`: it clears, then appends; nothing is acknowledged in between. [`Records`] is
//! `model::Feed`: it reads a tenant's durable records back as bodies. What was refused and cannot be sent again is
//! counted, and a `gap` record says so before the tenant's next record, or a few seconds later where none comes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use ledger::{Cursor, Ledger};
use model::{
    Admit, Body, BoxFuture, Clock, Feed, Gap, Kind, Level, Lose, Outcome, Position, Receipt, Recorded, Refusal,
    RefusalKind, Signal, Tenant, Timestamp,
};
use privacy::{Cleared, Clearer};
use server::Metrics;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::events;
use crate::exposures::Exposures;

/// Most different kinds of loss that wait to be recorded; beyond them losses of a tenant are one.
const GAPS_MAX: usize = 4_096;
/// Signals that are cleared at once where they are; more take longer than others may wait for a thread.
const CLEARED_INLINE_MAX: usize = 64;

/// Clears and appends.
pub(crate) struct Pipeline {
    clearer: RwLock<Arc<Clearer>>,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    exposures: Exposures,
    lost: Arc<Mutex<Lost>>,
    /// Gap records on their way; they go on whether or not anybody waits for them.
    writes: Mutex<JoinSet<()>>,
}

/// Losses by tenant, cause and what was lost.
type Lost = BTreeMap<(Tenant, &'static str, &'static str), Loss>;

/// What was lost of one kind for one cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Loss {
    count: u64,
    from: Timestamp,
    until: Timestamp,
}

impl Pipeline {
    /// Puts the stages in order.
    pub(crate) fn new(clearer: Arc<Clearer>, ledger: Ledger, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self {
            clearer: RwLock::new(clearer),
            ledger,
            clock,
            metrics,
            exposures: Exposures::default(),
            lost: Arc::default(),
            writes: Mutex::default(),
        }
    }

    /// Puts another privacy policy in force for what comes from now on.
    pub(crate) fn set_clearer(&self, clearer: Arc<Clearer>) {
        *self.clearer.write().unwrap_or_else(PoisonError::into_inner) = clearer;
    }

    /// Returns the policy in force.
    pub(crate) fn clearer(&self) -> Arc<Clearer> {
        Arc::clone(&self.clearer.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns what personal data passed.
    pub(crate) const fn exposures(&self) -> &Exposures {
        &self.exposures
    }

    /// Returns the ledger.
    pub(crate) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Reads a tenant's records from `from` on. A `view` has kept, whenever it reads on, all that it read before: the
    /// ledger keeps payloads for it until then.
    ///
    /// # Errors
    /// When the tenant has no log.
    pub(crate) fn feed(&self, tenant: &Tenant, from: Position, view: Option<&'static str>) -> Result<Records, Refusal> {
        // Of the views, the lake alone folds events, and there are many.
        let cursor = Some(self.ledger.cursor(tenant, from)?.passing_over(Kind::Event));
        Ok(Records { ledger: self.ledger.clone(), tenant: tenant.clone(), view, cursor })
    }

    /// Reads a tenant's records from `from` on, events among them. Whoever reads says himself up to where he has them.
    ///
    /// # Errors
    /// When the tenant has no log.
    pub(crate) fn events(&self, tenant: &Tenant, from: Position) -> Result<Records, Refusal> {
        let cursor = Some(self.ledger.cursor(tenant, from)?);
        Ok(Records { ledger: self.ledger.clone(), tenant: tenant.clone(), view: None, cursor })
    }

    /// Counts signals that nobody will send again.
    pub(crate) fn lose(&self, tenant: &Tenant, cause: &'static str, kind: Kind, count: u64) {
        let now = self.clock.now();
        events::lost(cause, kind, count);
        self.metrics.lost(tenant, cause, kind, count);
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (tenant.clone(), cause, kind.as_str());
        if lost.len() >= GAPS_MAX && !lost.contains_key(&key) {
            key.2 = "several";
        }
        let loss = lost.entry(key).or_insert(Loss { count: 0, from: now, until: now });
        loss.count += count;
        loss.until = now;
    }

    /// Records what was lost of any tenant, also where nothing comes that would carry it. What the ledger does not take
    /// waits for the next time.
    pub(crate) async fn record_losses(&self) {
        let tenants: BTreeSet<Tenant> = {
            let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
            lost.keys().map(|(tenant, ..)| tenant.clone()).collect()
        };
        for tenant in tenants {
            self.write_gaps(&tenant).await;
        }
    }

    /// Takes the losses of a tenant as signals.
    fn take_lost(&self, tenant: &Tenant) -> Vec<(&'static str, &'static str, Loss)> {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if lost.is_empty() {
            return Vec::new();
        }
        let mine: Vec<_> = lost.keys().filter(|(of, _, _)| of == tenant).cloned().collect();
        mine.into_iter().filter_map(|key| lost.remove(&key).map(|loss| (key.1, key.2, loss))).collect()
    }

    fn return_lost(lost: &Mutex<Lost>, tenant: &Tenant, losses: Vec<(&'static str, &'static str, Loss)>) {
        let mut lost = lost.lock().unwrap_or_else(PoisonError::into_inner);
        for (cause, what, loss) in losses {
            let known = lost.entry((tenant.clone(), cause, what)).or_insert(Loss { count: 0, ..loss });
            known.count += loss.count;
            known.from = known.from.min(loss.from);
        }
    }

    async fn admit_all(&self, signals: Vec<Signal>, level: Level) -> Result<Vec<Receipt>, Refusal> {
        let Some(tenant) = signals.first().map(|signal| signal.tenant.clone()) else { return Ok(Vec::new()) };
        let count = signals.len();
        self.write_gaps(&tenant).await;
        let outcomes: Vec<(String, Outcome)> = signals.iter().filter_map(outcome_of).collect();
        let cleared = self.clear(signals).await.inspect_err(|refusal| self.count(&tenant, Err(refusal), count))?;
        self.append(&tenant, cleared, level, &outcomes).await
    }

    /// Like [`Self::admit_all`], and clears each signal before the next is made.
    async fn admit_one_by_one(
        &self,
        signals: &mut (dyn Iterator<Item = Signal> + Send),
        level: Level,
    ) -> Result<Vec<Receipt>, Refusal> {
        let Some(first) = signals.next() else { return Ok(Vec::new()) };
        let tenant = first.tenant.clone();
        self.write_gaps(&tenant).await;
        let clearer = self.clearer();
        let (mut count, mut outcomes) = (0, Vec::new());
        let cleared = aside(|| {
            let mut each = std::iter::once(first).chain(&mut *signals).inspect(|signal| {
                count += 1;
                outcomes.extend(outcome_of(signal));
            });
            let cleared = clearer.clear_all(&mut each);
            each.by_ref().for_each(drop);
            cleared.map_err(|error| Refusal { kind: error.kind(), reason: error.to_string() })
        });
        let cleared = cleared.inspect_err(|refusal| self.count(&tenant, Err(refusal), count))?;
        self.append(&tenant, cleared, level, &outcomes).await
    }

    /// Appends what was cleared and counts it.
    async fn append(
        &self,
        tenant: &Tenant,
        mut cleared: Vec<Cleared>,
        level: Level,
        outcomes: &[(String, Outcome)],
    ) -> Result<Vec<Receipt>, Refusal> {
        let count = cleared.len();
        let passed: Vec<_> = cleared.iter_mut().filter_map(Cleared::take_receipt).collect();
        let appended = self.ledger.append(cleared, level).await.map_err(Refusal::from);
        self.count(tenant, appended.as_ref().map(|_| ()), count);
        if appended.is_ok() {
            self.exposures.record(tenant, self.clock.now(), &passed);
            outcomes.iter().for_each(|(channel, outcome)| self.metrics.notification(tenant, channel, *outcome));
        }
        appended
    }

    /// Clears signals; many of them where they hold up nobody else.
    async fn clear(&self, signals: Vec<Signal>) -> Result<Vec<Cleared>, Refusal> {
        let clearer = self.clearer();
        // New keys are made durable before what is sealed under them, and that blocks.
        let mints = || {
            signals.iter().any(|signal| match &signal.body {
                Body::Event(_) => clearer.is_keyed(),
                Body::Access(access) => access.question.is_some(),
                _ => false,
            })
        };
        let elsewhere = signals.len() > CLEARED_INLINE_MAX || mints();
        let clear = move || clearer.clear_all(signals);
        let cleared = if elsewhere {
            tokio::task::spawn_blocking(clear)
                .await
                .map_err(|_| Refusal { kind: RefusalKind::Retry, reason: "the program stops".to_owned() })?
        } else {
            clear()
        };
        cleared.map_err(|error| Refusal { kind: error.kind(), reason: error.to_string() })
    }

    /// Records what was lost before, so that the record of the loss stands before what comes after it.
    async fn write_gaps(&self, tenant: &Tenant) {
        let losses = self.take_lost(tenant);
        if losses.is_empty() {
            return;
        }
        let gap = |(cause, what, loss): &(&str, &str, Loss)| {
            let gap = Gap {
                cause: (*cause).to_owned(),
                what: (*what).to_owned(),
                count: loss.count,
                from: loss.from,
                until: loss.until,
            };
            Signal::ours(tenant.clone(), gap)
        };
        let clearer = self.clearer();
        let cleared: Result<Vec<Cleared>, _> = losses.iter().map(gap).map(|signal| clearer.clear(signal)).collect();
        let (ledger, lost, tenant) = (self.ledger.clone(), Arc::clone(&self.lost), tenant.clone());
        // In a task of its own: who waits for it may go away, and what was taken must be recorded or given back.
        let (done, written) = oneshot::channel();
        let write = async move {
            let written = match cleared {
                Ok(cleared) => ledger.append(cleared, Level::Durable).await.is_ok(),
                Err(_) => false,
            };
            if !written {
                Self::return_lost(&lost, &tenant, losses);
            }
            // Nobody may wait any more, which is all right.
            let _ = done.send(());
        };
        {
            let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
            while writes.try_join_next().is_some() {}
            writes.spawn(write);
        }
        let _ = written.await;
    }

    fn count(&self, tenant: &Tenant, outcome: Result<(), &Refusal>, records: usize) {
        let outcome = match outcome {
            Ok(()) => "durable",
            Err(refusal) => match refusal.kind {
                RefusalKind::Retry => "retry",
                RefusalKind::Reject => "reject",
                RefusalKind::Stop => "stop",
            },
        };
        self.metrics.ledger_append(tenant, outcome, records as u64);
    }
}

/// Works where it holds up nobody else: what may take long, or waits for the disk, and borrows.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    // A runtime of one thread, in a test, has nowhere else to go on.
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => work(),
        _ => tokio::task::block_in_place(work),
    }
}

fn outcome_of(signal: &Signal) -> Option<(String, Outcome)> {
    match &signal.body {
        Body::Delivery(delivery) => Some((delivery.channel.clone(), delivery.outcome)),
        _ => None,
    }
}

impl Admit for Pipeline {
    fn admit(&self, signals: Vec<Signal>, level: Level) -> BoxFuture<'_, Result<Vec<Receipt>, Refusal>> {
        Box::pin(self.admit_all(signals, level))
    }

    fn admit_each<'a>(
        &'a self,
        signals: &'a mut (dyn Iterator<Item = Signal> + Send),
        level: Level,
    ) -> BoxFuture<'a, Result<Vec<Receipt>, Refusal>> {
        Box::pin(self.admit_one_by_one(signals, level))
    }
}

impl Lose for Pipeline {
    fn lose(&self, tenant: &Tenant, cause: &'static str, kind: Kind, count: u64) {
        Self::lose(self, tenant, cause, kind, count);
    }
}

/// One tenant's records, read back.
pub(crate) struct Records {
    ledger: Ledger,
    tenant: Tenant,
    view: Option<&'static str>,
    /// Absent only while a read runs; a read that was dropped half-way took it along.
    cursor: Option<Cursor>,
}

impl Feed for Records {
    fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    fn read(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Recorded>, Refusal>> {
        Box::pin(async move {
            loop {
                let lost = || Refusal { kind: RefusalKind::Stop, reason: "a read was given up half-way".to_owned() };
                let mut cursor = self.cursor.take().ok_or_else(lost)?;
                if let Some(view) = self.view {
                    self.ledger.consumed(view, &self.tenant, cursor.position())?;
                }
                // Old records come from the disk, which may block no runtime thread.
                let read = tokio::task::spawn_blocking(move || {
                    let read = cursor.read(max);
                    (cursor, read)
                });
                let (cursor, read) = read.await.map_err(|_| lost())?;
                self.cursor = Some(cursor);
                let stored = read.map_err(Refusal::from)?;
                let caught_up = stored.is_empty();
                let recorded: Vec<Recorded> = stored.into_iter().filter_map(|stored| self.record(&stored)).collect();
                // Records of the ledger's own kinds are skipped; only a caught-up feed answers with none.
                if caught_up || !recorded.is_empty() {
                    return Ok(recorded);
                }
            }
        })
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(cursor) = &mut self.cursor {
                cursor.wait().await;
            }
        })
    }
}

impl Records {
    /// Returns the position up to which records were read, those that are skipped too; `None` while a read runs.
    pub(crate) fn position(&self) -> Option<Position> {
        self.cursor.as_ref().map(Cursor::position)
    }

    /// Makes a body of a record; `None` for the ledger's own, and for those whose payload retention deleted.
    fn record(&self, stored: &ledger::Stored) -> Option<Recorded> {
        let body = match Body::from_fields(stored.kind, &stored.fields()) {
            Ok(body) => body,
            Err(model::schema::SchemaError::NotABody { .. }) => return None,
            Err(error) => {
                events::unreadable_record(&self.tenant, stored.position, &error);
                return None;
            }
        };
        let signal = Signal { tenant: self.tenant.clone(), source: stored.source, body };
        Some(Recorded { position: stored.position, admitted_at: stored.t_admit, signal })
    }
}

#[cfg(test)]
mod tests {
    use disk::{OsClock, OsDisk, OsRng};
    use model::{AdminAct, Alert, Labels};
    use privacy::Redactor;

    use super::*;

    async fn pipeline(dir: &std::path::Path) -> Pipeline {
        let clock: Arc<dyn Clock> = Arc::new(OsClock::default());
        let config = ledger::Config::new(dir.to_owned(), "localhost", vec![Tenant::default()]);
        let (disk, rng) = (Arc::new(OsDisk), Arc::new(OsRng));
        let (ledger, _) = Ledger::open(disk, Arc::clone(&clock), rng, config).expect("opens");
        let clearer = Arc::new(Clearer::new(Arc::new(Redactor::new()), [7; 32]));
        Pipeline::new(clearer, ledger, clock, Arc::new(Metrics::new()))
    }

    fn act(detail: &str) -> Signal {
        let act = AdminAct {
            actor: "local".into(),
            act: "test".into(),
            target: String::new(),
            detail: detail.into(),
            at: Timestamp::UNIX_EPOCH,
        };
        Signal::ours(Tenant::default(), act)
    }

    async fn bodies(pipeline: &Pipeline) -> Vec<Body> {
        let mut feed = pipeline.feed(&Tenant::default(), 0, Some("test")).expect("a log");
        let mut bodies = Vec::new();
        loop {
            let records = feed.read(100).await.expect("reads");
            if records.is_empty() {
                return bodies;
            }
            bodies.extend(records.into_iter().map(|record| record.signal.body));
        }
    }

    #[tokio::test]
    async fn a_signal_is_cleared_then_appended_and_reads_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let pipeline = pipeline(dir.path()).await;
        let receipts = pipeline.admit(vec![act("mail ann@example.org")], Level::Committed).await.expect("admitted");
        assert_eq!(receipts.len(), 1);
        let found = bodies(&pipeline).await;
        let [Body::Admin(recorded)] = &found[..] else { panic!("{found:?}") };
        assert_eq!(recorded.detail, "mail [email]");
        assert_eq!(pipeline.admit(Vec::new(), Level::Durable).await, Ok(Vec::new()));
        let refused = pipeline.admit(vec![act("x")], Level::Witnessed).await.expect_err("no witnesses");
        assert_eq!(refused.kind, RefusalKind::Reject);
        pipeline.ledger().close().await.expect("closes");
        let stopped = pipeline.admit(vec![act("x")], Level::Durable).await.expect_err("closed");
        assert_eq!(stopped.kind, RefusalKind::Stop);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn signals_are_cleared_as_they_are_made_and_all_are_asked_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let pipeline = pipeline(dir.path()).await;
        let mut made = 0;
        let mut signals = (0..3).map(|n| act(&format!("mail ann{n}@example.org"))).inspect(|_| made += 1);
        let receipts = pipeline.admit_each(&mut signals, Level::Durable).await.expect("admitted");
        assert!(receipts.windows(2).all(|pair| pair[0].position + 1 == pair[1].position));
        let found = bodies(&pipeline).await;
        let details = found.iter().map(|body| if let Body::Admin(act) = body { &*act.detail } else { "" });
        assert_eq!(details.collect::<Vec<_>>(), ["mail [email]"; 3]);
        assert_eq!(pipeline.admit_each(&mut std::iter::empty(), Level::Durable).await, Ok(Vec::new()));
        // The second needs a keystore that is not open: none of them is taken, and the third was asked for all the same.
        let config = serde_json::json!({"streams": {"shop": {"fields": {"user": "subject"}}}});
        let config: privacy::Config = serde_json::from_value(config).expect("reads");
        let redactor = Arc::new(Redactor::new());
        let policy = Arc::new(privacy::Policy::new(&config, Arc::clone(&redactor)).expect("is possible"));
        pipeline.set_clearer(Arc::new(Clearer::new(redactor, [7; 32]).with_policy(policy)));
        let event = model::Event { stream: "shop".into(), ..model::Event::default() };
        let keyed = Signal { tenant: Tenant::default(), source: model::SourceId([1; 16]), body: event.into() };
        let mut signals = [act("one"), keyed, act("three")].into_iter().inspect(|_| made += 1);
        let refused = pipeline.admit_each(&mut signals, Level::Durable).await.expect_err("no keystore");
        assert_eq!((refused.kind, made, bodies(&pipeline).await.len()), (RefusalKind::Retry, 6, 3));
    }

    /// The keys are on the disk before what is sealed under them, and a restart finds the same person again.
    #[tokio::test]
    async fn persons_keep_their_names_over_a_restart_and_leave_no_trace_of_their_own() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = serde_json::json!({"streams": {"shop": {"fields": {"user": "subject", "mail": "seal"}}}});
        let config: privacy::Config = serde_json::from_value(config).expect("reads");
        let event = || {
            let body = serde_json::json!({"user": "jdupont42", "mail": "canary@example.org"});
            let event = model::Event { stream: "shop".into(), body: Some(body.into()), ..model::Event::default() };
            Signal { tenant: Tenant::default(), source: model::SourceId([1; 16]), body: event.into() }
        };
        let mut users = Vec::new();
        for _ in 0..2 {
            let pipeline = pipeline(dir.path()).await;
            let refused = pipeline.admit(vec![event()], Level::Durable).await;
            assert!(refused.is_ok(), "a policy that says nothing needs no keys");
            let redactor = Arc::new(Redactor::new());
            let policy = Arc::new(privacy::Policy::new(&config, Arc::clone(&redactor)).expect("is possible"));
            let keyed = Clearer::new(redactor, [7; 32]).with_policy(policy);
            pipeline.set_clearer(Arc::new(keyed));
            let refused = pipeline.admit(vec![event()], Level::Durable).await.expect_err("no keystore");
            assert_eq!(refused.kind, RefusalKind::Retry);
            let means = privacy::keystore::Means {
                disk: Arc::new(OsDisk),
                rng: Arc::new(OsRng),
                clock: Arc::new(OsClock::default()),
            };
            let keys = dir.path().join("keystore/default");
            let (keystore, _) = privacy::Keystore::open(means, &keys, &Tenant::default(), None).expect("opens");
            let keystores = Arc::new([(Tenant::default(), Arc::new(keystore))].into());
            let redactor = Arc::new(Redactor::new());
            let policy = Arc::new(privacy::Policy::new(&config, Arc::clone(&redactor)).expect("is possible"));
            let keyed = Clearer::new(redactor, [7; 32]).with_policy(policy).with_keystores(keystores);
            pipeline.set_clearer(Arc::new(keyed));
            pipeline.admit(vec![event()], Level::Durable).await.expect("admitted");
            let mut cursor = pipeline.ledger().cursor(&Tenant::default(), 0).expect("a log");
            let stored = cursor.read(100).expect("reads");
            let last = stored.iter().rev().find(|stored| stored.kind == Kind::Event).expect("is there");
            assert!(!last.boxes.is_empty());
            users.push(last.payload.iter().find(|(id, _)| *id == model::event::field::BODY).cloned());
            pipeline.ledger().close().await.expect("closes");
        }
        assert_eq!(users[0], users[1]);
        let copy = dir.path().join("copy");
        let wal = std::fs::read_dir(dir.path().join("wal")).expect("lists");
        for segment in wal {
            let bytes = std::fs::read(segment.expect("is there").path()).expect("reads");
            assert!(!bytes.windows(6).any(|part| part == b"canary"), "the first two were cleared, the others sealed");
        }
        assert!(crate::copy::has_keys_of_persons(&OsDisk, dir.path()).expect("lists"));
        let manifest = crate::copy::backup(&OsDisk, dir.path(), &copy, Timestamp::UNIX_EPOCH).await.expect("copies");
        assert!(!manifest.files.iter().any(|file| file.path.starts_with("keystore/default/")));
        assert!(manifest.files.iter().any(|file| file.path.starts_with("keystore/localhost/default/")));
        assert!(!crate::copy::has_keys_of_persons(&OsDisk, &copy).expect("lists"));
    }

    #[tokio::test]
    async fn what_was_lost_is_recorded_before_what_comes_after() {
        let dir = tempfile::tempdir().expect("a directory");
        let pipeline = pipeline(dir.path()).await;
        let tenant = Tenant::default();
        pipeline.lose(&tenant, "queue_full", Kind::CheckResult, 3);
        pipeline.lose(&tenant, "queue_full", Kind::CheckResult, 4);
        let losses = pipeline.take_lost(&tenant);
        Pipeline::return_lost(&pipeline.lost, &tenant, losses);
        pipeline.admit(vec![act("after")], Level::Durable).await.expect("admitted");
        let found = bodies(&pipeline).await;
        let [Body::Gap(gap), Body::Admin(_)] = &found[..] else { panic!("{found:?}") };
        assert_eq!((gap.cause.as_str(), gap.what.as_str(), gap.count), ("queue_full", "check-result", 7));
        assert!(pipeline.take_lost(&tenant).is_empty());
    }

    #[tokio::test]
    async fn what_was_lost_is_recorded_also_where_nothing_comes_after() {
        let dir = tempfile::tempdir().expect("a directory");
        let pipeline = pipeline(dir.path()).await;
        let (tenant, unknown) = (Tenant::default(), Tenant::new("gone").expect("valid"));
        pipeline.lose(&tenant, "queue_full", Kind::CheckResult, 3);
        pipeline.lose(&unknown, "queue_full", Kind::Alert, 1);
        pipeline.record_losses().await;
        let found = bodies(&pipeline).await;
        assert!(matches!(&found[..], [Body::Gap(gap)] if gap.count == 3), "{found:?}");
        assert!(pipeline.take_lost(&tenant).is_empty());
        assert_eq!(pipeline.take_lost(&unknown).len(), 1, "what could not be recorded waits");
    }

    #[tokio::test]
    async fn who_goes_away_takes_no_loss_along() {
        let dir = tempfile::tempdir().expect("a directory");
        let pipeline = pipeline(dir.path()).await;
        pipeline.lose(&Tenant::default(), "queue_full", Kind::CheckResult, 3);
        let gone = tokio::time::timeout(std::time::Duration::ZERO, pipeline.record_losses());
        let _ = gone.await;
        while bodies(&pipeline).await.is_empty() {
            pipeline.record_losses().await;
            tokio::task::yield_now().await;
        }
        let found = bodies(&pipeline).await;
        assert!(matches!(&found[..], [Body::Gap(gap)] if gap.count == 3), "{found:?}");
    }

    #[tokio::test]
    async fn another_policy_holds_from_then_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let pipeline = pipeline(dir.path()).await;
        let kept = Redactor::new().with_declared(["ann@example.org"]);
        pipeline.set_clearer(Arc::new(Clearer::new(Arc::new(kept), [7; 32])));
        let alert = Alert {
            labels: Labels::from([("alertname".to_owned(), "x".to_owned())]),
            annotations: Labels::from([("summary".to_owned(), "from ann@example.org".to_owned())]),
            starts_at: Timestamp::UNIX_EPOCH,
            ends_at: None,
            generator_url: None,
            severity: model::Severity::Info,
            sector: model::Sector::None,
            channel: None,
        };
        pipeline.admit(vec![Signal::ours(Tenant::default(), alert)], Level::Durable).await.expect("admitted");
        let found = bodies(&pipeline).await;
        let [Body::Alert(alert)] = &found[..] else { panic!("{found:?}") };
        assert!(alert.annotations["summary"].contains("ann@example.org"), "{alert:?}");
    }
}
