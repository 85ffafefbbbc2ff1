//! Telephone numbers: E.164, and the national forms of FR, BE, CH, LU, DE, ES, IT, UK, US, MA, DZ and TN.
//!
//! There is no checksum, so the form must be one that people write: known country and length, or known groups. Forms
//! that ids and amounts share need a word such as `tel` in front.

use super::cue::{self, Cues};
use super::digits::{Digits, Gap};
use super::lexicon::bit;
use super::{Hit, Type};

/// Country codes with the least and most digits of the national number.
const COUNTRIES: [(&[u8], usize, usize); 36] = [
    (b"33", 9, 9),
    (b"32", 8, 9),
    (b"41", 9, 9),
    (b"352", 5, 9),
    (b"49", 6, 11),
    (b"34", 9, 9),
    (b"39", 6, 11),
    (b"44", 9, 10),
    (b"1", 10, 10),
    (b"212", 9, 9),
    (b"213", 8, 9),
    (b"216", 8, 8),
    (b"31", 9, 9),
    (b"351", 9, 9),
    (b"353", 7, 9),
    (b"43", 6, 12),
    (b"45", 8, 8),
    (b"46", 7, 10),
    (b"47", 8, 8),
    (b"48", 9, 9),
    (b"30", 10, 10),
    (b"90", 10, 10),
    (b"7", 10, 10),
    (b"20", 8, 10),
    (b"221", 9, 9),
    (b"225", 8, 10),
    (b"237", 8, 9),
    (b"91", 10, 10),
    (b"86", 10, 11),
    (b"81", 9, 10),
    (b"55", 10, 11),
    (b"52", 10, 10),
    (b"61", 9, 9),
    (b"972", 8, 9),
    (b"961", 7, 8),
    (b"377", 8, 9),
];

/// National numbers with a trunk 0: widths of the groups, and the second digits they start with.
const TRUNK: [(&[usize], &[u8]); 40] = [
    // FR, MA, DZ mobile, CH: ten digits.
    (&[2, 2, 2, 2, 2], b"123456789"),
    (&[10], b"123456789"),
    (&[2, 8], b"123456789"),
    (&[4, 2, 2, 2], b"123456789"),
    (&[4, 3, 3], b"123456789"),
    (&[4, 6], b"123456789"),
    (&[3, 3, 2, 2], b"23456789"),
    (&[3, 7], b"23456789"),
    (&[3, 3, 4], b"123456789"),
    (&[3, 4, 3], b"123456789"),
    (&[2, 4, 4], b"123456789"),
    (&[2, 3, 2, 3], b"123456789"),
    // BE and DZ landline: nine digits.
    (&[2, 3, 2, 2], b"12345689"),
    (&[3, 2, 2, 2], b"123456789"),
    (&[3, 6], b"123456789"),
    (&[2, 7], b"12345689"),
    (&[3, 3, 3], b"123456789"),
    // UK: eleven digits.
    (&[5, 6], b"1237"),
    (&[3, 4, 4], b"123"),
    (&[4, 3, 4], b"1237"),
    (&[5, 3, 3], b"1237"),
    (&[4, 7], b"1237"),
    (&[11], b"127"),
    (&[5, 2, 4], b"17"),
    // DE: ten to twelve digits.
    (&[3, 8], b"234679"),
    (&[4, 8], b"123456789"),
    (&[5, 5], b"23456789"),
    (&[5, 7], b"123456789"),
    (&[12], b"1"),
    (&[4, 3, 5], b"1"),
    (&[4, 4, 4], b"1"),
    (&[4, 4, 3], b"1"),
    (&[3, 3, 3, 2], b"34689"),
    (&[3, 4, 3, 2], b"34689"),
    (&[3, 3, 2, 3], b"34689"),
    // IT landline.
    (&[2, 4, 5], b"26"),
    (&[3, 3, 5], b"123456789"),
    (&[4, 5], b"123456789"),
    (&[2, 6], b"26"),
    (&[4, 2, 5], b"1"),
];

