//! Notifications: the intent to tell a receiver, and how each attempt ended.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::incident::IncidentId;

/// The idempotency key of a notification: one per (group, receiver, channel, state), so that a receiver can drop the
/// duplicate that a crash between sending and recording may cause.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IntentId(pub String);

impl std::fmt::Display for IntentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// The decision to tell one receiver something through one channel. It is durable before the first attempt
/// (invariant A-1) and holds all that the attempt needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// The idempotency key.
    pub id: IntentId,
    /// The incident it is about; `None` for a test of the channel.
    pub incident: Option<IncidentId>,
    /// The receiver, as routing named it.
    pub receiver: String,
    /// The channel, as declared.
    pub channel: String,
    /// Whether the group fires or is resolved.
    pub firing: bool,
    /// When it was decided.
    pub at: Timestamp,
    /// When to give up.
    pub give_up_at: Timestamp,
    /// What to say, channel-neutral, already cleared of personal data.
    pub message: serde_json::Value,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The channel took it.
    Delivered,
    /// It did not; it will be tried again.
    Retry,
    /// It took it for some of its recipients; it will be tried again for the others, and holds up nothing.
    Partial,
    /// It did not, and it will not be tried again.
    Failed,
}

impl Outcome {
    /// Tells whether no attempt follows.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Delivered | Self::Failed)
    }
}

/// How one attempt at one notification ended. Folded by (intent, attempt), so a duplicate changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Which notification.
    pub intent: IntentId,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// When it ended.
    pub at: Timestamp,
    /// The channel it went through.
    pub channel: String,
    /// Why it did not succeed; empty when it did.
    #[serde(default)]
    pub reason: String,
    /// When the next attempt is due, for `Retry`.
    #[serde(default)]
    pub next_at: Option<Timestamp>,
}
