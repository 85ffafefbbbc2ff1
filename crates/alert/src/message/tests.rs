//! What people read, whole, in both languages.

use model::{IncidentId, IntentId, Labels, Tenant};

use super::*;
use crate::notification::IncidentSummary;

/// A notification with one of everything.
pub(crate) fn sample() -> Notification {
    let labels = |pairs: &[(&str, &str)]| -> Labels {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let at = |text: &str| -> Timestamp { text.parse().expect("is a time") };
    let common = [("kind", "http"), ("service", "Web shop"), ("severity", "critical")];
    let alert = |name: &str, check: &str, status, annotations: &[(&str, &str)]| NotifiedAlert {
        status,
        labels: labels(&[common.as_slice(), &[("alertname", name), ("check", check)]].concat()),
        annotations: labels(annotations),
        starts_at: at("2026-11-22T02:58:10Z"),
        ends_at: (status == Status::Resolved).then(|| at("2026-11-22T03:00:00Z")),
        generator_url: format!("https://dihya.example.org/status/checks/{check}"),
        severity: Severity::Critical,
        sector: Sector::Ecommerce,
    };
    Notification {
        id: IntentId("3f9a1c".into()),
        tenant: Tenant::new("acme").expect("is one"),
        reason: Reason::New,
        status: Status::Firing,
        receiver: "ops".into(),
        channel: "mail".into(),
        language: Language::En,
        incident: Some(IncidentSummary {
            id: IncidentId("01ARYZ6S41ZZZZZZZZZZZZZZZZ".into()),
            title: "Web shop".into(),
            opened_at: at("2026-11-22T02:58:10Z"),
            acknowledged_by: None,
            reopened: 1,
            firing: 3,
            suppressed: 2,
            flapping: true,
        }),
        group_key: "{}:{service=\"Web shop\"}".into(),
        group_labels: labels(&[("service", "Web shop")]),
        common_labels: labels(&common),
        common_annotations: Labels::new(),
        severity: Severity::Critical,
        sector: Sector::Ecommerce,
        alerts: vec![
            alert(
                "CheckDown",
                "shop",
                Status::Firing,
                &[
                    ("reason", "certificate expired 3 days ago"),
                    ("condition", "tls.days_left > 14"),
                    ("actual", "tls.days_left = -3"),
                    ("runbook_url", "https://wiki.example.org/tls"),
                ],
            ),
            alert("CheckDown", "shop-api", Status::Resolved, &[("summary", "answered 503")]),
        ],
        truncated: 2,
        text: String::new(),
        at: at("2026-11-22T03:02:10Z"),
        external_url: "https://dihya.example.org".into(),
        attempt: 1,
        had: std::collections::BTreeSet::new(),
    }
}

fn render_at(notification: &Notification, zone: &TimeZone) -> Message {
    let now = "2026-11-22T03:12:10Z".parse().expect("is a time");
    render(notification, now, zone, &Redactor::new())
}

/// Renders in UTC, ten minutes after the notification was decided.
pub(crate) fn render_en(notification: &Notification) -> Message {
    render_at(notification, &TimeZone::UTC)
}

#[test]
fn an_operator_sees_what_why_since_when_and_how_to_take_it() {
    let english = sample();
    let french = Notification { language: Language::Fr, ..sample() };
    let paris = TimeZone::fixed(jiff::tz::offset(1));
    let message = render_at(&english, &TimeZone::UTC);
    assert_eq!(message.subject, "[CRITICAL] Web shop: certificate expired 3 days ago");
    expect_test::expect_file!["testdata/en.txt"].assert_eq(&message.text());
    expect_test::expect_file!["testdata/en.html"].assert_eq(&message.html());
    let message = render_at(&french, &paris);
    assert_eq!(message.short(), "[CRITIQUE] Web shop : certificate expired 3 days ago");
    expect_test::expect_file!["testdata/fr.txt"].assert_eq(&message.text());
}

#[test]
fn every_reason_has_its_words() {
    let mut subjects = Vec::new();
    for (reason, status) in [
        (Reason::New, Status::Firing),
        (Reason::Changed, Status::Firing),
        (Reason::Repeat, Status::Firing),
        (Reason::Reminder, Status::Firing),
        (Reason::Resolved, Status::Resolved),
        (Reason::Direct, Status::Firing),
        (Reason::Test, Status::Firing),
        (Reason::Notice, Status::Firing),
    ] {
        let mut notification = Notification { reason, status, ..sample() };
        if matches!(reason, Reason::Test | Reason::Notice) {
            notification.alerts.clear();
            notification.incident = None;
            notification.text = "the disk failed".into();
        }
        let message = render_en(&notification);
        subjects.push(format!("{} | {}", message.subject, message.headline));
    }
    expect_test::expect![[r#"
        [
            "[CRITICAL] Web shop: certificate expired 3 days ago | Problem: Web shop",
            "[CRITICAL] Web shop: certificate expired 3 days ago | Changed: Web shop",
            "[CRITICAL] Still: Web shop: certificate expired 3 days ago | Still a problem: Web shop",
            "[CRITICAL] Not acknowledged: Web shop: certificate expired 3 days ago | Nobody has acknowledged: Web shop",
            "[resolved] Web shop (after 1 minute 50 seconds) | Resolved: Web shop",
            "[CRITICAL] Web shop: certificate expired 3 days ago | Web shop",
            "[test] Dihya reaches you through mail | This is a test of the channel mail. Nothing is wrong.",
            "[Dihya] the disk failed | Dihya has something to say about itself.",
        ]
    "#]]
    .assert_debug_eq(&subjects);
}

#[test]
fn alerts_without_words_are_named_by_their_labels() {
    let mut notification = sample();
    notification.incident = None;
    notification.alerts.truncate(1);
    let alert = &mut notification.alerts[0];
    alert.annotations.clear();
    for (labels, title) in [
        (vec![("alertname", "HighLoad"), ("instance", "db1")], "db1 (HighLoad)"),
        (vec![("alertname", "db1"), ("instance", "db1")], "db1"),
        (vec![("alertname", "HighLoad")], "HighLoad"),
        (vec![("service", "db")], "db"),
        (vec![], "an alert without a name"),
    ] {
        notification.alerts[0].labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(render_en(&notification).subject, format!("[CRITICAL] {title}"));
    }
    notification.alerts[0].annotations.insert("condition".into(), "a > b".into());
    let message = render_en(&notification);
    assert!(message.facts.iter().any(|fact| fact.value == "a > b"), "{message:?}");
    assert!(message.acknowledge.is_empty() && message.alerts.is_empty());
    notification.alerts.clear();
    assert!(render_en(&notification).subject.contains("without a name"));
}

#[test]
fn a_cause_that_is_the_title_is_said_once_and_details_follow() {
    let mut notification = sample();
    let summary = "Web shop is down: certificate expired";
    notification.incident.as_mut().expect("has one").title = summary.into();
    notification.alerts.truncate(1);
    notification.alerts[0].annotations =
        [("summary".into(), summary.into()), ("description".into(), "Shop\ntls.days_left > 14 (-3)".into())].into();
    let message = render_en(&notification);
    assert_eq!(message.subject, format!("[CRITICAL] {summary}"));
    assert_eq!(message.facts[0], Fact { name: "Details".into(), value: "Shop; tls.days_left > 14 (-3)".into() });
}

/// A reminder of an incident said its title twice: once as the title, once as the cause.
#[test]
fn a_title_is_said_once_whatever_the_reason() {
    let summary = "parent is down: could not connect: connection refused";
    let told = |reason, title: &str| {
        let mut notification = Notification { reason, ..sample() };
        notification.incident.as_mut().expect("has one").title = title.into();
        notification.alerts.truncate(1);
        notification.alerts[0].annotations = [("summary".into(), summary.into())].into();
        render_en(&notification)
    };
    for (reason, before) in [
        (Reason::New, ""),
        (Reason::Changed, ""),
        (Reason::Direct, ""),
        (Reason::Repeat, "Still: "),
        (Reason::Reminder, "Not acknowledged: "),
    ] {
        for title in [summary, "parent is down", "parent"] {
            let message = told(reason, title);
            assert_eq!(message.subject, format!("[CRITICAL] {before}{summary}"), "{reason:?} {title}");
        }
        // A title that says why already does not need the cause after it, nor below it.
        let longer = format!("Attention: {summary}");
        let message = told(reason, &longer);
        assert_eq!(message.subject, format!("[CRITICAL] {before}{longer}"), "{reason:?}");
        assert!(message.facts.iter().all(|fact| fact.name != "Cause"), "{:?}", message.facts);
    }
    let bare = |reason| {
        let mut notification = Notification { reason, ..sample() };
        notification.alerts.iter_mut().for_each(|alert| alert.annotations.clear());
        render_en(&notification).subject
    };
    assert_eq!(bare(Reason::Reminder), "[CRITICAL] Not acknowledged: Web shop");
}

/// A French receiver read `Portail patients is down: TLS handshake failed: the certificate has expired`.
#[test]
fn a_check_of_ours_is_told_in_the_language_of_the_receiver() {
    let summary = "Portail patients is down: TLS handshake failed: the certificate has expired";
    let told = |language, status, name: &str| {
        let mut notification = Notification { language, status, ..sample() };
        notification.incident.as_mut().expect("has one").title = summary.into();
        notification.alerts.truncate(1);
        let alert = &mut notification.alerts[0];
        alert.status = status;
        alert.ends_at = (status == Status::Resolved).then(|| alert.starts_at + Duration::from_secs(31));
        alert.labels.insert(Alert::NAME.into(), name.into());
        alert.annotations = [
            ("summary".into(), summary.into()),
            (CHECK_NAME.into(), "Portail patients".into()),
            (CHECK_REASON.into(), "TLS handshake failed: the certificate has expired".into()),
        ]
        .into();
        let message = render_en(&notification);
        let line = line(&notification, &notification.alerts[0], &TimeZone::UTC, &Redactor::new());
        assert_eq!(line, message.subject, "the log says what the others say");
        assert_eq!(message.text().contains("is down"), language == Language::En && status == Status::Firing);
        (message.subject, message.headline)
    };
    let said = |subject: &str, headline: &str| (subject.to_owned(), headline.to_owned());
    let reason = "échec de la négociation TLS : le certificat a expiré";
    let (en, fr) = (Language::En, Language::Fr);
    assert_eq!(
        told(en, Status::Firing, CHECK_DOWN),
        said(&format!("[CRITICAL] {summary}"), &format!("Problem: {summary}"))
    );
    for (name, word) in [(CHECK_DOWN, "en panne"), (CHECK_DEGRADED, "dégradé"), (CHECK_UNKNOWN, "dans un état inconnu")]
    {
        let sentence = format!("Portail patients est {word} : {reason}");
        assert_eq!(
            told(fr, Status::Firing, name),
            said(&format!("[CRITIQUE] {sentence}"), &format!("Problème : {sentence}"))
        );
    }
    assert_eq!(
        told(fr, Status::Resolved, CHECK_DOWN),
        said(
            "[résolu] Portail patients répond de nouveau (après 31 secondes)",
            "Résolu : Portail patients répond de nouveau"
        )
    );
    assert_eq!(
        told(en, Status::Resolved, CHECK_DOWN).0,
        "[resolved] Portail patients answers again (after 31 seconds)"
    );
}

#[test]
fn an_alert_about_dihya_itself_is_told_in_the_language_of_the_receiver() {
    let mut notification = Notification { language: Language::Fr, incident: None, ..sample() };
    notification.alerts.truncate(1);
    notification.alerts[0].labels =
        [(Alert::NAME.into(), "CheckersBlind".into()), (Alert::SERVICE.into(), "dihya".into())].into();
    let summary = "Dihya's checkers cannot be relied on: a closed port was seen up instead of down";
    notification.alerts[0].annotations = [("summary".into(), summary.into())].into();
    assert_eq!(
        render_en(&notification).subject,
        "[CRITIQUE] Les contrôles de Dihya ne sont pas fiables : un port fermé a été vu en service et non en panne"
    );
}

#[test]
fn an_alert_about_a_channel_is_told_in_the_language_of_the_receiver() {
    let told = |language, name: &str, summary: &str| {
        let mut notification = Notification { language, incident: None, ..sample() };
        notification.alerts.truncate(1);
        notification.alerts[0].labels = [(Alert::NAME.into(), name.into()), ("channel".into(), "sms".into())].into();
        notification.alerts[0].annotations = [("summary".into(), summary.into())].into();
        render_en(&notification).subject
    };
    let fails = "ChannelSelfTestFailed: sms";
    assert_eq!(told(Language::Fr, CHANNEL_FAILS, fails), "[CRITIQUE] Le canal sms a échoué à son test");
    assert_eq!(told(Language::En, CHANNEL_FAILS, fails), "[CRITICAL] The channel sms failed its test");
    let given_up = told(Language::Fr, GIVEN_UP, "NotificationGivenUp: sms");
    assert_eq!(given_up, "[CRITIQUE] Une notification par le canal sms a été abandonnée");
    assert!(told(Language::Fr, CHANNEL_FAILS, "of somebody else").contains("of somebody else"));
}

#[test]
fn every_text_passes_the_redactor_and_no_link_runs_anything() {
    let mut notification = sample();
    let personal = "ana@example.org called +33 6 12 34 56 78";
    notification.incident.as_mut().expect("has one").title = personal.into();
    notification.incident.as_mut().expect("has one").acknowledged_by = Some("bob@example.org".into());
    for alert in &mut notification.alerts {
        alert.annotations.insert("reason".into(), personal.into());
        alert.annotations.insert("condition".into(), personal.into());
        alert.annotations.insert("actual".into(), personal.into());
        alert.annotations.insert("runbook_url".into(), "javascript:alert(1)".into());
        alert.labels.insert("user".into(), "eve@example.org".into());
        alert.generator_url = "https://u:pw@h.example/?token=abcdef".into();
    }
    notification.receiver = "carl@example.org".into();
    let message = render_en(&notification);
    let all = format!("{} {} {}", message.subject, message.text(), message.html());
    for raw in ["ana@", "bob@", "eve@", "carl@", "12 34", "pw@", "abcdef", "javascript"] {
        assert!(!all.contains(raw), "{raw} in {all}");
    }
}

#[test]
fn a_subject_is_one_line_of_bounded_length() {
    let mut notification = sample();
    notification.incident.as_mut().expect("has one").title = format!("a\r\n\tb  {}", "é".repeat(500));
    let subject = render_en(&notification).subject;
    assert!(subject.starts_with("[CRITICAL] a b é") && subject.ends_with('…'), "{subject}");
    assert_eq!(subject.chars().count(), LINE_CHARS_MAX);
}
