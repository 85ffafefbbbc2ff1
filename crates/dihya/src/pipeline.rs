//! The order of the stages, and the only file that knows it: follow one signal from here down.
//!
//! ```text
//! probe ─ results::Sink ─┐                                  ┌─ Feed ─> alert (incident, outbox) ─> channels
//! server ─ Admit ────────┼─> Clearer::clear ─> Ledger::append
//! alert ─ Admit ─────────┘      privacy            ledger   └─ Feed ─> server (history of the status page)
//! ```
//! [`Pipeline`] is `model::Admit`: it clears, then appends; nothing is acknowledged in between. [`Records`] is
//! `model::Feed`: it reads a tenant's durable records back as bodies. What was refused and cannot be sent again is
//! counted, and a `gap` record says so as soon as the ledger takes records again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use ledger::{Cursor, Ledger};
use model::{
    Admit, Body, BoxFuture, Clock, Feed, Gap, Kind, Level, Outcome, Position, Receipt, Recorded, Refusal, RefusalKind,
    Signal, Tenant, Timestamp,
};
use privacy::{Cleared, Clearer};
use server::Metrics;

use crate::events;

/// Most different kinds of loss that wait to be recorded; beyond them losses of a tenant are one.
const GAPS_MAX: usize = 4_096;

/// Clears and appends.
pub(crate) struct Pipeline {
    clearer: RwLock<Arc<Clearer>>,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    lost: Mutex<BTreeMap<(Tenant, &'static str, &'static str), Loss>>,
}

/// What was lost of one kind for one cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Loss {
    count: u64,
    from: Timestamp,
    until: Timestamp,
}

impl Pipeline {
    /// Puts the stages in order.
    pub(crate) fn new(clearer: Arc<Clearer>, ledger: Ledger, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self { clearer: RwLock::new(clearer), ledger, clock, metrics, lost: Mutex::default() }
    }

    /// Puts another privacy policy in force for what comes from now on.
    pub(crate) fn set_clearer(&self, clearer: Arc<Clearer>) {
        *self.clearer.write().unwrap_or_else(PoisonError::into_inner) = clearer;
    }

    /// Returns the policy in force.
    pub(crate) fn clearer(&self) -> Arc<Clearer> {
        Arc::clone(&self.clearer.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the ledger.
    pub(crate) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Reads a tenant's records from `from` on. A `view` has kept, whenever it reads on, all that it read before: the
    /// ledger keeps payloads for it until then.
    ///
    /// # Errors
    /// When the tenant has no log.
    pub(crate) fn feed(&self, tenant: &Tenant, from: Position, view: Option<&'static str>) -> Result<Records, Refusal> {
        let cursor = Some(self.ledger.cursor(tenant, from)?);
        Ok(Records { ledger: self.ledger.clone(), tenant: tenant.clone(), view, cursor })
    }

    /// Counts signals that nobody will send again.
    pub(crate) fn lose(&self, tenant: &Tenant, cause: &'static str, kind: Kind, count: u64) {
        let now = self.clock.now();
        events::lost(cause, kind, count);
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (tenant.clone(), cause, kind.as_str());
        if lost.len() >= GAPS_MAX && !lost.contains_key(&key) {
            key.2 = "several";
        }
        let loss = lost.entry(key).or_insert(Loss { count: 0, from: now, until: now });
        loss.count += count;
        loss.until = now;
    }

    /// Takes the losses of a tenant as signals.
    fn take_lost(&self, tenant: &Tenant) -> Vec<(&'static str, &'static str, Loss)> {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if lost.is_empty() {
            return Vec::new();
        }
        let mine: Vec<_> = lost.keys().filter(|(of, _, _)| of == tenant).cloned().collect();
        mine.into_iter().filter_map(|key| lost.remove(&key).map(|loss| (key.1, key.2, loss))).collect()
    }

    fn return_lost(&self, tenant: &Tenant, losses: Vec<(&'static str, &'static str, Loss)>) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        for (cause, what, loss) in losses {
            let known = lost.entry((tenant.clone(), cause, what)).or_insert(Loss { count: 0, ..loss });
            known.count += loss.count;
            known.from = known.from.min(loss.from);
        }
    }

    async fn admit_all(&self, signals: Vec<Signal>, level: Level) -> Result<Vec<Receipt>, Refusal> {
        let Some(tenant) = signals.first().map(|signal| signal.tenant.clone()) else { return Ok(Vec::new()) };
        let count = signals.len();
        self.write_gaps(&tenant).await;
        let outcomes: Vec<(String, Outcome)> = signals.iter().filter_map(outcome_of).collect();
        let cleared = self.clear(signals).inspect_err(|refusal| self.count(&tenant, Err(refusal), count))?;
        let appended = self.ledger.append(cleared, level).await.map_err(Refusal::from);
        self.count(&tenant, appended.as_ref().map(|_| ()), count);
        if appended.is_ok() {
            outcomes.iter().for_each(|(channel, outcome)| self.metrics.notification(&tenant, channel, *outcome));
        }
        appended
    }

    fn clear(&self, signals: Vec<Signal>) -> Result<Vec<Cleared>, Refusal> {
        let clearer = self.clearer();
        let cleared: Result<Vec<Cleared>, _> = signals.into_iter().map(|signal| clearer.clear(signal)).collect();
        cleared.map_err(|error| Refusal { kind: RefusalKind::Reject, reason: error.to_string() })
    }

    /// Records what was lost before, so that the record of the loss stands before what comes after it.
    async fn write_gaps(&self, tenant: &Tenant) {
        let losses = self.take_lost(tenant);
        if losses.is_empty() {
            return;
        }
        let gap = |(cause, what, loss): &(&str, &str, Loss)| {
            let gap = Gap {
                cause: (*cause).to_owned(),
                what: (*what).to_owned(),
                count: loss.count,
                from: loss.from,
                until: loss.until,
            };
            Signal::ours(tenant.clone(), gap)
        };
        let written = match self.clear(losses.iter().map(gap).collect()) {
            Ok(cleared) => self.ledger.append(cleared, Level::Durable).await.map_err(Refusal::from),
            Err(refusal) => Err(refusal),
        };
        if written.is_err() {
            self.return_lost(tenant, losses);
        }
    }

    fn count(&self, tenant: &Tenant, outcome: Result<(), &Refusal>, records: usize) {
        let outcome = match outcome {
            Ok(()) => "durable",
            Err(refusal) => match refusal.kind {
                RefusalKind::Retry => "retry",
                RefusalKind::Reject => "reject",
                RefusalKind::Stop => "stop",
            },
        };
        self.metrics.ledger_append(tenant, outcome, records as u64);
    }
}

fn outcome_of(signal: &Signal) -> Option<(String, Outcome)> {
    match &signal.body {
        Body::Delivery(delivery) => Some((delivery.channel.clone(), delivery.outcome)),
        _ => None,
    }
}

impl Admit for Pipeline {
    fn admit(&self, signals: Vec<Signal>, level: Level) -> BoxFuture<'_, Result<Vec<Receipt>, Refusal>> {
        Box::pin(self.admit_all(signals, level))
    }
}

