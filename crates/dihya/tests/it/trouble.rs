//! Disks that are full or read-only, and the ways of stopping.

use serde_json::json;

use crate::program::{Place, Server, dihya, run, text, verify};
use crate::web::request;

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
