//! Signing keys of the logs: made once, kept for the owner alone, their public halves published beside the log.

use std::path::{Path, PathBuf};

use disk::{Disk, Open, write_atomic};
use model::limits::KEY_ROTATIONS_MAX;
use model::{Origin, Rng};

use crate::chain::rotation_path;
use crate::checkpoint::Checkpoint;
use crate::error::Error;
use crate::note::{SecretSeeds, Signer, Verifier, Verifiers};
use crate::own::LogId;

/// Seeds of both keys, then the id under which the meta-log speaks of this log.
const FILE_BYTES: usize = 64 + 16;
const FILE: &str = "signing.keys";
/// Starts the name of the keys that are to take over; then the number of the rotation, `-`, the leaves there were.
const NEXT: &str = "signing.keys.next-";
/// The keys that were retired, until they are wiped.
const OLD: &str = "signing.keys.old";
const VKEY: &str = "vkey";

/// Signs the checkpoints of one log and reads them back.
pub trait Sign: Send + Sync {
    /// Returns the signed note over `checkpoint`, stated at `unix_seconds`.
    fn sign(&self, checkpoint: &Checkpoint, unix_seconds: u64) -> String;

    /// Reads a note that this signed; `None` when it is not one.
    fn open(&self, note: &[u8]) -> Option<Checkpoint>;
}

impl Sign for Signer {
    fn sign(&self, checkpoint: &Checkpoint, unix_seconds: u64) -> String {
        Self::sign(self, checkpoint, unix_seconds)
    }

    fn open(&self, note: &[u8]) -> Option<Checkpoint> {
        self.verifiers().open(note).ok()
    }
}

/// What a log signs with.
pub struct Keys {
    /// Signs.
    pub signer: Box<dyn Sign>,
    /// The id under which the meta-log speaks of this log.
    pub meta_id: LogId,
    /// The keys that are to take over. While there are such, `signer` signs with the old and the new ones.
    pub next: Option<Next>,
}

/// Keys that were made for a rotation and have not taken over.
#[derive(Clone, Debug, PartialEq)]
pub struct Next {
    /// Which rotation of the log it is, from 1.
    pub number: u64,
    /// How many leaves the log had when they were made: the rotation's leaf, if there is one, comes after these.
    pub leaves: u64,
    /// The keys in force.
    pub old: Verifiers,
    /// The keys to be.
    pub new: Verifiers,
}

/// Gives each log its keys. The crash suite has one that signs in microseconds.
pub trait Keyring: Send + Sync {
    /// Returns the keys of a log, whose directories are there; makes them if it has none.
    ///
    /// # Errors
    /// When they cannot be read or stored.
    fn keys(&self, place: &Place<'_>, origin: &Origin) -> Result<Keys, Error>;

    /// Makes the keys that are to take over from those in force, durable on return; those that were made for a rotation
    /// that did not end stay. `leaves` is how many the log has, all of them signed.
    ///
    /// # Errors
    /// When they cannot be stored, or the traces of earlier rotations are not whole.
    fn draw(&self, place: &Place<'_>, origin: &Origin, leaves: u64) -> Result<Keys, Error> {
        let _ = (origin, leaves);
        Err(fixed(place))
    }

    /// Lets the keys that were drawn take over, and destroys the secret halves of the old ones. `note` is a checkpoint in
    /// force, over the rotation's leaf, that old and new signed. A call that was interrupted may be made again.
    ///
    /// # Errors
    /// When a file cannot be stored: then the log still has usable keys, and the next call goes on.
    fn take_over(&self, place: &Place<'_>, origin: &Origin, note: &str) -> Result<Keys, Error> {
        let _ = (origin, note);
        Err(fixed(place))
    }
}

fn fixed(place: &Place<'_>) -> Error {
    Error::File { path: place.secret.display().to_string(), why: "holds keys that cannot be changed".into() }
}

/// Where a log's keys are kept.
pub struct Place<'a> {
    /// The disk.
    pub disk: &'a dyn Disk,
    /// Randomness for new keys.
    pub rng: &'a dyn Rng,
    /// The directory of the secret halves.
    pub secret: &'a Path,
    /// The directory of the log, for the public halves.
    pub public: &'a Path,
}

