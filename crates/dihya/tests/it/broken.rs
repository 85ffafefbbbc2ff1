//! Real servers, broken for real: for each, the incident, who is told of it, and what the ledger says of it.
//!
//! Each round breaks every server in another way at once, in a life of its own, and mends them again. A service that
//! breaks five times within a few checks would rightly be taken for one that flaps.

use serde_json::Value;

use crate::peers::{Part, Peers};
use crate::program::{Place, Server, done, eventually, verify};
use crate::web::Service;

/// One way to break a server.
struct Break {
    /// The check that must notice.
    check: &'static str,
    /// The server.
    part: &'static str,
    /// What is done to it: a verb of `tests/peers/up` and its arguments.
    break_by: (&'static str, &'static str),
    /// What undoes it; nothing where that makes another server of it.
    mend_by: Option<(&'static str, &'static str)>,
    /// The state that the check is seen in.
    state: &'static str,
    /// What the reason must say.
    reason: &'static str,
}

const fn row(
    check: &'static str,
    part: &'static str,
    break_by: (&'static str, &'static str),
    mend_by: (&'static str, &'static str),
    reason: &'static str,
) -> Break {
    Break { check, part, break_by, mend_by: Some(mend_by), state: "down", reason }
}

const STOP: (&str, &str) = ("stop", "");
const START: (&str, &str) = ("start", "");
const CUT: (&str, &str) = ("cut", "");
const MEND: (&str, &str) = ("mend", "");
const REFUSED: &str = "connection refused";
const TIMED_OUT: &str = "timed out";

#[test]
fn stopped() {
    round(&[
        row("postgres", "postgres", STOP, START, REFUSED),
        row("mariadb", "mariadb", STOP, START, REFUSED),
        row("redis", "redis", STOP, START, REFUSED),
        row("smtp", "smtp", STOP, START, REFUSED),
        row("imap", "imap", STOP, START, REFUSED),
        row("dns", "dns", STOP, START, "no answer from the name server"),
        row("grpc", "grpc", STOP, START, REFUSED),
        row("ssh", "ssh", STOP, START, REFUSED),
        row("portal", "nginx", STOP, START, REFUSED),
        row("plugin", "nginx", STOP, START, "Connection refused"),
        row("s3", "s3", STOP, START, REFUSED),
    ]);
}

#[test]
fn cut_off() {
    round(&[
        row("postgres", "postgres", CUT, MEND, TIMED_OUT),
        row("mariadb", "mariadb", CUT, MEND, TIMED_OUT),
        row("redis", "redis", CUT, MEND, TIMED_OUT),
        row("smtp", "smtp", CUT, MEND, TIMED_OUT),
        row("imap", "imap", CUT, MEND, TIMED_OUT),
        row("dns", "dns", CUT, MEND, "no answer from the name server"),
        row("grpc", "grpc", CUT, MEND, TIMED_OUT),
        row("ssh", "ssh", CUT, MEND, TIMED_OUT),
        row("portal", "nginx", CUT, MEND, TIMED_OUT),
        row("plugin", "nginx", CUT, MEND, "Socket timeout"),
        row("s3", "s3", CUT, MEND, TIMED_OUT),
    ]);
}

/// Each server in a network namespace of its own, at the far end of a cable that is pulled: nothing refuses, no rule drops
/// anything, there is no link.
#[test]
fn unplugged() {
    const UNPLUG: (&str, &str) = ("unplug", "");
    const PLUG: (&str, &str) = ("plug", "");
    round(&[
        row("postgres", "postgres@netns", UNPLUG, PLUG, TIMED_OUT),
        row("mariadb", "mariadb@netns", UNPLUG, PLUG, TIMED_OUT),
        row("redis", "redis@netns", UNPLUG, PLUG, TIMED_OUT),
        row("smtp", "smtp@netns", UNPLUG, PLUG, TIMED_OUT),
        row("imap", "imap@netns", UNPLUG, PLUG, TIMED_OUT),
        row("portal", "nginx@netns", UNPLUG, PLUG, TIMED_OUT),
    ]);
}

