//! An alert without a server: this process is then the server, for as long as it takes to tell somebody.
//!
//! If the lock of the data directory is free, the alert goes the whole way: ledger, incident, outbox, channel. If a
//! server holds the lock and does not answer, the alert is kept in `spool/` before anything else is done with it, and
//! told at once; the next start of a server admits it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alert::incidents::Changes;
use alert::state::{NotificationFilter, NotificationState, Notified, Page, State as _};
use alert::{Notification, NotifiedAlert, Reason, SqliteState, Status};
use anyhow::Context as _;
use disk::{Disk, OsClock, OsDisk, OsRng};
use model::{
    Admit as _, Alert, Clock, IntentId, Labels, Level, Origin, Position, Rng, Signal, SourceId, SteadyClock, Tenant,
    Timestamp,
};
use privacy::Clearer;
use serde::Serialize;
use server::Metrics;

use crate::config::Loaded;
use crate::pipeline::Pipeline;
use crate::serve::alerting;
use crate::spool::{self, Spooled};
use crate::store::{self, STATE_FILE};

/// How long to wait for a channel that was named.
const TELL_MAX: Duration = Duration::from_secs(30);
/// Longest wait for a route's own patience.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How often to look whether somebody was told.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What became of an alert.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kept {
    /// It is in the ledger.
    Recorded {
        /// Where.
        position: Position,
    },
    /// It waits for the next start of a server.
    Spooled {
        /// In which file.
        file: PathBuf,
    },
}

/// Through what people were told, or not.
#[derive(Debug, Serialize)]
pub(crate) struct Told {
    /// The channel.
    pub(crate) channel: String,
    /// Why not; empty when they were.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) failure: String,
}

/// What became of an alert and who heard of it.
#[derive(Debug, Serialize)]
pub(crate) struct Sent {
    /// Where it is kept.
    #[serde(flatten)]
    pub(crate) kept: Kept,
    /// Who was told within the time that a command may take.
    pub(crate) told: Vec<Told>,
}

struct Os {
    disk: Arc<dyn Disk>,
    clock: Arc<SteadyClock>,
    rng: Arc<dyn Rng>,
}

/// Keeps an alert durably and tells people.
///
/// # Errors
/// When it could be kept nowhere.
pub(crate) async fn send(loaded: &Loaded, data_dir: &Path, tenant: Tenant, alert: Alert) -> anyhow::Result<Sent> {
    let steady = Arc::new(SteadyClock::new(Arc::new(OsClock::default())));
    let clock: Arc<dyn Clock> = Arc::clone(&steady) as _;
    let os = Os { disk: Arc::new(OsDisk), clock: steady, rng: Arc::new(OsRng) };
    os.disk.create_dir_all(data_dir).context("could not make the data directory")?;
    match store::open_ledger(loaded, data_dir, &os.disk, &clock, &os.rng).await {
        Ok(ledger) => record(loaded, data_dir, &os, ledger, tenant, alert).await,
        // A server holds it, or it cannot be opened: the alert must be told all the same.
        Err(error) => {
            let locked = error.downcast_ref::<ledger::Error>().is_some_and(|e| matches!(e, ledger::Error::Locked));
            if !locked {
                tracing::warn!(error = format!("{error:#}"), "could not open the ledger");
            }
            keep_aside(loaded, data_dir, &os, tenant, alert).await
        }
    }
}

/// The whole way.
async fn record(
    loaded: &Loaded,
    data_dir: &Path,
    os: &Os,
    ledger: ledger::Ledger,
    tenant: Tenant,
    alert: Alert,
) -> anyhow::Result<Sent> {
    let key = store::token_key(&*os.disk, data_dir, &*os.rng)?;
    // Alerts have no subjects: the keys of persons stay with the server.
    let clearer = Arc::new(loaded.clearer(key, privacy::Keystores::default())?);
    let metrics = Arc::new(Metrics::new());
    let pipeline = Arc::new(Pipeline::new(clearer, ledger, Arc::clone(&os.clock) as _, metrics));
    let means = alerting::Means { disk: Arc::clone(&os.disk), clock: Arc::clone(&os.clock), rng: Arc::clone(&os.rng) };
    let mut setups = alerting::setups(loaded, "", pipeline.clearer().redactor(), &means, data_dir)?;
    let mut setup = setups.remove(&tenant).context("there is no such tenant")?;
    // One alert is no reason to test every channel.
    let mut config = (*setup.config).clone();
    config.dihya.self_test = None;
    setup.config = Arc::new(config);
    for of in loaded.tenants.keys() {
        // The projections of the server have not seen what this process writes.
        pipeline.ledger().consumed("alert send", of, 0)?;
    }
    let patience = patience(loaded, &alert);
    let (config, rng) = (&loaded.alerting.config, &*os.rng);
    spool::Way { disk: &*os.disk, data_dir, pipeline: &pipeline, config, rng }.admit(os.clock.now()).await?;
    let origin = Origin::of(&loaded.ledger.instance, &tenant)?;
    let logs = pipeline.ledger().status().context("could not look at the ledger")?.logs;
    let end = logs.iter().find(|log| log.origin == origin).map_or(0, |log| log.durable);
    let state = Arc::new(of_its_own(data_dir, &tenant, end, os.clock.now()).await?);
    let engine = alerting::engine(setup, &state, pipeline.feed(&tenant, end, None)?, &pipeline, &means).await?;
    let since = os.clock.now();
    let channel = alert.channel.clone();
    let receipts = pipeline
        .admit(vec![Signal { tenant: tenant.clone(), source: SourceId::COMMAND, body: alert.into() }], Level::Durable)
        .await?;
    let position = receipts.first().map(|receipt| receipt.position).unwrap_or_default();
    let told = wait_until_told(&engine, since, channel.as_deref(), patience, &*os.clock).await?;
    engine.stop().await;
    pipeline.ledger().close().await.context("could not close the ledger")?;
    state.close().await;
    Ok(Sent { kept: Kept::Recorded { position }, told })
}

