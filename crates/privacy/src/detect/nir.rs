//! French social security numbers (NIR, and the NIA and INS that share its form): structure and key, Corsica's `2A` and
//! `2B` included. One in three hundred random numbers of 15 digits passes: strong enough to act alone.

use super::cue::Cues;
use super::digits::Digits;
use super::form::{Form, never};
use super::lexicon::bit;
use super::{Hit, Type};

/// Under a key that names it.
pub(crate) static FORM: Form =
    Form { kind: Type::Nir, cue: bit::NIR, lengths: 13..16, shape, check: shape, alone: never };

/// The same number as the identity of a patient (INS), under its own key.
pub(crate) static INS: Form =
    Form { kind: Type::Ins, cue: bit::INS, lengths: 13..16, shape, check: shape, alone: never };

/// The object identifiers under which the number is a patient's identity (NIR, NIA, and those of tests).
const OIDS: &[u8] = b"1.2.250.1.213.1.4.";

fn shape(value: &[u8]) -> bool {
    let mut number = [b'0'; 15];
    let digits = value.iter().enumerate().all(|(i, c)| c.is_ascii_digit() || i == 6 && matches!(c, b'A' | b'B'));
    for (slot, c) in number.iter_mut().zip(value) {
        *slot = *c;
    }
    value.len() != 14 && digits && matches!(value[0], b'1'..=b'8') && is_nir(&number)
}

/// Looks at the groups from `group` on as a NIR.
pub(crate) fn at(cues: &Cues<'_>, bytes: &[u8], floor: usize, digits: &Digits, group: usize) -> Option<Hit> {
    let start = digits.start(group);
    if !matches!(bytes[start], b'1'..=b'4' | b'7' | b'8') || !may_hold(bytes, digits, group) {
        return None;
    }
    if group > 0 && digits.gap(group) == super::digits::Gap::One(b'.') {
        return None;
    }
    let dash_word = start >= 2 && bytes[start - 1] == b'-' && bytes[start - 2].is_ascii_alphanumeric();
    let touched = start > 0 && bytes[start - 1].is_ascii_alphanumeric();
    if dash_word || touched {
        return None;
    }
    let mut number = [0_u8; 15];
    let (len, ends) = collect(bytes, start, &mut number);
    let whole = (len == 15 && is_nir(&number) && key(&number) == two(&number, 13)).then_some(ends[1]);
    let end = whole.or_else(|| {
        // The key may be left out where a word says what the number is.
        // With a key that is wrong it is somebody's all the same.
        let mistyped = len == 15 && !bytes.get(ends[1]).is_some_and(u8::is_ascii_alphanumeric);
        let end = if mistyped { ends[1] } else { ends[0] };
        (len >= 13 && is_nir(&number) && cues.precede(floor, start, bit::NIR)).then_some(end)
    })?;
    if bytes.get(end).is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    let tail = bytes.get(end..bytes.len().min(end + 60)).unwrap_or_default();
    let is_ins =
        tail.starts_with(b"^") && memchr::memmem::find(tail, OIDS).is_some() || cues.precede(floor, start, bit::INS);
    Some(Hit::new(start..end, if is_ins { Type::Ins } else { Type::Nir }))
}

/// Tells cheaply whether 13 digits can follow, or a Corsican department.
fn may_hold(bytes: &[u8], digits: &Digits, group: usize) -> bool {
    let mut total = 0;
    for index in group..digits.len() {
        total += digits.width(index);
        if total >= 13 {
            return true;
        }
    }
    total == 6 && matches!(bytes.get(digits.end(digits.len() - 1)), Some(b'A' | b'B' | b'a' | b'b'))
}

