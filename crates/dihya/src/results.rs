//! From a check's result to signals: the result, the change of state, and the alerts that begin or end with it.
//!
//! Probes hand results over without waiting. What one run brings is one group: its records stand together in the
//! ledger or are refused together. A result that cannot be recorded is lost and said to be; a change and its alerts
//! are tried again until the ledger takes them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alert::send::{CHECK_DEGRADED, CHECK_DOWN, CHECK_UNKNOWN};
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
        let now_firing = match change {
            Some(change) => alert_of(check, result, change.to, change.at),
            // A check that could not tell from its very start never changes state.
            None if blind && !self.alerts.contains_key(&key) => alert_of(check, result, State::Unknown, result.since),
            None => return Vec::new(),
        };
        let mut alerts = Vec::new();
        let at = change.map_or(result.checked_at, |change| change.at);
        if let Some(mut before) = self.alerts.remove(&key)
            && now_firing.as_ref().is_none_or(|alert| alert.labels != before.labels)
        {
            before.ends_at = Some(at.max(before.starts_at));
            alerts.push(before);
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
async fn admit(pipeline: &Pipeline, tenant: &Tenant, mut signals: Vec<Signal>) -> bool {
    while !signals.is_empty() {
        let Err(refusal) = pipeline.admit(signals.clone(), Level::Durable).await else { return true };
        match refusal.kind {
            RefusalKind::Stop => return false,
            RefusalKind::Reject => {
                reject(pipeline, tenant, signals).await;
                return true;
            }
            RefusalKind::Retry => {
                let (results, rest): (Vec<_>, Vec<_>) =
                    signals.into_iter().partition(|signal| matches!(signal.body, Body::CheckResult(_)));
                if !results.is_empty() {
                    pipeline.lose(tenant, cause_of(&refusal.reason), model::Kind::CheckResult, results.len() as u64);
                }
                signals = rest;
                if !signals.is_empty() {
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
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
