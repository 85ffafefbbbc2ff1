//! Following a log from outside, our own or another's: newest checkpoint, signatures, consistency, last leaf.
//!
//! What a check can afford every minute, where [`crate::verify`] walks every entry: a handful of tiles. A log that
//! passes is the one seen before, grown; that each of its records opens is not looked at.

use model::{FollowLog, LogFault, LogFiles, LogKeys, LogSeen};

use crate::chain::Chain;
use crate::checkpoint::Checkpoint;
use crate::entry::Entry;
use crate::merkle::{Hash, leaf_hash, prove_consistency, prove_inclusion, verify_consistency, verify_inclusion};
use crate::note::Verifiers;
use crate::tile::{ReadTile, TileNodes, TilePath, WIDTH, read_bundle};

/// Longest signed checkpoint that is read.
const NOTE_BYTES_MAX: usize = 64 << 10;
/// Most checkpoints that are tried while a log grows under our hands.
const ATTEMPTS_MAX: u32 = 3;
/// Longest bundle: 256 of the longest entries, each with its length.
const BUNDLE_BYTES_MAX: usize = 256 * (2 + model::limits::ENTRY_BYTES_MAX);
/// Longest tile: 256 hashes.
const TILE_BYTES_MAX: usize = 256 * 32;

/// Follows logs of C2SP tiles for `model`'s users.
#[derive(Clone, Copy, Debug, Default)]
pub struct Follow;

impl FollowLog for Follow {
    fn follow(&self, files: &dyn LogFiles, keys: &LogKeys, earlier: Option<&[u8]>) -> Result<LogSeen, LogFault> {
        let unsound = |why: &dyn std::fmt::Display| LogFault::Unsound(why.to_string());
        let verifiers = Verifiers::parse(&keys.vkey, keys.ml_dsa.as_deref()).map_err(|why| unsound(&why))?;
        let mut note = needed(files, "checkpoint", NOTE_BYTES_MAX)?;
        let mut attempt = 1;
        loop {
            let (checkpoint, rotated) = open(files, &verifiers, &note, earlier)?;
            let fault = match look(files, &verifiers, &checkpoint, rotated.as_ref(), earlier) {
                Ok(newest_ms) => {
                    let rotations = rotated.and_then(|chain| chain.rotations_since(&verifiers)).unwrap_or_default();
                    return Ok(LogSeen {
                        origin: checkpoint.origin,
                        size: checkpoint.size,
                        newest_ms,
                        rotations,
                        checkpoint: note,
                    });
                }
                Err(fault) => fault,
            };
            // A log that grows meanwhile replaces its partial tiles: only under one checkpoint is that its fault.
            let now = needed(files, "checkpoint", NOTE_BYTES_MAX)?;
            if now == note || attempt == ATTEMPTS_MAX {
                return Err(fault);
            }
            note = now;
            attempt += 1;
        }
    }
}

/// Verifies a checkpoint by the keys that were pinned; where these or those of the checkpoint seen `earlier` are not the
/// ones in force, along the log's rotations.
fn open(
    files: &dyn LogFiles,
    pinned: &Verifiers,
    note: &[u8],
    earlier: Option<&[u8]>,
) -> Result<(Checkpoint, Option<Chain>), LogFault> {
    let told = pinned.open(note);
    if let Ok(checkpoint) = &told
        && earlier.is_none_or(|earlier| pinned.open(earlier).is_ok())
    {
        return Ok((checkpoint.clone(), None));
    }
    let read = |path: &str, max| files.read(path, max).map_err(LogFault::Unread);
    let rotated = |why: &dyn std::fmt::Display| LogFault::Unsound(format!("the log's key was rotated: {why}"));
    // Without its second key a log is a foreign one, whose rotations are not ours to read.
    let chain = if pinned.ml_dsa_44.is_some() { Chain::read(&read) } else { Ok(None) };
    let Some(chain) = chain.map_err(|fault| match fault {
        LogFault::Unsound(why) => rotated(&why),
        unread @ LogFault::Unread(_) => unread,
    })?
    else {
        let checkpoint = told.map_err(|why| LogFault::Unsound(why.to_string()))?;
        return Ok((checkpoint, Some(pinned.clone().into())));
    };
    if chain.rotations_since(pinned).is_none() {
        return Err(rotated(&"the key that is known is none of those it ever had"));
    }
    let checkpoint = chain.in_force().open(note).map_err(|why| rotated(&why))?;
    Ok((checkpoint, Some(chain)))
}

