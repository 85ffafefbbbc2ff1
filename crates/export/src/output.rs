//! The outputs that run: each reads the ledger for each of its tenants, on its own, so that one that is stuck holds up
//! nothing but itself.
//!
//! - O-1: a place is stored only after the receiver said that it has everything before it. A crash repeats a batch at most.
//! - O-2: an event has the same id each time that it is sent, and no other event has it.
//! - O-3: payloads wait in the ledger for an output that is behind, for so long and so many bytes; then the ledger's own
//!   retention goes on. What it deletes meanwhile is counted and recorded once the output comes to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use model::limits::{OUTPUT_BATCH_BYTES_MAX, OUTPUT_BATCH_EVENTS_MAX, OUTPUT_READ_RECORDS_MAX, OUTPUT_TURNS_MAX};
use model::{Body, Event, Feed, Position, Recorded, Tenant};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::config::{Begin, Configs, Output, To};
use crate::ecs::Mapper;
use crate::elastic::Elastic;
use crate::file::File;
use crate::logstash::Logstash;
use crate::seam::World;

/// The longest wait before a batch is handed over again.
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// How long an output may fail before people are told.
const LATE: Duration = Duration::from_secs(300);
/// How long an output that is told to stop may take over the batch in its hands.
const STOP_MAX: Duration = Duration::from_secs(5);
/// Records that an output passes over before it stores its place although it handed over nothing.
const SILENT_RECORDS_MAX: u64 = 4_096;
/// How often a failure that lasts is logged.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// An event on its way out.
pub(crate) struct Item {
    pub(crate) id: String,
    pub(crate) stream: String,
    pub(crate) admitted_at: Timestamp,
    /// The document and a line feed.
    pub(crate) line: Vec<u8>,
    position: Position,
}

/// Events that are handed over together; what the receiver has is taken out.
pub(crate) struct Batch {
    pub(crate) items: Vec<Item>,
    bytes: usize,
    /// Where the ledger is read on behind it.
    next: Position,
    /// Events whose payload retention had deleted.
    expired: u64,
    caught_up: bool,
}

impl Batch {
    pub(crate) fn lines(&self) -> Vec<u8> {
        self.items.iter().flat_map(|item| &item.line).copied().collect()
    }

    pub(crate) fn take_all(&mut self) -> u64 {
        let count = self.items.len() as u64;
        self.items.clear();
        count
    }
}

/// What a receiver did with a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Events that it has now.
    pub(crate) sent: u64,
    /// Events that it had already.
    pub(crate) known: u64,
    /// Events that it will never take.
    pub(crate) refused: u64,
    /// Why it refused the first of them.
    pub(crate) why: Option<String>,
    /// Bytes that went out.
    pub(crate) bytes: usize,
}

impl Taken {
    pub(crate) fn refuse(&mut self, why: &str) {
        self.refused += 1;
        self.why.get_or_insert_with(|| why.to_owned());
    }
}

/// Why a batch was not taken, or not all of it. Nothing is given up for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: String,
    /// What the receiver asks to wait.
    pub(crate) wait: Option<Duration>,
    /// Whether the receiver took others in the same breath.
    pub(crate) one_by_one: bool,
    /// What was settled before.
    pub(crate) taken: Taken,
}

impl Failure {
    pub(crate) fn later(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..Self::default() }
    }
}

/// How one output stands with one tenant's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub output: String,
    /// Whose events.
    pub tenant: Tenant,
    /// Events that the receiver took.
    pub sent: u64,
    /// Events that it had already.
    pub known: u64,
    /// Events that it will never take.
    pub refused: u64,
    /// Events that retention deleted before they could be handed over.
    pub expired: u64,
    /// Bytes that went out.
    pub bytes: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Where the ledger is read on after a restart.
    pub position: Position,
    /// How long ago the oldest event was admitted that was not handed over; zero where there is none. Before an output has looked:
    /// since its start.
    pub lag: Duration,
    /// Why the last attempt failed, until one succeeds.
    pub failing: Option<String>,
    /// Whether the ledger keeps no payloads for it any more.
    pub let_go: bool,
}

#[derive(Default)]
struct Stats {
    taken: Taken,
    expired: u64,
    failures: u64,
    position: Position,
    oldest: Option<Timestamp>,
    /// Why it fails, and since when.
    failing: Option<(String, Duration)>,
    let_go: bool,
}

