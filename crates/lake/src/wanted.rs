//! What a filter of rows says about the words in them: the part of it that token filters can answer.

use datafusion::logical_expr::{BinaryExpr, Expr, Like, Operator};

use crate::tokens::{COLUMNS, Wanted};
use crate::word::{self, Token, whole_tokens};

/// Most tokens of one text that are asked for, the longest: one that is rare is enough.
const TOKENS_MAX: usize = 8;

/// Returns what all of `filters` want together. Whatever is not known here wants anything, so no row is missed that they
/// let through (invariant E-5).
pub(crate) fn wanted(filters: &[Expr]) -> Wanted {
    all(filters.iter().map(of).collect())
}

fn all(mut parts: Vec<Wanted>) -> Wanted {
    parts.retain(|part| *part != Wanted::Anything);
    match parts.len() {
        0 => Wanted::Anything,
        1 => parts.remove(0),
        _ => Wanted::All(parts),
    }
}

fn either(left: Wanted, right: Wanted) -> Wanted {
    match (left, right) {
        (Wanted::Anything, _) | (_, Wanted::Anything) => Wanted::Anything,
        // The body and the body as JSON are asked for the same.
        (left, right) if left == right => left,
        (left, right) => Wanted::Either(vec![left, right]),
    }
}

fn of(filter: &Expr) -> Wanted {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => all(vec![of(left), of(right)]),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => either(of(left), of(right)),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            match (is_filtered(left), text(right), is_filtered(right), text(left)) {
                (true, Some(text), ..) | (_, _, true, Some(text)) => rarest(whole_tokens(text, (false, false))),
                _ => Wanted::Anything,
            }
        }
        Expr::Like(like) => of_like(like).unwrap_or(Wanted::Anything),
        Expr::ScalarFunction(_) => match word::asked(filter) {
            Some((column, word)) if COLUMNS.contains(&column) => rarest(word.tokens().to_vec()),
            _ => Wanted::Anything,
        },
        _ => Wanted::Anything,
    }
}

fn rarest(mut tokens: Vec<Token>) -> Wanted {
    tokens.sort_unstable_by(|a, b| b.cmp(a));
    tokens.dedup();
    tokens.truncate(TOKENS_MAX);
    all(tokens.into_iter().map(Wanted::Token).collect())
}

fn is_filtered(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(column) if COLUMNS.contains(&column.name()))
}

fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        _ => None,
    }
}

fn of_like(like: &Like) -> Option<Wanted> {
    if like.negated || like.escape_char.is_some_and(|c| c != '\\') || !is_filtered(&like.expr) {
        return None;
    }
    Some(rarest(of_pattern(text(&like.pattern)?)))
}

/// Returns the tokens that stand whole in whatever a pattern of LIKE matches.
fn of_pattern(pattern: &str) -> Vec<Token> {
    let (mut found, mut plain, mut open_start) = (Vec::new(), String::new(), false);
    let mut chars = pattern.chars().peekable();
    loop {
        let next = chars.next();
        match next {
            Some('\\') if matches!(chars.peek(), Some('%' | '_')) => plain.extend(chars.next()),
            Some(c) if !matches!(c, '%' | '_' | '\\') => plain.push(c),
            _ => {
                found.extend(whole_tokens(&plain, (open_start, next.is_some())));
                if next.is_none() {
                    return found;
                }
                plain.clear();
                open_start = true;
                if next == Some('\\') {
                    // What another character means after a backslash is not ours to know.
                    chars.next();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, StringArray};
    use arrow::compute::kernels::comparison::{ilike, like};
    use datafusion::logical_expr::{ident, lit, not};
    use proptest::prelude::*;

    use super::*;
    use crate::syntax::Pattern;
    use crate::word::{fold, has_word, tokens};

    fn words(text: &str) -> Wanted {
        rarest(whole_tokens(text, (false, false)))
    }

    #[test]
    fn filters_want_the_words_that_every_row_must_have() {
        let body = || ident("body");
        let word =
            |text: &str| has_word(body(), &Pattern::wild(text)).or(has_word(ident("body_json"), &Pattern::wild(text)));
        for (filter, expected) in [
            (word("Needle"), words("needle")),
            (word("10.0.0.7"), words("10 0 7")),
            (word("need*"), Wanted::Anything),
            (word("*dle"), Wanted::Anything),
            (word("disk-*-full"), words("disk full")),
            (word("a").and(ident("severity").gt(lit(9))), words("a")),
            (word("a").or(ident("severity").gt(lit(9))), Wanted::Anything),
            (word("a").or(word("b")), Wanted::Either(vec![words("a"), words("b")])),
            (not(word("a")), Wanted::Anything),
            (word("a").is_not_true(), Wanted::Anything),
            (has_word(ident("service"), &Pattern::exact("a")), Wanted::Anything),
            (body().ilike(lit("%Time out after%")), words("out")),
            (body().like(lit("GET /cart%")), words("get")),
            (body().like(lit("%request\\_id = 7 %")), words("7")),
            (body().like(lit("%x y\\z end")), words("end")),
            (body().not_ilike(lit("% a %")), Wanted::Anything),
            (ident("host").like(lit("% a %")), Wanted::Anything),
            (body().like(ident("host")), Wanted::Anything),
            (lit("a b").eq(body()), words("a b")),
            (body().eq(lit("A")), words("a")),
            (body().eq(ident("host")), Wanted::Anything),
            (lit(true), Wanted::Anything),
        ] {
            assert_eq!(wanted(std::slice::from_ref(&filter)), expected, "{filter}");
        }
        assert_eq!(wanted(&[word("a"), word("b")]), Wanted::All(vec![words("a"), words("b")]));
        assert_eq!(wanted(&[]), Wanted::Anything);
    }

    fn has_all(wanted: &[Token], text: &str) -> bool {
        let (mut folded, mut had) = (String::new(), Vec::new());
        fold(text, &mut folded);
        tokens(&folded, |hash| had.push(hash));
        wanted.iter().all(|token| had.contains(&token.hash))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// E-5: what LIKE lets through has the tokens that are wanted of it.
        #[test]
        fn no_row_is_missed_that_like_lets_through(
            text in "[abAB_%\\\\ ns.ßſK\u{345}é-]{0,16}",
            pattern in "[abAB_%\\\\ ns.ßſK\u{345}é-]{0,8}",
            place in 0_usize..16,
            len in 0_usize..12,
        ) {
            let part: String = text.chars().skip(place).take(len).collect();
            let typed = part.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
            let any_case: String = typed.chars().map(|c| if c == 'a' { 'A' } else if c == 'ſ' { 's' } else { c }).collect();
            for pattern in [pattern, format!("%{typed}%"), typed.clone(), format!("{typed}%"), format!("%{any_case}%")] {
                let wanted = of_pattern(&pattern);
                let (texts, patterns) = (StringArray::from(vec![text.clone()]), StringArray::from(vec![pattern.clone()]));
                let lets = |found: BooleanArray| found.value(0);
                let exact = lets(like(&texts, &patterns).expect("a pattern"));
                if exact || lets(ilike(&texts, &patterns).expect("a pattern")) {
                    prop_assert!(has_all(&wanted, &text), "{:?} {:?}", pattern, text);
                }
            }
        }
    }
}
