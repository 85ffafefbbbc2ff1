//! The server on real sockets: protocols, certificates, bounds, hostile clients.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::*;
use crate::doubles::Fixture;

/// A server that runs until it is told to stop.
struct Running {
    address: SocketAddr,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    tasks: JoinSet<()>,
    fixture: Fixture,
}

fn quick() -> Bounds {
    Bounds {
        connections_max: 4,
        per_client_max: 4,
        head_timeout: Duration::from_millis(150),
        idle_max: Duration::from_millis(150),
        grace: Duration::from_millis(300),
    }
}

fn anywhere() -> Config {
    Config { listen: "127.0.0.1:0".into(), ..Config::default() }
}

async fn run(config: Config, bounds: Bounds) -> Running {
    let fixture = Fixture::new().await;
    let mut server = Server::bind(config, fixture.parts.clone()).await.expect("binds");
    (server.bounds, server.housekeeping) = (bounds, Duration::from_millis(20));
    let (stop, stopped) = oneshot::channel::<()>();
    let (address, handle) = (server.address(), server.handle());
    assert!(server.url().ends_with(&address.to_string()));
    let mut tasks = JoinSet::new();
    tasks.spawn(server.serve(async {
        let _ = stopped.await;
    }));
    Running { address, handle, stop: Some(stop), tasks, fixture }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connects")
    }

    async fn ask(&self, text: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.expect("writes");
        read(&mut stream).await
    }

    fn stop(&mut self) {
        self.stop.take().expect("not stopped before").send(()).expect("runs");
    }

    async fn ended(&mut self) {
        soon(self.tasks.join_next()).await.expect("a task").expect("ends well");
    }
}

/// Fails rather than hangs.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), future).await.expect("in time")
}

