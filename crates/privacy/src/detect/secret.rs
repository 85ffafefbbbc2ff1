//! Secrets: values under keys that name one, API keys by their prefix, bearer and basic credentials, private keys.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use super::{Hit, Type, jwt, token_len};

/// What a literal announces.
#[derive(Clone, Copy, Debug)]
enum Follows {
    /// A PEM block; it ends with its own `-----END`.
    Pem,
    /// A JSON Web Token.
    Jwt,
    /// `Bearer` and its token.
    Bearer,
    /// `Basic` and base64 of `user:password`.
    Basic,
    /// A key of at least so many characters after the literal, which is part of it.
    Key(usize),
    /// A path that is the secret of a webhook's address; the literal stays.
    Path,
    /// A command line's option; its value follows.
    Argument,
}

/// Literals by which secrets are known. Lengths are the least that their issuers document.
const LITERALS: [(&str, Follows); 51] = [
    ("-----BEGIN ", Follows::Pem),
    ("eyJ", Follows::Jwt),
    ("Bearer ", Follows::Bearer),
    ("bearer ", Follows::Bearer),
    ("Basic ", Follows::Basic),
    ("basic ", Follows::Basic),
    ("dhy_", Follows::Key(16)),
    ("AKIA", Follows::Key(16)),
    ("ASIA", Follows::Key(16)),
    ("ghp_", Follows::Key(30)),
    ("gho_", Follows::Key(30)),
    ("ghu_", Follows::Key(30)),
    ("ghs_", Follows::Key(30)),
    ("ghr_", Follows::Key(30)),
    ("github_pat_", Follows::Key(30)),
    ("glpat-", Follows::Key(20)),
    ("gldt-", Follows::Key(20)),
    ("sk_live_", Follows::Key(10)),
    ("sk_test_", Follows::Key(10)),
    ("rk_live_", Follows::Key(10)),
    ("rk_test_", Follows::Key(10)),
    ("whsec_", Follows::Key(16)),
    ("xoxb-", Follows::Key(10)),
    ("xoxp-", Follows::Key(10)),
    ("xoxa-", Follows::Key(10)),
    ("xoxr-", Follows::Key(10)),
    ("xoxs-", Follows::Key(10)),
    ("xapp-", Follows::Key(10)),
    ("AIza", Follows::Key(35)),
    ("ya29.", Follows::Key(20)),
    ("npm_", Follows::Key(30)),
    ("pypi-AgE", Follows::Key(30)),
    ("dop_v1_", Follows::Key(40)),
    ("sk-ant-", Follows::Key(20)),
    ("sk-proj-", Follows::Key(20)),
    ("SG.", Follows::Key(40)),
    ("hf_", Follows::Key(30)),
    ("hvs.", Follows::Key(20)),
    ("AGE-SECRET-KEY-", Follows::Key(30)),
    ("hooks.slack.com/services/", Follows::Path),
    ("hooks.slack.com/workflows/", Follows::Path),
    ("discord.com/api/webhooks/", Follows::Path),
    ("webhook.office.com/", Follows::Path),
    ("api.telegram.org/bot", Follows::Path),
    ("--password ", Follows::Argument),
    ("--passwd ", Follows::Argument),
    ("--token ", Follows::Argument),
    ("--secret ", Follows::Argument),
    ("--api-key ", Follows::Argument),
    ("--apikey ", Follows::Argument),
    ("--auth-token ", Follows::Argument),
];

#[expect(clippy::expect_used, reason = "the literals are constants and a test builds the automaton")]
static AUTOMATON: LazyLock<AhoCorasick> = LazyLock::new(|| {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostFirst)
        .build(LITERALS.iter().map(|(literal, _)| literal))
        .expect("invariant: fifty short literals make an automaton")
});

/// Longest value that is taken for a secret; a longer one is cut there and what follows is judged anew.
const VALUE_MAX: usize = 4_096;

/// Finds all secrets that literals announce.
pub(crate) fn keys(bytes: &[u8], hits: &mut Vec<Hit>) {
    let mut from = 0;
    while let Some(found) = AUTOMATON.find(aho_corasick::Input::new(bytes).range(from..)) {
        from = found.end();
        let hit = announced(bytes, found.range(), LITERALS[found.pattern().as_usize()].1);
        if let Some(hit) = hit {
            from = from.max(hit.range.end);
            hits.push(hit);
        }
    }
}

