//! The one pass over a text: which of its bytes a detector must look at, 64 of them at a time.
//!
//! An anchor is the first digit of a run, the first letter of a capitalised or accented word, `@`, `:`, `=`, `[`, a `>`
//! after a letter, the second of two dashes, or the first of several dashes three bytes apart (a hardware address). All
//! else is skipped unread. On x86-64 the classes are found with AVX-512 where the processor has it, and else with SSE2, which
//! every such processor has; elsewhere, and in the test of equality, byte by byte. The `unsafe` of this file calls functions
//! of safe intrinsics that take a reference and return numbers.

/// Bytes judged at once.
pub(crate) const BLOCK: usize = 64;

/// Which bytes of a block belong to which class; bit `i` stands for byte `i`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Classes {
    digit: u64,
    upper: u64,
    lower: u64,
    high: u64,
    /// `@`, `:`, `=`, `[`.
    sign: u64,
    close: u64,
    dash: u64,
    line: u64,
}

/// Walks over the anchors of a text in ascending order.
pub(crate) struct Anchors<'a> {
    bytes: &'a [u8],
    base: usize,
    mask: u64,
    /// The letters and digits of ASCII in the block.
    words: u64,
}

impl<'a> Anchors<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        let (mask, words) = masks_of(bytes, 0);
        Self { bytes, base: 0, mask, words }
    }

    /// Returns the place of the next anchor from `at` on. `at` never goes back.
    #[inline]
    pub(crate) fn next(&mut self, at: usize) -> Option<usize> {
        if at >= self.base + BLOCK {
            self.base = at - at % BLOCK;
            if self.base >= self.bytes.len() {
                return None;
            }
            (self.mask, self.words) = masks_of(self.bytes, self.base);
        }
        if at > self.base {
            self.mask &= u64::MAX << (at - self.base);
        }
        while self.mask == 0 {
            self.base += BLOCK;
            if self.base >= self.bytes.len() {
                return None;
            }
            (self.mask, self.words) = masks_of(self.bytes, self.base);
        }
        Some(self.base + self.mask.trailing_zeros() as usize)
    }

    /// Returns where the word of letters and digits starts and ends in which the byte at `at` stands; `at` is an anchor in
    /// the block that was asked for last.
    #[inline]
    pub(crate) fn word(&self, at: usize) -> (usize, usize) {
        let place = at - self.base;
        let after = (!(self.words >> place)).trailing_zeros() as usize;
        let before = (!(self.words << (BLOCK - 1 - place))).leading_zeros() as usize;
        let (mut start, mut end) = (at + 1 - before, at + after);
        if before > place {
            while start > 0 && self.bytes[start - 1].is_ascii_alphanumeric() {
                start -= 1;
            }
        }
        if place + after >= BLOCK {
            while self.bytes.get(end).is_some_and(u8::is_ascii_alphanumeric) {
                end += 1;
            }
        }
        (start, end)
    }
}

/// Returns the anchors of the block at `base`, and its letters and digits.
#[inline]
fn masks_of(bytes: &[u8], base: usize) -> (u64, u64) {
    let before = base.checked_sub(1).map_or(b' ', |i| bytes[i]);
    let classes = classes_of(bytes, base);
    (anchors(&classes, before, bytes.len() - base > BLOCK), classes.digit | classes.upper | classes.lower)
}

/// Returns the classes of the block at `base`; behind the end of the text stand spaces.
#[inline]
fn classes_of(bytes: &[u8], base: usize) -> Classes {
    let rest = bytes.get(base..).unwrap_or_default();
    match rest.first_chunk::<BLOCK>() {
        Some(block) => classes(block),
        None => {
            let mut block = [b' '; BLOCK];
            if let Some(head) = block.get_mut(..rest.len()) {
                head.copy_from_slice(rest);
            }
            classes(&block)
        }
    }
}

/// Where words and lines end in a block; bit `i` stands for the byte `i`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    /// The last bytes of words: letters, accented ones too, and digits.
    pub(crate) words: u64,
    /// Those of words of three and more of ASCII, all three in the block.
    pub(crate) threes: u64,
    /// Those of words of four and more.
    pub(crate) fours: u64,
    /// The line feeds.
    pub(crate) lines: u64,
    /// The third digits of numbers, and those behind them.
    pub(crate) digits: u64,
    /// The bytes of words.
    word: u64,
    /// The capitals behind a small letter or a digit, or at the start of the block.
    humps: u64,
}

impl Ends {
    /// Tells whether there are capitals inside words.
    #[inline]
    pub(crate) const fn has_humps(&self) -> bool {
        self.humps != 0
    }

