//! Files of logs that are followed: lines become events once, however a file is renamed, cut or replaced, and whenever this
//! process ends.
//!
//! Nothing more is read than is durable. Each event says of which file it is (`log.file.id`) and where reading goes on
//! behind it (`log.file.next`); the positions in `sources.json` lag by a second, and a start reads the events that were
//! recorded since, so that a killed process goes on at the exact byte. Where a policy takes these attributes out of a
//! stream, its last second comes twice after a kill.

mod glob;
mod join;
mod keep;
mod tail;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use model::config::{FieldSpec, Spec, Ty};
use model::limits::{FILE_RECORD_BYTES_MAX, FILES_GROUP_BYTES_MAX, FILES_MAX};
use model::{Clock, Event, Feed, Kind, Lose, Position, Refusal, Rng, SourceId, Tenant, Value};
use serde::Deserialize;
use tokio::sync::watch;

use crate::document;
use crate::receiver::Receiver;
use join::{Multiline, Record, Rules};
use keep::Kept;
use tail::Tail;

pub use join::Format;

/// How long nothing is looked at after nothing had come.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often the patterns are gone through.
const SCAN_EVERY: Duration = Duration::from_secs(5);
/// How often positions are kept while events come, and when none do.
const KEEP_EVERY: Duration = Duration::from_secs(1);
const KEEP_IDLE_EVERY: Duration = Duration::from_secs(60);
/// How long a file that no pattern finds any more is followed: whoever renamed it may still write to it.
const LINGER: Duration = Duration::from_secs(10);
/// How long the ledger is left alone after it took nothing, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The keys of `sources.files`.
pub(crate) static SPEC: Spec = Spec {
    name: "sources.files.*",
    doc: "Files of logs that are followed from their first line on, through rotation and restarts.",
    fields: &[
        FieldSpec::required(
            "paths",
            Ty::OneOrMore(&Ty::Path),
            "Which files: `*` and `?` stand for characters of a name, `**` for directories however deep.",
        ),
        FieldSpec::required("stream", Ty::Text, "The stream that their events belong to."),
        FieldSpec::optional("tenant", Ty::Text, Tenant::DEFAULT, "Whose events these are."),
        FieldSpec::optional(
            "format",
            Ty::Enum(&["plain", "json", "docker", "cri"]),
            "plain",
            "`json` has an object a line; `docker` is its json-file driver's, `cri` what Kubernetes has in /var/log/pods.",
        ),
        FieldSpec::optional(
            "multiline",
            Ty::Object(&MULTILINE),
            "",
            "Which lines are one event, such as stack traces.",
        ),
    ],
};

static MULTILINE: Spec = Spec {
    name: "sources.files.*.multiline",
    doc: "Which lines are one event: one of both keys.",
    fields: &[
        FieldSpec::optional("begins", Ty::Regex, "", "Lines that fit begin an event; others go on the one before."),
        FieldSpec::optional("goes_on", Ty::Regex, "", "Lines that fit go on the event before; others begin one."),
    ],
};

/// Files that are followed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesConfig {
    /// Which.
    #[serde(deserialize_with = "model::config::de::one_or_more")]
    pub paths: Vec<PathBuf>,
    /// The stream of their events.
    pub stream: String,
    /// Whose events these are.
    #[serde(default)]
    pub tenant: Tenant,
    /// How lines are written.
    #[serde(default)]
    pub format: Format,
    /// Which lines are one event.
    pub multiline: Option<MultilineConfig>,
}

/// Which lines are one event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MultilineConfig {
    /// Lines that begin one.
    pub begins: Option<String>,
    /// Lines that go on the one before.
    pub goes_on: Option<String>,
}

