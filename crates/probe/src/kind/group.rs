//! Kind `group`: enough of several checks are up.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::config::{FieldSpec, Spec, Ty};
use model::{BoxFuture, State};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::config::{self, Issue};
use crate::fact::{Shape, fact};
use crate::kind::{Ctx, Defaults, Kind, Observation, Probe};

/// The kind.
pub static KIND: Kind = Kind {
    name: "group",
    spec: &SPEC,
    facts: &[
        fact("up", "How many members are up or degraded.").is(Shape::Number),
        fact("degraded", "How many members are degraded.").is(Shape::Number),
        fact("down", "How many members are down.").is(Shape::Number),
        fact("unknown", "How many members are unknown.").is(Shape::Number),
        fact("members", "How many members there are.").is(Shape::Number),
    ],
    defaults: Defaults::AT_ONCE,
    build,
};

static SPEC: Spec = Spec {
    name: "group check",
    doc: "Is up while at least so many of its members are; degraded while not all are.",
    fields: &[
        FieldSpec::required("members", Ty::List(&Ty::Text), "Ids of the checks that it is made of; those that are disabled do not count."),
        FieldSpec::optional("at_least", Ty::Int { min: 1, max: 100_000 }, "", "How many must be up; all if left out."),
    ],
};

#[derive(Deserialize)]
struct Group {
    members: Vec<String>,
    at_least: Option<usize>,
}

fn build(json: &Json) -> Result<Arc<dyn Probe>, Vec<Issue>> {
    let group: Group = config::read(json)?;
    if group.members.is_empty() {
        return Err(vec![Issue::new("members", "expected at least one check")]);
    }
    if group.at_least.is_some_and(|least| least > group.members.len()) {
        return Err(vec![Issue::new("at_least", "more than there are members")]);
    }
    Ok(Arc::new(group))
}

impl Probe for Group {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn members(&self) -> &[String] {
        &self.members
    }

    fn descriptors(&self) -> u64 {
        0
    }

    fn run<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Observation> {
        Box::pin(std::future::ready(self.look(ctx)))
    }
}

impl Group {
    fn look(&self, ctx: &Ctx) -> Observation {
        let mut by_state: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for member in &self.members {
            by_state.entry(ctx.means.board.state(member).as_str()).or_default().push(member);
        }
        let of = |state: State| by_state.get(state.as_str()).map_or(&[][..], Vec::as_slice);
        let count = |state: State| of(state).len();
        let (all, least) = (self.members.len(), self.at_least.unwrap_or(self.members.len()));
        let alive = count(State::Up) + count(State::Degraded);
        let says = |what: &str, state: State| format!("{alive} of {all} are up, {what} {least}; {}", named(of(state)));
        let mut seen = if alive >= least {
            match all - count(State::Up) {
                0 => Observation::up(),
                _ => Observation::degraded(format!("{} of {all} are up", count(State::Up))),
            }
        } else if alive + count(State::Unknown) >= least {
            Observation { state: State::Unknown, ..Observation::degraded(says("it takes", State::Unknown)) }
        } else {
            Observation::down(says("it takes", State::Down))
        };
        // After a start members get their first results one by one. That is neither degradation nor blindness; and what
        // is down already stays so whatever the others say.
        let is_early = || self.members.iter().any(|member| ctx.means.board.is_early(member));
        seen.is_early = seen.state != State::Down && is_early();
        #[expect(clippy::cast_precision_loss, reason = "members fit a double by far")]
        let seen = seen.figure("members_up", alive as f64).figure("members", all as f64);
        seen.fact("up", alive)
            .fact("degraded", count(State::Degraded))
            .fact("down", count(State::Down))
            .fact("unknown", count(State::Unknown))
            .fact("members", all)
    }
}

fn named(members: &[&str]) -> String {
    let more = if members.len() > 5 { ", ..." } else { "" };
    format!("not: {}{more}", members.iter().take(5).copied().collect::<Vec<_>>().join(", "))
}
