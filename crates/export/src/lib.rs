//! What leaves by itself: cleared events, from the ledger to the log collectors that an operator runs already.
//!
//! The wall is trust: events are handed to others here and nowhere else, and only as they stand in the ledger, after
//! privacy. An output is one more view of the ledger. It reads a tenant's records in order, hands them over in batches,
//! and moves its place on when the receiver has said that it has them (invariant O-1); so a crash repeats a batch at most.

pub mod config;
mod connect;
pub mod ecs;
mod elastic;
mod file;
#[cfg(test)]
mod integrations;
mod logstash;
pub mod output;
pub mod pattern;
pub mod seam;

pub use config::Output;
pub use ecs::Mapper;
pub use output::{Outputs, Standing};
pub use seam::{Places, Source, World};
