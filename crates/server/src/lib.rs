//! HTTP APIs, authentication, authorisation, status page.
//!
//! The wall is trust: the outside calls in here. What the server needs of the rest of the program it asks through the
//! traits of [`seam`]; it never sees a raw signal after it was admitted, and admits through `model::Admit` alone.

mod api;
mod app;
pub mod ask;
pub mod config;
#[cfg(test)]
mod doubles;
pub mod error;
mod guard;
pub mod history;
mod limiter;
mod listener;
pub mod metrics;
pub mod openapi;
mod page;
pub mod path;
pub mod problem;
mod process;
pub mod routes;
mod schema;
pub mod seam;
mod server;
mod syslog;
mod tls;
pub mod token;
pub mod tokens;

pub use api::alerts::{ALERT_FIRES_FOR, AlertDraft};
pub use api::status::{Overview, Service};
pub use app::Parts;
pub use config::Config;
pub use error::Error;
pub use history::History;
pub use metrics::Metrics;
pub use seam::Declined;
pub use server::{Handle, Server};
pub use token::Role;
pub use tokens::{Account, TokenDraft, Tokens};
