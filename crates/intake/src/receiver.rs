//! The receiver: one body at a time from bytes to an answer, in the memory that it was given.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use model::limits::{
    INTAKE_BODY_BYTES_MAX, INTAKE_MEMORY_MAX, INTAKE_TENANT_MEMORY_MAX, INTAKE_TURNS_MAX, STREAMS_MAX,
};
use model::{Admit, Clock, Event, Receipt, SourceId, Tenant};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::admission::{Admission, Outcome, Reading};
use crate::bulk::{self, Malformed};
use crate::cloudevents::{self, Mode};
use crate::decode::{Encoding, Undecoded, decode};
use crate::otlp::{Export, Format};
use crate::{document, elastic, events, fhir, loki, otlp};

/// What one permit stands for.
const PERMIT_BYTES: usize = 1 << 10;
/// How long a request waits for memory before it is told to come back.
const ROOM_WAIT: Duration = Duration::from_secs(2);
/// Seconds after which a sender may come back.
const RETRY_AFTER: u32 = 2;
/// Refused items that an answer names; the rest are counted.
const REFUSED_SHOWN_MAX: usize = 100;

/// A request whose sender is known.
#[derive(Clone, Debug)]
pub struct Call {
    /// Whose events these are.
    pub tenant: Tenant,
    /// Which token brought them.
    pub source: SourceId,
    /// How the body is packed.
    pub encoding: Encoding,
    /// The body as it came.
    pub body: Bytes,
}

/// What the sender is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, JSON.
    pub body: String,
    /// What is wrong, in words, where something is.
    pub detail: String,
    /// Seconds after which the same request may succeed.
    pub retry_after: Option<u32>,
}

/// What became of items that are read from a source without an answer, such as a socket or a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// How many became durable.
    pub durable: u64,
    /// How many can never be.
    pub refused: u64,
    /// How many from the first on are done with.
    pub settled: usize,
    /// Why the others are to be given again, where there are others.
    pub later: Option<String>,
}

/// There is no memory for a body now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too much is being received at once")]
pub struct Full;

/// Memory set aside for one body; given back when it goes.
#[derive(Debug)]
pub struct Room(#[expect(dead_code, reason = "gives the memory back when it is dropped")] [OwnedSemaphorePermit; 2]);

/// Receives events for the whole instance. Cheap to share behind an `Arc`.
pub struct Receiver {
    admit: Arc<dyn Admit>,
    clock: Arc<dyn Clock>,
    memory: Arc<Semaphore>,
    /// Each tenant's share of it.
    shares: Mutex<HashMap<Tenant, Arc<Semaphore>>>,
    /// Requests whose events are taken apart.
    turns: Semaphore,
    /// The streams that each tenant has sent to since the start.
    streams: Mutex<HashMap<Tenant, HashSet<String>>>,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("memory", &self.memory.available_permits()).finish_non_exhaustive()
    }
}

impl Receiver {
    /// Makes a receiver whose events go to `admit`.
    #[must_use]
    pub fn new(admit: Arc<dyn Admit>, clock: Arc<dyn Clock>) -> Self {
        let memory = Arc::new(Semaphore::new(INTAKE_MEMORY_MAX / PERMIT_BYTES));
        let turns = Semaphore::new(INTAKE_TURNS_MAX);
        Self { admit, clock, memory, shares: Mutex::default(), turns, streams: Mutex::default() }
    }

