//! A connection with a deadline, a cap on what is read, and a memory of how long each phase took.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use model::{Clock, Timings};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::client::TlsStream;

use super::{Error, Phase, TlsSeen};

/// What carries the bytes.
pub(super) enum Carrier {
    /// TCP alone.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection to a watched service. Reads fail past `cap` bytes and past the deadline; the error says so.
pub struct TimedStream {
    carrier: Carrier,
    clock: Arc<dyn Clock>,
    deadline: Instant,
    sleep: Pin<Box<Sleep>>,
    cap: usize,
    read: usize,
    /// What was read beyond the last line; whoever reads next gets it first.
    ahead: Vec<u8>,
    timings: Timings,
    asked_at: Option<Duration>,
    first_at: Option<Duration>,
    last_at: Option<Duration>,
    peer: SocketAddr,
    seen: Option<Arc<TlsSeen>>,
}

/// Marks the IO errors that this stream raises itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Limit {
    #[error("timed out")]
    Deadline,
    #[error("answer exceeds {0} bytes")]
    Cap(usize),
}

impl TimedStream {
    pub(super) fn new(
        carrier: Carrier,
        peer: SocketAddr,
        clock: Arc<dyn Clock>,
        deadline: Instant,
        timings: Timings,
    ) -> Self {
        Self {
            carrier,
            clock,
            deadline,
            sleep: Box::pin(tokio::time::sleep_until(deadline)),
            cap: model::limits::PROBE_BODY_BYTES_MAX,
            read: 0,
            ahead: Vec::new(),
            timings,
            asked_at: None,
            first_at: None,
            last_at: None,
            peer,
            seen: None,
        }
    }

    pub(super) fn with_tls(mut self, seen: Arc<TlsSeen>) -> Self {
        self.seen = Some(seen);
        self
    }

    /// Takes the connection apart for a handshake.
    ///
    /// # Errors
    /// When the peer sent more in clear than its answers: it must not be taken for what it says under TLS (CVE-2011-0411).
    pub(super) fn into_parts(self) -> Result<(Carrier, SocketAddr, Instant, Timings), Error> {
        let timings = self.timings();
        if !self.ahead.is_empty() {
            return Err(Error::target(Phase::Tls, "the peer sent more than its answer before TLS").timed(timings));
        }
        Ok((self.carrier, self.peer, self.deadline, timings))
    }

    /// Sets how many bytes may be read in all; `limits::PROBE_BODY_BYTES_MAX` unless said otherwise.
    pub const fn set_cap(&mut self, bytes: usize) {
        self.cap = bytes;
    }

    /// Returns the address that answered.
    #[must_use]
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Returns when reads and writes start to fail.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns what the handshake showed, if there was one.
    #[must_use]
    pub const fn tls(&self) -> Option<&Arc<TlsSeen>> {
        self.seen.as_ref()
    }

    /// Starts the measurement of the next answer: what `first_byte` counts from. Writing does this by itself.
    pub fn ask(&mut self) {
        self.asked_at = Some(self.clock.monotonic());
        self.first_at = None;
    }

    /// Returns the phases so far. `first_byte` counts from the last write before the first byte of the last answer;
    /// where the service speaks first, from the end of the connection's phases.
    #[must_use]
    pub fn timings(&self) -> Timings {
        let mut timings = self.timings;
        if let (Some(asked), Some(first)) = (self.asked_at, self.first_at) {
            timings.first_byte = Some(millis(first.saturating_sub(asked)));
            timings.transfer = self.last_at.map(|last| millis(last.saturating_sub(first)));
        }
        timings
    }

