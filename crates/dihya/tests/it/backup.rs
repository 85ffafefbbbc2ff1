//! Backups, what an auditor verifies, and what tampering looks like.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::program::{Place, Server, done, eventually, run, text, verify};

/// A server with some records under a checkpoint.
fn with_records(place: &Place) -> Server {
    let server = Server::start(place, &[]);
    for i in 0..20 {
        let sent = server.client(&["alert", "send", &format!("alert {i}"), "--level", "info"]);
        assert!(sent.status.success(), "{}", text(&sent.stderr));
    }
    server
}

#[test]
fn a_backup_of_a_running_server_restores_and_verifies() {
    let place = Place::new();
    let server = with_records(&place);
    let to = place.path("backup").to_str().expect("UTF-8").to_owned();
    done(&["backup", &to, "--data-dir", &place.data()]);
    assert_eq!(server.stop(), Some(0));

    let restored = place.path("restored").to_str().expect("UTF-8").to_owned();
    done(&["restore", &to, "--data-dir", &restored]);
    assert_eq!(verify(Path::new(&restored))["sound"], true);
    let rows = done(&["ledger", "show", "--limit", "10000", "--format", "json", "--data-dir", &restored]);
    let rows: Vec<Value> = serde_json::from_str(&rows).expect("is JSON");
    let alerts = rows.iter().filter(|row| row["kind"] == "alert").count();
    assert!(alerts >= 20, "{alerts}");
    assert!(rows.iter().any(|row| row["body"]["act"] == "backup.restored"));

    let again = run(&["restore", &to, "--data-dir", &restored]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("it is not empty"), "{}", text(&again.stderr));
    let over = run(&["backup", &to, "--data-dir", &place.data()]);
    assert!(text(&over.stderr).contains("it is not empty"), "{}", text(&over.stderr));
    let nothing = run(&["backup", &to, "--data-dir", place.path("none").to_str().expect("UTF-8")]);
    assert_eq!(nothing.status.code(), Some(2));

    flip(&Path::new(&to).join("admin-token"), 3);
    let elsewhere = place.path("elsewhere").to_str().expect("UTF-8").to_owned();
    let spoilt = run(&["restore", &to, "--data-dir", &elsewhere]);
    assert!(text(&spoilt.stderr).contains("admin-token is not what was copied"), "{}", text(&spoilt.stderr));
}

#[test]
fn each_backup_of_a_server_under_load_restores_and_verifies() {
    let place = Place::new();
    let server = with_records(&place);
    let ended = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (url, data, ended) = (server.url(), place.data(), &ended);
            scope.spawn(move || {
                while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                    let text = format!("load {thread} {}", "x".repeat(3_000));
                    let sent = run(&["alert", "send", &text, "--level", "info", "--url", &url, "--data-dir", &data]);
                    assert!(sent.status.success(), "{}", crate::program::text(&sent.stderr));
                }
            });
        }
        for n in 0..4 {
            let path = |name: &str| place.path(&format!("{name}-{n}")).to_str().expect("UTF-8").to_owned();
            done(&["backup", &path("backup"), "--data-dir", &place.data()]);
            done(&["restore", &path("backup"), "--data-dir", &path("restored")]);
            assert_eq!(verify(Path::new(&path("restored")))["sound"], true, "backup {n}");
        }
        ended.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn an_old_copy_is_not_built_upon_when_a_newer_checkpoint_is_known() {
    let place = Place::new();
    let server = with_records(&place);
    let newest = place.path("data").join("ledger/localhost/default/checkpoint");
    let path = |name: &str| place.path(name).to_str().expect("UTF-8").to_owned();
    let shown = path("shown");
    eventually("a checkpoint", || std::fs::copy(&newest, &shown).ok());
    let backup = path("backup");
    done(&["backup", &backup, "--data-dir", &place.data()]);
    let sent = server.client(&["alert", "send", "after the backup", "--level", "info"]);
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    assert_eq!(server.stop(), Some(0));
    let newest = newest.to_str().expect("UTF-8");

    let behind = run(&["restore", &backup, "--newest", newest, "--data-dir", &path("behind")]);
    assert_eq!(behind.status.code(), Some(1));
    assert!(text(&behind.stderr).contains("its checkpoint is ahead of the WAL"), "{}", text(&behind.stderr));
    let served = run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", &path("behind")]);
    assert_eq!(served.status.code(), Some(1), "{}", text(&served.stderr));
    assert!(text(&served.stderr).contains("ahead of the WAL"), "{}", text(&served.stderr));
    done(&["ledger", "show", "--data-dir", &path("behind")]);

    done(&["restore", &backup, "--newest", &shown, "--data-dir", &path("good")]);
    let rows = done(&["ledger", "show", "--limit", "10000", "--format", "json", "--data-dir", &path("good")]);
    assert!(rows.contains("compared with localhost/default at size"), "{rows}");

    let checkpoint = std::fs::read_to_string(&shown).expect("read");
    let other = place.put("other", &checkpoint.replace("localhost/", "elsewhere/"));
    let mut lines: Vec<&str> = checkpoint.lines().collect();
    lines[1] = "4000";
    let forged = place.put("forged", &(lines.join("\n") + "\n"));
    for (file, why) in [(&other, "the backup has no log"), (&forged, "signature"), (&path("none"), "none")] {
        let refused = run(&["restore", &backup, "--newest", file, "--data-dir", &path("refused")]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains(why), "{}", text(&refused.stderr));
        assert!(!place.path("refused").exists(), "nothing is restored");
    }
}

