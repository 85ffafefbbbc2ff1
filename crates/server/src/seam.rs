//! What the server asks of the rest of the program: one narrow trait per thing that people look at or change.
//!
//! `dihya` implements them over `probe`, `alert` and `ledger`; tests implement them in memory. Whoever implements one
//! may assume that the caller was authenticated, that its roles were checked and that administrative acts are already
//! in the ledger.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use model::{
    BoxFuture, CheckResult, IncidentAction, IncidentId, Labels, Matcher, Origin, Outcome, Position, Refusal,
    RefusalKind, Sector, Severity, Tenant,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::path::LedgerFile;

/// Why something asked for was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Declined {
    /// There is no such thing in this tenant.
    #[error("there is no such {what}")]
    Missing {
        /// What was looked for: `check`, `incident`, `silence` ...
        what: &'static str,
    },
    /// It cannot be done in the state that the thing is in.
    #[error("{reason}")]
    Conflict {
        /// Why, for a person.
        reason: String,
    },
    /// A field of the request cannot be accepted.
    #[error("{field}: {reason}")]
    Invalid {
        /// Which field, as a dotted path.
        field: String,
        /// What was expected, without the value that was sent.
        reason: String,
    },
    /// The part that answers is not there yet, or could not be used so far: it comes back by itself.
    #[error("{reason}")]
    Later {
        /// Why, for a person.
        reason: String,
    },
    /// The ledger, or a queue before it, did not take the record.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Declined {
    /// Makes the refusal of a part that is broken and about to stop.
    #[must_use]
    pub fn broken(reason: impl Into<String>) -> Self {
        Self::Refused(Refusal { kind: RefusalKind::Stop, reason: reason.into() })
    }
}

/// A part of a listing: which one, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Most rows, from 1 to `limits::PAGE_ROWS_MAX`.
    pub limit: usize,
    /// Where the previous part ended: the `next` of its [`Listing`], as the implementation wrote it.
    pub after: Option<String>,
}

/// A part of a listing, and where the next part begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Listing<T> {
    /// The rows.
    pub items: Vec<T>,
    /// What to pass as `cursor` to read on; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> Listing<T> {
    /// Cuts rows into the part that `page` asks for. `key` names a row uniquely, and rows ascend by it: a reader whose
    /// last row is gone by now reads on from where it was.
    pub fn cut(rows: impl IntoIterator<Item = T>, page: &Page, key: impl Fn(&T) -> String) -> Self {
        let read = |row: &T| page.after.as_ref().is_some_and(|after| key(row) <= *after);
        let mut rows = rows.into_iter().skip_while(read);
        let mut items: Vec<T> = rows.by_ref().take(page.limit).collect();
        items.shrink_to_fit();
        let next = rows.next().and_then(|_| items.last().map(&key));
        Self { items, next }
    }
}

/// A check as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// The last result; before the first run `unknown`, with a reason that says so.
    pub result: CheckResult,
    /// What it is shown under on the status page; empty for none.
    pub group: String,
    /// The sector that it concerns.
    pub sector: Sector,
    /// Whether it changes so often that its changes are damped.
    pub flapping: bool,
    /// How often it runs.
    pub interval: Duration,
}

/// The checks of each tenant and how they stand.
pub trait Checks: Send + Sync {
    /// Returns a tenant's checks, ascending by id.
    fn board(&self, tenant: &Tenant) -> Vec<Check>;

    /// Returns one check.
    fn find(&self, tenant: &Tenant, id: &str) -> Option<Check>;

    /// Runs a check now, beside its schedule, and returns how it stands after that.
    fn run<'a>(&'a self, tenant: &'a Tenant, id: &'a str) -> BoxFuture<'a, Result<Check, Declined>>;
}

/// Where an incident is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum IncidentState {
    /// Nobody has taken it.
    Open,
    /// Somebody has taken it.
    Acknowledged,
    /// It is over.
    Resolved,
}

/// An incident as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Incident {
    /// Its id: 26 characters that sort by time of opening.
    #[schema(value_type = String, example = "01ARYZ6S41TSV4RRFFQ69G5FAV")]
    pub id: IncidentId,
    /// Where it is in its life.
    pub state: IncidentState,
    /// What people read first.
    pub title: String,
    /// The worst level among its alerts.
    #[schema(value_type = crate::openapi::LevelWord)]
    pub severity: Severity,
    /// The sector that it concerns.
    #[schema(value_type = crate::openapi::SectorWord)]
    pub sector: Sector,
    /// What groups its alerts.
    pub key: String,
    /// The labels that its alerts share.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub labels: Labels,
    /// When it opened.
    #[schema(value_type = String, format = DateTime)]
    pub opened_at: Timestamp,
    /// When something last happened to it.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// When somebody took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub acknowledged_at: Option<Timestamp>,
    /// Who took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub resolved_at: Option<Timestamp>,
    /// How many of its alerts fire.
    pub alerts_firing: u64,
    /// What happened to it, oldest first; empty in listings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<Step>,
}

