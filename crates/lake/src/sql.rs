//! A question in SQL, read: asked of persons by other names than those that were typed, and written down without anything that
//! could be somebody's.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::execution::SessionStateDefaults;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, Statement as Ansi, Subscript, Value, visit_expressions, visit_expressions_mut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer, Word};

use crate::error::Error;
use crate::syntax::Pattern;
use crate::{ask, columns};

/// What stands in the place of a text of a question.
pub const TEXT: &str = "[text]";
/// What stands in the place of a name that a question gives to something.
pub const NAME: &str = "[name]";
/// What stands in the place of a number that could be somebody's.
pub const NUMBER: &str = "[number]";

/// Digits of a number that is nobody's: a status, a port, a count.
const DIGITS_MAX: usize = 5;

/// Names of all functions that may be called.
static FUNCTIONS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let scalar = SessionStateDefaults::default_scalar_functions();
    let aggregate = SessionStateDefaults::default_aggregate_functions();
    let window = SessionStateDefaults::default_window_functions();
    let scalar = scalar.iter().flat_map(|function| [vec![function.name().to_owned()], function.aliases().to_vec()]);
    let aggregate = aggregate.iter().map(|function| vec![function.name().to_owned()]);
    let window = window.iter().map(|function| vec![function.name().to_owned()]);
    scalar.chain(aggregate).chain(window).flatten().collect()
});

/// One statement that may be asked.
#[derive(Debug)]
pub struct Sql(pub(crate) Statement);

impl Sql {
    /// Reads the one statement that may be asked: `SELECT`, `WITH`, `EXPLAIN` of them.
    ///
    /// # Errors
    /// [`Error::Query`] when it is none.
    pub fn read(sql: &str) -> Result<Self, Error> {
        ask::statement(sql).map(Self)
    }

    /// Returns the question with other texts in the place of those that a field is held to be equal to: `others` gives them for a
    /// field, as the search names it, and a text; or nothing, and then it stays.
    #[must_use]
    pub fn with_equals(mut self, mut others: impl FnMut(&str, &str) -> Option<Vec<String>>) -> Self {
        if let Some(asked) = asked_mut(&mut self.0) {
            let _: ControlFlow<()> = visit_expressions_mut(asked, |expr| {
                replace(expr, &mut others);
                ControlFlow::Continue(())
            });
        }
        self
    }

    /// Returns all texts in the question.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        if let Some(asked) = asked(&self.0) {
            let _: ControlFlow<()> = visit_expressions(asked, |expr| {
                if let Expr::Value(value) = expr {
                    texts.extend(value.value.clone().into_string());
                }
                ControlFlow::Continue(())
            });
        }
        texts
    }

    /// Returns what the question looks like: keywords, operators, functions and columns, and of everything else only what
    /// `is_public` says of a text, with the column that was named last before it.
    #[must_use]
    pub fn shape(&self, is_public: impl Fn(Option<&str>, &Pattern) -> bool) -> String {
        let text = self.0.to_string();
        let tokens = Tokenizer::new(&GenericDialect {}, &text).tokenize().unwrap_or_default();
        let (mut shape, mut column, mut between) = (String::new(), None, false);
        for (at, token) in tokens.iter().enumerate() {
            let called = tokens.get(at + 1) == Some(&Token::LParen);
            match token {
                Token::Whitespace(_) => shape.push(' '),
                Token::Word(word) => {
                    (column, between) = match word.keyword {
                        Keyword::NoKeyword => (column_of(word), between),
                        Keyword::BETWEEN => (column, true),
                        Keyword::AND if between => (column, false),
                        Keyword::AND | Keyword::OR => (None, false),
                        _ => (column_of(word).or(column), between),
                    };
                    shape.push_str(&shape_of_word(word, called, &is_public));
                }
                Token::Number(number, _) => {
                    let public = is_public(column, &Pattern::exact(number));
                    shape.push_str(if public { number } else { NUMBER });
                }
                Token::SingleQuotedString(text) => {
                    let pattern = Pattern::wild(&text.replace('%', "*"));
                    let public = is_public(column, &Pattern::exact(text)) || is_public(column, &pattern);
                    let text = if public { text.replace('\'', "''") } else { TEXT.to_owned() };
                    shape.push_str(&format!("'{text}'"));
                }
                // Whatever has no letter and no digit says nothing.
                other => {
                    let other = other.to_string();
                    let is_structure = !other.chars().any(char::is_alphanumeric);
                    let public = is_structure || is_public(column, &Pattern::exact(&other));
                    shape.push_str(if public { &other } else { TEXT });
                }
            }
        }
        shape
    }
}

