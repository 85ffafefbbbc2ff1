//! Alerts that Dihya makes itself: from `send_alert`, and from checks that change state.

use std::str::FromStr as _;

use jiff::Timestamp;
use model::label::is_label_name;
use model::limits::{ANNOTATION_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX, NAME_BYTES_MAX};
use model::{Alert, CheckChange, Labels, Rng, Sector, Severity, State};

/// The name of the alert of a check that is down.
pub const CHECK_DOWN: &str = "CheckDown";
/// The name of the alert of a check that is degraded.
pub const CHECK_DEGRADED: &str = "CheckDegraded";
/// The name of the alert of a check about which we cannot tell.
pub const CHECK_UNKNOWN: &str = "CheckUnknown";
/// The annotation of a check's alert that holds the name that people read.
pub const CHECK_NAME: &str = "check_name";
/// The annotation of a check's alert that holds what the probe said, in English.
pub const CHECK_REASON: &str = "check_reason";
/// The name of an alert that somebody sent in words.
pub const MESSAGE: &str = "Message";

/// What a caller of `send_alert` gives: `alerts` of the API, `dihya alert send`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendAlert {
    /// What to say.
    pub message: String,
    /// How bad it is, in any case and spelling that `names.md` allows; `warning` when absent.
    #[serde(default)]
    pub level: Option<String>,
    /// The channel to notify whatever the routes say.
    #[serde(default)]
    pub channel: Option<String>,
    /// The service concerned.
    #[serde(default)]
    pub service: Option<String>,
    /// The sector concerned, in French or English.
    #[serde(default)]
    pub sector: Option<String>,
    /// Further labels.
    #[serde(default)]
    pub labels: Labels,
}

/// Why words are no alert: which field, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {expected}")]
pub struct NotAnAlert {
    /// The field, as a dotted path.
    pub field: String,
    /// What was expected, without the value that was given.
    pub expected: String,
}

fn wrong(field: impl Into<String>, expected: impl Into<String>) -> NotAnAlert {
    NotAnAlert { field: field.into(), expected: expected.into() }
}

impl SendAlert {
    /// Makes the alert that `self` says, firing from `now` on. Each call makes an alert of its own, told apart by the
    /// random label `message_id`: whoever sends the same words twice means it twice.
    ///
    /// # Errors
    /// The first field that cannot be accepted.
    pub fn into_alert(self, now: Timestamp, rng: &dyn Rng) -> Result<Alert, NotAnAlert> {
        if self.message.trim().is_empty() || self.message.len() > ANNOTATION_BYTES_MAX {
            return Err(wrong("message", format!("expected 1 to {ANNOTATION_BYTES_MAX} bytes of text")));
        }
        let level = self.level.as_deref().map(Severity::from_str).transpose();
        let severity = level.map_err(|error| wrong("level", error.to_string()))?.unwrap_or_default();
        let sector = self.sector.as_deref().map(Sector::from_str).transpose();
        let sector = sector.map_err(|error| wrong("sector", error.to_string()))?.unwrap_or_default();
        let mut labels = self.labels;
        if labels.len() > LABELS_MAX {
            return Err(wrong("labels", format!("expected at most {LABELS_MAX}")));
        }
        for (name, value) in &labels {
            if !is_label_name(name) || name.len() > NAME_BYTES_MAX {
                return Err(wrong("labels", "expected names of letters, digits and underscores"));
            }
            if value.len() > LABEL_VALUE_BYTES_MAX {
                return Err(wrong(format!("labels.{name}"), format!("expected at most {LABEL_VALUE_BYTES_MAX} bytes")));
            }
        }
        for (field, value) in [("channel", &self.channel), ("service", &self.service)] {
            if value.as_ref().is_some_and(|value| value.is_empty() || value.len() > NAME_BYTES_MAX) {
                return Err(wrong(field, format!("expected a name of 1 to {NAME_BYTES_MAX} bytes")));
            }
        }
        labels.retain(|_, value| !value.is_empty());
        let mut random = [0; 12];
        rng.fill(&mut random);
        // Letters only: nothing that could be taken for somebody's number.
        let id: String = random.iter().map(|byte| char::from(b'a' + byte % 16)).collect();
        labels.entry(Alert::NAME.to_owned()).or_insert_with(|| MESSAGE.to_owned());
        labels.insert("message_id".to_owned(), id);
        labels.insert(Alert::SEVERITY.to_owned(), severity.to_string());
        labels.extend(self.service.map(|service| (Alert::SERVICE.to_owned(), service)));
        if sector != Sector::None {
            labels.insert(Alert::SECTOR.to_owned(), sector.to_string());
        }
        // Only a check of ours may speak in a check's name.
        labels.remove(Alert::CHECK);
        Ok(Alert {
            labels,
            annotations: Labels::from([("summary".to_owned(), self.message)]),
            starts_at: now,
            ends_at: None,
            generator_url: None,
            severity,
            sector,
            channel: self.channel,
        })
    }
}

