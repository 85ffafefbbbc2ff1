//! `Policy`: what happens to each field of a structured event, by stream and by name, before anything is stored.
//!
//! Structure decides first: a field that the policy names is dropped, masked, made coarser, replaced or kept as it says; any
//! other field is judged by its name and its content as free text is, or dropped where the stream is fail-closed. What a
//! name means is decided once and remembered. A receipt says how many values of which type were met; never a value.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use model::{Value, limits};
use sha2::{Digest as _, Sha256};

use crate::config::{Config, FieldAction};
use crate::detect::Type;
use crate::generalise::generalise;
use crate::redact::Redactor;

/// Changes whenever a rule finds more or less than before: stands in every receipt.
pub const RULES_VERSION: u32 = 2;

/// What stands in the place of a masked value.
const MASK: &str = "***";

/// An event as it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What the sender says of the event.
    pub attributes: BTreeMap<String, Value>,
    /// What the sender says of itself.
    pub resource: BTreeMap<String, Value>,
    /// The event: text, or a structure.
    pub body: Value,
}

impl Default for Event {
    fn default() -> Self {
        Self { attributes: BTreeMap::new(), resource: BTreeMap::new(), body: Value::Null }
    }
}

/// An event after the policy: only [`Policy::clear`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct ClearedEvent {
    attributes: BTreeMap<String, Value>,
    resource: BTreeMap<String, Value>,
    body: Value,
}

impl ClearedEvent {
    /// Returns what the sender says of the event.
    #[must_use]
    pub const fn attributes(&self) -> &BTreeMap<String, Value> {
        &self.attributes
    }

    /// Returns what the sender says of itself.
    #[must_use]
    pub const fn resource(&self) -> &BTreeMap<String, Value> {
        &self.resource
    }

    /// Returns attributes, resource and body.
    pub(crate) fn into_parts(self) -> (BTreeMap<String, Value>, BTreeMap<String, Value>, Value) {
        (self.attributes, self.resource, self.body)
    }

    /// Returns the event itself.
    #[must_use]
    pub const fn body(&self) -> &Value {
        &self.body
    }
}

/// What was done to an event: counts, never values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// How many values of each type were met, whatever was done to them; fields that a policy names count as their type,
    /// or as `FIELD` where they have none.
    pub counts: BTreeMap<&'static str, u64>,
    /// Which rules found them: [`RULES_VERSION`].
    pub rules: u32,
    /// SHA-256 of the policy, the first 16 hexadecimal digits.
    pub policy: Arc<str>,
}

impl Receipt {
    /// Returns the receipt as what stands in an event's record.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let counts = self.counts.iter().map(|(kind, count)| ((*kind).to_owned(), Value::U64(*count))).collect();
        let entries = [
            ("counts", Value::Map(counts)),
            ("rules", Value::U64(self.rules.into())),
            ("policy", Value::Text(self.policy.to_string())),
        ];
        Value::Map(entries.map(|(name, value)| (name.to_owned(), value)).into())
    }

    fn count(&mut self, name: &'static str, more: u64) {
        *self.counts.entry(name).or_insert(0) += more;
    }
}

/// The policies of all streams. Cheap to share.
#[derive(Debug)]
pub struct Policy {
    redactor: Arc<Redactor>,
    streams: Vec<Stream>,
    hash: Arc<str>,
}

#[derive(Debug)]
struct Stream {
    pattern: String,
    fields: Vec<(String, FieldAction)>,
    drops_unknown: bool,
    /// What was decided for a path: an index into `fields`, or none. Bounded by [`limits::POLICY_FIELDS_MAX`].
    decided: RwLock<HashMap<String, Option<usize>>>,
}

impl Stream {
    fn decide(&self, path: &str) -> Option<&FieldAction> {
        let known = self.decided.read().unwrap_or_else(PoisonError::into_inner).get(path).copied();
        let index = known.unwrap_or_else(|| {
            let found = self.find(path);
            let mut decided = self.decided.write().unwrap_or_else(PoisonError::into_inner);
            if decided.len() < limits::POLICY_FIELDS_MAX {
                decided.insert(path.to_owned(), found);
            }
            found
        });
        Some(&self.fields.get(index?)?.1)
    }

