//! Events are found: in the terminal, over the API, as they come, after a kill, and by other people's tools.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::program::{Place, Server, done, eventually, run, text};
use crate::web::request;

fn send(server: &Server, stream: &str, lines: &[Value]) {
    let token = std::fs::read_to_string(server.data.join("admin-token")).expect("a token");
    let body = Value::Array(lines.to_vec());
    let path = format!("/api/dihya/v1/events?stream={stream}");
    let answer = request(&server.address, "POST", &path, Some(token.trim()), Some(&body));
    assert_eq!(answer.status, 202, "{}", answer.body);
}

fn order(n: usize, level: &str) -> Value {
    json!({"message": format!("order {n} of person{n}@example.org"), "level": level, "n": n,
        "service": {"name": if n.is_multiple_of(2) { "shop" } else { "billing" }}})
}

/// Searches until there are so many.
fn found(server: &Server, query: &str, count: usize) -> Vec<Value> {
    eventually(query, || {
        let answer = server.client(&["search", "--limit", "2000", "--format", "json", query]);
        let (said, opening) = (text(&answer.stderr), "the lake is being opened");
        assert!(answer.status.success() || said.contains(opening), "{said}");
        let hits: Vec<Value> =
            text(&answer.stdout).lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect();
        (hits.len() >= count).then_some(hits)
    })
}

fn python() -> std::path::PathBuf {
    #[expect(clippy::disallowed_methods, reason = "where the test's own readers are is said by the environment")]
    let from = |name| std::env::var_os(name).map(std::path::PathBuf::from);
    let cache = from("XDG_CACHE_HOME").or_else(|| from("HOME").map(|home| home.join(".cache"))).unwrap_or_default();
    from("DIHYA_PEERS_VENV").unwrap_or_else(|| cache.join("dihya-peers/venv")).join("bin/python")
}

/// What is taken away is read by others, or said to be none of ours.
fn exports(server: &Server, place: &Place) {
    let file = place.path("events.parquet").to_str().expect("UTF-8").to_owned();
    let export = |more: &[&str]| server.client(&[&["export", "parquet", "--out", &file], more].concat());
    let wrong = export(&["(unclosed"]);
    assert!(!wrong.status.success() && text(&wrong.stderr).contains("column"), "{}", text(&wrong.stderr));
    let taken = export(&["--stream", "sh*", "--from", "1h", "--to", "2999-01-01T00:00:00Z", "service:shop"]);
    assert!(taken.status.success(), "{}", text(&taken.stderr));
    assert_eq!(
        text(&taken.stdout),
        format!("wrote {} KiB into {file}\n", std::fs::metadata(&file).expect("is there").len().div_ceil(1024))
    );
    let bytes = std::fs::read(&file).expect("reads");
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    let again = export(&[]);
    assert_eq!(again.status.code(), Some(2), "nothing is overwritten");
    assert_eq!(std::fs::read(&file).expect("reads"), bytes);
    let count = "import sys, polars; f = polars.read_parquet(sys.argv[1]); print(f.height, *set(f['stream']), *set(f['service']))";
    let python = |code: &str| std::process::Command::new(python()).args(["-c", code, &file]).output();
    if python("import polars").is_ok_and(|output| output.status.success()) {
        let output = python(count).expect("runs");
        assert_eq!(text(&output.stdout), "600 shop shop\n", "{}", text(&output.stderr));
    } else {
        crate::skip::skip("polars is not installed (tests/peers/install)");
    }
}

