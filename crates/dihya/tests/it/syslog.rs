//! Syslog from the daemons that machines have: rsyslog and syslog-ng ship real lines, and none is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::intake::{events, files_below_lib, is_there};
use crate::program::{Place, Server, eventually, run, text, verify};
use crate::skip::skip;

const RSYSLOG: &str = "/usr/sbin/rsyslogd";
/// Lines of each kind that are shipped.
pub(crate) const LINES: usize = 300;

/// A daemon that ends with its test.
pub(crate) struct Daemon(Child);

impl Daemon {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("runs"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lines of each number.
pub(crate) const KINDS: usize = 5;

/// A line as sshd writes it, what this machine itself has logged, and what nginx, PostgreSQL and sshd have; each has its number,
/// so that each can be found again.
pub(crate) fn lines(from: usize) -> Vec<String> {
    let own = ["/var/log/dpkg.log", "/var/log/alternatives.log", "/var/log/apt/history.log"];
    let own: String = own.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect();
    let mut own: Vec<String> = own.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if own.is_empty() {
        own.push("status installed base-files:amd64".to_owned());
    }
    let written = crate::logs::written();
    let logs = [&own, &written.nginx, &written.postgres, &written.sshd];
    let mut lines = Vec::new();
    for number in from..from + LINES {
        lines.push(format!(
            "{number} Failed password for invalid user planted.person@example.org from 203.0.113.77 port 4022 ssh2"
        ));
        lines.extend(logs.iter().map(|log| format!("{number} {}", log[number % log.len()])));
    }
    lines
}

/// Returns how many events there are of each number that the lines begin with.
pub(crate) fn numbers(kept: &[Value]) -> BTreeMap<usize, usize> {
    let mut numbers = BTreeMap::new();
    for event in kept {
        let number = event["body"].as_str().and_then(|body| body.split(' ').next()?.parse().ok());
        *numbers.entry(number.unwrap_or(usize::MAX)).or_default() += 1;
    }
    numbers
}

fn of_stream<'a>(kept: &'a [Value], stream: &str) -> Vec<&'a Value> {
    kept.iter().filter(|event| event["stream"] == stream).collect()
}

/// Asserts that each line of `lines(0)` is there once in a stream.
pub(crate) fn assert_each_once(kept: &[Value], stream: &str, until: usize) {
    let of_it: Vec<Value> = of_stream(kept, stream).into_iter().cloned().collect();
    let expected: BTreeMap<usize, usize> = (0..until).map(|number| (number, KINDS)).collect();
    let found = numbers(&of_it);
    let wrong: Vec<_> = expected.iter().filter(|(number, count)| found.get(number) != Some(count)).collect();
    assert!(found == expected, "{stream}: {} of {}; wrong at {wrong:?}", of_it.len(), until * KINDS);
}

/// A certificate for `localhost` that is its own authority.
fn certify(place: &Place) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("certifies");
    (place.put("cert.pem", &made.cert.pem()), place.put("key.pem", &made.signing_key.serialize_pem()))
}

/// Starts a server with a listener of each kind, and returns their addresses by kind.
fn listening(place: &Place, (cert, key): (&str, &str)) -> (Server, BTreeMap<String, String>) {
    let files = format!("cert_file: {cert}, key_file: {key}");
    let file = place.put(
        "dihya.yaml",
        &format!(
            "server:\n  listeners:\n    - {{kind: syslog-udp, address: \"127.0.0.1:0\", stream: udp}}\n    \
             - {{kind: syslog-tcp, address: \"127.0.0.1:0\", stream: tcp}}\n    \
             - {{kind: syslog-tls, address: \"127.0.0.1:0\", stream: tls, {files}}}\n",
        ),
    );
    let mut server = Server::start(place, &["--config", &file]);
    let mut addresses = BTreeMap::new();
    for _ in 0..3 {
        let event = server.logged("listening for syslog");
        let (kind, address) = (event["kind"].as_str().expect("a kind"), event["address"].as_str().expect("an address"));
        addresses.insert(kind.to_owned(), address.to_owned());
    }
    (server, addresses)
}

