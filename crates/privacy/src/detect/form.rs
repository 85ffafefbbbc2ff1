//! Identifiers of fixed form (SIRET, passport, licence plate ...): what one looks like, its check, and which words vouch
//! for it. One table drives them all, so that a value is read once, whatever it may be.
//!
//! Under a key that names its type a value of the right shape is taken even where its check fails: a mistyped identifier
//! is still somebody's. In prose, behind a word, the check must hold too. Few act without any word: where one random
//! number in many hundreds passes.

use std::ops::Range;
use std::sync::LazyLock;

use super::lexicon::bit;
use super::{
    Hit, Type, adeli, be, cni, de, es, health, imei, ine, it, lei, licence, nif, nir, passport, plate, rpps, siret, uk,
    us, vat,
};

/// Longest identifier, in characters without separators.
pub(crate) const CHARS_MAX: usize = 24;

/// Letters in upper case and digits of one candidate, one or two separators allowed between any two.
#[derive(Debug)]
pub(crate) struct Chars {
    chars: [u8; CHARS_MAX],
    /// Where each ends in the text.
    ends: [usize; CHARS_MAX],
    /// Whether a separator stands before each.
    gaps: u32,
    len: usize,
    start: usize,
}

impl Chars {
    /// Reads from `start` on.
    pub(crate) fn read(bytes: &[u8], start: usize) -> Self {
        let mut read = Self { chars: [0; CHARS_MAX], ends: [start; CHARS_MAX], gaps: 0, len: 0, start };
        let mut at = start;
        while read.len < CHARS_MAX {
            let mut next = at;
            if read.len > 0 {
                while next < at + 2 && matches!(bytes.get(next), Some(b' ' | b'-' | b'.' | b'/' | b'_')) {
                    next += 1;
                }
            }
            let Some(byte) = bytes.get(next).filter(|b| b.is_ascii_alphanumeric()) else { break };
            if next > at {
                read.gaps |= 1 << read.len;
            }
            read.chars[read.len] = byte.to_ascii_uppercase();
            at = next + 1;
            read.ends[read.len] = at;
            read.len += 1;
        }
        read
    }

    /// Returns the first `len` characters if the identifier may end there.
    fn first(&self, bytes: &[u8], len: usize) -> Option<&[u8]> {
        let end = *self.ends.get(len.checked_sub(1)?)?;
        let bounded = len <= self.len && !bytes.get(end).is_some_and(u8::is_ascii_alphanumeric);
        if bounded { self.chars.get(..len) } else { None }
    }

    /// Tells whether the first `len` characters stand in groups of these widths.
    pub(crate) fn is_grouped(&self, len: usize, widths: &[usize]) -> bool {
        let mut expected = 0;
        let mut at = 0;
        for width in widths {
            at += width;
            expected |= 1_u32 << at;
        }
        at == len && self.gaps & ((1 << len) - 1) == expected & ((1 << len) - 1)
    }

    /// Tells whether the first `len` characters stand together.
    pub(crate) const fn is_solid(&self, len: usize) -> bool {
        self.gaps & ((1 << len) - 1) == 0
    }

    /// Tells whether `part` stands at place `at`.
    pub(crate) fn has(&self, at: usize, part: &[u8]) -> bool {
        self.chars.get(at..at + part.len()) == Some(part)
    }

    fn range(&self, len: usize) -> Range<usize> {
        self.start..self.ends[len - 1]
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }
}

/// A type of identifier.
pub(crate) struct Form {
    /// What it is.
    pub(crate) kind: Type,
    /// The words that vouch for it.
    pub(crate) cue: u64,
    /// How many characters it can have.
    pub(crate) lengths: Range<usize>,
    /// Whether the characters can be one.
    pub(crate) shape: fn(&[u8]) -> bool,
    /// Whether the check holds.
    pub(crate) check: fn(&[u8]) -> bool,
    /// Whether it is one without any word, check and shape given.
    pub(crate) alone: fn(&Chars, usize) -> bool,
}

/// All forms; where two claim the same number of characters for the same word, the first wins.
static FORMS: [&Form; 27] = [
    &nir::INS,
    &nir::FORM,
    &siret::SIRET,
    &siret::SIREN,
    &rpps::FORM,
    &adeli::FORM,
    &ine::FORM,
    &nif::FORM,
    &uk::NHS,
    &uk::NINO,
    &us::FORM,
    &be::FORM,
    &de::FORM,
    &es::FORM,
    &it::FORM,
    &vat::FORM,
    &lei::FORM,
    &imei::FORM,
    &passport::FORM,
    &cni::FORM,
    &licence::FORM,
    &plate::SIV,
    &plate::FNI,
    &plate::UK,
    &plate::OTHER,
    &health::FORM,
    &siret::RCS,
];

