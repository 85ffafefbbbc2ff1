//! A new configuration while everything runs.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::journey::config;
use crate::program::{Place, Server, eventually, run, text};
use crate::web::{Service, request};

#[test]
fn a_bad_file_leaves_the_old_one_in_force_and_a_good_one_takes_effect() {
    let place = Place::new();
    let (service, hook) = (Service::start(), Service::start());
    let good = config(&service, &hook, "");
    let file = place.put("dihya.yaml", &good);
    let mut server = Server::start(&place, &["--config", &file]);

    place.put("dihya.yaml", &good.replace("interval: 1s", "intervall: 1s"));
    let refused = server.logged("refused the configuration, the old one stays in force");
    assert_eq!((&refused["line"], &refused["field"]), (&6.into(), &"checks.shop.intervall".into()), "{refused:#}");
    assert_eq!((&refused["file"], &refused["suggestion"]), (&file.clone().into(), &"did you mean interval?".into()));
    assert!(server.get("/api/dihya/v1/checks/shop")["state"].is_string());
    eventually("the metric", || {
        let metrics = request(&server.address, "GET", "/metrics", Some(&server.token()), None).body;
        let mut lines = metrics.lines().filter(|line| line.starts_with("dihya_config_reload_success"));
        lines.any(|line| line.ends_with(" 0")).then_some(())
    });

    place.put("dihya.yaml", &good.replace("  shop:", "  till:"));
    server.signal(Signal::HUP);
    server.logged("configuration in force");
    eventually("the new check", || {
        let token = server.token();
        let till = request(&server.address, "GET", "/api/dihya/v1/checks/till", Some(&token), None).status == 200;
        let shop = request(&server.address, "GET", "/api/dihya/v1/checks/shop", Some(&token), None).status == 404;
        (till && shop).then_some(())
    });

    place.put("dihya.yaml", &format!("{good}ledger: {{instance: elsewhere}}\n"));
    let refused = server.logged("refused the configuration, the old one stays in force");
    assert_eq!(refused["field"], "ledger.instance");

    // Whoever writes it anew empties it first.
    place.put("dihya.yaml", "# soon\n");
    let refused = server.logged("refused the configuration, the old one stays in force");
    assert_eq!(refused["problem"], "the file says nothing at all");
    std::fs::remove_file(&file).expect("removes");
    let gone = server.logged("the configuration is gone, what it said stays in force");
    assert_eq!(gone["file"], file);
    assert!(server.get("/api/dihya/v1/checks/till")["state"].is_string());
    assert_eq!(server.stop(), Some(0));

    let rows = run(&["ledger", "show", "--limit", "10000", "--format", "json", "--data-dir", &place.data()]);
    let rows: Vec<Value> = serde_json::from_slice(&rows.stdout).expect("is JSON");
    let loads: Vec<bool> =
        rows.iter().filter(|row| row["kind"] == "config").filter_map(|row| row["body"]["accepted"].as_bool()).collect();
    assert_eq!(loads, [true, false, true, false, false]);
}

#[test]
fn the_alert_of_a_check_that_is_gone_ends() {
    let place = Place::new();
    let (service, hook) = (Service::start(), Service::start());
    service.answer(503);
    let good = config(&service, &hook, "");
    let file = place.put("dihya.yaml", &good);
    let mut server = Server::start(&place, &["--config", &file]);
    assert_eq!(hook.post()["status"], "firing");
    place.put("dihya.yaml", &good.replace("  shop:", "  till:").replace("status == 200", "status > 0"));
    server.logged("configuration in force");
    assert_eq!(hook.post()["status"], "resolved");
}

