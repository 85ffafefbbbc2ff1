//! Alerts, incidents and groups of one tenant: a pure fold of its records, and what follows from it at a given time.
//!
//! Nothing here does IO or asks for the time. [`Incidents::fold`] takes records in order and is all that changes what
//! is known; [`Incidents::decide`] says which records should come next. What is decided takes effect only when it comes
//! back through the ledger, so a crash between deciding and recording loses nothing and doubles nothing.
//!
//! Times of flushes are arithmetic, not timers: a group's ticks are `first_tick + k * group_interval` (Alertmanager's
//! `dispatch.go`), so whoever rebuilds the group from records finds the same ticks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use model::limits::ALERTS_FIRING_MAX;
use model::{
    Alert, Delivery, IncidentId, IncidentTransition, Intent, IntentId, Labels, Position, Sector, Severity,
    SilenceChange, Tenant,
};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::matcher::{self, Match};
use crate::notification::Language;
use crate::route::{GroupId, Route};

mod compose;
mod decide;
mod fold;
mod plan;

pub(crate) use compose::intent_id;
pub use compose::{Message, Told, told_already};
pub use decide::View;
pub use plan::Mute;

#[cfg(test)]
mod tests;

/// How long after its end an incident is the same one when it fires again.
pub const REOPEN_WITHIN: Duration = Duration::from_secs(600);
/// How long an alert that has timed out fires on until somebody is told of it.
pub(crate) const UNTOLD_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long ended silences are remembered, as in Alertmanager (`--data.retention`).
pub(crate) const SILENCE_KEPT: Duration = Duration::from_secs(120 * 3600);
/// How often alerts that found no room are spoken of in the ledger.
const DROPPED_EVERY: Duration = Duration::from_secs(10);
/// From how many reopenings on an incident counts as flapping.
const FLAPPING_FROM: u32 = 3;

/// An alert that fires, or has stopped and is not forgotten yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracked {
    /// The alert as last received.
    pub alert: Alert,
    /// Whether Dihya itself admitted it: only such an alert speaks for a check, is ended explicitly and never by a
    /// time-out, and is changed by nobody else. What a caller's labels say of a check or of maintenance is kept and not
    /// believed.
    pub own: bool,
    /// When the record that began this firing was admitted.
    pub fired_at: Timestamp,
    /// When the last record about it was admitted.
    pub received_at: Timestamp,
    /// The incident that it belongs to, or belonged to last.
    pub incident: Option<IncidentId>,
    /// Whether it is a firing member of that incident.
    pub member: bool,
    /// Whether it fires on after its time-out because nobody was told of it yet. What a caller was acknowledged is told
    /// though the server was down, or the group waited, for longer than the alert was to fire.
    #[serde(default)]
    pub until_told: bool,
}

impl Tracked {
    /// Returns when it stops, or stopped, by what is known.
    #[must_use]
    pub fn end(&self, resolve_timeout: Duration) -> Option<Timestamp> {
        let end = match self.alert.ends_at {
            None if self.own => None,
            None => Some(later(self.received_at, resolve_timeout)),
            end => end,
        };
        if self.until_told { end.map(|end| later(end, UNTOLD_MAX)) } else { end }
    }

    /// Tells whether it fires.
    #[must_use]
    pub fn is_firing(&self, now: Timestamp, resolve_timeout: Duration) -> bool {
        self.end(resolve_timeout).is_none_or(|end| end > now)
    }

    /// Returns the check behind it, if it is one of ours.
    #[must_use]
    pub fn check(&self) -> Option<&str> {
        if self.own { self.alert.labels.get(Alert::CHECK).map(String::as_str) } else { None }
    }
}

