//! Files: is last night's backup there, recent, large enough, and the bytes that were meant?

use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use model::config::{FieldSpec, Spec, Ty};
use model::{BoxFuture, Timestamp};
use serde::Deserialize;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use crate::blocking::Unseen;
use crate::config::{self, Issue};
use crate::fact::{FactSpec, Shape, fact};
use crate::kind::{Ctx, Defaults, Fault, Kind, Observation, Probe};

/// The kind.
pub static KIND: Kind = Kind {
    name: "file",
    spec: &SPEC,
    facts: FACTS,
    defaults: Defaults::AT_ONCE,
    build: |json| Ok(Arc::new(read(json)?)),
};

static SPEC: Spec = Spec {
    name: "file check",
    doc: "Looks at a file, or at the newest of those that a pattern matches: age, size, checksum.",
    fields: &[
        FieldSpec::required(
            "path",
            Ty::Path,
            "The file; `*` and `?` in its last part stand for any text and any character.",
        ),
        FieldSpec::optional(
            "max_age",
            Ty::Duration { min_ms: 1_000, max_ms: 315_360_000_000 },
            "",
            "How old it may be.",
        ),
        FieldSpec::optional("min_size", Ty::Size, "1", "How large it must be."),
        FieldSpec::optional("max_size", Ty::Size, "", "How large it may be."),
        FieldSpec::optional("sha256", Ty::Text, "", "The SHA-256 that it must have, in hexadecimal."),
        FieldSpec::optional(
            "sha256_suffix",
            Ty::Text,
            "",
            "What is added to its name for the file beside it that holds its SHA-256, as `sha256sum` writes it: `.sha256`.",
        ),
    ],
};

const FACTS: &[FactSpec] = &[
    fact("age", "How long ago it was changed.").is(Shape::Time),
    fact("count", "How many files the pattern matches.").is(Shape::Number),
    fact("sha256", "Its SHA-256 in hexadecimal; there when the check or a condition asks for it.").is(Shape::Text),
    fact("size", "Its size in bytes.").is(Shape::Number),
    fact("size_ratio", "Its size divided by that of the second newest; absent where there is none.").is(Shape::Number),
];

/// How far a time stamp may lie ahead of our clock.
const AHEAD_MAX: Duration = Duration::from_secs(300);
/// Most files of a directory that a pattern is held against.
const ENTRIES_MAX: usize = 100_000;
/// Longest file that holds a checksum.
const CHECKSUM_FILE_BYTES_MAX: u64 = 64 << 10;

#[derive(Clone)]
struct Watched {
    path: PathBuf,
    max_age: Option<Duration>,
    min_size: u64,
    max_size: Option<u64>,
    sha256: Option<String>,
    sha256_suffix: Option<String>,
}

#[derive(Deserialize)]
struct Options {
    path: PathBuf,
    #[serde(default, deserialize_with = "model::config::de::duration_opt")]
    max_age: Option<Duration>,
    #[serde(default, deserialize_with = "model::config::de::size_opt")]
    min_size: Option<u64>,
    #[serde(default, deserialize_with = "model::config::de::size_opt")]
    max_size: Option<u64>,
    #[serde(default)]
    sha256: Option<String>,
    #[serde(default)]
    sha256_suffix: Option<String>,
}

fn read(json: &Json) -> Result<Watched, Vec<Issue>> {
    let options: Options = config::read(json)?;
    let mut issues = Vec::new();
    if options.path.file_name().is_none_or(|name| name.to_str().is_none()) {
        issues.push(Issue::new("path", "expected the path of a file"));
    }
    if options.path.parent().is_some_and(|parent| is_pattern(&parent.to_string_lossy())) {
        issues.push(Issue::new("path", "only the last part of a path may be a pattern"));
    }
    let sha256 = options.sha256.map(|sum| sum.to_ascii_lowercase());
    if sha256.as_deref().is_some_and(|sum| !is_sha256(sum)) {
        issues.push(Issue::new("sha256", "expected 64 hexadecimal digits"));
    }
    if sha256.is_some() && options.sha256_suffix.is_some() {
        issues.push(Issue::new("sha256_suffix", "give sha256 or sha256_suffix, not both"));
    }
    if options.sha256_suffix.as_deref().is_some_and(|suffix| suffix.is_empty() || suffix.contains(['/', '\0'])) {
        issues.push(Issue::new("sha256_suffix", "expected an ending of a file's name such as .sha256"));
    }
    if !issues.is_empty() {
        return Err(issues);
    }
    let Options { path, max_age, min_size, max_size, sha256_suffix, .. } = options;
    Ok(Watched { path, max_age, min_size: min_size.unwrap_or(1), max_size, sha256, sha256_suffix })
}

