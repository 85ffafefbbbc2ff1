//! Incidents: what a person sees, acknowledges and closes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::label::Labels;
use crate::{Sector, Severity};

/// Identifies an incident in its tenant: ours, never derived from labels; 26 characters of Crockford base 32 that sort
/// by time of opening (ULID).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IncidentId(pub String);

impl IncidentId {
    /// Makes the id of an incident opened at `at` from 80 random bits.
    #[must_use]
    pub fn new(at: Timestamp, random: [u8; 10]) -> Self {
        const ALPHABET: [char; 32] = [
            '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'J', 'K', 'M',
            'N', 'P', 'Q', 'R', 'S', 'T', 'V', 'W', 'X', 'Y', 'Z',
        ];
        let ms = u128::try_from(at.as_millisecond()).unwrap_or(0) & 0xFFFF_FFFF_FFFF;
        let mut low = [0_u8; 16];
        low[6..].copy_from_slice(&random);
        let bits = ms << 80 | u128::from_be_bytes(low);
        Self((0..26).rev().map(|i| ALPHABET[((bits >> (5 * i)) & 31) as usize]).collect())
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for IncidentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// What happened to an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IncidentAction {
    /// Its first alert fired.
    Opened,
    /// Another alert joined it.
    Joined,
    /// One of its alerts stopped while others fire on.
    Left,
    /// Somebody took it.
    Acknowledged,
    /// Somebody wrote a note for those who work on it.
    Noted,
    /// Somebody wrote a note that the public status page shows.
    Published,
    /// Its last alert stopped, or somebody closed it.
    Resolved,
    /// It fired again within the time in which that is the same incident.
    Reopened,
    /// It was told again to people who have not acknowledged it.
    Reminded,
}

/// A step in an incident's life, complete enough to rebuild the incident from its steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentTransition {
    /// Which incident.
    pub incident: IncidentId,
    /// What happened.
    pub action: IncidentAction,
    /// When.
    pub at: Timestamp,
    /// Who did it: an account, `dihya` for the engine.
    pub by: String,
    /// What groups its alerts: `check=<root failing parent>` or the `group_by` labels as text.
    pub key: String,
    /// What people read first.
    #[serde(default)]
    pub title: String,
    /// The worst level among its alerts.
    #[serde(default)]
    pub severity: Severity,
    /// The sector it concerns.
    #[serde(default)]
    pub sector: Sector,
    /// The labels of the alert that joined or left, or the group's labels.
    #[serde(default)]
    pub labels: Labels,
    /// A person's note, or why.
    #[serde(default)]
    pub note: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ulids_and_sort_by_time() {
        // The example of the ULID specification: 1469918176385 ms is 01ARYZ6S41.
        let at = Timestamp::from_millisecond(1_469_918_176_385).expect("in range");
        let id = IncidentId::new(at, [0xFF; 10]);
        assert_eq!(id.as_str(), "01ARYZ6S41ZZZZZZZZZZZZZZZZ");
        let later = IncidentId::new(Timestamp::from_millisecond(1_469_918_176_386).expect("in range"), [0; 10]);
        assert!(later > id);
    }
}
