//! A new configuration while everything runs: all of it or nothing of it.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use model::config::{Problem, Span};
use model::{AdminAct, Admit as _, ConfigLoad, Level, Signal, Tenant};
use privacy::config::KeystoreConfig;
use privacy::keystore::Means;
use server::seam::{OutboxGauge, Vitals as _};

use super::alerting;
use super::opening::LAKE;
use super::start::{HISTORY, Running};
use crate::config::{self, Loaded, Rejected};
use crate::{events, keystores, spool};

/// Problems of a refused file that are logged one by one.
const PROBLEMS_LOGGED_MAX: usize = 20;

/// The file that is watched, and what of it is in force.
pub(crate) struct ConfigFile {
    path: Option<PathBuf>,
    /// What `--listen` said: it holds against the file.
    listen: Option<String>,
    seen: Option<(SystemTime, u64)>,
    /// How it looked when it was last asked, if that is not what was read.
    coming: Option<(SystemTime, u64)>,
    /// That it is gone was said.
    gone: bool,
    /// What cannot change while the program runs.
    fixed: Fixed,
    /// Under which passphrases the keystores are, as far as the file says.
    keystore: KeystoreConfig,
}

/// What only a restart changes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fixed {
    instance: String,
    tenants: Vec<Tenant>,
    retain: (std::time::Duration, u64),
    sources: intake::sources::Config,
}

impl Fixed {
    fn of(loaded: &Loaded) -> Self {
        Self {
            instance: loaded.ledger.instance.clone(),
            tenants: loaded.tenants.keys().cloned().collect(),
            retain: (loaded.ledger.retain, loaded.ledger.retain_bytes),
            sources: loaded.sources.clone(),
        }
    }

    /// Names the field that differs, if one does.
    fn differs(&self, other: &Self) -> Option<&'static str> {
        if self.instance != other.instance {
            Some("ledger.instance")
        } else if self.tenants != other.tenants {
            Some("tenants")
        } else if self.sources != other.sources {
            Some("sources")
        } else {
            (self.retain != other.retain).then_some("ledger.retain")
        }
    }
}

impl ConfigFile {
    /// Remembers what is in force.
    pub(super) fn new(loaded: &Loaded, listen: Option<String>) -> Self {
        let mut file = Self {
            path: loaded.path.clone(),
            listen,
            seen: None,
            coming: None,
            gone: false,
            fixed: Fixed::of(loaded),
            keystore: loaded.privacy.keystore.clone(),
        };
        file.seen = file.stamp();
        file
    }

    fn stamp(&self) -> Option<(SystemTime, u64)> {
        let metadata = std::fs::metadata(self.path.as_ref()?).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    }

    /// Tells whether the file is another one than what was read, and has stayed as it is since it was last asked: who
    /// writes it in several steps is not done after the first. One that is gone is said once, and has not changed: an
    /// editor may be saving it.
    pub(super) fn changed(&mut self) -> bool {
        let Some(path) = &self.path else { return false };
        let stamp = self.stamp();
        let gone = stamp.is_none();
        if gone && self.coming.is_none() && !std::mem::replace(&mut self.gone, true) {
            events::config_gone(path);
        }
        self.gone &= gone;
        if gone || stamp == self.seen {
            self.coming = None;
            return false;
        }
        if stamp != self.coming {
            self.coming = stamp;
            return false;
        }
        (self.seen, self.coming) = (stamp, None);
        true
    }
}

impl Running {
    /// Reads the file again and puts it in force, or says why the old one stays.
    pub(super) async fn reload(&mut self) {
        self.file.seen = self.file.stamp();
        let (path, data_dir) = (self.file.path.clone(), self.data_dir.clone());
        let read = tokio::task::spawn_blocking(move || config::read(path.as_deref(), &data_dir)).await;
        let load = match read {
            Err(_) => return,
            Ok(Err(rejected)) => self.refuse(&rejected),
            Ok(Ok(loaded)) => {
                let sha256 = loaded.sha256.clone();
                match self.put_in_force(loaded).await {
                    Ok(load) => load,
                    Err((path, message)) => {
                        let problem = Problem { span: Span { line: 1, column: 1 }, path, message, suggestion: None };
                        let name = self.file.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
                        self.refuse(&Rejected { name, text: String::new(), sha256, problems: vec![problem] })
                    }
                }
            }
        };
        self.metrics.config_loaded(load.accepted, load.at);
        if let Err(refusal) = self.pipeline.admit(vec![Signal::ours(Tenant::default(), load)], Level::Durable).await {
            tracing::warn!(error = %refusal, "could not record that the configuration was read");
        }
    }

