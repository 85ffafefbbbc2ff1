//! Matchers as people write them: Alertmanager's UTF-8 syntax with its classic syntax behind it.
//!
//! Alertmanager 0.34 reads each text with both parsers: where both succeed and differ the classic reading wins, where
//! only one succeeds that one is taken (`matcher/compat/parse.go`, fallback mode). People bring their files, so this
//! does the same.

use model::{Labels, MatchOp, Matcher};
use regex::{Regex, RegexBuilder};

mod classic;
mod utf8;

/// Most bytes that one compiled regular expression may take.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A matcher ready to be held against labels. An absent label equals an empty one.
#[derive(Clone, Debug)]
pub struct Match {
    matcher: Matcher,
    regex: Option<Regex>,
}

impl PartialEq for Match {
    fn eq(&self, other: &Self) -> bool {
        self.matcher == other.matcher
    }
}

impl Match {
    /// Compiles a matcher.
    ///
    /// # Errors
    /// When its value should be a regular expression and is not, or is too large.
    pub fn new(matcher: Matcher) -> Result<Self, MatcherError> {
        let regex = match matcher.op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Matches | MatchOp::NotMatches => Some(anchored(&matcher)?),
        };
        Ok(Self { matcher, regex })
    }

    /// Returns what was compiled.
    #[must_use]
    pub const fn matcher(&self) -> &Matcher {
        &self.matcher
    }

    /// Tells whether the condition holds.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.matcher.name).map_or("", String::as_str);
        let found = self.regex.as_ref().map_or_else(|| value == self.matcher.value, |regex| regex.is_match(value));
        match self.matcher.op {
            MatchOp::Equal | MatchOp::Matches => found,
            MatchOp::NotEqual | MatchOp::NotMatches => !found,
        }
    }
}

impl std::fmt::Display for Match {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&text(&self.matcher))
    }
}

/// Compiles several matchers, all of which must hold.
///
/// # Errors
/// The first that does not compile.
pub fn compile(matchers: &[Matcher]) -> Result<Vec<Match>, MatcherError> {
    matchers.iter().cloned().map(Match::new).collect()
}

/// Tells whether all of `matchers` hold.
#[must_use]
pub fn all_match(matchers: &[Match], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels))
}

/// Reads zero or more matchers, with or without braces: `{a="b", c=~"d.*"}`.
///
/// # Errors
/// When neither syntax reads the text, or a regular expression in it is none.
pub fn parse(text: &str) -> Result<Vec<Match>, MatcherError> {
    match (utf8::parse(text).and_then(|m| compile(&m)), classic::parse(text).and_then(|m| compile(&m))) {
        (Err(_), classic) => classic,
        (Ok(utf8), Ok(classic)) if utf8 != classic => Ok(classic),
        (utf8, _) => utf8,
    }
}

/// Writes a matcher as Alertmanager does.
#[must_use]
pub fn text(matcher: &Matcher) -> String {
    let op = match matcher.op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Matches => "=~",
        MatchOp::NotMatches => "!~",
    };
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    if matcher.name.chars().any(is_reserved) {
        format!("\"{}\"{op}\"{}\"", escape(&matcher.name), escape(&matcher.value))
    } else {
        format!("{}{op}\"{}\"", matcher.name, escape(&matcher.value))
    }
}

/// Why a text is no matcher.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    /// The text does not follow the syntax.
    #[error("{expected}")]
    Syntax {
        /// What was expected, and where.
        expected: String,
    },
    /// The value is not a regular expression.
    #[error("the value of {name} is not a regular expression: {why}")]
    Regex {
        /// The label's name.
        name: String,
        /// What the compiler said.
        why: String,
    },
}

impl MatcherError {
    fn syntax(expected: impl Into<String>) -> Self {
        Self::Syntax { expected: expected.into() }
    }
}

fn anchored(matcher: &Matcher) -> Result<Regex, MatcherError> {
    RegexBuilder::new(&format!("^(?:{})$", matcher.value))
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| MatcherError::Regex { name: matcher.name.clone(), why: last_line(&error.to_string()) })
}

/// The regex crate draws the pattern over several lines; the last one says what is wrong.
fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

