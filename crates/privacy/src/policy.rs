//! `Policy`: what happens to each field of a structured event, by stream and by name, before anything is stored.
//!
//! Structure decides first: a field that the policy names is dropped, masked, made coarser, replaced or kept as it says; any
//! other field is judged by its name and its content as free text is, or dropped where the stream is fail-closed. What a
//! name means is decided once and remembered. A receipt says how many values of which type were met; never a value.

mod asked;

pub use asked::Named;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use model::{Map, Value, limits};
use sha2::{Digest as _, Sha256};

use crate::boxes::Sealed;
use crate::clear::Part;
use crate::config::{Action, Config, FieldAction, StreamPolicy};
use crate::detect::Type;
use crate::generalise::generalise;
use crate::keys::Keys;
use crate::keystore::{self, Class, Keystore, Owner, Want};
use crate::pseudonym::{pseudonym, pseudonym_text};
use crate::redact::{Explained, Finding, Found, Redactor};

/// Changes whenever a rule finds more or less than before: stands in every receipt.
pub const RULES_VERSION: u32 = 2;

/// The stream of audit events that FHIR's senders name no other for.
const FHIR_AUDIT: &str = "fhir-audit";
/// What happens to its fields where the configuration names no stream that fits: references to patients look like nothing
/// that is found in texts, and must not be stored in clear because somebody wrote no policy.
const FHIR_FIELDS: [(&str, &str); 13] = [
    ("fhir.patient", "subject patient"),
    ("fhir.*.patient_name", "token"),
    ("fhir.agent.who.reference", "subject actor"),
    ("fhir.agent.who.identifier.value", "pseudonym self"),
    ("fhir.agent.who.display", "token"),
    ("fhir.agent.altId", "pseudonym self"),
    ("fhir.agent.name", "token"),
    ("fhir.entity.what.reference", "pseudonym patient"),
    ("fhir.entity.name", "token"),
    ("fhir.entity.query", "token"),
    ("fhir.source.observer.reference", "pseudonym self"),
    ("fhir.source.observer.identifier.value", "pseudonym self"),
    ("fhir.source.person_name", "token"),
];

/// What stands in the place of a masked value.
const MASK: &str = "***";

/// An event as it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What the sender says of the event.
    pub attributes: Map,
    /// What the sender says of itself.
    pub resource: Map,
    /// The event: text, or a structure.
    pub body: Value,
}

impl Default for Event {
    fn default() -> Self {
        Self { attributes: Map::new(), resource: Map::new(), body: Value::Null }
    }
}

/// An event after the policy: only [`Policy::clear`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct ClearedEvent {
    attributes: Map,
    resource: Map,
    body: Value,
}

impl ClearedEvent {
    /// Returns what the sender says of the event.
    #[must_use]
    pub const fn attributes(&self) -> &Map {
        &self.attributes
    }

    /// Returns what the sender says of itself.
    #[must_use]
    pub const fn resource(&self) -> &Map {
        &self.resource
    }

