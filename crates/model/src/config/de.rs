//! What configuration writes as text: durations, sizes, secrets, and lists of which one may stand alone. For serde's
//! `deserialize_with`, of all crates.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

use super::{parse_duration, parse_size};
use crate::Private;

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
    let parse = |text: String| parse_duration(&text).map_err(|_| D::Error::custom("expected a duration such as 30s"));
    text.map(parse).transpose()
}

/// Reads `64KiB`, or a number of bytes.
///
/// # Errors
/// When it is not a size.
pub fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Size::deserialize(deserializer)?.bytes()
}

/// Reads `64KiB`, a number of bytes, or nothing.
///
/// # Errors
/// When it is not a size.
pub fn size_opt<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Option::<Size>::deserialize(deserializer)?.map(Size::bytes).transpose()
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Size {
    Bytes(u64),
    Text(String),
}

impl Size {
    fn bytes<E: Error>(self) -> Result<u64, E> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Text(text) => parse_size(&text).map_err(|_| E::custom("expected a size such as 64KiB")),
        }
    }
}

/// Reads a secret.
///
/// # Errors
/// When it is not text.
pub fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Private<String>, D::Error> {
    String::deserialize(deserializer).map(Private::new)
}

/// Reads a secret or nothing.
///
/// # Errors
/// When it is not text.
pub fn secret_opt<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Private<String>>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Private::new))
}

/// Reads a secret or nothing, and an empty one as nothing.
///
/// # Errors
/// When it is not text.
pub fn filled_secret_opt<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Private<String>>, D::Error> {
    Ok(secret_opt(deserializer)?.filter(|secret| !secret.expose().is_empty()))
}

/// Reads one text or a list of texts.
///
/// # Errors
/// When it is neither.
pub fn one_or_more<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(one) => vec![one],
        OneOrMore::More(more) => more,
    })
}

/// The same, for what may be missing.
///
/// # Errors
/// When it is neither.
pub fn one_or_more_opt<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    one_or_more(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[derive(Deserialize)]
    struct All {
        #[serde(deserialize_with = "duration")]
        time: Duration,
        #[serde(default, deserialize_with = "duration_opt")]
        wait: Option<Duration>,
        #[serde(default, deserialize_with = "size_opt")]
        size: Option<u64>,
        #[serde(default, deserialize_with = "size")]
        room: u64,
        #[serde(default, deserialize_with = "secret_opt")]
        key: Option<Private<String>>,
        #[serde(default, deserialize_with = "filled_secret_opt")]
        word: Option<Private<String>>,
        #[serde(deserialize_with = "one_or_more")]
        list: Vec<String>,
        #[serde(default, deserialize_with = "one_or_more_opt")]
        more: Option<Vec<String>>,
    }

    fn read(json: &Value) -> Result<All, String> {
        All::deserialize(json).map_err(|error| error.to_string())
    }

    #[test]
    fn texts_are_read_as_durations_sizes_secrets_and_lists() {
        let all = read(
            &json!({"time": "1m", "wait": "2s", "size": "2KiB", "room": "1kB", "key": "", "word": "", "list": "a"}),
        )
        .expect("is sound");
        assert_eq!(
            (all.time.as_secs(), all.wait, all.size, all.room),
            (60, Some(Duration::from_secs(2)), Some(2_048), 1_000)
        );
        assert_eq!((all.key.is_some(), all.word.is_none(), all.list.len()), (true, true, 1));
        let all = read(&json!({"time": "1m", "size": 5, "room": 7, "word": "w", "list": ["a", "b"], "more": "c"}));
        let all = all.expect("is sound");
        assert_eq!((all.size, all.room, all.list.len(), all.more.map(|more| more.len())), (Some(5), 7, 2, Some(1)));
        assert_eq!(all.word.map(|word| word.expose().clone()).as_deref(), Some("w"));
        assert_eq!(secret(json!("s")).expect("is one").expose(), "s");
        for (wrong, why) in [
            (json!({"time": "x", "list": "a"}), "expected a duration such as 30s or 1h30m"),
            (json!({"time": "1s", "wait": "x", "list": "a"}), "expected a duration such as 30s"),
            (json!({"time": "1s", "size": "x", "list": "a"}), "expected a size such as 64KiB"),
            (json!({"time": "1s", "room": "x", "list": "a"}), "expected a size such as 64KiB"),
        ] {
            assert_eq!(read(&wrong).err().as_deref(), Some(why));
        }
        assert!(
            read(&json!({"time": "1s", "list": 1})).is_err()
                && read(&json!({"time": "1s", "key": 1, "list": []})).is_err()
        );
    }
}
