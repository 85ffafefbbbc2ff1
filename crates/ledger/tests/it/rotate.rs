//! Rotation of a log's keys: what each step leaves when the power goes, and what verifiers say of every kind of lie.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::{Disk, SimDisk};
use ledger::note::Verifiers;
use ledger::verify::{DiskSource, Options, Report, Weight, verify, verify_meta};
use ledger::{Config, Engine, Error, FileKeys, Rotated, meta_id};
use model::{Alert, Origin, Sector, SeededRng, Severity, Signal, StepClock, Tenant, Timestamp};
use privacy::{Cleared, Clearer, Redactor};

use crate::foreign::{build, text};
use crate::sample::Sample;

const DEFAULT: &str = "localhost/default";

fn origin(name: &str) -> Origin {
    Origin::new(name).expect("valid")
}

fn alert(clearer: &Clearer) -> Cleared {
    let alert = Alert {
        labels: [("alertname".to_owned(), "Backup".to_owned())].into(),
        annotations: [].into(),
        starts_at: Timestamp::from_second(1_700_000_000).expect("in range"),
        ends_at: None,
        generator_url: None,
        severity: Severity::Critical,
        sector: Sector::None,
        channel: None,
    };
    clearer.clear(Signal::ours(Tenant::default(), alert)).expect("clears")
}

/// A ledger on a simulated disk, life after life.
struct World {
    disk: SimDisk,
    clock: Arc<StepClock>,
    lives: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let clock = Arc::new(StepClock::new(Timestamp::from_second(1_700_000_000).expect("in range")));
        Self { disk: SimDisk::new(seed), clock, lives: seed * 1_000 }
    }

    fn config() -> Config {
        let mut config = Config::new(PathBuf::from("/data"), "localhost", vec![Tenant::default()]);
        (config.segment_bytes, config.reserve_bytes) = (60_000, 8_000);
        config
    }

    fn open(&mut self) -> Result<Engine, Error> {
        self.lives += 1;
        let rng = Arc::new(SeededRng::new(self.lives));
        let clock = Arc::clone(&self.clock) as Arc<dyn model::Clock>;
        Engine::open(Arc::new(self.disk.clone()), clock, rng, Self::config(), &FileKeys).map(|(engine, _)| engine)
    }

    fn log(name: &str) -> PathBuf {
        Path::new("/data/ledger").join(name)
    }

    fn file(&self, path: &str) -> Option<Vec<u8>> {
        let path = Path::new("/data").join(path);
        self.disk.exists(&path).then(|| disk::read(&self.disk, &path).expect("reads"))
    }

    fn keys(&self, suffix: &str) -> Verifiers {
        let file = |name: &str| self.file(&format!("ledger/{DEFAULT}/{name}{suffix}")).expect("is published");
        Verifiers::parse(&file("vkey"), Some(&file("mldsa.pub"))).expect("are keys")
    }

    fn verify(&self, keys: Option<&Verifiers>, earlier: &[Vec<u8>]) -> Report {
        let source = DiskSource::new(&self.disk, &Self::log(DEFAULT));
        verify(&source, &Options { keys, earlier, threads: 1, ..Options::default() })
    }

    fn checkpoint(&self) -> Vec<u8> {
        self.file(&format!("ledger/{DEFAULT}/checkpoint")).expect("is signed")
    }

    /// Tells whether a secret is in any file of the keystore.
    fn keeps(&self, secret: &[u8]) -> bool {
        let dir = Path::new("/data/keystore").join(DEFAULT);
        let files = self.disk.list(&dir).expect("lists");
        files.iter().any(|entry| {
            let bytes = disk::read(&self.disk, &dir.join(&entry.name)).expect("reads");
            bytes.windows(secret.len()).any(|window| window == secret)
        })
    }
}

/// A ledger with some leaves, closed, and what is known of it.
fn begun(seed: u64, clearer: &Clearer) -> (World, Vec<Vec<u8>>, Verifiers, Vec<u8>) {
    let mut world = World::new(seed);
    let mut engine = world.open().expect("opens");
    engine.append(&[vec![alert(clearer)]]).remove(0).expect("appends");
    engine.close().expect("closes");
    let (note, keys) = (world.checkpoint(), world.keys(""));
    let secret = world.file(&format!("keystore/{DEFAULT}/signing.keys")).expect("is there");
    (world, vec![note], keys, secret[..64].to_vec())
}

fn rotate(world: &mut World) -> Result<Rotated, Error> {
    let mut engine = world.open()?;
    let rotated = engine.rotate(&origin(DEFAULT), &FileKeys)?;
    engine.close()?;
    Ok(rotated)
}