/// An incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// What groups its alerts.
    pub key: String,
    /// What people read first.
    pub title: String,
    /// The worst level among its alerts so far.
    pub severity: Severity,
    /// The sector it concerns.
    pub sector: Sector,
    /// The labels that all its alerts so far share.
    pub labels: Labels,
    /// When it opened.
    pub opened_at: Timestamp,
    /// When it last opened or reopened.
    pub since: Timestamp,
    /// When something last happened to it.
    pub updated_at: Timestamp,
    /// Who took it, and when.
    pub acknowledged: Option<(String, Timestamp)>,
    /// When it ended.
    pub resolved_at: Option<Timestamp>,
    /// When people were last reminded of it.
    pub reminded_at: Option<Timestamp>,
    /// How many times it has reopened.
    pub reopened: u32,
    /// The fingerprints of the alerts that fire.
    pub members: BTreeSet<u64>,
}

impl Incident {
    /// Tells whether it goes on.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.resolved_at.is_none()
    }

    /// Returns when people should be reminded of it next.
    fn remind_at(&self, interval: Option<Duration>) -> Option<Timestamp> {
        let quiet = !self.is_open() || self.acknowledged.is_some() || self.severity < Severity::Critical;
        let last = self.reminded_at.map_or(self.since, |at| at.max(self.since));
        interval.filter(|_| !quiet).map(|interval| later(last, interval))
    }
}

/// Alerts that are told together along one route, or alone through a channel that their sender named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The route's id; empty for a channel named directly.
    pub route: String,
    /// The labels that they are grouped by.
    pub labels: Labels,
    /// When the group is told for the first time.
    pub first_tick: Timestamp,
    /// What was told, by receiver and channel.
    #[serde(with = "told")]
    pub told: BTreeMap<(String, String), Heard>,
    /// Its alerts. Follows from alerts and routes, so it is not written.
    #[serde(skip)]
    members: BTreeSet<u64>,
    #[serde(skip)]
    pace: Pace,
    #[serde(skip)]
    ways: Vec<Way>,
    #[serde(skip)]
    key: String,
}

/// What one receiver heard last through one channel (Alertmanager's notification log entry).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// When it was decided, or delivered since.
    pub at: Timestamp,
    /// What fired then.
    pub firing: BTreeSet<u64>,
    /// The last notification, while it is neither delivered nor given up: until then nothing is repeated.
    #[serde(default)]
    pub pending: Option<IntentId>,
}

/// How often a group is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Pace {
    wait: Duration,
    interval: Duration,
    /// `None` for a channel named directly: it is told once.
    repeat: Option<Duration>,
}

/// One receiver and channel that a group is told through.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Way {
    receiver: String,
    channel: String,
    send_resolved: bool,
    language: Language,
}

impl Way {
    fn key(&self) -> (String, String) {
        (self.receiver.clone(), self.channel.clone())
    }
}

/// A silence with its matchers ready.
#[derive(Clone, Debug, PartialEq)]
pub struct Silenced {
    /// What was said last.
    pub change: SilenceChange,
    matchers: Vec<Match>,
}

impl Silenced {
    fn matches(&self, labels: &Labels) -> bool {
        !self.matchers.is_empty() && matcher::all_match(&self.matchers, labels)
    }
}

/// The checks that the configuration declares, as far as alerts need to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// All of them; an alert of a check that is none of these any more is resolved. `None` where that is not known.
    pub known: Option<BTreeSet<String>>,
    /// What each depends on.
    pub parents: BTreeMap<String, Vec<String>>,
}

/// What a fold changed, for a store to write in one transaction with the position.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Up to where, and when that record was admitted.
    pub cursor: Option<(Position, Timestamp)>,
    /// Alerts as they are now; `None` for those forgotten.
    pub alerts: BTreeMap<u64, Option<Tracked>>,
    /// Incidents as they are now.
    pub incidents: BTreeMap<IncidentId, Incident>,
    /// Groups as they are now; `None` for those dissolved.
    pub groups: BTreeMap<GroupId, Option<Group>>,
    /// Silences as they are now.
    pub silences: BTreeMap<String, SilenceChange>,
    /// Steps in incidents' lives, in order.
    pub transitions: Vec<(Position, IncidentTransition)>,
    /// Notifications decided, in order, with the reason and the lane in which order is kept.
    pub intents: Vec<(Position, Intent)>,
    /// Attempts that ended, in order.
    pub deliveries: Vec<(Position, Delivery)>,
    /// Marks of the recipients that have what others put off: from the attempts of this life, not from records.
    pub had: BTreeMap<IntentId, BTreeSet<String>>,
}

