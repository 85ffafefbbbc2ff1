//! Boxes on their way: sealed where the record gets its name, verified without keys, opened with them, red when gone.

use std::path::Path;
use std::sync::Arc;

use disk::{Disk, SimDisk};
use ledger::commitment::commit;
use ledger::entry::{Entry, SCHEMA, ty};
use ledger::verify::{DiskSource, Options, Vault, VaultFault, VaultRecord, verify};
use ledger::{Config, Engine, FileKeys, Forensic, Stored};
use model::{Event, Kind, SeededRng, Signal, SourceId, StepClock, Tenant, Timestamp, Value};
use privacy::keystore::{Keystore, Means};
use privacy::{Boxed, Clearer, Place, Policy, Ring};

const ORIGIN: &str = "localhost/default";
const PLANTED: [&str; 4] = ["ana.lopez@example.org", "quarantaine", "jdupont42", "FR1420041010050500013M02606"];

struct World {
    disk: SimDisk,
    keystore: Arc<Keystore>,
    clearer: Clearer,
    engine: Engine,
}

fn world() -> World {
    let disk = SimDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let clock = Arc::new(StepClock::new(Timestamp::from_second(1_700_000_000).expect("in range")));
    let rng = Arc::new(SeededRng::new(3));
    let config: privacy::Config = serde_json::from_value(serde_json::json!({
        "types": {"iban": {"action": "seal"}},
        "streams": {"his": {"fields": {"user": "subject as username", "mail": "seal", "ward": "seal", "by": "seal self"}}},
    }))
    .expect("reads");
    let redactor = Arc::new(config.redactor([""; 0]).expect("is possible"));
    let policy = Arc::new(Policy::new(&config, Arc::clone(&redactor)).expect("is possible"));
    let means = Means { disk: Arc::clone(&shared), rng: Arc::clone(&rng) as _, clock: Arc::clone(&clock) as _ };
    let (keystore, _) =
        Keystore::open(means, Path::new("/data/keystore/default"), &Tenant::default(), None).expect("makes");
    let keystore = Arc::new(keystore);
    let keystores = Arc::new([(Tenant::default(), Arc::clone(&keystore))].into());
    let clearer = Clearer::new(redactor, [7; 32]).with_policy(policy).with_keystores(keystores);
    let config = Config {
        segment_bytes: 64 << 10,
        reserve_bytes: 4_096,
        ..Config::new("/data".into(), "localhost", vec![Tenant::default()])
    };
    let (engine, _) = Engine::open(shared, clock, rng, config, &FileKeys).expect("opens");
    World { disk, keystore, clearer, engine }
}

fn event(body: serde_json::Value) -> Signal {
    let event = Event { stream: "his".into(), body: Some(body.into()), ..Event::default() };
    Signal { tenant: Tenant::default(), source: SourceId([5; 16]), body: event.into() }
}

fn append(world: &mut World, bodies: Vec<serde_json::Value>) -> Vec<Stored> {
    let cleared = world.clearer.clear_all(bodies.into_iter().map(event)).expect("clears");
    for result in world.engine.append(&[cleared]) {
        result.expect("is durable");
    }
    world.engine.publish().expect("publishes");
    let mut cursor = world.engine.cursor(&Tenant::default(), 0).expect("reads");
    cursor.read(1_000).expect("reads").into_iter().filter(|stored| stored.kind == Kind::Event).collect()
}

fn bodies() -> Vec<serde_json::Value> {
    vec![
        serde_json::json!({"user": PLANTED[2], "mail": PLANTED[0], "ward": PLANTED[1], "by": "x", "n": 1}),
        serde_json::json!({"user": "JDupont42", "note": format!("paid from {}", PLANTED[3])}),
        serde_json::json!({"n": 3}),
    ]
}

/// A vault whose records lost their boxes, or have others.
struct Altered<'a>(&'a dyn Vault, &'a dyn Fn(&[u8]) -> Vec<u8>);

impl Vault for Altered<'_> {
    fn visit(&self, visit: &mut dyn FnMut(VaultRecord<'_>) -> bool) -> Result<(), VaultFault> {
        self.0.visit(&mut |record| visit(VaultRecord { boxes: &(self.1)(record.boxes), ..record }))
    }
}

