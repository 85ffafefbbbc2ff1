//! Dates of birth: a date under a key, or behind words such as `né le`. A date alone is nobody's.

use std::ops::Range;

use super::digits::{Digits, Gap};
use super::lexicon::{FOLD, backwards, bit, may_start_month, seed, step, unaccented};
use super::{Hit, Type, digits};

/// Years in which somebody may be born who is in a log.
const YEARS: Range<u64> = 1_900..2_031;

/// Looks at the groups from `group` on as a date; the caller knows whether a word vouches for it.
pub(crate) fn at(bytes: &[u8], digits: &Digits, group: usize) -> Option<Hit> {
    let start = digits.start(group);
    if start > 0 && bytes[start - 1].is_ascii_alphanumeric() {
        return None;
    }
    numeric(bytes, digits, group).or_else(|| named_month(bytes, digits, group)).map(|range| Hit::new(range, Type::Dob))
}

/// Tells cheaply whether a date can start at `group`.
pub(crate) fn may_start(bytes: &[u8], digits: &Digits, group: usize) -> bool {
    match digits.width(group) {
        1 | 2 => group + 2 < digits.len() && digits.width(group + 1) <= 2 || month_may_follow(bytes, digits.end(group)),
        4 => group + 2 < digits.len(),
        8 => true,
        _ => false,
    }
}

/// Tells cheaply whether a month's name can follow the day that ends at `end`, or stand before it.
pub(crate) fn month_may_follow(bytes: &[u8], end: usize) -> bool {
    let gap = bytes.iter().skip(end).take(3).take_while(|b| matches!(b, b' ' | b'-' | b'.' | b',' | b'/')).count();
    let word = end + gap;
    match bytes.get(word) {
        // `March 12, 1980`.
        Some(b'0'..=b'9') => gap > 0 && bytes.get(end) == Some(&b','),
        // `1er mai`, `4th of May`.
        Some(_) if gap == 0 => {
            let ordinal = bytes.get(word..word + 3);
            ordinal.is_some_and(|b| b[0].is_ascii_alphabetic() && b[1].is_ascii_alphabetic() && b[2] == b' ')
        }
        // `3 de mayo`.
        Some(_) => {
            may_start_month(bytes, word) || matches!(bytes.get(word..word + 3), Some([b'd' | b'o', b'e' | b'f', b' ']))
        }
        None => false,
    }
}

fn value_of(bytes: &[u8], digits: &Digits, group: usize) -> u64 {
    super::form::number(bytes.get(digits.start(group)..digits.end(group)).unwrap_or_default())
}

fn numeric(bytes: &[u8], digits: &Digits, group: usize) -> Option<Range<usize>> {
    let value = |i| value_of(bytes, digits, group + i);
    if digits.width(group) == 8 {
        let all = value(0);
        let year_first = YEARS.contains(&(all / 10_000)) && is_day(all / 100 % 100, all % 100);
        let day_first = YEARS.contains(&(all % 10_000)) && is_day(all / 10_000 % 100, all / 1_000_000);
        return (year_first || day_first).then(|| digits.start(group)..digits.end(group));
    }
    if group + 2 >= digits.len() {
        return None;
    }
    let (one, two) = (digits.gap(group + 1), digits.gap(group + 2));
    if one != two || one == Gap::Mixed {
        return None;
    }
    let widths = [0, 1, 2].map(|i| digits.width(group + i));
    let fits = match widths {
        [4, 1 | 2, 1 | 2] => YEARS.contains(&value(0)) && is_day(value(1), value(2)),
        [1 | 2, 1 | 2, 4] => YEARS.contains(&value(2)) && (is_day(value(1), value(0)) || is_day(value(0), value(1))),
        [1 | 2, 1 | 2, 2] => is_day(value(1), value(0)) || is_day(value(0), value(1)),
        _ => false,
    };
    fits.then(|| digits.start(group)..digits.end(group + 2))
}

const fn is_day(month: u64, day: u64) -> bool {
    month >= 1 && month <= 12 && day >= 1 && day <= 31
}

