//! The search that people type, read into a tree: `service:auth severity>=error "time out" -debug field:>10`.
//!
//! Words next to each other must all be there; `OR` between two means either; `-` or `NOT` before one means it must not
//! be there; brackets group. A word is looked for in the body, whatever its case, and not inside of longer words: `time` does
//! not find `timeout`, `time*` does; `*` stands for any characters. A quoted text is looked for as it is, wherever it stands,
//! parts of words included. `name:value` asks for a field's whole value, `name:*` for its being there,
//! `name>value`, `>=`, `<`, `<=` (also written `name:>value`) for its order.

use std::fmt;

use model::limits::{SEARCH_BYTES_MAX, SEARCH_DEPTH_MAX, SEARCH_TERMS_MAX};

/// A search, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    /// All of these; all events when there is none.
    And(Vec<Search>),
    /// At least one of these.
    Or(Vec<Search>),
    /// Not this.
    Not(Box<Search>),
    /// The body has this word in it, whole where there is no `*`.
    Word(Pattern),
    /// The body has this text in it, anywhere.
    Text(String),
    /// A field is so.
    Field {
        /// Its name, as typed.
        name: String,
        /// How it must be.
        test: Test,
        /// Where its value begins, in characters from 1: for errors found later.
        column: usize,
    },
}

/// How a field must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// There, with any value.
    Exists,
    /// All of its value is so.
    Is(Pattern),
    /// In this order with a value.
    Compare(Order, String),
}

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    More,
    /// `>=`
    AtLeast,
}

impl Order {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::More => ">",
            Self::AtLeast => ">=",
        }
    }
}

/// A text in which some places may be anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(pub Vec<Part>);

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// These characters.
    Text(String),
    /// Any characters, or none.
    Any,
}

impl Pattern {
    /// Returns the pattern that is one text.
    #[must_use]
    pub fn exact(text: &str) -> Self {
        Self(vec![Part::Text(text.to_owned())])
    }

    /// Returns the pattern that `text` writes, in which `*` stands for any characters.
    #[must_use]
    pub fn wild(text: &str) -> Self {
        let mut parts = Vec::new();
        for (at, piece) in text.split('*').enumerate() {
            if at > 0 && parts.last() != Some(&Part::Any) {
                parts.push(Part::Any);
            }
            if !piece.is_empty() {
                parts.push(Part::Text(piece.to_owned()));
            }
        }
        Self(parts)
    }

    /// Returns the text, if there is nothing else.
    #[must_use]
    pub fn as_exact(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Tells whether `text` is so, whole.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let mut rest = text;
        let mut anywhere = false;
        let mut parts = self.0.iter().peekable();
        while let Some(part) = parts.next() {
            match part {
                Part::Any => anywhere = true,
                Part::Text(wanted) if parts.peek().is_none() && anywhere => return rest.ends_with(wanted.as_str()),
                Part::Text(wanted) => {
                    let found = if anywhere {
                        rest.split_once(wanted.as_str())
                    } else {
                        rest.strip_prefix(wanted.as_str()).map(|after| ("", after))
                    };
                    let Some((_, after)) = found else { return false };
                    (rest, anywhere) = (after, false);
                }
            }
        }
        anywhere || rest.is_empty()
    }
}

/// Why a search cannot be read: where, and what would have been right there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: expected {expected}")]
pub struct Error {
    /// In characters, from 1; one past the end when something is missing there.
    pub column: usize,
    /// What was expected.
    pub expected: &'static str,
}