impl FilesConfig {
    /// Says what is wrong with how lines become events, if anything is.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        self.rules().map(drop)
    }

    fn rules(&self) -> Result<Rules, &'static str> {
        let multiline = match &self.multiline {
            None => None,
            Some(MultilineConfig { begins: Some(begins), goes_on: None }) => Some((begins, true)),
            Some(MultilineConfig { begins: None, goes_on: Some(goes_on) }) => Some((goes_on, false)),
            Some(_) => return Err("expected either begins or goes_on"),
        };
        let compiled = multiline.map(|(pattern, begins)| {
            let pattern = regex::bytes::Regex::new(pattern).map_err(|_| "expected a regular expression")?;
            Ok::<_, &'static str>(Multiline { pattern, begins })
        });
        Ok(Rules { format: self.format, multiline: compiled.transpose()? })
    }
}

/// Opens a tenant's records from a position on.
pub type Records = dyn Fn(&Tenant, Position) -> Result<Box<dyn Feed>, Refusal> + Send + Sync;

/// Tells the position behind a tenant's last durable record.
pub type Durable = dyn Fn(&Tenant) -> Option<Position> + Send + Sync;

/// What following needs of the rest of the program.
pub struct Means {
    /// Takes the events.
    pub receiver: Arc<Receiver>,
    /// Takes note of what can never be recorded.
    pub losses: Arc<dyn Lose>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes the names of files.
    pub rng: Arc<dyn Rng>,
    /// Keeps the positions.
    pub disk: Arc<dyn disk::Disk>,
    /// In which file.
    pub kept: PathBuf,
    /// The key of the prints of files.
    pub key: [u8; 32],
    /// Reads the records of a tenant.
    pub records: Box<Records>,
    /// Tells the position behind a tenant's last durable record.
    pub durable: Box<Durable>,
    /// What ails.
    pub ailments: Arc<Ailments>,
}

/// What cannot be read now, for the people who run this.
#[derive(Debug, Default)]
pub struct Ailments(Mutex<BTreeSet<String>>);

impl Ailments {
    /// Returns what ails.
    #[must_use]
    pub fn list(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn set(&self, ailments: BTreeSet<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ailments;
    }

    /// Says why something ails, or that it does not.
    pub(crate) fn tell(&self, what: &str, why: Option<&str>) {
        let mut ailments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ailments.retain(|ailment| !ailment.strip_prefix(what).is_some_and(|rest| rest.starts_with(": ")));
        ailments.extend(why.map(|why| format!("{what}: {why}")));
    }
}

/// A source of the configuration, ready to be read.
struct Source {
    patterns: Vec<PathBuf>,
    stream: String,
    tenant: Tenant,
    rules: Rules,
}

/// All files that are followed, with the source that each is of.
struct Watch {
    sources: Vec<Source>,
    tails: Vec<(usize, Tail)>,
    kept: Kept,
    scanned_at: Option<Duration>,
    ailments: BTreeSet<String>,
    rng: Arc<dyn Rng>,
    key: [u8; 32],
    /// Whether a file is known by another name or beginning than what is kept.
    must_keep: bool,
    /// Whether anything had come when it was looked last.
    has_read: bool,
}

/// What a round has read of one file.
struct Batch {
    tail: usize,
    source: usize,
    records: Vec<Record>,
}

/// Follows files until `halted` says so.
pub async fn follow(config: Vec<FilesConfig>, means: Means, mut halted: watch::Receiver<bool>) {
    let source = |files: &FilesConfig| {
        // What cannot be carried out was refused with the configuration.
        let rules = files.rules().unwrap_or_default();
        let (stream, tenant) = (files.stream.clone(), files.tenant.clone());
        Source { patterns: files.paths.clone(), stream, tenant, rules }
    };
    let sources = config.iter().map(source).collect();
    let kept = keep::load(&means).await;
    let mut watch = Watch {
        sources,
        tails: Vec::new(),
        kept,
        scanned_at: None,
        ailments: BTreeSet::new(),
        rng: Arc::clone(&means.rng),
        key: means.key,
        must_keep: false,
        has_read: false,
    };
    let mut kept_at = Duration::ZERO;
    loop {
        let now = means.clock.monotonic();
        let round = tokio::task::spawn_blocking(move || {
            let batches = watch.round(now);
            (watch, batches)
        });
        // Only a runtime that ends gives a round up.
        let Ok((back, batches)) = round.await else { return };
        watch = back;
        means.ailments.set(watch.ailments.clone());
        if std::mem::take(&mut watch.must_keep) {
            // Before its events are: a file that is replaced must not be taken for the one before.
            keep::keep(&means, &watch).await;
        }
        let came = watch.has_read || !batches.is_empty();
        for batch in batches {
            deliver(&means, &mut watch, batch, &mut halted).await;
        }
        let now = means.clock.monotonic();
        let is_over = *halted.borrow();
        let every = if came { KEEP_EVERY } else { KEEP_IDLE_EVERY };
        if is_over || now.saturating_sub(kept_at) >= every {
            keep::keep(&means, &watch).await;
            kept_at = now;
        }
        if is_over {
            return;
        }
        if !came {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = halted.changed() => {}
            }
        }
    }
}