impl Changes {
    /// Tells whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Tells whether nothing but the position changed.
    #[must_use]
    pub fn is_cursor_only(&self) -> bool {
        self.alerts.is_empty()
            && self.incidents.is_empty()
            && self.groups.is_empty()
            && self.silences.is_empty()
            && self.transitions.is_empty()
            && self.intents.is_empty()
            && self.deliveries.is_empty()
    }
}

/// What a store gives back at the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Up to where records were folded, and when that one was admitted; `None` before the first.
    pub cursor: Option<(Position, Timestamp)>,
    /// All alerts.
    pub alerts: Vec<Tracked>,
    /// Incidents that are open or ended so recently that they may reopen.
    pub incidents: Vec<Incident>,
    /// All groups.
    pub groups: BTreeMap<GroupId, Group>,
    /// Silences that are not long over.
    pub silences: Vec<SilenceChange>,
}

/// Alerts that found no room: a loss, and to be said as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// How many.
    pub count: u64,
    /// When the first of them was admitted.
    pub from: Timestamp,
    /// When the last of them was.
    pub until: Timestamp,
}

/// Alerts, incidents, groups and silences of one tenant.
#[derive(Debug)]
pub struct Incidents {
    tenant: Tenant,
    config: Arc<Config>,
    checks: Checks,
    children: BTreeMap<String, BTreeSet<String>>,
    /// [`ALERTS_FIRING_MAX`], but in tests.
    alerts_max: usize,
    /// Alerts that found no room and that no record speaks of yet.
    dropped: Option<Dropped>,
    /// How many found none since the start.
    dropped_in_all: u64,
    /// When a record last spoke of such.
    dropped_said_at: Option<Timestamp>,
    cursor: Option<(Position, Timestamp)>,
    alerts: BTreeMap<u64, Tracked>,
    incidents: BTreeMap<IncidentId, Incident>,
    groups: BTreeMap<GroupId, Group>,
    silences: BTreeMap<String, Silenced>,
    index: Index,
    rows: Rows,
    changes: Changes,
}

/// What has changed and is not taken yet: written once however often it changed.
#[derive(Debug, Default)]
struct Rows {
    alerts: BTreeSet<u64>,
    incidents: BTreeSet<IncidentId>,
    groups: BTreeSet<GroupId>,
}

/// What makes finding fast. It follows from the rest.
#[derive(Debug, Default)]
struct Index {
    /// The latest incident of each key.
    by_key: BTreeMap<String, IncidentId>,
    /// The fingerprints of our own checks' alerts.
    by_check: BTreeMap<String, BTreeSet<u64>>,
    /// The groups of each alert.
    groups_of: BTreeMap<u64, Vec<GroupId>>,
    /// Alerts that fire in no incident.
    unassigned: BTreeSet<u64>,
    /// When alerts stop.
    ends: BTreeSet<(Timestamp, u64)>,
    /// When alerts that have stopped may be forgotten.
    purge: BTreeSet<(Timestamp, u64)>,
    /// When incidents can no longer reopen.
    closed: BTreeSet<(Timestamp, IncidentId)>,
    /// When to remind of incidents.
    reminders: BTreeSet<(Timestamp, IncidentId)>,
    /// Groups to look at now.
    dirty: BTreeSet<GroupId>,
    /// Groups to look at later.
    wakes: BTreeSet<(Timestamp, GroupId)>,
    /// When each group is looked at.
    wake_of: BTreeMap<GroupId, Timestamp>,
    /// How often an alert was put into an incident without being found there afterwards.
    misfits: BTreeMap<u64, u8>,
    /// The group that each notification on its way is about.
    pending: BTreeMap<IntentId, GroupId>,
    /// When silences can be forgotten.
    silences: BTreeSet<(Timestamp, String)>,
}

