//! Secrets: values under keys that name one, API keys by their prefix, bearer and basic credentials, private keys.

use std::ops::Range;

use super::{Hit, Type, jwt, token_len};

/// Starts of API keys and the least number of characters after them that their issuers document.
const PREFIXES: [(&[u8], usize); 49] = [
    (b"dhy_", 16),
    (b"AKIA", 16),
    (b"ASIA", 16),
    (b"ghp_", 30),
    (b"gho_", 30),
    (b"ghu_", 30),
    (b"ghs_", 30),
    (b"ghr_", 30),
    (b"github_pat_", 30),
    (b"glpat-", 20),
    (b"gldt-", 20),
    (b"sk_live_", 10),
    (b"sk_test_", 10),
    (b"rk_live_", 10),
    (b"rk_test_", 10),
    (b"whsec_", 16),
    (b"xoxb-", 10),
    (b"xoxp-", 10),
    (b"xoxa-", 10),
    (b"xoxr-", 10),
    (b"xoxs-", 10),
    (b"xapp-", 10),
    (b"AIza", 35),
    (b"ya29.", 20),
    (b"npm_", 30),
    (b"pypi-AgE", 30),
    (b"dop_v1_", 40),
    (b"sk-ant-", 20),
    (b"sk-proj-", 20),
    (b"SG.", 40),
    (b"hf_", 30),
    (b"hvs.", 20),
    (b"AGE-SECRET-KEY-", 30),
    (b"glptt-", 20),
    (b"sq0atp-", 20),
    (b"shpat_", 30),
    (b"shpss_", 30),
    (b"sgp_", 30),
    (b"lin_api_", 30),
    (b"rubygems_", 30),
    (b"figd_", 30),
    (b"dckr_pat_", 20),
    (b"sntrys_", 30),
    (b"tfp_", 30),
    (b"glrt-", 20),
    (b"ATATT3", 40),
    (b"hvb.", 20),
    (b"pk_live_", 10),
    (b"pk_test_", 10),
];

/// Which first three bytes a key can have, by a hash of them: most words are none of these.
static STARTS: [u64; 512] = {
    let mut set = [0; 512];
    let mut i = 0;
    while i < PREFIXES.len() {
        let start = PREFIXES[i].0;
        let slot = start_slot(start[0], start[1], start[2]);
        set[slot / 64] |= 1 << (slot % 64);
        i += 1;
    }
    let jwt = start_slot(b'e', b'y', b'J');
    set[jwt / 64] |= 1 << (jwt % 64);
    set
};

const fn start_slot(a: u8, b: u8, c: u8) -> usize {
    (a as usize & 31) << 10 | (b as usize & 31) << 5 | c as usize & 31
}

/// Looks at the word in which the digit at `at` stands: does it start as a key or a token does, it is one.
pub(crate) fn prefixed(bytes: &[u8], floor: usize, at: usize) -> Option<Hit> {
    let belongs = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let least = floor.max(at.saturating_sub(100));
    let mut start = at;
    while start > least && belongs(bytes[start - 1]) {
        start -= 1;
    }
    starting(bytes, start).or_else(|| behind_scheme(bytes, start))
}

