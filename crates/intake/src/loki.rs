//! Loki's push, as protobuf packed with snappy and as JSON: a request is split into the places of its entries, and each is
//! read on its own. Labels describe the sender; the line is the event's text, taken apart where it is a JSON object.

use std::collections::BTreeMap;
use std::ops::Range;

use model::limits::{INTAKE_BODY_BYTES_MAX, INTAKE_EVENT_BYTES_MAX, INTAKE_EXPANDED_BYTES_MAX, INTAKE_ITEMS_MAX};
use model::{Event, Map, Value};
use prost::Message;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::document;
use crate::elastic::stream_of;
use crate::otlp::{Format, TOO_MANY, parts};

/// The stream of events whose labels name none.
const STREAM_DEFAULT: &str = "loki";
/// Labels that name the stream, the first that is there and can be one.
const STREAM_NAMES: [&str; 6] = ["dihya_stream", "service_name", "service", "app", "job", "filename"];
/// Most labels of a stream.
const LABELS_MAX: usize = 64;

/// An entry, as protobuf.
#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    at: Option<At>,
    #[prost(string, tag = "2")]
    line: String,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Label>,
}

#[derive(Clone, PartialEq, Message)]
struct At {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Deserialize)]
struct JsonPush<'a> {
    #[serde(borrow, default)]
    streams: Vec<JsonStream<'a>>,
}

#[derive(Deserialize)]
struct JsonStream<'a> {
    #[serde(default)]
    stream: Labels,
    #[serde(borrow, default)]
    values: Vec<&'a RawValue>,
}

/// The labels of a stream.
type Labels = BTreeMap<String, String>;

/// A request whose entries are known by their places.
pub(crate) struct Split<'a> {
    body: &'a [u8],
    format: Format,
    /// Labels of a stream, or why they cannot be read; and how many bytes they take.
    streams: Vec<(Result<Labels, &'static str>, usize)>,
    /// The stream's number and where the entry is.
    entries: Vec<(usize, Range<usize>)>,
}

/// Unpacks a body that snappy packed as one block.
///
/// # Errors
/// When it is none, or larger than a body may be.
pub(crate) fn unpack(body: &[u8]) -> Result<Vec<u8>, &'static str> {
    const BROKEN: &str = "the body is not packed with snappy";
    // The length stands in front: a bomb is refused before it goes off.
    if snap::raw::decompress_len(body).map_err(|_| BROKEN)? > INTAKE_BODY_BYTES_MAX {
        return Err("the body is too large when unpacked");
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(|_| BROKEN)
}

impl<'a> Split<'a> {
    /// Finds the entries of a request.
    ///
    /// # Errors
    /// When it is no request, or has too many entries.
    pub(crate) fn new(body: &'a [u8], format: Format) -> Result<Self, &'static str> {
        let mut split = Self { body, format, streams: Vec::new(), entries: Vec::new() };
        match format {
            Format::Protobuf => split.protobuf()?,
            Format::Json => split.json()?,
        }
        let label_bytes = |stream: &usize| split.streams.get(*stream).map_or(0, |(_, bytes)| *bytes);
        let expanded: usize = split.entries.iter().map(|(stream, place)| label_bytes(stream) + place.len()).sum();
        if expanded > INTAKE_EXPANDED_BYTES_MAX {
            return Err("the request repeats long labels too often, expected less entries in a request");
        }
        Ok(split)
    }

    /// Returns how many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn protobuf(&mut self) -> Result<(), &'static str> {
        for stream in parts(self.body, 0..self.body.len())?.into_iter().filter(|part| part.field == 1) {
            let inner = parts(self.body, stream.place)?;
            let text = inner.iter().find(|part| part.field == 1).and_then(|part| self.body.get(part.place.clone()));
            let text = text.unwrap_or_default();
            let labels = std::str::from_utf8(text).map_err(|_| "the labels are not UTF-8").and_then(labels);
            self.streams.push((labels, text.len()));
            for entry in inner.into_iter().filter(|part| part.field == 2) {
                self.push(entry.place)?;
            }
        }
        Ok(())
    }

