//! Ledgers: another Dihya's, our own, or any C2SP log: its checkpoint is there, signed, goes on from the one before,
//! and is fresh.
//!
//! What was seen last is kept while the program runs, so a log that is cut back or forked between two looks is found.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use disk::{Disk, Open};
use http::{Request, StatusCode};
use http_body_util::Full;
use model::config::{FieldSpec, Spec, Ty};
use model::{BoxFuture, LogFault, LogFiles, LogKeys, LogSeen, Private, Timings};
use serde::Deserialize;
use serde_json::Value as Json;
use tokio::runtime::Handle;
use url::Url;

use super::exchange::Exchange;
use super::file::spoken;
use crate::blocking::Unseen;
use crate::config::{self, Issue};
use crate::connect::spec::tls_fields;
use crate::connect::{Error, NetOptions, Target, TlsOptions};
use crate::fact::{FactSpec, Shape, fact};
use crate::kind::{Ctx, Defaults, Fault, Kind, Observation, Probe};

/// The kind.
pub static KIND: Kind = Kind {
    name: "ledger",
    spec: &SPEC,
    facts: FACTS,
    defaults: Defaults::TLS,
    build: |json| Ok(Arc::new(read(json)?)),
};

static SPEC: Spec = Spec {
    name: "ledger check",
    doc: "Follows a ledger: signatures, that it only grows, and how fresh it is.",
    fields: tls_fields![
        FieldSpec::optional(
            "url",
            Ty::Url(&["http", "https"]),
            "",
            "Where the log answers: `https://HOST/ledger/ORIGIN`."
        ),
        FieldSpec::optional("dir", Ty::Path, "", "Directory of the log, where it is on this machine."),
        FieldSpec::optional("token", Ty::Secret, "", "Token for a log that is not public."),
        FieldSpec::optional(
            "vkey_file",
            Ty::Path,
            "",
            "File with the log's Ed25519 key, as it was given to you; the log's own, as first seen, where it is left out.",
        ),
        FieldSpec::optional("mldsa_file", Ty::Path, "", "File with the log's ML-DSA-44 key; needed with `vkey_file`."),
        FieldSpec::optional(
            "foreign",
            Ty::Bool,
            "false",
            "Whether the log is not a Dihya's and signs with Ed25519 alone."
        ),
        FieldSpec::optional(
            "max_age",
            Ty::Duration { min_ms: 1_000, max_ms: 31_536_000_000 },
            "",
            "How old its last entry may be; not for foreign logs, whose entries are opaque.",
        ),
    ],
};

const FACTS: &[FactSpec] = &[
    fact("age", "How long ago its last entry was admitted; absent for an empty or a foreign log.").is(Shape::Time),
    fact("rotations", "How often its keys were rotated since those that are known.").is(Shape::Number),
    fact("grown", "How many entries it has more than at the look before; absent at the first.").is(Shape::Number),
    fact("origin", "The log's origin.").is(Shape::Text),
    fact("size", "How many entries it has.").is(Shape::Number),
    fact("tls", "What TLS showed: see the kind `tls`.").is(Shape::TLS),
];

/// Longest file with a key.
const KEY_BYTES_MAX: usize = 4_096;

struct Ledger(Arc<Followed>);

/// A log and what was seen of it.
struct Followed {
    place: Place,
    vkey_file: Option<PathBuf>,
    mldsa_file: Option<PathBuf>,
    foreign: bool,
    max_age: Option<Duration>,
    last: Mutex<Option<(LogKeys, LogSeen)>>,
}

enum Place {
    Dir(PathBuf),
    Url(Box<Remote>),
}

struct Remote {
    url: Url,
    target: Target,
    token: Option<Private<String>>,
    net: NetOptions,
    tls: TlsOptions,
}

