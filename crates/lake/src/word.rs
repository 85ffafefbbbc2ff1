//! Words: what is one, and whether a text has it, whatever its case.
//!
//! Searches (`has_word`) and the token filters of data files both go by this page, so that a filter lets every row through
//! that a search would find (invariant E-5). A word is a longest run of letters, digits and `_`; everything is compared as
//! [`fold`] leaves it. A letter after `\n`, `\r` or `\t` in writing begins a word too: bodies are often JSON, or texts that
//! were written as JSON strings before they came.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};
use memchr::memmem::Finder;
use twox_hash::XxHash64;

use crate::syntax::{Part, Pattern};

/// The name of the function in SQL.
const NAME: &str = "has_word";

/// Writes `text` into `out` without differences of case. Two texts that are the same to `ILIKE` are the same here:
/// lowered, raised and lowered again, which no pair of letters survives that differs in case alone (a test tries them all).
pub(crate) fn fold(text: &str, out: &mut String) {
    out.clear();
    if text.is_ascii() {
        out.push_str(text);
        out.make_ascii_lowercase();
        return;
    }
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c.to_ascii_lowercase());
        } else {
            out.extend(c.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase));
        }
    }
}

fn is_of_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// The same of ASCII's bytes, which are nearly all that comes.
const OF_WORD: [bool; 128] = {
    let mut table = [false; 128];
    let mut b = 0;
    while b < 128 {
        table[b as usize] = b == b'_' || b.is_ascii_alphanumeric();
        b += 1;
    }
    table
};

/// Calls `each` with beginning and end of the words of a folded text, in order.
fn runs(folded: &str, mut each: impl FnMut(usize, usize)) {
    let bytes = folded.as_bytes();
    let (mut at, mut start) = (0, None);
    while let Some(&b) = bytes.get(at) {
        let (in_word, width) = match OF_WORD.get(usize::from(b)) {
            Some(in_word) => (*in_word, 1),
            None => folded
                .get(at..)
                .and_then(|rest| rest.chars().next())
                .map_or((false, 1), |c| (is_of_word(c), c.len_utf8())),
        };
        match start {
            None if in_word => start = Some(at),
            Some(begun) if !in_word => {
                each(begun, at);
                start = None;
            }
            _ => {}
        }
        at += width;
    }
    if let Some(begun) = start {
        each(begun, bytes.len());
    }
}

/// Tells whether the byte at `at` is the letter of a line break or a tabulator in writing.
fn is_escape(bytes: &[u8], at: usize) -> bool {
    at > 0 && matches!(bytes.get(at), Some(b'n' | b'r' | b't')) && bytes.get(at - 1) == Some(&b'\\')
}

fn hash(token: &[u8]) -> u64 {
    XxHash64::oneshot(0, token)
}

/// Calls `each` with the hashes of all words of a folded text.
pub(crate) fn tokens(folded: &str, mut each: impl FnMut(u64)) {
    let bytes = folded.as_bytes();
    runs(folded, |start, end| {
        each(hash(&bytes[start..end]));
        if is_escape(bytes, start) && start + 1 < end {
            each(hash(&bytes[start + 1..end]));
        }
    });
}

/// A token that a text must have, as a filter knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token {
    /// In bytes. First, for longer ones are rarer.
    pub(crate) len: usize,
    pub(crate) hash: u64,
}

/// Returns the tokens that stand whole in every text that has `text` in it: all of its words but one at an open end, which
/// may be a part of a longer one.
pub(crate) fn whole_tokens(text: &str, (open_start, open_end): (bool, bool)) -> Vec<Token> {
    let mut folded = String::new();
    fold(text, &mut folded);
    let bytes = folded.as_bytes();
    let mut found = Vec::new();
    runs(&folded, |start, end| {
        if (start > 0 || !open_start) && (end < bytes.len() || !open_end) {
            found.push(Token { len: end - start, hash: hash(&bytes[start..end]) });
        }
    });
    found
}

/// A word that is looked for: texts that follow each other, with anything between them.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    texts: Vec<Finder<'static>>,
    /// Whether the first text must begin a word.
    begins: bool,
    /// Whether the last one must end one.
    ends: bool,
    tokens: Vec<Token>,
}

impl Word {
    /// Reads a word as people type it: `*` stands for any characters, a backslash takes the next one as it is. Where it has
    /// a letter or digit at an end and no `*`, a word must begin or end there.
    pub(crate) fn read(text: &str) -> Self {
        Self::of(&parts(text))
    }