/// Something that happened to an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Step {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What.
    #[schema(value_type = String, example = "acknowledged")]
    pub action: IncidentAction,
    /// Who: a token's name, or `dihya`.
    pub by: String,
    /// A note, or why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// Which incidents to list.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct IncidentFilter {
    /// Only those in this state.
    pub state: Option<IncidentState>,
    /// Only those that concern this check.
    pub check: Option<String>,
}

/// What a person does to an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IncidentAct {
    /// Takes it.
    Acknowledge {
        /// Why, or what next; may be empty.
        note: String,
    },
    /// Closes it. Refused as a conflict while one of its alerts fires.
    Resolve {
        /// What it was; may be empty.
        note: String,
    },
    /// Writes a note.
    Note {
        /// The note.
        text: String,
        /// Whether the public status page shows it (`IncidentAction::Published`).
        public: bool,
    },
}

/// The incidents of each tenant.
pub trait Incidents: Send + Sync {
    /// Lists incidents, newest first, without their timelines.
    fn list<'a>(
        &'a self,
        tenant: &'a Tenant,
        filter: IncidentFilter,
        page: Page,
    ) -> BoxFuture<'a, Result<Listing<Incident>, Declined>>;

    /// Returns one incident with its timeline.
    fn find<'a>(&'a self, tenant: &'a Tenant, id: &'a IncidentId) -> BoxFuture<'a, Result<Incident, Declined>>;

    /// Does what a person asked for and returns the incident after it, with its timeline.
    fn act<'a>(
        &'a self,
        tenant: &'a Tenant,
        id: &'a IncidentId,
        act: IncidentAct,
        by: &'a str,
    ) -> BoxFuture<'a, Result<Incident, Declined>>;
}

/// Where a silence is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SilenceState {
    /// It begins later.
    Pending,
    /// It is in force.
    Active,
    /// It is over.
    Expired,
}

/// A silence as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Silence {
    /// Its id: a version 4 UUID.
    pub id: String,
    /// Where it is in its life.
    pub state: SilenceState,
    /// All must hold for an alert to be silenced.
    #[schema(value_type = Vec<crate::openapi::MatcherShape>)]
    pub matchers: Vec<Matcher>,
    /// From when.
    #[schema(value_type = String, format = DateTime)]
    pub starts_at: Timestamp,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub ends_at: Timestamp,
    /// Who set it.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// When it was last set or ended.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// A silence to be set. Times are resolved, and checked to be in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SilenceDraft {
    /// The silence that this one replaces.
    pub id: Option<String>,
    /// All must hold; at least one.
    pub matchers: Vec<Matcher>,
    /// From when.
    pub starts_at: Timestamp,
    /// Until when.
    pub ends_at: Timestamp,
    /// Why.
    pub comment: String,
}

/// The silences of each tenant.
pub trait Silences: Send + Sync {
    /// Lists silences, those that end last first.
    fn list<'a>(
        &'a self,
        tenant: &'a Tenant,
        state: Option<SilenceState>,
        page: Page,
    ) -> BoxFuture<'a, Result<Listing<Silence>, Declined>>;

    /// Sets a silence.
    fn set<'a>(
        &'a self,
        tenant: &'a Tenant,
        draft: SilenceDraft,
        by: &'a str,
    ) -> BoxFuture<'a, Result<Silence, Declined>>;

    /// Ends a silence now.
    fn expire<'a>(&'a self, tenant: &'a Tenant, id: &'a str, by: &'a str) -> BoxFuture<'a, Result<Silence, Declined>>;
}

/// How a notification stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NotificationState {
    /// It waits for its first or its next attempt.
    Pending,
    /// The channel took it.
    Delivered,
    /// It was given up.
    Failed,
}

/// A notification and each attempt at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Notification {
    /// The idempotency key.
    pub id: String,
    /// The incident that it is about; absent for a test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// Who is told, as routing named them.
    pub receiver: String,
    /// Through what.
    pub channel: String,
    /// Whether it says that something fires, or that it is over.
    pub firing: bool,
    /// How it stands.
    pub state: NotificationState,
    /// When it was decided.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// When it will be, or was, given up.
    #[schema(value_type = String, format = DateTime)]
    pub give_up_at: Timestamp,
    /// Each attempt, oldest first.
    pub attempts: Vec<Attempt>,
}

/// One attempt at a notification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Attempt {
    /// Which one, from 1.
    pub attempt: u32,
    /// How it ended.
    #[schema(value_type = String, example = "delivered")]
    pub outcome: Outcome,
    /// When it ended.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Why it did not succeed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When the next attempt is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_at: Option<Timestamp>,
}

/// Which notifications to list.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NotificationFilter {
    /// Only those about this incident.
    pub incident: Option<String>,
    /// Only those for this receiver.
    pub receiver: Option<String>,
    /// Only those in this state.
    pub state: Option<NotificationState>,
}

/// The history of notifications of each tenant, and the channels that they go through.
pub trait Notifications: Send + Sync {
    /// Returns the names of the channels that are declared at present, ascending.
    fn channels(&self, tenant: &Tenant) -> Vec<String>;

