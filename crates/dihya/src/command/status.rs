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
    let mut rows = vec![["STATE", "ID", "NAME", "KIND", "SINCE", "REASON"].map(str::to_owned).to_vec()];
    for service in answer.get("services").and_then(Value::as_array).into_iter().flatten() {
        rows.push(
            ["state", "id", "name", "kind", "since", "reason"].map(|key| text_of(service, key).to_owned()).to_vec(),
        );
    }
    format!("{}\n{}", text_of(answer, "overall"), terminal::table(&rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_readable() {
        let answer = serde_json::json!({"overall": "down", "checked_at": "t",
            "services": [{"id": "a", "name": "The a", "kind": "tcp", "state": "down", "since": "s", "reason": "refused"}]});
        let text = portrait(&answer);
        assert_eq!(text, "down\nSTATE  ID  NAME   KIND  SINCE  REASON\ndown   a   The a  tcp   s      refused\n");
    }
}
