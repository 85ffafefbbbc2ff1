//! What the words around a number say it is: a checksum alone misleads, and a key name decides.

use std::cell::Cell;
use std::ops::Range;

use super::anchor::{BLOCK, Ends, ends_of};
use super::lexicon::{
    FOLD, backwards, ends_word, may_end, may_end_long, may_end_short, may_go_on, may_say, seed, step, tail, unaccented,
};

/// How far back a cue may stand.
const REACH: usize = 40;

/// Longest key that is read, in bytes.
const KEY_MAX: usize = 64;

/// Most words that are read as one: `numéro de sécurité sociale`.
const WORDS_MAX: usize = 4;

/// The words that end at a place, read backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Words {
    /// What the longest listed word or group of words says; `None` where none is listed.
    pub(crate) bits: Option<u64>,
    /// Where the longest listed one starts.
    pub(crate) start: usize,
    /// Where the last word alone starts.
    pub(crate) last: usize,
}

/// Reads the words that end at `end`, none of them starting before `floor`.
pub(crate) fn words_before(bytes: &[u8], floor: usize, end: usize) -> Words {
    let floor = floor.max(end.saturating_sub(KEY_MAX));
    let mut words = Words { bits: None, start: end, last: end };
    if !may_end(bytes, floor, end) {
        let mut at = end;
        while at > floor && (FOLD[usize::from(bytes[at - 1])] != 0 || bytes[at - 1] >= 0x80) {
            at -= 1;
        }
        words.last = at;
        return words;
    }
    let (mut hash, mut count, mut at) = (seed(), 1, end);
    // The letters so far, the last first, five bits each.
    let (mut letters, mut read) = (0, 0);
    while at > floor {
        let byte = bytes[at - 1];
        let mut folded = FOLD[usize::from(byte)];
        let mut width = 1;
        if folded == 0 {
            if byte >= 0x80 {
                (folded, width) = letter_before(bytes, floor, at);
            } else if matches!(byte, b'_' | b'-' | b'.' | b' ' | b'\'') && at < end && count < WORDS_MAX {
                // One separator between two words; the word behind it was judged when it ended.
                count += 1;
                at -= 1;
                if at == floor || (FOLD[usize::from(bytes[at - 1])] == 0 && bytes[at - 1] < 0x80) {
                    break;
                }
                continue;
            } else {
                break;
            }
        }
        hash = step(hash, folded);
        (letters, read) = (letters + 1, tail(read, folded));
        at -= width;
        let listed = may_go_on(read, letters);
        if starts_word(bytes, at) {
            if words.last == end {
                words.last = at;
            }
            if let Some(bits) = backwards(hash) {
                words.bits = Some(bits);
                words.start = at;
            }
        }
        if !listed {
            // No longer word can be listed; where the last one starts is still asked.
            if words.last == end {
                words.last = start_of_last(bytes, floor, at, end);
            }
            break;
        }
    }
    words
}

/// Returns where the word starts of which the letters from `at` on were read, or `end` where `floor` cuts it.
fn start_of_last(bytes: &[u8], floor: usize, mut at: usize, end: usize) -> usize {
    while at > floor {
        let byte = bytes[at - 1];
        if FOLD[usize::from(byte)] != 0 {
            at -= 1;
        } else if byte >= 0x80 {
            at -= letter_before(bytes, floor, at).1;
        } else {
            break;
        }
        if starts_word(bytes, at) {
            return at;
        }
    }
    end
}

/// Returns the folded letter that ends before `at`, and how many bytes it takes.
fn letter_before(bytes: &[u8], floor: usize, at: usize) -> (u8, usize) {
    match bytes.get(floor.max(at.saturating_sub(2))..at) {
        Some([0xC3, second]) => (unaccented(*second), 2),
        _ => (bytes[at - 1], 1),
    }
}

/// Tells whether a word starts at `at`: after no letter, or with a capital after a small one (`firstName`).
fn starts_word(bytes: &[u8], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).map(|i| bytes[i]) else { return true };
    if FOLD[usize::from(before)] == 0 && before < 0x80 {
        return true;
    }
    bytes[at].is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit())
}

