//! FHIR R4 `AuditEvent`s, one or a `Bundle` of them: who did what to whose record, as hospital software says it.
//!
//! What happened stays under FHIR's own names, below the attribute `fhir`. Persons are set apart: patients stand in
//! `fhir.patient`, wherever they were named, so that a policy can say whose the event is with one path.

mod answer;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use model::limits::{INTAKE_GROUP_BYTES_MAX, INTAKE_GROUP_EVENTS_MAX, INTAKE_ITEMS_MAX};
use model::{Event, Map, Sector, Value};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{document, events};

pub use answer::{Answer, MEDIA_TYPE, capability_statement, outcome};
pub(crate) use answer::{answer, refused};

/// The stream of audit events for which none is named.
pub const STREAM_DEFAULT: &str = "fhir-audit";
/// The attribute below which an audit event stands.
const ROOT: &str = "fhir";
/// The only resource that is taken.
const AUDIT_EVENT: &str = "AuditEvent";
/// Kinds of persons whose records are kept: patients, and those who act for them.
const PATIENTS: [&str; 2] = ["Patient", "RelatedPerson"];
/// Elements that are left out: what says the same for human eyes, and whole records of others.
const LEFT_OUT: [&str; 5] = ["resourceType", "text", "contained", "meta", "implicitRules"];

/// Why a resource cannot be taken, as an `OperationOutcome` says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issue {
    /// A code of FHIR's value set `issue-type`.
    pub(crate) code: &'static str,
    /// What is wrong, without what was sent.
    pub(crate) text: Cow<'static, str>,
    /// Where, as FHIRPath names it; empty for the whole.
    pub(crate) at: &'static str,
}

impl Issue {
    fn new(code: &'static str, at: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, at, text: text.into() }
    }
}

/// How a request is to be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One resource is created.
    Create,
    /// Each by itself.
    Batch,
    /// All or none.
    Transaction,
}

/// The resources of a request.
pub(crate) struct Split<'a> {
    pub(crate) mode: Mode,
    items: Vec<&'a [u8]>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "resourceType", borrow)]
    kind: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Bundle<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    entry: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    request: Option<Request>,
}

#[derive(Deserialize)]
struct Request {
    method: Option<String>,
    url: Option<String>,
}

impl<'a> Split<'a> {
    /// Finds the resources of a body.
    pub(crate) fn new(body: &'a [u8]) -> Result<Self, Issue> {
        let unread = || Issue::new("structure", "", "the body is no FHIR resource in JSON");
        let head: Head<'_> = serde_json::from_slice(body).map_err(|_| unread())?;
        match head.kind.as_deref() {
            Some("Bundle") => {}
            Some(AUDIT_EVENT) => return Ok(Self { mode: Mode::Create, items: vec![body] }),
            _ => return Err(Issue::new("not-supported", "", "expected an AuditEvent, or a Bundle of them")),
        }
        let bundle: Bundle<'_> = serde_json::from_slice(body).map_err(|_| unread())?;
        let mode = match bundle.kind.as_deref() {
            Some("batch" | "collection") => Mode::Batch,
            Some("transaction") => Mode::Transaction,
            _ => return Err(Issue::new("value", "Bundle.type", "expected batch, transaction or collection")),
        };
        let items: Vec<&[u8]> =
            bundle.entry.unwrap_or_default().into_iter().map(|entry| entry.get().as_bytes()).collect();
        if items.len() > INTAKE_ITEMS_MAX {
            return Err(Issue::new("too-long", "Bundle.entry", "the bundle holds more entries than one request may"));
        }
        let is_large = items.len() > INTAKE_GROUP_EVENTS_MAX || body.len() > INTAKE_GROUP_BYTES_MAX;
        if mode == Mode::Transaction && is_large {
            let text = "expected at most 1024 entries and 2 MiB in a transaction: send the rest as a batch";
            return Err(Issue::new("too-long", "Bundle.entry", text));
        }
        Ok(Self { mode, items })
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Reads the audit event with a number, and says how many bytes it took.
    pub(crate) fn event(&self, number: usize, stream: &str, observed_ns: i64) -> Result<(Event, usize), Issue> {
        let bytes = self.resource(number)?;
        let bytes = events::document(bytes, 0..bytes.len()).map_err(|why| Issue::new("too-long", "", why))?;
        let resource = document::read(bytes).map_err(|unread| Issue::new("structure", "", unread.to_string()))?;
        Ok((event(resource, stream, observed_ns)?, bytes.len()))
    }

    fn resource(&self, number: usize) -> Result<&'a [u8], Issue> {
        let bytes = self.items.get(number).copied().unwrap_or_default();
        if self.mode == Mode::Create {
            return Ok(bytes);
        }
        let entry: Entry<'_> = serde_json::from_slice(bytes)
            .map_err(|_| Issue::new("structure", "", "expected an object with a resource and a request"))?;
        if let Some(request) = entry.request {
            let url = request.url.as_deref().unwrap_or(AUDIT_EVENT).trim_matches('/');
            if request.method.as_deref().unwrap_or("POST") != "POST" || url != AUDIT_EVENT {
                return Err(Issue::new(
                    "not-supported",
                    "request",
                    "expected POST AuditEvent: nothing else can be done",
                ));
            }
        }
        entry.resource.map(|resource| resource.get().as_bytes()).ok_or_else(|| required("resource"))
    }
}

