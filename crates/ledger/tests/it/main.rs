//! Tests of the ledger against data and programs made by others, and of its parts together.

mod boxes;
mod conformance;
mod crash;
mod day;
mod fixture;
mod foreign;
mod history;
mod hybrid;
mod ledger;
mod merkle;
mod rotate;
mod sample;
#[path = "../../../../tests/skip.rs"]
mod skip;
mod turns;
mod verify;
