//! Kind `search`: how many events of the last minutes fit a search, so that a saved search is watched as anything else is.

use std::sync::Arc;
use std::time::Duration;

use model::BoxFuture;
use model::Uncounted;
use model::config::{FieldSpec, Spec, Ty};
use model::limits::QUERY_BYTES_MAX;
use serde::Deserialize;
use serde_json::Value as Json;
use tokio::time::timeout_at;

use crate::config::{self, Issue};
use crate::fact::{Shape, fact};
use crate::kind::{Ctx, Defaults, Fault, Kind, Observation, Probe};

/// The kind.
pub static KIND: Kind = Kind {
    name: "search",
    spec: &SPEC,
    facts: &[fact("count", "How many events that reached us within the window fit the query.").is(Shape::Number)],
    defaults: Defaults { conditions: &["count == 0"], degraded_if: &[], failure_threshold: 1 },
    build,
};

static SPEC: Spec = Spec {
    name: "search check",
    doc: "Counts the events of the check's tenant that fit a query, over a window; down unless `count == 0`, or what `conditions` say, holds. A running server only.",
    fields: &[
        FieldSpec::required(
            "query",
            Ty::Text,
            "What to look for, as in `dihya search`: `service:auth severity>=error`.",
        ),
        FieldSpec::optional(
            "window",
            Ty::Duration { min_ms: 1_000, max_ms: 7 * 86_400_000 },
            "5m",
            "How far back, by when events reached us. One that is shorter than `interval` leaves events out.",
        ),
    ],
};

const WINDOW_DEFAULT: Duration = Duration::from_secs(300);
/// What all checks have where they do not say.
const INTERVAL_DEFAULT: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Raw {
    query: String,
    #[serde(default, deserialize_with = "model::config::de::duration_opt")]
    window: Option<Duration>,
    #[serde(default, deserialize_with = "model::config::de::duration_opt")]
    interval: Option<Duration>,
}

struct Search {
    query: String,
    window: Duration,
}

fn build(json: &Json) -> Result<Arc<dyn Probe>, Vec<Issue>> {
    let raw: Raw = config::read(json)?;
    let window = raw.window.unwrap_or(WINDOW_DEFAULT);
    let mut issues = Vec::new();
    if raw.query.len() > QUERY_BYTES_MAX {
        issues.push(Issue::new("query", format!("expected at most {QUERY_BYTES_MAX} bytes")));
    }
    if raw.interval.unwrap_or(INTERVAL_DEFAULT) > window {
        issues.push(
            Issue::new("window", "events between two runs would not be counted")
                .suggest("make it as long as interval")
                .rests_on("interval"),
        );
    }
    if issues.is_empty() { Ok(Arc::new(Search { query: raw.query, window })) } else { Err(issues) }
}

impl Probe for Search {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn needs_server(&self) -> bool {
        true
    }

    fn descriptors(&self) -> u64 {
        0
    }

    fn run<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Observation> {
        Box::pin(async move {
            let Some(events) = ctx.means.events.get() else {
                return Observation::unknown(Fault::Internal, "events can be counted by a running server only");
            };
            let counting = events.count(&ctx.tenant, &self.query, self.window);
            // Slowness here is ours: it says nothing of what is watched.
            match timeout_at(ctx.deadline, counting).await {
                Err(_) => Observation::unknown(Fault::Resources, "the events were not counted in time"),
                Ok(Err(Uncounted::Early)) => Observation {
                    is_early: true,
                    ..Observation::unknown(Fault::Internal, "events cannot be counted yet")
                },
                Ok(Err(Uncounted::Failed(why))) => Observation::unknown(Fault::Internal, why),
                #[expect(clippy::cast_precision_loss, reason = "a number of events is exact up to 2^53")]
                Ok(Ok(count)) => Observation::up().fact("count", count).figure("count_events", count as f64),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use model::{CountEvents, State, Tenant};
    use serde_json::json;

    use super::*;
    use crate::kind::scripted::ctx;

    /// Tells what it was asked, or why not.
    struct Told;

    impl CountEvents for Told {
        fn count<'a>(
            &'a self,
            tenant: &'a Tenant,
            search: &'a str,
            window: Duration,
        ) -> BoxFuture<'a, Result<u64, Uncounted>> {
            Box::pin(async move {
                assert_eq!(*tenant, Tenant::default());
                match search {
                    "hang" => std::future::pending().await,
                    "early" => Err(Uncounted::Early),
                    "fail" => Err(Uncounted::Failed("the lake is not open".to_owned())),
                    _ => Ok(window.as_secs()),
                }
            })
        }
    }

    async fn look(json: Json) -> Observation {
        let ctx = ctx(Duration::from_millis(200));
        assert!(ctx.means.events.set(Arc::new(Told)).is_ok());
        let probe = build(&json).expect("is sound");
        assert_eq!((probe.kind(), probe.descriptors(), probe.needs_server()), ("search", 0, true));
        probe.run(&ctx).await
    }

    #[tokio::test]
    async fn what_is_counted_is_a_fact_and_a_figure() {
        let seen = look(json!({"query": "severity>=error", "window": "1h"})).await;
        assert_eq!((seen.state, seen.figures["count_events"]), (State::Up, 3_600.0));
        assert!(seen.facts.iter().any(|(name, _)| name == "count"));
        assert_eq!(look(json!({"query": ""})).await.figures["count_events"], 300.0);
    }

    #[tokio::test]
    async fn what_is_not_counted_is_unknown_and_nobodys_fault_but_ours() {
        for (query, early, reason) in [
            ("hang", false, "the events were not counted in time"),
            ("early", true, "events cannot be counted yet"),
            ("fail", false, "the lake is not open"),
        ] {
            let seen = look(json!({"query": query})).await;
            assert_eq!((seen.state, seen.is_early, seen.reason.as_str()), (State::Unknown, early, reason));
            assert!(seen.fault.is_some());
        }
        let alone = build(&json!({"query": "x"})).expect("is sound").run(&ctx(Duration::from_secs(1))).await;
        assert_eq!(alone.reason, "events can be counted by a running server only");
    }

    #[test]
    fn what_leaves_events_out_is_refused() {
        let wrong =
            |json: Json| build(&json).err().unwrap_or_default().iter().map(|i| i.path.clone()).collect::<Vec<_>>();
        assert_eq!(wrong(json!({"query": "x", "window": "30s", "interval": "1m"})), ["window"]);
        assert_eq!(wrong(json!({"query": "x".repeat(QUERY_BYTES_MAX + 1)})), ["query"]);
        assert_eq!(wrong(json!({"query": "x", "window": "30s"})), ["window"]);
        assert!(wrong(json!({"query": "x", "interval": "5m"})).is_empty());
    }
}
