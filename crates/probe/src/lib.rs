//! Active checks: from configuration to [`model::CheckResult`].
//!
//! The wall is trust: this crate alone opens connections to watched services, and what they answer is hostile. Each
//! kind of probe is a file under `kind/` and a line in [`kind::KINDS`]; all that speak TCP go through [`connect`].

pub mod board;
pub mod config;
pub mod connect;
pub mod fact;
pub mod heartbeat;
pub mod kind;

pub use board::Board;
pub use config::Issue;
pub use connect::Connector;
pub use fact::{Fact, Facts};
pub use heartbeat::Heartbeats;
pub use kind::{Ctx, Kind, Means, Observation, Probe};
