//! The part `checks:` of the configuration: its tables, its typed form, and what only this crate can check.

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

/// One thing wrong with a check, at a dotted path below it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Issue {
    /// The dotted path: of a key of the check while a kind reads it, from `checks.` on in what [`check`] returns.
    pub path: String,
    /// What is wrong and what was expected.
    pub message: String,
    /// What to write instead, where that can be guessed.
    pub suggestion: Option<String>,
}

impl Issue {
    /// Makes an issue without a suggestion.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), suggestion: None }
    }

    /// Adds a suggestion.
    #[must_use]
    pub fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }
}

/// Reads a check's object into a kind's own configuration; keys that the kind does not have are left to the tables.
///
/// # Errors
/// When a key has another type than the kind wants.
pub fn read<T: DeserializeOwned>(json: &Json) -> Result<T, Vec<Issue>> {
    T::deserialize(json).map_err(|error| vec![Issue::new("", error.to_string())])
}

pub mod de {
    //! Serde helpers for durations, sizes and secrets, which configuration writes as text.

    use std::time::Duration;

    use model::Private;
    use model::config::{parse_duration, parse_size};
    use serde::{Deserialize, Deserializer, de::Error};

    /// Reads `30s`.
    ///
    /// # Errors
    /// When it is not a duration.
    pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map_err(|_| D::Error::custom("expected a duration such as 30s or 1h30m"))
    }

    /// Reads `30s` or nothing.
    ///
    /// # Errors
    /// When it is not a duration.
    pub fn duration_opt<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let parse =
            |text: String| parse_duration(&text).map_err(|_| D::Error::custom("expected a duration such as 30s"));
        text.map(parse).transpose()
    }

    /// Reads `64KiB`, or a number of bytes.
    ///
    /// # Errors
    /// When it is not a size.
    pub fn size_opt<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Size {
            Bytes(u64),
            Text(String),
        }
        match Option::<Size>::deserialize(deserializer)? {
            None => Ok(None),
            Some(Size::Bytes(bytes)) => Ok(Some(bytes)),
            Some(Size::Text(text)) => {
                parse_size(&text).map(Some).map_err(|_| D::Error::custom("expected a size such as 64KiB"))
            }
        }
    }

    /// Reads a secret.
    ///
    /// # Errors
    /// When it is not text.
    pub fn secret_opt<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Private<String>>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(Private::new))
    }

    /// Reads one text or a list of texts.
    ///
    /// # Errors
    /// When it is neither.
    pub fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrMore {
            One(String),
            More(Vec<String>),
        }
        Ok(match OneOrMore::deserialize(deserializer)? {
            OneOrMore::One(text) => vec![text],
            OneOrMore::More(texts) => texts,
        })
    }
}
