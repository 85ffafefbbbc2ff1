//! Audit events as hospital software writes them, and what is none.

use std::sync::Arc;

use bytes::Bytes;
use model::limits::INTAKE_EVENT_BYTES_MAX;
use model::{SourceId, StepClock, Tenant};
use serde_json::{Value as Json, json};

use super::*;
use crate::admission::tests::Door;
use crate::{Call, Encoding, Receiver};

/// A nurse reads a record, and another person's is named in it.
fn read_of(patient: &str) -> Json {
    json!({
        "resourceType": "AuditEvent",
        "id": "example-rest",
        "meta": {"profile": ["http://example.org/p"]},
        "text": {"status": "generated", "div": "<div>Mme Planted</div>"},
        "contained": [{"resourceType": "Patient", "id": "p", "name": [{"family": "Planted"}],
                       "identifier": [{"system": "urn:ins", "value": "1234"}]}],
        "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-event-type", "code": "rest"},
        "subtype": [{"system": "http://hl7.org/fhir/restful-interaction", "code": "vread"}],
        "action": "R",
        "recorded": "2026-11-28T09:30:00.5+01:00",
        "outcome": "8",
        "outcomeDesc": "refused for ana@example.org",
        "agent": [
            {"who": {"reference": "Practitioner/17", "display": "Anne Planted"}, "altId": "aplanted", "requestor": true,
             "network": {"address": "203.0.113.77", "type": "2"}},
            {"who": {"reference": "Patient/42"}, "requestor": false},
        ],
        "source": {"site": "Cloud", "observer": {"reference": "Device/his", "display": "his.example.org"}},
        "entity": [
            {"what": {"reference": patient, "display": "M. Planted"}, "role": {"code": "1"}, "type": {"code": "1"}},
            {"what": {"reference": "Patient/42/_history/3"}},
            {"what": {"reference": "#p"}},
            {"what": {"type": "Patient", "identifier": {"system": "urn:ins", "value": "5678"}}},
            {"what": {"reference": "Observation/9"}, "query": "UGF0aWVudD9uYW1lPWFuYQ==",
             "detail": [{"type": "t", "valueBase64Binary": "/w=="}]},
        ],
    })
}

fn read(resource: &Json) -> Result<Event, Issue> {
    let body = resource.to_string();
    let split = Split::new(body.as_bytes())?;
    split.event(0, "fhir-audit", 7).map(|(event, _)| event)
}

fn plain(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => json!(value),
        Value::U64(value) => json!(value),
        Value::I64(value) => json!(value),
        Value::F64(value) => json!(value),
        Value::Text(value) => json!(value),
        Value::Bytes(value) => json!(value),
        Value::List(items) => items.iter().map(plain).collect(),
        Value::Map(map) => Json::Object(map.iter().map(|(name, value)| (name.to_owned(), plain(value))).collect()),
    }
}

/// Returns what stands at a path in the attributes, as JSON.
fn at(event: &Event, path: &str) -> Json {
    let json = plain(&Value::Map(event.attributes.clone()));
    json.pointer(path).cloned().unwrap_or(Json::Null)
}

#[test]
fn an_audit_event_keeps_fhirs_names_and_sets_patients_apart() {
    let event = read(&read_of("https://his.example.org/fhir/Patient/41")).expect("is one");
    assert_eq!((event.stream.as_str(), event.sector, event.severity), ("fhir-audit", Sector::Health, 17));
    assert_eq!((event.time_ns, event.observed_ns), (Some(1_795_854_600_500_000_000), 7));
    assert_eq!(event.body, Some("refused for ana@example.org".into()), "free text is the body, where it is cleared");
    assert_eq!(event.resource.get("service.name"), Some(&"his.example.org".into()));
    let patients = ["Patient/42", "https://his.example.org/fhir/Patient/41", "urn:ins|1234", "urn:ins|5678"];
    assert_eq!(at(&event, "/fhir/patient"), json!(patients));
    assert_eq!(at(&event, "/fhir/agent/0/who"), json!({"reference": "Practitioner/17", "display": "Anne Planted"}));
    assert_eq!(at(&event, "/fhir/agent/1"), json!({"patient": 0, "requestor": false}));
    assert_eq!(at(&event, "/fhir/entity/0/patient"), 1);
    assert_eq!(at(&event, "/fhir/entity/0/patient_name"), "M. Planted");
    assert_eq!(at(&event, "/fhir/entity/1"), json!({"patient": 0}), "a version of a record is of the same person");
    assert_eq!(
        (at(&event, "/fhir/entity/2"), at(&event, "/fhir/entity/3")),
        (json!({"patient": 2}), json!({"patient": 3}))
    );
    assert_eq!(at(&event, "/fhir/entity/4/query"), "Patient?name=ana");
    for kept in ["/fhir/type/code", "/fhir/subtype/0/code", "/fhir/action", "/fhir/outcome", "/fhir/id"] {
        assert_ne!(at(&event, kept), Json::Null, "{kept}");
    }
    for gone in ["text", "contained", "meta", "recorded", "resourceType", "outcomeDesc"] {
        assert_eq!(at(&event, &format!("/fhir/{gone}")), Json::Null, "{gone}");
    }
}