/// Holds what was read of a file until the ledger has it. What is given up at the end is read again at the next start.
async fn deliver(means: &Means, watch: &mut Watch, batch: Batch, halted: &mut watch::Receiver<bool>) {
    let Some((_, tail)) = watch.tails.get_mut(batch.tail) else { return };
    let Some(source) = watch.sources.get(batch.source) else { return };
    let mut rest = batch.records.as_slice();
    let (mut wait, wait_max) = AGAIN;
    while !rest.is_empty() {
        let observed_ns = nanoseconds(means.clock.now());
        let read = |number: usize| {
            let record = rest.get(number).ok_or("there is no such record")?;
            Ok((event(record, source, tail, observed_ns), record.text.len()))
        };
        let bytes = rest.iter().map(|record| record.text.len()).sum();
        let taken = means.receiver.take((&source.tenant, SourceId::FILES), (rest.len(), bytes), &read).await;
        if taken.refused > 0 {
            means.losses.lose(&source.tenant, "file_refused", Kind::Event, taken.refused);
        }
        let (settled, left) = rest.split_at_checked(taken.settled).unwrap_or((rest, &[]));
        if let Some(last) = settled.last() {
            tail.durable = last.end;
            wait = AGAIN.0;
        }
        rest = left;
        if taken.later.is_none() {
            return;
        }
        if *halted.borrow() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(wait_max),
            _ = halted.changed() => {}
        }
    }
}

fn nanoseconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)
}

