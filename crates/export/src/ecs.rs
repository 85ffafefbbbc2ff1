//! An event as a document of the Elastic Common Schema: one place, and the only one that knows both languages.
//!
//! What OpenTelemetry and the common schema call differently is renamed by [`RENAMED`]. What has a name of the schema, and
//! a value of that field's type, stands there; privacy may have made an address a network, and a receiver would refuse
//! the whole document for it. Everything else is a label, under its own name with dots as underscores, as text.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use jiff::Timestamp;
use model::{Event, Position, Recorded, Tenant, Value};
use serde_json::{Map, Value as Json, json};
use sha2::{Digest as _, Sha256};

/// The version of the schema that documents follow.
pub const VERSION: &str = "8.17.0";
const FIELDS: &str = include_str!("ecs/fields.txt");
/// Most labels of one document; what is beyond stands in the ledger and the lake.
const LABELS_MAX: usize = 512;

/// Fields of our own, which the schema leaves to us.
pub const OURS: [(&str, &str); 3] =
    [("dihya.cleared", "flattened"), ("dihya.instance", "keyword"), ("dihya.sector", "keyword")];

/// What OpenTelemetry's conventions, and old habits, call differently.
pub const RENAMED: &[(&str, &str)] = &[
    ("code.file.path", "log.origin.file.name"),
    ("code.function", "log.origin.function"),
    ("code.function.name", "log.origin.function"),
    ("code.line.number", "log.origin.file.line"),
    ("container.image.tags", "container.image.tag"),
    ("deployment.environment", "service.environment"),
    ("deployment.environment.name", "service.environment"),
    ("enduser.id", "user.id"),
    ("exception.message", "error.message"),
    ("exception.stacktrace", "error.stack_trace"),
    ("exception.type", "error.type"),
    ("faas.invocation_id", "faas.execution"),
    ("host.arch", "host.architecture"),
    ("http.method", "http.request.method"),
    ("http.request.body.size", "http.request.body.bytes"),
    ("http.response.body.size", "http.response.body.bytes"),
    ("http.status_code", "http.response.status_code"),
    ("http.url", "url.full"),
    ("k8s.cluster.name", "orchestrator.cluster.name"),
    ("k8s.container.name", "container.name"),
    ("k8s.namespace.name", "orchestrator.namespace"),
    ("k8s.pod.name", "orchestrator.resource.name"),
    ("k8s.pod.uid", "orchestrator.resource.id"),
    ("net.peer.ip", "source.ip"),
    ("network.peer.address", "source.ip"),
    ("network.peer.port", "source.port"),
    ("network.protocol.name", "network.protocol"),
    ("os.description", "host.os.full"),
    ("os.name", "host.os.name"),
    ("os.type", "host.os.type"),
    ("os.version", "host.os.version"),
    ("otel.scope.name", "log.logger"),
    ("process.command_args", "process.args"),
    ("process.executable.name", "process.name"),
    ("process.executable.path", "process.executable"),
    ("process.owner", "process.user.name"),
    ("service.instance.id", "service.node.name"),
    ("thread.id", "process.thread.id"),
    ("thread.name", "process.thread.name"),
];

/// Makes documents.
pub struct Mapper {
    types: HashMap<String, &'static str>,
    renamed: HashMap<&'static str, &'static str>,
    instance: String,
}

impl Mapper {
    /// Makes the mapper of an instance.
    #[must_use]
    pub fn new(instance: &str) -> Self {
        Self { types: fields(), renamed: RENAMED.iter().copied().collect(), instance: instance.to_owned() }
    }

