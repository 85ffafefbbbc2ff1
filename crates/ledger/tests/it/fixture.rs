//! A log of each released format stays readable for ever: a whole one, with its vault, checked in.

use std::collections::BTreeMap;

use expect_test::expect_file;
use ledger::verify::{Options, verify};
use serde_json::{Value, json};

use crate::sample::{Kept, Kepts, Sample};

/// A log that changed its keys twice, and went on.
#[test]
fn the_rotated_log_of_version_1_is_written_and_read_as_it_was() {
    let mut sample = Sample::new("localhost/default", 12);
    for number in 1..=2 {
        sample.fill(2, 0);
        sample.rotate(number);
    }
    sample.fill(1, 0);
    sample.commit();
    let files = |sample: &Sample| {
        sample.files.iter().map(|(path, bytes)| (path.clone(), hex(bytes))).collect::<BTreeMap<_, _>>()
    };
    let shown = json!({
        "origin": "localhost/default", "size": sample.writer.size().to_string(),
        "root": hex(&sample.writer.root()), "opened": 0, "rotations": 2,
    });
    let case = json!({"files": files(&sample), "vault": [], "shown": shown});
    let mut refused = Vec::new();
    for (why, from, to) in [
        ("the checkpoint of the second rotation in the place of the first", "rotation/2", "rotation/1"),
        ("keys in force in the place of those that were retired", "vkey", "vkey.1"),
        ("the checkpoint in force, by the new keys alone", "checkpoint", "rotation/2"),
    ] {
        let mut lie = files(&sample);
        let bytes = lie[from].clone();
        lie.insert(to.to_owned(), bytes);
        refused.push(json!({"why": why, "files": lie, "vault": []}));
    }
    let all = json!({"format": "log", "cases": [case], "refused": refused});
    let text = serde_json::to_string_pretty(&all).expect("writes");
    let file = expect_file!["../../../../testdata/format/v1/rotation.json"];
    file.assert_eq(&format!("{text}\n"));

    let stored: Value = serde_json::from_str(&file.data()).expect("is JSON");
    let read = |case: &Value| {
        let files = case["files"].as_object().expect("is one").iter().map(|(path, data)| (path.clone(), unhex(data)));
        verify(&files.collect::<BTreeMap<_, _>>(), &Options::default())
    };
    let report = read(&stored["cases"][0]);
    assert!(report.is_sound() && report.rotations == 2, "{:?}", report.findings);
    for lie in stored["refused"].as_array().expect("is one") {
        assert!(!read(lie).is_sound(), "{}", lie["why"]);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &Value) -> Vec<u8> {
    let digits = text.as_str().expect("is text").as_bytes();
    let byte =
        |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("is ASCII"), 16).expect("is hexadecimal");
    digits.chunks(2).map(byte).collect()
}

#[test]
fn the_log_of_version_1_is_written_and_read_as_it_was() {
    let mut sample = Sample::new("localhost/default", 11);
    sample.fill(12, 3);
    sample.vault.records[3].payload = None;
    let retention = ledger::own::Retention { until_index: 5, until_position: 5, policy: "age" };
    sample.record(false, model::Kind::Retention.number(), &retention.fields(), &[]);
    sample.commit();
    let files: BTreeMap<_, _> = sample.files.iter().map(|(path, bytes)| (path, hex(bytes))).collect();
    let vault: Vec<_> = sample
        .vault
        .records
        .iter()
        .map(|kept| json!({"entry": hex(&kept.entry), "payload": kept.payload.as_deref().map(hex), "seed": hex(&kept.seed)}))
        .collect();
    let shown = json!({
        "origin": "localhost/default", "size": sample.writer.size().to_string(),
        "root": hex(&sample.writer.root()), "opened": 11 * 2 + 3 * 2,
    });
    let case = json!({"files": files, "vault": vault, "shown": shown});
    let text = serde_json::to_string_pretty(&json!({"format": "log", "cases": [case]})).expect("writes");
    let file = expect_file!["../../../../testdata/format/v1/log.json"];
    file.assert_eq(&format!("{text}\n"));

    let stored: Value = serde_json::from_str(&file.data()).expect("is JSON");
    let case = &stored["cases"][0];
    let files = case["files"].as_object().expect("is one").iter().map(|(path, data)| (path.clone(), unhex(data)));
    let kept = |record: &Value| Kept {
        entry: unhex(&record["entry"]),
        payload: record["payload"].as_str().map(|_| unhex(&record["payload"])),
        seed: unhex(&record["seed"]).try_into().expect("are 32"),
    };
    let vault = Kepts { records: case["vault"].as_array().expect("is one").iter().map(kept).collect(), fails: false };
    let report = verify(&files.collect::<BTreeMap<_, _>>(), &Options { vault: Some(&vault), ..Options::default() });
    assert!(report.is_sound(), "{:?}", report.findings);
    assert_eq!((report.opened, report.covered), (28, 2));
}
