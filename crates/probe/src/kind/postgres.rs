//! PostgreSQL: TLS, a login, and a question whose answer a condition can judge.
//!
//! The frontend/backend protocol 3.0 by hand (PostgreSQL documentation, chapter "Frontend/Backend Protocol"): the
//! few messages that a login and a simple query need. What the server writes in its errors stays with us: its
//! SQLSTATE, and our own words for it, go into the reason.

use std::sync::Arc;

use md5::{Digest as _, Md5};
use model::config::{FieldSpec, Spec, Ty};
use model::{BoxFuture, Private};
use serde::Deserialize;
use serde_json::Value as Json;

use self::scram::{Proven, Refusal, Scram};
use super::service::{self, Broken, Encrypt, Service};
use crate::config::{self, Issue};
use crate::connect::spec::tls_fields;
use crate::connect::{Error, Phase, TimedStream};
use crate::fact::{Fact, FactSpec, Shape, fact};
use crate::kind::{Ctx, Defaults, Kind, Observation, Probe};

mod scram;

/// The kind.
pub static KIND: Kind = Kind {
    name: "postgres",
    spec: &SPEC,
    facts: FACTS,
    defaults: Defaults::TLS,
    build: |json| Ok(Arc::new(Postgres::read(json)?)),
};

static SPEC: Spec = Spec {
    name: "postgres check",
    doc: "Logs in to PostgreSQL and asks it something. Without a user, it is enough that it asks for a login.",
    fields: tls_fields![
        FieldSpec::required("address", Ty::Text, "Where it listens, `host:port`; the port is 5432 unless given."),
        service::UPGRADE,
        service::USER,
        service::PASSWORD,
        FieldSpec::optional("database", Ty::Text, "", "Database to log in to; the one named as the user if left out."),
        FieldSpec::optional(
            "query",
            Ty::Text,
            "",
            "Question to ask after the login; conditions read its answer as `value`, `row` and `rows`.",
        ),
    ],
};

const FACTS: &[FactSpec] = &[
    fact("authenticated", "Whether we logged in.").is(Shape::Flag),
    fact("in_recovery", "Whether it is a standby."),
    fact("read_only", "Whether a transaction of ours may not write.").is(Shape::Flag),
    fact("row", "The first row of the answer to `query`, by column."),
    fact("rows", "How many rows the answer to `query` has.").is(Shape::Number),
    fact("server_version", "The version that it states.").is(Shape::Text),
    fact("tls", "What TLS showed: see the kind `tls`.").is(Shape::TLS),
    fact("value", "The first column of the first row of the answer to `query`."),
];

/// Protocol 3.0.
const PROTOCOL: u32 = 196_608;
/// The number that asks for TLS in place of a protocol version.
const SSL_REQUEST: u32 = 80_877_103;
/// Longest message that we take.
const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// Most columns of an answer that we take.
const COLUMNS_MAX: usize = 256;

/// What may be asked of every server after a login.
const STANDING: &str = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')";

struct Postgres {
    service: Service,
    database: Option<String>,
    query: Option<String>,
}

#[derive(Deserialize)]
struct Options {
    database: Option<String>,
    query: Option<String>,
}

impl Postgres {
    fn read(json: &Json) -> Result<Self, Vec<Issue>> {
        let service = Service::read(json, 5_432, |_| Encrypt::Auto)?;
        let Options { database, query } = config::read(json)?;
        for (path, text) in [("database", &database), ("query", &query), ("user", &service.user)] {
            if text.as_deref().is_some_and(|text| text.contains('\0')) {
                return Err(vec![Issue::new(path, "a NUL byte cannot be sent to PostgreSQL")]);
            }
        }
        if query.is_some() && service.user.is_none() {
            return Err(vec![Issue::new("query", "asking needs a login").suggest("set user and password")]);
        }
        Ok(Self { service, database, query })
    }