/// Reads a search. Nothing typed means all events.
///
/// # Errors
/// When it cannot be read, is longer than [`SEARCH_BYTES_MAX`], or has too many parts or brackets.
pub fn parse(text: &str) -> Result<Search, Error> {
    if text.len() > SEARCH_BYTES_MAX {
        return Err(Error { column: 1, expected: "a shorter search" });
    }
    let mut parser = Parser { chars: text.chars().collect(), at: 0, terms: 0 };
    let search = parser.either(0)?;
    match parser.peek() {
        None => Ok(search),
        Some(_) => Err(parser.expected("a word, a field or the end; brackets must open before they close")),
    }
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    terms: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn expected(&self, expected: &'static str) -> Error {
        Error { column: self.at + 1, expected }
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn spaces(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    /// Takes a word of the language, which stands alone.
    fn keyword(&mut self, word: &str) -> bool {
        let end = self.at + word.chars().count();
        let found = self.chars.get(self.at..end).is_some_and(|here| here.iter().copied().eq(word.chars()))
            && self.chars.get(end).is_none_or(|next| next.is_whitespace() || matches!(next, '(' | ')'));
        if found {
            self.at = end;
        }
        found
    }

    fn either(&mut self, depth: usize) -> Result<Search, Error> {
        let mut options = vec![self.all(depth)?];
        loop {
            self.spaces();
            let before = self.at;
            if !self.keyword("OR") {
                break;
            }
            if options.last() == Some(&Search::And(Vec::new())) {
                self.at = before;
                return Err(self.expected("a word or a field before OR"));
            }
            self.spaces();
            if matches!(self.peek(), None | Some(')')) {
                return Err(self.expected("a word or a field after OR"));
            }
            options.push(self.all(depth)?);
        }
        Ok(one_or(options, Search::Or))
    }

    fn all(&mut self, depth: usize) -> Result<Search, Error> {
        let mut parts = Vec::new();
        loop {
            self.spaces();
            let before = self.at;
            if matches!(self.peek(), None | Some(')')) || self.keyword("OR") {
                self.at = before;
                return Ok(one_or(parts, Search::And));
            }
            if self.keyword("AND") {
                self.spaces();
                if parts.is_empty() || matches!(self.peek(), None | Some(')')) {
                    return Err(self.expected("a word or a field on both sides of AND"));
                }
            }
            parts.push(self.not(depth)?);
        }
    }

    fn not(&mut self, depth: usize) -> Result<Search, Error> {
        self.terms += 1;
        if self.terms > SEARCH_TERMS_MAX {
            return Err(self.expected("fewer parts"));
        }
        if self.take('-') || self.keyword("NOT") {
            self.spaces();
            if matches!(self.peek(), None | Some(')')) || depth >= SEARCH_DEPTH_MAX {
                return Err(self.expected("a word or a field after - or NOT"));
            }
            return Ok(Search::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.take('(') {
            if depth >= SEARCH_DEPTH_MAX {
                return Err(self.expected("fewer brackets in brackets"));
            }
            let inner = self.either(depth + 1)?;
            if !self.take(')') {
                return Err(self.expected("a closing bracket"));
            }
            return Ok(inner);
        }
        self.term()
    }

    fn term(&mut self) -> Result<Search, Error> {
        if self.peek() == Some('"') {
            let text = self.quoted()?;
            return Ok(Search::Text(text));
        }
        let start = self.at;
        let word = self.word(|c| matches!(c, ':' | '<' | '>' | '='))?;
        if !matches!(self.peek(), Some(':' | '<' | '>' | '=')) {
            if word.0.is_empty() {
                return Err(self.expected("a word, a field, a quote or a bracket"));
            }
            return Ok(Search::Word(word));
        }
        let name = match word.as_exact() {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => {
                self.at = start;
                return Err(self.expected("the name of a field, without *, before : or an order"));
            }
        };
        let (test, column) = self.test()?;
        Ok(Search::Field { name, test, column })
    }

    /// Reads what stands after a field's name.
    fn test(&mut self) -> Result<(Test, usize), Error> {
        let colon = self.take(':');
        let order = match (self.take('<'), self.take('>')) {
            (true, true) => return Err(self.expected("one of <, <=, > and >=")),
            (true, false) => Some(if self.take('=') { Order::AtMost } else { Order::Less }),
            (false, true) => Some(if self.take('=') { Order::AtLeast } else { Order::More }),
            (false, false) => None,
        };
        if order.is_none() {
            self.take('=');
        }
        let column = self.at + 1;
        let pattern = if self.peek() == Some('"') {
            Pattern::exact(&self.quoted()?)
        } else {
            let value = self.word(|_| false)?;
            if value.0.is_empty() {
                return Err(self.expected("a value"));
            }
            value
        };
        let test = match order {
            Some(order) => match pattern.as_exact() {
                Some(value) if !value.is_empty() => Test::Compare(order, value.to_owned()),
                _ => return Err(Error { column, expected: "a value without *" }),
            },
            None if pattern.0 == [Part::Any] && colon => Test::Exists,
            None => Test::Is(pattern),
        };
        Ok((test, column))
    }

    /// Reads a word up to a space, a bracket, a quote or what `ends` says. A backslash takes the next character as it is.
    fn word(&mut self, ends: impl Fn(char) -> bool) -> Result<Pattern, Error> {
        let mut parts = Vec::new();
        let mut text = String::new();
        while let Some(next) = self.peek() {
            if next.is_whitespace() || matches!(next, '(' | ')' | '"') || ends(next) {
                break;
            }
            self.at += 1;
            match next {
                '\\' => {
                    let taken = self.peek().ok_or_else(|| self.expected("a character after the backslash"))?;
                    self.at += 1;
                    text.push(taken);
                }
                '*' => {
                    if !text.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut text)));
                    }
                    if parts.last() != Some(&Part::Any) {
                        parts.push(Part::Any);
                    }
                }
                other => text.push(other),
            }
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Pattern(parts))
    }

    fn quoted(&mut self) -> Result<String, Error> {
        self.at += 1;
        let mut text = String::new();
        while let Some(next) = self.peek() {
            self.at += 1;
            match next {
                '"' => return Ok(text),
                '\\' => {
                    let taken = self.peek().ok_or_else(|| self.expected("a closing quote"))?;
                    self.at += 1;
                    text.push(taken);
                }
                other => text.push(other),
            }
        }
        Err(self.expected("a closing quote"))
    }
}

