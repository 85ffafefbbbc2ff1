//! Talks to a running server: one request per connection, with the token of this machine or of the caller.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use model::Private;
use model::limits::{PAGE_ROWS_MAX, REQUEST_BODY_BYTES_MAX};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use url::{Url, form_urlencoded};

use crate::cli::{Place, Remote};
use crate::config::{self, reference};
use crate::failure::{BadConfig, Hint, misuse};
use crate::reach::{Pinned, Reach};
use crate::terminal;

/// The file below the data directory that holds the first administrator's token.
const ADMIN_TOKEN_FILE: &str = "admin-token";
/// Time within which the server must have answered.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Time within which a connection must stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 * REQUEST_BODY_BYTES_MAX;

/// Time within which an answer that comes bit by bit must go on: followers are sent a sign more often.
const SILENCE_MAX: Duration = Duration::from_secs(90);

/// What an answer's bytes go to as they come.
pub(crate) type Each<'a> = &'a mut (dyn FnMut(&[u8]) -> anyhow::Result<()> + Send);

/// Why a request has no useful answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nobody answered.
    #[error("could not reach the server at {url}: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// Somebody answered and is not the server that the certificate must name.
    #[error("cannot trust the server at {url}: {reason}")]
    Untrusted {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// The server said no.
    #[error("the server answered {status}: {detail}")]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// What the server said.
        detail: String,
    },
}

/// Where a server is, and as whom to talk to it.
pub(crate) struct Client {
    base: Url,
    token: Option<Private<String>>,
    ca_file: Option<std::path::PathBuf>,
    /// SHA-256 of the certificate that the server of this machine shows.
    pin: Option<String>,
    /// Whether the server is another machine's, whose token this one does not know.
    abroad: bool,
}

/// The server of this machine, as far as its data directory and the configuration know it.
struct Local {
    base: Url,
    pin: Option<String>,
    listen: Option<String>,
}

impl Local {
    /// What the server itself wrote down goes before what the configuration says: it knows `--listen`, and the port that
    /// the system chose.
    fn of(place: &Place, is_named: bool) -> anyhow::Result<Self> {
        let reach = Reach::read(&place.data_dir());
        let listen = match &place.config {
            None => None,
            Some(path) => match config::read(Some(path), &place.data_dir()) {
                Ok(loaded) => Some(loaded.server),
                // A file that is being edited keeps nobody from a server that is known without it.
                Err(_) if is_named || reach.is_some() => None,
                Err(rejected) => return Err(BadConfig(rejected.render(terminal::colours_err())).into()),
            },
        };
        let (text, pin) = match (reach, &listen) {
            (Some(reach), _) => (reach.url, reach.certificate_sha256),
            (None, Some(server)) => {
                let listen = server.listen.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
                (format!("{}://{listen}", if server.tls.is_some() { "https" } else { "http" }), None)
            }
            (None, None) => (format!("http://{}", server::config::LISTEN_DEFAULT), None),
        };
        let base = Url::parse(&text).with_context(|| format!("cannot reach the server at {text}"))?;
        Ok(Self { base, pin, listen: listen.map(|server| server.listen) })
    }

    /// Tells whether a server at `url` is on this machine: it is where ours listens, or on loopback.
    fn is_at(&self, url: &Url) -> bool {
        let loopback = match url.host() {
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        };
        let port = url.port_or_known_default().unwrap_or_default();
        let listens = self
            .listen
            .as_ref()
            .is_some_and(|listen| url.host_str().is_some_and(|host| *listen == format!("{host}:{port}")));
        loopback || listens || url.origin() == self.base.origin()
    }
}

