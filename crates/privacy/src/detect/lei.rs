//! Legal entity identifiers (LEI, ISO 17442): twenty characters, modulo 97. With the two zeros that most issuers set one acts
//! alone, else with a word.

use super::form::{Chars, Form};
use super::lexicon::bit;
use super::{Type, iban};

pub(crate) static FORM: Form = Form { kind: Type::Lei, cue: bit::LEI, lengths: 20..21, shape, check, alone };

fn shape(value: &[u8]) -> bool {
    value[18..].iter().all(u8::is_ascii_digit) && value.iter().any(u8::is_ascii_uppercase)
}

fn check(value: &[u8]) -> bool {
    // The registry computes over the number as written; `mod_97` moves the first four to the end.
    let turned: Vec<u8> = value[16..].iter().chain(&value[..16]).copied().collect();
    iban::mod_97(&turned) == 1
}

fn alone(chars: &Chars, len: usize) -> bool {
    chars.is_solid(len) && chars.has(4, b"00")
}

#[cfg(test)]
mod tests {
    use crate::detect::Type;
    use crate::detect::corpus::{Gen, budget, found};

    fn value(g: &Gen) -> String {
        let body = format!("{}00{}", g.digits(4), g.letters("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789", 12));
        let turned = format!("00{body}");
        let rest = turned.bytes().skip(2).chain(*b"00").fold(0_u32, |rest, c| match c {
            b'0'..=b'9' => (rest * 10 + u32::from(c - b'0')) % 97,
            c => (rest * 100 + u32::from(c - b'A') + 10) % 97,
        });
        format!("{body}{:02}", 98 - rest)
    }

    #[test]
    fn identifiers_are_told_by_their_check() {
        for (text, is_one) in [
            ("entity 969500T7UZ3TO6LUAT94", false),
            ("LEI 7LTWFZYICNSX8D621K86", true),
            ("7LTWFZYICNSX8D621K86", false),
            ("lei: 7LTWFZYICNSX8D621K87", true),
        ] {
            assert_eq!(found(text, &[Type::Lei]).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        budget(Type::Lei, 0.98, 0.95, &["counterparty {} accepted", "{\"lei\":\"{}\"}", "lei={} ok", "LEI: {}"], value);
    }
}
