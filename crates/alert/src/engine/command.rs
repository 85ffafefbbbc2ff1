//! What people and the API ask of the engine: look, take, note, close, silence, test, send.
//!
//! Everything that changes something is a record first; the answer comes when that record is folded, so whoever asks
//! again sees what he did.

use std::time::Duration;

use jiff::Timestamp;
use model::limits::{NOTE_BYTES_MAX, SILENCES_MAX};
use model::{
    Body, IncidentAction, IncidentId, IncidentTransition, Intent, IntentId, Labels, Level, Matcher, Position, Receipt,
    RefusalKind, Sector, Severity, Signal, SilenceAction, SilenceChange, SourceId,
};

use super::{Engine, Shared, lock};
use crate::error::Error;
use crate::incidents::{Incident, Mute, Tracked, intent_id, later};
use crate::matcher;
use crate::notification::{Notification, Reason, Status};
use crate::send::SendAlert;
use crate::state::{Depth, IncidentFilter, NotificationFilter, Notified, Page, StateError};

/// How long an answer waits for its record to be folded; after that it comes all the same, the record being durable.
const FOLD_WAIT: Duration = Duration::from_secs(5);

/// What the engine has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records folded.
    pub records_folded: u64,
    /// Records decided and admitted.
    pub signals_decided: u64,
    /// Attempts that a channel took.
    pub attempts_delivered: u64,
    /// Attempts that failed and will be made again.
    pub attempts_retried: u64,
    /// Notifications given up.
    pub attempts_failed: u64,
    /// Alerts that were dropped because as many fire as can be kept.
    pub alerts_dropped: u64,
}

/// A silence to be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SilenceDraft {
    /// The silence that this one replaces, if it is not over.
    pub id: Option<String>,
    /// All must hold; at least one, and not all may match the empty label.
    pub matchers: Vec<Matcher>,
    /// From when.
    pub starts_at: Timestamp,
    /// Until when.
    pub ends_at: Timestamp,
    /// Why.
    pub comment: String,
}

/// Why somebody was told of an alert, or was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// The alert.
    pub alert: Tracked,
    /// Whether it fires.
    pub firing: bool,
    /// Why it is told to nobody at present, if so.
    pub mute: Option<Mute>,
    /// Each receiver and channel that its routes lead to.
    pub tellings: Vec<Telling>,
}

/// How one receiver and channel stand to an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    /// The receiver; empty for a channel named by the sender.
    pub receiver: String,
    /// The channel.
    pub channel: String,
    /// The group that it is told with, as Alertmanager writes its key.
    pub group_key: String,
    /// When the group was told last, through this channel.
    pub told_at: Option<Timestamp>,
    /// Whether it was told then that this alert fires.
    pub told: bool,
    /// When the group is told next, as far as is known.
    pub next_at: Option<Timestamp>,
}

/// Makes a notification about no alert: a test or a notice.
pub(super) fn plain(
    shared: &Shared,
    channel: &str,
    receiver: &str,
    reason: Reason,
    text: &str,
    now: Timestamp,
) -> Notification {
    let config = std::sync::Arc::clone(&lock(&shared.setup).config);
    let integrations = config.receivers.get(receiver).map(|r| r.integrations.as_slice()).unwrap_or_default();
    let language = integrations.iter().find(|integration| integration.channel == channel).and_then(|i| i.language);
    Notification {
        id: intent_id(now, &*shared.rng),
        tenant: shared.tenant.clone(),
        reason,
        status: Status::Firing,
        receiver: receiver.to_owned(),
        channel: channel.to_owned(),
        language: language.unwrap_or(config.dihya.language),
        incident: None,
        group_key: String::new(),
        group_labels: Labels::new(),
        common_labels: Labels::new(),
        common_annotations: Labels::new(),
        severity: Severity::Info,
        sector: Sector::None,
        alerts: Vec::new(),
        truncated: 0,
        text: text.to_owned(),
        at: now,
        external_url: config.dihya.external_url.clone(),
        attempt: 1,
        had: std::collections::BTreeSet::new(),
    }
}

