//! Kind `canary`: a check that must be seen down, so that checkers that no longer see are noticed.
//!
//! It connects to a port of this machine that it has just found closed, through the same connector and schedule as
//! every other check. Whoever watches over the checkers expects it `down`; any other state is the alarm.

use std::sync::Arc;

use model::BoxFuture;
use model::config::Spec;
use serde_json::Value as Json;
use tokio::net::TcpListener;

use crate::config::Issue;
use crate::connect::{NetOptions, Target};
use crate::kind::{Ctx, Defaults, Fault, Kind, Observation, Probe};

/// The kind.
pub static KIND: Kind = Kind { name: "canary", spec: &SPEC, facts: &[], defaults: Defaults::AT_ONCE, build };

static SPEC: Spec =
    Spec { name: "canary check", doc: "Connects to a closed port of this machine: must be seen down.", fields: &[] };

struct Canary;

fn build(_: &Json) -> Result<Arc<dyn Probe>, Vec<Issue>> {
    Ok(Arc::new(Canary))
}

impl Probe for Canary {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn run<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Observation> {
        Box::pin(async move {
            // Bound, read and closed again: nobody listens there, and the kernel does not give it out soon.
            let closed = TcpListener::bind(("127.0.0.1", 0)).await.and_then(|listener| listener.local_addr());
            let Ok(address) = closed else {
                return Observation::unknown(Fault::Resources, "no local port to be had");
            };
            let target = Target { host: address.ip().to_string(), port: address.port() };
            match ctx.connector().tcp(&target, &NetOptions::default(), ctx.deadline).await {
                Ok(_) => Observation::up(),
                Err(error) => error.into(),
            }
        })
    }
}