    /// The longest pattern wins, so that `user.*` may have exceptions.
    fn find(&self, path: &str) -> Option<usize> {
        let inner = path.split_once('.').map_or(path, |(_, inner)| inner);
        let fits = |pattern: &str| matches_glob(pattern, path) || matches_glob(pattern, inner);
        let fitting = self.fields.iter().enumerate().filter(|(_, (pattern, _))| fits(pattern));
        fitting.max_by_key(|(_, (pattern, _))| pattern.len()).map(|(index, _)| index)
    }
}

impl Policy {
    /// Makes the policy that `config` asks for, over `redactor`, which the same configuration made.
    ///
    /// # Errors
    /// When the configuration cannot be carried out.
    pub fn new(config: &Config, redactor: Arc<Redactor>) -> Result<Self, crate::Error> {
        if let Some((path, message, _)) = config.check().into_iter().next() {
            return Err(crate::Error::Policy { path, message });
        }
        let streams = config
            .streams
            .iter()
            .map(|(pattern, stream)| Stream {
                pattern: pattern.clone(),
                fields: stream
                    .fields
                    .iter()
                    .filter_map(|(path, action)| Some((path.clone(), FieldAction::read(action).ok()?)))
                    .collect(),
                drops_unknown: stream.unknown == crate::config::Unknown::Drop,
                decided: RwLock::default(),
            })
            .collect();
        // The Debug form of a configuration is ordered and complete, and its hash is compared with nothing but itself.
        let digest = Sha256::digest(format!("{config:?}").as_bytes());
        let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { redactor, streams, hash: hash.into() })
    }

    /// Clears an event of `stream`. Linear in its size.
    #[must_use]
    pub fn clear(&self, stream: &str, event: Event) -> (ClearedEvent, Receipt) {
        let mut receipt = Receipt { counts: BTreeMap::new(), rules: RULES_VERSION, policy: Arc::clone(&self.hash) };
        let fitting = self.streams.iter().filter(|policy| matches_glob(&policy.pattern, stream));
        let mut clearing = Clearing {
            redactor: &self.redactor,
            stream: fitting.max_by_key(|policy| policy.pattern.len()),
            receipt: &mut receipt,
        };
        let cleared = ClearedEvent {
            attributes: clearing.map("attributes", event.attributes, 0),
            resource: clearing.map("resource", event.resource, 0),
            body: match event.body {
                Value::Map(map) => Value::Map(clearing.map("body", map, 0)),
                body => clearing.value("body", "", body, 0).unwrap_or(Value::Null),
            },
        };
        (cleared, receipt)
    }
}

/// The clearing of one event.
struct Clearing<'a> {
    redactor: &'a Redactor,
    stream: Option<&'a Stream>,
    receipt: &'a mut Receipt,
}