fn port(address: &str) -> &str {
    address.rsplit_once(':').expect("an address").1
}

fn rsyslog(place: &Place, name: &str, actions: &str) -> Daemon {
    let (log, dir) = (place.path("app.log"), place.path(&format!("{name}-work")));
    std::fs::create_dir(&dir).expect("a directory");
    let config = format!(
        "global(workDirectory=\"{}\" DefaultNetstreamDriverCAFile=\"{}\")\nmodule(load=\"imfile\")\n\
         input(type=\"imfile\" file=\"{}\" tag=\"app[7]:\" severity=\"error\" facility=\"authpriv\")\n{actions}",
        dir.display(),
        place.path("cert.pem").display(),
        log.display(),
    );
    let config = place.put(&format!("{name}.conf"), &config);
    Daemon::start(Command::new(RSYSLOG).args(["-n", "-f", &config, "-i"]).arg(dir.join("pid")))
}

/// Waits until a stream has as many events.
fn arrived(place: &Place, stream: &str, count: usize) -> Vec<Value> {
    eventually(stream, || Some(events(place)).filter(|kept| of_stream(kept, stream).len() >= count))
}

/// The streams of [`listening`].
const STREAMS: [&str; 3] = ["tcp", "tls", "udp"];

/// Waits until each stream has each line once, cleared.
fn all_arrived(place: &Place) -> Vec<Value> {
    let mut kept = Vec::new();
    for stream in STREAMS {
        kept = arrived(place, stream, LINES * KINDS);
    }
    for stream in STREAMS {
        assert_each_once(&kept, stream, LINES);
        let first = of_stream(&kept, stream)[0];
        assert_eq!(first["body"], "0 Failed password for invalid user [email] from [ip] port 4022 ssh2", "{first:#}");
    }
    kept
}

#[test]
fn rsyslog_ships_over_udp_tcp_and_tls_to_the_last_line() {
    let gnutls = files_below_lib("lmnsd_gtls.so");
    if !gnutls || !is_there("rsyslog", Command::new(RSYSLOG).arg("-v")) {
        if !gnutls {
            skip("rsyslog's driver for TLS is not installed (tests/peers/install)");
        }
        return;
    }
    let place = Place::new();
    let (cert, key) = certify(&place);
    let (server, at) = listening(&place, (&cert, &key));
    place.put("app.log", &(lines(0).join("\n") + "\n"));
    let forward = |kind: &str, more: &str| {
        format!("action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{}\" {more})\n", port(&at[kind]))
    };
    let actions = forward("syslog-udp", "protocol=\"udp\" RateLimit.Interval=\"0\"")
        + &forward(
            "syslog-tcp",
            "protocol=\"tcp\" TCP_Framing=\"octet-counted\" template=\"RSYSLOG_SyslogProtocol23Format\"",
        )
        + &forward(
            "syslog-tls",
            "protocol=\"tcp\" StreamDriver=\"gtls\" StreamDriverMode=\"1\" StreamDriverAuthMode=\"x509/name\" \
             StreamDriverPermittedPeers=\"localhost\"",
        );
    let _daemon = rsyslog(&place, "rsyslog", &actions);
    let kept = all_arrived(&place);
    for stream in STREAMS {
        let first = of_stream(&kept, stream)[0].clone();
        assert_eq!((&first["severity"], &first["resource"]["service.name"]), (&17.into(), &"app".into()));
        assert_eq!(first["attributes"]["syslog.facility"], "authpriv");
        assert!(first["resource"]["host.name"].is_string() && first["time_ns"].is_i64(), "{first:#}");
        assert!(first["attributes"].get("syslog.malformed").is_none(), "{first:#}");
    }
    let metrics = crate::web::request(&server.address, "GET", "/metrics", Some(&server.token()), None).body;
    assert!(metrics.contains("dihya_syslog_messages_total"), "{metrics}");
    let data = server.data.clone();
    assert_eq!(server.stop(), Some(0));
    crate::intake::assert_nothing_planted_lies_in(&data);
    assert_eq!(verify(&data)["sound"], true);
}

