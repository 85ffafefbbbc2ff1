//! `kind: elasticsearch`: `_bulk` with `create` and an id that an event keeps.
//!
//! What was handed over before is refused with 409, which means that it is there: sent again after a crash, an event is in
//! the index once (invariant O-2). Items are told apart: what the index cannot take now is sent again, what it never will is
//! counted and left, and neither holds up the rest.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use disk::Disk;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use model::Tenant;
use model::limits::{OUTPUT_ANSWER_BYTES_MAX, OUTPUT_RETRY_AFTER_MAX};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::task::JoinSet;

use crate::config::ElasticConfig;
use crate::connect::Target;
use crate::output::{Batch, Failure, Item, Taken};
use crate::pattern::Pattern;

/// Sends batches to one `_bulk`.
pub(crate) struct Elastic {
    target: Target,
    path: String,
    headers: HeaderMap,
    pattern: Pattern,
    gzip: bool,
    timeout: Duration,
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// Most events of one body: fewer after the receiver found one too large.
    most: usize,
    /// The connection that is kept, and what drives it.
    kept: Option<(SendRequest<Full<Bytes>>, JoinSet<()>)>,
}

/// What the answer says of one item, whatever the action is called.
#[derive(Deserialize)]
struct Outcome {
    status: u16,
    #[serde(default)]
    error: Option<Cause>,
}

/// The reason is not read: it may quote the document.
#[derive(Deserialize)]
#[serde(untagged)]
enum Cause {
    Typed {
        #[serde(rename = "type")]
        kind: String,
    },
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct Answer {
    items: Vec<Created>,
}

#[derive(Deserialize)]
struct Created {
    create: Outcome,
}

impl Elastic {
    pub(crate) fn new(config: &ElasticConfig, disk: &Arc<dyn Disk>, directory: PathBuf) -> Result<Self, Failure> {
        let unread = || Failure::later("cannot read the URL");
        let url = url::Url::parse(&config.url).map_err(|_| unread())?;
        let host = url.host_str().ok_or_else(unread)?.trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().ok_or_else(unread)?;
        let tls = (url.scheme() == "https").then(|| host.clone());
        let mut path =
            format!("{}/_bulk?filter_path=items.*.status,items.*.error.type", url.path().trim_end_matches('/'));
        if let Some(pipeline) = &config.pipeline {
            path.push_str("&pipeline=");
            path.extend(url::form_urlencoded::byte_serialize(pipeline.as_bytes()));
        }
        let authority = url.port().map_or_else(
            || url.host_str().unwrap_or_default().to_owned(),
            |port| format!("{}:{port}", url.host_str().unwrap_or_default()),
        );
        Ok(Self {
            target: Target { host, port, tls, ca_file: config.ca_file.clone() },
            path,
            headers: headers(config, &authority)?,
            pattern: Pattern::read(&config.index).map_err(|_| Failure::later("cannot read the index"))?,
            gzip: config.gzip,
            timeout: config.timeout,
            disk: Arc::clone(disk),
            directory,
            most: usize::MAX,
            kept: None,
        })
    }

