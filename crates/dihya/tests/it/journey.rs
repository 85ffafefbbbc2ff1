//! A service breaks and heals: people are told of both, once each, and it is all in the ledger.

use serde_json::{Value, json};

use crate::program::{Place, Server, eventually, run, text, verify};
use crate::web::{Service, request};

pub(crate) fn config(service: &Service, hook: &Service, more: &str) -> String {
    format!(
        "checks:\n  shop:\n    kind: http\n    name: The shop\n    url: {}\n    interval: 1s\n    timeout: 1s\n    \
         failure_threshold: 1\n    conditions: status == 200\n    sector: commerce\nchannels:\n  hook:\n    kind: webhook\n    \
         url: ${{file:hook.txt}}\nalerting:\n  route:\n    receiver: ops\n    group_by: [check]\n    group_wait: 0s\n    \
         group_interval: 1s\n    repeat_interval: 1h\n  receivers:\n    - name: ops\n      dihya_configs:\n        - \
         channel: hook\n{more}",
        service.url(),
    )
    .replace("${file:hook.txt}", &format!("${{file:{}}}", hook_file(hook)))
}

/// The hook's address stands in a file of its own, as a secret does.
fn hook_file(hook: &Service) -> String {
    let path = std::env::temp_dir().join(format!("dihya-test-hook-{}", hook.address.replace(':', "-")));
    #[expect(clippy::disallowed_methods, reason = "a fixture of a test")]
    std::fs::write(&path, hook.url()).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn down_is_told_and_so_is_the_recovery() {
    let place = Place::new();
    let (service, hook) = (Service::start(), Service::start());
    let file = place.put("dihya.yaml", &config(&service, &hook, ""));
    let server = Server::start(&place, &["--config", &file]);
    let up = || server.get("/api/dihya/v1/checks/shop")["state"] == "up";
    eventually("the first result", || up().then_some(()));

    let ran = request(&server.address, "POST", "/api/dihya/v1/checks/shop/run", Some(&server.token()), None);
    assert_eq!(ran.status, 200, "{}", ran.body);
    let none = request(&server.address, "POST", "/api/dihya/v1/checks/till/run", Some(&server.token()), None);
    assert_eq!(none.status, 404, "{}", none.body);

    service.answer(503);
    let firing = hook.post();
    assert_eq!(firing["status"], "firing", "{firing:#}");
    assert_eq!(firing["version"], "4");
    let alert = &firing["alerts"][0];
    for (label, value) in [
        ("alertname", "CheckDown"),
        ("check", "shop"),
        ("service", "shop"),
        ("kind", "http"),
        ("severity", "critical"),
        ("sector", "ecommerce"),
    ] {
        assert_eq!(alert["labels"][label], value, "{firing:#}");
    }
    assert!(alert["annotations"]["summary"].as_str().expect("a summary").starts_with("The shop is down"), "{firing:#}");
    assert!(alert["annotations"]["description"].as_str().expect("a description").contains("503"), "{firing:#}");

    let incidents = server.get("/api/dihya/v1/incidents");
    let id = incidents["items"][0]["id"].as_str().expect("an incident").to_owned();
    let refused = server.client(&["incident", "resolve", &id]);
    assert_eq!(refused.status.code(), Some(1), "what still fires cannot be closed by hand");
    let taken = server.client(&["incident", "ack", &id, "--note", "on it"]);
    assert!(text(&taken.stdout).contains("acknowledged"), "{}", text(&taken.stderr));

    let noted = json!({"note": "we are looking into it", "public": true});
    let path = format!("/api/dihya/v1/incidents/{id}/notes");
    let noted = request(&server.address, "POST", &path, Some(&server.token()), Some(&noted));
    assert!((200..300).contains(&noted.status), "{}", noted.body);
    assert_eq!(server.get("/api/dihya/v1/incidents?state=acknowledged")["items"][0]["id"], id.as_str());
    assert_eq!(server.get("/api/dihya/v1/incidents?state=open")["items"], json!([]));
    assert!(server.client(&["incident", "show", &id, "--format", "json"]).status.success());
    assert!(text(&server.client(&["incident", "list", "--all"]).stdout).contains("The shop"));

    service.answer(200);
    let resolved = hook.post();
    assert_eq!(resolved["status"], "resolved", "{resolved:#}");
    let over = server.client(&["incident", "ack", &id]);
    assert!(text(&over.stderr).contains("409"), "{}", text(&over.stderr));
    // The hook has its post before the outbox has the answer.
    eventually("both are written down as delivered", || {
        let delivered = server.get("/api/dihya/v1/notifications?state=delivered");
        (delivered["items"].as_array().map(Vec::len) == Some(2)).then_some(())
    });
    assert_eq!(server.get("/api/dihya/v1/notifications?state=failed&receiver=ops")["items"], json!([]));
    assert_eq!(server.get("/api/dihya/v1/incidents?state=resolved")["items"][0]["id"], id.as_str());
    let shown = server.client(&["incident", "show", &id]);
    let shown = text(&shown.stdout);
    for word in ["opened", "acknowledged", "on it", "resolved"] {
        assert!(shown.contains(word), "{word} in\n{shown}");
    }
    assert_eq!(hook.posts(), Vec::<Value>::new(), "nobody was told twice");

    let data = server.data.clone();
    assert_eq!(server.stop(), Some(0));
    let rows = run(&["ledger", "show", "--limit", "10000", "--format", "json", "--data-dir", &place.data()]);
    let rows: Vec<Value> = serde_json::from_slice(&rows.stdout).expect("is JSON");
    let count = |kind: &str, field: &str, value: Value| {
        rows.iter().filter(|row| row["kind"] == kind && row["body"][field] == value).count()
    };
    assert_eq!(count("check-change", "to", json!("down")), 1);
    assert_eq!(count("intent", "firing", json!(true)), 1);
    assert_eq!(count("delivery", "outcome", json!("delivered")), 2);
    assert_eq!(verify(&data)["sound"], true);
}

#[test]
fn a_channel_that_is_down_is_tried_until_it_is_back() {
    let place = Place::new();
    let (service, hook) = (Service::start(), Service::start());
    hook.answer(503);
    let file = place.put("dihya.yaml", &config(&service, &hook, ""));
    let server = Server::start(&place, &["--config", &file]);
    service.answer(500);
    eventually("a failed attempt", || {
        let rows = server.get("/api/dihya/v1/notifications");
        rows["items"].as_array()?.iter().find(|row| row["attempts"][0]["outcome"] == "retry").cloned()
    });
    hook.answer(200);
    assert_eq!(hook.post()["status"], "firing");
}

#[test]
fn a_silence_keeps_an_alert_quiet_and_then_ends() {
    let place = Place::new();
    let (service, hook) = (Service::start(), Service::start());
    let file = place.put("dihya.yaml", &config(&service, &hook, ""));
    let server = Server::start(&place, &["--config", &file]);
    let added = server.client(&["silence", "add", "check=shop", "--for", "1h", "--comment", "moving house"]);
    assert!(added.status.success(), "{}", text(&added.stderr));
    let id = text(&added.stdout).trim().to_owned();
    let listed = server.client(&["silence", "list"]);
    assert!(text(&listed.stdout).contains("check=shop") && text(&listed.stdout).contains("moving house"));
    service.answer(503);
    eventually("an incident", || {
        let items = server.get("/api/dihya/v1/incidents")["items"].as_array()?.len();
        (items > 0).then_some(())
    });
    assert_eq!(hook.posts(), Vec::<Value>::new());
    assert_eq!(server.get("/api/dihya/v1/silences?state=active")["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(server.get("/api/dihya/v1/silences?state=pending")["items"], json!([]));
    assert!(server.client(&["silence", "expire", &id]).status.success());
    assert_eq!(server.get("/api/dihya/v1/silences?state=expired")["items"].as_array().map(Vec::len), Some(1));
    assert!(text(&server.client(&["silence", "list", "--all"]).stdout).contains("expired"));
    assert!(text(&server.client(&["silence", "list", "--format", "json"]).stdout).starts_with("[]"));
    assert_eq!(hook.post()["status"], "firing");
}

#[test]
fn a_heartbeat_that_stays_away_is_an_alert() {
    let place = Place::new();
    let (service, hook) = (Service::start(), Service::start());
    let text_of_file = config(&service, &hook, "").replace(
        "checks:\n",
        "checks:\n  nightly: {kind: heartbeat, interval: 1h}\n  backup:\n    kind: heartbeat\n    ping_id: unguessable-0123456\n    interval: 1s\n    grace: 1s\n",
    );
    let file = place.put("dihya.yaml", &text_of_file);
    let server = Server::start(&place, &["--config", &file]);
    let pinged =
        run(&["heartbeat", "ping", "unguessable-0123456", "--url", &server.url(), "--data-dir", &place.data()]);
    assert!(pinged.status.success(), "{}", text(&pinged.stderr));
    assert_eq!(server.get("/api/dihya/v1/checks/backup")["state"], "up");
    let late = hook.post();
    assert_eq!(late["alerts"][0]["labels"]["check"], "backup", "{late:#}");
    for args in [vec!["--start"], vec!["--fail"], vec!["--exit", "0"]] {
        let pinged = server.client(&[&["heartbeat", "ping", "unguessable-0123456"], &args[..]].concat());
        assert!(pinged.status.success(), "{}", text(&pinged.stderr));
    }
    let unknown = request(&server.address, "POST", "/api/dihya/v1/heartbeats/nobody", None, None);
    assert_eq!(unknown.status, 404);
    // Without a secret name of its own a heartbeat is opened by a token that may send.
    let nightly = "/api/dihya/v1/heartbeats/nightly";
    assert_eq!(request(&server.address, "POST", nightly, None, None).status, 404);
    assert_eq!(request(&server.address, "POST", nightly, Some(&server.token()), None).status, 204);
    assert_eq!(server.client(&["heartbeat", "ping", "nightly"]).status.code(), Some(1), "no token is sent unasked");
    let token = place.put("token", &server.token());
    let named = server.client(&["heartbeat", "ping", "nightly", "--token-file", &token]);
    assert!(named.status.success(), "{}", text(&named.stderr));
}

#[test]
fn an_alert_that_fires_outlives_a_restart_and_is_ended_by_the_recovery() {
    let place = Place::new();
    let (service, hook) = (Service::start(), Service::start());
    let file = place.put("dihya.yaml", &config(&service, &hook, ""));
    let server = Server::start(&place, &["--config", &file]);
    service.answer(503);
    assert_eq!(hook.post()["status"], "firing");
    // Killed between the sending and the record of it, the server would rightly tell again.
    eventually("the record of the delivery", || {
        let delivered = server.get("/api/dihya/v1/notifications?state=delivered");
        (delivered["items"].as_array()?.len() == 1).then_some(())
    });
    server.kill();
    service.answer(200);
    let server = Server::start(&place, &["--config", &file]);
    assert_eq!(hook.post()["status"], "resolved");
    assert_eq!(server.stop(), Some(0));
    assert_eq!(hook.posts(), Vec::<Value>::new(), "nobody was told twice");
}

#[test]
fn a_configuration_of_alertmanager_is_read_as_it_is() {
    let place = Place::new();
    let (service, hook) = (Service::start(), Service::start());
    let alerting = format!(
        "alerting:\n  global: {{resolve_timeout: 5m}}\n  route:\n    receiver: team\n    group_by: [alertname]\n    group_wait: \
         0s\n  receivers:\n    - name: team\n      webhook_configs:\n        - url: {}\n          send_resolved: true\n",
        hook.url()
    );
    let whole = config(&service, &hook, "");
    let checks = whole.split("channels:").next().expect("the checks");
    let file = place.put("dihya.yaml", &format!("{checks}{alerting}"));
    let server = Server::start(&place, &["--config", &file]);
    service.answer(503);
    assert_eq!(hook.post()["receiver"], "team");
    drop(server);
}

/// What a target answers may name a person. The ledger never had it, and the API gave it to every reader.
#[test]
fn what_a_target_says_of_persons_does_not_leave_through_the_api() {
    let place = Place::new();
    let file = place.put(
        "dihya.yaml",
        "checks:\n  job:\n    kind: exec\n    command: [/bin/sh, -c, 'echo \"CRITICAL - stuck on ana@example.org\"; exit 2']\n    \
         interval: 1s\n    timeout: 1s\n",
    );
    let server = Server::start(&place, &["--config", &file]);
    let job = eventually("a result", || {
        let job = server.get("/api/dihya/v1/checks/job");
        (job["state"] == "down").then_some(job)
    });
    assert!(job["reason"].as_str().expect("said").contains("[email]"), "{job:#}");
    let run = request(&server.address, "POST", "/api/dihya/v1/checks/job/run", Some(&server.token()), None);
    let shown = text(&server.client(&["status"]).stdout);
    for answer in [
        run.body,
        server.get("/api/dihya/v1/checks").to_string(),
        server.get("/api/dihya/v1/status").to_string(),
        shown,
    ] {
        assert!(answer.contains("stuck on [email]") && !answer.contains("ana@"), "{answer}");
    }
}
