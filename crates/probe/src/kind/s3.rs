//! S3: write a random object, read it back, compare, find it in the listing, delete it, and see it gone.
//!
//! The integrity check for object stores: a bucket can answer 200 to everything and still lose or change what it is
//! given. Requests are signed by hand (AWS Signature Version 4), without a client's hidden retries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use model::config::{FieldSpec, Spec, Ty};
use model::{BoxFuture, Private, Timings};
use serde::Deserialize;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use url::Url;

use self::sign::{Credentials, encode, hex};
use super::exchange::{Answer, Exchange};
use super::service::{self, Broken};
use crate::config::{self, Issue};
use crate::connect::spec::tls_fields;
use crate::connect::{Error, NetOptions, Target, TlsOptions, TlsSeen};
use crate::fact::{FactSpec, Shape, fact};
use crate::kind::{Ctx, Defaults, Fault, Kind, Observation, Probe};

mod sign;

/// The kind.
pub static KIND: Kind =
    Kind { name: "s3", spec: &SPEC, facts: FACTS, defaults: Defaults::TLS, build: |json| Ok(Arc::new(read(json)?)) };

static SPEC: Spec = Spec {
    name: "s3 check",
    doc: "Writes a random object to an S3 bucket, reads it back, compares, and deletes it.",
    fields: tls_fields![
        FieldSpec::required("endpoint", Ty::Url(&["http", "https"]), "Where the store answers."),
        FieldSpec::required("bucket", Ty::Text, "The bucket, which must exist."),
        FieldSpec::optional("region", Ty::Text, "us-east-1", "The region that requests are signed for."),
        FieldSpec::required("access_key", Ty::Text, "The id of the access key."),
        FieldSpec::required("secret_key", Ty::Secret, "The secret of the access key."),
        FieldSpec::optional("session_token", Ty::Secret, "", "The token of temporary credentials."),
        FieldSpec::optional("prefix", Ty::Text, "dihya-check/", "What the names of our objects begin with."),
        FieldSpec::optional("object_size", Ty::Size, "16KiB", "How large the object is; at most 1MiB."),
        FieldSpec::optional(
            "path_style",
            Ty::Bool,
            "true",
            "Whether the bucket stands in the path, as most stores want it, and not before the host.",
        ),
    ],
};

const FACTS: &[FactSpec] = &[
    fact("delete", "How long the deletion took.").is(Shape::Time),
    fact("leftovers", "Objects of earlier runs that were found and deleted.").is(Shape::Number),
    fact("list", "How long the listing took.").is(Shape::Time),
    fact("read", "How long reading the object back took.").is(Shape::Time),
    fact("tls", "What TLS showed: see the kind `tls`.").is(Shape::TLS),
    fact("write", "How long writing the object took.").is(Shape::Time),
];

/// Largest object.
const OBJECT_BYTES_MAX: u64 = 1 << 20;
/// Longest answer that is not the object.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// Age from which an object of ours is a leftover: no run lasts longer.
const LEFTOVER_AGE: Duration = Duration::from_secs(600);
/// Most leftovers that one run deletes.
const LEFTOVERS_MAX: usize = 10;

struct S3 {
    target: Target,
    https: bool,
    bucket: String,
    credentials: Credentials,
    prefix: String,
    object_size: usize,
    path_style: bool,
    net: NetOptions,
    tls: TlsOptions,
}

#[derive(Deserialize)]
struct Options {
    endpoint: Url,
    bucket: String,
    #[serde(default = "region")]
    region: String,
    access_key: String,
    #[serde(default, deserialize_with = "model::config::de::secret_opt")]
    secret_key: Option<Private<String>>,
    #[serde(default, deserialize_with = "model::config::de::secret_opt")]
    session_token: Option<Private<String>>,
    #[serde(default = "prefix")]
    prefix: String,
    #[serde(default, deserialize_with = "model::config::de::size_opt")]
    object_size: Option<u64>,
    #[serde(default = "path_style")]
    path_style: bool,
    #[serde(flatten)]
    net: NetOptions,
    #[serde(flatten)]
    tls: TlsOptions,
}

fn region() -> String {
    "us-east-1".to_owned()
}

fn prefix() -> String {
    "dihya-check/".to_owned()
}

const fn path_style() -> bool {
    true
}