/// Reads from a data directory the id under which the meta-log speaks of a log; `None` where its keystore is not at hand.
///
/// # Errors
/// When its file is there and cannot be read, or is malformed.
pub fn meta_id(disk: &dyn Disk, data_dir: &Path, origin: &Origin) -> Result<Option<LogId>, Error> {
    let path = data_dir.join("keystore").join(origin.as_str()).join(FILE);
    if !disk.exists(&path) {
        return Ok(None);
    }
    let bytes = zeroize::Zeroizing::new(disk::read(disk, &path)?);
    match (bytes.last_chunk(), bytes.len()) {
        (Some(id), FILE_BYTES) => Ok(Some(*id)),
        _ => Err(Error::File { path: path.display().to_string(), why: "is not 80 bytes".into() }),
    }
}

/// Ed25519 and ML-DSA-44 under `keystore/<origin>/`, with `vkey` and `mldsa.pub` in the log's directory.
///
/// A rotation passes through four states of the keystore, each durable before the next (invariant K-2):
/// `signing.keys` alone; beside it `signing.keys.next-<number>-<leaves>`, when both sign; then `signing.keys.old` and the
/// next ones, when the old keys never sign again; `signing.keys` and `signing.keys.old`, which is wiped.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileKeys;

/// Old and new keys of a rotation under way: both sign, and the old ones vouch.
struct Both {
    old: Signer,
    new: Signer,
}

impl Sign for Both {
    fn sign(&self, checkpoint: &Checkpoint, unix_seconds: u64) -> String {
        self.new.cosign(self.old.sign(checkpoint, unix_seconds), checkpoint, unix_seconds)
    }

    fn open(&self, note: &[u8]) -> Option<Checkpoint> {
        self.old.verifiers().open(note).ok()
    }
}

impl Keyring for FileKeys {
    fn keys(&self, place: &Place<'_>, origin: &Origin) -> Result<Keys, Error> {
        settle(place)?;
        let secret = place.secret.join(FILE);
        if !place.disk.exists(&secret) {
            if place.disk.exists(&place.public.join(VKEY)) {
                return Err(contradiction(origin, "its signing keys are gone; restore the keystore from a backup"));
            }
            let mut meta_id = LogId::default();
            let seeds = SecretSeeds::generate(place.rng);
            place.rng.fill(&mut meta_id);
            store(place.disk, &secret, &seeds, &meta_id)?;
        }
        let (old, meta_id) = load(place.disk, &secret, origin)?;
        let Some((path, number, leaves)) = next_file(place)? else {
            for (name, public) in published(old.verifiers()) {
                let path = place.public.join(name);
                if !place.disk.exists(&path) {
                    write_atomic(place.disk, &path, &public)?;
                } else if disk::read(place.disk, &path)? != public {
                    return Err(contradiction(origin, "its published keys are not those it signs with"));
                }
            }
            return Ok(Keys { signer: Box::new(old), meta_id, next: None });
        };
        let (new, _) = load(place.disk, &path, origin)?;
        // The rotation may have been cut off between the two files, and either may be of the new keys.
        for ((name, old), (_, new)) in published(old.verifiers()).into_iter().zip(published(new.verifiers())) {
            let found = disk::read(place.disk, &place.public.join(name))?;
            if found != old && found != new {
                return Err(contradiction(origin, "its published keys are not those it signs with"));
            }
        }
        let next = Next { number, leaves, old: old.verifiers().clone(), new: new.verifiers().clone() };
        Ok(Keys { signer: Box::new(Both { old, new }), meta_id, next: Some(next) })
    }

