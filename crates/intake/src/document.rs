//! A JSON document as agents send it (ECS, Logstash, Fluent Bit, anything) becomes an event.
//!
//! Where a document says it in a known place, time, level, text and trace are taken out of it; what describes the sender
//! becomes the resource; the rest stays as it is, under its own names.

use std::cell::{Cell, RefCell};

use jiff::Timestamp;
use model::event::severity_of;
use model::limits::VALUE_DEPTH_MAX;
use model::{Event, Map, Sector, Value};
use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

/// Why a document is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unread {
    #[error("the document is not JSON")]
    NotJson,
    #[error("the document is no JSON object")]
    NotAnObject,
    #[error("the document is empty")]
    Empty,
    #[error("the document nests deeper than {VALUE_DEPTH_MAX} levels")]
    TooDeep,
}

/// Tells whether a top-level name says who sends, in ECS.
fn describes_sender(name: &str) -> bool {
    let first = name.as_bytes().split(|byte| *byte == b'.').next().unwrap_or_default();
    matches!(
        first,
        b"agent"
            | b"cloud"
            | b"container"
            | b"data_stream"
            | b"ecs"
            | b"faas"
            | b"host"
            | b"kubernetes"
            | b"observer"
            | b"orchestrator"
            | b"resource"
            | b"service"
    )
}
/// Where a document's text stands, the first that it has.
const TEXTS: [&str; 6] = ["message", "body", "msg", "log", "short_message", "MESSAGE"];
/// Where its time stands.
const TIMES: [&str; 6] = ["@timestamp", "timestamp", "time", "ts", "date", "datetime"];
/// Where its level stands.
const LEVELS: [&str; 7] = ["log.level", "level", "severity", "severity_text", "loglevel", "lvl", "priority"];

/// Reads a document.
pub(crate) fn read(json: &[u8]) -> Result<Map, Unread> {
    match value(json)? {
        Value::Map(map) if map.is_empty() => Err(Unread::Empty),
        Value::Map(map) => Ok(map),
        _ => Err(Unread::NotAnObject),
    }
}

/// Reads any JSON.
pub(crate) fn value(json: &[u8]) -> Result<Value, Unread> {
    let (too_deep, open) = (Cell::new(false), RefCell::new(Vec::with_capacity(OPEN)));
    let reader = Reader { left: VALUE_DEPTH_MAX, too_deep: &too_deep, open: &open };
    // Checked once as a whole, the texts in it need not be checked one by one.
    let value = match std::str::from_utf8(json) {
        Ok(text) => reader.whole(serde_json::Deserializer::from_str(text)),
        Err(_) => reader.whole(serde_json::Deserializer::from_slice(json)),
    };
    value.map_err(|_| if too_deep.get() { Unread::TooDeep } else { Unread::NotJson })
}

/// Reads JSON straight into values, as deep as it may nest.
#[derive(Clone, Copy)]
struct Reader<'a> {
    left: usize,
    too_deep: &'a Cell<bool>,
    /// What was read of the maps that are not read to their end, the innermost last: a map takes what it needs when it ends.
    open: &'a RefCell<Vec<(String, Value)>>,
}

/// Room for the entries of most documents.
const OPEN: usize = 32;