    /// Names an event the same each time that it is sent, and no other event so: by its log, its place there, and when it
    /// was admitted, which differs where an old copy of the ledger went on from the same place.
    #[must_use]
    pub fn id(&self, tenant: &Tenant, position: Position, admitted_at: Timestamp) -> String {
        let named = format!("{}/{tenant}\n{position}\n{}", self.instance, admitted_at.as_millisecond());
        Sha256::digest(named.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Makes the document of an event.
    #[must_use]
    pub fn document(&self, recorded: &Recorded, event: &Event) -> Json {
        let tenant = &recorded.signal.tenant;
        let mut out = Document::default();
        let time = event.time_ns.unwrap_or(event.observed_ns);
        out.put("@timestamp", time_of(time).unwrap_or(recorded.admitted_at).to_string().into());
        if let Some(message) = event.body.as_ref().and_then(text_of) {
            out.put("message", message.into());
        }
        out.put("ecs.version", VERSION.into());
        out.put("event.kind", "event".into());
        out.put("event.id", self.id(tenant, recorded.position, recorded.admitted_at).into());
        out.put("event.dataset", event.stream.as_str().into());
        out.put("event.sequence", recorded.position.into());
        if let Some(observed) = time_of(event.observed_ns) {
            out.put("event.created", observed.to_string().into());
        }
        if event.severity > 0 {
            out.put("event.severity", event.severity.into());
            out.put("log.level", level(event.severity).into());
        }
        out.put("organization.id", tenant.as_str().into());
        out.put("dihya.instance", self.instance.as_str().into());
        out.put("dihya.sector", event.sector.as_str().into());
        if let Some(cleared) = event.cleared.clone().map(Json::from) {
            out.put("dihya.cleared", cleared);
        }
        for (name, id) in [("trace.id", &event.trace_id), ("span.id", &event.span_id)] {
            if let Some(id) = id {
                out.put(name, id.as_str().into());
            }
        }
        // Who sends goes first: a document that says the same of its subject keeps it as a label.
        for values in [&event.resource, &event.attributes] {
            for (name, value) in values.iter() {
                self.place(name, value, &mut out);
            }
        }
        out.into_json()
    }

    /// Puts a value, and what is in it, where the schema wants it.
    fn place(&self, path: &str, value: &Value, out: &mut Document) {
        if let Value::Map(map) = value {
            for (name, value) in map.iter() {
                // Labels are labels already.
                let path = if path == "labels" { name.clone() } else { format!("{path}.{name}") };
                self.place(&path, value, out);
            }
            return;
        }
        if *value == Value::Null {
            return;
        }
        let path = path.strip_prefix("labels.").unwrap_or(path);
        let names = [self.renamed.get(path).copied(), Some(path)];
        for name in names.into_iter().flatten() {
            let fitted = self.types.get(name).and_then(|ty| fit(value, ty));
            if let Some(fitted) = fitted.filter(|_| !out.has(name)) {
                out.put(name, fitted);
                return;
            }
        }
        if let Some(text) = text_of(value) {
            out.label(path, text);
        }
    }
}

/// Returns the fields of the common schema that documents can have, with their types.
#[must_use]
pub fn fields() -> HashMap<String, &'static str> {
    let mut types = HashMap::new();
    for line in FIELDS.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let (Some(ty), Some(set)) = (words.next(), words.next()) else { continue };
        let mut names = words.map(|name| format!("{set}.{name}")).peekable();
        if names.peek().is_none() {
            types.insert(set.to_owned(), ty);
        }
        types.extend(names.map(|name| (name, ty)));
    }
    types
}

/// A document under construction: fields by their dotted names.
#[derive(Default)]
struct Document {
    fields: BTreeMap<String, Json>,
    labels: BTreeMap<String, Json>,
}

impl Document {
    fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    fn put(&mut self, name: &str, value: Json) {
        self.fields.insert(name.to_owned(), value);
    }

    fn label(&mut self, path: &str, text: String) {
        if self.labels.len() < LABELS_MAX {
            self.labels.entry(path.replace('.', "_")).or_insert_with(|| text.into());
        }
    }

    /// Nests the names: a reader that expands none finds them all the same.
    fn into_json(mut self) -> Json {
        if !self.labels.is_empty() {
            self.fields.insert("labels".to_owned(), Json::Object(self.labels.into_iter().collect()));
        }
        let mut root = Map::new();
        for (name, value) in self.fields {
            let mut parts = name.split('.').peekable();
            let mut at = &mut root;
            while let Some(part) = parts.next() {
                if parts.peek().is_none() {
                    at.insert(part.to_owned(), value);
                    break;
                }
                let below = at.entry(part).or_insert_with(|| json!({}));
                match below {
                    Json::Object(map) => at = map,
                    // The table has no field that is also a set of fields; a test says so.
                    _ => break,
                }
            }
        }
        Json::Object(root)
    }
}

