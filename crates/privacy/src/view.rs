//! `View`: a text as a reader would understand it, each place of it traceable to the original.
//!
//! Odd spellings (`%40`, `\u0040`, `&commat;`, full-width digits, no-break spaces, zero-width characters) cost every
//! known engine 13 to 15 points of recall, so they are undone before anything is looked for. Only the detectors see the
//! view: what is replaced is cut from the original, and what is kept keeps its spelling.

use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Range;

use crate::detect::anchor::next_suspect;

/// A stretch of the view: `view` is where it starts there, `raw` where it starts in the original. A stretch is either
/// copied, byte for byte, or one decoded character.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    view: usize,
    raw: usize,
    copied: bool,
}

/// A text with odd spellings undone. Borrowed where nothing was odd.
#[derive(Debug)]
pub(crate) struct View<'a> {
    text: Cow<'a, str>,
    stretches: Vec<Stretch>,
    /// The stretch that was asked for last.
    last: Cell<usize>,
    raw_len: usize,
}

/// How many stretches are looked through one by one.
const NEAR: usize = 8;

impl<'a> View<'a> {
    /// Reads `raw`. Linear in its length.
    pub(crate) fn of(raw: &'a str) -> Self {
        match next_odd(raw.as_bytes(), 0) {
            first if first == raw.len() => Self::plain(raw),
            first => Self::decode(raw, first),
        }
    }

    fn plain(raw: &'a str) -> Self {
        Self { text: Cow::Borrowed(raw), stretches: Vec::new(), last: Cell::new(0), raw_len: raw.len() }
    }

    fn decode(raw: &'a str, first: usize) -> Self {
        let bytes = raw.as_bytes();
        let mut text = String::with_capacity(raw.len());
        let mut stretches = vec![Stretch { view: 0, raw: 0, copied: true }];
        let mut copied_to = 0;
        let mut at = first;
        while at < bytes.len() {
            let Some((len, meaning)) = decode_at(raw, at) else {
                at = next_odd(bytes, at + 1);
                continue;
            };
            text.push_str(raw.get(copied_to..at).unwrap_or_default());
            if let Some(meaning) = meaning {
                stretches.push(Stretch { view: text.len(), raw: at, copied: false });
                text.push(meaning);
            }
            at += len;
            copied_to = at;
            stretches.push(Stretch { view: text.len(), raw: at, copied: true });
            at = next_odd(bytes, at);
        }
        if stretches.len() == 1 {
            return Self::plain(raw);
        }
        text.push_str(raw.get(copied_to..).unwrap_or_default());
        Self { text: Cow::Owned(text), stretches, last: Cell::new(0), raw_len: raw.len() }
    }

    /// Returns the text as understood.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns where `range` of the view stands in the original. Both ends must be at characters.
    pub(crate) fn raw(&self, range: Range<usize>) -> Range<usize> {
        self.raw_at(range.start)..self.raw_at(range.end)
    }

    fn raw_at(&self, at: usize) -> usize {
        if self.stretches.is_empty() {
            return at;
        }
        if at >= self.text.len() {
            return self.raw_len;
        }
        // Most ask in ascending order, for a place near the last: what stands between is looked through from there.
        let from = self.last.get();
        let from = if self.stretches[from].view <= at { from } else { 0 };
        let rest = self.stretches.get(from..).unwrap_or_default();
        let near = rest.len().min(NEAR);
        let next = match rest.iter().take(near).position(|stretch| stretch.view > at) {
            Some(next) => next,
            None => near + rest.get(near..).unwrap_or_default().partition_point(|stretch| stretch.view <= at),
        };
        let last = from + next.saturating_sub(1);
        self.last.set(last);
        let stretch = self.stretches[last];
        if stretch.copied { stretch.raw + (at - stretch.view) } else { stretch.raw }
    }
}

/// Returns the place of the next byte from `at` on at which an odd spelling can start, or the length.
fn next_odd(bytes: &[u8], mut at: usize) -> usize {
    loop {
        at = next_suspect(bytes, at);
        match bytes.get(at) {
            Some(byte) if !ODD[usize::from(*byte)] => at += 1,
            _ => return at,
        }
    }
}

