//! The start, part by part, and the stop in the opposite order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::Duration;

use alert::state::State as _;
use alert::{Engine, SqliteState};
use anyhow::Context as _;
use disk::{Disk, OsClock, OsDisk, OsRng};
use export::Outputs;
use intake::files::Ailments;
use intake::journal::Journals;
use model::{
    AdminAct, Admit as _, Alert, Clock, ConfigLoad, Level, Private, RefusalKind, Rng, Signal, SteadyClock, Tenant,
};
use privacy::Keystores;
use privacy::keystore::{Means, Stats};
use probe::Scheduler;
use server::{History, Metrics, Server, Tokens};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::alerting;
use super::asked::Asked;
use super::beats::Beats;
use super::checks::Board;
use super::counted::Counter;
use super::files;
use super::journals;
use super::logs::{Logs, PROOFS_AT_ONCE_MAX, Pulse};
use super::opening::{self, Opening};
use super::outputs;
use super::people::Engines;
use super::reload::ConfigFile;
use super::unwell::Unwell;
use crate::config::Loaded;
use crate::keystores;
use crate::pipeline::Pipeline;
use crate::reach::Reach;
use crate::results::{self, Sink};
use crate::spool;
use crate::store::{self, STATE_FILE, open_ledger};

/// How long checks in flight may go on when the program stops.
const CHECKS_GRACE: Duration = Duration::from_secs(3);

/// The parts that a running program is made of.
pub(crate) struct Running {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) scheduler: Arc<Scheduler>,
    pub(super) sink: Arc<Sink>,
    pub(super) beats: Arc<Beats>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) logs: Arc<Logs>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) server: server::Handle,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) token_key: [u8; 32],
    /// The keys of the persons in events, by tenant.
    pub(super) keystores: Keystores,
    /// What they had done when they were last looked at.
    pub(super) keys_seen: BTreeMap<Tenant, Stats>,
    pub(super) file: ConfigFile,
    pub(super) url: String,
    pub(super) data_dir: PathBuf,
    pub(super) first_token: Option<Private<String>>,
    /// Ends with the name of the part that ended.
    pub(super) tasks: JoinSet<&'static str>,
    pub(super) engines: BTreeMap<Tenant, Arc<Engine>>,
    /// What the privacy engine had replaced when it was last looked at, by type.
    pub(super) redactions_seen: BTreeMap<&'static str, u64>,
    /// Alerts that the engines had dropped when they were last looked at.
    pub(super) dropped_seen: BTreeMap<Tenant, u64>,
    /// Syncs of the ledger when it was last looked at.
    pub(super) syncs_seen: u64,
    pub(super) alert_means: alerting::Means,
    pub(super) spool: spool::Watched,
    pub(super) history: Arc<History>,
    pub(super) lake: Arc<Opening>,
    pub(super) outputs: Arc<Outputs>,
    pub(super) unwell: Unwell,
    /// How local commands reach the server, as it was last written down.
    reach: Option<Reach>,
    state: Arc<SqliteState>,
    stop: watch::Sender<bool>,
    pool: SqlitePool,
}

/// What everything else is built on: time, chance, files, and the way into the ledger.
struct Base {
    /// For probes: they must see the clock jump.
    civil: Arc<dyn Clock>,
    /// For everything else.
    steady: Arc<SteadyClock>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
    metrics: Arc<Metrics>,
    pipeline: Arc<Pipeline>,
    token_key: [u8; 32],
    keystores: Keystores,
}

