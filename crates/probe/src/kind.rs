//! What a kind of probe is, and the list of all kinds.
//!
//! A kind is one file: a type that implements [`Probe`], its [`Spec`] table, the facts that conditions may read, and
//! a `KIND` that joins them; and one line in the list below.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use disk::Disk;
use model::config::Spec;
use model::{BoxFuture, Clock, CountEvents, FollowLog, Rng, State, Tenant, Timings};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::blocking::Threads;
use crate::board::Board;
use crate::config::Issue;
use crate::connect::{self, Connector, Target, TlsSeen};
use crate::fact::{Fact, FactSpec, Facts};
use crate::heartbeat::Heartbeats;

mod exchange;
#[cfg(test)]
pub(crate) mod scripted;
mod service;

/// Declares the kinds, in the order in which the reference lists them: one line each.
macro_rules! kinds {
    ($($module:ident),* $(,)?) => {
        $(pub mod $module;)*

        /// All kinds.
        pub static KINDS: &[&Kind] = &[$(&$module::KIND),*];

        /// The keys of each kind, by its name.
        pub(crate) static VARIANTS: &[(&str, &Spec)] = &[$(($module::KIND.name, $module::KIND.spec)),*];
    };
}

kinds![
    http, tcp, tls, dns, heartbeat, exec, host, disk_space, file, icmp, ssh, smtp, imap, postgres, mysql, redis, s3,
    grpc, ledger, search, group, canary,
];

/// Returns the kind called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|kind| kind.name == name)
}

/// Reads `host:port`, for serde's `deserialize_with`.
pub(crate) fn read_target<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Target, D::Error> {
    use serde::Deserialize as _;
    let text = String::deserialize(deserializer)?;
    Target::parse(&text, None).map_err(serde::de::Error::custom)
}

/// Looks once at one watched thing.
pub trait Probe: Send + Sync {
    /// Returns the name under which the kind is configured.
    fn kind(&self) -> &'static str;

    /// Waits until it may begin, for kinds of which only so many run at once: the time-out counts from then, because
    /// waiting for others is no fault of the watched thing. What is returned is kept until the run ends.
    fn begin<'a>(&'a self, _: &'a Means) -> Option<BoxFuture<'a, Vec<OwnedSemaphorePermit>>> {
        None
    }

    /// Looks, and says what was seen before `ctx.deadline`. Dropping the future cancels the probe.
    fn run<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Observation>;

    /// Returns how often the scheduler looks, for kinds whose configured interval means something else.
    fn cadence(&self) -> Option<Duration> {
        None
    }

    /// Returns the checks whose state this one is made of: it runs after them.
    fn members(&self) -> &[String] {
        &[]
    }

    /// Returns the name that jobs use to give signs of life, for the kind that waits for them; empty for the check's id.
    fn heartbeat(&self) -> Option<&str> {
        None
    }

    /// Returns how many file descriptors one run may hold at once.
    fn descriptors(&self) -> u64 {
        2
    }
}

/// Joins what there is to know about a kind of probe.
#[derive(Debug)]
pub struct Kind {
    /// The word under `kind:`.
    pub name: &'static str,
    /// The keys it has beside those that all checks have.
    pub spec: &'static Spec,
    /// The facts that conditions may read, `timing` aside, which all kinds have.
    pub facts: &'static [FactSpec],
    /// What holds where the check does not say.
    pub defaults: Defaults,
    /// Reads the check's object. Pure: opens nothing.
    pub build: Build,
}

/// Reads a check's object into its probe.
pub type Build = fn(&serde_json::Value) -> Result<Arc<dyn Probe>, Vec<Issue>>;

/// What holds for a kind where a check does not say.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// Conditions that must hold for `up`.
    pub conditions: &'static [&'static str],
    /// Conditions of which any gives `degraded`.
    pub degraded_if: &'static [&'static str],
    /// Consecutive results that make a check leave a better state.
    pub failure_threshold: u32,
}

impl Defaults {
    /// No conditions, two failures in a row.
    pub const PLAIN: Self = Self { conditions: &[], degraded_if: &[], failure_threshold: 2 };
    /// No conditions, one failure is enough: for kinds that measure something that does not come and go.
    pub const AT_ONCE: Self = Self { conditions: &[], degraded_if: &[], failure_threshold: 1 };
    /// A certificate that has less than 14 days left is worth saying, two failures in a row.
    pub const TLS: Self =
        Self { conditions: &[], degraded_if: &["has(tls.days_left) && tls.days_left < 14"], failure_threshold: 2 };
}

/// What all probes work with.
pub struct Means {
    /// The one way to a TCP-based service.
    pub connector: Arc<Connector>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// The last sign of life of each heartbeat.
    pub heartbeats: Arc<Heartbeats>,
    /// The latest result of each check.
    pub board: Arc<Board>,
    /// Threads for looks that block.
    pub threads: Threads,
    /// Permits for plugin processes.
    pub plugins: Arc<Semaphore>,
    /// Permits that plugins need besides when they did not end in time before: they leave most to those that do.
    pub plugins_slow: Arc<Semaphore>,
    /// The verifier of ledgers: set by who may depend on it, else the kind `ledger` cannot tell.
    pub follow: OnceLock<Arc<dyn FollowLog>>,
    /// Who counts events: set by who has them, else the kind `search` cannot tell.
    pub events: OnceLock<Arc<dyn CountEvents>>,
}