fn required(at: &'static str) -> Issue {
    Issue::new("required", at, "the element is required")
}

fn wrong(at: &'static str, text: &'static str) -> Issue {
    Issue::new("value", at, text)
}

/// Makes the event of an audit event.
fn event(mut resource: Map, stream: &str, observed_ns: i64) -> Result<Event, Issue> {
    if resource.get("resourceType") != Some(&Value::Text(AUDIT_EVENT.into())) {
        return Err(Issue::new("not-supported", "resourceType", "expected an AuditEvent"));
    }
    check(&resource)?;
    let time_ns = match resource.remove("recorded") {
        Some(Value::Text(text)) => instant(&text),
        _ => None,
    };
    let time_ns = time_ns.ok_or_else(|| {
        wrong("AuditEvent.recorded", "expected an instant with a zone, such as 2026-11-28T09:30:00Z, from 1678 to 2261")
    })?;
    let severity = match text(&resource, "outcome") {
        Some("4") => 13,
        Some("8") => 17,
        Some("12") => 21,
        _ => 9,
    };
    let body = match resource.get("outcomeDesc") {
        Some(Value::Text(_)) => resource.remove("outcomeDesc"),
        _ => None,
    };
    let mut persons = Persons { patients: Vec::new(), contained: contained(&resource) };
    persons.set_apart(&mut resource, "agent", "who");
    persons.set_apart(&mut resource, "entity", "what");
    let observer = observer(&mut resource, &persons.contained);
    unpack(&mut resource);
    for name in LEFT_OUT {
        resource.remove(name);
    }
    if !persons.patients.is_empty() {
        let patients = persons.patients.into_iter().map(Value::Text).collect();
        resource.insert("patient".to_owned(), Value::List(patients));
    }
    let service = observer.map(|name| ("service.name".to_owned(), Value::Text(name)));
    Ok(Event {
        stream: stream.to_owned(),
        sector: Sector::Health,
        severity,
        time_ns: Some(time_ns),
        observed_ns,
        body,
        attributes: std::iter::once((ROOT.to_owned(), Value::Map(resource))).collect(),
        resource: service.into_iter().collect(),
        ..Event::default()
    })
}

/// Holds a resource against what R4 asks of it.
fn check(resource: &Map) -> Result<(), Issue> {
    match resource.get("type") {
        Some(Value::Map(coding)) if ["code", "system", "display"].iter().any(|of| text(coding, of).is_some()) => {}
        // R5 has `code` and `category` in its place.
        None => return Err(Issue::new("required", "AuditEvent.type", "the element is required: R4 is read, not R5")),
        Some(_) => return Err(wrong("AuditEvent.type", "expected a Coding")),
    }
    if !resource.contains_key("recorded") {
        return Err(required("AuditEvent.recorded"));
    }
    one_of(resource, "action", "AuditEvent.action", &["C", "R", "U", "D", "E"], "expected C, R, U, D or E")?;
    one_of(resource, "outcome", "AuditEvent.outcome", &["0", "4", "8", "12"], "expected the text 0, 4, 8 or 12")?;
    if resource.get("outcomeDesc").is_some_and(|value| !matches!(value, Value::Text(_))) {
        return Err(wrong("AuditEvent.outcomeDesc", "expected a text"));
    }
    let agents = objects(resource, "agent", "AuditEvent.agent")?;
    if agents.is_empty() {
        return Err(required("AuditEvent.agent"));
    }
    for agent in agents {
        if !matches!(agent.get("requestor"), Some(Value::Bool(_))) {
            return Err(Issue::new("required", "AuditEvent.agent.requestor", "expected true or false"));
        }
        reference(agent, "who", "AuditEvent.agent.who")?;
    }
    for entity in objects(resource, "entity", "AuditEvent.entity")? {
        reference(entity, "what", "AuditEvent.entity.what")?;
        if entity.contains_key("name") && entity.contains_key("query") {
            return Err(Issue::new("invariant", "AuditEvent.entity", "sev-1: expected either a name or a query"));
        }
    }
    objects(resource, "subtype", "AuditEvent.subtype")?;
    match resource.get("source") {
        Some(Value::Map(source)) if source.contains_key("observer") => {
            reference(source, "observer", "AuditEvent.source.observer")
        }
        Some(Value::Map(_)) => Err(required("AuditEvent.source.observer")),
        Some(_) => Err(wrong("AuditEvent.source", "expected an object")),
        None => Err(required("AuditEvent.source")),
    }
}

