//! SMTP: the greeting, `EHLO`, TLS, a login where there is an account, and `NOOP` (RFC 5321, RFC 3207, RFC 4954).
//!
//! No mail is sent: whether one gets through is what the self-test of the e-mail channel tells.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::config::{FieldSpec, Spec, Ty};
use model::{BoxFuture, Private};
use serde::Deserialize;
use serde_json::Value as Json;

use super::service::{self, Broken, Encrypt, Service};
use crate::config::{self, Issue};
use crate::connect::TimedStream;
use crate::connect::spec::tls_fields;
use crate::fact::{Fact, FactSpec, Shape, fact};
use crate::kind::{Ctx, Defaults, Kind, Observation, Probe};

/// The kind.
pub static KIND: Kind =
    Kind { name: "smtp", spec: &SPEC, facts: FACTS, defaults: Defaults::TLS, build: |json| Ok(Arc::new(read(json)?)) };

static SPEC: Spec = Spec {
    name: "smtp check",
    doc: "Greets a mail server, starts TLS, and logs in where there is an account. Sends no mail.",
    fields: tls_fields![
        FieldSpec::required("address", Ty::Text, "Where it listens, `host:port`; the port is 25 unless given."),
        service::ANY_TLS,
        service::USER,
        service::PASSWORD,
        FieldSpec::optional("helo", Ty::Text, "dihya.invalid", "The name with which we greet it."),
    ],
};

const FACTS: &[FactSpec] = &[
    fact("authenticated", "Whether we logged in.").is(Shape::Flag),
    fact("banner", "What it greets us with.").is(Shape::Text),
    fact("capabilities", "The keywords that it answers to EHLO with, in capitals: `STARTTLS`, `AUTH`, `SIZE` ..."),
    fact("tls", "What TLS showed: see the kind `tls`.").is(Shape::TLS),
];

/// Longest line that we take (RFC 5321 section 4.5.3.1.5 asks for 512).
const LINE_BYTES_MAX: usize = 2_048;
/// Most lines of one reply.
const LINES_MAX: usize = 128;

struct Smtp {
    service: Service,
    helo: String,
}

#[derive(Deserialize)]
struct Options {
    #[serde(default = "helo")]
    helo: String,
}

fn helo() -> String {
    "dihya.invalid".to_owned()
}

fn read(json: &Json) -> Result<Smtp, Vec<Issue>> {
    let service = Service::read(json, 25, |port| if port == 465 { Encrypt::Implicit } else { Encrypt::Auto })?;
    service.check_account()?;
    let Options { helo } = config::read(json)?;
    if helo.is_empty() || !helo.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(vec![Issue::new("helo", "expected a host's name, or an address in brackets")]);
    }
    Ok(Smtp { service, helo })
}

impl Probe for Smtp {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn run<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Observation> {
        Box::pin(self.look(ctx))
    }
}

impl Smtp {
    async fn look(&self, ctx: &Ctx) -> Observation {
        let mut stream = match self.service.connect(ctx).await {
            Ok(stream) => stream,
            Err(error) => return Observation::failed(ctx, error),
        };
        let mut greeted = match self.greet(&mut stream).await {
            Ok(greeted) => greeted,
            Err(broken) => return service::seen(Err(broken), ctx, &stream),
        };
        if greeted.upgrades {
            stream = match self.service.upgrade(ctx, stream).await {
                Ok(stream) => stream,
                Err(error) => return Observation::failed(ctx, error),
            };
            // What was said before TLS is forgotten (RFC 3207 section 4.2).
            match self.introduce(&mut stream).await {
                Ok(capabilities) => greeted.capabilities = capabilities,
                Err(broken) => return service::seen(Err(broken), ctx, &stream),
            }
        }
        let told = self.converse(&mut stream, greeted).await;
        let observation = service::seen(told, ctx, &stream);
        let _ = stream.send(b"QUIT\r\n").await; // what it makes of it is not our concern
        observation
    }

