//! From a check's result to signals: the result, the change of state, and the alerts that begin or end with it.
//!
//! Probes hand results over without waiting. What one run brings is one group: its records stand together in the
//! ledger or are refused together. Then what pages people is tried on its own until the ledger takes it; results, and
//! after some tries changes, are lost, and a gap record says so.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alert::send::{CHECK_DEGRADED, CHECK_DOWN, CHECK_NAME, CHECK_REASON, CHECK_UNKNOWN};
use model::{
    Admit as _, Alert, Body, CheckChange, CheckResult, Labels, Level, RefusalKind, SelfTest, Severity, Signal, State,
    Tenant, Timestamp,
};
use probe::{Check, Full};
use server::Metrics;
use tokio::sync::{mpsc, oneshot};

use crate::config::CANARY;
use crate::pipeline::Pipeline;

/// Groups that may wait for the ledger.
const QUEUE_MAX: usize = 16_384;
/// Signals that go into one append.
const APPEND_MAX: usize = 1_024;
/// How long to wait before signals that must not be lost are tried again.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// How often changes of state are tried before they are lost; alerts are tried for ever.
const TRIES_MAX: u32 = 8;

/// What one run of one check brings, or a caller who waits until all before it is durable.
enum Item {
    Group(Vec<Signal>),
    Barrier(oneshot::Sender<()>),
}

/// Takes results from the scheduler.
pub(crate) struct Sink {
    queue: mpsc::Sender<Item>,
    metrics: Arc<Metrics>,
    firing: Mutex<Firing>,
}

/// The alerts of checks that fire, by tenant and check; and how often in a row a check could not tell.
#[derive(Default)]
struct Firing {
    alerts: HashMap<(Tenant, String), Alert>,
    unknown: HashMap<(Tenant, String), u32>,
    /// What the last run of the canary said of the checkers.
    canary_passed: Option<bool>,
}

/// The other end: moves groups to the ledger.
pub(crate) struct Drain {
    queue: mpsc::Receiver<Item>,
}

/// Makes both ends. `firing` are the alerts of checks that fired before the restart.
pub(crate) fn channel(metrics: Arc<Metrics>, firing: impl IntoIterator<Item = (Tenant, Alert)>) -> (Sink, Drain) {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    let alerts = firing
        .into_iter()
        .filter_map(|(tenant, alert)| Some(((tenant, alert.labels.get(Alert::CHECK)?.clone()), alert)))
        .collect();
    let firing = Mutex::new(Firing { alerts, ..Firing::default() });
    (Sink { queue: sender, metrics, firing }, Drain { queue: receiver })
}

impl Sink {
    /// Waits until everything that was taken before is durable; false when the ledger has stopped.
    pub(crate) async fn settle(&self) -> bool {
        let (done, settled) = oneshot::channel();
        self.queue.send(Item::Barrier(done)).await.is_ok() && settled.await.is_ok()
    }

    /// Forgets checks that are not configured any more. Their alerts are ended by the incident engine.
    pub(crate) fn forget(&self, removed: &[String]) {
        let mut firing = self.firing.lock().unwrap_or_else(PoisonError::into_inner);
        firing.alerts.retain(|(_, id), _| !removed.contains(id));
        firing.unknown.retain(|(_, id), _| !removed.contains(id));
    }
}

impl probe::Results for Sink {
    fn take(&self, check: &Check, result: &CheckResult, change: Option<&CheckChange>) -> Result<(), Full> {
        let permit = self.queue.try_reserve().map_err(|_| Full)?;
        self.metrics.check_result(&check.tenant, result);
        if &*check.id == CANARY {
            let mut firing = self.firing.lock().unwrap_or_else(PoisonError::into_inner);
            let group = firing.watch_canary(check, result);
            if !group.is_empty() {
                permit.send(Item::Group(group));
            }
            return Ok(());
        }
        let mut group = vec![Signal::ours(check.tenant.clone(), result.clone())];
        if let Some(change) = change {
            group.push(Signal::ours(check.tenant.clone(), change.clone()));
        }
        let mut firing = self.firing.lock().unwrap_or_else(PoisonError::into_inner);
        let alerts = firing.step(check, result, change);
        for alert in alerts.iter().filter(|alert| alert.ends_at.is_none()) {
            self.metrics.alert(&check.tenant, alert.severity);
        }
        group.extend(alerts.into_iter().map(|alert| Signal::ours(check.tenant.clone(), alert)));
        permit.send(Item::Group(group));
        Ok(())
    }
}

