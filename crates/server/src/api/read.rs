//! Reads what strangers send: bodies and query strings, with the wrong field named and its value never repeated.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use http::request::Parts;
use http::{StatusCode, header};
use model::limits::{PAGE_ROWS_MAX, REQUEST_BODY_BYTES_MAX};
use serde::de::DeserializeOwned;

use crate::problem::Problem;
use crate::seam::Page;

/// Rows in a page unless the caller says otherwise.
const PAGE_ROWS_DEFAULT: usize = 100;
/// Longest cursor, in bytes: ours are ids.
const CURSOR_BYTES_MAX: usize = 256;

/// A JSON body. An empty one is read as `{}`, so that a POST without a body can mean "with the defaults".
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let media_type = request.headers().get(header::CONTENT_TYPE).map(|value| value.as_bytes().to_vec());
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| unread(rejection.status()))?;
        if bytes.is_empty() && media_type.is_none() {
            return parse(b"{}").map(Self);
        }
        // A form that a foreign page submits cannot be JSON: asking for the media type keeps it out, empty forms too.
        let is_json = media_type.is_some_and(|media_type| {
            let essence = media_type.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
            essence.eq_ignore_ascii_case(b"application/json")
        });
        if !is_json {
            let detail = "expected a body with Content-Type: application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        parse(if bytes.is_empty() { b"{}" } else { &bytes }).map(Self)
    }
}

/// The body of a request that needs none: empty or `{}`.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

fn unread(status: StatusCode) -> Problem {
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        let detail = format!("expected a body of at most {REQUEST_BODY_BYTES_MAX} bytes");
        return Problem::new(status, detail);
    }
    Problem::new(StatusCode::BAD_REQUEST, "the body ended early")
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde would read a list as the fields of an object in their order.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "expected a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        if cause.is_data() { data_problem(&path, &cause.to_string()) } else { syntax_problem(&cause) }
    })?;
    json.end().map_err(|cause| syntax_problem(&cause))?;
    Ok(value)
}

fn syntax_problem(cause: &serde_json::Error) -> Problem {
    let detail = format!("the body is not JSON: see line {} column {}", cause.line(), cause.column());
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

/// Keeps of serde's message what was expected; what was found may be personal.
fn data_problem(path: &str, message: &str) -> Problem {
    let message = message.rsplit_once(" at line ").map_or(message, |(message, _)| message);
    let quoted = |text: &str| text.split('`').nth(1).map(str::to_owned);
    if message.starts_with("missing field") {
        let name = quoted(message).unwrap_or_default();
        let field = if path == "." { name } else { format!("{path}.{name}") };
        return Problem::field(field, "the field is required");
    }
    let expected = match message.rsplit_once("expected ") {
        Some((_, expected)) if message.starts_with("unknown field") => format!("unknown field, expected {expected}"),
        Some((_, expected)) => format!("expected {expected}"),
        None => "the value cannot be read".to_owned(),
    };
    Problem::field(path, expected)
}

/// A query string, taken parameter by parameter; what is left over is refused by name.
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<Vec<(String, String)>>::from_request_parts(parts, state).await {
            Ok(Query(pairs)) => Ok(Self(pairs)),
            Err(_) => Err(Problem::new(StatusCode::BAD_REQUEST, "the query string cannot be read")),
        }
    }
}

impl Params {
    /// Takes a parameter.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Takes a parameter that must read as a `T`.
    pub(crate) fn parse<T: std::str::FromStr>(&mut self, name: &str, expected: &str) -> Result<Option<T>, Problem> {
        self.take(name).map(|text| text.parse().map_err(|_| Problem::field(name, expected))).transpose()
    }

    /// Takes a parameter that must be one of the words that `T` knows.
    pub(crate) fn word<T: DeserializeOwned>(&mut self, name: &str, expected: &str) -> Result<Option<T>, Problem> {
        let read = |text: String| serde_json::from_value(text.into()).map_err(|_| Problem::field(name, expected));
        self.take(name).map(read).transpose()
    }

    /// Takes `limit` and `cursor`.
    pub(crate) fn page(&mut self) -> Result<Page, Problem> {
        let expected = format!("expected a number from 1 to {PAGE_ROWS_MAX}");
        let limit = self.parse("limit", &expected)?.unwrap_or(PAGE_ROWS_DEFAULT);
        if !(1..=PAGE_ROWS_MAX).contains(&limit) {
            return Err(Problem::field("limit", expected));
        }
        let after = self.take("cursor");
        if after.as_ref().is_some_and(|cursor| cursor.len() > CURSOR_BYTES_MAX) {
            return Err(Problem::field("cursor", "expected the `next` of an earlier answer"));
        }
        Ok(Page { limit, after })
    }

    /// Refuses what is left: a filter that is misspelt would silently widen an answer.
    pub(crate) fn done(self) -> Result<(), Problem> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some(_) => Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "the query string has a parameter that the route does not know, or one twice",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read from JSON")]
    struct Outer {
        inner: Vec<Inner>,
        #[serde(default)]
        level: Option<model::Severity>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read from JSON")]
    struct Inner {
        count: u8,
    }

    #[test]
    fn the_field_is_named_and_its_value_is_not() {
        for (json, field, detail) in [
            (r#"{"inner": [{"count": "marie@example.org"}]}"#, Some("inner[0].count"), "expected u8"),
            (r#"{"inner": [{"count": 300}]}"#, Some("inner[0].count"), "expected u8"),
            (r#"{"inner": [{}]}"#, Some("inner[0].count"), "the field is required"),
            (r#"{}"#, Some("inner"), "the field is required"),
            (r#"{"inner": [], "level": "Marie"}"#, Some("level"), "expected one of"),
            (r#"{"inner": [], "marie": 1}"#, Some("marie"), "unknown field, expected"),
            (r#"[]"#, None, "expected a JSON object"),
            (r#"5"#, Some("."), "expected struct Outer"),
            (r#"{"inner": ["#, None, "the body is not JSON: see line 1 column"),
            (r#"{"inner": []} x"#, None, "the body is not JSON"),
        ] {
            let problem = parse::<Outer>(json.as_bytes()).expect_err(json);
            assert!(problem.detail.starts_with(detail), "{json}: {}", problem.detail);
            assert!(!problem.detail.to_lowercase().contains("marie"), "{json}: {}", problem.detail);
            if let Some(field) = field {
                assert_eq!(problem.field.as_deref(), Some(field), "{json}");
            }
        }
    }

    #[test]
    fn what_is_left_over_is_refused() {
        let mut params = Params(vec![("limit".into(), "5".into()), ("cursor".into(), "x".into())]);
        assert_eq!(params.page().expect("reads"), Page { limit: 5, after: Some("x".into()) });
        assert!(params.done().is_ok());
        for (name, value) in [("limit", "0"), ("limit", "1001"), ("limit", "x"), ("cursor", &"x".repeat(300))] {
            let mut params = Params(vec![(name.to_owned(), value.to_owned())]);
            assert_eq!(params.page().expect_err(name).field.as_deref(), Some(name));
        }
        assert!(Params(vec![("satte".into(), "open".into())]).done().is_err());
    }
}
