//! HTTP over the connector's stream, one request after the other: what S3 and gRPC need, without a client's retries.

use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use model::Timings;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::connect::{Error, Phase, TimedStream, TlsSeen};
use crate::kind::Ctx;

/// A connection that answers requests in turn. Its tasks end with it.
pub(super) struct Exchange {
    sender: Sender,
    tasks: Tasks,
    ended: Ended,
    timings: Timings,
    tls: Option<Arc<TlsSeen>>,
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) trailers: HeaderMap,
    /// From the request to the end of the answer.
    pub(super) took: Duration,
}

/// How the connection itself ended: a request that was waiting is only told that it did.
type Ended = Arc<OnceLock<hyper::Error>>;

/// Owns what hyper wants to run beside a request, so that nothing outlives the probe.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, future: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).spawn(future);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.tasks.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl Exchange {
    /// Speaks HTTP/1.1, or HTTP/2 from the first byte where `two` says so.
    pub(super) async fn open(stream: TimedStream, two: bool) -> Result<Self, Error> {
        use hyper::rt::Executor as _;
        let (timings, tls, deadline) = (stream.timings(), stream.tls().cloned(), stream.deadline());
        let tasks = Tasks::default();
        let io = TokioIo::new(stream);
        let broken = |error: hyper::Error| judge(&error, deadline).timed(timings);
        let ended = Ended::default();
        let end = Arc::clone(&ended);
        let sender = if two {
            let (sender, connection) = http2::handshake(tasks.clone(), io).await.map_err(broken)?;
            tasks.execute(async move { drop(connection.await.map_err(|error| end.set(error))) });
            Sender::Two(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.map_err(broken)?;
            tasks.execute(async move { drop(connection.await.map_err(|error| end.set(error))) });
            Sender::One(sender)
        };
        Ok(Self { sender, tasks, ended, timings, tls })
    }

    /// Returns the phases so far; `first_byte` and `transfer` are those of the last answer.
    pub(super) const fn timings(&self) -> Timings {
        self.timings
    }

    /// Returns what the TLS handshake showed.
    pub(super) const fn tls(&self) -> Option<&Arc<TlsSeen>> {
        self.tls.as_ref()
    }

    /// Waits until another request can be sent; false when the peer keeps the connection for no more.
    pub(super) async fn is_ready(&mut self) -> bool {
        match &mut self.sender {
            Sender::One(sender) => sender.ready().await.is_ok(),
            Sender::Two(sender) => sender.ready().await.is_ok(),
        }
    }

    /// Sends a request and reads the whole answer, at most `max` bytes of body.
    pub(super) async fn ask(&mut self, ctx: &Ctx, request: Request<Full<Bytes>>, max: usize) -> Result<Answer, Error> {
        let started = ctx.clock().monotonic();
        let answer = match timeout_at(ctx.deadline, self.head(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(self.broken(&error, ctx.deadline)),
            Err(_) => return Err(Error::timed_out(Phase::Receive).timed(self.timings)),
        };
        let first = ctx.clock().monotonic();
        self.timings.first_byte = Some((first - started).as_secs_f64() * 1e3);
        let (head, body) = answer.into_parts();
        let (body, trailers) = match timeout_at(ctx.deadline, whole(body, max)).await {
            Ok(Ok(Some(read))) => read,
            Ok(Ok(None)) => {
                let reason = format!("answer exceeds {max} bytes");
                return Err(Error::target(Phase::Receive, reason).timed(self.timings));
            }
            Ok(Err(error)) => return Err(self.broken(&error, ctx.deadline)),
            Err(_) => return Err(Error::timed_out(Phase::Receive).timed(self.timings)),
        };
        let last = ctx.clock().monotonic();
        self.timings.transfer = Some((last - first).as_secs_f64() * 1e3);
        Ok(Answer { status: head.status, headers: head.headers, body, trailers, took: last - started })
    }

    fn broken(&self, error: &hyper::Error, deadline: Instant) -> Error {
        judge(self.ended.get().unwrap_or(error), deadline).timed(self.timings)
    }

    async fn head(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<http::Response<Incoming>> {
        match &mut self.sender {
            Sender::One(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Two(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

/// Reads a body and what follows it; `None` where it is longer than `max`.
async fn whole(mut body: Incoming, max: usize) -> hyper::Result<Option<(Vec<u8>, HeaderMap)>> {
    let (mut read, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) if read.len() + data.len() > max => return Ok(None),
            Ok(data) => read.extend_from_slice(&data),
            Err(other) => trailers = other.into_trailers().unwrap_or_default(),
        }
    }
    Ok(Some((read, trailers)))
}

/// Says in our words what hyper says; its own words may repeat what the peer sent.
fn judge(error: &hyper::Error, deadline: Instant) -> Error {
    if Instant::now() >= deadline {
        return Error::timed_out(Phase::Receive);
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Error::from_io(Phase::Receive, io);
        }
        cause = error.source();
    }
    let reason = if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        "connection closed by the peer"
    } else {
        "the answer is not valid HTTP"
    };
    Error::target(Phase::Receive, reason)
}
