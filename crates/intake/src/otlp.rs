//! OTLP logs, as protobuf and as JSON (OpenTelemetry protocol 1.x): a request is split into the places of its records, and
//! each record is read on its own, so that what a hostile one takes is bounded as for any other event.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use model::limits::{INTAKE_EVENT_BYTES_MAX, INTAKE_EXPANDED_BYTES_MAX, INTAKE_ITEMS_MAX, VALUE_DEPTH_MAX};
use model::{Event, Map, Sector, Value};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::elastic::stream_of;

/// How a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/x-protobuf`, and gRPC.
    Protobuf,
    /// `application/json`.
    Json,
}

/// Largest description of a sender: it is written to each of its events.
const RESOURCE_BYTES_MAX: usize = 64 << 10;
/// The stream of events whose sender names neither a stream nor a service.
const STREAM_DEFAULT: &str = "otlp";
/// Attributes that name the stream, the first that is there and can be one.
const STREAM_NAMES: [&str; 3] = ["dihya.stream", "data_stream.dataset", "service.name"];

/// A request whose records are known by their places.
pub(crate) struct Split<'a> {
    body: &'a [u8],
    format: Format,
    /// The record, the description of its sender, that of its scope.
    records: Vec<(Range<usize>, Range<usize>, Range<usize>)>,
    /// The sender read last: records of one sender stand together.
    last: Mutex<Option<(Range<usize>, Arc<Sender>)>>,
}

/// What a sender says of itself.
struct Sender {
    stream: Option<String>,
    sector: Sector,
    attributes: Map,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonRequest<'a> {
    #[serde(borrow, default)]
    resource_logs: Vec<JsonResource<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonResource<'a> {
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    #[serde(borrow, default)]
    scope_logs: Vec<JsonScope<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonScope<'a> {
    #[serde(borrow)]
    scope: Option<&'a RawValue>,
    #[serde(borrow, default)]
    log_records: Vec<&'a RawValue>,
}

impl<'a> Split<'a> {
    /// Finds the records of a request.
    ///
    /// # Errors
    /// When it is no request, or has too many records.
    pub(crate) fn new(body: &'a [u8], format: Format) -> Result<Self, &'static str> {
        let records = match format {
            Format::Protobuf => protobuf(body)?,
            Format::Json => json(body)?,
        };
        // Each event carries the description of its sender: a small request must not become a large log.
        let expanded: usize =
            records.iter().map(|(record, resource, scope)| record.len() + resource.len() + scope.len()).sum();
        if expanded > INTAKE_EXPANDED_BYTES_MAX {
            return Err("the request repeats long resources too often, expected less records in a request");
        }
        Ok(Self { body, format, records, last: Mutex::default() })
    }

    /// Returns how many records there are.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Reads a record as an event, and tells how many bytes it took.
    ///
    /// # Errors
    /// When it is none: the reason, for its sender.
    pub(crate) fn event(&self, number: usize, observed_ns: i64) -> Result<(Event, usize), String> {
        let (record, resource, scope) = self.records.get(number).ok_or("there is no such record")?;
        let bytes = record.len() + resource.len() + scope.len();
        if bytes > INTAKE_EVENT_BYTES_MAX {
            return Err(format!("the record is larger than {INTAKE_EVENT_BYTES_MAX} bytes"));
        }
        let sender = self.sender(resource)?;
        let scope: InstrumentationScope = self.read(scope, "scope")?;
        let record: LogRecord = self.read(record, "record")?;
        Ok((event(record, &scope, &sender, observed_ns)?, bytes))
    }

    fn sender(&self, place: &Range<usize>) -> Result<Arc<Sender>, String> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, sender)) = &*last
            && known == place
        {
            return Ok(Arc::clone(sender));
        }
        if place.len() > RESOURCE_BYTES_MAX {
            return Err(format!("the resource is larger than {RESOURCE_BYTES_MAX} bytes"));
        }
        let resource: Resource = self.read(place, "resource")?;
        let attributes = attributes(resource.attributes)?;
        let sender = Arc::new(Sender {
            stream: stream(&attributes),
            sector: text(&attributes, "dihya.sector").and_then(|word| word.parse().ok()).unwrap_or_default(),
            attributes,
        });
        *last = Some((place.clone(), Arc::clone(&sender)));
        Ok(sender)
    }

    fn read<T: Message + Default + for<'de> Deserialize<'de>>(
        &self,
        place: &Range<usize>,
        what: &str,
    ) -> Result<T, String> {
        let bytes = self.body.get(place.clone()).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(T::default());
        }
        match self.format {
            Format::Protobuf => T::decode(bytes).map_err(|_| format!("the {what} is not protobuf")),
            Format::Json => serde_json::from_slice(bytes).map_err(|_| format!("the {what} cannot be read")),
        }
    }
}

