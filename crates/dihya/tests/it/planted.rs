//! The planted search: what is personal in ten thousand events, sent in every way that there is, lies nowhere in the data
//! directory, however it is packed; and where a policy keeps it, the same search finds all of it.

mod search;
mod values;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};

use serde_json::{Value, json};

use crate::intake::agent_token;
use crate::planted::search::Searcher;
use crate::planted::values::{COUNT, Planted, lone, planted};
use crate::program::{Place, Server, eventually, text};
use crate::web::{Answer, Service, request, request_bytes, request_raw};

/// As many as make small files worth joining.
const ROUNDS: usize = 16;
/// Ways in, each with every kind of value.
const WAYS: usize = 9;
/// Of so many values one is also asked for, sent wrongly and told people of.
const ALSO: usize = 149;
/// Questions take longer than wrong requests, so each kind of value is asked for once.
const KINDS_ASKED: usize = 26;

const CLEARING: &str =
    "privacy:\n  streams:\n    person-*:\n      fields: {user.id: subject, note: seal, from: pseudonym self}\n";

/// What no sane person writes.
fn keeping() -> String {
    const TYPES: &str = "secret url-credentials jwt iban ins nir card nif us-ssn uk-nhs uk-nino be-niss de-idnr es-dni it-cf \
                         passport cni licence rpps adeli ine siret siren vat lei imei email phone health dob address geo \
                         person username plate mac ip";
    let types: String = TYPES
        .split_whitespace()
        .map(|name| format!("    {name}: {{action: keep, reason: the control run}}\n"))
        .collect();
    format!(
        "privacy:\n  types:\n{types}  streams:\n    '*':\n      fields: {{'*': keep because it is the control run}}\n"
    )
}

/// A server that takes events in all ways.
struct Run {
    place: Place,
    file: String,
    _hook: Service,
    /// What it wrote to its standard error.
    said: String,
}

impl Run {
    fn new(policy: &str) -> Self {
        let (place, hook) = (Place::new(), Service::start());
        place.put("hook.txt", &hook.url());
        let config = format!(
            "{policy}lake: {{flush_every: 10s}}\nserver:\n  listeners:\n    - {{kind: syslog-udp, address: '127.0.0.1:0', \
             stream: udp}}\n    - {{kind: syslog-tcp, address: '127.0.0.1:0', stream: tcp}}\nsources:\n  files:\n    - \
             {{paths: '{}', stream: file}}\nchannels:\n  hook: {{kind: webhook, url: '${{file:hook.txt}}'}}\noutputs:\n  \
             file: {{kind: file, path: out/events.json}}\nalerting:\n  route: {{receiver: ops, group_by: [alertname], \
             group_wait: 0s}}\n  receivers:\n    - name: ops\n      dihya_configs: [{{channel: hook}}]\n",
            place.path("app.log").display()
        );
        let file = place.put("dihya.yaml", &config);
        Self { place, file, _hook: hook, said: String::new() }
    }

    fn start(&self) -> (Server, BTreeMap<String, String>) {
        let mut server = Server::start(&self.place, &["--config", &self.file]);
        let mut addresses = BTreeMap::new();
        for _ in 0..2 {
            let event = server.logged("listening for syslog");
            let [kind, address] = ["kind", "address"].map(|field| event[field].as_str().expect("a text").to_owned());
            addresses.insert(kind, address);
        }
        (server, addresses)
    }

    fn stop(&mut self, server: Server) {
        let (code, said) = server.stop_and_hear();
        assert_eq!(code, Some(0));
        self.said.extend(said.iter().map(|line| format!("{line}\n")));
    }

    /// Sends all values, a part between two starts, and has files joined.
    fn go(&mut self, planted: &[Planted]) {
        let part = COUNT.div_ceil(ROUNDS);
        let mut sent = 0;
        for (round, values) in planted.chunks(part).enumerate() {
            let (server, addresses) = self.start();
            let token = agent_token(&server, &format!("agent-{round}"));
            sent += values.len();
            self.send(&server, &addresses, &token, values, round * part);
            stored(&server, sent);
            self.stop(server);
        }
        let (mut server, _) = self.start();
        stored(&server, COUNT);
        let also: Vec<&Planted> = planted.iter().step_by(ALSO).collect();

        ask(&server, &also[..KINDS_ASKED]);
        ask_for_names(&server, &lone());

        send_wrongly(&server, &also);
        tell_people(&server, &also);

        let joined = server.logged("kept the lake up");
        assert!(joined["joined_files"].as_u64() >= Some(ROUNDS as u64), "{joined}");
        self.stop(server);
    }

