//! Redis and what speaks like it (Valkey, KeyDB): a login, `PING`, and what `INFO` says of its role.
//!
//! RESP 2 by hand (Redis documentation, "Redis serialization protocol"). `PING` decides whether it works; a server
//! that does not let us read `INFO` is not broken for that.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::BoxFuture;
use model::config::{FieldSpec, Spec, Ty};
use serde_json::Value as Json;

use super::service::{self, Broken, Encrypt, Service};
use crate::config::Issue;
use crate::connect::TimedStream;
use crate::connect::spec::tls_fields;
use crate::fact::{FactSpec, Shape, fact};
use crate::kind::{Ctx, Defaults, Kind, Observation, Probe};

/// The kind.
pub static KIND: Kind =
    Kind { name: "redis", spec: &SPEC, facts: FACTS, defaults: Defaults::TLS, build: |json| Ok(Arc::new(read(json)?)) };

static SPEC: Spec = Spec {
    name: "redis check",
    doc: "Logs in to Redis, sends PING and reads INFO.",
    fields: tls_fields![
        FieldSpec::required("address", Ty::Text, "Where it listens, `host:port`; the port is 6379 unless given."),
        service::IMPLICIT,
        FieldSpec::optional("user", Ty::Text, "", "User to log in as; `default` where only a password is given."),
        service::PASSWORD,
    ],
};

const FACTS: &[FactSpec] = &[
    fact("authenticated", "Whether we logged in with a password.").is(Shape::Flag),
    fact("connected_clients", "How many clients it has.").is(Shape::Number),
    fact("loading", "Whether it still loads its data.").is(Shape::Flag),
    fact("master_link_up", "Whether a replica has its master; absent for a master.").is(Shape::Flag),
    fact("maxmemory", "Bytes that it may use; 0 is as many as there are.").is(Shape::Number),
    fact("replicas", "How many replicas are connected.").is(Shape::Number),
    fact("role", "`master` or `slave`.").is(Shape::Text),
    fact("server_version", "The version that it states.").is(Shape::Text),
    fact("tls", "What TLS showed: see the kind `tls`.").is(Shape::TLS),
    fact("used_memory", "Bytes that it uses.").is(Shape::Number),
];

/// Longest line of the protocol.
const LINE_BYTES_MAX: usize = 4 << 10;
/// Longest answer to `INFO`.
const INFO_BYTES_MAX: usize = 256 << 10;

struct Redis {
    service: Service,
}

fn read(json: &Json) -> Result<Redis, Vec<Issue>> {
    let service = Service::read(json, 6_379, |_| Encrypt::None)?;
    if service.user.is_some() && service.password.is_none() {
        return Err(vec![Issue::new("user", "a user needs a password")]);
    }
    Ok(Redis { service })
}

impl Probe for Redis {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn run<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Observation> {
        Box::pin(async move {
            match self.service.connect(ctx).await {
                Ok(mut stream) => {
                    let told = self.converse(&mut stream).await;
                    service::seen(told, ctx, &stream)
                }
                Err(error) => Observation::failed(ctx, error),
            }
        })
    }
}

impl Redis {
    async fn converse(&self, stream: &mut TimedStream) -> Result<Observation, Broken> {
        if let Some(password) = &self.service.password {
            let mut words = vec![&b"AUTH"[..]];
            words.extend(self.service.user.as_deref().map(str::as_bytes));
            words.push(password.expose().as_bytes());
            ask(stream, &words).await?;
        }
        let pong = ask(stream, &[b"PING"]).await;
        if let (Err(Broken::Says(code, _)), None) = (&pong, &self.service.password)
            && code == "NOAUTH"
        {
            // Without an account, a server that asks who we are is as healthy as can be told.
            return Ok(Observation::up().fact("authenticated", false));
        }
        if pong? != Answer::Line(b"PONG".to_vec()) {
            return Err(Broken::Garbled("no PONG"));
        }
        let observation = Observation::up().fact("authenticated", self.service.password.is_some());
        match ask(stream, &[b"INFO"]).await {
            Ok(Answer::Bulk(text)) => Ok(told(observation, &text)),
            Ok(Answer::Line(_)) => Err(Broken::Garbled("an answer to INFO that is no text")),
            Err(Broken::Says(..)) => Ok(observation),
            Err(broken) => Err(broken),
        }
    }
}