/// What the configuration says about a check that its alerts should say too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AboutCheck {
    /// The name that people read.
    pub name: String,
    /// The labels that the operator gave it.
    pub labels: Labels,
    /// How bad it is when it is down; `critical` when the operator does not say.
    pub severity: Option<Severity>,
    /// The sector it concerns.
    pub sector: Sector,
    /// Where it can be looked at.
    pub url: Option<String>,
}

/// Makes the alerts that a change of a check means: the one of the state it leaves stops, the one of the state it
/// enters fires. To be admitted together with the change, as signals of Dihya's own ([`model::Signal::ours`]): that is
/// how the engine knows that they never time out.
#[must_use]
pub fn check_alerts(change: &CheckChange, about: &AboutCheck) -> Vec<Alert> {
    let of = |state: State, ends_at: Option<Timestamp>| {
        let (name, severity) = match state {
            State::Up => return None,
            State::Down => (CHECK_DOWN, about.severity.unwrap_or(Severity::Critical)),
            State::Degraded => (CHECK_DEGRADED, Severity::Warning),
            State::Unknown => (CHECK_UNKNOWN, Severity::Warning),
        };
        let mut labels = about.labels.clone();
        labels.entry(Alert::SERVICE.to_owned()).or_insert_with(|| change.id.clone());
        labels.insert(Alert::NAME.to_owned(), name.to_owned());
        labels.insert(Alert::CHECK.to_owned(), change.id.clone());
        labels.insert(Alert::SEVERITY.to_owned(), severity.to_string());
        if about.sector != Sector::None {
            labels.insert(Alert::SECTOR.to_owned(), about.sector.to_string());
        }
        let title = if about.name.is_empty() { &change.id } else { &about.name };
        let mut annotations = Labels::from([("summary".to_owned(), format!("{title}: {state}"))]);
        if !change.reason.is_empty() {
            annotations.insert("description".to_owned(), change.reason.clone());
        }
        if change.flapping {
            annotations.insert("flapping".to_owned(), "true".to_owned());
        }
        annotations.insert("kind".to_owned(), change.kind.clone());
        Some(Alert {
            labels,
            annotations,
            starts_at: change.at,
            ends_at,
            generator_url: about.url.clone(),
            severity,
            sector: about.sector,
            channel: None,
        })
    };
    let left = if change.from == change.to { None } else { of(change.from, Some(change.at)) };
    left.into_iter().chain(of(change.to, None)).collect()
}

#[cfg(test)]
mod tests {
    use model::SeededRng;

    use super::*;

    fn send(message: &str) -> SendAlert {
        SendAlert { message: message.to_owned(), ..SendAlert::default() }
    }

