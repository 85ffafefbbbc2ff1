//! A random history of one ledger on a disk that fails in every way it can, and what must hold whatever happens.
//!
//! Invariants: no acknowledged record is lost or moved; positions are contiguous; what is read back is what was
//! appended; every checkpoint ever shown is a prefix of every later tree; after a publication the ledger opens again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use disk::{Disk, SimDisk};
use ledger::checkpoint::Checkpoint;
use ledger::merkle::{self, Compact, Hash, leaf_hash};
use ledger::{Config, Cursor, Engine, Error, FileKeys, Keyring, Keys, Place, Sign, verify};
use model::{
    Access, AdminAct, Alert, Body, CheckResult, Kind, Origin, RefusalKind, SeededRng, Severity, Signal, SourceId,
    State, StepClock, Tenant, Timestamp, Timings, Value,
};
use privacy::{Cleared, Clearer, Public, Redactor};

/// Operations of one history.
const OPERATIONS: usize = 220;
/// How often in a row the disk fails while the ledger is being opened.
const RECOVERY_FAULTS_MAX: usize = 3;

/// Signs in microseconds: the tree is what the histories test. One in a hundred signs for real.
struct FastSign(String);

impl Sign for FastSign {
    fn sign(&self, checkpoint: &Checkpoint, _: u64) -> String {
        let text = checkpoint.text();
        let mac: String =
            leaf_hash(format!("{}{text}", self.0).as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        format!("{text}\n{mac}\n")
    }

    fn open(&self, note: &[u8]) -> Option<Checkpoint> {
        let text = std::str::from_utf8(note).ok()?.split_once("\n\n")?.0;
        let checkpoint = Checkpoint::parse(&format!("{text}\n")).ok()?;
        (self.sign(&checkpoint, 0).as_bytes() == note).then_some(checkpoint)
    }
}

struct FastKeys;

impl Keyring for FastKeys {
    fn keys(&self, _: &Place<'_>, origin: &Origin) -> Result<Keys, Error> {
        let mut meta_id = [0; 16];
        meta_id.copy_from_slice(&leaf_hash(origin.as_str().as_bytes())[..16]);
        Ok(Keys { signer: Box::new(FastSign(origin.to_string())), meta_id, next: None })
    }
}

/// Records that histories append, cleared once.
pub(crate) struct Pool(Vec<(Cleared, Vec<(u16, Value)>)>);

/// The tenants of every history.
fn tenants() -> [Tenant; 2] {
    ["default", "other"].map(|name| Tenant::new(name).expect("valid"))
}

fn bodies(n: u64) -> [Body; 4] {
    let at = Timestamp::from_second(1_700_000_000).expect("in range");
    let name = format!("check-{}", n % 13);
    [
        Alert {
            labels: [("alertname".to_owned(), name.clone())].into(),
            annotations: [("summary".to_owned(), "x".repeat(usize::try_from(n * 97 % 900).expect("small")))].into(),
            starts_at: at,
            ends_at: None,
            generator_url: None,
            severity: Severity::Critical,
            sector: model::Sector::None,
            channel: Some("log".to_owned()),
        }
        .into(),
        CheckResult {
            id: name.clone(),
            name: name.clone(),
            kind: "http".into(),
            state: State::Up,
            observed: State::Up,
            reason: String::new(),
            since: at,
            checked_at: at,
            conditions: Vec::new(),
            timings_ms: Timings { total: Some(1.5), ..Timings::default() },
            figures: [("days_left".to_owned(), 3.5)].into(),
            ..sample_result()
        }
        .into(),
        AdminAct { actor: "ana".into(), act: "token.add".into(), target: name, detail: "viewer".into(), at }.into(),
        Access { actor: "ana".into(), what: "/api/dihya/v1/search".into(), rows: n, at, query: None, question: None }
            .into(),
    ]
}

/// A check result whose newer fields have their defaults.
fn sample_result() -> CheckResult {
    serde_json::from_value(serde_json::json!({
        "id": "x", "name": "x", "kind": "http", "state": "up", "observed": "up", "reason": "",
        "since": "2026-01-01T00:00:00Z", "checked_at": "2026-01-01T00:00:00Z", "conditions": [], "timings_ms": {},
    }))
    .expect("a check result")
}

impl Pool {
    /// Clears the records.
    pub(crate) fn new() -> Self {
        let clearer = Clearer::new(Arc::new(Redactor::new()), [7; 32]);
        let mut pool = Vec::new();
        for n in 0..24 {
            for body in bodies(n) {
                for (tenant, source) in tenants().into_iter().zip([1, 2]) {
                    let source = SourceId([source + u8::try_from(n % 3).expect("small"); 16]);
                    let cleared = clearer.clear(Signal { tenant, source, body: body.clone() }).expect("clears");
                    let mut fields: Vec<_> = cleared.values();
                    fields.extend(cleared.public().iter().map(|(id, value)| (*id, value_of(value))));
                    fields.sort_by_key(|(id, _)| *id);
                    pool.push((cleared, fields));
                }
            }
        }
        Self(pool)
    }
}

fn value_of(public: &Public) -> Value {
    match public {
        Public::Bool(value) => Value::Bool(*value),
        Public::U64(value) => Value::U64(*value),
        Public::I64(value) => Value::I64(*value),
        Public::F64(value) => Value::F64(*value),
        Public::Text(value) => Value::from(&**value),
        Public::Name(value) => Value::from(&**value),
    }
}

/// What is known of one tenant's log from the outside.
#[derive(Default)]
struct Known {
    /// Position to leaf hash and pool index, for what was acknowledged.
    acknowledged: BTreeMap<u64, (Hash, usize)>,
    /// Size to root, for each checkpoint that was shown.
    signed: BTreeMap<u64, Hash>,
    /// Positions below this one may have lost their payload.
    retained_from: u64,
}

struct World<'a> {
    rng: SeededRng,
    pool: &'a Pool,
    disk: SimDisk,
    block_bytes: usize,
    clock: Arc<StepClock>,
    config: Config,
    real: bool,
    /// In these histories a bit flips once, so losing a record loudly is allowed and signing over it is not.
    flips: bool,
    engine: Option<Engine>,
    known: [Known; 2],
    lives: u64,
}