/// Adds what `INFO` says.
fn told(mut observation: Observation, info: &[u8]) -> Observation {
    let text = String::from_utf8_lossy(info);
    let said: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    for (key, name) in [("role", "role"), ("redis_version", "server_version")] {
        if let Some(value) = said.get(key) {
            observation = observation.fact(name, service::printable(value.as_bytes()));
        }
    }
    for (key, name) in [
        ("used_memory", "used_memory"),
        ("maxmemory", "maxmemory"),
        ("connected_clients", "connected_clients"),
        ("connected_slaves", "replicas"),
    ] {
        if let Some(value) = said.get(key).and_then(|value| value.parse::<u64>().ok()) {
            observation = observation.fact(name, value);
        }
    }
    if let Some(value) = said.get("loading") {
        observation = observation.fact("loading", *value != "0");
    }
    if let Some(value) = said.get("master_link_status") {
        observation = observation.fact("master_link_up", *value == "up");
    }
    observation
}

/// A good answer.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// `+OK`
    Line(Vec<u8>),
    /// `$5` and what follows.
    Bulk(Vec<u8>),
}

async fn ask(stream: &mut TimedStream, words: &[&[u8]]) -> Result<Answer, Broken> {
    let mut request = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        request.extend_from_slice(word);
        request.extend_from_slice(b"\r\n");
    }
    stream.send(&request).await?;
    let line = stream.receive_line(LINE_BYTES_MAX).await?;
    match line.split_first() {
        Some((b'+', text)) => Ok(Answer::Line(text.to_vec())),
        Some((b'-', text)) => Err(refused(text)),
        Some((b'$', length)) => {
            let length = std::str::from_utf8(length).ok().and_then(|text| text.parse::<usize>().ok());
            let length = length.filter(|length| *length <= INFO_BYTES_MAX);
            let length = length.ok_or(Broken::Garbled("an answer of impossible length"))?;
            let mut text = vec![0; length + 2];
            stream.receive_exact(&mut text).await?;
            text.truncate(length);
            Ok(Answer::Bulk(text))
        }
        _ => Err(Broken::Garbled("an unexpected kind of answer")),
    }
}

