//! The whole way of an event, from the body of a request to what the ledger would take.

mod corpora;
mod same;