    /// Writes all of `bytes` and flushes.
    ///
    /// # Errors
    /// When the peer does not take them before the deadline.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let sent = async {
            self.write_all(bytes).await?;
            self.flush().await
        };
        let sent = sent.await;
        sent.map_err(|error| self.failed(Phase::Send, &error))
    }

    /// Reads until `buffer` is full.
    ///
    /// # Errors
    /// When the peer closes or does not send before the deadline.
    pub async fn receive_exact(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        match self.read_exact(buffer).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(Phase::Receive, &error)),
        }
    }

    /// Reads what is there, appends it to `buffer` and returns how much that was; 0 when the peer has closed.
    ///
    /// # Errors
    /// When the peer does not send before the deadline.
    pub async fn receive_some(&mut self, buffer: &mut Vec<u8>) -> Result<usize, Error> {
        let mut chunk = [0; 2_048];
        match self.read(&mut chunk).await {
            Ok(count) => {
                buffer.extend_from_slice(chunk.get(..count).unwrap_or_default());
                Ok(count)
            }
            Err(error) => Err(self.failed(Phase::Receive, &error)),
        }
    }

    /// Reads up to and including a line feed and returns the line without its end. What follows stays to be read.
    ///
    /// # Errors
    /// When the peer closes, does not send before the deadline, or sends more than `max` bytes without a line feed.
    pub async fn receive_line(&mut self, max: usize) -> Result<Vec<u8>, Error> {
        let mut line = Vec::new();
        loop {
            let seen = line.len();
            // No more than may be read: a line does not fail for what follows it.
            let mut chunk = [0; 512];
            let room = self.cap.saturating_sub(self.read).clamp(1, chunk.len());
            let count = match self.read(chunk.get_mut(..room).unwrap_or_default()).await {
                Ok(0) => return Err(self.failed(Phase::Receive, &io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => count,
                Err(error) => return Err(self.failed(Phase::Receive, &error)),
            };
            line.extend_from_slice(chunk.get(..count).unwrap_or_default());
            let end = line.iter().skip(seen).position(|byte| *byte == b'\n').map(|at| seen + at);
            if end.unwrap_or(line.len()) > max {
                self.put_back(line);
                return Err(Error::target(Phase::Receive, format!("line exceeds {max} bytes")).timed(self.timings()));
            }
            if let Some(end) = end {
                let after = line.split_off(end + 1);
                self.put_back(after);
                line.pop();
                break;
            }
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(line)
    }

    /// Says what went wrong in `phase` with the phases so far.
    #[must_use]
    pub fn failed(&self, phase: Phase, error: &io::Error) -> Error {
        let limit = error.get_ref().and_then(|inner| inner.downcast_ref::<Limit>());
        let mut failed = match (limit, error.kind()) {
            (Some(Limit::Deadline), _) => Error::timed_out(phase),
            (Some(limit), _) => Error::target(phase, limit.to_string()),
            (None, io::ErrorKind::UnexpectedEof) => Error::target(phase, "connection closed by the peer"),
            (None, _) => Error::from_io(phase, error),
        };
        failed.tls.clone_from(&self.seen);
        failed.timed(self.timings())
    }

    /// Counts what a reader takes.
    fn took(&mut self, count: usize) -> io::Result<()> {
        if count == 0 {
            return Ok(());
        }
        let now = self.clock.monotonic();
        self.first_at.get_or_insert(now);
        self.last_at = Some(now);
        self.read = self.read.saturating_add(count);
        if self.read > self.cap { Err(io::Error::other(Limit::Cap(self.cap))) } else { Ok(()) }
    }

    /// Leaves bytes that were taken for whoever reads next.
    fn put_back(&mut self, mut bytes: Vec<u8>) {
        self.read = self.read.saturating_sub(bytes.len());
        bytes.append(&mut self.ahead);
        self.ahead = bytes;
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.sleep.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::Error::other(Limit::Deadline)),
            Poll::Pending => Ok(()),
        }
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

impl AsyncRead for TimedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.poll_deadline(cx)?;
        if this.asked_at.is_none() {
            this.asked_at = Some(this.clock.monotonic());
        }
        if !this.ahead.is_empty() {
            let count = this.ahead.len().min(buf.remaining());
            buf.put_slice(this.ahead.get(..count).unwrap_or_default());
            this.ahead.drain(..count);
            return Poll::Ready(this.took(count));
        }
        let before = buf.filled().len();
        match &mut this.carrier {
            Carrier::Plain(stream) => ready!(Pin::new(stream).poll_read(cx, buf))?,
            Carrier::Tls(stream) => ready!(Pin::new(stream.as_mut()).poll_read(cx, buf))?,
        }
        let count = buf.filled().len() - before;
        Poll::Ready(this.took(count))
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.poll_deadline(cx)?;
        if this.first_at.is_some() || this.asked_at.is_none() {
            this.ask();
        }
        match &mut this.carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Carrier::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_deadline(cx)?;
        match &mut self.carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Carrier::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_deadline(cx)?;
        match &mut self.carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Carrier::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