struct Running {
    fingerprint: [u8; 32],
    stats: Arc<Mutex<Stats>>,
    stop: watch::Sender<bool>,
    task: JoinSet<()>,
}

/// All outputs of a running program.
pub struct Outputs {
    world: World,
    mapper: Arc<Mapper>,
    turns: Arc<Semaphore>,
    running: Mutex<BTreeMap<(String, Tenant), Running>>,
}

/// Returns the name of an output among the ledger's views.
#[must_use]
pub fn view(output: &str) -> String {
    format!("output:{output}")
}

impl Outputs {
    /// Makes the outputs of a program that has none yet.
    #[must_use]
    pub fn new(world: World) -> Self {
        let mapper = Arc::new(Mapper::new(&world.instance));
        let turns = Arc::new(Semaphore::new(OUTPUT_TURNS_MAX));
        Self { world, mapper, turns, running: Mutex::default() }
    }

    /// Puts a configuration in force: what is new or different is started, what is gone or different is stopped, and what
    /// is the same goes on undisturbed.
    pub async fn reload(&self, configs: &Configs, tenants: &[Tenant]) {
        let wanted = |name: &str, tenant: &Tenant| configs.get(name).filter(|output| output.is_for(tenant));
        let gone: Vec<_> = {
            let mut running = lock(&self.running);
            let keys: Vec<_> = running
                .iter()
                .filter(|((name, tenant), running)| {
                    wanted(name, tenant).is_none_or(|output| output.fingerprint != running.fingerprint)
                })
                .map(|(key, _)| key.clone())
                .collect();
            keys.into_iter().filter_map(|key| running.remove_entry(&key)).collect()
        };
        for ((name, tenant), running) in gone {
            running.stop().await;
            if wanted(&name, &tenant).is_none() {
                self.world.source.consumed(&view(&name), &tenant, Position::MAX);
            }
        }
        let mut running = lock(&self.running);
        for (name, output) in configs {
            for tenant in tenants.iter().filter(|tenant| output.is_for(tenant)) {
                running.entry((name.clone(), tenant.clone())).or_insert_with(|| self.start(name, tenant, output));
            }
        }
    }

    fn start(&self, name: &str, tenant: &Tenant, output: &Output) -> Running {
        let (stop, stopping) = watch::channel(false);
        // Until it has looked what there is, it is behind: zero would mean that all was handed over.
        let stats = Stats { oldest: Some(self.world.clock.now()), ..Stats::default() };
        let stats = Arc::new(Mutex::new(stats));
        let worker = Worker {
            name: name.to_owned(),
            view: view(name),
            tenant: tenant.clone(),
            output: output.clone(),
            world: self.world.clone(),
            mapper: Arc::clone(&self.mapper),
            turns: Arc::clone(&self.turns),
            stats: Arc::clone(&stats),
            stopping,
        };
        let mut task = JoinSet::new();
        task.spawn(worker.supervise());
        Running { fingerprint: output.fingerprint, stats, stop, task }
    }

    /// Stops all outputs; what they have in their hands may still go out.
    pub async fn stop(&self) {
        let running = std::mem::take(&mut *lock(&self.running));
        for running in running.values() {
            running.stop.send_replace(true);
        }
        for running in running.into_values() {
            running.stop().await;
        }
    }

    /// Returns how each output stands with each tenant.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        let now = self.world.clock.now();
        let standing = |((output, tenant), running): (&(String, Tenant), &Running)| {
            let stats = lock(&running.stats);
            Standing {
                output: output.clone(),
                tenant: tenant.clone(),
                sent: stats.taken.sent,
                known: stats.taken.known,
                refused: stats.taken.refused,
                expired: stats.expired,
                bytes: stats.taken.bytes as u64,
                failures: stats.failures,
                position: stats.position,
                lag: stats.oldest.map_or(Duration::ZERO, |oldest| since(oldest, now)),
                failing: stats.failing.as_ref().map(|(reason, _)| reason.clone()),
                let_go: stats.let_go,
            }
        };
        lock(&self.running).iter().map(standing).collect()
    }

    /// Says which outputs have failed for some time, and why.
    #[must_use]
    pub fn ailments(&self) -> Vec<String> {
        let now = self.world.clock.monotonic();
        let ailment = |((name, tenant), running): (&(String, Tenant), &Running)| {
            let stats = lock(&running.stats);
            let (reason, from) = stats.failing.as_ref()?;
            let late = now.saturating_sub(*from);
            let let_go = if stats.let_go { ", and payloads are kept for it no longer" } else { "" };
            (late >= LATE).then(|| {
                format!("output {name}: events of {tenant} have waited {} min{let_go}: {reason}", late.as_secs() / 60)
            })
        };
        lock(&self.running).iter().filter_map(ailment).collect()
    }
}