/// Returns a value as a field of a type takes it; `None` when it cannot be one.
fn fit(value: &Value, ty: &str) -> Option<Json> {
    if let Value::List(items) = value {
        let items: Option<Vec<Json>> = items.iter().map(|item| fit_one(item, ty)).collect();
        return items.filter(|items| !items.is_empty()).map(Json::Array);
    }
    fit_one(value, ty)
}

fn fit_one(value: &Value, ty: &str) -> Option<Json> {
    match ty {
        "long" => match value {
            Value::U64(number) => i64::try_from(*number).ok().map(Json::from),
            Value::I64(number) => Some((*number).into()),
            Value::Text(text) => text.parse::<i64>().ok().map(Json::from),
            _ => None,
        },
        "float" => match value {
            Value::U64(number) => Some((*number).into()),
            Value::I64(number) => Some((*number).into()),
            Value::F64(number) => serde_json::Number::from_f64(*number).map(Json::Number),
            Value::Text(text) => serde_json::Number::from_f64(text.parse().ok()?).map(Json::Number),
            _ => None,
        },
        "boolean" => match value {
            Value::Bool(value) => Some((*value).into()),
            Value::Text(text) => text.parse::<bool>().ok().map(Json::from),
            _ => None,
        },
        "date" => match value {
            Value::Text(text) => text.parse::<Timestamp>().ok().map(|at| at.to_string().into()),
            _ => None,
        },
        "ip" => match value {
            Value::Text(text) => text.parse::<IpAddr>().ok().map(|ip| ip.to_string().into()),
            _ => None,
        },
        // Texts of all sorts.
        _ => match value {
            Value::Null | Value::List(_) | Value::Map(_) => None,
            value => text_of(value).map(Json::from),
        },
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Text(text) => Some(text.clone()),
        value => match Json::from(value.clone()) {
            Json::String(text) => Some(text),
            Json::Null => None,
            json => Some(json.to_string()),
        },
    }
}

fn time_of(ns: i64) -> Option<Timestamp> {
    Timestamp::from_nanosecond(ns.into()).ok()
}