/// Tells whether a number is too short to be somebody's.
#[must_use]
pub fn is_short_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !whole.is_empty() && is_number(whole) && is_number(part) && whole.len() + part.len() <= DIGITS_MAX
}

/// Tells whether a name is that of a column of the table `events`.
#[must_use]
pub fn is_column(name: &str) -> bool {
    columns::holds(name).is_some()
}

/// Returns what a statement asks, or explains.
fn asked(statement: &Statement) -> Option<&Ansi> {
    match statement {
        Statement::Statement(ansi) => Some(ansi),
        Statement::Explain(explain) => asked(&explain.statement),
        _ => None,
    }
}

fn asked_mut(statement: &mut Statement) -> Option<&mut Ansi> {
    match statement {
        Statement::Statement(ansi) => Some(ansi),
        Statement::Explain(explain) => asked_mut(&mut explain.statement),
        _ => None,
    }
}

/// Returns the text that an expression is.
fn text_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => value.value.clone().into_string(),
        Expr::Nested(inner) => text_of(inner),
        _ => None,
    }
}

/// Returns the field that an expression is, as the search names it.
fn field_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(columns::attribute_of(&name.value).to_owned()),
        Expr::CompoundIdentifier(names) => Some(columns::attribute_of(&names.last()?.value).to_owned()),
        Expr::Nested(inner) => field_of(inner),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let (last, before) = access_chain.split_last()?;
            let AccessExpr::Subscript(Subscript::Index { index }) = last else { return None };
            let map = match before {
                [] => field_of(root)?,
                [.., AccessExpr::Dot(map)] => field_of(map)?,
                [..] => return None,
            };
            Some(format!("{map}.{}", text_of(index)?))
        }
        _ => None,
    }
}

/// Puts other texts in the place of those that a field is compared with, if it is that.
fn replace(expr: &mut Expr, others: &mut impl FnMut(&str, &str) -> Option<Vec<String>>) {
    let literal = |text: String| Expr::Value(Value::SingleQuotedString(text).into());
    if let Expr::InList { expr, list, .. } = expr {
        let Some(field) = field_of(expr) else { return };
        // What stands in a list may be deep, and is moved, not copied: that is recursion.
        *list = std::mem::take(list)
            .into_iter()
            .flat_map(|item| match text_of(&item).and_then(|text| others(&field, &text)) {
                Some(others) => others.into_iter().map(literal).collect(),
                None => vec![item],
            })
            .collect();
        return;
    }
    let (left, right, negated) = match &*expr {
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } | Expr::IsNotDistinctFrom(left, right) => {
            (left, right, false)
        }
        Expr::BinaryOp { left, op: BinaryOperator::NotEq, right } | Expr::IsDistinctFrom(left, right) => {
            (left, right, true)
        }
        _ => return,
    };
    let sides = [(left, right), (right, left)];
    let compared = sides.into_iter().find_map(|(side, other)| Some((side, field_of(side)?, text_of(other)?)));
    let Some((side, field, text)) = compared else { return };
    if let Some(others) = others(&field, &text).filter(|others| !others.is_empty()) {
        let list = others.into_iter().map(literal).collect();
        *expr = Expr::InList { expr: side.clone(), list, negated };
    }
}

fn column_of(word: &Word) -> Option<&str> {
    Some(word.value.as_str()).filter(|name| is_column(name))
}