fn is_reserved(c: char) -> bool {
    c.is_whitespace() || "{}!=~,\\\"'`".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &str) -> String {
        match parse(input) {
            Ok(matchers) => matchers.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn both_syntaxes_are_read_as_alertmanager_reads_them() {
        // The cases of Alertmanager's matcher/compliance/compliance_test.go, with what its fallback mode makes of them.
        for (input, expected) in [
            ("{}", ""),
            ("{foo='}", r#"foo="'""#),
            ("{foo=`}", r#"foo="`""#),
            (r"{foo=\n}", r#"foo="\n""#),
            (r"{foo=bar\n}", r#"foo="bar\n""#),
            (r"{foo=\t}", r#"foo="\\t""#),
            (r"{foo=bar\}", r#"foo="bar\\""#),
            (r"{foo=bar\\}", r#"foo="bar\\""#),
            (r#"{foo=\"}"#, r#"foo="\"""#),
            ("{foo=bar}", r#"foo="bar""#),
            (r#"{foo=~"bar.*"}"#, r#"foo=~"bar.*""#),
            ("{foo!=bar}", r#"foo!="bar""#),
            ("{foo!~bar.*}", r#"foo!~"bar.*""#),
            (r#"{foo="bar",baz!~".*quux", derp="wat"}"#, r#"foo="bar",baz!~".*quux",derp="wat""#),
            (r#"{foo=""}"#, r#"foo="""#),
            (r#"{foo="bar,quux", job="job1"}"#, r#"foo="bar,quux",job="job1""#),
            (r#"{foo = "bar", dings != "bums", }"#, r#"foo="bar",dings!="bums""#),
            ("foo=bar,dings!=bums", r#"foo="bar",dings!="bums""#),
            (r#"{quote="She said: \"Hi, ladies!\""}"#, r#"quote="She said: \"Hi, ladies!\"""#),
            (r#"statuscode=~"5..""#, r#"statuscode=~"5..""#),
            ("tricky=~~~", r#"tricky=~"~~""#),
            (r#"trickier==\\=\=\""#, r#"trickier="=\\=\\=\"""#),
            (
                r#"contains_quote != "\"" , contains_comma !~ "foo,bar" , "#,
                r#"contains_quote!="\"",contains_comma!~"foo,bar""#,
            ),
            ("{foo=bar}}", r#"foo="bar}""#),
            ("{foo=bar}},}", r#"foo="bar}}""#),
            ("{foo=,bar=}}", r#"foo="",bar="}""#),
            ("job=", r#"job="""#),
            (r#"{name-with-dashes = "bar"}"#, r#"name-with-dashes="bar""#),
            (r#"{"name with spaces"="\u00e9\x41\101\t"}"#, "\"name with spaces\"=\"éAA\t\""),
            ("{", ""),
            ("{foo=", r#"foo="""#),
            ("{foo=}b", r#"foo="}b""#),
            ("éa=ö", r#"éa="ö""#),
            ("", ""),
        ] {
            assert_eq!(read(input), expected, "{input}");
        }
    }

    #[test]
    fn what_neither_syntax_reads_is_refused() {
        for input in [
            "{,}",
            r#"job="value"#,
            r#"job=value""#,
            r#"trickier==\\=\=\"""#,
            r#"contains_unescaped_quote = foo"bar"#,
            r#"{foo=~"invalid[regexp"}"#,
            r#""{foo=\"bar"}"#,
            r#""foo=\"bar\"""#,
            r#""foo="bar"""#,
            "{{foo=",
            "foo",
            "foo=bar baz=qux\"",
            r#"{"a"="\q"}"#,
            r#"{"a"="\x4"}"#,
            r#"{"a"="\uD800"}"#,
            r#"{"a"="\400"}"#,
            "{\"a\"=\"\n\"}",
            "{\"a\"!b}",
            "{\"a\"=}",
            "{\"a\"=b c}",
            "\"a\"=b}",
            "{\"a\"=b",
            "{\"a\"=b}c",
            "{\"a\"=b,=}",
            "{\"a",
            "'",
        ] {
            assert!(parse(input).is_err(), "{input} was read as {}", read(input));
        }
    }

    #[test]
    fn an_absent_label_is_an_empty_one_and_regexes_are_anchored() {
        let labels = Labels::from([("a".into(), "xyz".into())]);
        for (matcher, holds) in [
            ("a=xyz", true),
            ("a!=xyz", false),
            ("a=~y", false),
            ("a=~.y.", true),
            ("a=~x|xyz", true),
            ("a!~x|y", true),
            (r#"b="""#, true),
            ("b!=c", true),
            ("b=~.*", true),
            ("b=~.+", false),
        ] {
            assert_eq!(all_match(&parse(matcher).expect("reads"), &labels), holds, "{matcher}");
        }
    }

    #[test]
    fn a_regex_that_would_take_too_much_memory_is_refused() {
        let error = parse("a=~(x{1000}){1000}").expect_err("too large");
        assert!(matches!(error, MatcherError::Regex { .. }), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(name in "[a-z_][a-z0-9_]{0,5}", value in "[ -~é\n]*", op in 0..2) {
            let op = if op == 0 { MatchOp::Equal } else { MatchOp::NotEqual };
            let matcher = Matcher { name, op, value };
            let read = parse(&format!("{{{}}}", text(&matcher))).expect("reads");
            proptest::prop_assert_eq!(read[0].matcher(), &matcher);
        }

        #[test]
        fn nothing_panics(input in "[a{}=~!,\"\\\\'` é\n]*") {
            let _ = parse(&input);
        }
    }
}
