//! Kind `tls`: a port speaks TLS with a certificate that verifies and lasts.

use std::sync::Arc;

use model::BoxFuture;
use model::config::{FieldSpec, Spec, Ty};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::config::{self, Issue};
use crate::connect::spec::tls_fields;
use crate::connect::{NetOptions, Target, TlsOptions};
use crate::fact::{Shape, fact};
use crate::kind::{Ctx, Defaults, Kind, Observation, Probe};

/// The kind.
pub static KIND: Kind = Kind {
    name: "tls",
    spec: &SPEC,
    facts: &[fact("tls", "The handshake: version, cipher, days_left, problem, subject, issuer, names, chain.").is(Shape::TLS)],
    defaults: Defaults::TLS,
    build,
};

static SPEC: Spec = Spec {
    name: "tls check",
    doc: "Shakes hands with a TLS port and looks at the certificate chain.",
    fields: tls_fields![
        FieldSpec::required("address", Ty::Address, "Where the service listens."),
        FieldSpec::optional("alpn", Ty::List(&Ty::Text), "", "Application protocols to offer."),
    ],
};

#[derive(Debug, Deserialize)]
struct Tls {
    #[serde(deserialize_with = "super::read_target")]
    address: Target,
    #[serde(default)]
    alpn: Vec<String>,
    #[serde(flatten)]
    net: NetOptions,
    #[serde(flatten)]
    tls: TlsOptions,
}

fn build(json: &Json) -> Result<Arc<dyn Probe>, Vec<Issue>> {
    let mut probe = config::read::<Tls>(json)?;
    probe.tls.alpn = std::mem::take(&mut probe.alpn);
    Ok(Arc::new(probe))
}

impl Probe for Tls {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn descriptors(&self) -> u64 {
        self.address.descriptors()
    }

    fn run<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Observation> {
        Box::pin(async move {
            match ctx.connector().tls(&self.address, &self.net, &self.tls, ctx.deadline).await {
                Ok(stream) => {
                    let seen = Observation::up().timed(stream.timings());
                    match stream.tls() {
                        Some(tls) => seen.tls(ctx, tls),
                        None => seen,
                    }
                }
                Err(error) => Observation::failed(ctx, error),
            }
        })
    }
}