/// Returns the word for one of OpenTelemetry's numbers.
const fn level(severity: u8) -> &'static str {
    match severity {
        0..=4 => "trace",
        5..=8 => "debug",
        9..=12 => "info",
        13..=16 => "warn",
        17..=20 => "error",
        _ => "fatal",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use model::{Sector, Signal, SourceId};

    use super::*;

    pub(crate) fn recorded(position: Position, event: Event) -> Recorded {
        let signal = Signal { tenant: Tenant::default(), source: SourceId([1; 16]), body: event.into() };
        Recorded { position, admitted_at: "2026-11-27T10:00:01Z".parse().expect("a time"), signal }
    }

    fn document(event: Event) -> Json {
        Mapper::new("localhost").document(&recorded(7, event.clone()), &event)
    }

    fn value(json: Json) -> model::Map {
        match Value::from(json) {
            Value::Map(map) => map,
            _ => panic!("is an object"),
        }
    }

    /// Each file is what an agent sent, as it stands after privacy, and the document that leaves.
    #[test]
    fn events_of_agents_become_documents() {
        let otel = Event {
            stream: "shop".into(),
            sector: Sector::Ecommerce,
            severity: 17,
            time_ns: Some(1_795_773_600_500_000_000),
            observed_ns: 1_795_773_601_000_000_000,
            body: Some("payment failed".into()),
            attributes: value(json!({
                "http.request.method": "POST", "http.response.status_code": "502", "exception.type": "Timeout",
                "client.ip": "203.0.0.0/16", "cart.items": [1, 2], "retry": true, "empty": null,
                "event": {"dataset": "theirs"}, "source.ip": ["192.0.2.1", "2001:DB8::1"], "url.port": "https",
            })),
            resource: value(json!({
                "service": {"name": "shop", "instance.id": "a-1"}, "deployment.environment.name": "production",
                "host.arch": "amd64", "k8s.pod.name": "shop-0", "data_stream": {"type": "metrics"},
                "labels": {"team.name": "blue"}, "ecs": {"version": "1.0.0"},
            })),
            trace_id: Some("0af7651916cd43dd8448eb211c80319c".into()),
            span_id: Some("b7ad6b7169203331".into()),
            cleared: Some(Value::from(json!({"counts": {"EMAIL": 1}, "rules": 2}))),
        };
        let least =
            Event { stream: "s".into(), observed_ns: 1, body: Some(Value::from(json!({"a": 1}))), ..Event::default() };
        let shown = format!("{:#}\n{:#}\n", document(otel), document(least));
        expect_test::expect_file!["ecs/documents.json"].assert_eq(&shown);
    }

    #[test]
    fn values_stand_in_a_field_only_when_they_fit_its_type() {
        let text = |text: &str| Value::from(text);
        for (ty, value, wanted) in [
            ("long", Value::U64(u64::MAX), None),
            ("long", Value::I64(-1), Some(json!(-1))),
            ("long", text("12"), Some(json!(12))),
            ("long", text("x"), None),
            ("long", Value::Bool(true), None),
            ("float", text("0.5"), Some(json!(0.5))),
            ("float", Value::U64(1), Some(json!(1))),
            ("float", Value::I64(-1), Some(json!(-1))),
            ("float", Value::F64(f64::NAN), None),
            ("float", Value::Bool(true), None),
            ("boolean", text("true"), Some(json!(true))),
            ("boolean", Value::Bool(false), Some(json!(false))),
            ("boolean", Value::U64(1), None),
            ("date", text("2026-11-27T10:00:00+01:00"), Some(json!("2026-11-27T09:00:00Z"))),
            ("date", Value::U64(1), None),
            ("ip", text("203.0.0.0/16"), None),
            ("ip", text("::1"), Some(json!("::1"))),
            ("ip", Value::Null, None),
            ("keyword", Value::U64(5), Some(json!("5"))),
            ("keyword", Value::Bytes(vec![255]), Some(json!("ff"))),
            ("keyword", Value::List(vec![text("a"), Value::U64(1)]), Some(json!(["a", "1"]))),
            ("keyword", Value::List(vec![Value::Map(model::Map::default())]), None),
            ("keyword", Value::List(Vec::new()), None),
        ] {
            assert_eq!(fit(&value, ty), wanted, "{ty} {value:?}");
        }
        assert_eq!(
            [0, 4, 5, 9, 13, 17, 21, 24].map(level),
            ["trace", "trace", "debug", "info", "warn", "error", "fatal", "fatal"]
        );
    }

    #[test]
    fn the_table_knows_every_name_that_the_mapping_gives() {
        let fields = fields();
        assert!(fields.len() > 450, "{}", fields.len());
        let mut types: Vec<&str> = fields.values().copied().collect();
        types.sort_unstable();
        types.dedup();
        assert_eq!(types, ["boolean", "date", "float", "ip", "keyword", "long", "text", "wildcard"]);
        for (_, name) in RENAMED {
            assert!(fields.contains_key(*name), "{name}");
        }
        // What is a field and a set of fields at once cannot be nested.
        for name in fields.keys() {
            let below = format!("{name}.");
            assert!(!fields.keys().any(|other| other.starts_with(&below)), "{name}");
        }
        for ours in OURS {
            assert!(!fields.contains_key(ours.0));
        }
    }

    #[test]
    fn ids_are_the_same_each_time_and_different_for_each_event() {
        let mapper = Mapper::new("localhost");
        let (tenant, at) = (Tenant::default(), Timestamp::UNIX_EPOCH);
        let id = mapper.id(&tenant, 7, at);
        assert_eq!((id.len(), &id), (32, &Mapper::new("localhost").id(&tenant, 7, at)));
        let later = at + std::time::Duration::from_millis(1);
        let clinic = Tenant::new("clinic").expect("a name");
        for other in [
            mapper.id(&tenant, 8, at),
            mapper.id(&clinic, 7, at),
            mapper.id(&tenant, 7, later),
            Mapper::new("other").id(&tenant, 7, at),
        ] {
            assert_ne!(id, other);
        }
    }

    #[test]
    fn labels_are_bounded() {
        let attributes = (0..LABELS_MAX + 9).map(|n| (format!("k{n}"), Value::U64(1))).collect();
        let made = document(Event { stream: "s".into(), observed_ns: 1, attributes, ..Event::default() });
        assert_eq!(made["labels"].as_object().map(Map::len), Some(LABELS_MAX));
    }
}
