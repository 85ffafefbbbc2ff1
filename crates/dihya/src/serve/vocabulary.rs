//! What may be recorded of a question in clear: words that are nobody's, whoever types them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, Mutex, PoisonError};

use lake::sql::{is_column, is_short_number};
use lake::syntax::{Part, Pattern};
use model::{Sector, Tenant, Timestamp};
use privacy::{Redactor, find_pseudonym};

use super::named::NOBODY;

/// Names of services and streams of a tenant that are known; what is beyond is recorded as any text is.
const SEEN_MAX: usize = 4_096;
/// Levels as people type them; numbers are short enough.
const LEVELS: [&str; 10] = ["trace", "debug", "info", "notice", "warn", "warning", "error", "err", "critical", "fatal"];
/// Names of fields that the search has beside the columns.
const ALSO: [&str; 5] = ["level", "time", "@timestamp", "message", "timestamp"];

/// Names that the common schema or OpenTelemetry give to fields.
static FIELDS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let renamed = export::ecs::RENAMED.iter().map(|(name, _)| (*name).to_owned());
    export::ecs::fields().into_keys().chain(renamed).collect()
});

/// Names that answers have shown: they stand in the lake in clear, so a record that has them tells nothing more.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<BTreeMap<Tenant, BTreeSet<String>>>);

impl Seen {
    /// Takes in names of services and streams that an answer shows.
    pub(super) fn extend<'a>(&self, tenant: &Tenant, names: impl Iterator<Item = &'a str>) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_tenant = seen.entry(tenant.clone()).or_default();
        for name in names {
            if of_tenant.len() < SEEN_MAX && !name.is_empty() && !of_tenant.contains(name) {
                of_tenant.insert(name.to_owned());
            }
        }
    }

    /// Returns what is known of a tenant.
    fn of(&self, tenant: &Tenant) -> BTreeSet<String> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(tenant).cloned().unwrap_or_default()
    }
}

/// The words that may be recorded for a tenant.
pub(super) struct Vocabulary<'a> {
    redactor: &'a Redactor,
    seen: BTreeSet<String>,
}

impl<'a> Vocabulary<'a> {
    pub(super) fn new(redactor: &'a Redactor, seen: &Seen, tenant: &Tenant) -> Self {
        Self { redactor, seen: seen.of(tenant) }
    }

    /// Tells whether a field's name is one that many know, and none that somebody thought of.
    pub(super) fn has_field(&self, name: &str) -> bool {
        let inner = ["attributes.", "resource.", "body."].iter().find_map(|part| name.strip_prefix(part));
        let name = inner.unwrap_or(name);
        is_column(name) || ALSO.contains(&name) || FIELDS.contains(name) || lake::is_attribute(name)
    }

    /// Tells whether a text may stand in a record, where it is held against `field`.
    pub(super) fn has(&self, field: Option<&str>, text: &Pattern) -> bool {
        let field = field.unwrap_or_default();
        let Some(exact) = text.as_exact() else {
            let named = matches!(field, "service" | "service.name" | "stream");
            let is_short =
                |part: &Part| matches!(part, Part::Text(text) if is_short_number(text)) || *part == Part::Any;
            return text.0.iter().all(is_short) || named && self.seen.iter().any(|name| text.matches(name));
        };
        let is_name = find_pseudonym(exact).is_some_and(|(before, _, after)| before.is_empty() && after.is_empty());
        let is_time = matches!(field, "ts" | "observed" | "day" | "time" | "timestamp" | "@timestamp")
            && (exact.parse::<Timestamp>().is_ok() || exact.parse::<jiff::civil::Date>().is_ok());
        let is_level = matches!(field, "severity" | "level") && LEVELS.contains(&exact.to_lowercase().as_str());
        let is_sector = field == "sector" && exact.parse::<Sector>().is_ok();
        exact.is_empty()
            || exact == NOBODY
            || is_name
            || is_time
            || is_level
            || is_sector
            || is_short_number(exact)
            || self.has_field(exact)
            || self.redactor.is_declared(exact)
            || self.seen.contains(exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_public_where_they_say_what_anybody_knows() {
        let seen = Seen::default();
        let (tenant, other) = (Tenant::default(), Tenant::new("other").expect("a tenant"));
        seen.extend(&tenant, ["auth", "web-1", ""].into_iter());
        let redactor = Redactor::new().with_declared(["shop"]);
        let words = Vocabulary::new(&redactor, &seen, &tenant);
        for (field, text, public) in [
            ("", "dupont", false),
            ("", "auth", true),
            ("", "shop", true),
            ("", "user.id", true),
            ("", "attributes.http.route", true),
            ("", "503", true),
            ("", "0612345678", false),
            ("", "Pabcdefghijklmnopqrstuvwxyz", true),
            ("", "x Pabcdefghijklmnopqrstuvwxyz", false),
            ("", "[identifier]", true),
            ("severity", "Error", true),
            ("body", "warn", false),
            ("sector", "health", true),
            ("ts", "2026-11-28", true),
            ("time", "2026-11-28T10:00:00Z", true),
            ("birth", "1980-03-12", false),
            ("service", "web*", true),
            ("service", "dup*", false),
            ("body", "web*", false),
            ("status", "5*", true),
            ("status", "*", true),
            ("phone", "0612345*", false),
        ] {
            assert_eq!(words.has(Some(field), &Pattern::wild(text)), public, "{field}: {text}");
        }
        assert!(words.has_field("user_id") && !words.has_field("jean.dupont"));
        assert!(!Vocabulary::new(&redactor, &seen, &other).has(None, &Pattern::exact("auth")));
        seen.extend(&other, (0..2 * SEEN_MAX).map(|n| n.to_string()).collect::<Vec<_>>().iter().map(String::as_str));
        assert_eq!(seen.of(&other).len(), SEEN_MAX);
    }
}
