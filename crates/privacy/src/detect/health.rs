//! Health codes (ICD-10, CIM-10) with a word such as `diagnostic`, and what stands under keys that name an illness.

use std::ops::Range;

use super::form::{Form, never, unchecked};
use super::lexicon::bit;
use super::{Hit, Type};

pub(crate) static FORM: Form =
    Form { kind: Type::Health, cue: bit::HEALTH, lengths: 3..7, shape, check: unchecked, alone: never };

/// A letter, two digits (the second may be A or B), up to four more.
fn shape(value: &[u8]) -> bool {
    value[0].is_ascii_uppercase()
        && value[1].is_ascii_digit()
        && (value[2].is_ascii_digit() || matches!(value[2], b'A' | b'B'))
        && value[3..].iter().all(|c| c.is_ascii_digit() || matches!(c, b'A'..=b'H' | b'X'))
}

/// Looks at the value between quotes under a key that names an illness, an allergy, a blood group.
pub(crate) fn text(bytes: &[u8], value: Range<usize>) -> Option<Hit> {
    let inner = bytes.get(value.clone())?;
    (inner.len() >= 2 && inner.iter().any(u8::is_ascii_alphabetic)).then(|| Hit::new(value, Type::Health))
}

#[cfg(test)]
mod tests {
    use crate::detect::Type;
    use crate::detect::corpus::{Gen, budget, found};

    fn value(g: &Gen) -> String {
        let code = format!("{}{}", g.letters("ABCEFGHIJKLMNZ", 1), g.digits(2));
        if g.below(3) == 0 { code } else { format!("{code}.{}", g.below(10)) }
    }

    #[test]
    fn codes_need_a_word() {
        for (text, is_one) in [
            ("diagnostic E11.9 posé", true),
            ("CIM-10 : F32.1", true),
            ("icd10=J45", true),
            ("{\"pathologie\":\"asthme sévère\"}", true),
            ("E11.9", false),
            ("error E42 in module", false),
        ] {
            assert_eq!(found(text, &[Type::Health]).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        budget(
            Type::Health,
            0.98,
            0.95,
            &["diagnostic {} confirmé", "{\"icd10\":\"{}\"}", "code_cim={} ok", "Diagnosis: {}"],
            value,
        );
    }
}
