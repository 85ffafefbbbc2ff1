//! `Cleared`: a signal in which no raw personal value is left.

use std::collections::BTreeMap;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use model::event::field;
use model::schema::SchemaError;
use model::{Body, Class, Field, Kind, Private, RefusalKind, Signal, SourceId, Tenant, Timestamp, Value, limits};
use sha2::Sha256;

use crate::boxes::Sealed;
use crate::config::Config;
use crate::detect::Type;
use crate::keystore::{self, Keystore, Want};
use crate::policy::{Event as Raw, Keyed, Named, Policy, Receipt};
use crate::redact::Redactor;

/// Why a signal was not cleared. No text of the signal is in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A body could not be written as fields.
    #[error("could not take a signal apart")]
    Fields(#[source] SchemaError),
    /// A public field holds what is neither a number nor an enumeration nor an id: a bug of the signal's maker.
    #[error("cannot publish field {field} of a {kind}: it is neither a number nor a word", kind = kind.as_str())]
    Shape {
        /// Of which kind.
        kind: Kind,
        /// Which field.
        field: &'static str,
    },
    /// Keys that a policy asks for cannot be had.
    #[error("could not get the keys of the persons in an event")]
    Keys(#[source] keystore::Error),
    /// A policy asks for keys, and no keystore of the tenant is open.
    #[error("could not clear an event: its policy needs the keystore of its tenant, which is not open")]
    NoKeystore,
    /// A policy cannot be carried out.
    #[error("cannot carry out the policy privacy.{path}: {message}")]
    Policy {
        /// Where in `privacy:`.
        path: String,
        /// Why not.
        message: String,
    },
}

impl Error {
    /// Tells what the sender can do: nothing, as the same signal would be refused again, but where keys were missing.
    #[must_use]
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::Keys(error) => error.kind(),
            Self::NoKeystore => RefusalKind::Retry,
            Self::Fields(_) | Self::Shape { .. } | Self::Policy { .. } => RefusalKind::Reject,
        }
    }
}

/// Clears signals: the only maker of [`Cleared`]. Cheap to share.
#[derive(Debug)]
pub struct Clearer {
    redactor: Arc<Redactor>,
    policy: Arc<Policy>,
    token_key: Private<[u8; 32]>,
    keystores: Keystores,
}

/// The open keystores, by tenant.
pub type Keystores = Arc<BTreeMap<Tenant, Arc<Keystore>>>;

/// A value that stands in the entry itself and may be published.
#[derive(Clone, Debug, PartialEq)]
pub enum Public {
    /// True or false.
    Bool(bool),
    /// A whole number from 0.
    U64(u64),
    /// A whole number.
    I64(i64),
    /// A number.
    F64(f64),
    /// An enumeration or an id of ours.
    Text(String),
    /// A name that the operator chose; the ledger writes its interned number.
    Name(String),
}

/// A signal after privacy: the only thing the ledger appends. Fields ascend by id and are unique.
#[derive(Clone, Debug, PartialEq)]
pub struct Cleared {
    pub(crate) tenant: Tenant,
    pub(crate) source: SourceId,
    pub(crate) kind: Kind,
    pub(crate) public: Vec<(u16, Public)>,
    pub(crate) payload: Vec<(u16, Value)>,
    pub(crate) boxes: Vec<Sealed>,
    pub(crate) receipt: Option<(String, Receipt)>,
}

impl Cleared {
    /// Returns whose it is.
    #[must_use]
    pub const fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Returns what produced it.
    #[must_use]
    pub const fn source(&self) -> SourceId {
        self.source
    }

    /// Returns what kind of record it becomes.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns what may be published.
    #[must_use]
    pub fn public(&self) -> &[(u16, Public)] {
        &self.public
    }

    /// Returns what is committed to and kept erasable.
    #[must_use]
    pub fn payload(&self) -> &[(u16, Value)] {
        &self.payload
    }

    /// Returns what is committed to and sealed: the ledger seals it while it encodes, and never sees it.
    #[must_use]
    pub fn boxes(&self) -> &[Sealed] {
        &self.boxes
    }

