//! `dihya ledger`: verify, prove and read what was recorded, without trusting the program that recorded it.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use disk::{Disk, OsClock, OsDisk, OsRng};
use ledger::consistency::consistency;
use ledger::entry::Entry;
use ledger::note::Verifiers;
use ledger::own::{LogId, Name};
use ledger::verify::{DiskSource, Finding, Invariant, Options, Report, Source as _, Weight, verify, verify_meta};
use ledger::{Engine, FileKeys, Forensic, Found};
use model::{Clock, Kind, Origin, Rng, Tenant, Timestamp, Value};
use privacy::keystore::Means;
use privacy::{Keystore, Ring};
use serde_json::json;

use super::{block_on, print_json};
use crate::cli::{Format, LedgerCommand};
use crate::client::{self, Client};
use crate::config::Loaded;
use crate::failure::{DONE, FAILED, Hint, misuse};
use crate::terminal::{self, Progress};
use crate::{config, keystores, origins, store};

/// Largest key file.
const KEY_BYTES_MAX: usize = 1 << 16;
/// Starts the lines of a key file that say under which id the meta-log speaks of a log.
const META_ID: &str = "meta-id ";
/// Findings that are shown in words.
const FINDINGS_SHOWN_MAX: usize = 100;

/// Runs the command.
pub(super) fn run(command: LedgerCommand) -> anyhow::Result<u8> {
    match command {
        LedgerCommand::Verify { origin, keys, earlier, keystore, format, place } => {
            let keys = keys.map(|file| Trusted::read(&file)).transpose()?;
            let earlier = Earlier::read(&earlier)?;
            let persons = keystore.then(|| config::load(place.config.as_deref(), &place.data_dir())).transpose()?;
            let brought = Brought { keys: keys.as_ref(), earlier: &earlier, persons: persons.as_ref() };
            verify_all(&place.data_dir(), origin.as_deref(), &brought, format)
        }
        LedgerCommand::Keys { place } => print_keys(&place.data_dir()),
        LedgerCommand::Rotate { origin, place } => rotate(&place.data_dir(), origin.as_deref()),
        LedgerCommand::Prove { consistency: Some(old), tenant, remote, .. } => {
            prove_growth(&remote.place.data_dir(), &tenant, old)
        }
        LedgerCommand::Prove { position, tenant, remote, .. } => {
            let position = position.context("a position is missing")?;
            let path = format!("/api/dihya/v1/ledger/proof?position={position}");
            let client = Client::new(&remote)?;
            let proof = match block_on(client.text(&path)) {
                Err(error) if matches!(error.downcast_ref(), Some(client::Error::Unreachable { .. })) => {
                    let data_dir = remote.place.data_dir();
                    // Without a ledger here the server is the only way, and its silence the only news.
                    if !data_dir.join("wal").is_dir() {
                        return Err(error);
                    }
                    prove_here(remote.place.config.as_deref(), &data_dir, &tenant, position)?
                }
                answer => answer?,
            };
            terminal::out(&proof);
            Ok(DONE)
        }
        LedgerCommand::Show { from, last, limit, tenant, format, place } => {
            let range = Range { from: from.unwrap_or(0), last, limit };
            show(&place.data_dir(), &tenant, range, format)
        }
    }
}

/// What was found about one log.
struct Verified {
    origin: Origin,
    report: Report,
    in_meta: u64,
    /// Whether its boxes were opened with a keystore.
    opens_boxes: bool,
}

/// What a key file says: the keys of logs, and under which ids the meta-log speaks of them.
struct Trusted {
    keys: Vec<Verifiers>,
    meta_ids: HashMap<String, LogId>,
}

impl Trusted {
    fn read(file: &Path) -> anyhow::Result<Self> {
        let bytes = disk::read(&OsDisk, file).context("could not read the key file")?;
        let text = std::str::from_utf8(&bytes).map_err(|_| misuse(format!("{} is not UTF-8", file.display())))?;
        let wrong = |line: usize, why: &dyn std::fmt::Display| misuse(format!("{} line {line}: {why}", file.display()));
        let mut meta_ids = HashMap::new();
        let mut keys = String::new();
        for (line, number) in text.lines().zip(1..) {
            // Lines keep their numbers.
            keys.push('\n');
            match line.trim().strip_prefix(META_ID) {
                None => keys.push_str(line),
                Some(rest) => {
                    let pair = rest.split_once(' ').and_then(|(origin, id)| Some((origin.to_owned(), log_id(id)?)));
                    meta_ids
                        .extend([pair.ok_or_else(|| wrong(number, &"is not an origin and 32 hexadecimal digits"))?]);
                }
            }
        }
        let keys = keys.strip_prefix('\n').unwrap_or_default();
        let keys = Verifiers::parse_file(keys).map_err(|(line, why)| wrong(line, &why))?;
        if keys.is_empty() {
            return Err(misuse(format!("{} holds no keys", file.display())));
        }
        Ok(Self { keys, meta_ids })
    }