    /// Sets memory aside for a tenant's body before it is read: as much as the largest may take for one that does not say
    /// how long it is, and as much again for what is packed, since both forms are there while it is unpacked.
    ///
    /// # Errors
    /// When none becomes free in time: answer 429.
    pub async fn room(&self, tenant: &Tenant, length: Option<u64>, encoding: Encoding) -> Result<Room, Full> {
        let largest = INTAKE_BODY_BYTES_MAX as u64;
        let unpacked = if encoding == Encoding::Identity { 0 } else { largest };
        let bytes = length.unwrap_or(largest).min(largest) + unpacked;
        let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES as u64).max(1)).map_err(|_| Full)?;
        let (share, memory) = (self.share(tenant), Arc::clone(&self.memory));
        let wait = async {
            // First of its own share: who has used that up holds nothing of the others' while he waits.
            let own = share.acquire_many_owned(permits).await.map_err(|_| Full)?;
            let all = memory.acquire_many_owned(permits).await.map_err(|_| Full)?;
            Ok(Room([own, all]))
        };
        tokio::time::timeout(ROOM_WAIT, wait).await.unwrap_or(Err(Full))
    }

    fn share(&self, tenant: &Tenant) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let share = shares.entry(tenant.clone());
        Arc::clone(share.or_insert_with(|| Arc::new(Semaphore::new(INTAKE_TENANT_MEMORY_MAX / PERMIT_BYTES))))
    }

    /// Takes a `_bulk` body; `index` is that of the path.
    pub async fn bulk(&self, mut call: Call, index: Option<&str>) -> Answer {
        let start = self.clock.monotonic();
        let body = match unpack(call.encoding, std::mem::take(&mut call.body)).await {
            Ok(body) => body,
            Err(undecoded) => return refusal(undecoded),
        };
        let items = match bulk::split(&body, index) {
            Ok(items) => items,
            Err(Malformed(reason)) => return failed(400, &reason),
        };
        let (observed_ns, last) = (self.now_ns(), bulk::LastStream::default());
        let read = |number: usize| {
            let item = items.get(number).ok_or("there is no such item")?;
            let (stream, bytes) = item.readable(&body, &last)?;
            Ok((self.event(&call.tenant, stream, bytes, observed_ns)?, bytes.len()))
        };
        let (outcomes, _) = self.admit(&call, items.len(), &read).await;
        let mut answers = String::with_capacity(items.len() * 160);
        let mut errors = false;
        for (item, outcome) in items.iter().zip(&outcomes) {
            if !answers.is_empty() {
                answers.push(',');
            }
            errors |= item.answer(outcome.as_ref(), &mut answers);
        }
        let took = self.clock.monotonic().saturating_sub(start).as_millis();
        let body = format!("{{\"took\":{took},\"errors\":{errors},\"items\":[{answers}]}}");
        Answer { status: 200, body, detail: String::new(), retry_after: None }
    }

    /// Reads items one after the other and admits them.
    async fn admit(&self, call: &Call, items: usize, read: &Reading<'_>) -> (Vec<Option<Outcome>>, Option<Receipt>) {
        // Never closed, so there is always a turn.
        let _turn = self.turns.acquire().await;
        let mut admission = Admission::new(&self.admit, (&call.tenant, call.source), items, read);
        admission.run().await;
        (admission.outcomes, admission.last)
    }

    /// Reads items of a source without an answer, as many and as large as `size` says, and admits them once there is memory.
    pub(crate) async fn take(
        &self,
        (tenant, source): (&Tenant, SourceId),
        size: (usize, usize),
        read: &Reading<'_>,
    ) -> Taken {
        let Ok(_room) = self.room(tenant, Some(size.1 as u64), Encoding::Identity).await else {
            return Taken { later: Some(Full.to_string()), ..Taken::default() };
        };
        let read = |number: usize| self.known(tenant, read(number)?);
        let call = Call { tenant: tenant.clone(), source, encoding: Encoding::Identity, body: Bytes::new() };
        let (outcomes, _) = self.admit(&call, size.0, &read).await;
        let mut taken = Taken::default();
        for outcome in outcomes {
            match outcome {
                Some(Outcome::Later(why)) => return Taken { later: Some(why), ..taken },
                Some(Outcome::Durable(_)) => taken.durable += 1,
                Some(Outcome::Never(_)) | None => taken.refused += 1,
            }
            taken.settled += 1;
        }
        taken
    }

    /// Takes events of our own API for `stream`. Answers 202 when all that can be events are durable; 429 with how many
    /// are, when the rest is to be sent again; 400 when none is an event.
    pub async fn events(&self, mut call: Call, stream: &str) -> Answer {
        let problem = |status: u16, why: String| Answer { status, body: String::new(), detail: why, retry_after: None };
        let body = match unpack(call.encoding, std::mem::take(&mut call.body)).await {
            Ok(body) => body,
            Err(undecoded) => return problem(refusal(undecoded).status, undecoded.to_string()),
        };
        let documents = match events::split(&body) {
            Ok(documents) => documents,
            Err(why) => return problem(400, why.to_owned()),
        };
        let Some(stream) = elastic::stream_of(stream) else {
            return problem(400, "the name of the stream is not valid".to_owned());
        };
        let observed_ns = self.now_ns();
        let read = |number: usize| {
            let range = documents.get(number).cloned().ok_or("there is no such event")?;
            let bytes = events::document(&body, range)?;
            Ok((self.event(&call.tenant, stream.clone(), bytes, observed_ns)?, bytes.len()))
        };
        let (outcomes, last) = self.admit(&call, documents.len(), &read).await;
        sum_up(&outcomes, last.as_ref())
    }

    /// Takes CloudEvents for `stream`, and answers as [`Receiver::events`] does. A batch may be empty.
    pub async fn cloud_events(&self, mut call: Call, mode: &Mode, stream: &str) -> Answer {
        let problem = |status: u16, why: String| Answer { status, body: String::new(), detail: why, retry_after: None };
        let body = match unpack(call.encoding, std::mem::take(&mut call.body)).await {
            Ok(body) => body,
            Err(undecoded) => return problem(undecoded.status(), undecoded.to_string()),
        };
        let split = match cloudevents::Split::new(&body, mode) {
            Ok(split) => split,
            Err(why) => return problem(400, why.to_owned()),
        };
        let Some(stream) = elastic::stream_of(stream) else {
            return problem(400, "the name of the stream is not valid".to_owned());
        };
        let observed_ns = self.now_ns();
        let read = |number: usize| self.known(&call.tenant, split.event(number, &stream, observed_ns)?);
        let (outcomes, last) = self.admit(&call, split.len(), &read).await;
        let answer = sum_up(&outcomes, last.as_ref());
        if outcomes.is_empty() { Answer { status: 202, ..answer } } else { answer }
    }

    /// Takes audit events of FHIR for `stream`: one, or a bundle of them, of which a transaction is taken as a whole.
    pub async fn audit_events(&self, mut call: Call, stream: &str) -> fhir::Answer {
        let failed = |status: u16, why: &str| {
            let body = fhir::outcome(status, why);
            fhir::Answer { status, body, location: None, retry_after: None }
        };
        let body = match unpack(call.encoding, std::mem::take(&mut call.body)).await {
            Ok(body) => body,
            Err(undecoded) => return failed(undecoded.status(), &undecoded.to_string()),
        };
        let split = match fhir::Split::new(&body) {
            Ok(split) => split,
            Err(issue) => return issue.answer(),
        };
        let Some(stream) = elastic::stream_of(stream) else {
            return failed(400, "the name of the stream is not valid");
        };
        let observed_ns = self.now_ns();
        if split.mode == fhir::Mode::Transaction {
            let issue = |number: usize| Some((number, split.event(number, &stream, observed_ns).err()?));
            let issues: Vec<_> = (0..split.len()).filter_map(issue).collect();
            if !issues.is_empty() {
                return fhir::refused(&issues);
            }
        }
        let read = |number: usize| {
            let event = split.event(number, &stream, observed_ns).map_err(|issue| issue.text.into_owned())?;
            self.known(&call.tenant, event)
        };
        let (outcomes, _) = self.admit(&call, split.len(), &read).await;
        fhir::answer(&split, &outcomes)
    }

    /// Takes log records of OTLP. What can never be taken is counted in the answer; when the rest is to be sent again, all is,
    /// since the protocol has no word for a part of it: what is durable already comes a second time.
    pub async fn otlp(&self, mut call: Call, format: Format) -> Export {
        let failed =
            |status, message: &str| Export { status, rejected: 0, message: message.to_owned(), retry_after: None };
        let body = match unpack(call.encoding, std::mem::take(&mut call.body)).await {
            Ok(body) => body,
            Err(undecoded) => return failed(undecoded.status(), &undecoded.to_string()),
        };
        let split = match otlp::Split::new(&body, format) {
            Ok(split) => split,
            Err(why) => return failed(400, why),
        };
        let observed_ns = self.now_ns();
        let read = |number: usize| self.known(&call.tenant, split.event(number, observed_ns)?);
        let (outcomes, _) = self.admit(&call, split.len(), &read).await;
        whole(&outcomes)
    }

    /// Takes what is pushed as to Loki; `snappy` says that the body is packed as one block.
    pub async fn loki(&self, mut call: Call, format: Format) -> Export {
        let failed =
            |status, message: &str| Export { status, rejected: 0, message: message.to_owned(), retry_after: None };
        let body = match unpack(call.encoding, std::mem::take(&mut call.body)).await {
            Ok(body) => body,
            Err(undecoded) => return failed(undecoded.status(), &undecoded.to_string()),
        };
        let body = match format {
            Format::Json => body,
            Format::Protobuf => match loki::unpack(&body) {
                Ok(body) => body.into(),
                Err(why) => return failed(400, why),
            },
        };
        let split = match loki::Split::new(&body, format) {
            Ok(split) => split,
            Err(why) => return failed(400, why),
        };
        let observed_ns = self.now_ns();
        let read = |number: usize| self.known(&call.tenant, split.event(number, observed_ns)?);
        let (outcomes, _) = self.admit(&call, split.len(), &read).await;
        let export = whole(&outcomes);
        // Loki has no partial success: whoever pushed lines that can never be taken is told so, once the others are durable.
        if export.status == 200 && export.rejected > 0 { Export { status: 400, ..export } } else { export }
    }

    fn known(&self, tenant: &Tenant, (event, bytes): (Event, usize)) -> Result<(Event, usize), String> {
        self.know(tenant, &event.stream)?;
        Ok((event, bytes))
    }

    /// Reads a document as an event of a stream.
    fn event(&self, tenant: &Tenant, stream: String, json: &[u8], observed_ns: i64) -> Result<Event, String> {
        let document = document::read(json).map_err(|unread| unread.to_string())?;
        self.know(tenant, &stream)?;
        Ok(document::event(stream, document, observed_ns))
    }

    /// Bounds how many streams a tenant makes: their names stay in the ledger for ever.
    fn know(&self, tenant: &Tenant, stream: &str) -> Result<(), String> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if !streams.contains_key(tenant) {
            streams.insert(tenant.clone(), HashSet::new());
        }
        let Some(known) = streams.get_mut(tenant).filter(|known| !known.contains(stream)) else { return Ok(()) };
        if known.len() >= STREAMS_MAX {
            return Err(format!("the tenant has {STREAMS_MAX} streams, and no more may be made"));
        }
        known.insert(stream.to_owned());
        Ok(())
    }

    pub(crate) fn now(&self) -> jiff::Timestamp {
        self.clock.now()
    }

    fn now_ns(&self) -> i64 {
        i64::try_from(self.now().as_nanosecond()).unwrap_or(i64::MAX)
    }
}