/// Checks what is under a checkpoint whose signatures hold, and returns when its last leaf was admitted.
fn look(
    files: &dyn LogFiles,
    verifiers: &Verifiers,
    checkpoint: &Checkpoint,
    rotated: Option<&Chain>,
    earlier: Option<&[u8]>,
) -> Result<Option<u64>, LogFault> {
    if let Some(earlier) = earlier {
        let earlier = match rotated {
            Some(chain) => chain.open(earlier).map_err(LogFault::Unsound)?,
            None => verifiers.open(earlier).map_err(|why| LogFault::Unsound(why.to_string()))?,
        };
        goes_on(files, &earlier, checkpoint)?;
    }
    for link in rotated.map_or(&[][..], Chain::links) {
        goes_on(files, link, checkpoint)?;
    }
    newest(files, checkpoint, verifiers.ml_dsa_44.is_some())
}

/// Checks that the log of `new` starts with the log of `old`.
fn goes_on(files: &dyn LogFiles, old: &Checkpoint, new: &Checkpoint) -> Result<(), LogFault> {
    let unsound = |why: &str| Err(LogFault::Unsound(why.to_owned()));
    if new.size < old.size {
        return unsound("the log is shorter than it was");
    }
    if old.size == 0 {
        return Ok(());
    }
    if new.size == old.size {
        return if new.root == old.root { Ok(()) } else { unsound("the log has two roots of one size") };
    }
    let mut nodes = TileNodes::new(Tiles(files), new.size);
    let proof = prove_consistency(&mut nodes, old.size, new.size)?;
    match verify_consistency(old.size, new.size, &old.root, &new.root, &proof) {
        Ok(()) => Ok(()),
        Err(_) => unsound("the log does not go on from the checkpoint seen before"),
    }
}

/// Reads the last leaf, checks that it is under the signed root, and returns when it was admitted.
fn newest(files: &dyn LogFiles, checkpoint: &Checkpoint, ours: bool) -> Result<Option<u64>, LogFault> {
    let Some(last) = checkpoint.size.checked_sub(1) else { return Ok(None) };
    let wide = u64::from(WIDTH);
    let width = u16::try_from(last % wide + 1).unwrap_or(WIDTH);
    let bundle = Tiles(files).read_tile(TilePath::entries(last / wide, width))?;
    let entry = read_bundle(&bundle).nth(usize::from(width) - 1);
    let entry = entry.ok_or_else(|| LogFault::Unsound("the last bundle lacks its last entry".to_owned()))?;
    let entry = entry.map_err(LogFault::from)?;
    let mut nodes = TileNodes::new(Tiles(files), checkpoint.size);
    let proof: Vec<Hash> = prove_inclusion(&mut nodes, last, checkpoint.size)?;
    verify_inclusion(&leaf_hash(entry), last, checkpoint.size, &proof, &checkpoint.root)
        .map_err(|_| LogFault::Unsound("the last leaf is not under the signed root".to_owned()))?;
    // A log signed by Ed25519 alone is a foreign one, whose entries are opaque.
    if ours { Ok(Some(Entry::decode(entry).map_err(LogFault::from)?.head().t_admit_ms)) } else { Ok(None) }
}

/// The tiles among the files of a log.
struct Tiles<'a>(&'a dyn LogFiles);

impl ReadTile for Tiles<'_> {
    type Error = LogFault;

    fn read_tile(&mut self, path: TilePath) -> Result<Vec<u8>, LogFault> {
        let max = if path.level.is_some() { TILE_BYTES_MAX } else { BUNDLE_BYTES_MAX };
        let name = path.to_string();
        if let Some(bytes) = self.0.read(&name, max).map_err(LogFault::Unread)? {
            return Ok(bytes);
        }
        // A partial one that is gone has become a full one.
        needed(self.0, &path.full().to_string(), max)
    }
}

