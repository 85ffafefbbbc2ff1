//! `kind: log`: JSON lines in the Elastic Common Schema, as Filebeat and every other shipper read them.
//!
//! A line counts as delivered once it is synced. One alert is one line, so that a dashboard can count alerts; a test or
//! a notice is one line of its own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use disk::{Disk, DiskFile, Open};
use jiff::tz::TimeZone;
use model::{Alert, BoxFuture, Clock, LabelSet as _, Severity};
use privacy::Redactor;
use serde_json::{Map, Value, json};

use super::build::Parts;
use super::config::LogConfig;
use super::{Channel, SendError};
use crate::message;
use crate::notification::{Notification, NotifiedAlert, Status};

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
            Some(path) => Sink::File(Rotating {
                disk: Arc::clone(&parts.disk),
                path: parts.directory.join(path),
                size_max: config.rotate_size,
                count: config.rotate_count,
                turn: Mutex::new(()),
            }),
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

/// A file that is put aside when it is full.
///
/// It is opened for each write: a command may append beside the server, and whoever moves the file away (logrotate, an
/// operator) finds the next line in a new one. Beside the sync that costs nothing.
struct Rotating {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    size_max: u64,
    count: u32,
    /// One write at a time, so that each sees how the one before ended.
    turn: Mutex<()>,
}

