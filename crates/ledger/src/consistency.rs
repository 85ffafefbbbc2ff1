//! Proofs that a log only grew: that the tree somebody saw is a prefix of the tree under a signed checkpoint.
//!
//! The text is the body that c2sp.org/tlog-witness defines for `add-checkpoint`: the old size, the hashes of RFC 6962
//! section 2.1.2, an empty line, the checkpoint. A witness takes it as it is.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use disk::Disk;

use crate::checkpoint::{Checkpoint, parse_decimal, parse_hash};
use crate::error::Error;
use crate::malformed::Malformed;
use crate::merkle::{Hash, prove_consistency, verify_consistency};
use crate::note::{NOTE_BYTES_MAX, Verifiers};
use crate::proof::Unproven;
use crate::publish::DirTiles;
use crate::tile::TileNodes;

const WHAT: &str = "proof of consistency";
/// Longest proof between two trees of less than 2^64 leaves.
const PATH_MAX: usize = 63;
/// Longest text that is read.
const TEXT_BYTES_MAX: usize = NOTE_BYTES_MAX + (4 << 10);

/// A proof that a log went on from an earlier size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consistency {
    /// How many leaves the earlier tree had.
    pub old: u64,
    /// The hashes that lead from it to the root of the checkpoint.
    pub path: Vec<Hash>,
    /// The signed checkpoint, verbatim.
    pub checkpoint: String,
}