impl Clearing<'_> {
    fn map(&mut self, path: &str, map: BTreeMap<String, Value>, depth: usize) -> BTreeMap<String, Value> {
        let mut cleared = BTreeMap::new();
        for (key, value) in map {
            let path = format!("{path}.{key}");
            if let Some(value) = self.value(&path, &key, value, depth) {
                // A name may itself be somebody's address.
                let name = self.text("", &key);
                cleared.insert(name, value);
            }
        }
        cleared
    }

    fn value(&mut self, path: &str, key: &str, value: Value, depth: usize) -> Option<Value> {
        if depth > limits::VALUE_DEPTH_MAX {
            return None;
        }
        match self.stream.and_then(|stream| stream.decide(path)) {
            Some(action) => self.act(key, value, action),
            None => match value {
                Value::Map(map) => Some(Value::Map(self.map(path, map, depth + 1))),
                Value::List(items) => Some(Value::List(
                    items.into_iter().filter_map(|item| self.value(path, key, item, depth + 1)).collect(),
                )),
                _ if self.stream.is_some_and(|stream| stream.drops_unknown) && !key.is_empty() => {
                    self.receipt.count("FIELD", 1);
                    None
                }
                value => self.leaf(key, value),
            },
        }
    }

    /// Judges a value by its name and its content.
    fn leaf(&mut self, key: &str, value: Value) -> Option<Value> {
        Some(match value {
            Value::Text(text) => Value::Text(self.text(key, &text)),
            Value::U64(_) | Value::I64(_) | Value::F64(_) => {
                let written = written(&value);
                let cleared = self.text(key, &written);
                if cleared == written { value } else { Value::Text(cleared) }
            }
            Value::Bytes(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Value::Text(self.text(key, &text)),
                // Nobody can say what is in it.
                Err(_) => Value::Null,
            },
            other => other,
        })
    }

    /// Clears a text as the value of `key`: what the name says counts as in free text.
    fn text(&mut self, key: &str, text: &str) -> String {
        let quote = ['"', '\'', '`'].into_iter().find(|quote| !text.contains(*quote) && !key.contains(*quote));
        if let (Some(quote), false) = (quote, key.is_empty() || text.contains('\n')) {
            let whole = format!("{quote}{key}{quote}:{quote}{text}{quote}");
            let explained = self.redactor.explain(&whole);
            let head = key.len() + 4;
            let inside = explained.findings.iter().all(|finding| finding.range.start >= head);
            let cleared =
                inside.then(|| explained.cleared.get(head..)?.strip_suffix(quote)).flatten().map(str::to_owned);
            if let Some(cleared) = cleared {
                for finding in &explained.findings {
                    self.receipt.count(finding.kind.name(), 1);
                }
                return cleared;
            }
        }
        let explained = self.redactor.explain(text);
        for finding in &explained.findings {
            self.receipt.count(finding.kind.name(), 1);
        }
        explained.cleared
    }

    /// Does to a field what the policy says.
    fn act(&mut self, key: &str, value: Value, action: &FieldAction) -> Option<Value> {
        if let Value::List(items) = value {
            return Some(Value::List(items.into_iter().filter_map(|item| self.act(key, item, action)).collect()));
        }
        let kind = self.kind_of(key, &value);
        self.receipt.count(kind.map_or("FIELD", Type::name), 1);
        match action {
            FieldAction::Drop => None,
            FieldAction::Keep => Some(value),
            FieldAction::Mask => Some(Value::Text(MASK.to_owned())),
            FieldAction::Generalise(to) => {
                let coarse = generalise(&written(&value), *to);
                Some(Value::Text(coarse.unwrap_or_else(|| MASK.to_owned())))
            }
            FieldAction::Token => {
                let word = kind.map_or("secret", Type::as_str);
                Some(Value::Text(format!("[{word}]")))
            }
        }
    }

    /// What a field that the policy names is: by its name and content.
    fn kind_of(&self, key: &str, value: &Value) -> Option<Type> {
        let text = written(value);
        let whole = format!("\"{key}\":\"{text}\"");
        let found = self.redactor.findings(&whole);
        found.iter().map(|finding| finding.kind).next()
    }
}

fn written(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::U64(number) => number.to_string(),
        Value::I64(number) => number.to_string(),
        Value::F64(number) => number.to_string(),
        Value::Bool(bool) => bool.to_string(),
        _ => String::new(),
    }
}