    async fn look(&self, ctx: &Ctx) -> Result<Observation, Error> {
        let mut stream = self.connect(ctx).await?;
        let told = match &self.service.user {
            Some(user) => self.converse(ctx, &mut stream, user).await,
            None => self.knock(ctx, &mut stream).await,
        };
        let observation = service::seen(told, ctx, &stream);
        let _ = stream.send(&framed(b'X', b"")).await; // Terminate: what it makes of it is not our concern
        Ok(observation)
    }

    /// Without an account, a server that asks who we are is as healthy as can be told.
    async fn knock(&self, ctx: &Ctx, stream: &mut TimedStream) -> Result<Observation, Broken> {
        match self.login(ctx, stream, "dihya").await {
            Ok(login) => Ok(Observation::up().fact("authenticated", true).fact("server_version", login.version)),
            Err(Broken::Wants(_)) => Ok(Observation::up().fact("authenticated", false)),
            Err(Broken::Says(code, _)) if code.starts_with("28") || code == "3D000" => {
                Ok(Observation::up().fact("authenticated", false))
            }
            Err(broken) => Err(broken),
        }
    }

    async fn connect(&self, ctx: &Ctx) -> Result<TimedStream, Error> {
        let mut stream = self.service.connect(ctx).await?;
        if self.service.encrypt == Encrypt::None {
            return Ok(stream);
        }
        stream.send(&[8_u32.to_be_bytes(), SSL_REQUEST.to_be_bytes()].concat()).await?;
        let mut answer = [0];
        stream.receive_exact(&mut answer).await?;
        match answer[0] {
            b'S' => self.service.upgrade(ctx, stream).await,
            b'N' if self.service.encrypt == Encrypt::Auto => Ok(stream),
            b'N' => Err(Error::target(Phase::Tls, "it does not offer TLS").timed(stream.timings())),
            _ => Err(Error::target(Phase::Receive, "it does not speak PostgreSQL").timed(stream.timings())),
        }
    }

    async fn converse(&self, ctx: &Ctx, stream: &mut TimedStream, user: &str) -> Result<Observation, Broken> {
        let login = self.login(ctx, stream, user).await?;
        let mut observation = Observation::up().fact("authenticated", true).fact("server_version", login.version);
        match ask(stream, STANDING).await {
            Ok(table) => {
                let mut row = table.first.into_iter().map(|(_, fact)| fact);
                observation = observation.fact("in_recovery", row.next().unwrap_or(Fact::Null));
                let read_only = matches!(row.next(), Some(Fact::Hidden(text)) if text == "on");
                observation = observation.fact("read_only", read_only);
            }
            // Poolers and look-alikes have no such functions, and are not broken for it.
            Err(Broken::Says(code, _)) if code.starts_with("42") => {}
            Err(broken) => return Err(broken),
        }
        if let Some(query) = &self.query {
            // LOCAL: the setting ends with this question and does not leak into a pooler's session.
            let query = format!("SET LOCAL statement_timeout = {}; {query}", service::millis_left(ctx));
            let table = ask(stream, &query).await?;
            observation = observation
                .fact("rows", table.rows)
                .fact("value", table.first.first().map_or(Fact::Null, |(_, fact)| fact.clone()))
                .fact("row", Fact::map(table.first));
        }
        Ok(observation)
    }

    async fn login(&self, ctx: &Ctx, stream: &mut TimedStream, user: &str) -> Result<Login, Broken> {
        stream.send(&startup(user, self.database.as_deref())).await?;
        let mut login = Login { version: None, proof: Proof::None };
        loop {
            let (kind, body) = message(stream).await?;
            match kind {
                b'R' => {
                    if let Some(answer) =
                        login.answer(&body, user, self.service.password.as_ref(), ctx, stream.tls().is_some())?
                    {
                        stream.send(&answer).await?;
                    }
                }
                b'S' => login.parameter(&body),
                b'Z' => return Ok(login),
                b'E' => return Err(refused(&body)),
                b'K' | b'N' | b'v' => {}
                _ => return Err(Broken::Garbled("an unexpected message during the login")),
            }
        }
    }
}

impl Probe for Postgres {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn run<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Observation> {
        Box::pin(async move { self.look(ctx).await.unwrap_or_else(|error| Observation::failed(ctx, error)) })
    }
}

