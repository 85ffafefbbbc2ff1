//! Credentials in URLs and data source names: what stands between `://` and `@`.

use super::{Hit, Type, token_len};

/// Longest authority that is looked through.
const AUTHORITY_MAX: usize = 1_024;

/// Addresses of webhooks, whose path is their secret.
const WEBHOOKS: [&[u8]; 5] = [
    b"hooks.slack.com/services/",
    b"hooks.slack.com/workflows/",
    b"discord.com/api/webhooks/",
    b"webhook.office.com/",
    b"api.telegram.org/bot",
];

/// Looks at the `:` at `at` for `://user:password@`, and for addresses that are secrets themselves.
pub(crate) fn at(bytes: &[u8], at: usize) -> Option<Hit> {
    if bytes.get(at + 1..at + 3) != Some(b"//") {
        return None;
    }
    let start = at + 3;
    credentials(bytes, start).or_else(|| webhook(bytes, start))
}

fn webhook(bytes: &[u8], start: usize) -> Option<Hit> {
    let rest = bytes.get(start..)?;
    if !matches!(rest.first()?, b'h' | b'd' | b'w' | b'a') && !rest.get(..64.min(rest.len()))?.contains(&b'w') {
        return None;
    }
    let word_len = rest.iter().take(AUTHORITY_MAX).position(|b| is_end(*b)).unwrap_or(rest.len().min(AUTHORITY_MAX));
    let word = rest.get(..word_len)?;
    let host_end = WEBHOOKS.iter().find_map(|host| {
        let from = memchr::memmem::find(word.get(..word.len().min(80))?, host)?;
        (from == 0 || word[from - 1] == b'.').then_some(from + host.len())
    })?;
    let path = word.get(host_end..)?;
    let len =
        path.iter().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'/' | b':' | b'@')).count();
    (len >= 8).then(|| Hit::new(start + host_end..start + host_end + len, Type::Secret))
}

fn credentials(bytes: &[u8], start: usize) -> Option<Hit> {
    let rest = bytes.get(start..(start + AUTHORITY_MAX).min(bytes.len()))?;
    let word_len = rest.iter().position(|b| is_end(*b)).unwrap_or(rest.len());
    let word = rest.get(..word_len)?;
    let authority_len = word.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(word.len());
    let mut sign = word.get(..authority_len)?.iter().rposition(|b| *b == b'@');
    if sign.is_none() && has_password(word.get(..authority_len)?) {
        // A password with a slash in it that nobody escaped.
        sign = word.iter().rposition(|b| *b == b'@');
    }
    let user_len = sign.filter(|len| *len > 0)?;
    let user = word.get(..user_len)?;
    let already = token_len(user) == Some(user.len());
    (user != b"git" && !already).then(|| Hit::new(start..start + user_len, Type::UrlCredentials))
}

/// Tells whether what follows the first `:` cannot be a port.
fn has_password(authority: &[u8]) -> bool {
    match authority.iter().position(|b| *b == b':') {
        Some(colon) if colon > 0 => {
            let port = authority.get(colon + 1..).unwrap_or_default();
            authority.first() != Some(&b'[') && !port.is_empty() && !port.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    }
}

const fn is_end(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'<' | b'>' | b'`' | b'|' | b'{' | b'}')
}

/// Looks at the `@` at `at` for a data source name of Go's drivers: `user:password@tcp(host:3306)/`.
pub(crate) fn go_dsn(bytes: &[u8], floor: usize, at: usize) -> Option<Hit> {
    let tail = bytes.get(at + 1..)?;
    if ![b"tcp(".as_slice(), b"unix(", b"udp("].iter().any(|protocol| tail.starts_with(protocol)) {
        return None;
    }
    let head = bytes.get(floor.max(at.saturating_sub(AUTHORITY_MAX))..at)?;
    let len = head.iter().rev().take_while(|b| !is_end(**b) && **b != b'=' && **b != b']').count();
    (len > 0).then(|| Hit::new(at - len..at, Type::UrlCredentials))
}

#[cfg(test)]
mod tests {
    use crate::detect::corpus::{Gen, Odd, recall};
    use crate::detect::{Type, find};

    #[test]
    fn credentials_are_told_from_hosts_and_paths() {
        for (text, expected) in [
            ("https://ana:pw@host/x?y", Some("ana:pw")),
            ("postgres://u:p%40ss@db:5432/x", Some("u:p%40ss")),
            ("redis://:pw@127.0.0.1", Some(":pw")),
            ("amqp://u:p/ss@mq/v", Some("u:p/ss")),
            ("https://tokentoken@host", Some("tokentoken")),
            ("dsn=root:pw@tcp(db:3306)/app", Some("root:pw")),
            ("ssh://git@host/x", None),
            ("http://host:8080/a@b", None),
            ("http://[2001:db8::1]:80/a@b", None),
            ("http://host/ana@x", None),
            ("http://@host", None),
            ("http://[url-credentials]@host", None),
            ("@tcp(x)", None),
            ("std://", None),
        ] {
            let hits = find(text);
            let found =
                hits.iter().find(|hit| hit.kind == Type::UrlCredentials).and_then(|hit| text.get(hit.range.clone()));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        let plain = recall(1, 1_000, Odd::None, Gen::url_credentials);
        assert!(plain >= 0.98, "plain {plain}");
    }
}