    /// Hands over what a batch still has. What the index cannot take now stays in it, and is the failure.
    pub(crate) async fn hand_over(&mut self, tenant: &Tenant, batch: &mut Batch) -> Result<Taken, Failure> {
        let mut taken = Taken::default();
        let mut put_off: Option<Failure> = None;
        let mut at = 0;
        while at < batch.items.len() {
            let end = batch.items.len().min(at.saturating_add(self.most));
            let body = self.body(tenant, batch.items.get(at..end).unwrap_or_default()).await?;
            taken.bytes += body.len();
            let (status, wait, answer) = match tokio::time::timeout(self.timeout, self.post(body)).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(reason)) => return Err(self.broken(taken, reason)),
                Err(_) => return Err(self.broken(taken, "no answer in time".to_owned())),
            };
            match status {
                StatusCode::OK => {
                    let Some(outcomes) = read(&answer, end - at) else {
                        return Err(self.broken(taken, "the answer is none of _bulk".to_owned()));
                    };
                    at = judge(batch, at, &outcomes, &mut taken, &mut put_off);
                }
                // One document may be at fault, or all of them together too large: smaller bodies find out.
                StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE if end - at > 1 => self.most = (end - at) / 2,
                StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => {
                    taken.refuse("the receiver refused a body of one event");
                    batch.items.remove(at);
                    self.most = usize::MAX;
                }
                status => {
                    let mut failure = Failure::later(format!("the receiver answered {}", status.as_u16()));
                    failure.wait = wait;
                    failure.taken = taken;
                    return Err(failure);
                }
            }
        }
        match put_off {
            None => Ok(taken),
            Some(failure) => Err(Failure { taken, ..failure }),
        }
    }

    fn broken(&mut self, taken: Taken, reason: String) -> Failure {
        self.kept = None;
        Failure { taken, ..Failure::later(reason) }
    }

    /// Writes and packs a body where it holds up nobody.
    async fn body(&self, tenant: &Tenant, items: &[Item]) -> Result<Bytes, Failure> {
        let mut plain = Vec::with_capacity(items.iter().map(|item| item.line.len() + 128).sum());
        for item in items {
            let index = self.pattern.name(&item.stream, tenant, item.admitted_at);
            let action = serde_json::json!({"create": {"_index": index, "_id": item.id}});
            plain.extend_from_slice(action.to_string().as_bytes());
            plain.push(b'\n');
            plain.extend_from_slice(&item.line);
        }
        if !self.gzip {
            return Ok(plain.into());
        }
        let packed = tokio::task::spawn_blocking(move || {
            let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::fast());
            encoder.write_all(&plain)?;
            encoder.finish()
        });
        match packed.await {
            Ok(Ok(bytes)) => Ok(bytes.into()),
            _ => Err(Failure::later("could not pack a body")),
        }
    }

    async fn post(&mut self, body: Bytes) -> Result<(StatusCode, Option<Duration>, Bytes), String> {
        let mut request = Request::post(self.path.as_str())
            .body(Full::new(body))
            .map_err(|_| "cannot make a request of the URL".to_owned())?;
        *request.headers_mut() = self.headers.clone();
        // A connection that the receiver closed while it was idle is no failure of this batch.
        let reusable = match &mut self.kept {
            Some((sender, _)) => sender.ready().await.is_ok(),
            None => false,
        };
        if !reusable {
            self.kept = Some(self.connect().await?);
        }
        let Some((sender, _)) = &mut self.kept else { return Err("could not connect".to_owned()) };
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|_| "the connection broke off".to_owned())?;
        let (status, wait) = (answer.status(), retry_after(answer.headers()));
        let body = Limited::new(answer.into_body(), OUTPUT_ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|_| "the answer broke off or is too large".to_owned())?.to_bytes();
        Ok((status, wait, body))
    }

    async fn connect(&self) -> Result<(SendRequest<Full<Bytes>>, JoinSet<()>), String> {
        let stream = self.target.open(&self.disk, &self.directory).await?;
        let opened = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = opened.map_err(|_| "the receiver does not speak HTTP".to_owned())?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Its end shows at the next request.
            let _ = connection.await;
        });
        Ok((sender, driver))
    }
}

fn headers(config: &ElasticConfig, authority: &str) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| Failure::later("cannot send a configured header"));
    headers.insert(header::HOST, value(authority)?);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("Dihya/", env!("CARGO_PKG_VERSION"))));
    if config.gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let authorization = match (&config.username, &config.password, &config.api_key) {
        (Some(user), Some(password), _) => {
            Some(format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose()))))
        }
        // `id:key` is how Kibana shows it, Base64 of that is how it is sent.
        (_, _, Some(key)) if key.expose().contains(':') => Some(format!("ApiKey {}", STANDARD.encode(key.expose()))),
        (_, _, Some(key)) => Some(format!("ApiKey {}", key.expose().trim())),
        _ => None,
    };
    if let Some(authorization) = authorization {
        let mut authorization = value(&authorization)?;
        authorization.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, authorization);
    }
    Ok(headers)
}

/// Reads `Retry-After` in seconds; a date is what proxies send to people.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(OUTPUT_RETRY_AFTER_MAX))
}

/// Reads an answer; `None` where it is not that of as many items.
fn read(answer: &[u8], items: usize) -> Option<Vec<Outcome>> {
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    (answer.items.len() == items).then(|| answer.items.into_iter().map(|item| item.create).collect())
}

/// Takes out of the batch, from `at` on, what is settled, and returns where the rest begins.
fn judge(
    batch: &mut Batch,
    at: usize,
    outcomes: &[Outcome],
    taken: &mut Taken,
    put_off: &mut Option<Failure>,
) -> usize {
    let mut outcomes = outcomes.iter();
    let (mut index, mut stay) = (0, 0);
    batch.items.retain(|_| {
        index += 1;
        if index <= at {
            return true;
        }
        let Some(outcome) = outcomes.next() else { return true };
        match outcome.status {
            200..=299 => taken.sent += 1,
            // It is there: from before a crash, or because an answer was lost.
            409 => taken.known += 1,
            429 | 500.. => {
                stay += 1;
                put_off.get_or_insert_with(|| Failure {
                    one_by_one: true,
                    ..Failure::later(format!("the index answered {}", outcome.status))
                });
                return true;
            }
            status => taken.refuse(&match &outcome.error {
                Some(Cause::Typed { kind }) if is_word(kind) => format!("{status} {kind}"),
                Some(Cause::Other(_) | Cause::Typed { .. }) | None => status.to_string(),
            }),
        }
        false
    });
    at + stay
}

/// Tells whether a receiver's word for an error can be nothing else.
fn is_word(kind: &str) -> bool {
    kind.len() <= 64 && kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}
