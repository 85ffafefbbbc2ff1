//! The first start with nothing but the binary, and the way out.

use std::os::unix::fs::PermissionsExt as _;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::program::{Place, Server, eventually, run, text, verify};
use crate::skip::skip;
use crate::web::request;

#[test]
fn a_first_start_without_a_configuration_watches_this_machine() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    assert_eq!(request(&server.address, "GET", "/livez", None, None).status, 200);
    assert_eq!(request(&server.address, "GET", "/readyz", None, None).status, 200);
    let token = server.data.join("admin-token");
    let mode = std::fs::metadata(&token).expect("a token").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let board = eventually("a result of the host check", || {
        let board = server.get("/api/dihya/v1/status");
        let services = board["services"].as_array().expect("services").clone();
        // A loaded machine may well be degraded.
        services.iter().any(|s| s["id"] == "host" && s["state"] != "unknown").then_some(services)
    });
    let ids: Vec<&str> = board.iter().filter_map(|service| service["id"].as_str()).collect();
    assert!(ids.contains(&"disk") && ids.contains(&"resolver") && !ids.contains(&"dihya-canary"), "{ids:?}");

    let status = server.client(&["status"]);
    assert!(text(&status.stdout).contains("host"), "{}", text(&status.stderr));
    let metrics = request(&server.address, "GET", "/metrics", Some(&server.token()), None);
    assert!(metrics.body.contains("dihya_check_up"), "{}", metrics.body);

    let data = server.data.clone();
    assert_eq!(server.stop(), Some(0));
    let report = verify(&data);
    assert_eq!(report["sound"], true, "{report:#}");
}

#[test]
fn the_canary_is_seen_down_and_recorded() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let data = server.data.to_str().expect("UTF-8").to_owned();
    let found = eventually("the canary's record", || {
        let output = run(&["ledger", "show", "--limit", "1000", "--format", "json", "--data-dir", &data]);
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout).ok()?;
        rows.into_iter().find(|row| row["kind"] == "self-test" && row["body"]["target"] == "dihya-canary")
    });
    assert_eq!(found["body"]["passed"], true);
}

#[test]
fn two_servers_do_not_share_a_data_directory() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let output = run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", &place.data()]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("another process holds its lock") && error.contains("hint:"), "{error}");
    drop(server);
}

#[test]
fn a_taken_address_is_said() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let other = Place::new();
    let output = run(&["serve", "--listen", &server.address, "--data-dir", &other.data()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("could not listen on"), "{}", text(&output.stderr));
}

