//! Control state: what the alert path keeps so that a start needs not read the ledger from its beginning.
//!
//! It is a projection: its rows follow from records, and folding a batch of records is one transaction with the position
//! that it reaches. Lost, it is made again from the feed. Two things follow from none and are lost with it: who has
//! a mail that others put off, and the last signs of heartbeats. SQLite is the one implementation; the trait is the slot
//! for another engine.

use std::collections::BTreeSet;

use jiff::Timestamp;
use model::{BoxFuture, Delivery, IncidentId, IncidentTransition, Intent, IntentId, Outcome, SilenceChange, Tenant};

use crate::incidents::{Changes, Incident, Snapshot};
use crate::notification::Notification;

pub mod sqlite;

pub use sqlite::SqliteState;

/// Why control state could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing} the control state")]
pub struct StateError {
    /// What was tried.
    pub doing: &'static str,
    /// Whether the database itself is broken: nothing that it says can be relied on, and the process must end.
    pub stop: bool,
    /// Whether the disk is full: it works again once there is room.
    pub full: bool,
    /// Why not.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Where an incident is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IncidentState {
    /// Nobody has taken it.
    Open,
    /// Somebody has taken it.
    Acknowledged,
    /// It is over.
    Resolved,
}

impl IncidentState {
    /// Returns the state of an incident.
    #[must_use]
    pub const fn of(incident: &Incident) -> Self {
        match (&incident.resolved_at, &incident.acknowledged) {
            (Some(_), _) => Self::Resolved,
            (None, Some(_)) => Self::Acknowledged,
            (None, None) => Self::Open,
        }
    }

    /// Returns the word in the database and in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
        }
    }
}

/// Which incidents to list. Open ones are those that nobody has taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncidentFilter {
    /// Only those in this state.
    pub state: Option<IncidentState>,
    /// Only those that concern this check.
    pub check: Option<String>,
}

/// A part of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Most rows.
    pub limit: usize,
    /// Where the part before ended: the id of its last row.
    pub after: Option<String>,
}

/// How a notification stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotificationState {
    /// It waits for its first or its next attempt.
    Pending,
    /// The channel took it.
    Delivered,
    /// It was given up.
    Failed,
}

impl NotificationState {
    /// Returns the word in the database and in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }

    fn from_word(word: &str) -> Self {
        [Self::Delivered, Self::Failed].into_iter().find(|state| state.as_str() == word).unwrap_or(Self::Pending)
    }
}

/// A notification and each attempt at it.
#[derive(Clone, Debug, PartialEq)]
pub struct Notified {
    /// What was decided.
    pub intent: Intent,
    /// How it stands.
    pub state: NotificationState,
    /// The attempts, oldest first.
    pub attempts: Vec<Delivery>,
}

/// Which notifications to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotificationFilter {
    /// Only those about this incident.
    pub incident: Option<IncidentId>,
    /// Only those for this receiver.
    pub receiver: Option<String>,
    /// Only those in this state.
    pub state: Option<NotificationState>,
}

/// A notification that an attempt should be made at.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// The idempotency key.
    pub id: IntentId,
    /// The incident it is about.
    pub incident: Option<IncidentId>,
    /// The receiver, as routing named it.
    pub receiver: String,
    /// The channel, as declared.
    pub channel: String,
    /// When to give up.
    pub give_up_at: Timestamp,
    /// What to say; `None` when the message cannot be read.
    pub notification: Option<Notification>,
    /// How many attempts were recorded.
    pub attempts: u32,
    /// Why the last one failed; empty before the first.
    pub reason: String,
    /// Marks of the recipients that have it.
    pub had: BTreeSet<String>,
}

/// How much waits to be told through a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// How many notifications wait.
    pub waiting: u64,
    /// When the first of them was to be told.
    pub oldest: Option<Timestamp>,
}

/// The last signs of life of a heartbeat, by civil time: no other clock outlives the process.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Heartbeat {
    /// The check that expects them.
    pub check: String,
    /// Since when it does.
    pub declared_at: Timestamp,
    /// When a run began that has not ended.
    pub started_at: Option<Timestamp>,
    /// When the last run ended.
    pub ended_at: Option<Timestamp>,
    /// How it ended: 0 is success.
    pub exit: u8,
    /// How long it took, where its start was said.
    pub took: Option<std::time::Duration>,
}