impl Shared {
    /// Admits signals of the tenant's and returns their receipts.
    pub(super) async fn admit_all(&self, bodies: Vec<Body>) -> Result<Vec<Receipt>, Error> {
        let signals = bodies.into_iter().map(|body| Signal::ours(self.tenant.clone(), body)).collect();
        let admitted = self.admit.admit(signals, Level::Durable).await;
        admitted.map_err(|source| Error::Refused { doing: "admit a record", source })
    }

    async fn admit_and_wait(&self, bodies: Vec<Body>) -> Result<(), Error> {
        let receipts = self.admit_all(bodies).await?;
        if let Some(receipt) = receipts.last() {
            self.wait_for(receipt.position).await;
        }
        Ok(())
    }

    async fn wait_for(&self, position: Position) {
        let mut folded = self.folded.subscribe();
        let reached = folded.wait_for(|folded| *folded >= Some(position));
        // Late or stopped, the record is durable all the same.
        let _late = tokio::time::timeout(FOLD_WAIT, reached).await;
    }
}

impl Engine {
    /// Lists incidents, newest first, without the steps of their lives.
    ///
    /// # Errors
    /// When the control state cannot be read.
    pub async fn incidents(&self, filter: &IncidentFilter, page: &Page) -> Result<Vec<Incident>, Error> {
        Ok(self.shared.state.incidents(&self.shared.tenant, filter, page).await?)
    }

    /// Returns an incident and the steps of its life, oldest first.
    ///
    /// # Errors
    /// When there is none, or the control state cannot be read.
    pub async fn incident(&self, id: &IncidentId) -> Result<(Incident, Vec<IncidentTransition>), Error> {
        let found = self.shared.state.incident(&self.shared.tenant, id).await?;
        found.ok_or(Error::Missing { what: "incident" })
    }

    /// Takes an incident for `by`: it is then neither repeated nor reminded of; its end is still told.
    ///
    /// # Errors
    /// When there is none or it is over, when the note is too long, or nothing can be recorded.
    pub async fn acknowledge(&self, id: &IncidentId, by: &str, note: &str) -> Result<Incident, Error> {
        self.act(id, IncidentAction::Acknowledged, by, note).await
    }

    /// Writes a note on an incident; `public` ones are shown on the status page.
    ///
    /// # Errors
    /// When there is none, when the note is empty or too long, or nothing can be recorded.
    pub async fn note(&self, id: &IncidentId, by: &str, text: &str, public: bool) -> Result<Incident, Error> {
        if text.trim().is_empty() {
            return Err(Error::Invalid { field: "text".to_owned(), expected: "expected a note".to_owned() });
        }
        self.act(id, if public { IncidentAction::Published } else { IncidentAction::Noted }, by, text).await
    }

    /// Closes an incident.
    ///
    /// # Errors
    /// When there is none, when it is over or one of its alerts still fires, or nothing can be recorded.
    pub async fn resolve(&self, id: &IncidentId, by: &str, note: &str) -> Result<Incident, Error> {
        self.act(id, IncidentAction::Resolved, by, note).await
    }

    async fn act(&self, id: &IncidentId, action: IncidentAction, by: &str, note: &str) -> Result<Incident, Error> {
        if note.len() > NOTE_BYTES_MAX {
            let expected = format!("expected at most {NOTE_BYTES_MAX} bytes");
            return Err(Error::Invalid { field: "note".to_owned(), expected });
        }
        let (incident, _) = self.incident(id).await?;
        let notes = matches!(action, IncidentAction::Noted | IncidentAction::Published);
        if !notes && !incident.is_open() {
            return Err(Error::Conflict { reason: "the incident is over already".to_owned() });
        }
        if action == IncidentAction::Resolved && !incident.members.is_empty() {
            let reason = format!("{} of its alerts still fire", incident.members.len());
            return Err(Error::Conflict { reason });
        }
        let transition = IncidentTransition {
            incident: id.clone(),
            action,
            at: self.shared.time.now(),
            by: by.to_owned(),
            key: incident.key,
            title: incident.title,
            severity: incident.severity,
            sector: incident.sector,
            labels: Labels::new(),
            note: note.to_owned(),
        };
        self.shared.admit_and_wait(vec![transition.into()]).await?;
        Ok(self.incident(id).await?.0)
    }