impl Base {
    async fn open(loaded: &Loaded, data_dir: &Path) -> anyhow::Result<Self> {
        let civil: Arc<dyn Clock> = Arc::new(OsClock::default());
        let steady = Arc::new(SteadyClock::new(Arc::clone(&civil)));
        let clock: Arc<dyn Clock> = Arc::clone(&steady) as _;
        let rng: Arc<dyn Rng> = Arc::new(OsRng);
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        disk.create_dir_all(data_dir).context("could not make the data directory")?;
        let data_dir = data_dir.canonicalize().context("could not find the data directory")?;
        let metrics = Arc::new(Metrics::new());
        let ledger = open_ledger(loaded, &data_dir, &disk, &clock, &rng).await?;
        opening::register(&ledger, loaded.tenants.keys().cloned())?;
        outputs::register(&ledger, &loaded.outputs, loaded.tenants.keys())?;
        let token_key = store::token_key(&*disk, &data_dir, &*rng)?;
        let means = Means { disk: Arc::clone(&disk), rng: Arc::clone(&rng), clock: Arc::clone(&clock) };
        let keystores = keystores::open(loaded, &data_dir, &means, &Keystores::default()).await?;
        keystores::set_lives(&keystores, loaded);
        let clearer = Arc::new(loaded.clearer(token_key, Arc::clone(&keystores))?);
        let pipeline = Arc::new(Pipeline::new(clearer, ledger, Arc::clone(&clock), Arc::clone(&metrics)));
        if let Err(error) = pipeline.exposures().load(&*disk, &data_dir) {
            // Counts must not keep alerts from being told.
            tracing::warn!(error = format!("{error:#}"), "could not take up the exposure ledger");
        }
        record_config(&pipeline, loaded, &*clock).await?;
        let config = &loaded.alerting.config;
        spool::Way { disk: &*disk, data_dir: &data_dir, pipeline: &pipeline, config, rng: &*rng }
            .admit(clock.now())
            .await?;
        Ok(Self { civil, steady, clock, rng, disk, data_dir, metrics, pipeline, token_key, keystores })
    }

    fn pulse(&self, lake: &Arc<Opening>, outputs: &Arc<Outputs>) -> Pulse {
        Pulse {
            lake: Arc::clone(lake),
            outputs: Arc::clone(outputs),
            ledger: self.pipeline.ledger().clone(),
            clock: Arc::clone(&self.clock),
            outboxes: RwLock::default(),
            behind: Mutex::default(),
            scheduler: OnceLock::new(),
            files: Arc::default(),
            journals: Arc::default(),
        }
    }

    /// Has the lake opened, fed and kept up, and returns before it is.
    fn lake(&self, opening: &Arc<Opening>, tenants: &[Tenant], tasks: &mut JoinSet<&'static str>) {
        let source = opening::Source {
            world: lake::World {
                disk: Arc::clone(&self.disk),
                clock: Arc::clone(&self.clock),
                rng: Arc::clone(&self.rng),
                fault: Arc::new(lake::fault::NoFault),
            },
            data_dir: self.data_dir.clone(),
            pipeline: Arc::clone(&self.pipeline),
            tenants: tenants.to_vec(),
        };
        let opening = Arc::clone(opening);
        tasks.spawn(async move { opening.run(source).await });
    }

    /// Follows what the configuration names.
    fn follow(
        &self,
        sources: intake::sources::Config,
        (receiver, journals): (Arc<intake::Receiver>, &Arc<Journals>),
        pulse: &Pulse,
        halted: watch::Receiver<bool>,
        tasks: &mut JoinSet<&'static str>,
    ) {
        journals::start(sources.journal, journals, &halted, tasks);
        files::start(sources.files, receiver, self.world(&pulse.files), halted, tasks);
    }

    fn world(&self, ailments: &Arc<Ailments>) -> files::World<'_> {
        files::World {
            pipeline: &self.pipeline,
            clock: &self.clock,
            rng: &self.rng,
            disk: &self.disk,
            data_dir: &self.data_dir,
            key: self.token_key,
            ailments: Arc::clone(ailments),
        }
    }

    /// Returns what the routes of the ledger's logs read.
    fn logs(&self, loaded: &Loaded) -> Logs {
        Logs {
            disk: Arc::clone(&self.disk),
            data_dir: self.data_dir.clone(),
            ledger: self.pipeline.ledger().clone(),
            instance: loaded.ledger.instance.clone(),
            tenants: RwLock::new(loaded.tenants.iter().map(|(tenant, of)| (tenant.clone(), of.public)).collect()),
            proofs: Arc::new(Semaphore::new(PROOFS_AT_ONCE_MAX)),
        }
    }

    fn alert_means(&self) -> alerting::Means {
        alerting::Means { disk: Arc::clone(&self.disk), clock: Arc::clone(&self.steady), rng: Arc::clone(&self.rng) }
    }
}

