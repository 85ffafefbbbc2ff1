//! Journals of systemd, written and sent by systemd's own programs: each entry once, whenever Dihya is killed.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::intake::{agent_token, assert_nothing_planted_lies_in, events, is_there};
use crate::program::{Place, Server, eventually, run, text, verify};

const REMOTE: &str = "/lib/systemd/systemd-journal-remote";
const UPLOAD: &str = "/lib/systemd/systemd-journal-upload";

/// Whether systemd's parts are there.
fn parts_are_there() -> bool {
    let is_one = |name, program: &str| is_there(name, Command::new(program).arg("--version"));
    is_one("journalctl", "journalctl")
        & is_one("systemd-journal-remote", REMOTE)
        & is_one("systemd-journal-upload", UPLOAD)
}

/// Entries of a machine that starts anew every 400 of them: some of several lines, some with bytes that are no text.
fn entries(numbers: std::ops::Range<usize>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for n in numbers {
        let micros = 1_795_773_600_000_000 + n * 1_000;
        let boot = n / 400 % 10;
        bytes.extend_from_slice(
            format!(
                "__REALTIME_TIMESTAMP={micros}\n__MONOTONIC_TIMESTAMP={n}\n_BOOT_ID=0123456789abcdef0123456789abcde{boot}\n\
                 _HOSTNAME=web-1\nPRIORITY={}\nSYSLOG_IDENTIFIER=sshd\n_PID=812\n_SYSTEMD_UNIT=ssh.service\n",
                n % 8
            )
            .as_bytes(),
        );
        let message = format!("{n} login of planted.person@example.org\nfrom 203.0.113.77");
        for (name, value) in [("MESSAGE", message.as_bytes()), ("RAW", &[0xff, 0, 0xe9][..])] {
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(b'\n');
            bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
            bytes.extend_from_slice(value);
            bytes.push(b'\n');
        }
        bytes.push(b'\n');
    }
    bytes
}

/// A journal that grows as a machine's does.
struct Journal(Child);

impl Journal {
    fn new(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).expect("is made");
        let output = format!("--output={}/system.journal", dir.display());
        let child = Command::new(REMOTE).args([&output, "-"]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn();
        Self(child.expect("runs"))
    }

    fn write(&mut self, numbers: std::ops::Range<usize>) {
        self.0.stdin.as_mut().expect("is piped").write_all(&entries(numbers)).expect("writes");
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().expect("ends").success());
    }
}

fn numbers(kept: &[Value]) -> Vec<usize> {
    kept.iter().filter_map(|event| event["body"].as_str()?.split(' ').next()?.parse().ok()).collect()
}

fn arrived(place: &Place, count: usize) -> Vec<Value> {
    eventually("the entries", || Some(events(place)).filter(|kept| kept.len() >= count))
}

#[test]
fn a_journal_is_followed_and_each_entry_comes_once_through_kills() {
    if !parts_are_there() {
        return;
    }
    let place = Place::new();
    let dir = place.path("journal");
    let file = place.put("dihya.yaml", &format!("sources: {{journal: [{{directory: {}}}]}}\n", dir.display()));
    let mut journal = Journal::new(&dir);
    journal.write(0..900);
    let mut written = 900;
    for round in 0..3 {
        let server = Server::start(&place, &["--config", &file]);
        journal.write(written..written + 500);
        written += 500;
        // The last time without a look: what is on its way is cut off.
        arrived(&place, if round == 2 { written - 400 } else { written });
        server.kill();
    }
    let server = Server::start(&place, &["--config", &file]);
    let kept = arrived(&place, written);
    assert!(numbers(&kept) == (0..written).collect::<Vec<_>>(), "{} of {written}, each once, in order", kept.len());
    let first = &kept[0];
    assert_eq!(first["body"], "0 login of [email]\nfrom [ip]", "{first:#}");
    assert_eq!((&first["stream"], &first["severity"]), (&"journal".into(), &24.into()));
    assert_eq!(first["time_ns"], 1_795_773_600_000_000_000_i64);
    assert_eq!(first["attributes"]["systemd.unit"], "ssh.service");
    assert_eq!(first["attributes"]["process.pid"], 812);
    assert_eq!(first["attributes"]["raw"], "ÿ\0é");
    assert_eq!(
        (&first["resource"]["service.name"], &first["resource"]["host.name"]),
        (&"sshd".into(), &"web-1".into())
    );
    let boots: BTreeSet<&str> = kept.iter().filter_map(|event| event["attributes"]["journald.id"].as_str()).collect();
    assert_eq!(boots.len(), written.div_ceil(400), "{boots:?}");
    journal.end();
    let data = server.data.clone();
    assert_eq!(server.stop(), Some(0));
    assert_nothing_planted_lies_in(&data);
    assert_eq!(verify(&data)["sound"], true);
}

