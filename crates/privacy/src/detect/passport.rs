//! Passport numbers: two digits, two letters, five digits in France; one to three letters and six to eight digits, or nine
//! digits elsewhere. There is no check, so only with a word.

use super::Type;
use super::form::{Form, follows, never, unchecked};
use super::lexicon::bit;

pub(crate) static FORM: Form =
    Form { kind: Type::Passport, cue: bit::PASSPORT, lengths: 7..11, shape, check: unchecked, alone: never };

fn shape(value: &[u8]) -> bool {
    let digits = value.iter().filter(|c| c.is_ascii_digit()).count();
    let letters_first = value.iter().take_while(|c| c.is_ascii_uppercase()).count();
    follows(value, b"99AA99999")
        || digits >= 6 && letters_first + digits == value.len()
        || value.len() == 9 && digits >= 5
}

#[cfg(test)]
mod tests {
    use crate::detect::Type;
    use crate::detect::corpus::{Gen, budget, found};

    fn value(g: &Gen) -> String {
        match g.below(3) {
            0 => g.digits(9),
            1 => format!("{}{}", g.letters("ABCDEFGH", 2), g.digits(7)),
            _ => format!("{}{}{}", g.digits(2), g.letters("ABCDEFGH", 2), g.digits(5)),
        }
    }

    #[test]
    fn numbers_need_a_word() {
        for (text, is_one) in [
            ("passeport n° 12AB34567", true),
            ("passport no. 123456789", true),
            ("passport_number=X1234567", true),
            ("pasaporte AAA123456", true),
            ("12AB34567", false),
            ("passport expired 2024-01-02", false),
        ] {
            assert_eq!(found(text, &[Type::Passport]).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        budget(
            Type::Passport,
            0.98,
            0.95,
            &["passeport {} contrôlé", "{\"passport\":\"{}\"}", "passport_no={} ok", "Passport number: {}"],
            value,
        );
    }
}
