//! Commitments: how an entry binds a value that it does not show, so that the value can be erased and the entry stays.

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::entry::Uuid;
use crate::sha::{Hmac, sha256, sha256_two};

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
        self.0.code(&Self::message(ordinal, field))
    }

    /// Returns the salts of two fields of one record.
    fn two(&self, ordinal: u32, fields: [u16; 2]) -> [Salt; 2] {
        let [one, other] = fields.map(|field| Self::message(ordinal, field));
        self.0.codes([&one, &other])
    }

    fn message(ordinal: u32, field: u16) -> [u8; 6] {
        let mut message = [0; 6];
        let (head, tail) = message.split_at_mut(4);
        head.copy_from_slice(&ordinal.to_be_bytes());
        tail.copy_from_slice(&field.to_be_bytes());
        message
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
    sha256([&head(uuid, field, salt, ty, value), value])
}

/// What stands before the value.
fn head(uuid: &Uuid, field: u16, salt: &Salt, ty: u8, value: &[u8]) -> [u8; 14 + 16 + 2 + 32 + 1 + 4] {
    let len = u32::try_from(value.len()).expect("invariant: values are bounded by PAYLOAD_BYTES_MAX");
    let mut head = [0; 14 + 16 + 2 + 32 + 1 + 4];
    let mut at = 0;
    for part in [&TAG[..], &uuid.0, &field.to_be_bytes(), salt, &[ty], &len.to_be_bytes()] {
        head[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    head
}

/// A value of a record: its field, its type and its bytes.
pub(crate) type Committed<'a> = (u16, u8, &'a [u8]);

/// Commits to the values of one record, in order, as [`commit`] does to each.
pub(crate) fn commit_all<'a>(
    uuid: &Uuid,
    salts: &Salts,
    values: impl IntoIterator<Item = Committed<'a>>,
    commitments: &mut Vec<(u16, [u8; 32])>,
) {
    let mut values = values.into_iter();
    while let Some((field, ty, value)) = values.next() {
        let Some((other, other_ty, other_value)) = values.next() else {
            let salt = salts.salt(uuid.ordinal(), field);
            commitments.push((field, commit(uuid, field, &salt, ty, value)));
            return;
        };
        let [salt, other_salt] = salts.two(uuid.ordinal(), [field, other]);
        let heads = [head(uuid, field, &salt, ty, value), head(uuid, other, &other_salt, other_ty, other_value)];
        let [one, two] = sha256_two([&heads[0], value], [&heads[1], other_value]);
        commitments.extend([(field, one), (other, two)]);
    }
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
    fn values_are_committed_to_together_as_each_alone() {
        let (uuid, salts) = (Uuid::new([1; 12], 7), Salts::new(&Seed::from_bytes([3; 32])));
        let long = vec![7; 3_000];
        let all: [Committed<'_>; 5] =
            [(1, ty::I64, &[1; 8]), (2, ty::TEXT, b""), (5, ty::MAP, &long), (6, ty::TEXT, b"x"), (9, ty::TEXT, &long)];
        for count in 0..=all.len() {
            let mut together = Vec::new();
            commit_all(&uuid, &salts, all.iter().copied().take(count), &mut together);
            let alone = all
                .iter()
                .take(count)
                .map(|(field, ty, value)| (*field, commit(&uuid, *field, &salts.salt(7, *field), *ty, value)));
            assert_eq!(together, alone.collect::<Vec<_>>());
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let seed = Seed::generate(&model::SeededRng::new(1));
        assert_ne!(seed.expose(), &[0; 32]);
        assert_eq!(format!("{seed:?} {:?}", Salts::new(&seed)), "Seed(32 bytes) Salts");
    }
}