impl Firing {
    /// Returns the alerts that begin or end with a result.
    fn step(&mut self, check: &Check, result: &CheckResult, change: Option<&CheckChange>) -> Vec<Alert> {
        let key = (check.tenant.clone(), check.id.to_string());
        let blind = self.counts_blind(&key, check, result);
        let is_down = self.alerts.get(&key).is_some_and(|alert| alert.name() == CHECK_DOWN);
        if is_down && change.is_some_and(|change| change.to == State::Unknown) {
            // Not to see any more is no recovery: what was down is down until it is seen otherwise.
            return Vec::new();
        }
        let mut now_firing = match change {
            Some(change) => alert_of(check, result, change.to, change.at),
            // A check that could not tell from its very start never changes state.
            None if blind && !self.alerts.contains_key(&key) => alert_of(check, result, State::Unknown, result.since),
            None => return Vec::new(),
        };
        let mut alerts = Vec::new();
        let at = change.map_or(result.checked_at, |change| change.at);
        if let Some(mut before) = self.alerts.remove(&key) {
            match &mut now_firing {
                Some(alert) if alert.labels == before.labels => alert.starts_at = before.starts_at,
                _ => {
                    before.ends_at = Some(at.max(before.starts_at));
                    alerts.push(before);
                }
            }
        }
        if let Some(alert) = now_firing {
            self.alerts.insert(key, alert.clone());
            alerts.push(alert);
        }
        alerts
    }

    /// The canary must be seen down: anything else means that checkers do not see, and that is an alert. Each change
    /// is recorded, and so is the first result.
    fn watch_canary(&mut self, check: &Check, result: &CheckResult) -> Vec<Signal> {
        let key = (check.tenant.clone(), check.id.to_string());
        let passed = result.observed == State::Down;
        if self.canary_passed.replace(passed) == Some(passed) {
            return Vec::new();
        }
        let reason = if passed { String::new() } else { format!("seen {} instead of down", result.observed) };
        let test = SelfTest {
            what: "canary".to_owned(),
            target: check.id.to_string(),
            passed,
            reason: reason.clone(),
            at: result.checked_at,
        };
        let mut signals = vec![Signal::ours(check.tenant.clone(), test)];
        let alert = match self.alerts.remove(&key) {
            Some(mut before) if passed => {
                before.ends_at = Some(result.checked_at.max(before.starts_at));
                Some(before)
            }
            _ if passed => None,
            _ => Some(blind_alert(check, result, &reason)),
        };
        if let Some(alert) = alert {
            if !passed {
                self.alerts.insert(key, alert.clone());
            }
            signals.push(Signal::ours(check.tenant.clone(), alert));
        }
        signals
    }

    /// Counts runs in a row that could not tell; true once they are as many as make a check fail.
    fn counts_blind(&mut self, key: &(Tenant, String), check: &Check, result: &CheckResult) -> bool {
        if result.state != State::Unknown || result.observed != State::Unknown {
            self.unknown.remove(key);
            return false;
        }
        let runs = self.unknown.entry(key.clone()).or_insert(0);
        *runs = runs.saturating_add(1);
        *runs >= check.thresholds.failure.max(2)
    }
}

/// Clears the free text of a result. A result that leaves the program by another way than the ledger, to a terminal, to
/// the API, passes here.
pub(crate) fn clear(result: &mut CheckResult, redactor: &privacy::Redactor) {
    result.reason = redactor.redact(&result.reason).into_owned();
    for condition in &mut result.conditions {
        condition.expr = redactor.redact(&condition.expr).into_owned();
        condition.actual = redactor.redact(&condition.actual).into_owned();
    }
}