    /// Tells whether a capital stands inside the word that ends at `place`, as far as it lies in the block.
    #[inline]
    pub(crate) const fn is_humped(&self, place: usize) -> bool {
        if self.humps == 0 {
            return false;
        }
        let up_to = self.humps << (BLOCK - 1 - place);
        let len = (!(self.word << (BLOCK - 1 - place))).leading_zeros();
        // A word that fills the block is cut off; of the others the first letter is no hump inside.
        len as usize >= BLOCK || up_to & !(u64::MAX >> (len - 1)) != 0
    }
}

/// Returns where words and lines end in the block at `base`.
#[inline]
pub(crate) fn ends_of(bytes: &[u8], base: usize) -> Ends {
    let classes = classes_of(bytes, base);
    let word = classes.digit | classes.upper | classes.lower | classes.high;
    let next = bytes.get(base + BLOCK).is_some_and(|b| b.is_ascii_alphanumeric() || *b >= 0x80);
    let (ascii, words) = (word & !classes.high, word & !(word >> 1 | u64::from(next) << (BLOCK - 1)));
    let threes = words & ascii & ascii << 1 & ascii << 2;
    Ends {
        words,
        threes,
        fours: threes & ascii << 3,
        lines: classes.line,
        digits: classes.digit & classes.digit << 1 & classes.digit << 2,
        word,
        humps: classes.upper & ((classes.lower | classes.digit) << 1 | 1),
    }
}

#[inline]
fn anchors(classes: &Classes, before: u8, more: bool) -> u64 {
    let alpha = classes.upper | classes.lower;
    let letter = alpha | classes.high;
    let was_letter = u64::from(before.is_ascii_alphabetic() || before >= 0x80);
    let was_digit = u64::from(before.is_ascii_digit());
    let was_dash = u64::from(before == b'-');
    let numbers = classes.digit & !(classes.digit << 1 | was_digit);
    let words = (classes.upper | classes.high) & !(letter << 1 | was_letter);
    let closes = classes.close & (alpha << 1 | was_letter);
    let options = classes.dash & (classes.dash << 1 | was_dash);
    // Where the pattern may go on in the next block, the detector decides.
    let beyond = if more { u64::MAX << 55 } else { 0 };
    let hardware =
        classes.dash & (classes.dash >> 3 | beyond) & (classes.dash >> 6 | beyond) & (classes.dash >> 9 | beyond);
    numbers | words | classes.sign | closes | options | hardware
}

/// Returns the place of the next byte from `at` on that is `%`, a backslash, `&` or no ASCII, or the length.
pub(crate) fn next_suspect(bytes: &[u8], at: usize) -> usize {
    let mut base = at;
    while base < bytes.len() {
        let suspects = suspects_of(bytes, base);
        if suspects != 0 {
            return base + suspects.trailing_zeros() as usize;
        }
        base += BLOCK;
    }
    bytes.len()
}

