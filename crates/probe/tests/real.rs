//! Probes against the servers that people run: healthy first, then broken for real.

#[path = "../../../tests/peers/peers.rs"]
mod peers;
#[path = "../../../tests/skip.rs"]
mod skip;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use disk::{OsClock, OsDisk, OsRng};
use model::State;
use peers::{Part, Peers};
use probe::{Ctx, Fact, Means, Observation};
use serde_json::{Value as Json, json};
use tokio::time::Instant;

const PARTS: [&str; 11] =
    ["dns", "grpc", "imap", "mariadb", "nginx", "plugins", "postgres", "redis", "s3", "smtp", "ssh"];

/// All servers, started once for all tests. A static is never dropped; the end of this process closes the pipe that
/// keeps them.
static PEERS: LazyLock<Peers> = LazyLock::new(|| Peers::start(&PARTS));

fn ctx(within: Duration) -> Ctx {
    let means = Means::new(Arc::new(OsClock::default()), Arc::new(OsRng), Arc::new(OsDisk));
    let reads: BTreeSet<String> = ["tls", "sha256"].map(str::to_owned).into();
    Ctx {
        means,
        id: "real".into(),
        tenant: model::Tenant::default(),
        deadline: Instant::now() + within,
        reads: Arc::new(reads),
    }
}

async fn look_within(kind: &str, options: &Json, within: Duration) -> Observation {
    let kind = probe::kind::find(kind).expect("the kind exists");
    let probe = (kind.build)(options).expect("the options are sound");
    let seen = probe.run(&ctx(within)).await;
    let shown = format!("{} {:?}", seen.reason, seen.facts);
    for secret in ["password", "secret_key"] {
        if let Some(secret) = options[secret].as_str() {
            assert!(!shown.contains(secret), "a secret is shown: {shown}");
        }
    }
    seen
}

async fn look(kind: &str, options: &Json) -> Observation {
    look_within(kind, options, Duration::from_secs(10)).await
}

#[track_caller]
fn is(seen: &Observation, state: State, reason: &str) {
    assert_eq!((seen.state, seen.reason.as_str()), (state, reason), "{seen:?}");
}

#[track_caller]
fn is_up(seen: &Observation) {
    is(seen, State::Up, "");
}

fn fact<'a>(seen: &'a Observation, name: &str) -> &'a Fact {
    seen.facts.get(name).unwrap_or(&Fact::Null)
}

fn with(options: &Json, key: &str, value: impl Into<Json>) -> Json {
    let mut options = options.clone();
    options[key] = value.into();
    options
}

fn address(part: &Part<'_>, port: &str) -> String {
    format!("localhost:{}", part.port(port))
}

/// Frozen, stopped, and back: what every server must show.
async fn hangs_and_stops(part: &Part<'_>, kind: &str, options: &Json) {
    part.tell("freeze", "");
    let seen = look_within(kind, options, Duration::from_millis(400)).await;
    part.tell("thaw", "");
    assert_eq!(seen.state, State::Down, "{seen:?}");
    assert!(seen.reason.ends_with("timed out"), "{}", seen.reason);
    assert!(seen.timings.connect.is_some() && seen.timings.first_byte.is_none(), "{seen:?}");
    part.tell("stop", "");
    let seen = look(kind, options).await;
    is(&seen, State::Down, "could not connect: connection refused");
    assert!(seen.timings.connect.is_none());
    part.tell("start", "");
    is_up(&look(kind, options).await);
}