/// Sends a journal to its end, and says whether all was taken.
fn upload(dir: &Path, state: &Path, server: &str, token: &str) -> Child {
    Command::new(UPLOAD)
        .arg(format!("--url=http://any:{token}@{server}"))
        .arg(format!("--directory={}", dir.display()))
        .arg(format!("--save-state={}", state.display()))
        .arg("--follow=no")
        .stderr(Stdio::null())
        .spawn()
        .expect("runs")
}

#[test]
fn systemd_journal_upload_sends_again_and_each_entry_is_recorded_once() {
    if !parts_are_there() {
        return;
    }
    let place = Place::new();
    let (dir, state) = (place.path("journal"), place.path("state"));
    let mut journal = Journal::new(&dir);
    journal.write(0..8_000);
    journal.end();
    let server = Server::start(&place, &[]);
    let token = agent_token(&server, "upload");
    let mut sender = upload(&dir, &state, &server.address, &token);
    arrived(&place, 200);
    server.kill();
    assert!(!sender.wait().expect("ends").success(), "it was cut off");
    let before = events(&place).len();
    assert!((200..8_000).contains(&before), "{before} had come");

    let server = Server::start(&place, &[]);
    let mut sender = upload(&dir, &state, &server.address, &token);
    assert!(sender.wait().expect("ends").success(), "all was taken");
    let data = server.data.clone();
    server.kill();
    let kept = events(&place);
    assert!(numbers(&kept) == (0..8_000).collect::<Vec<_>>(), "{} of 8000, each once, in order", kept.len());
    assert_eq!(kept[0]["body"], "0 login of [email]\nfrom [ip]");

    // What it sends from its own cursor on, to a Dihya that was killed once more.
    let server = Server::start(&place, &[]);
    let mut journal = Journal::new(&dir);
    journal.write(8_000..8_100);
    journal.end();
    assert!(upload(&dir, &state, &server.address, &token).wait().expect("ends").success());
    assert!(!upload(&dir, &place.path("other"), &server.address, "dhy_none").wait().expect("ends").success());
    assert_eq!(server.stop(), Some(0));
    assert!(numbers(&events(&place)) == (0..8_100).collect::<Vec<_>>());
    assert_nothing_planted_lies_in(&data);
    assert_eq!(verify(&data)["sound"], true);
}

#[test]
fn a_journal_that_cannot_be_followed_is_a_problem_of_the_file_or_makes_dihya_unwell() {
    let place = Place::new();
    let bad = place.put(
        "bad.yaml",
        "sources:\n  journal:\n    - {program: /nonexistent/journalctl}\n    - {stream: b, tenant: nobody}\n    - {stream: c, matches: [--flush]}\n",
    );
    for command in [&["config", "check", &bad][..], &["serve", "--config", &bad, "--data-dir", &place.data()]] {
        let checked = run(command);
        let told = text(&checked.stderr) + &text(&checked.stdout);
        assert_eq!(checked.status.code(), Some(2), "{told}");
        for expected in [
            "sources.journal.0.program: journalctl cannot be run: there is no such file",
            "sources.journal.1.tenant: there is no tenant nobody",
            "sources.journal.2.matches.0: expected FIELD=value",
        ] {
            assert!(told.contains(expected), "{told}");
        }
    }
    if !parts_are_there() {
        return;
    }
    let none = place.path("none");
    let file = place.put("dihya.yaml", &format!("sources: {{journal: [{{directory: {}}}]}}\n", none.display()));
    let server = Server::start(&place, &["--config", &file]);
    eventually("unwell", || {
        let answer = crate::web::request(&server.address, "GET", "/readyz", None, None);
        (answer.status == 503).then_some(())
    });
}