/// A login under way, and what the server said of itself meanwhile.
struct Login {
    version: Option<String>,
    proof: Proof,
}

enum Proof {
    None,
    Begun(Scram),
    Sent(Proven),
    Confirmed,
}

impl Login {
    fn parameter(&mut self, body: &[u8]) {
        let mut texts = body.split(|byte| *byte == 0);
        if texts.next() == Some(b"server_version") {
            self.version = texts.next().map(service::printable);
        }
    }

    /// Returns the message that answers an authentication request.
    fn answer(
        &mut self,
        body: &[u8],
        user: &str,
        password: Option<&Private<String>>,
        ctx: &Ctx,
        encrypted: bool,
    ) -> Result<Option<Vec<u8>>, Broken> {
        let (code, rest) = body.split_first_chunk().ok_or(Broken::Garbled("a cut message"))?;
        let code = u32::from_be_bytes(*code);
        if code == 0 {
            // A server that skips its proof is not the one we know.
            return match self.proof {
                Proof::Begun(_) | Proof::Sent(_) => Err(Broken::down(Refusal::Proof.to_string())),
                Proof::None | Proof::Confirmed => Ok(None),
            };
        }
        let password = password.ok_or(Broken::Wants("it asks for a password, and the check has none"))?;
        let reply = match (code, std::mem::replace(&mut self.proof, Proof::None)) {
            (3, _) if !encrypted => {
                return Err(Broken::Wants("it asks for the password in clear without TLS, which we refuse"));
            }
            (3, _) => [password.expose().as_bytes(), b"\0"].concat(),
            (5, _) => md5_answer(user, password, rest),
            (10, _) => {
                if !rest.split(|byte| *byte == 0).any(|name| name == b"SCRAM-SHA-256") {
                    return Err(Broken::Wants("it asks for a login that we do not know"));
                }
                let mut random = [0; 18];
                ctx.means.rng.fill(&mut random);
                let scram = Scram::new(random);
                let first = scram.first();
                self.proof = Proof::Begun(scram);
                [b"SCRAM-SHA-256\0", &length(first.len())[..], first.as_bytes()].concat()
            }
            (11, Proof::Begun(scram)) => {
                let (last, proven) = scram.prove(rest, password).map_err(|why| Broken::down(why.to_string()))?;
                self.proof = Proof::Sent(proven);
                last.into_bytes()
            }
            (12, Proof::Sent(proven)) => {
                proven.confirm(rest).map_err(|why| Broken::down(why.to_string()))?;
                self.proof = Proof::Confirmed;
                return Ok(None);
            }
            (11 | 12, _) => return Err(Broken::Garbled("a login out of order")),
            _ => return Err(Broken::Wants("it asks for a login that we do not know")),
        };
        Ok(Some(framed(b'p', &reply)))
    }
}

/// The first row of an answer and how many there are.
struct Table {
    first: Vec<(String, Fact)>,
    rows: u64,
}

async fn ask(stream: &mut TimedStream, query: &str) -> Result<Table, Broken> {
    stream.send(&framed(b'Q', &[query.as_bytes(), b"\0"].concat())).await?;
    let mut columns = Vec::new();
    let mut table = Table { first: Vec::new(), rows: 0 };
    let mut said = None;
    loop {
        let (kind, body) = message(stream).await?;
        match kind {
            b'T' => columns = described(&body).ok_or(Broken::Garbled("a row description"))?,
            b'D' => {
                if table.rows == 0 {
                    table.first = row(&columns, &body).ok_or(Broken::Garbled("a row"))?;
                }
                table.rows += 1;
            }
            b'E' => said = said.or_else(|| Some(refused(&body))),
            b'Z' => return said.map_or(Ok(table), Err),
            b'C' | b'I' | b'N' | b'S' => {}
            b'G' | b'H' | b'W' => return Err(Broken::Wants("the query copies data, which a check cannot judge")),
            _ => return Err(Broken::Garbled("an unexpected message after a query")),
        }
    }
}

