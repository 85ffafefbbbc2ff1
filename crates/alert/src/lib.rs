//! Alerts → incidents → notifications: group, silence, acknowledge, and a durable outbox to people and machines.
//!
//! The wall is trust: connections to third parties are opened here, so what goes out is decided, recorded and durable
//! before the first attempt (invariant A-1).
//!
//! # Wiring
//! One [`Engine`] per tenant; all share one [`SqliteState`] and the same channels.
//!
//! ```text
//! config::load(node.get("alerting"), &channel_names)   -> Loaded { config, implicit, global } | all problems
//! channel::build_all(...)                               -> Channels, declared and implicit
//! SqliteState::open(path)                               -> one for all tenants
//! state.load(&tenant).await?.cursor                     -> Option<(Position, Timestamp)>: the feed starts after it
//! Engine::start(Parts::new(state, feed, admit, setup, clock, rng)).await
//! engine.reload(setup)          on a new configuration, as a whole
//! engine.failed().await         ends when the path cannot go on (RefusalKind::Stop): last_notice(text), then exit
//! engine.stop().await           graceful
//! ```
//!
//! [`send::check_alerts`] makes the alerts of a check that changed state; the binary makes its own, beside the result, so
//! one of the two has to go. `send_alert` is [`Engine::send_alert`] with a server, and [`send::SendAlert::into_alert`] without one.
//!
//! # Invariants
//! - A-1: an attempt is made only at a notification that is in the ledger and in the outbox; it leaves the outbox when
//!   the record of its end is folded. A crash may tell twice, with the same key, never not at all.
//! - A-2: state changes by folding records only; a decision takes effect when it comes back through the feed. Whoever
//!   folds the same records decides the same.
//! - A-3: the control state equals what folding the records from 0 gives, row for row.

pub mod channel;
pub mod config;
pub mod engine;
mod error;
mod events;
pub mod fault;
pub mod incidents;
pub mod matcher;
pub mod message;
pub mod notification;
pub mod route;
pub mod send;
pub mod state;

pub use channel::{Channel, Channels, SendError};
pub use config::Config;
pub use engine::{Engine, Parts, Setup};
pub use error::Error;
pub use incidents::Checks;
pub use notification::{IncidentSummary, Language, Notification, NotifiedAlert, Reason, Status};
pub use state::{SqliteState, State};