    fn refuse(&self, rejected: &Rejected) -> ConfigLoad {
        for problem in rejected.problems.iter().take(PROBLEMS_LOGGED_MAX) {
            events::config_refused(&rejected.name, &rejected.sha256, problem);
        }
        ConfigLoad {
            accepted: false,
            sha256: rejected.sha256.clone(),
            checks: 0,
            problems: rejected.problems.len() as u64,
            at: self.clock.now(),
        }
    }

    /// Everything that can fail comes before everything that takes effect.
    async fn put_in_force(&mut self, mut loaded: Loaded) -> Result<ConfigLoad, (String, String)> {
        if let Some(listen) = &self.file.listen {
            loaded.server.listen.clone_from(listen);
        }
        if loaded.blank {
            // Nobody means to end all watching by an empty file; whoever writes one in two steps means even less.
            return Err((String::new(), "the file says nothing at all".to_owned()));
        }
        if let Some(field) = self.file.fixed.differs(&Fixed::of(&loaded)) {
            return Err((field.to_owned(), "cannot be changed without a restart".to_owned()));
        }
        let means = Means {
            disk: Arc::clone(&self.alert_means.disk),
            rng: Arc::clone(&self.alert_means.rng),
            clock: Arc::clone(&self.clock),
        };
        let of_privacy = |error: anyhow::Error| ("privacy".to_owned(), format!("{error:#}"));
        self.change_passphrase(&loaded, &means).await.map_err(of_privacy)?;
        let keystores = keystores::open(&loaded, &self.data_dir, &means, &self.keystores).await.map_err(of_privacy)?;
        let clearer = loaded.clearer(self.token_key, Arc::clone(&keystores)).map_err(of_privacy)?;
        let clearer = Arc::new(clearer);
        let url = loaded.server.url(self.server.address());
        let setups = alerting::setups(&loaded, &url, clearer.redactor(), &self.alert_means, &self.data_dir)
            .map_err(|error| ("channels".to_owned(), format!("{error:#}")))?;
        self.server.reload(loaded.server.clone()).await.map_err(|error| ("server".to_owned(), error.to_string()))?;
        self.url = url;
        self.spool.routing = loaded.alerting.config.clone();
        self.note_reach();
        self.pipeline.set_clearer(clearer);
        self.keystores = keystores;
        keystores::set_lives(&self.keystores, &loaded);
        self.lake.reload(loaded.lake.clone());
        let tenants: Vec<Tenant> = loaded.tenants.keys().cloned().collect();
        self.outputs.reload(&loaded.outputs, &tenants).await;
        for (tenant, setup) in setups {
            if let Some(engine) = self.engines.get(&tenant) {
                engine.reload(setup);
            }
        }
        let public = loaded.tenants.iter().map(|(tenant, config)| (tenant.clone(), config.public)).collect();
        *self.logs.tenants.write().unwrap_or_else(PoisonError::into_inner) = public;
        let load = ConfigLoad {
            accepted: true,
            sha256: loaded.sha256.clone(),
            checks: loaded.checks.checks.len() as u64,
            problems: 0,
            at: self.clock.now(),
        };
        events::config_in_force(&loaded.sha256, &loaded.summary());
        loaded.warn();
        let before = self.scheduler.config();
        let reloaded = self.scheduler.reload(loaded.checks).await;
        for check in before.checks.iter().filter(|check| reloaded.removed.iter().any(|id| **id == *check.id)) {
            self.metrics.forget_check(&check.tenant, &check.id, check.kind.name);
        }
        self.sink.forget(&reloaded.removed);
        self.beats.keep_all(&self.scheduler, loaded.tenants.keys()).await;
        Ok(load)
    }

    /// Puts the keystores under another passphrase where the file names another one, and records that.
    async fn change_passphrase(&mut self, loaded: &Loaded, means: &Means) -> anyhow::Result<()> {
        if self.file.keystore.is_as(&loaded.privacy.keystore) {
            return Ok(());
        }
        keystores::change(loaded, &self.data_dir, means, &self.keystores).await?;
        self.file.keystore = loaded.privacy.keystore.clone();
        for tenant in self.keystores.keys() {
            self.note(tenant, "keystore.passphrase", String::new()).await;
        }
        Ok(())
    }

    /// Records an act of the program's own upon its keys.
    async fn note(&self, tenant: &Tenant, act: &str, detail: String) {
        let (actor, act, at) = ("dihya".to_owned(), act.to_owned(), self.clock.now());
        let act = AdminAct { actor, act, target: "keystore".to_owned(), detail, at };
        if let Err(refusal) = self.pipeline.admit(vec![Signal::ours(tenant.clone(), act)], Level::Durable).await {
            tracing::warn!(%tenant, error = %refusal, "could not record what was done with a keystore");
        }
    }

