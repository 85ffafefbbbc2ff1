//! The HTTP client of webhook, Slack and Teams: pooled, bounded, and honest about what an answer means.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use disk::Disk;
use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use jiff::Timestamp;
use model::{BoxFuture, Clock, Private};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::build::BuildError;
use super::tls;
use crate::SendError;

/// Most bytes of an answer that are read: enough to keep the connection, too few to fill memory.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Longest time that an answer's body is read for.
const DRAIN_MAX: Duration = Duration::from_millis(250);
/// Attempts after which an endpoint that is not there (404, 410) is given up: some eight minutes, so that one that is
/// being replaced is waited for.
const MISSING_ATTEMPTS_MAX: u32 = 10;
/// Most bytes of a proxy's answer to CONNECT.
const TUNNEL_ANSWER_BYTES_MAX: usize = 8 << 10;
/// Longest wait that an endpoint may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Idle connections that are kept, and for how long.
const IDLE_CONNECTIONS_MAX: usize = 4;
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Posts to one endpoint.
pub(super) struct Poster {
    client: Client<Connector, Full<Bytes>>,
    url: Private<String>,
    timeout: Duration,
    clock: Arc<dyn Clock>,
}

/// Where and how a [`Poster`] posts.
pub(super) struct Target<'a> {
    pub(super) url: &'a Private<String>,
    pub(super) ca_file: Option<&'a std::path::Path>,
    pub(super) proxy: Option<&'a str>,
    pub(super) timeout: Duration,
}

impl Poster {
    /// Prepares to post; opens no connection yet.
    pub(super) fn new(target: &Target<'_>, disk: &dyn Disk, clock: Arc<dyn Clock>) -> Result<Self, BuildError> {
        let uri: Uri = target.url.expose().parse().map_err(|_| BuildError::Url)?;
        if uri.host().is_none() {
            return Err(BuildError::Url);
        }
        let proxy = match target.proxy {
            Some(text) => {
                let uri: Uri = text.parse().map_err(|_| BuildError::Url)?;
                Some((uri.host().ok_or(BuildError::Url)?.to_owned(), uri.port_u16().unwrap_or(80)))
            }
            None => None,
        };
        // Roots are read only where they will be used: reading the system's takes milliseconds.
        let tls = match uri.scheme_str() {
            Some("https") => Some(TlsConnector::from(tls::client(target.ca_file, disk)?)),
            _ => None,
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .pool_timer(TokioTimer::new())
            .build(Connector { tls, proxy });
        Ok(Self { client, url: target.url.clone(), timeout: target.timeout, clock })
    }

    /// Returns the clock.
    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Posts `body` once, at the `attempt`th attempt. The answer's head says what became of it; its body is read for a
    /// moment and forgotten.
    pub(super) async fn post(&self, headers: HeaderMap, body: Vec<u8>, attempt: u32) -> Result<(), SendError> {
        let mut request = Request::post(self.url.expose().as_str())
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| SendError::never("cannot make a request of the channel's URL"))?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        request
            .headers_mut()
            .insert(header::USER_AGENT, http::HeaderValue::from_static(concat!("Dihya/", env!("CARGO_PKG_VERSION"))));
        let response = match tokio::time::timeout(self.timeout, self.client.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(SendError::later(reason_of(&error))),
            Err(_) => return Err(SendError::later(format!("no answer within {} s", self.timeout.as_secs_f64()))),
        };
        let judged = judge(&response, self.clock.now(), attempt);
        // What the endpoint says may quote what we sent: it is read so that the connection can be used again, and one
        // that stalls over it has still taken the message.
        let drain = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
        let _ = tokio::time::timeout(DRAIN_MAX, drain).await;
        judged
    }
}