impl Means {
    /// Puts together what probes work with.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, rng: Arc<dyn Rng>, disk: Arc<dyn Disk>) -> Arc<Self> {
        Arc::new(Self {
            connector: Arc::new(Connector::new(Arc::clone(&clock), Arc::clone(&disk))),
            clock,
            rng,
            disk,
            heartbeats: Arc::new(Heartbeats::default()),
            board: Arc::new(Board::default()),
            threads: Threads::default(),
            plugins: Arc::new(Semaphore::new(model::limits::PLUGINS_RUNNING_MAX)),
            plugins_slow: Arc::new(Semaphore::new(model::limits::PLUGINS_SLOW_MAX)),
            follow: OnceLock::new(),
            events: OnceLock::new(),
        })
    }
}

/// What one run works with.
#[derive(Clone)]
pub struct Ctx {
    /// What all probes work with.
    pub means: Arc<Means>,
    /// The check's id.
    pub id: Arc<str>,
    /// Whose the check is.
    pub tenant: Tenant,
    /// When the run must have ended.
    pub deadline: Instant,
    /// Names of the facts that the check's conditions read: what costs much and nobody reads need not be computed.
    pub reads: Arc<BTreeSet<String>>,
}

impl Ctx {
    /// Returns the connector.
    #[must_use]
    pub fn connector(&self) -> &Connector {
        &self.means.connector
    }

    /// Returns the clock.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.means.clock
    }

    /// Tells whether the check's conditions read the fact called `name`.
    #[must_use]
    pub fn reads(&self, name: &str) -> bool {
        self.reads.contains(name)
    }
}

/// Which of our own faults kept a probe from telling. Each makes the result `unknown`: never `down`, never `up`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// File descriptors, memory, ports or processes ran out.
    Resources,
    /// No resolver answers us.
    Resolver,
    /// We have no network, or no route.
    Network,
    /// A file that the check names (CA, key) cannot be read or used.
    Setup,
    /// The clock jumped.
    Clock,
    /// Something in us is broken.
    Internal,
}

/// What one run of a probe saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// What the probe itself makes of it; conditions can only make it worse.
    pub state: State,
    /// Why, in one sentence without payload; empty when up.
    pub reason: String,
    /// What conditions may read.
    pub facts: Facts,
    /// How long each phase took. `total` is filled in by the caller.
    pub timings: Box<Timings>,
    /// Figures to record, by name with the unit last.
    pub figures: BTreeMap<String, f64>,
    /// Our own fault, if that is why `state` is unknown.
    pub fault: Option<Fault>,
    /// Whether it is too early to tell, because what the check is made of was not looked at yet: the scheduler then
    /// takes this for no result.
    pub is_early: bool,
}

impl Observation {
    fn new(state: State, reason: impl Into<String>) -> Self {
        Self {
            state,
            reason: reason.into(),
            facts: Facts::default(),
            timings: Box::default(),
            figures: BTreeMap::new(),
            fault: None,
            is_early: false,
        }
    }

    /// It answered: conditions decide.
    #[must_use]
    pub fn up() -> Self {
        Self::new(State::Up, "")
    }

    /// It works, and something needs attention.
    #[must_use]
    pub fn degraded(reason: impl Into<String>) -> Self {
        Self::new(State::Degraded, reason)
    }

    /// It does not do what it is for.
    #[must_use]
    pub fn down(reason: impl Into<String>) -> Self {
        Self::new(State::Down, reason)
    }

    /// We cannot tell, by our own fault.
    #[must_use]
    pub fn unknown(fault: Fault, reason: impl Into<String>) -> Self {
        Self { fault: Some(fault), ..Self::new(State::Unknown, reason) }
    }

    /// Adds a fact.
    #[must_use]
    pub fn fact(mut self, name: &'static str, fact: impl Into<Fact>) -> Self {
        self.facts.set(name, fact);
        self
    }

    /// Adds a figure.
    #[must_use]
    pub fn figure(mut self, name: impl Into<String>, value: f64) -> Self {
        self.figures.insert(name.into(), value);
        self
    }

    /// Adds what a TLS handshake showed: the fact `tls` where conditions read it, and the days left as a figure.
    #[must_use]
    pub fn tls(mut self, ctx: &Ctx, seen: &TlsSeen) -> Self {
        let now = ctx.clock().now();
        if ctx.reads("tls") {
            self.facts.set("tls", seen.fact(now));
        }
        if let Some(days) = seen.chain.days_left(now) {
            #[expect(clippy::cast_precision_loss, reason = "days fit a double by far")]
            self.figures.insert("certificate_days_left".to_owned(), days as f64);
        }
        self
    }

    /// Says why there is no answer, with the phases completed and the certificate seen before.
    #[must_use]
    pub fn failed(ctx: &Ctx, error: connect::Error) -> Self {
        match error.tls.clone() {
            Some(seen) => Self::from(error).tls(ctx, &seen),
            None => error.into(),
        }
    }

    /// Sets the timings.
    #[must_use]
    pub fn timed(mut self, timings: Timings) -> Self {
        *self.timings = timings;
        self
    }
}

#[cfg(test)]
mod tests;
