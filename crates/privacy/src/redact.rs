//! `Redactor`: free text in, the same text with typed tokens in place of personal values and secrets out.
//!
//! A token such as `[email]` says what stood there and nothing else; in labels, where distinct things must stay
//! distinct, it carries a keyed hash (`[email:7f3a…]`, made in `clear.rs`). What the operator declared (targets, hosts,
//! receivers) is no secret from the operator and stays.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::Action;
use crate::detect::{self, Hit, Type};
use crate::generalise::{To, generalise, is_network};
use crate::keys::Keys;
use crate::keystore::{self, Class, Keystore};
use crate::view::View;

/// A replaced value can lay bare another one (`a@b.fr+33612345678`), so a text is read again until nothing is found. Each
/// pass replaces at least one value, so this bound is met only by texts made for it.
const PASSES_MAX: usize = 8;

/// Replaces personal values and secrets in free text. Cheap to share, holds no state but its counters; the same text
/// gives the same answer.
#[derive(Debug)]
pub struct Redactor {
    names: HashSet<String>,
    networks: Vec<Network>,
    actions: [Action; Type::ALL.len()],
    counts: [AtomicU64; Type::ALL.len()],
}

impl Default for Redactor {
    fn default() -> Self {
        Self {
            names: HashSet::new(),
            networks: Vec::new(),
            actions: [Action::Token; Type::ALL.len()],
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

/// A value that was found in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where it stands, in bytes of the text as given; both ends are at characters.
    pub range: Range<usize>,
    /// What it is.
    pub kind: Type,
    /// Whether it stays in clear, because the configuration says so or because it was declared.
    pub kept: bool,
}

/// A text with what was found in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// What was found, in ascending order, without overlap.
    pub findings: Vec<Finding>,
    /// The text after redaction.
    pub cleared: String,
}

/// One piece of a redacted text: copied from `raw` on, or a token in the place of `raw`.
#[derive(Clone, Debug)]
struct Piece {
    redacted: Range<usize>,
    raw: Range<usize>,
    kind: Option<Type>,
    /// What stands in the place of `raw`, where `kind` is.
    token: String,
}

/// What one reading of a text found, if anything.
pub(crate) struct Found<'a> {
    text: &'a str,
    view: View<'a>,
    hits: Vec<Hit>,
}

/// What a pass found: where, what, and what takes its place.
struct Replaced {
    place: Range<usize>,
    kind: Type,
    token: String,
}

/// An address, or all that share its first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    fn read(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.trim_matches(['[', ']']).parse().ok()?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        Some(Self { address, bits: bits.unwrap_or(all).min(all) })
    }

    fn holds(self, address: IpAddr) -> bool {
        let differs = match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (u32::from(a) ^ u32::from(b)).leading_zeros(),
            (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a) ^ u128::from(b)).leading_zeros(),
            _ => return false,
        };
        differs >= u32::from(self.bits)
    }
}

impl Redactor {
    /// Creates a redactor that knows no declared names.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds names that the operator declared: checks, services, targets, hosts, instances, receivers, channels. They are
    /// kept as they are, and so is every IP address, or network such as `10.0.0.0/8`, that stands in one of them.
    #[must_use]
    pub fn with_declared<I, S>(mut self, names: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        for name in names {
            let name = name.as_ref();
            if let Some(network) = Network::read(name) {
                self.networks.push(network);
            } else {
                let addresses = detect::find(name).into_iter().filter(|hit| hit.kind.as_str() == "ip");
                self.networks.extend(addresses.filter_map(|hit| Network::read(name.get(hit.range)?)));
            }
            self.names.insert(name.to_owned());
        }
        self
    }

    /// Leaves values of one type in clear: a decision that the configuration must give a reason for.
    #[must_use]
    pub fn with_kept(self, kind: Type) -> Self {
        self.with_action(kind, Action::Keep)
    }

