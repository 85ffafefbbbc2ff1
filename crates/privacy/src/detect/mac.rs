//! Hardware addresses: six pairs behind colons or dashes, or three fours behind dots.

use super::{Hit, Type};

/// Looks at the `:` or `-` at `at`, which must be the first of five.
pub(crate) fn at(bytes: &[u8], floor: usize, at: usize) -> Option<Hit> {
    let separator = bytes[at];
    let start = at.checked_sub(2).filter(|start| *start >= floor)?;
    let run = bytes.get(start..start + 17)?;
    let shaped = run.iter().enumerate().all(|(i, b)| if i % 3 == 2 { *b == separator } else { b.is_ascii_hexdigit() });
    if !shaped || !stands_alone(bytes, start, start + 17, separator) {
        return None;
    }
    is_somebodys(run).then(|| Hit::new(start..start + 17, Type::Mac))
}

/// Looks at the token that starts at `start` for the form with dots (`0011.22aa.33bb`).
pub(crate) fn dotted(bytes: &[u8], start: usize) -> Option<Hit> {
    let run = bytes.get(start..start + 14)?;
    let shaped = run.iter().enumerate().all(|(i, b)| if i % 5 == 4 { *b == b'.' } else { b.is_ascii_hexdigit() });
    let lettered = run.iter().any(u8::is_ascii_alphabetic);
    (shaped && lettered && stands_alone(bytes, start, start + 14, b'.') && is_somebodys(run))
        .then(|| Hit::new(start..start + 14, Type::Mac))
}

fn stands_alone(bytes: &[u8], start: usize, end: usize, separator: u8) -> bool {
    let before = start.checked_sub(1).and_then(|i| bytes.get(i));
    let after = bytes.get(end);
    let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    // Eight pairs and more are a fingerprint.
    let longer = |b: &u8, beyond: Option<&u8>| *b == separator && beyond.is_some_and(u8::is_ascii_hexdigit);
    !before.is_some_and(|b| word(b) || longer(b, start.checked_sub(2).and_then(|i| bytes.get(i))))
        && !after.is_some_and(|b| word(b) || longer(b, bytes.get(end + 1)))
}

/// Nobody's are the address of nothing and that of everybody.
fn is_somebodys(run: &[u8]) -> bool {
    let mut hex = run.iter().filter(|b| b.is_ascii_hexdigit());
    let first = hex.next().copied().unwrap_or_default();
    !(matches!(first, b'0' | b'f' | b'F') && hex.all(|b| *b == first))
}

#[cfg(test)]
mod tests {
    use crate::detect::Type;
    use crate::detect::corpus::{Gen, budget, found};

    fn value(g: &Gen) -> String {
        let pair = || g.letters("0123456789abcdef", 2);
        let separator = if g.below(4) == 0 { "-" } else { ":" };
        let address = (0..6).map(|_| pair()).collect::<Vec<_>>().join(separator);
        if g.below(3) == 0 { address.to_uppercase() } else { address }
    }

    #[test]
    fn addresses_are_told_from_what_looks_like_them() {
        for (text, is_one) in [
            ("from 3c:22:fb:01:aa:9e to", true),
            ("3C-22-FB-01-AA-9E", true),
            ("port 3c22.fb01.aa9e up", true),
            ("00:00:00:00:00:00 ff:ff:ff:ff:ff:ff", false),
            ("key 04:ab:04:ab:04:ab:04:ab", false),
            ("12:34:56 and 2024-01-02-03-04-05", false),
            ("1234.5678.9012", false),
        ] {
            assert_eq!(found(text, &[Type::Mac]).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        budget(
            Type::Mac,
            0.98,
            0.95,
            &["dhcp ack {} on eth0", "{\"mac\":\"{}\"}", "hwaddr={} up", "station {}: associated"],
            value,
        );
    }
}