impl Probe for Watched {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn run<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Observation> {
        Box::pin(async move {
            let (watched, now) = (self.clone(), ctx.clock().now());
            let hash = ctx.reads("sha256");
            let stop = Stop::default();
            let stopped = Arc::clone(&stop.0);
            let look = move || watched.look(now, hash, &stopped);
            match ctx.means.threads.look(&ctx.id, ctx.deadline, look).await {
                Ok(observation) => observation,
                Err(Unseen::Late) => {
                    Observation::unknown(Fault::Resources, "reading the file takes longer than the check's timeout")
                }
                Err(unseen) => unseen.ours(),
            }
        })
    }
}

/// Stops the reading of a large file when the probe is dropped.
#[derive(Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A file that was found.
struct Found {
    path: PathBuf,
    size: u64,
    modified: SystemTime,
}

impl Watched {
    fn look(&self, now: Timestamp, hash: bool, stop: &AtomicBool) -> Observation {
        let mut found = match self.find() {
            Ok(found) => found,
            Err(error) => return unreadable("it", &error),
        };
        found.sort_by_key(|file| std::cmp::Reverse(file.modified));
        let Some(newest) = found.first() else {
            let reason = if self.pattern().is_some() { "no file matches" } else { "the file does not exist" };
            return Observation::down(reason).fact("count", 0_u64);
        };
        let (age, ahead) = age(now, newest.modified);
        let mut observation = Observation::up()
            .fact("count", found.len())
            .fact("age", age)
            .fact("size", newest.size)
            .figure("size_bytes", precise(newest.size))
            .figure("age_seconds", age.as_secs_f64());
        if let Some(before) = found.get(1).filter(|file| file.size > 0) {
            observation = observation.fact("size_ratio", precise(newest.size) / precise(before.size));
        }
        if let Some(reason) = self.wrong_size_or_age(newest.size, age) {
            return worsened(observation, Observation::down(reason));
        }
        if self.sha256.is_some() || self.sha256_suffix.is_some() || hash {
            observation = match self.judge_sum(&newest.path, stop) {
                Ok((sum, None)) => observation.fact("sha256", sum),
                Ok((sum, Some(reason))) => worsened(observation.fact("sha256", sum), Observation::down(reason)),
                Err(broken) => return worsened(observation, broken),
            };
        }
        if observation.state == model::State::Up && ahead > AHEAD_MAX {
            return worsened(observation, Observation::degraded("its time stamp lies ahead of our clock"));
        }
        observation
    }

    fn pattern(&self) -> Option<&str> {
        self.path.file_name().and_then(|name| name.to_str()).filter(|name| is_pattern(name))
    }