/// A new address took effect for the API and its feeds, and notifications went on with the old one until a restart.
#[test]
fn notifications_lead_to_the_new_address() {
    let place = Place::new();
    let (service, hook) = (Service::start(), Service::start());
    let good = config(&service, &hook, "server: {external_url: 'https://one.example'}\n");
    let file = place.put("dihya.yaml", &good);
    let mut server = Server::start(&place, &["--config", &file]);
    service.answer(503);
    assert_eq!(hook.post()["externalURL"], "https://one.example");
    place.put("dihya.yaml", &good.replace("one.example", "two.example"));
    server.logged("configuration in force");
    service.answer(200);
    assert_eq!(hook.post()["externalURL"], "https://two.example");
}

#[test]
fn the_log_repeats_no_credentials() {
    let place = Place::new();
    let (service, hook) = (Service::start(), Service::start());
    let good = config(&service, &hook, "");
    let file = place.put("dihya.yaml", &good);
    let mut server = Server::start(&place, &["--config", &file]);
    place.put("dihya.yaml", &good.replace(&service.url(), "htp://bob:s3cret@shop/"));
    let refused = server.logged("refused the configuration, the old one stays in force");
    assert_eq!(refused["field"], "checks.shop.url");
    assert!(!refused.to_string().contains("s3cret"), "{refused:#}");
}

#[test]
fn an_alert_names_the_channels_of_the_file_in_force() {
    let place = Place::new();
    let (service, hook) = (Service::start(), Service::start());
    let good = config(&service, &hook, "");
    let file = place.put("dihya.yaml", &good);
    let mut server = Server::start(&place, &["--config", &file]);
    let send = |server: &Server, channel: &str| {
        let body = json!({"message": "x", "level": "info", "channel": channel});
        request(&server.address, "POST", "/api/dihya/v1/alerts", Some(&server.token()), Some(&body))
    };
    let refused = send(&server, "hok");
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert!(refused.body.contains(r#""field":"channel""#) && refused.body.contains("did you mean hook?"));
    assert_eq!((send(&server, "hook").status, send(&server, "log").status), (202, 202));

    place.put("dihya.yaml", &good.replace("  hook:", "  bell:").replace("channel: hook", "channel: bell"));
    server.logged("configuration in force");
    eventually("the other channel", || (send(&server, "bell").status == 202).then_some(()));
    assert_eq!(send(&server, "hook").status, 422);
}

/// People bring their own receivers with the secrets in them: they are told where, at the start and at each reload, and
/// never what.
#[test]
fn secrets_of_native_receivers_are_warned_of_by_line() {
    let place = Place::new();
    let native = |secret: &str| {
        format!(
            "alerting:\n  route: {{receiver: ops}}\n  receivers:\n    - name: ops\n      slack_configs:\n        - api_url: \
             {secret}\n          http_config: {{enable_http2: false}}\n"
        )
    };
    place.put("hook.txt", "http://127.0.0.1:9/T0/s3cr3t\n");
    let referred = place.put("referred.yaml", &native("${file:hook.txt}"));
    let output = run(&["config", "check", &referred]);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));

    let file = place.put("dihya.yaml", &native("http://127.0.0.1:9/T0/s3cr3t"));
    let output = run(&["config", "check", &file]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let place_of = format!("{file}:6:20: alerting.receivers.0.slack_configs.0.api_url: a secret stands in the open");
    assert!(said.starts_with(&place_of) && said.lines().count() == 1 && !said.contains("s3cr3t"), "{said}");

    let mut server = Server::start(&place, &["--config", &file]);
    let field = "alerting.receivers.0.slack_configs.0.api_url";
    let warned = server.said("doubtful configuration");
    assert_eq!((&warned["line"], &warned["field"], &warned["file"]), (&6.into(), &field.into(), &file.as_str().into()));
    place.put("dihya.yaml", &format!("\n{}", native("http://127.0.0.1:9/T0/0th3r")));
    let warned = server.logged("doubtful configuration");
    assert_eq!((&warned["line"], &warned["field"]), (&7.into(), &field.into()));
    assert!(!warned.to_string().contains("0th3r"), "{warned}");
    assert_eq!(server.stop(), Some(0));
}
