//! VAT numbers of the European Union: country and body. The French, whose key is checked over a number that Luhn holds, act
//! alone; the others need a word.

use super::Type;
use super::digits::luhn;
use super::form::{Form, digits, number};
use super::lexicon::bit;

pub(crate) static FORM: Form = Form {
    kind: Type::Vat,
    cue: bit::VAT,
    lengths: 10..15,
    shape,
    check,
    alone: |chars, len| {
        len == 13
            && (chars.is_solid(len)
                || chars.is_grouped(len, &[2, 2, 3, 3, 3])
                || chars.is_grouped(len, &[4, 3, 3, 3])
                || chars.is_grouped(len, &[4, 9]))
    },
};

fn shape(value: &[u8]) -> bool {
    let (country, body) = value.split_at(2);
    let numeric = digits(body);
    match (country, body.len()) {
        (b"FR", 11) => digits(&body[2..]),
        (b"DE" | b"PT" | b"EL" | b"EE", 9) | (b"BE" | b"PL" | b"SK", 10) | (b"IT" | b"HR" | b"LV", 11) => numeric,
        (b"LU" | b"DK" | b"FI" | b"HU" | b"MT" | b"SI" | b"CZ", 8) | (b"SE", 12) => numeric,
        (b"ES", 9) => digits(&body[1..8]),
        (b"NL", 12) => body[9] == b'B',
        (b"AT", 9) => body[0] == b'U' && digits(&body[1..]),
        (b"IE", 8 | 9) => body[0].is_ascii_digit(),
        (b"GB", 9) | (b"CY", 9) | (b"BG", 9 | 10) | (b"RO", 8..=10) | (b"LT", 9 | 12) => digits(&body[..8]),
        _ => false,
    }
}

/// The checks of countries whose rule is a line; the others' structure is taken at its word.
fn check(value: &[u8]) -> bool {
    let (country, body) = value.split_at(2);
    match country {
        b"FR" if digits(body) => {
            let siren = number(&body[2..]);
            luhn(&body[2..]) && number(&body[..2]) == (12 + 3 * (siren % 97)) % 97
        }
        b"FR" => luhn(&body[2..]),
        b"BE" => 97 - number(&body[..8]) % 97 == number(&body[8..]),
        b"LU" => number(&body[..6]) % 89 == number(&body[6..]),
        b"IT" => luhn(body),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use crate::detect::Type;
    use crate::detect::corpus::{Gen, budget, found, luhn_end};

    fn value(g: &Gen) -> String {
        match g.below(4) {
            0 => format!("DE{}", g.digits(9)),
            1 => format!("ATU{}", g.digits(8)),
            2 => {
                let body = format!("0{}", 1_000_000 + g.below(8_000_000));
                format!("BE{body}{:02}", 97 - body.parse::<u64>().expect("digits") % 97)
            }
            _ => {
                let siren = luhn_end(&format!("{}{}", 3 + g.below(6), g.digits(7)));
                let key = (12 + 3 * (siren.parse::<u64>().expect("digits") % 97)) % 97;
                format!("FR{key:02}{siren}")
            }
        }
    }

    #[test]
    fn numbers_need_a_word_or_the_french_key() {
        for (text, is_one) in [
            ("facture FR44732829320", true),
            ("TVA FR 44 732 829 320", true),
            ("vat=DE123456789", true),
            ("USt-IdNr. DE123456789", true),
            ("FR45732829320", false),
            ("DE123456789", false),
        ] {
            assert_eq!(found(text, &[Type::Vat]).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        budget(
            Type::Vat,
            0.98,
            0.95,
            &["n° TVA {} vérifié", "{\"vat_number\":\"{}\"}", "tva_intracom={} ok", "VAT: {}"],
            value,
        );
    }
}