#[derive(Deserialize)]
struct Options {
    url: Option<Url>,
    dir: Option<PathBuf>,
    #[serde(default, deserialize_with = "model::config::de::secret_opt")]
    token: Option<Private<String>>,
    vkey_file: Option<PathBuf>,
    mldsa_file: Option<PathBuf>,
    #[serde(default)]
    foreign: bool,
    #[serde(default, deserialize_with = "model::config::de::duration_opt")]
    max_age: Option<Duration>,
    #[serde(flatten)]
    net: NetOptions,
    #[serde(flatten)]
    tls: TlsOptions,
}

fn read(json: &Json) -> Result<Ledger, Vec<Issue>> {
    let options: Options = config::read(json)?;
    let mut issues = Vec::new();
    if options.vkey_file.is_none() && options.mldsa_file.is_some() {
        issues.push(Issue::new("mldsa_file", "an ML-DSA-44 key needs its vkey_file"));
    }
    if options.vkey_file.is_some() && options.mldsa_file.is_none() && !options.foreign {
        issues.push(Issue::new("mldsa_file", "a Dihya's ledger is signed twice").suggest("or set foreign: true"));
    }
    if options.foreign && (options.max_age.is_some() || options.mldsa_file.is_some()) {
        issues.push(Issue::new("foreign", "a foreign log has neither readable entries nor an ML-DSA-44 key"));
    }
    let Options { token, vkey_file, mldsa_file, foreign, max_age, net, tls, .. } = options;
    let place = match (options.url, options.dir) {
        (Some(url), None) => {
            let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let port = url.port_or_known_default().unwrap_or(443);
            if token.as_ref().is_some_and(|token| !token.expose().bytes().all(|byte| byte.is_ascii_graphic())) {
                issues.push(Issue::new("token", "a token has no blanks"));
            }
            Place::Url(Box::new(Remote { url, target: Target { host, port }, token, net, tls }))
        }
        (None, Some(dir)) => Place::Dir(dir),
        _ => {
            issues.push(Issue::new("url", "give either url or dir"));
            return Err(issues);
        }
    };
    if !issues.is_empty() {
        return Err(issues);
    }
    Ok(Ledger(Arc::new(Followed { place, vkey_file, mldsa_file, foreign, max_age, last: Mutex::new(None) })))
}

impl Probe for Ledger {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn run<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Observation> {
        Box::pin(async move {
            // Verification is synchronous and reads as it goes, so it works on a thread that may wait.
            let (followed, own) = (Arc::clone(&self.0), ctx.clone());
            let handle = Handle::current();
            let look = move || followed.look(&own, &handle);
            match ctx.means.threads.look(&ctx.id, ctx.deadline, look).await {
                Ok(observation) => observation,
                Err(Unseen::Late) => Observation::down("could not read the ledger: timed out"),
                Err(unseen) => unseen.ours(),
            }
        })
    }
}

impl Followed {
    fn look(&self, ctx: &Ctx, handle: &Handle) -> Observation {
        match &self.place {
            Place::Dir(dir) => {
                let files = Directory { disk: &*ctx.means.disk, dir };
                match self.follow(ctx, &files) {
                    Ok(observation) => observation,
                    Err(LogFault::Unread(why)) => {
                        Observation::unknown(Fault::Setup, format!("could not read the ledger: {why}"))
                    }
                    Err(LogFault::Unsound(why)) => unsound(&why),
                }
            }
            Place::Url(remote) => {
                let files = Fetched { remote, ctx, handle, state: Mutex::new(State::default()) };
                let told = self.follow(ctx, &files);
                let state = files.state.into_inner().unwrap_or_else(PoisonError::into_inner);
                let observation = match (told, state.failed) {
                    (Ok(observation), _) => observation,
                    (Err(LogFault::Unsound(why)), _) => unsound(&why),
                    (Err(LogFault::Unread(_)), Some(error)) => return Observation::failed(ctx, error),
                    (Err(LogFault::Unread(why)), None) => {
                        Observation::down(format!("could not read the ledger: {why}"))
                    }
                };
                let observation = observation.timed(state.timings);
                match state.exchange.as_ref().and_then(Exchange::tls) {
                    Some(tls) => observation.tls(ctx, tls),
                    None => observation,
                }
            }
        }
    }

