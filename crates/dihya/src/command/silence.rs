//! `dihya silence`: keep alerts quiet for a while.

use disk::OsClock;
use http::Method;
use model::Clock as _;
use serde_json::{Value, json};

use super::{block_on, print_json, segment, text_of};
use crate::cli::{Format, SilenceCommand};
use crate::client::Client;
use crate::failure::{DONE, misuse};
use crate::terminal;

const PATH: &str = "/api/dihya/v1/silences";

/// Runs the command against the server.
pub(super) fn run(command: SilenceCommand) -> anyhow::Result<u8> {
    match command {
        SilenceCommand::Add { matchers, lasts, comment, remote } => {
            let matchers: Vec<Value> = matchers.iter().map(|text| matcher(text)).collect::<anyhow::Result<_>>()?;
            let now = OsClock::default().now();
            let lasts = jiff::SignedDuration::try_from(lasts).map_err(|_| misuse("--for is too long"))?;
            let ends_at = now.checked_add(lasts).map_err(|_| misuse("--for is too long"))?;
            let body = json!({
                "matchers": matchers,
                "starts_at": now.to_string(),
                "ends_at": ends_at.to_string(),
                "comment": comment,
            });
            let silence = block_on(Client::new(&remote)?.send(Method::POST, PATH, &body))?;
            terminal::out(&format!("{}\n", text_of(&silence, "id")));
        }
        SilenceCommand::List { all, format, remote } => {
            let rows = block_on(standing(&Client::new(&remote)?, all))?;
            match format {
                Format::Json => print_json(&rows)?,
                Format::Text => terminal::out(&listing(&rows)),
            }
        }
        SilenceCommand::Expire { id, remote } => {
            let path = format!("{PATH}/{}", segment(&id));
            block_on(Client::new(&remote)?.send(Method::DELETE, &path, &Value::Null))?;
            terminal::out(&format!("{id} has ended\n"));
        }
    }
    Ok(DONE)
}

/// Reads all silences, or those that hold now or will.
async fn standing(client: &Client, all: bool) -> anyhow::Result<Vec<Value>> {
    if all {
        return client.rows(&format!("{PATH}?"), usize::MAX).await;
    }
    let mut rows = client.rows(&format!("{PATH}?state=active"), usize::MAX).await?;
    rows.extend(client.rows(&format!("{PATH}?state=pending"), usize::MAX).await?);
    Ok(rows)
}

/// Reads `name=value`, `name!=value`, `name=~regex`, `name!~regex`; the longer operators first.
fn matcher(text: &str) -> anyhow::Result<Value> {
    for op in ["=~", "!~", "!=", "="] {
        if let Some((name, value)) = text.split_once(op)
            && model::label::is_label_name(name)
        {
            return Ok(json!({"name": name, "op": op, "value": value.trim_matches('"')}));
        }
    }
    Err(misuse(format!("cannot read the matcher {text}, expected name=value, name!=value, name=~regex or name!~regex")))
}

fn listing(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "no silences\n".to_owned();
    }
    let mut table = vec![["ID", "STATE", "UNTIL", "BY", "MATCHERS", "COMMENT"].map(str::to_owned).to_vec()];
    for row in rows {
        let matchers: Vec<String> = row
            .get("matchers")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|m| format!("{}{}{}", text_of(m, "name"), text_of(m, "op"), text_of(m, "value")))
            .collect();
        table.push(vec![
            text_of(row, "id").to_owned(),
            text_of(row, "state").to_owned(),
            text_of(row, "ends_at").to_owned(),
            text_of(row, "created_by").to_owned(),
            matchers.join(" "),
            text_of(row, "comment").to_owned(),
        ]);
    }
    terminal::table(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_are_read_in_all_four_forms() {
        for (text, name, op, value) in [
            ("a=b", "a", "=", "b"),
            ("a!=b=c", "a", "!=", "b=c"),
            ("a=~\"x|y\"", "a", "=~", "x|y"),
            ("a!~x", "a", "!~", "x"),
            ("a=!~x", "a", "=", "!~x"),
        ] {
            assert_eq!(matcher(text).expect("reads"), json!({"name": name, "op": op, "value": value}), "{text}");
        }
        assert!(matcher("nothing").is_err() && matcher("=b").is_err());
    }

    #[test]
    fn a_silence_is_found_behind_any_number_of_expired_ones() {
        let (client, _) = crate::client::tests::answering(|path| match path {
            path if path.contains("cursor") => json!({"items": [{"id": "2"}]}),
            path if path.contains("state=active") => json!({"items": [{"id": "1"}], "next": "1"}),
            path if path.contains("state=pending") => json!({"items": [{"id": "3"}]}),
            _ => json!({"items": [{"id": "0"}]}),
        });
        let ids = |all| -> Vec<Value> {
            let rows = block_on(standing(&client, all)).expect("answers");
            rows.into_iter().map(|mut row| row["id"].take()).collect()
        };
        assert_eq!((ids(false), ids(true)), (vec!["1".into(), "2".into(), "3".into()], vec!["0".into()]));
    }

    #[test]
    fn silences_are_readable() {
        assert_eq!(listing(&[]), "no silences\n");
        let row = json!({"id": "1", "state": "active", "ends_at": "t", "created_by": "ann", "comment": "why",
            "matchers": [{"name": "a", "op": "=", "value": "b"}]});
        assert!(listing(&[row]).contains("1   active  t      ann  a=b       why"));
    }
}
