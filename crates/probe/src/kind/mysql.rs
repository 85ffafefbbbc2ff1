//! MySQL and MariaDB: TLS, a login, and a question whose answer a condition can judge.
//!
//! The client/server protocol by hand (MariaDB Knowledge Base, "Clients & Utilities: Protocol"; MySQL Internals, page
//! "Connection Phase"): handshake version 10, the logins `mysql_native_password` and `caching_sha2_password`, and
//! text queries.

use std::sync::Arc;

use model::config::{FieldSpec, Spec, Ty};
use model::{BoxFuture, Private};
use serde::Deserialize;
use serde_json::Value as Json;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::service::{self, Broken, Encrypt, Service};
use crate::config::{self, Issue};
use crate::connect::TimedStream;
use crate::connect::spec::tls_fields;
use crate::fact::{Fact, FactSpec, Shape, fact};
use crate::kind::{Ctx, Defaults, Kind, Observation, Probe};

/// The kind.
pub static KIND: Kind =
    Kind { name: "mysql", spec: &SPEC, facts: FACTS, defaults: Defaults::TLS, build: |json| Ok(Arc::new(read(json)?)) };

static SPEC: Spec = Spec {
    name: "mysql check",
    doc: "Logs in to MySQL or MariaDB and asks it something. Without a user, it is enough that it greets us.",
    fields: tls_fields![
        FieldSpec::required("address", Ty::Text, "Where it listens, `host:port`; the port is 3306 unless given."),
        service::UPGRADE,
        service::USER,
        service::PASSWORD,
        FieldSpec::optional("database", Ty::Text, "", "Database to log in to."),
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
    fact("read_only", "Whether its `read_only` is on."),
    fact("row", "The first row of the answer to `query`, by column."),
    fact("rows", "How many rows the answer to `query` has.").is(Shape::Number),
    fact("server_version", "The version that it states.").is(Shape::Text),
    fact("tls", "What TLS showed: see the kind `tls`.").is(Shape::TLS),
    fact("value", "The first column of the first row of the answer to `query`."),
];

/// Longest packet that we take.
const PACKET_BYTES_MAX: usize = 256 << 10;
/// Most columns of an answer that we take.
const COLUMNS_MAX: u64 = 256;
/// Most turns that a login may take.
const TURNS_MAX: usize = 8;
/// Length of the scramble that passwords are hashed with.
const SCRAMBLE_BYTES: usize = 20;
/// `utf8mb4_general_ci`, which every server since MySQL 5.5.3 has.
const COLLATION: u8 = 45;

const CONNECT_WITH_DB: u32 = 1 << 3;
const PROTOCOL_41: u32 = 1 << 9;
const SSL: u32 = 1 << 11;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;

const NATIVE: &[u8] = b"mysql_native_password";
const CACHING_SHA2: &[u8] = b"caching_sha2_password";

struct Mysql {
    service: Service,
    database: Option<String>,
    query: Option<String>,
}

#[derive(Deserialize)]
struct Options {
    database: Option<String>,
    query: Option<String>,
}

fn read(json: &Json) -> Result<Mysql, Vec<Issue>> {
    let service = Service::read(json, 3_306, |_| Encrypt::Auto)?;
    let Options { database, query } = config::read(json)?;
    for (path, text) in [("database", &database), ("user", &service.user)] {
        if text.as_deref().is_some_and(|text| text.contains('\0')) {
            return Err(vec![Issue::new(path, "a NUL byte cannot be sent to MySQL")]);
        }
    }
    if query.is_some() && service.user.is_none() {
        return Err(vec![Issue::new("query", "asking needs a login").suggest("set user and password")]);
    }
    Ok(Mysql { service, database, query })
}

impl Probe for Mysql {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn run<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Observation> {
        Box::pin(self.look(ctx))
    }
}

impl Mysql {
    async fn look(&self, ctx: &Ctx) -> Observation {
        let stream = match self.service.connect(ctx).await {
            Ok(stream) => stream,
            Err(error) => return Observation::failed(ctx, error),
        };
        let mut wire = Wire { stream, seq: 0 };
        let greeting = match greeted(&mut wire).await {
            Ok(greeting) => greeting,
            Err(broken) => return service::seen(Err(broken), ctx, &wire.stream),
        };
        let mut flags = PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH;
        if self.database.is_some() {
            flags |= CONNECT_WITH_DB;
        }
        let wants = self.service.encrypt != Encrypt::None;
        if wants && greeting.capabilities & SSL != 0 {
            flags |= SSL;
            if let Err(error) = wire.send(&opening(flags)).await {
                return service::seen(Err(error), ctx, &wire.stream);
            }
            wire.stream = match self.service.upgrade(ctx, wire.stream).await {
                Ok(stream) => stream,
                Err(error) => return Observation::failed(ctx, error),
            };
        } else if self.service.encrypt == Encrypt::StartTls {
            return service::seen(Err(Broken::down("it does not offer TLS")), ctx, &wire.stream);
        }
        let told = match &self.service.user {
            Some(user) => self.converse(&mut wire, &greeting, user, flags).await,
            None => self.knock(&mut wire, &greeting, flags).await,
        };
        let observation = service::seen(told, ctx, &wire.stream);
        wire.seq = 0;
        let _ = wire.send(&[1]).await; // COM_QUIT: what it makes of it is not our concern
        observation
    }

    /// Without an account, a server that asks who we are is as healthy as can be told. Leaving after the greeting
    /// would count as a broken handshake there, and `max_connect_errors` of them block our address.
    async fn knock(&self, wire: &mut Wire, greeting: &Greeting, flags: u32) -> Result<Observation, Broken> {
        let authenticated = match self.login(wire, greeting, "dihya", flags).await {
            Ok(()) => true,
            Err(Broken::Wants(_)) => false,
            Err(Broken::Says(code, _)) if matches!(code.as_str(), "1045" | "1698" | "1044" | "1049") => false,
            Err(broken) => return Err(broken),
        };
        let version = greeting.version.clone();
        Ok(Observation::up().fact("authenticated", authenticated).fact("server_version", version))
    }

    async fn converse(
        &self,
        wire: &mut Wire,
        greeting: &Greeting,
        user: &str,
        flags: u32,
    ) -> Result<Observation, Broken> {
        self.login(wire, greeting, user, flags).await?;
        let standing = ask(wire, "SELECT @@global.read_only").await?;
        let read_only = standing.first.first().map(|(_, fact)| matches!(fact, Fact::Int(1)));
        let mut observation = Observation::up()
            .fact("authenticated", true)
            .fact("server_version", greeting.version.clone())
            .fact("read_only", read_only);
        if let Some(query) = &self.query {
            let table = ask(wire, query).await?;
            observation = observation
                .fact("rows", table.rows)
                .fact("value", table.first.first().map_or(Fact::Null, |(_, fact)| fact.clone()))
                .fact("row", Fact::map(table.first));
        }
        Ok(observation)
    }

    async fn login(&self, wire: &mut Wire, greeting: &Greeting, user: &str, flags: u32) -> Result<(), Broken> {
        let password = self.service.password.as_ref();
        let mut scramble = greeting.scramble;
        // A plugin that we do not know may be the server's default only: the account's own is named in a switch.
        let mut plugin = if greeting.plugin == CACHING_SHA2 { CACHING_SHA2 } else { NATIVE };
        let proof = prove(plugin, password, &scramble);
        let mut reply = opening(flags);
        reply.extend_from_slice(user.as_bytes());
        reply.push(0);
        reply.push(u8::try_from(proof.len()).unwrap_or(0)); // at most 32 bytes
        reply.extend_from_slice(&proof);
        if let Some(database) = &self.database {
            reply.extend_from_slice(database.as_bytes());
            reply.push(0);
        }
        reply.extend_from_slice(plugin);
        reply.push(0);
        wire.send(&reply).await?;
        for _ in 0..TURNS_MAX {
            let packet = wire.receive().await?;
            match packet.split_first() {
                Some((0, _)) => return Ok(()),
                Some((0xff, rest)) => return Err(refused(rest)),
                Some((0xfe, rest)) => {
                    (plugin, scramble) = switched(rest)?;
                    wire.send(&prove(plugin, password, &scramble)).await?;
                }
                // caching_sha2_password: 3, the hash was in the server's cache; 4, it wants the password itself.
                Some((1, [3])) if plugin == CACHING_SHA2 => {}
                Some((1, [4])) if plugin == CACHING_SHA2 => wire.send(&in_full(password, &wire.stream)?).await?,
                _ => return Err(Broken::Garbled("an unexpected packet during the login")),
            }
        }
        Err(Broken::Garbled("a login that does not end"))
    }
}

/// The password itself, which goes over TLS only.
fn in_full(password: Option<&Private<String>>, stream: &TimedStream) -> Result<Vec<u8>, Broken> {
    if stream.tls().is_none() {
        return Err(Broken::Wants("it asks for the password in clear without TLS, which we refuse"));
    }
    let password = password.map_or("", |password| password.expose());
    Ok([password.as_bytes(), b"\0"].concat())
}

/// A connection that speaks in numbered packets.
struct Wire {
    stream: TimedStream,
    seq: u8,
}

impl Wire {
    async fn send(&mut self, body: &[u8]) -> Result<(), Broken> {
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let [a, b, c, 0] = length.to_le_bytes() else {
            return Err(Broken::Wants("the query is longer than a packet"));
        };
        self.stream.send(&[&[a, b, c, self.seq], body].concat()).await?;
        self.seq = self.seq.wrapping_add(1);
        Ok(())
    }

    async fn receive(&mut self) -> Result<Vec<u8>, Broken> {
        let mut head = [0; 4];
        self.stream.receive_exact(&mut head).await?;
        let [a, b, c, seq] = head;
        if seq != self.seq {
            return Err(Broken::Garbled("a packet out of order"));
        }
        self.seq = seq.wrapping_add(1);
        let length = usize::try_from(u32::from_le_bytes([a, b, c, 0])).unwrap_or(usize::MAX);
        if length > PACKET_BYTES_MAX {
            return Err(Broken::Garbled("a packet of impossible length"));
        }
        let mut body = vec![0; length];
        self.stream.receive_exact(&mut body).await?;
        Ok(body)
    }
}

/// What the server says first.
struct Greeting {
    version: String,
    capabilities: u32,
    scramble: [u8; SCRAMBLE_BYTES],
    plugin: Vec<u8>,
}

async fn greeted(wire: &mut Wire) -> Result<Greeting, Broken> {
    let packet = wire.receive().await?;
    match packet.split_first() {
        Some((10, rest)) => greeting(rest).ok_or(Broken::Garbled("a greeting that cannot be read")),
        Some((0xff, rest)) => Err(refused(rest)),
        _ => Err(Broken::Garbled("a greeting of an unknown version")),
    }
}

/// `version NUL | thread 4 | scramble 8 | 0 | capabilities 2 | charset 1 | status 2 | capabilities 2 | scramble length 1
/// | reserved 10 | scramble 12 | 0 | plugin NUL`
fn greeting(rest: &[u8]) -> Option<Greeting> {
    let (version, rest) = until_nul(rest)?;
    let (_thread, rest) = rest.split_first_chunk::<4>()?;
    let (first, rest) = rest.split_first_chunk::<8>()?;
    let (&[_, low, high, _, _, _, upper_low, upper_high, _], rest) = rest.split_first_chunk::<9>()?;
    let (_reserved, rest) = rest.split_first_chunk::<10>()?;
    let (second, rest) = rest.split_first_chunk::<12>()?;
    let mut scramble = [0; SCRAMBLE_BYTES];
    for (to, from) in scramble.iter_mut().zip(first.iter().chain(second)) {
        *to = *from;
    }
    let plugin = rest.split_first().and_then(|(_, rest)| until_nul(rest)).map_or(&[][..], |(plugin, _)| plugin);
    Some(Greeting {
        version: service::printable(version),
        capabilities: u32::from_le_bytes([low, high, upper_low, upper_high]),
        scramble,
        plugin: plugin.to_vec(),
    })
}

/// `plugin NUL | scramble 20 | 0`
fn switched(rest: &[u8]) -> Result<(&'static [u8], [u8; SCRAMBLE_BYTES]), Broken> {
    let (plugin, rest) = until_nul(rest).ok_or(Broken::Garbled("a switch of login that cannot be read"))?;
    let plugin = if plugin == NATIVE {
        NATIVE
    } else if plugin == CACHING_SHA2 {
        CACHING_SHA2
    } else {
        return Err(Broken::Wants("it asks for a login that we do not know"));
    };
    let (scramble, _) = rest.split_first_chunk().ok_or(Broken::Garbled("a switch of login that cannot be read"))?;
    Ok((plugin, *scramble))
}

/// `flags 4 | largest packet 4 | charset 1 | reserved 23`: alone it asks for TLS, else it opens the login.
fn opening(flags: u32) -> Vec<u8> {
    let mut opening = flags.to_le_bytes().to_vec();
    opening.extend_from_slice(&u32::try_from(PACKET_BYTES_MAX).unwrap_or(u32::MAX).to_le_bytes());
    opening.push(COLLATION);
    opening.extend_from_slice(&[0; 23]);
    opening
}

/// The proof that we know the password; none for an empty one.
fn prove(plugin: &[u8], password: Option<&Private<String>>, scramble: &[u8]) -> Vec<u8> {
    let Some(password) = password.map(Private::expose).filter(|password| !password.is_empty()) else {
        return Vec::new();
    };
    if plugin == CACHING_SHA2 {
        let once = Sha256::digest(password.as_bytes());
        let mask = Sha256::digest([&Sha256::digest(once)[..], scramble].concat());
        once.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect()
    } else {
        let once = Sha1::digest(password.as_bytes());
        let mask = Sha1::digest([scramble, &Sha1::digest(once)[..]].concat());
        once.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect()
    }
}

/// The first row of an answer and how many there are.
struct Table {
    first: Vec<(String, Fact)>,
    rows: u64,
}

async fn ask(wire: &mut Wire, query: &str) -> Result<Table, Broken> {
    wire.seq = 0;
    wire.send(&[b"\x03", query.as_bytes()].concat()).await?;
    let mut table = Table { first: Vec::new(), rows: 0 };
    let packet = wire.receive().await?;
    let count = match packet.split_first() {
        Some((0, _)) => return Ok(table),
        Some((0xff, rest)) => return Err(refused(rest)),
        Some((0xfb, _)) => return Err(Broken::Wants("the query asks for a file of ours, which we refuse")),
        _ => lenenc(&packet).map(|(count, _)| count),
    };
    let count = count.filter(|count| (1..=COLUMNS_MAX).contains(count));
    let count = count.ok_or(Broken::Garbled("an answer of impossible width"))?;
    let mut columns = Vec::new();
    for _ in 0..count {
        columns.push(column(&wire.receive().await?).ok_or(Broken::Garbled("a column that cannot be read"))?);
    }
    let end = wire.receive().await?;
    if !is_end(&end) {
        return Err(Broken::Garbled("columns that do not end"));
    }
    loop {
        let packet = wire.receive().await?;
        if is_end(&packet) {
            return Ok(table);
        }
        if let Some((0xff, rest)) = packet.split_first() {
            return Err(refused(rest));
        }
        if table.rows == 0 {
            table.first = row(&columns, &packet).ok_or(Broken::Garbled("a row that cannot be read"))?;
        }
        table.rows += 1;
    }
}

fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&0xfe) && packet.len() < 9
}