    fn follow(&self, ctx: &Ctx, files: &dyn LogFiles) -> Result<Observation, LogFault> {
        let Some(follow) = ctx.means.follow.get() else {
            return Ok(Observation::unknown(Fault::Internal, "no verifier of ledgers is at hand"));
        };
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let keys = match (&self.vkey_file, &last) {
            (Some(_), _) => match self.given_keys(ctx) {
                Ok(keys) => keys,
                Err(why) => return Ok(Observation::unknown(Fault::Setup, why)),
            },
            (None, Some((keys, _))) => keys.clone(),
            (None, None) => self.stated_keys(files)?,
        };
        let earlier = last.as_ref().map(|(_, seen)| seen.checkpoint.as_slice());
        let seen = follow.follow(files, &keys, earlier)?;
        let before = last.map(|(_, seen)| seen.size);
        let observation = self.judge(ctx, &seen, before);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((keys, seen));
        Ok(observation)
    }

    fn judge(&self, ctx: &Ctx, seen: &LogSeen, before: Option<u64>) -> Observation {
        let now = u64::try_from(ctx.clock().now().as_millisecond()).unwrap_or_default();
        let age = seen.newest_ms.map(|newest| Duration::from_millis(now.saturating_sub(newest)));
        let observation = match (age, self.max_age) {
            (Some(age), Some(max)) if age > max => {
                let (age, max) = (spoken(age), spoken(max));
                Observation::down(format!("its last entry is {age} old, expected at most {max}"))
            }
            (None, Some(_)) => Observation::down("it has no entry yet"),
            _ => Observation::up(),
        };
        #[expect(clippy::cast_precision_loss, reason = "a number of entries is exact up to 2^53")]
        let size = seen.size as f64;
        let mut observation = observation
            .fact("origin", seen.origin.clone())
            .fact("size", seen.size)
            .fact("age", age)
            .fact("rotations", seen.rotations as u64)
            .figure("size_entries", size);
        if let Some(age) = age {
            observation = observation.figure("age_seconds", age.as_secs_f64());
        }
        match before {
            Some(before) => observation.fact("grown", seen.size.saturating_sub(before)),
            None => observation,
        }
    }

    fn given_keys(&self, ctx: &Ctx) -> Result<LogKeys, &'static str> {
        let read = |path: &Option<PathBuf>, why| match path {
            Some(path) => disk::read(&*ctx.means.disk, path).map(Some).map_err(|_| why),
            None => Ok(None),
        };
        let vkey = read(&self.vkey_file, "vkey_file cannot be read")?.unwrap_or_default();
        Ok(LogKeys { vkey, ml_dsa: read(&self.mldsa_file, "mldsa_file cannot be read")? })
    }

    /// The keys that the log states: they show only that it agrees with itself, and from then on that it stays so.
    fn stated_keys(&self, files: &dyn LogFiles) -> Result<LogKeys, LogFault> {
        let stated = |path: &str| {
            let read = files.read(path, KEY_BYTES_MAX).map_err(LogFault::Unread)?;
            read.ok_or_else(|| LogFault::Unsound(format!("{path} is missing")))
        };
        let ml_dsa = if self.foreign { None } else { Some(stated("mldsa.pub")?) };
        Ok(LogKeys { vkey: stated("vkey")?, ml_dsa })
    }
}

fn unsound(why: &str) -> Observation {
    Observation::down(format!("the ledger cannot be relied on: {why}"))
}

/// A log in a directory.
struct Directory<'a> {
    disk: &'a dyn Disk,
    dir: &'a std::path::Path,
}

impl LogFiles for Directory<'_> {
    fn read(&self, path: &str, max: usize) -> Result<Option<Vec<u8>>, String> {
        let file = match self.disk.open(&self.dir.join(path), Open::Read) {
            Ok(file) => file,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(format!("{path}: {}", error.source.kind())),
        };
        let unread = |error: disk::Error| format!("{path}: {}", error.source.kind());
        let len = usize::try_from(file.len().map_err(unread)?).unwrap_or(usize::MAX);
        if len > max {
            return Err(format!("{path} is longer than {max} bytes"));
        }
        let mut bytes = vec![0; len];
        let count = file.read_at(&mut bytes, 0).map_err(unread)?;
        bytes.truncate(count);
        Ok(Some(bytes))
    }
}

