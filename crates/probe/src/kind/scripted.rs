//! A server that says what a test tells it to, for the answers that no honest server gives.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use disk::{OsClock, OsDisk};
use model::SeededRng;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::kind::{Ctx, Kind, Means, Observation};

/// What the server does next; after the last step it closes.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Sends this.
    Say(Vec<u8>),
    /// Takes what comes, at least one byte.
    Hear,
    /// Takes so many bytes, and leaves what follows.
    HearExactly(usize),
    /// Takes what comes, and closes unless it contains this.
    HearWith(&'static str),
    /// Shakes hands as a TLS server with a certificate that nobody vouches for.
    Tls,
    /// Sends this until the other side has had enough.
    Flood(Vec<u8>),
    /// Says nothing and closes nothing.
    Hang,
}

pub(crate) fn say(bytes: impl AsRef<[u8]>) -> Step {
    Step::Say(bytes.as_ref().to_vec())
}

pub(crate) fn ctx(within: Duration) -> Ctx {
    let means = Means::new(Arc::new(OsClock::default()), Arc::new(SeededRng::new(1)), Arc::new(OsDisk));
    let reads = ["tls", "banner"].map(str::to_owned).into_iter().collect();
    Ctx {
        means,
        id: "scripted".into(),
        tenant: model::Tenant::default(),
        deadline: Instant::now() + within,
        reads: Arc::new(reads),
    }
}

/// Builds a probe of `kind` from `options`, whose `address` becomes a server that follows one script per connection,
/// and lets it look.
pub(crate) async fn look_many(kind: &Kind, options: Json, scripts: Vec<Vec<Step>>, within: Duration) -> Observation {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let mut options = options;
    options["address"] = json!(address);
    let probe = (kind.build)(&options).expect("the options are sound");
    let mut server = JoinSet::new();
    server.spawn(serve(listener, scripts));
    assert_eq!(probe.kind(), kind.name);
    let ctx = ctx(within);
    tokio::time::timeout(within + Duration::from_secs(2), probe.run(&ctx)).await.expect("a probe ends by its deadline")
}

/// Follows one script per connection.
pub(crate) async fn serve(listener: TcpListener, scripts: Vec<Vec<Step>>) {
    let mut connections = JoinSet::new();
    for script in scripts {
        let (stream, _) = listener.accept().await.expect("a connection");
        connections.spawn(async move { follow(stream, script.into()).await });
    }
    connections.join_all().await;
}

/// As [`look_many`] for one connection and five seconds.
pub(crate) async fn look(kind: &Kind, options: Json, script: Vec<Step>) -> Observation {
    look_many(kind, options, vec![script], Duration::from_secs(5)).await
}

async fn follow<S: AsyncRead + AsyncWrite + Unpin + Send>(mut stream: S, mut script: VecDeque<Step>) {
    while let Some(step) = script.pop_front() {
        let done = match step {
            Step::Say(bytes) => stream.write_all(&bytes).await.is_ok(),
            Step::Hear => hear(&mut stream).await.is_some(),
            Step::HearExactly(count) => stream.read_exact(&mut vec![0; count]).await.is_ok(),
            Step::HearWith(wanted) => hear(&mut stream).await.is_some_and(|heard| heard.contains(wanted)),
            Step::Flood(bytes) => {
                while stream.write_all(&bytes).await.is_ok() {}
                false
            }
            Step::Hang => std::future::pending().await,
            Step::Tls => {
                let Ok(stream) = acceptor().accept(stream).await else { return };
                return Box::pin(follow_encrypted(stream, script)).await;
            }
        };
        if !done {
            return;
        }
    }
    part(stream).await;
}

/// Closes our side and takes what still comes, so that the other side sees an end and not a reset.
async fn part<S: AsyncRead + AsyncWrite + Unpin + Send>(mut stream: S) {
    let _ = stream.shutdown().await;
    while hear(&mut stream).await.is_some() {}
}

/// The same steps over TLS; apart, so that the type does not contain itself.
async fn follow_encrypted<S: AsyncRead + AsyncWrite + Unpin + Send>(mut stream: S, script: VecDeque<Step>) {
    for step in script {
        let done = match step {
            Step::Say(bytes) => stream.write_all(&bytes).await.is_ok() && stream.flush().await.is_ok(),
            Step::HearWith(wanted) => hear(&mut stream).await.is_some_and(|heard| heard.contains(wanted)),
            _ => hear(&mut stream).await.is_some(),
        };
        if !done {
            return;
        }
    }
    part(stream).await;
}

async fn hear<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut heard = vec![0; 64 << 10];
    let count = stream.read(&mut heard).await.ok().filter(|count| *count > 0)?;
    heard.truncate(count);
    Some(String::from_utf8_lossy(&heard).into_owned())
}

fn acceptor() -> tokio_rustls::TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("the key fits");
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}
