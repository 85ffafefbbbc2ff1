//! Official senders of Node and Go ship what machines log: no line is missing when Dihya is killed in the middle, nor when
//! a sender is that keeps its place.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::intake::{agent_token, assert_nothing_planted_lies_in, events, is_there, peers};
use crate::program::{PATIENCE, Place, Server, dihya, eventually, verify};
use crate::syslog::{Daemon, KINDS, LINES, lines, numbers};
use crate::web::request;

/// The most that a sender has under way when it is killed, or Dihya is: so much may come twice.
const UNDER_WAY_MAX: usize = 1_200;

const READ_LINES: &str = r#"
const readline = require("node:readline");
const [server, token, way] = process.argv.slice(1);
// Made where it is read: lines that come before are lost.
const lines = () => readline.createInterface({input: process.stdin, crlfDelay: Infinity});
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
"#;

const ELASTICSEARCH: &str = r#"
const {Client} = require("@elastic/elasticsearch");
const client = new Client({node: server, auth: {apiKey: token}, maxRetries: 300, retryBackoff: () => 0.2, sniffOnStart: false});
async function* documents() {
  for await (const message of lines()) yield {message, "client.ip": "203.0.113.77"};
}
(async () => {
  const info = await client.info();
  if (!info.version.number.startsWith("8.")) throw new Error(info.version.number);
  const result = await client.helpers.bulk({
    datasource: documents(), concurrency: 2, flushBytes: 8192, flushInterval: 100,
    onDocument: () => ({create: {_index: "node-2026.11.28"}}),
    onDrop: (dropped) => { console.error(dropped.status, dropped.error); process.exitCode = 1; },
  });
  if (result.failed) throw new Error(JSON.stringify(result));
})().catch((error) => { console.error(error); process.exit(1); });
"#;

const OPENTELEMETRY: &str = r#"
const {LoggerProvider, BatchLogRecordProcessor} = require("@opentelemetry/sdk-logs");
const {resourceFromAttributes} = require("@opentelemetry/resources");
const {OTLPLogExporter} = require(`@opentelemetry/exporter-logs-otlp-${way}`);
const options = way === "grpc" ? {url: server} : {url: `${server}/v1/logs`, headers: {Authorization: `Bearer ${token}`}};
if (way === "grpc") {
  const {Metadata} = require("@grpc/grpc-js");
  options.metadata = new Metadata();
  options.metadata.set("authorization", `Bearer ${token}`);
}
const inner = new OTLPLogExporter({...options, timeoutMillis: 5000});
// The SDK tries five times and then drops what it has; a service that must not lose lines asks it again.
const exporter = {
  export(records, done) {
    inner.export(records, (result) => result.code === 0 ? done(result) : setTimeout(() => exporter.export(records, done), 100));
  },
  forceFlush: () => inner.forceFlush?.() ?? Promise.resolve(),
  shutdown: () => inner.shutdown(),
};
const processor = new BatchLogRecordProcessor({exporter, maxQueueSize: 400, maxExportBatchSize: 200, exportTimeoutMillis: 120000});
const resource = resourceFromAttributes({"service.name": `node-${way}`});
const provider = new LoggerProvider({resource, processors: [processor]});
(async () => {
  const logger = provider.getLogger("sender");
  let n = 0;
  for await (const line of lines()) {
    logger.emit({body: line, severityNumber: 17, attributes: {"client.ip": "203.0.113.77"}});
    if (++n % 200 === 0) await provider.forceFlush();
  }
  await provider.forceFlush();
  await provider.shutdown();
})().catch((error) => { console.error(error); process.exit(1); });
"#;

/// A command of Node with the packages that `tests/peers/install` installs.
fn node(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("node");
    command.env("NODE_PATH", peers().join("node/node_modules")).args(["-e", script]).args(arguments);
    command
}

/// A program of Go that `tests/peers/install` builds.
fn go(name: &str) -> PathBuf {
    peers().join("go").join(name)
}

fn node_has(part: &str, package: &str) -> bool {
    let version = format!(
        "console.log(JSON.parse(require('fs').readFileSync(process.env.NODE_PATH + '/{package}/package.json')).version)"
    );
    is_there(part, &mut node(&version, &[]))
}

/// Kills a server as a power cut would, and starts it where it was.
fn killed_and_back(place: &Place, server: Server) -> Server {
    let address = server.address.clone();
    server.kill();
    Server::start_at(&address, dihya(&[]), place, &[])
}

