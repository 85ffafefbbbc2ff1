//! The keystore on a disk that loses, tears and fails, and beside itself in threads.

use disk::{OsClock, OsDisk, OsRng, SimDisk};
use model::{RefusalKind, SeededRng, StepClock, Timestamp};

use super::*;

const DIR: &str = "/data/keystore/default";

fn means(disk: Arc<dyn Disk>, seed: u64) -> Means {
    let clock = StepClock::new(Timestamp::from_second(1_700_000_000).expect("in range"));
    Means { disk, rng: Arc::new(SeededRng::new(seed)), clock: Arc::new(clock) }
}

fn open(disk: &SimDisk, seed: u64) -> Result<(Keystore, Opened), Error> {
    Keystore::open(means(Arc::new(disk.clone()), seed), Path::new(DIR), &Tenant::default(), None)
}

impl Keystore {
    /// Returns what the vectors show: the file, its master key, where it was whole, and what its frames say.
    pub(crate) fn dump(&self) -> (Vec<u8>, [u8; 32], (u64, Vec<serde_json::Value>)) {
        let writer = lock(&self.writer);
        let store = writer.store.as_ref().expect("is on a disk");
        let mut bytes = vec![0; usize::try_from(store.end).expect("is small")];
        store.file.read_at(&mut bytes, 0).expect("reads");
        let header = Header::read(&*store.file).expect("reads");
        (bytes, *store.sealing.emk, (header.whole, file::show(&*store.file, &store.sealing)))
    }
}

fn want(keystore: &Keystore, class: u8, users: &[&str]) -> Want {
    Want { class: Class(class), tags: users.iter().map(|user| keystore.tag("username", user)).collect() }
}

#[test]
fn keys_are_minted_once_and_are_there_after_a_restart() {
    let mut disk = SimDisk::new(1);
    let (mut keystore, opened) = open(&disk, 1).expect("makes");
    assert_eq!(opened, Opened { made: true, torn: 0 });
    let wants = [want(&keystore, 0, &["ana"]), want(&keystore, 1, &["ana"]), want(&keystore, 0, &["bob"])];
    assert_eq!(wants.each_ref().map(|want| keystore.find(want)), [None, None, None]);
    keystore.mint(&wants).expect("mints");
    keystore.mint(&wants).expect("has them");
    let owners = wants.each_ref().map(|want| keystore.find(want).expect("was minted"));
    let kids: BTreeSet<Kid> = owners.iter().map(Owner::kid).collect();
    let keys: BTreeSet<[u8; 32]> = owners.iter().map(|owner| *owner.key()).collect();
    assert_eq!((kids.len(), keys.len()), (3, 3), "a key for each class of each person");
    let stats = keystore.stats();
    assert_eq!((stats.keys, stats.tags, stats.minted, stats.syncs, stats.epoch), (3, 3, 3, 1, 1));
    let shown = format!("{keystore:?} {:?} {:?} {:?}", owners[0], owners[0].kid(), wants[0]);
    assert_eq!(shown.matches("bytes)").count(), 3, "{shown}");

    for close in [false, true] {
        if close {
            keystore.close();
            assert!(keystore.mint(&[want(&keystore, 0, &["eve"])]).is_err(), "it is closed");
        }
        disk = disk.kill();
        let (again, opened) = open(&disk, 2).expect("opens");
        assert_eq!(opened, Opened::default());
        for (want, owner) in wants.iter().zip(&owners) {
            assert_eq!(again.find(want).map(|found| *found.key()), Some(*owner.key()));
            assert_eq!(again.key(owner.kid()).as_ref(), Some(owner));
            assert_eq!(again.owner_of(&crate::handle(owner)).as_ref(), Some(owner));
        }
        assert_eq!((again.key(Kid([0; 16])), again.owner_of(&[0; 16])), (None, None));
        keystore = again;
    }
}