/// For nothing that acts alone.
pub(crate) fn never(_: &Chars, _: usize) -> bool {
    false
}

/// For what has no check.
pub(crate) fn unchecked(_: &[u8]) -> bool {
    true
}

/// Which forms have a length, by length; bit `i` stands for the form `i`.
static BY_LENGTH: LazyLock<[u32; CHARS_MAX + 1]> = LazyLock::new(|| {
    let has =
        |len: usize| (0..FORMS.len()).filter(move |i| FORMS[*i].lengths.contains(&len)).fold(0, |set, i| set | 1 << i);
    std::array::from_fn(has)
});

/// Looks at the value that starts at `start` under a key that says `bits`.
pub(crate) fn under_key(bytes: &[u8], start: usize, bits: u64) -> Option<Hit> {
    if !bytes.get(start)?.is_ascii_alphanumeric() {
        return None;
    }
    let chars = Chars::read(bytes, start);
    best(bytes, &chars, u32::MAX, |form, _, value| form.cue & bits != 0 && (form.shape)(value))
}

/// What vouches for any form.
const CUES: u64 = bit::NIR
    | bit::INS
    | bit::NIF
    | bit::SIRET
    | bit::RPPS
    | bit::ADELI
    | bit::INE
    | bit::NHS
    | bit::NINO
    | bit::SSN
    | bit::NISS
    | bit::IDNR
    | bit::DNI
    | bit::CF
    | bit::VAT
    | bit::LEI
    | bit::IMEI
    | bit::PASSPORT
    | bit::CNI
    | bit::LICENCE
    | bit::PLATE
    | bit::HEALTH;

/// Forms that act alone, as [`BY_LENGTH`] counts them: those that start with a digit, and all.
static ALONE: LazyLock<(u32, u32)> = LazyLock::new(|| {
    let of =
        |kinds: &[Type]| (0..FORMS.len()).filter(|i| kinds.contains(&FORMS[*i].kind)).fold(0, |set, i| set | 1 << i);
    let with_digit = of(&[Type::Nif, Type::BeNiss, Type::Lei]);
    (with_digit, with_digit | of(&[Type::UkNino, Type::ItCf, Type::Vat]))
});

/// Tells cheaply whether a form can act alone on what starts at `start`: by the width of its first group. They are solid,
/// or grouped 2-2-2-3-2, 2-2-3-3-3, 4-3-3-3, 4-9 or 2-2-2-2-1.
fn may_act_alone(bytes: &[u8], start: usize, run: usize) -> bool {
    match bytes.get(start) {
        Some(b'0'..=b'9') => match run {
            // The second group has two digits too.
            2 => bytes.iter().skip(start + 2).take(4).filter(|b| b.is_ascii_digit()).count() >= 2,
            _ => matches!(run, 13 | 20),
        },
        // Countries are two letters, a code of Italy starts with six.
        Some(_) => match run {
            2 | 4 | 13 => bytes.get(start + 1).is_some_and(u8::is_ascii_alphabetic),
            16 => bytes.get(start..start + 6).is_some_and(|name| name.iter().all(u8::is_ascii_alphabetic)),
            20 => true,
            _ => false,
        },
        None => false,
    }
}

/// Which forms each word vouches for, as [`BY_LENGTH`] counts them, and how long they can be, by the place of the word's bit.
static BY_CUE: LazyLock<([u32; 64], [usize; 64])> = LazyLock::new(|| {
    let vouched = |bit: usize| (0..FORMS.len()).filter(move |i| FORMS[*i].cue >> bit & 1 != 0);
    let longest = |bit| vouched(bit).map(|i| FORMS[i].lengths.end - 1).max().unwrap_or(0);
    (std::array::from_fn(|bit| vouched(bit).fold(0, |set, i| set | 1 << i)), std::array::from_fn(longest))
});

