//! Records become rows: the Arrow batches of the hot buffer and of the data files.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Builder, Int64Builder, MapBuilder, MapFieldNames, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field};
use model::{Event, Position, Timestamp, Value};

use crate::columns::{DEDICATED, Holds, file_schema};
use crate::error::Error;

/// One event, taken apart into what the columns hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    pub(crate) position: i64,
    /// When it was admitted: whose day decides the partition.
    pub(crate) admitted_us: i64,
    ts_us: i64,
    observed_us: i64,
    stream: String,
    severity: i32,
    sector: &'static str,
    service: Option<String>,
    host: Option<String>,
    body: Option<String>,
    body_json: Option<String>,
    trace_id: Option<String>,
    span_id: Option<String>,
    dedicated: Vec<Option<String>>,
    attributes: BTreeMap<String, String>,
    resource: BTreeMap<String, String>,
    cleared: Option<String>,
}

impl Row {
    /// Takes an event apart. Structures below attributes and resource become dotted names; where two meet, the later
    /// in order of name stands.
    pub(crate) fn new(position: Position, admitted_at: Timestamp, event: &Event) -> Self {
        let mut attributes = BTreeMap::new();
        let mut resource = BTreeMap::new();
        event.attributes.iter().for_each(|(name, value)| flatten(&mut attributes, name.clone(), value));
        event.resource.iter().for_each(|(name, value)| flatten(&mut resource, name.clone(), value));
        let service = resource.remove("service.name");
        let host = resource.remove("host.name");
        let mut take = |field: &crate::columns::Dedicated| {
            let from = if field.resource { &mut resource } else { &mut attributes };
            if field.holds == Holds::Long && from.get(field.attribute)?.parse::<i64>().is_err() {
                return None;
            }
            from.remove(field.attribute)
        };
        let dedicated = DEDICATED.iter().map(&mut take).collect();
        let (body, body_json) = match &event.body {
            None | Some(Value::Null) => (None, None),
            Some(value @ (Value::Map(_) | Value::List(_))) => (None, Some(json(value))),
            Some(value) => (text(value), None),
        };
        Self {
            position: i64::try_from(position).unwrap_or(i64::MAX),
            admitted_us: admitted_at.as_microsecond(),
            ts_us: event.time_ns.unwrap_or(event.observed_ns).div_euclid(1_000),
            observed_us: event.observed_ns.div_euclid(1_000),
            stream: event.stream.clone(),
            severity: event.severity.into(),
            sector: event.sector.as_str(),
            service,
            host,
            body,
            body_json,
            trace_id: event.trace_id.clone(),
            span_id: event.span_id.clone(),
            dedicated,
            attributes,
            resource,
            cleared: event.cleared.as_ref().map(json),
        }
    }
}

fn json(value: &Value) -> String {
    serde_json::Value::from(value.clone()).to_string()
}

/// Returns a value as the text that stands in a column; `None` for nothing.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Text(text) => Some(text.clone()),
        Value::Bytes(_) => serde_json::Value::from(value.clone()).as_str().map(str::to_owned),
        value => Some(json(value)),
    }
}

fn flatten(out: &mut BTreeMap<String, String>, name: String, value: &Value) {
    match value {
        Value::Map(inner) if !inner.is_empty() => {
            inner.iter().for_each(|(below, value)| flatten(out, format!("{name}.{below}"), value));
        }
        value => {
            if let Some(text) = text(value) {
                out.insert(name, text);
            }
        }
    }
}

