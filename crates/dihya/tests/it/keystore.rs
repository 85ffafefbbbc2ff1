//! The keystore of the running program: another passphrase, with and without a server; boxes opened by who verifies; keys that
//! come to their end.

use std::path::Path;
use std::sync::Arc;

use disk::{OsDisk, OsRng};
use model::{StepClock, Tenant, Timestamp};
use privacy::Keystore;
use privacy::keystore::{Class, Means, Want};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::intake::{agent_token, events};
use crate::program::{Place, Server, done, eventually, run, text};

const FIELDS: &str = "privacy:\n  streams:\n    shop:\n      fields:\n        user.id: subject\n        mail: seal\n";

fn config(place: &Place, passphrases: &str) -> String {
    place.put("dihya.yaml", &format!("{FIELDS}  keystore: {{{passphrases}}}\n"))
}

/// Sends an event and returns under which name its person is kept.
fn send(server: &Server, place: &Place, name: &str) -> Value {
    let token = agent_token(server, name);
    let body = json!({"user": {"id": "customer-4711"}, "mail": "planted.person@example.org"});
    let path = "/api/dihya/v1/events?stream=shop";
    let answer = crate::web::request(&server.address, "POST", path, Some(&token), Some(&body));
    assert_eq!(answer.status, 202, "{}", answer.body);
    events(place).last().expect("one is kept")["attributes"]["user"]["id"].clone()
}

/// What a verification with the keystore says of the boxes of the default tenant.
fn boxes(place: &Place, more: &[&str]) -> Value {
    let output =
        run(&[&["ledger", "verify", "--keystore", "--format", "json", "--data-dir", &place.data()], more].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    assert_eq!(report["sound"], true, "{report:#}");
    let log = report["logs"].as_array().expect("logs").iter().find(|log| log["origin"] == "localhost/default");
    let log = log.expect("is there");
    json!([log["boxes"], log["boxes_opened"], log["boxes_erased"]])
}

#[test]
fn the_passphrase_is_changed_with_and_without_a_server_and_persons_stay_who_they_are() {
    let place = Place::new();
    let (one, two) = (place.put("one", "correct horse\n"), place.put("two", "old mule\r\n"));
    let three = place.put("three", "new donkey");
    let file = config(&place, &format!("passphrase: \"${{file:{one}}}\""));
    let data = place.data();
    let change =
        |more: &[&str]| run(&[&["keystore", "passphrase", "--config", &file, "--data-dir", &data], more].concat());
    let none = change(&["--new", &two]);
    assert_eq!(none.status.code(), Some(2), "{}", text(&none.stderr));

    let server = Server::start(&place, &["--config", &file]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).expect("Linux");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("is a limit");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "no dump is written");
    let person = send(&server, &place, "first");
    let held = change(&["--new", &two]);
    assert!(held.status.code() == Some(1) && text(&held.stderr).contains("stop it first"), "{}", text(&held.stderr));
    assert_eq!(server.stop(), Some(0));

    assert!(text(&change(&[]).stdout).contains("default: is already under the new passphrase"));
    let changed = change(&["--new", &two]);
    assert_eq!(text(&changed.stdout), "default: put under the new passphrase\n", "{}", text(&changed.stderr));
    assert!(text(&changed.stderr).contains("put the new passphrase into the configuration"));
    assert!(text(&change(&["--new", &two]).stdout).contains("is already under"), "as after it was cut off");
    let old = run(&["serve", "--listen", "127.0.0.1:0", "--config", &file, "--data-dir", &data]);
    assert!(text(&old.stderr).contains("could not open the keystore of default"), "{}", text(&old.stderr));
    let closed = run(&["ledger", "verify", "--keystore", "--config", &file, "--data-dir", &data]);
    assert!(
        closed.status.code() == Some(1) && text(&closed.stderr).contains("--config FILE"),
        "{}",
        text(&closed.stderr)
    );
    let lost = change(&["--new", &three]);
    assert!(text(&lost.stderr).contains("privacy.keystore.passphrase"), "{}", text(&lost.stderr));

    config(&place, &format!("passphrase: \"${{file:{two}}}\""));
    let mut server = Server::start(&place, &["--config", &file]);
    config(&place, &format!("passphrase: \"${{file:{three}}}\""));
    server.signal(Signal::HUP);
    let refused = server.logged("refused the configuration, the old one stays in force");
    assert_eq!(refused["field"], "privacy", "the one before is not named: {refused:#}");
    config(&place, &format!("passphrase: \"${{file:{three}}}\", previous: \"${{file:{two}}}\""));
    server.signal(Signal::HUP);
    server.logged("put a keystore under another passphrase");
    server.logged("configuration in force");
    assert_eq!(send(&server, &place, "second"), person, "the same keys");
    // Beside the server, as soon as the leaf is signed.
    eventually("the second box", || (boxes(&place, &["--config", &file]) == json!([2, 2, 0])).then_some(()));
    server.kill();

    // What a crash between two tenants leaves: this one is still under the passphrase before.
    config(&place, &format!("passphrase: \"${{file:{one}}}\", previous: \"${{file:{three}}}\""));
    let server = Server::start(&place, &["--config", &file]);
    server.said("put a keystore under another passphrase");
    assert_eq!(server.stop(), Some(0));
    config(&place, &format!("passphrase: \"${{file:{one}}}\""));
    let random = change(&["--random"]);
    assert_eq!(text(&random.stdout), "default: put under a random key in a file\n", "{}", text(&random.stderr));
    assert!(Path::new(&data).join("keystore/default/kek_random").is_file());
    let file = place.put("dihya.yaml", FIELDS);
    let server = Server::start(&place, &["--config", &file]);
    assert_eq!(send(&server, &place, "third"), person);
    assert_eq!(server.stop(), Some(0));
    assert_eq!(boxes(&place, &[]), json!([3, 3, 0]));
    let shown = done(&["ledger", "verify", "--keystore", "--data-dir", &data]);
    assert!(shown.contains("3 boxes, 3 opened with the keystore, 0 with a key that is gone"), "{shown}");
    let unsaid = run(&["keystore", "passphrase", "--data-dir", &data]);
    assert!(unsaid.status.code() == Some(2) && text(&unsaid.stderr).contains("--random"), "{}", text(&unsaid.stderr));
    let acts = done(&["ledger", "show", "--limit", "10000", "--data-dir", &data]);
    assert_eq!(acts.matches("keystore.passphrase").count(), 3, "{acts}");
    assert!(!acts.contains("horse") && !acts.contains("donkey"));
    std::fs::remove_dir_all(Path::new(&data).join("keystore/default")).expect("removes");
    let gone = done(&["ledger", "verify", "--keystore", "--data-dir", &data]);
    assert!(gone.contains("there is no keystore of it here, so its boxes were not opened"), "{gone}");
}