#[inline]
fn suspects_of(bytes: &[u8], base: usize) -> u64 {
    let rest = bytes.get(base..).unwrap_or_default();
    match rest.first_chunk::<BLOCK>() {
        Some(block) => suspects(block),
        None => {
            let mut block = [b' '; BLOCK];
            if let Some(head) = block.get_mut(..rest.len()) {
                head.copy_from_slice(rest);
            }
            suspects(&block)
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[expect(unsafe_code, reason = "as below")]
fn suspects(block: &[u8; BLOCK]) -> u64 {
    if is_wide() {
        // SAFETY: the function needs these two features and nothing else, and the processor has them.
        return unsafe { wide::suspects(block) };
    }
    // SAFETY: the function needs SSE2 and nothing else, which is part of the x86-64 architecture.
    unsafe { suspects_at_once(block) }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn suspects_at_once(block: &[u8; BLOCK]) -> u64 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8};
    let mut suspects = 0;
    let (lanes, _) = block.as_chunks::<16>();
    for (i, lane) in lanes.iter().enumerate() {
        let (eights, _) = lane.as_chunks::<8>();
        let v = _mm_set_epi64x(i64::from_le_bytes(eights[1]), i64::from_le_bytes(eights[0]));
        let is = |byte: u8| _mm_cmpeq_epi8(v, _mm_set1_epi8(byte.cast_signed()));
        // The mask takes the highest bit of each byte, which those beyond ASCII have.
        let odd = _mm_or_si128(_mm_or_si128(is(b'%'), is(b'\\')), _mm_or_si128(is(b'&'), v));
        suspects |= u64::from(_mm_movemask_epi8(odd).cast_unsigned()) << (16 * i);
    }
    suspects
}

#[cfg(not(target_arch = "x86_64"))]
fn suspects(block: &[u8; BLOCK]) -> u64 {
    suspects_one_by_one(block)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn suspects_one_by_one(block: &[u8; BLOCK]) -> u64 {
    let is = |byte: &u8| matches!(byte, b'%' | b'\\' | b'&' | 0x80..);
    block.iter().enumerate().fold(0, |bits, (i, byte)| bits | u64::from(is(byte)) << i)
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[expect(
    unsafe_code,
    reason = "the compiler does not count SSE2 among what every x86-64 has; the scalar twin is below"
)]
fn classes(block: &[u8; BLOCK]) -> Classes {
    if is_wide() {
        // SAFETY: the function needs these two features and nothing else, and the processor has them.
        return unsafe { wide::classes(block) };
    }
    // SAFETY: the function needs SSE2 and nothing else, which is part of the x86-64 architecture.
    unsafe { classes_at_once(block) }
}

/// Tells whether the processor compares 64 bytes with one instruction; the answer is kept by the standard library.
#[cfg(target_arch = "x86_64")]
#[inline]
fn is_wide() -> bool {
    std::arch::is_x86_feature_detected!("avx512bw") && std::arch::is_x86_feature_detected!("avx512f")
}

/// The same with the instructions of AVX-512, which give the bits at once.
#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::{
        __m512i, _mm512_cmpeq_epi8_mask, _mm512_cmplt_epu8_mask, _mm512_movepi8_mask, _mm512_set_epi64,
        _mm512_set1_epi8, _mm512_sub_epi8,
    };

    use super::{BLOCK, Classes};

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn load(block: &[u8; BLOCK]) -> __m512i {
        let (eights, _) = block.as_chunks::<8>();
        let eight = |at: usize| i64::from_le_bytes(eights[at]);
        _mm512_set_epi64(eight(7), eight(6), eight(5), eight(4), eight(3), eight(2), eight(1), eight(0))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn is(v: __m512i, byte: u8) -> u64 {
        _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8(byte.cast_signed()))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn within(v: __m512i, low: u8, high: u8) -> u64 {
        let above = _mm512_sub_epi8(v, _mm512_set1_epi8(low.cast_signed()));
        _mm512_cmplt_epu8_mask(above, _mm512_set1_epi8((high - low + 1).cast_signed()))
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn classes(block: &[u8; BLOCK]) -> Classes {
        let v = load(block);
        Classes {
            digit: within(v, b'0', b'9'),
            upper: within(v, b'A', b'Z'),
            lower: within(v, b'a', b'z'),
            high: _mm512_movepi8_mask(v),
            sign: is(v, b'@') | is(v, b':') | is(v, b'=') | is(v, b'['),
            close: is(v, b'>'),
            dash: is(v, b'-'),
            line: is(v, b'\n'),
        }
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn suspects(block: &[u8; BLOCK]) -> u64 {
        let v = load(block);
        is(v, b'%') | is(v, b'\\') | is(v, b'&') | _mm512_movepi8_mask(v)
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn classes_at_once(block: &[u8; BLOCK]) -> Classes {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };
    let mut classes = Classes::default();
    let (lanes, _) = block.as_chunks::<16>();
    for (i, lane) in lanes.iter().enumerate() {
        let word = |at: usize| {
            let (eights, _) = lane.as_chunks::<8>();
            i64::from_le_bytes(eights[at])
        };
        let v = _mm_set_epi64x(word(1), word(0));
        let is = |byte: u8| _mm_cmpeq_epi8(v, _mm_set1_epi8(byte.cast_signed()));
        let bits = |mask: __m128i| u64::from(_mm_movemask_epi8(mask).cast_unsigned()) << (16 * i);
        // Signed comparisons: bytes from 0x80 on are negative and in no range of ASCII.
        let within = |v: __m128i, low: u8, high: u8| {
            let above = _mm_cmpgt_epi8(v, _mm_set1_epi8((low - 1).cast_signed()));
            let below = _mm_cmpgt_epi8(_mm_set1_epi8((high + 1).cast_signed()), v);
            std::arch::x86_64::_mm_and_si128(above, below)
        };
        classes.digit |= bits(within(v, b'0', b'9'));
        classes.upper |= bits(within(v, b'A', b'Z'));
        classes.lower |= bits(within(v, b'a', b'z'));
        classes.high |= bits(v);
        classes.sign |= bits(_mm_or_si128(_mm_or_si128(is(b'@'), is(b':')), _mm_or_si128(is(b'='), is(b'['))));
        classes.close |= bits(is(b'>'));
        classes.dash |= bits(is(b'-'));
        classes.line |= bits(is(b'\n'));
    }
    classes
}

#[cfg(not(target_arch = "x86_64"))]
fn classes(block: &[u8; BLOCK]) -> Classes {
    classes_one_by_one(block)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn classes_one_by_one(block: &[u8; BLOCK]) -> Classes {
    let mut classes = Classes::default();
    for (i, byte) in block.iter().enumerate() {
        let bit = 1 << i;
        match byte {
            b'0'..=b'9' => classes.digit |= bit,
            b'A'..=b'Z' => classes.upper |= bit,
            b'a'..=b'z' => classes.lower |= bit,
            0x80.. => classes.high |= bit,
            b'@' | b':' | b'=' | b'[' => classes.sign |= bit,
            b'>' => classes.close |= bit,
            b'-' => classes.dash |= bit,
            b'\n' => classes.line |= bit,
            _ => {}
        }
    }
    classes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(text: &[u8]) -> Vec<usize> {
        let mut anchors = Anchors::of(text);
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(next) = anchors.next(at) {
            found.push(next);
            at = next + 1;
        }
        found
    }

    #[test]
    fn anchors_are_found_wherever_they_stand() {
        for lead in 0..200 {
            let text = format!("{}@", "x".repeat(lead));
            assert_eq!(all(text.as_bytes()), [lead]);
        }
        assert_eq!(all(b"words and words"), [0; 0]);
        assert_eq!(all(b""), [0; 0]);
        assert_eq!(all(b"ab 12 Cd-3 <a> b > --x"), [3, 6, 9, 13, 20]);
        assert_eq!(all(b"aa-bb-cc-dd-ee-ff"), [2, 5]);
    }

    /// Dashes whose partners stand in the next block were anchors from the 58th byte on, not from the 55th.
    #[test]
    fn hardware_addresses_are_anchors_wherever_they_stand() {
        for lead in 0..200 {
            let text =
                format!("{}aa-bb-cc-dd-ee-ff up, said the switch", "x ".repeat(lead / 2) + &" ".repeat(lead % 2));
            assert!(all(text.as_bytes()).contains(&(lead + 2)), "{lead}");
        }
    }

    #[test]
    fn suspects_are_found_wherever_they_stand() {
        for lead in 0..200 {
            for suspect in ["%", "\\", "&", "é"] {
                let text = format!("{}{suspect} and more", "x".repeat(lead));
                assert_eq!(next_suspect(text.as_bytes(), 0), lead);
                assert_eq!(next_suspect(text.as_bytes(), lead + suspect.len()), text.len());
            }
        }
    }

    #[test]
    fn words_and_their_ends_are_known_across_blocks() {
        for lead in 40..90 {
            let text = format!("{}ab12cd ef", " ".repeat(lead));
            let mut anchors = Anchors::of(text.as_bytes());
            assert_eq!(anchors.next(0), Some(lead + 2));
            assert_eq!(anchors.word(lead + 2), (lead, lead + 6));
            let base = (lead + 5) / BLOCK * BLOCK;
            let ends = ends_of(text.as_bytes(), base);
            assert_eq!(ends.words >> (lead + 5 - base) & 1, 1, "{lead}");
            assert_eq!(ends.threes & !ends.words, 0);
        }
        let ends = ends_of("no é\nfooBar".as_bytes(), 0);
        assert_eq!(
            (ends.words, ends.threes, ends.lines, ends.humps),
            (0b1000_0001_0010, 0b1000_0000_0000, 1 << 5, 1 << 9)
        );
        assert!(ends.is_humped(11) && !ends.is_humped(1) && !ends.is_humped(4));
        assert!(!ends_of(b"Foo BAR baz", 0).is_humped(2) && !ends_of(b"x Foo", 0).is_humped(4));
        assert!(ends_of("aB".repeat(BLOCK).as_bytes(), 0).is_humped(BLOCK - 1));
    }

    proptest! {
        #[test]
        fn both_ways_to_classify_agree(bytes in proptest::collection::vec(any::<u8>(), BLOCK)) {
            let block: [u8; BLOCK] = bytes.try_into().expect("as long");
            prop_assert_eq!(classes(&block), classes_one_by_one(&block));
            prop_assert_eq!(suspects(&block), suspects_one_by_one(&block));
            // What is used where the processor has nothing wider.
            #[cfg(target_arch = "x86_64")]
            {
                #[expect(unsafe_code, reason = "every x86-64 has SSE2")]
                // SAFETY: the functions need SSE2 and nothing else.
                let narrow = unsafe { (classes_at_once(&block), suspects_at_once(&block)) };
                prop_assert_eq!(narrow, (classes_one_by_one(&block), suspects_one_by_one(&block)));
            }
        }
    }
}