impl Consistency {
    /// Returns the text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("old {}\n", self.old);
        for hash in &self.path {
            text.push_str(&STANDARD.encode(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Reads a proof. Nothing in it is verified yet.
    ///
    /// # Errors
    /// When it breaks the format or is longer than any proof.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let bad = |why| Malformed::new(WHAT, why);
        if bytes.len() > TEXT_BYTES_MAX {
            return Err(bad("is longer than its bound"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| bad("is not UTF-8"))?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(bad("has no empty line before its checkpoint"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(parse_decimal);
        let old = old.ok_or(bad("does not start with the old size"))?;
        let mut path = Vec::new();
        for line in lines {
            if path.len() == PATH_MAX {
                return Err(bad("has too many hashes"));
            }
            path.push(parse_hash(line).ok_or(bad("has a hash that is not 32 bytes in base64"))?);
        }
        Ok(Self { old, path, checkpoint: checkpoint.to_owned() })
    }

    /// Verifies that the log whose keys are `keys` went on from a tree of [`Self::old`] leaves with the root `old_root`,
    /// and returns the checkpoint up to which that is shown.
    ///
    /// # Errors
    /// When a signature is missing or wrong, or the hashes do not lead from the one root to the other.
    pub fn verify(&self, old_root: &Hash, keys: &Verifiers) -> Result<Checkpoint, Unproven> {
        let checkpoint = keys.open(self.checkpoint.as_bytes())?;
        verify_consistency(self.old, checkpoint.size, old_root, &checkpoint.root, &self.path)?;
        Ok(checkpoint)
    }
}

/// Proves from a log's directory that its checkpoint goes on from its first `old` leaves. Needs neither keys nor the lock.
///
/// # Errors
/// When `old` is larger than the log, or a file of it is missing or malformed.
pub fn consistency(disk: &dyn Disk, dir: &Path, old: u64) -> Result<Consistency, Error> {
    let note = String::from_utf8(disk::read(disk, &dir.join("checkpoint"))?);
    let note = note.map_err(|_| Malformed::new("checkpoint", "is not UTF-8"))?;
    let text = note.split_once("\n\n").ok_or(Malformed::new("checkpoint", "has no signatures"))?.0;
    let size = Checkpoint::parse(&format!("{text}\n"))?.size;
    if old > size {
        return Err(Error::UnknownPosition { position: old });
    }
    let tiles = DirTiles { disk, dir: dir.to_owned() };
    let path = prove_consistency(&mut TileNodes::new(tiles, size), old, size)?;
    Ok(Consistency { old, path, checkpoint: note })
}

#[cfg(test)]
mod tests {
    use disk::{Open, SimDisk};
    use model::{Origin, SeededRng};

    use super::*;
    use crate::merkle::{leaf_hash, root_of};
    use crate::note::{SecretSeeds, Signer};
    use crate::tile::TileWriter;

    const SIZE: u64 = 600;

    fn entry(n: u64) -> Vec<u8> {
        n.to_be_bytes().to_vec()
    }

    fn root(size: u64) -> Hash {
        root_of(&(0..size).map(|n| leaf_hash(&entry(n))).collect::<Vec<_>>())
    }

    /// A log of 600 leaves in `/log`.
    fn log() -> (SimDisk, Signer) {
        let (disk, mut tiles) = (SimDisk::new(1), TileWriter::new());
        (0..SIZE).for_each(|n| assert!(tiles.push(&entry(n)).is_ok()));
        let signer = Signer::new(&Origin::new("a/b").expect("is valid"), &SecretSeeds::generate(&SeededRng::new(1)));
        let note = signer.sign(&Checkpoint { origin: "a/b".into(), size: SIZE, root: root(SIZE) }, 1);
        let files =
            tiles.take_full().into_iter().chain(tiles.partials()).map(|(path, bytes)| (path.to_string(), bytes));
        for (path, bytes) in files.chain([("checkpoint".to_owned(), note.into_bytes())]) {
            let path = Path::new("/log").join(path);
            disk.create_dir_all(path.parent().expect("has one")).expect("creates");
            disk.open(&path, Open::CreateNew).and_then(|file| file.write_at(&bytes, 0)).expect("writes");
        }
        (disk, signer)
    }

    #[test]
    fn a_log_is_shown_to_go_on_from_what_somebody_saw() {
        let (disk, signer) = log();
        for old in [1, 2, 255, 256, 257, 511, 599, 600] {
            let proof = consistency(&disk, Path::new("/log"), old).expect("proves");
            let read = Consistency::parse(proof.to_text().as_bytes()).expect("parses");
            assert_eq!(read, proof);
            assert_eq!(
                read.verify(&root(old), signer.verifiers()).map(|checkpoint| checkpoint.size),
                Ok(SIZE),
                "{old}"
            );
            assert!(read.verify(&root(old - 1), signer.verifiers()).is_err(), "another history of {old} leaves");
        }
        let beyond = consistency(&disk, Path::new("/log"), 601).expect_err("is larger");
        assert!(matches!(beyond, Error::UnknownPosition { position: 601 }));
        assert!(consistency(&disk, Path::new("/none"), 1).is_err());
        let other = Signer::new(&Origin::new("a/b").expect("is valid"), &SecretSeeds::generate(&SeededRng::new(2)));
        let proof = consistency(&disk, Path::new("/log"), 9).expect("proves");
        assert!(matches!(proof.verify(&root(9), other.verifiers()), Err(Unproven::Unsigned(_))));
    }

    #[test]
    fn texts_that_break_a_rule_are_refused() {
        let hash = STANDARD.encode([1; 32]);
        assert!(Consistency::parse(format!("old 7\n{hash}\n\ncheckpoint").as_bytes()).is_ok());
        for (text, why) in [
            (" ".repeat(TEXT_BYTES_MAX + 1).into_bytes(), "is longer than its bound"),
            (b"old \xff".to_vec(), "is not UTF-8"),
            (b"old 7\n".to_vec(), "has no empty line before its checkpoint"),
            (b"old 07\n\nx".to_vec(), "does not start with the old size"),
            (b"old 7\nAAAA\n\nx".to_vec(), "has a hash that is not 32 bytes in base64"),
            (format!("old 7\n{}\nx", format!("{hash}\n").repeat(64)).into_bytes(), "has too many hashes"),
        ] {
            assert_eq!(Consistency::parse(&text), Err(Malformed::new(WHAT, why)));
        }
    }
}