/// Runs the history that `seed` determines.
///
/// # Errors
/// What did not hold.
pub(crate) fn run(seed: u64, pool: &Pool) -> Result<(), String> {
    let rng = SeededRng::new(seed);
    let segment_bytes = 6_000 + rng.below(20_000);
    let mut config = Config::new(PathBuf::from("/data"), "localhost", tenants().to_vec());
    config.segment_bytes = segment_bytes;
    config.reserve_bytes = 8_000;
    config.retain_bytes = segment_bytes * (1 + rng.below(6));
    let block_bytes = [64, 512, 4_096][usize::try_from(rng.below(3)).expect("small")];
    let mut world = World {
        pool,
        disk: fresh_disk(seed, block_bytes),
        block_bytes,
        clock: Arc::new(StepClock::new(Timestamp::from_second(1_700_000_000).expect("in range"))),
        config,
        real: seed.is_multiple_of(100),
        flips: seed % 8 == 7,
        engine: None,
        known: Default::default(),
        lives: 0,
        rng,
    };
    world.open(true)?;
    for _ in 0..OPERATIONS {
        world.step()?;
    }
    world.end_life(Death::Power, true)?;
    if world.real && world.engine.is_some() { world.verify_directory() } else { Ok(()) }
}

fn fresh_disk(seed: u64, block_bytes: usize) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.set_block_bytes(block_bytes);
    disk
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    Power,
    Kill,
    Close,
}