/// What a message holds at one of its fields.
pub(crate) struct Part {
    pub(crate) field: u32,
    pub(crate) place: Range<usize>,
}

/// Goes through the fields of a message; of those that are no bytes only the length is known.
pub(crate) fn parts(body: &[u8], message: Range<usize>) -> Result<Vec<Part>, &'static str> {
    const BROKEN: &str = "the request is not protobuf";
    let end = message.end;
    let mut rest = body.get(message).ok_or(BROKEN)?;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (field, wire) = decode_key(&mut rest).map_err(|_| BROKEN)?;
        let length = match wire {
            WireType::LengthDelimited => {
                let length = decode_varint(&mut rest).map_err(|_| BROKEN)?;
                usize::try_from(length).ok().filter(|length| *length <= rest.len()).ok_or(BROKEN)?
            }
            WireType::Varint => {
                decode_varint(&mut rest).map_err(|_| BROKEN)?;
                continue;
            }
            WireType::SixtyFourBit if rest.len() >= 8 => 8,
            WireType::ThirtyTwoBit if rest.len() >= 4 => 4,
            _ => return Err(BROKEN),
        };
        let start = end - rest.len();
        rest = rest.get(length..).unwrap_or_default();
        if wire == WireType::LengthDelimited {
            if parts.len() >= INTAKE_ITEMS_MAX {
                return Err(TOO_MANY);
            }
            parts.push(Part { field, place: start..start + length });
        }
    }
    Ok(parts)
}

pub(crate) const TOO_MANY: &str = "the request has too many records";

type Places = Vec<(Range<usize>, Range<usize>, Range<usize>)>;

/// Finds the records of an `ExportLogsServiceRequest`.
fn protobuf(body: &[u8]) -> Result<Places, &'static str> {
    const FIRST: u32 = 1;
    const SECOND: u32 = 2;
    let mut records = Vec::new();
    for group in parts(body, 0..body.len())?.into_iter().filter(|part| part.field == FIRST) {
        let of_resource = parts(body, group.place)?;
        let resource = last(&of_resource, FIRST);
        for scope_logs in of_resource.into_iter().filter(|part| part.field == SECOND) {
            let of_scope = parts(body, scope_logs.place)?;
            let scope = last(&of_scope, FIRST);
            for record in of_scope.into_iter().filter(|part| part.field == SECOND) {
                if records.len() >= INTAKE_ITEMS_MAX {
                    return Err(TOO_MANY);
                }
                records.push((record.place, resource.clone(), scope.clone()));
            }
        }
    }
    Ok(records)
}

fn last(parts: &[Part], field: u32) -> Range<usize> {
    parts.iter().rev().find(|part| part.field == field).map_or(0..0, |part| part.place.clone())
}

/// Finds the records of a request in JSON.
fn json(body: &[u8]) -> Result<Places, &'static str> {
    let request: JsonRequest<'_> = serde_json::from_slice(body).map_err(|_| "the request is not OTLP in JSON")?;
    let place = |raw: Option<&RawValue>| {
        // A raw value is a part of the body, so its distance from the start is its place.
        let start = raw.map_or(0, |raw| raw.get().as_ptr().addr() - body.as_ptr().addr());
        start..start + raw.map_or(0, |raw| raw.get().len())
    };
    let mut records = Vec::new();
    for group in &request.resource_logs {
        let resource = place(group.resource);
        for logs in &group.scope_logs {
            let scope = place(logs.scope);
            for record in &logs.log_records {
                if records.len() >= INTAKE_ITEMS_MAX {
                    return Err(TOO_MANY);
                }
                records.push((place(Some(record)), resource.clone(), scope.clone()));
            }
        }
    }
    Ok(records)
}