/// An incident and the steps of its life, oldest first.
pub type IncidentLife = (Incident, Vec<IncidentTransition>);

/// Control state of the alert path, for all tenants.
pub trait State: Send + Sync {
    /// Returns what was kept of a tenant.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn load<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<Snapshot, StateError>>;

    /// Writes what a fold changed, all of it with the position, or nothing. Durable on return.
    ///
    /// # Errors
    /// When the database cannot be written; nothing was.
    fn apply<'a>(&'a self, tenant: &'a Tenant, changes: &'a Changes) -> BoxFuture<'a, Result<(), StateError>>;

    /// Deletes some of what has been over since before a time: incidents with the steps of their lives, silences, and
    /// notifications that were decided before it, with their attempts. One short transaction; returns whether there may be more.
    ///
    /// # Errors
    /// When the database cannot be written; nothing was.
    fn forget<'a>(&'a self, tenant: &'a Tenant, before: Timestamp) -> BoxFuture<'a, Result<bool, StateError>>;

    /// Returns notifications that an attempt is due for, or whose time to give up has come, oldest first; of each lane
    /// the first only. Those in `busy` are left out.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn due<'a>(
        &'a self,
        tenant: &'a Tenant,
        channel: &'a str,
        now: Timestamp,
        busy: &'a BTreeSet<IntentId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Pending>, StateError>>;

    /// Returns when the next attempt through a channel is due, those in `busy` left out.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn next_due<'a>(
        &'a self,
        tenant: &'a Tenant,
        channel: &'a str,
        busy: &'a BTreeSet<IntentId>,
    ) -> BoxFuture<'a, Result<Option<Timestamp>, StateError>>;

    /// Returns the channels for which notifications wait, and how many.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn depths<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<Vec<(String, Depth)>, StateError>>;

    /// Lists incidents, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn incidents<'a>(
        &'a self,
        tenant: &'a Tenant,
        filter: &'a IncidentFilter,
        page: &'a Page,
    ) -> BoxFuture<'a, Result<Vec<Incident>, StateError>>;

    /// Returns an incident and the steps of its life, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn incident<'a>(
        &'a self,
        tenant: &'a Tenant,
        id: &'a IncidentId,
    ) -> BoxFuture<'a, Result<Option<IncidentLife>, StateError>>;

    /// Lists silences, those that end last first.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn silences<'a>(
        &'a self,
        tenant: &'a Tenant,
        page: &'a Page,
    ) -> BoxFuture<'a, Result<Vec<SilenceChange>, StateError>>;

    /// Returns a silence.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn silence<'a>(
        &'a self,
        tenant: &'a Tenant,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<SilenceChange>, StateError>>;

    /// Lists notifications, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn notifications<'a>(
        &'a self,
        tenant: &'a Tenant,
        filter: &'a NotificationFilter,
        page: &'a Page,
    ) -> BoxFuture<'a, Result<Vec<Notified>, StateError>>;

    /// Returns the heartbeats that were kept, ascending by check.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn heartbeats<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<Vec<Heartbeat>, StateError>>;

    /// Keeps heartbeats over what was kept of them before; those of other checks go when these are `all` there are.
    /// Durable on return.
    ///
    /// # Errors
    /// When the database cannot be written; some may have been.
    fn keep_heartbeats<'a>(
        &'a self,
        tenant: &'a Tenant,
        heartbeats: &'a [Heartbeat],
        all: bool,
    ) -> BoxFuture<'a, Result<(), StateError>>;

    /// Closes the files.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// What attempts in one batch come to for one notification: the latest attempt, and the end if there is one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tally {
    pub(crate) last: Delivery,
    pub(crate) end: Option<Outcome>,
    /// Whether some recipients have it.
    pub(crate) partial: bool,
}

impl Tally {
    /// Adds one attempt. Delivered wins over failed: somebody heard it.
    pub(crate) fn add(tally: Option<Self>, delivery: &Delivery) -> Self {
        let end = Some(delivery.outcome).filter(|outcome| outcome.is_end());
        let partial = delivery.outcome == Outcome::Partial;
        match tally {
            None => Self { last: delivery.clone(), end, partial },
            Some(mut tally) => {
                tally.partial |= partial;
                if delivery.attempt > tally.last.attempt {
                    tally.last = delivery.clone();
                }
                if tally.end != Some(Outcome::Delivered) {
                    tally.end = end.or(tally.end);
                }
                tally
            }
        }
    }
}