    /// Lists silences, those that end last first.
    ///
    /// # Errors
    /// When the control state cannot be read.
    pub async fn silences(&self, page: &Page) -> Result<Vec<SilenceChange>, Error> {
        Ok(self.shared.state.silences(&self.shared.tenant, page).await?)
    }

    /// Sets a silence, or replaces one that is not over.
    ///
    /// # Errors
    /// When it would match everything or has no time to hold, when there are too many, when the one to replace is not
    /// there, or nothing can be recorded.
    pub async fn set_silence(&self, draft: SilenceDraft, by: &str) -> Result<SilenceChange, Error> {
        let invalid = |field: &str, expected: &str| Error::Invalid { field: field.into(), expected: expected.into() };
        let now = self.shared.time.now();
        let compiled = matcher::compile(&draft.matchers).map_err(|error| invalid("matchers", &error.to_string()))?;
        if compiled.iter().all(|matcher| matcher.matches(&Labels::new())) {
            return Err(invalid("matchers", "expected at least one that does not match an absent label"));
        }
        if draft.matchers.iter().any(|matcher| matcher.name.is_empty()) {
            return Err(invalid("matchers", "expected the name of a label"));
        }
        if draft.ends_at <= draft.starts_at || draft.ends_at <= now {
            return Err(invalid("ends_at", "expected a time after the start and after now"));
        }
        if draft.comment.len() > NOTE_BYTES_MAX {
            return Err(invalid("comment", "expected a shorter one"));
        }
        let in_force = lock(&self.shared.incidents).silences().filter(|silence| silence.ends_at > now).count();
        let id = match draft.id {
            Some(id) => {
                let known = self.shared.state.silence(&self.shared.tenant, &id).await?;
                let known = known.ok_or(Error::Missing { what: "silence" })?;
                if known.ends_at > now { id } else { self.uuid() }
            }
            None if in_force >= SILENCES_MAX => {
                let reason = format!("{SILENCES_MAX} silences are in force already");
                return Err(Error::Conflict { reason });
            }
            None => self.uuid(),
        };
        let change = SilenceChange {
            id: id.clone(),
            action: SilenceAction::Set,
            matchers: draft.matchers,
            starts_at: draft.starts_at,
            ends_at: draft.ends_at,
            created_by: by.to_owned(),
            comment: draft.comment,
            at: now,
        };
        self.shared.admit_and_wait(vec![change.clone().into()]).await?;
        Ok(self.shared.state.silence(&self.shared.tenant, &id).await?.unwrap_or(change))
    }

    /// Ends a silence now.
    ///
    /// # Errors
    /// When there is none, when it is over, or nothing can be recorded.
    pub async fn expire_silence(&self, id: &str, by: &str) -> Result<SilenceChange, Error> {
        let now = self.shared.time.now();
        let known = self.shared.state.silence(&self.shared.tenant, id).await?;
        let known = known.ok_or(Error::Missing { what: "silence" })?;
        if known.ends_at <= now {
            return Err(Error::Conflict { reason: "the silence is over already".to_owned() });
        }
        crate::events::silence_expired(&self.shared.tenant, id, by);
        // One that was to begin later never does.
        let starts_at = known.starts_at.min(now);
        let change = SilenceChange { action: SilenceAction::Expired, starts_at, ends_at: now, at: now, ..known };
        self.shared.admit_and_wait(vec![change.clone().into()]).await?;
        Ok(self.shared.state.silence(&self.shared.tenant, id).await?.unwrap_or(change))
    }

