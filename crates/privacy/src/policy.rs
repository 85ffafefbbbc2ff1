//! `Policy`: what happens to each field of a structured event, by stream and by name, before anything is stored.
//!
//! Structure decides first: a field that the policy names is dropped, masked, made coarser, replaced or kept as it says; any
//! other field is judged by its name and its content as free text is, or dropped where the stream is fail-closed. What a
//! name means is decided once and remembered. A receipt says how many values of which type were met; never a value.

mod asked;

pub use asked::Named;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use model::{Value, limits};
use sha2::{Digest as _, Sha256};

use crate::boxes::Sealed;
use crate::config::{Action, Config, FieldAction};
use crate::detect::Type;
use crate::generalise::generalise;
use crate::keys::Keys;
use crate::keystore::{self, Keystore, Owner, Want};
use crate::pseudonym::{pseudonym, pseudonym_text};
use crate::redact::{Explained, Finding, Redactor};

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

/// An event after the policy, with what its keys are needed for.
pub(crate) struct Keyed {
    pub(crate) event: ClearedEvent,
    pub(crate) receipt: Receipt,
    /// What was sealed.
    pub(crate) boxes: Vec<Sealed>,
    /// Whose keys are not there yet: where there are any, the rest is not to be used.
    pub(crate) missing: Vec<Want>,
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
    /// Returns the path of the policy that fits, and what it says.
    fn decide(&self, path: &str) -> Option<&(String, FieldAction)> {
        let known = self.decided.read().unwrap_or_else(PoisonError::into_inner).get(path).copied();
        let index = known.unwrap_or_else(|| {
            let found = self.find(path);
            let mut decided = self.decided.write().unwrap_or_else(PoisonError::into_inner);
            if decided.len() < limits::POLICY_FIELDS_MAX {
                decided.insert(path.to_owned(), found);
            }
            found
        });
        self.fields.get(index?)
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
        // The Debug form of a policy is ordered and complete, and its hash is compared with nothing but itself. How keys are
        // kept is no part of it.
        let Config { types, keep, streams: by_stream, keystore: _ } = config;
        let policy = format!("Config {{ types: {types:?}, keep: {keep:?}, streams: {by_stream:?} }}");
        let digest = Sha256::digest(policy.as_bytes());
        let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { redactor, streams, hash: hash.into() })
    }

    /// Tells whether events of `stream` may need keys.
    #[must_use]
    pub fn is_keyed_for(&self, stream: &str) -> bool {
        let keyed = |stream: &Stream| stream.fields.iter().any(|(_, action)| action.is_keyed());
        self.redactor.is_keyed() || self.stream(stream).is_some_and(keyed)
    }

    /// Tells whether any event may need keys.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        let keyed = |stream: &Stream| stream.fields.iter().any(|(_, action)| action.is_keyed());
        self.redactor.is_keyed() || self.streams.iter().any(keyed)
    }

    fn stream(&self, stream: &str) -> Option<&Stream> {
        let fitting = self.streams.iter().filter(|policy| matches_glob(&policy.pattern, stream));
        fitting.max_by_key(|policy| policy.pattern.len())
    }

    /// Clears an event of `stream` without keys: a token takes the place of what needs one. Linear in its size.
    #[must_use]
    pub fn clear(&self, stream: &str, event: Event) -> (ClearedEvent, Receipt) {
        let cleared = self.clear_with(stream, event, None);
        (cleared.event, cleared.receipt)
    }

    /// Clears an event of `stream` with the keys of a keystore, and mints those that are missing.
    ///
    /// # Errors
    /// When a key cannot be minted.
    pub fn clear_keyed(
        &self,
        stream: &str,
        event: Event,
        keystore: &Keystore,
    ) -> Result<(ClearedEvent, Receipt, Vec<Sealed>), keystore::Error> {
        let cleared = self.clear_with(stream, event.clone(), Some(keystore));
        let cleared = if cleared.missing.is_empty() {
            cleared
        } else {
            keystore.mint(&cleared.missing)?;
            self.clear_with(stream, event, Some(keystore))
        };
        Ok((cleared.event, cleared.receipt, cleared.boxes))
    }

    /// Clears an event of `stream` with the keys that are there.
    pub(crate) fn clear_with(&self, stream: &str, event: Event, keystore: Option<&Keystore>) -> Keyed {
        let mut receipt = Receipt { counts: BTreeMap::new(), rules: RULES_VERSION, policy: Arc::clone(&self.hash) };
        let mut clearing = Clearing {
            redactor: &self.redactor,
            stream: self.stream(stream),
            receipt: &mut receipt,
            keys: Keys::new(keystore),
            path: String::new(),
            scratch: String::new(),
        };
        let Event { mut attributes, mut resource, mut body } = event;
        clearing.name_people(&attributes, &resource, &body);
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
        let (boxes, missing) = clearing.keys.into_parts();
        Keyed { event: ClearedEvent { attributes, resource, body }, receipt, boxes, missing }
    }
}

