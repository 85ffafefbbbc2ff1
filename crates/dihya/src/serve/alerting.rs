//! One alert engine per tenant: channels, routes, and what alerts need to know of checks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use alert::send::{CHECK_DEGRADED, CHECK_DOWN};
use alert::state::State as _;
use alert::{Checks, Engine, Setup, SqliteState};
use anyhow::Context as _;
use disk::Disk;
use model::{Alert, Body, CheckResult, Feed as _, Labels, Position, Rng, SourceId, State, SteadyClock, Tenant};
use privacy::Redactor;

use crate::config::Loaded;
use crate::pipeline::{Pipeline, Records};

/// What engines are made and remade with.
pub(crate) struct Means {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<SteadyClock>,
    pub(crate) rng: Arc<dyn Rng>,
}

/// What all engines of a configuration share. Opens what channels need open; connects to nothing.
///
/// # Errors
/// When a channel cannot be built.
pub(crate) fn setups(
    loaded: &Loaded,
    url: &str,
    redactor: &Arc<Redactor>,
    means: &Means,
    data_dir: &Path,
) -> anyhow::Result<BTreeMap<Tenant, Setup>> {
    let parts = alert::channel::build::Parts {
        disk: Arc::clone(&means.disk),
        clock: Arc::clone(&means.clock) as _,
        redactor: Arc::clone(redactor),
        directory: data_dir.to_owned(),
    };
    let channels = alert::channel::build::build_all(&loaded.channels, &parts)
        .map_err(|(name, error)| anyhow::Error::new(error).context(format!("cannot use the channel {name}")))?;
    let mut config = loaded.alerting.config.clone();
    if config.dihya.external_url.is_empty() {
        url.clone_into(&mut config.dihya.external_url);
    }
    let windows = Arc::new(loaded.checks.windows.clone());
    let config = Arc::new(config);
    let setup = |tenant: &Tenant| {
        let mine = loaded.checks.checks.iter().filter(|check| check.tenant == *tenant);
        let parents = mine.clone().filter(|check| !check.depends_on.is_empty());
        let windows = Arc::clone(&windows);
        let setup = Setup {
            config: Arc::clone(&config),
            channels: channels.clone(),
            checks: Checks {
                known: Some(mine.clone().map(|check| check.id.to_string()).collect::<BTreeSet<_>>()),
                parents: parents.map(|check| (check.id.to_string(), check.depends_on.clone())).collect(),
            },
            in_maintenance: Arc::new(move |labels, now| {
                labels.get(Alert::CHECK).is_some_and(|check| windows.covering(check, now).is_some())
            }),
        };
        (tenant.clone(), setup)
    };
    Ok(loaded.tenants.keys().map(setup).collect())
}

/// The engines, and the alerts of checks that fired before the restart.
pub(crate) struct Started {
    pub(crate) engines: BTreeMap<Tenant, Arc<Engine>>,
    pub(crate) firing: Vec<(Tenant, Alert)>,
}

/// Starts an engine per tenant where its projection left off.
///
/// # Errors
/// When the control state or the ledger cannot be read.
pub(crate) async fn start(
    setups: BTreeMap<Tenant, Setup>,
    state: &Arc<SqliteState>,
    pipeline: &Arc<Pipeline>,
    means: &Means,
) -> anyhow::Result<Started> {
    let mut started = Started { engines: BTreeMap::new(), firing: Vec::new() };
    for (tenant, setup) in setups {
        let snapshot = state.load(&tenant).await.context("could not read the incidents")?;
        snapshot.cursor.iter().for_each(|(_, at)| means.clock.at_least(*at));
        let from = snapshot.cursor.map_or(0, |(position, _)| position + 1);
        let known =
            snapshot.alerts.into_iter().filter(|tracked| tracked.check().is_some()).map(|tracked| tracked.alert);
        let firing = firing_after(known, pipeline, &tenant, from).await?;
        started.firing.extend(firing.into_iter().map(|alert| (tenant.clone(), alert)));
        let engine = engine(setup, state, pipeline.feed(&tenant, from, Some("alert"))?, pipeline, means).await?;
        started.engines.insert(tenant, Arc::new(engine));
    }
    Ok(started)
}

/// Starts an engine on a control state and the feed that goes on from it.
///
/// # Errors
/// When the control state cannot be read.
pub(crate) async fn engine(
    setup: Setup,
    state: &Arc<SqliteState>,
    feed: Records,
    pipeline: &Arc<Pipeline>,
    means: &Means,
) -> anyhow::Result<Engine> {
    let (state, clock, rng) = (Arc::clone(state) as _, Arc::clone(&means.clock) as _, Arc::clone(&means.rng));
    let parts = alert::Parts::new(state, Box::new(feed), Arc::clone(pipeline) as _, setup, clock, rng);
    Engine::start(parts).await.context("could not start alerting")
}

/// Returns the alerts of checks that fire after everything in the ledger: those that the projection knows, changed by
/// the records that it has not folded yet.
async fn firing_after(
    known: impl Iterator<Item = Alert>,
    pipeline: &Pipeline,
    tenant: &Tenant,
    from: Position,
) -> anyhow::Result<Vec<Alert>> {
    let mut firing: BTreeMap<Labels, Alert> = BTreeMap::new();
    let mut fold = |alert: Alert| match alert.ends_at {
        None => firing.insert(alert.labels.clone(), alert),
        Some(_) => firing.remove(&alert.labels),
    };
    known.for_each(|alert| {
        fold(alert);
    });
    let mut feed = pipeline.feed(tenant, from, None)?;
    loop {
        let records = feed.read(model::limits::APPEND_RECORDS_MAX).await?;
        if records.is_empty() {
            return Ok(firing.into_values().collect());
        }
        for record in records {
            if let Body::Alert(alert) = record.signal.body
                && record.signal.source == SourceId::default()
                && alert.labels.contains_key(Alert::CHECK)
            {
                fold(alert);
            }
        }
    }
}

/// Says how checks stood, by the alerts that fire: what the scheduler goes on from.
pub(crate) fn standing(firing: &[(Tenant, Alert)]) -> Vec<CheckResult> {
    let stand = |alert: &Alert| {
        let state = match alert.name() {
            CHECK_DOWN => State::Down,
            CHECK_DEGRADED => State::Degraded,
            _ => return None,
        };
        let id = alert.labels.get(Alert::CHECK)?;
        Some(CheckResult {
            id: id.clone(),
            name: id.clone(),
            kind: String::new(),
            state,
            observed: state,
            reason: alert.annotations.get("summary").cloned().unwrap_or_default(),
            since: alert.starts_at,
            checked_at: alert.starts_at,
            conditions: Vec::new(),
            timings_ms: model::Timings::default(),
            figures: BTreeMap::new(),
            maintenance: false,
        })
    };
    firing.iter().filter_map(|(_, alert)| stand(alert)).collect()
}
