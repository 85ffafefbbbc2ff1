//! Journeys on the real binary: what an operator, a script, an auditor and a crash do to it.

mod alone;
mod backup;
mod broken;
mod check;
mod crash;
mod elk;
mod fhir;
mod files;
mod intake;
mod journal;
mod journey;
mod keystore;
mod logs;
#[path = "../../../../tests/peers/peers.rs"]
mod peers;
mod planted;
mod privacy;
mod program;
mod real;
mod reload;
mod rotate;
mod search;
mod senders;
#[path = "../../../../tests/skip.rs"]
mod skip;
mod start;
mod syslog;
mod trouble;
mod web;
