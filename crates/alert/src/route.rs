//! Which routes an alert takes, and by what it is grouped there: a pure function of the tree and the labels.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{LabelSet as _, Labels};
use sha2::{Digest as _, Sha256};

use crate::matcher::{Match, all_match};

/// By which labels alerts are put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// By all of them: each alert alone (`['...']`).
    All,
    /// By these.
    Labels(BTreeSet<String>),
}

impl GroupBy {
    /// Returns the part of `labels` that alerts are grouped by. A label that the alert lacks is left out.
    #[must_use]
    pub fn of(&self, labels: &Labels) -> Labels {
        match self {
            Self::All => labels.clone(),
            Self::Labels(names) => {
                labels.iter().filter(|(name, _)| names.contains(*name)).map(|(n, v)| (n.clone(), v.clone())).collect()
            }
        }
    }
}

/// A node of the routing tree, with what it inherits already filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Names the route among all of the tree, as Alertmanager's `Route.ID`.
    pub id: String,
    /// What stands in group keys, as Alertmanager's `Route.Key`: not unique among siblings with equal matchers.
    pub key: String,
    /// All must hold; none at the root.
    pub matchers: Vec<Match>,
    /// Whether siblings after this one are tried as well.
    pub continues: bool,
    /// Who is told.
    pub receiver: String,
    /// By what alerts are grouped.
    pub group_by: GroupBy,
    /// How long a new group waits for more alerts.
    pub group_wait: Duration,
    /// How long a group waits between two notifications of changes.
    pub group_interval: Duration,
    /// After how long what has not changed is told again.
    pub repeat_interval: Duration,
    /// Routes that refine this one, in order.
    pub routes: Vec<Route>,
}

impl Route {
    /// Alertmanager's defaults, for a root.
    pub const GROUP_WAIT: Duration = Duration::from_secs(30);
    /// Alertmanager's default.
    pub const GROUP_INTERVAL: Duration = Duration::from_secs(5 * 60);
    /// Alertmanager's default.
    pub const REPEAT_INTERVAL: Duration = Duration::from_secs(4 * 3600);

    /// Returns the routes that an alert with `labels` takes: depth first, left to right, the parent where no child
    /// takes it (`dispatch/route.go`, `Route.Match`). Never empty for a root.
    #[must_use]
    pub fn matching(&self, labels: &Labels) -> Vec<&Self> {
        if !all_match(&self.matchers, labels) {
            return Vec::new();
        }
        let mut found = Vec::new();
        for child in &self.routes {
            let before = found.len();
            found.extend(child.matching(labels));
            if found.len() > before && !child.continues {
                break;
            }
        }
        if found.is_empty() { vec![self] } else { found }
    }

    /// Yields this route and all below it.
    pub fn walk(&self) -> impl Iterator<Item = &Self> {
        let mut stack = vec![self];
        std::iter::from_fn(move || {
            let route = stack.pop()?;
            stack.extend(route.routes.iter().rev());
            Some(route)
        })
    }

    /// Returns the key of the group of `labels`, as Alertmanager writes it: `{}/{a="b"}:{c="d"}`.
    #[must_use]
    pub fn group_key(&self, group_labels: &Labels) -> String {
        format!("{}:{}", self.key, group_labels.text())
    }

    /// Returns the identity of the group of `labels` on this route.
    #[must_use]
    pub fn group_id(&self, group_labels: &Labels) -> GroupId {
        GroupId::of(&[&self.id, &group_labels.text()])
    }
}

/// Identifies a group of alerts among all routes: 128 bits of a hash of route and group labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u128);

impl GroupId {
    /// Hashes texts, each with its length, so that no two lists of texts are one.
    #[must_use]
    pub fn of(texts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for text in texts {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        let digest = hash.finalize();
        Self(digest.iter().take(16).fold(0, |id, byte| id << 8 | u128::from(*byte)))
    }

    /// Returns the four quarters, highest first, as they stand in records: short numbers are what privacy leaves alone.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "each quarter is what is meant")]
    pub const fn quarters(self) -> [u32; 4] {
        [(self.0 >> 96) as u32, (self.0 >> 64) as u32, (self.0 >> 32) as u32, self.0 as u32]
    }

    /// Puts four quarters together.
    #[must_use]
    pub fn from_quarters(quarters: [u32; 4]) -> Self {
        Self(quarters.into_iter().fold(0, |id, quarter| id << 32 | u128::from(quarter)))
    }
}

impl std::fmt::Display for GroupId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl std::str::FromStr for GroupId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_ids_survive_text_and_quarters() {
        let id = GroupId::of(&["a", "bc"]);
        assert_ne!(id, GroupId::of(&["ab", "c"]));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(GroupId::from_quarters(id.quarters()), id);
    }
}
