//! `Signal` → `Cleared`: the only door.
//!
//! The wall is trust: raw values are seen here and nowhere else, and only this crate can make a [`Cleared`], which is
//! all that the ledger takes. The compiler is the auditor.

mod clear;
pub mod config;
mod detect;
mod exposure;
mod generalise;
mod policy;
mod redact;
mod view;

pub use clear::{Cleared, Clearer, Error, Public};
pub use config::Config;
pub use detect::Type;
pub use exposure::{Exposure, Row};
pub use generalise::To;
pub use policy::{ClearedEvent, Event, Policy, RULES_VERSION, Receipt};
pub use redact::{Explained, Finding, Redactor};
