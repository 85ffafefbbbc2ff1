//! Values under keys: structure first. The name of a key (`"nom":`, `siret=`, `<login>`) says what its value is, and the
//! value is then judged by the form of that type alone.

use std::ops::Range;

use super::cue::Key;
use super::lexicon::bit::*;
use super::{Hit, address, digits, dob, form, geo, health, person, phone, token_len, username};

/// Longest value that is read.
const VALUE_MAX: usize = 512;

/// Looks at the value behind the separator at `at` whose key says something.
pub(crate) fn at(text: &str, key: &Key, at: usize) -> Option<Hit> {
    let bytes = text.as_bytes();
    let bits = key.bits;
    if bits & OF_VALUES == 0 {
        return None;
    }
    if bits & OF_VALUES == MAYBE_PERSON && bytes[at] != b'>' && person::is_small(text, at + 1) {
        return None;
    }
    let value = value_of(bytes, at)?;
    let start = value.range.start;
    if token_len(bytes.get(start..)?).is_some() {
        return None;
    }
    if bits & OF_FORMS != 0
        && let Some(hit) = form::under_key(bytes, start, bits)
    {
        return Some(hit);
    }
    if bits & DOB != 0 && bytes.get(start)?.is_ascii_digit() {
        let digits = digits::Digits::read(bytes, start);
        if let Some(hit) = dob::at(bytes, &digits, 0) {
            return Some(hit);
        }
    }
    if bits & GEO != 0
        && let Some(hit) = geo::at(bytes, start + usize::from(matches!(bytes[start], b'-' | b'+')), bits)
    {
        return Some(hit);
    }
    if bits & PHONE_KEY != 0
        && let Some(hit) = phone::under_key(bytes, &value.range)
    {
        return Some(hit);
    }
    if bits & HEALTH_TEXT != 0 && value.quoted {
        return health::text(bytes, value.range);
    }
    if bits & ADDRESS != 0 {
        return if value.quoted { address::under_key(text, value.range) } else { None };
    }
    who(text, key, at, &value)
}

/// What forms judge.
const OF_FORMS: u64 = NIR
    | INS
    | NIF
    | SIRET
    | RPPS
    | ADELI
    | INE
    | NHS
    | NINO
    | SSN
    | NISS
    | IDNR
    | DNI
    | CF
    | VAT
    | LEI
    | IMEI
    | PASSPORT
    | CNI
    | LICENCE
    | PLATE
    | HEALTH;
/// All that is judged here.
const OF_VALUES: u64 = OF_FORMS
    | PERSON
    | MAYBE_PERSON
    | USERNAME
    | MAYBE_USERNAME
    | DOB
    | ADDRESS
    | PHONE_KEY
    | GEO
    | HEALTH_TEXT
    | CARE_ROLE;
/// Shortest name of a field that is a role and nothing else: `ms`, `dr` and `pr` are also other things.
const ROLE_BYTES_MIN: usize = 5;

/// Names of persons and users.
fn who(text: &str, key: &Key, at: usize, value: &Value) -> Option<Hit> {
    let bits = key.bits;
    let spaced = matches!(text.as_bytes().get(at + 1), Some(b' '));
    if bits & (PERSON | MAYBE_PERSON) != 0 {
        // In prose (`nom : introuvable`) any word may follow a colon; a name there has a capital.
        let sure = bits & PERSON != 0
            && (value.quoted
                || key.quoted
                || !spaced
                || key.is_machines(text.as_bytes())
                || starts_high(text, value.range.start));
        if let Some(hit) = person::under_key(text, value.range.clone(), value.quoted, sure, value.in_query) {
            return Some(hit);
        }
    }
    // `"patient":"Dupont"`, as `patient Dupont` in prose: any word with a capital.
    let is_role = bits & CARE_ROLE != 0 && stands_alone(text, key) && key.end - key.start >= ROLE_BYTES_MIN;
    if is_role && (value.quoted || !spaced) && starts_high(text, value.range.start) {
        return person::under_key(text, value.range.clone(), value.quoted, true, value.in_query);
    }
    if bits & (USERNAME | MAYBE_USERNAME) != 0 && key.whole | (bits & USERNAME != 0) {
        let prose = spaced && !value.quoted && !key.quoted;
        if prose && bits & USERNAME == 0 && text.as_bytes().get(at) == Some(&b':') {
            // `user: any word` says little; digits, dots and underscores make it a name.
            let hit = username::at(text.as_bytes(), value.range.clone(), true)?;
            let written = text.get(hit.range.clone())?;
            return written.bytes().any(|b| b.is_ascii_digit() || matches!(b, b'.' | b'_')).then_some(hit);
        }
        return username::at(text.as_bytes(), value.range.clone(), bits & USERNAME == 0);
    }
    None
}