/// What must hold of the files at any moment, for whoever has the first keys and the checkpoints shown so far.
fn check(world: &World, old: &Verifiers, shown: &mut Vec<Vec<u8>>, at: u64) {
    let checkpoint = world.checkpoint();
    if old.open(&checkpoint).is_err() {
        let link = world.file(&format!("ledger/{DEFAULT}/rotation/1")).expect("the link is durable before");
        old.open(&link).expect("is signed by the old keys");
    }
    shown.push(checkpoint);
    let report = world.verify(Some(old), shown);
    assert!(report.is_sound() && report.earlier == shown.len() as u64, "at {at}: {:?}", report.findings);
    assert!(world.verify(None, shown).is_sound(), "at {at}");
}

/// Lets a ledger die at its `at`th operation in a rotation, by power or by kill, and once more while it is opened.
fn die(at: u64, clearer: &Clearer) -> bool {
    let (mut world, mut shown, old, secret) = begun(at, clearer);
    world.disk.lose_power_after(at / 2);
    let survived = rotate(&mut world).is_ok();
    world.disk = if at.is_multiple_of(2) { world.disk.crash() } else { world.disk.kill() };
    check(&world, &old, &mut shown, at);
    world.disk.lose_power_after(at * 7 % 120);
    let _ = world.open();
    world.disk = world.disk.crash();
    check(&world, &old, &mut shown, at);

    let mut engine = world.open().expect("there are usable keys");
    engine.append(&[vec![alert(clearer)]]).remove(0).expect("appends");
    engine.close().expect("closes");
    check(&world, &old, &mut shown, at);
    let rotated = rotate(&mut world).expect("a rotation can always be made");
    let mut engine = world.open().expect("opens");
    engine.append(&[vec![alert(clearer)]]).remove(0).expect("appends");
    engine.close().expect("closes");
    check(&world, &old, &mut shown, at);
    assert!(rotated.number == 1 || rotated.number == 2, "{rotated:?}");
    assert_eq!(world.keys(""), rotated.keys);
    let report = world.verify(Some(&rotated.keys), &shown);
    assert!(report.is_sound() && report.rotations == rotated.number, "at {at}: {:?}", report.findings);
    assert!(!world.keeps(&secret), "the old secret keys are destroyed");
    let left = world.disk.list(&Path::new("/data/keystore").join(DEFAULT)).expect("lists");
    assert_eq!(left.iter().filter(|entry| !entry.name.ends_with(".tmp")).count(), 1, "{left:?}");
    survived
}

#[test]
fn a_rotation_ends_whatever_cuts_it_off_and_whenever() {
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get) as u64;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let clearer = Clearer::new(Arc::new(Redactor::new()), [7; 32]);
                let mut at = thread;
                // Until nothing cuts it off any more. An unoptimised build has each operation die one of both deaths.
                let die_at = |at| die(if cfg!(debug_assertions) { 2 * at + at / threads % 2 } else { at }, &clearer);
                while !die_at(at) {
                    at += threads;
                    assert!(at < 2_000, "a rotation has fewer operations");
                }
                assert!(at > 60, "it was cut off at each of its steps: {at}");
            });
        }
    });
}

