//! What the tests of this crate share: certificates of every kind, servers that behave and misbehave, one-shot checks.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use disk::{OsClock, OsDisk};
use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{NS, TXT};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use model::{CheckResult, Clock, SeededRng};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use crate::config::{Check, Config};
use crate::kind::Means;
use crate::schedule::run_once;

/// Real clock and disk, a fixed stream of randomness.
pub(crate) fn means() -> Arc<Means> {
    means_with(Arc::new(OsClock::default()))
}

pub(crate) fn means_with(clock: Arc<dyn Clock>) -> Arc<Means> {
    Means::new(clock, Arc::new(SeededRng::new(1)), Arc::new(OsDisk))
}

/// Reads one check from its object.
pub(crate) fn check(json: Json) -> Arc<Check> {
    let config = Config::read(&json!({ "c": json }), &Json::Null).expect("a sound check");
    Arc::clone(&config.checks[0])
}

/// Runs one check once.
pub(crate) async fn observe(json: Json) -> CheckResult {
    observe_with(json, &means()).await
}

pub(crate) async fn observe_with(json: Json, means: &Arc<Means>) -> CheckResult {
    run_once(&[check(json)], means, 1).await.remove(0)
}

/// A server on a free port of 127.0.0.1 that hands each connection to a handler, until it is dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start<F, Fut>(handler: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(handler(stream));
            }
        });
        Self { port, _tasks: tasks }
    }

    /// Answers each request with the same bytes, and closes.
    pub(crate) async fn fixed(answer: impl Into<Vec<u8>>) -> Self {
        let answer = Arc::new(answer.into());
        Self::start(move |mut stream| {
            let answer = Arc::clone(&answer);
            async move {
                read_head(&mut stream).await;
                let _ = stream.write_all(&answer).await;
            }
        })
        .await
    }

    /// Speaks TLS with `issued` and answers each request with the same bytes.
    pub(crate) async fn tls(issued: &Issued, answer: impl Into<Vec<u8>>) -> Self {
        let answer = Arc::new(answer.into());
        let acceptor = issued.acceptor(None);
        Self::start(move |stream| {
            let (answer, acceptor) = (Arc::clone(&answer), acceptor.clone());
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = [0; 4_096];
                if matches!(stream.read(&mut request).await, Ok(1..)) {
                    let _ = stream.write_all(&answer).await;
                    let _ = stream.shutdown().await;
                }
            }
        })
        .await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// Reads a request up to the end of its head and returns it.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A certificate authority that lives as long as its directory.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    dir: tempfile::TempDir,
}

/// A certificate with its key and what the server sends beside it.
pub(crate) struct Issued {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: KeyPair,
}

impl Issued {
    /// Makes an acceptor; `versions` restricts the protocol.
    pub(crate) fn acceptor(
        &self,
        versions: Option<&[&'static rustls::SupportedProtocolVersion]>,
    ) -> tokio_rustls::TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions.unwrap_or(rustls::ALL_VERSIONS))
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), key)
            .expect("certificate and key fit");
        Arc::new(config).into()
    }
}

/// What a test wants of a certificate.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) name: &'static str,
    pub(crate) from_year: i32,
    pub(crate) until_year: i32,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { name: "127.0.0.1", from_year: 2020, until_year: 2090 }
    }
}

impl Wanted {
    fn params(self) -> CertificateParams {
        let mut params = CertificateParams::new(vec![self.name.to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(self.from_year, 1, 1);
        params.not_after = rcgen::date_time_ymd(self.until_year, 1, 1);
        params.distinguished_name.push(DnType::CommonName, self.name);
        params
    }

    pub(crate) fn self_signed(self) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let cert = self.params().self_signed(&key).expect("signs");
        Issued { chain: vec![cert.der().clone()], key }
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::named("Test Authority")
    }

    pub(crate) fn named(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).expect("signs").pem();
        let dir = tempfile::tempdir().expect("a directory");
        Self { issuer: Issuer::new(params, key), pem, dir }
    }

    pub(crate) fn issue(&self, wanted: Wanted) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let cert = wanted.params().signed_by(&key, &self.issuer).expect("signs");
        Issued { chain: vec![cert.der().clone()], key }
    }

    /// Writes a file beside the authority's and returns its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        disk::write_atomic(&OsDisk, &path, content.as_bytes()).expect("writes");
        path
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.file("ca.pem", &self.pem)
    }
}

/// A name server that answers by the first label of the name; `silent` it does not answer.
pub(crate) struct Names {
    pub(crate) address: SocketAddr,
    pub(crate) asked: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

pub(crate) async fn names(root_works: bool) -> Names {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let address = socket.local_addr().expect("an address");
    let asked = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    let counter = Arc::clone(&asked);
    tasks.spawn(async move {
        let mut packet = [0; 1_500];
        while let Ok((len, from)) = socket.recv_from(&mut packet).await {
            let Ok(question) = Message::from_vec(&packet[..len]) else { continue };
            let query = question.queries[0].clone();
            let mut answer = Message::response(question.metadata.id, OpCode::Query);
            answer.add_query(query.clone());
            counter.fetch_add(usize::from(query.query_type() == RecordType::A), Ordering::SeqCst);
            let name = query.name().to_string();
            let code = match name.split('.').next().unwrap_or_default() {
                "silent" => continue,
                "gone" => ResponseCode::NXDomain,
                "broken" => ResponseCode::ServFail,
                "refused" => ResponseCode::Refused,
                "" if !root_works => ResponseCode::ServFail,
                _ => ResponseCode::NoError,
            };
            answer.metadata.response_code = code;
            let data = match query.query_type() {
                RecordType::A if name.starts_with("private") => Some(RData::A(Ipv4Addr::new(10, 0, 0, 1).into())),
                RecordType::A if name.starts_with("here") => Some(RData::A(Ipv4Addr::LOCALHOST.into())),
                RecordType::TXT if name.starts_with("here") => Some(RData::TXT(TXT::new(vec!["v=1".to_owned()]))),
                RecordType::NS if code == ResponseCode::NoError => {
                    Some(RData::NS(NS("ns.example.".parse().expect("a name"))))
                }
                _ => None,
            };
            answer.add_answers(data.map(|data| Record::from_rdata(query.name().clone(), 60, data)));
            let _ = socket.send_to(&answer.to_vec().expect("encodes"), from).await;
        }
    });
    Names { address, asked, _tasks: tasks }
}