#[test]
fn what_is_no_passphrase_is_refused_before_anything_is_opened() {
    let place = Place::new();
    for (unusable, why) in [("", "is empty"), ("\n", "is empty"), (&"x".repeat(5_000), "is longer than 4 KiB")] {
        let file = place.put("unusable", unusable);
        let refused = run(&["keystore", "passphrase", "--new", &file, "--data-dir", &place.data()]);
        assert!(refused.status.code() == Some(2) && text(&refused.stderr).contains(why), "{}", text(&refused.stderr));
    }
    let missing = run(&["keystore", "passphrase", "--new", "/none", "--data-dir", &place.data()]);
    assert!(text(&missing.stderr).contains("could not read the new passphrase"), "{}", text(&missing.stderr));
    let none = run(&["keystore", "passphrase", "--random", "--data-dir", &place.data()]);
    assert!(text(&none.stderr).contains("there is no keystore in"), "{}", text(&none.stderr));
}

#[test]
fn keys_whose_class_has_ended_are_destroyed_while_the_server_runs() {
    let place = Place::new();
    let dir = place.path("data").join("keystore/default");
    let clock = StepClock::new(Timestamp::from_second(1_600_000_000).expect("in range"));
    let means = Means { disk: Arc::new(OsDisk), rng: Arc::new(OsRng), clock: Arc::new(clock) };
    let (keystore, _) = Keystore::open(means.clone(), &dir, &Tenant::default(), None).expect("makes");
    let want = |class| Want { class: Class(class), tags: vec![keystore.tag("username", "ana")] };
    keystore.mint(&[want(0), want(1)]).expect("mints");
    keystore.close();
    let classes = "privacy:\n  classes: {short: {number: 1, keep: 30d}}\n  streams:\n    s: {class: short, fields: {u: subject}}\n";
    let mut server = Server::start(&place, &["--config", &place.put("dihya.yaml", classes)]);
    let gone = server.logged("destroyed keys whose class had ended");
    assert_eq!((&gone["keys"], &gone["tags"]), (&1.into(), &1.into()), "{gone:#}");
    assert_eq!(server.stop(), Some(0));
    let acts = done(&["ledger", "show", "--limit", "10000", "--data-dir", &place.data()]);
    assert!(acts.contains("keystore.expire") && acts.contains("keys 1, tags 1"), "{acts}");
    let (again, _) = Keystore::open(means, &dir, &Tenant::default(), None).expect("opens");
    assert!(again.find(&want(0)).is_some() && again.find(&want(1)).is_none());
}
