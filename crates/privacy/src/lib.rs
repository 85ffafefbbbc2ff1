//! `Signal` → `Cleared`: the only door.
//!
//! The wall is trust: raw values are seen here and nowhere else, and only this crate can make a [`Cleared`], which is
//! all that the ledger takes. The compiler is the auditor.

mod boxes;
mod clear;
pub mod config;
mod detect;
mod exposure;
mod generalise;
mod keys;
pub mod keystore;
mod policy;
mod pseudonym;
mod redact;
mod ring;
mod view;

#[cfg(test)]
mod vectors;

pub use boxes::{Boxed, FIELD_MIN, Opened, Place, Sealed, seal_all};
pub use clear::{Cleared, Clearer, Error, Keystores, Part, Public};
pub use config::Config;
pub use detect::Type;
pub use exposure::{Exposure, Row};
pub use generalise::To;
pub use keystore::{Keystore, Kid, Owner};
pub use policy::{ClearedEvent, Event, Named, Policy, RULES_VERSION, Receipt};
pub use pseudonym::{find_pseudonym, handle, pseudonym, pseudonym_text};
pub use redact::{Explained, Finding, Redactor};
pub use ring::{Ring, Tried};
