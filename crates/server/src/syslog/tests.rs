//! Listeners on real sockets, before a ledger in memory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use model::{Body, Event, RefusalKind};
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsConnector;

use super::*;
use crate::doubles::Fixture;

/// A listener that runs until it is told to stop.
struct Running {
    address: SocketAddr,
    halt: watch::Sender<bool>,
    tasks: JoinSet<()>,
    fixture: Fixture,
}

fn config(kind: ListenerKind) -> ListenerConfig {
    ListenerConfig {
        kind,
        address: "127.0.0.1:0".into(),
        tenant: Tenant::default(),
        stream: "hosts".into(),
        time_zone: "UTC".into(),
        cert_file: None,
        key_file: None,
        client_ca_file: None,
    }
}

async fn run(config: ListenerConfig, idle_max: Duration) -> Running {
    let fixture = Fixture::new().await;
    let listener = Listener::bind(&config).await.expect("binds");
    let (address, (halt, halted)) = (listener.address(), watch::channel(false));
    let bounds = Bounds { idle_max, grace: Duration::from_millis(300) };
    let mut tasks = JoinSet::new();
    tasks.spawn(listener.serve(Means::new(&fixture.parts, bounds), halted));
    Running { address, halt, tasks, fixture }
}

const HOUR: Duration = Duration::from_secs(3_600);

impl Running {
    fn events(&self) -> Vec<Event> {
        let signals = self.fixture.ledger.signals.lock().expect("not poisoned");
        let event = |signal: &model::Signal| match &signal.body {
            Body::Event(event) if signal.source == SourceId::SYSLOG => Some((**event).clone()),
            _ => None,
        };
        signals.iter().filter_map(event).collect()
    }

    fn bodies(&self) -> Vec<String> {
        let text = |event: Event| match event.body {
            Some(model::Value::Text(text)) => text,
            _ => String::new(),
        };
        self.events().into_iter().map(text).collect()
    }

    /// Waits until as many events are there.
    async fn events_are(&self, count: usize) {
        soon(async {
            while self.events().len() < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        assert_eq!(self.events().len(), count);
    }

    async fn stop(mut self) -> Fixture {
        self.halt.send_replace(true);
        soon(self.tasks.join_next()).await.expect("a task").expect("ends well");
        self.fixture
    }

    fn metrics(&self) -> String {
        let stand = crate::metrics::Stand {
            checks: Vec::new(),
            ledgers: Vec::new(),
            outboxes: Vec::new(),
            outputs: Vec::new(),
            ready: true,
            lake_is_open: true,
        };
        self.fixture.parts.metrics.expose(&Tenant::default(), stand, None, false)
    }
}

/// Fails rather than hangs.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), future).await.expect("in time")
}

fn line(body: &str) -> String {
    format!("<13>1 2026-11-28T12:00:00Z web-1 app - - - {body}")
}

#[tokio::test]
async fn a_stream_is_taken_in_both_framings_and_to_its_last_line() {
    let running = run(config(ListenerKind::SyslogTcp), HOUR).await;
    let mut stream = TcpStream::connect(running.address).await.expect("connects");
    let counted = line("one\nmore");
    let text = format!("{} {counted}{}\n", counted.len(), line("two"));
    stream.write_all(text.as_bytes()).await.expect("writes");
    running.events_are(2).await;
    let open = "dihya_syslog_connections 1\n";
    assert!(running.metrics().contains(open), "{}", running.metrics());
    stream.write_all(line("without an end").as_bytes()).await.expect("writes");
    drop(stream);
    running.events_are(3).await;
    assert_eq!(running.bodies(), ["one\nmore", "two", "without an end"]);
    assert!(running.events().iter().all(|event| event.stream == "hosts"));
    let counted = r#"dihya_syslog_messages_total{listener="syslog-tcp",outcome="durable",tenant="default"} 3"#;
    let text = running.metrics();
    assert!(text.contains(counted) || text.contains("} 3\n"), "{text}");
    running.stop().await;
}

#[tokio::test]
async fn a_full_ledger_holds_the_sender_back_and_loses_nothing() {
    let running = run(config(ListenerKind::SyslogTcp), HOUR).await;
    running.fixture.ledger.refuse(Some(RefusalKind::Retry));
    let mut stream = TcpStream::connect(running.address).await.expect("connects");
    let long = line(&"x".repeat(10_000)) + "\n";
    // As much as sockets hold is taken, and no more: the sender waits.
    let mut sent = 0;
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(300), stream.write_all(long.as_bytes())).await {
        written.expect("writes");
        sent += 1;
        assert!(sent < 10_000, "nobody holds this sender back");
    }
    assert!(running.events().is_empty());
    running.fixture.ledger.refuse(None);
    running.events_are(sent).await;
    assert!(running.fixture.ledger.lost.lock().expect("not poisoned").is_empty());
}

