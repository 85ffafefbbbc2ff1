//! What each kind of record is made of: field numbers, names and classes. The numbers are on disk for ever.
//!
//! One table serves privacy (what may be public), the ledger (what is committed to) and the projections (how a record
//! becomes a body again). A field that is not declared here is dropped on its way in.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::value::Value;

/// What may happen to a field's value (`ledger-and-vault`, "What is stored where").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// An enumeration, a number or an id of ours: stands in the entry itself.
    Public,
    /// A name that the operator chose (check, receiver, channel): its interned number stands in the entry.
    Name,
    /// Free text and labels: cleared by privacy, committed to in the entry, kept in the erasable payload.
    Cleared,
}

/// One field of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its number in the entry.
    pub id: u16,
    /// Its name in the body.
    pub name: &'static str,
    /// What may happen to it.
    pub class: Class,
}

/// Whether a record has a leaf of its own or shares one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// A leaf of its own.
    Record,
    /// Under the leaf of its batch.
    Batch,
}

/// What kind of record an entry is. Kinds below 16 are the ledger's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum Kind {
    /// The first record of a log: its random `log_id`, and the checkpoint it goes on from, if any.
    Genesis = 1,
    /// A name was given a number.
    Name = 2,
    /// The leaf of a batch.
    Batch = 3,
    /// The leaf of a tenant's checkpoint in the meta-log.
    Meta = 4,
    /// Payloads up to a position were deleted under a policy.
    Retention = 5,
    /// A new signing key takes over.
    KeyRotation = 6,
    /// A torn tail was cut at recovery.
    Recovery = 7,
    /// One run of one check.
    CheckResult = 16,
    /// A check changed state.
    CheckChange = 17,
    /// An alert fired or stopped.
    Alert = 18,
    /// A step in an incident's life.
    Incident = 19,
    /// The decision to notify.
    Intent = 20,
    /// How an attempt to notify ended.
    Delivery = 21,
    /// A silence was set or ended.
    Silence = 22,
    /// Somebody changed something.
    Admin = 23,
    /// Somebody read something.
    Access = 24,
    /// A configuration was put in force, or refused.
    Config = 25,
    /// Something was not recorded.
    Gap = 26,
    /// A channel or a checker was tested.
    SelfTest = 27,
    /// A log line or a business event.
    Event = 28,
}

const fn public(id: u16, name: &'static str) -> Field {
    Field { id, name, class: Class::Public }
}
const fn name(id: u16, name: &'static str) -> Field {
    Field { id, name, class: Class::Name }
}
const fn cleared(id: u16, name: &'static str) -> Field {
    Field { id, name, class: Class::Cleared }
}

impl Kind {
    /// All kinds that this version knows.
    pub const ALL: [Self; 20] = [
        Self::Genesis,
        Self::Name,
        Self::Batch,
        Self::Meta,
        Self::Retention,
        Self::KeyRotation,
        Self::Recovery,
        Self::CheckResult,
        Self::CheckChange,
        Self::Alert,
        Self::Incident,
        Self::Intent,
        Self::Delivery,
        Self::Silence,
        Self::Admin,
        Self::Access,
        Self::Config,
        Self::Gap,
        Self::SelfTest,
        Self::Event,
    ];

