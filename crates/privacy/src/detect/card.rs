//! Payment card numbers: length and prefix of an issuer, and Luhn. Two of a hundred random numbers of 16 digits pass both,
//! so a card is not seen under a key that names ids.

use super::cue::{self, Cues};
use super::digits::{Digits, Gap, luhn};
use super::lexicon::bit;
use super::{Hit, Type};

/// Ways in which people group card numbers.
const SHAPES: [&[usize]; 7] =
    [&[4, 4, 4, 4], &[4, 6, 5], &[4, 6, 4], &[4, 4, 4, 4, 3], &[4, 4, 4, 1], &[6, 4, 4, 2], &[4, 4, 4, 3]];

/// Looks at the groups from `group` on as a card number.
pub(crate) fn at(cues: &Cues<'_>, bytes: &[u8], floor: usize, digits: &Digits, group: usize) -> Option<Hit> {
    let width = digits.width(group);
    if width < 13 {
        return grouped(cues, bytes, floor, digits, group);
    }
    if width > 19 || !digits.stands_alone(bytes, group, group) || !is_card(bytes, digits, group, group) {
        return None;
    }
    // `0.4111111111111111` is a fraction, `x-4111111111111111` a name.
    let start = digits.start(group);
    let lead = start.checked_sub(1).and_then(|i| bytes.get(i));
    if matches!(lead, Some(b'.' | b'#' | b'-')) && !cues.precede(floor, start, bit::CARD) {
        return None;
    }
    (cues.precede(floor, start, bit::CARD) || !cue::names_an_id(bytes, start))
        .then(|| Hit::new(start..digits.end(group), Type::Card))
}

fn grouped(cues: &Cues<'_>, bytes: &[u8], floor: usize, digits: &Digits, group: usize) -> Option<Hit> {
    if !matches!(digits.width(group), 4 | 6) || group + 1 >= digits.len() || digits.gap(group + 1) == Gap::Mixed {
        return None;
    }
    let shape = SHAPES
        .into_iter()
        .filter(|shape| digits.has_shape(bytes, group, shape))
        .filter(|shape| is_card(bytes, digits, group, group + shape.len() - 1))
        .max_by_key(|shape| shape.len())?;
    let range = digits.start(group)..digits.end(group + shape.len() - 1);
    let by_key = cue::key(bytes, range.start).is_some() && cue::names_an_id(bytes, range.start);
    (!by_key || cues.precede(floor, range.start, bit::CARD)).then(|| Hit::new(range, Type::Card))
}

fn is_card(bytes: &[u8], digits: &Digits, first: usize, last: usize) -> bool {
    let mut number = [0; 19];
    let Some(len) = digits.collect(bytes, first, last, &mut number) else { return false };
    let number = &number[..len];
    len >= 13 && is_issued(number) && luhn(number) && !number.iter().all(|d| *d == number[0])
}

/// Tells whether an issuer gives out numbers of that prefix and length.
fn is_issued(number: &[u8]) -> bool {
    let prefix = |len: usize| number.iter().take(len).fold(0_u32, |n, d| n * 10 + u32::from(d - b'0'));
    let (two, three, four) = (prefix(2), prefix(3), prefix(4));
    match number.len() {
        13 => number[0] == b'4' || matches!(four, 5018 | 5020 | 5038 | 6304),
        14 => matches!(three, 300..=305 | 309) || matches!(two, 36 | 38 | 39),
        15 => matches!(two, 34 | 37) || matches!(four, 2131 | 1800),
        16 | 19 => {
            number[0] == b'4'
                || matches!(two, 51..=55 | 62 | 65)
                || matches!(four, 2221..=2720 | 3528..=3589 | 6011 | 5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763)
                || matches!(three, 644..=649)
        }
        17 | 18 => matches!(two, 62) || matches!(four, 5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::detect::corpus::{Gen, Odd, recall};
    use crate::detect::{Type, find};

    #[test]
    fn cards_are_told_from_what_looks_like_them() {
        for (text, is_card) in [
            ("paid with 4242 4242 4242 4242 today", true),
            ("4242-4242-4242-4242", true),
            ("4242.4242.4242.4242", true),
            ("card 4242424242424242", true),
            ("amex 3782 822463 10005", true),
            ("amex 378282246310005", true),
            ("diners 3056 930902 5904", true),
            ("diners 30569309025904", true),
            ("visa 4222222222222", true),
            ("5555555555554444 2223003122003222 6011111111111117 3530111333300000", true),
            ("6205500000000000004 is UnionPay", true),
            ("card_id=4242424242424242", true),
            ("carte n° x-4242424242424242", true),
            ("order_id=4242424242424242", false),
            ("order 4242424242424242", false),
            ("trace-id: 4242 4242 4242 4242", false),
            ("4242424242424241", false),
            ("0.4242424242424242", false),
            ("build-4242424242424242", false),
            ("1732284000000000", false),
            ("a4242424242424242", false),
            ("4242-4242-4242-4242-4242", false),
            ("4444444444444444444", false),
            ("500000000000000001", false),
        ] {
            let found = find(text).iter().any(|hit| hit.kind == Type::Card);
            assert_eq!(found, is_card, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        let plain = recall(1, 2_000, Odd::None, Gen::card);
        let odd = recall(2, 2_000, Odd::Any, Gen::card);
        assert!(plain >= 0.98, "plain {plain}");
        assert!(odd >= 0.95, "odd {odd}");
    }
}
