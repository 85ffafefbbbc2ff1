//! Social security numbers of the United States: structure only, so only with a word.

use super::Type;
use super::form::{Form, digits, never};
use super::lexicon::bit;

pub(crate) static FORM: Form =
    Form { kind: Type::UsSsn, cue: bit::SSN, lengths: 9..10, shape: digits, check, alone: never };

/// Area, group and serial are not zero; areas 666 and from 900 on are not given out (from 900 on they are ITINs).
fn check(value: &[u8]) -> bool {
    &value[..3] != b"000" && &value[..3] != b"666" && &value[3..5] != b"00" && &value[5..] != b"0000"
}

#[cfg(test)]
mod tests {
    use crate::detect::Type;
    use crate::detect::corpus::{Gen, budget, found, grouped};

    fn value(g: &Gen) -> String {
        grouped(g, &format!("{}{}{}", 100 + g.below(500), 10 + g.below(89), 1000 + g.below(8999)), &[3, 2, 4])
    }

    #[test]
    fn numbers_need_a_word() {
        for (text, is_one) in [
            ("SSN 123-45-6789", true),
            ("social security number: 123456789", true),
            ("ssn=123 45 6789", true),
            ("SSN 000-45-6789", false),
            ("123-45-6789", false),
        ] {
            assert_eq!(found(text, &[Type::UsSsn]).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        budget(
            Type::UsSsn,
            0.98,
            0.95,
            &["SSN {} verified", "{\"ssn\":\"{}\"}", "ssn={} ok", "Social Security Number: {}"],
            value,
        );
    }
}
