//! JSON Web Tokens: signed, encrypted or cut off.

use super::{Hit, Type};

/// Starts of headers: `{"alg":`, `{"typ":`, `{"kid":`, `{"enc":`, `{"jku":`, `{"x5t":` in base64url.
const HEADERS: [&[u8]; 6] = [b"eyJhbGci", b"eyJ0eXAi", b"eyJraWQi", b"eyJlbmMi", b"eyJqa3Ui", b"eyJ4NXQi"];

/// Looks at the `eyJ` at `at`.
pub(crate) fn at(bytes: &[u8], at: usize) -> Option<Hit> {
    if at > 0 && is_base64url(bytes[at - 1]) {
        return None;
    }
    let run = |from: usize| bytes.iter().skip(from).take_while(|b| is_base64url(**b)).count();
    let mut end = at + run(at);
    let header_len = end - at;
    let mut parts = 1;
    while parts < 5 && bytes.get(end) == Some(&b'.') {
        let len = run(end + 1);
        if len == 0 && parts < 2 {
            break;
        }
        end += 1 + len;
        parts += 1;
    }
    while bytes[end - 1] == b'.' {
        end -= 1;
    }
    let header = bytes.get(at..at + header_len)?;
    let known = HEADERS.iter().any(|start| header.starts_with(start));
    (header_len >= 12 && (known || parts >= 3)).then(|| Hit::new(at..end, Type::Jwt))
}

const fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use crate::detect::corpus::{Gen, Odd, recall};
    use crate::detect::{Type, find};

    #[test]
    fn tokens_are_told_from_what_looks_like_them() {
        let signed = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";
        for (text, expected) in [
            (format!("got {signed}."), Some(signed)),
            (format!("x{signed}"), None),
            ("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.".to_owned(), Some("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0")),
            ("eyJhbGciOiJSU0EtT0FFUCJ9.a.b.c.d".to_owned(), Some("eyJhbGciOiJSU0EtT0FFUCJ9.a.b.c.d")),
            ("cut eyJ0eXAiOiJKV1Qi".to_owned(), Some("eyJ0eXAiOiJKV1Qi")),
            ("eyJ is short".to_owned(), None),
            ("eyJmb28iOiJiYXIifQ== is JSON".to_owned(), None),
        ] {
            let hits = find(&text);
            let found = hits.iter().find(|hit| hit.kind == Type::Jwt).and_then(|hit| text.get(hit.range.clone()));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        let plain = recall(1, 1_000, Odd::None, Gen::jwt);
        assert!(plain >= 0.98, "plain {plain}");
    }
}
