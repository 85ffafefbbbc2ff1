//! `dihya token`: make, list and revoke tokens.

use disk::OsClock;
use http::Method;
use model::limits::TOKENS_MAX;
use model::{Clock as _, Tenant};
use serde_json::{Value, json};

use super::{block_on, print_json, segment, text_of};
use crate::cli::{Format, TokenCommand};
use crate::client::Client;
use crate::failure::{DONE, misuse};
use crate::terminal;

const PATH: &str = "/api/dihya/v1/tokens";

/// Runs the command against the server.
pub(super) fn run(command: TokenCommand) -> anyhow::Result<u8> {
    match command {
        TokenCommand::Add { name, roles, tenant, scopes, expires, remote } => {
            let mut body = json!({"name": name, "roles": roles, "scopes": scopes});
            if let Some(tenant) = tenant {
                body["tenant"] = tenant.as_str().into();
            }
            if let Some(after) = expires {
                let after = jiff::SignedDuration::try_from(after).map_err(|_| misuse("--expires is too long"))?;
                let end = OsClock::default().now().checked_add(after).map_err(|_| misuse("--expires is too long"))?;
                body["expires_at"] = end.to_string().into();
            }
            let answer = block_on(Client::new(&remote)?.send(Method::POST, PATH, &body))?;
            terminal::err("this is shown once; Dihya keeps its hash only\n");
            terminal::out(&format!("{}\n", text_of(&answer, "token")));
        }
        TokenCommand::List { tenant, format, remote } => {
            let rows = block_on(rows(&Client::new(&remote)?, tenant.as_ref()))?;
            match format {
                Format::Json => print_json(&rows)?,
                Format::Text => terminal::out(&listing(&rows)),
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

/// Reads all tokens of a tenant, however many pages they fill.
async fn rows(client: &Client, tenant: Option<&Tenant>) -> anyhow::Result<Vec<Value>> {
    // A tenant's name is safe in a query: letters, digits, dots and hyphens.
    let filter = tenant.map(|tenant| format!("tenant={tenant}")).unwrap_or_default();
    client.rows(&format!("{PATH}?{filter}"), TOKENS_MAX).await
}

fn listing(rows: &[Value]) -> String {
    let head = ["ID", "TENANT", "NAME", "ROLES", "SCOPES", "EXPIRES", "LAST USED"];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    for row in rows {
        let words = |key: &str| {
            let words = row.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            words.collect::<Vec<_>>().join(",")
        };
        let scopes = Some(words("scopes")).filter(|text| !text.is_empty()).unwrap_or_else(|| "all".to_owned());
        let or_never =
            |key: &str| Some(text_of(row, key)).filter(|text| !text.is_empty()).unwrap_or("never").to_owned();
        table.push(vec![
            text_of(row, "id").to_owned(),
            text_of(row, "tenant").to_owned(),
            text_of(row, "name").to_owned(),
            words("roles"),
            scopes,
            or_never("expires_at"),
            or_never("used_at"),
        ]);
    }
    terminal::table(&table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::tests::answering;

    #[test]
    fn tokens_are_readable() {
        let row = json!({"id": "a", "tenant": "shop", "name": "ci", "roles": ["ingest", "viewer"], "expires_at": "t"});
        let text = listing(&[row]);
        assert!(text.contains("a   shop    ci    ingest,viewer  all     t        never"), "{text}");
    }

    /// The list ended after a hundred tokens, without a word.
    #[test]
    fn all_tokens_are_listed() {
        let (client, asked) = answering(|path| {
            let page = |from: u32, next: Value| {
                let items: Vec<Value> = (from..from + 100).map(|id| json!({"id": id.to_string()})).collect();
                if next.is_null() { json!({"items": items}) } else { json!({"items": items, "next": next}) }
            };
            if path.contains("cursor=") { page(100, Value::Null) } else { page(0, "99".into()) }
        });
        let shop = Tenant::new("shop").expect("a name");
        assert_eq!(block_on(rows(&client, Some(&shop))).expect("answers").len(), 200);
        let asked = asked.lock().expect("not poisoned");
        assert_eq!(
            *asked,
            [format!("{PATH}?tenant=shop&limit=1000"), format!("{PATH}?tenant=shop&limit=1000&cursor=99")]
        );
    }
}
