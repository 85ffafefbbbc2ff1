//! Log lines and business events from the agents that people run already: cleared, durable, provable, and nothing else.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::program::{Place, Server, done, eventually, run, text, verify};
use crate::skip::skip;
use crate::syslog::{KINDS, LINES, lines};

const POLICY: &str =
    "privacy:\n  streams:\n    shop-*:\n      fields:\n        user.id: mask\n        client.ip: generalise /16\n";

/// What is personal in the events that are sent, and must be nowhere in the data directory.
const PLANTED: [&str; 4] = ["planted.person", "203.0.113.77", "0612345678", "customer-4711"];

pub(crate) fn agent_token(server: &Server, name: &str) -> String {
    let added = server.client(&["token", "add", name, "--role", "ingest"]);
    assert!(added.status.success(), "{}", text(&added.stderr));
    text(&added.stdout).lines().last().expect("the token").trim().to_owned()
}

/// Returns the events of the log, oldest first.
pub(crate) fn events(place: &Place) -> Vec<Value> {
    let shown = run(&["ledger", "show", "--limit", "100000", "--format", "json", "--data-dir", &place.data()]);
    let rows: Vec<Value> = serde_json::from_slice(&shown.stdout).unwrap_or_default();
    rows.into_iter().filter(|row| row["kind"] == "event").map(|row| row["body"].clone()).collect()
}

pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("lists").map(|entry| entry.expect("lists").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

pub(crate) fn assert_nothing_planted_lies_in(data: &Path) {
    for file in files_below(data) {
        let bytes = std::fs::read(&file).expect("reads");
        for planted in PLANTED {
            let found = bytes.windows(planted.len()).any(|window| window == planted.as_bytes());
            assert!(!found, "{planted} lies in {}", file.display());
        }
    }
}

#[expect(clippy::print_stdout, reason = "CI counts the real parts in what tests print")]
pub(crate) fn is_there(name: &str, command: &mut Command) -> bool {
    let version = command.stderr(Stdio::null()).output().ok().filter(|output| output.status.success());
    match version {
        Some(output) => {
            println!("real part: {name} {}", text(&output.stdout).lines().next().unwrap_or_default());
            true
        }
        None => {
            skip(&format!("{name} is not installed (tests/peers/install)"));
            false
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "where the test's own servers are is said by the environment")]
fn from_environment(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}

/// Where `tests/peers/install` puts what is no package of the system.
pub(crate) fn peers() -> PathBuf {
    let cache = || from_environment("HOME").map(|home| home.join(".cache"));
    from_environment("XDG_CACHE_HOME").or_else(cache).unwrap_or_default().join("dihya-peers")
}

pub(crate) fn python() -> PathBuf {
    from_environment("DIHYA_PEERS_VENV").unwrap_or_else(|| peers().join("venv")).join("bin/python")
}

const CLIENT: &str = r#"
import sys
from elasticsearch import Elasticsearch, helpers
server, token, count, log = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
es = Elasticsearch(server, api_key=token)
assert es.info()["version"]["number"].startswith("8.")
def event(n):
    return {"_op_type": "create", "_index": "shop-orders-2026.11.27", "_source": {
        "@timestamp": "2026-11-27T10:00:00Z", "message": f"order {n} of planted.person{n}@example.org, tel 0612345678",
        "log": {"level": "warn"}, "user": {"id": "customer-4711"}, "client": {"ip": "203.0.113.77"},
        "service": {"name": "shop"}, "labels": {"sector": "e-commerce"}}}
done, errors = helpers.bulk(es.options(request_timeout=30), map(event, range(count)), chunk_size=200)
assert (done, errors) == (count, []), errors
lines = ({"_op_type": "create", "_index": "lines", "_source": {"message": line.rstrip("\n")}} for line in open(log))
done, errors = helpers.bulk(es.options(request_timeout=30), lines, chunk_size=200)
assert errors == [], errors
errors = es.bulk(operations=[{"delete": {"_index": "shop-orders", "_id": "1"}}])
assert errors["errors"] and errors["items"][0]["delete"]["status"] == 400, errors
"#;

#[test]
fn elasticsearchs_own_client_sends_and_what_it_was_told_survives_a_kill() {
    let client = python();
    let version = ["-c", "import elasticsearch as e; print('.'.join(map(str, e.__version__)))"];
    if !is_there("elasticsearch-py", Command::new(&client).args(version)) {
        return;
    }
    let place = Place::new();
    let file = place.put("dihya.yaml", POLICY);
    let server = Server::start(&place, &["--config", &file]);
    let token = agent_token(&server, "elasticsearch-py");
    let log = place.put("app.log", &(lines(0).join("\n") + "\n"));
    let sent = Command::new(&client).args(["-c", CLIENT, &server.url(), &token, "1000", &log]).output().expect("runs");
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    let data = server.data.clone();
    server.kill();

    let kept = events(&place);
    crate::syslog::assert_each_once(&kept, "lines", LINES);
    let kept: Vec<Value> = kept.into_iter().filter(|event| event["stream"] == "shop-orders").collect();
    assert_eq!(kept.len(), 1_000, "what was acknowledged was durable");
    let last = kept.last().expect("an event");
    assert_eq!(last["body"], "order 999 of [email], tel [phone]");
    assert_eq!(
        (&last["stream"], &last["severity"], &last["sector"]),
        (&"shop-orders".into(), &13.into(), &"ecommerce".into())
    );
    assert_eq!(last["attributes"]["user"]["id"], "***");
    assert_eq!(last["attributes"]["client"]["ip"], "203.0.0.0/16");
    assert_eq!(last["resource"]["service"]["name"], "shop");
    assert_eq!(last["cleared"]["counts"]["EMAIL"], 1);
    assert_nothing_planted_lies_in(&data);

    let server = Server::start(&place, &["--config", &file]);
    assert_eq!(server.stop(), Some(0));
    assert_eq!(events(&place).len(), 1_000 + LINES * KINDS);
    assert_eq!(verify(&data)["sound"], true);
}

const CLOUD: &str = r#"
import json, sys, urllib.request
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
server, token = sys.argv[1], sys.argv[2]
def event(mode, n):
    about = {"id": f"{mode}-{n}", "source": "/shop", "type": "org.example.paid", "specversion": "1.0",
             "subject": f"café {n}", "datacontenttype": "application/json"}
    return CloudEvent(attributes=about, data={"n": n, "note": f"planted.person{n}@example.org, tel 0612345678",
                                              "user": {"id": "customer-4711"}})
def send(headers, body):
    headers = {**headers, "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{server}/api/dihya/v1/events?stream=shop-cloud", data=body, headers=headers)
    answer = urllib.request.urlopen(request)
    assert answer.status == 202, answer.status
    return json.load(answer)
for n in range(20):
    for mode, message in (("structured", to_structured_event), ("binary", to_binary_event)):
        message = message(event(mode, n))
        assert send(message.headers, message.body)["accepted"] == 1
batch = b"[" + b",".join(to_structured_event(event("batch", n)).body for n in range(20)) + b"]"
assert send({"Content-Type": "application/cloudevents-batch+json"}, batch)["accepted"] == 20
"#;

#[test]
fn the_cloudevents_sdk_sends_in_all_three_modes() {
    let client = python();
    let version = ["-c", "import importlib.metadata as m; print(m.version('cloudevents'))"];
    if !is_there("cloudevents-py", Command::new(&client).args(version)) {
        return;
    }
    let place = Place::new();
    let policy = "privacy:\n  streams:\n    shop-*:\n      fields:\n        body.user.id: mask\n";
    let file = place.put("dihya.yaml", policy);
    let server = Server::start(&place, &["--config", &file]);
    let token = agent_token(&server, "cloudevents");
    let sent = Command::new(&client).args(["-c", CLOUD, &server.url(), &token]).output().expect("runs");
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    let data = server.data.clone();
    server.kill();
    let kept = events(&place);
    assert_eq!(kept.len(), 60, "what was acknowledged was durable");
    for mode in ["structured", "binary", "batch"] {
        let id = |n: usize| format!("{mode}-{n}");
        for n in 0..20 {
            let mut of_it = kept.iter().filter(|event| event["attributes"]["cloudevents.event_id"] == id(n));
            let event = of_it.next().expect("is there");
            assert!(of_it.next().is_none(), "{mode}: once");
            assert_eq!(event["body"]["n"], n);
            assert_eq!(event["body"]["note"], "[email], tel [phone]");
            assert_eq!(event["body"]["user"]["id"], "***");
            assert_eq!(event["attributes"]["cloudevents.event_type"], "org.example.paid");
            assert_eq!(event["attributes"]["cloudevents.event_subject"], format!("café {n}"));
            assert!(event["time_ns"].is_i64(), "the SDK sets a time: {event}");
        }
    }
    assert_nothing_planted_lies_in(&data);
}

const OTEL: &str = r#"
import logging, sys
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
server, token, transport, count, log = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5]
if transport == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    exporter = OTLPLogExporter(endpoint=server, insecure=True, headers=(("authorization", f"Bearer {token}"),))
else:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter, Compression
    exporter = OTLPLogExporter(endpoint=f"{server}/v1/logs", headers={"Authorization": f"Bearer {token}"},
                               compression=Compression.Gzip)
provider = LoggerProvider(resource=Resource.create({"service.name": f"shop-{transport}", "dihya.sector": "commerce"}))
provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
logger = logging.getLogger("orders")
logger.addHandler(LoggingHandler(logger_provider=provider))
for n in range(count):
    logger.error("order %d of planted.person%d@example.org, tel 0612345678", n, n,
                 extra={"user.id": "customer-4711", "client.ip": "203.0.113.77", "n": n})
for line in open(log):
    logger.error("%s", line.rstrip("\n"), extra={"of": "log"})
    provider.force_flush() if line.startswith("100 ") else None
assert provider.force_flush()
provider.shutdown()
"#;

#[test]
fn opentelemetrys_python_sdk_sends_over_http_and_grpc() {
    let client = python();
    let version = ["-c", "import importlib.metadata as m; print(m.version('opentelemetry-sdk'))"];
    if !is_there("opentelemetry-python", Command::new(&client).args(version)) {
        return;
    }
    let place = Place::new();
    let file = place.put("dihya.yaml", POLICY);
    let server = Server::start(&place, &["--config", &file]);
    let token = agent_token(&server, "otel");
    let log = place.put("app.log", &(lines(0).join("\n") + "\n"));
    for transport in ["http", "grpc"] {
        let arguments = ["-c", OTEL, &server.url(), &token, transport, "700", &log];
        let sent = Command::new(&client).args(arguments).output().expect("runs");
        assert!(sent.status.success(), "{}", text(&sent.stderr));
    }
    let data = server.data.clone();
    server.kill();
    let kept = events(&place);
    for transport in ["http", "grpc"] {
        let stream = format!("shop-{transport}");
        let of_it = kept.iter().filter(|event| event["stream"] == stream);
        let (of_log, of_it): (Vec<&Value>, Vec<&Value>) = of_it.partition(|event| event["attributes"]["of"] == "log");
        crate::syslog::assert_each_once(&of_log.into_iter().cloned().collect::<Vec<_>>(), &stream, LINES);
        let numbers: Vec<u64> = of_it.iter().filter_map(|event| event["attributes"]["n"].as_u64()).collect();
        assert_eq!(numbers, (0..700).collect::<Vec<_>>(), "{transport}: each once, in order");
        let last = of_it.last().expect("an event");
        assert_eq!(last["body"], "order 699 of [email], tel [phone]");
        assert_eq!((&last["severity"], &last["sector"]), (&17.into(), &"ecommerce".into()));
        assert_eq!(last["attributes"]["user.id"], "***");
        assert_eq!(last["attributes"]["client.ip"], "203.0.0.0/16");
        assert_eq!(last["attributes"]["otel.scope.name"], "orders");
        assert_eq!(last["resource"]["telemetry.sdk.language"], "python");
    }
    assert_nothing_planted_lies_in(&data);
}

#[test]
fn rsyslog_ships_a_log_file_as_it_does_to_elasticsearch() {
    let daemon = "/usr/sbin/rsyslogd";
    let module = files_below_lib("omelasticsearch.so");
    if !module || !is_there("rsyslog", Command::new(daemon).arg("-v")) {
        if !module {
            skip("rsyslog's omelasticsearch is not installed (tests/peers/install)");
        }
        return;
    }
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let token = agent_token(&server, "rsyslog");
    let (host, port) = server.address.split_once(':').expect("an address");
    let log = place.put("app.log", "login of planted.person@example.org from 203.0.113.77 failed\nsecond line\n");
    let config = format!(
        "global(workDirectory=\"{}\")\nmodule(load=\"imfile\")\nmodule(load=\"omelasticsearch\")\n\
         template(name=\"doc\" type=\"list\" option.jsonf=\"on\") {{\n  property(outname=\"@timestamp\" \
         name=\"timereported\" dateFormat=\"rfc3339\" format=\"jsonf\")\n  property(outname=\"message\" name=\"msg\" \
         format=\"jsonf\")\n  property(outname=\"log.level\" name=\"syslogseverity-text\" format=\"jsonf\")\n}}\n\
         input(type=\"imfile\" file=\"{log}\" tag=\"app\" severity=\"error\")\naction(type=\"omelasticsearch\" \
         server=\"{host}\" serverport=\"{port}\" uid=\"any\" pwd=\"{token}\" searchIndex=\"app\" searchType=\"\" \
         bulkmode=\"on\" template=\"doc\" action.resumeretrycount=\"-1\")\n",
        place.path("").display(),
    );
    let config = place.put("rsyslog.conf", &config);
    let pid = place.path("rsyslog.pid");
    let mut child = Command::new(daemon).args(["-n", "-f", &config, "-i"]).arg(&pid).spawn().expect("runs");
    let kept =
        eventually("the lines", || Some(events(&place)).filter(|kept| kept.iter().any(|e| e["body"] == "second line")));
    child.kill().expect("is there");
    child.wait().expect("ends");
    let first = kept.iter().find(|event| event["body"] == "login of [email] from [ip] failed").expect("the first line");
    assert_eq!((&first["stream"], &first["severity"]), (&"app".into(), &17.into()));
    let data = server.data.clone();
    assert_eq!(server.stop(), Some(0));
    assert_nothing_planted_lies_in(&data);
}

pub(crate) fn files_below_lib(name: &str) -> bool {
    [
        "/usr/lib/x86_64-linux-gnu/rsyslog",
        "/usr/lib/aarch64-linux-gnu/rsyslog",
        "/usr/lib/rsyslog",
        "/usr/lib64/rsyslog",
    ]
    .iter()
    .any(|dir| Path::new(dir).join(name).exists())
}

/// Who has curl has all that is needed.
#[test]
fn events_of_a_script_are_answered_with_a_receipt_that_can_be_proved() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let token = agent_token(&server, "script");
    let body = serde_json::json!({"message": "backup of planted.person@example.org done", "level": "info"});
    let answer =
        crate::web::request(&server.address, "POST", "/api/dihya/v1/events?stream=backup", Some(&token), Some(&body));
    assert_eq!(answer.status, 202, "{}", answer.body);
    let answer: Value = serde_json::from_str(&answer.body).expect("is JSON");
    assert_eq!((&answer["accepted"], &answer["refused"]), (&1.into(), &0.into()));
    let position = answer["receipt"]["position"].as_u64().expect("a position").to_string();
    eventually("the proof", || {
        let proof = server.client(&["ledger", "prove", &position]);
        text(&proof.stdout).starts_with("c2sp.org/tlog-proof@v1").then_some(())
    });
    assert_eq!(events(&place).len(), 1);
    let data = server.data.clone();
    assert_eq!(server.stop(), Some(0));
    let grown = done(&["ledger", "prove", "--consistency", "1", "--data-dir", &place.data()]);
    assert!(grown.starts_with("old 1\n"), "{grown}");
    let beyond = run(&["ledger", "prove", "--consistency", "999999", "--data-dir", &place.data()]);
    assert_eq!(beyond.status.code(), Some(2), "{}", text(&beyond.stderr));
    assert_nothing_planted_lies_in(&data);
}

