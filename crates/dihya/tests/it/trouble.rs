//! Disks that are full or read-only, and the ways of stopping.

use rustix::process::Signal;
use serde_json::json;

use crate::program::{Place, Server, dihya, eventually, run, text, verify};
use crate::skip::skip;
use crate::web::{Service, request};

#[test]
fn a_directory_that_cannot_be_written_is_said() {
    let output = run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", "/proc/dihya-cannot-be-here"]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("could not make the data directory"), "{error}");
}

#[test]
fn a_directory_that_became_read_only_is_said() {
    let place = Place::new();
    let Some(disk) = SmallDisk::mount(&place) else {
        return skip("no file system can be mounted here");
    };
    assert_eq!(Server::start(&place, &[]).stop(), Some(0));
    let mut remount = std::process::Command::new("mount");
    assert!(remount.args(["-o", "remount,ro"]).arg(&disk.0).status().expect("mount runs").success());
    let output = run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", &place.data()]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("could not open the ledger") && error.contains("Read-only"), "{error}");
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
        return skip("prlimit is not installed");
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

/// A file system of its own for the data directory, which can be filled.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// Mounts one; only root may.
    fn mount(place: &Place) -> Option<Self> {
        let at = place.path("data");
        std::fs::create_dir(&at).expect("is made");
        let mut mount = std::process::Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=192m,mode=0700", "tmpfs"]).arg(&at).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then(|| Self(at))
    }

    /// Takes all the space that is left.
    #[expect(clippy::disallowed_methods, reason = "a fixture of a test")]
    fn fill(&self) {
        use std::io::Write as _;
        let mut filler = std::fs::File::create(self.0.join("filler")).expect("is made");
        while filler.write_all(&[0; 65_536]).is_ok() {}
    }

    /// Gives it back.
    fn clear(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("is removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// On a full disk the program once ended, because its control state could not be written, where it should have paged.
#[test]
fn a_full_disk_refuses_what_pages_nobody_and_pages() {
    let place = Place::new();
    let Some(disk) = SmallDisk::mount(&place) else {
        return skip("no file system can be mounted here");
    };
    let (service, hook) = (Service::start(), Service::start());
    let config = crate::journey::config(&service, &hook, "").replace("group_by: [check]", "group_by: [alertname]");
    let file = place.put("dihya.yaml", &config);
    let mut server = Server::start(&place, &["--config", &file]);
    let token = server.token();
    let mut acknowledged: Vec<String> = Vec::new();
    let mut alert = |server: &Server, name: &str| {
        let body = json!({"message": name, "level": "error", "labels": {"alertname": name}});
        let answer = request(&server.address, "POST", "/api/dihya/v1/alerts", Some(&token), Some(&body));
        assert_eq!(answer.status, 202, "{}", answer.body);
        acknowledged.push(name.to_owned());
        assert_eq!(hook.post()["commonLabels"]["alertname"], name);
    };
    let read = |server: &Server| request(&server.address, "GET", "/api/dihya/v1/incidents", Some(&token), None).status;
    let ready = |server: &Server| request(&server.address, "GET", "/readyz", None, None).status;
    alert(&server, "before");
    assert_eq!(read(&server), 200);
    disk.fill();
    for life in 0..2 {
        for number in 0..10 {
            alert(&server, &format!("full-{life}-{number}"));
        }
        assert_eq!(read(&server), 503, "a read that cannot be recorded does not happen");
        assert_eq!(ready(&server), 503);
        let metrics = request(&server.address, "GET", "/metrics", Some(&token), None).body;
        let refused = "dihya_ledger_appends_total{tenant=\"default\",outcome=\"retry\"} ";
        let refused = metrics.lines().find_map(|line| line.strip_prefix(refused)).expect("refusals are counted");
        println!("life {life} on a full disk: {refused} records refused");
        assert!(refused.parse::<f64>().expect("a number") >= 1.0);
        if life == 0 {
            assert_eq!(server.stop(), Some(0));
            server = Server::start(&place, &["--config", &file]);
        }
    }
    // A check's result that was not recorded will be a gap.
    server.logged("lost signals");
    disk.clear();
    eventually("room again", || (read(&server) == 200).then_some(()));
    eventually("readiness", || (ready(&server) == 200).then_some(()));
    alert(&server, "after");
    assert_eq!(server.stop(), Some(0));
    let rows = run(&["ledger", "show", "--limit", "100000", "--format", "json", "--data-dir", &place.data()]);
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&rows.stdout).expect("is JSON");
    assert!(rows.iter().any(|row| row["kind"] == "gap" && row["body"]["cause"] == "disk_full"), "{rows:#?}");
    for name in &acknowledged {
        assert!(rows.iter().any(|row| row["body"]["labels"]["alertname"] == **name), "{name} is lost");
    }
    assert_eq!(verify(&place.path("data"))["sound"], true);
}

/// The kernel is made to say EIO from the n-th sync on, as a dying disk would.
#[test]
fn a_disk_that_fails_gives_a_last_notice_and_ends_the_process() {
    if std::process::Command::new("strace").arg("--version").output().is_err() {
        return skip("strace is not installed");
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
    server.signal(Signal::INT);
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