fn announced(bytes: &[u8], literal: Range<usize>, follows: Follows) -> Option<Hit> {
    let rest = bytes.get(literal.end..)?;
    let range = match follows {
        Follows::Jwt => return jwt::at(bytes, literal.start),
        Follows::Pem => pem(bytes, literal.start)?,
        Follows::Bearer => {
            let len = run(rest, is_token68);
            let token = rest.get(..len)?;
            let telling = token.iter().any(|b| b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'='));
            ((len >= 8 && telling) || len >= 24).then(|| literal.end..literal.end + len)?
        }
        Follows::Basic => {
            let len = run(rest, is_token68);
            is_user_and_password(rest.get(..len)?).then(|| literal.end..literal.end + len)?
        }
        Follows::Key(min) => {
            let inside = literal.start > 0 && bytes[literal.start - 1].is_ascii_alphanumeric();
            let len = run(rest, |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
            let len = rest.get(..len)?.iter().rposition(|b| *b != b'.').map_or(0, |last| last + 1);
            (!inside && len >= min).then(|| literal.start..literal.end + len)?
        }
        Follows::Path => {
            let len = run(rest, |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'/' | b':' | b'@'));
            (len >= 8).then(|| literal.end..literal.end + len)?
        }
        Follows::Argument => unquoted(bytes, literal.end)?,
    };
    Some(Hit::new(range, Type::Secret))
}

/// A private key from `-----BEGIN` to the end of its `-----END` line, or to the end of the text if that was cut off.
fn pem(bytes: &[u8], start: usize) -> Option<Range<usize>> {
    let rest = bytes.get(start..)?;
    let head = rest.get(..rest.len().min(64))?;
    memchr::memmem::find(head, b"PRIVATE KEY")?;
    let len = match memchr::memmem::find(rest, b"-----END ") {
        Some(foot) => {
            let tail = rest.get(foot + 9..)?;
            let close = memchr::memmem::find(tail, b"-----").map_or(tail.len(), |close| close + 5);
            foot + 9 + close
        }
        None => rest.len(),
    };
    Some(start..start + len)
}

fn run(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take(VALUE_MAX).take_while(|b| belongs(**b)).count()
}

const fn is_token68(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
}

/// Tells whether base64 text stands for something with a colon in it.
fn is_user_and_password(text: &[u8]) -> bool {
    let mut bits = 0_u32;
    let mut count = 0;
    let mut colon = false;
    for byte in text.iter().filter(|b| **b != b'=') {
        let sextet = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return false,
        };
        bits = bits << 6 | u32::from(sextet);
        count += 6;
        if count >= 8 {
            count -= 8;
            colon |= (bits >> count) & 0xFF == u32::from(b':');
        }
    }
    colon && text.len() >= 4
}

/// Ends of key names, folded to lower case letters and digits, whose values are secrets.
const STRONG: [&str; 37] = [
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "passcode",
    "motdepasse",
    "mdp",
    "pass",
    "secret",
    "token",
    "jeton",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "masterkey",
    "accountkey",
    "storagekey",
    "sharedkey",
    "authkey",
    "sharedaccesskey",
    "subscriptionkey",
    "functionkey",
    "credential",
    "credentials",
    "authorization",
    "proxyauthorization",
    "xapikey",
    "cookie",
    "setcookie",
    "sessionid",
    "jsessionid",
    "phpsessid",
    "contrasea",
    "passwort",
];

/// Key names whose values are secrets in a query string, and elsewhere if they look random.
const WEAK: [&str; 16] = [
    "key",
    "sig",
    "signature",
    "auth",
    "session",
    "sid",
    "code",
    "hmac",
    "pat",
    "pin",
    "otp",
    "sas",
    "nonce",
    "access",
    "xamzsignature",
    "xamzcredential",
];

/// Values that say something about a secret and are none.
const HARMLESS: [&str; 44] = [
    "null",
    "none",
    "nil",
    "true",
    "false",
    "missing",
    "expired",
    "invalid",
    "required",
    "empty",
    "undefined",
    "unset",
    "set",
    "ok",
    "not",
    "is",
    "was",
    "has",
    "must",
    "cannot",
    "changed",
    "incorrect",
    "wrong",
    "rejected",
    "accepted",
    "unknown",
    "found",
    "valid",
    "revoked",
    "refused",
    "denied",
    "default",
    "bearer",
    "basic",
    "jwt",
    "string",
    "the",
    "a",
    "no",
    "for",
    "and",
    "absent",
    "manquant",
    "unauthorized",
];

