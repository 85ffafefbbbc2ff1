//! CloudEvents 1.0 over HTTP: structured, batched and binary (the CNCF's CloudEvents, their JSON format and HTTP binding).
//!
//! What is about the event becomes attributes under OpenTelemetry's names, what the event says becomes the body.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;
use model::limits::{INTAKE_EVENT_BYTES_MAX, INTAKE_ITEMS_MAX};
use model::{Event, Map, Sector, Value};

use crate::{document, events};

/// One event as JSON.
const STRUCTURED: &str = "application/cloudevents+json";
/// An array of them.
const BATCH: &str = "application/cloudevents-batch+json";
/// What formats that are not JSON begin with too.
const FAMILY: &str = "application/cloudevents";
/// What the headers of binary mode begin with.
const PREFIX: &str = "ce-";

/// How a request carries its events.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// One, as JSON.
    Structured,
    /// An array of them.
    Batch,
    /// One: its attributes are headers, its data is the body.
    Binary(Attributes),
}

/// The attributes that headers carry, or why they cannot be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Attributes(Result<Map, &'static str>);

/// The request holds CloudEvents in a format that is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected CloudEvents as {STRUCTURED}, {BATCH}, or with their attributes in headers")]
pub struct UnknownFormat;

impl Mode {
    /// Returns how a request carries CloudEvents, if it does.
    ///
    /// # Errors
    /// When it carries them in a format other than JSON.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, UnknownFormat> {
        let media_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let essence = essence(&String::from_utf8_lossy(media_type));
        match essence.as_str() {
            STRUCTURED => Ok(Some(Self::Structured)),
            BATCH => Ok(Some(Self::Batch)),
            _ if essence.starts_with(FAMILY) => Err(UnknownFormat),
            _ if headers.contains_key("ce-specversion") => Ok(Some(Self::Binary(Attributes(attributes(headers))))),
            _ => Ok(None),
        }
    }
}

/// A media type without its parameters.
fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn attributes(headers: &HeaderMap) -> Result<Map, &'static str> {
    let mut map = Map::default();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(PREFIX) else { continue };
        let text = unescape(value.as_bytes()).ok_or("a header of the event is not UTF-8 once it is decoded")?;
        if map.insert(name.to_owned(), Value::Text(text)).is_some() {
            return Err("a header of the event comes twice");
        }
    }
    if let Some(value) = headers.get(header::CONTENT_TYPE) {
        let text = value.to_str().map_err(|_| "the content type of the event is no text")?;
        map.insert("datacontenttype".to_owned(), Value::Text(text.to_owned()));
    }
    Ok(map)
}

/// Undoes quotes, then percent signs, once each, as the binding (section 3.1.3.2) says.
fn unescape(value: &[u8]) -> Option<String> {
    let value = value.trim_ascii();
    let quoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let mut plain = Vec::with_capacity(value.len());
    let mut rest = quoted.unwrap_or(value).iter().copied();
    while let Some(byte) = rest.next() {
        // A stroke at the very end escapes nothing.
        let escaped = if quoted.is_some() && byte == b'\\' { rest.next() } else { None };
        plain.push(escaped.unwrap_or(byte));
    }
    let mut decoded = Vec::with_capacity(plain.len());
    let mut rest = plain.as_slice();
    while let Some((&byte, behind)) = rest.split_first() {
        let of_two = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        let digits = behind.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        match digits.and_then(of_two).filter(|_| byte == b'%') {
            Some(coded) => {
                decoded.push(coded);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(byte);
                rest = behind;
            }
        }
    }
    String::from_utf8(decoded).ok()
}

/// The events of one request.
pub(crate) struct Split<'a> {
    mode: &'a Mode,
    body: &'a [u8],
    items: Vec<Range<usize>>,
}

impl<'a> Split<'a> {
    /// Finds the events of a body. A batch may hold none.
    pub(crate) fn new(body: &'a [u8], mode: &'a Mode) -> Result<Self, &'static str> {
        let items = match mode {
            Mode::Batch => events::items(body)?,
            Mode::Structured | Mode::Binary(_) => std::iter::once(0..body.len()).collect(),
        };
        if items.len() > INTAKE_ITEMS_MAX {
            return Err("the body holds more events than one request may");
        }
        Ok(Self { mode, body, items })
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Reads the event with a number, and says how many bytes it took.
    pub(crate) fn event(&self, number: usize, stream: &str, observed_ns: i64) -> Result<(Event, usize), String> {
        let range = self.items.get(number).cloned().ok_or("there is no such event")?;
        let bytes = events::document(self.body, range)?;
        let Mode::Binary(Attributes(attributes)) = self.mode else {
            let mut fields = document::read(bytes).map_err(|unread| unread.to_string())?;
            let data = data_of(&mut fields)?;
            return Ok((event(fields, data, stream, observed_ns)?, bytes.len()));
        };
        let fields = attributes.clone()?;
        let size = bytes.len() + fields.iter().map(|(name, value)| name.len() + length_of(value)).sum::<usize>();
        if size > INTAKE_EVENT_BYTES_MAX {
            return Err(format!("the event is larger than {INTAKE_EVENT_BYTES_MAX} bytes"));
        }
        let data = if bytes.is_empty() { None } else { Some(typed(&fields, bytes.to_vec())?) };
        Ok((event(fields, data, stream, observed_ns)?, size))
    }
}

fn length_of(value: &Value) -> usize {
    if let Value::Text(text) = value { text.len() } else { 0 }
}

