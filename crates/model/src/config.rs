//! The shape of configuration: a tree whose nodes know where they stand, and tables that say what may stand there.
//!
//! Each crate declares its part of `dihya.yaml` as [`Spec`] tables. `dihya/config` reads the file into [`Node`]s,
//! holds it against the tables (all problems at once, each with its place), generates the JSON schema and the
//! reference page from the same tables, and only then hands each crate its part as plain JSON to read with serde.

pub mod de;

use std::fmt;
use std::time::Duration;

/// Where a node stands in its file. Lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span {
    /// Line of the first character.
    pub line: u32,
    /// Column of the first character.
    pub column: u32,
}

/// A value of a configuration file, with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it starts.
    pub span: Span,
    /// What it is.
    pub tree: Tree,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text, with `${env:}` and `${file:}` not yet resolved.
    Text(String),
    /// Nodes in order.
    List(Vec<Node>),
    /// Nodes by key, in the order of the file, with the place of each key.
    Map(Vec<(String, Span, Node)>),
}

impl Node {
    /// Returns the node under `key` of a map.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.tree {
            Tree::Map(entries) => entries.iter().find(|(k, _, _)| k == key).map(|(_, _, node)| node),
            _ => None,
        }
    }

    /// Returns the node at a dotted path such as `alerting.receivers.0.name`.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').filter(|part| !part.is_empty()).try_fold(self, |node, part| match &node.tree {
            Tree::List(items) => items.get(part.parse::<usize>().ok()?),
            _ => node.get(part),
        })
    }

    /// Returns the tree as JSON, places dropped.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match &self.tree {
            Tree::Null => serde_json::Value::Null,
            Tree::Bool(bool) => (*bool).into(),
            Tree::Int(int) => (*int).into(),
            Tree::Float(float) => (*float).into(),
            Tree::Text(text) => text.clone().into(),
            Tree::List(items) => items.iter().map(Self::to_json).collect(),
            Tree::Map(entries) => {
                serde_json::Value::Object(entries.iter().map(|(k, _, node)| (k.clone(), node.to_json())).collect())
            }
        }
    }
}

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub span: Span,
    /// The dotted path of the field.
    pub path: String,
    /// What is wrong and what was expected.
    pub message: String,
    /// What to write instead, where that can be guessed.
    pub suggestion: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.span.line, self.span.column, self.path, self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, " ({suggestion})"),
            None => Ok(()),
        }
    }
}

/// A table that says which keys an object has.
#[derive(Debug)]
pub struct Spec {
    /// The object's name in the reference.
    pub name: &'static str,
    /// What the object is for, in one sentence.
    pub doc: &'static str,
    /// Its keys, in the order in which people should meet them.
    pub fields: &'static [FieldSpec],
}

/// A line of a [`Spec`].
#[derive(Debug)]
pub struct FieldSpec {
    /// The key.
    pub key: &'static str,
    /// What may stand there.
    pub ty: Ty,
    /// Whether it must stand there.
    pub required: bool,
    /// What holds when it does not, as written in YAML; empty where nothing does.
    pub default: &'static str,
    /// What it means, in one sentence.
    pub doc: &'static str,
}

impl FieldSpec {
    /// Declares a key that may be left out.
    #[must_use]
    pub const fn optional(key: &'static str, ty: Ty, default: &'static str, doc: &'static str) -> Self {
        Self { key, ty, required: false, default, doc }
    }

    /// Declares a key that must be there.
    #[must_use]
    pub const fn required(key: &'static str, ty: Ty, doc: &'static str) -> Self {
        Self { key, ty, required: true, default: "", doc }
    }
}