/// Returns what the words within reach before `at` say, on the same line and not before `floor`.
pub(crate) fn context(bytes: &[u8], floor: usize, at: usize) -> u64 {
    let floor = floor.max(at.saturating_sub(REACH));
    let mut said = 0;
    let mut end = at;
    while end > floor {
        let byte = bytes[end - 1];
        if byte == b'\n' {
            break;
        }
        if FOLD[usize::from(byte)] == 0 && byte < 0x80 {
            // What stands in a token of ours says nothing about its neighbours.
            end = match byte {
                b']' => token_start(bytes, end).unwrap_or(end - 1),
                _ => end - 1,
            };
            continue;
        }
        said |= judge(bytes, floor, &mut end);
    }
    said
}

const fn is_word(byte: u8) -> bool {
    FOLD[byte as usize] != 0 || byte >= 0x80
}

/// Returns the places of the bits that are set, in ascending order.
fn places(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = (mask != 0).then(|| mask.trailing_zeros() as usize)?;
        mask &= mask - 1;
        Some(place)
    })
}

/// Where in a block words end that may be listed, and where lines do.
#[derive(Clone, Copy, Debug)]
struct Candidates {
    /// Which block it is.
    block: usize,
    marks: Ends,
    /// The end of the word that goes on from the block before, or none.
    first: u64,
    /// The ends that are not judged yet.
    open: u64,
    /// Of those that are, the ends that may be listed.
    ends: u64,
}

impl Candidates {
    /// Returns a block of which nothing is judged yet.
    fn of(bytes: &[u8], block: usize) -> Self {
        let base = block * BLOCK;
        let marks = ends_of(bytes, base);
        let mut open = marks.words;
        let goes_on = base > 0 && is_word(bytes[base - 1]);
        let first = if goes_on { open & open.wrapping_neg() } else { 0 };
        if !marks.has_humps() {
            // No listed word ends with three digits.
            open &= !marks.digits | first;
        }
        Self { block, marks, first, open, ends: 0 }
    }

    /// Judges the ends in `wanted`.
    fn judge(&mut self, bytes: &[u8], wanted: u64) {
        let (base, open) = (self.block * BLOCK, self.open & wanted);
        self.open ^= open;
        for place in places(open) {
            let at = base + place;
            // Inside of `patientName` words are judged too, if it may be listed; what of the first word lies in the block
            // before is not asked for capitals.
            let whole = self.first >> place & 1 == 0 && !self.marks.is_humped(place);
            let may = if self.marks.fours >> place & 1 != 0 {
                may_end_four(bytes, at, whole)
            } else {
                let three = self.marks.threes >> place & 1 != 0;
                may_end_few(bytes, at, whole, three)
            };
            self.ends |= u64::from(may) << place;
        }
    }
}

/// Tells whether the word of four letters and more that ends at `at` may be listed.
fn may_end_four(bytes: &[u8], at: usize, whole: bool) -> bool {
    let end = bytes.get(at - 3..).and_then(|rest| rest.first_chunk());
    let Some(end @ [_, third, second, last]) = end else { return true };
    if !whole {
        return ends_word(*last, *second, *third);
    }
    if !may_end_long(*end) {
        return false;
    }
    // Of six letters and more, a word as long must end so.
    match at.checked_sub(5).and_then(|from| bytes.get(from..=at)) {
        Some(letters) if letters.iter().all(|letter| FOLD[usize::from(*letter)] != 0) => {
            may_go_on(letters.iter().rev().fold(0, |letters, letter| tail(letters, *letter)), letters.len())
        }
        _ => true,
    }
}

/// Tells whether the word of up to three letters that ends at `at` may be listed, or may end what is; `three` says that it
/// has as many, all of ASCII.
fn may_end_few(bytes: &[u8], at: usize, whole: bool, three: bool) -> bool {
    let before = at.checked_sub(1).map_or(b' ', |before| bytes[before]);
    if whole && !may_end_short(before, bytes[at]) || three && !ends_word(bytes[at], bytes[at - 1], bytes[at - 2]) {
        return false;
    }
    if whole { may_say(bytes, 0, at + 1) } else { may_end(bytes, 0, at + 1) }
}

/// What [`context`] says, for one text whose numbers ask in turn: each word's end is judged once, by its last letters, and
/// only those that may be listed are read.
#[derive(Debug)]
pub(crate) struct Cues<'a> {
    bytes: &'a [u8],
    // A window is shorter than a block, so it lies in two at most.
    blocks: [Cell<Option<Candidates>>; 2],
}

