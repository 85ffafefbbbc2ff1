//! Postal addresses: a number and a street's word (French), a number, a name and a street's word (English), a street and a
//! number (German, Spanish, Italian), with the postcode and the town behind them; and what stands under a key.

use std::ops::Range;

use super::lexicon::{FOLD, backwards, bit, seed, step, unaccented};
use super::{Hit, Type, token_len};

/// Longest address, in bytes.
const BYTES_MAX: usize = 160;

/// Looks at the number at `start..end` as a house's, or as the postcode behind a word such as `adresse`.
pub(crate) fn at(text: &str, floor: usize, start: usize, end: usize, said: &mut dyn FnMut() -> u64) -> Option<Hit> {
    let bytes = text.as_bytes();
    let width = end - start;
    let next = *bytes.get(end)?;
    if width == 5 && next == b' ' && bytes.get(end + 1).is_some_and(|b| b.is_ascii_uppercase() || *b >= 0x80) {
        let vouched = said() & bit::ADDRESS != 0;
        return if vouched { Some(Hit::new(start..town(text, end + 1), Type::Address)) } else { None };
    }
    if width > 5
        || start > 0
            && (bytes[start - 1].is_ascii_alphanumeric()
                || matches!(bytes[start - 1], b'.' | b'-' | b'_' | b'/' | b'=' | b':') && !is_value(bytes, start))
    {
        return None;
    }
    let ahead = if may_lead(bytes, end) { forward(text, start, end) } else { None };
    let range =
        ahead.or_else(|| if may_follow(bytes, start, end) { backward(text, floor, start, end) } else { None })?;
    Some(Hit::new(range, Type::Address))
}

/// Tells cheaply whether a street can follow the number that ends at `end`.
pub(crate) fn may_lead(bytes: &[u8], end: usize) -> bool {
    let mut gap = 0;
    while gap < 3 && matches!(bytes.get(end + gap), Some(b' ' | b',')) {
        gap += 1;
    }
    match bytes.get(end + gap) {
        Some(b) if gap == 0 => b.is_ascii_alphabetic(),
        Some(b) if b.is_ascii_uppercase() || *b >= 0x80 => true,
        // Small letters: a French street's word, `bis`, `ter`.
        Some(b'a'..=b'z') => match bytes.get(end + gap..end + gap + 2) {
            Some([a, b]) => STARTS_WITH[usize::from(*a)] >> (b & 31) & 1 != 0 && *b >= b'a' || *b == b' ' || *b == b',',
            _ => false,
        },
        _ => false,
    }
}

/// First two letters of the words of French, Spanish and Italian streets, and of what repeats a number.
const STARTS: [[u8; 2]; 34] = [
    *b"ru", *b"av", *b"bo", *b"bd", *b"bl", *b"bv", *b"pl", *b"al", *b"im", *b"ch", *b"ro", *b"rt", *b"qu", *b"co",
    *b"sq", *b"pa", *b"fa", *b"fg", *b"re", *b"lo", *b"se", *b"vo", *b"vi", *b"ha", *b"es", *b"mo", *b"ve", *b"pr",
    *b"do", *b"ci", *b"tr", *b"cl", *b"bi", *b"te",
];

/// [`STARTS`] by their first letter; bit `i` stands for the second letter whose last five bits are `i`.
static STARTS_WITH: [u32; 256] = {
    let mut seconds = [0; 256];
    let mut i = 0;
    while i < STARTS.len() {
        let [a, b] = STARTS[i];
        seconds[a as usize] |= 1 << (b & 31);
        i += 1;
    }
    seconds
};

/// Tells cheaply whether a street can stand before the number at `start..end`: its word's end, or a postcode behind.
pub(crate) fn may_follow(bytes: &[u8], start: usize, end: usize) -> bool {
    let Some(gap) = start.checked_sub(1).filter(|gap| bytes[*gap] == b' ') else { return false };
    let Some([a, b]) = gap.checked_sub(2).and_then(|from| bytes.get(from..gap)) else { return false };
    let german = matches!(
        [*a, *b],
        [b's' | 0x9F, b'e']
            | [b'r', b'.']
            | [b'e', b'e' | b'g']
            | [b't', b'z']
            | [b'm', b'm']
            | [b'e', b'r']
            | [b'a', b'n' | b't']
    );
    german || {
        let next = end + usize::from(bytes.get(end).is_some_and(u8::is_ascii_alphabetic));
        let gap = bytes.iter().skip(next).take(3).take_while(|b| matches!(b, b' ' | b',')).count();
        gap > 0 && (4..=5).contains(&super::digits::run_len(bytes, next + gap))
    }
}

/// A number behind `=`, `:` or an opening quote may start a value.
fn is_value(bytes: &[u8], start: usize) -> bool {
    matches!(bytes[start - 1], b'=' | b':')
}

