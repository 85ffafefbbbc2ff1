//! `dihya alert send` when no server runs, and when one runs and does not answer.

use rustix::process::Signal;
use serde_json::Value;

use crate::journey::config;
use crate::program::{Place, Server, eventually, run, text, verify};
use crate::web::Service;

fn rows(place: &Place) -> Vec<Value> {
    let output = run(&["ledger", "show", "--limit", "10000", "--format", "json", "--data-dir", &place.data()]);
    serde_json::from_slice(&output.stdout).expect("is JSON")
}

#[test]
fn without_a_server_the_alert_goes_the_whole_way() {
    let place = Place::new();
    let (service, hook) = (Service::start(), Service::start());
    let file = place.put("dihya.yaml", &config(&service, &hook, ""));
    let nobody = "http://127.0.0.1:9";
    let output = run(&[
        "alert",
        "send",
        "backup failed",
        "--level",
        "CRITICAL",
        "--channel",
        "hook",
        "--service",
        "db",
        "--sector",
        "santé",
        "--label",
        "k=v",
        "--config",
        &file,
        "--data-dir",
        &place.data(),
        "--url",
        nobody,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("told through hook"), "{}", text(&output.stdout));
    let labels = &hook.post()["alerts"][0]["labels"];
    assert_eq!((&labels["service"], &labels["sector"], &labels["k"]), (&"db".into(), &"health".into(), &"v".into()));
    let kinds: Vec<String> = rows(&place).iter().filter_map(|row| row["kind"].as_str().map(str::to_owned)).collect();
    for kind in ["alert", "incident", "intent", "delivery"] {
        assert!(kinds.iter().any(|found| found == kind), "{kind} in {kinds:?}");
    }
    assert_eq!(verify(&place.path("data"))["sound"], true);

    let unknown = run(&[
        "alert",
        "send",
        "x",
        "--channel",
        "hok",
        "--config",
        &file,
        "--data-dir",
        &place.data(),
        "--url",
        nobody,
    ]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("did you mean hook?"), "{}", text(&unknown.stderr));
}

/// A command without the server's configuration knew none of its checks: it ended their alerts, dissolved the groups, and
/// the next server told everybody again.
#[test]
fn an_alert_sent_under_another_configuration_leaves_what_fires_alone() {
    let place = Place::new();
    let (service, hook) = (Service::start(), Service::start());
    let file = place.put("dihya.yaml", &config(&service, &hook, ""));
    let server = Server::start(&place, &["--config", &file]);
    service.answer(503);
    assert_eq!(hook.post()["status"], "firing");
    eventually("the record of the delivery", || {
        let delivered = server.get("/api/dihya/v1/notifications?state=delivered");
        (delivered["items"].as_array()?.len() == 1).then_some(())
    });
    let incident = server.get("/api/dihya/v1/incidents?state=open")["items"][0]["id"].clone();
    assert_eq!(server.stop(), Some(0));

    let sent = run(&[
        "alert",
        "send",
        "hello",
        "--channel",
        "log",
        "--data-dir",
        &place.data(),
        "--url",
        "http://127.0.0.1:9",
    ]);
    assert_eq!(sent.status.code(), Some(0), "{}", text(&sent.stderr));
    let server = Server::start(&place, &["--config", &file]);
    eventually("what was sent", || {
        let items = server.get("/api/dihya/v1/incidents?state=open")["items"].as_array()?.clone();
        items.iter().any(|item| item["title"] == "hello").then_some(())
    });
    let open = server.get("/api/dihya/v1/incidents?state=open");
    assert!(open["items"].as_array().expect("a list").iter().any(|item| item["id"] == incident), "{open:#}");
    service.answer(200);
    // Of the shop nobody is told anything but its end.
    let of_shop = eventually("the end", || {
        let post = hook.post();
        (post["commonLabels"]["check"] == "shop").then_some(post)
    });
    assert_eq!(of_shop["status"], "resolved", "{of_shop:#}");
}

/// What was put aside while the server did not answer waited for its next start, which may be months away.
#[test]
fn a_server_that_answers_again_takes_up_what_was_put_aside() {
    let place = Place::new();
    let (service, hook) = (Service::start(), Service::start());
    let file = place.put("dihya.yaml", &config(&service, &hook, ""));
    let server = Server::start(&place, &["--config", &file]);
    let data = place.data();
    let base = ["alert", "send", "put aside", "--channel", "hook", "--format", "json", "--data-dir", &data];
    let output = run(&[&base[..], &["--config", &file, "--url", "http://127.0.0.1:9"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let sent: Value = serde_json::from_slice(&output.stdout).expect("is JSON");
    assert!(sent["spooled"]["file"].is_string(), "{sent}");
    let title = |item: &Value| item["title"] == "put aside";
    eventually("the incident", || {
        server.get("/api/dihya/v1/incidents")["items"].as_array()?.iter().any(title).then_some(())
    });
    let spool = place.path("data/spool");
    eventually("an empty spool", || (spool.read_dir().expect("reads").count() == 0).then_some(()));
    // Whoever heard it from the command does not hear it from the server.
    let rows = server.get("/api/dihya/v1/notifications");
    let rows = rows["items"].as_array().expect("rows");
    assert!(!rows.is_empty() && rows.iter().all(|row| row["at"] == rows[0]["at"]), "as the command told: {rows:#?}");
    assert_eq!(server.stop(), Some(0));
    let heard = hook.posts().into_iter().filter(|post| post["alerts"][0]["labels"]["alertname"] == "put aside").count();
    assert_eq!(heard, 1, "once, from the command");
}

#[test]
fn a_server_that_does_not_answer_gets_it_with_its_next_start() {
    let place = Place::new();
    let (service, hook) = (Service::start(), Service::start());
    let file = place.put("dihya.yaml", &config(&service, &hook, ""));
    let server = Server::start(&place, &["--config", &file]);
    // It hangs, and never comes to look.
    server.signal(Signal::STOP);
    let output = run(&[
        "alert",
        "send",
        "nobody hears",
        "--label",
        "user=ann@example.org",
        "--channel",
        "hook",
        "--config",
        &file,
        "--data-dir",
        &place.data(),
        "--url",
        "http://127.0.0.1:9",
        "--format",
        "json",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let sent: Value = serde_json::from_slice(&output.stdout).expect("is JSON");
    let spooled = sent["spooled"]["file"].as_str().expect("it was spooled").to_owned();
    let kept = std::fs::read_to_string(&spooled).expect("it is there");
    assert!(!kept.contains("ann@example.org") && kept.contains("[email:"), "nothing raw lies on the disk: {kept}");
    assert_eq!(hook.post()["alerts"][0]["labels"]["alertname"], "nobody hears");
    server.kill();

    let server = Server::start(&place, &["--config", &file]);
    assert!(!std::path::Path::new(&spooled).exists());
    eventually("the incident", || {
        let incidents = server.get("/api/dihya/v1/incidents");
        incidents["items"].as_array()?.iter().any(|item| item["title"] == "nobody hears").then_some(())
    });
}

#[test]
fn with_a_server_it_is_the_server_that_records() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let output = server.client(&["alert", "send", "hello", "--level", "info"]);
    assert!(text(&output.stdout).contains("of localhost/default"), "{}", text(&output.stderr));
    let refused = server.client(&["alert", "send", " ", "--level", "info"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stdout));
}