/// Makes the control state of this one alert: it begins at the end of the log and knows the silences. The server's own
/// is left alone, because the configuration of a command is not always the server's: under another one, checks are
/// unknown and their alerts over, and groups are dissolved with all that was told. It folds what is recorded here.
async fn of_its_own(data_dir: &Path, tenant: &Tenant, end: Position, now: Timestamp) -> anyhow::Result<SqliteState> {
    let kept = SqliteState::open(&data_dir.join(STATE_FILE)).await.context("could not open the control state")?;
    let silences = kept.load(tenant).await.context("could not read the silences")?.silences;
    kept.close().await;
    let state = SqliteState::in_memory().await.context("could not make a control state")?;
    let changes = Changes {
        cursor: end.checked_sub(1).map(|last| (last, now)),
        silences: silences.into_iter().map(|silence| (silence.id.clone(), silence)).collect(),
        ..Changes::default()
    };
    state.apply(tenant, &changes).await.context("could not make a control state")?;
    Ok(state)
}

/// How long the routes of an alert may take before they tell of it.
fn patience(loaded: &Loaded, alert: &Alert) -> Duration {
    let routes = loaded.alerting.config.route.matching(&alert.labels);
    let wait = routes.iter().map(|route| route.group_wait).max().unwrap_or_default();
    if alert.channel.is_some() { TELL_MAX } else { (wait + TELL_MAX).min(WAIT_MAX) }
}

