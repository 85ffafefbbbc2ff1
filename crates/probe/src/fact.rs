//! Facts: what a probe saw, by name, for conditions to read.

use std::collections::BTreeMap;
use std::time::Duration;

/// One value that a probe saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text.
    Text(String),
    /// Text that a result shows by its length only: a body, a banner of unknown content.
    Hidden(String),
    /// A length of time: compares with `duration("800ms")`.
    Duration(Duration),
    /// Values in order.
    List(Vec<Fact>),
    /// Values by name.
    Map(BTreeMap<String, Fact>),
    /// A JSON document.
    Json(serde_json::Value),
}

impl Fact {
    /// Makes a map of named facts.
    pub fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Self)>) -> Self {
        Self::Map(entries.into_iter().map(|(name, fact)| (name.into(), fact)).collect())
    }
}

impl From<bool> for Fact {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Fact {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u16> for Fact {
    fn from(value: u16) -> Self {
        Self::Int(value.into())
    }
}

impl From<usize> for Fact {
    fn from(value: usize) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<u64> for Fact {
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Fact {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Fact {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Fact {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Duration> for Fact {
    fn from(value: Duration) -> Self {
        Self::Duration(value)
    }
}

impl From<serde_json::Value> for Fact {
    fn from(value: serde_json::Value) -> Self {
        Self::Json(value)
    }
}

impl<T: Into<Self>> From<Vec<T>> for Fact {
    fn from(values: Vec<T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Self>> From<Option<T>> for Fact {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Facts by the names that the kind declares.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts(BTreeMap<&'static str, Fact>);

impl Facts {
    /// Sets a fact, replacing what was there.
    pub fn set(&mut self, name: &'static str, fact: impl Into<Fact>) {
        self.0.insert(name, fact.into());
    }

    /// Returns a fact.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Fact> {
        self.0.get(name)
    }

    /// Yields the facts in ascending order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Fact)> {
        self.0.iter().map(|(name, fact)| (*name, fact))
    }
}

/// The name of a fact and what it means, for the reference and for the check of conditions.
#[derive(Clone, Copy, Debug)]
pub struct FactSpec {
    /// The name.
    pub name: &'static str,
    /// What it means, in one sentence.
    pub doc: &'static str,
    /// What it is, for conditions to be checked before there is one.
    pub shape: Shape,
}

/// What a fact is, where it is always the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// It depends on the target.
    Any,
    /// True or false.
    Flag,
    /// A number, whole or not: they compare.
    Number,
    /// Text.
    Text,
    /// A length of time.
    Time,
    /// A list of texts.
    Texts,
    /// Values under any names.
    Named(&'static Self),
    /// Values under these names, each of which may be absent.
    Keys(&'static [(&'static str, Self)]),
}

impl Shape {
    /// What TLS showed: see [`crate::connect::TlsSeen::fact`].
    pub const TLS: Self = Self::Keys(&[
        ("version", Self::Text),
        ("cipher", Self::Text),
        ("alpn", Self::Text),
        ("problem", Self::Text),
        ("days_left", Self::Number),
        ("subject", Self::Text),
        ("issuer", Self::Text),
        ("names", Self::Texts),
        ("key_type", Self::Text),
        ("key_bits", Self::Number),
        ("sha256", Self::Text),
        ("chain", Self::Any),
    ]);

    /// Names it with its article.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Any => "any value",
            Self::Flag => "true or false",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Time => "a length of time",
            Self::Texts => "a list of texts",
            Self::Named(_) | Self::Keys(_) => "values by name",
        }
    }

    /// Shows what it compares with.
    #[must_use]
    pub const fn example(self) -> &'static str {
        match self {
            Self::Flag => "true or false",
            Self::Number => "a number such as 200",
            Self::Time => "a length of time such as duration('5s')",
            Self::Texts => "one of its texts, as in `'a' in names`",
            Self::Text | Self::Any | Self::Named(_) | Self::Keys(_) => "a text such as 'ok'",
        }
    }
}

impl FactSpec {
    /// Says what it always is.
    #[must_use]
    pub const fn is(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }
}

/// Declares a fact.
#[must_use]
pub const fn fact(name: &'static str, doc: &'static str) -> FactSpec {
    FactSpec { name, doc, shape: Shape::Any }
}
