//! The key that wraps epoch master keys: drawn into a file of its own, or derived from a passphrase.
//!
//! A device or a service that never gives its key away (PKCS#11, TPM, KMS) is another [`Kek`].

use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use disk::{Disk, write_atomic};
use model::{Private, Rng};
use zeroize::Zeroizing;

use super::crypt::{self, NONCE_BYTES, Secret};
use super::error::Error;
use super::locked::Kept;

/// The file that holds a random key, beside what it wraps. Names of tenants have no underscore, so no directory of a
/// log is ever called so.
pub(super) const FILE: &str = "kek_random";
/// The number of a random key in a file.
pub(super) const FILE_KIND: u8 = 1;
const SALT_BYTES: usize = 16;
/// Work of argon2id: 64 MiB three times over, as RFC 9106 advises where memory is scarce. In our own tests, where it would be
/// all that they do, as little as there can be.
const WORK: Work =
    if cfg!(test) { Work { kib: 64, passes: 1, lanes: 1 } } else { Work { kib: 64 << 10, passes: 3, lanes: 1 } };
/// Most memory that a wrapped key may ask for: the file is not trusted before the key is found.
const KIB_MAX: u32 = 1 << 20;

/// Wraps epoch master keys. `context` is bound to what is wrapped.
pub trait Kek: Send + Sync {
    /// Returns the number that stands for this way of wrapping on disk.
    fn kind(&self) -> u8;

    /// Wraps a key.
    ///
    /// # Errors
    /// When it cannot be done.
    fn wrap(&self, context: &[u8], key: &[u8; 32], rng: &dyn Rng) -> Result<Vec<u8>, Error>;

    /// Unwraps what [`Self::wrap`] gave.
    ///
    /// # Errors
    /// When the key is another one, or `wrapped` was altered.
    fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, Error>;
}

/// A random key in a file for the owner alone.
pub struct FileKek(Kept);

impl FileKek {
    /// Makes a new key in a directory, in the place of one that is there.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn make(disk: &dyn Disk, dir: &Path, rng: &dyn Rng) -> Result<Self, Error> {
        let key = crypt::draw(rng);
        write_atomic(disk, &dir.join(FILE), &*key)?;
        Ok(Self(Kept::new(&key)))
    }

    /// Reads the key of a directory.
    ///
    /// # Errors
    /// When it is missing, of another length, or the disk fails.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Self, Error> {
        let bytes = Zeroizing::new(disk::read(disk, &dir.join(FILE))?);
        let key = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| Error::Kek { why: "its file is not 32 bytes" })?;
        Ok(Self(Kept::new(&Zeroizing::new(key))))
    }
}

impl Kek for FileKek {
    fn kind(&self) -> u8 {
        FILE_KIND
    }

    fn wrap(&self, context: &[u8], key: &[u8; 32], rng: &dyn Rng) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        wrap_with(&self.0, context, key, rng, &mut out);
        Ok(out)
    }

    fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, Error> {
        unwrap_with(&self.0, context, wrapped)
    }
}

/// How much work it is to try a passphrase.
#[derive(Clone, Copy, Debug)]
struct Work {
    kib: u32,
    passes: u32,
    lanes: u32,
}

/// A key that argon2id derives from a passphrase; salt and work stand beside what is wrapped.
pub struct PassphraseKek {
    passphrase: Private<Vec<u8>>,
    work: Work,
}

impl PassphraseKek {
    /// Takes a passphrase.
    #[must_use]
    pub const fn new(passphrase: Private<Vec<u8>>) -> Self {
        Self { passphrase, work: WORK }
    }

    fn derive(&self, salt: &[u8], work: Work) -> Result<Secret, Error> {
        let wrong = |_| Error::Kek { why: "its work factors are out of range" };
        let params = Params::new(work.kib, work.passes, work.lanes, Some(32)).map_err(wrong)?;
        let mut key = Zeroizing::new([0; 32]);
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into(self.passphrase.expose(), salt, &mut *key).map_err(wrong)?;
        Ok(key)
    }
}

impl Kek for PassphraseKek {
    fn kind(&self) -> u8 {
        2
    }