/// `12 mars 1980`, `1er mai 1980`, `March 12, 1980`, `12-Mar-1980`.
fn named_month(bytes: &[u8], digits: &Digits, group: usize) -> Option<Range<usize>> {
    let day = value_of(bytes, digits, group);
    if digits.width(group) > 2 || !(1..=31).contains(&day) {
        return None;
    }
    let (start, mut at) = (digits.start(group), digits.end(group));
    for ordinal in [b"er".as_slice(), b"st", b"nd", b"rd", b"th"] {
        if bytes.get(at..at + 2).is_some_and(|b| b.eq_ignore_ascii_case(ordinal)) {
            at += 2;
            break;
        }
    }
    let gap = |from: usize| {
        from + bytes.iter().skip(from).take(3).take_while(|b| matches!(b, b' ' | b'-' | b'.' | b',' | b'/')).count()
    };
    let mut word = gap(at);
    if bytes.get(word..word + 3).is_some_and(|b| b.eq_ignore_ascii_case(b"de ") || b.eq_ignore_ascii_case(b"of ")) {
        word += 3;
    }
    let len = bytes.iter().skip(word).take(12).take_while(|b| b.is_ascii_alphabetic() || **b >= 0x80).count();
    let year_at = |from: usize| {
        let from =
            if bytes.get(from..from + 3).is_some_and(|b| b.eq_ignore_ascii_case(b"de ")) { from + 3 } else { from };
        let year = bytes.get(from..from + 4)?;
        (digits::run_len(bytes, from) == 4 && YEARS.contains(&super::form::number(year))).then_some(from + 4)
    };
    if len >= 3 && is_month(bytes, word, word + len) {
        return year_at(gap(word + len)).map(|end| start..end);
    }
    // The month in front, the year behind.
    let before = bytes.get(..start)?.trim_ascii_end().len();
    let from = before
        - bytes.get(..before)?.iter().rev().take(12).take_while(|b| b.is_ascii_alphabetic() || **b >= 0x80).count();
    if before < start && is_month(bytes, from, before) {
        return year_at(gap(at)).map(|end| from..end);
    }
    None
}

fn is_month(bytes: &[u8], from: usize, to: usize) -> bool {
    let mut hash = seed();
    let mut at = to;
    while at > from {
        let byte = bytes[at - 1];
        if byte >= 0x80 && at >= from + 2 && bytes[at - 2] == 0xC3 {
            hash = step(hash, unaccented(byte));
            at -= 2;
        } else {
            hash = step(hash, FOLD[usize::from(byte)]);
            at -= 1;
        }
    }
    backwards(hash).is_some_and(|bits| bits & bit::MONTH != 0)
}

#[cfg(test)]
mod tests {
    use crate::detect::Type;
    use crate::detect::corpus::{Gen, budget, found};

    fn value(g: &Gen) -> String {
        let (d, m, y) = (1 + g.below(28), 1 + g.below(12), 1930 + g.below(90));
        match g.below(5) {
            0 => format!("{y}-{m:02}-{d:02}"),
            1 => format!("{d:02}.{m:02}.{y}"),
            2 => format!("{d} {} {y}", g.pick(&["janvier", "février", "mars", "août", "décembre"])),
            3 => format!("{d:02}-{m:02}-{y}"),
            _ => format!("{d:02}/{m:02}/{y}"),
        }
    }

    #[test]
    fn dates_need_a_word() {
        for (text, is_one) in [
            ("née le 12/03/1980 à Lyon", true),
            ("born March 12, 1980", true),
            ("DOB: 1980-03-12", true),
            ("birth_date=19800312", true),
            ("{\"date_naissance\":\"12/03/80\"}", true),
            ("né le 1er août 1980", true),
            ("nacido el 3 de mayo de 1980", true),
            ("geboren am 3. Mai 1980", true),
            ("{\"birthDate\":\"1980-03-12T00:00:00Z\"}", true),
            ("expires 12/03/1980", false),
            ("2024-01-02 03:04:05 started", false),
            ("born 12 items later", false),
        ] {
            assert_eq!(found(text, &[Type::Dob]).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        budget(
            Type::Dob,
            0.98,
            0.95,
            &["patient né le {} admis", "{\"birthDate\":\"{}\"}", "date_naissance={} ok", "Date of birth: {}"],
            value,
        );
    }
}
