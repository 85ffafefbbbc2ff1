//! What Dihya measures of itself and of each check, in OpenMetrics.
//!
//! Counters are pushed by whoever counts; how things stand is read when somebody asks. A tenant's figures are in a
//! registry of its own, so that a token sees its own tenant's and the instance's, never another tenant's.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use model::{CheckResult, Outcome, State, Tenant};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Metric, Registry};

use crate::process;
use crate::seam::{Check, LedgerGauge, OutboxGauge, OutputGauge, SchedulerGauge};

pub mod reference;

use reference as name;

/// The media type of OpenMetrics 1.0.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The media type of the older Prometheus text format.
pub const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

type Pair = (&'static str, String);
type Counters<const N: usize> = Family<[Pair; N], Counter>;
type Seconds<const N: usize> = Family<[Pair; N], Histogram, fn() -> Histogram>;

/// From 0.5 ms, a cached page, to 16 s, close to the time-out of a request.
const LATENCY_BUCKETS: [f64; 12] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 4.0, 16.0];
/// From 0.25 ms, a good NVMe, to 4 s, a disk in trouble; dense where `fdatasync` usually is.
const SYNC_BUCKETS: [f64; 12] = [0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.25, 1.0, 4.0];

/// All figures of this instance.
pub struct Metrics {
    registry: Registry,
    tenants: Mutex<BTreeMap<Tenant, Arc<OfTenant>>>,
    connections: Gauge<i64, AtomicI64>,
    syslog_connections: Gauge<i64, AtomicI64>,
    requests: Counters<3>,
    request_seconds: Seconds<1>,
    panics: Counter,
    auth_failures: Counters<1>,
    redactions: Counters<1>,
    sync_seconds: Histogram,
    reload_success: Gauge<i64, AtomicI64>,
    reload_at: Gauge<f64, AtomicU64>,
}