impl<'a> Cues<'a> {
    pub(crate) const fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, blocks: [const { Cell::new(None) }; 2] }
    }

    /// Returns which words in `wanted` may be listed that end in a block, and which line feeds there are.
    fn ends(&self, block: usize, wanted: u64) -> (u64, u64) {
        let slot = &self.blocks[block % 2];
        let mut found = match slot.get() {
            Some(found) if found.block == block => found,
            _ => Candidates::of(self.bytes, block),
        };
        found.judge(self.bytes, wanted);
        slot.set(Some(found));
        (found.ends & wanted, found.marks.lines & wanted)
    }

    /// Returns what [`context`] does. No token of ours may stand between `floor` and `at`: the walk's floor is behind it.
    pub(crate) fn context(&self, floor: usize, at: usize) -> u64 {
        let floor = floor.max(at.saturating_sub(REACH));
        if at <= floor {
            return 0;
        }
        let (window, shift) = ((1_u64 << (at - floor)) - 1, floor % BLOCK);
        let (ends, lines) = self.ends(floor / BLOCK, window << shift);
        let (mut ends, mut lines) = (ends >> shift, lines >> shift);
        if (at - 1) / BLOCK != floor / BLOCK {
            // The window is shorter than a block, so that it starts inside of the first.
            let second = self.ends((at - 1) / BLOCK, window >> (BLOCK - shift));
            ends |= second.0 << (BLOCK - shift);
            lines |= second.1 << (BLOCK - shift);
        }
        if is_word(self.bytes[at - 1]) && may_end(self.bytes, 0, at) {
            // A word that goes on behind `at` ends there all the same.
            ends |= 1 << (at - 1 - floor);
        }
        ends &= !u64::MAX.checked_shr(lines.leading_zeros()).unwrap_or(0);
        let mut said = 0;
        while ends != 0 {
            let last = BLOCK - 1 - ends.leading_zeros() as usize;
            ends ^= 1 << last;
            said |= self.word(floor, floor + last + 1);
        }
        debug_assert_eq!(said, context(self.bytes, floor, at), "the words before {at}");
        said
    }

    /// Returns what the word that ends at `end` says, and the words inside it: `patientName`.
    fn word(&self, floor: usize, mut end: usize) -> u64 {
        let mut said = 0;
        while end > floor && is_word(self.bytes[end - 1]) {
            said |= judge(self.bytes, floor, &mut end);
        }
        said
    }

    /// Tells whether one of the words with these bits stands within reach before `at`.
    pub(crate) fn precede(&self, floor: usize, at: usize, bits: u64) -> bool {
        self.context(floor, at) & bits != 0
    }
}

/// Returns what the word that ends at `end` says, and moves `end` to where it starts.
fn judge(bytes: &[u8], floor: usize, end: &mut usize) -> u64 {
    let words = words_before(bytes, floor, *end);
    let cut = words.last == *end || (words.last == floor && floor > 0 && !starts_word(bytes, floor));
    *end = words.last.min(*end - 1);
    if cut { 0 } else { words.bits.unwrap_or(0) }
}

/// Returns where the token of ours starts that ends at `end`.
fn token_start(bytes: &[u8], end: usize) -> Option<usize> {
    let open = bytes.get(end.saturating_sub(40)..end)?.iter().rposition(|b| *b == b'[')? + end.saturating_sub(40);
    (super::token_len(bytes.get(open..)?)? == end - open).then_some(open)
}

/// Tells whether one of the words with these bits stands within reach before `at`.
pub(crate) fn precedes(bytes: &[u8], floor: usize, at: usize, bits: u64) -> bool {
    context(bytes, floor, at) & bits != 0
}

/// A key and what its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// Where the name starts.
    pub(crate) start: usize,
    /// Where it ends.
    pub(crate) end: usize,
    /// What its longest listed ending says.
    pub(crate) bits: u64,
    /// Whether the listed ending is the whole name.
    pub(crate) whole: bool,
    /// Whether the name stands between quotes.
    pub(crate) quoted: bool,
}

impl Key {
    /// Reads the key whose separator (`=`, `:` or `>`) is at `at`.
    pub(crate) fn before(bytes: &[u8], floor: usize, at: usize) -> Option<Self> {
        let end = Self::end(bytes, at);
        if end <= floor || !may_say(bytes, floor, end) {
            return None;
        }
        let words = words_before(bytes, floor, end);
        if words.bits.is_none_or(|bits| bits == 0) {
            return None;
        }
        let quoted = bytes.get(end).is_some_and(|b| matches!(b, b'"' | b'\''));
        let start = words.start.min(words.last);
        let whole = start == floor || !matches!(bytes[start - 1], b'_' | b'-' | b'.') && starts_word(bytes, start);
        Some(Self { start, end, bits: words.bits.unwrap_or(0), whole, quoted })
    }