fn shape_of_word(word: &Word, called: bool, is_public: &impl Fn(Option<&str>, &Pattern) -> bool) -> String {
    let name = &word.value;
    let is_known = (word.keyword != Keyword::NoKeyword && word.quote_style.is_none())
        || is_column(name)
        || name == ask::TABLE
        || name.chars().count() <= 1
        || (called && FUNCTIONS.contains(&name.to_lowercase()))
        || is_public(None, &Pattern::exact(name));
    if is_known { word.to_string() } else { NAME.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sql: &str) -> Sql {
        Sql::read(sql).expect("reads")
    }

    /// Persons have names in two fields.
    fn others(field: &str, text: &str) -> Option<Vec<String>> {
        match (field, text) {
            ("user.id" | "attributes.user.id", "ana") => Some(vec!["ana".to_owned(), "P1".to_owned()]),
            ("user.id", "x") => Some(vec!["[identifier]".to_owned()]),
            _ => None,
        }
    }

    #[test]
    fn a_person_is_asked_for_by_other_names_wherever_a_field_is_equal_to_a_text() {
        for (sql, expected) in [
            ("SELECT 1 FROM events WHERE user_id = 'ana'", "user_id IN ('ana', 'P1')"),
            ("SELECT 1 FROM events AS e WHERE 'ana' <> (e.user_id)", "(e.user_id) NOT IN ('ana', 'P1')"),
            (
                "SELECT 1 FROM events WHERE user_id NOT IN ('b', 'ana', stream)",
                "user_id NOT IN ('b', 'ana', 'P1', stream)",
            ),
            ("SELECT 1 FROM events WHERE attributes['user.id'] = 'ana'", "attributes['user.id'] IN ('ana', 'P1')"),
            (
                "SELECT 1 FROM events e WHERE e.attributes['user.id'] = 'ana'",
                "e.attributes['user.id'] IN ('ana', 'P1')",
            ),
            ("SELECT 1 FROM events WHERE user_id IS NOT DISTINCT FROM 'ana'", "user_id IN ('ana', 'P1')"),
            ("EXPLAIN SELECT count(*) FILTER (WHERE user_id = 'ana') FROM events", "user_id IN ('ana', 'P1')"),
            ("SELECT CASE WHEN user_id = 'x' THEN 1 END FROM events", "user_id IN ('[identifier]')"),
            ("SELECT 1 FROM events WHERE body = 'ana' AND user_id > 'ana'", "body = 'ana' AND user_id > 'ana'"),
            ("SELECT 1 FROM events WHERE 'ana' = 'ana' AND attributes[body] = 'ana'", "attributes[body] = 'ana'"),
        ] {
            let other = read(sql).with_equals(others);
            let written = other.0.to_string();
            assert!(written.contains(expected), "{sql}: {written}");
            assert!(Sql::read(&written).is_ok(), "{written}");
        }
    }

    #[test]
    fn a_shape_has_nothing_that_was_typed_but_what_is_public() {
        let public = |column: Option<&str>, text: &Pattern| match (column, text.as_exact()) {
            (_, Some(text)) if is_short_number(text) || matches!(text, "auth" | "http.route") => true,
            (Some("stream"), _) => text.matches("web-1"),
            (Some("ts"), text) => text == Some("2026-11-28"),
            _ => false,
        };
        for (sql, expected) in [
            ("SELECT service, count(*) AS n FROM events GROUP BY 1", None),
            ("SELECT * FROM events WHERE service = 'auth' AND stream LIKE 'web%' LIMIT 100", None),
            ("SELECT max(severity) FROM events WHERE attributes['http.route'] IS NULL AND ts >= '2026-11-28'", None),
            ("SELECT ts FROM events WHERE ts BETWEEN TIMESTAMP '2026-11-28' AND '2026-11-28'", None),
            (
                "SELECT count(*) AS dupont, \"Jean\" FROM events WHERE body = 'Dupont' -- Dupont",
                Some("SELECT count(*) AS [name], [name] FROM events WHERE body = '[text]'"),
            ),
            (
                "SELECT 1 FROM events WHERE attributes['Dupont'] = 612345678 AND body LIKE '%Dupont%' OR body = '2026-11-28'",
                Some(
                    "SELECT 1 FROM events WHERE attributes['[text]'] = [number] AND body LIKE '[text]' OR body = '[text]'",
                ),
            ),
            (
                "SELECT 1 FROM events WHERE ts > '2026-11-28' AND '2026-11-28' = body",
                Some("SELECT 1 FROM events WHERE ts > '2026-11-28' AND '[text]' = body"),
            ),
            ("SELECT E'Dupont', X'44', N'x' FROM events", Some("SELECT [text], [text], [text] FROM events")),
            (
                "WITH dupont AS (SELECT 1) SELECT dupont.* FROM dupont /* Dupont */",
                Some("WITH [name] AS (SELECT 1) SELECT [name].* FROM [name]"),
            ),
        ] {
            assert_eq!(read(sql).shape(public), expected.unwrap_or(sql));
        }
        assert_eq!(read("SELECT 'a''b', body = 'c', attributes['d'] FROM events").texts(), ["a'b", "c", "d"]);
    }

    #[test]
    fn a_number_of_five_digits_is_nobodys() {
        for (text, short) in
            [("5", true), ("-12.345", true), ("12345", true), ("123456", false), ("1e9", false), ("", false)]
        {
            assert_eq!(is_short_number(text), short, "{text}");
        }
    }
}
