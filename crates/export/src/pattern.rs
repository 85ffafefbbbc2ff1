//! The name of the index that an event goes to: `dihya-{stream}-{+yyyy.MM.dd}`.
//!
//! The day is that of the admission, not that which the sender says: one request could otherwise make an index for each
//! day of two centuries, and an event that is sent again must meet itself in the same index.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::Tenant;

/// Longest name of an index, in bytes.
const INDEX_BYTES_MAX: usize = 255;

/// A pattern of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Stream,
    Tenant,
    Date(Vec<Piece>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(char),
    Year,
    Month,
    Day,
}

/// Why a text is no pattern, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// What was expected.
    pub why: String,
    /// What to write.
    pub instead: &'static str,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it names something that there is not, or no index could be called so.
    pub fn read(text: &str) -> Result<Self, Unread> {
        let unread = |why: &str, instead| Unread { why: why.to_owned(), instead };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let (name, after) = after.split_once('}').ok_or_else(|| unread("a brace is not closed", "{stream}"))?;
            parts.push(match (name, name.strip_prefix('+')) {
                ("stream", _) => Part::Stream,
                ("tenant", _) => Part::Tenant,
                (_, Some(date)) => Part::Date(pieces(date)?),
                _ => return Err(unread("expected {stream}, {tenant} or a date in braces", "{+yyyy.MM.dd}")),
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        let plain = parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            _ => None,
        });
        if plain.flat_map(str::chars).any(|c| c != name_char(c)) {
            return Err(unread(
                "expected lower case, without spaces and \\ / * ? \" < > | , # :",
                "logs-{stream}-default",
            ));
        }
        match parts.first() {
            None => Err(unread("expected the name of an index", "dihya-{stream}-{+yyyy.MM.dd}")),
            // What a stream is called is not known before; what it begins with must be.
            Some(Part::Text(text)) if !text.starts_with(['-', '_', '+', '.']) => Ok(Self(parts)),
            Some(_) => Err(unread("expected a letter or a digit first", "dihya-{stream}-{+yyyy.MM.dd}")),
        }
    }

    /// Names the index of an event.
    #[must_use]
    pub fn name(&self, stream: &str, tenant: &Tenant, admitted_at: Timestamp) -> String {
        let day = admitted_at.to_zoned(TimeZone::UTC).date();
        let mut name = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Stream => name.extend(stream.chars().flat_map(char::to_lowercase).map(name_char)),
                Part::Tenant => name.push_str(tenant.as_str()),
                Part::Date(pieces) => {
                    for piece in pieces {
                        match piece {
                            Piece::Text(c) => name.push(*c),
                            Piece::Year => name.push_str(&format!("{:04}", day.year())),
                            Piece::Month => name.push_str(&format!("{:02}", day.month())),
                            Piece::Day => name.push_str(&format!("{:02}", day.day())),
                        }
                    }
                }
            }
        }
        if name.len() > INDEX_BYTES_MAX {
            let end = (0..=INDEX_BYTES_MAX).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
            name.truncate(end);
        }
        name
    }
}

fn pieces(date: &str) -> Result<Vec<Piece>, Unread> {
    let mut pieces = Vec::new();
    let mut rest = date;
    while let Some(first) = rest.chars().next() {
        let known = [("yyyy", Piece::Year), ("MM", Piece::Month), ("dd", Piece::Day)];
        if let Some((word, piece)) = known.into_iter().find(|(word, _)| rest.starts_with(word)) {
            rest = rest.strip_prefix(word).unwrap_or_default();
            pieces.push(piece);
        } else if matches!(first, '.' | '-' | '_') {
            rest = rest.strip_prefix(first).unwrap_or_default();
            pieces.push(Piece::Text(first));
        } else {
            let why = "expected yyyy, MM and dd, with dots or dashes between them".to_owned();
            return Err(Unread { why, instead: "{+yyyy.MM.dd}" });
        }
    }
    Ok(pieces)
}

/// Returns a character as the name of an index may have it.
fn name_char(c: char) -> char {
    let is_refused = c.is_whitespace() || c.is_control() || c.is_uppercase();
    if is_refused || "\\/*?\"<>|,#:".contains(c) { '-' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_named_by_stream_tenant_and_day_of_admission() {
        let at: Timestamp = "2026-11-07T23:59:59Z".parse().expect("a time");
        for (pattern, stream, name) in [
            ("dihya-{stream}-{+yyyy.MM.dd}", "Shop/Orders", "dihya-shop-orders-2026.11.07"),
            ("logs-{stream}-{tenant}", "web", "logs-web-default"),
            ("a-{+yyyy-MM}", "web", "a-2026-11"),
            ("all", "web", "all"),
        ] {
            let read = Pattern::read(pattern).expect("is a pattern");
            assert_eq!(read.name(stream, &Tenant::default(), at), name, "{pattern}");
        }
        let long = Pattern::read("x-{stream}").expect("is a pattern");
        assert!(long.name(&"é".repeat(300), &Tenant::default(), at).len() <= INDEX_BYTES_MAX);
    }

    #[test]
    fn what_no_index_could_be_called_is_refused_with_what_to_write() {
        for (text, why, instead) in [
            ("", "expected the name of an index", "dihya-{stream}-{+yyyy.MM.dd}"),
            ("{stream}", "expected a letter or a digit first", "dihya-{stream}-{+yyyy.MM.dd}"),
            ("_x", "expected a letter or a digit first", "dihya-{stream}-{+yyyy.MM.dd}"),
            ("a-{stream", "a brace is not closed", "{stream}"),
            ("a-{service}", "expected {stream}, {tenant} or a date in braces", "{+yyyy.MM.dd}"),
            ("a-{+YYYY}", "expected yyyy, MM and dd, with dots or dashes between them", "{+yyyy.MM.dd}"),
            ("Logs", "expected lower case, without spaces and \\ / * ? \" < > | , # :", "logs-{stream}-default"),
        ] {
            assert_eq!(Pattern::read(text), Err(Unread { why: why.to_owned(), instead }), "{text}");
        }
    }
}