/// Asserts that each line is there, cleared, and that no more came twice than was under way.
#[expect(clippy::print_stdout, reason = "a run shows how many lines a sender sent twice")]
fn assert_none_missing(kept: &[Value], stream: &str) {
    let of_it: Vec<Value> = kept.iter().filter(|event| event["stream"] == stream).cloned().collect();
    let found = numbers(&of_it);
    let missing: BTreeMap<usize, usize> = (0..LINES)
        .map(|number| (number, *found.get(&number).unwrap_or(&0)))
        .filter(|(_, count)| *count < KINDS)
        .collect();
    assert!(
        missing.is_empty(),
        "{stream}: of {} lines there are {}; missing at {missing:?}",
        LINES * KINDS,
        of_it.len()
    );
    assert!(found.len() == LINES, "{stream}: nothing else: {found:?}");
    assert!(of_it.len() <= LINES * KINDS + UNDER_WAY_MAX, "{stream}: {} came twice", of_it.len() - LINES * KINDS);
    let texts = of_it.iter().filter_map(|event| event["body"].as_str());
    let login = "0 Failed password for invalid user [email] from [ip] port 4022 ssh2";
    assert!(texts.clone().any(|text| text == login), "cleared");
    println!("{stream}: {} lines, {} sent twice", LINES * KINDS, of_it.len() - LINES * KINDS);
}

fn count(place: &Place, stream: &str) -> usize {
    events(place).iter().filter(|event| event["stream"] == stream).count()
}

/// All lines of a file, a half of them while Dihya is killed.
fn halves() -> [String; 2] {
    let all = lines(0);
    let text = |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let (first, second) = all.split_at(all.len() / 2);
    [text(first), text(second)]
}

/// Ships all lines through a program's standard input; Dihya is killed and comes back between the halves.
fn ship(place: &Place, server: Server, command: &mut Command, stream: &str) -> Server {
    let [first, second] = halves();
    let mut child = command.stdin(Stdio::piped()).spawn().expect("runs");
    let mut stdin = child.stdin.take().expect("is piped");
    stdin.write_all(first.as_bytes()).expect("it reads");
    eventually("the first lines", || (count(place, stream) > 0).then_some(()));
    let address = server.address.clone();
    server.kill();
    // It waits for an answer and does not read meanwhile. Ends with the pipe.
    let writer = std::thread::spawn(move || stdin.write_all(second.as_bytes()));
    let server = Server::start_at(&address, dihya(&[]), place, &[]);
    writer.join().expect("ends").expect("it reads");
    let status = child.wait().expect("ends");
    assert!(status.success(), "{stream}: {status}");
    assert_none_missing(&events(place), stream);
    server
}

/// Stops a server, and holds what it leaves against what must be and what must not.
fn sound(server: Server) {
    let data = server.data.clone();
    assert_eq!(server.stop(), Some(0));
    assert_eq!(verify(&data)["sound"], true);
    assert_nothing_planted_lies_in(&data);
}

#[test]
fn elasticsearchs_client_of_node_ships_across_a_kill() {
    if !node_has("elasticsearch-node", "@elastic/elasticsearch") {
        return;
    }
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let token = agent_token(&server, "node");
    let mut client = node(&format!("{READ_LINES}{ELASTICSEARCH}"), &[&server.url(), &token]);
    let server = ship(&place, server, &mut client, "node");
    sound(server);
}

#[test]
fn opentelemetrys_sdk_of_node_ships_across_kills() {
    if !node_has("opentelemetry-node", "@opentelemetry/sdk-logs") {
        return;
    }
    let place = Place::new();
    let mut server = Server::start(&place, &[]);
    let token = agent_token(&server, "otel");
    for way in ["http", "proto", "grpc"] {
        let mut client = node(&format!("{READ_LINES}{OPENTELEMETRY}"), &[&server.url(), &token, way]);
        server = ship(&place, server, &mut client, &format!("node-{way}"));
    }
    sound(server);
}

#[test]
fn opentelemetrys_sdk_of_go_ships_across_kills() {
    if !is_there("opentelemetry-go", Command::new(go("sdk")).arg("--version")) {
        return;
    }
    let place = Place::new();
    let mut server = Server::start(&place, &[]);
    let token = agent_token(&server, "otel");
    for way in ["http", "grpc"] {
        let mut client = Command::new(go("sdk"));
        client.args([way, &server.address, &token, "/dev/stdin"]);
        server = ship(&place, server, &mut client, &format!("go-{way}"));
    }
    sound(server);
}

/// Writes lines to a file in three parts: Dihya is killed after the first, and the agent after the second, which it has
/// nobody to send to.
fn follow(place: &Place, server: Server, agent: impl Fn() -> Daemon, stream: &str) {
    let path = place.path("app.log");
    let append = |part: &[String]| {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&path).expect("opens");
        file.write_all(part.iter().map(|line| format!("{line}\n")).collect::<String>().as_bytes()).expect("writes");
    };
    let all = lines(0);
    let (first, rest) = all.split_at(all.len() / 3);
    let (second, third) = rest.split_at(rest.len() / 2);
    append(first);
    let running = agent();
    eventually("the first lines", || (count(place, stream) >= first.len()).then_some(()));
    let address = server.address.clone();
    server.kill();
    append(second);
    // Dropped, it is killed with SIGKILL.
    drop(running);
    let running = agent();
    let server = Server::start_at(&address, dihya(&[]), place, &[]);
    eventually("the second lines", || (count(place, stream) >= first.len() + second.len()).then_some(()));
    let server = killed_and_back(place, server);
    append(third);
    drop(running);
    let running = agent();
    let is_whole = |kept: &[Value]| {
        let found = numbers(&kept.iter().filter(|event| event["stream"] == stream).cloned().collect::<Vec<_>>());
        (0..LINES).all(|number| found.get(&number) >= Some(&KINDS))
    };
    eventually("the last line", || is_whole(&events(place)).then_some(()));
    drop(running);
    assert_none_missing(&events(place), stream);
    sound(server);
}

