//! Signs of life that others send us.

/// The last sign of life of each heartbeat.
#[derive(Debug, Default)]
pub struct Heartbeats {}
