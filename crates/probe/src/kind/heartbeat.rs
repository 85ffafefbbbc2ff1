//! Kind `heartbeat`: somebody else's job gives a sign of life in time. Passive: it only looks at what was sent.

use std::sync::Arc;
use std::time::Duration;

use model::BoxFuture;
use model::config::{FieldSpec, Spec, Ty};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::config::{self, Issue};
use crate::fact::{Shape, fact};
use crate::heartbeat::{Beats, Moment};
use crate::kind::{Ctx, Defaults, Fault, Kind, Observation, Probe};

/// A heartbeat is looked at this often within its interval, and at once when a sign arrives.
const LOOKS_PER_INTERVAL: u32 = 20;
const CADENCE_MIN: Duration = Duration::from_secs(1);
const CADENCE_MAX: Duration = Duration::from_secs(30);
const GRACE_DEFAULT: Duration = Duration::from_secs(60);
/// How long a sign that fell due while we were not running is waited for after the start, where the grace is not longer:
/// jobs try again, and a heartbeat of some minutes comes anew.
const AFTER_START: Duration = Duration::from_secs(300);

/// The kind.
pub static KIND: Kind = Kind {
    name: "heartbeat",
    spec: &SPEC,
    facts: &[
        fact("age", "How long ago the last run ended; before the first, since when one is expected.").is(Shape::Time),
        fact("runtime", "How long the last run took; null where its start was not said.").is(Shape::Time),
        fact("exit_code", "How the last run ended: 0 is success.").is(Shape::Number),
    ],
    defaults: Defaults::AT_ONCE,
    build,
};

static SPEC: Spec = Spec {
    name: "heartbeat check",
    doc: "Expects a sign of life at least once per interval and grace; `interval` is the time between two signs.",
    fields: &[
        FieldSpec::optional(
            "ping_id",
            Ty::Text,
            "",
            "Name that the job uses, 16 characters or more: whoever knows it can give signs. Left out, jobs use the id and a \
             token.",
        ),
        FieldSpec::optional("grace", Ty::Duration { min_ms: 0, max_ms: 31_536_000_000 }, "1m", "How late it may be."),
        FieldSpec::optional(
            "max_runtime",
            Ty::Duration { min_ms: 1_000, max_ms: 31_536_000_000 },
            "",
            "How long a run may take from its start to its end, where jobs say both.",
        ),
    ],
};

#[derive(Deserialize)]
struct Raw {
    ping_id: Option<String>,
    #[serde(default, deserialize_with = "model::config::de::duration_opt")]
    interval: Option<Duration>,
    #[serde(default, deserialize_with = "model::config::de::duration_opt")]
    grace: Option<Duration>,
    #[serde(default, deserialize_with = "model::config::de::duration_opt")]
    max_runtime: Option<Duration>,
}

struct Heartbeat {
    ping_id: Option<String>,
    interval: Duration,
    grace: Duration,
    max_runtime: Option<Duration>,
}

fn build(json: &Json) -> Result<Arc<dyn Probe>, Vec<Issue>> {
    let raw: Raw = config::read(json)?;
    let sound = |c: char| c.is_ascii_alphanumeric() || "._~-".contains(c);
    if raw.ping_id.as_ref().is_some_and(|id| id.is_empty() || id.len() > 128 || !id.chars().all(sound)) {
        return Err(vec![Issue::new("ping_id", "expected letters, digits, `.`, `_`, `~` and `-`, at most 128")]);
    }
    Ok(Arc::new(Heartbeat {
        ping_id: raw.ping_id,
        interval: raw.interval.unwrap_or(Duration::from_secs(60)),
        grace: raw.grace.unwrap_or(GRACE_DEFAULT),
        max_runtime: raw.max_runtime,
    }))
}

impl Probe for Heartbeat {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn cadence(&self) -> Option<Duration> {
        Some((self.interval / LOOKS_PER_INTERVAL).clamp(CADENCE_MIN, CADENCE_MAX))
    }

    fn heartbeat(&self) -> Option<&str> {
        Some(self.ping_id.as_deref().unwrap_or(""))
    }

    fn descriptors(&self) -> u64 {
        0
    }

    fn run<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Observation> {
        let name = self.ping_id.as_deref().unwrap_or(&ctx.id);
        let seen = match ctx.means.heartbeats.beats(name) {
            Some(beats) => self.judge(&beats, ctx),
            None => Observation::unknown(Fault::Internal, "not declared: signs of life are received by a server only"),
        };
        Box::pin(std::future::ready(seen))
    }
}

impl Heartbeat {
    fn judge(&self, beats: &Beats, ctx: &Ctx) -> Observation {
        let elapsed = |moment: Moment| moment.elapsed(ctx.clock());
        let age = beats.ended.map(elapsed);
        let (running, waited) = (beats.started.map(elapsed), elapsed(beats.declared));
        let allowed = self.interval + self.grace;
        let listened = elapsed(beats.heard_from);
        // What fell due before the start may have been said while nobody listened, unless it was down already then.
        let unheard = |elapsed: Duration, most: Duration| !beats.was_down && elapsed > most.saturating_add(listened);
        let patience = AFTER_START.max(self.grace).min(allowed);
        let late = |elapsed| elapsed > allowed && (listened > patience || !unheard(elapsed, allowed));
        let seen = match (age, running) {
            (_, Some(running)) if self.max_runtime.is_some_and(|most| running > most && !unheard(running, most)) => {
                Observation::down(format!("started {} ago and has not ended", span(running)))
            }
            (Some(_), _) if beats.exit != 0 => Observation::down(format!("reported failure, exit code {}", beats.exit)),
            (Some(age), _) if late(age) => {
                Observation::down(format!("no sign of life for {}, expected every {}", span(age), span(self.interval)))
            }
            // A restart is no sign of life.
            _ if beats.was_down => Observation::down("no sign of life since it was down before our restart"),
            (None, _) if late(waited) => Observation::down("no sign of life yet, and one is due"),
            // Nothing is due: that is as it should be, and no blindness of ours.
            _ => Observation::up(),
        };
        let mut seen = seen.fact("age", age.unwrap_or(waited));
        seen = seen.fact("runtime", beats.took).fact("exit_code", i64::from(beats.exit));
        seen.figures.extend(age.map(|age| ("age_seconds".to_owned(), age.as_secs_f64())));
        seen.figures.extend(beats.took.map(|took| ("runtime_seconds".to_owned(), took.as_secs_f64())));
        seen
    }
}

fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
