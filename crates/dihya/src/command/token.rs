//! `dihya token`: make, list and revoke tokens.

use disk::OsClock;
use http::Method;
use model::Clock as _;
use serde_json::{Value, json};

use super::{block_on, items_of, print_json, segment, text_of};
use crate::cli::{Format, TokenCommand};
use crate::client::Client;
use crate::failure::{DONE, misuse};
use crate::terminal;

const PATH: &str = "/api/dihya/v1/tokens";

/// Runs the command against the server.
pub(super) fn run(command: TokenCommand) -> anyhow::Result<u8> {
    match command {
        TokenCommand::Add { name, roles, expires, remote } => {
            let mut body = json!({"name": name, "roles": roles});
            if let Some(after) = expires {
                let after = jiff::SignedDuration::try_from(after).map_err(|_| misuse("--expires is too long"))?;
                let end = OsClock::default().now().checked_add(after).map_err(|_| misuse("--expires is too long"))?;
                body["expires_at"] = end.to_string().into();
            }
            let answer = block_on(Client::new(&remote)?.send(Method::POST, PATH, &body))?;
            terminal::err("this is shown once; Dihya keeps its hash only\n");
            terminal::out(&format!("{}\n", text_of(&answer, "token")));
        }
        TokenCommand::List { format, remote } => {
            let answer = block_on(Client::new(&remote)?.get(PATH))?;
            match format {
                Format::Json => print_json(&items_of(&answer))?,
                Format::Text => terminal::out(&listing(items_of(&answer))),
            }
        }
        TokenCommand::Revoke { id, remote } => {
            let path = format!("{PATH}/{}", segment(&id));
            block_on(Client::new(&remote)?.send(Method::DELETE, &path, &Value::Null))?;
            terminal::out(&format!("{id} is revoked\n"));
        }
    }
    Ok(DONE)
}

fn listing(rows: &[Value]) -> String {
    let mut table = vec![["ID", "NAME", "ROLES", "EXPIRES", "LAST USED"].map(str::to_owned).to_vec()];
    for row in rows {
        let roles: Vec<&str> =
            row.get("roles").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let or_never =
            |key: &str| Some(text_of(row, key)).filter(|text| !text.is_empty()).unwrap_or("never").to_owned();
        table.push(vec![
            text_of(row, "id").to_owned(),
            text_of(row, "name").to_owned(),
            roles.join(","),
            or_never("expires_at"),
            or_never("used_at"),
        ]);
    }
    terminal::table(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_readable() {
        let text = listing(&[json!({"id": "a", "name": "ci", "roles": ["ingest", "viewer"], "expires_at": "t"})]);
        assert!(text.contains("a   ci    ingest,viewer  t        never"), "{text}");
    }
}