/// Unpacks a body; what is packed does so where it holds up nobody else.
async fn unpack(encoding: Encoding, body: Bytes) -> Result<Bytes, Undecoded> {
    if encoding == Encoding::Identity {
        return decode(encoding, body);
    }
    tokio::task::spawn_blocking(move || decode(encoding, body)).await.unwrap_or(Err(Undecoded::Broken))
}

fn failed(status: u16, reason: &str) -> Answer {
    let body = elastic::error(status, elastic::error_type(status), reason).to_string();
    Answer { status, body, detail: reason.to_owned(), retry_after: None }
}

fn refusal(undecoded: Undecoded) -> Answer {
    failed(undecoded.status(), &undecoded.to_string())
}

/// What is said of a request as a whole: 200 when all that can be taken is durable, 429 when some may be taken later.
fn whole(outcomes: &[Option<Outcome>]) -> Export {
    let later = outcomes.iter().flatten().find_map(|outcome| match outcome {
        Outcome::Later(why) => Some(why.clone()),
        _ => None,
    });
    if let Some(message) = later {
        return Export { status: 429, rejected: 0, message, retry_after: Some(RETRY_AFTER) };
    }
    let mut never = outcomes.iter().filter_map(|outcome| match outcome {
        Some(Outcome::Durable(_) | Outcome::Later(_)) => None,
        Some(Outcome::Never(why)) => Some(why.as_str()),
        None => Some("it was not read"),
    });
    let first = never.next();
    let rejected = u64::from(first.is_some()) + never.count() as u64;
    let message =
        first.map_or_else(String::new, |why| format!("{rejected} of {} refused; the first: {why}", outcomes.len()));
    let status = if rejected > 0 && rejected == outcomes.len() as u64 { 400 } else { 200 };
    Export { status, rejected, message, retry_after: None }
}

