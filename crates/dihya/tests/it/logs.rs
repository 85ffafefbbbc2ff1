//! Log files of nginx, PostgreSQL and sshd, which they wrote of real requests, statements and logins: made once for all tests.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::OnceLock;

use crate::peers::{Part, Peers};
use crate::program::eventually;

/// Who asks, is asked for and logs in.
const WHO: &str = "planted.person@example.org";
/// Requests to nginx, and statements that PostgreSQL is told.
const COUNT: usize = 300;
/// Logins that sshd takes, and as many that it refuses.
const LOGINS: usize = 20;

/// Lines of one log each.
pub(crate) struct Written {
    pub(crate) nginx: Vec<String>,
    pub(crate) postgres: Vec<String>,
    pub(crate) sshd: Vec<String>,
}

/// Returns the lines of the logs. Where a server is not installed, which is said, a line like its own stands for them.
pub(crate) fn written() -> &'static Written {
    static WRITTEN: OnceLock<Written> = OnceLock::new();
    WRITTEN.get_or_init(|| {
        let peers = Peers::start(&["nginx", "postgres", "ssh"]);
        let of = |name, like: &str, talk: fn(&Part<'_>) -> Vec<String>| {
            peers.part(name).map_or_else(|| vec![like.to_owned()], |part| talk(&part))
        };
        Written {
            nginx: of("nginx", "127.0.0.1 - - [28/Nov/2026:10:00:00 +0000] \"GET / HTTP/1.1\" 200 612", ask),
            postgres: of("postgres", "2026-11-28 10:00:00.000 GMT [7] LOG:  statement: SELECT 1", |part| {
                part.tell("talk", &format!("{COUNT} {WHO}"));
                logged(part, |lines| {
                    holds(lines, "LOG:  statement: SELECT", COUNT) && holds(lines, "FATAL:  password", 5)
                })
            }),
            sshd: of("ssh", "Invalid user planted.person@example.org from 127.0.0.1 port 4022", |part| {
                part.tell("talk", &format!("{LOGINS} {WHO}"));
                logged(part, |lines| {
                    holds(lines, "Accepted publickey for", LOGINS) && holds(lines, "Invalid user", LOGINS)
                })
            }),
        }
    })
}

/// Asks nginx for pages that are there, and for some that are not.
fn ask(nginx: &Part<'_>) -> Vec<String> {
    let port = u16::try_from(nginx.port("port")).expect("a port");
    for number in 0..COUNT {
        let path = ["/", "/health.json", "/fail", "/away", "/missing"][number % 5];
        let request = format!("GET {path}?n={number}&mail={WHO} HTTP/1.0\r\nHost: shop\r\nUser-Agent: {WHO}\r\n\r\n");
        let mut stream = TcpStream::connect((nginx.text("host"), port)).expect("connects");
        stream.write_all(request.as_bytes()).expect("asks");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("is answered");
        assert!(answer.starts_with(b"HTTP/1.1 "), "{answer:?}");
    }
    logged(nginx, |lines| holds(lines, "HTTP/1.0", COUNT))
}

fn holds(lines: &[String], words: &str, count: usize) -> bool {
    lines.iter().filter(|line| line.contains(words)).count() >= count
}

/// Waits until all is written, and returns it.
fn logged(part: &Part<'_>, is_whole: impl Fn(&[String]) -> bool) -> Vec<String> {
    eventually("the log", || {
        let log = std::fs::read_to_string(part.text("log")).expect("reads");
        let lines: Vec<String> = log.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
        is_whole(&lines).then_some(lines)
    })
}
