//! `dihya completions`: completions for a shell.

use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::failure::DONE;
use crate::terminal;

/// Prints the completions for `shell`.
pub(super) fn run(shell: clap_complete::Shell) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dihya", &mut script);
    terminal::out(&String::from_utf8_lossy(&script));
    DONE
}
