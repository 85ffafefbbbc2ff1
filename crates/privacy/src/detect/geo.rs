//! Coordinates of places: a latitude and a longitude with three decimals or more (a hundred metres), behind a word or under
//! a key, or with their quarters of the sky.

use std::ops::Range;

use super::lexicon::bit;
use super::{Hit, Type};

/// A number with decimals, read from where a sign or a digit stands.
struct Decimal {
    range: Range<usize>,
    whole: u32,
    decimals: usize,
}

fn decimal(bytes: &[u8], start: usize) -> Option<Decimal> {
    let mut at = start + usize::from(matches!(bytes.get(start), Some(b'-' | b'+')));
    let digits = super::digits::run_len(bytes, at);
    if !(1..=3).contains(&digits) {
        return None;
    }
    let whole = bytes.get(at..at + digits)?.iter().fold(0, |n, d| n * 10 + u32::from(d - b'0'));
    at += digits;
    if bytes.get(at) != Some(&b'.') {
        return None;
    }
    let decimals = super::digits::run_len(bytes, at + 1);
    at += 1 + decimals;
    if bytes.get(at) == Some(&b'.') && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    Some(Decimal { range: start..at, whole, decimals })
}

/// Returns where the number that has a digit at `at` starts: its sign belongs to it.
pub(crate) fn signed(bytes: &[u8], at: usize) -> usize {
    match at.checked_sub(1).and_then(|i| bytes.get(i)) {
        Some(b'-' | b'+') if !at.checked_sub(2).and_then(|i| bytes.get(i)).is_some_and(u8::is_ascii_alphanumeric) => {
            at - 1
        }
        _ => at,
    }
}

/// Looks at the number at `at`, where the words before say `bits`.
pub(crate) fn at(bytes: &[u8], at: usize, bits: u64) -> Option<Hit> {
    let first = decimal(bytes, signed(bytes, at)).filter(|number| number.decimals >= 3 && number.whole <= 180)?;
    let mut end = after_quarter(bytes, first.range.end);
    let quartered = end > first.range.end;
    let gap = bytes.iter().skip(end).take(3).take_while(|b| matches!(b, b',' | b' ' | b';' | b'/')).count();
    let second = (gap > 0).then(|| decimal(bytes, end + gap)).flatten();
    let paired = second.as_ref().is_some_and(|number| number.decimals >= 3 && number.whole <= 180);
    if let Some(second) = second.filter(|_| paired) {
        end = after_quarter(bytes, second.range.end);
    }
    let followed = bytes.get(end).is_some_and(u8::is_ascii_alphanumeric);
    let vouched = bits & bit::GEO != 0 || quartered && paired;
    (vouched && !followed).then(|| Hit::new(first.range.start..end, Type::Geo))
}

/// `48.8566° N`, `48.8566N`.
fn after_quarter(bytes: &[u8], at: usize) -> usize {
    let mut to = at;
    if bytes.get(to..to + 2) == Some("°".as_bytes()) {
        to += 2;
    }
    let space = usize::from(to > at && bytes.get(to) == Some(&b' '));
    match bytes.get(to + space) {
        Some(b'N' | b'S' | b'E' | b'W' | b'O')
            if !bytes.get(to + space + 1).is_some_and(|b| b.is_ascii_alphanumeric()) =>
        {
            to + space + 1
        }
        _ => to,
    }
}

#[cfg(test)]
mod tests {
    use crate::detect::Type;
    use crate::detect::corpus::{Gen, budget, found};

    fn value(g: &Gen) -> String {
        let separator = g.pick(&[", ", ",", " "]);
        format!("{}.{}{separator}{}{}.{}", 41 + g.below(10), g.digits(5), g.pick(&["", "-"]), g.below(8), g.digits(5))
    }

    #[test]
    fn coordinates_need_a_word_or_their_quarters() {
        for (text, is_one) in [
            ("gps 48.85661,2.35222", true),
            ("position: 48.8566, -2.3522", true),
            ("{\"lat\":48.8566,\"lon\":2.3522}", true),
            ("latitude=-33.8688", true),
            ("48.8566° N, 2.3522° E", true),
            ("ratio 48.8566, 2.3522", false),
            ("lat=12", false),
            ("position 3.14", false),
            ("lat=1.234.5", false),
        ] {
            assert_eq!(found(text, &[Type::Geo]).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        budget(
            Type::Geo,
            0.98,
            0.90,
            &["ambulance GPS {} en route", "{\"coordinates\":\"{}\"}", "geo={} ok", "Location: {}"],
            value,
        );
    }
}
