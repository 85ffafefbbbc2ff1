//! `Message`: a notification in a person's language, before a channel gives it its own form.
//!
//! The order is that of a person woken at three: what is broken, why, since when, and how to take it. Every text
//! passes the redactor again on its way out, whatever was done to it before.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::{Alert, LabelSet as _, Sector, Severity};
use privacy::Redactor;

use crate::engine::{CHANNEL_FAILS, GIVEN_UP};
use crate::notification::{Language, Notification, NotifiedAlert, Reason, Status};
use crate::send::{CHECK_DEGRADED, CHECK_DOWN, CHECK_NAME, CHECK_REASON, CHECK_UNKNOWN};

mod html;
mod reasons;
mod words;

use words::Words;

/// Longest subject or short text, in characters.
const LINE_CHARS_MAX: usize = 200;
/// Alerts about Dihya itself whose summary is a sentence of ours as a whole.
const OURS_WHOLE: [&str; 2] = ["CheckersBlind", "DihyaUnwell"];

/// A named value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is, in the receiver's language.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// One alert in a line or two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whether it fires.
    pub firing: bool,
    /// What it is about, its status first.
    pub title: String,
    /// Why, where it says.
    pub cause: String,
    /// Since when, or for how long.
    pub when: String,
    /// Where to look, as name and address.
    pub links: Vec<(String, String)>,
}

/// A notification in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The language it is in.
    pub language: Language,
    /// One line with the cause in it.
    pub subject: String,
    /// What is said first.
    pub headline: String,
    /// What a reader needs to know, most important first.
    pub facts: Vec<Fact>,
    /// The alerts; none where the facts say all there is to say.
    pub alerts: Vec<Entry>,
    /// How many alerts of the notification are not among `alerts`; if any, the first remark says so.
    pub unlisted: u64,
    /// Sentences about what is not shown.
    pub remarks: Vec<String>,
    /// How to acknowledge; empty where there is nothing to.
    pub acknowledge: String,
    /// Where to look, as name and address.
    pub links: Vec<(String, String)>,
    /// Who was told through what.
    pub footer: String,
    /// The level, for channels that have colours.
    pub severity: Severity,
    /// Whether it fires, for channels that have colours.
    pub status: Status,
}

/// Renders a notification in its language. `now` is when it is sent, `zone` the time zone of those who read it.
#[must_use]
pub fn render(notification: &Notification, now: Timestamp, zone: &TimeZone, redactor: &Redactor) -> Message {
    Renderer { notification, now, zone, redactor, words: Words::of(notification.language) }.render()
}

/// Renders one alert of a notification as a line of its own: its status, its level, its summary and why.
#[must_use]
pub fn line(notification: &Notification, alert: &NotifiedAlert, zone: &TimeZone, redactor: &Redactor) -> String {
    let now = notification.at;
    let renderer = Renderer { notification, now, zone, redactor, words: Words::of(notification.language) };
    let title = match renderer.summary(alert) {
        summary if summary.is_empty() => renderer.name(alert),
        summary => summary,
    };
    let lasted = between(alert.starts_at, alert.ends_at.unwrap_or(now));
    renderer.line(&renderer.subject((alert.status, alert.severity), &title, &renderer.cause_of(alert), lasted))
}

impl Message {
    /// Returns one line: for lists, logs and small screens.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.subject
    }

    /// Leaves out the alerts beyond `alerts_max`, and says so.
    pub(crate) fn list(&mut self, alerts_max: usize) {
        let beyond = self.alerts.len().saturating_sub(alerts_max);
        if beyond == 0 {
            return;
        }
        self.alerts.truncate(alerts_max);
        if self.unlisted > 0 && !self.remarks.is_empty() {
            self.remarks.remove(0);
        }
        self.unlisted = self.unlisted.saturating_add(beyond as u64);
        self.remarks.insert(0, Words::of(self.language).say("truncated", &[("count", self.unlisted.into())]));
    }

    /// Returns plain text, lines ended by `\n`.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = vec![self.headline.clone(), String::new()];
        let said = |name: &str, value: &str| {
            let words = Words::of(self.language);
            words.say("fact", &[("name", name.to_owned().into()), ("value", value.to_owned().into())])
        };
        lines.extend(self.facts.iter().map(|fact| said(&fact.name, &fact.value)));
        if !self.acknowledge.is_empty() {
            lines.extend([String::new(), self.acknowledge.clone()]);
        }
        lines.extend(self.links.iter().map(|(name, url)| said(name, url)));
        if !self.alerts.is_empty() {
            lines.push(String::new());
        }
        for entry in &self.alerts {
            lines.push(format!("- {}", entry.title));
            let details = [&entry.cause, &entry.when].into_iter().filter(|text| !text.is_empty()).cloned();
            lines.extend(details.map(|text| format!("  {text}")));
            lines.extend(entry.links.iter().map(|(name, url)| format!("  {}", said(name, url))));
        }
        if !self.remarks.is_empty() {
            lines.push(String::new());
            lines.extend(self.remarks.iter().cloned());
        }
        lines.extend([String::new(), self.footer.clone()]);
        let mut text = lines.join("\n");
        text.push('\n');
        text
    }

    /// Returns an HTML document of its own: no script, no image, nothing loaded from elsewhere.
    #[must_use]
    pub fn html(&self) -> String {
        html::document(self)
    }
}

