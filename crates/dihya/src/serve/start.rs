//! The start, part by part, and the stop in the opposite order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use alert::state::State as _;
use alert::{Engine, SqliteState};
use anyhow::Context as _;
use disk::{Disk, OsClock, OsDisk, OsRng};
use model::{AdminAct, Admit as _, Clock, ConfigLoad, Level, Private, RefusalKind, Rng, Signal, Tenant};
use privacy::Clearer;
use probe::Scheduler;
use server::{History, Metrics, Server, Tokens};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::alerting;
use super::checks::Board;
use super::logs::{Logs, Pulse};
use super::people::Engines;
use super::reload::ConfigFile;
use crate::config::Loaded;
use crate::pipeline::Pipeline;
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
    pub(super) metrics: Arc<Metrics>,
    pub(super) logs: Arc<Logs>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) server: server::Handle,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) token_key: [u8; 32],
    pub(super) file: ConfigFile,
    pub(super) url: String,
    pub(super) data_dir: PathBuf,
    pub(super) first_token: Option<Private<String>>,
    /// Ends with the name of the part that ended.
    pub(super) tasks: JoinSet<&'static str>,
    pub(super) engines: BTreeMap<Tenant, Arc<Engine>>,
    /// What the privacy engine had replaced when it was last looked at, by type.
    pub(super) redactions_seen: BTreeMap<&'static str, u64>,
    /// Syncs of the ledger when it was last looked at.
    pub(super) syncs_seen: u64,
    pub(super) alert_means: alerting::Means,
    state: Arc<SqliteState>,
    stop: watch::Sender<bool>,
    pool: SqlitePool,
}

impl Running {
    /// Starts everything. Whatever fails is an error, and nothing is left running.
    pub(super) async fn start(loaded: Loaded, data_dir: PathBuf, listen: Option<String>) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(OsClock::default());
        let rng: Arc<dyn Rng> = Arc::new(OsRng);
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        disk.create_dir_all(&data_dir).context("could not make the data directory")?;
        let data_dir = data_dir.canonicalize().context("could not find the data directory")?;
        let limits = probe::schedule::raise_descriptors(probe::schedule::descriptors_needed(&loaded.checks.checks));
        if !limits.suffice() {
            tracing::warn!(
                needed = limits.needed,
                allowed = limits.allowed,
                "too few file descriptors for all checks at once"
            );
        }

        let metrics = Arc::new(Metrics::new());
        let ledger = open_ledger(&loaded, &data_dir, &disk, &clock, &rng).await?;
        let token_key = store::token_key(&*disk, &data_dir, &*rng)?;
        let clearer = Arc::new(Clearer::new(Arc::new(loaded.redactor()?), token_key));
        let pipeline = Arc::new(Pipeline::new(clearer, ledger.clone(), Arc::clone(&clock), Arc::clone(&metrics)));
        record_config(&pipeline, &loaded, &*clock).await?;
        spool::admit(&*disk, &data_dir, &pipeline, clock.now()).await?;

        let pool = open_state(&data_dir).await?;
        let tokens = Arc::new(Tokens::open(pool.clone(), Arc::clone(&clock), Arc::clone(&rng)).await?);
        let first_token = first_token(&tokens, &pipeline, &*disk, &data_dir, &*clock).await?;
        let history = Arc::new(History::open(pool.clone(), Arc::clone(&clock)).await?);

        let state =
            Arc::new(SqliteState::open(&data_dir.join(STATE_FILE)).await.context("could not open the control state")?);
        let alert_means = alerting::Means { disk: Arc::clone(&disk), clock: Arc::clone(&clock), rng: Arc::clone(&rng) };
        let guessed_url = external_url(&loaded.server);
        let setups = alerting::setups(&loaded, &guessed_url, pipeline.clearer().redactor(), &alert_means, &data_dir)?;
        let alerting::Started { engines, firing } = alerting::start(setups, &state, &pipeline, &alert_means).await?;
        let standing = alerting::standing(&firing);

        let mut tasks = JoinSet::new();
        watch_engines(&mut tasks, &engines);
        let (sink, drain) = results::channel(Arc::clone(&metrics), firing);
        let sink = Arc::new(sink);
        let draining = drain.run(Arc::clone(&pipeline));
        tasks.spawn(async move {
            draining.await;
            "results"
        });
        let means = probe::Means::new(Arc::clone(&clock), Arc::clone(&rng), Arc::clone(&disk));
        let (server_config, tenants) = (loaded.server.clone(), loaded.tenants.clone());
        let instance = loaded.ledger.instance.clone();
        let file = ConfigFile::new(&loaded, listen);
        let scheduler =
            Arc::new(Scheduler::start(loaded.checks, means, Arc::clone(&sink) as Arc<dyn probe::Results>, &standing));