/// Looks at the word that starts at `start`.
pub(crate) fn starting(bytes: &[u8], start: usize) -> Option<Hit> {
    let rest = bytes.get(start..)?;
    let [a, b, c, ..] = rest else { return None };
    let slot = start_slot(*a, *b, *c);
    if STARTS[slot / 64] & 1 << (slot % 64) == 0 {
        return None;
    }
    if rest.starts_with(b"eyJ") {
        return jwt::at(bytes, start);
    }
    let (prefix, min) = PREFIXES.iter().find(|(prefix, _)| rest.starts_with(prefix))?;
    let body = rest.get(prefix.len()..)?;
    let len = run(body, |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    let len = body.get(..len)?.iter().rposition(|b| *b != b'.').map_or(0, |last| last + 1);
    (len >= *min).then(|| Hit::new(start..start + prefix.len() + len, Type::Secret))
}

/// A token behind `Bearer` or `Basic`, which the caller read backwards from the token.
fn behind_scheme(bytes: &[u8], start: usize) -> Option<Hit> {
    let space = start.checked_sub(1)?;
    if bytes[space] != b' ' || !bytes.get(space.checked_sub(1)?).is_some_and(|b| matches!(b | 0x20, b'r' | b'c')) {
        return None;
    }
    let word = |len: usize| space.checked_sub(len).and_then(|from| bytes.get(from..space));
    if word(6).is_some_and(|word| word.eq_ignore_ascii_case(b"bearer")) {
        return bearer(bytes, start);
    }
    if word(5).is_some_and(|word| word.eq_ignore_ascii_case(b"basic")) {
        return basic(bytes, start);
    }
    None
}

/// Looks at the capitalised word at `at`: `Bearer`, `Basic`, or a key such as `AKIA...`.
pub(crate) fn capital(bytes: &[u8], at: usize) -> Option<Hit> {
    let rest = bytes.get(at..)?;
    match rest.first()? {
        b'B' if rest.get(..7).is_some_and(|word| word.eq_ignore_ascii_case(b"bearer ")) => bearer(bytes, at + 7),
        b'B' if rest.get(..6).is_some_and(|word| word.eq_ignore_ascii_case(b"basic ")) => basic(bytes, at + 6),
        b'A' | b'S' => starting(bytes, at),
        _ => None,
    }
}

fn bearer(bytes: &[u8], at: usize) -> Option<Hit> {
    if let Some(hit) = jwt_at(bytes, at) {
        return Some(hit);
    }
    let rest = bytes.get(at..)?;
    let len = run(rest, is_token68);
    let token = rest.get(..len)?;
    let telling = token.iter().any(|b| b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'='));
    ((len >= 8 && telling) || len >= 24).then(|| Hit::new(at..at + len, Type::Secret))
}

fn jwt_at(bytes: &[u8], at: usize) -> Option<Hit> {
    if bytes.get(at..at + 3) == Some(b"eyJ") { jwt::at(bytes, at) } else { None }
}

fn basic(bytes: &[u8], at: usize) -> Option<Hit> {
    let rest = bytes.get(at..)?;
    let len = run(rest, is_token68);
    is_user_and_password(rest.get(..len)?).then(|| Hit::new(at..at + len, Type::Secret))
}

/// Looks at the second of two dashes, at `at`: a private key or a command line's option whose value is a secret.
pub(crate) fn dashes(bytes: &[u8], at: usize) -> Option<Hit> {
    let start = at - 1;
    if start > 0 && bytes[start - 1] == b'-' {
        return None;
    }
    let rest = bytes.get(at + 1..)?;
    if rest.starts_with(b"---BEGIN ") {
        return pem(bytes, start).map(|range| Hit::new(range, Type::Secret));
    }
    let len = run(rest, |b| b.is_ascii_alphanumeric() || b == b'-').min(40);
    let name = KeyName::fold(rest.get(..len)?);
    if rest.get(len) != Some(&b' ') || !is_strong(name.as_bytes()) {
        return None;
    }
    let value = unquoted(bytes, at + 1 + len + 1)?;
    // `--token --verbose`: another option is no value.
    (!bytes.get(value.clone())?.starts_with(b"-")).then(|| Hit::new(value, Type::Secret))
}