    fn draw(&self, place: &Place<'_>, origin: &Origin, leaves: u64) -> Result<Keys, Error> {
        let keys = self.keys(place, origin)?;
        if keys.next.is_some() {
            return Ok(keys);
        }
        let traces = |number: u64| [format!("vkey.{number}"), format!("mldsa.pub.{number}"), rotation_path(number)];
        let there = |number: u64| traces(number).map(|name| place.disk.exists(&place.public.join(name)));
        let number = (1..).find(|number| there(*number) != [true; 3]).unwrap_or_default();
        if there(number) != [false; 3] {
            return Err(contradiction(origin, "a file of an earlier rotation is gone; restore it from a backup"));
        }
        if number > KEY_ROTATIONS_MAX {
            return Err(contradiction(origin, "its keys were changed as often as may be"));
        }
        let path = place.secret.join(format!("{NEXT}{number}-{leaves}"));
        store(place.disk, &path, &SecretSeeds::generate(place.rng), &keys.meta_id)?;
        self.keys(place, origin)
    }

    fn take_over(&self, place: &Place<'_>, origin: &Origin, note: &str) -> Result<Keys, Error> {
        let Some(next) = self.keys(place, origin)?.next else { return self.keys(place, origin) };
        let Next { number, old, new, .. } = next;
        if old.open(note.as_bytes()).is_err() || new.open(note.as_bytes()).is_err() {
            return Err(contradiction(origin, "its checkpoint is not signed by the old and the new keys"));
        }
        let link = place.public.join(rotation_path(number));
        if let Some(dir) = link.parent() {
            place.disk.create_dir_all(dir)?;
            disk::sync_parent(place.disk, dir)?;
        }
        // The first one stays: what the old keys sign alone beyond it is not the log's.
        let vouches = |kept: &[u8]| old.open(kept).is_ok() && new.open(kept).is_ok();
        if !place.disk.exists(&link) || !vouches(&disk::read(place.disk, &link)?) {
            write_atomic(place.disk, &link, note.as_bytes())?;
        }
        for (name, public) in published(&old) {
            write_atomic(place.disk, &place.public.join(format!("{name}.{number}")), &public)?;
        }
        for (name, public) in published(&new) {
            write_atomic(place.disk, &place.public.join(name), &public)?;
        }
        // From here on the old keys never sign again: whatever is found at a start ends in the new ones.
        place.disk.rename(&place.secret.join(FILE), &place.secret.join(OLD))?;
        disk::sync_parent(place.disk, &place.secret.join(OLD))?;
        self.keys(place, origin)
    }
}

/// Ends a rotation whose old keys were put aside: the next ones take their place, then the old ones are wiped.
fn settle(place: &Place<'_>) -> Result<(), Error> {
    let (secret, old) = (place.secret.join(FILE), place.secret.join(OLD));
    if !place.disk.exists(&old) {
        return Ok(());
    }
    if !place.disk.exists(&secret) {
        let Some((next, _, _)) = next_file(place)? else {
            return Err(Error::File { path: secret.display().to_string(), why: "is gone in a rotation".into() });
        };
        place.disk.rename(&next, &secret)?;
        disk::sync_parent(place.disk, &secret)?;
    }
    // As far as a file system overwrites in place; what copies on write keeps the blocks until it uses them again.
    let file = place.disk.open(&old, Open::Write)?;
    let zeros = vec![0; usize::try_from(file.len()?).unwrap_or(FILE_BYTES).min(FILE_BYTES)];
    file.write_at(&zeros, 0)?;
    file.sync_data()?;
    drop(file);
    place.disk.remove(&old)?;
    Ok(disk::sync_parent(place.disk, &old)?)
}

/// Finds the keys that are to take over: their file, the number of the rotation, the leaves when they were made.
fn next_file(place: &Place<'_>) -> Result<Option<(PathBuf, u64, u64)>, Error> {
    let found = place.disk.list(place.secret)?.into_iter().find_map(|entry| {
        let (number, leaves) = entry.name.strip_prefix(NEXT)?.split_once('-')?;
        Some((place.secret.join(&entry.name), number.parse().ok()?, leaves.parse().ok()?))
    });
    Ok(found)
}