/// National numbers without a trunk 0: widths, first digits, and whether a cue must vouch for them.
const BARE: [(&[usize], &[u8], bool); 24] = [
    // US and IT mobile.
    (&[3, 3, 4], b"23456789", false),
    (&[10], b"23456789", true),
    (&[3, 7], b"3", false),
    // ES.
    (&[3, 2, 2, 2], b"6789", false),
    (&[3, 3, 3], b"6789", true),
    (&[9], b"6789", true),
    (&[2, 3, 2, 2], b"89", true),
    (&[3, 6], b"6789", true),
    // LU.
    (&[3, 2, 2], b"2468", true),
    (&[2, 2, 2], b"2345789", true),
    (&[2, 2, 2, 2], b"2", true),
    (&[8], b"2345679", true),
    (&[6], b"2345789", true),
    (&[3, 3], b"2345789", true),
    (&[3, 6], b"6", true),
    (&[2, 2, 2, 3], b"2", true),
    // TN.
    (&[2, 3, 3], b"234579", true),
    (&[2, 2, 2, 2], b"234579", true),
    (&[3, 3, 2], b"234579", true),
    (&[5, 3], b"234579", true),
    (&[4, 4], b"234579", true),
    (&[2, 6], b"234579", true),
    // DE and IT without trunk 0, FR without it behind a cue.
    (&[1, 2, 2, 2, 2], b"12345679", true),
    (&[3, 4, 3], b"3", true),
];

/// Which rows of a table a number can fit, by the widths of its first two groups; in the column 0, rows of one group. Bit
/// `i` stands for row `i`.
struct Openings([[u64; WIDTHS]; WIDTHS]);

/// Widths of groups that any row has, and 0.
const WIDTHS: usize = 13;

impl Openings {
    const fn put(&mut self, widths: &[usize], row: usize) {
        self.0[widths[0]][if widths.len() > 1 { widths[1] } else { 0 }] |= 1 << row;
    }

    /// Returns the rows that the groups from `group` on can fit, in ascending order.
    fn rows(&self, digits: &Digits, group: usize) -> impl Iterator<Item = usize> {
        let mut rows = self.0.get(digits.width(group)).map_or(0, |seconds| {
            let second = if group + 1 < digits.len() { seconds.get(digits.width(group + 1)) } else { None };
            seconds[0] | second.copied().unwrap_or(0)
        });
        std::iter::from_fn(move || {
            let row = (rows != 0).then(|| rows.trailing_zeros() as usize)?;
            rows &= rows - 1;
            Some(row)
        })
    }
}

static TRUNK_OPENINGS: Openings = {
    let mut openings = Openings([[0; WIDTHS]; WIDTHS]);
    let mut i = 0;
    while i < TRUNK.len() {
        openings.put(TRUNK[i].0, i);
        i += 1;
    }
    openings
};

static BARE_OPENINGS: Openings = {
    let mut openings = Openings([[0; WIDTHS]; WIDTHS]);
    let mut i = 0;
    while i < BARE.len() {
        openings.put(BARE[i].0, i);
        i += 1;
    }
    openings
};

/// Tells whether a number without a trunk 0 can start with groups of these widths.
pub(crate) fn may_open(first: usize, second: usize) -> bool {
    BARE_OPENINGS.0.get(first).is_some_and(|row| row[0] | row.get(second).copied().unwrap_or(0) != 0)
}

/// Looks at the groups from `group` on as a telephone number.
pub(crate) fn at(cues: &Cues<'_>, bytes: &[u8], floor: usize, digits: &Digits, group: usize) -> Option<Hit> {
    let start = digits.start(group);
    let lead = start.checked_sub(1).and_then(|i| bytes.get(i)).copied();
    if lead == Some(b'+') || (lead == Some(b' ') && start >= 2 && bytes[start - 2] == b'+' && start - 2 >= floor) {
        let plus = if lead == Some(b'+') { start - 1 } else { start - 2 };
        let word = plus > 0 && bytes[plus - 1].is_ascii_alphanumeric();
        return if word { None } else { international(bytes, digits, group, 0, plus) };
    }
    if bytes[start] == b'0' {
        // `00.431` is a fraction.
        let zeros = bytes.get(start..start + 2) == Some(b"00") && bytes.get(start + 2) != Some(&b'.');
        return if zeros {
            international(bytes, digits, group, 2, start)
        } else {
            trunk(cues, bytes, floor, digits, group)
        };
    }
    bare(cues, bytes, floor, digits, group)
}

/// A number with its country code, after `skip` zeros.
fn international(bytes: &[u8], digits: &Digits, group: usize, skip: usize, start: usize) -> Option<Hit> {
    let mut number = [0_u8; 24];
    let mut len = 0;
    let mut best = None;
    let mut first_gap = None;
    for index in group..digits.len().min(group + 8) {
        let mut part = bytes.get(digits.start(index)..digits.end(index))?;
        if index == group {
            part = part.get(skip..)?;
        } else {
            match digits.gap(index) {
                Gap::Mixed => break,
                // `+33 (0)6…`: the trunk 0 is written and not dialled.
                Gap::Parenthesis if part.first() == Some(&b'0') => part = part.get(1..)?,
                Gap::Parenthesis => {}
                // After the country and area codes people keep to one separator.
                gap if index > group + 2 => {
                    if *first_gap.get_or_insert(gap) != gap {
                        break;
                    }
                }
                Gap::One(_) => {}
            }
        }
        let Some(slot) = number.get_mut(len..len + part.len()) else { break };
        slot.copy_from_slice(part);
        len += part.len();
        if is_international(number.get(..len)?, skip > 0) && digits.is_bounded(bytes, group, index) {
            best = Some(digits.end(index));
        }
    }
    best.map(|end| Hit::new(start..end, Type::Phone))
}

