//! E-mail addresses, internationalised ones too: from `@` outwards.

use super::{Hit, Type};

/// Longest local part (RFC 5321 section 4.5.3.1.1), doubled for letters of two bytes.
const LOCAL_MAX: usize = 128;

/// Endings of file and unit names that follow an `@` and make no address: `icon@2x.png`, `getty@tty1.service`.
const NOT_TLDS: [&str; 24] = [
    "png",
    "jpg",
    "jpeg",
    "gif",
    "svg",
    "webp",
    "ico",
    "js",
    "css",
    "json",
    "yaml",
    "yml",
    "gz",
    "tgz",
    "jar",
    "service",
    "socket",
    "timer",
    "slice",
    "mount",
    "automount",
    "device",
    "swap",
    "target",
];

/// Looks at the `@` at `at`.
pub(crate) fn at(text: &str, floor: usize, at: usize) -> Option<Hit> {
    let start = local_start(text.get(floor..at)?)? + floor;
    let domain_len = domain_len(text.get(at + 1..)?)?;
    let end = at + 1 + domain_len;
    let local = text.get(start..at)?;
    // `git@github.com:team/repository` names a server, not a person.
    if local == "git" && text.as_bytes().get(end) == Some(&b':') {
        return None;
    }
    Some(Hit::new(start..end, Type::Email))
}

/// Returns where the local part starts that ends with `head`.
fn local_start(head: &str) -> Option<usize> {
    if let Some(quoted) = head.strip_suffix('"') {
        let open = quoted.rfind('"')?;
        let inner = quoted.get(open + 1..)?;
        return (!inner.is_empty() && inner.len() <= LOCAL_MAX && !inner.contains('\n')).then_some(open);
    }
    let ascii = head.bytes().rev().take(LOCAL_MAX).take_while(|b| is_local(char::from(*b)) && b.is_ascii()).count();
    let mut start = head.len() - ascii;
    let beyond = start.checked_sub(1).is_some_and(|i| head.as_bytes()[i] >= 0x80);
    let rest = if beyond { head } else { "" };
    start = if beyond { head.len() } else { start };
    for (i, c) in rest.char_indices().rev() {
        if !is_local(c) || head.len() - i > LOCAL_MAX {
            break;
        }
        start = i;
    }
    // A dot, a dash or an apostrophe in front is punctuation of the sentence.
    let local = head.get(start..)?;
    let trimmed = local.trim_start_matches(['.', '-', '\'']);
    (!trimmed.is_empty()).then(|| start + (local.len() - trimmed.len()))
}

fn is_local(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || matches!(c, '.' | '_' | '%' | '+' | '-' | '\'' | '~' | '!' | '$' | '*' | '^')
        || (!c.is_ascii() && c.is_alphanumeric())
}

/// Returns the length of the domain at the start of `rest`: labels with dots, the last of them letters.
fn domain_len(rest: &str) -> Option<usize> {
    let ascii = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.')).count();
    let beyond = rest.as_bytes().get(ascii).is_some_and(|b| *b >= 0x80);
    let is_part =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.') || (!c.is_ascii() && c.is_alphanumeric());
    let whole = || rest.char_indices().find(|(_, c)| !is_part(*c)).map_or(rest.len(), |(i, _)| i);
    let len = if beyond { whole() } else { ascii }.min(255);
    let mut domain = rest.get(..len)?.trim_end_matches(['.', '-']);
    loop {
        let (labels, tld) = domain.rsplit_once('.')?;
        if is_tld(tld) && labels.split('.').all(|label| !label.is_empty()) {
            return Some(domain.len());
        }
        // `ana@example.org..5` or `ana@example.org.42`: what is not a name is not part of the address.
        domain = labels;
    }
}

fn is_tld(tld: &str) -> bool {
    if tld.is_ascii() && !tld.contains('-') {
        return tld.len() >= 2
            && tld.bytes().all(|b| b.is_ascii_alphabetic())
            && !NOT_TLDS.iter().any(|other| tld.eq_ignore_ascii_case(other));
    }
    let lower = tld.to_lowercase();
    tld.chars().count() >= 2
        && (lower.starts_with("xn--") || tld.chars().all(char::is_alphabetic))
        && !NOT_TLDS.contains(&lower.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::corpus::{Gen, Odd, recall};

    fn found(text: &str) -> Option<&str> {
        let hit = at(text, 0, text.find('@')?)?;
        text.get(hit.range)
    }

    #[test]
    fn addresses_are_told_from_what_looks_like_them() {
        for (text, expected) in [
            ("mail to ana.b+c@mail.example.org.", Some("ana.b+c@mail.example.org")),
            ("<Zoé@exämple.fr>", Some("Zoé@exämple.fr")),
            ("用户@例子.公司", Some("用户@例子.公司")),
            ("x@xn--exmple-cua.xn--p1ai", Some("x@xn--exmple-cua.xn--p1ai")),
            ("\"ana b\"@example.org", Some("\"ana b\"@example.org")),
            ("'o'brien@example.ie'", Some("o'brien@example.ie")),
            ("ana@example.org.42", Some("ana@example.org")),
            ("git@github.com:team/repo", None),
            ("git@github.com", Some("git@github.com")),
            ("icon@2x.png", None),
            ("getty@tty1.service", None),
            ("react@18.2.0", None),
            ("postgres@localhost", None),
            ("@decorator", None),
            ("\"\"@example.org", None),
            ("a@", None),
            ("a@b..", None),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        let plain = recall(1, 2_000, Odd::None, Gen::email);
        let odd = recall(2, 2_000, Odd::Any, Gen::email);
        assert!(plain >= 0.98, "plain {plain}");
        assert!(odd >= 0.95, "odd {odd}");
    }
}