impl Client {
    /// Finds address and token as the arguments, the environment and the files say.
    ///
    /// # Errors
    /// When the address is no URL, or a token file that was named cannot be read.
    pub(crate) fn new(remote: &Remote) -> anyhow::Result<Self> {
        let named = remote.url.clone().or_else(|| reference::env("DIHYA_URL"));
        let local = Local::of(&remote.place, named.is_some())?;
        let base = match named {
            Some(text) => {
                let base = Url::parse(&text).map_err(|error| misuse(format!("--url {text}: {error}")))?;
                if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
                    return Err(misuse(format!("--url {text}: expected http://HOST:PORT or https://HOST:PORT")));
                }
                base
            }
            None => local.base.clone(),
        };
        let ours = local.is_at(&base);
        let token = match &remote.token_file {
            Some(path) => {
                Some(read_token(path).map_err(|why| misuse(format!("--token-file {}: {why}", path.display())))?)
            }
            // The administrator's token of this machine is for this machine: whoever answers elsewhere must not have it.
            None => reference::env("DIHYA_TOKEN").map(Private::new).or_else(|| {
                let file = remote.place.data_dir().join(ADMIN_TOKEN_FILE);
                if ours { read_token(&file).ok() } else { None }
            }),
        };
        let pin = if base.origin() == local.base.origin() { local.pin } else { None };
        Ok(Self { base, token, ca_file: remote.ca_file.clone(), pin, abroad: !ours })
    }

    /// The same, and as nobody unless a file with a token was named: for what needs no token.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn anonymous(remote: &Remote) -> anyhow::Result<Self> {
        let client = Self::new(remote)?;
        let token = if remote.token_file.is_some() { client.token } else { None };
        Ok(Self { token, ..client })
    }

    /// Asks for something.
    ///
    /// # Errors
    /// When there is no answer, or it says no.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.call(Method::GET, path, None).await?).context("the answer is not JSON")
    }

    /// Reads a listing page after page until it ends or has `most` rows. `path` has a query string.
    ///
    /// # Errors
    /// When there is no answer, or it says no.
    pub(crate) async fn rows(&self, path: &str, most: usize) -> anyhow::Result<Vec<serde_json::Value>> {
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        while rows.len() < most {
            let limit = PAGE_ROWS_MAX.min(most - rows.len());
            let joint = if path.ends_with('?') { "" } else { "&" };
            let mut page = self.get(&format!("{path}{joint}limit={limit}{cursor}")).await?;
            if let Some(serde_json::Value::Array(items)) = page.get_mut("items").map(serde_json::Value::take) {
                rows.extend(items);
            }
            let Some(next) = page.get("next").and_then(serde_json::Value::as_str) else { break };
            cursor = format!("&cursor={}", form_urlencoded::byte_serialize(next.as_bytes()).collect::<String>());
        }
        Ok(rows)
    }

    /// Asks for something that is text.
    ///
    /// # Errors
    /// When there is no answer, or it says no.
    pub(crate) async fn text(&self, path: &str) -> anyhow::Result<String> {
        String::from_utf8(self.call(Method::GET, path, None).await?).context("the answer is not UTF-8")
    }

    /// Sends something and returns the answer, `Null` when it is empty.
    ///
    /// # Errors
    /// When there is no answer, or it says no.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: &serde_json::Value,
    ) -> anyhow::Result<serde_json::Value> {
        let answer = self.call(method, path, Some(body)).await?;
        if answer.is_empty() {
            return Ok(serde_json::Value::Null);
        }
        Ok(serde_json::from_slice(&answer).unwrap_or(serde_json::Value::Null))
    }

    /// Sends lines to `_bulk` and returns what became of each.
    ///
    /// # Errors
    /// When there is no answer, or it says no to all of them.
    pub(crate) async fn bulk(&self, lines: Vec<u8>) -> anyhow::Result<serde_json::Value> {
        let mut request = self.request(Method::POST, "/_bulk", None)?;
        let headers = request.headers_mut();
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/x-ndjson"));
        *request.body_mut() = Full::new(lines.into());
        serde_json::from_slice(&self.answer(request).await?).context("the answer is not JSON")
    }

    /// Asks for something that comes bit by bit, for as long as it comes: each bit goes to `each`, which may be told parts of
    /// lines. `accept` is the media type asked for.
    ///
    /// # Errors
    /// When there is no answer, it says no, or `each` fails.
    pub(crate) async fn stream(
        &self,
        path: &str,
        body: &serde_json::Value,
        accept: &'static str,
        each: Each<'_>,
    ) -> anyhow::Result<()> {
        let mut request = self.request(Method::POST, path, Some(body))?;
        request.headers_mut().insert(http::header::ACCEPT, http::HeaderValue::from_static(accept));
        self.exchange(request, each).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<&serde_json::Value>) -> anyhow::Result<Vec<u8>> {
        self.answer(self.request(method, path, body)?).await
    }

    async fn answer(&self, request: Request<Full<bytes::Bytes>>) -> anyhow::Result<Vec<u8>> {
        let mut answer = Vec::new();
        let mut keep = |bytes: &[u8]| {
            anyhow::ensure!(answer.len() + bytes.len() <= ANSWER_BYTES_MAX, "the answer is too long");
            answer.extend_from_slice(bytes);
            Ok(())
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, self.exchange(request, &mut keep)).await {
            Ok(done) => done.map(|()| answer),
            Err(_) => Err(self.unreachable("it did not answer in time").into()),
        }
    }

    async fn exchange(&self, request: Request<Full<bytes::Bytes>>, each: Each<'_>) -> anyhow::Result<()> {
        let host = self.base.host_str().unwrap_or_default().to_owned();
        let port = self.base.port_or_known_default().unwrap_or(80);
        let address = (host.trim_start_matches('[').trim_end_matches(']').to_owned(), port);
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
            .await
            .map_err(|_| self.unreachable("no connection in time"))?
            .map_err(|error| self.unreachable(&error.to_string()))?;
        if self.base.scheme() == "http" {
            return self.converse(TokioIo::new(stream), request, each).await;
        }
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).context("cannot verify that name")?;
        let stream = self.tls()?.connect(name, stream).await.map_err(|error| self.untrusted(&error.to_string()))?;
        self.converse(TokioIo::new(stream), request, each).await
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> anyhow::Result<Request<Full<bytes::Bytes>>> {
        let authority = self.base.authority().rsplit('@').next().unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, authority)
            .header(http::header::ACCEPT, "application/json, text/plain;q=0.9")
            .header(http::header::USER_AGENT, concat!("dihya/", env!("CARGO_PKG_VERSION")))
            .header(http::header::CONNECTION, "close");
        if let Some(token) = &self.token {
            let mut value = http::HeaderValue::try_from(format!("Bearer {}", token.expose()))
                .map_err(|_| misuse("the token holds characters that no token has"))?;
            value.set_sensitive(true);
            request = request.header(http::header::AUTHORIZATION, value);
        }
        let bytes = match body {
            None => bytes::Bytes::new(),
            Some(json) => {
                request = request.header(http::header::CONTENT_TYPE, "application/json");
                serde_json::to_vec(json).context("could not write the request")?.into()
            }
        };
        request.body(Full::new(bytes)).context("could not write the request")
    }

    async fn converse<S>(&self, stream: S, request: Request<Full<bytes::Bytes>>, each: Each<'_>) -> anyhow::Result<()>
    where
        S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let lost = |error: hyper::Error| self.unreachable(&error.to_string());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.map_err(lost)?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(lost)?;
            let status = answer.status();
            let mut body = answer.into_body();
            if !status.is_success() {
                let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
                let body = body.map_err(|error| self.unreachable(&error.to_string()))?.to_bytes();
                return Err(self.refused(status, &body));
            }
            loop {
                let next = tokio::time::timeout(SILENCE_MAX, body.frame()).await;
                let frame = match next.map_err(|_| self.unreachable("it fell silent"))? {
                    None => return Ok(()),
                    Some(frame) => frame.map_err(lost)?,
                };
                if let Some(bytes) = frame.data_ref() {
                    each(bytes)?;
                }
            }
        };
        // The connection is driven beside the request and ends with it.
        tokio::select! {
            answer = answer => answer,
            () = async { let _ = connection.await; std::future::pending::<()>().await } => unreachable!("never ready"),
        }
    }

    fn tls(&self) -> anyhow::Result<tokio_rustls::TlsConnector> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .context("invariant: ring offers TLS 1.2 and 1.3")?;
        if let (Some(pin), None) = (&self.pin, &self.ca_file) {
            let pinned = Arc::new(Pinned::new(pin.clone(), provider));
            let config = builder.dangerous().with_custom_certificate_verifier(pinned).with_no_client_auth();
            return Ok(tokio_rustls::TlsConnector::from(Arc::new(config)));
        }
        let mut roots = rustls::RootCertStore::empty();
        match &self.ca_file {
            Some(path) => {
                for certificate in
                    CertificateDer::pem_file_iter(path).with_context(|| format!("--ca-file {}", path.display()))?
                {
                    roots.add(certificate.context("--ca-file holds no certificate")?).context("--ca-file")?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        Ok(tokio_rustls::TlsConnector::from(Arc::new(config)))
    }

    fn unreachable(&self, reason: &str) -> Error {
        Error::Unreachable { url: self.url(), reason: reason.to_owned() }
    }

    fn untrusted(&self, reason: &str) -> Error {
        Error::Untrusted { url: self.url(), reason: reason.to_owned() }
    }

    fn url(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    /// Turns an RFC 9457 problem into an error, with a hint where the token is at fault.
    fn refused(&self, status: StatusCode, body: &[u8]) -> anyhow::Error {
        let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let field = |name: &str| json.get(name).and_then(serde_json::Value::as_str).filter(|text| !text.is_empty());
        let detail = field("detail").or_else(|| field("title")).unwrap_or("no reason given").to_owned();
        let error = anyhow::Error::new(Error::Refused { status, detail });
        match status {
            StatusCode::UNAUTHORIZED if self.token.is_none() && self.abroad => error.context(Hint(
                "name a token with --token-file or DIHYA_TOKEN; that of this machine is not sent to another".to_owned(),
            )),
            StatusCode::UNAUTHORIZED if self.token.is_none() => {
                error.context(Hint("name a token with --token-file, DIHYA_TOKEN or --data-dir".to_owned()))
            }
            _ => error,
        }
    }
}

fn read_token(path: &Path) -> Result<Private<String>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.kind().to_string())?;
    let token = text.trim();
    if token.is_empty() { Err("it is empty".to_owned()) } else { Ok(Private::new(token.to_owned())) }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::sync::Mutex;

    use super::*;

    /// A client of a server that answers every path as `answer` says, and the paths that it was asked for.
    pub(crate) fn answering(
        answer: impl Fn(&str) -> serde_json::Value + Send + 'static,
    ) -> (Client, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        // Ends with the process: a test has no way to say that it will ask no more.
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut request = BufReader::new(stream.try_clone().expect("clones")).lines().map_while(Result::ok);
                let path = request.next().and_then(|line| line.split(' ').nth(1).map(str::to_owned));
                while request.next().is_some_and(|line| !line.is_empty()) {}
                let path = path.unwrap_or_default();
                let body = answer(&path).to_string();
                seen.lock().expect("not poisoned").push(path);
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                let _ = stream.write_all((head + &body).as_bytes());
            }
        });
        let remote = Remote { url: Some(url), ..Remote::default() };
        (Client::new(&remote).expect("is a URL"), asked)
    }

    /// The administrator's token of this machine went to whatever host `--url` named.
    #[test]
    fn the_token_of_this_machine_stays_on_it() {
        let dir = tempfile::tempdir().expect("a directory");
        #[expect(clippy::disallowed_methods, reason = "a fixture of a test")]
        std::fs::write(dir.path().join(ADMIN_TOKEN_FILE), "dhy_secret\n").expect("written");
        #[expect(clippy::disallowed_methods, reason = "a fixture of a test")]
        std::fs::write(dir.path().join("dihya.yaml"), "server: {listen: '192.0.2.7:8970'}\n").expect("written");
        let client = |url: Option<&str>, config: bool, anonymous: bool| {
            let config = config.then(|| dir.path().join("dihya.yaml"));
            let place = Place { config, data_dir: Some(dir.path().to_owned()) };
            let remote = Remote { place, url: url.map(str::to_owned), ..Remote::default() };
            if anonymous { Client::anonymous(&remote) } else { Client::new(&remote) }.expect("is a URL")
        };
        let sends = |url: Option<&str>, config: bool| client(url, config, false).token.is_some();
        for url in ["http://127.0.0.1:1", "https://127.9.9.9", "http://localhost:8970", "http://[::1]:8970"] {
            assert!(sends(Some(url), false), "{url}");
        }
        for url in [
            "http://192.0.2.7:8970",
            "https://watch.example",
            "http://localhost.example",
            "http://127.0.0.1.example",
            "http://x@192.0.2.7:80",
        ] {
            assert!(!sends(Some(url), false), "{url}");
        }
        assert!(sends(None, false) && sends(None, true));
        assert!(sends(Some("http://192.0.2.7:8970"), true) && !sends(Some("http://192.0.2.7:81"), true));
        assert!(client(None, false, true).token.is_none(), "a sign of life needs no token");
        // What the server wrote down goes before the default.
        let note = Reach::new("192.0.2.9:443".parse().expect("an address"), Some(b"der"));
        note.write(&disk::OsDisk, dir.path()).expect("written");
        let there = client(None, false, false);
        assert_eq!((there.base.as_str(), there.pin.is_some()), ("https://192.0.2.9/", true));
        assert!(there.token.is_some() && client(Some("https://192.0.2.8"), false, false).pin.is_none());
    }
}