    #[test]
    fn words_become_an_alert_of_their_own() {
        let rng = SeededRng::new(1);
        let sent = SendAlert {
            level: Some("CRITICAL".into()),
            channel: Some("log".into()),
            service: Some("lab".into()),
            sector: Some("santé".into()),
            labels: Labels::from([("room".into(), "3".into()), ("empty".into(), String::new())]),
            ..send("the fridge is warm")
        };
        let alert = sent.clone().into_alert(Timestamp::UNIX_EPOCH, &rng).expect("is one");
        assert_eq!(
            (alert.severity, alert.sector, alert.channel.as_deref()),
            (Severity::Critical, Sector::Health, Some("log"))
        );
        assert_eq!(alert.annotations["summary"], "the fridge is warm");
        for (name, value) in [
            ("alertname", "Message"),
            ("severity", "critical"),
            ("service", "lab"),
            ("sector", "health"),
            ("room", "3"),
        ] {
            assert_eq!(alert.labels[name], value);
        }
        assert!(!alert.labels.contains_key("empty"));
        let again = sent.into_alert(Timestamp::UNIX_EPOCH, &rng).expect("is one");
        assert_ne!(alert.fingerprint(), again.fingerprint());
        let plain = SendAlert { labels: Labels::from([("check".into(), "web".into())]), ..send("x") };
        let plain = plain.into_alert(Timestamp::UNIX_EPOCH, &rng).expect("is one");
        assert_eq!(plain.severity, Severity::Warning);
        assert!(!plain.labels.contains_key("check") && !plain.labels.contains_key("sector"));
    }

    #[test]
    fn each_field_that_cannot_be_accepted_is_named() {
        let many = (0..100).map(|n| (format!("l{n}"), "x".to_owned())).collect();
        for (sent, field) in [
            (send(" "), "message"),
            (send(&"x".repeat(20_000)), "message"),
            (SendAlert { level: Some("loud".into()), ..send("x") }, "level"),
            (SendAlert { sector: Some("bank".into()), ..send("x") }, "sector"),
            (SendAlert { channel: Some(String::new()), ..send("x") }, "channel"),
            (SendAlert { service: Some("x".repeat(200)), ..send("x") }, "service"),
            (SendAlert { labels: many, ..send("x") }, "labels"),
            (SendAlert { labels: Labels::from([("1".into(), "x".into())]), ..send("x") }, "labels"),
            (SendAlert { labels: Labels::from([("a".into(), "x".repeat(3_000))]), ..send("x") }, "labels.a"),
        ] {
            let error = sent.into_alert(Timestamp::UNIX_EPOCH, &SeededRng::new(1)).expect_err(field);
            assert_eq!(error.field, field);
            assert!(error.to_string().starts_with(field));
        }
    }

    #[test]
    fn a_check_that_changes_ends_one_alert_and_fires_another() {
        let change = |from, to| CheckChange {
            id: "web".into(),
            kind: "http".into(),
            from,
            to,
            reason: if to == State::Up { String::new() } else { "refused".into() },
            at: Timestamp::UNIX_EPOCH,
            flapping: true,
        };
        let about = AboutCheck { name: "The shop".into(), sector: Sector::Ecommerce, ..AboutCheck::default() };
        let say = |from, to| -> Vec<String> {
            let alerts = check_alerts(&change(from, to), &about);
            alerts.iter().map(|a| format!("{} {} {}", a.name(), a.severity, a.ends_at.is_some())).collect()
        };
        assert_eq!(say(State::Up, State::Down), ["CheckDown critical false"]);
        assert_eq!(say(State::Degraded, State::Down), ["CheckDegraded warning true", "CheckDown critical false"]);
        assert_eq!(say(State::Down, State::Unknown), ["CheckDown critical true", "CheckUnknown warning false"]);
        assert_eq!(say(State::Unknown, State::Up), ["CheckUnknown warning true"]);
        assert_eq!(say(State::Down, State::Down), ["CheckDown critical false"]);
        let alert = &check_alerts(&change(State::Up, State::Down), &about)[0];
        assert_eq!(alert.annotations["summary"], "The shop: down");
        assert_eq!(
            (alert.annotations["description"].as_str(), alert.annotations["flapping"].as_str()),
            ("refused", "true")
        );
        assert_eq!((alert.labels["check"].as_str(), alert.labels["sector"].as_str()), ("web", "ecommerce"));
        let own = AboutCheck { severity: Some(Severity::Error), ..AboutCheck::default() };
        let alert = &check_alerts(&change(State::Up, State::Down), &own)[0];
        assert_eq!((alert.severity, alert.annotations["summary"].as_str()), (Severity::Error, "web: down"));
    }
}
