//! Out to collectors, and in from a dump: what arrives when the sender is killed in the middle, again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::intake::{agent_token, events, is_there};
use crate::program::{Place, Server, eventually, run, text};
use crate::web::{request, request_raw};

/// An index as far as `create` goes: each id once, 409 after that. There is no Elasticsearch to be had.
#[derive(Clone, Default)]
struct Index {
    messages: Arc<Mutex<BTreeMap<String, String>>>,
    known: Arc<Mutex<u64>>,
}

impl Index {
    fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let index = self.clone();
        // Ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let index = index.clone();
                std::thread::spawn(move || index.serve(stream));
            }
        });
        address
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("clones"));
        loop {
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") {
                let start = head.len();
                if reader.read_line(&mut head).unwrap_or(0) == 0 {
                    return;
                }
                if let Some(number) =
                    head.get(start..).unwrap_or_default().to_ascii_lowercase().strip_prefix("content-length: ")
                {
                    length = number.trim().parse().expect("a number");
                }
            }
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).is_err() {
                return; // the sender was killed
            }
            let answer = self.bulk(&body);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len());
            if stream.write_all((head + &answer).as_bytes()).is_err() {
                return;
            }
        }
    }

    fn bulk(&self, body: &[u8]) -> String {
        let lines: Vec<Value> = body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).expect("is JSON"))
            .collect();
        let mut messages = self.messages.lock().expect("not poisoned");
        let items = lines.chunks(2).map(|pair| {
            let id = pair[0]["create"]["_id"].as_str().expect("an id").to_owned();
            assert_eq!(pair[1]["event"]["id"], id.as_str());
            let message = pair[1]["message"].as_str().expect("a message").to_owned();
            let status = match messages.insert(id, message.clone()) {
                None => 201,
                Some(before) => {
                    assert_eq!(before, message, "an id is one event's");
                    *self.known.lock().expect("not poisoned") += 1;
                    409
                }
            };
            json!({"create": {"status": status}})
        });
        json!({"items": items.collect::<Vec<_>>()}).to_string()
    }

    fn len(&self) -> usize {
        self.messages.lock().expect("not poisoned").len()
    }
}

/// Sends events, each acknowledged.
fn admit(server: &Server, token: &str, from: usize, count: usize) {
    let body: String = (from..from + count)
        .map(|n| {
            format!("{}\n", json!({"message": format!("order {n} of planted.person@example.org"), "level": "warn"}))
        })
        .collect();
    let path = "/api/dihya/v1/events?stream=shop";
    let answer = request_raw(&server.address, path, token, "application/x-ndjson", &body);
    assert_eq!(answer.status, 202, "{}", answer.body);
}

fn ids(lines: &str) -> BTreeSet<String> {
    let id =
        |line: &str| serde_json::from_str::<Value>(line).expect("is JSON")["event"]["id"].as_str().map(str::to_owned);
    lines.lines().filter_map(id).collect()
}