/// Makes one batch of rows, in the columns of a data file.
///
/// # Errors
/// Never, unless a column was declared that this function does not fill: a bug in us.
pub(crate) fn batch(rows: &[Row]) -> Result<RecordBatch, Error> {
    let texts = |of: &dyn Fn(&Row) -> Option<&str>| -> ArrayRef {
        let mut column = StringBuilder::with_capacity(rows.len(), rows.len() * 16);
        rows.iter().for_each(|row| column.append_option(of(row)));
        Arc::new(column.finish())
    };
    let longs = |of: &dyn Fn(&Row) -> Option<i64>| -> ArrayRef {
        let mut column = Int64Builder::with_capacity(rows.len());
        rows.iter().for_each(|row| column.append_option(of(row)));
        Arc::new(column.finish())
    };
    let times = |of: &dyn Fn(&Row) -> i64| -> ArrayRef {
        let mut column = TimestampMicrosecondBuilder::with_capacity(rows.len());
        rows.iter().for_each(|row| column.append_value(of(row)));
        Arc::new(column.finish().with_timezone("UTC"))
    };
    let mut severity = Int32Builder::with_capacity(rows.len());
    rows.iter().for_each(|row| severity.append_value(row.severity));
    let mut columns: Vec<ArrayRef> = vec![
        texts(&|row| Some(&row.stream)),
        times(&|row| row.ts_us),
        times(&|row| row.observed_us),
        longs(&|row| Some(row.position)),
        Arc::new(severity.finish()),
        texts(&|row| row.service.as_deref()),
        texts(&|row| row.host.as_deref()),
        texts(&|row| Some(row.sector)),
        texts(&|row| row.body.as_deref()),
        texts(&|row| row.body_json.as_deref()),
        texts(&|row| row.trace_id.as_deref()),
        texts(&|row| row.span_id.as_deref()),
    ];
    for (at, field) in DEDICATED.iter().enumerate() {
        let value = |row: &Row| row.dedicated.get(at).and_then(Option::as_deref).map(str::to_owned);
        columns.push(match field.holds {
            Holds::Long => longs(&|row| value(row)?.parse().ok()),
            _ => texts(&|row| row.dedicated.get(at).and_then(Option::as_deref)),
        });
    }
    columns.push(maps(rows, |row| &row.attributes)?);
    columns.push(maps(rows, |row| &row.resource)?);
    columns.push(texts(&|row| row.cleared.as_deref()));
    RecordBatch::try_new(file_schema(), columns).map_err(Error::arrow("make a batch of rows"))
}

fn maps(rows: &[Row], of: impl Fn(&Row) -> &BTreeMap<String, String>) -> Result<ArrayRef, Error> {
    let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut column = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
        .with_values_field(Field::new("value", DataType::Utf8, false));
    for row in rows {
        let map = of(row);
        for (name, value) in map {
            column.keys().append_value(name);
            column.values().append_value(value);
        }
        column.append(!map.is_empty()).map_err(Error::arrow("make a map of attributes"))?;
    }
    Ok(Arc::new(column.finish()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::columns::place;

    fn map(entries: &[(&str, Value)]) -> model::Map {
        entries.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[test]
    fn an_event_finds_its_columns() {
        let event = Event {
            stream: "web".into(),
            severity: 17,
            time_ns: Some(-1),
            observed_ns: 2_000,
            body: Some(Value::Map(map(&[("a", Value::U64(1))]))),
            attributes: map(&[
                ("http.response.status_code", Value::U64(503)),
                ("user", Value::Map(map(&[("id", "P7x".into()), ("none", Value::Null)]))),
                ("list", Value::List(vec![Value::Bool(true), Value::Null])),
                ("raw", Value::Bytes(vec![0xab])),
            ]),
            resource: map(&[("service", Value::Map(map(&[("name", "auth".into()), ("version", "2".into())])))]),
            ..Event::default()
        };
        let row = Row::new(9, Timestamp::UNIX_EPOCH, &event);
        assert_eq!((row.ts_us, row.observed_us, row.position), (-1, 2, 9));
        let odd = Event { attributes: map(&[("http.response.status_code", "teapot".into())]), ..event };
        let odd = Row::new(10, Timestamp::UNIX_EPOCH, &odd);
        assert_eq!(odd.attributes["http.response.status_code"], "teapot");
        let batch = batch(&[row, odd]).expect("a batch");
        let text = |name: &str, at: usize| {
            let column = batch.column(place(name)).as_string::<i32>();
            column.is_valid(at).then(|| column.value(at).to_owned())
        };
        assert_eq!(text("body", 0), None);
        assert_eq!(text("body_json", 0).as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(text("service", 0).as_deref(), Some("auth"));
        assert_eq!(text("user_id", 0).as_deref(), Some("P7x"));
        assert_eq!(text("service_version", 1).as_deref(), Some("2"));
        let status = batch.column(place("http_response_status_code")).as_primitive::<Int64Type>();
        assert_eq!((status.value(0), status.is_null(1)), (503, true));
        let attributes = batch.column(place("attributes")).as_map().value(0);
        let (keys, values) = (attributes.column(0).as_string::<i32>(), attributes.column(1).as_string::<i32>());
        let pairs: Vec<_> = keys.iter().flatten().zip(values.iter().flatten()).collect();
        assert_eq!(pairs, [("list", "[true,null]"), ("raw", "ab")]);
        assert!(batch.column(place("resource")).is_null(0));
    }
}
