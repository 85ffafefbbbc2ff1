//! Numbers of mobile devices (IMEI, IMEISV): fifteen digits with Luhn, or sixteen without; only with a word.

use super::Type;
use super::digits::luhn;
use super::form::{Form, digits, never};
use super::lexicon::bit;

pub(crate) static FORM: Form = Form {
    kind: Type::Imei,
    cue: bit::IMEI,
    lengths: 15..17,
    shape: digits,
    check: |value| value.len() == 16 || luhn(value),
    alone: never,
};

#[cfg(test)]
mod tests {
    use crate::detect::Type;
    use crate::detect::corpus::{Gen, budget, found, grouped, luhn_end};

    fn value(g: &Gen) -> String {
        grouped(g, &luhn_end(&format!("35{}", g.digits(12))), &[2, 6, 6, 1])
    }

    #[test]
    fn numbers_need_a_word_and_a_check() {
        for (text, is_one) in [
            ("IMEI 49-015420-323751-8", true),
            ("imei=490154203237519", true),
            ("IMEI 490154203237519", false),
            ("490154203237518", false),
        ] {
            assert_eq!(found(text, &[Type::Imei]).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        budget(
            Type::Imei,
            0.98,
            0.95,
            &["IMEI {} bloqué", "{\"imei\":\"{}\"}", "device_imei={} ok", "imei: {}"],
            value,
        );
    }
}