fn one_or(mut parts: Vec<Search>, many: fn(Vec<Search>) -> Search) -> Search {
    if parts.len() == 1
        && let Some(part) = parts.pop()
    {
        return part;
    }
    many(parts)
}

/// Writes the search as it may be typed: what reads as the same tree, columns apart.
impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, parts: &[Self], between: &str| {
            f.write_str("(")?;
            for (at, part) in parts.iter().enumerate() {
                write!(f, "{}{part}", if at == 0 { "" } else { between })?;
            }
            f.write_str(")")
        };
        match self {
            Self::And(parts) => list(f, parts, " "),
            Self::Or(parts) => list(f, parts, " OR "),
            Self::Not(inner) => write!(f, "-{inner}"),
            Self::Word(pattern) => {
                // What would read as an operator does not, after a backslash.
                let operator = pattern.as_exact().is_some_and(|text| matches!(text, "OR" | "AND" | "NOT"));
                f.write_str(if operator { "\\" } else { "" })?;
                wild(f, pattern)
            }
            Self::Text(text) => quoted(f, text),
            Self::Field { name, test, .. } => {
                escaped(f, name)?;
                match test {
                    Test::Exists => f.write_str(":*"),
                    Test::Is(pattern) => write!(f, ":{pattern}"),
                    Test::Compare(order, value) => write!(f, "{}{}", order.as_str(), Pattern::exact(value)),
                }
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_exact() {
            Some(text) => quoted(f, text),
            None => wild(f, self),
        }
    }
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    write!(f, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn wild(f: &mut fmt::Formatter<'_>, pattern: &Pattern) -> fmt::Result {
    pattern.0.iter().try_for_each(|part| match part {
        Part::Any => f.write_str("*"),
        Part::Text(text) => escaped(f, text),
    })
}

fn escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.chars().try_for_each(|c| {
        let plain = c.is_alphanumeric() || matches!(c, '.' | '_');
        if plain { write!(f, "{c}") } else { write!(f, "\\{c}") }
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: &Expect) {
        let read = match parse(text) {
            Ok(search) => search.to_string(),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&read);
    }

    #[test]
    fn searches_are_read_as_people_mean_them() {
        check("", &expect!["()"]);
        check(
            r#"service:auth severity>=error "time out" -debug user.id:P7x stream:web* field:>10"#,
            &expect![[r#"(service:"auth" severity>="error" "time out" -debug user.id:"P7x" stream:web* field>"10")"#]],
        );
        check("a OR b c OR -(d e)", &expect!["(a OR (b c) OR -(d e))"]);
        check("a AND NOT b", &expect!["(a -b)"]);
        check("trace_id:* x:a*b*", &expect!["(trace_id:* x:a*b*)"]);
        check(r#"x="a b" y=1 z<=2 w<3"#, &expect![[r#"(x:"a b" y:"1" z<="2" w<"3")"#]]);
        check(r"time\ out 10:30\:00", &expect![[r#"(time\ out 10:"30:00")"#]]);
        check("ANDROID ORDER NOTE", &expect!["(ANDROID ORDER NOTE)"]);
        check(
            "url:http://a/b?c=d ts>=2026-11-27T10:00:00Z",
            &expect![[r#"(url:"http://a/b?c=d" ts>="2026-11-27T10:00:00Z")"#]],
        );
        check(r#"\OR "OR" a* *"#, &expect![[r#"(\OR "OR" a* *)"#]]);
        check("- a", &expect!["-a"]);
    }

    #[test]
    fn errors_say_where_and_what() {
        check("service:", &expect!["column 9: expected a value"]);
        check("a \"b", &expect!["column 5: expected a closing quote"]);
        check("(a", &expect!["column 3: expected a closing bracket"]);
        check("a)", &expect!["column 2: expected a word, a field or the end; brackets must open before they close"]);
        check(":x", &expect!["column 1: expected the name of a field, without *, before : or an order"]);
        check("a*:x", &expect!["column 1: expected the name of a field, without *, before : or an order"]);
        check("a<>1", &expect!["column 4: expected one of <, <=, > and >="]);
        check("a>1*", &expect!["column 3: expected a value without *"]);
        check("a OR", &expect!["column 5: expected a word or a field after OR"]);
        check("OR a", &expect!["column 1: expected a word or a field before OR"]);
        check("AND a", &expect!["column 5: expected a word or a field on both sides of AND"]);
        check("a -", &expect!["column 4: expected a word or a field after - or NOT"]);
        check("é\\", &expect!["column 3: expected a character after the backslash"]);
        check("\"a\\", &expect!["column 4: expected a closing quote"]);
        check(&"(".repeat(40), &expect!["column 34: expected fewer brackets in brackets"]);
        check(&"- ".repeat(40), &expect!["column 67: expected a word or a field after - or NOT"]);
        check(&"a ".repeat(300), &expect!["column 513: expected fewer parts"]);
        check(&"a".repeat(9_000), &expect!["column 1: expected a shorter search"]);
    }

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text, matches) in [
            ("x:web*", "web-1", true),
            ("x:web*", "a-web", false),
            ("x:*b*d", "abcd", true),
            ("x:*b*d", "abcde", false),
            ("x:a*a", "a", false),
            ("x:a*b*", "axxbyy", true),
            ("x:abc", "abc", true),
            ("x:abc", "abcd", false),
        ] {
            let Ok(Search::Field { test: Test::Is(pattern), .. }) = parse(pattern) else { panic!("no pattern") };
            assert_eq!(pattern.matches(text), matches, "{pattern} {text}");
        }
        assert!(Pattern(Vec::new()).matches(""));
    }

    fn pattern() -> impl Strategy<Value = Pattern> {
        let exact = ".{1,8}".prop_map(|text| Pattern::exact(&text));
        let wild = ("[a-z.:*\\\\ ]{1,4}", any::<bool>()).prop_map(|(text, first)| {
            let mut parts = vec![Part::Text(text), Part::Any];
            if first {
                parts.reverse();
            }
            Pattern(parts)
        });
        prop_oneof![exact, wild]
    }

    fn search() -> impl Strategy<Value = Search> {
        let order = prop_oneof![Just(Order::Less), Just(Order::AtMost), Just(Order::More), Just(Order::AtLeast)];
        let test = prop_oneof![
            Just(Test::Exists),
            pattern().prop_map(Test::Is),
            (order, ".{1,8}").prop_map(|(order, value)| Test::Compare(order, value)),
        ];
        let field = ("[a-z.:()é-]{1,8}", test).prop_map(|(name, test)| Search::Field { name, test, column: 0 });
        let leaf = prop_oneof![pattern().prop_map(Search::Word), ".{0,8}".prop_map(Search::Text), field];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 2..4).prop_map(Search::And),
                prop::collection::vec(inner.clone(), 2..4).prop_map(Search::Or),
                inner.prop_map(|inner| Search::Not(Box::new(inner))),
            ]
        })
    }

    fn without_columns(search: Search) -> Search {
        match search {
            Search::And(parts) => Search::And(parts.into_iter().map(without_columns).collect()),
            Search::Or(parts) => Search::Or(parts.into_iter().map(without_columns).collect()),
            Search::Not(inner) => Search::Not(Box::new(without_columns(*inner))),
            Search::Field { name, test, .. } => Search::Field { name, test, column: 0 },
            text @ (Search::Word(_) | Search::Text(_)) => text,
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_the_same(search in search()) {
            let text = search.to_string();
            let read = parse(&text).map(without_columns);
            prop_assert_eq!(read, Ok(search), "{}", text);
        }

        #[test]
        fn anything_typed_is_read_or_refused_within_it(text in "[a-z \"():<>=*\\\\é-]{0,40}|.{0,40}") {
            if let Err(error) = parse(&text) {
                prop_assert!(error.column >= 1 && error.column <= text.chars().count() + 1);
            }
        }

        #[test]
        fn a_text_matches_itself_and_whatever_stands_around_a_star(a in "[ab]{0,4}", b in "[ab]{0,4}", c in "[ab]{0,4}") {
            prop_assert!(Pattern::exact(&a).matches(&a));
            let pattern = Pattern(vec![Part::Text(a.clone()), Part::Any, Part::Text(c.clone())]);
            let whole = format!("{a}{b}{c}");
            prop_assert!(pattern.matches(&whole));
        }
    }
}