/// `12 bis, rue de la Paix, 75002 Paris` and `221B Baker Street, London NW1 6XE`.
fn forward(text: &str, start: usize, end: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let mut at = end;
    // `12bis`, `221B`, `12-14`.
    if bytes.get(at).is_some_and(u8::is_ascii_alphabetic) {
        let len = word_len(text, at);
        let word = text.get(at..at + len)?;
        if len > 1 && !is_repeat(word) {
            return None;
        }
        at += len;
    }
    at = gap(bytes, at)?;
    if let Some(len) = Some(word_len(text, at)).filter(|len| *len > 0)
        && is_repeat(text.get(at..at + len)?)
    {
        at = gap(bytes, at + len)?;
    }
    let first_len = word_len(text, at);
    if first_len == 0 || first_len > 20 {
        return None;
    }
    if said_of(bytes, at, at + first_len) & bit::STREET != 0 {
        let dot = usize::from(bytes.get(at + first_len) == Some(&b'.'));
        let name = at + first_len + dot;
        return french(text, name).map(|end| start..end);
    }
    english(text, at).map(|end| start..end)
}

fn is_repeat(word: &str) -> bool {
    if word.len() > 6 {
        return false;
    }
    ["bis", "ter", "quater", "b", "t", "a", "c", "d"].iter().any(|other| word.eq_ignore_ascii_case(other))
}

/// Returns where the next word starts after at most a comma and two spaces; `None` where none does.
fn gap(bytes: &[u8], at: usize) -> Option<usize> {
    let len = bytes.iter().skip(at).take(3).take_while(|b| matches!(b, b' ' | b',')).count();
    (len > 0).then_some(at + len)
}

/// What follows a French street's word: an article or a capital, up to a comma, then the town.
fn french(text: &str, at: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.get(at) != Some(&b' ') {
        return None;
    }
    let mut end = at;
    let mut named = false;
    for _ in 0..8 {
        let start = end + 1;
        let len = word_len(text, start);
        let word = text.get(start..start + len)?;
        let numbered = bytes.get(start).is_some_and(u8::is_ascii_digit);
        let capital = word.chars().next().is_some_and(char::is_uppercase);
        let small = is_article(word);
        if numbered && named {
            // `rue de la Paix 75002 Paris`, or a date as a street's name: `rue du 8 mai 1945`.
            break;
        }
        if !(capital || small || numbered) || is_key(bytes, start + len) {
            break;
        }
        named |= capital || numbered;
        end = start + len.max(super::digits::run_len(bytes, start));
        if numbered {
            end = month_and_year(text, end);
        }
        if bytes.get(end) != Some(&b' ') {
            break;
        }
    }
    // `12 rue de` ends with an article that names nothing.
    if !named {
        return None;
    }
    Some(rest(text, trim_articles(text, at, end)))
}

fn month_and_year(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    if bytes.get(at) != Some(&b' ') {
        return at;
    }
    let len = word_len(text, at + 1);
    if said_of(bytes, at + 1, at + 1 + len) & bit::MONTH == 0 {
        return at;
    }
    let month = at + 1 + len;
    if bytes.get(month) == Some(&b' ') && super::digits::run_len(bytes, month + 1) == 4 { month + 5 } else { month }
}

fn trim_articles(text: &str, from: usize, to: usize) -> usize {
    let mut end = to;
    while let Some(space) = text.get(from..end).and_then(|name| name.rfind(' ')) {
        if !text.get(from + space + 1..end).is_some_and(is_article) {
            break;
        }
        end = from + space;
    }
    end
}

fn is_article(word: &str) -> bool {
    let word = word.to_lowercase();
    [
        "de", "du", "des", "d", "l", "la", "le", "les", "a", "à", "au", "aux", "en", "et", "sur", "sous", "saint",
        "sainte", "st", "ste", "del", "di", "della", "y",
    ]
    .contains(&word.as_str())
        || word.starts_with("d'")
        || word.starts_with("l'")
        || word.starts_with("d’")
        || word.starts_with("l’")
}

/// One to four capitalised words and a street's word.
fn english(text: &str, at: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut start = at;
    for index in 0..5 {
        let len = word_len(text, start);
        if len == 0 || !(bytes[start].is_ascii_uppercase() || bytes[start] >= 0x80) {
            // `5th Avenue`.
            return None;
        }
        let end = start + len;
        if index > 0 && said_of(bytes, start, end) & bit::STREET_END != 0 && !is_key(bytes, end) {
            let dot = usize::from(
                bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_none_or(|b| matches!(b, b' ' | b',')),
            );
            return Some(rest(text, end + dot));
        }
        if bytes.get(end) != Some(&b' ') {
            return None;
        }
        start = end + 1;
    }
    None
}

