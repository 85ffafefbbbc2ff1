//! Identity cards: twelve digits, or nine letters and digits since 2021 in France; about the same elsewhere. There is no
//! check in the number itself, so only with a word.

use super::Type;
use super::form::{Form, digits, never, unchecked};
use super::lexicon::bit;

pub(crate) static FORM: Form =
    Form { kind: Type::Cni, cue: bit::CNI, lengths: 8..13, shape, check: unchecked, alone: never };

fn shape(value: &[u8]) -> bool {
    let numbers = value.iter().filter(|c| c.is_ascii_digit()).count();
    match value.len() {
        12 => numbers >= 10,
        9 => numbers >= 2 && !value[..4].iter().all(u8::is_ascii_digit) || digits(value),
        _ => numbers >= 6 && numbers + 3 >= value.len(),
    }
}

#[cfg(test)]
mod tests {
    use crate::detect::Type;
    use crate::detect::corpus::{Gen, budget, found};

    fn value(g: &Gen) -> String {
        match g.below(2) {
            0 => g.digits(12),
            _ => format!(
                "{}{}{}{}",
                g.letters("CDFGHJKLMNPRTVWXYZ", 1),
                g.digits(1),
                g.letters("CDFGHJKLMNPRTVWXYZ", 3),
                g.letters("CDFGHJKLMNPRTVWXYZ0123456789", 3) + &g.digits(1)
            ),
        }
    }

    #[test]
    fn numbers_need_a_word() {
        for (text, is_one) in [
            ("CNI n° 880692310285", true),
            ("carte d'identité X4RTBPFW4", true),
            ("id_card=D2H6862M2", true),
            ("pièce d'identité : 880692310285", true),
            ("880692310285", false),
            ("identity server started", false),
        ] {
            assert_eq!(found(text, &[Type::Cni]).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        budget(
            Type::Cni,
            0.98,
            0.95,
            &["CNI {} valide", "{\"cni\":\"{}\"}", "numero_cni={} ok", "carte d'identité : {}"],
            value,
        );
    }
}
