//! Kind `tcp`: a port takes connections, and answers as expected where that is said.

use std::sync::Arc;

use model::BoxFuture;
use model::config::{FieldSpec, Spec, Ty};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::config::{self, Issue};
use crate::connect::spec::net_fields;
use crate::connect::{Error, NetOptions, Phase, Target, TimedStream};
use crate::fact::{Fact, Shape, fact};
use crate::kind::{Ctx, Defaults, Kind, Observation, Probe};

/// Most bytes that an answer may have before what is expected was seen.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// The kind.
pub static KIND: Kind = Kind {
    name: "tcp",
    spec: &SPEC,
    facts: &[fact("answer", "What the service sent up to and including what was expected.").is(Shape::Text)],
    defaults: Defaults::PLAIN,
    build,
};

static SPEC: Spec = Spec {
    name: "tcp check",
    doc: "Connects to a TCP port.",
    fields: net_fields![
        FieldSpec::required("address", Ty::Address, "Where the service listens."),
        FieldSpec::optional("send", Ty::Text, "", "Text to send once connected; write \\r\\n in double quotes."),
        FieldSpec::optional("expect", Ty::Text, "", "Text that the answer must contain."),
    ],
};

#[derive(Debug, Deserialize)]
struct Tcp {
    #[serde(deserialize_with = "super::read_target")]
    address: Target,
    #[serde(default)]
    send: Option<String>,
    #[serde(default)]
    expect: Option<String>,
    #[serde(flatten)]
    net: NetOptions,
}

fn build(json: &Json) -> Result<Arc<dyn Probe>, Vec<Issue>> {
    Ok(Arc::new(config::read::<Tcp>(json)?))
}

impl Probe for Tcp {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn descriptors(&self) -> u64 {
        self.address.descriptors()
    }

    fn run<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Observation> {
        Box::pin(async move { self.look(ctx).await.unwrap_or_else(Into::into) })
    }
}

impl Tcp {
    async fn look(&self, ctx: &Ctx) -> Result<Observation, Error> {
        let mut stream = ctx.connector().tcp(&self.address, &self.net, ctx.deadline).await?;
        if let Some(text) = &self.send {
            stream.send(text.as_bytes()).await?;
        }
        let mut seen = Observation::up();
        if let Some(expected) = &self.expect {
            let answer = Box::pin(wait_for(&mut stream, expected.as_bytes())).await?;
            seen.facts.set("answer", Fact::Hidden(String::from_utf8_lossy(&answer).into_owned()));
        }
        Ok(seen.timed(stream.timings()))
    }
}

async fn wait_for(stream: &mut TimedStream, expected: &[u8]) -> Result<Vec<u8>, Error> {
    stream.set_cap(ANSWER_BYTES_MAX);
    let mut answer = Vec::new();
    loop {
        // Only what is new, and what may straddle, is searched: the peer chooses how often we look.
        let from = answer.len().saturating_sub(expected.len());
        let closed = stream.receive_some(&mut answer).await? == 0;
        let fresh = answer.get(from..).unwrap_or_default();
        if expected.is_empty() || fresh.windows(expected.len()).any(|window| window == expected) {
            return Ok(answer);
        }
        if closed {
            let reason = "the answer ended without what was expected";
            return Err(Error::target(Phase::Receive, reason).timed(stream.timings()));
        }
    }
}
