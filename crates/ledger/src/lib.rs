//! `append(Cleared) -> Receipt`: the log that everything else is a projection of, and its proofs.
//!
//! The wall is trust: durability and proof are owned here. Upper half: the write-ahead log, group commit, recovery and
//! retention. Lower half, pure and public so that verifiers and tests can use it alone: the entry and payload codecs,
//! commitments, the Merkle tree, tiles, signed notes, proofs and offline verification (`docs/format/ledger.md`).
//!
//! # Use
//!
//! [`Ledger::open`] gives a handle that is cheap to clone and a [`Recovery`] that tells what opening found.
//! [`Ledger::append`] takes what privacy cleared and returns [`model::Receipt`]s once it is durable or committed;
//! [`Error::kind`] tells the caller what to do with a refusal. [`Ledger::cursor`] reads one tenant's records back:
//! [`Cursor::read`], [`Cursor::wait`], and [`Stored::fields`] for `model::Body::from_fields`. [`Ledger::stopped`]
//! resolves when the disk failed: notify, exit, start again. [`Ledger::close`] ends in order.

pub mod chain;
pub mod checkpoint;
pub mod commitment;
pub mod consistency;
pub mod entry;
pub mod merkle;
pub mod note;
pub mod own;
pub mod payload;
pub mod proof;
pub mod tile;
pub mod verify;

mod batch;
mod cursor;
mod engine;
mod error;
mod flight;
mod fold;
mod follow;
mod forensic;
mod group;
mod keys;
mod ledger;
mod names;
mod prove;
mod publish;
mod recover;
mod retain;
mod rotate;
mod sha;
mod shared;
mod wal;
mod writer;

pub use cursor::{Cursor, Stored};
pub use engine::Engine;
pub use error::Error;
pub use follow::Follow;
pub use forensic::{Forensic, ForensicLog, Found, WalEnd, describe_own};
pub use keys::{FileKeys, Keyring, Keys, Next, Place, Sign, meta_id};
pub use ledger::{Ledger, LogStatus, Status};
use model::malformed;
pub use model::{Malformed, cbor};
pub use recover::Recovery;
pub use rotate::Rotated;
pub use shared::{Config, Figures, Signed};

#[cfg(test)]
mod vectors;