#[test]
fn a_log_changes_its_keys_and_the_others_do_not() {
    let clearer = Clearer::new(Arc::new(Redactor::new()), [7; 32]);
    let (mut world, mut shown, old, _) = begun(1, &clearer);
    let id = meta_id(&world.disk, Path::new("/data"), &origin(DEFAULT)).expect("reads").expect("is there");
    let meta = world.file("ledger/localhost/meta/vkey");
    let mut engine = world.open().expect("opens");
    engine.append_meta().expect("appends");
    let early = engine.prove(&Tenant::default(), 1).expect("proves");
    assert!(matches!(engine.rotate(&origin("localhost/none"), &FileKeys), Err(Error::UnknownTenant)));
    for number in 1..=3 {
        let before = world.keys("");
        let rotated = engine.rotate(&origin(DEFAULT), &FileKeys).expect("rotates");
        assert_eq!((rotated.number, &rotated.keys), (number, &world.keys("")));
        assert_ne!(before, rotated.keys);
        assert_eq!(before, world.keys(&format!(".{number}")));
        let both = world.checkpoint();
        assert_eq!(world.file(&format!("ledger/{DEFAULT}/rotation/{number}")), Some(both.clone()));
        assert_eq!(before.open(&both), rotated.keys.open(&both));
        engine.append_meta().expect("appends");
        engine.append(&[vec![alert(&clearer)]]).remove(0).expect("appends");
        engine.publish().expect("publishes");
        assert!(before.open(&world.checkpoint()).is_err(), "the new keys sign alone");
        shown.push(both);
        shown.push(world.checkpoint());
        let rotations: Vec<String> =
            world.verify(Some(&before), &shown).findings.iter().map(|f| f.text.clone()).collect();
        assert_eq!(rotations, ["the keys that were given are retired: 1 rotations lead from them to those in force"]);
    }
    engine.close().expect("closes");
    assert_eq!(
        (meta_id(&world.disk, Path::new("/data"), &origin(DEFAULT)).expect("reads"), meta),
        (Some(id), world.file("ledger/localhost/meta/vkey"))
    );
    for keys in [&old, &world.keys(".2"), &world.keys("")] {
        let report = world.verify(Some(keys), &shown);
        assert!(report.is_sound(), "{:?}", report.findings);
        assert_eq!((report.rotations, report.earlier), (3, 7));
        let forensic = ledger::Forensic::open(Arc::new(world.disk.clone()), Path::new("/data")).expect("lists");
        let source = DiskSource::new(&world.disk, &World::log(DEFAULT));
        let checkpoint = report.checkpoint.expect("is sound");
        let meta = forensic.log("localhost/meta");
        let seen = verify_meta(&meta, &id, &source, &checkpoint, &report.keys.expect("is sound"));
        assert_eq!(seen, (4, vec![]), "the meta-log holds checkpoints of every pair of keys");
    }
    // A proof of before is under the keys of before.
    let proof = ledger::proof::Proof::parse(early.as_bytes()).expect("parses");
    let forensic = ledger::Forensic::open(Arc::new(world.disk.clone()), Path::new("/data")).expect("lists");
    let mut entry = None;
    forensic
        .visit(DEFAULT, &mut |found| {
            entry = (found.position == 1).then(|| found.entry.to_vec());
            found.position < 1
        })
        .expect("reads");
    let entry = entry.expect("is there");
    assert!(proof.verify(&entry, &old).is_ok());
    assert!(proof.verify(&entry, &world.keys("")).is_err());
}

#[test]
fn traces_of_rotations_are_not_lost_unseen() {
    let clearer = Clearer::new(Arc::new(Redactor::new()), [7; 32]);
    let (mut world, ..) = begun(1, &clearer);
    rotate(&mut world).expect("rotates");
    world.disk.remove(&World::log(DEFAULT).join("vkey.1")).expect("removes");
    let error = rotate(&mut world).expect_err("the number of the rotation is not known");
    assert!(error.to_string().contains("a file of an earlier rotation is gone"), "{error}");
}

#[test]
fn a_full_disk_leaves_a_rotation_for_the_next_start() {
    let clearer = Clearer::new(Arc::new(Redactor::new()), [7; 32]);
    let (mut world, mut shown, old, secret) = begun(1, &clearer);
    let mut rooms = Vec::new();
    for room in (0..80_000).step_by(8_000) {
        let mut engine = world.open().expect("opens");
        let used = {
            world.disk.set_capacity(Some(1 << 40));
            (1 << 40) - world.disk.free_bytes(Path::new("/data")).expect("measures")
        };
        world.disk.set_capacity(Some(used + room));
        let full = engine.rotate(&origin(DEFAULT), &FileKeys);
        rooms.push(full.is_ok());
        drop(engine);
        // The next start may find it as full, and signs with what keys there are.
        drop(world.open());
        check(&world, &old, &mut shown, room);
        world.disk.set_capacity(None);
    }
    assert!(rooms.contains(&false) && rooms.contains(&true), "{rooms:?}");
    world.open().expect("opens").close().expect("closes");
    assert!(!world.keeps(&secret));
    check(&world, &old, &mut shown, 0);
}

/// What is wrong with a log that was rotated once and then lied about.
fn lied(keys: Option<&str>, lie: impl FnOnce(&mut Sample, &Sample)) -> Vec<String> {
    let mut sample = Sample::new(DEFAULT, 1);
    sample.fill(20, 0);
    let first = sample.signer.verifiers().clone();
    let mut stranger = Sample::new(DEFAULT, 2);
    stranger.fill(20, 0);
    stranger.rotate(1);
    sample.rotate(1);
    sample.fill(3, 0);
    sample.commit();
    let second = sample.signer.verifiers().clone();
    lie(&mut sample, &stranger);
    let keys = match keys {
        Some("old") => Some(&first),
        Some(_) => Some(&second),
        None => None,
    };
    let report = verify(&sample.files, &Options { keys, threads: 1, ..Options::default() });
    let errors = report.findings.iter().filter(|finding| finding.weight == Weight::Error);
    errors.map(ToString::to_string).collect()
}