async fn message(stream: &mut TimedStream) -> Result<(u8, Vec<u8>), Broken> {
    let mut head = [0; 5];
    stream.receive_exact(&mut head).await?;
    let [kind, length @ ..] = head;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    let Some(length) = length.checked_sub(4).filter(|length| *length <= MESSAGE_BYTES_MAX) else {
        return Err(Broken::Garbled("a message of impossible length"));
    };
    let mut body = vec![0; length];
    stream.receive_exact(&mut body).await?;
    Ok((kind, body))
}

fn startup(user: &str, database: Option<&str>) -> Vec<u8> {
    let mut body = PROTOCOL.to_be_bytes().to_vec();
    let database = database.unwrap_or(user);
    for (name, value) in
        [("user", user), ("database", database), ("application_name", "dihya"), ("client_encoding", "UTF8")]
    {
        for text in [name, value] {
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
    }
    body.push(0);
    [&length(body.len() + 4)[..], &body].concat()
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &length(body.len() + 4)[..], body].concat()
}

fn length(len: usize) -> [u8; 4] {
    u32::try_from(len).expect("invariant: what we send is bounded by the configuration file").to_be_bytes()
}

/// `md5` of (`md5` of password and user, and salt), as PostgreSQL did before SCRAM.
fn md5_answer(user: &str, password: &Private<String>, salt: &[u8]) -> Vec<u8> {
    let inner = hex(&Md5::digest([password.expose().as_bytes(), user.as_bytes()].concat()));
    let outer = hex(&Md5::digest([inner.as_bytes(), salt].concat()));
    format!("md5{outer}\0").into_bytes()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn refused(body: &[u8]) -> Broken {
    let code = sqlstate(body);
    let reason = format!("{} (SQLSTATE {code})", meaning(&code));
    Broken::Says(code, reason)
}

/// The five characters of the field `C` of an error; `?????` where there are none.
fn sqlstate(body: &[u8]) -> String {
    let code = body.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"C"));
    let sound = code.filter(|code| code.len() == 5 && code.iter().all(u8::is_ascii_alphanumeric));
    sound.map_or_else(|| "?????".to_owned(), |code| String::from_utf8_lossy(code).into_owned())
}

/// What a SQLSTATE means (PostgreSQL documentation, appendix A), in words for whoever is woken by it.
fn meaning(code: &str) -> &'static str {
    match code {
        "28P01" => "it refuses the user or the password",
        "28000" => "it refuses the login",
        "3D000" => "the database does not exist",
        "53300" => "it has no connection left",
        "53100" => "its disk is full",
        "53200" => "it is out of memory",
        "57P03" => "it is starting, stopping or recovering",
        "57P01" | "57P02" => "it is being shut down",
        "57014" => "it took too long for the query",
        "25006" => "it may not be written to",
        "42501" => "the user may not do that",
        "42P01" => "the query names a table that does not exist",
        "42601" => "the query is not valid SQL",
        _ => match code.split_at_checked(2).map_or("", |(class, _)| class) {
            "08" => "it could not keep the connection",
            "28" => "it refuses the login",
            "42" => "it cannot run the query",
            "53" => "it is out of resources",
            "57" => "an operator stopped the query",
            "58" | "XX" => "it has an internal error",
            _ => "it answers with an error",
        },
    }
}

/// Columns of a row description: names and types.
fn described(body: &[u8]) -> Option<Vec<(String, u32)>> {
    let (count, mut rest) = body.split_first_chunk()?;
    let count = usize::from(u16::from_be_bytes(*count));
    let mut columns = Vec::new();
    for _ in 0..count.min(COLUMNS_MAX) {
        let end = rest.iter().position(|byte| *byte == 0)?;
        let (name, after) = rest.split_at(end);
        // NUL, table 4, attribute 2, then type 4, size 2, modifier 4, format 2.
        let (fixed, after) = after.split_first_chunk::<19>()?;
        let [_, _, _, _, _, _, _, a, b, c, d, ..] = *fixed;
        columns.push((service::printable(name), u32::from_be_bytes([a, b, c, d])));
        rest = after;
    }
    Some(columns)
}

