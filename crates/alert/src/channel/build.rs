//! From configuration to channels: opens what must be there, connects to nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use disk::Disk;
use model::Clock;
use privacy::Redactor;

use super::config::Config;
use super::{Channels, email::Email, log::Log, slack::Slack, teams::Teams, webhook::Webhook};

/// What channels are built with.
#[derive(Clone)]
pub struct Parts {
    /// Where log files and certificates are.
    pub disk: Arc<dyn Disk>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What every text passes on its way out.
    pub redactor: Arc<Redactor>,
    /// The directory that relative paths start from.
    pub directory: PathBuf,
}

/// Why a channel could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file could not be opened or read.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// A file holds no authorities.
    #[error("cannot find a usable certificate in ca_file")]
    Certificates,
    /// TLS could not be set up.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    /// A URL is none.
    #[error("cannot read the URL")]
    Url,
    /// An e-mail address is none, or the server of a mail channel.
    #[error("cannot read the e-mail channel's {0}")]
    Email(&'static str),
    /// A header cannot be sent.
    #[error("cannot send a configured header")]
    Header,
}

/// Builds one channel.
///
/// # Errors
/// When a file is missing, or the configuration was not checked.
pub fn build(config: &Config, parts: &Parts) -> Result<Arc<dyn super::Channel>, BuildError> {
    Ok(match config {
        Config::Log(log) => Arc::new(Log::new(log, parts)),
        Config::Email(email) => Arc::new(Email::new(email, parts)?),
        Config::Webhook(webhook) => Arc::new(Webhook::new(webhook, parts)?),
        Config::Slack(chat) => Arc::new(Slack::new(chat, parts)?),
        Config::Teams(chat) => Arc::new(Teams::new(chat, parts)?),
    })
}

/// Builds all channels of a configuration.
///
/// # Errors
/// The name of the first channel that cannot be built, and why.
pub fn build_all(configs: &BTreeMap<String, Config>, parts: &Parts) -> Result<Channels, (String, BuildError)> {
    configs
        .iter()
        .map(|(name, config)| match build(config, parts) {
            Ok(channel) => Ok((name.clone(), channel)),
            Err(error) => Err((name.clone(), error)),
        })
        .collect()
}
