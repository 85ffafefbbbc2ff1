//! Files that are written, renamed, cut, replaced and taken away, and a process that ends in between.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use disk::{OsClock, OsDisk};
use model::{BoxFuture, Recorded, SeededRng, Signal};
use serde_json::json;

use super::*;
use crate::admission::tests::Door;
use crate::sources::Config;

/// A directory with files that are followed by hand, on a clock of its own.
struct Bench {
    dir: tempfile::TempDir,
    watch: Watch,
    now: Duration,
}

fn sources(config: serde_json::Value) -> Vec<Source> {
    let config: Config = serde_json::from_value(config).expect("reads");
    assert_eq!(config.check(), []);
    let source = |files: &FilesConfig| Source {
        patterns: files.paths.clone(),
        stream: files.stream.clone(),
        tenant: files.tenant.clone(),
        rules: files.rules().expect("compiles"),
    };
    config.files.iter().map(source).collect()
}

fn watch(sources: Vec<Source>, kept: Kept) -> Watch {
    static SEED: AtomicU64 = AtomicU64::new(1);
    let rng = Arc::new(SeededRng::new(SEED.fetch_add(1, Ordering::Relaxed)));
    Watch {
        sources,
        tails: Vec::new(),
        kept,
        scanned_at: None,
        ailments: BTreeSet::new(),
        rng,
        key: [7; 32],
        must_keep: false,
        has_read: false,
    }
}

impl Bench {
    fn new(pattern: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let sources = sources(json!({"files": [{"paths": dir.path().join(pattern), "stream": "app"}]}));
        Self { dir, watch: watch(sources, Kept::default()), now: Duration::ZERO }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        let mut file = OpenOptions::new().append(true).create(true).open(path).expect("opens");
        file.write_all(text.as_bytes()).expect("writes");
    }

    fn rename(&self, from: &str, to: &str) {
        #[expect(clippy::disallowed_methods, reason = "what logrotate does")]
        std::fs::rename(self.dir.path().join(from), self.dir.path().join(to)).expect("renames");
    }

    fn cut(&self, name: &str) {
        OpenOptions::new().write(true).open(self.dir.path().join(name)).expect("opens").set_len(0).expect("cuts");
    }

    /// Reads all that has come after some time, and takes it as durable.
    fn read(&mut self, after_s: u64) -> Vec<String> {
        self.now += Duration::from_secs(after_s);
        let mut texts = Vec::new();
        loop {
            let batches = self.watch.round(self.now);
            if batches.is_empty() && !self.watch.has_read {
                return texts;
            }
            for batch in batches {
                let (_, tail) = self.watch.tails.get_mut(batch.tail).expect("is there");
                for record in batch.records {
                    tail.durable = record.end;
                    texts.push(String::from_utf8_lossy(&record.text).into_owned());
                }
            }
        }
    }

    /// Ends and begins again with what is known of each file.
    fn restart(&mut self) {
        let kept = keep::tests::of(&self.watch);
        let sources = std::mem::take(&mut self.watch.sources);
        self.watch = watch(sources, kept);
    }
}

#[test]
fn lines_come_once_through_renames_and_new_files() {
    let mut bench = Bench::new("app.log*");
    bench.write("app.log", "one\ntwo\nhal");
    assert_eq!(bench.read(0), ["one", "two"]);
    assert_eq!(bench.read(1), Vec::<String>::new());
    bench.write("app.log", "f\n");
    bench.rename("app.log", "app.log.1");
    bench.write("app.log.1", "late\n");
    bench.write("app.log", "three\n");
    let mut read = bench.read(1);
    read.sort();
    assert_eq!(read, ["half", "late", "three"]);
    bench.restart();
    assert_eq!(bench.read(1), Vec::<String>::new(), "both are known again");
    bench.write("app.log", "four\n");
    assert_eq!(bench.read(1), ["four"]);
}

#[test]
fn a_file_whose_name_is_gone_is_read_to_its_end() {
    let mut bench = Bench::new("app.log");
    bench.write("app.log", "one\n");
    assert_eq!(bench.read(0), ["one"]);
    bench.write("app.log", "two\nwithout an end");
    bench.rename("app.log", "old");
    bench.write("app.log", "three\n");
    let mut read = bench.read(1);
    read.sort();
    assert_eq!(read, ["three", "two"]);
    bench.write("old", ", at last\nmore");
    assert_eq!(bench.read(1), ["without an end, at last"]);
    assert_eq!(bench.read(11), ["more"]);
    bench.read(1);
    assert_eq!(bench.watch.tails.len(), 1, "it is let go");
    std::fs::remove_file(bench.dir.path().join("app.log")).expect("removes");
    bench.read(11);
    bench.read(11);
    assert!(bench.watch.tails.is_empty());
}

