//! DNSSEC: whether an answer's chain of signatures holds, and for how long.
//!
//! The chain is verified here, not believed from a resolver's flag. hickory calls a chain bogus when a DS or DNSKEY
//! question merely times out (its issues 3932 and 3964); so before a domain is called down, its chain is asked for
//! again, and where that fails to arrive we cannot tell.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::dnssec::rdata::DNSSECRData;
use hickory_resolver::proto::dnssec::{DnssecSummary, TrustAnchors};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{TokioResolver, lookup::Lookup};
use model::config::{FieldSpec, Ty};
use serde::Deserialize;
use tokio::time::timeout_at;

use crate::connect::{Error, NetOptions, Phase};
use crate::kind::{Ctx, Fault, Observation};

/// `dnssec`.
pub(super) const DNSSEC: FieldSpec = FieldSpec::optional(
    "dnssec",
    Ty::Enum(&["none", "validate", "require"]),
    "none",
    "Whether to verify signatures: `validate` lets unsigned domains pass, `require` does not.",
);
/// `trust_anchor_file`.
pub(super) const TRUST_ANCHOR_FILE: FieldSpec = FieldSpec::optional(
    "trust_anchor_file",
    Ty::Path,
    "",
    "File of DNSKEY records to trust instead of the root's keys.",
);
/// `signature_days_min`.
pub(super) const SIGNATURE_LEFT_MIN: FieldSpec = FieldSpec::optional(
    "signature_left_min",
    Ty::Duration { min_ms: 0, max_ms: 31_536_000_000 },
    "3d",
    "Time that a signature must still hold; less is `degraded`.",
);

/// How signatures are judged.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Options {
    #[serde(default)]
    dnssec: Mode,
    #[serde(default)]
    trust_anchor_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "model::config::de::duration_opt")]
    signature_left_min: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    None,
    Validate,
    Require,
}

/// What an answer's chain of signatures is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chain {
    /// It holds up to a key that we trust; the seconds for which its shortest signature still does.
    Secure(Option<i64>),
    /// The domain is proven to be unsigned.
    Insecure,
    /// It ought to hold and does not.
    Bogus,
    /// It did not arrive.
    Indeterminate,
}

impl Options {
    /// Tells whether signatures are to be verified.
    pub(super) fn verifies(&self) -> bool {
        self.dnssec != Mode::None
    }

    /// Asks as [`TokioResolver::lookup`] and verifies what is answered. A chain that is worth nothing comes without
    /// an answer.
    pub(super) async fn ask(
        &self,
        ctx: &Ctx,
        net: &NetOptions,
        name: &Name,
        record: RecordType,
    ) -> Result<(Result<Lookup, NetError>, Option<Chain>), Error> {
        let resolver = ctx.connector().resolver_validating(net, self.anchors(ctx)?)?;
        let mut answer = within(ctx, &resolver, name, record).await?;
        if is_bogus(&answer) {
            if !self.chain_arrives(ctx, net, name).await? {
                return Ok((answer, Some(Chain::Indeterminate)));
            }
            // One question of the first round may have been lost on the way.
            answer = within(ctx, &resolver, name, record).await?;
        }
        let chain = match &answer {
            Ok(lookup) => match DnssecSummary::from_records(lookup.answers().iter()) {
                DnssecSummary::Secure => Some(Chain::Secure(seconds_left(lookup.answers(), ctx))),
                DnssecSummary::Insecure => Some(Chain::Insecure),
                DnssecSummary::Bogus => Some(Chain::Bogus),
            },
            Err(_) if is_bogus(&answer) => Some(Chain::Bogus),
            Err(_) => None,
        };
        Ok((answer, chain))
    }

    /// Makes a verdict worse where the chain asks for it.
    pub(super) fn judge(&self, seen: Observation, chain: &Chain) -> Observation {
        let (word, verdict) = match chain {
            Chain::Secure(Some(left)) if *left < self.left_min() => {
                let days = left.div_euclid(86_400).max(0);
                let reason = format!("a DNSSEC signature expires in {days} days and has not been renewed");
                ("secure", Some(Observation::degraded(reason)))
            }
            Chain::Secure(_) => ("secure", None),
            Chain::Insecure if self.dnssec == Mode::Require => {
                ("insecure", Some(Observation::down("the domain is not signed with DNSSEC")))
            }
            Chain::Insecure => ("insecure", None),
            Chain::Bogus => ("bogus", Some(Observation::down("the DNSSEC signatures do not hold"))),
            Chain::Indeterminate => {
                let reason = "the DNSSEC keys of the domain could not be asked for";
                ("indeterminate", Some(Observation::unknown(Fault::Resolver, reason)))
            }
        };
        let mut seen = seen.fact("dnssec", word);
        if let Chain::Secure(Some(left)) = chain {
            #[expect(clippy::cast_precision_loss, reason = "seconds of a signature fit a double by far")]
            let days = *left as f64 / 86_400.0;
            seen = seen.fact("signature_days_left", days).figure("signature_days_left", days);
        }
        if let Some(verdict) = verdict.filter(|verdict| verdict.state.gravity() > seen.state.gravity()) {
            (seen.state, seen.reason, seen.fault) = (verdict.state, verdict.reason, verdict.fault);
        }
        seen
    }

    fn left_min(&self) -> i64 {
        let min = self.signature_left_min.unwrap_or(Duration::from_secs(3 * 86_400));
        i64::try_from(min.as_secs()).unwrap_or(i64::MAX)
    }

