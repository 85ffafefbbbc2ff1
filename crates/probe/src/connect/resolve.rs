//! Names to addresses: one resolver, with one cache that honours TTLs, per DNS server that checks name.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::dnssec::TrustAnchors;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};
use serde::{Deserialize, Deserializer, de};
use tokio::time::{Instant, timeout_at};

use super::{Error, Phase};
use crate::kind::Fault;

/// How long one question to one server may take: two attempts fit the usual time-out of a check.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// What part of the time left is kept to find out whose fault it is when a name gets no answer: a quarter.
const CROSS_CHECK_SHARE: u32 = 4;
/// The resolver answers, but not for this name.
const SWALLOWED: &str = "the name servers of its domain do not answer";

/// Resolvers by the server that they ask, where `None` is the system's configuration, and whether they keep answers.
#[derive(Default)]
pub(super) struct Resolvers {
    by_server: Mutex<HashMap<ResolverKey, Arc<TokioResolver>>>,
}

/// The server, and whether answers are kept.
type ResolverKey = (Option<SocketAddr>, bool);

impl Resolvers {
    pub(super) fn forget(&self) {
        self.by_server.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn of(&self, server: Option<SocketAddr>, caches: bool) -> Result<Arc<TokioResolver>, Error> {
        let mut by_server = self.by_server.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(resolver) = by_server.get(&(server, caches)) {
            return Ok(Arc::clone(resolver));
        }
        let resolver = Arc::new(build(server, caches).map_err(|_| {
            Error::ours(Phase::Resolve, Fault::Resolver, "the system's resolver configuration cannot be read")
        })?);
        by_server.insert((server, caches), Arc::clone(&resolver));
        Ok(resolver)
    }

    pub(super) async fn ask(
        &self,
        host: &str,
        server: Option<SocketAddr>,
        deadline: Instant,
    ) -> Result<Vec<IpAddr>, Error> {
        let resolver = self.of(server, true)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let error = match timeout_at(deadline - left / CROSS_CHECK_SHARE, resolver.lookup_ip(host)).await {
            Ok(Ok(found)) => return Ok(found.iter().collect()),
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        // What the cache holds would say nothing of the server.
        let fresh = self.of(server, false)?;
        let judged = timeout_at(deadline, judge(&fresh, error.as_ref())).await;
        Err(judged.unwrap_or_else(|_| Error::timed_out(Phase::Resolve)))
    }
}

fn build(server: Option<SocketAddr>, caches: bool) -> Result<TokioResolver, NetError> {
    builder(server, caches)?.build()
}

/// A resolver that verifies signatures up to `anchors`, and keeps nothing.
pub(super) fn validating(server: Option<SocketAddr>, anchors: Arc<TrustAnchors>) -> Result<TokioResolver, Error> {
    let built = builder(server, false).and_then(|builder| builder.with_trust_anchor(anchors).build());
    built
        .map_err(|_| Error::ours(Phase::Resolve, Fault::Resolver, "the system's resolver configuration cannot be read"))
}

fn builder(server: Option<SocketAddr>, caches: bool) -> Result<ResolverBuilder<TokioRuntimeProvider>, NetError> {
    let mut builder = match server {
        None => TokioResolver::builder_tokio()?,
        Some(server) => {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
            let server = NameServerConfig::new(server.ip(), true, connections.into());
            let config = ResolverConfig::from_name_servers(vec![server]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let options: &mut ResolverOpts = builder.options_mut();
    options.timeout = ATTEMPT_TIMEOUT;
    options.cache_size = if caches { model::limits::PROBE_NAMES_MAX } else { 0 };
    if server.is_some() {
        options.use_hosts_file = ResolveHosts::Never;
    }
    Ok(builder)
}

/// Says whose fault a failed lookup is; none is one without an answer in time. A server that answers SERVFAIL, or not at
/// all, may be broken itself or may be asking a broken domain: whether it can still name the root's servers decides.
async fn judge(resolver: &TokioResolver, error: Option<&NetError>) -> Error {
    let target = |reason: &str| Error::target(Phase::Resolve, reason);
    let ours = |reason: &str| Error::ours(Phase::Resolve, Fault::Resolver, reason);
    let names_the_root = async || resolver.lookup(Name::root(), RecordType::NS).await.is_ok();
    let Some(error) = error else {
        return match names_the_root().await {
            true => Error { timed_out: true, ..target(SWALLOWED) },
            false => Error::timed_out(Phase::Resolve),
        };
    };
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NXDomain => {
            target("the name does not exist")
        }
        NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NoError => {
            target("the name has no address")
        }
        NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail) | DnsError::NoRecordsFound(_)) => {
            if names_the_root().await {
                target("the name servers of its domain fail (SERVFAIL)")
            } else {
                ours("the resolver fails for every name (SERVFAIL)")
            }
        }
        NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => ours("the resolver refuses to answer us"),
        NetError::Dns(_) => target("the answer is not usable"),
        NetError::Proto(_) | NetError::Message(_) | NetError::Msg(_) => target("the name is not a valid DNS name"),
        _ if names_the_root().await => Error { timed_out: true, ..target(SWALLOWED) },
        _ => ours("no resolver answers"),
    }
}

/// Reads the address of a DNS server: `9.9.9.9`, `9.9.9.9:53`, `2620:fe::fe`, `[2620:fe::fe]:53`.
///
/// # Errors
/// When `text` is none of these.
pub fn parse_resolver(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse::<SocketAddr>()
        .or_else(|_| text.trim_matches(['[', ']']).parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)))
        .map_err(|_| "expected the address of a DNS server, such as 9.9.9.9 or [2620:fe::fe]:53")
}

pub(super) fn read_resolver<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| parse_resolver(&text).map_err(de::Error::custom)).transpose()
}
