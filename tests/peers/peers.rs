//! Drives `tests/peers/up` from tests: real servers that start once per test binary and are broken on command.
//!
//! Included by path where it is used, since a crate only for tests would be one more wall without a reason.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::skip::skip;

/// Real servers that run. Dropping it stops them; so does the death of the test process, whose pipe then ends.
pub(crate) struct Peers {
    info: Value,
    talk: Mutex<Option<(ChildStdin, BufReader<ChildStdout>)>>,
    /// Nothing where there is no Python.
    child: Option<Child>,
}

/// How often to try to start servers.
const STARTS_MAX: usize = 3;

impl Peers {
    /// Starts the parts called `names` (the files of `tests/peers/parts/`) and waits until all serve.
    ///
    /// # Panics
    /// When they do not start, and under `CI=true` when one is not installed.
    #[expect(clippy::print_stdout, reason = "CI counts the real parts in what tests print")]
    pub(crate) fn start(names: &[&str]) -> Self {
        if let Err(error) = Command::new("python3").arg("--version").output() {
            let why = format!("no python3, which starts it: {error}");
            names.iter().for_each(|name| skip(&format!("{name}: {why}")));
            let info = names.iter().map(|name| ((*name).to_owned(), json!({ "missing": why }))).collect();
            return Self { info: Value::Object(info), talk: Mutex::default(), child: None };
        }
        // A server that does not come up in its time on a busy machine, or whose port was taken meanwhile, is tried again.
        let (child, talk, info) =
            (0..STARTS_MAX).find_map(|_| Self::launch(names)).expect("tests/peers/up says why not");
        for name in names {
            match info[name]["missing"].as_str() {
                None => println!("real part: {name} {}", info[name]["version"].as_str().unwrap_or_default()),
                Some(why) => skip(&format!("{name}: {why}")),
            }
        }
        Self { info, talk: Mutex::new(Some(talk)), child: Some(child) }
    }

    /// Starts the parts once; `None` when one of them did not come up, which is said on standard error.
    fn launch(names: &[&str]) -> Option<(Child, (ChildStdin, BufReader<ChildStdout>), Value)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers/up");
        let mut child = Command::new("python3")
            .arg(root)
            .args(names)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 runs tests/peers/up");
        let stdin = child.stdin.take().expect("stdin is piped");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("tests/peers/up answers");
        let Ok(info) = serde_json::from_str(&line) else {
            drop(stdin);
            child.wait().expect("it ended");
            return None;
        };
        Some((child, (stdin, stdout), info))
    }

    /// Returns what there is to know about a part; `None` where it is not installed.
    pub(crate) fn part(&self, name: &str) -> Option<Part<'_>> {
        let info = &self.info[name];
        info["missing"].is_null().then(|| Part { peers: self, name: name.to_owned(), info: info.clone() })
    }

    /// Sends a command such as `stop postgres` and waits until it is done.
    ///
    /// # Panics
    /// When the command is refused.
    pub(crate) fn tell(&self, command: &str) -> Value {
        let mut talk = self.talk.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let talk = talk.as_mut().expect("invariant: the pipes are there until drop");
        writeln!(talk.0, "{command}").expect("tests/peers/up listens");
        let mut line = String::new();
        talk.1.read_line(&mut line).expect("tests/peers/up answers");
        let answer: Value = serde_json::from_str(&line).expect("tests/peers/up answers in JSON");
        assert_eq!(answer["ok"], true, "{command}: {}", answer["error"]);
        answer
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        drop(self.talk.get_mut().map(Option::take)); // the end of its standard input is the word to stop
        let _ = self.child.as_mut().map(Child::wait);
    }
}

/// One real server.
pub(crate) struct Part<'a> {
    peers: &'a Peers,
    name: String,
    info: Value,
}

impl Part<'_> {
    /// Returns a text of what the part says about itself: `password`, `ca` ...
    ///
    /// # Panics
    /// When it does not say that.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.info.pointer(&format!("/{}", key.replace('.', "/"))).and_then(Value::as_str).expect("the part says so")
    }

    /// Returns the number of the port called `key`: `port`, `tls_port`, `tls.expired` ...
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn port(&self, key: &str) -> u64 {
        self.info.pointer(&format!("/{}", key.replace('.', "/"))).and_then(Value::as_u64).expect("the part says so")
    }

    /// Breaks or mends it: `stop`, `start`, `freeze`, `readonly on` ... Returns what it answers.
    ///
    /// # Panics
    /// When it refuses.
    pub(crate) fn tell(&self, verb: &str, arguments: &str) -> Value {
        self.peers.tell(&format!("{verb} {} {arguments}", self.name))
    }

    /// The same; `None` where this machine does not allow it.
    ///
    /// # Panics
    /// When it refuses, and under `CI=true` when the machine does not allow it.
    pub(crate) fn try_tell(&self, verb: &str, arguments: &str) -> Option<Value> {
        let answer = self.tell(verb, arguments);
        match answer["skipped"].as_str() {
            Some(why) => skip(&format!("{verb} {}: {why}", self.name)),
            None => return Some(answer),
        }
        None
    }
}