        let public = tenants.iter().map(|(tenant, config)| (tenant.clone(), config.public)).collect();
        let logs = Arc::new(Logs {
            disk: Arc::clone(&disk),
            data_dir: data_dir.clone(),
            ledger: ledger.clone(),
            instance,
            tenants: RwLock::new(public),
        });
        let pulse = Arc::new(Pulse {
            ledger: ledger.clone(),
            clock: Arc::clone(&clock),
            outboxes: RwLock::default(),
            ailments: RwLock::default(),
            behind: Mutex::default(),
        });
        for tenant in tenants.keys() {
            follow_history(&mut tasks, &history, &pipeline, tenant).await?;
        }
        let board =
            Arc::new(Board { scheduler: Arc::clone(&scheduler), sink: Arc::clone(&sink), clock: Arc::clone(&clock) });
        let people = Arc::new(Engines { by_tenant: engines.clone(), clock: Arc::clone(&clock) });
        let parts = server::Parts {
            admit: Arc::clone(&pipeline) as _,
            checks: Arc::clone(&board) as _,
            incidents: Arc::clone(&people) as _,
            silences: Arc::clone(&people) as _,
            notifications: people,
            heartbeats: board,
            ledgers: Arc::clone(&logs) as _,
            vitals: Arc::clone(&pulse) as _,
            tokens,
            history,
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
            rng,
        };
        let server = Server::bind(server_config, parts).await?;
        let (url, handle) = (server.url(), server.handle());
        let (stop, mut stopping) = watch::channel(false);
        tasks.spawn(async move {
            let stopped = async move {
                let _ = stopping.wait_for(|stop| *stop).await;
            };
            server.serve(stopped).await;
            "server"
        });
        metrics.config_loaded(true, clock.now());
        Ok(Self {
            pipeline,
            scheduler,
            sink,
            metrics,
            logs,
            pulse,
            server: handle,
            clock,
            token_key,
            file,
            url,
            data_dir,
            first_token,
            tasks,
            engines,
            redactions_seen: BTreeMap::new(),
            syncs_seen: 0,
            alert_means,
            state,
            stop,
            pool,
        })
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

    /// Stops everything in order. Bounded by the caller.
    pub(super) async fn stop(&mut self) {
        self.stop.send_replace(true);
        self.scheduler.stop(CHECKS_GRACE).await;
        self.sink.settle().await;
        for engine in self.engines.values() {
            engine.stop().await;
        }
        if let Err(error) = self.pipeline.ledger().close().await {
            tracing::warn!(error = %error, "could not close the ledger in order");
        }
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        self.state.close().await;
        self.pool.close().await;
    }
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
async fn first_token(
    tokens: &Tokens,
    pipeline: &Pipeline,
    disk: &dyn Disk,
    data_dir: &Path,
    clock: &dyn Clock,
) -> anyhow::Result<Option<Private<String>>> {
    if !tokens.is_empty() {
        return Ok(None);
    }
    let act = AdminAct {
        actor: "local".to_owned(),
        act: "token.add".to_owned(),
        target: "admin".to_owned(),
        detail: "first start".to_owned(),
        at: clock.now(),
    };
    pipeline.admit(vec![Signal::ours(Tenant::default(), act)], Level::Durable).await?;
    let (token, path) = tokens.first_start(disk, data_dir).await?;
    tracing::info!(path = %path.display(), "made the administrator's token");
    Ok(Some(token))
}

async fn follow_history(
    tasks: &mut JoinSet<&'static str>,
    history: &Arc<History>,
    pipeline: &Pipeline,
    tenant: &Tenant,
) -> anyhow::Result<()> {
    let feed = pipeline.feed(tenant, history.position(tenant).await?)?;
    let history = Arc::clone(history);
    tasks.spawn(async move {
        let Err(error) = history.follow(Box::new(feed)).await;
        tracing::error!(error = %error, "the status page's history has stopped");
        "history"
    });
    Ok(())
}

fn watch_engines(tasks: &mut JoinSet<&'static str>, engines: &BTreeMap<Tenant, Arc<Engine>>) {
    for engine in engines.values().map(Arc::clone) {
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