/// `Hauptstraße 12, 10115 Berlin`, `calle Mayor 5, 28013 Madrid`: the street stands before the number at `start..end`.
fn backward(text: &str, floor: usize, start: usize, end: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let head = text.get(floor.max(start.saturating_sub(48))..start).or_else(|| text.get(floor..start))?;
    let name = head.strip_suffix(", ").or_else(|| head.strip_suffix(' '))?;
    let from = floor.max(start.saturating_sub(48)).min(start - head.len()).max(start - head.len());
    let last = name.rsplit(' ').next()?;
    if !last.chars().next().is_some_and(char::is_uppercase) {
        return None;
    }
    let lower = last.to_lowercase();
    let german = last.len() > 5
        && ["strasse", "straße", "str.", "gasse", "allee", "platz", "weg", "damm", "ufer", "laan", "straat"]
            .iter()
            .any(|end| lower.ends_with(end));
    let followed = |to: usize| postcode_follows(text, to);
    let house_end = end
        + usize::from(
            bytes.get(end).is_some_and(u8::is_ascii_alphabetic)
                && !bytes.get(end + 1).is_some_and(u8::is_ascii_alphanumeric),
        );
    if bytes.get(house_end).is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    if german {
        return Some(from + name.len() - last.len()..rest(text, house_end));
    }
    if !followed(house_end) {
        return None;
    }
    // A street's word one to four words before.
    let mut at = name.len();
    for _ in 0..5 {
        let word_start = name.get(..at)?.rfind(' ').map_or(0, |space| space + 1);
        let word = name.get(word_start..at)?;
        if said_of(word.as_bytes(), 0, word.len()) & bit::STREET != 0 {
            return Some(from + word_start..rest(text, house_end));
        }
        if word_start == 0 {
            return None;
        }
        at = word_start - 1;
    }
    None
}

fn postcode_follows(text: &str, at: usize) -> bool {
    gap(text.as_bytes(), at).is_some_and(|next| (4..=5).contains(&super::digits::run_len(text.as_bytes(), next)))
}

/// Takes in what follows a street: flat, postcode, town, county, country; each after a comma, or the postcode after a space.
fn rest(text: &str, street_end: usize) -> usize {
    let bytes = text.as_bytes();
    let mut end = street_end;
    for _ in 0..4 {
        let Some(next) = gap(bytes, end).or_else(|| (bytes.get(end..end + 3) == Some(b" - ")).then_some(end + 3))
        else {
            break;
        };
        let comma = bytes.get(end) == Some(&b',');
        let digits = super::digits::run_len(bytes, next);
        let first = bytes.get(next).copied().unwrap_or(b' ');
        let part_end = if matches!(digits, 4 | 5)
            && !bytes
                .get(next + digits)
                .is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'.' | b'=' | b'/'))
        {
            let space = usize::from(bytes.get(next + digits) == Some(&b' '));
            town(text, next + digits + space).max(next + digits)
        } else if comma && (first.is_ascii_uppercase() || first >= 0x80) {
            town(text, next)
        } else {
            break;
        };
        if part_end <= next || part_end - street_end > BYTES_MAX {
            break;
        }
        end = part_end;
    }
    end
}

/// Returns where the capitalised words and codes end that start at `at`: `Saint-Denis-sur-Loire`, `New York, NY 10001`.
fn town(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let (mut start, mut end) = (at, at);
    for _ in 0..6 {
        let len = bytes
            .iter()
            .skip(start)
            .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'\'') || **b >= 0x80)
            .count();
        let Some(word) = text.get(start..start + len).filter(|word| !word.is_empty()) else { break };
        let capital = word.chars().next().is_some_and(char::is_uppercase);
        let code = end > at
            && len <= 5
            && word.bytes().any(|b| b.is_ascii_digit())
            && word.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
        if !(capital || code || end > at && is_article(word) || word.eq_ignore_ascii_case("cedex"))
            || is_key(bytes, start + len)
        {
            break;
        }
        if capital || code || word.eq_ignore_ascii_case("cedex") {
            end = start + len;
        }
        start += len;
        if bytes.get(start) != Some(&b' ') {
            break;
        }
        start += 1;
    }
    if text.is_char_boundary(end) { end } else { at }
}

fn is_key(bytes: &[u8], at: usize) -> bool {
    matches!(bytes.get(at), Some(b'=' | b':' | b'(' | b'_' | b'/' | b'@'))
}