/// Returns the alert of a check in a state; none when it is up.
fn alert_of(check: &Check, result: &CheckResult, state: State, since: Timestamp) -> Option<Alert> {
    let (name, severity, word) = match state {
        State::Up => return None,
        State::Down => (CHECK_DOWN, check.severity, "down"),
        State::Degraded => (CHECK_DEGRADED, check.severity.min(Severity::Warning), "degraded"),
        State::Unknown => (CHECK_UNKNOWN, check.severity.min(Severity::Warning), "unknown"),
    };
    let mut labels: Labels = check.labels.clone();
    labels.retain(|_, value| !value.is_empty());
    labels.entry(Alert::SERVICE.to_owned()).or_insert_with(|| check.id.to_string());
    labels.insert(Alert::NAME.to_owned(), name.to_owned());
    labels.insert(Alert::CHECK.to_owned(), check.id.to_string());
    labels.insert("kind".to_owned(), result.kind.clone());
    labels.insert(Alert::SEVERITY.to_owned(), severity.as_str().to_owned());
    if check.sector != model::Sector::None {
        labels.insert(Alert::SECTOR.to_owned(), check.sector.as_str().to_owned());
    }
    Some(Alert {
        labels,
        annotations: annotations(check, result, word),
        starts_at: since,
        ends_at: None,
        generator_url: None,
        severity,
        sector: check.sector,
        channel: None,
    })
}

/// The alert that checkers cannot be relied on.
fn blind_alert(check: &Check, result: &CheckResult, reason: &str) -> Alert {
    let labels = [
        (Alert::NAME, "CheckersBlind"),
        (Alert::CHECK, &*check.id),
        (Alert::SERVICE, "dihya"),
        (Alert::SEVERITY, Severity::Critical.as_str()),
    ];
    Alert {
        labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        annotations: [(
            "summary".to_owned(),
            format!("Dihya's checkers cannot be relied on: a closed port was {reason}"),
        )]
        .into(),
        starts_at: result.checked_at,
        ends_at: None,
        generator_url: None,
        severity: Severity::Critical,
        sector: model::Sector::None,
        channel: None,
    }
}

fn annotations(check: &Check, result: &CheckResult, word: &str) -> Labels {
    let reason = if result.reason.is_empty() { String::new() } else { format!(": {}", result.reason) };
    let mut lines: Vec<String> = Vec::new();
    if !check.description.is_empty() {
        lines.push(check.description.clone());
    }
    let failed = result.conditions.iter().filter(|condition| !condition.ok);
    lines.extend(failed.map(|condition| format!("{} ({})", condition.expr, condition.actual)));
    let mut annotations = BTreeMap::from([("summary".to_owned(), format!("{} is {word}{reason}", check.name))]);
    // The parts of that sentence, for those who read it in another language.
    annotations.insert(CHECK_NAME.to_owned(), check.name.clone());
    if !result.reason.is_empty() {
        annotations.insert(CHECK_REASON.to_owned(), result.reason.clone());
    }
    if !lines.is_empty() {
        annotations.insert("description".to_owned(), lines.join("\n"));
    }
    annotations
}

impl Drain {
    /// Moves groups to the ledger until the sink is gone. Ends early when the ledger has stopped.
    pub(crate) async fn run(mut self, pipeline: Arc<Pipeline>) {
        let mut items = Vec::new();
        while self.queue.recv_many(&mut items, APPEND_MAX / 4).await > 0 {
            let mut batches: BTreeMap<Tenant, Vec<Signal>> = BTreeMap::new();
            let mut waiting = Vec::new();
            for item in items.drain(..) {
                match item {
                    Item::Barrier(done) => waiting.push(done),
                    Item::Group(group) => {
                        for signal in group {
                            batches.entry(signal.tenant.clone()).or_default().push(signal);
                        }
                    }
                }
            }
            for (tenant, signals) in batches {
                if !admit(&pipeline, &tenant, signals).await {
                    return;
                }
            }
            for done in waiting {
                let _ = done.send(());
            }
        }
    }
}