/// A log over HTTP, file by file over one connection.
struct Fetched<'a> {
    remote: &'a Remote,
    ctx: &'a Ctx,
    handle: &'a Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    exchange: Option<Exchange>,
    timings: Timings,
    failed: Option<Error>,
}

impl LogFiles for Fetched<'_> {
    fn read(&self, path: &str, max: usize) -> Result<Option<Vec<u8>>, String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match self.handle.block_on(self.fetch(&mut state, path, max)) {
            Ok((StatusCode::OK, body)) => Ok(Some(body)),
            Ok((StatusCode::NOT_FOUND | StatusCode::GONE, _)) => Ok(None),
            Ok((status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), _)) => {
                Err(format!("it does not let us read it (status {})", status.as_u16()))
            }
            Ok((status, _)) => Err(format!("{path} is answered with status {}", status.as_u16())),
            Err(error) => {
                let why = error.to_string();
                state.failed = Some(error);
                Err(why)
            }
        }
    }
}

impl Fetched<'_> {
    async fn fetch(&self, state: &mut State, path: &str, max: usize) -> Result<(StatusCode, Vec<u8>), Error> {
        let reusable = match &mut state.exchange {
            Some(exchange) => exchange.is_ready().await,
            None => false,
        };
        if !reusable {
            state.exchange = Some(self.remote.open(self.ctx).await?);
        }
        let exchange = state.exchange.as_mut().expect("invariant: just opened");
        let answer = exchange.ask(self.ctx, self.remote.request(path), max).await;
        state.timings = exchange.timings();
        answer.map(|answer| (answer.status, answer.body))
    }
}

impl Remote {
    async fn open(&self, ctx: &Ctx) -> Result<Exchange, Error> {
        let stream = if self.url.scheme() == "https" {
            ctx.connector().tls(&self.target, &self.net, &self.tls, ctx.deadline).await?
        } else {
            ctx.connector().tcp(&self.target, &self.net, ctx.deadline).await?
        };
        Exchange::open(stream, false).await
    }

    fn request(&self, path: &str) -> Request<Full<Bytes>> {
        let uri = format!("{}/{path}", self.url.path().trim_end_matches('/'));
        let mut request = Request::get(uri).header("host", self.target.authority()).header("user-agent", "dihya");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {}", token.expose()));
        }
        request.body(Full::default()).expect("invariant: URL and token have no character that a request cannot have")
    }
}

#[cfg(test)]
mod tests {
    use model::{FollowLog, State};
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;
    use crate::fact::Fact;
    use crate::kind::scripted::{Step, ctx, say};

    /// A verifier to whom a log is a number of entries, and its keys whatever they are.
    struct Counts;

    impl FollowLog for Counts {
        fn follow(&self, files: &dyn LogFiles, keys: &LogKeys, earlier: Option<&[u8]>) -> Result<LogSeen, LogFault> {
            let note = files.read("checkpoint", 64).map_err(LogFault::Unread)?;
            let note = note.ok_or_else(|| LogFault::Unsound("checkpoint is missing".to_owned()))?;
            let number = |note: &[u8]| String::from_utf8_lossy(note).trim().parse::<u64>().ok();
            let size = number(&note).ok_or_else(|| LogFault::Unsound("checkpoint is no number".to_owned()))?;
            assert_eq!(keys.vkey, b"key");
            if earlier.and_then(number).is_some_and(|earlier| earlier > size) {
                return Err(LogFault::Unsound("the log is shorter than it was".to_owned()));
            }
            let newest_ms = (size > 0 && keys.ml_dsa.is_some()).then_some(size * 1_000);
            Ok(LogSeen { origin: "x/y".to_owned(), size, newest_ms, rotations: 0, checkpoint: note })
        }
    }

    fn with_verifier(within: Duration) -> Ctx {
        let ctx = ctx(within);
        assert!(ctx.means.follow.set(Arc::new(Counts)).is_ok());
        ctx
    }

