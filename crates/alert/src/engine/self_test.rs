//! Tests each channel on a schedule, because one that nobody uses for months fails on the day it is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use model::{Alert, Body, Intent, Labels, Sector, SelfTest, Severity};

use super::drive::until;
use super::{Setup, Shared, command};
use crate::channel::Channel;
use crate::events;
use crate::incidents::{Message, later};
use crate::notification::{Notification, NotifiedAlert, Reason, Status};

/// The name of the alert of a channel that failed its test.
pub(crate) const CHANNEL_FAILS: &str = "ChannelSelfTestFailed";
/// The name of the alert of a channel that a notification was given up on.
pub(crate) const GIVEN_UP: &str = "NotificationGivenUp";
/// How long that alert fires after the last one that was given up.
const GIVEN_UP_FOR: Duration = Duration::from_secs(3_600);
/// Most channels that hear of a failure beside those that the routes lead to.
const HEARERS_MAX: usize = 32;
/// Longest test of a channel.
const TEST_MAX: Duration = Duration::from_secs(60);
/// Longest time after the start until the first test.
const FIRST_MAX: Duration = Duration::from_secs(600);
/// How often to look whether the configuration has changed.
const LOOK: Duration = Duration::from_secs(60);

pub(super) async fn run(shared: Arc<Shared>, started: Timestamp) {
    let mut stop = shared.stop.subscribe();
    let mut changed = shared.changed.subscribe();
    let mut last: BTreeMap<String, Timestamp> = BTreeMap::new();
    loop {
        changed.mark_unchanged();
        let setup = shared.setup();
        let now = shared.time.now();
        let mut wait = LOOK;
        if let Some(interval) = setup.config.dihya.self_test {
            let names: Vec<String> = tested(&setup).map(|(name, _)| name.clone()).collect();
            last.retain(|name, _| names.contains(name));
            for name in names {
                let due = last.get(&name).map_or(later(started, interval.min(FIRST_MAX)), |at| later(*at, interval));
                if due <= now {
                    last.insert(name.clone(), now);
                    test(&shared, &setup, &name).await;
                }
                wait = wait.min(until(now, due).max(Duration::from_millis(1)));
            }
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            _ = changed.changed() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Yields the channels that are tested: those that can be without disturbing anybody, and those that were asked for by
/// name.
fn tested(setup: &Setup) -> impl Iterator<Item = (&String, &Arc<dyn Channel>)> {
    setup.channels.iter().filter(|(name, channel)| sends(setup, name, &***channel) || channel.probe().is_some())
}

/// Tells whether a test is sent through a channel.
fn sends(setup: &Setup, name: &str, channel: &dyn Channel) -> bool {
    !channel.pages_people() || setup.config.dihya.self_test_channels.iter().any(|asked| asked == name)
}

async fn test(shared: &Shared, setup: &Setup, name: &str) {
    let Some(channel) = setup.channels.get(name) else { return };
    let notification = command::plain(shared, name, "", Reason::Test, "self-test", shared.time.now());
    let attempt = match channel.probe() {
        Some(probe) if !sends(setup, name, &**channel) => probe,
        _ => channel.send(&notification),
    };
    let reason = match tokio::time::timeout(TEST_MAX, attempt).await {
        Ok(Ok(())) => String::new(),
        Ok(Err(error)) => error.reason,
        Err(_elapsed) => "the test took too long".to_owned(),
    };
    let now = shared.time.now();
    let passed = reason.is_empty();
    let what = "channel".to_owned();
    let result = SelfTest { what, target: name.to_owned(), passed, reason: reason.clone(), at: now };
    let mut bodies = vec![Body::from(result)];
    let known = unwell(shared).contains(&(CHANNEL_FAILS.to_owned(), name.to_owned()));
    if !passed {
        // Until the test after the next one, should that be the last we hear of it.
        let interval = setup.config.dihya.self_test.unwrap_or_default();
        bodies.extend(failure(shared, setup, (CHANNEL_FAILS, name), &reason, later(now, interval.saturating_mul(2))));
    } else if known {
        bodies.push(alert((CHANNEL_FAILS, name), &reason, None, now, now).into());
    }
    if let Err(error) = shared.admit_all(bodies).await {
        events::self_test_unrecorded(&shared.tenant, name, &error);
    }
}

/// Says as an alert that something was given up on a channel: whoever reads no log learns of it through another.
pub(super) async fn tell_given_up(shared: &Shared, name: &str, reason: &str) {
    let until = later(shared.time.now(), GIVEN_UP_FOR);
    let bodies = failure(shared, &shared.setup(), (GIVEN_UP, name), reason, until);
    if let Err(error) = shared.admit_all(bodies).await {
        events::self_test_unrecorded(&shared.tenant, name, &error);
    }
}

/// Returns which channels fail, with the name of the alert that says so.
fn unwell(shared: &Shared) -> BTreeSet<(String, String)> {
    shared.with_incidents(|incidents, now, _| {
        let ours = |name: &str| [CHANNEL_FAILS, GIVEN_UP].contains(&name);
        let failing = incidents.alerts().values().filter(|t| ours(t.alert.name()) && incidents.is_firing(t, now));
        let channel = |t: &crate::incidents::Tracked| t.alert.labels.get("channel").cloned();
        failing.filter_map(|t| Some((t.alert.name().to_owned(), channel(t)?))).collect()
    })
}

/// Makes the alert of a channel that failed. It goes along its routes; the first healthy channel hears of it at once,
/// and so does each that no route leads to, the first time that it is said.
fn failure(shared: &Shared, setup: &Setup, about: (&str, &str), reason: &str, until: Timestamp) -> Vec<Body> {
    let now = shared.time.now();
    let unwell = unwell(shared);
    let sick: BTreeSet<&str> = unwell.iter().map(|(_, channel)| channel.as_str()).collect();
    let mut others: Vec<&String> =
        setup.channels.keys().filter(|other| *other != about.1 && !sick.contains(other.as_str())).collect();
    if others.is_empty() {
        // None is known to work: better one that failed its last test than none.
        others = setup.channels.keys().filter(|other| *other != about.1).collect();
    }
    let alert = alert(about, reason, others.first().map(|other| (*other).clone()), now, until);
    let mut bodies = Vec::new();
    if !unwell.contains(&(about.0.to_owned(), about.1.to_owned())) {
        let routes = setup.config.route.matching(&alert.labels).into_iter();
        let receivers = routes.filter_map(|route| setup.config.receivers.get(&route.receiver));
        let routed: BTreeSet<&String> =
            receivers.flat_map(|receiver| &receiver.integrations).map(|integration| &integration.channel).collect();
        let hearers = others.iter().skip(1).filter(|other| !routed.contains(**other)).take(HEARERS_MAX);
        bodies.extend(hearers.map(|other| intent(shared, setup, other, &alert, now).into()));
    }
    bodies.push(alert.into());
    bodies
}

/// Makes the notification of an alert through one channel, outside all groups.
fn intent(shared: &Shared, setup: &Setup, channel: &str, alert: &Alert, now: Timestamp) -> Intent {
    let told = NotifiedAlert {
        status: Status::Firing,
        labels: alert.labels.clone(),
        annotations: alert.annotations.clone(),
        starts_at: now,
        ends_at: None,
        generator_url: String::new(),
        severity: alert.severity,
        sector: alert.sector,
    };
    let notification = Notification {
        severity: alert.severity,
        common_labels: alert.labels.clone(),
        common_annotations: alert.annotations.clone(),
        alerts: vec![told],
        ..command::plain(shared, channel, "", Reason::Direct, "", now)
    };
    Intent {
        id: notification.id.clone(),
        incident: None,
        receiver: String::new(),
        channel: channel.to_owned(),
        firing: true,
        at: now,
        give_up_at: later(now, setup.config.dihya.give_up_after),
        message: Message::plain(&notification),
    }
}

fn alert(
    (alertname, name): (&str, &str),
    reason: &str,
    channel: Option<String>,
    now: Timestamp,
    until: Timestamp,
) -> Alert {
    Alert {
        labels: Labels::from([
            (Alert::NAME.to_owned(), alertname.to_owned()),
            ("channel".to_owned(), name.to_owned()),
            (Alert::SEVERITY.to_owned(), Severity::Error.to_string()),
        ]),
        annotations: Labels::from([
            ("summary".to_owned(), format!("{alertname}: {name}")),
            ("description".to_owned(), reason.to_owned()),
        ]),
        starts_at: now,
        ends_at: Some(until),
        generator_url: None,
        severity: Severity::Error,
        sector: Sector::None,
        channel,
    }
}