fn metric(server: &Server, series: &str) -> Option<f64> {
    let metrics = request(&server.address, "GET", "/metrics", Some(&server.token()), None).body;
    metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[test]
fn the_sender_is_killed_again_and_again_and_the_index_has_each_event_once() {
    const ROUNDS: usize = 4;
    const EVENTS: usize = 1_500;
    let (index, other, place) = (Index::default(), Place::new(), Place::new());
    let receiver = Server::start(&other, &[]);
    place.put("token", &agent_token(&receiver, "sender"));
    let config = format!(
        "outputs:\n  index: {{kind: elasticsearch, url: 'http://{}', gzip: false}}\n  dihya: {{kind: elasticsearch, url: \
         '{}', api_key: \"${{file:token}}\", streams: [sh*]}}\n  file: {{kind: file, path: out/events.json}}\n",
        index.start(),
        receiver.url(),
    );
    let file = place.put("dihya.yaml", &config);
    for round in 0..ROUNDS {
        let server = Server::start(&place, &["--config", &file]);
        let token = agent_token(&server, &format!("shop-{round}"));
        for part in 0..3 {
            admit(&server, &token, (round * 3 + part) * EVENTS / 3, EVENTS / 3);
        }
        // In the middle of whatever it does.
        let before = round * EVENTS;
        eventually("some of them", || (index.len() > before).then_some(()));
        server.kill();
    }
    let all = ROUNDS * EVENTS;
    let server = Server::start(&place, &["--config", &file]);
    let sent = |output: &str| {
        let of = |outcome| {
            metric(
                &server,
                &format!("dihya_output_events_total{{tenant=\"default\",output=\"{output}\",outcome=\"{outcome}\"}}"),
            )
        };
        Some((of("sent")?, of("known")?, of("refused")?, of("expired")?))
    };
    let written = place.path("out/events.json");
    let lines = || std::fs::read_to_string(&written).unwrap_or_default();
    eventually("all in the index", || (index.len() >= all).then_some(()));
    eventually("all in the file", || (ids(&lines()).len() >= all).then_some(()));
    for output in ["index", "dihya", "file"] {
        eventually("the place of each", || {
            let lag = format!("dihya_output_lag_seconds{{tenant=\"default\",output=\"{output}\"}}");
            (metric(&server, &lag) == Some(0.0)).then_some(())
        });
        let (_, _, refused, expired) = sent(output).expect("figures");
        assert_eq!((refused, expired), (0.0, 0.0), "{output}");
    }
    assert_eq!(server.stop(), Some(0));

    let messages: BTreeSet<String> = index.messages.lock().expect("not poisoned").values().cloned().collect();
    assert_eq!((index.len(), messages.len()), (all, all), "exactly once");
    assert!(messages.contains(&format!("order {} of [email]", all - 1)));
    assert_eq!(ids(&lines()).len(), all, "at least once, and each with its id");
    assert_eq!(receiver.stop(), Some(0));
    let arrived = events(&other);
    let distinct: BTreeSet<&str> =
        arrived.iter().filter_map(|event| event["attributes"]["event"]["id"].as_str()).collect();
    assert_eq!(distinct.len(), all, "Dihya keeps what is sent twice, and each has its id");
    let last = arrived.last().expect("an event");
    assert_eq!((&last["stream"], &last["severity"]), (&"dihya-shop".into(), &13.into()));
}

/// What a batch's connection is for: whoever reads all of it and closes has it.
#[test]
fn logstash_is_played_by_openssl_and_gets_every_line_over_tls() {
    if !is_there("openssl", Command::new("openssl").arg("version")) {
        return;
    }
    let place = Place::new();
    let (key, certificate) = (place.path("key.pem"), place.path("cert.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext"])
        .args(["basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("runs");
    assert!(made.status.success(), "{}", text(&made.stderr));
    let port = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port();
    let address = format!("localhost:{port}");
    let file = place.put(
        "dihya.yaml",
        &format!("outputs:\n  ls: {{kind: logstash, address: '{address}', ca_file: cert.pem, timeout: 5s}}\n"),
    );
    let server = Server::start(&place, &["--config", &file]);
    let token = agent_token(&server, "shop");
    admit(&server, &token, 0, 400);
    let failures = "dihya_output_failures_total{tenant=\"default\",output=\"ls\"}";
    eventually("a failure, since nobody listens", || metric(&server, failures).filter(|count| *count >= 1.0));

    let mut listener = Command::new("openssl")
        .args(["s_server", "-quiet", "-accept", &port.to_string(), "-cert"])
        .arg(&certificate)
        .arg("-key")
        .arg(&key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("runs");
    let out = BufReader::new(listener.stdout.take().expect("is piped"));
    let lines: Arc<Mutex<BTreeSet<u64>>> = Arc::default();
    let seen = Arc::clone(&lines);
    // Ends with the pipe.
    std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            seen.lock().expect("not poisoned").extend(line["event"]["sequence"].as_u64());
        }
    });
    eventually("all lines", || (lines.lock().expect("not poisoned").len() == 400).then_some(()));
    admit(&server, &token, 400, 100);
    eventually("those that came later", || (lines.lock().expect("not poisoned").len() == 500).then_some(()));
    let known = "dihya_output_events_total{tenant=\"default\",output=\"ls\",outcome=\"sent\"}";
    eventually("the figures", || (metric(&server, known) == Some(500.0)).then_some(()));
    listener.kill().expect("is there");
    listener.wait().expect("ends");
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_dump_of_elasticsearch_goes_through_the_server_and_keeps_its_times() {
    let place = Place::new();
    let hit = |n: usize| {
        json!({"_index": "web-2026.11.01", "_id": n.to_string(), "_score": 1, "_source": {"@timestamp":
            format!("2026-11-01T10:00:00.{n:03}Z"), "message": format!("hit {n} of planted.person@example.org")}})
    };
    let mut dump: String = (0..900).map(|n| format!("{}\n", hit(n))).collect();
    dump.push_str("{\"_source\": 7}\n");
    let page = json!({"hits": {"hits": [hit(900), hit(901)]}});
    let alone = format!("{page}\n{}\nnoise", json!({"@timestamp": "2026-11-02T00:00:00Z", "message": "alone"}));
    let gz = place.path("dump.ndjson.gz");
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(dump.as_bytes()).expect("packs");
    let zst = place.path("more.ndjson.zst");
    for (path, bytes) in
        [(&gz, packer.finish().expect("packs")), (&zst, zstd::encode_all(alone.as_bytes(), 1).expect("packs"))]
    {
        #[expect(clippy::disallowed_methods, reason = "a fixture of a test")]
        std::fs::write(path, bytes).expect("written");
    }
    let (gz, zst) = (gz.to_str().expect("UTF-8"), zst.to_str().expect("UTF-8"));
    let dry = run(&["migrate", "ndjson", "--dry-run", gz, zst]);
    assert_eq!(dry.status.code(), Some(1), "{}", text(&dry.stderr));
    assert_eq!(text(&dry.stdout), "read 903 documents\n           1  migrated\n         902  web-2026.11.01\n");
    let told = text(&dry.stderr);
    assert!(told.contains(&format!("{gz}:901: the document is no JSON object\n")), "{told}");
    assert!(told.contains(&format!("{zst}:3: the line is no JSON object\n")), "{told}");

    // Nobody answers: it says where to go on.
    let lost = run(&["migrate", "ndjson", "--from-line", "5", "--url", "http://127.0.0.1:1", gz]);
    assert_eq!(lost.status.code(), Some(1));
    let told = text(&lost.stderr);
    assert!(told.contains(&format!("to go on: dihya migrate ndjson --from-line 5 {gz}\n")), "{told}");

    let server = Server::start(&place, &[]);
    let sent = server.client(&["migrate", "ndjson", "--from-line", "101", gz, zst]);
    assert_eq!(sent.status.code(), Some(1), "{}", text(&sent.stderr));
    assert!(text(&sent.stdout).starts_with("sent 803 documents\n"), "{}", text(&sent.stdout));
    assert!(text(&sent.stderr).ends_with("2 documents or lines could not be sent\n"), "{}", text(&sent.stderr));
    assert_eq!(server.stop(), Some(0));
    let kept = events(&place);
    assert_eq!(kept.len(), 803);
    assert_eq!((&kept[0]["body"], &kept[0]["stream"]), (&"hit 100 of [email]".into(), &"web".into()));
    assert_eq!(kept[0]["time_ns"], 1_793_527_200_100_000_000_u64);
    assert_eq!((&kept[802]["body"], &kept[802]["stream"]), (&"alone".into(), &"migrated".into()));
}