/// Values of a row by column: numbers and truths as such, all else as text that results do not show.
fn row(columns: &[(String, u32)], body: &[u8]) -> Option<Vec<(String, Fact)>> {
    let (_, mut rest) = body.split_first_chunk::<2>()?;
    let mut row = Vec::new();
    for (name, oid) in columns {
        let (length, after) = rest.split_first_chunk()?;
        let length = i32::from_be_bytes(*length);
        let Ok(length) = usize::try_from(length) else {
            row.push((name.clone(), Fact::Null));
            rest = after;
            continue;
        };
        let (value, after) = after.split_at_checked(length)?;
        row.push((name.clone(), typed(*oid, value)));
        rest = after;
    }
    Some(row)
}

/// A value in text format by the type's number in `pg_type`.
fn typed(oid: u32, value: &[u8]) -> Fact {
    if oid == 16 {
        return Fact::Bool(value == b"t");
    }
    let numeric = matches!(oid, 20 | 21 | 23 | 26 | 700 | 701 | 1_700);
    service::number_or_hidden(String::from_utf8_lossy(value).into_owned(), numeric)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::State;
    use serde_json::json;

    use super::*;
    use crate::kind::scripted::{Step, look, look_many, say};

    fn auth(code: u32, rest: &[u8]) -> Vec<u8> {
        framed(b'R', &[&code.to_be_bytes()[..], rest].concat())
    }

    fn ready() -> Vec<u8> {
        framed(b'Z', b"I")
    }

    fn welcome() -> Vec<u8> {
        [auth(0, b""), framed(b'S', b"server_version\x0016.2\0"), framed(b'K', &[0; 8]), ready()].concat()
    }

    fn error(code: &str) -> Vec<u8> {
        framed(b'E', format!("SFATAL\0C{code}\0Mpassword authentication failed for user \"alice\"\0\0").as_bytes())
    }

    fn column(name: &str, oid: u32) -> Vec<u8> {
        let mut column = [name.as_bytes(), &[0; 7]].concat();
        column.extend_from_slice(&oid.to_be_bytes());
        column.extend_from_slice(&[0; 8]);
        column
    }

    fn standing() -> Vec<u8> {
        let columns = [&[0, 2][..], &column("pg_is_in_recovery", 16), &column("current_setting", 25)].concat();
        let row = b"\0\x02\0\0\0\x01t\0\0\0\x02on".to_vec();
        [framed(b'T', &columns), framed(b'D', &row), framed(b'C', b"SELECT 1\0"), ready()].concat()
    }

    fn account() -> Json {
        json!({"user": "dihya", "password": "hunter2", "tls": "none"})
    }

    #[tokio::test]
    async fn a_standby_says_so_and_a_pooler_may_not_know() {
        let script = vec![Step::HearWith("application_name"), say(welcome()), Step::Hear, say(standing()), Step::Hear];
        let seen = look(&KIND, account(), script).await;
        assert_eq!((seen.state, seen.reason.as_str()), (State::Up, ""));
        assert_eq!(seen.facts.get("in_recovery"), Some(&Fact::Bool(true)));
        assert_eq!(seen.facts.get("read_only"), Some(&Fact::Bool(true)));
        assert_eq!(seen.facts.get("server_version"), Some(&Fact::Text("16.2".into())));
        let pooler = [error("42883"), ready()].concat();
        let seen = look(&KIND, account(), vec![Step::Hear, say(welcome()), Step::Hear, say(pooler), Step::Hear]).await;
        assert_eq!((seen.state, seen.facts.get("read_only")), (State::Up, None));
    }

    #[tokio::test]
    async fn old_logins_are_answered() {
        // md5(md5("hunter2dihya") + "salt"), computed with Python's hashlib.
        let script = vec![
            Step::Hear,
            say(auth(5, b"salt")),
            Step::HearWith("md5adbcf6cc2a68334c07db18b3ad7c5297"),
            say(welcome()),
            Step::Hear,
            say(standing()),
            Step::Hear,
        ];
        let seen = look(&KIND, account(), script).await;
        assert_eq!((seen.state, seen.reason.as_str()), (State::Up, ""));
        let seen = look(&KIND, account(), vec![Step::Hear, say(auth(3, b""))]).await;
        assert_eq!(seen.reason, "it asks for the password in clear without TLS, which we refuse");
    }

    #[tokio::test]
    async fn a_password_in_clear_goes_over_tls_only() {
        let options = json!({"user": "dihya", "password": "hunter2", "tls": "starttls", "insecure": true});
        let script = vec![
            Step::HearExactly(8),
            say("S"),
            Step::Tls,
            Step::Hear,
            say(auth(3, b"")),
            Step::HearWith("hunter2\0"),
            say(welcome()),
            Step::Hear,
            say(standing()),
            Step::Hear,
        ];
        let seen = look(&KIND, options.clone(), script).await;
        assert_eq!((seen.state, seen.reason.as_str()), (State::Up, ""));
        assert!(seen.facts.get("tls").is_some() && seen.timings.tls.is_some());
        for (answer, reason) in [
            ("N", "TLS handshake failed: it does not offer TLS"),
            ("E", "no complete answer: it does not speak PostgreSQL"),
        ] {
            let seen = look(&KIND, options.clone(), vec![Step::Hear, say(answer)]).await;
            assert_eq!((seen.state, seen.reason.as_str()), (State::Down, reason));
        }
        let auto = json!({"address": "db"});
        let seen = look(&KIND, auto, vec![Step::Hear, say("N"), Step::Hear, say(welcome()), Step::Hear]).await;
        assert_eq!(seen.state, State::Up, "auto goes on without TLS");
        assert_eq!(seen.facts.get("authenticated"), Some(&Fact::Bool(true)));
    }

    /// What a server does, and what we make of it.
    fn hostile() -> Vec<(Vec<Step>, State, &'static str)> {
        let sasl = b"SCRAM-SHA-256\0\0";
        vec![
            (vec![], State::Down, "no complete answer: connection closed by the peer"),
            (
                vec![Step::Hear, say(b"HTTP/1.1 400")],
                State::Down,
                "not what was expected: a message of impossible length",
            ),
            (
                vec![Step::Hear, say(b"R\0\0\0\x01")],
                State::Down,
                "not what was expected: a message of impossible length",
            ),
            (vec![Step::Hear, say(framed(b'R', b"\0"))], State::Down, "not what was expected: a cut message"),
            (
                vec![Step::Hear, say(framed(b'?', b""))],
                State::Down,
                "not what was expected: an unexpected message during the login",
            ),
            (vec![Step::Hear, say(auth(7, b""))], State::Unknown, "it asks for a login that we do not know"),
            (
                vec![Step::Hear, say(auth(10, b"SCRAM-SHA-1\0\0"))],
                State::Unknown,
                "it asks for a login that we do not know",
            ),
            (vec![Step::Hear, say(auth(11, b"r=x"))], State::Down, "not what was expected: a login out of order"),
            (vec![Step::Hear, say(auth(12, b"v=x"))], State::Down, "not what was expected: a login out of order"),
            (
                vec![Step::Hear, say(auth(10, sasl)), Step::Hear, say(auth(11, b"r=other,s=AAAA,i=1"))],
                State::Down,
                "the server's SCRAM nonce does not continue ours",
            ),
            (
                vec![Step::Hear, say(auth(10, sasl)), Step::Hear, say(welcome())],
                State::Down,
                "the server does not prove that it knows the password",
            ),
            (
                vec![Step::Hear, say(error("28P01"))],
                State::Down,
                "it refuses the user or the password (SQLSTATE 28P01)",
            ),
            (vec![Step::Hear, say(framed(b'E', b"\0"))], State::Down, "it answers with an error (SQLSTATE ?????)"),
            (
                vec![Step::Hear, say(welcome()), Step::Hear, say([error("57P01"), ready()].concat())],
                State::Down,
                "it is being shut down (SQLSTATE 57P01)",
            ),
            (
                vec![Step::Hear, say(welcome()), Step::Hear, say(framed(b'?', b""))],
                State::Down,
                "not what was expected: an unexpected message after a query",
            ),
            (
                vec![Step::Hear, say(welcome()), Step::Hear, say(framed(b'T', b"\0\x01cut"))],
                State::Down,
                "not what was expected: a row description",
            ),
            (
                vec![
                    Step::Hear,
                    say(welcome()),
                    Step::Hear,
                    say([framed(b'T', &[&[0, 1][..], &column("x", 25)].concat()), framed(b'D', b"\0\x01\0\0\0\x09x")]
                        .concat()),
                ],
                State::Down,
                "not what was expected: a row",
            ),
        ]
    }

    #[tokio::test]
    async fn hostile_logins_say_why_and_keep_the_password() {
        for (script, state, reason) in hostile() {
            let seen = look(&KIND, account(), script.clone()).await;
            assert_eq!((seen.state, seen.reason.as_str()), (state, reason), "{script:?}");
            assert!(!format!("{seen:?}").contains("hunter2") && !seen.reason.contains("alice"));
        }
    }

    #[tokio::test]
    async fn a_server_that_hangs_or_floods_is_left() {
        let seen = look_many(&KIND, account(), vec![vec![Step::Hang]], Duration::from_millis(100)).await;
        assert_eq!(seen.reason, "no complete answer: timed out");
        let notices = Step::Flood(framed(b'N', &[b'x'; 8_000]));
        let seen = look(&KIND, account(), vec![Step::Hear, notices]).await;
        assert_eq!(seen.reason, "no complete answer: answer exceeds 1048576 bytes");
    }

    #[tokio::test]
    async fn without_an_account_a_question_who_we_are_is_health() {
        for (reply, state, authenticated) in [
            (error("28000"), State::Up, Some(false)),
            (error("3D000"), State::Up, Some(false)),
            (auth(5, b"salt"), State::Up, Some(false)),
            (error("57P03"), State::Down, None),
        ] {
            let seen = look(&KIND, json!({"tls": "none"}), vec![Step::Hear, say(reply), Step::Hear]).await;
            assert_eq!(seen.state, state, "{}", seen.reason);
            assert_eq!(seen.facts.get("authenticated"), authenticated.map(Fact::Bool).as_ref());
        }
    }

    #[test]
    fn what_cannot_work_is_refused_at_once() {
        for (options, path) in [
            (json!({"address": "db", "query": "SELECT 1"}), "query"),
            (json!({"address": "db", "user": "a\0b"}), "user"),
            (json!({"address": "db", "database": "a\0b"}), "database"),
            (json!({"address": "db:x"}), "address"),
        ] {
            let issues = (KIND.build)(&options).map(|_| ()).expect_err("it cannot work");
            assert_eq!(issues[0].path, path, "{issues:?}");
        }
    }

    #[test]
    fn codes_and_values_are_read() {
        let all = "28P01 28000 3D000 53300 53100 53200 57P03 57P01 57014 25006 42501 42P01 42601 08006 28X00 42000 53000 57000 58000 XX000 22012";
        for code in all.split(' ') {
            assert!(!meaning(code).is_empty());
        }
        assert_eq!(sqlstate(b"SERROR\0C42P01\0"), "42P01");
        assert_eq!(sqlstate(b"C<xss>\0"), "?????");
        assert_eq!(typed(16, b"t"), Fact::Bool(true));
        assert_eq!(typed(20, b"7"), Fact::Int(7));
        assert_eq!(typed(1_700, b"0.25"), Fact::Float(0.25));
        assert_eq!(typed(1_700, b"lots"), Fact::Hidden("lots".into()));
        assert_eq!(row(&[("x".to_owned(), 20)], b"\0\x01\xff\xff\xff\xff"), Some(vec![("x".to_owned(), Fact::Null)]));
        assert_eq!(row(&[("x".to_owned(), 20)], b""), None);
    }
}
