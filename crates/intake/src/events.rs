//! `POST /api/dihya/v1/events`: one JSON object a line, one object, or an array of them.

use std::ops::Range;

use memchr::memchr;
use model::limits::{INTAKE_EVENT_BYTES_MAX, INTAKE_ITEMS_MAX};
use serde_json::value::RawValue;

/// Returns where the documents of a body stand: the items of an array, or else its lines.
pub(crate) fn split(body: &[u8]) -> Result<Vec<Range<usize>>, &'static str> {
    let documents = if body.trim_ascii_start().first() == Some(&b'[') { items(body)? } else { lines(body) };
    if documents.is_empty() {
        return Err("the body holds no events");
    }
    if documents.len() > INTAKE_ITEMS_MAX {
        return Err("the body holds more events than one request may");
    }
    Ok(documents)
}

pub(crate) fn items(body: &[u8]) -> Result<Vec<Range<usize>>, &'static str> {
    let items: Vec<&RawValue> = serde_json::from_slice(body).map_err(|_| "the body is no JSON array")?;
    let start = body.as_ptr().addr();
    Ok(items
        .into_iter()
        .map(|item| {
            let at = item.get().as_ptr().addr() - start;
            at..at + item.get().len()
        })
        .collect())
}

/// Lines that hold something. An object that is written over several lines is one document.
fn lines(body: &[u8]) -> Vec<Range<usize>> {
    let mut documents = Vec::new();
    let mut at = 0;
    while let Some(rest) = body.get(at..).filter(|rest| !rest.is_empty()) {
        let end = at + memchr(b'\n', rest).unwrap_or(rest.len());
        if !body.get(at..end).unwrap_or_default().trim_ascii().is_empty() {
            documents.push(at..end);
        }
        at = end + 1;
    }
    let first = documents.first().and_then(|first| body.get(first.clone())).unwrap_or_default();
    let one = documents.len() > 1 && serde_json::from_slice::<&RawValue>(first).is_err();
    if one && serde_json::from_slice::<&RawValue>(body).is_ok() {
        std::iter::once(0..body.len()).collect()
    } else {
        documents
    }
}

/// Returns a document of a body, if it is not too large.
pub(crate) fn document(body: &[u8], range: Range<usize>) -> Result<&[u8], String> {
    let document = body.get(range).unwrap_or_default();
    if document.len() > INTAKE_EVENT_BYTES_MAX {
        return Err(format!("the event is larger than {INTAKE_EVENT_BYTES_MAX} bytes"));
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(body: &str) -> Result<Vec<&str>, &'static str> {
        let ranges = split(body.as_bytes())?;
        Ok(ranges.into_iter().map(|range| body.get(range).expect("is there").trim()).collect())
    }

    #[test]
    fn lines_arrays_and_single_objects_are_documents() {
        assert_eq!(texts("{\"a\":1}\n\n{\"b\":2}\r\nnoise"), Ok(vec!["{\"a\":1}", "{\"b\":2}", "noise"]));
        assert_eq!(texts(" [{\"a\":1}, {\"b\":[2]} ,7]"), Ok(vec!["{\"a\":1}", "{\"b\":[2]}", "7"]));
        assert_eq!(texts("{\n  \"a\": 1\n}\n"), Ok(vec!["{\n  \"a\": 1\n}"]));
        assert_eq!(texts("{\"a\":1}"), Ok(vec!["{\"a\":1}"]));
        for (body, why) in
            [("", "the body holds no events"), ("[]", "the body holds no events"), ("[1", "the body is no JSON array")]
        {
            assert_eq!(texts(body), Err(why));
        }
        let many = "1\n".repeat(INTAKE_ITEMS_MAX + 1);
        assert!(split(many.as_bytes()).is_err());
        assert!(document(&vec![b' '; INTAKE_EVENT_BYTES_MAX + 1], 0..INTAKE_EVENT_BYTES_MAX + 1).is_err());
    }

    proptest! {
        #[test]
        fn documents_stand_inside_the_body(noise in "[\\[\\]\\{\\},1\" \\n]{0,60}") {
            for range in split(noise.as_bytes()).unwrap_or_default() {
                prop_assert!(noise.as_bytes().get(range).is_some());
            }
        }
    }
}