#[test]
fn a_token_made_on_the_command_line_has_the_rights_of_its_role() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let made = server.client(&["token", "add", "watcher", "--role", "viewer", "--expires", "1h"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let token = text(&made.stdout).trim().to_owned();
    let ask = |method, path| request(&server.address, method, path, Some(&token), None).status;
    assert_eq!(ask("GET", "/api/dihya/v1/checks"), 200);
    assert_eq!(ask("GET", "/api/dihya/v1/tokens"), 403);
    assert_eq!(request(&server.address, "GET", "/api/dihya/v1/checks", None, None).status, 401);
    assert_eq!(request(&server.address, "GET", "/api/dihya/v1/checks", Some("dhy_wrong"), None).status, 401);

    let listed = server.client(&["token", "list", "--format", "json"]);
    let rows: Vec<Value> = serde_json::from_slice(&listed.stdout).expect("is JSON");
    let id = rows.iter().find(|row| row["name"] == "watcher").and_then(|row| row["id"].as_str()).expect("listed");
    assert!(!text(&listed.stdout).contains(&token));
    assert!(server.client(&["token", "revoke", id]).status.success());
    assert_eq!(ask("GET", "/api/dihya/v1/checks"), 401);
    let again = server.client(&["token", "revoke", id]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("404"), "{}", text(&again.stderr));
}

#[test]
fn help_completions_and_man_pages_are_there() {
    let place = Place::new();
    assert!(text(&run(&["--help"]).stdout).contains("dihya serve"));
    assert!(text(&run(&["completions", "bash"]).stdout).contains("_dihya"));
    let man = place.path("man");
    assert!(run(&["man", man.to_str().expect("UTF-8")]).status.success());
    let page = std::fs::read_to_string(man.join("dihya-alert-send.1")).expect("a page");
    assert!(page.contains("backup failed"), "{page}");
}

#[test]
fn a_server_with_a_certificate_is_reached_by_those_who_trust_it() {
    let place = Place::new();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let ca = place.put("cert.pem", &made.cert.pem());
    place.put("key.pem", &made.signing_key.serialize_pem());
    let file = place.put("dihya.yaml", "server:\n  tls: {cert_file: cert.pem, key_file: key.pem}\n");
    let server = Server::start(&place, &["--config", &file]);
    let port = server.address.rsplit(':').next().expect("a port").to_owned();
    let url = format!("https://localhost:{port}");
    let ask = |more: &[&str]| run(&[&["incident", "list", "--url", &url, "--data-dir", &place.data()], more].concat());
    let trusting = ask(&["--ca-file", &ca]);
    assert!(trusting.status.success(), "{}", text(&trusting.stderr));
    assert_eq!(text(&trusting.stdout), "no open incidents\n");
    let wary = ask(&[]);
    assert_eq!(wary.status.code(), Some(1));
    assert!(text(&wary.stderr).contains("cannot trust the server"), "{}", text(&wary.stderr));
    let lost = ask(&["--ca-file", "/nonexistent.pem"]);
    assert!(text(&lost.stderr).contains("--ca-file"), "{}", text(&lost.stderr));
}

/// With TLS on, commands on the server's own machine tried plain HTTP or a name that the certificate does not bear, took
/// the failure for silence, and put alerts aside while a server ran.
#[test]
fn local_commands_work_with_a_certificate_for_another_name() {
    let place = Place::new();
    let made = rcgen::generate_simple_self_signed(vec!["watch.example".to_owned()]).expect("a certificate");
    place.put("cert.pem", &made.cert.pem());
    place.put("key.pem", &made.signing_key.serialize_pem());
    let file = place.put("dihya.yaml", "server:\n  tls: {cert_file: cert.pem, key_file: key.pem}\n");
    let server = Server::start(&place, &["--config", &file]);
    let data = place.data();
    for config in [&["--config", &file][..], &[]] {
        let local = |args: &[&str]| run(&[args, &["--data-dir", &data], config].concat());
        let sent = local(&["alert", "send", "a test", "--format", "json"]);
        let receipt: Value = serde_json::from_slice(&sent.stdout).expect("is JSON");
        assert_eq!(receipt["origin"], "localhost/default", "{}{}", text(&sent.stdout), text(&sent.stderr));
        for args in [&["status", "--format", "json"][..], &["incident", "list"], &["token", "list"]] {
            let output = local(args);
            assert!(!text(&output.stdout).is_empty(), "{args:?}: {}", text(&output.stderr));
            assert_eq!(text(&output.stderr), "", "{args:?}");
        }
    }
    assert!(!place.path("data/spool").exists() || place.path("data/spool").read_dir().expect("reads").count() == 0);
    // Another certificate is put in force: commands follow.
    let made = rcgen::generate_simple_self_signed(vec!["watch.example".to_owned()]).expect("a certificate");
    place.put("cert.pem", &made.cert.pem());
    place.put("key.pem", &made.signing_key.serialize_pem());
    server.signal(Signal::HUP);
    let before = std::fs::read_to_string(place.path("data/reach.json")).expect("written down");
    eventually("the other certificate", || {
        let now = std::fs::read_to_string(place.path("data/reach.json")).ok()?;
        (now != before).then_some(())
    });
    let listed = run(&["token", "list", "--data-dir", &data]);
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    // Whoever shows another one is not believed, and not given the token.
    let other = Place::new();
    let impostor = Server::start(&other, &["--config", &file]);
    let stolen = before.replace(&server.address, &impostor.address);
    place.put("data/reach.json", &stolen);
    let refused = run(&["token", "list", "--data-dir", &data]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("cannot trust the server"), "{}", text(&refused.stderr));
    let aside = run(&["alert", "send", "a test", "--data-dir", &data]);
    assert!(text(&aside.stderr).contains("cannot trust the server"), "{}", text(&aside.stderr));
    assert!(text(&aside.stdout).contains("for its next start"), "{}", text(&aside.stdout));
    assert_eq!(server.stop(), Some(0));
    assert!(!place.path("data/reach.json").exists());
}

#[test]
fn clients_say_what_they_lack() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let url = server.url();
    let elsewhere = place.path("elsewhere").to_str().expect("UTF-8").to_owned();
    let stranger = run(&["token", "list", "--url", &url, "--data-dir", &elsewhere]);
    assert_eq!(stranger.status.code(), Some(1));
    let said = text(&stranger.stderr);
    assert!(said.contains("401") && said.contains("hint: name a token"), "{said}");
    for (args, expected) in [
        (vec!["status", "--url", "nonsense"], "--url nonsense"),
        (vec!["status", "--url", "ftp://x"], "expected http://HOST:PORT"),
        (vec!["status", "--token-file", "/nonexistent"], "--token-file /nonexistent"),
        (vec!["silence", "add", "nothing", "--comment", "x"], "cannot read the matcher nothing"),
    ] {
        let output = run(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(expected), "{args:?}: {}", text(&output.stderr));
    }
    let token = place.put("token", &server.token());
    let named = run(&["token", "list", "--url", &url, "--token-file", &token]);
    assert!(named.status.success(), "{}", text(&named.stderr));
}