    /// Sends each value one way, with each way having each kind.
    fn send(
        &self,
        server: &Server,
        addresses: &BTreeMap<String, String>,
        token: &str,
        values: &[Planted],
        from: usize,
    ) {
        let mut ways: [Vec<&Planted>; WAYS] = Default::default();
        for (at, value) in values.iter().enumerate() {
            // 26 kinds and 9 ways have no factor in common.
            ways[(from + at) % WAYS].push(value);
        }
        let post = |path: &str, media_type: &str, body: &[u8]| {
            let answer = request_bytes(&server.address, path, token, media_type, body);
            let whole = (200..300).contains(&answer.status) && !answer.body.contains("\"errors\":true");
            assert!(whole, "{path}: {}", answer.body);
        };
        let [bulk, lines, array, otlp_json, otlp, loki_json, loki, syslog, file] = ways;
        let bulk = lines_of(&bulk, |p| format!("{{\"create\":{{\"_index\":\"person-a\"}}}}\n{}", document(p)));
        post("/_bulk", "application/x-ndjson", bulk.as_bytes());
        let lines = lines_of(&lines, |p| document(p).to_string());
        post("/api/dihya/v1/events?stream=person-c", "application/x-ndjson", lines.as_bytes());
        let array: Vec<Value> = array.into_iter().map(document).collect();
        post("/api/dihya/v1/events?stream=person-b", "application/json", Value::Array(array).to_string().as_bytes());
        post("/v1/logs", "application/json", otlp_as_json(&otlp_json).to_string().as_bytes());
        post("/v1/logs", "application/x-protobuf", &otlp_as_protobuf(&otlp));
        post("/loki/api/v1/push", "application/json", loki_as_json(&loki_json).to_string().as_bytes());
        let packed = snap::raw::Encoder::new().compress_vec(&loki_as_protobuf(&loki)).expect("packs");
        post("/loki/api/v1/push", "application/x-protobuf", &packed);
        let (tcp, udp) = syslog.split_at(syslog.len() / 2);
        let mut stream = TcpStream::connect(&addresses["syslog-tcp"]).expect("connects");
        stream.write_all(lines_of(tcp, syslog_line).as_bytes()).expect("sends");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        for value in udp {
            socket.send_to(syslog_line(value).as_bytes(), &addresses["syslog-udp"]).expect("sends");
        }
        let path = self.place.path("app.log");
        let mut log = std::fs::OpenOptions::new().append(true).create(true).open(path).expect("opens");
        log.write_all(lines_of(&file, |p| format!("{} {}", p.text, pair(p))).as_bytes()).expect("writes");
    }
}

/// Waits until the lake shows so many events.
fn stored(server: &Server, count: usize) {
    let token = server.token();
    let question = json!({"query": "SELECT stream, count(*) AS n FROM events GROUP BY stream"});
    eventually(&format!("{count} events"), || {
        let answer = request(&server.address, "POST", "/api/dihya/v1/sql", Some(&token), Some(&question));
        // Opening the lake takes a moment; whatever else is refused is a fault of this test.
        assert!(matches!(answer.status, 200 | 503), "{}: {}", answer.status, answer.body);
        let rows = answer.body.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()?["n"].as_u64());
        let n: u64 = rows.sum();
        assert!(n <= count as u64, "{n} of {count}: {}", answer.body);
        (n == count as u64).then_some(())
    });
}

fn lines_of(values: &[&Planted], line: impl Fn(&Planted) -> String) -> String {
    values.iter().map(|value| line(value) + "\n").collect()
}

fn pair(planted: &Planted) -> String {
    format!("{}=\"{}\"", planted.key, planted.value)
}

fn document(planted: &Planted) -> Value {
    json!({"message": planted.text, planted.key: planted.value, "user": {"id": planted.value}, "note": planted.text,
        "from": planted.value, "list": [{planted.key: planted.value}], "service": {"name": "shop"}})
}

fn otlp_as_json(values: &[&Planted]) -> Value {
    let text = |text: &str| json!({"stringValue": text});
    let records: Vec<Value> = values
        .iter()
        .map(|p| json!({"body": text(&p.text), "attributes": [{"key": p.key, "value": text(&p.value)}]}))
        .collect();
    json!({"resourceLogs": [{"resource": {"attributes": [{"key": "service.name", "value": text("json")}]},
        "scopeLogs": [{"logRecords": records}]}]})
}

/// A field of a protobuf message that is bytes.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut len) = (vec![tag << 3 | 2], bytes.len());
    while len >= 0x80 {
        out.push(u8::try_from(len & 0x7F).expect("7 bits") | 0x80);
        len >>= 7;
    }
    out.push(u8::try_from(len).expect("7 bits"));
    out.extend_from_slice(bytes);
    out
}

