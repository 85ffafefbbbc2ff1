//! Outputs over a ledger in memory, against receivers on sockets: what arrives, what is repeated, what is given up.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use model::{BoxFuture, Refusal, StepClock};
use serde_json::{Value as Json, json};

use super::*;
use crate::config;
use crate::seam::{Places, Source};

/// A ledger in memory, and what was said to it.
#[derive(Default)]
struct Ledger {
    records: Mutex<Vec<Recorded>>,
    grown: tokio::sync::Notify,
    consumed: Mutex<BTreeMap<String, Position>>,
    lost: Mutex<Vec<(&'static str, u64)>>,
    written: AtomicU64,
    ended: AtomicBool,
}

struct Reading {
    ledger: Arc<Ledger>,
    tenant: Tenant,
    next: Position,
}

impl Feed for Reading {
    fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    fn read(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Recorded>, Refusal>> {
        let records = lock(&self.ledger.records);
        let from = usize::try_from(self.next).expect("fits");
        let read: Vec<_> = records.iter().skip(from).take(max).cloned().collect();
        self.next += read.len() as u64;
        Box::pin(async move { Ok(read) })
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            while lock(&self.ledger.records).len() as u64 <= self.next {
                let _ = tokio::time::timeout(Duration::from_millis(20), self.ledger.grown.notified()).await;
            }
        })
    }
}

/// The ledger by what an output asks of it.
struct Seen(Arc<Ledger>);

impl Source for Seen {
    fn events(&self, tenant: &Tenant, from: Position) -> Result<Box<dyn Feed>, Refusal> {
        Ok(Box::new(Reading { ledger: Arc::clone(&self.0), tenant: tenant.clone(), next: from }))
    }

    fn next_position(&self, _: &Tenant) -> Result<Position, Refusal> {
        Ok(lock(&self.0.records).len() as u64)
    }

    fn consumed(&self, output: &str, _: &Tenant, position: Position) {
        lock(&self.0.consumed).insert(output.to_owned(), position);
    }

    fn lose(&self, _: &Tenant, cause: &'static str, count: u64) {
        lock(&self.0.lost).push((cause, count));
    }

    fn written_bytes(&self) -> u64 {
        self.0.written.load(Ordering::SeqCst)
    }

    fn is_full(&self) -> bool {
        false
    }

    fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::SeqCst)
    }
}

#[derive(Default)]
struct Kept(Mutex<BTreeMap<(String, Tenant), Position>>, AtomicBool);

impl Places for Kept {
    fn load<'a>(&'a self, output: &'a str, tenant: &'a Tenant) -> BoxFuture<'a, Result<Option<Position>, String>> {
        let place = lock(&self.0).get(&(output.to_owned(), tenant.clone())).copied();
        let refused = self.1.load(Ordering::SeqCst);
        Box::pin(async move { if refused { Err("the state is busy".to_owned()) } else { Ok(place) } })
    }

    fn store<'a>(&'a self, output: &'a str, tenant: &'a Tenant, next: Position) -> BoxFuture<'a, Result<(), String>> {
        lock(&self.0).insert((output.to_owned(), tenant.clone()), next);
        Box::pin(async move { Ok(()) })
    }
}

/// Everything that outlives a start.
struct House {
    ledger: Arc<Ledger>,
    places: Arc<Kept>,
    clock: Arc<StepClock>,
    dir: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let start = "2026-11-27T10:00:02Z".parse().expect("a time");
        let dir = tempfile::tempdir().expect("a directory");
        Self { ledger: Arc::default(), places: Arc::default(), clock: Arc::new(StepClock::new(start)), dir }
    }

    fn admit(&self, stream: &str, count: usize) {
        let mut records = lock(&self.ledger.records);
        for _ in 0..count {
            let position = records.len() as u64;
            let body = format!("line {position}");
            let event =
                Event { stream: stream.into(), observed_ns: 1, body: Some(body.as_str().into()), ..Event::default() };
            records.push(crate::ecs::tests::recorded(position, event));
        }
        drop(records);
        self.ledger.grown.notify_waiters();
    }

    async fn start(&self, outputs: Json) -> Outputs {
        let world = World {
            disk: Arc::new(disk::OsDisk),
            clock: Arc::clone(&self.clock) as _,
            source: Arc::new(Seen(Arc::clone(&self.ledger))),
            places: Arc::clone(&self.places) as _,
            instance: "localhost".into(),
            directory: self.dir.path().to_owned(),
            hold_bytes: 1_000,
            linger: Duration::from_millis(1),
            again: Duration::from_millis(10),
        };
        let running = Outputs::new(world);
        running.reload(&config::read(&outputs).expect("reads"), &[Tenant::default()]).await;
        running
    }

    fn place(&self, name: &str) -> Option<Position> {
        lock(&self.places.0).get(&(name.to_owned(), Tenant::default())).copied()
    }
}

