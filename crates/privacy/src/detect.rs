//! One pass over a text: rare bytes are anchors, and only at an anchor does a detector look around.
//!
//! A detector is a function of the bytes and the anchor's place; it holds no state, so each lives in a file of its own
//! with its corpus and its budget of misses and false alarms. What several of them claim is united, never cut: better
//! a word too many than a digit too few.

pub(crate) mod card;
pub(crate) mod cue;
pub(crate) mod digits;
pub(crate) mod email;
pub(crate) mod iban;
pub(crate) mod ip;
pub(crate) mod jwt;
pub(crate) mod nir;
pub(crate) mod phone;
pub(crate) mod secret;
pub(crate) mod url;

#[cfg(test)]
pub(crate) mod corpus;

use std::ops::Range;

use digits::Digits;

/// What kind of personal value or secret a stretch of text is. The order is the precedence where several claim it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Type {
    /// A password, an API key, a private key, a bearer token.
    Secret,
    /// The part of a URL before `@`.
    UrlCredentials,
    /// A JSON Web Token.
    Jwt,
    /// An international bank account number.
    Iban,
    /// A French social security number.
    Nir,
    /// A payment card number.
    Card,
    /// An e-mail address.
    Email,
    /// A telephone number.
    Phone,
    /// An IP address.
    Ip,
}

impl Type {
    /// All types, in order of precedence.
    pub const ALL: [Self; 9] = [
        Self::Secret,
        Self::UrlCredentials,
        Self::Jwt,
        Self::Iban,
        Self::Nir,
        Self::Card,
        Self::Email,
        Self::Phone,
        Self::Ip,
    ];

    /// Returns the word that stands in tokens, configuration and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::UrlCredentials => "url-credentials",
            Self::Jwt => "jwt",
            Self::Iban => "iban",
            Self::Nir => "nir",
            Self::Card => "card",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Ip => "ip",
        }
    }
}

/// A stretch of the view that must not be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) range: Range<usize>,
    pub(crate) kind: Type,
}

impl Hit {
    pub(crate) const fn new(range: Range<usize>, kind: Type) -> Self {
        Self { range, kind }
    }
}

/// Finds all that must not be shown in `text`, in ascending order, without overlap.
pub(crate) fn find(text: &str) -> Vec<Hit> {
    let bytes = text.as_bytes();
    let mut hits = Vec::new();
    secret::keys(bytes, &mut hits);
    walk(text, &mut hits);
    unite(hits)
}

/// The bytes that detectors are anchored at.
const ANCHORS: [u8; 256] = {
    let mut table = [0; 256];
    let mut i = b'0';
    while i <= b'9' {
        table[i as usize] = 1;
        i += 1;
    }
    table[b'@' as usize] = 1;
    table[b':' as usize] = 1;
    table[b'=' as usize] = 1;
    table[b'[' as usize] = 1;
    table
};

fn is_anchor(byte: u8) -> u8 {
    ANCHORS[usize::from(byte)]
}

fn walk(text: &str, hits: &mut Vec<Hit>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    // Where the last hit ended: nothing that follows may reach back across it.
    let mut floor = 0;
    while let Some(next) = next_anchor(bytes, at) {
        at = next;
        let hit = match bytes[at] {
            b'[' => {
                at += token_len(bytes.get(at..).unwrap_or_default()).unwrap_or(1);
                floor = at;
                continue;
            }
            b'@' => url::go_dsn(bytes, floor, at).or_else(|| email::at(text, floor, at)),
            b':' => url::at(bytes, at).or_else(|| ip::v6(bytes, floor, at)).or_else(|| secret::value(bytes, at)),
            b'=' => secret::value(bytes, at),
            _ => {
                at = numbers(bytes, floor, at, hits);
                floor = hits.last().map_or(floor, |hit| floor.max(hit.range.end.min(at)));
                continue;
            }
        };
        at = match hit {
            Some(hit) => {
                let end = hit.range.end;
                floor = end;
                hits.push(hit);
                end.max(at + 1)
            }
            None => at + 1,
        };
    }
}

/// Returns the place of the next anchor from `at` on. Eight bytes are judged at once, since most text is words.
fn next_anchor(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut rest = bytes.get(at..)?;
    while let [a, b, c, d, e, f, g, h, tail @ ..] = rest {
        let any = is_anchor(*a)
            | is_anchor(*b)
            | is_anchor(*c)
            | is_anchor(*d)
            | is_anchor(*e)
            | is_anchor(*f)
            | is_anchor(*g)
            | is_anchor(*h);
        if any != 0 {
            break;
        }
        rest = tail;
        at += 8;
    }
    rest.iter().position(|byte| is_anchor(*byte) != 0).map(|offset| at + offset)
}