fn otlp_as_protobuf(values: &[&Planted]) -> Vec<u8> {
    let attribute = |key: &str, value: &str| [field(1, key.as_bytes()), field(2, &field(1, value.as_bytes()))].concat();
    let record = |p: &&Planted| {
        field(2, &[field(5, &field(1, p.text.as_bytes())), field(6, &attribute(p.key, &p.value))].concat())
    };
    let records: Vec<u8> = values.iter().flat_map(record).collect();
    let resource = field(1, &field(1, &attribute("service.name", "protobuf")));
    field(1, &[resource, field(2, &records)].concat())
}

fn loki_as_json(values: &[&Planted]) -> Value {
    let lines: Vec<Value> = values.iter().map(|p| json!(["1795860000000000000", p.text, {p.key: p.value}])).collect();
    json!({"streams": [{"stream": {"app": "loki-json"}, "values": lines}]})
}

fn loki_as_protobuf(values: &[&Planted]) -> Vec<u8> {
    let entry = |p: &&Planted| {
        let label = [field(1, p.key.as_bytes()), field(2, p.value.as_bytes())].concat();
        let time = [1 << 3, 0xE0, 0xF5, 0xA8, 0xD8, 0x06];
        field(2, &[field(1, &time), field(2, p.text.as_bytes()), field(3, &label)].concat())
    };
    let entries: Vec<u8> = values.iter().flat_map(entry).collect();
    field(1, &[field(1, b"{app=\"loki\"}"), entries].concat())
}

fn syslog_line(planted: &Planted) -> String {
    let value = planted.value.replace('"', "\\\"");
    let (key, text) = (planted.key, &planted.text);
    format!("<38>1 2026-11-28T10:00:00Z his01 adt 7 - [his@32473 {key}=\"{value}\"] {text} {}", pair(planted))
}

/// Who asks for a person says the person's name.
fn ask(server: &Server, values: &[&Planted]) {
    let token = server.token();
    let ask = |path: &str, body: Value| {
        let answer = request(&server.address, "POST", path, Some(&token), Some(&body));
        // On a busy machine a question may take too long.
        assert!(matches!(answer.status, 200..500 | 503), "{path}: {} {}", answer.status, answer.body);
    };
    for planted in values {
        let (key, value) = (planted.key, &planted.value);
        ask("/api/dihya/v1/search", json!({"query": format!("{key}:\"{value}\"")}));
        let word = value.split([' ', ',', '"']).next().unwrap_or_default();
        ask("/api/dihya/v1/search", json!({"query": format!("user.id:\"{value}\" -{key}:{word}*")}));
        ask("/api/dihya/v1/search", json!({"query": format!("\"{}\"", planted.text.replace('"', "'"))}));
        ask("/api/dihya/v1/search/histogram", json!({"query": format!("attributes.{key}=\"{value}\"")}));
        ask("/api/dihya/v1/search/values", json!({"field": "service", "query": format!("{key}>\"{value}\"")}));
        let body = planted.text.replace('\'', "''");
        for condition in [format!("body = '{body}'"), format!("attributes['{key}'] = '{value}'")] {
            let question = format!("SELECT count(*) FROM events WHERE {condition}");
            ask("/api/dihya/v1/sql", json!({"query": question}));
        }
    }
}

/// A name typed alone looks like any word.
fn ask_for_names(server: &Server, names: &[Planted]) {
    let token = server.token();
    for Planted { value, .. } in names {
        for query in [value.clone(), format!("\"{value}\" OR -{value}*"), format!("service:{value} {value}:*")] {
            let answer =
                request(&server.address, "POST", "/api/dihya/v1/search", Some(&token), Some(&json!({"query": query})));
            assert!(matches!(answer.status, 200 | 503), "{query}: {} {}", answer.status, answer.body);
        }
        for query in [
            format!("SELECT count(*) FROM events WHERE body LIKE '%{value}%' -- {value}"),
            format!(
                "SELECT count(*) AS {value} FROM events WHERE service = '{value}' OR attributes['{value}'] = E'{value}'"
            ),
            format!("WITH {value} AS (SELECT 1 AS \"{value}\") SELECT * FROM {value} /* {value} */ LIMIT 1"),
        ] {
            let answer =
                request(&server.address, "POST", "/api/dihya/v1/sql", Some(&token), Some(&json!({"query": query})));
            assert!(matches!(answer.status, 200 | 503), "{query}: {} {}", answer.status, answer.body);
        }
    }
}

