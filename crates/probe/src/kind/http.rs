//! Kind `http`: a URL answers as it should, each phase timed, the body read only as far as allowed.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use model::config::{FieldSpec, Spec, Ty};
use model::limits::{PROBE_BODY_BYTES_MAX, PROBE_REDIRECTS_MAX};
use model::{BoxFuture, Private, Timings};
use serde::Deserialize;
use serde_json::Value as Json;
use url::Url;

use crate::config::{self, Issue};
use crate::connect::spec::tls_fields;
use crate::connect::{Error, NetOptions, Phase, Target, TimedStream, TlsOptions, TlsSeen, address, userinfo};
use crate::fact::{Fact, Shape, fact};
use crate::kind::{Ctx, Defaults, Kind, Observation, Probe};

mod decode;

/// Longest response head.
const HEAD_BYTES_MAX: usize = 64 << 10;
const AGENT: &str = concat!("dihya/", env!("CARGO_PKG_VERSION"));

/// The kind.
pub static KIND: Kind = Kind {
    name: "http",
    spec: &SPEC,
    facts: &[
        fact("status", "Status code of the last answer.").is(Shape::Number),
        fact("headers", "Headers of the last answer, names in lower case, repeated ones joined by commas.").is(Shape::Named(&Shape::Text)),
        fact("body", "Body as text, up to `max_body`.").is(Shape::Text),
        fact("body_bytes", "Length of the body in bytes, as far as it was read.").is(Shape::Number),
        fact("json", "Body as JSON; absent when it is none."),
        fact("tls", "The handshake: version, cipher, days_left, problem, subject, issuer, names, chain; empty without.").is(Shape::TLS),
        fact("redirects", "How many redirects were followed.").is(Shape::Number),
        fact("url", "Where the last answer came from, without credentials and query.").is(Shape::Text),
        fact("http_version", "`HTTP/1.1`, `HTTP/1.0`.").is(Shape::Text),
    ],
    defaults: Defaults { conditions: &["status >= 200 && status <= 399"], ..Defaults::TLS },
    build,
};

static SPEC: Spec = Spec {
    name: "http check",
    doc: "Asks for a URL.",
    fields: tls_fields![
        FieldSpec::required("url", Ty::Url(&["http", "https"]), "What to ask for."),
        FieldSpec::optional("method", Ty::Text, "GET", "Method of the request."),
        FieldSpec::optional("headers", Ty::Map(&Ty::Text), "", "Headers of the request."),
        FieldSpec::optional("body", Ty::Text, "", "Body of the request."),
        FieldSpec::optional("username", Ty::Text, "", "User for basic authentication."),
        FieldSpec::optional("password", Ty::Secret, "", "Password for basic authentication."),
        FieldSpec::optional("bearer_token", Ty::Secret, "", "Token for bearer authentication."),
        FieldSpec::optional("follow_redirects", Ty::Bool, "true", "Whether to go where the answer points."),
        FieldSpec::optional("max_redirects", Ty::Int { min: 0, max: PROBE_REDIRECTS_MAX as i64 }, "10", "How often."),
        FieldSpec::optional("max_body", Ty::Size, "1MiB", "Most bytes of the body to read."),
    ],
};

#[derive(Deserialize)]
struct Raw {
    url: String,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    username: Option<String>,
    #[serde(default, deserialize_with = "model::config::de::secret_opt")]
    password: Option<Private<String>>,
    #[serde(default, deserialize_with = "model::config::de::secret_opt")]
    bearer_token: Option<Private<String>>,
    follow_redirects: Option<bool>,
    max_redirects: Option<usize>,
    #[serde(default, deserialize_with = "model::config::de::size_opt")]
    max_body: Option<u64>,
    #[serde(flatten)]
    net: NetOptions,
    #[serde(flatten)]
    tls: TlsOptions,
}

struct Http {
    url: Url,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
    max_redirects: usize,
    max_body: usize,
    net: NetOptions,
    tls: TlsOptions,
}