/// Tells whether a key is its word and no more: `patient`, `attributes.patient`, and `-patient` of a question.
fn stands_alone(text: &str, key: &Key) -> bool {
    let before = text.as_bytes().get(..key.start).unwrap_or_default();
    key.whole || matches!(before, [.., b'.'] | [b'-'] | [.., b' ' | b'(', b'-'])
}

fn starts_high(text: &str, at: usize) -> bool {
    text.get(at..)
        .and_then(|rest| rest.chars().next())
        .is_some_and(|c| c.is_uppercase() || c.is_alphabetic() && !c.is_lowercase())
}

/// A value and how it is written.
pub(crate) struct Value {
    pub(crate) range: Range<usize>,
    pub(crate) quoted: bool,
    pub(crate) in_query: bool,
}

/// What ends a value that has no quotes.
static ENDS: [bool; 256] = {
    let mut table = [false; 256];
    let ends = b"&,;\"'<|\n\t})]";
    let mut i = 0;
    while i < ends.len() {
        table[ends[i] as usize] = true;
        i += 1;
    }
    table
};

/// Returns what stands behind the separator at `at`: between quotes, up to the next tag, or up to the end of the word's
/// sentence.
fn value_of(bytes: &[u8], at: usize) -> Option<Value> {
    let separator = bytes[at];
    let mut start = at + 1;
    // `=>`, `: `, `n°`, `#`.
    let spaces = bytes.iter().skip(start).take(4).take_while(|b| matches!(b, b' ' | b'>' | b'=')).count();
    start += spaces;
    if bytes.get(start..start + 3).is_some_and(|b| b == "n°".as_bytes()) {
        start += 3 + usize::from(bytes.get(start + 3) == Some(&b' '));
    }
    let first = *bytes.get(start)?;
    let rest = bytes.get(start..(start + VALUE_MAX).min(bytes.len()))?;
    if matches!(first, b'"' | b'\'' | b'`' | b'[' | b'{' | b'(') {
        // `["Jean"]` holds one; `{"id": 1}` is another map.
        let lead = usize::from(first == b'[' && matches!(rest.get(1), Some(b'"' | b'\'')));
        let quote = *rest.get(lead)?;
        if !matches!(quote, b'"' | b'\'' | b'`') {
            return None;
        }
        let inner = rest.get(lead + 1..)?;
        let len = inner.iter().position(|b| *b == quote || *b == b'\n')?;
        let from = start + lead + 1;
        return (len > 0).then(|| Value { range: from..from + len, quoted: true, in_query: false });
    }
    if separator == b'>' {
        let len = rest.iter().position(|b| *b == b'<')?;
        return (len > 0 && spaces == 0).then(|| Value { range: start..start + len, quoted: true, in_query: false });
    }
    let len = rest.iter().position(|b| ENDS[usize::from(*b)]).unwrap_or(rest.len());
    let mut end = start + len;
    while bytes.get(end).is_some_and(|b| (0x80..0xC0).contains(b)) {
        end -= 1;
    }
    let before = at
        .checked_sub(1)
        .and_then(|_| bytes.get(..at))
        .and_then(|head| head.iter().rposition(|b| matches!(b, b'?' | b'&' | b' ')));
    let in_query = separator == b'=' && before.is_some_and(|i| bytes[i] != b' ');
    (end > start).then_some(Value { range: start..end, quoted: false, in_query })
}

#[cfg(test)]
mod tests {
    use crate::detect::{Type, find};

    #[test]
    fn values_are_found_however_they_are_written() {
        for (text, expected) in [
            ("siret=\"732 829 320 00074\"", "732 829 320 00074"),
            ("{\"siret\": 73282932000074}", "73282932000074"),
            ("<siret>73282932000074</siret>", "73282932000074"),
            ("siret => '73282932000074'", "73282932000074"),
            ("siret : n° 73282932000074", "73282932000074"),
            ("?siret=73282932000074&x=1", "73282932000074"),
            ("{\"nom\":[\"Kowalczyk\"]}", "Kowalczyk"),
            ("?nom=Marie+Kowalczyk&x=1", "Marie+Kowalczyk"),
        ] {
            let hits = find(text);
            let found = hits.first().and_then(|hit| text.get(hit.range.clone()));
            assert_eq!(found, Some(expected), "{text}");
        }
        for text in ["siret=[siret]", "siret=", "nom: {", "siret: abc", "user:", "nom=[1]"] {
            assert!(find(text).is_empty(), "{text}: {:?}", find(text));
        }
    }

    #[test]
    fn a_key_decides_which_type_it_is() {
        for (text, kind) in [
            ("siren=732829320", Type::Siren),
            ("passport=732829320", Type::Passport),
            ("adeli=732829320", Type::Adeli),
            ("ssn=732829320", Type::UsSsn),
        ] {
            assert_eq!(find(text).first().map(|hit| hit.kind), Some(kind), "{text}");
        }
    }
}
