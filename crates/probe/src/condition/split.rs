//! Splits a CEL expression at its top-level `&&`, so that each term can be judged and shown by itself.

/// What the next byte is part of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum In {
    Code,
    Comment,
    Text { quote: u8, triple: bool, raw: bool },
}

/// Returns the terms of `expression` in order: joined by `&&` they mean the same. An expression whose top level has
/// `||` or `?:` is one term, as those bind more loosely; so is one whose brackets or quotes do not close.
#[must_use]
pub fn terms(expression: &str) -> Vec<&str> {
    let bytes = expression.as_bytes();
    let at = |index: usize| bytes.get(index).copied().unwrap_or(0);
    let (mut state, mut depth, mut start, mut index) = (In::Code, 0_u32, 0, 0);
    let mut found = Vec::new();
    while let Some(&byte) = bytes.get(index) {
        let mut step = 1;
        match state {
            In::Comment if byte == b'\n' => state = In::Code,
            In::Comment => {}
            In::Text { raw: false, .. } if byte == b'\\' => step = 2,
            In::Text { quote, triple: true, .. } => {
                if byte == quote && at(index + 1) == quote && at(index + 2) == quote {
                    (state, step) = (In::Code, 3);
                }
            }
            In::Text { quote, .. } if byte == quote => state = In::Code,
            In::Text { .. } => {}
            In::Code => match byte {
                b'\'' | b'"' => {
                    let triple = at(index + 1) == byte && at(index + 2) == byte;
                    step = if triple { 3 } else { 1 };
                    state = In::Text { quote: byte, triple, raw: is_raw(bytes, index) };
                }
                b'/' if at(index + 1) == b'/' => state = In::Comment,
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => match depth.checked_sub(1) {
                    Some(less) => depth = less,
                    None => return vec![expression],
                },
                b'|' if depth == 0 && at(index + 1) == b'|' => return vec![expression],
                b'?' if depth == 0 => return vec![expression],
                b'&' if depth == 0 && at(index + 1) == b'&' => {
                    found.push(expression.get(start..index).unwrap_or_default());
                    start = index + 2;
                    step = 2;
                }
                _ => {}
            },
        }
        index += step;
    }
    if depth > 0 || matches!(state, In::Text { .. }) {
        return vec![expression];
    }
    found.push(expression.get(start..).unwrap_or_default());
    found.into_iter().map(str::trim).collect()
}

/// Tells whether the quote at `index` opens a raw text: `r`, `R`, and with bytes `br`, `bR`, `rb` ...
fn is_raw(bytes: &[u8], index: usize) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let prefix = bytes.get(..index).unwrap_or_default().rsplit(|byte| !word(*byte)).next().unwrap_or_default();
    prefix.len() <= 2
        && prefix.iter().any(|byte| byte.eq_ignore_ascii_case(&b'r'))
        && prefix.iter().all(|byte| matches!(byte.to_ascii_lowercase(), b'r' | b'b'))
}

#[cfg(test)]
mod tests {
    use cel::parser::Parser;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn terms_are_split_where_and_binds_loosest() {
        let cases: [(&str, &[&str]); 15] = [
            ("a && b", &["a", "b"]),
            ("a", &["a"]),
            ("a && b || c", &["a && b || c"]),
            ("a && (b || c)", &["a", "(b || c)"]),
            ("a && b ? c : d", &["a && b ? c : d"]),
            (r#"x == '&&' && y == "a'&&""#, &["x == '&&'", r#"y == "a'&&""#]),
            (r"x == '\'&&' && y", &[r"x == '\'&&'", "y"]),
            (r"x == r'\' && y == R'\'", &[r"x == r'\'", r"y == R'\'"]),
            (r"x == br'\' && y == bar'\'&&z'", &[r"x == br'\'", r"y == bar'\'&&z'"]),
            (r#"x == """a"&&"b""" && y"#, &[r#"x == """a"&&"b""""#, "y"]),
            ("l.all(x, x && y) && {'a': b && c}['a']", &["l.all(x, x && y)", "{'a': b && c}['a']"]),
            ("[d && e][0] && a // && b\n && c", &["[d && e][0]", "a // && b", "c"]),
            ("a) && (b", &["a) && (b"]),
            ("(a && b", &["(a && b"]),
            ("a && 'open", &["a && 'open"]),
        ];
        for (expression, expected) in cases {
            assert_eq!(terms(expression), expected, "{expression}");
        }
    }

    fn expression() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            "[a-e]{1,4}".boxed(),
            "'[a-z&|?()]{0,6}'".boxed(),
            r#"r"[a-z&|?(\\]{0,6}""#.boxed(),
            Just("1 < 2".to_owned()).boxed(),
            Just(r#"'''it's && "x"'''"#.to_owned()).boxed(),
        ];
        leaf.prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} && {b}")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} || {b}")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("f({a}, {b})")),
                inner.clone().prop_map(|a| format!("({a})")),
                inner.clone().prop_map(|a| format!("!{a}")),
                inner.prop_map(|a| format!("[{a} && x]")),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Each term parses where the whole does, and splitting again finds the same terms.
        #[test]
        fn terms_parse_by_themselves(expression in expression()) {
            prop_assume!(Parser::default().parse(&expression).is_ok());
            let terms = terms(&expression);
            for term in &terms {
                prop_assert!(Parser::default().parse(term).is_ok(), "{} of {}", term, expression);
            }
            let joined = terms.join(" && ");
            prop_assert!(Parser::default().parse(&joined).is_ok());
            prop_assert_eq!(self::terms(&joined), terms);
        }

        #[test]
        fn anything_is_split_without_loss(text in "(?s).{0,60}") {
            let plain = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            let terms = terms(&text);
            prop_assert_eq!(plain(&terms.join("&&")), plain(&text));
        }
    }
}