fn read(json: &Json) -> Result<S3, Vec<Issue>> {
    let options: Options = config::read(json)?;
    let mut issues = Vec::new();
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if !plain(&options.bucket) {
        issues.push(Issue::new("bucket", "the name of a bucket has letters, digits, hyphens and dots"));
    }
    if !options.prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/".contains(&b)) {
        issues.push(Issue::new("prefix", "a prefix has letters, digits, hyphens, dots, underscores and slashes"));
    }
    if !plain(&options.region) || !options.access_key.bytes().all(|b| b.is_ascii_graphic()) {
        issues.push(Issue::new("region", "region and access key have no blanks"));
    }
    let object_size = options.object_size.unwrap_or(16 << 10);
    if !(1..=OBJECT_BYTES_MAX).contains(&object_size) {
        issues.push(Issue::new("object_size", "expected between 1B and 1MiB"));
    }
    let port = options.endpoint.port_or_known_default().unwrap_or(443);
    let host = options.endpoint.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    if host.is_empty() || options.endpoint.path() != "/" || options.endpoint.query().is_some() {
        issues.push(Issue::new("endpoint", "expected a scheme and a host, without a path"));
    }
    let Some(secret_key) = options.secret_key else {
        issues.push(Issue::new("secret_key", "a secret key is needed"));
        return Err(issues);
    };
    if !issues.is_empty() {
        return Err(issues);
    }
    let host = if options.path_style { host } else { format!("{}.{host}", options.bucket) };
    let Options { bucket, region, access_key, session_token, prefix, path_style, net, tls, .. } = options;
    Ok(S3 {
        target: Target { host, port },
        https: options.endpoint.scheme() == "https",
        bucket,
        credentials: Credentials { region, access_key, secret_key, session_token },
        prefix,
        object_size: usize::try_from(object_size).unwrap_or_default(),
        path_style,
        net,
        tls,
    })
}

impl Probe for S3 {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn run<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Observation> {
        Box::pin(self.look(ctx))
    }
}

impl S3 {
    async fn look(&self, ctx: &Ctx) -> Observation {
        let mut run = match self.open(ctx).await {
            Ok(exchange) => Run { s3: self, ctx, exchange, read: None },
            Err(error) => return Observation::failed(ctx, error),
        };
        let key = self.key(ctx);
        let mut told = run.round_trip(&key).await;
        let (timings, tls) = run.told();
        if told.is_err() {
            // Whatever went wrong, the object may be there. A run that ends before this leaves it to the next one.
            let _ = run.call(Method::DELETE, Some(&key), &[], Bytes::new(), ANSWER_BYTES_MAX).await;
        }
        // Whether or not all went well: what is never swept grows for ever.
        let leftovers = run.sweep().await;
        told = told.map(|seen| seen.fact("leftovers", leftovers));
        service::concluded(told, ctx, timings, tls.as_ref())
    }

    async fn open(&self, ctx: &Ctx) -> Result<Exchange, Error> {
        let stream = if self.https {
            ctx.connector().tls(&self.target, &self.net, &self.tls, ctx.deadline).await?
        } else {
            ctx.connector().tcp(&self.target, &self.net, ctx.deadline).await?
        };
        Exchange::open(stream, false).await
    }

    /// The header `Host`, which is signed: without the port where that is the scheme's.
    fn host(&self) -> String {
        let standard = if self.https { 443 } else { 80 };
        let mut authority = self.target.authority();
        if self.target.port == standard {
            authority.truncate(authority.len() - format!(":{standard}").len());
        }
        authority
    }

    /// `<prefix><check>/`: under it all objects are ours.
    fn place(&self, ctx: &Ctx) -> String {
        let id: String = ctx.id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
        format!("{}{id}/", self.prefix)
    }

    fn key(&self, ctx: &Ctx) -> String {
        let mut random = [0; 8];
        ctx.means.rng.fill(&mut random);
        format!("{}{}-{}", self.place(ctx), ctx.clock().now().as_second(), hex(&random))
    }
}

/// One run over one connection.
struct Run<'a> {
    s3: &'a S3,
    ctx: &'a Ctx,
    exchange: Exchange,
    read: Option<Timings>,
}

