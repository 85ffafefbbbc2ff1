//! Journals that are sent again, cut off, followed by the real journalctl, and a process that ends in between.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use disk::{OsClock, OsDisk};
use jiff::Timestamp;
use model::{BoxFuture, Feed, Position, Recorded, Refusal, Signal, Value};
use serde_json::json;
use tokio::task::JoinSet;

use super::*;
use crate::admission::tests::Door;
use crate::sources::Config;

/// The records of a door, as the ledger would read them back.
struct Past(Tenant, std::vec::IntoIter<model::Event>);

impl Feed for Past {
    fn tenant(&self) -> &Tenant {
        &self.0
    }

    fn read(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Recorded>, Refusal>> {
        let record = |event: model::Event| Recorded {
            position: 0,
            admitted_at: Timestamp::UNIX_EPOCH,
            signal: Signal { tenant: Tenant::default(), source: SourceId::JOURNAL, body: event.into() },
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
    fn lose(&self, _: &Tenant, cause: &'static str, _: Kind, _: u64) {
        assert_eq!(cause, "journal_refused");
    }
}

/// A process that begins with what the ones before left.
fn journals(dir: &Path, door: &Arc<Door>) -> Arc<Journals> {
    let clock = Arc::new(OsClock::default());
    let (past, durable) = (Arc::clone(door), Arc::clone(door));
    let means = Means {
        disk: Arc::new(OsDisk),
        kept: dir.join("journals.json"),
        key: [7; 32],
        records: Box::new(move |tenant, from: Position| {
            let events = past.events().split_off(usize::try_from(from).expect("fits"));
            Ok(Box::new(Past(tenant.clone(), events.into_iter())) as Box<dyn Feed>)
        }),
        durable: Box::new(move |_| Some(durable.events().len() as u64)),
        losses: Arc::new(Nothing),
        clock: clock.clone(),
        ailments: Arc::default(),
    };
    Arc::new(Journals::new(Arc::new(Receiver::new(door.clone(), clock)), means))
}

fn sender(stream: &str) -> Sender {
    Sender { tenant: Tenant::default(), source: SourceId([1; 16]), stream: stream.to_owned() }
}

fn entry(number: u64) -> String {
    let cursor = event::tests::CURSOR.replace("i=1f", &format!("i={number:x}"));
    format!(
        "__CURSOR={cursor}\n__REALTIME_TIMESTAMP={}\nPRIORITY=6\nMESSAGE=line {number}\n\n",
        1_795_773_600_000_000 + number
    )
}

fn entries(numbers: std::ops::Range<u64>) -> String {
    numbers.map(entry).collect()
}

async fn sent(journals: &Arc<Journals>, stream: &str, body: &str) -> Result<Sum, Ended> {
    let mut upload = journals.upload(sender(stream));
    for piece in body.as_bytes().chunks(1_000) {
        upload.take(piece).await?;
    }
    upload.end().await
}

fn lines(door: &Arc<Door>) -> Vec<u64> {
    let number = |event: model::Event| match event.body {
        Some(Value::Text(text)) => text.strip_prefix("line ")?.parse().ok(),
        _ => None,
    };
    door.events().into_iter().filter_map(number).collect()
}

#[tokio::test]
async fn what_is_sent_again_is_recorded_once_over_kills() {
    let dir = tempfile::tempdir().expect("a directory");
    let door = Door::new(usize::MAX);
    let first = journals(dir.path(), &door);
    assert_eq!(sent(&first, "journal", &entries(0..300)).await, Ok(Sum { durable: 300, ..Sum::default() }));
    assert_eq!(sent(&first, "journal", &entries(0..400)).await, Ok(Sum { durable: 100, known: 300, ..Sum::default() }));
    // The process is gone without a word: its file says nothing but where the log ended before the first entry.
    let second = journals(dir.path(), &door);
    assert_eq!(
        sent(&second, "journal", &entries(0..500)).await,
        Ok(Sum { durable: 100, known: 400, ..Sum::default() })
    );
    let (halt, halted) = watch::channel(true);
    second.keep(halted).await;
    drop(halt);
    let third = journals(dir.path(), &door);
    assert_eq!(
        sent(&third, "journal", &entries(450..600)).await,
        Ok(Sum { durable: 100, known: 50, ..Sum::default() })
    );
    assert_eq!(lines(&door), (0..600).collect::<Vec<_>>(), "each once, in order");
    assert_eq!(
        sent(&third, "other", &entries(0..10)).await,
        Ok(Sum { durable: 10, ..Sum::default() }),
        "another stream"
    );
    let backwards: String = (600..650).rev().map(entry).collect();
    assert_eq!(sent(&third, "journal", &backwards).await, Ok(Sum { durable: 50, ..Sum::default() }), "journalctl -r");
    let forgetful = Arc::new(Journals::forgetful(Arc::clone(&third.receiver)));
    assert_eq!(sent(&forgetful, "journal", &entries(0..10)).await, Ok(Sum { durable: 10, ..Sum::default() }));
    assert!(format!("{third:?}").contains("remembers: true"));
}

/// Whoever sends chooses of how many journals its entries say that they are.
#[test]
fn a_sender_of_endless_journals_takes_no_endless_memory() {
    let mut begun = Begun::default();
    for number in 0..JOURNALS_MAX + 10 {
        assert_eq!(begun.has(&number.to_string(), 4, || 5), number < JOURNALS_MAX, "{number}");
    }
    assert_eq!(begun.0.len(), JOURNALS_MAX);
    assert!(begun.has("0", 4, || 0) && !begun.has("0", 5, || 0), "what was known when it began stays");
}

#[tokio::test]
async fn a_torn_memory_loses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let door = Door::new(usize::MAX);
    disk::write_atomic(&OsDisk, &dir.path().join("journals.json"), b"{torn").expect("writes");
    let journals = journals(dir.path(), &door);
    assert_eq!(sent(&journals, "journal", &entries(0..10)).await, Ok(Sum { durable: 10, ..Sum::default() }));
}

#[tokio::test]
async fn an_upload_that_breaks_off_keeps_what_was_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let door = Door::new(usize::MAX);
    let journals = journals(dir.path(), &door);
    let half = format!("{}MESSAGE=half", entries(0..3));
    assert!(matches!(sent(&journals, "journal", &half).await, Err(Ended::Broken(_))));
    let broken = format!("{}MESSAGE\n\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}", entries(3..5));
    assert!(matches!(sent(&journals, "journal", &broken).await, Err(Ended::Broken(_))));
    let wrong = format!("{}noise\n\n{}__CURSOR=x\n\n", entries(0..6), entries(6..7));
    let sum = sent(&journals, "journal", &wrong).await.expect("the rest is taken");
    assert_eq!((sum.durable, sum.known, sum.refused), (2, 5, 2));
    assert!(sum.reason.is_some_and(|reason| reason.starts_with("expected fields")), "{:?}", sum.reason);
    assert_eq!(lines(&door), (0..7).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_full_ledger_holds_an_upload_back_and_then_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let door = Door::new(0);
    let journals = journals(dir.path(), &door);
    assert_eq!(sent(&journals, "journal", &entries(0..2)).await, Err(Ended::Later("the disk is full".into())));
    assert!(door.events().is_empty());
}

/// A directory of journal files, written by the real systemd-journal-remote.
struct Written(tempfile::TempDir);

const REMOTE: &str = "/lib/systemd/systemd-journal-remote";

impl Written {
    /// None where systemd's parts are not installed.
    fn new() -> Option<Self> {
        let is_there = Path::new(REMOTE).exists() && Path::new(follow::PROGRAM_DEFAULT).exists();
        is_there.then(|| Self(tempfile::tempdir().expect("a directory")))
    }

    fn write(&self, file: &str, body: &str) {
        let output = format!("--output={}/{file}.journal", self.0.path().display());
        let mut child = Command::new(REMOTE)
            .args([&output, "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("runs");
        child.stdin.take().expect("is piped").write_all(body.as_bytes()).expect("writes");
        assert!(child.wait().expect("ends").success());
    }

    fn config(&self) -> Vec<follow::JournalConfig> {
        let config: Config = serde_json::from_value(json!({"journal": [{"directory": self.0.path()}]})).expect("reads");
        assert_eq!(config.check(), []);
        config.journal
    }
}

/// Entries of several boots: following shows the last one alone, if it is not told otherwise.
fn of_boots(numbers: std::ops::Range<u64>) -> String {
    let boot = |number: u64| format!("_BOOT_ID=0123456789abcdef0123456789abcde{}\n", number / 500 % 10);
    let entry = |number: u64| entry(number).replace("PRIORITY", &format!("{}PRIORITY", boot(number)));
    numbers.map(|number| format!("__MONOTONIC_TIMESTAMP={number}\n{}", entry(number))).collect()
}

async fn until(door: &Arc<Door>, count: u64) {
    let there = async {
        while (door.events().len() as u64) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), there).await.expect("in time");
}

#[tokio::test]
async fn a_journal_is_followed_once_through_kills() {
    let Some(written) = Written::new() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let door = Door::new(usize::MAX);
    written.write("a", &of_boots(0..700));
    for round in 1..4 {
        let journals = journals(dir.path(), &door);
        let (halt, halted) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(follow::follow(written.config(), Arc::clone(&journals), halted.clone()));
        until(&door, 700 * round).await;
        if round == 2 {
            halt.send_replace(true);
            tasks.join_next().await.expect("a task").expect("ends well");
            journals.keep(halted).await;
        }
        tasks.shutdown().await;
        written.write("a", &of_boots(700 * round..700 * (round + 1)));
    }
    let journals = journals(dir.path(), &door);
    let (_halt, halted) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(follow::follow(written.config(), journals, halted));
    until(&door, 2_800).await;
    assert!(lines(&door) == (0..2_800).collect::<Vec<_>>(), "each once, in order");
}

#[tokio::test]
async fn what_cannot_be_followed_ails_in_journalctls_words_until_it_can() {
    let dir = tempfile::tempdir().expect("a directory");
    let door = Door::new(usize::MAX);
    let journals = journals(dir.path(), &door);
    let ailments = Arc::clone(&journals.means.as_ref().expect("remembers").ailments);
    let config = json!({"journal": [{"program": "/nonexistent/journalctl"}, {"directory": dir.path().join("none")}]});
    let config: Config = serde_json::from_value(config).expect("reads");
    let (halt, halted) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(follow::follow(config.journal, journals, halted));
    let wanted = 2;
    let told = async {
        while ailments.list().len() < wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), told).await.expect("in time");
    let list = ailments.list();
    assert_eq!(list[0], "journal 0: cannot follow this machine: cannot run /nonexistent/journalctl: entity not found");
    // Without a journalctl the second says so as the first does.
    let is_there = Path::new(follow::PROGRAM_DEFAULT).exists();
    let words = if is_there { "journalctl says: " } else { "cannot run /usr/bin/journalctl" };
    assert!(list.iter().skip(1).all(|why| why.contains(words)), "{list:?}");
    ailments.tell("journal 0: cannot follow this machine", None);
    assert_eq!(ailments.list().len(), wanted - 1);
    halt.send_replace(true);
    tasks.join_next().await.expect("a task").expect("ends well");
}

#[test]
fn what_cannot_be_carried_out_is_refused_by_name() {
    let config = json!({"journal": [
        {"stream": "journal-2026.11.28"},
        {"matches": ["_UID=0", "--reboot"]},
        {"matches": "_UID=0", "stream": "root"},
        {"matches": "_UID=0", "stream": "root"},
    ]});
    let config: Config = serde_json::from_value(config).expect("reads");
    let paths: Vec<String> = config.check().into_iter().map(|(path, ..)| path).collect();
    assert_eq!(paths, ["journal.0.stream", "journal.1.matches.1", "journal.3"]);
    assert_eq!(config.tenants().count(), 4);
}