    async fn greet(&self, stream: &mut TimedStream) -> Result<Greeted, Broken> {
        let banner = reply(stream).await?.expect("2")?.first();
        let capabilities = self.introduce(stream).await?;
        let offers = capabilities.iter().any(|line| keyword(line) == "STARTTLS");
        let upgrades = match self.service.encrypt {
            Encrypt::Auto => offers && stream.tls().is_none(),
            Encrypt::StartTls if !offers => return Err(Broken::down("it does not offer STARTTLS")),
            Encrypt::StartTls => true,
            Encrypt::Implicit | Encrypt::None => false,
        };
        if upgrades {
            stream.send(b"STARTTLS\r\n").await?;
            reply(stream).await?.expect("2")?;
        }
        Ok(Greeted { banner, capabilities, upgrades })
    }

    async fn introduce(&self, stream: &mut TimedStream) -> Result<Vec<String>, Broken> {
        stream.send(format!("EHLO {}\r\n", self.helo).as_bytes()).await?;
        let reply = reply(stream).await?.expect("2")?;
        Ok(reply.lines.into_iter().skip(1).collect())
    }

    async fn converse(&self, stream: &mut TimedStream, greeted: Greeted) -> Result<Observation, Broken> {
        let authenticated = self.service.account();
        if let Some((user, password)) = authenticated {
            login(stream, &greeted.capabilities, user, password).await?;
        }
        stream.send(b"NOOP\r\n").await?;
        reply(stream).await?.expect("2")?;
        let capabilities: Vec<String> = greeted.capabilities.iter().map(|line| keyword(line)).collect();
        Ok(Observation::up()
            .fact("authenticated", authenticated.is_some())
            .fact("banner", Fact::Hidden(greeted.banner))
            .fact("capabilities", capabilities))
    }
}

async fn login(
    stream: &mut TimedStream,
    capabilities: &[String],
    user: &str,
    password: &Private<String>,
) -> Result<(), Broken> {
    if stream.tls().is_none() {
        return Err(Broken::Wants("it would take the password without TLS, which we refuse"));
    }
    let line = capabilities.iter().find(|line| keyword(line) == "AUTH").map(String::as_str).unwrap_or_default();
    let offers = |name: &str| line.split([' ', '=']).skip(1).any(|word| word.eq_ignore_ascii_case(name));
    if offers("PLAIN") {
        let pair = BASE64.encode(format!("\0{user}\0{}", password.expose()));
        stream.send(format!("AUTH PLAIN {pair}\r\n").as_bytes()).await?;
    } else if offers("LOGIN") {
        stream.send(b"AUTH LOGIN\r\n").await?;
        for text in [user, password.expose()] {
            reply(stream).await?.expect("334")?;
            stream.send(format!("{}\r\n", BASE64.encode(text)).as_bytes()).await?;
        }
    } else {
        return Err(Broken::down("it does not offer a login that we know"));
    }
    reply(stream).await?.expect("235").map(|_| ())
}

struct Greeted {
    banner: String,
    capabilities: Vec<String>,
    upgrades: bool,
}

/// The first word of a capability, in capitals.
fn keyword(line: &str) -> String {
    line.split([' ', '=']).next().unwrap_or_default().to_ascii_uppercase()
}

/// A reply: three digits, and the texts of its lines.
struct Reply {
    code: String,
    lines: Vec<String>,
}

impl Reply {
    fn expect(self, prefix: &str) -> Result<Self, Broken> {
        if self.code.starts_with(prefix) {
            return Ok(self);
        }
        let meaning = match self.code.as_str() {
            "421" => "it is closing, or has too many connections",
            "454" => "it cannot do that now",
            "450" | "451" | "452" => "it cannot take mail now",
            "530" => "it wants TLS or a login first",
            "534" | "535" => "it refuses the user or the password",
            "554" => "it refuses us",
            code if code.starts_with('4') => "it answers with a temporary error",
            code if code.starts_with('5') => "it answers with an error",
            _ => "it answers with an unexpected code",
        };
        let reason = format!("{meaning} (reply {})", self.code);
        Err(Broken::Says(self.code, reason))
    }