struct Renderer<'a> {
    notification: &'a Notification,
    now: Timestamp,
    zone: &'a TimeZone,
    redactor: &'a Redactor,
    words: &'static Words,
}

impl Renderer<'_> {
    fn render(&self) -> Message {
        let notification = self.notification;
        let title = self.title();
        let cause = self.cause();
        let mut message = Message {
            language: notification.language,
            subject: self.line(&self.subject(
                (notification.status, notification.severity),
                &title,
                &cause,
                between(self.started(), self.ended()),
            )),
            headline: self.clean(&self.headline(&title)),
            facts: self.facts(&cause),
            alerts: Vec::new(),
            unlisted: notification.truncated,
            remarks: self.remarks(),
            acknowledge: String::new(),
            links: self.links(),
            footer: self.footer(),
            severity: notification.severity,
            status: notification.status,
        };
        if notification.alerts.len() > 1 {
            message.alerts = notification.alerts.iter().map(|alert| self.entry(alert)).collect();
        }
        if let Some(incident) = notification.incident.as_ref().filter(|_| notification.status == Status::Firing)
            && incident.acknowledged_by.is_none()
        {
            let command = format!("dihya incident ack {}", incident.id);
            message.acknowledge = self.words.say("action-acknowledge", &[("command", command.into())]);
        }
        message
    }

    fn clean(&self, text: &str) -> String {
        self.redactor.redact(text.trim()).into_owned()
    }

    /// Makes one line of a text: no control characters, not longer than people read.
    fn line(&self, text: &str) -> String {
        let text = self.redactor.redact(text);
        let mut line = String::new();
        for c in text.chars() {
            let c = if c.is_control() { ' ' } else { c };
            if c != ' ' || !line.ends_with(' ') {
                line.push(c);
            }
        }
        let line = line.trim();
        if line.chars().count() <= LINE_CHARS_MAX {
            return line.to_owned();
        }
        let mut cut: String = line.chars().take(LINE_CHARS_MAX - 1).collect();
        cut.push('…');
        cut
    }

    fn title(&self) -> String {
        let notification = self.notification;
        let incident = notification.incident.as_ref().map(|incident| incident.title.as_str());
        let first = notification.alerts.first();
        // The title of an incident of ours is an alert's summary, in English.
        let mut standing = notification.alerts.iter().filter(|alert| alert.status == notification.status);
        let titular = |alert: &&NotifiedAlert| {
            incident.is_some_and(|title| !title.is_empty() && alert.annotations.value("summary").starts_with(title))
        };
        if let Some(said) = standing.find(titular).or(first).and_then(|alert| self.said(alert)) {
            return said;
        }
        incident
            .filter(|title| !title.is_empty())
            .map(str::to_owned)
            .or_else(|| first.map(|alert| self.name(alert)))
            .unwrap_or_else(|| self.words.word("unnamed"))
    }

    /// Says what an alert is about: the service or check first, its name after it.
    fn name(&self, alert: &NotifiedAlert) -> String {
        let about = [Alert::SERVICE, Alert::CHECK, "instance"].map(|label| alert.labels.value(label));
        let about = about.into_iter().find(|value| !value.is_empty()).unwrap_or_default();
        match (about, alert.labels.value(Alert::NAME)) {
            ("", "") => self.words.word("unnamed"),
            ("", name) => name.to_owned(),
            (about, "") => about.to_owned(),
            (about, name) if about == name => about.to_owned(),
            (about, name) => format!("{about} ({name})"),
        }
    }

    /// Says an alert of our own making in the receiver's language; none of somebody else's.
    fn said(&self, alert: &NotifiedAlert) -> Option<String> {
        let name = alert.labels.value(Alert::NAME);
        if OURS_WHOLE.contains(&name) && alert.labels.value(Alert::SERVICE) == "dihya" {
            return Some(self.words.reason(alert.annotations.value("summary")));
        }
        if let Some(key) = channel_key(alert) {
            return Some(self.words.say(key, &[("channel", alert.labels.value("channel").to_owned().into())]));
        }
        let check = alert.annotations.get(CHECK_NAME)?;
        let key = match (name, alert.status) {
            (CHECK_DOWN, Status::Firing) => "check-down",
            (CHECK_DEGRADED, Status::Firing) => "check-degraded",
            (CHECK_UNKNOWN, Status::Firing) => "check-unknown",
            (CHECK_DOWN, Status::Resolved) => "check-down-over",
            (CHECK_DEGRADED, Status::Resolved) => "check-degraded-over",
            (CHECK_UNKNOWN, Status::Resolved) => "check-unknown-over",
            _ => return None,
        };
        let said = self.words.say(key, &[("name", check.clone().into())]);
        let reason = self.words.reason(alert.annotations.value(CHECK_REASON));
        if reason.is_empty() || alert.status == Status::Resolved {
            return Some(said);
        }
        Some(self.words.say("fact", &[("name", said.into()), ("value", reason.into())]))
    }

    /// Says an alert in its own words, or in ours where it is of our making.
    fn summary(&self, alert: &NotifiedAlert) -> String {
        self.said(alert).unwrap_or_else(|| alert.annotations.value("summary").to_owned())
    }

    /// Says why an alert fires, or fired.
    fn cause_of(&self, alert: &NotifiedAlert) -> String {
        match self.said(alert) {
            Some(_) if alert.status == Status::Resolved && alert.annotations.contains_key(CHECK_NAME) => {
                self.words.reason(alert.annotations.value(CHECK_REASON))
            }
            Some(said) => said,
            None => cause_of(alert),
        }
    }

    /// Says why: the reason of the worst firing alert, or our own words.
    fn cause(&self) -> String {
        if !self.notification.text.is_empty() {
            return self.notification.text.clone();
        }
        self.notification.alerts.first().map(|alert| self.cause_of(alert)).unwrap_or_default()
    }

    fn subject(&self, (status, level): (Status, Severity), title: &str, cause: &str, lasted: Duration) -> String {
        let notification = self.notification;
        let severity = self.severity(level);
        let key = match (notification.reason, status) {
            (Reason::Test, _) => "subject-test",
            (Reason::Notice, _) => "subject-notice",
            (_, Status::Resolved) => "subject-resolved",
            (Reason::Reminder, _) => "subject-reminder",
            (Reason::Repeat, _) => "subject-repeat",
            _ => "subject-firing",
        };
        // The title and the cause often say the same, the one at more length than the other: it is said once.
        let is_told = matches!(key, "subject-reminder" | "subject-repeat" | "subject-firing");
        let (key, title) = match () {
            () if !is_told => (key.to_owned(), title),
            () if !cause.is_empty() && cause.starts_with(title) => (format!("{key}-bare"), cause),
            () if cause.is_empty() || title.contains(cause) => (format!("{key}-bare"), title),
            () => (key.to_owned(), title),
        };
        let cause = if cause.is_empty() { self.words.word("unknown-cause") } else { cause.to_owned() };
        let severity = if level >= Severity::Critical { severity.to_uppercase() } else { severity };
        self.words.say(
            &key,
            &[
                ("severity", severity.into()),
                ("title", title.to_owned().into()),
                ("cause", cause.into()),
                ("channel", notification.channel.clone().into()),
                ("duration", self.words.duration(lasted).into()),
            ],
        )
    }

    fn headline(&self, title: &str) -> String {
        let key = match (self.notification.reason, self.notification.status) {
            (Reason::Test, _) => "headline-test",
            (Reason::Notice, _) => "headline-notice",
            (_, Status::Resolved) => "headline-resolved",
            (Reason::New, _) => "headline-new",
            (Reason::Changed | Reason::Resolved, _) => "headline-changed",
            (Reason::Repeat, _) => "headline-repeat",
            (Reason::Reminder, _) => "headline-reminder",
            (Reason::Direct, _) => "headline-direct",
        };
        let channel = self.notification.channel.clone();
        self.words.say(key, &[("title", title.to_owned().into()), ("channel", channel.into())])
    }

    fn facts(&self, cause: &str) -> Vec<Fact> {
        let notification = self.notification;
        let mut facts = Vec::new();
        let mut fact = |key: &str, value: String| {
            if !value.trim().is_empty() {
                facts.push(Fact { name: self.words.word(key), value: self.clean(&value) });
            }
        };
        if !self.title().contains(cause) {
            fact("fact-cause", cause.to_owned());
        }
        fact("fact-condition", self.conditions());
        fact("fact-details", notification.alerts.first().map(details_of).unwrap_or_default());
        match (notification.reason, notification.status) {
            (Reason::Test | Reason::Notice, _) => {}
            (_, Status::Firing) => fact("fact-since", self.since(self.started())),
            (_, Status::Resolved) => fact("fact-lasted", self.span(self.started(), self.ended())),
        }
        if !notification.alerts.is_empty() {
            fact("fact-severity", self.severity(notification.severity));
        }
        let service = notification.common_labels.value(Alert::SERVICE);
        fact("fact-service", service.to_owned());
        if notification.sector != Sector::None {
            fact("fact-sector", self.words.word(&format!("sector-{}", notification.sector)));
        }
        if notification.tenant.as_str() != model::Tenant::DEFAULT {
            fact("fact-tenant", notification.tenant.to_string());
        }
        if notification.alerts.len() > 1 {
            fact("fact-alerts", self.counts());
        }
        if let Some(incident) = &notification.incident {
            fact("fact-acknowledged", incident.acknowledged_by.clone().unwrap_or_default());
            fact("fact-incident", incident.id.to_string());
        }
        facts
    }

    /// Says which conditions failed and what was seen instead.
    fn conditions(&self) -> String {
        let Some(alert) = self.notification.alerts.first() else { return String::new() };
        let condition = first_of(alert, &["condition", "conditions"]);
        let actual = alert.annotations.value("actual");
        match (condition, actual) {
            ("", _) => String::new(),
            (condition, "") => condition.to_owned(),
            (condition, actual) => self
                .words
                .say("actual", &[("condition", condition.to_owned().into()), ("actual", actual.to_owned().into())]),
        }
    }

    fn counts(&self) -> String {
        let firing = self.notification.firing().count();
        let resolved = self.notification.resolved().count();
        let firing = (firing > 0).then(|| self.words.say("alerts-firing", &[("firing", firing.into())]));
        let resolved = (resolved > 0).then(|| self.words.say("alerts-resolved", &[("resolved", resolved.into())]));
        firing.into_iter().chain(resolved).collect::<Vec<_>>().join(", ")
    }

    fn remarks(&self) -> Vec<String> {
        let count = |key: &str, count: u64| (count > 0).then(|| self.words.say(key, &[("count", count.into())]));
        let mut remarks: Vec<String> = count("truncated", self.notification.truncated).into_iter().collect();
        if let Some(incident) = &self.notification.incident {
            remarks.extend(count("suppressed", incident.suppressed));
            remarks.extend(count("reopened", u64::from(incident.reopened)));
            remarks.extend(incident.flapping.then(|| self.words.word("flapping")));
        }
        remarks
    }

    fn links(&self) -> Vec<(String, String)> {
        let notification = self.notification;
        let mut links = Vec::new();
        if let Some(incident) = notification.incident.as_ref().filter(|_| !notification.external_url.is_empty()) {
            let url = format!("{}/status/incidents/{}", notification.external_url, incident.id);
            links.push((self.words.word("action-view"), self.clean(&url)));
        }
        if let [alert] = notification.alerts.as_slice() {
            links.extend(self.links_of(alert));
        }
        links
    }

    fn links_of(&self, alert: &NotifiedAlert) -> Vec<(String, String)> {
        let runbook = first_of(alert, &["runbook_url", "runbook"]);
        [("action-runbook", runbook), ("action-source", alert.generator_url.as_str())]
            .into_iter()
            .filter(|(_, url)| is_web(url))
            .map(|(key, url)| (self.words.word(key), self.clean(url)))
            .collect()
    }

    fn entry(&self, alert: &NotifiedAlert) -> Entry {
        let firing = alert.status == Status::Firing;
        let status = self.words.word(if firing { "status-firing" } else { "status-resolved" });
        let named = self.name(alert);
        let own: Vec<String> = alert
            .labels
            .iter()
            .filter(|(name, _)| !self.notification.common_labels.contains_key(*name))
            .filter(|(name, _)| !matches!(name.as_str(), Alert::NAME | Alert::SERVICE | Alert::SEVERITY))
            .filter(|(name, value)| *name != Alert::CHECK || !named.contains(value.as_str()))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut title = format!("[{status}, {}] {}", self.severity(alert.severity), named);
        if !own.is_empty() {
            title = format!("{title} {}", own.join(" "));
        }
        let when = match alert.ends_at.filter(|_| !firing) {
            Some(end) => self.span(alert.starts_at, end),
            None => self.since(alert.starts_at),
        };
        let causes = [self.cause_of(alert).replace('\n', "; "), details_of(alert)];
        Entry {
            firing,
            title: self.clean(&title),
            cause: self.clean(causes.join("; ").trim_matches([';', ' '])),
            when,
            links: self.links_of(alert),
        }
    }

    fn footer(&self) -> String {
        let notification = self.notification;
        let receiver = if notification.receiver.is_empty() { &notification.channel } else { &notification.receiver };
        self.clean(&self.words.say(
            "footer",
            &[
                ("receiver", receiver.clone().into()),
                ("channel", notification.channel.clone().into()),
                ("id", notification.id.to_string().into()),
            ],
        ))
    }

    fn severity(&self, severity: Severity) -> String {
        self.words.word(&format!("severity-{severity}"))
    }

    fn started(&self) -> Timestamp {
        let opened = self.notification.incident.as_ref().map(|incident| incident.opened_at);
        let first = self.notification.alerts.iter().map(|alert| alert.starts_at).min();
        opened.into_iter().chain(first).min().unwrap_or(self.notification.at)
    }

    fn ended(&self) -> Timestamp {
        self.notification.alerts.iter().filter_map(|alert| alert.ends_at).max().unwrap_or(self.notification.at)
    }

    fn since(&self, at: Timestamp) -> String {
        let duration = self.words.duration(between(at, self.now));
        self.words.say("since", &[("at", self.time(at).into()), ("duration", duration.into())])
    }

    fn span(&self, from: Timestamp, to: Timestamp) -> String {
        let duration = self.words.duration(between(from, to));
        self.words.say(
            "span",
            &[("duration", duration.into()), ("from", self.time(from).into()), ("to", self.time(to).into())],
        )
    }

    fn time(&self, at: Timestamp) -> String {
        at.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
    }
}