impl Running {
    async fn stop(mut self) {
        self.stop.send_replace(true);
        // What takes longer is broken off, and goes out again after the next start.
        let _ = tokio::time::timeout(STOP_MAX, self.task.join_next()).await;
    }
}

/// What takes batches.
enum Receiver {
    File(File),
    Elastic(Box<Elastic>),
    Logstash(Logstash),
}

impl Receiver {
    fn new(output: &Output, world: &World) -> Result<Self, Failure> {
        Ok(match &output.to {
            To::File(file) => Self::File(File::new(file, &world.disk, &world.directory)),
            To::Elasticsearch(elastic) => {
                Self::Elastic(Box::new(Elastic::new(elastic, &world.disk, world.directory.clone())?))
            }
            To::Logstash(logstash) => Self::Logstash(Logstash::new(logstash, &world.disk, world.directory.clone())?),
        })
    }

    async fn hand_over(&mut self, tenant: &Tenant, batch: &mut Batch) -> Result<Taken, Failure> {
        match self {
            Self::File(file) => file.hand_over(batch).await,
            Self::Elastic(elastic) => elastic.hand_over(tenant, batch).await,
            Self::Logstash(logstash) => logstash.hand_over(batch).await,
        }
    }
}

/// One output at one tenant's ledger.
#[derive(Clone)]
struct Worker {
    name: String,
    view: String,
    tenant: Tenant,
    output: Output,
    world: World,
    mapper: Arc<Mapper>,
    turns: Arc<Semaphore>,
    stats: Arc<Mutex<Stats>>,
    stopping: watch::Receiver<bool>,
}

/// How far an output is.
struct Place {
    next: Position,
    /// What is stored of it.
    stored: Position,
    /// Whether no event was met yet whose payload is there: those before the first one were never promised to anybody.
    fresh: bool,
    /// What the ledger had written when everything was handed over last.
    written: u64,
}

impl Worker {
    /// Runs until told to stop. A panic ends an attempt and nothing else.
    async fn supervise(self) {
        loop {
            let mut attempt = JoinSet::new();
            attempt.spawn(self.clone().run());
            match attempt.join_next().await {
                Some(Err(error)) if error.is_panic() => {
                    self.failed(&Failure::later("the output panicked"), &mut None);
                    if self.clone().pause(AGAIN_MAX).await {
                        return;
                    }
                }
                _ => return,
            }
        }
    }

    async fn run(mut self) {
        let (mut wait, mut said) = (self.world.again, None);
        loop {
            let failure = match self.serve().await {
                Ok(()) => return,
                Err(failure) => failure,
            };
            if self.world.source.has_ended() {
                return;
            }
            self.failed(&failure, &mut said);
            if self.pause(wait).await {
                return;
            }
            wait = (wait * 2).min(AGAIN_MAX);
        }
    }

    /// Hands over batch after batch; ends when told to stop.
    async fn serve(&mut self) -> Result<(), Failure> {
        let mut receiver = Receiver::new(&self.output, &self.world)?;
        let mut place = self.place().await?;
        let mut feed = self.feed(place.next)?;
        while !*self.stopping.borrow() {
            let (mut batch, cut) = self.gather(&mut *feed, &mut place).await?;
            let caught_up = batch.caught_up;
            lock(&self.stats).oldest = batch.items.first().map(|item| item.admitted_at);
            if !self.hand_over(&mut receiver, &mut batch, &mut place).await? {
                return Ok(());
            }
            if cut {
                feed = self.feed(place.next)?;
            }
            if caught_up {
                place.written = self.world.source.written_bytes();
                let mut stopping = self.stopping.clone();
                tokio::select! {
                    () = feed.wait() => {}
                    _ = stopping.wait_for(|stop| *stop) => return Ok(()),
                }
                if self.pause(self.world.linger).await {
                    return Ok(());
                }
                if self.world.source.has_ended() {
                    return Err(Failure::later("the ledger has ended"));
                }
            }
        }
        Ok(())
    }