#[test]
fn locked_out_or_somebody_else() {
    const ON: (&str, &str) = ("lock-out", "on");
    const OFF: (&str, &str) = ("lock-out", "off");
    const LOCKED: &str = "it refuses the user or the password";
    round(&[
        row("postgres", "postgres", ON, OFF, LOCKED),
        row("mariadb", "mariadb", ON, OFF, LOCKED),
        row("redis", "redis", ON, OFF, LOCKED),
        row("imap", "imap", ON, OFF, LOCKED),
        row("smtp", "smtp", ON, OFF, LOCKED),
        row("s3", "s3", ON, OFF, "it refuses the access key"),
        row("dns", "dns", ("spoil", "good"), ("heal", "good"), "the DNSSEC signatures do not hold"),
        row("grpc", "grpc", ("status", "NOT_SERVING"), ("status", "SERVING"), "not serving"),
        row(
            "portal",
            "nginx",
            ("swap-cert", "expired good"),
            ("swap-cert", "good good"),
            "the certificate has expired",
        ),
        Break { mend_by: None, ..row("ssh", "ssh", ("swap-key", ""), START, "its host key is not the one expected") },
    ]);
}

#[test]
fn read_only_or_almost_expired() {
    const ON: (&str, &str) = ("readonly", "on");
    const OFF: (&str, &str) = ("readonly", "off");
    round(&[
        row("postgres", "postgres", ON, OFF, "read_only"),
        row("mariadb", "mariadb", ON, OFF, "read_only"),
        row("redis", "redis", ON, OFF, "role"),
        row("s3", "s3", ON, OFF, "the access key may not do that"),
        Break {
            state: "degraded",
            ..row("portal", "nginx", ("swap-cert", "soon good"), ("swap-cert", "good good"), "days_left")
        },
    ]);
}

/// A store that gives back other bytes than it took, and says that all is well.
#[test]
fn corrupted() {
    round(&[row("s3", "s3", ("corrupt", "on"), ("corrupt", "off"), "what is read back is not what was written")]);
}

/// A renewal that did not happen: every server that speaks TLS, over STARTTLS or from the first byte.
#[test]
fn certificate_expired() {
    const EXPIRED: &str = "the certificate has expired";
    let mut rows = swapped(("swap-cert", "expired"), EXPIRED);
    rows.push(row("portal", "nginx", ("swap-cert", "self-signed good"), GOOD_VHOST, "the certificate is self-signed"));
    round(&rows);
}

/// What a machine in the middle can show: a certificate for the right host by an authority that we do not know.
#[test]
fn certificate_of_another_authority() {
    const STRANGER: &str = "the certificate's issuer is not trusted";
    const WRONG_HOST: &str = "the certificate is not for this host";
    // It calls itself by the name of ours.
    const FORGED: &str = "a signature in the certificate chain is wrong";
    let mut rows = swapped(("swap-cert", "stranger"), STRANGER);
    rows.push(row("portal", "nginx", ("swap-cert", "wrong-host good"), GOOD_VHOST, WRONG_HOST));
    rows.iter_mut().filter(|row| row.check == "imap").for_each(|row| {
        (row.break_by, row.reason) = (("swap-cert", "forged"), FORGED);
    });
    round(&rows);
}

const GOOD_VHOST: (&str, &str) = ("swap-cert", "good good");

fn swapped(break_by: (&'static str, &'static str), reason: &'static str) -> Vec<Break> {
    [("postgres", "postgres"), ("mariadb", "mariadb"), ("redis-tls", "redis"), ("imap", "imap"), ("smtp", "smtp")]
        .map(|(check, part)| row(check, part, break_by, ("swap-cert", "good"), reason))
        .into()
}