    fn write(dir: &TempDir, name: &str, content: &str) {
        disk::write_atomic(&disk::OsDisk, &dir.path().join(name), content.as_bytes()).expect("writes");
    }

    async fn look(probe: &Arc<dyn Probe>) -> (State, String) {
        let seen = probe.run(&with_verifier(Duration::from_secs(5))).await;
        (seen.state, seen.reason)
    }

    fn said(state: State, reason: &str) -> (State, String) {
        (state, reason.to_owned())
    }

    #[tokio::test]
    async fn a_directory_is_followed_from_look_to_look() {
        let dir = TempDir::new().expect("a directory");
        let probe = (KIND.build)(&json!({"dir": dir.path()})).expect("sound");
        assert_eq!(look(&probe).await, said(State::Down, "the ledger cannot be relied on: mldsa.pub is missing"));
        for (name, content) in [("vkey", "key"), ("mldsa.pub", "key"), ("checkpoint", "3")] {
            write(&dir, name, content);
        }
        let seen = probe.run(&with_verifier(Duration::from_secs(5))).await;
        assert_eq!((seen.state, seen.reason.as_str()), (State::Up, ""));
        assert_eq!(seen.facts.get("size"), Some(&Fact::Int(3)));
        assert_eq!(seen.facts.get("origin"), Some(&Fact::Text("x/y".into())));
        assert_eq!(seen.facts.get("grown"), None);
        write(&dir, "vkey", "another"); // pinned: no longer asked for
        write(&dir, "checkpoint", "8");
        let seen = probe.run(&with_verifier(Duration::from_secs(5))).await;
        assert_eq!(seen.facts.get("grown"), Some(&Fact::Int(5)));
        assert!(seen.figures["age_seconds"] > 1e9);
        write(&dir, "checkpoint", "5");
        let shorter = said(State::Down, "the ledger cannot be relied on: the log is shorter than it was");
        assert_eq!(look(&probe).await, shorter);
        assert_eq!(look(&probe).await, shorter, "what was seen before is not forgotten");
        write(&dir, "checkpoint", &"9".repeat(100));
        let long = said(State::Unknown, "could not read the ledger: checkpoint is longer than 64 bytes");
        assert_eq!(look(&probe).await, long);
    }

    #[tokio::test]
    async fn keys_and_age_are_judged() {
        let dir = TempDir::new().expect("a directory");
        for (name, content) in [("vkey", "key"), ("checkpoint", "3"), ("empty/checkpoint", "0"), ("empty/vkey", "key")]
        {
            if name.starts_with("empty/") {
                std::fs::create_dir_all(dir.path().join("empty")).expect("a directory");
            }
            write(&dir, name, content);
        }
        let key = dir.path().join("vkey");
        let old = json!({"dir": dir.path(), "vkey_file": key, "mldsa_file": key, "max_age": "1h"});
        let (state, reason) = look(&(KIND.build)(&old).expect("sound")).await;
        assert_eq!(state, State::Down);
        assert!(
            reason.starts_with("its last entry is ") && reason.ends_with(" old, expected at most 60 min"),
            "{reason}"
        );
        let empty = json!({"dir": dir.path().join("empty"), "vkey_file": key, "mldsa_file": key, "max_age": "1h"});
        assert_eq!(look(&(KIND.build)(&empty).expect("sound")).await, said(State::Down, "it has no entry yet"));
        let foreign = json!({"dir": dir.path(), "vkey_file": key, "foreign": true});
        assert_eq!(look(&(KIND.build)(&foreign).expect("sound")).await, said(State::Up, ""));
        let foreign = json!({"dir": dir.path(), "foreign": true});
        assert_eq!(look(&(KIND.build)(&foreign).expect("sound")).await, said(State::Up, ""));
        for (key, why) in [("vkey_file", "vkey_file cannot be read"), ("mldsa_file", "mldsa_file cannot be read")] {
            let mut options = old.clone();
            options[key] = json!("/nowhere");
            assert_eq!(look(&(KIND.build)(&options).expect("sound")).await, said(State::Unknown, why));
        }
        let file = json!({"dir": key, "vkey_file": key, "foreign": true});
        let (state, reason) = look(&(KIND.build)(&file).expect("sound")).await;
        assert_eq!(state, State::Unknown, "{reason}");
    }

