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
use crate::redact::{Finding, Redactor};

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
            path: String::new(),
            scratch: String::new(),
        };
        let Event { mut attributes, mut resource, mut body } = event;
        clearing.part("attributes", &mut attributes);
        clearing.part("resource", &mut resource);
        match &mut body {
            Value::Map(map) => clearing.part("body", map),
            body => {
                "body".clone_into(&mut clearing.path);
                if !clearing.value("", body, 0) {
                    *body = Value::Null;
                }
            }
        }
        (ClearedEvent { attributes, resource, body }, receipt)
    }
}

/// The clearing of one event, in place: most of what comes is left as it is.
struct Clearing<'a> {
    redactor: &'a Redactor,
    stream: Option<&'a Stream>,
    receipt: &'a mut Receipt,
    /// Where the value that is judged stands.
    path: String,
    /// A value with its name before it, as it would stand in a text.
    scratch: String,
}

impl Clearing<'_> {
    fn part(&mut self, name: &str, map: &mut BTreeMap<String, Value>) {
        name.clone_into(&mut self.path);
        self.map(map, 0);
    }

    fn map(&mut self, map: &mut BTreeMap<String, Value>, depth: usize) {
        let (mut dropped, mut renamed) = (Vec::new(), Vec::new());
        for (key, value) in map.iter_mut() {
            let len = self.path.len();
            self.path.push('.');
            self.path.push_str(key);
            let stays = self.value(key, value, depth);
            self.path.truncate(len);
            if !stays {
                dropped.push(key.clone());
            } else if !is_plain_name(key)
                && let Some(name) = self.text("", key)
            {
                // A name may itself be somebody's address.
                renamed.push((key.clone(), name));
            }
        }
        for key in dropped {
            map.remove(&key);
        }
        for (key, name) in renamed {
            if let Some(value) = map.remove(&key) {
                map.insert(name, value);
            }
        }
    }

    /// Clears what stands at the path; `false` when it is to go.
    fn value(&mut self, key: &str, value: &mut Value, depth: usize) -> bool {
        if depth > limits::VALUE_DEPTH_MAX {
            return false;
        }
        if let Some(action) = self.stream.and_then(|stream| stream.decide(&self.path)) {
            return match self.act(key, std::mem::replace(value, Value::Null), action) {
                Some(cleared) => {
                    *value = cleared;
                    true
                }
                None => false,
            };
        }
        match value {
            Value::Map(map) => self.map(map, depth + 1),
            Value::List(items) => items.retain_mut(|item| self.value(key, item, depth + 1)),
            _ if self.stream.is_some_and(|stream| stream.drops_unknown) && !key.is_empty() => {
                self.receipt.count("FIELD", 1);
                return false;
            }
            value => self.leaf(key, value),
        }
        true
    }

    /// Judges a value by its name and its content.
    fn leaf(&mut self, key: &str, value: &mut Value) {
        let cleared = match value {
            Value::Text(text) => self.text(key, text),
            Value::U64(_) | Value::I64(_) | Value::F64(_) => self.text(key, &written(value)),
            Value::Bytes(bytes) => match String::from_utf8(std::mem::take(bytes)) {
                Ok(text) => Some(self.text(key, &text).unwrap_or(text)),
                // Nobody can say what is in it.
                Err(_) => {
                    *value = Value::Null;
                    None
                }
            },
            Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => None,
        };
        if let Some(cleared) = cleared {
            *value = Value::Text(cleared);
        }
    }

    /// Clears a text as the value of `key`: what the name says counts as in free text. `None` when nothing is found.
    fn text(&mut self, key: &str, text: &str) -> Option<String> {
        let quote = ['"', '\'', '`'].into_iter().find(|quote| !text.contains(*quote) && !key.contains(*quote));
        if let (Some(quote), false) = (quote, key.is_empty() || text.contains('\n')) {
            let mut whole = std::mem::take(&mut self.scratch);
            whole.clear();
            for part in [quote, ' ', quote, ':', quote, '\n', quote] {
                match part {
                    ' ' => whole.push_str(key),
                    '\n' => whole.push_str(text),
                    mark => whole.push(mark),
                }
            }
            let cleared = self.inside(&whole, key.len() + 4, quote);
            self.scratch = whole;
            if let Some(cleared) = cleared {
                return cleared;
            }
        }
        if self.redactor.findings(text).is_empty() {
            return None;
        }
        let explained = self.redactor.explain(text);
        self.count(&explained.findings);
        (explained.cleared != text).then_some(explained.cleared)
    }

    /// Clears what stands between `head` and the last quote of `whole`: `Some(None)` when nothing is found, `None` when
    /// what is found reaches outside.
    fn inside(&mut self, whole: &str, head: usize, quote: char) -> Option<Option<String>> {
        if self.redactor.findings(whole).is_empty() {
            return Some(None);
        }
        let explained = self.redactor.explain(whole);
        if explained.findings.iter().any(|finding| finding.range.start < head) {
            return None;
        }
        let cleared = explained.cleared.get(head..)?.strip_suffix(quote)?.to_owned();
        self.count(&explained.findings);
        let before = whole.get(head..whole.len() - quote.len_utf8());
        Some((before != Some(&*cleared)).then_some(cleared))
    }

    fn count(&mut self, findings: &[Finding]) {
        for finding in findings {
            self.receipt.count(finding.kind.name(), 1);
        }
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

/// Tells whether a name of a field is letters, in which nothing personal can be found: each is looked at for each event.
fn is_plain_name(name: &str) -> bool {
    name.len() <= 32
        && name.bytes().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'.' | b'-' | b'@'))
        && !name.bytes().skip(1).any(|byte| byte == b'@')
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

    proptest::proptest! {
        /// The shortcut for names of fields says nothing else than a reading would.
        #[test]
        fn nothing_is_found_in_plain_names(name in "@?[a-zA-Z_.-]{0,31}") {
            if is_plain_name(&name) {
                proptest::prop_assert!(Redactor::new().findings(&name).is_empty(), "{name}");
            }
        }
    }
}
