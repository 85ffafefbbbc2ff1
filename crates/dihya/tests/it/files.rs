//! Files of logs that Dihya follows itself, through rotation and kills: each line once.

use std::io::Write as _;

use serde_json::Value;

use crate::intake::{assert_nothing_planted_lies_in, events};
use crate::program::{Place, Server, eventually, run, text, verify};

fn append(place: &Place, name: &str, text: &str) {
    let path = place.path(name);
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).expect("opens");
    file.write_all(text.as_bytes()).expect("writes");
}

fn lines(from: usize, to: usize) -> String {
    (from..to)
        .map(|n| format!("2026-11-28 10:00:00 {n} login of planted.person@example.org from 203.0.113.77\n"))
        .collect()
}

fn arrived(place: &Place, count: usize) -> Vec<Value> {
    eventually("the lines", || Some(events(place)).filter(|kept| kept.len() >= count))
}

#[test]
fn each_line_comes_once_through_kills_and_rotation() {
    let place = Place::new();
    let pattern = place.path("app.log*").display().to_string();
    let file = place.put(
        "dihya.yaml",
        &format!("sources: {{files: [{{paths: \"{pattern}\", stream: app, multiline: {{begins: '^2026'}}}}]}}\n"),
    );
    append(&place, "app.log", &lines(0, 1_000));
    let mut written = 1_000;
    for round in 0..3 {
        let server = Server::start(&place, &["--config", &file]);
        // The last line may go on, and is waited for.
        arrived(&place, written);
        append(&place, "app.log", &lines(written, written + 300));
        written += 300;
        if round == 1 {
            std::fs::OpenOptions::new().append(true).open(place.path("app.log")).expect("is there");
            #[expect(clippy::disallowed_methods, reason = "what logrotate does")]
            std::fs::rename(place.path("app.log"), place.path("app.log.1")).expect("renames");
            append(&place, "app.log.1", &lines(written, written + 1));
            append(&place, "app.log", &lines(written + 1, written + 50));
            written += 50;
        }
        arrived(&place, written - 10);
        server.kill();
    }
    let server = Server::start(&place, &["--config", &file]);
    let kept = arrived(&place, written);
    let number = |event: &Value| event["body"].as_str()?.split(' ').nth(2)?.parse::<usize>().ok();
    let mut numbers: Vec<usize> = kept.iter().filter_map(number).collect();
    numbers.sort_unstable();
    assert!(numbers == (0..written).collect::<Vec<_>>(), "{} of {written}", numbers.len());
    let first = &kept[0];
    assert!(first["body"].as_str().is_some_and(|body| body.ends_with("0 login of [email] from [ip]")), "{first:#}");
    assert_eq!(first["attributes"]["log.file.next"], 76, "{first:#}");
    assert_eq!(first["attributes"]["log.file.id"].as_str().map(str::len), Some(10), "{first:#}");
    let data = server.data.clone();
    assert_eq!(server.stop(), Some(0));
    assert_nothing_planted_lies_in(&data);
    assert_eq!(verify(&data)["sound"], true);
}

#[test]
fn sources_that_cannot_be_are_problems_of_the_file() {
    let place = Place::new();
    let bad = place.put(
        "bad.yaml",
        "sources:\n  files:\n    - {paths: /var/log/a, stream: app-2026.11.28}\n    - {paths: /var/log/a, stream: app, tenant: nobody}\n    \
         - {paths: /var/log/a, stream: app, multiline: {}}\n",
    );
    let checked = run(&["config", "check", &bad]);
    let told = text(&checked.stderr) + &text(&checked.stdout);
    assert_eq!(checked.status.code(), Some(2), "{told}");
    for expected in [
        "sources.files.0.stream: cannot be the name of a stream",
        "sources.files.1.tenant: there is no tenant nobody",
        "sources.files.2.multiline: expected either begins or goes_on",
    ] {
        assert!(told.contains(expected), "{told}");
    }
    let file = place.put("dihya.yaml", "sources: {files: [{paths: /nonexistent/*, stream: app}]}\n");
    let mut server = Server::start(&place, &["--config", &file]);
    place.put("dihya.yaml", "sources: {files: [{paths: /nonexistent/*.log, stream: app}]}\n");
    let refused = server.logged("refused the configuration, the old one stays in force");
    assert_eq!(refused["field"], "sources", "{refused:#}");
}