    /// Says what happens to values of one type in free text.
    #[must_use]
    pub const fn with_action(mut self, kind: Type, action: Action) -> Self {
        self.actions[kind as usize] = action;
        self
    }

    /// Returns what happens to values of one type in free text.
    #[must_use]
    pub const fn action(&self, kind: Type) -> Action {
        self.actions[kind as usize]
    }

    /// Tells whether values of any type in free text need keys.
    pub(crate) fn is_keyed(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::Pseudonym | Action::Seal))
    }

    /// Returns what takes the place of a value in free text.
    pub(crate) fn replacement(&self, kind: Type, understood: &str) -> Cow<'static, str> {
        match self.actions[kind as usize] {
            Action::Mask => Cow::Borrowed("***"),
            Action::Drop => Cow::Borrowed(""),
            Action::Generalise => match kind {
                Type::Ipv4 | Type::Ipv6 | Type::Dob | Type::Geo => generalise(understood, To::Fitting),
                _ => None,
            }
            .map_or(Cow::Borrowed(kind.token()), Cow::Owned),
            _ => Cow::Borrowed(kind.token()),
        }
    }

    /// Tells whether `text` is a declared name.
    #[must_use]
    pub fn is_declared(&self, text: &str) -> bool {
        self.names.contains(text)
    }

    /// Returns `text` with tokens in place of personal values and secrets; borrowed where there are none. Redacting
    /// again changes nothing. Linear in the length for all but texts made to be slow, and these are bounded.
    #[must_use]
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.redact_with(text, &|kind, _, understood| self.replacement(kind, understood))
    }

    /// Tells whether `text` holds anything to be replaced.
    #[must_use]
    pub fn finds_in(&self, text: &str) -> bool {
        let view = View::of(text);
        detect::find(view.text()).iter().any(|hit| !self.is_kept(&view, text, hit))
    }

    /// Returns what one reading of `text` finds, in ascending order, without overlap: for counting. Cheaper than
    /// [`Self::explain`], which also finds what a first replacement lays bare.
    #[must_use]
    pub fn findings(&self, text: &str) -> Vec<Finding> {
        let view = View::of(text);
        let find = |hit: Hit| {
            let kept = self.is_kept(&view, text, &hit);
            Finding { range: view.raw(hit.range), kind: hit.kind, kept }
        };
        detect::find(view.text()).into_iter().map(find).collect()
    }

    /// Returns what [`Self::redact`] finds in `text` and what it makes of it: for people who want to know why.
    #[must_use]
    pub fn explain(&self, text: &str) -> Explained {
        self.explain_with(text, &|kind, understood| self.replacement(kind, understood))
    }

    /// Like [`Self::explain`] with pseudonyms where the configuration asks for them, each under a key of its own out of
    /// `keystore`: as it would stand in an event that is nobody's.
    ///
    /// # Errors
    /// When a key cannot be minted.
    pub fn explain_keyed(&self, text: &str, keystore: &Keystore) -> Result<Explained, keystore::Error> {
        let keys = Keys::new(Some(keystore), Class::default(), keystore.hour());
        let explain = || self.explain_with(text, &|kind, understood| keys.replacement(self, kind, understood));
        let explained = explain();
        let missing = keys.take_missing();
        if missing.is_empty() {
            return Ok(explained);
        }
        keystore.mint(&missing)?;
        Ok(explain())
    }

    /// Reads a text once; `None` where nothing is found in it, which is so of most.
    pub(crate) fn found<'a>(&self, text: &'a str) -> Option<Found<'a>> {
        let view = View::of(text);
        let hits = detect::find(view.text());
        (!hits.is_empty()).then_some(Found { text, view, hits })
    }

    /// Returns what [`Self::explain_with`] does of a text that was read already, without reading it again where nothing
    /// more can be found.
    pub(crate) fn explain_found(
        &self,
        found: Found<'_>,
        replacement: &dyn Fn(Type, &str) -> Cow<'static, str>,
    ) -> Explained {
        let Found { text, view, hits } = found;
        let bytes = view.text().as_bytes();
        let mut findings = Vec::with_capacity(hits.len());
        for hit in &hits {
            let kept = self.is_kept(&view, text, hit);
            let settled = self.actions[hit.kind as usize] == Action::Token && is_settled(bytes, hit);
            if !(kept || settled) {
                return self.explain_with(text, replacement);
            }
            findings.push(Finding { range: view.raw(hit.range.clone()), kind: hit.kind, kept });
        }
        let mut cleared = String::with_capacity(text.len());
        let mut copied_to = 0;
        for (hit, finding) in hits.iter().zip(&findings).filter(|(_, finding)| !finding.kept) {
            cleared.push_str(text.get(copied_to..finding.range.start).unwrap_or_default());
            cleared.push_str(&replacement(hit.kind, view.text().get(hit.range.clone()).unwrap_or_default()));
            copied_to = finding.range.end;
        }
        cleared.push_str(text.get(copied_to..).unwrap_or_default());
        Explained { findings, cleared }
    }

    /// Like [`Self::explain`] with other replacements, made from the type and the value as understood.
    pub(crate) fn explain_with(&self, text: &str, replacement: &dyn Fn(Type, &str) -> Cow<'static, str>) -> Explained {
        let mut pieces = vec![Piece { redacted: 0..text.len(), raw: 0..text.len(), kind: None, token: String::new() }];
        let mut cleared = text.to_owned();
        let mut kept = Vec::new();
        for pass in 0..=PASSES_MAX {
            let view = View::of(&cleared);
            let mut hits = detect::find(view.text());
            hits.retain(|hit| {
                let keeps = self.is_kept(&view, &cleared, hit);
                if keeps && pass == 0 {
                    kept.push(Finding { range: view.raw(hit.range.clone()), kind: hit.kind, kept: true });
                }
                !keeps
            });
            if hits.is_empty() {
                break;
            }
            let replaced = |hit: Hit| {
                let understood = view.text().get(hit.range.clone()).unwrap_or_default();
                let token = replacement(hit.kind, understood).into_owned();
                Replaced { place: view.raw(hit.range), kind: hit.kind, token }
            };
            let hits: Vec<_> = hits.into_iter().map(replaced).collect();
            (cleared, pieces) = replace(text, &pieces, &hits);
        }
        let tokens =
            pieces.into_iter().filter_map(|piece| Some(Finding { range: piece.raw, kind: piece.kind?, kept: false }));
        let mut findings: Vec<Finding> = tokens.chain(kept).collect();
        findings.sort_by_key(|finding| finding.range.start);
        Explained { findings, cleared }
    }

    /// Returns how many values of each type were replaced since the start: for metrics.
    #[must_use]
    pub fn counts(&self) -> [(Type, u64); Type::ALL.len()] {
        Type::ALL.map(|kind| (kind, self.counts[kind as usize].load(Ordering::Relaxed)))
    }

    /// Like [`Self::redact`] with tokens made from the type, the value as written and the value as understood.
    pub(crate) fn redact_with<'a>(
        &self,
        text: &'a str,
        token: &dyn Fn(Type, &str, &str) -> Cow<'static, str>,
    ) -> Cow<'a, str> {
        let Some((mut redacted, mut settled)) = self.pass(text, token) else { return Cow::Borrowed(text) };
        for _ in 0..PASSES_MAX {
            if settled {
                break;
            }
            match self.pass(&redacted, token) {
                Some((again, now_settled)) => (redacted, settled) = (again, now_settled),
                None => break,
            }
        }
        Cow::Owned(redacted)
    }

    /// Replaces what one reading finds; also tells whether another reading can find nothing more.
    fn pass(&self, text: &str, token: &dyn Fn(Type, &str, &str) -> Cow<'static, str>) -> Option<(String, bool)> {
        let view = View::of(text);
        let mut hits = detect::find(view.text());
        hits.retain(|hit| !self.is_kept(&view, text, hit));
        if hits.is_empty() {
            return None;
        }
        let mut redacted = String::with_capacity(text.len());
        let mut copied_to = 0;
        let mut settled = true;
        for hit in hits {
            settled &= is_settled(view.text().as_bytes(), &hit) && self.actions[hit.kind as usize] == Action::Token;
            self.counts[hit.kind as usize].fetch_add(1, Ordering::Relaxed);
            let raw = view.raw(hit.range.clone());
            redacted.push_str(text.get(copied_to..raw.start).unwrap_or_default());
            let written = text.get(raw.clone()).unwrap_or_default();
            let understood = view.text().get(hit.range).unwrap_or_default();
            redacted.push_str(&token(hit.kind, written, understood));
            copied_to = raw.end;
        }
        redacted.push_str(text.get(copied_to..).unwrap_or_default());
        Some((redacted, settled))
    }

    fn is_kept(&self, view: &View<'_>, text: &str, hit: &Hit) -> bool {
        let action = self.actions[hit.kind as usize];
        if action == Action::Keep {
            return true;
        }
        let understood = view.text().get(hit.range.clone()).unwrap_or_default();
        if matches!(hit.kind, Type::Ipv4 | Type::Ipv6) {
            let rest = view.text().get(hit.range.end..).unwrap_or_default();
            if action == Action::Generalise && is_network(understood, rest) {
                return true;
            }
            return !self.networks.is_empty()
                && understood
                    .parse::<IpAddr>()
                    .is_ok_and(|address| self.networks.iter().any(|network| network.holds(address)));
        }
        if self.names.is_empty() {
            return false;
        }
        let written = text.get(view.raw(hit.range.clone())).unwrap_or_default();
        self.names.contains(written) || self.names.contains(understood)
    }
}