    /// Lists notifications, newest first.
    fn list<'a>(
        &'a self,
        tenant: &'a Tenant,
        filter: NotificationFilter,
        page: Page,
    ) -> BoxFuture<'a, Result<Listing<Notification>, Declined>>;
}

/// What a heartbeat says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Beat {
    /// The job ended well.
    Success,
    /// The job began.
    Start,
    /// The job failed.
    Fail,
    /// The job ended with this exit code; 0 is success.
    Exit(u8),
}

/// The heartbeats that jobs send.
pub trait Heartbeats: Send + Sync {
    /// Takes one beat for the heartbeat with this id; it is durable on return. `sender` is the tenant of the token that
    /// came along, if one did that may send: without it only an unguessable id is an id at all.
    fn beat<'a>(&'a self, id: &'a str, beat: Beat, sender: Option<&'a Tenant>) -> BoxFuture<'a, Result<(), Declined>>;
}

/// Whose a log is, and who may read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOwner {
    /// The tenant; `None` for the meta-log, which belongs to the instance.
    pub tenant: Option<Tenant>,
    /// Whether anybody may read its tiles and checkpoints.
    pub public: bool,
}

/// The logs of this instance, as strangers read them.
pub trait Ledgers: Send + Sync {
    /// Returns the tenants that the configuration declares.
    fn tenants(&self) -> Vec<Tenant>;

    /// Returns whose log `origin` is, if there is one.
    fn owner(&self, origin: &Origin) -> Option<LogOwner>;

    /// Reads one file of a log.
    fn read<'a>(&'a self, origin: &'a Origin, file: LedgerFile) -> BoxFuture<'a, Result<Bytes, Declined>>;

    /// Returns the tlog-proof text of the record at `position`.
    fn prove<'a>(&'a self, tenant: &'a Tenant, position: Position) -> BoxFuture<'a, Result<String, Declined>>;
}

/// How one tenant's log stands.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerGauge {
    /// Whose.
    pub tenant: Tenant,
    /// How many records it holds.
    pub records: u64,
    /// How many leaves its last signed checkpoint covers.
    pub committed: u64,
    /// How long the oldest durable record has waited for a checkpoint; zero when none waits.
    pub commit_lag: Duration,
}

/// How full one channel's outbox is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxGauge {
    /// Whose.
    pub tenant: Tenant,
    /// Which channel.
    pub channel: String,
    /// How many notifications wait.
    pub pending: u64,
}

/// How one output stands with one tenant's events.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutputGauge {
    /// Whose events.
    pub tenant: Tenant,
    /// Which output.
    pub output: String,
    /// Events by what became of them: `sent`, `known`, `refused` and `expired`.
    pub events: [(&'static str, u64); 4],
    /// Bytes that went out.
    pub bytes: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// How long ago the oldest event was admitted that was not handed over.
    pub lag: Duration,
}

/// How the scheduler of checks is doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SchedulerGauge {
    /// Runs in flight.
    pub running: u64,
    /// Runs started.
    pub runs: u64,
    /// Runs left out because the one before was still going, or because they would have been late by more than an interval.
    pub skipped: u64,
    /// Runs by how late they started: upper bound in seconds and runs of that bucket, the last bound infinite.
    pub lag: Vec<(f64, u64)>,
    /// Sum of all lags in seconds.
    pub lag_sum: f64,
}

/// How the program itself stands.
pub trait Vitals: Send + Sync {
    /// Returns why the program should not be relied on now; empty when it can be. Nothing of it is shown to strangers.
    fn ailments(&self) -> Vec<String>;

    /// Returns how each log stands.
    fn ledgers(&self) -> Vec<LedgerGauge>;

    /// Returns how full each outbox is.
    fn outboxes(&self) -> Vec<OutboxGauge>;

    /// Returns how each output stands with each tenant.
    fn outputs(&self) -> Vec<OutputGauge>;

    /// Tells whether events can be asked for.
    fn lake_is_open(&self) -> bool;

    /// Returns how the checks are run; `None` until there are any.
    fn scheduler(&self) -> Option<SchedulerGauge>;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token that was revoked between two pages was the cursor, and the rest of the listing was lost.
    #[test]
    fn a_cursor_holds_when_its_row_is_gone() {
        let cut = |rows: &[&str], after: Option<&str>| {
            let page = Page { limit: 2, after: after.map(str::to_owned) };
            let listing = Listing::cut(rows.iter().map(|row| (*row).to_owned()), &page, String::clone);
            (listing.items.concat(), listing.next)
        };
        assert_eq!(cut(&["a", "b", "c", "d"], None), ("ab".to_owned(), Some("b".to_owned())));
        assert_eq!(cut(&["a", "b", "c", "d"], Some("b")), ("cd".to_owned(), None));
        assert_eq!(cut(&["a", "c", "d"], Some("b")), ("cd".to_owned(), None));
        assert_eq!(cut(&["a"], Some("b")), (String::new(), None));
    }
}
