//! Active checks: from configuration to [`model::CheckResult`].
//!
//! The wall is trust: this crate alone opens connections to watched services, and what they answer is hostile. Each
//! kind of probe is a file under `kind/` and a line in [`kind::KINDS`]; all that speak TCP go through [`connect`].

pub mod blocking;
pub mod board;
pub mod condition;
pub mod config;
pub mod connect;
pub mod fact;
pub mod heartbeat;
pub mod kind;
pub mod maintenance;
pub mod schedule;
pub mod track;

pub use board::{Board, Standing};
pub use config::{Check, Config, Issue};
pub use connect::Connector;
pub use fact::{Fact, Facts};
pub use heartbeat::{Heartbeats, Kept, Ping};
pub use kind::{Ctx, Kind, Means, Observation, Probe};
pub use schedule::{Full, Results, Scheduler, run_once};

#[cfg(test)]
mod reasons;
#[cfg(test)]
mod testing;