    /// Returns attributes, resource and body.
    pub(crate) fn into_parts(self) -> (Map, Map, Value) {
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

/// What was found out about texts of events that are cleared one after the other: most values of a stream come again and
/// again. It holds nothing that does not stand in the records in clear, and goes with the group.
#[derive(Default)]
pub(crate) struct Known {
    /// In which hour the events came.
    hour: Option<u64>,
    /// The last stream, and its name as cleared.
    stream: Option<(String, Arc<str>)>,
    /// The last receipt, and what stands in the record.
    receipt: Option<(Arc<Receipt>, Part)>,
    /// Texts in which nothing is found, by a hash of them.
    plain: Vec<String>,
    /// Where maps are written down.
    pub(crate) buffer: Vec<u8>,
    path: String,
    scratch: String,
    number: String,
}

impl Known {
    /// How many texts are remembered: about as many as there are different ones in a stream's fields, and few enough that
    /// all of them stay in the cache.
    const TEXTS: usize = 256;
    /// The longest that is remembered. Longer ones are prose, and seldom come again.
    const BYTES_MAX: usize = 160;

    /// Returns the name of a stream as `clear` makes it.
    pub(crate) fn stream(&mut self, name: &str, clear: impl FnOnce() -> String) -> Arc<str> {
        match &self.stream {
            Some((last, cleared)) if last == name => Arc::clone(cleared),
            _ => Arc::clone(&self.stream.insert((name.to_owned(), clear().into())).1),
        }
    }

    /// Returns a receipt and what stands in the record for it.
    pub(crate) fn receipt(&mut self, receipt: Receipt) -> (Arc<Receipt>, Part) {
        match &self.receipt {
            Some((last, part)) if **last == receipt => (Arc::clone(last), part.clone()),
            _ => {
                let part = Part::of(receipt.to_value(), &mut self.buffer);
                self.receipt.insert((Arc::new(receipt), part)).clone()
            }
        }
    }

    /// Returns where a text is remembered, if it is not too long for it.
    fn place(&mut self, text: &str) -> Option<&mut String> {
        if text.len() > Self::BYTES_MAX {
            return None;
        }
        if self.plain.is_empty() {
            self.plain.resize(Self::TEXTS, String::new());
        }
        let (words, rest) = text.as_bytes().as_chunks::<8>();
        let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let hash = words.iter().fold(text.len() as u64, |hash, word| mix(hash, u64::from_le_bytes(*word)));
        let hash = rest.iter().fold(hash, |hash, byte| mix(hash, u64::from(*byte)));
        self.plain.get_mut(usize::try_from(hash >> 32).unwrap_or(0) % Self::TEXTS)
    }
}

#[derive(Debug)]
struct Stream {
    pattern: String,
    /// The retention class of its keys.
    class: Class,
    fields: Vec<Rule>,
    drops_unknown: bool,
    /// What was decided for a path: an index into `fields`, or none. Bounded by [`limits::POLICY_FIELDS_MAX`].
    decided: RwLock<HashMap<String, Option<usize>>>,
}

/// What a policy says of the fields whose path fits.
#[derive(Debug)]
struct Rule {
    pattern: String,
    action: FieldAction,
    /// The retention class of its keys.
    class: Class,
}

impl Stream {
    /// Returns what the policy says of a path.
    fn decide(&self, path: &str) -> Option<&Rule> {
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
        let fitting = self.fields.iter().enumerate().filter(|(_, rule)| fits(&rule.pattern));
        fitting.max_by_key(|(_, rule)| rule.pattern.len()).map(|(index, _)| index)
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
        let made = |(pattern, stream): (&String, &StreamPolicy)| Stream {
            pattern: pattern.clone(),
            class: config.class(&stream.class),
            fields: rules(config, stream),
            drops_unknown: stream.unknown == crate::config::Unknown::Drop,
            decided: RwLock::default(),
        };
        let mut streams: Vec<Stream> = config.streams.iter().map(made).collect();
        if !streams.iter().any(|stream| matches_glob(&stream.pattern, FHIR_AUDIT)) {
            let fields = FHIR_FIELDS.map(|(path, action)| (path.to_owned(), action.to_owned())).into();
            streams.push(made((&FHIR_AUDIT.to_owned(), &StreamPolicy { fields, ..StreamPolicy::default() })));
        }
        // The Debug form of a policy is ordered and complete, and its hash is compared with nothing but itself. How keys are
        // kept is no part of it.
        let Config { types, keep, streams: by_stream, classes, keystore: _ } = config;
        let policy =
            format!("Config {{ types: {types:?}, keep: {keep:?}, streams: {by_stream:?}, classes: {classes:?} }}");
        let digest = Sha256::digest(policy.as_bytes());
        let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { redactor, streams, hash: hash.into() })
    }

    /// Tells whether events of `stream` may need keys.
    #[must_use]
    pub fn is_keyed_for(&self, stream: &str) -> bool {
        let keyed = |stream: &Stream| stream.fields.iter().any(|rule| rule.action.is_keyed());
        self.redactor.is_keyed() || self.stream(stream).is_some_and(keyed)
    }

    /// Tells whether any event may need keys.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        let keyed = |stream: &Stream| stream.fields.iter().any(|rule| rule.action.is_keyed());
        self.redactor.is_keyed() || self.streams.iter().any(keyed)
    }