async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..6_000 {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come");
}

/// An Elasticsearch as far as `_bulk` goes: it has each id once, and answers for each item as it is told to.
struct Index {
    address: String,
    documents: Arc<Mutex<BTreeMap<String, Json>>>,
    heads: Arc<Mutex<Vec<String>>>,
}

/// What the index answers: the status of a whole request, or of each of its items by the document's message.
#[derive(Clone, Default)]
struct Script {
    whole: Arc<Mutex<Vec<u16>>>,
    items: Arc<Mutex<BTreeMap<String, u16>>>,
    /// Most items of a body that is not too large.
    most: Arc<AtomicU64>,
}

impl Index {
    fn start(script: &Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let index = Self { address, documents: Arc::default(), heads: Arc::default() };
        let (kept, asked, script) = (Arc::clone(&index.documents), Arc::clone(&index.heads), script.clone());
        // Ends with the process: a test has no way to say that it will ask no more.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                serve(&stream, &kept, &asked, &script);
            }
        });
        index
    }

    fn output(&self) -> Json {
        json!({"kind": "elasticsearch", "url": format!("http://{}/es", self.address), "timeout": "5s"})
    }

    fn len(&self) -> usize {
        lock(&self.documents).len()
    }
}

fn serve(stream: &TcpStream, kept: &Mutex<BTreeMap<String, Json>>, asked: &Mutex<Vec<String>>, script: &Script) {
    let mut reader = BufReader::new(stream.try_clone().expect("clones"));
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let length = field("content-length: ").and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a whole body");
        if field("content-encoding: ").is_some() {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&*body).read_to_end(&mut plain).expect("is packed");
            body = plain;
        }
        lock(asked).push(head);
        let whole = lock(&script.whole).pop();
        let (status, answer) = match whole {
            Some(0) => return,
            Some(status) => (status, "{}".to_owned()),
            None => bulk(&body, kept, script),
        };
        let head = format!("HTTP/1.1 {status} X\r\nretry-after: 0\r\ncontent-length: {}\r\n\r\n", answer.len());
        let mut stream = stream;
        if stream.write_all((head + &answer).as_bytes()).is_err() {
            return;
        }
    }
}