impl World<'_> {
    fn below(&self, bound: u64) -> u64 {
        self.rng.below(bound)
    }

    fn step(&mut self) -> Result<(), String> {
        if self.engine.is_none() {
            self.begin_anew()?;
        }
        match self.below(100) {
            0..60 => self.append(),
            60..80 => self.publish(),
            80..86 => {
                self.clock.advance(Duration::from_millis(self.below(2_000)));
                Ok(())
            }
            86..88 => {
                self.clock.jump(-3_600_000);
                Ok(())
            }
            88..91 => self.check_cursor(),
            91 => {
                let room = self.below(40_000);
                let used = 1 << 30;
                let free = self.disk.free_bytes(&self.config.dir).unwrap_or(0);
                let full = free > used;
                self.disk.set_capacity(if full { Some(self.used() + room) } else { None });
                Ok(())
            }
            92 => {
                self.disk.lose_power_after(self.below(30));
                Ok(())
            }
            93 if self.below(2) == 0 => {
                self.disk.fail_sync_after(self.below(12));
                Ok(())
            }
            94 if self.flips => {
                self.disk.flip_write_after(self.below(12));
                Ok(())
            }
            94 if self.real => self.rotate(),
            93..96 => self.retain(),
            96 => self.die(Death::Power),
            97 | 98 => self.die(Death::Kill),
            _ => self.die(Death::Close),
        }
    }

    fn used(&self) -> u64 {
        // What is left of a very large disk tells what is used.
        self.disk.set_capacity(Some(1 << 40));
        let free = self.disk.free_bytes(&self.config.dir).unwrap_or(0);
        (1 << 40) - free
    }

    /// Goes on with a fresh disk after a flipped bit ended in a refusal, so that every history does all its operations.
    fn begin_anew(&mut self) -> Result<(), String> {
        self.disk = fresh_disk(self.below(u64::MAX), self.block_bytes);
        self.known = Default::default();
        self.open(true)
    }

    /// Opens the ledger, in as many lives as that takes: in a share of them the power goes or a sync fails on the way.
    fn open(&mut self, last: bool) -> Result<(), String> {
        for _ in 0..RECOVERY_FAULTS_MAX {
            match self.below(6) {
                0 => self.disk.lose_power_after(self.below(60)),
                1 => self.disk.fail_sync_after(self.below(6)),
                _ => break,
            }
            let opened = self.try_open();
            if let Ok(engine) = opened
                && !self.disk_is_dead()
            {
                self.disk.spare_faults();
                return self.opened(engine, last);
            }
            // Whatever it was: a life without either fault must open or, after a flip, refuse.
            self.disk = if self.below(3) > 0 { self.disk.crash() } else { self.disk.kill() };
        }
        let opened = match self.try_open() {
            Err(error) if error.kind() == RefusalKind::Retry => {
                self.disk.set_capacity(None);
                self.try_open()
            }
            opened => opened,
        };
        match opened {
            Ok(engine) => self.opened(engine, last),
            Err(_) if self.flips => Ok(()),
            Err(error) => Err(format!("does not open in life {}: {error:?}", self.lives)),
        }
    }

    fn try_open(&mut self) -> Result<Engine, Error> {
        self.lives += 1;
        let rng: Arc<dyn model::Rng> = Arc::new(SeededRng::new(self.below(u64::MAX)));
        let keyring: &dyn Keyring = if self.real { &FileKeys } else { &FastKeys };
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let clock = Arc::clone(&self.clock) as Arc<dyn model::Clock>;
        Engine::open(disk, clock, rng, self.config.clone(), keyring).map(|(engine, _)| engine)
    }

    fn opened(&mut self, engine: Engine, last: bool) -> Result<(), String> {
        self.engine = Some(engine);
        // What is lost stays lost, so the end of the history sees it; the end of the log is looked at now.
        if self.flips || last { self.check_all() } else { self.check_end() }
    }

    /// Ends this life of the ledger and starts the next.
    fn die(&mut self, death: Death) -> Result<(), String> {
        self.end_life(death, false)
    }

    fn end_life(&mut self, death: Death, last: bool) -> Result<(), String> {
        let Some(engine) = self.engine.take() else { return Ok(()) };
        if death == Death::Close {
            match engine.close() {
                Ok(()) => {}
                Err(error) if error.kind() != RefusalKind::Reject => {}
                Err(error) => return Err(format!("closing was rejected: {error}")),
            }
        } else {
            drop(engine);
        }
        self.disk = if death == Death::Power { self.disk.crash() } else { self.disk.kill() };
        self.open(last)
    }

    fn append(&mut self) -> Result<(), String> {
        let Some(mut engine) = self.engine.take() else { return Ok(()) };
        let mut appends = Vec::new();
        let mut chosen = Vec::new();
        for _ in 0..=self.below(3) {
            let tenant = usize::try_from(self.below(2)).expect("small");
            let count = if self.below(40) == 0 { 30 } else { 1 + self.below(3) };
            let ids: Vec<usize> = (0..count)
                .map(|_| usize::try_from(self.below(self.pool.0.len() as u64 / 2)).expect("small") * 2 + tenant)
                .collect();
            appends.push(ids.iter().map(|id| self.pool.0[*id].0.clone()).collect::<Vec<_>>());
            chosen.push((tenant, ids));
        }
        let results = match self.below(3) {
            0 => engine.append(&appends),
            way => engine.append_overlapping(&appends, way == 1),
        };
        let mut stopped = false;
        for ((tenant, ids), result) in chosen.into_iter().zip(results) {
            match result {
                Ok(receipts) if receipts.len() == ids.len() => {
                    let first = receipts.first().map_or(0, |receipt| receipt.position);
                    for ((receipt, id), expected) in receipts.into_iter().zip(ids).zip(first..) {
                        if receipt.position != expected {
                            return Err("positions of one append are not contiguous".to_owned());
                        }
                        let taken = self.known[tenant].acknowledged.insert(receipt.position, (receipt.leaf_hash, id));
                        if taken.is_some() {
                            return Err(format!("position {} was given twice", receipt.position));
                        }
                    }
                }
                Ok(_) => return Err("not one receipt per record".to_owned()),
                Err(error) if error.kind() == RefusalKind::Retry => {}
                Err(error) if error.kind() == RefusalKind::Stop => stopped = true,
                Err(Error::BadAppend { .. }) => {} // larger than this history's segments
                Err(error) => return Err(format!("an append was rejected: {error}")),
            }
        }
        self.engine = Some(engine);
        if stopped { self.restart_after_stop() } else { Ok(()) }
    }

    /// A ledger that stopped exits and starts again: after a failed sync with the page cache, else without power.
    fn restart_after_stop(&mut self) -> Result<(), String> {
        let death = if self.below(2) == 0 { Death::Kill } else { Death::Power };
        self.die(death)
    }

    fn publish(&mut self) -> Result<(), String> {
        let Some(engine) = &mut self.engine else { return Ok(()) };
        match engine.publish() {
            Ok(_) => {
                self.note_signed()?;
                // What was published was read back, so whatever flipped before, it opens.
                if self.flips && self.below(4) == 0 {
                    self.die(Death::Kill)?;
                    if self.engine.is_none() {
                        return Err("signed over what is not on the disk".to_owned());
                    }
                }
                Ok(())
            }
            Err(error) if error.kind() == RefusalKind::Retry => self.note_signed(),
            Err(error) if error.kind() == RefusalKind::Stop => {
                self.note_signed()?;
                self.restart_after_stop()
            }
            Err(error) => Err(format!("publishing was rejected: {error}")),
        }
    }

    /// Changes the keys of a log; whatever is cut off, the next life ends.
    fn rotate(&mut self) -> Result<(), String> {
        let log =
            ["localhost/default", "localhost/other", "localhost/meta"][usize::try_from(self.below(3)).expect("small")];
        let Some(engine) = &mut self.engine else { return Ok(()) };
        match engine.rotate(&Origin::new(log).expect("valid"), &FileKeys) {
            Ok(_) => self.note_signed(),
            Err(error) if error.kind() == RefusalKind::Retry => self.note_signed(),
            Err(error) if error.kind() == RefusalKind::Stop => {
                self.note_signed()?;
                self.restart_after_stop()
            }
            Err(error) => Err(format!("a rotation was rejected: {error}")),
        }
    }

    fn retain(&mut self) -> Result<(), String> {
        let Some(engine) = &mut self.engine else { return Ok(()) };
        match engine.retain() {
            Ok(true) => {
                for number in 0..2 {
                    let mut cursor = engine.cursor(&tenants()[number], 0).map_err(|error| error.to_string())?;
                    self.known[number].retained_from = read_all(&mut cursor, |_| Ok(()))?.2;
                }
            }
            Ok(false) => {}
            Err(error) if error.kind() == RefusalKind::Retry => {}
            Err(error) if error.kind() == RefusalKind::Stop => return self.restart_after_stop(),
            Err(error) => return Err(format!("retention was rejected: {error}")),
        }
        Ok(())
    }

    fn note_signed(&mut self) -> Result<(), String> {
        let Some(engine) = &self.engine else { return Ok(()) };
        for (tenant, known) in tenants().iter().zip(&mut self.known) {
            if let Some(signed) = engine.signed(tenant).map_err(|error| error.to_string())?
                && known.signed.insert(signed.size, signed.root).is_some_and(|root| root != signed.root)
            {
                return Err(format!("two checkpoints of size {}", signed.size));
            }
        }
        Ok(())
    }

    /// Reads from a random position and compares.
    fn check_cursor(&self) -> Result<(), String> {
        let Some(engine) = &self.engine else { return Ok(()) };
        let number = usize::try_from(self.below(2)).expect("small");
        let known = &self.known[number];
        let from = self.below(known.acknowledged.len() as u64 + 3);
        let mut cursor = engine.cursor(&tenants()[number], from).map_err(|error| error.to_string())?;
        let max = 1 + usize::try_from(self.below(50)).expect("small");
        match cursor.read(max) {
            Ok(records) => {
                let mut erased = Vec::new();
                for record in records {
                    self.check_record(number, &record, &mut erased)?;
                }
                match erased.into_iter().find(|position| *position >= known.retained_from) {
                    Some(position) => Err(format!("position {position} of log {number} lost its payload")),
                    None => Ok(()),
                }
            }
            Err(error) if self.flips || self.disk_is_dead() => {
                let _ = error;
                Ok(())
            }
            Err(error) => Err(format!("a cursor from {from} failed: {error:?}")),
        }
    }

    fn disk_is_dead(&self) -> bool {
        self.disk.list(&self.config.dir).is_err()
    }

    /// Compares a record with what was acknowledged; `erased` gets its position if its payload is gone.
    fn check_record(&self, number: usize, record: &ledger::Stored, erased: &mut Vec<u64>) -> Result<(), String> {
        let known = &self.known[number];
        let Some((hash, id)) = known.acknowledged.get(&record.position) else { return Ok(()) };
        let position = record.position;
        if leaf_hash(&record.entry) != *hash {
            return Err(format!("position {position} of log {number} holds another record than was acknowledged"));
        }
        let (cleared, fields) = &self.pool.0[*id];
        if record.kind != cleared.kind() || record.source != cleared.source() {
            return Err(format!("position {position} of log {number} is of another kind or source"));
        }
        if record.fields() == *fields {
            return Ok(());
        }
        if !record.payload.is_empty() || cleared.payload().is_empty() {
            return Err(format!("position {position} of log {number} reads back differently"));
        }
        erased.push(position);
        Ok(())
    }

    /// The last records acknowledged are there.
    fn check_end(&mut self) -> Result<(), String> {
        let Some(engine) = &self.engine else { return Ok(()) };
        for number in 0..2 {
            let known = &self.known[number];
            let Some(last) = known.acknowledged.keys().next_back() else { continue };
            let tenant = &tenants()[number];
            let mut cursor = engine.cursor(tenant, last.saturating_sub(12)).map_err(|error| error.to_string())?;
            let records = cursor.read(usize::MAX).map_err(|error| format!("reading back failed: {error:?}"))?;
            for record in &records {
                self.check_record(number, record, &mut Vec::new())?;
            }
            if cursor.position() <= *last {
                return Err(format!("log {number} ends at {}, before what was acknowledged", cursor.position()));
            }
        }
        self.note_signed()
    }

    /// Everything acknowledged is there, and every checkpoint shown is a prefix of the tree.
    fn check_all(&mut self) -> Result<(), String> {
        let Some(engine) = &self.engine else { return Ok(()) };
        for number in 0..2 {
            let mut cursor = engine.cursor(&tenants()[number], 0).map_err(|error| error.to_string())?;
            let mut erased = Vec::new();
            let (leaves, next, retained) =
                read_all(&mut cursor, |record| self.check_record(number, record, &mut erased))?;
            if let Some(position) = erased.into_iter().find(|position| *position >= retained) {
                return Err(format!("position {position} of log {number} lost its payload"));
            }
            self.known[number].retained_from = retained;
            let known = &self.known[number];
            if !self.flips && known.acknowledged.keys().next_back().is_some_and(|last| *last >= next) {
                return Err(format!("log {number} ends at {next}, before what was acknowledged"));
            }
            check_tree(&leaves, &known.signed)?;
        }
        if self.flips {
            for known in &mut self.known {
                known.acknowledged.clear();
            }
        }
        self.note_signed()
    }

    /// The log as it lies on the disk convinces the offline verifier.
    fn verify_directory(&self) -> Result<(), String> {
        let dir = self.config.dir.join("ledger/localhost/default");
        let source = verify::DiskSource::new(&self.disk, &dir);
        let report = verify::verify(&source, &verify::Options::default());
        if report.errors == 0 { Ok(()) } else { Err(format!("the verifier found: {:?}", report.findings)) }
    }
}

