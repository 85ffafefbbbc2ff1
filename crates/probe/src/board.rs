//! The latest result of each check, for whoever asks.

/// The latest result of each check.
#[derive(Debug, Default)]
pub struct Board {}