#[test]
fn a_file_that_is_cut_or_written_anew_begins_anew() {
    let mut bench = Bench::new("app.log");
    bench.write("app.log", "2026-11-28 one\n2026-11-28 two\nrest");
    assert_eq!(bench.read(0).len(), 2);
    bench.cut("app.log");
    bench.write("app.log", "2026-11-29 three\n");
    assert_eq!(bench.read(1), ["rest", "2026-11-29 three"]);
    // Cut, and longer than before when it is looked at again.
    bench.cut("app.log");
    bench.write("app.log", &"2026-11-30 four\n".repeat(3));
    assert_eq!(bench.read(1), ["2026-11-30 four"; 3]);
    // The same while nobody looks.
    bench.restart();
    bench.cut("app.log");
    bench.write("app.log", &"2026-12-01 five\n".repeat(5));
    assert_eq!(bench.read(1), ["2026-12-01 five"; 5]);
    bench.restart();
    bench.cut("app.log");
    assert_eq!(bench.read(1), Vec::<String>::new());
    bench.write("app.log", "2026-12-01 six\n");
    assert_eq!(bench.read(1), ["2026-12-01 six"]);
}

#[test]
fn what_is_too_long_is_cut_and_what_may_go_on_is_waited_for() {
    let mut bench = Bench::new("app.log");
    let long = "x".repeat(FILE_RECORD_BYTES_MAX * 3);
    bench.write("app.log", &format!("{long}\nshort\n"));
    let read = bench.read(0);
    assert_eq!(read.iter().map(String::len).collect::<Vec<_>>(), [FILE_RECORD_BYTES_MAX, 5]);
    let pattern = bench.dir.path().join("*.trace");
    bench.watch.sources =
        sources(json!({"files": [{"paths": [pattern], "stream": "app", "multiline": {"begins": "^\\S"}}]}));
    bench.watch.scanned_at = None;
    bench.write("a.trace", "error\n  at a\n");
    assert_eq!(bench.read(1), Vec::<String>::new(), "it may go on");
    bench.write("a.trace", "  at b\n");
    assert_eq!(bench.read(1), Vec::<String>::new());
    assert_eq!(bench.read(3), ["error\n  at a\n  at b"]);
}

#[test]
fn what_cannot_be_read_ails_by_its_path() {
    let mut bench = Bench::new("secret/*.log");
    std::fs::create_dir(bench.dir.path().join("secret")).expect("made");
    bench.read(0);
    assert!(bench.watch.ailments.is_empty());
    // Root reads everything, so the words are tested by hand.
    let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    assert_eq!(ailment(Path::new("/var/log/x"), &denied), "files: cannot read /var/log/x: permission denied");
    let ailments = Ailments::default();
    ailments.set(["a".to_owned()].into());
    assert_eq!(ailments.list(), ["a"]);
}

#[test]
fn what_cannot_be_carried_out_is_refused_by_name() {
    let config = json!({"files": [
        {"paths": "/a", "stream": "app-2026.11.28"},
        {"paths": "/a", "stream": "app", "multiline": {"begins": "a", "goes_on": "b"}},
        {"paths": "/a", "stream": "app", "multiline": {"goes_on": "("}},
    ]});
    let config: Config = serde_json::from_value(config).expect("reads");
    let paths: Vec<String> = config.check().into_iter().map(|(path, ..)| path).collect();
    assert_eq!(paths, ["files.0.stream", "files.1.multiline", "files.2.multiline"]);
}

#[test]
fn records_are_events_of_their_format() {
    let bench = Bench::new("app.log");
    bench.write("app.log", "x");
    let path = bench.dir.path().join("app.log");
    let tail = Tail::open(&path, "abcdefghij".into(), Duration::ZERO).expect("opens");
    let made = |format: &str, text: &str| {
        let mut source = sources(json!({"files": [{"paths": "/a", "stream": "app", "format": format}]})).remove(0);
        source.stream = "app".into();
        let text = text.as_bytes().to_vec();
        let record = Record { text, time_ns: Some(5), io: Some("stderr"), end: 9, malformed: None };
        event(&record, &source, &tail, 7)
    };
    let json = "{\"level\":\"error\",\"msg\":\"broken\"}";
    assert_eq!(made("plain", json).body, Some(json.into()));
    for format in ["json", "docker", "cri"] {
        let event = made(format, json);
        assert_eq!((event.severity, event.body.clone(), event.time_ns), (17, Some("broken".into()), Some(5)));
        assert_eq!(event.attributes.get(keep::NEXT), Some(&Value::U64(9)));
        assert_eq!(event.attributes.get(keep::ID), Some(&"abcdefghij".into()));
        assert_eq!(event.attributes.get("log.iostream"), Some(&"stderr".into()));
    }
    assert_eq!(made("json", "text").attributes.get("log.malformed"), Some(&"expected a JSON object".into()));
    assert_eq!(made("cri", "text").attributes.get("log.malformed"), None);
}