impl Rotating {
    /// Appends whole lines and syncs them. After an error the file is opened anew: what an unconfirmed sync left behind
    /// is unknown (invariant D-2).
    fn append(&self, lines: &[u8]) -> Result<(), disk::Error> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = self.open()?;
        let added = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        let is_full = |len: u64| len > 0 && len.saturating_add(added) > self.size_max;
        if is_full(file.len()?)
            && let Some(_lock) = self.disk.try_lock(&self.lock_path())?
        {
            // Another process may have put it aside in the meantime; one that does so now is left to it.
            if is_full(self.open()?.len()?) {
                self.put_aside()?;
            }
            file = self.open()?;
        }
        let len = file.len()?;
        let mut last = [0];
        if len > 0 && file.read_at(&mut last, len - 1)? == 1 && last != *b"\n" {
            // A line torn by a crash must not swallow the next one. In one write, so that nobody comes between.
            file.write_at(&[b"\n", lines].concat(), len)?;
        } else {
            file.write_at(lines, len)?;
        }
        file.sync_data()
    }

    fn directory(&self) -> &Path {
        self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    fn lock_path(&self) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        self.directory().join(format!(".{name}.lock"))
    }

    fn open(&self) -> Result<Box<dyn DiskFile>, disk::Error> {
        if self.disk.exists(&self.path) {
            return self.disk.open(&self.path, Open::Append);
        }
        self.disk.create_dir_all(self.directory())?;
        let file = self.disk.open(&self.path, Open::Append)?;
        self.disk.sync_dir(self.directory())?;
        Ok(file)
    }

    /// Renames `x` to `x.1`, `x.1` to `x.2` and so on; the oldest goes.
    fn put_aside(&self) -> Result<(), disk::Error> {
        let numbered = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        if self.disk.exists(&numbered(self.count)) {
            self.disk.remove(&numbered(self.count))?;
        }
        for number in (1..self.count).rev() {
            if self.disk.exists(&numbered(number)) {
                self.disk.rename(&numbered(number), &numbered(number + 1))?;
            }
        }
        self.disk.rename(&self.path, &numbered(1))?;
        self.disk.sync_dir(self.directory())
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
    put("event.kind", "alert".into());
    put("event.category", json!([category(alert)]));
    put("event.type", json!([if firing { "start" } else { "end" }]));
    put("event.action", format!("alert-{}", status.as_str()).into());
    put("event.outcome", if firing { "failure" } else { "success" }.into());
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
    use model::StepClock;

    use super::*;
    use crate::message::tests::sample;

    fn rotating(dir: &Path, size_max: u64) -> Rotating {
        Rotating {
            disk: Arc::new(disk::OsDisk),
            path: dir.join("logs/alerts.log"),
            size_max,
            count: 2,
            turn: Mutex::new(()),
        }
    }

    fn text(path: &Path) -> String {
        String::from_utf8(disk::read(&disk::OsDisk, path).expect("is there")).expect("is text")
    }

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

    #[test]
    fn a_full_file_is_put_aside_and_a_torn_line_is_ended() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = rotating(dir.path(), 10);
        for line in ["one\n", "two\n", "three\n", "four\n", "five\n", "six seven\n", "eight\n"] {
            log.append(line.as_bytes()).expect("appends");
        }
        let path = dir.path().join("logs/alerts.log");
        let numbered = |n: &str| dir.path().join(format!("logs/alerts.log.{n}"));
        assert_eq!(
            (text(&path), text(&numbered("1")), text(&numbered("2"))),
            ("eight\n".into(), "six seven\n".into(), "four\nfive\n".into())
        );
        assert!(!numbered("3").exists());

        let torn = disk::OsDisk.open(&path, Open::Write).expect("opens");
        torn.write_at(b"torn", 6).expect("writes");
        let again = rotating(dir.path(), 1_000);
        again.append(b"whole\n").expect("appends");
        assert_eq!(text(&path), "eight\ntorn\nwhole\n");
    }

    /// An operator's command told people while the server stood still; the server's next line was written over it.
    #[test]
    fn processes_that_share_a_file_overwrite_nothing_of_each_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let (server, command) = (rotating(dir.path(), 1_000), rotating(dir.path(), 1_000));
        for (log, line) in [(&server, "one\n"), (&command, "two\n"), (&server, "three\n"), (&command, "four\n")] {
            log.append(line.as_bytes()).expect("appends");
        }
        let path = dir.path().join("logs/alerts.log");
        assert_eq!(text(&path), "one\ntwo\nthree\nfour\n");
        // logrotate moves it away: the next line is in a new file.
        let moved = dir.path().join("logs/moved");
        disk::Disk::rename(&disk::OsDisk, &path, &moved).expect("moves");
        server.append(b"five\n").expect("appends");
        assert_eq!((text(&path), text(&moved)), ("five\n".into(), "one\ntwo\nthree\nfour\n".into()));
        // While another process puts the file aside, nobody else does.
        let full = rotating(dir.path(), 5);
        let lock = disk::OsDisk.try_lock(&full.lock_path()).expect("locks").expect("is free");
        full.append(b"six\n").expect("appends");
        assert_eq!(text(&path), "five\nsix\n");
        drop(lock);
        full.append(b"seven\n").expect("appends");
        assert_eq!(text(&path), "seven\n");
    }

    #[test]
    fn a_crash_loses_no_line_that_was_told() {
        for seed in 0..200 {
            let mut sim = disk::SimDisk::new(seed);
            let mut told: Vec<String> = Vec::new();
            for round in 0..4 {
                let log = Rotating {
                    disk: Arc::new(sim.clone()),
                    path: "/logs/alerts.log".into(),
                    size_max: 1_000_000,
                    count: 2,
                    turn: Mutex::new(()),
                };
                sim.lose_power_after(10 + seed % 7 + round);
                for n in 0..10 {
                    let line = format!("{round}-{n} {}", "x".repeat(600));
                    if log.append(format!("{line}\n").as_bytes()).is_ok() {
                        told.push(line);
                    }
                }
                sim = sim.crash();
            }
            let log = disk::read(&sim, Path::new("/logs/alerts.log")).unwrap_or_default();
            let lines: Vec<&[u8]> = log.split(|byte| *byte == b'\n').collect();
            assert!(told.iter().all(|line| lines.contains(&line.as_bytes())), "seed {seed}");
        }
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
        assert_eq!(rotating(Path::new(""), 1).directory(), Path::new("logs"));
    }
}