impl Incidents {
    /// Goes on from what a store kept.
    #[must_use]
    pub fn restore(tenant: Tenant, config: Arc<Config>, checks: Checks, snapshot: Snapshot) -> Self {
        let mut this = Self {
            tenant,
            config,
            checks: Checks::default(),
            children: BTreeMap::new(),
            alerts_max: ALERTS_FIRING_MAX,
            dropped: None,
            dropped_in_all: 0,
            dropped_said_at: None,
            cursor: snapshot.cursor,
            alerts: snapshot.alerts.into_iter().map(|tracked| (tracked.alert.fingerprint(), tracked)).collect(),
            incidents: snapshot.incidents.into_iter().map(|incident| (incident.id.clone(), incident)).collect(),
            groups: snapshot.groups,
            silences: BTreeMap::new(),
            index: Index::default(),
            rows: Rows::default(),
            changes: Changes::default(),
        };
        for change in snapshot.silences {
            this.put_silence(change);
        }
        this.set_checks(checks);
        this.rebuild();
        this
    }

    /// Returns what a store would have to keep: equal for equal records, however they were folded.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            cursor: self.cursor,
            alerts: self.alerts.values().cloned().collect(),
            incidents: self.incidents.values().cloned().collect(),
            groups: self.groups.clone(),
            silences: self.silences.values().map(|silenced| silenced.change.clone()).collect(),
        }
    }

    /// Takes what the fold has changed since the last time.
    pub fn take_changes(&mut self) -> Changes {
        let rows = std::mem::take(&mut self.rows);
        let mut changes = std::mem::take(&mut self.changes);
        changes.alerts.extend(rows.alerts.into_iter().map(|id| (id, self.alerts.get(&id).cloned())));
        changes.groups.extend(rows.groups.into_iter().map(|id| (id, self.groups.get(&id).cloned())));
        let known = rows.incidents.into_iter().filter_map(|id| self.incidents.get(&id).map(|i| (id, i.clone())));
        changes.incidents.extend(known);
        changes
    }

    /// Returns the tenant.
    #[must_use]
    pub const fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Returns up to where records were folded, and when that one was admitted.
    #[must_use]
    pub const fn cursor(&self) -> Option<(Position, Timestamp)> {
        self.cursor
    }

    /// Returns the alerts, by fingerprint.
    #[must_use]
    pub const fn alerts(&self) -> &BTreeMap<u64, Tracked> {
        &self.alerts
    }

    /// Returns how many alerts found no room since the start, because as many fire as can be kept.
    #[must_use]
    pub const fn dropped_in_all(&self) -> u64 {
        self.dropped_in_all
    }

    #[cfg(test)]
    pub(crate) const fn keep_at_most(&mut self, alerts: usize) {
        self.alerts_max = alerts;
    }

    /// Tells whether an alert fires.
    #[must_use]
    pub fn is_firing(&self, tracked: &Tracked, now: Timestamp) -> bool {
        tracked.is_firing(now, self.resolve_timeout())
    }

    /// Returns the incidents that are open or may reopen.
    #[must_use]
    pub const fn incidents(&self) -> &BTreeMap<IncidentId, Incident> {
        &self.incidents
    }

    /// Returns the silences that are not long over, with those to come.
    pub fn silences(&self) -> impl Iterator<Item = &SilenceChange> {
        self.silences.values().map(|silenced| &silenced.change)
    }

    /// Puts another configuration in force. Alerts take the new routes at once; what receivers heard along routes that
    /// stay is remembered.
    pub fn set_config(&mut self, config: Arc<Config>) {
        self.config = config;
        self.rebuild();
    }

    /// Says which checks there are and what depends on what.
    pub fn set_checks(&mut self, checks: Checks) {
        self.children.clear();
        for (child, parents) in &checks.parents {
            for parent in parents {
                self.children.entry(parent.clone()).or_default().insert(child.clone());
            }
        }
        self.checks = checks;
        self.index.dirty.extend(self.groups.keys());
    }

    /// Makes the index anew, and the groups that alerts take under the configuration in force.
    fn rebuild(&mut self) {
        self.index = Index::default();
        for (id, group) in &mut self.groups {
            group.members.clear();
            let pending = group.told.values().filter_map(|heard| heard.pending.clone());
            self.index.pending.extend(pending.map(|intent| (intent, *id)));
        }
        for (id, silenced) in &self.silences {
            self.index.silences.insert((later(silenced.change.ends_at, SILENCE_KEPT), id.clone()));
        }
        let fingerprints: Vec<u64> = self.alerts.keys().copied().collect();
        for fingerprint in fingerprints {
            self.join_groups(fingerprint);
            self.index_alert(fingerprint);
        }
        let empty: Vec<GroupId> =
            self.groups.iter().filter(|(_, group)| group.members.is_empty()).map(|(id, _)| *id).collect();
        for id in empty {
            self.dissolve(id);
        }
        let ids: Vec<IncidentId> = self.incidents.keys().cloned().collect();
        for id in ids {
            self.index_incident(&id);
        }
        self.index.dirty = self.groups.keys().copied().collect();
    }

    fn resolve_timeout(&self) -> Duration {
        self.config.resolve_timeout
    }

    /// Returns the ways of a receiver, each channel once.
    fn ways(&self, receiver: &str) -> Vec<Way> {
        let mut ways: Vec<Way> = Vec::new();
        let integrations = self.config.receivers.get(receiver).map(|r| r.integrations.as_slice()).unwrap_or_default();
        for integration in integrations {
            if ways.iter().all(|way| way.channel != integration.channel) {
                ways.push(Way {
                    receiver: receiver.to_owned(),
                    channel: integration.channel.clone(),
                    send_resolved: integration.send_resolved,
                    language: integration.language.unwrap_or(self.config.dihya.language),
                });
            }
        }
        ways
    }

    /// Puts an alert into the groups of all routes that it takes, and of the channel that it names.
    fn join_groups(&mut self, fingerprint: u64) {
        let Some(tracked) = self.alerts.get(&fingerprint) else { return };
        let config = Arc::clone(&self.config);
        let labels = tracked.alert.labels.clone();
        let (starts_at, fired_at) = (tracked.alert.starts_at, tracked.fired_at);
        let direct = tracked.alert.channel.clone();
        let mut joined = Vec::new();
        for route in config.route.matching(&labels) {
            let group_labels = route.group_by.of(&labels);
            let id = route.group_id(&group_labels);
            let pace =
                Pace { wait: route.group_wait, interval: route.group_interval, repeat: Some(route.repeat_interval) };
            let ways = self.ways(&route.receiver);
            let key = route.group_key(&group_labels);
            let group = self
                .groups
                .entry(id)
                .or_insert_with(|| Group::new(&route.id, group_labels, first_tick(route, starts_at, fired_at)));
            group.take(fingerprint, pace, ways, key);
            joined.push(id);
        }
        if let Some(channel) = direct {
            let key = format!("direct/{channel}");
            let id = direct_id(&channel, &labels);
            let way = Way { receiver: String::new(), channel, send_resolved: false, language: config.dihya.language };
            let group = self.groups.entry(id).or_insert_with(|| Group::new("", labels, fired_at));
            group.take(fingerprint, Pace::default(), vec![way], key);
            joined.push(id);
        }
        for id in &joined {
            self.touch_group(*id);
        }
        self.index.groups_of.insert(fingerprint, joined);
    }

    fn touch_group(&mut self, id: GroupId) {
        self.index.dirty.insert(id);
        self.rows.groups.insert(id);
    }

    fn dissolve(&mut self, id: GroupId) {
        let gone = self.groups.remove(&id);
        for intent in gone.iter().flat_map(|group| group.told.values()).filter_map(|heard| heard.pending.as_ref()) {
            self.index.pending.remove(intent);
        }
        self.index.dirty.remove(&id);
        if let Some(at) = self.index.wake_of.remove(&id) {
            self.index.wakes.remove(&(at, id));
        }
        self.rows.groups.insert(id);
    }

    fn index_alert(&mut self, fingerprint: u64) {
        let timeout = self.resolve_timeout();
        let Some(tracked) = self.alerts.get(&fingerprint) else { return };
        if let Some(end) = tracked.end(timeout) {
            self.index.ends.insert((end, fingerprint));
            if !tracked.member {
                self.index.purge.insert((end.max(tracked.received_at), fingerprint));
            }
        }
        if !tracked.member {
            self.index.unassigned.insert(fingerprint);
        }
        if let Some(check) = tracked.check() {
            self.index.by_check.entry(check.to_owned()).or_default().insert(fingerprint);
        }
    }

    fn index_incident(&mut self, id: &IncidentId) {
        let interval = self.config.dihya.reminder_interval;
        let Some(incident) = self.incidents.get(id) else { return };
        let newer = self.index.by_key.get(&incident.key).and_then(|other| self.incidents.get(other));
        if newer.is_none_or(|other| other.since <= incident.since) {
            self.index.by_key.insert(incident.key.clone(), id.clone());
        }
        if let Some(at) = incident.resolved_at {
            self.index.closed.insert((later(at, REOPEN_WITHIN), id.clone()));
        }
        if let Some(at) = incident.remind_at(interval) {
            self.index.reminders.insert((at, id.clone()));
        }
    }
}