/// Starts the servers of `rows` and one of ours that watches them, breaks and mends all, and looks at what was told
/// and what is recorded.
#[expect(clippy::print_stdout, reason = "a run shows what each server's failure is called")]
fn round(rows: &[Break]) {
    let mut names: Vec<&str> = rows.iter().map(|row| row.part).collect();
    names.push("plugins");
    names.sort_unstable();
    names.dedup();
    let peers = Peers::start(&names);
    let Some(parts) = names.iter().map(|name| Some((*name, peers.part(name)?))).collect::<Option<Vec<_>>>() else {
        return;
    };
    let part = |name: &str| &parts.iter().find(|(known, _)| *known == name).expect("it was started").1;
    let (place, hook) = (Place::new(), Service::start());
    let file = place.put("dihya.yaml", &config(&place, &hook, rows, part));
    let server = Server::start(&place, &["--config", &file]);
    for row in rows {
        reaches(&server, row.check, "up");
    }

    let mut broken: Vec<&Break> = Vec::new();
    for row in rows {
        // Two checks may watch one server, which is broken once.
        if !broken.iter().any(|known| known.part == row.part) {
            let Some(_) = part(row.part).try_tell(row.break_by.0, row.break_by.1) else { return };
        }
        broken.push(row);
    }
    let mut told: Vec<Value> = Vec::new();
    for row in rows {
        reaches(&server, row.check, row.state);
        let post = hears(&hook, &mut told, row.check, "firing");
        let said = post["alerts"][0]["annotations"]["summary"].as_str().unwrap_or_default();
        assert!(said.contains(row.reason), "{}: {:?} in {post:#}", row.check, row.reason);
        println!("{} {} {}: {}: {said}", row.break_by.0, row.part, row.break_by.1, row.state);
    }
    let incidents = server.get("/api/dihya/v1/incidents?state=open");
    for row in rows {
        let open = incidents["items"].as_array().expect("incidents").iter();
        let of_check = open.filter(|incident| incident["labels"]["check"] == row.check).count();
        assert_eq!(of_check, 1, "one incident of {}: {incidents:#}", row.check);
    }

    for (at, row) in rows.iter().enumerate() {
        if let Some((verb, arguments)) = row.mend_by
            && !rows[..at].iter().any(|known| known.part == row.part)
        {
            part(row.part).tell(verb, arguments);
        }
    }
    for row in rows.iter().filter(|row| row.mend_by.is_some()) {
        hears(&hook, &mut told, row.check, "resolved");
    }
    let data = server.data.clone();
    assert_eq!(server.stop(), Some(0));
    for row in rows {
        is_recorded(&place, row);
    }
    assert_eq!(verify(&data)["sound"], true);
}

/// Waits until a check is in a state.
fn reaches(server: &Server, check: &str, state: &str) {
    let path = format!("/api/dihya/v1/checks/{check}");
    eventually(&format!("{check} {state}"), || (server.get(&path)["state"] == state).then_some(()));
}

/// Waits until the hook has heard of a check; `told` keeps what it heard so far.
fn hears(hook: &Service, told: &mut Vec<Value>, check: &str, status: &str) -> Value {
    eventually(&format!("the hook to hear that {check} is {status}"), || {
        told.extend(hook.posts());
        let of_check = |post: &&Value| post["status"] == status && post["commonLabels"]["check"] == check;
        told.iter().find(of_check).cloned()
    })
}

/// The change of the check with its reason, the incident, and the delivery of what was decided to be told.
fn is_recorded(place: &Place, row: &Break) {
    let rows = done(&["ledger", "show", "--limit", "100000", "--format", "json", "--data-dir", &place.data()]);
    let rows: Vec<Value> = serde_json::from_str(&rows).expect("is JSON");
    let bodies = |kind: &'static str| rows.iter().filter(move |row| row["kind"] == kind).map(|row| &row["body"]);
    let noticed = |body: &&Value| body["id"] == row.check && body["to"] == row.state;
    let change = bodies("check-change").find(noticed).unwrap_or_else(|| panic!("{}: no change", row.check));
    assert!(change["reason"].as_str().unwrap_or_default().contains(row.reason), "{change:#}");
    let of_check = |body: &&Value| body["labels"]["check"] == row.check && body["action"] == "opened";
    let incident = &bodies("incident").find(of_check).expect("an incident")["incident"];
    let delivered =
        |intent: &Value| bodies("delivery").any(|body| body["intent"] == *intent && body["outcome"] == "delivered");
    for firing in [true, false] {
        let decided = |body: &&Value| body["incident"] == *incident && body["firing"] == firing;
        let intent = bodies("intent").find(decided).map(|body| &body["id"]);
        assert_eq!(intent.is_some_and(delivered), firing || row.mend_by.is_some(), "{} firing {firing}", row.check);
    }
    let closed = bodies("incident").any(|body| body["incident"] == *incident && body["action"] == "resolved");
    assert_eq!(closed, row.mend_by.is_some(), "{}", row.check);
}

