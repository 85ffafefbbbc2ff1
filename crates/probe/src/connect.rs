//! The one way to a TCP-based service: resolve, filter, connect, tunnel, TLS, each phase timed.
//!
//! No kind opens a socket of its own, so phases, deadlines, the SSRF filter and the question whose fault a failure is
//! are answered once. Nothing is pooled: a probe that reuses a connection does not probe.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use disk::Disk;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use model::{Clock, Timings};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::kind::{Fault, Observation};

pub mod address;
mod resolve;
pub mod spec;
mod stream;
mod trust;

use resolve::Resolvers;
pub use resolve::parse_resolver;
use stream::Carrier;
pub use stream::TimedStream;
use trust::TrustStore;
pub use trust::{CertSeen, Chain, TlsProblem, TlsSeen};

/// How long the next address waits for the one before it (RFC 8305, section 8).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Most addresses of a name that are tried: each can hold a descriptor until the deadline.
const ADDRESSES_MAX: usize = 8;
/// Longest answer of a proxy to CONNECT.
const PROXY_HEAD_BYTES_MAX: usize = 8 << 10;

/// Where a service listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Name, or address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Target {
    /// Reads `host:port`, `[::1]:port`, or with a default port `host` and `::1` alone.
    ///
    /// # Errors
    /// When there is no host, or no port where none is given.
    pub fn parse(text: &str, default_port: Option<u16>) -> Result<Self, &'static str> {
        const SHAPE: &str = "expected host:port, IPv6 in brackets";
        let whole = |host: &str| default_port.map(|port| Self { host: host.to_owned(), port }).ok_or(SHAPE);
        let target = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or(SHAPE)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| SHAPE)?;
            match rest.strip_prefix(':') {
                Some(port) => Self { host: host.to_owned(), port: port.parse().map_err(|_| SHAPE)? },
                None if rest.is_empty() => whole(host)?,
                None => return Err(SHAPE),
            }
        } else if text.parse::<std::net::Ipv6Addr>().is_ok() {
            whole(text)?
        } else {
            match text.split_once(':') {
                Some((host, port)) => Self { host: host.to_owned(), port: port.parse().map_err(|_| SHAPE)? },
                None => whole(text)?,
            }
        };
        let sound = |c: char| !c.is_whitespace() && !c.is_control() && !"/@?#".contains(c);
        if target.host.is_empty() || !target.host.chars().all(sound) { Err(SHAPE) } else { Ok(target) }
    }

    /// Returns how many descriptors connecting to it usually takes at once: one to an address, two to a name, whose
    /// families are tried beside each other.
    #[must_use]
    pub fn descriptors(&self) -> u64 {
        if self.host.parse::<IpAddr>().is_ok() { 1 } else { 2 }
    }

    /// Returns `host:port`, IPv6 in brackets.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Which addresses to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv6, and IPv4 a quarter of a second later.
    #[default]
    Any,
    /// IPv4 only.
    #[serde(alias = "IPv4")]
    Ipv4,
    /// IPv6 only.
    #[serde(alias = "IPv6")]
    Ipv6,
}

/// How a check reaches its target. The keys are those of the macro `spec::net_fields`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(default)]
pub struct NetOptions {
    /// DNS server to ask instead of the system's.
    #[serde(deserialize_with = "resolve::read_resolver")]
    pub resolver: Option<SocketAddr>,
    /// Which addresses to use.
    pub family: Family,
    /// HTTP proxy to tunnel through.
    pub proxy: Option<Url>,
    /// Whether to refuse addresses that are not public: those of the target, of the proxy and of the resolver.
    pub deny_private: bool,
    /// Whether to refuse such addresses of the target alone: a public service that redirects must not send us into our
    /// own network, where the proxy and the resolver may well be. Not a key.
    #[serde(skip)]
    pub deny_private_target: bool,
}

impl NetOptions {
    /// Returns the resolver to ask.
    ///
    /// # Errors
    /// When it may not be asked.
    fn resolver(&self) -> Result<Option<SocketAddr>, Error> {
        match self.resolver {
            Some(resolver) if self.deny_private && !address::is_public(resolver.ip()) => {
                Err(Error::target(Phase::Resolve, "its resolver is not public, and deny_private is set"))
            }
            resolver => Ok(resolver),
        }
    }
}

