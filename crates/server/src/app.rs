//! What every handler shares: the seams, the tokens, the configuration in force, and how acts and reads are recorded.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use model::limits::{AUTH_CLIENTS_MAX, AUTH_FAILURES_PER_MINUTE_MAX, TOKEN_REQUESTS_PER_MINUTE_MAX, TOKENS_MAX};
use model::{Access, AdminAct, Admit, Clock, Level, Lose, Question, Rng, Signal, Tenant};

use crate::ask::{Events, Language};
use crate::config::Config;
use crate::guard::Caller;
use crate::history::History;
use crate::limiter::Limiter;
use crate::metrics::Metrics;
use crate::page::Cache;
use crate::problem::Problem;
use crate::routes::Route;
use crate::seam::{Checks, Heartbeats, Incidents, Ledgers, Notifications, Silences, Vitals};
use crate::tokens::Tokens;

/// Everything that the server is built from.
#[derive(Clone)]
pub struct Parts {
    /// Admits alerts, acts and accesses.
    pub admit: Arc<dyn Admit>,
    /// Takes note of what was lost.
    pub losses: Arc<dyn Lose>,
    /// Takes events.
    pub receiver: Arc<intake::Receiver>,
    /// Takes uploads of journals.
    pub journals: Arc<intake::journal::Journals>,
    /// Answers questions about events.
    pub events: Arc<dyn Events>,
    /// The checks.
    pub checks: Arc<dyn Checks>,
    /// The incidents.
    pub incidents: Arc<dyn Incidents>,
    /// The silences.
    pub silences: Arc<dyn Silences>,
    /// The history of notifications.
    pub notifications: Arc<dyn Notifications>,
    /// The heartbeats.
    pub heartbeats: Arc<dyn Heartbeats>,
    /// The logs.
    pub ledgers: Arc<dyn Ledgers>,
    /// How the program itself stands.
    pub vitals: Arc<dyn Vitals>,
    /// The tokens.
    pub tokens: Arc<Tokens>,
    /// What the status page remembers.
    pub history: Arc<History>,
    /// The figures.
    pub metrics: Arc<Metrics>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes request ids.
    pub rng: Arc<dyn Rng>,
}

/// What every handler shares.
pub(crate) struct App {
    pub(crate) parts: Parts,
    pub(crate) bound: SocketAddr,
    pub(crate) failures: Limiter<u64>,
    pub(crate) requests: Limiter<String>,
    pub(crate) pages: Cache,
    config: RwLock<Arc<Config>>,
    request_prefix: u64,
    request_seq: AtomicU64,
}

impl App {
    pub(crate) fn new(config: Config, bound: SocketAddr, parts: Parts) -> Arc<Self> {
        let mut prefix = [0_u8; 8];
        parts.rng.fill(&mut prefix);
        Arc::new(Self {
            parts,
            bound,
            failures: Limiter::new(AUTH_FAILURES_PER_MINUTE_MAX, AUTH_CLIENTS_MAX),
            requests: Limiter::new(TOKEN_REQUESTS_PER_MINUTE_MAX, TOKENS_MAX),
            pages: Cache::default(),
            config: RwLock::new(Arc::new(config)),
            request_prefix: u64::from_le_bytes(prefix),
            request_seq: AtomicU64::new(0),
        })
    }

    /// Returns the configuration in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a configuration in force for the requests that begin from now on.
    pub(crate) fn reload(&self, config: Config) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        self.pages.clear();
    }

    /// Returns the URL that people reach this server at.
    pub(crate) fn url(&self) -> String {
        self.config().url(self.bound)
    }

    /// Returns an id for a request: unguessable from the last, since it is shown to strangers.
    pub(crate) fn request_id(&self) -> String {
        // An odd multiplier permutes the sequence: ids are unique without a lock and do not count requests aloud.
        let seq = self.request_seq.fetch_add(1, Ordering::Relaxed);
        let mixed = self.request_prefix.wrapping_add(seq.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        format!("{mixed:016x}")
    }

    /// Makes an administrative act durable before it takes effect.
    pub(crate) async fn administer(
        &self,
        caller: &Caller,
        act: &str,
        target: &str,
        detail: String,
    ) -> Result<(), Problem> {
        self.administer_in(&caller.account.tenant, caller, act, target, detail).await
    }

    /// The same, in the log of a tenant that need not be the caller's.
    pub(crate) async fn administer_in(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        act: &str,
        target: &str,
        detail: String,
    ) -> Result<(), Problem> {
        let act = AdminAct {
            actor: caller.account.name.clone(),
            act: act.to_owned(),
            target: target.to_owned(),
            detail,
            at: self.parts.clock.now(),
        };
        self.parts.admit.admit(vec![Signal::ours(tenant.clone(), act)], Level::Durable).await?;
        Ok(())
    }

    /// Makes a read durable before its answer leaves; a read that cannot be recorded does not happen.
    pub(crate) async fn access(&self, caller: &Caller, route: &Route, rows: usize) -> Result<(), Problem> {
        self.read(caller, route, rows, None).await
    }

    /// The same, of a question about events: its shape is recorded too, and what was typed is sealed.
    ///
    /// # Errors
    /// When it could not be recorded: then it is not to be answered.
    pub(crate) async fn asked(
        &self,
        caller: &Caller,
        route: &Route,
        rows: usize,
        query: &str,
        language: Language,
    ) -> Result<(), Problem> {
        let recorded = self.parts.events.recorded(&caller.account.tenant, query, language);
        self.read(caller, route, rows, Some(recorded)).await
    }

    async fn read(
        &self,
        caller: &Caller,
        route: &Route,
        rows: usize,
        asked: Option<(String, Option<Question>)>,
    ) -> Result<(), Problem> {
        let (query, question) = asked.unzip();
        let access = Access {
            actor: caller.account.name.clone(),
            what: route.path.to_owned(),
            rows: u64::try_from(rows).unwrap_or(u64::MAX),
            at: self.parts.clock.now(),
            query,
            question: question.flatten().map(Box::new),
        };
        let signal = Signal::ours(caller.account.tenant.clone(), access);
        match self.parts.admit.admit(vec![signal], Level::Durable).await {
            Ok(_) => Ok(()),
            Err(refusal) => Err(Problem::unrecorded(&refusal)),
        }
    }
}
