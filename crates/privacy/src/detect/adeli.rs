//! Numbers of French health professionals in the older directory (ADELI): department, seven digits, Luhn; only with a word.

use super::Type;
use super::digits::luhn;
use super::form::{Form, digits, never};
use super::lexicon::bit;

pub(crate) static FORM: Form = Form {
    kind: Type::Adeli,
    cue: bit::ADELI,
    lengths: 9..10,
    shape: |value| digits(value) || matches!(&value[..2], b"2A" | b"2B") && digits(&value[2..]),
    // Corsica's letter has no place in Luhn's sum, and its numbers are too few to learn the rule from.
    check: |value| !digits(value) || luhn(value),
    alone: never,
};

#[cfg(test)]
mod tests {
    use crate::detect::Type;
    use crate::detect::corpus::{Gen, budget, found, grouped, luhn_end};

    fn value(g: &Gen) -> String {
        let number = if g.below(10) == 0 {
            format!("2A9{}", g.digits(6))
        } else {
            luhn_end(&format!("{:02}9{}", 1 + g.below(95), g.digits(5)))
        };
        grouped(g, &number, &[2, 1, 5, 1])
    }

    #[test]
    fn numbers_need_a_word_and_a_check() {
        for (text, is_one) in [
            ("ADELI 759300015", true),
            ("adeli: 2A9300012", true),
            ("infirmière, n° ADELI 2A9300012", true),
            ("ADELI 759300016", false),
            ("759300015", false),
        ] {
            assert_eq!(found(text, &[Type::Adeli]).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        budget(
            Type::Adeli,
            0.98,
            0.95,
            &["numéro ADELI {} actif", "{\"adeli\":\"{}\"}", "adeli={} ok", "ADELI : {}"],
            value,
        );
    }
}
