//! ICMP echo ("ping"), over IPv4 and IPv6.
//!
//! An unprivileged datagram socket first (`net.ipv4.ping_group_range`), a raw one (CAP_NET_RAW) next; where neither is
//! allowed we cannot tell, and say what would help.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use model::config::{FieldSpec, Spec, Ty};
use model::{BoxFuture, Timings};
use serde::Deserialize;
use serde_json::Value as Json;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::config::{self, Issue};
use crate::connect::spec::{DENY_PRIVATE, FAMILY, RESOLVER};
use crate::connect::{Error, NetOptions, Phase};
use crate::fact::{FactSpec, fact};
use crate::kind::{Ctx, Defaults, Fault, Kind, Observation, Probe};

/// The kind.
pub static KIND: Kind = Kind {
    name: "icmp",
    spec: &SPEC,
    facts: FACTS,
    defaults: Defaults::PLAIN,
    build: |json| Ok(Arc::new(read(json)?)),
};

static SPEC: Spec = Spec {
    name: "icmp check",
    doc: "Sends ICMP echo requests (pings) to a host.",
    fields: &[
        FieldSpec::required("host", Ty::Text, "Name or address of the host."),
        FieldSpec::optional(
            "count",
            Ty::Int { min: 1, max: 20 },
            "3",
            "How many requests to send, one after the other.",
        ),
        RESOLVER,
        FAMILY,
        DENY_PRIVATE,
    ],
};

const FACTS: &[FactSpec] = &[
    fact("loss", "The share of requests without an answer, 0 to 1."),
    fact("received", "How many answers came."),
    fact("rtt_avg", "Mean time from a request to its answer."),
    fact("rtt_max", "Longest time from a request to its answer."),
    fact("rtt_min", "Shortest time from a request to its answer."),
];

/// Random bytes in each request: an answer that does not carry them is not ours.
const TOKEN_BYTES: usize = 16;

struct Icmp {
    host: String,
    count: u16,
    net: NetOptions,
}

#[derive(Deserialize)]
struct Options {
    host: String,
    #[serde(default = "count")]
    count: u16,
    #[serde(flatten)]
    net: NetOptions,
}

const fn count() -> u16 {
    3
}

fn read(json: &Json) -> Result<Icmp, Vec<Issue>> {
    let Options { host, count, net } = config::read(json)?;
    let host = host.trim_matches(['[', ']']).to_owned();
    if host.is_empty() || host.contains(['/', ' ', '@']) {
        return Err(vec![Issue::new("host", "expected a name or an address without a port")]);
    }
    if !(1..=20).contains(&count) {
        return Err(vec![Issue::new("count", "expected between 1 and 20")]);
    }
    Ok(Icmp { host, count, net })
}

impl Probe for Icmp {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn run<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Observation> {
        Box::pin(async move { self.look(ctx).await.unwrap_or_else(|error| Observation::failed(ctx, error)) })
    }
}

impl Icmp {
    async fn look(&self, ctx: &Ctx) -> Result<Observation, Error> {
        let mut timings = Timings::default();
        let resolved = ctx.connector().resolve(&self.host, &self.net, ctx.deadline, &mut timings).await;
        let addresses = resolved.map_err(|error| error.timed(timings))?;
        let ip = addresses.first().copied().expect("invariant: what is resolved has an address");
        let pinger = match Pinger::open(ip) {
            Ok(pinger) => pinger,
            Err(refusal) => return Ok(refusal.timed(timings)),
        };
        let mut rtts = Vec::new();
        for seq in 1..=self.count {
            let now = Instant::now();
            // What is left is shared by the requests that are left, so that one lost answer does not take it all.
            let share = ctx.deadline.saturating_duration_since(now) / u32::from(self.count - seq + 1);
            let mut token = [0; TOKEN_BYTES];
            ctx.means.rng.fill(&mut token);
            let started = ctx.clock().monotonic();
            match timeout_at(now + share, pinger.ping(seq, &token)).await {
                Ok(Ok(())) => rtts.push(ctx.clock().monotonic() - started),
                Ok(Err(error)) => return Err(Error::from_io(Phase::Send, &error).timed(timings)),
                Err(_) => {}
            }
        }
        timings.first_byte = rtts.first().map(|rtt| rtt.as_secs_f64() * 1e3);
        Ok(judge(&rtts, self.count).timed(timings))
    }
}

