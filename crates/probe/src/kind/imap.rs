//! IMAP: the greeting, `CAPABILITY`, TLS, and a login where there is an account (RFC 9051, RFC 3501).

use std::sync::Arc;

use model::config::{FieldSpec, Spec, Ty};
use model::{BoxFuture, Private};
use serde_json::Value as Json;

use super::service::{self, Broken, Encrypt, Service};
use crate::config::Issue;
use crate::connect::TimedStream;
use crate::connect::spec::tls_fields;
use crate::fact::{Fact, FactSpec, Shape, fact};
use crate::kind::{Ctx, Defaults, Kind, Observation, Probe};

/// The kind.
pub static KIND: Kind =
    Kind { name: "imap", spec: &SPEC, facts: FACTS, defaults: Defaults::TLS, build: |json| Ok(Arc::new(read(json)?)) };

static SPEC: Spec = Spec {
    name: "imap check",
    doc: "Greets a mailbox server, starts TLS, and logs in where there is an account.",
    fields: tls_fields![
        FieldSpec::required("address", Ty::Text, "Where it listens, `host:port`; the port is 143 unless given."),
        service::ANY_TLS,
        service::USER,
        service::PASSWORD,
    ],
};

const FACTS: &[FactSpec] = &[
    fact("authenticated", "Whether we logged in.").is(Shape::Flag),
    fact("banner", "What it greets us with.").is(Shape::Text),
    fact("capabilities", "What it says it can do, in capitals: `IMAP4REV1`, `STARTTLS`, `AUTH=PLAIN` ..."),
    fact("tls", "What TLS showed: see the kind `tls`.").is(Shape::TLS),
];

/// Longest line that we take.
const LINE_BYTES_MAX: usize = 8 << 10;
/// Most lines before the one that answers a command.
const LINES_MAX: usize = 128;

struct Imap {
    service: Service,
}

fn read(json: &Json) -> Result<Imap, Vec<Issue>> {
    let service = Service::read(json, 143, |port| if port == 993 { Encrypt::Implicit } else { Encrypt::Auto })?;
    service.check_account()?;
    for (path, text) in [("user", service.user.as_deref()), ("password", service.password.as_ref().map(secret))] {
        // A quoted string holds neither (RFC 9051 section 9); a literal would cost a round trip for nobody.
        if text.is_some_and(|text| text.contains(['\r', '\n', '\0'])) {
            return Err(vec![Issue::new(path, "a line break or NUL cannot be sent to an IMAP server")]);
        }
    }
    Ok(Imap { service })
}

fn secret(password: &Private<String>) -> &str {
    password.expose()
}

impl Probe for Imap {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn run<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Observation> {
        Box::pin(self.look(ctx))
    }
}

impl Imap {
    async fn look(&self, ctx: &Ctx) -> Observation {
        let mut stream = match self.service.connect(ctx).await {
            Ok(stream) => stream,
            Err(error) => return Observation::failed(ctx, error),
        };
        let (banner, upgrades) = match self.greet(&mut stream).await {
            Ok(greeted) => greeted,
            Err(broken) => return service::seen(Err(broken), ctx, &stream),
        };
        if upgrades {
            stream = match self.service.upgrade(ctx, stream).await {
                Ok(stream) => stream,
                Err(error) => return Observation::failed(ctx, error),
            };
        }
        let told = self.converse(&mut stream, banner).await;
        let observation = service::seen(told, ctx, &stream);
        let _ = stream.send(b"z LOGOUT\r\n").await; // what it makes of it is not our concern
        observation
    }

    async fn greet(&self, stream: &mut TimedStream) -> Result<(String, bool), Broken> {
        let banner = service::printable(&stream.receive_line(LINE_BYTES_MAX).await?);
        if banner.starts_with("* BYE") {
            return Err(Broken::down("it is closing, or has too many connections (BYE)"));
        }
        if !banner.starts_with("* OK") && !banner.starts_with("* PREAUTH") {
            return Err(Broken::Garbled("no greeting"));
        }
        let upgrades = match self.service.encrypt {
            Encrypt::Implicit | Encrypt::None => false,
            wanted => {
                let offers = capabilities(stream).await?.iter().any(|word| word == "STARTTLS");
                if !offers && wanted == Encrypt::StartTls {
                    return Err(Broken::down("it does not offer STARTTLS"));
                }
                offers
            }
        };
        if upgrades {
            command(stream, "s", b"STARTTLS").await?;
        }
        Ok((banner, upgrades))
    }