fn build(json: &Json) -> Result<Arc<dyn Probe>, Vec<Issue>> {
    let raw: Raw = config::read(json)?;
    let mut issues = Vec::new();
    let url = read_url(&raw.url).map_err(|issue| issues.push(issue)).ok();
    let method = raw.method.as_deref().unwrap_or("GET").to_ascii_uppercase();
    let method = Method::from_bytes(method.as_bytes())
        .map_err(|_| issues.push(Issue::new("method", "not a method such as GET or POST")))
        .unwrap_or_default();
    let headers = headers(&raw, url.as_ref(), &mut issues);
    let (Some(url), true) = (url, issues.is_empty()) else { return Err(issues) };
    let follow = if raw.follow_redirects.unwrap_or(true) { raw.max_redirects.unwrap_or(PROBE_REDIRECTS_MAX) } else { 0 };
    let max_body = raw.max_body.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(PROBE_BODY_BYTES_MAX);
    Ok(Arc::new(Http {
        url,
        method,
        headers,
        body: raw.body.into(),
        max_redirects: follow.min(PROBE_REDIRECTS_MAX),
        max_body: max_body.min(model::limits::PROBE_DECODED_BYTES_MAX),
        net: raw.net,
        tls: TlsOptions { alpn: vec!["http/1.1".to_owned()], ..raw.tls },
    }))
}

fn read_url(text: &str) -> Result<Url, Issue> {
    let url = Url::parse(text).map_err(|_| Issue::new("url", "expected a URL such as https://example.org/"))?;
    match (url.scheme(), url.host_str()) {
        ("http" | "https", Some(host)) if !host.is_empty() => Ok(url),
        _ => Err(Issue::new("url", "expected http:// or https:// and a host")),
    }
}

/// The headers that are sent whatever is configured.
fn own_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers
}

fn headers(raw: &Raw, url: Option<&Url>, issues: &mut Vec<Issue>) -> HeaderMap {
    let mut headers = own_headers();
    let user_of = |url: &Url| (!url.username().is_empty()).then(|| userinfo(url.username()));
    let user = raw.username.clone().or_else(|| url.and_then(user_of));
    if let Some(token) = &raw.bearer_token {
        set(&mut headers, "bearer_token", AUTHORIZATION, &format!("Bearer {}", token.expose()), issues);
    } else if let Some(user) = user {
        use base64::Engine as _;
        let password = raw.password.as_ref().map(|password| password.expose().clone());
        let password = password.or_else(|| url.and_then(Url::password).map(userinfo)).unwrap_or_default();
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        set(&mut headers, "password", AUTHORIZATION, &format!("Basic {pair}"), issues);
    }
    for (name, value) in &raw.headers {
        let path = format!("headers.{name}");
        match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) => set(&mut headers, &path, name, value, issues),
            Err(_) => issues.push(Issue::new(path, "not a header's name")),
        }
    }
    headers
}