    fn first(mut self) -> String {
        if self.lines.is_empty() { String::new() } else { self.lines.swap_remove(0) }
    }
}

async fn reply(stream: &mut TimedStream) -> Result<Reply, Broken> {
    let mut lines = Vec::new();
    loop {
        let line = stream.receive_line(LINE_BYTES_MAX).await?;
        let (code, text) = line.split_at_checked(3).ok_or(Broken::Garbled("a reply without a code"))?;
        if !code.iter().all(u8::is_ascii_digit) {
            return Err(Broken::Garbled("a reply without a code"));
        }
        let (goes_on, text) = match text.split_first() {
            Some((b'-', text)) => (true, text),
            Some((b' ', text)) => (false, text),
            None => (false, text),
            Some(_) => return Err(Broken::Garbled("a reply without a code")),
        };
        lines.push(service::printable(text));
        if !goes_on {
            return Ok(Reply { code: String::from_utf8_lossy(code).into_owned(), lines });
        }
        if lines.len() >= LINES_MAX {
            return Err(Broken::Garbled("a reply that does not end"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::State;
    use serde_json::json;

    use super::*;
    use crate::kind::scripted::{Step, look, look_many, say};

    fn account(tls: &str) -> Json {
        json!({"user": "dihya", "password": "hunter2", "tls": tls, "insecure": true})
    }

    #[tokio::test]
    async fn starttls_then_a_login_in_two_steps() {
        let script = vec![
            say("220-mail.test\r\n220 ready\r\n"),
            Step::HearExactly("EHLO dihya.invalid\r\n".len()),
            say("250-mail.test\r\n250-STARTTLS\r\n250 SIZE 1000\r\n"),
            Step::HearExactly("STARTTLS\r\n".len()),
            say("220 go\r\n"),
            Step::Tls,
            Step::HearWith("EHLO"),
            say("250-mail.test\r\n250-AUTH=LOGIN\r\n250 8BITMIME\r\n"),
            Step::HearWith("AUTH LOGIN"),
            say("334 VXNlcm5hbWU6\r\n"),
            Step::HearWith("ZGloeWE="),
            say("334 UGFzc3dvcmQ6\r\n"),
            Step::HearWith("aHVudGVyMg=="),
            say("235 2.7.0 ok\r\n"),
            Step::HearWith("NOOP"),
            say("250\r\n"),
            Step::Hear,
        ];
        let seen = look(&KIND, account("auto"), script).await;
        assert_eq!((seen.state, seen.reason.as_str()), (State::Up, ""));
        assert_eq!(seen.facts.get("authenticated"), Some(&Fact::Bool(true)));
        assert_eq!(seen.facts.get("capabilities"), Some(&Fact::from(vec!["AUTH", "8BITMIME"])));
        assert_eq!(seen.facts.get("banner"), Some(&Fact::Hidden("mail.test".into())));
        assert!(seen.facts.get("tls").is_some() && seen.timings.tls.is_some());
    }

    #[tokio::test]
    async fn hostile_and_broken_answers_say_why() {
        let endless = "220-x\r\n".repeat(200);
        let long = "2".repeat(3_000);
        let hello = |answer: &str| vec![say("220 x\r\n"), Step::Hear, say(answer)];
        let over_tls = |answer: &str| {
            vec![Step::Tls, say("220 x\r\n"), Step::Hear, say("250-x\r\n250 AUTH PLAIN\r\n"), Step::Hear, say(answer)]
        };
        let cases: Vec<(Json, Vec<Step>, State, &str)> = vec![
            (json!({}), vec![], State::Down, "no complete answer: connection closed by the peer"),
            (
                json!({}),
                vec![say("421 too many\r\n")],
                State::Down,
                "it is closing, or has too many connections (reply 421)",
            ),
            (json!({}), vec![say("554 alice@x go away\r\n")], State::Down, "it refuses us (reply 554)"),
            (json!({}), vec![say("x\r\n")], State::Down, "not what was expected: a reply without a code"),
            (json!({}), vec![say("abc hello\r\n")], State::Down, "not what was expected: a reply without a code"),
            (json!({}), vec![say("220?x\r\n")], State::Down, "not what was expected: a reply without a code"),
            (json!({}), vec![say(&endless)], State::Down, "not what was expected: a reply that does not end"),
            (json!({}), vec![say(&long)], State::Down, "no complete answer: line exceeds 2048 bytes"),
            (json!({}), hello("502 what\r\n"), State::Down, "it answers with an error (reply 502)"),
            (json!({}), hello("455 later\r\n"), State::Down, "it answers with a temporary error (reply 455)"),
            (json!({}), hello("354 go\r\n"), State::Down, "it answers with an unexpected code (reply 354)"),
            (account("starttls"), hello("250 x\r\n"), State::Down, "it does not offer STARTTLS"),
            (
                account("none"),
                hello("250 AUTH PLAIN\r\n"),
                State::Unknown,
                "it would take the password without TLS, which we refuse",
            ),
            (
                account("implicit"),
                over_tls("535 no\r\n"),
                State::Down,
                "it refuses the user or the password (reply 535)",
            ),
            (account("implicit"), over_tls("454 no\r\n"), State::Down, "it cannot do that now (reply 454)"),
            (
                account("implicit"),
                vec![Step::Tls, say("220 x\r\n"), Step::Hear, say("250 x\r\n")],
                State::Down,
                "it does not offer a login that we know",
            ),
            (
                account("auto"),
                vec![say("220 x\r\n"), Step::Hear, say("250-x\r\n250 STARTTLS\r\n"), Step::Hear, say("454 no\r\n")],
                State::Down,
                "it cannot do that now (reply 454)",
            ),
            (
                json!({}),
                vec![say("220 x\r\n"), Step::Hear, say("250 x\r\n"), Step::Hear, say("450 full\r\n")],
                State::Down,
                "it cannot take mail now (reply 450)",
            ),
        ];
        for (options, script, state, reason) in cases {
            let seen = look(&KIND, options, script.clone()).await;
            assert_eq!((seen.state, seen.reason.as_str()), (state, reason), "{script:?}");
            assert!(!format!("{seen:?}").contains("hunter2"));
        }
        let seen = look_many(&KIND, json!({}), vec![vec![Step::Hang]], Duration::from_millis(100)).await;
        assert_eq!(seen.reason, "no complete answer: timed out");
    }

    #[tokio::test]
    async fn a_certificate_that_does_not_verify_ends_it() {
        let options = json!({"tls": "starttls"});
        let script = vec![
            say("220 x\r\n"),
            Step::HearExactly("EHLO dihya.invalid\r\n".len()),
            say("250-x\r\n250 STARTTLS\r\n"),
            Step::HearExactly("STARTTLS\r\n".len()),
            say("220 go\r\n"),
            Step::Tls,
        ];
        let seen = look(&KIND, options, script).await;
        assert!(seen.reason.starts_with("TLS handshake failed: "), "{}", seen.reason);
        assert!(seen.facts.get("tls").is_some(), "what was seen of the certificate is kept");
    }

    #[test]
    fn what_cannot_work_is_refused_at_once() {
        for (options, path) in [
            (json!({"address": "mail", "user": "dihya"}), "user"),
            (json!({"address": "mail", "password": "x"}), "password"),
            (json!({"address": "mail", "helo": "a b"}), "helo"),
            (json!({"address": "mail", "helo": ""}), "helo"),
        ] {
            let issues = (KIND.build)(&options).map(|_| ()).expect_err("it cannot work");
            assert_eq!(issues[0].path, path, "{issues:?}");
        }
        let service = |address: &str| read(&json!({"address": address})).map(|smtp| smtp.service.encrypt);
        assert_eq!(service("mail"), Ok(Encrypt::Auto));
        assert_eq!(service("mail:465"), Ok(Encrypt::Implicit));
    }
}
