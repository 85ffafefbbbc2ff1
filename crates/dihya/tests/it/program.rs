//! The binary under test: one-shot commands, and a server whose log is read as events.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::web;

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The binary, in a quiet environment of its own.
pub(crate) fn dihya(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dihya"));
    command.args(args).env_clear().env("NO_COLOR", "1").stdin(Stdio::null());
    // Where coverage is measured, these runs are part of it.
    #[expect(clippy::disallowed_methods, reason = "whether coverage is measured is said by the environment")]
    if let Some(profile) = std::env::var_os("LLVM_PROFILE_FILE") {
        command.env("LLVM_PROFILE_FILE", profile);
    }
    command
}

/// Runs a command to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    dihya(args).output().expect("the binary runs")
}

/// Runs a command that must succeed and returns its standard output.
pub(crate) fn done(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A directory for one test.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file and returns its path as text.
    pub(crate) fn put(&self, name: &str, contents: &str) -> String {
        let path = self.path(name);
        #[expect(clippy::disallowed_methods, reason = "a fixture of a test")]
        std::fs::write(&path, contents).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    }

    pub(crate) fn data(&self) -> String {
        self.path("data").to_str().expect("UTF-8").to_owned()
    }
}

/// A server that runs until it is dropped.
pub(crate) struct Server {
    child: Child,
    log: Receiver<Value>,
    seen: Vec<Value>,
    pub(crate) address: String,
    pub(crate) data: PathBuf,
}

impl Server {
    /// Starts one on a free port and waits until it listens.
    pub(crate) fn start(place: &Place, args: &[&str]) -> Self {
        Self::start_as(dihya(&[]), place, args)
    }

    /// The same, with a command that the caller prepared.
    pub(crate) fn start_as(command: Command, place: &Place, args: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", command, place, args)
    }

    /// The same, at an address that others know.
    pub(crate) fn start_at(address: &str, mut command: Command, place: &Place, args: &[&str]) -> Self {
        let data = place.path("data");
        let mut child = command
            .args(["serve", "--listen", address, "--data-dir"])
            .arg(&data)
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let (sender, log) = sync_channel(65_536);
        // Ends with the pipe.
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                let _ = sender.try_send(event);
            }
        });
        let mut server = Self { child, log, seen: Vec::new(), address: String::new(), data };
        let event = server.logged("listening");
        event["address"].as_str().expect("it says where").clone_into(&mut server.address);
        server
    }

    /// Waits for a line of the log whose message is `message`.
    pub(crate) fn logged(&mut self, message: &str) -> Value {
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(event) => {
                    self.seen.push(event.clone());
                    if event["message"] == message {
                        return event;
                    }
                }
                Err(_) => panic!("{message:?} was not logged; there was {:#?}", self.seen),
            }
        }
    }

    /// Returns a line of the log, whose message is `message`, that came before the one waited for last.
    pub(crate) fn said(&self, message: &str) -> Value {
        let said = self.seen.iter().find(|event| event["message"] == message);
        said.cloned().unwrap_or_else(|| panic!("{message:?} was not logged; there was {:#?}", self.seen))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn token(&self) -> String {
        std::fs::read_to_string(self.data.join("admin-token")).expect("there is a token").trim().to_owned()
    }

    /// Asks the API as the administrator.
    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = web::request(&self.address, "GET", path, Some(&self.token()), None);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str(&answer.body).expect("is JSON")
    }

    /// Runs a client command against this server.
    pub(crate) fn client(&self, args: &[&str]) -> Output {
        let (url, data) = (self.url(), self.data.to_str().expect("UTF-8").to_owned());
        run(&[args, &["--url", &url, "--data-dir", &data]].concat())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is ours");
    }

    /// Asks it to stop and returns the exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// The same, with all that it has logged.
    pub(crate) fn stop_and_hear(mut self) -> (Option<i32>, Vec<Value>) {
        self.signal(Signal::TERM);
        let code = self.ended();
        // Its end of the pipe is closed, and so the rest comes to an end.
        let rest: Vec<Value> = self.log.iter().collect();
        (code, std::mem::take(&mut self.seen).into_iter().chain(rest).collect())
    }

    /// Waits until it has ended.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }

    /// Ends it as a power cut would, as far as the process is concerned.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is there");
        let _ = self.child.wait();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// Most tests end a server like this. It is asked before it is killed, so that what it did counts as covered.
impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::TERM);
            for _ in 0..250 {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again and again until `look` finds something.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    #[expect(clippy::disallowed_methods, reason = "a test's patience is real time")]
    let start = std::time::Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Verifies the ledger and returns the report.
pub(crate) fn verify(data: &Path) -> Value {
    let output = run(&["ledger", "verify", "--format", "json", "--data-dir", data.to_str().expect("UTF-8")]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)))
}
