//! French establishment (SIRET) and company (SIREN) numbers: Luhn, which one time stamp of ten passes, so only with a word.

use super::Type;
use super::digits::luhn;
use super::form::{Form, digits, never};
use super::lexicon::bit;

pub(crate) static SIRET: Form =
    Form { kind: Type::Siret, cue: bit::SIRET, lengths: 14..15, shape: digits, check: siret, alone: never };

pub(crate) static SIREN: Form =
    Form { kind: Type::Siren, cue: bit::SIRET, lengths: 9..10, shape: digits, check: luhn, alone: never };

/// `RCS Paris B 123 456 789` and `B123456789`.
pub(crate) static RCS: Form = Form {
    kind: Type::Siren,
    cue: bit::SIRET,
    lengths: 10..11,
    shape: |value| matches!(value[0], b'A'..=b'D') && digits(&value[1..]),
    check: |value| luhn(&value[1..]),
    alone: never,
};

/// The offices of La Poste have a sum of digits divisible by five in place of Luhn's check.
fn siret(value: &[u8]) -> bool {
    luhn(value)
        || value.starts_with(b"356000000") && value.iter().map(|d| u32::from(d - b'0')).sum::<u32>().is_multiple_of(5)
}

#[cfg(test)]
mod tests {
    use crate::detect::Type;
    use crate::detect::corpus::{Gen, budget, found, grouped, luhn_end};

    fn value(g: &Gen) -> String {
        let siren = luhn_end(&format!("{}{}", 3 + g.below(6), g.digits(7)));
        grouped(g, &luhn_end(&format!("{siren}000{}", 1 + g.below(9))), &[3, 3, 3, 5])
    }

    #[test]
    fn numbers_need_a_word_and_a_check() {
        for (text, kind) in [
            ("SIRET 732 829 320 00074", Some(Type::Siret)),
            ("siret=73282932000074", Some(Type::Siret)),
            ("siret=73282932000075", Some(Type::Siret)),
            ("SIRET 73282932000075", None),
            ("La Poste, établissement 35600000049837", Some(Type::Siret)),
            ("SIREN : 732 829 320", Some(Type::Siren)),
            ("RCS Paris B 732 829 320", Some(Type::Siren)),
            ("73282932000074", None),
            ("backup 20240102123456", None),
        ] {
            assert_eq!(found(text, &[Type::Siret, Type::Siren]), kind, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        budget(
            Type::Siret,
            0.98,
            0.95,
            &["siret: {}", "\"siret\":\"{}\"", "immatriculé au RCS sous le SIRET {} depuis 2019", "num_siret={} ok"],
            value,
        );
    }
}