/// Returns the words for an alert about a channel of ours: told by its labels, and by the summary that we gave it.
fn channel_key(alert: &NotifiedAlert) -> Option<&'static str> {
    let (name, channel) = (alert.labels.value(Alert::NAME), alert.labels.value("channel"));
    if channel.is_empty() || alert.annotations.value("summary") != format!("{name}: {channel}") {
        return None;
    }
    match (name, alert.status) {
        (CHANNEL_FAILS, Status::Firing) => Some("channel-fails"),
        (CHANNEL_FAILS, Status::Resolved) => Some("channel-fails-over"),
        (GIVEN_UP, Status::Firing) => Some("given-up"),
        (GIVEN_UP, Status::Resolved) => Some("given-up-over"),
        _ => None,
    }
}

/// Says why an alert fires, in its own words.
fn cause_of(alert: &NotifiedAlert) -> String {
    first_of(alert, &["reason", "cause", "summary", "description", "message"]).to_owned()
}

/// Says more than the cause, in one line: failed conditions as a rule.
fn details_of(alert: &NotifiedAlert) -> String {
    let details = alert.annotations.value("description");
    if details == cause_of(alert) { String::new() } else { details.replace('\n', "; ") }
}

fn first_of<'a>(alert: &'a NotifiedAlert, names: &[&str]) -> &'a str {
    names.iter().map(|name| alert.annotations.value(name)).find(|value| !value.is_empty()).unwrap_or_default()
}

/// Tells whether a text may become a link: other schemes run things.
fn is_web(url: &str) -> bool {
    (url.starts_with("https://") || url.starts_with("http://")) && !url.contains(char::is_whitespace)
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests;