#[test]
fn observers_that_are_persons_name_no_service() {
    let mut resource = read_of("Patient/1");
    let contained = resource["contained"].as_array_mut().expect("a list");
    contained.push(json!({"resourceType": "Device", "id": "d"}));
    for (observer, service) in [
        (json!({"reference": "Practitioner/1", "display": "Anne"}), None),
        (json!({"type": "Patient", "identifier": {"value": "1"}}), None),
        (json!({"reference": "Organization/3"}), Some("Organization/3")),
        (json!({"type": "http://hl7.org/fhir/StructureDefinition/Device", "display": "his"}), Some("his")),
        (json!({"type": "Device", "identifier": {"value": "his-7"}}), Some("his-7")),
        (
            json!({"reference": "https://his.example.org/fhir/Device/7/_history/2"}),
            Some("https://his.example.org/fhir/Device/7"),
        ),
        (json!({"reference": "#d", "display": "his"}), Some("his")),
        (json!({"reference": "#p", "display": "Anne"}), None),
        (json!({"reference": "Practitioner/1", "type": "Device", "display": "Anne"}), None),
        // Nothing says what these are, so they may be persons.
        (json!({"display": "Anne Planted"}), None),
        (json!({"identifier": {"value": "his-7"}}), None),
        (json!({"reference": "urn:uuid:5d1b", "display": "Anne Planted"}), None),
    ] {
        resource["source"]["observer"] = observer.clone();
        let event = read(&resource).expect("is one");
        assert_eq!(event.resource.get("service.name").cloned(), service.map(model::Value::from), "{observer}");
        let (person, kept) = (at(&event, "/fhir/source/person_name"), at(&event, "/fhir/source/observer/display"));
        let display = observer.get("display").cloned().unwrap_or(Json::Null);
        let expected = if service.is_some() { (Json::Null, display) } else { (display, Json::Null) };
        assert_eq!((person, kept), expected, "under a name by which it is known for a person's: {observer}");
    }
}

#[test]
fn what_is_no_audit_event_is_refused_with_where_and_why() {
    let changed = |path: &str, value: Json| {
        let mut resource = read_of("Patient/1");
        *resource.pointer_mut(path).expect("is there") = value;
        read(&resource).expect_err(path)
    };
    for (path, value, at, code) in [
        ("/recorded", json!("1601-01-01T00:00:00Z"), "AuditEvent.recorded", "value"),
        ("/recorded", json!("9999-12-31T23:59:59Z"), "AuditEvent.recorded", "value"),
        ("/recorded", json!("2026-11-28"), "AuditEvent.recorded", "value"),
        ("/recorded", json!(1_795_854_600), "AuditEvent.recorded", "value"),
        ("/type", json!("rest"), "AuditEvent.type", "value"),
        ("/action", json!("X"), "AuditEvent.action", "code-invalid"),
        ("/action", json!(["R"]), "AuditEvent.action", "code-invalid"),
        ("/outcome", json!(8), "AuditEvent.outcome", "code-invalid"),
        ("/outcomeDesc", json!({}), "AuditEvent.outcomeDesc", "value"),
        ("/agent", json!([]), "AuditEvent.agent", "required"),
        ("/agent", json!({"requestor": true}), "AuditEvent.agent", "structure"),
        ("/agent/0/requestor", json!("yes"), "AuditEvent.agent.requestor", "required"),
        ("/agent/0/who", json!("Practitioner/1"), "AuditEvent.agent.who", "structure"),
        ("/agent/0/who/reference", json!(1), "AuditEvent.agent.who", "structure"),
        ("/subtype", json!([1]), "AuditEvent.subtype", "structure"),
        ("/source", json!({}), "AuditEvent.source.observer", "required"),
        ("/source", json!([]), "AuditEvent.source", "value"),
        ("/entity/4", json!({"name": "a", "query": "YQ=="}), "AuditEvent.entity", "invariant"),
        ("/entity", json!("x"), "AuditEvent.entity", "structure"),
    ] {
        let issue = changed(path, value);
        assert_eq!((issue.at, issue.code), (at, code), "{path}: {}", issue.text);
        assert!(!issue.text.is_empty());
    }
    for missing in ["type", "recorded", "agent", "source"] {
        let mut resource = read_of("Patient/1");
        resource.as_object_mut().expect("an object").remove(missing);
        assert_eq!(read(&resource).expect_err(missing).code, "required", "{missing}");
    }
    let mut deep = json!(1);
    for _ in 0..40 {
        deep = json!([deep]);
    }
    assert_eq!(changed("/meta", deep).code, "structure");
    assert_eq!(changed("/id", json!("x".repeat(INTAKE_EVENT_BYTES_MAX))).code, "too-long");
    for body in
        ["", "[]", "{", "{\"resourceType\":7}", "{\"resourceType\":\"Patient\"}", "{\"resourceType\":\"Bundle\"}"]
    {
        assert!(Split::new(body.as_bytes()).is_err(), "{body}");
    }
    assert!(Split::new(b"{\"resourceType\":\"AuditEvent\xff\"}").is_err());
}