    /// Returns where the name of a key ends whose separator is at `at`.
    pub(crate) fn end(bytes: &[u8], at: usize) -> usize {
        skip_back(bytes, at, |b| matches!(b, b' ' | b'"' | b'\'' | b']'))
    }

    /// Tells whether no prose would write the name so: `last_name`, `patient.name`.
    pub(crate) fn is_machines(&self, bytes: &[u8]) -> bool {
        bytes.get(self.start..self.end).is_some_and(|name| name.iter().any(|b| matches!(b, b'_' | b'.')))
    }
}

/// Returns where the key stands whose value starts at `at`: `key=`, `"key": "`, `key : `, `key #`; `None` where none does.
pub(crate) fn key(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let mut end = skip_back(bytes, at, |b| matches!(b, b'"' | b'\'' | b' ' | b'+' | b'('));
    if end == 0 || !matches!(bytes[end - 1], b'=' | b':' | b'#') {
        return None;
    }
    end -= 1;
    end = skip_back(bytes, end, |b| matches!(b, b'"' | b'\'' | b' ' | b'\\'));
    let start = skip_back(bytes, end, |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.') || b >= 0x80);
    (start < end).then_some(start..end)
}

fn skip_back(bytes: &[u8], from: usize, skip: impl Fn(u8) -> bool) -> usize {
    let mut at = from;
    while at > 0 && from - at < 64 && skip(bytes[at - 1]) {
        at -= 1;
    }
    at
}

/// Words of keys and prose whose numbers are ids of things, not of persons.
const ID_WORDS: [&str; 40] = [
    "order",
    "commande",
    "ticket",
    "invoice",
    "facture",
    "trace",
    "span",
    "request",
    "session",
    "tracking",
    "colis",
    "parcel",
    "sku",
    "ean",
    "gtin",
    "isbn",
    "barcode",
    "imei",
    "serial",
    "seq",
    "offset",
    "timestamp",
    "time",
    "nonce",
    "epoch",
    "commit",
    "build",
    "transaction",
    "txn",
    "batch",
    "job",
    "version",
    "hash",
    "uuid",
    "guid",
    "correlation",
    "message",
    "event",
    "ref",
    "siret",
];

/// Which three letters one of [`ID_WORDS`] can start with.
static ID_STARTS: [bool; 1 << 15] = {
    let mut set = [false; 1 << 15];
    let mut i = 0;
    while i < ID_WORDS.len() {
        let word = ID_WORDS[i].as_bytes();
        set[trio(word[0], word[1], word[2])] = true;
        i += 1;
    }
    set
};

const fn trio(a: u8, b: u8, c: u8) -> usize {
    ((a & 31) as usize) << 10 | ((b & 31) as usize) << 5 | (c & 31) as usize
}

/// Tells whether one of [`ID_WORDS`] stands at the start of `text`, which may go on behind it.
fn starts_with_id_word(text: &[u8]) -> bool {
    matches!(text, [a, b, c, ..] if ID_STARTS[trio(*a, *b, *c)])
        && ID_WORDS
            .iter()
            .any(|word| text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes())))
}

