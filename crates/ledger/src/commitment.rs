//! Commitments: how an entry binds a value that it does not show, so that the value can be erased and the entry stays.

use sha2::block_api::compress256;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::entry::Uuid;

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

/// A block of SHA-256.
const BLOCK: usize = 64;
/// What SHA-256 starts from (FIPS 180-4, section 5.3.3).
const START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Derives the salts of one batch. Keyed once, so a salt costs two SHA-256 blocks, and nothing is copied around them: each
/// value of each record has one.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Salts {
    /// SHA-256 after the key with HMAC's inner padding (RFC 2104).
    inner: [u32; 8],
    /// After the key with the outer one.
    outer: [u32; 8],
}

impl Salts {
    /// Prepares the salts of the batch whose seed is `seed`.
    #[must_use]
    pub fn new(seed: &Seed) -> Self {
        let after = |padding: u8| {
            let mut block = [padding; BLOCK];
            block.iter_mut().zip(&seed.0).for_each(|(byte, key)| *byte ^= key);
            let mut state = START;
            compress256(&mut state, &[block]);
            block.zeroize();
            state
        };
        Self { inner: after(0x36), outer: after(0x5c) }
    }

    /// Returns `HMAC-SHA256(seed, ordinal u32 | field u16)`.
    #[must_use]
    pub fn salt(&self, ordinal: u32, field: u16) -> Salt {
        let mut block = [0; BLOCK];
        block[..4].copy_from_slice(&ordinal.to_be_bytes());
        block[4..6].copy_from_slice(&field.to_be_bytes());
        pad(&mut block, 6, BLOCK + 6);
        let mut inner = self.inner;
        compress256(&mut inner, &[block]);
        block = [0; BLOCK];
        block[..32].copy_from_slice(&bytes_of(&inner));
        pad(&mut block, 32, BLOCK + 32);
        let mut outer = self.outer;
        compress256(&mut outer, &[block]);
        bytes_of(&outer)
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
    let mut head = [0; HEAD_BYTES];
    let mut at = 0;
    for part in [&TAG[..], &uuid.0, &field.to_be_bytes(), salt, &[ty], &len.to_be_bytes()] {
        head[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    let bytes = HEAD_BYTES + value.len();
    if bytes > SHORT_BYTES_MAX {
        return Sha256::new().chain_update(head).chain_update(value).finalize().into();
    }
    let mut message = [0; SHORT_BLOCKS * BLOCK];
    message[..HEAD_BYTES].copy_from_slice(&head);
    message[HEAD_BYTES..bytes].copy_from_slice(value);
    let end = (bytes + PADDING_BYTES_MIN).next_multiple_of(BLOCK);
    pad(&mut message[..end], bytes, bytes);
    let mut state = START;
    compress256(&mut state, message[..end].as_chunks().0);
    bytes_of(&state)
}

/// What stands before the value in what is hashed.
const HEAD_BYTES: usize = 14 + 16 + 2 + 32 + 1 + 4;
/// What is hashed at once, without a buffer that is filled block by block.
const SHORT_BLOCKS: usize = 8;
/// One bit, and the length in 64.
const PADDING_BYTES_MIN: usize = 1 + 8;
const SHORT_BYTES_MAX: usize = SHORT_BLOCKS * BLOCK - PADDING_BYTES_MIN;

/// Ends a message of `bytes` bytes as SHA-256 does, of which the last `at` stand at the start of these `blocks`; the rest of
/// them is zero.
fn pad(blocks: &mut [u8], at: usize, bytes: usize) {
    blocks[at] = 0x80;
    let length_at = blocks.len() - 8;
    blocks[length_at..].copy_from_slice(&(8 * bytes as u64).to_be_bytes());
}

/// Returns a state of SHA-256 as the bytes of a hash.
fn bytes_of(state: &[u32; 8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.as_chunks_mut().0.iter_mut().zip(state).for_each(|(place, word)| *place = word.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};
    use proptest::prelude::*;

    use super::*;
    use crate::entry::ty;

    proptest! {
        /// Salts are HMAC-SHA256 and commitments SHA-256, as any library computes them.
        #[test]
        fn what_is_hashed_by_the_block_is_what_it_says(
            seed in any::<[u8; 32]>(), ordinal in any::<u32>(), field in any::<u16>(), fill in any::<u8>(), len in 0_usize..1_200,
        ) {
            let salt = Salts::new(&Seed::from_bytes(seed)).salt(ordinal, field);
            let mut mac = Hmac::<Sha256>::new_from_slice(&seed).expect("any length");
            mac.update(&ordinal.to_be_bytes());
            mac.update(&field.to_be_bytes());
            prop_assert_eq!(&salt[..], &mac.finalize().into_bytes()[..]);
            let (uuid, value) = (Uuid::new([fill; 12], ordinal), vec![fill; len]);
            let wanted = Sha256::new()
                .chain_update(TAG)
                .chain_update(uuid.0)
                .chain_update(field.to_be_bytes())
                .chain_update(salt)
                .chain_update([ty::TEXT])
                .chain_update(u32::try_from(len).expect("small").to_be_bytes())
                .chain_update(&value)
                .finalize();
            prop_assert_eq!(&commit(&uuid, field, &salt, ty::TEXT, &value)[..], &wanted[..]);
        }
    }

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
