//! `Signal` → `Cleared`: the only door.
//!
//! The wall is trust: raw values are seen here and nowhere else, and only this crate can make a [`Cleared`], which is
//! all that the ledger takes. The compiler is the auditor.

mod clear;

pub use clear::{Cleared, Public};