    fn json(&mut self) -> Result<(), &'static str> {
        let push: JsonPush<'_> =
            serde_json::from_slice(self.body).map_err(|_| "the request is not Loki's push in JSON")?;
        for stream in push.streams {
            let bytes = stream.stream.iter().map(|(name, value)| name.len() + value.len()).sum();
            let labels = if stream.stream.len() > LABELS_MAX { Err(TOO_MANY_LABELS) } else { Ok(stream.stream) };
            self.streams.push((labels, bytes));
            for entry in stream.values {
                let start = entry.get().as_ptr().addr() - self.body.as_ptr().addr();
                self.push(start..start + entry.get().len())?;
            }
        }
        Ok(())
    }

    fn push(&mut self, place: Range<usize>) -> Result<(), &'static str> {
        if self.entries.len() >= INTAKE_ITEMS_MAX {
            return Err(TOO_MANY);
        }
        self.entries.push((self.streams.len() - 1, place));
        Ok(())
    }

    /// Reads an entry as an event, and tells how many bytes it took.
    ///
    /// # Errors
    /// When it is none: the reason, for its sender.
    pub(crate) fn event(&self, number: usize, observed_ns: i64) -> Result<(Event, usize), String> {
        let (stream, place) = self.entries.get(number).ok_or("there is no such entry")?;
        let (labels, label_bytes) = self.streams.get(*stream).ok_or("there is no such stream")?;
        let labels = labels.as_ref().map_err(|why| (*why).to_owned())?;
        let bytes = place.len() + label_bytes;
        if bytes > INTAKE_EVENT_BYTES_MAX {
            return Err(format!("the entry is larger than {INTAKE_EVENT_BYTES_MAX} bytes"));
        }
        let entry = self.body.get(place.clone()).unwrap_or_default();
        let (time_ns, line, metadata) = match self.format {
            Format::Protobuf => from_protobuf(entry)?,
            Format::Json => from_json(entry)?,
        };
        let name = STREAM_NAMES.iter().find_map(|name| stream_of(labels.get(*name)?));
        let name = name.unwrap_or_else(|| STREAM_DEFAULT.to_owned());
        let mut event = match document::read(line.as_bytes()) {
            Ok(document) => document::event(name, document, observed_ns),
            Err(_) => Event { stream: name, observed_ns, body: Some(Value::Text(line)), ..Event::default() },
        };
        event.time_ns = time_ns.or(event.time_ns);
        event.attributes.extend(metadata);
        let level = ["detected_level", "level", "severity"].iter().find_map(|name| labels.get(*name));
        if event.severity == 0 {
            event.severity = level.and_then(|word| model::event::severity_of(word)).unwrap_or(0);
        }
        event.resource.extend(labels.iter().map(|(name, value)| (name.clone(), Value::Text(value.clone()))));
        Ok((event, bytes))
    }
}

/// Time, line and metadata of an entry.
type Read = (Option<i64>, String, Map);

fn from_protobuf(bytes: &[u8]) -> Result<Read, String> {
    let entry = Entry::decode(bytes).map_err(|_| "the entry is not protobuf")?;
    let time = entry.at.and_then(|at| at.seconds.checked_mul(1_000_000_000)?.checked_add(at.nanos.into()));
    let metadata = entry.metadata.into_iter().map(|label| (label.name, Value::Text(label.value)));
    Ok((time, entry.line, metadata.collect()))
}