/// One tenant's counters.
struct OfTenant {
    registry: Registry,
    results: Counters<3>,
    appends: Counters<1>,
    syslog: Counters<2>,
    notifications: Counters<2>,
    alerts: Counters<1>,
    lost: Counters<2>,
    dropped: Counter,
    subject_keys: Gauge<i64, AtomicI64>,
    keys_minted: Counter,
    mints_refused: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Makes the registry of an instance that has counted nothing.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        register(&mut registry, &name::BUILD, build);
        let connections = add(&mut registry, &name::HTTP_CONNECTIONS);
        let syslog_connections = add(&mut registry, &name::SYSLOG_CONNECTIONS);
        let requests = add(&mut registry, &name::HTTP_REQUESTS);
        let request_seconds: Seconds<1> = Family::new_with_constructor(|| Histogram::new(LATENCY_BUCKETS));
        register(&mut registry, &name::HTTP_REQUEST_SECONDS, request_seconds.clone());
        let panics = add(&mut registry, &name::HTTP_PANICS);
        let auth_failures = add(&mut registry, &name::AUTH_FAILURES);
        let redactions = add(&mut registry, &name::REDACTIONS);
        let sync_seconds = Histogram::new(SYNC_BUCKETS);
        register(&mut registry, &name::LEDGER_SYNC_SECONDS, sync_seconds.clone());
        let reload_success = add(&mut registry, &name::CONFIG_RELOAD_SUCCESS);
        let reload_at = add(&mut registry, &name::CONFIG_RELOAD_AT);
        registry.register_collector(Box::new(Process));
        Self {
            registry,
            tenants: Mutex::default(),
            connections,
            syslog_connections,
            requests,
            request_seconds,
            panics,
            auth_failures,
            redactions,
            sync_seconds,
            reload_success,
            reload_at,
        }
    }

    /// Counts one run of one check.
    pub fn check_result(&self, tenant: &Tenant, result: &CheckResult) {
        let labels = [
            ("check", result.id.clone()),
            ("kind", result.kind.clone()),
            ("state", result.observed.as_str().to_owned()),
        ];
        self.of(tenant).results.get_or_create(&labels).inc();
    }

    /// Forgets the counts of a check that is not configured any more.
    pub fn forget_check(&self, tenant: &Tenant, id: &str, kind: &str) {
        let of = self.of(tenant);
        for state in STATES {
            let labels = [("check", id.to_owned()), ("kind", kind.to_owned()), ("state", state.as_str().to_owned())];
            of.results.remove(&labels);
        }
    }

    /// Counts records that the ledger took (`durable`) or did not (`retry`, `reject`, `stop`).
    pub fn ledger_append(&self, tenant: &Tenant, outcome: &'static str, records: u64) {
        self.of(tenant).appends.get_or_create(&[("outcome", outcome.to_owned())]).inc_by(records);
    }

    /// Counts messages that a listener for syslog took (`durable`) or could not (`lost`).
    pub(crate) fn syslog(&self, tenant: &Tenant, listener: &'static str, outcome: &'static str, count: u64) {
        let labels = [("listener", listener.to_owned()), ("outcome", outcome.to_owned())];
        self.of(tenant).syslog.get_or_create(&labels).inc_by(count);
    }

    /// Takes the duration of one sync of the ledger's WAL.
    pub fn ledger_sync(&self, took: Duration) {
        self.sync_seconds.observe(took.as_secs_f64());
    }

    /// Counts one attempt at a notification.
    pub fn notification(&self, tenant: &Tenant, channel: &str, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Delivered => "delivered",
            Outcome::Retry => "retry",
            Outcome::Partial => "partial",
            Outcome::Failed => "failed",
        };
        let labels = [("channel", channel.to_owned()), ("outcome", outcome.to_owned())];
        self.of(tenant).notifications.get_or_create(&labels).inc();
    }

    /// Counts one alert that was admitted; those sent over the API are counted by the server.
    pub fn alert(&self, tenant: &Tenant, severity: model::Severity) {
        self.of(tenant).alerts.get_or_create(&[("level", severity.as_str().to_owned())]).inc();
    }

    /// Counts signals of one kind that were not recorded and will not be sent again.
    pub fn lost(&self, tenant: &Tenant, cause: &'static str, kind: model::Kind, count: u64) {
        let labels = [("cause", cause.to_owned()), ("kind", kind.as_str().to_owned())];
        self.of(tenant).lost.get_or_create(&labels).inc_by(count);
    }

    /// Counts alerts that were dropped because as many fire as can be kept.
    pub fn alerts_dropped(&self, tenant: &Tenant, count: u64) {
        self.of(tenant).dropped.inc_by(count);
    }

    /// Takes how many keys of persons a tenant's keystore has, and how many were made or refused since the last time.
    pub fn keystore(&self, tenant: &Tenant, keys: usize, minted: u64, refused: u64) {
        let of = self.of(tenant);
        of.subject_keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
        of.keys_minted.inc_by(minted);
        of.mints_refused.inc_by(refused);
    }

    /// Counts values of one type that privacy replaced.
    pub fn redactions(&self, kind: &'static str, count: u64) {
        self.redactions.get_or_create(&[("type", kind.to_owned())]).inc_by(count);
    }

    /// Takes whether a configuration was put in force, and when.
    pub fn config_loaded(&self, accepted: bool, at: Timestamp) {
        self.reload_success.set(i64::from(accepted));
        if accepted {
            self.reload_at.set(at.as_duration().as_secs_f64());
        }
    }

    /// Counts one answer.
    pub(crate) fn request(&self, method: &str, route: &'static str, status: u16, took: Duration) {
        let labels = [("method", method.to_owned()), ("route", route.to_owned()), ("status", status.to_string())];
        self.requests.get_or_create(&labels).inc();
        self.request_seconds.get_or_create(&[("route", route.to_owned())]).observe(took.as_secs_f64());
    }

    /// Counts one handler that panicked.
    pub(crate) fn panic(&self) {
        self.panics.inc();
    }

    /// Counts one request that was not let in.
    pub(crate) fn auth_failure(&self, reason: &'static str) {
        self.auth_failures.get_or_create(&[("reason", reason.to_owned())]).inc();
    }

    /// Counts a connection for as long as the value lives.
    pub(crate) fn connection(&self) -> Connection {
        self.connections.inc();
        Connection(self.connections.clone())
    }

    /// The same for one that brings syslog.
    pub(crate) fn syslog_connection(&self) -> Connection {
        self.syslog_connections.inc();
        Connection(self.syslog_connections.clone())
    }

    fn of(&self, tenant: &Tenant) -> Arc<OfTenant> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tenants.entry(tenant.clone()).or_insert_with(|| Arc::new(OfTenant::new(tenant))))
    }

    /// Writes the instance's figures, the tenant's, and how its checks, log and outbox stand.
    pub(crate) fn expose(
        &self,
        tenant: &Tenant,
        stand: Stand,
        scheduler: Option<SchedulerGauge>,
        openmetrics: bool,
    ) -> String {
        let of = self.of(tenant);
        let mut instance = Registry::default();
        if let Some(scheduler) = scheduler {
            instance.register_collector(Box::new(Scheduling(scheduler)));
        }
        let labels = [("tenant".into(), tenant.as_str().to_owned().into())];
        let mut standing = Registry::with_labels(labels.into_iter());
        standing.register_collector(Box::new(stand));
        let mut text = String::new();
        let written = text::encode_registry(&mut text, &self.registry)
            .and_then(|()| text::encode_registry(&mut text, &of.registry))
            .and_then(|()| text::encode_registry(&mut text, &standing))
            .and_then(|()| text::encode_registry(&mut text, &instance))
            .and_then(|()| text::encode_eof(&mut text));
        written.expect("invariant: writing to a String does not fail");
        if openmetrics { text } else { downgrade(&text) }
    }
}

