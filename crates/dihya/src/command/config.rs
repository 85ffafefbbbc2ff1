//! `dihya config`: find all problems of a file, or print what a file may say.

use crate::cli::ConfigCommand;
use crate::config;
use crate::failure::DONE;
use crate::terminal;

/// Checks a file, or prints the schema.
pub(super) fn run(command: ConfigCommand) -> anyhow::Result<u8> {
    match command {
        ConfigCommand::Check { file, place } => {
            let data_dir = place.data_dir();
            let path = file.or(place.config);
            let loaded = config::load(path.as_deref(), &data_dir)?;
            let name = path
                .as_ref()
                .map_or_else(|| "the built-in configuration".to_owned(), |path| path.display().to_string());
            for warning in &loaded.warnings {
                terminal::err(&format!("{name}:{warning}\n"));
            }
            terminal::out(&format!("{name} is good: {}\n", loaded.summary()));
            if path.is_none()
                && let Some(overlooked) = config::overlooked()
            {
                terminal::err(&format!("{overlooked}\n"));
            }
        }
        ConfigCommand::Schema { markdown: true } => {
            terminal::out(&config::schema::reference_page(&config::spec::ROOT));
        }
        ConfigCommand::Schema { markdown: false } => {
            super::print_json(&config::schema::json_schema(&config::spec::ROOT))?;
        }
    }
    Ok(DONE)
}
