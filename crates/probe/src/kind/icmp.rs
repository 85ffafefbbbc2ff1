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
use rustix::io::Errno;
use serde::Deserialize;
use serde_json::Value as Json;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::config::{self, Issue};
use crate::connect::spec::{DENY_PRIVATE, FAMILY, RESOLVER};
use crate::connect::{Error, NetOptions, Phase};
use crate::fact::{FactSpec, Shape, fact};
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
    fact("loss", "The share of requests without an answer, 0 to 1.").is(Shape::Number),
    fact("received", "How many answers came.").is(Shape::Number),
    fact("rtt_avg", "Mean time from a request to its answer.").is(Shape::Time),
    fact("rtt_max", "Longest time from a request to its answer.").is(Shape::Time),
    fact("rtt_min", "Shortest time from a request to its answer.").is(Shape::Time),
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
    let mut issues = Vec::new();
    if host.is_empty() || host.contains(['/', ' ', '@']) {
        issues.push(Issue::new("host", "expected a name or an address without a port").suggest("write example.org"));
    }
    if !(1..=20).contains(&count) {
        issues.push(Issue::new("count", "expected between 1 and 20").suggest("write 3"));
    }
    if !issues.is_empty() {
        return Err(issues);
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
        Ok(self.first_reached(ctx, addresses, timings).await)
    }

    /// Pings the first address that a request can be sent to. A family that we have no route for says nothing about
    /// the target: the other one may have.
    async fn first_reached(&self, ctx: &Ctx, addresses: Vec<IpAddr>, timings: Timings) -> Observation {
        let mut unreached = None;
        for ip in addresses {
            let seen = self.ping(ctx, ip, timings).await;
            if !is_unreached(&seen) {
                return seen;
            }
            unreached.get_or_insert(seen);
        }
        unreached.expect("invariant: what is resolved has an address")
    }

    async fn ping(&self, ctx: &Ctx, ip: IpAddr, mut timings: Timings) -> Observation {
        let pinger = match Pinger::open(ip) {
            Ok(pinger) => pinger,
            Err(refusal) => return refusal.timed(timings),
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
                Ok(Err(error)) => return Observation::failed(ctx, Error::from_io(Phase::Send, &error).timed(timings)),
                Err(_) => {}
            }
        }
        timings.first_byte = rtts.first().map(|rtt| rtt.as_secs_f64() * 1e3);
        judge(&rtts, self.count).timed(timings)
    }
}

/// Tells whether no request could be sent to an address of its family.
fn is_unreached(seen: &Observation) -> bool {
    seen.fault == Some(Fault::Network)
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
    if Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT) {
        return Error::ours(Phase::Connect, Fault::Network, "we do not speak its family of addresses").into();
    }
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

#[cfg(test)]
mod tests {
    use model::State;
    use serde_json::json;

    use super::*;
    use crate::fact::Fact;
    use crate::kind::scripted::ctx;

    const TOKEN: [u8; TOKEN_BYTES] = *b"0123456789abcdef";

    async fn look(options: Json) -> Observation {
        let probe = (KIND.build)(&options).expect("sound");
        probe.run(&ctx(Duration::from_secs(2))).await
    }