#[tokio::test]
async fn postgres() {
    let Some(part) = PEERS.part("postgres") else { return };
    let options = json!({
        "address": address(&part, "port"), "ca_file": part.text("ca"), "tls": "starttls",
        "user": part.text("user"), "password": part.text("password"), "database": part.text("database"),
        "query": "SELECT count(*) AS n, true AS sound, 'alice' AS name, 1.5::numeric AS ratio, NULL AS gone FROM pg_class",
    });
    let seen = look("postgres", &options).await;
    is_up(&seen);
    for phase in [seen.timings.connect, seen.timings.tls, seen.timings.first_byte] {
        assert!(phase.is_some_and(|ms| ms > 0.0), "{:?}", seen.timings);
    }
    let Fact::Map(row) = fact(&seen, "row") else { panic!("{seen:?}") };
    assert!(matches!(row["n"], Fact::Int(100..)) && row["n"] == *fact(&seen, "value"));
    assert_eq!((&row["sound"], &row["ratio"], &row["gone"]), (&Fact::Bool(true), &Fact::Float(1.5), &Fact::Null));
    assert_eq!(row["name"], Fact::Hidden("alice".into()));
    assert_eq!((fact(&seen, "rows"), fact(&seen, "read_only")), (&Fact::Int(1), &Fact::Bool(false)));
    assert_eq!(fact(&seen, "in_recovery"), &Fact::Bool(false));
    assert!(matches!(fact(&seen, "server_version"), Fact::Text(version) if version.starts_with('1')));
    postgres_logins(&part, &options).await;
    postgres_questions(&options).await;
    // Broken for real.
    part.tell("readonly", "on");
    let seen = look("postgres", &options).await;
    is_up(&seen);
    assert_eq!(fact(&seen, "read_only"), &Fact::Bool(true));
    let write = with(&options, "query", "CREATE TABLE visits (id int)");
    is(&look("postgres", &write).await, State::Down, "it may not be written to (SQLSTATE 25006)");
    part.tell("readonly", "off");
    part.tell("lock-out", "on");
    is(&look("postgres", &options).await, State::Down, "it refuses the user or the password (SQLSTATE 28P01)");
    part.tell("lock-out", "off");
    hangs_and_stops(&part, "postgres", &options).await;
}

async fn postgres_logins(part: &Part<'_>, options: &Json) {
    let account = |user: &str, tls: &str| with(&with(options, "user", user), "tls", tls);
    for (user, tls) in
        [("old_user", "none"), ("old_user", "auto"), ("clear_user", "auto"), ("tls_user", "auto"), ("dihya", "none")]
    {
        is_up(&look("postgres", &account(user, tls)).await);
    }
    let clear = look("postgres", &account("clear_user", "none")).await;
    is(&clear, State::Unknown, "it asks for the password in clear without TLS, which we refuse");
    let stranger = look("postgres", &account("nobody", "none")).await;
    is(&stranger, State::Down, "it refuses the user or the password (SQLSTATE 28P01)");
    let mut forgetful = options.clone();
    forgetful.as_object_mut().expect("an object").remove("password");
    let seen = look("postgres", &forgetful).await;
    is(&seen, State::Unknown, "it asks for a password, and the check has none");
    // Without an account, that it asks for one is enough.
    let seen = look("postgres", &json!({"address": address(part, "port"), "tls": "none"})).await;
    is_up(&seen);
    assert_eq!(fact(&seen, "authenticated"), &Fact::Bool(false));
    // A certificate that nobody we trust vouches for.
    let mut untrusting = options.clone();
    untrusting.as_object_mut().expect("an object").remove("ca_file");
    let seen = look("postgres", &untrusting).await;
    assert_eq!(seen.state, State::Down);
    assert!(seen.reason.starts_with("TLS handshake failed: "), "{}", seen.reason);
}

async fn postgres_questions(options: &Json) {
    for (query, reason) in [
        ("SELECT 1/0", "it answers with an error (SQLSTATE 22012)"),
        ("SELECT * FROM nowhere", "the query names a table that does not exist (SQLSTATE 42P01)"),
        ("SELEKT", "the query is not valid SQL (SQLSTATE 42601)"),
    ] {
        is(&look("postgres", &with(options, "query", query)).await, State::Down, reason);
    }
    let copy = look("postgres", &with(options, "query", "COPY (SELECT 1) TO STDOUT")).await;
    is(&copy, State::Unknown, "the query copies data, which a check cannot judge");
    let slow = with(options, "query", "SELECT pg_sleep(30)");
    let seen = look_within("postgres", &slow, Duration::from_millis(700)).await;
    assert_eq!(seen.state, State::Down);
    assert!(seen.reason.contains("too long") || seen.reason.contains("timed out"), "{}", seen.reason);
    let elsewhere = look("postgres", &with(options, "database", "nowhere")).await;
    is(&elsewhere, State::Down, "the database does not exist (SQLSTATE 3D000)");
}