/// Returns the length of the word of letters at `at`; dashes and apostrophes between letters belong to it.
fn word_len(text: &str, at: usize) -> usize {
    let Some(rest) = text.get(at..) else { return 0 };
    // Most words are letters of ASCII and nothing else.
    let letters = rest.bytes().take(40).take_while(u8::is_ascii_alphabetic).count();
    if letters < 40 && rest.as_bytes().get(letters).is_none_or(|b| *b < 0x80 && !matches!(b, b'-' | b'\'')) {
        return letters;
    }
    let mut len = 0;
    for (i, c) in rest.char_indices() {
        if !(c.is_alphabetic() || i > 0 && matches!(c, '-' | '\'' | '’')) || i > 40 {
            break;
        }
        len = i + c.len_utf8();
    }
    len
}

fn said_of(bytes: &[u8], from: usize, to: usize) -> u64 {
    let (mut hash, mut at) = (seed(), to);
    while at > from {
        let byte = bytes[at - 1];
        if byte >= 0x80 && at >= from + 2 && bytes[at - 2] == 0xC3 {
            hash = step(hash, unaccented(byte));
            at -= 2;
        } else {
            hash = step(hash, FOLD[usize::from(byte)]);
            at -= 1;
        }
    }
    backwards(hash).unwrap_or(0)
}

/// Looks at the value of a key that names an address.
pub(crate) fn under_key(text: &str, value: Range<usize>) -> Option<Hit> {
    let written = text.get(value.clone())?;
    let letters = written.chars().filter(|c| c.is_alphabetic()).count();
    let digits = written.bytes().filter(u8::is_ascii_digit).count();
    let spaces = written.contains(' ');
    let network = written.contains("://") || written.contains('@') || written.parse::<std::net::IpAddr>().is_ok();
    let fits =
        letters >= 4 && spaces && (digits > 0 || written.contains(',')) && !network && written.len() <= 2 * BYTES_MAX;
    (fits && token_len(written.as_bytes()).is_none()).then(|| Hit::new(value, Type::Address))
}

#[cfg(test)]
mod tests {
    use crate::detect::corpus::{Gen, budget};
    use crate::detect::{Type, find};

    fn french(g: &Gen) -> String {
        let street = g.pick(&[
            "rue de la République",
            "avenue Victor Hugo",
            "boulevard Saint-Michel",
            "chemin des Lilas",
            "place du Marché",
            "allée Jean Moulin",
        ]);
        let town = g.pick(&["Lyon", "Saint-Étienne", "Le Havre", "Aix-en-Provence", "Paris"]);
        let number = g.pick(&["3", "12", "128", "7 bis", "45,"]);
        match g.below(3) {
            0 => format!("{number} {street}, {:05} {town}", 1000 + g.below(94_000)),
            1 => format!("{number} {street} {:05} {town}", 1000 + g.below(94_000)),
            _ => format!("{number} {street}, {town}"),
        }
    }

    fn english(g: &Gen) -> String {
        let street =
            g.pick(&["Baker Street", "Abbey Road", "Old Mill Lane", "Park Avenue", "Martin Luther King Drive"]);
        let town = g.pick(&["London NW1 6XE", "Springfield, IL 62704", "Leeds LS1 4AP"]);
        format!("{} {street}, {town}", 1 + g.below(999))
    }

    #[test]
    fn addresses_are_told_from_what_looks_like_them() {
        for (text, expected) in [
            ("livrer au 12 rue de la Paix, 75002 Paris avant midi", Some("12 rue de la Paix, 75002 Paris")),
            ("12 bis avenue Foch", Some("12 bis avenue Foch")),
            ("4, PLACE DU MARCHÉ 69001 LYON", Some("4, PLACE DU MARCHÉ 69001 LYON")),
            ("3 rue du 8 mai 1945, Lens", Some("3 rue du 8 mai 1945, Lens")),
            ("ship to 221B Baker Street, London NW1 6XE today", Some("221B Baker Street, London NW1 6XE")),
            ("wohnt Hauptstraße 12, 10115 Berlin", Some("Hauptstraße 12, 10115 Berlin")),
            ("vive en calle Mayor 5, 28013 Madrid", Some("calle Mayor 5, 28013 Madrid")),
            ("{\"address\":\"Lieu-dit Kerbihan, 56400 Plumergat\"}", Some("Lieu-dit Kerbihan, 56400 Plumergat")),
            ("10 place available", None),
            ("3 routes added", None),
            ("12 rue=4", None),
            ("address=10.0.0.1:80", None),
            ("5 Workers Started", None),
            ("{\"address\":\"tcp://h 1\"}", None),
        ] {
            let hits = find(text);
            let found = hits.iter().find(|hit| hit.kind == Type::Address).and_then(|hit| text.get(hit.range.clone()));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn recall_meets_its_budget() {
        let sentences =
            ["colis déposé {} ce matin", "{\"adresse\":\"{}\"}", "shipping_address=\"{}\" ok", "adresse : {}; suite"];
        budget(Type::Address, 0.95, 0.90, &sentences, french);
        budget(Type::Address, 0.95, 0.90, &sentences, english);
    }
}