    /// Destroys the keys whose retention class has ended for them. What fails stops the keystore, which others notice.
    pub(super) async fn expire_keys(&self) {
        for (tenant, keystore) in self.keystores.iter() {
            let keystore = Arc::clone(keystore);
            match tokio::task::spawn_blocking(move || keystore.expire()).await {
                Ok(Ok(Some(gone))) => {
                    tracing::info!(%tenant, keys = gone.keys, tags = gone.tags, "destroyed keys whose class had ended");
                    let detail = format!("keys {}, tags {}, end of epoch {}", gone.keys, gone.tags, gone.ended);
                    self.note(tenant, "keystore.expire", detail).await;
                }
                Ok(Err(error)) => {
                    tracing::warn!(%tenant, error = %error, "could not destroy keys whose class had ended")
                }
                Ok(Ok(None)) | Err(_) => {}
            }
        }
    }

    /// Refreshes the figures that take a query, and those that others count.
    pub(super) async fn refresh_gauges(&mut self) {
        let mut gauges = Vec::new();
        for (tenant, engine) in &self.engines {
            if let Ok(position) = self.history.position(tenant).await {
                let _ = self.pipeline.ledger().consumed(HISTORY, tenant, position);
            }
            if let Some(Ok(position)) = self.lake.lake().map(|lake| lake.durable_position(tenant)) {
                let _ = self.pipeline.ledger().consumed(LAKE, tenant, position);
            }
            match engine.depths().await {
                Ok(depths) => gauges.extend(depths.into_iter().map(|(channel, depth)| OutboxGauge {
                    tenant: tenant.clone(),
                    channel,
                    pending: depth.waiting,
                })),
                Err(error) => tracing::warn!(error = %error, "could not read the outbox"),
            }
        }
        self.count_dropped();
        *self.pulse.outboxes.write().unwrap_or_else(PoisonError::into_inner) = gauges;
        self.count_redactions();
        self.count_keys();
        if let Ok(status) = self.pipeline.ledger().status()
            && status.figures.syncs > self.syncs_seen
        {
            self.syncs_seen = status.figures.syncs;
            self.metrics.ledger_sync(status.figures.sync_last);
        }
    }

    /// Takes up what commands put aside because this server did not answer them.
    pub(super) async fn take_up_spool(&mut self) {
        let way = spool::Way {
            disk: &*self.alert_means.disk,
            data_dir: &self.data_dir,
            pipeline: &self.pipeline,
            config: &self.spool.routing,
            rng: &*self.alert_means.rng,
        };
        // It stays where it is, and a ledger that takes nothing has stopped, which others tell.
        if let Err(error) = way.admit_few(self.clock.now(), &mut self.spool.left).await {
            tracing::debug!(error = format!("{error:#}"), "could not take up the spool");
        }
    }

    /// Pages people when the program itself has been unwell for some time.
    pub(super) async fn tell_ailments(&mut self) {
        // A collector that is down is no reason to send events elsewhere, so readiness does not speak of it.
        let mut ailments = self.pulse.ailments();
        ailments.extend(self.outputs.ailments());
        let Some(alert) = self.unwell.look(&ailments, self.clock.now(), self.clock.monotonic()) else { return };
        // A ledger that has no room even for alerts stops itself, and then the last notice says so.
        if let Err(error) = self.pipeline.admit(vec![Signal::ours(Tenant::default(), alert)], Level::Durable).await {
            tracing::warn!(error = %error, ?ailments, "could not record that the program is unwell");
        }
    }

    /// The engines count since they were started; the metric since the start of the program.
    fn count_dropped(&mut self) {
        for (tenant, engine) in &self.engines {
            let dropped = engine.counters().alerts_dropped;
            let seen = self.dropped_seen.insert(tenant.clone(), dropped).unwrap_or(0);
            self.metrics.alerts_dropped(tenant, dropped.saturating_sub(seen));
        }
    }

    /// The keystores count since they were opened, which is once.
    fn count_keys(&mut self) {
        for (tenant, keystore) in self.keystores.iter() {
            let stats = keystore.stats();
            let seen = self.keys_seen.insert(tenant.clone(), stats).unwrap_or_default();
            if stats.unlocked > 0 && seen.unlocked == 0 {
                tracing::warn!(
                    %tenant,
                    pages = stats.unlocked,
                    "keys of persons may be written to a swap file: raise LimitMEMLOCK (ulimit -l), or encrypt or turn off swap"
                );
            }
            self.metrics.keystore(tenant, stats.keys, stats.minted - seen.minted, stats.refused - seen.refused);
        }
    }

    /// The redactor counts since it was made; the metric since the start.
    fn count_redactions(&mut self) {
        let clearer = self.pipeline.clearer();
        for (kind, count) in clearer.redactor().counts() {
            let seen = self.redactions_seen.entry(kind.name()).or_insert(0);
            // A new redactor begins at nothing.
            let fresh = if count < *seen { count } else { count - *seen };
            if fresh > 0 {
                self.metrics.redactions(kind.as_str(), fresh);
            }
            *seen = count;
        }
    }
}