    /// Returns the number on disk.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Returns the kind with that number on disk, if this version knows it.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// Returns the kind's name in documents and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Genesis => "genesis",
            Self::Name => "name",
            Self::Batch => "batch",
            Self::Meta => "meta",
            Self::Retention => "retention",
            Self::KeyRotation => "key-rotation",
            Self::Recovery => "recovery",
            Self::CheckResult => "check-result",
            Self::CheckChange => "check-change",
            Self::Alert => "alert",
            Self::Incident => "incident",
            Self::Intent => "intent",
            Self::Delivery => "delivery",
            Self::Silence => "silence",
            Self::Admin => "admin",
            Self::Access => "access",
            Self::Config => "config",
            Self::Gap => "gap",
            Self::SelfTest => "self-test",
            Self::Event => "event",
        }
    }

    /// Returns whether records of this kind have leaves of their own. What comes in bulk, and what is about persons,
    /// shares a batch leaf whose inner entries stay unpublished.
    #[must_use]
    pub const fn tier(self) -> Tier {
        match self {
            Self::CheckResult | Self::Access | Self::Name | Self::Event => Tier::Batch,
            _ => Tier::Record,
        }
    }

    /// Returns the fields of the kind, ascending by id. The ledger's own kinds declare theirs in the ledger.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "one table, a line per field: splitting it would hide the numbers")]
    pub const fn fields(self) -> &'static [Field] {
        match self {
            Self::Genesis
            | Self::Name
            | Self::Batch
            | Self::Meta
            | Self::Retention
            | Self::KeyRotation
            | Self::Recovery => &[],
            Self::CheckResult => {
                &const {
                    [
                        name(1, "id"),
                        public(2, "kind"),
                        public(3, "state"),
                        public(4, "observed"),
                        name(5, "name"),
                        cleared(6, "reason"),
                        cleared(7, "since"),
                        cleared(8, "checked_at"),
                        cleared(9, "conditions"),
                        cleared(10, "timings_ms"),
                        cleared(11, "figures"),
                        public(12, "maintenance"),
                    ]
                }
            }
            Self::CheckChange => {
                &const {
                    [
                        name(1, "id"),
                        public(2, "kind"),
                        public(3, "from"),
                        public(4, "to"),
                        cleared(5, "reason"),
                        cleared(6, "at"),
                        public(7, "flapping"),
                    ]
                }
            }
            Self::Alert => {
                &const {
                    [
                        public(1, "severity"),
                        public(2, "sector"),
                        cleared(3, "labels"),
                        cleared(4, "annotations"),
                        cleared(5, "starts_at"),
                        cleared(6, "ends_at"),
                        cleared(7, "generator_url"),
                        name(8, "channel"),
                    ]
                }
            }
            Self::Incident => {
                &const {
                    [
                        public(1, "incident"),
                        public(2, "action"),
                        public(3, "severity"),
                        public(4, "sector"),
                        cleared(5, "at"),
                        cleared(6, "by"),
                        cleared(7, "key"),
                        cleared(8, "title"),
                        cleared(9, "labels"),
                        cleared(10, "note"),
                    ]
                }
            }
            Self::Intent => {
                &const {
                    [
                        public(1, "id"),
                        public(2, "incident"),
                        name(3, "receiver"),
                        name(4, "channel"),
                        public(5, "firing"),
                        cleared(6, "at"),
                        cleared(7, "give_up_at"),
                        cleared(8, "message"),
                    ]
                }
            }
            Self::Delivery => {
                &const {
                    [
                        public(1, "intent"),
                        public(2, "attempt"),
                        public(3, "outcome"),
                        name(4, "channel"),
                        cleared(5, "at"),
                        cleared(6, "reason"),
                        cleared(7, "next_at"),
                    ]
                }
            }
            Self::Silence => {
                &const {
                    [
                        public(1, "id"),
                        public(2, "action"),
                        cleared(3, "matchers"),
                        cleared(4, "starts_at"),
                        cleared(5, "ends_at"),
                        cleared(6, "created_by"),
                        cleared(7, "comment"),
                        cleared(8, "at"),
                    ]
                }
            }
            Self::Admin => {
                &const {
                    [
                        public(1, "act"),
                        cleared(2, "actor"),
                        cleared(3, "target"),
                        cleared(4, "detail"),
                        cleared(5, "at"),
                    ]
                }
            }
            Self::Access => {
                &const { [public(1, "what"), public(2, "rows"), cleared(3, "actor"), cleared(4, "at"), cleared(5, "query")] }
            }
            Self::Config => {
                &const {
                    [
                        public(1, "accepted"),
                        public(2, "sha256"),
                        public(3, "checks"),
                        public(4, "problems"),
                        cleared(5, "at"),
                    ]
                }
            }
            Self::Gap => {
                &const {
                    [public(1, "cause"), public(2, "what"), public(3, "count"), cleared(4, "from"), cleared(5, "until")]
                }
            }
            Self::SelfTest => {
                &const { [public(1, "what"), name(2, "target"), public(3, "passed"), cleared(4, "reason"), cleared(5, "at")] }
            }
            Self::Event => {
                &const {
                    [
                        public(1, "severity"),
                        public(2, "sector"),
                        name(3, "stream"),
                        cleared(4, "time_ns"),
                        cleared(5, "observed_ns"),
                        cleared(6, "body"),
                        cleared(7, "attributes"),
                        cleared(8, "resource"),
                        cleared(9, "trace_id"),
                        cleared(10, "span_id"),
                        cleared(11, "cleared"),
                    ]
                }
            }
        }
    }
}

