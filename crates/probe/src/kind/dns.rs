//! Kind `dns`: a name server answers a question as it should.

use std::sync::Arc;

use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, Record, RecordType};
use model::config::{FieldSpec, Spec, Ty};
use model::{BoxFuture, Timings};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::config::{self, Issue};
use crate::connect::spec::RESOLVER;
use crate::connect::{Error, NetOptions, Phase};
use crate::fact::{Shape, fact};
use crate::kind::{Ctx, Defaults, Kind, Observation, Probe};

mod dnssec;

/// Records of an answer that are looked at.
const ANSWERS_MAX: usize = 256;

/// The kind.
pub static KIND: Kind = Kind {
    name: "dns",
    spec: &SPEC,
    facts: &[
        fact("rcode", "`NOERROR`, `NXDOMAIN`, `SERVFAIL` ...").is(Shape::Text),
        fact("answers", "The records' values as text, of the wanted type.").is(Shape::Texts),
        fact("ttl", "Smallest time to live among them, in seconds.").is(Shape::Number),
        fact("dnssec", "`secure`, `insecure`, `bogus` or `indeterminate`, where signatures are verified.").is(Shape::Text),
        fact("signature_days_left", "For how long the shortest signature still holds.").is(Shape::Number),
    ],
    defaults: Defaults { conditions: &["rcode == 'NOERROR'", "size(answers) > 0"], ..Defaults::PLAIN },
    build,
};

