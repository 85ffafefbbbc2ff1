//! French national student identifiers (INE): ten digits and a letter, nine digits and two letters, or the form of
//! apprentices; no check that is published, so only with a word.

use super::Type;
use super::form::{Form, follows, never, unchecked};
use super::lexicon::bit;

pub(crate) static FORM: Form =
    Form { kind: Type::Ine, cue: bit::INE, lengths: 11..12, shape, check: unchecked, alone: never };

fn shape(value: &[u8]) -> bool {
    follows(value, b"9999999999A")
        || follows(value, b"999999999AA")
        || follows(value, b"9999A99999A")
        || follows(value, b"A9999999999")
        || follows(value, b"99AA9999999")
        || value.iter().filter(|c| c.is_ascii_digit()).count() >= 8
}

#[cfg(test)]
mod tests {
    use crate::detect::Type;
    use crate::detect::corpus::{Gen, budget, found};

    fn value(g: &Gen) -> String {
        match g.below(3) {
            0 => format!("{}{}", g.digits(10), g.letters("ABCDEFGHJKLMN", 1)),
            1 => format!("{}{}", g.digits(9), g.letters("ABCDEFGHJKLMN", 2)),
            _ => format!("{}A{}{}", g.digits(4), g.digits(5), g.letters("ABCDEFGHJKLMN", 1)),
        }
    }

    #[test]
    fn identifiers_need_a_word() {
        for (text, is_one) in [
            ("INE 1234567890A", true),
            ("élève, n° INE : 123456789AB", true),
            ("{\"ine\":\"0123A45678B\"}", true),
            ("1234567890A", false),
            ("machine 1234567890A", false),
        ] {
            assert_eq!(found(text, &[Type::Ine]).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        budget(
            Type::Ine,
            0.98,
            0.95,
            &["INE {} inscrit en L2", "{\"num_ine\":\"{}\"}", "ine={} ok", "numéro INE : {}"],
            value,
        );
    }
}
