//! `dihya search`: find events, or be told of them as they come.

use disk::OsClock;
use http::Method;
use model::Clock as _;
use serde_json::{Value, json};

use super::{block_on, text_of};
use crate::cli::{Format, SearchArgs, When};
use crate::client::Client;
use crate::failure::{DONE, misuse};
use crate::terminal::{self, colours_out, paint, plain};

const PATH: &str = "/api/dihya/v1/search";
/// Most events that are asked for at once.
const PAGE: usize = model::limits::PAGE_ROWS_MAX;

/// Runs the command against the server.
pub(super) fn run(args: &SearchArgs) -> anyhow::Result<u8> {
    let client = Client::new(&args.remote)?;
    let query = args.query.join(" ");
    if args.follow {
        block_on(follow(&client, &query, args.format))?;
        return Ok(DONE);
    }
    if args.limit == 0 {
        return Err(misuse("--limit: expected a number from 1"));
    }
    let mut asked = json!({"query": query});
    for (name, when) in [("from", args.from), ("until", args.until)] {
        if let Some(when) = when {
            asked[name] = moment(when)?.into();
        }
    }
    let mut hits = block_on(newest(&client, asked, args.limit))?;
    if args.format == Format::Text && hits.is_empty() {
        terminal::err("no event fits\n");
    }
    // The newest stand last, where a terminal shows them.
    if args.format == Format::Text {
        hits.reverse();
    }
    let text: String = hits.iter().map(|hit| written(hit, args.format)).collect();
    terminal::out(&text);
    Ok(DONE)
}

pub(super) fn moment(when: When) -> anyhow::Result<String> {
    let at = match when {
        When::At(at) => at,
        When::Ago(ago) => OsClock::default().now().checked_sub(ago).map_err(|_| misuse("--from is too long ago"))?,
    };
    Ok(at.to_string())
}

/// Reads on, answer after answer, until there are as many as asked for.
async fn newest(client: &Client, mut asked: Value, most: usize) -> anyhow::Result<Vec<Value>> {
    let mut hits = Vec::new();
    while hits.len() < most {
        asked["limit"] = PAGE.min(most - hits.len()).into();
        let mut found = client.send(Method::POST, PATH, &asked).await?;
        if let Some(Value::Array(items)) = found.get_mut("items").map(Value::take) {
            hits.extend(items);
        }
        match found.get_mut("next").map(Value::take) {
            Some(next @ Value::String(_)) => asked["cursor"] = next,
            _ => break,
        }
    }
    Ok(hits)
}

async fn follow(client: &Client, query: &str, format: Format) -> anyhow::Result<()> {
    let mut rest = Vec::new();
    let mut each = |bytes: &[u8]| {
        rest.extend_from_slice(bytes);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            tell(&String::from_utf8_lossy(&line), format)?;
        }
        Ok(())
    };
    client.stream(&format!("{PATH}/follow"), &json!({"query": query}), "text/event-stream", &mut each).await
}

/// Tells of one line of the stream; those that are no event are passed over.
fn tell(line: &str, format: Format) -> anyhow::Result<()> {
    let Some(data) = line.strip_prefix("data: ") else { return Ok(()) };
    match serde_json::from_str(data.trim_end())? {
        Value::String(why) => anyhow::bail!("the server told of nothing more: {why}"),
        hit => terminal::out(&written(&hit, format)),
    }
    Ok(())
}

fn written(hit: &Value, format: Format) -> String {
    match format {
        Format::Json => format!("{hit}\n"),
        Format::Text => line(hit, colours_out()),
    }
}

/// One event on one line: when, how grave, who, what.
fn line(hit: &Value, colours: bool) -> String {
    let time = text_of(hit, "time").parse::<model::Timestamp>().map_or_else(|_| "?".to_owned(), |t| format!("{t:.3}"));
    let (level, code) = match hit.get("severity").and_then(Value::as_u64).unwrap_or(0) {
        0 => ("-", "0"),
        1..=4 => ("trace", "2"),
        5..=8 => ("debug", "2"),
        9..=12 => ("info", "32"),
        13..=16 => ("warning", "33"),
        17..=20 => ("error", "31"),
        _ => ("fatal", "1;31"),
    };
    let body = match hit.get("body") {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => hit.get("attributes").map(Value::to_string).unwrap_or_default(),
        Some(other) => other.to_string(),
    };
    let from = [text_of(hit, "stream"), text_of(hit, "service")];
    let from: Vec<&str> = from.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{time} {} {} {}\n", paint(&format!("{level:<7}"), code, colours), plain(&from.join("/")), plain(&body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_it_holds() {
        let hit = json!({"time": "2026-11-27T10:00:00.123456Z", "severity": 17, "stream": "app", "service": "auth",
            "body": "time out\n\u{1b}[31mred"});
        assert_eq!(line(&hit, false), "2026-11-27T10:00:00.123Z error   app/auth time out  [31mred\n");
        assert!(line(&hit, true).contains("\u{1b}[31merror  \u{1b}[0m"));
        let bare = json!({"time": "?", "stream": "app", "attributes": {"a": 1}});
        assert_eq!(line(&bare, false), "? -       app {\"a\":1}\n");
        assert_eq!(line(&json!({"body": {"b": true}, "severity": 24}), false), "? fatal    {\"b\":true}\n");
    }

    #[test]
    fn answers_are_read_to_their_end_or_to_the_limit() {
        let (client, asked) = crate::client::tests::answering(|_| json!({"items": [{"n": 1}, {"n": 2}], "next": "2"}));
        let hits = block_on(newest(&client, json!({}), 5)).expect("answers");
        assert_eq!((hits.len(), asked.lock().expect("not poisoned").len()), (6, 3));
        let (client, _) = crate::client::tests::answering(|_| json!({"items": [{"n": 1}]}));
        assert_eq!(block_on(newest(&client, json!({}), 5)).expect("answers").len(), 1);
    }

    #[test]
    fn a_stream_tells_of_events_and_of_its_end() {
        for quiet in [": nothing new\n", "id: 7\n", "\n", "event: error\n"] {
            tell(quiet, Format::Json).expect("nothing to tell");
        }
        tell("data: {\"body\": \"x\"}\n", Format::Text).expect("an event");
        let end = tell("data: \"the program stops\"\n", Format::Text).expect_err("is the end");
        assert_eq!(end.to_string(), "the server told of nothing more: the program stops");
    }

    #[test]
    fn times_are_said_or_so_long_ago() {
        assert_eq!(
            moment(When::At("2026-11-27T10:00:00Z".parse().expect("a time"))).expect("is one"),
            "2026-11-27T10:00:00Z"
        );
        assert!(moment(When::Ago(std::time::Duration::from_secs(60))).is_ok());
        assert!(moment(When::Ago(std::time::Duration::MAX)).is_err());
    }
}
