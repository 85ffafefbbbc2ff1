//! Elasticsearch's `_bulk`: pairs of lines, an action and a document, each with its own outcome.
//!
//! `index` and `create` append an event. What is recorded cannot be changed, so `update` and `delete` are refused, item by
//! item. Action lines are read before anything is admitted: a body that breaks off in the middle changes nothing.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use memchr::memchr;
use model::limits::{INTAKE_EVENT_BYTES_MAX, INTAKE_ITEMS_MAX};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::admission::Outcome;
use crate::elastic;

/// What an action line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Index,
    Create,
    Update,
    Delete,
}

impl Act {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// One item of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) act: Act,
    /// The index that the item or else the path names.
    pub(crate) index: Option<Arc<str>>,
    pub(crate) id: Option<String>,
    /// Where its document stands in the body; empty for `delete`.
    pub(crate) document: Range<usize>,
}

/// Why a body as a whole is refused, in the words that Elasticsearch's clients know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) String);

/// `_type`, `routing`, `pipeline`, `version` and the like are passed over.
#[derive(Deserialize)]
struct Target {
    #[serde(rename = "_index")]
    index: Option<String>,
    #[serde(rename = "_id")]
    id: Option<Id>,
}

/// Agents write ids as texts, and some as numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(u64),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct Line {
    index: Option<Target>,
    create: Option<Target>,
    update: Option<Target>,
    delete: Option<Target>,
}

/// An action line without an id, and what it asks for.
struct Last<'a> {
    line: &'a [u8],
    act: Act,
    index: Option<Arc<str>>,
}

/// The index of the last item, and its stream: most items of a body have the same.
#[derive(Debug, Default)]
pub(crate) struct LastStream(Mutex<Option<(Arc<str>, String)>>);

impl LastStream {
    fn of(&self, index: &Arc<str>) -> Option<String> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((known, stream)) if Arc::ptr_eq(known, index) => Some(stream.clone()),
            _ => {
                let stream = elastic::stream_of(index)?;
                *last = Some((Arc::clone(index), stream.clone()));
                Some(stream)
            }
        }
    }
}

/// Splits a body into items.
pub(crate) fn split(body: &[u8], path_index: Option<&str>) -> Result<Vec<Item>, Malformed> {
    let mut items = Vec::new();
    let mut lines = Lines { body, at: 0, number: 0 };
    let path_index: Option<Arc<str>> = path_index.map(Arc::from);
    // Agents write the same action before each document, and then it need not be read again.
    let mut last: Option<Last<'_>> = None;
    while let Some(range) = lines.next() {
        let text = body.get(range).unwrap_or_default();
        if text.trim_ascii().is_empty() {
            continue;
        }
        let number = lines.number;
        let malformed = |why: &str| Malformed(format!("Malformed action/metadata line [{number}], {why}"));
        let (act, index, id) = match &last {
            Some(last) if last.line == text => (last.act, last.index.clone(), None),
            _ => {
                let (act, target) = action(text).map_err(malformed)?;
                let index = target.index.map(Arc::from).or_else(|| path_index.clone());
                let id = match target.id {
                    Some(Id::Text(id)) => Some(id),
                    Some(Id::Number(id)) => Some(id.to_string()),
                    Some(Id::Other(_)) | None => None,
                };
                last = id.is_none().then(|| Last { line: text, act, index: index.clone() });
                (act, index, id)
            }
        };
        let document = match act {
            Act::Delete => 0..0,
            _ => lines.next().ok_or_else(|| malformed("the document is missing"))?,
        };
        if items.len() == INTAKE_ITEMS_MAX {
            return Err(Malformed(format!("the body has more than {INTAKE_ITEMS_MAX} items")));
        }
        items.push(Item { act, index, id, document });
    }
    if items.is_empty() {
        return Err(Malformed("request body is required".to_owned()));
    }
    Ok(items)
}

/// Reads an action line.
fn action(text: &[u8]) -> Result<(Act, Target), &'static str> {
    let line: Line =
        serde_json::from_slice(text).map_err(|_| "expected one of index, create, update, delete with an object")?;
    match line {
        Line { index: Some(target), create: None, update: None, delete: None } => Ok((Act::Index, target)),
        Line { index: None, create: Some(target), update: None, delete: None } => Ok((Act::Create, target)),
        Line { index: None, create: None, update: Some(target), delete: None } => Ok((Act::Update, target)),
        Line { index: None, create: None, update: None, delete: Some(target) } => Ok((Act::Delete, target)),
        _ => Err("expected exactly one of index, create, update, delete"),
    }
}

