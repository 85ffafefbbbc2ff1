//! Alerts → incidents → notifications: group, silence, acknowledge, and a durable outbox to people and machines.
//!
//! The wall is trust: connections to third parties are opened here, so what goes out is decided, recorded and durable
//! before the first attempt (invariant A-1).

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