/// Tells whether the value at `at` belongs to a key that names ids: `order_id=`, `"traceId":`, `ref #`, or follows
/// such a word closely (`order 4111…`).
pub(crate) fn names_an_id(bytes: &[u8], at: usize) -> bool {
    if let Some(key) = key(bytes, at) {
        let name = bytes.get(key).unwrap_or_default();
        let ends = |end: &[u8]| name.len() >= end.len() && name[name.len() - end.len()..].eq_ignore_ascii_case(end);
        let alone = |end: &[u8]| {
            ends(end) && name.len().checked_sub(end.len() + 1).is_none_or(|i| matches!(name[i], b'_' | b'-' | b'.'))
        };
        return alone(b"id")
            || alone(b"ids")
            || (name.len() > 3 && ends(b"id") && !ends(b"paid"))
            || (0..name.len()).any(|i| starts_with_id_word(&name[i..]));
    }
    let window = bytes.get(at.saturating_sub(REACH)..at).unwrap_or_default();
    let window = window.rsplit(|b| *b == b'\n').next().unwrap_or_default();
    let mut words = window.rsplit(|b| !b.is_ascii_alphanumeric() && *b < 0x80).filter(|word| !word.is_empty());
    words.by_ref().take(2).any(|word| {
        word.eq_ignore_ascii_case(b"id")
            || starts_with_id_word(word) && ID_WORDS.iter().any(|id| word.eq_ignore_ascii_case(id.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::lexicon::bit;

    #[test]
    fn keys_are_found_in_front_of_their_value() {
        for (text, expected) in [
            ("order_id=4", Some("order_id")),
            (r#"{"a.b": "4"#, Some("a.b")),
            ("téléphone : 4", Some("téléphone")),
            ("no key 4", None),
            (": 4", None),
            ("", None),
        ] {
            let at = text.len().saturating_sub(1);
            let found = key(text.as_bytes(), at).and_then(|range| text.get(range));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn ids_are_told_by_key_or_word() {
        for (text, id) in [
            ("order_id=4", true),
            ("traceId: 4", true),
            ("commande n° 4", true),
            ("id 4", true),
            ("card=4", false),
            ("paid=4", false),
            ("carte 4", false),
        ] {
            assert_eq!(names_an_id(text.as_bytes(), text.len() - 1), id, "{text}");
        }
    }

    #[test]
    fn cues_are_words_on_the_same_line() {
        let says = |text: &str, bits| precedes(text.as_bytes(), 0, text.len() - 2, bits);
        assert!(says("Téls: 06", bit::PHONE));
        assert!(!says("telemetry 06", bit::PHONE));
        assert!(!says("hotel 06", bit::PHONE));
        assert!(!says("tel\n06", bit::PHONE));
        assert!(says("né le 06", bit::DOB) && says("NÉE LE 06", bit::DOB) && says("date_de_naissance=06", bit::DOB));
        assert!(says("Numéro de sécurité sociale n° 06", bit::NIR));
        assert!(!says("[phone] 06", bit::PHONE) && says("phone] 06", bit::PHONE));
        assert!(!says("a phone that is forty or more bytes away and more 06", bit::PHONE));
    }

    #[test]
    fn the_longest_ending_of_a_key_decides() {
        for (text, bits) in [
            ("patient.first_name=", bit::PERSON),
            ("patientFirstName=", bit::PERSON),
            ("\"FIRST-NAME\": ", bit::PERSON),
            ("Numéro SIRET :", bit::SIRET),
        ] {
            let at = text.rfind(['=', ':']).expect("is there");
            assert_eq!(Key::before(text.as_bytes(), 0, at).map(|key| key.bits), Some(bits), "{text}");
        }
        for text in ["file_name=", "\"client ip address\":", "wholly_unknown=", " ="] {
            assert_eq!(Key::before(text.as_bytes(), 0, text.len() - 1), None, "{text}");
        }
    }

    #[test]
    fn words_are_judged_once_as_they_are_judged_alone() {
        let words = [
            "né le",
            "patientName",
            "tel",
            "SIRET",
            "request_id",
            "naïve",
            "x",
            "7",
            "néeAle",
            "telOle",
            "code icd10",
            "Chrome",
            "\n",
            "= ",
        ];
        let rng = model::SeededRng::new(9);
        let below = |bound: usize| usize::try_from(rng.below(bound as u64)).expect("small");
        for _ in 0..2_000 {
            let text: Vec<_> = (0..1 + below(20)).map(|_| words[below(words.len())]).collect();
            let text = text.join([" ", "-", ", ", ""][below(4)]);
            let (bytes, cues) = (text.as_bytes(), Cues::of(text.as_bytes()));
            let mut floor = 0;
            for at in (0..=bytes.len()).filter(|_| below(3) == 0) {
                assert_eq!(cues.context(floor, at), context(bytes, floor, at), "{floor}..{at} of {text:?}");
                if below(9) == 0 {
                    floor = at;
                }
            }
        }
    }

    #[test]
    fn no_word_that_says_something_is_passed_over() {
        for text in ["numéro_de_sécurité_sociale", "patient.first_name", "mr", "tels", "ms", "cvv2", "date of birth"]
        {
            for end in 1..=text.len() {
                let (bytes, said) = (text.as_bytes(), words_before(text.as_bytes(), 0, end).bits);
                assert!(said.is_none() || may_say(bytes, 0, end) && may_end(bytes, 0, end), "{end} of {text}");
            }
        }
    }
}
