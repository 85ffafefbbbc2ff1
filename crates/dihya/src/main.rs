//! `dihya`: reads the command line and hands over to one file per command.
//!
//! The binary alone knows configuration, wiring and the terminal; [`pipeline`] alone knows the order of the stages.

mod cli;
mod client;
mod command;
mod config;
mod copy;
mod direct;
mod events;
mod exposures;
mod failure;
mod input;
mod keystores;
mod logging;
mod origins;
mod pipeline;
mod reach;
mod results;
mod serve;
mod spool;
mod store;
mod terminal;

use std::process::ExitCode;

/// Between JSON and the log an event is many small values: freeing them on another thread than the one that made them is
/// what the C library's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(command::run(std::env::args_os()))
}