fn from_json(bytes: &[u8]) -> Result<Read, String> {
    const EXPECTED: &str = "expected an entry of a time in nanoseconds, as a text, and a line";
    let parts: Vec<serde_json::Value> = serde_json::from_slice(bytes).map_err(|_| EXPECTED)?;
    let mut parts = parts.into_iter();
    let (Some(serde_json::Value::String(time)), Some(serde_json::Value::String(line))) = (parts.next(), parts.next())
    else {
        return Err(EXPECTED.to_owned());
    };
    let time = time.parse::<i64>().map_err(|_| EXPECTED)?;
    let metadata = match (parts.next(), parts.next()) {
        (None, None) => Map::new(),
        (Some(serde_json::Value::Object(map)), None) => map.into_iter().map(|(k, v)| (k, Value::from(v))).collect(),
        _ => return Err("expected an entry's metadata to be an object, and nothing after it".to_owned()),
    };
    Ok((Some(time), line, metadata))
}

const TOO_MANY_LABELS: &str = "the stream has more labels than 64";

/// Reads `{name="value", ...}`.
fn labels(text: &str) -> Result<Labels, &'static str> {
    const BROKEN: &str = "the labels cannot be read, expected {name=\"value\", ...}";
    let mut rest = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or(BROKEN)?.trim_start();
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        if labels.len() >= LABELS_MAX {
            return Err(TOO_MANY_LABELS);
        }
        let (name, after) = rest.split_once('=').ok_or(BROKEN)?;
        let after = after.trim_start();
        if !after.starts_with('"') {
            return Err(BROKEN);
        }
        // Go's quoting is JSON's but for escapes that no label value needs.
        let mut values = serde_json::Deserializer::from_str(after).into_iter::<String>();
        let value = values.next().ok_or(BROKEN)?.map_err(|_| BROKEN)?;
        let end = values.byte_offset();
        labels.insert(name.trim().to_owned(), value);
        rest = after.get(end..).unwrap_or_default().trim_start();
        rest = match rest.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if rest.is_empty() => rest,
            None => return Err(BROKEN),
        };
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream of a push.
    #[derive(Clone, PartialEq, Message)]
    struct Stream {
        #[prost(string, tag = "1")]
        labels: String,
        #[prost(message, repeated, tag = "2")]
        entries: Vec<Entry>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Push {
        #[prost(message, repeated, tag = "1")]
        streams: Vec<Stream>,
    }

    fn push(labels: &str, lines: &[&str]) -> Vec<u8> {
        let entry = |line: &&str| Entry {
            at: Some(At { seconds: 1_700_000_000, nanos: 5 }),
            line: (*line).to_owned(),
            metadata: vec![Label { name: "pod".into(), value: "p1".into() }],
        };
        let stream = Stream { labels: labels.into(), entries: lines.iter().map(entry).collect() };
        Push { streams: vec![stream] }.encode_to_vec()
    }

    #[test]
    fn a_line_is_the_same_event_in_both_formats() {
        let lines = ["plain text", r#"{"level":"error","msg":"broken","ts":1}"#];
        let json = serde_json::json!({"streams": [{"stream": {"job": "api", "level": "warn"},
            "values": lines.map(|line| serde_json::json!(["1700000000000000005", line, {"pod": "p1"}]))}]});
        let bodies = [
            (push(r#"{job="api", level="warn"}"#, &lines), Format::Protobuf),
            (json.to_string().into_bytes(), Format::Json),
        ];
        for (body, format) in bodies {
            let split = Split::new(&body, format).expect("splits");
            assert_eq!(split.len(), 2);
            let (event, _) = split.event(0, 7).expect("reads");
            assert_eq!((event.stream.as_str(), event.severity, event.observed_ns), ("api", 13, 7));
            assert_eq!(event.time_ns, Some(1_700_000_000_000_000_005));
            assert_eq!((event.body, event.attributes.get("pod")), (Some("plain text".into()), Some(&"p1".into())));
            assert_eq!(event.resource.get("job"), Some(&"api".into()));
            let (event, _) = split.event(1, 7).expect("reads");
            assert_eq!((event.severity, event.body), (17, Some("broken".into())));
            assert_eq!(event.time_ns, Some(1_700_000_000_000_000_005), "the push says when");
            assert!(split.event(2, 7).is_err());
        }
    }

    #[test]
    fn labels_are_read_as_loki_writes_them() {
        let read =
            |text: &str| labels(text).map(|labels| labels.into_iter().map(|(k, v)| k + "=" + &v).collect::<Vec<_>>());
        assert_eq!(read(r#"{a="b", c = "d\"e,}\n" ,}"#), Ok(vec!["a=b".to_owned(), "c=d\"e,}\n".to_owned()]));
        assert_eq!(read("{}"), Ok(Vec::new()));
        for broken in ["", "{", "a=\"b\"", "{a}", "{a=b}", "{a=\"b}", "{a=\"b\" c=\"d\"}"] {
            assert!(read(broken).is_err(), "{broken}");
        }
        let many: Vec<String> = (0..=LABELS_MAX).map(|n| format!("l{n}=\"x\"")).collect();
        assert_eq!(read(&format!("{{{}}}", many.join(","))), Err(TOO_MANY_LABELS));
    }

    #[test]
    fn what_is_no_push_is_refused_and_a_broken_entry_alone() {
        for (body, format) in
            [(&b"\xff"[..], Format::Protobuf), (b"{\"streams\":1}", Format::Json), (b"", Format::Json)]
        {
            assert!(Split::new(body, format).is_err(), "{body:?}");
        }
        let body = br#"{"streams":[{"stream":{},"values":[["x","l"],["1"],["1","l",7],["1","l",{},1],["1","l"],7]}]}"#;
        let split = Split::new(body, Format::Json).expect("splits");
        let read: Vec<bool> = (0..split.len()).map(|number| split.event(number, 0).is_ok()).collect();
        assert_eq!(read, [false, false, false, false, true, false]);
        assert_eq!(split.event(4, 0).expect("reads").0.stream, STREAM_DEFAULT);
        for labels in ["{broken", "\u{1}"] {
            let body = push(labels, &["l"]);
            let split = Split::new(&body, Format::Protobuf).expect("splits");
            assert!(split.event(0, 0).is_err_and(|why| why.contains("labels")), "{labels}");
        }
        let large = "x".repeat(INTAKE_EVENT_BYTES_MAX);
        let body = push("{}", &[&large]);
        let split = Split::new(&body, Format::Protobuf).expect("splits");
        assert!(split.event(0, 0).is_err_and(|why| why.contains("larger")));
        let long = format!("{{a=\"{}\"}}", "y".repeat(100 << 10));
        let body = push(&long, &["l"; 1_000]);
        assert!(Split::new(&body, Format::Protobuf).err().is_some_and(|why| why.contains("too often")));
        let map = format!("{{{}}}", (0..=LABELS_MAX).map(|n| format!("\"l{n}\":\"x\"")).collect::<Vec<_>>().join(","));
        let body = format!("{{\"streams\":[{{\"stream\":{map},\"values\":[[\"1\",\"l\"]]}}]}}");
        let split = Split::new(body.as_bytes(), Format::Json).expect("splits");
        assert!(split.event(0, 0).is_err());
    }

    #[test]
    fn a_bomb_is_refused_by_its_length() {
        let packed = snap::raw::Encoder::new().compress_vec(b"text").expect("packs");
        assert_eq!(unpack(&packed).as_deref(), Ok(&b"text"[..]));
        let bomb = snap::raw::Encoder::new().compress_vec(&vec![0; INTAKE_BODY_BYTES_MAX + 1]).expect("packs");
        assert_eq!(unpack(&bomb), Err("the body is too large when unpacked"));
        for noise in [&b""[..], b"\xff\xff\xff\xff\xff\xff", b"\x05ab"] {
            assert!(unpack(noise).is_err(), "{noise:?}");
        }
    }
}
