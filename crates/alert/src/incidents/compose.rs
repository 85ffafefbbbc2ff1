//! From alerts to words: the notification that an intent carries, within the bounds of a record.

use std::collections::BTreeSet;

use jiff::Timestamp;
use model::limits::NOTIFICATION_ALERTS_MAX;
use model::{Alert, Body, Delivery, Intent, IntentId, Labels, Outcome, Rng, Sector, Severity, Tenant};
use serde::{Deserialize, Serialize};

use super::fold::common;
use super::plan::Tell;
use super::{FLAPPING_FROM, Incident, Incidents, Mute, Tracked, View, direct_id, later};
use crate::config::Config;
use crate::notification::{IncidentSummary, Notification, NotifiedAlert, Reason, Status};
use crate::route::GroupId;

/// Most bytes of a message; a record takes four times as much, and channels cut further.
const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// Longest annotation once a message is too long.
const ANNOTATION_CHARS_SHORT: usize = 200;
/// Most alerts that a record names as told; with more, all that fired by then are.
const TOLD_MAX: usize = 16 << 10;

/// What an intent's `message` holds: `{"notification": ..., "told": ...}`, `told` absent for tests.
#[derive(Debug)]
pub enum Message {}

/// [`Told`] as it stands in records: numbers of 32 bits only, each too short to be anybody's, which privacy therefore
/// leaves as they are.
#[derive(Debug, Serialize, Deserialize)]
struct ToldNumbers {
    group: [u32; 4],
    /// High and low halves in turn.
    firing: Vec<u32>,
    #[serde(default)]
    all: bool,
    /// See [`Told::already`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    already: bool,
}

/// What a receiver knows after a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Of which group.
    pub group: GroupId,
    /// What fires.
    pub firing: BTreeSet<u64>,
    /// Whether these were too many to name: then all that fired is meant.
    pub all: bool,
    /// Whether it was told before it was recorded: it never waits in the outbox.
    pub already: bool,
}

impl Message {
    /// Reads what a receiver knows after an intent's message; `None` for tests and for what is no message of ours.
    #[must_use]
    pub fn told(message: &serde_json::Value) -> Option<Told> {
        let numbers = ToldNumbers::deserialize(message.get("told")?).ok()?;
        Some(Told {
            group: GroupId::from_quarters(numbers.group),
            firing: numbers.firing.chunks_exact(2).map(|pair| u64::from(pair[0]) << 32 | u64::from(pair[1])).collect(),
            all: numbers.all,
            already: numbers.already,
        })
    }

    /// Makes the message of an intent about no alert.
    ///
    /// # Panics
    /// Never: a notification has string keys only.
    #[must_use]
    pub fn plain(notification: &Notification) -> serde_json::Value {
        let notification = serde_json::to_value(notification);
        serde_json::json!({"notification": notification.expect("invariant: a notification has string keys only")})
    }

    /// Reads the notification out of an intent's message.
    #[must_use]
    pub fn notification(message: &serde_json::Value) -> Option<Notification> {
        Notification::deserialize(message.get("notification")?).ok()
    }
}

/// Makes the key of a notification from 80 random bits: it sorts by time and says nothing about alerts.
pub(crate) fn intent_id(at: Timestamp, rng: &dyn model::Rng) -> IntentId {
    let mut random = [0; 10];
    rng.fill(&mut random);
    IntentId(model::IncidentId::new(at, random).0)
}

impl Incidents {
    /// Makes the intent that tells one way of a group.
    pub(super) fn compose(&self, id: GroupId, tell: &Tell, now: Timestamp, view: &View<'_>) -> Option<Intent> {
        let group = self.groups.get(&id)?;
        let way = group.ways.get(tell.way)?;
        let alerts = self.notified(tell, now);
        let tracked = || tell.firing.iter().chain(&tell.ended).filter_map(|fp| self.alerts.get(fp));
        let incident = self.incident_of(tracked());
        let intent = intent_id(now, view.rng);
        let firing = !tell.firing.is_empty();
        let notification = Notification {
            id: intent.clone(),
            tenant: self.tenant.clone(),
            reason: tell.reason,
            status: if firing { Status::Firing } else { Status::Resolved },
            receiver: way.receiver.clone(),
            channel: way.channel.clone(),
            language: way.language,
            incident: incident.map(|incident| self.summary(incident, now, view)),
            group_key: group.key.clone(),
            group_labels: group.labels.clone(),
            common_labels: common(tracked().map(|t| &t.alert.labels)),
            common_annotations: common(tracked().map(|t| &t.alert.annotations)),
            severity: tracked().map(|t| t.alert.severity).max().unwrap_or(Severity::Info),
            sector: one_sector(tracked()),
            truncated: (tell.firing.len() + tell.ended.len() - alerts.len()) as u64,
            alerts,
            text: String::new(),
            at: now,
            external_url: self.config.dihya.external_url.clone(),
            attempt: 0,
            had: BTreeSet::new(),
        };
        Some(Intent {
            id: intent,
            incident: incident.map(|incident| incident.id.clone()),
            receiver: way.receiver.clone(),
            channel: way.channel.clone(),
            firing,
            at: now,
            give_up_at: later(now, self.config.dihya.give_up_after),
            message: message(notification, id, &tell.firing, false),
        })
    }

