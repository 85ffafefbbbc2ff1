//! Our log under verifiers that we did not write: Go's x/mod and Python's cryptography, unchanged.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::conformance::data;
use crate::sample::Sample;
use crate::skip::skip;

/// Where Debian puts the sources of Go libraries.
const GOPATH: &str = "/usr/share/gocode";

/// Writes a log of some 3,000 leaves as a directory, with an earlier checkpoint.
fn write_log(dir: &Path) -> Sample {
    let disk = disk::OsDisk;
    let mut sample = Sample::new("localhost/default", 7);
    sample.fill(1_000, 2);
    sample.commit();
    let old = sample.files["checkpoint"].clone();
    sample.fill(1_800, 2);
    sample.commit();
    sample.files.insert("checkpoint.old".into(), old);
    for (path, bytes) in &sample.files {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().expect("has one")).expect("makes");
        disk::write_atomic(&disk, &path, bytes).expect("writes");
    }
    sample
}

pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Builds a Go program over Debian's golang.org/x/mod in `dir`; returns its path and what Go calls itself. Where that is
/// not installed the test is skipped with a printed reason; with `CI=true` it fails.
pub(crate) fn build(source: &str, dir: &Path) -> Option<(PathBuf, String)> {
    let go = |args: &[&OsStr]| Command::new("go").args(args).env("GO111MODULE", "off").env("GOPATH", GOPATH).output();
    let (file, program) = (dir.join("main.go"), dir.join("program"));
    disk::write_atomic(&disk::OsDisk, &file, source.as_bytes()).expect("writes");
    match go(&["build".as_ref(), "-o".as_ref(), program.as_ref(), file.as_ref()]) {
        Ok(output) if output.status.success() => {
            let version = go(&["version".as_ref()]).map(|output| text(&output)).unwrap_or_default();
            return Some((program, version.split_whitespace().nth(2).unwrap_or_default().to_owned()));
        }
        Ok(output) => skip(&format!("go builds nothing (golang-golang-x-mod-dev?): {}", text(&output))),
        Err(error) => skip(&format!("no go: {error}")),
    }
    None
}

#[test]
fn go_walks_our_log_and_refuses_it_after_one_tampered_byte() {
    let Some(source) = data("tlog/verifier/go/main.go") else { return };
    let dir = tempfile::tempdir().expect("makes");
    let log = dir.path().join("log");
    let source = std::fs::read_to_string(source).expect("reads");
    let Some((program, _)) = build(&source, dir.path()) else { return };
    let mut sample = write_log(&log);
    let run =
        || Command::new(&program).args([&log.display().to_string(), &sample.signer.vkey()]).output().expect("runs");
    let output = run();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("size 3081: all entries match authenticated tiles"), "{}", text(&output));
    assert!(text(&output).contains("consistency 1101 -> 3081 OK"), "{}", text(&output));

    for path in ["tile/entries/005", "tile/0/011", "tile/1/000.p/12", "tile/entries/012.p/9", "checkpoint"] {
        let bytes = sample.files.get_mut(path).expect("is there");
        bytes[8] ^= 1;
        disk::write_atomic(&disk::OsDisk, &log.join(path), bytes).expect("writes");
        let output = Command::new(&program).args([&log.display().to_string(), &sample.signer.vkey()]).output();
        assert!(!output.expect("runs").status.success(), "{path} was tampered with");
        bytes[8] ^= 1;
        disk::write_atomic(&disk::OsDisk, &log.join(path), bytes).expect("writes");
    }
}

#[test]
fn openssl_verifies_the_ml_dsa_line_of_our_checkpoint() {
    let Some(program) = data("tlog/verifier/python/verify_mldsa_cosig.py") else { return };
    let dir = tempfile::tempdir().expect("makes");
    write_log(dir.path());
    let output = match Command::new("python3").arg(&program).arg(dir.path()).output() {
        Ok(output) => output,
        Err(error) => return skip(&format!("no python3: {error}")),
    };
    if text(&output).contains("ModuleNotFoundError") || text(&output).contains("UnsupportedAlgorithm") {
        // Newer wheels have it; the vectors of the other implementation are verified in any case.
        return skip(&format!("python3 has no ML-DSA: {}", text(&output)));
    }
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("OK") && text(&output).contains("tampered rejected"), "{}", text(&output));
}