/// The configuration that watches what is to be broken, and tells the hook.
fn config<'a>(place: &Place, hook: &Service, rows: &[Break], part: impl Fn(&str) -> &'a Part<'a>) -> String {
    let mut checks = String::new();
    for row in rows {
        let options = options(place, row, &part);
        checks += &format!("  {}: {{{options}, interval: 2s, timeout: 2s, failure_threshold: 1}}\n", row.check);
    }
    let file = place.put("hook.txt", &hook.url());
    format!(
        "checks:\n{checks}channels:\n  hook: {{kind: webhook, url: \"${{file:{file}}}\"}}\nalerting:\n  route: {{receiver: \
         ops, group_by: [check], group_wait: 0s, group_interval: 1s}}\n  receivers: [{{name: ops, dihya_configs: \
         [{{channel: hook}}]}}]\n"
    )
}

/// What is to be watched, and how to get in.
fn options<'a>(place: &Place, row: &Break, part: &impl Fn(&str) -> &'a Part<'a>) -> String {
    // By its address where it is not on our loopback.
    let host = Some(part(row.part).text("host")).filter(|host| *host != "127.0.0.1").unwrap_or("localhost");
    let at = |name: &str, port: &str| format!("{host}:{}", part(name).port(port));
    let said = |key: &str| part(row.part).text(key);
    let secret = |key: &str| {
        let file = place.put(&format!("{}-{key}.txt", row.check), said(key));
        format!("\"${{file:{file}}}\"")
    };
    let login = || format!("ca_file: {}, user: {}, password: {}", said("ca"), said("user"), secret("password"));
    let own = |kind: &str| format!("kind: {kind}, address: '{}'", at(row.part, "port"));
    match row.check {
        "postgres" => {
            format!("{}, {}, database: {}, conditions: '!read_only'", own("postgres"), login(), said("database"))
        }
        "mariadb" => format!("{}, {}, conditions: '!read_only'", own("mysql"), login()),
        "redis" => format!("{}, password: {}, conditions: 'role == \"master\"'", own("redis"), secret("password")),
        "redis-tls" => format!(
            "kind: redis, address: '{}', tls: implicit, ca_file: {}, password: {}",
            at("redis", "tls_port"),
            said("ca"),
            secret("password"),
        ),
        "smtp" | "imap" => format!("{}, {}", own(row.check), login()),
        "grpc" => format!("{}, service: {}", own("grpc"), said("service")),
        "ssh" => format!("{}, fingerprint: '{}'", own("ssh"), said("fingerprint")),
        "dns" => format!(
            "kind: dns, query: www.good, dnssec: require, trust_anchor_file: {}, resolver: '127.0.0.1:{}'",
            said("trust_anchor_file"),
            part("dns").port("port"),
        ),
        "s3" => format!(
            "kind: s3, endpoint: 'http://{}', bucket: {}, region: {}, access_key: {}, secret_key: {}",
            at("s3", "port"),
            said("bucket"),
            said("region"),
            said("access_key"),
            secret("secret_key"),
        ),
        "portal" => format!(
            "kind: http, url: 'https://{}/', ca_file: {}, degraded_if: 'tls.days_left < 14'",
            at(row.part, "tls.good"),
            said("ca"),
        ),
        "plugin" => format!(
            "kind: exec, command: ['{}/check_tcp', -H, 127.0.0.1, -p, '{}', -t, '1']",
            part("plugins").text("dir"),
            part("nginx").port("port"),
        ),
        other => panic!("no check {other}"),
    }
}