/// Looks at what starts at `start` in prose; `said` tells what the words before say, and is asked only where it matters, `alone` whether a
/// first group of that width can be of a form that acts alone, and `admits` whether the characters are worth a look.
pub(crate) fn in_prose(
    bytes: &[u8],
    start: usize,
    said: &mut dyn FnMut() -> u64,
    alone: impl Fn(usize) -> bool,
    admits: impl Fn(&Chars) -> bool,
) -> Option<Hit> {
    let lead = start.checked_sub(1).and_then(|i| bytes.get(i));
    let joined = lead.is_some_and(|b| matches!(b, b'-' | b'.' | b'_' | b'/'))
        && start >= 2
        && bytes[start - 2].is_ascii_alphanumeric();
    if joined || lead.is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    let bits = said() & CUES;
    let (mut forms, mut longest, mut words) = (0, 0, bits);
    while words != 0 {
        let word = words.trailing_zeros() as usize;
        forms |= BY_CUE.0[word];
        longest = longest.max(BY_CUE.1[word]);
        words &= words - 1;
    }
    let run = bytes.iter().skip(start).take(CHARS_MAX).take_while(|b| b.is_ascii_alphanumeric()).count();
    if run > longest && !(alone(run) && may_act_alone(bytes, start, run)) {
        return None;
    }
    let chars = &Chars::read(bytes, start);
    if !admits(chars) {
        return None;
    }
    forms |= if chars.chars[0].is_ascii_digit() { ALONE.0 } else { ALONE.1 };
    best(bytes, chars, forms, |form, len, value| {
        // What any number passes is judged last.
        (form.shape)(value)
            && is_closed(bytes, chars, len)
            && (form.check)(value)
            && !(len == 8 && digits(value) && (chars.is_grouped(8, &[4, 2, 2]) || chars.is_grouped(8, &[2, 2, 4])))
            && ((form.alone)(chars, len) || bits & form.cue != 0)
    })
}

/// Tells whether nothing goes on behind a dash, a dot or a slash.
fn is_closed(bytes: &[u8], chars: &Chars, len: usize) -> bool {
    let end = chars.ends[len - 1];
    !(bytes.get(end).is_some_and(|b| matches!(b, b'-' | b'.' | b'_' | b'/' | b':' | b'@'))
        && bytes.get(end + 1).is_some_and(u8::is_ascii_alphanumeric))
}

/// Returns the longest identifier, of those in `forms`, that `is_one` accepts.
fn best(bytes: &[u8], chars: &Chars, forms: u32, mut is_one: impl FnMut(&Form, usize, &[u8]) -> bool) -> Option<Hit> {
    for len in (3..=chars.len).rev() {
        let mut forms = BY_LENGTH[len] & forms;
        if forms == 0 {
            continue;
        }
        let Some(value) = chars.first(bytes, len) else { continue };
        while forms != 0 {
            let form = FORMS[forms.trailing_zeros() as usize];
            if is_one(form, len, value) {
                return Some(Hit::new(chars.range(len), form.kind));
            }
            forms &= forms - 1;
        }
    }
    None
}

/// Tells whether all characters are digits.
pub(crate) fn digits(value: &[u8]) -> bool {
    value.iter().all(u8::is_ascii_digit)
}

/// Tells whether the characters follow `pattern`: `9` a digit, `A` a letter, `?` either, others themselves.
pub(crate) fn follows(value: &[u8], pattern: &[u8]) -> bool {
    value.len() == pattern.len()
        && value.iter().zip(pattern).all(|(c, p)| match p {
            b'9' => c.is_ascii_digit(),
            b'A' => c.is_ascii_uppercase(),
            b'?' => true,
            p => c == p,
        })
}

/// Returns the number that the digits make.
pub(crate) fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |n, d| n.wrapping_mul(10).wrapping_add(u64::from(d.wrapping_sub(b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_read_across_separators() {
        let text = b"12 ab-34..5";
        let chars = Chars::read(text, 0);
        assert_eq!(chars.chars.get(..chars.len()), Some(b"12AB345".as_slice()));
        assert!(chars.is_grouped(7, &[2, 2, 2, 1]) && chars.is_grouped(4, &[2, 2]) && !chars.is_grouped(4, &[4]));
        assert!(chars.is_solid(2) && !chars.is_solid(3));
        assert_eq!(chars.first(text, 4), Some(b"12AB".as_slice()));
        assert_eq!(chars.first(text, 3), None);
        assert_eq!(chars.range(4), 0..5);
        assert_eq!(Chars::read(&[b'7'; 100], 0).len(), CHARS_MAX);
    }
}
