//! gRPC: what the standard health service says (grpc.health.v1, `Health/Check`).
//!
//! One unary call over HTTP/2; its two messages have one field each, so the protobuf is written by hand.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use model::BoxFuture;
use model::config::{FieldSpec, Spec, Ty};
use serde::Deserialize;
use serde_json::Value as Json;

use super::exchange::{Answer, Exchange};
use super::service::{self, Broken, Encrypt, Service};
use crate::config::{self, Issue};
use crate::connect::spec::tls_fields;
use crate::fact::{FactSpec, fact};
use crate::kind::{Ctx, Defaults, Kind, Observation, Probe};

/// The kind.
pub static KIND: Kind =
    Kind { name: "grpc", spec: &SPEC, facts: FACTS, defaults: Defaults::TLS, build: |json| Ok(Arc::new(read(json)?)) };

static SPEC: Spec = Spec {
    name: "grpc check",
    doc: "Asks a gRPC server's standard health service.",
    fields: tls_fields![
        FieldSpec::required("address", Ty::Text, "Where it listens, `host:port`."),
        service::IMPLICIT,
        FieldSpec::optional("service", Ty::Text, "", "Service to ask about; the whole server where it is left out."),
    ],
};

const FACTS: &[FactSpec] = &[
    fact("grpc_status", "The status code of the call; 0 is good."),
    fact("status", "`SERVING`, `NOT_SERVING`, `SERVICE_UNKNOWN` or `UNKNOWN`."),
    fact("tls", "What TLS showed: see the kind `tls`."),
];

/// Longest answer that we take: a good one has seven bytes.
const ANSWER_BYTES_MAX: usize = 4 << 10;

struct Grpc {
    service: Service,
    asked: String,
}

#[derive(Deserialize)]
struct Options {
    #[serde(default)]
    service: String,
}

fn read(json: &Json) -> Result<Grpc, Vec<Issue>> {
    let mut service = Service::read(json, 443, |_| Encrypt::None)?;
    service.tls.alpn = vec!["h2".to_owned()];
    let Options { service: asked } = config::read(json)?;
    if asked.len() > model::limits::NAME_BYTES_MAX {
        return Err(vec![Issue::new("service", "the name of a service has at most 128 bytes")]);
    }
    Ok(Grpc { service, asked })
}

impl Probe for Grpc {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn run<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Observation> {
        Box::pin(self.look(ctx))
    }
}

impl Grpc {
    async fn look(&self, ctx: &Ctx) -> Observation {
        let stream = match self.service.connect(ctx).await {
            Ok(stream) => stream,
            Err(error) => return Observation::failed(ctx, error),
        };
        let mut exchange = match Exchange::open(stream, true).await {
            Ok(exchange) => exchange,
            Err(error) => return Observation::failed(ctx, error),
        };
        let told = match exchange.ask(ctx, self.request(), ANSWER_BYTES_MAX).await {
            Ok(answer) => judge(&answer),
            Err(error) => Err(Broken::Wire(error)),
        };
        service::concluded(told, ctx, exchange.timings(), exchange.tls())
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let scheme = if self.service.encrypt == Encrypt::None { "http" } else { "https" };
        let uri = format!("{scheme}://{}/grpc.health.v1.Health/Check", self.service.target.authority());
        // HealthCheckRequest { string service = 1; }, with the five bytes of a gRPC frame before it.
        let name = self.asked.as_bytes();
        let mut message = Vec::new();
        if !name.is_empty() {
            message.push(0x0a);
            let len = name.len();
            if len >= 0x80 {
                message.push(u8::try_from(len & 0x7f).unwrap_or_default() | 0x80);
                message.push(u8::try_from(len >> 7).unwrap_or_default());
            } else {
                message.push(u8::try_from(len).unwrap_or_default());
            }
            message.extend_from_slice(name);
        }
        let length = u32::try_from(message.len()).expect("invariant: the name's length was checked").to_be_bytes();
        let framed = [&[0], &length[..], &message].concat();
        Request::post(uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", "dihya")
            .body(Full::new(framed.into()))
            .expect("invariant: a target's host has no character that a URI cannot have")
    }
}

fn judge(answer: &Answer) -> Result<Observation, Broken> {
    if answer.status != 200 {
        return Err(Broken::down(format!("it answers with HTTP status {}", answer.status.as_u16())));
    }
    let code = answer.trailers.get("grpc-status").or_else(|| answer.headers.get("grpc-status"));
    let code = code.and_then(|code| code.to_str().ok()).and_then(|code| code.parse::<u16>().ok());
    let code = code.ok_or(Broken::Garbled("no gRPC status"))?;
    if code != 0 {
        let meaning = match code {
            4 => "it took too long",
            5 => "it does not know the service",
            7 | 16 => "it does not let us ask",
            8 => "it is out of resources",
            12 => "it has no health service",
            14 => "it is not available",
            _ => "the call failed",
        };
        return Ok(Observation::down(format!("{meaning} (gRPC status {code})")).fact("grpc_status", code));
    }
    let status = serving(&answer.body).ok_or(Broken::Garbled("an answer that cannot be read"))?;
    let (name, observation) = match status {
        1 => ("SERVING", Observation::up()),
        2 => ("NOT_SERVING", Observation::down("the service says that it is not serving")),
        3 => ("SERVICE_UNKNOWN", Observation::down("it does not know the service")),
        _ => ("UNKNOWN", Observation::down("the service does not know how it is")),
    };
    Ok(observation.fact("status", name).fact("grpc_status", code))
}

/// `HealthCheckResponse { ServingStatus status = 1; }` in its frame; a field that is absent is 0.
fn serving(body: &[u8]) -> Option<u8> {
    let (&[0, a, b, c, d], message) = body.split_first_chunk()? else { return None };
    if usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()? != message.len() {
        return None;
    }
    match message {
        [] => Some(0),
        [0x08, status, ..] if *status < 0x80 => Some(*status),
        _ => None,
    }
}