    fn of(&self, origin: &str) -> Option<&Verifiers> {
        self.keys.iter().find(|keys| keys.ed25519.name() == origin)
    }
}

/// Reads an id as `dihya ledger keys` prints it.
fn log_id(text: &str) -> Option<LogId> {
    let mut id = LogId::default();
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    if pairs.len() != id.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(id)
}

/// Signed checkpoints that somebody kept, by the log that their first line names.
struct Earlier(HashMap<String, Vec<Vec<u8>>>);

impl Earlier {
    fn read(files: &[PathBuf]) -> anyhow::Result<Self> {
        let mut notes: HashMap<String, Vec<Vec<u8>>> = HashMap::new();
        for file in files {
            let note = disk::read(&OsDisk, file).context("could not read a kept checkpoint")?;
            let origin = std::str::from_utf8(&note).ok().and_then(|text| text.lines().next()).map(str::to_owned);
            let origin = origin.filter(|origin| Origin::new(origin).is_ok());
            let origin = origin.ok_or_else(|| misuse(format!("{} is not a checkpoint", file.display())))?;
            notes.entry(origin).or_default().push(note);
        }
        Ok(Self(notes))
    }

    fn of(&self, origin: &Origin) -> &[Vec<u8>] {
        self.0.get(origin.as_str()).map_or(&[], Vec::as_slice)
    }
}

fn print_keys(data_dir: &Path) -> anyhow::Result<u8> {
    let logs = origins::list(&OsDisk, data_dir).context("could not list the logs")?;
    if logs.is_empty() {
        return Err(misuse(format!("there is no log in {}", data_dir.join("ledger").display())));
    }
    for origin in logs {
        let source = DiskSource::new(&OsDisk, &data_dir.join("ledger").join(origin.as_str()));
        let keys = keys_of(&source).with_context(|| format!("could not read the keys of {origin}"))?;
        terminal::out(&keys.to_lines());
        let id = ledger::meta_id(&OsDisk, data_dir, &origin)?;
        if let Some(id) = id.filter(|_| !is_meta(&origin)) {
            terminal::out(&format!("{META_ID}{origin} {}\n", config::hex(&id)));
        }
    }
    Ok(DONE)
}

/// Gives logs new keys, where no server holds the directory.
fn rotate(data_dir: &Path, only: Option<&str>) -> anyhow::Result<u8> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let logs = origins::list(&*disk, data_dir).context("could not list the logs")?;
    let chosen: Vec<&Origin> = logs.iter().filter(|log| only.is_none_or(|only| log.as_str() == only)).collect();
    let Some((instance, tenants)) = origins::instance(&logs).filter(|_| !chosen.is_empty()) else {
        return Err(misuse(format!("there is no such log in {}", data_dir.join("ledger").display())));
    };
    let config = ledger::Config::new(data_dir.to_owned(), &instance, tenants);
    let (clock, rng): (Arc<dyn Clock>, Arc<dyn Rng>) = (Arc::new(OsClock::default()), Arc::new(OsRng));
    let (mut engine, _) = match Engine::open(disk, clock, rng, config, &FileKeys) {
        Err(error @ ledger::Error::Locked) => {
            let hint = format!("a dihya runs in {}: stop it first, and start it again afterwards", data_dir.display());
            return Err(anyhow::Error::new(error).context(Hint(hint)));
        }
        opened => opened.context("could not open the ledger")?,
    };
    for log in chosen {
        let rotated = engine.rotate(log, &FileKeys).with_context(|| {
            format!("could not rotate the keys of {log}; what was begun ends at the next start, or by this command")
        })?;
        terminal::out(&format!("{log}: rotation {} announced at leaf {}\n", rotated.number, rotated.leaf));
        terminal::out(&rotated.keys.to_lines());
    }
    engine.close()?;
    Ok(DONE)
}

/// What an auditor brings along.
struct Brought<'a> {
    keys: Option<&'a Trusted>,
    earlier: &'a Earlier,
    /// Where the keys of persons shall be used: the configuration with their passphrase.
    persons: Option<&'a Loaded>,
}

