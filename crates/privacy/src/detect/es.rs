//! Spanish identity numbers: DNI (eight digits) and NIE (a letter and seven), whose last letter is the number modulo 23;
//! only with a word.

use super::Type;
use super::form::{Form, follows, never, number};
use super::lexicon::bit;

pub(crate) static FORM: Form = Form { kind: Type::EsDni, cue: bit::DNI, lengths: 9..10, shape, check, alone: never };

const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";

fn shape(value: &[u8]) -> bool {
    follows(value, b"99999999A") || matches!(value[0], b'X'..=b'Z') && follows(value, b"A9999999A")
}

fn check(value: &[u8]) -> bool {
    let lead = if value[0].is_ascii_digit() { u64::from(value[0] - b'0') } else { u64::from(value[0] - b'X') };
    letter(lead * 10_000_000 + number(&value[1..8])) == value[8]
}

fn letter(number: u64) -> u8 {
    usize::try_from(number % 23).ok().and_then(|rest| LETTERS.get(rest)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::detect::Type;
    use crate::detect::corpus::{Gen, budget, found};

    fn value(g: &Gen) -> String {
        let digits = g.digits(8);
        let letter = char::from(super::letter(digits.parse().expect("digits")));
        match g.below(3) {
            0 => format!("{digits}-{letter}"),
            1 => {
                let (body, letter) = (g.digits(7), g.below(3));
                let number = format!("{letter}{body}").parse().expect("digits");
                format!("{}{body}{}", ["X", "Y", "Z"][letter], char::from(super::letter(number)))
            }
            _ => format!("{digits}{letter}"),
        }
    }

    #[test]
    fn numbers_need_a_word_and_a_check() {
        for (text, is_one) in [
            ("DNI 12345678Z", true),
            ("dni=12345678A", true),
            ("NIE X1234567L", true),
            ("DNI 12.345.678-Z", true),
            ("DNI 12345678A", false),
            ("12345678Z", false),
        ] {
            assert_eq!(found(text, &[Type::EsDni]).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        budget(
            Type::EsDni,
            0.98,
            0.95,
            &["con DNI {} registrado", "{\"dni\":\"{}\"}", "nie={} ok", "DNI/NIE: {}"],
            value,
        );
    }
}