/// The clearing of one event, in place: most of what comes is left as it is.
struct Clearing<'a> {
    redactor: &'a Redactor,
    stream: Option<&'a Stream>,
    receipt: &'a mut Receipt,
    keys: Keys<'a>,
    /// Where the value that is judged stands.
    path: String,
    /// A value with its name before it, as it would stand in a text.
    scratch: String,
}

impl Clearing<'_> {
    /// Finds out whose the event is, before anything is done with its fields.
    fn name_people(&mut self, attributes: &BTreeMap<String, Value>, resource: &BTreeMap<String, Value>, body: &Value) {
        if !self
            .stream
            .is_some_and(|stream| stream.fields.iter().any(|(_, action)| matches!(action, FieldAction::Subject(_))))
        {
            return;
        }
        for (name, part) in [("attributes", attributes), ("resource", resource)] {
            name.clone_into(&mut self.path);
            self.name_in(part, 0);
        }
        "body".clone_into(&mut self.path);
        if let Value::Map(body) = body {
            self.name_in(body, 0);
        }
        self.keys.resolve_people();
    }

    fn name_in(&mut self, map: &BTreeMap<String, Value>, depth: usize) {
        for (key, value) in map {
            let len = self.path.len();
            self.path.push('.');
            self.path.push_str(key);
            self.name_value(key, value, depth);
            self.path.truncate(len);
        }
    }

    fn name_value(&mut self, key: &str, value: &Value, depth: usize) {
        match (self.stream.and_then(|stream| stream.decide(&self.path)), value) {
            (_, Value::List(items)) if depth <= limits::VALUE_DEPTH_MAX => {
                items.iter().for_each(|item| self.name_value(key, item, depth + 1));
            }
            (Some((pattern, FieldAction::Subject(keyed))), value) => {
                let text = written(value);
                if !text.is_empty() {
                    let kind = self.identity(key, value, pattern, keyed);
                    self.keys.name(keyed.role.as_deref().unwrap_or_default(), &self.path, &kind, &text);
                }
            }
            (None, Value::Map(map)) if depth <= limits::VALUE_DEPTH_MAX => self.name_in(map, depth + 1),
            _ => {}
        }
    }

    /// Returns what kind of identifier a value is: what the policy says, what it surely is by its form, or else what the
    /// policy calls the field. Two persons under one tag would be worse than one person under two.
    fn identity(&self, key: &str, value: &Value, pattern: &str, keyed: &crate::config::Keyed) -> String {
        match (&keyed.kind, self.kind_of(key, value)) {
            (Some(kind), _) => kind.clone(),
            (None, Some(kind)) if kind.identifies() => kind.as_str().to_owned(),
            _ => format!("name:{pattern}"),
        }
    }

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
        if let Some((pattern, action)) = self.stream.and_then(|stream| stream.decide(&self.path)) {
            return match self.act(key, std::mem::replace(value, Value::Null), pattern, action) {
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
        let explained = self.explain(text);
        self.count(text, &explained.findings);
        (explained.cleared != text).then_some(explained.cleared)
    }

    /// Clears what stands between `head` and the last quote of `whole`: `Some(None)` when nothing is found, `None` when
    /// what is found reaches outside.
    fn inside(&mut self, whole: &str, head: usize, quote: char) -> Option<Option<String>> {
        if self.redactor.findings(whole).is_empty() {
            return Some(None);
        }
        let explained = self.explain(whole);
        if explained.findings.iter().any(|finding| finding.range.start < head) {
            return None;
        }
        let cleared = explained.cleared.get(head..)?.strip_suffix(quote)?.to_owned();
        self.count(whole, &explained.findings);
        let before = whole.get(head..whole.len() - quote.len_utf8());
        Some((before != Some(&*cleared)).then_some(cleared))
    }

    fn explain(&self, text: &str) -> Explained {
        self.redactor.explain_with(text, &|kind, understood| self.keys.replacement(self.redactor, kind, understood))
    }

    /// Counts what was found in a text, and seals what is to be sealed.
    fn count(&mut self, text: &str, findings: &[Finding]) {
        for finding in findings {
            self.receipt.count(finding.kind.name(), 1);
            if !finding.kept && self.redactor.action(finding.kind) == Action::Seal {
                let found = text.get(finding.range.clone()).unwrap_or_default();
                let owner = self.keys.owner_in_text(finding.kind.as_str(), found);
                self.seal(owner, Value::from(found));
            }
        }
    }

    /// Puts a value into its owner's box; what is too much is counted and goes.
    fn seal(&mut self, owner: Option<Owner>, value: Value) {
        if let Some(owner) = owner
            && !self.keys.seal(&owner, &self.path, value)
        {
            self.receipt.count("UNSEALED", 1);
        }
    }

    /// Does to a field what the policy says.
    fn act(&mut self, key: &str, value: Value, pattern: &str, action: &FieldAction) -> Option<Value> {
        if let Value::List(items) = value {
            return Some(Value::List(
                items.into_iter().filter_map(|item| self.act(key, item, pattern, action)).collect(),
            ));
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
            FieldAction::Token => Some(token_of(kind)),
            FieldAction::Subject(keyed) | FieldAction::Pseudonym(keyed) => {
                let text = written(&value);
                if text.is_empty() {
                    return Some(if matches!(value, Value::Map(_)) { token_of(kind) } else { value });
                }
                let identity = self.identity(key, &value, pattern, keyed);
                let owner = match action {
                    FieldAction::Subject(_) => self.keys.owner_of_subject(keyed, &identity, &text),
                    _ => self.keys.owner(keyed, &identity, &text),
                };
                let named = owner.map(|owner| Value::Text(pseudonym_text(&pseudonym(&owner, &identity, &text))));
                Some(named.unwrap_or_else(|| token_of(kind)))
            }
            FieldAction::Seal(keyed) => {
                if value == Value::Null {
                    return Some(value);
                }
                let identity = self.identity(key, &value, pattern, keyed);
                let owner = self.keys.owner(keyed, &identity, &written(&value));
                self.seal(owner, value);
                Some(token_of(kind))
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

fn token_of(kind: Option<Type>) -> Value {
    Value::Text(format!("[{}]", kind.map_or("secret", Type::as_str)))
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

    fn keystore() -> Keystore {
        let means = keystore::Means {
            disk: Arc::new(disk::SimDisk::new(1)),
            rng: Arc::new(model::SeededRng::new(1)),
            clock: Arc::new(model::StepClock::new(model::Timestamp::UNIX_EPOCH)),
        };
        Keystore::in_memory(means, model::Tenant::default())
    }

    /// Clears with keys; returns the body, and what was sealed: how many values by box.
    fn keyed(policy: &Policy, keys: &Keystore, body: serde_json::Value) -> (serde_json::Value, Vec<usize>) {
        let event = Event { body: body.into(), ..Event::default() };
        let (cleared, _, boxes) = policy.clear_keyed("s", event, keys).expect("clears");
        (cleared.body().clone().into(), boxes.iter().map(|sealed| sealed.fields().count()).collect())
    }

    #[test]
    fn a_subject_is_the_same_wherever_and_however_it_is_named() {
        let policy = policy(json!({"streams": {"s": {"fields": {
            "user.id": "subject", "user.mail": "subject", "peer": "pseudonym", "ip": "pseudonym self", "card": "seal",
        }}}}));
        assert!(policy.is_keyed() && policy.is_keyed_for("s") && !policy.is_keyed_for("t"));
        let keys = keystore();
        let (one, boxes) = keyed(
            &policy,
            &keys,
            json!({"user": {"id": 42, "mail": "ana@example.org"}, "card": "4242424242424242", "ip": "203.0.113.9"}),
        );
        assert_eq!((boxes, &one["card"]), (vec![1], &json!("[card]")));
        let pseudonym = |value: &serde_json::Value| {
            let text = value.as_str().expect("is text").to_owned();
            assert!(text.len() == 27 && text.starts_with('P'), "{text}");
            text
        };
        let (id, mail) = (pseudonym(&one["user"]["id"]), pseudonym(&one["user"]["mail"]));
        assert_ne!(id, mail);
        // One person, two tags; an address that is nobody's has a key of its own.
        assert_eq!((keys.stats().keys, keys.stats().tags), (2, 3));
        let (two, _) = keyed(&policy, &keys, json!({"user": {"mail": "ANA@EXAMPLE.ORG"}, "ip": "203.0.113.9"}));
        assert_eq!((pseudonym(&two["user"]["mail"]), &two["ip"]), (mail.clone(), &one["ip"]));
        // Of another person, the same peer has another name; where nobody is named, its own.
        let (a, _) = keyed(&policy, &keys, json!({"user": {"id": 42}, "peer": "x9"}));
        let (b, _) = keyed(&policy, &keys, json!({"user": {"id": 43}, "peer": "x9"}));
        let (c, _) = keyed(&policy, &keys, json!({"peer": "x9"}));
        let peers = [&a, &b, &c].map(|event| pseudonym(&event["peer"]));
        assert!(peers[0] != peers[1] && peers[1] != peers[2] && peers[0] != peers[2]);
        assert_eq!(a["user"]["id"], one["user"]["id"]);
        let empty = keyed(&policy, &keys, json!({"user": {"id": null, "mail": ""}, "peer": {}, "card": null}));
        assert_eq!(empty.0, json!({"user": {"id": null, "mail": ""}, "peer": "[secret]", "card": null}));
        // Without keys, tokens take every place.
        let (plain, _) = clear(&policy, "s", json!({"user": {"id": 42, "mail": "ana@example.org"}, "peer": "x9"}));
        assert_eq!(plain, json!({"user": {"id": "[secret]", "mail": "[email]"}, "peer": "[secret]"}));
    }

    #[test]
    fn several_persons_of_one_event_stay_several() {
        let policy = policy(json!({"streams": {"s": {"fields": {
            "actor": "subject actor as username", "patient": "subject patient as username", "note": "seal patient",
            "by": "seal actor", "seen.id": "subject",
        }}}}));
        let keys = keystore();
        let (event, boxes) =
            keyed(&policy, &keys, json!({"actor": "Anne", "patient": "bea", "note": "n", "by": ["b", "c"]}));
        assert_eq!(boxes, [2, 1], "each has a box");
        assert_ne!(event["actor"], event["patient"]);
        assert_eq!((keys.stats().keys, keys.stats().links), (2, 0));
        let (again, _) = keyed(&policy, &keys, json!({"patient": "ANNE"}));
        assert_eq!(again["patient"], event["actor"], "who they are is no matter of their role");
        // A list of persons is not one person.
        let list = json!({"seen": [{"id": "a1"}, {"id": "b2"}, {"id": "a1"}]});
        let (many, _) = keyed(&policy, &keys, list);
        let (a, b) = (&many["seen"][0]["id"], &many["seen"][1]["id"]);
        assert!(a != b && *a == many["seen"][2]["id"]);
        assert_eq!((keys.stats().keys, keys.stats().links), (4, 0));
        let (alone, _) = keyed(&policy, &keys, json!({"seen": {"id": "b2"}}));
        assert_eq!(alone["seen"]["id"], *b);
    }

    #[test]
    fn types_in_texts_get_pseudonyms_and_boxes() {
        let policy = policy(json!({
            "types": {"email": {"action": "pseudonym"}, "iban": {"action": "seal"}},
            "streams": {"s": {"fields": {"user": "subject"}}},
        }));
        let keys = keystore();
        let body =
            json!({"user": "u1", "m": "ana@example.org paid from FR1420041010050500013M02606 and bob@example.org"});
        let (event, boxes) = keyed(&policy, &keys, body.clone());
        let text = event["m"].as_str().expect("is text");
        let shown: Vec<&str> = text.split(' ').collect();
        assert!(shown[0].starts_with("[email:P") && shown[0].len() == 35 && shown[0] != shown[5], "{text}");
        assert_eq!((&shown[1..5], boxes), (&["paid", "from", "[iban]", "and"][..], vec![1]));
        assert_eq!(keyed(&policy, &keys, body).0, event);
        assert_eq!(keys.stats().keys, 1, "all of it is the subject's");
        let (plain, _) = keyed(&policy, &keys, json!("ana@example.org"));
        assert_ne!(plain.as_str(), Some(shown[0]), "nobody's is its own");
        assert_eq!(clear(&policy, "s", json!("ana@example.org")).0, json!("[email]"));
        let redactor = Redactor::new().with_action(Type::Email, Action::Pseudonym);
        let explained = redactor.explain_keyed("ana@example.org", &keys).expect("explains");
        assert_eq!((explained.cleared.as_str(), explained.findings.len()), (plain.as_str().expect("is text"), 1));
        let new = redactor.explain_keyed("dan@example.org", &keys).expect("mints");
        assert!(new.cleared.starts_with("[email:P"));
    }

    #[test]
    fn what_is_too_much_for_the_boxes_is_replaced_and_counted() {
        let policy = policy(json!({"streams": {"s": {"fields": {"v": "seal self", "user": "subject", "w": "seal"}}}}));
        let keys = keystore();
        let many: Vec<String> = (0..300).map(|i| format!("x{i}")).collect();
        let body = json!({"v": many.clone(), "user": "u", "w": many});
        let event = Event { body: body.into(), ..Event::default() };
        let (cleared, receipt, boxes) = policy.clear_keyed("s", event, &keys).expect("clears");
        let sealed: usize = boxes.iter().map(|sealed| sealed.fields().count()).sum();
        assert!(boxes.len() <= limits::BOXES_MAX && sealed <= limits::SEALED_VALUES_MAX);
        assert_eq!(receipt.counts["UNSEALED"], 600 - sealed as u64);
        assert!(!format!("{:?}", cleared.body()).contains("x299"));
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused() {
        let config: Config =
            serde_json::from_value(json!({"streams": {"s": {"fields": {"a": "subject self"}}}})).expect("reads");
        let error = Policy::new(&config, Arc::new(Redactor::new())).expect_err("is refused");
        assert!(error.to_string().contains("its own subject"), "{error}");
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