/// Reads up to 15 digits (the seventh may be `A` or `B`), at most two separators between any two. Returns how many were
/// there, and where the 13th and the 15th end.
fn collect(bytes: &[u8], start: usize, number: &mut [u8; 15]) -> (usize, [usize; 2]) {
    let mut at = start;
    let mut ends = [start; 2];
    for i in 0..15 {
        let mut gap = 0;
        while gap <= 2 && matches!(bytes.get(at + gap), Some(b' ' | b'-' | b'.' | b'/' | b'_')) {
            gap += 1;
        }
        let Some(byte) = bytes.get(at + gap).filter(|_| gap <= 2).map(u8::to_ascii_uppercase) else {
            return (i, ends);
        };
        if !(byte.is_ascii_digit() || (i == 6 && matches!(byte, b'A' | b'B') && number[5] == b'2')) {
            return (i, ends);
        }
        number[i] = byte;
        at += gap + 1;
        if i == 12 {
            ends[0] = at;
        }
    }
    ends[1] = at;
    (15, ends)
}

fn two(number: &[u8; 15], at: usize) -> u64 {
    u64::from(number[at] - b'0') * 10 + u64::from(number[at + 1].wrapping_sub(b'0'))
}

/// Tells whether month, department and commune are possible (INSEE; 20 to 42 and 50 to 99 stand for unknown months).
fn is_nir(number: &[u8; 15]) -> bool {
    let month = two(number, 3);
    let corsica = !number[6].is_ascii_digit();
    let commune = &number[7..10];
    matches!(month, 1..=12 | 20..=42 | 50..=99)
        && (corsica || two(number, 5) > 0)
        && commune != b"000"
        && &number[10..13] != b"000"
}

/// Computes the key: 97 minus the number mod 97, with `2A` counted as 19 and `2B` as 18.
pub(super) fn key(number: &[u8; 15]) -> u64 {
    let mut value = 0_u64;
    for (i, byte) in number.iter().take(13).enumerate() {
        let digit = match (i, byte) {
            (5, b'2') if number[6] == b'A' || number[6] == b'B' => 1,
            (6, b'A') => 9,
            (6, b'B') => 8,
            (_, byte) => u64::from(byte - b'0'),
        };
        value = value * 10 + digit;
    }
    97 - value % 97
}

#[cfg(test)]
mod tests {
    use crate::detect::corpus::{Gen, Odd, recall};
    use crate::detect::{Type, find};

    #[test]
    fn numbers_are_told_from_what_looks_like_them() {
        for (text, is_nir) in [
            ("patient 2 55 08 14 168 025 38 admis", true),
            ("255081416802538", true),
            ("2550814168025 38", true),
            ("2-55-08-14-168-025-38.", true),
            ("1 85 05 2A 004 012 70", true),
            ("18505 2a 004012 70", true),
            ("1 85 05 2B 004 012 97", true),
            ("nir: 2550814168025", true),
            ("numéro de sécu 2 55 08 14 168 025", true),
            ("nir=255081416802539", true),
            ("install publicsuffix:all 20230209.2326-1", false),
            ("2550814168025", false),
            ("255081416802539", false),
            ("255131416802538", false),
            ("2550814168025381", false),
            ("a255081416802538", false),
            ("x-255081416802538", false),
            ("1.255081416802538", false),
            ("1 85 05 2C 004 012 61", false),
            ("1 85 05 2A", false),
        ] {
            let found = find(text).iter().any(|hit| hit.kind == Type::Nir);
            assert_eq!(found, is_nir, "{text}");
        }
    }

    #[test]
    fn the_identity_of_a_patient_is_told_from_the_number() {
        for text in [
            "INS 255081416802538",
            "ins=255081416802538",
            "255081416802538^^^ASIP-SANTE-INS-NIR&1.2.250.1.213.1.4.8&ISO^INS",
        ] {
            assert_eq!(find(text).first().map(|hit| hit.kind), Some(Type::Ins), "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        let plain = recall(1, 2_000, Odd::None, Gen::nir);
        let odd = recall(2, 2_000, Odd::Any, Gen::nir);
        assert!(plain >= 0.98, "plain {plain}");
        assert!(odd >= 0.95, "odd {odd}");
    }
}
