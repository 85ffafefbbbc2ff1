//! `kind: slack`: Block Kit through an incoming webhook.
//!
//! `text` is what phones and Mattermost show; the blocks are for those who open it.

use std::sync::Arc;

use http::HeaderMap;
use jiff::tz::TimeZone;
use model::{BoxFuture, Severity};
use privacy::Redactor;
use serde_json::{Value, json};

use super::build::{BuildError, Parts};
use super::config::ChatConfig;
use super::http::{Poster, Target};
use super::{Channel, SendError};
use crate::message::{self, Message};
use crate::notification::{Notification, Status};

/// Longest text of a section (Slack refuses 3,000 and more), with room for markup.
const SECTION_CHARS_MAX: usize = 2_800;
/// Longest header (Slack refuses more than 150).
const HEADER_CHARS_MAX: usize = 150;
/// Most alerts that are shown; Slack refuses more than 50 blocks.
const ALERTS_MAX: usize = 20;

/// Posts to Slack.
pub(super) struct Slack {
    poster: Poster,
    redactor: Arc<Redactor>,
    zone: TimeZone,
}

impl Slack {
    pub(super) fn new(config: &ChatConfig, parts: &Parts) -> Result<Self, BuildError> {
        Ok(Self {
            poster: poster(config, parts)?,
            redactor: Arc::clone(&parts.redactor),
            zone: config.time_zone.clone(),
        })
    }
}

/// Prepares to post to the webhook of a chat.
pub(super) fn poster(config: &ChatConfig, parts: &Parts) -> Result<Poster, BuildError> {
    let target = Target {
        url: &config.url,
        ca_file: config.ca_file.as_deref(),
        proxy: config.proxy.as_deref(),
        timeout: config.timeout,
    };
    Poster::new(&target, &*parts.disk, Arc::clone(&parts.clock))
}

impl Channel for Slack {
    fn send<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move {
            let mut message = message::render(notification, self.poster.clock().now(), &self.zone, &self.redactor);
            message.list(ALERTS_MAX);
            let body = payload(&message).to_string().into_bytes();
            self.poster.post(HeaderMap::new(), body, notification.attempt).await
        })
    }

    fn kind(&self) -> &'static str {
        "slack"
    }
}

fn payload(message: &Message) -> Value {
    let mut blocks = vec![json!({
        "type": "header",
        "text": {"type": "plain_text", "text": cut(&message.headline, HEADER_CHARS_MAX), "emoji": false},
    })];
    let facts: Vec<String> =
        message.facts.iter().map(|fact| format!("*{}*: {}", escape(&fact.name), escape(&fact.value))).collect();
    blocks.extend(section(&facts.join("\n")));
    blocks.extend(section(&escape(&message.acknowledge)));
    blocks.extend(section(&links(&message.links)));
    for entry in &message.alerts {
        let parts =
            [format!("*{}*", escape(&entry.title)), escape(&entry.cause), escape(&entry.when), links(&entry.links)];
        blocks.extend(section(&parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")));
    }
    blocks.extend(section(&message.remarks.iter().map(|remark| escape(remark)).collect::<Vec<_>>().join("\n")));
    blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": cut(&escape(&message.footer), SECTION_CHARS_MAX)}]}));
    json!({
        "text": escape(&message.subject),
        "attachments": [{"color": colour(message), "blocks": blocks}],
    })
}

fn section(text: &str) -> Option<Value> {
    (!text.is_empty())
        .then(|| json!({"type": "section", "text": {"type": "mrkdwn", "text": cut(text, SECTION_CHARS_MAX)}}))
}

fn links(links: &[(String, String)]) -> String {
    let links: Vec<String> =
        links.iter().map(|(name, url)| format!("<{}|{}>", escape(url).replace('|', "%7C"), escape(name))).collect();
    links.join(" · ")
}

/// Returns the colour of the bar beside the message.
pub(super) const fn colour(message: &Message) -> &'static str {
    match (message.status, message.severity) {
        (Status::Resolved, _) => "#1e7d34",
        (_, Severity::Info) => "#2563a8",
        (_, Severity::Warning) => "#b26a00",
        (_, Severity::Error | Severity::Critical) => "#b3261e",
    }
}

/// Escapes Slack's three control characters; mentions such as `<!channel>` thereby become text.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Cuts a text to `chars_max` characters.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(chars_max - 1).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::{render_en, sample};

    #[test]
    fn the_message_is_slacks() {
        let mut notification = sample();
        notification.alerts[0].annotations.insert("reason".into(), "<!channel> a & b".into());
        let payload = payload(&render_en(&notification));
        expect_test::expect_file!["testdata/slack.json"].assert_eq(&format!("{payload:#}"));
        assert!(!payload.to_string().contains("<!channel>"));
    }

    #[test]
    fn long_texts_are_cut_for_slack() {
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(section(""), None);
    }
}
