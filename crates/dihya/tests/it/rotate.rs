//! New signing keys for the logs of a data directory, and what an auditor with the old ones makes of it.

use std::path::Path;

use serde_json::Value;

use crate::program::{Place, Server, done, run, text};

fn send(server: &Server, what: &str) {
    let sent = server.client(&["alert", "send", what, "--level", "info"]);
    assert!(sent.status.success(), "{}", text(&sent.stderr));
}

fn verified(data: &str, more: &[&str]) -> Value {
    let output = run(&[&["ledger", "verify", "--format", "json", "--data-dir", data], more].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)))
}

fn log<'a>(report: &'a Value, origin: &str) -> &'a Value {
    report["logs"].as_array().expect("logs").iter().find(|log| log["origin"] == origin).expect("is there")
}

#[test]
fn keys_are_rotated_while_no_server_runs_and_old_ones_lead_to_new_ones() {
    let place = Place::new();
    let data = place.data();
    let none = run(&["ledger", "rotate", "--data-dir", &data]);
    assert_eq!(none.status.code(), Some(2), "{}", text(&none.stderr));
    let server = Server::start(&place, &[]);
    send(&server, "before");
    let held = run(&["ledger", "rotate", "--data-dir", &data]);
    assert_eq!(held.status.code(), Some(1));
    assert!(text(&held.stderr).contains("stop it first"), "{}", text(&held.stderr));
    assert_eq!(server.stop(), Some(0));
    let old = place.put("old.keys", &done(&["ledger", "keys", "--data-dir", &data]));
    let kept = done(&["ledger", "prove", "--consistency", "1", "--data-dir", &data]);
    let kept = place.put("kept", kept.split_once("\n\n").expect("has a checkpoint").1);
    let other = run(&["ledger", "rotate", "--origin", "localhost/other", "--data-dir", &data]);
    assert_eq!(other.status.code(), Some(2), "{}", text(&other.stderr));

    let told = done(&["ledger", "rotate", "--origin", "localhost/default", "--data-dir", &data]);
    assert!(told.starts_with("localhost/default: rotation 1 announced at leaf "), "{told}");
    let told = done(&["ledger", "rotate", "--data-dir", &data]);
    assert!(told.contains("localhost/default: rotation 2 ") && told.contains("localhost/meta: rotation 1 "), "{told}");
    let server = Server::start(&place, &[]);
    send(&server, "after");
    let backup = place.path("backup").to_str().expect("UTF-8").to_owned();
    done(&["backup", &backup, "--data-dir", &data]);
    assert_eq!(server.stop(), Some(0));

    let new = place.put("new.keys", &done(&["ledger", "keys", "--data-dir", &data]));
    let restored = place.path("restored").to_str().expect("UTF-8").to_owned();
    done(&["restore", &backup, "--data-dir", &restored, "--newest", &kept]);
    for data in [&data, &restored] {
        for keys in [&old, &new] {
            let report = verified(data, &["--keys", keys, "--earlier", &kept]);
            assert_eq!(report["sound"], true, "{report:#}");
            let ours = log(&report, "localhost/default");
            assert_eq!((&ours["rotations"], &log(&report, "localhost/meta")["rotations"]), (&2.into(), &1.into()));
            let retired = ours["findings"].to_string().contains("are retired: 2 rotations lead from them");
            assert_eq!(retired, keys == &old, "{report:#}");
        }
        assert_eq!(verified(data, &[])["sound"], true);
    }
    let shown = done(&["ledger", "verify", "--data-dir", &data]);
    assert!(shown.contains("2 rotations of its keys, each signed by the old and the new ones"), "{shown}");
    let rows = done(&["ledger", "show", "--limit", "1000", "--data-dir", &data]);
    assert!(rows.contains("key-rotation") && rows.contains("rotation 2 to localhost/default+"), "{rows}");

    // Somebody puts other keys of his own in the place of those in force.
    let logs = Path::new(&restored).join("ledger/localhost");
    for name in ["vkey", "mldsa.pub"] {
        let bytes = std::fs::read(logs.join("default").join(format!("{name}.1"))).expect("reads");
        disk::write_atomic(&disk::OsDisk, &logs.join("default").join(name), &bytes).expect("writes");
    }
    for keys in [&old, &new] {
        let report = verified(&restored, &["--keys", keys]);
        assert_eq!(report["sound"], false);
        let found = log(&report, "localhost/default")["findings"].to_string();
        assert!(found.contains("the log's keys were rotated: rotation/2: "), "{found}");
        assert_eq!(log(&report, "localhost/meta")["sound"], true);
    }
}
