//! German tax identification numbers (IdNr): eleven digits, ISO 7064 MOD 11,10; only with a word.

use super::Type;
use super::form::{Form, digits, never};
use super::lexicon::bit;

pub(crate) static FORM: Form = Form {
    kind: Type::DeIdnr,
    cue: bit::IDNR,
    lengths: 11..12,
    shape: |value| value[0] != b'0' && digits(value),
    check: |value| key(&value[..10]) == u32::from(value[10] - b'0'),
    alone: never,
};

fn key(body: &[u8]) -> u32 {
    let rest = body.iter().fold(10, |product, digit| {
        let sum = (u32::from(digit - b'0') + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - rest) % 10
}

#[cfg(test)]
mod tests {
    use crate::detect::Type;
    use crate::detect::corpus::{Gen, budget, found, grouped};

    fn value(g: &Gen) -> String {
        let body = format!("{}{}", 1 + g.below(9), g.digits(9));
        grouped(g, &format!("{body}{}", super::key(body.as_bytes())), &[2, 3, 3, 3])
    }

    #[test]
    fn numbers_need_a_word_and_a_check() {
        for (text, is_one) in [
            ("IdNr 86095742719", true),
            ("steuer_id=86095742718", true),
            ("Steuer-ID: 86 095 742 719", true),
            ("IdNr 86095742718", false),
            ("86095742719", false),
        ] {
            assert_eq!(found(text, &[Type::DeIdnr]).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        budget(
            Type::DeIdnr,
            0.98,
            0.95,
            &["Steueridentifikationsnummer {} gemeldet", "{\"idnr\":\"{}\"}", "steuer_id={} ok", "IdNr: {}"],
            value,
        );
    }
}
