//! The compression function of SHA-256 over two inputs in step, with the instructions that x86-64 processors have for it.
//!
//! Each of those needs the result of the one before, and takes twice as long as the processor needs before it can start
//! another: over one input it waits half of the time. Where the processor has none of them, and behind the shorter input,
//! the library does the work. The one `unsafe` of this crate is here: it calls a function of safe intrinsics that takes
//! references and returns nothing, after the processor was asked whether it has them.

use sha2::block_api::compress256;

use super::BLOCK_BYTES;

type State = [u32; 8];
type Block = [u8; BLOCK_BYTES];

/// Takes the blocks of two inputs into their states.
pub(super) fn compress(states: &mut [State; 2], blocks: [&[Block]; 2]) {
    let common = blocks[0].len().min(blocks[1].len());
    let heads = blocks.map(|blocks| blocks.get(..common).unwrap_or_default());
    let taken = if in_step(states, heads) { common } else { 0 };
    for (state, blocks) in states.iter_mut().zip(blocks) {
        if let Some(rest) = blocks.get(taken..).filter(|rest| !rest.is_empty()) {
            compress256(state, rest);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "what the processor has is asked here, and no compiler can know it")]
fn in_step(states: &mut [State; 2], blocks: [&[Block]; 2]) -> bool {
    // Asked once; the answer is kept by the standard library.
    let has = std::arch::is_x86_feature_detected!("sha")
        && std::arch::is_x86_feature_detected!("ssse3")
        && std::arch::is_x86_feature_detected!("sse4.1");
    if has {
        // SAFETY: the function needs these three features and nothing else, and the processor has them.
        unsafe { x86::compress(states, blocks) };
    }
    has
}

#[cfg(not(target_arch = "x86_64"))]
fn in_step(_: &mut [State; 2], _: [&[Block]; 2]) -> bool {
    false
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x,
        _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32,
    };

    use super::{Block, State};

    /// FIPS 180-4, 4.2.2, four for each step.
    const ROUNDS: [[u32; 4]; 16] = [
        [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
        [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
        [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
        [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
        [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
        [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
        [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
        [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
        [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
        [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
        [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
        [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
        [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
        [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
        [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
        [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
    ];

    /// The state as the instructions want it: `a b e f` and `c d g h`, the first in the highest lane.
    #[derive(Clone, Copy)]
    struct Halves {
        abef: __m128i,
        cdgh: __m128i,
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn words(high: u32, third: u32, second: u32, low: u32) -> __m128i {
        _mm_set_epi32(high.cast_signed(), third.cast_signed(), second.cast_signed(), low.cast_signed())
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn halves([a, b, c, d, e, f, g, h]: State) -> Halves {
        Halves { abef: words(a, b, e, f), cdgh: words(c, d, g, h) }
    }

    #[inline]
    #[target_feature(enable = "sse2,sse4.1")]
    fn state(halves: Halves) -> State {
        let Halves { abef, cdgh } = halves;
        [
            _mm_extract_epi32::<3>(abef),
            _mm_extract_epi32::<2>(abef),
            _mm_extract_epi32::<3>(cdgh),
            _mm_extract_epi32::<2>(cdgh),
            _mm_extract_epi32::<1>(abef),
            _mm_extract_epi32::<0>(abef),
            _mm_extract_epi32::<1>(cdgh),
            _mm_extract_epi32::<0>(cdgh),
        ]
        .map(i32::cast_unsigned)
    }

    /// Returns the sixteen words of a block.
    #[inline]
    #[target_feature(enable = "sse2,ssse3")]
    fn message(block: &Block) -> [__m128i; 4] {
        // Each word has its first byte highest.
        let swap = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        let (eights, _) = block.as_chunks::<8>();
        let eight = |at: usize| i64::from_le_bytes(eights[at]);
        [0, 2, 4, 6].map(|at| _mm_shuffle_epi8(_mm_set_epi64x(eight(at + 1), eight(at)), swap))
    }

    /// Does four rounds of each input, with the words at `AT`; `later` says that they are to be made from those before.
    #[inline]
    #[target_feature(enable = "sse2,ssse3,sse4.1,sha")]
    fn step<const AT: usize>(lanes: &mut [Halves; 2], words: &mut [[__m128i; 4]; 2], key: [u32; 4], later: bool) {
        let key = self::words(key[3], key[2], key[1], key[0]);
        for (lane, words) in lanes.iter_mut().zip(words) {
            if later {
                let (newest, mixed) = (words[(AT + 3) % 4], _mm_sha256msg1_epu32(words[AT], words[(AT + 1) % 4]));
                let mixed = _mm_add_epi32(mixed, _mm_alignr_epi8::<4>(newest, words[(AT + 2) % 4]));
                words[AT] = _mm_sha256msg2_epu32(mixed, newest);
            }
            let keyed = _mm_add_epi32(words[AT], key);
            lane.cdgh = _mm_sha256rnds2_epu32(lane.cdgh, lane.abef, keyed);
            lane.abef = _mm_sha256rnds2_epu32(lane.abef, lane.cdgh, _mm_shuffle_epi32::<0x0e>(keyed));
        }
    }

    #[target_feature(enable = "sse2,ssse3,sse4.1,sha")]
    pub(super) fn compress(states: &mut [State; 2], blocks: [&[Block]; 2]) {
        let mut lanes = [halves(states[0]), halves(states[1])];
        for (one, other) in blocks[0].iter().zip(blocks[1]) {
            let before = lanes;
            let mut words = [message(one), message(other)];
            for (quarter, keys) in ROUNDS.as_chunks::<4>().0.iter().enumerate() {
                let later = quarter > 0;
                step::<0>(&mut lanes, &mut words, keys[0], later);
                step::<1>(&mut lanes, &mut words, keys[1], later);
                step::<2>(&mut lanes, &mut words, keys[2], later);
                step::<3>(&mut lanes, &mut words, keys[3], later);
            }
            for (lane, before) in lanes.iter_mut().zip(before) {
                lane.abef = _mm_add_epi32(lane.abef, before.abef);
                lane.cdgh = _mm_add_epi32(lane.cdgh, before.cdgh);
            }
        }
        *states = lanes.map(|lane| state(lane));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn two_in_step_are_two_alone(
            mut states: [State; 2],
            first in proptest::collection::vec(any::<[u8; 32]>(), 0..8),
            second in proptest::collection::vec(any::<[u8; 32]>(), 0..8),
        ) {
            let blocks = [first, second].map(|halves| -> Vec<Block> {
                let (pairs, _) = halves.as_chunks::<2>();
                pairs.iter().map(|pair| std::array::from_fn(|i| pair[i / 32][i % 32])).collect()
            });
            let mut expected = states;
            for (state, blocks) in expected.iter_mut().zip(&blocks) {
                compress256(state, blocks);
            }
            compress(&mut states, [&blocks[0], &blocks[1]]);
            prop_assert_eq!(states, expected);
        }
    }
}