fn verify_all(data_dir: &Path, only: Option<&str>, brought: &Brought<'_>, format: Format) -> anyhow::Result<u8> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let mut logs = origins::list(&*disk, data_dir).context("could not list the logs")?;
    // A log whose keys were handed over and that is not there any more is no small thing.
    let missing =
        brought.keys.iter().flat_map(|keys| &keys.keys).filter_map(|keys| Origin::new(keys.ed25519.name()).ok());
    logs.extend(missing);
    logs.extend(brought.earlier.0.keys().filter_map(|origin| Origin::new(origin).ok()));
    logs.sort();
    logs.dedup();
    if let Some(only) = only {
        logs.retain(|origin| origin.as_str() == only);
    }
    if logs.is_empty() {
        return Err(misuse(format!("there is no such log in {}", data_dir.join("ledger").display())));
    }
    let wal = data_dir.join("wal").is_dir();
    let forensic = if wal { Some(Forensic::open(Arc::clone(&disk), data_dir)?) } else { None };
    let mut verified = Vec::new();
    for origin in logs {
        let keystore = keystore_of(&disk, data_dir, &origin, brought)?;
        verified.push(verify_one((&*disk, data_dir), forensic.as_ref(), origin, brought, keystore.as_ref()));
    }
    let sound = verified.iter().all(|log| log.report.is_sound());
    match format {
        Format::Json => print_json(&json!({"sound": sound, "logs": verified.iter().map(as_json).collect::<Vec<_>>()}))?,
        Format::Text => terminal::out(&verified.iter().map(as_text).collect::<String>()),
    }
    Ok(if sound { DONE } else { FAILED })
}

/// Reads the keystore of a log's tenant, where it shall be used and there is one.
fn keystore_of(
    disk: &Arc<dyn Disk>,
    data_dir: &Path,
    origin: &Origin,
    brought: &Brought<'_>,
) -> anyhow::Result<Option<Keystore>> {
    let tenant = origin.as_str().rsplit_once('/').and_then(|(_, tenant)| Tenant::new(tenant).ok());
    let (Some(loaded), Some(tenant), false) = (brought.persons, tenant, is_meta(origin)) else { return Ok(None) };
    let means = Means { disk: Arc::clone(disk), rng: Arc::new(OsRng), clock: Arc::new(OsClock::default()) };
    keystores::read(loaded, data_dir, &means, &tenant)
}

fn verify_one(
    (disk, data_dir): (&dyn Disk, &Path),
    forensic: Option<&Forensic>,
    origin: Origin,
    brought: &Brought<'_>,
    keystore: Option<&Keystore>,
) -> Verified {
    let (trusted, earlier) = (brought.keys, brought.earlier);
    let source = DiskSource::new(disk, &data_dir.join("ledger").join(origin.as_str()));
    let keys = match trusted.map(|trusted| trusted.of(origin.as_str()).cloned()) {
        Some(None) => return Verified { origin, report: Report::untrusted(), in_meta: 0, opens_boxes: false },
        Some(keys) => keys,
        None => None,
    };
    let vault = forensic.map(|forensic| forensic.log(origin.as_str()));
    let progress = std::cell::RefCell::new(Progress::new("verifying"));
    let update = |done: u64, total: u64| progress.borrow_mut().update(done, total);
    let vault = vault.as_ref().map(|vault| vault as _);
    let earlier = earlier.of(&origin);
    let ring = keystore.map(Ring::new);
    let (keys, ring) = (keys.as_ref(), ring.as_ref());
    let options = Options { keys, vault, ring, earlier, progress: Some(&update), ..Options::default() };
    let mut report = verify(&source, &options);
    progress.borrow().finish();
    if forensic.is_none() {
        without_wal(data_dir, &mut report);
    }
    if brought.persons.is_some() && keystore.is_none() && report.boxes > 0 {
        let text = "there is no keystore of it here, so its boxes were not opened";
        report.findings.push(Finding { invariant: Invariant::I2, ..unseen(text) });
    }
    let mut in_meta = 0;
    if let (Some(forensic), false, Some(checkpoint)) = (forensic, is_meta(&origin), report.checkpoint.clone())
        && let Some(keys) = report.keys.clone()
    {
        let told = trusted.and_then(|trusted| trusted.meta_ids.get(origin.as_str()).copied());
        let id = told.or_else(|| ledger::meta_id(disk, data_dir, &origin).ok().flatten());
        let findings = match (id, origin.as_str().rsplit_once('/')) {
            (Some(id), Some((instance, _))) => {
                let meta = forensic.log(&format!("{instance}/meta"));
                let (count, mut findings) = verify_meta(&meta, &id, &source, &checkpoint, &keys);
                in_meta = count;
                if count == 0 {
                    findings.push(unseen("the meta-log has no checkpoint of it, so a fork would not show"));
                }
                findings
            }
            _ => vec![unseen("its id in the meta-log is not known (`dihya ledger keys`), so a fork would not show")],
        };
        report.errors += findings.iter().filter(|finding| finding.weight == Weight::Error).count() as u64;
        report.findings.extend(findings);
    }
    Verified { origin, report, in_meta, opens_boxes: keystore.is_some() }
}