/// Returns the published files of a pair of keys; `vkey` last, since it makes a directory a log.
fn published(keys: &Verifiers) -> [(&'static str, Vec<u8>); 2] {
    let ml_dsa = keys.ml_dsa_44.as_ref().map(Verifier::public).unwrap_or_default();
    [("mldsa.pub", ml_dsa), (VKEY, format!("{}\n", keys.ed25519.vkey()).into_bytes())]
}

fn store(disk: &dyn Disk, path: &Path, seeds: &SecretSeeds, meta_id: &LogId) -> Result<(), Error> {
    let mut bytes = zeroize::Zeroizing::new(seeds.expose().expose().clone());
    bytes.extend_from_slice(meta_id);
    Ok(write_atomic(disk, path, &bytes)?)
}

fn load(disk: &dyn Disk, path: &Path, origin: &Origin) -> Result<(Signer, LogId), Error> {
    let bytes = zeroize::Zeroizing::new(disk::read(disk, path)?);
    let (Some((seeds, rest)), FILE_BYTES) = (bytes.split_first_chunk::<64>(), bytes.len()) else {
        return Err(Error::File { path: path.display().to_string(), why: "is not 80 bytes".into() });
    };
    let mut meta_id = LogId::default();
    meta_id.copy_from_slice(rest);
    Ok((Signer::new(origin, &SecretSeeds::from_bytes(seeds)), meta_id))
}

fn contradiction(origin: &Origin, why: &'static str) -> Error {
    Error::Contradiction { origin: origin.to_string(), why }
}

#[cfg(test)]
mod tests {
    use disk::SimDisk;
    use model::SeededRng;

    use super::*;

    #[test]
    fn keys_are_made_once_and_guarded() {
        let (disk, rng) = (SimDisk::new(1), SeededRng::new(1));
        let (secret, public) = (Path::new("/k"), Path::new("/l"));
        for dir in [secret, public] {
            disk.create_dir_all(dir).expect("creates");
        }
        let place = Place { disk: &disk, rng: &rng, secret, public };
        let origin = Origin::new("localhost/default").expect("valid");
        let first = FileKeys.keys(&place, &origin).expect("makes");
        let again = FileKeys.keys(&place, &origin).expect("reads");
        let checkpoint = Checkpoint { origin: origin.to_string(), size: 3, root: [7; 32] };
        let note = first.signer.sign(&checkpoint, 1_700_000_000);
        assert_eq!(again.signer.open(note.as_bytes()), Some(checkpoint));
        assert_eq!(again.signer.open(b"x"), None);
        assert_eq!(first.meta_id, again.meta_id);
        let there = Path::new("/d/keystore/localhost/default");
        disk.create_dir_all(there).expect("creates");
        assert_eq!(meta_id(&disk, Path::new("/d"), &origin).expect("is none"), None);
        let stored = disk::read(&disk, &secret.join(FILE)).expect("reads");
        write_atomic(&disk, &there.join(FILE), &stored).expect("writes");
        assert_eq!(meta_id(&disk, Path::new("/d"), &origin).expect("reads"), Some(first.meta_id));
        write_atomic(&disk, &there.join(FILE), b"short").expect("writes");
        assert!(meta_id(&disk, Path::new("/d"), &origin).is_err());

        write_atomic(&disk, &public.join("vkey"), b"other").expect("writes");
        assert!(matches!(FileKeys.keys(&place, &origin), Err(Error::Contradiction { .. })));
        write_atomic(&disk, &secret.join(FILE), b"short").expect("writes");
        assert!(matches!(FileKeys.keys(&place, &origin), Err(Error::File { .. })));
        disk.remove(&secret.join(FILE)).expect("removes");
        let error = FileKeys.keys(&place, &origin).err().expect("no new keys for an old log");
        assert!(error.to_string().contains("restore the keystore"), "{error}");
    }
}
