//! CloudEvents in their three modes, and what is no CloudEvent.

use model::limits::VALUE_DEPTH_MAX;
use serde_json::json;

use super::*;

fn read(mode: &Mode, body: &[u8]) -> Result<Event, String> {
    let split = Split::new(body, mode)?;
    assert_eq!(split.len(), 1);
    split.event(0, "s", 7).map(|(event, _)| event)
}

fn structured(more: &serde_json::Value) -> Result<Event, String> {
    let mut all = json!({"specversion": "1.0", "id": "a-1", "source": "/shop", "type": "order.paid"});
    for (name, value) in more.as_object().expect("an object") {
        all[name] = value.clone();
    }
    read(&Mode::Structured, all.to_string().as_bytes())
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair =
        |(name, value): &(&'static str, &str)| (http::HeaderName::from_static(name), value.parse().expect("one"));
    pairs.iter().map(pair).collect()
}

const NEEDED: [(&str, &str); 4] =
    [("ce-specversion", "1.0"), ("ce-id", "a-1"), ("ce-source", "/shop"), ("ce-type", "order.paid")];

#[test]
fn a_structured_event_is_taken_apart() {
    let event = structured(&json!({
        "time": "2026-11-27T10:00:00.5Z", "subject": "42", "datacontenttype": "application/json", "severitynumber": 13,
        "sector": "commerce", "traceparent": "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", "partitionkey": 3,
        "dataschema": null, "data": {"n": 1},
    }))
    .expect("reads");
    assert_eq!(event.time_ns, Some(1_795_773_600_500_000_000));
    assert_eq!((event.severity, event.sector, event.observed_ns), (13, Sector::Ecommerce, 7));
    assert_eq!(event.trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    assert_eq!(event.span_id.as_deref(), Some("b7ad6b7169203331"));
    assert_eq!(event.body, Some(Value::from(json!({"n": 1}))));
    let wanted: Map = [
        ("cloudevents.datacontenttype", Value::from("application/json")),
        ("cloudevents.event_id", "a-1".into()),
        ("cloudevents.event_source", "/shop".into()),
        ("cloudevents.event_spec_version", "1.0".into()),
        ("cloudevents.event_subject", "42".into()),
        ("cloudevents.event_type", "order.paid".into()),
        ("cloudevents.partitionkey", Value::U64(3)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .collect();
    assert_eq!(event.attributes, wanted);
}

#[test]
fn data_is_what_its_content_type_says() {
    let base64 = |kind: serde_json::Value, text: &str| {
        structured(&json!({"datacontenttype": kind, "data_base64": text})).map(|event| event.body)
    };
    assert_eq!(base64(json!("application/vnd.x+JSON; a=b"), "eyJhIjoxfQ=="), Ok(Some(json!({"a": 1}).into())));
    assert_eq!(base64(json!("text/plain"), "aGk="), Ok(Some("hi".into())));
    assert_eq!(base64(json!(null), "/w=="), Ok(Some(Value::Bytes(vec![255]))));
    assert_eq!(structured(&json!({"data": "text"})).map(|event| event.body), Ok(Some("text".into())));
    assert_eq!(structured(&json!({"data": null})).map(|event| event.body), Ok(None));
    assert!(base64(json!("application/json"), "aGk=").expect_err("no JSON").contains("not JSON"));
}

#[test]
fn a_binary_event_has_its_attributes_in_headers() {
    let mut all = NEEDED.to_vec();
    all.extend([
        ("ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80%zz%2"),
        ("ce-note", r#""a \"b\" c%20d\\""#),
        ("ce-severitynumber", "17"),
        ("content-type", "application/json; charset=utf-8"),
        ("user-agent", "x"),
    ]);
    let mode = Mode::of(&headers(&all)).expect("known").expect("there");
    let event = read(&mode, br#"{"n":1}"#).expect("reads");
    assert_eq!(event.attributes.get("cloudevents.event_subject"), Some(&"Euro € 😀%zz%2".into()));
    assert_eq!(event.attributes.get("cloudevents.note"), Some(&r#"a "b" c d\"#.into()));
    assert_eq!(event.attributes.keys().count(), 7, "{:?}", event.attributes);
    assert_eq!((event.severity, event.body), (17, Some(json!({"n": 1}).into())));
    let plain = Mode::of(&headers(&NEEDED)).expect("known").expect("there");
    assert_eq!(read(&plain, b"").expect("reads").body, None);
    assert_eq!(read(&plain, b"hi").expect("reads").body, Some("hi".into()));
    assert!(read(&plain, &vec![b' '; INTAKE_EVENT_BYTES_MAX]).is_err(), "headers count too");
    assert!(read(&mode, b"no").is_err());

    let mut broken = headers(&NEEDED);
    broken.insert("ce-subject", HeaderValue::from_static("%FF"));
    assert!(read(&Mode::of(&broken).expect("known").expect("there"), b"").expect_err("none").contains("UTF-8"));
    let mut twice = headers(&NEEDED);
    twice.append("ce-id", HeaderValue::from_static("b"));
    assert!(read(&Mode::of(&twice).expect("known").expect("there"), b"").expect_err("none").contains("twice"));
    let mut odd = headers(&NEEDED);
    odd.insert(header::CONTENT_TYPE, HeaderValue::from_bytes(b"\xff").expect("opaque"));
    assert!(read(&Mode::of(&odd).expect("known").expect("there"), b"").is_err());
}

#[test]
fn modes_are_told_by_headers() {
    let of = |kind: &'static str| Mode::of(&headers(&[("content-type", kind)]));
    assert_eq!(of("Application/CloudEvents+JSON; charset=UTF-8"), Ok(Some(Mode::Structured)));
    assert_eq!(of("application/cloudevents-batch+json"), Ok(Some(Mode::Batch)));
    assert_eq!(of("application/cloudevents+avro"), Err(UnknownFormat));
    assert_eq!(of("application/json"), Ok(None));
    assert_eq!(Mode::of(&HeaderMap::new()), Ok(None));
}

#[test]
fn what_is_no_cloudevent_is_refused_with_a_reason() {
    let deep = format!("{}1{}", "[".repeat(VALUE_DEPTH_MAX + 1), "]".repeat(VALUE_DEPTH_MAX + 1));
    let deep: serde_json::Value = serde_json::from_str(&deep).expect("JSON");
    for (more, why) in [
        (json!({"id": ""}), "no id"),
        (json!({"id": 7}), "no id"),
        (json!({"source": null}), "no source"),
        (json!({"specversion": "0.3"}), "not 1.0"),
        (json!({"time": "1601-01-01T00:00:00Z"}), "1678"),
        (json!({"time": "9999-12-31T23:59:59Z"}), "1678"),
        (json!({"time": "yesterday"}), "RFC 3339"),
        (json!({"time": 5}), "RFC 3339"),
        (json!({"Upper": "a"}), "name of an attribute"),
        (json!({"": "a"}), "name of an attribute"),
        (json!({"a": 1.5}), "32 bits"),
        (json!({"a": [1]}), "32 bits"),
        (json!({"a": {"b": 1}}), "32 bits"),
        (json!({"a": 2_147_483_648_u64}), "32 bits"),
        (json!({"a": -2_147_483_649_i64}), "32 bits"),
        (json!({"a": u64::MAX}), "32 bits"),
        (json!({"data": 1, "data_base64": "aGk="}), "both"),
        (json!({"data_base64": "?"}), "no base64"),
        (json!({"data_base64": 7}), "no text"),
        (json!({"data": deep}), "nests deeper"),
    ] {
        let refused = structured(&more).expect_err("is none");
        assert!(refused.contains(why), "{more}: {refused}");
    }
    for body in [&b"noise"[..], b"[]", b"{}", b"\xff", b""] {
        assert!(read(&Mode::Structured, body).is_err());
    }
}

#[test]
fn extensions_that_are_not_understood_stay() {
    let event = structured(&json!({
        "traceparent": "00-00000000000000000000000000000000-b7ad6b7169203331-01", "severitytext": "loud",
        "severitynumber": 25, "sector": "other", "flag": true, "low": -5,
    }))
    .expect("reads");
    assert_eq!((event.severity, event.trace_id), (0, None));
    for name in ["traceparent", "severitytext", "severitynumber", "sector", "flag", "low"] {
        assert!(event.attributes.get(&format!("cloudevents.{name}")).is_some(), "{name}");
    }
    let event = structured(&json!({"severitytext": "WARN", "traceparent": "x"})).expect("reads");
    assert_eq!((event.severity, event.attributes.get("cloudevents.severitytext")), (13, None));
}

#[test]
fn a_batch_is_read_item_by_item() {
    let body = br#"[{"specversion":"1.0","id":"1","source":"s","type":"t"},7,{"id":"2"}]"#;
    let split = Split::new(body, &Mode::Batch).expect("a batch");
    let read: Vec<bool> = (0..=split.len()).map(|number| split.event(number, "s", 7).is_ok()).collect();
    assert_eq!(read, [true, false, false, false]);
    assert_eq!(Split::new(b"[]", &Mode::Batch).map(|split| split.len()), Ok(0));
    for body in ["{}".to_owned(), "[1".into(), format!("[{}1]", "1,".repeat(INTAKE_ITEMS_MAX))] {
        assert!(Split::new(body.as_bytes(), &Mode::Batch).is_err());
    }
}
