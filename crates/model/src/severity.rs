//! How bad a thing is: the four levels of `names.md`, read in any case.

use serde::{Deserialize, Serialize};

/// How bad an alert is, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Will become a problem.
    #[default]
    Warning,
    /// A problem now.
    Error,
    /// A problem that wakes people.
    Critical,
}

impl Severity {
    /// All levels, ascending.
    pub const ALL: [Self; 4] = [Self::Info, Self::Warning, Self::Error, Self::Critical];

    /// Returns the canonical spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Severity {
    type Err = UnknownSeverity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "info" | "information" | "notice" => Ok(Self::Info),
            "warning" | "warn" => Ok(Self::Warning),
            "error" | "err" => Ok(Self::Error),
            "critical" | "crit" | "fatal" | "page" => Ok(Self::Critical),
            _ => Err(UnknownSeverity),
        }
    }
}

/// A text that names no level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown level, expected info, warning, error or critical")]
pub struct UnknownSeverity;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_in_any_case_and_order_by_gravity() {
        for (text, level) in [
            ("WARN", Severity::Warning),
            ("CRITICAL", Severity::Critical),
            ("Info", Severity::Info),
            ("err", Severity::Error),
        ] {
            assert_eq!(text.parse(), Ok(level));
        }
        assert_eq!("loud".parse::<Severity>(), Err(UnknownSeverity));
        assert!(Severity::ALL.is_sorted());
        assert_eq!(format!("{:>9}", Severity::Error), "    error");
    }
}
