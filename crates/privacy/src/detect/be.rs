//! Belgian national numbers (NISS, INSZ): a birth date, a counter, and 97 minus both modulo 97. With dots and dash as they
//! are printed one acts alone, else with a word.

use super::Type;
use super::form::{Form, digits, number};
use super::lexicon::bit;

pub(crate) static FORM: Form = Form {
    kind: Type::BeNiss,
    cue: bit::NISS,
    lengths: 11..12,
    shape: digits,
    check,
    alone: |chars, len| chars.is_grouped(len, &[2, 2, 2, 3, 2]),
};

fn check(value: &[u8]) -> bool {
    let (body, key) = (number(&value[..9]), number(&value[9..]));
    let (month, day) = (number(&value[2..4]), number(&value[4..6]));
    let dated = month % 20 <= 12 && month < 53 && day <= 31;
    dated && (97 - body % 97 == key || 97 - (2_000_000_000 + body) % 97 == key)
}

#[cfg(test)]
mod tests {
    use crate::detect::Type;
    use crate::detect::corpus::{Gen, budget, found};

    fn value(g: &Gen) -> String {
        let body = format!("{}{:02}{:02}{:03}", 40 + g.below(59), 1 + g.below(12), 1 + g.below(28), 1 + g.below(997));
        let key = 97 - body.parse::<u64>().expect("digits") % 97;
        match g.below(2) {
            0 => {
                let (year, rest) = body.split_at(2);
                let (month, rest) = rest.split_at(2);
                let (day, rest) = rest.split_at(2);
                format!("{year}.{month}.{day}-{rest}.{key:02}")
            }
            _ => format!("{body}{key:02}"),
        }
    }

    #[test]
    fn numbers_need_their_dots_or_a_word() {
        for (text, is_one) in [
            ("85.07.30-033.28", true),
            ("niss 85073003328", true),
            ("niss: 85073003329", true),
            ("85073003328", false),
            ("NISS 85073003329", false),
        ] {
            assert_eq!(found(text, &[Type::BeNiss]).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        budget(
            Type::BeNiss,
            0.98,
            0.95,
            &["registre national {} trouvé", "{\"niss\":\"{}\"}", "rijksregisternummer: {}", "niss={} ok"],
            value,
        );
    }
}
