//! Driving licences: twelve digits in France, sixteen characters in the United Kingdom, about as many elsewhere. Only with a
//! word.

use super::Type;
use super::form::{Form, never, unchecked};
use super::lexicon::bit;

pub(crate) static FORM: Form =
    Form { kind: Type::Licence, cue: bit::LICENCE, lengths: 8..17, shape, check: unchecked, alone: never };

fn shape(value: &[u8]) -> bool {
    value.iter().filter(|c| c.is_ascii_digit()).count() >= 6
}

#[cfg(test)]
mod tests {
    use crate::detect::Type;
    use crate::detect::corpus::{Gen, budget, found};

    fn value(g: &Gen) -> String {
        match g.below(3) {
            0 => format!(
                "{}{}{}{}",
                g.letters("ABCDEFGHLMS", 5),
                g.digits(6),
                g.letters("ABCDEFGH", 2),
                g.digits(1) + &g.letters("ABCDEFGH", 2)
            ),
            1 => format!("{}{}{}", g.digits(2), g.letters("AB", 2), g.digits(5)),
            _ => g.digits(12),
        }
    }

    #[test]
    fn numbers_need_a_word() {
        for (text, is_one) in [
            ("permis de conduire 880692310285", true),
            ("driving licence MORGA657054SM9IJ", true),
            ("driver_license=A1234567", true),
            ("license file loaded", false),
            ("880692310285", false),
        ] {
            assert_eq!(found(text, &[Type::Licence]).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        budget(
            Type::Licence,
            0.98,
            0.95,
            &["permis {} suspendu", "{\"driving_licence\":\"{}\"}", "num_permis={} ok", "permis de conduire : {}"],
            value,
        );
    }
}