/// TCP has no word for "durable", so what was on its way at a kill is the sender's to lose; but whoever keeps a queue loses
/// nothing of what it has not sent, and what had come in stays.
#[test]
fn rsyslogs_queue_outlives_a_kill_of_dihya() {
    if !is_there("rsyslog", Command::new(RSYSLOG).arg("-v")) {
        return;
    }
    let place = Place::new();
    certify(&place);
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("an address");
    let listener = format!("server: {{listeners: [{{kind: syslog-tcp, address: \"{free}\", stream: tcp}}]}}\n");
    let file = place.put("dihya.yaml", &listener);
    let server = Server::start(&place, &["--config", &file]);
    place.put("app.log", &(lines(0).join("\n") + "\n"));
    let action = format!(
        "action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{}\" protocol=\"tcp\" action.resumeRetryCount=\"-1\" \
         action.resumeInterval=\"1\" queue.type=\"LinkedList\" queue.filename=\"forward\" queue.saveOnShutdown=\"on\")\n",
        free.port(),
    );
    let _daemon = rsyslog(&place, "rsyslog", &action);
    arrived(&place, "tcp", LINES * KINDS);
    server.kill();
    let more = lines(0).into_iter().chain(lines(LINES)).collect::<Vec<_>>().join("\n") + "\n";
    append(&place.path("app.log"), more.get(lines(0).join("\n").len() + 1..).expect("the rest"));
    let server = Server::start(&place, &["--config", &file]);
    let kept = arrived(&place, "tcp", LINES * 2 * KINDS);
    // rsyslog sends again what it is not sure of; so each line is there, whole, and some may be there twice.
    let whole: BTreeSet<(usize, &str)> = of_stream(&kept, "tcp")
        .into_iter()
        .filter_map(|event| {
            let body = event["body"].as_str()?;
            Some((body.split(' ').next()?.parse().ok()?, body))
        })
        .collect();
    let mut of_number = BTreeMap::new();
    whole.into_iter().for_each(|(number, _)| *of_number.entry(number).or_default() += 1);
    assert!(
        of_number == (0..LINES * 2).map(|number| (number, KINDS)).collect::<BTreeMap<usize, usize>>(),
        "{of_number:?}"
    );
    let twice = of_stream(&kept, "tcp").len() - LINES * 2 * KINDS;
    assert!(twice <= 128, "{twice} twice: more than one batch of rsyslog's queue");
    assert_eq!(server.stop(), Some(0));
    assert_eq!(verify(&place.path("data"))["sound"], true);
}

fn append(path: &Path, text: &str) {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().append(true).open(path).expect("opens");
    file.write_all(text.as_bytes()).expect("writes");
}

/// Where syslog-ng was unpacked: its package and rsyslog's exclude each other.
fn syslog_ng() -> PathBuf {
    crate::intake::peers().join("syslog-ng")
}

fn syslog_ng_command() -> Command {
    let root = syslog_ng();
    let mut command = Command::new(root.join("usr/sbin/syslog-ng"));
    let libraries = ["usr/lib/syslog-ng", "usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu"];
    let libraries: Vec<String> = libraries.iter().map(|dir| root.join(dir).display().to_string()).collect();
    command.env("LD_LIBRARY_PATH", libraries.join(":"));
    command
}

