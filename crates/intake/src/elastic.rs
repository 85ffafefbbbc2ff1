//! What agents ask an Elasticsearch 8 before they send: who it is, its licence, their policies and templates.
//!
//! Answers say what lets an agent go on, and nothing that is not so: there are no shards here and no template is kept.

use model::limits::NAME_BYTES_MAX;
use serde_json::{Value, json};

/// The version whose behaviour is answered; agents refuse one older than their own major.
pub const VERSION: &str = "8.19.0";
/// The header that official clients look for.
pub const PRODUCT: (&str, &str) = ("x-elastic-product", "Elasticsearch");

/// Returns what `GET /` says.
#[must_use]
pub fn banner(node: &str) -> Value {
    json!({
        "name": node,
        "cluster_name": "dihya",
        "cluster_uuid": "dihya",
        "version": {
            "number": VERSION,
            "build_flavor": "default",
            "build_type": "dihya",
            "build_hash": env!("CARGO_PKG_VERSION"),
            "build_date": "1970-01-01T00:00:00.000Z",
            "build_snapshot": false,
            "lucene_version": "9.12.0",
            "minimum_wire_compatibility_version": "7.17.0",
            "minimum_index_compatibility_version": "7.0.0",
        },
        "tagline": "You Know, for Search",
    })
}

/// Returns what `GET /_license` says: what is free is active.
#[must_use]
pub fn licence() -> Value {
    json!({"license": {"status": "active", "uid": "dihya", "type": "basic", "mode": "basic", "issued_to": "dihya",
        "issuer": "dihya", "start_date_in_millis": -1}})
}

/// Returns what `GET /_xpack` says: Filebeat 7 asks there whether an index needs a lifecycle policy, and does not begin
/// without an answer.
#[must_use]
pub fn features() -> Value {
    let mut features = licence();
    features["features"] = json!({"ilm": {"available": false, "enabled": false}});
    features
}

/// Returns an index lifecycle policy: retention is Dihya's own business, and an agent need not make one.
#[must_use]
pub fn policy(name: &str) -> Value {
    json!({ name: {"version": 1, "policy": {"phases": {}}} })
}

/// Returns an index template: fields need no mapping here, and an agent need not make one.
#[must_use]
pub fn template(name: &str) -> Value {
    json!({"index_templates": [{"name": name, "index_template": {"index_patterns": [format!("{name}*")], "data_stream": {}}}]})
}

/// Returns the answer to what changes nothing here.
#[must_use]
pub fn acknowledged() -> Value {
    json!({"acknowledged": true})
}

/// Returns an error in Elasticsearch's shape.
#[must_use]
pub fn error(status: u16, kind: &str, reason: &str) -> Value {
    let cause = json!({"type": kind, "reason": reason});
    json!({"error": {"root_cause": [cause], "type": kind, "reason": reason}, "status": status})
}

/// Returns Elasticsearch's word for a status.
#[must_use]
pub const fn error_type(status: u16) -> &'static str {
    match status {
        401 | 403 => "security_exception",
        404 => "resource_not_found_exception",
        413 => "content_too_long_exception",
        429 | 503 => "es_rejected_execution_exception",
        500.. => "exception",
        _ => "illegal_argument_exception",
    }
}

/// Returns the stream that an index is: its name without the date or the number that agents put behind it, so that a
/// stream does not become another one at midnight. `None` when the name cannot be one.
#[must_use]
pub fn stream_of(index: &str) -> Option<String> {
    let is_valid = |name: &str| {
        (1..=NAME_BYTES_MAX).contains(&name.len())
            && !name.starts_with(['-', '_', '+'])
            && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | ':' | '@'))
    };
    if !is_valid(index) {
        return None;
    }
    let name = index.strip_prefix(".ds-").unwrap_or(index);
    let name = strip_behind(name, |tail| tail.len() == 6 && tail.bytes().all(|b| b.is_ascii_digit()));
    let name = strip_behind(name, is_date);
    Some(name.to_owned())
}

/// Says why a stream cannot be named so in a configuration, and what to write instead; `None` when it can. A date behind a
/// name would be taken off as it is from an index.
#[must_use]
pub fn not_a_stream(name: &str) -> Option<(&'static str, &'static str)> {
    let wrong = ("cannot be the name of a stream", "write letters, digits and dashes, without a date behind them");
    stream_of(name).is_none_or(|stream| stream != name).then_some(wrong)
}

fn strip_behind(name: &str, is: impl Fn(&str) -> bool) -> &str {
    match name.rsplit_once('-') {
        Some((head, tail)) if !head.is_empty() && is(tail) => head,
        _ => name,
    }
}

/// Tells whether a text is `2026.11.27`, `2026.11` or `2026.48`.
fn is_date(text: &str) -> bool {
    let mut parts = text.split('.');
    let digits = |part: Option<&str>, len: usize| {
        part.is_some_and(|part| part.len() == len && part.bytes().all(|b| b.is_ascii_digit()))
    };
    digits(parts.next(), 4)
        && digits(parts.next(), 2)
        && match parts.next() {
            None => true,
            day => digits(day, 2) && parts.next().is_none(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_a_stream_without_its_date() {
        for (index, stream) in [
            ("logs", Some("logs")),
            ("filebeat-8.15.0-2026.11.27", Some("filebeat-8.15.0")),
            ("logstash-2026.11", Some("logstash")),
            (".ds-logs-nginx-default-2026.11.27-000012", Some("logs-nginx-default")),
            ("logs-nginx-default", Some("logs-nginx-default")),
            ("filebeat-8.15.0", Some("filebeat-8.15.0")),
            ("2026.11.27", Some("2026.11.27")),
            ("santé", Some("santé")),
            ("", None),
            ("a b", None),
            ("_all", None),
            ("a/b", None),
            ("a\nb", None),
        ] {
            assert_eq!(stream_of(index).as_deref(), stream, "{index}");
        }
        assert_eq!(stream_of(&"x".repeat(NAME_BYTES_MAX + 1)), None);
    }

    #[test]
    fn answers_have_the_form_that_agents_read() {
        assert!(banner("n")["version"]["number"].as_str().is_some_and(|version| version.starts_with("8.")));
        assert_eq!(licence()["license"]["status"], "active");
        assert!(policy("p")["p"]["policy"].is_object());
        assert_eq!(template("t")["index_templates"][0]["name"], "t");
        assert_eq!(acknowledged()["acknowledged"], true);
        for (status, kind) in [(400, "illegal_argument_exception"), (401, "security_exception"), (500, "exception")] {
            assert_eq!(error(status, error_type(status), "why")["error"]["type"], kind);
        }
        for status in [404, 413, 429, 503] {
            assert_ne!(error_type(status), "illegal_argument_exception", "{status}");
        }
    }
}