/// The lowest version of TLS to accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Deserialize)]
pub enum MinTls {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

/// How a check judges TLS. The keys are those of the macro `spec::tls_fields`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(default)]
pub struct TlsOptions {
    /// Authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Name to ask for and to verify.
    pub server_name: Option<String>,
    /// Lowest version to accept.
    pub min_tls_version: MinTls,
    /// Certificate to present.
    pub client_cert_file: Option<PathBuf>,
    /// Its key.
    pub client_key_file: Option<PathBuf>,
    /// Whether to go on when the certificate does not verify.
    pub insecure: bool,
    /// Application protocols to offer, most wanted first. Not a key: the kind decides.
    #[serde(skip)]
    pub alpn: Vec<String>,
}

/// What was being done when something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Resolving the name.
    Resolve,
    /// Connecting.
    Connect,
    /// Asking the proxy for a tunnel.
    Tunnel,
    /// Shaking hands.
    Tls,
    /// Sending the request.
    Send,
    /// Waiting for the answer.
    Receive,
}

impl Phase {
    const fn doing(self) -> &'static str {
        match self {
            Self::Resolve => "could not resolve the name",
            Self::Connect => "could not connect",
            Self::Tunnel => "could not tunnel through the proxy",
            Self::Tls => "TLS handshake failed",
            Self::Send => "could not send the request",
            Self::Receive => "no complete answer",
        }
    }
}

/// Why there is no connection, or no more. Carries the phases that were completed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {reason}", phase.doing())]
pub struct Error {
    /// What was being done.
    pub phase: Phase,
    /// Why it failed, without payload.
    pub reason: String,
    /// Our own fault, if it is ours; otherwise the target is down.
    pub fault: Option<Fault>,
    /// Whether it failed because the deadline passed.
    pub timed_out: bool,
    /// The phases completed before; boxed, because errors travel through every `Result`.
    pub timings: Box<Timings>,
    /// What the handshake showed, where there was one.
    pub tls: Option<Arc<TlsSeen>>,
}

impl Error {
    fn new(phase: Phase, fault: Option<Fault>, reason: impl Into<String>) -> Self {
        Self { phase, reason: reason.into(), fault, timed_out: false, timings: Box::default(), tls: None }
    }

    /// The target is to blame.
    #[must_use]
    pub fn target(phase: Phase, reason: impl Into<String>) -> Self {
        Self::new(phase, None, reason)
    }

    /// We are to blame.
    #[must_use]
    pub fn ours(phase: Phase, fault: Fault, reason: impl Into<String>) -> Self {
        Self::new(phase, Some(fault), reason)
    }

    /// The deadline passed. While resolving, that is the resolver's fault, which is ours.
    #[must_use]
    pub fn timed_out(phase: Phase) -> Self {
        let fault = (phase == Phase::Resolve).then_some(Fault::Resolver);
        Self { timed_out: true, ..Self::new(phase, fault, "timed out") }
    }

    /// Judges an error of the operating system.
    #[must_use]
    pub fn from_io(phase: Phase, error: &std::io::Error) -> Self {
        use rustix::io::Errno;
        use std::io::ErrorKind;
        if let Some(errno) = Errno::from_io_error(error) {
            let ours = match errno {
                Errno::MFILE | Errno::NFILE => Some((Fault::Resources, "we are out of file descriptors")),
                Errno::NOBUFS | Errno::NOMEM => Some((Fault::Resources, "we are out of memory")),
                Errno::ADDRNOTAVAIL | Errno::AGAIN => Some((Fault::Resources, "we are out of local ports")),
                Errno::NETUNREACH => Some((Fault::Network, "we have no route to it")),
                Errno::NETDOWN => Some((Fault::Network, "our network is down")),
                Errno::ACCESS | Errno::PERM => Some((Fault::Network, "our own system forbids it")),
                _ => None,
            };
            if let Some((fault, reason)) = ours {
                return Self::ours(phase, fault, reason);
            }
        }
        let reason = match error.kind() {
            ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => "connection reset by the peer".to_owned(),
            ErrorKind::BrokenPipe | ErrorKind::NotConnected | ErrorKind::UnexpectedEof => {
                "connection closed by the peer".to_owned()
            }
            kind => kind.to_string(),
        };
        Self { timed_out: error.kind() == ErrorKind::TimedOut, ..Self::target(phase, reason) }
    }