    /// Takes the stream of an event and what was done to it: for the exposure ledger.
    pub fn take_receipt(&mut self) -> Option<(String, Receipt)> {
        self.receipt.take()
    }
}

/// Longest public text: an enumeration or an id.
const PUBLIC_BYTES_MAX: usize = 128;

/// How deep lists and maps may nest; what is deeper is dropped.
const DEPTH_MAX: usize = 32;

/// Whole numbers from here on are read as text too: a NIR or a card number need not be quoted.
const LONG_NUMBER: u64 = 1_000_000_000_000;

/// What tokens a field gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// `[email]`: free text.
    Plain,
    /// `[email:7f3a…]`: labels and what selects by them, where distinct things must stay distinct.
    Keyed,
    /// The same inside a regular expression, brackets escaped.
    Pattern,
}

impl Clearer {
    /// Creates a clearer. Tokens in labels are made with `token_key`, so they are the same as long as it is.
    ///
    /// # Panics
    /// Never: a policy that says nothing of events is always possible.
    #[must_use]
    pub fn new(redactor: Arc<Redactor>, token_key: [u8; 32]) -> Self {
        let policy = Policy::new(&Config::default(), Arc::clone(&redactor));
        let policy = Arc::new(policy.expect("invariant: the policy that says nothing is possible"));
        Self { redactor, policy, token_key: Private::new(token_key), keystores: Keystores::default() }
    }

    /// Takes the keys of the persons in events from these keystores.
    #[must_use]
    pub fn with_keystores(mut self, keystores: Keystores) -> Self {
        self.keystores = keystores;
        self
    }