/// Tells whether the neighbours of a value mean the same beside a token as beside the value: a value that touches another
/// word, or a number that stands next to it, may be read anew.
fn is_settled(bytes: &[u8], hit: &Hit) -> bool {
    let plain = |byte: Option<&u8>| {
        byte.is_none_or(|b| {
            matches!(
                b,
                b' ' | b'"'
                    | b'\n'
                    | b'\t'
                    | b','
                    | b';'
                    | b'<'
                    | b'>'
                    | b'('
                    | b')'
                    | b'&'
                    | b'='
                    | b'|'
                    | b'{'
                    | b'}'
            )
        })
    };
    let head = bytes.get(..hit.range.start).unwrap_or_default();
    let tail = bytes.get(hit.range.end..).unwrap_or_default();
    match (hit.kind, tail) {
        // Nothing is told by what stands around credentials, and a port is none of the address.
        (Type::UrlCredentials, [b'@', ..]) if head.ends_with(b"://") => return true,
        (Type::Ipv4, [b':', next, ..]) if next.is_ascii_digit() => {}
        _ if !plain(tail.first()) => return false,
        _ => {}
    }
    // `[secret]=`, `[jwt]" : `: a token reads as a key that says what its value is.
    let closes = |b: &&u8| matches!(b, b' ' | b'"' | b'\'' | b']');
    let is_key = matches!(tail.iter().find(|b| !closes(b)), Some(b'=' | b':' | b'>'));
    if is_key && !(hit.kind == Type::Ipv4 && tail.first() == Some(&b':')) {
        return false;
    }
    // As many separators as the groups of one number can have between them, and one more.
    let joins = |b: &&u8| matches!(b, b' ' | b',' | b'-' | b'.' | b'/' | b'_' | b'(' | b')' | b'[' | b']');
    let goes_on = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_digit() || *b == b'+');
    let after = tail.iter().take(4).take_while(joins).count();
    let before = head.iter().rev().take(4).take_while(joins).count();
    plain(head.last()) && !goes_on(tail.get(after)) && !goes_on(head.iter().rev().nth(before))
}

