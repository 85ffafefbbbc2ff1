//! Signals: whatever is admitted.

use crate::admin::{Access, AdminAct, ConfigLoad, Gap, SelfTest};
use crate::alert::Alert;
use crate::check::{CheckChange, CheckResult};
use crate::event::Event;
use crate::incident::IncidentTransition;
use crate::notification::{Delivery, Intent};
use crate::schema::{self, Kind, SchemaError};
use crate::silence::SilenceChange;
use crate::tenant::Tenant;
use crate::value::Value;

/// Names what produced a signal: 16 bytes, random per producer, never derived from a person or a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SourceId(pub [u8; 16]);

impl SourceId {
    /// The command that sends alerts, when no server takes them from it.
    pub const COMMAND: Self = Self(*b"dihya alert send");

    /// What comes as syslog: its senders have no token.
    pub const SYSLOG: Self = Self(*b"syslog listeners");

    /// What is read from files of logs.
    pub const FILES: Self = Self(*b"followed files..");

    /// What is read from journals of systemd.
    pub const JOURNAL: Self = Self(*b"followed journal");

    /// Names what comes with a token by the token's id, which is random and unrelated to the token. Never Dihya's own
    /// source, whatever the id is.
    #[must_use]
    pub fn of_token(id: &str) -> Self {
        let mut source = [b'-'; 16];
        source.iter_mut().zip(id.bytes()).for_each(|(to, from)| *to = from.max(1));
        Self(source)
    }
}

/// Anything admitted, before privacy. What is inside may be raw, so a `Signal` is not shown or stored: it goes to
/// `privacy`, the only door.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// Whose it is.
    pub tenant: Tenant,
    /// What produced it.
    pub source: SourceId,
    /// What it says.
    pub body: Body,
}

impl Signal {
    /// Makes a signal of Dihya's own, whose source is all zeros.
    #[must_use]
    pub fn ours(tenant: Tenant, body: impl Into<Body>) -> Self {
        Self { tenant, source: SourceId::default(), body: body.into() }
    }
}

/// What a signal says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Body {
    /// One run of one check.
    CheckResult(CheckResult),
    /// A check changed state.
    CheckChange(CheckChange),
    /// An alert fired or stopped.
    Alert(Alert),
    /// A step in an incident's life.
    Incident(IncidentTransition),
    /// The decision to notify.
    Intent(Intent),
    /// How an attempt to notify ended.
    Delivery(Delivery),
    /// A silence was set or ended.
    Silence(SilenceChange),
    /// Somebody changed something.
    Admin(AdminAct),
    /// Somebody read something.
    Access(Access),
    /// A configuration was put in force, or refused.
    Config(ConfigLoad),
    /// Something was not recorded.
    Gap(Gap),
    /// A channel or a checker was tested.
    SelfTest(SelfTest),
    /// A log line or a business event.
    Event(Box<Event>),
}

impl From<Event> for Body {
    fn from(event: Event) -> Self {
        Self::Event(Box::new(event))
    }
}

macro_rules! bodies {
    ($($variant:ident($type:ty) = $kind:ident),* $(,)?) => {
        $(impl From<$type> for Body {
            fn from(body: $type) -> Self {
                Self::$variant(body)
            }
        })*

        impl Body {
            /// Returns the kind of record that the body becomes.
            #[must_use]
            pub const fn kind(&self) -> Kind {
                match self {
                    $(Self::$variant(_) => Kind::$kind,)*
                    Self::Event(_) => Kind::Event,
                }
            }

            /// Returns the fields that its kind declares, ascending by id; what is undeclared is dropped.
            ///
            /// # Errors
            /// When the body cannot be written as fields: a bug in the schema.
            pub fn to_fields(&self) -> Result<Vec<(u16, Value)>, SchemaError> {
                match self {
                    $(Self::$variant(body) => schema::to_fields(Kind::$kind, body),)*
                    Self::Event(event) => Ok((**event).clone().into_fields()),
                }
            }

            /// Rebuilds a body from fields.
            ///
            /// # Errors
            /// When fields are missing or of another type, or the kind is not a body.
            pub fn from_fields(kind: Kind, fields: &[(u16, Value)]) -> Result<Self, SchemaError> {
                match kind {
                    $(Kind::$kind => Ok(Self::$variant(schema::from_fields(kind, fields)?)),)*
                    Kind::Event => Ok(Event::from_fields(fields)?.into()),
                    _ => Err(SchemaError::NotABody { kind }),
                }
            }
        }
    };
}

bodies! {
    CheckResult(CheckResult) = CheckResult,
    CheckChange(CheckChange) = CheckChange,
    Alert(Alert) = Alert,
    Incident(IncidentTransition) = Incident,
    Intent(Intent) = Intent,
    Delivery(Delivery) = Delivery,
    Silence(SilenceChange) = Silence,
    Admin(AdminAct) = Admin,
    Access(Access) = Access,
    Config(ConfigLoad) = Config,
    Gap(Gap) = Gap,
    SelfTest(SelfTest) = SelfTest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_is_taken_for_dihya_itself() {
        assert_eq!(SourceId::of_token("5f0c3a9e71b2d844"), SourceId(*b"5f0c3a9e71b2d844"));
        for id in ["", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "short"] {
            assert_ne!(SourceId::of_token(id), SourceId::default());
        }
    }
}
