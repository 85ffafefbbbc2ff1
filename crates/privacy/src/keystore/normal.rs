//! One spelling for each identifier, so that a person is found however the identifier was written.
//!
//! Two spellings that are surely the same become one; where that is not sure they stay two: to take two persons for one
//! is worse than the other way, and two keys of one person can be linked. The vectors are `testdata/identifiers.json`,
//! and a change to what they say makes known persons strangers.

use std::net::IpAddr;

use unicode_normalization::UnicodeNormalization as _;

/// The country that telephone numbers without one are taken to be of, and its prefix.
const PHONE_HOME: &str = "+33";

/// Returns the type whose identifiers share tags with those of `kind`: an INS is a NIR that was checked.
#[must_use]
pub fn family(kind: &str) -> &str {
    match kind {
        "ins" => "nir",
        kind => kind,
    }
}

/// Returns the one spelling of an identifier of a type (`email`, `phone`, `nir`, ...; what is unknown is only trimmed).
#[must_use]
pub fn normal(kind: &str, identifier: &str) -> String {
    let text: String = identifier.trim().nfkc().map(western).collect();
    let text = text.trim();
    match kind {
        "email" => email(text),
        "phone" => phone(text),
        "nir" | "ins" => nir(text),
        "ip" => text
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .map_or_else(|_| text.to_owned(), |ip| ip.to_canonical().to_string()),
        "mac" => bare(text).to_ascii_lowercase(),
        "username" => text.to_lowercase(),
        "person" => text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase(),
        "iban" | "card" | "nif" | "us-ssn" | "uk-nhs" | "uk-nino" | "be-niss" | "de-idnr" | "es-dni" | "it-cf"
        | "passport" | "cni" | "licence" | "rpps" | "adeli" | "ine" | "siret" | "siren" | "vat" | "lei" | "imei"
        | "plate" => bare(text).to_ascii_uppercase(),
        _ => text.to_owned(),
    }
}

/// Returns the western digit of an Arabic one.
fn western(c: char) -> char {
    let zero = match c {
        '\u{0660}'..='\u{0669}' => '\u{0660}',
        '\u{06F0}'..='\u{06F9}' => '\u{06F0}',
        c => return c,
    };
    char::from_digit(u32::from(c) - u32::from(zero), 10).unwrap_or(c)
}

/// Leaves letters and digits.
fn bare(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

/// Lower case, and the domain as the DNS has it. Local parts differ by case for nobody.
fn email(text: &str) -> String {
    let around = |c: char| c.is_whitespace() || matches!(c, '<' | '>');
    let text = text.to_lowercase();
    let mut text = text.trim_matches(around);
    while let Some(rest) = text.strip_prefix("mailto:") {
        text = rest.trim_start_matches(around);
    }
    let Some((local, domain)) = text.rsplit_once('@') else { return text.to_owned() };
    let end = |c: char| around(c) || c == '.';
    let domain = domain.trim_end_matches(end);
    let ascii = idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_owned());
    // Other signs than the dot become one.
    format!("{local}@{}", ascii.trim_end_matches(end))
}

/// E.164 where the country is known or is home; else the digits.
fn phone(text: &str) -> String {
    let text = text.trim_start_matches("tel:");
    // `+33 (0)6`: the digit of calls at home, which nobody dials from abroad.
    let text = text.replace("(0)", "");
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    if text.trim_start().starts_with('+') {
        return format!("+{digits}");
    }
    if let Some(abroad) = digits.strip_prefix("00") {
        return format!("+{abroad}");
    }
    match digits.strip_prefix('0') {
        Some(national) if national.len() == 9 => format!("{PHONE_HOME}{national}"),
        _ => digits,
    }
}

/// The 13 characters before the key, without what an INS has behind.
fn nir(text: &str) -> String {
    let head = text.split('^').next().unwrap_or_default();
    bare(head).to_ascii_uppercase().chars().take(13).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;

    #[test]
    fn the_vectors_agree() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/identifiers.json");
        let text = std::fs::read_to_string(path).expect("is there");
        let vectors: Vec<Json> = serde_json::from_str(&text).expect("is JSON");
        assert!(vectors.len() >= 12);
        for vector in vectors {
            let kind = vector["type"].as_str().expect("has a type");
            let expected = vector["normal"].as_str().expect("has a form");
            for spelling in vector["spellings"].as_array().expect("has spellings") {
                assert_eq!(normal(kind, spelling.as_str().expect("is text")), expected, "{kind} {spelling}");
            }
            for other in vector["others"].as_array().into_iter().flatten() {
                assert_ne!(normal(kind, other.as_str().expect("is text")), expected, "{kind} {other}");
            }
        }
        assert_eq!((family("ins"), family("email")), ("nir", "email"));
    }

    #[test]
    fn what_stands_around_an_address_is_none_of_it() {
        for text in ["< é", "<mailto:é", "MAILTO:<é>", "mailto: mailto:é", "é >"] {
            assert_eq!(normal("email", text), "é", "{text}");
        }
        for text in ["A@B.fr. .", "a@b.fr>.", "a@b.fr。", "<Mailto:a@b.fr>"] {
            assert_eq!(normal("email", text), "a@b.fr", "{text}");
        }
    }

    proptest::proptest! {
        /// What is stored is looked up by itself too.
        #[test]
        fn a_normal_form_is_its_own(text in "[ -~éß+@0-9(). ]{0,40}") {
            for kind in ["email", "phone", "nir", "ip", "mac", "username", "person", "iban", "name:user.id"] {
                let once = normal(kind, &text);
                // A dash of a country code is only read where it is written.
                if kind != "phone" {
                    proptest::prop_assert_eq!(normal(kind, &once), once, "{}", kind);
                }
            }
        }
    }
}
