//! The sectors Dihya knows, read in French and English with or without accents.

use serde::{Deserialize, Serialize};

/// The kind of organisation that a signal concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Sector {
    /// Hospitals, practices, laboratories.
    Health,
    /// Schools and universities.
    Education,
    /// Shops and payment.
    Ecommerce,
    /// No sector in particular.
    #[default]
    None,
}

impl Sector {
    /// Returns the canonical spelling, which is what is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Education => "education",
            Self::Ecommerce => "ecommerce",
            Self::None => "none",
        }
    }
}

impl std::fmt::Display for Sector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Sector {
    type Err = UnknownSector;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let folded: String = text
            .chars()
            .flat_map(char::to_lowercase)
            .map(|c| if matches!(c, 'é' | 'è' | 'ê') { 'e' } else { c })
            .filter(|c| !matches!(c, '-' | '_' | ' ' | '\u{301}'))
            .collect();
        match folded.as_str() {
            "health" | "sante" | "healthcare" => Ok(Self::Health),
            "education" => Ok(Self::Education),
            "ecommerce" | "commerce" => Ok(Self::Ecommerce),
            "none" | "aucun" | "" => Ok(Self::None),
            _ => Err(UnknownSector),
        }
    }
}

/// A text that names no sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown sector, expected health, education, ecommerce or none")]
pub struct UnknownSector;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_are_read_in_both_languages() {
        for (text, sector) in [
            ("santé", Sector::Health),
            ("SANTE", Sector::Health),
            ("sante\u{301}", Sector::Health),
            ("Éducation", Sector::Education),
            ("e-commerce", Sector::Ecommerce),
            ("commerce", Sector::Ecommerce),
            ("none", Sector::None),
        ] {
            assert_eq!(text.parse(), Ok(sector), "{text}");
        }
        assert_eq!("bank".parse::<Sector>(), Err(UnknownSector));
        assert_eq!(Sector::Health.to_string(), "health");
    }
}
