//! The lake: every tenant's events in an open table format, and every question that is asked of them.
//!
//! The wall is weight: this crate alone knows Arrow, Parquet, Delta and DataFusion, and no type of theirs leaves it.
//! Everything in it is a projection of the ledger and can be made again from it, for as long as the ledger keeps the
//! payloads.
//!
//! One row's life: [`Lake::run`] folds the ledger's feed into batches in memory (`lake`), where queries see them at
//! once; a flush sorts them into Parquet (`file`) and commits them with the ledger position in the same log entry
//! (`table`), through a store that syncs what delta-rs does not (`store`); upkeep joins small files and removes old
//! rows (`maintain`). A question is SQL ([`sql`], `ask`) or a search ([`syntax`], `search`); both become one plan over one
//! table provider (`provider`) that holds one tenant's files and rows and no other's, and reads of a file only where the
//! words that are asked for (`word`) may be, by filters that stand beside it (`tokens`).
//!
//! What the wiring must do: open the lake after the data directory is locked; begin each tenant's feed at
//! [`Lake::position`] and stop the start if that lies beyond the ledger's end; run [`Lake::run`] once per tenant and
//! [`Lake::run_upkeep`] once; let the ledger delete payloads of events below [`Lake::durable_position`] only; call
//! [`Lake::flush`] for each tenant when it stops.

mod ask;
mod columns;
mod error;
mod export;
pub mod fault;
mod file;
mod lake;
mod maintain;
mod out;
mod provider;
mod rows;
mod search;
pub mod sql;
mod store;
pub mod syntax;
mod table;
mod tokens;
mod wanted;
mod word;

pub use ask::{Answer, AnswerColumn, Limits};
pub use columns::{attribute_of, is_attribute};
pub use error::Error;
pub use lake::{Lake, Options, World};
pub use maintain::{Retention, Upkeep, Verified};
pub use out::RowsOut;
pub use search::{Bucket, Cursor, FieldStatistics, Hit, Hits, LEVELS, Query, Surroundings};
pub use sql::Sql;
