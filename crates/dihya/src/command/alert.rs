//! `dihya alert send`: `send_alert()` for scripts, with a server or without.

use disk::OsClock;
use http::Method;
use model::{Clock as _, Sector};
use serde_json::{Value, json};
use server::AlertDraft;

use super::{block_on, print_json, text_of};
use crate::cli::{AlertCommand, AlertSendArgs, Format};
use crate::client::{self, Client};
use crate::config::{self, suggest::nearest};
use crate::direct::{self, Kept, Sent};
use crate::failure::{DONE, FAILED, misuse};
use crate::terminal;

/// Sends an alert.
pub(super) fn run(command: AlertCommand) -> anyhow::Result<u8> {
    let AlertCommand::Send(args) = command;
    match block_on(async { Client::new(&args.remote)?.send(Method::POST, "/api/dihya/v1/alerts", &body(&args)).await })
    {
        Ok(receipt) => {
            match args.format {
                Format::Json => print_json(&receipt)?,
                Format::Text => terminal::out(&format!(
                    "recorded at position {} of {}\n",
                    receipt.get("position").and_then(Value::as_u64).unwrap_or_default(),
                    text_of(&receipt, "origin"),
                )),
            }
            Ok(DONE)
        }
        Err(error) if is_no_answer(&error) => {
            if let Some(untrusted @ client::Error::Untrusted { .. }) = error.downcast_ref() {
                // A server that runs and is not believed is a fault of the set-up, and is said beside what was done.
                terminal::err(&format!("{untrusted}\n"));
            }
            without_server(&args)
        }
        Err(error) => Err(error),
    }
}

/// Nobody there, or somebody who is broken: then the alert must find another way.
fn is_no_answer(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<client::Error>() {
        Some(client::Error::Unreachable { .. } | client::Error::Untrusted { .. }) => true,
        Some(client::Error::Refused { status, .. }) => status.is_server_error(),
        None => false,
    }
}

fn body(args: &AlertSendArgs) -> Value {
    let labels: serde_json::Map<String, Value> =
        args.labels.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    let mut body = json!({"message": args.text, "level": args.level.as_str(), "labels": labels});
    if let Some(channel) = &args.channel {
        body["channel"] = channel.clone().into();
    }
    if let Some(service) = &args.service {
        body["service"] = service.clone().into();
    }
    if args.sector != Sector::None {
        body["sector"] = args.sector.as_str().into();
    }
    body
}

fn without_server(args: &AlertSendArgs) -> anyhow::Result<u8> {
    let data_dir = args.remote.place.data_dir();
    let loaded = config::load(args.remote.place.config.as_deref(), &data_dir)?;
    if !loaded.tenants.contains_key(&args.tenant) {
        return Err(misuse(format!("there is no tenant {}", args.tenant)));
    }
    if let Some(channel) = &args.channel
        && !loaded.channels.contains_key(channel)
    {
        let near = nearest(channel, loaded.channels.keys().map(String::as_str));
        let hint = near.map(|near| format!(", did you mean {near}?")).unwrap_or_default();
        return Err(misuse(format!("there is no channel {channel}{hint}")));
    }
    let draft: AlertDraft = serde_json::from_value(body(args))?;
    let alert = draft.into_alert(OsClock::default().now()).map_err(|(field, why)| misuse(format!("{field}: {why}")))?;
    let sent = block_on(direct::send(&loaded, &data_dir, args.tenant.clone(), alert))?;
    match args.format {
        Format::Json => print_json(&sent)?,
        Format::Text => terminal::out(&portrait(&sent)),
    }
    let heard = sent.told.iter().any(|told| told.failure.is_empty());
    // Kept is enough where nobody was named: the next server tells by its routes.
    Ok(if heard || args.channel.is_none() { DONE } else { FAILED })
}

fn portrait(sent: &Sent) -> String {
    let mut text = match &sent.kept {
        Kept::Recorded { position } => format!("no server answers; recorded at position {position}\n"),
        Kept::Spooled { file } => {
            format!("the server does not answer; kept in {} for its next start\n", file.display())
        }
    };
    for told in &sent.told {
        if told.failure.is_empty() {
            text.push_str(&format!("told through {}\n", told.channel));
        } else {
            text.push_str(&format!("could not tell through {}: {}\n", told.channel, terminal::plain(&told.failure)));
        }
    }
    if sent.told.is_empty() {
        text.push_str("nobody was told yet; the next server does it\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::direct::Told;

    #[test]
    fn what_became_of_it_is_said() {
        let told = |failure: &str| Told { channel: "log".into(), failure: failure.into() };
        let text = portrait(&Sent { kept: Kept::Recorded { position: 7 }, told: vec![told(""), told("refused")] });
        assert_eq!(
            text,
            "no server answers; recorded at position 7\ntold through log\ncould not tell through log: refused\n"
        );
        let text = portrait(&Sent { kept: Kept::Spooled { file: "s/1.json".into() }, told: vec![] });
        assert!(text.contains("kept in s/1.json") && text.contains("nobody was told yet"), "{text}");
    }

    #[test]
    fn only_silence_and_faults_lead_past_the_server() {
        let refused = |status: u16| {
            let status = http::StatusCode::from_u16(status).expect("a status");
            anyhow::Error::new(client::Error::Refused { status, detail: String::new() })
        };
        assert!(is_no_answer(&refused(503)) && !is_no_answer(&refused(403)));
        let gone = client::Error::Unreachable { url: String::new(), reason: String::new() };
        assert!(is_no_answer(&anyhow::Error::new(gone)));
        assert!(!is_no_answer(&anyhow::anyhow!("other")));
    }
}
