//! What the words around a number say it is: a checksum alone misleads, and a key name decides.

use std::ops::Range;

/// How far back a cue may stand.
const REACH: usize = 40;

/// Returns up to [`REACH`] bytes before `at` on the same line, in lower case, accents of French dropped.
fn before(bytes: &[u8], at: usize) -> String {
    let from = at.saturating_sub(REACH);
    let window = bytes.get(from..at).unwrap_or_default();
    let window = window.rsplit(|b| *b == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(window)
        .chars()
        .flat_map(char::to_lowercase)
        .map(|c| match c {
            'é' | 'è' | 'ê' | 'ë' => 'e',
            'à' | 'â' => 'a',
            'ó' => 'o',
            'ú' => 'u',
            _ => c,
        })
        .collect()
}

/// Tells whether one of `words` stands within reach before `at`, alone or in the plural: `install` is not `ins`.
pub(crate) fn precedes(bytes: &[u8], at: usize, words: &[&str]) -> bool {
    let window = before(bytes, at);
    words.iter().any(|word| {
        window.match_indices(word).any(|(i, _)| {
            let head = window.get(..i).and_then(|head| head.chars().next_back());
            let tail = window.get(i + word.len()..).unwrap_or_default();
            let tail = tail.strip_prefix('s').unwrap_or(tail).chars().next();
            !head.is_some_and(char::is_alphanumeric) && !tail.is_some_and(char::is_alphabetic)
        })
    })
}

/// Returns where the key stands whose value starts at `at`: `key=`, `"key": "`, `key : `, `key #`; `None` where none does.
pub(crate) fn key(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let mut end = skip_back(bytes, at, |b| matches!(b, b'"' | b'\'' | b' ' | b'+' | b'('));
    if end == 0 || !matches!(bytes[end - 1], b'=' | b':' | b'#') {
        return None;
    }
    end -= 1;
    end = skip_back(bytes, end, |b| matches!(b, b'"' | b'\'' | b' ' | b'\\'));
    let start = skip_back(bytes, end, |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.') || b >= 0x80);
    (start < end).then_some(start..end)
}

fn skip_back(bytes: &[u8], from: usize, skip: impl Fn(u8) -> bool) -> usize {
    let mut at = from;
    while at > 0 && from - at < 64 && skip(bytes[at - 1]) {
        at -= 1;
    }
    at
}

/// Words of keys and prose whose numbers are ids of things, not of persons.
const ID_WORDS: [&str; 40] = [
    "order",
    "commande",
    "ticket",
    "invoice",
    "facture",
    "trace",
    "span",
    "request",
    "session",
    "tracking",
    "colis",
    "parcel",
    "sku",
    "ean",
    "gtin",
    "isbn",
    "barcode",
    "imei",
    "serial",
    "seq",
    "offset",
    "timestamp",
    "time",
    "nonce",
    "epoch",
    "commit",
    "build",
    "transaction",
    "txn",
    "batch",
    "job",
    "version",
    "hash",
    "uuid",
    "guid",
    "correlation",
    "message",
    "event",
    "ref",
    "siret",
];

/// Tells whether the value at `at` belongs to a key that names ids: `order_id=`, `"traceId":`, `ref #`, or follows
/// such a word closely (`order 4111…`).
pub(crate) fn names_an_id(bytes: &[u8], at: usize) -> bool {
    if let Some(key) = key(bytes, at) {
        let name = bytes.get(key).unwrap_or_default().to_ascii_lowercase();
        let name = String::from_utf8_lossy(&name);
        let last = name.rsplit(['_', '-', '.']).next().unwrap_or_default();
        return last == "id"
            || last == "ids"
            || (name.len() > 3 && name.ends_with("id") && !name.ends_with("paid"))
            || ID_WORDS.iter().any(|word| name.contains(word));
    }
    let window = before(bytes, at);
    let mut words = window.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).rev();
    words.by_ref().take(2).any(|word| word == "id" || ID_WORDS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_front_of_their_value() {
        for (text, expected) in [
            ("order_id=4", Some("order_id")),
            (r#"{"a.b": "4"#, Some("a.b")),
            ("téléphone : 4", Some("téléphone")),
            ("no key 4", None),
            (": 4", None),
            ("", None),
        ] {
            let at = text.len().saturating_sub(1);
            let found = key(text.as_bytes(), at).and_then(|range| text.get(range));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn ids_are_told_by_key_or_word() {
        for (text, id) in [
            ("order_id=4", true),
            ("traceId: 4", true),
            ("commande n° 4", true),
            ("id 4", true),
            ("card=4", false),
            ("paid=4", false),
            ("carte 4", false),
        ] {
            assert_eq!(names_an_id(text.as_bytes(), text.len() - 1), id, "{text}");
        }
    }

    #[test]
    fn cues_are_words_on_the_same_line() {
        assert!(precedes("Téls: 06".as_bytes(), 6, &["tel"]));
        assert!(!precedes(b"telemetry 06", 10, &["tel"]));
        assert!(!precedes(b"hotel 06", 6, &["tel"]));
        assert!(!precedes(b"tel\n06", 4, &["tel"]));
    }
}
