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

/// Most alerts that are shown: a card may have 28 KB.
const ALERTS_MAX: usize = 10;
/// Longest text of a block, for the same reason.
const TEXT_CHARS_MAX: usize = 1_000;

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
            let body = payload(&message).to_string().into_bytes();
            self.poster.post(HeaderMap::new(), body, notification.attempt).await
        })
    }

    fn kind(&self) -> &'static str {
        "teams"
    }
}

fn payload(message: &Message) -> Value {
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
    for entry in message.alerts.iter().take(ALERTS_MAX) {
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

fn block(text: &str) -> Option<Value> {
    (!text.is_empty()).then(|| json!({"type": "TextBlock", "wrap": true, "text": plain(text)}))
}

/// Takes the meaning from Markdown, which cards render: links above all, since a text could name one thing and open
/// another.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in cut(text, TEXT_CHARS_MAX).chars() {
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
        let payload = payload(&render_en(&notification));
        expect_test::expect_file!["testdata/teams.json"].assert_eq(&format!("{payload:#}"));
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