/// Reads a log from its start: its leaves, the position after its end, and below which position payloads may be gone.
fn read_all(
    cursor: &mut Cursor,
    mut check: impl FnMut(&ledger::Stored) -> Result<(), String>,
) -> Result<(Vec<Hash>, u64, u64), String> {
    let (mut leaves, mut next, mut retained) = (Vec::new(), 0, 0);
    loop {
        let records = cursor.read(64).map_err(|error| format!("reading back failed: {error:?}"))?;
        if records.is_empty() {
            return Ok((leaves, next, retained));
        }
        for record in records {
            if record.position != next {
                return Err(format!("position {} follows {next}", record.position));
            }
            next += 1;
            check(&record)?;
            if record.kind.tier() == model::Tier::Record {
                leaves.push(leaf_hash(&record.entry));
            }
            if record.kind == Kind::Retention
                && let Some((_, Value::U64(until))) = record.public.iter().find(|(id, _)| *id == 2)
            {
                retained = retained.max(*until);
            }
        }
    }
}

/// Every signed root is the root of a prefix of the leaves; the last two are also shown consistent by a proof.
fn check_tree(leaves: &[Hash], signed: &BTreeMap<u64, Hash>) -> Result<(), String> {
    let mut tree = Compact::new();
    let mut left = signed.iter().peekable();
    for leaf in std::iter::once(None).chain(leaves.iter().map(Some)) {
        if let Some(leaf) = leaf {
            tree.push(*leaf);
        }
        if let Some((size, root)) = left.next_if(|(size, _)| **size == tree.size())
            && *root != tree.root()
        {
            return Err(format!("the checkpoint of size {size} is no prefix of the log"));
        }
    }
    if let Some((size, _)) = left.next() {
        return Err(format!("the log is shorter than its checkpoint of size {size}"));
    }
    let mut last = signed.iter().rev();
    if let (Some((new, new_root)), Some((old, old_root))) = (last.next(), last.next())
        && *old > 0
    {
        let proof = merkle::prove_consistency(&mut &*leaves, *old, *new).map_err(|error| error.to_string())?;
        merkle::verify_consistency(*old, *new, old_root, new_root, &proof).map_err(|error| error.to_string())?;
    }
    Ok(())
}