#[test]
fn a_proof_is_given_by_the_server_and_without_it() {
    let place = Place::new();
    let server = with_records(&place);
    let proof = eventually("a checkpoint over position 3", || {
        let output = server.client(&["ledger", "prove", "3"]);
        output.status.success().then(|| text(&output.stdout))
    });
    assert!(proof.starts_with("c2sp.org/tlog-proof@v1\n") && proof.contains("localhost/default"), "{proof}");
    let none = server.client(&["ledger", "prove", "999999"]);
    assert_eq!(none.status.code(), Some(1), "{}", text(&none.stderr));
    let url = server.url();
    assert_eq!(server.stop(), Some(0));
    let alone = done(&["ledger", "prove", "3", "--url", &url, "--data-dir", &place.data()]);
    assert!(alone.starts_with("c2sp.org/tlog-proof@v1\n"));
}

#[test]
fn verification_fails_after_any_tampering() {
    let place = Place::new();
    let server = with_records(&place);
    assert_eq!(server.stop(), Some(0));
    let data = place.path("data");
    assert_eq!(verify(&data)["sound"], true);
    let log = data.join("ledger/localhost/default");
    let bundle = widest(&log.join("tile/entries"));
    let hashes = widest(&log.join("tile/0"));
    for (file, offset) in [(bundle, 40), (hashes, 5), (log.join("checkpoint"), 30), (log.join("vkey"), 30)] {
        flip(&file, offset);
        let report = verify(&data);
        assert_eq!(report["sound"], false, "{} at {offset}", file.display());
        let output = run(&["ledger", "verify", "--data-dir", data.to_str().expect("UTF-8")]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stdout).contains("NOT SOUND"), "{}", text(&output.stdout));
        flip(&file, offset);
    }
    assert_eq!(verify(&data)["sound"], true);
    // Without the payloads nothing opens, and a data directory from which they are gone is no copy of the public part.
    std::fs::remove_dir_all(data.join("wal")).expect("removes");
    let said = |code: i32| {
        let output = run(&["ledger", "verify", "--data-dir", data.to_str().expect("UTF-8")]);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stdout));
        text(&output.stdout)
    };
    assert!(said(1).contains("the write-ahead log is gone, and every payload with it"));
    std::fs::remove_dir_all(data.join("keystore")).expect("removes");
    assert!(said(0).contains("no payload was compared"));
    let nothing = run(&["ledger", "verify", "--origin", "no/such", "--data-dir", data.to_str().expect("UTF-8")]);
    assert_eq!(nothing.status.code(), Some(2));
}

