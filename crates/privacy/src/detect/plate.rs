//! Licence plates: the French system since 2009 (`AB-123-CD`) and the one before, British ones, and what stands under a key
//! that names a plate. Ids of things look the same, so only with a word.

use super::Type;
use super::form::{Form, follows, never, unchecked};
use super::lexicon::bit;

pub(crate) static SIV: Form =
    Form { kind: Type::Plate, cue: bit::PLATE, lengths: 7..8, shape: siv, check: unchecked, alone: never };

/// Until 2009: up to four digits, up to three letters, the department.
pub(crate) static FNI: Form =
    Form { kind: Type::Plate, cue: bit::PLATE, lengths: 5..10, shape: fni, check: unchecked, alone: never };

pub(crate) static UK: Form = Form {
    kind: Type::Plate,
    cue: bit::PLATE,
    lengths: 7..8,
    shape: |value| follows(value, b"AA99AAA"),
    check: unchecked,
    alone: never,
};

/// `B-MW 1234`, `1-ABC-234`, `1234 BCD`: other countries.
pub(crate) static OTHER: Form =
    Form { kind: Type::Plate, cue: bit::PLATE, lengths: 6..9, shape: other, check: unchecked, alone: never };

fn siv(value: &[u8]) -> bool {
    // I, O and U are not given out; they are taken all the same, since they are written in error.
    follows(value, b"AA999AA")
}

fn fni(value: &[u8]) -> bool {
    let lead = value.iter().take_while(|c| c.is_ascii_digit()).count();
    let rest = value.get(lead..).unwrap_or_default();
    let letters = rest.iter().take_while(|c| c.is_ascii_uppercase()).count();
    let tail = rest.get(letters..).unwrap_or_default();
    let department = match tail {
        [b'2', b'A' | b'B'] => true,
        _ => matches!(tail.len(), 2 | 3) && tail.iter().all(u8::is_ascii_digit),
    };
    (1..=4).contains(&lead) && (1..=3).contains(&letters) && department
}

fn other(value: &[u8]) -> bool {
    let digits = value.iter().filter(|c| c.is_ascii_digit()).count();
    let letters = value.len() - digits;
    let changes = value.windows(2).filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit()).count();
    (3..=4).contains(&digits) && (2..=5).contains(&letters) && changes <= 2
}

#[cfg(test)]
mod tests {
    use crate::detect::Type;
    use crate::detect::corpus::{Gen, budget, found};

    fn value(g: &Gen) -> String {
        let letters = |len| g.letters("ABCDEFGHJKLMNPQRSTVWXYZ", len);
        match g.below(4) {
            0 => format!("{}{}{}", letters(2), g.digits(3), letters(2)),
            1 => format!("{} {} {}", letters(2), g.digits(3), letters(2)),
            2 => format!("{} {} {:02}", 100 + g.below(899), letters(3), 1 + g.below(95)),
            _ => format!("{}-{}-{}", letters(2), g.digits(3), letters(2)),
        }
    }

    #[test]
    fn plates_need_a_word() {
        for (text, is_one) in [
            ("véhicule AB-123-CD entré", true),
            ("plaque AB 123 CD", true),
            ("immatriculé ab123cd", true),
            ("immat=1234 AB 75", true),
            ("immatriculé 1234 AB 75", true),
            ("plate: AB12 CDE", true),
            ("license_plate=1ABC234", true),
            ("AB-123-CD", false),
            ("rack AB-123-CD offline", false),
        ] {
            assert_eq!(found(text, &[Type::Plate]).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        budget(
            Type::Plate,
            0.98,
            0.95,
            &["véhicule {} verbalisé", "{\"plaque\":\"{}\"}", "plate={} ok", "immatriculation : {}"],
            value,
        );
    }
}