fn event(record: LogRecord, scope: &InstrumentationScope, sender: &Sender, observed_ns: i64) -> Result<Event, String> {
    let mut attributes = attributes(record.attributes)?;
    for (name, value) in [("otel.scope.name", &scope.name), ("otel.scope.version", &scope.version)] {
        if !value.is_empty() && !attributes.contains_key(name) {
            attributes.insert(name.to_owned(), Value::from(value.as_str()));
        }
    }
    if !record.event_name.is_empty() && !attributes.contains_key("event.name") {
        attributes.insert("event.name".to_owned(), Value::Text(record.event_name));
    }
    let named = ["dihya.stream", "data_stream.dataset"];
    let stream = named.iter().find_map(|name| stream_of(text(&attributes, name)?)).or_else(|| sender.stream.clone());
    let severity = match u8::try_from(record.severity_number) {
        Ok(number @ 1..=24) => number,
        _ => model::event::severity_of(&record.severity_text).unwrap_or(0),
    };
    let time = |ns: u64| i64::try_from(ns).ok().filter(|ns| *ns > 0);
    let sector = text(&attributes, "dihya.sector").and_then(|word| word.parse().ok());
    Ok(Event {
        stream: stream.unwrap_or_else(|| STREAM_DEFAULT.to_owned()),
        sector: sector.unwrap_or(sender.sector),
        severity,
        time_ns: time(record.time_unix_nano).or_else(|| time(record.observed_time_unix_nano)),
        observed_ns,
        body: record.body.map(|body| value(body, 0)).transpose()?,
        attributes,
        resource: sender.attributes.clone(),
        trace_id: id(&record.trace_id, 16),
        span_id: id(&record.span_id, 8),
        cleared: None,
    })
}

fn stream(attributes: &Map) -> Option<String> {
    STREAM_NAMES.iter().find_map(|name| stream_of(text(attributes, name)?))
}

