//! The life of alerts, incidents and notifications, minute by minute, and random histories.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use model::{
    Alert, Body, Delivery, IncidentAction, IncidentTransition, Intent, LabelSet as _, Labels, MatchOp, Matcher,
    Outcome, Recorded, Sector, SeededRng, Severity, Signal, SilenceAction, SilenceChange, SourceId, Tenant,
};
use proptest::prelude::*;

use super::*;
use crate::config::tests::read;
use crate::notification::{Notification, Reason, Status};
use crate::send::CHECK_DOWN;

/// A ledger of one tenant and what follows from it.
struct World {
    incidents: Incidents,
    rng: SeededRng,
    now: Timestamp,
    ledger: Vec<Recorded>,
    maintained: Labels,
    config: Arc<Config>,
    checks: Checks,
    /// Channels that take nothing, and what waits for them.
    dead: Vec<String>,
    waiting: Vec<Intent>,
}

fn delivered(intent: &Intent, at: Timestamp) -> Delivery {
    Delivery {
        intent: intent.id.clone(),
        attempt: 1,
        outcome: Outcome::Delivered,
        at,
        channel: intent.channel.clone(),
        reason: String::new(),
        next_at: None,
    }
}

fn start() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().expect("a time")
}

impl World {
    fn new(yaml: &str) -> Self {
        Self::with_checks(yaml, Checks::default())
    }

    fn with_checks(yaml: &str, checks: Checks) -> Self {
        let config = Arc::new(read(yaml).unwrap_or_else(|problems| panic!("{problems}")).config);
        Self {
            incidents: Incidents::restore(Tenant::default(), Arc::clone(&config), checks.clone(), Snapshot::default()),
            rng: SeededRng::new(1),
            now: start(),
            ledger: Vec::new(),
            maintained: Labels::new(),
            config,
            checks,
            dead: Vec::new(),
            waiting: Vec::new(),
        }
    }

    fn last_intent(&self) -> &Intent {
        let intents = self.ledger.iter().rev().find_map(|recorded| match &recorded.signal.body {
            Body::Intent(intent) => Some(intent),
            _ => None,
        });
        intents.expect("an intent")
    }

    /// All channels take again what waited for them.
    fn mend(&mut self) {
        self.dead.clear();
        for intent in std::mem::take(&mut self.waiting) {
            let delivery = delivered(&intent, self.now);
            self.admit(SourceId::default(), delivery);
        }
    }

    fn admit(&mut self, source: SourceId, body: impl Into<Body>) {
        let signal = Signal { tenant: Tenant::default(), source, body: body.into() };
        let position = self.ledger.len() as u64 * 2;
        let recorded = Recorded { position, admitted_at: self.now, signal };
        self.incidents.fold(&recorded);
        self.ledger.push(recorded);
    }

    fn fire(&mut self, labels: &str) {
        let alert = alert(labels, self.now);
        self.admit(SourceId([1; 16]), alert);
    }

    fn end(&mut self, labels: &str) {
        let alert = Alert { ends_at: Some(self.now), ..alert(labels, self.now) };
        self.admit(SourceId([1; 16]), alert);
    }

    /// The alert of a check of ours.
    fn check(&mut self, check: &str, down: bool) {
        let alert = alert(&format!("alertname={CHECK_DOWN} check={check} severity=critical"), self.now);
        let alert = Alert { ends_at: (!down).then_some(self.now), ..alert };
        self.admit(SourceId::default(), alert);
    }

    fn act(&mut self, action: IncidentAction, id: &IncidentId) {
        let at = self.now;
        self.admit(
            SourceId::default(),
            IncidentTransition {
                incident: id.clone(),
                action,
                at,
                by: "ana".into(),
                key: String::new(),
                title: String::new(),
                severity: Severity::Info,
                sector: Sector::None,
                labels: Labels::new(),
                note: "seen".into(),
            },
        );
    }

    fn silence(&mut self, id: &str, matcher: &str, minutes: i64) {
        let change = SilenceChange {
            id: id.into(),
            action: SilenceAction::Set,
            matchers: crate::matcher::parse(matcher).expect("a matcher").iter().map(|m| m.matcher().clone()).collect(),
            starts_at: self.now,
            ends_at: minute(self.now, minutes),
            created_by: "ana".into(),
            comment: "works".into(),
            at: self.now,
        };
        self.admit(SourceId::default(), change);
    }

    /// Decides and admits until all is said; returns what was said as text.
    fn settle(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        for _ in 0..20 {
            let maintained = self.maintained.clone();
            let in_maintenance =
                move |labels: &Labels, _: Timestamp| maintained.iter().any(|(n, v)| labels.get(n) == Some(v));
            let view = View { in_maintenance: &in_maintenance, rng: &self.rng, is_full: &|_| false };
            let signals = self.incidents.decide(self.now, &view);
            if signals.is_empty() {
                return said;
            }
            for signal in signals {
                said.extend(describe(&signal.body, self.now));
                let delivery = match &signal.body {
                    Body::Intent(intent) if !self.dead.contains(&intent.channel) => Some(delivered(intent, self.now)),
                    Body::Intent(intent) => {
                        self.waiting.push(intent.clone());
                        None
                    }
                    _ => None,
                };
                self.admit(signal.source, signal.body);
                if let Some(delivery) = delivery {
                    self.admit(SourceId::default(), delivery);
                }
            }
        }
        panic!("never settles: {said:?}");
    }

    /// Lets time pass, waking as the incidents ask, and returns what was said.
    fn run(&mut self, for_: Duration) -> Vec<String> {
        let end = later(self.now, for_);
        let mut said = self.settle();
        while let Some(wake) = self.incidents.next_wake().filter(|wake| *wake <= end) {
            // Time never stands still, whatever is asked.
            self.now = wake.max(self.now);
            let more = self.settle();
            if more.is_empty() && self.incidents.next_wake() == Some(wake) {
                self.now = later(self.now, Duration::from_millis(100));
            }
            said.extend(more);
        }
        self.now = self.now.max(end);
        said.extend(self.settle());
        said
    }

    /// What was told to people only.
    fn told(&mut self, for_: Duration) -> Vec<String> {
        self.run(for_).into_iter().filter(|line| line.contains("->")).collect()
    }

