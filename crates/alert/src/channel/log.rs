//! `kind: log`: JSON lines in the Elastic Common Schema, as Filebeat and every other shipper read them.
//!
//! A line counts as delivered once it is synced. One alert is one line, so that a dashboard can count alerts; a test or
//! a notice is one line of its own.

use std::io::Write as _;
use std::sync::Arc;

use disk::Rotating;
use jiff::tz::TimeZone;
use model::{Alert, BoxFuture, Clock, LabelSet as _, Severity};
use privacy::Redactor;
use serde_json::{Map, Value, json};

use super::build::Parts;
use super::config::LogConfig;
use super::{Channel, SendError};
use crate::message;
use crate::notification::{Notification, NotifiedAlert, Reason, Status};

/// Writes JSON lines.
pub(super) struct Log {
    sink: Arc<Sink>,
    clock: Arc<dyn Clock>,
    redactor: Arc<Redactor>,
    zone: TimeZone,
}

impl Log {
    pub(super) fn new(config: &LogConfig, parts: &Parts) -> Self {
        let sink = match &config.path {
            None => Sink::Out,
            Some(path) => Sink::File(Rotating::new(
                Arc::clone(&parts.disk),
                parts.directory.join(path),
                config.rotate_size,
                config.rotate_count,
            )),
        };
        Self {
            sink: Arc::new(sink),
            clock: Arc::clone(&parts.clock),
            redactor: Arc::clone(&parts.redactor),
            zone: config.time_zone.clone(),
        }
    }
}

impl Channel for Log {
    fn send<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move {
            let message = message::render(notification, self.clock.now(), &self.zone, &self.redactor);
            let lines = lines(notification, message.short(), &self.zone, &self.redactor);
            let sink = Arc::clone(&self.sink);
            // A sync may take long; it must not hold up the other tasks of the thread.
            let written = tokio::task::spawn_blocking(move || sink.append(lines.as_bytes())).await;
            match written {
                Ok(Ok(())) => Ok(()),
                Ok(Err(reason)) => Err(SendError::later(reason)),
                Err(_) => Err(SendError::later("the write was interrupted")),
            }
        })
    }

    fn kind(&self) -> &'static str {
        "log"
    }

    fn pages_people(&self) -> bool {
        false
    }
}

enum Sink {
    Out,
    File(Rotating),
}

impl Sink {
    fn append(&self, lines: &[u8]) -> Result<(), String> {
        match self {
            Self::Out => {
                let mut out = std::io::stdout().lock();
                out.write_all(lines)
                    .and_then(|()| out.flush())
                    .map_err(|_| "could not write to standard output".to_owned())
            }
            Self::File(file) => file.append(lines).map_err(|error| {
                if error.is_full() {
                    "the disk is full".to_owned()
                } else {
                    format!("could not {} the file", error.doing)
                }
            }),
        }
    }
}

/// Writes a notification as lines.
fn lines(notification: &Notification, short: &str, zone: &TimeZone, redactor: &Redactor) -> String {
    let mut lines = String::new();
    if notification.alerts.is_empty() {
        lines.push_str(&line(notification, None, short, redactor).to_string());
        lines.push('\n');
    }
    for alert in &notification.alerts {
        let message = message::line(notification, alert, zone, redactor);
        lines.push_str(&line(notification, Some(alert), &message, redactor).to_string());
        lines.push('\n');
    }
    lines
}

fn line(notification: &Notification, alert: Option<&NotifiedAlert>, message: &str, redactor: &Redactor) -> Value {
    let status = alert.map_or(notification.status, |alert| alert.status);
    let severity = alert.map_or(notification.severity, |alert| alert.severity);
    let firing = status == Status::Firing;
    let about = about(notification.reason, status);
    let clean = |text: &str| Value::from(redactor.redact(text).into_owned());
    let mut line = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() && value != "" {
            line.insert(key.to_owned(), value);
        }
    };
    put("@timestamp", notification.at.to_string().into());
    put("log.level", level(severity, firing).into());
    put("message", message.into());
    put("ecs.version", "8.17.0".into());
    put("log.logger", "dihya.alert".into());
    put("event.kind", if about.is_alert { "alert" } else { "event" }.into());
    put("event.category", json!([category(alert)]));
    put("event.type", json!([about.kind]));
    put("event.action", about.action.into());
    put("event.outcome", about.outcome.into());
    put("event.severity", (severity as u64).into());
    put("event.dataset", "dihya.alert".into());
    put("organization.id", notification.tenant.to_string().into());
    put("dihya.notification", notification.id.to_string().into());
    put("dihya.reason", serde_json::to_value(notification.reason).unwrap_or_default());
    put("dihya.receiver", notification.receiver.clone().into());
    put("dihya.channel", notification.channel.clone().into());
    put("dihya.attempt", notification.attempt.into());
    put("dihya.sector", alert.map_or(notification.sector, |alert| alert.sector).as_str().into());
    put("dihya.group_key", clean(&notification.group_key));
    if let Some(incident) = &notification.incident {
        put("dihya.incident", incident.id.to_string().into());
        put("dihya.incident_title", clean(&incident.title));
        put("dihya.incident_opened_at", incident.opened_at.to_string().into());
    }
    if let Some(alert) = alert {
        put("event.id", alert.fingerprint().into());
        put("event.start", alert.starts_at.to_string().into());
        put("event.end", alert.ends_at.map_or(Value::Null, |end| end.to_string().into()));
        put("event.url", clean(&alert.generator_url));
        put("rule.name", clean(alert.labels.value(Alert::NAME)));
        put("service.name", clean(alert.labels.value(Alert::SERVICE)));
        let texts = |map: &model::Labels| -> Value {
            Value::Object(map.iter().map(|(name, text)| (name.replace('.', "_"), clean(text))).collect())
        };
        put("labels", texts(&alert.labels));
        put("dihya.annotations", texts(&alert.annotations));
    }
    Value::Object(line)
}