/// Puts tokens in the place of `hits`, which are places of the text that `pieces` make out of `text`; a token that a hit
/// touches becomes part of it.
fn replace(text: &str, pieces: &[Piece], hits: &[Replaced]) -> (String, Vec<Piece>) {
    let mut cleared = String::with_capacity(text.len());
    let mut made: Vec<Piece> = Vec::with_capacity(pieces.len() + 2 * hits.len());
    let mut next = hits.iter().peekable();
    // A hit that began in an earlier piece and goes on, with what it covers of the text so far.
    let mut open: Option<(&Replaced, Range<usize>, Type)> = None;
    for piece in pieces {
        let mut at = piece.redacted.start;
        while at < piece.redacted.end || piece.redacted.is_empty() {
            if let Some((hit, raw, kind)) = open.take() {
                let end = hit.place.end.min(piece.redacted.end);
                let (raw_end, kind) = match piece.kind {
                    Some(inner) => (piece.raw.end, kind.min(inner)),
                    None => (piece.raw.start + (end - piece.redacted.start), kind),
                };
                at = if piece.kind.is_some() { piece.redacted.end } else { end };
                let raw = raw.start..raw_end;
                if hit.place.end > piece.redacted.end {
                    open = Some((hit, raw, kind));
                    break;
                }
                push_token(&mut cleared, &mut made, raw, kind, &hit.token);
                if piece.redacted.is_empty() {
                    break;
                }
                continue;
            }
            let Some(hit) = next.next_if(|hit| hit.place.start < piece.redacted.end) else {
                copy(text, &mut cleared, &mut made, piece, at..piece.redacted.end);
                break;
            };
            let raw_start = match piece.kind {
                Some(_) => piece.raw.start,
                None => {
                    copy(text, &mut cleared, &mut made, piece, at..hit.place.start);
                    piece.raw.start + (hit.place.start - piece.redacted.start)
                }
            };
            at = hit.place.start.max(piece.redacted.start);
            open = Some((hit, raw_start..raw_start, hit.kind));
        }
    }
    if let Some((hit, raw, kind)) = open {
        push_token(&mut cleared, &mut made, raw, kind, &hit.token);
    }
    (cleared, made)
}

