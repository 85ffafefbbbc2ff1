//! SHA-256 of what is short and whole: entries, nodes, commitments, salts.
//!
//! The hash is the library's. What is ours is the padding, written once around input that is all there: the library's way
//! of taking input piece by piece costs as much as a block or two, and an append hashes a dozen inputs per record. And
//! inputs are hashed two at a time where they come in numbers: an instruction of the processor's own SHA-256 waits for the
//! one before it for as long as two of them take, and the other input's fills that time (`two.rs`).

mod two;

use sha2::block_api::compress256;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A SHA-256 hash.
type Hash = [u8; 32];

/// FIPS 180-4, 5.3.3.
const START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
const BLOCK_BYTES: usize = 64;
/// Blocks that are put together on the stack; longer input goes to the library piece by piece.
const BLOCKS_MAX: usize = 12;
/// Bytes of the padding: one bit, and the length.
const PADDING_BYTES: usize = 9;

/// Returns the hash of `parts` one after the other.
pub(crate) fn sha256<const N: usize>(parts: [&[u8]; N]) -> Hash {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    match (len + PADDING_BYTES).div_ceil(BLOCK_BYTES) {
        // A node of a tree, a short value.
        0..=2 => padded::<2, N>(parts),
        // An entry.
        3..=5 => padded::<5, N>(parts),
        6..=BLOCKS_MAX => padded::<BLOCKS_MAX, N>(parts),
        _ => {
            let mut hash = Sha256::new();
            parts.iter().for_each(|part| hash.update(part));
            hash.finalize().into()
        }
    }
}

/// Hashes what fits `BLOCKS` with its padding.
fn padded<const BLOCKS: usize, const N: usize>(parts: [&[u8]; N]) -> Hash {
    let mut blocks = [[0; BLOCK_BYTES]; BLOCKS];
    let count = pad(&mut blocks, parts);
    let mut state = START;
    compress256(&mut state, &blocks[..count]);
    bytes_of(state)
}

/// Writes `parts` and their padding into blocks of zeros, and returns how many blocks that takes.
fn pad<const N: usize>(blocks: &mut [[u8; BLOCK_BYTES]], parts: [&[u8]; N]) -> usize {
    let bytes = blocks.as_flattened_mut();
    let mut at = 0;
    for part in parts {
        bytes[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    bytes[at] = 0x80;
    let end = (at + PADDING_BYTES).next_multiple_of(BLOCK_BYTES);
    bytes[end - 8..end].copy_from_slice(&((at as u64) << 3).to_be_bytes());
    end / BLOCK_BYTES
}

/// Returns the hashes of two inputs, each `parts` one after the other.
pub(crate) fn sha256_two<const N: usize>(one: [&[u8]; N], other: [&[u8]; N]) -> [Hash; 2] {
    let len = |parts: &[&[u8]; N]| parts.iter().map(|part| part.len()).sum::<usize>();
    match (len(&one).max(len(&other)) + PADDING_BYTES).div_ceil(BLOCK_BYTES) {
        0..=2 => padded_two::<2, N>(one, other),
        3..=5 => padded_two::<5, N>(one, other),
        6..=BLOCKS_MAX => padded_two::<BLOCKS_MAX, N>(one, other),
        _ => [sha256(one), sha256(other)],
    }
}

fn padded_two<const BLOCKS: usize, const N: usize>(one: [&[u8]; N], other: [&[u8]; N]) -> [Hash; 2] {
    let mut blocks = [[[0; BLOCK_BYTES]; BLOCKS]; 2];
    let [first, second] = &mut blocks;
    let counts = [pad(first, one), pad(second, other)];
    let mut states = [START; 2];
    two::compress(&mut states, [&blocks[0][..counts[0]], &blocks[1][..counts[1]]]);
    states.map(bytes_of)
}

fn bytes_of(state: [u32; 8]) -> Hash {
    let mut hash = [0; 32];
    for (bytes, word) in hash.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    hash
}

/// HMAC-SHA256 (RFC 2104) under one key of 32 bytes, for short messages: two blocks each.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Hmac {
    inner: [u32; 8],
    outer: [u32; 8],
}

impl Hmac {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let keyed = |pad: u8| {
            let mut block = [pad; BLOCK_BYTES];
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            let mut state = START;
            compress256(&mut state, &[block]);
            block.zeroize();
            state
        };
        Self { inner: keyed(0x36), outer: keyed(0x5c) }
    }

    /// Returns the code of a message.
    pub(crate) fn code<const N: usize>(&self, message: &[u8; N]) -> Hash {
        const { assert!(N + PADDING_BYTES <= BLOCK_BYTES, "one block with its padding") };
        let mut inner = self.inner;
        compress256(&mut inner, &[last_block(message)]);
        let mut outer = self.outer;
        compress256(&mut outer, &[last_block(&bytes_of(inner))]);
        bytes_of(outer)
    }

    /// Returns the codes of two messages.
    pub(crate) fn codes<const N: usize>(&self, messages: [&[u8; N]; 2]) -> [Hash; 2] {
        const { assert!(N + PADDING_BYTES <= BLOCK_BYTES, "one block with its padding") };
        let mut inner = [self.inner; 2];
        let [one, other] = messages.map(|message| last_block(message));
        two::compress(&mut inner, [&[one], &[other]]);
        let mut outer = [self.outer; 2];
        let [one, other] = inner.map(|state| last_block(&bytes_of(state)));
        two::compress(&mut outer, [&[one], &[other]]);
        outer.map(bytes_of)
    }
}

/// Returns the last block of an input of which one block was taken and these bytes are left.
fn last_block(last: &[u8]) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    block[..last.len()].copy_from_slice(last);
    block[last.len()] = 0x80;
    let bits = ((BLOCK_BYTES + last.len()) as u64) << 3;
    block[BLOCK_BYTES - 8..].copy_from_slice(&bits.to_be_bytes());
    block
}

#[cfg(test)]
mod tests {
    use hmac::{KeyInit as _, Mac as _};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_length_around_the_blocks_hashes_as_the_library_does() {
        let bytes: Vec<u8> = (0..=255).cycle().take(BLOCKS_MAX * BLOCK_BYTES + 70).collect();
        for len in 0..bytes.len() {
            let expected: Hash = Sha256::digest(&bytes[..len]).into();
            assert_eq!(sha256([&bytes[..len]]), expected, "{len}");
            let (head, tail) = bytes[..len].split_at(len / 3);
            assert_eq!(sha256([head, tail]), expected, "{len}");
            let (short, whole) = (&bytes[..len / 2], &bytes[..len]);
            let expected = [Sha256::digest(short).into(), expected];
            assert_eq!(sha256_two([short], [whole]), expected, "{len}");
            assert_eq!(sha256_two([whole], [short]), [expected[1], expected[0]], "{len}");
        }
    }

    proptest! {
        #[test]
        fn codes_are_those_of_the_library(key: [u8; 32], message: [u8; 6], other: [u8; 6]) {
            let code = |message: &[u8; 6]| -> Hash {
                let mut expected = hmac::Hmac::<Sha256>::new_from_slice(&key).expect("any length");
                expected.update(message);
                expected.finalize().into_bytes().into()
            };
            let hmac = Hmac::new(&key);
            prop_assert_eq!(hmac.code(&message), code(&message));
            prop_assert_eq!(hmac.codes([&message, &other]), [code(&message), code(&other)]);
        }
    }
}