fn is_international(number: &[u8], dialled: bool) -> bool {
    let known = COUNTRIES.iter().find(|(code, _, _)| number.starts_with(code));
    match known {
        Some((code, min, max)) => {
            let national = number.len() - code.len();
            let first = number.get(code.len()).copied().unwrap_or(b'0');
            (*min..=*max).contains(&national) && (first != b'0' || *code == b"39") && !(*code == b"1" && first == b'1')
        }
        // Any other country: the plus sign vouches for it.
        None => !dialled && (8..=15).contains(&number.len()) && number.first() != Some(&b'0'),
    }
}

fn trunk(cues: &Cues<'_>, bytes: &[u8], floor: usize, digits: &Digits, group: usize) -> Option<Hit> {
    let start = digits.start(group);
    let second = if digits.width(group) > 1 { bytes[start + 1] } else { *bytes.get(digits.start(group + 1))? };
    let shape = TRUNK_OPENINGS
        .rows(digits, group)
        .map(|row| TRUNK[row])
        .filter(|(widths, seconds)| seconds.contains(&second) && fits(bytes, digits, group, widths))
        .max_by_key(|(widths, _)| widths.len())?
        .0;
    // Five digits and more in front are a British area, which is set off by a space; elsewhere a word must say so.
    let pair = shape.len() == 2 && shape[0] == 5;
    let british = shape == [5, 6] && digits.gap(group + 1) == Gap::One(b' ');
    finish(cues, bytes, floor, digits, group, shape.len(), pair && !british)
}

fn bare(cues: &Cues<'_>, bytes: &[u8], floor: usize, digits: &Digits, group: usize) -> Option<Hit> {
    let start = digits.start(group);
    // `(0)6 12 34 56 78` and `1-800-555-0199` start one group before the number proper.
    let shape = BARE_OPENINGS
        .rows(digits, group)
        .map(|row| BARE[row])
        .filter(|(widths, firsts, _)| firsts.contains(&bytes[start]) && fits(bytes, digits, group, widths))
        .filter(|(widths, _, _)| *widths != [3, 3, 4] || is_nanp(bytes, digits, group))
        .max_by_key(|(widths, _, _)| widths.len())?;
    finish(cues, bytes, floor, digits, group, shape.0.len(), shape.2)
}

/// Tells whether exchange codes are possible (they start with 2 to 9), or the number is an Italian mobile's.
fn is_nanp(bytes: &[u8], digits: &Digits, group: usize) -> bool {
    bytes[digits.start(group)] == b'3' || matches!(bytes[digits.start(group + 1)], b'2'..=b'9')
}

/// Like [`Digits::has_shape`], but the first gap may differ from the others: `0171/123 45`, `(212) 555-0199`.
fn fits(bytes: &[u8], digits: &Digits, group: usize, widths: &[usize]) -> bool {
    let end = group + widths.len();
    if end > digits.len() || !widths.iter().enumerate().all(|(i, width)| digits.width(group + i) == *width) {
        return false;
    }
    let mut gaps = (group + 2..end).map(|i| digits.gap(i));
    let second = gaps.next();
    let uniform = gaps.all(|gap| Some(gap) == second) && second != Some(Gap::Mixed);
    let first = (widths.len() > 1).then(|| digits.gap(group + 1));
    let first_fits = match first {
        None | Some(Gap::Parenthesis) => true,
        Some(Gap::Mixed) => false,
        Some(Gap::One(b'/')) => true,
        Some(gap) => second.is_none_or(|second| second == gap || (widths.len() > 3 && gap == Gap::One(b' '))),
    };
    uniform && first_fits && digits.stands_alone(bytes, group, end - 1)
}

