//! Commitments: how an entry binds a value that it does not show, so that the value can be erased and the entry stays.

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::entry::Uuid;
use crate::sha::{Hmac, sha256};

/// Separates commitments from every other use of SHA-256.
pub const TAG: &[u8; 14] = b"dihya/commit/1";

/// 32 random bytes that make a commitment say nothing about its value.
pub type Salt = [u8; 32];

/// The secret from which the salts of one batch's cleared values are derived. It lives in the vault beside them.
#[derive(Clone, Zeroize, ZeroizeOnDrop, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// Wraps the stored bytes of a seed.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Draws a new seed.
    #[must_use]
    pub fn generate(rng: &dyn model::Rng) -> Self {
        let mut bytes = [0; 32];
        rng.fill(&mut bytes);
        Self(bytes)
    }

    /// Returns the bytes to be stored in the vault, and nowhere else.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(32 bytes)")
    }
}

/// Derives the salts of one batch. Keyed once, so a salt costs two SHA-256 blocks.
#[derive(Clone)]
pub struct Salts(Hmac);

impl Salts {
    /// Prepares the salts of the batch whose seed is `seed`.
    #[must_use]
    pub fn new(seed: &Seed) -> Self {
        Self(Hmac::new(&seed.0))
    }

    /// Returns `HMAC-SHA256(seed, ordinal u32 | field u16)`.
    #[must_use]
    pub fn salt(&self, ordinal: u32, field: u16) -> Salt {
        let mut message = [0; 6];
        let (head, tail) = message.split_at_mut(4);
        head.copy_from_slice(&ordinal.to_be_bytes());
        tail.copy_from_slice(&field.to_be_bytes());
        self.0.code(&message)
    }
}

impl std::fmt::Debug for Salts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salts")
    }
}

/// Returns `SHA-256("dihya/commit/1" | uuid 16 | field u16 | salt 32 | type u8 | len u32 | value)`.
///
/// # Panics
/// Never for values within `limits::PAYLOAD_BYTES_MAX`: a length above `u32::MAX` is a bug of the caller.
#[must_use]
pub fn commit(uuid: &Uuid, field: u16, salt: &Salt, ty: u8, value: &[u8]) -> [u8; 32] {
    let len = u32::try_from(value.len()).expect("invariant: values are bounded by PAYLOAD_BYTES_MAX");
    let mut head = [0; 14 + 16 + 2 + 32 + 1 + 4];
    let mut at = 0;
    for part in [&TAG[..], &uuid.0, &field.to_be_bytes(), salt, &[ty], &len.to_be_bytes()] {
        head[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    sha256([&head, value])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::ty;

    #[test]
    fn a_commitment_binds_every_part() {
        let seed = Seed::from_bytes([3; 32]);
        let (uuid, salts) = (Uuid::new([1; 12], 7), Salts::new(&seed));
        let salt = salts.salt(7, 5);
        let c = commit(&uuid, 5, &salt, ty::TEXT, b"value");
        let others = [
            commit(&Uuid::new([1; 12], 8), 5, &salt, ty::TEXT, b"value"),
            commit(&uuid, 6, &salt, ty::TEXT, b"value"),
            commit(&uuid, 5, &salts.salt(7, 6), ty::TEXT, b"value"),
            commit(&uuid, 5, &salts.salt(8, 5), ty::TEXT, b"value"),
            commit(&uuid, 5, &salt, ty::BYTES, b"value"),
            commit(&uuid, 5, &salt, ty::TEXT, b"valuf"),
        ];
        assert!(others.iter().all(|other| *other != c));
        // Two values that differ only in where they are cut never share a commitment.
        assert_ne!(commit(&uuid, 5, &salt, ty::TEXT, b""), commit(&uuid, 5, &salt, ty::TEXT, b"\0"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let seed = Seed::generate(&model::SeededRng::new(1));
        assert_ne!(seed.expose(), &[0; 32]);
        assert_eq!(format!("{seed:?} {:?}", Salts::new(&seed)), "Seed(32 bytes) Salts");
    }
}