    /// Returns the alerts that are named, firing ones first, worst first, oldest first.
    fn notified(&self, tell: &Tell, now: Timestamp) -> Vec<NotifiedAlert> {
        let timeout = self.resolve_timeout();
        let mut alerts: Vec<(Status, &Tracked)> = Vec::new();
        for (status, fingerprints) in [(Status::Firing, &tell.firing), (Status::Resolved, &tell.ended)] {
            let known = fingerprints.iter().filter_map(|fp| self.alerts.get(fp));
            alerts.extend(known.map(|tracked| (status, tracked)));
        }
        alerts.sort_by_key(|(status, t)| (*status, std::cmp::Reverse(t.alert.severity), t.alert.starts_at));
        alerts.truncate(NOTIFICATION_ALERTS_MAX);
        alerts
            .into_iter()
            .map(|(status, tracked)| NotifiedAlert {
                status,
                labels: tracked.alert.labels.clone(),
                annotations: tracked.alert.annotations.clone(),
                starts_at: tracked.alert.starts_at,
                ends_at: tracked.end(timeout).filter(|end| *end <= now),
                generator_url: tracked.alert.generator_url.clone().unwrap_or_default(),
                severity: tracked.alert.severity,
                sector: tracked.alert.sector,
            })
            .collect()
    }

    /// Returns the incident that a notification is about: the worst, then the oldest, of its alerts'.
    fn incident_of<'a>(&self, alerts: impl Iterator<Item = &'a Tracked>) -> Option<&Incident> {
        alerts
            .filter_map(|tracked| self.incidents.get(tracked.incident.as_ref()?))
            .min_by_key(|incident| (std::cmp::Reverse(incident.severity), incident.id.clone()))
    }

    fn summary(&self, incident: &Incident, now: Timestamp, view: &View<'_>) -> IncidentSummary {
        // In a storm the figure is worth less than the time to count it.
        let counted = incident.members.iter().take(1_000);
        let suppressed = counted.filter(|fp| matches!(self.mute(**fp, now, view), Some(Mute::Parent(_)))).count();
        let flaps = |fp: &u64| self.alerts.get(fp).is_some_and(|t| t.alert.annotations.contains_key("flapping"));
        IncidentSummary {
            id: incident.id.clone(),
            title: incident.title.clone(),
            opened_at: incident.opened_at,
            acknowledged_by: incident.acknowledged.as_ref().map(|(by, _)| by.clone()),
            reopened: incident.reopened,
            firing: incident.members.len() as u64,
            suppressed: suppressed as u64,
            flapping: incident.reopened >= FLAPPING_FROM || incident.members.iter().take(1_000).any(flaps),
        }
    }
}

/// Makes the records which say that an alert was told already, past the outbox, through the channels in `told`: to be
/// admitted together with it, so that its routes lead to everybody else only.
#[must_use]
pub fn told_already(
    config: &Config,
    tenant: &Tenant,
    alert: &Alert,
    told: &BTreeSet<String>,
    at: Timestamp,
    rng: &dyn Rng,
) -> Vec<Body> {
    let mut ways = Vec::new();
    if let Some(channel) = alert.channel.as_ref().filter(|channel| told.contains(*channel)) {
        ways.push((direct_id(channel, &alert.labels), "", channel));
    }
    for route in config.route.matching(&alert.labels) {
        let id = route.group_id(&route.group_by.of(&alert.labels));
        let integrations = config.receivers.get(&route.receiver).into_iter().flat_map(|of| &of.integrations);
        let heard = integrations.filter(|way| told.contains(&way.channel));
        ways.extend(heard.map(|way| (id, route.receiver.as_str(), &way.channel)));
    }
    let mut bodies = Vec::new();
    for (group, receiver, channel) in ways {
        let notification = already(config, tenant, alert, (receiver, channel), at, rng);
        let id = notification.id.clone();
        bodies.push(Body::from(Intent {
            id: id.clone(),
            incident: None,
            receiver: receiver.to_owned(),
            channel: channel.clone(),
            firing: true,
            at,
            give_up_at: later(at, config.dihya.give_up_after),
            message: message(notification, group, &[alert.fingerprint()], true),
        }));
        let (outcome, channel, reason) = (Outcome::Delivered, channel.clone(), String::new());
        bodies.push(Delivery { intent: id, attempt: 1, outcome, at, channel, reason, next_at: None }.into());
    }
    bodies
}

