//! `dihya incident`: look at incidents, take them, close them.

use http::Method;
use serde_json::{Value, json};

use super::{block_on, print_json, segment, text_of};
use crate::cli::{Format, IncidentCommand};
use crate::client::Client;
use crate::failure::DONE;
use crate::terminal;

const PATH: &str = "/api/dihya/v1/incidents";

/// Runs the command against the server.
pub(super) fn run(command: IncidentCommand) -> anyhow::Result<u8> {
    match command {
        IncidentCommand::List { all, limit, format, remote } => {
            let rows = block_on(newest(&Client::new(&remote)?, all, limit))?;
            match format {
                Format::Json => print_json(&rows)?,
                Format::Text => terminal::out(&listing(&rows)),
            }
        }
        IncidentCommand::Show { id, format, remote } => {
            let client = Client::new(&remote)?;
            let incident = block_on(client.get(&format!("{PATH}/{}", segment(&id))))?;
            match format {
                Format::Json => print_json(&incident)?,
                Format::Text => terminal::out(&portrait(&incident)),
            }
        }
        IncidentCommand::Note { id, text, public, remote } => {
            let path = format!("{PATH}/{}/notes", segment(&id));
            let body = json!({"note": text, "public": public});
            block_on(Client::new(&remote)?.send(Method::POST, &path, &body))?;
            terminal::out(&format!("noted on {id}\n"));
        }
        IncidentCommand::Ack(args) => act("ack", &args.id, &args.note, &Client::new(&args.remote)?)?,
        IncidentCommand::Resolve(args) => act("resolve", &args.id, &args.note, &Client::new(&args.remote)?)?,
    }
    Ok(DONE)
}

/// Reads the newest incidents. Those that are not over are asked for by their states: among thousands of short ones an
/// old one that still burns would not be on the first page.
async fn newest(client: &Client, all: bool, limit: usize) -> anyhow::Result<Vec<Value>> {
    if all {
        return client.rows(&format!("{PATH}?"), limit).await;
    }
    let mut rows = client.rows(&format!("{PATH}?state=open"), limit).await?;
    rows.extend(client.rows(&format!("{PATH}?state=acknowledged"), limit).await?);
    // Ids begin with the time.
    rows.sort_by(|a, b| text_of(b, "id").cmp(text_of(a, "id")));
    rows.truncate(limit);
    Ok(rows)
}

fn act(verb: &str, id: &str, note: &str, client: &Client) -> anyhow::Result<()> {
    let path = format!("{PATH}/{}/{verb}", segment(id));
    let incident = block_on(client.send(Method::POST, &path, &json!({"note": note})))?;
    terminal::out(&format!("{id} is {}\n", text_of(&incident, "state")));
    Ok(())
}

fn listing(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "no open incidents\n".to_owned();
    }
    let mut table = vec![["ID", "STATE", "SEVERITY", "OPENED", "TITLE"].map(str::to_owned).to_vec()];
    for row in rows {
        table.push(["id", "state", "severity", "opened_at", "title"].map(|key| text_of(row, key).to_owned()).to_vec());
    }
    terminal::table(&table)
}

fn portrait(incident: &Value) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for key in ["id", "title", "state", "severity", "sector", "key", "opened_at", "acknowledged_by", "resolved_at"] {
        let value = text_of(incident, key);
        if !value.is_empty() {
            rows.push(vec![key.to_owned(), value.to_owned()]);
        }
    }
    if let Some(labels) = incident.get("labels").and_then(Value::as_object) {
        let text: Vec<String> =
            labels.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
        rows.push(vec!["labels".to_owned(), text.join(" ")]);
    }
    let mut text = terminal::table(&rows);
    let steps = incident.get("timeline").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if !steps.is_empty() {
        text.push('\n');
        let steps: Vec<Vec<String>> = steps
            .iter()
            .map(|step| ["at", "action", "by", "note"].map(|key| text_of(step, key).to_owned()).to_vec())
            .collect();
        text.push_str(&terminal::table(&steps));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thousands of short incidents came after one that was still open: "no open incidents", said the command.
    #[test]
    fn what_is_open_is_found_behind_any_number_of_newer_ones() {
        let (client, asked) = crate::client::tests::answering(|path| match path {
            path if path.contains("cursor=01C") => json!({"items": [{"id": "01A", "state": "open"}]}),
            path if path.contains("state=open") => json!({"items": [{"id": "01C", "state": "open"}], "next": "01C"}),
            path if path.contains("state=ack") => json!({"items": [{"id": "01B", "state": "acknowledged"}]}),
            _ => json!({"items": [{"id": "01Z", "state": "resolved"}], "next": null}),
        });
        let ids = |all, limit| -> Vec<String> {
            let rows = block_on(newest(&client, all, limit)).expect("answers");
            rows.iter().map(|row| text_of(row, "id").to_owned()).collect()
        };
        assert_eq!(ids(false, 50), ["01C", "01B", "01A"]);
        assert_eq!(ids(false, 1), ["01C"]);
        assert_eq!(ids(true, 50), ["01Z"]);
        let asked = asked.lock().expect("not poisoned");
        assert_eq!(asked[0], "/api/dihya/v1/incidents?state=open&limit=50");
        assert_eq!(asked[1], "/api/dihya/v1/incidents?state=open&limit=49&cursor=01C");
    }

    #[test]
    fn incidents_are_readable() {
        assert_eq!(listing(&[]), "no open incidents\n");
        let incident = json!({"id": "01A", "state": "open", "severity": "critical", "opened_at": "t", "title": "x down",
            "labels": {"check": "x"}, "timeline": [{"at": "t", "action": "opened", "by": "dihya"}]});
        let text = listing(std::slice::from_ref(&incident));
        assert!(text.contains("01A  open   critical  t       x down"), "{text}");
        let text = portrait(&incident);
        assert!(text.contains("labels     check=x") && text.contains("t  opened  dihya"), "{text}");
    }
}
