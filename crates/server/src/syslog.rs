//! Listeners for syslog: UDP, TCP and TLS. Their senders get no answer, so what has been read is held until it is durable, and
//! nothing more is read meanwhile: TCP holds the sender back. Datagrams wait in a queue with a bound and are counted where
//! there is no room, for nobody can hold a sender of datagrams back.

mod datagrams;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use intake::syslog::{Dialect, Framer, Message};
use jiff::tz::TimeZone;
use model::limits;
use model::{Kind, Lose, SourceId, Tenant};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use crate::app::Parts;
use crate::config::{ListenerConfig, ListenerKind};
use crate::error::Error;
use crate::listener::{Clients, accept};
use crate::metrics::Metrics;
use crate::tls::{self, Certificate};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 16 << 10;
/// How long the ledger is left alone after it took nothing, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A listener that has its address.
pub(crate) struct Listener {
    kind: ListenerKind,
    socket: Socket,
    tenant: Tenant,
    dialect: Dialect,
    /// The files of its certificate, and what is shown of them.
    pub(crate) certificate: Option<(crate::config::TlsConfig, Arc<Certificate>)>,
    bound: SocketAddr,
}

enum Socket {
    Udp(UdpSocket),
    Tcp(TcpListener, Option<TlsAcceptor>),
}

/// What all listeners share.
#[derive(Clone)]
pub(crate) struct Means {
    receiver: Arc<intake::Receiver>,
    metrics: Arc<Metrics>,
    losses: Arc<dyn Lose>,
    slots: Arc<Semaphore>,
    clients: Arc<Clients>,
    bounds: Bounds,
}

/// The times of a listener; arguments, so that tests need not wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) idle_max: Duration,
    pub(crate) grace: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { idle_max: limits::SYSLOG_IDLE_MAX, grace: limits::SHUTDOWN_GRACE }
    }
}

impl Means {
    pub(crate) fn new(parts: &Parts, bounds: Bounds) -> Self {
        Self {
            receiver: Arc::clone(&parts.receiver),
            metrics: Arc::clone(&parts.metrics),
            losses: Arc::clone(&parts.losses),
            slots: Arc::new(Semaphore::new(limits::SYSLOG_CONNECTIONS_MAX)),
            clients: Arc::default(),
            bounds,
        }
    }
}

impl Listener {
    /// Binds the address and reads the certificate.
    pub(crate) async fn bind(config: &ListenerConfig) -> Result<Self, Error> {
        let failed = |source| Error::Bind { listen: config.address.clone(), source };
        let (mut certificate, mut acceptor) = (None, None);
        if let Some(files) = config.tls() {
            let shown = Arc::new(Certificate::new(tls::load(&files).await?));
            acceptor = Some(tls::syslog_acceptor(Arc::clone(&shown), config.client_ca_file.as_deref()).await?);
            certificate = Some((files, shown));
        }
        let (socket, bound) = match config.kind {
            ListenerKind::SyslogUdp => {
                let socket = UdpSocket::bind(&config.address).await.map_err(failed)?;
                let bound = socket.local_addr().map_err(failed)?;
                (Socket::Udp(socket), bound)
            }
            ListenerKind::SyslogTcp | ListenerKind::SyslogTls => {
                let listener = TcpListener::bind(&config.address).await.map_err(failed)?;
                let bound = listener.local_addr().map_err(failed)?;
                (Socket::Tcp(listener, acceptor), bound)
            }
        };
        // The tables let no unknown zone through.
        let zone = TimeZone::get(&config.time_zone).unwrap_or(TimeZone::UTC);
        let dialect = Dialect { stream: config.stream.clone(), zone };
        Ok(Self { kind: config.kind, socket, tenant: config.tenant.clone(), dialect, certificate, bound })
    }

    /// Returns the address that was bound.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.bound
    }

    /// Takes messages until `halted` says so, then what has come before.
    pub(crate) async fn serve(self, means: Means, halted: watch::Receiver<bool>) {
        info!(kind = self.kind.as_str(), address = %self.bound, tenant = %self.tenant, "listening for syslog");
        let way = Way { kind: self.kind, tenant: self.tenant, dialect: self.dialect, means };
        match self.socket {
            Socket::Udp(socket) => datagrams::serve(socket, &way, halted).await,
            Socket::Tcp(listener, acceptor) => serve_tcp(listener, acceptor, Arc::new(way), halted).await,
        }
    }
}

