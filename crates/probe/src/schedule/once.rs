//! Every check once, for `dihya check`: no thresholds, no state, no schedule.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::CheckResult;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::run::{judge, look, result};
use crate::board::Standing;
use crate::config::Check;
use crate::kind::Means;

/// Runs each of `checks` once, at most `concurrency` at a time, and returns the results in the order of the checks.
/// Checks that are made of others run after them; where those were not looked at, and what they are would matter, there
/// is no result.
///
/// # Panics
/// Never: a probe that panics yields an unknown result.
pub async fn run_once(checks: &[Arc<Check>], means: &Arc<Means>, concurrency: usize) -> Vec<CheckResult> {
    let mut results = BTreeMap::new();
    let permits = Arc::new(Semaphore::new(concurrency.max(1)));
    let mut waiting: Vec<usize> = (0..checks.len()).collect();
    // Each round runs what waits for nothing; a group of groups takes one more. Cycles were refused.
    while !waiting.is_empty() {
        let ids: Vec<&str> = waiting.iter().filter_map(|at| checks.get(*at)).map(|check| &*check.id).collect();
        let is_ready = |at: &usize| {
            let members = checks.get(*at).map_or(&[][..], |check| check.probe.members());
            !members.iter().any(|member| ids.contains(&member.as_str()))
        };
        let (mut ready, later): (Vec<_>, Vec<_>) = waiting.iter().copied().partition(is_ready);
        if ready.is_empty() {
            ready.clone_from(&later);
        }
        waiting.retain(|at| !ready.contains(at));
        let mut running = JoinSet::new();
        for at in ready {
            let Some(check) = checks.get(at).map(Arc::clone) else { continue };
            let (means, permits) = (Arc::clone(means), Arc::clone(&permits));
            running.spawn(async move {
                let _permit = permits.acquire_owned().await;
                (at, run(&check, &means).await)
            });
        }
        while let Some(done) = running.join_next().await {
            if let Ok((at, Some(result))) = done {
                results.insert(at, result);
            }
        }
    }
    results.into_values().collect()
}

async fn run(check: &Check, means: &Arc<Means>) -> Option<CheckResult> {
    let seen = look(check, means, Instant::now()).await;
    if seen.is_early {
        return None;
    }
    let judged = judge(check, &seen);
    let at = means.clock.now();
    let told = (judged.state, at);
    let result = result(check, judged, seen, told, at);
    means.board.set(Arc::new(Standing { result: result.clone(), flapping: false }));
    Some(result)
}