impl OfTenant {
    fn new(tenant: &Tenant) -> Self {
        let labels = [("tenant".into(), tenant.as_str().to_owned().into())];
        let mut registry = Registry::with_labels(labels.into_iter());
        let results = add(&mut registry, &name::CHECK_RESULTS);
        let appends = add(&mut registry, &name::LEDGER_APPENDS);
        let syslog = add(&mut registry, &name::SYSLOG_MESSAGES);
        let notifications = add(&mut registry, &name::NOTIFICATIONS);
        let alerts = add(&mut registry, &name::ALERTS);
        let lost = add(&mut registry, &name::LOST);
        let dropped = add(&mut registry, &name::ALERTS_DROPPED);
        let subject_keys = add(&mut registry, &name::SUBJECT_KEYS);
        let keys_minted = add(&mut registry, &name::KEYS_MINTED);
        let mints_refused = add(&mut registry, &name::MINTS_REFUSED);
        Self {
            registry,
            results,
            appends,
            syslog,
            notifications,
            alerts,
            lost,
            dropped,
            subject_keys,
            keys_minted,
            mints_refused,
        }
    }
}

/// A connection that is open.
pub(crate) struct Connection(Gauge<i64, AtomicI64>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn add<M: Metric + Clone + Default>(registry: &mut Registry, entry: &name::Entry) -> M {
    let metric = M::default();
    register(registry, entry, metric.clone());
    metric
}

/// The registry adds `_total`, `_info` and the full stop after the help.
fn register(registry: &mut Registry, entry: &name::Entry, metric: impl Metric) {
    registry.register(entry.family(), entry.help, metric);
}

const STATES: [State; 4] = [State::Up, State::Degraded, State::Down, State::Unknown];

/// How a tenant stands at the moment of a scrape.
#[derive(Debug)]
pub(crate) struct Stand {
    pub(crate) checks: Vec<Check>,
    pub(crate) ledgers: Vec<LedgerGauge>,
    pub(crate) outboxes: Vec<OutboxGauge>,
    pub(crate) outputs: Vec<OutputGauge>,
    pub(crate) ready: bool,
    pub(crate) lake_is_open: bool,
}

type Written = Result<(), std::fmt::Error>;

impl Collector for Stand {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Written {
        gauges(&mut encoder, &name::READY, [([], f64::from(u8::from(self.ready)))])?;
        gauges(&mut encoder, &name::LAKE_OPEN, [([], f64::from(u8::from(self.lake_is_open)))])?;
        self.encode_checks(&mut encoder)?;
        let ledgers = || self.ledgers.iter();
        gauges(&mut encoder, &name::LEDGER_RECORDS, ledgers().map(|log| ([], real(log.records))))?;
        gauges(&mut encoder, &name::LEDGER_COMMITTED, ledgers().map(|log| ([], real(log.committed))))?;
        gauges(&mut encoder, &name::LEDGER_COMMIT_LAG, ledgers().map(|log| ([], log.commit_lag.as_secs_f64())))?;
        let pending = self.outboxes.iter().map(|outbox| ([("channel", outbox.channel.clone())], real(outbox.pending)));
        gauges(&mut encoder, &name::OUTBOX_PENDING, pending)?;
        self.encode_outputs(&mut encoder)
    }
}

impl Stand {
    fn encode_outputs(&self, encoder: &mut DescriptorEncoder) -> Written {
        let of = |output: &OutputGauge| ("output", output.output.clone());
        let events = self.outputs.iter().flat_map(|output| {
            output.events.map(|(outcome, count)| ([of(output), ("outcome", outcome.to_owned())], count))
        });
        counters(encoder, &name::OUTPUT_EVENTS, events)?;
        counters(encoder, &name::OUTPUT_BYTES, self.outputs.iter().map(|output| ([of(output)], output.bytes)))?;
        counters(encoder, &name::OUTPUT_FAILURES, self.outputs.iter().map(|output| ([of(output)], output.failures)))?;
        let lags = self.outputs.iter().map(|output| ([of(output)], output.lag.as_secs_f64()));
        gauges(encoder, &name::OUTPUT_LAG, lags)
    }

    fn encode_checks(&self, encoder: &mut DescriptorEncoder) -> Written {
        let labels = |check: &Check| [("check", check.result.id.clone()), ("kind", check.result.kind.clone())];
        let up = self.checks.iter().filter_map(|check| match check.result.state {
            State::Up | State::Degraded => Some((labels(check), 1.0)),
            State::Down => Some((labels(check), 0.0)),
            // Neither 0 nor 1 would be true, and a gap in the series is what "unknown" looks like.
            State::Unknown => None,
        });
        gauges(encoder, &name::CHECK_UP, up)?;
        let states = self.checks.iter().flat_map(|check| {
            STATES.into_iter().map(move |state| {
                let [id, kind] = labels(check);
                ([id, kind, ("state", state.as_str().to_owned())], f64::from(u8::from(check.result.state == state)))
            })
        });
        gauges(encoder, &name::CHECK_STATE, states)?;
        let durations = self.checks.iter().flat_map(|check| {
            check.result.timings_ms.phases().map(move |(phase, ms)| {
                let [id, kind] = labels(check);
                ([id, kind, ("phase", phase.to_owned())], ms / 1e3)
            })
        });
        gauges(encoder, &name::CHECK_DURATION, durations)?;
        let seen = self.checks.iter().map(|check| (labels(check), instant(check.result.checked_at)));
        gauges(encoder, &name::CHECK_AT, seen)
    }
}

fn gauges<const N: usize>(
    encoder: &mut DescriptorEncoder,
    entry: &name::Entry,
    rows: impl IntoIterator<Item = ([Pair; N], f64)>,
) -> Written {
    let mut family = encoder.encode_descriptor(entry.family(), &sentence(entry), None, MetricType::Gauge)?;
    for (labels, value) in rows {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn counters<const N: usize>(
    encoder: &mut DescriptorEncoder,
    entry: &name::Entry,
    rows: impl IntoIterator<Item = ([Pair; N], u64)>,
) -> Written {
    let mut family = encoder.encode_descriptor(entry.family(), &sentence(entry), None, MetricType::Counter)?;
    for (labels, value) in rows {
        ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn sentence(entry: &name::Entry) -> String {
    format!("{}.", entry.help)
}

#[expect(clippy::cast_precision_loss, reason = "a count beyond 2^53 may lose its last digits in a metric")]
const fn real(count: u64) -> f64 {
    count as f64
}

fn instant(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

/// How the checks of this instance are run, whosever they are.
#[derive(Debug)]
struct Scheduling(SchedulerGauge);

impl Collector for Scheduling {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Written {
        let Self(SchedulerGauge { running, runs, skipped, lag, lag_sum }) = self;
        one(&mut encoder, &name::SCHEDULER_RUNS, &ConstCounter::new(*runs))?;
        one(&mut encoder, &name::SCHEDULER_RUNNING, &ConstGauge::new(real(*running)))?;
        one(&mut encoder, &name::SCHEDULER_SKIPPED, &ConstCounter::new(*skipped))?;
        let entry = &name::SCHEDULER_LAG;
        let mut family = encoder.encode_descriptor(entry.family(), &sentence(entry), None, MetricType::Histogram)?;
        let count = lag.iter().map(|(_, runs)| runs).sum();
        family.encode_histogram::<prometheus_client::encoding::NoLabelSet>(*lag_sum, count, lag, None)
    }
}

/// The figures of the process, under the names that every Prometheus client uses.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Written {
        let Some(usage) = process::usage() else { return Ok(()) };
        one(&mut encoder, &name::PROCESS_CPU, &ConstCounter::new(usage.cpu_seconds))?;
        one(&mut encoder, &name::PROCESS_MEMORY, &ConstGauge::new(real(usage.resident_bytes)))?;
        one(&mut encoder, &name::PROCESS_FDS, &ConstGauge::new(real(usage.open_fds)))
    }
}

fn one<M: EncodeMetric + TypedMetric>(encoder: &mut DescriptorEncoder, entry: &name::Entry, metric: &M) -> Written {
    let family = encoder.encode_descriptor(entry.family(), &sentence(entry), None, M::TYPE)?;
    metric.encode(family)
}

/// Rewrites OpenMetrics as Prometheus text 0.0.4: there the family of a counter is named as its sample, `info` is a
/// gauge, and there is no end mark.
fn downgrade(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let types: BTreeMap<&str, &str> =
        openmetrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    for line in openmetrics.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "EOF", ..] | ["#", "UNIT", ..] => continue,
            ["#", word @ ("HELP" | "TYPE"), family, rest] => {
                let (suffix, ty) = match types.get(family).copied() {
                    Some("counter") => ("_total", "counter"),
                    Some("info") => ("_info", "gauge"),
                    Some(other) => ("", other),
                    None => ("", "untyped"),
                };
                let rest = if *word == "TYPE" { ty } else { rest };
                text.push_str(&format!("# {word} {family}{suffix} {rest}"));
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::HeaderMap;
    use model::{Severity, Tenant};

    use super::*;
    use crate::doubles::{Answered, Fixture, check, now, request};

    /// An instance that has counted something of everything.
    async fn busy() -> Fixture {
        let fixture = Fixture::new().await;
        let (metrics, tenant) = (&fixture.parts.metrics, Tenant::default());
        for (id, state) in [("web", State::Up), ("db", State::Down), ("dns", State::Unknown), ("s3", State::Degraded)] {
            fixture.board.put(check(id, id, state));
            metrics.check_result(&tenant, &check(id, id, state).result);
        }
        metrics.ledger_append(&tenant, "durable", 5);
        metrics.ledger_sync(Duration::from_millis(4));
        for outcome in [Outcome::Delivered, Outcome::Retry, Outcome::Failed] {
            metrics.notification(&tenant, "mail", outcome);
        }
        metrics.alert(&tenant, Severity::Error);
        metrics.redactions("email", 3);
        metrics.keystore(&tenant, 5, 2, 1);
        metrics.syslog(&Tenant::default(), "syslog-udp", "durable", 4);
        metrics.lost(&tenant, "queue_full", model::Kind::CheckResult, 2);
        metrics.config_loaded(false, now());
        metrics.config_loaded(true, now());
        metrics.panic();
        metrics.check_result(&Tenant::new("other").expect("valid"), &check("secret", "s", State::Up).result);
        fixture.open("/nope").await;
        fixture.open("/metrics").await;
        fixture
    }

    async fn scrape(fixture: &Fixture, accept: &str) -> Answered {
        let mut request = request("GET", "/metrics", &fixture.admin, "");
        let headers: &mut HeaderMap = request.headers_mut();
        headers.insert("accept", accept.parse().expect("a header"));
        fixture.send(request).await
    }

    const PROMETHEUS_ASKS: &str = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;q=0.3";

    #[tokio::test]
    async fn each_metric_is_in_the_reference_and_each_entry_is_exposed() {
        let fixture = busy().await;
        let answer = scrape(&fixture, PROMETHEUS_ASKS).await;
        assert_eq!(answer.header("content-type"), OPENMETRICS);
        assert!(answer.text.ends_with("# EOF\n"));
        let exposed: BTreeSet<(&str, &str)> =
            answer.text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
        let known: BTreeSet<(&str, &str)> = name::ALL.iter().map(|entry| (entry.family(), entry.ty)).collect();
        assert_eq!(exposed, known);
        for entry in name::ALL {
            let sample = answer.text.lines().find(|line| !line.starts_with('#') && line.starts_with(entry.name));
            let sample = sample.unwrap_or_else(|| panic!("{} has no sample", entry.name));
            for label in entry.labels {
                assert!(sample.contains(&format!("{label}=\"")), "{sample} lacks {label}");
            }
        }
    }

    #[tokio::test]
    async fn figures_say_how_things_stand() {
        let fixture = busy().await;
        let text = scrape(&fixture, PROMETHEUS_ASKS).await.text;
        for line in [
            r#"dihya_check_up{check="web",kind="http",tenant="default"} 1.0"#,
            r#"dihya_check_up{check="s3",kind="http",tenant="default"} 1.0"#,
            r#"dihya_check_up{check="db",kind="http",tenant="default"} 0.0"#,
            r#"dihya_check_state{check="dns",kind="http",state="unknown",tenant="default"} 1.0"#,
            r#"dihya_check_duration_seconds{check="web",kind="http",phase="total",tenant="default"} 0.02"#,
            r#"dihya_ledger_appends_total{outcome="durable",tenant="default"} 5"#,
            r#"dihya_ledger_commit_lag_seconds{tenant="default"} 0.25"#,
            r#"dihya_outbox_pending{channel="mail",tenant="default"} 3.0"#,
            r#"dihya_privacy_redactions_total{type="email"} 3"#,
            r#"dihya_privacy_subject_keys{tenant="default"} 5"#,
            r#"dihya_privacy_keys_minted_total{tenant="default"} 2"#,
            r#"dihya_privacy_mints_refused_total{tenant="default"} 1"#,
            r#"dihya_auth_failures_total{reason="missing"} 1"#,
            r#"dihya_http_requests_total{method="GET",route="none",status="404"} 1"#,
            r#"dihya_signals_lost_total{cause="queue_full",kind="check-result",tenant="default"} 2"#,
            "dihya_scheduler_skipped_total 1",
            r#"dihya_scheduler_lag_seconds_bucket{le="0.1"} 6"#,
            r#"dihya_scheduler_lag_seconds_bucket{le="+Inf"} 7"#,
            "dihya_config_reload_success 1",
            "dihya_ready{tenant=\"default\"} 1.0",
            "dihya_lake_open{tenant=\"default\"} 1.0",
        ] {
            let (name, labels) = line.split_once('{').unwrap_or((line, ""));
            let labels: BTreeSet<&str> = labels.split('}').next().unwrap_or_default().split(',').collect();
            let value = line.rsplit(' ').next().expect("a value");
            let found = text.lines().any(|candidate| {
                let (candidate_name, rest) = candidate.split_once('{').unwrap_or((candidate, ""));
                let candidate_labels: BTreeSet<&str> = rest.split('}').next().unwrap_or_default().split(',').collect();
                candidate_name == name && candidate_labels == labels && candidate.ends_with(&format!(" {value}"))
                    || candidate == line
            });
            assert!(found, "{line}\n{text}");
        }
        assert!(!text.contains("dihya_check_up{check=\"dns\""), "unknown is neither 0 nor 1");
        assert!(!text.contains("secret") && !text.contains("\"other\""), "another tenant's figures are its own");
    }

    #[tokio::test]
    async fn the_older_format_has_no_words_that_it_does_not_know() {
        let fixture = busy().await;
        for accept in ["*/*", "text/plain", "application/openmetrics-text;q=0"] {
            let answer = scrape(&fixture, accept).await;
            assert_eq!(answer.header("content-type"), PROMETHEUS);
            assert!(!answer.text.contains("# EOF") && !answer.text.contains("# UNIT"));
            assert!(answer.text.contains("# TYPE dihya_http_requests_total counter\n"));
            assert!(answer.text.contains("# TYPE dihya_build_info gauge\n"));
            assert!(answer.text.contains("# TYPE dihya_ledger_sync_seconds histogram\n"));
        }
        assert_eq!(downgrade("# HELP x y\nx 1\n# UNIT x s\n# EOF\n"), "# HELP x y\nx 1\n");
    }

    #[tokio::test]
    async fn a_check_that_is_gone_is_forgotten() {
        let fixture = busy().await;
        let counted = r#"dihya_check_results_total{tenant="default",check="db""#;
        assert!(scrape(&fixture, "*/*").await.text.contains(counted));
        fixture.parts.metrics.forget_check(&Tenant::default(), "db", "http");
        assert!(!scrape(&fixture, "*/*").await.text.contains(counted));
        let connection = fixture.parts.metrics.connection();
        assert!(scrape(&fixture, "*/*").await.text.contains("dihya_http_connections 1"));
        drop(connection);
        assert_eq!(Metrics::default().connections.get(), 0);
    }
}