async fn serve_tcp(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    way: Arc<Way>,
    mut halted: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let told = halted.clone();
    loop {
        tokio::select! {
            () = halt(&mut halted) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            (stream, peer, slot) = accept(&listener, &way.means.slots) => {
                let most = limits::SYSLOG_CONNECTIONS_PER_CLIENT_MAX;
                let Some(place) = Clients::enter(&way.means.clients, peer.ip(), most) else {
                    debug!("one client has as many connections as it may");
                    continue;
                };
                let (way, acceptor, halted) = (Arc::clone(&way), acceptor.clone(), told.clone());
                connections.spawn(async move {
                    talk(&way, stream, acceptor, halted).await;
                    drop((slot, place));
                });
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(way.means.bounds.grace, drained).await.is_err() {
        warn!(connections = connections.len(), "ended connections of syslog that did not drain in time");
    }
    connections.shutdown().await;
}

/// Waits until the listeners are told to stop.
async fn halt(halted: &mut watch::Receiver<bool>) {
    let _ = halted.wait_for(|halted| *halted).await;
}

async fn talk(way: &Way, stream: TcpStream, acceptor: Option<TlsAcceptor>, halted: watch::Receiver<bool>) {
    let _open = way.means.metrics.syslog_connection();
    match acceptor {
        None => way.listen(stream, halted).await,
        Some(acceptor) => match tokio::time::timeout(limits::REQUEST_HEAD_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => way.listen(stream, halted).await,
            // A sender that trusts another authority looks like silence: its operator must find this line.
            Ok(Err(error)) => warn!(error = %error, "a TLS handshake of syslog failed"),
            Err(_) => debug!("a TLS handshake took too long"),
        },
    }
}

/// From a socket to the ledger.
struct Way {
    kind: ListenerKind,
    tenant: Tenant,
    dialect: Dialect,
    means: Means,
}

/// What a reading of a stream ended with.
enum Read {
    Bytes(usize),
    /// The sender has gone, or has said nothing for long.
    End,
    /// What was gathered is to be delivered.
    Due,
    Halted,
}

impl Way {
    /// Reads a stream to its end. What is read is durable before more is read than a group.
    async fn listen(&self, mut stream: impl AsyncRead + Unpin, mut halted: watch::Receiver<bool>) {
        let (mut framer, mut group, mut chunk) = (Framer::default(), Group::default(), vec![0; CHUNK_BYTES]);
        let mut halting = false;
        loop {
            let wait = match group.since {
                _ if halting => Duration::ZERO,
                Some(since) => (since + limits::SYSLOG_GATHER_MAX).saturating_duration_since(Instant::now()),
                None => self.means.bounds.idle_max,
            };
            let read = tokio::select! {
                biased;
                read = stream.read(&mut chunk) => match read {
                    Ok(0) => Read::End,
                    Ok(count) => Read::Bytes(count),
                    Err(error) => {
                        debug!(error = %error, "a connection of syslog ended early");
                        Read::End
                    }
                },
                () = halt(&mut halted), if !halting => Read::Halted,
                () = tokio::time::sleep(wait) => if group.messages.is_empty() { Read::End } else { Read::Due },
            };
            match read {
                Read::Bytes(count) => group.gather(&mut framer, chunk.get(..count).unwrap_or_default()),
                // What the sender has handed over already is still taken.
                Read::Halted => halting = true,
                Read::End => framer.end(&mut group.messages),
                Read::Due => {}
            }
            // One that never stops sending does not keep the program from its end.
            let ends = matches!(read, Read::End) || halting && (matches!(read, Read::Due) || group.is_full());
            if ends || matches!(read, Read::Due) || group.is_full() {
                self.deliver(&mut group, &mut halted).await;
            }
            if ends {
                return;
            }
        }
    }

    /// Holds a group until the ledger has it. Only a program that stops gives it up.
    async fn deliver(&self, group: &mut Group, halted: &mut watch::Receiver<bool>) {
        let messages = std::mem::take(group).messages;
        let mut rest = messages.as_slice();
        let (mut wait, wait_max) = AGAIN;
        while !rest.is_empty() {
            let taken = self.means.receiver.syslog((&self.tenant, SourceId::SYSLOG), &self.dialect, rest).await;
            self.count("durable", taken.durable);
            if taken.refused > 0 {
                self.lose("syslog_refused", taken.refused);
            }
            rest = rest.get(taken.settled..).unwrap_or_default();
            if taken.settled > 0 {
                wait = AGAIN.0;
            }
            let Some(why) = taken.later else { return };
            debug!(why, "syslog waits for the ledger");
            tokio::select! {
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(wait_max),
                () = halt(halted) => {
                    self.lose("stopped", rest.len() as u64);
                    return;
                }
            }
        }
    }

    fn lose(&self, cause: &'static str, count: u64) {
        self.count("lost", count);
        self.means.losses.lose(&self.tenant, cause, Kind::Event, count);
    }

    fn count(&self, outcome: &'static str, count: u64) {
        self.means.metrics.syslog(&self.tenant, self.kind.as_str(), outcome, count);
    }
}

/// Messages on their way to the ledger together.
#[derive(Default)]
struct Group {
    messages: Vec<Message>,
    bytes: usize,
    /// When the first of them came.
    since: Option<Instant>,
}

impl Group {
    fn gather(&mut self, framer: &mut Framer, bytes: &[u8]) {
        let before = self.messages.len();
        framer.push(bytes, &mut self.messages);
        let fresh = self.messages.get(before..).unwrap_or_default();
        self.bytes += fresh.iter().map(|message| message.bytes.len()).sum::<usize>();
        if !self.messages.is_empty() && self.since.is_none() {
            self.since = Some(Instant::now());
        }
    }

    fn add(&mut self, message: Message) {
        self.bytes += message.bytes.len();
        self.messages.push(message);
    }

    fn is_full(&self) -> bool {
        self.bytes >= limits::SYSLOG_GROUP_BYTES_MAX || self.messages.len() >= limits::INTAKE_GROUP_EVENTS_MAX
    }
}

#[cfg(test)]
mod tests;