async fn read(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut bytes = Vec::new();
    // A reset after the answer is as good an end as any.
    let _ = soon(stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

const LIVE: &str = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn http_1_and_http_2_share_the_address() {
    let mut running = run(anywhere(), Bounds::default()).await;
    assert!(running.ask(LIVE).await.starts_with("HTTP/1.1 200 OK\r\n"));
    let io = TokioIo::new(running.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("shakes hands");
    running.tasks.spawn(async {
        let _ = connection.await;
    });
    let request = Request::builder().uri("http://x/livez").body(Empty::<bytes::Bytes>::new()).expect("a request");
    let response = soon(sender.send_request(request)).await.expect("answers");
    assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
    assert_eq!(response.into_body().collect().await.expect("reads").to_bytes(), "ok\n");
}

#[tokio::test]
async fn garbage_ends_the_connection_and_nothing_else() {
    let running = run(anywhere(), quick()).await;
    for bad in [
        "\0\0\0\0\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000)),
        format!("GET /livez HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(100_000)),
        format!("GET /livez HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(200)),
        "POST /api/dihya/v1/alerts HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_owned(),
    ] {
        let answer = running.ask(&bad).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert!(running.ask(LIVE).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_client_that_says_nothing_or_dribbles_is_dropped() {
    let running = run(anywhere(), quick()).await;
    // Nothing; half a request line; the beginning of HTTP/2's preface, on which a naive server waits for ever.
    for beginning in ["", "GET /liv", "PRI * HTTP/2.0\r\n\r\nSM", "GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
        let mut stream = running.connect().await;
        stream.write_all(beginning.as_bytes()).await.expect("writes");
        let mut rest = Vec::new();
        let _ = soon(stream.read_to_end(&mut rest)).await;
    }
    // Keep-alive without a next request ends as well.
    let mut stream = running.connect().await;
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("writes");
    assert!(read(&mut stream).await.starts_with("HTTP/1.1 200"));
}

/// One client that held every connection kept all others out.
#[tokio::test]
async fn a_client_has_its_share_of_the_connections() {
    let running = run(anywhere(), Bounds { connections_max: 3, per_client_max: 1, ..Bounds::default() }).await;
    let mut held = running.connect().await;
    held.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("writes");
    let mut first = [0; 8];
    soon(held.read_exact(&mut first)).await.expect("is served");
    let mut beyond = running.connect().await;
    assert_eq!(read(&mut beyond).await, "", "closed at once, and no slot is lost");
    drop(held);
    loop {
        // The place comes free when the server has seen the end.
        if running.ask(LIVE).await.starts_with("HTTP/1.1 200") {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_their_turn() {
    let running = run(anywhere(), Bounds { connections_max: 1, ..quick() }).await;
    let idle = running.connect().await;
    // The second is served once the first was dropped for saying nothing.
    assert!(running.ask(LIVE).await.starts_with("HTTP/1.1 200"));
    drop(idle);
}

#[tokio::test]
async fn stopping_lets_requests_in_flight_end() {
    let mut running = run(anywhere(), Bounds::default()).await;
    let mut stream = running.connect().await;
    let head = format!(
        "POST /api/dihya/v1/alerts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 33\r\n\r\n",
        running.fixture.admin
    );
    stream.write_all(head.as_bytes()).await.expect("writes");
    // The request is in flight once the server has seen its head: the count of requests would say so only at its end.
    while running.fixture.parts.tokens.list(&model::Tenant::default())[0].used_at.is_none() {
        tokio::task::yield_now().await;
    }
    running.stop();
    stream.write_all(br#"{"message": "x", "level": "info"}"#).await.expect("writes");
    assert!(read(&mut stream).await.starts_with("HTTP/1.1 202 Accepted"));
    running.ended().await;
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_hold_up_the_stop() {
    let mut running = run(anywhere(), quick()).await;
    let mut stream = running.connect().await;
    let head = format!(
        "POST /api/dihya/v1/alerts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 33\r\n\r\n",
        running.fixture.admin
    );
    stream.write_all(head.as_bytes()).await.expect("writes");
    while running.fixture.parts.tokens.list(&model::Tenant::default())[0].used_at.is_none() {
        tokio::task::yield_now().await;
    }
    running.stop();
    running.ended().await;
}

/// Writes a self-signed certificate for `name` and returns it.
#[expect(clippy::disallowed_methods, reason = "a test's own files, in a temporary directory")]
fn certify(dir: &Path, name: &str) -> rustls::pki_types::CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("certifies");
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).expect("writes");
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).expect("writes");
    made.cert.der().clone()
}

fn with_tls(dir: &Path) -> Config {
    let tls = TlsConfig { cert_file: dir.join("cert.pem"), key_file: dir.join("key.pem") };
    Config { tls: Some(tls), ..anywhere() }
}

/// Asks over TLS, trusting one certificate, and returns the answer and the protocol agreed on.
async fn ask_tls(
    running: &Running,
    trusted: &rustls::pki_types::CertificateDer<'static>,
    name: &str,
) -> Option<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, running.connect().await).await.ok()?;
    stream.write_all(LIVE.as_bytes()).await.expect("writes");
    Some(read(&mut stream).await)
}

#[tokio::test]
async fn a_certificate_is_renewed_without_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = certify(dir.path(), "one.example");
    let running = run(with_tls(dir.path()), Bounds::default()).await;
    let answer = ask_tls(&running, &first, "one.example").await.expect("trusted");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("strict-transport-security: max-age=31536000"));
    let second = certify(dir.path(), "two.example");
    let renewed = async { while ask_tls(&running, &second, "two.example").await.is_none() {} };
    soon(renewed).await;
    // Half-replaced files leave the certificate in force.
    let cut = dir.path().join("cert.pem");
    #[expect(clippy::disallowed_methods, reason = "a test's own files, in a temporary directory")]
    std::fs::write(&cut, "-----BEGIN CERTIFICATE-----\n").expect("writes");
    assert!(matches!(running.handle.reload(with_tls(dir.path())).await, Err(Error::Certificate { .. })));
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(ask_tls(&running, &second, "two.example").await.is_some());
    // Plain HTTP on a TLS port, and a handshake that never comes, are not answered.
    assert!(!running.ask(LIVE).await.contains("200 OK"));
}

#[tokio::test]
async fn a_handshake_that_stalls_is_dropped() {
    let dir = tempfile::tempdir().expect("a directory");
    certify(dir.path(), "one.example");
    let running = run(with_tls(dir.path()), quick()).await;
    let mut stream = running.connect().await;
    let mut rest = Vec::new();
    let _ = soon(stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn certificates_that_cannot_be_used_say_why() {
    let dir = tempfile::tempdir().expect("a directory");
    let load = async || tls::load(with_tls(dir.path()).tls.as_ref().expect("there")).await.map(|_| ());
    assert!(matches!(load().await, Err(Error::CertificateFile { .. })));
    certify(dir.path(), "one.example");
    load().await.expect("a good pair");
    #[expect(clippy::disallowed_methods, reason = "a test's own files, in a temporary directory")]
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("writes");
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).expect("reads");
    let (cert, key) = (read("cert.pem"), read("key.pem"));
    let other = rcgen::generate_simple_self_signed(["x".to_owned()]).expect("certifies").signing_key.serialize_pem();
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for (cert, key, reason) in [
        ("", key.as_str(), "expected at least one certificate in PEM"),
        ("-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n", &key, "expected certificates in PEM"),
        (no_certificate, &key, "expected an X.509 certificate first"),
        (&cert, "", "expected a private key in PEM, without a passphrase"),
        (&cert, no_key, "expected an RSA, ECDSA or Ed25519 key"),
        (&cert, &other, "the key does not belong to the certificate"),
    ] {
        write("cert.pem", cert);
        write("key.pem", key);
        match load().await {
            Err(Error::Certificate { reason: said, .. }) => assert_eq!(said, reason),
            other => panic!("{reason}: {other:?}"),
        }
    }
    certify(dir.path(), "one.example");
    let shown = tls::load(with_tls(dir.path()).tls.as_ref().expect("there")).await.expect("a good pair");
    assert_eq!(format!("{:?}", Certificate::new(shown)), "Certificate");
}

#[tokio::test]
async fn a_reload_changes_what_can_change() {
    let running = run(anywhere(), Bounds::default()).await;
    let mut config = anywhere();
    config.status_page.title = "Lycée".into();
    config.status_page.public = false;
    running.handle.reload(config.clone()).await.expect("reloads");
    assert!(running.ask("GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.contains(" 401 "));
    config.status_page.public = true;
    running.handle.reload(config.clone()).await.expect("reloads");
    assert!(running.ask("GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.contains("Lycée"));
    config.listen = "127.0.0.1:1".into();
    assert!(matches!(running.handle.reload(config).await, Err(Error::Moved { .. })));
    let tls = Some(TlsConfig { cert_file: "c".into(), key_file: "k".into() });
    assert!(matches!(running.handle.reload(Config { tls, ..anywhere() }).await, Err(Error::Switched)));
}

#[tokio::test]
async fn an_address_in_use_is_said() {
    let running = run(anywhere(), Bounds::default()).await;
    let config = Config { listen: running.address.to_string(), ..Config::default() };
    let refused = Server::bind(config, running.fixture.parts.clone()).await;
    assert!(matches!(refused, Err(Error::Bind { listen, .. }) if listen == running.address.to_string()));
    let missing = Config { tls: Some(TlsConfig { cert_file: "c".into(), key_file: "k".into() }), ..anywhere() };
    assert!(matches!(Server::bind(missing, running.fixture.parts.clone()).await, Err(Error::CertificateFile { .. })));
}

#[tokio::test]
async fn a_state_that_cannot_be_written_does_not_stop_the_server() {
    let mut running = run(anywhere(), Bounds::default()).await;
    let authorization = format!("Authorization: Bearer {}\r\n", running.fixture.admin);
    let ask = format!("GET /api/dihya/v1/status HTTP/1.1\r\nHost: x\r\n{authorization}Connection: close\r\n\r\n");
    running.fixture.pool.close().await;
    assert!(running.ask(&ask).await.starts_with("HTTP/1.1 200"));
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(running.ask(&ask).await.starts_with("HTTP/1.1 200"));
    running.stop();
    running.ended().await;
}
