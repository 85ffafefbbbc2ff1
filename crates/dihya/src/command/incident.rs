//! `dihya incident`: look at incidents, take them, close them.

use http::Method;
use serde_json::{Value, json};

use super::{block_on, items_of, print_json, segment, text_of};
use crate::cli::{Format, IncidentCommand};
use crate::client::Client;
use crate::failure::DONE;
use crate::terminal;

const PATH: &str = "/api/dihya/v1/incidents";

/// Runs the command against the server.
pub(super) fn run(command: IncidentCommand) -> anyhow::Result<u8> {
    match command {
        IncidentCommand::List { all, limit, format, remote } => {
            let client = Client::new(&remote)?;
            let answer = block_on(client.get(&format!("{PATH}?limit={limit}")))?;
            let wanted = |row: &&Value| all || text_of(row, "state") != "resolved";
            let rows: Vec<&Value> = items_of(&answer).iter().filter(wanted).collect();
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
        IncidentCommand::Ack(args) => act("ack", &args.id, &args.note, &Client::new(&args.remote)?)?,
        IncidentCommand::Resolve(args) => act("resolve", &args.id, &args.note, &Client::new(&args.remote)?)?,
    }
    Ok(DONE)
}

fn act(verb: &str, id: &str, note: &str, client: &Client) -> anyhow::Result<()> {
    let path = format!("{PATH}/{}/{verb}", segment(id));
    let incident = block_on(client.send(Method::POST, &path, &json!({"note": note})))?;
    terminal::out(&format!("{id} is {}\n", text_of(&incident, "state")));
    Ok(())
}

fn listing(rows: &[&Value]) -> String {
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

    #[test]
    fn incidents_are_readable() {
        assert_eq!(listing(&[]), "no open incidents\n");
        let incident = json!({"id": "01A", "state": "open", "severity": "critical", "opened_at": "t", "title": "x down",
            "labels": {"check": "x"}, "timeline": [{"at": "t", "action": "opened", "by": "dihya"}]});
        let text = listing(&[&incident]);
        assert!(text.contains("01A  open   critical  t       x down"), "{text}");
        let text = portrait(&incident);
        assert!(text.contains("labels     check=x") && text.contains("t  opened  dihya"), "{text}");
    }
}