#[test]
fn boxes_are_verified_without_keys_and_opened_with_them() {
    let mut world = world();
    let stored = append(&mut world, bodies());
    assert_eq!(world.keystore.stats().syncs, 1, "all keys of a batch are one sync");
    let place = Place::new(ORIGIN, SCHEMA);
    let mut opened = Vec::new();
    for record in &stored {
        let entry = Entry::decode(&record.entry).expect("decodes");
        let uuid = entry.head().uuid;
        for found in Boxed::read_all(&record.boxes).expect("reads") {
            for value in found.open_with(&place, &uuid.0, &world.keystore).expect("opens") {
                // The ledger's own commitment and privacy's are one.
                let ours = commit(&uuid, value.field, &value.r, ty::LIST, value.committed.expose());
                assert!(entry.commitments().any(|(field, c)| (field, *c) == (value.field, ours)));
                opened.push((value.path, value.value));
            }
        }
    }
    opened.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [("body.by", "x"), ("body.mail", PLANTED[0]), ("body.note", PLANTED[3]), ("body.ward", PLANTED[1])];
    assert_eq!(opened, expected.map(|(path, value)| (path.to_owned(), Value::from(value))));
    let users: Vec<_> = stored.iter().filter_map(|record| record.payload.iter().find(|(id, _)| *id == 6)).collect();
    let user = |at: usize| match &users[at].1 {
        Value::Map(body) => body.get("user").cloned(),
        _ => None,
    };
    assert_eq!(user(0), user(1), "one person, however written");
    assert!(stored[2].boxes.is_empty());

    let log = Path::new("/data/ledger").join(ORIGIN);
    let wal = Forensic::open(Arc::new(world.disk.clone()), Path::new("/data")).expect("lists").log(ORIGIN);
    let check = |vault: &dyn Vault| {
        let report = verify(&DiskSource::new(&world.disk, &log), &Options { vault: Some(vault), ..Options::default() });
        report.is_sound()
    };
    assert!(check(&wal));
    assert!(!check(&Altered(&wal, &|_| Vec::new())), "a box that is gone is red");
    assert!(!check(&Altered(&wal, &|boxes| boxes.iter().skip(1).copied().collect())), "a broken box is red");
    assert!(!check(&Altered(&wal, &|boxes| if boxes.is_empty() { foreign_box() } else { boxes.to_vec() })));
}

/// A box of a field that no entry commits to.
fn foreign_box() -> Vec<u8> {
    let mut bytes = vec![0, 1];
    bytes.extend_from_slice(&[9; 16]);
    bytes.extend_from_slice(&[0, 1, 0x80, 0x77]);
    bytes.extend_from_slice(&[0; 24]);
    bytes.extend_from_slice(&[0, 0, 0, 16]);
    bytes.extend_from_slice(&[0; 16]);
    bytes
}

/// The canary: what was sealed or belongs to somebody stands nowhere on the disk.
#[test]
fn no_planted_identifier_is_found_on_the_disk() {
    let mut world = world();
    append(&mut world, bodies());
    let mut queue = vec![std::path::PathBuf::from("/data")];
    let (mut searched, mut files) = (0, 0);
    while let Some(dir) = queue.pop() {
        for entry in world.disk.list(&dir).expect("lists") {
            let path = dir.join(&entry.name);
            if entry.is_dir {
                queue.push(path);
                continue;
            }
            let bytes = disk::read(&world.disk, &path).expect("reads");
            (searched, files) = (searched + bytes.len(), files + 1);
            for planted in PLANTED {
                let lower = planted.to_lowercase();
                let has = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
                assert!(!has(planted) && !has(&lower), "in {}", path.display());
            }
        }
    }
    assert!(searched > 4_000 && files > 8, "{searched} bytes in {files} files");
}