/// The control state and what is kept in it.
struct Control {
    pool: SqlitePool,
    tokens: Arc<Tokens>,
    first_token: Option<Private<String>>,
    history: Arc<History>,
    state: Arc<SqliteState>,
}

impl Control {
    async fn open(base: &Base) -> anyhow::Result<Self> {
        let pool = open_state(&base.data_dir).await?;
        let tokens = Arc::new(Tokens::open(pool.clone(), Arc::clone(&base.clock), Arc::clone(&base.rng)).await?);
        let first_token = first_token(&tokens, base).await?;
        let history = Arc::new(History::open(pool.clone(), Arc::clone(&base.clock)).await?);
        let state = SqliteState::open(&base.data_dir.join(STATE_FILE)).await;
        let state = Arc::new(state.context("could not open the control state")?);
        Ok(Self { pool, tokens, first_token, history, state })
    }
}

/// The checks and what takes their results.
struct Watching {
    scheduler: Arc<Scheduler>,
    sink: Arc<Sink>,
    beats: Arc<Beats>,
}

impl Watching {
    async fn start(
        checks: probe::Config,
        tenants: &[Tenant],
        base: &Base,
        state: &Arc<SqliteState>,
        firing: Vec<(Tenant, Alert)>,
        events: Counter,
        tasks: &mut JoinSet<&'static str>,
    ) -> Self {
        let limits = probe::schedule::raise_descriptors(probe::schedule::descriptors_needed(&checks.checks));
        if !limits.suffice() {
            let (needed, allowed) = (limits.needed, limits.allowed);
            tracing::warn!(needed, allowed, "too few file descriptors for all checks at once");
        }
        let standing = alerting::standing(&firing);
        let (sink, drain) = results::channel(Arc::clone(&base.metrics), firing);
        let sink = Arc::new(sink);
        let draining = drain.run(Arc::clone(&base.pipeline));
        tasks.spawn(async move {
            draining.await;
            "results"
        });
        let means = probe::Means::new(Arc::clone(&base.civil), Arc::clone(&base.rng), Arc::clone(&base.disk));
        let _ = means.follow.set(Arc::new(ledger::Follow)); // just made: nobody set it before
        let _ = means.events.set(Arc::new(events));
        let beats = Arc::new(Beats::new(Arc::clone(state) as _));
        for tenant in tenants {
            beats.restore(tenant, &means.heartbeats).await;
        }
        let scheduler = Scheduler::start(checks, means, Arc::clone(&sink) as Arc<dyn probe::Results>, &standing);
        beats.keep_all(&scheduler, tenants.iter()).await;
        let keeping = Arc::clone(&beats);
        tasks.spawn(async move {
            keeping.run().await;
            "heartbeats"
        });
        Self { scheduler: Arc::new(scheduler), sink, beats }
    }
}

/// How long to wait before the history is tried again.
const HISTORY_AGAIN: Duration = Duration::from_secs(5);
/// The name of the history among the ledger's views.
pub(super) const HISTORY: &str = "history";