/// The records of a door, as the ledger would read them back.
struct Past(Tenant, std::vec::IntoIter<Event>);

impl Feed for Past {
    fn tenant(&self) -> &Tenant {
        &self.0
    }

    fn read(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Recorded>, Refusal>> {
        let record = |event: Event| Recorded {
            position: 0,
            admitted_at: Timestamp::UNIX_EPOCH,
            signal: Signal { tenant: Tenant::default(), source: SourceId::FILES, body: event.into() },
        };
        let records = self.1.by_ref().take(max).map(record).collect();
        Box::pin(async move { Ok(records) })
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

struct Nothing;

impl Lose for Nothing {
    fn lose(&self, _: &Tenant, _: &'static str, _: Kind, _: u64) {}
}

fn means(dir: &Path, door: &Arc<Door>) -> Means {
    let clock = Arc::new(OsClock::default());
    let (past, durable) = (Arc::clone(door), Arc::clone(door));
    Means {
        receiver: Arc::new(Receiver::new(door.clone(), clock.clone())),
        losses: Arc::new(Nothing),
        clock,
        rng: Arc::new(disk::OsRng),
        disk: Arc::new(OsDisk),
        kept: dir.join("sources.json"),
        key: [7; 32],
        records: Box::new(move |tenant, from| {
            let events = past.events().split_off(usize::try_from(from).expect("fits"));
            Ok(Box::new(Past(tenant.clone(), events.into_iter())) as Box<dyn Feed>)
        }),
        durable: Box::new(move |_| Some(durable.events().len() as u64)),
        ailments: Arc::default(),
    }
}

async fn until(door: &Arc<Door>, count: usize) {
    let there = async {
        while door.events().len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), there).await.expect("in time");
    assert_eq!(door.events().len(), count);
}

#[tokio::test]
async fn a_process_that_is_killed_goes_on_at_the_exact_byte() {
    let bench = Bench::new("app.log");
    let config: Config =
        serde_json::from_value(json!({"files": [{"paths": bench.dir.path().join("app.log"), "stream": "app"}]}))
            .expect("reads");
    let door = Door::new(usize::MAX);
    let mut written = 0;
    let mut write = |count: usize| {
        for _ in 0..count {
            bench.write("app.log", &format!("line {written} of many\n"));
            written += 1;
        }
        written
    };
    write(1_500);
    for round in 0..3 {
        let mut tasks = tokio::task::JoinSet::new();
        let (halt, halted) = watch::channel(false);
        tasks.spawn(follow(config.files.clone(), means(bench.dir.path(), &door), halted));
        until(&door, write(0)).await;
        // More comes within the second in which no position is kept, and then the end without a word.
        let all = write(700);
        until(&door, all).await;
        write(10);
        if round == 1 {
            until(&door, all + 10).await;
            halt.send_replace(true);
            tasks.join_next().await.expect("a task").expect("ends well");
        } else {
            tasks.shutdown().await;
        }
    }
    let mut tasks = tokio::task::JoinSet::new();
    let (_halt, halted) = watch::channel(false);
    tasks.spawn(follow(config.files, means(bench.dir.path(), &door), halted));
    until(&door, write(0)).await;
    let bodies: Vec<_> = door.events().into_iter().filter_map(|event| event.body).collect();
    let expected: Vec<Value> = (0..bodies.len()).map(|n| format!("line {n} of many").as_str().into()).collect();
    assert!(bodies == expected, "each once, in order");
}

#[tokio::test]
async fn a_full_ledger_is_waited_for_and_a_torn_file_of_positions_loses_nothing() {
    let bench = Bench::new("app.log");
    let config: Config =
        serde_json::from_value(json!({"files": [{"paths": bench.dir.path().join("*.log"), "stream": "app"}]}))
            .expect("reads");
    bench.write("app.log", "one\ntwo\n");
    disk::write_atomic(&OsDisk, &bench.dir.path().join("sources.json"), b"{torn").expect("writes");
    let door = Door::new(1);
    let (halt, halted) = watch::channel(false);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(follow(config.files.clone(), means(bench.dir.path(), &door), halted));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(door.events().is_empty(), "both or none");
    halt.send_replace(true);
    tasks.join_next().await.expect("a task").expect("ends well");
    let door = Door::new(10);
    let (_halt, halted) = watch::channel(false);
    tasks.spawn(follow(config.files, means(bench.dir.path(), &door), halted));
    until(&door, 2).await;
}