    /// Makes a version 4 UUID.
    fn uuid(&self) -> String {
        let mut b = [0_u8; 16];
        self.shared.rng.fill(&mut b);
        b[6] = b[6] & 0x0F | 0x40;
        b[8] = b[8] & 0x3F | 0x80;
        let hex: Vec<String> = b.iter().map(|byte| format!("{byte:02x}")).collect();
        [&hex[..4], &hex[4..6], &hex[6..8], &hex[8..10], &hex[10..]].map(<[String]>::concat).join("-")
    }

    /// Lists notifications with their attempts, newest first.
    ///
    /// # Errors
    /// When the control state cannot be read.
    pub async fn notifications(&self, filter: &NotificationFilter, page: &Page) -> Result<Vec<Notified>, Error> {
        Ok(self.shared.state.notifications(&self.shared.tenant, filter, page).await?)
    }

    /// Returns the channels that notifications wait for, and how many.
    ///
    /// # Errors
    /// When the control state cannot be read.
    pub async fn depths(&self) -> Result<Vec<(String, Depth)>, StateError> {
        self.shared.state.depths(&self.shared.tenant).await
    }

    /// Returns the alerts that fire or have stopped lately, ascending by fingerprint.
    #[must_use]
    pub fn alerts(&self) -> Vec<Tracked> {
        lock(&self.shared.incidents).alerts().values().cloned().collect()
    }

    /// Says why somebody was told of an alert, or was not; `None` when no such alert is known any more. The
    /// notifications themselves are those of its incident.
    #[must_use]
    pub fn why(&self, fingerprint: u64) -> Option<Why> {
        self.shared.with_incidents(|incidents, now, view| incidents.why(fingerprint, now, view))
    }

    /// Sends a test through each channel of a receiver, by way of the outbox, and returns the notifications' keys.
    ///
    /// # Errors
    /// When there is no such receiver, or nothing can be recorded.
    pub async fn test_receiver(&self, receiver: &str, by: &str) -> Result<Vec<IntentId>, Error> {
        let setup = self.shared.setup();
        let found = setup.config.receivers.get(receiver).ok_or(Error::Missing { what: "receiver" })?;
        let now = self.shared.time.now();
        let mut bodies = Vec::new();
        let mut ids = Vec::new();
        for integration in &found.integrations {
            let text = format!("{by}: {receiver}/{}", integration.channel);
            let test = plain(&self.shared, &integration.channel, receiver, Reason::Test, &text, now);
            ids.push(test.id.clone());
            bodies.push(Body::from(Intent {
                id: test.id.clone(),
                incident: None,
                receiver: receiver.to_owned(),
                channel: integration.channel.clone(),
                firing: true,
                at: now,
                give_up_at: later(now, setup.config.dihya.give_up_after),
                message: crate::incidents::Message::plain(&test),
            }));
        }
        if !bodies.is_empty() {
            self.shared.admit_and_wait(bodies).await?;
        }
        Ok(ids)
    }

    /// Admits an alert that somebody sent in words, and returns its receipt: it is then durable, and told by and by.
    ///
    /// # Errors
    /// When a field cannot be accepted, when there is no such channel, or nothing can be recorded.
    pub async fn send_alert(&self, alert: SendAlert) -> Result<Receipt, Error> {
        if let Some(channel) = &alert.channel
            && self.shared.channel(channel).is_none()
        {
            let expected = "expected a channel that is declared".to_owned();
            return Err(Error::Invalid { field: "channel".to_owned(), expected });
        }
        let alert = alert.into_alert(self.shared.time.now(), &*self.shared.rng)?;
        let nothing = || model::Refusal { kind: RefusalKind::Retry, reason: "no receipt came".to_owned() };
        let signal = Signal { tenant: self.shared.tenant.clone(), source: SourceId::COMMAND, body: alert.into() };
        let admitted = self.shared.admit.admit(vec![signal], Level::Durable).await;
        let receipts = admitted.map_err(|source| Error::Refused { doing: "admit an alert", source })?;
        receipts.into_iter().next().ok_or_else(|| Error::Refused { doing: "admit an alert", source: nothing() })
    }
}