    fn of(parts: &[Part]) -> Self {
        let open_start = parts.first() == Some(&Part::Any);
        let open_end = parts.last() == Some(&Part::Any);
        let texts: Vec<&String> = parts
            .iter()
            .filter_map(|part| match part {
                Part::Text(text) => Some(text),
                Part::Any => None,
            })
            .collect();
        let mut folded = String::new();
        let (mut finders, mut tokens) = (Vec::new(), Vec::new());
        let (mut begins, mut ends) = (false, false);
        for (at, text) in texts.iter().enumerate() {
            let (first, last) = (at == 0, at + 1 == texts.len());
            tokens.extend(whole_tokens(text, (!first || open_start, !last || open_end)));
            fold(text, &mut folded);
            begins |= first && !open_start && folded.starts_with(is_of_word);
            ends |= last && !open_end && folded.ends_with(is_of_word);
            finders.push(Finder::new(folded.as_bytes()).into_owned());
        }
        Self { texts: finders, begins, ends, tokens }
    }

    /// Returns the tokens that every text has in which the word is.
    pub(crate) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Tells whether a text has the word in it; `folded` is room to work in.
    pub(crate) fn is_in(&self, text: &str, folded: &mut String) -> bool {
        let Some((last, before)) = self.texts.split_last() else { return true };
        fold(text, folded);
        let mut at = 0;
        for (n, text) in before.iter().enumerate() {
            let Some(found) = find(folded, text, at, self.begins && n == 0, false) else { return false };
            at = found + text.needle().len();
        }
        find(folded, last, at, self.begins && before.is_empty(), self.ends).is_some()
    }
}

/// Returns the first place from `at` on where the text stands and, if asked, a word begins and ends.
fn find(folded: &str, text: &Finder<'_>, mut at: usize, begins: bool, ends: bool) -> Option<usize> {
    loop {
        let place = at + text.find(folded.as_bytes().get(at..)?)?;
        let end = place + text.needle().len();
        if (!begins || begins_word(folded, place)) && (!ends || ends_word(folded, end)) {
            return Some(place);
        }
        at = place + 1;
    }
}

fn begins_word(folded: &str, at: usize) -> bool {
    let before = folded.get(..at).and_then(|text| text.chars().next_back());
    !before.is_some_and(is_of_word) || is_escape(folded.as_bytes(), at - 1)
}

fn ends_word(folded: &str, at: usize) -> bool {
    !folded.get(at..).and_then(|text| text.chars().next()).is_some_and(is_of_word)
}

fn parts(text: &str) -> Vec<Part> {
    let (mut parts, mut plain, mut chars) = (Vec::new(), String::new(), text.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.extend(chars.next()),
            '*' => {
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                if parts.last() != Some(&Part::Any) {
                    parts.push(Part::Any);
                }
            }
            c => plain.push(c),
        }
    }
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    parts
}

/// Writes a pattern as [`Word::read`] reads it.
fn written(pattern: &Pattern) -> String {
    let mut text = String::new();
    for part in &pattern.0 {
        match part {
            Part::Any => text.push('*'),
            Part::Text(plain) => text.extend(plain.chars().flat_map(|c| {
                let escape = matches!(c, '*' | '\\').then_some('\\');
                escape.into_iter().chain([c])
            })),
        }
    }
    text
}

/// Makes the filter that lets through what has a word in `column`.
pub(crate) fn has_word(column: Expr, pattern: &Pattern) -> Expr {
    function().call(vec![column, lit(written(pattern))])
}

/// Returns `has_word(text, word)` for SQL.
pub(crate) fn function() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(HasWord::new())));
    Arc::clone(&FUNCTION)
}