/// Takes what the event says out of its JSON.
fn data_of(fields: &mut Map) -> Result<Option<Value>, String> {
    let present = |value: Option<Value>| value.filter(|value| *value != Value::Null);
    match (present(fields.remove("data")), present(fields.remove("data_base64"))) {
        (Some(_), Some(_)) => Err("the event has both data and data_base64".into()),
        (data, None) => Ok(data),
        (None, Some(Value::Text(text))) => {
            let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| "the data_base64 of the event is no base64")?;
            typed(fields, bytes).map(Some)
        }
        (None, Some(_)) => Err("the data_base64 of the event is no text".into()),
    }
}

/// Reads data as its content type says: JSON, else text where it is UTF-8, else bytes.
fn typed(fields: &Map, bytes: Vec<u8>) -> Result<Value, String> {
    let is_json = match fields.get("datacontenttype") {
        Some(Value::Text(media_type)) => {
            let essence = essence(media_type);
            matches!(essence.as_str(), "application/json" | "text/json") || essence.ends_with("+json")
        }
        _ => false,
    };
    if is_json {
        return document::value(&bytes).map_err(|unread| match unread {
            document::Unread::TooDeep => unread.to_string(),
            _ => "the data of the event is not JSON, as its content type says".into(),
        });
    }
    Ok(String::from_utf8(bytes).map_or_else(|error| Value::Bytes(error.into_bytes()), Value::Text))
}

/// Makes the event of its attributes and its data.
fn event(mut fields: Map, body: Option<Value>, stream: &str, observed_ns: i64) -> Result<Event, String> {
    check(&fields)?;
    let time_ns = match fields.remove("time") {
        None | Some(Value::Null) => None,
        Some(time) => Some(time_of(&time).ok_or("the time of the event is not RFC 3339, or not from 1678 to 2261")?),
    };
    let (trace_id, span_id) = traced(&mut fields);
    let severity = severity_of(&mut fields);
    let sector = match fields.get("sector") {
        Some(Value::Text(word)) => word.parse::<Sector>().ok(),
        _ => None,
    };
    if sector.is_some() {
        fields.remove("sector");
    }
    let named = fields.into_iter().filter(|(_, value)| *value != Value::Null);
    let attributes: Vec<_> = named.map(|(name, value)| (attribute_name(&name), value)).collect();
    Ok(Event {
        stream: stream.to_owned(),
        sector: sector.unwrap_or_default(),
        severity,
        time_ns,
        observed_ns,
        body,
        attributes: attributes.into(),
        resource: Map::default(),
        trace_id,
        span_id,
        cleared: None,
    })
}

/// Holds attributes against sections 3.1 and 3.2 of the specification.
fn check(fields: &Map) -> Result<(), String> {
    for name in ["id", "source", "type", "specversion"] {
        if !matches!(fields.get(name), Some(Value::Text(text)) if !text.is_empty()) {
            return Err(format!("the event has no {name} that is a text"));
        }
    }
    if fields.get("specversion") != Some(&Value::Text("1.0".into())) {
        return Err("the specversion of the event is not 1.0".into());
    }
    for (name, value) in fields.iter() {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
            return Err("the name of an attribute is not made of small letters and digits".into());
        }
        let whole = i32::try_from(match value {
            Value::U64(number) => i64::try_from(*number).unwrap_or(i64::MAX),
            Value::I64(number) => *number,
            _ => 0,
        });
        if matches!(value, Value::F64(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_)) || whole.is_err() {
            return Err("an attribute is neither text nor boolean nor a whole number of 32 bits".into());
        }
    }
    Ok(())
}

fn time_of(value: &Value) -> Option<i64> {
    let Value::Text(text) = value else { return None };
    i64::try_from(text.parse::<Timestamp>().ok()?.as_nanosecond()).ok()
}

/// Takes trace and span out of the extension for distributed tracing; one that is no `traceparent` stays.
fn traced(fields: &mut Map) -> (Option<String>, Option<String>) {
    let Some(Value::Text(text)) = fields.get("traceparent") else { return (None, None) };
    let parts: Vec<&str> = text.split('-').collect();
    let is_id = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit()) && text.bytes().any(|b| b != b'0')
    };
    let ids = match parts.as_slice() {
        [_, trace, span, _] if is_id(trace, 32) && is_id(span, 16) => {
            (Some(trace.to_ascii_lowercase()), Some(span.to_ascii_lowercase()))
        }
        _ => return (None, None),
    };
    fields.remove("traceparent");
    ids
}

/// Takes the severity out of its extension: OpenTelemetry's number, else a word.
fn severity_of(fields: &mut Map) -> u8 {
    let number = match fields.get("severitynumber") {
        Some(Value::U64(number)) => u8::try_from(*number).ok(),
        // Headers carry texts.
        Some(Value::Text(text)) => text.parse().ok(),
        _ => None,
    };
    if let Some(number) = number.filter(|number| (1..=24).contains(number)) {
        fields.remove("severitynumber");
        return number;
    }
    let Some(Value::Text(word)) = fields.get("severitytext") else { return 0 };
    let Some(number) = model::event::severity_of(word) else { return 0 };
    fields.remove("severitytext");
    number
}

/// OpenTelemetry's name of an attribute, where it has one.
fn attribute_name(name: &str) -> String {
    match name {
        "id" | "source" | "type" | "subject" => format!("cloudevents.event_{name}"),
        "specversion" => "cloudevents.event_spec_version".to_owned(),
        _ => format!("cloudevents.{name}"),
    }
}

#[cfg(test)]
mod tests;