/// What may stand at a key.
#[derive(Debug)]
pub enum Ty {
    /// Text.
    Text,
    /// Text that is a secret: written as `${file:...}` or `${env:...}` only, never shown.
    Secret,
    /// `true` or `false`.
    Bool,
    /// A whole number within bounds, both included.
    Int {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
    },
    /// A number within bounds, both included.
    Float {
        /// The smallest.
        min: f64,
        /// The largest.
        max: f64,
    },
    /// A time such as `30s`, `5m`, `1h30m`, `2d`, within bounds.
    Duration {
        /// The shortest, in milliseconds.
        min_ms: u64,
        /// The longest, in milliseconds.
        max_ms: u64,
    },
    /// A size such as `512KiB`, `64MiB`.
    Size,
    /// A URL with one of these schemes.
    Url(&'static [&'static str]),
    /// `host:port`, IPv6 in brackets.
    Address,
    /// A path in the file system.
    Path,
    /// One of these words, in any case.
    Enum(&'static [&'static str]),
    /// A CEL expression; its owner compiles it.
    Cel,
    /// A regular expression.
    Regex,
    /// An IANA time zone.
    TimeZone,
    /// Several of the same.
    List(&'static Ty),
    /// Several of the same, or one alone.
    OneOrMore(&'static Ty),
    /// Names chosen by the operator, each with one of these.
    Map(&'static Ty),
    /// An object.
    Object(&'static Spec),
    /// An object whose other keys depend on the word under `kind`.
    Tagged {
        /// The key that decides, `kind` as a rule.
        tag: &'static str,
        /// Keys that all variants have.
        common: &'static Spec,
        /// Further keys by word.
        variants: &'static [(&'static str, &'static Spec)],
    },
    /// Anything: its owner checks it.
    Any,
}

/// Reads `30s`, `1h30m`, `1.5s`, `250ms`, `2d`, `1w`, `1y` as Prometheus writes durations, plus decimals.
///
/// # Errors
/// When `text` is not a duration.
pub fn parse_duration(text: &str) -> Result<Duration, BadQuantity> {
    const UNITS: [(&str, f64); 7] =
        [("ms", 1.0), ("s", 1e3), ("m", 60e3), ("h", 3_600e3), ("d", 86_400e3), ("w", 604_800e3), ("y", 31_536_000e3)];
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total_ms = 0.0;
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let unit_len = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = after.split_at(unit_len);
        let (_, ms) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(BadQuantity)?;
        total_ms += number * ms;
        rest = tail;
    }
    if text.is_empty() || !total_ms.is_finite() || total_ms > 1e15 {
        return Err(BadQuantity);
    }
    Ok(Duration::from_secs_f64(total_ms / 1e3))
}

/// Reads `512`, `64KiB`, `1.5GiB`, `10MB` as bytes.
///
/// # Errors
/// When `text` is not a size.
pub fn parse_size(text: &str) -> Result<u64, BadQuantity> {
    let (number, unit) = split_number(text)?;
    let factor: f64 = match unit.trim() {
        "" | "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        "TiB" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return Err(BadQuantity),
    };
    let bytes = number * factor;
    if !(0.0..9e15).contains(&bytes) {
        return Err(BadQuantity);
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was just checked")]
    Ok(bytes as u64)
}

/// A text that is neither a duration nor a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a number and a unit")]
pub struct BadQuantity;

fn split_number(text: &str) -> Result<(f64, &str), BadQuantity> {
    let len = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (digits, rest) = text.split_at(len);
    Ok((digits.parse().map_err(|_| BadQuantity)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_prometheus_writes_them() {
        for (text, ms) in
            [("30s", 30_000), ("1h30m", 5_400_000), ("250ms", 250), ("1.5s", 1_500), ("2d", 172_800_000), ("0", 0)]
        {
            assert_eq!(parse_duration(text).map(|d| d.as_millis()), Ok(ms), "{text}");
        }
        for bad in ["", "30", "s", "5 m", "1x", "-1s", "1..2s", "99999999999999y"] {
            assert_eq!(parse_duration(bad), Err(BadQuantity), "{bad}");
        }
    }

    #[test]
    fn sizes_know_both_families_of_units() {
        for (text, bytes) in [("512", 512), ("64KiB", 65_536), ("10MB", 10_000_000), ("1.5GiB", 1_610_612_736)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "KiB", "1XB", "-1", "99999999TiB"] {
            assert_eq!(parse_size(bad), Err(BadQuantity), "{bad}");
        }
    }

    #[test]
    fn paths_walk_maps_and_lists() {
        let span = Span { line: 3, column: 5 };
        let leaf = Node { span, tree: Tree::Text("x".into()) };
        let list = Node { span: Span::default(), tree: Tree::List(vec![leaf.clone()]) };
        let root = Node { span: Span::default(), tree: Tree::Map(vec![("a".into(), span, list)]) };
        assert_eq!(root.at("a.0"), Some(&leaf));
        assert_eq!(root.at("a.1"), None);
        assert_eq!(root.at(""), Some(&root));
        assert_eq!(root.to_json(), serde_json::json!({"a": ["x"]}));
        let problem = Problem { span, path: "a.0".into(), message: "no".into(), suggestion: Some("write y".into()) };
        assert_eq!(problem.to_string(), "3:5: a.0: no (write y)");
    }
}