fn needed(files: &dyn LogFiles, path: &str, max: usize) -> Result<Vec<u8>, LogFault> {
    let read = files.read(path, max).map_err(LogFault::Unread)?;
    read.ok_or_else(|| LogFault::Unsound(format!("{path} is missing")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use model::{Origin, SourceId};

    use super::*;
    use crate::entry::{self, Head, Uuid};
    use crate::note::{SecretSeeds, Signer};
    use crate::tile::TileWriter;

    struct Files(Mutex<BTreeMap<String, Vec<u8>>>);

    impl LogFiles for Files {
        fn read(&self, path: &str, max: usize) -> Result<Option<Vec<u8>>, String> {
            let found = self.0.lock().expect("one thread").get(path).cloned();
            if path == "tile/0/broken" || found.as_ref().is_some_and(|bytes| bytes.len() > max) {
                return Err("is too long".to_owned());
            }
            Ok(found)
        }
    }

    struct Log {
        writer: TileWriter,
        signer: Signer,
        files: BTreeMap<String, Vec<u8>>,
    }

    impl Log {
        fn new(seed: u64) -> Self {
            let origin = Origin::new("localhost/default").expect("an origin");
            let seeds = SecretSeeds::generate(&model::SeededRng::new(seed));
            Self { writer: TileWriter::new(), signer: Signer::new(&origin, &seeds), files: BTreeMap::new() }
        }

        fn grow(&mut self, count: u64) -> &mut Self {
            for _ in 0..count {
                let number = self.writer.size();
                let head = Head {
                    inner: false,
                    kind: 1,
                    schema: 1,
                    t_admit_ms: 1_000 + number,
                    source: SourceId([0; 16]),
                    seq: number,
                    uuid: Uuid::new([0; 12], u32::try_from(number).expect("few")),
                };
                let mut bytes = Vec::new();
                entry::encode(&mut bytes, &head, [], &[]).expect("an entry");
                self.writer.push(&bytes).expect("short");
            }
            self.files.retain(|path, _| !path.contains(".p/"));
            let full = self.writer.take_full();
            let partials = self.writer.partials();
            self.files.extend(full.into_iter().chain(partials).map(|(path, bytes)| (path.to_string(), bytes)));
            let (size, root) = (self.writer.size(), self.writer.root());
            let checkpoint = Checkpoint { origin: "localhost/default".to_owned(), size, root };
            self.files.insert("checkpoint".to_owned(), self.signer.sign(&checkpoint, 7).into_bytes());
            self
        }

        fn keys(&self) -> LogKeys {
            LogKeys { vkey: self.signer.vkey().into_bytes(), ml_dsa: Some(self.signer.ml_dsa_public()) }
        }

        fn follow(&self, earlier: Option<&[u8]>) -> Result<LogSeen, LogFault> {
            Follow.follow(&Files(Mutex::new(self.files.clone())), &self.keys(), earlier)
        }
    }

    fn unsound(result: Result<LogSeen, LogFault>) -> String {
        match result {
            Err(LogFault::Unsound(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_log_that_grows_is_followed() {
        let mut log = Log::new(1);
        let empty = log.grow(0).follow(None).expect("an empty log is sound");
        assert_eq!((empty.size, empty.newest_ms), (0, None));
        let mut earlier = empty.checkpoint;
        for count in [1, 1, 255, 300, 0, 512] {
            let seen = log.grow(count).follow(Some(&earlier)).expect("it goes on");
            assert_eq!(seen.size, log.writer.size());
            assert_eq!(seen.newest_ms, Some(999 + seen.size));
            assert_eq!(seen.origin, "localhost/default");
            earlier = seen.checkpoint;
        }
        let foreign = LogKeys { ml_dsa: None, ..log.keys() };
        let seen = Follow.follow(&Files(Mutex::new(log.files.clone())), &foreign, None).expect("a foreign log");
        assert_eq!(seen.newest_ms, None);
    }

    #[test]
    fn what_contradicts_itself_is_unsound() {
        let mut log = Log::new(1);
        let old = log.grow(300).follow(None).expect("sound").checkpoint;
        let mut other = Log::new(1);
        other.writer.push(b"another first entry").expect("short");
        assert_eq!(unsound(other.grow(299).follow(Some(&old))), "the log has two roots of one size");
        assert_eq!(unsound(other.grow(1).follow(Some(&old))), "the log does not go on from the checkpoint seen before");
        assert_eq!(unsound(Log::new(1).grow(10).follow(Some(&old))), "the log is shorter than it was");
        let stranger = Log::new(2);
        let result = Follow.follow(&Files(Mutex::new(log.files.clone())), &stranger.keys(), None);
        assert!(unsound(result).contains("signature"));
        let keys = LogKeys { vkey: b"garbage".to_vec(), ml_dsa: None };
        unsound(Follow.follow(&Files(Mutex::new(log.files.clone())), &keys, None));
        log.files.insert("checkpoint".to_owned(), b"garbage".to_vec());
        unsound(log.follow(None));
        log.files.remove("checkpoint");
        assert_eq!(unsound(log.follow(None)), "checkpoint is missing");
    }

    /// Who pinned a key before the rotation is led to the new one; whoever cannot be is told what happened.
    #[test]
    fn a_rotated_key_is_followed_from_the_pinned_one() {
        let mut log = Log::new(1);
        let first = log.grow(5).keys();
        let earlier = log.files["checkpoint"].clone();
        let new = Log::new(2).signer;
        let text = log.signer.verifiers().open(&earlier).expect("is signed");
        let both = new.cosign(log.signer.sign(&text, 7), &text, 7).into_bytes();
        for (path, bytes) in [("vkey.1", first.vkey.clone()), ("mldsa.pub.1", first.ml_dsa.clone().expect("has one"))] {
            log.files.insert(path.to_owned(), bytes);
        }
        log.files.insert("rotation/1".to_owned(), both);
        log.files.insert("vkey".to_owned(), new.vkey().into_bytes());
        log.files.insert("mldsa.pub".to_owned(), new.ml_dsa_public());
        log.signer = new;
        log.grow(4);
        let follow = |log: &Log, keys: &LogKeys, earlier: Option<&[u8]>| {
            Follow.follow(&Files(Mutex::new(log.files.clone())), keys, earlier)
        };
        let seen = follow(&log, &first, Some(&earlier)).expect("is led to the new keys");
        assert_eq!((seen.size, seen.rotations), (9, 1));
        assert_eq!(follow(&log, &first, Some(&seen.checkpoint)).expect("goes on").rotations, 1);
        let seen = follow(&log, &log.keys(), Some(&earlier)).expect("what the old keys signed is its past");
        assert_eq!((seen.size, seen.rotations), (9, 0));
        let stranger = Log::new(3).keys();
        let why = "the log's key was rotated: the key that is known is none of those it ever had";
        assert_eq!(unsound(follow(&log, &stranger, None)), why);
        let alone = LogKeys { ml_dsa: None, ..first.clone() };
        assert_eq!(unsound(follow(&log, &alone, None)), "the checkpoint lacks the Ed25519 signature");
        let link = log.files.remove("rotation/1").expect("is there");
        assert_eq!(unsound(follow(&log, &first, None)), "the log's key was rotated: rotation/1 is missing");
        let mut other = Log::new(4);
        other.grow(5);
        let forged = other.files["checkpoint"].clone();
        log.files.insert("rotation/1".to_owned(), forged);
        let why = "the log's key was rotated: rotation/1: the checkpoint lacks the Ed25519 signature of the keys that it retires";
        assert_eq!(unsound(follow(&log, &first, None)), why);
        log.files.insert("rotation/1".to_owned(), link);
        log.files.insert("vkey.1".to_owned(), vec![b'x'; 5_000]);
        assert_eq!(follow(&log, &first, None), Err(LogFault::Unread("is too long".to_owned())));
        // A fork that the stolen old key signs, after it was retired.
        let mut fork = Log::new(1);
        fork.grow(20);
        assert_eq!(
            unsound(follow(&fork, &first, Some(&seen.checkpoint))),
            "the checkpoint lacks the Ed25519 signature"
        );
    }

    #[test]
    fn a_changed_byte_under_the_root_is_found() {
        let mut log = Log::new(1);
        log.grow(300);
        let bundle = "tile/entries/001.p/44";
        let mut tampered = log.files[bundle].clone();
        *tampered.last_mut().expect("bytes") ^= 1;
        log.files.insert(bundle.to_owned(), tampered);
        assert_eq!(unsound(log.follow(None)), "the last leaf is not under the signed root");
        log.files.insert(bundle.to_owned(), Vec::new());
        assert_eq!(unsound(log.follow(None)), "the last bundle lacks its last entry");
        log.files.insert(bundle.to_owned(), vec![0xff, 0xff, 1]);
        unsound(log.follow(None));
        log.files.remove(bundle);
        assert_eq!(unsound(log.follow(None)), "tile/entries/001 is missing");
    }

    /// The log grows between our reading of the checkpoint and of the tiles, and its old partial tiles are gone.
    #[test]
    fn a_log_that_grows_under_our_hands_is_read_again() {
        struct Growing {
            stale: Mutex<Option<Vec<u8>>>,
            files: BTreeMap<String, Vec<u8>>,
        }
        impl LogFiles for Growing {
            fn read(&self, path: &str, _: usize) -> Result<Option<Vec<u8>>, String> {
                let stale = self.stale.lock().expect("one thread").take();
                Ok(stale.filter(|_| path == "checkpoint").or_else(|| self.files.get(path).cloned()))
            }
        }
        let mut log = Log::new(1);
        let stale = log.grow(3).files["checkpoint"].clone();
        log.grow(3);
        let files = Growing { stale: Mutex::new(Some(stale)), files: log.files.clone() };
        assert_eq!(Follow.follow(&files, &log.keys(), None).expect("read again").size, 6);
    }

    #[test]
    fn what_does_not_arrive_says_nothing_of_the_log() {
        let mut log = Log::new(1);
        log.grow(1);
        log.files.insert("checkpoint".to_owned(), vec![b'x'; NOTE_BYTES_MAX + 1]);
        assert_eq!(log.follow(None), Err(LogFault::Unread("is too long".to_owned())));
    }
}