    /// Adds the phases completed before.
    #[must_use]
    pub fn timed(mut self, timings: Timings) -> Self {
        *self.timings = timings;
        self
    }
}

impl From<Error> for Observation {
    fn from(error: Error) -> Self {
        let reason = error.to_string();
        let seen = match error.fault {
            Some(fault) => Self::unknown(fault, reason),
            None => Self::down(reason),
        };
        seen.timed(*error.timings)
    }
}

/// Makes connections. Shared by all probes: holds resolvers with their caches and TLS settings by their content.
pub struct Connector {
    clock: Arc<dyn Clock>,
    resolvers: Resolvers,
    trust: TrustStore,
}

impl Connector {
    /// Creates a connector that reads CA and key files from `disk`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, disk: Arc<dyn Disk>) -> Self {
        let trust = TrustStore::new(Arc::clone(&clock), disk);
        Self { clock, resolvers: Resolvers::default(), trust }
    }

    /// Forgets resolvers, cached names, CA and key files, so that the next probe reads them again.
    pub fn forget(&self) {
        self.resolvers.forget();
        self.trust.forget();
    }

    /// Connects to `target` by TCP.
    ///
    /// # Errors
    /// When it cannot be reached before `deadline`; the error says whose fault that is.
    pub async fn tcp(&self, target: &Target, net: &NetOptions, deadline: Instant) -> Result<TimedStream, Error> {
        let mut timings = Timings::default();
        match self.dial(target, net, deadline, &mut timings).await {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                Ok(TimedStream::new(Carrier::Plain(stream), peer, Arc::clone(&self.clock), deadline, timings))
            }
            Err(error) => Err(error.timed(timings)),
        }
    }

    /// Connects to `target` by TCP and TLS.
    ///
    /// # Errors
    /// As [`Self::tcp`] and [`Self::start_tls`].
    pub async fn tls(
        &self,
        target: &Target,
        net: &NetOptions,
        tls: &TlsOptions,
        deadline: Instant,
    ) -> Result<TimedStream, Error> {
        let stream = self.tcp(target, net, deadline).await?;
        self.start_tls(stream, &target.host, tls).await
    }

    /// Shakes hands on a connection: at once, or after the protocol's STARTTLS. The chain is captured even where it
    /// does not verify; nothing is sent over a connection that did not verify unless `insecure` is set.
    ///
    /// # Errors
    /// When the peer does not speak TLS, or its certificate does not verify: the error then carries what was seen.
    pub async fn start_tls(&self, stream: TimedStream, host: &str, tls: &TlsOptions) -> Result<TimedStream, Error> {
        let (carrier, peer, deadline, mut timings) = stream.into_parts()?;
        let Carrier::Plain(tcp) = carrier else {
            return Err(Error::ours(Phase::Tls, Fault::Internal, "the connection is encrypted already").timed(timings));
        };
        let started = self.clock.monotonic();
        let shaken = Box::pin(self.trust.shake(tcp, host, tls, deadline)).await;
        let elapsed = self.since(started);
        match shaken {
            Ok((tcp, seen)) => {
                timings.tls = Some(elapsed);
                let seen = Arc::new(seen);
                if let (Some(problem), false) = (&seen.problem, tls.insecure) {
                    let mut error = Error::target(Phase::Tls, problem.to_string()).timed(timings);
                    error.tls = Some(seen);
                    return Err(error);
                }
                let carrier = Carrier::Tls(Box::new(tcp));
                let clock = Arc::clone(&self.clock);
                Ok(TimedStream::new(carrier, peer, clock, deadline, timings).with_tls(seen))
            }
            Err(error) => Err(error.timed(timings)),
        }
    }

    /// Resolves `host` to addresses that may be used, in the order in which they should be tried. An address is
    /// returned as it is; `timings.resolve` is set only where a resolver was asked.
    ///
    /// # Errors
    /// When the name does not exist, has no address that may be used, or no resolver answers.
    pub async fn resolve(
        &self,
        host: &str,
        net: &NetOptions,
        deadline: Instant,
        timings: &mut Timings,
    ) -> Result<Vec<IpAddr>, Error> {
        let mut addresses = if let Ok(ip) = host.parse::<IpAddr>() {
            vec![ip]
        } else {
            let started = self.clock.monotonic();
            let found = Box::pin(self.resolvers.ask(host, net.resolver()?, deadline)).await?;
            timings.resolve = Some(self.since(started));
            found
        };
        addresses.retain(|ip| match net.family {
            Family::Any => true,
            Family::Ipv4 => ip.is_ipv4(),
            Family::Ipv6 => ip.is_ipv6(),
        });
        if addresses.is_empty() {
            return Err(Error::target(Phase::Resolve, "the name has no address of the wanted family"));
        }
        if net.deny_private || net.deny_private_target {
            addresses.retain(|ip| address::is_public(*ip));
            if addresses.is_empty() {
                let why = if net.deny_private { "deny_private is set" } else { "a public service redirected to it" };
                return Err(Error::target(Phase::Resolve, format!("its address is not public, and {why}")));
            }
        }
        Ok(interleave(addresses))
    }

    /// Tells whether `host` has public addresses only, as far as we can say: a name that we cannot resolve, because a
    /// proxy does so for us, counts as one of our own network.
    pub async fn is_public(&self, host: &str, net: &NetOptions, deadline: Instant) -> bool {
        let found = self.resolve(host, net, deadline, &mut Timings::default()).await;
        found.is_ok_and(|addresses| addresses.into_iter().all(address::is_public))
    }

    /// Returns a resolver that asks the server that `net` names each time, for kinds that watch DNS itself.
    ///
    /// # Errors
    /// When the system's configuration cannot be read.
    pub fn resolver_uncached(&self, net: &NetOptions) -> Result<Arc<hickory_resolver::TokioResolver>, Error> {
        self.resolvers.of(net.resolver()?, false)
    }

    /// Returns a resolver that verifies DNSSEC signatures up to `anchors`, and keeps nothing.
    ///
    /// # Errors
    /// When the system's configuration cannot be read.
    pub fn resolver_validating(
        &self,
        net: &NetOptions,
        anchors: Arc<hickory_resolver::proto::dnssec::TrustAnchors>,
    ) -> Result<hickory_resolver::TokioResolver, Error> {
        resolve::validating(net.resolver()?, anchors)
    }

    async fn dial(
        &self,
        target: &Target,
        net: &NetOptions,
        deadline: Instant,
        timings: &mut Timings,
    ) -> Result<(TcpStream, SocketAddr), Error> {
        if let Some(proxy) = &net.proxy {
            return Box::pin(self.tunnel(target, proxy, net, deadline, timings)).await;
        }
        let addresses = self.resolve(&target.host, net, deadline, timings).await?;
        let started = self.clock.monotonic();
        let connected = race(&addresses, target.port, deadline).await?;
        timings.connect = Some(self.since(started));
        Ok(connected)
    }

    async fn tunnel(
        &self,
        target: &Target,
        proxy: &Url,
        net: &NetOptions,
        deadline: Instant,
        timings: &mut Timings,
    ) -> Result<(TcpStream, SocketAddr), Error> {
        let mut wanted = target.clone();
        if net.deny_private || net.deny_private_target {
            let addresses = self.resolve(&target.host, net, deadline, timings).await?;
            wanted.host = addresses.first().map(ToString::to_string).unwrap_or_default();
        }
        let net = &NetOptions { deny_private_target: false, ..net.clone() };
        let host = proxy.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = proxy.port_or_known_default().unwrap_or(3128);
        let ours = |error: Error| Error { fault: error.fault.or(Some(Fault::Network)), phase: Phase::Tunnel, ..error };
        let addresses = self.resolve(host, net, deadline, timings).await.map_err(ours)?;
        let started = self.clock.monotonic();
        let (mut tcp, peer) = race(&addresses, port, deadline).await.map_err(ours)?;
        let asked = timeout_at(deadline, ask_proxy(&mut tcp, &wanted, proxy)).await;
        asked.map_err(|_| Error::timed_out(Phase::Tunnel))??;
        timings.connect = Some(self.since(started));
        Ok((tcp, peer))
    }

    fn since(&self, started: Duration) -> f64 {
        self.clock.monotonic().saturating_sub(started).as_secs_f64() * 1e3
    }
}

