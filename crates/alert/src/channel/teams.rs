//! `kind: teams`: an adaptive card for the webhook of a Teams workflow.

use std::sync::Arc;

use http::HeaderMap;
use jiff::tz::TimeZone;
use model::{BoxFuture, Severity};
use privacy::Redactor;
use serde_json::{Value, json};

use super::build::{BuildError, Parts};
use super::config::ChatConfig;
use super::http::Poster;
use super::slack::{cut, poster};
use super::{Channel, SendError};
use crate::message::{self, Message};
use crate::notification::{Notification, Status};

/// Most bytes of a card: Teams takes 28 KB, whether of 1,000 or of 1,024 bytes it does not say.
const BODY_BYTES_MAX: usize = 27_000;
/// Most alerts that are shown.
const ALERTS_MAX: usize = 10;
/// Longest text of a block.
const TEXT_CHARS_MAX: usize = 1_000;
/// Shortest that texts are cut to, so that a card fits: some twenty of them, each character escaped to six bytes at the
/// worst, are a third of a card.
const TEXT_CHARS_MIN: usize = 60;
const _: () = assert!(20 * TEXT_CHARS_MIN * 6 * 2 < BODY_BYTES_MAX);

/// Posts to a Teams workflow.
pub(super) struct Teams {
    poster: Poster,
    redactor: Arc<Redactor>,
    zone: TimeZone,
}

impl Teams {
    pub(super) fn new(config: &ChatConfig, parts: &Parts) -> Result<Self, BuildError> {
        Ok(Self {
            poster: poster(config, parts)?,
            redactor: Arc::clone(&parts.redactor),
            zone: config.time_zone.clone(),
        })
    }
}

impl Channel for Teams {
    fn send<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move {
            let message = message::render(notification, self.poster.clock().now(), &self.zone, &self.redactor);
            self.poster.post(HeaderMap::new(), fitting(message), notification.attempt).await
        })
    }

    fn kind(&self) -> &'static str {
        "teams"
    }
}

/// Writes a card that Teams takes: where it is too long, first with fewer alerts, then with shorter texts, at last
/// without links.
fn fitting(mut message: Message) -> Vec<u8> {
    message.list(ALERTS_MAX);
    let mut chars_max = TEXT_CHARS_MAX;
    loop {
        let body = payload(&message, chars_max).to_string().into_bytes();
        if body.len() <= BODY_BYTES_MAX {
            return body;
        }
        match message.alerts.len() {
            0 if chars_max > TEXT_CHARS_MIN => chars_max = (chars_max / 2).max(TEXT_CHARS_MIN),
            0 if message.links.pop().is_none() => return body,
            0 => {}
            alerts => message.list(alerts - 1),
        }
    }
}

fn payload(message: &Message, chars_max: usize) -> Value {
    let plain = |text: &str| plain(text, chars_max);
    let block =
        |text: &str| (!text.is_empty()).then(|| json!({"type": "TextBlock", "wrap": true, "text": plain(text)}));
    let mut body = vec![json!({
        "type": "TextBlock", "size": "Large", "weight": "Bolder", "wrap": true,
        "color": colour(message), "text": plain(&message.headline),
    })];
    let facts: Vec<Value> =
        message.facts.iter().map(|fact| json!({"title": plain(&fact.name), "value": plain(&fact.value)})).collect();
    if !facts.is_empty() {
        body.push(json!({"type": "FactSet", "facts": facts}));
    }
    body.extend(block(&message.acknowledge));
    for entry in &message.alerts {
        let parts = [&entry.title, &entry.cause, &entry.when];
        let text: Vec<&str> = parts.into_iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        body.extend(block(&text.join("\n\n")));
    }
    body.extend(message.remarks.iter().filter_map(|remark| block(remark)));
    body.push(
        json!({"type": "TextBlock", "isSubtle": true, "size": "Small", "wrap": true, "text": plain(&message.footer)}),
    );
    let actions: Vec<Value> =
        message.links.iter().map(|(name, url)| json!({"type": "Action.OpenUrl", "title": name, "url": url})).collect();
    json!({
        "type": "message",
        "summary": message.subject,
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": {"width": "Full"},
                "body": body,
                "actions": actions,
            },
        }],
    })
}