#[tokio::test]
async fn mariadb() {
    let Some(part) = PEERS.part("mariadb") else { return };
    let options = json!({
        "address": address(&part, "port"), "ca_file": part.text("ca"), "tls": "starttls",
        "user": part.text("user"), "password": part.text("password"), "database": part.text("database"),
        "query": "SELECT 42 AS n, 'alice' AS name, 0.5 AS ratio, NULL AS gone UNION SELECT 43, 'bob', 1, NULL",
    });
    let seen = look("mysql", &options).await;
    is_up(&seen);
    for phase in [seen.timings.connect, seen.timings.tls, seen.timings.first_byte] {
        assert!(phase.is_some_and(|ms| ms > 0.0), "{:?}", seen.timings);
    }
    assert_eq!((fact(&seen, "value"), fact(&seen, "rows")), (&Fact::Int(42), &Fact::Int(2)));
    assert_eq!(fact(&seen, "read_only"), &Fact::Bool(false));
    assert!(matches!(fact(&seen, "server_version"), Fact::Text(version) if version.contains("MariaDB")));
    let Fact::Map(row) = fact(&seen, "row") else { panic!("{seen:?}") };
    assert_eq!((&row["ratio"], &row["gone"]), (&Fact::Float(0.5), &Fact::Null));
    assert_eq!(row["name"], Fact::Hidden("alice".into()));
    is_up(&look("mysql", &with(&options, "tls", "none")).await);
    is_up(&look("mysql", &with(&options, "user", "tls_user")).await);
    let without = look("mysql", &with(&with(&options, "user", "tls_user"), "tls", "none")).await;
    assert_eq!(without.state, State::Down);
    let seen = look("mysql", &json!({"address": address(&part, "port"), "tls": "none"})).await;
    is_up(&seen);
    assert_eq!(fact(&seen, "authenticated"), &Fact::Bool(false));
    for (query, reason) in [
        ("SELECT * FROM nowhere", "the query names a table that does not exist (error 1146)"),
        ("SELEKT", "the query is not valid SQL (error 1064)"),
    ] {
        is(&look("mysql", &with(&options, "query", query)).await, State::Down, reason);
    }
    let wrong = look("mysql", &with(&options, "password", "wrong-one")).await;
    is(&wrong, State::Down, "it refuses the user or the password (error 1045)");
    part.tell("readonly", "on");
    let seen = look("mysql", &options).await;
    is_up(&seen);
    assert_eq!(fact(&seen, "read_only"), &Fact::Bool(true));
    let write = with(&options, "query", "CREATE TABLE visits (id int)");
    is(&look("mysql", &write).await, State::Down, "it may not be written to (error 1290)");
    part.tell("readonly", "off");
    part.tell("lock-out", "on");
    is(&look("mysql", &options).await, State::Down, "it refuses the user or the password (error 1045)");
    part.tell("lock-out", "off");
    hangs_and_stops(&part, "mysql", &options).await;
}

#[tokio::test]
async fn redis() {
    let Some(part) = PEERS.part("redis") else { return };
    let plain = json!({"address": address(&part, "port"), "password": part.text("password")});
    let encrypted = json!({
        "address": address(&part, "tls_port"), "password": part.text("password"), "tls": "implicit",
        "ca_file": part.text("ca"), "user": "default",
    });
    for options in [&plain, &encrypted] {
        let seen = look("redis", options).await;
        is_up(&seen);
        assert_eq!(fact(&seen, "role"), &Fact::Text("master".into()));
        assert_eq!(fact(&seen, "loading"), &Fact::Bool(false));
        assert!(matches!(fact(&seen, "used_memory"), Fact::Int(1..)));
        assert!(seen.timings.first_byte.is_some());
    }
    assert!(look("redis", &encrypted).await.figures["certificate_days_left"] > 300.0);
    let seen = look("redis", &json!({"address": address(&part, "port")})).await;
    is_up(&seen);
    assert_eq!(fact(&seen, "authenticated"), &Fact::Bool(false));
    let wrong = look("redis", &with(&plain, "password", "wrong-one")).await;
    is(&wrong, State::Down, "it refuses the user or the password (WRONGPASS)");
    part.tell("readonly", "on");
    let seen = look("redis", &plain).await;
    assert_eq!(fact(&seen, "role"), &Fact::Text("slave".into()));
    assert_eq!(fact(&seen, "master_link_up"), &Fact::Bool(false));
    part.tell("readonly", "off");
    part.tell("lock-out", "on");
    is(&look("redis", &plain).await, State::Down, "it refuses the user or the password (WRONGPASS)");
    part.tell("lock-out", "off");
    hangs_and_stops(&part, "redis", &plain).await;
}

