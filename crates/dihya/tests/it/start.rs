//! The first start with nothing but the binary, and the way out.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::program::{Place, Server, eventually, run, text, verify};
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