impl Reader<'_> {
    fn whole<'de, R: serde_json::de::Read<'de>>(
        self,
        mut json: serde_json::Deserializer<R>,
    ) -> Result<Value, serde_json::Error> {
        let value = self.deserialize(&mut json)?;
        json.end().map(|()| value)
    }

    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.left == 0 {
            self.too_deep.set(true);
            return Err(E::custom("too deep"));
        }
        Ok(Self { left: self.left - 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::U64(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::I64(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::F64(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let (inner, mut items) = (self.deeper()?, Vec::new());
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let (inner, first) = (self.deeper()?, self.open.borrow().len());
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(inner)?;
            self.open.borrow_mut().push((key, value));
        }
        Ok(Value::Map(self.open.borrow_mut().drain(first..).collect()))
    }
}

/// Makes the event that a document is.
pub(crate) fn event(stream: String, mut document: Map, observed_ns: i64) -> Event {
    let firsts = Firsts::of(&document);
    let time_ns = firsts.of_them(&TIMES).find_map(|name| {
        let time = time_of(document.get(name)?)?;
        document.remove(name);
        Some(time)
    });
    let severity = firsts.of_them(&LEVELS).find_map(|path| {
        let number = level_of(lookup(&document, path)?)?;
        take(&mut document, path);
        Some(number)
    });
    let body = firsts.of_them(&TEXTS).find_map(|name| match document.get(name)? {
        Value::Text(_) => document.remove(name),
        _ => None,
    });
    let trace_id = id(&mut document, firsts, &["trace.id", "trace_id", "traceId"], 32);
    let span_id = id(&mut document, firsts, &["span.id", "span_id", "spanId"], 16);
    let sector = firsts.of_them(&["sector", "labels.sector"]).find_map(|path| {
        let Value::Text(word) = lookup(&document, path)? else { return None };
        let sector: Sector = word.parse().ok()?;
        take(&mut document, path);
        Some(sector)
    });
    let (resource, attributes): (Vec<_>, Vec<_>) = document.into_iter().partition(|(name, _)| describes_sender(name));
    Event {
        stream,
        sector: sector.unwrap_or_default(),
        severity: severity.unwrap_or(0),
        time_ns,
        observed_ns,
        body,
        attributes: attributes.into(),
        resource: resource.into(),
        trace_id,
        span_id,
        cleared: None,
    }
}

/// The first letters of a document's names, a bit for each: most of the names that are looked for have none of them.
#[derive(Clone, Copy)]
struct Firsts(u64);

impl Firsts {
    fn of(document: &Map) -> Self {
        Self(document.keys().fold(0, |bits, name| bits | Self::bit(name)))
    }

    fn bit(name: &str) -> u64 {
        1 << (name.bytes().next().unwrap_or_default() % 64)
    }

    /// Yields those of some paths that may be there.
    fn of_them(self, paths: &[&'static str]) -> impl Iterator<Item = &'static str> {
        paths.iter().copied().filter(move |path| self.0 & Self::bit(path) != 0)
    }
}

/// Returns what stands at a dotted path, whether the sender nests names or writes them with dots.
fn lookup<'a>(document: &'a Map, path: &str) -> Option<&'a Value> {
    if let Some(value) = document.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    match document.get(first)? {
        Value::Map(inner) => lookup(inner, rest),
        _ => None,
    }
}

fn take(document: &mut Map, path: &str) -> Option<Value> {
    if let Some(value) = document.remove(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    let Value::Map(inner) = document.get_mut(first)? else { return None };
    let taken = take(inner, rest);
    if inner.is_empty() {
        document.remove(first);
    }
    taken
}

fn id(document: &mut Map, firsts: Firsts, paths: &[&'static str], digits: usize) -> Option<String> {
    let is_id = |text: &str| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let path =
        firsts.of_them(paths).find(|path| matches!(lookup(document, path), Some(Value::Text(text)) if is_id(text)))?;
    match take(document, path)? {
        Value::Text(text) => Some(text.to_ascii_lowercase()),
        _ => None,
    }
}

/// Reads a level: a word, or a number as syslog (0 to 7) and bunyan or pino (10 to 60) write it.
fn level_of(value: &Value) -> Option<u8> {
    const SYSLOG: [u8; 8] = [24, 21, 21, 17, 13, 10, 9, 5];
    match value {
        Value::Text(word) => severity_of(word),
        Value::U64(number @ 0..=7) => SYSLOG.get(usize::try_from(*number).ok()?).copied(),
        Value::U64(number @ (10 | 20 | 30 | 40 | 50 | 60)) => Some(u8::try_from(number / 10).ok()? * 4 - 3),
        _ => None,
    }
}

/// Reads a time: RFC 3339, or seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by their size.
pub(crate) fn time_of(value: &Value) -> Option<i64> {
    /// Numbers of seconds up to the year 5138; milliseconds from there on, and so forth.
    const SECONDS_MAX: i64 = 100_000_000_000;
    match value {
        Value::Text(text) => {
            let text = text.trim();
            let at = text.parse::<Timestamp>().ok()?;
            i64::try_from(at.as_nanosecond()).ok()
        }
        Value::U64(number) => {
            let number = i64::try_from(*number).ok()?;
            let scale = [1_000_000_000, 1_000_000, 1_000, 1];
            let step = [SECONDS_MAX, SECONDS_MAX * 1_000, SECONDS_MAX * 1_000_000].iter().filter(|max| number >= **max);
            number.checked_mul(scale[step.count()])
        }
        Value::F64(seconds) if (0.0..1e11).contains(seconds) => {
            #[expect(clippy::cast_possible_truncation, reason = "checked: below 1e20 would not fit, below 1e11 s does")]
            let micros = (seconds * 1e6) as i64;
            micros.checked_mul(1_000)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(json: &str) -> Event {
        event("s".into(), read(json.as_bytes()).expect("reads"), 7)
    }

    #[test]
    fn an_ecs_document_is_taken_apart() {
        for json in [
            r#"{"@timestamp":"2026-11-27T10:00:00.5Z","message":"m","log":{"level":"WARN","file":{"path":"/x"}},
                "service":{"name":"web"},"trace":{"id":"0AF7651916CD43DD8448EB211C80319C"},"span.id":"b7ad6b7169203331",
                "user":{"name":"u"},"labels":{"sector":"santé"}}"#,
            r#"{"timestamp":1795773600500,"msg":"m","log.level":"warning","log":{"file":{"path":"/x"}},"service":{"name":"web"},
                "trace_id":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","user":{"name":"u"},"sector":"health"}"#,
        ] {
            let event = made(json);
            assert_eq!((event.severity, event.sector, event.observed_ns), (13, Sector::Health, 7), "{json}");
            assert_eq!(event.time_ns, Some(1_795_773_600_500_000_000));
            assert_eq!(event.body, Some("m".into()));
            assert_eq!(event.trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
            assert_eq!(event.span_id.as_deref(), Some("b7ad6b7169203331"));
            assert_eq!(event.resource.keys().collect::<Vec<_>>(), ["service"]);
            assert_eq!(event.attributes.keys().collect::<Vec<_>>(), ["log", "user"]);
        }
    }

    #[test]
    fn what_is_not_understood_stays_where_it_is() {
        let event =
            made(r#"{"@timestamp":"yesterday","level":"loud","message":{"a":1},"trace.id":"x","sector":"other"}"#);
        assert_eq!((event.time_ns, event.severity, event.body, event.trace_id), (None, 0, None, None));
        let names: Vec<_> = event.attributes.keys().map(String::as_str).collect();
        assert_eq!(names, ["@timestamp", "level", "message", "sector", "trace.id"]);
    }

    #[test]
    fn times_and_levels_are_read_as_programs_write_them() {
        for (value, wanted) in [
            (Value::from("1970-01-01T00:00:01Z"), Some(1_000_000_000)),
            (Value::from("1970-01-01T01:00:01+01:00"), Some(1_000_000_000)),
            (Value::U64(1_700_000_000), Some(1_700_000_000_000_000_000)),
            (Value::U64(1_700_000_000_123), Some(1_700_000_000_123_000_000)),
            (Value::U64(1_700_000_000_123_456), Some(1_700_000_000_123_456_000)),
            (Value::U64(1_700_000_000_123_456_789), Some(1_700_000_000_123_456_789)),
            (Value::F64(1.5), Some(1_500_000_000)),
            (Value::F64(-1.0), None),
            (Value::U64(u64::MAX), None),
            (Value::Bool(true), None),
            (Value::from("27/Nov/2026"), None),
        ] {
            assert_eq!(time_of(&value), wanted, "{value:?}");
        }
        for (value, wanted) in [
            (Value::U64(3), Some(17)),
            (Value::U64(30), Some(9)),
            (Value::U64(60), Some(21)),
            (Value::U64(8), None),
            (Value::Null, None),
        ] {
            assert_eq!(level_of(&value), wanted, "{value:?}");
        }
    }

    #[test]
    fn documents_that_are_none_are_refused() {
        let deep = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        for (json, why) in [
            ("{", Unread::NotJson),
            ("[]", Unread::NotAnObject),
            ("7", Unread::NotAnObject),
            ("{}", Unread::Empty),
            (&deep(VALUE_DEPTH_MAX + 1), Unread::TooDeep),
            (&deep(200), Unread::TooDeep),
            ("{} x", Unread::NotJson),
        ] {
            assert_eq!(read(json.as_bytes()), Err(why), "{json}");
        }
        assert!(read(deep(VALUE_DEPTH_MAX).as_bytes()).is_ok());
    }
}
