//! What the server shows of checks and heartbeats, over the scheduler.

use std::sync::Arc;

use model::{BoxFuture, Clock, State, Tenant};
use probe::{Ping, Scheduler};
use server::Declined;
use server::seam::{Beat, Check, Checks, Heartbeats};

use super::beats::Beats;
use crate::config::CANARY;
use crate::pipeline::Pipeline;
use crate::results::{self, Sink};

/// The checks of all tenants.
pub(super) struct Board {
    pub(super) scheduler: Arc<Scheduler>,
    pub(super) sink: Arc<Sink>,
    /// Holds the privacy policy in force: what the scheduler knows is raw.
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) beats: Arc<Beats>,
}

impl Board {
    fn show(&self, check: &probe::Check) -> Check {
        let standing = self.scheduler.means().board.get(&check.id);
        let (mut result, flapping) = match standing {
            Some(standing) => (standing.result.clone(), standing.flapping),
            None => (self.unseen(check), false),
        };
        results::clear(&mut result, self.pipeline.clearer().redactor());
        Check { result, group: check.group.clone(), sector: check.sector, flapping, interval: check.interval }
    }

    /// A check that has not run yet.
    fn unseen(&self, check: &probe::Check) -> model::CheckResult {
        let now = self.clock.now();
        model::CheckResult {
            id: check.id.to_string(),
            name: check.name.clone(),
            kind: check.kind.name.to_owned(),
            state: State::Unknown,
            observed: State::Unknown,
            reason: "it has not run yet".to_owned(),
            since: now,
            checked_at: now,
            conditions: Vec::new(),
            timings_ms: model::Timings::default(),
            figures: std::collections::BTreeMap::new(),
            maintenance: false,
        }
    }

    /// A check without a `ping_id` is named by its id, which can be guessed: that takes a token of its tenant.
    fn may_ping(&self, id: &str, sender: Option<&Tenant>) -> bool {
        let config = self.scheduler.config();
        let mut named = config.checks.iter().filter(|check| *check.id == *id && check.heartbeat() == Some(id));
        named.all(|check| sender == Some(&check.tenant))
    }

    fn note(&self, name: &str, check: &str) {
        let config = self.scheduler.config();
        let declared = config.checks.iter().find(|declared| *declared.id == *check);
        if let (Some(declared), Some(kept)) = (declared, self.scheduler.means().heartbeats.kept_of(name)) {
            self.beats.note(&declared.tenant, check, kept);
        }
    }

    fn declared(&self, tenant: &Tenant, id: &str) -> Option<Arc<probe::Check>> {
        let config = self.scheduler.config();
        config.checks.iter().find(|check| *check.id == *id && check.tenant == *tenant && id != CANARY).cloned()
    }
}

impl Checks for Board {
    fn board(&self, tenant: &Tenant) -> Vec<Check> {
        let config = self.scheduler.config();
        let mine = config.checks.iter().filter(|check| check.tenant == *tenant && &*check.id != CANARY);
        mine.map(|check| self.show(check)).collect()
    }

    fn find(&self, tenant: &Tenant, id: &str) -> Option<Check> {
        self.declared(tenant, id).map(|check| self.show(&check))
    }

    fn run<'a>(&'a self, tenant: &'a Tenant, id: &'a str) -> BoxFuture<'a, Result<Check, Declined>> {
        Box::pin(async move {
            let check = self.declared(tenant, id).ok_or(Declined::Missing { what: "check" })?;
            self.scheduler.run_now(id).await.ok_or(Declined::Missing { what: "check" })?;
            Ok(self.show(&check))
        })
    }
}

impl Heartbeats for Board {
    fn beat<'a>(&'a self, id: &'a str, beat: Beat, sender: Option<&'a Tenant>) -> BoxFuture<'a, Result<(), Declined>> {
        Box::pin(async move {
            if !self.may_ping(id, sender) {
                return Err(Declined::Missing { what: "heartbeat" });
            }
            let ping = match beat {
                Beat::Success => Ping::Success,
                Beat::Start => Ping::Start,
                Beat::Fail => Ping::Fail,
                Beat::Exit(code) => Ping::Exit(code),
            };
            let missing = Declined::Missing { what: "heartbeat" };
            let check = self.scheduler.ping(id, ping).ok_or(missing.clone())?;
            self.note(id, &check);
            // The sign is in the result of the run that it causes; what was queued before is durable first.
            self.scheduler.run_now(&check).await.ok_or(missing)?;
            if self.sink.settle().await { Ok(()) } else { Err(Declined::broken("the ledger takes no records")) }
        })
    }
}