type Lie = fn(&mut Sample, &Sample);

/// What is lied about, how, and what the verifier must say whichever keys it was given.
const LIES: [(&str, Lie, &str); 9] = [
    (
        "the old keys never signed",
        |log, _| {
            let new = log.files["checkpoint"].clone();
            log.files.insert("rotation/1".into(), new);
        },
        "rotation/1: the checkpoint lacks the Ed25519 signature of the keys that it retires",
    ),
    (
        "the new keys never signed",
        |log, other| {
            let stripped: String = String::from_utf8(log.files["rotation/1"].clone())
                .expect("is text")
                .lines()
                .take(6)
                .map(|line| format!("{line}\n"))
                .collect();
            log.files.insert("rotation/1".into(), stripped.into_bytes());
            let _ = other;
        },
        "rotation/1: the checkpoint lacks the Ed25519 signature of the new keys",
    ),
    ("the link is gone", |log, _| drop(log.files.remove("rotation/1")), "rotation/1 is missing"),
    (
        "the link is of another log",
        |log, other| {
            log.files.insert("rotation/1".into(), other.files["rotation/1"].clone());
        },
        "rotation/1: the checkpoint lacks the Ed25519 signature of the keys that it retires",
    ),
    (
        "the retired keys are others",
        |log, other| {
            for name in ["vkey.1", "mldsa.pub.1"] {
                log.files.insert(name.into(), other.files[name].clone());
            }
        },
        "of the keys that it retires",
    ),
    ("half of the retired keys is gone", |log, _| drop(log.files.remove("mldsa.pub.1")), "mldsa.pub.1 is missing"),
    ("all traces are gone", |log, _| log.files.retain(|path, _| !path.ends_with(".1") && path != "rotation/1"), ""),
    (
        "the keys in force are others",
        |log, other| {
            for name in ["vkey", "mldsa.pub"] {
                log.files.insert(name.into(), other.files[name].clone());
            }
        },
        "of the new keys",
    ),
    (
        "the old keys are back",
        |log, _| {
            for name in ["vkey", "mldsa.pub"] {
                let old = log.files[&format!("{name}.1")].clone();
                log.files.insert(name.into(), old);
            }
        },
        "",
    ),
];

#[test]
fn every_lie_about_a_rotation_is_found_with_the_old_the_new_and_the_logs_own_keys() {
    let none: [&str; 0] = [];
    assert_eq!(lied(Some("old"), |_, _| {}), none);
    assert_eq!(lied(Some("new"), |_, _| {}), none);
    for (what, lie, said) in LIES {
        for keys in [Some("old"), Some("new"), None] {
            let found = lied(keys, lie);
            assert!(!found.is_empty(), "{what}, with {keys:?}");
            assert!(found.iter().any(|text| text.contains(said)), "{what}, with {keys:?}: {found:?}");
        }
    }
}

