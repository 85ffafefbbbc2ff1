//! The lake from outside: fed, killed, asked, kept up, read by others.

mod ask;
mod durable;
mod feed;
mod hostile;
mod readers;
mod support;
mod upkeep;
mod words;