#[test]
fn on_a_terminal_it_says_where_it_is_and_how_to_go_on() {
    if std::process::Command::new("script").arg("--version").output().is_err() {
        return skip("script is not installed");
    }
    let place = Place::new();
    let binary = env!("CARGO_BIN_EXE_dihya");
    let pid = place.path("pid");
    let command =
        format!("echo $$ > {}; exec {binary} serve --listen 127.0.0.1:0 --data-dir {}", pid.display(), place.data());
    let log = place.path("typescript");
    let mut script = std::process::Command::new("script");
    script.args(["-qfc", &command]).arg(&log).stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    let mut child = script.spawn().expect("script runs");
    let said = eventually("the greeting", || {
        let said = std::fs::read_to_string(&log).ok()?;
        said.contains("To go on").then_some(said)
    });
    let pid = std::fs::read_to_string(pid).expect("its process id").trim().parse().expect("a number");
    kill_process(Pid::from_raw(pid).expect("not zero"), Signal::TERM).expect("it is ours");
    let _ = child.wait();
    for expected in ["listens on", "/status", "admin-token", "dhy_", "dihya check"] {
        assert!(said.contains(expected), "{expected} in {said}");
    }
}

#[test]
fn tenants_do_not_see_each_other_and_public_logs_are_open() {
    let place = Place::new();
    let file = place.put(
        "dihya.yaml",
        "tenants:\n  shop: {public: true}\nchecks:\n  a: {kind: host, interval: 1s, timeout: 1s, tenant: shop}\n  b: {kind: \
         host, interval: 1s, timeout: 1s}\n",
    );
    let server = Server::start(&place, &["--config", &file]);
    let ids = |board: &Value| {
        let items = board["services"].as_array().expect("services").clone();
        items.iter().filter_map(|item| item["id"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let board = server.get("/api/dihya/v1/checks");
    assert_eq!(ids(&board), ["b"]);
    let open = |path: &str| request(&server.address, "GET", path, None, None).status;
    eventually("a checkpoint", || (open("/ledger/localhost/shop/checkpoint") == 200).then_some(()));
    assert_eq!(open("/ledger/localhost/default/checkpoint"), 401);
    assert_eq!(open("/ledger/localhost/meta/checkpoint"), 200);
    assert_eq!(open("/ledger/localhost/shop/tile/0/999"), 404);

    // The instance's administrator gives the tenant a token, and from then on it helps itself.
    let add = |args: &[&str]| server.client(&[&["token", "add", "--role", "admin"], args].concat());
    let made = add(&["boss", "--tenant", "shop", "--scope", "checks", "--scope", "tokens", "--expires", "1h"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let token = text(&made.stdout).trim().to_owned();
    let answer = request(&server.address, "GET", "/api/dihya/v1/checks", Some(&token), None);
    assert_eq!(ids(&serde_json::from_str(&answer.body).expect("is JSON")), ["a"]);
    assert_eq!(request(&server.address, "GET", "/api/dihya/v1/incidents", Some(&token), None).status, 403);
    let listed = text(&server.client(&["token", "list", "--tenant", "shop"]).stdout);
    let row = listed.lines().find(|line| line.contains("boss")).expect("listed");
    assert!(row.contains("shop") && row.contains("checks,tokens"), "{listed}");
    assert!(!text(&server.client(&["token", "list"]).stdout).contains("boss"));
    let unknown = add(&["x", "--tenant", "nobody"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("a tenant that the configuration declares"), "{}", text(&unknown.stderr));
    let token = place.put("token", &token);
    let greater = add(&["y", "--token-file", &token]);
    assert!(text(&greater.stderr).contains("name scopes among checks, tokens"), "{}", text(&greater.stderr));
}