    fn open(&self) -> Vec<&Incident> {
        self.incidents.incidents().values().filter(|incident| incident.is_open()).collect()
    }

    /// Folds the same records from nothing, with a restart from the snapshot at each of `cuts`.
    fn replayed(&self, cuts: &[usize]) -> Snapshot {
        let fresh =
            |snapshot| Incidents::restore(Tenant::default(), Arc::clone(&self.config), self.checks.clone(), snapshot);
        let mut incidents = fresh(Snapshot::default());
        for (i, recorded) in self.ledger.iter().enumerate() {
            if cuts.contains(&i) {
                let kept = serde_json::to_string(&incidents.snapshot().alerts).expect("serialises");
                let mut snapshot = incidents.snapshot();
                snapshot.alerts = serde_json::from_str(&kept).expect("parses");
                incidents = fresh(snapshot);
            }
            incidents.fold(recorded);
        }
        incidents.snapshot()
    }
}

fn minute(at: Timestamp, minutes: i64) -> Timestamp {
    at.checked_add(jiff::SignedDuration::from_mins(minutes)).expect("in range")
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

fn alert(labels: &str, at: Timestamp) -> Alert {
    let labels: Labels = labels
        .split_whitespace()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Alert {
        severity: labels.value("severity").parse().unwrap_or_default(),
        labels,
        annotations: Labels::new(),
        starts_at: at,
        ends_at: None,
        generator_url: None,
        sector: Sector::None,
        channel: None,
    }
}

fn describe(body: &Body, now: Timestamp) -> Option<String> {
    let since = now.duration_since(start()).as_secs();
    let clock = format!("{}:{:02}", since / 60, since % 60);
    match body {
        Body::Incident(step) => Some(format!("{clock} {:?} {}", step.action, step.key)),
        Body::Intent(intent) => {
            let n = notification(intent);
            let alerts: Vec<String> = n
                .alerts
                .iter()
                .map(|alert| {
                    let end = if alert.status == Status::Resolved { " over" } else { "" };
                    format!("{}{end}", alert.labels.get("n").or_else(|| alert.labels.get("check")).map_or("?", |n| n))
                })
                .collect();
            let to = if intent.receiver.is_empty() { "direct" } else { &intent.receiver };
            Some(format!("{clock} {:?} -> {to}/{}: {}", n.reason, intent.channel, alerts.join(", ")))
        }
        Body::Alert(alert) => Some(format!("{clock} alert {} ends {}", alert.name(), alert.ends_at.is_some())),
        _ => None,
    }
}

fn notification(intent: &Intent) -> Notification {
    Message::notification(&intent.message).expect("a notification")
}

const SIMPLE: &str = "
route: {receiver: ops, group_by: [alertname], group_wait: 30s, group_interval: 5m, repeat_interval: 1h}
receivers: [{name: ops, dihya_configs: [{channel: mail}]}]
";

#[test]
fn a_group_waits_then_tells_of_changes_at_its_ticks_and_repeats() {
    let mut world = World::new(SIMPLE);
    world.fire("alertname=A n=1");
    assert_eq!(world.run(Duration::from_secs(10)), [r#"0:00 Opened {alertname="A"}"#]);
    world.fire("alertname=A n=2");
    assert_eq!(world.run(minutes(1)), [r#"0:10 Joined {alertname="A"}"#, "0:30 New -> ops/mail: 1, 2"]);
    // Alerts are sent again, as Prometheus does; that is no news. A third one waits for the tick at 5:30.
    for labels in ["alertname=A n=1", "alertname=A n=2", "alertname=A n=3"] {
        world.fire(labels);
    }
    assert_eq!(world.told(minutes(4)), Vec::<String>::new());
    for n in 1..=3 {
        world.fire(&format!("alertname=A n={n}"));
    }
    assert_eq!(world.told(minutes(1)), ["5:30 Changed -> ops/mail: 1, 2, 3"]);
    world.end("alertname=A n=2");
    assert_eq!(world.told(minutes(2)), Vec::<String>::new());
    // Each alert is renewed before it times out; the hour is over at 70:30, as the last telling was at 10:30.
    let mut told = Vec::new();
    for _ in 0..32 {
        world.fire("alertname=A n=1");
        world.fire("alertname=A n=3");
        told.extend(world.told(minutes(2)));
    }
    assert_eq!(told, ["10:30 Changed -> ops/mail: 1, 3, 2 over", "70:30 Repeat -> ops/mail: 1, 3"]);
}

#[test]
fn an_end_is_told_at_the_next_tick_and_the_group_begins_anew() {
    let mut world = World::new(SIMPLE);
    world.fire("alertname=A n=1");
    assert_eq!(world.told(minutes(1)), ["0:30 New -> ops/mail: 1"]);
    world.end("alertname=A n=1");
    assert_eq!(world.run(minutes(5)), [r#"1:00 Resolved {alertname="A"}"#, "5:30 Resolved -> ops/mail: 1 over"]);
    assert!(world.incidents.alerts().is_empty() && world.incidents.snapshot().groups.is_empty());
    world.fire("alertname=A n=1");
    assert_eq!(world.run(minutes(1)), [r#"6:00 Reopened {alertname="A"}"#, "6:30 New -> ops/mail: 1"]);
    world.end("alertname=A n=1");
    world.told(minutes(20));
    world.fire("alertname=A n=1");
    assert_eq!(world.run(Duration::ZERO), [r#"27:00 Opened {alertname="A"}"#]);
}

#[test]
fn alerts_from_outside_time_out_and_those_of_our_checks_do_not() {
    let mut world = World::new(SIMPLE);
    world.fire("alertname=A n=1");
    world.check("web", true);
    let said = world.run(minutes(30));
    assert!(said.contains(&r#"5:00 Resolved {alertname="A"}"#.to_owned()), "{said:?}");
    assert!(said.contains(&"5:30 Resolved -> ops/mail: 1 over".to_owned()), "{said:?}");
    assert_eq!(world.open().len(), 1);
    assert_eq!(world.open()[0].labels.value("check"), "web");
    world.check("web", false);
    assert_eq!(world.told(minutes(5)), ["30:30 Resolved -> ops/mail: web over"]);
}

#[test]
fn what_fires_and_stops_before_anybody_heard_is_not_told() {
    let mut world = World::new(SIMPLE);
    world.fire("alertname=A n=1");
    world.run(Duration::from_secs(10));
    world.end("alertname=A n=1");
    assert_eq!(world.run(minutes(20)), [r#"0:10 Resolved {alertname="A"}"#]);
    // An end of what never fired is nothing; with its record the other alert is forgotten.
    world.end("alertname=B n=1");
    assert!(world.incidents.alerts().is_empty());
    assert!(world.run(minutes(1)).is_empty());
}

/// Alerts beyond what can be kept were named in the program's own log only.
#[test]
fn what_finds_no_room_is_counted_and_recorded() {
    let mut world = World::new(SIMPLE);
    world.incidents.keep_at_most(2);
    let fire = |world: &mut World, ns: std::ops::Range<u32>| {
        for n in ns {
            world.fire(&format!("alertname=A n={n}"));
            world.now = later(world.now, Duration::from_secs(1));
        }
    };
    let gaps = |world: &World| -> Vec<(u64, Timestamp, Timestamp)> {
        let gaps = world.ledger.iter().filter_map(|recorded| match &recorded.signal.body {
            Body::Gap(gap) if gap.cause == "alerts_full" && gap.what == "alert" => {
                Some((gap.count, gap.from, gap.until))
            }
            _ => None,
        });
        gaps.collect()
    };
    let second = |n| later(start(), Duration::from_secs(n));
    fire(&mut world, 0..5);
    world.settle();
    assert_eq!(gaps(&world), [(3, second(2), second(4))]);
    // A flood of them makes no flood of records; none is left out, and none is said twice.
    fire(&mut world, 5..9);
    world.settle();
    assert_eq!(gaps(&world).len(), 1);
    world.run(minutes(1));
    assert_eq!(gaps(&world)[1..], [(4, second(5), second(8))]);
    world.run(minutes(5));
    assert_eq!((gaps(&world).len(), world.incidents.dropped_in_all()), (2, 7));
    // What is folded again after a restart is said already.
    let mut again =
        Incidents::restore(Tenant::default(), Arc::clone(&world.config), Checks::default(), Snapshot::default());
    again.keep_at_most(2);
    world.ledger.iter().for_each(|recorded| again.fold(recorded));
    assert!(again.dropped.is_none());
}

/// Told past the outbox while the server did not answer, it was told again along its routes once it did.
#[test]
fn what_was_told_past_the_outbox_is_told_to_the_others_only() {
    let yaml = "
route: {receiver: ops, group_by: [alertname], group_wait: 30s, group_interval: 5m}
receivers: [{name: ops, dihya_configs: [{channel: mail}, {channel: pager}]}]
";
    let admit = |world: &mut World, told: &[&str], channel: Option<&str>| {
        let ends_at = Some(minute(world.now, 5));
        let sent = Alert { channel: channel.map(str::to_owned), ends_at, ..alert("alertname=A n=1", world.now) };
        let told = told.iter().map(|name| (*name).to_owned()).collect();
        let bodies = told_already(&world.config, &Tenant::default(), &sent, &told, world.now, &world.rng);
        world.admit(SourceId::COMMAND, sent);
        let count = bodies.len();
        bodies.into_iter().for_each(|body| world.admit(SourceId::default(), body));
        count
    };
    let mut world = World::new(yaml);
    assert_eq!(admit(&mut world, &["mail"], None), 2);
    assert_eq!(world.told(minutes(4)), ["0:30 New -> ops/pager: 1"]);
    // Who was told past the outbox hears of its end as everybody does.
    let told = world.told(minutes(20));
    assert!(told.iter().any(|line| line.contains("mail: 1 over")), "{told:?}");
    // One that named a channel; and one that nobody else is to be told of.
    let mut world = World::new(yaml);
    assert_eq!(admit(&mut world, &["log", "mail"], Some("log")), 4);
    assert_eq!(world.told(minutes(4)), ["0:30 New -> ops/pager: 1"]);
    let mut world = World::new(yaml);
    admit(&mut world, &["mail", "pager"], None);
    assert_eq!(world.told(minutes(4)), Vec::<String>::new());
    world.run(minutes(2));
    assert!(world.open().is_empty(), "all have heard, so its time-out ends it");
    // The others hear of it though their route waits for longer than it was to fire.
    let mut world = World::new(&yaml.replace("30s", "20m"));
    admit(&mut world, &["mail"], None);
    assert_eq!(world.told(minutes(19)), Vec::<String>::new());
    let told = world.told(minutes(30));
    assert!(told.contains(&"20:00 New -> ops/pager: 1".to_owned()), "{told:?}");
    assert!(!told.iter().any(|line| line.contains("New -> ops/mail")), "{told:?}");
}

#[test]
fn an_old_alert_is_told_at_once() {
    let mut world = World::new(SIMPLE);
    let old = alert("alertname=A n=1", minute(world.now, -5));
    world.admit(SourceId([1; 16]), old);
    assert_eq!(world.told(Duration::ZERO), ["0:00 New -> ops/mail: 1"]);
}

#[test]
fn who_does_not_want_ends_is_not_told_of_them_and_hears_of_the_next_fire() {
    let mut world = World::new(
        "
route: {receiver: ops, group_by: [alertname], group_wait: 0s}
receivers: [{name: ops, dihya_configs: [{channel: mail, send_resolved: false}, {channel: pager}, {channel: mail}]}]
",
    );
    world.fire("alertname=A n=1");
    assert_eq!(world.told(minutes(1)), ["0:00 New -> ops/mail: 1", "0:00 New -> ops/pager: 1"]);
    world.end("alertname=A n=1");
    assert_eq!(world.told(minutes(5)), ["5:00 Resolved -> ops/pager: 1 over"]);
    world.fire("alertname=A n=1");
    assert_eq!(world.told(minutes(1)), ["6:00 New -> ops/mail: 1", "6:00 New -> ops/pager: 1"]);
}

#[test]
fn an_acknowledged_incident_is_not_repeated_and_its_end_is_told() {
    let mut world = World::new(&SIMPLE.replace("1h", "10m"));
    world.check("web", true);
    assert_eq!(world.told(minutes(11)), ["0:30 New -> ops/mail: web", "10:30 Repeat -> ops/mail: web"]);
    let id = world.open()[0].id.clone();
    world.act(IncidentAction::Noted, &id);
    world.act(IncidentAction::Published, &id);
    world.act(IncidentAction::Acknowledged, &id);
    assert_eq!(world.told(minutes(60)), Vec::<String>::new());
    assert_eq!(world.open()[0].acknowledged.as_ref().map(|(by, _)| by.as_str()), Some("ana"));
    // What joins is news all the same.
    world.check("db", true);
    assert_eq!(world.told(minutes(5)), ["75:30 Changed -> ops/mail: web, db"]);
    world.check("web", false);
    world.check("db", false);
    assert_eq!(world.told(minutes(10)), ["80:30 Resolved -> ops/mail: web over, db over"]);
    // An act on what is not there changes nothing.
    world.act(IncidentAction::Acknowledged, &IncidentId("nobody".into()));
    assert!(world.open().is_empty());
}

#[test]
fn unacknowledged_critical_incidents_are_reminded_of() {
    let mut world = World::new(&format!("{SIMPLE}dihya: {{reminder_interval: 20m}}"));
    world.check("web", true);
    world.fire("alertname=B n=1 severity=warning");
    let said = world.run(minutes(45));
    let reminders: Vec<&String> = said.iter().filter(|line| line.contains("Remind")).collect();
    assert_eq!(
        reminders,
        [
            r#"20:00 Reminded {alertname="CheckDown"}"#,
            "20:00 Reminder -> ops/mail: web",
            r#"40:00 Reminded {alertname="CheckDown"}"#,
            "40:00 Reminder -> ops/mail: web",
        ]
    );
    let id = world.open()[0].id.clone();
    world.act(IncidentAction::Acknowledged, &id);
    assert!(world.run(minutes(50)).is_empty());
}

#[test]
fn a_silence_keeps_quiet_and_its_end_lets_the_news_through_at_the_next_tick() {
    let mut world = World::new(SIMPLE);
    world.check("web", true);
    world.check("db", true);
    world.silence("s1", "check=web", 7);
    assert_eq!(world.told(minutes(6)), ["0:30 New -> ops/mail: db"]);
    assert_eq!(
        world.incidents.mute(
            fingerprint("web"),
            world.now,
            &View { in_maintenance: &|_, _| false, rng: &world.rng, is_full: &|_| false }
        ),
        Some(Mute::Silence("s1".into()))
    );
    assert_eq!(world.told(minutes(6)), ["10:30 Changed -> ops/mail: db, web"]);
    // What was told as firing and stops under a silence is told when the silence is over.
    world.silence("s2", "check=~\"web|db\"", 30);
    world.check("web", false);
    world.check("db", false);
    assert_eq!(world.told(minutes(20)), Vec::<String>::new());
    let mut expired = world.incidents.silences().find(|s| s.id == "s2").expect("is there").clone();
    expired.action = SilenceAction::Expired;
    expired.ends_at = world.now;
    world.admit(SourceId::default(), expired);
    assert_eq!(world.told(minutes(6)), ["32:00 Resolved -> ops/mail: db over, web over"]);
    assert!(world.incidents.alerts().is_empty());
    // Long after, the silences are forgotten.
    world.now = minute(world.now, 6 * 24 * 60);
    world.fire("alertname=A n=1");
    assert_eq!(world.incidents.silences().count(), 0);
}

fn fingerprint(check: &str) -> u64 {
    alert(&format!("alertname={CHECK_DOWN} check={check} severity=critical"), start()).fingerprint()
}

#[test]
fn a_silence_that_cannot_be_read_silences_nothing() {
    let mut world = World::new(SIMPLE);
    for (id, matchers) in [("bad", vec![("a", "(")]), ("empty", vec![])] {
        let matchers = matchers
            .into_iter()
            .map(|(name, value)| Matcher { name: name.into(), op: MatchOp::Matches, value: value.into() })
            .collect();
        let (starts_at, ends_at, at) = (world.now, minute(world.now, 60), world.now);
        let change = SilenceChange {
            id: id.into(),
            action: SilenceAction::Set,
            matchers,
            starts_at,
            ends_at,
            created_by: "ana".into(),
            comment: String::new(),
            at,
        };
        world.admit(SourceId::default(), change);
    }
    world.fire("alertname=A n=1");
    assert_eq!(world.told(minutes(1)), ["0:30 New -> ops/mail: 1"]);
}

#[test]
fn silences_are_warned_of_once_before_they_end() {
    let mut world = World::new(SIMPLE);
    world.silence("s", "a=b", 10);
    let mut warned = BTreeSet::new();
    world.incidents.warn_of_ending_silences(world.now, minute(world.now, 5), &mut warned);
    assert!(warned.is_empty());
    world.incidents.warn_of_ending_silences(world.now, minute(world.now, 15), &mut warned);
    assert_eq!(warned.len(), 1);
    world.incidents.warn_of_ending_silences(minute(world.now, 11), minute(world.now, 15), &mut warned);
    assert!(warned.is_empty());
}

fn tree(pairs: &[(&str, &str)]) -> Checks {
    let parents = pairs.iter().map(|(child, parent)| ((*child).to_owned(), vec![(*parent).to_owned()])).collect();
    Checks { known: None, parents }
}

#[test]
fn a_failing_parent_keeps_its_children_quiet_and_gathers_them() {
    let yaml = SIMPLE.replace("[alertname]", "[check]");
    let mut world = World::with_checks(&yaml, tree(&[("web", "host"), ("shop", "web")]));
    for check in ["host", "web", "shop", "lone"] {
        world.check(check, true);
    }
    let mut said = world.run(minutes(10));
    said.sort();
    assert_eq!(
        said,
        [
            "0:00 Joined check=host",
            "0:00 Joined check=host",
            "0:00 Opened check=host",
            r#"0:00 Opened {check="lone"}"#,
            "0:30 New -> ops/mail: host",
            "0:30 New -> ops/mail: lone",
        ]
    );
    let intent = world.last_intent();
    assert!(notification(intent).incident.is_some());
    let summaries = world.ledger.iter().filter_map(|recorded| match &recorded.signal.body {
        Body::Intent(intent) => notification(intent).incident,
        _ => None,
    });
    assert_eq!(summaries.map(|incident| incident.suppressed).max(), Some(2));
}

#[test]
fn a_circle_of_dependencies_ends() {
    let mut world = World::with_checks(SIMPLE, tree(&[("a", "b"), ("b", "c"), ("c", "a"), ("d", "d")]));
    for check in ["a", "b", "c", "d"] {
        world.check(check, true);
    }
    assert_eq!(world.told(minutes(1)), ["0:30 New -> ops/mail: d"]);
}

#[test]
fn children_are_told_once_the_parent_is_back_and_their_ends_always() {
    let yaml = SIMPLE.replace("[alertname]", "[check]");
    let mut world = World::with_checks(&yaml, tree(&[("web", "host"), ("db", "host")]));
    world.check("host", true);
    world.check("web", true);
    assert_eq!(world.told(minutes(10)), ["0:30 New -> ops/mail: host"]);
    assert_eq!(world.open().len(), 1);
    assert_eq!(world.open()[0].members.len(), 2);
    world.check("host", false);
    // The child has group_wait to come back by itself.
    assert_eq!(world.told(minutes(5)), ["10:30 New -> ops/mail: web", "10:30 Resolved -> ops/mail: host over"]);
    // The parent fails again: the child's end is told all the same.
    world.check("host", true);
    world.check("web", false);
    let told = world.told(minutes(10));
    assert!(told.contains(&"15:30 Resolved -> ops/mail: web over".to_owned()), "{told:?}");
    // A child that comes and goes while its parent fails is never told.
    world.check("db", true);
    world.told(minutes(1));
    world.check("db", false);
    assert_eq!(world.told(minutes(10)), Vec::<String>::new());
}

#[test]
fn maintenance_keeps_quiet_by_window_and_by_label() {
    let mut world = World::new(SIMPLE);
    world.maintained = Labels::from([("check".into(), "web".into())]);
    world.check("web", true);
    let alert = alert(&format!("alertname={CHECK_DOWN} check=db in_maintenance=true"), world.now);
    world.admit(SourceId::default(), alert);
    assert_eq!(world.told(minutes(10)), Vec::<String>::new());
    world.maintained.clear();
    assert_eq!(world.told(minutes(1)), ["10:15 New -> ops/mail: web"]);
}

#[test]
fn a_channel_named_by_the_sender_hears_at_once_whatever_the_routes_say() {
    let mut world = World::new(
        "
route: {receiver: nobody, routes: [{matchers: [team=x], receiver: ops, group_wait: 30s}]}
receivers: [{name: nobody}, {name: ops, dihya_configs: [{channel: mail}, {channel: pager}]}]
",
    );
    let mut sent = alert("alertname=Message n=1", world.now);
    sent.channel = Some("log".into());
    world.admit(SourceId([1; 16]), sent);
    assert_eq!(world.told(minutes(20)), ["0:00 Direct -> direct/log: 1"]);
    world.end("alertname=Nothing");
    assert!(world.incidents.alerts().is_empty());
    // A channel that a route leads to as well is told once, the others as the route says.
    let mut sent = alert("alertname=Message n=2 team=x", world.now);
    sent.channel = Some("mail".into());
    world.admit(SourceId([1; 16]), sent);
    assert_eq!(world.told(minutes(1)), ["20:00 Direct -> direct/mail: 2", "20:30 New -> ops/pager: 2"]);
}

#[test]
fn alerts_of_checks_that_are_gone_are_ended() {
    let mut world = World::new(SIMPLE);
    world.check("web", true);
    world.told(minutes(1));
    world.incidents.set_checks(Checks { known: Some(["db".to_owned()].into()), ..Checks::default() });
    let said = world.run(minutes(6));
    assert_eq!(
        said,
        [
            "1:00 alert CheckDown ends true",
            r#"1:00 Resolved {alertname="CheckDown"}"#,
            "5:30 Resolved -> ops/mail: web over"
        ]
    );
}

#[test]
fn nobody_speaks_for_a_check_by_its_label() {
    let yaml = SIMPLE.replace("[alertname]", "[alertname, check]");
    let mut world = World::with_checks(&yaml, tree(&[("child", "gateway")]));
    // A caller says that a check of ours is down, which it is not: what depends on it is told all the same.
    world.fire("alertname=CheckDown check=gateway severity=critical");
    world.check("child", true);
    assert_eq!(world.told(minutes(1)), ["0:30 New -> ops/mail: gateway", "0:30 New -> ops/mail: child"]);
    // A caller sends the very labels of the alert that fires, and even says that it is over.
    let child = "alertname=CheckDown check=child severity=critical";
    world.fire(child);
    world.end(child);
    assert!(world.told(minutes(30)).iter().all(|line| !line.contains("child")));
    assert!(world.open().iter().any(|incident| incident.labels.value("check") == "child"));
    assert!(world.incidents.alerts()[&fingerprint("child")].own);
    // What a caller said before in the name of a check does not count as heard once the check itself is down.
    world.fire("alertname=CheckDown check=web severity=critical");
    assert_eq!(world.told(minutes(1)), ["31:30 New -> ops/mail: web"]);
    world.check("web", true);
    assert!(world.told(minutes(6)).contains(&"36:30 New -> ops/mail: web".to_owned()));
}

#[test]
fn labels_of_a_caller_end_and_mute_nothing() {
    let mut world = World::new(SIMPLE);
    world.incidents.set_checks(Checks { known: Some(BTreeSet::new()), ..Checks::default() });
    world.maintained = Labels::from([("check".into(), "x1".into())]);
    world.fire("alertname=A n=1 check=x1 in_maintenance=true");
    assert_eq!(world.run(minutes(1)), [r#"0:00 Opened {alertname="A"}"#, "0:30 New -> ops/mail: 1"]);
    // Of a check that ended, its name is free for others, and still not believed.
    world.check("y", true);
    world.check("y", false);
    world.fire("alertname=CheckDown check=y severity=critical");
    assert_eq!(world.incidents.alerts()[&fingerprint("y")].check(), None);
    assert!(world.run(minutes(1)).iter().all(|line| !line.contains("ends")));
}

#[test]
fn one_that_comes_as_the_last_one_goes_keeps_the_incident_open() {
    let mut world = World::new(SIMPLE);
    world.fire("alertname=A n=1");
    world.run(minutes(1));
    world.end("alertname=A n=1");
    world.fire("alertname=A n=2");
    assert_eq!(world.run(Duration::ZERO), [r#"1:00 Joined {alertname="A"}"#, r#"1:00 Left {alertname="A"}"#]);
    // Ended and renewed before the engine looked: nothing happened.
    world.end("alertname=A n=2");
    world.fire("alertname=A n=2");
    assert_eq!(world.run(Duration::ZERO), Vec::<String>::new());
    assert_eq!(world.open()[0].members.len(), 1);
}

#[test]
fn a_storm_is_told_in_one_breath_and_the_rest_is_counted() {
    let mut world = World::new(SIMPLE);
    let long = "x".repeat(3_000);
    for n in 0..10_000 {
        let mut alert = alert(&format!("alertname=A n={n}"), world.now);
        alert.annotations.insert("description".into(), long.clone());
        alert.annotations.insert("flapping".into(), "true".into());
        world.admit(SourceId([1; 16]), alert);
    }
    world.run(minutes(1));
    let intents: Vec<&Intent> = world
        .ledger
        .iter()
        .filter_map(|recorded| match &recorded.signal.body {
            Body::Intent(intent) => Some(intent),
            _ => None,
        })
        .collect();
    assert_eq!(intents.len(), 1);
    let notification = notification(intents[0]);
    assert_eq!((notification.alerts.len(), notification.truncated), (100, 9_900));
    assert!(intents[0].message.to_string().len() < 512 << 10);
    let incident = notification.incident.expect("has one");
    assert_eq!((incident.firing, incident.flapping), (10_000, true));
    assert_eq!(world.open().len(), 1);
    let told = Message::told(&intents[0].message).expect("is ours");
    assert_eq!((told.firing.len(), told.all), (10_000, false));
}

#[test]
fn more_than_can_be_named_are_told_as_all() {
    let mut world = World::new(&SIMPLE.replace("30s", "0s"));
    for n in 0..17_000 {
        world.fire(&format!("alertname=A n={n}"));
    }
    assert_eq!(world.told(Duration::ZERO).len(), 1);
    let group = world.incidents.snapshot().groups.into_values().next().expect("is there");
    assert_eq!(group.told.into_values().next().expect("is there").firing.len(), 17_000);
    assert_eq!(world.told(minutes(4)), Vec::<String>::new());
}

#[test]
fn what_is_too_long_even_without_annotations_loses_alerts() {
    let mut world = World::new(&SIMPLE.replace("30s", "0s"));
    for n in 0..100 {
        let mut alert = alert(&format!("alertname=A n={n}"), world.now);
        alert.labels.extend((0..10).map(|i| (format!("l{i}"), "y".repeat(2_000))));
        alert.sector = if n == 0 { Sector::Health } else { Sector::Education };
        world.admit(SourceId([1; 16]), alert);
    }
    world.run(Duration::ZERO);
    let intent = world.last_intent();
    let notification = notification(intent);
    assert!(notification.alerts.len() < 20 && notification.truncated > 80);
    assert!(intent.message.to_string().len() < 512 << 10);
}

/// A certificate that had expired and was then self-signed was told as expired for ever.
#[test]
fn a_reopened_incident_takes_the_title_of_what_fires_now() {
    let mut world = World::new(SIMPLE);
    let says = |world: &World, summary: &str| {
        let mut alert = alert("alertname=A n=1", world.now);
        alert.annotations.insert("summary".into(), summary.into());
        alert
    };
    let first = says(&world, "it has expired");
    world.admit(SourceId([1; 16]), first);
    world.run(minutes(1));
    world.end("alertname=A n=1");
    world.run(minutes(5));
    let second = says(&world, "it is self-signed");
    world.admit(SourceId([1; 16]), second);
    world.run(minutes(1));
    let incident = world.open().first().map(|incident| (incident.reopened, incident.title.clone()));
    assert_eq!(incident, Some((1, "it is self-signed".to_owned())));
    let notification = Message::notification(&world.last_intent().message).expect("is one");
    assert_eq!(notification.incident.expect("has one").title, "it is self-signed");
}

#[test]
fn a_title_is_the_summary_or_says_what_it_is_about() {
    let mut world = World::new(&SIMPLE.replace("[alertname]", "['...']"));
    let mut with_summary = alert("alertname=A n=1", world.now);
    with_summary.annotations.insert("summary".into(), "é".repeat(300));
    world.admit(SourceId([1; 16]), with_summary);
    world.fire("alertname=B instance=h:1");
    world.fire("alertname=C");
    world.run(Duration::ZERO);
    let mut titles: Vec<String> =
        world.open().iter().map(|incident| incident.title.chars().take(5).collect()).collect();
    titles.sort();
    assert_eq!(titles, ["B: h:", "C", "ééééé"]);
    // An incident opened by hand again and again counts as flapping.
    for _ in 0..4 {
        world.end("alertname=C");
        world.run(Duration::from_secs(1));
        world.fire("alertname=C");
        world.run(Duration::from_secs(1));
    }
    assert!(world.open().iter().any(|incident| incident.reopened == 4));
}

#[test]
fn an_incident_whose_records_do_not_fit_its_alerts_is_given_up_on() {
    // Privacy cleared the labels once more and otherwise: the alert is not found. The engine must not try for ever.
    let mut world = World::new(SIMPLE);
    world.fire("alertname=A n=1");
    let view = View { in_maintenance: &|_, _| false, rng: &SeededRng::new(1), is_full: &|_| false };
    let mut decided = 0;
    for _ in 0..5 {
        decided += world.incidents.decide(world.now, &view).len();
    }
    assert_eq!(decided, 2);
    world.incidents.not_admitted();
    assert_eq!(world.incidents.decide(world.now, &view).len(), 1);
    assert_eq!(world.incidents.tenant(), &Tenant::default());
}

#[test]
fn with_the_outbox_full_nothing_more_is_told_and_nothing_is_lost() {
    let mut world = World::new(&SIMPLE.replace("30s", "0s"));
    world.fire("alertname=A n=1");
    world.now = minute(world.now, 1);
    let decide = |world: &mut World, full: bool| {
        let rng = SeededRng::new(3);
        let is_full = move |channel: &str| full && channel == "mail";
        let view = View { in_maintenance: &|_, _| false, rng: &rng, is_full: &is_full };
        let signals = world.incidents.decide(world.now, &view);
        let said: Vec<String> = signals.iter().filter_map(|signal| describe(&signal.body, world.now)).collect();
        signals.into_iter().for_each(|signal| world.admit(signal.source, signal.body));
        said
    };
    assert_eq!(decide(&mut world, true), [r#"1:00 Opened {alertname="A"}"#]);
    assert_eq!(decide(&mut world, true), Vec::<String>::new());
    world.now = later(world.now, Duration::from_secs(1));
    assert_eq!(decide(&mut world, false), ["1:01 New -> ops/mail: 1"]);
}

/// A channel that is full of what it does not take keeps no other one quiet, and is told what is due once it has room.
#[test]
fn a_channel_that_is_full_keeps_no_other_quiet() {
    let mut world = World::new(
        "
route: {receiver: ops, group_by: [alertname], group_wait: 0s}
receivers: [{name: ops, dihya_configs: [{channel: mail}, {channel: pager}]}]
",
    );
    world.fire("alertname=A n=1");
    let decide = |world: &mut World, full: bool| {
        let rng = SeededRng::new(3);
        let is_full = move |channel: &str| full && channel == "mail";
        let view = View { in_maintenance: &|_, _| false, rng: &rng, is_full: &is_full };
        let signals = world.incidents.decide(world.now, &view);
        let said: Vec<String> = signals.iter().filter_map(|signal| describe(&signal.body, world.now)).collect();
        signals.into_iter().for_each(|signal| world.admit(signal.source, signal.body));
        said
    };
    assert_eq!(decide(&mut world, true), [r#"0:00 Opened {alertname="A"}"#]);
    assert_eq!(decide(&mut world, true), ["0:00 New -> ops/pager: 1"]);
    assert_eq!(decide(&mut world, true), Vec::<String>::new());
    world.now = world.incidents.next_wake().expect("asks again");
    assert_eq!(decide(&mut world, false), ["0:01 New -> ops/mail: 1"]);
}

/// An alert that a caller was acknowledged ended with its time-out before anybody was told, when the group waited for
/// longer than that or the server was down.
#[test]
fn what_a_caller_was_acknowledged_is_told_however_late() {
    let sent = |world: &mut World, labels: &str| {
        let alert = Alert { ends_at: Some(minute(world.now, 5)), ..alert(labels, world.now) };
        world.admit(SourceId([1; 16]), alert);
    };
    // A group that waits for longer than the alert is to fire.
    let mut world = World::new(&SIMPLE.replace("30s", "20m"));
    sent(&mut world, "alertname=A n=1");
    assert_eq!(world.told(minutes(19)), Vec::<String>::new());
    assert_eq!(world.told(minutes(30)), ["20:00 New -> ops/mail: 1", "25:00 Resolved -> ops/mail: 1 over"]);
    // One that joins a group right after it was told.
    let mut world = World::new(&SIMPLE.replace("30s", "0s").replace("5m", "10m"));
    world.fire("alertname=A n=1");
    world.told(minutes(1));
    sent(&mut world, "alertname=A n=2");
    assert!(world.told(minutes(12)).iter().any(|line| line.contains("Changed -> ops/mail: ") && line.contains('2')));
    // A server that was down for an hour.
    let mut world = World::new(&SIMPLE.replace("30s", "0s"));
    sent(&mut world, "alertname=A n=1");
    world.now = minute(world.now, 60);
    let snapshot = world.incidents.snapshot();
    let (config, checks) = (Arc::clone(&world.config), world.checks.clone());
    world.incidents = Incidents::restore(Tenant::default(), config, checks, snapshot);
    assert!(world.told(minutes(1)).contains(&"60:00 New -> ops/mail: 1".to_owned()));
    // Nobody to tell, or told for two days that nobody may be: it ends.
    let mut world = World::new("{route: {receiver: none}, receivers: [{name: none}]}");
    sent(&mut world, "alertname=A n=1");
    world.run(minutes(6));
    assert!(world.open().is_empty());
    let mut world = World::new(SIMPLE);
    world.silence("s", "n=1", 48 * 60);
    sent(&mut world, "alertname=A n=1");
    assert_eq!(world.told(minutes(49 * 60)), Vec::<String>::new());
    assert!(world.open().is_empty());
}

/// Five repetitions waited for a channel that was down for a day, and came all at once when it was back.
#[test]
fn a_channel_that_is_down_for_a_day_is_not_told_over_and_over_afterwards() {
    let mut world = World::new(&SIMPLE.replace("30s", "0s"));
    world.dead.push("mail".to_owned());
    world.check("web", true);
    assert_eq!(world.told(minutes(24 * 60)).len(), 1);
    world.mend();
    let told = world.told(minutes(24 * 60));
    assert!(told.iter().all(|line| line.contains("Repeat") || line.contains("Reminder")), "{told:?}");
    assert!(!told.is_empty(), "who has heard is told again in time");
}

#[test]
fn another_configuration_takes_over_what_fires() {
    let mut world = World::new(SIMPLE);
    world.fire("alertname=A n=1");
    world.told(minutes(1));
    let other = "
route: {receiver: ops, group_by: [alertname], group_wait: 30s, routes: [{matchers: [n=1], receiver: dev}]}
receivers: [{name: ops, dihya_configs: [{channel: mail}]}, {name: dev, dihya_configs: [{channel: pager}]}]
";
    world.config = Arc::new(read(other).expect("loads").config);
    world.incidents.set_config(Arc::clone(&world.config));
    assert_eq!(world.told(minutes(1)), ["1:00 New -> dev/pager: 1"]);
    let why = world
        .incidents
        .why(
            alert("alertname=A n=1", world.now).fingerprint(),
            world.now,
            &View { in_maintenance: &|_, _| false, rng: &world.rng, is_full: &|_| false },
        )
        .expect("is known");
    assert!(why.firing && why.mute.is_none());
    assert_eq!(why.tellings.len(), 1);
    assert!(why.tellings[0].told && why.tellings[0].told_at.is_some() && why.tellings[0].next_at.is_some());
    assert_eq!(why.tellings[0].group_key, r#"{}/{n="1"}:{alertname="A"}"#);
}

#[test]
fn records_folded_before_change_nothing() {
    let mut world = World::new(SIMPLE);
    world.fire("alertname=A n=1");
    world.run(minutes(1));
    let before = world.incidents.snapshot();
    let ledger = world.ledger.clone();
    ledger.iter().for_each(|recorded| world.incidents.fold(recorded));
    assert_eq!(world.incidents.snapshot(), before);
    assert!(!world.incidents.take_changes().is_empty());
    assert!(world.incidents.take_changes().is_empty());
}

/// One thing that happens in a random history.
#[derive(Clone, Debug)]
enum Event {
    Fire(u8),
    End(u8),
    Check(u8, bool),
    Silence(u8, u8),
    Acknowledge,
    Wait(u16),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0..6_u8).prop_map(Event::Fire),
        3 => (0..6_u8).prop_map(Event::End),
        4 => (0..4_u8, any::<bool>()).prop_map(|(n, down)| Event::Check(n, down)),
        1 => (0..4_u8, 1..20_u8).prop_map(|(n, minutes)| Event::Silence(n, minutes)),
        1 => Just(Event::Acknowledge),
        6 => (1..600_u16).prop_map(Event::Wait),
    ];
    proptest::collection::vec(event, 1..60)
}

fn happen(world: &mut World, event: &Event) {
    match event {
        Event::Fire(n) => world.fire(&format!("alertname=A{} n={n} severity=critical", n % 3)),
        Event::End(n) => world.end(&format!("alertname=A{} n={n} severity=critical", n % 3)),
        Event::Check(n, down) => world.check(&format!("c{n}"), *down),
        Event::Silence(n, minutes) => world.silence(&format!("s{n}"), &format!("check=c{n}"), i64::from(*minutes)),
        Event::Acknowledge => {
            if let Some(id) = world.open().first().map(|incident| incident.id.clone()) {
                world.act(IncidentAction::Acknowledged, &id);
            }
        }
        Event::Wait(seconds) => {
            world.run(Duration::from_secs(u64::from(*seconds)));
        }
    }
    world.settle();
}

const RANDOM: &str = "
route: {receiver: ops, group_by: [alertname], group_wait: 30s, group_interval: 2m, repeat_interval: 1h,
    routes: [{matchers: ['check=~c0|c1'], receiver: both, group_by: [check], group_wait: 0s}]}
receivers: [{name: ops, dihya_configs: [{channel: mail}]},
    {name: both, dihya_configs: [{channel: mail}, {channel: pager, send_resolved: false}]}]
dihya: {reminder_interval: 15m}
";

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn replayed_with_cuts_anywhere_it_is_the_same(events in events(), cuts in proptest::collection::vec(0..200_usize, 0..5)) {
        let mut world = World::with_checks(RANDOM, tree(&[("c1", "c0"), ("c2", "c0")]));
        let mut rows = BTreeMap::new();
        for event in &events {
            happen(&mut world, event);
            // What a store would hold after each batch.
            for (fingerprint, row) in world.incidents.take_changes().alerts {
                match row {
                    Some(row) => rows.insert(fingerprint, row),
                    None => rows.remove(&fingerprint),
                };
            }
        }
        let mut expected = world.incidents.snapshot();
        prop_assert_eq!(&rows.into_values().collect::<Vec<_>>(), &expected.alerts);
        let mut replayed = world.replayed(&cuts);
        for snapshot in [&mut expected, &mut replayed] {
            // These follow from the rest.
            for group in snapshot.groups.values_mut() {
                group.members.clear();
            }
        }
        prop_assert_eq!(replayed, expected);
    }

    #[test]
    fn nothing_that_fires_goes_untold_and_nothing_is_told_twice(events in events()) {
        let mut world = World::with_checks(RANDOM, tree(&[("c1", "c0"), ("c2", "c0")]));
        for event in &events {
            happen(&mut world, event);
        }
        // All silences end, parents stay as they are, and the longest wait passes while outside alerts are renewed.
        for _ in 0..12 {
            let firing: Vec<Tracked> = world.incidents.alerts().values().filter(|t| !t.own && t.member).cloned().collect();
            for tracked in firing {
                world.admit(SourceId([1; 16]), tracked.alert.clone());
            }
            world.run(Duration::from_secs(240));
        }
        let view = View { in_maintenance: &|_, _| false, rng: &SeededRng::new(9), is_full: &|_| false };
        for (fingerprint, tracked) in world.incidents.alerts() {
            let firing = tracked.is_firing(world.now, world.config.resolve_timeout);
            let why = world.incidents.why(*fingerprint, world.now, &view).expect("is known");
            for telling in why.tellings {
                let quiet = why.mute.is_some();
                prop_assert!(telling.told == firing || quiet, "{:?} {:?}", tracked, telling.channel);
            }
            prop_assert!(tracked.member == firing);
        }
        // No two notifications in a row say the same to the same receiver of the same group, repeats aside.
        let mut last: BTreeMap<(String, String, String), Vec<u64>> = BTreeMap::new();
        for recorded in &world.ledger {
            let Body::Intent(intent) = &recorded.signal.body else { continue };
            let said = notification(intent);
            let firing: Vec<u64> = Message::told(&intent.message).expect("ours").firing.into_iter().collect();
            let key = (said.group_key, intent.receiver.clone(), intent.channel.clone());
            let ends = said.alerts.iter().any(|alert| alert.status == Status::Resolved);
            let before = last.insert(key, firing.clone());
            let again = matches!(said.reason, Reason::Repeat | Reason::Reminder | Reason::New);
            prop_assert!(before.as_ref() != Some(&firing) || ends || again, "{:?}", intent.id);
        }
    }
}