fn set(headers: &mut HeaderMap, path: &str, name: HeaderName, value: &str, issues: &mut Vec<Issue>) {
    match HeaderValue::from_str(value) {
        Ok(mut value) => {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Err(_) => issues.push(Issue::new(path, "has characters that a header cannot carry")),
    }
}

/// One answer.
struct Answer {
    head: Response<()>,
    /// Kept only where conditions read it.
    body: Vec<u8>,
    length: usize,
    truncated: bool,
}

/// One exchange: the answer, the connection's phases, what its handshake showed, and who answered.
struct Hop {
    answer: Answer,
    timings: Timings,
    tls: Option<Arc<TlsSeen>>,
    is_public: bool,
}

/// What the next request asks for.
struct Next {
    url: Url,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
    net: NetOptions,
    tls: TlsOptions,
}

impl Probe for Http {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn descriptors(&self) -> u64 {
        target_of(&self.url).descriptors()
    }

    fn run<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Observation> {
        Box::pin(async move {
            match self.look(ctx).await {
                Ok(seen) => seen,
                Err(error) => Observation::failed(ctx, error),
            }
        })
    }
}

impl Http {
    async fn look(&self, ctx: &Ctx) -> Result<Observation, Error> {
        let mut next = Next {
            url: self.url.clone(),
            method: self.method.clone(),
            headers: self.headers.clone(),
            body: self.body.clone(),
            net: self.net.clone(),
            tls: self.tls.clone(),
        };
        let mut spent = Timings::default();
        let mut redirects = 0;
        loop {
            let hop = self.hop(ctx, &next).await.map_err(|error| {
                let timings = add(spent, *error.timings);
                error.timed(timings)
            })?;
            spent = add(spent, hop.timings);
            let Some(location) = (self.max_redirects > 0).then(|| location(&hop.answer.head, &next.url)).flatten() else {
                return Ok(self.observe(ctx, &next.url, hop, redirects).timed(spent));
            };
            redirects += 1;
            if redirects > self.max_redirects {
                let reason = format!("more than {} redirects", self.max_redirects);
                return Err(Error::target(Phase::Receive, reason).timed(spent));
            }
            let url = location.map_err(|reason| Error::target(Phase::Receive, reason).timed(spent))?;
            // A public service must not send us into our own network.
            next.net.deny_private_target |= self.is_public(ctx, &next, &hop).await;
            next.follow(hop.answer.head.status(), url);
        }
    }

    /// Tells whether a public service answered; behind a proxy its address says nothing of that.
    async fn is_public(&self, ctx: &Ctx, next: &Next, hop: &Hop) -> bool {
        match next.net.proxy {
            Some(_) => ctx.connector().is_public(&target_of(&next.url).host, &next.net, ctx.deadline).await,
            None => hop.is_public,
        }
    }

    async fn hop(&self, ctx: &Ctx, next: &Next) -> Result<Hop, Error> {
        let target = target_of(&next.url);
        let mut stream = ctx.connector().tcp(&target, &next.net, ctx.deadline).await?;
        if next.url.scheme() == "https" {
            stream = ctx.connector().start_tls(stream, &target.host, &next.tls).await?;
        }
        // The body is counted where it is collected; this only bounds heads and the overhead of chunks.
        stream.set_cap(self.max_body.saturating_mul(8).saturating_add(1 << 20));
        let is_public = address::is_public(stream.peer().ip());
        let is_read = ctx.reads("body") || ctx.reads("json");
        let tls = stream.tls().map(Arc::clone);
        let (answer, timings) = Box::pin(exchange(stream, request(next), self.max_body, is_read)).await?;
        Ok(Hop { answer, timings, tls, is_public })
    }

    fn observe(&self, ctx: &Ctx, url: &Url, hop: Hop, redirects: usize) -> Observation {
        let Answer { head, body, length, truncated } = hop.answer;
        let status = head.status().as_u16();
        #[expect(clippy::cast_precision_loss, reason = "a body fits a double by far")]
        let mut seen = Observation::up().figure("body_bytes", length as f64).figure("status", status.into());
        match &hop.tls {
            Some(tls) => seen = seen.tls(ctx, tls),
            None => seen.facts.set("tls", Fact::Map(BTreeMap::new())),
        }
        seen.facts.set("status", status);
        seen.facts.set("body_bytes", length);
        seen.facts.set("redirects", redirects);
        seen.facts.set("http_version", format!("{:?}", head.version()));
        if ctx.reads("url") {
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            let shown = format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path());
            seen.facts.set("url", shown);
        }
        if ctx.reads("headers") {
            seen.facts.set("headers", Fact::Map(joined(head.headers())));
        }
        if ctx.reads("body") || ctx.reads("json") {
            if truncated {
                let reason = format!("the body exceeds {} bytes (max_body)", self.max_body);
                return Observation { facts: seen.facts, figures: seen.figures, ..Observation::down(reason) };
            }
            match decode::decode(head.headers().get(CONTENT_ENCODING), body) {
                Ok(body) => {
                    if ctx.reads("json")
                        && let Ok(json) = serde_json::from_slice::<Json>(&body)
                    {
                        seen.facts.set("json", json);
                    }
                    if ctx.reads("body") {
                        seen.facts.set("body", Fact::Hidden(String::from_utf8_lossy(&body).into_owned()));
                    }
                }
                Err(reason) => {
                    return Observation { facts: seen.facts, figures: seen.figures, ..Observation::down(reason) };
                }
            }
        }
        seen
    }
}

impl Next {
    fn follow(&mut self, status: StatusCode, url: Url) {
        let keeps_method = matches!(status.as_u16(), 307 | 308) || matches!(self.method, Method::GET | Method::HEAD);
        if !keeps_method {
            self.method = Method::GET;
            self.body = Bytes::new();
        }
        if url.origin() != self.url.origin() {
            // What is configured is for whom it was configured: any header may be a credential, and so may the body.
            self.headers = own_headers();
            self.body = Bytes::new();
            if self.method != Method::HEAD {
                self.method = Method::GET;
            }
            self.tls.client_cert_file = None;
            self.tls.client_key_file = None;
            self.tls.server_name = None;
        }
        self.url = url;
    }
}