fn text<'a>(map: &'a Map, name: &str) -> Option<&'a str> {
    match map.get(name) {
        Some(Value::Text(text)) if !text.is_empty() => Some(text),
        _ => None,
    }
}

fn one_of(map: &Map, name: &str, at: &'static str, words: &[&str], expected: &'static str) -> Result<(), Issue> {
    let fits = !map.contains_key(name) || text(map, name).is_some_and(|word| words.contains(&word));
    if fits { Ok(()) } else { Err(Issue::new("code-invalid", at, expected)) }
}

/// Returns the objects of a list that may be missing.
fn objects<'a>(map: &'a Map, name: &str, at: &'static str) -> Result<Vec<&'a Map>, Issue> {
    let objects = match map.get(name) {
        None => Some(Vec::new()),
        Some(Value::List(items)) => {
            let object = |item: &'a Value| if let Value::Map(map) = item { Some(map) } else { None };
            items.iter().map(object).collect()
        }
        Some(_) => None,
    };
    objects.ok_or_else(|| Issue::new("structure", at, "expected a list of objects"))
}

/// Holds a reference that may be missing against its form.
fn reference(map: &Map, name: &str, at: &'static str) -> Result<(), Issue> {
    let of = match map.get(name) {
        None => return Ok(()),
        Some(Value::Map(of)) => of,
        Some(_) => return Err(Issue::new("structure", at, "expected a Reference")),
    };
    let is_text = |name| of.get(name).is_none_or(|value| matches!(value, Value::Text(_)));
    let is_one = ["reference", "type", "display"].into_iter().all(is_text);
    let identifier = of.get("identifier").is_none_or(|value| matches!(value, Value::Map(_)));
    if is_one && identifier { Ok(()) } else { Err(Issue::new("structure", at, "expected a Reference")) }
}

/// Reads FHIR's `instant`: to the second at least, with a zone.
fn instant(text: &str) -> Option<i64> {
    let is_one = text.len() >= 20 && text.as_bytes().get(10) == Some(&b'T') && text.is_ascii();
    let at = is_one.then(|| text.parse::<Timestamp>().ok())??;
    i64::try_from(at.as_nanosecond()).ok()
}

/// A resource that came within: what it is, and an identifier of it.
struct Contained {
    id: String,
    kind: String,
    identifier: Option<String>,
}

fn contained(resource: &Map) -> Vec<Contained> {
    let Some(Value::List(items)) = resource.get("contained") else { return Vec::new() };
    let one = |item: &Value| {
        let Value::Map(map) = item else { return None };
        let identifier = match map.get("identifier") {
            Some(Value::List(identifiers)) => identifiers.iter().find_map(identifier),
            _ => None,
        };
        Some(Contained { id: text(map, "id")?.to_owned(), kind: text(map, "resourceType")?.to_owned(), identifier })
    };
    items.iter().filter_map(one).collect()
}

/// Writes an identifier as FHIR's searches do: `system|value`.
fn identifier(value: &Value) -> Option<String> {
    let Value::Map(map) = value else { return None };
    let value = text(map, "value")?;
    Some(text(map, "system").map_or_else(|| value.to_owned(), |system| format!("{system}|{value}")))
}

/// The persons of an audit event whose records are kept.
struct Persons {
    patients: Vec<String>,
    contained: Vec<Contained>,
}