    fn find(&self) -> std::io::Result<Vec<Found>> {
        let file = |path: PathBuf, meta: &Metadata| {
            Ok::<_, std::io::Error>(Found { path, size: meta.len(), modified: meta.modified()? })
        };
        let Some(pattern) = self.pattern() else {
            return match fs::metadata(&self.path) {
                Ok(meta) if meta.is_file() => Ok(vec![file(self.path.clone(), &meta)?]),
                Ok(_) => Ok(Vec::new()),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
                Err(error) => Err(error),
            };
        };
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries.take(ENTRIES_MAX) {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| matches(pattern, name)) else { continue };
            if self.sha256_suffix.as_deref().is_some_and(|suffix| name.ends_with(suffix)) {
                continue; // `backup-*` matches the checksums beside the backups too
            }
            match fs::metadata(entry.path()) {
                Ok(meta) if meta.is_file() => found.push(file(entry.path(), &meta)?),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {} // rotated away meanwhile
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn wrong_size_or_age(&self, size: u64, age: Duration) -> Option<String> {
        if size < self.min_size {
            return Some(format!("it has {size} bytes, expected at least {}", self.min_size));
        }
        if let Some(max) = self.max_size.filter(|max| size > *max) {
            return Some(format!("it has {size} bytes, expected at most {max}"));
        }
        let max = self.max_age.filter(|max| age > *max)?;
        Some(format!("it is {} old, expected at most {}", spoken(age), spoken(max)))
    }

    /// Returns the file's sum and what is wrong with it.
    fn judge_sum(&self, path: &Path, stop: &AtomicBool) -> Result<(String, Option<&'static str>), Observation> {
        let sum = sum(path, stop).map_err(|error| unreadable("it", &error))?;
        let wanted = match (&self.sha256, &self.sha256_suffix) {
            (Some(wanted), _) => wanted.clone(),
            (None, Some(suffix)) => self.stated_sum(path, suffix)?,
            (None, None) => return Ok((sum, None)),
        };
        let wrong = (sum != wanted).then_some("its content is not what its checksum says");
        Ok((sum, wrong))
    }

    /// The first word of the file beside it, or of the line there that names it.
    fn stated_sum(&self, path: &Path, suffix: &str) -> Result<String, Observation> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(suffix);
        let mut text = String::new();
        let read = File::open(&beside).and_then(|file| file.take(CHECKSUM_FILE_BYTES_MAX).read_to_string(&mut text));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Observation::down("the file with its checksum does not exist"));
            }
            Err(error) => return Err(unreadable("the file with its checksum", &error)),
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let mut lines = text.lines().filter_map(|line| {
            let (sum, rest) = line.split_once(' ').unwrap_or((line, ""));
            Some((sum.to_ascii_lowercase(), rest.trim_start_matches([' ', '*']))).filter(|(sum, _)| is_sha256(sum))
        });
        let stated = lines
            .find(|(_, named)| named.is_empty() || Path::new(named).file_name().and_then(|n| n.to_str()) == Some(name));
        stated.map(|(sum, _)| sum).ok_or_else(|| Observation::down("the file with its checksum does not name it"))
    }
}

/// Keeps the facts and figures of what was seen under a worse verdict.
fn worsened(mut observation: Observation, verdict: Observation) -> Observation {
    observation.state = verdict.state;
    observation.reason = verdict.reason;
    observation.fault = verdict.fault;
    observation
}

fn unreadable(what: &str, error: &std::io::Error) -> Observation {
    match error.kind() {
        ErrorKind::PermissionDenied => Observation::unknown(Fault::Setup, format!("we may not read {what}")),
        ErrorKind::InvalidData => Observation::down(format!("{what} is not text")),
        ErrorKind::Interrupted => Observation::unknown(Fault::Resources, "reading was stopped"),
        kind => Observation::down(format!("could not read {what}: {kind}")),
    }
}

fn sum(path: &Path, stop: &AtomicBool) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 256 << 10];
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(ErrorKind::Interrupted.into());
        }
        let count = file.read(&mut chunk)?;
        if count == 0 {
            return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hash.update(chunk.get(..count).unwrap_or_default());
    }
}

/// How old it is, and how far ahead of us its time stamp lies.
fn age(now: Timestamp, modified: SystemTime) -> (Duration, Duration) {
    let now = SystemTime::from(now);
    match now.duration_since(modified) {
        Ok(age) => (age, Duration::ZERO),
        Err(ahead) => (Duration::ZERO, ahead.duration()),
    }
}