#[tokio::test]
async fn smtp() {
    let Some(part) = PEERS.part("smtp") else { return };
    let options = json!({
        "address": address(&part, "port"), "ca_file": part.text("ca"),
        "user": part.text("user"), "password": part.text("password"),
    });
    let seen = look("smtp", &options).await;
    is_up(&seen);
    assert!(seen.timings.tls.is_some() && seen.timings.first_byte.is_some());
    let Fact::List(capabilities) = fact(&seen, "capabilities") else { panic!("{seen:?}") };
    assert!(capabilities.contains(&Fact::Text("AUTH".into())));
    let implicit = with(&with(&options, "address", address(&part, "tls_port")), "tls", "implicit");
    is_up(&look("smtp", &implicit).await);
    let anonymous = json!({"address": address(&part, "port"), "tls": "none", "helo": "[127.0.0.1]"});
    is_up(&look("smtp", &anonymous).await);
    let wrong = look("smtp", &with(&options, "password", "wrong-one")).await;
    is(&wrong, State::Down, "it refuses the user or the password (reply 535)");
    let bare = look("smtp", &with(&options, "tls", "none")).await;
    is(&bare, State::Unknown, "it would take the password without TLS, which we refuse");
    hangs_and_stops(&part, "smtp", &options).await;
}

#[tokio::test]
async fn imap() {
    let Some(part) = PEERS.part("imap") else { return };
    let options = json!({
        "address": address(&part, "port"), "ca_file": part.text("ca"),
        "user": part.text("user"), "password": part.text("password"),
    });
    let seen = look("imap", &options).await;
    is_up(&seen);
    assert!(seen.timings.tls.is_some() && seen.timings.first_byte.is_some());
    let Fact::List(capabilities) = fact(&seen, "capabilities") else { panic!("{seen:?}") };
    assert!(capabilities.contains(&Fact::Text("IMAP4REV1".into())));
    let implicit = with(&with(&options, "address", address(&part, "tls_port")), "tls", "implicit");
    is_up(&look("imap", &implicit).await);
    is_up(&look("imap", &json!({"address": address(&part, "port"), "tls": "none"})).await);
    part.tell("lock-out", "on");
    is(&look("imap", &options).await, State::Down, "it refuses the user or the password (NO)");
    part.tell("lock-out", "off");
    hangs_and_stops(&part, "imap", &options).await;
}

#[tokio::test]
async fn ssh() {
    let Some(part) = PEERS.part("ssh") else { return };
    let fingerprint = part.text("fingerprint");
    let options = json!({"address": address(&part, "port"), "fingerprint": fingerprint});
    let seen = look("ssh", &options).await;
    is_up(&seen);
    assert_eq!(fact(&seen, "fingerprint"), &Fact::Text(fingerprint.to_owned()));
    assert_eq!(fact(&seen, "key_type"), &Fact::Text("ed25519".into()));
    assert!(matches!(fact(&seen, "banner"), Fact::Text(banner) if banner.starts_with("SSH-2.0-OpenSSH")));
    for kind in ["ecdsa", "rsa"] {
        let seen = look("ssh", &json!({"address": address(&part, "port"), "host_key": kind})).await;
        is_up(&seen);
        assert_eq!(fact(&seen, "key_type"), &Fact::Text(kind.into()));
    }
    let now = part.tell("swap-key", "");
    is(&look("ssh", &options).await, State::Down, "its host key is not the one expected: another machine may answer");
    let options = with(&options, "fingerprint", json!([fingerprint, now["fingerprint"]]));
    hangs_and_stops(&part, "ssh", &options).await;
}

#[tokio::test]
async fn grpc() {
    let Some(part) = PEERS.part("grpc") else { return };
    let plain = json!({"address": address(&part, "port"), "service": part.text("service")});
    let encrypted = json!({
        "address": address(&part, "tls_port"), "service": part.text("service"), "tls": "implicit",
        "ca_file": part.text("ca"),
    });
    for options in [&plain, &encrypted, &json!({"address": address(&part, "port")})] {
        let seen = look("grpc", options).await;
        is_up(&seen);
        assert_eq!(fact(&seen, "status"), &Fact::Text("SERVING".into()));
        assert!(seen.timings.first_byte.is_some() && seen.timings.transfer.is_some());
    }
    assert!(look("grpc", &encrypted).await.timings.tls.is_some());
    let unknown = look("grpc", &with(&plain, "service", "nowhere")).await;
    is(&unknown, State::Down, "it does not know the service (gRPC status 5)");
    part.tell("status", "NOT_SERVING");
    is(&look("grpc", &plain).await, State::Down, "the service says that it is not serving");
    part.tell("status", "UNKNOWN");
    is(&look("grpc", &plain).await, State::Down, "the service does not know how it is");
    part.tell("status", "SERVING");
    hangs_and_stops(&part, "grpc", &plain).await;
}