#[test]
fn syslog_ng_ships_over_udp_tcp_and_tls_to_the_last_line() {
    if !is_there("syslog-ng", syslog_ng_command().arg("--version")) {
        return;
    }
    let place = Place::new();
    let (cert, key) = certify(&place);
    let (server, at) = listening(&place, (&cert, &key));
    let log = place.put("app.log", &(lines(0).join("\n") + "\n"));
    let config = format!(
        "@version: 3.38\noptions {{ stats-freq(0); use-dns(no); dns-cache(no); }};\n\
         source s {{ file(\"{log}\" flags(no-parse) program-override(\"app\") follow-freq(0.2)); }};\n\
         destination udp {{ network(\"127.0.0.1\" port({}) transport(\"udp\")); }};\n\
         destination tcp {{ network(\"127.0.0.1\" port({}) transport(\"tcp\")); }};\n\
         destination tls {{ syslog(\"127.0.0.1\" port({}) transport(\"tls\") tls(ca-file(\"{cert}\") \
         peer-verify(required-trusted))); }};\n\
         log {{ source(s); destination(udp); destination(tcp); destination(tls); }};\n",
        port(&at["syslog-udp"]),
        port(&at["syslog-tcp"]),
        port(&at["syslog-tls"]),
    );
    let config = place.put("syslog-ng.conf", &config);
    let modules = std::fs::read_dir(syslog_ng().join("usr/lib/syslog-ng")).expect("lists");
    let modules = modules
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.is_dir() && path.join("libaffile.so").exists());
    let mut command = syslog_ng_command();
    command.args(["-F", "-f", &config, "--no-caps"]).arg("--module-path").arg(modules.expect("its modules"));
    for (option, name) in [("-R", "persist"), ("-c", "control"), ("-p", "pid")] {
        command.arg(option).arg(place.path(name));
    }
    let _daemon = Daemon::start(&mut command);
    let kept = all_arrived(&place);
    for stream in STREAMS {
        let first = of_stream(&kept, stream)[0].clone();
        assert_eq!(first["resource"]["service.name"], "app");
    }
    assert_eq!(of_stream(&kept, "tls")[0]["attributes"]["syslog.structured_data"]["meta"]["sequenceId"], "1");
    let data = server.data.clone();
    assert_eq!(server.stop(), Some(0));
    crate::intake::assert_nothing_planted_lies_in(&data);
}

#[test]
fn listeners_that_cannot_be_are_problems_of_the_file_and_move_with_a_restart() {
    let place = Place::new();
    let bad = place.put(
        "bad.yaml",
        "server:\n  listeners:\n    - {kind: syslog-tls, address: \"127.0.0.1:1\", cert_file: /nonexistent, key_file: /nonexistent}\n    \
         - {kind: syslog-udp, address: \"127.0.0.1:2\", tenant: nobody}\n    - {kind: syslog-quic, address: \"127.0.0.1:3\"}\n    \
         - {kind: syslog-tcp, address: \"127.0.0.1:4\", cert_file: x}\n",
    );
    let checked = run(&["config", "check", &bad]);
    let told = text(&checked.stderr) + &text(&checked.stdout);
    assert_eq!(checked.status.code(), Some(2), "{told}");
    for expected in [
        "server.listeners.2.kind: unknown kind syslog-quic, expected syslog-udp, syslog-tcp or syslog-tls",
        "server.listeners.3.cert_file: unknown key",
    ] {
        assert!(told.contains(expected), "{told}");
    }
    let bad = place.put(
        "bad.yaml",
        "server:\n  listeners:\n    - {kind: syslog-tls, address: \"127.0.0.1:1\", cert_file: /nonexistent, key_file: /nonexistent}\n    \
         - {kind: syslog-udp, address: \"127.0.0.1:2\", tenant: nobody}\n",
    );
    let checked = run(&["config", "check", &bad]);
    let told = text(&checked.stderr) + &text(&checked.stdout);
    for expected in
        ["server.listeners.0.cert_file: cannot read the file", "server.listeners.1.tenant: there is no tenant nobody"]
    {
        assert!(told.contains(expected), "{told}");
    }
    let file = place.put("dihya.yaml", "server: {listeners: [{kind: syslog-udp, address: \"127.0.0.1:0\"}]}\n");
    let mut server = Server::start(&place, &["--config", &file]);
    place.put("dihya.yaml", "server: {listeners: [{kind: syslog-udp, address: \"127.0.0.1:0\", stream: other}]}\n");
    let refused = server.logged("refused the configuration, the old one stays in force");
    assert_eq!(refused["field"], "server", "{refused:#}");
    assert!(refused.to_string().contains("server.listeners without a restart"), "{refused:#}");
}