/// Says what a response means for the message. Only what says that this very message will never be taken ends it at
/// once. A token that expired, a proxy that wants a password, a redirection or an endpoint that is not there are mended
/// on the other side or in the configuration, and the page should arrive then; what is not there for long is given up.
fn judge(response: &Response<Incoming>, now: Timestamp, attempt: u32) -> Result<(), SendError> {
    use StatusCode as S;
    let status = response.status();
    let reason = format!("the endpoint answered {}", status.as_u16());
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Err(match retry_after(response.headers(), now) {
                Some(wait) => SendError::after(wait, reason),
                None => SendError::later(reason),
            })
        }
        S::BAD_REQUEST | S::PAYLOAD_TOO_LARGE | S::UNSUPPORTED_MEDIA_TYPE | S::UNPROCESSABLE_ENTITY => {
            Err(SendError::never(reason))
        }
        S::UNAUTHORIZED
        | S::FORBIDDEN
        | S::PROXY_AUTHENTICATION_REQUIRED
        | S::REQUEST_TIMEOUT
        | S::TOO_EARLY
        | S::MISDIRECTED_REQUEST => Err(SendError::later(reason)),
        // 404, 410, 405 ...
        status if status.is_client_error() && attempt >= MISSING_ATTEMPTS_MAX => Err(SendError::never(reason)),
        _ => Err(SendError::later(reason)),
    }
}

/// Reads `Retry-After`: seconds, or a date (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok()?;
            Duration::try_from(date.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// Says why there was no response, without addresses or payload: kinds of errors only.
fn reason_of(error: &hyper_util::client::legacy::Error) -> String {
    let mut source: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return format!("could not agree on TLS: {}", tls::explain(tls));
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            if let Some(tls) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                return format!("could not agree on TLS: {}", tls::explain(tls));
            }
            if io.get_ref().is_some_and(|inner| inner.is::<TunnelRefused>()) {
                return TunnelRefused.to_string();
            }
            return format!("could not reach the endpoint: {}", io.kind());
        }
        source = cause.source();
    }
    if error.is_connect() { "could not connect".to_owned() } else { "the endpoint did not speak HTTP".to_owned() }
}

/// The proxy did not open a tunnel.
#[derive(Debug, thiserror::Error)]
#[error("the proxy opened no tunnel")]
struct TunnelRefused;

/// Opens connections, through a proxy and into TLS as configured.
#[derive(Clone)]
struct Connector {
    tls: Option<TlsConnector>,
    proxy: Option<(String, u16)>,
}

impl Connector {
    async fn open(self, uri: Uri) -> std::io::Result<Stream> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let mut tcp = match &self.proxy {
            Some((proxy, port)) => TcpStream::connect((proxy.as_str(), *port)).await?,
            None => TcpStream::connect((host.as_str(), port)).await?,
        };
        tcp.set_nodelay(true)?;
        let Some(tls) = self.tls.filter(|_| secure) else {
            return Ok(Stream { inner: TokioIo::new(Box::new(tcp)), proxied: self.proxy.is_some() });
        };
        if self.proxy.is_some() {
            tunnel(&mut tcp, uri.host().unwrap_or_default(), port).await?;
        }
        let name = ServerName::try_from(host).map_err(std::io::Error::other)?;
        let stream = tls.connect(name, tcp).await?;
        Ok(Stream { inner: TokioIo::new(Box::new(stream)), proxied: false })
    }
}

/// Asks a proxy for a tunnel (RFC 9110 section 9.3.6).
async fn tunnel(tcp: &mut TcpStream, host: &str, port: u16) -> std::io::Result<()> {
    tcp.write_all(format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= TUNNEL_ANSWER_BYTES_MAX {
            return Err(std::io::Error::other(TunnelRefused));
        }
        answer.push(tcp.read_u8().await?);
    }
    let accepted = answer.starts_with(b"HTTP/1.") && answer.get(8..12) == Some(b" 200");
    if accepted { Ok(()) } else { Err(std::io::Error::other(TunnelRefused)) }
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = std::io::Error;
    type Future = BoxFuture<'static, std::io::Result<Stream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().open(uri))
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection, with or without TLS.
struct Stream {
    inner: TokioIo<Box<dyn Duplex>>,
    /// Whether a proxy reads our requests, which then name the host.
    proxied: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.proxied)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_never_more_than_a_day() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().expect("is a time");
        for (text, seconds) in [
            ("30", Some(30)),
            ("Sun, 22 Nov 2026 12:01:00 GMT", Some(60)),
            ("Sun, 22 Nov 2026 11:00:00 GMT", Some(0)),
            ("99999999", Some(86_400)),
            ("soon", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().expect("is a header"));
            assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