    /// Tells whether clearing an event may mint keys, which waits for the disk.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        self.policy.is_keyed()
    }

    /// Clears the fields of events as a policy says.
    #[must_use]
    pub fn with_policy(mut self, policy: Arc<Policy>) -> Self {
        self.policy = policy;
        self
    }

    /// Returns the redactor, for texts that do not come as signals.
    #[must_use]
    pub const fn redactor(&self) -> &Arc<Redactor> {
        &self.redactor
    }

    /// Clears a signal: public fields are checked, names are kept if they were declared, everything else loses its
    /// personal values. Undeclared fields are dropped. Linear in the signal's size.
    ///
    /// # Errors
    /// When the signal's maker broke the schema, or a key that its policy asks for cannot be minted; the signal is then
    /// not to be stored at all.
    pub fn clear(&self, signal: Signal) -> Result<Cleared, Error> {
        let mut cleared = self.clear_all(vec![signal])?;
        cleared.pop().ok_or(Error::NoKeystore)
    }

    /// Clears signals in order, as [`Self::clear`] does each. The keys that are missing for all of them are minted with one
    /// sync, which blocks; where all are known nothing is written.
    ///
    /// # Errors
    /// As [`Self::clear`], for the first that cannot be cleared. Keys may have been minted all the same.
    pub fn clear_all(&self, signals: Vec<Signal>) -> Result<Vec<Cleared>, Error> {
        let mut cleared = Vec::with_capacity(signals.len());
        let (mut again, mut missing) = (Vec::new(), BTreeMap::<Tenant, Vec<Want>>::new());
        for signal in signals {
            let Signal { tenant, source, body } = signal;
            let event = match body {
                Body::Event(event) => *event,
                body => {
                    cleared.push(self.plain(Signal { tenant, source, body })?);
                    continue;
                }
            };
            // Whatever lacks a key is cleared again once it is there, from what came.
            let kept = self.policy.is_keyed_for(&event.stream).then(|| event.clone());
            let (record, wants) = self.event(tenant, source, event)?;
            if let Some(event) = kept.filter(|_| !wants.is_empty()) {
                again.push((cleared.len(), event));
                missing.entry(record.tenant.clone()).or_default().extend(wants);
            }
            cleared.push(record);
        }
        for (tenant, wants) in missing {
            let keystore = self.keystores.get(&tenant).ok_or(Error::NoKeystore)?;
            keystore.mint(&wants).map_err(Error::Keys)?;
        }
        for (at, event) in again {
            let Some(record) = cleared.get_mut(at) else { continue };
            let (complete, wants) = self.event(record.tenant.clone(), record.source, event)?;
            // An erasure came between: the sender comes back.
            if !wants.is_empty() {
                return Err(Error::NoKeystore);
            }
            *record = complete;
        }
        Ok(cleared)
    }

    /// Clears a signal that is no event.
    fn plain(&self, signal: Signal) -> Result<Cleared, Error> {
        let kind = signal.body.kind();
        let mut public = Vec::new();
        let mut payload = Vec::new();
        for (id, value) in signal.body.to_fields().map_err(Error::Fields)? {
            let Some(field) = kind.fields().iter().find(|field| field.id == id) else { continue };
            match field.class {
                Class::Public => public.push((id, publish(kind, field, value)?)),
                Class::Name => public.push((id, self.name(kind, field, &value)?)),
                Class::Cleared => payload.push((id, self.field(field.name, value))),
            }
        }
        let (tenant, source) = (signal.tenant, signal.source);
        Ok(Cleared { tenant, source, kind, public, payload, boxes: Vec::new(), receipt: None })
    }

    /// Clears an event by the policy of its stream; what was done to it becomes a field of its own.
    /// Returns whose keys are missing too: the record is not to be used while there are any.
    fn event(&self, tenant: Tenant, source: SourceId, event: model::Event) -> Result<(Cleared, Vec<Want>), Error> {
        let raw =
            Raw { attributes: event.attributes, resource: event.resource, body: event.body.unwrap_or(Value::Null) };
        let keystore = self.keystores.get(&tenant).map(|keystore| &**keystore);
        if keystore.is_none() && self.policy.is_keyed_for(&event.stream) {
            return Err(Error::NoKeystore);
        }
        let Keyed { event: cleared, receipt, boxes, missing } = self.policy.clear_with(&event.stream, raw, keystore);
        let (attributes, resource, body) = cleared.into_parts();
        let stream = cut(&self.text(&event.stream, Style::Keyed), limits::NAME_BYTES_MAX);
        let id = |id: Option<String>, digits| {
            id.filter(|id| id.len() == digits && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
        };
        let cleared = model::Event {
            stream: String::new(),
            body: Some(body),
            attributes,
            resource,
            trace_id: id(event.trace_id, 32),
            span_id: id(event.span_id, 16),
            cleared: Some(receipt.to_value()),
            ..event
        };
        let mut public = vec![
            (field::SEVERITY, Public::U64(cleared.severity.into())),
            (field::SECTOR, Public::Text(cleared.sector.as_str().to_owned())),
        ];
        public.push((field::STREAM, Public::Name(stream.clone())));
        let payload = cleared.into_fields().into_iter().filter(|(id, _)| *id > field::STREAM).collect();
        let receipt = Some((stream, receipt));
        Ok((Cleared { tenant, source, kind: Kind::Event, public, payload, boxes, receipt }, missing))
    }

    /// Returns what `value` stands for where a question of a tenant asks for it in `field` ([`Policy::named`]).
    #[must_use]
    pub fn named(&self, tenant: &Tenant, field: &str, value: &str) -> Named {
        self.policy.named(field, value, self.keystores.get(tenant).map(|keystore| &**keystore))
    }

    /// Returns a label's value as [`Self::clear`] stores it, so that a matcher or a query can be asked in clear.
    #[must_use]
    pub fn label(&self, value: &str) -> String {
        cut(&self.text(value, Style::Keyed), limits::LABEL_VALUE_BYTES_MAX)
    }

    fn name(&self, kind: Kind, field: &Field, value: &Value) -> Result<Public, Error> {
        match value {
            Value::Text(name) => Ok(Public::Name(cut(&self.text(name, Style::Keyed), limits::NAME_BYTES_MAX))),
            _ => Err(Error::Shape { kind, field: field.name }),
        }
    }

    fn field(&self, name: &str, value: Value) -> Value {
        match (name, value) {
            ("matchers", Value::List(matchers)) => {
                Value::List(matchers.into_iter().map(|matcher| self.matcher(matcher)).collect())
            }
            (name, value) => self.value(value, style_of(name, Style::Plain), max_of(name), 0),
        }
    }

    /// Clears a matcher as it would the label it is compared with.
    fn matcher(&self, matcher: Value) -> Value {
        let Value::Map(mut parts) = matcher else { return Value::Null };
        let is_pattern = matches!(parts.get("op"), Some(Value::Text(op)) if op.ends_with('~'));
        let style = if is_pattern { Style::Pattern } else { Style::Keyed };
        for (part, value) in &mut parts {
            if part != "op" {
                let raw = std::mem::replace(value, Value::Null);
                let style = if part == "value" { style } else { Style::Keyed };
                *value = self.value(raw, style, limits::LABEL_VALUE_BYTES_MAX, 0);
            }
        }
        Value::Map(parts)
    }

    fn value(&self, value: Value, style: Style, bytes_max: usize, depth: usize) -> Value {
        if depth > DEPTH_MAX {
            return Value::Null;
        }
        match value {
            Value::Text(text) => Value::Text(cut(&self.text(&text, style), bytes_max)),
            Value::Bytes(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Value::Text(cut(&self.text(&text, style), bytes_max)),
                // Nobody can say what is in it, so it is not declared.
                Err(_) => Value::Null,
            },
            Value::U64(number) if number >= LONG_NUMBER && self.redactor.finds_in(&number.to_string()) => {
                Value::Text(self.text(&number.to_string(), style))
            }
            Value::List(items) => {
                Value::List(items.into_iter().map(|item| self.value(item, style, bytes_max, depth + 1)).collect())
            }
            Value::Map(entries) => {
                let mut cleared = BTreeMap::new();
                for (key, value) in entries {
                    // Keys are told apart as labels are: two persons under one token would lose one of them.
                    let name = cut(&self.text(&key, Style::Keyed), limits::NAME_BYTES_MAX);
                    let inner = self.value(value, style_of(&key, style), bytes_max.min(max_of(&key)), depth + 1);
                    cleared.insert(name, inner);
                }
                Value::Map(cleared)
            }
            number => number,
        }
    }

    fn text(&self, text: &str, style: Style) -> String {
        if self.redactor.is_declared(text) || is_timestamp(text) {
            return text.to_owned();
        }
        let token = |kind: Type, written: &str, understood: &str| match style {
            Style::Plain => self.redactor.replacement(kind, understood),
            Style::Keyed => format!("[{}:{}]", kind.as_str(), self.hash(kind, written)).into(),
            Style::Pattern => format!("\\[{}:{}\\]", kind.as_str(), self.hash(kind, understood)).into(),
        };
        self.redactor.redact_with(text, &token).into_owned()
    }

    /// Returns the first 8 bytes of HMAC-SHA256(key, type | value), in hexadecimal.
    fn hash(&self, kind: Type, value: &str) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.token_key.expose()).expect("invariant: HMAC takes keys of any length");
        mac.update(kind.as_str().as_bytes());
        mac.update(b"|");
        mac.update(value.as_bytes());
        mac.finalize().into_bytes().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Refuses what must not stand in an entry for ever: anything but numbers and single words.