/// Takes the meaning from Markdown, which cards render: links above all, since a text could name one thing and open
/// another.
fn plain(text: &str, chars_max: usize) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in cut(text, chars_max).chars() {
        if matches!(c, '[' | ']' | '*' | '_' | '`' | '\\') {
            plain.push('\\');
        }
        plain.push(c);
    }
    plain
}

const fn colour(message: &Message) -> &'static str {
    match (message.status, message.severity) {
        (Status::Resolved, _) => "Good",
        (_, Severity::Info) => "Accent",
        (_, Severity::Warning) => "Warning",
        (_, Severity::Error | Severity::Critical) => "Attention",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::{render_en, sample};

    #[test]
    fn the_card_is_one_that_teams_takes() {
        let mut notification = sample();
        notification.alerts[0].annotations.insert("reason".into(), "[here](http://evil.example) *now*".into());
        let payload = payload(&render_en(&notification), TEXT_CHARS_MAX);
        expect_test::expect_file!["testdata/teams.json"].assert_eq(&format!("{payload:#}"));
    }

    /// Teams refuses a card of more than 28 KB, and did so when an incident was at its worst.
    #[test]
    fn whatever_is_said_the_card_fits() {
        for text in ["_", "警報", "Авария ", "\u{1}", "🔥", "\"\\"] {
            for alerts in [1, 2, 60] {
                let mut notification = sample();
                let mut alert = notification.alerts[0].clone();
                let long = text.repeat(16_000 / text.len());
                for name in ["reason", "description", "condition", "actual"] {
                    alert.annotations.insert(name.into(), long.clone());
                }
                alert
                    .annotations
                    .insert("runbook_url".into(), format!("https://wiki.example.org/{}", "x".repeat(16_000)));
                alert.generator_url = format!("https://dihya.example.org/{}", "y".repeat(16_000));
                notification.alerts = vec![alert; alerts];
                notification.common_labels.insert("service".into(), text.repeat(2_000 / text.len()));
                notification.incident.as_mut().expect("has one").title = long;
                let body = fitting(render_en(&notification));
                assert!(body.len() <= BODY_BYTES_MAX, "{text:?} {alerts}: {}", body.len());
                let card: Value = serde_json::from_slice(&body).expect("is JSON");
                let blocks = card["attachments"][0]["content"]["body"].as_array().expect("has blocks");
                assert!(blocks.len() >= 4, "{text:?} {alerts}: {blocks:?}");
                let is_alert =
                    |block: &&Value| block["text"].as_str().is_some_and(|text| text.starts_with("\\[firing"));
                let listed = blocks.iter().filter(is_alert).count();
                // What is left out is counted: the notification itself left out two.
                let unlisted = 2 + if alerts == 1 { 0 } else { alerts - listed };
                let remark = format!("{unlisted} more alerts are not listed");
                assert!(String::from_utf8_lossy(&body).contains(&remark), "{text:?} {alerts}: {listed}");
            }
        }
        let mut notification = sample();
        notification.alerts = vec![notification.alerts[0].clone(); 12];
        let body = String::from_utf8(fitting(render_en(&notification))).expect("is UTF-8");
        assert_eq!(body.matches("firing, critical").count(), ALERTS_MAX);
        assert!(body.contains("4 more alerts are not listed"), "{body}");
    }

    #[test]
    fn colours_follow_state_and_level() {
        let mut message = render_en(&sample());
        for (status, severity, expected) in [
            (Status::Resolved, Severity::Critical, ("Good", "#1e7d34")),
            (Status::Firing, Severity::Info, ("Accent", "#2563a8")),
            (Status::Firing, Severity::Warning, ("Warning", "#b26a00")),
            (Status::Firing, Severity::Error, ("Attention", "#b3261e")),
        ] {
            (message.status, message.severity) = (status, severity);
            assert_eq!((colour(&message), super::super::slack::colour(&message)), expected);
            assert!(message.html().contains(expected.1));
        }
    }
}