/// The bytes at which an odd spelling can start.
const ODD: [bool; 256] = {
    let mut table = [false; 256];
    table[b'%' as usize] = true;
    table[b'\\' as usize] = true;
    table[b'&' as usize] = true;
    // First bytes of UTF-8: Latin-1 signs, Arabic digits, general punctuation, ideographic signs, full-width forms,
    // mathematical digits.
    let leads = [0xC2, 0xD9, 0xDB, 0xE2, 0xE3, 0xEF, 0xF0];
    let mut i = 0;
    while i < leads.len() {
        table[leads[i]] = true;
        i += 1;
    }
    table
};

/// Reads the odd spelling at `at`: how many bytes it takes and what it means (`None`: nothing visible).
fn decode_at(raw: &str, at: usize) -> Option<(usize, Option<char>)> {
    let rest = raw.get(at..)?;
    match rest.as_bytes().first()? {
        b'%' => percent(rest.as_bytes()),
        b'\\' => escape(rest.as_bytes()),
        b'&' => entity(rest),
        _ => {
            let char = rest.chars().next()?;
            fold(char).map(|meaning| (char.len_utf8(), meaning))
        }
    }
}

/// `%40`, and `%2540` as often as it was encoded.
fn percent(rest: &[u8]) -> Option<(usize, Option<char>)> {
    let mut len = 3;
    let mut byte = hex_pair(rest.get(1..3)?)?;
    while byte == b'%' {
        match rest.get(len..len + 2).and_then(hex_pair) {
            Some(inner) => {
                byte = inner;
                len += 2;
            }
            None => break,
        }
    }
    if byte == 0xC2 && rest.get(len..len + 3) == Some(b"%A0") {
        return Some((len + 3, Some(' ')));
    }
    // A byte of a longer character keeps its spelling: it can only be a letter, and `%` ends no detector's run.
    byte.is_ascii().then_some((len, Some(char::from(byte))))
}

/// `\u0040`, `\u{40}`, `\x40`, `\n`, `\"`, `\.` ...
fn escape(rest: &[u8]) -> Option<(usize, Option<char>)> {
    match rest.get(1)? {
        b'u' if rest.get(2) == Some(&b'{') => {
            let close = rest.iter().take(10).position(|b| *b == b'}')?;
            let code = u32::from_str_radix(std::str::from_utf8(rest.get(3..close)?).ok()?, 16).ok()?;
            char::from_u32(code).map(|c| (close + 1, folded(c)))
        }
        b'u' => {
            let code = u32::from(hex_pair(rest.get(2..4)?)?) << 8 | u32::from(hex_pair(rest.get(4..6)?)?);
            char::from_u32(code).map(|c| (6, folded(c)))
        }
        b'x' => hex_pair(rest.get(2..4)?).filter(u8::is_ascii).map(|byte| (4, Some(char::from(byte)))),
        b'n' | b'r' => Some((2, Some('\n'))),
        b't' => Some((2, Some('\t'))),
        punctuation if punctuation.is_ascii_punctuation() => Some((2, Some(char::from(*punctuation)))),
        _ => None,
    }
}

/// `&#64;`, `&#x40;`, `&commat;` ...
fn entity(rest: &str) -> Option<(usize, Option<char>)> {
    let close = rest.bytes().take(12).position(|b| b == b';')?;
    let body = rest.get(1..close)?;
    let char = if let Some(number) = body.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        char::from_u32(code)?
    } else {
        match body {
            "amp" => '&',
            "commat" => '@',
            "period" => '.',
            "colon" => ':',
            "sol" => '/',
            "plus" => '+',
            "equals" => '=',
            "lowbar" => '_',
            "hyphen" | "dash" | "ndash" | "mdash" => '-',
            "quot" => '"',
            "apos" => '\'',
            "lt" => '<',
            "gt" => '>',
            "nbsp" | "thinsp" | "ensp" | "emsp" => ' ',
            _ => return None,
        }
    };
    Some((close + 1, folded(char)))
}