/// One tenant's records, read back.
pub(crate) struct Records {
    ledger: Ledger,
    tenant: Tenant,
    view: Option<&'static str>,
    /// Absent only while a read runs; a read that was dropped half-way took it along.
    cursor: Option<Cursor>,
}

impl Feed for Records {
    fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    fn read(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Recorded>, Refusal>> {
        Box::pin(async move {
            loop {
                let lost = || Refusal { kind: RefusalKind::Stop, reason: "a read was given up half-way".to_owned() };
                let mut cursor = self.cursor.take().ok_or_else(lost)?;
                if let Some(view) = self.view {
                    self.ledger.consumed(view, &self.tenant, cursor.position())?;
                }
                // Old records come from the disk, which may block no runtime thread.
                let read = tokio::task::spawn_blocking(move || {
                    let read = cursor.read(max);
                    (cursor, read)
                });
                let (cursor, read) = read.await.map_err(|_| lost())?;
                self.cursor = Some(cursor);
                let stored = read.map_err(Refusal::from)?;
                let caught_up = stored.is_empty();
                let recorded: Vec<Recorded> = stored.into_iter().filter_map(|stored| self.record(&stored)).collect();
                // Records of the ledger's own kinds are skipped; only a caught-up feed answers with none.
                if caught_up || !recorded.is_empty() {
                    return Ok(recorded);
                }
            }
        })
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(cursor) = &mut self.cursor {
                cursor.wait().await;
            }
        })
    }
}

impl Records {
    /// Makes a body of a record; `None` for the ledger's own, and for those whose payload retention deleted.
    fn record(&self, stored: &ledger::Stored) -> Option<Recorded> {
        let body = match Body::from_fields(stored.kind, &stored.fields()) {
            Ok(body) => body,
            Err(model::schema::SchemaError::NotABody { .. }) => return None,
            Err(error) => {
                events::unreadable_record(&self.tenant, stored.position, &error);
                return None;
            }
        };
        let signal = Signal { tenant: self.tenant.clone(), source: stored.source, body };
        Some(Recorded { position: stored.position, admitted_at: stored.t_admit, signal })
    }
}