fn finish(
    cues: &Cues<'_>,
    bytes: &[u8],
    floor: usize,
    digits: &Digits,
    group: usize,
    groups: usize,
    needs_cue: bool,
) -> Option<Hit> {
    let start = digits.start(group);
    let fraction = start > 0 && matches!(bytes[start - 1], b'.' | b'#' | b'$' | b',');
    if !cues.precede(floor, start, bit::PHONE) && (needs_cue || fraction || cue::names_an_id(bytes, start)) {
        return None;
    }
    // `(212) 555-0199`: the parenthesis goes too, so that what is left reads well.
    let open = usize::from(start > 0 && bytes[start - 1] == b'(' && groups > 1);
    Some(Hit::new(start - open..digits.end(group + groups - 1), Type::Phone))
}

/// Looks at the value of a key that names a telephone: any number of a possible length.
pub(crate) fn under_key(bytes: &[u8], value: &std::ops::Range<usize>) -> Option<Hit> {
    let written = bytes.get(value.clone())?;
    let lead = written.iter().take_while(|b| matches!(b, b'+' | b'(' | b' ')).count();
    let len = written
        .iter()
        .take_while(|b| b.is_ascii_digit() || matches!(b, b'+' | b'(' | b')' | b' ' | b'-' | b'.' | b'/'))
        .count();
    let run = written.get(..len)?;
    let end = run.iter().rposition(u8::is_ascii_digit)? + 1;
    let count = run.iter().filter(|b| b.is_ascii_digit()).count();
    let bounded = !written.get(end).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let ipv4 = run.iter().filter(|b| **b == b'.').count() == 3 && !run.contains(&b' ') && count < 10;
    let start = value.start + written.get(..lead)?.iter().position(|b| *b != b' ').unwrap_or(lead);
    ((8..=15).contains(&count) && bounded && !ipv4).then(|| Hit::new(start..value.start + end, Type::Phone))
}

#[cfg(test)]
mod tests {
    use crate::detect::corpus::{Odd, recall};
    use crate::detect::{Type, find};

    #[test]
    fn numbers_are_told_from_what_looks_like_them() {
        for (text, expected) in [
            ("call +33 6 12 34 56 78 now", Some("+33 6 12 34 56 78")),
            ("+33 (0)6 12 34 56 78", Some("+33 (0)6 12 34 56 78")),
            ("+33(0)612345678", Some("+33(0)612345678")),
            ("0033612345678.", Some("0033612345678")),
            ("00 33 6 12 34 56 78", Some("00 33 6 12 34 56 78")),
            ("+33612345678", Some("+33612345678")),
            ("+ 33 6 12 34 56 78", Some("+ 33 6 12 34 56 78")),
            ("+1 (212) 555-0199", Some("+1 (212) 555-0199")),
            ("+49 171 1234567", Some("+49 171 1234567")),
            ("+255 712 345 678", Some("+255 712 345 678")),
            ("+7.912.345.67.89", Some("+7.912.345.67.89")),
            ("06 12 34 56 78 12 rue", Some("06 12 34 56 78")),
            ("06.12.34.56.78", Some("06.12.34.56.78")),
            ("0612345678", Some("0612345678")),
            ("02 123 45 67", Some("02 123 45 67")),
            ("0470 12 34 56", Some("0470 12 34 56")),
            ("079 123 45 67", Some("079 123 45 67")),
            ("0171/1234567", Some("0171/1234567")),
            ("020 7946 0958", Some("020 7946 0958")),
            ("07700 900123", Some("07700 900123")),
            ("(212) 555-0199", Some("(212) 555-0199")),
            ("212-555-0199", Some("212-555-0199")),
            ("347 123 4567", Some("347 123 4567")),
            ("612 34 56 78", Some("612 34 56 78")),
            ("tel: 612345678", Some("612345678")),
            ("tél 20 123 456", Some("20 123 456")),
            ("612 345 678 bytes", None),
            ("order 0612345678", None),
            ("2024-01-02 03:04:05", None),
            ("01.02.2024 12:30", None),
            ("01-02-03-04-05-06", None),
            ("utc+0100 x+33612345678", None),
            ("0000012345", None),
            ("20240102123456", None),
            ("0.0612345678", None),
            ("+0123456789", None),
            ("0612345678a", None),
        ] {
            let hits = find(text);
            let found = hits.iter().find(|hit| hit.kind == Type::Phone).and_then(|hit| text.get(hit.range.clone()));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget_in_every_country() {
        for country in 0..12 {
            let plain = recall(country, 500, Odd::None, move |g| g.phone_of(country));
            let odd = recall(country + 100, 500, Odd::Any, move |g| g.phone_of(country));
            assert!(plain >= 0.98, "country {country} plain {plain}");
            assert!(odd >= 0.95, "country {country} odd {odd}");
        }
    }
}
