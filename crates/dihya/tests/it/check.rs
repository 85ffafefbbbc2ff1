//! `dihya check`: for scripts and CI.

use serde_json::Value;

use crate::program::{Place, dihya, run, text};
use crate::web::Service;

#[test]
fn the_exit_code_and_the_formats_follow_the_worst_state() {
    let place = Place::new();
    let (good, bad) = (Service::start(), Service::start());
    bad.answer(503);
    let config = place.put(
        "dihya.yaml",
        &format!(
            "checks:\n  shop:\n    kind: http\n    name: The shop\n    url: {}\n    conditions: ['status == 200', \
             'json.status == \"up\"']\n  pay:\n    kind: http\n    url: {}\n    conditions: status == 200\n",
            good.url(),
            bad.url()
        ),
    );
    let check = |args: &[&str]| run(&[&["check", "--config", &config], args].concat());

    let all = check(&["--format", "json"]);
    assert_eq!(all.status.code(), Some(2), "{}", text(&all.stderr));
    let report: Value = serde_json::from_slice(&all.stdout).expect("is JSON");
    assert_eq!(report["overall"], "down");
    let services = report["services"].as_array().expect("services");
    assert_eq!(services.len(), 2, "{report:#}");
    // The one schema that the API has too: nothing of how the program works inside.
    let keys = |json: &Value| json.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&report), ["overall", "checked_at", "services"]);
    let schema = ["id", "name", "kind", "state", "reason", "since", "checked_at", "conditions", "timings_ms"];
    assert_eq!(keys(&services[0]), schema);
    assert_eq!((&services[0]["id"], &services[0]["state"]), (&"pay".into(), &"down".into()));
    assert_eq!(services[0]["conditions"][0]["ok"], false);
    assert!(services[0]["conditions"][0]["actual"].as_str().expect("said").contains("503"), "{report:#}");
    assert!(services[1]["timings_ms"]["total"].is_number() && services[1]["timings_ms"].get("tls").is_none());

    let one = check(&["shop"]);
    assert_eq!(one.status.code(), Some(0), "{}", text(&one.stdout));
    assert!(text(&one.stdout).contains("The shop"));

    let junit = text(&check(&["--format", "junit"]).stdout);
    assert!(junit.contains("tests=\"2\" failures=\"1\" errors=\"0\"") && junit.contains("<failure"), "{junit}");

    let unknown = check(&["shpo"]);
    assert_eq!(unknown.status.code(), Some(3));
    assert!(text(&unknown.stderr).contains("did you mean shop?"), "{}", text(&unknown.stderr));
}

#[test]
fn a_bad_configuration_names_every_problem_and_runs_nothing() {
    let place = Place::new();
    let config = place.put(
        "dihya.yaml",
        "serverr: {}\nchecks:\n  web:\n    kind: http\n    url: htp://example.org\n    intervall: 5s\nhooks: {}\n\
         alerting:\n  route: {receiver: ops, group_wait: soon}\n  receivers:\n    - name: opss\n",
    );
    for (args, code) in [(vec!["config", "check"], 2), (vec!["check", "--config"], 3), (vec!["serve", "--config"], 2)] {
        let output = run(&[&args[..], &[&config]].concat());
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        let said = text(&output.stderr);
        for expected in [
            "dihya.yaml:1:1: error: serverr: unknown key",
            "help: did you mean server?",
            "dihya.yaml:5:10: error: checks.web.url: expected a URL",
            "dihya.yaml:6:5: error: checks.web.intervall: unknown key",
            "    intervall: 5s",
            "dihya.yaml:7:1: error: hooks: hooks is not supported yet",
            "alerting.route.receiver",
            "alerting.route.group_wait",
        ] {
            assert!(said.contains(expected), "{args:?}: {expected:?} in\n{said}");
        }
    }
    assert!(!place.path("dihya-data").exists());
}

#[test]
fn secrets_are_references_and_never_shown() {
    let place = Place::new();
    let open = place.put(
        "open.yaml",
        "channels:\n  hook:\n    kind: slack\n    url: https://hooks.example/T0/s3cr3t-in-the-open\n",
    );
    let output = run(&["config", "check", &open]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("${file:PATH} or ${env:NAME}") && !said.contains("s3cr3t"), "{said}");

    place.put("hook.txt", "https://hooks.example/T0/s3cr3t\n");
    let good = place.put("good.yaml", "channels:\n  hook:\n    kind: slack\n    url: ${file:hook.txt}\n");
    assert_eq!(run(&["config", "check", &good]).status.code(), Some(0));
    let built_in = run(&["config", "check"]);
    assert!(text(&built_in.stdout).contains("the built-in configuration is good"), "{}", text(&built_in.stderr));
    let schema: Value = serde_json::from_slice(&run(&["config", "schema"]).stdout).expect("is JSON");
    assert_eq!(schema["title"], "dihya.yaml");
    assert!(text(&run(&["config", "schema", "--markdown"]).stdout).starts_with("# Configuration"));
    let missing = place.put("missing.yaml", "channels:\n  hook:\n    kind: slack\n    url: ${file:none.txt}\n");
    let output = run(&["config", "check", &missing]);
    assert!(text(&output.stderr).contains("cannot read the file none.txt: there is no such file"));
}

/// Beside a file that nobody named, `config check` called the built-in configuration good and was believed to mean it.
#[test]
fn a_file_that_is_not_read_is_not_called_good() {
    let place = Place::new();
    place.put("dihya.yaml", "broken: [\n");
    let output = dihya(&["config", "check"]).current_dir(place.path("")).output().expect("runs");
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("the built-in configuration is good"), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("dihya.yaml in this directory was not read"), "{}", text(&output.stderr));
}

#[test]
fn what_keeps_a_server_from_its_start_is_found_before_anything_is_made() {
    let place = Place::new();
    let file = place.put("dihya.yaml", "server: {tls: {cert_file: none.pem, key_file: none.pem}}\n");
    let data = place.data();
    for (args, said) in [
        (&["serve", "--listen", "8970", "--data-dir", &data][..], "expected HOST:PORT"),
        (&["serve", "--config", &file, "--data-dir", &data], "server.tls.cert_file: cannot read the file"),
        (&["config", "check", &file], "server.tls.key_file: cannot read the file: there is no such file"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(said), "{args:?}: {}", text(&output.stderr));
    }
    assert!(!place.path("data").exists());
}