    fn wrap(&self, context: &[u8], key: &[u8; 32], rng: &dyn Rng) -> Result<Vec<u8>, Error> {
        let mut salt = [0; SALT_BYTES];
        rng.fill(&mut salt);
        let mut out = salt.to_vec();
        let Work { kib, passes, lanes } = self.work;
        [kib, passes, lanes].iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        wrap_with(&*self.derive(&salt, self.work)?, context, key, rng, &mut out);
        Ok(out)
    }

    fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, Error> {
        let short = Error::Kek { why: "the wrapped key is cut off" };
        let Some((salt, rest)) = wrapped.split_first_chunk::<SALT_BYTES>() else { return Err(short) };
        let Some((numbers, rest)) = rest.split_first_chunk::<12>() else { return Err(short) };
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *numbers;
        let [kib, passes, lanes] = [[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(u32::from_le_bytes);
        if kib > KIB_MAX || passes > 64 || lanes > 64 {
            return Err(Error::Kek { why: "its work factors are out of range" });
        }
        unwrap_with(&*self.derive(salt, Work { kib, passes, lanes })?, context, rest)
    }
}

fn wrap_with(kek: &[u8; 32], context: &[u8], key: &[u8; 32], rng: &dyn Rng, out: &mut Vec<u8>) {
    let mut nonce = [0; NONCE_BYTES];
    rng.fill(&mut nonce);
    out.extend_from_slice(&nonce);
    let from = out.len();
    // Room for the tag too: growing would leave a copy of the key behind.
    out.reserve_exact(32 + crypt::TAG_BYTES);
    out.extend_from_slice(key);
    crypt::seal(kek, &nonce, context, out, from);
}

fn unwrap_with(kek: &[u8; 32], context: &[u8], wrapped: &[u8]) -> Result<Secret, Error> {
    let opened = wrapped
        .split_first_chunk::<NONCE_BYTES>()
        .and_then(|(nonce, sealed)| crypt::open(kek, nonce, context, sealed))
        .ok_or(Error::Kek { why: "it is another key than the one that wrapped" })?;
    let key = <[u8; 32]>::try_from(opened.as_slice()).map_err(|_| Error::Kek { why: "what it wrapped is no key" })?;
    Ok(Zeroizing::new(key))
}

#[cfg(test)]
mod tests {
    use disk::SimDisk;
    use model::SeededRng;

    use super::*;

    fn passphrase(text: &str) -> PassphraseKek {
        PassphraseKek::new(Private::new(text.into()))
    }

    #[test]
    fn what_is_wrapped_opens_under_the_same_key_and_context_alone() {
        let (disk, rng) = (SimDisk::new(1), SeededRng::new(2));
        let dir = Path::new("/k");
        disk.create_dir_all(dir).expect("creates");
        assert!(FileKek::read(&disk, dir).is_err(), "there is none yet");
        let first = FileKek::make(&disk, dir, &rng).expect("makes");
        let again = FileKek::read(&disk, dir).expect("reads");
        let keks: [(&dyn Kek, &dyn Kek, &dyn Kek); 2] = [
            (&first, &again, &FileKek(Kept::new(&crypt::draw(&rng)))),
            (&passphrase("correct horse"), &passphrase("correct horse"), &passphrase("correct mule")),
        ];
        for (kek, same, other) in keks {
            let wrapped = kek.wrap(b"here", &[7; 32], &rng).expect("wraps");
            assert_eq!(*same.unwrap(b"here", &wrapped).expect("unwraps"), [7; 32]);
            assert!(same.unwrap(b"there", &wrapped).is_err());
            assert!(other.unwrap(b"here", &wrapped).is_err());
            for len in 0..wrapped.len() {
                assert!(same.unwrap(b"here", &wrapped[..len]).is_err());
            }
            assert!(!wrapped.windows(8).any(|part| part == [7; 8]));
        }
        assert_ne!(first.kind(), passphrase("").kind());
    }

    #[test]
    fn work_out_of_range_is_refused_before_it_is_done() {
        let kek = passphrase("x");
        let mut wrapped = kek.wrap(b"", &[1; 32], &SeededRng::new(1)).expect("wraps");
        wrapped[SALT_BYTES..SALT_BYTES + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let error = kek.unwrap(b"", &wrapped).expect_err("too much");
        assert!(error.to_string().contains("out of range"), "{error}");
        wrapped[SALT_BYTES..SALT_BYTES + 4].copy_from_slice(&0_u32.to_le_bytes());
        assert!(kek.unwrap(b"", &wrapped).is_err());
    }
}