    fn stream(&self, stream: &str) -> Option<&Stream> {
        let fitting = self.streams.iter().filter(|policy| matches_glob(&policy.pattern, stream));
        fitting.max_by_key(|policy| policy.pattern.len())
    }

    /// Clears an event of `stream` without keys: a token takes the place of what needs one. Linear in its size.
    #[must_use]
    pub fn clear(&self, stream: &str, event: Event) -> (ClearedEvent, Receipt) {
        let cleared = self.clear_with(stream, event, None, &mut Known::default());
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
        let mut known = Known::default();
        let cleared = self.clear_with(stream, event.clone(), Some(keystore), &mut known);
        let cleared = if cleared.missing.is_empty() {
            cleared
        } else {
            keystore.mint(&cleared.missing)?;
            self.clear_with(stream, event, Some(keystore), &mut known)
        };
        Ok((cleared.event, cleared.receipt, cleared.boxes))
    }

    /// Clears an event of `stream` with the keys that are there.
    pub(crate) fn clear_with(
        &self,
        stream: &str,
        event: Event,
        keystore: Option<&Keystore>,
        known: &mut Known,
    ) -> Keyed {
        let mut receipt = Receipt { counts: BTreeMap::new(), rules: RULES_VERSION, policy: Arc::clone(&self.hash) };
        let policy = self.stream(stream);
        let class = policy.map_or_else(Class::default, |policy| policy.class);
        // The second time that an event is cleared is within the hour of the first, or the key would be missing again.
        let hour = keystore.map_or(0, |keystore| *known.hour.get_or_insert_with(|| keystore.hour()));
        let mut clearing = Clearing {
            redactor: &self.redactor,
            name: stream,
            stream: policy,
            receipt: &mut receipt,
            keys: Keys::new(keystore, class, hour),
            path: std::mem::take(&mut known.path),
            scratch: std::mem::take(&mut known.scratch),
            known,
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
        let Clearing { keys, known, path, scratch, .. } = clearing;
        (known.path, known.scratch) = (path, scratch);
        let (boxes, missing) = keys.into_parts();
        Keyed { event: ClearedEvent { attributes, resource, body }, receipt, boxes, missing }
    }
}

/// The clearing of one event, in place: most of what comes is left as it is.
struct Clearing<'a> {
    redactor: &'a Redactor,
    /// The name of the stream, as it came.
    name: &'a str,
    stream: Option<&'a Stream>,
    receipt: &'a mut Receipt,
    keys: Keys<'a>,
    known: &'a mut Known,
    /// Where the value that is judged stands.
    path: String,
    /// A value with its name before it, as it would stand in a text.
    scratch: String,
}