/// The whole way: keys are made at the first event, found again after a restart, and lie nowhere beside what they seal.
#[test]
fn persons_keep_their_pseudonyms_and_sealed_values_lie_nowhere() {
    let place = Place::new();
    let policy = place.put(
        "dihya.yaml",
        "privacy:\n  streams:\n    shop:\n      fields:\n        user.id: subject\n        mail: seal\n        ip: pseudonym self\n",
    );
    let body = serde_json::json!({
        "user": {"id": "customer-4711"}, "mail": "planted.person@example.org", "ip": "203.0.113.77", "n": 1,
    });
    let mut data = PathBuf::new();
    for name in ["first", "second"] {
        let server = Server::start(&place, &["--config", &policy]);
        let token = agent_token(&server, name);
        let path = "/api/dihya/v1/events?stream=shop";
        let answer = crate::web::request(&server.address, "POST", path, Some(&token), Some(&body));
        assert_eq!(answer.status, 202, "{}", answer.body);
        data.clone_from(&server.data);
        assert_eq!(server.stop(), Some(0));
        assert_nothing_planted_lies_in(&data);
    }
    let kept = events(&place);
    let (first, second) = (&kept[0]["attributes"], &kept[1]["attributes"]);
    assert_eq!((first, kept.len()), (second, 2), "the same person, the same address");
    assert!(first["user"]["id"].as_str().is_some_and(|name| name.len() == 27 && name.starts_with('P')), "{first}");
    assert_ne!(first["ip"], first["user"]["id"]);
    assert_eq!(first["mail"], "[email]");
    assert!(data.join("keystore/default/subject_keys").is_file());
    let report = verify(&data);
    assert_eq!(report["sound"], true, "{report}");
    let exposed = done(&["privacy", "exposure", "--json", "--data-dir", &place.data()]);
    assert!(exposed.contains("\"type\":\"EMAIL\",\"count\":2"), "{exposed}");

    let copy = place.path("copy");
    let copied = done(&["backup", copy.to_str().expect("is UTF-8"), "--data-dir", &place.data()]);
    assert!(
        copied.contains("keys of persons") && !copy.join("keystore/default").join("subject_keys").exists(),
        "{copied}"
    );
}
