//! Italian tax codes (codice fiscale): consonants, a birth date, a place and a check letter. Structure and check together
//! are strong enough to act alone.

use super::Type;
use super::form::{Form, follows};
use super::lexicon::bit;

pub(crate) static FORM: Form = Form {
    kind: Type::ItCf,
    cue: bit::CF,
    lengths: 16..17,
    shape,
    check: |value| key(&value[..15]) == value[15],
    alone: |chars, len| chars.is_solid(len),
};

/// What a character counts at an odd place, by its place in `0..9` and in the alphabet.
const ODD: [u32; 26] = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];

fn shape(value: &[u8]) -> bool {
    let digit = |c: u8| c.is_ascii_digit() || matches!(c, b'L'..=b'N' | b'P'..=b'V');
    let letters = [0, 1, 2, 3, 4, 5, 8, 11, 15].iter().all(|i| value[*i].is_ascii_uppercase());
    let digits = [6, 7, 9, 10, 12, 13, 14].iter().all(|i| digit(value[*i]));
    letters
        && digits
        && matches!(value[8], b'A'..=b'E' | b'H' | b'L' | b'M' | b'P' | b'R'..=b'T')
        && (follows(value, b"AAAAAA??A??A???A"))
}

fn key(body: &[u8]) -> u8 {
    let sum: u32 = body
        .iter()
        .enumerate()
        .map(|(i, c)| {
            let value = if c.is_ascii_digit() { u32::from(c - b'0') } else { u32::from(c.wrapping_sub(b'A')) };
            if i % 2 == 0 { usize::try_from(value).ok().and_then(|v| ODD.get(v)).copied().unwrap_or(0) } else { value }
        })
        .sum();
    u8::try_from(sum % 26).map_or(0, |rest| b'A' + rest)
}

#[cfg(test)]
mod tests {
    use crate::detect::Type;
    use crate::detect::corpus::{Gen, budget, found};

    fn value(g: &Gen) -> String {
        let body = format!(
            "{}{}{}{:02}{}{}",
            g.letters("BCDFGLMNPRST", 6),
            g.digits(2),
            g.letters("ABCDEHLMPRST", 1),
            1 + g.below(28),
            g.letters("ABCDEFGH", 1),
            g.digits(3)
        );
        format!("{body}{}", char::from(super::key(body.as_bytes())))
    }

    #[test]
    fn codes_are_told_by_structure_and_check() {
        for (text, is_one) in [
            ("cliente RSSMRA85T10A562S", true),
            ("codice_fiscale=RSSMRA85T10A562X", true),
            ("rssmra85t10a562s", true),
            ("RSSMRA85T10A562X", false),
            ("RSSMRA85Z10A562S", false),
        ] {
            assert_eq!(found(text, &[Type::ItCf]).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        budget(
            Type::ItCf,
            0.98,
            0.95,
            &["paziente {} ricoverato", "{\"cf\":\"{}\"}", "codice_fiscale={} ok", "CF: {}"],
            value,
        );
    }
}
