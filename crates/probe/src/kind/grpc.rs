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
use crate::fact::{FactSpec, Shape, fact};
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
    fact("grpc_status", "The status code of the call; 0 is good.").is(Shape::Number),
    fact("status", "`SERVING`, `NOT_SERVING`, `SERVICE_UNKNOWN` or `UNKNOWN`.").is(Shape::Text),
    fact("tls", "What TLS showed: see the kind `tls`.").is(Shape::TLS),
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

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};
    use model::State;
    use serde_json::json;
    use std::time::Duration;

    use super::*;
    use crate::fact::Fact;
    use crate::kind::scripted::{Step, look, look_many, say};

    fn answer(status: u16, code: Option<&str>, body: &[u8]) -> Answer {
        let mut trailers = HeaderMap::new();
        if let Some(code) = code {
            trailers.insert("grpc-status", code.parse().expect("a header"));
        }
        Answer {
            status: StatusCode::from_u16(status).expect("a status"),
            headers: HeaderMap::new(),
            body: body.to_vec(),
            trailers,
            took: Duration::ZERO,
        }
    }

    #[test]
    fn each_status_has_its_verdict() {
        let told = |answer: &Answer| match judge(answer) {
            Ok(seen) => (seen.state, seen.reason),
            Err(Broken::Says(_, reason)) => (State::Down, reason),
            Err(Broken::Garbled(what)) => (State::Down, what.to_owned()),
            Err(other) => panic!("{other:?}"),
        };
        for (answer, state, reason) in [
            (answer(200, Some("0"), b"\0\0\0\0\x02\x08\x01"), State::Up, ""),
            (answer(200, Some("0"), b"\0\0\0\0\x02\x08\x02"), State::Down, "the service says that it is not serving"),
            (answer(200, Some("0"), b"\0\0\0\0\x02\x08\x03"), State::Down, "it does not know the service"),
            (answer(200, Some("0"), b"\0\0\0\0\0"), State::Down, "the service does not know how it is"),
            (answer(200, Some("0"), b"\0\0\0\0\x02\x08\xff"), State::Down, "an answer that cannot be read"),
            (answer(200, Some("0"), b"\0\0\0\0\x09\x08\x01"), State::Down, "an answer that cannot be read"),
            (answer(200, Some("0"), b"\x01\0\0\0\x02\x08\x01"), State::Down, "an answer that cannot be read"),
            (answer(200, Some("0"), b""), State::Down, "an answer that cannot be read"),
            (answer(200, None, b""), State::Down, "no gRPC status"),
            (answer(200, Some("x"), b""), State::Down, "no gRPC status"),
            (answer(503, None, b""), State::Down, "it answers with HTTP status 503"),
            (answer(200, Some("4"), b""), State::Down, "it took too long (gRPC status 4)"),
            (answer(200, Some("12"), b""), State::Down, "it has no health service (gRPC status 12)"),
            (answer(200, Some("16"), b""), State::Down, "it does not let us ask (gRPC status 16)"),
            (answer(200, Some("8"), b""), State::Down, "it is out of resources (gRPC status 8)"),
            (answer(200, Some("14"), b""), State::Down, "it is not available (gRPC status 14)"),
            (answer(200, Some("2"), b""), State::Down, "the call failed (gRPC status 2)"),
        ] {
            assert_eq!(told(&answer), (state, reason.to_owned()), "{answer:?}");
        }
        let seen = judge(&answer(200, Some("5"), b"")).expect("a verdict");
        assert_eq!(seen.facts.get("grpc_status"), Some(&Fact::Int(5)));
    }

    #[test]
    fn long_names_are_framed() {
        use http_body_util::BodyExt as _;
        for len in [0, 1, 127, 128] {
            let probe = read(&json!({"address": "x:1", "service": "s".repeat(len)})).expect("sound");
            let body = probe.request().into_body();
            let bytes = tokio_test(body.collect()).expect("a body").to_bytes();
            let (head, message) = bytes.split_at(5);
            assert_eq!(head[4] as usize, message.len());
            let prefix = if len == 0 { 0 } else { 2 + usize::from(len > 127) };
            assert_eq!(message.len(), len + prefix);
        }
        let issues = read(&json!({"address": "x:1", "service": "s".repeat(129)})).map(|_| ()).expect_err("too long");
        assert_eq!(issues[0].path, "service");
    }

    fn tokio_test<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
    }

    #[tokio::test]
    async fn what_is_not_http_2_is_down() {
        for (script, reason) in [
            (vec![], "no complete answer: connection closed by the peer"),
            (
                vec![say("HTTP/1.1 400 Bad Request\r\n\r\n"), Step::Hang],
                "no complete answer: the answer is not valid HTTP",
            ),
        ] {
            let seen = look(&KIND, json!({}), script).await;
            assert_eq!((seen.state, seen.reason.as_str()), (State::Down, reason));
            assert!(seen.timings.connect.is_some());
        }
        let seen = look_many(&KIND, json!({}), vec![vec![Step::Hang]], Duration::from_millis(100)).await;
        assert_eq!(seen.reason, "no complete answer: timed out");
        let seen = look(&KIND, json!({"tls": "implicit"}), vec![say("no TLS")]).await;
        assert!(seen.reason.starts_with("TLS handshake failed"), "{}", seen.reason);
    }
}