/// Looks at the `=` or `:` at `at`: is the key in front of it that of a secret, then its value is one.
pub(crate) fn value(bytes: &[u8], at: usize) -> Option<Hit> {
    let (name, in_query) = key_before(bytes, at)?;
    let name = name.as_bytes();
    let strong = STRONG.iter().any(|end| name.ends_with(end.as_bytes()))
        && !name.ends_with(b"bypass")
        && !name.ends_with(b"compass");
    let weak = !strong && WEAK.iter().any(|word| name == word.as_bytes());
    if !strong && !weak {
        return None;
    }
    let mut range = unquoted(bytes, after_separator(bytes, at))?;
    // `Authorization: Bearer abc`: the word stays, the token goes.
    for scheme in ["bearer", "basic", "digest", "token", "apikey", "negotiate"] {
        let word = bytes.get(range.clone())?;
        if word.eq_ignore_ascii_case(scheme.as_bytes()) && bytes.get(range.end) == Some(&b' ') {
            range = unquoted(bytes, range.end + 1)?;
        }
    }
    let value = bytes.get(range.clone())?;
    let harmless = value.len() < 16 && HARMLESS.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()))
        || value.iter().all(|b| matches!(b, b'*' | b'.' | b'x' | b'X' | b'-' | b'<' | b'>'));
    if harmless || token_len(value) == Some(value.len()) || value.len() < 3 {
        return None;
    }
    let shown = strong || in_query || looks_random(value);
    shown.then(|| Hit::new(range, Type::Secret))
}

