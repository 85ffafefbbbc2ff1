//! Events: log lines and business events, in OpenTelemetry's model of a log record plus stream and sector.

use crate::map::Map;
use crate::schema::{Kind, SchemaError};
use crate::sector::Sector;
use crate::value::Value;

/// A log line or a business event, whatever protocol brought it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// Which stream it belongs to: what policies, retention and queries go by.
    pub stream: String,
    /// The sector concerned.
    pub sector: Sector,
    /// How grave, in OpenTelemetry's numbers: 1 trace, 5 debug, 9 info, 13 warning, 17 error, 21 fatal; 0 unsaid.
    pub severity: u8,
    /// When it happened by its sender's clock, in nanoseconds since 1970.
    pub time_ns: Option<i64>,
    /// When it reached us, in nanoseconds since 1970.
    pub observed_ns: i64,
    /// What it says: text, or a structure.
    pub body: Option<Value>,
    /// What its sender says of it.
    pub attributes: Map,
    /// What its sender says of itself.
    pub resource: Map,
    /// The trace it belongs to, 32 hexadecimal digits.
    pub trace_id: Option<String>,
    /// The span it belongs to, 16 hexadecimal digits.
    pub span_id: Option<String>,
    /// What privacy did to it: counts by type, the version of the rules, the hash of the policy. Set by privacy alone.
    pub cleared: Option<Value>,
}

/// The numbers of an event's fields, as in the table of its kind.
pub mod field {
    #![expect(missing_docs, reason = "the names are those of the fields")]
    pub const SEVERITY: u16 = 1;
    pub const SECTOR: u16 = 2;
    pub const STREAM: u16 = 3;
    pub const TIME_NS: u16 = 4;
    pub const OBSERVED_NS: u16 = 5;
    pub const BODY: u16 = 6;
    pub const ATTRIBUTES: u16 = 7;
    pub const RESOURCE: u16 = 8;
    pub const TRACE_ID: u16 = 9;
    pub const SPAN_ID: u16 = 10;
    pub const CLEARED: u16 = 11;
}

impl Event {
    /// Returns the fields that its kind declares, ascending; what is absent or empty has none. By hand: events come in
    /// bulk, and a detour over JSON would cost more than all the rest.
    #[must_use]
    pub fn into_fields(self) -> Vec<(u16, Value)> {
        let map = |map: Map| (!map.is_empty()).then_some(Value::Map(map));
        let fields = [
            (field::SEVERITY, Some(Value::U64(self.severity.into()))),
            (field::SECTOR, Some(Value::from(self.sector.as_str()))),
            (field::STREAM, Some(Value::Text(self.stream))),
            (field::TIME_NS, self.time_ns.map(Value::I64)),
            (field::OBSERVED_NS, Some(Value::I64(self.observed_ns))),
            (field::BODY, self.body),
            (field::ATTRIBUTES, map(self.attributes)),
            (field::RESOURCE, map(self.resource)),
            (field::TRACE_ID, self.trace_id.map(Value::Text)),
            (field::SPAN_ID, self.span_id.map(Value::Text)),
            (field::CLEARED, self.cleared),
        ];
        fields.into_iter().filter_map(|(id, value)| Some((id, value.filter(|value| *value != Value::Null)?))).collect()
    }

    /// Reads what [`Self::into_fields`] gave; fields that it does not know are passed over.
    ///
    /// # Errors
    /// When a field is of another type than its own, or the stream is missing.
    pub fn from_fields(fields: &[(u16, Value)]) -> Result<Self, SchemaError> {
        let wrong = |field| SchemaError::Field { kind: Kind::Event, field };
        let mut event = Self::default();
        let text = |value: &Value, name| match value {
            Value::Text(text) => Ok(text.clone()),
            _ => Err(wrong(name)),
        };
        let whole = |value: &Value, name| match value {
            Value::I64(number) => Ok(*number),
            Value::U64(number) => i64::try_from(*number).map_err(|_| wrong(name)),
            _ => Err(wrong(name)),
        };
        let map = |value: &Value, name| match value {
            Value::Map(map) => Ok(map.clone()),
            _ => Err(wrong(name)),
        };
        for (id, value) in fields {
            match *id {
                field::SEVERITY => {
                    event.severity = u8::try_from(whole(value, "severity")?).map_err(|_| wrong("severity"))?;
                }
                field::SECTOR => event.sector = text(value, "sector")?.parse().map_err(|_| wrong("sector"))?,
                field::STREAM => event.stream = text(value, "stream")?,
                field::TIME_NS => event.time_ns = Some(whole(value, "time_ns")?),
                field::OBSERVED_NS => event.observed_ns = whole(value, "observed_ns")?,
                field::BODY => event.body = Some(value.clone()),
                field::ATTRIBUTES => event.attributes = map(value, "attributes")?,
                field::RESOURCE => event.resource = map(value, "resource")?,
                field::TRACE_ID => event.trace_id = Some(text(value, "trace_id")?),
                field::SPAN_ID => event.span_id = Some(text(value, "span_id")?),
                field::CLEARED => event.cleared = Some(value.clone()),
                _ => {}
            }
        }
        if event.stream.is_empty() { Err(wrong("stream")) } else { Ok(event) }
    }
}