/// Undoes the percent-encoding of a URL's user or password.
pub(crate) fn userinfo(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.first_chunk::<2>().and_then(|pair| std::str::from_utf8(pair).ok());
        let digits = digits.filter(|pair| *first == b'%' && pair.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let decoded = digits.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Orders addresses v6, v4, v6, v4 ... keeping the resolver's order within a family (RFC 8305, section 4).
fn interleave(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    if addresses.len() < 2 {
        return addresses;
    }
    let (six, four): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv6);
    let mut ordered = Vec::with_capacity(six.len() + four.len());
    let (mut six, mut four) = (six.into_iter(), four.into_iter());
    loop {
        let before = ordered.len();
        ordered.extend(six.next());
        ordered.extend(four.next());
        if ordered.len() == before || ordered.len() >= ADDRESSES_MAX {
            return ordered;
        }
    }
}

/// Connects to the first address that answers; each next one is tried when one fails or a quarter of a second passes.
async fn race(addresses: &[IpAddr], port: u16, deadline: Instant) -> Result<(TcpStream, SocketAddr), Error> {
    if let [ip] = addresses {
        return dial_one(SocketAddr::new(*ip, port), deadline).await;
    }
    Box::pin(race_many(addresses, port, deadline)).await
}

async fn race_many(addresses: &[IpAddr], port: u16, deadline: Instant) -> Result<(TcpStream, SocketAddr), Error> {
    let mut waiting = addresses.iter();
    let mut running = FuturesUnordered::new();
    let mut first_error: Option<Error> = None;
    loop {
        if let Some(ip) = waiting.next() {
            running.push(dial_one(SocketAddr::new(*ip, port), deadline));
        } else if running.is_empty() {
            break;
        }
        let next_start = if waiting.len() > 0 { Instant::now() + ATTEMPT_DELAY } else { deadline + ATTEMPT_DELAY };
        match timeout_at(next_start, running.next()).await {
            Ok(Some(Ok(connected))) => return Ok(connected),
            // A family that we have no route for says nothing about the target when the other family was tried too.
            Ok(Some(Err(error))) => match &first_error {
                Some(first) if first.fault.is_none() || error.fault.is_some() => {}
                _ => first_error = Some(error),
            },
            Ok(None) | Err(_) => {}
        }
    }
    Err(first_error.unwrap_or_else(|| Error::timed_out(Phase::Connect)))
}

async fn dial_one(address: SocketAddr, deadline: Instant) -> Result<(TcpStream, SocketAddr), Error> {
    match timeout_at(deadline, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok((stream, address)),
        Ok(Err(error)) => Err(Error::from_io(Phase::Connect, &error)),
        Err(_) => Err(Error::timed_out(Phase::Connect)),
    }
}

async fn ask_proxy(tcp: &mut TcpStream, target: &Target, proxy: &Url) -> Result<(), Error> {
    use base64::Engine as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let authority = target.authority();
    let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
    if let Some(password) = proxy.password() {
        let pair = format!("{}:{}", userinfo(proxy.username()), userinfo(password));
        let pair = base64::engine::general_purpose::STANDARD.encode(pair);
        request.push_str(&format!("Proxy-Authorization: Basic {pair}\r\n"));
    }
    request.push_str("\r\n");
    let failed = |error: std::io::Error| {
        let error = Error::from_io(Phase::Tunnel, &error);
        Error { fault: error.fault.or(Some(Fault::Network)), ..error }
    };
    tcp.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut head = Vec::new();
    // Byte by byte: what follows the head belongs to the tunnel.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= PROXY_HEAD_BYTES_MAX {
            return Err(Error::ours(Phase::Tunnel, Fault::Network, "the proxy's answer is too long"));
        }
        head.push(tcp.read_u8().await.map_err(failed)?);
    }
    let status = head.split(|byte| *byte == b' ').nth(1).and_then(|code| std::str::from_utf8(code).ok());
    match status.and_then(|code| code.get(..3)) {
        Some("200") => Ok(()),
        Some(code @ ("502" | "503" | "504")) => {
            Err(Error::target(Phase::Tunnel, format!("the proxy cannot reach it (status {code})")))
        }
        Some(code) if code.bytes().all(|b| b.is_ascii_digit()) => {
            Err(Error::ours(Phase::Tunnel, Fault::Setup, format!("the proxy refuses (status {code})")))
        }
        _ => Err(Error::ours(Phase::Tunnel, Fault::Network, "the proxy does not speak HTTP")),
    }
}

#[cfg(test)]
mod tests;