#[test]
fn the_opentelemetry_collector_ships_a_file_across_kills_of_both() {
    if !is_there("opentelemetry-collector", Command::new(go("collector")).arg("--version")) {
        return;
    }
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let token = agent_token(&server, "collector");
    let dir = place.path("");
    let dir = dir.display();
    let config = format!(
        "extensions:\n  file_storage: {{directory: '{dir}'}}\nreceivers:\n  filelog: {{include: ['{dir}/app.log'], start_at: \
         beginning, storage: file_storage, poll_interval: 50ms, resource: {{service.name: collector}}}}\nexporters:\n  \
         otlphttp: {{endpoint: '{}', headers: {{authorization: 'Bearer {token}'}}, retry_on_failure: {{initial_interval: \
         100ms, max_interval: 500ms, max_elapsed_time: 0}}, sending_queue: {{storage: file_storage}}}}\nservice:\n  \
         extensions: [file_storage]\n  pipelines: {{logs: {{receivers: [filelog], exporters: [otlphttp]}}}}\n  telemetry: \
         {{metrics: {{level: none}}}}\n",
        server.url()
    );
    let config = format!("file:{}", place.put("collector.yaml", &config));
    let agent = || Daemon::start(Command::new(go("collector")).args(["--config", &config]));
    follow(&place, server, agent, "collector");
}

/// The file that Filebeat's package installs, but for its paths: templates and policies are set up as they are by default.
/// The one line to change is that of the hosts. Its filter of system calls is older than the C library of today, which it
/// stops at its first thread.
fn filebeat(place: &Place, server: &Server, token: &str) -> impl Fn() -> Daemon + use<> {
    let dir = place.path("");
    let dir = dir.display();
    let config = format!(
        "filebeat.inputs:\n- type: filestream\n  id: app\n  enabled: true\n  paths:\n    - {dir}/app.log\nsetup.template.settings:\n  \
         index.number_of_shards: 1\npath.home: {dir}/filebeat\nseccomp.enabled: false\noutput.elasticsearch:\n  hosts: \
         [\"http://any:{token}@{}\"]\nprocessors:\n  - add_host_metadata:\n      when.not.contains.tags: forwarded\n",
        server.address
    );
    let config = place.put("filebeat.yml", &config);
    move || {
        Daemon::start(Command::new(go("filebeat")).args(["-c", &config, "--strict.perms=false", "-e", "-E"]).arg(
            // Asked again so soon after a refusal only here: a test has less time than an operator.
            "output.elasticsearch.backoff.max=500ms",
        ))
    }
}

#[test]
fn filebeat_ships_a_file_across_kills_of_both() {
    if !is_there("filebeat", Command::new(go("filebeat")).arg("version")) {
        return;
    }
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let token = agent_token(&server, "filebeat");
    let agent = filebeat(&place, &server, &token);
    follow(&place, server, agent, "filebeat-7.17.0");
}

/// What a newcomer is promised: one line changed, and a line of the log is found in ten seconds.
#[test]
fn a_newcomers_filebeat_has_its_line_found_in_ten_seconds() {
    const PROMISED_S: u64 = 10;
    if !is_there("filebeat", Command::new(go("filebeat")).arg("version")) {
        return;
    }
    // Where the machine pauses for seconds, the next try tells.
    let took = [(); 3].map(|()| {
        let place = Place::new();
        let server = Server::start(&place, &[]);
        let (admin, token) = (server.token(), agent_token(&server, "filebeat"));
        place.put("app.log", "the newcomers line of planted.person@example.org\n");
        let question = json!({"query": "newcomers"});
        let ask = || request(&server.address, "POST", "/api/dihya/v1/search", Some(&admin), Some(&question));
        eventually("the lake", || (ask().status == 200).then_some(()));
        #[expect(clippy::disallowed_methods, reason = "a newcomer's patience is real time")]
        let start = std::time::Instant::now();
        let _agent = filebeat(&place, &server, &token)();
        eventually("the line", || ask().body.contains("the newcomers line of [email]").then_some(()));
        start.elapsed()
    });
    println!("a newcomer's line was found after {took:?}");
    assert!(took.iter().any(|took| took.as_secs() < PROMISED_S), "{took:?}");
    assert!(took.iter().all(|took| *took < PATIENCE));
}