impl Run<'_> {
    fn told(&self) -> (Timings, Option<Arc<TlsSeen>>) {
        (self.read.unwrap_or_else(|| self.exchange.timings()), self.exchange.tls().cloned())
    }

    async fn round_trip(&mut self, key: &str) -> Result<Observation, Broken> {
        let mut object = vec![0; self.s3.object_size];
        self.ctx.means.rng.fill(&mut object);
        let object = Bytes::from(object);
        let write = self.call(Method::PUT, Some(key), &[], object.clone(), ANSWER_BYTES_MAX).await?;
        expect(&write, "write", 200)?;
        let read = self.call(Method::GET, Some(key), &[], Bytes::new(), self.s3.object_size).await?;
        self.read = Some(self.exchange.timings());
        expect(&read, "read", 200)?;
        if read.body.len() < object.len() {
            return Err(Broken::down("what is read back is shorter than what was written"));
        }
        if read.body != object {
            return Err(Broken::down("what is read back is not what was written"));
        }
        // By its whole name: a page of a listing holds a thousand, and leftovers come before it.
        let query = [("list-type", "2"), ("prefix", key)];
        let list = self.call(Method::GET, None, &query, Bytes::new(), ANSWER_BYTES_MAX).await?;
        expect(&list, "list", 200)?;
        if !keys(&list.body).iter().any(|listed| listed == key) {
            return Err(Broken::down("the object was written and is not in the listing"));
        }
        let delete = self.call(Method::DELETE, Some(key), &[], Bytes::new(), ANSWER_BYTES_MAX).await?;
        expect(&delete, "delete", 204)?;
        let most = self.s3.object_size.max(ANSWER_BYTES_MAX);
        let gone = self.call(Method::GET, Some(key), &[], Bytes::new(), most).await?;
        if gone.status != 404 {
            return Err(Broken::down(format!(
                "the object was deleted and is still answered (status {})",
                gone.status.as_u16()
            )));
        }
        let mut observation = Observation::up();
        for (name, answer) in [("write", &write), ("read", &read), ("list", &list), ("delete", &delete)] {
            observation = observation
                .fact(name, answer.took)
                .figure(format!("{name}_milliseconds"), answer.took.as_secs_f64() * 1e3);
        }
        Ok(observation)
    }

    /// Deletes what runs that were cut short left behind, the oldest first, and returns how many that were. What fails
    /// here is no failure of the check: the next run goes on.
    async fn sweep(&mut self) -> usize {
        let place = self.s3.place(self.ctx);
        let query = [("list-type", "2"), ("max-keys", "100"), ("prefix", place.as_str())];
        let listed = self.call(Method::GET, None, &query, Bytes::new(), ANSWER_BYTES_MAX).await;
        let keys = listed.map(|list| keys(&list.body)).unwrap_or_default();
        let horizon = self.ctx.clock().now().as_second() - i64::try_from(LEFTOVER_AGE.as_secs()).unwrap_or(i64::MAX);
        let made = |key: &str| key.strip_prefix(place.as_str())?.split_once('-')?.0.parse::<i64>().ok();
        let old = keys.iter().filter(|key| made(key).is_some_and(|made| made < horizon));
        let mut swept = 0;
        for key in old.take(LEFTOVERS_MAX) {
            let deleted = self.call(Method::DELETE, Some(key), &[], Bytes::new(), ANSWER_BYTES_MAX).await;
            swept += usize::from(deleted.is_ok_and(|answer| answer.status.is_success()));
        }
        swept
    }

    async fn call(
        &mut self,
        method: Method,
        key: Option<&str>,
        query: &[(&str, &str)],
        body: Bytes,
        max: usize,
    ) -> Result<Answer, Broken> {
        let path = match (self.s3.path_style, key) {
            (true, Some(key)) => format!("/{}/{}", self.s3.bucket, encode(key, true)),
            (true, None) => format!("/{}", self.s3.bucket),
            (false, Some(key)) => format!("/{}", encode(key, true)),
            (false, None) => "/".to_owned(),
        };
        let query: BTreeMap<String, String> =
            query.iter().map(|(name, value)| (encode(name, false), encode(value, false))).collect();
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let query = query.join("&");
        let digest = hex(&Sha256::digest(&body));
        let host = self.s3.host();
        let headers = self.s3.credentials.sign(self.ctx.clock().now(), method.as_str(), &path, &query, &host, &digest);
        let uri = if query.is_empty() { path } else { format!("{path}?{query}") };
        let mut request = Request::builder().method(method).uri(uri).header("host", host);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body));
        let request = request.map_err(|_| Broken::Wants("the credentials cannot be sent in a header"))?;
        if !self.exchange.is_ready().await {
            self.exchange = self.s3.open(self.ctx).await?; // some stores close after each answer
        }
        Ok(self.exchange.ask(self.ctx, request, max).await?)
    }
}

