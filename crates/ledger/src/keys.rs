//! Signing keys of the logs: made once, kept for the owner alone, their public halves published beside the log.

use std::path::Path;

use disk::{Disk, write_atomic};
use model::{Origin, Rng};

use crate::checkpoint::Checkpoint;
use crate::error::Error;
use crate::note::{SecretSeeds, Signer};
use crate::own::LogId;

/// Seeds of both keys, then the id under which the meta-log speaks of this log.
const FILE_BYTES: usize = 64 + 16;
const FILE: &str = "signing.keys";

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
}

/// Gives each log its keys. The crash suite has one that signs in microseconds.
pub trait Keyring: Send + Sync {
    /// Returns the keys of a log, whose directories are there; makes them if it has none.
    ///
    /// # Errors
    /// When they cannot be read or stored.
    fn keys(&self, place: &Place<'_>, origin: &Origin) -> Result<Keys, Error>;
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
#[derive(Clone, Copy, Debug, Default)]
pub struct FileKeys;

impl Keyring for FileKeys {
    fn keys(&self, place: &Place<'_>, origin: &Origin) -> Result<Keys, Error> {
        let secret = place.secret.join(FILE);
        let published = place.public.join("vkey");
        if !place.disk.exists(&secret) {
            if place.disk.exists(&published) {
                return Err(Error::Contradiction {
                    origin: origin.to_string(),
                    why: "its signing keys are gone; restore the keystore from a backup",
                });
            }
            let mut bytes = SecretSeeds::generate(place.rng).expose().expose().clone();
            let mut meta_id = [0; 16];
            place.rng.fill(&mut meta_id);
            bytes.extend_from_slice(&meta_id);
            write_atomic(place.disk, &secret, &bytes)?;
            zeroize::Zeroize::zeroize(&mut bytes);
        }
        let bytes = zeroize::Zeroizing::new(disk::read(place.disk, &secret)?);
        let (Some((seeds, meta_id)), FILE_BYTES) = (bytes.split_first_chunk::<64>(), bytes.len()) else {
            return Err(Error::File { path: secret.display().to_string(), why: "is not 80 bytes".into() });
        };
        let signer = Signer::new(origin, &SecretSeeds::from_bytes(seeds));
        let vkey = format!("{}\n", signer.vkey());
        for (name, public) in [("mldsa.pub", signer.ml_dsa_public()), ("vkey", vkey.into_bytes())] {
            let path = place.public.join(name);
            if !place.disk.exists(&path) {
                write_atomic(place.disk, &path, &public)?;
            } else if disk::read(place.disk, &path)? != public {
                return Err(Error::Contradiction {
                    origin: origin.to_string(),
                    why: "its published keys are not those it signs with",
                });
            }
        }
        let mut id = LogId::default();
        id.copy_from_slice(meta_id);
        Ok(Keys { signer: Box::new(signer), meta_id: id })
    }
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