    async fn fetch(scripts: Vec<Vec<Step>>, within: Duration) -> Observation {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/ledger/x/y/", listener.local_addr().expect("an address"));
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(crate::kind::scripted::serve(listener, scripts));
        let probe = (KIND.build)(&json!({"url": url, "foreign": true, "token": "dhy_secret"})).expect("sound");
        probe.run(&with_verifier(within)).await
    }

    fn file(content: &str) -> Step {
        say(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{content}", content.len()))
    }

    #[tokio::test]
    async fn a_log_over_http_is_followed() {
        let seconds = Duration::from_secs(5);
        let script = vec![
            Step::HearWith("GET /ledger/x/y/vkey HTTP/1.1"),
            file("key"),
            Step::HearWith("authorization: Bearer dhy_secret"),
            file("3"),
        ];
        let seen = fetch(vec![script], seconds).await;
        assert_eq!((seen.state, seen.reason.as_str()), (State::Up, ""));
        assert!(seen.timings.connect.is_some() && seen.timings.first_byte.is_some());
        let status = |status: u16| vec![Step::Hear, say(format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n"))];
        for (script, reason) in [
            (status(404), "the ledger cannot be relied on: vkey is missing"),
            (status(403), "could not read the ledger: it does not let us read it (status 403)"),
            (status(500), "could not read the ledger: vkey is answered with status 500"),
            (vec![], "no complete answer: connection closed by the peer"),
            (vec![Step::Hear, file(&"x".repeat(5_000))], "no complete answer: answer exceeds 4096 bytes"),
        ] {
            let seen = fetch(vec![script], seconds).await;
            assert_eq!((seen.state, seen.reason.as_str()), (State::Down, reason));
            assert!(!format!("{seen:?}").contains("dhy_secret"));
        }
        let seen = fetch(vec![vec![Step::Hang]], Duration::from_millis(200)).await;
        assert_eq!(seen.state, State::Down);
        assert!(seen.reason.ends_with("timed out"), "{}", seen.reason);
        let once = vec![Step::Hear, say("HTTP/1.0 200 OK\r\n\r\nkey")];
        let seen = fetch(vec![once, vec![Step::Hear, file("3")]], seconds).await;
        assert_eq!(seen.state, State::Up, "a server that closes after each answer is asked again: {}", seen.reason);
    }

    #[tokio::test]
    async fn without_a_verifier_we_cannot_tell() {
        let dir = TempDir::new().expect("a directory");
        let probe = (KIND.build)(&json!({"dir": dir.path()})).expect("sound");
        let seen = probe.run(&ctx(Duration::from_secs(5))).await;
        assert_eq!((seen.state, seen.fault), (State::Unknown, Some(Fault::Internal)));
        let probe = (KIND.build)(&json!({"url": "https://127.0.0.1:1/ledger/x/y"})).expect("sound");
        let (state, reason) = look(&probe).await;
        assert_eq!((state, reason.as_str()), (State::Down, "could not connect: connection refused"));
    }

    #[test]
    fn what_cannot_work_is_refused_at_once() {
        for (options, path) in [
            (json!({}), "url"),
            (json!({"url": "http://x/", "dir": "/x"}), "url"),
            (json!({"dir": "/x", "mldsa_file": "/k"}), "mldsa_file"),
            (json!({"dir": "/x", "vkey_file": "/k"}), "mldsa_file"),
            (json!({"dir": "/x", "foreign": true, "max_age": "1h"}), "foreign"),
            (json!({"url": "http://x/", "token": "a b"}), "token"),
        ] {
            let issues = (KIND.build)(&options).map(|_| ()).expect_err("it cannot work");
            assert_eq!(issues[0].path, path, "{issues:?}");
        }
    }
}