fn judge(rtts: &[Duration], sent: u16) -> Observation {
    let received = u16::try_from(rtts.len()).unwrap_or(sent);
    let loss = 1.0 - f64::from(received) / f64::from(sent);
    let observation = match (rtts.is_empty(), received < sent) {
        (true, _) => Observation::down(format!("none of {sent} echo requests was answered")),
        (false, true) => {
            Observation::degraded(format!("{} of {sent} echo requests were not answered", sent - received))
        }
        (false, false) => Observation::up(),
    };
    let mut observation = observation.fact("loss", loss).fact("received", received).figure("loss_ratio", loss);
    if let (Some(min), Some(max)) = (rtts.iter().min(), rtts.iter().max()) {
        let mean = rtts.iter().sum::<Duration>() / u32::from(received.max(1));
        observation = observation
            .fact("rtt_min", *min)
            .fact("rtt_avg", mean)
            .fact("rtt_max", *max)
            .figure("rtt_avg_milliseconds", mean.as_secs_f64() * 1e3);
    }
    observation
}

/// An ICMP socket connected to one address.
struct Pinger {
    socket: UdpSocket,
    v6: bool,
    raw: bool,
}

impl Pinger {
    fn open(ip: IpAddr) -> Result<Self, Observation> {
        let (domain, protocol) = match ip {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let opened = match Socket::new(domain, Type::DGRAM, Some(protocol)) {
            Ok(socket) => Ok((socket, false)),
            Err(_) => Socket::new(domain, Type::RAW, Some(protocol)).map(|socket| (socket, true)),
        };
        let (socket, raw) = opened.map_err(|error| refused(&error))?;
        let ready = || {
            socket.set_nonblocking(true)?;
            socket.connect(&SocketAddr::new(ip, 0).into())
        };
        if let Err(error) = ready() {
            return Err(Error::from_io(Phase::Connect, &error).into());
        }
        // Only send and recv are used, which ask nothing of the protocol beneath.
        let socket = UdpSocket::from_std(socket.into()).map_err(|error| refused(&error))?;
        Ok(Self { socket, v6: ip.is_ipv6(), raw })
    }

    /// Sends a request and waits for the answer that carries `token`.
    async fn ping(&self, seq: u16, token: &[u8; TOKEN_BYTES]) -> io::Result<()> {
        self.socket.send(&request(self.v6, seq, token)).await?;
        let mut packet = [0; 2_048];
        loop {
            let count = self.socket.recv(&mut packet).await?;
            if answers(packet.get(..count).unwrap_or_default(), self.v6, self.raw, seq, token) {
                return Ok(());
            }
        }
    }
}

fn refused(error: &io::Error) -> Observation {
    match error.kind() {
        ErrorKind::PermissionDenied => Observation::unknown(
            Fault::Setup,
            "we may not send pings: widen net.ipv4.ping_group_range to our group, or give us CAP_NET_RAW",
        ),
        _ => Observation::from(Error::ours(Phase::Connect, Fault::Resources, "no ICMP socket can be opened")),
    }
}

/// `type 1 | code 1 | checksum 2 | id 2 | seq 2 | token`. The kernel sets the id of datagram sockets and the checksum of
/// IPv6; a raw IPv4 socket wants it from us.
fn request(v6: bool, seq: u16, token: &[u8; TOKEN_BYTES]) -> Vec<u8> {
    let id = token.first_chunk::<2>().copied().unwrap_or_default();
    let mut packet = vec![if v6 { 128 } else { 8 }, 0, 0, 0];
    packet.extend_from_slice(&id);
    packet.extend_from_slice(&seq.to_be_bytes());
    packet.extend_from_slice(token);
    if !v6 {
        let sum = checksum(&packet).to_be_bytes();
        for (to, from) in packet.iter_mut().skip(2).zip(sum) {
            *to = from;
        }
    }
    packet
}

/// Tells whether `packet` is the echo reply to the request with `seq` and `token`.
fn answers(packet: &[u8], v6: bool, raw: bool, seq: u16, token: &[u8; TOKEN_BYTES]) -> bool {
    let message = match packet.first() {
        // A raw IPv4 socket gives the IP header too, whose length in words is in its first byte.
        Some(first) if raw && !v6 => packet.get(usize::from(first & 0x0f) * 4..).unwrap_or_default(),
        _ => packet,
    };
    let Some((&[kind, code, _, _, _, _, seq_high, seq_low], rest)) = message.split_first_chunk::<8>() else {
        return false;
    };
    kind == if v6 { 129 } else { 0 } && code == 0 && [seq_high, seq_low] == seq.to_be_bytes() && rest == token
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
            [high] => u32::from(*high) << 8,
            _ => 0,
        })
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}