fn folded(char: char) -> Option<char> {
    fold(char).unwrap_or(Some(char))
}

/// What a character is taken for, where that is another one. `Some(None)`: it shows nothing.
fn fold(char: char) -> Option<Option<char>> {
    let code = u32::from(char);
    let digit = |zero: u32| char::from_digit(code - zero, 10);
    Some(match code {
        0xA0 | 0x2000..=0x200A | 0x2028 | 0x2029 | 0x202F | 0x205F | 0x3000 => Some(' '),
        0xAD | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x2064 | 0xFEFF => None,
        0xB7 | 0x2022 | 0x2024 | 0x2027 | 0x3002 | 0xFF61 => Some('.'),
        0xAB | 0xBB | 0x201C..=0x201F => Some('"'),
        0x2018..=0x201B => Some('\''),
        0x2010..=0x2015 | 0x2212 => Some('-'),
        0x2026 | 0x2039 | 0x203A => Some(' '),
        0x660..=0x669 => digit(0x660),
        0x6F0..=0x6F9 => digit(0x6F0),
        0xFF01..=0xFF5E => char::from_u32(code - 0xFEE0),
        0x1D7CE..=0x1D7FF => char::from_digit((code - 0x1D7CE) % 10, 10),
        _ => return None,
    })
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn odd_spellings_are_read() {
        for (raw, meaning) in [
            ("plain", "plain"),
            ("a%40b", "a@b"),
            ("a%2540b", "a@b"),
            ("a%252540b", "a@b"),
            ("100% sure", "100% sure"),
            ("%zz%4", "%zz%4"),
            ("100%25", "100%"),
            ("06%C2%A012", "06 12"),
            ("%C3%A9", "%C3%A9"),
            (r"a\u0040b \u{40} \x40 \u00a0|", "a@b @ @  |"),
            (r"\ud83d\u{zz}\q\", r"\ud83d\u{zz}\q\"),
            (r#"{\"a\":\"b\\c\"}\n\t"#, "{\"a\":\"b\\c\"}\n\t"),
            ("a&#64;b&#x40;c&commat;d&nosuch;&#xD800; & b", "a@b@c@d&nosuch;&#xD800; & b"),
            ("&amp;&period;&colon;&sol;&plus;&equals;&lowbar;&ndash;&quot;&apos;&lt;&gt;&nbsp;|", "&.:/+=_-\"'<> |"),
            ("06\u{a0}12\u{202f}34\u{200b}56", "06 12 3456"),
            ("１２３＠", "123@"),
            ("٠٦۱۲𝟘", "06120"),
            ("«a» “b” ‘c’ d–e…f • ‹g›", "\"a\" \"b\" 'c' d-e f .  g "),
            ("é œ 語", "é œ 語"),
        ] {
            assert_eq!(View::of(raw).text(), meaning, "{raw}");
        }
    }

    #[test]
    fn places_map_back_to_the_original() {
        let raw = "é ana%40ex\u{200b}ample.org, &#54;x";
        let view = View::of(raw);
        assert_eq!(view.text(), "é ana@example.org, 6x");
        let start = view.text().find("ana").expect("is there");
        let end = view.text().find(',').expect("is there");
        assert_eq!(raw.get(view.raw(start..end)), Some("ana%40ex\u{200b}ample.org"));
        let six = view.text().find('6').expect("is there");
        assert_eq!(raw.get(view.raw(six..six + 1)), Some("&#54;"));
        assert_eq!(view.raw(0..view.text().len()), 0..raw.len());
    }

    proptest! {
        #[test]
        fn every_place_maps_to_a_character_and_order_is_kept(raw in r"([a-z0-9@%&;#\\uéＡ\x{200b}\x{a0}]|%40|&#64;|\\u0040){0,40}") {
            let view = View::of(&raw);
            let mut last = 0;
            for (at, _) in view.text().char_indices() {
                let place = view.raw_at(at);
                prop_assert!(raw.is_char_boundary(place) && place >= last, "{at} -> {place}");
                last = place;
            }
        }
    }
}