/// What a line is about, in the words of the Elastic Common Schema.
struct About {
    is_alert: bool,
    kind: &'static str,
    action: &'static str,
    outcome: &'static str,
}

/// A test is no alert, and one that is written has passed.
const fn about(reason: Reason, status: Status) -> About {
    match (reason, status) {
        (Reason::Test, _) => About { is_alert: false, kind: "info", action: "channel-test", outcome: "success" },
        (Reason::Notice, _) => About { is_alert: false, kind: "info", action: "notice", outcome: "failure" },
        (_, Status::Firing) => About { is_alert: true, kind: "start", action: "alert-firing", outcome: "failure" },
        (_, Status::Resolved) => About { is_alert: true, kind: "end", action: "alert-resolved", outcome: "success" },
    }
}

const fn level(severity: Severity, firing: bool) -> &'static str {
    match severity {
        _ if !firing => "info",
        Severity::Info => "info",
        Severity::Warning => "warn",
        Severity::Error => "error",
        Severity::Critical => "critical",
    }
}

/// Returns the category of the Elastic Common Schema that a check's kind falls into.
fn category(alert: Option<&NotifiedAlert>) -> &'static str {
    let kind = alert.map(|alert| alert.labels.value("kind")).unwrap_or_default();
    match kind {
        "http" | "https" | "websocket" | "grpc" => "web",
        "tcp" | "tls" | "dns" | "icmp" | "ssh" => "network",
        "postgres" | "postgresql" | "mysql" | "mariadb" | "redis" | "mongodb" => "database",
        "smtp" | "imap" => "email",
        "file" | "s3" => "file",
        _ => "host",
    }
}

#[cfg(test)]
mod tests {
    use disk::Disk as _;
    use model::StepClock;

    use super::*;
    use crate::message::tests::sample;

    #[test]
    fn each_alert_is_a_line_in_the_common_schema() {
        let mut notification = sample();
        notification.alerts[0].annotations.insert("contact".into(), "ana@example.org".into());
        let redactor = Redactor::new();
        let written = lines(&notification, "short", &TimeZone::UTC, &redactor);
        let pretty: Vec<String> = written
            .lines()
            .map(|line| format!("{:#}", serde_json::from_str::<Value>(line).expect("is JSON")))
            .collect();
        expect_test::expect_file!["testdata/log.json"].assert_eq(&pretty.join("\n"));
        notification.alerts.clear();
        notification.incident = None;
        assert_eq!(lines(&notification, "short", &TimeZone::UTC, &redactor).lines().count(), 1);
    }

    /// A test that passed stood in the log as an alert that fires, with the outcome `failure`.
    #[test]
    fn a_test_is_no_alert_and_what_was_written_has_passed() {
        let written = |reason| {
            let mut notification = Notification { reason, text: "self-test".into(), ..sample() };
            notification.alerts.clear();
            notification.incident = None;
            notification.severity = Severity::Info;
            let line = lines(&notification, "short", &TimeZone::UTC, &Redactor::new());
            let line: Value = serde_json::from_str(&line).expect("is JSON");
            ["event.kind", "event.action", "event.outcome", "log.level"]
                .map(|key| line[key].as_str().unwrap_or_default().to_owned())
        };
        assert_eq!(written(Reason::Test), ["event", "channel-test", "success", "info"]);
        assert_eq!(written(Reason::Notice), ["event", "notice", "failure", "info"]);
        assert_eq!(written(Reason::New), ["alert", "alert-firing", "failure", "info"]);
    }

    #[test]
    fn kinds_and_levels_map_to_the_common_schema() {
        let mut alert = sample().alerts.remove(0);
        for (kind, expected) in [
            ("http", "web"),
            ("dns", "network"),
            ("redis", "database"),
            ("smtp", "email"),
            ("s3", "file"),
            ("x", "host"),
        ] {
            alert.labels.insert("kind".into(), kind.into());
            assert_eq!(category(Some(&alert)), expected);
        }
        let levels = Severity::ALL.map(|severity| level(severity, true));
        assert_eq!(levels, ["info", "warn", "error", "critical"]);
        assert_eq!(level(Severity::Critical, false), "info");
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_is_tried_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let parts = Parts {
            disk: Arc::new(disk::OsDisk),
            clock: Arc::new(StepClock::new(model::Timestamp::UNIX_EPOCH)),
            redactor: Arc::new(Redactor::new()),
            directory: dir.path().to_owned(),
        };
        let config = LogConfig { path: Some("x".into()), ..LogConfig::default() };
        disk::OsDisk.create_dir_all(&dir.path().join("x")).expect("a directory in the way");
        let log = Log::new(&config, &parts);
        let error = log.send(&sample()).await.expect_err("cannot be written");
        assert!(!error.permanent && error.reason.contains("could not"), "{error}");
        assert_eq!((log.kind(), log.pages_people()), ("log", false));
        let out = Log::new(&LogConfig::default(), &parts);
        assert_eq!(out.send(&sample()).await, Ok(()));
    }
}