/// Looks at the run of digit groups that starts at `at`; returns where the walk goes on.
fn numbers(bytes: &[u8], floor: usize, at: usize, hits: &mut Vec<Hit>) -> usize {
    if at > 0 && bytes[at - 1].is_ascii_alphabetic() {
        if let Some(hit) = iban::at(bytes, floor, at) {
            let end = hit.range.end;
            hits.push(hit);
            return end;
        }
        if ip::v4_after_letter(bytes, at) {
            // `ip10.0.0.1`: a letter before does not make an address a word.
        } else {
            return at + digits::run_len(bytes, at);
        }
    }
    if let Some(len) = timestamp_len(bytes, at) {
        return at + len;
    }
    let digits = Digits::read(bytes, at);
    let mut group = 0;
    while group < digits.len() {
        let found = ip::v4(bytes, &digits, group)
            .or_else(|| nir::at(bytes, &digits, group))
            .or_else(|| card::at(bytes, &digits, group))
            .or_else(|| phone::at(bytes, floor, &digits, group));
        match found {
            Some(hit) => {
                let end = hit.range.end;
                hits.push(hit);
                group += 1;
                while group < digits.len() && digits.start(group) < end {
                    group += 1;
                }
                if group >= digits.len() {
                    return end.max(digits.end(digits.len() - 1));
                }
            }
            None => group += 1,
        }
    }
    digits.end(digits.len() - 1)
}

/// Returns the length of the RFC 3339 time stamp at `at`: most lines start with one, and it is nobody's number.
fn timestamp_len(bytes: &[u8], at: usize) -> Option<usize> {
    const FORM: &[u8; 19] = b"dddd-dd-ddTdd:dd:dd";
    let text = bytes.get(at..at + FORM.len())?;
    let fits = text.iter().zip(FORM).all(|(byte, form)| match form {
        b'd' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b' ' | b't'),
        form => byte == form,
    });
    let fraction = match bytes.get(at + FORM.len()) {
        Some(b'.' | b',') => 1 + digits::run_len(bytes, at + FORM.len() + 1),
        _ => 0,
    };
    let ends = !bytes.get(at + FORM.len() + fraction).is_some_and(u8::is_ascii_digit) && fraction <= 10;
    (fits && ends).then_some(FORM.len() + fraction)
}

/// Returns the length of the token at the start of `bytes`: `[email]`, or `[email:7f3a…]` with 16 hexadecimal digits.
pub(crate) fn token_len(bytes: &[u8]) -> Option<usize> {
    let inner = bytes.strip_prefix(b"[")?;
    for kind in Type::ALL {
        let Some(rest) = inner.strip_prefix(kind.as_str().as_bytes()) else { continue };
        if rest.first() == Some(&b']') {
            return Some(kind.as_str().len() + 2);
        }
        let keyed = rest.first() == Some(&b':')
            && rest.get(17) == Some(&b']')
            && rest.get(1..17).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        if keyed {
            return Some(kind.as_str().len() + 19);
        }
    }
    None
}

/// Unites hits that overlap under the type that takes precedence.
fn unite(mut hits: Vec<Hit>) -> Vec<Hit> {
    hits.sort_by_key(|hit| (hit.range.start, hit.range.end));
    let mut united: Vec<Hit> = Vec::with_capacity(hits.len());
    for hit in hits {
        match united.last_mut() {
            Some(last) if hit.range.start < last.range.end => {
                last.range.end = last.range.end.max(hit.range.end);
                last.kind = last.kind.min(hit.kind);
            }
            _ => united.push(hit),
        }
    }
    united
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_hits_are_united_under_the_graver_type() {
        let hits = vec![Hit::new(5..9, Type::Phone), Hit::new(0..6, Type::Email), Hit::new(9..10, Type::Ip)];
        assert_eq!(unite(hits), [Hit::new(0..9, Type::Email), Hit::new(9..10, Type::Ip)]);
    }

    #[test]
    fn tokens_are_known() {
        for (text, len) in [
            ("[email] x", Some(7)),
            ("[url-credentials]@h", Some(17)),
            ("[ip:0123456789abcdef]", Some(21)),
            ("[ip:0123]", None),
            ("[ipx]", None),
            ("[nosuch]", None),
            ("email]", None),
        ] {
            assert_eq!(token_len(text.as_bytes()), len, "{text}");
        }
    }

    #[test]
    fn anchors_are_found_wherever_they_stand() {
        for lead in 0..20 {
            let text = format!("{}@", "x".repeat(lead));
            assert_eq!(next_anchor(text.as_bytes(), 0), Some(lead));
        }
        assert_eq!(next_anchor(b"words and words", 0), None);
        assert_eq!(next_anchor(b"", 3), None);
    }
}
