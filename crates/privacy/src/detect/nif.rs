//! French tax identification numbers (NIF, SPI): thirteen digits whose last three are the first ten modulo 511. One number
//! in a thousand passes: strong enough to act alone, but not under a key that names ids of things.

use super::Type;
use super::form::{Chars, Form, digits, number};
use super::lexicon::bit;

pub(crate) static FORM: Form = Form { kind: Type::Nif, cue: bit::NIF, lengths: 13..14, shape, check, alone };

fn shape(value: &[u8]) -> bool {
    matches!(value[0], b'0'..=b'3') && digits(value)
}

fn check(value: &[u8]) -> bool {
    number(&value[..10]) % 511 == number(&value[10..]) && number(&value[..10]) > 0
}

fn alone(chars: &Chars, len: usize) -> bool {
    chars.is_solid(len) || chars.is_grouped(len, &[2, 2, 3, 3, 3])
}

#[cfg(test)]
mod tests {
    use crate::detect::Type;
    use crate::detect::corpus::{Gen, budget, found, grouped};

    fn value(g: &Gen) -> String {
        let body = format!("{}{}", 1 + g.below(3), g.digits(9));
        let key = body.parse::<u64>().expect("digits") % 511;
        grouped(g, &format!("{body}{key:03}"), &[2, 2, 3, 3, 3])
    }

    #[test]
    fn numbers_may_act_alone() {
        for (text, is_one) in [
            ("contribuable 30 23 217 600 053", true),
            ("3023217600053", true),
            ("nif=3023217600054", true),
            ("numéro fiscal 3023217600053", true),
            ("order_id=3023217600053", false),
            ("30 2321 7600053", false),
            ("3023217600054", false),
            ("1732284000000", false),
        ] {
            assert_eq!(found(text, &[Type::Nif]).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        budget(
            Type::Nif,
            0.98,
            0.95,
            &["avis d'imposition de {}", "{\"nif\":\"{}\"}", "numero_fiscal={} ok", "n° fiscal : {}."],
            value,
        );
    }
}