#[test]
fn identifiers_of_one_person_lead_to_one_key_and_two_keys_are_linked() {
    let disk = SimDisk::new(1);
    let (keystore, _) = open(&disk, 1).expect("makes");
    let mint = |users: &[&str]| {
        let want = want(&keystore, 0, users);
        keystore.mint(std::slice::from_ref(&want)).expect("mints");
        keystore.find(&want).expect("is there").kid()
    };
    let ana = mint(&["ana", "ana2"]);
    assert_eq!((mint(&["ana2"]), mint(&["ana3", "ana"]), mint(&["ana3"])), (ana, ana, ana));
    let other = mint(&["lopez"]);
    assert_ne!(other, ana);
    assert_eq!(keystore.linked(ana), [ana]);
    assert_eq!(mint(&["lopez", "ana"]), other, "both stay; the first counts");
    assert_eq!((mint(&["ana"]), mint(&["lopez"])), (ana, other));
    assert_eq!(keystore.linked(ana), keystore.linked(other));
    assert_eq!(keystore.linked(ana).len(), 2);
    // Twice in one mint, and the second time with one more name.
    let twice = [want(&keystore, 0, &["eve"]), want(&keystore, 0, &["eve", "eva"]), want(&keystore, 0, &[])];
    keystore.mint(&twice[..2]).expect("mints");
    assert_eq!(keystore.find(&twice[0]), keystore.find(&twice[1]));
    assert_eq!(keystore.find(&twice[2]), None, "nobody is named");
    keystore.mint(&twice[2..]).expect("nothing to do");
    assert_eq!(keystore.linked(Kid([9; 16])), []);
    let stats = keystore.stats();
    assert_eq!((stats.keys, stats.tags, stats.links), (3, 6, 1));
    drop(keystore);
    let (again, _) = open(&disk.kill(), 2).expect("opens");
    assert_eq!((again.linked(ana).len(), again.stats().links), (2, 1));
}

#[test]
fn at_a_bound_the_caller_is_told_to_come_back() {
    let (mut keystore, _) = open(&SimDisk::new(1), 1).expect("makes");
    keystore.bounds = (2, 3, 0);
    let mint = |users: &[&str]| keystore.mint(&[want(&keystore, 0, users)]).map_err(|error| error.to_string());
    mint(&["a", "b"]).expect("fits");
    mint(&["c"]).expect("fits");
    let full = |what| Err(format!("could not mint: the keystore holds as many {what} as it may"));
    assert_eq!(mint(&["d"]), full("keys"));
    assert_eq!(mint(&["c", "d"]), full("tags"));
    assert_eq!(mint(&["c", "a"]), full("links"));
    mint(&["c"]).expect("is known");
    assert_eq!((keystore.stats().refused, keystore.stopped()), (3, None));
    assert_eq!(Error::Full { what: "keys" }.kind(), RefusalKind::Retry);
}

#[test]
fn many_callers_share_syncs() {
    let dir = tempfile::tempdir().expect("a directory");
    let means = Means { disk: Arc::new(OsDisk), rng: Arc::new(OsRng), clock: Arc::new(OsClock::default()) };
    let (keystore, _) = Keystore::open(means, dir.path(), &Tenant::default(), None).expect("makes");
    let start = std::sync::Barrier::new(16);
    // While the lock is held, as by a sync, all the others come.
    let held = lock(&keystore.writer);
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (keystore, start) = (&keystore, &start);
            scope.spawn(move || {
                let names: Vec<String> = (0..50).map(|i| format!("u{thread}-{i}")).collect();
                let wants: Vec<Want> = names.iter().map(|name| want(keystore, 0, &[name])).collect();
                start.wait();
                keystore.mint(&wants).expect("mints");
                assert!(wants.iter().all(|want| keystore.find(want).is_some()));
            });
        }
        while lock(&keystore.waiting).len() < 800 {
            std::thread::yield_now();
        }
        drop(held);
    });
    let stats = keystore.stats();
    assert_eq!((stats.keys, stats.tags, stats.syncs), (800, 800, 1));
}