impl Group {
    fn new(route: &str, labels: Labels, first_tick: Timestamp) -> Self {
        Self {
            route: route.to_owned(),
            labels,
            first_tick,
            told: BTreeMap::new(),
            members: BTreeSet::new(),
            pace: Pace::default(),
            ways: Vec::new(),
            key: String::new(),
        }
    }

    fn take(&mut self, fingerprint: u64, pace: Pace, ways: Vec<Way>, key: String) {
        self.members.insert(fingerprint);
        self.pace = pace;
        self.ways = ways;
        self.key = key;
    }

    fn is_direct(&self) -> bool {
        self.route.is_empty()
    }
}

/// Returns the identity of the group of an alert that names a channel.
fn direct_id(channel: &str, labels: &Labels) -> GroupId {
    GroupId::of(&["direct", channel, &model::LabelSet::text(labels)])
}

/// Returns when a new group is told first: after `group_wait`, or at once when its alert is older than that
/// (`dispatch.go`, `groupAlert`).
fn first_tick(route: &Route, starts_at: Timestamp, created: Timestamp) -> Timestamp {
    if later(starts_at, route.group_wait) < created { created } else { later(created, route.group_wait) }
}

/// Adds a duration to a time and stays within what a time can be.
pub(crate) fn later(at: Timestamp, by: Duration) -> Timestamp {
    jiff::SignedDuration::try_from(by).ok().and_then(|by| at.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

mod told {
    //! A map by receiver and channel as a list, because JSON has no such keys.

    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Heard;

    type Map = BTreeMap<(String, String), Heard>;

    pub(super) fn serialize<S: Serializer>(map: &Map, serializer: S) -> Result<S::Ok, S::Error> {
        map.iter().collect::<Vec<_>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map, D::Error> {
        Ok(Vec::deserialize(deserializer)?.into_iter().collect())
    }
}
