//! The classic syntax (`pkg/labels/parse.go`): tolerant, Prometheus label names only.

use model::label::is_label_name;
use model::{MatchOp, Matcher};

use super::MatcherError;

pub(super) fn parse(text: &str) -> Result<Vec<Matcher>, MatcherError> {
    let text = text.strip_prefix('{').unwrap_or(text);
    let text = text.strip_suffix('}').unwrap_or(text);
    split(text).iter().map(|token| one(token)).collect()
}

/// Splits at commas outside quotes. A last empty part is dropped, so that a trailing comma is allowed.
fn split(text: &str) -> Vec<String> {
    let (mut inside_quotes, mut escaped) = (false, false);
    let (mut token, mut tokens) = (String::new(), Vec::new());
    for c in text.chars() {
        match c {
            ',' if !inside_quotes => {
                tokens.push(std::mem::take(&mut token));
                continue;
            }
            '"' if escaped => escaped = false,
            '"' => inside_quotes = !inside_quotes,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
        token.push(c);
    }
    let last = token.trim();
    if !last.is_empty() {
        tokens.push(last.to_owned());
    }
    tokens
}

fn one(token: &str) -> Result<Matcher, MatcherError> {
    let token = token.trim();
    let name_len = token.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':')).count();
    let (name, rest) = token.split_at(name_len);
    // Alertmanager allows colons here, which metric names have.
    if !is_label_name(&name.replace(':', "_")) {
        return Err(MatcherError::syntax("expected a matcher such as name=\"value\""));
    }
    let rest = rest.trim_start();
    let (op, value) =
        [("=~", MatchOp::Matches), ("!=", MatchOp::NotEqual), ("!~", MatchOp::NotMatches), ("=", MatchOp::Equal)]
            .into_iter()
            .find_map(|(text, op)| rest.strip_prefix(text).map(|value| (op, value.trim())))
            .ok_or_else(|| MatcherError::syntax(format!("expected one of = != =~ !~ after {name}")))?;
    Ok(Matcher { name: name.to_owned(), op, value: unescape(value)? })
}

fn unescape(raw: &str) -> Result<String, MatcherError> {
    let unbalanced = || MatcherError::syntax("the value contains an unescaped double quote");
    let (raw, mut closing_quote_due) = raw.strip_prefix('"').map_or((raw, false), |rest| (rest, true));
    let mut value = String::new();
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => value.push('\n'),
                Some(c @ ('"' | '\\')) => value.push(c),
                // A backslash before anything else is itself.
                Some(c) => value.extend(['\\', c]),
                None => value.push('\\'),
            },
            '"' if closing_quote_due && chars.peek().is_none() => closing_quote_due = false,
            '"' => return Err(unbalanced()),
            c => value.push(c),
        }
    }
    if closing_quote_due { Err(unbalanced()) } else { Ok(value) }
}