/// Longest value that is taken for a secret; a longer one is cut there and what follows is judged anew.
const VALUE_MAX: usize = 4_096;

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
const STRONG: [&str; 40] = [
    "cvv",
    "cvc",
    "cvv2",
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

/// Which last three letters a strong name can have, by a hash of them.
static ENDS: [u64; 512] = {
    let mut set = [0; 512];
    let mut i = 0;
    while i < STRONG.len() {
        let name = STRONG[i].as_bytes();
        let slot = start_slot(name[name.len() - 3], name[name.len() - 2], name[name.len() - 1]);
        set[slot / 64] |= 1 << (slot % 64);
        i += 1;
    }
    set
};

/// The last eight bytes of each of [`STRONG`], the last one highest, and which of the bits count.
static STRONG_TAILS: [(u64, u64); STRONG.len()] = {
    let mut tails = [(0, 0); STRONG.len()];
    let mut i = 0;
    while i < STRONG.len() {
        tails[i] = (
            tail_of(STRONG[i].as_bytes()),
            u64::MAX << (64 - 8 * if STRONG[i].len() < 8 { STRONG[i].len() } else { 8 }),
        );
        i += 1;
    }
    tails
};

const fn tail_of(name: &[u8]) -> u64 {
    let (mut tail, mut i) = (0, 0);
    while i < name.len() && i < 8 {
        tail |= (name[name.len() - 1 - i] as u64) << (56 - 8 * i);
        i += 1;
    }
    tail
}

fn ends_strongly(name: &[u8]) -> bool {
    let tail = tail_of(name);
    let ends = STRONG_TAILS.iter().zip(STRONG).filter(|((end, bits), _)| (tail ^ end) & bits == 0);
    ends.into_iter().any(|(_, end)| name.ends_with(end.as_bytes()))
}

fn is_strong(name: &[u8]) -> bool {
    let [.., a, b, c] = name else { return false };
    let slot = start_slot(*a, *b, *c);
    ENDS[slot / 64] & 1 << (slot % 64) != 0
        && ends_strongly(name)
        && !name.ends_with(b"bypass")
        && !name.ends_with(b"compass")
}

/// Tells cheaply whether the key that ends at `end` can name a secret: by its last three letters and digits, whatever
/// stands between them (`x_key`, `db-pass.`).
#[inline]
pub(crate) fn may_end_key(bytes: &[u8], end: usize) -> bool {
    let mut letters = [0; 3];
    let (mut count, mut at) = (0, end);
    while count < 3 {
        let Some(byte) = at.checked_sub(1).and_then(|i| bytes.get(i)) else { return false };
        at -= 1;
        if byte.is_ascii_alphanumeric() {
            letters[2 - count] = *byte;
            count += 1;
        } else if !(matches!(byte, b'_' | b'-' | b'.') || *byte >= 0x80) {
            return false;
        }
    }
    let slot = start_slot(letters[0], letters[1], letters[2]);
    (ENDS[slot / 64] | WEAK_ENDS[slot / 64]) & 1 << (slot % 64) != 0
}

/// The same for the weak ones; those of fewer than three letters are told by what stands before them.
static WEAK_ENDS: [u64; 512] = {
    let mut set = [0; 512];
    let mut i = 0;
    while i < WEAK.len() {
        let name = WEAK[i].as_bytes();
        let slot = start_slot(name[name.len() - 3], name[name.len() - 2], name[name.len() - 1]);
        set[slot / 64] |= 1 << (slot % 64);
        i += 1;
    }
    // `passe` of `mot de passe`.
    let passe = start_slot(b's', b's', b'e');
    set[passe / 64] |= 1 << (passe % 64);
    set
};

/// Looks at the `=` or `:` at `at`: is the key in front of it that of a secret, then its value is one.
pub(crate) fn value(bytes: &[u8], at: usize) -> Option<Hit> {
    let (name, in_query) = key_before(bytes, at)?;
    let name = name.as_bytes();
    let strong = is_strong(name);
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
        } else if word.get(scheme.len()) == Some(&b' ')
            && word.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme.as_bytes()))
        {
            range.start += scheme.len() + 1;
        }
    }
    if let Some(hit) = jwt_at(bytes, range.start).filter(|hit| hit.range.end >= range.end) {
        return Some(hit);
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
        _ => at..at + word_len(rest),
    };
    // The cut at `VALUE_MAX` must not fall inside a character.
    let mut end = range.end;
    while bytes.get(end).is_some_and(|b| (0x80..0xC0).contains(b)) {
        end += 1;
    }
    (range.start < end).then_some(range.start..end)
}

/// Returns the length of the word at the start of `bytes`; a token of ours in it is not cut.
fn word_len(bytes: &[u8]) -> usize {
    let mut len = 0;
    while len < VALUE_MAX {
        match bytes.get(len) {
            None => break,
            Some(b'[') => len += token_len(bytes.get(len..).unwrap_or_default()).unwrap_or(1),
            Some(b'&' | b',' | b';' | b'"' | b'\'' | b'`' | b')' | b']' | b'}' | b'<' | b'|') => break,
            Some(b) if b.is_ascii_whitespace() => break,
            Some(_) => len += 1,
        }
    }
    len
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
            ("cvv=123", Some("123")),
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