fn push_token(cleared: &mut String, made: &mut Vec<Piece>, raw: Range<usize>, kind: Type, token: &str) {
    let start = cleared.len();
    cleared.push_str(token);
    made.push(Piece { redacted: start..cleared.len(), raw, kind: Some(kind), token: token.to_owned() });
}

/// Copies `part` of what `piece` gave, a token whole.
fn copy(text: &str, cleared: &mut String, made: &mut Vec<Piece>, piece: &Piece, part: Range<usize>) {
    if let Some(kind) = piece.kind {
        push_token(cleared, made, piece.raw.clone(), kind, &piece.token);
        return;
    }
    let raw =
        piece.raw.start + (part.start - piece.redacted.start)..piece.raw.start + (part.end - piece.redacted.start);
    if !raw.is_empty() {
        let start = cleared.len();
        cleared.push_str(text.get(raw.clone()).unwrap_or_default());
        made.push(Piece { redacted: start..cleared.len(), raw, kind: None, token: String::new() });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::detect::corpus::{Gen, Odd, lookalikes, spell};

    #[test]
    fn tokens_take_the_place_of_values() {
        let redactor = Redactor::new();
        for (text, expected) in [
            ("mail ana@example.org or 06 12 34 56 78", "mail [email] or [phone]"),
            (
                "GET https://u:p@h/x?token=abc&y=1 from 203.0.113.9",
                "GET https://[url-credentials]@h/x?token=[secret]&y=1 from [ip]",
            ),
            ("ana%40example.org, ana\\u0040example.org, ana&#64;example.org", "[email], [email], [email]"),
            ("ana@b.fr 4242\u{a0}4242\u{a0}4242\u{a0}4242", "[email] [card]"),
            ("nothing here: status 503 in 1.25 s", "nothing here: status 503 in 1.25 s"),
            ("", ""),
        ] {
            assert_eq!(redactor.redact(text), expected);
            assert_eq!(redactor.finds_in(text), text != expected);
        }
        assert!(matches!(redactor.redact("nothing"), Cow::Borrowed(_)));
        let emails = redactor.counts().into_iter().find(|(kind, _)| *kind == Type::Email);
        assert_eq!(emails, Some((Type::Email, 5)));
    }

    #[test]
    fn findings_are_places_of_the_text_as_given() {
        let redactor = Redactor::new().with_declared(["10.0.0.5"]);
        let text = "é ana%40example.org, 10.0.0.5, a@b.fr+33612345678 & +33\u{a0}6\u{a0}12\u{a0}34\u{a0}56\u{a0}78";
        let explained = redactor.explain(text);
        let found: Vec<_> = explained
            .findings
            .iter()
            .map(|f| (text.get(f.range.clone()).expect("at characters"), f.kind.name(), f.kept))
            .collect();
        assert_eq!(
            found,
            [
                ("ana%40example.org", "EMAIL", false),
                ("10.0.0.5", "IPV4", true),
                ("a@b.fr", "EMAIL", false),
                ("+33612345678", "PHONE", false),
                ("+33\u{a0}6\u{a0}12\u{a0}34\u{a0}56\u{a0}78", "PHONE", false),
            ]
        );
        assert_eq!(explained.cleared, redactor.redact(text));
        assert_eq!(redactor.explain("").findings, []);
        assert_eq!(redactor.findings("to ana%40example.org").first().map(|f| f.range.clone()), Some(3..20));
    }

    #[test]
    fn what_was_declared_is_kept() {
        let redactor = Redactor::new()
            .with_declared(["http://10.0.0.5:80/", "192.168.0.0/16", "2001:db8::1", "ops@example.org", "web"])
            .with_kept(Type::Phone);
        let text = "10.0.0.5 192.168.3.4 2001:db8::1 ops@example.org 0612345678";
        assert_eq!(redactor.redact(text), text);
        assert_eq!(redactor.redact("10.0.0.6 2001:db8::2 ana@example.org"), "[ip] [ip] [email]");
        assert!(redactor.is_declared("web") && !redactor.is_declared("db"));
        assert!(Network::read("10.0.0.0/x").is_none() && Network::read("host").is_none());
    }

    #[test]
    fn false_alarms_stay_within_their_budget() {
        // At most 2 % of lines with order ids, UUIDs, hashes, time stamps and versions (privacy page, "Bars").
        let redactor = Redactor::new();
        let lines = lookalikes(7, 20_000);
        let touched: Vec<_> = lines.iter().filter(|line| redactor.finds_in(line)).collect();
        let share = touched.len() as f64 / lines.len() as f64;
        assert!(share <= 0.02, "{share}: {:?}", touched.iter().take(20).collect::<Vec<_>>());
    }

    /// `[jwt]=` reads as a key that names a secret, and a text was taken for read to its end with what stands behind it.
    #[test]
    fn what_follows_a_token_that_reads_as_a_key_is_looked_at_again() {
        let redactor = Redactor::new();
        for separator in ["=", " = ", "\": \"", ": "] {
            let text = format!("{}{separator}3648-909511-1749", Gen::new(3).jwt());
            let once = redactor.redact(&text).into_owned();
            assert_eq!(redactor.redact(&once), once.as_str());
            assert_eq!(redactor.explain(&text).cleared, once);
        }
    }

    /// What one reading makes of a text and, the slow and obvious way, what reading it until nothing is found does.
    fn both_ways(redactor: &Redactor, text: &str) -> (Explained, Explained) {
        let token = |kind: Type, understood: &str| redactor.replacement(kind, understood);
        let untouched = || Explained { findings: Vec::new(), cleared: text.to_owned() };
        let once = redactor.found(text).map_or_else(untouched, |found| redactor.explain_found(found, &token));
        (once, redactor.explain_with(text, &token))
    }

    #[test]
    fn one_reading_finds_what_many_do() {
        let kept = Redactor::new().with_kept(Type::Phone).with_declared(["web", "10.0.0.0/8", "ana@example.org"]);
        let other = Redactor::new().with_action(Type::Email, Action::Mask).with_action(Type::Ipv4, Action::Generalise);
        let generator = Gen::new(11);
        let values: [fn(&Gen) -> String; 9] = [
            Gen::email,
            Gen::card,
            Gen::iban,
            Gen::nir,
            Gen::jwt,
            Gen::ipv4,
            Gen::ipv6,
            Gen::secret,
            Gen::url_credentials,
        ];
        let mut texts = lookalikes(11, 5_000);
        for n in 0..5_000 {
            let (one, two) = (generator.pick(&values)(&generator), generator.pick(&values)(&generator));
            let (one, two) = (spell(&generator, &one, Odd::Any), spell(&generator, &two, Odd::None));
            let between = generator.pick(&[
                " ",
                ", ",
                "/",
                "",
                " and web 10.0.0.5 ",
                "=",
                " ana@example.org ",
                "@",
                "+33612345678",
            ]);
            let text = format!("{one}{between}{two}");
            texts.push(if n % 2 == 0 { format!("\"note\":\"{text}\"") } else { text });
        }
        for redactor in [Redactor::new(), kept, other] {
            for text in &texts {
                let (once, until_nothing) = both_ways(&redactor, text);
                assert_eq!(once, until_nothing, "{text}");
            }
        }
    }

    #[test]
    fn a_text_made_for_it_ends_after_the_last_pass() {
        let redactor = Redactor::new();
        let nested = "a@b.fr".repeat(300);
        assert!(redactor.redact(&nested).contains("[email]"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived_and_redacting_twice_changes_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let redactor = Redactor::new();
            let text = String::from_utf8_lossy(&bytes);
            let once = redactor.redact(&text).into_owned();
            prop_assert_eq!(redactor.redact(&once), once.as_str());
            prop_assert_eq!(redactor.explain(&text).cleared, once);
            let (once, until_nothing) = both_ways(&redactor, &text);
            prop_assert_eq!(once, until_nothing);
        }

        #[test]
        fn texts_of_anchors_are_survived(text in r#"([0-9]{1,6}|[@:=\[\]"'&%+ ./()_-]|a@b\.fr|token|eyJhbGci|key|[A-Z]{2}|\\u0040|%40|://|é|Bearer |\[email\]|-----BEGIN PRIVATE KEY|2001:){0,40}"#) {
            let redactor = Redactor::new();
            let once = redactor.redact(&text).into_owned();
            prop_assert_eq!(redactor.redact(&once), once.as_str());
            let explained = redactor.explain(&text);
            prop_assert_eq!(&explained.cleared, &once);
            prop_assert_eq!(&both_ways(&redactor, &text).0, &explained);
            let mut last = 0;
            for finding in explained.findings {
                prop_assert!(finding.range.start >= last && finding.range.start < finding.range.end, "{:?}", finding);
                prop_assert!(text.get(finding.range.clone()).is_some(), "{:?}", finding);
                last = finding.range.end;
            }
        }

        #[test]
        fn nothing_planted_is_left(seed in any::<u64>(), odd in any::<bool>()) {
            let generator = Gen::new(seed);
            let planted = [generator.email(), generator.card(), generator.iban(), generator.nir(), generator.jwt()];
            let odd = if odd { Odd::Any } else { Odd::None };
            let spelled: Vec<String> = planted.iter().map(|value| spell(&generator, value, odd)).collect();
            let text = spelled.iter().map(|value| format!("seen <{value}> ok")).collect::<Vec<_>>().join("\n");
            let redacted = Redactor::new().redact(&text).into_owned();
            for value in planted.iter().chain(&spelled) {
                prop_assert!(!redacted.contains(value.as_str()), "{value} in {redacted}");
            }
        }
    }
}