    /// Finds out where to go on, and has the ledger keep what comes from there.
    async fn place(&self) -> Result<Place, Failure> {
        let loaded = self.world.places.load(&self.name, &self.tenant).await.map_err(Failure::later)?;
        let end = self.world.source.next_position(&self.tenant).map_err(|refusal| Failure::later(refusal.reason))?;
        let (next, fresh) = match (loaded, self.output.begin) {
            // An old copy of the ledger was restored: what it records from here on is new.
            (Some(place), _) => (place.min(end), false),
            (None, Begin::Oldest) => (0, true),
            (None, Begin::Now) => (end, false),
        };
        let place = Place { next, stored: next, fresh, written: self.world.source.written_bytes() };
        if loaded != Some(next) && !fresh {
            self.store(next).await?;
        }
        self.world.source.consumed(&self.view, &self.tenant, next);
        lock(&self.stats).position = next;
        Ok(place)
    }

    fn feed(&self, from: Position) -> Result<Box<dyn Feed>, Failure> {
        self.world.source.events(&self.tenant, from).map_err(|refusal| Failure::later(refusal.reason))
    }

    async fn store(&self, next: Position) -> Result<(), Failure> {
        self.world.places.store(&self.name, &self.tenant, next).await.map_err(Failure::later)
    }

    /// Reads a batch; tells as well whether it was cut off in the middle of what was read, so that the rest must be read
    /// again.
    async fn gather(&self, feed: &mut dyn Feed, place: &mut Place) -> Result<(Batch, bool), Failure> {
        let mut batch = Batch { items: Vec::new(), bytes: 0, next: place.next, expired: 0, caught_up: false };
        loop {
            let turn = self.turns.acquire().await;
            let turn = turn.map_err(|_| Failure::later("the program stops"))?;
            let records = feed.read(OUTPUT_READ_RECORDS_MAX).await;
            let records = records.map_err(|refusal| Failure::later(refusal.reason))?;
            let Some(end) = records.last().map(|record| record.position + 1) else {
                batch.caught_up = true;
                return Ok((batch, false));
            };
            let (mapper, streams) = (Arc::clone(&self.mapper), self.output.streams.clone());
            let made = tokio::task::spawn_blocking(move || items(&mapper, &streams, &records)).await;
            let (items, expired) = made.map_err(|_| Failure::later("could not make documents"))?;
            drop(turn);
            if !place.fresh {
                batch.expired += expired;
            }
            place.fresh &= items.is_empty();
            for item in items {
                if batch.bytes + item.line.len() > OUTPUT_BATCH_BYTES_MAX && !batch.items.is_empty() {
                    batch.next = item.position;
                    return Ok((batch, true));
                }
                batch.bytes += item.line.len();
                batch.items.push(item);
            }
            batch.next = end;
            let is_full = batch.bytes >= OUTPUT_BATCH_BYTES_MAX / 4 * 3;
            let many = batch.items.len() + OUTPUT_READ_RECORDS_MAX > OUTPUT_BATCH_EVENTS_MAX;
            let silent = batch.next - place.next >= SILENT_RECORDS_MAX && batch.items.is_empty();
            if is_full || many || silent {
                return Ok((batch, false));
            }
        }
    }

    /// Hands a batch over, again and again until it is settled, and moves the place on (O-1). Tells whether to go on.
    async fn hand_over(
        &mut self,
        receiver: &mut Receiver,
        batch: &mut Batch,
        place: &mut Place,
    ) -> Result<bool, Failure> {
        let begun = self.world.clock.monotonic();
        let (mut wait, mut said) = (self.world.again, None);
        let had_items = !batch.items.is_empty();
        while !batch.items.is_empty() {
            self.hold(batch, place);
            let failure = match receiver.hand_over(&self.tenant, batch).await {
                Ok(taken) => {
                    self.took(taken);
                    continue;
                }
                Err(failure) => failure,
            };
            self.took(failure.taken.clone());
            self.failed(&failure, &mut said);
            let late = self.world.clock.monotonic().saturating_sub(begun) >= self.output.give_up_after;
            if failure.one_by_one && late {
                let refused = batch.take_all();
                self.took(Taken { refused, why: Some(failure.reason), ..Taken::default() });
                break;
            }
            if self.pause(failure.wait.unwrap_or(wait)).await {
                return Ok(false);
            }
            wait = (wait * 2).min(AGAIN_MAX);
        }
        self.settle(batch, place, had_items).await?;
        Ok(true)
    }