/// Makes the event that a record is. What is no UTF-8 is read as ISO 8859-1, as in syslog.
fn event(record: &Record, source: &Source, tail: &Tail, observed_ns: i64) -> Event {
    let text = crate::syslog::text_of(&record.text);
    let stream = source.stream.clone();
    let mut malformed = record.malformed;
    let document = if source.rules.format == Format::Plain || !text.trim_start().starts_with('{') {
        None
    } else {
        document::read(text.as_bytes()).ok()
    };
    if source.rules.format == Format::Json && document.is_none() {
        malformed = malformed.or(Some("expected a JSON object"));
    }
    let mut event = match document {
        Some(document) => document::event(stream, document, observed_ns),
        None => Event { stream, observed_ns, body: Some(Value::Text(text.into_owned())), ..Event::default() },
    };
    event.time_ns = event.time_ns.or(record.time_ns);
    let path = tail.path.to_string_lossy().into_owned();
    let attributes = [
        ("log.file.path", Some(Value::Text(path))),
        (keep::ID, Some(Value::Text(tail.id.clone()))),
        (keep::NEXT, Some(Value::U64(record.end))),
        ("log.iostream", record.io.map(Value::from)),
        ("log.malformed", malformed.map(Value::from)),
    ];
    event.attributes.extend(attributes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    event
}

impl Watch {
    /// Goes once over all files and returns what has come, a bounded part of it.
    fn round(&mut self, now: Duration) -> Vec<Batch> {
        let moved = self.tails.iter().any(|(_, tail)| !std::fs::metadata(&tail.path).is_ok_and(|of| tail.is(&of)));
        let due = self.scanned_at.is_none_or(|at| now.saturating_sub(at) >= SCAN_EVERY);
        let mut gone = Vec::new();
        if due || moved {
            gone = self.scan(now);
            self.scanned_at = Some(now);
        }
        // Each comes first at some time: a few that are never quiet do not hold up the others.
        if !self.tails.is_empty() {
            self.tails.rotate_left(1);
        }
        self.has_read = false;
        let mut batches = Vec::new();
        let mut left = FILES_GROUP_BYTES_MAX;
        for (number, (source, tail)) in self.tails.iter_mut().enumerate() {
            let Some(rules) = self.sources.get(*source).map(|source| &source.rules) else { continue };
            let mut records = Vec::new();
            match tail.round(rules, now, left.min(FILE_RECORD_BYTES_MAX), &mut records) {
                Ok(round) => {
                    self.must_keep |= round.is_renewed;
                    self.has_read |= round.has_read;
                }
                Err(error) => {
                    self.ailments.insert(ailment(&tail.path, &error));
                }
            }
            if gone.contains(&tail.id) && tail.quiet(now) >= LINGER {
                tail.end(&mut records);
            }
            let bytes: usize = records.iter().map(|record| record.text.len()).sum();
            left = left.saturating_sub(bytes);
            if !records.is_empty() {
                batches.push(Batch { tail: number, source: *source, records });
            }
            if left == 0 {
                break;
            }
        }
        // The next round begins where this one had no room left; batches name files by number, so only without any.
        if batches.is_empty() {
            self.tails.retain(|(_, tail)| !(gone.contains(&tail.id) && tail.quiet(now) >= LINGER));
        }
        batches
    }

    /// Looks for files, and returns the ids of those that no pattern finds any more.
    fn scan(&mut self, now: Duration) -> Vec<String> {
        self.ailments.clear();
        let mut seen = HashMap::new();
        for number in 0..self.sources.len() {
            let patterns = self.sources.get(number).map(|source| source.patterns.clone()).unwrap_or_default();
            for pattern in patterns {
                let ailments = &mut self.ailments;
                let mut refused = |path: &Path, error: &std::io::Error| {
                    ailments.insert(ailment(path, error));
                };
                for path in glob::find(&pattern, FILES_MAX, &mut refused) {
                    self.meet(number, &path, now, &mut seen);
                }
            }
        }
        let gone = self.tails.iter().filter(|(_, tail)| !seen.contains_key(&(tail.device, tail.inode)));
        gone.map(|(_, tail)| tail.id.clone()).collect()
    }

    /// Takes up a file that a pattern found, unless it is followed already.
    fn meet(&mut self, source: usize, path: &Path, now: Duration, seen: &mut HashMap<(u64, u64), ()>) {
        use std::os::unix::fs::MetadataExt as _;
        let Ok(metadata) = std::fs::metadata(path) else { return };
        seen.insert((metadata.dev(), metadata.ino()), ());
        if let Some((_, tail)) = self.tails.iter_mut().find(|(_, tail)| tail.is(&metadata)) {
            path.clone_into(&mut tail.path);
            return;
        }
        if self.tails.len() >= FILES_MAX {
            self.ailments.insert(format!("files: more than {FILES_MAX} are to be followed"));
            return;
        }
        match Tail::open(path, self.name(), now) {
            Ok(mut tail) => {
                self.kept.recognise(&mut tail, &self.key);
                self.must_keep = true;
                self.tails.push((source, tail));
            }
            Err(error) => {
                self.ailments.insert(ailment(path, &error));
            }
        }
    }

    /// Makes a name for a file: letters alone, which no one takes for a number or a key.
    fn name(&self) -> String {
        let mut bytes = [0; 10];
        self.rng.fill(&mut bytes);
        bytes.iter().map(|byte| char::from(b'a' + byte % 16)).collect()
    }
}

fn ailment(path: &Path, error: &std::io::Error) -> String {
    format!("files: cannot read {}: {}", path.display(), error.kind())
}

/// What is remembered of the tenants' logs: up to where all events of files are accounted for.
type Marks = BTreeMap<Tenant, Position>;

#[cfg(test)]
mod tests;