/// Fails unless the store answers as it should: with `status`, or another that means success.
fn expect(answer: &Answer, doing: &str, status: u16) -> Result<(), Broken> {
    if answer.status == status || answer.status.is_success() {
        return Ok(());
    }
    let code = between(&answer.body, "<Code>", "</Code>")
        .filter(|code| (1..=40).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let code = code.unwrap_or_default();
    let status = answer.status.as_u16();
    if code == "RequestTimeTooSkewed" {
        return Err(Broken::Ours(Fault::Clock, "its clock and ours are too far apart".to_owned()));
    }
    let meaning = match (code.as_str(), status) {
        ("NoSuchBucket", _) => "the bucket does not exist",
        ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken", _) => {
            "it refuses the access key"
        }
        ("SlowDown" | "ServiceUnavailable", _) | (_, 503) => "it is overloaded",
        (_, 401 | 403) => "the access key may not do that",
        (_, 404) => "the object is not there",
        (_, 507) => "it is full",
        (_, 500..) => "it has an internal error",
        _ => "it answers with an error",
    };
    let said = if code.is_empty() { format!("status {status}") } else { format!("status {status}, {code}") };
    Err(Broken::down(format!("could not {doing}: {meaning} ({said})")))
}

fn between(body: &[u8], start: &str, end: &str) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inner, _)| inner.to_owned())
}

