//! Alerts, in Alertmanager's data model.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::label::{LabelSet, Labels};
use crate::{Sector, Severity};

/// A failing check, a finding or a caller's `send_alert`. Its labels identify it: a later alert with the same labels
/// replaces it, and one whose `ends_at` has passed resolves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// What identifies the alert; `alertname` is always there.
    pub labels: Labels,
    /// What people read: `summary`, `description`, `runbook_url` ...
    #[serde(default)]
    pub annotations: Labels,
    /// Since when it fires.
    pub starts_at: Timestamp,
    /// When it stopped, or will be taken for resolved unless sent again; `None` fires until told otherwise.
    #[serde(default)]
    pub ends_at: Option<Timestamp>,
    /// Where the condition behind it can be looked at.
    #[serde(default)]
    pub generator_url: Option<String>,
    /// How bad it is: the label `severity` where it is one of the four levels.
    #[serde(default)]
    pub severity: Severity,
    /// The sector it concerns.
    #[serde(default)]
    pub sector: Sector,
    /// The channel that the caller named, which is then notified whatever the routes say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
}

impl Alert {
    /// The label that names the alert.
    pub const NAME: &'static str = "alertname";
    /// The label that names the service concerned.
    pub const SERVICE: &'static str = "service";
    /// The label that names the check behind the alert.
    pub const CHECK: &'static str = "check";
    /// The label that holds the level.
    pub const SEVERITY: &'static str = "severity";
    /// The label that holds the sector.
    pub const SECTOR: &'static str = "sector";

    /// Returns the alert's name, or the empty string.
    #[must_use]
    pub fn name(&self) -> &str {
        self.labels.value(Self::NAME)
    }

    /// Tells whether the alert fires at `now`.
    #[must_use]
    pub fn is_firing(&self, now: Timestamp) -> bool {
        self.ends_at.is_none_or(|end| end > now)
    }

    /// Returns the identity of the alert among those of its tenant.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.labels.fingerprint()
    }
}
