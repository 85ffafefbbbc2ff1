//! Tests each channel on a schedule, because one that nobody uses for months fails on the day it is needed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use model::{Alert, Body, Labels, Sector, SelfTest, Severity};

use super::drive::until;
use super::{Setup, Shared, command};
use crate::channel::Channel;
use crate::events;
use crate::incidents::later;
use crate::notification::Reason;

/// The name of the alert of a channel that failed its test.
pub(crate) const CHANNEL_FAILS: &str = "ChannelSelfTestFailed";
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

/// Yields the channels that are tested: those that disturb nobody, and those that were asked for by name.
fn tested(setup: &Setup) -> impl Iterator<Item = (&String, &Arc<dyn Channel>)> {
    let asked = &setup.config.dihya.self_test_channels;
    setup.channels.iter().filter(|(name, channel)| !channel.pages_people() || asked.contains(*name))
}

async fn test(shared: &Shared, setup: &Setup, name: &str) {
    let Some(channel) = setup.channels.get(name) else { return };
    let notification = command::plain(shared, name, "", Reason::Test, "self-test", shared.time.now());
    let reason = match tokio::time::timeout(TEST_MAX, channel.send(&notification)).await {
        Ok(Ok(())) => String::new(),
        Ok(Err(error)) => error.reason,
        Err(_elapsed) => "the test took too long".to_owned(),
    };
    let now = shared.time.now();
    let passed = reason.is_empty();
    let what = "channel".to_owned();
    let result = SelfTest { what, target: name.to_owned(), passed, reason: reason.clone(), at: now };
    let mut bodies = vec![Body::from(result)];
    let known = shared.with_incidents(|incidents, _, _| {
        incidents
            .alerts()
            .values()
            .any(|t| t.alert.name() == CHANNEL_FAILS && t.alert.labels.get("channel") == Some(&name.to_owned()))
    });
    if !passed || known {
        bodies.push(alert(setup, name, &reason, now).into());
    }
    if let Err(error) = shared.admit_all(bodies).await {
        events::self_test_unrecorded(&shared.tenant, name, &error);
    }
}

/// Makes the alert of a channel that failed, named to another channel so that it is heard; or its end.
fn alert(setup: &Setup, name: &str, reason: &str, now: Timestamp) -> Alert {
    let interval = setup.config.dihya.self_test.unwrap_or_default();
    let other = setup.channels.keys().find(|other| *other != name).cloned();
    Alert {
        labels: Labels::from([
            (Alert::NAME.to_owned(), CHANNEL_FAILS.to_owned()),
            ("channel".to_owned(), name.to_owned()),
            (Alert::SEVERITY.to_owned(), Severity::Error.to_string()),
        ]),
        annotations: Labels::from([
            ("summary".to_owned(), format!("{CHANNEL_FAILS}: {name}")),
            ("description".to_owned(), reason.to_owned()),
        ]),
        starts_at: now,
        // Until the test after the next one, should that be the last we hear of it.
        ends_at: Some(if reason.is_empty() { now } else { later(now, interval.saturating_mul(2)) }),
        generator_url: None,
        severity: Severity::Error,
        sector: Sector::None,
        channel: other,
    }
}