/// The keys of a listing. Ours have no character that XML would escape; what has is not ours.
fn keys(body: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(body);
    text.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>")).map(|(key, _)| key.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use model::State;
    use serde_json::json;
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;
    use crate::kind::scripted::ctx;

    fn options(endpoint: &str) -> Json {
        json!({
            "endpoint": endpoint, "bucket": "backups", "access_key": "AKIA", "secret_key": "hunter2", "object_size": 64,
        })
    }

    /// How a store can be broken.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Flaw {
        None,
        Refuses,
        Skewed,
        Shortens,
        Changes,
        Hides,
        Keeps,
        Forbids,
        Floods,
    }

    /// A store of one object over HTTP/1.0, one connection per request, with a flaw.
    async fn store(flaw: Flaw) -> (String, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (mut object, mut key): (Option<Vec<u8>>, String) = (None, String::new());
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let Some((method, path, body)) = request(&mut stream).await else { continue };
                let (status, body) = match (method.as_str(), path.contains('?')) {
                    ("PUT", _) if flaw == Flaw::Refuses => (403, b"<Error><Code>AccessDenied</Code></Error>".to_vec()),
                    ("PUT", _) if flaw == Flaw::Skewed => (403, b"<Code>RequestTimeTooSkewed</Code>".to_vec()),
                    ("PUT", _) => {
                        (object, key) = (Some(body), path.trim_start_matches("/backups/").to_owned());
                        (200, Vec::new())
                    }
                    ("GET", true) if flaw == Flaw::Hides => (200, b"<Key>other</Key>".to_vec()),
                    // One page, in the order of the keys: leftovers of long ago come first.
                    ("GET", true) => {
                        let whole = encode(&key, false);
                        let leftovers = (0..1_000).map(|n| format!("dihya-check/scripted/7-{n:03x}"));
                        let all = leftovers.chain([key.clone()]).filter(|listed| {
                            !path.ends_with(&format!("prefix={whole}")) || *listed == key
                        });
                        (200, all.take(1_000).map(|key| format!("<Key>{key}</Key>")).collect::<String>().into_bytes())
                    }
                    ("GET", false) => match object.clone() {
                        None => (404, format!("<Code>NoSuchKey</Code>{}", " ".repeat(300)).into_bytes()),
                        Some(_) if flaw == Flaw::Floods => (200, vec![0; 4_096]),
                        Some(kept) if flaw == Flaw::Shortens => (200, kept[1..].to_vec()),
                        Some(mut kept) => {
                            kept[0] ^= u8::from(flaw == Flaw::Changes);
                            (200, kept)
                        }
                    },
                    ("DELETE", _) if flaw == Flaw::Forbids => (403, Vec::new()),
                    _ => {
                        object = object.filter(|_| flaw == Flaw::Keeps);
                        (204, Vec::new())
                    }
                };
                use tokio::io::AsyncWriteExt as _;
                let head = format!("HTTP/1.0 {status} x\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
            }
        });
        (endpoint, tasks)
    }

    async fn request(stream: &mut tokio::net::TcpStream) -> Option<(String, String, Vec<u8>)> {
        use tokio::io::AsyncReadExt as _;
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
                let start = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("found") + 4;
                if bytes.len() >= start + length.parse::<usize>().expect("a length") {
                    assert!(head.contains("authorization: AWS4-HMAC-SHA256 Credential=AKIA/"));
                    let mut words = head.split(' ');
                    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
                    return Some((method, path, bytes.split_off(start)));
                }
            }
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
    }

    #[tokio::test]
    async fn each_flaw_of_a_store_is_found() {
        for (flaw, state, reason) in [
            (Flaw::None, State::Up, ""),
            (Flaw::Refuses, State::Down, "could not write: the access key may not do that (status 403, AccessDenied)"),
            (Flaw::Skewed, State::Unknown, "its clock and ours are too far apart"),
            (Flaw::Shortens, State::Down, "what is read back is shorter than what was written"),
            (Flaw::Changes, State::Down, "what is read back is not what was written"),
            (Flaw::Hides, State::Down, "the object was written and is not in the listing"),
            (Flaw::Keeps, State::Down, "the object was deleted and is still answered (status 200)"),
            (Flaw::Forbids, State::Down, "could not delete: the access key may not do that (status 403)"),
            (Flaw::Floods, State::Down, "no complete answer: answer exceeds 64 bytes"),
        ] {
            let (endpoint, _tasks) = store(flaw).await;
            let probe = (KIND.build)(&options(&endpoint)).expect("sound");
            let seen = probe.run(&ctx(Duration::from_secs(5))).await;
            assert_eq!((seen.state, seen.reason.as_str()), (state, reason), "{flaw:?}");
            if flaw == Flaw::None {
                assert_eq!(seen.facts.get("leftovers"), Some(&crate::fact::Fact::Int(10)));
                assert!(seen.figures.contains_key("write_milliseconds") && seen.timings.first_byte.is_some());
            }
        }
    }

    #[tokio::test]
    async fn a_store_that_is_away_or_speaks_no_tls_is_down() {
        let probe = (KIND.build)(&options("http://127.0.0.1:1")).expect("sound");
        let seen = probe.run(&ctx(Duration::from_secs(2))).await;
        assert_eq!(seen.reason, "could not connect: connection refused");
        let (endpoint, _tasks) = store(Flaw::None).await;
        let probe = (KIND.build)(&options(&endpoint.replace("http:", "https:"))).expect("sound");
        let seen = probe.run(&ctx(Duration::from_millis(300))).await;
        assert!(seen.reason.starts_with("TLS handshake failed: "), "{}", seen.reason);
    }

    #[test]
    fn errors_become_words_of_ours() {
        let answer = |status: u16, code: &str| Answer {
            status: http::StatusCode::from_u16(status).expect("a status"),
            headers: http::HeaderMap::new(),
            body: format!("<?xml?><Error><Code>{code}</Code></Error>").into_bytes(),
            trailers: http::HeaderMap::new(),
            took: Duration::ZERO,
        };
        for (status, code, words) in [
            (404, "NoSuchBucket", "the bucket does not exist (status 404, NoSuchBucket)"),
            (403, "InvalidAccessKeyId", "it refuses the access key (status 403, InvalidAccessKeyId)"),
            (503, "SlowDown", "it is overloaded (status 503, SlowDown)"),
            (503, "", "it is overloaded (status 503)"),
            (404, "NoSuchKey", "the object is not there (status 404, NoSuchKey)"),
            (507, "x", "it is full (status 507, x)"),
            (500, "<b>", "it has an internal error (status 500)"),
            (400, "Other", "it answers with an error (status 400, Other)"),
        ] {
            let Err(Broken::Says(_, reason)) = expect(&answer(status, code), "read", 200) else { panic!("{code}") };
            assert_eq!(reason, format!("could not read: {words}"));
        }
        assert_eq!(between(&[0xff], "a", "b"), None);
    }

    #[test]
    fn what_cannot_work_is_refused_at_once() {
        for (key, value, path) in [
            ("bucket", json!("a/b"), "bucket"),
            ("prefix", json!("a b"), "prefix"),
            ("region", json!(""), "region"),
            ("object_size", json!("2MiB"), "object_size"),
            ("endpoint", json!("https://s3.example/x"), "endpoint"),
            ("secret_key", Json::Null, "secret_key"),
        ] {
            let mut options = options("https://s3.example");
            options[key] = value;
            let issues = (KIND.build)(&options).map(|_| ()).expect_err("it cannot work");
            assert_eq!(issues[0].path, path, "{issues:?}");
        }
    }

    #[test]
    fn hosts_are_named_as_they_are_signed() {
        let host = |endpoint: &str, path_style: bool| {
            let mut options = options(endpoint);
            options["path_style"] = path_style.into();
            read(&options).expect("sound").host()
        };
        assert_eq!(host("https://s3.example", true), "s3.example");
        assert_eq!(host("https://s3.example", false), "backups.s3.example");
        assert_eq!(host("http://s3.example:9000", true), "s3.example:9000");
        assert_eq!(host("http://[::1]:80", true), "[::1]");
    }
}