/// `catalog | schema | table | original table | name | original name`, each with its length, then `length 1 | charset 2 |
/// size 4 | type 1 ...`
fn column(packet: &[u8]) -> Option<(String, u8)> {
    let mut rest = packet;
    let mut name: &[u8] = &[];
    for index in 0..6 {
        let (text, after) = sized(rest)?;
        if index == 4 {
            name = text;
        }
        rest = after;
    }
    let (&[.., kind], _) = rest.split_first_chunk::<8>()?;
    Some((service::printable(name), kind))
}

fn row(columns: &[(String, u8)], packet: &[u8]) -> Option<Vec<(String, Fact)>> {
    let mut rest = packet;
    let mut row = Vec::new();
    for (name, kind) in columns {
        if let Some((0xfb, after)) = rest.split_first() {
            row.push((name.clone(), Fact::Null));
            rest = after;
            continue;
        }
        let (text, after) = sized(rest)?;
        // Decimal, tiny, short, long, float, double, longlong, int24, year, newdecimal.
        let numeric = matches!(kind, 0..=5 | 8 | 9 | 13 | 246);
        row.push((name.clone(), service::number_or_hidden(String::from_utf8_lossy(text).into_owned(), numeric)));
        rest = after;
    }
    Some(row)
}

/// A text with its length before it.
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = lenenc(bytes)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