static SPEC: Spec = Spec {
    name: "dns check",
    doc: "Asks a name server, past every cache of ours.",
    fields: &[
        FieldSpec::required("query", Ty::Text, "Name to ask for."),
        FieldSpec::optional(
            "record",
            Ty::Enum(&["A", "AAAA", "CAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "SVCB", "HTTPS", "TLSA", "TXT"]),
            "A",
            "Type of the records.",
        ),
        FieldSpec::optional("expect", Ty::OneOrMore(&Ty::Text), "", "Values that must be among the answers."),
        dnssec::DNSSEC,
        dnssec::TRUST_ANCHOR_FILE,
        dnssec::SIGNATURE_LEFT_MIN,
        RESOLVER,
    ],
};

#[derive(Deserialize)]
struct Raw {
    query: String,
    record: Option<String>,
    #[serde(default, deserialize_with = "model::config::de::one_or_more_opt")]
    expect: Option<Vec<String>>,
    #[serde(flatten)]
    dnssec: dnssec::Options,
    #[serde(flatten)]
    net: NetOptions,
}

struct Dns {
    name: Name,
    record: RecordType,
    expect: Vec<String>,
    dnssec: dnssec::Options,
    net: NetOptions,
}

fn build(json: &Json) -> Result<Arc<dyn Probe>, Vec<Issue>> {
    let raw: Raw = config::read(json)?;
    let record = raw.record.as_deref().unwrap_or("A").to_ascii_uppercase();
    let mut issues = Vec::new();
    let record = record.parse();
    if record.is_err() {
        issues.push(Issue::new("record", "not a type of DNS record").suggest("write A, AAAA, MX or TXT"));
    }
    let name = Name::from_utf8(&raw.query);
    if name.is_err() {
        issues.push(Issue::new("query", "not a DNS name").suggest("write example.org"));
    }
    let (Ok(record), Ok(mut name)) = (record, name) else { return Err(issues) };
    // What is asked for is a full name: search domains are for people at keyboards.
    name.set_fqdn(true);
    Ok(Arc::new(Dns { name, record, expect: raw.expect.unwrap_or_default(), dnssec: raw.dnssec, net: raw.net }))
}

impl Probe for Dns {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn run<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Observation> {
        Box::pin(async move { self.look(ctx).await.unwrap_or_else(Into::into) })
    }
}

impl Dns {
    async fn look(&self, ctx: &Ctx) -> Result<Observation, Error> {
        let started = ctx.clock().monotonic();
        let (asked, chain) = if self.dnssec.verifies() {
            Box::pin(self.dnssec.ask(ctx, &self.net, &self.name, self.record)).await?
        } else {
            let resolver = ctx.connector().resolver_uncached(&self.net)?;
            (dnssec::within(ctx, &resolver, &self.name, self.record).await?, None)
        };
        let elapsed = ctx.clock().monotonic().saturating_sub(started);
        let timings = Timings { resolve: Some(elapsed.as_secs_f64() * 1e3), ..Timings::default() };
        let (rcode, answers) = match (asked, &chain) {
            (Ok(found), _) => (ResponseCode::NoError, found.answers().to_vec()),
            (Err(_), Some(chain)) => return Ok(self.dnssec.judge(Observation::up(), chain).timed(timings)),
            (Err(NetError::Dns(DnsError::NoRecordsFound(none))), None) => (none.response_code, Vec::new()),
            (Err(NetError::Dns(DnsError::ResponseCode(code))), None) => (code, Vec::new()),
            (Err(NetError::Io(error)), None) => return Err(Error::from_io(Phase::Receive, &error)),
            (Err(_), None) => return Err(silent()),
        };
        let seen = self.judge(rcode, &answers).timed(timings);
        Ok(match chain {
            Some(chain) => self.dnssec.judge(seen, &chain),
            None => seen,
        })
    }

    fn judge(&self, rcode: ResponseCode, answers: &[Record]) -> Observation {
        let wanted = || answers.iter().filter(|record| record.record_type() == self.record).take(ANSWERS_MAX);
        let values: Vec<String> = wanted().map(|record| record.data.to_string()).collect();
        let ttl = wanted().map(|record| record.ttl).min();
        let missing = self.expect.iter().filter(|value| !values.iter().any(|found| is_same(found, value))).count();
        let mut seen = match missing {
            0 => Observation::up(),
            _ => Observation::down(format!("the answer lacks {missing} of {} expected values", self.expect.len())),
        };
        #[expect(clippy::cast_precision_loss, reason = "at most 256")]
        let count = values.len() as f64;
        seen.figures.insert("answers".to_owned(), count);
        seen.fact("rcode", code(rcode)).fact("answers", values).fact("ttl", ttl.map(u64::from))
    }
}

/// The server that is watched does not answer: that is its fault, not ours.
fn silent() -> Error {
    Error { timed_out: true, ..Error::target(Phase::Receive, "no answer from the name server") }
}

/// Names are the same with and without the final dot and in any case; TXT values with and without quotes.
fn is_same(found: &str, wanted: &str) -> bool {
    let plain = |text: &str| text.trim_matches('"').trim_end_matches('.').to_ascii_lowercase();
    plain(found) == plain(wanted)
}

/// Returns the mnemonic of RFC 6895.
fn code(rcode: ResponseCode) -> String {
    match rcode {
        ResponseCode::NoError => "NOERROR".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        other => format!("RCODE{}", u16::from(other)),
    }
}

#[cfg(test)]
mod tests {
    use model::State;
    use serde_json::json;

    use super::*;
    use crate::testing::{names, observe};

    #[tokio::test]
    async fn answers_and_codes_are_facts() {
        let names = names(true).await;
        for (query, extra, state, reason) in [
            ("here.example", json!({}), State::Up, ""),
            ("here.example", json!({"expect": "127.0.0.1"}), State::Up, ""),
            ("here.example", json!({"record": "TXT", "expect": ["v=1"]}), State::Up, ""),
            ("any.example", json!({"record": "ns", "expect": "NS.example"}), State::Up, ""),
            (
                "here.example",
                json!({"expect": ["127.0.0.1", "10.0.0.1"]}),
                State::Down,
                "the answer lacks 1 of 2 expected values",
            ),
            (
                "gone.example",
                json!({}),
                State::Down,
                "rcode == 'NOERROR' does not hold: rcode = \"NXDOMAIN\"; 1 more do not",
            ),
            ("gone.example", json!({"conditions": "rcode == 'NXDOMAIN'"}), State::Up, ""),
            ("empty.example", json!({}), State::Down, "size(answers) > 0 does not hold: answers = []"),
            ("broken.example", json!({"conditions": "rcode == 'SERVFAIL'"}), State::Up, ""),
            ("refused.example", json!({"conditions": "rcode == 'REFUSED'"}), State::Up, ""),
            ("here.example", json!({"conditions": "ttl == 60"}), State::Up, ""),
            (
                "silent.example",
                json!({"timeout": "200ms"}),
                State::Down,
                "no complete answer: no answer from the name server",
            ),
        ] {
            let mut check = json!({"kind": "dns", "query": query, "resolver": names.address.to_string()});
            for (key, value) in extra.as_object().into_iter().flatten() {
                check[key] = value.clone();
            }
            let result = observe(check).await;
            assert_eq!((result.state, result.reason.as_str()), (state, reason), "{query} {extra}");
        }
    }

    #[test]
    fn what_is_no_question_is_refused() {
        for (check, path) in [
            (json!({"query": "a", "record": "B0RK"}), "record"),
            (json!({"query": "a..b"}), "query"),
            (json!({"query": "a", "resolver": "x"}), ""),
        ] {
            assert_eq!(build(&check).err().expect("refused")[0].path, path, "{check}");
        }
        for (rcode, name) in
            [(ResponseCode::FormErr, "FORMERR"), (ResponseCode::NotImp, "NOTIMP"), (ResponseCode::NotAuth, "RCODE9")]
        {
            assert_eq!(code(rcode), name);
        }
    }
}