#[test]
fn destroyed_keys_are_gone_and_the_others_stay() {
    let disk = SimDisk::new(1);
    let (keystore, _) = open(&disk, 1).expect("makes");
    let wants = ["ana", "bob", "eve"].map(|user| want(&keystore, 0, &[user]));
    keystore.mint(&wants).expect("mints");
    keystore.mint(&[want(&keystore, 0, &["bob", "eve"])]).expect("links");
    let owners = wants.each_ref().map(|want| keystore.find(want).expect("is there"));
    let before = disk::read(&disk, &Path::new(DIR).join(KEYS)).expect("reads");
    let wrapped = disk::read(&disk, &Path::new(DIR).join("emk_1")).expect("reads");
    let destroyed = keystore.destroy(&[owners[1].kid(), Kid([3; 16])]).expect("destroys");
    assert_eq!(destroyed, Destroyed { ended: 1, keys: 1, tags: 1 });
    let check = |keystore: &Keystore| {
        let found = wants.each_ref().map(|want| keystore.find(want));
        assert_eq!(found, [Some(owners[0].clone()), None, Some(owners[2].clone())]);
        assert_eq!(keystore.linked(owners[2].kid()), [owners[2].kid()]);
        assert_eq!(keystore.stats().epoch, 2);
    };
    check(&keystore);
    assert!(!disk.exists(&Path::new(DIR).join("emk_1")));
    keystore.mint(&[want(&keystore, 0, &["dan"])]).expect("goes on in the new file");
    drop(keystore);
    let disk = disk.kill();
    let (again, _) = open(&disk, 2).expect("opens");
    check(&again);
    // The same person is a new one.
    again.mint(&[want(&again, 0, &["bob"])]).expect("mints");
    assert_ne!(again.find(&wants[1]).map(|owner| *owner.key()), Some(*owners[1].key()));
    drop(again);

    // An old copy of the keys is no use without its master key ...
    let disk = disk.kill();
    write_atomic(&disk, &Path::new(DIR).join(KEYS), &before).expect("writes");
    assert!(matches!(open(&disk, 3), Err(Error::Damaged { why }) if why.contains("master key")));
    // ... and is one with it: destruction of this class is as good as nobody having copied that (documented).
    write_atomic(&disk, &Path::new(DIR).join("emk_1"), &wrapped).expect("writes");
    let (old, _) = open(&disk, 3).expect("opens");
    assert_eq!(old.find(&wants[1]), Some(owners[1].clone()));
}

#[test]
fn mints_race_a_destruction() {
    let dir = tempfile::tempdir().expect("a directory");
    let means = || Means { disk: Arc::new(OsDisk), rng: Arc::new(OsRng), clock: Arc::new(OsClock::default()) };
    let (keystore, _) = Keystore::open(means(), dir.path(), &Tenant::default(), None).expect("makes");
    let victims: Vec<Want> = (0..8).map(|i| want(&keystore, 0, &[&format!("v{i}")])).collect();
    keystore.mint(&victims).expect("mints");
    let kids: Vec<Kid> = victims.iter().filter_map(|want| keystore.find(want)).map(|owner| owner.kid()).collect();
    let minted = std::thread::scope(|scope| {
        let minting: Vec<_> = (0..4)
            .map(|thread| {
                let keystore = &keystore;
                scope.spawn(move || {
                    let mut owners = Vec::new();
                    for i in 0..25 {
                        let want = want(keystore, 0, &[&format!("u{thread}-{i}")]);
                        keystore.mint(std::slice::from_ref(&want)).expect("mints");
                        owners.push((want.clone(), keystore.find(&want).expect("was minted")));
                    }
                    owners
                })
            })
            .collect();
        for kid in &kids {
            assert_eq!(keystore.destroy(&[*kid]).expect("destroys").keys, 1);
        }
        minting.into_iter().flat_map(|thread| thread.join().expect("does not panic")).collect::<Vec<_>>()
    });
    keystore.close();
    drop(keystore);
    let (again, _) = Keystore::open(means(), dir.path(), &Tenant::default(), None).expect("opens");
    assert_eq!((minted.len(), again.stats().keys, again.stats().epoch), (100, 100, 9));
    assert!(minted.iter().all(|(want, owner)| again.find(want).is_some_and(|found| found.key() == owner.key())));
    assert!(victims.iter().all(|want| again.find(want).is_none()));
    let masters = std::fs::read_dir(dir.path())
        .expect("lists")
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(EMK)));
    assert_eq!(masters.count(), 1);
}

/// What a history knows: keys that were handed out, and what became of them.
#[derive(Default)]
struct Known {
    /// By name of the user: kid and key.
    alive: BTreeMap<String, (Kid, [u8; 32])>,
    destroyed: BTreeSet<Kid>,
    /// Destroyed, or not: the destruction did not return.
    doubtful: BTreeMap<String, (Kid, [u8; 32])>,
    /// All kids that were ever handed out.
    kids: BTreeSet<Kid>,
    /// The passphrases under which it may be, where a change did not return.
    ways: BTreeSet<Option<&'static str>>,
}

