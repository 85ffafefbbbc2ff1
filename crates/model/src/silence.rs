//! Silences: what is not told to people for a while, by whom and why.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MatchOp {
    /// Equal.
    #[serde(rename = "=")]
    Equal,
    /// Not equal.
    #[serde(rename = "!=")]
    NotEqual,
    /// Matches the anchored regular expression.
    #[serde(rename = "=~")]
    Matches,
    /// Does not match the anchored regular expression.
    #[serde(rename = "!~")]
    NotMatches,
}

/// A condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Matcher {
    /// The label's name.
    pub name: String,
    /// How to compare.
    pub op: MatchOp,
    /// What to compare with.
    pub value: String,
}

/// What happened to a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SilenceAction {
    /// It was created or replaced.
    Set,
    /// Somebody ended it.
    Expired,
}

/// A silence was created or ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilenceChange {
    /// Identifies the silence: a version 4 UUID, as Alertmanager's.
    pub id: String,
    /// What happened.
    pub action: SilenceAction,
    /// All must hold.
    pub matchers: Vec<Matcher>,
    /// From when.
    pub starts_at: Timestamp,
    /// Until when.
    pub ends_at: Timestamp,
    /// Who.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// When it was said.
    pub at: Timestamp,
}
