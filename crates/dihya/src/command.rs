//! From the command line to one file per command, and from its result to an exit code.

mod alert;
mod backup;
mod check;
mod completions;
mod config;
mod export;
mod heartbeat;
mod incident;
mod keystore;
mod ledger;
mod man;
mod migrate;
mod privacy;
mod query;
mod restore;
mod search;
mod serve;
mod silence;
mod status;
mod token;

use std::ffi::OsString;
use std::future::Future;

use clap::Parser as _;

use crate::cli::{Cli, Command, ExportCommand, MigrateCommand};
use crate::failure::{DONE, UNKNOWN, USAGE, explain};
use crate::terminal;

/// Runs what the arguments say and returns the exit code.
pub(crate) fn run(args: impl Iterator<Item = OsString>) -> u8 {
    let args: Vec<OsString> = args.collect();
    // `dihya check` keeps 2 for "down", so its bad usage is 3.
    let is_check = args.get(1).is_some_and(|word| word == "check");
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return match (error.use_stderr(), is_check) {
                (false, _) => DONE,
                (true, true) => UNKNOWN,
                (true, false) => USAGE,
            };
        }
    };
    match dispatch(cli.command) {
        Ok(code) => code,
        Err(error) => {
            let (text, code) = explain(&error);
            terminal::err(&text);
            if is_check { UNKNOWN } else { code }
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Serve(args) => serve::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Alert(command) => alert::run(command),
        Command::Incident(command) => incident::run(command),
        Command::Silence(command) => silence::run(command),
        Command::Heartbeat(command) => heartbeat::run(command),
        Command::Config(command) => config::run(command),
        Command::Ledger(command) => ledger::run(command),
        Command::Keystore(command) => keystore::run(command),
        Command::Search(args) => search::run(&args),
        Command::Query(args) => query::run(&args),
        Command::Export(ExportCommand::Parquet(args)) => export::run(&args),
        Command::Migrate(MigrateCommand::Ndjson(args)) => migrate::run(&args),
        Command::Privacy(command) => privacy::run(command),
        Command::Backup(args) => backup::run(&args),
        Command::Restore(args) => restore::run(&args),
        Command::Token(command) => token::run(command),
        Command::Status(args) => status::run(&args),
        Command::Completions { shell } => Ok(completions::run(shell)),
        Command::Man { dir } => man::run(&dir),
    }
}

/// Runs one short piece of asynchronous work on this thread.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Prints JSON for programs: indented, one value, a newline at the end.
fn print_json(json: &impl serde::Serialize) -> anyhow::Result<()> {
    terminal::out(&format!("{}\n", serde_json::to_string_pretty(json)?));
    Ok(())
}

/// Returns a text field of an answer, or nothing.
fn text_of<'a>(json: &'a serde_json::Value, key: &str) -> &'a str {
    json.get(key).and_then(serde_json::Value::as_str).unwrap_or_default()
}

/// Makes text safe as one segment of a path.
fn segment(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_errors_have_their_codes() {
        let run = |args: &[&str]| run(args.iter().map(|arg| OsString::from(*arg)));
        assert_eq!(run(&["dihya", "--version"]), DONE);
        assert_eq!(run(&["dihya", "check", "--help"]), DONE);
        assert_eq!(run(&["dihya", "frobnicate"]), USAGE);
        assert_eq!(run(&["dihya", "check", "--frobnicate"]), UNKNOWN);
        assert_eq!(run(&["dihya", "check", "--config", "/nonexistent.yaml"]), UNKNOWN);
        assert_eq!(run(&["dihya", "config", "check", "/nonexistent.yaml"]), USAGE);
    }

    #[test]
    fn segments_are_escaped() {
        assert_eq!(segment("a b/é?"), "a%20b%2F%C3%A9%3F");
    }
}