#[tokio::test]
async fn what_can_never_be_recorded_and_what_waits_at_the_end_is_counted() {
    let running = run(config(ListenerKind::SyslogTcp), HOUR).await;
    let mut stream = TcpStream::connect(running.address).await.expect("connects");
    running.fixture.ledger.refuse(Some(RefusalKind::Reject));
    stream.write_all((line("never") + "\n").as_bytes()).await.expect("writes");
    let lost = |fixture: &Fixture, cause| fixture.ledger.lost.lock().expect("not poisoned").get(cause).copied();
    soon(async {
        while lost(&running.fixture, "syslog_refused") != Some(1) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    running.fixture.ledger.refuse(Some(RefusalKind::Retry));
    stream.write_all((line("later") + "\n").as_bytes()).await.expect("writes");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let fixture = running.stop().await;
    assert_eq!(lost(&fixture, "stopped"), Some(1));
}

#[tokio::test]
async fn who_says_nothing_is_let_go_and_who_never_ends_does_not_stop_the_end() {
    let running = run(config(ListenerKind::SyslogTcp), Duration::from_millis(50)).await;
    let mut silent = TcpStream::connect(running.address).await.expect("connects");
    silent.write_all(b"<13>half").await.expect("writes");
    let mut end = [0];
    assert_eq!(soon(silent.read(&mut end)).await.expect("closed in order"), 0);
    running.events_are(1).await;
    let address = running.address;
    let mut endless = JoinSet::new();
    endless.spawn(async move {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        while stream.write_all((line("again") + "\n").as_bytes()).await.is_ok() {}
    });
    soon(async {
        while running.events().len() < 100 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    running.stop().await;
    soon(endless.join_next()).await;
}

#[tokio::test]
async fn datagrams_are_taken_and_those_without_room_are_counted() {
    let running = run(config(ListenerKind::SyslogUdp), HOUR).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
    let send = async |text: &str| {
        socket.send_to(text.as_bytes(), running.address).await.expect("sends");
    };
    for number in 0..100 {
        send(&line(&number.to_string())).await;
    }
    send("").await;
    running.events_are(100).await;
    running.fixture.ledger.refuse(Some(RefusalKind::Retry));
    let long = line(&"x".repeat(60_000));
    soon(async {
        while running.fixture.ledger.lost.lock().expect("not poisoned").is_empty() {
            for _ in 0..20 {
                send(&long).await;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let fixture = running.stop().await;
    let lost = fixture.ledger.lost.lock().expect("not poisoned");
    assert!(lost.contains_key("syslog_queue_full") && lost.contains_key("stopped"), "{lost:?}");
}

/// An authority with a certificate for a server and one for a sender, in files.
struct Authority {
    dir: tempfile::TempDir,
    ca: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("valid");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).expect("signs");
        let der = ca.der().clone();
        let issuer = rcgen::Issuer::new(params, key);
        let put = |name: &str, text: &str| {
            #[expect(clippy::disallowed_methods, reason = "a fixture of a test")]
            std::fs::write(dir.path().join(name), text).expect("written");
        };
        put("ca.pem", &ca.pem());
        for name in ["server", "sender"] {
            let key = rcgen::KeyPair::generate().expect("a key");
            let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("valid");
            put(&format!("{name}.pem"), &params.signed_by(&key, &issuer).expect("signs").pem());
            put(&format!("{name}.key"), &key.serialize_pem());
        }
        Self { dir, ca: der }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn listener(&self, asks: bool) -> ListenerConfig {
        ListenerConfig {
            cert_file: Some(self.path("server.pem")),
            key_file: Some(self.path("server.key")),
            client_ca_file: asks.then(|| self.path("ca.pem")),
            ..config(ListenerKind::SyslogTls)
        }
    }

    /// Sends a line, with a certificate or without, as far as it is let.
    async fn send(&self, address: SocketAddr, with_certificate: bool, text: &str) {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_root_certificates(roots);
        let client = if with_certificate {
            let chain = vec![CertificateDer::from_pem_file(self.path("sender.pem")).expect("reads")];
            let key = PrivateKeyDer::from_pem_file(self.path("sender.key")).expect("reads");
            builder.with_client_auth_cert(chain, key).expect("fits")
        } else {
            builder.with_no_client_auth()
        };
        let stream = TcpStream::connect(address).await.expect("connects");
        let name = ServerName::try_from("localhost").expect("a name");
        let mut stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await.expect("trusts the server");
        let counted = line(text);
        let _ = stream.write_all(format!("{} {counted}", counted.len()).as_bytes()).await;
        let _ = stream.shutdown().await;
        let _ = stream.read(&mut [0]).await;
    }
}

#[tokio::test]
async fn tls_lets_in_whom_the_authority_knows() {
    let authority = Authority::new();
    let open = run(authority.listener(false), HOUR).await;
    authority.send(open.address, false, "from anybody").await;
    open.events_are(1).await;
    open.stop().await;
    let asking = run(authority.listener(true), HOUR).await;
    authority.send(asking.address, false, "from a stranger").await;
    authority.send(asking.address, true, "from a sender").await;
    asking.events_are(1).await;
    assert_eq!(asking.bodies(), ["from a sender"]);
    // Who does not speak TLS is nobody.
    let mut plain = TcpStream::connect(asking.address).await.expect("connects");
    plain.write_all((line("plain") + "\n").as_bytes()).await.expect("writes");
    let mut answer = Vec::new();
    let _ = soon(plain.read_to_end(&mut answer)).await;
    assert_eq!(asking.events().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_listened_with_is_named() {
    let authority = Authority::new();
    let without = ListenerConfig { client_ca_file: Some(authority.path("server.key")), ..authority.listener(true) };
    let error = Listener::bind(&without).await.err().expect("no authority");
    assert!(error.to_string().contains("server.key"), "{error}");
    let missing = ListenerConfig { cert_file: Some(Path::new("/nonexistent").into()), ..authority.listener(false) };
    assert!(matches!(Listener::bind(&missing).await, Err(Error::CertificateFile { .. })));
    for kind in [ListenerKind::SyslogUdp, ListenerKind::SyslogTcp] {
        let nowhere = ListenerConfig { address: "192.0.2.1:1".into(), ..config(kind) };
        assert!(matches!(Listener::bind(&nowhere).await, Err(Error::Bind { .. })));
    }
}
