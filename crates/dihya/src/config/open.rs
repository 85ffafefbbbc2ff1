//! Secrets that stand in the open where any text may stand: in addresses and in headers. They work, so people are told and
//! nothing is refused; `${file:PATH}` and `${env:NAME}` may stand inside both.

use model::config::{Node, Problem, Tree};

use super::validate::SECRET_IN_THE_OPEN;
use super::without_credentials;

/// Parts whose entries have addresses and headers.
const PARTS: [&str; 3] = ["checks", "channels", "outputs"];
/// Keys that hold addresses.
const ADDRESSES: [&str; 3] = ["url", "endpoint", "proxy"];
/// Words in the names of headers and of what stands behind the `?` of an address, whose values are secrets.
const WORDS: [&str; 11] = [
    "apikey",
    "authkey",
    "authoriz",
    "cookie",
    "credential",
    "passwd",
    "password",
    "pwd",
    "secret",
    "signature",
    "token",
];
/// Whole names, folded as [`is_secret_name`] does.
const NAMES: [&str; 5] = ["accesskey", "auth", "key", "pass", "sig"];

/// Finds the secrets of the file that stand in the open.
pub(super) fn find(root: &Node) -> Vec<Problem> {
    let mut found = Vec::new();
    for part in PARTS {
        for (name, entry) in entries(root.get(part)) {
            for key in ADDRESSES {
                let Some((node, text)) = entry.get(key).and_then(text) else { continue };
                if is_open_address(text) {
                    found.push(warning(node, format!("{part}.{name}.{key}")));
                }
            }
            for (header, node) in entries(entry.get("headers")) {
                let open = text(node).is_some_and(|(_, value)| is_open_header(header, value));
                if open {
                    found.push(warning(node, format!("{part}.{name}.headers.{header}")));
                }
            }
        }
    }
    found
}

fn entries(node: Option<&Node>) -> impl Iterator<Item = (&str, &Node)> {
    let entries = match node.map(|node| &node.tree) {
        Some(Tree::Map(entries)) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().map(|(name, _, node)| (name.as_str(), node))
}

fn text(node: &Node) -> Option<(&Node, &str)> {
    match &node.tree {
        Tree::Text(text) => Some((node, text)),
        _ => None,
    }
}

fn warning(node: &Node, path: String) -> Problem {
    let message = format!("{SECRET_IN_THE_OPEN}, expected a reference to it");
    let suggestion = Some("write ${file:PATH} or ${env:NAME}".to_owned());
    Problem { span: node.span, path, message, suggestion }
}

/// What stands for a reference: no text of a file has it.
const MASK: char = '\0';

/// Puts [`MASK`] in the place of references: their paths have colons and slashes too.
fn masked(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        match after.split_once('}') {
            Some((_, tail)) if !before.ends_with('$') => {
                out.push(MASK);
                rest = tail;
            }
            _ => {
                out.push('{');
                rest = after;
            }
        }
    }
    out + rest
}

/// Tells whether a masked text is written out: what holds a reference is as secret as that.
fn is_literal(text: &str) -> bool {
    !text.is_empty() && !text.contains(MASK)
}

fn is_open_address(text: &str) -> bool {
    let text = masked(text);
    let rest = text.split_once("://").map_or(text.as_str(), |(_, rest)| rest);
    let (rest, _) = rest.split_once('#').unwrap_or((rest, ""));
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = place.split('/').next().unwrap_or_default();
    // A name alone is no secret beside a password that is a reference; without one it may be a token.
    let of_user = authority.rsplit_once('@').is_some_and(|(user, _)| {
        let (name, password) = user.split_once(':').unwrap_or((user, user));
        let is_alone = password.is_empty();
        is_literal(if is_alone { name } else { password })
    });
    let of_query = query.split('&').filter_map(|pair| pair.split_once('='));
    of_user || of_query.into_iter().any(|(name, value)| is_literal(value) && (is_secret_name(name) || is_secret(value)))
}

fn is_open_header(name: &str, value: &str) -> bool {
    is_literal(&masked(value)) && (is_secret_name(name) || is_secret(value))
}

fn is_secret_name(name: &str) -> bool {
    let folded: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    NAMES.contains(&folded.as_str()) || WORDS.iter().any(|word| folded.contains(word))
}

/// Tells whether a value has the form of a secret, whatever its name.
fn is_secret(value: &str) -> bool {
    without_credentials(value) != value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    fn found(text: &str) -> Vec<String> {
        let node = yaml::parse(text).expect("is YAML");
        find(&node).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn secrets_in_addresses_and_headers_are_told_of_with_their_places() {
        let told = found(
            "checks:\n  a:\n    kind: http\n    url: https://bob:hunter2@shop.example/\n  b:\n    kind: http\n    \
             url: https://shop.example/x?page=2&access_token=abc\n    headers:\n      Authorization: Bearer abc\n      \
             X-Api-Key: abc\nchannels:\n  c: {kind: webhook, url: 'https://h/', headers: {Proxy-Authorization: Basic abc}}\n",
        );
        let voice = "a secret stands in the open, expected a reference to it (write ${file:PATH} or ${env:NAME})";
        assert_eq!(
            told,
            [
                format!("4:10: checks.a.url: {voice}"),
                format!("7:10: checks.b.url: {voice}"),
                format!("9:22: checks.b.headers.Authorization: {voice}"),
                format!("10:18: checks.b.headers.X-Api-Key: {voice}"),
                format!("12:72: channels.c.headers.Proxy-Authorization: {voice}"),
            ]
        );
    }

    #[test]
    fn references_and_plain_values_are_not_told_of() {
        for address in [
            "https://shop.example/",
            "https://bob:${env:PW}@shop.example/",
            "https://${file:token}@shop.example/",
            "https://bob:${file:/run/pw}@shop.example/",
            "https://shop.example/?page=2&token=${env:TOKEN}&sort=asc#at@x",
            "https://shop.example/a@b",
            "http://[2001:db8::1]:8080/?q=status&author=ana",
            "",
        ] {
            assert!(!is_open_address(address), "{address}");
        }
        for address in [
            "https://abc@h/",
            "https://abc:@h/",
            "https://:abc@h",
            "https://h?api_key=x",
            "bob:pw@h:25",
            "https://a$${b@h",
        ] {
            assert!(is_open_address(address), "{address}");
        }
        for (header, value) in [("Authorization", "Bearer ${env:T}"), ("Accept", "text/html"), ("X-Token", "")] {
            assert!(!is_open_header(header, value), "{header}");
        }
        assert!(is_open_header("Cookie", "session=1") && is_open_header("X-Auth-Key", "1"));
        assert_eq!(found("checks: 5\nchannels: {a: {url: 5, headers: []}}\n"), Vec::<String>::new());
    }
}
