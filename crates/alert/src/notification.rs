//! What a channel is given to say: channel-neutral, complete, and already cleared of personal data.
//!
//! It is the `message` of a [`model::Intent`], so that what was to be said is durable before the first attempt and an
//! attempt needs no look back at incidents or alerts.

use std::collections::BTreeSet;

use jiff::Timestamp;
use model::{IncidentId, IntentId, Labels, Sector, Severity, Tenant};
use serde::{Deserialize, Serialize};

/// The language in which a receiver is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// French.
    Fr,
}

/// Whether something fires: Alertmanager's word in its payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It fires.
    Firing,
    /// It has stopped.
    Resolved,
}

impl Status {
    /// Returns Alertmanager's spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// Why somebody is told now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The group fires for the first time, or again.
    New,
    /// Alerts joined or left a group that was told of before.
    Changed,
    /// Nothing changed, and `repeat_interval` has passed.
    Repeat,
    /// Nobody has acknowledged, and `reminder_interval` has passed.
    Reminder,
    /// Everything in the group has stopped.
    Resolved,
    /// The caller of `send_alert` named this channel.
    Direct,
    /// Somebody asked for a test of the channel, or its schedule did.
    Test,
    /// Dihya itself is about to stop; this is its last word and stands in no ledger.
    Notice,
}

/// What the reader should know of the incident behind the alerts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentSummary {
    /// Which incident: the thread that messages about it belong to.
    pub id: IncidentId,
    /// What people read first.
    pub title: String,
    /// When it opened.
    pub opened_at: Timestamp,
    /// Who took it, if anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<String>,
    /// How many times it has reopened.
    #[serde(default)]
    pub reopened: u32,
    /// How many alerts of it fire, those of other groups and suppressed ones included.
    #[serde(default)]
    pub firing: u64,
    /// How many of these are kept quiet because what they depend on fails.
    #[serde(default)]
    pub suppressed: u64,
    /// Whether something in it changes so often that its changes are damped.
    #[serde(default)]
    pub flapping: bool,
}

/// One alert as told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifiedAlert {
    /// Whether it fires.
    pub status: Status,
    /// What identifies it.
    pub labels: Labels,
    /// What people read.
    #[serde(default)]
    pub annotations: Labels,
    /// Since when.
    pub starts_at: Timestamp,
    /// Until when, once resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// Where the condition behind it can be looked at; empty when nowhere.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub generator_url: String,
    /// How bad it is.
    #[serde(default)]
    pub severity: Severity,
    /// The sector it concerns.
    #[serde(default)]
    pub sector: Sector,
}

impl NotifiedAlert {
    /// Returns the fingerprint as Alertmanager writes it: 16 hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        use model::LabelSet as _;
        format!("{:016x}", self.labels.fingerprint())
    }
}

/// All that one attempt through one channel needs. Alerts are ordered: firing ones first, worst first, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// The idempotency key: the same for all attempts at this notification, different for every other.
    pub id: IntentId,
    /// Whose alerts these are.
    pub tenant: Tenant,
    /// Why somebody is told now.
    pub reason: Reason,
    /// Firing while any alert of the group does.
    pub status: Status,
    /// The receiver, as routing named it; empty where the channel was named directly.
    pub receiver: String,
    /// The channel, as declared.
    pub channel: String,
    /// The language of the receiver.
    #[serde(default)]
    pub language: Language,
    /// The incident; `None` for tests and notices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentSummary>,
    /// Identifies the group among all routes, as Alertmanager's `groupKey`.
    pub group_key: String,
    /// The labels that the group's alerts were grouped by.
    #[serde(default)]
    pub group_labels: Labels,
    /// The labels that all alerts of the group share.
    #[serde(default)]
    pub common_labels: Labels,
    /// The annotations that all alerts of the group share.
    #[serde(default)]
    pub common_annotations: Labels,
    /// The worst level among the alerts.
    #[serde(default)]
    pub severity: Severity,
    /// The sector they concern, if it is one.
    #[serde(default)]
    pub sector: Sector,
    /// The alerts, at most `limits::NOTIFICATION_ALERTS_MAX`.
    pub alerts: Vec<NotifiedAlert>,
    /// How many alerts were left out of `alerts`.
    #[serde(default)]
    pub truncated: u64,
    /// Words of Dihya's own, for tests and notices; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// When it was decided.
    pub at: Timestamp,
    /// Where people reach this Dihya, without a slash at the end; empty when not configured.
    #[serde(default)]
    pub external_url: String,
    /// Which attempt this is, from 1.
    #[serde(default)]
    pub attempt: u32,
    /// Marks of the recipients that have it from an earlier attempt, as the channel made them ([`crate::SendError::had`]).
    #[serde(skip)]
    pub had: BTreeSet<String>,
}

impl Notification {
    /// Yields the alerts that fire.
    pub fn firing(&self) -> impl Iterator<Item = &NotifiedAlert> {
        self.alerts.iter().filter(|alert| alert.status == Status::Firing)
    }

    /// Yields the alerts that have stopped.
    pub fn resolved(&self) -> impl Iterator<Item = &NotifiedAlert> {
        self.alerts.iter().filter(|alert| alert.status == Status::Resolved)
    }
}