#[tokio::test]
async fn s3() {
    let Some(part) = PEERS.part("s3") else { return };
    let options = json!({
        "endpoint": format!("http://{}", address(&part, "port")), "bucket": part.text("bucket"),
        "region": part.text("region"), "access_key": part.text("access_key"), "secret_key": part.text("secret_key"),
    });
    let seen = look("s3", &options).await;
    is_up(&seen);
    assert_eq!(fact(&seen, "leftovers"), &Fact::Int(0));
    assert!(matches!(fact(&seen, "write"), Fact::Duration(_)));
    assert!(seen.timings.first_byte.is_some() && seen.timings.connect.is_some());
    let missing = look("s3", &with(&options, "bucket", "nowhere")).await;
    is(&missing, State::Down, "could not write: the bucket does not exist (status 404, NoSuchBucket)");
    let wrong = look("s3", &with(&options, "secret_key", "wrong-one")).await;
    is(&wrong, State::Down, "could not write: it refuses the access key (status 403, SignatureDoesNotMatch)");
    part.tell("leave", "real");
    let seen = look("s3", &options).await;
    is_up(&seen);
    assert_eq!(fact(&seen, "leftovers"), &Fact::Int(1), "what an earlier run left is swept");
    part.tell("readonly", "on");
    let seen = look("s3", &options).await;
    is(&seen, State::Down, "could not write: the access key may not do that (status 403, AccessDenied)");
    part.tell("readonly", "off");
    hangs_and_stops(&part, "s3", &options).await;
}

#[tokio::test]
async fn a_cable_is_unplugged() {
    let Some(part) = PEERS.part("dns") else { return };
    let tcp = json!({"address": address(&part, "port")});
    is_up(&look("tcp", &tcp).await);
    let Some(_) = part.try_tell("cut", "") else { return };
    let seen = look_within("tcp", &tcp, Duration::from_millis(300)).await;
    part.tell("mend", "");
    is(&seen, State::Down, "could not connect: timed out");
    is_up(&look("tcp", &tcp).await);
}

fn question(part: &Part<'_>, name: &str, mode: &str) -> Json {
    json!({
        "query": name, "dnssec": mode, "trust_anchor_file": part.text("trust_anchor_file"),
        "resolver": format!("127.0.0.1:{}", part.port("port")),
    })
}

#[tokio::test]
async fn dnssec() {
    let Some(part) = PEERS.part("dns") else { return };
    let seen = look("dns", &question(&part, "www.good", "require")).await;
    is_up(&seen);
    assert_eq!(fact(&seen, "dnssec"), &Fact::Text("secure".into()));
    assert_eq!(fact(&seen, "answers"), &Fact::List(vec![Fact::Text("192.0.2.10".into())]));
    assert!(matches!(fact(&seen, "signature_days_left"), Fact::Float(days) if (25.0..31.0).contains(days)), "{seen:?}");
    let seen = look("dns", &question(&part, "www.expiring", "validate")).await;
    is(&seen, State::Degraded, "a DNSSEC signature expires in 1 days and has not been renewed");
    let bogus = "the DNSSEC signatures do not hold";
    is(&look("dns", &question(&part, "www.bogus", "validate")).await, State::Down, bogus);
    // Without validation nothing is wrong with it: that is what an attacker counts on.
    is_up(&look("dns", &question(&part, "www.bogus", "none")).await);
    let seen = look("dns", &question(&part, "www.open.good", "validate")).await;
    is_up(&seen);
    assert_eq!(fact(&seen, "dnssec"), &Fact::Text("insecure".into()));
    let seen = look("dns", &question(&part, "www.open.good", "require")).await;
    is(&seen, State::Down, "the domain is not signed with DNSSEC");
    let missing = look("dns", &question(&part, "nowhere.good", "validate")).await;
    assert_eq!(fact(&missing, "rcode"), &Fact::Text("NXDOMAIN".into()), "{missing:?}");
    let other = with(&question(&part, "www.good", "validate"), "trust_anchor_file", "/nowhere/anchors");
    is(&look("dns", &other).await, State::Unknown, "could not resolve the name: trust_anchor_file cannot be read");
    // Broken for real, and mended.
    part.tell("spoil", "good");
    is(&look("dns", &question(&part, "www.good", "validate")).await, State::Down, bogus);
    part.tell("heal", "good");
    is_up(&look("dns", &question(&part, "www.good", "validate")).await);
}