/// Says a length of time in its largest whole unit.
pub(super) fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a size is exact up to 8 PiB")]
const fn precise(size: u64) -> f64 {
    size as f64
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// Tells whether `name` fits `pattern`. A star gives up one character at a time, so the worst case is the product of
/// the lengths.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(c) = name.get(seen) {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(p) if p == c || *p == '?' => {
                at += 1;
                seen += 1;
            }
            _ => match &mut star {
                Some((from, taken)) => {
                    *taken += 1;
                    at = *from + 1;
                    seen = *taken;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|p| *p == '*')
}

#[cfg(test)]
mod tests {
    use model::State;
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;
    use crate::fact::Fact;
    use crate::kind::scripted::ctx;

    const SUM: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"; // of "hello"

    fn write(dir: &TempDir, name: &str, content: &str, age: Duration) -> PathBuf {
        let path = dir.path().join(name);
        disk::write_atomic(&disk::OsDisk, &path, content.as_bytes()).expect("writes");
        let modified = SystemTime::from(model::Clock::now(&disk::OsClock::default())) - age;
        File::options().write(true).open(&path).expect("opens").set_modified(modified).expect("sets its time");
        path
    }

    async fn look(options: Json) -> Observation {
        let probe = (KIND.build)(&options).expect("sound");
        let mut ctx = ctx(Duration::from_secs(5));
        ctx.reads = Arc::new(["sha256".to_owned()].into());
        probe.run(&ctx).await
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn last_nights_backup_is_there_and_sound() {
        let dir = TempDir::new().expect("a directory");
        write(&dir, "db-1.sql.gz", "hellohello", 26 * 60 * MINUTE);
        let newest = write(&dir, "db-2.sql.gz", "hello", 2 * 60 * MINUTE);
        write(&dir, "db-2.sql.gz.sha256", &format!("{SUM}  db-2.sql.gz\n"), MINUTE);
        write(&dir, "other", "x", MINUTE);
        std::fs::create_dir(dir.path().join("db-3.sql.gz")).expect("a directory");
        let options = json!({
            "path": dir.path().join("db-*"), "max_age": "26h", "min_size": 5, "max_size": "1KiB", "sha256_suffix": ".sha256",
        });
        let seen = look(options.clone()).await;
        assert_eq!((seen.state, seen.reason.as_str()), (State::Up, ""));
        assert_eq!(seen.facts.get("count"), Some(&Fact::Int(2)));
        assert_eq!(seen.facts.get("size"), Some(&Fact::Int(5)));
        assert_eq!(seen.facts.get("size_ratio"), Some(&Fact::Float(0.5)));
        assert_eq!(seen.facts.get("sha256"), Some(&Fact::Text(SUM.into())));
        assert!((seen.figures["age_seconds"] - 7_200.0).abs() < 60.0);
        // A byte changes; the checksum goes missing, names another file, is no text.
        write(&dir, "db-2.sql.gz", "hellO", 60 * MINUTE);
        assert_eq!(look(options.clone()).await.reason, "its content is not what its checksum says");
        write(&dir, "db-2.sql.gz.sha256", &format!("{SUM} *db-9.sql.gz\n"), MINUTE);
        assert_eq!(look(options.clone()).await.reason, "the file with its checksum does not name it");
        write(&dir, "db-2.sql.gz.sha256", SUM, MINUTE);
        assert_eq!(look(options.clone()).await.reason, "its content is not what its checksum says");
        disk::write_atomic(&disk::OsDisk, &dir.path().join("db-2.sql.gz.sha256"), &[0xff, 0xfe]).expect("writes");
        assert_eq!(look(options.clone()).await.reason, "the file with its checksum is not text");
        std::fs::remove_file(dir.path().join("db-2.sql.gz.sha256")).expect("removes");
        assert_eq!(look(options).await.reason, "the file with its checksum does not exist");
        std::fs::remove_file(newest).expect("removes");
    }

    #[tokio::test]
    async fn each_thing_wrong_has_its_reason() {
        let dir = TempDir::new().expect("a directory");
        let path = write(&dir, "dump", "hello", 3 * 24 * 60 * MINUTE);
        let empty = write(&dir, "empty", "", MINUTE);
        let ahead = write(&dir, "ahead", "x", Duration::ZERO);
        let later = SystemTime::from(model::Clock::now(&disk::OsClock::default())) + 60 * MINUTE;
        File::options().write(true).open(&ahead).expect("opens").set_modified(later).expect("sets its time");
        for (options, state, reason) in [
            (json!({"path": dir.path().join("none")}), State::Down, "the file does not exist"),
            (json!({"path": dir.path().join("none*")}), State::Down, "no file matches"),
            (json!({"path": dir.path().join("none/x*")}), State::Down, "no file matches"),
            (json!({"path": dir.path()}), State::Down, "the file does not exist"),
            (json!({"path": path.join("x*")}), State::Down, "could not read it: not a directory"),
            (json!({"path": path.join("x")}), State::Down, "could not read it: not a directory"),
            (json!({"path": path, "max_age": "26h"}), State::Down, "it is 3 days old, expected at most 26 h"),
            (json!({"path": path, "min_size": "1KiB"}), State::Down, "it has 5 bytes, expected at least 1024"),
            (json!({"path": path, "max_size": 4}), State::Down, "it has 5 bytes, expected at most 4"),
            (json!({"path": path, "sha256": SUM.to_uppercase()}), State::Up, ""),
            (json!({"path": path, "sha256": "0".repeat(64)}), State::Down, "its content is not what its checksum says"),
            (json!({"path": path}), State::Up, ""),
            (json!({"path": empty}), State::Down, "it has 0 bytes, expected at least 1"),
            (json!({"path": empty, "min_size": 0}), State::Up, ""),
            (json!({"path": ahead}), State::Degraded, "its time stamp lies ahead of our clock"),
        ] {
            let seen = look(options.clone()).await;
            assert_eq!((seen.state, seen.reason.as_str()), (state, reason), "{options}");
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_in_time_tells_nothing() {
        let dir = TempDir::new().expect("a directory");
        let fifo = dir.path().join("pipe");
        let path = write(&dir, "dump", "hello", MINUTE);
        let probe = (KIND.build)(&json!({"path": path, "sha256": SUM})).expect("sound");
        let seen = probe.run(&ctx(Duration::ZERO)).await;
        assert!(matches!(seen.state, State::Unknown | State::Up), "{seen:?}");
        let stopped = AtomicBool::new(true);
        assert_eq!(sum(&path, &stopped).map_err(|error| error.kind()), Err(ErrorKind::Interrupted));
        assert_eq!(unreadable("it", &ErrorKind::Interrupted.into()).fault, Some(Fault::Resources));
        let denied = unreadable("it", &ErrorKind::PermissionDenied.into());
        assert_eq!((denied.state, denied.reason.as_str()), (State::Unknown, "we may not read it"));
        assert!(!fifo.exists());
    }

    #[test]
    fn what_cannot_work_is_refused_at_once() {
        for (options, path) in [
            (json!({"path": "/"}), "path"),
            (json!({"path": "/back*/db"}), "path"),
            (json!({"path": "/db", "sha256": "abc"}), "sha256"),
            (json!({"path": "/db", "sha256": SUM, "sha256_suffix": ".sha256"}), "sha256_suffix"),
            (json!({"path": "/db", "sha256_suffix": "/x"}), "sha256_suffix"),
        ] {
            let issues = (KIND.build)(&options).map(|_| ()).expect_err("it cannot work");
            assert_eq!(issues[0].path, path, "{issues:?}");
        }
    }

    #[test]
    fn patterns_match_as_people_expect() {
        for (pattern, name, fits) in [
            ("*", "", true),
            ("*", "any", true),
            ("db-*.gz", "db-2026.gz", true),
            ("db-*.gz", "db-2026.gz.part", false),
            ("db-*", "xdb-1", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "ab-ab-a", false),
            ("é?", "éa", true),
            ("abc", "abcd", false),
            ("abc", "ab", false),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
        for (seconds, text) in [(5, "5 s"), (600, "10 min"), (10_000, "2 h"), (864_000, "10 days")] {
            assert_eq!(spoken(Duration::from_secs(seconds)), text);
        }
    }
}
