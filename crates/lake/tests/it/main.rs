//! The lake from outside: fed, killed, asked, kept up, read by others.

mod ask;
mod durable;
mod feed;
mod hostile;
mod readers;
#[path = "../../../../tests/skip.rs"]
mod skip;
mod support;
mod upkeep;
mod words;