/// A length-encoded integer.
fn lenenc(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    match first {
        0..=0xfa => Some((u64::from(*first), rest)),
        0xfc => rest.split_first_chunk().map(|(bytes, rest)| (u64::from(u16::from_le_bytes(*bytes)), rest)),
        0xfd => rest.split_first_chunk().map(|(&[a, b, c], rest)| (u64::from(u32::from_le_bytes([a, b, c, 0])), rest)),
        0xfe => rest.split_first_chunk().map(|(bytes, rest)| (u64::from_le_bytes(*bytes), rest)),
        0xfb | 0xff => None,
    }
}

fn until_nul(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let (text, rest) = bytes.split_at(end);
    rest.split_first().map(|(_, rest)| (text, rest))
}

/// An error packet: `code 2 | # SQLSTATE 5 | message`. The message stays with us.
fn refused(rest: &[u8]) -> Broken {
    let code = rest.split_first_chunk().map_or(0, |(code, _)| u16::from_le_bytes(*code));
    let meaning = match code {
        1040 => "it has no connection left",
        1044 | 1142 | 1227 => "the user may not do that",
        1045 | 1698 => "it refuses the user or the password",
        1049 => "the database does not exist",
        1053 => "it is being shut down",
        1064 => "the query is not valid SQL",
        1129 | 1130 => "it does not let our address in",
        1146 => "the query names a table that does not exist",
        1205 => "the query waited too long for a lock",
        1226 => "the user has used up what it may",
        1290 | 1836 => "it may not be written to",
        1021 | 1114 => "its disk is full",
        3159 | 4151 => "it refuses logins without TLS",
        _ => "it answers with an error",
    };
    Broken::Says(code.to_string(), format!("{meaning} (error {code})"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::State;
    use serde_json::json;

    use super::*;
    use crate::kind::scripted::{Step, look, look_many, say};

    fn packet(seq: u8, body: &[u8]) -> Vec<u8> {
        let [a, b, c, _] = u32::try_from(body.len()).expect("small").to_le_bytes();
        [&[a, b, c, seq], body].concat()
    }

    fn greets(tls: bool, plugin: &str) -> Vec<u8> {
        let capabilities = if tls { SSL } else { 0 } | PROTOCOL_41 | PLUGIN_AUTH;
        let [low, high, upper_low, upper_high] = capabilities.to_le_bytes();
        let mut body = b"\x0a8.4.3\0\x01\0\0\0abcdefgh\0".to_vec();
        body.extend_from_slice(&[low, high, 45, 2, 0, upper_low, upper_high, 21]);
        body.extend_from_slice(&[0; 10]);
        body.extend_from_slice(b"ijklmnopqrst\0");
        body.extend_from_slice(plugin.as_bytes());
        body.push(0);
        packet(0, &body)
    }

    fn column_of(name: &str, kind: u8) -> Vec<u8> {
        let mut body = b"\x03def\0\0\0".to_vec();
        body.push(u8::try_from(name.len()).expect("short"));
        body.extend_from_slice(name.as_bytes());
        body.push(0);
        body.extend_from_slice(&[0x0c, 63, 0, 1, 0, 0, 0, kind, 0, 0, 0, 0, 0]);
        body
    }

    fn answers(columns: &[(&str, u8)], rows: &[&[u8]]) -> Vec<u8> {
        let mut bodies = vec![vec![u8::try_from(columns.len()).expect("few")]];
        bodies.extend(columns.iter().map(|(name, kind)| column_of(name, *kind)));
        bodies.push(b"\xfe\0\0\x02\0".to_vec());
        bodies.extend(rows.iter().map(|row| row.to_vec()));
        bodies.push(b"\xfe\0\0\x02\0".to_vec());
        bodies.iter().enumerate().flat_map(|(n, body)| packet(u8::try_from(n + 1).expect("few"), body)).collect()
    }

    const OK: &[u8] = b"\0\0\0\x02\0\0\0";

    fn error(seq: u8, code: u16) -> Vec<u8> {
        packet(seq, &[&[0xff][..], &code.to_le_bytes(), b"#28000Access denied for user 'alice'"].concat())
    }

    fn account() -> Json {
        json!({"user": "dihya", "password": "hunter2", "database": "clinic", "tls": "none", "query": "SELECT 1"})
    }

    /// The proofs as mysql's own client makes them, computed with Python's hashlib.
    #[test]
    fn passwords_are_hashed_as_the_servers_want_them() {
        let password = Private::new("hunter2".to_owned());
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let scramble = b"abcdefghijklmnopqrst";
        assert_eq!(hex(prove(NATIVE, Some(&password), scramble)), "fb30830c3ec1c2161c75ef8c45977d684a38d8d4");
        assert_eq!(
            hex(prove(CACHING_SHA2, Some(&password), scramble)),
            "38c32b38723affcda57b368b565bac628d5a852428b402c25c4ae036a4fd904f"
        );
        assert_eq!(prove(NATIVE, None, scramble), b"");
        assert_eq!(prove(NATIVE, Some(&Private::new(String::new())), scramble), b"");
    }

    #[tokio::test]
    async fn mysql_8_asks_for_the_password_itself_over_tls() {
        let script = vec![
            say(greets(true, "caching_sha2_password")),
            Step::HearExactly(36),
            Step::Tls,
            Step::HearWith("dihya\0"),
            say(packet(3, &[1, 4])),
            Step::HearWith("hunter2\0"),
            say(packet(5, OK)),
            Step::Hear,
            say(answers(&[("@@global.read_only", 8)], &[b"\x011"])),
            Step::HearWith("SELECT count"),
            say(answers(
                &[("n", 8), ("name", 253), ("ratio", 5), ("gone", 253)],
                &[b"\x0242\x05alice\x030.5\xfb", b"\x011\x01x\x011\xfb"],
            )),
            Step::Hear,
        ];
        let options = json!({
            "user": "dihya", "password": "hunter2", "database": "clinic", "tls": "starttls", "insecure": true,
            "query": "SELECT count(*) n, name, ratio, gone FROM visits",
        });
        let seen = look(&KIND, options, script).await;
        assert_eq!((seen.state, seen.reason.as_str()), (State::Up, ""));
        assert_eq!(seen.facts.get("server_version"), Some(&Fact::Text("8.4.3".into())));
        assert_eq!(seen.facts.get("read_only"), Some(&Fact::Bool(true)));
        assert_eq!(seen.facts.get("value"), Some(&Fact::Int(42)));
        assert_eq!(seen.facts.get("rows"), Some(&Fact::Int(2)));
        let row = Fact::map([
            ("n", Fact::Int(42)),
            ("name", Fact::Hidden("alice".into())),
            ("ratio", Fact::Float(0.5)),
            ("gone", Fact::Null),
        ]);
        assert_eq!(seen.facts.get("row"), Some(&row));
        assert!(seen.facts.get("tls").is_some());
        assert!(seen.timings.tls.is_some() && seen.timings.connect.is_some() && seen.timings.first_byte.is_some());
    }

    #[tokio::test]
    async fn a_cached_password_and_a_switch_of_login_go_on() {
        let switch = [b"\xfecaching_sha2_password\0", &b"tsrqponmlkjihgfedcba\0"[..]].concat();
        let script = vec![
            say(greets(false, "auth_gssapi_client")),
            Step::Hear,
            say(packet(2, &switch)),
            Step::Hear,
            say([packet(4, &[1, 3]), packet(5, OK)].concat()),
            Step::Hear,
            say(answers(&[("x", 8)], &[b"\x010"])),
            Step::Hear,
            say(packet(1, OK)),
            Step::Hear,
        ];
        let seen = look(&KIND, account(), script).await;
        assert_eq!((seen.state, seen.reason.as_str()), (State::Up, ""));
        assert_eq!(seen.facts.get("read_only"), Some(&Fact::Bool(false)));
        assert_eq!(seen.facts.get("rows"), Some(&Fact::Int(0)), "a statement without an answer has no rows");
        assert_eq!(seen.facts.get("value"), Some(&Fact::Null));
    }

    #[tokio::test]
    async fn without_an_account_a_refused_login_is_health() {
        for (reply, authenticated) in
            [(error(2, 1045), false), (packet(2, OK), true), (packet(2, b"\xfeclient_ed25519\0xxxx"), false)]
        {
            let script = vec![say(greets(false, "mysql_native_password")), Step::Hear, say(reply), Step::Hear];
            let seen = look(&KIND, json!({}), script).await;
            assert_eq!((seen.state, seen.reason.as_str()), (State::Up, ""));
            assert_eq!(seen.facts.get("authenticated"), Some(&Fact::Bool(authenticated)));
        }
        let script = vec![say(greets(false, "mysql_native_password")), Step::Hear, say(error(2, 1040))];
        assert_eq!(look(&KIND, json!({}), script).await.reason, "it has no connection left (error 1040)");
    }

    /// What a server does, and what we make of it.
    fn hostile() -> Vec<(Vec<Step>, State, &'static str)> {
        let hello = || say(greets(false, "mysql_native_password"));
        let login = |reply: Vec<u8>| vec![hello(), Step::Hear, say(reply)];
        let asked = |reply: Vec<u8>| vec![hello(), Step::Hear, say(packet(2, OK)), Step::Hear, say(reply)];
        let mut endless = vec![hello(), Step::Hear];
        let switch = [b"\xfemysql_native_password\0", &b"tsrqponmlkjihgfedcba\0"[..]].concat();
        for turn in 0..u8::try_from(TURNS_MAX).expect("few") {
            endless.extend([say(packet(2 + 2 * turn, &switch)), Step::Hear]);
        }
        vec![
            (vec![], State::Down, "no complete answer: connection closed by the peer"),
            (
                vec![say(b"HTTP/1.1 400 Bad Request\r\n\r\n")],
                State::Down,
                "not what was expected: a packet out of order",
            ),
            (vec![say(b"\xff\xff\xff\0")], State::Down, "not what was expected: a packet of impossible length"),
            (vec![say(packet(0, b"\x09old"))], State::Down, "not what was expected: a greeting of an unknown version"),
            (
                vec![say(packet(0, b"\x0a8.0\0abc"))],
                State::Down,
                "not what was expected: a greeting that cannot be read",
            ),
            (vec![say(error(0, 1129))], State::Down, "it does not let our address in (error 1129)"),
            (login(error(2, 1045)), State::Down, "it refuses the user or the password (error 1045)"),
            (login(packet(2, b"")), State::Down, "not what was expected: an unexpected packet during the login"),
            (login(packet(7, OK)), State::Down, "not what was expected: a packet out of order"),
            (login(packet(2, b"\xfeclient_ed25519\0x")), State::Unknown, "it asks for a login that we do not know"),
            (login(packet(2, b"\xfe")), State::Down, "not what was expected: a switch of login that cannot be read"),
            (
                login(packet(2, b"\xfemysql_native_password\0short")),
                State::Down,
                "not what was expected: a switch of login that cannot be read",
            ),
            (endless, State::Down, "not what was expected: a login that does not end"),
            (asked(error(1, 1290)), State::Down, "it may not be written to (error 1290)"),
            (
                asked(packet(1, b"\xfb/etc/passwd")),
                State::Unknown,
                "the query asks for a file of ours, which we refuse",
            ),
            (
                asked(packet(1, b"\xfd\xff\xff\xff")),
                State::Down,
                "not what was expected: an answer of impossible width",
            ),
            (asked(packet(1, b"")), State::Down, "not what was expected: an answer of impossible width"),
            (
                asked([packet(1, b"\x01"), packet(2, b"\x03def\0\0\xfc\xff")].concat()),
                State::Down,
                "not what was expected: a column that cannot be read",
            ),
            (
                asked([packet(1, b"\x01"), packet(2, &column_of("x", 8)), packet(3, b"\x00")].concat()),
                State::Down,
                "not what was expected: columns that do not end",
            ),
            (
                asked(answers(&[("x", 8)], &[b"\xfc\xff\xff"])),
                State::Down,
                "not what was expected: a row that cannot be read",
            ),
            (
                asked(
                    [packet(1, b"\x01"), packet(2, &column_of("x", 8)), packet(3, b"\xfe\0\0\0\0"), error(4, 1205)]
                        .concat(),
                ),
                State::Down,
                "the query waited too long for a lock (error 1205)",
            ),
        ]
    }

    #[tokio::test]
    async fn hostile_and_broken_logins_say_why_and_keep_the_password() {
        for (script, state, reason) in hostile() {
            let seen = look(&KIND, account(), script.clone()).await;
            assert_eq!((seen.state, seen.reason.as_str()), (state, reason), "{script:?}");
            assert!(!format!("{seen:?}").contains("hunter2") && !seen.reason.contains("alice"));
        }
    }

    #[tokio::test]
    async fn tls_is_insisted_on_where_that_is_said() {
        let options = json!({"user": "dihya", "password": "hunter2", "tls": "starttls"});
        let seen = look(&KIND, options.clone(), vec![say(greets(false, "mysql_native_password"))]).await;
        assert_eq!((seen.state, seen.reason.as_str()), (State::Down, "it does not offer TLS"));
        let script = vec![say(greets(true, "mysql_native_password")), Step::HearExactly(36), Step::Tls];
        let seen = look(&KIND, options.clone(), script).await;
        assert_eq!(seen.state, State::Down);
        assert!(seen.reason.starts_with("TLS handshake failed: "), "{}", seen.reason);
        let script = vec![say(greets(false, "caching_sha2_password")), Step::Hear, say(packet(2, &[1, 4]))];
        let seen = look(&KIND, account(), script).await;
        assert_eq!(seen.reason, "it asks for the password in clear without TLS, which we refuse");
        assert_eq!(seen.state, State::Unknown);
    }

    #[tokio::test]
    async fn a_server_that_hangs_or_floods_is_left() {
        let started = std::time::Duration::from_millis(150);
        let seen = look_many(&KIND, account(), vec![vec![Step::Hang]], started).await;
        assert_eq!((seen.state, seen.reason.as_str()), (State::Down, "no complete answer: timed out"));
        assert!(seen.timings.connect.is_some() && seen.timings.first_byte.is_none());
        let flood = vec![
            say(greets(false, "mysql_native_password")),
            Step::Hear,
            say(packet(2, OK)),
            Step::Hear,
            say([packet(1, b"\x01"), packet(2, &column_of("x", 8)), packet(3, b"\xfe\0\0\0\0")].concat()),
            Step::Flood((4..=255).chain(0..=3).flat_map(|seq| packet(seq, &[b'x'; 4_000])).collect()),
        ];
        let mut row = flood;
        row[5] = Step::Flood(
            (4..=255)
                .chain(0..=3)
                .flat_map(|seq| packet(seq, &[&b"\xfc\xa0\x0f"[..], &[b'x'; 4_000]].concat()))
                .collect(),
        );
        let seen = look_many(&KIND, account(), vec![row], Duration::from_secs(5)).await;
        assert_eq!(seen.reason, "no complete answer: answer exceeds 1048576 bytes");
    }

    #[test]
    fn what_cannot_work_is_refused_at_once() {
        for (options, path) in [
            (json!({"address": "db", "query": "SELECT 1"}), "query"),
            (json!({"address": "db", "user": "a\0b"}), "user"),
            (json!({"address": "db", "database": "a\0b"}), "database"),
            (json!({"address": "db:x"}), "address"),
            (json!({"address": 7}), ""),
        ] {
            let issues = (KIND.build)(&options).map(|_| ()).expect_err("it cannot work");
            assert_eq!(issues[0].path, path, "{issues:?}");
        }
    }

    #[test]
    fn lengths_of_all_sizes_are_read() {
        for (bytes, value) in [
            (&b"\x05"[..], Some(5)),
            (b"\xfc\x01\x02", Some(0x0201)),
            (b"\xfd\x01\x02\x03", Some(0x03_0201)),
            (b"\xfe\x01\0\0\0\0\0\0\0", Some(1)),
            (b"\xfe\x01", None),
            (b"\xfb", None),
            (b"\xff", None),
            (b"", None),
        ] {
            assert_eq!(lenenc(bytes).map(|(value, _)| value), value, "{bytes:?}");
        }
        for code in [1044, 1053, 1064, 1146, 1226, 1021, 3159, 9999, 1049, 1698] {
            assert!(matches!(refused(&u16::to_le_bytes(code)), Broken::Says(..)));
        }
        assert!(matches!(refused(b""), Broken::Says(code, _) if code == "0"));
    }
}