    /// Moves the place on behind a batch that is settled.
    async fn settle(&self, batch: &Batch, place: &mut Place, had_items: bool) -> Result<(), Failure> {
        if had_items || batch.next - place.stored >= SILENT_RECORDS_MAX {
            self.store(batch.next).await?;
            place.stored = batch.next;
        }
        place.next = batch.next;
        if batch.expired > 0 {
            let (output, tenant, count) = (&*self.name, &self.tenant, batch.expired);
            tracing::error!(output, %tenant, count, "events were deleted before they could be handed over");
            self.world.source.lose(&self.tenant, "output_expired", count);
        }
        self.world.source.consumed(&self.view, &self.tenant, place.next);
        let mut stats = lock(&self.stats);
        stats.expired += batch.expired;
        stats.position = place.stored;
        stats.oldest = stats.oldest.filter(|_| !batch.caught_up);
        if stats.failing.take().is_some() || stats.let_go {
            tracing::info!(output = self.name, tenant = %self.tenant, "an output takes events again");
        }
        stats.let_go = false;
        Ok(())
    }

    /// Has the ledger go on with its retention when payloads have waited for too long, or for too much (O-3).
    fn hold(&self, batch: &Batch, place: &Place) {
        let now = self.world.clock.now();
        let old = batch.items.first().is_some_and(|item| since(item.admitted_at, now) > self.output.give_up_after);
        let much = self.world.source.written_bytes().saturating_sub(place.written) > self.world.hold_bytes;
        if !(old || much || self.world.source.is_full()) {
            return;
        }
        let mut stats = lock(&self.stats);
        if !stats.let_go {
            tracing::error!(
                output = self.name,
                tenant = %self.tenant,
                "an output is so far behind that payloads are kept for it no longer"
            );
            stats.let_go = true;
            self.world.source.consumed(&self.view, &self.tenant, Position::MAX);
        }
    }

    fn took(&self, taken: Taken) {
        if taken.refused > 0 {
            let (output, tenant, count) = (&*self.name, &self.tenant, taken.refused);
            let reason = taken.why.as_deref().unwrap_or("no reason given");
            tracing::warn!(output, %tenant, count, reason, "a receiver refused events for good");
            self.world.source.lose(&self.tenant, "output_refused", count);
        }
        let mut stats = lock(&self.stats);
        stats.taken.sent += taken.sent;
        stats.taken.known += taken.known;
        stats.taken.refused += taken.refused;
        stats.taken.bytes += taken.bytes;
    }

    /// Counts a failure, and says it now and then.
    fn failed(&self, failure: &Failure, said: &mut Option<Duration>) {
        let now = self.world.clock.monotonic();
        let mut stats = lock(&self.stats);
        stats.failures += 1;
        let from = stats.failing.take().map_or(now, |(_, from)| from);
        stats.failing = Some((failure.reason.clone(), from));
        drop(stats);
        if said.is_none_or(|at| now.saturating_sub(at) >= SAY_EVERY) {
            *said = Some(now);
            let (output, tenant, reason) = (&*self.name, &self.tenant, &*failure.reason);
            tracing::warn!(output, %tenant, reason, "could not hand over events, trying again");
        }
    }

    /// Waits; tells whether it was told to stop meanwhile.
    async fn pause(&mut self, wait: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(wait) => false,
            _ = self.stopping.wait_for(|stop| *stop) => true,
        }
    }
}

/// Makes the documents of the events that a stream's pattern lets through, and counts those whose payload is gone.
fn items(mapper: &Mapper, streams: &[String], records: &[Recorded]) -> (Vec<Item>, u64) {
    let mut expired = 0;
    let mut items = Vec::new();
    for record in records {
        let Body::Event(event) = &record.signal.body else { continue };
        if !streams.iter().any(|pattern| fits(pattern, &event.stream)) {
            continue;
        }
        if is_stripped(event) {
            expired += 1;
            continue;
        }
        let mut line = mapper.document(record, event).to_string().into_bytes();
        line.push(b'\n');
        items.push(Item {
            id: mapper.id(&record.signal.tenant, record.position, record.admitted_at),
            stream: event.stream.clone(),
            admitted_at: record.admitted_at,
            line,
            position: record.position,
        });
    }
    (items, expired)
}

/// Tells whether retention deleted what an event said: when it reached us is in every payload.
fn is_stripped(event: &Event) -> bool {
    event.observed_ns == 0 && event.body.is_none() && event.attributes.is_empty() && event.resource.is_empty()
}

/// Tells whether a name fits a pattern in which `*` stands for any characters.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

fn since(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(at)).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