fn publish(kind: Kind, field: &Field, value: Value) -> Result<Public, Error> {
    match value {
        Value::Bool(bool) => Ok(Public::Bool(bool)),
        Value::U64(number) => Ok(Public::U64(number)),
        Value::I64(number) => Ok(Public::I64(number)),
        Value::F64(number) => Ok(Public::F64(number)),
        Value::Text(text)
            if text.len() <= PUBLIC_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic() && b != b'@') =>
        {
            Ok(Public::Text(text))
        }
        _ => Err(Error::Shape { kind, field: field.name }),
    }
}

/// Fields that identify alerts and groups, or select them.
fn style_of(name: &str, outer: Style) -> Style {
    match name {
        "labels" | "group_labels" | "common_labels" | "key" | "group_key" => Style::Keyed,
        "annotations" | "common_annotations" => Style::Plain,
        _ => outer,
    }
}

/// Longest text of a field, in bytes.
fn max_of(name: &str) -> usize {
    match name {
        "labels" | "group_labels" | "common_labels" => limits::LABEL_VALUE_BYTES_MAX,
        "reason" | "title" | "conditions" | "actor" | "target" | "by" | "created_by" => limits::REASON_BYTES_MAX,
        "note" | "comment" => limits::NOTE_BYTES_MAX,
        _ => limits::ANNOTATION_BYTES_MAX,
    }
}

