//! `dihya status`: how a running server stands.

use serde_json::Value;

use super::{block_on, print_json, text_of};
use crate::cli::{Format, StatusArgs};
use crate::client::Client;
use crate::failure::{DONE, FAILED};
use crate::terminal;

/// Asks the server and prints what it says. Anything but `up` exits with 1.
pub(super) fn run(args: &StatusArgs) -> anyhow::Result<u8> {
    let answer = block_on(Client::new(&args.remote)?.get("/api/dihya/v1/status"))?;
    match args.format {
        Format::Json => print_json(&answer)?,
        Format::Text => terminal::out(&portrait(&answer)),
    }
    Ok(if text_of(&answer, "overall") == "up" { DONE } else { FAILED })
}

fn portrait(answer: &Value) -> String {
    let mut rows = Vec::new();
    if let Value::Object(fields) = answer {
        for (key, value) in fields {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Array(items) if items.iter().all(Value::is_string) => {
                    items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; ")
                }
                Value::Array(items) => items.len().to_string(),
                other => other.to_string(),
            };
            rows.push(vec![key.clone(), text]);
        }
    }
    terminal::table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_readable() {
        let answer = serde_json::json!({"overall": "up", "ailments": ["a", "b"], "checks": [{}], "open": 1});
        assert_eq!(portrait(&answer), "overall   up\nailments  a; b\nchecks    1\nopen      1\n");
    }
}