fn already(
    config: &Config,
    tenant: &Tenant,
    alert: &Alert,
    (receiver, channel): (&str, &str),
    at: Timestamp,
    rng: &dyn Rng,
) -> Notification {
    let told = NotifiedAlert {
        status: Status::Firing,
        labels: alert.labels.clone(),
        annotations: alert.annotations.clone(),
        starts_at: alert.starts_at,
        ends_at: None,
        generator_url: alert.generator_url.clone().unwrap_or_default(),
        severity: alert.severity,
        sector: alert.sector,
    };
    Notification {
        id: intent_id(at, rng),
        tenant: tenant.clone(),
        reason: Reason::Direct,
        status: Status::Firing,
        receiver: receiver.to_owned(),
        channel: channel.to_owned(),
        language: config.dihya.language,
        incident: None,
        group_key: String::new(),
        group_labels: Labels::new(),
        common_labels: alert.labels.clone(),
        common_annotations: alert.annotations.clone(),
        severity: alert.severity,
        sector: alert.sector,
        alerts: vec![told],
        truncated: 0,
        text: String::new(),
        at,
        external_url: config.dihya.external_url.clone(),
        attempt: 0,
        had: BTreeSet::new(),
    }
}

fn one_sector<'a>(alerts: impl Iterator<Item = &'a Tracked>) -> Sector {
    let sectors: BTreeSet<Sector> = alerts.map(|tracked| tracked.alert.sector).collect();
    match (sectors.len(), sectors.first()) {
        (1, Some(sector)) => *sector,
        _ => Sector::None,
    }
}

fn message(mut notification: Notification, id: GroupId, firing: &[u64], already: bool) -> serde_json::Value {
    let all = firing.len() > TOLD_MAX;
    let named = if all { &[] } else { firing };
    #[expect(clippy::cast_possible_truncation, reason = "each half is what is meant")]
    let firing = named.iter().flat_map(|fingerprint| [(fingerprint >> 32) as u32, *fingerprint as u32]).collect();
    let told = ToldNumbers { group: id.quarters(), firing, all, already };
    fit(&mut notification);
    let mut message = Message::plain(&notification);
    message["told"] = serde_json::to_value(told).expect("invariant: numbers serialise");
    message
}

/// Cuts what makes a message too long: annotations first, then alerts, which are counted.
fn fit(notification: &mut Notification) {
    if size(notification) <= MESSAGE_BYTES_MAX {
        return;
    }
    let shorten = |annotations: &mut Labels| {
        for value in annotations.values_mut().filter(|value| value.chars().count() > ANNOTATION_CHARS_SHORT) {
            *value = value.chars().take(ANNOTATION_CHARS_SHORT).chain(['…']).collect();
        }
    };
    notification.alerts.iter_mut().for_each(|alert| shorten(&mut alert.annotations));
    shorten(&mut notification.common_annotations);
    while size(notification) > MESSAGE_BYTES_MAX && notification.alerts.len() > 1 {
        let keep = notification.alerts.len() / 2;
        notification.truncated += (notification.alerts.len() - keep) as u64;
        notification.alerts.truncate(keep);
    }
}

/// Estimates how many bytes a notification takes.
fn size(notification: &Notification) -> usize {
    let labels = |labels: &Labels| labels.iter().map(|(name, value)| name.len() + value.len() + 8).sum::<usize>();
    let alerts = notification.alerts.iter();
    let alerts =
        alerts.map(|alert| 160 + labels(&alert.labels) + labels(&alert.annotations) + alert.generator_url.len());
    let shared = [&notification.group_labels, &notification.common_labels, &notification.common_annotations];
    1_024 + notification.group_key.len() + alerts.sum::<usize>() + shared.into_iter().map(labels).sum::<usize>()
}