impl Running {
    /// Starts everything. Whatever fails is an error, and nothing is left running.
    pub(super) async fn start(loaded: Loaded, data_dir: PathBuf, listen: Option<String>) -> anyhow::Result<Self> {
        let base = Base::open(&loaded, &data_dir).await?;
        let control = Control::open(&base).await?;
        let (alert_means, mut tasks) = (base.alert_means(), JoinSet::new());

        let redactor = Arc::clone(base.pipeline.clearer().redactor());
        let setups = alerting::setups(&loaded, &external_url(&loaded.server), &redactor, &alert_means, &base.data_dir)?;
        let started = alerting::start(setups, &control.state, &base.pipeline, &alert_means).await?;
        let engines = started.engines;
        watch_engines(&mut tasks, &engines, &base.pipeline);

        let file = ConfigFile::new(&loaded, listen);
        let logs = Arc::new(base.logs(&loaded));
        let outputs = outputs::open(&loaded, &base.pipeline, &control.pool, &base.clock, &base.disk).await?;
        let opening = Arc::new(Opening::new(loaded.lake));
        let pulse = Arc::new(base.pulse(&opening, &outputs));
        let tenants: Vec<Tenant> = loaded.tenants.keys().cloned().collect();
        follow_histories(&mut tasks, &control.history, &base.pipeline, &tenants).await?;
        let events = Counter::new(Arc::clone(&opening), base.pipeline.ledger().clone(), Arc::clone(&base.clock));
        let watching =
            Watching::start(loaded.checks, &tenants, &base, &control.state, started.firing, events, &mut tasks).await;
        let _ = pulse.scheduler.set(Arc::clone(&watching.scheduler)); // just made: nobody set it before
        let parts = server_parts(&base, &control, &watching, &engines, &logs, &pulse, &opening);
        let fetched = (Arc::clone(&parts.receiver), &Arc::clone(&parts.journals));
        let server = Server::bind(loaded.server, parts).await?;
        let (url, handle) = (server.url(), server.handle());
        // Before the first answer: a command that is started by it must find the way.
        let reach = write_reach(&handle, &*base.disk, &base.data_dir);
        let stop = serve_http(server, &mut tasks);
        base.follow(loaded.sources, fetched, &pulse, stop.subscribe(), &mut tasks);
        base.lake(&opening, &tenants, &mut tasks);
        outputs.reload(&loaded.outputs, &tenants).await;
        base.metrics.config_loaded(true, base.clock.now());
        Ok(Self {
            pipeline: base.pipeline,
            scheduler: watching.scheduler,
            sink: watching.sink,
            beats: watching.beats,
            metrics: base.metrics,
            logs,
            pulse,
            server: handle,
            clock: base.clock,
            token_key: base.token_key,
            keystores: base.keystores,
            keys_seen: BTreeMap::new(),
            file,
            url,
            data_dir: base.data_dir,
            first_token: control.first_token,
            tasks,
            engines,
            redactions_seen: BTreeMap::new(),
            dropped_seen: BTreeMap::new(),
            syncs_seen: 0,
            alert_means,
            spool: spool::Watched::new(loaded.alerting.config),
            history: control.history,
            lake: opening,
            outputs,
            unwell: Unwell::default(),
            reach,
            state: control.state,
            stop,
            pool: control.pool,
        })
    }

    /// Writes down how the commands of this machine reach the server, where the certificate is another one than before.
    pub(super) fn note_reach(&mut self) {
        let reach = Reach::new(self.server.address(), self.server.certificate().as_deref());
        if self.reach.as_ref() != Some(&reach) {
            self.reach = write_reach(&self.server, &*self.alert_means.disk, &self.data_dir);
        }
    }

    /// Tells each channel once that this is the end: nothing of it is recorded, because nothing can be.
    pub(super) async fn last_notice(&self, reason: &str) {
        let text = format!("Dihya stops: {reason}. It watches nothing until it is started again.");
        // All tenants share their channels, so one engine tells everybody once.
        if let Some(engine) = self.engines.values().next() {
            let told = engine.last_notice(&text).await;
            tracing::warn!(channels = told.len(), "gave the last notice");
        }
    }

    /// Keeps what personal data passed, for the next start and for people who ask.
    pub(super) fn keep_exposures(&self, last: bool) {
        let (disk, now) = (&*self.alert_means.disk, self.clock.monotonic());
        if let Err(error) = self.pipeline.exposures().keep(disk, &self.data_dir, now, last) {
            tracing::warn!(error = format!("{error:#}"), "could not keep the exposure ledger");
        }
    }

