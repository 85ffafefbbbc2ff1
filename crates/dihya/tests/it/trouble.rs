//! Disks that are full or read-only, and the ways of stopping.

use serde_json::json;

use crate::program::{Place, Server, dihya, eventually, run, text, verify};
use crate::web::{Service, request};

#[test]
fn a_directory_that_cannot_be_written_is_said() {
    let output = run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", "/proc/dihya-cannot-be-here"]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("could not make the data directory"), "{error}");
}

/// A limit on the size of files is the nearest thing to a full disk that needs no privilege.
#[test]
fn a_disk_that_takes_no_more_ends_the_process_or_refuses_and_loses_nothing() {
    let place = Place::new();
    // The directory is made first, with all that is preallocated.
    let server = Server::start(&place, &[]);
    assert_eq!(server.stop(), Some(0));

    let mut command = std::process::Command::new("prlimit");
    command.args(["--fsize=1048576:1048576", "--"]).arg(env!("CARGO_BIN_EXE_dihya")).env_clear().env("NO_COLOR", "1");
    if std::process::Command::new("prlimit").arg("--version").output().is_err() {
        println!("skipped: prlimit is not installed");
        return;
    }
    let output = command
        .args([
            "alert",
            "send",
            "does it fit?",
            "--channel",
            "log",
            "--data-dir",
            &place.data(),
            "--url",
            "http://127.0.0.1:9",
        ])
        .output()
        .expect("prlimit runs");
    // Whatever happened, it was said and the log is whole.
    println!("{:?} {} {}", output.status, text(&output.stdout), text(&output.stderr));
    assert_eq!(verify(&place.path("data"))["sound"], true);
}

/// The kernel is made to say EIO from the n-th sync on, as a dying disk would.
#[test]
fn a_disk_that_fails_gives_a_last_notice_and_ends_the_process() {
    if std::process::Command::new("strace").arg("--version").output().is_err() {
        println!("skipped: strace is not installed");
        return;
    }
    let place = Place::new();
    let (service, hook) = (Service::start(), Service::start());
    let file = place.put("dihya.yaml", &crate::journey::config(&service, &hook, ""));
    // A first life makes all files, so that the second one syncs only to record.
    let server = Server::start(&place, &["--config", &file]);
    assert_eq!(server.stop(), Some(0));

    let mut command = std::process::Command::new("strace");
    command.args(["-f", "-q", "-o", "/dev/null", "-e", "trace=fdatasync,fsync"]);
    command.args(["-e", "inject=fdatasync,fsync:error=EIO:when=80+", env!("CARGO_BIN_EXE_dihya")]);
    command.env_clear().env("NO_COLOR", "1").env("PATH", "/usr/bin:/bin");
    let mut server = Server::start_as(command, &place, &["--config", &file]);
    let (address, token) = (server.address.clone(), server.token());
    let mut acknowledged = Vec::new();
    for number in 0..1_000 {
        let name = format!("n{number}");
        let body = json!({"message": name, "level": "info", "labels": {"alertname": name}});
        match request(&address, "POST", "/api/dihya/v1/alerts", Some(&token), Some(&body)).status {
            202 => acknowledged.push(name),
            0 => break,
            status => assert_eq!(status, 503),
        }
    }
    assert_eq!(server.ended(), Some(1));
    let posts = eventually("the last notice", || {
        let posts: Vec<String> = hook.posts().iter().map(ToString::to_string).collect();
        posts.iter().any(|post| post.contains("Dihya stops")).then_some(posts)
    });
    println!("{} acknowledged, {} posts", acknowledged.len(), posts.len());

    // The disk is well again: everything acknowledged is there, and the log is sound.
    let server = Server::start(&place, &["--config", &file]);
    assert_eq!(server.stop(), Some(0));
    let rows = run(&["ledger", "show", "--limit", "100000", "--format", "json", "--data-dir", &place.data()]);
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&rows.stdout).expect("is JSON");
    for name in &acknowledged {
        assert!(rows.iter().any(|row| row["body"]["labels"]["alertname"] == **name), "{name} is lost");
    }
    assert_eq!(verify(&place.path("data"))["sound"], true);
}

#[test]
fn a_second_signal_ends_it_at_once_and_the_ledger_recovers() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let (address, token) = (server.address.clone(), server.token());
    let body = json!({"message": "before the end", "level": "info"});
    assert_eq!(request(&address, "POST", "/api/dihya/v1/alerts", Some(&token), Some(&body)).status, 202);
    server.kill();
    let mut server = Server::start(&place, &[]);
    let incidents = server.get("/api/dihya/v1/incidents");
    assert!(incidents["items"].is_array());
    server.signal("-INT");
    assert_eq!(server.ended(), Some(0));
}

#[test]
fn a_service_manager_hears_of_readiness_and_life() {
    let place = Place::new();
    let socket = place.path("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&socket).expect("binds");
    manager.set_read_timeout(Some(crate::program::PATIENCE)).expect("set");
    let mut command = dihya(&[]);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "400000");
    let server = Server::start_as(command, &place, &[]);
    let hear = || {
        let mut bytes = [0; 64];
        let len = manager.recv(&mut bytes).expect("hears");
        text(&bytes[..len])
    };
    assert_eq!(hear(), "READY=1");
    assert_eq!(hear(), "WATCHDOG=1");
    assert_eq!(server.stop(), Some(0));
    let mut said = hear();
    while said == "WATCHDOG=1" {
        said = hear();
    }
    assert_eq!(said, "STOPPING=1");
}

/// The figure that the product promises is measured in `bench/start`; here it must only not be absurd.
#[test]
fn an_idle_server_is_small() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("Linux");
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kib: u64 = rss.trim().trim_end_matches("kB").trim().parse().expect("a number");
    println!("idle RSS of this build: {} MiB", kib >> 10);
    assert!(kib < 200 << 10, "{kib} KiB");
}