/// An error: its first word says which. The rest stays with us.
fn refused(text: &[u8]) -> Broken {
    let code = text.split(|byte| *byte == b' ').next().unwrap_or_default();
    let known = code.len() <= 20 && code.iter().all(|byte| byte.is_ascii_uppercase());
    let code = if known { String::from_utf8_lossy(code).into_owned() } else { "ERR".to_owned() };
    let meaning = match code.as_str() {
        "WRONGPASS" => "it refuses the user or the password",
        "NOAUTH" => "it asks for a password",
        "NOPERM" => "the user may not do that",
        "LOADING" => "it still loads its data",
        "MASTERDOWN" => "it has lost its master",
        "BUSY" => "a script keeps it busy",
        "MISCONF" => "it cannot save its data",
        "OOM" => "it is out of memory",
        "READONLY" => "it may not be written to",
        "DENIED" => "it runs in protected mode and refuses us",
        _ => "it answers with an error",
    };
    let reason = format!("{meaning} ({code})");
    Broken::Says(code, reason)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::State;
    use serde_json::json;

    use super::*;
    use crate::fact::Fact;
    use crate::kind::scripted::{Step, look, look_many, say};

    const INFO: &str = "# Server\r\nredis_version:7.2.4\r\nloading:1\r\nused_memory:1024\r\nmaxmemory:x\r\nrole:slave\r\nmaster_link_status:down\r\nconnected_slaves:0\r\n";

    #[tokio::test]
    async fn what_info_says_becomes_facts() {
        let info = format!("${}\r\n{INFO}\r\n", INFO.len());
        let script = vec![
            Step::HearWith("AUTH\r\n$5\r\ndihya\r\n$7\r\nhunter2"),
            say("+OK\r\n"),
            Step::HearWith("PING"),
            say("+PONG\r\n"),
            Step::HearWith("INFO"),
            say(info),
        ];
        let seen = look(&KIND, json!({"user": "dihya", "password": "hunter2"}), script).await;
        assert_eq!((seen.state, seen.reason.as_str()), (State::Up, ""));
        for (name, fact) in [
            ("authenticated", Fact::Bool(true)),
            ("loading", Fact::Bool(true)),
            ("master_link_up", Fact::Bool(false)),
            ("replicas", Fact::Int(0)),
            ("role", Fact::Text("slave".into())),
            ("server_version", Fact::Text("7.2.4".into())),
            ("used_memory", Fact::Int(1024)),
        ] {
            assert_eq!(seen.facts.get(name), Some(&fact), "{name}");
        }
        assert_eq!(seen.facts.get("maxmemory"), None);
    }

    #[tokio::test]
    async fn hostile_and_broken_answers_say_why() {
        let ping = |answer: &str| vec![Step::Hear, say(answer)];
        let info = |answer: &str| vec![Step::Hear, say("+PONG\r\n"), Step::Hear, say(answer)];
        let long = format!("+{}", "x".repeat(5_000));
        for (script, state, reason) in [
            (vec![], State::Down, "no complete answer: connection closed by the peer"),
            (ping("HTTP/1.1 400 Bad Request\r\n"), State::Down, "not what was expected: an unexpected kind of answer"),
            (ping("\r\n"), State::Down, "not what was expected: an unexpected kind of answer"),
            (ping("+HELLO\r\n"), State::Down, "not what was expected: no PONG"),
            (ping(&long), State::Down, "no complete answer: line exceeds 4096 bytes"),
            (ping("-LOADING Redis is loading /var/secret\r\n"), State::Down, "it still loads its data (LOADING)"),
            (ping("-MASTERDOWN Link\r\n"), State::Down, "it has lost its master (MASTERDOWN)"),
            (ping("-NOAUTH Authentication required.\r\n"), State::Up, ""),
            (ping("-<script> x\r\n"), State::Down, "it answers with an error (ERR)"),
            (info("-NOPERM no\r\n"), State::Up, ""),
            (info("+OK\r\n"), State::Down, "not what was expected: an answer to INFO that is no text"),
            (info("$-1\r\n"), State::Down, "not what was expected: an answer of impossible length"),
            (info("$99999999999\r\n"), State::Down, "not what was expected: an answer of impossible length"),
            (info("$10\r\nabc"), State::Down, "no complete answer: connection closed by the peer"),
        ] {
            let seen = look(&KIND, json!({}), script.clone()).await;
            assert_eq!((seen.state, seen.reason.as_str()), (state, reason), "{script:?}");
        }
        let seen = look(&KIND, json!({"password": "hunter2"}), ping("-NOAUTH no\r\n")).await;
        assert_eq!((seen.state, seen.reason.as_str()), (State::Down, "it asks for a password (NOAUTH)"));
        let seen = look_many(&KIND, json!({}), vec![vec![Step::Hang]], Duration::from_millis(100)).await;
        assert_eq!(seen.reason, "no complete answer: timed out");
        for code in ["WRONGPASS", "NOPERM", "BUSY", "MISCONF", "OOM", "READONLY", "DENIED", "WRONGTYPE"] {
            assert!(matches!(refused(code.as_bytes()), Broken::Says(said, _) if said == code));
        }
    }

    #[test]
    fn a_user_needs_a_password() {
        let issues = (KIND.build)(&json!({"address": "cache", "user": "dihya"})).map(|_| ()).expect_err("it cannot");
        assert_eq!(issues[0].path, "user");
    }

    #[tokio::test]
    async fn nobody_listening_is_down() {
        let probe = (KIND.build)(&json!({"address": "127.0.0.1:1"})).expect("sound");
        let seen = probe.run(&crate::kind::scripted::ctx(Duration::from_secs(2))).await;
        assert_eq!(seen.reason, "could not connect: connection refused");
    }
}
