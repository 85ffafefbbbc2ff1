//! Tenants and the origins of their logs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits::NAME_BYTES_MAX;

/// An organisation whose data never mixes with another's; one path segment, `[a-z0-9.-]+`, neither `.` nor `..`.
/// Each record carries one, so that a copy is a count and no text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// The tenant of an instance that declares none.
    pub const DEFAULT: &'static str = "default";

    /// Reads a tenant's name.
    ///
    /// # Errors
    /// When `name` is not one valid segment.
    pub fn new(name: &str) -> Result<Self, BadName> {
        if is_segment(name) { Ok(Self(name.into())) } else { Err(BadName) }
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl TryFrom<String> for Tenant {
    type Error = BadName;

    fn try_from(name: String) -> Result<Self, BadName> {
        Self::new(&name)
    }
}

impl From<Tenant> for String {
    fn from(tenant: Tenant) -> Self {
        tenant.as_str().to_owned()
    }
}

impl std::fmt::Display for Tenant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// The name of a log: `<instance>/<tenant>`, or `<instance>/meta`. It is the first line of each checkpoint, the name of
/// each key, and a relative path; so `[a-z0-9.-]+(/[a-z0-9.-]+)*` without `.` or `..` segments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(Arc<str>);

impl Origin {
    /// Reads an origin.
    ///
    /// # Errors
    /// When `text` is not a path of valid segments.
    pub fn new(text: &str) -> Result<Self, BadName> {
        if text.len() <= 2 * NAME_BYTES_MAX && text.split('/').all(is_segment) {
            Ok(Self(text.into()))
        } else {
            Err(BadName)
        }
    }

    /// Returns the origin of a tenant's log.
    ///
    /// # Errors
    /// When `instance` is not a path of valid segments.
    pub fn of(instance: &str, tenant: &Tenant) -> Result<Self, BadName> {
        Self::new(&format!("{instance}/{tenant}"))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Origin {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        Self::new(&text)
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.as_str().to_owned()
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// A name that cannot be a tenant or an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected segments of a-z, 0-9, dot and dash, none of them . or ..")]
pub struct BadName;

fn is_segment(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name != "."
        && name != ".."
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_safe_relative_path() {
        for good in ["localhost/default", "a", "h.example-1/meta"] {
            assert!(Origin::new(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "../a", "a/./b", "A/b", "a b", "a/é"] {
            assert_eq!(Origin::new(bad), Err(BadName), "{bad}");
        }
        assert_eq!(Origin::of("localhost", &Tenant::default()).map(|o| o.to_string()), Ok("localhost/default".into()));
        assert_eq!(Tenant::new("a/b"), Err(BadName));
    }
}
