//! Answers with an entity tag: who asks again with it is told that nothing changed.

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};

/// A body with its media type and the tag that names its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Tagged {
    pub(crate) body: Bytes,
    pub(crate) media_type: &'static str,
    pub(crate) cache_control: &'static str,
    tag: String,
}

impl Tagged {
    pub(crate) fn new(body: impl Into<Bytes>, media_type: &'static str, cache_control: &'static str) -> Self {
        let body = body.into();
        let digest = Sha256::digest(&body);
        let tag: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        Self { body, media_type, cache_control, tag: format!("\"{tag}\"") }
    }

    /// Answers 200 with the body, or 304 to a client that has it.
    pub(crate) fn answer(&self, if_none_match: Option<&str>) -> Response {
        let known = if_none_match.is_some_and(|known| {
            known.split(',').any(|tag| {
                let tag = tag.trim();
                tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.tag
            })
        });
        let mut response = if known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let mut response = self.body.clone().into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
            response
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(self.cache_control));
        if let Ok(tag) = HeaderValue::from_str(&self.tag) {
            headers.insert(header::ETAG, tag);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_tag_saves_the_body() {
        let tagged = Tagged::new("body", "text/plain", "no-cache");
        let tag = tagged.answer(None).headers()[header::ETAG].to_str().expect("ascii").to_owned();
        for (known, status) in [
            (None, 200),
            (Some("\"other\""), 200),
            (Some(tag.as_str()), 304),
            (Some(format!("\"a\", W/{tag}").as_str()), 304),
            (Some("*"), 304),
        ] {
            let response = tagged.answer(known);
            assert_eq!(response.status().as_u16(), status, "{known:?}");
            assert_eq!(response.headers()[header::ETAG], tag.as_str());
            assert_eq!(response.headers()[header::CACHE_CONTROL], "no-cache");
        }
    }
}