    /// Where neither kind of socket is allowed, the reason says so: both ends are right, by the rights of the tester.
    #[tokio::test]
    async fn the_loopback_answers_where_pings_are_allowed() {
        for host in ["127.0.0.1", "[::1]", "localhost"] {
            let seen = look(json!({"host": host, "count": 2})).await;
            match seen.state {
                State::Up => {
                    assert_eq!(seen.facts.get("received"), Some(&Fact::Int(2)));
                    assert!(seen.timings.first_byte.is_some());
                    assert!(seen.figures["loss_ratio"].abs() < f64::EPSILON);
                }
                State::Unknown => assert!(seen.fault.is_some() && !seen.reason.is_empty(), "{seen:?}"),
                _ => panic!("{seen:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_name_that_is_none_and_a_private_address_are_down() {
        let seen = look(json!({"host": "127.0.0.1", "deny_private": true})).await;
        assert_eq!(seen.state, State::Down, "{seen:?}");
        assert!(seen.reason.contains("not public"), "{}", seen.reason);
    }

    /// A name with an IPv6 address was unknown on a machine that has a route for IPv4 only.
    #[tokio::test]
    async fn a_family_without_a_route_is_passed_over() {
        let families = refused(&Errno::AFNOSUPPORT.into());
        assert!(is_unreached(&families), "{families:?}");
        let none = Observation::from(Error::from_io(Phase::Send, &Errno::NETUNREACH.into()));
        assert!(is_unreached(&none) && !is_unreached(&judge(&[], 1)));
        let probe = Icmp { host: String::new(), count: 1, net: NetOptions::default() };
        let ctx = ctx(Duration::from_secs(2));
        // Nobody may ping everybody: no system lets us without asking for it.
        let here = ["255.255.255.255", "127.0.0.1"].map(|ip| ip.parse().expect("an address"));
        let seen = probe.first_reached(&ctx, here.to_vec(), Timings::default()).await;
        assert!(!is_unreached(&seen), "{seen:?}");
        let nowhere = probe.first_reached(&ctx, vec![here[0]], Timings::default()).await;
        assert!(nowhere.state == State::Unknown && nowhere.fault.is_some(), "{nowhere:?}");
    }

    #[test]
    fn losses_are_told() {
        let rtts = [Duration::from_millis(1), Duration::from_millis(3)];
        let seen = judge(&rtts, 4);
        assert_eq!((seen.state, seen.reason.as_str()), (State::Degraded, "2 of 4 echo requests were not answered"));
        assert_eq!(seen.facts.get("loss"), Some(&Fact::Float(0.5)));
        assert_eq!(seen.facts.get("rtt_avg"), Some(&Fact::Duration(Duration::from_millis(2))));
        assert_eq!(judge(&rtts, 2).state, State::Up);
        let seen = judge(&[], 3);
        assert_eq!((seen.state, seen.reason.as_str()), (State::Down, "none of 3 echo requests was answered"));
        assert_eq!(seen.facts.get("rtt_min"), None);
    }

    #[test]
    fn only_the_answer_to_our_request_counts() {
        let reply = |kind: u8| [&[kind, 0, 0, 0, 9, 9, 0, 7][..], &TOKEN].concat();
        let header = [&[0x45][..], &[0; 19]].concat();
        assert!(answers(&reply(0), false, false, 7, &TOKEN));
        assert!(answers(&reply(129), true, true, 7, &TOKEN));
        assert!(answers(&[header, reply(0)].concat(), false, true, 7, &TOKEN));
        for (packet, seq, token) in [
            (reply(8), 7, TOKEN),
            (reply(0), 8, TOKEN),
            (reply(0), 7, [0; TOKEN_BYTES]),
            (reply(0)[..12].to_vec(), 7, TOKEN),
            (Vec::new(), 7, TOKEN),
        ] {
            assert!(!answers(&packet, false, false, seq, &token));
        }
        assert!(!answers(&[0x4f], false, true, 7, &TOKEN));
    }

    #[test]
    fn a_request_carries_its_checksum() {
        let packet = request(false, 7, &TOKEN);
        assert_eq!(checksum(&packet), 0, "the sum over a packet with its checksum is zero");
        assert_eq!((packet.len(), packet[0]), (24, 8));
        assert_eq!(request(true, 7, &TOKEN)[..4], [128, 0, 0, 0]);
        assert_eq!(checksum(&[0xff]), 0x00ff);
        assert_eq!(checksum(&[]), 0xffff);
    }

    #[test]
    fn what_keeps_us_from_pinging_is_our_fault() {
        let denied = refused(&ErrorKind::PermissionDenied.into());
        assert_eq!((denied.state, denied.fault), (State::Unknown, Some(Fault::Setup)));
        assert!(denied.reason.contains("ping_group_range"));
        assert_eq!(refused(&ErrorKind::Other.into()).fault, Some(Fault::Resources));
        for (options, path) in [
            (json!({"host": ""}), "host"),
            (json!({"host": "http://x"}), "host"),
            (json!({"host": "x", "count": 0}), "count"),
        ] {
            let issues = (KIND.build)(&options).map(|_| ()).expect_err("it cannot work");
            assert_eq!(issues[0].path, path, "{issues:?}");
        }
    }
}
