//! Numbers of French health professionals in the shared directory (RPPS): eleven digits, Luhn; only with a word.

use super::Type;
use super::digits::luhn;
use super::form::{Form, digits, never};
use super::lexicon::bit;

pub(crate) static FORM: Form =
    Form { kind: Type::Rpps, cue: bit::RPPS, lengths: 11..12, shape: digits, check: luhn, alone: never };

#[cfg(test)]
mod tests {
    use crate::detect::Type;
    use crate::detect::corpus::{Gen, budget, found, grouped, luhn_end};

    fn value(g: &Gen) -> String {
        grouped(g, &luhn_end(&format!("10{}", g.digits(8))), &[2, 3, 3, 3])
    }

    #[test]
    fn numbers_need_a_word_and_a_check() {
        for (text, is_one) in [
            ("RPPS 10003456786", true),
            ("rpps=10003456787", true),
            ("Dr Martin (RPPS : 10003456786)", true),
            ("RPPS 10003456787", false),
            ("10003456786", false),
        ] {
            assert_eq!(found(text, &[Type::Rpps]).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        budget(
            Type::Rpps,
            0.98,
            0.95,
            &["n° RPPS {} validé", "{\"rpps\":\"{}\"}", "prescripteur {} connu", "id_rpps={}"],
            value,
        );
    }
}