#[test]
fn events_are_found_at_once_and_each_once_after_a_kill() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let orders: Vec<Value> =
        (0..1_200).map(|n| order(n, if n.is_multiple_of(100) { "error" } else { "info" })).collect();
    send(&server, "shop", &orders);
    let all = found(&server, "stream:shop", 1_200);
    assert_eq!(all.len(), 1_200);
    assert_eq!(all[0]["body"], "order 1199 of [email]", "newest first");
    let errors = found(&server, "service:shop severity>=error -\"order 0 \"", 11);
    assert_eq!(errors.len(), 11);
    let none = server.client(&["search", "person7@example.org"]);
    assert_eq!((text(&none.stdout).as_str(), text(&none.stderr).as_str()), ("", "no event fits\n"));
    let wrong = server.client(&["search", "(unclosed"]);
    assert!(!wrong.status.success() && text(&wrong.stderr).contains("column"), "{}", text(&wrong.stderr));

    let rows = server.client(&["query", "SELECT service, count(*) AS n FROM events GROUP BY service ORDER BY service"]);
    assert_eq!(text(&rows.stdout), "SERVICE  N\nbilling  600\nshop     600\n", "{}", text(&rows.stderr));
    let forbidden = server.client(&["query", "COPY events TO '/tmp/stolen.parquet'"]);
    assert!(!forbidden.status.success() && text(&forbidden.stderr).contains("SELECT"), "{}", text(&forbidden.stderr));
    let admin = std::fs::read_to_string(server.data.join("admin-token")).expect("a token");
    let ask = |path: &str, body: Value| {
        let answer = request(&server.address, "POST", path, Some(admin.trim()), Some(&body));
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str::<Value>(&answer.body).expect("is JSON")
    };
    let steps = ask("/api/dihya/v1/search/histogram", json!({"query": "stream:shop", "steps": 10}));
    let counted: u64 = steps["items"].as_array().expect("steps").iter().filter_map(|step| step["count"].as_u64()).sum();
    assert_eq!((steps["items"].as_array().map(Vec::len), counted), (Some(10), 1_200));
    let values = ask("/api/dihya/v1/search/values", json!({"field": "service"}));
    assert_eq!(values["values"][0]["count"], 600);
    let position = all[600]["position"].as_u64().expect("a position");
    let around = ask("/api/dihya/v1/search/context", json!({"position": position, "before": 2, "after": 1}));
    let bodies: Vec<&str> =
        around["items"].as_array().expect("events").iter().filter_map(|e| e["body"].as_str()).collect();
    assert_eq!(bodies, [595, 597, 599, 601].map(|n| format!("order {n} of [email]")), "of the same service");
    let page = ask("/api/dihya/v1/search", json!({"query": "stream:shop", "limit": 2}));
    let next = ask("/api/dihya/v1/search", json!({"query": "stream:shop", "limit": 2, "cursor": page["next"]}));
    assert_eq!(next["items"][0]["body"], "order 1197 of [email]");

    exports(&server, &place);

    server.kill();
    let server = Server::start(&place, &[]);
    assert_eq!(found(&server, "stream:shop", 1_200).len(), 1_200, "each once");
    let copy = place.path("copy").to_str().expect("UTF-8").to_owned();
    done(&["backup", &copy, "--data-dir", &place.data()]);
    send(&server, "shop", &[order(5_000, "info")]);
    assert_eq!(found(&server, "\"order 5000\"", 1).len(), 1);
    let data = server.data.clone();
    assert_eq!(server.stop(), Some(0));
    let server = Server::start(&place, &[]);
    assert_eq!(found(&server, "stream:shop", 1_201).len(), 1_201, "from files alone");
    assert_eq!(server.stop(), Some(0));
    let other = Place::new();
    done(&["restore", &copy, "--data-dir", &other.data()]);
    let server = Server::start(&other, &[]);
    assert_eq!(found(&server, "stream:shop", 1_200).len(), 1_200, "from a backup");
    assert_eq!(server.stop(), Some(0));
    // Who asked what is in the ledger, without the person that was asked for.
    let shown = run(&["ledger", "show", "--limit", "100000", "--format", "json", "--data-dir", &place.data()]);
    let shown = text(&shown.stdout);
    assert!(shown.contains("severity>=\\\"error\\\"") && !shown.contains("person7@"), "{shown}");
    assert!(shown.contains("/api/dihya/v1/exports") && shown.contains("stream:sh*"), "{shown}");
    assert!(data.join("lake/events/default/_delta_log").exists());
}

#[test]
fn events_are_told_of_as_they_come() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    send(&server, "app", &[json!({"message": "before"})]);
    found(&server, "before", 1);
    let (url, data) = (server.url(), server.data.to_str().expect("UTF-8").to_owned());
    let arguments =
        ["search", "--follow", "--format", "json", "--url", &url, "--data-dir", &data, "stream:app", "NOT noise"];
    let mut follower = crate::program::dihya(&arguments).stdout(Stdio::piped()).spawn().expect("runs");
    let mut lines = BufReader::new(follower.stdout.take().expect("is piped")).lines();
    // Nothing says when the server has begun to follow, so it is told until it is heard.
    let (told, heard) = std::sync::mpsc::sync_channel(64);
    std::thread::spawn(move || {
        while let Some(Ok(line)) = lines.next() {
            if told.send(line).is_err() {
                break;
            }
        }
    });
    let first = eventually("the first event", || {
        send(&server, "app", &[json!({"message": "noise"}), json!({"message": "heard"})]);
        heard.recv_timeout(std::time::Duration::from_secs(2)).ok()
    });
    let first: Value = serde_json::from_str(&first).expect("is JSON");
    assert_eq!((&first["body"], &first["stream"]), (&"heard".into(), &"app".into()));
    follower.kill().expect("is there");
    follower.wait().expect("ends");
    assert_eq!(server.stop(), Some(0));
}

