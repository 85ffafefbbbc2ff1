//! Real channels: a mail server that takes the page, with the cause in its subject, and one that refuses our password.

use serde_json::Value;

use crate::peers::Peers;
use crate::program::{Place, Server, done, eventually, verify};
use crate::web::{Service, request};

#[test]
fn an_expired_certificate_on_nginx_pages_through_smtp_with_the_cause_in_the_subject() {
    let peers = Peers::start(&["nginx", "smtp"]);
    let (Some(nginx), Some(smtp)) = (peers.part("nginx"), peers.part("smtp")) else { return };
    let place = Place::new();
    place.put("password", smtp.text("password"));
    let config = format!(
        "checks:\n  portal:\n    kind: http\n    name: Patient portal\n    url: https://localhost:{}/\n    ca_file: {}\n    \
         interval: 1s\n    timeout: 1s\n    failure_threshold: 1\nchannels:\n  mail:\n    kind: email\n    server: \
         localhost:{}\n    from: dihya@example.org\n    to: [oncall@example.org]\n    username: {}\n    password: \
         ${{file:password}}\n    ca_file: {}\nalerting:\n  route: {{receiver: oncall, group_by: [check], group_wait: 0s, \
         group_interval: 1s}}\n  receivers:\n    - name: oncall\n      dihya_configs: [{{channel: mail}}]\n",
        nginx.port("tls.good"),
        nginx.text("ca"),
        smtp.port("port"),
        smtp.text("user"),
        smtp.text("ca"),
    );
    let file = place.put("dihya.yaml", &config);
    let server = Server::start(&place, &["--config", &file]);
    eventually("the portal up", || (server.get("/api/dihya/v1/checks/portal")["state"] == "up").then_some(()));

    nginx.tell("swap-cert", "expired good");
    let subject = eventually("a mail", || subject_with(smtp.text("mails"), "expired"));
    assert!(subject.contains("Patient portal"), "{subject}");

    nginx.tell("swap-cert", "good good");
    eventually("the recovery", || (server.get("/api/dihya/v1/checks/portal")["state"] == "up").then_some(()));
    eventually("a second mail", || (mails(smtp.text("mails")).len() >= 2).then_some(()));
}

/// A password that was changed on the mail server and not in the configuration: nothing is lost, and nobody waits for it.
#[test]
fn a_mail_server_that_refuses_the_password_delays_its_mail_alone() {
    let peers = Peers::start(&["redis", "smtp"]);
    let (Some(redis), Some(smtp)) = (peers.part("redis"), peers.part("smtp")) else { return };
    let (place, hook) = (Place::new(), Service::start());
    place.put("password", smtp.text("password"));
    place.put("hook", &hook.url());
    let config = format!(
        "checks:\n  cache: {{kind: redis, address: 'localhost:{}', interval: 1s, timeout: 1s, failure_threshold: 1}}\n\
         channels:\n  mail:\n    kind: email\n    server: localhost:{}\n    from: dihya@example.org\n    to: \
         [oncall@example.org]\n    username: {}\n    password: ${{file:password}}\n    ca_file: {}\n  hook: {{kind: \
         webhook, url: \"${{file:hook}}\"}}\nalerting:\n  route: {{receiver: oncall, group_by: [check], group_wait: \
         0s, group_interval: 1s}}\n  receivers:\n    - name: oncall\n      dihya_configs: [{{channel: mail}}, \
         {{channel: hook}}]\n",
        redis.port("port"),
        smtp.port("port"),
        smtp.text("user"),
        smtp.text("ca"),
    );
    let file = place.put("dihya.yaml", &config);
    let server = Server::start(&place, &["--config", &file]);
    eventually("the cache up", || (server.get("/api/dihya/v1/checks/cache")["state"] == "up").then_some(()));

    smtp.tell("lock-out", "on");
    redis.tell("stop", "");
    assert_eq!(hook.post()["commonLabels"]["check"], "cache");
    let counted = "dihya_notification_attempts_total{tenant=\"default\",channel=\"mail\",outcome=\"retry\"} ";
    eventually("a refusal", || {
        let metrics = request(&server.address, "GET", "/metrics", Some(&server.token()), None).body;
        metrics.lines().find_map(|line| line.strip_prefix(counted)?.parse::<f64>().ok()).filter(|count| *count >= 1.0)
    });
    assert!(mails(smtp.text("mails")).is_empty());
    smtp.tell("lock-out", "off");
    eventually("the mail", || subject_with(smtp.text("mails"), "cache"));
    let data = server.data.clone();
    assert_eq!(server.stop(), Some(0));
    let deliveries = deliveries(&place, "mail");
    let of = |outcome: &str| deliveries.iter().find(|body| body["outcome"] == outcome).cloned().unwrap_or_default();
    assert_eq!(of("retry")["reason"], "the mail server answered 535 (AUTH)", "{deliveries:#?}");
    assert_eq!(of("delivered")["intent"], of("retry")["intent"], "{deliveries:#?}");
    assert_eq!(verify(&data)["sound"], true);
}

/// What the ledger says of a channel's deliveries.
fn deliveries(place: &Place, channel: &str) -> Vec<Value> {
    let rows = done(&["ledger", "show", "--limit", "100000", "--format", "json", "--data-dir", &place.data()]);
    let rows: Vec<Value> = serde_json::from_str(&rows).expect("is JSON");
    let deliveries = rows.into_iter().filter(|row| row["kind"] == "delivery").map(|mut row| row["body"].take());
    deliveries.filter(|body| body["channel"] == channel).collect()
}

fn mails(dir: &str) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("the mails' directory");
    entries.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok()).collect()
}

fn subject_with(dir: &str, word: &str) -> Option<String> {
    let subjects = mails(dir).into_iter().filter_map(|mail| {
        let mut lines = mail.lines().skip_while(|line| !line.to_ascii_lowercase().starts_with("subject:"));
        let first = lines.next()?.to_owned();
        // A long subject goes on in lines that begin with white space.
        Some(lines.take_while(|line| line.starts_with([' ', '\t'])).fold(first, |all, line| all + line))
    });
    subjects.into_iter().find(|subject| subject.contains(word))
}