/// Tells whether `text` fits `pattern`, in which `*` stands for any characters. Linear but for patterns made to be slow,
/// which are the operator's own.
pub(crate) fn matches_glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|head| text.strip_prefix(head)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(config: serde_json::Value) -> Policy {
        let config: Config = serde_json::from_value(config).expect("reads");
        let redactor = Arc::new(config.redactor([""; 0]).expect("is possible"));
        Policy::new(&config, redactor).expect("is possible")
    }

    fn clear(policy: &Policy, stream: &str, body: serde_json::Value) -> (serde_json::Value, Receipt) {
        let (cleared, receipt) = policy.clear(stream, Event { body: body.into(), ..Event::default() });
        (cleared.body().clone().into(), receipt)
    }

    #[test]
    fn fields_are_treated_as_the_policy_says() {
        let policy = policy(json!({"streams": {"shop-*": {"fields": {
            "user.id": "mask", "client.ip": "generalise /16", "card": "drop", "birth": "generalise month", "age": "generalise",
            "note": "keep because the shop writes it itself", "user.*": "token",
        }}}}));
        let (cleared, receipt) = clear(
            &policy,
            "shop-api",
            json!({
                "user": {"id": 42, "email": "ana@example.org", "tags": ["a", "b"]}, "client": {"ip": "203.0.113.9"},
                "card": "4242424242424242", "birth": "1980-03-12", "age": 47, "note": "call ana@example.org",
                "other": "call bob@example.org", "nom": "Kowalczyk", "siret": 73_282_932_000_074_u64, "deep": [{"x": "a@b.fr"}],
                "count": 3, "ok": true,
            }),
        );
        assert_eq!(
            cleared,
            json!({
                "user": {"id": "***", "email": "[email]", "tags": ["[secret]", "[secret]"]}, "client": {"ip": "203.0.0.0/16"},
                "birth": "1980-03", "age": "40-49", "note": "call ana@example.org",
                "other": "call [email]", "nom": "[person]", "siret": "[siret]", "deep": [{"x": "[email]"}],
                "count": 3, "ok": true,
            })
        );
        assert_eq!((receipt.counts["EMAIL"], receipt.counts["CARD"], receipt.counts["SIRET"]), (4, 1, 1));
        assert_eq!((receipt.rules, receipt.policy.len()), (RULES_VERSION, 16));
        let again = clear(&policy, "shop-api", json!({"card": "x"}));
        assert_eq!(again.0, json!({}));
    }

    #[test]
    fn other_streams_are_judged_by_name_and_content() {
        let policy = policy(
            json!({"streams": {"strict": {"unknown": "drop", "fields": {"status": "keep because it is a number"}}}}),
        );
        let (cleared, _) = clear(
            &policy,
            "elsewhere",
            json!({"login": "jdupont42", "ana@example.org": "x", "m": "it's \"a`b\" a@b.fr"}),
        );
        assert_eq!(cleared, json!({"login": "[username]", "[email]": "x", "m": "it's \"a`b\" [email]"}));
        let (cleared, receipt) = clear(&policy, "strict", json!({"status": 200, "new_field": "x", "in": {"y": 1}}));
        assert_eq!((cleared, receipt.counts["FIELD"]), (json!({"status": 200, "in": {}}), 3));
        let (cleared, _) = clear(&policy, "strict", json!("text of a@b.fr"));
        assert_eq!(cleared, json!("text of [email]"));
    }

    #[test]
    fn attributes_and_resource_are_fields_too() {
        let policy = policy(json!({"streams": {"*": {"fields": {"attributes.user": "drop", "host.name": "mask"}}}}));
        let map = |json: serde_json::Value| match Value::from(json) {
            Value::Map(map) => map,
            _ => BTreeMap::new(),
        };
        let event = Event {
            attributes: map(json!({"user": "x", "email": "a@b.fr"})),
            resource: map(json!({"host.name": "h1", "user": "y"})),
            body: Value::Bytes(vec![0xFF]),
        };
        let (cleared, _) = policy.clear("s", event);
        assert_eq!(cleared.attributes(), &map(json!({"email": "[email]"})));
        assert_eq!(cleared.resource(), &map(json!({"host.name": "***", "user": "y"})));
        assert_eq!(cleared.body(), &Value::Null);
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused() {
        let config: Config =
            serde_json::from_value(json!({"streams": {"s": {"fields": {"a": "seal"}}}})).expect("reads");
        let error = Policy::new(&config, Arc::new(Redactor::new())).expect_err("is refused");
        assert!(error.to_string().contains("needs the keystore"), "{error}");
    }

    #[test]
    fn globs_match() {
        for (pattern, text, fits) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*", "", true),
            ("*b", "ab", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abde", false),
            ("user.*", "user.id", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches_glob(pattern, text), fits, "{pattern} {text}");
        }
    }
}