fn keys_of(source: &DiskSource<'_>) -> Option<Verifiers> {
    let file = |name| source.read(name, KEY_BYTES_MAX).ok().flatten();
    Verifiers::parse(&file("vkey")?, file("mldsa.pub").as_deref()).ok()
}

fn is_meta(origin: &Origin) -> bool {
    origin.as_str().ends_with("/meta")
}

/// Says what was not looked at because there is no write-ahead log. A copy of the public part alone has none; from a data
/// directory, which has the keys beside it, somebody took it.
fn without_wal(data_dir: &Path, report: &mut Report) {
    let (weight, text) = if data_dir.join("keystore").is_dir() {
        report.errors += 1;
        (Weight::Error, "the write-ahead log is gone, and every payload with it")
    } else {
        (Weight::Note, "there is no write-ahead log here, so no payload was compared with what the entries commit to")
    };
    report.findings.push(Finding { weight, invariant: Invariant::I2, ..unseen(text) });
}

fn unseen(text: &str) -> Finding {
    Finding { weight: Weight::Note, invariant: Invariant::I6, index: None, inner: None, text: text.to_owned() }
}

fn as_json(log: &Verified) -> serde_json::Value {
    let report = &log.report;
    json!({
        "origin": log.origin,
        "sound": report.is_sound(),
        "checkpoint": report.checkpoint.as_ref().map(|c| json!({"size": c.size, "root": config::hex(&c.root)})),
        "entries": report.entries,
        "batch_records": report.batch_records,
        "opened": report.opened,
        "covered": report.covered,
        "boxes": report.boxes,
        "boxes_opened": log.opens_boxes.then_some(report.boxes_opened),
        "boxes_erased": log.opens_boxes.then_some(report.boxes_erased),
        "in_meta": log.in_meta,
        "rotations": report.rotations,
        "errors": report.errors,
        "findings": report.findings.iter().map(|finding| json!({
            "error": finding.weight == Weight::Error,
            "invariant": format!("{:?}", finding.invariant),
            "index": finding.index,
            "inner": finding.inner,
            "text": finding.text,
        })).collect::<Vec<_>>(),
    })
}

fn as_text(log: &Verified) -> String {
    let colours = terminal::colours_out();
    let report = &log.report;
    let verdict = if report.is_sound() {
        terminal::paint("sound", "32", colours)
    } else {
        terminal::paint("NOT SOUND", "1;31", colours)
    };
    let mut text = format!("{}: {verdict}\n", log.origin);
    if let Some(checkpoint) = &report.checkpoint {
        text.push_str(&format!("  checkpoint of {} leaves, root {}\n", checkpoint.size, config::hex(&checkpoint.root)));
    }
    text.push_str(&format!(
        "  {} entries read, {} records under batches, {} commitments opened, {} covered by retention, {} checkpoints in \
         the meta-log\n",
        report.entries, report.batch_records, report.opened, report.covered, log.in_meta
    ));
    if log.opens_boxes {
        text.push_str(&format!(
            "  {} boxes, {} opened with the keystore, {} with a key that is gone\n",
            report.boxes, report.boxes_opened, report.boxes_erased
        ));
    }
    if report.rotations > 0 {
        text.push_str(&format!(
            "  {} rotations of its keys, each signed by the old and the new ones\n",
            report.rotations
        ));
    }
    for finding in report.findings.iter().take(FINDINGS_SHOWN_MAX) {
        let word = if finding.weight == Weight::Error { "error" } else { "note" };
        text.push_str(&format!("  {word}: {}\n", terminal::plain(&finding.to_string())));
    }
    let hidden = report.findings.len().saturating_sub(FINDINGS_SHOWN_MAX);
    if hidden > 0 {
        text.push_str(&format!("  and {hidden} more\n"));
    }
    text
}

/// Proves from the directory, where no server holds it.
fn prove_here(file: Option<&Path>, data_dir: &Path, tenant: &Tenant, position: u64) -> anyhow::Result<String> {
    let loaded = config::load(file, data_dir)?;
    let (disk, clock, rng): (Arc<dyn Disk>, Arc<dyn Clock>, Arc<dyn Rng>) =
        (Arc::new(OsDisk), Arc::new(OsClock::default()), Arc::new(OsRng));
    block_on(async {
        let ledger = store::open_ledger(&loaded, data_dir, &disk, &clock, &rng).await?;
        let proof = ledger.prove(tenant, position);
        ledger.close().await?;
        Ok(proof?)
    })
}