/// Waits until a notification made since `since` has ended, through `channel` if one was named.
async fn wait_until_told(
    engine: &alert::Engine,
    since: Timestamp,
    channel: Option<&str>,
    patience: Duration,
    clock: &dyn Clock,
) -> anyhow::Result<Vec<Told>> {
    let deadline = clock.monotonic() + patience;
    let page = Page { limit: 100, after: None };
    loop {
        let rows = engine.notifications(&NotificationFilter::default(), &page).await?;
        let mine: Vec<&Notified> = rows.iter().filter(|row| row.intent.at >= since).collect();
        let pending = mine.iter().any(|row| row.state == NotificationState::Pending && row.attempts.is_empty());
        let heard = mine.iter().any(|row| channel.is_none_or(|name| row.intent.channel == name));
        if (heard && !pending) || clock.monotonic() >= deadline {
            return Ok(mine.into_iter().map(told).collect());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn told(row: &Notified) -> Told {
    let failure = match (row.state, row.attempts.last()) {
        (NotificationState::Delivered, _) => String::new(),
        (_, Some(attempt)) => attempt.reason.clone(),
        (_, None) => "it did not answer in time".to_owned(),
    };
    Told { channel: row.intent.channel.clone(), failure }
}

/// Clears an alert as the ledger will: it lies on the disk until then. Cleared again, it stays as it is.
fn cleared(alert: Alert, data_dir: &Path, redactor: &Arc<privacy::Redactor>, os: &Os) -> Alert {
    let key = store::token_key(&*os.disk, data_dir, &*os.rng).unwrap_or_else(|error| {
        // The alert must be told all the same; distinct values stay distinct within it.
        tracing::warn!(error = format!("{error:#}"), "could not read the key of tokens");
        let mut key = [0; 32];
        os.rng.fill(&mut key);
        key
    });
    let clearer = Clearer::new(Arc::clone(redactor), key);
    Alert {
        labels: alert
            .labels
            .iter()
            .map(|(name, value)| (clearer.label_name(name), clearer.label(name, value)))
            .collect(),
        annotations: alert
            .annotations
            .iter()
            .map(|(name, text)| (clearer.label_name(name), clearer.annotation(name, text)))
            .collect(),
        generator_url: alert.generator_url.as_deref().map(|text| redactor.redact(text).into_owned()),
        ..alert
    }
}

/// Keeps the alert in the spool, then tells people past the outbox.
async fn keep_aside(loaded: &Loaded, data_dir: &Path, os: &Os, tenant: Tenant, alert: Alert) -> anyhow::Result<Sent> {
    let redactor = Arc::new(loaded.redactor()?);
    let alert = cleared(alert, data_dir, &redactor, os);
    let mut spooled = Spooled { tenant, alert, told: BTreeSet::new(), at: os.clock.now() };
    let held = spool::put(&*os.disk, data_dir, &*os.rng, &spooled).context("could not keep the alert in the spool")?;
    let parts = alert::channel::build::Parts {
        disk: Arc::clone(&os.disk),
        clock: Arc::clone(&os.clock) as _,
        redactor,
        directory: data_dir.to_owned(),
    };
    let mut told = Vec::new();
    for (receiver, name) in ways(loaded, &spooled.alert) {
        let Some(config) = loaded.channels.get(&name).filter(|_| !spooled.told.contains(&name)) else { continue };
        let mut notification = notification(&spooled, &receiver, &name, os);
        notification.language = language(&loaded.alerting.config, &receiver, &name);
        let sent = match alert::channel::build::build(config, &parts) {
            Ok(channel) => tokio::time::timeout(TELL_MAX, channel.send(&notification)).await,
            Err(error) => Ok(Err(alert::SendError::never(error.to_string()))),
        };
        let failure = match sent {
            Ok(Ok(())) => {
                spooled.told.insert(name.clone());
                // At once: a crash before the next channel must not tell this one again.
                if let Err(error) = spool::overwrite(&*os.disk, &held.file, &spooled) {
                    // The other channels hear of it all the same; this one may hear of it twice.
                    tracing::warn!(error = format!("{error:#}"), "could not note in the spool who was told");
                }
                String::new()
            }
            Ok(Err(error)) => error.reason,
            Err(_) => "it did not answer in time".to_owned(),
        };
        told.push(Told { channel: name, failure });
    }
    Ok(Sent { kept: Kept::Spooled { file: held.file }, told })
}

/// The channel that was named, else those that the routes lead to: receiver and channel.
fn ways(loaded: &Loaded, alert: &Alert) -> Vec<(String, String)> {
    if let Some(channel) = &alert.channel {
        return vec![(String::new(), channel.clone())];
    }
    let config = &loaded.alerting.config;
    let receivers = config.route.matching(&alert.labels).into_iter().filter_map(|route| {
        let receiver = config.receivers.get(&route.receiver)?;
        Some(receiver.integrations.iter().map(|way| (route.receiver.clone(), way.channel.clone())))
    });
    receivers.flatten().collect()
}

/// The language in which a receiver is told through a channel; the common one for a channel that was named.
fn language(config: &alert::Config, receiver: &str, channel: &str) -> alert::Language {
    let ways = config.receivers.get(receiver).map(|receiver| receiver.integrations.as_slice()).unwrap_or_default();
    let way = ways.iter().find(|way| way.channel == channel);
    way.and_then(|way| way.language).unwrap_or(config.dihya.language)
}

fn notification(spooled: &Spooled, receiver: &str, channel: &str, os: &Os) -> Notification {
    let alert = &spooled.alert;
    let mut random = [0; 16];
    os.rng.fill(&mut random);
    let told = NotifiedAlert {
        status: Status::Firing,
        labels: alert.labels.clone(),
        annotations: alert.annotations.clone(),
        starts_at: alert.starts_at,
        ends_at: None,
        generator_url: String::new(),
        severity: alert.severity,
        sector: alert.sector,
    };
    Notification {
        id: IntentId(crate::config::hex(&random)),
        tenant: spooled.tenant.clone(),
        reason: Reason::Direct,
        status: Status::Firing,
        receiver: receiver.to_owned(),
        channel: channel.to_owned(),
        language: alert::Language::default(),
        incident: None,
        group_key: String::new(),
        group_labels: Labels::new(),
        common_labels: alert.labels.clone(),
        common_annotations: alert.annotations.clone(),
        severity: alert.severity,
        sector: alert.sector,
        alerts: vec![told],
        truncated: 0,
        text: String::new(),
        at: spooled.at,
        external_url: String::new(),
        attempt: 1,
        had: BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use alert::config::{Integration, Receiver};
    use alert::{Config, Language};

    use super::*;

    /// A receiver in French got the alert of a server that was down in English.
    #[test]
    fn a_receiver_is_told_in_its_language() {
        let way = |channel: &str, language| Integration { channel: channel.to_owned(), send_resolved: true, language };
        let mut config = Config::default();
        let integrations = vec![way("log", None), way("mail", Some(Language::Fr))];
        config.receivers.insert("garde".to_owned(), Receiver { integrations });
        let of =
            |config: &Config| [("garde", "mail"), ("garde", "log"), ("", "mail")].map(|(r, c)| language(config, r, c));
        assert_eq!(of(&config), [Language::Fr, Language::En, Language::En]);
        config.dihya.language = Language::Fr;
        assert_eq!(of(&config), [Language::Fr; 3]);
    }
}