#[test]
fn an_auditor_verifies_with_keys_from_elsewhere() {
    let (place, other) = (Place::new(), Place::new());
    let (server, forger) = (with_records(&place), with_records(&other));
    assert_eq!((server.stop(), forger.stop()), (Some(0), Some(0)));
    let (data, forged) = (place.data(), other.data());
    let printed = done(&["ledger", "keys", "--data-dir", &data]);
    assert_eq!(printed.lines().count(), 5, "two keys of two logs, and the tenant's id in the meta-log: {printed}");
    assert!(printed.contains("\nmeta-id localhost/default "), "{printed}");
    let keys = place.put("auditor.keys", &format!("# handed over in person\n{printed}"));
    let verify = |data: &str, more: &[&str]| {
        let output = run(&[&["ledger", "verify", "--data-dir", data, "--keys", &keys], more].concat());
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let (code, answer) = verify(&data, &[]);
    assert_eq!(code, Some(0), "{answer}");
    assert!(!answer.contains("the keys are the log's own"), "{answer}");
    // A log made up as a whole agrees with itself, and only with its own keys.
    assert!(done(&["ledger", "verify", "--data-dir", &forged]).contains("the keys are the log's own"));
    let (code, answer) = verify(&forged, &[]);
    assert_eq!((code, answer.matches("NOT SOUND").count()), (Some(1), 2), "{answer}");
    assert!(answer.contains("lacks the Ed25519 signature"), "{answer}");

    let meta = printed.lines().filter(|line| line.starts_with("localhost/meta+")).collect::<Vec<_>>().join("\n");
    place.put("auditor.keys", &meta);
    let (code, answer) = verify(&data, &[]);
    assert_eq!(code, Some(1), "{answer}");
    assert!(answer.contains("no key that is trusted is of this log"), "{answer}");
    assert_eq!(verify(&data, &["--origin", "localhost/meta"]).0, Some(0));
    // Whose log is gone, hears of it.
    std::fs::remove_dir_all(place.path("data/ledger/localhost/meta")).expect("removes");
    let (code, answer) = verify(&data, &["--origin", "localhost/meta"]);
    assert_eq!(code, Some(1), "{answer}");
    assert!(answer.contains("checkpoint is missing"), "{answer}");

    for (file, why) in [("x", "line 1"), ("# none\n", "holds no keys")] {
        place.put("auditor.keys", file);
        let (code, answer) = verify(&data, &[]);
        assert!(code == Some(2) && answer.contains(why), "{answer}");
    }
    let nowhere = other.path("none");
    let nothing = run(&["ledger", "keys", "--data-dir", nowhere.to_str().expect("UTF-8")]);
    assert_eq!(nothing.status.code(), Some(2));
}

/// Makes a log of some records in a data directory, with its checkpoint in the meta-log, and returns that checkpoint.
fn log_of(dir: &Path, text: &str, records: usize) -> String {
    use std::sync::Arc;
    let disk: Arc<dyn disk::Disk> = Arc::new(disk::OsDisk);
    let clock = Arc::new(disk::OsClock::default());
    let mut config = ledger::Config::new(dir.to_owned(), "localhost", vec![model::Tenant::default()]);
    (config.segment_bytes, config.reserve_bytes) = (1 << 20, 1 << 16);
    let keys = &ledger::FileKeys;
    let (mut engine, _) = ledger::Engine::open(disk, clock, Arc::new(disk::OsRng), config, keys).expect("opens");
    let clearer = privacy::Clearer::new(Arc::new(privacy::Redactor::new()), [7; 32]);
    let act = model::AdminAct {
        actor: "ana".into(),
        act: "token.add".into(),
        target: "t".into(),
        detail: text.into(),
        at: model::Timestamp::UNIX_EPOCH,
    };
    let cleared = clearer.clear(model::Signal::ours(model::Tenant::default(), act)).expect("clears");
    engine.append(&[vec![cleared; records]]).pop().expect("one result").expect("appends");
    engine.publish().expect("publishes");
    engine.append_meta().expect("appends");
    let signed = engine.signed(&model::Tenant::default()).expect("is known").expect("is signed");
    engine.close().expect("closes");
    signed.note.clone()
}

/// The meta-log was looked through for the log's own id, under which it holds nothing: a fork was called sound.
#[test]
fn a_forked_log_is_red() {
    let place = Place::new();
    let (kept, fork) = (place.path("data"), place.path("fork"));
    let shown = log_of(&kept, "what the auditor saw", 20);
    let report = verify(&kept);
    let ours = |report: &Value| {
        let logs = report["logs"].as_array().expect("logs").iter();
        logs.clone().find(|log| log["origin"] == "localhost/default").expect("ours").clone()
    };
    assert_eq!((&report["sound"], &ours(&report)["in_meta"]), (&Value::from(true), &Value::from(1)), "{report}");

    copy(&kept.join("keystore"), &fork.join("keystore"));
    log_of(&fork, "what somebody else was shown", 30);
    let keys = place.put("auditor.keys", &done(&["ledger", "keys", "--data-dir", &place.data()]));
    let earlier = place.put("shown", &shown);
    let fork_dir = fork.to_str().expect("UTF-8").to_owned();
    assert_eq!(verify(&fork)["sound"], true, "it agrees with itself");
    let kept_says = run(&["ledger", "verify", "--data-dir", &fork_dir, "--keys", &keys, "--earlier", &earlier]);
    assert_eq!(kept_says.status.code(), Some(1));
    let answer = text(&kept_says.stdout);
    assert!(answer.contains("is of another log"), "{answer}");
    done(&["ledger", "verify", "--data-dir", &place.data(), "--keys", &keys, "--earlier", &earlier]);
    let none = run(&["ledger", "verify", "--data-dir", &fork_dir, "--earlier", &keys]);
    assert_eq!(none.status.code(), Some(2), "{}", text(&none.stderr));

    // The fork in the place of the log: the meta-log tells, with the id from the keystore or from the auditor's file.
    std::fs::remove_dir_all(kept.join("ledger/localhost/default")).expect("removes");
    copy(&fork.join("ledger/localhost/default"), &kept.join("ledger/localhost/default"));
    for more in [&[][..], &["--keys", &keys]] {
        let output = run(&[&["ledger", "verify", "--data-dir", &place.data()], more].concat());
        let answer = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{answer}");
        assert!(answer.contains("I6 leaf") && answer.contains("is of another log"), "{answer}");
        std::fs::remove_dir_all(kept.join("keystore")).ok();
    }
    let blind = text(&run(&["ledger", "verify", "--data-dir", &place.data()]).stdout);
    assert!(blind.contains("its id in the meta-log is not known"), "{blind}");
    place.put("auditor.keys", "meta-id localhost/default xyz\n");
    let wrong = run(&["ledger", "verify", "--data-dir", &place.data(), "--keys", &keys]);
    assert!(text(&wrong.stderr).contains("line 1: is not an origin and 32"), "{}", text(&wrong.stderr));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("makes");
    for entry in std::fs::read_dir(from).expect("lists") {
        let entry = entry.expect("is read");
        if entry.file_type().expect("is told").is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copies");
        }
    }
}

/// Returns the last partial tile below a level: the one that the checkpoint covers.
fn widest(dir: &Path) -> PathBuf {
    let partials = dir.join("000.p");
    let mut widths: Vec<u32> = std::fs::read_dir(&partials)
        .expect("partial tiles")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    widths.sort_unstable();
    partials.join(widths.last().expect("at least one").to_string())
}

/// Flips one bit of a file.
fn flip(path: &Path, offset: u64) {
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("opens");
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset)).expect("seeks");
    file.read_exact(&mut byte).expect("reads");
    byte[0] ^= 1;
    file.seek(SeekFrom::Start(offset)).expect("seeks");
    file.write_all(&byte).expect("writes");
}