    async fn converse(&self, stream: &mut TimedStream, banner: String) -> Result<Observation, Broken> {
        // Asked again: what was said before TLS is forgotten (RFC 9051 section 6.2.1).
        let capabilities = capabilities(stream).await?;
        let account = self.service.account();
        if let Some((user, password)) = account {
            if stream.tls().is_none() {
                return Err(Broken::Wants("it would take the password without TLS, which we refuse"));
            }
            let login = format!("LOGIN {} {}", quoted(user), quoted(password.expose()));
            command(stream, "l", login.as_bytes()).await?;
        }
        command(stream, "n", b"NOOP").await?;
        Ok(Observation::up()
            .fact("authenticated", account.is_some())
            .fact("banner", Fact::Hidden(banner))
            .fact("capabilities", capabilities))
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

async fn capabilities(stream: &mut TimedStream) -> Result<Vec<String>, Broken> {
    let lines = command(stream, "c", b"CAPABILITY").await?;
    let said = lines.iter().find_map(|line| line.strip_prefix("* CAPABILITY "));
    let said = said.ok_or(Broken::Garbled("no capabilities"))?;
    Ok(said.split(' ').map(str::to_ascii_uppercase).collect())
}

/// Sends a command and returns the untagged lines before its answer.
async fn command(stream: &mut TimedStream, tag: &str, command: &[u8]) -> Result<Vec<String>, Broken> {
    stream.send(&[tag.as_bytes(), b" ", command, b"\r\n"].concat()).await?;
    let mut lines = Vec::new();
    for _ in 0..LINES_MAX {
        let line = stream.receive_line(LINE_BYTES_MAX).await?;
        let line: String = String::from_utf8_lossy(&line).chars().filter(|c| !c.is_control()).collect();
        let Some(answer) = line.strip_prefix(tag).and_then(|rest| rest.strip_prefix(' ')) else {
            lines.push(line);
            continue;
        };
        let word = answer.split(' ').next().unwrap_or_default();
        return match word {
            "OK" => Ok(lines),
            "NO" if tag == "l" => Err(Broken::down("it refuses the user or the password (NO)")),
            "NO" => Err(Broken::down("it cannot do that (NO)")),
            "BAD" => Err(Broken::down("it does not understand us (BAD)")),
            _ => Err(Broken::Garbled("an answer without a verdict")),
        };
    }
    Err(Broken::Garbled("an answer that does not end"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::State;
    use serde_json::json;

    use super::*;
    use crate::kind::scripted::{Step, look, look_many, say};

    fn account(tls: &str) -> Json {
        json!({"user": "dihya", "password": "hun\"ter\\2", "tls": tls, "insecure": true})
    }

    #[tokio::test]
    async fn starttls_then_a_login_with_quotes() {
        let script = vec![
            say("* OK ready\r\n"),
            Step::HearExactly("c CAPABILITY\r\n".len()),
            say("* CAPABILITY IMAP4rev1 STARTTLS\r\nc OK done\r\n"),
            Step::HearExactly("s STARTTLS\r\n".len()),
            say("s OK go\r\n"),
            Step::Tls,
            Step::Hear,
            say("* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nc OK\r\n"),
            Step::HearWith(r#"LOGIN "dihya" "hun\"ter\\2""#),
            say("* CAPABILITY IMAP4rev1\r\nl OK in\r\n"),
            Step::HearWith("NOOP"),
            say("n OK\r\n"),
            Step::Hear,
        ];
        let seen = look(&KIND, account("auto"), script).await;
        assert_eq!((seen.state, seen.reason.as_str()), (State::Up, ""));
        assert_eq!(seen.facts.get("capabilities"), Some(&Fact::from(vec!["IMAP4REV1", "AUTH=PLAIN"])));
        assert!(seen.timings.tls.is_some());
    }

    #[tokio::test]
    async fn hostile_and_broken_answers_say_why() {
        let said = |answer: &str| vec![say("* OK x\r\n"), Step::Hear, say(answer)];
        let over_tls = |answer: &str| {
            vec![
                Step::Tls,
                say("* PREAUTH x\r\n"),
                Step::Hear,
                say("* CAPABILITY X\r\nc OK\r\n"),
                Step::Hear,
                say(answer),
            ]
        };
        let endless = "* 1 EXISTS\r\n".repeat(200);
        let cases: Vec<(Json, Vec<Step>, State, &str)> = vec![
            (json!({}), vec![], State::Down, "no complete answer: connection closed by the peer"),
            (json!({}), vec![say("* BYE full\r\n")], State::Down, "it is closing, or has too many connections (BYE)"),
            (json!({}), vec![say("+OK POP3\r\n")], State::Down, "not what was expected: no greeting"),
            (json!({}), said("c OK\r\n"), State::Down, "not what was expected: no capabilities"),
            (json!({}), said("c BAD what\r\n"), State::Down, "it does not understand us (BAD)"),
            (json!({}), said("c NO alice\r\n"), State::Down, "it cannot do that (NO)"),
            (json!({}), said("c WHAT\r\n"), State::Down, "not what was expected: an answer without a verdict"),
            (json!({}), said(&endless), State::Down, "not what was expected: an answer that does not end"),
            (json!({}), said(&"x".repeat(9_000)), State::Down, "no complete answer: line exceeds 8192 bytes"),
            (account("starttls"), said("* CAPABILITY X\r\nc OK\r\n"), State::Down, "it does not offer STARTTLS"),
            (
                account("none"),
                said("* CAPABILITY X\r\nc OK\r\n"),
                State::Unknown,
                "it would take the password without TLS, which we refuse",
            ),
            (account("implicit"), over_tls("l NO no\r\n"), State::Down, "it refuses the user or the password (NO)"),
        ];
        for (options, script, state, reason) in cases {
            let seen = look(&KIND, options, script.clone()).await;
            assert_eq!((seen.state, seen.reason.as_str()), (state, reason), "{script:?}");
            assert!(!format!("{seen:?}").contains("hun"));
        }
        let seen = look_many(&KIND, json!({}), vec![vec![Step::Hang]], Duration::from_millis(100)).await;
        assert_eq!(seen.reason, "no complete answer: timed out");
    }

    #[tokio::test]
    async fn a_certificate_that_does_not_verify_ends_it() {
        let script = vec![
            say("* OK ready\r\n"),
            Step::HearExactly("c CAPABILITY\r\n".len()),
            say("* CAPABILITY STARTTLS\r\nc OK done\r\n"),
            Step::HearExactly("s STARTTLS\r\n".len()),
            say("s OK go\r\n"),
            Step::Tls,
        ];
        let seen = look(&KIND, json!({"tls": "starttls"}), script).await;
        assert!(seen.reason.starts_with("TLS handshake failed: "), "{}", seen.reason);
        let seen = look(&KIND, json!({"tls": "implicit"}), vec![say("* OK this is no TLS\r\n")]).await;
        assert!(seen.reason.starts_with("TLS handshake failed: "), "{}", seen.reason);
    }

    #[test]
    fn what_cannot_work_is_refused_at_once() {
        for (options, path) in [
            (json!({"address": "mail", "user": "dihya"}), "user"),
            (json!({"address": "mail", "user": "a\r\nb", "password": "x"}), "user"),
            (json!({"address": "mail", "user": "a", "password": "x\r\n"}), "password"),
        ] {
            let issues = (KIND.build)(&options).map(|_| ()).expect_err("it cannot work");
            assert_eq!(issues[0].path, path, "{issues:?}");
        }
        assert_eq!(read(&json!({"address": "mail:993"})).map(|imap| imap.service.encrypt), Ok(Encrypt::Implicit));
    }
}