/// Whatever is wrong with a request, the answer and the log do not repeat it.
fn send_wrongly(server: &Server, values: &[&Planted]) {
    let admin = server.token();
    for planted in values {
        let (text, value) = (&planted.text, &planted.value);
        let quoted = text.replace('\'', "''");
        let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let post = |path: &str, kind: &str, body: &str| {
            request_raw(&server.address, path, &admin, &format!("application/{kind}"), body)
        };
        let sql = |query: String| post("/api/dihya/v1/sql", "json", &json!({"query": query}).to_string());
        let get = |path: &str, token: &str| request(&server.address, "GET", path, Some(token), None);
        let answers: Vec<Answer> = vec![
            post("/_bulk", "x-ndjson", &format!("{{\"create\":{{\"_index\":\"{text}\"}}}}\n{text}\n")),
            post("/_bulk", "x-ndjson", &format!("{{\"delete\":{{\"_id\":\"{text}\"}}}}\n{text}")),
            post("/api/dihya/v1/events?stream=a", "x-ndjson", &format!("{{{text}\n[\"{value}\"\n")),
            post(&format!("/api/dihya/v1/events?stream={escaped}"), "json", text),
            post("/v1/logs", "json", &format!("{{\"resourceLogs\": [\"{value}\"]}}")),
            post("/v1/logs", "x-protobuf", text),
            post("/loki/api/v1/push", "json", text),
            post("/api/dihya/v1/search", "json", &json!({"query": format!("({text}")}).to_string()),
            sql(format!("SELEC '{quoted}'")),
            sql(format!("SELECT CAST('{quoted}' AS DATE)")),
            post("/api/dihya/v1/alerts", "json", text),
            post(&format!("/api/dihya/v1/{escaped}"), "json", text),
            get(&format!("/api/dihya/v1/checks/{escaped}"), &admin),
            get("/api/dihya/v1/checks", value),
        ];
        for answer in answers {
            assert!(matches!(answer.status, 200..500 | 503), "{}: {}", answer.status, answer.body);
        }
    }
}

/// People are told, and their tools keep what they were told.
fn tell_people(server: &Server, values: &[&Planted]) {
    let token = server.token();
    let post = |path: &str, body: Value| {
        let answer = request(&server.address, "POST", path, Some(&token), Some(&body));
        assert!((200..500).contains(&answer.status), "{path}: {} {}", answer.status, answer.body);
    };
    for planted in values.iter().take(100) {
        let labels = json!({planted.key: planted.value, "service": "shop"});
        post("/api/dihya/v1/alerts", json!({"message": planted.text, "level": "error", "labels": labels}));
        let matchers = json!([{"name": planted.key, "value": planted.value}]);
        let silence = json!({"matchers": matchers, "comment": planted.text, "duration": "1h"});
        post("/api/dihya/v1/silences", silence);
    }
    let incidents = server.get("/api/dihya/v1/incidents?limit=100");
    for (incident, planted) in incidents["items"].as_array().expect("incidents").iter().zip(values) {
        let path = format!("/api/dihya/v1/incidents/{}/notes", incident["id"].as_str().expect("an id"));
        post(&path, json!({"note": planted.text, "public": false}));
    }
    let label = format!("{}={}", values[0].key, values[0].value);
    let sent = server.client(&["alert", "send", &values[0].text, "--label", &label]);
    assert!(sent.status.success(), "{}", text(&sent.stderr));
}

/// Reads all that a run left.
fn searched(policy: &str) -> Searcher {
    let mut planted = planted();
    assert_eq!(planted.len(), COUNT);
    let mut run = Run::new(policy);
    run.go(&planted);
    planted.extend(lone());
    let mut searcher = Searcher::new(&planted);
    searcher.read(&run.place.path("data"));
    searcher.read(&run.place.path("out"));
    searcher.look(run.said.as_bytes(), "standard error", 0);
    searcher
}

#[test]
fn nothing_of_ten_thousand_values_lies_anywhere() {
    let searcher = searched(CLEARING);
    let planted: Vec<Planted> = planted().into_iter().chain(lone()).collect();
    let found = searcher.found();
    let told =
        found.iter().map(|(at, places)| format!("{}: {:?} in {places:?}\n", planted[*at].key, planted[*at].value));
    let told: String = told.collect();
    assert!(told.is_empty(), "{} of {COUNT} values lie there:\n{told}", found.len());
}

#[test]
fn the_search_finds_all_of_them_where_a_policy_keeps_them() {
    let searcher = searched(&keeping());
    let planted = planted();
    let missed = planted.iter().enumerate().filter(|(at, _)| !searcher.found().contains_key(at));
    let missed: Vec<String> = missed.map(|(_, p)| format!("{}: {}\n", p.key, p.text)).collect();
    assert!(
        missed.is_empty(),
        "{} of {COUNT} not found:\n{}",
        missed.len(),
        missed.iter().take(60).cloned().collect::<String>()
    );
}