/// A damaged lake once kept the program from starting, and so from paging.
#[test]
fn a_lake_that_cannot_be_opened_keeps_nobody_from_watching() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    send(&server, "app", &[json!({"message": "before"})]);
    found(&server, "before", 1);
    assert_eq!(server.stop(), Some(0));
    let log = place.path("data/lake/events/default/_delta_log");
    let entries: Vec<_> =
        std::fs::read_dir(&log).expect("a log").map(|entry| entry.expect("an entry").path()).collect();
    let whole: Vec<Vec<u8>> = entries.iter().map(|path| std::fs::read(path).expect("reads")).collect();
    let write = |path: &std::path::Path, bytes: &[u8]| {
        #[expect(clippy::disallowed_methods, reason = "a test damages files")]
        std::fs::write(path, bytes).expect("is written");
    };
    entries.iter().for_each(|path| write(path, b"{\"no\": "));

    let mut server = Server::start(&place, &[]);
    server.logged("could not open the lake, trying again");
    let token = server.token();
    let asked = request(&server.address, "POST", "/api/dihya/v1/search", Some(&token), Some(&json!({})));
    let problem: Value = serde_json::from_str(&asked.body).expect("is JSON");
    assert_eq!((asked.status, &problem["retry_after"]), (503, &5.into()), "{problem}");
    assert!(problem["detail"].as_str().expect("a text").contains("could not be opened"), "{problem}");
    let said = server.client(&["query", "SELECT 1"]);
    assert!(text(&said.stderr).contains("the lake could not be opened"), "{}", text(&said.stderr));
    send(&server, "app", &[json!({"message": "meanwhile"})]);
    let unwell = server.get("/api/dihya/v1/status")["unwell"].to_string();
    assert!(unwell.contains("lake: could not open the lake: could not open the table of default"), "{unwell}");
    let metrics = request(&server.address, "GET", "/metrics", Some(&token), None).body;
    assert!(metrics.contains("dihya_lake_open{tenant=\"default\"} 0"), "{metrics}");
    let incident = |state: &str| {
        let incidents = server.get(&format!("/api/dihya/v1/incidents?state={state}"));
        let items = incidents["items"].as_array().expect("incidents").clone();
        items.iter().any(|item| item["key"].to_string().contains("DihyaUnwell")).then_some(())
    };
    eventually("people are told", || incident("open"));

    entries.iter().zip(&whole).for_each(|(path, bytes)| write(path, bytes));
    eventually("the lake", || server.get("/api/dihya/v1/status").get("unwell").is_none().then_some(()));
    assert_eq!(found(&server, "stream:app", 2).len(), 2, "each once");
    eventually("people are told that it is over", || incident("resolved"));
    assert_eq!(server.stop(), Some(0));
}

/// A saved search is watched as anything else is: thresholds, incidents and who is told come with it.
#[test]
fn a_search_that_finds_too_much_opens_an_incident_and_its_end_resolves_it() {
    let place = Place::new();
    let (service, hook) = (crate::web::Service::start(), crate::web::Service::start());
    let checks = "checks:\n  failures:\n    kind: search\n    name: Failed logins\n    \
                  query: 'service:auth severity>=error'\n    window: 4s\n    interval: 1s\n    conditions: count < 3\n";
    let config = crate::journey::config(&service, &hook, "").replace("checks:\n", checks);
    let file = place.put("dihya.yaml", &config);
    let server = Server::start(&place, &["--config", &file]);
    let state = |wanted: &str| {
        let check = server.get("/api/dihya/v1/checks/failures");
        (check["state"] == wanted).then_some(check)
    };
    eventually("the first count", || state("up"));
    let bulk = |lines: usize| {
        let failed = json!({"message": "login failed", "log.level": "error", "service": {"name": "auth"}});
        let body: String = (0..lines).map(|_| format!("{{\"create\":{{\"_index\":\"auth\"}}}}\n{failed}\n")).collect();
        let token = server.token();
        let answer = crate::web::request_raw(&server.address, "/_bulk", &token, "application/x-ndjson", &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.body.contains("\"errors\":false"), "{}", answer.body);
    };
    bulk(2);
    found(&server, "service:auth severity>=error", 2);
    bulk(5);
    let check = eventually("too many", || state("down"));
    assert!(check["reason"].as_str().expect("a reason").contains("count < 3"), "{check}");
    let firing = hook.post();
    assert_eq!((&firing["status"], &firing["alerts"][0]["labels"]["check"]), (&"firing".into(), &"failures".into()));
    eventually("the window passes", || state("up"));
    assert_eq!(hook.post()["status"], "resolved");
    let incidents = server.get("/api/dihya/v1/incidents?state=resolved");
    assert_eq!(incidents["items"].as_array().map(Vec::len), Some(1), "{incidents}");
    // Without a server nobody can count.
    let alone = run(&["check", "--config", &file, "--data-dir", &place.data(), "failures"]);
    assert!(text(&alone.stderr).contains("running server only"), "{}", text(&alone.stderr));
    assert_eq!(server.stop(), Some(0));
}