    fn anchors(&self, ctx: &Ctx) -> Result<Arc<TrustAnchors>, Error> {
        let Some(path) = &self.trust_anchor_file else { return Ok(Arc::new(TrustAnchors::default())) };
        let setup = |reason: &str| Error::ours(Phase::Resolve, Fault::Setup, reason);
        let bytes = disk::read(&*ctx.means.disk, path).map_err(|_| setup("trust_anchor_file cannot be read"))?;
        let text: String = String::from_utf8_lossy(&bytes).lines().map(with_class).collect();
        let anchors: TrustAnchors = text.parse().map_err(|_| setup("trust_anchor_file holds no DNSKEY records"))?;
        Ok(Arc::new(anchors))
    }

    /// Tells whether every DS and DNSKEY question from `name` to the root gets an answer, whatever it says.
    async fn chain_arrives(&self, ctx: &Ctx, net: &NetOptions, name: &Name) -> Result<bool, Error> {
        let resolver = ctx.connector().resolver_uncached(net)?;
        let mut zone = name.clone();
        while !zone.is_root() {
            for record in [RecordType::DNSKEY, RecordType::DS] {
                match within(ctx, &resolver, &zone, record).await? {
                    Ok(_) | Err(NetError::Dns(DnsError::NoRecordsFound(_))) => {}
                    // Where a zone of our own anchors the trust, what is above it need not be there.
                    Err(NetError::Dns(_)) if self.trust_anchor_file.is_some() && zone.num_labels() == 1 => {}
                    Err(_) => return Ok(false),
                }
            }
            zone = zone.base_name();
        }
        Ok(true)
    }
}

/// Writes a line with the class that hickory's parser insists on and that signers' tools leave out.
fn with_class(line: &str) -> String {
    match line.split_once(" DNSKEY ") {
        Some((before, key)) if !before.split_whitespace().any(|word| word.eq_ignore_ascii_case("IN")) => {
            format!("{before} IN DNSKEY {key}\n")
        }
        _ => format!("{line}\n"),
    }
}

/// Asks before the deadline; a name server that does not answer by then is silent.
pub(super) async fn within(
    ctx: &Ctx,
    resolver: &TokioResolver,
    name: &Name,
    record: RecordType,
) -> Result<Result<Lookup, NetError>, Error> {
    timeout_at(ctx.deadline, resolver.lookup(name.clone(), record)).await.map_err(|_| super::silent())
}

fn is_bogus(answer: &Result<Lookup, NetError>) -> bool {
    matches!(answer, Err(NetError::Dns(DnsError::DnssecBogus | DnsError::Nsec { .. })))
}

/// The seconds for which the shortest signature among `records` still holds. Expiry counts in the 32 bits of RFC 4034
/// section 3.1.5, so the difference is taken as RFC 1982 says.
fn seconds_left(records: &[Record], ctx: &Ctx) -> Option<i64> {
    let now = ctx.clock().now().as_second();
    let left = |record: &Record| match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => Some(difference(signature.input().sig_expiration.get(), now)),
        _ => None,
    };
    records.iter().filter_map(left).min()
}

fn difference(expiry: u32, now: i64) -> i64 {
    let now = u32::try_from(now.rem_euclid(1 << 32)).unwrap_or_default();
    i64::from(expiry.wrapping_sub(now).cast_signed())
}

#[cfg(test)]
mod tests {
    use model::State;

    use super::*;

    fn options(json: serde_json::Value) -> Options {
        serde_json::from_value(json).expect("sound options")
    }

    #[test]
    fn each_chain_has_its_verdict() {
        let validate = options(serde_json::json!({"dnssec": "validate"}));
        let require = options(serde_json::json!({"dnssec": "require", "signature_left_min": "10d"}));
        assert!(!options(serde_json::json!({})).verifies() && validate.verifies());
        for (options, chain, state, word) in [
            (&validate, Chain::Secure(None), State::Up, "secure"),
            (&validate, Chain::Secure(Some(4 * 86_400)), State::Up, "secure"),
            (&require, Chain::Secure(Some(4 * 86_400)), State::Degraded, "secure"),
            (&validate, Chain::Secure(Some(-5)), State::Degraded, "secure"),
            (&validate, Chain::Insecure, State::Up, "insecure"),
            (&require, Chain::Insecure, State::Down, "insecure"),
            (&validate, Chain::Bogus, State::Down, "bogus"),
            (&validate, Chain::Indeterminate, State::Unknown, "indeterminate"),
        ] {
            let seen = options.judge(Observation::up(), &chain);
            assert_eq!(seen.state, state, "{chain:?}");
            assert_eq!(seen.facts.get("dnssec"), Some(&word.into()), "{chain:?}");
        }
        let worse = validate.judge(Observation::down("lacks a value"), &Chain::Secure(Some(1)));
        assert_eq!((worse.state, worse.reason.as_str()), (State::Down, "lacks a value"));
    }

    #[test]
    fn anchors_are_read_with_and_without_a_class() {
        for (line, read) in [
            ("good. DNSKEY 257 3 13 AAAA", "good. IN DNSKEY 257 3 13 AAAA\n"),
            ("good. 60 DNSKEY 257 3 13 AAAA", "good. 60 IN DNSKEY 257 3 13 AAAA\n"),
            (". 60 in DNSKEY 257 3 13 AAAA", ". 60 in DNSKEY 257 3 13 AAAA\n"),
            ("; a comment", "; a comment\n"),
        ] {
            assert_eq!(with_class(line), read);
        }
    }

    #[test]
    fn expiry_is_told_across_the_end_of_32_bits() {
        assert_eq!(difference(100, 40), 60);
        assert_eq!(difference(40, 100), -60);
        assert_eq!(difference(10, (1 << 32) - 10), 20);
        assert_eq!(difference(10, (1 << 32) + 5), 5);
    }
}