impl Clearing<'_> {
    /// Finds out whose the event is, before anything is done with its fields.
    fn name_people(&mut self, attributes: &Map, resource: &Map, body: &Value) {
        if !self
            .stream
            .is_some_and(|stream| stream.fields.iter().any(|rule| matches!(rule.action, FieldAction::Subject(_))))
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

    fn name_in(&mut self, map: &Map, depth: usize) {
        for (key, value) in map.iter() {
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
            (Some(Rule { pattern, action: FieldAction::Subject(keyed), .. }), value) => {
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

    fn part(&mut self, name: &str, map: &mut Map) {
        name.clone_into(&mut self.path);
        self.map(map, 0);
    }

    fn map(&mut self, map: &mut Map, depth: usize) {
        let mut renamed = Vec::new();
        map.retain(|key, value| {
            let len = self.path.len();
            self.path.push('.');
            self.path.push_str(key);
            let stays = self.value(key, value, depth);
            self.path.truncate(len);
            if stays
                && !is_plain_name(key)
                && let Some(name) = self.text("", key)
            {
                // A name may itself be somebody's address.
                renamed.push((key.to_owned(), name));
            }
            stays
        });
        if !renamed.is_empty() {
            rename(map, renamed);
        }
    }

    /// Clears what stands at the path; `false` when it is to go.
    fn value(&mut self, key: &str, value: &mut Value, depth: usize) -> bool {
        if depth > limits::VALUE_DEPTH_MAX {
            return false;
        }
        if let Some(rule) = self.stream.and_then(|stream| stream.decide(&self.path)) {
            if rule.action == FieldAction::Original {
                self.original(key, value, depth, rule.class);
                return true;
            }
            return match self.act(key, std::mem::replace(value, Value::Null), rule) {
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

    /// Judges a value as if no policy named it, and keeps what it was, where that is another, in the box of the hour. What is
    /// within it goes by its own path: another rule may say that it is to go.
    fn original(&mut self, key: &str, value: &mut Value, depth: usize, class: Class) {
        match value {
            Value::Map(map) => return self.map(map, depth + 1),
            Value::List(items) if depth < limits::VALUE_DEPTH_MAX => {
                return items.iter_mut().for_each(|item| self.original(key, item, depth + 1, class));
            }
            Value::List(_) => return *value = Value::Null,
            _ => {}
        }
        let before = value.clone();
        self.leaf(key, value);
        if *value != before {
            let owner = self.keys.bucket(self.name, class);
            self.seal(owner.map(|owner| vec![owner]), before);
        }
    }

    /// Judges a value by its name and its content.
    fn leaf(&mut self, key: &str, value: &mut Value) {
        let cleared = match value {
            Value::Text(text) => self.text(key, text),
            Value::U64(_) | Value::I64(_) | Value::F64(_) => {
                let mut number = std::mem::take(&mut self.known.number);
                number.clear();
                write_number(&mut number, value);
                let cleared = self.text(key, &number);
                self.known.number = number;
                cleared
            }
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
        if let Some((quote, separator)) = quote_of(key, text) {
            let mut whole = std::mem::take(&mut self.scratch);
            whole.clear();
            whole.reserve(key.len() + text.len() + 5);
            whole.push(quote);
            whole.push_str(key);
            whole.push_str(separator);
            whole.push_str(text);
            whole.push(quote);
            let cleared = self.inside(&whole, key.len() + 4, quote);
            self.scratch = whole;
            if let Some(cleared) = cleared {
                return cleared;
            }
        }
        let explained = self.explain(self.redactor.found(text)?);
        self.count(text, &explained.findings);
        (explained.cleared != text).then_some(explained.cleared)
    }

    /// Clears what stands between `head` and the last quote of `whole`: `Some(None)` when nothing is found, `None` when
    /// what is found reaches outside.
    fn inside(&mut self, whole: &str, head: usize, quote: char) -> Option<Option<String>> {
        let place = self.known.place(whole);
        if place.as_ref().is_some_and(|known| *known == whole) {
            return Some(None);
        }
        let Some(found) = self.redactor.found(whole) else {
            if let Some(place) = place {
                whole.clone_into(place);
            }
            return Some(None);
        };
        let explained = self.explain(found);
        if explained.findings.iter().any(|finding| finding.range.start < head) {
            return None;
        }
        let cleared = explained.cleared.get(head..)?.strip_suffix(quote)?;
        let before = whole.get(head..whole.len() - quote.len_utf8());
        let cleared = (before != Some(cleared)).then(|| cleared.to_owned());
        self.count(whole, &explained.findings);
        Some(cleared)
    }

    fn explain(&self, found: Found<'_>) -> Explained {
        self.redactor.explain_found(found, &|kind, understood| self.keys.replacement(self.redactor, kind, understood))
    }

    /// Counts what was found in a text, and seals what is to be sealed.
    fn count(&mut self, text: &str, findings: &[Finding]) {
        for finding in findings {
            self.receipt.count(finding.kind.name(), 1);
            if !finding.kept && self.redactor.action(finding.kind) == Action::Seal {
                let found = text.get(finding.range.clone()).unwrap_or_default();
                let owner = self.keys.owner_in_text(finding.kind.as_str(), found);
                self.seal(owner.map(|owner| vec![owner]), Value::from(found));
            }
        }
    }

    /// Puts a value into its owners' box; what is too much is counted and goes.
    fn seal(&mut self, owners: Option<Vec<Owner>>, value: Value) {
        if let Some(owners) = owners
            && !self.keys.seal(owners, &self.path, value)
        {
            self.receipt.count("UNSEALED", 1);
        }
    }

    /// Does to a field what the policy says.
    fn act(&mut self, key: &str, value: Value, rule: &Rule) -> Option<Value> {
        if let Value::List(items) = value {
            return Some(Value::List(items.into_iter().filter_map(|item| self.act(key, item, rule)).collect()));
        }
        let Rule { pattern, action, class } = rule;
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
                    FieldAction::Subject(_) => self.keys.owner_of_subject(keyed, *class, &identity, &text),
                    _ => self.keys.owner(keyed, *class, &identity, &text),
                };
                let named = owner.map(|owner| Value::Text(pseudonym_text(&pseudonym(&owner, &identity, &text))));
                Some(named.unwrap_or_else(|| token_of(kind)))
            }
            FieldAction::Seal(keyed) => {
                if value == Value::Null {
                    return Some(value);
                }
                let identity = self.identity(key, &value, pattern, keyed);
                let owners = self.keys.owners(keyed, *class, &identity, &written(&value));
                self.seal(owners, value);
                Some(token_of(kind))
            }
            // Judged before it comes here, but for what stands in a list.
            FieldAction::Original => {
                let mut value = value;
                self.original(key, &mut value, 0, *class);
                Some(value)
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

/// Returns the quote that neither a name nor its value has in it, and what then stands between the two; `None` where there
/// is no name, or the value has lines.
fn quote_of(key: &str, text: &str) -> Option<(char, &'static str)> {
    let (key, text) = (key.as_bytes(), text.as_bytes());
    if key.is_empty() {
        return None;
    }
    // Most have neither.
    if memchr::memchr2(b'"', b'\n', text).is_none() && memchr::memchr(b'"', key).is_none() {
        return Some(('"', "\":\""));
    }
    let has = |text: &[u8], quote: char| text.contains(&u8::try_from(quote).unwrap_or(b'\n'));
    let quotes = [('"', "\":\""), ('\'', "':'"), ('`', "`:`")];
    let free = quotes.into_iter().find(|(quote, _)| !has(text, *quote) && !has(key, *quote));
    free.filter(|_| memchr::memchr(b'\n', text).is_none())
}

/// Returns what the policy of a stream says of its fields; what cannot be read was refused before.
fn rules(config: &Config, stream: &StreamPolicy) -> Vec<Rule> {
    let of_stream = config.class(&stream.class);
    let rule = |(pattern, action): (&String, &String)| {
        let action = FieldAction::read(action).ok()?;
        let named = action.keyed().and_then(|keyed| keyed.class.as_deref());
        let class = named.map_or(of_stream, |name| config.class(name));
        Some(Rule { pattern: pattern.clone(), action, class })
    };
    stream.fields.iter().filter_map(rule).collect()
}

/// Gives values other names, one after the other. In a tree: whoever sends a map chooses how many of its names change.
fn rename(map: &mut Map, renamed: Vec<(String, String)>) {
    let mut entries: BTreeMap<String, Value> = std::mem::take(map).into_iter().collect();
    for (key, name) in renamed {
        if let Some(value) = entries.remove(&key) {
            entries.insert(name, value);
        }
    }
    *map = entries.into_iter().collect();
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
    let mut out = String::new();
    match value {
        Value::Text(text) => out.push_str(text),
        Value::Bool(bool) => out.push_str(if *bool { "true" } else { "false" }),
        number => write_number(&mut out, number),
    }
    out
}

/// Writes a number at the end of `out`, and nothing where it is none.
fn write_number(out: &mut String, value: &Value) {
    use std::fmt::Write as _;
    // Writing to a text never fails.
    let _ = match value {
        Value::U64(number) => write!(out, "{number}"),
        Value::I64(number) => write!(out, "{number}"),
        Value::F64(number) => write!(out, "{number}"),
        _ => Ok(()),
    };
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
            _ => Map::new(),
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

    /// Seals what a policy sealed, and opens it with the keys that there are: path and value by box.
    fn opened(policy: &Policy, keys: &Keystore, body: serde_json::Value) -> Vec<Option<Vec<(String, Value)>>> {
        let event = Event { body: body.into(), ..Event::default() };
        let (_, _, boxes) = policy.clear_keyed("s", event, keys).expect("clears");
        boxes_of(&boxes, keys)
    }

    fn boxes_of(boxes: &[Sealed], keys: &Keystore) -> Vec<Option<Vec<(String, Value)>>> {
        let (place, mut bytes) = (crate::Place::new("o", 1), Vec::new());
        let rng = model::SeededRng::new(1);
        crate::seal_all(boxes, &place, &[1; 16], &rng, &mut bytes, &mut Vec::new()).expect("seals");
        let found = crate::Boxed::read_all(&bytes).expect("reads");
        let open = |one: &crate::Boxed<'_>| {
            let values = one.open_with(&place, &[1; 16], keys)?;
            Some(values.into_iter().map(|value| (value.path, value.value)).collect())
        };
        found.iter().map(open).collect()
    }

    #[test]
    fn a_person_has_a_key_in_each_class_and_one_can_go_alone() {
        let policy = policy(json!({
            "classes": {"staff": {"number": 1}, "medical": {"number": 2, "keep": "90d"}},
            "types": {"email": {"action": "pseudonym"}},
            "streams": {
                "s": {"class": "staff", "fields": {
                    "user": "subject as username", "note": "seal in medical", "shift": "seal", "ward": "pseudonym in medical",
                }},
                "t": {"fields": {"user": "subject as username"}},
            },
        }));
        let keys = keystore();
        let body = json!({"user": "ana", "note": "flu", "shift": "night", "ward": "7"});
        let event = || Event { body: body.clone().into(), ..Event::default() };
        let (cleared, _, boxes) = policy.clear_keyed("s", event(), &keys).expect("clears");
        let (other, ..) = policy.clear_keyed("t", event(), &keys).expect("clears");
        let user = |cleared: &ClearedEvent| serde_json::Value::from(cleared.body().clone())["user"].clone();
        assert_ne!(user(&cleared), user(&other), "under the key of the other stream's class");
        assert_eq!((boxes.len(), keys.stats().keys, keys.stats().links), (2, 3, 0));
        let owners = keys.find_all(keys.tag("username", "ana"));
        assert_eq!(owners.len(), 3);
        // Whoever asks finds the events of all classes.
        let named = policy.named("user", "ana", Some(&keys));
        for name in [user(&cleared), user(&other)] {
            assert!(named.names.iter().any(|found| name == **found), "{named:?}");
        }
        let medical = Want { class: Class(2), tags: vec![keys.tag("username", "ana")] };
        let value = |path: &str, text: &str| Some(vec![(path.to_owned(), Value::from(text))]);
        assert_eq!(boxes_of(&boxes, &keys), [value("body.note", "flu"), value("body.shift", "night")]);
        keys.destroy(&[keys.find(&medical).expect("is there").kid()]).expect("destroys");
        assert_eq!(keys.find_all(keys.tag("username", "ana")).len(), 2);
        let (again, ..) = policy.clear_keyed("s", event(), &keys).expect("clears");
        assert_eq!(user(&again), user(&cleared), "what is kept in the other class stays");
    }

    #[test]
    fn what_cannot_be_told_apart_by_person_takes_both_keys() {
        let policy = policy(json!({"streams": {"s": {"fields": {
            "actor": "subject actor as username", "patient": "subject patient as username",
            "call": "seal actor+patient", "note": "seal patient+actor", "own": "seal actor",
        }}}}));
        let keys = keystore();
        let body = json!({"actor": "anne", "patient": "bea", "call": "c", "note": "n", "own": "o"});
        let all = opened(&policy, &keys, body.clone());
        let counts: Vec<_> = all.iter().map(|values| values.as_ref().map(Vec::len)).collect();
        assert_eq!(counts, [Some(2), Some(1)], "one box of both, whatever their order");
        let (.., boxes) =
            policy.clear_keyed("s", Event { body: body.into(), ..Event::default() }, &keys).expect("clears");
        let bea = keys.find_all(keys.tag("username", "bea"));
        keys.destroy(&[bea[0].kid()]).expect("destroys");
        let left = boxes_of(&boxes, &keys);
        assert!(left[0].is_none() && left[1].is_some(), "what is of both goes with either");
        // Where the event has one of them, it is that one's; where it has none, its own.
        let one = opened(&policy, &keys, json!({"actor": "anne", "call": "c", "own": "o"}));
        assert_eq!(one.iter().flatten().map(Vec::len).collect::<Vec<_>>(), [2]);
        let before = keys.stats().keys;
        assert_eq!(opened(&policy, &keys, json!({"call": "alone"})).len(), 1);
        assert_eq!(keys.stats().keys, before + 1);
    }

    #[test]
    fn a_text_that_is_kept_is_in_the_box_of_its_stream_and_hour() {
        let config: Config = serde_json::from_value(json!({"streams": {"s": {"fields": {
            "*": "original because a doctor reads it again", "card": "drop", "user": "subject",
        }}}}))
        .expect("reads");
        let redactor = Arc::new(config.redactor([""; 0]).expect("is possible"));
        let policy = Policy::new(&config, redactor).expect("is possible");
        let clock = Arc::new(model::StepClock::new(model::Timestamp::UNIX_EPOCH));
        let keys = Keystore::in_memory(
            keystore::Means {
                disk: Arc::new(disk::SimDisk::new(1)),
                rng: Arc::new(model::SeededRng::new(1)),
                clock: Arc::clone(&clock) as _,
            },
            model::Tenant::default(),
        );
        let body = json!({
            "m": "call ana@example.org", "n": 3, "plain": "nobody", "card": "4242424242424242",
            "in": {"deep": ["bob@example.org", {"card": "4242424242424242"}]},
        });
        let (cleared, boxes) = keyed(&policy, &keys, body.clone());
        assert_eq!(cleared["m"], "call [email]");
        assert_eq!((cleared["in"]["deep"][0].as_str(), boxes), (Some("[email]"), vec![3]));
        let values = opened(&policy, &keys, body.clone()).remove(0).expect("opens");
        let texts: Vec<_> = values.iter().map(|(path, value)| (path.as_str(), value.clone())).collect();
        assert!(texts.contains(&("body.m", Value::from("call ana@example.org"))), "{texts:?}");
        assert!(texts.contains(&("body.in.deep", Value::from("bob@example.org"))), "{texts:?}");
        assert!(!texts.iter().any(|(path, _)| *path == "body.n" || *path == "body.plain"), "nothing was taken there");
        assert_eq!(keys.stats().keys, 1, "of that hour");
        clock.advance(std::time::Duration::from_secs(3_599));
        keyed(&policy, &keys, body.clone());
        assert_eq!(keys.stats().keys, 1);
        clock.advance(std::time::Duration::from_secs(1));
        keyed(&policy, &keys, body.clone());
        assert_eq!(keys.stats().keys, 2, "the next hour has its own");
        assert!(policy.is_keyed_for("s"));
        assert_eq!(clear(&policy, "s", json!({"m": "call ana@example.org"})).0, json!({"m": "call [email]"}));
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
    fn what_is_remembered_of_a_group_changes_nothing() {
        let policy = policy(json!({"types": {"phone": {"action": "mask"}}}));
        let mut known = Known::default();
        for n in 0..3_000 {
            // More different texts than are remembered, so that they take each other's places.
            let body = json!({
                "step": format!("step {} of many", n % 700), "mail": format!("u{}@example.org", n % 7), "count": n % 300,
                "call": if n % 3 == 0 { "06 12 34 56 78" } else { "nobody" }, "zone": "eu",
            });
            let event = || Event { body: body.clone().into(), ..Event::default() };
            let remembered = policy.clear_with("s", event(), None, &mut known);
            let alone = policy.clear_with("s", event(), None, &mut Known::default());
            assert_eq!((remembered.event, &remembered.receipt), (alone.event, &alone.receipt));
            let (receipt, written) = known.receipt(remembered.receipt);
            assert_eq!((written.to_value(), &*receipt), (alone.receipt.to_value(), &alone.receipt));
        }
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