/// Reads a level as programs write it, into OpenTelemetry's numbers; `None` for a word that is none.
#[must_use]
pub fn severity_of(text: &str) -> Option<u8> {
    let word = text.trim();
    let is = |words: &[&str]| words.iter().any(|known| word.eq_ignore_ascii_case(known));
    Some(if is(&["trace", "verbose", "finest", "finer"]) {
        1
    } else if is(&["debug", "fine", "dbg"]) {
        5
    } else if is(&["info", "information", "informational", "config", "ok", "i"]) {
        9
    } else if is(&["notice", "success"]) {
        10
    } else if is(&["warn", "warning", "w"]) {
        13
    } else if is(&["error", "err", "severe", "e"]) {
        17
    } else if is(&["critical", "crit", "alert"]) {
        21
    } else if is(&["fatal", "emergency", "emerg", "panic", "f"]) {
        24
    } else {
        return None;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Event {
        Event {
            stream: "shop".into(),
            sector: Sector::Ecommerce,
            severity: 17,
            time_ns: Some(-5),
            observed_ns: 1_700_000_000_000_000_000,
            body: Some("text".into()),
            attributes: [("a".to_owned(), Value::Bytes(vec![1, 2]))].into(),
            resource: [("b".to_owned(), Value::F64(0.5))].into(),
            trace_id: Some("0af7651916cd43dd8448eb211c80319c".into()),
            span_id: Some("b7ad6b7169203331".into()),
            cleared: Some(Value::Map([("rules".to_owned(), Value::U64(2))].into())),
        }
    }

    #[test]
    fn an_event_survives_its_fields() {
        let least = Event { stream: "s".into(), ..Event::default() };
        for event in [full(), least] {
            let fields = event.clone().into_fields();
            assert!(fields.windows(2).all(|pair| pair[0].0 < pair[1].0));
            assert!(fields.iter().all(|(id, _)| Kind::Event.fields().iter().any(|field| field.id == *id)));
            assert_eq!(Event::from_fields(&fields).expect("reads"), event);
        }
        assert_eq!(full().into_fields().len(), Kind::Event.fields().len());
        let mut more = full().into_fields();
        more.push((99, Value::Null));
        assert_eq!(Event::from_fields(&more).expect("what is new is passed over"), full());
    }

    #[test]
    fn fields_of_another_type_are_refused_by_name() {
        assert!(Event::from_fields(&[]).is_err(), "no stream");
        for (id, name) in [(1, "severity"), (2, "sector"), (3, "stream"), (4, "time_ns"), (5, "observed_ns")] {
            for value in [Value::F64(0.5), Value::Text(String::new())] {
                let fields = [(id, value)];
                if let Err(error) = Event::from_fields(&fields) {
                    assert!(error.to_string().contains(name) || error.to_string().contains("stream"), "{error}");
                }
            }
        }
        for id in 6..=10 {
            let fields = [(3, Value::from("s")), (id, Value::Bool(true))];
            assert_eq!(Event::from_fields(&fields).is_ok(), id == 6, "{id}");
        }
        assert!(Event::from_fields(&[(3, "s".into()), (1, Value::U64(300))]).is_err());
        assert!(Event::from_fields(&[(3, "s".into()), (4, Value::U64(u64::MAX))]).is_err());
    }

    #[test]
    fn levels_are_read_as_programs_write_them() {
        for (text, number) in [("TRACE", 1), ("Debug", 5), (" info ", 9), ("notice", 10), ("WARN", 13), ("err", 17)] {
            assert_eq!(severity_of(text), Some(number), "{text}");
        }
        for (text, number) in [("crit", Some(21)), ("FATAL", Some(24)), ("", None), ("loud", None)] {
            assert_eq!(severity_of(text), number, "{text}");
        }
    }
}