impl Known {
    /// Opens the keystore under the one passphrase, of those that it may be under, that opens it (S-2).
    fn open(&mut self, disk: &SimDisk, seed: u64) -> Result<Keystore, String> {
        let mut refused = "there is no passphrase".to_owned();
        for way in self.ways.clone() {
            match open_under(disk, seed, way) {
                Ok((keystore, _)) => {
                    self.ways = [way].into();
                    return Ok(keystore);
                }
                Err(error @ Error::Kek { .. }) => refused = error.to_string(),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(refused)
    }

    fn check(&mut self, keystore: &Keystore) -> Result<(), String> {
        let find = |user: &str| keystore.find(&want(keystore, 0, &[user])).map(|owner| (owner.kid(), *owner.key()));
        for (user, known) in &self.alive {
            if find(user).as_ref() != Some(known) {
                return Err("a key that was handed out is not there".to_owned());
            }
        }
        if let Some(kid) = self.destroyed.iter().find(|kid| keystore.key(**kid).is_some()) {
            return Err(format!("a destroyed key came back: {kid:?}"));
        }
        for (user, known) in std::mem::take(&mut self.doubtful) {
            match find(&user) {
                Some(found) if found == known => drop(self.alive.insert(user, known)),
                Some(_) => return Err("a doubtful key became another one".to_owned()),
                None => drop(self.destroyed.insert(known.0)),
            }
        }
        Ok(())
    }
}

/// One life of a keystore: mints, destructions, restarts, until the power goes.
fn live(keystore: &Keystore, rng: &SeededRng, known: &mut Known) -> Result<(), String> {
    for _ in 0..rng.below(12) {
        let users: Vec<String> = (0..1 + rng.below(4)).map(|_| format!("u{}", rng.below(30))).collect();
        match rng.below(6) {
            5 => {
                let way = [None, Some("horse"), Some("mule")][usize::try_from(rng.below(3)).expect("is small")];
                match keystore.change_passphrase(secret(way)) {
                    Ok(_) => known.ways = [way].into(),
                    Err(_) => drop(known.ways.insert(way)),
                }
            }
            0 if !known.alive.is_empty() => {
                let at = usize::try_from(rng.below(known.alive.len() as u64)).expect("is small");
                let user = known.alive.keys().nth(at).expect("is one of them").clone();
                let victim = known.alive.remove(&user).expect("is there");
                match keystore.destroy(&[victim.0]) {
                    Ok(_) => drop(known.destroyed.insert(victim.0)),
                    Err(_) => drop(known.doubtful.insert(user, victim)),
                }
            }
            1 => {
                keystore.close();
                return Ok(());
            }
            _ => {
                let wants: Vec<Want> = users.iter().map(|user| want(keystore, 0, &[user])).collect();
                // Whatever mint says, only what can be found counts: that is what is used.
                let _ = keystore.mint(&wants);
                for (user, want) in users.into_iter().zip(&wants) {
                    let Some(owner) = keystore.find(want) else { continue };
                    let found = (owner.kid(), *owner.key());
                    match known.alive.get(&user).or_else(|| known.doubtful.get(&user)) {
                        Some(before) if *before != found => return Err("a key changed".to_owned()),
                        Some(_) => {}
                        None => {
                            if !known.kids.insert(owner.kid()) {
                                return Err("a kid was given twice".to_owned());
                            }
                            known.alive.insert(user, found);
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

fn history(seed: u64) -> Result<(), String> {
    let rng = SeededRng::new(seed);
    let mut disk = SimDisk::new(seed);
    disk.set_block_bytes([16, 64, 512, 4_096][usize::try_from(rng.below(4)).expect("is small")]);
    let mut known = Known { ways: [None].into(), ..Known::default() };
    for life in 0..5 {
        match rng.below(4) {
            0 => disk.lose_power_after(rng.below(160)),
            1 => disk.fail_sync_after(rng.below(24)),
            _ => {}
        }
        if let Ok(keystore) = known.open(&disk, rng.next_u64()) {
            known.check(&keystore)?;
            live(&keystore, &rng, &mut known)?;
        }
        disk = if rng.below(3) == 0 { disk.kill() } else { disk.crash() };
        disk.spare_faults();
        let keystore = known.open(&disk, rng.next_u64()).map_err(|error| format!("life {life}: {error}"))?;
        known.check(&keystore)?;
        drop(keystore);
        disk = if rng.below(2) == 0 { disk.kill() } else { disk.crash() };
    }
    Ok(())
}

/// S-1, S-2: no key that was handed out is ever lost, whatever the disk does, no destroyed one comes back, and one of the
/// passphrases opens it.
#[test]
fn whatever_the_disk_does_no_key_is_lost_that_was_handed_out() {
    let runs = if cfg!(debug_assertions) { 1_500 } else { 20_000 };
    let failed: Vec<String> =
        (0..runs).filter_map(|seed| history(seed).err().map(|why| format!("seed {seed}: {why}"))).collect();
    assert!(failed.is_empty(), "{} of {runs} failed:\n{}", failed.len(), failed[..failed.len().min(10)].join("\n"));
}

#[test]
fn damage_is_refused_and_a_torn_tail_is_cut() {
    let disk = SimDisk::new(1);
    let path = Path::new(DIR).join(KEYS);
    let (keystore, _) = open(&disk, 1).expect("makes");
    let mut ends = Vec::new();
    for user in ["ana", "bob"] {
        keystore.mint(&[want(&keystore, 0, &[user])]).expect("mints");
        ends.push(disk::read(&disk, &path).expect("reads").len());
    }
    let whole = disk::read(&disk, &path).expect("reads");
    assert_eq!(reopened_copy(&whole), Ok((2, 0)));
    // The last frame is vouched for by nothing: cut anywhere, it is a torn tail.
    for end in ends[0]..ends[1] {
        assert_eq!(reopened_copy(&whole[..end]), Ok((1, (end - ends[0]) as u64)));
    }
    // What is before it is durable, and says so.
    for at in (0..ends[0]).step_by(3) {
        let mut broken = whole.clone();
        broken[at] ^= 0x40;
        let error = reopened_copy(&broken).expect_err("is damaged");
        assert!(error.contains("cannot open the keystore"), "{error}");
    }
}

/// Opens a keystore whose file is `bytes`, beside the keys that made it.
fn reopened_copy(bytes: &[u8]) -> Result<(usize, u64), String> {
    let disk = SimDisk::new(1);
    let (keystore, _) = open(&disk, 1).expect("makes");
    drop(keystore);
    let disk = disk.kill();
    write_atomic(&disk, &Path::new(DIR).join(KEYS), bytes).expect("writes");
    let opened = open(&disk, 2).map(|(keystore, opened)| (keystore.stats().keys, opened.torn));
    opened.map_err(|error| error.to_string())
}

#[test]
fn what_is_missing_or_made_otherwise_is_refused_by_name() {
    let disk = SimDisk::new(1);
    let dir = Path::new(DIR);
    drop(open(&disk, 1).expect("makes"));
    assert!(Keystore::exists(&disk, dir) && !Keystore::exists(&disk, Path::new("/data")));
    let disk = disk.kill();
    let passphrase = Some(Private::new(b"x".to_vec()));
    let error =
        Keystore::open(means(Arc::new(disk.clone()), 1), dir, &Tenant::default(), passphrase).expect_err("refused");
    assert!(error.to_string().contains("passphrase"), "{error}");
    assert_eq!(error.kind(), RefusalKind::Stop);
    let tenant = Tenant::new("other").expect("valid");
    let error = Keystore::open(means(Arc::new(disk.clone()), 1), dir, &tenant, None).expect_err("another's");
    assert!(matches!(error, Error::Kek { .. }), "{error}");
    let emk = disk::read(&disk, &dir.join("emk_1")).expect("reads");
    write_atomic(&disk, &dir.join("emk_1"), b"short").expect("writes");
    assert!(open(&disk, 1).is_err());
    write_atomic(&disk, &dir.join("emk_1"), &emk).expect("writes");
    drop(open(&disk, 1).expect("opens"));
    disk.remove(&dir.join(KEYS)).expect("removes");
    assert!(matches!(open(&disk, 1), Err(Error::Damaged { why: "its keys are gone" })));
}

fn secret(text: Option<&str>) -> Option<Private<Vec<u8>>> {
    text.map(|text| Private::new(text.as_bytes().to_vec()))
}

fn open_under(disk: &SimDisk, seed: u64, passphrase: Option<&str>) -> Result<(Keystore, Opened), Error> {
    Keystore::open(means(Arc::new(disk.clone()), seed), Path::new(DIR), &Tenant::default(), secret(passphrase))
}

fn opens_under(disk: &SimDisk, passphrase: Option<&str>) -> bool {
    Keystore::opens_under(disk, Path::new(DIR), &Tenant::default(), secret(passphrase)).expect("is whole")
}

const CHANGES: [(Option<&str>, Option<&str>); 3] =
    [(Some("old horse"), Some("new mule")), (None, Some("new mule")), (Some("old horse"), None)];

#[test]
fn another_passphrase_opens_the_same_keys_and_the_old_one_nothing() {
    for (old, new) in CHANGES {
        let disk = SimDisk::new(1);
        let (keystore, _) = open_under(&disk, 1, old).expect("makes");
        let wants = ["ana", "bob"].map(|user| want(&keystore, 0, &[user]));
        keystore.mint(&wants[..1]).expect("mints");
        let ana = keystore.find(&wants[0]).expect("is there");
        assert_eq!(keystore.change_passphrase(secret(new)).expect("changes"), 1);
        assert_eq!((keystore.stats().epoch, keystore.find(&wants[0])), (2, Some(ana.clone())));
        keystore.mint(&wants[1..]).expect("goes on");
        // What ends an epoch later goes by the new one.
        keystore.destroy(&[]).expect("destroys");
        let bob = keystore.find(&wants[1]).expect("is there");
        drop(keystore);
        let disk = disk.crash();
        assert!(!opens_under(&disk, old) && opens_under(&disk, new));
        let error = open_under(&disk, 2, old).expect_err("is the old one");
        assert!(matches!(error, Error::Kek { .. }), "{error}");
        let (again, _) = open_under(&disk, 2, new).expect("opens");
        assert_eq!(wants.each_ref().map(|want| again.find(want)), [Some(ana), Some(bob)]);
        let dir = Path::new(DIR);
        let masters = disk.list(dir).expect("lists");
        let masters: Vec<&str> =
            masters.iter().map(|entry| entry.name.as_str()).filter(|name| name.contains("k_")).collect();
        let expected: &[&str] = if new.is_none() { &["emk_3", "kek_random"] } else { &["emk_3"] };
        assert_eq!(masters, expected);
        let again = again.change_passphrase(None);
        assert_eq!(again.is_err(), new.is_none(), "a random key is not replaced by another one");
    }
}

/// S-2: whenever the power goes, the old passphrase opens the keystore or the new one does, with all keys.
#[test]
fn a_change_of_the_passphrase_that_is_cut_off_leaves_one_that_opens() {
    for (old, new) in CHANGES {
        let (mut steps, mut before, mut after) = (0, 0, 0);
        loop {
            let disk = SimDisk::new(steps);
            let (keystore, _) = open_under(&disk, 1, old).expect("makes");
            let ana = want(&keystore, 0, &["ana"]);
            keystore.mint(std::slice::from_ref(&ana)).expect("mints");
            let owner = keystore.find(&ana).expect("is there");
            disk.lose_power_after(steps);
            let changed = keystore.change_passphrase(secret(new));
            drop(keystore);
            let disk = disk.crash();
            disk.spare_faults();
            let opens = [old, new].map(|one| opens_under(&disk, one));
            assert!(opens[0] != opens[1], "step {steps}: {opens:?}");
            assert!(opens[1] || changed.is_err(), "step {steps}: it was said to be done");
            let (again, _) = open_under(&disk, 2, if opens[0] { old } else { new }).expect("opens");
            assert_eq!(again.find(&ana).map(|found| *found.key()), Some(*owner.key()), "step {steps}");
            // Once more, and to the end.
            if opens[0] {
                before += 1;
                again.change_passphrase(secret(new)).expect("changes");
            } else {
                after += 1;
            }
            drop(again);
            let disk = disk.crash();
            assert!(opens_under(&disk, new) && !opens_under(&disk, old));
            let kept = disk.exists(&Path::new(DIR).join("kek_random"));
            assert_eq!(kept, new.is_none(), "step {steps}");
            if changed.is_ok() {
                break;
            }
            steps += 1;
        }
        assert!(before > 3 && after > 1, "the power went on both sides: {before} and {after}");
    }
}

#[test]
fn a_passphrase_stays_where_the_disk_is_full() {
    let disk = SimDisk::new(1);
    let (keystore, _) = open_under(&disk, 1, Some("old horse")).expect("makes");
    disk.set_capacity(Some(0));
    let error = keystore.change_passphrase(secret(Some("new mule"))).expect_err("is full");
    assert_eq!((error.kind(), keystore.stopped()), (RefusalKind::Retry, None));
    disk.set_capacity(None);
    keystore.mint(&[want(&keystore, 0, &["ana"])]).expect("goes on");
    assert!(opens_under(&disk, Some("old horse")));
    disk.fail_sync_after(0);
    keystore.change_passphrase(secret(Some("new mule"))).expect_err("fails");
    assert!(keystore.stopped().is_some() && keystore.change_passphrase(None).is_err());
    let memory = Keystore::in_memory(means(Arc::new(disk), 1), Tenant::default());
    assert_eq!(memory.change_passphrase(secret(Some("x"))).expect("has none"), 0);
}

/// A keystore whose class 1 lives for 30 days, and the clock that it goes by.
fn open_living(disk: &SimDisk, seed: u64, day: u64) -> (Keystore, Arc<StepClock>) {
    let clock = Arc::new(StepClock::new(Timestamp::from_second(1_700_000_000).expect("in range")));
    pass(&clock, day);
    let means =
        Means { disk: Arc::new(disk.clone()), rng: Arc::new(SeededRng::new(seed)), clock: Arc::clone(&clock) as _ };
    let (keystore, _) = Keystore::open(means, Path::new(DIR), &Tenant::default(), None).expect("opens");
    keystore.set_lives([(Class(1), 30)].into());
    (keystore, clock)
}

fn pass(clock: &StepClock, days: u64) {
    clock.advance(std::time::Duration::from_secs(days * 86_400));
}

#[test]
fn a_key_dies_with_its_class_after_its_last_use_and_no_other_does() {
    let disk = SimDisk::new(1);
    let (keystore, clock) = open_living(&disk, 1, 0);
    let ana = [0, 1].map(|class| want(&keystore, class, &["ana", "ana2"]));
    let bob = want(&keystore, 1, &["bob"]);
    keystore.mint(&[ana[0].clone(), ana[1].clone(), bob.clone()]).expect("mints");
    let kids = ana.each_ref().map(|want| keystore.find(want).expect("is there").kid());
    let all_of = |keystore: &Keystore, tag| keystore.find_all(tag).iter().map(Owner::kid).collect::<BTreeSet<_>>();
    assert_eq!(all_of(&keystore, ana[0].tags[0]), kids.into());
    pass(&clock, u64::from(limits::KEY_USE_DAYS));
    assert!(keystore.find(&ana[1]).is_some(), "no word is needed yet");
    pass(&clock, 1);
    assert!(keystore.find(&ana[1]).is_none() && keystore.find(&ana[0]).is_some(), "its file has to say so first");
    assert_eq!(keystore.find_all(ana[0].tags[0]).len(), 2, "what was written is still found");
    let before = keystore.stats();
    keystore.mint(&ana[1..]).expect("says so");
    let after = keystore.stats();
    assert_eq!((after.keys, after.minted, after.syncs), (before.keys, before.minted, before.syncs + 1));
    assert_eq!(keystore.find(&ana[1]).map(|owner| owner.kid()), Some(kids[1]), "it is the same key");

    pass(&clock, 29);
    assert_eq!(keystore.expire().expect("looks"), None, "bob's is as old as it may be");
    pass(&clock, 1);
    // A restart forgets nothing of it.
    drop(keystore);
    let disk = disk.crash();
    let (keystore, clock) = open_living(&disk, 2, 38);
    let gone = keystore.expire().expect("destroys");
    assert_eq!(gone, Some(Destroyed { ended: 1, keys: 1, tags: 1 }), "bob's, and what led to it");
    assert!(keystore.find_all(bob.tags[0]).is_empty());
    pass(&clock, 7);
    assert_eq!(keystore.expire().expect("looks"), None);
    pass(&clock, 1);
    assert_eq!(keystore.expire().expect("destroys").map(|gone| (gone.keys, gone.tags)), Some((1, 2)));
    assert_eq!(all_of(&keystore, ana[0].tags[0]), [kids[0]].into());
    keystore.mint(&ana[1..]).expect("mints");
    assert_ne!(keystore.find(&ana[1]).map(|owner| owner.kid()), Some(kids[1]), "a person who comes back is a new one");
    keystore.set_lives(BTreeMap::new());
    pass(&clock, 10_000);
    assert_eq!(keystore.expire().expect("looks"), None, "without an end they live");
    assert!(keystore.find(&ana[1]).is_some());
}

/// S-1: what the file did not say durably counts for nothing, so a key that is found never dies before its time.
#[test]
fn a_use_that_was_not_durable_is_no_use() {
    for steps in 0..40 {
        let disk = SimDisk::new(steps);
        let (keystore, clock) = open_living(&disk, 1, 0);
        let ana = want(&keystore, 1, &["ana"]);
        keystore.mint(std::slice::from_ref(&ana)).expect("mints");
        let kid = keystore.find(&ana).expect("is there").kid();
        pass(&clock, 37);
        disk.lose_power_after(steps);
        let said = keystore.mint(std::slice::from_ref(&ana)).is_ok();
        assert_eq!(keystore.find(&ana).is_some(), said);
        drop(keystore);
        let disk = disk.crash();
        disk.spare_faults();
        let (again, clock) = open_living(&disk, 2, 38);
        let expired = again.expire().expect("looks").is_some();
        assert!(!(said && expired), "step {steps}: it was used yesterday");
        assert_eq!(again.key(kid).is_some(), !expired);
        pass(&clock, 40);
        again.expire().expect("destroys");
        assert!(again.key(kid).is_none());
        if said {
            return;
        }
    }
    panic!("it was never said");
}

#[test]
fn a_keystore_is_read_beside_the_one_that_writes() {
    let disk = SimDisk::new(1);
    let (keystore, _) = open(&disk, 1).expect("makes");
    let wants = ["ana", "bob"].map(|user| want(&keystore, 0, &[user]));
    keystore.mint(&wants).expect("mints");
    let files = || {
        let entries = disk.list(Path::new(DIR)).expect("lists");
        entries
            .iter()
            .map(|entry| disk::read(&disk, &Path::new(DIR).join(&entry.name)).expect("reads"))
            .collect::<Vec<_>>()
    };
    let before = files();
    let read = || Keystore::read(means(Arc::new(disk.clone()), 2), Path::new(DIR), &Tenant::default(), None);
    let reader = read().expect("reads");
    assert_eq!(files(), before, "nothing was written");
    assert_eq!(wants.each_ref().map(|want| reader.find(want)), wants.each_ref().map(|want| keystore.find(want)));
    assert!(reader.mint(&[want(&reader, 0, &["eve"])]).is_err() && reader.destroy(&[]).is_err());
    keystore.destroy(&[]).expect("ends an epoch");
    assert_eq!(read().expect("reads").stats().keys, 2);
    disk.remove(&Path::new(DIR).join("emk_2")).expect("removes");
    assert!(matches!(read(), Err(Error::Damaged { .. })));
}

#[test]
fn a_full_disk_refuses_and_a_failed_sync_stops() {
    let disk = SimDisk::new(1);
    let (keystore, _) = open(&disk, 1).expect("makes");
    disk.set_capacity(Some(0));
    let error = keystore.mint(&[want(&keystore, 0, &["ana"])]).expect_err("is full");
    assert_eq!((error.kind(), keystore.stopped()), (RefusalKind::Retry, None));
    disk.set_capacity(None);
    keystore.mint(&[want(&keystore, 0, &["ana"])]).expect("mints");
    disk.fail_sync_after(0);
    let error = keystore.mint(&[want(&keystore, 0, &["bob"])]).expect_err("is not durable");
    assert_eq!(error.kind(), RefusalKind::Stop);
    assert!(keystore.find(&want(&keystore, 0, &["bob"])).is_none());
    let error = keystore.mint(&[want(&keystore, 0, &["eve"])]).expect_err("has stopped");
    assert!(error.to_string().starts_with("the keystore has stopped"), "{error}");
    assert!(keystore.destroy(&[]).is_err() && keystore.stopped().is_some());
    assert!(keystore.find(&want(&keystore, 0, &["ana"])).is_some(), "what is known is still found");
}

#[test]
fn in_memory_everything_is_the_same_but_kept() {
    let keystore = Keystore::in_memory(means(Arc::new(SimDisk::new(1)), 1), Tenant::default());
    let want = want(&keystore, 0, &["ana"]);
    keystore.mint(std::slice::from_ref(&want)).expect("mints");
    let kid = keystore.find(&want).expect("is there").kid();
    assert_eq!(keystore.destroy(&[kid]).expect("destroys").keys, 1);
    assert_eq!(keystore.find(&want), None);
}
