//! Tests of the ledger against data and programs made by others, and of its parts together.

mod conformance;
mod foreign;
mod hybrid;
mod merkle;
mod sample;
mod verify;