/// Tells whether `text` is a time as we write it: digits that are nobody's, and that must be read again.
fn is_timestamp(text: &str) -> bool {
    let form = (20..=35).contains(&text.len())
        && text.ends_with('Z')
        && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b':' | b'.' | b'T' | b'Z'));
    form && text.parse::<Timestamp>().is_ok()
}

/// Cuts `text` to `bytes_max` bytes at a character, with an ellipsis where something is missing.
fn cut(text: &str, bytes_max: usize) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mut end = bytes_max.saturating_sub(ELLIPSIS.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{ELLIPSIS}", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use model::*;
    use proptest::prelude::*;

    use super::*;

    fn clearer() -> Clearer {
        Clearer::new(Arc::new(Redactor::new().with_declared(["web", "ops@example.org", "10.0.0.5"])), [7; 32])
    }

    fn clear(body: impl Into<Body>) -> Result<Cleared, Error> {
        clearer().clear(Signal::ours(Tenant::default(), body))
    }

    #[test]
    fn an_event_goes_by_the_policy_of_its_stream() {
        let config = serde_json::json!({"streams": {"shop": {"fields": {"user.id": "mask"}}}});
        let config: Config = serde_json::from_value(config).expect("reads");
        let redactor = Arc::new(Redactor::new());
        let policy = Arc::new(Policy::new(&config, Arc::clone(&redactor)).expect("is possible"));
        let clearer = Clearer::new(redactor, [7; 32]).with_policy(policy);
        let event = |stream: &str| Event {
            stream: stream.into(),
            severity: 9,
            time_ns: Some(5),
            observed_ns: 6,
            body: Some("call ana@example.org".into()),
            attributes: [("user".to_owned(), Value::Map([("id".to_owned(), Value::from("u-77"))].into()))].into(),
            trace_id: Some("not a trace".into()),
            span_id: Some("b7ad6b7169203331".into()),
            ..Event::default()
        };
        let clear = |stream| clearer.clear(Signal::ours(Tenant::default(), event(stream))).expect("clears");
        let cleared = clear("shop");
        assert_eq!((cleared.kind(), cleared.public().len()), (Kind::Event, 3));
        assert_eq!(cleared.public()[2], (field::STREAM, Public::Name("shop".into())));
        let mut fields = cleared.payload().to_vec();
        fields.push((field::STREAM, "shop".into()));
        let read = Event::from_fields(&fields).expect("reads");
        assert_eq!(read.body, Some("call [email]".into()));
        assert_eq!(read.attributes["user"], Value::Map([("id".to_owned(), Value::from("***"))].into()));
        assert_eq!((read.trace_id, read.span_id.as_deref()), (None, Some("b7ad6b7169203331")));
        let Some(Value::Map(receipt)) = read.cleared else { panic!("no receipt") };
        assert_eq!(
            receipt["counts"],
            Value::Map([("EMAIL", 1), ("FIELD", 1)].map(|(k, n)| (k.to_owned(), Value::U64(n))).into())
        );
        // A stream that is a person's is none of the ledger's business either.
        let named = clear("mail-of-ana@example.org");
        assert!(
            matches!(&named.public()[2].1, Public::Name(name) if name.starts_with("[email:") || name.contains("[email:"))
        );
    }

    fn alert(labels: &[(&str, &str)]) -> Alert {
        Alert {
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            annotations: [("summary".into(), "call ana@example.org".into())].into(),
            starts_at: Timestamp::UNIX_EPOCH,
            ends_at: None,
            generator_url: Some("http://u:pw@h/?token=abcdef".into()),
            severity: Severity::Critical,
            sector: Sector::Health,
            channel: Some("ops@example.org".into()),
        }
    }

    fn again<T>(cleared: &Cleared, read: impl Fn(Body) -> Option<T>) -> T {
        let mut fields: Vec<(u16, Value)> = cleared.payload().to_vec();
        for (id, value) in cleared.public() {
            fields.push((
                *id,
                match value {
                    Public::Bool(b) => Value::Bool(*b),
                    Public::U64(n) => Value::U64(*n),
                    Public::I64(n) => Value::I64(*n),
                    Public::F64(n) => Value::F64(*n),
                    Public::Text(t) | Public::Name(t) => Value::Text(t.clone()),
                },
            ));
        }
        read(Body::from_fields(cleared.kind(), &fields).expect("reads back")).expect("is that kind")
    }

    fn again_alert(cleared: &Cleared) -> Alert {
        again(cleared, |body| if let Body::Alert(alert) = body { Some(alert) } else { None })
    }

    #[test]
    fn labels_stay_distinct_and_texts_lose_their_values() {
        let cleared = clear(alert(&[("alertname", "Down"), ("user", "ana@example.org"), ("instance", "10.0.0.5:80")]))
            .expect("clears");
        let other = clear(alert(&[("alertname", "Down"), ("user", "bob@example.org")])).expect("clears");
        let (cleared, other) = (again_alert(&cleared), again_alert(&other));
        assert!(cleared.labels["user"].starts_with("[email:") && cleared.labels["user"].len() == 24);
        assert_ne!(cleared.labels["user"], other.labels["user"]);
        assert_eq!(cleared.labels["instance"], "10.0.0.5:80");
        assert_eq!(cleared.labels["user"], clearer().label("ana@example.org"));
        assert_eq!(cleared.annotations["summary"], "call [email]");
        assert_eq!(cleared.generator_url.as_deref(), Some("http://[url-credentials]@h/?token=[secret]"));
        assert_eq!(cleared.channel.as_deref(), Some("ops@example.org"));
        assert_eq!(clearer().label(&cleared.labels["user"]), cleared.labels["user"]);
    }

    #[test]
    fn matchers_follow_the_labels_they_select() {
        let matcher = |op, value: &str| Matcher { name: "user".into(), op, value: value.into() };
        let at = Timestamp::UNIX_EPOCH;
        let change = SilenceChange {
            id: "s-1".into(),
            action: SilenceAction::Set,
            matchers: vec![
                matcher(MatchOp::Equal, "ana@example.org"),
                matcher(MatchOp::Matches, r"ana@example\.org|web.*"),
            ],
            starts_at: at,
            ends_at: at,
            created_by: "ana@example.org".into(),
            comment: "call 06 12 34 56 78".into(),
            at,
        };
        let cleared = clear(change).expect("clears");
        let change = again(&cleared, |body| if let Body::Silence(change) = body { Some(change) } else { None });
        let token = clearer().label("ana@example.org");
        assert_eq!(change.matchers[0].value, token);
        let escaped = token.replace('[', "\\[").replace(']', "\\]");
        assert_eq!(change.matchers[1].value, format!("{escaped}|web.*"));
        assert_eq!(change.comment, "call [phone]");
        assert_eq!(change.created_by, "[email]");
    }

    #[test]
    fn public_fields_are_words_and_numbers_or_nothing_is_stored() {
        for what in ["two words", "ana@example.org", &"x".repeat(129), "é"] {
            let gap = Gap {
                cause: what.to_owned(),
                what: "check-result".into(),
                count: 1,
                from: Timestamp::UNIX_EPOCH,
                until: Timestamp::UNIX_EPOCH,
            };
            let error = clear(gap).expect_err("is refused");
            assert_eq!(error.kind(), RefusalKind::Reject);
            assert!(!error.to_string().contains(what), "{error}");
        }
        let field = Field { id: 1, name: "f", class: Class::Public };
        for (value, fits) in [
            (Value::Bool(true), true),
            (Value::I64(-1), true),
            (Value::F64(0.5), true),
            (Value::U64(1), true),
            (Value::Null, false),
            (Value::List(vec![]), false),
        ] {
            assert_eq!(publish(Kind::Gap, &field, value).is_ok(), fits);
        }
        assert!(clearer().name(Kind::Gap, &field, &Value::Null).is_err());
    }

    #[test]
    fn nested_values_are_cleared_to_the_bottom() {
        let mut deep = Value::from("ana@example.org");
        for _ in 0..40 {
            deep = Value::List(vec![deep]);
        }
        let json = serde_json::json!({
            "ana@example.org": 1, "bob@example.org": 2,
            "n": 255_081_416_802_538_u64, "at": 1_732_284_000_000_000_u64, "small": 5,
            "when": "2026-11-22T18:00:00.123456789Z",
            "labels": {"u": "ana@example.org", "deep": {"annotations": {"x": "ana@example.org"}}},
        });
        let Value::Map(mut map) = Value::from(json) else { unreachable!("it is an object") };
        map.insert("deep".into(), deep);
        map.insert("utf8".into(), Value::Bytes(b"ana@example.org".to_vec()));
        map.insert("raw".into(), Value::Bytes(vec![0xFF]));
        let cleared = serde_json::Value::from(clearer().field("message", Value::Map(map))).to_string();
        assert!(!cleared.contains("ana@") && !cleared.contains("2550814168"), "{cleared}");
        for kept in [
            "\"utf8\":\"[email]\"",
            "\"raw\":null",
            "\"n\":\"[nir]\"",
            "1732284000000000",
            "2026-11-22T18:00:00.123456789Z",
        ] {
            assert!(cleared.contains(kept), "{kept} in {cleared}");
        }
        assert_eq!(cleared.matches("[email:").count(), 3, "{cleared}");
        assert_eq!(clearer().field("matchers", Value::List(vec![Value::Null])), Value::List(vec![Value::Null]));
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let long = "é".repeat(2_000);
        let cleared = clear(AdminAct {
            actor: long.clone(),
            act: "x".into(),
            target: String::new(),
            detail: String::new(),
            at: Timestamp::UNIX_EPOCH,
        })
        .expect("clears");
        let act = again(&cleared, |body| if let Body::Admin(act) = body { Some(act) } else { None });
        assert!(act.actor.len() <= limits::REASON_BYTES_MAX && act.actor.ends_with("é…"));
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "…");
    }

    #[test]
    fn neither_key_nor_value_is_printed() {
        let clearer = clearer();
        assert!(!format!("{clearer:?}").contains("7, 7"));
        assert!(clearer.redactor().is_declared("web"));
        let cleared = clear(alert(&[("alertname", "x")])).expect("clears");
        assert_eq!((cleared.tenant(), cleared.source()), (&Tenant::default(), SourceId::default()));
    }

    proptest! {
        #[test]
        fn distinct_label_values_stay_distinct(a in "(ana|bob|[a-z]{1,6})@[a-z]{1,4}\\.(fr|org)", b in "(ana|bob|[a-z]{1,6})@[a-z]{1,4}\\.(fr|org)") {
            let clearer = clearer();
            prop_assert_eq!(a == b, clearer.label(&a) == clearer.label(&b));
        }

        // A record made from a record carries labels that were cleared before: another token would be another alert.
        #[test]
        fn clearing_a_label_twice_changes_nothing(text in r#"([0-9]{1,6}|[@:=\[\]"'&%+ ./()_-]|a@b\.fr|0612345678|token|key|[A-Z]{2}|\\u0040|%40|://|é|Bearer [a-z]{6}|\[email(:[0-9a-f]{16})?\]|203\.0\.113\.9|2001:db8::1|u:p@){0,16}"#) {
            let clearer = clearer();
            let once = clearer.label(&text);
            prop_assert_eq!(clearer.label(&once), once);
        }
    }
}
