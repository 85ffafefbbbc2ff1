//! British numbers: NHS (modulo 11, which one epoch second of eleven passes) and National Insurance; only with a word.

use super::Type;
use super::form::{Form, digits, follows, never, unchecked};
use super::lexicon::bit;

pub(crate) static NHS: Form =
    Form { kind: Type::UkNhs, cue: bit::NHS, lengths: 10..11, shape: digits, check: nhs, alone: never };

pub(crate) static NINO: Form = Form {
    kind: Type::UkNino,
    cue: bit::NINO,
    lengths: 9..10,
    shape: nino,
    check: unchecked,
    alone: |chars, len| chars.is_grouped(len, &[2, 2, 2, 2, 1]),
};

fn nhs(value: &[u8]) -> bool {
    let sum: u32 = value.iter().take(9).zip((2..=10).rev()).map(|(d, weight)| u32::from(d - b'0') * weight).sum();
    let key = (11 - sum % 11) % 11;
    key == u32::from(value[9] - b'0')
}

/// Two letters of which neither is D, F, I, Q, U, V (the second not O), six digits, A to D.
fn nino(value: &[u8]) -> bool {
    let barred = |c: u8| matches!(c, b'D' | b'F' | b'I' | b'Q' | b'U' | b'V');
    follows(value, b"AA999999A")
        && matches!(value[8], b'A'..=b'D')
        && !barred(value[0])
        && !barred(value[1])
        && value[1] != b'O'
        && !matches!(&value[..2], b"BG" | b"GB" | b"KN" | b"NK" | b"NT" | b"TN" | b"ZZ")
}

#[cfg(test)]
mod tests {
    use crate::detect::Type;
    use crate::detect::corpus::{Gen, budget, found, grouped};

    fn nhs(g: &Gen) -> String {
        loop {
            let body = g.digits(9);
            let sum: usize = body.bytes().zip((2..=10).rev()).map(|(d, w)| usize::from(d - b'0') * w).sum();
            let key = (11 - sum % 11) % 11;
            if key < 10 {
                return grouped(g, &format!("{body}{key}"), &[3, 3, 4]);
            }
        }
    }

    fn nino(g: &Gen) -> String {
        let letters = g.letters("ABCEGHJKLM", 2).replace("GB", "AB").replace("BG", "AB");
        grouped(g, &format!("{letters}{}{}", g.digits(6), g.letters("ABCD", 1)), &[2, 2, 2, 2, 1])
    }

    #[test]
    fn numbers_need_a_word_and_a_check() {
        for (text, kind) in [
            ("NHS 943 476 5919", Some(Type::UkNhs)),
            ("nhs_number=9434765918", Some(Type::UkNhs)),
            ("NHS number 943 476 5918", None),
            ("ts 1700000003", None),
            ("NI number AB123456C", Some(Type::UkNino)),
            ("AB 12 34 56 C", Some(Type::UkNino)),
            ("AB123456C", None),
            ("nino DF123456C", None),
        ] {
            assert_eq!(found(text, &[Type::UkNhs, Type::UkNino]), kind, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        budget(
            Type::UkNhs,
            0.98,
            0.95,
            &["NHS no {} referred", "{\"nhs_number\":\"{}\"}", "nhs={} ok", "NHS Number: {}"],
            nhs,
        );
        budget(
            Type::UkNino,
            0.98,
            0.95,
            &["National Insurance {} checked", "{\"nino\":\"{}\"}", "nino={} ok", "NI number: {}"],
            nino,
        );
    }
}
