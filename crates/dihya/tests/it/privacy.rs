//! `dihya privacy` as an auditor and a script use it.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use crate::program::{Place, dihya, done, run, text};

fn explain(args: &[&str], input: &[u8]) -> String {
    let mut command = dihya(&[&["privacy", "explain"], args].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary runs");
    child.stdin.take().expect("is piped").write_all(input).expect("is read");
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn each_line_is_explained_in_code_points() {
    let out = explain(&["--json"], "é ana@example.org\r\n\nM. Dupont, 06 12 34 56 78\n".as_bytes());
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect();
    assert_eq!(lines.len(), 3);
    let span = |line: usize, i: usize| {
        let span = &lines[line]["spans"][i];
        (span["start"].as_u64(), span["end"].as_u64(), span["type"].as_str(), span["action"].as_str())
    };
    assert_eq!(span(0, 0), (Some(2), Some(17), Some("EMAIL"), Some("token")));
    assert_eq!(span(2, 0), (Some(3), Some(9), Some("PERSON"), Some("token")));
    assert_eq!(span(2, 1), (Some(11), Some(25), Some("PHONE"), Some("token")));
    assert_eq!(lines[2]["cleared"], "M. [person], [phone]");
    assert_eq!(lines[1]["spans"], Value::Array(vec![]));
    let place = Place::new();
    let config = place.put("d.yaml", "privacy: {keep: [ana@example.org]}\n");
    let out = explain(&["--config", &config], b"\xFF ana@example.org");
    assert!(out.contains("keep EMAIL"), "{out}");
}

#[test]
fn files_are_scanned_and_policies_tested() {
    let place = Place::new();
    let log = place.put("app.log", "call 06 12 34 56 78\nnothing here\n");
    let output = run(&["privacy", "scan", "--format", "json", &log, "/nonexistent.log"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("is JSON");
    assert_eq!((&report["lines"], &report["types"][0]["type"]), (&Value::from(2), &Value::from("PHONE")));
    assert!(text(&output.stderr).contains("could not read /nonexistent.log"));
    let clean = place.put("clean.log", "nothing here\n");
    assert!(done(&["privacy", "scan", &clean]).contains("0 of 1 lines"));
    let config = place.put("d.yaml", "privacy: {streams: {s: {fields: {user.id: subject self, b: keep}}}}\n");
    let cases = place.put("c.yaml", "cases: [{stream: s, input: {a: 1}, expected: {a: 2}}]\n");
    let refused = run(&["privacy", "test", "--config", &config, &cases]);
    assert_eq!(refused.status.code(), Some(2));
    let told = text(&refused.stderr);
    assert!(told.contains(":1:") && told.contains("its own subject") && told.contains("without a reason"), "{told}");
    assert_eq!(run(&["privacy", "test", &cases]).status.code(), Some(1));
    assert_eq!(run(&["privacy", "test", "/nonexistent.yaml"]).status.code(), Some(2));
}