/// Admits signals of one tenant; false once the ledger has stopped.
async fn admit(pipeline: &Pipeline, tenant: &Tenant, signals: Vec<Signal>) -> bool {
    let Err(refusal) = pipeline.admit(signals.clone(), Level::Durable).await else { return true };
    match refusal.kind {
        RefusalKind::Stop => return false,
        RefusalKind::Reject => {
            reject(pipeline, tenant, signals).await;
            return true;
        }
        RefusalKind::Retry => {}
    }
    let cause = cause_of(&refusal.reason);
    let (results, rest): (Vec<_>, Vec<_>) =
        signals.into_iter().partition(|signal| matches!(signal.body, Body::CheckResult(_)));
    if !results.is_empty() {
        pipeline.lose(tenant, cause, model::Kind::CheckResult, results.len() as u64);
    }
    // What pages people goes first and alone: a full disk keeps its reserve for nothing else.
    let (alerts, rest): (Vec<_>, Vec<_>) = rest.into_iter().partition(|signal| matches!(signal.body, Body::Alert(_)));
    insist(pipeline, tenant, alerts, u32::MAX, cause).await && insist(pipeline, tenant, rest, TRIES_MAX, cause).await
}

/// Tries again until the signals are taken or `tries` are over; false once the ledger has stopped.
async fn insist(pipeline: &Pipeline, tenant: &Tenant, signals: Vec<Signal>, tries: u32, cause: &'static str) -> bool {
    if signals.is_empty() {
        return true;
    }
    for _ in 0..tries {
        match pipeline.admit(signals.clone(), Level::Durable).await.map_err(|refusal| refusal.kind) {
            Ok(_) => return true,
            Err(RefusalKind::Stop) => return false,
            Err(RefusalKind::Reject) => {
                reject(pipeline, tenant, signals).await;
                return true;
            }
            Err(RefusalKind::Retry) => tokio::time::sleep(RETRY_AFTER).await,
        }
    }
    for signal in signals {
        pipeline.lose(tenant, cause, signal.body.kind(), 1);
    }
    true
}

/// One signal that cannot be recorded must not take the others along: they are tried one by one.
async fn reject(pipeline: &Pipeline, tenant: &Tenant, signals: Vec<Signal>) {
    for signal in signals {
        let kind = signal.body.kind();
        if pipeline.admit(vec![signal], Level::Durable).await.is_err() {
            pipeline.lose(tenant, "rejected", kind, 1);
        }
    }
}

fn cause_of(reason: &str) -> &'static str {
    if reason.contains("full") && reason.contains("disk") { "disk_full" } else { "queue_full" }
}

#[cfg(test)]
mod tests {
    use probe::Results as _;

    use super::*;

    fn check(more: serde_json::Value) -> Arc<Check> {
        let mut check = serde_json::json!({
            "kind": "host", "name": "The host", "description": "Look at the rack.", "severity": "error", "sector": "santé",
            "labels": {"team": "ops", "empty": ""}, "failure_threshold": 2,
        });
        if let (Some(check), Some(more)) = (check.as_object_mut(), more.as_object()) {
            check.extend(more.clone());
        }
        let config = probe::Config::read(&serde_json::json!({"h": check}), &serde_json::Value::Null).expect("is good");
        Arc::clone(&config.checks[0])
    }

    fn result(state: State, observed: State) -> CheckResult {
        CheckResult {
            id: "h".into(),
            name: "The host".into(),
            kind: "host".into(),
            state,
            observed,
            reason: "too hot".into(),
            since: Timestamp::UNIX_EPOCH,
            checked_at: Timestamp::UNIX_EPOCH,
            conditions: vec![model::ConditionOutcome { expr: "t < 90".into(), ok: false, actual: "t = 95".into() }],
            timings_ms: model::Timings::default(),
            figures: BTreeMap::new(),
            maintenance: false,
        }
    }

    fn change(from: State, to: State, second: i64) -> CheckChange {
        CheckChange {
            id: "h".into(),
            kind: "host".into(),
            from,
            to,
            reason: "too hot".into(),
            at: Timestamp::from_second(second).expect("in range"),
            flapping: false,
        }
    }

