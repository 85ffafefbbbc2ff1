//! What a signal is, and the small traits that cross walls.
//!
//! The wall is purity: nothing here does IO, spawns, or reads a clock. Every other crate speaks in these types, so a
//! stage of a signal's life has one name everywhere: `Signal` → `Cleared` (crate `privacy`) → `Receipt`.

pub mod admin;
pub mod admit;
pub mod alert;
pub mod cbor;
pub mod check;
pub mod clock;
pub mod config;
pub mod count;
pub mod event;
pub mod follow;
pub mod incident;
pub mod label;
pub mod limits;
pub mod malformed;
pub mod map;
pub mod notification;
pub mod private;
pub mod schema;
pub mod sector;
pub mod severity;
pub mod signal;
pub mod silence;
pub mod tenant;
pub mod value;

pub use admin::{Access, AdminAct, ConfigLoad, Gap, Question, SelfTest};
pub use admit::{Admit, BoxFuture, Feed, Level, Lose, Position, Receipt, Recorded, Refusal, RefusalKind};
pub use alert::Alert;
pub use check::{CheckChange, CheckResult, ConditionOutcome, State, Timings};
pub use clock::{Clock, Rng, SeededRng, SteadyClock, StepClock};
pub use count::{CountEvents, Uncounted};
pub use event::Event;
pub use follow::{FollowLog, LogFault, LogFiles, LogKeys, LogSeen};
pub use incident::{IncidentAction, IncidentId, IncidentTransition};
pub use jiff::Timestamp;
pub use label::{LabelSet, Labels};
pub use malformed::Malformed;
pub use map::Map;
pub use notification::{Delivery, Intent, IntentId, Outcome};
pub use private::Private;
pub use schema::{Class, Field, Kind, Tier};
pub use sector::Sector;
pub use severity::Severity;
pub use signal::{Body, Signal, SourceId};
pub use silence::{MatchOp, Matcher, SilenceAction, SilenceChange};
pub use tenant::{Origin, Tenant};
pub use value::Value;
