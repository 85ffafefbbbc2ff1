//! International bank account numbers: country, length and mod-97 (ISO 13616), grouped or not. Strong enough to act alone.

use super::{Hit, Type};

/// Countries of the SWIFT registry (release 99) and the length of their numbers.
const LENGTHS: [(&[u8; 2], usize); 89] = [
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"DZ", 26),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MA", 28),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SN", 28),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VG", 24),
];

/// Returns the length of `country`'s numbers.
pub(super) fn length(country: [u8; 2]) -> Option<usize> {
    let [a, b] = country.map(|letter| usize::from(letter.wrapping_sub(b'A')));
    let len = *BY_COUNTRY.get(a)?.get(b)?;
    (len > 0).then_some(usize::from(len))
}

/// [`LENGTHS`] by the two letters.
static BY_COUNTRY: [[u8; 26]; 26] = {
    let mut lengths = [[0; 26]; 26];
    let mut i = 0;
    while i < LENGTHS.len() {
        let (country, len) = LENGTHS[i];
        lengths[(country[0] - b'A') as usize][(country[1] - b'A') as usize] = len as u8;
        i += 1;
    }
    lengths
};

/// Looks at the check digits at `at`, two letters in front of them.
pub(crate) fn at(bytes: &[u8], floor: usize, at: usize) -> Option<Hit> {
    let start = at.checked_sub(2).filter(|start| *start >= floor)?;
    if start > 0 && bytes[start - 1].is_ascii_alphanumeric() {
        return None;
    }
    let country = [bytes[start].to_ascii_uppercase(), bytes[start + 1].to_ascii_uppercase()];
    let len = length(country)?;
    let mut number = [0_u8; 34];
    let end = collect(bytes, start, number.get_mut(..len)?)?;
    let number = &number[..len];
    let shaped = number.get(2..4)?.iter().all(u8::is_ascii_digit) && mod_97(number) == 1;
    (shaped && !bytes.get(end).is_some_and(u8::is_ascii_alphanumeric)).then(|| Hit::new(start..end, Type::Iban))
}

/// Fills `number` with letters and digits from `start`, one separator allowed between any two, and returns where they
/// end.
fn collect(bytes: &[u8], start: usize, number: &mut [u8]) -> Option<usize> {
    let mut at = start;
    for (i, slot) in number.iter_mut().enumerate() {
        let mut gap = 0;
        while matches!(bytes.get(at + gap), Some(b' ' | b'-' | b'.' | b'/' | b'_')) {
            gap += 1;
            if gap > 2 || i < 2 {
                return None;
            }
        }
        let byte = bytes.get(at + gap).filter(|b| b.is_ascii_alphanumeric())?;
        *slot = byte.to_ascii_uppercase();
        at += gap + 1;
    }
    Some(at)
}

/// Returns the number's remainder (ISO 7064 MOD 97-10) with its first four characters moved to the end.
pub(super) fn mod_97(number: &[u8]) -> u32 {
    let (head, tail) = number.split_at(4.min(number.len()));
    // A remainder is taken where another letter might not fit: 97 * 10^16 is below 2^64.
    let (mut rest, mut room) = (0_u64, 16);
    for byte in tail.iter().chain(head) {
        let (shift, value) = match byte {
            b'0'..=b'9' => (10, u64::from(byte - b'0')),
            letter => (100, u64::from(letter.saturating_sub(b'A')) + 10),
        };
        if room < 2 {
            (rest, room) = (rest % 97, 16);
        }
        room -= if shift == 10 { 1 } else { 2 };
        rest = rest * shift + value;
    }
    u32::try_from(rest % 97).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::corpus::{Gen, Odd, recall};
    use crate::detect::find;

    #[test]
    fn accounts_are_told_from_what_looks_like_them() {
        assert!(LENGTHS.is_sorted());
        for (text, is_iban) in [
            ("pay FR14 2004 1010 0505 0001 3M02 606 now", true),
            ("FR1420041010050500013M02606", true),
            ("fr14-2004-1010-0505-0001-3m02-606", true),
            ("iban=GB82WEST12345698765432;", true),
            ("DE89 3704 0044 0532 0130 00 4 items", true),
            ("NO93 8601 1117 947.", true),
            ("FR1420041010050500013M02607", false),
            ("FR1420041010050500013M026061", false),
            ("XFR1420041010050500013M02606", false),
            ("ZZ1420041010050500013M02606", false),
            ("FR14 short", false),
            ("F R14", false),
            ("DE89   3704 0044 0532 0130 00", false),
        ] {
            let found = find(text).iter().any(|hit| hit.kind == Type::Iban);
            assert_eq!(found, is_iban, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        let plain = recall(1, 2_000, Odd::None, Gen::iban);
        let odd = recall(2, 2_000, Odd::Any, Gen::iban);
        assert!(plain >= 0.98, "plain {plain}");
        assert!(odd >= 0.95, "odd {odd}");
    }
}
