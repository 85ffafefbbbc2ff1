//! `append(Cleared) -> Receipt`: the log that everything else is a projection of, and its proofs.
//!
//! The wall is trust: durability and proof are owned here. Upper half: the write-ahead log, group commit, recovery and
//! retention. Lower half, pure and public so that verifiers and tests can use it alone: the entry and payload codecs,
//! commitments, the Merkle tree, tiles, signed notes, proofs and offline verification (`docs/format/ledger.md`).

pub mod cbor;
pub mod checkpoint;
pub mod commitment;
pub mod entry;
mod malformed;
pub mod merkle;
pub mod note;
pub mod own;
pub mod payload;
pub mod proof;
pub mod tile;
pub mod verify;

pub use malformed::Malformed;