/// Tells the sender of events what became of them.
fn sum_up(outcomes: &[Option<Outcome>], last: Option<&Receipt>) -> Answer {
    let (mut accepted, mut refused, mut reasons, mut later) = (0_u64, 0_u64, Vec::new(), None);
    for (outcome, number) in outcomes.iter().zip(1_u64..) {
        match outcome {
            Some(Outcome::Durable(_)) => accepted += 1,
            Some(Outcome::Later(why)) => {
                later.get_or_insert((number, why.clone()));
            }
            Some(Outcome::Never(why)) => {
                refused += 1;
                if reasons.len() < REFUSED_SHOWN_MAX {
                    reasons.push(Reason { event: number, reason: why });
                }
            }
            None => refused += 1,
        }
    }
    let detail = later.as_ref().map(|(_, why)| why.clone()).or_else(|| Some(reasons.first()?.reason.to_owned()));
    let status = match later {
        Some(_) => 429,
        None if accepted == 0 => 400,
        None => 202,
    };
    let resume_at = later.map(|(number, _)| number);
    let sum = Sum { accepted, refused, receipt: last, reasons, resume_at };
    let body = serde_json::to_string(&sum).unwrap_or_default();
    Answer { status, body, detail: detail.unwrap_or_default(), retry_after: (status == 429).then_some(RETRY_AFTER) }
}