fn bulk(body: &[u8], kept: &Mutex<BTreeMap<String, Json>>, script: &Script) -> (u16, String) {
    let lines: Vec<Json> = body
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).expect("is JSON"))
        .collect();
    let most = script.most.load(Ordering::SeqCst);
    if most > 0 && lines.len() as u64 / 2 > most {
        return (413, String::new());
    }
    let mut kept = lock(kept);
    let mut items = Vec::new();
    for pair in lines.chunks(2) {
        let [action, document] = pair else { panic!("an action without its document") };
        let id = action["create"]["_id"].as_str().expect("an id").to_owned();
        let told = lock(&script.items).get(document["message"].as_str().unwrap_or_default()).copied();
        items.push(match told {
            Some(status) => json!({"create": {"status": status, "error": {"type": "document_parsing_exception"}}}),
            None if kept.contains_key(&id) => json!({"create": {"status": 409}}),
            None => {
                let mut document = document.clone();
                document["_index"] = action["create"]["_index"].clone();
                kept.insert(id, document);
                json!({"create": {"status": 201}})
            }
        });
    }
    (200, json!({"items": items}).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_in_the_index_once_however_often_they_are_sent() {
    let (house, script) = (House::new(), Script::default());
    let index = Index::start(&script);
    house.admit("shop", 300);
    house.admit("other", 5);
    let mut output = index.output();
    output["streams"] = json!(["sh*", "none"]);
    output["username"] = json!("u");
    output["password"] = json!("p");
    let outputs = house.start(json!({"es": output})).await;
    eventually("all", || (index.len() == 300).then_some(())).await;
    house.admit("shop", 10);
    eventually("the rest", || (house.place("es") == Some(315)).then_some(())).await;
    let document = lock(&index.documents).values().next().expect("one").clone();
    assert_eq!(document["_index"], "dihya-shop-2026.11.27");
    let head = lock(&index.heads)[0].to_ascii_lowercase();
    assert!(head.starts_with("post /es/_bulk?filter_path=") && head.contains("authorization: basic dtpw"), "{head}");
    assert_eq!(lock(&house.ledger.consumed)["output:es"], 315);

    // As after a crash: the last place was not stored.
    outputs.stop().await;
    lock(&house.places.0).insert(("es".to_owned(), Tenant::default()), 7);
    let outputs = house.start(json!({"es": index.output()})).await;
    eventually("all once more", || (house.place("es") == Some(315)).then_some(())).await;
    let standing = || outputs.standings().remove(0);
    let standing = eventually("no lag", || Some(standing()).filter(|standing| standing.lag.is_zero())).await;
    assert_eq!((standing.sent, standing.known, standing.failures), (5, 303, 0), "{standing:?}");
    assert_eq!((index.len(), standing.let_go), (315, false));
    assert!(standing.bytes > 0 && standing.position == 315);
    outputs.stop().await;
}

/// Whoever waits for no lag before a shutdown would else lose what was not looked at yet.
#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_has_not_looked_yet_lags() {
    let (house, index) = (House::new(), Index::start(&Script::default()));
    house.admit("shop", 3);
    house.places.1.store(true, Ordering::SeqCst);
    let outputs = house.start(json!({"es": index.output()})).await;
    house.clock.advance(Duration::from_secs(60));
    assert!(outputs.standings()[0].lag >= Duration::from_secs(60));
    house.places.1.store(false, Ordering::SeqCst);
    eventually("no lag", || outputs.standings()[0].lag.is_zero().then_some(())).await;
    assert_eq!((index.len(), house.place("es")), (3, Some(3)));
    outputs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_that_fail_are_told_apart_and_hold_up_nobody() {
    let (house, script) = (House::new(), Script::default());
    script.items.lock().expect("a script").extend([("line 3".to_owned(), 400), ("line 5".to_owned(), 429)]);
    // A connection that breaks off, a receiver that is busy, one that wants another password.
    script.whole.lock().expect("a script").extend([401, 503, 429, 0]);
    let index = Index::start(&script);
    house.admit("shop", 20);
    let outputs = house.start(json!({"es": index.output()})).await;
    eventually("all but two", || (index.len() == 18).then_some(())).await;
    // Those of the whole bodies came before it.
    let failing = || outputs.standings().remove(0).failing;
    eventually("the failure", || (failing()? == "the index answered 429").then_some(())).await;
    assert_eq!((house.place("es"), lock(&house.ledger.lost).clone()), (None, vec![("output_refused", 1)]));
    assert!(outputs.ailments().is_empty());
    house.clock.advance(Duration::from_secs(600));
    let told = outputs.ailments();
    assert_eq!(told, ["output es: events of default have waited 10 min: the index answered 429"]);
    assert!(outputs.standings()[0].lag >= Duration::from_secs(600));

    lock(&script.items).remove("line 5");
    eventually("the other one", || (house.place("es") == Some(20)).then_some(())).await;
    let standing = outputs.standings().remove(0);
    assert_eq!((index.len(), standing.sent, standing.refused, standing.failing), (19, 19, 1, None));

    // What is never taken while others are is given up in the end.
    lock(&script.items).insert("line 21".to_owned(), 503);
    house.admit("shop", 3);
    eventually("the others", || (index.len() == 21).then_some(())).await;
    house.clock.advance(Duration::from_secs(4 * 86_400));
    eventually("the end of it", || (house.place("es") == Some(23)).then_some(())).await;
    assert_eq!(lock(&house.ledger.lost).iter().map(|(_, count)| count).sum::<u64>(), 2);
    outputs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_sent_in_parts() {
    let (house, script) = (House::new(), Script::default());
    script.most.store(9, Ordering::SeqCst);
    let index = Index::start(&script);
    house.admit("shop", 100);
    let mut output = index.output();
    output["gzip"] = json!(false);
    output["api_key"] = json!("id:key");
    output["pipeline"] = json!("a b");
    let outputs = house.start(json!({"es": output})).await;
    eventually("all", || (index.len() == 100).then_some(())).await;
    let head = lock(&index.heads)[0].clone();
    assert!(head.contains("&pipeline=a+b ") && head.contains("authorization: ApiKey aWQ6a2V5"), "{head}");
    outputs.stop().await;

    // One that is refused alone is left behind.
    let (house, script) = (House::new(), Script::default());
    script.whole.lock().expect("a script").push(413);
    let index = Index::start(&script);
    house.admit("shop", 1);
    let outputs = house.start(json!({"es": index.output()})).await;
    eventually("it is given up", || (house.place("es") == Some(1)).then_some(())).await;
    assert_eq!((index.len(), outputs.standings()[0].refused), (0, 1));
    outputs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_too_long_is_let_go_and_what_is_gone_is_counted() {
    let house = House::new();
    house.admit("shop", 10);
    let nobody = json!({"kind": "logstash", "address": "127.0.0.1:1", "tls": false, "give_up_after": "1h"});
    let outputs = house.start(json!({"ls": nobody})).await;
    let consumed = || lock(&house.ledger.consumed).get("output:ls").copied();
    eventually("a failure", || outputs.standings().remove(0).failing).await;
    assert_eq!(consumed(), Some(0), "the ledger waits for it");
    house.clock.advance(Duration::from_secs(3_700));
    eventually("it is let go", || (consumed() == Some(Position::MAX)).then_some(())).await;
    assert!(outputs.standings()[0].let_go);
    assert!(outputs.ailments()[0].contains(", and payloads are kept for it no longer: could not connect"));
    outputs.stop().await;

    // The same for many bytes.
    let outputs = house.start(json!({"ls": {"kind": "logstash", "address": "127.0.0.1:1", "tls": false}})).await;
    eventually("a failure", || outputs.standings().remove(0).failing).await;
    assert_eq!(consumed(), Some(0));
    house.ledger.written.store(2_000, Ordering::SeqCst);
    eventually("it is let go", || outputs.standings()[0].let_go.then_some(())).await;
    outputs.stop().await;

    // Retention deleted some of them meanwhile; before the first that an output met, none were promised to it.
    for record in &mut lock(&house.ledger.records)[2..5] {
        record.signal.body = Event { stream: "shop".into(), ..Event::default() }.into();
    }
    lock(&house.places.0).insert(("old".to_owned(), Tenant::default()), 2);
    let file = |path: &str| json!({"kind": "file", "path": path});
    let outputs = house.start(json!({"old": file("old.json"), "new": file("new.json")})).await;
    eventually("both", || (house.place("old") == Some(10) && house.place("new") == Some(10)).then_some(())).await;
    let count = |path: &str| std::fs::read_to_string(house.dir.path().join(path)).expect("reads").lines().count();
    assert_eq!((count("old.json"), count("new.json")), (5, 7));
    let expired: Vec<_> = outputs.standings().into_iter().map(|standing| standing.expired).collect();
    assert_eq!((expired, lock(&house.ledger.lost).clone()), (vec![0, 3], vec![("output_expired", 3)]));
    outputs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_put_in_force_while_the_rest_goes_on() {
    let house = House::new();
    house.admit("shop", 5);
    let file = |path: &str, streams: &str| json!({"kind": "file", "path": path, "streams": streams, "begin": "now"});
    let outputs = house.start(json!({"a": file("a.json", "*"), "b": file("b.json", "*")})).await;
    eventually("both places", || (house.place("a").is_some() && house.place("b").is_some()).then_some(())).await;
    house.admit("shop", 3);
    eventually("both", || (house.place("a") == Some(8) && house.place("b") == Some(8)).then_some(())).await;
    let other = config::read(&json!({"a": file("c.json", "*")})).expect("reads");
    outputs.reload(&other, &[Tenant::default()]).await;
    assert_eq!(lock(&house.ledger.consumed)["output:b"], Position::MAX, "nothing waits for it");
    house.admit("shop", 2);
    eventually("the other file", || (house.place("a") == Some(10)).then_some(())).await;
    let count =
        |path: &str| std::fs::read_to_string(house.dir.path().join(path)).map_or(0, |text| text.lines().count());
    assert_eq!((count("a.json"), count("b.json"), count("c.json")), (3, 3, 2));
    let line = std::fs::read_to_string(house.dir.path().join("c.json")).expect("reads");
    let line: Json = serde_json::from_str(line.lines().next().expect("a line")).expect("is JSON");
    assert_eq!((&line["message"], &line["event"]["sequence"]), (&json!("line 8"), &json!(8)));
    // An old copy of the ledger has fewer records than were handed over.
    outputs.stop().await;
    lock(&house.ledger.records).truncate(4);
    let outputs = house.start(json!({"a": file("c.json", "*")})).await;
    eventually("the place", || (house.place("a") == Some(4)).then_some(())).await;
    house.admit("shop", 1);
    eventually("what is recorded anew", || (house.place("a") == Some(5)).then_some(())).await;
    // When the ledger has ended, so has what reads it.
    house.ledger.ended.store(true, Ordering::SeqCst);
    house.admit("shop", 1);
    eventually("its end", || {
        lock(&outputs.running).values_mut().all(|running| running.task.try_join_next().is_some()).then_some(())
    })
    .await;
    assert_eq!(house.place("a"), Some(5));
    outputs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_bounded_and_nothing_is_left_out_between_them() {
    let house = House::new();
    house.admit("shop", 40);
    for record in lock(&house.ledger.records).iter_mut() {
        let Body::Event(event) = &mut record.signal.body else { continue };
        event.body = Some("x".repeat(400_000).as_str().into());
    }
    let outputs = house.start(json!({"f": {"kind": "file", "path": "f.json", "rotate_size": 1 << 30}})).await;
    eventually("all", || (house.place("f") == Some(40)).then_some(())).await;
    let text = std::fs::read_to_string(house.dir.path().join("f.json")).expect("reads");
    let sequence = |line: &str| serde_json::from_str::<Json>(line).expect("is JSON")["event"]["sequence"].as_u64();
    assert_eq!(text.lines().filter_map(sequence).collect::<Vec<_>>(), (0..40).collect::<Vec<_>>());
    outputs.stop().await;
}

/// A receiver that reads to the end and closes; one that breaks off in the middle gets it all again.
#[tokio::test(flavor = "multi_thread")]
async fn logstash_gets_lines_over_tcp_and_tls_at_least_once() {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let house = House::new();
    disk::write_atomic(&disk::OsDisk, &house.dir.path().join("ca.pem"), key.cert.pem().as_bytes()).expect("written");
    house.admit("shop", 50);
    for tls in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let server = tls.then(|| {
            let key_der = rustls_pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).expect("a key");
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
            let config = config.expect("versions").with_no_client_auth();
            Arc::new(config.with_single_cert(vec![key.cert.der().clone()], key_der).expect("a pair"))
        });
        let lines: Arc<Mutex<BTreeSet<u64>>> = Arc::default();
        let seen = Arc::clone(&lines);
        std::thread::spawn(move || {
            let mut broken = false;
            for mut stream in listener.incoming().map_while(Result::ok) {
                if !std::mem::replace(&mut broken, true) {
                    continue; // dropped unread: a reset
                }
                let mut text = String::new();
                if let Some(config) = &server {
                    let Ok(connection) = rustls::ServerConnection::new(Arc::clone(config)) else { continue };
                    let mut stream = rustls::StreamOwned::new(connection, stream);
                    if stream.read_to_string(&mut text).is_err() {
                        continue;
                    }
                    stream.conn.send_close_notify();
                    let _ = stream.flush();
                } else if stream.read_to_string(&mut text).is_err() {
                    continue;
                }
                let numbers = text.lines().filter_map(|line| {
                    serde_json::from_str::<Json>(line).expect("is JSON")["event"]["sequence"].as_u64()
                });
                lock(&seen).extend(numbers);
            }
        });
        let name = format!("ls-{tls}");
        let mut output = json!({"kind": "logstash", "address": format!("127.0.0.1:{port}"), "tls": tls});
        if tls {
            output["ca_file"] = json!("ca.pem");
            output["server_name"] = json!("localhost");
        }
        let outputs = house.start(json!({name.as_str(): output})).await;
        eventually("all", || (house.place(&name) == Some(50)).then_some(())).await;
        assert_eq!(lock(&lines).len(), 50);
        let standing = outputs.standings().remove(0);
        assert!(standing.sent == 50 && standing.failures >= 1, "{standing:?}");
        outputs.stop().await;
    }
    // A certificate that nobody vouches for, and authorities that are not there.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    for (ca, why) in [(json!("none.pem"), "could not open "), (json!("ca.pem"), "could not agree on TLS")] {
        let output = json!({"kind": "logstash", "address": address, "timeout": "100ms", "ca_file": ca, "server_name": "localhost"});
        let outputs = house.start(json!({"bad": output})).await;
        std::thread::scope(|scope| {
            scope.spawn(|| listener.accept().map(|(mut stream, _)| stream.write_all(b"no TLS at all\r\n")));
        });
        let failing = eventually("a failure", || outputs.standings().remove(0).failing).await;
        assert!(failing.starts_with(why) || failing.contains("in time"), "{failing}");
        outputs.stop().await;
    }
}

#[test]
fn patterns_of_streams_fit_as_people_mean_them() {
    for (pattern, name, expected) in [
        ("*", "", true),
        ("web-*", "web-1", true),
        ("web-*", "awe", false),
        ("web", "web", true),
        ("web", "web-1", false),
        ("*-prod", "web-prod", true),
        ("a*b*c", "a1b2c", true),
        ("a*b*c", "a1c", false),
        ("ab*ab", "ab", false),
        ("ab*ab", "abab", true),
    ] {
        assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
    }
}