/// Returns the folded name of the key that ends before the separator at `at`, and whether it stands in a query string.
fn key_before(bytes: &[u8], at: usize) -> Option<(KeyName, bool)> {
    let skip = |from: usize, belongs: &dyn Fn(u8) -> bool| {
        let mut to = from;
        while to > 0 && from - to < 48 && belongs(bytes[to - 1]) {
            to -= 1;
        }
        to
    };
    let end = skip(at, &|b| matches!(b, b' ' | b'"' | b'\'' | b']'));
    let start = skip(end, &|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.') || b >= 0x80);
    if start == end || bytes[end - 1].is_ascii_digit() && bytes[start].is_ascii_digit() {
        return None;
    }
    let in_query = start > 0 && matches!(bytes[start - 1], b'?' | b'&');
    let mut name = KeyName::fold(bytes.get(start..end)?);
    if name.as_bytes() == b"passe"
        && bytes.get(..start).is_some_and(|head| head.to_ascii_lowercase().ends_with(b"mot de "))
    {
        name = KeyName::fold(b"motdepasse");
    }
    Some((name, in_query))
}

/// Longest key name that is compared.
const NAME_MAX: usize = 48;

/// A key's name in lower case, letters and digits of ASCII only.
struct KeyName {
    bytes: [u8; NAME_MAX],
    len: usize,
}

impl KeyName {
    fn fold(name: &[u8]) -> Self {
        let mut folded = Self { bytes: [0; NAME_MAX], len: 0 };
        for byte in name.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
            if let Some(slot) = folded.bytes.get_mut(folded.len) {
                *slot = byte.to_ascii_lowercase();
                folded.len += 1;
            }
        }
        folded
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Returns where the value starts that follows the separator at `at`.
fn after_separator(bytes: &[u8], at: usize) -> usize {
    let spaces = bytes.iter().skip(at + 1).take(3).take_while(|b| matches!(b, b' ' | b'>')).count();
    at + 1 + spaces
}

/// Returns the word, or what is between quotes, at `at`.
fn unquoted(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let rest = bytes.get(at..)?;
    let range = match rest.first()? {
        quote @ (b'"' | b'\'' | b'`') => {
            let inner = rest.get(1..)?;
            let len = inner.iter().take(VALUE_MAX).position(|b| b == quote || *b == b'\n');
            at + 1..at + 1 + len.unwrap_or_else(|| run(inner, |b| !b.is_ascii_whitespace()))
        }
        _ => {
            let len = match token_len(rest) {
                Some(len) => len,
                None => run(rest, |b| {
                    !b.is_ascii_whitespace()
                        && !matches!(b, b'&' | b',' | b';' | b'"' | b'\'' | b'`' | b')' | b']' | b'}' | b'<' | b'|')
                }),
            };
            at..at + len
        }
    };
    // The cut at `VALUE_MAX` must not fall inside a character.
    let mut end = range.end;
    while bytes.get(end).is_some_and(|b| (0x80..0xC0).contains(b)) {
        end += 1;
    }
    (range.start < end).then_some(range.start..end)
}

/// Tells whether a value is long and mixed enough to be a key, and neither a UUID nor words.
fn looks_random(value: &[u8]) -> bool {
    let is_uuid = value.len() == 36 && value.iter().filter(|b| **b == b'-').count() == 4;
    if value.len() < 20 || is_uuid || !value.iter().all(|b| is_token68(*b)) {
        return false;
    }
    let mut seen = [0_u32; 256];
    for byte in value {
        seen[usize::from(*byte)] += 1;
    }
    let len = f64::from(u32::try_from(value.len()).unwrap_or(u32::MAX));
    let entropy: f64 =
        seen.iter().filter(|n| **n > 0).map(|n| f64::from(*n) / len).map(|share| -share * share.log2()).sum();
    let digits = value.iter().filter(|b| b.is_ascii_digit()).count();
    let upper = value.iter().any(u8::is_ascii_uppercase);
    let lower = value.iter().any(u8::is_ascii_lowercase);
    entropy >= 3.5 && digits >= 2 && (upper && lower)
}

#[cfg(test)]
mod tests {
    use crate::detect::corpus::{Gen, Odd, recall};
    use crate::detect::{Type, find};

    fn found(text: &str) -> Option<String> {
        let hit = find(text).into_iter().find(|hit| hit.kind == Type::Secret)?;
        text.get(hit.range).map(str::to_owned)
    }

    #[test]
    fn values_under_keys_that_name_secrets_are_found() {
        for (text, expected) in [
            ("https://h/x?token=abc123&y=1", Some("abc123")),
            ("https://h/x?key=user&y=1", Some("user")),
            ("https://h/x?a=1&sig=a%2Fb", Some("a%2Fb")),
            ("password=hunter2", Some("hunter2")),
            ("Password: hunter2, retry", Some("hunter2")),
            (r#"{"db_password": "p w\"d", "x": 1}"#, Some("p w\\")),
            ("mot de passe : azerty1", Some("azerty1")),
            ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", Some("wJalrXUtnFEMI/K7MDENG")),
            ("Authorization: Bearer abc", Some("abc")),
            ("authorization: token abcdef", Some("abcdef")),
            ("x-api-key => 'abc def'", Some("abc def")),
            ("client_secret='open", Some("open")),
            ("key=Zk3jd9xQmslDKe7Wb2hsT", Some("Zk3jd9xQmslDKe7Wb2hsT")),
            ("mysql --password hunter2 -u x", Some("hunter2")),
            ("cache_key=users:42", None),
            ("key=users", None),
            ("key=123e4567-e89b-12d3-a456-426614174000", None),
            ("key=aaaaaaaaaaaaaaaaaaaaaaaaaaa", None),
            ("token: expired", None),
            ("password=***", None),
            ("password=[secret]", None),
            ("password=", None),
            ("password=ab", None),
            ("max_tokens=4096", None),
            ("12:34:56", None),
            ("=x", None),
        ] {
            let text = text.replace("\\\"", "'");
            let expected = expected.map(|e| e.replace("\\", ""));
            let got = found(&text);
            assert!(got.as_deref().is_some() == expected.is_some(), "{text}: {got:?}");
            if let (Some(got), Some(expected)) = (got, expected) {
                assert!(got.starts_with(&expected), "{text}: {got}");
            }
        }
    }

    #[test]
    fn keys_are_known_by_their_prefix() {
        let long = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0U1";
        for prefix in ["dhy_", "AKIA", "ghp_", "github_pat_", "sk_live_", "xoxb-", "AIza", "glpat-", "SG."] {
            assert_eq!(found(&format!("got {prefix}{long}.")), Some(format!("{prefix}{long}")), "{prefix}");
            assert_eq!(found(&format!("got x{prefix}{long}")), None, "{prefix}");
        }
        for (text, expected) in [
            ("Bearer dGVzdA.x1", Some("dGVzdA.x1")),
            ("bearer authentication required", None),
            ("Basic dXNlcjpwYXNz", Some("dXNlcjpwYXNz")),
            ("Basic dXNlcnBhc3M", None),
            ("Basic auth~", None),
            ("https://hooks.slack.com/services/T00/B00/XXXX", Some("T00/B00/XXXX")),
            ("hooks.slack.com/services/", None),
            ("AKIA short", None),
        ] {
            assert_eq!(found(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn private_keys_go_whole() {
        let key = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----";
        assert_eq!(found(&format!("a {key} b")).as_deref(), Some(key));
        let (cut_off, _) = key.split_at(40);
        assert_eq!(found(&format!("a {cut_off}")).as_deref(), Some(cut_off));
        assert_eq!(found("-----BEGIN CERTIFICATE-----\nMHcC\n-----END CERTIFICATE-----"), None);
    }

    #[test]
    fn recall_meets_its_budget() {
        let plain = recall(1, 2_000, Odd::None, Gen::secret);
        assert!(plain >= 0.98, "plain {plain}");
    }
}