    /// The alerts of a group, as (name, severity, whether it fires).
    fn told(drain: &mut Drain) -> Vec<(String, Severity, bool)> {
        let Ok(Item::Group(group)) = drain.queue.try_recv() else { return Vec::new() };
        group
            .into_iter()
            .filter_map(|signal| match signal.body {
                Body::Alert(alert) => Some((alert.name().to_owned(), alert.severity, alert.ends_at.is_none())),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn one_alert_ends_when_another_begins() {
        let (sink, mut drain) = channel(Arc::new(Metrics::new()), []);
        let check = check(serde_json::json!({}));
        let mut step = |from, to, second| {
            sink.take(&check, &result(to, to), Some(&change(from, to, second))).expect("there is room");
            told(&mut drain)
        };
        let down = || "CheckDown".to_owned();
        let degraded = || "CheckDegraded".to_owned();
        assert_eq!(step(State::Up, State::Down, 1), [(down(), Severity::Error, true)]);
        assert_eq!(
            step(State::Down, State::Degraded, 2),
            [(down(), Severity::Error, false), (degraded(), Severity::Warning, true)]
        );
        assert_eq!(step(State::Degraded, State::Up, 3), [(degraded(), Severity::Warning, false)]);
        assert_eq!(step(State::Up, State::Up, 4), []);
    }

    /// What was down and cannot be seen any more was told as resolved.
    #[test]
    fn what_is_down_goes_on_firing_while_nobody_can_tell() {
        let (sink, mut drain) = channel(Arc::new(Metrics::new()), []);
        let check = check(serde_json::json!({}));
        let mut step = |from, to, second| {
            let change = (from != to).then(|| change(from, to, second));
            sink.take(&check, &result(to, to), change.as_ref()).expect("there is room");
            told(&mut drain)
        };
        let down = |fires| ("CheckDown".to_owned(), Severity::Error, fires);
        assert_eq!(step(State::Up, State::Down, 1), [down(true)]);
        for second in 2..6 {
            let from = if second == 2 { State::Down } else { State::Unknown };
            assert_eq!(step(from, State::Unknown, second), []);
        }
        // Seen down again it is the alert that began then.
        assert_eq!(step(State::Unknown, State::Down, 6), [down(true)]);
        let key = (Tenant::default(), "h".to_owned());
        let since = sink.firing.lock().expect("not poisoned").alerts[&key].starts_at;
        assert_eq!(since.as_second(), 1);
        assert_eq!(step(State::Down, State::Unknown, 7), []);
        assert_eq!(step(State::Unknown, State::Up, 8), [down(false)]);
        assert_eq!(step(State::Up, State::Unknown, 9), [("CheckUnknown".to_owned(), Severity::Warning, true)]);
    }

    #[test]
    fn an_alert_says_what_is_wrong_and_with_what() {
        let check = check(serde_json::json!({}));
        let alert =
            alert_of(&check, &result(State::Down, State::Down), State::Down, Timestamp::UNIX_EPOCH).expect("one");
        let labels: Vec<(&str, &str)> = alert.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            labels,
            [
                ("alertname", "CheckDown"),
                ("check", "h"),
                ("kind", "host"),
                ("sector", "health"),
                ("service", "h"),
                ("severity", "error"),
                ("team", "ops"),
            ]
        );
        assert_eq!(alert.annotations["summary"], "The host is down: too hot");
        assert_eq!((&*alert.annotations[CHECK_NAME], &*alert.annotations[CHECK_REASON]), ("The host", "too hot"));
        assert_eq!(alert.annotations["description"], "Look at the rack.\nt < 90 (t = 95)");
    }

    #[test]
    fn a_check_that_never_could_tell_is_an_alert_after_its_threshold() {
        let (sink, mut drain) = channel(Arc::new(Metrics::new()), []);
        let check = check(serde_json::json!({}));
        let blind = result(State::Unknown, State::Unknown);
        let mut take = || {
            sink.take(&check, &blind, None).expect("there is room");
            told(&mut drain)
        };
        assert_eq!(take(), []);
        assert_eq!(take(), [("CheckUnknown".to_owned(), Severity::Warning, true)]);
        assert_eq!(take(), []);
        sink.forget(&["h".to_owned()]);
        assert!(sink.firing.lock().expect("not poisoned").alerts.is_empty());
    }

    #[test]
    fn what_fired_before_the_restart_is_ended_by_the_recovery() {
        let check = check(serde_json::json!({}));
        let before =
            alert_of(&check, &result(State::Down, State::Down), State::Down, Timestamp::UNIX_EPOCH).expect("one");
        let (sink, mut drain) = channel(Arc::new(Metrics::new()), [(Tenant::default(), before)]);
        sink.take(&check, &result(State::Up, State::Up), Some(&change(State::Down, State::Up, 9)))
            .expect("there is room");
        assert_eq!(told(&mut drain), [("CheckDown".to_owned(), Severity::Error, false)]);
    }

    #[test]
    fn the_canary_alarms_when_it_is_not_seen_down() {
        let json = serde_json::json!({CANARY: {"kind": "canary"}});
        let config = probe::Config::read(&json, &serde_json::Value::Null).expect("is good");
        let (sink, mut drain) = channel(Arc::new(Metrics::new()), []);
        let mut see = |observed| {
            sink.take(&config.checks[0], &result(observed, observed), None).expect("there is room");
            told(&mut drain)
        };
        assert_eq!(see(State::Down), []);
        assert_eq!(see(State::Up), [("CheckersBlind".to_owned(), Severity::Critical, true)]);
        assert_eq!(see(State::Up), []);
        assert_eq!(see(State::Down), [("CheckersBlind".to_owned(), Severity::Critical, false)]);
    }

    #[test]
    fn a_full_queue_takes_nothing() {
        let (sink, drain) = channel(Arc::new(Metrics::new()), []);
        let check = check(serde_json::json!({}));
        let up = result(State::Up, State::Up);
        let taken = (0..=QUEUE_MAX).take_while(|_| sink.take(&check, &up, None).is_ok()).count();
        assert_eq!(taken, QUEUE_MAX);
        drop(drain);
        assert_eq!(sink.take(&check, &up, None), Err(Full));
        assert_eq!((cause_of("the disk is full"), cause_of("the queue is full")), ("disk_full", "queue_full"));
    }

    /// The monitor whose disk is full still pages: alerts get through, the rest is lost and counted.
    #[tokio::test(start_paused = true)]
    async fn on_a_full_disk_alerts_are_recorded_and_results_are_counted_as_lost() {
        let disk = disk::SimDisk::new(1);
        let clock: Arc<dyn model::Clock> = Arc::new(disk::OsClock::default());
        let mut config = ledger::Config::new("/d".into(), "localhost", vec![Tenant::default()]);
        config.segment_bytes = 32 << 10;
        config.reserve_bytes = 1 << 20;
        let sim: Arc<dyn disk::Disk> = Arc::new(disk.clone());
        let (ledger, _) = ledger::Ledger::open(sim, Arc::clone(&clock), Arc::new(disk::OsRng), config).expect("opens");
        let clearer = Arc::new(privacy::Clearer::new(Arc::new(privacy::Redactor::new()), [1; 32]));
        let pipeline = Arc::new(Pipeline::new(clearer, ledger, clock, Arc::new(Metrics::new())));
        let tenant = Tenant::default();
        disk.set_capacity(Some(0));
        let up = || Signal::ours(tenant.clone(), result(State::Up, State::Up));
        let full = loop {
            if let Err(refusal) = pipeline.admit(vec![up(); 20], Level::Durable).await {
                break refusal;
            }
        };
        assert_eq!((full.kind, cause_of(&full.reason)), (RefusalKind::Retry, "disk_full"));

        let (sink, drain) = channel(Arc::new(Metrics::new()), []);
        let check = check(serde_json::json!({}));
        sink.take(&check, &result(State::Down, State::Down), Some(&change(State::Up, State::Down, 1))).expect("room");
        let mut running = tokio::task::JoinSet::new();
        running.spawn(drain.run(Arc::clone(&pipeline)));
        assert!(sink.settle().await);

        let mut feed = pipeline.feed(&tenant, 0, None).expect("a log");
        let mut kinds = Vec::new();
        loop {
            let records = model::Feed::read(&mut feed, 1_000).await.expect("reads");
            if records.is_empty() {
                break;
            }
            kinds.extend(records.into_iter().map(|record| record.signal.body.kind()));
        }
        assert_eq!(kinds.last(), Some(&model::Kind::Alert), "{kinds:?}");
    }
}