impl Persons {
    /// Takes references to patients out of a list's objects and leaves the place of each among `fhir.patient`, from 0.
    fn set_apart(&mut self, resource: &mut Map, list: &str, name: &str) {
        let Some(Value::List(items)) = resource.get_mut(list) else { return };
        for item in items {
            let Value::Map(of) = item else { continue };
            let Some(Value::Map(reference)) = of.get(name) else { continue };
            let Some(patient) = self.patient(reference, of) else { continue };
            let number = self.patients.iter().position(|known| *known == patient).unwrap_or_else(|| {
                self.patients.push(patient);
                self.patients.len() - 1
            });
            let display = match of.remove(name) {
                Some(Value::Map(mut reference)) => reference.remove("display"),
                _ => None,
            };
            of.insert("patient".to_owned(), Value::U64(number as u64));
            if let Some(display) = display {
                // Under a name by which it is known for a person's.
                of.insert("patient_name".to_owned(), display);
            }
        }
    }

    /// Returns what names the patient that a reference is to, if it is to one.
    fn patient(&self, reference: &Map, of: &Map) -> Option<String> {
        let target = text(reference, "reference");
        let local = target.and_then(|target| target.strip_prefix('#'));
        let within = local.and_then(|id| self.contained.iter().find(|one| one.id == id));
        let target = target.map(|target| target.split("/_history/").next().unwrap_or(target));
        let by_path = || target.and_then(|target| target.rsplit('/').nth(1));
        let kind = within.map(|one| one.kind.as_str()).or_else(|| text(reference, "type")).or_else(by_path);
        let is_patient = kind.is_some_and(|kind| PATIENTS.contains(&kind)) || is_patient(of);
        if !is_patient {
            return None;
        }
        let by_identifier = || reference.get("identifier").and_then(identifier);
        let within = within.and_then(|one| one.identifier.clone());
        within
            .or_else(|| target.map(str::to_owned))
            .or_else(by_identifier)
            .or_else(|| text(reference, "display").map(str::to_owned))
    }
}

/// Tells whether an entity says itself that it is a patient: a person (1) in the role of one (1).
fn is_patient(entity: &Map) -> bool {
    let code = |name: &str| match entity.get(name) {
        Some(Value::Map(coding)) => text(coding, "code"),
        _ => None,
    };
    code("role") == Some("1") && code("type").is_none_or(|kind| kind == "1")
}

/// What is no person, of all that FHIR lets notice an event.
const SERVICES: [&str; 2] = ["Device", "Organization"];

/// Returns what to call whatever noticed the event, if all that is said of it says that it is no person. How somebody is called
/// of whom that is not said goes to where it is known for a person's name.
fn observer(resource: &mut Map, contained: &[Contained]) -> Option<String> {
    let Some(Value::Map(source)) = resource.get_mut("source") else { return None };
    let Some(Value::Map(observer)) = source.get_mut("observer") else { return None };
    let target = text(observer, "reference").map(|target| target.split("/_history/").next().unwrap_or(target));
    let local = target.and_then(|target| target.strip_prefix('#'));
    let within = local.and_then(|id| contained.iter().find(|one| one.id == id));
    let by_path = target.and_then(|target| target.rsplit('/').nth(1));
    let by_type = text(observer, "type").map(|kind| kind.rsplit('/').next().unwrap_or(kind));
    let kinds: Vec<&str> = within.map(|one| one.kind.as_str()).into_iter().chain(by_path).chain(by_type).collect();
    if !kinds.is_empty() && kinds.iter().all(|kind| SERVICES.contains(kind)) {
        let name = text(observer, "display").or(target).map(str::to_owned);
        return name.or_else(|| observer.get("identifier").and_then(identifier));
    }
    if let Some(display) = observer.remove("display") {
        source.insert("person_name".to_owned(), display);
    }
    None
}

/// Undoes base64, within which no policy sees: queries, and details of entities.
fn unpack(resource: &mut Map) {
    let Some(Value::List(entities)) = resource.get_mut("entity") else { return };
    let undo = |map: &mut Map, name: &str| {
        if let Some(Value::Text(packed)) = map.get(name)
            && let Ok(bytes) = STANDARD.decode(packed.as_bytes())
        {
            let plain = String::from_utf8(bytes).map_or_else(|error| Value::Bytes(error.into_bytes()), Value::Text);
            map.insert(name.to_owned(), plain);
        }
    };
    for entity in entities {
        let Value::Map(entity) = entity else { continue };
        undo(entity, "query");
        let Some(Value::List(details)) = entity.get_mut("detail") else { continue };
        for detail in details {
            if let Value::Map(detail) = detail {
                undo(detail, "valueBase64Binary");
            }
        }
    }
}

#[cfg(test)]
mod tests;