    /// Stops everything in order. Bounded by the caller.
    pub(super) async fn stop(&mut self) {
        self.stop.send_replace(true);
        Reach::remove(&*self.alert_means.disk, &self.data_dir);
        self.scheduler.stop(CHECKS_GRACE).await;
        self.sink.settle().await;
        for engine in self.engines.values() {
            engine.stop().await;
        }
        self.outputs.stop().await;
        self.pipeline.record_losses().await;
        for (tenant, lake) in self.engines.keys().filter_map(|tenant| Some((tenant, self.lake.lake()?))) {
            if let Err(error) = lake.flush(tenant).await {
                tracing::warn!(%tenant, error = %error, "could not write to the lake; the next start does");
            }
        }
        if let Err(error) = self.pipeline.ledger().close().await {
            tracing::warn!(error = %error, "could not close the ledger in order");
        }
        self.keep_exposures(true);
        self.keystores.values().for_each(|keystore| keystore.close());
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        self.beats.write().await;
        self.state.close().await;
        self.pool.close().await;
    }
}

fn server_parts(
    base: &Base,
    control: &Control,
    watching: &Watching,
    engines: &BTreeMap<Tenant, Arc<Engine>>,
    logs: &Arc<Logs>,
    pulse: &Arc<Pulse>,
    opening: &Arc<Opening>,
) -> server::Parts {
    let board = Arc::new(Board {
        scheduler: Arc::clone(&watching.scheduler),
        sink: Arc::clone(&watching.sink),
        pipeline: Arc::clone(&base.pipeline),
        clock: Arc::clone(&base.clock),
        beats: Arc::clone(&watching.beats),
    });
    let people = Arc::new(Engines { by_tenant: engines.clone(), clock: Arc::clone(&base.clock) });
    let receiver = Arc::new(intake::Receiver::new(Arc::clone(&base.pipeline) as _, Arc::clone(&base.clock)));
    server::Parts {
        admit: Arc::clone(&base.pipeline) as _,
        losses: Arc::clone(&base.pipeline) as _,
        journals: journals::open(Arc::clone(&receiver), base.world(&pulse.journals)),
        receiver,
        events: Arc::new(Asked::new(Arc::clone(opening), Arc::clone(&base.pipeline))),
        checks: Arc::clone(&board) as _,
        incidents: Arc::clone(&people) as _,
        silences: Arc::clone(&people) as _,
        notifications: people,
        heartbeats: board,
        ledgers: Arc::clone(logs) as _,
        vitals: Arc::clone(pulse) as _,
        tokens: Arc::clone(&control.tokens),
        history: Arc::clone(&control.history),
        metrics: Arc::clone(&base.metrics),
        clock: Arc::clone(&base.clock),
        rng: Arc::clone(&base.rng),
    }
}

/// Writes down how the commands of this machine reach the server; `None` where that failed.
fn write_reach(server: &server::Handle, disk: &dyn Disk, data_dir: &Path) -> Option<Reach> {
    let reach = Reach::new(server.address(), server.certificate().as_deref());
    match reach.write(disk, data_dir) {
        Ok(()) => Some(reach),
        // Commands still look where the configuration says, and the disk's trouble is told elsewhere.
        Err(error) => {
            tracing::warn!(error = format!("{error:#}"), "could not write how local commands reach the server");
            None
        }
    }
}

/// Answers from now on; the returned end stops it.
fn serve_http(server: Server, tasks: &mut JoinSet<&'static str>) -> watch::Sender<bool> {
    let (stop, mut stopping) = watch::channel(false);
    tasks.spawn(async move {
        let stopped = async move {
            let _ = stopping.wait_for(|stop| *stop).await;
        };
        server.serve(stopped).await;
        "server"
    });
    stop
}

async fn record_config(pipeline: &Pipeline, loaded: &Loaded, clock: &dyn Clock) -> anyhow::Result<()> {
    let load = ConfigLoad {
        accepted: true,
        sha256: loaded.sha256.clone(),
        checks: loaded.checks.checks.len() as u64,
        problems: 0,
        at: clock.now(),
    };
    // A full disk refuses this record, and must not keep alerts from being told.
    match pipeline.admit(vec![Signal::ours(Tenant::default(), load)], Level::Durable).await {
        Err(refusal) if refusal.kind != RefusalKind::Retry => Err(refusal).context("could not record the start"),
        _ => Ok(()),
    }
}