fn receiver(room: usize) -> (Receiver, Arc<Door>) {
    let door = Door::new(room);
    let clock = Arc::new(StepClock::new(Timestamp::from_second(1_700_000_000).expect("in range")));
    (Receiver::new(door.clone(), clock), door)
}

async fn sent(receiver: &Receiver, body: &Json) -> Answer {
    let body = Bytes::from(body.to_string());
    let call = Call { tenant: Tenant::default(), source: SourceId([1; 16]), encoding: Encoding::Identity, body };
    receiver.audit_events(call, STREAM_DEFAULT).await
}

fn bundle(kind: &str, resources: &[Json]) -> Json {
    let request = json!({"method": "POST", "url": "AuditEvent"});
    let entries: Vec<Json> = resources.iter().map(|of| json!({"resource": of, "request": request})).collect();
    json!({"resourceType": "Bundle", "type": kind, "entry": entries})
}

#[tokio::test]
async fn one_is_created_and_says_where() {
    let (receiver, door) = receiver(1);
    let answer = sent(&receiver, &read_of("Patient/1")).await;
    assert_eq!((answer.status, answer.location.as_deref()), (201, Some("AuditEvent/0/_history/1")));
    assert_eq!(answer.body["issue"][0]["severity"], "information");
    let full = sent(&receiver, &read_of("Patient/1")).await;
    assert_eq!((full.status, full.retry_after, &full.body["issue"][0]["code"]), (429, Some(2), &json!("throttled")));
    let wrong = sent(&receiver, &json!({"resourceType": "AuditEvent"})).await;
    assert_eq!((wrong.status, &wrong.body["issue"][0]["expression"]), (400, &json!(["AuditEvent.type"])));
    assert_eq!(sent(&receiver, &json!({"resourceType": "Patient"})).await.status, 400);
    assert_eq!(door.events().len(), 1);
    let broken = Call {
        tenant: Tenant::default(),
        source: SourceId([1; 16]),
        encoding: Encoding::Gzip,
        body: Bytes::from_static(b"text"),
    };
    assert_eq!(receiver.audit_events(broken, STREAM_DEFAULT).await.status, 400);
}

#[tokio::test]
async fn of_a_batch_each_is_told_and_a_transaction_is_all_or_none() {
    let (receiver, door) = receiver(3);
    let patient = json!({"resourceType": "Patient", "name": [{"family": "Planted"}]});
    let resources = [read_of("Patient/1"), patient, json!(7), read_of("Patient/2")];
    let refused = sent(&receiver, &bundle("transaction", &resources)).await;
    assert_eq!((refused.status, refused.body["issue"].as_array().map(Vec::len)), (400, Some(2)));
    assert_eq!(refused.body["issue"][0]["expression"], json!(["Bundle.entry[1].resourceType"]));
    assert!(door.events().is_empty());
    let mut batch = bundle("batch", &resources);
    batch["entry"].as_array_mut().expect("a list").extend([
        json!({"request": {"method": "DELETE", "url": "AuditEvent/1"}}),
        json!({"fullUrl": "urn:uuid:1"}),
        json!("noise"),
    ]);
    let taken = sent(&receiver, &batch).await;
    assert_eq!((taken.status, &taken.body["type"]), (200, &json!("batch-response")));
    let of = |number: usize| {
        let status = taken.body["entry"][number]["response"]["status"].as_str().unwrap_or_default();
        status.split(' ').next().unwrap_or_default().to_owned()
    };
    assert_eq!((0..7).map(of).collect::<Vec<_>>(), ["201", "400", "400", "201", "400", "400", "400"]);
    assert_eq!(taken.body["entry"][3]["response"]["location"], "AuditEvent/1/_history/1");
    assert_eq!(door.events().len(), 2);
    let two = [read_of("Patient/3"), read_of("Patient/4")];
    assert_eq!(sent(&receiver, &bundle("transaction", &two)).await.status, 429, "there is room for one alone");
    assert_eq!(sent(&receiver, &bundle("transaction", &two[..1])).await.body["type"], "transaction-response");
    assert_eq!(sent(&receiver, &bundle("collection", &two)).await.status, 429);
    assert_eq!(sent(&receiver, &bundle("batch", &[])).await.status, 200);
    for kind in ["searchset", "message", ""] {
        assert_eq!(sent(&receiver, &bundle(kind, &two)).await.body["issue"][0]["expression"], json!(["Bundle.type"]));
    }
    let many = vec![json!({}); INTAKE_GROUP_EVENTS_MAX + 1];
    assert_eq!(sent(&receiver, &bundle("transaction", &many)).await.status, 413);
}

#[test]
fn statuses_have_their_codes_and_the_server_says_what_it_can() {
    for (status, code) in [
        (401, "login"),
        (403, "forbidden"),
        (413, "too-long"),
        (415, "not-supported"),
        (429, "throttled"),
        (500, "exception"),
        (503, "transient"),
        (400, "structure"),
    ] {
        assert_eq!(outcome(status, "x")["issue"][0]["code"], code);
    }
    assert_eq!(capability_statement()["fhirVersion"], "4.0.1");
}