/// Nobody need store an identifier to find a person by it: not the lake, and not the record of who asked.
#[test]
fn a_person_is_found_by_an_identifier_that_is_stored_nowhere() {
    let place = Place::new();
    let policy = "privacy:\n  streams:\n    shop:\n      fields: {user.id: subject}\n";
    let file = place.put("dihya.yaml", policy);
    let server = Server::start(&place, &["--config", &file]);
    let event = |user: &str, n: u64| json!({"message": format!("order {n}"), "user": {"id": user}});
    send(&server, "shop", &[event("zorglub42", 1), event("another7", 2), event("zorglub42", 3)]);
    let hits = found(&server, "user.id:zorglub42", 2);
    assert_eq!(
        hits.iter().map(|hit| hit["body"].as_str().expect("a text")).collect::<Vec<_>>(),
        ["order 3", "order 1"]
    );
    assert!(found(&server, "stream:shop -user.id:zorglub42", 1).len() == 1);
    let nobody = server.client(&["search", "user_id:nobody11"]);
    assert_eq!(text(&nobody.stderr), "no event fits\n");
    // In SQL too, however it is written, and a name that is typed alone is a word like any other.
    for (condition, count) in [
        ("user_id = 'zorglub42'", 2),
        ("user_id <> 'zorglub42'", 1),
        ("'zorglub42' = attributes['user.id'] OR user_id IN ('zorglub42', 'nobody11')", 2),
        ("body LIKE '%Zorglubov%' OR user_id = 'nobody11'", 0),
    ] {
        let asked = format!("SELECT count(*) AS n FROM events WHERE stream = 'shop' AND ({condition})");
        let rows = server.client(&["query", &asked]);
        assert_eq!(text(&rows.stdout), format!("N\n{count}\n"), "{condition}: {}", text(&rows.stderr));
    }
    for words in ["Zorglubov", "stream:shop -Zorglubov*", "service:Zorglubov"] {
        assert!(server.client(&["search", words]).status.success());
    }
    assert_eq!(server.stop(), Some(0));
    let shown =
        text(&run(&["ledger", "show", "--limit", "10000", "--format", "json", "--data-dir", &place.data()]).stdout);
    assert!(shown.contains("user.id:\\\"P") && shown.contains("[identifier]"), "{shown}");
    let sql = "FROM events WHERE stream = 'shop' AND (user_id IN ('P";
    assert!(shown.contains(sql) && shown.contains("body LIKE '[text]'"), "{shown}");
    let mut looked = 0;
    let mut dirs = vec![place.path("data")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("reads") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).expect("reads");
            for planted in ["zorglub42", "nobody11", "Zorglubov"] {
                assert!(!bytes.windows(planted.len()).any(|at| at == planted.as_bytes()), "{planted} in {path:?}");
            }
            looked += 1;
        }
    }
    assert!(looked > 5 && !shown.to_lowercase().contains("zorglub") && !shown.contains("nobody11"));
    // What was typed is in boxes of the records, which open with her key, or with that of the hour.
    let verified =
        ["ledger", "verify", "--keystore", "--format", "json", "--config", &file, "--data-dir", &place.data()];
    let report: Value = serde_json::from_str(&text(&run(&verified).stdout)).expect("is JSON");
    let logs = report["logs"].as_array().expect("logs");
    let ours = logs.iter().find(|log| log["origin"] == "localhost/default").expect("is there");
    assert_eq!(
        (&report["sound"], &ours["boxes_opened"], &ours["boxes_erased"]),
        (&true.into(), &ours["boxes"], &0.into())
    );
    assert!(ours["boxes"].as_u64().is_some_and(|boxes| boxes >= 8), "{ours}");
}