/// Opens the server's part of the control state.
async fn open_state(data_dir: &Path) -> anyhow::Result<SqlitePool> {
    let options = SqliteConnectOptions::new()
        .filename(data_dir.join(STATE_FILE))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    SqlitePoolOptions::new().max_connections(2).connect_with(options).await.context("could not open the control state")
}

/// Makes the administrator's token on the first start.
async fn first_token(tokens: &Tokens, base: &Base) -> anyhow::Result<Option<Private<String>>> {
    if !tokens.is_empty() {
        return Ok(None);
    }
    let act = AdminAct {
        actor: "local".to_owned(),
        act: "token.add".to_owned(),
        target: "admin".to_owned(),
        detail: "first start".to_owned(),
        at: base.clock.now(),
    };
    base.pipeline.admit(vec![Signal::ours(Tenant::default(), act)], Level::Durable).await?;
    let (token, path) = tokens.first_start(&*base.disk, &base.data_dir).await?;
    tracing::info!(path = %path.display(), "made the administrator's token");
    Ok(Some(token))
}

async fn follow_histories(
    tasks: &mut JoinSet<&'static str>,
    history: &Arc<History>,
    pipeline: &Arc<Pipeline>,
    tenants: &[Tenant],
) -> anyhow::Result<()> {
    for tenant in tenants {
        follow_history(tasks, history, pipeline, tenant).await?;
    }
    Ok(())
}

/// Keeps the status page's history of a tenant. What keeps it from being written, such as a full disk, must not end the
/// program that still pages: it is said, and tried again from where the history is.
async fn follow_history(
    tasks: &mut JoinSet<&'static str>,
    history: &Arc<History>,
    pipeline: &Arc<Pipeline>,
    tenant: &Tenant,
) -> anyhow::Result<()> {
    let from = history.position(tenant).await?;
    // It writes some time after it reads: how far it is, it is asked (`refresh_gauges`).
    pipeline.ledger().consumed(HISTORY, tenant, from)?;
    let (history, pipeline, tenant) = (Arc::clone(history), Arc::clone(pipeline), tenant.clone());
    tasks.spawn(async move {
        loop {
            let position = history.position(&tenant).await.map_err(anyhow::Error::new);
            let feed = position.and_then(|from| Ok(pipeline.feed(&tenant, from, None)?));
            let error = match feed {
                Ok(feed) => {
                    let Err(error) = history.follow(Box::new(feed)).await;
                    anyhow::Error::new(error)
                }
                Err(error) => error,
            };
            if pipeline.ledger().status().is_ok_and(|status| status.stopped.is_some()) {
                return "history";
            }
            tracing::warn!(%tenant, error = format!("{error:#}"), "could not keep the status page's history");
            tokio::time::sleep(HISTORY_AGAIN).await;
        }
    });
    Ok(())
}

fn watch_engines(tasks: &mut JoinSet<&'static str>, engines: &BTreeMap<Tenant, Arc<Engine>>, pipeline: &Arc<Pipeline>) {
    for engine in engines.values().map(Arc::clone) {
        let (full, pipeline) = (Arc::clone(&engine), Arc::clone(pipeline));
        tasks.spawn(async move {
            loop {
                full.disk_full().await;
                if pipeline.ledger().release_reserve("the control state cannot be written").is_err() {
                    return "reserve";
                }
            }
        });
        tasks.spawn(async move {
            let error = engine.failed().await;
            tracing::error!(error = %error, "alerting has stopped");
            "alerting"
        });
    }
}

/// Where people reach the server as far as the configuration says; the port that the system chooses is not known yet.
fn external_url(config: &server::Config) -> String {
    match (&config.external_url, config.listen.parse()) {
        (None, Ok(address)) => config.url(address),
        (Some(url), _) => url.trim_end_matches('/').to_owned(),
        (None, Err(_)) => String::new(),
    }
}