/// A body and its schema disagree: a bug of ours, or a record of a newer version.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A body could not be written as fields.
    #[error("could not write a {kind} as fields", kind = kind.as_str())]
    Write {
        /// Of which kind.
        kind: Kind,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Fields could not be read as a body.
    #[error("could not read a {kind} from its fields", kind = kind.as_str())]
    Read {
        /// Of which kind.
        kind: Kind,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A field is of another type than its kind says.
    #[error("could not read {field} of a {kind}", kind = kind.as_str())]
    Field {
        /// Of which kind.
        kind: Kind,
        /// Which one.
        field: &'static str,
    },
    /// The kind is one of the ledger's own.
    #[error("a {kind} is not a signal's body", kind = kind.as_str())]
    NotABody {
        /// Which kind.
        kind: Kind,
    },
}

pub(crate) fn to_fields<T: Serialize>(kind: Kind, body: &T) -> Result<Vec<(u16, Value)>, SchemaError> {
    let json = serde_json::to_value(body).map_err(|source| SchemaError::Write { kind, source })?;
    let serde_json::Value::Object(mut map) = json else { return Ok(Vec::new()) };
    Ok(kind
        .fields()
        .iter()
        .filter_map(|field| map.remove(field.name).filter(|v| !v.is_null()).map(|v| (field.id, Value::from(v))))
        .collect())
}

pub(crate) fn from_fields<T: DeserializeOwned>(kind: Kind, fields: &[(u16, Value)]) -> Result<T, SchemaError> {
    let map = kind
        .fields()
        .iter()
        .filter_map(|field| {
            let (_, value) = fields.iter().find(|(id, _)| *id == field.id)?;
            Some((field.name.to_owned(), serde_json::Value::from(value.clone())))
        })
        .collect();
    serde_json::from_value(serde_json::Value::Object(map)).map_err(|source| SchemaError::Read { kind, source })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{Alert, Body, Severity};

    #[test]
    fn field_numbers_ascend_and_kinds_are_found_by_number() {
        for kind in Kind::ALL {
            assert!(kind.fields().windows(2).all(|pair| pair[0].id < pair[1].id), "{kind:?}");
            assert_eq!(Kind::from_number(kind.number()), Some(kind));
        }
        assert_eq!(Kind::from_number(999), None);
    }

    #[test]
    fn a_body_survives_its_fields() {
        let alert = Alert {
            labels: [("alertname".to_owned(), "Down".to_owned())].into(),
            annotations: [].into(),
            starts_at: Timestamp::UNIX_EPOCH,
            ends_at: None,
            generator_url: None,
            severity: Severity::Critical,
            sector: crate::Sector::None,
            channel: Some("log".to_owned()),
        };
        let body = Body::from(alert);
        let fields = body.to_fields().expect("writes");
        assert_eq!(fields.first(), Some(&(1, Value::from("critical"))));
        assert_eq!(Body::from_fields(Kind::Alert, &fields).expect("reads"), body);
    }

    #[test]
    fn every_field_of_a_body_is_declared() {
        // A body that serialises a field its table lacks would lose it silently.
        for body in crate::schema::samples::all() {
            let fields = body.to_fields().expect("writes");
            assert_eq!(Body::from_fields(body.kind(), &fields).expect("reads"), body, "{:?}", body.kind());
        }
    }

    #[test]
    fn missing_fields_and_foreign_kinds_are_refused() {
        assert!(matches!(Body::from_fields(Kind::Alert, &[]), Err(SchemaError::Read { .. })));
        assert!(matches!(Body::from_fields(Kind::Batch, &[]), Err(SchemaError::NotABody { .. })));
    }
}

#[cfg(test)]
pub(crate) mod samples {
    //! One body of each kind, with every optional field present.

    use jiff::Timestamp;

    use crate::*;

    #[expect(clippy::too_many_lines, reason = "one sample per kind")]
    pub(crate) fn all() -> Vec<Body> {
        let at = Timestamp::from_second(1_700_000_000).expect("in range");
        let labels = Labels::from([("alertname".into(), "Down".into())]);
        let incident = IncidentId("01ARYZ6S41ZZZZZZZZZZZZZZZZ".into());
        vec![
            Event { stream: "shop".into(), body: Some("text".into()), ..Event::default() }.into(),
            CheckResult {
                id: "web".into(),
                name: "Web".into(),
                kind: "http".into(),
                state: State::Down,
                observed: State::Down,
                reason: "refused".into(),
                since: at,
                checked_at: at,
                conditions: vec![ConditionOutcome { expr: "status == 200".into(), ok: false, actual: "503".into() }],
                timings_ms: Timings { total: Some(1.5), ..Timings::default() },
                figures: [("days_left".into(), 3.5)].into(),
                maintenance: true,
            }
            .into(),
            CheckChange {
                id: "web".into(),
                kind: "http".into(),
                from: State::Up,
                to: State::Down,
                reason: "refused".into(),
                at,
                flapping: true,
            }
            .into(),
            Alert {
                labels: labels.clone(),
                annotations: [("summary".into(), "x".into())].into(),
                starts_at: at,
                ends_at: Some(at),
                generator_url: Some("http://h/".into()),
                severity: Severity::Error,
                sector: Sector::Health,
                channel: Some("log".into()),
            }
            .into(),
            IncidentTransition {
                incident: incident.clone(),
                action: IncidentAction::Noted,
                at,
                by: "ana".into(),
                key: "check=web".into(),
                title: "Web".into(),
                severity: Severity::Error,
                sector: Sector::Health,
                labels,
                note: "looking".into(),
            }
            .into(),
            Intent {
                id: IntentId("i1".into()),
                incident: Some(incident),
                receiver: "ops".into(),
                channel: "mail".into(),
                firing: true,
                at,
                give_up_at: at,
                message: serde_json::json!({"title": "x", "alerts": [{"n": 1}]}),
            }
            .into(),
            Delivery {
                intent: IntentId("i1".into()),
                attempt: 2,
                outcome: Outcome::Retry,
                at,
                channel: "mail".into(),
                reason: "refused".into(),
                next_at: Some(at),
            }
            .into(),
            SilenceChange {
                id: "s".into(),
                action: SilenceAction::Set,
                matchers: vec![Matcher { name: "a".into(), op: MatchOp::NotMatches, value: "b".into() }],
                starts_at: at,
                ends_at: at,
                created_by: "ana".into(),
                comment: "works".into(),
                at,
            }
            .into(),
            AdminAct { actor: "ana".into(), act: "token.add".into(), target: "ci".into(), detail: "viewer".into(), at }
                .into(),
            Access {
                actor: "ana".into(),
                what: "/api/dihya/v1/search".into(),
                rows: 3,
                at,
                query: Some("debug".into()),
                question: None,
            }
            .into(),
            ConfigLoad { accepted: true, sha256: "ab".into(), checks: 2, problems: 0, at }.into(),
            Gap { cause: "queue_full".into(), what: "check-result".into(), count: 3, from: at, until: at }.into(),
            SelfTest { what: "channel".into(), target: "mail".into(), passed: false, reason: "x".into(), at }.into(),
        ]
    }
}