/// hickory's issues 3932 and 3964: a chain of which a part does not arrive is not bogus.
#[tokio::test]
async fn dnssec_keys_that_do_not_arrive_tell_nothing() {
    const DNSKEY: [u8; 2] = 48_u16.to_be_bytes();
    let Some(part) = PEERS.part("dns") else { return };
    let server = std::net::SocketAddr::from(([127, 0, 0, 1], u16::try_from(part.port("port")).expect("a port")));
    let relay = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let resolver = relay.local_addr().expect("an address").to_string();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let mut packet = [0; 4_096];
        loop {
            let (count, client) = relay.recv_from(&mut packet).await.expect("a question");
            let question = &packet[..count];
            // The type follows the name, which ends with a zero byte.
            let end = 12 + question[12..].iter().position(|byte| *byte == 0).expect("a name") + 1;
            if question[end..end + 2] == DNSKEY {
                continue;
            }
            let onward = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
            onward.send_to(question, server).await.expect("sent");
            let mut answer = [0; 4_096];
            let count = onward.recv(&mut answer).await.expect("an answer");
            relay.send_to(&answer[..count], client).await.expect("sent");
        }
    });
    let options = with(&question(&part, "www.good", "validate"), "resolver", resolver);
    let seen = look_within("dns", &options, Duration::from_secs(60)).await;
    assert_eq!(seen.state, State::Unknown, "{seen:?}");
    assert_eq!(seen.reason, "the DNSSEC keys of the domain could not be asked for");
}

#[tokio::test]
async fn certificates() {
    let Some(part) = PEERS.part("nginx") else { return };
    let vhost = |name: &str| json!({"address": address(&part, &format!("tls.{name}")), "ca_file": part.text("ca")});
    let seen = look("tls", &vhost("good")).await;
    is_up(&seen);
    assert!(seen.timings.tls.is_some() && seen.figures["certificate_days_left"] > 300.0);
    let seen = look("tls", &vhost("soon")).await;
    is_up(&seen);
    assert!((3.0..6.0).contains(&seen.figures["certificate_days_left"]), "conditions make it degraded: {seen:?}");
    for (name, code, reason) in [
        ("expired", "expired", "the certificate has expired"),
        ("not-yet", "not_yet_valid", "the certificate is not yet valid"),
        ("wrong-host", "wrong_host", "the certificate is not for this host"),
        ("self-signed", "self_signed", "the certificate is self-signed"),
    ] {
        for kind in ["tls", "http"] {
            let mut options = vhost(name);
            options["url"] = format!("https://{}/", options["address"].as_str().expect("text")).into();
            let seen = look(kind, &options).await;
            is(&seen, State::Down, &format!("TLS handshake failed: {reason}"));
            let Fact::Map(tls) = fact(&seen, "tls") else { panic!("{seen:?}") };
            assert_eq!(tls["problem"], Fact::Text(code.into()));
            assert!(seen.timings.tls.is_some(), "the handshake was completed and measured");
        }
    }
    // A renewal that went wrong, and one that went well.
    part.tell("swap-cert", "expired");
    is(&look("tls", &vhost("good")).await, State::Down, "TLS handshake failed: the certificate has expired");
    part.tell("swap-cert", "good");
    hangs_and_stops(&part, "http", &json!({"url": format!("http://{}/", address(&part, "port"))})).await;
}

#[tokio::test]
async fn plugins() {
    let (Some(part), Some(_)) = (PEERS.part("plugins"), PEERS.part("dns")) else { return };
    let plugin = |words: &[&str]| {
        let mut command = vec![format!("{}/{}", part.text("dir"), words[0])];
        command.extend(words[1..].iter().map(|word| (*word).to_owned()));
        json!({ "command": command })
    };
    is_up(&look("exec", &plugin(&["check_dummy", "0", "fine"])).await);
    for (code, state) in [("1", State::Degraded), ("2", State::Down), ("3", State::Unknown)] {
        assert_eq!(look("exec", &plugin(&["check_dummy", code, "not fine"])).await.state, state);
    }
    let seen = look("exec", &plugin(&["check_disk", "-w", "0%", "-c", "0%", "-p", "/"])).await;
    assert_eq!(seen.state, State::Up, "{seen:?}");
    assert!(!seen.figures.is_empty(), "its performance data are figures: {seen:?}");
}