fn target_of(url: &Url) -> Target {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    Target { host, port: url.port_or_known_default().unwrap_or(80) }
}

/// Returns where an answer points, if it does.
fn location(head: &Response<()>, from: &Url) -> Option<Result<Url, &'static str>> {
    if !matches!(head.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = head.headers().get(LOCATION)?;
    let joined = location.to_str().ok().and_then(|location| from.join(location).ok());
    Some(match joined {
        Some(url) if matches!(url.scheme(), "http" | "https") && url.host_str().is_some() => Ok(url),
        _ => Err("it redirects to what is no http or https URL"),
    })
}

fn joined(headers: &HeaderMap) -> BTreeMap<String, Fact> {
    let mut joined = BTreeMap::new();
    for name in headers.keys() {
        let values: Vec<_> = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        joined.insert(name.as_str().to_owned(), Fact::Text(values.join(", ")));
    }
    joined
}

fn request(next: &Next) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(next.body.clone()));
    *request.method_mut() = next.method.clone();
    let path = match next.url.query() {
        Some(query) => format!("{}?{query}", next.url.path()),
        None => next.url.path().to_owned(),
    };
    *request.uri_mut() = path.parse().unwrap_or_default();
    request.headers_mut().clone_from(&next.headers);
    if !next.headers.contains_key(HOST) {
        let host = next.url.host_str().unwrap_or_default();
        let host = next.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        if let Ok(host) = HeaderValue::from_str(&host) {
            request.headers_mut().insert(HOST, host);
        }
    }
    request
}

fn add(a: Timings, b: Timings) -> Timings {
    let sum = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or(0.0) + b.unwrap_or(0.0)),
    };
    Timings {
        resolve: sum(a.resolve, b.resolve),
        connect: sum(a.connect, b.connect),
        tls: sum(a.tls, b.tls),
        first_byte: sum(a.first_byte, b.first_byte),
        transfer: sum(a.transfer, b.transfer),
        total: None,
    }
}

/// Sends a request and reads the answer, connection and exchange driven as one.
async fn exchange(
    stream: TimedStream,
    request: Request<Full<Bytes>>,
    max: usize,
    is_read: bool,
) -> Result<(Answer, Timings), Error> {
    let before = stream.timings();
    let shaken = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await;
    let (mut sender, mut connection) = shaken.map_err(|error| Error::target(Phase::Send, why(&error)).timed(before))?;
    let outcome = {
        let mut work = pin!(async {
            let response = sender.send_request(request).await?;
            collect(response, max, is_read).await
        });
        let mut ended = false;
        poll_fn(|cx| {
            if !ended && connection.poll_without_shutdown(cx).is_ready() {
                ended = true;
            }
            work.as_mut().poll(cx)
        })
        .await
    };
    let stream = connection.into_parts().io.into_inner();
    match outcome {
        Ok(answer) => Ok((answer, stream.timings())),
        Err(error) => Err(failed(&stream, &error)),
    }
}

async fn collect(response: Response<Incoming>, max: usize, is_read: bool) -> Result<Answer, hyper::Error> {
    let (head, mut incoming) = response.into_parts();
    let mut answer = Answer { head: Response::from_parts(head, ()), body: Vec::new(), length: 0, truncated: false };
    while let Some(frame) = incoming.frame().await {
        if let Ok(chunk) = frame?.into_data() {
            let room = max - answer.length;
            answer.length += room.min(chunk.len());
            if is_read {
                answer.body.extend_from_slice(chunk.get(..room.min(chunk.len())).unwrap_or_default());
            }
            if chunk.len() > room {
                answer.truncated = true;
                break;
            }
        }
    }
    Ok(answer)
}

fn failed(stream: &TimedStream, error: &hyper::Error) -> Error {
    use std::error::Error as _;
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return stream.failed(Phase::Receive, io);
        }
        source = inner.source();
    }
    let mut failed = Error::target(Phase::Receive, why(error)).timed(stream.timings());
    failed.tls = stream.tls().map(Arc::clone);
    failed
}

fn why(error: &hyper::Error) -> &'static str {
    if error.is_parse_too_large() {
        "the head of the answer is too long"
    } else if error.is_parse() {
        "the answer is not HTTP"
    } else if error.is_incomplete_message() {
        "connection closed before the answer was complete"
    } else {
        "the exchange broke off"
    }
}

#[cfg(test)]
mod tests;