/// A leaf that lies, under a checkpoint that old and new signed: only who signs can make it.
#[test]
fn a_rotation_that_its_leaf_contradicts_is_found() {
    let check = |make: &dyn Fn(&mut Sample)| {
        let mut sample = Sample::new(DEFAULT, 1);
        sample.fill(5, 0);
        let first = sample.signer.verifiers().clone();
        make(&mut sample);
        let report = verify(&sample.files, &Options { keys: Some(&first), threads: 1, ..Options::default() });
        report.findings.iter().filter(|f| f.weight == Weight::Error).map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(check(&|log| log.rotate(1)), [""; 0]);
    let found = check(&|log| {
        log.rotate(2);
        for name in ["vkey", "mldsa.pub", "rotation/"] {
            let (from, to) = if name == "rotation/" {
                ("rotation/2".into(), "rotation/1".into())
            } else {
                (format!("{name}.2"), format!("{name}.1"))
            };
            let bytes = log.files.remove(&from).expect("is there");
            log.files.insert(to, bytes);
        }
    });
    assert_eq!(found, ["I1 leaf 6: the rotation has the number 2 instead of 1"]);
    // Signed by both, but over a tree without the leaf.
    let found = check(&|log| {
        let mut twin = Sample::new(DEFAULT, 1);
        twin.fill(5, 0);
        log.rotate(1);
        twin.commit();
        let (size, root) = (twin.writer.size(), twin.writer.root());
        let checkpoint = ledger::checkpoint::Checkpoint { origin: DEFAULT.into(), size, root };
        let early = log.signer.cosign(twin.note(), &checkpoint, 1_700_000_000).into_bytes();
        log.files.insert("rotation/1".into(), early.clone());
        // And with no leaf at all.
        twin.files.extend(
            log.files.iter().filter(|(path, _)| !path.starts_with("tile")).map(|(p, b)| (p.clone(), b.clone())),
        );
        twin.files.insert("checkpoint".into(), early);
        let report = verify(&twin.files, &Options { threads: 1, ..Options::default() });
        let errors: Vec<_> =
            report.findings.iter().filter(|f| f.weight == Weight::Error).map(ToString::to_string).collect();
        assert_eq!(errors, ["I1: rotation/1 has no leaf: the log does not announce its keys"]);
    });
    assert_eq!(found, ["I1 leaf 6: rotation/1 is not over the rotation's leaf"]);
    // The leaf names the keys of another rotation.
    let found = check(&|log| {
        let other = Sample::new(DEFAULT, 9);
        let (vkey, public) = (other.signer.vkey(), other.signer.ml_dsa_public());
        let retired = log.signer.verifiers().digest();
        let leaf = ledger::own::KeyRotation { vkey: &vkey, ml_dsa_public: &public, number: 1, retired };
        log.record(false, 6, &leaf.fields(), &[]);
        log.rotate(2);
        for (from, to) in [("vkey.2", "vkey.1"), ("mldsa.pub.2", "mldsa.pub.1"), ("rotation/2", "rotation/1")] {
            let bytes = log.files.remove(from).expect("is there");
            log.files.insert(to.into(), bytes);
        }
    });
    assert_eq!(
        found,
        [
            "I1 leaf 6: the rotation announces other keys than those of rotation/1",
            "I1 leaf 7: the log's keys were rotated, and rotation/2 or a key that it retired is missing"
        ]
    );
}

/// Keys that were retired may be stolen later: what they sign beyond their time is not the log's.
#[test]
fn keys_sign_in_their_time_alone() {
    let mut sample = Sample::new(DEFAULT, 1);
    sample.fill(5, 0);
    sample.rotate(1);
    sample.fill(5, 0);
    sample.commit();
    let stolen = Sample::new(DEFAULT, 1).signer;
    let (size, root) = (sample.writer.size(), sample.writer.root());
    let late = stolen.sign(&ledger::checkpoint::Checkpoint { origin: DEFAULT.into(), size, root }, 1_700_000_000);
    let mut before = Sample::new(DEFAULT, 1);
    let (size, root) = (before.writer.size(), before.writer.root());
    let early =
        sample.signer.sign(&ledger::checkpoint::Checkpoint { origin: DEFAULT.into(), size, root }, 1_700_000_000);
    before.fill(2, 0);
    for (note, why) in [
        (late, "I6: the checkpoint of 12 leaves is signed by keys that were retired at 7 leaves"),
        (early, "I6: the checkpoint of 1 leaves is signed by keys of later"),
        (Sample::new(DEFAULT, 5).note(), "I6: the checkpoint lacks the Ed25519 signature"),
    ] {
        let earlier = [note.into_bytes(), before.note().into_bytes()];
        let options = Options { keys: Some(sample.signer.verifiers()), earlier: &earlier, ..Options::default() };
        let report = verify(&sample.files, &options);
        let errors: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
        assert_eq!((errors, report.earlier), (vec![why.to_owned()], 1));
    }
}

#[test]
fn go_walks_a_rotated_log_with_the_new_key_and_the_link_with_either() {
    let dir = tempfile::tempdir().expect("makes");
    let Some((walk, _)) = build(include_str!("../go/walk/main.go"), dir.path()) else { return };
    let log = dir.path().join("log");
    let mut sample = Sample::new(DEFAULT, 7);
    sample.fill(300, 2);
    let old = sample.signer.vkey();
    sample.rotate(1);
    let write = |sample: &Sample| {
        for (path, bytes) in &sample.files {
            let path = log.join(path);
            std::fs::create_dir_all(path.parent().expect("has one")).expect("makes");
            disk::write_atomic(&disk::OsDisk, &path, bytes).expect("writes");
        }
    };
    let run = |vkey: &str| std::process::Command::new(&walk).arg(&log).arg(vkey).output().expect("runs");
    write(&sample);
    for vkey in [&old, &sample.signer.vkey()] {
        let output = run(vkey);
        assert!(output.status.success(), "{}", text(&output));
    }
    sample.fill(30, 2);
    sample.commit();
    write(&sample);
    let output = run(&sample.signer.vkey());
    assert!(output.status.success(), "{}", text(&output));
    assert!(!run(&old).status.success(), "the old key does not sign any more");
}