fn text<'a>(attributes: &'a Map, name: &str) -> Option<&'a str> {
    match attributes.get(name)? {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn id(bytes: &[u8], length: usize) -> Option<String> {
    let is_id = bytes.len() == length && bytes.iter().any(|byte| *byte != 0);
    is_id.then(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn attributes(pairs: Vec<KeyValue>) -> Result<Map, String> {
    pairs.into_iter().map(|pair| Ok((pair.key, pair.value.map_or(Ok(Value::Null), |any| value(any, 1))?))).collect()
}

fn value(any: AnyValue, depth: usize) -> Result<Value, String> {
    if depth > VALUE_DEPTH_MAX {
        return Err(format!("the record nests deeper than {VALUE_DEPTH_MAX} levels"));
    }
    Ok(match any.value {
        None => Value::Null,
        Some(Any::StringValue(text)) => Value::Text(text),
        Some(Any::BoolValue(bool)) => Value::Bool(bool),
        Some(Any::IntValue(number)) => u64::try_from(number).map_or(Value::I64(number), Value::U64),
        Some(Any::DoubleValue(number)) => Value::F64(number),
        Some(Any::BytesValue(bytes)) => Value::Bytes(bytes),
        Some(Any::ArrayValue(list)) => {
            Value::List(list.values.into_iter().map(|item| value(item, depth + 1)).collect::<Result<_, _>>()?)
        }
        Some(Any::KvlistValue(map)) => {
            let pair =
                |pair: KeyValue| Ok((pair.key, pair.value.map_or(Ok(Value::Null), |any| value(any, depth + 1))?));
            Value::Map(map.values.into_iter().map(pair).collect::<Result<_, String>>()?)
        }
        // Only profiles refer to a table of texts.
        Some(_) => Value::Null,
    })
}

/// What became of a request, before it is written in the shape that its sender reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The HTTP status.
    pub status: u16,
    /// How many records will never be taken.
    pub rejected: u64,
    /// Why, for a person.
    pub message: String,
    /// Seconds after which the same request may succeed.
    pub retry_after: Option<u32>,
}

impl Export {
    /// Writes the body of an answer over HTTP: a response, or a `google.rpc.Status`.
    #[must_use]
    pub fn written(&self, format: Format) -> Vec<u8> {
        if self.status == 200 {
            return self.response(format);
        }
        let status = Status { code: self.grpc_code(), message: self.message.clone() };
        match format {
            Format::Protobuf => status.encode_to_vec(),
            Format::Json => {
                serde_json::json!({"code": status.code, "message": status.message}).to_string().into_bytes()
            }
        }
    }

    /// Writes an `ExportLogsServiceResponse`.
    #[must_use]
    pub fn response(&self, format: Format) -> Vec<u8> {
        let partial = ExportLogsPartialSuccess {
            rejected_log_records: i64::try_from(self.rejected).unwrap_or(i64::MAX),
            error_message: self.message.clone(),
        };
        let response = ExportLogsServiceResponse { partial_success: (self.rejected > 0).then_some(partial) };
        match format {
            Format::Protobuf => response.encode_to_vec(),
            Format::Json if response.partial_success.is_none() => b"{}".to_vec(),
            Format::Json => serde_json::to_vec(&response).unwrap_or_default(),
        }
    }

    /// Returns gRPC's code: what may be sent again is `UNAVAILABLE`, which clients try again without being told when.
    #[must_use]
    pub const fn grpc_code(&self) -> i32 {
        match self.status {
            200 => 0,
            401 => 16,
            403 => 7,
            429 | 503 => 14,
            500.. => 13,
            _ => 3,
        }
    }
}

/// `google.rpc.Status`, as far as it is used.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};
    use opentelemetry_proto::tonic::logs::v1::{ResourceLogs, ScopeLogs};

    use super::*;

    fn any(value: Any) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    fn pair(key: &str, value: Any) -> KeyValue {
        KeyValue { key: key.into(), value: Some(any(value)), ..KeyValue::default() }
    }

    fn request(records: Vec<LogRecord>) -> ExportLogsServiceRequest {
        let resource = Resource {
            attributes: vec![
                pair("service.name", Any::StringValue("checkout".into())),
                pair("dihya.sector", Any::StringValue("commerce".into())),
            ],
            ..Resource::default()
        };
        let scope = InstrumentationScope { name: "lib".into(), ..InstrumentationScope::default() };
        let logs = ScopeLogs { scope: Some(scope), log_records: records, ..ScopeLogs::default() };
        let group = ResourceLogs { resource: Some(resource), scope_logs: vec![logs], ..ResourceLogs::default() };
        ExportLogsServiceRequest { resource_logs: vec![group, ResourceLogs::default()] }
    }

    fn record() -> LogRecord {
        LogRecord {
            time_unix_nano: 1_700_000_000_000_000_001,
            observed_time_unix_nano: 2,
            severity_number: 17,
            severity_text: "ERROR".into(),
            body: Some(any(Any::StringValue("payment failed".into()))),
            attributes: vec![
                pair("n", Any::IntValue(-3)),
                pair("big", Any::IntValue(1 << 60)),
                pair("ok", Any::BoolValue(true)),
                pair("ms", Any::DoubleValue(1.5)),
                pair(
                    "list",
                    Any::ArrayValue(ArrayValue { values: vec![any(Any::BytesValue(vec![1, 2])), AnyValue::default()] }),
                ),
                pair("map", Any::KvlistValue(KeyValueList { values: vec![pair("k", Any::StringValue("v".into()))] })),
            ],
            trace_id: (1..=16).collect(),
            span_id: (1..=8).collect(),
            event_name: "payment".into(),
            ..LogRecord::default()
        }
    }

    fn both(request: &ExportLogsServiceRequest) -> [(Vec<u8>, Format); 2] {
        let json = serde_json::to_vec(request).expect("serialises");
        [(request.encode_to_vec(), Format::Protobuf), (json, Format::Json)]
    }

    #[test]
    fn a_record_is_the_same_event_in_both_formats() {
        let bare = LogRecord { severity_text: "warn".into(), observed_time_unix_nano: 5, ..LogRecord::default() };
        for (body, format) in both(&request(vec![record(), bare])) {
            let split = Split::new(&body, format).expect("splits");
            assert_eq!(split.len(), 2);
            let (event, bytes) = split.event(0, 7).expect("reads");
            assert!(bytes > 100 && bytes < body.len());
            assert_eq!((event.stream.as_str(), event.sector, event.severity), ("checkout", Sector::Ecommerce, 17));
            assert_eq!((event.time_ns, event.observed_ns), (Some(1_700_000_000_000_000_001), 7));
            assert_eq!(event.body, Some("payment failed".into()));
            assert_eq!(event.trace_id.as_deref(), Some("0102030405060708090a0b0c0d0e0f10"));
            assert_eq!(event.span_id.as_deref(), Some("0102030405060708"));
            let of = |name: &str| event.attributes.get(name).cloned().expect("is there");
            assert_eq!((of("n"), of("big"), of("ok")), (Value::I64(-3), Value::U64(1 << 60), Value::Bool(true)));
            assert_eq!((of("ms"), of("event.name")), (Value::F64(1.5), "payment".into()));
            assert_eq!(of("list"), Value::List(vec![Value::Bytes(vec![1, 2]), Value::Null]));
            assert_eq!(of("map"), Value::Map(Map::from([("k".to_owned(), "v".into())])));
            assert_eq!(of("otel.scope.name"), "lib".into());
            assert_eq!(event.resource.get("service.name"), Some(&"checkout".into()));
            let (second, _) = split.event(1, 7).expect("reads");
            assert_eq!((second.severity, second.time_ns, second.body), (13, Some(5), None));
            assert!(split.event(2, 7).is_err());
        }
    }

    #[test]
    fn the_stream_is_what_the_sender_says_it_is() {
        for (attributes, wanted) in [
            (vec![], "otlp"),
            (vec![("service.name", "not a name")], "otlp"),
            (vec![("service.name", "a"), ("data_stream.dataset", "b")], "b"),
            (vec![("service.name", "a"), ("data_stream.dataset", "b"), ("dihya.stream", "c")], "c"),
        ] {
            let pairs: Vec<KeyValue> =
                attributes.iter().map(|(key, value)| pair(key, Any::StringValue((*value).into()))).collect();
            let mut of_resource = request(vec![LogRecord::default()]);
            of_resource.resource_logs[0].resource = Some(Resource { attributes: pairs.clone(), ..Resource::default() });
            let body = of_resource.encode_to_vec();
            let split = Split::new(&body, Format::Protobuf).expect("splits");
            assert_eq!(split.event(0, 0).expect("reads").0.stream, wanted);
            let mut of_record = request(vec![LogRecord { attributes: pairs, ..LogRecord::default() }]);
            of_record.resource_logs[0].resource = None;
            let body = of_record.encode_to_vec();
            let split = Split::new(&body, Format::Protobuf).expect("splits");
            // A record that names a service does not speak for its sender.
            let wanted = if wanted == "a" { "otlp" } else { wanted };
            assert_eq!(split.event(0, 0).expect("reads").0.stream, wanted);
        }
    }

    #[test]
    fn what_is_no_request_is_refused_and_a_broken_record_alone() {
        for (body, format) in [
            (&b"\xff\xff"[..], Format::Protobuf),
            (b"\x0a\x7f", Format::Protobuf),
            (b"\x0b", Format::Protobuf),
            (b"\x09\x01", Format::Protobuf),
            (b"[", Format::Json),
            (b"{\"resourceLogs\": 1}", Format::Json),
        ] {
            assert!(Split::new(body, format).is_err(), "{body:?}");
        }
        assert_eq!(Split::new(b"{}", Format::Json).expect("is empty").len(), 0);
        assert_eq!(Split::new(b"", Format::Protobuf).expect("is empty").len(), 0);
        // Fields of other kinds are passed over: a varint, 64 bits, 32 bits.
        let odd = b"\x08\x01\x11\0\0\0\0\0\0\0\0\x1d\0\0\0\0";
        assert_eq!(Split::new(odd, Format::Protobuf).expect("is empty").len(), 0);
        let body = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityNumber":"x"},{"body":{"stringValue":"b"}}]}]}]}"#;
        let split = Split::new(body, Format::Json).expect("splits");
        assert_eq!(split.event(0, 0).expect_err("is broken"), "the record cannot be read");
        assert_eq!(split.event(1, 0).expect("reads").0.body, Some("b".into()));
        let record = b"\x0a\x06\x12\x04\x12\x02\x2a\x7f";
        let split = Split::new(record, Format::Protobuf).expect("splits");
        assert_eq!(split.event(0, 0).expect_err("is broken"), "the record is not protobuf");
    }

    #[test]
    fn bounds_hold_whatever_is_repeated() {
        let many = request(vec![LogRecord::default(); INTAKE_ITEMS_MAX + 1]);
        for (body, format) in both(&many) {
            assert_eq!(Split::new(&body, format).err(), Some(TOO_MANY), "{format:?}");
        }
        let mut long = request(vec![LogRecord::default(); 2_000]);
        let name = pair("x", Any::StringValue("y".repeat(RESOURCE_BYTES_MAX)));
        long.resource_logs[0].resource = Some(Resource { attributes: vec![name], ..Resource::default() });
        for (body, format) in both(&long) {
            assert!(Split::new(&body, format).is_err_and(|why| why.contains("too often")), "{format:?}");
        }
        long.resource_logs[0].scope_logs[0].log_records.truncate(1);
        let body = long.encode_to_vec();
        let split = Split::new(&body, Format::Protobuf).expect("splits");
        assert!(split.event(0, 0).is_err_and(|why| why.contains("the resource is larger")));
        let large =
            LogRecord { body: Some(any(Any::StringValue("z".repeat(INTAKE_EVENT_BYTES_MAX)))), ..LogRecord::default() };
        let mut deep = any(Any::BoolValue(true));
        for _ in 0..VALUE_DEPTH_MAX + 1 {
            deep = any(Any::ArrayValue(ArrayValue { values: vec![deep] }));
        }
        let deep = LogRecord { body: Some(deep), ..LogRecord::default() };
        let body = request(vec![large, deep]).encode_to_vec();
        let split = Split::new(&body, Format::Protobuf).expect("splits");
        assert!(split.event(0, 0).is_err_and(|why| why.contains("larger than")));
        assert!(split.event(1, 0).is_err());
    }

    #[test]
    fn answers_have_the_shapes_of_the_protocol() {
        let export = |status, rejected| Export { status, rejected, message: "why".into(), retry_after: None };
        assert_eq!(export(200, 0).written(Format::Json), b"{}");
        assert!(export(200, 0).written(Format::Protobuf).is_empty());
        let partial = export(200, 2).written(Format::Protobuf);
        let partial =
            ExportLogsServiceResponse::decode(&partial[..]).expect("reads").partial_success.expect("is there");
        assert_eq!((partial.rejected_log_records, partial.error_message.as_str()), (2, "why"));
        assert_eq!(export(429, 0).written(Format::Json), br#"{"code":14,"message":"why"}"#);
        let status = Status::decode(&export(400, 1).written(Format::Protobuf)[..]).expect("reads");
        assert_eq!((status.code, status.message.as_str()), (3, "why"));
        let codes: Vec<i32> = [401, 403, 500, 503, 413].map(|status| export(status, 0).grpc_code()).to_vec();
        assert_eq!(codes, [16, 7, 13, 14, 3]);
    }
}