/// If an expression is `has_word` of a column and a literal, returns both.
pub(crate) fn asked(expr: &Expr) -> Option<(&str, Word)> {
    let Expr::ScalarFunction(call) = expr else { return None };
    match call.args.as_slice() {
        [Expr::Column(column), Expr::Literal(word, _)] if call.func.name() == NAME => {
            Some((column.name(), Word::read(word.try_as_str()??)))
        }
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct HasWord {
    signature: Signature,
}

impl HasWord {
    fn new() -> Self {
        Self { signature: Signature::exact(vec![DataType::Utf8, DataType::Utf8], Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for HasWord {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let other = || DataFusionError::Plan("has_word takes a text and a word that is a literal".to_owned());
        let [text, ColumnarValue::Scalar(word)] = args.args.as_slice() else { return Err(other()) };
        let word = word.try_as_str().ok_or_else(other)?;
        let Some(word) = word else { return Ok(ColumnarValue::Scalar(ScalarValue::Boolean(None))) };
        let word = Word::read(word);
        match text {
            ColumnarValue::Array(texts) => Ok(ColumnarValue::Array(matches(&word, texts))),
            ColumnarValue::Scalar(text) => {
                let text = text.try_as_str().ok_or_else(other)?;
                let found = text.map(|text| word.is_in(text, &mut String::new()));
                Ok(ColumnarValue::Scalar(ScalarValue::Boolean(found)))
            }
        }
    }
}

fn matches(word: &Word, texts: &ArrayRef) -> ArrayRef {
    let texts = texts.as_string::<i32>();
    let mut folded = String::new();
    let mut found = BooleanBufferBuilder::new(texts.len());
    for at in 0..texts.len() {
        found.append(texts.is_valid(at) && word.is_in(texts.value(at), &mut folded));
    }
    Arc::new(BooleanArray::new(found.finish(), texts.nulls().cloned()))
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;
    use arrow::compute::kernels::comparison::ilike;
    use proptest::prelude::*;

    use super::*;

    fn folded(text: &str) -> String {
        let mut folded = String::new();
        fold(text, &mut folded);
        folded
    }

    fn words(text: &str) -> Vec<String> {
        let (folded, mut words) = (folded(text), Vec::new());
        runs(&folded, |start, end| words.extend(folded.get(start..end).map(str::to_owned)));
        words
    }

    fn is_in(word: &str, text: &str) -> bool {
        Word::read(word).is_in(text, &mut String::new())
    }

    #[test]
    fn words_are_runs_of_letters_digits_and_underscores() {
        assert_eq!(
            words("GET /api/v1/Order_items?id=0x7F 10.0.0.1"),
            ["get", "api", "v1", "order_items", "id", "0x7f", "10", "0", "0", "1"]
        );
        assert_eq!(words("Straße STRASSE Ärger naïve 東京 Ω"), ["strasse", "strasse", "ärger", "naïve", "東京", "ω"]);
        assert_eq!(words(""), [""; 0]);
        assert_eq!(words("--"), [""; 0]);
    }

    #[test]
    fn a_word_is_found_whole_and_a_part_of_one_where_a_star_says_so() {
        for (word, text, found) in [
            ("time", "Time out", true),
            ("time", "timeout", false),
            ("time", "uptime", false),
            ("time*", "timeout", true),
            ("*time", "uptime", true),
            ("*ime*", "uptimes", true),
            ("time*out", "time is running out", true),
            ("time*out", "uptime timeouts", false),
            ("time*out", "uptimes, time, way out", true),
            ("request_id", "request_id=7", true),
            ("request", "request_id=7", false),
            ("10.0.0.1", "from 10.0.0.1:80", true),
            ("10.0.0.1", "from 110.0.0.1", false),
            ("10.0.0.1", "from 10.0.0.12", false),
            ("/api/v1/", "GET /api/v1/orders", true),
            ("a@b.example", "to <A@B.example>", true),
            ("a@b.example", "to <aa@b.example>, a@b.example", true),
            ("100%", "after 100%", true),
            ("100%", "after 1100%", false),
            ("bar", r#"{"text":"foo\nbar"}"#, true),
            ("foo", r"\foo", true),
            ("oo", r"\foo", false),
            ("STRASSE", "Hauptstraße, Straße 7", true),
            ("ΟΔΟΣ", "οδος", true),
            ("kelvin", "\u{212a}elvin", true),
            ("*", "", true),
            ("", "anything", true),
            (r"a\*b", "a*b", true),
            (r"a\*b", "a-b", false),
            ("é", "é", true),
            ("é", "éa", false),
        ] {
            assert_eq!(is_in(word, text), found, "{word} in {text}");
        }
    }

    #[test]
    fn patterns_are_written_as_they_are_read() {
        let any = Part::Any;
        let text = |text: &str| Part::Text(text.to_owned());
        for (pattern, expected) in [
            (vec![text("a*b")], r"a\*b"),
            (vec![text(r"c:\x"), any.clone()], r"c:\\x*"),
            (vec![any.clone(), text("a"), any.clone()], "*a*"),
            (vec![], ""),
        ] {
            assert_eq!(written(&Pattern(pattern.clone())), expected);
            assert_eq!(parts(expected), pattern);
        }
        assert_eq!(parts("a**"), [text("a"), any]);
    }

    /// What `ILIKE` takes for the same is the same when it is folded: every letter with every other of its kind.
    #[test]
    fn letters_that_differ_in_case_alone_fold_alike() {
        let of_case = |c: &char| folded(&c.to_string()) != c.to_string() || c.is_uppercase() || c.is_lowercase();
        let mut letters: Vec<char> = ('\u{80}'..=char::MAX).filter(of_case).collect();
        letters.extend('\0'..'\u{80}');
        // Others have no case of their own and are the same as letters that have.
        letters.extend(['\u{345}', '\u{1c80}']);
        let all: String = letters.iter().collect();
        let mut pairs = 0;
        for c in &letters {
            let same = regex::Regex::new(&format!("(?i){}", regex::escape(&c.to_string()))).expect("a letter");
            for other in same.find_iter(&all) {
                assert_eq!(folded(other.as_str()), folded(&c.to_string()), "{c} {}", other.as_str());
                pairs += usize::from(other.as_str() != c.to_string());
            }
        }
        assert!(pairs > 2_000, "{pairs}");
    }

    #[test]
    fn ilike_of_arrow_finds_no_more_than_folding() {
        for (text, like) in [("ſ", "%S%"), ("\u{212a}", "%k%"), ("ΣΑΣ", "%σας%"), ("ß", "%ẞ%")] {
            let found = ilike(&StringArray::from(vec![text]), &StringArray::new_scalar(like)).expect("a pattern");
            assert!(found.value(0), "{text}");
            assert!(folded(text).contains(&folded(like.trim_matches('%'))), "{text}");
        }
    }

    #[test]
    fn the_function_is_of_texts_and_a_literal() {
        let call = |text: ColumnarValue, word: ScalarValue| {
            let field = |name: &str| Arc::new(arrow::datatypes::Field::new(name, DataType::Utf8, true));
            HasWord::new().invoke_with_args(ScalarFunctionArgs {
                args: vec![text, ColumnarValue::Scalar(word)],
                arg_fields: vec![field("text"), field("word")],
                number_rows: 3,
                return_field: Arc::new(arrow::datatypes::Field::new("found", DataType::Boolean, true)),
                config_options: Arc::default(),
            })
        };
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a b"), None, Some("ab")]));
        let found = call(ColumnarValue::Array(Arc::clone(&texts)), "b".into()).expect("answers");
        let ColumnarValue::Array(found) = found else { panic!("rows") };
        assert_eq!(found.as_boolean().iter().collect::<Vec<_>>(), [Some(true), None, Some(false)]);
        for (text, word, expected) in
            [(Some("a b"), Some("b"), Some(true)), (None, Some("b"), None), (Some("a"), None, None)]
        {
            let found = call(
                ColumnarValue::Scalar(ScalarValue::Utf8(text.map(str::to_owned))),
                ScalarValue::Utf8(word.map(str::to_owned)),
            );
            assert!(
                matches!(found, Ok(ColumnarValue::Scalar(ScalarValue::Boolean(found))) if found == expected),
                "{text:?}"
            );
        }
        assert!(call(ColumnarValue::Array(texts), ScalarValue::Int64(Some(1))).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// E-5: a text that has a word has the word's tokens, those that a filter is made of.
        #[test]
        fn a_text_that_has_a_word_has_its_tokens(
            text in "[abAB_\\\\ nt.ßſK\u{345}\u{300}éıİ-]{0,20}",
            other in "[abAB_*\\\\ nt.ßſK\u{345}é-]{0,6}",
            place in 0_usize..20,
            len in 0_usize..12,
            star in 0_usize..16,
        ) {
            let mut part: String = text.chars().skip(place).take(len).collect::<String>().replace('\\', "\\\\");
            prop_assert!(Word::read(&format!("*{part}*")).is_in(&text, &mut String::new()), "{} in {}", part, text);
            if let Some((at, _)) = part.char_indices().nth(star).filter(|(at, _)| !part.split_at(*at).0.ends_with('\\')) {
                part.insert(at, '*');
            }
            let mut had = Vec::new();
            tokens(&folded(&text), |hash| had.push(hash));
            for typed in [other, part.clone(), format!("*{part}"), format!("{part}*"), format!("*{part}*")] {
                let word = Word::read(&typed);
                if word.is_in(&text, &mut String::new()) {
                    prop_assert!(word.tokens().iter().all(|token| had.contains(&token.hash)), "{} in {}", typed, text);
                }
            }
        }
    }
}