/// Proves that a tenant's log goes on from its first leaves, from the files that anybody may have.
fn prove_growth(data_dir: &Path, tenant: &Tenant, old: u64) -> anyhow::Result<u8> {
    let origin = origin_of(&OsDisk, data_dir, tenant)?;
    let log = data_dir.join("ledger").join(origin.as_str());
    let proof = match consistency(&OsDisk, &log, old) {
        Err(ledger::Error::UnknownPosition { .. }) => {
            return Err(misuse(format!("the checkpoint of {origin} covers less than {old} leaves")));
        }
        proof => proof.with_context(|| format!("could not read {}", log.display()))?,
    };
    terminal::out(&proof.to_text());
    Ok(DONE)
}

fn origin_of(disk: &dyn Disk, data_dir: &Path, tenant: &Tenant) -> anyhow::Result<Origin> {
    let logs = origins::list(disk, data_dir).context("could not list the logs")?;
    let suffix = format!("/{tenant}");
    let origin = logs.into_iter().find(|origin| origin.as_str().ends_with(&suffix));
    origin.ok_or_else(|| misuse(format!("there is no log of {tenant} in {}", data_dir.display())))
}

/// Which records to show.
struct Range {
    from: u64,
    last: Option<u64>,
    limit: u64,
}

/// A record as people read it.
#[derive(serde::Serialize)]
struct Shown {
    position: u64,
    at: String,
    kind: &'static str,
    body: serde_json::Value,
}

fn show(data_dir: &Path, tenant: &Tenant, range: Range, format: Format) -> anyhow::Result<u8> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let origin = origin_of(&*disk, data_dir, tenant)?;
    let forensic = Forensic::open(disk, data_dir)?;
    let mut names: HashMap<u64, String> = HashMap::new();
    let mut rows: VecDeque<Shown> = VecDeque::new();
    let most = usize::try_from(range.last.unwrap_or(range.limit)).unwrap_or(usize::MAX);
    let end = forensic.visit(origin.as_str(), &mut |found| {
        if let Some(row) = read(&found, &mut names).filter(|row| row.position >= range.from) {
            rows.push_back(row);
        }
        if rows.len() > most && range.last.is_some() {
            rows.pop_front();
        }
        range.last.is_some() || rows.len() < most
    })?;
    match format {
        Format::Json => print_json(&rows)?,
        Format::Text => {
            for row in &rows {
                let body = terminal::plain(&row.body.to_string());
                terminal::out(&format!("{:>8}  {}  {:<13} {body}\n", row.position, row.at, row.kind));
            }
        }
    }
    if let Some(why) = end.why {
        terminal::err(&format!("the WAL ends early in segment {} at byte {}: {why}\n", end.segment, end.offset));
        return Ok(FAILED);
    }
    Ok(DONE)
}

/// Reads a record; names are learnt on the way, since they stand before their first use.
fn read(found: &Found<'_>, names: &mut HashMap<u64, String>) -> Option<Shown> {
    let entry = Entry::decode(found.entry).ok()?;
    let kind = entry.head().known_kind()?;
    let fields = found.fields().ok()?;
    let at = i64::try_from(entry.head().t_admit_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let at = at.map(|at| at.to_string()).unwrap_or_default();
    let shown = |body| Some(Shown { position: found.position, at, kind: kind.as_str(), body });
    if let Ok(name) = Name::read(&entry) {
        let text = fields.iter().find_map(|(id, value)| match value {
            Value::Text(text) if *id == Name::TEXT => Some(text.clone()),
            _ => None,
        });
        names.insert(name.number.into(), text.clone().unwrap_or_default());
        return shown(json!({"number": name.number, "name": text}));
    }
    if let Some(text) = ledger::describe_own(found.entry) {
        return shown(json!(text));
    }
    shown(body_of(kind, &fields, names))
}

fn body_of(kind: Kind, fields: &[(u16, Value)], names: &HashMap<u64, String>) -> serde_json::Value {
    let named = fields.iter().filter_map(|(id, value)| {
        let field = kind.fields().iter().find(|field| field.id == *id)?;
        let value = match (field.class, value) {
            (model::Class::Name, Value::U64(number)) => json!(names.get(number)),
            (_, value) => value.clone().into(),
        };
        Some((field.name.to_owned(), value))
    });
    serde_json::Value::Object(named.collect())
}