/// What became of a request's events.
#[derive(Serialize)]
struct Sum<'a> {
    accepted: u64,
    refused: u64,
    /// That of the last event that is durable.
    receipt: Option<&'a Receipt>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<Reason<'a>>,
    /// Number of the event from which on all are to be sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    resume_at: Option<u64>,
}

/// Why an event will never be taken.
#[derive(Serialize)]
struct Reason<'a> {
    /// Its number in the body, from 1.
    event: u64,
    reason: &'a str,
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use model::{StepClock, Timestamp};

    use serde_json::{Value, json};

    use super::*;

    fn json_of(answer: &Answer) -> Value {
        serde_json::from_str(&answer.body).unwrap_or_default()
    }
    use crate::admission::tests::Door;

    fn receiver(room: usize) -> (Receiver, Arc<Door>) {
        let door = Door::new(room);
        let clock = Arc::new(StepClock::new(Timestamp::from_second(1_700_000_000).expect("in range")));
        (Receiver::new(door.clone(), clock), door)
    }

    fn call(body: impl Into<Bytes>) -> Call {
        let (tenant, source) = (Tenant::default(), SourceId([1; 16]));
        Call { tenant, source, encoding: Encoding::Identity, body: body.into() }
    }

    #[tokio::test]
    async fn a_bulk_is_answered_item_by_item() {
        let (receiver, door) = receiver(100);
        let body = "{\"create\":{\"_index\":\"app-2026.11.27\"}}\n{\"message\":\"one\",\"log.level\":\"error\"}\n\
                    {\"index\":{}}\nnoise\n{\"delete\":{\"_id\":\"1\"}}\n{\"index\":{\"_id\":\"x\"}}\n{\"message\":\"two\"}\n";
        let answer = receiver.bulk(call(body), Some("web")).await;
        assert_eq!((answer.status, json_of(&answer)["errors"].as_bool()), (200, Some(true)));
        let items = json_of(&answer)["items"].as_array().cloned().expect("a list");
        let statuses: Vec<_> = items
            .iter()
            .map(|item| item.as_object().expect("one").values().next().expect("one")["status"].clone())
            .collect();
        assert_eq!(statuses, [201, 400, 400, 201]);
        assert_eq!(items[3]["index"]["_id"], "x");
        let events = door.events();
        let seen: Vec<_> = events.iter().map(|e| (e.stream.as_str(), e.severity, e.observed_ns)).collect();
        assert_eq!(seen, [("app", 17, 1_700_000_000_000_000_000), ("web", 0, 1_700_000_000_000_000_000)]);
    }

    #[tokio::test]
    async fn a_full_ledger_asks_to_come_back_and_nothing_is_said_to_be_stored() {
        let (receiver, door) = receiver(0);
        let answer = receiver.bulk(call("{\"index\":{\"_index\":\"a\"}}\n{\"m\":1}\n"), None).await;
        assert_eq!(json_of(&answer)["items"][0]["index"]["status"], 429);
        let answer = receiver.events(call("{\"m\":1}\n{\"m\":2}\n"), "a").await;
        assert_eq!((answer.status, answer.retry_after), (429, Some(RETRY_AFTER)));
        assert_eq!((json_of(&answer)["accepted"].as_u64(), json_of(&answer)["resume_at"].as_u64()), (Some(0), Some(1)));
        assert!(door.events().is_empty());
    }

    #[tokio::test]
    async fn events_come_in_lines_and_arrays() {
        let (receiver, door) = receiver(100);
        let answer = receiver.events(call("{\"message\":\"a\"}\nnoise\n{\"message\":\"b\"}\n"), "shop").await;
        assert_eq!(answer.status, 202, "{:?}", json_of(&answer));
        assert_eq!((json_of(&answer)["accepted"].as_u64(), json_of(&answer)["refused"].as_u64()), (Some(2), Some(1)));
        assert_eq!(json_of(&answer)["reasons"][0], json!({"event": 2, "reason": "the document is not JSON"}));
        assert_eq!(json_of(&answer)["receipt"]["position"], 1);
        assert_eq!(receiver.events(call("[{\"message\":\"c\"}]"), "shop").await.status, 202);
        for (body, stream) in [("", "shop"), ("[", "shop"), ("noise", "shop"), ("{\"a\":1}", "a b")] {
            assert_eq!(receiver.events(call(body), stream).await.status, 400, "{body}");
        }
        assert_eq!(door.events().len(), 3);
    }

    #[tokio::test]
    async fn packed_bodies_are_unpacked_within_their_bound() {
        let (receiver, door) = receiver(100);
        let pack = |bytes: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).expect("packs");
            Call { encoding: Encoding::Gzip, ..call(encoder.finish().expect("packs")) }
        };
        let body = b"{\"index\":{\"_index\":\"a\"}}\n{\"m\":1}\n";
        assert_eq!(json_of(&receiver.bulk(pack(body), None).await)["errors"], false);
        assert_eq!(receiver.events(pack(b"{\"m\":1}"), "a").await.status, 202);
        let bomb = vec![b' '; INTAKE_BODY_BYTES_MAX + 1];
        assert_eq!(receiver.bulk(pack(&bomb), None).await.status, 413);
        assert_eq!(receiver.events(pack(&bomb), "a").await.status, 413);
        let broken = Call { encoding: Encoding::Gzip, ..call("text") };
        assert_eq!(receiver.bulk(broken, None).await.status, 400);
        let cut = receiver.bulk(call("{\"index\":{\"_index\":\"a\"}}\n"), None).await;
        assert_eq!((cut.status, json_of(&cut)["error"]["type"].as_str()), (400, Some("illegal_argument_exception")));
        assert_eq!(door.events().len(), 2);
    }

    #[tokio::test]
    async fn otlp_and_loki_are_told_what_became_of_the_whole() {
        let (receiver, door) = receiver(3);
        let body = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"a"}},{"severityNumber":"x"}]}]}]}"#;
        let export = receiver.otlp(call(body), Format::Json).await;
        assert_eq!((export.status, export.rejected), (200, 1));
        assert_eq!(export.message, "1 of 2 refused; the first: the record cannot be read");
        let push =
            |values: &str| call(format!("{{\"streams\":[{{\"stream\":{{\"job\":\"j\"}},\"values\":[{values}]}}]}}"));
        assert_eq!(receiver.loki(push("[\"1\",\"b\"]"), Format::Json).await.status, 200);
        let half = receiver.loki(push("[\"1\",\"c\"],[\"x\",\"d\"]"), Format::Json).await;
        assert_eq!((half.status, half.rejected), (400, 1), "Loki knows no partial success");
        let full = receiver.loki(push("[\"1\",\"e\"]"), Format::Json).await;
        assert_eq!((full.status, full.retry_after), (429, Some(RETRY_AFTER)));
        assert_eq!(receiver.otlp(call(body), Format::Json).await.status, 429);
        for (format, body) in [(Format::Json, "["), (Format::Protobuf, "noise")] {
            assert_eq!(receiver.otlp(call(body), format).await.status, 400);
            assert_eq!(receiver.loki(call(body), format).await.status, 400);
        }
        let none = receiver.otlp(call(r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[7]}]}]}"#), Format::Json).await;
        assert_eq!((none.status, none.rejected), (400, 1));
        let broken = || Call { encoding: Encoding::Gzip, ..call("text") };
        assert_eq!(receiver.otlp(broken(), Format::Json).await.status, 400);
        assert_eq!(receiver.loki(broken(), Format::Json).await.status, 400);
        let packed = snap::raw::Encoder::new().compress_vec(b"\xff").expect("packs");
        assert_eq!(receiver.loki(call(packed), Format::Protobuf).await.status, 400);
        let streams: Vec<String> = door.events().into_iter().map(|event| event.stream).collect();
        assert_eq!(streams, ["otlp", "j", "j"]);
    }

    #[tokio::test]
    async fn a_tenant_cannot_make_streams_without_end() {
        let (receiver, _) = receiver(usize::MAX);
        let tenant = Tenant::default();
        for number in 0..STREAMS_MAX {
            assert_eq!(receiver.know(&tenant, &format!("s{number}")), Ok(()));
        }
        assert!(receiver.know(&tenant, "one more").is_err());
        assert_eq!(receiver.know(&tenant, "s7"), Ok(()), "those that are there go on");
        assert_eq!(receiver.know(&Tenant::new("other").expect("valid"), "s"), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_whatever_comes_and_whoever_sends() {
        let (receiver, _) = receiver(0);
        let [one, two, three] = ["one", "two", "three"].map(|name| Tenant::new(name).expect("valid"));
        let plain = Encoding::Identity;
        let mut rooms = Vec::new();
        while let Ok(room) = receiver.room(&one, None, plain).await {
            rooms.push(room);
        }
        assert_eq!(rooms.len(), INTAKE_TENANT_MEMORY_MAX / INTAKE_BODY_BYTES_MAX);
        let other = receiver.room(&two, Some(10), plain).await.expect("one tenant leaves room for others");
        let last = receiver.room(&three, None, plain).await.expect("room");
        assert_eq!(receiver.room(&two, Some(u64::MAX), plain).await.err(), Some(Full), "all is taken");
        rooms.pop();
        assert!(receiver.room(&one, Some(u64::MAX), plain).await.is_ok());
        drop((other, last));
        let packed = receiver.room(&three, None, Encoding::Gzip).await.expect("room for both forms");
        assert_eq!(receiver.room(&three, Some(1), plain).await.err(), Some(Full), "they take the whole share");
        drop(packed);
        assert!(receiver.room(&two, Some(10), plain).await.is_ok());
        assert!(format!("{receiver:?}").contains("memory"));
    }
}