/// Whoever has the keys is told of a box that does not open; who has none sees only that it is there.
#[test]
fn with_the_keys_every_box_is_opened_and_counted() {
    let mut world = world();
    let stored = append(&mut world, bodies());
    let log = Path::new("/data/ledger").join(ORIGIN);
    let wal = Forensic::open(Arc::new(world.disk.clone()), Path::new("/data")).expect("lists").log(ORIGIN);
    let verified = |vault: &dyn Vault, keystore: Option<&Keystore>| {
        let ring = keystore.map(Ring::new);
        let options = Options { vault: Some(vault), ring: ring.as_ref(), ..Options::default() };
        let report = verify(&DiskSource::new(&world.disk, &log), &options);
        let texts: Vec<String> =
            report.findings.iter().map(ToString::to_string).filter(|text| text.contains("box")).collect();
        ((report.boxes, report.boxes_opened, report.boxes_erased), report.is_sound(), texts)
    };
    assert_eq!(verified(&wal, None), ((3, 0, 0), true, Vec::new()));
    assert_eq!(verified(&wal, Some(&world.keystore)), ((3, 3, 0), true, Vec::new()));
    assert!(format!("{:?}", Ring::new(&world.keystore)).starts_with("Ring("));
    // A bit of what is sealed, which no form shows.
    let flipped = Altered(&wal, &|boxes| {
        let mut boxes = boxes.to_vec();
        if let Some(last) = boxes.last_mut() {
            *last ^= 1;
        }
        boxes
    });
    assert!(verified(&flipped, None).1, "without keys it is as good as another");
    let (counts, sound, texts) = verified(&flipped, Some(&world.keystore));
    assert_eq!((counts, sound), ((3, 1, 0), false));
    assert!(texts.len() == 2 && texts[0].contains("does not open, though its keys are there"), "{texts:?}");
    // A box of the same owner, well sealed for the record's place, but with another value.
    let entry = Entry::decode(&stored[1].entry).expect("decodes");
    let boxes = Boxed::read_all(&stored[1].boxes).expect("reads");
    let owner = world.keystore.owner_of(&boxes[0].handles()[0]).expect("is there");
    let mut other = privacy::Sealed::new(vec![owner.clone()]);
    other.push(boxes[0].fields().next().expect("has one"), "body.note", Value::from("nothing was paid"));
    let mut forged = Vec::new();
    let place = Place::new(ORIGIN, SCHEMA);
    privacy::seal_all(&[other], &place, &entry.head().uuid.0, &SeededRng::new(9), &mut forged, &mut Vec::new())
        .expect("seals");
    let swapped = Altered(&wal, &|boxes| if boxes == stored[1].boxes { forged.clone() } else { boxes.to_vec() });
    let (counts, sound, texts) = verified(&swapped, Some(&world.keystore));
    assert_eq!((counts, sound), ((3, 2, 0), false));
    assert!(texts[0].contains("holds other values than the entry commits to"), "{texts:?}");
    world.keystore.destroy(&[owner.kid()]).expect("destroys");
    let (counts, sound, _) = verified(&wal, Some(&world.keystore));
    assert_eq!((counts, sound), ((3, 1, 2), true), "the person's boxes are erased, and nothing is wrong with that");
}

#[test]
fn after_its_key_is_destroyed_a_box_is_closed_and_the_log_still_sound() {
    let mut world = world();
    let stored = append(&mut world, bodies());
    let place = Place::new(ORIGIN, SCHEMA);
    let entry = Entry::decode(&stored[0].entry).expect("decodes");
    let boxes = Boxed::read_all(&stored[0].boxes).expect("reads");
    let owner = world.keystore.owner_of(&boxes[0].handles()[0]).expect("is there");
    world.keystore.destroy(&world.keystore.linked(owner.kid())).expect("destroys");
    assert!(boxes[0].open_with(&place, &entry.head().uuid.0, &world.keystore).is_none());
    assert!(boxes[1].open_with(&place, &entry.head().uuid.0, &world.keystore).is_some(), "another's stays");
    let wal = Forensic::open(Arc::new(world.disk.clone()), Path::new("/data")).expect("lists").log(ORIGIN);
    let source = DiskSource::new(&world.disk, &Path::new("/data/ledger").join(ORIGIN));
    assert!(verify(&source, &Options { vault: Some(&wal), ..Options::default() }).is_sound());
}