fn quoted(text: &str) -> Cow<'_, str> {
    // Names of indices are such that nothing in them needs an escape.
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
        return Cow::Borrowed(text);
    }
    let quoted = serde_json::Value::from(text).to_string();
    quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned().into()
}

/// The lines of a body, by where they stand.
struct Lines<'a> {
    body: &'a [u8],
    at: usize,
    number: usize,
}

impl Iterator for Lines<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let rest = self.body.get(self.at..).filter(|rest| !rest.is_empty())?;
        let end = self.at + memchr(b'\n', rest).unwrap_or(rest.len());
        let line = self.at..end;
        self.at = end + 1;
        self.number += 1;
        Some(line)
    }
}

impl Item {
    /// Returns the stream and the document of an item that can be an event.
    pub(crate) fn readable<'a>(&self, body: &'a Bytes, last: &LastStream) -> Result<(String, &'a [u8]), String> {
        match self.act {
            Act::Update | Act::Delete => return Err("what is recorded cannot be changed or deleted".to_owned()),
            Act::Index | Act::Create => {}
        }
        let index = self.index.as_ref().ok_or("index is missing")?;
        let stream = last.of(index).ok_or("the name of the index is not valid")?;
        let document = body.get(self.document.clone()).unwrap_or_default();
        if document.len() > INTAKE_EVENT_BYTES_MAX {
            return Err(format!("the document is larger than {INTAKE_EVENT_BYTES_MAX} bytes"));
        }
        Ok((stream, document))
    }

    /// Writes the item's part of the answer, and returns whether it is an error. As text: most answers are nothing but
    /// thousands of these.
    pub(crate) fn answer(&self, outcome: Option<&Outcome>, out: &mut String) -> bool {
        let (act, index) = (self.act.as_str(), quoted(self.index.as_deref().unwrap_or_default()));
        let failed = match outcome {
            Some(Outcome::Durable(position)) => {
                let position = position.to_string();
                let id = self.id.as_deref().map_or(Cow::Borrowed(&*position), quoted);
                for part in [
                    "{\"",
                    act,
                    "\":{\"_index\":\"",
                    &*index,
                    "\",\"_id\":\"",
                    &*id,
                    "\",\"_version\":1,\"result\":\"created\",\"_shards\":{\"total\":1,\"successful\":1,\"failed\":0},\
                     \"_seq_no\":",
                    &*position,
                    ",\"_primary_term\":1,\"status\":201}}",
                ] {
                    out.push_str(part);
                }
                return false;
            }
            Some(Outcome::Never(why)) => (400, "document_parsing_exception", why.as_str()),
            Some(Outcome::Later(why)) => (429, "es_rejected_execution_exception", why.as_str()),
            None => (500, "exception", "the item was passed over"),
        };
        let (status, kind, reason) = failed;
        let id = self.id.as_deref().map_or_else(|| "null".to_owned(), |id| format!("\"{}\"", quoted(id)));
        // Writing to a text never fails.
        let _ = write!(
            out,
            "{{\"{act}\":{{\"_index\":\"{index}\",\"_id\":{id},\"status\":{status},\"error\":{{\"type\":\"{kind}\",\
             \"reason\":\"{}\"}}}}}}",
            quoted(reason)
        );
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split_text(body: &str) -> Result<Vec<Item>, Malformed> {
        split(body.as_bytes(), Some("path"))
    }

    #[test]
    fn items_are_pairs_of_lines() {
        let body = "{\"index\":{\"_index\":\"a\",\"_id\":\"1\",\"_type\":\"_doc\"}}\n{\"x\":1}\n\n{ \"create\" : {\"_id\":7} }\r\n{}\n\
                    {\"delete\":{\"_id\":\"2\"}}\n{\"update\":{\"_id\":\"3\"}}\n{\"doc\":{}}";
        let items = split_text(body).expect("splits");
        let seen: Vec<_> = items
            .iter()
            .map(|item| {
                let document = body.get(item.document.clone()).expect("is there");
                (item.act, item.index.as_deref().unwrap_or(""), item.id.as_deref().unwrap_or(""), document)
            })
            .collect();
        let wanted = [
            (Act::Index, "a", "1", "{\"x\":1}"),
            (Act::Create, "path", "7", "{}"),
            (Act::Delete, "path", "2", ""),
            (Act::Update, "path", "3", "{\"doc\":{}}"),
        ];
        assert_eq!(seen, wanted);
    }

    #[test]
    fn an_action_that_comes_again_means_the_same() {
        let (plain, named) = ("{\"create\":{\"_index\":\"a\"}}\n{}\n", "{\"index\":{\"_id\":\"1\"}}\n{}\n");
        let items = split_text(&[plain, plain, named, named, plain, named, plain].concat()).expect("splits");
        let seen: Vec<_> = items.iter().map(|item| (item.act, item.index.as_deref(), item.id.as_deref())).collect();
        let (plain, named) = ((Act::Create, Some("a"), None), (Act::Index, Some("path"), Some("1")));
        assert_eq!(seen, [plain, plain, named, named, plain, named, plain]);
    }

    #[test]
    fn a_body_that_breaks_off_is_refused_whole_and_by_its_line() {
        for (body, why) in [
            ("", "request body is required"),
            ("\n \n", "request body is required"),
            ("{\"index\":{}}\n{}\nnoise\n", "line [3]"),
            ("{\"index\":{}}", "the document is missing"),
            ("{}\n{}\n", "exactly one"),
            ("{\"index\":{},\"create\":{}}\n{}\n", "exactly one"),
            ("{\"index\":7}\n{}\n", "line [1]"),
        ] {
            let Malformed(reason) = split_text(body).expect_err(body);
            assert!(reason.contains(why), "{body}: {reason}");
        }
        let many = "{\"delete\":{}}\n".repeat(INTAKE_ITEMS_MAX + 1);
        assert!(split_text(&many).is_err());
    }

    #[test]
    fn each_outcome_has_the_form_that_clients_know() {
        let item = Item { act: Act::Create, index: Some("logs".into()), id: None, document: 0..0 };
        let status = |outcome: Option<Outcome>| {
            let mut text = String::new();
            let error = item.answer(outcome.as_ref(), &mut text);
            let answer: serde_json::Value = serde_json::from_str(&text).expect("is JSON");
            (answer["create"]["status"].as_u64(), answer["create"]["error"]["type"].as_str().map(str::to_owned), error)
        };
        assert_eq!(status(Some(Outcome::Durable(7))), (Some(201), None, false));
        let rejected = Some("es_rejected_execution_exception".to_owned());
        assert_eq!(status(Some(Outcome::Later("full".into()))), (Some(429), rejected, true));
        let parsing = Some("document_parsing_exception".to_owned());
        assert_eq!(status(Some(Outcome::Never("bad".into()))), (Some(400), parsing, true));
        assert_eq!(status(None).0, Some(500));
        let mut text = String::new();
        item.answer(Some(&Outcome::Durable(7)), &mut text);
        assert!(text.contains("\"_id\":\"7\""), "{text}");
    }

    #[test]
    fn only_appends_become_events() {
        let body = Bytes::from(vec![b' '; INTAKE_EVENT_BYTES_MAX + 1]);
        let item =
            |act, index: Option<&str>, end| Item { act, index: index.map(Arc::from), id: None, document: 0..end };
        let last = LastStream::default();
        for (index, stream) in [("logs", "logs"), ("logs", "logs"), ("web-2026.11.27", "web"), ("logs", "logs")] {
            let item = item(Act::Create, Some(index), 5);
            assert_eq!(item.readable(&body, &last).map(|(stream, _)| stream).as_deref(), Ok(stream));
            assert_eq!(item.readable(&body, &last).map(|(stream, _)| stream).as_deref(), Ok(stream));
        }
        for item in [
            item(Act::Update, Some("logs"), 5),
            item(Act::Delete, Some("logs"), 0),
            item(Act::Index, None, 5),
            item(Act::Index, Some("a b"), 5),
            item(Act::Index, Some("logs"), INTAKE_EVENT_BYTES_MAX + 1),
        ] {
            assert!(item.readable(&body, &last).is_err(), "{item:?}");
        }
    }

    proptest! {
        #[test]
        fn noise_never_panics(noise in "[\\{\\}\":a-z_\\n ]{0,200}", cut in 0_usize..60) {
            let _ = split(noise.as_bytes(), None);
            let body = "{\"index\":{\"_index\":\"a\"}}\n{\"message\":\"x\"}\n{\"delete\":{}}\n";
            let _ = split(body.get(..cut).unwrap_or(body).as_bytes(), None);
        }
    }
}
